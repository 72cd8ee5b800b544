"""Classifiers follow what an encoder's files say, as sentence-transformers does."""

import json
import pickle
import shutil

import numpy as np
import pytest
import torch
from encoder_examples import write_dense, write_modules, write_settings
from hostile import sign
from store_examples import make_store
from torch.nn.functional import gelu, normalize

import skxmc
from skxmc import GRankClassifier, GUDNClassifier
from skxmc.feature_extraction import TextEncoder
from skxmc.nn.encoder_files import load_encoder, read_settings
from skxmc.nn.named_examples import special_tokens

TEXTS = ["red fox", "blue house near the river", "", "old stone dog"]
MEAN = {"pooling_mode": "mean"}
QUICK = dict(max_epochs=1, batch_size=16, precision="fp32", device="cpu")
QUICK |= dict(random_state=0, bag_of_words=False, validation_fraction=0)


@pytest.fixture
def folder(tiny_model, tiny_tokenizer, tmp_path):
    path = tmp_path / "encoder"
    tiny_model.save_pretrained(path)
    tiny_tokenizer.save_pretrained(path)
    return path


def fit(folder, colours, kind=GRankClassifier, **options):
    texts, Y, names = colours
    options = QUICK | dict(label_texts=names) | options
    return kind(folder, **options).fit(texts[:20], Y[:20])


def scores(model, texts):
    return model.predict_topk(texts, 12)


def assert_equal(found, expected, **tolerance):
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], **tolerance)


# Dense layers


def write_two_dense(folder):
    """Write layers 16 -> 24 -> 8; return what they make of vectors."""
    write_settings(folder, MEAN, other=["Dense", "Dense", "Normalize"])
    torch.manual_seed(0)
    name = "torch.nn.modules.activation.GELU"
    W, b = write_dense(folder / "2_Dense", (24, 16), activation_function=name)
    (V,) = write_dense(folder / "3_Dense", (8, 24), bias=False)  # tanh, as by default
    return lambda vectors: torch.tanh(gelu(vectors @ W.T + b) @ V.T)


@pytest.mark.parametrize("unit", [True, False])
def test_dense_layers_are_applied(unit, folder):
    plain = TextEncoder(folder, normalize=False, precision="fp32").fit_transform(TEXTS)
    apply = write_two_dense(folder)
    encoder = TextEncoder(folder, normalize=unit, precision="fp32")
    found = encoder.fit_transform(TEXTS)
    expected = apply(torch.from_numpy(plain))
    expected = normalize(expected, dim=1) if unit else expected
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(encoder.get_feature_names_out()) == 8
    copied = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(copied.transform(TEXTS), found)


