"""Saving a classifier as a folder, which appears only when it is complete."""

import contextlib
import errno
import importlib
import json
import os
import shutil
import stat
import tempfile
import warnings
from pathlib import Path

from safetensors.torch import save_file
from sklearn.utils.validation import check_is_fitted

from ..nn.group import is_first
from ..nn.locks import is_at, lock_abandoned, try_lock
from ..nn.process import default_modes
from ._estimators import check_estimator
from ._folder import (
    FORMAT,
    hash_config,
    hash_file,
    hidden_folders,
    hidden_prefix,
    list_files,
    read_config,
)
from ._loading import load
from ._to_json import Writer

# File in a hidden folder. The process that writes the folder holds its lock.
_LOCK = "lock"


class FolderMixin:
    """Methods of a classifier that can be saved as a folder."""

    def save_pretrained(self, folder):
        """Save the fitted classifier as a folder that loads without unpickling.

        The model is written to a hidden folder beside `folder`, which is renamed when
        it is complete. Until then, a model that is already in `folder` is left as it
        is. Hidden folders that killed processes have left behind are removed.

        In a process group, the first process writes, and the others return at once.

        Parameters
        ----------
        folder : path
            Folder to write. It is created, with its parents, if it does not exist. A
            model that it already holds is replaced.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        FileExistsError
            If the path exists and is not the folder of a model.
        TypeError
            If the classifier holds an object that a folder cannot keep.
        ValueError
            If `load` would refuse a parameter or a fitted attribute.
        OSError
            If the folder cannot be written.
        """
        check_is_fitted(self)
        if not is_first():
            return
        folder = check_target(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(folder)
        with _hidden_folder(folder) as hidden:
            new = hidden / "model"
            new.mkdir()  # with the usual permissions, unlike a temporary folder
            with default_modes():
                _write_model(self, new)
            _replace(folder, new, hidden / "replaced")

    @classmethod
    def from_pretrained(cls, folder, *, device="auto", verify=True):
        """Load a classifier of this class that `save_pretrained` wrote.

        Parameters
        ----------
        folder : path
            The folder that was given to `save_pretrained`, or a copy of it.
        device : str, default="auto"
            The parameter `device` of the loaded classifier, such as "cpu" or "cuda:1".
            "auto" chooses a GPU if there is one.
        verify : bool, default=True
            Whether to compare each file with the hash that was saved with it. Without
            it, the values in the files are still checked.

        Returns
        -------
        fitted classifier

        Raises
        ------
        FileNotFoundError
            If the folder or a file of it is missing.
        ValueError
            If the folder holds a classifier of another class, is damaged, or cannot be
            read by this version (see `skxmc.load`).
        """
        config = read_config(Path(folder))
        if config["class"] != cls.__name__:
            raise ValueError(
                f"{folder} holds a {config['class']}, not a {cls.__name__}. Use "
                f"{config['class']}.from_pretrained, or skxmc.load for any of them."
            )
        return load(folder, device=device, verify=verify)


def check_target(folder):
    """Resolve the path to save to, and refuse to replace anything but a model.

    Parameters
    ----------
    folder : path

    Returns
    -------
    Path

    Raises
    ------
    FileExistsError
        If the path is a file, or a folder with files that are not part of a model.
    """
    folder = Path(folder).resolve()
    while True:
        before = _identify(folder)
        if before is None:
            return folder
        if not stat.S_ISDIR(before[0]):
            raise FileExistsError(f"{folder} is a file. Name a folder.")
        other = _find_other_file(folder)
        if other is None:
            return folder
        # If another save has replaced the folder meanwhile, parts of two were seen.
        if _identify(folder) == before:
            break
    raise FileExistsError(
        f"{folder} holds {other}, which is no part of a model of skxmc, and which "
        "saving would remove. Name a new folder."
    )


def _identify(folder):
    """Return what tells a folder from another one at its path, or None without one."""
    try:
        found = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mode, found.st_ino, found.st_ctime_ns


def _find_other_file(folder):
    """Return the name of a file that is no part of a model, or None without one."""
    try:
        known = {"config.json", *read_config(folder, any_format=True)["files"]}
    except (OSError, ValueError):
        known = set()
    with contextlib.suppress(FileNotFoundError):  # if another save moves it away now
        return next((name for name in list_files(folder) if name not in known), None)
    return None


# Writing the files


def _write_model(model, folder):
    """Write all files, ``config.json`` with the hashes of the others last."""
    writer = Writer(folder)
    content = writer.encode(model, "")
    for estimator in writer.estimators:
        check_estimator(estimator)
    _warn_of_losses(writer)
    save_file(writer.tensors, folder / "model.safetensors")
    _write_json(writer.texts, folder / "labels.json")
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
                "sha256": hash_file(folder / name),
            }
            for name in list_files(folder)
        },
        "model": content,
    }
    config["sha256"] = hash_config(config)
    _write_json(config, folder / "config.json")


