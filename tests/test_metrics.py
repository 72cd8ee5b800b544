"""Tests of skxmc.metrics: hand-computed values, brute force, errors, scorers."""

import copy
import doctest
import math
import pickle
import re
import warnings
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skxmc import LightDXMLClassifier, metrics
from skxmc.metrics import _functions, _ranking
from skxmc.metrics._ranking import METRICS

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
pairs = partial(zip, strict=True)

# One document, labels a, b true, q = (3, 2, 1), prediction [b, c].
Y1, IDS1, P1 = [[1, 1, 0]], np.array([[1, 2]]), np.array([1 / 3, 1 / 2, 1])


# The reference: definitions written with lists and loops


def top_by_loops(scores, k):
    """Rank {label: score}: score descending, then id ascending."""
    return sorted(scores, key=lambda label: (-scores[label], label))[:k]


def discounted(values):
    return sum(v / math.log2(i + 2) for i, v in enumerate(values))


def per_label_by_loops(truth, tops, n_labels):
    rows = []
    for label in range(n_labels):
        n_true = sum(label in t for t in truth)
        if n_true:
            tp = sum(label in t and label in r for t, r in pairs(truth, tops))
            rows.append((tp, sum(label in r for r in tops), n_true))
    return rows


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def report_by_loops(truth, predicted, n_labels, k, p):
    """Metrics from lists of true sets and of {label: score}."""
    tops = [top_by_loops(scores, k) for scores in predicted]
    best = [sorted(t, key=lambda label: p[label])[:k] for t in truth]
    hits = [[label in t for label in r] for t, r in pairs(truth, tops)]
    gains = [[h / p[x] for h, x in pairs(hs, r)] for hs, r in pairs(hits, tops)]
    best_gains = [[1 / p[x] for x in b] for b in best]
    ideal = [discounted([1] * min(k, len(t))) or 1 for t in truth]
    psn, psd = sum(map(sum, gains)), sum(map(sum, best_gains))
    ndn = mean(discounted(g) / d for g, d in pairs(gains, ideal))
    ndd = mean(discounted(g) / d for g, d in pairs(best_gains, ideal))
    labels = per_label_by_loops(truth, tops, n_labels)
    return {
        f"P@{k}": mean(sum(h) / k for h in hits),
        f"R@{k}": mean(sum(h) / max(len(t), 1) for h, t in pairs(hits, truth)),
        f"nDCG@{k}": mean(discounted(h) / d for h, d in pairs(hits, ideal)),
        f"PSP@{k}": psn / psd if psd else 0.0,
        f"PSnDCG@{k}": ndn / ndd if ndd else 0.0,
        f"coverage@{k}": mean(tp > 0 for tp, _, _ in labels),
        f"macroP@{k}": mean(tp / max(n, 1) for tp, n, _ in labels),
        f"macroR@{k}": mean(tp / t for tp, _, t in labels),
        f"macroF1@{k}": mean(2 * tp / (n + t) for tp, n, t in labels),
    }


