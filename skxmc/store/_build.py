"""The call that builds a store, and how it goes on after an interruption."""

import contextlib
import os
import warnings
from pathlib import Path

import numpy as np

from .._fingerprint import hash_tokenizer
from .._stored_texts import DESCRIPTION, FORMAT, JOURNAL, read_description
from .._validation import check_choice, check_flag, check_prompt
from .._words import nfc
from ..nn.encoder_files import (
    check_prompt_length,
    choose_max_length,
    load_encoder,
    read_settings,
)
from ..nn.group import all_or_none, from_first, is_first, join
from ..nn.locks import is_at, try_lock
from ..nn.text import token_dtype
from ._builder import describe_file
from ._files import hash_json
from ._open import is_store, open_store
from ._processes import Build, check_same_build

# Endings of the files that a folder stands for.
SHARDS = (".parquet", ".jsonl", ".ndjson")
# Endings of other files in a folder that may hold documents.
_UNREAD = (".json", ".csv", ".tsv", ".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")
_LOCK = "build.lock"


def build_store(
    files,
    folder,
    encoder="all-MiniLM-L6-v2",
    max_length=None,
    *,
    text="text",
    labels="labels",
    separator="|",
    quoted=True,
    known_labels=None,
    unknown="error",
    keep_texts=True,
    text_prompt=None,
    verbose=0,
):
    r"""Tokenise the documents of many files once, and keep them in a folder.

    Classifiers that read with a transformer are fitted on what :func:`open_store` makes
    of the folder, and hold in memory only the documents of a batch. Building holds one
    part of a file in memory, and the names of all labels.

    If a build is interrupted or killed, the same call goes on after the last file that
    was finished. If files are added at the end later, only these are read. If a file
    has changed since, it and all files after it are read again: a file counts as
    changed if its name, size or time of modification differs.

    In a process group (:mod:`skxmc.distributed`), all processes call this with the same
    arguments, and read one file each at a time. `folder` must lie on a disk that all of
    them see. All get the same store, which is that of one process, and any number of
    processes goes on with what others have left.

    Parameters
    ----------
    files : path, or sequence of paths
        Shards: Parquet files, files with one JSON object a line (``.jsonl`` or
        ``.ndjson``), or tables that :func:`skxmc.datasets.load_table` reads. A folder
        stands for its Parquet and JSON lines files, sorted by name; files in folders
        within it are not read. Documents have the order of the files. A file without
        rows adds no document.
    folder : path
        Folder of the store, which is created if it is missing.
    encoder : str, path, or (model, tokenizer), default="all-MiniLM-L6-v2"
        Transformer that will read the documents, as of the classifier.
    max_length : int or None, default=None
        Tokens kept of a document, as of the classifier. None means 128, or what the
        transformer can read if that is less.
    text : str, default="text"
        Column or field that holds the texts.
    labels : str or None, default="labels"
        Column or field that holds the labels of a document: a list, or a text with
        `separator` between the labels. A document may have none. None reads no labels.
    separator : str, default="|"
        Text between two labels of a cell.
    quoted : bool, default=True
        Whether double quotes enclose cells of CSV and TSV files.
    known_labels : sequence of str or None, default=None
        Names of the label columns, in their order, such as the `label_names_` of a
        fitted classifier. None means all names in the files, sorted.
    unknown : {"error", "ignore"}, default="error"
        Whether a label that is not among `known_labels` is an error, or is left out.
    keep_texts : bool, default=True
        Whether to keep the texts beside their tokens. Classifiers need them to count
        words: ``bag_of_words=True``, ``reading="words"``, and clusters of labels with
        ``cluster_features="tfidf"``.
    text_prompt : str or None, default=None
        Text put before each document for the transformer, as of the classifier: a text,
        or the name of a prompt in the encoder's files. None means their default prompt.
        Words are counted without it.
    verbose : int, default=0
        A progress bar is shown if this is positive.

    Returns
    -------
    store : :class:`~sklearn.utils.Bunch`
        What :func:`open_store` returns for the folder.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    OSError
        If the disk is full, or the encoder cannot be found.
    ValueError
        If a file cannot be read, a text is missing, a label is unknown, no file holds
        a document, the prompt leaves no room for a text, or `folder` holds a store of
        another encoder, `max_length`, prompt, columns or labels. The message names the
        file and the row. In a process group, also if the processes are given different
        files or arguments.
    RuntimeError
        If another process of the group has failed.

    Warns
    -----
    UserWarning
        If a folder also holds files that may hold documents and are not read, such as
        compressed ones.

    Examples
    --------
    >>> import json
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skxmc.store import build_store
    >>> rows = [
    ...     {"text": "no sound", "labels": ["audio", "driver"]},
    ...     {"text": "black screen", "labels": ["video"]},
    ... ]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shard = Path(folder, "tickets-0.jsonl")
    ...     _ = shard.write_text("\n".join(map(json.dumps, rows)))
    ...     store = build_store([shard], Path(folder, "store"), max_length=32)
    ...     print(len(store.X), store.X[1], store.Y.shape, store.label_names)
    2 black screen (2, 3) ['audio', 'driver', 'video']
    """
    folder = Path(folder)
    with join() as group:
        with all_or_none():
            check_choice("unknown", unknown, ("error", "ignore"))
            check_flag("keep_texts", keep_texts)
            check_prompt("text_prompt", text_prompt)
            files = _list_files(files)
            model, tokenizer = load_encoder(encoder)
            max_length = choose_max_length(max_length, model, encoder)
            if known_labels is not None:
                known_labels = [nfc(str(name)) for name in known_labels]
            is_ready = isinstance(encoder, tuple)
            plan = {
                "format": FORMAT,
                "encoder": type(model).__name__ if is_ready else str(encoder),
                "tokenizer": hash_tokenizer(tokenizer),
                "max_length": max_length,
                "dtype": np.dtype(token_dtype(tokenizer)).str,
                "text": text,
                "labels": labels,
                "separator": separator,
                "quoted": quoted,
                "known_labels": None
                if known_labels is None
                else hash_json(known_labels),
                "unknown": unknown,
                "keep_texts": keep_texts,
            }
            prompt = _find_prompt(encoder, text_prompt, tokenizer, max_length)
            if prompt:  # other stores have no such entry, as those of older versions
                plan["prompt"] = prompt
            del model
        if group is not None:
            check_same_build(group, plan, files)
        build = Build(folder, plan, files, tokenizer, known_labels)
        with contextlib.ExitStack() as stack:
            with all_or_none():
                sources = None
                if is_first():
                    folder.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(_lock(folder))
                    sources = _resume(folder, plan, files)
                    if _is_finished(folder, sources, files):
                        sources = None
            sources = from_first(sources)
            if sources is not None:
                build.run(sources, verbose)
        with all_or_none():
            return open_store(folder)


