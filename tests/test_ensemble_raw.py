"""EnsembleClassifier(scale="raw"): the probabilities of networks, not calibrated."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from sklearn.feature_extraction.text import CountVectorizer
from test_ensemble import SMALL, Told, documents

import skxmc
from skxmc import (
    EnsembleClassifier,
    GRankClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
)

SMALL = SMALL | dict(random_state=0)
TREE = SMALL | dict(max_leaf_size=3, n_shortlist=2, predict_shortlist=2)
LIGHT = {key: value for key, value in SMALL.items() if key != "dropout"}


@pytest.fixture(scope="module")
def counts(colours):
    """Word counts of the 60 texts, and their labels: sparse, dense, 1-D."""
    texts, Y, _ = colours
    X = CountVectorizer().fit_transform(texts).astype(np.float64)
    first = np.array(["b", "c", "a"])[Y.toarray().argmax(axis=1).clip(max=2)]
    return X, {"sparse": Y, "dense": Y.toarray(), "single": first}


def make(**params):
    members = [
        ("bce", GRankClassifier(loss="bce", **SMALL)),
        ("tree", LightXMLClassifier(**TREE)),
        ("light", LightDXMLClassifier(**LIGHT)),
    ]
    return EnsembleClassifier(members, **dict(scale="raw", weights=[1, 2, 1]) | params)


def probabilities_of(member, X, n_labels):
    """Sigmoids of a network's scores of all labels; 0 for labels that it left out."""
    docs = member._make_docs(sp.csr_array(X, dtype=np.float32))
    with torch.no_grad():
        batch = docs.batch(np.arange(len(docs)))
        ids, scores = (t.numpy() for t in member.network_.rank(batch, n_labels))
    single = member._y_kind == "single"
    found = np.zeros((len(ids), n_labels + 1))
    found[np.arange(len(ids))[:, None], ids] = (
        np.exp(scores) if single else expit(scores)
    )
    return found[:, :n_labels]


def test_mean_of_the_networks_probabilities(counts):
    X, ys = counts
    model = make().fit(X, ys["dense"])
    members = model.estimators_
    assert all(member.calibration_ != (1.0, 0.0) for member in members)
    tables = [probabilities_of(member, X, 12) for member in members]
    expected = np.average(tables, axis=0, weights=[1, 2, 1])
    ids, scores = model.predict_topk(X, 12)
    ranked = np.take_along_axis(expected, ids.clip(min=0), axis=1)
    assert_allclose(scores, np.where(ids < 0, 0, ranked), rtol=1e-5, atol=1e-7)
    assert_array_equal(model.predict(X), (expected > 0.5).astype(int))
    assert_allclose(
        np.sort(model.decision_function(X))[:, -1],
        logit(expected.max(axis=1)),
        rtol=1e-4,
    )
    calibrated = model.set_params(scale="probability").predict_topk(X, 12)[1]
    assert not np.allclose(calibrated, scores, atol=1e-3)


def test_one_label_a_document(counts):
    X, ys = counts
    model = make().fit(X, ys["single"])
    tables = [probabilities_of(member, X, 3) for member in model.estimators_]
    expected = np.average(tables, axis=0, weights=[1, 2, 1])
    assert_allclose(model.predict_proba(X), expected, rtol=1e-4)


def test_folders_keep_it(counts, tmp_path):
    X, ys = counts
    model = make().fit(X, ys["sparse"])
    model.save_pretrained(tmp_path)
    again = skxmc.load(tmp_path)
    assert again.scale == "raw"
    for one, other in zip(again.predict_topk(X), model.predict_topk(X), strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize(
    "member, message",
    [
        (
            GRankClassifier(**SMALL),
            r"'b' has none: it is of class GRankClassifier.*loss=",
        ),
        (Told(np.eye(3)), "'b' has none: it is of class Told"),
        (
            EnsembleClassifier([("c", LightXMLClassifier(**SMALL))]),
            "'b' has none: it is of class EnsembleClassifier",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:validation_fraction")
def test_members_without_probabilities_are_refused(member, message):
    members = [("a", LightXMLClassifier(**SMALL)), ("b", member)]
    model = EnsembleClassifier(members, scale="raw")
    with pytest.raises(ValueError, match=message):
        model.fit(documents(3), np.eye(3))
    assert not hasattr(model, "estimators_")
    # What is dropped, or the other scales, do not matter.
    model.set_params(b="drop").fit(np.eye(3), np.eye(3)).predict_topk(np.eye(3), 2)


def test_refused_at_prediction(counts):
    X, ys = counts
    model = EnsembleClassifier([("a", GRankClassifier(**SMALL))]).fit(X, ys["sparse"])
    with pytest.raises(ValueError, match="'a' has none"):
        model.set_params(scale="raw").predict_topk(X)