@st.composite
def problems(draw):
    """(Y, S, stored, p): dense truth, scores, which are stored, propensities."""
    n_docs, n_labels = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    Y = (rng.random((n_docs, n_labels)) < draw(st.sampled_from([0.1, 0.5]))).astype(int)
    # Five values only: many ties; zero among them.
    S = rng.integers(-2, 3, (n_docs, n_labels)) / 2
    stored = rng.random((n_docs, n_labels)) < draw(st.sampled_from([0.0, 0.4, 1.0]))
    return Y, S, stored, rng.uniform(0.1, 1, n_labels)


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


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from(SPARSE), st.sampled_from([1, 2, 5, 9]))
def test_against_brute_force(problem, kind, k):
    Y, S, stored, p = problem
    n_docs, n_labels = Y.shape
    truth = [set(np.flatnonzero(row)) for row in Y]
    Y_sparse = csr_with_explicit_zeros(Y, stored | (Y == 1), kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)

        # Sparse scores and ids: what is stored and not zero.
        predicted = [
            {j: S[i, j] for j in range(n_labels) if stored[i, j] and S[i, j]}
            for i in range(n_docs)
        ]
        expected = report_by_loops(truth, predicted, n_labels, k, p)
        S_sparse = csr_with_explicit_zeros(S, stored, kind)
        ids = np.full((n_docs, n_labels + 1), -1)
        for i, scores in enumerate(predicted):
            ids[i, : len(scores)] = top_by_loops(scores, n_labels)
        masked = np.where(stored & (S != 0), S, -np.inf)
        for y_true in (Y, Y_sparse):
            for y_score in (S_sparse, ids, masked):
                got = metrics.ranking_report(y_true, y_score, (k,), p)
                assert_reports_equal(got, expected)

        # Dense scores: zeros are ranked.
        predicted = [dict(enumerate(row)) for row in S]
        expected = report_by_loops(truth, predicted, n_labels, k, p)
        assert_reports_equal(metrics.ranking_report(Y, S, k, p), expected)


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_chunks_change_nothing(monkeypatch, chunk):
    rng = np.random.default_rng(0)
    S = sp.random_array((20, 9), density=0.3, rng=rng, format="csr")
    S.data = S.data.round(1)  # ties
    Y = (rng.random((20, 9)) < 0.3).astype(int)
    p = rng.uniform(0.1, 1, 9)
    expected = [metrics.ranking_report(Y, s, 4, p) for s in (S, S.toarray())]
    monkeypatch.setattr(_ranking, "_CHUNK", chunk)
    got = [metrics.ranking_report(Y, s, 4, p) for s in (S, S.toarray())]
    assert got == expected


# Values by hand


def test_example_of_the_note():
    assert metrics.precision_at_k(Y1, IDS1, 2) == 0.5
    assert metrics.ndcg_at_k(Y1, IDS1, 2) == pytest.approx(1 / (1 + 1 / math.log2(3)))
    psp = metrics.psp_at_k(Y1, IDS1, (1, 2), propensity=P1)
    np.testing.assert_allclose(psp, [2 / 3, 2 / 5])
    psndcg = metrics.psndcg_at_k(Y1, IDS1, (1, 2), propensity=P1)
    np.testing.assert_allclose(psndcg, [2 / 3, 2 / (3 + 2 / math.log2(3))])


def test_unnormalized():
    psp = metrics.psp_at_k(Y1, IDS1, (1, 2), propensity=P1, normalize=False)
    np.testing.assert_allclose(psp, [2, 1])
    psndcg = metrics.psndcg_at_k(Y1, IDS1, 2, propensity=P1, normalize=False)
    assert psndcg == pytest.approx(2 / (1 + 1 / math.log2(3)))


def test_psp_is_a_ratio_of_means():
    # Gains 0 of 3 and 1 of 1: ratio of sums 1/4, mean of ratios would be 1/2.
    Y = [[1, 0, 0], [0, 0, 1]]
    assert metrics.psp_at_k(Y, np.array([[1], [2]]), 1, propensity=P1) == (
        pytest.approx(1 / 4)
    )


