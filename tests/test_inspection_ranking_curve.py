"""Pictures of metrics by k."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.sparse as sp
from inspection_examples import DRAW, N_TRAIN, held_out, legend_texts
from numpy.testing import assert_allclose, assert_array_equal

from skxmc import metrics
from skxmc.inspection import RankingCurveDisplay

pytest_plugins = ["inspection_fixtures"]
pytestmark = pytest.mark.usefixtures("no_figures")

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
