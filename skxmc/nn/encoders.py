"""The pretrained transformer that encodes texts."""

import contextlib

import torch
from torch import nn
from torch.nn.functional import normalize

from .activations import kept_floats
from .adapters import add_described, describe, find_adapter, inject, without_adapter
from .dense_layers import DenseLayers
from .process import isolate_torch
from .state import absent_or, choice, flag, number, optional, part
from .transformer_models import (
    choose_taken,
    find_layers,
    find_states,
    reads_forward,
    remove_pooler,
    set_checkpointing,
    set_dropout,
)

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
        Whether the classification token is at the end of a text, or the model is a
        decoder. The last token's states are then used instead of the first token's.
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
    dense : sequence of (weight, bias, activation), default=()
        Layers that map the second vector to another one, in their order (see
        `skxmc.nn.encoder_files.DenseLayer`). They are trained with the top layers.
    checkpointing : bool, default=False
        Whether training computes the states within a layer again for the gradient,
        instead of keeping them.

    If peft has put adapters into the model, these alone are trained, in the layers that
    would be trained without them.

    Attributes
    ----------
    width : int
        Width of the first vector: n_layers times the width of a token's state, or
        `hidden_size` if no layer is trained.
    hidden_size : int
        Width of the second vector.
    state_size : int
        Width of a token's state.
    dense : DenseLayers
        The layers above the transformer, if there are any.
    reads_forward : bool
        Whether the tokens of a text read only those before them (a decoder). It is kept
        because all modules have to be asked for it.
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
        dense=(),
        checkpointing=False,
    ):
        super().__init__()
        # A pooler takes states, not what Dense layers make of the untrained mean.
        with_pooler = with_pooler and not (n_trained == 0 and len(dense))
        pooler = getattr(model, "pooler", None) if with_pooler else None
        self.model = set_dropout(remove_pooler(model), dropout)
        self.reads_forward = reads_forward(model)
        self.n_trained = n_trained
        self.unit = unit
        self.pooling = pooling
        self.dense = DenseLayers(dense, self.state_size)
        self.freeze()
        self.dropout = dropout
        self.n_layers = n_layers
        self.cls_last = cls_last
        self.hidden_size = self.dense.out_features
        self.width = self._compute_width()
        self.pooler = pooler
        self.layers_return_tuples = False
        self.checkpointing = checkpointing
        if checkpointing:
            set_checkpointing(self.model, True)

    @property
    def has_adapter(self):
        """Whether peft has put an adapter into the model."""
        return find_adapter(self.model) is not None

    @property
    def state_size(self):
        """Width of a token's state."""
        return self.model.config.hidden_size

    def _compute_width(self):
        return self.hidden_size if self.is_fixed else self.n_layers * self.state_size

    @property
    def n_features(self):
        """Number of token ids that have an embedding; ids count from 0."""
        return len(self.model.get_input_embeddings().weight)

    @property
    def is_fixed(self):
        """Whether no weight is trained: both vectors of a document are then equal."""
        return self.n_trained == 0

    @property
    def keeps_states(self):
        """Whether training can go on from kept states of an untrained layer."""
        n_trained, n_layers = self.n_trained, self.model.config.num_hidden_layers
        return n_trained is not None and 0 < n_trained < n_layers

    def freeze(self):
        """Keep all but the top layers, or their adapters, from being trained."""
        if self.n_trained is None and not self.has_adapter:
            return
        trained = (
            self._split_layers()[1] if self.n_trained is not None else [self.model]
        )
        if self.has_adapter:
            weights = [p for m in trained for p in m.parameters() if p.requires_grad]
        else:
            trained += [self.dense] if self.n_trained else []
            weights = [p for module in trained for p in module.parameters()]
        self.requires_grad_(False)
        for weight in weights:
            weight.requires_grad_(True)

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
        """Reset the attributes that no folder keeps (see `skxmc.nn.state`)."""
        self.pooler = None
        self.layers_return_tuples = self.checkpointing = False
        self.reads_forward = False

    def to_state(self):
        """Return the arguments of the constructor (see `skxmc.nn.state`)."""
        names = "model n_layers cls_last dropout n_trained unit pooling".split()
        state = {name: getattr(self, name) for name in names}
        if len(self.dense.maps):
            state["dense"] = self.dense
        if self.has_adapter:
            state["adapters"] = describe(self.model)
            state["model"] = without_adapter(self.model)
        return state

    @classmethod
    def from_state(cls, state):
        """Make an encoder from its state, in evaluation mode."""
        state = dict(state)
        if "dense" in state:
            part(DenseLayers)(state["dense"], "dense")
            state["dense"] = state["dense"].to_tuples()
        if "adapters" in state:
            add_described(state["model"], state.pop("adapters"))
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
            "dense": part(DenseLayers),
            "hidden_size": choice(self.dense.out_features),
            "width": choice(self._compute_width()),
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
            ``input_ids`` and ``attention_mask``, padded on the right. With ``states``,
            of shape (n_docs, length, state_size), the untrained layers are not
            computed: these are the states of the highest of them. With ``vectors``, of
            shape (n_docs, hidden_size), nothing is computed.

        Returns
        -------
        first : tensor of shape (n_docs, width)
            First-token states of the last layers, concatenated.
        mean : tensor of shape (n_docs, hidden_size)
            Mean of the last layer's states over the tokens, or what `pooling` says,
            mapped by the Dense layers.
        """
        if "vectors" in batch:
            vectors = batch["vectors"].to(self._weight.dtype)
            return vectors, vectors
        with self._start_from(batch.get("states")):
            return self._pool(self._compute_states(batch), batch["attention_mask"])

    def read(self, batch):
        """Compute what training may keep of a batch of `Tokens`.

        Returns
        -------
        mean : tensor of shape (n_docs, hidden_size)
            As `forward` returns it.
        states : tensor of shape (n_docs, length, state_size) or None
            The states of the highest untrained layer, if training can go on from them.
        """
        lower = self._split_layers()[0]
        hooks = [layer.register_forward_hook(self._note_output) for layer in lower[:1]]
        try:
            states = self._compute_states(batch)
        finally:
            for hook in hooks:
                hook.remove()
        _, mean = self._pool(states, batch["attention_mask"])
        if not self.keeps_states:
            return mean, None
        return mean, states[len(lower)]

    def _note_output(self, layer, inputs, output):
        self.layers_return_tuples = isinstance(output, tuple)

    def _compute_states(self, batch):
        """Return the states of all layers, or of the last one if none is trained.

        Returns
        -------
        tuple of tensors of shape (n_docs, length, state_size)
        """
        # A text without a token gets one, which nothing reads: the attention of its
        # states would be a division by 0. The padding is always on the right.
        mask = batch["attention_mask"].clone()  # (n_docs, length)
        mask[:, 0] = 1
        options = {
            # To collect the states of all layers, transformers hooks into each of them.
            "output_hidden_states": not self.is_fixed,
            "return_dict": True,
            # Decoders would keep all states for a next token.
            "use_cache": False,
            "attention_mask": mask[:, None, None].bool() if self._takes_4d else mask,
            "global_attention_mask": None,
        }
        options = choose_taken(self.model, options)
        if "global_attention_mask" in options:
            options["global_attention_mask"] = self._global_attention(mask)
        output = self.model(batch["input_ids"], **options)
        if self.is_fixed:
            return (output[0],)
        states = find_states(output, self.model.config.num_hidden_layers + 1)
        if states is None and (self.keeps_states or self.n_layers > 1):
            raise ValueError(
                f"{type(self.model).__name__} does not return the states of all of its "
                'layers: use trained_layers=0, or "all" with n_layers=1.'
            )
        # Some models normalise the last layer's states after they have collected all.
        return (*(states or ())[:-1], output[0])

    def _pool(self, states, mask):
        """Turn the states of all layers into the two vectors of each document."""
        is_empty = None
        if self.pooling != "mean" or not self.is_fixed:
            is_empty = (mask.sum(dim=1) == 0)[:, None]  # these have no token to choose
        if self.pooling == "mean":
            weight = mask.to(states[-1].dtype)[:, :, None]
            mean = (states[-1] * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        elif self.pooling == "cls" and not self.cls_last:
            mean = states[-1][:, 0].masked_fill(is_empty, 0)
        else:
            (mean,) = _last_tokens(states[-1:], mask)
            mean = mean.masked_fill(is_empty, 0)
        if self.dense.activations:
            mean = self.dense(mean)
        if self.unit or self.is_fixed:
            mean = normalize(mean, dim=1)
        if self.is_fixed:
            return mean, mean
        if self.cls_last:
            first = _last_tokens(states[-self.n_layers :], mask)
        else:
            first = [layer[:, 0] for layer in states[-self.n_layers :]]
        return torch.cat(first, dim=1).masked_fill(is_empty, 0), mean

    @contextlib.contextmanager
    def _start_from(self, states):
        """Let the untrained layers return given states, without computing them."""
        lower = [] if states is None else self._split_layers()[0]

        def go_on(*args, **options):
            start = states.to(self._weight.dtype)
            return (start, None) if self.layers_return_tuples else start

        # transformers may have wrapped the method of a layer already.
        wrapped = [vars(layer).get("forward") for layer in lower]
        try:
            for layer in lower:
                layer.forward = go_on
            yield
        finally:
            for layer, method in zip(lower, wrapped, strict=True):
                del layer.forward
                if method is not None:
                    layer.forward = method

    @property
    def _weight(self):
        return self.model.get_input_embeddings().weight

    def _global_attention(self, mask):
        """Return the mask for global attention of a Longformer's first token."""
        first = torch.zeros_like(mask)
        first[:, 0] = 1
        return first

    @property
    def _takes_4d(self):
        """Whether attention accepts a mask of shape (n_docs, 1, 1, length).

        transformers inspects a mask of shape (n_docs, length) on the CPU, which waits
        for the GPU in every step. In a decoder, a mask of this shape would let a token
        read those that follow it.
        """
        config = self.model.config
        windows = ("local_attention", "sliding_window")
        windowed = any(getattr(config, name, None) for name in windows)
        is_sdpa = config._attn_implementation == "sdpa"
        return is_sdpa and not windowed and not self.reads_forward

    def __getstate__(self):
        # transformers attaches hooks that cannot be pickled to models that have run.
        state = self.__dict__.copy()
        state["_modules"], state["_dense"] = {}, self.dense
        model = self.model
        state["_model"] = type(model), model.config, model.state_dict(), model.training
        state["_trained"] = [n for n, p in model.named_parameters() if p.requires_grad]
        if self.has_adapter:
            state["_adapter"] = find_adapter(model)
        return state

    def __setstate__(self, state):
        kind, config, weights, training = state.pop("_model")
        adapter, dense = state.pop("_adapter", None), state.pop("_dense")
        trained = state.pop("_trained", None)  # pickles of older versions lack it
        super().__setstate__(state)
        # The constructor draws random weights, which are then replaced.
        with isolate_torch():
            model = remove_pooler(kind(config))
        if adapter is not None:
            inject(model, *adapter)
        for name, parameter in model.named_parameters() if trained is not None else ():
            parameter.requires_grad_(name in trained)
        set_dropout(model, self.dropout)
        if self.checkpointing:
            set_checkpointing(model, True)
        # The copy gets the dtype and the device of the original's weights.
        model.to(next(w for w in weights.values() if w.is_floating_point()))
        model.load_state_dict(weights)
        self.model, self.dense = model.train(training), dense
        self.reads_forward = reads_forward(model)
        self.freeze()

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
        if self.checkpointing:
            # The inputs of all layers, and once what the gradient of a layer needs.
            n_layers = self.n_trained or self.model.config.num_hidden_layers
            kept = kept_floats(self, length)
            set_checkpointing(self.model, False)
            kept += kept_floats(self, length) // n_layers
            set_checkpointing(self.model, True)
            return kept
        return kept_floats(self, length)


def _last_tokens(states, mask):
    """Return the state of each document's last token, of each of some layers."""
    last = mask.sum(dim=1).sub(1).clamp(min=0)  # (n_docs,)
    last = last[:, None, None].expand(-1, 1, states[0].shape[2])
    return [layer.gather(1, last)[:, 0] for layer in states]
