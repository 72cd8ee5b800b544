"""Pictures of rankings and label sets, and explanations of single predictions."""

import html
import importlib
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

import skxmc
from skxmc import (
    EnsembleClassifier,
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
    inspection,
    metrics,
)
from skxmc._words import WORD
from skxmc.cluster import BalancedKMeans
from skxmc.inspection import (
    ClusterSizesDisplay,
    CooccurrenceDisplay,
    Explanation,
    FrequencyBinsDisplay,
    HistoryDisplay,
    RankingCurveDisplay,
    explain,
)

SMALL = dict(
    label_dim=8,
    max_epochs=8,
    batch_size=8,
    head_learning_rate=3e-2,
    dropout=0.0,
    validation_fraction=0,
    precision="fp32",
    random_state=0,
)
SHORT = SMALL | dict(max_epochs=1)
TEXTS = dict(n_layers=1, max_length=16, learning_rate=1e-2, head_learning_rate=1e-2)
N_TRAIN = 45
METRICS = ("recall", "precision", "coverage")
NAMES = {
    "precision": "P",
    "recall": "R",
    "ndcg": "nDCG",
    "psp": "PSP",
    "psndcg": "PSnDCG",
    "coverage": "coverage",
    "macro_precision": "macroP",
    "macro_recall": "macroR",
    "macro_f1": "macroF1",
}
HISTORY = [dict(epoch=e, loss=4.0 / e, score=0.1 * e) for e in (1, 2, 3)]
DRAW = {
    "bins": lambda **options: FrequencyBinsDisplay.from_predictions(
        np.eye(3), np.eye(3), label_counts=[1, 20, 300], **options
    ),
    "curve": lambda **options: RankingCurveDisplay.from_predictions(
        np.eye(3), np.eye(3), **options
    ),
    "history": lambda **options: HistoryDisplay.from_estimator(
        SimpleNamespace(history_=HISTORY), **options
    ),
    "cooccurrence": lambda **options: CooccurrenceDisplay.from_labels(
        np.eye(3), **options
    ),
    "clusters": lambda **options: ClusterSizesDisplay.from_groups([0, 0, 1], **options),
    "explanation": lambda ax=None, **options: Explanation(
        text="red fox",
        label="x",
        probability=0.5,
        spans=[(0, 3), (4, 7)],
        weights=np.array([1.0, -2.0]),
    ).plot(ax, **options),
}


class Words(ClassifierMixin, BaseEstimator):
    """The log-odds of a label are its own and those that the words of a text add.

    Only labels of a probability of at least `least` are ranked.
    """

    def __init__(self, own=(), words=None, names=None, least=0):
        self.own = own
        self.words = words
        self.names = names
        self.least = least
        self.fit()

    def fit(self, X=None, y=None):
        self.n_labels_ = len(self.own)
        self.label_names_ = np.arange(self.n_labels_)
        if self.names is not None:
            self.label_names_ = np.array(self.names, object)
        return self

    def predict_topk(self, X, k=5):
        nothing = np.zeros(self.n_labels_)
        added = [
            sum((self.words.get(w, nothing) for w in re.findall(WORD, text)), nothing)
            for text in X
        ]
        scores = expit(np.add(self.own, added))
        ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, ids, axis=1)
        kept = scores >= self.least
        return np.where(kept, ids, -1), np.where(kept, scores, 0).astype(np.float32)


@pytest.fixture(autouse=True)
def no_figures():
    assert not plt.get_fignums()
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.subplots()[1]


@pytest.fixture(scope="module")
def features(colours):
    return TfidfVectorizer().fit_transform(colours[0])


@pytest.fixture(scope="module")
def grank(features, colours):
    """Fitted on the features of the first texts."""
    return GRankClassifier(**SMALL).fit(features[:N_TRAIN], colours[1][:N_TRAIN])


@pytest.fixture(scope="module")
def clustered(features, colours):
    """Four clusters of three labels, and documents held out."""
    params = dict(max_leaf_size=3, predict_shortlist=2, validation_fraction=0.2)
    return GRankClassifier(**SMALL | params).fit(features, colours[1])


@pytest.fixture(scope="module")
def pipeline(colours):
    texts, Y, _ = colours
    params = SMALL | dict(label_dim=16, max_epochs=16)
    model = make_pipeline(TfidfVectorizer(), GRankClassifier(**params))
    return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])


@pytest.fixture(scope="module")
def lightdxml(colours):
    texts, Y, words = colours
    params = SMALL | dict(label_dim=16, learning_rate=1e-2, head_learning_rate=1e-2)
    model = LightDXMLClassifier(n_frequent=4, label_names=words, **params)
    return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])


@pytest.fixture(scope="module")
def reader(tiny_encoder, colours):
    """GRankClassifier that reads texts by a transformer."""
    texts, Y, words = colours
    params = SMALL | TEXTS | dict(label_dim=None, max_epochs=15, label_names=words)
    model = GRankClassifier(tiny_encoder, **params)
    return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])


@pytest.fixture(scope="module")
def one_vs_rest(features, colours):
    model = OneVsRestClassifier(BernoulliNB())
    return model.fit(features[:N_TRAIN], colours[1][:N_TRAIN])


def train_counts(colours):
    return np.asarray(colours[1][:N_TRAIN].sum(axis=0)).ravel()


def held_out(colours, features=None):
    """Documents that no model here was trained on, and their labels."""
    X = colours[0] if features is None else features
    return X[N_TRAIN:], colours[1][N_TRAIN:]


