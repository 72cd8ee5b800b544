"""Neighbours that vote, as estimators have them: weight, memory and ``kneighbors``."""

import numbers

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from ._document_changes import DocumentChangesMixin
from ._fingerprint import hash_documents
from ._label_changes import SystemLabelChangesMixin
from ._neighbor_weight import select_weight
from ._validation import (
    check_flag,
    check_known_labels,
    check_label_texts,
    check_number,
    count_rows,
)
from .nn.devices import check_free_memory
from .nn.prediction import map_batches
from .nn.process import default_modes
from .nn.search import uses_exact_search

# neighbor_weight="auto" means this weight if no documents are held out.
_DEFAULT_WEIGHT = 1.0
# Largest number of training documents that a CPU compares with every document. With
# 20,000 training documents of width 384, that takes 2.5 ms for a text on its own, and a
# graph takes 0.15 ms. The graph is built in 3 s, and that of 60,000 documents in 15 s.
_MAX_EXACT = 10_000
# Bytes that a number of the documents' vectors takes at most while the memory is made:
# the vectors, their directions and those in the graph, all of them float32.
_BYTES = 12


class NeighborsMixin(DocumentChangesMixin, SystemLabelChangesMixin):
    """What the systems share of neighbours that vote, also for labels that change.

    A subclass has the parameters `neighbor_weight`, `n_voters`, `label_texts` and
    `label_texts_vote`.
    """

    @property
    def neighbor_weight_(self):
        """Weight of the neighbours' votes, which is 0 if no neighbours vote."""
        votes = self.network_.neighbors
        return 0.0 if votes is None else float(votes.weight)

    def kneighbors(self, X, n_neighbors=None, return_distance=True):
        """Find the training documents that are nearest to documents, and that vote.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.
        n_neighbors : int or None, default=None
            Number of neighbors. None means `n_voters`, or the number of documents that
            may vote if there are fewer.
        return_distance : bool, default=True
            Whether to return the distances.

        Returns
        -------
        distances : float ndarray of shape (n_docs, n_neighbors)
            Cosine distances (1 - cosine) between the network's vectors of the
            documents. Returned only if `return_distance` is True.
        rows : int64 ndarray of shape (n_docs, n_neighbors)
            Rows of the training documents in the X seen in `fit`, nearest first. The
            rows of documents that came later (`add_documents`) continue after these.
            Documents that were held out or have no label are not among them. The text
            of label j, if label texts vote, has the row ``n_docs_ + j``. Documents of
            earlier fits that still vote (see `warm_start`) come after those of X.

        Raises
        ------
        ValueError
            If `X` or `n_neighbors` is not as described, or if no neighbors vote.
        """
        check_is_fitted(self)
        votes = self._get_votes()
        n_known = votes.n_found
        if n_neighbors is None:
            n_neighbors = min(votes.n_neighbors, n_known)
        check_number("n_neighbors", n_neighbors, numbers.Integral, 1, n_known)
        places, cosines, _ = self._find_neighbors(self._check_X(X), int(n_neighbors))
        rows = votes.rows[places].numpy()
        return (1 - cosines.numpy(), rows) if return_distance else rows

    def _check_remembers(self):
        self._get_votes()

    def _refuse_unknown(self, rows):
        """Raise ValueError for rows of which none is a document of the memory."""
        votes = self._get_votes()
        places = votes.find_rows(torch.from_numpy(rows)).numpy()
        if (places >= 0).any():
            row = rows[places >= 0][0]
            raise ValueError(
                f"Row {row} is no document: the text of label {row - self.n_docs_} "
                f"votes with it. Rows of documents are below n_docs_, {self.n_docs_}."
            )
        super()._refuse_unknown(rows)

    def _remembers_documents(self):
        """Return whether there is a memory of documents."""
        return self.network_.neighbors is not None

    def _knows_documents(self, rows):
        """Return which rows are those of documents in the memory: bool ndarray."""
        votes = self.network_.neighbors
        if votes is None:
            return np.zeros(len(rows), bool)
        places = votes.find_rows(torch.from_numpy(rows)).numpy()
        return (places >= 0) & (rows < self.n_docs_)

    def _count_labels_of(self, rows):
        """Return the number of documents of each label, or the sum of their weights."""
        votes = self.network_.neighbors
        counts = votes.count_labels(votes.find_rows(torch.from_numpy(rows))).numpy()
        return counts.astype(self.label_counts_.dtype)

    def _forget(self, rows):
        """Have documents that are in the memory of this copy leave it."""
        if not len(rows):
            return
        votes = self.network_.neighbors
        known = votes.rows[votes.index.found_places()]
        if len(rows) == int((known < self.n_docs_).sum()):
            raise ValueError(
                f"These are all {len(rows)} documents that vote, and one must remain. "
                "To have none vote, fit with neighbor_weight=0."
            )
        counts = self._count_labels_of(rows)
        self.label_counts_ = (self.label_counts_ - counts).clip(min=0)
        places = votes.find_rows(torch.from_numpy(rows))
        self.network_.neighbors = votes.remove_documents(places)

    def _add_documents_and_labels(self, X, y, label_texts, label_names):
        first_row, remembers = self.n_docs_, self._remembers_documents()
        if label_texts is None and label_names is None:
            X = self._check_X(X)
            Y = check_known_labels(y, count_rows(X), self.classes_, self._y_kind)
            parts = self._encode_parts(self._make_docs(X)) if remembers else None
            self._count_added(Y)
        else:
            X, Y, parts = self._add_labels(label_texts, label_names, X, y)
        (labeled,) = np.diff(Y.indptr).nonzero()
        if len(labeled) and remembers:
            vectors = self.network_.compared_vectors(parts)[torch.from_numpy(labeled)]
            Y = Y[labeled]
            hashes = hash_documents(X)[labeled]
            self._remember(vectors, Y.indptr, Y.indices, first_row + labeled, hashes)

    def _remember(self, vectors, indptr, ids, rows, hashes=None):
        """Have documents or label texts join the memory."""
        votes = self.network_.neighbors
        n_vectors = votes.index.n_vectors + len(vectors)
        device, _ = self._choose_device_and_precision()
        exact = device.startswith("cuda")
        exact = exact or uses_exact_search("auto", n_vectors, _MAX_EXACT)
        numbers = (torch.from_numpy(a.astype(np.int64)) for a in (indptr, ids, rows))
        self.network_.neighbors = votes.add_documents(
            vectors.float(),
            *numbers,
            exact=exact,
            hashes=None if hashes is None else torch.from_numpy(hashes),
        )

    def _count_added(self, Y):
        votes = self.network_.neighbors
        if votes is not None:  # the rows of label texts come after those of documents
            is_text = votes.rows >= self.n_docs_
            rows = votes.rows + Y.shape[0] * is_text
            self.network_.neighbors = votes.number(n_labels=votes.n_labels, rows=rows)
        super()._count_added(Y)

    def _remember_texts(self, texts, parts, n_new):
        """Have the memory know of new labels, whose texts may vote as others do."""
        votes = self.network_.neighbors
        if votes is None:
            return
        votes = votes.number(n_labels=self.n_labels_, rows=votes.rows)
        self.network_.neighbors = votes
        if (
            parts is None
            or not self.label_texts_vote
            or self._get_known_texts() is None
        ):
            return
        new = np.flatnonzero([bool(text.strip()) for text in texts])
        labels = self.n_labels_ - n_new + new
        if len(new):
            vectors = self.network_.compared_vectors(parts)[torch.from_numpy(new)]
            indptr = np.arange(len(new) + 1)
            self._remember(vectors, indptr, labels, self.n_docs_ + labels)

    def _remember_labels(self, columns, n_before):
        """Have the memory know of some of the labels only, in the given order."""
        votes = self.network_.neighbors
        if votes is None:
            return
        moved = torch.full((n_before,), -1)
        moved[columns] = torch.arange(len(columns))
        kept = votes.keep_labels(moved, len(columns))
        if kept is not None:
            is_text = kept.rows >= self.n_docs_
            rows = kept.rows.clone()
            rows[is_text] = self.n_docs_ + moved[rows[is_text] - self.n_docs_]
            kept = kept.number(n_labels=len(columns), rows=rows)
        self.network_.neighbors = kept

    def _get_votes(self):
        votes = self.network_.neighbors
        if votes is not None:
            return votes
        reason = f"neighbor_weight is {self.neighbor_weight!r}"
        if self.neighbor_weight == "auto":
            reason = "the held-out documents were ranked best without votes"
        raise ValueError(
            f"This {type(self).__name__} holds no training documents, because {reason}."
            " Fit with a neighbor_weight above 0."
        )

    def _find_neighbors(self, X, n_neighbors=None):
        """Return places in the memory, cosines and weights, all on the CPU."""
        with default_modes():
            docs = self._make_docs(X)
            votes, network = self.network_.neighbors, self.network_
            return self._map_docs(
                lambda vectors: votes.search(
                    network.compared_vectors(vectors), n_neighbors
                ),
                docs,
                np.arange(len(docs)),
                verbose=self.verbose > 1,
            )

    def _find_voters(self, X, label):
        """Find the neighbours of one document that have a label.

        Parameters
        ----------
        X : list of one str, or matrix of shape (1, n_features)
        label : int
            Column of the label.

        Returns
        -------
        list of (int or None, float)
            Rows of the neighbours in the X seen in ``fit``, or None for the text of the
            label, and their shares of the vote. Empty if no neighbours vote.
        """
        votes = self.network_.neighbors
        if votes is None:
            return []
        places, _, weights = self._find_neighbors(self._check_X(X))
        shares = votes.shares_of(label, places[0], weights[0])
        votes_for = shares > 0
        rows = votes.rows[places[0][votes_for]].tolist()
        rows = [row if row < self.n_docs_ else None for row in rows]
        return list(zip(rows, shares[votes_for].tolist(), strict=True))

    def _check_neighbor_parameters(self):
        check_number("n_voters", self.n_voters, numbers.Integral, 1)
        check_number(
            "neighbor_weight", self.neighbor_weight, numbers.Real, 0, word="auto"
        )
        check_flag("label_texts_vote", self.label_texts_vote)

    def _check_neighbor_memory(self, network, rows):
        """Refuse, before training, a memory that would not fit."""
        if self.neighbor_weight == 0:
            return
        n_voters = int(np.sum(rows < self.n_docs_)) + len(self._find_voting_texts()[0])
        check_free_memory(
            _BYTES * n_voters * network.vector_dim,
            "The vectors of the training documents, which vote as neighbors,",
            "Set neighbor_weight=0.",
        )

    def _add_neighbors(self, examples, Y, held_out):
        """Have the training documents vote, with the best weight."""
        if self.neighbor_weight == 0:
            return
        network = self.network_
        # Documents that a system adds to the user's are no rows of the user's X.
        rows = examples.rows[examples.rows < self.n_docs_]
        labels, texts = self._find_voting_texts()
        earlier = self._find_earlier_voters()
        n_voters = len(rows) + len(labels) + earlier.n_voters
        if not n_voters:
            return
        known = [(examples.docs, rows)] if len(rows) else []
        label_docs = getattr(examples.docs, "label_docs", None)
        if texts and label_docs is not None:
            known.append((label_docs, labels))
        elif texts:
            known.append((self._make_label_docs(texts), np.arange(len(texts))))
        vectors = [
            self._map_docs(
                lambda vectors: (network.compared_vectors(vectors).float(),),
                *docs,
                verbose=self.verbose,
            )[0]
            for docs in known
        ]
        Y_known = Y[rows]
        # Each text has its label alone.
        indptr = np.append(Y_known.indptr, Y_known.nnz + 1 + np.arange(len(labels)))
        ids = np.append(Y_known.indices, labels)
        counts = self._weights_of(rows)
        if counts is not None:  # texts of labels have the weight 1
            counts = torch.from_numpy(np.append(counts, np.ones(len(labels)))).float()
        hashes = np.append(self._hashes[rows], np.zeros(len(labels), np.int64))
        rows = np.append(rows, self.n_docs_ + earlier.n_docs + labels)
        device, _ = self._choose_device_and_precision()
        votes = earlier.join(
            torch.cat(vectors) if vectors else torch.empty(0, network.vector_dim),
            *(torch.from_numpy(a.astype(np.int64)) for a in (indptr, ids, rows)),
            n_labels=self.n_labels_,
            n_neighbors=int(self.n_voters),
            exact=device.startswith("cuda")
            or uses_exact_search("auto", n_voters, _MAX_EXACT),
            counts=counts,
            hashes=torch.from_numpy(hashes),
        )
        if self.neighbor_weight != "auto":
            votes.weight = float(self.neighbor_weight)
        elif len(held_out):
            votes.weight = select_weight(self, votes, examples.docs, Y, held_out)
        else:
            votes.weight = self._find_earlier_weight(_DEFAULT_WEIGHT)
        network.neighbors = votes if votes.weight else None
        if votes.weight:
            self._count_earlier(earlier)

    def _count_earlier(self, earlier):
        """Count the documents of earlier fits that go on to vote."""
        total = earlier.total_weight
        if total is not None or hasattr(self, "total_weight_"):
            total = earlier.n_docs if total is None else total
            self.total_weight_ = getattr(self, "total_weight_", self.n_docs_) + total
        self.n_docs_ += earlier.n_docs
        self.label_counts_ = self.label_counts_ + earlier.counts

    def _make_label_docs(self, texts):
        """Turn label texts into documents of the network."""
        return self._make_docs(texts)

    def _find_voting_texts(self):
        """Return the labels whose texts vote, as an int ndarray, and these texts."""
        votes = self._texts and self.label_texts_vote and self.label_texts is not None
        texts = self._get_label_texts() if votes else []
        labels = np.flatnonzero([bool(text.strip()) for text in texts])
        return labels, [texts[label] for label in labels]

    def _get_label_texts(self):
        """Return the label texts as the system reads them."""
        texts = check_label_texts(self.label_texts, self.n_labels_)
        return self._clean_label_texts(texts)

    def _map_docs(self, function, docs, rows, *, verbose):
        """Apply a function to the network's vectors of documents.

        Parameters
        ----------
        function : callable
            Function of what ``network_.encode`` returns. It returns a tuple of tensors
            with one row per document.
        docs : Tokens, Features or TaughtDocuments
        rows : int ndarray of shape (n_rows,)
        verbose : int or bool

        Returns
        -------
        list of tensors, on the CPU
        """
        device, precision = self._move_network()
        return map_batches(
            self.network_,
            lambda inputs: function(self.network_.encode(inputs)),
            docs,
            rows,
            batch_size=self.batch_size,
            device=device,
            precision=precision,
            verbose=verbose,
            title="neighbors",
        )
