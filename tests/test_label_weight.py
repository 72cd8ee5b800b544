"""Weights of labels in the loss, and rankings by probability over propensity."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import skxmc
from skxmc import (
    EnsembleClassifier,
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc._label_weights import order_by_propensity
from skxmc._testing import N_LABELS, make_data, predict_all, text_features
from skxmc.metrics import propensity as propensity_of
from skxmc.metrics import psp_at_k
from skxmc.nn.devices import to_device
from skxmc.nn.examples import Examples
from skxmc.nn.text import Features

FAST = dict(max_epochs=3, label_dim=8, validation_fraction=0, random_state=0)
TREADER = dict(word_dim=8, n_heads=2, n_neighbors=3)
CLUSTERS = dict(max_leaf_size=2, n_shortlist=2, predict_shortlist=2)
SYSTEMS = [
    (GRankClassifier, {}),
    (GRankClassifier, CLUSTERS | dict(loss="bce")),
    (GRankClassifier, dict(head="all", n_negatives=None)),
    (GRankClassifier, dict(small_label_mode="dual")),
    (LightXMLClassifier, {}),
    (LightXMLClassifier, CLUSTERS | dict(negatives="static")),
    (LightXMLClassifier, dict(head="all")),
    (LightDXMLClassifier, dict(n_frequent=2)),
    (LightDXMLClassifier, dict(n_frequent=0)),
    (GUDNClassifier, dict(label_branch="multi-hot")),
    (GUDNClassifier, dict(label_branch="multi-hot", variant="paper", label_dim=16)),
    (TReaderXMLClassifier, TREADER),
]


def make_features():
    """Features with noise, so that labels cannot be learned by heart."""
    texts, Y = make_data()
    noise = np.random.default_rng(0).random((len(texts), 8))
    return text_features(texts) + noise, Y


@pytest.mark.parametrize("kind, parameters", SYSTEMS)
def test_a_heavy_label_becomes_more_probable(kind, parameters):
    X, Y = make_features()
    weights = np.ones(N_LABELS)
    weights[2] = 30
    options = FAST | dict(head_learning_rate=0.03) | parameters

    def mean_score(label_weight):
        model = kind(**options, label_weight=label_weight).fit(X, Y)
        ids, scores = model._rank(X, N_LABELS)
        rows, places = np.nonzero(ids == 2)
        others = np.where((ids == 2) | (ids < 0), np.nan, scores)
        return np.mean(scores[rows, places] - np.nanmean(others[rows], axis=1))

    assert mean_score(weights) > mean_score(None) + 0.01


@pytest.mark.parametrize("kind, parameters", SYSTEMS)
def test_weights_of_one_change_next_to_nothing(kind, parameters):
    X, Y = make_features()
    options = FAST | dict(precision="fp64") | parameters
    expected = kind(**options).fit(X, Y).predict_proba(X).toarray()
    model = kind(**options, label_weight=np.ones(N_LABELS)).fit(X, Y)
    np.testing.assert_allclose(model.predict_proba(X).toarray(), expected, rtol=1e-5)


def test_propensities_weigh_pairs_by_one_in_mean():
    X, Y = make_features()
    Y = Y.tolil()
    Y[5:, 1] = 0
    Y = Y.tocsr()
    Y.eliminate_zeros()
    model = LightDXMLClassifier(**FAST, label_weight="propensity").fit(X, Y)
    weights = model._choose_label_weights()
    assert (Y @ weights).sum() == pytest.approx(Y.nnz)
    ratio = weights * propensity_of(Y)
    np.testing.assert_allclose(ratio, ratio[0])
    assert weights[1] == weights.max()
    # The same numbers as an array make the same model.
    same = LightDXMLClassifier(**FAST, label_weight=weights).fit(X, Y)
    for found, wanted in zip(predict_all(same, X), predict_all(model, X), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_weights_of_documents_count_in_propensities():
    X, Y = make_features()
    counts = np.random.default_rng(0).integers(1, 4, len(X))
    rows = np.repeat(np.arange(len(X)), counts)
    options = FAST | dict(max_epochs=1, label_weight="propensity")
    model = LightDXMLClassifier(**options).fit(X, Y, counts)
    repeated = LightDXMLClassifier(**options).fit(X[rows], Y[rows])
    np.testing.assert_allclose(
        model._choose_label_weights(), repeated._choose_label_weights()
    )


@pytest.mark.parametrize(
    "value, message",
    [
        ("frequency", "label_weight must be one of"),
        (np.ones(N_LABELS - 1), r"shape \(5,\) and y 6"),
        (2.0, r"shape \(\) and y 6"),
        ([1, 1, 0, 1, 1, 1], r"label_weight\[2\] is 0.0"),
        ([1, 1, 1, -1, 1, 1], r"label_weight\[3\] is -1.0"),
        ([float("nan"), 1, 1, 1, 1, 1], r"label_weight\[0\] is nan"),
        ([1, 1, 1, 1, 1, float("inf")], r"label_weight\[5\] is inf"),
        (list("abcdef"), "a number for each label"),
    ],
)
def test_wrong_weights_are_refused_before_training(value, message, monkeypatch):
    X, Y = make_features()
    model = LightDXMLClassifier(**FAST, label_weight=value)
    monkeypatch.setattr(model, "_build", lambda *rest: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)


def test_a_model_with_weights_is_saved(tmp_path):
    X, Y = make_features()
    for label_weight in ("propensity", np.arange(1.0, 7)):
        model = LightXMLClassifier(**FAST, label_weight=label_weight).fit(X, Y)
        model.save_pretrained(tmp_path / "model")
        again = skxmc.load(tmp_path / "model")
        np.testing.assert_array_equal(again.label_weight, label_weight)
        np.testing.assert_array_equal(
            again.predict_topk(X, rank_by="propensity")[0],
            model.predict_topk(X, rank_by="propensity")[0],
        )


# --- rankings by propensity -------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), k=st.integers(1, 8))
def test_labels_are_ordered_by_their_quotients(seed, k):
    rng = np.random.default_rng(seed)
    ids = np.array([rng.permutation(9)[:6] for _ in range(5)])
    probabilities = np.sort(rng.random((5, 6)))[:, ::-1].copy()
    ids[2:, 4:] = -1
    probabilities[ids < 0] = 0
    p = rng.uniform(0.1, 1, 9)
    found, scores = order_by_propensity(ids, probabilities, p, k)
    for row in range(5):
        pairs = dict(zip(ids[row].tolist(), probabilities[row], strict=True))
        pairs.pop(-1, None)
        expected = sorted(pairs, key=lambda j: -pairs[j] / p[j])[:k]
        expected += [-1] * (min(k, 6) - len(expected))
        assert found[row].tolist() == expected
        assert scores[row].tolist() == [pairs.get(j, 0.0) for j in expected]


def test_probabilities_stay_and_the_best_quotients_come_first():
    X, Y = make_features()
    Y = Y.tolil()
    Y[3:, 1] = 0
    Y = Y.tocsr()
    Y.eliminate_zeros()
    model = GRankClassifier(**FAST).fit(X, Y)
    proba = model.predict_proba(X).toarray()
    p = propensity_of(Y)
    ids, scores = model.predict_topk(X, 3, rank_by="propensity")
    np.testing.assert_array_equal(ids, np.argsort(-proba / p, axis=1)[:, :3])
    np.testing.assert_allclose(scores, np.take_along_axis(proba, ids, 1), rtol=1e-6)
    same, _ = model.predict_topk(X, 3, rank_by="probability")
    np.testing.assert_array_equal(same, model.predict_topk(X, 3)[0])
    assert (ids != same).any()
    names, _ = model.predict_topk(X, 3, rank_by="propensity", return_names=True)
    np.testing.assert_array_equal(names, model.label_names_[ids])


def test_the_expected_gain_is_the_largest():
    # If probabilities were right, no other ranking would have a higher expected PSP@k.
    X, Y = make_features()
    model = GRankClassifier(**FAST).fit(X, Y)
    p, proba = propensity_of(Y), model.predict_proba(X).toarray()
    rng = np.random.default_rng(0)
    truth = sp.csr_array((rng.random((400, *proba.shape)) < proba).reshape(-1, 6))
    truth = truth.astype(np.int64)
    gains = [
        psp_at_k(
            truth,
            np.tile(model.predict_topk(X, 2, rank_by=rank_by)[0], (400, 1)),
            2,
            propensity=p,
        )
        for rank_by in ("probability", "propensity")
    ]
    assert gains[1] >= gains[0] - 0.002


def test_rankings_by_propensity_are_refused_where_they_mean_nothing():
    X, Y = make_features()
    single = LightDXMLClassifier(**FAST).fit(X, np.arange(len(X)) % 3)
    with pytest.raises(ValueError, match="each document has one label"):
        single.predict_topk(X, rank_by="propensity")
    model = LightDXMLClassifier(**FAST)
    ensemble = EnsembleClassifier([("a", model)]).fit(X, Y)
    with pytest.raises(ValueError, match="of an ensemble"):
        ensemble.predict_topk(X, rank_by="propensity")
    with pytest.raises(ValueError, match="rank_by must be one of"):
        model.fit(X, Y).predict_topk(X, rank_by="frequency")


def test_deep_rankings_hold_as_many_labels_as_are_asked_for():
    rng = np.random.default_rng(0)
    X, Y = np.eye(30)[:, :8] + rng.random((30, 8)), sp.csr_array(np.eye(30, 130))
    Y = sp.csr_array(Y + sp.csr_array(np.eye(30, 130, k=60)))
    model = GRankClassifier(**FAST | dict(max_epochs=1)).fit(X, Y)
    few, _ = model.predict_topk(X, 5, rank_by="propensity")
    many, _ = model.predict_topk(X, 100, rank_by="propensity")
    np.testing.assert_array_equal(few, many[:, :5])
    ids, scores = model.predict_topk(X, 120, rank_by="propensity")
    assert ids.shape == scores.shape == (30, 120) and (ids >= 0).all()


def test_label_weights_are_moved_once_and_not_in_each_step():
    Y = sp.csr_array(np.eye(4))
    examples = Examples(Features(sp.csr_matrix(np.eye(4))), Y, np.arange(4))
    examples.weigh(label_weights=np.arange(1.0, 5.0))
    examples.keep_on("meta")  # stands for a GPU
    table = examples.batch(np.arange(2))[1]["label_weights"]
    assert table.device.type == "meta" and table.shape == (5,)
    assert to_device(table, "cuda") is table
