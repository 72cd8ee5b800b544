"""Documents and their labels from CSV, JSONL and Parquet files."""

import csv
import json
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix


def read_rows(path, columns, *, others=False, n_rows=4096):
    """Yield rows as dicts that hold `columns`, with where each stands.

    Without `others` a Parquet file's other columns are not read; `n_rows` of it are
    in memory at once, of other files one.
    """
    kind = path.suffix.lower()
    readers = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    readers[".parquet"] = partial(_parquet, others=others, n_rows=n_rows)
    if kind not in readers:
        raise ValueError(
            f"{path} is no table that can be read: the name must end in "
            f"{', '.join(readers)}."
        )
    where = f"{path}, line 1"
    try:
        for where, row in readers[kind](path, columns):
            yield where, row
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}, or soon after it, is no UTF-8 ({error}). Save the file as UTF-8."
        ) from error


def _csv(path, columns):
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # texts are longer than 128 KiB
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file, delimiter=delimiter)
        if delimiter == "," and not set(columns) <= set(rows.fieldnames or []):
            # Spreadsheets write semicolons where numbers have a decimal comma.
            file.seek(0)
            again = csv.DictReader(file, delimiter=";")
            if set(columns) <= set(again.fieldnames or []):
                rows, delimiter = again, ";"
        if rows.fieldnames is None:
            raise ValueError(
                f"{path} is empty: its first line must name the columns, such as "
                f"{delimiter.join(columns)}."
            )
        _check_columns(path, columns, rows.fieldnames)
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if None in row or None in row.values():
                raise ValueError(
                    f"{where} has another number of cells than the header. Quote cells "
                    f"that hold {delimiter!r}."
                )
            yield where, row


def _jsonl(path, columns):
    with path.open("rb") as file:
        for where, row in read_objects(file, f"{path}, line"):
            _check_columns(where, columns, list(row))
            yield where, row


def read_objects(file, prefix):
    """Yield the JSON objects of a binary file, one a line, with where each stands."""
    for i, line in enumerate(file, start=1):
        where = f"{prefix} {i}"
        try:
            # Joined files have byte order marks within: each line may start with one.
            text = line.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise ValueError(f"{where} is no UTF-8 ({error}). Write UTF-8.") from error
        if not text:
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{where} is no JSON: {error}. Each line must be an object, such as "
                '{"text": "no sound"}.'
            ) from error
        if not isinstance(row, dict):
            raise ValueError(f"{where} must be a JSON object, got {text[:40]}.")
        yield where, row


def _parquet(path, columns, others, n_rows):
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError(
            f"{path} needs pyarrow, which is not installed: pip install pyarrow."
        ) from error
    try:
        # Otherwise a row group is in memory as a whole, and that may be the file.
        file = ParquetFile(path, buffer_size=2**16, pre_buffer=False)
    except ValueError as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from error
    _check_columns(path, columns, file.schema_arrow.names)
    i = 0
    columns = None if others else list(columns)
    for batch in file.iter_batches(n_rows, columns=columns):
        for row in batch.to_pylist():
            i += 1
            yield f"{path}, row {i}", row


def _check_columns(where, columns, names):
    for name in columns:
        if name not in names:
            raise ValueError(
                f"{where} has no column {name!r}; there are {', '.join(names)}."
            )


def read_table(path, text, labels, separator, known):
    """Texts, label matrix and names (see `skxmc.datasets.load_table`)."""
    texts, lists, cells = [], [], []
    for where, row in read_rows(Path(path), (text, labels)):
        document, names = row[text], row[labels]
        if not isinstance(document, str):
            raise ValueError(
                f"{where}: {text!r} must be a text, got {type(document).__name__}. "
                "Replace missing texts by ''."
            )
        texts.append(document)
        lists.append(_names(where, labels, names, separator))
        if isinstance(names, str):
            cells.append(lists[-1])
    if not texts:
        raise ValueError(f"{path} holds no documents.")
    _check_separator(path, cells, separator)
    return texts, *_matrix(lists, known)


def _names(where, column, names, separator):
    if names is None or names == "":
        return []
    if isinstance(names, str):
        names = names.split(separator)
    if not isinstance(names, list) or not all(isinstance(n, (str, int)) for n in names):
        raise ValueError(
            f"{where}: {column!r} must be a list of labels, or a text with "
            f"{separator!r} between them; got {names!r:.60}."
        )
    names = [str(name).strip() for name in names]
    return [name for name in names if name]


def _check_separator(path, cells, separator):
    """Refuse texts that were to be split at something else, or warn."""
    if max(map(len, cells), default=0) > 1:
        return
    for other in (",", ";", "|", "\t"):
        found = sum(other in names[0] for names in cells if names)
        if other == separator or not found:
            continue
        if found > len(cells) / 2:
            raise ValueError(
                f"No labels of {path} are separated by {separator!r}, but most hold "
                f"{other!r}. If that stands between them, say separator={other!r}; if "
                "each text is one label, write them as lists, in JSONL."
            )
        if other != ",":  # a name may well have a comma
            warnings.warn(
                f"No labels of {path} are separated by {separator!r}, but {found} of "
                f"{len(cells)} cells hold {other!r}. If that stands between them, say "
                f"separator={other!r}.",
                stacklevel=4,
            )


def _matrix(lists, known):
    """CSR matrix of labels by name: the known ones first, others behind, sorted.

    Of known labels with one name, it is the first. Names in a file are texts: 1 is "1".
    """
    known = [] if known is None else [str(name) for name in known]
    columns = {known[j]: j for j in reversed(range(len(known)))}
    new = sorted({name for names in lists for name in names} - set(columns))
    columns |= {name: j for j, name in enumerate(new, start=len(known))}
    rows = [sorted({columns[name] for name in names}) for names in lists]
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.fromiter((j for row in rows for j in row), np.int32, indptr[-1])
    ones = np.ones(len(indices), np.float32)
    names = known + new
    return csr_matrix((ones, indices, indptr), (len(rows), len(names))), names
