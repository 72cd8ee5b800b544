"""Ranking metrics of extreme classification, and scorers for scikit-learn.

Every metric takes ``y_true``, sparse or dense, of shape (n_docs, n_labels) with
values 0 and 1, and ``y_score``, which is one of

- a scipy sparse matrix or array of scores, shape (n_docs, n_labels): stored
  entries, negative ones too, are predictions; absent ones and zeros are not;
- a dense array of float scores, same shape: every label is ranked, zeros too;
- a dense array of integer dtype, shape (n_docs, m): label ids, best first, padded
  with -1. Integer dtype always means ids: cast integer scores to float.

A score of -inf is never a prediction. Equal scores are ranked by label id,
ascending. A document with fewer than k predictions has misses in the remaining
places. A document without positives counts as 0 in the averages; it adds nothing
to PSP. Inputs are never modified. Malformed input raises ValueError.
"""

import inspect
import warnings
from numbers import Integral

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.pipeline import Pipeline

# Entries sorted at once: the temporaries of a chunk stay below 100 MB.
_CHUNK = 1_000_000


# Input


def _check_ks(k):
    ks = [k] if np.ndim(k) == 0 else list(k)
    valid = [isinstance(i, Integral) and not isinstance(i, bool) and i >= 1 for i in ks]
    if not ks or not all(valid):
        raise ValueError(
            f"k must be an integer >= 1 or a sequence of them, got {k!r}. "
            "Pass for example k=5 or k=(1, 3, 5)."
        )
    return [int(i) for i in ks]


def _check_truth(y, name="y_true"):
    """Return a canonical CSR copy of a 0/1 matrix, explicit zeros eliminated."""
    y = y if issparse(y) else np.asarray(y)
    if y.ndim != 2 or 0 in y.shape:
        raise ValueError(
            f"{name} must be 2-D with at least one row and one label, got shape "
            f"{y.shape}. Pass an indicator matrix of shape (n_docs, n_labels)."
        )
    if y.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} must hold numbers 0 and 1, got dtype {y.dtype}. "
            "Encode label names with MultiLabelBinarizer(sparse_output=True)."
        )
    # scipy.sparse has no float16.
    y = y.astype(np.float32) if y.dtype == np.float16 else y
    truth = csr_array(y, copy=True)
    truth.sum_duplicates()
    truth.eliminate_zeros()
    wrong = truth.data[truth.data != 1]
    if wrong.size:
        raise ValueError(
            f"{name} must hold only 0 and 1, got {wrong[0]}. "
            "Binarize it first, for example (Y > 0).astype(int)."
        )
    return truth


def _check_propensity(values, n_labels):
    p = np.asarray(values, dtype=np.float64)
    if p.shape != (n_labels,):
        raise ValueError(
            f"propensity must have shape ({n_labels},), one value a label, got shape "
            f"{p.shape}. Compute it with propensity(Y_train)."
        )
    wrong = ~((p > 0) & (p <= 1))  # catches NaN
    if wrong.any():
        raise ValueError(
            f"propensity must lie in (0, 1], got {p[wrong][0]} for label "
            f"{wrong.argmax()}. Pass 1 / q if these are inverse propensities q."
        )
    return p


# Top k


def _fill_top(out, rows, ids, scores, first_doc):
    """Write the best ids of each row into ``out``, which holds -1.

    ``rows`` ascends and ``ids`` ascends within a row, so a stable sort breaks
    ties by id.
    """
    if np.isnan(scores).any():
        doc = first_doc + rows[np.isnan(scores).argmax()]
        raise ValueError(
            f"y_score holds NaN in row {doc}. Replace it, by -inf for no prediction."
        )
    order = np.lexsort((-scores, rows))
    order = order[scores[order] > -np.inf]
    rows, ids = rows[order], ids[order]
    place = np.arange(rows.size) - np.searchsorted(rows, np.arange(len(out)))[rows]
    kept = place < out.shape[1]
    out[rows[kept], place[kept]] = ids[kept]


