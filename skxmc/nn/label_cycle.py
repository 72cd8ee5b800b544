"""LightDXML's cycle: training label vectors, and finding shortlists with them."""

import copy
import tempfile
import warnings

import numpy as np
import torch
from torch.nn.functional import normalize

from .examples import Examples
from .finite import all_finite
from .labels import label_means
from .losses import at_least_float32, log_distance_loss
from .network import Network
from .prediction import map_batches
from .text import padded_columns
from .training import train
from .weights import trained_state

# Largest size of the shortlists in bytes that is kept in memory, not on disk.
_IN_MEMORY = 1 << 30
# Number of documents whose shortlists are searched for at once, of labels that are
# encoded at once, and of pairs of both whose distance is computed at once.
_DOCS_AT_ONCE = 1024
_LABELS_AT_ONCE = 4096
_PAIRS_AT_ONCE = 16_384
# Initial logit of the classifier for a document whose cosine with a label is 1, without
# the bias.
_SCALE = 10.0


class LabelEncoderTraining(Network):
    """Network that trains a label encoder (Eq. 2).

    Parameters
    ----------
    label_encoder : LabelEncoder
    """

    def __init__(self, label_encoder):
        super().__init__()
        self.encoder = label_encoder

    def forward(self, inputs, targets, progress):
        """Return the mean distance of pairs of a document and a label."""
        # The gradient of indexing, labels[...], would depend on the order in which
        # threads add it up. That of index_select does not.
        labels = self.encoder(inputs["means"]).index_select(0, targets["label"])
        return log_distance_loss(targets["docs"], labels, targets.get("weights"))


class LabelEncoderExamples(Examples):
    """Training data of a label encoder: pairs of a document and one of its labels.

    Parameters
    ----------
    docs : float tensor of shape (n_docs, dim)
        Vectors of the documents.
    means : float tensor of shape (n_labels, dim)
        Mean vector of each label's documents.
    Y : csr matrix of shape (n_docs, n_labels)
        Labels of the documents. Each of its entries is a pair.
    weights : float64 ndarray of shape (n_docs,) or None, default=None
        Weights of the documents in the loss. None weighs all alike.
    """

    def __init__(self, docs, means, Y, weights=None):
        super().__init__(docs, Y, np.arange(Y.nnz))
        self.means = means
        self.owners = np.repeat(np.arange(len(docs)), np.diff(Y.indptr))
        if weights is not None:  # those of the pairs, with the mean 1
            weights = torch.from_numpy(weights[self.owners])
            weights = weights / weights.mean() if len(weights) else weights
        self.weights = weights

    @property
    def lengths(self):
        """No pair is longer than another: zeros of shape (n_pairs,)."""
        return np.broadcast_to(np.int64(0), len(self.rows))

    def batch(self, rows):
        """Make the batch of some pairs.

        Returns
        -------
        inputs : dict of tensors
            ``means``, of shape (n_batch_labels, dim), of the labels of these pairs.
        targets : dict of tensors
            For each pair, ``docs`` holds the vector of its document, and ``label`` the
            row of its label in ``means``. If documents have weights, ``weights`` holds
            those of the pairs.
        """
        labels, places = np.unique(self.Y.indices[rows], return_inverse=True)
        docs = self.docs[torch.from_numpy(self.owners[rows])]
        targets = {"docs": docs, "label": torch.from_numpy(places)}
        if self.weights is not None:
            targets["weights"] = self.weights[torch.from_numpy(rows)]
        return {"means": self.means[torch.from_numpy(labels)]}, targets

    def mean_distance(self, labels):
        """Return Eq. 2 for all pairs.

        Parameters
        ----------
        labels : float tensor of shape (n_labels, dim)
            Vectors of the labels, on the device that computes.

        Returns
        -------
        float
        """
        total = 0.0
        for rows in np.split(
            self.rows, range(_PAIRS_AT_ONCE, len(self.rows), _PAIRS_AT_ONCE)
        ):
            docs = self.docs[torch.from_numpy(self.owners[rows])].to(labels.device)
            columns = torch.from_numpy(self.Y.indices[rows].astype(np.int64))
            pairs = labels.index_select(0, columns.to(labels.device))
            weights = None
            if self.weights is not None:
                weights = self.weights[torch.from_numpy(rows)].to(labels.device)
            total += len(rows) * log_distance_loss(docs, pairs, weights).item()
        return total / max(1, len(self.rows))


