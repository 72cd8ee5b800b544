"""Which words carry a prediction: weights against loops, and refused input."""

import re

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from inspection_examples import N_TRAIN, SHORT, SMALL, TEXTS, Words, held_out
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, logit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from skxmc import (
    EnsembleClassifier,
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc._words import WORD
from skxmc.inspection import explain

pytest_plugins = ["inspection_fixtures"]
pytestmark = pytest.mark.usefixtures("no_figures")

# Explanations of known weights


def test_weights_are_log_odds():
    rng = np.random.default_rng(0)
    table = {word: rng.normal(size=4) for word in ("red", "green", "fox")}
    model = Words(rng.normal(size=4), table)
    for label in range(4):
        explanation = explain(model, "The red, red fox: 7 green!", label)
        assert explanation.words == ["The", "red", "red", "fox", "7", "green"]
        expected = [0 if w not in table else table[w][label] for w in explanation.words]
        assert_allclose(explanation.weights, expected, atol=1e-5)
        odds = model.own[label] + sum(expected)
        assert explanation.probability == pytest.approx(expit(odds), rel=1e-6)
        assert type(explanation.probability) is float
        assert explanation.label == label


@settings(max_examples=50, deadline=None)
@given(text=st.text(max_size=30))
def test_words_are_where_the_spans_say(text):
    model = Words([0.0, 1.0], {})
    words = re.findall(WORD, text)
    if not words:
        with pytest.raises(ValueError, match="text has 0 words"):
            explain(model, text, 0)
        return
    explanation = explain(model, text, 0)
    assert explanation.words == words and explanation.text == text
    assert [text[start:end] for start, end in explanation.spans] == words
    assert_array_equal(explanation.weights, np.zeros(len(words)))


def test_only_the_word_is_taken_out():
    seen = []

    class Watched(Words):
        def predict_topk(self, X, k=5):
            seen.extend(X)
            return super().predict_topk(X, k)

    explain(Watched([0.0], {}), " A red-red\nfox.", 0)
    assert seen == [
        " A red-red\nfox.",
        "  red-red\nfox.",
        " A -red\nfox.",
        " A red-\nfox.",
        " A red-red\n.",
    ]


def test_a_thousand_labels_are_looked_among():
    own = -np.arange(1500) / 500
    added = np.where(np.arange(1500) == 1400, 4.0, 0.0)
    model = Words(own, {"red": added})
    # Without the word, label 999 is the last of the thousand.
    explanation = explain(model, "red fox", 1400)
    assert_allclose(explanation.weights, [own[1400] + 4 - own[999], 0], atol=1e-5)
    with pytest.raises(ValueError, match="1400.* is not among the 1000 best labels"):
        explain(model, "a fox", 1400)


def test_where_few_labels_are_ranked():
    model = Words([-2.0, 1.0], {"red": np.array([4.0, 0.0])}, least=0.5)
    # Without the word, label 1 alone is ranked.
    explanation = explain(model, "red fox", 0)
    assert_allclose(explanation.weights, [2 - 1, 0], atol=1e-5)
    with pytest.raises(ValueError, match="not among the"):
        explain(model, "a fox", 0)


def test_a_word_without_which_nothing_is_ranked():
    model = Words([-2.0, -3.0], {"red": np.array([4.0, 0.0])}, least=0.5)
    assert explain(model, "red fox", 0).weights[0] > 0


def test_an_ensemble_that_ranks_nothing(colours):
    texts, Y, _ = colours
    own, words = [-5.0] * 12, {"red": np.eye(12)[0] * 9}
    model = EnsembleClassifier([("a", Words(own, words, least=0.1))]).fit(texts, Y)
    assert explain(model, "red", 0).weights[0] > 0


def test_certain_predictions_have_finite_weights():
    explanation = explain(Words([0.0], {"red": np.array([1e3])}), "red fox", 0)
    assert_array_equal(np.isfinite(explanation.weights), [True, True])
    assert explanation.weights[0] > 20 and explanation.probability == 1
    explanation = explain(Words([-1e3], {"red": np.array([1e3])}), "red fox", 0)
    assert explanation.weights[0] > 20


# Which label, and what text


def named(names):
    return Words(np.zeros(len(names)), {"red": np.arange(len(names))}, names)


@pytest.mark.parametrize(
    "label, column",
    [
        (1, 1),
        ("b", 1),
        (np.int64(2), 2),
        (np.uint8(0), 0),
        (np.str_("a"), 0),
        ("Zürich & <b>", 3),
    ],
)
def test_label_by_column_and_by_name(label, column):
    model = named(["a", "b", "c", "Zürich & <b>"])
    explanation = explain(model, "red fox", label)
    assert explanation.label == model.label_names_[column]
    assert_allclose(explanation.weights, [column, 0], atol=1e-5)


def test_a_name_that_looks_like_a_column():
    model = named(["1", "0"])
    assert explain(model, "red", 1).label == "0"
    assert explain(model, "red", "1").label == "1"
    assert explain(named([7, 0]), "red", 0).label == 7  # an int is a column


def test_names_given_twice():
    model = named(["a", "b", "a", "c"])
    with pytest.raises(ValueError, match=r"\[0, 2\] are called 'a': choose .* column"):
        explain(model, "red", "a")
    assert_allclose(explain(model, "red fox", 2).weights, [2, 0], atol=1e-5)
    assert explain(model, "red", "c").label == "c"


@pytest.mark.parametrize(
    "label, message",
    [
        ("x", "There is no label 'x' in label_names_"),
        ("", "There is no label ''"),
        ("1", "There is no label '1'"),
        (-1, "at least 0 and at most 2; got -1"),
        (3, "at least 0 and at most 2; got 3"),
        (1.0, "label must be an int"),
        (True, "label must be an int"),
        (None, "label must be an int"),
    ],
)
def test_unknown_label(label, message):
    with pytest.raises(ValueError, match=message):
        explain(named(["a", "b", "c"]), "red fox", label)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "text has 0 words"),
        (" ... -\n", "text has 0 words; it must have 1 to max_words=512"),
        ("red " * 513, "text has 513 words"),
        (["red"], "text must be a str, got list"),
        (b"red", "text must be a str, got bytes"),
        (None, "text must be a str, got NoneType"),
        (np.array("red"), "text must be a str, got ndarray"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(ValueError, match=message):
        explain(named(["a", "b"]), text, 0)


def test_max_words():
    model = named(["a", "b"])
    assert len(explain(model, "red " * 512, 0).words) == 512
    assert len(explain(model, "red fox dog", 0, max_words=3).words) == 3
    with pytest.raises(ValueError, match="2 words; it must have 1 to max_words=1"):
        explain(model, "red fox", 0, max_words=1)
    for bad in (0, 2.0, None):
        with pytest.raises(ValueError, match="max_words must be an int, at least 1"):
            explain(model, "red fox", 0, max_words=bad)


def test_unfitted_and_others_are_refused(grank, one_vs_rest):
    pipeline = make_pipeline(TfidfVectorizer(), GRankClassifier())
    for model in (LightDXMLClassifier(), pipeline, one_vs_rest):
        with pytest.raises(ValueError, match="has no label_names_: fit it"):
            explain(model, "red fox", 0)
    with pytest.raises(ValueError, match="X must be a feature matrix, as in fit"):
        explain(grank, "red fox", 0)


# Explanations of what was trained


def explained_by_hand(model, text, column):
    """Weights by one prediction after the other."""

    def log_odds(words):
        text = [" ".join(words)]
        if hasattr(model, "predict_topk"):
            ids, scores = (part[0] for part in model.predict_topk(text, 12))
            p = scores[ids == column] if column in ids else scores[ids >= 0].min()
        else:
            scores = model.predict_proba(text)
            p = (scores.toarray() if sp.issparse(scores) else scores)[0, column]
        return logit(np.float64(np.float32(p))).item()  # as predict_topk rounds

    words = text.split()
    less = [log_odds(words[:i] + words[i + 1 :]) for i in range(len(words))]
    return log_odds(words) - np.array(less)


def make(system, encoder):
    params = SHORT | TEXTS
    if system == "GRank":
        return GRankClassifier(encoder, **params | dict(label_dim=None))
    if system == "clustered":
        params |= dict(label_dim=None, max_leaf_size=3, predict_shortlist=2)
        return GRankClassifier(encoder, **params)
    if system == "LightXML":
        return LightXMLClassifier(encoder, **params | dict(label_dim=None))
    if system == "GUDN":
        return GUDNClassifier(encoder, label_branch="multi-hot", **params)
    del params["n_layers"], params["max_length"]
    if system == "LightDXML":
        return LightDXMLClassifier(n_frequent=4, **params)
    if system == "TReaderXML":
        more = dict(min_df=1, word_dim=16, n_neighbors=3)
        return TReaderXMLClassifier(**params | more)
    members = [LightDXMLClassifier(**params | dict(random_state=i)) for i in (0, 1)]
    return EnsembleClassifier(list(zip("ab", members, strict=True)), weights=[1, 2])


@pytest.mark.parametrize(
    "system",
    "GRank clustered LightXML GUDN LightDXML TReaderXML Ensemble".split(),
)
def test_weights_are_those_of_a_loop(system, tiny_encoder, colours):
    texts, Y, _ = colours
    model = make(system, tiny_encoder).fit(texts, Y)
    best = model.predict_topk(texts[:2], 2)[0]
    for text, columns in zip(texts[:2], best, strict=True):
        for column in columns:
            explanation = explain(model, text, column)
            assert explanation.words == text.split()
            expected = explained_by_hand(model, text, column)
            assert_allclose(explanation.weights, expected, rtol=1e-3, atol=1e-3)
            assert np.abs(expected).max() > 1e-2
            assert_array_equal(explanation.label, column)


def test_weights_in_a_pipeline_are_those_of_a_loop(pipeline, colours):
    for text in held_out(colours)[0][:3]:
        for column in range(12):
            weights = explain(pipeline, text, column).weights
            expected = explained_by_hand(pipeline, text, column)
            assert_allclose(weights, expected, rtol=1e-3, atol=1e-3)


def test_a_pipeline_of_the_classifier_alone(lightdxml, colours):
    alone, text = make_pipeline(lightdxml), colours[0][0]
    assert_array_equal(
        alone.predict([text]).toarray(), lightdxml.predict([text]).todense()
    )
    expected = explain(lightdxml, text, text.split()[0]).weights
    assert_array_equal(explain(alone, text, text.split()[0]).weights, expected)


@pytest.mark.parametrize("kind", ["lightdxml", "reader", "pipeline"])
def test_the_word_of_a_label_weighs_most(kind, request, colours):
    model, (texts, _, words) = request.getfixturevalue(kind), colours
    found = []
    for text in texts[N_TRAIN:]:
        for i, word in enumerate(text.split()):
            by_name = kind != "pipeline"
            explanation = explain(model, text, word if by_name else words.index(word))
            assert explanation.label == (word if by_name else words.index(word))
            assert explanation.weights[i] > 0
            found.append(explanation.weights.argmax() == i)
    assert np.mean(found) > 0.9  # chance is 1/4


@pytest.mark.parametrize("kind", ["str", "int", "binary"])
def test_classes_are_explained(kind, colours):
    texts = colours[0]
    y = np.array([text.split()[0] for text in texts])
    if kind == "int":
        y = np.unique(y, return_inverse=True)[1] * 10
    elif kind == "binary":
        y = np.array(["yes" if "dog" in text else "no" for text in texts])
    # Not too sure of itself: near 1, float32 has few probabilities left.
    params = SMALL | dict(max_epochs=3)
    model = make_pipeline(TfidfVectorizer(), GRankClassifier(**params)).fit(texts, y)
    for column, name in enumerate(model.classes_):
        explanation = explain(model, texts[0], column)
        assert explanation.label == name
        expected = explained_by_hand(model, texts[0], column)
        assert_allclose(explanation.weights, expected, rtol=1e-3, atol=1e-3)
        if kind != "int":
            again = explain(model, texts[0], str(name))
            assert_array_equal(again.weights, explanation.weights)
    if kind == "binary":
        text = next(text for text in texts if "dog" in text)
        weights = explain(model, text, "yes").weights
        assert text.split()[weights.argmax()] == "dog"


def test_label_that_is_not_ranked(clustered, colours):
    texts, _, words = colours
    model = make_pipeline(TfidfVectorizer().fit(texts), clustered)
    ranked = clustered.predict_topk(model[:-1].transform(texts[:1]), 12)[0][0]
    (missing,) = (np.setdiff1d(range(12), ranked)[:1]).tolist()
    with pytest.raises(ValueError, match=f"{missing}.* is not among the"):
        explain(model, texts[0], missing)


def test_a_column_that_is_not_ranked_is_called_by_its_number():
    with pytest.raises(ValueError, match="^0 is not among"):
        explain(Words([-2.0, 1.0], {}, least=0.5), "red fox", 0)