def test_labels_by_hand():
    # Label 0: tp 1, predicted 2, true 1. Label 1: tp 0, predicted 1, true 2.
    # Label 2: no positive, left out although predicted.
    Y = [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    ids = np.array([[0], [0], [2]])
    assert metrics.coverage_at_k(Y, ids, 1) == 0.5
    assert metrics.macro_precision_at_k(Y, ids, 1) == 0.25
    assert metrics.macro_recall_at_k(Y, ids, 1) == 0.5
    assert metrics.macro_f1_at_k(Y, ids, 1) == pytest.approx(1 / 3)


def test_equal_scores_go_by_label_id():
    Y = np.eye(6, dtype=int)
    for scores in (np.ones((6, 6)), sp.csr_array(np.ones((6, 6)))):
        np.testing.assert_allclose(
            metrics.precision_at_k(Y, scores, (1, 3)), [1 / 6, 3 / 18]
        )
        assert metrics.recall_at_k(Y, scores, 3) == 0.5


def test_rows_without_positives_count_except_in_psp():
    Y, ids = [[1, 1, 0], [0, 0, 0]], np.array([[0, 1], [0, 1]])
    assert metrics.precision_at_k(Y, ids, 2) == 0.5
    assert metrics.recall_at_k(Y, ids, 2) == 0.5
    assert metrics.ndcg_at_k(Y, ids, 2) == pytest.approx(0.5)
    assert metrics.psp_at_k(Y, ids, 2, propensity=P1) == pytest.approx(1)


def test_denominator_stays_k_beyond_n_labels():
    assert metrics.precision_at_k([[1, 1]], [[0.2, 0.1]], 8) == 0.25
    assert metrics.precision_at_k([[1, 1]], np.array([[0]]), 4) == 0.25


def test_negative_sparse_scores_are_predictions_and_zeros_are_not():
    S = sp.csr_array(([-1.0, 0.0], [0, 1], [0, 2]), shape=(1, 2))
    assert metrics.precision_at_k([[1, 0]], S, 1) == 1
    assert metrics.recall_at_k([[0, 1]], S, 2) == 0


def test_padding_does_not_match_the_last_label_of_the_row_before():
    assert metrics.precision_at_k([[0, 1], [1, 0]], np.array([[1], [-1]]), 1) == 0.5


def test_no_positives_at_all_warns():
    with pytest.warns(UndefinedMetricWarning, match="no positives"):
        report = metrics.ranking_report([[0, 0]], [[0.1, 0.2]], 1, [0.5, 0.5])
    assert set(report.values()) == {0.0}


# Invariances, inputs, return types


def random_problem(n_docs=30, n_labels=12):
    rng = np.random.default_rng(3)
    Y = (rng.random((n_docs, n_labels)) < 0.3).astype(int)
    return Y, rng.normal(size=Y.shape), rng.uniform(0.1, 1, n_labels), rng


def test_order_of_rows_and_scale_of_scores_do_not_matter():
    Y, S, p, rng = random_problem()
    expected = metrics.ranking_report(Y, S, propensity=p)
    rows = rng.permutation(len(Y))
    assert_reports_equal(
        metrics.ranking_report(Y[rows], S[rows], propensity=p), expected
    )
    assert_reports_equal(metrics.ranking_report(Y, np.exp(S), propensity=p), expected)


@pytest.mark.parametrize("k", [1, 3, 12])
def test_perfect_ranking_is_1_where_normalized(k):
    Y, _, p, _ = random_problem()
    perfect = Y / p
    assert metrics.ndcg_at_k(Y, perfect, k) == pytest.approx(1)
    assert metrics.psp_at_k(Y, perfect, k, propensity=p) == pytest.approx(1)
    assert metrics.psndcg_at_k(Y, perfect, k, propensity=p) == pytest.approx(1)
    sparse = sp.csr_array(perfect)  # nothing but the truth is predicted
    if k == 12:
        assert metrics.macro_precision_at_k(Y, sparse, k) == pytest.approx(1)
        assert metrics.macro_f1_at_k(Y, sparse, k) == pytest.approx(1)
        assert metrics.recall_at_k(Y, sparse, k) == pytest.approx(1)


@pytest.mark.parametrize("kind", [*SPARSE, sp.csc_array, sp.coo_matrix, sp.lil_array])
def test_sparse_formats(kind):
    Y, S, p, _ = random_problem()
    S[S < 0] = -np.inf
    expected = metrics.ranking_report(Y, S, propensity=p)
    S[S < 0] = 0
    assert_reports_equal(
        metrics.ranking_report(kind(Y), kind(S), propensity=p), expected
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, np.uint8, bool])
def test_dtypes_of_sparse_scores_and_truth(dtype):
    Y, ids = np.array([[1, 1, 0]]), np.array([[2, 0]])
    S = np.array([[1, 0, 1]], dtype=dtype)
    sparse = S if dtype == np.float16 else sp.csr_array(S)
    expected = metrics.ndcg_at_k(Y, np.array([[0, 2]]), 2)
    assert metrics.ndcg_at_k(Y.astype(dtype), sparse, 2) == expected
    assert expected != metrics.ndcg_at_k(Y, ids, 2)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16])
