"""Cross-validation functions of scikit-learn that accept a sparse y."""

import inspect
import numbers
from functools import partial

import numpy as np
import scipy.sparse as sp
from sklearn import model_selection
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import KFold
from sklearn.utils import get_tags

from .._parameters import fill_docstring, split_entries
from .._response import predict_topk
from .._validation import check_number, indexable, label_array

_ENTRIES = """
estimator : estimator
    It is cloned and fitted on each training part.
X : sequence of str, or matrix of shape (n_docs, n_features)
    Documents: texts or features.
y : csr matrix or array of shape (n_docs, n_labels), or None
    Labels, 0 or 1. A 1-D array of classes is accepted as well.
groups : array-like of shape (n_docs,) or None
    Group of each document, for splitters such as `GroupKFold`.
cv : int, splitter, iterable or None
    How documents are split: a number of folds, a splitter such as `MultilabelKFold`,
    or pairs of training and test positions. None means 5 folds. If `y` is sparse, a
    number means `KFold`, which does not stratify.
n_jobs : int or None
    Number of processes. None means 1, and -1 one for each core.
verbose : int
    The higher it is, the more messages are printed.
params : dict or None
    Parameters for ``fit`` of the estimator, the scorer and the splitter.
pre_dispatch : int or str
    Number of fits that are prepared at once, or "all". If `n_jobs` is above 1, fewer
    take less memory.
error_score : "raise" or float
    Score of a fit that fails, with a warning. "raise" raises its error instead.
"""
_fill_docstring = partial(fill_docstring, table=split_entries(_ENTRIES))


def _copy_signature(original):
    """Give a function the signature that `original` has in the installed version."""

    def decorate(function):
        function.__signature__ = inspect.signature(original)
        return function

    return decorate


def _call_unchecked(original, estimator, X, y, options):
    """Call a function of scikit-learn without its check, which refuses a sparse y.

    The check is a decorator of the function, which ``inspect.unwrap`` takes off.
    """
    y = None if y is None else label_array(y)
    options["cv"] = _check_cv(options.get("cv"), y, estimator)
    return inspect.unwrap(original)(estimator, indexable(X), y, **options)


def _check_cv(cv, y, estimator):
    """Return the splitter that `cv` means for these labels."""
    if not sp.issparse(y):
        return model_selection.check_cv(cv, y, classifier=is_classifier(estimator))
    # scikit-learn would stratify by a sparse y of one column.
    if cv is None or isinstance(cv, numbers.Integral):
        return KFold(5 if cv is None else cv)
    return cv


@_fill_docstring
@_copy_signature(model_selection.cross_validate)
def cross_validate(estimator, X, y=None, **options):
    """Evaluate one or several metrics by cross-validation.

    This is `sklearn.model_selection.cross_validate`, except that it accepts a sparse
    `y`, which scikit-learn refuses.

    Parameters
    ----------
    %(estimator)s
    %(X)s
    %(y)s
    %(groups)s
    scoring : str, callable, list, tuple, dict or None, default=None
        One or several metrics, such as `skxmc.metrics.ranking_report_scorer`. None
        calls ``score`` of the estimator, which is P@1 for the classifiers of this
        package.
    %(cv)s
    %(n_jobs)s
    %(verbose)s
    %(params)s
    %(pre_dispatch)s
    return_train_score : bool, default=False
        Whether to score the training parts as well.
    return_estimator : bool, default=False
        Whether to return the fitted estimators.
    return_indices : bool, default=False
        Whether to return the positions of the training and test documents.
    %(error_score)s

    Returns
    -------
    dict of str to ndarray of shape (n_splits,)
        ``test_score``, or ``test_<metric>`` for each of several metrics; ``fit_time``
        and ``score_time`` in seconds; and what was asked for: ``train_score`` or
        ``train_<metric>``, ``estimator`` and ``indices``.

    Examples
    --------
    >>> from skxmc import GRankClassifier
    >>> from skxmc.datasets import make_xmc
    >>> from skxmc.metrics import ranking_report_scorer
    >>> from skxmc.model_selection import cross_validate
    >>> data = make_xmc(60, 20, kind="features", random_state=0)
    >>> X, Y = data.X, data.Y
    >>> model = GRankClassifier(max_epochs=1, validation_fraction=0, random_state=0)
    >>> scoring = ranking_report_scorer(ks=[1])
    >>> scores = cross_validate(model, X, Y, cv=3, scoring=scoring)
    >>> scores["test_P@1"].shape
    (3,)
    """
    return _call_unchecked(model_selection.cross_validate, estimator, X, y, options)


