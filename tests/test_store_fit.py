"""Classifiers are fitted on stores, and come to the same bits as on texts in memory."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.model_selection import GridSearchCV, KFold
from store_examples import make_store
from transformers import AutoTokenizer

import skxmc
from skxmc import _hold_out, _stored_words
from skxmc._fingerprint import hash_documents
from skxmc.model_selection import cross_val_score
from skxmc.nn import labels as nn_labels
from skxmc.nn import prediction, reading
from skxmc.store import open_store

COMMON = dict(max_length=16, max_epochs=1, batch_size=8, random_state=0, n_layers=2)
CLUSTERS = dict(max_leaf_size=3, n_shortlist=2, predict_shortlist=3)
FITS = {
    "GRank": ("GRankClassifier", {}),
    "GRank top layer": ("GRankClassifier", dict(trained_layers=1)),
    "GRank clusters": (
        "GRankClassifier",
        dict(CLUSTERS, trained_layers="all", bag_of_words=False),
    ),
    "GRank clusters of documents": (
        "GRankClassifier",
        dict(CLUSTERS, cluster_features="documents"),
    ),
    "GRank words": ("GRankClassifier", dict(reading="words")),
    "GRank random": ("GRankClassifier", dict(label_init="random", label_texts=None)),
    "LightXML": ("LightXMLClassifier", {}),
    "LightXML clusters, words": (
        "LightXMLClassifier",
        dict(CLUSTERS, bag_of_words=True, neighbor_weight="auto"),
    ),
    "LightXML documents": ("LightXMLClassifier", dict(label_texts=None)),
    "GUDN": ("GUDNClassifier", {}),
    "GUDN words": ("GUDNClassifier", dict(bag_of_words=True, trained_layers=0)),
}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Whatever is computed in parts has several of them."""
    monkeypatch.setattr(_hold_out, "_DOCS", 7)
    monkeypatch.setattr(_stored_words, "_TERMS", 11)
    monkeypatch.setattr(_stored_words, "_RUNS", 3)
    monkeypatch.setattr(_stored_words, "_TEXTS", 5)
    monkeypatch.setattr(nn_labels, "_AT_ONCE", 16 * 9)


@pytest.fixture(scope="module")
def documents(colour_rows):
    """Rows, some of which lack labels or words."""
    more = [
        {"text": "", "labels": ["red"]},
        {"text": "fox fox dog, fox!", "labels": []},
        {"text": "\u00e9t\u00e9 red RED", "labels": None},
        {"text": "one " * 40, "labels": ["dog", "blue"]},
    ]
    return [*colour_rows[:30], *more, *colour_rows[30:]]


@pytest.fixture(scope="module")
def store(tmp_path_factory, documents, tiny_encoder):
    return make_store(tmp_path_factory.mktemp("store"), documents, tiny_encoder)


@pytest.fixture(scope="module")
def in_memory(store):
    Y = sp.csr_matrix(store.Y.toarray())
    return list(store.X), Y


def make(name, encoder, label_names, **options):
    system, parameters = FITS[name]
    parameters = COMMON | dict(label_texts=label_names) | parameters | options
    return getattr(skxmc, system)(encoder, **parameters)


def assert_same_model(one, other, X, Y):
    """Two models have the same bits, and predict the same of the same documents."""
    assert one.history_ == other.history_
    states = one.network_.state_dict(), other.network_.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    for name in ("calibration_", "neighbor_weight_", "n_docs_", "n_labels_"):
        assert getattr(one, name) == getattr(other, name)
    np.testing.assert_array_equal(one.label_counts_, other.label_counts_)
    np.testing.assert_array_equal(one.label_groups_, other.label_groups_)
    words = one.vectorizer_, other.vectorizer_
    assert (words[0] is None) == (words[1] is None)
    if words[0] is not None:
        assert words[0].vocabulary_ == words[1].vocabulary_
        np.testing.assert_array_equal(words[0].idf_, words[1].idf_)
    texts = list(X)
    for method in (lambda m, X: m.predict_topk(X, 5), lambda m, X: (m.predict(X),)):
        found = method(one, texts), method(other, X), method(one, X)
        for parts in zip(*found, strict=True):
            parts = [p.toarray() if sp.issparse(p) else p for p in parts]
            np.testing.assert_array_equal(parts[0], parts[1])
            np.testing.assert_array_equal(parts[0], parts[2])
    assert one.score(texts, Y) == other.score(X, Y)


