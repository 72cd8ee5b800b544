"""LightDXML's cycle: label vectors, and the shortlists found by them."""

import tempfile

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, normalize, relu

from .labels import label_means
from .losses import (
    at_least_float32,
    log_distance_loss,
)
from .state import (
    absent_or,
    choice,
    flag,
    linear_map,
)
from .text import Features, padded_columns
from .training import in_batches, train

# Bytes of shortlists beyond which they lie on disk.
_IN_MEMORY = 1 << 30


# Documents whose shortlists are searched at once.
_DOCS_AT_ONCE = 1024


# Length of the document vector times that of a label's in the classifier at first.
_SCALE = 10.0


class LabelEncoder(nn.Module):
    """Labels' vectors from the means of their documents: Eq. 4, 5.

    Two linear maps without anything between them, which start as the identity: a
    label starts at the mean of its documents.

    Parameters
    ----------
    dim, hidden_dim : int
        D and D-hat of the paper.
    activation : {"relu", "none"}
    """

    def __init__(self, dim, hidden_dim, *, activation="relu"):
        super().__init__()
        self.first, self.second = nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, dim)
        nn.init.orthogonal_(self.first.weight)
        self.second.weight.data.copy_(self.first.weight.T)
        nn.init.zeros_(self.first.bias)
        nn.init.zeros_(self.second.bias)
        self.activation = activation

    @property
    def dim(self):
        """Width of label vectors."""
        return self.first.in_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim, hidden_dim = self.dim, self.first.out_features
        return {
            "first": linear_map(dim, hidden_dim),
            "second": linear_map(hidden_dim, dim),
            "activation": choice("relu", "none"),
            "pretrained": absent_or(flag),
        }

    def forward(self, means):
        """Encode means of shape (n_labels, dim), by the product of both maps."""
        weight = self.second.weight @ self.first.weight
        bias = self.second.weight @ self.first.bias + self.second.bias
        vectors = linear(means, weight, bias)
        return relu(vectors) if self.activation == "relu" else vectors


class LabelEncoderTraining(nn.Module):
    """A label encoder and what the training loop asks of a network (Eq. 2)."""

    def __init__(self, label_encoder):
        super().__init__()
        self.encoder = label_encoder
        self.encoder.pretrained = False

    def start_epoch(self, epoch, n_epochs, n_steps):
        """Nothing changes from epoch to epoch."""

    def loss(self, batch, positives):
        """Distance between documents and the vectors of their labels."""
        # Unlike labels[...], whose gradient two threads add up in any order.
        labels = self.encoder(batch["means"]).index_select(0, batch["label"])
        return log_distance_loss(batch["docs"][batch["doc"]], labels)


class DocumentsAndLabels:
    """Vectors of documents with the means of their labels, in batches.

    Parameters
    ----------
    docs : float tensor of shape (n_docs, dim)
    means : float tensor of shape (n_labels, dim)
    Y : csr matrix of shape (n_docs, n_labels)
    """

    def __init__(self, docs, means, Y):
        self.docs, self.means, self.Y = docs, means, Y
        self.lengths = np.zeros(len(docs), np.int64)  # none is longer than others

    def batch(self, rows):
        """Vectors of documents and labels, and the pairs of them in places."""
        part = self.Y[rows]
        labels, places = np.unique(part.indices, return_inverse=True)
        owners = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        return {
            "docs": self.docs[torch.from_numpy(rows)],
            "means": self.means[torch.from_numpy(labels)],
            "doc": torch.from_numpy(owners),
            "label": torch.from_numpy(places),
        }


class ShortlistedFeatures(Features):
    """Features whose batches carry the shortlists of the documents.

    Attributes
    ----------
    shortlists : int32 array of shape (n_rows, n_shortlist)
        Label columns padded with n_labels.
    places : int64 ndarray of shape (n_docs,)
        Row of each document in it.
    """

    shortlists = places = None

    def batch(self, rows):
        """Features of documents, and their ``shortlist`` as int64."""
        batch = super().batch(rows)
        if self.shortlists is not None:
            ids = self.shortlists[self.places[rows]].astype(np.int64)
            batch["shortlist"] = torch.from_numpy(ids)
        return batch

    def state(self):
        """Shortlists and their places, to go on from."""
        if self.shortlists is None:
            return None
        return {
            "shortlists": torch.from_numpy(np.asarray(self.shortlists)),
            "places": torch.from_numpy(self.places),
        }

    def restore(self, state):
        """Go on from a state."""
        self.shortlists = state["shortlists"].numpy()
        self.places = state["places"].numpy()


