"""The network of TReaderXML."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from ..encoders import FeatureVectors
from ..heads import DocumentVectors
from ..losses import at_least_float32
from ..state import (
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

# Root mean square of the coordinates that word vectors start with.
SIZE = 0.5


READINGS = {
    "masked-full": (True, False),
    "full-masked": (False, True),
    "masked": (True,),
    "full": (False,),
    "none": (),
}


class SelfAttention(nn.Module):
    """Multi-head self-attention, tanh({H_1; ...; H_h} W) (Eq. 3 to 13).

    Parameters
    ----------
    dim, n_heads : int
    """

    def __init__(self, dim, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.mix = nn.Linear(dim, dim, bias=False)
        query, key, value = self.qkv.weight.split(dim)
        nn.init.xavier_uniform_(query)
        nn.init.xavier_uniform_(key)
        # What is seen goes through at first: the mixed values are the states.
        nn.init.orthogonal_(value)
        with torch.no_grad():
            self.mix.weight.copy_(value.T)

    @property
    def dim(self):
        """Width of the states."""
        return self.mix.in_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim, n_heads = self.dim, self.n_heads
        divides = type(n_heads) is int and n_heads > 0 and dim % n_heads == 0
        return {
            "n_heads": number(1, dim if divides else 0, whole=True),
            "qkv": linear_map(dim, 3 * dim, bias=False),
            "mix": linear_map(dim, dim, bias=False),
        }

    def forward(self, states, visible):
        """Attend to the states that are visible.

        Parameters
        ----------
        states : tensor of shape (n_docs, length, dim)
        visible : bool tensor of shape (n_docs, 1, length, length)
            Whether a place (third axis) sees another (fourth).
        """
        split = self.qkv(states).unflatten(2, (3, self.n_heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)
        heads = scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.mix(heads.transpose(1, 2).flatten(2)).tanh()


def visible_places(real, mask=None):
    """Which places see which: real ones, and each itself.

    Parameters
    ----------
    real : bool tensor of shape (n_docs, length)
        False where there is padding.
    mask : {"causal", "upper"} or None, default=None
        A place sees those up to itself, or those from itself on; None is all.

    Returns
    -------
    bool tensor of shape (n_docs, 1, length, length)
    """
    length = real.shape[1]
    visible = real[:, None, None, :].expand(-1, 1, length, -1)
    if mask == "causal":
        visible = visible.tril()
    elif mask == "upper":
        visible = visible.triu()
    # A place that saw none would be NaN.
    return visible | torch.eye(length, dtype=torch.bool, device=real.device)


class Reading(nn.Module):
    """Reading module of a branch (Eq. 3 to 15): attention layers, the first residual.

    Parameters
    ----------
    dim, n_heads : int
    layers : sequence of bool
        Whether each layer is masked.
    mask : {"causal", "upper"} or None
        Of the layers that are.
    residual : bool
        Whether the first layer's input is added to its output.
    dropout : float
        On what a layer adds.
    layer_norm : bool
        After each layer.
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
        """Whether it reads states of that width."""
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
            raise ValueError(f"{name} is of another width than the layer before.")

    def forward(self, states, real):
        """Read states of shape (n_docs, length, dim), some of them padding."""
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            new = self.dropout(layer(states, visible_places(real, self.masks[i])))
            states = norm(states + new if self.residual and i == 0 else new)
        return states


