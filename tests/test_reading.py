"""What untrained layers compute is computed once; words beside or instead of texts."""

import copy

import numpy as np
import pytest
import torch
from scipy import sparse as sp
from torch.nn.functional import normalize
from transformers import AlbertConfig, AlbertModel, XLNetConfig, XLNetModel

import skxmc
from skxmc import _pretrained
from skxmc.nn import devices, maps, reading
from skxmc.nn.bags import WordReader
from skxmc.nn.document_vectors import SCALE
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.reading import Documents, check_kept_states, read_once, read_words
from skxmc.nn.text import Features, tokenize

SYSTEMS = ["GRankClassifier", "LightXMLClassifier", "GUDNClassifier"]
QUICK = dict(max_epochs=2, batch_size=16, precision="fp32", random_state=0)
OPTIONS = dict(batch_size=7, device="cpu", precision="fp32")


def make(system, encoder, **options):
    if system == "GUDNClassifier" and options.get("reading") == "words":
        options["label_branch"] = "multi-hot"
    return getattr(skxmc, system)(encoder=encoder, **QUICK | options)


def fresh(model, **options):
    """An encoder of a copy of the model."""
    options = dict(n_layers=1) | options
    return TransformerEncoder(copy.deepcopy(model), **options).eval()


@pytest.fixture
def tokens(tiny_tokenizer, colours):
    return tokenize([*colours[0][:20], ""], tiny_tokenizer, 8)


# The encoder


@pytest.mark.parametrize("n_trained", [1, 2])
def test_top_layers_alone_require_gradients(tiny_model, n_trained):
    encoder = fresh(tiny_model, n_trained=n_trained)
    trained = {n for n, p in encoder.named_parameters() if p.requires_grad}
    lowest = 2 - n_trained
    assert trained == {
        name
        for name, _ in encoder.named_parameters()
        if name.startswith(tuple(f"model.encoder.layer.{i}." for i in range(lowest, 2)))
    }


def test_nothing_is_trained(tiny_model):
    encoder = fresh(tiny_model, n_trained=0)
    assert not any(p.requires_grad for p in encoder.parameters())
    assert encoder.is_fixed and not encoder.keeps_states


def test_untrained_layers_have_no_dropout(tiny_model):
    encoder = fresh(tiny_model, n_trained=1, dropout=0.5).train()
    layers = encoder.model.encoder.layer
    assert not layers[0].training and layers[1].training
    assert not encoder.model.embeddings.training


def test_goes_on_from_kept_states(tiny_model, tokens):
    encoder = fresh(tiny_model, n_layers=2, n_trained=1)
    batch = tokens.batch(np.arange(21))
    with torch.no_grad():
        expected = encoder(batch)
        _, states = encoder.read(batch)
        # Other token ids show that nothing below is computed.
        found = encoder(batch | {"states": states, "input_ids": 0 * batch["input_ids"]})
    # The padding of the states differs where the mask hides it.
    torch.testing.assert_close(found, expected)


def test_gradients_from_kept_states(tiny_model, tokens):
    encoder = fresh(tiny_model, n_trained=1, unit=True)
    batch = tokens.batch(np.arange(20))
    _, states = encoder.read(batch)
    weights = [p for p in encoder.parameters() if p.requires_grad]
    gradients = [
        torch.autograd.grad(encoder(b)[1].square()[:, :3].sum(), weights)
        for b in (batch, batch | {"states": states.detach()})
    ]
    torch.testing.assert_close(*gradients)


def test_a_forward_that_transformers_has_wrapped_stays(tiny_model, tokens):
    encoder = fresh(tiny_model, n_trained=1)
    batch = tokens.batch(np.arange(5))
    with torch.no_grad():
        before = encoder(batch)
        _, states = encoder.read(batch)
        encoder(batch | {"states": states})
        torch.testing.assert_close(encoder(batch), before, rtol=0, atol=0)


