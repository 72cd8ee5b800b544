"""The model folder: the same model after loading, or a clear no; never half of one."""

import copy
import gc
import hashlib
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import saved_models
import scipy.sparse as sp
import torch
import transformers
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import load_file, save_file
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

import skxmc
from skxmc import (
    EnsembleClassifier,
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc._checking import generators
from skxmc.nn.search import has_hnswlib
from skxmc.persistence import _reader, _saving

QUICK = dict(
    max_epochs=1,
    batch_size=16,
    validation_fraction=0.2,
    precision="fp32",
    random_state=0,
)
FEW = dict(max_leaf_size=3, n_shortlist=2, predict_shortlist=2)
READERS = (GRankClassifier, LightXMLClassifier, GUDNClassifier)
METHODS = ("predict", "predict_proba", "decision_function")
WORDS = "red green blue fox dog cat tree house river stone bright dark".split()

# An attribute that a class does not list would be left out of what it is saved as.
pytestmark = pytest.mark.filterwarnings("error:.* is no attribute that fit sets")
needs_hnswlib = pytest.mark.skipif(not has_hnswlib(), reason="needs hnswlib")


def vectors(seed=0):
    drawn = np.random.default_rng(seed).standard_normal((len(WORDS), 5))
    return dict(zip(WORDS, drawn, strict=True))


def make(kind, encoder=None, **params):
    reads = issubclass(kind, READERS) and encoder is not None
    about = dict(encoder=encoder, max_length=8, n_layers=2) if reads else {}
    if kind is TReaderXMLClassifier and "token_vectors" not in params:
        about = dict(word_dim=16)
    return kind(**QUICK | about | params)


def together(*members, **params):
    return EnsembleClassifier(list(zip("abcd", members, strict=False)), **params)


# Every system in its modes: class, what X and y are, parameters.
G, L, D, T, U = (
    GRankClassifier,
    LightXMLClassifier,
    LightDXMLClassifier,
    TReaderXMLClassifier,
    GUDNClassifier,
)
MODES = {
    "G": (G, "texts", "csr_array", {}),
    "G-clustered": (G, "texts", "csr_matrix", FEW | dict(label_texts=WORDS)),
    "G-dual": (G, "texts", "dense", dict(small_label_mode="dual")),
    "G-random": (G, "texts", "csr_array", dict(label_init="random", label_texts=WORDS)),
    "G-fp64": (G, "texts", "csr_array", dict(precision="fp64")),
    "G-strings": (G, "texts", "strings", {}),
    "G-features": (G, "features", "csr_array", {}),
    "G-bf16": (
        G,
        "features",
        "csr_matrix",
        FEW | dict(label_precision="bf16", combine="sum"),
    ),
    "G-columns": (G, "frame", "dense", dict(cluster_features=np.eye(12)) | FEW),
    "L": (L, "texts", "csr_array", {}),
    "L-clustered": (L, "texts", "dense", FEW),
    "L-bf16": (L, "features", "csr_array", FEW | dict(label_precision="bf16")),
    "L-fp64": (L, "features", "dense", dict(precision="fp64", label_names=WORDS)),
    "L-strings": (L, "texts", "strings", {}),
    "L-two": (L, "features", "two", dict(early_stopping=True)),
    "D": (D, "texts", "csr_array", dict(n_frequent=3, label_texts=WORDS)),
    "D-hnsw": (D, "texts", "csr_matrix", dict(n_frequent=3, search="hnsw")),
    "D-mapping": (D, "texts", "dense", dict(token_vectors=vectors())),
    "D-matrix": (
        D,
        "texts",
        "csr_array",
        dict(token_vectors=(np.arange(24.0).reshape(12, 2), WORDS)),
    ),
    "D-features": (D, "features", "csr_array", dict(beta="auto", swa_start=0.0)),
    "D-fp64": (D, "features", "csr_array", dict(precision="fp64")),
    "D-strings": (D, "texts", "strings", {}),
    "T": (T, "texts", "csr_array", dict(label_texts=WORDS)),
    "T-clustered": (T, "texts", "dense", FEW | dict(layer_norm=True)),
    "T-parents": (
        T,
        "texts",
        "csr_array",
        dict(label_parents=[[12], [12, 13], None] * 4, parent_texts=["fox", "dog"]),
    ),
    "T-sparse": (
        T,
        "texts",
        "csr_matrix",
        dict(label_parents=sp.csr_array(np.eye(12, k=1)), search="hnsw"),
    ),
    "T-mapping": (
        T,
        "texts",
        "csr_array",
        dict(token_vectors=vectors(), n_heads=1, positional="sinusoidal"),
    ),
    "T-features": (T, "features", "csr_array", {}),
    "T-alone": (T, "features", "csr_array", dict(use_teacher=False) | FEW),
    "T-strings": (T, "texts", "strings", dict(label_parents=None)),
    "U": (U, "texts", "csr_array", dict(label_texts=WORDS)),
    "U-paper": (
        U,
        "texts",
        "csr_matrix",
        dict(label_texts=WORDS, variant="paper", label_layers=2),
    ),
    "U-clustered": (U, "texts", "dense", FEW | dict(label_texts=WORDS)),
    "U-features": (U, "features", "csr_array", dict(label_branch="multi-hot")),
    "U-strings": (U, "texts", "strings", dict(label_texts=["a", "b", "c"])),
}
ENSEMBLES = {
    "E": lambda encoder: together(
        make(G, encoder), make(L, encoder, random_state=1), "drop", weights=[2, 1, 0]
    ),
    "E-features": lambda encoder: together(
        make(G), make(D), scale="rank", weights=np.array([1.0, 0.5]), depth=7
    ),
    "E-strings": lambda encoder: together(make(D), make(T)),
    "E-nested": lambda encoder: together(
        together(make(D), "drop"), make(G, encoder), label_names=WORDS
    ),
}
ENSEMBLE_DATA = {
    "E": ("texts", "csr_array"),
    "E-features": ("features", "dense"),
    "E-strings": ("texts", "strings"),
    "E-nested": ("texts", "csr_matrix"),
}


def build(mode, encoder):
    if mode in ENSEMBLES:
        return ENSEMBLES[mode](encoder), *ENSEMBLE_DATA[mode]
    kind, X, y, params = MODES[mode]
    return make(kind, encoder if X == "texts" else None, **params), X, y


@pytest.fixture(scope="module")
def data(colours):
    texts, Y, _ = colours
    X = CountVectorizer().fit_transform(texts).astype(np.float64)
    strings = np.array(["b", "c", "a"])[Y.toarray().argmax(axis=1).clip(max=2)]
    return dict(
        texts=texts,
        features=X,
        frame=pd.DataFrame(X.toarray(), columns=[f"x{j}" for j in range(12)]),
        csr_array=Y,
        csr_matrix=sp.csr_matrix(Y),
        dense=Y.toarray().astype(int),
        strings=strings,
        two=strings == "a",
    )


def modes():
    for name in [*MODES, *ENSEMBLES]:
        graph = "hnsw" in str(MODES.get(name))
        yield pytest.param(name, marks=needs_hnswlib if graph else ())


@pytest.fixture(scope="module", params=modes())
def case(request, data, tiny_encoder, tmp_path_factory):
    """A fitted model, its folder, what was loaded, and a folder of that."""
    model, X, y = build(request.param, tiny_encoder)
    X, y = data[X], data[y]
    folder = tmp_path_factory.mktemp("case")
    model.fit(X, y).save_pretrained(folder / "one")
    loaded = skxmc.load(folder / "one")
    # Before they predict, which a network and a tokenizer may keep traces of.
    loaded.save_pretrained(folder / "two")
    return SimpleNamespace(
        model=model, X=X, y=y, folder=folder, loaded=loaded, answers=answers(model, X)
    )


@pytest.fixture(scope="module")
def saved(data, tiny_encoder, tmp_path_factory):
    """Folders, not to be changed, of a few models; and the models."""
    wide = FEW | dict(label_texts=WORDS)
    models = {
        "text": make(G, tiny_encoder, **wide).fit(data["texts"], data["csr_array"]),
        "small": make(G).fit(data["features"], data["csr_array"]),
        "other": make(G, random_state=1).fit(data["features"], data["csr_array"]),
        "pair": together(make(G), "drop").fit(data["features"], data["csr_array"]),
    }
    if has_hnswlib():
        graph = make(D, n_frequent=3, search="hnsw")
        models["graph"] = graph.fit(data["texts"], data["csr_array"])
    folder = tmp_path_factory.mktemp("saved")
    for name, model in models.items():
        model.save_pretrained(folder / name)
    return SimpleNamespace(folder=folder, **models)


# A process that has never seen the hub, may ask it, and must not; afterwards it is
# killed again and again, each time in another moment of replacing a model.
ELSEWHERE = """
import json, os, pickle, signal, socket, sys
from pathlib import Path

calls = []

def refuse(*args, **kwargs):
    calls.append(args)  # an error alone may be caught
    raise OSError("there is no network")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = refuse
import numpy as np, scipy.sparse as sp, torch
import skxmc
from skxmc.persistence import _saving

torch.set_num_threads(1)
torch.load = pickle.load = pickle.loads = refuse
folder, source = map(Path, sys.argv[1:3])
X = {"text": json.loads(Path(folder, "texts.json").read_text())}
X["small"] = np.load(folder / "features.npy")
for name in X:
    ids, scores = skxmc.load(source / name).predict_topk(X[name], 4)
    np.savez(folder / f"{name}.npz", ids=ids, scores=scores)
assert not calls, calls

model = skxmc.load(source / "other")
owners = {"os": os, "Path": Path, "_saving": _saving}
for point in sys.argv[3:] if hasattr(os, "fork") else []:
    if os.fork() == 0:
        owner, name, call, when = point.split("-")
        owner, calls = owners[owner], []

        def killing(*args, original=getattr(owner, name)):
            calls.append(args)
            now = len(calls) == int(call)
            if now and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            value = original(*args)
            if now:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        setattr(owner, name, killing)
        try:
            model.save_pretrained(folder / point / "model")
        finally:
            os._exit(1)
    _, status = os.wait()
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, point
"""
# The moments, and which model stands there then.
KILLED_AT = {
    "_saving-save_file-1-before": "small",
    "_saving-save_file-1-after": "small",
    "_saving-_dump-1-after": "small",
    "_saving-_dump-2-before": "small",
    "_saving-_dump-2-after": "small",
    "os-fsync-1-before": "small",
    "Path-rename-1-before": "small",
    "Path-rename-1-after": None,  # renamed, and the new one not yet
    "Path-rename-2-after": "other",
}


@pytest.fixture(scope="module")
def elsewhere(saved, data, tmp_path_factory):
    """Folder that this process leaves behind."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "texts.json").write_text(json.dumps(data["texts"]))
    np.save(folder / "features.npy", data["features"].toarray())
    for point in KILLED_AT:
        shutil.copytree(saved.folder / "small", folder / point / "model")
    mine = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(folder), str(saved.folder), *KILLED_AT],
        env=mine | {"HF_HOME": str(folder / "hub"), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    """Function that copies a folder of `saved`, for damage."""

    def copy_of(name):
        return Path(shutil.copytree(saved.folder / name, tmp_path / name))

    return copy_of


def answers(model, X):
    some, one = part_of(X, slice(12)), part_of(X, slice(7, 8))
    return [
        *model.predict_topk(some, 20),
        *model.predict_topk(one, 3),
        *model.predict_topk(one, 20, return_names=True),
        *(getattr(model, method)(some) for method in METHODS),
    ]


def part_of(X, rows):
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def assert_identical(got, expected):
    """Of the same type, dtype and bits, all the way down."""
    assert type(got) is type(expected)
    if isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_identical(one, other)
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        assert_identical(list(got.values()), list(expected.values()))
    elif sp.issparse(expected):
        assert got.shape == expected.shape and got.format == expected.format
        for part in ("data", "indices", "indptr"):
            assert_identical(getattr(got, part), getattr(expected, part))
    elif isinstance(expected, np.ndarray):
        assert got.dtype == expected.dtype
        assert_array_equal(got, expected, strict=True)
    elif isinstance(expected, BaseEstimator):
        params = [e.get_params(deep=False) for e in (got, expected)]
        assert_identical(*params)
    else:
        assert got == expected


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def change_config(folder, change):
    """Have config.json changed in place."""
    config = config_of(folder)
    change(config)
    if "sha256" in config:
        config["sha256"] = _saving._hash_config(config)
    (folder / "config.json").write_text(json.dumps(config))


def sign(folder):
    """Write the files that there are into config.json."""

    def signed(config):
        for name in list(config["files"]):
            path = folder / name
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            config["files"][name] = {"bytes": len(content), "sha256": digest}

    change_config(folder, signed)


def content_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else 0
        for path in folder.rglob("*")
    }


def again(model, folder, **options):
    model.save_pretrained(folder / "again")
    return skxmc.load(folder / "again", **options)


# Round trip


def test_answers_are_the_same(case):
    assert_identical(answers(case.loaded, case.X), case.answers)


def test_parameters_are_the_same(case):
    model, loaded = case.model, case.loaded
    assert type(loaded) is type(model)
    expected = model.get_params(deep=False)
    assert_identical(loaded.get_params(deep=False), expected)
    assert list(loaded.get_params()) == list(model.get_params())


def members_of(model):
    inner = [m for e in getattr(model, "estimators_", []) for m in members_of(e)]
    return [model, *inner]


def test_attributes_are_the_same(case):
    pairs = list(zip(members_of(case.loaded), members_of(case.model), strict=True))
    for loaded, model in pairs:
        assert set(vars(loaded)) == set(vars(model))
        for name in ("history_", "label_names_", "classes_", "label_counts_"):
            missing = "there is none"
            values = [getattr(one, name, missing) for one in (loaded, model)]
            assert_identical(*values)
        if hasattr(model, "network_"):
            assert_same_network(loaded.network_, model.network_)


def assert_same_network(loaded, model):
    state = model.state_dict()
    assert list(loaded.state_dict()) == list(state)
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == state[name].dtype and tensor.device.type == "cpu"
        assert torch.equal(tensor, state[name])
    trained = [
        {n: p.requires_grad for n, p in m.named_parameters()} for m in (loaded, model)
    ]
    assert trained[0] == trained[1]
    assert not any(module.training for module in loaded.modules())
    names = [[(n, type(m)) for n, m in net.named_modules()] for net in (loaded, model)]
    assert names[0] == names[1]


def same_again(name):
    # transformers notes there how the tokenizer itself was loaded.
    return not name.endswith("tokenizer_config.json")


def test_saved_again_is_the_same(case):
    contents = [content_of(case.folder / name) for name in ("one", "two")]
    configs = [json.loads(content.pop("config.json")) for content in contents]
    for each in contents + [config["files"] for config in configs]:
        for name in [name for name in each if not same_again(name)]:
            each[name] = "there"
    assert contents[0] == contents[1]
    assert configs[0] == configs[1]


def test_loaded_pickles_and_clones(case):
    reloaded = pickle.loads(pickle.dumps(case.loaded))
    assert_identical(answers(reloaded, case.X), case.answers)
    copied = clone(case.loaded)
    assert_identical(copied.get_params(deep=False), case.model.get_params(deep=False))
    with pytest.raises(NotFittedError):
        copied.predict(case.X)


def test_loaded_fits_again(case):
    # All have an int for a random_state: fitted again, the original is as it was.
    fitted = skxmc.load(case.folder / "two").fit(case.X, case.y)
    assert_identical(answers(fitted, case.X), case.answers)
    histories = [getattr(one, "history_", None) for one in (fitted, case.model)]
    assert_identical(*histories)


def test_tokenizer_saved_again_is_the_same(saved, tmp_path):
    again(skxmc.load(saved.folder / "text"), tmp_path)
    assert content_of(tmp_path / "again") == content_of(saved.folder / "text")


@pytest.mark.parametrize(
    "y",
    [
        np.array([0, 1, 2] * 20),
        np.array([0, 1, 2] * 20, np.uint16),
        np.array([0, 1] * 30, np.float16),
        np.array([True, False] * 30),
        np.array(["é", "石油", "\ud800"] * 20),
        np.array(["b", "aa", "c"] * 20, object),
        ["x", "y"] * 30,
        pytest.param(
            np.array(["x", "y"] * 30, getattr(np.dtypes, "StringDType", lambda: "O")()),
            id="StringDType",
        ),
        pytest.param(
            np.array([0, 1, 2] * 20, ">i4"),
            id="big-endian",
        ),
        pytest.param(
            pd.Series(["x", "y"] * 30),
            id="pandas",
        ),
        pytest.param(
            pd.Series([0, 1] * 30, dtype="Int64"),
            id="pandas-Int64",
        ),
        pytest.param(
            pl.Series(["x", "y"] * 30),
            id="polars",
        ),
    ],
    ids=lambda y: str(getattr(y, "dtype", "list")),
)
def test_classes_of_every_kind(y, data, tmp_path):
    X = data["features"]
    model = make(G).fit(X, y)
    loaded = again(model, tmp_path)
    native = model.classes_.dtype.newbyteorder("=")
    assert_identical(loaded.classes_, model.classes_.astype(native))
    got, expected = answers(loaded, X), answers(model, X)
    if model.classes_.dtype.kind == "i":  # bytes may come in another order
        place = -len(METHODS)  # of predict
        expected[place] = expected[place].astype(native)
    assert_identical(got, expected)


@pytest.mark.parametrize("kind", [sp.coo_array, sp.csc_matrix, sp.lil_array, bool])
def test_sparse_labels_of_every_kind(kind, data, tmp_path):
    X, Y = data["features"], data["csr_array"]
    Y = Y.astype(bool) if kind is bool else kind(Y)
    model = make(G).fit(X, Y)
    assert_identical(answers(again(model, tmp_path), X), answers(model, X))


@pytest.mark.parametrize(
    "name, value, after",
    [
        ("encoder", Path("some/where"), "some/where"),
        ("tol", -0.0, -0.0),
        ("random_state", np.int64(3), 3),
        ("dropout", np.float32(0.1), float(np.float32(0.1))),
        ("label_names", tuple(WORDS), tuple(WORDS)),
        ("label_names", np.array(WORDS), np.array(WORDS)),
        ("label_names", list(range(12)), list(range(12))),
        ("label_names", [None, 1.5, "a"] * 4, [None, 1.5, "a"] * 4),
        ("swa_start", None, None),
        ("early_stopping", True, True),
    ],
)
def test_parameters_of_every_kind(name, value, after, data, tmp_path):
    model = make(G, **{name: value}).fit(data["features"], data["csr_array"])
    assert_identical(getattr(again(model, tmp_path), name), after)


def test_label_names_that_are_tuples(data, tmp_path):
    names = [(word, i) for i, word in enumerate(WORDS)]
    model = make(G, label_names=names).fit(data["features"], data["csr_array"])
    assert again(model, tmp_path).label_names_.tolist() == names


@pytest.mark.parametrize(
    "kind, name, value",
    [
        (D, "token_vectors", vectors),
        (G, "cluster_features", lambda i: np.asfortranarray(np.eye(12, 5) * (i + 1))),
        (G, "cluster_features", lambda i: sp.csc_array(np.eye(12, 5) * (i + 1))),
    ],
    ids=["mapping", "fortran", "csc"],
)
def test_parameters_that_are_copied_to_be_written(kind, name, value, data, tmp_path):
    more = FEW if kind is G else {}
    members = [make(kind, **{name: value(i)}, **more) for i in range(4)]
    X = data["texts" if kind is D else "features"]
    model = together(*members).fit(X, data["csr_array"])
    gc.collect()
    loaded = again(model, tmp_path)
    for i, (_, member) in enumerate(loaded.estimators):
        found, expected = getattr(member, name), value(i)
        if sp.issparse(found):
            found, expected = found.toarray(), expected.toarray()
        assert_array_equal(list(found), list(expected))
        if kind is D:
            assert_array_equal(list(found.values()), list(expected.values()))


@pytest.fixture
def warned_always():
    """Warnings that torch gives once a process, each time."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


def test_read_only_arrays(data, tmp_path, warned_always):
    np.save(tmp_path / "vectors.npy", np.eye(12, 5))
    matrix = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    model = make(D, token_vectors=(matrix, WORDS))
    model.fit(data["texts"], data["csr_array"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again(model, tmp_path)


def test_saving_changes_nothing(data, tiny_encoder, tmp_path):
    model = together(make(G, tiny_encoder, **FEW), make(D), make(T))
    model.fit(data["texts"], data["csr_array"])
    expected, states = answers(model, data["texts"]), generators()
    model.save_pretrained(tmp_path / "model")
    assert generators() == states
    assert_identical(answers(model, data["texts"]), expected)
    assert_identical(answers(skxmc.load(tmp_path / "model"), data["texts"]), expected)


# Loading


@pytest.fixture
def cut_off(monkeypatch):
    """No network, and nothing that unpickles; a list of what was called though."""
    calls = []

    def refuse(*args, **kwargs):
        calls.append(args)  # the error may be caught
        raise AssertionError("this was not to be called")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(joblib, "load", refuse)
    return calls


LOADED = ["text", pytest.param("graph", marks=needs_hnswlib), "small", "pair"]


@pytest.mark.parametrize("name", LOADED)
def test_loading_is_without_network_and_pickle(name, saved, cut_off):
    skxmc.load(saved.folder / name)
    assert not cut_off


@pytest.mark.parametrize("name", LOADED)
def test_loading_draws_nothing(name, saved):
    states = generators()
    skxmc.load(saved.folder / name)
    assert generators() == states


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", LOADED)
def test_nothing_is_said(name, saved, tmp_path, capfd):
    model = skxmc.load(saved.folder / name)
    model.save_pretrained(tmp_path / "model")
    assert capfd.readouterr() == ("", "")


def test_transformers_talks_as_before(saved, tmp_path):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    again(skxmc.load(saved.folder / "text"), tmp_path)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_moved_folder(saved, copied, data, tmp_path):
    folder = tmp_path / "far" / "away é"
    folder.parent.mkdir()
    copied("text").rename(folder)
    loaded = skxmc.load(str(folder))
    assert_identical(answers(loaded, data["texts"]), answers(saved.text, data["texts"]))


def test_another_process(elsewhere, saved, data):
    for name in ("text", "small"):
        found = np.load(elsewhere / f"{name}.npz")
        X = data["texts" if name == "text" else "features"]
        expected = getattr(saved, name).predict_topk(X, 4)
        assert_identical([found["ids"], found["scores"]], list(expected))


def test_device(saved, data, tmp_path):
    assert skxmc.load(saved.folder / "small").device == "auto"
    assert GRankClassifier.from_pretrained(saved.folder / "small").device == "auto"
    model = clone(saved.small).set_params(device="cpu")
    model.fit(data["features"], data["csr_array"])
    assert again(model, tmp_path).device == "auto"
    loaded = skxmc.load(tmp_path / "again", device="cpu")
    assert loaded.device == loaded.get_params()["device"] == "cpu"
    assert_identical(
        answers(loaded, data["features"]), answers(model, data["features"])
    )
    loaded = GRankClassifier.from_pretrained(tmp_path / "again", device="cuda:7")
    assert loaded.device == "cuda:7"


def test_device_of_members(data, tmp_path):
    model = together(make(G, device="cpu"), together(make(D, device="cpu")))
    model.fit(data["features"], data["csr_array"])
    model.save_pretrained(tmp_path / "model")
    for device in ("auto", "cuda:7"):
        loaded = skxmc.load(tmp_path / "model", device=device)
        devices = [getattr(m, "device", device) for m in members_of(loaded)]
        assert set(devices) == {device}


@pytest.mark.parametrize("verify", [True, False])
def test_hashes_are_read_if_asked(verify, saved, monkeypatch):
    read = []
    monkeypatch.setattr(
        _saving,
        "_hash",
        lambda path, hash=_saving._hash: read.append(path) or hash(path),
    )
    skxmc.load(saved.folder / "text", verify=verify)
    assert len(read) == verify * len(config_of(saved.folder / "text")["files"])


def test_from_pretrained_of_the_wrong_class(saved):
    with pytest.raises(ValueError, match="holds a GRankClassifier, not a LightXML"):
        LightXMLClassifier.from_pretrained(saved.folder / "text")
    with pytest.raises(ValueError, match=r"pair holds a Ensemble.*skxmc\.load"):
        GRankClassifier.from_pretrained(saved.folder / "pair")
    loaded = EnsembleClassifier.from_pretrained(saved.folder / "pair")
    assert type(loaded) is EnsembleClassifier


# Damage


FILES = [
    ("text", "config.json"),
    ("text", "labels.json"),
    ("text", "model.safetensors"),
    ("text", "encoder/config.json"),
    ("text", "encoder/model.safetensors"),
    ("text", "tokenizer/tokenizer.json"),
    ("text", "tokenizer/tokenizer_config.json"),
]


def test_files_are_these(saved):
    found = [n for n, content in content_of(saved.folder / "text").items() if content]
    assert sorted(found) == sorted(name for _, name in FILES)
    config = config_of(saved.folder / "text")
    assert set(config["files"]) == set(found) - {"config.json"}
    assert config["format"] == 3 and config["class"] == "GRankClassifier"
    assert config["versions"]["skxmc"] == skxmc.__version__
    assert config["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name, file", FILES)
def test_missing_file(name, file, verify, copied):
    folder = copied(name)
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError) as error:
        skxmc.load(folder, verify=verify)
    assert file in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("share", [0, 0.5, 1.1])
@pytest.mark.parametrize("name, file", FILES)
def test_file_of_another_length(name, file, share, verify, copied):
    if (file, share) == ("config.json", 1.1):
        pytest.skip("blanks behind it change nothing")
    path = copied(name) / file
    content = path.read_bytes()
    longer = content + b" " * len(content)
    path.write_bytes(longer[: int(share * len(content))])
    with pytest.raises(ValueError, match="is damaged") as error:
        skxmc.load(path.parents[file.count("/")], verify=verify)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("place", [0, 100, -1])
@pytest.mark.parametrize("name, file", FILES[1:])
def test_flipped_byte(name, file, place, copied):
    path = copied(name) / file
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged: its SHA-256") as error:
        skxmc.load(path.parents[file.count("/")])
    assert str(path) in str(error.value)


def test_broken_header_without_verification(copied):
    path = copied("small") / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[:8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        skxmc.load(path.parent, verify=False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"1",
        b'"format class"',
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": 2}',
        b'{"format": 2, "class": "GRankClassifier"}',
        b'{"format": 2, "class": "GRankClassifier", "files": [], "model": {}}',
        b'{"architectures": ["BertModel"], "model_type": "bert"}',
        b'{"format": 2, "class": "x", "files": {}}',
    ],
    ids=lambda content: content[:50].decode(errors="replace"),
)
def test_other_config(content, copied):
    folder = copied("small")
    (folder / "config.json").write_bytes(content)
    for load in (skxmc.load, GRankClassifier.from_pretrained):
        with pytest.raises(ValueError) as error:
            load(folder)
        assert str(folder / "config.json") in str(error.value)


@pytest.mark.parametrize(
    "folder", saved_models.written(), ids=lambda folder: "/".join(folder.parts[-2:])
)
def test_folder_of_every_format(folder):
    model = skxmc.load(folder, device="cpu")
    ids, scores = model.predict_topk(saved_models.documents(folder.name)[0], 3)
    expected = json.loads(folder.with_suffix(".json").read_text())
    assert_allclose(scores, expected["scores"], rtol=1e-4)
    apart = np.abs(np.diff(expected["scores"], axis=1)).min(axis=1) > 1e-4
    assert apart.any()
    assert_array_equal(ids[apart], np.array(expected["ids"])[apart])


@pytest.mark.parametrize("number", [0, 1, 99])
def test_other_format(number, copied):
    folder = copied("small")

    def changed(config):
        config.update(format=number)
        config["versions"]["skxmc"] = "9.8.7"

    change_config(folder, changed)
    for load in (skxmc.load, GRankClassifier.from_pretrained):
        with pytest.raises(ValueError) as error:
            load(folder)
        for part in (
            folder,
            f"format {number}",
            "9.8.7",
            skxmc.__version__,
            "formats 2 and 3",
        ):
            assert str(part) in str(error.value)


@pytest.mark.parametrize(
    "about", [{}, {"format": "1"}, {"format": None}, {"format": True}, {"versions": []}]
)
def test_config_of_something_else(about, copied):
    folder = copied("small")
    about = {"format": 2, "class": "G", "versions": {}} | about
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"config\.json was not written by skxmc"):
        skxmc.load(folder)


@pytest.mark.parametrize("load", [skxmc.load, GRankClassifier.from_pretrained])
def test_no_folder(load, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder .*nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no model: config\.json"):
        load(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="holds no model"):
        load(str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        load(tmp_path / "file" / "below")


# A config that someone wrote


def named(name, **parameters):
    """A model of that class."""
    return {"estimator": name, "parameters": parameters, "state": {}}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("os.system"),
        pytest.param("sklearn.linear_model.LogisticRegression"),
        pytest.param("torch.nn.Bilinear"),
        pytest.param("persistence.shutil.rmtree"),
        pytest.param("..os.system"),
        pytest.param("base.LogisticRegression"),
        pytest.param("_reader.TfidfVectorizer"),
        pytest.param(
            "cluster.BalancedKMeans",
        ),
        "datasets.load_icd10cm",
        "datasets.make_xmc",
        "nn.encoders.load_encoder",
        "persistence.load",
        "persistence.os",
        "_teacher.Teacher",
        "grank.GRankClassifier",
        "skxmc.grank.GRankClassifier",
        "GRankNetwork",
        "Teacher",
        "Bilinear",
        "Linear",
        "load",
        "",
        ".",
    ],
)
def test_class_that_is_none_of_ours(name, copied, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("this was not to be called")

    # Constructors of scikit-learn, and functions of ours, are never called.
    monkeypatch.setattr(LogisticRegression, "__init__", refuse)
    monkeypatch.setattr(_reader.TfidfVectorizer, "__init__", refuse)
    monkeypatch.setattr(skxmc.datasets, "make_xmc", refuse)
    monkeypatch.setattr(skxmc.datasets, "load_icd10cm", refuse)
    monkeypatch.setattr(os, "system", refuse)
    folder = copied("pair")
    change_config(folder, lambda config: config.update(model=named(name)))
    with pytest.raises(ValueError, match=r"pair/config\.json .* it names the class"):
        skxmc.load(folder)


def test_nothing_is_called(copied, tmp_path):
    touched = tmp_path / "touched"
    folder = copied("pair")
    for name in ("os.system", "posix.system", "subprocess.run", "builtins.eval"):
        model = named(name, command=f"touch {touched}", args=["touch", str(touched)])
        change_config(folder, lambda config, model=model: config.update(model=model))
        with pytest.raises(Exception, match="."):
            skxmc.load(folder)
        assert not touched.exists()


def inside(value):
    """A change that puts a value in the place of a parameter."""
    return lambda config: config["model"]["parameters"].update(depth=value)


@pytest.mark.parametrize(
    "change",
    [
        inside({}),
        inside({"unknown": 1}),
        inside({"tensor": "nothing"}),
        inside({"numbers": "nothing"}),
        inside({"texts": "nothing"}),
        inside({"same": 99}),
        inside({"object": "ReLU"}),
        inside({"object": "ReLU", "state": {}}),
        inside({"object": "GRankClassifier", "state": {}}),
        inside({"object": "os", "state": {}}),
        inside({"module": "ReLU", "state": {}, "passing": [], "modules": {}}),
        inside({"container": "dok_array"}),
        inside({"dtype": "nonsense"}),
        lambda config: config["model"].pop("state"),
        lambda config: config["model"].update(parameters=5),
        lambda config: config["model"]["parameters"].update(unknown=1),
        lambda config: config.update(model={}),
        pytest.param(inside({"float": "nonsense"}), id="float"),
        pytest.param(
            inside(
                {"sparse": "csr_array", "shape": [2, 2]}
                | dict.fromkeys(("data", "indices", "indptr"), [1, 2])
            ),
            id="sparse",
        ),
        pytest.param(
            inside({"graph": "no.bin", "dim": 3}),
            marks=needs_hnswlib,
            id="graph",
        ),
        pytest.param(
            inside({"transformer": "no", "dtype": "float32"}),
            id="transformer",
        ),
        pytest.param(
            inside(json.loads('{"tuple": [' * 330 + "]}" * 330)),
            id="deep",
        ),
        pytest.param(
            lambda config: config.update(model=5),
            id="model-int",
        ),
        pytest.param(
            lambda config: config.update(model=[]),
            id="model-list",
        ),
        pytest.param(
            lambda config: config.update(files={"labels.json": {}}),
            id="file-empty",
        ),
        pytest.param(
            lambda config: config.update(files={"labels.json": 5}),
            id="file-int",
        ),
        pytest.param(
            lambda config: config.update(format=2, versions=[]),
            id="versions",
        ),
    ],
)
def test_changed_config(change, copied):
    folder = copied("pair")
    change_config(folder, change)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        skxmc.load(folder)
    assert str(folder) in str(error.value)


def test_missing_tensor(copied):
    folder = copied("small")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.startswith("network_"))
    del tensors[name]
    save_file(tensors, folder / "model.safetensors")
    sign(folder)
    with pytest.raises(ValueError, match=r"config\.json") as error:
        skxmc.load(folder)
    assert name in str(error.value)


def test_missing_weights_of_the_transformer(copied):
    path = copied("text") / "encoder" / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if "attention" in name)
    del weights[name]
    save_file(weights, path, {"format": "pt"})
    sign(path.parents[1])
    with pytest.raises(ValueError, match=r"encoder is damaged: no weights for"):
        skxmc.load(path.parents[1])


