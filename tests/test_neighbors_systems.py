"""Classifiers whose neighbours vote, explanations included."""

import copy
import math
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from persistence_examples import FEW, D, G, L, T, U, make
from safetensors.torch import load_file
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skxmc
from skxmc import EnsembleClassifier, _neighbor_weight, _neighbors, _warm_neighbors
from skxmc.inspection import Explanation, explain
from skxmc.metrics import precision_at_k
from skxmc.nn import devices
from skxmc.onnx import export_onnx

N_LABELS = 12
VOTING = dict(neighbor_weight=1.5, n_voters=3)
SYSTEMS = {
    "GRank": (G, {}),
    "GRank, clustered": (G, FEW),
    "GRank, random": (G, dict(label_init="random")),
    "LightXML": (L, {}),
    "LightXML, clustered": (L, FEW),
    "LightXML, random": (L, dict(label_init="random")),  # it has no vector for labels
    "GRank, read once": (G, dict(trained_layers=0, bag_of_words=True)),
    "GRank, words": (G, dict(reading="words")),
    "GUDN, one layer": (U, FEW | dict(trained_layers=1)),
    "LightDXML": (D, {}),
    "TReaderXML": (T, {}),
    "TReaderXML, clustered": (T, FEW),
    "GUDN": (U, {}),
    "GUDN, clustered": (U, FEW),
    "GUDN, paper": (U, dict(variant="paper")),
}
every_system = pytest.mark.parametrize("name", SYSTEMS)


def build(name, encoder, words=None, **params):
    kind, options = SYSTEMS[name]
    if kind is U:  # which warns without names
        options = options | dict(label_texts=words)
    return make(kind, encoder, **options | VOTING | params)


# Every system


@pytest.fixture(scope="module")
def data(colours):
    texts, Y, words = colours
    dense = Y.toarray().astype(int)
    single = np.array([words[row.argmax()] for row in dense])
    return dict(texts=texts, words=words, csr=Y, dense=dense, single=single)


@every_system
@pytest.mark.parametrize("y", ["csr", "dense", "single"])
def test_every_system(name, y, tiny_encoder, data, tmp_path):
    texts, target = data["texts"], data[y]
    words = data["words"]
    if y == "single":
        words = list(np.unique(target))
    model = build(name, tiny_encoder, words).fit(texts, target)
    plain = build(name, tiny_encoder, words, neighbor_weight=0).fit(texts, target)
    n_labels = model.n_labels_
    assert (model.neighbor_weight_, plain.neighbor_weight_) == (1.5, 0)
    votes = model.network_.neighbors
    assert votes.index.n_vectors == len(votes.rows) and (votes.rows < 60).sum() < 60
    assert votes.index.dim == model.network_.vector_dim

    ids, scores = model.predict_topk(texts, n_labels + 2)
    for row in ids:
        ranked = row[row >= 0]
        assert len(set(ranked)) == len(ranked) and (row[len(ranked) :] == -1).all()
    assert (np.diff(scores, axis=1) <= 0).all() and not scores[ids < 0].any()
    few = model.predict_topk(texts, 3)
    assert_array_equal(few[0], ids[:, :3])
    assert model.predict(texts).shape == np.shape(target)
    if y == "single":
        assert_allclose(model.predict_proba(texts).sum(axis=1), 1, rtol=1e-5)
    # Without its memory, a model ranks as one that never had any.
    assert set(plain.network_.state_dict()) == set(model.network_.state_dict())
    assert not torch.equal(
        *(torch.tensor(m.predict_topk(texts, 2)[1]) for m in (model, plain))
    )
    again = pickle.loads(pickle.dumps(model))
    again.network_.neighbors = None
    assert_array_equal(again.predict_topk(texts, 5)[0], plain.predict_topk(texts, 5)[0])

    for kept in (model, plain):
        kept.save_pretrained(tmp_path / "model")
        tensors = load_file(tmp_path / "model" / "model.safetensors")
        remembered = [n for n in tensors if n.startswith("network_.neighbors.")]
        assert bool(remembered) == (kept is model)
        for copied in (skxmc.load(tmp_path / "model"), copy.deepcopy(kept)):
            for method in ("predict_proba", "decision_function"):
                one, other = (getattr(m, method)(texts) for m in (kept, copied))
                one, other = (
                    x.toarray() if sp.issparse(x) else x for x in (one, other)
                )
                assert_array_equal(one, other)
        if kept is model:
            assert tensors["network_.neighbors.index.vectors"].dtype == torch.float16
            assert_array_equal(
                model.kneighbors(texts),
                skxmc.load(tmp_path / "model").kneighbors(texts),
            )


