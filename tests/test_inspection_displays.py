"""What all displays share."""

import importlib
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from inspection_examples import DRAW, HISTORY, SHORT, SMALL, Words, legend_texts
from matplotlib.colors import same_color
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skxmc
from skxmc import GRankClassifier, inspection
from skxmc.inspection import (
    ClusterSizesDisplay,
    FrequencyBinsDisplay,
    HistoryDisplay,
    RankingCurveDisplay,
    explain,
)

pytest_plugins = ["inspection_fixtures"]
pytestmark = pytest.mark.usefixtures("no_figures")

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
