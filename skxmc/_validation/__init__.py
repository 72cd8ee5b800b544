"""What may come in as texts, features and labels; everything else is refused."""

import numbers
import sys
from collections.abc import Iterator, Mapping, Set

import numpy as np
import scipy.sparse as sp
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from .._words import nfc


def holds_texts(X):
    """Whether X is meant as texts, one a document, rather than as features.

    Its first element decides, where X is no table or array.
    """
    if sp.issparse(X):
        return False
    _check_is_sequence(X, "X")
    if hasattr(X, "columns"):
        return X.shape[1] == 1 and not _numeric(_columns(X)[0])
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
    """Texts as a list of str.

    Parameters
    ----------
    X : sequence of str, or table or nested list of one column
    name : str, default="X"
        What messages call it.
    normalize : bool, default=True
        Return texts in Unicode's form NFC.

    Raises
    ------
    TypeError
        If `X` is no sequence.
    ValueError
        If there are none, or one is not a str; its index and type are named.
    """
    _check_is_sequence(X, name)
    texts = _as_list(X, name)
    if not texts:
        raise ValueError(f"{name} is empty: at least one text is needed.")
    if all(map(_is_text_row, texts)):
        texts = [row[0] for row in texts]
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"{name}[{i}] must be a str, got {_describe(text)}. "
                "Replace missing texts by ''."
            )
    return [nfc(text) for text in texts] if normalize else texts


def indexable(X):
    """X in a container that scikit-learn can take folds of."""
    ready = X is None or isinstance(X, (list, tuple, np.ndarray))
    # Not every scikit-learn that is supported indexes tables of pyarrow.
    ready = ready or hasattr(X, "iloc") or hasattr(X, "columns") and not _is_arrow(X)
    return X if ready or not holds_texts(X) else check_texts(X, normalize=False)


def check_one_text_column(X):
    """Refuse a table that holds text in one of several columns."""
    if not hasattr(X, "columns"):
        return
    text = [
        str(name)
        for name, column in zip(_column_names(X), _columns(X), strict=True)
        if not _numeric(column) and any(isinstance(v, str) for v in _as_list(column))
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
    y = label_array(y)
    if sp.issparse(y):
        if y.ndim != 2:
            raise ValueError(
                f"y is a sparse array of {y.ndim} dimension; it must be of shape "
                "(n_docs, n_labels)."
            )
        return *_check_sparse(y), "sparse"
    if y.ndim == 2 and y.shape[1] != 1:
        _check_dense(y)
        return *_check_sparse(sp.csr_matrix(y.astype(np.float32))), "dense"
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "f":
        _check_finite(y)
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) == 0:
        raise ValueError("y is empty: at least two documents are needed.")
    if len(classes) < 2:
        raise ValueError(
            f"y holds one class only ({classes[0]}); two are needed. Add documents of "
            "another class."
        )
    ones = np.ones(len(y), np.float32)
    Y = sp.csr_matrix((ones, codes, np.arange(len(y) + 1)), (len(y), len(classes)))
    return Y, classes, "single"


def encode_labels(y, classes, kind):
    """Label matrix of y, for an estimator that was fitted on labels like it."""
    y = label_array(y)
    if kind != "single" or sp.issparse(y) or y.ndim == 2 and y.shape[1] > 1:
        if y.ndim != 2 or y.shape[1] != len(classes):
            got = f"{y.shape[1]} label columns" if y.ndim == 2 else f"shape {y.shape}"
            raise ValueError(f"y has {got}, and fit saw {len(classes)} label columns.")
        return y.tocsr() if sp.issparse(y) else sp.csr_matrix(y)
    y = column_or_1d(y)
    ids, known = class_ids(y, classes)
    hit = known.astype(np.float32)  # a new class is never predicted
    return sp.csr_matrix((hit, ids, np.arange(len(y) + 1)), (len(y), len(classes)))


