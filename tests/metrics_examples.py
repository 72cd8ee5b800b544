"""Rankings, estimators and assertions that the tests of metrics share."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin

from skxmc import metrics

PLAIN = {
    "P": metrics.precision_at_k,
    "R": metrics.recall_at_k,
    "nDCG": metrics.ndcg_at_k,
    "coverage": metrics.coverage_at_k,
    "macroP": metrics.macro_precision_at_k,
    "macroR": metrics.macro_recall_at_k,
    "macroF1": metrics.macro_f1_at_k,
}
WEIGHTED = {"PSP": metrics.psp_at_k, "PSnDCG": metrics.psndcg_at_k}
SPARSE = [sp.csr_array, sp.csr_matrix]


# One document, labels a, b true, q = (3, 2, 1), prediction [b, c].
Y1, IDS1, P1 = [[1, 1, 0]], np.array([[1, 2]]), np.array([1 / 3, 1 / 2, 1])


def csr_with_explicit_zeros(values, stored, kind):
    rows, cols = np.nonzero(stored)
    shuffled = np.random.default_rng(0).permutation(rows.size)  # unsorted indices
    rows, cols = rows[shuffled], cols[shuffled]
    order = np.argsort(rows, kind="stable")
    indptr = np.append(0, np.cumsum(stored.sum(axis=1)))
    data = values[rows, cols][order]
    return kind((data, cols[order], indptr), shape=values.shape)


def assert_reports_equal(got, expected):
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        assert got[key] == pytest.approx(value, abs=1e-12), key


# Scorers


class ColumnRanker(ClassifierMixin, BaseEstimator):
    """Score label j of a document by shift + X[:, j]; counts as skxmc's do."""

    def __init__(self, sign=1.0):
        self.sign = sign

    def fit(self, X, y):
        self.label_counts_ = np.asarray(y.sum(axis=0)).ravel()
        self.n_docs_ = X.shape[0]
        return self

    def decision_function(self, X):
        return self.sign * np.asarray(X)


class TopKRanker(ColumnRanker):
    """Only predict_topk may be called, and its k is kept."""

    def decision_function(self, X):
        raise AssertionError("predict_topk must come first")

    def predict_topk(self, X, k):
        self.asked_ = k
        ids = np.argsort(-self.sign * np.asarray(X), axis=1)[:, :k]
        return ids, np.take_along_axis(np.asarray(X), ids, axis=1)


class Bare(BaseEstimator):
    """Cannot predict."""

    def fit(self, X, y):
        return self


def scorer_problem(container=np.asarray):
    rng = np.random.default_rng(5)
    Y = (rng.random((40, 8)) < 0.3).astype(int)
    Y[:, 0] = rng.random(40) < 0.9  # frequencies differ, so propensities matter
    return Y + rng.normal(size=Y.shape), container(Y)
