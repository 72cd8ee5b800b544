"""The network of TReaderXML: attention over a text and its teacher's sequence."""

import torch
from torch import nn

from ..bags import FeatureVectors
from ..document_vectors import DocumentVectors
from ..losses import at_least_float32
from ..self_attention import SelfAttention, visible_places
from ..state import (
    absent_or,
    choice,
    flag,
    floats,
    layers,
    linear_map,
    nothing,
    number,
    parameter,
    part,
    refuse,
)
from .lightxml import LightXMLNetwork

# Root mean square of the coordinates of the initial word vectors.
SIZE = 0.5
# Attention layers of a reading module, by the name of the parameter's value: whether
# each layer is masked.
READINGS = {
    "masked-full": (True, False),
    "full-masked": (False, True),
    "masked": (True,),
    "full": (False,),
    "none": (),
}


class Reading(nn.Module):
    """Reading module of the paper (Eq. 3 to 15): a stack of attention layers.

    Parameters
    ----------
    dim, n_heads : int
        As in `SelfAttention`.
    layers : sequence of bool
        Whether each layer is masked.
    mask : {"causal", "upper"} or None
        Mask of the masked layers.
    residual : bool
        Whether the input of the first layer is added to its output.
    dropout : float
        Dropout rate on the output of a layer, before the residual connection.
    layer_norm : bool
        Whether layer normalisation follows each layer.
    """

    def __init__(self, dim, n_heads, layers, *, mask, residual, dropout, layer_norm):
        super().__init__()
        self.masks = [mask if masked else None for masked in layers]
        self.residual = residual
        self.layers = nn.ModuleList(SelfAttention(dim, n_heads) for _ in layers)
        self.norms = nn.ModuleList(
            nn.LayerNorm(dim) if layer_norm else nn.Identity() for _ in layers
        )
        self.dropout = nn.Dropout(dropout)

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n_layers = len(self.masks)
        dim = self.layers[0].dim if n_layers else None
        return {
            "masks": self._check_masks,
            "residual": flag,
            "layers": layers(nn.ModuleList, *[part(SelfAttention, dim=dim)] * n_layers),
            "norms": layers(nn.ModuleList, *[self._check_norm] * n_layers),
            "dropout": part(nn.Dropout),
        }

    def fits(self, dim):
        """Return whether the states have that width."""
        return all(layer.dim == dim for layer in self.layers)

    @staticmethod
    def _check_masks(masks, name):
        if not isinstance(masks, list) or len(masks) > 2:
            refuse(name, "a list of at most two masks", masks)
        for mask in masks:
            choice(None, "causal", "upper")(mask, name)

    def _check_norm(self, norm, name):
        kinds = nn.Identity, nn.LayerNorm
        part(*kinds)(norm, name)
        if isinstance(norm, nn.LayerNorm) and not self.fits(norm.normalized_shape[0]):
            raise ValueError(f"{name} has another width than the attention layers.")

    def forward(self, states, real):
        """Apply the layers.

        Parameters
        ----------
        states : tensor of shape (n_docs, length, dim)
        real : bool tensor of shape (n_docs, length)
            Whether a position holds a word; False at padding.

        Returns
        -------
        tensor of shape (n_docs, length, dim)
        """
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            new = self.dropout(layer(states, visible_places(real, self.masks[i])))
            states = norm(states + new if self.residual and i == 0 else new)
        return states