class TReaderEncoder(nn.Module):
    """Encoding, reading and interaction: a document and its teacher as one vector.

    Parameters
    ----------
    vectors : tensor of shape (n_words, dim)
        Where word vectors start.
    label_length : int
        Words of the teacher's sequence; 0 is no teacher.
    hidden_size : int
        Width of the bottleneck.
    n_heads : int
    reading : str
        Of `READINGS`.
    mask, residual, dropout, layer_norm
        As of `Reading`.
    positional : {"none", "sinusoidal"}
    pooling : {"mean", "max", "first"}
    trains_vectors : bool

    Attributes
    ----------
    center : tensor of shape (dim,)
        Taken from what goes into the bottleneck.
    scale : tensor of shape ()
        What that is multiplied by then.
    """

    at_encoder_rate = True

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
        trains_vectors,
    ):
        super().__init__()
        dim = vectors.shape[1]
        self.words = FeatureVectors(vectors, learns=trains_vectors)
        self.label_length = label_length
        options = dict(mask=mask, residual=residual, dropout=dropout)
        options["layer_norm"] = layer_norm
        self.read_text = Reading(dim, n_heads, READINGS[reading], **options)
        self.read_teacher = self.nothing = None
        if label_length:
            self.read_teacher = Reading(dim, n_heads, READINGS[reading], **options)
            self.nothing = nn.Parameter(SIZE * torch.randn(dim))
        options["residual"] = False
        self.interact = Reading(dim, n_heads, (True,), **options)
        self.dropout = nn.Dropout(dropout)
        self.positional = positional
        self.pooling = pooling
        self.bottleneck = nn.Linear(dim, hidden_size)
        nn.init.orthogonal_(self.bottleneck.weight)
        nn.init.zeros_(self.bottleneck.bias)
        self.hidden_size = self.width = hidden_size
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(()))

    @property
    def n_features(self):
        """Words that have a vector."""
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
            "bottleneck": linear_map(dim, self.hidden_size),
            "hidden_size": number(1, whole=True),
            "width": choice(self.hidden_size),
            "center": floats(dim),
            "scale": floats(),
        }

    def forward(self, batch):
        """Encode a batch of `TaughtDocuments`: the same tensor twice."""
        pooled = (self.pooled(batch) - self.center) * self.scale
        docs = at_least_float32(self.bottleneck(pooled).relu())
        return docs, docs

    def standardize(self, pooled):
        """Give what goes into the bottleneck the mean 0 and the variance 1.

        Parameters
        ----------
        pooled : tensor of shape (n_docs, dim)
            Of training documents.
        """
        self.center.copy_(pooled.mean(dim=0))
        size = (pooled - self.center).square().mean().sqrt()
        self.scale.fill_(1 / size if size > 1e-6 else 1)

    def pooled(self, batch):
        """Read a batch of `TaughtDocuments`, before the bottleneck.

        Returns
        -------
        tensor of shape (n_docs, dim)
        """
        ids, weights = batch["words"], batch["weights"]
        real = ids < len(self.words.table) - 1
        # Each word is a bag of its own: what stands at a place is trained by row.
        states = self._embed(ids.reshape(-1, 1), weights.reshape(-1, 1))
        states = self.read_text(self._placed(states.view(*ids.shape, -1)), real)
        if self.read_teacher is not None:
            taught, known = self._teacher(batch)
            states, real = torch.cat([taught, states], 1), torch.cat([known, real], 1)
        states = self.interact(states, real)
        return self._pooled(states, real)

    def _teacher(self, batch):
        """The teacher's sequence, read, and which of its places there are."""
        ids = batch["teacher"]
        n_docs = len(batch["words"])
        states = self._embed(ids, batch["teacher_weights"])
        states = states.view(n_docs, self.label_length, -1)
        known = (ids[:, 0] < len(self.words.table) - 1).view(n_docs, -1)
        empty = ~known.any(dim=1, keepdim=True)
        first = torch.arange(self.label_length, device=ids.device) == 0
        nothing = empty & first
        states = torch.where(nothing[:, :, None], self.nothing.to(states), states)
        known = known | nothing
        return self.read_teacher(self._placed(states), known), known

    def _embed(self, ids, weights):
        if self.words.row_wise and self.training:
            return self.words({"features": ids, "weights": weights})
        with torch.no_grad():
            return self.words({"features": ids, "weights": weights})

    def _placed(self, states):
        if self.positional == "sinusoidal":
            states = states + SIZE * _waves(states)
        return self.dropout(states)

    def _pooled(self, states, real):
        if self.pooling == "first":
            return torch.where(real[:, :1], states[:, 0], 0)
        if self.pooling == "max":
            lowest = torch.finfo(states.dtype).min
            best = states.masked_fill(~real[:, :, None], lowest).amax(dim=1)
            return torch.where(real.any(dim=1, keepdim=True), best, 0)
        total = (at_least_float32(states) * real[:, :, None]).sum(dim=1)
        return total / real.sum(dim=1, keepdim=True).clamp(min=1)

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` words."""
        dim = self.words.table.shape[1]
        n_layers = len(self.read_text.layers) + 1
        length = length + self.label_length
        # Fused attention keeps no weights; what a place may see takes a byte a place.
        return n_layers * length * (8 * dim + length // 4)


def _waves(states):
    """Sines and cosines of the places, of shape (length, dim)."""
    length, dim = states.shape[1:]
    options = dict(dtype=torch.float32, device=states.device)
    place = torch.arange(length, **options)[:, None]
    half = torch.arange((dim + 1) // 2, **options)
    angle = place / 10_000 ** (2 * half / dim)
    waves = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
    return waves[:, :dim].to(states.dtype)


class SameVectors(nn.Module):
    """Reads documents for clusters and labels as the encoder leaves them.

    Parameters
    ----------
    dim : int
    """

    lift = None  # label vectors do not start from readings here

    def __init__(self, dim):
        super().__init__()
        self.cluster_dim = dim

    @property
    def dim(self):
        """Width of the vectors that score labels."""
        return self.cluster_dim

    def fits_encoder(self, encoder):
        """Whether it takes what that encoder returns."""
        return self.cluster_dim == encoder.width

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        return {"cluster_dim": number(1, whole=True)}

    def forward(self, first, mean):
        """Return both as they are."""
        return first, mean


class TReaderXMLNetwork(LightXMLNetwork):
    """LightXML's heads behind the dual cooperative network.

    Parameters
    ----------
    encoder : TReaderEncoder
    output_activation : {"none", "softmax"}
        What is done to scores of labels before the loss.
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

    def _loss_of_all(self, scores, positives):
        if self.output_activation == "softmax":
            scores = at_least_float32(scores).softmax(dim=1)
        return super()._loss_of_all(scores, positives)