def test_dtypes_of_ids(dtype):
    assert metrics.recall_at_k(Y1, np.array([[1, 2]], dtype=dtype), 2) == 0.5


@pytest.mark.parametrize("kind", SPARSE)
def test_inputs_are_not_modified(kind):
    # Unsorted indices, explicit zeros, and a duplicate in the scores.
    def make(data, indices):
        return kind((np.array(data), np.array(indices), [0, 3]), shape=(1, 3))

    Y, S = make([1, 0, 1], [2, 1, 0]), make([0.5, 0.0, 0.25], [2, 1, 2])
    for array in (Y, S):
        for part in (array.data, array.indices, array.indptr):
            part.flags.writeable = False
    metrics.ranking_report(Y, S, propensity=P1)
    metrics.propensity(Y)
    assert Y.nnz == S.nnz == 3
    dense = np.array([[0.1, 0.5, 0.2]])
    dense.flags.writeable = IDS1.flags.writeable = False
    metrics.ranking_report(Y1, dense)
    metrics.ranking_report(Y1, IDS1)


@pytest.mark.parametrize("metric", PLAIN.values())
def test_int_k_gives_float_and_sequence_gives_array(metric):
    Y, S, _, _ = random_problem()
    one, several = metric(Y, S, np.int64(3)), metric(Y, S, range(1, 4))
    assert type(one) is float
    assert several.shape == (3,) and several.dtype == np.float64
    assert several[2] == one
    assert metric(Y, S) == metric(Y, S, 5)


def test_report_agrees_with_the_functions():
    Y, S, p, _ = random_problem()
    report = metrics.ranking_report(Y, S, propensity=p)
    for k in (1, 3, 5):
        for short, metric in PLAIN.items():
            assert report.pop(f"{short}@{k}") == metric(Y, S, k)
        for short, metric in WEIGHTED.items():
            assert report.pop(f"{short}@{k}") == metric(Y, S, k, propensity=p)
    assert not report
    plain = metrics.ranking_report(Y, S)
    assert not any(key.startswith("PS") for key in plain) and len(plain) == 21
    assert all(type(value) is float for value in plain.values())


# Propensity


@pytest.mark.parametrize("container", [np.asarray, *SPARSE])
def test_propensity_check_values(container):
    Y = np.zeros((1000, 3), dtype=int)
    Y[0, 1], Y[:10, 2] = 1, 1
    q = 1 / metrics.propensity(container(Y))
    np.testing.assert_allclose(q, [8.824188577703566, math.log(1000), 3.55214702350837])


@pytest.mark.parametrize("a, b", [(0.55, 1.5), (0.6, 2.6), (0.5, 0.4)])
def test_label_of_one_document_has_q_ln_n(a, b):
    Y = np.eye(50, dtype=int)
    p = metrics.propensity(Y, a=a, b=b)
    assert p.dtype == np.float64
    np.testing.assert_allclose(1 / p, math.log(50))


def test_propensity_grows_with_frequency_and_ignores_explicit_zeros():
    Y = np.tri(40, 30, dtype=int)
    p = metrics.propensity(Y)
    assert (np.diff(p) < 0).all() and (p > 0).all() and (p < 1).all()
    full = csr_with_explicit_zeros(Y, np.ones(Y.shape, bool), sp.csr_array)
    np.testing.assert_array_equal(metrics.propensity(full), p)


