"""Training on documents as they come: ``partial_fit``."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from persistence_examples import FEW, D, G, L, T, U, make, together
from sklearn.base import clone

import skxmc
from skxmc import _neighbors, _partial_fit
from skxmc.nn import search, training

MODES = {
    "GRank": (G, {}),
    "GRank, clustered": (G, FEW),
    "LightXML": (L, {}),
    "LightXML, clustered": (L, FEW),
}
every_mode = pytest.mark.parametrize("name", MODES)


@pytest.fixture(scope="module")
def data(colours):
    """Texts none of which occurs twice, their labels, and the names of labels."""
    texts, Y, words = colours
    return [f"{text} {i}" for i, text in enumerate(texts)], Y, list(words)


def labels_by_row(votes):
    """The labels of each document that votes, by its row."""
    labels, rows = votes.ids.tensor_split(votes.indptr[1:-1]), votes.rows.tolist()
    places = votes.index.found_places().tolist()
    return {rows[place]: sorted(labels[place].tolist()) for place in places}


def build(name, encoder, **params):
    kind, options = MODES[name]
    return make(kind, encoder, **options | params)


@every_mode
def test_calls_go_on_from_each_other(name, tiny_encoder, data, monkeypatch):
    texts, Y, _ = data
    options = []
    train = training.train

    def note(*args, **kwargs):
        options.append(kwargs)
        return train(*args, **kwargs)

    monkeypatch.setattr(skxmc.base, "train", note)
    model = build(name, tiny_encoder, max_epochs=5, warmup=0.5, swa_start=0.5)
    for rows in np.split(np.arange(60), 3):
        model.partial_fit([texts[i] for i in rows], Y[rows])
    names = ("max_epochs", "schedule", "warmup", "swa_start", "evaluate")
    found = [tuple(kwargs[name] for name in names) for kwargs in options]
    later = (1, "constant", 0.0, None, None)
    assert found == [(1, "constant", 0.5, None, None), later, later]
    assert model.n_iter_ == len(model.history_) == 3
    assert [epoch["epoch"] for epoch in model.history_] == [1, 2, 3]
    assert model.n_docs_ == (60 if model.network_.neighbors else 20)
    assert model._stream is None and model.warm_start is False
    ids, scores = model.predict_topk(texts)
    assert np.isfinite(scores).all()
    # A fit starts anew.
    expected = clone(model).fit(texts, Y).predict_topk(texts)
    for one, other in zip(
        model.fit(texts, Y).predict_topk(texts), expected, strict=True
    ):
        assert_array_equal(one, other)


@every_mode
def test_a_call_that_learns_nothing_changes_nothing(name, tiny_encoder, data):
    texts, Y, _ = data
    model = build(name, tiny_encoder, learning_rate=0, head_learning_rate=0)
    model.set_params(document_learning_rate=0)
    if name.startswith("GRank"):
        model.set_params(label_learning_rate=0)
    model.partial_fit(texts, Y)
    before = model.predict_topk(texts, 12)
    model.partial_fit(texts[:30], Y[:30])
    for one, other in zip(model.predict_topk(texts, 12), before, strict=True):
        assert_array_equal(one, other)


def test_it_goes_on_from_a_fit(tiny_encoder, data, tmp_path):
    texts, Y, words = data
    model = make(G, tiny_encoder, neighbor_weight=1, label_texts=words[:9])
    model.fit(texts[:40], Y[:40, :9]).save_pretrained(tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model", device="cpu")
    found = []
    for one in (model, loaded):
        n_voters = len(one.network_.neighbors.rows)
        one.set_params(label_texts=words).partial_fit(texts[40:], Y[40:])
        # All documents are trained on, and vote; texts of labels vote once each.
        assert len(one.network_.neighbors.rows) == n_voters + 20 + 3
        rows = one.network_.neighbors.rows.numpy()
        assert_array_equal(
            np.sort(rows[(rows >= 20) & (rows < 32)]), 20 + np.arange(12)
        )
        found.append(one.predict_topk(texts))
    for one, other in zip(*found, strict=True):
        assert_array_equal(one, other)


def test_a_stream_extends_the_graph_of_its_voters(
    tiny_encoder, data, tmp_path, monkeypatch
):
    pytest.importorskip("hnswlib")
    texts, Y, words = data
    built, build_graph = [], search.build_graph

    def build(vectors, *options):
        built.append(len(vectors))
        return build_graph(vectors, *options)

    monkeypatch.setattr(search, "build_graph", build)

    def stream(max_exact, folder=None):
        monkeypatch.setattr(_neighbors, "_MAX_EXACT", max_exact)
        model = make(G, tiny_encoder, neighbor_weight=1, label_texts=words[:9])
        model.partial_fit(texts[:30], Y[:30, :9])
        if folder is not None:
            model.save_pretrained(folder)
            model = skxmc.load(folder, device="cpu")
        model.set_params(label_texts=words).partial_fit(texts[30:50], Y[30:50])
        # Of these documents, 25 come again.
        return model.partial_fit(texts[25:], Y[25:])

    exact, one, two = stream(99), stream(3), stream(3, tmp_path / "model")
    assert len(built) == 2 and built[0] == built[1]  # in the first calls
    assert_array_equal(*(m.predict_topk(texts) for m in (one, two)))
    votes = one.network_.neighbors
    assert votes.index.graph is not None and len(votes.index.deleted) >= 20
    assert labels_by_row(votes) == labels_by_row(exact.network_.neighbors)
    assert one.n_docs_ == exact.n_docs_
    assert_array_equal(one.label_counts_, exact.label_counts_)
    distances, expected = (m.kneighbors(texts)[0] for m in (one, exact))
    assert_allclose(distances, expected, atol=2e-3)  # the order of ties is open


def test_weights_of_a_stream_with_a_graph(data, monkeypatch):
    pytest.importorskip("hnswlib")
    _, Y, _ = data
    X, found = Y.tocsr().astype(np.float32), []
    for max_exact in (99, 3):
        monkeypatch.setattr(_neighbors, "_MAX_EXACT", max_exact)
        model = make(G, neighbor_weight=1)
        model.partial_fit(X[:30], Y[:30])
        model.partial_fit(X[30:50], Y[30:50], sample_weight=np.arange(20) % 3)
        model.partial_fit(X[50:], Y[50:])
        votes = model.network_.neighbors
        places = votes.index.found_places()
        rows, counts = votes.rows[places].tolist(), votes.counts[places].tolist()
        found.append(dict(zip(rows, counts, strict=True)))
    assert found[0] == found[1] and set(found[0].values()) == {1.0, 2.0}


def test_classes(tiny_encoder, data):
    texts, Y, _ = data
    y = np.array(["d", "b", "f"])[Y[:, :3].toarray().argmax(axis=1)]
    model = make(G, tiny_encoder)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(texts, y)
    assert not hasattr(model, "network_")
    model.partial_fit(texts[:5], ["d"] * 5, classes=["f", "d", "b", "c"])
    assert model.classes_.tolist() == ["b", "c", "d", "f"]
    model.partial_fit(texts, y).partial_fit(texts[:1], y[:1], classes=list("bcdf"))
    assert set(model.predict(texts)) <= set("bcdf")
    before = copy.deepcopy(model.network_.state_dict())
    with pytest.raises(ValueError, match="holds the class e"):
        model.partial_fit(texts[:2], ["e", "b"])
    with pytest.raises(ValueError, match="classes must be those of the first call"):
        model.partial_fit(texts[:2], y[:2], classes=list("bcd"))
    for key, tensor in model.network_.state_dict().items():
        assert torch.equal(tensor, before[key])


def test_classes_of_a_matrix(tiny_encoder, data):
    texts, Y, _ = data
    model = make(G, tiny_encoder).partial_fit(texts, Y, classes=np.arange(12))
    with pytest.raises(ValueError, match="the 12 columns of y, from 0 on"):
        model.partial_fit(texts, Y, classes=np.arange(11))
    with pytest.raises(ValueError, match="11 label columns"):
        model.partial_fit(texts, Y[:, :11])
    assert model.partial_fit(texts, sp.hstack([Y, Y[:, :1]])).n_labels_ == 13


@pytest.mark.parametrize(
    "model, reason",
    [
        (L(negatives="static"), "finds the negatives of all documents once"),
        (D(), "finds the negatives of all documents anew"),
        (T(), "teaches a document by all the others. Use warm_start=True"),
        (together(G()), "its members may have none"),
        (U(), "GUDNClassifier has no partial_fit: its guide must be trained"),
    ],
)
def test_where_it_is_not_offered(model, reason):
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError) as caught:
        model.partial_fit(["red"], [1])
    assert reason in f"{caught.value} {caught.value.__cause__}"
    assert hasattr(L(), "partial_fit") and hasattr(G(), "partial_fit")


def test_the_calibration_is_that_of_documents_before_training(
    tiny_encoder, data, monkeypatch
):
    texts, Y, _ = data
    monkeypatch.setattr(_partial_fit, "_CALIBRATION_DOCS", 20)
    # New words would change the bags of words of the documents.
    model = make(G, tiny_encoder, neighbor_weight=1, bag_of_words=False)
    before = model.partial_fit(texts[:40], Y[:40]).calibration_
    ids, scores = model._rank_checked(model._check_X(texts[40:]), 12)
    expected = _partial_fit.fit_calibration(Y[40:], ids, scores)
    few = copy.deepcopy(model).partial_fit(texts[41:], Y[41:])
    assert few.calibration_ == before
    found = model.partial_fit(texts[40:], Y[40:]).calibration_
    assert found == pytest.approx(expected, rel=1e-2)
    assert found != before
