"""Pictures of how well frequent and rare labels are found."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from inspection_examples import (
    N_TRAIN,
    SHORT,
    are_apart,
    heights,
    held_out,
    tick_texts,
    train_counts,
)
from matplotlib.figure import Figure
from numpy.testing import assert_array_equal
from sklearn.exceptions import UndefinedMetricWarning

from skxmc import GRankClassifier
from skxmc.inspection import FrequencyBinsDisplay

pytest_plugins = ["inspection_fixtures"]
pytestmark = pytest.mark.usefixtures("no_figures")

METRICS = ("recall", "precision", "coverage")


def random_ids(rng, n_docs, n_labels, width):
    """Ids of the best labels, of some documents fewer than of others."""
    ids = rng.permuted(np.tile(np.arange(n_labels), (n_docs, 1)), axis=1)[:, :width]
    n_ranked = rng.integers(0, width + 1, n_docs)
    return np.where(np.arange(ids.shape[1]) < n_ranked[:, None], ids, -1)


# Frequency bins


def bins_by_hand(Y, ids, counts, edges, metric):
    """Values, labels and occurrences of each bin, one document after the other."""
    values, n_labels, n_pairs = [], [], []
    lows, highs = [0, *edges], [*edges, np.inf]
    for low, high in zip(lows, highs, strict=True):
        bin_ = {j for j, n in enumerate(counts) if low <= n < high}
        true = [(i, j) for i, row in enumerate(Y) for j in bin_ if row[j]]
        said = [(i, j) for i, row in enumerate(ids) for j in row if j in bin_]
        part = len(set(true) & set(said))
        whole = {"recall": len(true), "precision": len(said)}.get(metric)
        if metric == "coverage":
            part = len({j for _, j in set(true) & set(said)})
            whole = len({j for _, j in true})
        values.append(part / whole if whole else np.nan)
        n_labels.append(len(bin_))
        n_pairs.append(len(true))
    return values, n_labels, n_pairs


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 9),
    edges=st.lists(st.integers(1, 30), min_size=1, max_size=5, unique=True).map(sorted),
    metric=st.sampled_from(METRICS),
)
def test_bins_are_those_of_a_loop(seed, k, edges, metric):
    rng = np.random.default_rng(seed)
    n_docs, n_labels = rng.integers(1, 8, 2)
    Y = rng.random((n_docs, n_labels)) < 0.4
    Y[0, 0] = True
    ids = random_ids(rng, n_docs, n_labels, 6)
    counts = rng.integers(0, 35, n_labels)
    display = FrequencyBinsDisplay.from_predictions(
        sp.csr_array(Y) if seed % 2 else Y,
        ids,
        label_counts=counts,
        k=k,
        edges=edges,
        metric=metric,
        ax=Figure().subplots(),
    )
    expected = bins_by_hand(Y, ids[:, :k], counts, edges, metric)
    assert_array_equal(display.values, expected[0])
    assert_array_equal(display.n_labels, expected[1])
    assert_array_equal(display.n_pairs, expected[2])
    assert display.edges == tuple(edges)
    assert (display.metric, display.k) == (metric, k)
    assert_array_equal(heights(display), np.nan_to_num(expected[0]))


@pytest.mark.parametrize("metric", METRICS)
def test_bins_of_scores_are_those_of_ids(metric):
    rng = np.random.default_rng(0)
    Y, scores = rng.random((20, 9)) < 0.3, rng.random((20, 9))
    options = dict(label_counts=range(9), k=3, edges=(2, 5), metric=metric)
    values = [
        FrequencyBinsDisplay.from_predictions(Y, said, **options).values
        for said in (scores, sp.csr_array(scores), np.argsort(-scores, axis=1))
    ]
    assert_array_equal(values[0], values[1])
    assert_array_equal(values[0], values[2])
    assert len(set(values[0])) > 1


def test_recall_of_one_bin_is_the_share_of_all_labels_found():
    Y, ids = [[1, 1, 1, 1], [1, 0, 0, 0]], [[0], [0]]
    display = FrequencyBinsDisplay.from_predictions(
        Y, np.array(ids), label_counts=[5] * 4, edges=5, k=1
    )
    # Not the mean of the documents' recalls, which is 5/8.
    assert display.values[1] == 2 / 5 and np.isnan(display.values[0])


@pytest.mark.parametrize(
    "edges, texts",
    [
        ((10, 100), ["0 to 9", "10 to 99", "100 or more"]),
        (7, ["0 to 6", "7 or more"]),
        (np.int64(1), ["0", "1 or more"]),
        ([1, 2, 4], ["0", "1", "2 to 3", "4 or more"]),
        (np.array([3, 5, 6]), ["0 to 2", "3 to 4", "5", "6 or more"]),
        (range(1, 7), ["0", "1", "2", "3", "4", "5", "6 or more"]),
    ],
)
def test_bins_are_named_by_their_edges(edges, texts):
    display = FrequencyBinsDisplay.from_predictions(
        np.eye(3), np.eye(3), label_counts=[0, 4, 1000], edges=edges, name="x", k=2
    )
    found = [text.split("\n") for text in tick_texts(display.ax_.xaxis)]
    assert [text for text, _ in found] == texts
    plural = {1: "label"}
    assert [n for _, n in found] == [
        f"{n} {plural.get(n, 'labels')}" for n in display.n_labels.tolist()
    ]
    assert all(type(edge) is int for edge in display.edges)
    assert display.ax_.get_ylabel() == "recall at 2"
    assert display.ax_.get_title() == "x"


@pytest.mark.parametrize("n_bins", range(2, 9))
def test_names_of_bins_do_not_overlap(n_bins):
    edges = (10, 100, 1000, 2000, 3000, 4000, 5000)[: n_bins - 1]
    figure = Figure(figsize=(4, 3), layout="constrained")
    display = FrequencyBinsDisplay.from_predictions(
        np.eye(3), np.eye(3), label_counts=[1] * 3, edges=edges, ax=figure.subplots()
    )
    assert are_apart(display.ax_.xaxis)
    flat = {tick.get_rotation() for tick in display.ax_.get_xticklabels()} == {0}
    assert flat == (n_bins < 4)


@pytest.mark.parametrize(
    "edges", [(), 0, -1, (0, 5), (5, 5), (10, 5), 2.5, (1, 2.5), "10", None, [[1, 2]]]
)
def test_edges_must_rise_from_1(edges):
    with pytest.raises(ValueError, match="edges must be ascending integers from 1"):
        FrequencyBinsDisplay.from_predictions(
            np.eye(3), np.eye(3), label_counts=[1, 2, 3], edges=edges
        )


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(label_counts=[1, 2]), r"label_counts must have shape \(3,\), got \(2,\)"),
        (dict(label_counts=[[1, 2, 3]]), r"got \(1, 3\)"),
        (dict(metric="f1"), "metric must be one of"),
        (dict(k=0), "k must be an int, at least 1"),
        (dict(k=(1, 3)), "k must be an int"),
        (dict(k=True), "k must be an int"),
    ],
)
def test_bad_input_to_bins(params, message):
    with pytest.raises(ValueError, match=message):
        FrequencyBinsDisplay.from_predictions(
            np.eye(3), np.eye(3), **dict(label_counts=[1, 2, 3]) | params
        )
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    "metric, values",
    [
        ("recall", [np.nan, np.nan, 0.5]),  # the label of 20 is in no document
        ("precision", [np.nan, 0.0, 1.0]),  # that of 5 is never said
        ("coverage", [np.nan, np.nan, 1.0]),
    ],
)
def test_a_bin_with_nothing_to_measure_is_a_dash(metric, values):
    Y, ids = np.array([[0, 0, 1], [0, 0, 1]]), np.array([[2, -1], [1, -1]])
    display = FrequencyBinsDisplay.from_predictions(
        Y, ids, label_counts=[5, 20, 300], metric=metric
    )
    assert_array_equal(display.values, values)
    texts = [text.get_text() for text in display.ax_.texts]
    assert texts == ["-" if np.isnan(v) else f"{v:.2f}" for v in values]
    assert_array_equal(heights(display), np.nan_to_num(values))


def test_bins_without_any_truth():
    with pytest.warns(UndefinedMetricWarning):
        display = FrequencyBinsDisplay.from_predictions(
            np.zeros((2, 3)), np.eye(3)[:2], label_counts=[1, 20, 300]
        )
    assert np.isnan(display.values).all()
    assert [text.get_text() for text in display.ax_.texts] == ["-"] * 3


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["grank", "lightdxml"])
def test_bins_of_a_classifier(kind, metric, request, colours, features):
    model = request.getfixturevalue(kind)
    X, Y = held_out(colours, features if kind == "grank" else None)
    options = dict(k=3, edges=(10, 15), metric=metric)
    display = FrequencyBinsDisplay.from_estimator(model, X, Y, **options)
    expected = FrequencyBinsDisplay.from_predictions(
        Y, model.predict_topk(X, 3)[0], label_counts=train_counts(colours), **options
    )
    assert_array_equal(display.values, expected.values)
    assert_array_equal(display.n_labels, expected.n_labels)
    assert display.n_labels.sum() == 12 and display.n_pairs.sum() == Y.sum()
    assert display.name == display.ax_.get_title() == type(model).__name__
    assert expected.name is None and not expected.ax_.get_title()


def test_bins_of_a_pipeline(pipeline, colours):
    texts, Y = held_out(colours)
    display = FrequencyBinsDisplay.from_estimator(pipeline, texts, Y, name="mine")
    last = FrequencyBinsDisplay.from_estimator(
        pipeline[-1], pipeline[:-1].transform(texts), Y
    )
    assert_array_equal(display.values, last.values)
    assert_array_equal(display.n_labels, last.n_labels)
    assert display.name == "mine"


def test_bins_of_an_estimator_of_scikit_learn(one_vs_rest, colours, features):
    X, Y = held_out(colours, features)
    with pytest.raises(ValueError, match="OneVsRest.*no fitted label_counts_.*Y_train"):
        FrequencyBinsDisplay.from_estimator(one_vs_rest, X, Y)
    # What the message advises.
    Y_train = colours[1][:N_TRAIN]
    counts = np.asarray(Y_train.sum(axis=0)).ravel()
    options = dict(label_counts=counts, edges=15, k=3)
    display = FrequencyBinsDisplay.from_estimator(one_vs_rest, X, Y, **options)
    scores = one_vs_rest.predict_proba(X)
    expected = FrequencyBinsDisplay.from_predictions(Y, scores, **options)
    assert_array_equal(display.values, expected.values)
    assert (display.values > 0.5).all()


def test_counts_that_are_given_come_first(grank, colours, features):
    args = grank, *held_out(colours, features)
    display = FrequencyBinsDisplay.from_estimator(*args, label_counts=[1000] * 12)
    assert_array_equal(display.n_labels, [0, 0, 12])


def test_more_labels_than_there_are(grank, colours, features):
    args = grank, *held_out(colours, features)
    display = FrequencyBinsDisplay.from_estimator(*args, k=100, edges=1)
    assert_array_equal(display.values, [np.nan, 1])
    assert display.ax_.get_ylabel() == "recall at 100"


def test_bins_of_classes(features, colours):
    words = np.array([text.split()[0] for text in colours[0]])
    model = GRankClassifier(**SHORT).fit(features[:50], words[:50])
    display = FrequencyBinsDisplay.from_estimator(
        model, features, words, k=1, edges=1, metric="recall"
    )
    seen = np.isin(words, model.classes_)
    right = model.predict(features[seen]) == words[seen]
    assert_array_equal(display.values, [np.nan, right.mean()])
    assert display.n_pairs[1] == seen.sum()
