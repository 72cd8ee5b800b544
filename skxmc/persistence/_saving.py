"""The model folder: saved whole or not at all, loaded without unpickling.

A folder holds

- ``config.json``: class, parameters, fitted attributes, versions, the size and
  SHA-256 of every other file, and its own SHA-256;
- ``model.safetensors``: all tensors and arrays but those of the transformer;
- ``labels.json``: lists of texts, such as label names and the words of a vectorizer;
- ``encoder/`` and ``tokenizer/``, as transformers writes and reads them.

Whoever made it may have meant harm: what it says is believed when it has been checked.
"""

import contextlib
import errno
import hashlib
import importlib
import json
import os
import re
import shutil
import tempfile
import warnings
from pathlib import Path

from safetensors.torch import load_file, save_file
from sklearn.utils.validation import check_is_fitted

from .._damage import DamagedError, damaged, parse_json
from ..nn.locks import is_at, left_behind, try_lock
from ..nn.process import alone, default_modes
from ._format2 import upgrade
from ._reader import Reader, Writer, check_estimator
from ._transformer_files import ENCODER_FILES, TOKENIZER_FILES

# Number of the format that this version writes. Later versions read it, or say why
# they do not.
FORMAT = 3
# All formats that this version reads.
FORMATS = (2, 3)
_FIELDS = {"format", "class", "versions", "files", "model", "sha256"}
# File by whose lock a hidden folder beside a model is known to be written.
_LOCK = "lock"
# The files that a folder consists of, config.json aside.
_PART = re.compile(
    r"model\.safetensors|labels\.json|index(-\d+)?\.bin"  # the last is refused later
    rf"|encoder(-\d+)?/({'|'.join(map(re.escape, ENCODER_FILES))})"
    rf"|tokenizer(-\d+)?/({'|'.join(map(re.escape, TOKENIZER_FILES))})"
)
_VALUES = {"model.safetensors", "labels.json"}
# Files that people, hubs and version control put beside a model. They are not opened.
_BESIDE = re.compile(r"\..*|(README|LICENSE)(\..*)?", re.IGNORECASE)


def load(folder, *, device="auto", verify=True):
    """Load a classifier that `save_pretrained` wrote.

    Parameters
    ----------
    folder : path
    device : str, default="auto"
        The classifier's `device` from now on.
    verify : bool, default=True
        Whether to compare files with the hashes that were written beside them. It
        reads them once more: about a second a gigabyte. What they hold is checked
        in any case, and config.json is compared with its own hash.

    Returns
    -------
    fitted classifier
        Of the class that was saved, in evaluation mode, on the CPU until it predicts.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file of it is missing.
    ValueError
        If it is damaged, holds anything that saving does not write, or was written in
        a format that this version cannot read.
    ImportError
        If it searches by a graph, and hnswlib is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import skxmc
    >>> data = skxmc.datasets.make_xmc(60, 20, kind="features", random_state=0)
    >>> X, Y = data.X, data.Y
    >>> model = skxmc.GRankClassifier(max_epochs=1, validation_fraction=0).fit(X, Y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save_pretrained(folder)
    ...     again = skxmc.load(folder)
    >>> bool((again.predict_topk(X)[0] == model.predict_topk(X)[0]).all())
    True
    """
    folder = Path(folder)
    config = _read_config(folder)
    try:
        _check_files(folder, config["files"], verify)
        parts = {name.partition("/")[0] for name in config["files"]} - _VALUES
        with alone():
            tensors = _load_tensors(folder / "model.safetensors")
            texts = _load_texts(folder / "labels.json")
            content = config["model"]
            if config["format"] == 2:
                content = upgrade(content, tensors, folder)
            reader = Reader(folder, tensors, texts, parts)
            model = reader.read(content)
        if type(model).__name__ != config["class"]:
            raise TypeError(f"it holds a {type(model).__name__}")
    except (DamagedError, FileNotFoundError, ImportError, MemoryError):
        raise
    except Exception as error:
        reason = str(error) if type(error) is ValueError else repr(error)
        raise ValueError(
            f"{folder / 'config.json'} does not describe a model, or its files do not: "
            f"{reason.removesuffix('.')}. They were changed after they were written. "
            "Save the model again."
        ) from error
    for estimator in reader.estimators:
        if "device" in estimator.get_params(deep=False):
            estimator.device = device
    return model


