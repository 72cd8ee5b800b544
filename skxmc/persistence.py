"""The model folder: saved whole or not at all, loaded without unpickling.

A folder holds

- ``config.json``: class, parameters, fitted attributes, versions, and the size and
  SHA-256 of every other file;
- ``model.safetensors``: all tensors and arrays but those of the transformer;
- ``labels.json``: lists of texts, such as label names and the words of a vectorizer;
- ``encoder/`` and ``tokenizer/``, as transformers writes and reads them;
- ``index.bin``, a graph of hnswlib, where labels or documents are searched by one.
"""

import hashlib
import importlib
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path

from safetensors.torch import load_file, save_file
from sklearn.utils.validation import check_is_fitted

from ._model_values import DamagedError, Reader, Writer, damaged
from .nn.process import alone

# Of the folder. One that a version writes, it reads, and all later versions do or
# say why not.
FORMAT = 2


def load(folder, *, device="auto", verify=True):
    """Load a classifier that `save_pretrained` wrote.

    Parameters
    ----------
    folder : path
    device : str, default="auto"
        The classifier's `device` from now on.
    verify : bool, default=True
        Whether to compare files with the hashes that were written beside them. It
        reads them once more: about a second a gigabyte.

    Returns
    -------
    fitted classifier
        Of the class that was saved, in evaluation mode, on the CPU until it predicts.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file of it is missing.
    ValueError
        If it is damaged, or was written in a format that this version cannot read.

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
        with alone():
            tensors = _load_tensors(folder / "model.safetensors")
            reader = Reader(folder, tensors, _parse(folder / "labels.json"))
            model = reader.decode(config["model"])
        if not isinstance(model, FolderMixin):
            raise TypeError(f"it holds {type(model).__name__}")
    except (DamagedError, FileNotFoundError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(
            f"{folder / 'config.json'} does not describe a model ({error!r}): it was "
            "changed after it was written. Save the model again."
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
        stands there stays, until the new one takes its place.

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
        OSError
            If it cannot be written.
        """
        check_is_fitted(self)
        folder = check_target(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        parent = tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)
        try:
            part = Path(parent, "model")
            part.mkdir()  # with the permissions that folders have here
            _write(self, part)
            _put(part, folder)
        finally:
            shutil.rmtree(parent, ignore_errors=True)

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


def _put(part, folder):
    """Rename a folder to its place; what stood there is kept until it is there."""
    mode = (part / "config.json").stat().st_mode
    for name in _files(part):
        (part / name).chmod(mode)  # safetensors lets nobody else read
        with (part / name).open("rb") as file:
            os.fsync(file.fileno())
    if not folder.exists():
        part.rename(folder)
        return
    old = _aside(folder)
    shutil.rmtree(old, ignore_errors=True)
    try:
        folder.rename(old)
        part.rename(folder)
    except BaseException:
        if not folder.exists():
            old.rename(folder)
        raise
    finally:
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)


def _aside(folder):
    return folder.with_name(f".{folder.name}-replaced")


def _hash(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(model, folder):
    """Write all files, ``config.json`` with the hashes of the others last."""
    writer = Writer(folder)
    content = writer.encode(model, "")
    for (system, parameter), kind in writer.dropped.items():
        warnings.warn(
            f"{system}.{parameter} is {kind}, which a model folder cannot keep: the "
            f"loaded classifier predicts the same, but has the default {parameter}, if "
            "it is fitted again.",
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
    _dump(config, folder / "config.json")


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


def _parse(path):
    try:
        return json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error


def _read_config(folder, *, any_format=False):
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(_no_model(folder))
    config = _parse(path)
    if not isinstance(config, dict) or not _is_ours(config):
        raise ValueError(
            f"{path} was not written by skxmc. Name a folder of save_pretrained."
        )
    if not any_format and config["format"] != FORMAT:
        raise ValueError(
            f"{folder} has format {config['format']} of skxmc "
            f"{config['versions']['skxmc']}; skxmc {_version()} reads format {FORMAT}. "
            "Load it with that version, or fit and save it anew."
        )
    if not isinstance(config.get("files"), dict) or "model" not in config:
        raise damaged(path, "it names no files")
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
        if _aside(folder.absolute()).exists():
            message += (
                f" Saving was interrupted: what stood there is {_aside(folder)} now; "
                "rename it."
            )
        return message
    return f"{folder} holds no model: config.json is missing."


def _check_files(folder, files, verify):
    """Compare the files with what was written down about them."""
    for name, about in files.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing, so the model is not complete. Copy the folder "
                "again, or save the model again."
            )
        n_bytes = path.stat().st_size
        if n_bytes != about["bytes"]:
            raise damaged(path, f"it has {n_bytes} bytes instead of {about['bytes']}")
        if verify and _hash(path) != about["sha256"]:
            raise damaged(path, "its SHA-256 is not the one in config.json")
