"""What may come in as texts, features and labels; everything else is refused."""

import numbers
from collections.abc import Iterator, Mapping, Set

import numpy as np
import scipy.sparse as sp
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d


def holds_texts(X):
    """Whether X is meant as texts, one a document, rather than as features."""
    if sp.issparse(X):
        return False
    _check_is_sequence(X, "X")
    if hasattr(X, "columns"):  # a pandas or polars table
        return X.shape[1] == 1 and not _numeric(_columns(X)[0])
    if isinstance(X, np.ndarray) and X.ndim == 2:
        return X.shape[1] == 1 and any(isinstance(text, str) for text in X[:, 0])
    if isinstance(X, np.ndarray):
        return X.ndim == 1 and X.dtype.kind in "OUST"
    if isinstance(X, (list, tuple)):
        first = X[0] if len(X) else ""
        return isinstance(first, (str, bytes)) or not hasattr(first, "__len__")
    return hasattr(X, "to_list") or getattr(X, "ndim", 2) == 1 and hasattr(X, "tolist")


def check_texts(X, name="X"):
    """Texts as a list of str.

    Raises
    ------
    ValueError
        If there are none, or one is not a str; its index and type are named.
    """
    _check_is_sequence(X, name)
    if hasattr(X, "columns"):
        X = _columns(X)[0]
    for method in ("to_list", "tolist"):  # pandas and polars, numpy
        if hasattr(X, method):
            X = np.ravel(X) if isinstance(X, np.ndarray) else X
            X = getattr(X, method)()
            break
    if len(X) == 0:
        raise ValueError(f"{name} is empty: at least one text is needed.")
    for i, text in enumerate(X):
        if not isinstance(text, str):
            raise ValueError(
                f"{name}[{i}] must be a str, got {_describe(text)}. "
                "Replace missing texts by ''."
            )
    return list(X)


def check_one_text_column(X):
    """Refuse a table that holds text in one of several columns."""
    if not hasattr(X, "columns"):
        return
    text = [
        str(name)
        for name, column in zip(X.columns, _columns(X), strict=True)
        if not _numeric(column) and any(isinstance(value, str) for value in column)
    ]
    if text:
        raise ValueError(
            f"X is a table of {X.shape[1]} columns with text in {', '.join(text)}. "
            f"Pass one column of texts, such as X[{text[0]!r}], or turn the table into "
            "features first (sklearn.compose.ColumnTransformer)."
        )


def check_labels(y):
    """Labels as a CSR matrix of 0 and 1, and what they came as.

    Returns
    -------
    Y : csr_array or csr_matrix of shape (n_docs, n_labels), float32
        Without explicit zeros, indices sorted.
    classes : ndarray
        Values of a 1-D y, else the numbers of the columns.
    kind : {"sparse", "dense", "single"}
    """
    if y is None:
        raise ValueError(
            "This classifier requires y to be passed, but the target y is None: give "
            "a sparse label matrix of shape (n_docs, n_labels)."
        )
    if sp.issparse(y):
        if y.ndim != 2:
            raise ValueError(
                f"y is a sparse array of {y.ndim} dimension; it must be of shape "
                "(n_docs, n_labels)."
            )
        return *_check_sparse(y), "sparse"
    if _is_label_lists(y):
        raise ValueError(
            "y holds a list of labels for each document. Turn it into a sparse matrix "
            "first: sklearn.preprocessing.MultiLabelBinarizer(sparse_output=True)"
            ".fit_transform(y)."
        )
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] != 1:
        _check_dense(y)
        return *_check_sparse(sp.csr_matrix(y.astype(np.float32))), "dense"
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        raise ValueError("Input y contains NaN or infinity.")
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"y holds one class only ({classes[0]}); two are needed.")
    ones = np.ones(len(y), np.float32)
    Y = sp.csr_matrix((ones, codes, np.arange(len(y) + 1)), (len(y), len(classes)))
    return Y, classes, "single"


def encode_labels(y, classes, kind):
    """Label matrix of y, for an estimator that was fitted on labels like it."""
    if kind != "single" or sp.issparse(y) or np.ndim(y) == 2 and np.shape(y)[1] > 1:
        Y = y.tocsr() if sp.issparse(y) else sp.csr_matrix(np.asarray(y))
        if Y.shape[1] != len(classes):
            raise ValueError(
                f"y has {Y.shape[1]} label columns, and fit saw {len(classes)}."
            )
        return Y
    y = column_or_1d(y)
    codes = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    hit = (classes[codes] == y).astype(np.float32)  # a new class is never predicted
    return sp.csr_matrix((hit, codes, np.arange(len(y) + 1)), (len(y), len(classes)))