def test_pickled_weights_of_the_transformer(copied, cut_off):
    folder = copied("text")
    path = folder / "encoder" / "model.safetensors"
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()
    change_config(folder, lambda config: config["files"].pop(f"encoder/{path.name}"))
    with pytest.raises((ValueError, FileNotFoundError)):
        skxmc.load(folder)
    assert not cut_off


def test_code_in_the_folder_is_not_run(copied, tmp_path):
    folder = copied("text")
    code = f"open({str(tmp_path / 'touched')!r}, 'w')\n"
    for part in ("encoder", "tokenizer"):
        (folder / part / "mine.py").write_text(code + "class Mine: pass\n")
        with pytest.raises(ValueError, match=rf"{part}/mine\.py is no part of"):
            skxmc.load(folder)
        (folder / part / "mine.py").unlink()
    for file, key in [
        ("encoder/config.json", "AutoModel"),
        ("tokenizer/tokenizer_config.json", "AutoTokenizer"),
    ]:
        about = json.loads((folder / file).read_text())
        about["auto_map"] = {key: "mine.Mine", "AutoConfig": "mine.Mine"}
        (folder / file).write_text(json.dumps(about))
    sign(folder)
    skxmc.load(folder)  # bert is known without it
    assert not (tmp_path / "touched").exists()


