"""LightDXML's encoders: of documents by sums of word vectors, and of labels."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, normalize, relu

from .bags import FeatureVectors
from .devices import FullPrecision
from .state import choice, floats, linear_map, number, parameter, part

# With learning_rate="auto", a step moves a coordinate of the mean document so far.
_STEP_SIZE = 0.012


class SpectralBlock(nn.Module):
    """Residual block whose weight has spectral norm 1: relu(W x + b) + x.

    Parameters
    ----------
    dim : int
    dropout : float
    """

    def __init__(self, dim, dropout):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.dropout = nn.Dropout(dropout)
        # Estimate of the first right singular vector, improved in each training step.
        self.register_buffer("direction", normalize(torch.randn(dim), dim=0))
        # Cache of the normalised weight in evaluation mode.
        self.register_buffer("folded", None, persistent=False)

    @property
    def dim(self):
        """Width of the states."""
        return self.weight.shape[0]

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim = self.dim
        return {
            "weight": parameter(dim, dim),
            "bias": parameter(dim),
            "dropout": part(nn.Dropout),
            "direction": floats(dim),
        }

    def reset_unsaved(self):
        """Reset the cached weight (see `skxmc.nn.state`)."""
        self.register_buffer("folded", None, persistent=False)

    def train(self, mode=True):
        """Set the mode, and clear the cached weight."""
        self.folded = None
        return super().train(mode)

    def forward(self, states):
        """Transform states of shape (n_docs, dim)."""
        weight = self._get_weight()
        return self.dropout(relu(linear(states, weight, self.bias))) + states

    def _get_weight(self):
        if self.training or torch.is_grad_enabled():
            self.folded = None
            return self.normalised()
        # Another thread may set or clear the cache at any time, so it is read once.
        folded = self.folded
        if folded is None:
            with torch.inference_mode(False), torch.no_grad():
                folded = self.folded = self.normalised()
        return folded

    def normalised(self):
        """Return the weight divided by its largest singular value.

        One step of power iteration estimates that value.
        """
        with FullPrecision(self.weight.device.type):
            with torch.no_grad():
                left = normalize(self.weight @ self.direction, dim=0)
                right = normalize(self.weight.T @ left, dim=0)
                if self.training:
                    self.direction.copy_(right)
            norm = left @ (self.weight @ right)
            return self.weight / norm.clamp(min=1e-12)


def choose_learning_rate(docs, weights=None):
    """Return the learning rate of word vectors that suits the length of documents.

    It is 0.012 divided by the mean sum of the weights of a document's features.

    Parameters
    ----------
    docs : Features
        Documents without any feature do not count.
    weights : float64 ndarray of shape (n_docs,) or None, default=None
        Weights of the documents. None weighs all alike.
    """
    if weights is None:
        total = float(abs(docs.X).sum(dtype=np.float64))
        n_docs = np.count_nonzero(docs.lengths)
    else:
        total = float(weights @ np.asarray(abs(docs.X).sum(axis=1)).ravel())
        n_docs = weights @ (docs.lengths > 0)
    mean_weight = total / (n_docs or 1)
    return _STEP_SIZE / (mean_weight or 1.0)


class SparseEncoder(nn.Module):
    """Encoder of documents as weighted sums of word vectors, with a residual block.

    Parameters
    ----------
    vectors : tensor of shape (n_features, dim)
        Initial vectors of the words, or features.
    dropout : float
        Dropout rate on the sum and in the block.
    """

    at_encoder_rate = True

    def __init__(self, vectors, *, dropout):
        super().__init__()
        self.hidden_size = vectors.shape[1]
        self.features = FeatureVectors(vectors)
        self.dropout = nn.Dropout(dropout)
        self.block = SpectralBlock(self.hidden_size, dropout)

    @property
    def n_features(self):
        """Number of features that have a vector."""
        return self.features.n_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim = self.hidden_size
        return {
            "hidden_size": number(1, whole=True),
            "features": part(FeatureVectors, dim=dim),
            "dropout": part(nn.Dropout),
            "block": part(SpectralBlock, dim=dim),
        }

    def forward(self, batch):
        """Encode a batch of `Features`: a tensor of shape (n_docs, hidden_size)."""
        return self.block(self.dropout(relu(self.features(batch))))

    def floats_per_document(self, length):
        """Return the number of floats kept for the gradient of a document."""
        return 3 * length + 6 * self.hidden_size


class LabelEncoder(nn.Module):
    """Encoder of labels from the means of their documents' vectors (Eq. 4, 5).

    It consists of two linear maps with nothing between them. Their product starts as
    the identity, so that the vector of a label starts as the mean of its documents.

    Parameters
    ----------
    dim, hidden_dim : int
        D and D-hat of the paper.
    activation : {"relu", "none"}
        Activation of the result.
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
        """Encode means of shape (n_labels, dim)."""
        # Both maps are multiplied first: dim x dim costs less per label than twice
        # dim x hidden_dim.
        weight = self.second.weight @ self.first.weight  # (dim, dim)
        bias = self.second.weight @ self.first.bias + self.second.bias
        vectors = linear(means, weight, bias)
        return relu(vectors) if self.activation == "relu" else vectors
