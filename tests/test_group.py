"""Fits that several processes share, beside those of one process."""

import multiprocessing
import warnings
from contextlib import redirect_stderr
from io import StringIO

import numpy as np
import pytest
import torch
from group_processes import CASES, assert_close, documents, make, outcome
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from store_examples import make_store

import skxmc
from skxmc import (
    GRankClassifier,
    GUDNClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
    distributed,
)
from skxmc.nn import all_labels_loss
from skxmc.store import open_store

pytest_plugins = ["group_fixtures"]


IN_THREE = [
    *("GRank, defaults", "GRank, best of all labels by AdamW", "GUDN, all labels"),
    *("LightXML, features", "TReaderXML, trained words"),
]
WEIGHED = [
    *("GRank", "GRank, all labels", "GRank, all labels by BCE", "GRank, defaults"),
    *("GRank, best labels by BCE", "LightXML", "LightXML, all labels"),
    *("GUDN, all labels", "GUDN, words"),
]


def fit_cases(cases, encoder, colours, **options):
    """Fit each case, and return what its fit comes to."""
    texts, Y, names = colours
    weights = options.pop("sample_weight", None)
    found = []
    for case in cases:
        X, model = documents(case, texts), make(case, encoder, names, **options)
        found.append(outcome(model.fit(X, Y, weights), X))
    return found


def assert_as_alone(processes, expected, cases):
    for found in processes.results():
        for case, one, other in zip(cases, found, expected, strict=True):
            print(case)
            assert_close(one, other)


HALVES = [list(CASES)[::2], list(CASES)[1::2]]


@pytest.mark.parametrize("n, cases", [*((2, half) for half in HALVES), (3, IN_THREE)])
def test_fits_as_one_process(n, cases, tiny_encoder, colours, start):
    def fit(rank):
        return fit_cases(cases, tiny_encoder, colours)

    processes = start(n, fit)
    assert_as_alone(processes, fit(0), cases)


def test_weights_count_as_in_one_process(tiny_encoder, colours, start):
    texts, Y, names = colours
    rng = np.random.default_rng(0)
    sample_weight = rng.integers(4, size=len(texts)) * rng.random(len(texts))
    label_weight = rng.uniform(0.5, 2, len(names))

    def fit(rank):
        options = dict(sample_weight=sample_weight, label_weight=label_weight)
        return fit_cases(WEIGHED, tiny_encoder, colours, **options)

    processes = start(2, fit)
    assert_as_alone(processes, fit(0), WEIGHED)


def test_float32(tiny_encoder, colours, start):
    texts, Y, names = colours
    cases = "GRank, all labels", "GRank, defaults", "GRank, defaults, all labels"

    def fit(rank):
        found = []
        for case in cases:
            model = make(case, tiny_encoder, names, precision="fp32").fit(texts, Y)
            found.append((model.history_, model.predict_topk(texts)[0]))
        return found

    processes = start(2, fit)
    expected = fit(0)
    for found in processes.results():
        for (history, ids), (other, other_ids) in zip(found, expected, strict=True):
            for one, alone in zip(history, other, strict=True):
                assert one == pytest.approx(alone, rel=1e-5)
            assert np.mean(ids == other_ids) > 0.99


def test_weights_are_the_same_to_the_bit(tiny_encoder, colours, start):
    texts, Y, names = colours
    options = dict(precision="fp32", label_precision="bf16", max_epochs=1)
    cases = "GRank, defaults", "GRank, best labels by AdamW", "GUDN, words"

    def fit(rank):
        fits = (make(case, tiny_encoder, names, **options) for case in cases)
        return [model.fit(texts, Y).network_.state_dict() for model in fits]

    one, *others = start(3, fit).results()
    for other in others:
        for weights, same in zip(one, other, strict=True):
            for name, weight in weights.items():
                assert torch.equal(weight, same[name]), name


def test_every_effort(tiny_encoder, colours, start):
    texts, Y, names = colours
    common = dict(encoder=tiny_encoder, max_epochs=1, max_length=16, dropout=0.0)
    common |= dict(encoder_dropout=0.0, precision="fp64", device="cpu")
    common |= dict(random_state=0, batch_size=16)
    repeated = dict(label_length=16, label_reinforcement="repeat")
    models = [
        *(GRankClassifier.with_effort(effort) for effort in ("low", "medium", "high")),
        *(LightXMLClassifier.with_effort(effort) for effort in ("medium", "paper")),
        GRankClassifier.with_effort("paper"),
        GUDNClassifier.with_effort("paper", label_texts=names, **repeated),
        GUDNClassifier.with_effort("paper"),
        TReaderXMLClassifier.with_effort("paper", min_df=1, word_dim=16),
    ]
    for model in models:
        known = model.get_params()
        model.set_params(**{k: v for k, v in common.items() if k in known})
        if known.get("trained_layers") == 2:
            model.set_params(trained_layers=1)  # of two

    def fit(rank):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [outcome(model.fit(texts, Y), texts) for model in models]

    processes = start(2, fit)
    assert_as_alone(processes, fit(0), models)


