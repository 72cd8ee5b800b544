"""Cross-validation functions of scikit-learn that accept a sparse y."""

import inspect
import numbers

import numpy as np
import scipy.sparse as sp
from sklearn import model_selection
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import KFold
from sklearn.utils import get_tags

from .._response import predict_topk
from .._validation import check_number, indexable, label_array


def _like(original):
    """Give a function the signature that scikit-learn's has in the version at hand."""

    def decorate(function):
        function.__signature__ = inspect.signature(original)
        return function

    return decorate


def _call(original, estimator, X, y, options):
    """Call a function of scikit-learn without its check, which refuses a sparse y."""
    y = None if y is None else label_array(y)
    options["cv"] = _splitter(options.get("cv"), y, estimator)
    return inspect.unwrap(original)(estimator, indexable(X), y, **options)


def _splitter(cv, y, estimator):
    if not sp.issparse(y):
        return model_selection.check_cv(cv, y, classifier=is_classifier(estimator))
    if cv is None or isinstance(cv, numbers.Integral):
        return KFold(5 if cv is None else cv)  # one column would be stratified by
    return cv


@_like(model_selection.cross_validate)
def cross_validate(estimator, X, y=None, **options):
    """Evaluate metrics by cross-validation.

    `sklearn.model_selection.cross_validate`, which refuses a sparse `y`, for one.

    Parameters
    ----------
    estimator : estimator
    X : sequence of str, or matrix of shape (n_docs, n_features)
    y : csr matrix of shape (n_docs, n_labels), or array, default=None
    **options
        All others of scikit-learn's function. Of a sparse `y`, a number as `cv` means
        `KFold`, without stratification; `MultilabelKFold` stratifies.

    Returns
    -------
    dict of str to ndarray of shape (n_splits,)
        ``test_score``, or ``test_<metric>`` of each metric; ``fit_time`` and
        ``score_time`` in seconds.

    Examples
    --------
    >>> from skxmc import GRankClassifier
    >>> from skxmc.datasets import make_xmc
    >>> from skxmc.metrics import ranking_report_scorer
    >>> data = make_xmc(60, 20, kind="features", random_state=0)
    >>> X, Y = data.X, data.Y
    >>> model = GRankClassifier(max_epochs=1, validation_fraction=0, random_state=0)
    >>> scoring = ranking_report_scorer(ks=[1])
    >>> scores = cross_validate(model, X, Y, cv=3, scoring=scoring)
    >>> scores["test_P@1"].shape
    (3,)
    """
    return _call(model_selection.cross_validate, estimator, X, y, options)


@_like(model_selection.cross_val_score)
def cross_val_score(estimator, X, y=None, *, scoring=None, **options):
    """Evaluate a score by cross-validation.

    `sklearn.model_selection.cross_val_score`, which refuses a sparse `y`, for one.

    Parameters
    ----------
    estimator, X, y, **options
        As in `cross_validate`.
    scoring : str, callable or None, default=None
        None: the estimator's own ``score``, P@1 of the classifiers here. For others
        see `skxmc.metrics.ranking_scorer`.

    Returns
    -------
    ndarray of shape (n_splits,)
    """
    scoring = {"score": check_scoring(estimator, scoring=scoring)}
    results = cross_validate(estimator, X, y, scoring=scoring, **options)
    return results["test_score"]