def tick_texts(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def are_apart(axis):
    """Whether no tick label touches the next one, on a picture that is drawn."""
    axis.figure.draw_without_rendering()
    boxes = [tick.get_window_extent() for tick in axis.get_ticklabels()]
    return not any(map(Bbox.overlaps, boxes, boxes[1:]))


def heights(display):
    return [bar.get_height() for bar in display.bars_]


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def random_ids(rng, n_docs, n_labels, width):
    """Ids of the best labels, of some documents fewer than of others."""
    ids = rng.permuted(np.tile(np.arange(n_labels), (n_docs, 1)), axis=1)[:, :width]
    n_ranked = rng.integers(0, width + 1, n_docs)
    return np.where(np.arange(ids.shape[1]) < n_ranked[:, None], ids, -1)


# All displays


@pytest.mark.parametrize("kind", DRAW)
def test_axes_that_are_given_are_drawn_on(kind, ax):
    display = DRAW[kind](ax=ax)
    assert display.ax_ is ax and display.figure_ is ax.figure
    assert len(plt.get_fignums()) == 1
    assert ax.has_data()


@pytest.mark.parametrize("kind", DRAW)
def test_without_axes_there_is_a_new_figure(kind, ax):
    display = DRAW[kind]()
    assert display.figure_ is not ax.figure and display.ax_.figure is display.figure_
    assert len(plt.get_fignums()) == 2 and not ax.has_data()
    display.figure_.draw_without_rendering()


@pytest.mark.parametrize("kind", DRAW)
def test_plot_draws_again(kind, ax):
    display = DRAW[kind]()
    first = display.ax_
    assert display.plot(ax) is display
    assert display.ax_ is ax and ax.has_data()
    assert display.plot() is display
    assert display.ax_ not in (ax, first)


@pytest.mark.parametrize("kind", DRAW)
def test_without_matplotlib_there_is_advice(kind, monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        DRAW[kind]()


def test_only_pictures_need_matplotlib(monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(skxmc, "inspection", inspection)  # put back afterwards
    for name in [name for name in sys.modules if name.startswith("skxmc.inspection")]:
        monkeypatch.delitem(sys.modules, name)
    again = importlib.import_module("skxmc.inspection")
    model = Words([0.0], {"red": np.array([1.0])})
    assert_allclose(again.explain(model, "red fox", 0).weights, [1, 0], atol=1e-5)


@pytest.mark.parametrize("kind", ["bins", "clusters"])
def test_options_of_bars(kind):
    bars = DRAW[kind](color="C3", width=0.5).bars_
    assert all(same_color(bar.get_facecolor(), "C3") for bar in bars)
    assert all(bar.get_width() == 0.5 for bar in bars)


def test_options_of_other_things():
    display = DRAW["curve"](linestyle="--", marker="x")
    assert {(line.get_linestyle(), line.get_marker()) for line in display.lines_} == {
        ("--", "x")
    }
    display = DRAW["history"](linestyle="--")
    for axes in (display.ax_, display.score_ax_):
        assert [line.get_linestyle() for line in axes.get_lines()] == ["--"]
    assert DRAW["cooccurrence"](cmap="Reds", vmax=0.5).image_.get_clim() == (0, 0.5)
    display = DRAW["explanation"](color="C2")
    assert all(same_color(bar.get_facecolor(), "C2") for bar in display.ax_.patches)


def test_colour_of_the_history():
    DRAW["history"](color="black")


def test_label_of_the_history():
    display = DRAW["history"](label="mine")
    assert "mine" in legend_texts(display.ax_)


@pytest.mark.parametrize("kind", ["curve", "history", "clusters"])
@pytest.mark.parametrize("prepare", ["ticks", "log"])
def test_axes_with_ticks_of_their_own(kind, prepare, ax):
    if prepare == "ticks":
        ax.set_xticks([1, 3, 5])
    else:
        ax.set_xscale("log")
    DRAW[kind](ax=ax)


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
    with pytest.raises(ValueError, match="edges must be integers from 1, rising"):
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


@pytest.mark.parametrize("searched", [False, True])
@pytest.mark.parametrize("display", [FrequencyBinsDisplay, RankingCurveDisplay])
def test_top_k_of_a_wrapped_classifier_does_not_cut_rankings(
    display, searched, colours
):
    texts, Y, _ = colours
    model = make_pipeline(TfidfVectorizer(), GRankClassifier(**SHORT, top_k=2))
    model = GridSearchCV(model, {}, cv=2) if searched else model
    model.fit(texts, Y)
    if display is FrequencyBinsDisplay:
        drawn = display.from_estimator(model, texts, Y, k=12, edges=1)
        assert drawn.values[1] == 1
    else:
        drawn = display.from_estimator(model, texts, Y, ks=[12], metrics=["recall"])
        assert drawn.curves["recall"] == [1]


def test_a_search_is_looked_into(colours):
    texts, Y, _ = colours
    params = SMALL | dict(max_leaf_size=3, predict_shortlist=2)
    pipe = make_pipeline(TfidfVectorizer(), GRankClassifier(**params))
    search = GridSearchCV(pipe, {}, cv=2).fit(texts, Y)
    best = search.best_estimator_
    assert HistoryDisplay.from_estimator(search).history is best[-1].history_
    assert ClusterSizesDisplay.from_estimator(search).sizes.tolist() == [3, 3, 3, 3]
    column = best[-1].predict_topk(best[:-1].transform(texts[:1]), 1)[0][0, 0]
    expected = explain(best, texts[0], column).weights
    assert_array_equal(explain(search, texts[0], column).weights, expected)


# Ranking curves


@pytest.mark.parametrize("metric", NAMES)
def test_curves_are_the_metrics_at_each_k(metric):
    rng = np.random.default_rng(0)
    Y, scores = rng.random((30, 15)) < 0.2, rng.random((30, 15))
    p = rng.uniform(0.1, 1, 15)
    weighted = dict(propensity=p) if metric in ("psp", "psndcg") else {}
    ks = [1, 2, 3, 7, 15, 20]
    measure = getattr(metrics, f"{metric}_at_k")
    expected = [measure(Y, scores, k, **weighted) for k in ks]
    for said in (scores, sp.csr_array(scores), np.argsort(-scores, axis=1)):
        display = RankingCurveDisplay.from_predictions(
            Y, said, ks=ks, metrics=[metric], propensity=p
        )
        assert_allclose(display.curves[metric], expected, rtol=1e-12)
        assert_array_equal(display.ks, ks)
    (line,) = display.lines_
    assert_array_equal(line.get_xdata(), ks)
    assert_array_equal(line.get_ydata(), display.curves[metric])
    assert legend_texts(display.ax_) == [f"{NAMES[metric]}@k"]


def test_curves_of_unsorted_ks_do_not_turn_back():
    rng = np.random.default_rng(0)
    Y, scores = rng.random((30, 15)) < 0.2, rng.random((30, 15))
    display = RankingCurveDisplay.from_predictions(Y, scores, ks=[7, 1, 3])
    assert_array_equal(display.ks, [1, 3, 7])
    expected = metrics.precision_at_k(Y, scores, [1, 3, 7])
    assert_array_equal(display.curves["precision"], expected)
    assert display.ax_.get_ylabel() == "metric at k"


def test_curves_together():
    rng = np.random.default_rng(0)
    Y, scores = rng.random((30, 15)) < 0.2, rng.random((30, 15))
    display = RankingCurveDisplay.from_predictions(
        Y, scores, metrics=NAMES, propensity=np.ones(15)
    )
    assert_array_equal(display.ks, range(1, 11))
    assert list(display.curves) == list(NAMES)
    report = metrics.ranking_report(Y, scores, display.ks, np.ones(15))
    for metric, curve in display.curves.items():
        expected = [report[f"{NAMES[metric]}@{k}"] for k in display.ks]
        assert_array_equal(curve, expected)
    assert display.ax_.get_ylim() == (0, 1)


def test_one_k_and_no_name():
    display = RankingCurveDisplay.from_predictions(np.eye(3), np.eye(3), ks=np.int64(2))
    assert display.ks.tolist() == [2] and display.name is None
    assert list(display.curves) == ["precision", "recall"]
    assert not display.ax_.get_title()


@pytest.mark.parametrize("kind", ["grank", "lightdxml", "pipeline"])
def test_propensities_are_those_of_the_training_labels(
    kind, request, colours, features
):
    model = request.getfixturevalue(kind)
    X, Y = held_out(colours, features if kind == "grank" else None)
    ks = [1, 3, 5]
    display = RankingCurveDisplay.from_estimator(model, X, Y, ks=ks)
    assert list(display.curves) == ["precision", "recall", "psp"]
    scores = model.decision_function(X)
    p = metrics.propensity(colours[1][:N_TRAIN])
    expected = metrics.psp_at_k(Y, scores, ks, propensity=p)
    assert_allclose(display.curves["psp"], expected, rtol=1e-12)
    assert_array_equal(display.curves["recall"], metrics.recall_at_k(Y, scores, ks))
    assert display.name == display.ax_.get_title() == type(model).__name__


def test_propensities_that_are_given_come_first(grank, colours, features):
    X, Y = held_out(colours, features)
    p = np.linspace(0.01, 1, 12)
    options = dict(ks=[2], metrics=["psp"], propensity=p)
    display = RankingCurveDisplay.from_estimator(grank, X, Y, **options)
    scores = grank.decision_function(X)
    expected = metrics.psp_at_k(Y, scores, 2, propensity=p)
    assert display.curves["psp"] == pytest.approx(expected)
    assert expected != pytest.approx(metrics.precision_at_k(Y, scores, 2))


@pytest.mark.parametrize("metric", ["psp", "psndcg"])
def test_propensities_are_needed(metric, one_vs_rest, colours, features):
    X, Y = held_out(colours, features)
    advice = f"'{metric}' needs propensities: pass propensity=.*propensity.Y_train"
    with pytest.raises(ValueError, match=advice):
        RankingCurveDisplay.from_predictions(np.eye(3), np.eye(3), metrics=[metric])
    with pytest.raises(ValueError, match=advice):
        RankingCurveDisplay.from_estimator(one_vs_rest, X, Y, metrics=[metric])
    assert not plt.get_fignums()
    p = metrics.propensity(colours[1][:N_TRAIN])
    RankingCurveDisplay.from_estimator(
        one_vs_rest, X, Y, metrics=[metric], propensity=p
    )
    RankingCurveDisplay.from_estimator(one_vs_rest, X, Y, metrics=["ndcg"])


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(ks=[0, 1]), "k must be an integer >= 1"),
        (dict(ks=[]), "k must be an integer >= 1"),
        (dict(ks=[1.5]), "k must be an integer >= 1"),
        (dict(metrics=["accuracy"]), "metrics must be one of"),
        (dict(metrics=["psp"], propensity=[1, 1]), "propensity must have shape"),
    ],
)
def test_bad_input_to_curves(params, message):
    with pytest.raises(ValueError, match=message):
        RankingCurveDisplay.from_predictions(np.eye(3), np.eye(3), **params)
    assert not plt.get_fignums()


