"""Checks of labels, and of their texts and names."""

from collections.abc import Mapping, Set

import numpy as np
import scipy.sparse as sp
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from .._words import nfc
from .label_arrays import (
    check_finite,
    check_ones,
    label_array,
    name_place,
    name_stored_place,
    not_binary_error,
)
from .texts import check_texts, describe_type, to_python

# Number of entries of a label matrix that are counted together.
_CHUNK = 2**24


def check_labels(y):
    """Return labels as a binary CSR matrix, and their original form.

    A float32 CSR matrix in canonical format and without explicit zeros is returned
    itself, not as a copy: do not change the result in place.

    Returns
    -------
    Y : csr_array or csr_matrix of shape (n_docs, n_labels), float32
        All entries are 1; indices are sorted.
    classes : ndarray
        Values of a 1-D y, else the numbers of the columns.
    kind : {"sparse", "dense", "single"}
        "single" is a 1-D y, with one class per document.
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
        check_dense(y)
        Y = sp.csr_matrix(y.astype(np.float32, copy=False))
        return *_check_sparse(Y), "dense"
    y = column_or_1d(y, warn=True)
    if y.dtype.kind == "f":
        check_finite(y)
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


def check_more_classes(y, known):
    """Return a 1-D y as a label matrix with columns for known classes and for new ones.

    Parameters
    ----------
    y : array-like of shape (n_docs,)
        It may hold a single class.
    known : ndarray of shape (n_known,)
        The classes of earlier fits.

    Returns
    -------
    Y : csr_matrix of shape (n_docs, n_classes), float32
    classes : ndarray of shape (n_classes,)
        All classes, sorted.
    """
    y = column_or_1d(label_array(y), warn=True)
    check_classification_targets(y)
    _, is_known = class_ids(y, known)
    classes = np.unique(np.append(known, y[~is_known]))
    ids, _ = class_ids(y, classes)
    ones = np.ones(len(y), np.float32)
    shape = len(y), len(classes)
    return sp.csr_matrix((ones, ids, np.arange(len(y) + 1)), shape), classes


def encode_labels(y, classes, kind):
    """Return the label matrix of y for an estimator that was fitted on labels like it.

    `classes` and `kind` are what `check_labels` returned in ``fit``.
    """
    y = label_array(y)
    if kind != "single" or sp.issparse(y) or y.ndim == 2 and y.shape[1] > 1:
        if y.ndim != 2 or y.shape[1] != len(classes):
            got = f"{y.shape[1]} label columns" if y.ndim == 2 else f"shape {y.shape}"
            raise ValueError(f"y has {got}, and fit saw {len(classes)} label columns.")
        return y.tocsr() if sp.issparse(y) else sp.csr_matrix(y)
    y = column_or_1d(y)
    ids, is_known = class_ids(y, classes)
    # A class that fit has not seen gets a stored 0: no prediction can match it.
    hits = is_known.astype(np.float32)
    return sp.csr_matrix((hits, ids, np.arange(len(y) + 1)), (len(y), len(classes)))


def class_ids(y, classes):
    """Return the position of each value of a 1-D y in `classes`, and if it is there."""
    classes = np.asarray(classes)
    if y.dtype.kind == "f":
        check_finite(y)
    if len(y) and isinstance(y[0], str) != isinstance(classes[0], str):
        raise ValueError(
            f"y holds classes of dtype {y.dtype}, such as {y[0]!s:.40}; fit saw "
            f"{classes.dtype}, such as {classes[0]!s:.40}. Give y as it was in fit."
        )
    ids, is_known = _find_positions(y, classes)
    if isinstance(classes[0], str) and not is_known.all():
        # "é" may be one character or two (NFC or NFD): both are the same class.
        is_new = ~is_known
        forms = (
            np.array([nfc(name) for name in part]) for part in (y[is_new], classes)
        )
        ids[is_new], is_known[is_new] = _find_positions(*forms)
    return ids, is_known


def count_documents(Y):
    """Return the number of documents of each label: int64 ndarray of (n_labels,)."""
    counts = np.zeros(Y.shape[1], np.int64)
    for start in range(0, Y.nnz, _CHUNK):  # bincount makes a copy of 8 bytes an entry
        part = Y.indices[start : start + _CHUNK]
        counts += np.bincount(part, minlength=Y.shape[1])
    return counts


def check_label_texts(label_texts, n_labels):
    """Return label texts as a list of n_labels str, in Unicode's form NFC."""
    texts = check_texts(label_texts, "label_texts")
    if len(texts) != n_labels:
        raise ValueError(
            f"label_texts has {len(texts)} texts and y {n_labels} label columns; "
            "label_texts[j] must be the text of column j."
        )
    return texts


def check_label_names(label_names, n_labels):
    """Return label names as a list of n_labels objects; every str in form NFC."""
    is_unordered = isinstance(label_names, (str, bytes, Set, Mapping))
    is_table = getattr(label_names, "ndim", 1) != 1 or hasattr(label_names, "columns")
    if is_unordered or is_table or not hasattr(label_names, "__len__"):
        raise ValueError(
            "label_names must be a sequence, a name for each label; got "
            f"{describe_type(label_names)}."
        )
    names = [to_python(name) for name in label_names]
    names = [nfc(name) if isinstance(name, str) else name for name in names]
    if len(names) != n_labels:
        raise ValueError(
            f"label_names has {len(names)} names and y {n_labels} label columns; "
            "label_names[j] must be the name of column j."
        )
    return names


def _find_positions(values, options):
    """Return the position of each value among the options, and if it is there."""
    order = np.argsort(options)
    places = np.searchsorted(options, values, sorter=order).clip(max=len(options) - 1)
    return order[places], options[order[places]] == values


def _check_sparse(y):
    """Return a sparse label matrix in canonical form, and the numbers of its columns.

    The steps below change a matrix in place, so y itself is copied before them.
    """
    Y = y.tocsr()  # y itself if it is a CSR matrix
    if not Y.has_canonical_format:
        Y = Y.copy() if Y is y else Y
        Y.sum_duplicates()
    if Y.dtype != np.float32:
        Y = Y.astype(np.float32)
    is_finite = np.isfinite(Y.data)
    if not is_finite.all():
        place = name_stored_place(Y, ~is_finite)
        raise ValueError(f"Input y contains NaN or infinity in {place}.")
    if not Y.data.all():
        Y = Y.copy() if Y is y else Y
        Y.eliminate_zeros()
    check_ones(Y, "y")
    if Y.shape[1] < 2:
        raise ValueError(
            f"y has {Y.shape[1]} label columns; at least 2 are needed. For a single "
            "label, give a 1-D y with one class for documents that have it and one for "
            "all others."
        )
    if Y.nnz == 0:
        raise ValueError(
            f"y holds no label at all: all {Y.shape[0]} documents lack one, so there "
            "is nothing to learn."
        )
    return Y, np.arange(Y.shape[1])


def check_dense(y):
    """Refuse an array of labels that holds other values than 0 and 1."""
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"y is a 2-D array of dtype {y.dtype}; it must hold 0 and 1 only."
        )
    check_finite(y)
    is_wrong = (y != 0) & (y != 1)
    if is_wrong.any():
        raise not_binary_error("y", y[is_wrong][0], name_place(is_wrong))