def cross_val_predict(
    estimator,
    X,
    y=None,
    *,
    groups=None,
    cv=None,
    n_jobs=None,
    verbose=0,
    params=None,
    pre_dispatch="2*n_jobs",
    method="predict",
    k=5,
):
    """Predict each document by a model that has not seen it.

    `sklearn.model_selection.cross_val_predict` with ``predict_proba``,
    ``decision_function`` and ``predict_topk`` on a sparse `y`.

    Parameters
    ----------
    estimator, X, y
        As in `cross_validate`.
    groups, cv, n_jobs, verbose, params, pre_dispatch
        As in scikit-learn's function; `cv` as in `cross_validate`. Test parts must be
        disjoint, and contain every document.
    method : str, default="predict"
        The method that predicts: of the classifiers here ``predict``,
        ``predict_proba``, ``decision_function`` or ``predict_topk``.
    k : int, default=5
        Labels a document of ``predict_topk``.

    Returns
    -------
    csr matrix or ndarray of shape (n_docs, n_labels)
        Or ids and scores, both ndarrays of shape (n_docs, k), of ``predict_topk``.

    Examples
    --------
    >>> from skxmc import GRankClassifier
    >>> from skxmc.datasets import make_xmc
    >>> data = make_xmc(60, 20, kind="features", random_state=0)
    >>> X, Y = data.X, data.Y
    >>> model = GRankClassifier(max_epochs=1, validation_fraction=0, random_state=0)
    >>> ids, scores = cross_val_predict(model, X, Y, cv=3, method="predict_topk", k=2)
    >>> ids.shape
    (60, 2)
    """
    top = method == "predict_topk"
    y = None if y is None else label_array(y)
    options = dict(
        groups=groups,
        cv=_splitter(cv, y, estimator),
        n_jobs=n_jobs,
        verbose=verbose,
        params=params,
        pre_dispatch=pre_dispatch,
    )
    if top:
        check_number("k", k, numbers.Integral, 1)
        if y is None or y.ndim == 1:
            raise ValueError(
                'method="predict_topk" needs y of shape (n_docs, n_labels): of a 1-D y '
                "each fold has columns of its own. Use predict or predict_proba."
            )
    if top or sp.issparse(y):
        estimator, method = _OneMethod(estimator, method, k), "predict"
    predicted = inspect.unwrap(model_selection.cross_val_predict)(
        estimator, indexable(X), y, method=method, **options
    )
    if not top:
        return predicted
    return predicted[:, :k].astype(np.int64), predicted[:, k:].astype(np.float32)


class _OneMethod(BaseEstimator):
    """An estimator whose `predict` is one of the methods of another.

    What `predict_topk` returns stands side by side; a float64 holds any id.
    """

    def __init__(self, estimator, method, k):
        self.estimator = estimator
        self.method = method
        self.k = k

    def fit(self, X, y=None, **params):
        self.estimator.fit(X, y, **params)
        return self

    def predict(self, X):
        if self.method == "predict_topk":
            return np.hstack(predict_topk(self.estimator, X, self.k))
        return getattr(self.estimator, self.method)(X)

    def get_metadata_routing(self):
        return self.estimator.get_metadata_routing()

    def __sklearn_tags__(self):
        return get_tags(self.estimator)


@_like(model_selection.learning_curve)
def learning_curve(estimator, X, y, **options):
    """Scores by the number of training documents.

    `sklearn.model_selection.learning_curve`, which refuses a sparse `y`, for one.

    Parameters
    ----------
    estimator, X, y, **options
        As in `cross_validate`, and those of scikit-learn's function.

    Returns
    -------
    train_sizes : int ndarray of shape (n_sizes,)
    train_scores, test_scores : ndarrays of shape (n_sizes, n_splits)
    fit_times, score_times : ndarrays of shape (n_sizes, n_splits)
        With ``return_times=True``.
    """
    return _call(model_selection.learning_curve, estimator, X, y, options)


@_like(model_selection.validation_curve)
def validation_curve(estimator, X, y, **options):
    """Scores by the value of a parameter.

    `sklearn.model_selection.validation_curve`, which refuses a sparse `y`, for one.

    Parameters
    ----------
    estimator, X, y, **options
        As in `cross_validate`, and those of scikit-learn's function: `param_name` and
        `param_range` must be given.

    Returns
    -------
    train_scores, test_scores : ndarrays of shape (n_values, n_splits)
    """
    return _call(model_selection.validation_curve, estimator, X, y, options)