@pytest.mark.parametrize("name", FITS)
def test_a_fit_has_the_same_bits(name, store, in_memory, tiny_encoder):
    options = dict(encoder=tiny_encoder, label_names=store.label_names)
    expected = make(name, **options).fit(*in_memory)
    found = make(name, **options).fit(store.X, store.Y)
    assert_same_model(expected, found, store.X, store.Y)


@pytest.mark.parametrize("name", ["GRank", "LightXML clusters, words"])
@pytest.mark.parametrize("rows", [slice(3, 50, 2), np.r_[40:10, 5, 5, 63, 12:30]])
def test_a_fit_on_a_view(name, rows, store, in_memory, tiny_encoder):
    texts, Y = in_memory
    options = dict(encoder=tiny_encoder, label_names=store.label_names)
    expected = make(name, **options).fit(np.array(texts, object)[rows], Y[rows])
    found = make(name, **options).fit(store.X[rows], store.Y[rows])
    assert_same_model(expected, found, store.X[::3], store.Y[::3])


def test_a_saved_model_reads_the_store(store, tiny_encoder, tmp_path):
    model = make("GRank", tiny_encoder, store.label_names).fit(store.X, store.Y)
    model.save_pretrained(tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    assert_same_model(model, loaded, store.X, store.Y)


def test_tools_of_scikit_learn(store, in_memory, tiny_encoder):
    model = make("LightXML", tiny_encoder, store.label_names)
    model.set_params(validation_fraction=0)
    texts, Y = in_memory
    options = dict(cv=KFold(2))
    found = cross_val_score(model, store.X, store.Y, **options)
    np.testing.assert_array_equal(found, cross_val_score(model, texts, Y, **options))
    search = GridSearchCV(model, {"dropout": [0.0, 0.5]}, cv=KFold(2))
    search.fit(store.X, store.Y)
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()


def test_an_ensemble_of_stores(store, in_memory, tiny_encoder):
    members = [
        (name, make(name, tiny_encoder, store.label_names))
        for name in ("GRank", "LightXML")
    ]
    ensemble = skxmc.EnsembleClassifier(members)
    expected = ensemble.fit(*in_memory).predict_topk(in_memory[0], 3)
    found = ensemble.fit(store.X, store.Y).predict_topk(store.X, 3)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_fit_on_a_store_resumes(store, tiny_encoder, tmp_path, monkeypatch):
    options = dict(encoder=tiny_encoder, label_names=store.label_names)
    expected = make("GRank", **options).fit(store.X, store.Y)
    model = make("GRank", **options, checkpoint_dir=tmp_path)

    def fail(*args, **kwargs):
        raise RuntimeError("stopped")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="stopped"):
        patch.setattr(model, "_finish", fail)
        model.fit(store.X, store.Y)
    (checkpoint,) = tmp_path.glob("*.checkpoint")
    with pytest.warns(UserWarning, match="none of this fit"):  # other documents
        make("GRank", **options, checkpoint_dir=tmp_path).fit(store.X[1:], store.Y[1:])
    assert checkpoint.exists()
    model.fit(open_store(store.X.folder).X, store.Y)
    assert_same_model(expected, model, store.X, store.Y)


# What lies in memory


@pytest.mark.parametrize("name", ["GRank", "GRank top layer", "LightXML"])
def test_what_is_read_once_lies_in_files(name, store, tiny_encoder, monkeypatch):
    made = []

    def recorded(make):
        def record(shape, *args, **options):
            made.append((shape, options["on_disk"] if options else args[-1]))
            return make(shape, *args, **options)

        return record

    for module, function in [(prediction, "_make_output"), (reading, "_make_table")]:
        monkeypatch.setattr(module, function, recorded(getattr(module, function)))
    model = make(name, tiny_encoder, store.label_names, neighbor_weight=0)
    model.fit(store.X, store.Y)
    sizes = len(store.X), len(store.X.ids)
    of_all = [on_disk for shape, on_disk in made if shape[0] in sizes]
    assert of_all and all(of_all)
    made.clear()
    model.fit(list(store.X), store.Y)
    assert made and not any(on_disk for _, on_disk in made)


