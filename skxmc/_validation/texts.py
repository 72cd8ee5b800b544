"""Checks of documents: texts in any container, and how they differ from features."""

import unicodedata
from collections.abc import Iterator, Mapping, Set

import numpy as np
import scipy.sparse as sp

from .._stored_texts import StoredTexts
from .._words import nfc


def holds_texts(X):
    """Whether X holds one text per document, rather than features.

    If X is neither a table nor an array, its first element decides.
    """
    if sp.issparse(X):
        return False
    if isinstance(X, StoredTexts):
        return True
    _check_is_sequence(X, "X")
    if hasattr(X, "columns"):
        return X.shape[1] == 1 and not _is_numeric(_columns_of(X)[0])
    if isinstance(X, np.ndarray) and X.ndim == 2:
        return X.shape[1] == 1 and any(isinstance(text, str) for text in X[:, 0])
    if isinstance(X, np.ndarray):
        return X.ndim == 1 and X.dtype.kind in "OUST"
    if not hasattr(X, "__len__") or getattr(X, "ndim", 1) > 1:
        return False
    first = next(iter(X), "")
    _check_first(first)
    return _is_scalar(first) or _is_text_row(first)


def check_texts(X, name="X", *, normalize=True):
    """Return texts as a list of str, or as the view of a store that they are.

    A list that needs no change is returned itself, not as a copy: do not change the
    result in place.

    Parameters
    ----------
    X : sequence of str, or table or nested list of one column
    name : str, default="X"
        Name of the parameter, for messages.
    normalize : bool, default=True
        Whether to bring texts to Unicode's form NFC.

    Raises
    ------
    TypeError
        If `X` is not a sequence.
    ValueError
        If `X` is empty, or if an element is not a str. The message names its index
        and type.
    """
    _check_is_sequence(X, name)
    # The texts of a store were checked when it was built.
    texts = X if isinstance(X, StoredTexts) else _list_values(X, name)
    if not texts:
        raise ValueError(f"{name} is empty: at least one text is needed.")
    if isinstance(X, StoredTexts):
        return X
    if all(map(_is_text_row, texts)):
        texts = [row[0] for row in texts]
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"{name}[{i}] must be a str, got {describe_type(text)}. "
                "Replace missing texts by ''."
            )
    if not normalize or all(unicodedata.is_normalized("NFC", text) for text in texts):
        return texts
    return [nfc(text) for text in texts]


def indexable(X):
    """Return X in a container from which scikit-learn can take folds."""
    # The oldest supported scikit-learn (1.6) cannot index tables of pyarrow.
    is_ready = (
        X is None
        or isinstance(X, (list, tuple, np.ndarray))
        or hasattr(X, "iloc")
        or (hasattr(X, "columns") and not _is_pyarrow(X))
    )
    return X if is_ready or not holds_texts(X) else check_texts(X, normalize=False)


def count_rows(X):
    """Return the number of documents, which are texts, a store or a matrix."""
    return X.shape[0] if hasattr(X, "shape") else len(X)


def check_one_text_column(X):
    """Refuse a table that holds text in one of several columns."""
    if not hasattr(X, "columns"):
        return
    text_columns = [
        str(name)
        for name, column in zip(_column_names(X), _columns_of(X), strict=True)
        if not _is_numeric(column)
        and any(isinstance(value, str) for value in _list_values(column))
    ]
    if text_columns:
        raise ValueError(
            f"X is a table of {X.shape[1]} columns with text in "
            f"{', '.join(text_columns)}. Pass one column of texts, such as "
            f"X[{text_columns[0]!r}], or turn the table into features first "
            "(sklearn.compose.ColumnTransformer)."
        )


def _check_is_sequence(X, name):
    if type(X) is list:
        return
    single = X.item() if isinstance(X, np.ndarray) and X.ndim == 0 else X
    if isinstance(single, (str, bytes)):
        what = "str" if isinstance(single, str) else "bytes object"
        raise ValueError(f"{name} is one {what}; give a list of texts: [text].")
    kind = type(X)
    if hasattr(kind, "collect") and not hasattr(kind, "shape"):  # polars' LazyFrame
        raise TypeError(
            f"{name} is a {kind.__name__}, whose rows are not loaded yet. Give "
            f"{name}.collect(), with a single column of texts."
        )
    # An iterable without a length may be empty after one pass.
    is_iterable_only = (
        hasattr(kind, "__iter__")
        and not hasattr(kind, "__len__")
        and not hasattr(kind, "__array__")
    )
    if X is None or is_iterable_only or isinstance(X, (Mapping, Set, Iterator)):
        raise TypeError(
            f"{name} must be a sequence of str, got {kind.__name__}. "
            "Give a list, an array, or a column of a table."
        )


def _check_first(first):
    """Refuse documents that are neither texts nor rows of features, by the first."""
    if isinstance(first, Mapping):
        fields = [key for key, value in first.items() if isinstance(value, str)]
        field = repr(fields[0] if fields else "text")
        raise ValueError(
            f"X[0] is a {type(first).__name__}, and each document must be a str. Give "
            f"one field of the documents: [row[{field}] for row in X]."
        )
    if isinstance(first, (list, tuple)) and len(first) > 1:
        if any(isinstance(value, str) for value in first):
            raise ValueError(
                f"X[0] is a {type(first).__name__} of {len(first)} values with text "
                "among them, and each document must be one str. Join its words, or "
                "give one column of the table."
            )


def _is_scalar(value):
    return isinstance(value, (str, bytes)) or not hasattr(value, "__len__")


def _is_text_row(row):
    """Whether `row` is the row of a table with a single column of texts."""
    if isinstance(row, np.ndarray) and row.ndim != 1:
        return False
    has_one_value = isinstance(row, (list, tuple, np.ndarray)) and len(row) == 1
    return has_one_value and (row[0] is None or isinstance(row[0], str))


def _list_values(X, name="X"):
    """Return the values of a column as a list of Python's objects."""
    if hasattr(X, "columns"):
        columns = _columns_of(X)
        if len(columns) != 1:
            raise ValueError(
                f"{name} is a table of {len(columns)} columns; give one column of "
                "texts."
            )
        X = columns[0]
    if isinstance(X, np.ndarray):
        X = X.ravel()
    for method in ("to_list", "to_pylist", "tolist"):  # pandas, polars; pyarrow; numpy
        if hasattr(X, method):
            return getattr(X, method)()
    if type(X) is list and not any(hasattr(value, "as_py") for value in X):
        return X
    return [to_python(value) for value in X]


def to_python(value):
    """Return Python's object for a scalar of pyarrow; any other value as it is."""
    return value.as_py() if hasattr(value, "as_py") else value


def describe_type(value):
    """Name the type of a value, for messages; NaN is called so."""
    is_nan = isinstance(value, float) and np.isnan(value)
    return "NaN" if is_nan else type(value).__name__


def _columns_of(table):
    if hasattr(table, "iloc"):
        return [table.iloc[:, i] for i in range(table.shape[1])]
    return table.get_columns() if hasattr(table, "get_columns") else table.columns


def _column_names(table):
    return table.schema.names if _is_pyarrow(table) else table.columns


def _is_pyarrow(value):
    return type(value).__module__.partition(".")[0] == "pyarrow"


def _is_numeric(column):
    if _is_pyarrow(column):
        column = np.asarray(column.slice(0, 0))
    is_numeric = getattr(column.dtype, "is_numeric", None)  # a method of polars' dtypes
    return is_numeric() if is_numeric else getattr(column.dtype, "kind", "O") in "biufc"