def test_two_classifiers_on_one_picture(grank, clustered, colours, features, ax):
    args = held_out(colours, features)
    options = dict(metrics=["precision", "recall"], ax=ax)
    RankingCurveDisplay.from_estimator(grank, *args, name="all", **options)
    display = RankingCurveDisplay.from_estimator(clustered, *args, **options)
    assert legend_texts(ax) == [
        *("all, P@k", "all, R@k"),
        *("GRankClassifier, P@k", "GRankClassifier, R@k"),
    ]
    assert len(ax.get_lines()) == 4 and len(display.lines_) == 2
    assert not ax.get_title()


def test_drawing_on_the_axes_of_another_display():
    first = DRAW["curve"](name="one", metrics=["recall"])
    DRAW["curve"](name="two", metrics=["recall"], ax=first.ax_)
    assert legend_texts(first.ax_) == ["one, R@k", "two, R@k"]


# History


def test_history_with_held_out_scores(clustered):
    display = HistoryDisplay.from_estimator(clustered)
    assert display.history is clustered.history_
    epochs = range(1, 9)
    (losses,) = display.ax_.get_lines()
    (scores,) = display.score_ax_.get_lines()
    for line, key in ((losses, "loss"), (scores, "score")):
        assert_array_equal(line.get_xdata(), epochs)
        assert_array_equal(line.get_ydata(), [e[key] for e in clustered.history_])
    assert losses.get_color() != scores.get_color()
    assert display.score_ax_ is not display.ax_
    assert display.score_ax_.get_shared_x_axes().joined(display.score_ax_, display.ax_)
    assert display.score_ax_.get_ylabel() == "held-out precision"
    assert legend_texts(display.ax_) == ["loss", "held-out precision"]
    assert display.ax_.get_title() == "GRankClassifier"