# What is refused


@pytest.mark.parametrize("system", ["LightDXMLClassifier", "TReaderXMLClassifier"])
def test_systems_that_read_words_refuse_tokens(system, store):
    model = getattr(skxmc, system)(max_epochs=1, random_state=0)
    with pytest.raises(ValueError, match=r"give list\(X\)"):
        model.fit(store.X, store.Y)


def test_another_max_length_is_refused(store, in_memory, tiny_encoder):
    model = make("LightXML", tiny_encoder, store.label_names, max_length=12)
    message = "max_length=16 tokens a document, and the classifier reads max_length=12"
    with pytest.raises(ValueError, match=message):
        model.fit(store.X, store.Y)
    model.fit(*in_memory)
    with pytest.raises(ValueError, match=message):
        model.predict_topk(store.X)


def test_another_tokenizer_is_refused(
    store, in_memory, tiny_encoder, tiny_model, tmp_path, monkeypatch
):
    other = AutoTokenizer.from_pretrained(tiny_encoder)
    other.add_tokens(["foxes"])
    big = type(tiny_model)(copy.deepcopy(tiny_model.config))
    big.resize_token_embeddings(len(other))
    model = make("GRank", (big, other), store.label_names)
    counted = []
    monkeypatch.setattr(_stored_words, "_split", counted.append)
    message = f"tokenizer of '{tiny_encoder}', and encoder='BertModel' has another"
    with pytest.raises(ValueError, match=message):
        model.fit(store.X, store.Y)
    assert not counted  # before the words of all documents are


@pytest.mark.parametrize(
    "name", ["GRank", "GRank words", "GRank clusters", "LightXML clusters, words"]
)
def test_words_need_texts(name, documents, tiny_encoder, tmp_path):
    store = make_store(tmp_path, documents, tiny_encoder, keep_texts=False)
    with pytest.raises(ValueError, match="keep_texts=True"):
        make(name, tiny_encoder, store.label_names).fit(store.X, store.Y)


@pytest.mark.parametrize("name", ["GRank random", "GUDN", "GRank clusters"])
def test_tokens_alone_are_enough(name, store, documents, tiny_encoder, tmp_path):
    tokens = make_store(tmp_path, documents, tiny_encoder, keep_texts=False)
    options = dict(bag_of_words=False, cluster_features="documents")
    options = dict(encoder=tiny_encoder, label_names=store.label_names) | options
    expected = make(name, **options).fit(store.X, store.Y)
    found = make(name, **options).fit(tokens.X, tokens.Y)
    ids = [
        m.predict_topk(X, 4)[0] for m in (expected, found) for X in (store.X, tokens.X)
    ]
    assert all((ids[0] == other).all() for other in ids[1:])


def test_another_number_of_rows_is_refused(store, tiny_encoder):
    with pytest.raises(ValueError, match="X holds 5 documents and y 64 rows"):
        make("GRank", tiny_encoder, store.label_names).fit(store.X[:5], store.Y)


def test_a_fit_on_a_store_goes_on(store, tiny_encoder):
    model = make("GRank", tiny_encoder, store.label_names, neighbor_weight=1)
    model.set_params(warm_start=True, validation_fraction=0.2)
    X, Y = store.X, store.Y
    model.fit(X[:40], Y[:40]).fit(X[20:], Y[20:])
    known = set(model.network_.neighbors.hashes.tolist())
    held_out = set(model._held_out_hashes.tolist())
    labeled = np.flatnonzero(np.diff(Y.indptr))
    given = set(hash_documents(X[labeled]).tolist())
    assert held_out and known - {0} == given - held_out