@pytest.mark.parametrize("n_docs", [1, 2])
def test_propensity_of_tiny_data_is_1(n_docs):
    np.testing.assert_array_equal(metrics.propensity(np.ones((n_docs, 2))), [1, 1])


# Errors


@pytest.mark.parametrize(
    "y_true, y_score, message",
    [
        ([1, 0], [[0.1, 0.2]], "y_true must be 2-D.*got shape (2,)"),
        (np.empty((0, 3)), np.empty((0, 3)), "at least one row.*got shape (0, 3)"),
        (np.empty((3, 0)), np.empty((3, 0)), "one label, got shape (3, 0)"),
        ([["a", "b"]], [[0.1, 0.2]], "list of labels for each document"),
        (np.array([["a", "b"]]), [[0.1, 0.2]], "numbers 0 and 1, got dtype <U1"),
        ([[2, 0]], [[0.1, 0.2]], "0 and 1 only, got 2"),
        ([[-1.0, 0]], [[0.1, 0.2]], "0 and 1 only, got -1.0"),
        ([[np.nan, 0]], [[0.1, 0.2]], "0 and 1 only, got nan"),
        ([[1, 0]], [[0.1, np.nan]], "y_score holds NaN in row 0"),
        ([[1, 0]] * 3, sp.csr_array([[0, 1], [0, np.nan], [0, 1]]), "NaN in row 1"),
        ([[1, 0]], [[0.1, 0.2, 0.3]], "scores of shape (1, 3).*shape (1, 2)"),
        ([[1, 0]], sp.csr_array((2, 2)), "scores of shape (2, 2).*shape (1, 2)"),
        ([[1, 0]], [0.1, 0.2], "scores of shape (2,)"),
        ([[1, 0]], [[0], [1]], "label ids of shape (2, 1).*ids of shape (1, m)"),
        ([[1, 0]], [0, 1], "label ids of shape (2,)"),
        ([[1, 0]], [["a", "b"]], "scores or integer label ids, got dtype <U1"),
        ([[1, 0]], np.array([[True, False]]), "got dtype bool"),
        ([[1, 0]] * 2, [[0, -1], [1, 2]], "y_score[1] holds label id 2, expected"),
        ([[1, 0]], [[-2, 0]], "y_score[0] holds label id -2, expected"),
        ([[1, 0]] * 2, [[-1, -1], [1, 1]], "y_score[1] holds label id 1 more than"),
    ],
)
def test_malformed_input(y_true, y_score, message):
    pattern = ".*".join(re.escape(part) for part in message.split(".*"))
    for metric in PLAIN.values():
        with pytest.raises(ValueError, match=pattern):
            metric(y_true, y_score, 1)


@pytest.mark.parametrize("kind", SPARSE)
def test_truth_with_a_repeated_entry_is_refused(kind):
    Y = kind((np.ones(2), np.zeros(2, int), np.array([0, 2])), shape=(1, 2))
    with pytest.raises(ValueError, match="0 and 1 only, got 2.0"):
        metrics.precision_at_k(Y, [[0.1, 0.2]], 1)


@pytest.mark.parametrize("k", [0, -1, 1.0, True, None, "5", [], (1, 0), [[1]]])
def test_bad_k(k):
    with pytest.raises(ValueError, match="k must be an integer >= 1"):
        metrics.precision_at_k(Y1, IDS1, k)
    with pytest.raises(ValueError, match="k must be an integer >= 1"):
        metrics.ranking_report_scorer(ks=k)


@pytest.mark.parametrize(
    "propensity, message",
    [
        (None, r"must have shape \(3,\).*got shape \(\)"),
        ([0.5, 0.5], r"must have shape \(3,\).*got shape \(2,\)"),
        ([0.5, 0.0, 0.5], r"in \(0, 1\], got 0.0 for label 1"),
        ([0.5, 0.5, 3.0], r"in \(0, 1\], got 3.0 for label 2. Pass 1 / q"),
        ([np.nan, 0.5, 0.5], r"in \(0, 1\], got nan for label 0"),
    ],
)
@pytest.mark.parametrize("metric", WEIGHTED.values())
def test_bad_propensity(metric, propensity, message):
    with pytest.raises(ValueError, match=message):
        metric(Y1, IDS1, 2, propensity=propensity)