class FolderMixin:
    """What a classifier that can be saved as a folder has."""

    def save_pretrained(self, folder):
        """Save the fitted classifier as a folder that loads without unpickling.

        It is written under another name and renamed when it is whole: a model that
        stands there stays, until the new one takes its place. What an earlier save
        left behind when it was killed is removed.

        Parameters
        ----------
        folder : path
            Made, with those above it, where it is missing. A model that stands
            there is replaced.

        Raises
        ------
        NotFittedError
            If there is nothing to save.
        FileExistsError
            If something else stands there.
        TypeError
            If the classifier holds what a folder cannot keep.
        ValueError
            If a parameter or a fitted attribute is one that `load` would refuse.
        OSError
            If it cannot be written.
        """
        check_is_fitted(self)
        folder = check_target(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clear_up(folder)
        with _beside(folder) as aside:
            part = aside / "model"
            part.mkdir()  # with the permissions that folders have here
            with default_modes():
                _write(self, part)
            _put(part, folder, aside / "replaced")

    @classmethod
    def from_pretrained(cls, folder, *, device="auto", verify=True):
        """Load a classifier of this class that `save_pretrained` wrote.

        Parameters
        ----------
        folder, device, verify : as in `skxmc.load`

        Returns
        -------
        fitted classifier

        Raises
        ------
        FileNotFoundError, ValueError
            As `skxmc.load`, and if a classifier of another class was saved.
        """
        config = _read_config(Path(folder))
        if config["class"] != cls.__name__:
            raise ValueError(
                f"{folder} holds a {config['class']}, not a {cls.__name__}. Use "
                f"{config['class']}.from_pretrained, or skxmc.load for any of them."
            )
        return load(folder, device=device, verify=verify)


def check_target(folder):
    """Resolve the path of a folder to be saved; refuse to replace what is no model."""
    folder = Path(folder).resolve()
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file. Name a folder.")
    try:
        known = {"config.json", *_read_config(folder, any_format=True)["files"]}
    except (OSError, ValueError):
        known = set()
    others = [name for name in _files(folder) if name not in known]
    if others:
        raise FileExistsError(
            f"{folder} holds {others[0]}, which is no part of a model of skxmc, and "
            "which saving would remove. Name a new folder."
        )
    return folder


def _files(folder):
    """Names of all files below a folder."""
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return [path.relative_to(folder).as_posix() for path in paths]


@contextlib.contextmanager
def _beside(folder):
    """A hidden folder beside another, removed afterwards, and locked until then."""
    while True:
        aside = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        lock = aside / _LOCK
        try:
            file = lock.open("wb")
        except FileNotFoundError:  # taken for one that was left behind
            continue
        try:
            if try_lock(file) is False or not is_at(file, lock):
                continue
            yield aside
        finally:
            _remove(aside)
            file.close()
        return


def _remove(aside):
    """Remove a hidden folder, the file that is locked last: this may be killed too."""
    with contextlib.suppress(OSError):  # what is removed in part is no model any more
        (aside / "replaced").rename(aside / "removed")
    for name in ("removed", "model"):
        shutil.rmtree(aside / name, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)


def _prefix(folder):
    return f".{folder.name}.saving-"


def _left_behind(folder):
    """Hidden folders of saves that may have been killed."""
    if not folder.parent.is_dir():
        return []
    names = os.listdir(folder.parent)
    return [folder.with_name(n) for n in names if n.startswith(_prefix(folder))]


def _clear_up(folder):
    """Remove what killed saves left; a model that one had put aside goes back."""
    for aside in _left_behind(folder):
        with contextlib.suppress(OSError):
            aside.rmdir()  # nothing was written into it yet
        with left_behind(aside / _LOCK) as is_left:
            if not is_left:
                continue
            replaced = aside / "replaced"
            if not folder.exists():
                with contextlib.suppress(OSError):
                    replaced.rename(folder)
            if folder.exists() or not replaced.exists():
                _remove(aside)


def _put(part, folder, replaced):
    """Rename a folder to its place; what stood there is kept until it is there."""
    mode = (part / "config.json").stat().st_mode
    for name in _files(part):
        (part / name).chmod(mode)  # safetensors lets nobody else read
        with (part / name).open("rb") as file:
            os.fsync(file.fileno())
    while True:
        shutil.rmtree(replaced, ignore_errors=True)
        try:
            with contextlib.suppress(FileNotFoundError):  # nothing stands there
                folder.rename(replaced)
            part.rename(folder)
            return
        except BaseException as error:
            if not folder.exists() and replaced.exists():
                replaced.rename(folder)
            if getattr(error, "errno", None) not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Another save was faster; its model is the one to be replaced now.


def _hash(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(model, folder):
    """Write all files, ``config.json`` with the hashes of the others last."""
    writer = Writer(folder)
    content = writer.encode(model, "")
    for estimator in writer.estimators:
        check_estimator(estimator)
    for (system, parameter), kind in writer.dropped.items():
        warnings.warn(
            f"{system}.{parameter} is {kind}, which a model folder cannot keep: the "
            f"loaded classifier predicts the same, but has the default {parameter}, if "
            "it is fitted again.",
            UserWarning,
            stacklevel=3,
        )
    for system, attribute in writer.unknown:
        warnings.warn(
            f"{system}.{attribute} is no attribute that fit sets: it is not saved.",
            UserWarning,
            stacklevel=3,
        )
    save_file(writer.tensors, folder / "model.safetensors")
    _dump(writer.texts, folder / "labels.json")
    config = {
        "format": FORMAT,
        "class": type(model).__name__,
        "versions": {
            name: importlib.import_module(name).__version__
            for name in ("skxmc", "sklearn", "torch", "transformers")
        },
        "files": {
            name: {
                "bytes": (folder / name).stat().st_size,
                "sha256": _hash(folder / name),
            }
            for name in _files(folder)
        },
        "model": content,
    }
    config["sha256"] = _hash_config(config)
    _dump(config, folder / "config.json")


def _hash_config(config):
    """Hash of what a config.json says, whatever its blanks."""
    rest = {name: value for name, value in config.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


def _load_tensors(path):
    try:
        # Copies: views of the file would lie at odd places, and sum up otherwise.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except Exception as error:  # safetensors has a kind of its own
        raise damaged(path, str(error)) from error


def _dump(content, path):
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    # Lone surrogates are no Unicode, but may stand in the texts of labels.
    path.write_text(text + "\n", encoding="utf-8", errors="surrogatepass")


def _load_texts(path):
    texts = parse_json(path)
    lists = isinstance(texts, dict) and all(
        isinstance(part, list) and all(isinstance(text, str) for text in part)
        for part in texts.values()
    )
    if not lists:
        raise damaged(path, "it is not made of lists of texts")
    return texts


def _read_config(folder, *, any_format=False):
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(_no_model(folder))
    _check_inside(path, folder)
    config = parse_json(path)
    if not isinstance(config, dict) or not _is_ours(config):
        raise ValueError(
            f"{path} was not written by skxmc. Name a folder of save_pretrained."
        )
    if not any_format and config["format"] not in FORMATS:
        raise ValueError(
            f"{folder} has format {config['format']} of skxmc "
            f"{config['versions']['skxmc']}; skxmc {_version()} reads formats "
            f"{' and '.join(map(str, FORMATS))}. Load it with that version, or fit and "
            "save the model again."
        )
    if not isinstance(config.get("files"), dict) or "model" not in config:
        raise damaged(path, "it names no files")
    if any_format:
        return config
    fields = set(config)
    if config["format"] == 2:  # which had no hash of its own at first
        fields.add("sha256")
    if fields != _FIELDS:
        raise damaged(path, "its fields are not those of a model")
    if "sha256" in config and config["sha256"] != _hash_config(config):
        raise damaged(path, "its SHA-256 is not the one in it")
    return config


def _is_ours(config):
    versions = config.get("versions")
    return (
        type(config.get("format")) is int
        and isinstance(config.get("class"), str)
        and isinstance(versions, dict)
        and "skxmc" in versions
    )


def _version():
    return importlib.import_module("skxmc").__version__


def _no_model(folder):
    if not folder.exists():
        message = f"There is no folder {folder}."
        for aside in _left_behind(folder.absolute()):
            if (aside / "replaced").exists():
                message += (
                    " Saving was interrupted: what stood there is "
                    f"{aside / 'replaced'} now. Rename it, or save again."
                )
        return message
    return f"{folder} holds no model: config.json is missing."


def _check_files(folder, files, verify):
    """Compare the files with what was written down about them."""
    for name in files:
        if not _PART.fullmatch(name):
            raise damaged(folder / "config.json", f"{name!r} is no file of a model")
    for name in _VALUES - set(files):
        raise damaged(folder / "config.json", f"it does not name {name}")
    folders = {name.partition("/")[0] for name in files if "/" in name}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        known = path.is_dir() and name in folders or name in files
        if not (known or name == "config.json" or _stands_beside(name)):
            raise ValueError(
                f"{folder / name} is no part of the model that {folder} holds, and "
                "might be read in the place of a part. Remove it."
            )
    for name, about in files.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing, so the model is not complete. Copy the folder "
                "again, or save the model again."
            )
        _check_inside(path, folder)
        if set(about) != {"bytes", "sha256"}:
            raise damaged(folder / "config.json", f"it says too little of {name}")
        n_bytes = path.stat().st_size
        if n_bytes != about["bytes"]:
            raise damaged(path, f"it has {n_bytes} bytes instead of {about['bytes']}")
        if verify and _hash(path) != about["sha256"]:
            raise damaged(path, "its SHA-256 is not the one in config.json")


def _stands_beside(name):
    """Whether a file that is no part of a model may lie in its folder."""
    top, _, below = name.partition("/")
    return bool(_BESIDE.fullmatch(top)) and (not below or top.startswith("."))


def _check_inside(path, folder):
    """Refuse a link that leads out of the folder."""
    if folder.resolve() not in path.resolve().parents:
        raise ValueError(
            f"{path} is a link that leads out of {folder}. Put the file itself there: "
            f"cp -rL copies a folder so."
        )