def class_ids(y, classes):
    """Place of each value of a 1-D y among `classes`, and whether it is there."""
    classes = np.asarray(classes)
    if y.dtype.kind == "f":
        _check_finite(y)
    if len(y) and isinstance(y[0], str) != isinstance(classes[0], str):
        raise ValueError(
            f"y holds classes of dtype {y.dtype}, such as {y[0]!s:.40}; fit saw "
            f"{classes.dtype}, such as {classes[0]!s:.40}. Give y as it was there."
        )
    ids, known = _places_among(y, classes)
    if isinstance(classes[0], str) and not known.all():  # NFC and NFD are one name
        new = ~known
        forms = (np.array([nfc(name) for name in names]) for names in (y[new], classes))
        ids[new], known[new] = _places_among(*forms)
    return ids, known


def _places_among(values, every):
    """Place of each value among all, and whether it is there."""
    order = np.argsort(every)
    places = np.searchsorted(every, values, sorter=order).clip(max=len(every) - 1)
    return order[places], every[order[places]] == values


def label_array(y, name="y"):
    """Labels of any container as a sparse matrix, or an array of a dtype of numpy's.

    Tables and columns of pandas, polars and pyarrow are taken, nullable ones and those
    of mixed types too. A pandas table with sparse columns becomes a sparse matrix.
    Of values only those of Python's types are looked at, and what is missing.

    Raises
    ------
    ValueError
        If no array can be made of it, or a value is missing, whose place is named.
    """
    if sp.issparse(y):
        return y
    if isinstance(y, (list, tuple)) and _is_label_lists(y):
        raise _label_lists(name)
    if hasattr(y, "iloc") and hasattr(y, "dtypes") and np.ndim(y) == 2:
        array = _array_of_pandas(y, name)
    else:
        try:
            array = np.asarray(y)
        except ValueError as error:  # rows of several lengths
            raise _label_lists(name) from error
    if sp.issparse(array):
        return array
    if array.ndim == 0:
        raise ValueError(
            f"{name} must be an array, a table or a sparse matrix of shape (n_docs, "
            f"n_labels); got {type(y).__name__}. "
            f"{'Call its collect().' if hasattr(y, 'collect') else 'Convert it.'}"
        )
    if isinstance(y, np.ma.MaskedArray):
        _check_present(np.ma.getmaskarray(y), name)
    if array.dtype.kind in "mM":
        _check_present(np.isnat(array), name)
    if array.dtype.kind in "US" and isinstance(y, (list, tuple)):
        # numpy has written NaN out as a text.
        _check_present(_each(_is_missing, np.array(y, dtype=object)), name)
    if array.dtype.kind == "T":
        array = array.astype(object)
    return _array_of_objects(array, name) if array.dtype == object else array


def check_ones(Y, name):
    """Refuse entries of a CSR matrix that are not 1."""
    wrong = Y.data != 1  # NaN too
    if wrong.any():
        raise _not_binary(name, Y.data[wrong.argmax()], _place_in_rows(Y, wrong))


def check_label_texts(label_texts, n_labels):
    """Label texts as a list of n_labels str, in Unicode's form NFC."""
    texts = check_texts(label_texts, "label_texts")
    if len(texts) != n_labels:
        raise ValueError(
            f"label_texts has {len(texts)} texts and y {n_labels} label columns; "
            "label_texts[j] must be the text of column j."
        )
    return texts


def check_label_names(label_names, n_labels):
    """Label names as a list of n_labels; those that are str in Unicode's form NFC."""
    unordered = isinstance(label_names, (str, bytes, Set, Mapping))
    table = getattr(label_names, "ndim", 1) != 1 or hasattr(label_names, "columns")
    if unordered or table or not hasattr(label_names, "__len__"):
        raise ValueError(
            "label_names must be a sequence, a name for each label; got "
            f"{_describe(label_names)}."
        )
    names = [_python_value(name) for name in label_names]
    names = [nfc(name) if isinstance(name, str) else name for name in names]
    if len(names) != n_labels:
        raise ValueError(
            f"label_names has {len(names)} names and y {n_labels} label columns; "
            "label_names[j] must be the name of column j."
        )
    return names


