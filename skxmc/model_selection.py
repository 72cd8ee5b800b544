"""Model selection on sparse label matrices: scikit-learn's functions, and splitters."""

import inspect
import numbers

import numpy as np
import scipy.sparse as sp
from sklearn import model_selection
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    BaseCrossValidator,
    BaseShuffleSplit,
    KFold,
    ShuffleSplit,
)
from sklearn.utils import check_random_state

from ._ranking import check_truth
from ._validation import check_number

# Times that documents are moved for labels that a training part would lose.
_ROUNDS = 100


def _like(original):
    """Give a function the signature that scikit-learn's has in the version at hand."""

    def decorate(function):
        function.__signature__ = inspect.signature(original)
        return function

    return decorate


def _call(original, estimator, X, y, options):
    """Call a function of scikit-learn without its check, which refuses a sparse y."""
    options["cv"] = _splitter(options.get("cv"), y, estimator)
    return inspect.unwrap(original)(estimator, X, y, **options)


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
    options = dict(
        groups=groups,
        cv=_splitter(cv, y, estimator),
        n_jobs=n_jobs,
        verbose=verbose,
        params=params,
        pre_dispatch=pre_dispatch,
    )
    if top or sp.issparse(y):
        check_number("k", k, numbers.Integral, 1)
        estimator, method = _OneMethod(estimator, method, k), "predict"
    predicted = inspect.unwrap(model_selection.cross_val_predict)(
        estimator, X, y, method=method, **options
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

    def fit(self, X, y, **params):
        self.estimator.fit(X, y, **params)
        return self

    def predict(self, X):
        method = getattr(self.estimator, self.method)
        return np.hstack(method(X, self.k)) if "topk" in self.method else method(X)

    def get_metadata_routing(self):
        return self.estimator.get_metadata_routing()


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


class MultilabelKFold(BaseCrossValidator):
    """Folds that share out each label, and from which training keeps every one.

    Documents are dealt to the folds in the order of their rarest labels; so those of
    a rare label come into different folds. Then documents are moved, until no fold
    has all documents of a label with two or more, where that can be; and others, until
    folds are of one size again.

    Like iterative stratification [1]_ it looks at rare labels first, but deals out all
    documents at once: it takes seconds at 100,000 labels.

    Parameters
    ----------
    n_splits : int, default=5
    shuffle : bool, default=False
        Whether documents come in a random order. Otherwise the folds are the same
        each time, and follow the order of the documents.
    random_state : int, RandomState instance or None, default=None
        Of that order.

    References
    ----------
    .. [1] Sechidis, Tsoumakas, Vlahavas. On the Stratification of Multi-label Data,
       ECML PKDD 2011.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> Y = csr_array([[1, 0, 1], [1, 0, 0], [0, 1, 1], [0, 1, 0]])
    >>> for train, test in MultilabelKFold(2).split(Y, Y):
    ...     print(Y[train].sum(axis=0))
    [1 1 1]
    [1 1 1]
    """

    def __init__(self, n_splits=5, *, shuffle=False, random_state=None):
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X=None, y=None, groups=None):
        """Return the number of folds."""
        return self.n_splits

    def split(self, X, y, groups=None):
        """Yield training and test documents of each fold.

        Parameters
        ----------
        X : ignored but for its length
        y : sparse matrix or array of shape (n_docs, n_labels)
        groups : ignored

        Yields
        ------
        train, test : int ndarrays

        Raises
        ------
        ValueError
            If `y` is not a matrix of 0 and 1, or has fewer rows than there are folds.
        """
        check_number("n_splits", self.n_splits, numbers.Integral, 2)
        return super().split(X, y, groups)

    def _iter_test_indices(self, X=None, y=None, groups=None):
        Y = _label_matrix(y)
        n_docs = Y.shape[0]
        if self.n_splits > n_docs:
            raise ValueError(
                f"n_splits={self.n_splits}, but there are {n_docs} documents. Lower it."
            )
        rng = np.random.default_rng(_seed(self.random_state if self.shuffle else 0))
        order = rng.permutation(n_docs) if self.shuffle else np.arange(n_docs)
        parts = np.empty(n_docs, np.int64)
        parts[_by_rarest_label(Y, order)] = np.arange(n_docs) % self.n_splits
        _keep_labels(Y, parts, np.ones(self.n_splits, bool), rng)
        for i in range(self.n_splits):
            yield np.flatnonzero(parts == i)


