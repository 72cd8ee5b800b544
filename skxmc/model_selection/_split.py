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
from sklearn.utils import check_random_state, get_tags

from .._validation import check_number, indexable, label_array
from ..metrics._functions import topk_of
from ..metrics._ranking import check_truth

# Exchanges of documents, a part, that share out labels.
_EXCHANGES = 30
# Times that documents are moved for labels that a training part would lose, and turns
# of that and of making parts as large as they are to be.
_ROUNDS, _TURNS = 50, 5


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
            return np.hstack(topk_of(self.estimator, X, self.k))
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


class MultilabelKFold(BaseCrossValidator):
    """Folds that share out each label, and from which training keeps every one.

    Documents are dealt to the folds in the order of their rarest labels, so that those
    of a rare label come into different folds. Then folds exchange documents, as long as
    labels are shared out more evenly by it; and where a fold still has all documents
    of a label with two or more, one of them is exchanged, if it can be.

    It wants what iterative stratification [1]_ does, but moves many documents at once:
    it takes seconds at 100,000 labels.

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
        _share_out(Y, parts, np.ones(self.n_splits, bool), rng)
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
            _share_out(Y, parts, np.array([False, True]), rng)
            rest = order[parts[order] == 1]
            test = rest[_spread(len(rest), n_test, rng)]
            yield rng.permutation(np.flatnonzero(parts == 0)), rng.permutation(test)


def _seed(random_state):
    return check_random_state(random_state).randint(2**31)


def _label_matrix(y):
    y = label_array(y)
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


def _share_out(Y, parts, tested, rng):
    """Exchange documents between parts, so that labels are shared out.

    Parameters
    ----------
    Y : csr array of shape (n_docs, n_labels)
    parts : int ndarray of shape (n_docs,)
        Part of each document; changed in place. Parts stay as large as they are.
    tested : bool ndarray of shape (n_parts,)
        Parts that must not have all of a label's documents, two or more.
    rng : numpy Generator
    """
    sizes = np.bincount(parts, minlength=len(tested))
    _even_out(Y, parts, sizes, rng)
    for _ in range(_TURNS):
        for _ in range(_ROUNDS):
            if not _move_for_labels(Y, parts, tested, rng):
                break
        for _ in range(len(tested)):
            _move_for_sizes(Y, parts, tested, sizes, rng)
        even = (np.bincount(parts, minlength=len(tested)) == sizes).all()
        if even and not _lost(_label_counts(Y, parts, len(tested)), tested).any():
            return
    for _ in range(len(tested)):
        _move_for_sizes(Y, parts, np.zeros_like(tested), sizes, rng)


def _label_counts(Y, parts, n_parts):
    """Documents of each label in each part, of shape (n_labels, n_parts)."""
    pairs = Y.indices.astype(np.int64) * n_parts + parts[_owners(Y)]
    counts = np.bincount(pairs, minlength=Y.shape[1] * n_parts)
    return counts.reshape(Y.shape[1], n_parts)


def _lost(counts, tested):
    """Labels with two documents or more, all of them in one tested part."""
    totals = counts.sum(axis=1)
    return ((counts == totals[:, None]) & tested).any(axis=1) & (totals >= 2)


def _even_out(Y, parts, sizes, rng):
    """Exchange documents of two parts while that brings labels nearer to their shares.

    What falls is the sum over labels and parts of (n - e)^2 / e, where a label has n
    documents in a part, and its share e by the size of the part.
    """
    n_parts = len(sizes)
    several = np.bincount(Y.indices, minlength=Y.shape[1]) >= 2
    Y = sp.csr_array(Y, dtype=np.float64)[:, several]
    counts = _label_counts(Y, parts, n_parts)
    share = 1 / (counts.sum(axis=1)[:, None] * (sizes / sizes.sum()))  # 1 / e
    # Documents of each two parts that are exchanged at once: a tenth at first.
    first, second = np.triu_indices(n_parts, 1)
    n_moved = np.minimum(sizes[first], sizes[second]) // 10 + 1
    for _ in range(_EXCHANGES * n_parts):
        open_pairs = np.flatnonzero(n_moved)
        if not len(open_pairs):
            break
        i = rng.choice(open_pairs)
        pair = np.array([first[i], second[i]])
        there, back = _exchanged(Y, parts, pair, counts, share, n_moved[i], rng)
        change = Y[back].sum(axis=0) - Y[there].sum(axis=0)
        changed = counts[:, pair] + np.stack([change, -change], axis=1)
        before, after = (
            np.sum((n - 1 / share[:, pair]) ** 2 * share[:, pair])
            for n in (counts[:, pair], changed)
        )
        if after < before:
            parts[there], parts[back] = pair[::-1]
            counts[:, pair] = changed
        else:
            n_moved[i] //= 2


def _exchanged(Y, parts, pair, counts, share, n_moved, rng):
    """Documents of two parts that should change places, at most `n_moved` of each."""
    moves = []
    for here, other in (pair, pair[::-1]):
        docs = rng.permutation(np.flatnonzero(parts == here))
        costs = 2 * (
            counts[:, other] * share[:, other] - counts[:, here] * share[:, here]
        )
        costs = Y[docs] @ (costs + share[:, other] + share[:, here])
        order = np.argsort(costs, kind="stable")[:n_moved]
        moves.append((docs[order], costs[order]))
    (there, costs), (back, others) = moves
    n = min(len(there), len(back))
    n = np.count_nonzero(costs[:n] + others[:n] < 0)
    return there[:n], back[:n]


def _move_for_labels(Y, parts, tested, rng):
    """Move a document of each label that is lost; False where there is none."""
    (n_docs, n_labels), n_parts = Y.shape, len(tested)
    docs, labels = _owners(Y), Y.indices
    counts = _label_counts(Y, parts, n_parts)
    totals = counts.sum(axis=1)
    several, lost = totals >= 2, _lost(counts, tested)
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
    if tested[target]:  # the last document of a label elsewhere stays, of several
        docs, labels = _owners(Y), Y.indices
        several = np.bincount(labels, minlength=Y.shape[1])[labels] >= 2
        elsewhere = several & (parts[docs] != target)
        last = np.full(Y.shape[1], -1)
        np.maximum.at(last, labels[elsewhere], order[docs[elsewhere]])
        free[docs[order[docs] == last[labels]]] = False
    parts[rng.permutation(np.flatnonzero(free))[:n_moved]] = target
