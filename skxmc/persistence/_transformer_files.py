"""A transformer and its tokenizer in a model folder: two files each.

transformers loads many other files if it finds them, and some fields make it run other
code. `write_transformer` and `write_tokenizer` therefore leave two files, and reading
checks the fields of these before transformers sees them.
"""

import contextlib
import copy
import math
import threading

import torch
import transformers
from safetensors import safe_open
from torch.nn.modules.module import register_module_module_registration_hook

from .._damage import DamagedError, damage_error, parse_json
from ..nn.encoder_files import find_auto_class
from ..nn.process import isolate_torch
from ._tensors import is_alone

ENCODER_FILES = ("config.json", "model.safetensors")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
# Fields of a transformer's configuration that can make transformers run other code.
_RUNS_OTHER_CODE = ("quantization_config", "use_kernels", "trust_remote_code")
# Largest number that a transformer's configuration may hold, unless one of its tensors
# is longer: larger ones would only fill the memory.
_LARGEST = 1 << 24


def write_transformer(model, folder):
    """Write a transformer as `ENCODER_FILES`.

    Raises
    ------
    TypeError
        If these files do not describe it.
    """
    with silence_transformers():
        model.save_pretrained(folder, max_shard_size="1000TB")
    _remove_other_files(folder, ENCODER_FILES)
    try:
        again = _build_without_weights(folder)
    except DamagedError as error:
        raise TypeError(f"{error} Use pickle or joblib for this model.") from error
    if type(again) is not type(model):
        raise TypeError(
            f"The encoder is a {type(model).__name__}, but transformers makes a "
            f"{type(again).__name__} of its configuration. Use pickle or joblib for "
            "this model."
        )


def read_transformer(folder, dtype, mmap):
    """Read what `write_transformer` wrote, and run no code from there or from a hub.

    Parameters
    ----------
    folder : Path
    dtype : torch.dtype
    mmap : bool
        Whether weights stay in their file, as far as transformers maps it.

    Returns
    -------
    PreTrainedModel

    Raises
    ------
    DamagedError
        If the configuration does not fit the weights, or describes a model that is
        larger than they are.
    """
    kind = find_auto_class(_build_without_weights(folder).config)
    with silence_transformers():
        model, report = kind.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    missing = [n for n in report["missing_keys"] if not n.startswith("pooler.")]
    if missing:
        raise damage_error(folder, f"no weights for {missing[0]}")
    if report["unexpected_keys"]:
        name = sorted(report["unexpected_keys"])[0]
        raise damage_error(folder, f"{name} is no weight of this transformer")
    for weight in model.parameters():
        if not (mmap and is_alone(weight)):
            weight.data = weight.data.clone()
    return model


def _build_without_weights(folder):
    """Make the transformer that a folder describes on the meta device: it has no data.

    A crafted configuration is refused here, before its weights could fill the memory.
    """
    about, weights = (folder / name for name in ENCODER_FILES)
    try:
        with safe_open(weights, "pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]
    except Exception as error:  # safetensors has a kind of its own
        raise damage_error(weights, str(error)) from error
    largest = max([_LARGEST, *(size for shape in shapes for size in shape)])
    _check_fields(parse_json(about), about, largest)
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        with (
            silence_transformers(),
            _limit_modules(1000 + 10 * len(shapes)),
            torch.device("meta"),
        ):
            kind = find_auto_class(config)
            model = kind.from_config(config, trust_remote_code=False)
    except Exception as error:  # of many kinds
        reason = str(error).strip().partition("\n")[0]
        raise damage_error(about, f"transformers cannot read it ({reason})") from error
    n_described = sum(p.numel() for p in model.parameters())
    # Some weights are not in the file: those of a pooler, and those that are shared.
    if n_described > 2 * sum(map(math.prod, shapes)):
        raise damage_error(about, f"it has {n_described} weights, more than there are")
    return model


def _check_fields(value, path, largest):
    """Refuse fields that run other code, and numbers larger than all tensors."""
    if isinstance(value, dict):
        for name, field in value.items():
            runs = name in _RUNS_OTHER_CODE or name.endswith("implementation")
            if runs and field is not None:
                raise damage_error(path, f"its field {name} is not allowed here")
            if not (name.endswith("theta") and isinstance(field, int)):
                _check_fields(field, path, largest)
    elif isinstance(value, list):
        for field in value:
            _check_fields(field, path, largest)
    elif isinstance(value, (int, float)) and not abs(value) <= largest:
        if not isinstance(value, float):
            raise damage_error(
                path, "it holds a number that is larger than all tensors"
            )


@contextlib.contextmanager
def _limit_modules(n_modules):
    """Raise ValueError if this thread builds a model of more modules than that."""
    thread, made = threading.get_ident(), []

    def count(parent, name, module):
        if threading.get_ident() == thread:
            made.append(None)
            if len(made) > n_modules:
                raise ValueError(f"it has more than {n_modules} layers")

    handle = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def write_tokenizer(tokenizer, folder):
    """Write a tokenizer as `TOKENIZER_FILES`, without traces of how it was used."""
    tokenizer = copy.deepcopy(tokenizer)
    # Its last call leaves a length and padding, and loading leaves its arguments.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    for name in ("local_files_only", "trust_remote_code"):
        tokenizer.init_kwargs.pop(name, None)
    tokenizer.save_pretrained(folder)
    _remove_other_files(folder, TOKENIZER_FILES)


def read_tokenizer(folder):
    """Read what `write_tokenizer` wrote.

    Raises
    ------
    DamagedError
        If the folder holds no fast tokenizer, or names files elsewhere.
    """
    path = folder / TOKENIZER_FILES[1]
    about = parse_json(path)
    elsewhere = [n for n in about if n.endswith("_file") and about[n] is not None]
    if elsewhere:
        raise damage_error(path, f"its field {elsewhere[0]} names another file")
    try:
        with silence_transformers():
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            tokenizer("a")
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic in Rust is not an Exception
        reason = str(error).strip().partition("\n")[0]
        raise damage_error(folder, f"it holds no tokenizer ({reason})") from error
    if not tokenizer.is_fast:
        raise damage_error(
            folder, f"{type(tokenizer).__name__} is not a fast tokenizer"
        )
    return tokenizer


def _remove_other_files(folder, names):
    """Remove what else transformers wrote, such as a template for chats."""
    for path in folder.iterdir():
        if path.is_file() and path.name not in names:
            path.unlink()


@contextlib.contextmanager
def silence_transformers():
    """Silence the log and the progress bars of transformers."""
    from transformers.utils import logging

    with isolate_torch():  # since these settings belong to the whole process
        level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if shown:
                logging.enable_progress_bar()
