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

from sklearn.utils.validation import check_is_fitted

from ..nn.group import is_first
from ..nn.locks import is_at, lock_abandoned, try_lock
from ..nn.maps import explain_full_disk
from ..nn.process import default_modes
from ._card import CARD, card_was_edited, write_card
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
from ._hub import push
from ._loading import fill_load_docstring, load_class
from ._tensors import write_tensors
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

        The folder gets a model card, README.md. It says what the classifier predicts,
        how well it did on the held-out documents, and which parameters it has.

        In a process group, the first process writes, and the others return at once.

        Parameters
        ----------
        folder : path
            Folder to write. It is created, with its parents, if it does not exist. A
            model that it already holds is replaced, but a README.md that was edited
            since is kept.

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

        Warns
        -----
        UserWarning
            If something is not kept, or if a README.md that was edited is.
        """
        check_is_fitted(self)
        if not is_first():
            return
        folder = check_target(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(folder)
        advice = "Make room, and call save_pretrained again."
        with (
            explain_full_disk(folder.parent, "the model", advice),
            _hidden_folder(folder) as hidden,
        ):
            new = hidden / "model"
            new.mkdir()  # with the usual permissions, unlike a temporary folder
            with default_modes():
                _write_model(self, new, "path/to/this/folder")
            kept_card = _replace(folder, new, hidden / "replaced")
        if kept_card:
            _warn_of_kept_card(folder)

    def push_to_hub(
        self,
        repo_id,
        *,
        revision=None,
        private=None,
        token=None,
        commit_message="Model of skxmc",
    ):
        """Save the fitted classifier to a repository on the Hugging Face hub.

        The repository is created if it does not exist. It gets the files of
        `save_pretrained` in one commit. Files of an earlier model that the new one
        lacks are deleted, other files stay. In a process group, the first process
        writes, and the others return None at once.

        Parameters
        ----------
        repo_id : str
            Name of the repository, such as "user/model".
        revision : str or None, default=None
            Branch to commit to. It is created if it does not exist. None means the main
            branch.
        private : bool or None, default=None
            Whether a new repository is private. None means what the hub does for this
            user or organization, which is mostly public.
        token : str, bool or None, default=None
            Token of the hub with the right to write. None uses that of
            ``hf auth login``.
        commit_message : str, default="Model of skxmc"
            Message of the commit.

        Returns
        -------
        commit : str
            Hash of the commit. ``skxmc.load(repo_id, revision=commit)`` always loads
            this model.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        TypeError, ValueError
            If `save_pretrained` would raise it, or if the hub allows no such name.
        OSError
            If the hub is not reached, or refuses the commit.

        Warns
        -----
        UserWarning
            If something is not kept, if the repository has a README.md that was edited,
            which is kept, or if config.json holds paths of this machine.
        """
        check_is_fitted(self)
        if not is_first():
            return None
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
            advice = "Set the environment variable TMPDIR to a folder on a larger disk."
            with default_modes(), explain_full_disk(temporary, "the model", advice):
                _write_model(self, Path(temporary), repo_id)
            _warn_of_paths(self)
            commit, kept_card = push(
                Path(temporary),
                repo_id,
                revision=revision,
                private=private,
                token=token,
                commit_message=commit_message,
            )
        if kept_card:
            _warn_of_kept_card(repo_id)
        return commit

    @classmethod
    @fill_load_docstring
    def from_pretrained(
        cls,
        folder,
        *,
        device="auto",
        verify=True,
        mmap=True,
        revision=None,
        token=None,
        cache_dir=None,
    ):
        """Load a classifier of this class that was saved to a folder or the hub.

        Parameters
        ----------
        %(folder)s
        %(device)s
        %(verify)s
        %(mmap)s
        %(revision)s
        %(token)s
        %(cache_dir)s

        Returns
        -------
        fitted classifier

        Raises
        ------
        FileNotFoundError
            If the folder or a file of it is missing, or if the hub has no such
            repository, revision or file.
        ValueError
            If the folder holds a classifier of another class, is damaged, or cannot be
            read by this version (see `skxmc.load`).
        """
        return load_class(
            cls.__name__,
            folder,
            device=device,
            verify=verify,
            mmap=mmap,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
        )


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
        if not (folder / CARD).is_symlink():  # the file itself can be kept
            known.add(CARD)
    except (OSError, ValueError):
        known = set()
    with contextlib.suppress(FileNotFoundError):  # if another save moves it away now
        return next((name for name in list_files(folder) if name not in known), None)
    return None


# Writing the files


def _write_model(model, folder, source):
    """Write all files, ``config.json`` with the hashes of the others, and the card.

    The card says that `source` is what `load` takes.
    """
    writer = Writer(folder)
    content = writer.encode(model, "")
    for estimator in writer.estimators:
        check_estimator(estimator)
    _warn_of_losses(writer)
    write_tensors(writer.tensors, folder / "model.safetensors")
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
    card = write_card(model, config["versions"], source)
    (folder / CARD).write_text(card, encoding="utf-8", newline="\n")


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


def _warn_of_kept_card(where):
    warnings.warn(
        f"{CARD} in {where} was edited, so it was kept as it is, and may tell of an "
        "earlier model. If it is deleted, the next save writes a new one.",
        UserWarning,
        stacklevel=3,
    )


def _warn_of_paths(model):
    """Warn of parameters that are paths of this machine, since config.json has them."""
    paths = [
        name
        for name, value in model.get_params().items()
        if isinstance(value, (str, os.PathLike))
        and Path(value).expanduser().is_absolute()
    ]
    if paths:
        warnings.warn(
            f"config.json holds paths of this machine, which everybody who may read "
            f"the repository sees: {', '.join(paths)}. Predictions do not need them: "
            "change them with set_params before pushing.",
            UserWarning,
            stacklevel=3,
        )


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
    """Rename the new folder to its final name, and keep the old one until then.

    Returns
    -------
    bool
        Whether the old folder had a card that was edited, which the new one now has.
    """
    kept_card = False
    mode = (new / "config.json").stat().st_mode
    for name in list_files(new):
        (new / name).chmod(mode)  # transformers writes files that only the owner reads
        with (new / name).open("rb") as file:
            os.fsync(file.fileno())
    while True:
        shutil.rmtree(replaced, ignore_errors=True)
        try:
            with contextlib.suppress(FileNotFoundError):  # if there is no folder yet
                folder.rename(replaced)
            kept_card |= _keep_edited_card(replaced / CARD, new / CARD)
            new.rename(folder)
            return kept_card
        except BaseException as error:
            if not folder.exists() and replaced.exists():
                replaced.rename(folder)
            if getattr(error, "errno", None) not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Another save was faster: its model is the one to replace now.


def _keep_edited_card(old, new):
    """Write the card of the old folder to the new one, and return whether it was."""
    if not old.is_file() or not card_was_edited(old.read_bytes()):
        return False
    shutil.copyfile(old, new)
    return True
