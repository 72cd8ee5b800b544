"""What the classifiers choose where nobody says otherwise."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.model_selection import GridSearchCV
from transformers import RobertaConfig, RobertaModel

from skxmc import (
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
    load,
)
from skxmc._testing import assert_same, to_dense

SHORT = dict(max_epochs=1, random_state=0)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*label branch reads label columns"),
    pytest.mark.filterwarnings("ignore:.*holds out none"),
]

TRANSFORMERS = [GRankClassifier, LightXMLClassifier, GUDNClassifier]
EVERY = [
    GRankClassifier(label_dim=8, **SHORT),
    LightXMLClassifier(label_dim=8, **SHORT),
    LightXMLClassifier(label_dim=8, max_leaf_size=4, predict_shortlist=2, **SHORT),
    GUDNClassifier(label_dim=8, label_branch="multi-hot", **SHORT),
    LightDXMLClassifier(label_dim=8, **SHORT),
    LightDXMLClassifier(label_dim=8, n_frequent=3, predict_shortlist=4, **SHORT),
    TReaderXMLClassifier(word_dim=8, **SHORT),
]
every_system = pytest.mark.parametrize(
    "model", EVERY, ids=lambda model: type(model).__name__
)


@pytest.fixture(params=[1, 2, 4, 6])
def encoder(request, tiny_model, tiny_tokenizer):
    """A random BERT with another number of layers, and its tokenizer."""
    config = copy.deepcopy(tiny_model.config)
    config.num_hidden_layers = request.param
    torch.manual_seed(0)
    return type(tiny_model)(config).eval(), tiny_tokenizer


@pytest.fixture(scope="module")
def data():
    """60 documents of 20 features, and 12 labels: 1,920 numbers."""
    rng = np.random.default_rng(0)
    X = sp.random_array((60, 20), density=0.3, format="csr", rng=rng)
    return X, (rng.random((60, 12)) < 0.2).astype(float)


def answers(model, X):
    return *model.predict_topk(X, 4), to_dense(model.decision_function(X))


# Layers and tokens that are read


@pytest.mark.parametrize("classifier", TRANSFORMERS)
def test_layers_are_the_last_five_or_all(classifier, encoder, colours):
    texts, Y, names = colours
    params = SHORT | dict(label_texts=names, trained_layers="all")
    model = classifier(encoder, **params).fit(texts, Y)
    n_layers = min(5, encoder[0].config.num_hidden_layers + 1)
    assert model.network_.encoder.n_layers == n_layers and model.n_layers is None
    given = classifier(encoder, n_layers=n_layers, **params).fit(texts, Y)
    assert_same(answers(model, texts), answers(given, texts))
    with pytest.raises(ValueError, match="n_layers=8, but the encoder has .* lower it"):
        classifier(encoder, n_layers=8, **params).fit(texts, Y)


@pytest.mark.parametrize("n_layers, wanted", [(None, 7), (1, 3), (2, 4)])
def test_layers_of_label_names(n_layers, wanted, encoder, colours):
    texts, Y, names = colours
    n_states = encoder[0].config.num_hidden_layers + 1
    params = SHORT | dict(label_texts=names, variant="paper", label_dim=8)
    model = GUDNClassifier(encoder, n_layers=n_layers, **params).fit(texts, Y)
    assert model.network_.encoder.n_layers == min(wanted, n_states)
    assert model.network_.doc_vectors.extract.width == 16 * min(n_layers or 5, n_states)


def test_a_search_over_layers(tiny_encoder, colours):
    texts, Y, _ = colours
    model = GRankClassifier(tiny_encoder, **SHORT)
    search = GridSearchCV(model, {"n_layers": [1, 3, None]}, cv=2, error_score="raise")
    search.fit(texts, Y)
    _, three, default = search.cv_results_["mean_test_score"]
    assert three == default


@pytest.mark.parametrize("classifier", TRANSFORMERS)
def test_length_is_what_the_encoder_reads(classifier, tiny_encoder, colours, tmp_path):
    texts, Y, _ = colours
    texts = [f"{text} " * 30 for text in texts]  # 120 words, and 64 places
    params = SHORT | dict(trained_layers="all")
    model = classifier(tiny_encoder, **params).fit(texts, Y)
    assert model.max_length_ == 64 and model.max_length is None
    expected = answers(model, texts)
    given = classifier(tiny_encoder, max_length=64, **params).fit(texts, Y)
    assert_same(answers(given, texts), expected)
    model.save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model")
    assert_same(answers(again, texts), expected)
    assert again.max_length_ == 64 and again.network_.encoder.n_layers == 3


def test_length_is_128_where_the_encoder_reads_more(tiny_model, tiny_tokenizer):
    config = copy.deepcopy(tiny_model.config)
    config.max_position_embeddings = 200
    encoder = type(tiny_model)(config), tiny_tokenizer
    texts = ["red " * 300, "dog", "fox"]
    model = GRankClassifier(encoder, **SHORT).fit(texts, np.array([0, 1, 1]))
    assert model.max_length_ == 128


def test_length_of_an_encoder_that_counts_from_its_padding(tiny_tokenizer):
    sizes = dict(hidden_size=8, num_attention_heads=1, intermediate_size=8)
    config = RobertaConfig(
        vocab_size=len(tiny_tokenizer),
        num_hidden_layers=1,
        max_position_embeddings=20,
        pad_token_id=0,
        **sizes,
    )
    encoder = RobertaModel(config), tiny_tokenizer
    texts = ["red " * 30, "dog", "fox"]
    model = LightXMLClassifier(encoder, **SHORT).fit(texts, np.array([0, 1, 1]))
    assert model.max_length_ == 19


@pytest.mark.parametrize(
    "model",
    [
        LightDXMLClassifier(label_dim=16, max_epochs=60, random_state=0),
        TReaderXMLClassifier(word_dim=16, max_epochs=60, use_teacher=False),
    ],
    ids=lambda model: type(model).__name__,
)
def test_words_of_few_texts(model):
    # Only "red" is in two of them.
    texts = ["red fox", "green dog", "blue cat", "red tree house"]
    model = copy.deepcopy(model).set_params(random_state=0)
    assert model.fit(texts, list("abcd")).score(texts, list("abcd")) == 1
    assert len(model.vectorizer_.vocabulary_) >= 8
    texts = [f"{text} word" for text in texts] * 10 + ["rare"]
    model.fit(texts, [*"abcd" * 10, "a"])  # one in 41 is left without a word
    assert "rare" not in model.vectorizer_.vocabulary_


# The precision of "auto"


@every_system
def test_small_features_are_read_in_float64(model, data, float32_cpu, tmp_path):
    X, Y = data
    model.fit(X, Y)
    expected = answers(model, X)
    rng = np.random.default_rng(0)
    for size in (1, 7, 60):  # whatever stands beside a document, in any order
        rows = rng.permutation(60)[:size]
        ids, _, scores = answers(model, X[rows])
        np.testing.assert_array_equal(ids, expected[0][rows])
        np.testing.assert_allclose(scores, expected[2][rows], rtol=1e-9)
    model.save_pretrained(tmp_path / "model")
    again = load(tmp_path / "model")
    for one in (model, again):
        weights = [p for p in one.network_.parameters() if p.is_floating_point()]
        assert {weight.dtype for weight in weights} == {torch.float64}
    assert_same(answers(again, X), expected)
    # It is fitted so: no other precision is left to predict in.
    assert_same(answers(again.set_params(precision="bf16"), X), expected)


@every_system
def test_float32_weights_are_not_taken_for_float64(model, data, float32_cpu):
    X, Y = data
    model = copy.deepcopy(model).set_params(precision="fp32").fit(X, Y)
    expected = answers(model, X)
    assert_same(answers(model.set_params(precision="auto"), X), expected)


@pytest.mark.parametrize(
    "n_docs, n_features, n_labels, params, dtype",
    [
        (100, 98, 2, {}, torch.float64),  # 10,000 numbers
        (100, 99, 2, {}, torch.float32),
        (100, 98, 3, {}, torch.float32),
        (101, 98, 2, {}, torch.float32),
        (10, 10, 2, dict(precision="fp32"), torch.float32),
        (10, 10, 2, dict(label_precision="bf16"), torch.float32),
    ],
)
def test_what_small_means(n_docs, n_features, n_labels, params, dtype, float32_cpu):
    rng = np.random.default_rng(0)
    X = rng.random((n_docs, n_features))
    Y = np.eye(n_labels)[rng.integers(n_labels, size=n_docs)]
    model = GRankClassifier(label_dim=4, **SHORT | params).fit(X, Y)
    assert next(model.network_.parameters()).dtype == dtype


def test_texts_are_not_read_in_float64(tiny_encoder, colours):
    for model in (GRankClassifier(tiny_encoder, **SHORT), LightDXMLClassifier(**SHORT)):
        model.fit(*colours[:2])
        assert next(model.network_.parameters()).dtype == torch.float32
