"""Layers that compute their states again for the gradient, instead of keeping them."""

import copy
import pickle

import numpy as np
import pytest
import torch
import transformers
from conftest import kept_for_gradient

import skxmc
from skxmc import GRankClassifier, GUDNClassifier, LightXMLClassifier
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.reading import read_once
from skxmc.nn.text import tokenize

TEXTS = ["red", "green blue fox dog cat tree", "", "old house near the river stone"]
QUICK = dict(max_epochs=1, batch_size=8, precision="fp32", device="cpu")
QUICK |= dict(random_state=0, bag_of_words=False, validation_fraction=0)
QUICK |= dict(gradient_checkpointing=True)


def make_encoder(model, **options):
    options = dict(n_layers=2, dropout=0.3) | options
    return TransformerEncoder(copy.deepcopy(model), **options).train()


def gradients(encoder, batch):
    torch.manual_seed(0)  # of dropout
    first, mean = encoder(batch)
    (first.square().sum() + mean.sum()).backward()
    return [p.grad for p in encoder.parameters() if p.requires_grad]


@pytest.mark.parametrize("n_trained", [None, 1])
def test_gradients_are_the_same(n_trained, tiny_model, tiny_tokenizer):
    docs = tokenize(TEXTS, tiny_tokenizer, 16)
    found, expected = [], []
    for kept, checkpointing in ((expected, False), (found, True)):
        options = dict(n_trained=n_trained, checkpointing=checkpointing)
        encoder = make_encoder(tiny_model, **options)
        some = docs
        if n_trained:
            kind = dict(batch_size=4, device="cpu", precision="fp32", verbose=0)
            some = read_once(encoder, docs, **kind)
        kept += gradients(encoder.train(), some.batch(np.arange(4)))
    assert len(found) == len(expected) > 10
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_trained", [None, 2])
def test_memory_of_a_step(n_trained, tiny_tokenizer):
    config = transformers.BertConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=16,
        num_hidden_layers=6,
        num_attention_heads=2,
        intermediate_size=32,
    )
    model = transformers.BertModel(config)
    ids = torch.full((1, 32), 7)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    plain, again = (
        make_encoder(model, n_trained=n_trained, checkpointing=checkpointing)
        for checkpointing in (False, True)
    )
    estimate, whole = again.floats_per_document(32), plain.floats_per_document(32)
    # The inputs that are kept, and one layer that is computed again.
    kept = kept_for_gradient(again, batch) // 4
    n_layers = n_trained or 6
    assert estimate == pytest.approx(kept + whole / n_layers, rel=0.01)
    assert kept < 0.4 * whole and estimate < 0.8 * whole
    # Measuring it changes nothing.
    assert kept_for_gradient(again, batch) // 4 == kept


def counts(model):
    """The flags of all layers that may compute their states again."""
    flags = [getattr(m, "gradient_checkpointing", None) for m in model.modules()]
    return [flag for flag in flags if flag is not None]


@pytest.mark.parametrize(
    "kind, n_trained",
    [
        (GRankClassifier, "all"),
        (GRankClassifier, 1),
        (LightXMLClassifier, "all"),
        (GUDNClassifier, "all"),
    ],
)
def test_fits_are_the_same(kind, n_trained, tiny_encoder, colours, tmp_path):
    texts, Y, names = colours
    options = QUICK | dict(trained_layers=n_trained, label_texts=names)
    model = kind(tiny_encoder, **options).fit(texts[:20], Y[:20])
    assert all(counts(model.network_.encoder.model))
    options["gradient_checkpointing"] = False
    plain = kind(tiny_encoder, **options).fit(texts[:20], Y[:20])
    assert not any(counts(plain.network_.encoder.model))
    expected = model.decision_function(texts).toarray()
    found = plain.decision_function(texts).toarray()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    twin = pickle.loads(pickle.dumps(model))
    assert all(counts(twin.network_.encoder.model))
    model.save_pretrained(tmp_path / "model")
    again = skxmc.load(tmp_path / "model").set_params(device="cpu")
    assert not again.network_.encoder.checkpointing
    np.testing.assert_array_equal(again.decision_function(texts).toarray(), expected)


@pytest.mark.parametrize("n_trained", [1, 2, "all"])
def test_fits_that_go_on_are_the_same(n_trained, tiny_encoder, colours):
    texts, Y, names = colours
    options = QUICK | dict(trained_layers=n_trained, label_texts=names, warm_start=True)
    fitted = []
    for first, second in ((False, False), (True, True), (True, False), (False, True)):
        model = GRankClassifier(
            tiny_encoder, **options | dict(gradient_checkpointing=first)
        )
        model.fit(texts[:20], Y[:20]).set_params(gradient_checkpointing=second)
        before = dict(model.network_.encoder.named_parameters())
        encoder = model.fit(texts, Y).network_.encoder
        assert encoder.checkpointing == second
        assert set(counts(encoder.model)) == {second}
        # What was frozen stays so.
        assert {n: p.requires_grad for n, p in encoder.named_parameters()} == {
            n: p.requires_grad for n, p in before.items()
        }
        fitted.append(model.decision_function(texts).toarray())
    for found in fitted[1:]:
        np.testing.assert_allclose(found, fitted[0], rtol=1e-3, atol=1e-3)
    model.set_params(trained_layers=0)
    with pytest.raises(ValueError, match="trained_layers=.* is now 0"):
        model.fit(texts, Y)


def test_a_fit_of_nothing_cannot_go_on_with_it(tiny_encoder, colours):
    texts, Y, _ = colours
    options = QUICK | dict(trained_layers=0, bag_of_words=True, warm_start=True)
    options["gradient_checkpointing"] = False
    model = GRankClassifier(tiny_encoder, **options).fit(texts, Y)
    with pytest.raises(ValueError, match="trained_layers=0 trains nothing of it"):
        model.set_params(gradient_checkpointing=True).fit(texts, Y)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(trained_layers=0), "trained_layers=0 trains nothing of it"),
        (dict(reading="words"), "reading='words' with .* trains nothing of it"),
        (dict(gradient_checkpointing="yes"), "must be True or False, got 'yes'"),
    ],
)
def test_where_nothing_is_trained(options, message, tiny_encoder, colours):
    options = QUICK | dict(trained_layers="all") | options
    with pytest.raises(ValueError, match=f"gradient_checkpointing.*{message}"):
        GRankClassifier(tiny_encoder, **options).fit(*colours[:2])


def test_models_without_it_are_refused(tiny_tokenizer, colours):
    config = transformers.MPNetConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
    )
    pair = transformers.MPNetModel(config), tiny_tokenizer
    with pytest.raises(ValueError, match="MPNetModel has no gradient checkpointing"):
        GRankClassifier(pair, **QUICK, trained_layers="all").fit(*colours[:2])


def test_feature_matrices_have_no_layers(colours):
    Y = colours[1]
    GRankClassifier(max_epochs=1, gradient_checkpointing=True).fit(Y, Y)