def test_history_without_held_out_scores(grank):
    display = HistoryDisplay.from_estimator(grank, name="mine")
    assert display.score_ax_ is None and display.figure_.axes == [display.ax_]
    assert legend_texts(display.ax_) == ["loss"]
    assert display.ax_.get_title() == "mine"


def test_history_of_a_pipeline(pipeline):
    display = HistoryDisplay.from_estimator(pipeline)
    assert display.history is pipeline[-1].history_
    assert display.name == "GRankClassifier"


def test_history_is_drawn_at_whole_epochs(grank):
    ticks = HistoryDisplay(history=grank.history_[:2]).plot().ax_.get_xticks()
    assert_array_equal(ticks, ticks.round())


@pytest.mark.parametrize(
    "model",
    [
        GRankClassifier(),
        make_pipeline(TfidfVectorizer(), LightDXMLClassifier()),
        BernoulliNB(),
        EnsembleClassifier([("a", GRankClassifier())]),
    ],
    ids=["classifier", "pipeline", "other", "ensemble"],
)
def test_no_history(model):
    last = model[-1] if hasattr(model, "steps") else model
    message = f"{type(last).__name__} has no history_: fit it first, and of an ensemble"
    with pytest.raises(ValueError, match=message):
        HistoryDisplay.from_estimator(model)
    assert not plt.get_fignums()


# Labels that occur together


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n_shown=st.integers(1, 8))
def test_shares_are_those_of_a_loop(seed, n_shown):
    rng = np.random.default_rng(seed)
    Y = rng.random(rng.integers(1, 8, 2)) < rng.choice([0.2, 0.5])
    Y[0, -1] = True
    display = CooccurrenceDisplay.from_labels(
        sp.csr_array(Y) if seed % 2 else Y.astype(int),
        n_labels=n_shown,
        ax=Figure().subplots(),
    )
    counts = Y.sum(axis=0)
    used = [j for j in range(Y.shape[1]) if counts[j]]
    expected = sorted(used, key=lambda j: (-counts[j], j))[:n_shown]  # ties: by column
    assert display.ids.tolist() == display.names == expected
    for a, i in enumerate(expected):
        for b, j in enumerate(expected):
            share = np.mean([row[j] for row in Y if row[i]])
            assert display.shares[a, b] == pytest.approx(share, rel=1e-12)
    assert_array_equal(display.image_.get_array(), display.shares)


def test_labels_without_documents_are_left_out():
    Y = sp.csr_array(np.array([[0, 1, 0, 1], [0, 0, 0, 1]]))
    Y[0, 1] = 0  # an explicit zero is no document
    display = CooccurrenceDisplay.from_labels(Y, label_names=list("abcd"))
    assert display.ids.tolist() == [3] and display.names == ["d"]
    assert display.shares.tolist() == [[1]]


def test_rows_and_columns_have_names():
    Y = np.array([[1, 1, 0], [0, 1, 1], [0, 1, 0]])
    display = CooccurrenceDisplay.from_labels(Y, label_names=["red", "fox", "dog"])
    assert display.names == ["fox", "red", "dog"]
    assert_allclose(display.shares, [[1, 1 / 3, 1 / 3], [1, 1, 0], [1, 0, 1]])
    for axis in (display.ax_.xaxis, display.ax_.yaxis):
        assert tick_texts(axis) == display.names
        assert_array_equal(axis.get_ticklocs(), range(3))
    assert len(display.figure_.axes) == 2  # with the bar of the colours


