"""Encoders of many architectures are read alike: alone, padded, and from a folder."""

import copy
import json

import numpy as np
import pytest
import torch
import transformers
from conftest import WORDS
from hostile import sign
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import skxmc
from skxmc import GRankClassifier
from skxmc.feature_extraction import TextEncoder
from skxmc.nn.encoder_files import cls_is_last, load_encoder
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.export import ExportedPredictions
from skxmc.nn.text import tokenize
from skxmc.nn.transformer_models import reads_forward
from skxmc.onnx import export_onnx

# Lengths of one token to 22, beyond the windows of local attention.
TEXTS = ["red", "green blue fox dog", " ".join(WORDS[:22]), "old house near the river"]
SIZES = dict(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=64,
    pad_token_id=0,
    bos_token_id=2,
    eos_token_id=3,
)
HEADS = dict(SIZES, num_key_value_heads=1, head_dim=8)
WINDOWS = dict(SIZES, local_attention=8, cls_token_id=2, sep_token_id=3)
DISENTANGLED = dict(
    SIZES,
    relative_attention=True,
    position_biased_input=False,
    pos_att_type=["p2c", "c2p"],
    type_vocab_size=0,
)
T5 = dict(d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, pad_token_id=0)
# Name of the class of the model: size of the model.
ENCODERS = {
    "BertModel": SIZES,
    "XLMRobertaModel": SIZES,
    "MPNetModel": SIZES,
    "ElectraModel": dict(SIZES, embedding_size=16),
    "AlbertModel": dict(SIZES, embedding_size=8),
    "ModernBertModel": dict(WINDOWS, global_attn_every_n_layers=2),
    "DebertaModel": DISENTANGLED,
    "DebertaV2Model": dict(
        DISENTANGLED, position_buckets=8, share_att_key=True, norm_rel_ebd="layer_norm"
    ),
    "LongformerModel": dict(SIZES, attention_window=[8, 8]),
    "BigBirdModel": SIZES,
    "NomicBertModel": SIZES,
    "EuroBertModel": HEADS,
    "JinaEmbeddingsV3Model": SIZES,
    "Gemma3TextModel": dict(
        HEADS, sliding_window=8, use_bidirectional_attention=True, head_dim=8
    ),
    "T5EncoderModel": T5,
    "UMT5EncoderModel": T5,
}
DECODERS = {
    "Qwen2Model": HEADS,
    "Qwen3Model": HEADS,
    "LlamaModel": HEADS,
    "MistralModel": dict(HEADS, sliding_window=8),
    "Gemma2Model": dict(HEADS, sliding_window=8),
    "Phi3Model": HEADS,
    "ModernBertDecoderModel": WINDOWS,
    "GPT2Model": dict(n_embd=16, n_layer=2, n_head=2, n_positions=64),
    "OPTModel": dict(SIZES, ffn_dim=32, word_embed_proj_dim=16),
}
KINDS = ENCODERS | DECODERS
# Their upper layers need more than the states of the layer below.
ONLY_WHOLE = {"AlbertModel", "LongformerModel", "T5EncoderModel"}
QUICK = dict(max_epochs=1, batch_size=8, precision="fp32", device="cpu")
QUICK |= dict(random_state=0, max_length=24, label_init="documents")


@pytest.fixture(scope="module")
def bare_tokenizer():
    """A tokenizer without padding, as of decoders: an empty text has no token."""
    vocab = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


@pytest.fixture(scope="module")
def ending_tokenizer(bare_tokenizer):
    """A tokenizer that puts the padding first and an end behind a text."""
    backend = copy.deepcopy(bare_tokenizer.backend_tokenizer)
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        eos_token="</s>",
        pad_token="</s>",
        padding_side="left",
    )


def random_model(name, tokenizer, **options):
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    sizes = {} if "d_model" in options else SIZES
    options = KINDS.get(name, sizes) | dict(vocab_size=len(tokenizer)) | options
    config = kind.config_class(**options)
    # Larger than usual: states of different tokens and layers lie far apart.
    config.initializer_range = 0.3
    return kind(config).eval()


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tiny_tokenizer, ending_tokenizer):
    """A model of each kind, and a tokenizer that suits it."""
    name = request.param
    tokenizer = ending_tokenizer if name in DECODERS else tiny_tokenizer
    return random_model(name, tokenizer), tokenizer


def fit(pair, colours, **options):
    texts, Y, _ = colours
    model = GRankClassifier(pair, **QUICK | options)
    return model.fit(texts[:20], Y[:20])