class MultilabelShuffleSplit(BaseShuffleSplit):
    """Random splits that share out each label, and whose training part keeps every one.

    As `MultilabelKFold`, but test parts are drawn anew for each split.

    Parameters
    ----------
    n_splits : int, default=10
    test_size, train_size : float, int or None, default=None
        Shares or numbers of documents, as in scikit-learn's ShuffleSplit: a tenth is
        tested if both are None.
    random_state : int, RandomState instance or None, default=None

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> Y = csr_array([[1, 0], [1, 0], [1, 1], [0, 1]])
    >>> splitter = MultilabelShuffleSplit(1, test_size=0.5, random_state=0)
    >>> train, test = next(splitter.split(Y, Y))
    >>> bool((Y[train].sum(axis=0) > 0).all())
    True
    """

    def __init__(
        self, n_splits=10, *, test_size=None, train_size=None, random_state=None
    ):
        super().__init__(
            n_splits=n_splits,
            test_size=test_size,
            train_size=train_size,
            random_state=random_state,
        )
        self._default_test_size = 0.1

    def split(self, X, y, groups=None):
        """Yield training and test documents of each split.

        Parameters
        ----------
        X, y, groups : as in `MultilabelKFold.split`

        Yields
        ------
        train, test : int ndarrays
        """
        return super().split(X, y, groups)

    def _iter_indices(self, X, y=None, groups=None):
        Y = _label_matrix(y)
        n_docs = Y.shape[0]
        plain = ShuffleSplit(
            1,
            test_size=self.test_size,
            train_size=self.train_size,
            random_state=0,
        )
        n_train, n_test = map(len, next(plain.split(np.empty(n_docs))))
        rng = np.random.default_rng(_seed(self.random_state))
        for _ in range(self.n_splits):
            order = _by_rarest_label(Y, rng.permutation(n_docs))
            parts = np.empty(n_docs, np.int64)
            parts[order] = _spread(n_docs, n_docs - n_train, rng)
            _keep_labels(Y, parts, np.array([False, True]), rng)
            rest = order[parts[order] == 1]
            test = rest[_spread(len(rest), n_test, rng)]
            yield rng.permutation(np.flatnonzero(parts == 0)), rng.permutation(test)


def _seed(random_state):
    return check_random_state(random_state).randint(2**31)


def _label_matrix(y):
    y = y if sp.issparse(y) else np.asarray(y)
    if y.ndim != 2:
        raise ValueError(
            f"y must be a matrix of shape (n_docs, n_labels), got shape {y.shape}. "
            "For one label a document use StratifiedKFold or StratifiedShuffleSplit."
        )
    return check_truth(y, "y")


def _by_rarest_label(Y, order):
    """Documents by the rarest label of each, those of one label in the given order.

    Documents without labels come last.
    """
    n_docs, n_labels = Y.shape
    counts = np.bincount(Y.indices, minlength=n_labels)
    places = np.empty(n_labels, np.int64)
    places[np.argsort(counts, kind="stable")] = np.arange(n_labels)
    rarest = np.full(n_docs, n_labels)
    np.minimum.at(rarest, _owners(Y), places[Y.indices])
    return order[np.argsort(rarest[order], kind="stable")]


def _owners(Y):
    """Row of each entry."""
    return np.repeat(np.arange(Y.shape[0]), np.diff(Y.indptr))