def test_long_names_are_cut():
    names = ["a" * 20, "b" * 21, 12345]
    display = CooccurrenceDisplay.from_labels(np.eye(3), label_names=names)
    assert display.names == names
    expected = ["a" * 20, "b" * 17 + "...", "12345"]
    assert tick_texts(display.ax_.xaxis) == tick_texts(display.ax_.yaxis) == expected


def test_twenty_long_names_leave_room_for_the_shares():
    display = CooccurrenceDisplay.from_labels(
        np.eye(20), label_names=["ab cd " * 13] * 20
    )
    assert are_apart(display.ax_.xaxis) and are_apart(display.ax_.yaxis)
    assert display.ax_.get_window_extent().height > 0.6 * display.figure_.bbox.height


def test_twenty_labels_are_shown(colours):
    assert len(CooccurrenceDisplay.from_labels(np.eye(25)).ids) == 20
    Y = colours[1]
    assert len(CooccurrenceDisplay.from_labels(sp.csc_matrix(Y)).ids) == 12


@pytest.mark.parametrize(
    "Y, n_labels, message",
    [
        (np.eye(3), 0, "n_labels must be an int, at least 1"),
        (np.eye(3), 2.0, "n_labels must be an int"),
        (2 * np.eye(3), 2, "Y must hold 0 and 1 only"),
        (np.ones(3), 2, "Y must be 2-D"),
    ],
)
def test_bad_input_to_cooccurrence(Y, n_labels, message):
    with pytest.raises(ValueError, match=message):
        CooccurrenceDisplay.from_labels(Y, n_labels=n_labels)


def test_names_of_a_series_are_by_place():
    names = pd.Series(["red", "fox", "dog"], index=[2, 1, 0])
    display = CooccurrenceDisplay.from_labels(np.eye(3), label_names=names)
    assert display.names == ["red", "fox", "dog"]


def test_too_few_names():
    with pytest.raises(ValueError, match="label_names"):
        CooccurrenceDisplay.from_labels(np.eye(3), label_names=["red", "fox"])


def test_too_many_names():
    with pytest.raises(ValueError, match="label_names"):
        CooccurrenceDisplay.from_labels(np.eye(3), label_names=list("abcd"))


# Sizes of clusters


@pytest.mark.parametrize("container", [list, np.array, pd.Series])
def test_sizes_are_counted(container):
    groups = container([0, 2, 2, -1, 0, 2, 3, 3, -1])
    display = ClusterSizesDisplay.from_groups(groups)
    assert display.sizes.tolist() == [2, 0, 3, 2]
    bars = {round(bar.get_center()[0]): bar.get_height() for bar in display.bars_}
    assert bars == {0: 1, 2: 2, 3: 1}
    assert display.ax_.get_title() == "4 clusters"


def test_sizes_of_clusters_of_a_classifier(clustered):
    display = ClusterSizesDisplay.from_estimator(clustered)
    assert display.sizes.tolist() == [3, 3, 3, 3]
    assert_array_equal(display.sizes, np.bincount(clustered.label_groups_))
    assert heights(display) == [4]
    assert display.ax_.get_title() == "GRankClassifier: 4 clusters"
    piped = make_pipeline(TfidfVectorizer(), clustered)
    assert ClusterSizesDisplay.from_estimator(piped).name == "GRankClassifier"


def test_sizes_of_clusters_of_balanced_k_means():
    X = np.random.default_rng(0).random((50, 4))
    model = BalancedKMeans(n_clusters=7, random_state=0)
    with pytest.raises(ValueError, match="BalancedKMeans has no clusters"):
        ClusterSizesDisplay.from_estimator(model)
    display = ClusterSizesDisplay.from_estimator(model.fit(X), name="mine")
    assert_array_equal(display.sizes, np.bincount(model.labels_))
    assert display.ax_.get_title() == "mine: 7 clusters"
    shown = np.repeat(*np.unique(display.sizes, return_counts=True))
    assert_array_equal(np.sort(display.sizes), shown)
    assert sum(heights(display)) == 7


def test_no_clusters(lightdxml):
    for model in (lightdxml, make_pipeline(TfidfVectorizer(), GRankClassifier())):
        with pytest.raises(ValueError, match="has no clusters in label_groups_"):
            ClusterSizesDisplay.from_estimator(model)
    assert not plt.get_fignums()


def test_no_clusters_where_all_labels_are_ranked(grank):
    with pytest.raises(ValueError, match="clusters no labels"):
        ClusterSizesDisplay.from_estimator(grank)


@pytest.mark.parametrize("kind", ["curve", "history", "clusters"])
def test_one_place_alone_has_whole_ticks(kind):
    if kind == "curve":
        display = DRAW[kind](ks=2)
    elif kind == "history":
        display = HistoryDisplay(history=HISTORY[:1]).plot()
    else:
        display = ClusterSizesDisplay.from_groups([0, 0, 1, 1])
    ticks = display.ax_.get_xticks()
    assert_array_equal(ticks, ticks.round())


# Explanations of known weights


