"""From what an encoder returns to the vectors that score clusters and labels."""

import torch
from torch import nn
from torch.nn.functional import normalize

from .bags import FeatureVectors
from .losses import at_least_float32
from .state import absent_or, linear_map, nothing, number, optional, part

# Length of document vectors if the label vectors start as unit vectors. Scores then lie
# between -20 and 20, which a softmax over tens of thousands of labels needs.
SCALE = 20.0


class DocumentVectors(nn.Module):
    """The two vectors of a document: one scores clusters, the other scores labels.

    The vector for clusters is the first-token states of the last layers. The vector for
    labels is a projection of it. If label vectors are initialised from the untrained
    encoder (see `start`), the vector for labels starts as the mean of the last layer's
    states instead, mapped like the label vectors and scaled to the length `SCALE`. It
    is then also appended to the vector for clusters.

    A bag of words may stand beside what the encoder makes of a document: the weighted
    sum of its words' vectors, which start at 0, is added to the vector for labels.

    Parameters
    ----------
    encoder : TransformerEncoder, BagEncoder or WordReader
        Encoder whose vectors are the input. Only its widths are used here, and whether
        it is trained. If both of its vectors are equal, one map is enough for `start`.
    dim : int or None
        Width of the label vectors. None makes no vector for labels.
    start : tensor of shape (dim, hidden_size) or None, default=None
        Matrix that maps a vector of the encoder to an initial label vector.
    dropout : float, default=0.5
        Dropout rate on the first-token states.
    n_words : int or None, default=None
        Number of words of the bag. None makes no bag.

    Attributes
    ----------
    cluster_dim : int
        Width of the vectors that score clusters.
    project : Linear or None
        The map of the first-token states.
    lift : Linear or None
        The map that starts as `start`.
    bag : FeatureVectors or None
        The vectors of the words.
    """

    def __init__(self, encoder, dim, *, start=None, dropout=0.5, n_words=None):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        needs_one = start is not None and getattr(encoder, "is_fixed", False)
        has_project = dim is not None and not needs_one
        self.project = nn.Linear(encoder.width, dim) if has_project else None
        self.lift = None
        self.cluster_dim = encoder.width
        if start is not None:
            self.lift = nn.Linear(*start.T.shape, bias=False)
            self.lift.weight.data.copy_(start)
            self.cluster_dim += dim
        if start is not None and has_project:
            # At first, scores are those of the untrained encoder alone.
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)
        self.bag = None
        if n_words is not None:
            self.bag = FeatureVectors(torch.zeros(n_words, dim))
            # Otherwise a rare word would move by its momentum in steps that do not
            # touch it.
            self.bag.rests = True
            if start is None:
                self.cluster_dim += dim

    @property
    def dim(self):
        """Width of the vectors that score labels, or None without such vectors."""
        made_by = self.lift if self.project is None else self.project
        return None if made_by is None else made_by.out_features

    def fits_encoder(self, encoder):
        """Return whether the vectors of that encoder have the right widths."""
        hidden_size = (
            encoder.hidden_size if self.lift is None else self.lift.in_features
        )
        found = self.cluster_dim - self._n_appended, hidden_size
        return found == (encoder.width, encoder.hidden_size)

    @property
    def _n_appended(self):
        """How many columns of the vectors for clusters are the vectors for labels."""
        return 0 if self.lift is None and self._get_bag() is None else self.dim

    def _get_bag(self):
        return getattr(self, "bag", None)  # folders of older versions lack it

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim = self.dim
        width = self.cluster_dim - self._n_appended
        project = nothing if dim is None else linear_map(width, dim)
        return {
            "cluster_dim": number(1, whole=True),
            "dropout": part(nn.Dropout),
            "project": project if self.lift is None else optional(project),
            "lift": optional(
                part(nn.Linear, fits=lambda m: m.bias is None, out_features=dim)
            ),
            "bag": absent_or(optional(part(FeatureVectors, dim=dim))),
        }

    def forward(self, first, mean, batch=None):
        """Compute the two vectors of each document.

        Parameters
        ----------
        first : tensor of shape (n_docs, width)
        mean : tensor of shape (n_docs, hidden_size)
            What the encoder returns.
        batch : dict of tensors or None, default=None
            The documents, with their words (see `skxmc.nn.text.Features`). None adds no
            bag of words.

        Returns
        -------
        for_clusters : tensor of shape (n_docs, cluster_dim)
        for_labels : tensor of shape (n_docs, dim), or None
        """
        if self.training:
            first = self.dropout(first)
        docs = None if self.project is None else self.project(first)
        if self.lift is not None:
            lifted = self.lift(mean)
            docs = lifted if docs is None else docs + lifted
        bag = self._get_bag()
        if bag is not None and batch is not None:
            docs = docs + bag(batch)
        if self.lift is None:
            both = first if bag is None else torch.cat([first, docs], dim=1)
            return both, docs
        docs = at_least_float32(docs)
        # The vector of an empty text is almost zero: eps bounds its gradient.
        docs = SCALE * normalize(docs, dim=1, eps=1e-3)
        return torch.cat([first, docs], dim=1), docs
