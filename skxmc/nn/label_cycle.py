"""LightDXML's cycle: training label vectors, and finding shortlists with them."""

import tempfile

import numpy as np
import torch
from torch.nn.functional import normalize

from .examples import Examples
from .labels import label_means
from .losses import at_least_float32, log_distance_loss
from .network import Network
from .prediction import map_batches
from .text import padded_columns
from .training import train

# Largest size of the shortlists in bytes that is kept in memory, not on disk.
_IN_MEMORY = 1 << 30
# Number of documents whose shortlists are searched for at once.
_DOCS_AT_ONCE = 1024
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
        """Return the mean distance between documents and their labels."""
        # The gradient of indexing, labels[...], would depend on the order in which
        # threads add it up. That of index_select does not.
        labels = self.encoder(inputs["means"]).index_select(0, targets["label"])
        return log_distance_loss(targets["docs"][targets["doc"]], labels)


class LabelEncoderExamples(Examples):
    """Training data of a label encoder: documents and the means of their labels.

    Parameters
    ----------
    docs : float tensor of shape (n_docs, dim)
        Vectors of the documents, all of which are trained on.
    means : float tensor of shape (n_labels, dim)
        Mean vector of each label's documents.
    Y : csr matrix of shape (n_docs, n_labels)
        Labels of the documents.
    """

    def __init__(self, docs, means, Y):
        super().__init__(docs, Y, np.arange(len(docs)))
        self.means = means

    @property
    def lengths(self):
        """No document is longer than another: zeros of shape (n_docs,)."""
        return np.zeros(len(self.docs), np.int64)

    def batch(self, rows):
        """Make the batch of some documents.

        Returns
        -------
        inputs : dict of tensors
            ``means``, of shape (n_batch_labels, dim), of the labels that the documents
            have.
        targets : dict of tensors
            ``docs``, the vectors of the documents. For each pair of a document and one
            of its labels, ``doc`` and ``label`` hold the rows of both in this batch.
        """
        part = self.Y[rows]
        labels, places = np.unique(part.indices, return_inverse=True)
        owners = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        targets = {
            "docs": self.docs[torch.from_numpy(rows)],
            "doc": torch.from_numpy(owners),
            "label": torch.from_numpy(places),
        }
        return {"means": self.means[torch.from_numpy(labels)]}, targets


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
    n_user_docs : int
        Number of the user's documents. Those that follow are texts of labels.
    text_negatives : float
        Weight of the loss of the negatives of texts of labels.
    rng : numpy Generator
        Generator that orders the documents in training, and those of the label encoder.
        Checkpoints keep its state with that of the training loop.
    batch_size : int
        Number of documents that are encoded at once.
    label_options : dict
        Arguments of `skxmc.nn.training.train` for the label encoder.
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
        n_user_docs,
        text_negatives,
        rng,
        batch_size,
        label_options,
        options,
    ):
        super().__init__(docs, Y, rows)
        self.network = network
        self.label_init = label_init
        self.n_user_docs = n_user_docs
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

    def begin_epoch(self, epoch):
        """Make a turn of the cycle before epochs 1, 1 + every, 1 + 2 * every, ..."""
        if epoch == 1 or (self.every and (epoch - 1) % self.every == 0):
            vectors = self.renew_label_vectors()
            if epoch == 1 and self.label_init == "documents":
                length = float(vectors.norm(dim=1).mean())
                self.network.start_classifier(_SCALE, length)
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
        means = torch.from_numpy(label_means(vectors.numpy(), Y)).to(vectors.dtype)
        device = network.label_vectors.device
        train(
            LabelEncoderTraining(network.label_encoder),
            LabelEncoderExamples(vectors, means, Y),
            rng=self.rng,
            history=[],
            title="label encoder",
            **self.label_options,
            **self.options,
        )
        with torch.no_grad():
            # 4096 labels at once, since all means may not fit on the device.
            parts = [
                network.label_encoder(part.to(device)) for part in means.split(4096)
            ]
            network.label_vectors.copy_(normalize(torch.cat(parts), dim=1))
        if not network.label_vectors.isfinite().all():
            raise ValueError(
                "Training diverged: label vectors hold NaN or infinity. Lower "
                "learning_rate, head_learning_rate or label_learning_rate, or set "
                "clip_norm=1."
            )
        network.n_turns += 1
        return vectors

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
