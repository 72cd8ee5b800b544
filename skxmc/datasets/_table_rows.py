"""Rows of CSV, TSV, JSONL and Parquet files."""

import codecs
import json
import re
import warnings
from functools import partial

from ._delimited import read_delimited


class RepeatedValues(list):
    """Values of several columns of one name, or of a key that an object repeats."""


def read_rows(path, columns, *, all_columns=False, quoted=True, batch_size=4096):
    """Yield the place of each row, for messages, and the row as a dict.

    Parameters
    ----------
    path : pathlib.Path
    columns : sequence of str
        Columns that must be present; the first is the column of texts. The values of
        several columns of one name come as `RepeatedValues`.
    all_columns : bool, default=False
        Whether to read the other columns of a Parquet file as well. Rows of all other
        formats are always complete.
    quoted : bool, default=True
        Whether quotes enclose cells of CSV and TSV files.
    batch_size : int, default=4096
        Rows of a Parquet file in memory at once. Other files are read row by row.
    """
    suffix = path.suffix.lower()
    read_csv = partial(_read_csv, quoted=quoted)
    readers = {
        ".csv": read_csv,
        ".tsv": read_csv,
        ".jsonl": _read_jsonl,
        ".ndjson": _read_jsonl,
        ".parquet": partial(
            _read_parquet, all_columns=all_columns, batch_size=batch_size
        ),
    }
    if suffix not in readers:
        raise ValueError(
            f"{path} cannot be read as a table: its name must end in "
            f"{', '.join(readers)}."
        )
    place = f"{path}, line 1"
    try:
        for place, row in readers[suffix](path, columns):
            yield place, row
    except UnicodeDecodeError as error:
        # Files are decoded in blocks, so the bad byte may be some lines further on.
        raise ValueError(
            f"{place}, or a line soon after it, is not UTF-8 ({error})."
            f"{_describe_utf16(path)} Save the file as UTF-8."
        ) from error


def _describe_utf16(path):
    with path.open("rb") as file:
        byte_order_marks = codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE
        return " It is UTF-16." if file.read(2) in byte_order_marks else ""


def _read_csv(path, columns, quoted):
    rows = read_delimited(path, columns, quoted)
    _, names = next(rows)
    if any("\0" in name for name in names):
        raise ValueError(
            f"{path}, line 1 holds NUL characters, as UTF-16 files do. Save the file "
            "as UTF-8."
        )
    _check_header(path, columns, names)
    for place, cells in rows:
        yield place, _row_of_pairs(list(zip(names, cells, strict=True)))


def _row_of_pairs(pairs):
    """Make a dict of names and values, which keeps all values of a repeated name."""
    row = dict(pairs)
    if len(row) < len(pairs):
        values = {name: [] for name in row}
        for name, value in pairs:
            values[name].append(value)
        row = {
            name: several[0] if len(several) == 1 else RepeatedValues(several)
            for name, several in values.items()
        }
    return row


def _read_jsonl(path, columns):
    with path.open("rb") as file:
        for place, row in read_objects(file, f"{path}, line"):
            _check_columns(place, columns, list(row))
            yield place, row


def read_objects(file, prefix):
    """Yield the place and the JSON object of each line of a binary file."""
    for number, line in enumerate(file, start=1):
        place = f"{prefix} {number}"
        try:
            # Each line may start with a byte order mark: where files are joined, the
            # mark of the second one is in the middle.
            text = line.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{place} is not UTF-8 ({error}). Save the file as UTF-8."
            ) from error
        if not text:
            continue
        try:
            row = json.loads(text, object_pairs_hook=_row_of_pairs)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{place} is not valid JSON: {error}. Each line must be an object, "
                'such as {"text": "no sound"}.'
            ) from error
        if not isinstance(row, dict):
            raise ValueError(f"{place} must be a JSON object, got {text[:40]}.")
        yield place, row


def _read_parquet(path, columns, all_columns, batch_size):
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError(
            f"Reading {path} needs pyarrow, which is not installed. "
            "Run: pip install pyarrow"
        ) from error
    try:
        # Without these settings pyarrow holds a whole row group in memory, and many
        # files have only one.
        file = ParquetFile(path, buffer_size=2**16, pre_buffer=False)
    except ValueError as error:
        raise ValueError(f"{path} is not a Parquet file: {error}") from error
    _check_header(path, columns, file.schema_arrow.names)
    number = 0
    selected = None if all_columns else list(columns)
    for batch in file.iter_batches(batch_size, columns=selected):
        names = batch.schema.names
        values = [column.to_pylist() for column in batch.columns]
        for row in zip(*values, strict=True):
            number += 1
            yield (
                f"{path}, row {number}",
                _row_of_pairs(list(zip(names, row, strict=True))),
            )


def _check_columns(place, columns, names):
    for name in columns:
        if name not in names:
            raise ValueError(
                f"{place} has no column {name!r}; there are {_list_names(names)}."
            )


def _list_names(names):
    """List names in at most 200 characters: without a header they may be documents."""
    text = ", ".join(n if n and n == n.strip() else repr(n) for n in names)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(names)} in all)"


def _check_header(path, columns, names):
    _check_columns(path, columns, names)
    places = [str(i) for i, name in enumerate(names, start=1) if name == columns[0]]
    if len(places) > 1:
        raise ValueError(
            f"{path} has several columns {columns[0]!r}: columns {', '.join(places)}. "
            "Rename all but the one that holds the texts."
        )
    for labels in columns[1:]:
        # pandas and polars number repeated columns as labels.1 and
        # labels_duplicated_0.
        pattern = re.compile(re.escape(labels) + r"(\.|_duplicated_)\d+")
        numbered = [name for name in names if pattern.fullmatch(name)]
        if numbered:
            warnings.warn(
                f"{path} has the columns {_list_names(numbered)} besides {labels!r}, "
                "which are not read. Give all of them the same name to join their "
                "labels.",
                stacklevel=7,  # the caller of load_table
            )


def check_single_text(place, row, column):
    """Refuse a row that has several texts."""
    if isinstance(row.get(column), RepeatedValues):
        raise ValueError(
            f"{place} has {column!r} {len(row[column])} times. Keep only the one that "
            "holds the text."
        )
