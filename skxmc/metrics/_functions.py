"""Ranking metrics of extreme classification, and scorers for scikit-learn.

Every metric takes ``y_true``, sparse, dense or a table, of shape (n_docs, n_labels)
with values 0 and 1, and ``y_score``, which is one of

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

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from .._validation import class_ids, label_array
from ._ranking import (
    METRICS,
    WEIGHTED,
    Ranking,
    check_ks,
    check_truth,
    evaluate,
    report,
)

# Public metrics


_INPUTS = """
y_true : {array-like, sparse} of shape (n_docs, n_labels)
    Truth, 0 or 1; a table of pandas, polars or pyarrow too.
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
    return evaluate("precision", y_true, y_score, k)


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
    return evaluate("recall", y_true, y_score, k)


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
    return evaluate("ndcg", y_true, y_score, k)


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
    return evaluate("psp", y_true, y_score, k, p, normalize=normalize)


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
    return evaluate("psndcg", y_true, y_score, k, p, normalize=normalize)


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
    return evaluate("coverage", y_true, y_score, k)


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
    return evaluate("macro_precision", y_true, y_score, k)


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
    return evaluate("macro_recall", y_true, y_score, k)


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
    return evaluate("macro_f1", y_true, y_score, k)


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
    ks = check_ks(ks)
    ranking = Ranking(y_true, y_score, max(ks), propensity)
    return report(ranking, ks, weighted=propensity is not None)


def propensity_from_counts(label_counts, n_docs, a=0.55, b=1.5):
    """Propensities of labels that so many of `n_docs` training documents have."""
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
    truth = check_truth(Y, "Y")
    counts = np.bincount(truth.indices, minlength=truth.shape[1])
    return propensity_from_counts(counts, truth.shape[0], a, b)


# Scorers


def innermost(estimator):
    """The classifier inside Pipelines and fitted searches, or `estimator` itself."""
    if hasattr(estimator, "predict_topk"):
        return estimator
    if isinstance(estimator, Pipeline):
        return innermost(estimator.steps[-1][1])
    if hasattr(estimator, "best_estimator_"):
        return innermost(estimator.best_estimator_)
    return estimator


def training_counts(estimator):
    """(label_counts_, n_docs_) of a fitted estimator or of the one it wraps."""
    if hasattr(estimator, "label_counts_") and hasattr(estimator, "n_docs_"):
        return estimator.label_counts_, estimator.n_docs_
    if isinstance(estimator, Pipeline):
        return training_counts(estimator.steps[-1][1])
    if hasattr(estimator, "best_estimator_"):
        return training_counts(estimator.best_estimator_)
    return None


def truth_for(estimator, y):
    """Return y, a 1-D y as CSR whose columns follow ``estimator.classes_``."""
    y = label_array(y)
    if y.ndim != 1:
        return y
    if not hasattr(estimator, "classes_"):
        raise ValueError(
            f"y is 1-D, but {type(estimator).__name__} has no classes_ to map it to "
            "columns. Pass y of shape (n_docs, n_labels)."
        )
    ids, seen = class_ids(y, estimator.classes_)
    rows = np.flatnonzero(seen)  # a class unseen in training is a row of misses
    shape = (y.size, len(estimator.classes_))
    return csr_array((np.ones(rows.size), (rows, ids[seen])), shape=shape)


def topk_of(estimator, X, k):
    """``predict_topk`` of a classifier, or of the one in Pipelines and searches."""
    if not hasattr(estimator, "predict_topk"):
        if isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
            return topk_of(estimator.steps[-1][1], X, k)
        if hasattr(estimator, "best_estimator_"):
            return topk_of(estimator.best_estimator_, X, k)
    return estimator.predict_topk(X, k=k)


def scores_of(estimator, X, n_labels, max_k):
    """Predict in the cheapest way the estimator offers."""
    # A wrapper's own predict_proba has top_k labels, however many are wanted.
    if hasattr(innermost(estimator), "predict_topk"):
        return topk_of(estimator, X, min(max_k, n_labels))[0]
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
        truth = truth_for(estimator, y)
        p = self._propensity(estimator) if weighted else None
        n_labels = truth.shape[1]
        scores = scores_of(estimator, X, n_labels, max_k)
        return Ranking(truth, scores, max_k, p)

    def _propensity(self, estimator):
        if self.propensity is not None:
            return self.propensity
        counts = training_counts(estimator)
        if counts is None:
            raise ValueError(
                f"{type(estimator).__name__} has no fitted label_counts_ and n_docs_, "
                "from which propensities are computed. Pass "
                "propensity=skxmc.metrics.propensity(Y_train) to the scorer."
            )
        return propensity_from_counts(*counts, self.a, self.b)


class _MetricScorer(_Scorer):
    def __init__(self, metric, k=5, propensity=None, a=0.55, b=1.5):
        self.metric = metric
        self.k = k
        self.propensity = propensity
        self.a = a
        self.b = b

    def __call__(self, estimator, X, y):
        weighted = self.metric in WEIGHTED
        ranking = self._rank(estimator, X, y, self.k, weighted)
        return float(METRICS[self.metric][1](ranking, self.k))


class _ReportScorer(_Scorer):
    def __init__(self, ks=(1, 3, 5), propensity=None, a=0.55, b=1.5):
        self.ks = ks
        self.propensity = propensity
        self.a = a
        self.b = b

    def __call__(self, estimator, X, y):
        ks, weighted = check_ks(self.ks), self.propensity is not False
        ranking = self._rank(estimator, X, y, max(ks), weighted)
        return report(ranking, ks, weighted)


def ranking_scorer(metric, k=5, *, propensity=None, a=0.55, b=1.5):
    """Make a scorer of one metric for ``scoring=`` of scikit-learn's tools.

    It predicts by ``estimator.predict_topk(X, k)``, found inside Pipelines and fitted
    searches too, else ``decision_function``, else ``predict_proba``. A 1-D y is mapped
    to columns by ``estimator.classes_``.

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
    if metric not in METRICS:
        raise ValueError(
            f"metric must be one of {', '.join(METRICS)}, got {metric!r}. "
            "Use ranking_report_scorer for all of them."
        )
    if np.ndim(k):
        raise ValueError(
            f"k must be one integer, got {k!r}. Use ranking_report_scorer for several."
        )
    return _MetricScorer(metric, check_ks(k)[0], propensity, a, b)


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
    check_ks(ks)
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