def test_bad_input_of_propensity():
    with pytest.raises(ValueError, match="Y must hold 0 and 1 only, got 3"):
        metrics.propensity([[3]])
    for a, b in [(-1, 1.5), (0.55, 0), (np.nan, 1.5)]:
        with pytest.raises(ValueError, match="a >= 0 and b > 0, got a="):
            metrics.propensity(Y1, a=a, b=b)


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


@pytest.mark.parametrize("container", [np.asarray, *SPARSE])
@pytest.mark.parametrize("ranker", [ColumnRanker, TopKRanker])
@pytest.mark.parametrize("name", METRICS)
def test_scorer_equals_metric(name, ranker, container):
    X, Y = scorer_problem(container)
    model = ranker().fit(X[:20], Y[:20])
    p = metrics.propensity(Y[:20], a=0.6, b=2.6)
    options = {"propensity": p} if name.startswith("ps") else {}
    expected = getattr(metrics, f"{name}_at_k")(Y[20:], X[20:], 3, **options)
    got = metrics.ranking_scorer(name, 3, a=0.6, b=2.6)(model, X[20:], Y[20:])
    assert type(got) is float and got == pytest.approx(expected)


def test_given_propensity_wins():
    X, Y = scorer_problem()
    model = ColumnRanker().fit(X, Y)
    p = np.linspace(0.1, 1, 8)
    got = metrics.ranking_scorer("psp", 3, propensity=p)(model, X, Y)
    assert got == metrics.psp_at_k(Y, X, 3, propensity=p)
    assert got != metrics.psp_at_3_scorer(model, X, Y)


@pytest.mark.parametrize(
    "scorer, name, k",
    [
        (metrics.precision_at_1_scorer, "P", 1),
        (metrics.precision_at_3_scorer, "P", 3),
        (metrics.precision_at_5_scorer, "P", 5),
        (metrics.recall_at_5_scorer, "R", 5),
        (metrics.ndcg_at_3_scorer, "nDCG", 3),
        (metrics.ndcg_at_5_scorer, "nDCG", 5),
        (metrics.psp_at_1_scorer, "PSP", 1),
        (metrics.psp_at_3_scorer, "PSP", 3),
        (metrics.psp_at_5_scorer, "PSP", 5),
    ],
)
def test_ready_made_scorers_and_report_scorer(scorer, name, k):
    X, Y = scorer_problem()
    model = ColumnRanker().fit(X, Y)
    expected = metrics.ranking_report(Y, X, propensity=metrics.propensity(Y))
    assert_reports_equal(metrics.ranking_report_scorer()(model, X, Y), expected)
    assert scorer(model, X, Y) == pytest.approx(expected[f"{name}@{k}"])


def test_report_scorer_predicts_once_for_the_largest_k():
    X, Y = scorer_problem()
    model = TopKRanker().fit(X, Y)
    metrics.ranking_report_scorer(ks=(3, 1))(model, X, Y)
    assert model.asked_ == 3
    metrics.ranking_report_scorer(ks=100)(model, X, Y)
    assert model.asked_ == 8  # n_labels


def test_predict_proba_is_the_last_resort_and_integers_are_scores():
    class Probabilities(Bare):
        def predict_proba(self, X):
            return np.array([[0, 1, 0], [1, 0, 0]])

    Y = np.array([[0, 1, 0], [1, 0, 0]])
    assert metrics.precision_at_1_scorer(Probabilities(), Y, Y) == 1


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_decision_function(kind):
    class Sparse(ColumnRanker):
        def decision_function(self, X):
            return kind(np.where(X > 0, X, 0))

    X, Y = scorer_problem(kind)
    expected = metrics.ndcg_at_k(Y, sp.csr_array(np.where(X > 0, X, 0)), 5)
    assert metrics.ndcg_at_5_scorer(Sparse().fit(X, Y), X, Y) == expected