@every_system
def test_neighbors_are_of_the_training_documents(name, tiny_encoder, data):
    texts, Y = data["texts"], data["csr"]
    model = build(name, tiny_encoder, data["words"], label_texts_vote=False)
    model.fit(texts, Y)
    rows = model.network_.neighbors.rows.numpy()
    distances, found = model.kneighbors([texts[i] for i in rows])
    assert found.shape == distances.shape == (len(rows), 3)
    assert np.isin(found, rows).all() and (np.diff(distances, axis=1) >= 0).all()
    # A training document is its own nearest neighbour, or as near as a copy of it. The
    # reader has other vectors of training documents: they do not learn from themselves.
    if "Reader" not in name:
        assert_allclose(distances[:, 0], 0, atol=2e-3)
    kept = sp.csr_array(
        (
            np.ones(len(model.network_.neighbors.ids)),
            model.network_.neighbors.ids,
            model.network_.neighbors.indptr,
        ),
        (len(rows), N_LABELS),
    )
    assert_array_equal(kept.toarray(), Y[rows].toarray())


@pytest.mark.parametrize("kind", [G, L, D, T, U])
def test_label_texts_vote(kind, tiny_encoder, data):
    texts, Y, words = data["texts"], data["csr"], [*data["words"][:-1], " "]
    params = dict(label_texts=words, **VOTING)
    model = make(kind, tiny_encoder, **params).fit(texts, Y)
    votes = model.network_.neighbors
    names = votes.rows[votes.rows >= 60]
    assert_array_equal(names, 60 + np.arange(11))  # the last label has no text
    assert_array_equal(votes.indptr[-12:].diff(), np.ones(11))
    assert_array_equal(votes.ids[-11:], np.arange(11))
    distances, rows = model.kneighbors(words[:-1])
    assert_allclose(distances[:, 0], 0, atol=2e-3)
    found = explain(model, "red", 0).neighbors
    assert None in [row for row, _ in found]
    params["label_texts_vote"] = False
    alone = make(kind, tiny_encoder, **params).fit(texts, Y)
    assert int(alone.network_.neighbors.rows.max()) < 60
    assert None not in [row for row, _ in explain(alone, "red", 0).neighbors]


def test_a_label_without_documents_gets_votes_by_its_text(data):
    texts, words = data["texts"], data["words"]
    Y = data["dense"].copy()
    Y[:, 3] = 0
    params = dict(label_texts=words, neighbor_weight=9.0, max_epochs=8)
    model = make(D, **params).fit(texts, Y)
    assert model.predict_topk([words[3]], 1)[0] == 3


def test_documents_without_labels_do_not_vote(data):
    texts, Y = [*data["texts"], "red fox", ""], sp.lil_array((62, N_LABELS))
    Y[:60] = data["csr"]
    model = make(D, **VOTING).fit(texts, sp.csr_array(Y))
    assert not {60, 61} & set(model.network_.neighbors.rows.tolist())
    assert (model.predict_topk(["zzz", ""], 5)[0] >= 0).all()


@pytest.mark.parametrize("kind", [G, L, D, T, U])
def test_feature_matrices(kind, data):
    X = TfidfVectorizer(dtype=np.float32).fit_transform(data["texts"])
    params = dict(label_branch="multi-hot") if kind is U else {}
    for precision in ("fp32", "fp64"):
        model = make(kind, precision=precision, **VOTING | params).fit(X, data["csr"])
        ids, _ = model.predict_topk(X, 4)
        assert_array_equal(
            ids, np.concatenate([model.predict_topk(X[[i]], 4)[0] for i in range(60)])
        )
        assert model.kneighbors(X[[5]], 2, return_distance=False).shape == (1, 2)