def check_label_texts(label_texts, n_labels):
    """Label texts as a list of n_labels str."""
    texts = check_texts(label_texts, "label_texts")
    if len(texts) != n_labels:
        raise ValueError(
            f"label_texts has {len(texts)} texts and y {n_labels} label columns; "
            "label_texts[j] must be the text of column j."
        )
    return texts


def check_label_names(label_names, n_labels):
    """Label names as a list of n_labels."""
    unordered = isinstance(label_names, (str, bytes, Set, Mapping))
    table = getattr(label_names, "ndim", 1) != 1 or hasattr(label_names, "columns")
    if unordered or table or not hasattr(label_names, "__len__"):
        raise ValueError(
            "label_names must be a sequence, a name for each label; got "
            f"{_describe(label_names)}."
        )
    names = list(label_names)
    if len(names) != n_labels:
        raise ValueError(
            f"label_names has {len(names)} names and y {n_labels} label columns; "
            "label_names[j] must be the name of column j."
        )
    return names


def check_number(name, value, kind, low, high=None, *, open_low=False, open_high=False):
    """Refuse a parameter of another type or out of its range."""
    good = isinstance(value, kind) and not isinstance(value, (bool, np.bool_))
    good = good and np.isfinite(value) and (value > low if open_low else value >= low)
    if good and high is not None:
        good = value < high if open_high else value <= high
    if good:
        return
    what = "an int" if kind is numbers.Integral else "a number"
    limits = f"{'above' if open_low else 'at least'} {low}"
    if high is not None:
        limits += f" and {'below' if open_high else 'at most'} {high}"
    raise ValueError(f"{name} must be {what}, {limits}; got {value!r}.")


def check_choice(name, value, choices):
    """Refuse a parameter that is none of its choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}.")


def _check_sparse(y):
    Y = y.tocsr(copy=True)
    Y.sum_duplicates()
    Y = Y.astype(np.float32)
    if not np.isfinite(Y.data).all():
        raise ValueError("Input y contains NaN or infinity.")
    Y.eliminate_zeros()
    _check_ones(Y.data)
    if Y.shape[1] < 2:
        raise ValueError(f"y has {Y.shape[1]} label columns; at least 2 are needed.")
    if Y.nnz == 0:
        raise ValueError(
            f"y holds no label at all: all {Y.shape[0]} documents are without a "
            "positive, so there is nothing to learn."
        )
    return Y, np.arange(Y.shape[1])


def _check_dense(y):
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"y is a 2-D array of dtype {y.dtype}; it must hold 0 and 1 only."
        )
    if not np.isfinite(y).all():
        raise ValueError("Input y contains NaN or infinity.")
    _check_ones(y[y != 0])


def _check_ones(values):
    wrong = values != 1
    if wrong.any():
        raise ValueError(
            f"y must hold 0 and 1 only, got {values[wrong][0]:g} among its values. "
            "Use (y > 0) if every stored value marks a label."
        )


def _is_label_lists(y):
    if isinstance(y, np.ndarray) and y.dtype != object:
        return False
    first = next(iter(y), None) if hasattr(y, "__iter__") else None
    if isinstance(first, (set, frozenset)):
        return True
    if not isinstance(first, (list, tuple)) or isinstance(y, np.ndarray):
        return isinstance(first, (list, tuple, set))
    return len({len(row) for row in y}) > 1 or any(
        isinstance(value, str) for row in y for value in row
    )


def _check_is_sequence(X, name):
    if isinstance(X, str):
        raise ValueError(f"{name} is one str; give a list of texts: [text].")
    if X is None or isinstance(X, (Mapping, Set, Iterator)):
        raise TypeError(
            f"{name} must be a sequence of str, got {type(X).__name__}. "
            "Give a list, an array, or a column of a table."
        )


def _columns(table):
    if hasattr(table, "iloc"):
        return [table.iloc[:, i] for i in range(table.shape[1])]
    return table.get_columns()


def _numeric(column):
    is_numeric = getattr(column.dtype, "is_numeric", None)  # polars
    return is_numeric() if is_numeric else getattr(column.dtype, "kind", "O") in "biufc"


def _describe(value):
    missing = isinstance(value, float) and np.isnan(value)
    return "NaN" if missing else type(value).__name__
