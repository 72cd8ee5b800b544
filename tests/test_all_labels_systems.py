"""Classifiers whose head scores all labels in chunks, by their public interface."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import CountVectorizer

import skxmc
from skxmc import (
    GRankClassifier,
    GUDNClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc import _clustering_classifier as clustering
from skxmc.nn import all_labels, devices
from skxmc.nn.all_labels import AllLabels
from skxmc.nn.heads import LabelScores, LinearHead
from skxmc.nn.state import check_state

SYSTEMS = {
    "GRank": GRankClassifier,
    "LightXML": LightXMLClassifier,
    "TReaderXML": TReaderXMLClassifier,
    "GUDN": GUDNClassifier,
}
every_system = pytest.mark.parametrize("system", SYSTEMS)
COMMON = dict(
    max_epochs=15,
    batch_size=8,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    dropout=0.0,
    validation_fraction=0,
    precision="fp32",
    random_state=0,
)
TEXTS = dict(
    n_layers=1,
    max_length=16,
    trained_layers="all",
    bag_of_words=False,
    neighbor_weight=0,
)
N_TRAIN = 45


@pytest.fixture(autouse=True)
def several_chunks(monkeypatch):
    monkeypatch.setattr(all_labels, "_ROWS_ON_CPU", 5)


def make(system, encoder, names=None, **params):
    options = COMMON | dict(head="all")
    if system == "TReaderXML":
        options |= dict(word_dim=16, min_df=1)
    else:
        options |= TEXTS | dict(encoder=encoder)
    if system == "GRank":
        options |= dict(n_negatives=None, label_learning_rate=None)
    if system == "GUDN":
        options["label_texts"] = names
    return SYSTEMS[system](**options | params)


def head_of(model):
    network = model.network_
    return network.ranker if isinstance(model, GRankClassifier) else network.recall


def fit(system, encoder, colours, **params):
    texts, Y, names = colours
    model = make(system, encoder, names, **params)
    return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])


# --- learning ---------------------------------------------------------------


@pytest.mark.parametrize(
    "system, params",
    [
        *((system, {}) for system in SYSTEMS),
        *((system, dict(label_init="random", max_epochs=30)) for system in SYSTEMS),
        ("GRank", dict(label_precision="bf16")),
        ("GRank", dict(loss="bce")),
        ("GRank", dict(loss="bce", label_init="random", max_epochs=30)),
        ("LightXML", dict(label_precision="bf16")),
        ("TReaderXML", dict(head_optimizer="adamw")),
        ("GRank", dict(accumulate=2, clip_norm=10.0, max_epochs=30)),
        ("LightXML", dict(swa_start=0.5, swa_every=2)),
        (
            "TReaderXML",
            dict(validation_fraction=0.2, early_stopping=True, n_iter_no_change=9),
        ),
    ],
    ids=str,
)
def test_learns_what_words_mean(system, params, tiny_encoder, colours):
    # Four labels of twelve are right: chance is 1/3.
    model = fit(system, tiny_encoder, colours, **params)
    assert isinstance(head_of(model), AllLabels)
    texts, Y, _ = colours
    assert model.score(texts[N_TRAIN:], Y[N_TRAIN:]) > 0.6
    assert model.history_[-1]["loss"] < 0.8 * model.history_[0]["loss"]
    assert head_of(model).optimizer is None and not head_of(model).touched


@pytest.mark.parametrize("system", ["GRank", "LightXML", "GUDN"])
def test_learns_from_features(system, colours):
    texts, Y, _ = colours
    X = CountVectorizer().fit_transform(texts)
    model = make(system, "unused", label_dim=16)
    if system == "GUDN":
        model.set_params(label_branch="multi-hot")
    model.fit(X[:N_TRAIN], Y[:N_TRAIN])
    assert model.score(X[N_TRAIN:], Y[N_TRAIN:]) > 0.8


@every_system
def test_one_label_a_document(system, tiny_encoder, colours):
    texts, Y, _ = colours
    y = np.array(list("abc"))[[row.indices.max() % 3 for row in Y]]
    model = make(system, tiny_encoder, list("abc")).fit(texts, y)
    probabilities = model.predict_proba(texts)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert (model.classes_[probabilities.argmax(axis=1)] == model.predict(texts)).all()


# --- beside the dense head --------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        dict(head_optimizer="adamw", n_negatives=None, label_learning_rate=None),
        dict(head_optimizer="adamw", n_negatives=None, label_learning_rate=None)
        | dict(label_init="random", label_dim=8),
        dict(head_optimizer="adamw", n_negatives=None, label_learning_rate=None)
        | dict(accumulate=2, clip_norm=0.5, swa_start=0.5, swa_every=2),
        dict(n_negatives=3, label_learning_rate=0.1),
        dict(n_negatives=99, label_learning_rate=0.1, accumulate=2),
        dict(n_negatives=3, label_learning_rate=None),
        dict(n_negatives=3, label_learning_rate=0.1, loss="bce"),
    ],
    ids=str,
)
def test_grank_predicts_as_with_the_dense_head(params, tiny_encoder, colours):
    texts, Y, _ = colours
    found = {}
    for head in ("dense", "all"):
        params = params | dict(precision="fp64", max_epochs=3, validation_fraction=0.2)
        found[head] = fit("GRank", tiny_encoder, colours, **params, head=head)
    dense, model = found["dense"], found["all"]
    assert isinstance(head_of(dense), LabelScores)
    for one, other in zip(dense.history_, model.history_, strict=True):
        assert one == pytest.approx(other, rel=1e-9)
    for name in ("predict_proba", "decision_function"):
        expected = getattr(dense, name)(texts).toarray()
        got = getattr(model, name)(texts).toarray()
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8)


# --- what "auto" means ------------------------------------------------------


@every_system
@pytest.mark.parametrize(
    "n_dense, n_all, params, expected",
    [
        (50_000, 200_000, {}, "dense"),
        (11, 200_000, {}, "all"),
        (11, 200_000, dict(max_leaf_size=1), "dense"),
        (11, 200_000, dict(max_leaf_size=3), "clusters"),
        (11, 11, {}, "clusters"),
        (50_000, 200_000, dict(max_leaf_size=3), "clusters"),
        (50_000, 200_000, dict(head="clusters"), "clusters"),
        (50_000, 200_000, dict(head="all"), "all"),
        (11, 11, dict(head="dense"), "dense"),
        (11, 11, dict(head="all"), "all"),
    ],
)
def test_what_auto_means(
    system, n_dense, n_all, params, expected, tiny_encoder, colours, monkeypatch
):
    monkeypatch.setattr(clustering, "_MAX_DENSE", n_dense)
    monkeypatch.setattr(clustering, "_MAX_ALL_ON_CPU", n_all)
    params = dict(head="auto", max_epochs=1, device="cpu") | params
    model = fit(system, tiny_encoder, colours, **params)
    dense = LabelScores if system == "GRank" else LinearHead
    kinds = {"dense": dense, "all": AllLabels, "clusters": dense}
    assert type(head_of(model)) is kinds[expected]
    assert (model.network_.clusters is not None) == (expected == "clusters")


def test_auto_on_a_gpu(monkeypatch):
    monkeypatch.setattr(clustering, "choose_device", lambda device: device)
    model = LightXMLClassifier(device="cuda", label_init="documents")
    for n_labels, expected in [(50_000, "dense"), (50_001, "all"), (10**7, "all")]:
        model.n_labels_ = n_labels
        assert model._choose_head() == expected
    model.device, model.n_labels_ = "cpu", 200_000
    assert model._choose_head() == "all"
    model.n_labels_ += 1
    assert model._choose_head() == "clusters"
    model.device, model.label_init = "cuda", "random"
    assert model._choose_head() == "clusters"


RULED_OUT = {
    "dual": ("GRank", dict(small_label_mode="dual"), "small_label_mode"),
    "words": (
        "GRank",
        dict(label_init="random", label_texts=True),
        "label_texts.*label_init",
    ),
    "uniform": ("LightXML", dict(negatives="uniform"), "negatives='uniform'"),
    "softmax": ("TReaderXML", dict(output_activation="softmax"), "output_activation"),
    "paper": ("GUDN", dict(variant="paper"), "variant"),
}


@pytest.mark.parametrize("case", RULED_OUT)
def test_other_parameters_rule_it_out(case, tiny_encoder, colours, monkeypatch):
    system, params, message = RULED_OUT[case]
    texts, Y, names = colours
    if params.get("label_texts"):
        params = params | dict(label_texts=names)
    with pytest.raises(ValueError, match=f'head="all".*{message}'):
        fit(system, tiny_encoder, colours, **params)
    if case == "softmax":
        return  # which needs the scores of all labels, and no clusters either
    monkeypatch.setattr(clustering, "_MAX_DENSE", 11)
    model = fit(system, tiny_encoder, colours, **params, head="auto", max_epochs=1)
    assert model.network_.clusters is not None


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(head="sparse"), "head must be one of .*'sparse'"),
        (dict(head_optimizer="sgd"), "head_optimizer must be one of .*'sgd'"),
        (dict(max_leaf_size=3), "head='all' contradicts max_leaf_size=3.*makes clus"),
        (dict(head="dense", max_leaf_size=3), "head='dense' contradicts"),
        (dict(head="clusters", max_leaf_size=1), "makes no clusters.*leave one"),
    ],
)
@every_system
def test_bad_parameter_is_refused(system, params, message, tiny_encoder, colours):
    with pytest.raises(ValueError, match=message):
        fit(system, tiny_encoder, colours, **params)


# --- every parameter does something -----------------------------------------


@pytest.mark.parametrize(
    "system, changed",
    [
        *((system, dict(head="dense")) for system in SYSTEMS),
        *((system, dict(head_optimizer="adamw")) for system in SYSTEMS),
        *((system, dict(label_precision="bf16")) for system in SYSTEMS),
        ("LightXML", dict(head_learning_rate=1e-3)),
        ("LightXML", dict(weight_decay=10.0)),
        ("LightXML", dict(label_dim=8)),
        ("GRank", dict(accumulate=2)),
        ("GRank", dict(clip_norm=1e-6)),
        ("GRank", dict(swa_start=0.0)),
    ],
    ids=str,
)
def test_parameter_changes_scores(system, changed, tiny_encoder, colours):
    texts = colours[0]
    scores = [
        fit(system, tiny_encoder, colours, max_epochs=2, **params).predict_topk(texts)
        for params in ({}, changed)
    ]
    assert not np.array_equal(scores[0][1], scores[1][1])


def test_sgd_of_grank(tiny_encoder, colours):
    params = dict(max_epochs=2)
    models = [
        fit("GRank", tiny_encoder, colours, **params, label_learning_rate=rate)
        for rate in (None, 1e-30, 0.3)
    ]
    vectors = [head_of(model).vectors for model in models]
    start = vectors[1]
    assert not torch.equal(vectors[0], start) and not torch.equal(vectors[2], start)
    torch.testing.assert_close(start[:-1].norm(dim=1), torch.ones(12))


# --- memory and folders -----------------------------------------------------


@pytest.mark.parametrize("system", ["GRank", "LightXML"])
def test_fits_where_the_dense_head_does_not(system, monkeypatch):
    # 3,000 labels of 64 numbers: 0.8 MB, and 4 times as much for the dense head.
    rng = np.random.default_rng(0)
    X, Y = sp.csr_array(np.eye(6)), sp.csr_array(rng.random((6, 3000)) < 0.01)
    monkeypatch.setattr(all_labels, "_ROWS_ON_GPU", 100)
    monkeypatch.setattr(devices, "_free_memory", lambda device: 1_200_000)
    params = dict(label_dim=64, batch_size=6, max_epochs=1, label_init="random")
    make(system, "unused", **params).fit(X, Y)
    make(system, "unused", **params | dict(label_precision="bf16")).fit(X, Y)
    for changed in (dict(head="dense"), dict(head_optimizer="adamw")):
        with pytest.raises(MemoryError):
            make(system, "unused", **params | changed).fit(X, Y)


@pytest.mark.parametrize("system", ["GRank", "LightXML"])
def test_a_folder_with_a_head_of_another_size_is_refused(
    system, tiny_encoder, colours, tmp_path
):
    model = fit(system, tiny_encoder, colours, max_epochs=1)
    model.save_pretrained(tmp_path)
    loaded = skxmc.load(tmp_path)
    texts = colours[0]
    for one, other in zip(
        model.predict_topk(texts), loaded.predict_topk(texts), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    head = head_of(loaded)
    good = head.vectors
    for wrong in (good[:-1], good[:, :-1], good * torch.nan, good.long()):
        head.vectors = torch.nn.Parameter(wrong, requires_grad=False)
        with pytest.raises(ValueError, match="vectors"):
            check_state(loaded.network_, "network_")
    head.vectors = good
    check_state(loaded.network_, "network_")
    head.dim -= 1
    with pytest.raises(ValueError):
        check_state(loaded.network_, "network_")
