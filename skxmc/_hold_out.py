"""Documents that are held out from training."""

import warnings

import numpy as np

from .nn.maps import is_mapped, temporary_array

# Number of documents whose labels are looked at together.
_DOCS = 2**18


def hold_out(Y, fraction, rng, *, only=None):
    """Choose documents to hold out, such that every label keeps a training document.

    The documents are put in random order, and of each label the last document in this
    order stays in training.

    Parameters
    ----------
    Y : csr matrix of shape (n_docs, n_labels)
    fraction : float
        Share of the documents with labels to hold out. Fewer are held out if too many
        must stay in training.
    rng : numpy Generator
    only : bool ndarray of shape (n_docs,) or None, default=None
        Which documents may be held out. None means all. `fraction` is that of these.

    Returns
    -------
    int ndarray
        Rows of the held-out documents, ascending.
    """
    rows = rng.permutation(np.flatnonzero(np.diff(Y.indptr)))
    if only is not None:  # others come last, so that they are the ones that stay
        rows = rows[np.argsort(~only[rows], kind="stable")]
    # Position of each document in the random order.
    position = np.zeros(Y.shape[0], np.int64)
    position[rows] = np.arange(len(rows))
    last = np.zeros(Y.shape[1], np.int64)
    for ids, positions in _split_entries(Y, position):
        np.maximum.at(last, ids, positions)
    must_stay = np.zeros(len(rows), bool)
    for ids, positions in _split_entries(Y, position):
        must_stay[positions[positions == last[ids]]] = True
    if only is not None:
        must_stay, rows = must_stay[only[rows]], rows[only[rows]]
    return np.sort(rows[~must_stay][: round(fraction * len(rows))])


def check_held_out(estimator, held_out):
    """Warn if no document could be held out, or refuse it with `early_stopping`.

    Parameters
    ----------
    estimator : BaseXMCClassifier
    held_out : int ndarray
        Rows of the held-out documents.
    """
    if len(held_out) or not estimator.validation_fraction:
        return
    message = (
        f"validation_fraction={estimator.validation_fraction} holds out none of the "
        f"{estimator.n_docs_} documents: the last document of a label always stays in "
        "training. "
    )
    if estimator.early_stopping:
        raise ValueError(message + "Set early_stopping=False, or give more data.")
    kept = "The last epoch is kept"
    if estimator._y_kind != "single":
        kept += ", and probabilities are calibrated on training documents"
    warnings.warn(
        f"{message}{kept}. Set validation_fraction=0 if this is meant.",
        UserWarning,
        stacklevel=4,
    )


def keep_rows(Y, rows):
    """Return Y with all rows but `rows` emptied, or Y itself if they are empty."""
    is_kept = np.zeros(Y.shape[0], bool)
    is_kept[rows] = True
    lengths = np.diff(Y.indptr)
    if not lengths[~is_kept].any():
        return Y
    indptr = np.zeros(len(Y.indptr), Y.indptr.dtype)
    (lengths * is_kept).cumsum(out=indptr[1:])
    data, indices = (_make_like(a, indptr[-1]) for a in (Y.data, Y.indices))
    start = 0
    for first in range(0, Y.shape[0], _DOCS):
        last = min(first + _DOCS, Y.shape[0])
        kept = np.repeat(is_kept[first:last], lengths[first:last])
        part, stop = slice(Y.indptr[first], Y.indptr[last]), indptr[last]
        data[start:stop], indices[start:stop] = (
            Y.data[part][kept],
            Y.indices[part][kept],
        )
        start = stop
    kept = type(Y)((data, indices, indptr), Y.shape)
    kept.has_canonical_format = Y.has_canonical_format
    return kept


def _split_entries(Y, values):
    """Yield label columns and the documents' values, once an entry, part by part."""
    for first in range(0, Y.shape[0], _DOCS):
        indptr = Y.indptr[first : first + _DOCS + 1]
        part = values[first : first + _DOCS]
        yield Y.indices[indptr[0] : indptr[-1]], np.repeat(part, np.diff(indptr))


def _make_like(array, length):
    """Make an array of another length, in a file if the array lies in one."""
    if not is_mapped(array):
        return np.empty(length, array.dtype)
    what = "The labels of the training documents"
    return temporary_array((length,), array.dtype, what, "Free room on the disk.")


def typical_depth(Y):
    """Return the k of the P@k that compares epochs: labels per document, at most 5.

    P@5 would be the same for all rankings if there were only 5 labels, and would say
    little about the best label if documents had only one.
    """
    return min(5, max(1, round(Y.nnz / np.count_nonzero(np.diff(Y.indptr)))))