def _warn_of_losses(writer):
    messages = [
        f"{system}.{parameter} is {kind}, which a model folder cannot keep. The loaded "
        "classifier makes the same predictions, but if it is fitted again, it uses the "
        f"default of {parameter}."
        for (system, parameter), kind in writer.dropped.items()
    ] + [
        f"{system}.{attribute} is not an attribute that fit sets, so it is not saved."
        for system, attribute in writer.unknown
    ]
    for message in messages:
        warnings.warn(message, UserWarning, stacklevel=4)  # at save_pretrained


def _write_json(content, path):
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    # Label texts may hold lone surrogates, which Unicode does not define.
    path.write_text(text + "\n", encoding="utf-8", errors="surrogatepass")


# Replacing one folder by another


@contextlib.contextmanager
def _hidden_folder(folder):
    """Make a hidden folder beside another, lock it, and remove it in the end."""
    while True:
        hidden = Path(tempfile.mkdtemp(prefix=hidden_prefix(folder), dir=folder.parent))
        lock = hidden / _LOCK
        try:
            file = lock.open("wb")
        except FileNotFoundError:  # another save took it for one that was left behind
            continue
        try:
            if try_lock(file) is False or not is_at(file, lock):
                continue
            yield hidden
        finally:
            _remove(hidden)
            file.close()
        return


def _remove(hidden):
    """Remove a hidden folder, the locked file last, since this may be killed too."""
    with contextlib.suppress(OSError):  # half of a model must not be put back
        (hidden / "replaced").rename(hidden / "removed")
    for name in ("removed", "model"):
        shutil.rmtree(hidden / name, ignore_errors=True)
    shutil.rmtree(hidden, ignore_errors=True)


def _clean_up(folder):
    """Remove what killed saves have left, and put back a model that one had moved."""
    for hidden in hidden_folders(folder):
        with contextlib.suppress(OSError):
            hidden.rmdir()  # if nothing was written into it yet
        with lock_abandoned(hidden / _LOCK) as is_abandoned:
            if not is_abandoned:
                continue
            replaced = hidden / "replaced"
            if not folder.exists():
                with contextlib.suppress(OSError):
                    replaced.rename(folder)
            if folder.exists() or not replaced.exists():
                _remove(hidden)


def _replace(folder, new, replaced):
    """Rename the new folder to its final name, and keep the old one until then."""
    mode = (new / "config.json").stat().st_mode
    for name in list_files(new):
        (new / name).chmod(mode)  # safetensors writes files that only the owner reads
        with (new / name).open("rb") as file:
            os.fsync(file.fileno())
    while True:
        shutil.rmtree(replaced, ignore_errors=True)
        try:
            with contextlib.suppress(FileNotFoundError):  # if there is no folder yet
                folder.rename(replaced)
            new.rename(folder)
            return
        except BaseException as error:
            if not folder.exists() and replaced.exists():
                replaced.rename(folder)
            if getattr(error, "errno", None) not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Another save was faster: its model is the one to replace now.