class Cycle:
    """What goes round in training: label vectors, their index, the shortlists.

    Parameters
    ----------
    docs : ShortlistedFeatures
    Y : csr matrix of shape (n_docs, n_labels)
        Its rows with labels are the training documents.
    every : int or None
        Epochs between two turns; None is one turn, before the first epoch.
    label_init : {"documents", "random"}
        Whether the classifier starts at the first label vectors.
    rng : numpy Generator
    batch_size : int
        Documents encoded at once.
    label_options : dict
        How to train the label encoder: arguments of `train`.
    options : dict
        device, precision, verbose.
    """

    def __init__(
        self, docs, Y, *, every, label_init, rng, batch_size, label_options, options
    ):
        self.docs, self.Y = docs, Y
        self.label_init = label_init
        self.rows = np.flatnonzero(np.diff(Y.indptr))
        self.every = every
        self.rng = rng
        self.batch_size = batch_size
        self.label_options = label_options
        self.options = options

    def start_epoch(self, network, epoch):
        """Turn before epoch 1, 1 + every, 1 + 2 * every ..."""
        if epoch == 1 or (self.every and (epoch - 1) % self.every == 0):
            vectors = self.new_label_vectors(network)
            if epoch == 1 and self.label_init == "documents":
                length = float(vectors.norm(dim=1).mean())
                network.start_classifier(_SCALE, length)
            self.shortlist(network, vectors)

    def ends_with_a_turn(self, n_done, n_epochs):
        """Whether a last turn, for the predictions, follows the epochs."""
        return bool(self.every) and n_done == n_epochs and n_epochs % self.every == 0

    def new_label_vectors(self, network):
        """Train the label encoder on the documents' vectors of now (step 2).

        Returns
        -------
        float32 tensor of shape (n_rows, dim): those vectors
        """
        vectors = self._document_vectors(network)
        labels = torch.cat([network.frequent, network.indexed]).cpu().numpy()
        Y = self.Y[self.rows][:, labels].tocsr()
        means = torch.from_numpy(label_means(vectors.numpy(), Y)).to(vectors.dtype)
        device = network.label_vectors.device
        train(
            LabelEncoderTraining(network.label_encoder),
            DocumentsAndLabels(vectors, means, Y),
            Y,
            rows=np.arange(len(vectors)),
            rng=self.rng,
            history=[],
            title="label encoder",
            **self.label_options,
            **self.options,
        )
        with torch.no_grad():
            parts = [
                network.label_encoder(part.to(device)) for part in means.split(4096)
            ]
            network.label_vectors.copy_(normalize(torch.cat(parts), dim=1))
        if not network.label_vectors.isfinite().all():
            raise ValueError(
                "Training diverged: label vectors are no longer finite. Lower "
                "learning_rate, head_learning_rate or label_learning_rate, or set "
                "clip_norm=1."
            )
        network.n_turns += 1
        return vectors

    def shortlist(self, network, vectors):
        """Store the labels nearest to each training document (step 3)."""
        n_labels, n_indexed = network.ranker.n_labels, len(network.indexed)
        width = min(network.n_shortlist, n_indexed)
        lists = _table((len(self.rows), width))
        places = np.full(len(self.docs), -1)
        places[self.rows] = np.arange(len(self.rows))
        self.docs.shortlists, self.docs.places = lists, places
        if not width:  # all labels are frequent
            return
        index = network.searched(in_batches=True)
        device = network.label_vectors.device
        for start in range(0, len(vectors), _DOCS_AT_ONCE):
            part = slice(start, start + _DOCS_AT_ONCE)
            found, _ = index.search(vectors[part].to(device), width)
            ids = network.indexed[found]
            positives = padded_columns(self.Y, self.rows[part]).to(device)
            lists[part] = without(ids, positives, n_labels).cpu().numpy()

    def _document_vectors(self, network):
        (vectors,) = in_batches(
            network.encoder,
            lambda batch: (at_least_float32(network.encoder(batch)),),
            self.docs,
            self.rows,
            batch_size=self.batch_size,
            **self.options,
        )
        return vectors


def without(ids, positives, n_labels):
    """Shortlists without the documents' positives, padded with n_labels instead.

    Parameters
    ----------
    ids : int64 tensor of shape (n_docs, n_shortlist)
    positives : int64 tensor of shape (n_docs, n_positives), padded with n_labels
    """
    offsets = (n_labels + 1) * torch.arange(len(ids), device=ids.device)[:, None]
    is_positive = torch.isin(ids + offsets, positives + offsets)
    return ids.masked_fill(is_positive, n_labels)


def _table(shape):
    """An int32 array, on disk where it is large."""
    if 4 * np.prod(shape) <= _IN_MEMORY:
        return np.empty(shape, np.int32)
    with tempfile.TemporaryFile() as file:  # gone with the array
        return np.memmap(file, np.int32, "w+", shape=shape)