def test_weights_are_log_odds():
    rng = np.random.default_rng(0)
    table = {word: rng.normal(size=4) for word in ("red", "green", "fox")}
    model = Words(rng.normal(size=4), table)
    for label in range(4):
        explanation = explain(model, "The red, red fox: 7 green!", label)
        assert explanation.words == ["The", "red", "red", "fox", "7", "green"]
        expected = [0 if w not in table else table[w][label] for w in explanation.words]
        assert_allclose(explanation.weights, expected, atol=1e-5)
        odds = model.own[label] + sum(expected)
        assert explanation.probability == pytest.approx(expit(odds), rel=1e-6)
        assert type(explanation.probability) is float
        assert explanation.label == label


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=30))
def test_words_are_where_the_spans_say(text):
    model = Words([0.0, 1.0], {})
    words = re.findall(WORD, text)
    if not words:
        with pytest.raises(ValueError, match="text has 0 words"):
            explain(model, text, 0)
        return
    explanation = explain(model, text, 0)
    assert explanation.words == words and explanation.text == text
    assert [text[start:end] for start, end in explanation.spans] == words
    assert_array_equal(explanation.weights, np.zeros(len(words)))


def test_only_the_word_is_taken_out():
    seen = []

    class Watched(Words):
        def predict_topk(self, X, k=5):
            seen.extend(X)
            return super().predict_topk(X, k)

    explain(Watched([0.0], {}), " A red-red\nfox.", 0)
    assert seen == [
        " A red-red\nfox.",
        "  red-red\nfox.",
        " A -red\nfox.",
        " A red-\nfox.",
        " A red-red\n.",
    ]


def test_a_thousand_labels_are_looked_among():
    own = -np.arange(1500) / 500
    added = np.where(np.arange(1500) == 1400, 4.0, 0.0)
    model = Words(own, {"red": added})
    # Without the word, label 999 is the last of the thousand.
    explanation = explain(model, "red fox", 1400)
    assert_allclose(explanation.weights, [own[1400] + 4 - own[999], 0], atol=1e-5)
    with pytest.raises(ValueError, match="1400.* is not among the 1000 best labels"):
        explain(model, "a fox", 1400)


def test_where_few_labels_are_ranked():
    model = Words([-2.0, 1.0], {"red": np.array([4.0, 0.0])}, least=0.5)
    # Without the word, label 1 alone is ranked.
    explanation = explain(model, "red fox", 0)
    assert_allclose(explanation.weights, [2 - 1, 0], atol=1e-5)
    with pytest.raises(ValueError, match="not among the"):
        explain(model, "a fox", 0)


def test_a_word_without_which_nothing_is_ranked():
    model = Words([-2.0, -3.0], {"red": np.array([4.0, 0.0])}, least=0.5)
    assert explain(model, "red fox", 0).weights[0] > 0


def test_an_ensemble_that_ranks_nothing(colours):
    texts, Y, _ = colours
    own, words = [-5.0] * 12, {"red": np.eye(12)[0] * 9}
    model = EnsembleClassifier([("a", Words(own, words, least=0.1))]).fit(texts, Y)
    assert explain(model, "red", 0).weights[0] > 0


def test_certain_predictions_have_finite_weights():
    explanation = explain(Words([0.0], {"red": np.array([1e3])}), "red fox", 0)
    assert_array_equal(np.isfinite(explanation.weights), [True, True])
    assert explanation.weights[0] > 20 and explanation.probability == 1
    explanation = explain(Words([-1e3], {"red": np.array([1e3])}), "red fox", 0)
    assert explanation.weights[0] > 20


# Which label, and what text


def named(names):
    return Words(np.zeros(len(names)), {"red": np.arange(len(names))}, names)


@pytest.mark.parametrize(
    "label, column",
    [
        (1, 1),
        ("b", 1),
        (np.int64(2), 2),
        (np.uint8(0), 0),
        (np.str_("a"), 0),
        ("Zürich & <b>", 3),
    ],
)
def test_label_by_column_and_by_name(label, column):
    model = named(["a", "b", "c", "Zürich & <b>"])
    explanation = explain(model, "red fox", label)
    assert explanation.label == model.label_names_[column]
    assert_allclose(explanation.weights, [column, 0], atol=1e-5)


def test_a_name_that_looks_like_a_column():
    model = named(["1", "0"])
    assert explain(model, "red", 1).label == "0"
    assert explain(model, "red", "1").label == "1"
    assert explain(named([7, 0]), "red", 0).label == 7  # an int is a column


def test_names_given_twice():
    model = named(["a", "b", "a", "c"])
    with pytest.raises(ValueError, match=r"\[0, 2\] are called 'a': name .* column"):
        explain(model, "red", "a")
    assert_allclose(explain(model, "red fox", 2).weights, [2, 0], atol=1e-5)
    assert explain(model, "red", "c").label == "c"