class ShortlistedExamples(Examples):
    """Examples whose batches hold a shortlist of labels for each document.

    A shortlist holds the labels whose vectors are nearest to a document. A turn of the
    cycle (Algorithm 1) trains the label vectors on the current vectors of the
    documents, and then finds new shortlists.

    Parameters
    ----------
    docs, Y, rows
        As in `Examples`.
    network : LightDXMLNetwork
        Network that is trained. It holds the encoders and the label vectors.
    every : int or None
        Number of epochs between two turns. None makes one turn only, before the first
        epoch.
    label_init : {"documents", "random"}
        Whether the classifier starts as the label vectors of the first turn, or at
        random.
    is_known : bool tensor of shape (n_frequent + n_indexed,) or None
        Which labels of the network have been trained before, if a fit goes on from
        another one: their classifiers stay, and so do the vectors of those without
        documents. None if none has.
    n_user_docs : int
        Number of the user's documents. Those that follow are texts of labels.
    repeats_text : bool ndarray of shape (n_user_docs,)
        Which of the user's documents repeat the text of a label.
    text_negatives : float
        Weight of the loss of the negatives of texts of labels.
    rng : numpy Generator
        Generator that orders the documents in training, and those of the label encoder.
        Checkpoints keep its state with that of the training loop.
    batch_size : int
        Number of documents that are encoded at once.
    label_options : dict
        Arguments of `skxmc.nn.training.train` for the label encoder. If its
        ``max_epochs`` is 0, the label encoder is not trained.
    options : dict
        The arguments device, precision and verbose.

    Attributes
    ----------
    shortlists : int32 array of shape (n_rows, n_shortlist) or None
        Label columns padded with n_labels. None before the first turn.
    """

    def __init__(
        self,
        docs,
        Y,
        rows,
        network,
        *,
        every,
        label_init,
        is_known=None,
        n_user_docs,
        repeats_text,
        text_negatives,
        rng,
        batch_size,
        label_options,
        options,
    ):
        super().__init__(docs, Y, rows)
        self.network = network
        self.label_init = label_init
        self.is_known = is_known
        self.n_user_docs = n_user_docs
        self.repeats_text = repeats_text
        self.text_negatives = text_negatives
        self.every = every
        self.rng = rng
        self.batch_size = batch_size
        self.label_options = label_options
        self.options = options
        self.shortlists = None
        # Row of each document in `shortlists`; -1 for documents not trained on.
        self.places = np.full(len(docs), -1)
        self.places[rows] = np.arange(len(rows))

    def batch(self, rows):
        """Make the batch of some documents.

        The targets also hold ``shortlist``, int64 of shape (n_rows, n_shortlist). If
        there are texts of labels, they may hold ``weights``, of shape (n_rows,): the
        weights of the documents' negatives.
        """
        inputs, targets = super().batch(rows)
        ids = self.shortlists[self.places[rows]].astype(np.int64)
        targets["shortlist"] = torch.from_numpy(ids)
        if self.text_negatives != 1 and self.n_user_docs < len(self.docs):
            weights = np.where(rows < self.n_user_docs, 1, self.text_negatives)
            targets["weights"] = torch.from_numpy(weights.astype(np.float32))
        return inputs, targets

    def without_repeated_texts(self, rows):
        """Return the user's documents that do not repeat a label's text, if any.

        Such a document is known word for word from training. A choice that is made on
        it would trust the words too much.

        Parameters
        ----------
        rows : int ndarray
            Rows of some of the user's documents.

        Returns
        -------
        int ndarray
            All of `rows` if each of them repeats a text.
        """
        new = rows[~self.repeats_text[rows]]
        return new if len(new) else rows

    def begin_epoch(self, epoch):
        """Make a turn of the cycle before epochs 1, 1 + every, 1 + 2 * every, ..."""
        if epoch == 1 or (self.every and (epoch - 1) % self.every == 0):
            vectors = self.renew_label_vectors()
            if epoch == 1 and self.label_init == "documents":
                lengths = vectors.norm(dim=1)
                if self.doc_weights is not None:
                    lengths = lengths * torch.from_numpy(self._weights[self.rows])
                length, is_new = float(lengths.mean()), None
                if self.is_known is not None:
                    is_new = ~self.is_known.to(self.network.label_vectors.device)
                self.network.start_classifier(_SCALE, length, is_new)
            self._renew_shortlists(vectors)

    def state_dict(self):
        """Return the current shortlists, for checkpoints."""
        if self.shortlists is None:
            return {}
        return {"shortlists": torch.from_numpy(np.asarray(self.shortlists))}

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
        if state:
            self.shortlists = state["shortlists"].numpy()
            # The index is not saved. It is built again here, as it was in the turn.
            if len(self.network.indexed):
                self.network.search_index(in_batches=True)

    def ends_with_a_turn(self, n_done, n_epochs):
        """Return whether one more turn follows the last epoch, for the predictions."""
        return bool(self.every) and n_done == n_epochs and n_epochs % self.every == 0

    def renew_label_vectors(self):
        """Train the label encoder on the current vectors of the documents (step 2).

        Returns
        -------
        float32 tensor of shape (n_rows, dim)
            The vectors of the documents.

        Raises
        ------
        ValueError
            If training has diverged, so that label vectors are not finite.
        """
        network = self.network
        vectors = self._encode_documents()
        labels = torch.cat([network.frequent, network.indexed]).cpu().numpy()
        Y = self.Y[self.rows][:, labels].tocsr()
        weights = None if self.doc_weights is None else self._weights[self.rows]
        means = label_means(vectors.numpy(), Y, weights)
        means = torch.from_numpy(means).to(vectors.dtype)
        label_vectors = self._encode_labels(means)
        if self.label_options["max_epochs"]:
            examples = LabelEncoderExamples(vectors, means, Y, weights)
            label_vectors = self._train_label_encoder(examples, label_vectors)
            _warn_of_zeros(label_vectors, means)
        label_vectors = normalize(label_vectors, dim=1)
        if self.is_known is not None:
            has_docs = torch.from_numpy(
                np.bincount(Y.indices, minlength=Y.shape[1]) > 0
            )
            has_docs = has_docs.to(label_vectors.device)[:, None]
            label_vectors = torch.where(has_docs, label_vectors, network.label_vectors)
        network.label_vectors.copy_(label_vectors)
        if not all_finite(network.label_vectors):
            raise ValueError(
                "Training diverged: label vectors hold NaN or infinity. Lower "
                "learning_rate, head_learning_rate or label_learning_rate, or set "
                "clip_norm=1."
            )
        network.n_turns += 1
        return vectors

    def _train_label_encoder(self, examples, label_vectors):
        """Train the label encoder, unless it gets worse, and return its vectors."""
        encoder = self.network.label_encoder
        start = copy.deepcopy(trained_state(encoder))
        train(
            LabelEncoderTraining(encoder),
            examples,
            rng=self.rng,
            history=[],
            title="label encoder",
            **self.label_options,
            **self.options,
        )
        trained = self._encode_labels(examples.means)
        before, after = map(examples.mean_distance, (label_vectors, trained))
        if before <= after < np.inf:  # divergence is left for the caller to see
            encoder.load_state_dict(start, strict=False)
            return label_vectors
        return trained

    @torch.no_grad()
    def _encode_labels(self, means):
        # All means may not fit on the device beside the vectors.
        network = self.network
        device = network.label_vectors.device
        parts = means.split(_LABELS_AT_ONCE)
        return torch.cat([network.label_encoder(part.to(device)) for part in parts])

    def _renew_shortlists(self, vectors):
        """Find the shortlist of each training document (step 3)."""
        network = self.network
        n_labels, n_indexed = network.n_labels, len(network.indexed)
        width = min(network.n_shortlist, n_indexed)
        self.shortlists = _make_table((len(self.rows), width))
        if not width:  # all labels are frequent
            return
        index = network.search_index(in_batches=True)
        device = network.label_vectors.device
        for start in range(0, len(vectors), _DOCS_AT_ONCE):
            part = slice(start, start + _DOCS_AT_ONCE)
            found, _ = index.search(vectors[part].to(device), width)
            ids = network.indexed[found]
            positives = padded_columns(self.Y, self.rows[part]).to(device)
            ids = drop_positives(ids, positives, n_labels)
            self.shortlists[part] = ids.cpu().numpy()

    def _encode_documents(self):
        encoder = self.network.encoder
        (vectors,) = map_batches(
            encoder,
            lambda inputs: (at_least_float32(encoder(inputs)),),
            self.docs,
            self.rows,
            batch_size=self.batch_size,
            **self.options,
        )
        return vectors