def test_mean_has_length_one(tiny_model, tokens):
    batch = tokens.batch(np.arange(21))
    with torch.no_grad():
        _, raw = fresh(tiny_model)(batch)
        _, unit = fresh(tiny_model, unit=True)(batch)
        first, second = fresh(tiny_model, n_trained=0)(batch)
    torch.testing.assert_close(unit, normalize(raw, dim=1))
    torch.testing.assert_close(first, unit)
    assert first is second


@pytest.mark.parametrize(
    "model",
    [
        lambda: AlbertModel(
            AlbertConfig(
                vocab_size=200,
                hidden_size=16,
                embedding_size=8,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=16,
            )
        ),
        lambda: XLNetModel(
            XLNetConfig(vocab_size=200, d_model=16, n_layer=2, n_head=2, d_inner=16)
        ),
    ],
)
def test_encoders_that_cannot_go_on_are_refused(model, tokens):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match='use\\s+trained_layers="all" or 0'):
        encoder = TransformerEncoder(model(), n_layers=1, n_trained=1)
        check_kept_states(encoder, tokens, "cpu")


# What is kept


def test_kept_documents(tiny_model, tokens):
    encoder = fresh(tiny_model, n_trained=1)
    docs = read_once(encoder, tokens, **OPTIONS)
    rows = np.array([20, 3, 11])
    batch = docs.batch(rows)
    _, states = encoder.read(tokens.batch(rows))
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(
        batch["states"][real].float(), states[real], rtol=1e-3, atol=1e-3
    )
    assert (batch["states"][~real] == 0).all()
    assert (docs.lengths == tokens.lengths).all() and len(docs) == 21