@_fill_docstring
@_copy_signature(model_selection.cross_val_score)
def cross_val_score(estimator, X, y=None, *, scoring=None, **options):
    """Evaluate one metric by cross-validation.

    This is `sklearn.model_selection.cross_val_score`, except that it accepts a sparse
    `y`, which scikit-learn refuses.

    Parameters
    ----------
    %(estimator)s
    %(X)s
    %(y)s
    %(groups)s
    scoring : str, callable or None, default=None
        Metric, such as `skxmc.metrics.ranking_scorer`. None calls ``score`` of the
        estimator, which is P@1 for the classifiers of this package.
    %(cv)s
    %(n_jobs)s
    %(verbose)s
    %(params)s
    %(pre_dispatch)s
    %(error_score)s

    Returns
    -------
    ndarray of shape (n_splits,)
        Score on each test part.

    Examples
    --------
    >>> from skxmc import GRankClassifier
    >>> from skxmc.datasets import make_xmc
    >>> from skxmc.model_selection import cross_val_score
    >>> data = make_xmc(60, 20, kind="features", random_state=0)
    >>> model = GRankClassifier(max_epochs=1, validation_fraction=0, random_state=0)
    >>> cross_val_score(model, data.X, data.Y, cv=3).shape
    (3,)
    """
    scoring = {"score": check_scoring(estimator, scoring=scoring)}
    results = cross_validate(estimator, X, y, scoring=scoring, **options)
    return results["test_score"]


@_fill_docstring
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
    """Predict each document by a model that was not trained on it.

    This is `sklearn.model_selection.cross_val_predict`, except that it accepts a sparse
    `y`, for ``predict_proba`` and ``decision_function`` too, and knows
    ``predict_topk``.

    Parameters
    ----------
    %(estimator)s
    %(X)s
    %(y)s
    %(groups)s
    %(cv)s
        The test parts must be disjoint, and together contain every document.
    %(n_jobs)s
    %(verbose)s
    %(params)s
    %(pre_dispatch)s
    method : str, default="predict"
        The method that predicts. The classifiers of this package have ``predict``,
        ``predict_proba``, ``decision_function`` and ``predict_topk``.
    k : int, default=5
        Number of labels that ``predict_topk`` returns for each document.

    Returns
    -------
    csr matrix or ndarray of shape (n_docs, n_labels)
        Predictions in the order of the documents. For ``predict_topk`` they are two
        arrays of shape (n_docs, k): label ids (int64) and scores (float32).

    Raises
    ------
    ValueError
        If ``method="predict_topk"`` and y is None or 1-D.

    Examples
    --------
    >>> from skxmc import GRankClassifier
    >>> from skxmc.datasets import make_xmc
    >>> from skxmc.model_selection import cross_val_predict
    >>> data = make_xmc(60, 20, kind="features", random_state=0)
    >>> X, Y = data.X, data.Y
    >>> model = GRankClassifier(max_epochs=1, validation_fraction=0, random_state=0)
    >>> ids, scores = cross_val_predict(model, X, Y, cv=3, method="predict_topk", k=2)
    >>> ids.shape
    (60, 2)
    """
    wants_topk = method == "predict_topk"
    y = None if y is None else label_array(y)
    options = dict(
        groups=groups,
        cv=_check_cv(cv, y, estimator),
        n_jobs=n_jobs,
        verbose=verbose,
        params=params,
        pre_dispatch=pre_dispatch,
    )
    if wants_topk:
        check_number("k", k, numbers.Integral, 1)
        if y is None or y.ndim == 1:
            raise ValueError(
                'method="predict_topk" needs y of shape (n_docs, n_labels): for a 1-D '
                "y, the columns differ from fold to fold. Use predict or predict_proba."
            )
    if wants_topk or sp.issparse(y):
        # For any method but predict, scikit-learn calls np.asarray(y), which fails on
        # a sparse y; and it concatenates one array of each fold, not two.
        estimator, method = _MethodAsPredict(estimator, method, k), "predict"
    predicted = inspect.unwrap(model_selection.cross_val_predict)(
        estimator, indexable(X), y, method=method, **options
    )
    if not wants_topk:
        return predicted
    return predicted[:, :k].astype(np.int64), predicted[:, k:].astype(np.float32)


