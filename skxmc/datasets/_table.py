"""Documents and their labels from a table."""

import re
import warnings
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.utils import Bunch

from .._words import nfc
from ._label_cells import begins_list, is_in_brackets, is_torn_list, read_list
from ._table_rows import RepeatedValues, check_single_text, read_rows

_JSON_ADVICE = 'Write it as JSON, such as ["audio", "driver"].'
_MULTI_HOT_ADVICE = (
    " If each number says whether the document has the label of that column, write "
    "only the names or numbers of the labels that it has, such as [0, 2] for "
    "[1, 0, 1]. In Python, pass the rows to fit as a label matrix: numpy.array(rows)."
)
_MULTI_HOT_ROW = re.compile(r"[01](?:[\s,;|]+[01])+")
# The characters of 0, 1, 0., True, False and of lists of them.
_MULTI_HOT_CHARACTERS = frozenset("01.TrueFals ,[](){}\n")


def load_table(
    path, *, text="text", labels="labels", separator="|", known=None, quoted=True
):
    r"""Load documents and their labels from a table.

    Parameters
    ----------
    path : str or path-like
        A CSV or TSV file with a header, a file with one JSON object per line
        (``.jsonl`` or ``.ndjson``), or a Parquet file, which needs pyarrow. Text files
        are UTF-8, with or without a byte order mark. Cells of a CSV file are separated
        by commas; or by semicolons, if its header has both columns only when it is
        split at semicolons. Blank lines are skipped.
    text : str, default="text"
        Column that holds the texts. There must be only one column of this name.
    labels : str, default="labels"
        Column that holds the labels of a document: a list, or a text with `separator`
        between the labels. A text that is written as a list, in JSON or as Python or
        NumPy print it, such as ``['a', 'b']``, is read as one. Blanks around names are
        removed. If several columns have this name, their labels are joined.
    separator : str, default="|"
        Text between the labels of a cell.
    known : sequence of str or None, default=None
        Names of the first label columns, such as the `label_names_` of a classifier.
        Names that only the table has follow them. Names are compared as texts, so 1
        equals "1". If a name occurs twice in `known`, documents get the first of its
        columns.
    quoted : bool, default=True
        Whether double quotes enclose cells of a CSV or TSV file that hold separators,
        quotes or line ends; a quote within such a cell is written twice. A quote
        inside an unquoted cell is part of the text, but a cell that starts with a
        quote must end with one. If False, all quotes are part of the texts, as in TSV
        files that databases write, and each line is a row.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        texts : list of str of length n_docs
            Documents, in the order of the rows. Texts and names are in Unicode's
            form NFC.
        Y : csr_matrix of shape (n_docs, n_labels)
            Binary label matrix, float32, with sorted int32 indices.
        label_names : list of str of length n_labels
            The names in `known`, as texts, then all others, sorted.
        DESCR : str
            Where the data come from.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ImportError
        If the file is a Parquet file and pyarrow is not installed.
    ValueError
        If the file is malformed, or its cells of labels are rows of a label matrix
        (0 and 1). The message names the line and the column.

    Warns
    -----
    UserWarning
        If labels seem to have another separator, if quotes seem to join several rows
        into one, or if numbered columns such as ``labels.1`` are not read.

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
    texts, Y, names = _read_table(path, text, labels, separator, known, quoted)
    return Bunch(texts=texts, Y=Y, label_names=names, DESCR=f"Table: {path}")


def _read_table(path, text, labels, separator, known, quoted):
    """Return texts, label matrix and label names."""
    texts, lists, split_cells = [], [], []
    for document, names, cells in read_documents(
        path, text, labels, separator, quoted=quoted
    ):
        texts.append(document)
        lists.append(names)
        split_cells += cells
    if not texts:
        raise ValueError(f"{path} holds no documents.")
    check_multi_hot(path, labels, lists, known)
    check_separator(path, split_cells, separator)
    return texts, *_build_label_matrix(lists, known)


def read_documents(path, text, labels, separator, *, quoted=True, batch_size=4096):
    """Yield the documents of a table and their labels.

    Parameters
    ----------
    path, text, separator, quoted
        As in `load_table`.
    labels : str or None
        Column that holds the labels. None reads none.
    batch_size : int, default=4096
        Rows of a Parquet file in memory at once.

    Yields
    ------
    document : str
    names : list of str
        Its labels, which may be repeated.
    split_cells : list of list of str
        Those of its cells that were split at the separator.
    """
    columns = (text,) if labels is None else (text, labels)
    rows = read_rows(Path(path), columns, quoted=quoted, batch_size=batch_size)
    for place, row in rows:
        check_single_text(place, row, text)
        document = row[text]
        if not isinstance(document, str):
            raise ValueError(
                f"{place}: {text!r} must be a text, got {type(document).__name__}. "
                "Replace missing texts by ''."
            )
        cells = None if labels is None else row[labels]
        names, split_cells = [], []
        for cell in cells if isinstance(cells, RepeatedValues) else [cells]:
            found, is_split = _read_names(place, labels, cell, separator)
            names += found
            if is_split:
                split_cells.append(found)
        yield nfc(document), names, split_cells


def _read_names(place, column, cell, separator):
    """Return the label names in a cell, and whether they were split at `separator`."""
    if cell is None:
        return [], False
    form = f"a list of labels, or a text with {separator!r} between them"
    try:
        names = read_list(cell) if isinstance(cell, str) else cell
    except ValueError as error:
        raise ValueError(
            f"{place}: {column!r} holds {cell!r:.60}: {error}. Write {form}."
            f"{_MULTI_HOT_ADVICE if _MULTI_HOT_CHARACTERS.issuperset(cell) else ''}"
        ) from error
    is_split = names is None
    if is_split:
        names = cell.split(separator)
    if not isinstance(names, list) or not all(map(_is_name, names)):
        raise ValueError(
            f"{place}: {column!r} must be {form}; got {cell!r:.60}."
            f"{_MULTI_HOT_ADVICE if _is_multi_hot(names) else ''}"
        )
    names = [nfc(str(name).strip()) for name in names]
    names = [name for name in names if name]
    if any(map(begins_list, names)) or is_split and is_torn_list(names):
        raise ValueError(
            f"{place}: {column!r} holds a list that cannot be read, {cell!r:.60}. "
            f"{_JSON_ADVICE}"
        )
    return names, is_split


def _is_name(name):
    return isinstance(name, (str, int)) and not isinstance(name, bool)


def _is_multi_hot(values):
    """Whether all values are the numbers 0 and 1, or booleans."""
    numbers = (bool, int, float)
    return isinstance(values, list) and all(
        isinstance(value, numbers) and value in (0, 1) for value in values
    )


def check_multi_hot(path, column, lists, known):
    """Refuse rows of a label matrix: "0" and "1" would become label names."""
    if known is not None and {"0", "1"} <= set(map(str, known)):
        return
    rows = [names for names in lists if names]
    width = max(map(len, rows), default=0)
    if width == 1:  # rows that the separator does not split, such as "1 0 1"
        is_multi_hot = all(_MULTI_HOT_ROW.fullmatch(row[0]) for row in rows)
    else:
        is_multi_hot = all(
            len(row) == width and {"0", "1"}.issuperset(row) for row in rows
        )
        # Rows that are all ["0", "1"] hold two labels with these names: a label
        # matrix would have the same two columns everywhere.
        is_multi_hot = is_multi_hot and any(row != ["0", "1"] for row in rows)
    if is_multi_hot:
        raise ValueError(
            f"{path}: {column!r} holds only 0 and 1, and equally many in each row, "
            f"such as {', '.join(rows[0]):.60}.{_MULTI_HOT_ADVICE}"
        )


def check_separator(path, cells, separator):
    """Refuse cells that another separator would split; warn if only some would be."""
    if max(map(len, cells), default=0) > 1:
        return
    single = [names[0] for names in cells if names]
    if any("," in name for name in single) and all(map(is_in_brackets, single)):
        raise ValueError(
            f"The labels of {path} are lists that cannot be read, such as "
            f"{single[0]!r:.60}. {_JSON_ADVICE}"
        )
    for other in (",", ";", "|", "\t"):
        found = sum(other in name for name in single)
        if other == separator or not found:
            continue
        if found > len(cells) / 2:
            raise ValueError(
                f"No labels of {path} are separated by {separator!r}, but most cells "
                f"hold {other!r}. If it separates labels, set separator={other!r}; if "
                "each cell is one label, write the labels as lists, in JSONL."
            )
        if other != ",":  # a comma is common within a single name
            warnings.warn(
                f"No labels of {path} are separated by {separator!r}, but {found} of "
                f"{len(cells)} cells hold {other!r}. If it separates labels, set "
                f"separator={other!r}.",
                stacklevel=4,  # the caller of load_table
            )


def _build_label_matrix(lists, known):
    """Return a CSR matrix and the names of its columns: known ones first, then sorted.

    Names in a file are texts, so a known name 1 is compared as "1". Of several known
    labels of one name, the first gets the documents.
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