def check_number(name, value, kind, low, high=None, *, open_low=False, open_high=False):
    """Refuse a parameter of another type or out of its range."""
    good = isinstance(value, kind) and not isinstance(value, (bool, np.bool_))
    # Ints beyond 64 bits are no sizes, and numpy would not take them.
    largest = 2**63 - 1 if kind is numbers.Integral else sys.float_info.max
    if isinstance(value, np.generic):  # half precision has no such number
        value = value.item()
    good = good and abs(value) <= largest
    good = good and (value > low if open_low else value >= low)
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


def _array_of_pandas(table, name):
    """Sparse matrix of a table with sparse columns, else an array."""
    dtypes = set(table.dtypes)
    if table.shape[1] == 1:  # of its own type: perhaps of classes
        return np.asarray(table.iloc[:, 0]).reshape(-1, 1)
    if any(hasattr(dtype, "fill_value") for dtype in dtypes):
        from pandas import SparseDtype

        return table.astype(SparseDtype(np.float64, 0)).sparse.to_coo()
    if all(isinstance(dtype, np.dtype) for dtype in dtypes) and len(dtypes) == 1:
        return np.asarray(table)
    if any(dtype.kind not in "biuf" for dtype in dtypes):
        return np.asarray(table, dtype=object)
    # Python's numbers in an array of objects would take several times as much.
    array = table.to_numpy(dtype=np.float64, na_value=np.nan)
    _check_present(np.isnan(array), name)
    return array


def _array_of_objects(array, name):
    """Numbers, and rows of numbers, as an array of them; all else as it is."""
    _check_present(_each(_is_missing, array), name)
    is_number = _each(lambda value: isinstance(value, (numbers.Real, np.bool_)), array)
    if is_number.all():
        return np.array(array.tolist()).reshape(array.shape)
    if array.ndim == 2 and array.shape[1] > 1:
        value = array[~is_number][0]
        raise _not_binary(name, value, _place(~is_number))
    rows = array.ravel().tolist()
    if rows and hasattr(rows[0], "__len__") and not isinstance(rows[0], (str, bytes)):
        rows = [row if isinstance(row, Set) else np.ravel(row).tolist() for row in rows]
        return label_array(rows, name)
    is_text = _each(lambda value: isinstance(value, str), array)
    if is_text.any() and not is_text.all():
        raise ValueError(
            f"{name} holds {array[~is_text][0]!r:.40} in {_place(~is_text)} and a text "
            f"in {_place(is_text)}. Make all classes texts, by str."
        )
    return array


def _each(test, array):
    return np.frompyfunc(test, 1, 1)(array).astype(bool)


def _is_missing(value):
    is_nan = isinstance(value, (float, np.floating)) and value != value
    return is_nan or value is None or type(value).__name__ in ("NAType", "NaTType")


def _check_present(missing, name):
    if missing.any():
        raise ValueError(
            f"Input {name} contains NaN or another missing value in {_place(missing)}. "
            "Leave the document out, or say what its label is."
        )


def _check_finite(y):
    wrong = ~np.isfinite(y)
    if wrong.any():
        raise ValueError(f"Input y contains NaN or infinity in {_place(wrong)}.")


def _place(mask):
    """Where the first True of a mask stands, counted from 0."""
    places = np.unravel_index(mask.argmax(), mask.shape)
    return ", ".join(
        f"{x} {i}" for x, i in zip(("row", "column"), places, strict=False)
    )


def _place_in_rows(Y, mask):
    """Where the first True of a mask of a CSR matrix's entries stands."""
    entry = mask.argmax()
    row = np.searchsorted(Y.indptr, entry, side="right") - 1
    return f"row {row}, column {Y.indices[entry]}"


def _check_sparse(y):
    Y = y.tocsr(copy=True)
    Y.sum_duplicates()
    Y = Y.astype(np.float32)
    finite = np.isfinite(Y.data)
    if not finite.all():
        place = _place_in_rows(Y, ~finite)
        raise ValueError(f"Input y contains NaN or infinity in {place}.")
    Y.eliminate_zeros()
    check_ones(Y, "y")
    if Y.shape[1] < 2:
        raise ValueError(
            f"y has {Y.shape[1]} label columns; at least 2 are needed. Where there is "
            "one label, which a document has or not, give a 1-D y of these two classes."
        )
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
    _check_finite(y)
    wrong = (y != 0) & (y != 1)
    if wrong.any():
        raise _not_binary("y", y[wrong][0], _place(wrong))


