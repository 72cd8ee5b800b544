"""Threads, forks and torch's modes: the same bits, nothing of the caller's moved."""

import contextlib
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import pytest
import scipy.sparse as sp
import torch
from conftest import WORDS
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import skxmc
from skxmc import (
    BalancedKMeans,
    EnsembleClassifier,
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc._testing import assert_same, predict_all, random_states, text_features
from skxmc.nn.process import isolate_torch, release_torch

COMMON = dict(
    max_epochs=2, batch_size=16, label_dim=8, dropout=0.3, device="cpu", random_state=0
)
CLUSTERS = dict(max_leaf_size=2, n_shortlist=2, predict_shortlist=2)
READER = dict(word_dim=8, n_heads=2, n_neighbors=3, min_df=1)
SYSTEMS = {
    "grank": (GRankClassifier, CLUSTERS),
    "gudn": (GUDNClassifier, CLUSTERS),
    "lightdxml": (LightDXMLClassifier, dict(n_frequent=2, n_shortlist=4)),
    "lightxml": (LightXMLClassifier, CLUSTERS),
    "treaderxml": (TReaderXMLClassifier, READER | CLUSTERS),
    "hnsw": (LightDXMLClassifier, dict(n_frequent=2, n_shortlist=4, search="hnsw")),
    "taught by hnsw": (TReaderXMLClassifier, READER | dict(search="hnsw")),
}
TRANSFORMERS = ("grank", "gudn", "lightxml")
CASES = [(name, "texts") for name in SYSTEMS] + [
    (name, "features") for name in ("gudn", "lightdxml", "treaderxml")
]


def make(name, kind, encoder):
    system, parameters = SYSTEMS[name]
    parameters = COMMON | parameters
    if name in TRANSFORMERS and kind == "texts":
        parameters |= dict(encoder=encoder, encoder_dropout=0.3, n_layers=1)
        parameters |= dict(max_length=32)
    if name == "gudn" and kind == "features":
        parameters |= dict(label_branch="multi-hot")
    elif name == "gudn":
        parameters |= dict(label_texts=WORDS[:12])
    return system(**parameters)


@pytest.fixture(scope="module")
def data(colours):
    """Documents by kind, and their labels."""
    texts, Y, _ = colours
    # Of many lengths: what is read together differs from thread to thread.
    texts = [f"{text} " * (1 + i % 5) for i, text in enumerate(texts)]
    return {"texts": texts, "features": text_features(texts)}, Y


@pytest.fixture(scope="module")
def fitted(data, tiny_encoder):
    """Function that fits a case, once for all tests, outside of any thread or mode."""
    models = {}

    def fit(name, kind):
        if (name, kind) not in models:
            model = make(name, kind, tiny_encoder)
            models[name, kind] = model.fit(data[0][kind], data[1])
        return models[name, kind]

    return fit


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def deterministic():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


MODES = {
    "inference_mode": [torch.inference_mode, lambda: default_device("meta")],
    "no_grad, float64": [torch.no_grad, lambda: default_dtype(torch.float64)],
    "autocast": [
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        lambda: torch.device("meta"),
    ],
    "bfloat16, deterministic": [
        lambda: default_dtype(torch.bfloat16),
        deterministic,
        lambda: torch.autograd.detect_anomaly(check_nan=False),
    ],
}


@contextlib.contextmanager
def modes(name):
    with contextlib.ExitStack() as stack:
        for mode in MODES[name]:
            stack.enter_context(mode())
        yield


def settings():
    """What a caller may have set in torch, and its generators."""
    return (
        random_states(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.is_anomaly_enabled(),
        torch.are_deterministic_algorithms_enabled(),
    )


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name, kind", CASES)
def test_modes_of_the_caller_change_nothing(
    name, kind, mode, fitted, data, tiny_encoder, tmp_path
):
    X, Y = data[0][kind], data[1]
    expected = predict_all(fitted(name, kind), X)
    with modes(mode):
        before = settings()
        fitted(name, kind).save_pretrained(tmp_path / "model")
        assert_same(predict_all(fitted(name, kind), X), expected, "predicted")
        loaded = skxmc.load(tmp_path / "model", device="cpu")
        assert_same(predict_all(loaded, X), expected, "loaded")
        copied = pickle.loads(pickle.dumps(fitted(name, kind)))
        assert_same(predict_all(copied, X), expected, "unpickled")
        model = make(name, kind, tiny_encoder).fit(X, Y)
        assert settings() == before
    assert_same(predict_all(model, X), expected, "fitted")


def in_threads(function, items, *args):
    """Results of a function in threads that all begin at the same time."""
    start = threading.Barrier(len(items))

    def call(item):
        start.wait()
        return function(item, *args)

    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(call, items))


@pytest.mark.parametrize("name, kind", CASES)
def test_fits_in_threads_are_those_of_one(name, kind, fitted, data, tiny_encoder):
    X, Y = data[0][kind], data[1]
    expected = predict_all(fitted(name, kind), X)
    before = settings()
    models = joblib.Parallel(3, backend="threading")(
        joblib.delayed(make(name, kind, tiny_encoder).fit)(X, Y) for _ in range(3)
    )
    assert settings() == before
    for model in models:
        assert_same(predict_all(model, X), expected)


def test_a_search_in_threads_is_that_of_one(data, tiny_encoder):
    model = make("grank", "texts", tiny_encoder)
    search = GridSearchCV(model, {"learning_rate": [1e-4, 1e-2]}, cv=2, n_jobs=4)
    (texts, _), Y = data[0].values(), data[1]
    before = settings()
    with joblib.parallel_backend("threading"):
        got = clone(search).fit(texts, Y).cv_results_["mean_test_score"]
    assert settings() == before
    expected = clone(search).set_params(n_jobs=1).fit(texts, Y).cv_results_
    assert got.tolist() == expected["mean_test_score"].tolist()


def test_an_ensemble_fitted_in_threads_is_that_of_one(data, tiny_encoder):
    X, Y = data[0]["texts"], data[1]
    names = ("grank", "lightdxml", "lightxml")
    members = [(name, make(name, "texts", tiny_encoder)) for name in names]
    expected = predict_all(EnsembleClassifier(members).fit(X, Y), X)
    with joblib.parallel_backend("threading"):
        model = EnsembleClassifier(members, n_jobs=3).fit(X, Y)
    assert_same(predict_all(model, X), expected)
    for got in in_threads(lambda _: predict_all(model, X), range(6)):
        assert_same(got, expected)


def test_predictions_do_not_disturb_the_fit_of_another_thread(data, tiny_encoder):
    # GUDN's encoder reads twice in a step, documents and names.
    X, Y = data[0]["texts"], data[1]
    reader = make("gudn", "texts", tiny_encoder).set_params(precision="bf16")
    reader.set_params(max_epochs=1).fit(X, Y)
    model = clone(reader).set_params(max_epochs=3)
    expected = predict_all(clone(model).fit(X, Y), X)
    over = threading.Event()

    def predict(_):
        while not over.is_set():
            reader.predict_topk(X, 5)

    def fit(_):
        try:
            assert_same(predict_all(clone(model).fit(X, Y), X), expected)
        finally:
            over.set()

    in_threads(lambda call: call(None), [fit, predict, predict])


def test_seeds_of_none_differ_in_threads(data):
    model = GRankClassifier(max_epochs=1, label_dim=8, dropout=0.3, device="cpu")
    X, Y = data[0]["features"], data[1]
    fits = in_threads(lambda _: clone(model).fit(X, Y).predict_topk(X)[1], range(4))
    assert len({scores.tobytes() for scores in fits}) == 4


@pytest.mark.parametrize("fails", ["refused", "in training"])
def test_a_fit_that_fails_moves_nothing(fails, data, monkeypatch):
    X, Y = data[0]["features"], data[1]
    model = GRankClassifier(**COMMON)
    if fails == "refused":
        model.set_params(label_dim=1)
    else:
        monkeypatch.setattr(torch.optim.AdamW, "step", None)
    with default_dtype(torch.float64):
        before = settings()
        for _ in range(2):  # the second one too has its turn
            with pytest.raises((ValueError, TypeError)):
                model.fit(X, Y)
            assert settings() == before
    monkeypatch.undo()
    (again,) = in_threads(model.set_params(label_dim=8).fit, [X], Y)
    expected = predict_all(GRankClassifier(**COMMON).fit(X, Y), X)
    assert_same(predict_all(again, X), expected)


@pytest.mark.parametrize("name, kind", CASES)
def test_predictions_in_threads_are_those_of_one(name, kind, fitted, data):
    # As after loading: what is made at the first prediction is not there yet.
    model = pickle.loads(pickle.dumps(fitted(name, kind)))
    X, reference = data[0][kind], fitted(name, kind)
    asked = [
        (slice(i, i + n), k) for i in range(6) for n, k in ((1, 1), (4, 12), (40, 3))
    ]
    expected = [reference.predict_topk(X[rows], k) for rows, k in asked]
    dense = [reference.predict_proba(X[rows]).toarray() for rows, _ in asked]
    n_threads = torch.get_num_threads()
    counts = set()

    def ask(i):
        rows, k = asked[i]
        for _ in range(3):
            assert_same(model.predict_topk(X[rows], k), expected[i])
            assert_same([model.predict_proba(X[rows]).toarray()], [dense[i]])
            counts.add(torch.get_num_threads())

    in_threads(ask, range(len(asked)))
    assert counts == {n_threads}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dense", [True, False])
def test_clusters_do_not_depend_on_modes(mode, dense, data):
    X = data[0]["features"]
    X = X if dense else sp.csr_array(X)
    model = BalancedKMeans(max_leaf_size=4, device="cpu", random_state=0)
    expected = model.fit(X).labels_
    with modes(mode):
        before = settings()
        assert (clone(model).fit(X).labels_ == expected).all()
        assert settings() == before


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", SYSTEMS)
def test_predictions_leave_the_threads_of_others_alone(name, fitted, data, two_threads):
    model, text = fitted(name, "texts"), data[0]["texts"][:1]
    done, counts = threading.Event(), set()

    def ask(_):
        for _ in range(30):
            model.predict_topk(text, 3)
        done.set()

    def watch(_):
        while not done.is_set():
            with ThreadPoolExecutor(1) as pool:  # a new thread asks what all have
                counts.add(pool.submit(torch.get_num_threads).result())
            counts.add(torch.get_num_threads())

    in_threads(lambda call: call(None), [ask, watch])
    assert counts == {2}


def test_models_may_share_a_tokenizer(data, tiny_model, tiny_tokenizer):
    encoder = tiny_model, tiny_tokenizer
    texts, Y = data[0]["texts"], data[1]
    options = dict(encoder=encoder, n_layers=1, **COMMON | dict(max_epochs=1))
    models = [
        GRankClassifier(max_length=length, **options).fit(texts, Y)
        for length in (4, 8, 16, 32)
    ]
    expected = [model.predict_topk(texts * 5, 3) for model in models]

    def ask(i):
        for _ in range(3):
            assert_same(models[i].predict_topk(texts * 5, 3), expected[i])

    in_threads(ask, range(4))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_forked_processes_predict_and_fit():
    # More than one thread, or there would be none that a child waits for.
    env = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    script = pathlib.Path(__file__).with_name("forking.py")
    call = [sys.executable, str(script)]
    done = subprocess.run(call, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) == 18
    assert {name for name, result in results.items() if result != "done"} == set()


@contextlib.contextmanager
def turn_of_another():
    """Another thread has its turn inside."""
    begun, over = threading.Event(), threading.Event()

    def hold():
        with isolate_torch():
            begun.set()
            over.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    try:
        yield over.set
    finally:
        over.set()
        thread.join()


@pytest.fixture
def interruptible():
    """SIGINT raises KeyboardInterrupt: a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt_soon(then=lambda: None):
    """Interrupt this thread in a moment, and do something a moment later."""
    this = threading.get_ident()
    threading.Timer(0.2, signal.pthread_kill, (this, signal.SIGINT)).start()
    threading.Timer(0.6, then).start()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads")
def test_waiting_for_a_turn_can_be_interrupted(data, interruptible):
    model, X, Y = GRankClassifier(**COMMON), data[0]["features"], data[1]
    expected = predict_all(model.fit(X, Y), X)
    before = settings()
    with turn_of_another(), pytest.raises(KeyboardInterrupt):
        interrupt_soon()
        model.fit(X, Y)
    assert settings() == before
    assert_same(predict_all(model, X), expected, "the fit before")
    assert_same(predict_all(model.fit(X, Y), X), expected, "another one")


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to threads")
def test_an_interrupt_waits_for_the_turn_that_was_handed_back(interruptible):
    before = settings()
    with pytest.raises(KeyboardInterrupt), isolate_torch():
        torch.rand(2)
        with release_torch():
            assert settings() == before
            other = turn_of_another()
            interrupt_soon(other.__enter__())
    other.__exit__(None, None, None)
    assert settings() == before
    with turn_of_another():
        pass
