"""The method ``shortlist``: the labels that are retrieved before any is ranked."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from torch.nn.functional import normalize

import skxmc
from skxmc import (
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc.metrics import recall_at_k
from skxmc.nn.search import has_hnswlib

COMMON = dict(
    label_dim=8,
    max_epochs=2,
    batch_size=16,
    validation_fraction=0,
    neighbor_weight=0,
    precision="fp32",
    random_state=0,
)
# Twelve labels in five clusters of two or three.
TREE = COMMON | dict(max_leaf_size=3, n_shortlist=2, predict_shortlist=2)
NEAREST = COMMON | dict(n_shortlist=4, predict_shortlist=4)
CLUSTERED = {
    "GRank": GRankClassifier(**TREE),
    "LightXML": LightXMLClassifier(**TREE),
    "LightXML, static": LightXMLClassifier(**TREE, negatives="static"),
    "TReaderXML": TReaderXMLClassifier(**TREE, word_dim=8),
    "GUDN": GUDNClassifier(**TREE, label_branch="multi-hot"),
}
INDEXED = {
    "LightDXML": LightDXMLClassifier(**NEAREST, n_frequent=0),
    "LightDXML, frequent": LightDXMLClassifier(**NEAREST, n_frequent=3),
    "LightDXML, all frequent": LightDXMLClassifier(**NEAREST, n_frequent=99),
}
ALL = CLUSTERED | INDEXED


@pytest.fixture(scope="module")
def data(colours):
    X = CountVectorizer().fit_transform(colours[0]).astype(np.float32)
    return X, colours[1]


@pytest.fixture(scope="module")
def fitted(data):
    return {name: model.fit(*data) for name, model in ALL.items()}


def encode(model, X):
    docs = model._make_docs(X.tocsr())
    with torch.no_grad():
        return model.network_.encode(docs.batch(np.arange(len(docs))))


def nearest_first(values, ids, k):
    """The k ids of each row with the largest values, padded with -1."""
    order = np.argsort(-values, axis=1, kind="stable")[:, :k]
    found = ids[order]
    return np.pad(found, [(0, 0), (0, k - found.shape[1])], constant_values=-1)


@pytest.mark.parametrize("k", [None, 1, 4, 12, 15])
@pytest.mark.parametrize("name", CLUSTERED)
def test_labels_of_the_best_clusters(name, k, fitted, data):
    model, X = fitted[name], data[0]
    head = getattr(model.network_, "recall", getattr(model.network_, "retriever", None))
    with torch.no_grad():
        scores = head(encode(model, X)[0]).numpy()
    groups = model.label_groups_
    n_clusters = 2 if k is None else scores.shape[1]
    width = 2 * np.bincount(groups).max() if k is None else k
    found = model.shortlist(X, k)
    assert found.shape == (60, width) and found.dtype == np.int64
    for row, own in zip(found, scores, strict=True):
        best = np.argsort(-own)[:n_clusters]
        labels = np.concatenate([np.flatnonzero(groups == c) for c in best])[:width]
        assert row.tolist() == labels.tolist() + [-1] * (width - len(labels))


@pytest.mark.parametrize("k", [None, 1, 4, 12, 15])
@pytest.mark.parametrize("name", INDEXED)
def test_labels_of_the_nearest_vectors(name, k, fitted, data):
    model, X = fitted[name], data[0]
    network = model.network_
    (docs,) = encode(model, X)
    labels = torch.cat([network.frequent, network.indexed]).numpy()
    cosines = (normalize(docs, dim=1) @ network.label_vectors.T).numpy()
    n_frequent, width = len(network.frequent), k
    if k is None:  # the frequent labels, and the four nearest others
        width = n_frequent + min(4, len(labels) - n_frequent)
        others = cosines[:, n_frequent:]
        if n_frequent < len(labels):
            others[others < np.sort(others, axis=1)[:, -4:-3]] = -np.inf
    assert_array_equal(model.shortlist(X, k), nearest_first(cosines, labels, width))
    if name == "LightDXML":
        assert_array_equal(model.shortlist(X), model.shortlist(X, 4))


@pytest.mark.parametrize("name", ALL)
def test_every_label_of_the_shortlist_is_ranked(name, fitted, data):
    model, (X, Y) = fitted[name], data
    shortlist, (ids, _) = model.shortlist(X), model.predict_topk(X, 12)
    for row, predicted in zip(shortlist, ids, strict=True):
        assert set(predicted) - {-1} == set(row) - {-1}
    every = model.shortlist(X, 12)
    assert_array_equal(np.sort(every), np.tile(np.arange(12), (60, 1)))
    recalls = recall_at_k(Y, every, k=(4, 8, 12))
    assert 0 < recalls[0] < recalls[1] < recalls[2] == 1
    best = ids[:, : shortlist.shape[1]]
    # Every label that is ranked can be predicted, so both recalls are equal.
    width = shortlist.shape[1]
    assert recall_at_k(Y, shortlist, width) == recall_at_k(Y, best, width)


@pytest.mark.parametrize("name", ALL)
def test_folders_keep_shortlists(name, fitted, data, tmp_path):
    model, X = fitted[name], data[0]
    model.save_pretrained(tmp_path)
    for k in (None, 5):
        assert_array_equal(skxmc.load(tmp_path).shortlist(X, k), model.shortlist(X, k))


@pytest.mark.skipif(not has_hnswlib(), reason="needs hnswlib")
def test_shortlists_by_a_graph(data, tmp_path):
    X, Y = data
    model = LightDXMLClassifier(**NEAREST, n_frequent=0, search="hnsw").fit(X, Y)
    exact = LightDXMLClassifier(**NEAREST, n_frequent=0, search="exact").fit(X, Y)
    found = model.shortlist(X)
    # With 12 labels, the graph finds nearly all that exact search finds.
    assert (found == exact.shortlist(X)).mean() > 0.9
    model.save_pretrained(tmp_path)
    assert_array_equal(skxmc.load(tmp_path).shortlist(X), found)


def test_shortlists_of_texts(tiny_encoder, colours):
    options = TREE | dict(max_length=8, n_layers=2, label_dim=None)
    model = LightXMLClassifier(tiny_encoder, **options).fit(*colours[:2])
    alone = [model.shortlist([text], 3)[0] for text in colours[0][:5]]
    assert_array_equal(alone, model.shortlist(colours[0][:5], 3))


def test_single_labels(data):
    y = np.array(["a", "b", "c", "d"])[data[1].indices[::4] % 4]
    model = LightXMLClassifier(**TREE | dict(max_leaf_size=2)).fit(data[0], y)
    names = model.classes_[model.shortlist(data[0], 4)]
    assert_array_equal(np.sort(names), np.tile(["a", "b", "c", "d"], (60, 1)))


@pytest.mark.parametrize("kind", [GRankClassifier, LightXMLClassifier])
def test_without_clusters_there_is_no_shortlist(kind, data):
    model = kind(**COMMON).fit(*data)
    with pytest.raises(ValueError, match="ranks all of its 12 labels.*max_leaf_size"):
        model.shortlist(data[0])


def test_bad_input(fitted, data):
    model = fitted["LightXML"]
    for k in (0, 1.5, "all"):
        with pytest.raises(ValueError, match="k must be an int, at least 1"):
            model.shortlist(data[0], k)
    with pytest.raises(ValueError, match="X must be a feature matrix"):
        model.shortlist(["red"])
    with pytest.raises(NotFittedError):
        LightXMLClassifier().shortlist(["red"])