def test_votes_reach_labels_outside_of_the_shortlist(data):
    texts, Y = data["texts"], data["csr"]
    shortlist = dict(max_leaf_size=2, n_shortlist=1, predict_shortlist=1)
    params = dict(max_epochs=1, validation_fraction=0) | shortlist
    model = make(T, **params, neighbor_weight=9.0).fit(texts, Y)
    ranked = (model.predict_topk(texts, 12)[0] >= 0).sum(axis=1)
    model.network_.neighbors = None
    assert ((model.predict_topk(texts, 12)[0] >= 0).sum(axis=1) <= 2).all()
    assert (ranked > 4).all()


# Which weight


def held_out_means(model, data, k=4):
    """The mean of P@1 and P@k of each weight, by a prediction for each."""
    texts, Y = data["texts"], data["csr"]
    rows = np.setdiff1d(np.arange(60), model.network_.neighbors.rows)
    means = {}
    for weight in (0, 0.5, 1, 2, 4, 8):
        model.network_.neighbors.weight = weight
        ids, _ = model.predict_topk([texts[i] for i in rows], k)
        means[weight] = sum(precision_at_k(Y[rows], ids, n) for n in (1, k)) / 2
    return means


@pytest.mark.parametrize("name", ["LightDXML", "GRank, clustered", "TReaderXML"])
def test_auto_takes_the_best_weight_on_held_out_documents(name, tiny_encoder, data):
    options = dict(validation_fraction=0.3, max_epochs=2)
    auto = build(name, tiny_encoder, neighbor_weight="auto", **options)
    auto.fit(data["texts"], data["csr"])
    fixed = build(name, tiny_encoder, **options).fit(data["texts"], data["csr"])
    means = held_out_means(fixed, data)
    best = max(means.values())
    assert auto.neighbor_weight_ == min(w for w in means if means[w] == best)


def test_auto_without_held_out_documents(data):
    model = make(D, validation_fraction=0, neighbor_weight="auto")
    assert model.fit(data["texts"], data["csr"]).neighbor_weight_ == 1


def test_auto_drops_neighbors_that_do_not_help(data, monkeypatch):
    equal = lambda *rest, **options: 0.5  # noqa: E731
    monkeypatch.setattr(_neighbor_weight, "precision_at_k", equal)
    model = make(D, neighbor_weight="auto").fit(data["texts"], data["csr"])
    assert model.neighbor_weight_ == 0 and model.network_.neighbors is None
    with pytest.raises(ValueError, match="ranked best without votes"):
        model.kneighbors(data["texts"])


def test_a_search_over_weights(data):
    grid = dict(neighbor_weight=[0, "auto", 2.5])
    search = GridSearchCV(make(D), grid, cv=2).fit(data["texts"], data["csr"])
    assert set(search.cv_results_["rank_test_score"]) <= {1, 2, 3}
    again = make(D, neighbor_weight=0).fit(data["texts"], data["csr"])
    again.set_params(neighbor_weight=2).fit(data["texts"], data["csr"])
    assert again.neighbor_weight_ == 2
    again.set_params(neighbor_weight=0).fit(data["texts"], data["csr"])
    assert again.network_.neighbors is None


# What is refused


@pytest.mark.parametrize("kind", [G, L, D, T, U])
@pytest.mark.parametrize(
    "params",
    [
        dict(neighbor_weight=-1),
        dict(neighbor_weight="best"),
        dict(neighbor_weight=None),
        dict(neighbor_weight=math.inf),
        dict(neighbor_weight=True),
        dict(n_voters=0),
        dict(n_voters=2.0),
        dict(label_texts_vote=1),
    ],
)
def test_parameters(kind, params, data):
    with pytest.raises(ValueError, match=f"{next(iter(params))} must be"):
        kind(**params).fit(data["texts"], data["csr"])


