"""Checks of labels that come, go or change their names after ``fit``."""

import numbers
from collections.abc import Set

import numpy as np
import scipy.sparse as sp

from .._words import nfc
from .label_arrays import check_ones, label_array
from .labels import check_dense, encode_labels


def check_more_labels(y, n_docs, n_labels, n_new):
    """Return the labels of documents that come after ``fit``, as a binary matrix.

    Parameters
    ----------
    y : sparse matrix or array of shape (n_docs, n_new or n_labels + n_new)
    n_docs : int
        Number of documents.
    n_labels : int
        Number of labels of the classifier.
    n_new : int
        Number of new labels, whose columns are the last ones.

    Returns
    -------
    Y : csr_array of shape (n_docs, n_labels + n_new), float32
        All entries are 1; indices are sorted.
    """
    y = label_array(y)
    widths = sorted({n_new, n_labels + n_new} - {0})
    if y.ndim != 2 or y.shape[0] != n_docs or y.shape[1] not in widths:
        raise ValueError(
            f"y has shape {tuple(y.shape)}; with {n_docs} documents, {n_labels} labels "
            f"and {n_new} new ones it must have {n_docs} rows and "
            f"{' or '.join(map(str, widths))} columns."
        )
    if not sp.issparse(y):
        check_dense(y)
    Y = sp.csr_array(y, dtype=np.float32, copy=True)
    Y.sum_duplicates()
    Y.eliminate_zeros()
    check_ones(Y, "y")
    missing = n_labels + n_new - Y.shape[1]
    if missing:
        shape = n_docs, n_labels + n_new
        Y = sp.csr_array((Y.data, Y.indices + missing, Y.indptr), shape)
    return Y


def check_known_labels(y, n_docs, classes, kind):
    """Return the labels of documents that come after ``fit``, and bring no new ones.

    Parameters
    ----------
    y : sparse matrix or array of shape (n_docs, n_labels), or (n_docs,)
    n_docs : int
        Number of documents.
    classes : ndarray of shape (n_labels,)
    kind : {"sparse", "dense", "single"}
        The two are what `skxmc._validation.labels.check_labels` returned in ``fit``.

    Returns
    -------
    Y : csr_array or csr_matrix of shape (n_docs, n_labels), float32
    """
    if kind != "single":
        y, n_labels = label_array(y), len(classes)
        if y.ndim == 2 and y.shape[1] > n_labels:
            raise ValueError(
                f"y has {y.shape[1]} label columns, {y.shape[1] - n_labels} more "
                "than there are labels: give label_texts or label_names of the new "
                "labels."
            )
        return check_more_labels(y, n_docs, n_labels, 0)
    Y = encode_labels(y, classes, kind)
    if Y.shape[0] != n_docs:
        raise ValueError(f"X holds {n_docs} documents and y {Y.shape[0]} values.")
    (unknown,) = np.nonzero(Y.data == 0)
    if len(unknown):
        raise ValueError(
            f"y[{unknown[0]}] is a class that fit has not seen. Where y is 1-D, no "
            "classes can be added: fit again."
        )
    return Y


def find_columns(labels, names, *, numbered=False):
    """Return the column of each label, which is given by its column or its name.

    Parameters
    ----------
    labels : sequence, a single label, or a mask of shape (n_labels,)
    names : ndarray of shape (n_labels,)
    numbered : bool, default=False
        Whether names are the numbers that columns had in the fit, and nobody's choice.
        A whole number is then a column in any case.

    Returns
    -------
    list of int

    Raises
    ------
    ValueError
        If there is no such label, or if several labels may be meant.
    """
    labels = _list_labels(labels)
    if labels and all(isinstance(label, (bool, np.bool_)) for label in labels):
        if len(labels) != len(names):
            raise ValueError(
                f"A mask must have {len(names)} values, one for each label; got "
                f"{len(labels)}."
            )
        return np.flatnonzero(labels).tolist()
    known, columns = _places_of_names(names), []
    for label in labels:
        is_number = isinstance(label, numbers.Integral) and not isinstance(label, bool)
        places = [] if is_number and numbered else known.get(_key(label), [])
        if is_number and 0 <= label < len(names):
            if places not in ([], [label]):
                raise ValueError(
                    f"{label} is the column of the label {names[label]!r:.80} and the "
                    f"name of that in column {places[0]}. Give a mask instead, such as "
                    f"label_names_ == {label}."
                )
            places = [int(label)]
        elif is_number and not places:
            raise ValueError(
                f"There is no label {label}: columns go from 0 to {len(names) - 1}."
            )
        if not places:
            raise ValueError(f"There is no label {label!r:.80} in label_names_.")
        if len(places) > 1:
            raise ValueError(
                f"Labels {places[:5]} are called {label!r:.80}: choose one of them by "
                "its column."
            )
        columns.append(places[0])
    return columns


def _list_labels(labels):
    """Return labels, or a single one, as a list."""
    if isinstance(labels, str) or not hasattr(labels, "__iter__"):
        return [labels]
    if getattr(labels, "ndim", 1) == 0:
        return [labels.item()]
    return list(labels)


def _places_of_names(names):
    places = {}
    for j, name in enumerate(names):
        places.setdefault(_key(name), []).append(j)
    return places


def _key(name):
    """Return what stands for a name in a dict: texts may have several forms."""
    if isinstance(name, str):
        return nfc(name)
    try:
        hash(name)
    except TypeError:
        return repr(name)
    return name


def check_new_names(names, others):
    """Refuse names that two labels would have."""
    known = {_key(name): j for j, name in enumerate(others)}
    new = {}
    for j, name in enumerate(names):
        key = _key(name)
        if key in new:
            raise ValueError(
                f"New labels {new[key]} and {j} are both called {name!r:.80}. Give "
                "label_names that differ."
            )
        if key in known:
            raise ValueError(
                f"There is a label called {name!r:.80} already. Give the new one "
                "another name (label_names), or remove the label first."
            )
        new[key] = j


def check_rows(rows):
    """Return rows of documents, each once, as an int64 ndarray."""
    if isinstance(rows, Set):
        rows = list(rows)
    rows = np.atleast_1d(rows)
    if rows.dtype == bool:
        raise ValueError(
            "rows is a mask of True and False. Give row numbers instead: "
            "np.flatnonzero(mask)."
        )
    if rows.ndim != 1 or rows.dtype.kind not in "iu" and rows.size:
        raise ValueError(
            "rows must be whole numbers, a row of a document or a sequence of rows, as "
            f"kneighbors returns them; got an array of shape {rows.shape} and dtype "
            f"{rows.dtype}."
        )
    return np.unique(rows).astype(np.int64)


def no_documents_error(rows):
    """Make the error for rows of documents that are not in the memory."""
    return ValueError(
        f"Rows {rows[:5].tolist()} are not in the memory: no document has such a row, "
        "or it was held out, has no labels, or has been forgotten."
    )