# Writing


def assert_is(folder, model, X):
    """The folder holds that model."""
    loaded = skxmc.load(folder)
    assert_identical(answers(loaded, X), answers(model, X))


def test_unfitted_classifier(tmp_path):
    for model in (make(G), together(make(G))):
        with pytest.raises(NotFittedError):
            model.save_pretrained(tmp_path / "new" / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": "x"},
        {".hidden": "x"},
        {"config.json": "{"},
        {"config.json": "[]"},
        {"config.json": '{"model_type": "bert"}', "model.safetensors": "x"},
        {"data/config.json": '{"format": 2, "class": "GRankClassifier"}'},
        pytest.param(
            {"config.json": '{"format": "csv", "class": "x"}', "data.csv": "x"},
            id="other-format-and-class",
        ),
    ],
    ids=lambda files: "-".join(files),
)
def test_what_is_no_model_is_not_replaced(files, saved, tmp_path):
    folder = tmp_path / "target"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    before = content_of(tmp_path)
    with pytest.raises(FileExistsError, match="no part of a model"):
        saved.small.save_pretrained(folder)
    assert content_of(tmp_path) == before


def test_transformer_is_not_replaced(saved, tiny_encoder, tmp_path):
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "bert"))
    before = content_of(tmp_path)
    with pytest.raises(FileExistsError, match="no part of a model"):
        saved.small.save_pretrained(folder)
    assert content_of(tmp_path) == before


