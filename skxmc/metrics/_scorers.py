"""Scorers: ranking metrics for ``scoring=`` of scikit-learn's tools."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import UNUSED

from .._response import find_training_counts, label_matrix, predict_ranking
from ._propensity import propensity_from_counts
from ._ranking import METRICS, NEEDS_PROPENSITY, Ranking, check_ks, evaluate_all


class _Scorer(BaseEstimator):
    """Base of the two scorers. It is an estimator, so that it has a repr and clones."""

    # What is left is sample_weight, so that there is set_score_request(sample_weight).
    __metadata_request__score = {"estimator": UNUSED}

    def score(self, estimator, X, y, sample_weight=None):
        """Call the scorer. scikit-learn's metadata routing looks at the arguments."""
        return self(estimator, X, y, sample_weight)

    def _rank(self, estimator, X, y, max_k, needs_propensity, sample_weight):
        truth = label_matrix(estimator, y)
        p = self._propensity(estimator) if needs_propensity else None
        n_labels = truth.shape[1]
        scores = predict_ranking(estimator, X, n_labels, max_k)
        return Ranking(truth, scores, max_k, p, sample_weight=sample_weight)

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
    """Scorer of one metric at one k."""

    def __init__(self, metric, k=5, propensity=None, a=0.55, b=1.5):
        self.metric = metric
        self.k = k
        self.propensity = propensity
        self.a = a
        self.b = b

    def __call__(self, estimator, X, y, sample_weight=None):
        needs_propensity = self.metric in NEEDS_PROPENSITY
        ranking = self._rank(estimator, X, y, self.k, needs_propensity, sample_weight)
        return float(METRICS[self.metric][1](ranking, self.k))


class _ReportScorer(_Scorer):
    """Scorer that returns every metric at several k."""

    def __init__(self, ks=(1, 3, 5), propensity=None, a=0.55, b=1.5):
        self.ks = ks
        self.propensity = propensity
        self.a = a
        self.b = b

    def __call__(self, estimator, X, y, sample_weight=None):
        ks, has_propensity = check_ks(self.ks), self.propensity is not False
        ranking = self._rank(estimator, X, y, max(ks), has_propensity, sample_weight)
        return evaluate_all(ranking, ks, has_propensity)


def ranking_scorer(metric, k=5, *, propensity=None, a=0.55, b=1.5):
    """Make a scorer of one metric, for ``scoring=`` of scikit-learn's tools.

    The scorer calls ``predict_topk(X, k)`` of the estimator, or of the classifier
    inside a Pipeline or a fitted search. Estimators without it are asked for
    ``decision_function``, or else ``predict_proba``. A 1-D y is mapped to columns by
    ``classes_`` of the estimator.

    Parameters
    ----------
    metric : str
        One of "precision", "recall", "ndcg", "psp", "psndcg", "coverage",
        "macro_precision", "macro_recall", "macro_f1".
    k : int, default=5
        Number of best labels of a document that count.
    propensity : array-like of shape (n_labels,) or None, default=None
        Propensities for "psp" and "psndcg". None computes them from ``label_counts_``
        and ``n_docs_`` of the fitted estimator, hence from the training labels of the
        fold at hand.
    a : float, default=0.55
        Constant A of `propensity`; used where the scorer computes propensities.
    b : float, default=1.5
        Constant B of `propensity`; used where the scorer computes propensities.

    Returns
    -------
    callable
        ``scorer(estimator, X, y, sample_weight=None) -> float``; can be pickled and
        cloned. With scikit-learn's metadata routing, it takes the weights of the
        documents after ``set_score_request(sample_weight=True)``.

    Raises
    ------
    ValueError
        If ``metric`` is unknown or k < 1. When the scorer is called: if the estimator
        has none of the three methods, if there are no counts to compute propensities
        from, or if the input is malformed.

    Examples
    --------
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.multiclass import OneVsRestClassifier
    >>> from sklearn.naive_bayes import BernoulliNB
    >>> from skxmc.metrics import ranking_scorer
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
    """Make a scorer of all metrics of `ranking_report`, which predicts only once.

    Use it in ``cross_validate`` and in searches, which choose parameters by the metric
    that ``refit`` names: ``GridSearchCV(..., scoring=ranking_report_scorer(),
    refit="PSP@5")``.

    Parameters
    ----------
    ks : int or sequence of int, default=(1, 3, 5)
        Numbers of best labels of a document that count.
    propensity : array-like of shape (n_labels,), None or False, default=None
        Propensities for PSP and PSnDCG. None computes them from ``label_counts_`` and
        ``n_docs_`` of the fitted estimator, hence from the training labels of the fold
        at hand. False leaves both metrics out, for estimators without these attributes.
    a : float, default=0.55
        Constant A of `propensity`; used where the scorer computes propensities.
    b : float, default=1.5
        Constant B of `propensity`; used where the scorer computes propensities.

    Returns
    -------
    callable
        ``scorer(estimator, X, y, sample_weight=None) -> dict of str to float``; can be
        pickled and cloned. With scikit-learn's metadata routing, it takes the weights
        of the documents after ``set_score_request(sample_weight=True)``.

    Raises
    ------
    ValueError
        If k < 1. When the scorer is called: as in `ranking_scorer`.

    Examples
    --------
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from sklearn.multiclass import OneVsRestClassifier
    >>> from sklearn.naive_bayes import BernoulliNB
    >>> X, Y = make_multilabel_classification(random_state=0)
    >>> model = OneVsRestClassifier(BernoulliNB()).fit(X, Y)
    >>> from skxmc.metrics import propensity, ranking_report_scorer
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
