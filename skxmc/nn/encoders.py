"""The pretrained transformer that encodes texts."""

import contextlib

import torch
from torch import nn
from torch.nn.functional import normalize

from .process import isolate_torch
from .state import absent_or, choice, flag, number, optional

# Longest document, in tokens, that is encoded to measure the memory of its activations.
_LONGEST_MEASURED = 1024


class TransformerEncoder(nn.Module):
    """Transformer that encodes a document as two vectors.

    The first vector concatenates the first-token states of the last layers. The second
    is the mean of the last layer's states over the tokens, or what `pooling` says. If
    no layer is trained, both vectors are the second, scaled to length 1.

    What the untrained layers compute for a document never changes, so that training can
    keep it (see `skxmc.nn.reading`) and go on from there.

    Parameters
    ----------
    model : PreTrainedModel
        Transformer, which is used and trained as it is, not copied.
    n_layers : int
        Number of last layers whose first-token states are concatenated.
    cls_last : bool, default=False
        Whether the classification token is at the end of a text. Its states are
        then used instead of the first token's.
    dropout : float or None, default=None
        Dropout rate inside the model. None keeps the model's own rates.
    with_pooler : bool, default=False
        Whether to keep the model's pretrained pooler, which GUDN trains.
    n_trained : int or None, default=None
        Number of top layers that are trained. None trains all layers and the
        embeddings. With 0, `n_layers` must be 1.
    unit : bool, default=False
        Whether the second vector is scaled to length 1.
    pooling : {"mean", "cls", "last"}, default="mean"
        Which states of the last layer make the second vector: the mean of all tokens',
        that of the classification token, or that of the last token, which alone has
        read the whole text in a decoder.

    Attributes
    ----------
    width : int
        Width of the first vector: n_layers times the hidden size.
    hidden_size : int
        Width of the second vector.
    pooler : Module or None
        The pretrained pooler, if it is kept. Predictions do not use it.
    """

    at_encoder_rate = True

    def __init__(
        self,
        model,
        *,
        n_layers,
        cls_last=False,
        dropout=None,
        with_pooler=False,
        n_trained=None,
        unit=False,
        pooling="mean",
    ):
        super().__init__()
        pooler = getattr(model, "pooler", None) if with_pooler else None
        self.model = _set_dropout(_remove_pooler(model), dropout)
        self.n_trained = n_trained
        self.unit = unit
        self.pooling = pooling
        self._freeze()
        self.dropout = dropout
        self.n_layers = n_layers
        self.cls_last = cls_last
        self.hidden_size = model.config.hidden_size
        self.width = n_layers * self.hidden_size
        self.pooler = pooler

    @property
    def n_features(self):
        """Number of token ids that have an embedding; ids count from 0."""
        return self.model.get_input_embeddings().num_embeddings

    @property
    def is_fixed(self):
        """Whether no weight is trained: both vectors of a document are then equal."""
        return self.n_trained == 0

    @property
    def keeps_states(self):
        """Whether training can go on from kept states of an untrained layer."""
        n_trained, n_layers = self.n_trained, self.model.config.num_hidden_layers
        return n_trained is not None and 0 < n_trained < n_layers

    def _freeze(self):
        """Keep all but the top layers from being trained."""
        if self.n_trained is None:
            return
        self.model.requires_grad_(False)
        for layer in self._split_layers()[1]:
            layer.requires_grad_(True)

    def _split_layers(self):
        """Return the untrained and the trained layers of the model, as two lists."""
        if not self.n_trained:
            return [], []
        layers = find_layers(self.model)
        n = len(layers) - self.n_trained
        return list(layers[:n]), list(layers[n:])

    def train(self, mode=True):
        """Set the mode. Untrained layers stay in evaluation mode, without dropout."""
        super().train(mode)
        if mode and self.n_trained is not None:
            self.model.eval()
            for layer in self._split_layers()[1]:
                layer.train()
        return self

    def reset_unsaved(self):
        """Reset the attributes that only training needs (see `skxmc.nn.state`)."""
        self.pooler = None

    def to_state(self):
        """Return the arguments of the constructor (see `skxmc.nn.state`)."""
        names = "model n_layers cls_last dropout n_trained unit pooling".split()
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_state(cls, state):
        """Make an encoder from its state, in evaluation mode."""
        return cls(**state).eval()

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        config = self.model.config
        return {
            "model": self._check_model,
            "n_layers": number(1, config.num_hidden_layers + 1, whole=True),
            "cls_last": flag,
            "dropout": optional(number(0, 1)),
            # Folders of older versions lack these.
            "n_trained": absent_or(optional(number(0, config.num_hidden_layers))),
            "unit": absent_or(flag),
            "pooling": absent_or(choice("mean", "cls", "last")),
            "hidden_size": choice(config.hidden_size),
            "width": choice(self.n_layers * config.hidden_size),
        }

    def _check_model(self, model, name):
        for key, tensor in model.named_parameters():
            if not tensor.isfinite().all():
                raise ValueError(f"{name}.{key} holds NaN or infinity.")

    def forward(self, batch):
        """Encode a batch of `Tokens`, or go on from what has been kept of them.

        Parameters
        ----------
        batch : dict of tensors
            ``input_ids`` and ``attention_mask``. With ``states``, of shape (n_docs,
            length, hidden_size), the untrained layers are not computed: these are the
            states of the highest of them. With ``vectors``, of shape (n_docs,
            hidden_size), nothing is computed.

        Returns
        -------
        first : tensor of shape (n_docs, width)
            First-token states of the last layers, concatenated.
        mean : tensor of shape (n_docs, hidden_size)
            Mean of the last layer's states over the tokens, or what `pooling` says.
        """
        if "vectors" in batch:
            vectors = batch["vectors"].to(self._dtype)
            return vectors, vectors
        with self._start_from(batch.get("states")):
            return self._pool(self._compute_states(batch), batch["attention_mask"])

    def read(self, batch):
        """Compute what training may keep of a batch of `Tokens`.

        Returns
        -------
        mean : tensor of shape (n_docs, hidden_size)
            As `forward` returns it.
        states : tensor of shape (n_docs, length, hidden_size) or None
            The states of the highest untrained layer, if training can go on from them.
        """
        states = self._compute_states(batch)
        _, mean = self._pool(states, batch["attention_mask"])
        if not self.keeps_states:
            return mean, None
        return mean, states[len(self._split_layers()[0])]

    def _compute_states(self, batch):
        """Return the states of all layers, or of the last one if none is trained.

        Returns
        -------
        tuple of tensors of shape (n_docs, length, hidden_size)
        """
        mask = batch["attention_mask"]  # (n_docs, length)
        output = self.model(
            batch["input_ids"],
            attention_mask=mask[:, None, None].bool() if self._takes_4d else mask,
            # To collect the states of all layers, transformers hooks into each of them.
            output_hidden_states=not self.is_fixed,
            **self._global_attention(mask),
        )
        return (output.last_hidden_state,) if self.is_fixed else output.hidden_states

    def _pool(self, states, mask):
        """Turn the states of all layers into the two vectors of each document."""
        if self.pooling == "mean":
            weight = mask.to(states[-1].dtype)[:, :, None]
            mean = (states[-1] * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        elif self.pooling == "cls" and not self.cls_last:
            mean = states[-1][:, 0]
        else:
            (mean,) = _last_tokens(states[-1:], mask)
        if self.unit or self.is_fixed:
            mean = normalize(mean, dim=1)
        if self.is_fixed:
            return mean, mean
        if self.cls_last:
            first = _last_tokens(states[-self.n_layers :], mask)
        else:
            first = [layer[:, 0] for layer in states[-self.n_layers :]]
        return torch.cat(first, dim=1), mean

    @contextlib.contextmanager
    def _start_from(self, states):
        """Let the untrained layers return given states, without computing them."""
        lower = [] if states is None else self._split_layers()[0]
        # transformers may have wrapped the method of a layer already.
        wrapped = [vars(layer).get("forward") for layer in lower]
        try:
            for layer in lower:
                layer.forward = lambda *args, **options: states.to(self._dtype)
            yield
        finally:
            for layer, method in zip(lower, wrapped, strict=True):
                del layer.forward
                if method is not None:
                    layer.forward = method

    @property
    def _dtype(self):
        return self.model.get_input_embeddings().weight.dtype

    def _global_attention(self, mask):
        """Return the argument for global attention of a Longformer's first token."""
        if self.model.config.model_type != "longformer":
            return {}
        first = torch.zeros_like(mask)
        first[:, 0] = 1
        return {"global_attention_mask": first}

    @property
    def _takes_4d(self):
        """Whether attention accepts a mask of shape (n_docs, 1, 1, length).

        transformers inspects a mask of shape (n_docs, length) on the CPU, which waits
        for the GPU in every step.
        """
        config = self.model.config
        windows = ("local_attention", "sliding_window")
        windowed = any(getattr(config, name, None) for name in windows)
        return config._attn_implementation == "sdpa" and not windowed

    def __getstate__(self):
        # transformers attaches hooks that cannot be pickled to models that have run.
        state = self.__dict__.copy()
        state["_modules"] = {}
        model = self.model
        state["_model"] = type(model), model.config, model.state_dict(), model.training
        return state

    def __setstate__(self, state):
        kind, config, weights, training = state.pop("_model")
        super().__setstate__(state)
        # The constructor draws random weights, which are then replaced.
        with isolate_torch():
            model = _set_dropout(_remove_pooler(kind(config)), self.dropout)
        # The copy gets the dtype and the device of the original's weights.
        model.to(next(w for w in weights.values() if w.is_floating_point()))
        model.load_state_dict(weights)
        self.model = model.train(training)
        self._freeze()

    def floats_per_document(self, length):
        """Return the number of floats kept for the gradient of a document.

        Transformers differ by a factor of three, so this is measured: a document of
        `length` tokens is encoded, and the activations that autograd keeps are summed
        up. Beyond 1024 tokens, the number is extrapolated from 512 and 1024 tokens as a
        linear plus a quadratic function of the length. An encoder that is not trained
        keeps its vectors alone.
        """
        if self.is_fixed:
            return 2 * self.hidden_size
        if length <= _LONGEST_MEASURED:
            return self._measure_activations(length)
        half = self._measure_activations(_LONGEST_MEASURED // 2)
        whole = self._measure_activations(_LONGEST_MEASURED)
        # f(n) = a n + b n^2 with n = length / 512: f(1) = half, f(2) = whole, and
        # b = (whole - 2 half) / 2.
        ratio = 2 * length / _LONGEST_MEASURED
        square = max(0, whole - 2 * half)
        return round(ratio * half + ratio * (ratio - 1) / 2 * square)

    def _measure_activations(self, length):
        ids = torch.zeros(1, length, dtype=torch.int64)
        weights = {p.untyped_storage().data_ptr() for p in self.parameters()}
        kept = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                # The storage itself is kept, or its address could be used again.
                kept[storage.data_ptr()] = storage
            return tensor

        was_training = self.training
        with (
            isolate_torch(),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            self.train()({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        self.train(was_training)
        return sum(storage.nbytes() for storage in kept.values()) // 4


def _last_tokens(states, mask):
    """Return the state of each document's last token, of each of some layers."""
    last = mask.sum(dim=1).sub(1).clamp(min=0)  # (n_docs,)
    last = last[:, None, None].expand(-1, 1, states[0].shape[2])
    return [layer.gather(1, last)[:, 0] for layer in states]


def find_layers(model):
    """Return the list of a transformer's layers, lowest first.

    Raises
    ------
    ValueError
        If the model has no list of as many layers as its configuration says.
    """
    n_layers = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return module
    raise ValueError(
        f"{type(model).__name__} has no list of {n_layers} layers, so that its top "
        'layers cannot be trained alone: use trained_layers="all" or 0.'
    )


def _remove_pooler(model):
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # it would never get a gradient
    return model


def _set_dropout(model, dropout):
    for module in model.modules() if dropout is not None else ():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        # Fused attention has no dropout module, but an attribute with the rate.
        for name in ("dropout_prob", "attention_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, float(dropout))
    return model