def test_file_is_not_replaced(saved, tmp_path):
    (tmp_path / "target").write_text("x")
    with pytest.raises(FileExistsError, match="target is a file"):
        saved.small.save_pretrained(tmp_path / "target")
    with pytest.raises(OSError):
        saved.small.save_pretrained(tmp_path / "target" / "below")
    assert content_of(tmp_path) == {"target": b"x"}


def test_other_files_beside_a_model_are_not_lost(saved, copied):
    folder = copied("small")
    (folder / "README.md").write_text("x")
    with pytest.raises(FileExistsError):
        saved.other.save_pretrained(folder)


@pytest.mark.parametrize("place", ["model", "a/b/model", "é ü", "model.v1.2"])
@pytest.mark.parametrize("kind", [str, Path])
def test_replaces_an_older_model(kind, place, saved, data, tmp_path):
    folder = tmp_path / place
    saved.small.save_pretrained(kind(folder))
    assert_is(folder, saved.small, data["features"])
    saved.other.save_pretrained(kind(folder))
    assert_is(folder, saved.other, data["features"])
    assert os.listdir(folder.parent) == [folder.name]


def test_replaces_a_model_of_another_class_and_format(saved, copied, data):
    folder = copied("text")
    change_config(folder, lambda config: config.update(format=99))
    saved.small.save_pretrained(folder)
    assert_is(folder, saved.small, data["features"])
    expected = ["config.json", "labels.json", "model.safetensors"]
    assert sorted(os.listdir(folder)) == expected


