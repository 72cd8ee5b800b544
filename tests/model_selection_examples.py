"""Classifiers and splits that the tests of model selection share."""

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import _num_samples

from skxmc import LightDXMLClassifier
from skxmc.metrics import precision_at_k

QUICK = dict(
    label_dim=8,
    max_epochs=2,
    batch_size=16,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    dropout=0.0,
    n_frequent=4,
    n_shortlist=5,
    predict_shortlist=6,
    validation_fraction=0,
    precision="fp32",
    random_state=0,
)
METHODS = ("predict", "predict_proba", "decision_function")


class Frequent(ClassifierMixin, BaseEstimator):
    """Ranks the labels of the most training documents, alike for each document."""

    def __init__(self, n_best=5):
        self.n_best = n_best

    def fit(self, X, y):
        counts = np.asarray(y.sum(axis=0)).ravel()
        self.best_ = np.argsort(-counts, kind="stable")[: self.n_best]
        self.shares_ = counts[self.best_] / y.shape[0]
        self.classes_ = np.arange(y.shape[1])
        self.label_counts_, self.n_docs_ = counts, y.shape[0]
        return self

    def predict_topk(self, X, k=5):
        each = self.best_[:k], self.shares_[:k].astype(np.float32)
        return tuple(np.tile(row, (_num_samples(X), 1)) for row in each)

    def predict_proba(self, X):
        ids, shares = self.predict_topk(X, self.n_best)
        indptr = np.arange(len(ids) + 1) * ids.shape[1]
        shape = (len(ids), len(self.classes_))
        return sp.csr_array((shares.ravel(), ids.ravel(), indptr), shape)

    def score(self, X, y, sample_weight=None):
        return precision_at_k(y, self.predict_topk(X, 1)[0], 1)


def quick(**params):
    return LightDXMLClassifier(**QUICK | params)


def rows_of(texts, rows):
    return [texts[i] for i in rows]


def dense(values):
    return values.toarray() if sp.issparse(values) else values


def totals(Y):
    return np.asarray(Y.sum(axis=0)).ravel()


def by_hand(model, texts, Y, splits):
    """Models fitted on each training part, and test parts."""
    for train, test in splits:
        fitted = clone(model).fit(rows_of(texts, train), Y[train])
        yield fitted, rows_of(texts, test), Y[test]


def folds_of(splitter, Y):
    return [test for _, test in splitter.split(Y, Y)]