def test_vectors_are_those_of_sentence_transformers(folder):
    st = pytest.importorskip("sentence_transformers")
    write_two_dense(folder)
    write_settings(
        folder,
        {"pooling_mode": "lasttoken", "embedding_dimension": 16},
        {"query": "red ", "document": "blue "},
        "query",
        ["Dense", "Dense", "Normalize"],
    )
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 6}')
    modules = json.loads((folder / "modules.json").read_text())
    places = "Transformer Pooling Dense Dense Normalize".split()
    for module, kind in zip(modules, places, strict=True):
        module["type"] = f"sentence_transformers.models.{kind}"
    (folder / "modules.json").write_text(json.dumps(modules))
    model = st.SentenceTransformer(str(folder), device="cpu")
    for name in ("query", "document"):
        expected = model.encode(TEXTS, prompt_name=name)
        options = {} if name == "query" else {"prompt": name}
        encoder = TextEncoder(folder, precision="fp32", **options)
        np.testing.assert_allclose(encoder.fit_transform(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("n_trained", [0, 1, "all"])
def test_dense_layers_of_a_classifier(n_trained, folder, colours, tmp_path):
    write_two_dense(folder)
    texts = colours[0]
    model = fit(folder, colours, trained_layers=n_trained)
    encoder = model.network_.encoder
    assert encoder.hidden_size == 8 and model.network_.ranker.dim == 8
    before = [layer.weight for layer in read_settings(folder).dense]
    for layer, weight in zip(encoder.dense.maps, before, strict=True):
        assert torch.equal(layer.weight, weight) == (n_trained == 0)
        assert layer.weight.requires_grad == (n_trained != 0)
    expected = scores(model, texts)
    model.save_pretrained(tmp_path / "model")
    shutil.rmtree(folder)  # nothing is read from there again
    again = skxmc.load(tmp_path / "model")
    again.set_params(device="cpu")
    assert_equal(scores(again, texts), expected, rtol=0, atol=0)
    assert_equal(scores(pickle.loads(pickle.dumps(model)), texts), expected, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        dict(label_branch="multi-hot"),
        dict(variant="paper", max_leaf_size=3),
        dict(trained_layers=0),
        dict(trained_layers=1, bag_of_words=True),
    ],
)
def test_dense_layers_of_gudn(options, folder, colours):
    # Its guide reads the states of the layers, which have another width.
    write_two_dense(folder)
    model = fit(folder, colours, GUDNClassifier, **options)
    assert model.network_.encoder.hidden_size == 8
    assert np.isfinite(scores(model, colours[0])[1]).all()


def test_words_are_read_through_dense_layers(folder, colours):
    write_two_dense(folder)
    model = fit(folder, colours, reading="words", text_prompt="red ")
    words = model.vectorizer_.get_feature_names_out()
    expected = TextEncoder(folder, prompt="red ", precision="fp32").fit_transform(words)
    table = model.network_.encoder.features.table[:-1].detach().numpy()
    np.testing.assert_allclose(table, expected, atol=1e-5)


@pytest.mark.parametrize(
    "name, value, place",
    [
        ("activations", "exec", "activations"),
        ("activations", None, "activations"),
        ("out_features", 7, "out_features"),
        ("maps", [], "maps"),
        ("maps", {"object": "Identity", "state": {}}, "maps"),
    ],
)
def test_crafted_dense_layers(name, value, place, folder, colours, tmp_path):
    write_two_dense(folder)
    fit(folder, colours, trained_layers=0).save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    encoder = config["model"]["state"]["network_"]["state"]["encoder"]["state"]
    about = encoder["dense"]["state"]
    about[name] = [value] if name == "activations" else value
    path.write_text(json.dumps(config))
    sign(tmp_path / "model")
    with pytest.raises(ValueError, match=f"dense.{place}|Dense layers|out_features"):
        skxmc.load(tmp_path / "model")


@pytest.mark.parametrize(
    "layers, config, message",
    [
        (["Dense"], dict(activation_function="x.Evil"), "2_Dense .* activation Evil"),
        (["Dense"], dict(use_residual=True), "2_Dense .* residual"),
        (
            ["Dense"],
            dict(module_input_name="token_embeddings"),
            "other than the vector",
        ),
        (["LayerNorm"], {}, "put LayerNorm above"),
        (["Dense", "CNN"], {}, "put CNN above"),
        (["Normalize", "Dense"], {}, "put Normalize before Dense above"),
        (["Pooling"], {}, "put Pooling after other layers above"),
    ],
)
def test_layers_that_are_refused(layers, config, message, folder, colours):
    write_settings(folder, MEAN, other=layers)
    write_dense(folder / "2_Dense", (8, 16), **config)
    with pytest.raises(ValueError, match=f"{message}.*pass it as"):
        fit(folder, colours)


def test_dense_layers_that_do_not_fit(folder, colours):
    write_settings(folder, MEAN, other=["Dense"])
    write_dense(folder / "2_Dense", (8, 15))
    with pytest.raises(ValueError, match=r"Dense layers .* other widths than \[16\]"):
        fit(folder, colours)


def test_pickled_weights_are_refused(folder, colours):
    write_settings(folder, MEAN, other=["Dense"])
    write_dense(folder / "2_Dense", (8, 16))
    (folder / "2_Dense" / "model.safetensors").rename(
        folder / "2_Dense" / "pytorch_model.bin"
    )
    with pytest.raises(ValueError, match="has no model.safetensors.*is a pickle"):
        fit(folder, colours)


# Pooling


def test_pooling_before_a_dense_layer(folder):
    # The root of the length changes what the layer makes of a vector.
    config = {"pooling_mode": "mean_sqrt_len_tokens"}
    write_settings(folder, config)
    assert read_settings(folder).pooling == "mean"
    write_settings(folder, config, other=["Dense"])
    write_dense(folder / "2_Dense", (8, 16))
    with pytest.raises(ValueError, match="ask for the pooling mean_sqrt_len_tokens"):
        read_settings(folder)


@pytest.mark.parametrize("kind", [GRankClassifier, GUDNClassifier])
def test_pooling_of_a_classifier(kind, folder, colours):
    write_settings(folder, {"pooling_mode": ["max", "cls"]})
    with pytest.raises(ValueError, match='max and cls.*Choose one .* pooling="mean"'):
        fit(folder, colours, kind)
    model = fit(folder, colours, kind, pooling="last", trained_layers=0)
    assert model.network_.encoder.pooling == "last"
    with pytest.raises(ValueError, match="pooling must be one of .*got 'max'"):
        fit(folder, colours, kind, pooling="max")


# Prompts


PROMPTS = {"query": "red ", "document": "blue ", "none": None}


@pytest.mark.parametrize("n_trained", [0, "all"])
def test_prompts_are_read_before_texts(n_trained, folder, colours, tmp_path):
    texts, Y, names = colours
    options = dict(trained_layers=n_trained, neighbor_weight=2)
    options |= dict(label_names=list("abcdefghijkl"))
    expected = GRankClassifier(
        folder,
        **QUICK | options,
        label_texts=[f"blue {name}" for name in names],
    ).fit([f"red {text}" for text in texts[:20]], Y[:20])
    write_settings(folder, MEAN, PROMPTS, "query")
    options["label_prompt"] = "document"
    model = fit(folder, colours, **options)
    assert (model.text_prompt_, model.label_prompt_) == ("red ", "blue ")
    found = scores(model, texts)
    assert_equal(found, scores(expected, [f"red {text}" for text in texts]))
    model.save_pretrained(tmp_path / "model")
    shutil.rmtree(folder)
    again = skxmc.load(tmp_path / "model").set_params(device="cpu")
    assert_equal(scores(again, texts), found, rtol=0, atol=0)
    # Labels that are added later are read after the prompt too.
    again.add_labels(["stone"], label_names=["m"])
    expected.add_labels(["blue stone"], label_names=["m"])
    found = scores(again, texts)
    assert_equal(found, scores(expected, [f"red {text}" for text in texts]), rtol=1e-5)


@pytest.mark.parametrize(
    "given, found",
    [(None, "red "), ("document", "blue "), ("none", ""), ("", ""), ("to: ", "to: ")],
)
def test_how_prompts_are_named(given, found, folder, colours):
    write_settings(folder, MEAN, PROMPTS, "query")
    model = fit(folder, colours, text_prompt=given, label_prompt=given)
    assert (model.text_prompt_, model.label_prompt_) == (found, found)


def test_words_are_counted_without_the_prompt(folder, colours):
    model = fit(folder, colours, text_prompt="zebra ", bag_of_words=True)
    assert "zebra" not in model.vectorizer_.vocabulary_


def test_prompt_before_the_names_of_labels(folder, colours, tiny_tokenizer):
    before, after = special_tokens(tiny_tokenizer, "red fox ")
    ids = tiny_tokenizer("red fox")["input_ids"]
    assert before == ids[:-1] and after == ids[-1:]
    options = dict(label_length=12, label_prompt="red fox ")
    model = fit(folder, colours, GUDNClassifier, **options)
    assert model.label_prompt_ == "red fox "
    with pytest.raises(ValueError, match="label_length=4 has no room for names"):
        fit(folder, colours, GUDNClassifier, **options | dict(label_length=4))


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(text_prompt=3), "text_prompt must be a str or None, got 3"),
        (dict(label_prompt=b"x"), "label_prompt must be a str or None, got b'x'"),
        (
            dict(text_prompt="red fox red fox ", max_length=6),
            "max_length=6 has no room for a text beside the 4 tokens of the prompt "
            "'red fox red fox ' and 2 special tokens. Use at least 7",
        ),
        (dict(label_prompt="red fox red fox ", max_length=6), "max_length=6 has no"),
    ],
)
def test_prompts_that_are_refused(options, message, folder, colours):
    with pytest.raises(ValueError, match=message):
        fit(folder, colours, **options)