def _not_binary(name, value, place):
    advice = f"Use ({name} > 0) if every value but 0 marks a label."
    if isinstance(value, str):
        advice = "Encode names of labels with MultiLabelBinarizer(sparse_output=True)."
    return ValueError(
        f"{name} must hold 0 and 1 only, got {value!s:.40} in {place}. {advice}"
    )


def _label_lists(name):
    return ValueError(
        f"{name} holds a list of labels for each document. Turn it into a sparse "
        "matrix first: sklearn.preprocessing.MultiLabelBinarizer(sparse_output=True)"
        ".fit_transform(y)."
    )


def _is_label_lists(y):
    """Whether the rows are labels, in sets or lists, rather than 0 and 1 for all."""
    if not len(y) or not isinstance(y[0], (list, tuple, Set)):
        return False
    if any(isinstance(row, Set) or not hasattr(row, "__len__") for row in y):
        return True
    return len({len(row) for row in y}) > 1 or any(
        isinstance(value, str) for row in y for value in row
    )


def _check_is_sequence(X, name):
    single = X.item() if isinstance(X, np.ndarray) and X.ndim == 0 else X
    if isinstance(single, (str, bytes)):
        what = "str" if isinstance(single, str) else "bytes object"
        raise ValueError(f"{name} is one {what}; give a list of texts: [text].")
    kind = type(X)
    if hasattr(kind, "collect") and not hasattr(kind, "shape"):
        raise TypeError(
            f"{name} is a {kind.__name__}, whose rows are not there yet. Give "
            f"{name}.collect(), of which one column with texts."
        )
    # What can be gone through but has no length is read once, and is gone then.
    passing = hasattr(kind, "__iter__") and not hasattr(kind, "__len__")
    passing = passing and not hasattr(kind, "__array__")
    if X is None or passing or isinstance(X, (Mapping, Set, Iterator)):
        raise TypeError(
            f"{name} must be a sequence of str, got {kind.__name__}. "
            "Give a list, an array, or a column of a table."
        )


def _check_first(first):
    """Refuse elements that are neither texts nor rows of features, by the first."""
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
    """Whether this is a row of a table that has one column, of texts."""
    if isinstance(row, np.ndarray) and row.ndim != 1:
        return False
    single = isinstance(row, (list, tuple, np.ndarray)) and len(row) == 1
    return single and (row[0] is None or isinstance(row[0], str))


def _as_list(X, name="X"):
    """Values of a column, as Python has them."""
    if hasattr(X, "columns"):
        columns = _columns(X)
        if len(columns) != 1:
            raise ValueError(
                f"{name} is a table of {len(columns)} columns; give one column of "
                "texts."
            )
        X = columns[0]
    if isinstance(X, np.ndarray):
        X = X.ravel()
    for method in ("to_list", "to_pylist", "tolist"):  # pandas and polars, pyarrow
        if hasattr(X, method):
            return getattr(X, method)()
    return [_python_value(value) for value in X]


def _python_value(value):
    return value.as_py() if hasattr(value, "as_py") else value  # pyarrow's scalars


def _columns(table):
    if hasattr(table, "iloc"):
        return [table.iloc[:, i] for i in range(table.shape[1])]
    return table.get_columns() if hasattr(table, "get_columns") else table.columns


def _column_names(table):
    return table.schema.names if _is_arrow(table) else table.columns


def _is_arrow(value):
    return type(value).__module__.partition(".")[0] == "pyarrow"


def _numeric(column):
    if _is_arrow(column):
        column = np.asarray(column.slice(0, 0))
    is_numeric = getattr(column.dtype, "is_numeric", None)  # polars
    return is_numeric() if is_numeric else getattr(column.dtype, "kind", "O") in "biufc"


def _describe(value):
    missing = isinstance(value, float) and np.isnan(value)
    return "NaN" if missing else type(value).__name__