def _spread(n_docs, n_chosen, rng):
    """Mask of `n_chosen` places of `n_docs`, as evenly spread as can be."""
    offset = rng.integers(n_docs)
    return np.diff((np.arange(n_docs + 1) * n_chosen + offset) // n_docs) > 0


def _keep_labels(Y, parts, tested, rng):
    """Move documents so that no tested part has all of a label's, two or more.

    Parameters
    ----------
    Y : csr array of shape (n_docs, n_labels)
    parts : int ndarray of shape (n_docs,)
        Part of each document; changed in place. In the end parts are as large as
        they were.
    tested : bool ndarray of shape (n_parts,)
    rng : numpy Generator
    """
    sizes = np.bincount(parts, minlength=len(tested))
    for _ in range(_ROUNDS):
        if not _move_for_labels(Y, parts, tested, rng):
            break
    for _ in range(len(tested)):
        _move_for_sizes(Y, parts, tested, sizes, rng)


def _move_for_labels(Y, parts, tested, rng):
    """Move a document of each label that is lost; False where there is none."""
    (n_docs, n_labels), n_parts = Y.shape, len(tested)
    docs, labels = _owners(Y), Y.indices
    totals = np.bincount(labels, minlength=n_labels)
    counts = np.bincount(
        labels.astype(np.int64) * n_parts + parts[docs], minlength=n_labels * n_parts
    ).reshape(n_labels, n_parts)
    several = totals >= 2
    lost = ((counts == totals[:, None]) & tested).any(axis=1) & several
    if not lost.any():
        return False
    # One document of each lost label at random, and where it could go.
    entries = rng.permutation(np.flatnonzero(lost[labels]))
    chosen = docs[entries[np.unique(labels[entries], return_index=True)[1]]]
    targets = np.full(n_docs, -1)
    targets[chosen] = (parts[chosen] + rng.integers(1, n_parts, len(chosen))) % n_parts
    # Its labels that are saved, less those that would be lost there.
    moved = np.flatnonzero(targets[docs] >= 0)
    docs, labels = docs[moved], labels[moved]
    there = targets[docs]
    others = counts[labels, there] == totals[labels] - 1
    gain = lost[labels].astype(int) - (others & tested[there] & several[labels])
    gain = np.bincount(docs, weights=gain, minlength=n_docs)
    # Moves that only change which label is lost lead out of dead ends.
    good = gain[docs] >= 0
    docs, labels, there = docs[good], labels[good], there[good]
    # Of moves that together would take a label's last document elsewhere, one.
    pairs = labels.astype(np.int64) * n_parts + there
    _, same, n_moves = np.unique(pairs, return_inverse=True, return_counts=True)
    taken = tested[there] & (n_moves[same] >= totals[labels] - counts[labels, there])
    priority = rng.permutation(n_docs)
    first = np.full(n_labels, n_docs)
    np.minimum.at(first, labels[taken], priority[docs[taken]])
    blocked = np.zeros(n_docs, bool)
    blocked[docs[taken & (first[labels] != priority[docs])]] = True
    docs = np.unique(docs[~blocked[docs]])
    parts[docs] = targets[docs]
    return True


def _move_for_sizes(Y, parts, tested, sizes, rng):
    """Move documents from the part that is most too large to the most too small."""
    excess = np.bincount(parts, minlength=len(sizes)) - sizes
    source, target = excess.argmax(), excess.argmin()
    n_moved = min(excess[source], -excess[target])
    if not n_moved:
        return
    free = parts == source
    order = rng.permutation(len(parts))
    if tested[target]:  # the last document of a label elsewhere stays
        docs, labels = _owners(Y), Y.indices
        elsewhere = parts[docs] != target
        last = np.full(Y.shape[1], -1)
        np.maximum.at(last, labels[elsewhere], order[docs[elsewhere]])
        free[docs[order[docs] == last[labels]]] = False
    parts[np.flatnonzero(free)[:n_moved]] = target
