"""Labels of any container as arrays, and messages that name the place of an error."""

import numbers
from collections.abc import Set

import numpy as np
import scipy.sparse as sp


def label_array(y, name="y"):
    """Return labels of any container as a sparse matrix, or as an array of numpy.

    Tables and columns of pandas, polars and pyarrow are converted, also nullable ones
    and those of mixed types. A pandas table with sparse columns becomes a sparse
    matrix. Values are checked only if they are missing or objects of Python.

    Raises
    ------
    ValueError
        If the labels cannot become an array, or if a value is missing. The message
        names its place.
    """
    if sp.issparse(y):
        return y
    if isinstance(y, (list, tuple)) and _holds_label_lists(y):
        raise label_lists_error(name)
    if hasattr(y, "iloc") and hasattr(y, "dtypes") and np.ndim(y) == 2:
        array = _convert_pandas(y, name)
    else:
        try:
            array = np.asarray(y)
        except ValueError as error:  # the rows have different lengths
            raise label_lists_error(name) from error
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
        # np.asarray(["a", nan]) turns NaN into the text "nan".
        _check_present(_test_each(_is_missing, np.array(y, dtype=object)), name)
    if array.dtype.kind == "T":
        array = array.astype(object)
    return _convert_objects(array, name) if array.dtype == object else array


def check_ones(Y, name):
    """Refuse stored entries of a CSR matrix that are not 1."""
    is_wrong = Y.data != 1  # also true for NaN
    if is_wrong.any():
        value = Y.data[is_wrong.argmax()]
        raise not_binary_error(name, value, name_stored_place(Y, is_wrong))


def check_finite(y):
    """Refuse NaN and infinities in an array."""
    is_wrong = ~np.isfinite(y)
    if is_wrong.any():
        raise ValueError(f"Input y contains NaN or infinity in {name_place(is_wrong)}.")


def name_place(mask):
    """Name the row, and column, of the first True of a mask, counted from 0."""
    places = np.unravel_index(mask.argmax(), mask.shape)
    return ", ".join(
        f"{axis} {i}" for axis, i in zip(("row", "column"), places, strict=False)
    )


def name_stored_place(Y, mask):
    """Name the row and column of the first True of a mask of a CSR matrix's entries."""
    entry = mask.argmax()
    row = np.searchsorted(Y.indptr, entry, side="right") - 1
    return f"row {row}, column {Y.indices[entry]}"


def not_binary_error(name, value, place):
    """Make the error for a label matrix that holds another value than 0 and 1."""
    advice = f"Use ({name} > 0) if every value but 0 marks a label."
    if isinstance(value, str):
        advice = (
            "Encode the names of labels with MultiLabelBinarizer(sparse_output=True)."
        )
    return ValueError(
        f"{name} must hold 0 and 1 only, got {value!s:.40} in {place}. {advice}"
    )


def label_lists_error(name):
    """Make the error for labels that are lists of names."""
    return ValueError(
        f"{name} holds a list of labels for each document. Turn it into a sparse "
        "matrix first: sklearn.preprocessing.MultiLabelBinarizer(sparse_output=True)"
        ".fit_transform(y). For the columns of a fitted classifier, also pass "
        "classes=label_names_ to the binarizer, with the names of new labels at the "
        "end."
    )


def _convert_pandas(table, name):
    """Return a sparse matrix for a table with sparse columns, else an array."""
    dtypes = set(table.dtypes)
    if table.shape[1] == 1:  # may hold classes of any type, which it keeps
        return np.asarray(table.iloc[:, 0]).reshape(-1, 1)
    if any(hasattr(dtype, "fill_value") for dtype in dtypes):
        from pandas import SparseDtype

        return table.astype(SparseDtype(np.float64, 0)).sparse.to_coo()
    if all(isinstance(dtype, np.dtype) for dtype in dtypes) and len(dtypes) == 1:
        return np.asarray(table)
    if any(dtype.kind not in "biuf" for dtype in dtypes):
        return np.asarray(table, dtype=object)
    # An array of Python's numbers would take several times the memory.
    array = table.to_numpy(dtype=np.float64, na_value=np.nan)
    _check_present(np.isnan(array), name)
    return array


def _convert_objects(array, name):
    """Turn an array of objects that are numbers into one of numbers.

    Rows that are arrays or lists of numbers become a matrix; classes stay objects.
    """
    _check_present(_test_each(_is_missing, array), name)
    is_number = _test_each(_is_number, array)
    if is_number.all():
        return np.array(array.tolist()).reshape(array.shape)
    if array.ndim == 2 and array.shape[1] > 1:
        raise not_binary_error(name, array[~is_number][0], name_place(~is_number))
    rows = array.ravel().tolist()
    if rows and hasattr(rows[0], "__len__") and not isinstance(rows[0], (str, bytes)):
        rows = [row if isinstance(row, Set) else np.ravel(row).tolist() for row in rows]
        return label_array(rows, name)
    is_text = _test_each(lambda value: isinstance(value, str), array)
    if is_text.any() and not is_text.all():
        raise ValueError(
            f"{name} holds {array[~is_text][0]!r:.40} in {name_place(~is_text)} and a "
            f"text in {name_place(is_text)}. Make all classes texts, with str."
        )
    return array


def _test_each(test, array):
    return np.frompyfunc(test, 1, 1)(array).astype(bool)


def _is_number(value):
    return isinstance(value, (numbers.Real, np.bool_))


def _is_missing(value):
    is_nan = isinstance(value, (float, np.floating)) and value != value
    return is_nan or value is None or type(value).__name__ in ("NAType", "NaTType")


def _check_present(is_missing, name):
    if is_missing.any():
        raise ValueError(
            f"Input {name} contains NaN or another missing value in "
            f"{name_place(is_missing)}. Remove the document, or fill in its labels."
        )


def _holds_label_lists(y):
    """Whether rows list the labels of a document, rather than 0 or 1 for each label."""
    if not len(y) or not isinstance(y[0], (list, tuple, Set)):
        return False
    if any(isinstance(row, Set) or not hasattr(row, "__len__") for row in y):
        return True
    return len({len(row) for row in y}) > 1 or any(
        isinstance(value, str) for row in y for value in row
    )
