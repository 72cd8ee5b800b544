"""The network of LightDXML: shortlists by cosine, and a one-vs-all classifier."""

import warnings
from functools import partial

import numpy as np
import torch
from torch.nn.functional import logsigmoid, normalize, pad

from ..devices import one_thread
from ..heads import LabelScores, LinearHead, at_full_precision, first_offset
from ..losses import (
    at_least_float32,
    bce_loss,
    bce_loss_all,
    candidate_weights,
    loss_weights,
)
from ..neighbors import expected_votes
from ..network import Network
from ..search import NearestVectors
from ..shortlist import best_labels, log_odds
from ..sparse_encoder import LabelEncoder, SparseEncoder
from ..state import (
    flag,
    floats,
    indices,
    number,
    optional,
    part,
)

# Largest batch that is ranked on one CPU thread: more threads would cost more than they
# save.
_ONE_THREAD_DOCS = 8
# Largest number of labels for which the shortlists of many documents at once come from
# exact search instead of a graph.
_EXACT_IN_BATCHES = 200_000


class LightDXMLNetwork(Network):
    """Encoder, shortlists of labels by cosine, and a classifier for shortlisted labels.

    Parameters
    ----------
    encoder : SparseEncoder
        Encoder of the documents.
    label_encoder : LabelEncoder
        Encoder of the labels, which is trained on the vectors of the documents.
    ranker : LabelScores
        The one-vs-all classifier. The last column of its vectors is the bias.
    frequent : int64 tensor of shape (n_frequent,)
        Labels that are classified for every document.
    indexed : int64 tensor of shape (n_indexed,)
        The other labels that have documents. Shortlists are chosen from them.
    n_shortlist, predict_shortlist : int
        Length of a document's shortlist, in training and at prediction.
    n_random_negatives : int
        Number of labels that are drawn at random as further negatives in training.
    beta : float
        Weight of the classifier's probability. That of the cosine is 1 - beta.
    shortlist_temperature : float
        Cosines are divided by it before the sigmoid.
    exact : bool
        Whether predictions search exactly. Otherwise they use an HNSW graph.
    seed : int
        Seed of the graph.
    single_label : bool
        Whether each document has exactly one label. Scores are then those of a
        probability distribution over the labels.

    Attributes
    ----------
    label_vectors : tensor of shape (n_frequent + n_indexed, dim)
        Vectors of the labels by the label encoder, normalised to length 1. The frequent
        labels come first.
    n_turns : int64 tensor of shape ()
        How often these vectors have been computed.
    """

    why_alone = "One process trains a LightDXMLClassifier: its cycle is not shared."

    def __init__(
        self,
        encoder,
        label_encoder,
        ranker,
        frequent,
        indexed,
        *,
        n_shortlist=200,
        predict_shortlist=200,
        n_random_negatives=0,
        beta=0.5,
        shortlist_temperature=1.0,
        exact=True,
        seed=0,
        single_label=False,
    ):
        super().__init__()
        self.encoder = encoder
        self.label_encoder = label_encoder
        self.ranker = ranker
        dim, n_frequent = encoder.hidden_size, len(frequent)
        with warnings.catch_warnings():
            # torch warns about a layer without outputs if no label is frequent.
            warnings.simplefilter("ignore", UserWarning)
            self.frequent_ranker = LinearHead(dim, n_frequent)
        self.register_buffer("frequent", frequent)
        self.register_buffer("indexed", indexed)
        self.register_buffer("places", _frequent_places(frequent, ranker.n_labels))
        vectors = torch.zeros(n_frequent + len(indexed), dim)
        self.register_buffer("label_vectors", vectors)
        self.register_buffer("n_turns", torch.zeros((), dtype=torch.int64))
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.n_random_negatives = n_random_negatives
        self.beta = beta
        self.shortlist_temperature = shortlist_temperature
        self.exact = exact
        self.seed = seed
        self.single_label = single_label
        self.index = self.index_turn = None

    @property
    def labels_in_space(self):
        """Whether the vectors of documents suit labels before any training."""
        return True

    @property
    def n_labels(self):
        """Number of all labels, including those without documents."""
        return self.ranker.n_labels

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n, dim = self.n_labels, self.encoder.hidden_size
        n_frequent, n_indexed = len(self.frequent), len(self.indexed)
        return {
            "encoder": part(SparseEncoder),
            "label_encoder": part(LabelEncoder, dim=dim),
            "ranker": part(LabelScores, row_wise=True, dim=dim + 1),
            "frequent_ranker": part(
                LinearHead, in_features=dim, out_features=n_frequent
            ),
            "frequent": indices(n_frequent, high=n),
            "indexed": indices(n_indexed, high=n),
            "places": self._check_places,
            "label_vectors": floats(n_frequent + n_indexed, dim, largest=1.01),
            "n_turns": indices(high=2**63 - 1),
            "n_shortlist": number(1, whole=True),
            "predict_shortlist": number(1, whole=True),
            "n_random_negatives": number(0, whole=True),
            "beta": number(0, 1),
            "shortlist_temperature": number(1e-30),
            "exact": flag,
            "seed": number(0, whole=True),
            "single_label": flag,
            "index": optional(part(NearestVectors, n_vectors=n_indexed, dim=dim)),
            "index_turn": optional(number(0, whole=True)),
            "neighbors": expected_votes(self),
        }

    @property
    def vector_dim(self):
        """Width of the vectors by which neighbours are found."""
        return self.encoder.hidden_size

    def _check_places(self, places, name):
        n, frequent = self.n_labels, self.frequent
        ranked = torch.cat([frequent, self.indexed])
        if not len(ranked) or len(ranked.unique()) != len(ranked):
            raise ValueError(
                f"{name}: a label occurs twice among the frequent and indexed labels, "
                "or there are none."
            )
        expected = _frequent_places(frequent, n)
        if not isinstance(places, torch.Tensor) or not torch.equal(places, expected):
            raise ValueError(f"{name} does not hold the places of the frequent labels.")

    def forward(self, inputs, targets, progress):
        """Return the binary cross-entropy of positives and negatives (Eq. 3, 7, 8).

        The negatives are the shortlisted and the frequent labels that a document does
        not have, and labels drawn at random. The targets may hold ``weights`` of the
        negatives of each document.
        """
        (docs,), positives = self.encode(inputs), targets["positives"]
        n_labels, n_frequent = self.ranker.n_labels, len(self.frequent)
        weights = loss_weights(targets)
        options = dict(reduction="sum", weights=targets.get("weights"))
        # A dense layer classifies the frequent labels. `columns` is its output for each
        # positive, or n_frequent for other labels: (n_docs, n_positives).
        columns = self.places[positives]
        positives = positives.masked_fill(columns < n_frequent, n_labels)
        ids = torch.cat([positives, targets["shortlist"]], dim=1)
        if self.n_random_negatives:
            ids = self._add_random(ids)
        # (n_docs, n_candidates). The positives come first.
        is_positive = (ids < n_labels) & (
            torch.arange(ids.shape[1], device=ids.device) < positives.shape[1]
        )
        scores = self._classify(docs, ids)
        loss = bce_loss(
            scores,
            is_positive,
            ids < n_labels,
            **options,
            **candidate_weights(weights, ids),
        )
        if n_frequent:
            if "label_weights" in weights:  # those of the frequent labels
                places = pad(self.frequent, (0, 1), value=n_labels)
                weights = candidate_weights(weights, places)
            summed_bce = partial(bce_loss_all, **options, **weights)
            loss = loss + self.frequent_ranker.loss(docs, columns, summed_bce)
        return loss

    def encode(self, inputs):
        """Return the vectors of documents: a tuple of one tensor (n_docs, dim)."""
        return (self.encoder(inputs),)

    def label_head(self, vectors):
        """Return a head that scores all labels, and the documents as it takes them."""
        rows = at_least_float32(self.ranker.read_rows()[0]).clone()
        weight, bias = self.frequent_ranker.read_rows()
        rows[self.frequent] = torch.cat([weight, bias[:, None]], dim=1)
        return LabelScores(rows), pad(vectors[0], (0, 1), value=1.0)

    def start_rows(self, vectors):
        """Return the first vectors of new labels (see `Network.start_rows`)."""
        head, _ = self.label_head(vectors)
        known = head.read_rows()[0][torch.cat([self.frequent, self.indexed])]
        length = known[:, :-1].norm(dim=1).mean()
        rows = length * self._encode_labels(vectors[0])
        return pad(rows, (0, 1), value=float(known[:, -1].mean())), None

    @torch.no_grad()
    def _encode_labels(self, means):
        return normalize(self.label_encoder(means.to(self.label_vectors)), dim=1)

    @torch.no_grad()
    def add_labels(self, rows, biases, vectors):
        """Add labels at the end (see `Network.add_labels`), which are shortlisted."""
        first = self.ranker.n_labels
        self.ranker.add_rows(rows)
        new = torch.arange(first, self.ranker.n_labels, device=self.indexed.device)
        self.indexed = torch.cat([self.indexed, new])
        self.places = _frequent_places(self.frequent, self.ranker.n_labels)
        added = self._encode_labels(vectors[0])
        self.label_vectors = torch.cat([self.label_vectors, added])
        is_graph = self.index is not None and self.index.graph is not None
        self.index = self.index.add(added) if is_graph else None

    def keep_labels(self, labels):
        """Keep some labels, in the given order (see `Network.keep_labels`).

        A graph of the label vectors is built again.
        """
        labels = labels.to(self.indexed.device)
        # The new column of each label, or -1.
        columns = labels.new_full((self.ranker.n_labels,), -1)
        columns[labels] = torch.arange(len(labels), device=labels.device)
        frequent, indexed = columns[self.frequent], columns[self.indexed]
        is_ranked = torch.cat([frequent, indexed]) >= 0
        if not is_ranked.any():
            raise ValueError(
                "None of the labels that would remain has a document, so there would "
                "be nothing to rank. Keep a label that had documents in fit."
            )
        kept = (frequent >= 0).nonzero()[:, 0]
        self.frequent_ranker.keep_rows(kept)
        self.frequent = frequent[kept]
        indexed, order = indexed.sort()  # those that are dropped, of -1, come first
        order = order[indexed >= 0]
        self.indexed = indexed[indexed >= 0]
        places = torch.cat([kept, order + len(frequent)])
        self.label_vectors = self.label_vectors[places]
        self.ranker.keep_rows(labels)
        self.places = _frequent_places(self.frequent, len(labels))
        self.index = None
        if len(self.indexed) and not self.exact:
            self.search_index()

    def rank(self, inputs, k):
        """Return the best labels of a batch (see `Network.rank`)."""
        with one_thread(len(inputs["features"]) <= _ONE_THREAD_DOCS):
            return super().rank(inputs, k)

    def rank_encoded(self, vectors, k):
        """Return the best labels (step 6 of Algorithm 1, `Network.rank_encoded`).

        The probability of a label is
        ``beta * sigmoid(logit) + (1 - beta) * sigmoid(cosine)``, with the logit of the
        classifier. Scores are its log-odds. With `single_label`, scores are the
        logarithms of the probabilities, normalised to sum 1 over the labels that were
        classified.
        """
        ids, logits, cosines = self.classify(*vectors)
        temperature = self.shortlist_temperature
        scores = mix_logarithms(logits, cosines, self.beta, temperature)
        if self.single_label:
            scores = scores.log_softmax(dim=1)
        else:
            scores = log_odds(scores)
        return best_labels(scores, k, self.n_labels, ids)

    @property
    def has_shortlist(self):
        """Whether labels are retrieved before they are ranked."""
        return True

    def retrieve_encoded(self, vectors, n=None):
        """Return the labels with the nearest vectors (see `Network.retrieve_encoded`).

        The frequent labels are among those that are ranked, wherever their vectors are.
        """
        return at_full_precision(self._retrieve_nearest, *vectors, n)

    def _retrieve_nearest(self, docs, n):
        n_frequent, n_indexed = len(self.frequent), len(self.indexed)
        ids = self.frequent.expand(len(docs), -1)  # (n_docs, n_frequent)
        cosines = normalize(docs, dim=1) @ self.label_vectors[:n_frequent].T
        if n_indexed:
            found, found_cosines = self.search_index().search(
                docs, self.predict_shortlist if n is None else n
            )
            ids = torch.cat([ids, self.indexed[found]], dim=1)
            cosines = torch.cat([cosines, found_cosines], dim=1)
        n = ids.shape[1] if n is None else n
        return best_labels(cosines, n, self.n_labels, ids)[0]

    def classify(self, docs):
        """Classify documents for the frequent and the shortlisted labels.

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
            Vectors of the documents.

        Returns
        -------
        ids : int64 tensor of shape (n_docs, n_classified)
            Label columns.
        logits, cosines : tensors of the same shape
            Logits of the classifier, and cosines of documents and labels.
        """
        return at_full_precision(self._classify_all, docs)

    def _classify_all(self, docs):
        ids = self.frequent.expand(len(docs), -1)  # (n_docs, n_frequent)
        logits = self.frequent_ranker(docs)
        vectors = self.label_vectors[: len(self.frequent)]
        cosines = normalize(docs, dim=1) @ vectors.T
        if len(self.indexed):
            found, found_cosines = self.search_index().search(
                docs, self.predict_shortlist
            )  # (n_docs, n_shortlist)
            found = self.indexed[found]
            found_logits = self._classify(docs, found)
            ids = torch.cat([ids, found], dim=1)
            logits = torch.cat([logits, found_logits], dim=1)
            cosines = torch.cat([cosines, found_cosines], dim=1)
        return ids, logits, cosines

    def search_index(self, *, in_batches=False):
        """Return the index of the label vectors, rebuilt if these have changed.

        Parameters
        ----------
        in_batches : bool, default=False
            Whether a new index is for searching many documents at once, as training
            does. Exact search is then used for up to 200,000 labels.

        Returns
        -------
        NearestVectors
        """
        turn = int(self.n_turns)
        index = self.index  # another thread may replace the attribute meanwhile
        if index is None or self.index_turn != turn:
            vectors = self.label_vectors[len(self.frequent) :]
            exact = self.exact or in_batches and len(vectors) <= _EXACT_IN_BATCHES
            index = NearestVectors(vectors, exact=exact, seed=self.seed)
            self.index, self.index_turn = index, turn
        return index

    @torch.no_grad()
    def start_classifier(self, scale, length, only=None):
        """Initialise the classifier with the label vectors.

        Parameters
        ----------
        scale : float
            Logit of a document whose cosine with the label is 1, without the bias.
        length : float
            Mean length of the documents' vectors.
        only : bool tensor of shape (n_frequent + n_indexed,) or None, default=None
            Which labels to initialise. None initialises all.
        """
        offset = first_offset(self.label_vectors, scale)
        vectors = self.label_vectors * (scale / max(length, 1e-6))
        n_frequent = len(self.frequent)
        frequent, others = vectors.tensor_split([n_frequent])
        if only is None:
            only = torch.ones(len(vectors), dtype=torch.bool, device=vectors.device)
        chosen = only[:n_frequent]
        self.frequent_ranker.weight[chosen] = frequent[chosen]
        self.frequent_ranker.bias[chosen] = offset
        chosen = only[n_frequent:]
        rows = self.indexed[chosen]
        self.ranker.identity[rows] = pad(others[chosen], (0, 1), value=offset)

    def floats_per_document(self, length):
        """Return the number of floats kept for the gradient of a document."""
        n_scores = self.n_candidates + len(self.frequent)
        return self.encoder.floats_per_document(length) + 4 * n_scores

    @property
    def n_candidates(self):
        """Number of candidates of a document whose vectors are trained row by row."""
        return self.n_shortlist + self.n_random_negatives

    def __getstate__(self):
        state = self.__dict__.copy()
        # An exact index is only a copy of the label vectors, perhaps on a GPU.
        if self.exact:
            state["index"] = None
        return state

    def _classify(self, docs, ids):
        # The appended 1 is multiplied with the last column of the vectors: the bias.
        return at_least_float32(self.ranker(pad(docs, (0, 1), value=1.0), ids))

    def _add_random(self, ids):
        """Append random labels that are not frequent and not among `ids` already."""
        n_labels, shape = self.ranker.n_labels, (len(ids), self.n_random_negatives)
        drawn = torch.randint(n_labels, shape, device=ids.device)
        drawn = drawn.masked_fill(self.places[drawn] < len(self.frequent), n_labels)
        ids = torch.cat([ids, drawn], dim=1)
        # The sort is stable, so that of equal labels the first one is kept: a positive
        # is never replaced by a random negative.
        ordered, places = ids.sort(dim=1, stable=True)
        is_repeated = pad(ordered[:, 1:] == ordered[:, :-1], (1, 0))
        return ids.scatter(1, places, ordered.masked_fill(is_repeated, n_labels))


def _frequent_places(frequent, n_labels):
    """Return the place of each label among the frequent ones, or their number."""
    places = torch.full((n_labels + 1,), len(frequent), device=frequent.device)
    places[frequent] = torch.arange(len(frequent), device=frequent.device)
    return places


def mix_logarithms(logits, cosines, beta, temperature):
    """Return the logarithms of the labels' probabilities.

    The probability is ``beta * sigmoid(logits)`` plus
    ``(1 - beta) * sigmoid(cosines / temperature)``.
    """
    # Terms of weight 0 are left out, since their logarithm would be -inf.
    parts = []
    if beta > 0:
        parts.append(logsigmoid(logits) + np.log(beta))
    if beta < 1:
        parts.append(logsigmoid(cosines / temperature) + np.log1p(-beta))
    return torch.logaddexp(*parts) if len(parts) > 1 else parts[0]