def brute_vectors(model, tokenizer, pooling):
    """What the model makes of each text alone."""
    rows = []
    for text in TEXTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        more = {}
        if model.config.model_type == "longformer":
            more["global_attention_mask"] = torch.zeros_like(ids)
            more["global_attention_mask"][:, 0] = 1
        with torch.no_grad():
            states = model(ids, **more)[0][0]
        rows.append({"mean": states.mean(0), "last": states[-1]}[pooling])
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_vectors_are_those_of_the_model_alone(pooling, attention, pair):
    model, tokenizer = pair
    expected = brute_vectors(model, tokenizer, pooling)
    model = copy.deepcopy(model)
    try:
        model.set_attn_implementation(attention)
    except ValueError:
        pytest.skip(f"{type(model).__name__} has no attention of this kind")
    encoder = TextEncoder(
        (model, tokenizer), pooling=pooling, normalize=False, precision="fp32"
    )
    np.testing.assert_allclose(encoder.fit_transform(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("n_trained", [0, 1, "all"])
def test_predictions_do_not_depend_on_other_texts(n_trained, pair, colours, tmp_path):
    options = dict(trained_layers=n_trained, bag_of_words=n_trained == 0)
    if n_trained == 1 and type(pair[0]).__name__ in ONLY_WHOLE:
        with pytest.raises(ValueError, match='trained_layers="all" or 0'):
            fit(pair, colours, **options)
        return
    model = fit(pair, colours, **options)
    texts = [*TEXTS, ""]
    found = model.decision_function(texts).toarray()
    assert np.isfinite(found).all() and np.ptp(found, axis=0).max() > 1e-3
    for i, text in enumerate(texts):
        alone = model.decision_function([text]).toarray()
        np.testing.assert_allclose(alone[0], found[i], rtol=1e-4, atol=1e-5)
    if n_trained:  # their folders have the same files
        return
    with pytest.warns(UserWarning, match="encoder is tuple"):
        model.save_pretrained(tmp_path / "model")
    again = skxmc.load(tmp_path / "model").set_params(device="cpu")
    assert type(again.network_.encoder.model) is type(pair[0])
    np.testing.assert_array_equal(again.decision_function(texts).toarray(), found)


def test_all_weights_are_trained_without_dropout(pair):
    model, tokenizer = pair
    encoder = TransformerEncoder(
        copy.deepcopy(model),
        n_layers=1,
        cls_last=cls_is_last(tokenizer) or reads_forward(model),
        dropout=0.0,
    ).train()
    batch = tokenize(TEXTS, tokenizer, 24).batch(np.arange(4))
    (first, mean), (again, _) = encoder(batch), encoder(batch)
    assert torch.equal(first, again)
    (first.square().sum() + mean.square().sum()).backward()
    without = [n for n, p in encoder.named_parameters() if p.grad is None]
    assert not without and encoder.floats_per_document(16) > 0
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_decoders_are_told_from_encoders(pair):
    name = type(pair[0]).__name__
    assert reads_forward(pair[0]) == (name in DECODERS)
    encoder = TransformerEncoder(copy.deepcopy(pair[0]), n_layers=1)
    # In a decoder, the mask of padding alone would let tokens read what follows them.
    assert not (encoder._takes_4d and name in DECODERS)


def test_layers_of_a_decoder_are_read_at_the_last_token(ending_tokenizer, colours):
    pair = random_model("Qwen3Model", ending_tokenizer), ending_tokenizer
    model = fit(pair, colours, trained_layers="all", n_layers=2, learning_rate=0.0)
    encoder, tokens = model.network_.encoder, tokenize(TEXTS, pair[1], 24)
    with torch.no_grad():
        first, _ = encoder(tokens.batch(np.arange(4)))
        for i, text in enumerate(TEXTS):
            ids = torch.tensor([pair[1](text)["input_ids"]])
            states = pair[0](ids, output_hidden_states=True).hidden_states
            expected = torch.cat([layer[0, -1] for layer in states[-2:]])
            torch.testing.assert_close(first[i], expected, rtol=1e-4, atol=1e-5)


def test_first_token_of_a_decoder(ending_tokenizer, colours):
    # Whoever asks for it gets it: the first tokens are all that can be told apart.
    pair = random_model("Qwen3Model", ending_tokenizer), ending_tokenizer
    plain = dict(neighbor_weight=0, bag_of_words=False, trained_layers="all")
    model = fit(pair, colours, pooling="cls", **plain)
    texts = ["red fox", "red dog house", "blue fox"]
    found = model.decision_function(texts).toarray()
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    assert abs(found[0] - found[2]).max() > 1e-4
    vectors = TextEncoder(pair, pooling="cls", precision="fp32").fit_transform(texts)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


# Tokenizers


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_texts_without_a_token(attention, pooling, bare_tokenizer, colours):
    model = random_model("Qwen3Model", bare_tokenizer)
    model.set_attn_implementation(attention)
    pair = model, bare_tokenizer
    assert bare_tokenizer("")["input_ids"] == []
    options = dict(pooling=pooling, precision="fp32")
    vectors = TextEncoder(pair, **options).fit_transform(["", "red fox", " "])
    assert (vectors[[0, 2]] == 0).all() and (vectors[1] != 0).all()
    texts, Y, _ = colours
    for n_trained in (0, "all"):
        model = GRankClassifier(
            pair, pooling=pooling, trained_layers=n_trained, **QUICK
        ).fit(["", *texts[:20]], Y[:21])
        found = model.decision_function(["", TEXTS[2]]).toarray()
        alone = model.decision_function([""]).toarray()
        assert np.isfinite(found).all()
        np.testing.assert_allclose(alone[0], found[0], atol=1e-5)


@pytest.mark.parametrize("n_trained", [0, 1, "all"])
def test_no_text_has_a_token(n_trained, bare_tokenizer):
    pair = random_model("Qwen3Model", bare_tokenizer), bare_tokenizer
    model = GRankClassifier(pair, trained_layers=n_trained, **QUICK)
    model.fit(["", " ", "", ""], np.eye(4, 2))
    assert np.isfinite(model.decision_function(["", "red fox"])).all()


@pytest.mark.parametrize("name", ["BertModel", "XLMRobertaModel", "Qwen3Model"])
def test_the_side_of_the_padding_changes_nothing(name, tiny_tokenizer, colours):
    found = []
    for side in ("left", "right"):
        tokenizer = copy.deepcopy(tiny_tokenizer)
        tokenizer.padding_side = side
        pair = random_model(name, tokenizer), tokenizer
        found.append(fit(pair, colours, pooling="last").decision_function(TEXTS))
    np.testing.assert_array_equal(found[0].toarray(), found[1].toarray())


@pytest.mark.parametrize("name", ["BertModel", "XLMRobertaModel", "Qwen3Model"])
def test_exported_predictions_take_any_padding(name, tiny_tokenizer, colours):
    pair = random_model(name, tiny_tokenizer), copy.deepcopy(tiny_tokenizer)
    options = dict(bag_of_words=False, neighbor_weight=0)
    model = fit(pair, colours, **options)
    expected = model.predict_topk(TEXTS, 5)
    exported = ExportedPredictions(model.network_, 5, lambda scores: scores).eval()
    for side in ("left", "right"):
        pair[1].padding_side = side
        tokens = pair[1](TEXTS, padding=True, return_tensors="pt")
        assert (tokens["attention_mask"][0, 0] == 0) == (side == "left")
        with torch.no_grad():
            ids, _ = exported(tokens["input_ids"], tokens["attention_mask"])
        np.testing.assert_array_equal(ids.numpy(), expected[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Qwen3Model", "ModernBertModel"])
def test_onnx_of_tokens_padded_on_the_left(name, tiny_tokenizer, colours, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pair = random_model(name, tiny_tokenizer), copy.deepcopy(tiny_tokenizer)
    pair[1].padding_side = "left"
    options = dict(bag_of_words=False, neighbor_weight=0, pooling="last")
    model = fit(pair, colours, **options)
    export_onnx(model, tmp_path / "model.onnx", k=5)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    tokens = pair[1](TEXTS, padding=True, return_tensors="np")
    feed = {n: tokens[n].astype(np.int64) for n in ("input_ids", "attention_mask")}
    _, found = session.run(None, feed)
    expected = model.predict_topk(TEXTS, 5)[1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_token_types_of_a_tokenizer_are_not_needed(tiny_tokenizer, colours):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    assert "token_type_ids" in tokenizer("red")
    for n_types in (0, 2):
        name = "DebertaV2Model"
        pair = random_model(name, tokenizer, type_vocab_size=n_types), tokenizer
        plain = pair[0], tiny_tokenizer
        found, expected = (
            fit(one, colours).decision_function(TEXTS) for one in (pair, plain)
        )
        np.testing.assert_array_equal(found.toarray(), expected.toarray())


# What models return and take


def test_models_that_return_tuples(tiny_tokenizer, colours):
    named = random_model("BertModel", tiny_tokenizer)
    unnamed = copy.deepcopy(named)
    unnamed.config.return_dict = False
    for n_trained in (0, 1, "all"):
        found, expected = (
            fit((model, tiny_tokenizer), colours, trained_layers=n_trained)
            for model in (unnamed, named)
        )
        np.testing.assert_array_equal(
            found.decision_function(TEXTS).toarray(),
            expected.decision_function(TEXTS).toarray(),
        )


class PlainBert(transformers.BertModel):
    """Takes two arguments, and returns a tuple of states alone."""

    def forward(self, input_ids, attention_mask):
        states = super().forward(input_ids, attention_mask=attention_mask)
        return (states.last_hidden_state,)


class LayersBert(transformers.BertModel):
    """Returns states of all layers in a tuple, beside others."""

    def forward(self, input_ids, attention_mask):
        more = dict(attention_mask=attention_mask, output_hidden_states=True)
        output = super().forward(input_ids, **more)
        return output.last_hidden_state, (None,), output.hidden_states


def as_kind(kind, tokenizer):
    model = random_model("BertModel", tokenizer)
    twin = kind(model.config).eval()
    twin.load_state_dict(model.state_dict())
    return (model, tokenizer), (twin, tokenizer)


@pytest.mark.parametrize(
    "kind, options",
    [
        (PlainBert, dict(trained_layers=0)),
        (PlainBert, dict(trained_layers="all", n_layers=1)),
        (LayersBert, dict(trained_layers=1)),
        (LayersBert, dict(trained_layers="all")),
    ],
)
def test_models_of_few_arguments(kind, options, tiny_tokenizer, colours):
    expected, found = (
        fit(pair, colours, **options).decision_function(TEXTS).toarray()
        for pair in as_kind(kind, tiny_tokenizer)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_trained", [1, "all"])
def test_models_that_return_one_layer(n_trained, tiny_tokenizer, colours):
    _, pair = as_kind(PlainBert, tiny_tokenizer)
    with pytest.raises(ValueError, match="PlainBert does not return the states of all"):
        fit(pair, colours, trained_layers=n_trained)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("FNetModel", {}, "another one beside a longer text"),
        (
            "FunnelModel",
            dict(d_model=16, block_sizes=[1, 1], n_head=2, d_head=8, d_inner=32),
            "another one beside a longer text",
        ),
        (
            "NystromformerModel",
            dict(num_landmarks=8, segment_means_seq_len=64),
            "shape .* is invalid",
        ),
        ("BertForMaskedLM", {}, "layers above its transformer.*model.base_model"),
        ("BartModel", {}, "an encoder and a decoder: give .*T5EncoderModel"),
        ("T5Model", T5, "an encoder and a decoder"),
    ],
)
def test_models_that_are_refused(name, options, message, tiny_tokenizer, colours):
    pair = random_model(name, tiny_tokenizer, **options), tiny_tokenizer
    for estimator in (TextEncoder(pair), GRankClassifier(pair, **QUICK)):
        with pytest.raises(ValueError, match=f"{name} .*{message}"):
            estimator.fit(*colours[:2])


def test_image_model_is_refused(tiny_tokenizer):
    model = transformers.ResNetModel(transformers.ResNetConfig(depths=[1, 1, 1, 1]))
    with pytest.raises(
        ValueError, match="no transformer for texts: .* has no hidden_size"
    ):
        load_encoder((model, tiny_tokenizer))


# Folders


def test_a_t5_folder_gives_its_encoder(tiny_tokenizer, tmp_path):
    whole = random_model("T5Model", tiny_tokenizer, **T5)
    whole.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    model, _ = load_encoder(tmp_path)
    assert type(model) is transformers.T5EncoderModel
    ids = torch.tensor([tiny_tokenizer("red fox")["input_ids"]])
    with torch.no_grad():
        expected = whole.encoder(ids)[0]
        torch.testing.assert_close(model(ids)[0], expected)


def test_a_folder_of_a_language_model_gives_its_transformer(tiny_tokenizer, tmp_path):
    random_model("Qwen3ForCausalLM", tiny_tokenizer, **HEADS).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    assert type(load_encoder(tmp_path)[0]) is transformers.Qwen3Model


def test_a_folder_of_two_parts_is_refused(tiny_tokenizer, tmp_path):
    random_model("BartModel", tiny_tokenizer).save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(OSError, match="BartModel has an encoder and a decoder"):
        load_encoder(tmp_path)


@pytest.mark.parametrize(
    "field, value", [("num_layers", 10**6), ("d_model", 10**9), ("model_type", "bart")]
)
def test_crafted_folder_of_a_t5(field, value, tiny_tokenizer, colours, tmp_path):
    pair = random_model("T5EncoderModel", tiny_tokenizer), tiny_tokenizer
    with pytest.warns(UserWarning, match="encoder is tuple"):
        fit(pair, colours).save_pretrained(tmp_path / "model")
    path = tmp_path / "model" / "encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    sign(tmp_path / "model")
    with pytest.raises(ValueError, match="was changed|damaged|config.json"):
        skxmc.load(tmp_path / "model")
