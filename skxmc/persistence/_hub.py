"""Model folders on the Hugging Face hub."""

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path

from ._card import CARD, card_was_edited
from ._folder import hidden_folders, is_model_file, list_files

# The hub allows no other names, and of these not all.
_REPOSITORY = re.compile(r"[a-z0-9][\w.-]*/[a-z0-9_][\w.-]*", re.ASCII | re.IGNORECASE)


def is_on_hub(source, revision=None):
    """Whether to look for a model on the hub: nothing of that name is on this machine.

    Parameters
    ----------
    source : str or path
        What a user asks for. A path object is never looked for on the hub.
    revision : str or None, default=None

    Raises
    ------
    ValueError
        If a revision is given for a folder on this machine.
    """
    is_here = not isinstance(source, str) or os.path.lexists(source)
    if is_here and revision is not None and os.path.lexists(source):
        raise ValueError(
            f"revision={revision!r} is for repositories on the hub, and {source} is a "
            "folder on this machine. Leave revision out, or rename the folder."
        )
    return (
        not is_here
        and _REPOSITORY.fullmatch(source) is not None
        # An interrupted save may have moved the folder.
        and not hidden_folders(Path(source).absolute())
    )


class Repository:
    """A repository of the hub, whose files are downloaded one by one into the cache.

    Parameters
    ----------
    name : str
    revision, token, cache_dir
        As in `skxmc.load`.
    folder : Path
        Empty folder, which gets links to the downloaded files.

    Attributes
    ----------
    commit : str or None
        Hash of the commit. The first file determines it, and all others are of the
        same commit.
    links_to : Path or None
        Folder of the repository in the cache, which the links in `folder` lead to. None
        if there are copies instead of links.
    """

    def __init__(self, name, revision, token, cache_dir, folder):
        self.name, self.revision, self.token = name, revision, token
        self.cache_dir, self.folder = cache_dir, folder
        self.commit = self.links_to = None

    def fetch(self, file):
        """Download a file, unless it is in the cache, and link to it.

        Raises
        ------
        FileNotFoundError
            If there is no such file, revision or repository.
        OSError
            If the hub refuses to give it.
        """
        path = Path(self._download(file)).absolute()
        snapshot = path.parents[file.count("/")]  # REPOSITORY/snapshots/COMMIT
        self.commit = snapshot.name
        link = self.folder / file
        link.parent.mkdir(exist_ok=True)
        try:
            link.symlink_to(path.resolve())
            self.links_to = snapshot.parents[1].resolve()
        except OSError:  # Windows allows links to developers only
            shutil.copyfile(path, link)

    def _download(self, file):
        hub = import_hub()
        try:
            return hub.hf_hub_download(
                self.name,
                file,
                revision=self.commit or self.revision,
                token=self.token,
                cache_dir=self.cache_dir,
                library_name="skxmc",
            )
        except Exception as error:  # of the hub, of its HTTP client, or of the disk
            kind, message = self._explain(file, error, hub.errors)
            raise kind(message) from error

    def _explain(self, file, error, errors):
        """Return the class and the message of the error that is raised instead."""
        name, neither = self.name, f"There is no folder {self.name} on this machine, "
        if isinstance(error, errors.HFValidationError):
            return FileNotFoundError, f"{neither}and the hub allows no such name."
        if isinstance(error, errors.GatedRepoError):
            return PermissionError, (
                f"The author of {name} on the hub has to grant access to it. Ask for "
                "it on the page of the repository, and log in with hf auth login, or "
                "pass token=."
            )
        if isinstance(error, errors.RepositoryNotFoundError):
            return FileNotFoundError, (
                f"{neither}and no repository {name} on the hub, or it is private. "
                "Correct the name, or log in with hf auth login, or pass token=."
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return FileNotFoundError, (
                f"The repository {name} on the hub has no revision {self.revision!r}. "
                "Give the name of a branch or a tag, or the hash of a commit."
            )
        if isinstance(error, errors.LocalEntryNotFoundError):
            return FileNotFoundError, (
                f"{neither}and {name} could not be loaded from the hub: {file} is not "
                "in the cache, and the hub was not reached, or HF_HUB_OFFLINE is set "
                f"({_first_line(error)})."
            )
        if isinstance(error, errors.EntryNotFoundError):
            return FileNotFoundError, (
                f"The repository {name} on the hub has no file {file}, so it holds no "
                "model of skxmc, or not all of it."
            )
        return OSError, (
            f"{file} of {name} could not be loaded from the hub: {_first_line(error)}"
        )

    @contextlib.contextmanager
    def naming_errors(self):
        """Name the repository in errors about the folder, which is a temporary one."""
        try:
            yield
        except (ValueError, FileNotFoundError) as error:
            kind = ValueError if isinstance(error, ValueError) else FileNotFoundError
            reason = str(error).replace(str(self.folder), self.name)
            raise kind(
                f"{reason} {self.name} is the repository on the hub at commit "
                f"{self.commit}. If only the copy in the cache is damaged, remove that "
                f"to download it again: hf cache rm model/{self.name}"
            ) from error


def push(folder, name, *, revision, private, token, commit_message):
    """Upload a model folder as one commit.

    Files of an earlier model that the new one lacks are deleted. Other files of the
    repository stay, and so does a model card that was edited.

    Parameters
    ----------
    folder : Path
        What `save_pretrained` wrote.
    name, revision, private, token, commit_message
        As in ``push_to_hub``.

    Returns
    -------
    commit : str
        Hash of the commit.
    kept_card : bool
        Whether the repository has a card that was edited.
    """
    hub = import_hub()
    api = hub.HfApi(token=token, library_name="skxmc")
    try:
        return _commit_files(hub, api, folder, name, revision, private, commit_message)
    except (OSError, ValueError):
        raise  # the hub's own messages say what to do
    except Exception as error:  # of its HTTP client
        raise OSError(
            f"{name} could not be pushed to the hub: {_first_line(error)}"
        ) from error


def _commit_files(hub, api, folder, name, revision, private, commit_message):
    api.create_repo(name, private=private, exist_ok=True)
    if revision is not None and revision != "main":
        api.create_branch(name, branch=revision, exist_ok=True)
    there = set(api.list_repo_files(name, revision=revision))
    files = set(list_files(folder))
    kept_card = CARD in there and _card_was_edited(api, name, revision)
    if kept_card:
        files.remove(CARD)
    operations = [
        hub.CommitOperationAdd(path_in_repo=file, path_or_fileobj=folder / file)
        for file in sorted(files)
    ] + [
        hub.CommitOperationDelete(path_in_repo=file, is_folder=False)
        for file in sorted(there - files)
        if is_model_file(file)
    ]
    commit = api.create_commit(
        name, operations, commit_message=commit_message, revision=revision
    )
    return commit.oid, kept_card


def _card_was_edited(api, name, revision):
    with tempfile.TemporaryDirectory() as temporary:
        path = api.hf_hub_download(name, CARD, revision=revision, local_dir=temporary)
        return card_was_edited(Path(path).read_bytes())


def import_hub():
    """Import huggingface_hub, which only repositories on the hub need."""
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(
            "Models on the Hugging Face hub need the package huggingface_hub: pip "
            "install 'skxmc[hub]'."
        ) from error
    return huggingface_hub


def _first_line(error):
    return str(error).strip().partition("\n")[0]
