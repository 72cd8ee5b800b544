"""Metrics of the best k labels: values by hand, brute force, malformed input."""

import doctest
import math
import re
import warnings
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_examples import (
    IDS1,
    P1,
    PLAIN,
    SPARSE,
    WEIGHTED,
    Y1,
    assert_reports_equal,
    csr_with_explicit_zeros,
)
from sklearn.exceptions import UndefinedMetricWarning

from skxmc import metrics
from skxmc.metrics import _functions, _propensity, _ranking, _scorers

pairs = partial(zip, strict=True)


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


def test_docstrings():
    assert "%(" not in "".join(m.__doc__ for m in (PLAIN | WEIGHTED).values())
    results = [doctest.testmod(m) for m in (_functions, _propensity, _scorers)]
    assert sum(each.attempted for each in results) >= 25
    assert not any(each.failed for each in results)