def _list_files(files):
    """Return the paths of all files, in their order."""
    if isinstance(files, (str, os.PathLike)):
        if is_store(files):
            raise ValueError(
                f"{files} is a store. Open it with open_store, or give the files that "
                "it was built from."
            )
        if Path(files).is_dir():
            found = find_shards(files)
            if not found:
                raise FileNotFoundError(
                    f"{files} holds no file that ends in {', '.join(SHARDS)}."
                )
            warn_of_unread(files)
            return found
        files = [files]
    files = [Path(path) for path in files]
    if not files:
        raise ValueError("files is empty: at least one file is needed.")
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing, or no file.")
        if path.suffix.lower() not in (*SHARDS, ".csv", ".tsv"):
            raise ValueError(
                f"{path} cannot be read: its name must end in {', '.join(SHARDS)}, "
                ".csv or .tsv."
            )
    return files


def find_shards(folder):
    """Return the Parquet and JSON lines files of a folder, sorted by name."""
    paths = sorted(Path(folder).iterdir())
    return [p for p in paths if p.suffix.lower() in SHARDS and p.is_file()]


def warn_of_unread(folder):
    """Warn of files beside the shards of a folder that may hold documents too."""
    paths = sorted(Path(folder).iterdir())
    unread = [
        path.name
        for path in paths
        if path.suffix.lower() in (SHARDS if path.is_dir() else _UNREAD)
        and path.name[0] not in "._"
    ]
    if unread:
        more = f" and {len(unread) - 1} more" if len(unread) > 1 else ""
        warnings.warn(
            f"{folder} also holds {unread[0]}{more}, and only files that end in "
            f"{', '.join(SHARDS)} are read. If documents are in others, decompress or "
            "convert these.",
            stacklevel=4,  # the caller of build_store
        )


def _resume(folder, plan, files):
    """Return what is known of the first files, which an earlier build has finished.

    Raises
    ------
    ValueError
        If the folder holds other files, or a store that is made in another way.
    """
    path = folder / JOURNAL
    if not path.exists():
        path = folder / DESCRIPTION
    if not path.exists():
        # A build whose first write has failed leaves the beginning of its journal.
        own = _LOCK, f"{JOURNAL}.part"
        others = [other.name for other in folder.iterdir() if other.name not in own]
        if others:
            raise ValueError(
                f"{folder} holds files that are no store, such as {others[0]}. Give a "
                "new or an empty folder."
            )
        return []
    found = read_description(path)
    if not found["sources"]:  # nothing is lost if it begins anew
        return []
    # The same tokenizer may have been loaded from another place.
    differing = [
        key
        for key in (*plan, "prompt")
        if key != "encoder" and plan.get(key) != found.get(key)
    ]
    if differing:
        key = differing[0]
        raise ValueError(
            f"{folder} holds a store with {key}={_show(found, key)}, and {key}="
            f"{_show(plan, key)} is asked for. Give another folder, or remove this one."
        )
    sources = []
    for source, path in zip(found["sources"], files, strict=False):
        if not describe_file(path).items() <= source.items():
            break
        sources.append(source)
    return sources


def _find_prompt(encoder, text_prompt, tokenizer, max_length):
    """Return the text that the transformer reads before each document."""
    prompt = read_settings(encoder, "mean").find_prompt(text_prompt)
    check_prompt_length(prompt, tokenizer, max_length)
    return prompt


def _show(plan, key):
    """Return a value of a plan for messages."""
    if key == "prompt":
        return repr(plan.get(key, ""))
    if key == "tokenizer":
        return f"{plan[key][:8]} (of encoder {plan['encoder']!r})"
    is_hash = key == "known_labels" and plan[key] is not None
    return f"names of hash {plan[key][:8]}" if is_hash else repr(plan[key])


def _is_finished(folder, sources, files):
    """Return whether the store is complete, and made of these sources and files."""
    path = folder / DESCRIPTION
    if len(sources) < len(files) or not path.exists() or (folder / JOURNAL).exists():
        return False
    return read_description(path)["sources"] == sources


@contextlib.contextmanager
def _lock(folder):
    """Context that keeps other processes from building the same store."""
    path = folder / _LOCK
    with path.open("a") as file:
        if try_lock(file) is False or not is_at(file, path):
            raise ValueError(
                f"Another process is building the store {folder}. Wait until it has "
                "ended."
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
