"""Rows of CSV, TSV, JSONL and Parquet files."""

import codecs
import json
import re
import warnings
from functools import partial

from ._delimited import read_delimited


class Repeated(list):
    """Values of columns, or of keys of an object, that have one name."""


def read_rows(path, columns, *, others=False, quoted=True, n_rows=4096):
    """Yield rows as dicts that hold `columns`, with where each stands.

    The first of `columns` is that of texts. The values of columns of one name are
    `Repeated`. Without `others` a Parquet file's other columns are not read; `n_rows`
    of it are in memory at once, of other files one.
    """
    kind = path.suffix.lower()
    csv = partial(_csv, quoted=quoted)
    readers = {".csv": csv, ".tsv": csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
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
            f"{where}, or soon after it, is no UTF-8 ({error}).{_utf16(path)} Save the "
            "file as UTF-8."
        ) from error


def _utf16(path):
    with path.open("rb") as file:
        marks = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
        return " It is UTF-16." if file.read(2) in marks else ""


def _csv(path, columns, quoted):
    rows = read_delimited(path, columns, quoted)
    _, names = next(rows)
    if any("\0" in name for name in names):
        raise ValueError(
            f"{path}, line 1 holds NUL characters, as UTF-16 does. Save the file as "
            "UTF-8."
        )
    _check_header(path, columns, names)
    for where, cells in rows:
        yield where, _as_row(list(zip(names, cells, strict=True)))


def _as_row(pairs):
    """A dict; values of one name are gathered."""
    row = dict(pairs)
    if len(row) < len(pairs):
        gathered = {name: [] for name in row}
        for name, value in pairs:
            gathered[name].append(value)
        row = {n: v[0] if len(v) == 1 else Repeated(v) for n, v in gathered.items()}
    return row


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
            row = json.loads(text, object_pairs_hook=_as_row)
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
    _check_header(path, columns, file.schema_arrow.names)
    i = 0
    columns = None if others else list(columns)
    for batch in file.iter_batches(n_rows, columns=columns):
        names = batch.schema.names
        values = [column.to_pylist() for column in batch.columns]
        for row in zip(*values, strict=True):
            i += 1
            yield f"{path}, row {i}", _as_row(list(zip(names, row, strict=True)))


def _check_columns(where, columns, names):
    for name in columns:
        if name not in names:
            raise ValueError(
                f"{where} has no column {name!r}; there are {_listed(names)}."
            )


def _listed(names):
    """Names, or so many as fit a line or two: without a header they may be texts."""
    text = ", ".join(n if n and n == n.strip() else repr(n) for n in names)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(names)} in all)"


def _check_header(path, columns, names):
    _check_columns(path, columns, names)
    places = [str(i) for i, name in enumerate(names, start=1) if name == columns[0]]
    if len(places) > 1:
        raise ValueError(
            f"{path} has several columns {columns[0]!r}, in the places "
            f"{', '.join(places)}. Rename all but that of the texts."
        )
    for labels in columns[1:]:
        # Libraries number the columns of one name.
        pattern = re.compile(re.escape(labels) + r"(\.|_duplicated_)\d+")
        numbered = [name for name in names if pattern.fullmatch(name)]
        if numbered:
            warnings.warn(
                f"{path} has the columns {_listed(numbered)} besides {labels!r}; they "
                "are not read. Call them all the same, and their labels are joined.",
                stacklevel=6,
            )


def check_once(where, row, column):
    """Refuse a row that has several texts."""
    if isinstance(row.get(column), Repeated):
        raise ValueError(
            f"{where} has {column!r} {len(row[column])} times. Keep the one of the "
            "text."
        )
