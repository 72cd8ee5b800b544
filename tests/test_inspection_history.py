"""Pictures of a training."""

import matplotlib.pyplot as plt
import pytest
from inspection_examples import legend_texts
from numpy.testing import assert_array_equal
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

from skxmc import EnsembleClassifier, GRankClassifier, LightDXMLClassifier
from skxmc.inspection import HistoryDisplay

pytest_plugins = ["inspection_fixtures"]
pytestmark = pytest.mark.usefixtures("no_figures")

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
    message = (
        f"{type(last).__name__} has no history_. Fit it first; if it is an ensemble"
    )
    with pytest.raises(ValueError, match=message):
        HistoryDisplay.from_estimator(model)
    assert not plt.get_fignums()