def test_prompts_left_out_of_the_pooling_are_refused(folder, colours):
    config = MEAN | {"include_prompt": False}
    write_settings(folder, config, PROMPTS)
    fit(folder, colours)
    for name in ("text_prompt", "label_prompt"):
        with pytest.raises(ValueError, match="tokens of a prompt, such as 'to: ', out"):
            fit(folder, colours, **{name: "to: "})
    write_settings(folder, config, PROMPTS, "query")
    with pytest.raises(ValueError, match="such as 'red ', out of the pooling"):
        fit(folder, colours)
    fit(folder, colours, text_prompt="", label_prompt="none")


def test_transformers_for_other_tasks_are_refused(folder, colours):
    write_settings(folder, MEAN)
    path = folder / "sentence_bert_config.json"
    path.write_text('{"transformer_task": "feature-extraction"}')
    fit(folder, colours)
    path.write_text('{"transformer_task": "fill-mask"}')
    with pytest.raises(ValueError, match="for fill-mask .*transformer_task"):
        fit(folder, colours)


def test_a_store_has_the_prompt_of_the_classifier(folder, colour_rows, tmp_path):
    plain = make_store(tmp_path / "plain", colour_rows, folder, text_prompt="")
    assert "prompt" not in plain.X.description
    write_settings(folder, MEAN, PROMPTS, "query")
    stores = [
        make_store(tmp_path / str(i), colour_rows, folder, text_prompt=prompt)
        for i, prompt in enumerate((None, "query", PROMPTS["query"]))
    ]
    for store in stores:
        assert store.X.description["prompt"] == PROMPTS["query"]
        assert list(store.X) == list(plain.X)  # words are counted without it
        assert store.X.fingerprint == stores[0].X.fingerprint != plain.X.fingerprint
    model = GRankClassifier(folder, **QUICK, max_length=16)
    expected = model.fit(list(plain.X), plain.Y).predict_topk(list(plain.X), 4)
    found = model.fit(stores[0].X, stores[0].Y).predict_topk(stores[0].X[:], 4)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    message = "after the prompt '', and the classifier reads texts after 'red '"
    for use in (
        lambda: model.fit(plain.X, plain.Y),
        lambda: model.predict_topk(plain.X),
    ):
        with pytest.raises(ValueError, match=f"{message}.*text_prompt='red '"):
            use()
    model.set_params(text_prompt="").fit(plain.X, plain.Y)
    with pytest.raises(ValueError, match="after the prompt 'red '"):
        model.predict_topk(stores[0].X)


