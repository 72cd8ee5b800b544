"""Documents that are held out from training."""

import warnings

import numpy as np


def hold_out(Y, fraction, rng):
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

    Returns
    -------
    int ndarray
        Rows of the held-out documents, ascending.
    """
    rows = rng.permutation(np.flatnonzero(np.diff(Y.indptr)))
    # Position of each document in the random order, once per entry of Y.
    position = np.zeros(Y.shape[0], np.int64)
    position[rows] = np.arange(len(rows))
    position = np.repeat(position, np.diff(Y.indptr))
    last = np.zeros(Y.shape[1], np.int64)
    np.maximum.at(last, Y.indices, position)
    must_stay = np.zeros(len(rows), bool)
    must_stay[position[position == last[Y.indices]]] = True
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
    entries = np.repeat(is_kept, lengths)
    indptr = np.append(0, np.cumsum(lengths * is_kept)).astype(Y.indptr.dtype)
    return type(Y)((Y.data[entries], Y.indices[entries], indptr), Y.shape)


def typical_depth(Y):
    """Return the k of the P@k that compares epochs: labels per document, at most 5.

    P@5 would be the same for all rankings if there were only 5 labels, and would say
    little about the best label if documents had only one.
    """
    return min(5, max(1, round(Y.nnz / np.count_nonzero(np.diff(Y.indptr)))))