def _warn_of_zeros(label_vectors, means):
    """Warn if the activation has cut off whole vectors of labels."""
    n_zeros = int((~label_vectors.any(dim=1).cpu() & means.any(dim=1)).sum())
    if n_zeros:
        warnings.warn(
            f"The vectors of {n_zeros} of {len(means)} labels are zero, so that no "
            "shortlist can find these labels. Training made all coordinates negative, "
            "and the ReLU of the label encoder cuts them off. Lower "
            "label_learning_rate, or set label_epochs=0 or "
            'label_activation="none".',
            UserWarning,
            stacklevel=8,
        )


def drop_positives(ids, positives, n_labels):
    """Replace the documents' positives in shortlists by the padding n_labels.

    Parameters
    ----------
    ids : int64 tensor of shape (n_docs, n_shortlist)
        Label columns of the shortlists.
    positives : int64 tensor of shape (n_docs, n_positives)
        Label columns of the documents, padded with n_labels.
    n_labels : int

    Returns
    -------
    int64 tensor of shape (n_docs, n_shortlist)
    """
    # The offset makes the columns of different documents differ, so that one call of
    # isin serves all documents.
    offsets = (n_labels + 1) * torch.arange(len(ids), device=ids.device)[:, None]
    is_positive = torch.isin(ids + offsets, positives + offsets)
    return ids.masked_fill(is_positive, n_labels)


def _make_table(shape):
    """Make an int32 array, which lies on disk if it is large."""
    if 4 * np.prod(shape) <= _IN_MEMORY:
        return np.empty(shape, np.int32)
    with tempfile.TemporaryFile() as file:  # the file disappears with the array
        return np.memmap(file, np.int32, "w+", shape=shape)
