"""LightDXML's cycle: label vectors, and the shortlists found by them."""

import tempfile

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, normalize, relu

from .examples import Examples
from .labels import label_means
from .losses import at_least_float32, log_distance_loss
from .network import Network
from .prediction import map_batches
from .state import choice, linear_map
from .text import padded_columns
from .training import train

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

    at_encoder_rate = False

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
        }

    def forward(self, means):
        """Encode means of shape (n_labels, dim), by the product of both maps."""
        weight = self.second.weight @ self.first.weight
        bias = self.second.weight @ self.first.bias + self.second.bias
        vectors = linear(means, weight, bias)
        return relu(vectors) if self.activation == "relu" else vectors


class LabelEncoderTraining(Network):
    """The label encoder as the training loop takes it (Eq. 2)."""

    def __init__(self, label_encoder):
        super().__init__()
        self.encoder = label_encoder

    def forward(self, inputs, targets, progress):
        """Distance between documents and the vectors of their labels."""
        # Unlike labels[...], whose gradient two threads add up in any order.
        labels = self.encoder(inputs["means"]).index_select(0, targets["label"])
        return log_distance_loss(targets["docs"][targets["doc"]], labels)


class LabelEncoderExamples(Examples):
    """Means of labels, and the vectors of documents that they are to be near.

    Parameters
    ----------
    docs : float tensor of shape (n_docs, dim)
        Vectors of the documents, all of which are trained on.
    means : float tensor of shape (n_labels, dim)
    Y : csr matrix of shape (n_docs, n_labels)
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
            ``means`` of the labels that the documents have.
        targets : dict of tensors
            ``docs``, the vectors of the documents, and for each pair of a document and
            its label the places of both: ``doc`` and ``label``.
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
    """Examples whose batches hold the labels nearest to their documents.

    These shortlists, and the label vectors that they are found by, are made anew now
    and then: the cycle of Algorithm 1.

    Parameters
    ----------
    docs, Y, rows
        As in `Examples`.
    network : LightDXMLNetwork
        Whose documents' vectors the labels' vectors are made from.
    every : int or None
        Epochs between two turns of the cycle; None is one turn, before the first epoch.
    label_init : {"documents", "random"}
        Whether the classifier starts at the first label vectors.
    rng : numpy Generator
        The one that orders the documents in training: checkpoints keep its state with
        that of the training loop.
    batch_size : int
        Documents encoded at once.
    label_options : dict
        How to train the label encoder: arguments of `train`.
    options : dict
        device, precision, verbose.

    Attributes
    ----------
    shortlists : int32 array of shape (n_rows, n_shortlist) or None
        Label columns padded with n_labels; None before the first turn.
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
        rng,
        batch_size,
        label_options,
        options,
    ):
        super().__init__(docs, Y, rows)
        self.network = network
        self.label_init = label_init
        self.every = every
        self.rng = rng
        self.batch_size = batch_size
        self.label_options = label_options
        self.options = options
        self.shortlists = None
        # Where the shortlist of each document stands.
        self.places = np.full(len(docs), -1)
        self.places[rows] = np.arange(len(rows))

    def batch(self, rows):
        """Make the batch of some documents: the targets hold their ``shortlist``."""
        inputs, targets = super().batch(rows)
        ids = self.shortlists[self.places[rows]].astype(np.int64)
        return inputs, targets | {"shortlist": torch.from_numpy(ids)}

    def begin_epoch(self, epoch):
        """Turn the cycle before epochs 1, 1 + every, 1 + 2 * every and so on."""
        if epoch == 1 or (self.every and (epoch - 1) % self.every == 0):
            vectors = self.renew_label_vectors()
            if epoch == 1 and self.label_init == "documents":
                length = float(vectors.norm(dim=1).mean())
                self.network.start_classifier(_SCALE, length)
            self._renew_shortlists(vectors)

    def state_dict(self):
        """The shortlists of now."""
        if self.shortlists is None:
            return {}
        return {"shortlists": torch.from_numpy(np.asarray(self.shortlists))}

    def load_state_dict(self, state):
        """Go on from a state."""
        if state:
            self.shortlists = state["shortlists"].numpy()
            if len(self.network.indexed):
                self.network.search_index(in_batches=True)

    def ends_with_a_turn(self, n_done, n_epochs):
        """Whether one more turn follows the epochs, for the predictions."""
        return bool(self.every) and n_done == n_epochs and n_epochs % self.every == 0

    def renew_label_vectors(self):
        """Train the label encoder on the documents' vectors of now (step 2).

        Returns
        -------
        float32 tensor of shape (n_rows, dim)
            The vectors of the documents.
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

    def _renew_shortlists(self, vectors):
        """Find the labels nearest to each training document (step 3)."""
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
    """Shortlists without the documents' positives, padded with n_labels instead.

    Parameters
    ----------
    ids : int64 tensor of shape (n_docs, n_shortlist)
    positives : int64 tensor of shape (n_docs, n_positives), padded with n_labels
    """
    offsets = (n_labels + 1) * torch.arange(len(ids), device=ids.device)[:, None]
    is_positive = torch.isin(ids + offsets, positives + offsets)
    return ids.masked_fill(is_positive, n_labels)


def _make_table(shape):
    """An int32 array, on disk where it is large."""
    if 4 * np.prod(shape) <= _IN_MEMORY:
        return np.empty(shape, np.int32)
    with tempfile.TemporaryFile() as file:  # gone with the array
        return np.memmap(file, np.int32, "w+", shape=shape)
