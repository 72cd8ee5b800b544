"""The label encoder of LightDXML."""

from torch import nn
from torch.nn.functional import linear, relu

from .state import choice, linear_map


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
