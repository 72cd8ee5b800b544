"""Bags of features: weighted sums of feature vectors, and encoders made of them."""

import torch
from torch import nn
from torch.nn.functional import normalize, pad

from .rowwise import TrainedByRow, weighted_bag
from .state import absent_or, choice, flag, layers, linear_map, number, parameter, part


class FeatureVectors(TrainedByRow):
    """Weighted sum of a document's feature vectors, which are trained row by row.

    Parameters
    ----------
    vectors : tensor of shape (n_features, dim)
        Initial vectors.
    learns : bool, default=True
        Whether the vectors are trained.

    Attributes
    ----------
    table : Parameter of shape (n_features + 1, dim)
        The vectors. The last row is padding.
    """

    def __init__(self, vectors, *, learns=True):
        super().__init__()
        self.row_wise = learns
        self.table = nn.Parameter(pad(vectors, (0, 0, 0, 1)), requires_grad=False)

    @property
    def n_features(self):
        """Number of features that have a vector."""
        return len(self.table) - 1

    @property
    def dim(self):
        """Width of the vectors."""
        return self.table.shape[1]

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        return {
            "table": parameter(None, None),
            "row_wise": absent_or(flag),
        }

    def forward(self, batch):
        """Sum the vectors of a batch of `Features`: a tensor of shape (n_docs, dim)."""
        self.prepare_rows(batch["features"])
        return weighted_bag(
            batch["features"], batch["weights"], self.table, self.touched
        )


class BagEncoder(nn.Module):
    """Encoder without a transformer: a weighted sum of feature vectors, and a block.

    Parameters
    ----------
    n_features : int
        Number of features.
    hidden_size : int
        Width of the feature vectors and of the output.
    dropout : float, default=0.0
        Dropout rate at the end of the residual block.

    Attributes
    ----------
    width, hidden_size : int
        Widths of the two vectors of a document, which are equal here.
    """

    at_encoder_rate = False

    def __init__(self, n_features, hidden_size, *, dropout=0.0):
        super().__init__()
        self.hidden_size = self.width = hidden_size
        vectors = torch.randn(n_features, hidden_size) * hidden_size**-0.5
        self.features = FeatureVectors(vectors)
        self.block = nn.Sequential(
            nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Dropout(dropout)
        )

    @property
    def n_features(self):
        """Number of features that have a vector."""
        return self.features.n_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim = self.hidden_size
        return {
            "hidden_size": number(1, whole=True),
            "width": choice(dim),
            "features": part(FeatureVectors, dim=dim),
            "block": layers(
                nn.Sequential, linear_map(dim, dim), part(nn.ReLU), part(nn.Dropout)
            ),
        }

    def forward(self, batch):
        """Encode a batch of `Features`.

        Returns
        -------
        tensor of shape (n_docs, width), twice
            Both vectors of a document are the same here.
        """
        bag = self.features(batch)  # (n_docs, hidden_size)
        states = bag + self.block(bag)
        return states, states

    def floats_per_document(self, length):
        """Return the number of floats kept for the gradient of a document."""
        return 3 * length + 4 * self.hidden_size


class WordReader(nn.Module):
    """Encoder of documents as weighted means of vectors of their words.

    The vectors come from a transformer that has read each word alone, and are not
    trained.

    Parameters
    ----------
    vectors : tensor of shape (n_features, hidden_size)
        Vectors of the words.

    Attributes
    ----------
    width, hidden_size : int
        Widths of the two vectors of a document, which are equal here.
    """

    at_encoder_rate = False
    is_fixed = True

    def __init__(self, vectors):
        super().__init__()
        self.hidden_size = self.width = vectors.shape[1]
        self.features = FeatureVectors(vectors, learns=False)

    @property
    def n_features(self):
        """Number of words that have a vector."""
        return self.features.n_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim = self.hidden_size
        return {
            "hidden_size": number(1, whole=True),
            "width": choice(dim),
            "features": part(FeatureVectors, dim=dim, row_wise=False),
        }

    def forward(self, batch):
        """Encode a batch of `Features`, or return the ``vectors`` kept of it.

        Returns
        -------
        tensor of shape (n_docs, width), twice
            The weighted means, scaled to length 1.
        """
        vectors = batch.get("vectors")
        if vectors is None:
            with torch.no_grad():
                vectors = normalize(self.features(batch), dim=1)
        vectors = vectors.to(self.features.table.dtype)
        return vectors, vectors

    def floats_per_document(self, length):
        """Return the number of floats kept for the gradient of a document."""
        return 2 * self.hidden_size
