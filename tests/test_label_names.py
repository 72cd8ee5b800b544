"""Names of labels: where they come from, and what predictions make of them."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer

from skxmc import (
    EnsembleClassifier,
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)

QUICK = dict(
    max_epochs=1,
    batch_size=16,
    label_dim=8,
    validation_fraction=0,
    precision="fp32",
    random_state=0,
)
READERS = dict(GRank=GRankClassifier, LightXML=LightXMLClassifier, GUDN=GUDNClassifier)
SYSTEMS = READERS | dict(
    LightDXML=LightDXMLClassifier, TReaderXML=TReaderXMLClassifier, Ensemble=None
)
NAMES = [f"name {j}" for j in range(12)]


def make(system, **params):
    if system == "Ensemble":
        return EnsembleClassifier([("a", GRankClassifier(**QUICK))], **params)
    more = dict(GUDN=dict(label_branch="multi-hot"), TReaderXML=dict(word_dim=16))
    more = more.get(system, {})
    return SYSTEMS[system](**QUICK | more | params)


@pytest.fixture(scope="module")
def counts(colours):
    """Word counts of the 60 texts, and their labels."""
    texts, Y, _ = colours
    return CountVectorizer().fit_transform(texts).astype(np.float64), Y


@pytest.fixture(scope="module")
def named(counts):
    return make("GRank", label_names=NAMES).fit(*counts)


def assert_names_those_ids(model, X, names):
    """The ranking is the same with names, each in the place of its id."""
    ids, scores = model.predict_topk(X, 15)
    assert ids.dtype == np.int64 and ids.shape == (X.shape[0], 15)
    found, same = model.predict_topk(X, 15, return_names=True)
    assert found.dtype == object and found.shape == ids.shape
    assert_array_equal(same, scores)
    expected = [[names[i] if i >= 0 else None for i in row] for row in ids]
    assert found.tolist() == expected
    assert (ids[:, len(names) :] == -1).all()
    assert all(name is None for name in found[:, len(names) :].ravel())


# Where names come from


@pytest.mark.parametrize("system", SYSTEMS)
def test_given_names(system, counts):
    X, Y = counts
    model = make(system, label_names=NAMES).fit(X, Y)
    assert model.label_names is NAMES
    assert model.label_names_.tolist() == NAMES and model.label_names_.dtype == object
    assert_names_those_ids(model, X[:5], NAMES)
    # They are names, and nothing else.
    unnamed = make(system).fit(X, Y)
    for found, expected in zip(
        model.predict_topk(X, 5), unnamed.predict_topk(X, 5), strict=True
    ):
        assert_array_equal(found, expected)


@pytest.mark.parametrize("system", SYSTEMS)
def test_without_names_there_are_columns(system, counts):
    X, Y = counts
    model = make(system).fit(X, Y)
    assert model.label_names is None
    assert_array_equal(model.label_names_, np.arange(12), strict=True)
    assert_names_those_ids(model, X[:5], range(12))
    assert model.label_lists(Y[:5]) == [Y[[i]].indices.tolist() for i in range(5)]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    "y",
    [
        np.array(["x", "é", "石油"] * 20),
        np.array([7, -1, 3] * 20),
        np.array([True, False, False] * 20),
        ["b", "a", "c"] * 20,
    ],
    ids=["str", "int", "bool", "list"],
)
def test_classes_are_names(system, y, counts):
    X, _ = counts
    model = make(system).fit(X, y)
    assert_array_equal(model.label_names_, np.unique(y), strict=True)
    assert_names_those_ids(model, X[:5], np.unique(y).tolist())
    best = model.predict_topk(X, 1, return_names=True)[0][:, 0]
    assert_array_equal(best, model.predict(X))


@pytest.mark.parametrize("system", SYSTEMS)
def test_names_of_classes(system, counts):
    X, _ = counts
    y = np.array(["x", "y", "z"] * 20)
    model = make(system, label_names=["ex", "why", "zed"]).fit(X, y)
    assert model.classes_.tolist() == ["x", "y", "z"]
    assert_names_those_ids(model, X[:5], ["ex", "why", "zed"])
    assert set(model.predict(X)) <= set("xyz")  # which is what fit was given
    assert model.score(X, y) == np.mean(model.predict(X) == y)


@pytest.mark.parametrize("system", [s for s in SYSTEMS if s != "Ensemble"])
@pytest.mark.parametrize("container", [list, tuple, np.array, pd.Series])
def test_texts_are_names(system, container, colours, tiny_encoder):
    texts, Y, words = colours
    words = [word.upper() for word in words]
    params = dict(label_texts=container(words), max_epochs=1)
    if system in READERS:
        params |= dict(encoder=tiny_encoder, max_length=8, n_layers=2, label_dim=None)
    if system == "GUDN":
        params |= dict(label_branch="names")
    model = make(system, **params).fit(texts[:20], Y[:20])
    assert model.label_names_.tolist() == words and model.label_names_.dtype == object
    ids = model.predict_topk(texts[:5], 3)[0]
    found = model.predict_topk(texts[:5], 3, return_names=True)[0]
    assert_array_equal(found, np.array(words, object)[ids])
    if container is list:  # given ones come before
        model.set_params(label_names=NAMES).fit(texts[:20], Y[:20])
        assert model.label_names_.tolist() == NAMES


def test_texts_of_members_are_not_the_names_of_an_ensemble(colours):
    texts, Y, words = colours
    member = LightDXMLClassifier(**QUICK, label_texts=words)
    model = EnsembleClassifier([("a", member)]).fit(texts, Y)
    assert model.label_names_.tolist() == list(range(12))
    assert model.estimators_[0].label_names_.tolist() == words
    model.set_params(label_names=words).fit(texts, Y)
    assert model.label_names_.tolist() == words


ODD = ["", " ", "a", "a", None, 1, 2.5, "é", "石油", "\ud800", ("a", 1), b"x"]


@pytest.mark.parametrize(
    "names",
    [
        tuple(NAMES),
        np.array(NAMES),
        np.array(NAMES, object),
        pd.Series(NAMES, index=range(5, 17)),
        pd.Index(NAMES),
        pl.Series(NAMES),
        range(100, 112),
        np.arange(12) / 2,
        ODD,
        [(name, j) for j, name in enumerate(NAMES)],
    ],
    ids=[
        "tuple",
        "U",
        "O",
        "pandas",
        "Index",
        "polars",
        "range",
        "float",
        "odd",
        "pair",
    ],
)
def test_kinds_of_names(names, counts):
    X, Y = counts
    model = make("GRank", label_names=names).fit(X, Y)
    assert model.label_names_.shape == (12,) and model.label_names_.dtype == object
    assert model.label_names_.tolist() == list(names)
    assert_names_those_ids(model, X[:5], list(names))
    ids = model.predict_topk(X[:1], 12)[0][0]
    expected = [names[j] if names is ODD else list(names)[j] for j in np.sort(ids)]
    assert model.label_lists(np.ones((1, 12))) == [expected]


def test_names_are_those_of_fit(counts):
    X, Y = counts
    names = list(NAMES)
    model = make("GRank", label_names=names).fit(X, Y)
    names[0] = "changed"
    model.set_params(label_names=["changed"] * 12)
    assert model.label_names_.tolist() == NAMES
    assert clone(model).label_names == ["changed"] * 12
    model.fit(X, Y)
    assert set(model.label_names_) == {"changed"}
    model.set_params(label_names=None).fit(X, Y)
    assert model.label_names_.tolist() == list(range(12))


# Names that are refused


class Told(ClassifierMixin, BaseEstimator):
    """A member that must not be fitted."""

    def fit(self, X, y):
        raise AssertionError("fitted before the names were looked at")

    def predict_topk(self, X, k=5):
        raise AssertionError("asked")


@pytest.fixture
def no_training(monkeypatch):
    def refuse(self, *args):
        raise AssertionError("something was read before the names were looked at")

    for kind in SYSTEMS.values():
        if kind is not None:
            monkeypatch.setattr(kind, "_build", refuse)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize(
    "names, message",
    [
        (NAMES[:11], "label_names has 11 names and y 12 label columns"),
        ([*NAMES, "more"], "label_names has 13 names and y 12 label columns"),
        ([], "label_names has 0 names"),
        (np.array(NAMES)[:3], "label_names has 3 names"),
        ("a name more", "label_names must be a sequence.* got str"),
        ("twelve names", "label_names must be a sequence.* got str"),
        ((name for name in NAMES), "label_names must be a sequence.* generator"),
        (iter(NAMES), "label_names must be a sequence.* got list_iterator"),
        (12, "label_names must be a sequence.* got int"),
        (True, "label_names must be a sequence.* got bool"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_refused_before_training(system, names, message, counts, no_training):
    model = make(system, label_names=names)
    if system == "Ensemble":
        model.set_params(a=Told())
    with pytest.raises(ValueError, match=message):
        model.fit(*counts)
    with pytest.raises(NotFittedError):
        model.label_lists(counts[1])


@pytest.mark.parametrize(
    "names",
    [
        set(NAMES),
        dict.fromkeys(NAMES, 0),
        b"twelve names",
        pd.DataFrame([NAMES], columns=range(12)),
    ],
    ids=lambda names: type(names).__name__,
)
def test_refused_for_another_kind(names, counts, no_training):
    with pytest.raises((ValueError, TypeError), match="label_names"):
        make("GRank", label_names=names).fit(*counts)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_refused_fit_changes_nothing(system, counts):
    X, Y = counts
    model = make(system, label_names=NAMES).fit(X, Y)
    expected = model.predict_topk(X, 3, return_names=True)
    with pytest.raises(ValueError, match="label_names has 1 names"):
        model.set_params(label_names=["one"]).fit(X, Y)
    for found, before in zip(
        model.predict_topk(X, 3, return_names=True), expected, strict=True
    ):
        assert_array_equal(found, before)


def test_names_of_classes_are_counted(counts):
    model = make("GRank", label_names=NAMES)
    with pytest.raises(ValueError, match="has 12 names and y 3 label columns"):
        model.fit(counts[0], ["x", "y", "z"] * 20)


# predict_topk


def test_return_names_is_named(named, counts):
    with pytest.raises(TypeError):
        named.predict_topk(counts[0], 3, True)


def test_padding_within_a_row(counts):
    # The best cluster alone is ranked: three labels of twelve.
    few = dict(max_leaf_size=3, n_shortlist=1, predict_shortlist=1, neighbor_weight=0)
    model = make("GRank", label_names=NAMES, **few).fit(*counts)
    ids, scores = model.predict_topk(counts[0], 8)
    found, _ = model.predict_topk(counts[0], 8, return_names=True)
    assert (ids < 0).any() and (ids >= 0).any(axis=1).all()
    assert_array_equal(found == None, ids < 0)  # noqa: E711
    assert_array_equal(found[ids >= 0], np.array(NAMES, object)[ids[ids >= 0]])
    assert (scores[ids < 0] == 0).all()


def test_unfitted():
    model = make("GRank", label_names=NAMES)
    with pytest.raises(NotFittedError):
        model.predict_topk(np.eye(3), return_names=True)
    with pytest.raises(NotFittedError):
        model.label_lists(np.eye(12))


# label_lists


def of_rows(*rows):
    """Values by label column, as a table."""
    Y = np.zeros((len(rows), 12))
    for values, row in zip(Y, rows, strict=True):
        values[list(row)] = list(row.values())
    return Y


VALUES = of_rows({3: 0.5, 1: 0.9, 7: 0.5}, {}, {11: -2, 0: -1, 5: 3}, {2: 1, 4: 1})
EXPECTED = [
    ["name 1", "name 3", "name 7"],
    [],
    ["name 5", "name 0", "name 11"],
    ["name 2", "name 4"],
]


@pytest.mark.parametrize(
    "kind",
    [
        np.array,
        np.asfortranarray,
        np.float32,
        np.ndarray.tolist,
        sp.csr_array,
        sp.csr_matrix,
        sp.csc_array,
        sp.coo_matrix,
        sp.lil_array,
        sp.dok_array,
        pd.DataFrame,
    ],
)
def test_lists_by_value_and_then_by_column(kind, named):
    assert named.label_lists(kind(VALUES)) == EXPECTED


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint8, np.int64, np.float32])
def test_lists_of_zeros_and_ones(dtype, named):
    Y = (VALUES != 0).astype(dtype)
    expected = [[NAMES[j] for j in np.flatnonzero(row)] for row in Y]
    assert named.label_lists(Y) == named.label_lists(sp.csr_array(Y)) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64])
def test_lists_of_whole_numbers(dtype, named):
    Y = of_rows({3: 1, 1: 127, 7: 2}).astype(dtype)
    assert named.label_lists(Y) == [["name 1", "name 7", "name 3"]]


def test_lists_of_entries_as_they_are_stored(named):
    # Not in order, one twice, one that is 0, and two that cancel out.
    data = np.array([1.0, 0.0, 2.0, 1.5, 1.0, -1.0])
    parts = data, np.array([9, 4, 8, 9, 2, 2]), np.array([0, 3, 4, 6])
    Y = sp.csr_array(parts, (3, 12))
    before = Y.copy()
    assert named.label_lists(Y) == [["name 8", "name 9"], ["name 9"], []]
    for part in ("data", "indices", "indptr"):
        assert_array_equal(getattr(Y, part), getattr(before, part))
    parts = data[:4], np.array([9, 4, 8, 9]), np.array([0, 4])
    Y = sp.csr_array(parts, (1, 12))
    assert named.label_lists(Y) == [["name 9", "name 8"]]


def test_lists_of_empty_rows(named):
    for kind in (np.array, sp.csr_array, sp.csr_matrix):
        assert named.label_lists(kind(np.zeros((3, 12)))) == [[], [], []]
        assert named.label_lists(kind(VALUES[1:2])) == [[]]
        assert named.label_lists(kind(VALUES[:2])) == EXPECTED[:2]
        assert named.label_lists(kind(VALUES[1:])) == EXPECTED[1:]


@pytest.mark.parametrize("kind", [np.array, sp.csr_array])
def test_lists_of_no_documents(kind, named):
    assert named.label_lists(kind(VALUES[:0])) == []


@pytest.mark.parametrize(
    "Y",
    [
        np.ones((3, 11)),
        np.ones((3, 13)),
        sp.csr_array((3, 11)),
        sp.csr_matrix((12, 3)),
        np.ones(12),
        [1.0, 0.0],
        sp.coo_array(np.ones(12)),
        np.zeros((0, 3)),
    ],
    ids=lambda Y: f"{type(Y).__name__}{np.shape(Y)}",
)
def test_lists_of_another_width(Y, named):
    with pytest.raises(ValueError, match=r"\(n_docs, 12\).*return_names=True"):
        named.label_lists(Y)


def test_lists_of_ids(named, counts):
    ids, _ = named.predict_topk(counts[0], 3)
    with pytest.raises(ValueError, match=r"got \(60, 3\).*return_names=True"):
        named.label_lists(ids)


@pytest.mark.parametrize(
    "y",
    [
        [0, 1, 2] * 20,
        pytest.param(
            ["x", "y", "z"] * 20,
        ),
    ],
    ids=["int", "str"],
)
def test_lists_of_classes(y, counts):
    model = make("GRank").fit(counts[0], y)
    with pytest.raises(ValueError) as error:
        model.label_lists(model.predict(counts[0]))
    assert "Y must have shape (n_docs, 3)" in str(error.value)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_lists_of_predictions(system, kind, counts):
    X, Y = counts
    model = make(system, label_names=NAMES, top_k=5)
    model.fit(X, Y if kind == "sparse" else Y.toarray())
    expected = model.predict_topk(X, 5, return_names=True)[0].tolist()
    for method in ("predict_proba", "decision_function"):
        lists = model.label_lists(getattr(model, method)(X))
        assert [len(labels) for labels in lists] == [5 if kind == "sparse" else 12] * 60
        assert [labels[:5] for labels in lists] == expected
    # What is predicted: in the order of columns, as all of it is 1.
    predicted = model.predict(X)
    predicted = predicted.toarray() if sp.issparse(predicted) else predicted
    expected = [[NAMES[j] for j in np.flatnonzero(row)] for row in predicted]
    assert model.label_lists(model.predict(X)) == expected
    expected = [[NAMES[j] for j in np.flatnonzero(row)] for row in Y.toarray()]
    assert model.label_lists(Y) == expected
