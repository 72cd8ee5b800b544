"""Rows of the files whose labels the command line predicts."""

from pathlib import Path

import click

from .datasets._table_rows import check_single_text, read_objects, read_rows
from .store._build import find_shards, warn_of_unread
from .store._open import is_store

STANDARD_INPUT = Path("-")


def list_files(paths):
    """Return the files to read, in order: folders are replaced by their shards.

    Parameters
    ----------
    paths : sequence of Path
        Without any, standard input is read, which is also called "-".

    Raises
    ------
    ValueError
        If a folder holds no shards.
    """
    files = []
    for path in paths or (STANDARD_INPUT,):
        if not path.is_dir():
            files.append(path)
            continue
        if is_store(path):
            raise ValueError(
                f"{path} is a store, which keeps no other fields than texts. Give the "
                "files that it was built from."
            )
        shards = find_shards(path)
        if not shards:
            raise ValueError(f"{path} holds no .parquet and no .jsonl files.")
        warn_of_unread(path)
        files += shards
    return files


def count_batches(files, text, size, quoted):
    """Return the number of batches of `read_batches`.

    Raises
    ------
    ValueError
        If a file can be read only once, or holds a row that cannot be read.
    """
    for path in files:
        if not path.is_file():
            name = "Standard input" if path == STANDARD_INPUT else path
            raise ValueError(
                f"{name} cannot be divided into parts, since it can be read only once. "
                "Write its rows to a file."
            )
    return sum(1 for _ in read_batches(files, text, size, quoted))


def read_batches(files, text, size, quoted):
    """Yield lists of rows, the last full or not; rows before an error come first.

    Parameters
    ----------
    files : list of Path
        As `list_files` returns them. A batch may hold rows of several files.
    text : str
        Field that holds the text.
    size : int
        Number of rows of a batch.
    quoted : bool
        Whether quotes enclose cells of a table.
    """
    rows = []
    try:
        for place, row in _read_all_rows(files, text, size, quoted):
            check_single_text(place, row, text)
            if not isinstance(row.get(text), str):
                raise ValueError(f"{place} has no text in its field {text!r}.")
            rows.append(row)
            if len(rows) == size:
                yield rows
                rows = []
    except ValueError:
        if rows:
            yield rows
        raise
    if rows:
        yield rows


def _read_all_rows(files, text, size, quoted):
    for path in files:
        if path.suffix.lower() in (".csv", ".tsv", ".parquet"):
            yield from read_rows(
                path, (text,), all_columns=True, quoted=quoted, batch_size=size
            )
            continue
        with click.open_file(path, "rb") as file:
            prefix = "Line" if len(files) == 1 else f"{path}, line"
            yield from read_objects(file, prefix)