def test_replaces_an_empty_folder(saved, data, tmp_path):
    (tmp_path / "model").mkdir()
    saved.small.save_pretrained(tmp_path / "model")
    assert_is(tmp_path / "model", saved.small, data["features"])
    assert os.listdir(tmp_path) == ["model"]


def test_saves_over_the_folder_it_came_from(copied, data):
    folder = copied("text")
    loaded = skxmc.load(folder)
    expected = answers(loaded, data["texts"])
    loaded.save_pretrained(folder)
    assert_identical(answers(loaded, data["texts"]), expected)
    assert_identical(answers(skxmc.load(folder), data["texts"]), expected)


@pytest.mark.parametrize("path", ["model", "./model", "a/../model", "a/b"])
def test_relative_path(path, saved, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for model in (saved.other, saved.small):
        model.save_pretrained(path)
        assert_is(path, model, data["features"])
    assert (tmp_path / path / "config.json").exists()


def test_link_to_a_model(saved, copied, data, tmp_path):
    (tmp_path / "latest").symlink_to(copied("small"))
    saved.other.save_pretrained(tmp_path / "latest")
    assert_is(tmp_path / "latest", saved.other, data["features"])
    assert sorted(os.listdir(tmp_path)) == ["latest", "small"]


@pytest.fixture
def umask():
    before = os.umask(0)
    yield os.umask
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002, 0o077])
def test_permissions_of_folders_follow_the_umask(mask, saved, umask, tmp_path):
    umask(mask)
    saved.text.save_pretrained(tmp_path / "made" / "model")
    modes = {path.stat().st_mode & 0o777 for path in folders(tmp_path / "made")}
    assert modes == {0o777 & ~mask}