def test_many_labels_are_not_clustered(tiny_encoder, colours, start, monkeypatch):
    texts, Y, names = colours
    for name in ("_MAX_DENSE", "_MAX_ALL_ON_CPU"):
        monkeypatch.setattr(skxmc._clustering_classifier, name, 5)

    def fit(rank):
        model = make("GRank, defaults", tiny_encoder, names, max_epochs=1)
        network = model.fit(texts, Y).network_
        return network.clusters is None, type(network.ranker).__name__

    processes = start(2, fit)
    assert fit(0) == (False, "LabelScores")
    assert processes.results() == [(True, "AllLabels")] * 2


@pytest.mark.parametrize("head", ["dense", "all"])
def test_goes_on_as_one_process(head, tiny_encoder, colours, start):
    texts, Y, names = colours
    case, first = "GRank, defaults", Y[:, :9]
    options = dict(head=head, max_epochs=1)

    def fit(rank):
        warm = make(case, tiny_encoder, names, warm_start=True, **options)
        warm.fit(texts[:40], first[:40])
        found = [outcome(warm.fit(texts[20:], Y[20:]), texts)]
        stream = make(case, tiny_encoder, names, **options)
        for rows, labels in (
            (slice(0, 30), first),
            (slice(30, 55), first),
            (slice(55, 60), Y),  # with new labels
        ):
            stream.partial_fit(texts[rows], labels[rows])
        return [*found, outcome(stream, texts)]

    processes = start(3, fit)
    assert_as_alone(processes, fit(0), ["warm_start", "partial_fit"])


# --- as scikit-learn does ---------------------------------------------------


def test_search_pipeline_and_score(tiny_encoder, colours, start):
    texts, Y, names = colours
    model = make("LightXML", tiny_encoder, names, max_epochs=1)
    grid = {"lightxml__head_learning_rate": [1e-4, 1e-2]}

    def search(rank):
        pipeline = Pipeline([("strip", FunctionTransformer()), ("lightxml", model)])
        found = GridSearchCV(pipeline, grid, cv=2, error_score="raise")
        found.fit(texts, Y)
        score = found.score(texts, Y) if rank else None  # the other one is elsewhere
        return found.cv_results_["mean_test_score"], found.best_params_, score

    processes = start(2, search)
    expected = search(1)
    for rank, (scores, best, score) in enumerate(processes.results()):
        np.testing.assert_allclose(scores, expected[0], atol=1e-9)
        assert best == expected[1]
        assert score == (expected[2] if rank else None)


def test_one_label_a_document(tiny_encoder, colours, start):
    texts, Y, names = colours
    y = np.array(list("abc"))[[row.indices.max() % 3 for row in Y]]

    def fit(rank):
        model = make("LightXML, all labels", tiny_encoder, names).fit(texts, y)
        return model.predict_proba(texts)

    processes = start(2, fit)
    expected = fit(0)
    for found in processes.results():
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_seed_is_the_seed_of_the_first(tiny_encoder, colours, start):
    texts, Y, names = colours
    options = dict(random_state=None, max_epochs=1, dropout=0.5)

    def fit(rank):
        np.random.seed(rank)  # noqa: NPY002
        model = make("LightXML", tiny_encoder, names, **options).fit(texts, Y)
        np.random.seed(rank)  # noqa: NPY002
        with distributed.alone():
            other = make("LightXML", tiny_encoder, names, **options).fit(texts, Y)
        return [each.predict_topk(texts)[1] for each in (model, other)]

    first, second = start(2, fit).results()
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.array_equal(first[1], second[1])  # each was alone