class TReaderEncoder(nn.Module):
    """Encoder of a document and its teacher's sequence as one vector (Eq. 3 to 17).

    The words of the text and of the teacher's sequence are embedded and read by a
    module each. A last attention layer reads both together (interaction). The states
    are pooled, standardized and mapped by a linear layer, the bottleneck.

    Parameters
    ----------
    vectors : tensor of shape (n_words, dim)
        Initial word vectors.
    label_length : int
        Length of the teacher's sequence in words. 0 makes an encoder without a teacher.
    hidden_size : int
        Width of the bottleneck, which is the width of the output.
    n_heads : int
        Number of attention heads.
    reading : str
        Layers of the reading modules: a key of `READINGS`.
    mask, residual, dropout, layer_norm
        As in `Reading`.
    positional : {"none", "sinusoidal"}
        Positional encoding that is added to word vectors.
    pooling : {"mean", "max", "first"}
        How the states of the pooled positions become one vector.
    pools_teacher : bool
        Whether the positions of the teacher's sequence are pooled beside those of the
        text. If not, they are pooled only for a text without words.
    trains_vectors : bool
        Whether the word vectors are trained.

    Attributes
    ----------
    center : tensor of shape (dim,)
        Mean that is subtracted from pooled vectors.
    scale : tensor of shape ()
        Factor that pooled vectors are multiplied by after that.
    """

    at_encoder_rate = True
    attribute_names = {"nothing": "untaught_vector"}

    def __init__(
        self,
        vectors,
        *,
        label_length,
        hidden_size,
        n_heads,
        reading,
        mask,
        residual,
        dropout,
        layer_norm,
        positional,
        pooling,
        pools_teacher,
        trains_vectors,
    ):
        super().__init__()
        dim = vectors.shape[1]
        self.words = FeatureVectors(vectors, learns=trains_vectors)
        self.label_length = label_length
        options = dict(mask=mask, residual=residual, dropout=dropout)
        options["layer_norm"] = layer_norm
        self.read_text = Reading(dim, n_heads, READINGS[reading], **options)
        self.read_teacher = self.untaught_vector = None
        if label_length:
            self.read_teacher = Reading(dim, n_heads, READINGS[reading], **options)
            # Word vector of a teacher that knows nothing about a document.
            self.untaught_vector = nn.Parameter(SIZE * torch.randn(dim))
        options["residual"] = False
        self.interact = Reading(dim, n_heads, (True,), **options)
        self.dropout = nn.Dropout(dropout)
        self.positional = positional
        self.pooling = pooling
        self.pools_teacher = pools_teacher
        self.bottleneck = nn.Linear(dim, hidden_size)
        nn.init.orthogonal_(self.bottleneck.weight)
        nn.init.zeros_(self.bottleneck.bias)
        self.hidden_size = self.width = hidden_size
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))

    @property
    def n_features(self):
        """Number of words that have a vector."""
        return self.words.n_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim, teaches = self.words.dim, self.read_teacher is not None
        reading = part(Reading, fits=lambda reading: reading.fits(dim))
        return {
            "words": part(FeatureVectors),
            "label_length": number(1, whole=True) if teaches else choice(0),
            "read_text": reading,
            "read_teacher": reading if teaches else nothing,
            "nothing": parameter(dim) if teaches else nothing,
            "interact": reading,
            "dropout": part(nn.Dropout),
            "positional": choice("none", "sinusoidal"),
            "pooling": choice("mean", "max", "first"),
            "pools_teacher": absent_or(flag),
            "bottleneck": linear_map(dim, self.hidden_size),
            "hidden_size": number(1, whole=True),
            "width": choice(self.hidden_size),
            "center": floats(dim),
            "scale": floats(),
        }

    def forward(self, batch):
        """Encode a batch of `TaughtDocuments`.

        Returns
        -------
        tensor of shape (n_docs, hidden_size), twice
            Both vectors of a document are the same here.
        """
        pooled = (self.pooled(batch) - self.center) * self.scale  # (n_docs, dim)
        docs = at_least_float32(self.bottleneck(pooled).relu())
        return docs, docs

    def standardize(self, pooled, weights=None):
        """Set `center` and `scale` so that the bottleneck gets mean 0 and variance 1.

        Parameters
        ----------
        pooled : tensor of shape (n_docs, dim)
            Pooled vectors of training documents.
        weights : float64 ndarray of shape (n_docs,) or None, default=None
            Weights of these documents. None weighs all alike.
        """
        relative = 1
        if weights is not None:
            weights = torch.from_numpy(weights / weights.mean())
            relative = weights.to(pooled)[:, None]
        self.center.copy_((pooled * relative).mean(dim=0))
        squares = (pooled - self.center).square() * relative
        size = squares.mean().sqrt()
        self.scale.fill_(1 / size if size > 1e-6 else 1)

    def pooled(self, batch):
        """Encode a batch of `TaughtDocuments` up to the bottleneck.

        Returns
        -------
        tensor of shape (n_docs, dim)
        """
        ids, weights = batch["words"], batch["weights"]  # (n_docs, length)
        real = ids < len(self.words.table) - 1
        # `FeatureVectors` sums up bags. Each word is a bag of its own here.
        states = self._embed(ids.reshape(-1, 1), weights.reshape(-1, 1))
        # (n_docs, length, dim)
        states = self.read_text(self._add_positions(states.view(*ids.shape, -1)), real)
        if self.read_teacher is None:
            return self._pool(self.interact(states, real), real)
        taught, known = self._encode_teacher(batch)
        # (n_docs, label_length + length, dim)
        states, joined = torch.cat([taught, states], 1), torch.cat([known, real], 1)
        states = self.interact(states, joined)  # Eq. 16
        if not getattr(self, "pools_teacher", True):  # older folders lack it
            # All that is known of a text without words is what the teacher knows.
            known = known & ~real.any(dim=1, keepdim=True)
        return self._pool(states, torch.cat([known, real], dim=1))

    def _encode_teacher(self, batch):
        """Encode the teacher's sequences.

        Returns
        -------
        states : tensor of shape (n_docs, label_length, dim)
        known : bool tensor of shape (n_docs, label_length)
            Whether the teacher has a word for a position.
        """
        ids = batch["teacher"]  # (n_docs * label_length, most words of a position)
        n_docs = len(batch["words"])
        states = self._embed(ids, batch["teacher_weights"])
        states = states.view(n_docs, self.label_length, -1)
        known = (ids[:, 0] < len(self.words.table) - 1).view(n_docs, -1)
        # A sequence without words gets the untaught vector at its first position.
        is_empty = ~known.any(dim=1, keepdim=True)
        is_first = torch.arange(self.label_length, device=ids.device) == 0
        replaced = is_empty & is_first
        states = torch.where(
            replaced[:, :, None], self.untaught_vector.to(states), states
        )
        known = known | replaced
        return self.read_teacher(self._add_positions(states), known), known

    def _embed(self, ids, weights):
        if self.words.row_wise and self.training:
            return self.words({"features": ids, "weights": weights})
        with torch.no_grad():
            return self.words({"features": ids, "weights": weights})

    def _add_positions(self, states):
        if self.positional == "sinusoidal":
            # The encodings are scaled to about the size of the word vectors.
            states = states + SIZE * _waves(states)
        return self.dropout(states)

    def _pool(self, states, pooled):
        """Pool the states of those positions for which `pooled` is True."""
        if self.pooling == "mean":
            total = (at_least_float32(states) * pooled[:, :, None]).sum(dim=1)
            return total / pooled.sum(dim=1, keepdim=True).clamp(min=1)
        if self.pooling == "first":
            rows = torch.arange(len(states), device=states.device)
            best = states[rows, pooled.byte().argmax(dim=1)]
        else:
            lowest = torch.finfo(states.dtype).min
            best = states.masked_fill(~pooled[:, :, None], lowest).amax(dim=1)
        return torch.where(pooled.any(dim=1, keepdim=True), best, 0)

    def floats_per_document(self, length):
        """Return the number of floats kept for the gradient of a document."""
        dim = self.words.table.shape[1]
        n_layers = len(self.read_text.layers) + 1
        length = length + self.label_length
        # Fused attention keeps no attention weights. The bool tensor of the visible
        # positions takes one byte, or a quarter of a float, for each pair.
        return n_layers * length * (8 * dim + length // 4)


def _waves(states):
    """Return sinusoidal positional encodings of shape (length, dim)."""
    length, dim = states.shape[1:]
    options = dict(dtype=torch.float32, device=states.device)
    position = torch.arange(length, **options)[:, None]
    pair = torch.arange((dim + 1) // 2, **options)  # a sine and a cosine each
    angle = position / 10_000 ** (2 * pair / dim)
    waves = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
    return waves[:, :dim].to(states.dtype)


class SameVectors(nn.Module):
    """Stand-in for `DocumentVectors` that returns the encoder's vectors unchanged.

    Parameters
    ----------
    dim : int
        Width of the encoder's vectors.
    """

    def __init__(self, dim):
        super().__init__()
        self.cluster_dim = dim

    @property
    def dim(self):
        """Width of the vectors that score labels."""
        return self.cluster_dim

    def fits_encoder(self, encoder):
        """Return whether the vectors of that encoder have the right width."""
        return self.cluster_dim == encoder.width

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        return {"cluster_dim": number(1, whole=True)}

    def forward(self, first, mean, batch=None):
        """Return the vectors for clusters and for labels."""
        return first, mean


class TReaderXMLNetwork(LightXMLNetwork):
    """LightXML's heads on the vectors of the dual cooperative network.

    Parameters
    ----------
    encoder : TReaderEncoder
        Encoder of the documents.
    output_activation : {"none", "softmax"}
        Activation of the scores of labels before the loss (Eq. 18).
    **options
        As in `LightXMLNetwork`.
    """

    def __init__(self, encoder, *, output_activation="none", **options):
        super().__init__(encoder, **options)
        self.output_activation = output_activation

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        return super().expected_state() | {
            "encoder": part(TReaderEncoder),
            "doc_vectors": part(
                DocumentVectors,
                SameVectors,
                fits=lambda module: module.fits_encoder(self.encoder),
            ),
            "output_activation": choice("none", "softmax"),
        }

    def _loss_of_all(self, scores, positives, **weights):
        if self.output_activation == "softmax":
            # Eq. 18 as it is written. The loss then takes sigmoids of numbers from 0 to
            # 1, so that it can hardly change: by 0.04 % with 3,956 labels.
            scores = at_least_float32(scores).softmax(dim=1)
        return super()._loss_of_all(scores, positives, **weights)
