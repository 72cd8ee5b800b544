"""Documents that are predicted one by one, as a server gets them."""

import pickle

import numpy as np
import pytest

import skxmc

SYSTEMS = [
    *("GRankClassifier", "LightXMLClassifier", "GUDNClassifier"),
    *("LightDXMLClassifier", "TReaderXMLClassifier"),
]
ODD = [
    "",
    " ",
    "\U0001f600",
    "red " * 2000,
    "fox\x00 \x00\x00dog",
    "\ud800 tree",
    "e\u0301t\u00e9 RED",
    "[CLS] red [SEP] [PAD]",
    "\u200d\u0301",
    "x" * 5000,
]


@pytest.fixture(scope="module", params=SYSTEMS)
def model(request, colours, tiny_encoder):
    texts, Y, names = colours
    options = dict(max_epochs=1, precision="fp32", random_state=0, neighbor_weight=1.0)
    if request.param in SYSTEMS[:3]:
        options |= dict(encoder=tiny_encoder, max_length=12)
    if request.param == "GUDNClassifier":
        options["label_texts"] = names
    return getattr(skxmc, request.param)(**options).fit(texts, Y)


def test_odd_texts_one_by_one_are_those_of_a_batch(model, colours):
    texts = ODD + colours[0][:9]
    ids, scores = model.predict_topk(texts, 12)
    assert np.isfinite(scores).all()
    found = np.zeros((len(texts), 13))
    np.put_along_axis(found, ids, scores, axis=1)  # padding is in the last column
    for text, row in zip(texts, found, strict=True):
        own_ids, own = model.predict_topk([text], 12)
        assert (np.diff(own[0]) <= 0).all()
        np.testing.assert_allclose(row[own_ids[0]], own[0], rtol=1e-4, atol=1e-6)


def test_predictions_keep_nothing(model, colours):
    model.predict_topk(["red"], 3)  # what is computed once may stay
    before = len(pickle.dumps(model))
    for text in ODD + colours[0]:
        model.predict_topk([text], 3)
    assert len(pickle.dumps(model)) == before
