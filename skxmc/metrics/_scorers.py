"""Scorers: ranking metrics for ``scoring=`` of scikit-learn's tools."""

import numpy as np
from sklearn.base import BaseEstimator

from .._response import find_training_counts, label_matrix, predict_ranking
from ._propensity import propensity_from_counts
from ._ranking import METRICS, WEIGHTED, Ranking, check_ks, report


class _Scorer(BaseEstimator):
    """What both scorers share; BaseEstimator gives repr and clone."""

    def _rank(self, estimator, X, y, max_k, weighted):
        truth = label_matrix(estimator, y)
        p = self._propensity(estimator) if weighted else None
        n_labels = truth.shape[1]
        scores = predict_ranking(estimator, X, n_labels, max_k)
        return Ranking(truth, scores, max_k, p)

    def _propensity(self, estimator):
        if self.propensity is not None:
            return self.propensity
        counts = find_training_counts(estimator)
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
    >>> from skxmc.metrics import propensity
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