def test_counts_are_found_inside_pipeline_and_search():
    X, Y = scorer_problem()
    expected = metrics.psp_at_5_scorer(ColumnRanker().fit(X, Y), X, Y)
    assert expected < 1
    pipe = make_pipeline(FunctionTransformer(), ColumnRanker())
    assert metrics.psp_at_5_scorer(pipe.fit(X, Y), X, Y) == expected
    grid = {"columnranker__sign": [1.0, -1.0]}
    search = GridSearchCV(pipe, grid, scoring=metrics.psp_at_5_scorer, cv=2)
    nested = make_pipeline(FunctionTransformer(), search.fit(X, Y))
    assert metrics.psp_at_5_scorer(nested, X, Y) == expected


@pytest.mark.parametrize("wrap", [make_pipeline, lambda search: search])
@pytest.mark.parametrize("inner", [make_pipeline, lambda model: model])
def test_top_k_does_not_cut_what_a_search_ranks(inner, wrap, colours):
    texts, Y, _ = colours
    model = LightDXMLClassifier(
        top_k=3, label_dim=8, max_epochs=1, validation_fraction=0, random_state=0
    )
    search = wrap(GridSearchCV(inner(model), {}, cv=2)).fit(texts, Y)
    ids, _ = model.fit(texts, Y).predict_topk(texts, k=5)
    np.testing.assert_array_equal(_functions.scores_of(search, texts, 12, 5), ids)
    np.testing.assert_array_equal(_functions.topk_of(search, texts, 5)[0], ids)
    assert metrics.ranking_scorer("recall", 12)(search, texts, Y) == 1


def test_predict_topk_of_a_wrapper_comes_first():
    class Reversed(GridSearchCV):
        def predict_topk(self, X, k):
            ids, scores = self.best_estimator_.predict_topk(X, k)
            return ids[:, ::-1], scores[:, ::-1]

    X, Y = scorer_problem()
    search = Reversed(TopKRanker(), {}, cv=2, scoring=metrics.ndcg_at_5_scorer)
    ids, _ = search.fit(X, Y).best_estimator_.predict_topk(X, 5)
    np.testing.assert_array_equal(_functions.scores_of(search, X, 8, 5), ids[:, ::-1])


@pytest.mark.parametrize("kind", SPARSE)
def test_grid_search_over_processes_with_report_scorer(kind):
    X, Y = scorer_problem(kind)
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), ColumnRanker()),
        {"columnranker__sign": [-1.0, 1.0]},
        scoring=metrics.ranking_report_scorer(ks=(1, 5)),
        refit="PSP@5",
        cv=2,
        n_jobs=2,
        error_score="raise",
    ).fit(X, Y)
    assert search.best_params_ == {"columnranker__sign": 1.0}
    # The folds are the halves, each scored with the counts of the other half.
    folds = [
        metrics.psp_at_k(Y[test], X[test], 5, propensity=metrics.propensity(Y[train]))
        for train, test in [(slice(20, 40), slice(20)), (slice(20), slice(20, 40))]
    ]
    assert search.cv_results_["mean_test_PSP@5"][1] == pytest.approx(np.mean(folds))
    assert search.score(X, Y) == pytest.approx(
        metrics.psp_at_k(Y, X, 5, propensity=metrics.propensity(Y))
    )


def test_with_scikit_learn_classifiers_and_routing():
    X, Y = scorer_problem()
    model = OneVsRestClassifier(GaussianNB())
    scores = cross_val_score(model, X, Y, scoring=metrics.ndcg_at_3_scorer, cv=2)
    assert (scores > 0.5).all()
    report = metrics.ranking_report_scorer(ks=1, propensity=False)
    with config_context(enable_metadata_routing=True):
        results = cross_validate(model, X, Y, scoring=report, cv=2)
        assert "test_nDCG@1" in results and "test_PSP@1" not in results
        search = GridSearchCV(model, {}, scoring=report, refit="P@1", cv=2)
        assert 0 < search.fit(X, Y).best_score_ <= 1