def test_a_store_goes_on_with_the_same_prompt_only(folder, colour_rows, tmp_path):
    first = make_store(tmp_path, colour_rows, folder, text_prompt="red ")
    again = make_store(tmp_path, colour_rows, folder, text_prompt="red ")
    assert again.fingerprint == first.fingerprint
    for prompt in ("blue ", None):
        with pytest.raises(ValueError, match="with prompt='red ', and prompt="):
            make_store(tmp_path, colour_rows, folder, text_prompt=prompt)
    with pytest.raises(ValueError, match="no room for a text"):
        make_store(tmp_path, colour_rows, folder, text_prompt="red " * 16)
    with pytest.raises(ValueError, match="text_prompt must be a str or None"):
        make_store(tmp_path, colour_rows, folder, text_prompt=3)


def test_crafted_prompts(folder, colours, tmp_path):
    fit(folder, colours).save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    config = json.loads(path.read_text())
    config["model"]["state"]["text_prompt_"] = 3
    path.write_text(json.dumps(config))
    sign(tmp_path / "model")
    with pytest.raises(ValueError, match="text_prompt_ must be a str, and is 3"):
        skxmc.load(tmp_path / "model")


def test_feature_matrices_have_no_prompts(colours):
    model = GRankClassifier(text_prompt="red ", random_state=0, max_epochs=1)
    model.fit(colours[1], colours[1])
    assert (model.text_prompt_, model.label_prompt_) == ("", "")


# Lengths, lower case and places


@pytest.mark.parametrize(
    "name, content",
    [
        ("sentence_bert_config.json", {"max_seq_length": 9}),
        ("tokenizer_config.json", {"model_max_length": 9}),
    ],
)
def test_longest_text_of_the_files(name, content, folder, colours):
    path = folder / name
    about = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(about | content))
    assert fit(folder, colours).max_length_ == 64  # without a list of layers
    write_settings(folder, MEAN)
    assert fit(folder, colours).max_length_ == 9
    assert TextEncoder(folder).fit(TEXTS).max_length_ == 9
    assert fit(folder, colours, max_length=12).max_length_ == 12
    path.write_text(json.dumps(about | {name: 512 for name in content}))
    assert fit(folder, colours).max_length_ == 64


def test_lower_case(folder, colours, tmp_path):
    write_settings(folder, MEAN)
    assert load_encoder(folder)[1]("RED")["input_ids"] != [2, 50, 3]
    (folder / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    tokenizer = load_encoder(folder)[1]
    assert tokenizer("RED Fox") == tokenizer("red fox")
    model = fit(folder, colours)
    model.save_pretrained(tmp_path / "model")
    again = skxmc.load(tmp_path / "model").set_params(device="cpu")
    texts = [text.upper() for text in colours[0]]
    assert_equal(scores(model, texts), scores(model, colours[0]), rtol=0)
    assert_equal(scores(again, texts), scores(model, texts), rtol=0)


def test_transformer_in_a_folder_of_its_own(folder, colours, tmp_path):
    expected = scores(fit(folder, colours), TEXTS)
    outer = tmp_path / "outer"
    shutil.copytree(folder, outer / "0_Transformer")
    write_modules(outer, ["Transformer"], "0_Transformer")
    assert_equal(scores(fit(outer, colours), TEXTS), expected, rtol=0)


def test_first_layer_that_is_no_transformer(folder, colours):
    write_modules(folder, ["StaticEmbedding"])
    with pytest.raises(OSError, match="first layer is StaticEmbedding"):
        fit(folder, colours)