def folders(folder):
    return [folder, *(path for path in folder.rglob("*") if path.is_dir())]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_permissions_of_files_follow_the_umask(saved, umask, tmp_path):
    umask(0o022)
    saved.text.save_pretrained(tmp_path / "model")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    modes = {path.name: path.stat().st_mode & 0o777 for path in files}
    assert modes == dict.fromkeys(modes, 0o644)


# Writing that ends early


def fails(monkeypatch, owner, name, call, error, after=False):
    """Have the function raise when it is called that often, or behind that call."""
    original, calls = getattr(owner, name), []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == call and not after:
            raise error("disk is full")
        value = original(*args, **kwargs)
        if len(calls) == call:
            raise error("disk is full")
        return value

    monkeypatch.setattr(owner, name, failing)
    return calls


def str_of(value):
    return getattr(value, "__name__", str(value)).rpartition(".")[2]


POINTS = [
    (_saving, "save_file", 1),
    (_saving, "_dump", 1),
    (_saving, "_dump", 2),
    (_saving, "_hash", 2),
    (os, "fsync", 1),
    (transformers.PreTrainedModel, "save_pretrained", 1),
    (transformers.PreTrainedTokenizerBase, "save_pretrained", 1),
    pytest.param(
        Path,
        "mkdir",
        2,
    ),
    (Path, "rename", 1),
    (Path, "rename", 2),
]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("owner, name, call", POINTS, ids=str_of)
def test_crash_leaves_the_older_model(
    owner, name, call, error, saved, copied, data, monkeypatch
):
    folder = copied("small")
    before = content_of(folder.parent)
    with monkeypatch.context() as patch:
        calls = fails(patch, owner, name, call, error)
        with pytest.raises(error, match="disk is full"):
            saved.text.save_pretrained(folder)
    assert len(calls) >= call
    assert content_of(folder.parent) == before
    saved.other.save_pretrained(folder)
    assert_is(folder, saved.other, data["features"])
    assert os.listdir(folder.parent) == ["small"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "owner, name, call",
    POINTS[:-1],
    ids=str_of,
)
def test_crash_of_the_first_leaves_nothing(
    owner, name, call, error, saved, data, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        fails(patch, owner, name, call, error)
        with pytest.raises(error, match="disk is full"):
            saved.text.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    saved.small.save_pretrained(tmp_path / "model")
    assert_is(tmp_path / "model", saved.small, data["features"])


@pytest.mark.parametrize("call", [1, 2])
def test_interruption_behind_a_rename(call, saved, copied, data, monkeypatch):
    folder = copied("small")
    with monkeypatch.context() as patch:
        fails(patch, Path, "rename", call, KeyboardInterrupt, after=True)
        with pytest.raises(KeyboardInterrupt):
            saved.other.save_pretrained(folder)
    assert_is(folder, saved.small if call == 1 else saved.other, data["features"])
    assert os.listdir(folder.parent) == ["small"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
@pytest.mark.parametrize("point", KILLED_AT)
def test_killed_while_writing(point, elsewhere, saved, data):
    folder = elsewhere / point / "model"
    if KILLED_AT[point] is None:
        with pytest.raises(FileNotFoundError, match=r"replaced now\. Rename it, or"):
            skxmc.load(folder)
        with pytest.raises(OSError, match="disk is full"):  # which puts it back first
            save_on_a_full_disk(saved.pair, folder)
    expected = getattr(saved, KILLED_AT[point] or "small")
    assert_is(folder, expected, data["features"])
    saved.pair.save_pretrained(folder)  # and there is nothing in the way
    assert_is(folder, saved.pair, data["features"])
    assert os.listdir(folder.parent) == ["model"]


def save_on_a_full_disk(model, folder):
    with pytest.MonkeyPatch.context() as patch:
        fails(patch, _saving, "save_file", 1, OSError)
        model.save_pretrained(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_next_save_removes_what_killed_ones_left(saved, copied, data, tmp_path):
    folder = copied("small")
    rng = np.random.default_rng(0)
    for delay in rng.uniform(0, 0.03, 40):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    saved.other.save_pretrained(folder)
            finally:
                os._exit(1)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    saved.other.save_pretrained(folder)
    assert_is(folder, saved.other, data["features"])
    assert os.listdir(folder.parent) == ["small"]


def test_next_save_leaves_what_another_writes(saved, copied, data):
    folder = copied("small")
    with _saving._beside(folder) as aside:
        (aside / "model").mkdir()
        before = content_of(aside)
        saved.other.save_pretrained(folder)
        assert content_of(aside) == before
    assert_is(folder, saved.other, data["features"])
    assert os.listdir(folder.parent) == ["small"]


def test_two_save_at_a_time(saved, copied, data):
    folder = copied("small")
    models = [saved.small, saved.other] * 2
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(lambda model: model.save_pretrained(folder), models))
            loaded = skxmc.load(folder).predict_topk(data["features"], 3)
            rankings = [m.predict_topk(data["features"], 3) for m in models[:2]]
            assert any(np.array_equal(loaded[1], r[1]) for r in rankings)
    assert os.listdir(folder.parent) == ["small"]


# What cannot be kept


@pytest.mark.parametrize("way", ["alone", "member"])
def test_parameters_that_cannot_be_kept(
    way, data, tiny_model, tiny_tokenizer, tmp_path
):
    params = dict(random_state=np.random.RandomState(0), label_texts=WORDS)
    model = make(G, (tiny_model, tiny_tokenizer), **params)
    if way == "member":
        model = together(model, make(D))
    model.fit(data["texts"], data["csr_array"])
    with pytest.warns(UserWarning) as warned:
        model.save_pretrained(tmp_path / "model")
    found = [str(warning.message).partition(" is ")[0] for warning in warned]
    assert sorted(found) == ["GRankClassifier.encoder", "GRankClassifier.random_state"]
    assert all(warning.filename == __file__ for warning in warned)
    assert "cannot keep" in str(warned[0].message)
    loaded = skxmc.load(tmp_path / "model")
    member = loaded if way == "alone" else loaded.estimators[0][1]
    assert member.encoder == GRankClassifier().encoder and member.random_state is None
    assert member.label_texts == WORDS and member.max_length == 8
    assert_identical(answers(loaded, data["texts"]), answers(model, data["texts"]))


class Mine(GRankClassifier):
    """Has its class in this file, which is not there where it is loaded."""


class Told(ClassifierMixin, BaseEstimator):
    """Ranks label 0."""

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict_topk(self, X, k=5):
        ids = np.full((len(X), k), -1)
        ids[:, 0] = 0
        return ids, (ids == 0).astype(np.float32)


@pytest.mark.filterwarnings("ignore:EnsembleClassifier.estimators is")
@pytest.mark.parametrize("model", [make(Mine), together(Told()), together(make(Mine))])
def test_classes_that_cannot_be_kept(model, data, copied):
    model.fit(data["features"], data["csr_array"])
    folder = copied("small")
    before = content_of(folder.parent)
    with pytest.raises(TypeError, match=r"test_persistence\.(Mine|Told)"):
        model.save_pretrained(folder)
    assert content_of(folder.parent) == before


@pytest.mark.filterwarnings("ignore:EnsembleClassifier.estimators is")
def test_member_set_anew_that_cannot_be_kept(saved, tmp_path):
    model = copy.deepcopy(saved.pair).set_params(a=Told())
    with pytest.raises(TypeError, match="Told is none of the classes"):
        model.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_transformer_that_cannot_be_kept(data, tiny_tokenizer, tmp_path):
    class Other(transformers.BertModel):
        pass

    config = transformers.BertConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    model = make(L, (Other(config), tiny_tokenizer))
    model.fit(data["texts"], data["csr_array"])
    with pytest.raises(TypeError, match="is a Other"):
        model.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.iterdir())


# Label names and texts


def test_equal_texts_are_stored_once(data, tmp_path):
    names = [f"{word} name" for word in WORDS]
    model = make(D, label_texts=names, label_names=list(names))
    model.fit(data["texts"], data["csr_array"])
    loaded = again(model, tmp_path)
    assert loaded.label_texts == loaded.label_names == names
    texts = json.loads((tmp_path / "again" / "labels.json").read_text())
    assert list(texts.values()).count(names) == 1
    assert "label name" not in (tmp_path / "again" / "config.json").read_text()


ODD_TEXTS = [
    "Öl",
    "石油",
    "нефть",
    "נפט",
    "🛢️",
    "\ud800 alone",
    "\udc00\ud83d",
    "\ud83d\ude00",
    "a\r\nb\rc\u2028d",
    'quote " and \\',
    "\x00\x7f\x1b",
    "  ",
]


@pytest.mark.parametrize("kind", [G, D, T])
def test_odd_texts_survive(kind, data, tiny_encoder, tmp_path):
    model = make(kind, tiny_encoder, label_texts=ODD_TEXTS)
    model.fit(data["texts"], data["csr_array"])
    loaded = again(model, tmp_path)
    assert loaded.label_texts == loaded.label_names_.tolist() == ODD_TEXTS
    assert_identical(answers(loaded, data["texts"]), answers(model, data["texts"]))
    written = (tmp_path / "again" / "labels.json").read_bytes()
    for text in ODD_TEXTS[:5]:
        assert text.encode() in written  # for people to read


def test_many_label_names(tmp_path):
    rows, n_labels = 50, 100_000
    ids = np.arange(rows * 20) * 97 % n_labels
    Y = sp.csr_array(
        (np.ones(len(ids)), (np.repeat(range(rows), 20), ids)), (rows, n_labels)
    )
    X = sp.random_array((rows, 30), density=0.2, rng=0, format="csr")
    names = [f"label {j}" for j in range(n_labels)]
    params = dict(label_dim=4, label_names=names, validation_fraction=0)
    model = make(G, max_leaf_size=1, **params).fit(X, Y)
    loaded = again(model, tmp_path)
    assert loaded.label_names == names == loaded.label_names_.tolist()
    assert_identical(loaded.predict_topk(X, 3), model.predict_topk(X, 3))
    texts = json.loads((tmp_path / "again" / "labels.json").read_text())
    assert [len(value) for value in texts.values()] == [n_labels]


# Ensembles


def test_two_transformers_are_kept(data, tiny_encoder, tmp_path):
    model = together(make(G, tiny_encoder), make(L, tiny_encoder, random_state=1))
    model.fit(data["texts"], data["csr_array"])
    loaded = again(model, tmp_path)
    for name in ("encoder", "encoder-2", "tokenizer", "tokenizer-2"):
        assert (tmp_path / "again" / name).is_dir()
    weights = [
        next(member.network_.encoder.model.parameters())
        for member in [*loaded.estimators_, *model.estimators_]
    ]
    assert torch.equal(weights[0], weights[2]) and torch.equal(weights[1], weights[3])
    assert not torch.equal(weights[0], weights[1])


def test_two_graphs_are_kept(data, tmp_path):
    pytest.importorskip("hnswlib")
    model = together(make(D, n_frequent=3, search="hnsw"), make(T, search="hnsw"))
    model.fit(data["texts"], data["csr_array"])
    loaded = again(model, tmp_path)
    assert_identical(answers(loaded, data["texts"]), answers(model, data["texts"]))


def test_members_are_one_object_each(data, tmp_path):
    twice = make(G)
    model = together(twice, make(G, random_state=1), "drop", twice)
    model.fit(data["features"], data["csr_array"])
    loaded = again(model, tmp_path)
    assert [name for name, _ in loaded.estimators] == list("abcd")
    given = dict(loaded.estimators)
    assert given["a"] is given["d"] and given["a"] is not given["b"]
    a, b, d = loaded.estimators_
    found = loaded.named_estimators_
    assert found.a is found["a"] is a and found.b is b and found.d is d
    assert found.c == given["c"] == "drop"
    assert len({id(one) for one in (a, b, d, given["a"], given["b"])}) == 5
    with pytest.raises(NotFittedError):
        given["a"].predict(data["features"])
    # As before, parameters of members are set by name, and count in the next fit.
    loaded.set_params(a__label_dim=4, c=make(G, random_state=2))
    assert given["d"].label_dim == 4
    loaded.fit(data["features"], data["csr_array"])
    assert len(loaded.estimators_) == 4