def test_one_vector_a_text(tiny_model, tokens):
    encoder = fresh(tiny_model, n_trained=0)
    words = Features(sp.csr_matrix(np.eye(21, 4, dtype=np.float32)))
    docs = read_once(encoder, tokens, (words,), **OPTIONS)
    batch = docs.batch(np.array([5, 0]))
    assert set(batch) == {"vectors", "features", "weights"}
    with torch.no_grad():
        expected = encoder(tokens.batch(np.array([5, 0])))[1]
    torch.testing.assert_close(encoder(batch)[1], expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("short", ["limit", "memory"])
def test_large_states_lie_on_the_disk(short, tiny_model, tokens, monkeypatch):
    encoder = fresh(tiny_model, n_trained=1)
    in_memory = read_once(encoder, tokens, **OPTIONS)
    assert not isinstance(in_memory.states, np.memmap)
    if short == "limit":
        monkeypatch.setattr(reading, "_IN_MEMORY", 0)
    else:  # the states take 2 bytes a number
        free = in_memory.states.nbytes - 1
        monkeypatch.setattr(devices, "_free_memory", lambda device: free)
    on_disk = read_once(encoder, tokens, **OPTIONS)
    assert isinstance(on_disk.states, np.memmap)
    np.testing.assert_array_equal(on_disk.states, in_memory.states)


def test_a_small_disk_is_refused(tiny_encoder, colours, monkeypatch):
    monkeypatch.setattr(reading, "_IN_MEMORY", 0)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(maps.shutil, "disk_usage", lambda folder: usage)
    model = make("GRankClassifier", tiny_encoder, trained_layers=1)
    with pytest.raises(OSError, match="Set trained_layers=0"):
        model.fit(*colours[:2])


def test_states_beyond_float16_are_cut(tiny_model, tokens, monkeypatch):
    encoder = fresh(tiny_model, n_trained=1)
    with torch.no_grad():
        norm = encoder.model.encoder.layer[0].output.LayerNorm
        norm.weight[0] = 1e6
    # The largest float16 and what it stands for lead to other vectors.
    monkeypatch.setattr(reading, "check_kept_states", lambda *args: None)
    states = read_once(encoder, tokens, **OPTIONS).states
    assert np.isfinite(states).all() and abs(states).max() == np.finfo(np.float16).max


# Fits


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("n_trained", [0, 1, 2, "all"])
def test_fit_changes_the_top_layers_alone(
    system, n_trained, tiny_model, tiny_tokenizer, colours
):
    texts, Y, names = colours
    model = make(system, (tiny_model, tiny_tokenizer), trained_layers=n_trained)
    model.set_params(label_texts=names).fit(texts, Y)
    before = tiny_model.state_dict()
    after = model.network_.encoder.model.state_dict()
    changed = {n for n, w in after.items() if not torch.equal(w, before[n])}
    layers = {name.split(".")[2] for name in changed if ".layer." in name}
    lowest = 0 if n_trained == "all" else 2 - n_trained
    assert layers == {str(i) for i in range(lowest, 2)}
    others = any("embeddings" in name for name in changed)
    assert others == (n_trained == "all")


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_text_is_read_once(system, tiny_encoder, colours, monkeypatch):
    texts, Y, _ = colours
    read = []
    compute = TransformerEncoder._compute_states

    def counting(self, batch):
        read.append(len(batch["input_ids"]))
        return compute(self, batch)

    monkeypatch.setattr(TransformerEncoder, "_compute_states", counting)
    # It reads two texts of its own.
    monkeypatch.setattr(_pretrained, "check_padding", lambda *args: None)
    options = dict(feature_weight=0, link_weight=0) if "GUDN" in system else {}
    make(system, tiny_encoder, trained_layers=0, **options).fit(texts, Y)
    assert sum(read) == len(texts)


def test_label_texts_are_read_once(tiny_encoder, colours, monkeypatch):
    texts, Y, names = colours
    names = [*names[:10], "", names[11]]
    read = []
    compute = TransformerEncoder._compute_states

    def counting(self, batch):
        read.append(len(batch["input_ids"]))
        return compute(self, batch)

    options = dict(trained_layers=0, bag_of_words=True, label_texts=names)
    model = make("GRankClassifier", tiny_encoder, neighbor_weight=2, **options)
    with monkeypatch.context() as patched:
        patched.setattr(TransformerEncoder, "_compute_states", counting)
        patched.setattr(_pretrained, "check_padding", lambda *args: None)
        model.fit(texts, Y)
    assert sum(read) == len(texts) + len(names)
    # Their vectors in the memory are those of the texts.
    votes = model.network_.neighbors
    places = (votes.rows >= len(texts)).nonzero()[:, 0]
    assert len(places) == 11
    docs = model._make_docs([name for name in names if name])
    with torch.no_grad():
        expected = model.network_.encode(docs.batch(np.arange(11)))[-1]
    found = votes.index.vectors[places]
    torch.testing.assert_close(
        found.float(), normalize(expected, dim=1), rtol=0, atol=5e-3
    )


@pytest.mark.parametrize("n_trained", [0, 1])
def test_predictions_read_the_whole_text(n_trained, tiny_encoder, colours):
    texts, Y, _ = colours
    model = make("GRankClassifier", tiny_encoder, trained_layers=n_trained)
    model.set_params(bag_of_words=True).fit(texts, Y)
    docs = model._make_docs(texts)
    kept = model._read_once(model.network_.encoder, docs.parts[0], docs.parts[1:])
    found = model._rank_docs(kept, 5, np.arange(len(texts)))
    expected = model._rank_docs(docs, 5, np.arange(len(texts)))
    np.testing.assert_allclose(found[1], expected[1], atol=0.05)


@pytest.mark.parametrize("n_trained", [0, 1])
@pytest.mark.parametrize("system", SYSTEMS)
def test_same_seed_same_bits(system, n_trained, tiny_encoder, colours):
    texts, Y, names = colours
    options = dict(trained_layers=n_trained, bag_of_words=True, label_texts=names)
    one, other = (make(system, tiny_encoder, **options).fit(texts, Y) for _ in range(2))
    np.testing.assert_array_equal(
        one.decision_function(texts).toarray(), other.decision_function(texts).toarray()
    )


@pytest.mark.parametrize("layers", [3, -1, 1.5, "top", None])
def test_wrong_numbers_of_layers(layers, tiny_encoder, colours):
    model = make("LightXMLClassifier", tiny_encoder, trained_layers=layers)
    with pytest.raises(ValueError, match="trained_layers"):
        model.fit(*colours[:2])


@pytest.mark.parametrize(
    "options", [dict(reading="pages"), dict(bag_of_words="yes"), dict(reading=None)]
)
def test_wrong_choices(options, tiny_encoder, colours):
    model = make("GRankClassifier", tiny_encoder, **options)
    with pytest.raises(ValueError, match=next(iter(options))):
        model.fit(*colours[:2])


@pytest.mark.parametrize("kind", ["GRankClassifier", "LightDXMLClassifier"])
@pytest.mark.parametrize("value", [(0, 2), (2, 1), (1,), (1, 2.0), (1, True), 2, None])
def test_wrong_ngrams_are_refused_before_anything_is_read(kind, value, colours):
    model = getattr(skxmc, kind)(ngram_range=value)
    with pytest.raises(ValueError, match=r"ngram_range must be two ints, such as"):
        model.fit(*colours[:2])


@pytest.mark.parametrize("value", [[1, 2], (np.int64(1), np.int64(2))])
def test_ngrams_may_be_a_list_or_of_numpy(value, tiny_encoder, colours, tmp_path):
    texts, Y, _ = colours
    model = make("GRankClassifier", tiny_encoder, bag_of_words=True, ngram_range=value)
    model.fit(texts, Y).save_pretrained(tmp_path / "model")
    found = skxmc.load(tmp_path / "model").predict_topk(texts, 3)
    np.testing.assert_array_equal(found, model.predict_topk(texts, 3))
    assert any(" " in term for term in model.vectorizer_.vocabulary_)


# Words


def test_words_are_read_alone(tiny_model, tiny_tokenizer):
    words = ["red", "red fox", "tree"]
    model = copy.deepcopy(tiny_model)  # it is used as it is
    found = read_words(model, tiny_tokenizer, words, **OPTIONS)
    for word, vector in zip(words, found, strict=True):
        ids = torch.tensor([tiny_tokenizer(word)["input_ids"]])
        with torch.no_grad():
            states = tiny_model(ids).last_hidden_state[0]
        torch.testing.assert_close(vector, normalize(states.mean(dim=0), dim=0))


def test_a_text_is_the_mean_of_its_words():
    rng = np.random.default_rng(0)
    table = torch.from_numpy(rng.standard_normal((6, 4), np.float32))
    X = sp.random_array((5, 6), density=0.5, rng=rng, dtype=np.float32).tocsr()
    encoder = WordReader(table)
    first, mean = encoder(Features(X).batch(np.arange(5)))
    expected = normalize(torch.from_numpy(X @ table.numpy()), dim=1)
    torch.testing.assert_close(mean, expected)
    torch.testing.assert_close(first, expected)
    assert not encoder.features.touched


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("leaf", [1, 3])
def test_words_instead_of_texts(system, leaf, tiny_encoder, colours, monkeypatch):
    texts, Y, names = colours
    options = dict(reading="words", bag_of_words=True, max_epochs=8)
    model = make(system, tiny_encoder, max_leaf_size=leaf, **options)
    model.set_params(label_texts=names, document_learning_rate=0.01).fit(texts, Y)
    assert model.tokenizer_ is None and isinstance(model.network_.encoder, WordReader)
    monkeypatch.setattr(TransformerEncoder, "forward", None)  # none is left to read
    assert model.score(texts, Y) > 0.7
    ids, _ = model.predict_topk(["", "no such words here"], 3)
    assert ids.shape == (2, 3)


def test_the_bag_is_added_to_the_reading(tiny_encoder, colours):
    texts, Y, _ = colours
    model = make("GRankClassifier", tiny_encoder, trained_layers=0, bag_of_words=True)
    model.set_params(document_learning_rate=0.01, validation_fraction=0).fit(texts, Y)
    network, X = model.network_, model.vectorizer_.transform(texts)
    bag = network.doc_vectors.bag.table[:-1].detach()
    assert bag.norm(dim=1).min() > 0
    tokens = tokenize(texts, model.tokenizer_, model.max_length_)
    with torch.no_grad():
        _, mean = network.encoder(tokens.batch(np.arange(len(texts))))
        lifted = mean @ network.doc_vectors.lift.weight.T
        vectors = SCALE * normalize(lifted + torch.from_numpy(X @ bag.numpy()), dim=1)
        docs = model._make_docs(texts)
        found = network.encode(docs.batch(np.arange(len(texts))))[1]
    torch.testing.assert_close(found, vectors, rtol=1e-4, atol=1e-4)


def test_the_bag_counts_words_beyond_max_length(tiny_encoder, colours):
    # Columns beside the text are appended to it as words.
    rng = np.random.default_rng(1)
    shops = np.tile(np.arange(4), 15)
    texts = [
        " ".join(rng.permutation(text.split())) + f" shop_{shop}"
        for text, shop in zip(colours[0], shops, strict=True)
    ]
    Y = sp.csr_array(np.eye(4)[shops])
    scores = {}
    for bag in (False, True):
        options = dict(trained_layers=0, bag_of_words=bag, max_epochs=20, max_length=4)
        model = make("GRankClassifier", tiny_encoder, **options)
        model.set_params(document_learning_rate=0.1, ngram_range=(1, 1))
        scores[bag] = model.fit(texts[:40], Y[:40]).score(texts[40:], Y[40:])
    assert scores[True] > 0.8
    assert scores[False] < 0.6


def test_a_bag_starts_at_the_reading_alone(tiny_encoder, colours):
    texts, Y, _ = colours
    options = dict(trained_layers=0, max_epochs=1, document_learning_rate=0.0)
    options |= dict(head_learning_rate=0.0, label_learning_rate=None)
    plain, bag = (
        make("GRankClassifier", tiny_encoder, bag_of_words=use, **options).fit(texts, Y)
        for use in (False, True)
    )
    np.testing.assert_allclose(
        plain.decision_function(texts).toarray(),
        bag.decision_function(texts).toarray(),
        rtol=1e-4,
        atol=1e-4,
    )


def test_texts_without_words_are_read(tiny_encoder, colours):
    texts, Y, _ = colours
    model = make("GRankClassifier", tiny_encoder, trained_layers=0, bag_of_words=True)
    model.fit(["..." for _ in texts], Y)
    ids, _ = model.predict_topk(["red fox"], 3)
    assert (ids >= 0).all()


def test_feature_matrices_have_no_words(colours):
    _, Y, _ = colours
    X = sp.random_array((60, 9), density=0.5, rng=0, dtype=np.float32).tocsr()
    options = dict(bag_of_words=True, trained_layers=0)
    one, other = (
        make("GRankClassifier", None, **own).fit(X, Y) for own in ({}, options)
    )
    assert other.vectorizer_ is None
    np.testing.assert_array_equal(
        one.decision_function(X).toarray(), other.decision_function(X).toarray()
    )


def test_gudn_says_what_it_cannot_do(tiny_encoder, colours):
    texts, Y, names = colours
    paper = make("GUDNClassifier", tiny_encoder, variant="paper", bag_of_words=True)
    with pytest.raises(ValueError, match='variant="code"'):
        paper.fit(texts, Y)
    model = skxmc.GUDNClassifier(tiny_encoder, reading="words", label_texts=names)
    with pytest.raises(ValueError, match="leaves no transformer"):
        model.fit(texts, Y)


def test_documents_need_a_form():
    docs = Documents(vectors=torch.zeros(3, 2, dtype=torch.float16))
    assert len(docs) == 3 and docs.lengths.tolist() == [0, 0, 0]
    assert docs.batch(np.array([2]))["vectors"].shape == (1, 2)
