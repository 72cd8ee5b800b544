"""Documents and their labels from a table."""

import re
import warnings
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.utils import Bunch

from .._words import nfc
from ._label_cells import begins_list, in_brackets, is_torn, read_list
from ._table_rows import Repeated, check_once, read_rows

_AS_JSON = 'Write it as JSON, such as ["audio", "driver"].'
_MULTI_HOT = (
    " If these say of each label whether the document has it, write the names or the "
    "numbers of those that it has, such as [0, 2] for [1, 0, 1]; in Python, the rows "
    "are a label matrix for fit: numpy.array(rows)."
)
_FLAGS = re.compile(r"[01](?:[\s,;|]+[01])+")
# Letters of 0, 1, 0., True and False, and of lists of them.
_NUMBERS = frozenset("01.TrueFals ,[](){}\n")


def load_table(
    path, *, text="text", labels="labels", separator="|", known=None, quoted=True
):
    r"""Load documents and their labels from a table.

    Parameters
    ----------
    path : str or path-like
        A CSV or TSV file with a header, a file of JSON objects a line (``.jsonl``), or
        a Parquet file, which needs pyarrow. UTF-8, with or without a byte order mark.
        Semicolons separate the cells of a CSV file whose header names the columns
        only so, otherwise commas. Blank lines are passed over.
    text, labels : str
        Columns. Labels are lists, or texts with `separator` between them; blanks
        around them do not count. A text that is a list in JSON, of Python or of NumPy,
        such as ``['a', 'b']``, is one. The labels of several columns of the name
        `labels` are joined; of texts there must be one column. Texts and
        names come in Unicode's form NFC.
    separator : str, default="|"
    known : sequence of str or None, default=None
        Names of the first label columns, such as a classifier's `label_names_`.
        Other names follow. They are compared as texts, 1 as "1". Of several with one
        name the first is meant.
    quoted : bool, default=True
        Whether cells of a CSV or TSV file that hold separators, quotes or line ends
        stand in double quotes, and quotes within them twice. A quote behind the
        beginning of a cell is part of it; one at the beginning that is not closed at
        the end of the cell is an error. With False all quotes are part of the texts,
        as databases write TSV files, and each line is a row.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        texts : list of str of length n_docs
            Documents, in the order of the rows.
        Y : csr_matrix of shape (n_docs, n_labels)
            Binary, float32, sorted int32 indices.
        label_names : list of str of length n_labels
            `known`, as texts, then all others, sorted.
        DESCR : str
            Where it comes from.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is malformed, or its labels are rows of 0 and 1 for all labels: the
        message names the line and the column.

    Warns
    -----
    UserWarning
        If labels seem to be separated by something else, quotes seem to swallow rows,
        or columns named as `labels` and numbered are not read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skxmc.datasets import load_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tickets.csv")
    ...     _ = path.write_text("text,labels\nno sound,audio|driver\nsnow,video\n")
    ...     data = load_table(path)
    >>> data.label_names
    ['audio', 'driver', 'video']
    >>> data.Y.toarray().tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    texts, Y, names = read_table(path, text, labels, separator, known, quoted)
    return Bunch(texts=texts, Y=Y, label_names=names, DESCR=f"Table: {path}")


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