class _MethodAsPredict(BaseEstimator):
    """An estimator whose `predict` calls another method of the estimator it wraps.

    For `predict_topk`, ids and scores are returned side by side in one float64 array,
    which holds ids up to 2^53 exactly.
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


@_fill_docstring
@_copy_signature(model_selection.learning_curve)
def learning_curve(estimator, X, y, **options):
    """Compute scores for growing numbers of training documents.

    This is `sklearn.model_selection.learning_curve`, except that it accepts a sparse
    `y`, which scikit-learn refuses.

    Parameters
    ----------
    %(estimator)s
    %(X)s
    %(y)s
    %(groups)s
    train_sizes : array-like of shape (n_sizes,), default=numpy.linspace(0.1, 1, 5)
        Sizes of the training sets: shares of the largest one (float), or numbers of
        documents (int).
    %(cv)s
    scoring : str, callable or None, default=None
        Metric, such as `skxmc.metrics.ranking_scorer`. None calls ``score`` of the
        estimator, which is P@1 for the classifiers of this package.
    exploit_incremental_learning : bool, default=False
        Whether to train one estimator further by ``partial_fit``, which the classifiers
        of this package do not have.
    %(n_jobs)s
    %(pre_dispatch)s
    %(verbose)s
    shuffle : bool, default=False
        Whether to shuffle the training documents before they are cut to `train_sizes`.
    random_state : int, RandomState or None, default=None
        Seed of the shuffling.
    %(error_score)s
    return_times : bool, default=False
        Whether to return the times of fits and scores.
    %(params)s

    Returns
    -------
    train_sizes : int ndarray of shape (n_sizes,)
        Numbers of training documents.
    train_scores, test_scores : ndarrays of shape (n_sizes, n_splits)
        Scores on the training documents and on the test part.
    fit_times, score_times : ndarrays of shape (n_sizes, n_splits)
        Times in seconds; only with ``return_times=True``.

    Examples
    --------
    >>> from skxmc import GRankClassifier
    >>> from skxmc.datasets import make_xmc
    >>> from skxmc.model_selection import learning_curve
    >>> data = make_xmc(60, 20, kind="features", random_state=0)
    >>> model = GRankClassifier(max_epochs=1, validation_fraction=0, random_state=0)
    >>> sizes, train_scores, test_scores = learning_curve(
    ...     model, data.X, data.Y, cv=2, train_sizes=[10, 30]
    ... )
    >>> test_scores.shape
    (2, 2)
    """
    return _call_unchecked(model_selection.learning_curve, estimator, X, y, options)


@_fill_docstring
@_copy_signature(model_selection.validation_curve)
def validation_curve(estimator, X, y, **options):
    """Compute scores for several values of a parameter.

    This is `sklearn.model_selection.validation_curve`, except that it accepts a sparse
    `y`, which scikit-learn refuses.

    Parameters
    ----------
    %(estimator)s
    %(X)s
    %(y)s
    param_name : str
        Name of the parameter that varies.
    param_range : array-like of shape (n_values,)
        Its values.
    %(groups)s
    %(cv)s
    scoring : str, callable or None, default=None
        Metric, such as `skxmc.metrics.ranking_scorer`. None calls ``score`` of the
        estimator, which is P@1 for the classifiers of this package.
    %(n_jobs)s
    %(pre_dispatch)s
    %(verbose)s
    %(error_score)s
    %(params)s

    Returns
    -------
    train_scores, test_scores : ndarrays of shape (n_values, n_splits)
        Scores on the training part and on the test part.

    Examples
    --------
    >>> from skxmc import GRankClassifier
    >>> from skxmc.datasets import make_xmc
    >>> from skxmc.model_selection import validation_curve
    >>> data = make_xmc(60, 20, kind="features", random_state=0)
    >>> model = GRankClassifier(validation_fraction=0, random_state=0)
    >>> train_scores, test_scores = validation_curve(
    ...     model, data.X, data.Y, cv=2, param_name="max_epochs", param_range=[1, 2]
    ... )
    >>> test_scores.shape
    (2, 2)
    """
    return _call_unchecked(model_selection.validation_curve, estimator, X, y, options)