def _top_of_sparse(scores, width):
    """Best stored ids of each row of a canonical CSR array, padded with -1."""
    n_docs, indptr = scores.shape[0], scores.indptr
    out = np.full((n_docs, width), -1, dtype=np.int64)
    start = 0
    while start < n_docs:
        stop = np.searchsorted(indptr, indptr[start] + _CHUNK, side="right") - 1
        stop = max(stop, start + 1)
        part = slice(indptr[start], indptr[stop])
        rows = np.repeat(np.arange(stop - start), np.diff(indptr[start : stop + 1]))
        data = scores.data[part].astype(np.float64)
        data[data == 0] = -np.inf  # a zero score is no prediction
        _fill_top(out[start:stop], rows, scores.indices[part], data, start)
        start = stop
    return out


def _top_of_dense(scores, width):
    n_docs, n_labels = scores.shape
    out = np.full((n_docs, width), -1, dtype=np.int64)
    step = max(1, _CHUNK // n_labels)
    for start in range(0, n_docs, step):
        part = scores[start : start + step]
        # Everything tied with the last place stays, so that ties go by id.
        # partition puts NaN last: "not below" keeps it for _fill_top to refuse.
        last = np.partition(part, n_labels - width, axis=1)[:, [n_labels - width]]
        rows, ids = np.nonzero(~(part < last))
        _fill_top(out[start : start + step], rows, ids, part[rows, ids], start)
    return out


def _top_of_ids(ids, n_labels, width):
    """Check ids given by the caller; cut or pad them to ``width`` columns."""
    hint = "Integer arrays are read as label ids: cast scores to float."
    ids = ids.astype(np.int64, copy=False)
    wrong = (ids < -1) | (ids >= n_labels)
    if wrong.any():
        row, place = np.argwhere(wrong)[0]
        raise ValueError(
            f"y_score[{row}] holds label id {ids[row, place]}, expected ids in "
            f"[0, {n_labels}) padded with -1. {hint}"
        )
    ordered = np.sort(ids, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        row, place = np.argwhere(twice)[0]
        raise ValueError(
            f"y_score[{row}] holds label id {ordered[row, place]} more than once. "
            f"Keep its first place only. {hint}"
        )
    ids = ids[:, :width]
    return np.pad(ids, ((0, 0), (0, width - ids.shape[1])), constant_values=-1)


def _top_ids(y_score, shape, width):
    """Label ids of shape (n_docs, width), best first, padded with -1."""
    sparse = issparse(y_score)
    y_score = y_score if sparse else np.asarray(y_score)
    if y_score.dtype.kind not in ("biuf" if sparse else "iuf"):
        raise ValueError(
            "y_score must hold float scores or integer label ids, got dtype "
            f"{y_score.dtype}. Cast scores to float."
        )
    as_ids = not sparse and y_score.dtype.kind in "iu"
    if y_score.ndim != 2 or y_score.shape[: 1 if as_ids else 2] != shape[: 2 - as_ids]:
        kind = "label ids" if as_ids else "scores"
        raise ValueError(
            f"y_score holds {kind} of shape {y_score.shape}, but y_true has shape "
            f"{shape}. Pass scores of that shape, or integer label ids of shape "
            f"({shape[0]}, m)."
        )
    if as_ids:
        return _top_of_ids(y_score, shape[1], width)
    if not sparse:
        return _top_of_dense(y_score, width)
    scores = csr_array(y_score)
    if not scores.has_canonical_format:
        scores = scores.copy()  # csr_array shares the caller's arrays
        scores.sum_duplicates()
    return _top_of_sparse(scores, width)


# The metrics, on a ranking


class _Ranking:
    """The top ids of each document and which of them hit, computed once.

    Every metric is a few lines on these arrays of shape (n_docs, width), where
    width is the largest k or n_labels: places beyond n_labels are misses.
    """

    def __init__(self, y_true, y_score, max_k, propensity=None):
        truth = _check_truth(y_true)
        n_docs, n_labels = truth.shape
        width = min(max_k, n_labels)
        self.ids = _top_ids(y_score, truth.shape, width)
        self.n_true = np.diff(truth.indptr)
        self.label_counts = np.bincount(truth.indices, minlength=n_labels)
        if not truth.nnz:
            warnings.warn(
                "y_true has no positives: every metric is set to 0.",
                UndefinedMetricWarning,
                stacklevel=4,
            )
        # One number a (document, label) pair; the mask keeps the padding of one
        # document from matching the last label of the document before.
        rows = np.arange(n_docs, dtype=np.int64)[:, None] * n_labels
        true_pairs = np.repeat(rows[:, 0], self.n_true) + truth.indices
        self.hits = np.isin(rows + self.ids, true_pairs) & (self.ids >= 0)

        self.discount = 1 / np.log2(np.arange(2, width + 2))
        self.ideal_dcg = np.append(0, np.cumsum(self.discount))  # by n positives
        if propensity is not None:
            q = 1 / _check_propensity(propensity, n_labels)
            weighted = (q[truth.indices], truth.indices, truth.indptr)
            best = _top_of_sparse(csr_array(weighted, shape=truth.shape), width)
            self.gains = np.where(self.hits, q[self.ids], 0)
            self.best_gains = np.where(best >= 0, q[best], 0)

    def mean_ndcg(self, gains, k):
        ideal = self.ideal_dcg[np.minimum(self.n_true, k)]
        dcg = gains[:, :k] @ self.discount[:k]
        # ideal >= 1 wherever there is a positive; elsewhere dcg is 0.
        return np.mean(dcg / np.maximum(ideal, 1))

    def label_confusion(self, k):
        """Hits, predictions, positives of each label that has positives."""
        ids, hits, n = self.ids[:, :k], self.hits[:, :k], self.label_counts.size
        counts = np.stack(
            [
                np.bincount(ids[hits], minlength=n),
                np.bincount(ids[ids >= 0], minlength=n),
                self.label_counts,
            ]
        )
        return counts[:, self.label_counts > 0]


def _ratio(numerator, denominator):
    return numerator / denominator if denominator else 0.0


def _mean_ratio(numerators, denominators):
    # The numerator is 0 wherever the denominator is.
    ratios = numerators / np.maximum(denominators, 1)
    return _ratio(ratios.sum(), ratios.size)


def _precision(ranking, k):
    return ranking.hits[:, :k].sum() / (len(ranking.hits) * k)


def _recall(ranking, k):
    return _mean_ratio(ranking.hits[:, :k].sum(axis=1), ranking.n_true)


def _ndcg(ranking, k):
    return ranking.mean_ndcg(ranking.hits, k)


def _psp(ranking, k, normalize=True):
    gain = ranking.gains[:, :k].sum()
    if not normalize:
        return gain / (len(ranking.gains) * k)
    return _ratio(gain, ranking.best_gains[:, :k].sum())


def _psndcg(ranking, k, normalize=True):
    gain = ranking.mean_ndcg(ranking.gains, k)
    return _ratio(gain, ranking.mean_ndcg(ranking.best_gains, k)) if normalize else gain


def _coverage(ranking, k):
    n_hits, _, n_true = ranking.label_confusion(k)
    return _ratio(np.count_nonzero(n_hits), n_true.size)


def _macro_precision(ranking, k):
    n_hits, n_predicted, _ = ranking.label_confusion(k)
    return _mean_ratio(n_hits, n_predicted)


def _macro_recall(ranking, k):
    n_hits, _, n_true = ranking.label_confusion(k)
    return _mean_ratio(n_hits, n_true)


def _macro_f1(ranking, k):
    n_hits, n_predicted, n_true = ranking.label_confusion(k)
    return _mean_ratio(2 * n_hits, n_predicted + n_true)


# Name in ranking_scorer: (name in ranking_report, function).
_METRICS = {
    "precision": ("P", _precision),
    "recall": ("R", _recall),
    "ndcg": ("nDCG", _ndcg),
    "psp": ("PSP", _psp),
    "psndcg": ("PSnDCG", _psndcg),
    "coverage": ("coverage", _coverage),
    "macro_precision": ("macroP", _macro_precision),
    "macro_recall": ("macroR", _macro_recall),
    "macro_f1": ("macroF1", _macro_f1),
}
_WEIGHTED = ("psp", "psndcg")


def _evaluate(metric, y_true, y_score, k, propensity=None, **options):
    ks = _check_ks(k)
    ranking = _Ranking(y_true, y_score, max(ks), propensity)
    values = np.array([metric(ranking, i, **options) for i in ks], dtype=np.float64)
    return float(values[0]) if np.ndim(k) == 0 else values


def _report(ranking, ks, weighted):
    return {
        f"{short}@{k}": float(metric(ranking, k))
        for name, (short, metric) in _METRICS.items()
        if weighted or name not in _WEIGHTED
        for k in ks
    }


# Public metrics


_INPUTS = """
y_true : {array-like, sparse} of shape (n_docs, n_labels)
    Truth, 0 or 1.
y_score : {array-like, sparse} of shape (n_docs, n_labels) or (n_docs, m)
    Float scores, or integer label ids, best first, padded with -1.
k : int or sequence of int, default=5
    Labels kept a document; may exceed n_labels.
""".strip()
_OUTPUT = """
Returns
-------
float or ndarray of shape (len(k),), float64
    In [0, 1]; an array if ``k`` is a sequence. 0, with a warning, if ``y_true``
    has no positives at all.

Raises
------
ValueError
    On shapes that do not fit, truth other than 0 and 1, NaN scores, label ids
    repeated or out of range, k < 1, or propensities outside (0, 1].
""".strip()


def _fill_doc(function):
    """Put what the nine metrics share into their docstrings."""
    doc = inspect.cleandoc(function.__doc__ or "")
    doc = doc.replace("%(inputs)s", _INPUTS).replace("%(output)s", _OUTPUT)
    function.__doc__ = doc
    return function


@_fill_doc
def precision_at_k(y_true, y_score, k=5):
    r"""Fraction of the k best labels that are true, averaged over documents.

    .. math:: P@k = \frac{1}{N} \sum_n \frac{1}{k} \sum_{i \le k} y_{n, r_i}

    The denominator is k even where fewer labels are true or predicted, so the best
    possible value is below 1 if documents have fewer than k positives.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    References
    ----------
    .. [1] Bhatia et al., The extreme classification repository, 2016.

    Examples
    --------
    >>> precision_at_k([[1, 0, 1]], [[0.9, 0.8, 0.1]], k=2)
    0.5
    """
    return _evaluate(_precision, y_true, y_score, k)


@_fill_doc
def recall_at_k(y_true, y_score, k=5):
    """Fraction of the true labels among the k best, averaged over documents.

    Documents without positives count as 0.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    Examples
    --------
    >>> recall_at_k([[1, 0, 1]], [[0.9, 0.8, 0.1]], k=(1, 3))
    array([0.5, 1. ])
    """
    return _evaluate(_recall, y_true, y_score, k)


@_fill_doc
def ndcg_at_k(y_true, y_score, k=5):
    r"""Discounted cumulative gain over the best possible, averaged over documents.

    .. math::
        nDCG@k = \frac{1}{N} \sum_n
        \frac{\sum_{i \le k} y_{n, r_i} / \log_2(i + 1)}
        {\sum_{i \le \min(k, |y_n|)} 1 / \log_2(i + 1)}

    Parameters
    ----------
    %(inputs)s

    %(output)s

    References
    ----------
    .. [1] Jarvelin and Kekalainen, Cumulated gain-based evaluation of IR
       techniques, ACM TOIS 2002.

    Examples
    --------
    >>> round(ndcg_at_k([[1, 1, 0]], [[0.0, 0.9, 0.8]], k=2), 4)
    0.6131
    """
    return _evaluate(_ndcg, y_true, y_score, k)


@_fill_doc
def psp_at_k(y_true, y_score, k=5, *, propensity, normalize=True):
    r"""Propensity-scored precision: hits on rare labels weigh more.

    .. math::
        PSP@k = \frac{\sum_n \sum_{i \le k} y_{n, r_i} / p_{r_i}}
        {\sum_n \sum_{i \le k} y_{n, b_i} / p_{b_i}}

    where b ranks the true labels of a document by 1/p: a ratio of means, which
    published tables report.

    Parameters
    ----------
    %(inputs)s
    propensity : array-like of shape (n_labels,)
        p in (0, 1], from the training labels: see `propensity`.
    normalize : bool, default=True
        If False, return the numerator over (n_docs * k), which may exceed 1.

    %(output)s

    References
    ----------
    .. [1] Jain, Prabhu and Varma, Extreme multi-label loss functions for
       recommendation, tagging, ranking & other missing label applications,
       KDD 2016.

    Examples
    --------
    >>> p = [1 / 3, 1 / 2, 1]
    >>> psp_at_k([[1, 1, 0]], [[0.0, 0.9, 0.8]], k=2, propensity=p)
    0.4
    """
    p = np.asarray(propensity, dtype=np.float64)  # None too must be refused
    return _evaluate(_psp, y_true, y_score, k, p, normalize=normalize)


@_fill_doc
def psndcg_at_k(y_true, y_score, k=5, *, propensity, normalize=True):
    r"""Propensity-scored nDCG, as pyxclib and napkinXC compute it.

    .. math::
        G(r) = \frac{1}{N} \sum_n
        \frac{\sum_{i \le k} y_{n, r_i} / (p_{r_i} \log_2(i + 1))}
        {\sum_{i \le \min(k, |y_n|)} 1 / \log_2(i + 1)}, \quad
        PSnDCG@k = G(r) / G(b)

    where b ranks the true labels of a document by 1/p. AttentionXML's code does not
    divide by row, and the repository's page divides by k terms: other numbers.

    Parameters
    ----------
    %(inputs)s
    propensity : array-like of shape (n_labels,)
        p in (0, 1], from the training labels: see `propensity`.
    normalize : bool, default=True
        If False, return G(r), which may exceed 1.

    %(output)s

    References
    ----------
    .. [1] Jain, Prabhu and Varma, KDD 2016: see `psp_at_k`.

    Examples
    --------
    >>> p = [1 / 3, 1 / 2, 1]
    >>> round(psndcg_at_k([[1, 1, 0]], [[0.0, 0.9, 0.8]], k=2, propensity=p), 4)
    0.4693
    """
    p = np.asarray(propensity, dtype=np.float64)  # None too must be refused
    return _evaluate(_psndcg, y_true, y_score, k, p, normalize=normalize)


@_fill_doc
def coverage_at_k(y_true, y_score, k=5):
    """Fraction of the labels in the truth that are hit in at least one document.

    Labels without a positive in ``y_true`` are left out.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    Examples
    --------
    >>> coverage_at_k([[1, 1, 0], [1, 0, 0]], [[0.9, 0.8, 0.1]] * 2, k=1)
    0.5
    """
    return _evaluate(_coverage, y_true, y_score, k)


@_fill_doc
def macro_precision_at_k(y_true, y_score, k=5):
    """Precision of each label when the k best are predicted, averaged over labels.

    The average is over labels with at least one positive in ``y_true``; a label
    never predicted counts as 0. napkinXC averages over other labels too.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    References
    ----------
    .. [1] Schultheis, Wydmuch et al., Generalized test utilities for long-tail
       performance in extreme multi-label classification, NeurIPS 2023.

    Examples
    --------
    >>> macro_precision_at_k([[1, 1, 0], [0, 1, 0]], [[0.9, 0.8, 0.1]] * 2, k=2)
    0.75
    """
    return _evaluate(_macro_precision, y_true, y_score, k)


@_fill_doc
def macro_recall_at_k(y_true, y_score, k=5):
    """Recall of each label when the k best are predicted, averaged over labels.

    The average is over labels with at least one positive in ``y_true``.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    References
    ----------
    .. [1] Schultheis, Wydmuch et al., NeurIPS 2023: see `macro_precision_at_k`.

    Examples
    --------
    >>> macro_recall_at_k([[1, 1, 0], [1, 0, 0]], [[0.9, 0.8, 0.1]] * 2, k=1)
    0.5
    """
    return _evaluate(_macro_recall, y_true, y_score, k)


@_fill_doc
def macro_f1_at_k(y_true, y_score, k=5):
    """F1 of each label when the k best are predicted, averaged over labels.

    2 tp / (2 tp + fp + fn) of each label, averaged over labels with at least one
    positive in ``y_true``: not the F1 of macro precision and macro recall.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    References
    ----------
    .. [1] Schultheis, Wydmuch et al., NeurIPS 2023: see `macro_precision_at_k`.

    Examples
    --------
    >>> macro_f1_at_k([[1, 1, 0], [1, 0, 0]], [[0.9, 0.8, 0.1]] * 2, k=1)
    0.5
    """
    return _evaluate(_macro_f1, y_true, y_score, k)


def ranking_report(y_true, y_score, ks=(1, 3, 5), propensity=None):
    """All metrics for several k, in one pass over the data.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_docs, n_labels)
        Truth, 0 or 1.
    y_score : {array-like, sparse} of shape (n_docs, n_labels) or (n_docs, m)
        Float scores, or integer label ids, best first, padded with -1.
    ks : int or sequence of int, default=(1, 3, 5)
        Labels kept a document.
    propensity : array-like of shape (n_labels,), default=None
        p in (0, 1]: see `propensity`. None leaves PSP and PSnDCG out.

    Returns
    -------
    dict of str to float
        Keys P, R, nDCG, PSP, PSnDCG, coverage, macroP, macroR, macroF1, each
        followed by ``@k``.

    Raises
    ------
    ValueError
        On malformed input, as every metric here.

    Examples
    --------
    >>> report = ranking_report([[1, 0, 1]], [[0.9, 0.8, 0.1]], ks=(1, 2))
    >>> report["P@2"], report["R@1"]
    (0.5, 0.5)
    """
    ks = _check_ks(ks)
    ranking = _Ranking(y_true, y_score, max(ks), propensity)
    return _report(ranking, ks, weighted=propensity is not None)


def _propensity_from_counts(label_counts, n_docs, a=0.55, b=1.5):
    if not (a >= 0 and b > 0):
        raise ValueError(
            f"Propensities need a >= 0 and b > 0, got a={a}, b={b}. "
            "Use a=0.55, b=1.5 if the data set has no values of its own."
        )
    # ln N < 1 for two documents or fewer: without the bound p would exceed 1.
    c = max(np.log(n_docs) - 1, 0) * (b + 1) ** a
    return 1 / (1 + c * (np.asarray(label_counts, dtype=np.float64) + b) ** -a)


def propensity(Y, *, a=0.55, b=1.5):
    r"""Probability that a label is observed where it is relevant, from its frequency.

    .. math:: p_l = 1 / (1 + C (N_l + B)^{-A}), \quad C = (\ln N - 1)(B + 1)^A

    with N training documents, N_l of them having label l. C is 0 if N < 3.

    Parameters
    ----------
    Y : {array-like, sparse} of shape (n_docs, n_labels)
        **Training** labels, 0 or 1.
    a : float, default=0.55
        A of the equation.
    b : float, default=1.5
        B of the equation.

    Returns
    -------
    ndarray of shape (n_labels,), float64
        p itself, in (0, 1]. Labels without documents get the smallest.

    Raises
    ------
    ValueError
        If Y is malformed, a < 0 or b <= 0.

    Notes
    -----
    Published code disagrees on A and B: report them with the numbers. Usual values,
    and who differs:

    =======================================  ========  ==============================
    data                                     A / B     other values found
    =======================================  ========  ==============================
    EURLex-4K                                .55/1.5   CascadeXML .6/2.6
    AmazonCat-13K                            .55/1.5   Renee .6/2.6
    Wiki10-31K                               .55/1.5   Renee .5/.4
    WikiSeeAlso(Titles)-320K, -350K          .55/1.5   Renee .5/.4; LightDXML .6/2.6
                                                       (350K)
    Delicious-200K, all others               .55/1.5   LightDXML .6/2.6 (Delicious)
    Wiki-500K, WikiTitles-500K               .5/.4     LightDXML .6/2.6
    WikiLSHTC-325K                           .5/.4     LightDXML .6/2.6
    Amazon-670K, AmazonTitles-*, LF-Amazon*  .6/2.6    none
    Amazon-3M                                .6/2.6    LightDXML .55/1.5
    =======================================  ========  ==============================

    References
    ----------
    .. [1] Jain, Prabhu and Varma, Extreme multi-label loss functions for
       recommendation, tagging, ranking & other missing label applications,
       KDD 2016.

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.zeros((1000, 2))
    >>> Y[:10, 1] = 1
    >>> (1 / propensity(Y)).round(4)
    array([8.8242, 3.5521])
    """
    truth = _check_truth(Y, "Y")
    counts = np.bincount(truth.indices, minlength=truth.shape[1])
    return _propensity_from_counts(counts, truth.shape[0], a, b)


# Scorers


def _training_counts(estimator):
    """(label_counts_, n_docs_) of a fitted estimator or of the one it wraps."""
    if hasattr(estimator, "label_counts_") and hasattr(estimator, "n_docs_"):
        return estimator.label_counts_, estimator.n_docs_
    if isinstance(estimator, Pipeline):
        return _training_counts(estimator.steps[-1][1])
    if hasattr(estimator, "best_estimator_"):
        return _training_counts(estimator.best_estimator_)
    return None


def _truth_for(estimator, y):
    """Return y, a 1-D y as CSR whose columns follow ``estimator.classes_``."""
    y = y if issparse(y) else np.asarray(y)
    if y.ndim != 1:
        return y
    if not hasattr(estimator, "classes_"):
        raise ValueError(
            f"y is 1-D, but {type(estimator).__name__} has no classes_ to map it to "
            "columns. Pass y of shape (n_docs, n_labels)."
        )
    classes = np.asarray(estimator.classes_)
    order = np.argsort(classes)
    places = np.searchsorted(classes, y, sorter=order)
    ids = order[places.clip(max=classes.size - 1)]
    seen = classes[ids] == y  # a class unseen in training is a row of misses
    rows = np.flatnonzero(seen)
    return csr_array(
        (np.ones(rows.size), (rows, ids[seen])), shape=(y.size, classes.size)
    )


def _scores_of(estimator, X, n_labels, max_k):
    """Predict in the cheapest way the estimator offers."""
    if hasattr(estimator, "predict_topk"):
        return estimator.predict_topk(X, k=min(max_k, n_labels))[0]
    for name in ("decision_function", "predict_proba"):
        if hasattr(estimator, name):
            scores = getattr(estimator, name)(X)
            break
    else:
        raise ValueError(
            f"{type(estimator).__name__} has none of predict_topk, decision_function, "
            "predict_proba. Use an estimator that ranks labels."
        )
    if issparse(scores):
        return scores
    if isinstance(scores, list):
        raise ValueError(
            f"{type(estimator).__name__}.{name} returned a list of {len(scores)} "
            "arrays, one a label. Wrap the estimator in OneVsRestClassifier."
        )
    scores = np.asarray(scores)
    if scores.dtype.kind in "biu":
        scores = scores.astype(np.float64)  # integers would be read as ids
    if scores.ndim == 1:  # two classes, or one label: scikit-learn's short form
        both = [-scores, scores] if n_labels == 2 else [scores]
        scores = np.column_stack(both)
    return scores


class _Scorer(BaseEstimator):
    """What both scorers share; BaseEstimator gives repr and clone."""

    def _rank(self, estimator, X, y, max_k, weighted):
        truth = _truth_for(estimator, y)
        p = self._propensity(estimator) if weighted else None
        n_labels = truth.shape[1]
        scores = _scores_of(estimator, X, n_labels, max_k)
        return _Ranking(truth, scores, max_k, p)

    def _propensity(self, estimator):
        if self.propensity is not None:
            return self.propensity
        counts = _training_counts(estimator)
        if counts is None:
            raise ValueError(
                f"{type(estimator).__name__} has no fitted label_counts_ and n_docs_, "
                "from which propensities are computed. Pass "
                "propensity=skxmc.metrics.propensity(Y_train) to the scorer."
            )
        return _propensity_from_counts(*counts, self.a, self.b)


class _MetricScorer(_Scorer):
    def __init__(self, metric, k=5, propensity=None, a=0.55, b=1.5):
        self.metric = metric
        self.k = k
        self.propensity = propensity
        self.a = a
        self.b = b

    def __call__(self, estimator, X, y):
        weighted = self.metric in _WEIGHTED
        ranking = self._rank(estimator, X, y, self.k, weighted)
        return float(_METRICS[self.metric][1](ranking, self.k))


class _ReportScorer(_Scorer):
    def __init__(self, ks=(1, 3, 5), propensity=None, a=0.55, b=1.5):
        self.ks = ks
        self.propensity = propensity
        self.a = a
        self.b = b

    def __call__(self, estimator, X, y):
        ks, weighted = _check_ks(self.ks), self.propensity is not False
        ranking = self._rank(estimator, X, y, max(ks), weighted)
        return _report(ranking, ks, weighted)


def ranking_scorer(metric, k=5, *, propensity=None, a=0.55, b=1.5):
    """Make a scorer of one metric for ``scoring=`` of scikit-learn's tools.

    It predicts by ``estimator.predict_topk(X, k)``, else ``decision_function``,
    else ``predict_proba``. A 1-D y is mapped to columns by ``estimator.classes_``.

    Parameters
    ----------
    metric : str
        One of "precision", "recall", "ndcg", "psp", "psndcg", "coverage",
        "macro_precision", "macro_recall", "macro_f1".
    k : int, default=5
        Labels kept a document.
    propensity : array-like of shape (n_labels,), default=None
        p for "psp" and "psndcg". None computes it from ``label_counts_`` and
        ``n_docs_`` of the fitted estimator: the fold's own training labels.
    a, b : float, default=0.55, 1.5
        Constants of `propensity`, used if ``propensity`` is None.

    Returns
    -------
    callable
        ``scorer(estimator, X, y) -> float``; can be pickled and cloned.

    Raises
    ------
    ValueError
        If ``metric`` is unknown or k < 1; when called, if there is no way to
        predict or no propensities, or on malformed input.

    Examples
    --------
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.multiclass import OneVsRestClassifier
    >>> from sklearn.naive_bayes import BernoulliNB
    >>> X, Y = make_multilabel_classification(random_state=0)
    >>> model = OneVsRestClassifier(BernoulliNB())
    >>> cross_val_score(model, X, Y, scoring=ranking_scorer("ndcg", k=3)).shape
    (5,)
    """
    if metric not in _METRICS:
        raise ValueError(
            f"metric must be one of {', '.join(_METRICS)}, got {metric!r}. "
            "Use ranking_report_scorer for all of them."
        )
    if np.ndim(k):
        raise ValueError(
            f"k must be one integer, got {k!r}. Use ranking_report_scorer for several."
        )
    return _MetricScorer(metric, _check_ks(k)[0], propensity, a, b)


def ranking_report_scorer(ks=(1, 3, 5), *, propensity=None, a=0.55, b=1.5):
    """Make a scorer that returns `ranking_report`, predicting once.

    For ``GridSearchCV(scoring=ranking_report_scorer(), refit="PSP@5")`` and
    ``cross_validate``.

    Parameters
    ----------
    ks : int or sequence of int, default=(1, 3, 5)
        Labels kept a document.
    propensity : array-like of shape (n_labels,), None or False, default=None
        As in `ranking_scorer`. False leaves PSP and PSnDCG out, for estimators
        without ``label_counts_`` and ``n_docs_``.
    a, b : float, default=0.55, 1.5
        Constants of `propensity`, used if ``propensity`` is None.

    Returns
    -------
    callable
        ``scorer(estimator, X, y) -> dict of str to float``; can be pickled and
        cloned.

    Raises
    ------
    ValueError
        If k < 1; when called, as `ranking_scorer`.

    Examples
    --------
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from sklearn.multiclass import OneVsRestClassifier
    >>> from sklearn.naive_bayes import BernoulliNB
    >>> X, Y = make_multilabel_classification(random_state=0)
    >>> model = OneVsRestClassifier(BernoulliNB()).fit(X, Y)
    >>> scorer = ranking_report_scorer(ks=(1, 3), propensity=propensity(Y))
    >>> sorted(scorer(model, X, Y))[:4]
    ['P@1', 'P@3', 'PSP@1', 'PSP@3']
    """
    _check_ks(ks)
    return _ReportScorer(ks, propensity, a, b)


precision_at_1_scorer = ranking_scorer("precision", 1)
precision_at_3_scorer = ranking_scorer("precision", 3)
precision_at_5_scorer = ranking_scorer("precision", 5)
recall_at_5_scorer = ranking_scorer("recall", 5)
ndcg_at_3_scorer = ranking_scorer("ndcg", 3)
ndcg_at_5_scorer = ranking_scorer("ndcg", 5)
psp_at_1_scorer = ranking_scorer("psp", 1)
psp_at_3_scorer = ranking_scorer("psp", 3)
psp_at_5_scorer = ranking_scorer("psp", 5)