@pytest.mark.parametrize(
    "label, message",
    [
        ("x", "There is no label 'x' in label_names_"),
        ("", "There is no label ''"),
        ("1", "There is no label '1'"),
        (-1, "at least 0 and at most 2; got -1"),
        (3, "at least 0 and at most 2; got 3"),
        (1.0, "label must be an int"),
        (True, "label must be an int"),
        (None, "label must be an int"),
    ],
)
def test_unknown_label(label, message):
    with pytest.raises(ValueError, match=message):
        explain(named(["a", "b", "c"]), "red fox", label)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "text has 0 words"),
        (" ... -\n", "text has 0 words; it must have 1 to max_words=512"),
        ("red " * 513, "text has 513 words"),
        (["red"], "text must be a str, got list"),
        (b"red", "text must be a str, got bytes"),
        (None, "text must be a str, got NoneType"),
        (np.array("red"), "text must be a str, got ndarray"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(ValueError, match=message):
        explain(named(["a", "b"]), text, 0)


def test_max_words():
    model = named(["a", "b"])
    assert len(explain(model, "red " * 512, 0).words) == 512
    assert len(explain(model, "red fox dog", 0, max_words=3).words) == 3
    with pytest.raises(ValueError, match="2 words; it must have 1 to max_words=1"):
        explain(model, "red fox", 0, max_words=1)
    for bad in (0, 2.0, None):
        with pytest.raises(ValueError, match="max_words must be an int, at least 1"):
            explain(model, "red fox", 0, max_words=bad)


def test_unfitted_and_others_are_refused(grank, one_vs_rest):
    pipeline = make_pipeline(TfidfVectorizer(), GRankClassifier())
    for model in (LightDXMLClassifier(), pipeline, one_vs_rest):
        with pytest.raises(ValueError, match="has no label_names_: fit it"):
            explain(model, "red fox", 0)
    with pytest.raises(ValueError, match="X must be a feature matrix, as in fit"):
        explain(grank, "red fox", 0)


# Explanations of what was trained


def explained_by_hand(model, text, column):
    """Weights by one prediction after the other."""

    def log_odds(words):
        text = [" ".join(words)]
        if hasattr(model, "predict_topk"):
            ids, scores = (part[0] for part in model.predict_topk(text, 12))
            p = scores[ids == column] if column in ids else scores[ids >= 0].min()
        else:
            scores = model.predict_proba(text)
            p = (scores.toarray() if sp.issparse(scores) else scores)[0, column]
        return logit(np.float64(np.float32(p))).item()  # as predict_topk rounds

    words = text.split()
    less = [log_odds(words[:i] + words[i + 1 :]) for i in range(len(words))]
    return log_odds(words) - np.array(less)


def make(system, encoder):
    params = SHORT | TEXTS
    if system == "GRank":
        return GRankClassifier(encoder, **params | dict(label_dim=None))
    if system == "clustered":
        params |= dict(label_dim=None, max_leaf_size=3, predict_shortlist=2)
        return GRankClassifier(encoder, **params)
    if system == "LightXML":
        return LightXMLClassifier(encoder, **params | dict(label_dim=None))
    if system == "GUDN":
        return GUDNClassifier(encoder, label_branch="multi-hot", **params)
    del params["n_layers"], params["max_length"]
    if system == "LightDXML":
        return LightDXMLClassifier(n_frequent=4, **params)
    if system == "TReaderXML":
        more = dict(min_df=1, word_dim=16, n_neighbors=3)
        return TReaderXMLClassifier(**params | more)
    members = [LightDXMLClassifier(**params | dict(random_state=i)) for i in (0, 1)]
    return EnsembleClassifier(list(zip("ab", members, strict=True)), weights=[1, 2])


@pytest.mark.parametrize(
    "system",
    "GRank clustered LightXML GUDN LightDXML TReaderXML Ensemble".split(),
)
def test_weights_are_those_of_a_loop(system, tiny_encoder, colours):
    texts, Y, _ = colours
    model = make(system, tiny_encoder).fit(texts, Y)
    best = model.predict_topk(texts[:2], 2)[0]
    for text, columns in zip(texts[:2], best, strict=True):
        for column in columns:
            explanation = explain(model, text, column)
            assert explanation.words == text.split()
            expected = explained_by_hand(model, text, column)
            assert_allclose(explanation.weights, expected, rtol=1e-3, atol=1e-3)
            assert np.abs(expected).max() > 1e-2
            assert_array_equal(explanation.label, column)


def test_weights_in_a_pipeline_are_those_of_a_loop(pipeline, colours):
    for text in held_out(colours)[0][:3]:
        for column in range(12):
            weights = explain(pipeline, text, column).weights
            expected = explained_by_hand(pipeline, text, column)
            assert_allclose(weights, expected, rtol=1e-3, atol=1e-3)


def test_a_pipeline_of_the_classifier_alone(lightdxml, colours):
    alone, text = make_pipeline(lightdxml), colours[0][0]
    assert_array_equal(
        alone.predict([text]).toarray(), lightdxml.predict([text]).todense()
    )
    expected = explain(lightdxml, text, text.split()[0]).weights
    assert_array_equal(explain(alone, text, text.split()[0]).weights, expected)


@pytest.mark.parametrize("kind", ["lightdxml", "reader", "pipeline"])
def test_the_word_of_a_label_weighs_most(kind, request, colours):
    model, (texts, _, words) = request.getfixturevalue(kind), colours
    found = []
    for text in texts[N_TRAIN:]:
        for i, word in enumerate(text.split()):
            by_name = kind != "pipeline"
            explanation = explain(model, text, word if by_name else words.index(word))
            assert explanation.label == (word if by_name else words.index(word))
            assert explanation.weights[i] > 0
            found.append(explanation.weights.argmax() == i)
    assert np.mean(found) > 0.9  # chance is 1/4


@pytest.mark.parametrize("kind", ["str", "int", "binary"])
def test_classes_are_explained(kind, colours):
    texts = colours[0]
    y = np.array([text.split()[0] for text in texts])
    if kind == "int":
        y = np.unique(y, return_inverse=True)[1] * 10
    elif kind == "binary":
        y = np.array(["yes" if "dog" in text else "no" for text in texts])
    # Not too sure of itself: near 1, float32 has few probabilities left.
    params = SMALL | dict(max_epochs=3)
    model = make_pipeline(TfidfVectorizer(), GRankClassifier(**params)).fit(texts, y)
    for column, name in enumerate(model.classes_):
        explanation = explain(model, texts[0], column)
        assert explanation.label == name
        expected = explained_by_hand(model, texts[0], column)
        assert_allclose(explanation.weights, expected, rtol=1e-3, atol=1e-3)
        if kind != "int":
            again = explain(model, texts[0], str(name))
            assert_array_equal(again.weights, explanation.weights)
    if kind == "binary":
        text = next(text for text in texts if "dog" in text)
        weights = explain(model, text, "yes").weights
        assert text.split()[weights.argmax()] == "dog"


def test_label_that_is_not_ranked(clustered, colours):
    texts, _, words = colours
    model = make_pipeline(TfidfVectorizer().fit(texts), clustered)
    ranked = clustered.predict_topk(model[:-1].transform(texts[:1]), 12)[0][0]
    (missing,) = (np.setdiff1d(range(12), ranked)[:1]).tolist()
    with pytest.raises(ValueError, match=f"{missing}.* is not among the"):
        explain(model, texts[0], missing)


def test_a_column_that_is_not_ranked_is_called_by_its_number():
    with pytest.raises(ValueError, match="^0 is not among"):
        explain(Words([-2.0, 1.0], {}, least=0.5), "red fox", 0)


# How an explanation looks


def an_explanation(text="red fox, red dog", weights=(1.0, -2.0, 0.5, 0.0), label="x"):
    spans = [match.span() for match in re.finditer(WORD, text)]
    return Explanation(
        text=text,
        label=label,
        probability=0.25,
        spans=spans,
        weights=np.array(weights, float),
    )


class Text(HTMLParser):
    """The text of a page, and the styles and titles of its spans."""

    def __init__(self, page):
        super().__init__()
        self.text, self.spans = "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        assert tag in ("div", "p", "b", "span")
        if tag == "span":
            self.spans.append(dict(attrs))

    def handle_data(self, data):
        self.text += data


def test_repr():
    assert repr(an_explanation()) == (
        "x (0.250): fox -2.00, red +1.00, red +0.50, dog +0.00"
    )
    many = an_explanation(" ".join("abcdefg"), [1, 2, -3, 4, 5, 6, -7], label=12)
    assert repr(many) == "12 (0.250): g -7.00, f +6.00, e +5.00, d +4.00, c -3.00"


def test_html_marks_words():
    page = Text(an_explanation()._repr_html_())
    assert page.text == "x (0.250)red fox, red dog"
    assert [span["title"] for span in page.spans] == [
        "+1.00",
        "-2.00",
        "+0.50",
        "+0.00",
    ]
    colours = [span["style"].removeprefix("background-color:") for span in page.spans]
    assert colours == [
        *("rgba(31,119,180,0.35)", "rgba(214,39,40,0.70)", "rgba(31,119,180,0.17)"),
        "rgba(214,39,40,0.00)",  # not to be seen
    ]


@pytest.mark.parametrize("label", ["a<b>", "&amp;", '"x"', "</div><script>", 3, None])
def test_html_is_escaped(label):
    text = '<script>alert("x & y")</script> &lt; a<b'
    page = an_explanation(text, range(8), label)._repr_html_()
    assert "<script" not in page
    assert Text(page).text == f"{label} (0.250){text}"
    without_tags = re.sub(r"<[^>]*>", "", page)
    assert html.unescape(without_tags) == f"{label} (0.250){text}"


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=40), label=st.text(max_size=10), seed=st.integers(0, 99))
def test_html_keeps_the_text_whole(text, label, seed):
    n_words = len(re.findall(WORD, text))
    weights = np.random.default_rng(seed).normal(size=n_words)
    page = an_explanation(text, weights, label)._repr_html_()
    assert html.unescape(re.sub(r"<[^>]*>", "", page)) == f"{label} (0.250){text}"
    assert page.count("<span") == n_words