def test_more_processes_than_documents(tiny_encoder, colours, start):
    texts, Y, names = colours
    X, Y = texts[:2], Y[:2]
    cases = [
        *("GRank", "GRank, all labels", "LightXML, all labels", "GRank, defaults"),
        *("GRank, best of all labels by AdamW", "GUDN, words", "GUDN, labels"),
        *("LightXML, features", "TReaderXML, trained words"),
    ]
    options = dict(validation_fraction=0, early_stopping=False, batch_size=1)

    def fit(rank):
        return fit_cases(cases, tiny_encoder, (X, Y, names), **options)

    processes = start(3, fit)
    assert_as_alone(processes, fit(0), cases)


def test_more_processes_than_labels(tiny_encoder, colours, start):
    texts, Y, names = colours
    cases = "GRank, all labels", "GRank, best of all labels by AdamW"

    def fit(rank):
        return fit_cases(cases, tiny_encoder, (texts, Y[:, :2], names[:2]))

    processes = start(3, fit)
    assert_as_alone(processes, fit(0), cases)


def test_loss_of_some_documents(tiny_encoder, colours, start, monkeypatch):
    # BCE looks at few documents of a batch, and at none of some processes. The last
    # batch has two documents.
    monkeypatch.setattr(all_labels_loss, "_LOSS_SCORES", 20)
    cases = "GRank, all labels by BCE", "LightXML, all labels"
    options = dict(batch_size=29, validation_fraction=0, early_stopping=False)

    def fit(rank):
        return fit_cases(cases, tiny_encoder, colours, max_epochs=1, **options)

    processes = start(3, fit)
    assert_as_alone(processes, fit(0), cases)


def test_callbacks_and_bars_are_those_of_the_first(tiny_encoder, colours, start):
    pytest.importorskip("sklearn.callback")
    texts, Y, names = colours

    class Stop:
        """Predicts, and stops after two epochs."""

        n_ended, ranked = 0, None

        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            self.ranked = fitted_estimator.predict_topk(texts[:2], 3)
            self.n_ended += 1
            return self.n_ended == 2

    def fit(rank):
        model, callback = make("LightXML", tiny_encoder, names, verbose=1), Stop()
        model.set_callbacks(callback)
        error = StringIO()
        with redirect_stderr(error):
            model.fit(texts, Y)
        stopped = len(model.history_), callback.n_ended, bool(error.getvalue())
        model = make("LightXML, all labels", tiny_encoder, names)
        model.set_callbacks(Stop())
        with pytest.raises(RuntimeError, match="callback cannot predict"):
            model.fit(texts, Y)
        return stopped

    assert start(2, fit).results() == [(2, 3, True), (2, 0, False)]


def test_worker_processes_fit_alone(tiny_encoder, colours, monkeypatch):
    texts, Y, names = colours
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    model = make("LightXML", tiny_encoder, names, max_epochs=1)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.apply_async(fit_as_torchrun_does, (model, texts, Y)).get(60)
    assert found == pytest.approx(model.fit(texts, Y).score(texts, Y))


def fit_as_torchrun_does(model, X, Y):
    distributed.start()
    return model.fit(X, Y).score(X, Y)


# --- folders ----------------------------------------------------------------


def test_the_first_process_saves_what_one_would(tiny_encoder, colours, start, tmp_path):
    texts, Y, names = colours

    def fit(rank):
        model = make("GRank, all labels", tiny_encoder, names).fit(texts, Y)
        model.save_pretrained(tmp_path / f"of-{rank}")
        return model.predict_topk(texts)

    found = start(2, fit).results()
    assert not (tmp_path / "of-1").exists()
    loaded = skxmc.load(tmp_path / "of-0")
    for ids, scores in found:
        np.testing.assert_array_equal(loaded.predict_topk(texts)[0], ids)
        np.testing.assert_array_equal(loaded.predict_topk(texts)[1], scores)
    make("GRank, all labels", tiny_encoder, names).fit(texts, Y).save_pretrained(
        tmp_path / "alone"
    )
    files = [
        {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*.*")}
        for folder in (tmp_path / "of-0", tmp_path / "alone")
    ]
    assert files[0].keys() == files[1].keys()
    for path in files[0]:
        if path.suffix == ".safetensors":
            assert files[0][path] == files[1][path]


def test_fits_a_store(tiny_encoder, colours, colour_rows, start, tmp_path):
    texts, _, names = colours
    store = make_store(tmp_path, colour_rows, tiny_encoder, known_labels=names)

    def fit(rank):
        opened = open_store(tmp_path / "store") if rank else store
        model = make("LightXML, all labels", tiny_encoder, names)
        return outcome(model.fit(opened.X, opened.Y), texts)

    processes = start(2, fit)
    expected = fit(0)
    for found in processes.results():
        assert_close(found, expected)
