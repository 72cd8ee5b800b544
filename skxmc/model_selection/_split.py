"""Splitters that share out the documents of every label."""

import numbers

import numpy as np
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit, ShuffleSplit
from sklearn.utils import check_random_state

from .._validation import check_number, label_array
from ..metrics._ranking import check_truth
from ._stratification import _by_rarest_label, _share_out, _spread


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
