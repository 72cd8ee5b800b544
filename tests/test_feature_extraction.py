"""TextEncoder, and what the files of an encoder say about its use."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from encoder_examples import write_settings
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skxmc import GRankClassifier
from skxmc.cluster import BalancedKMeans
from skxmc.feature_extraction import TextEncoder
from skxmc.nn.encoder_files import read_settings

TEXTS = ["red fox", "blue house near the river", "", "old stone dog"]


@pytest.fixture
def folder(tiny_model, tiny_tokenizer, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    return tmp_path


def brute_vectors(model, tokenizer, texts, pooling, max_length=64):
    rows = []
    for text in texts:
        inputs = tokenizer(
            text, return_tensors="pt", truncation=True, max_length=max_length
        )
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0]
        rows.append(
            {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]
        )
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_vectors_are_those_of_one_text_at_a_time(
    pooling, normalize, tiny_model, tiny_tokenizer
):
    encoder = TextEncoder(
        (tiny_model, tiny_tokenizer),
        pooling=pooling,
        normalize=normalize,
        precision="fp32",
        batch_size=3,
    )
    vectors = encoder.fit_transform(TEXTS)
    expected = brute_vectors(tiny_model, tiny_tokenizer, TEXTS, pooling)
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.parametrize(
    "config, pooling",
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_mean_sqrt_len_tokens": True, "include_prompt": True}, "mean"),
        ({"pooling_mode_lasttoken": True, "word_embedding_dimension": 16}, "last"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": ["cls"], "embedding_dimension": 16}, "cls"),
    ],
)
def test_pooling_is_read_from_the_files(config, pooling, folder):
    write_settings(folder, config)
    assert read_settings(folder).pooling == pooling
    auto = TextEncoder(folder, precision="fp32").fit(TEXTS)
    given = TextEncoder(folder, precision="fp32", pooling=pooling).fit(TEXTS)
    np.testing.assert_array_equal(auto.transform(TEXTS), given.transform(TEXTS))


def test_classifiers_follow_the_files(folder, colours):
    texts, Y, _ = colours
    options = dict(encoder=folder, max_epochs=1, device="cpu", random_state=0)
    plain = GRankClassifier(**options).fit(texts, Y)
    write_settings(folder, {"pooling_mode_cls_token": True})
    cls = GRankClassifier(**options).fit(texts, Y)
    assert plain.network_.encoder.pooling == "mean"
    assert cls.network_.encoder.pooling == "cls"
    assert not np.array_equal(plain.predict_topk(texts)[1], cls.predict_topk(texts)[1])


@pytest.mark.parametrize(
    "config, named",
    [
        ({"pooling_mode_max_tokens": True}, "max_tokens"),
        ({"pooling_mode": "weightedmean"}, "weightedmean"),
        (
            {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            "cls_token and mean_tokens",
        ),
        ({"pooling_mode_mean_tokens": False}, "of no tokens"),
    ],
)
def test_unknown_pooling_is_refused(config, named, folder):
    write_settings(folder, config)
    with pytest.raises(ValueError, match=f"pooling {named}.*must be one of mean"):
        TextEncoder(folder).fit(TEXTS)


def test_layers_above_the_transformer_are_told(folder):
    write_settings(folder, {"pooling_mode_mean_tokens": True}, other=["Normalize"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TextEncoder(folder).fit(TEXTS)
    write_settings(folder, {"pooling_mode_mean_tokens": True}, other=["LSTM"])
    with pytest.raises(ValueError, match="put LSTM above the transformer; .* Dense"):
        TextEncoder(folder).fit(TEXTS)


def test_prompts(folder):
    mean = {"pooling_mode_mean_tokens": True}
    write_settings(folder, mean, {"query": "red ", "blank": ""}, default="query")
    by_default = TextEncoder(folder).fit(TEXTS)
    named = TextEncoder(folder, prompt="blank").fit(TEXTS)
    given = TextEncoder(folder, prompt="blue ").fit(TEXTS)
    assert (by_default.prompt_, named.prompt_, given.prompt_) == ("red ", "", "blue ")
    plain = named.transform(["red fox", "blue fox"])
    np.testing.assert_allclose(by_default.transform(["fox"]), plain[:1], atol=1e-2)
    np.testing.assert_allclose(given.transform(["fox"]), plain[1:], atol=1e-2)
    assert TextEncoder(folder, prompt="nowhere ").fit(TEXTS).prompt_ == "nowhere "


def test_manners_of_scikit_learn(tiny_encoder):
    pd = pytest.importorskip("pandas")
    encoder = TextEncoder(tiny_encoder, precision="fp32")
    assert clone(encoder).get_params() == encoder.get_params()
    table = encoder.set_output(transform="pandas").fit_transform(pd.Series(TEXTS))
    assert table.columns.tolist() == [f"textencoder{i}" for i in range(16)]
    assert table.shape == (4, 16)
    copied = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(copied.transform(TEXTS), table)

    texts, y = ["red fox", "blue fox", "red dog", "blue dog"] * 5, [0, 1, 0, 1] * 5
    pipeline = make_pipeline(TextEncoder(tiny_encoder), LogisticRegression(C=100))
    search = GridSearchCV(pipeline, {"textencoder__pooling": ["mean", "last"]}, cv=2)
    assert search.fit(texts, y).best_score_ == 1
    clusters = make_pipeline(
        TextEncoder(tiny_encoder), BalancedKMeans(n_clusters=2, random_state=0)
    )
    assert np.bincount(clusters.fit(TEXTS)[-1].labels_).tolist() == [2, 2]


def test_memory_keeps_vectors(tiny_model, tiny_tokenizer, tmp_path, monkeypatch):
    calls = []
    from skxmc import feature_extraction

    original = feature_extraction.map_batches
    monkeypatch.setattr(
        feature_extraction,
        "map_batches",
        lambda *args, **options: calls.append(1) or original(*args, **options),
    )
    options = dict(memory=tmp_path, precision="fp32")
    first = TextEncoder((tiny_model, tiny_tokenizer), **options).fit(TEXTS)
    vectors = first.transform(TEXTS)
    again = TextEncoder((tiny_model, tiny_tokenizer), **options).fit(TEXTS)
    np.testing.assert_array_equal(again.transform(TEXTS), vectors)
    assert len(calls) == 1
    other = copy.deepcopy(tiny_model)
    with torch.no_grad():
        next(other.parameters()).add_(1)
    changed = [
        TextEncoder((other, tiny_tokenizer), **options),
        TextEncoder((tiny_model, tiny_tokenizer), pooling="cls", **options),
        TextEncoder((tiny_model, tiny_tokenizer), max_length=3, **options),
        TextEncoder((tiny_model, tiny_tokenizer), prompt="red ", **options),
        TextEncoder((tiny_model, tiny_tokenizer), normalize=False, **options),
    ]
    for n, encoder in enumerate(changed, 2):
        assert not np.array_equal(encoder.fit_transform(TEXTS), vectors)
        assert len(calls) == n


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(pooling="max"), "pooling must be one of"),
        (dict(normalize=2), "normalize must be True or False"),
        (dict(prompt=3), "prompt must be a str or None, got 3"),
        (dict(batch_size=0), "batch_size must be an int"),
        (dict(max_length=65), "max_length=65 exceeds the 64 tokens"),
        (dict(max_length=1), "no room for the 2 special tokens"),
        (dict(precision="fp64"), "precision must be one of"),
    ],
)
def test_parameters_that_are_refused(params, message, tiny_encoder):
    with pytest.raises(ValueError, match=message):
        TextEncoder(tiny_encoder, **params).fit_transform(TEXTS)


def test_texts_that_are_refused(tiny_encoder):
    encoder = TextEncoder(tiny_encoder)
    with pytest.raises(ValueError, match=r"X\[1\] must be a str, got NaN"):
        encoder.fit(["red", np.nan])
    with pytest.raises(ValueError, match="X is empty"):
        encoder.fit(["red"]).transform([])
