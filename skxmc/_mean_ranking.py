"""Several rankings of the same documents combined into one."""

import numpy as np
import scipy.sparse as sp

from ._top_k import top_k_per_row

# Rankings are combined in blocks of a million labels: the temporary arrays of a block
# stay below 100 MB.
_BLOCK = 1_000_000


def mean_ranking(rankings, weights, k, n_labels, *, normalize=False):
    """Rank labels by the weighted mean of their scores in several rankings.

    Parameters
    ----------
    rankings : list of (ids, scores)
        Arrays of shape (n_docs, depth). Ids are padded with -1. A label occurs at most
        once in a row; if it does not occur, its score is 0.
    weights : float64 ndarray of shape (n_rankings,)
        Weight of each ranking.
    k : int
        Number of best labels of each document to return.
    n_labels : int
        Number of all labels.
    normalize : bool, default=False
        If True, divide the scores of each document by their sum.

    Returns
    -------
    ids : int64 ndarray of shape (n_docs, k)
        Best label first; of labels with equal scores, the one with the lower id first.
        Padded with -1.
    scores : float32 ndarray of shape (n_docs, k)
        Mean scores; 0 where padded.
    """
    n_docs, depth = rankings[0][0].shape
    best = np.full((n_docs, k), -1, np.int64)
    means = np.zeros((n_docs, k), np.float32)
    step = max(1, _BLOCK // (len(rankings) * depth))
    for start in range(0, n_docs, step):
        block = slice(start, start + step)
        ids = np.hstack([ids[block] for ids, _ in rankings])
        scores = [
            weight * scores[block].astype(np.float64)
            for weight, (_, scores) in zip(weights, rankings, strict=True)
        ]
        sums = _sums_by_label(ids, np.hstack(scores), n_labels)
        counts = np.diff(sums.indptr)
        totals = sums.sum(axis=1) if normalize else np.full(len(ids), weights.sum())
        sums.data /= np.repeat(totals, counts)
        _fill_best(sums, best[block], means[block])
    return best, means


def _sums_by_label(ids, scores, n_labels):
    """Sum the scores of each label of a document; return a canonical CSR array."""
    is_label = ids >= 0
    indptr = np.concatenate([[0], is_label.sum(axis=1).cumsum()])
    shape = (len(ids), n_labels)
    sums = sp.csr_array((scores[is_label], ids[is_label], indptr), shape)
    sums.sum_duplicates()
    return sums


def _fill_best(matrix, best, scores):
    """Write the best stored entries of each row of a canonical CSR array."""
    # Sums in another order differ in their last bits. Rounding makes them equal, so
    # that labels with equal means are ranked by id.
    data = matrix.data.astype(np.float32)
    order, rows, places = top_k_per_row(data, matrix.indptr, best.shape[1])
    best[rows, places] = matrix.indices[order]
    scores[rows, places] = data[order]
