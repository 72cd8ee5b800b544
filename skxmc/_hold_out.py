"""Documents that are held out of training."""

import numpy as np


def hold_out(Y, fraction, rng):
    """Documents to hold out of training, such that every label keeps one to train on.

    In a random order of the documents, the last one of a label is never held out.
    """
    rows = rng.permutation(np.flatnonzero(np.diff(Y.indptr)))
    place = np.zeros(Y.shape[0], np.int64)
    place[rows] = np.arange(len(rows))
    place = np.repeat(place, np.diff(Y.indptr))
    last = np.zeros(Y.shape[1], np.int64)
    np.maximum.at(last, Y.indices, place)
    needed = np.zeros(len(rows), bool)
    needed[place[place == last[Y.indices]]] = True
    return np.sort(rows[~needed][: round(fraction * len(rows))])


def keep_rows(Y, rows):
    """Y with the rows other than `rows` emptied; Y itself where no other has labels."""
    kept = np.zeros(Y.shape[0], bool)
    kept[rows] = True
    lengths = np.diff(Y.indptr)
    if not lengths[~kept].any():
        return Y
    stays = np.repeat(kept, lengths)
    indptr = np.append(0, np.cumsum(lengths * kept)).astype(Y.indptr.dtype)
    return type(Y)((Y.data[stays], Y.indices[stays], indptr), Y.shape)


def typical_depth(Y):
    """K of the P@k that tells rankings apart: labels a document, at most 5.

    P@5 of 5 labels in all, or of one a document, would not.
    """
    return min(5, max(1, round(Y.nnz / np.count_nonzero(np.diff(Y.indptr)))))
