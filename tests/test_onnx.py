"""What an ONNX file predicts is what the classifier does."""

import sys

import numpy as np
import pytest
import scipy.sparse as sp

from skxmc import (
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
)
from skxmc.onnx import export_onnx

TEXTS = dict(
    bag_of_words=False,
    neighbor_weight=0,
    max_length=16,
    n_layers=2,
    max_epochs=1,
    validation_fraction=0.1,
    precision="fp32",  # that of ONNX files, whatever this processor is good at
    random_state=0,
)
FEW = dict(max_leaf_size=3, n_shortlist=2, predict_shortlist=2)


@pytest.mark.parametrize(
    "system, options",
    [
        (GRankClassifier, {}),
        (GRankClassifier, dict(trained_layers="all", n_negatives=None)),
        (GRankClassifier, FEW | dict(label_init="random")),
        (GRankClassifier, FEW | dict(loss="bce", combine="product")),
        (GRankClassifier, dict(head="all", label_precision="bf16")),
        (LightXMLClassifier, FEW),
        (LightXMLClassifier, dict(head="all", single=True)),
        (LightXMLClassifier, FEW | dict(negatives="static", ranking_encoder="own")),
        (LightXMLClassifier, dict(single=True)),
        (GUDNClassifier, FEW | dict(predict_shortlist=9)),
    ],
    ids=[
        *("read once", "all labels", "few clusters", "X-BCE", "in chunks"),
        *("LightXML", "LightXML in chunks", "two encoders", "one label", "GUDN"),
    ],
)
def test_onnx_predicts_the_same(system, options, tiny_encoder, colours, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    texts, Y, names = colours
    options = dict(options)
    y = np.array(list("abc") * 20) if options.pop("single", False) else Y
    if y is Y:
        options["label_texts"] = names
    model = system(tiny_encoder, **TEXTS | options).fit(texts, y)
    k = min(5, model.n_labels_)
    export_onnx(model, tmp_path / "model.onnx", k=k)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    # Other numbers of documents and tokens than it was made with.
    for some in (texts, texts[:1], [""], ["red " * 30, "dog"]):
        tokens = model.tokenizer_(
            some, padding=True, truncation=True, max_length=16, return_tensors="np"
        )
        feed = {n: tokens[n].astype(np.int64) for n in ("input_ids", "attention_mask")}
        ids, probabilities = session.run(None, feed)
        expected_ids, expected = model.predict_topk(some, k)
        assert ids.dtype == np.int64 and probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-6)
        # Labels of nearly one score may change places.
        apart = np.abs(np.diff(expected, axis=1)).min(axis=1) > 1e-5
        np.testing.assert_array_equal(ids[apart], expected_ids[apart])


def test_what_cannot_be_exported(colours, tmp_path, monkeypatch):
    texts, Y, _ = colours
    X = sp.csr_array(np.random.default_rng(0).random((60, 5)))
    model = LightDXMLClassifier(max_epochs=1, random_state=0).fit(texts, Y)
    on_features = GRankClassifier(max_epochs=1, random_state=0).fit(X, Y)
    for wrong in (model, on_features):
        with pytest.raises(TypeError, match="fitted on texts"):
            export_onnx(wrong, tmp_path / "model.onnx", k=5)
    assert not list(tmp_path.iterdir())


def test_words_and_neighbors_cannot_be_exported(tiny_encoder, colours, tmp_path):
    texts, Y, _ = colours
    for own in (dict(bag_of_words=True), dict(neighbor_weight=1)):
        model = GRankClassifier(tiny_encoder, **TEXTS | own).fit(texts, Y)
        with pytest.raises(ValueError, match=f"Fit with {next(iter(own))}="):
            export_onnx(model, tmp_path / "model.onnx")
    both = TEXTS | dict(bag_of_words=True, neighbor_weight=1)
    model = GRankClassifier(tiny_encoder, **both).fit(texts, Y)
    with pytest.raises(ValueError, match="bag_of_words=False and neighbor_weight=0"):
        export_onnx(model, tmp_path / "model.onnx")
    words = GRankClassifier(tiny_encoder, reading="words", **TEXTS).fit(texts, Y)
    with pytest.raises(TypeError, match="reads whole texts"):
        export_onnx(words, tmp_path / "model.onnx")


def test_missing_packages_are_named(tiny_encoder, colours, tmp_path, monkeypatch):
    texts, Y, _ = colours
    model = GRankClassifier(tiny_encoder, **TEXTS).fit(texts, Y)
    with pytest.raises(ValueError, match="k must be"):
        export_onnx(model, tmp_path / "model.onnx", k=13)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match="pip install onnx onnxscript"):
        export_onnx(model, tmp_path / "model.onnx")
