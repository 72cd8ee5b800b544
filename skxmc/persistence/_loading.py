"""Loading a model folder."""

import contextlib
import tempfile
from functools import partial
from pathlib import Path

from .._damage import DamagedError, damage_error, parse_json
from .._parameters import fill_docstring, split_entries
from ..nn.process import isolate_torch
from ._folder import VALUE_FILES, check_files, read_config
from ._format2 import upgrade
from ._from_json import Reader
from ._hub import Repository, is_on_hub
from ._tensors import read_tensors

# What `load` and ``from_pretrained`` take.
_ENTRIES = """
folder : path or str
    The folder that was given to `save_pretrained`, or a copy of it. A str of the
    form "user/model" is the name of a repository on the Hugging Face hub if there
    is no folder of that name.
device : str
    The parameter `device` of the loaded classifier, such as "cpu" or "cuda:1".
    "auto" chooses a GPU if there is one.
verify : bool
    Whether to compare each file with the hash that was saved with it. This takes
    about a second per gigabyte. Without it, the values in the files are still
    checked, and so is the hash of config.json.
mmap : bool
    Whether the weights stay in the files of the folder, which are mapped into
    memory. All processes of a machine that load the same folder then share them.
    These files must not be changed in place while the model is used;
    `save_pretrained` replaces them, which is safe. False copies the weights into
    the memory of this process.
revision : str or None
    Branch, tag or hash of a commit of a repository on the hub. None means its main
    branch. Only the hash of a commit always names the same model.
token : str, bool or None
    Token of the hub for a private repository. None uses that of ``hf auth login``,
    if there is one, and False uses none.
cache_dir : path or None
    Folder that downloaded files are kept in. None means the cache of the hub.
"""
fill_load_docstring = partial(fill_docstring, table=split_entries(_ENTRIES))


@fill_load_docstring
def load(
    folder,
    *,
    device="auto",
    verify=True,
    mmap=True,
    revision=None,
    token=None,
    cache_dir=None,
):
    """Load a classifier that `save_pretrained` or `push_to_hub` wrote.

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
        Of the class that was saved, in evaluation mode. It stays on the CPU until it
        predicts.

    Raises
    ------
    FileNotFoundError
        If the folder or a file of it is missing, or if the hub has no such repository,
        revision or file.
    ValueError
        If the folder is damaged, if it holds anything that saving does not write, if
        this version cannot read its format, or if `revision` is given for a folder.
    OSError
        If the hub refuses to give a file.
    ImportError
        If the classifier searches with a graph, and hnswlib is not installed.

    Notes
    -----
    Of a repository, only the files that its config.json lists are downloaded, all of
    the same commit. They pass the same checks as a folder. If the hub is not reached,
    or HF_HUB_OFFLINE is set, what the cache holds of the revision is loaded.

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
    return load_class(
        None,
        folder,
        device=device,
        verify=verify,
        mmap=mmap,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
    )


def load_class(name, folder, *, device, verify, mmap, revision, token, cache_dir):
    """Load a classifier as `load` does, and refuse it if it is of another class.

    Parameters
    ----------
    name : str or None
        Name of the class. None accepts all.
    folder, device, verify, mmap, revision, token, cache_dir
        As in `load`.
    """
    with _open(folder, revision, token, cache_dir) as (local, config, repository):
        _check_class(name, config, folder)
        if repository is None:
            return _load_folder(local, config, device, verify, mmap)
        for file in config["files"]:
            repository.fetch(file)
        with repository.naming_errors():
            return _load_folder(
                local, config, device, verify, mmap, repository.links_to
            )


def load_config(folder):
    """Return what config.json of a folder or of a repository on the hub says."""
    with _open(folder) as (_, config, _):
        return config


@contextlib.contextmanager
def _open(folder, revision=None, token=None, cache_dir=None):
    """Yield a folder on this machine, its config.json, and the repository, if any."""
    if not is_on_hub(folder, revision):
        yield Path(folder), read_config(Path(folder)), None
        return
    with tempfile.TemporaryDirectory(
        prefix="skxmc-", ignore_cleanup_errors=True
    ) as temporary:
        local = Path(temporary).resolve()
        repository = Repository(folder, revision, token, cache_dir, local)
        repository.fetch("config.json")
        with repository.naming_errors():
            config = read_config(local, links_to=repository.links_to)
        yield local, config, repository


def _check_class(name, config, source):
    if name is not None and config["class"] != name:
        raise ValueError(
            f"{source} holds a {config['class']}, not a {name}. Use "
            f"{config['class']}.from_pretrained, or skxmc.load for any of them."
        )


def _load_folder(folder, config, device, verify, mmap, links_to=None):
    try:
        check_files(folder, config["files"], verify, links_to)
        model, estimators = _load_model(folder, config, mmap)
    except (DamagedError, FileNotFoundError, ImportError, MemoryError):
        raise
    except Exception as error:
        # A folder that was crafted can fail anywhere, and with any kind of error.
        reason = str(error) if type(error) is ValueError else repr(error)
        raise ValueError(
            f"{folder / 'config.json'} does not describe a model, or its files do not: "
            f"{reason.removesuffix('.')}. They were changed after they were written. "
            "Save the model again."
        ) from error
    for estimator in estimators:
        if "device" in estimator.get_params(deep=False):
            estimator.device = device
    return model


def _load_model(folder, config, mmap):
    """Make the classifier of a folder; return it and all classifiers in it."""
    parts = {name.partition("/")[0] for name in config["files"]} - VALUE_FILES
    with isolate_torch():
        tensors = read_tensors(folder / "model.safetensors", mmap)
        texts = _load_texts(folder / "labels.json")
        content = config["model"]
        if config["format"] == 2:
            content = upgrade(content, tensors, folder)
        reader = Reader(folder, tensors, texts, parts, mmap)
        model = reader.read(content)
    if type(model).__name__ != config["class"]:
        raise TypeError(f"it holds a {type(model).__name__}")
    return model, reader.estimators


def _load_texts(path):
    texts = parse_json(path)
    are_lists = isinstance(texts, dict) and all(
        isinstance(part, list) and all(isinstance(text, str) for text in part)
        for part in texts.values()
    )
    if not are_lists:
        raise damage_error(path, "it does not consist of lists of texts")
    return texts
