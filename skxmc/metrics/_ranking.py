"""The best labels of each document, which of them are true, and all metrics."""

import warnings
from numbers import Integral

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.exceptions import UndefinedMetricWarning

from .._sample_weights import check_sample_weight
from .._top_k import top_k_per_row
from .._validation import check_ones, label_array

# Scores are sorted a million at a time: a chunk's temporary arrays stay below 100 MB.
_CHUNK = 1_000_000


# Checks of input


def check_ks(k):
    """Return k, one positive integer or a sequence of them, as a list."""
    ks = [k] if np.ndim(k) == 0 else list(k)
    valid = [isinstance(i, Integral) and not isinstance(i, bool) and i >= 1 for i in ks]
    if not ks or not all(valid):
        raise ValueError(
            f"k must be an integer >= 1 or a sequence of them, got {k!r}. "
            "Pass for example k=5 or k=(1, 3, 5)."
        )
    return [int(i) for i in ks]


def check_truth(y, name="y_true"):
    """Return labels, 0 or 1, as a canonical CSR copy without explicit zeros."""
    y = label_array(y, name)
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
    check_ones(truth, name)
    return truth


def _check_propensity(values, n_labels):
    """Return propensities as float64, after checking their number and range."""
    p = np.asarray(values, dtype=np.float64)
    if p.shape != (n_labels,):
        raise ValueError(
            f"propensity must have shape ({n_labels},), one value per label, got shape "
            f"{p.shape}. Compute it with propensity(Y_train)."
        )
    wrong = ~((p > 0) & (p <= 1))  # true for NaN as well
    if wrong.any():
        raise ValueError(
            f"propensity must lie in (0, 1], got {p[wrong][0]} for label "
            f"{wrong.argmax()}. Pass 1 / q if you have inverse propensities q."
        )
    return p


# The k best labels


def _fill_best(out, scores, ids, indptr, first_doc):
    """Write the best ids of each row into ``out``, which holds -1.

    Row i has the ids ``ids[indptr[i]:indptr[i + 1]]``. These ascend, so that equal
    scores are ranked by id.
    """
    if np.isnan(scores).any():
        place = np.isnan(scores).argmax()
        doc = first_doc + np.searchsorted(indptr, place, side="right") - 1
        raise ValueError(
            f"y_score holds NaN in row {doc}. Replace it by a score, or by -inf if the "
            "label is not predicted."
        )
    order, rows, places = top_k_per_row(scores, indptr, out.shape[1])
    kept = scores[order] > -np.inf
    out[rows[kept], places[kept]] = ids[order[kept]]


def _rank_sparse(scores, width):
    """Rank the stored entries of each row of a canonical CSR array, padded with -1."""
    n_docs, indptr = scores.shape[0], scores.indptr
    out = np.full((n_docs, width), -1, dtype=np.int64)
    start = 0
    while start < n_docs:
        stop = np.searchsorted(indptr, indptr[start] + _CHUNK, side="right") - 1
        stop = max(stop, start + 1)
        part = slice(indptr[start], indptr[stop])
        bounds = indptr[start : stop + 1] - indptr[start]
        data = scores.data[part].astype(np.float64)
        data[data == 0] = -np.inf  # a stored zero is not a prediction
        _fill_best(out[start:stop], data, scores.indices[part], bounds, start)
        start = stop
    return out


def _rank_dense(scores, width):
    """Rank all labels of each row of a dense array, padded with -1."""
    n_docs, n_labels = scores.shape
    out = np.full((n_docs, width), -1, dtype=np.int64)
    step = max(1, _CHUNK // n_labels)
    for start in range(0, n_docs, step):
        part = scores[start : start + step]
        # Every score tied with the last place is kept, so that ties are broken by id.
        # partition sorts NaN last, and NaN is never below: _fill_best refuses it.
        last = np.partition(part, n_labels - width, axis=1)[:, [n_labels - width]]
        kept = ~(part < last)
        indptr = np.append(0, kept.sum(axis=1).cumsum())
        ids = np.nonzero(kept)[1]
        _fill_best(out[start : start + step], part[kept], ids, indptr, start)
    return out


def _check_ids(ids, n_labels, width):
    """Check label ids of the caller, and cut or pad them to ``width`` columns."""
    hint = "Integer arrays are taken for label ids: cast scores to float."
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
            f"Keep only its first place. {hint}"
        )
    ids = ids[:, :width]
    return np.pad(ids, ((0, 0), (0, width - ids.shape[1])), constant_values=-1)


def _rank_labels(y_score, shape, width):
    """Return the best label ids, of shape (n_docs, width), padded with -1."""
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
        return _check_ids(y_score, shape[1], width)
    if not sparse:
        return _rank_dense(y_score, width)
    scores = csr_array(y_score)
    if not scores.has_canonical_format:
        scores = scores.copy()  # csr_array shares the arrays of the caller
        scores.sum_duplicates()
    return _rank_sparse(scores, width)


# Metrics of a ranking


