"""Callbacks of scikit-learn 1.9, and what stands for them before."""

import importlib
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skxmc import (
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
    _callbacks,
)
from skxmc.datasets import make_xmc
from skxmc.metrics import ranking_report_scorer

SYSTEMS = (
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
QUICK = dict(max_epochs=3, random_state=0, validation_fraction=0.1)


@pytest.fixture(scope="module")
def data():
    return make_xmc(60, 12, kind="features", random_state=0)


def make(system, **options):
    own = {"label_branch": "multi-hot"} if system is GUDNClassifier else {}
    return system(**QUICK | own | options)


class Watch:
    """Writes down what it is told; stops after the epochs it is given."""

    def __init__(self, stop_after=None):
        self.stop_after, self.told = stop_after, []

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        score = fitted_estimator.predict_topk(estimator.seen, 3)[1].mean()
        assert 0 < score < 1
        self.told.append(f"end {context.task_name} {context.task_id}")
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after


class Nested(Watch):
    """Fits in another thread after each epoch, waits for it, and draws numbers."""

    def __init__(self, fit):
        self.fit, self.models, self.drawn, self.told = fit, [], [], []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        with ThreadPoolExecutor(1) as pool:
            self.models.append(pool.submit(self.fit).result(60))
        self.drawn.append(torch.rand(()).item())


@pytest.fixture
def callbacks():
    return pytest.importorskip("sklearn.callback")


@pytest.mark.parametrize("system", SYSTEMS)
def test_fit_and_epochs_are_told(system, data, callbacks):
    watch, model = Watch(), make(system)
    model.seen = data.X[:5]
    model.set_callbacks(watch).fit(data.X, data.Y)
    epochs = [f"{word} epoch {i}" for i in range(3) for word in ("begin", "end")]
    ends = ("setup", "begin fit 0", *epochs, "end fit 0", "teardown")
    assert watch.told == list(ends)
    # Looking on changes nothing.
    other = make(system).fit(data.X, data.Y)
    assert (model.predict_proba(data.X) != other.predict_proba(data.X)).nnz == 0
    assert model.history_ == other.history_


@pytest.mark.parametrize("system", [GRankClassifier, LightDXMLClassifier])
def test_a_callback_stops_training(system, data, callbacks):
    watch, model = Watch(stop_after=2), make(system)
    model.seen = data.X[:5]
    model.set_callbacks(watch).fit(data.X, data.Y)
    assert model.n_iter_ == 2 and watch.told[-2:] == ["end fit 0", "teardown"]
    assert model.predict_topk(data.X)[0].shape == (60, 5)


def test_callbacks_end_where_fit_fails(data, callbacks):
    watch, model = Watch(), make(GRankClassifier)
    with pytest.raises(ValueError, match="inconsistent"):
        model.set_callbacks(watch).fit(data.X, data.Y[:5])
    assert watch.told == ["setup", "begin fit 0", "teardown"]
    assert not [name for name in vars(model) if name.startswith("_callback")]


def test_scores_by_epoch_and_nested_bars(data, callbacks, capsys):
    scoring = ranking_report_scorer(ks=[1], propensity=False)
    monitor = callbacks.ScoringMonitor(scoring=scoring)
    model = make(LightDXMLClassifier).set_callbacks(monitor).fit(data.X, data.Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in rows] == [0, 1, 2]
    assert rows[-1]["P@1"] == pytest.approx(model.score(data.X, data.Y), abs=0.1)

    pipe = make_pipeline("passthrough", make(LightDXMLClassifier, max_epochs=2))
    search = GridSearchCV(pipe, {"lightdxmlclassifier__dropout": [0.1, 0.2]}, cv=2)
    search.set_callbacks(callbacks.ProgressBar(max_propagation_depth=None))
    search.fit(data.X, data.Y)
    shown = capsys.readouterr().out
    assert shown.count("LightDXMLClassifier - fit") == 5  # four in the search, the best
    assert shown.count("candidate-split-evaluation") == 4


def test_callbacks_stop_training_in_a_search(data, callbacks):
    class Stop(Watch):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            return context.task_name == "epoch" and context.task_id == 0

    model = make(LightDXMLClassifier).set_callbacks(Stop())
    search = GridSearchCV(model, {"dropout": [0.1, 0.2]}, cv=2, error_score="raise")
    assert search.fit(data.X, data.Y).best_estimator_.n_iter_ == 1


def test_early_stopping_in_a_search(data):
    options = dict(early_stopping=True, n_iter_no_change=1, tol=1.0)
    grid = {"early_stopping": [True], "dropout": [0.1, 0.2]}
    search = GridSearchCV(make(LightDXMLClassifier, **options), grid, cv=2)
    assert search.fit(data.X, data.Y).best_estimator_.n_iter_ == 2


def test_without_callbacks_of_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    old = importlib.reload(_callbacks)
    try:
        model = old.CallbackSupportMixin()
        epochs = old.Epochs(model, None, None)
        epochs.begin()
        assert epochs.end() is False
        epochs.finish()
        old.end_callbacks(model)
    finally:
        monkeypatch.undo()
        importlib.reload(_callbacks)


def test_a_clone_keeps_callbacks(callbacks):
    watch = Watch()
    model = clone(make(GRankClassifier).set_callbacks(watch))
    assert len(model._skl_callbacks) == 1


def test_callbacks_may_fit_in_threads_and_draw(data, callbacks):
    model = make(GRankClassifier, dropout=0.3, label_dim=8)
    expected = clone(model).fit(data.X, data.Y).predict_topk(data.X)[1]
    torch.manual_seed(5)
    drawn = [torch.rand(()).item() for _ in range(4)]
    torch.manual_seed(5)
    nested = Nested(lambda: clone(model).fit(data.X, data.Y))
    got = clone(model).set_callbacks(nested).fit(data.X, data.Y)
    assert nested.drawn == drawn  # three epochs, and the fit
    for each in [got, *nested.models]:
        assert (each.predict_topk(data.X)[1] == expected).all()
