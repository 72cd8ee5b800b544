"""Documents and their labels from CSV, JSONL and Parquet files."""

import codecs
import json
import re
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from .._words import nfc
from ._delimited import read_delimited
from ._label_cells import begins_list, in_brackets, is_torn, read_list

_AS_JSON = 'Write it as JSON, such as ["audio", "driver"].'
_MULTI_HOT = (
    " If these say of each label whether the document has it, write the names or the "
    "numbers of those that it has, such as [0, 2] for [1, 0, 1]; in Python, the rows "
    "are a label matrix for fit: numpy.array(rows)."
)
_FLAGS = re.compile(r"[01](?:[\s,;|]+[01])+")
# Letters of 0, 1, 0., True and False, and of lists of them.
_NUMBERS = frozenset("01.TrueFals ,[](){}\n")


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


def read_table(path, text, labels, separator, known, quoted):
    """Texts, label matrix and names (see `skxmc.datasets.load_table`)."""
    texts, lists, split = [], [], []
    for where, row in read_rows(Path(path), (text, labels), quoted=quoted):
        check_once(where, row, text)
        document, cells = row[text], row[labels]
        if not isinstance(document, str):
            raise ValueError(
                f"{where}: {text!r} must be a text, got {type(document).__name__}. "
                "Replace missing texts by ''."
            )
        texts.append(nfc(document))
        lists.append([])
        for cell in cells if isinstance(cells, Repeated) else [cells]:
            names, is_split = _names(where, labels, cell, separator)
            lists[-1] += names
            if is_split:
                split.append(names)
    if not texts:
        raise ValueError(f"{path} holds no documents.")
    _check_multi_hot(path, labels, lists, known)
    _check_separator(path, split, separator)
    return texts, *_matrix(lists, known)


def _names(where, column, cell, separator):
    """Names of the labels of a cell, and whether `separator` splits them."""
    if cell is None:
        return [], False
    form = f"a list of labels, or a text with {separator!r} between them"
    try:
        names = read_list(cell) if isinstance(cell, str) else cell
    except ValueError as error:
        raise ValueError(
            f"{where}: {column!r} holds {cell!r:.60}: {error}. Write {form}."
            f"{_MULTI_HOT if _NUMBERS.issuperset(cell) else ''}"
        ) from error
    is_split = names is None
    if is_split:
        names = cell.split(separator)
    if not isinstance(names, list) or not all(map(_is_name, names)):
        raise ValueError(
            f"{where}: {column!r} must be {form}; got {cell!r:.60}."
            f"{_MULTI_HOT if _is_multi_hot(names) else ''}"
        )
    names = [nfc(str(name).strip()) for name in names]
    names = [name for name in names if name]
    if any(map(begins_list, names)) or is_split and is_torn(names):
        raise ValueError(
            f"{where}: {column!r} holds a list that cannot be read, {cell!r:.60}. "
            f"{_AS_JSON}"
        )
    return names, is_split


def _is_name(name):
    return isinstance(name, (str, int)) and not isinstance(name, bool)


def _is_multi_hot(values):
    """Whether all are 0 or 1, as numbers."""
    numbers = (bool, int, float)
    return isinstance(values, list) and all(
        isinstance(value, numbers) and value in (0, 1) for value in values
    )


def _check_multi_hot(path, column, lists, known):
    """Refuse rows that say 0 or 1 of each label: "0" and "1" would be the labels."""
    if known is not None and {"0", "1"} <= set(map(str, known)):
        return
    rows = [names for names in lists if names]
    width = max(map(len, rows), default=0)
    if width == 1:  # not split: they would be labels such as "1 0 1"
        flags = all(_FLAGS.fullmatch(row[0]) for row in rows)
    else:
        flags = all(len(row) == width and {"0", "1"}.issuperset(row) for row in rows)
        # Two labels that are called so stand in one order, and each of them once.
        flags = flags and any(row != ["0", "1"] for row in rows)
    if flags:
        raise ValueError(
            f"{path}: {column!r} holds 0 and 1 alone, as many in each row, such as "
            f"{', '.join(rows[0]):.60}.{_MULTI_HOT}"
        )


def _check_separator(path, cells, separator):
    """Refuse texts that were to be split at something else, or warn."""
    if max(map(len, cells), default=0) > 1:
        return
    single = [names[0] for names in cells if names]
    if any("," in name for name in single) and all(map(in_brackets, single)):
        raise ValueError(
            f"The labels of {path} are lists that cannot be read, such as "
            f"{single[0]!r:.60}. {_AS_JSON}"
        )
    for other in (",", ";", "|", "\t"):
        found = sum(other in name for name in single)
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
    known = [] if known is None else [nfc(str(name)) for name in known]
    columns = {known[j]: j for j in reversed(range(len(known)))}
    new = sorted({name for names in lists for name in names} - set(columns))
    columns |= {name: j for j, name in enumerate(new, start=len(known))}
    rows = [sorted({columns[name] for name in names}) for names in lists]
    indptr = np.cumsum([0, *map(len, rows)])
    indices = np.fromiter((j for row in rows for j in row), np.int32, indptr[-1])
    ones = np.ones(len(indices), np.float32)
    names = known + new
    return csr_matrix((ones, indices, indptr), (len(rows), len(names))), names
