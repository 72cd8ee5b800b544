"""Splitters that distribute the documents of every label evenly."""

import numbers

import numpy as np
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit, ShuffleSplit
from sklearn.utils import check_random_state

from .._validation import check_number, label_array
from ..metrics._ranking import check_truth
from ._stratification import distribute_labels, order_by_rarest_label, spread_evenly


class MultilabelKFold(BaseCrossValidator):
    """Folds that distribute each label evenly and keep it in every training part.

    Most labels have few documents. With ordinary folds, all documents of such a label
    may be in one fold, so that no model that is tested on them was trained on the
    label. Here every label with two or more documents keeps at least one in each
    training part, wherever that is possible.

    Documents are first dealt to the folds in the order of their rarest labels, so that
    the documents of a rare label go to different folds. Then folds exchange documents
    for as long as that distributes the labels more evenly. Finally, if all documents of
    a label with two or more are in one fold, one of them is moved to another.

    The aim is that of iterative stratification [1]_, but many documents are moved at
    once: 100,000 labels take seconds.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        If True, documents are dealt in a random order. If False, they are dealt in
        their own order, and the folds are the same each time.
    random_state : int, RandomState instance or None, default=None
        Seed of the random order; used only with ``shuffle=True``.

    References
    ----------
    .. [1] Sechidis, Tsoumakas, Vlahavas. On the Stratification of Multi-label Data,
       ECML PKDD 2011.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc.model_selection import MultilabelKFold
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
        """Return the number of folds.

        Parameters
        ----------
        X, y, groups : ignored
            Present because scikit-learn passes them.

        Returns
        -------
        int
        """
        return self.n_splits

    def split(self, X, y, groups=None):
        """Yield the training and test documents of each fold.

        Parameters
        ----------
        X : sequence or matrix of n_docs documents
            Only its length is used.
        y : sparse matrix or array of shape (n_docs, n_labels)
            Labels, 0 or 1.
        groups : ignored
            Present because scikit-learn passes it.

        Yields
        ------
        train, test : int ndarrays
            Positions of documents.

        Raises
        ------
        ValueError
            If `y` is not a matrix of 0 and 1, or has fewer rows than there are folds.
        """
        check_number("n_splits", self.n_splits, numbers.Integral, 2)
        return super().split(X, y, groups)

    def _iter_test_indices(self, X=None, y=None, groups=None):
        Y = _check_label_matrix(y)
        n_docs = Y.shape[0]
        if self.n_splits > n_docs:
            raise ValueError(
                f"n_splits={self.n_splits}, but there are {n_docs} documents. "
                f"Choose at most {n_docs} folds."
            )
        rng = np.random.default_rng(
            _draw_seed(self.random_state if self.shuffle else 0)
        )
        order = rng.permutation(n_docs) if self.shuffle else np.arange(n_docs)
        parts = np.empty(n_docs, np.int64)
        parts[order_by_rarest_label(Y, order)] = np.arange(n_docs) % self.n_splits
        distribute_labels(Y, parts, np.ones(self.n_splits, bool), rng)
        for i in range(self.n_splits):
            yield np.flatnonzero(parts == i)


class MultilabelShuffleSplit(BaseShuffleSplit):
    """Random splits that distribute each label evenly and keep it in training.

    Labels are distributed as by `MultilabelKFold`, but each split draws its test part
    anew, so that test parts may overlap.

    Parameters
    ----------
    n_splits : int, default=10
        Number of random splits that are made.
    test_size : float, int or None, default=None
        Share of the documents (float) or number of documents (int) to test on. None
        takes those that `train_size` leaves, or a tenth if both are None.
    train_size : float, int or None, default=None
        Share or number of documents to train on. None takes those that are not tested.
    random_state : int, RandomState instance or None, default=None
        Seed of the splits; an int makes the same splits each time.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc.model_selection import MultilabelShuffleSplit
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
        """Yield the training and test documents of each split.

        Parameters
        ----------
        X : sequence or matrix of n_docs documents
            Only its length is used.
        y : sparse matrix or array of shape (n_docs, n_labels)
            Labels, 0 or 1.
        groups : ignored
            Present because scikit-learn passes it.

        Yields
        ------
        train, test : int ndarrays
            Positions of documents, in a random order.
        """
        return super().split(X, y, groups)

    def _iter_indices(self, X, y=None, groups=None):
        Y = _check_label_matrix(y)
        n_docs = Y.shape[0]
        # ShuffleSplit checks the sizes, and rounds them.
        plain = ShuffleSplit(
            1,
            test_size=self.test_size,
            train_size=self.train_size,
            random_state=0,
        )
        n_train, n_test = map(len, next(plain.split(np.empty(n_docs))))
        rng = np.random.default_rng(_draw_seed(self.random_state))
        for _ in range(self.n_splits):
            order = order_by_rarest_label(Y, rng.permutation(n_docs))
            parts = np.empty(n_docs, np.int64)
            parts[order] = spread_evenly(n_docs, n_docs - n_train, rng)
            distribute_labels(Y, parts, np.array([False, True]), rng)
            rest = order[parts[order] == 1]
            test = rest[spread_evenly(len(rest), n_test, rng)]
            yield rng.permutation(np.flatnonzero(parts == 0)), rng.permutation(test)


def _draw_seed(random_state):
    """Draw a seed for numpy's generators from any random_state of scikit-learn."""
    return check_random_state(random_state).randint(2**31)


def _check_label_matrix(y):
    """Return y as a canonical CSR array of 0 and 1."""
    y = label_array(y)
    if y.ndim != 2:
        raise ValueError(
            f"y must be a matrix of shape (n_docs, n_labels), got shape {y.shape}. "
            "If each document has one label, use StratifiedKFold or "
            "StratifiedShuffleSplit."
        )
    return check_truth(y, "y")