@pytest.mark.parametrize("classes", [[0, 1], ["b", "a"], ["b", "c", "a"]])
def test_one_dimensional_y_is_mapped_through_classes(classes):
    rng = np.random.default_rng(0)
    y = rng.choice(classes, 60)
    X = (y[:, None] == np.array(classes)) + rng.normal(size=(60, len(classes)))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    accuracy = model.score(X, y)
    assert 1 / len(classes) < accuracy < 1
    assert metrics.precision_at_1_scorer(model, X, y) == pytest.approx(accuracy)
    assert metrics.precision_at_1_scorer(model, X, list(y)) == pytest.approx(accuracy)


def test_unsorted_classes_and_a_class_unseen_in_training():
    class Unsorted(ColumnRanker):
        classes_ = np.array(["c", "a", "b"])

    X = np.array([[3.0, 2, 1], [1, 3, 2], [1, 2, 3], [3, 2, 1]])
    scorer = metrics.precision_at_1_scorer
    assert scorer(Unsorted(), X, np.array(["c", "a", "b", "zz"])) == 0.75


@pytest.mark.parametrize("as_list", [False, True])
def test_scorers_can_be_pickled_cloned_and_copied(as_list):
    X, Y = scorer_problem()
    model = ColumnRanker().fit(X, Y)
    p = metrics.propensity(Y)
    p = list(p) if as_list else p
    for scorer in (
        metrics.psp_at_3_scorer,
        metrics.ranking_scorer("macro_f1", 2, propensity=p),
        metrics.ranking_report_scorer((1, 2), propensity=p),
    ):
        expected = scorer(model, X, Y)
        for other in (
            pickle.loads(pickle.dumps(scorer)),
            clone(scorer),
            copy.deepcopy(scorer),
        ):
            assert other is not scorer and other(model, X, Y) == expected


def test_errors_of_scorers():
    X, Y = scorer_problem()
    with pytest.raises(ValueError, match="metric must be one of precision,.*'f2'"):
        metrics.ranking_scorer("f2")
    with pytest.raises(ValueError, match="k must be an integer >= 1.*got 0"):
        metrics.ranking_scorer("ndcg", 0)
    with pytest.raises(ValueError, match=r"k must be one integer, got \(1, 3\)"):
        metrics.ranking_scorer("ndcg", (1, 3))
    plain = OneVsRestClassifier(GaussianNB()).fit(X, Y)
    for scorer in (metrics.psp_at_1_scorer, metrics.ranking_report_scorer()):
        with pytest.raises(ValueError, match="OneVsRest.* no fitted label_counts_"):
            scorer(plain, X, Y)
        with pytest.raises(ValueError, match="Pass propensity="):
            scorer(make_pipeline(plain), X, Y)
    with pytest.raises(ValueError, match="Bare has none of predict_topk"):
        metrics.precision_at_1_scorer(Bare(), X, Y)
    with pytest.raises(ValueError, match="y is 1-D, but Bare has no classes_"):
        metrics.precision_at_1_scorer(Bare(), X, Y[:, 0])
    forest = RandomForestClassifier(2).fit(X, Y)
    with pytest.raises(ValueError, match="predict_proba returned a list of 8 arrays"):
        metrics.precision_at_1_scorer(forest, X, Y)
    constant = DummyClassifier().fit(X, Y[:, 1])
    with pytest.raises(ValueError, match=r"y_score holds scores of shape \(40, 2\)"):
        metrics.precision_at_1_scorer(constant, X, Y)


def test_docstrings():
    assert "%(" not in "".join(m.__doc__ for m in (PLAIN | WEIGHTED).values())
    results = doctest.testmod(_functions)
    assert results.attempted >= 25 and results.failed == 0