def test_kneighbors_refuses(data):
    model = make(D, **VOTING).fit(data["texts"], data["csr"])
    for bad in (0, 61, 1.5):
        with pytest.raises(ValueError, match="n_neighbors must be an int"):
            model.kneighbors(data["texts"], bad)
    with pytest.raises(ValueError, match="X must be texts"):
        model.kneighbors(np.eye(12))
    plain = make(D).fit(data["texts"], data["csr"])
    with pytest.raises(ValueError, match="neighbor_weight is 0"):
        plain.kneighbors(data["texts"])


def test_more_voters_than_documents(data):
    texts, Y = data["texts"][:15], data["csr"][:15]
    model = make(D, neighbor_weight=1, n_voters=100).fit(texts, Y)
    n_known = model.network_.neighbors.index.n_vectors
    assert model.kneighbors(texts)[1].shape == (15, n_known)


def test_onnx_refuses(tiny_encoder, data, tmp_path):
    model = build("GRank", tiny_encoder).set_params(bag_of_words=False)
    model.fit(data["texts"], data["csr"])
    with pytest.raises(ValueError, match="vote as neighbors.*neighbor_weight=0"):
        export_onnx(model, tmp_path / "model.onnx")


def test_too_little_memory_is_told_before_training(data, monkeypatch):
    monkeypatch.setattr(_neighbors, "check_free_memory", devices.check_free_memory)
    monkeypatch.setattr(_neighbors, "_BYTES", 2**60)
    model = make(D, **VOTING)
    with pytest.raises(MemoryError, match="vote as neighbors.*Set neighbor_weight=0"):
        model.fit(data["texts"], data["csr"])
    assert not hasattr(model, "history_")
    make(D).fit(data["texts"], data["csr"])


def test_an_interrupted_fit_has_its_neighbors(data, monkeypatch):
    class Interrupt:
        def __call__(self, *args, **options):
            raise KeyboardInterrupt

    model = make(D, **VOTING)
    monkeypatch.setattr("skxmc.base.train", Interrupt())
    with pytest.raises(KeyboardInterrupt):
        model.fit(data["texts"], data["csr"])
    assert model.neighbor_weight_ == 1.5
    assert model.predict_topk(data["texts"], 2)[0].shape == (60, 2)
    # And one that is interrupted while the neighbours are collected has none.
    monkeypatch.undo()
    monkeypatch.setattr(_warm_neighbors, "NeighborVotes", Interrupt())
    with pytest.raises(KeyboardInterrupt):
        model.fit(data["texts"], data["csr"])
    assert model.neighbor_weight_ == 0
    assert model.predict_topk(data["texts"], 2)[0].shape == (60, 2)


def test_resuming_ends_with_the_same_neighbors(data, tmp_path, monkeypatch):
    texts, Y = data["texts"], data["csr"]
    options = dict(max_epochs=3, checkpoint_dir=tmp_path, **VOTING)
    whole = make(D, **options).fit(texts, Y)
    with monkeypatch.context() as patch:
        patch.setattr(
            "skxmc._neighbors.NeighborsMixin._add_neighbors",
            lambda *args: (_ for _ in ()).throw(SystemExit),
        )
        with pytest.raises(SystemExit):  # killed after the last epoch
            make(D, **options).fit(texts, Y)
    assert list(tmp_path.glob("*.checkpoint"))
    resumed = make(D, **options | dict(n_voters=2)).fit(texts, Y)
    resumed.network_.neighbors.n_neighbors = 3
    for one, other in zip(
        whole.predict_topk(texts, 5)[0], resumed.predict_topk(texts, 5)[0], strict=True
    ):
        assert_array_equal(one, other)


# Explanations


@pytest.mark.parametrize("name", ["GRank", "LightDXML", "LightXML, clustered"])
def test_explanations_name_the_neighbors(name, tiny_encoder, data):
    texts, Y = data["texts"], data["csr"]
    model = build(name, tiny_encoder).fit(texts, Y)
    distances, rows = model.kneighbors(texts[:4])
    weights = np.exp(-20 * distances)
    weights /= weights.sum(axis=1, keepdims=True)
    for i, text in enumerate(texts[:4]):
        label = int(model.predict_topk([text], 1)[0][0, 0])
        explanation = explain(model, text, label)
        has_label = Y[rows[i]].toarray()[:, label] > 0
        assert [row for row, _ in explanation.neighbors] == rows[i][has_label].tolist()
        shares = [share for _, share in explanation.neighbors]
        assert_allclose(shares, weights[i][has_label], rtol=1e-3)


