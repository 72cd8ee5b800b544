"""Which values a model folder keeps: classes, parameters, label names, members."""

import copy
import gc
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
import transformers
from numpy.testing import assert_array_equal
from persistence_examples import (
    FEW,
    METHODS,
    WORDS,
    D,
    G,
    L,
    T,
    again,
    answers,
    assert_identical,
    content_of,
    make,
    together,
    vectors,
)
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

import skxmc
from skxmc import (
    GRankClassifier,
)
from skxmc._testing import random_states

pytest_plugins = ["persistence_fixtures"]
# A class that does not list an attribute would lose it without any error.
pytestmark = pytest.mark.filterwarnings("error:.* is not an attribute that fit sets")


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
    expected, states = answers(model, data["texts"]), random_states()
    model.save_pretrained(tmp_path / "model")
    assert random_states() == states
    assert_identical(answers(model, data["texts"]), expected)
    assert_identical(answers(skxmc.load(tmp_path / "model"), data["texts"]), expected)


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
    with pytest.raises(TypeError, match=r"test_persistence_values\.(Mine|Told)"):
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