class Ranking:
    """The best labels of each document, and which of them are true: the hits.

    A ranking is computed once; every metric is then a few lines on its arrays.

    Parameters
    ----------
    y_true, y_score
        As every metric of `skxmc.metrics` takes them.
    max_k : int
        The largest k that metrics will be asked for.
    propensity : array-like of shape (n_labels,) or None, default=None
        Without propensities, `gains` and `best_gains` are not set.
    sample_weight : array-like of shape (n_docs,) or None, default=None
        Weights of the documents. None weighs all alike.

    Attributes
    ----------
    ids : int64 ndarray of shape (n_docs, width)
        Label ids, best first, padded with -1. The width is ``min(max_k, n_labels)``:
        places beyond the number of labels can only be misses.
    hits : bool ndarray of shape (n_docs, width)
        Whether each of these labels is true.
    n_true : int ndarray of shape (n_docs,)
        Number of true labels of each document.
    weights : float64 ndarray of shape (n_docs,) or None
        Weights of the documents.
    total_weight : int or float
        Sum of the weights, or the number of documents.
    label_counts : ndarray of shape (n_labels,)
        Number of documents that have each label, or the sum of their weights.
    gains, best_gains : float64 ndarrays of shape (n_docs, width)
        1 / propensity of each hit, and that of the true labels in the best order.
    """

    def __init__(self, y_true, y_score, max_k, propensity=None, *, sample_weight=None):
        truth = check_truth(y_true)
        n_docs, n_labels = truth.shape
        self.weights = check_sample_weight(sample_weight, n_docs)
        self.total_weight = n_docs if self.weights is None else self.weights.sum()
        width = min(max_k, n_labels)
        self.ids = _rank_labels(y_score, truth.shape, width)
        self.n_true = np.diff(truth.indptr)
        self.label_counts = self._count(
            truth.indices, np.repeat(np.arange(n_docs), self.n_true), n_labels
        )
        if not truth.nnz:
            warnings.warn(
                "y_true has no positives: every metric is set to 0.",
                UndefinedMetricWarning,
                stacklevel=4,
            )
        # Each pair of a document and a label gets one number. Padding (-1) would get
        # that of the previous document's last label: hence the mask.
        rows = np.arange(n_docs, dtype=np.int64)[:, None] * n_labels
        true_pairs = np.repeat(rows[:, 0], self.n_true) + truth.indices
        self.hits = np.isin(rows + self.ids, true_pairs) & (self.ids >= 0)

        self.discount = 1 / np.log2(np.arange(2, width + 2))
        # The best possible DCG, by the number of true labels.
        self.ideal_dcg = np.append(0, np.cumsum(self.discount))
        if propensity is not None:
            q = 1 / _check_propensity(propensity, n_labels)
            by_gain = (q[truth.indices], truth.indices, truth.indptr)
            best = _rank_sparse(csr_array(by_gain, shape=truth.shape), width)
            self.gains = np.where(self.hits, q[self.ids], 0)
            self.best_gains = np.where(best >= 0, q[best], 0)

    def _count(self, ids, rows, n_labels):
        """Count how often each label occurs, in documents of these rows."""
        weights = None if self.weights is None else self.weights[rows]
        return np.bincount(ids, weights=weights, minlength=n_labels)

    def total(self, values):
        """Return the sum of values, of which those of a document have its weight."""
        if self.weights is None:
            return values.sum()
        return self.weights @ values.sum(axis=1)

    def mean_ndcg(self, gains, k):
        """Divide each document's DCG by that of a perfect ranking, and average."""
        ideal = self.ideal_dcg[np.minimum(self.n_true, k)]
        dcg = gains[:, :k] @ self.discount[:k]
        # A document with a true label has ideal >= 1; without one, its dcg is 0.
        return np.average(dcg / np.maximum(ideal, 1), weights=self.weights)

    def label_confusion(self, k):
        """Count hits, predictions and documents of each label that has documents."""
        ids, hits, n = self.ids[:, :k], self.hits[:, :k], self.label_counts.size
        counts = np.stack(
            [
                self._count(ids[hits], np.nonzero(hits)[0], n),
                self._count(ids[ids >= 0], np.nonzero(ids >= 0)[0], n),
                self.label_counts,
            ]
        )
        return counts[:, self.label_counts > 0]


def _ratio(numerator, denominator):
    return numerator / denominator if denominator else 0.0


def _mean_ratio(numerators, denominators):
    # A numerator is 0 wherever its denominator is.
    ratios = numerators / np.where(denominators > 0, denominators, 1)
    return _ratio(ratios.sum(), ratios.size)


def _precision(ranking, k):
    return ranking.total(ranking.hits[:, :k]) / (ranking.total_weight * k)


def _recall(ranking, k):
    shares = ranking.hits[:, :k].sum(axis=1) / np.maximum(ranking.n_true, 1)
    return ranking.total(shares[:, None]) / ranking.total_weight


def _ndcg(ranking, k):
    return ranking.mean_ndcg(ranking.hits, k)


def _psp(ranking, k, normalize=True):
    gain = ranking.total(ranking.gains[:, :k])
    if not normalize:
        return gain / (ranking.total_weight * k)
    return _ratio(gain, ranking.total(ranking.best_gains[:, :k]))


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


# By name in ranking_scorer: the short name in ranking_report, and the function.
METRICS = {
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
NEEDS_PROPENSITY = ("psp", "psndcg")


def evaluate(
    name, y_true, y_score, k, propensity=None, *, sample_weight=None, **options
):
    """Compute a metric at one k (a float) or at several (an array)."""
    metric, ks = METRICS[name][1], check_ks(k)
    weights = {"sample_weight": sample_weight}
    ranking = Ranking(y_true, y_score, max(ks), propensity, **weights)
    values = np.array([metric(ranking, i, **options) for i in ks], dtype=np.float64)
    return float(values[0]) if np.ndim(k) == 0 else values


def evaluate_all(ranking, ks, has_propensity):
    """Compute every metric at every k, by the names of `ranking_report`."""
    return {
        f"{short}@{k}": float(metric(ranking, k))
        for name, (short, metric) in METRICS.items()
        if has_propensity or name not in NEEDS_PROPENSITY
        for k in ks
    }