def test_explanations_through_pipelines_and_of_other_classifiers(data):
    texts, Y = data["texts"], data["csr"]
    pipeline = make_pipeline(TfidfVectorizer(dtype=np.float32), make(D, **VOTING))
    pipeline.fit(texts, Y)
    X, model = pipeline[:-1].transform(texts[:1]), pipeline[-1]
    label = int(model.predict_topk(X, 1)[0][0, 0])
    expected = model._find_voters(X, label)
    assert expected and explain(pipeline, texts[0], label).neighbors == expected
    plain = make(D).fit(texts, Y)
    label = int(plain.predict_topk(texts[:1], 1)[0][0, 0])
    assert explain(plain, texts[0], label).neighbors == []


def test_explanations_of_ensembles_name_the_neighbors_of_all_members(data):
    texts, Y = data["texts"], data["csr"]
    members = [
        ("a", make(D, **VOTING)),
        ("b", make(D, **VOTING | dict(random_state=1, validation_fraction=0.2))),
        ("none", make(D)),
        ("out", "drop"),
        ("unused", make(D, **VOTING)),
    ]
    weights = np.array([1, 3, 2, 5, 0])
    model = EnsembleClassifier(members, weights=weights).fit(texts, Y)
    label = int(model.predict_topk(texts[:1], 1)[0][0, 0])
    expected = {}
    for member, share_of_all in zip(model.estimators_[:2], (1 / 6, 3 / 6), strict=True):
        for row, share in explain(member, texts[0], label).neighbors:
            expected[row] = expected.get(row, 0) + share * share_of_all
    found = explain(model, texts[0], label).neighbors
    assert len(found) == len(expected) and dict(found) == pytest.approx(expected)
    shares = [share for _, share in found]
    assert shares == sorted(shares, reverse=True)
    # A nested ensemble has the rows of the same documents.
    outer = EnsembleClassifier([("inner", clone(model))]).fit(texts, Y)
    nested = explain(outer, texts[0], label).neighbors
    assert dict(nested) == pytest.approx(dict(found))


def test_explanations_of_ensembles_leave_out_members_with_other_rows(data):
    texts, Y = data["texts"], data["csr"]
    members = [("a", make(D, **VOTING)), ("b", make(D, **VOTING))]
    model = EnsembleClassifier(members).fit(texts, Y)
    model.estimators_[0].add_documents(texts[:1], Y[:1])  # it alone has a new row
    label = int(model.predict_topk(texts[:1], 1)[0][0, 0])
    other = explain(model.estimators_[1], texts[0], label).neighbors
    expected = {row: share / 2 for row, share in other}
    assert other and dict(explain(model, texts[0], label).neighbors) == expected


def test_how_neighbors_are_shown():
    known = dict(text="fox", label="x", probability=0.5, spans=[(0, 3)])
    known["weights"] = np.array([1.0])
    voters = [(7, 0.5), (None, 0.25), (12, 0.125), (1, 0.1)]
    plain = Explanation(**known)
    assert repr(plain) == "x (0.500): fox +1.00" and "votes" not in plain._repr_html_()
    shown = "votes of 7 (0.50), label text (0.25), 12 (0.12) and 1 more"
    both = Explanation(**known, neighbors=voters)
    assert repr(both) == f"x (0.500): fox +1.00; {shown}"
    assert f"<p>{shown}</p></div>" in both._repr_html_()
    assert repr(Explanation(**known, neighbors=voters[:1])).endswith("7 (0.50)")


def test_members_of_an_ensemble_may_have_neighbors(data, tmp_path):
    texts, Y = data["texts"], data["csr"]
    members = [("a", make(D, **VOTING)), ("b", make(T, neighbor_weight="auto"))]
    model = EnsembleClassifier(members).fit(texts, Y)
    model.save_pretrained(tmp_path / "model")
    assert_array_equal(
        skxmc.load(tmp_path / "model").predict_topk(texts, 3),
        model.predict_topk(texts, 3),
    )