def test_html_without_weights():
    page = an_explanation(weights=[0, 0, 0, 0])._repr_html_()
    assert page.count(",0.00)") == 4 and "nan" not in page


@pytest.mark.parametrize("n_words", [1, 3, 4, 10])
def test_bars_of_words(n_words):
    explanation = an_explanation(weights=[1, -2, 0.5, 0.1])
    assert explanation.plot(n_words=n_words) is explanation
    ax = explanation.ax_
    shown = {1: [1], 3: [0, 1, 2]}.get(n_words, [0, 1, 2, 3])
    assert [bar.get_width() for bar in ax.patches] == [
        explanation.weights[i] for i in shown
    ]
    assert tick_texts(ax.yaxis) == [explanation.words[i] for i in shown]
    middles = [bar.get_y() + bar.get_height() / 2 for bar in ax.patches]
    assert_allclose(middles, range(len(shown)))
    assert ax.yaxis_inverted()  # the first word at the top
    for bar in ax.patches:
        assert same_color(bar.get_facecolor(), "C0" if bar.get_width() > 0 else "C3")
    assert ax.get_title() == "x (0.250)"


def test_ten_words_are_drawn_and_ties_go_to_the_first():
    text = " ".join(f"w{i}" for i in range(14))
    weights = np.ones(14)
    weights[[3, 12]] = -2
    ax = an_explanation(text, weights, label="y" * 40).plot().ax_
    expected = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12]
    assert tick_texts(ax.yaxis) == [f"w{i}" for i in expected]
    assert ax.get_title() == "y" * 27 + "... (0.250)"


def test_two_explanations_on_one_picture(ax):
    for _ in range(2):
        an_explanation().plot(ax)
    assert ax.yaxis_inverted()
