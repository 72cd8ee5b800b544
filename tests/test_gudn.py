"""GUDNClassifier through its public interface."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
import transformers
from conftest import WORDS
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from tokenizers import normalizers

import skxmc
from skxmc import GUDNClassifier, LightXMLClassifier, _label_branch
from skxmc._testing import assert_fit_refused, assert_same, raise_at_step
from skxmc.nn import reading
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.named_examples import NamedExamples
from skxmc.nn.networks.gudn import GUDNNetwork, SharedGuide
from skxmc.nn.text import tokenize

N_TRAIN = 45
QUICK = dict(
    n_layers=1,
    max_length=16,
    max_epochs=30,
    batch_size=8,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    dropout=0.0,
    validation_fraction=0,
    precision="fp32",
    random_state=0,
)
SHORT = QUICK | dict(max_epochs=2)
PAPER = dict(variant="paper", label_dim=32)
COLUMNS = dict(label_branch="multi-hot")
CLUSTERS = dict(max_leaf_size=3, n_shortlist=3, predict_shortlist=4)
NO_GUIDE = dict(feature_weight=0, link_weight=0)
SOME = [{}, PAPER | COLUMNS, PAPER | CLUSTERS]
VARIANTS = [*SOME, PAPER, COLUMNS, CLUSTERS]


@pytest.fixture(scope="module")
def fit(tiny_encoder, colours):
    """Function that fits on texts, by default for 2 epochs of 6 steps."""
    texts, Y, names = colours

    def fit_texts(params=SHORT, **more):
        params = dict(label_texts=names) | params | more
        model = GUDNClassifier(tiny_encoder, **params)
        return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])

    return fit_texts


def tiny_options(tokenizer):
    """Of the configuration of a random transformer of two layers."""
    return dict(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=0,
        max_position_embeddings=200,
    )


def bits(model, texts):
    return model.predict_topk(texts, 12)


# Learning


@pytest.mark.parametrize(
    "params, least",
    [
        ({}, 0.8),
        (COLUMNS, 0.8),
        (PAPER | dict(max_epochs=45), 0.6),
        (CLUSTERS | dict(max_epochs=45), 0.7),
    ],
)
def test_learns_what_words_mean(params, least, fit, colours):
    # Four labels of twelve are right: chance is 1/3.
    model = fit(QUICK, **params)
    assert model.score(colours[0][N_TRAIN:], colours[1][N_TRAIN:]) >= least
    assert model.history_[-1]["loss"] < 0.6 * model.history_[0]["loss"]


@pytest.mark.parametrize("params", [{}, PAPER, CLUSTERS])
def test_pipeline_from_tfidf_learns(params, colours):
    texts, Y, _ = colours
    params = QUICK | COLUMNS | dict(label_dim=32) | params
    model = make_pipeline(TfidfVectorizer(), GUDNClassifier(**params))
    model.fit(texts[:N_TRAIN], Y[:N_TRAIN])
    assert model.score(texts[N_TRAIN:], Y[N_TRAIN:]) >= 0.7


# Every parameter does something, or is refused


@pytest.mark.parametrize(
    "params, changed",
    [
        ({}, dict(label_branch="multi-hot")),
        ({}, dict(feature_weight=0)),
        ({}, dict(link_weight=0)),
        ({}, dict(link_weight=2.0)),
        ({}, dict(feature_reduction="sum")),
        ({}, dict(stop_gradient_labels=True)),
        ({}, dict(label_reinforcement="repeat")),
        ({}, dict(label_reinforcement=None)),
        ({}, dict(label_length=5)),
        (dict(label_init="random"), dict(variant="paper")),
        (PAPER, dict(classifier_activation="none")),
        (PAPER, dict(classifier_activation="softmax")),
        (PAPER, dict(label_layers=2)),
        (PAPER, dict(feature_weight=0)),
        (CLUSTERS, dict(link_weight=0)),
        (COLUMNS, dict(feature_weight=0)),
        (COLUMNS, dict(stop_gradient_labels=True)),
        (COLUMNS | dict(link_weight=0), dict(stop_gradient_labels=True)),
    ],
)
def test_parameter_changes_scores(params, changed, fit, colours):
    one, two = (fit(**each) for each in (params, params | changed))
    scores = [bits(model, colours[0])[1] for model in (one, two)]
    assert np.isfinite(scores).all()
    assert not np.array_equal(*scores)


@pytest.mark.parametrize(
    "params",
    [
        dict(precision="fp64"),
        dict(precision="bf16"),
        dict(accumulate=3, clip_norm=0.1, swa_start=0.2, swa_every=2),
        dict(accumulate=3, clip_norm=0.1, stop_gradient_labels=True, link_weight=0),
    ],
)
@pytest.mark.parametrize("branch", [{}, COLUMNS])
def test_training_options(params, branch, fit, colours):
    model = fit(**params | branch | CLUSTERS)
    assert np.isfinite(bits(model, colours[0])[1]).all()


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(variant="both"), "variant must be one of .*'paper'.*'both'"),
        (dict(label_branch="texts"), "label_branch must be one of .*multi-hot"),
        (dict(classifier_activation="tanh"), "classifier_activation must be one of"),
        (dict(feature_reduction="max"), "feature_reduction must be one of"),
        (dict(loss_reduction="max"), "loss_reduction must be one of"),
        (dict(feature_weight=-1), "feature_weight must be a number, at least 0; got"),
        (dict(link_weight=-0.1), "link_weight must be .*at least 0; got -0.1"),
        (dict(link_weight=np.nan), "link_weight must be .*got nan"),
        (dict(label_reinforcement="fill"), "label_reinforcement must be one of .*'fil"),
        (dict(label_length=0), "label_length must be an int, at least 1; got 0"),
        (dict(label_layers=0), "label_layers must be an int, at least 1; got 0"),
        (dict(label_layers=2), "label_layers=2 with n_layers=1.*variant=.paper"),
        (PAPER | dict(label_init="texts"), "needs label_init=.random., got 'texts'"),
        (PAPER | dict(label_layers=4), "label_layers=4, but the encoder has 3 layers"),
        (PAPER | dict(n_layers=4), "n_layers=4, but the encoder has 3 layers"),
        (dict(n_layers=4), "n_layers=4, but the encoder has 3 layers"),
        (dict(label_length=65), "label_length=65 exceeds the 64 .* lower it to 64"),
        (dict(label_length=2), "label_length=2 has no room .* 2 special .* least 3"),
        (dict(max_length=2), "label_length=max_length=2 has no room .* least 3"),
        (dict(label_texts=["red"]), "label_texts has 1 texts and y 12"),
    ],
)
def test_bad_parameter_is_refused(params, message, tiny_encoder, colours):
    texts, Y, names = colours
    model = GUDNClassifier(tiny_encoder, **SHORT | dict(label_texts=names) | params)
    assert_fit_refused(model, texts, Y, message)


# Label names


def test_names_without_tokens_are_refused(tiny_model, tiny_tokenizer, colours):
    texts, Y, _ = colours
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("\u200b", "")
    names = ["\u200b"] * 12  # is no white space
    model = GUDNClassifier((tiny_model, tokenizer), **SHORT | dict(label_texts=names))
    assert_fit_refused(model, texts, Y, "no token in any of label_texts, the first of")


def test_columns_need_no_layers_of_their_own(fit):
    model = fit(SHORT | PAPER | COLUMNS, n_layers=3)  # all that there are
    assert model.network_.encoder.n_layers == 3


@pytest.mark.parametrize("more, warns", [({}, True), (CLUSTERS, False)])
def test_link_guide_that_cannot_guide(more, warns, tiny_encoder, colours):
    texts, Y, _ = colours
    params = SHORT | PAPER | COLUMNS | more | dict(feature_weight=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        guided = GUDNClassifier(tiny_encoder, **params).fit(texts, Y)
    told = [w.filename for w in caught if "shares no weights" in str(w.message)]
    assert told == [__file__] * warns
    params["link_weight"] = 0
    alone = GUDNClassifier(tiny_encoder, **params).fit(texts, Y)
    assert np.array_equal(bits(guided, texts)[1], bits(alone, texts)[1]) == warns


MISSING = [
    ("texts", dict(label_texts=None), "label_texts is None"),
    ("texts", dict(label_texts=[" "] * 11 + [""]), "all label_texts are blank"),
    ("features", dict(label_texts=None), "X is a feature matrix"),
    ("features", dict(label_texts=WORDS[:12]), "X is a feature matrix"),
]


@pytest.mark.parametrize("kind, params, message", MISSING)
def test_columns_stand_in_for_names(kind, params, message, tiny_encoder, colours):
    X, Y, _ = colours
    X = X if kind == "texts" else TfidfVectorizer().fit_transform(X)
    params = SHORT | dict(label_dim=16) | params
    with pytest.warns(UserWarning, match=f"{message}.*columns.*multi-hot") as caught:
        model = GUDNClassifier(tiny_encoder, **params).fit(X, Y)
    assert [warning.filename for warning in caught] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = clone(model).set_params(**COLUMNS).fit(X, Y)
        none = clone(model).set_params(**NO_GUIDE).fit(X, Y)
    assert_same(bits(told, X), bits(model, X))
    assert not np.array_equal(bits(none, X)[1], bits(model, X)[1])
    refused = clone(model).set_params(label_branch="names")
    assert_fit_refused(refused, X, Y, f'{message}.*"names".*label_texts.*"multi-hot"')


@pytest.mark.parametrize("params", [PAPER, dict(label_init="documents")])
def test_without_weights_names_guide_nothing(params, fit, colours):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        without = fit(**params | NO_GUIDE, label_texts=None)
        named = fit(**params | NO_GUIDE)
    assert without.history_ == named.history_
    assert_same(bits(without, colours[0]), bits(named, colours[0]))


@pytest.mark.parametrize("params", [{}, CLUSTERS])
def test_without_weights_it_is_lightxml(params, fit, colours):
    params = SHORT | params | dict(label_texts=colours[2], dropout=0.5)
    model = fit(params, **NO_GUIDE)
    peer = LightXMLClassifier(model.encoder, schedule="linear", **params)
    peer.set_params(swa_start=None).fit(colours[0][:N_TRAIN], colours[1][:N_TRAIN])
    assert_same(bits(peer, colours[0]), bits(model, colours[0]))
    weights = [each.network_.state_dict().keys() for each in (peer, model)]
    assert weights[0] == weights[1]


def test_some_blank_names(fit, colours):
    texts, _, names = colours
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        some = fit(label_texts=["", " "] + names[2:], label_init="documents")
    every = fit(label_init="documents")
    assert np.isfinite(bits(some, texts)[1]).all()
    assert not np.array_equal(bits(some, texts)[1], bits(every, texts)[1])


def test_names_of_underscores_alone_are_blank(fit):
    with pytest.warns(UserWarning, match="all label_texts are blank"):
        fit(label_texts=["_"] * 12, max_epochs=1)


def test_layers_are_not_read_for_a_label_branch_that_is_not_there(fit, colours):
    model = fit(SHORT | PAPER | NO_GUIDE, n_layers=3)
    assert np.isfinite(bits(model, colours[0])[1]).all()


@pytest.mark.parametrize("kind", ["Bert", "Albert"])
def test_texts_are_compared_behind_the_pretrained_pooler(
    kind, tiny_tokenizer, colours, monkeypatch
):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**tiny_options(tiny_tokenizer))
    model = getattr(transformers, f"{kind}Model")(config).eval()
    seen, make_text_vectors = [], SharedGuide.make_text_vectors

    def observed(self, *args):
        seen.append(make_text_vectors(self, *args))
        return seen[-1]

    monkeypatch.setattr(SharedGuide, "make_text_vectors", observed)
    params = SHORT | dict(label_texts=colours[2], label_init="random")
    classifier = GUDNClassifier((model, tiny_tokenizer), **params)
    classifier.fit(["red fox"] * 8, colours[1][:8])
    with torch.no_grad():
        expected = model(**tiny_tokenizer(["red fox"] * 8, return_tensors="pt"))
    torch.testing.assert_close(seen[0][1].detach(), expected.pooler_output)


def test_duplicate_names(fit, colours):
    model = fit(label_texts=["red"] * 12)
    assert np.isfinite(bits(model, colours[0])[1]).all()


@pytest.mark.parametrize("label_init", ["documents", "texts"])
def test_underscores_are_read_as_blanks(label_init, fit, colours):
    texts, _, names = colours
    joined, apart = (
        fit(label_texts=[f"{name}{blank}fox" for name in names], label_init=label_init)
        for blank in "_ "
    )
    assert_same(bits(joined, texts), bits(apart, texts))


# Names are short, and untrained layers read them once


def label_lengths(fit, monkeypatch, **params):
    """Numbers of tokens that the label branch may read, and that memory is for."""
    found, make = [], NamedExamples.__init__
    check = skxmc.base.check_memory

    def made(self, *args, **options):
        found.append(options["length"])
        make(self, *args, **options)

    def checked(network, *args, **options):
        found.append(network.label_length)
        check(network, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(NamedExamples, "__init__", made)
        patch.setattr(skxmc.base, "check_memory", checked)
        fit(**params | dict(max_epochs=1))
    return found


def test_names_stay_short_beside_long_texts(fit, monkeypatch):
    assert label_lengths(fit, monkeypatch, max_length=40) == [40, 40]
    assert label_lengths(fit, monkeypatch, max_length=40, label_length=9) == [9, 9]
    # Four names of one token each, and two special tokens.
    once = label_lengths(fit, monkeypatch, max_length=40, label_reinforcement=None)
    assert once == [40, 6]
    monkeypatch.setattr(_label_branch, "_MAX_LABEL_LENGTH", 12)
    assert label_lengths(fit, monkeypatch, max_length=40) == [12, 12]
    assert label_lengths(fit, monkeypatch, max_length=10) == [10, 10]
    assert label_lengths(fit, monkeypatch, label_length=20) == [20, 20]


@pytest.mark.parametrize("n_trained", [0, 1])
@pytest.mark.parametrize("params", [{}, dict(variant="paper"), CLUSTERS])
def test_untrained_layers_read_names_once(n_trained, params, fit, monkeypatch):
    seen, forward = [], TransformerEncoder.forward

    def observed(self, batch):
        seen.append({"vectors", "states"} & batch.keys())
        return forward(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(TransformerEncoder, "forward", observed)
        patch.setattr(reading, "check_kept_states", lambda *args: None)
        patch.setattr(skxmc.GUDNClassifier, "_calibrate", lambda *args: None)
        params = params | dict(trained_layers=n_trained, label_init="random")
        model = fit(**params)
    kept = {"states"} if n_trained else {"vectors"}
    # Texts and names in each of 12 steps.
    assert seen[-24:] == [kept] * 24
    assert not any(kept == each for each in seen[:-24])
    assert {*model.history_[0]} >= {"feature_loss", "link_loss"}


@pytest.mark.parametrize("n_trained", [0, 1])
@pytest.mark.parametrize("fill", ["repeat", None])
def test_names_that_are_read_once_guide_alike(n_trained, fill, fit, monkeypatch):
    params = dict(trained_layers=n_trained, label_reinforcement=fill)
    kept = fit(**params)
    monkeypatch.setattr(NamedExamples, "read_once", lambda *args: None)
    whole = fit(**params)
    for one, two in zip(kept.history_, whole.history_, strict=True):
        for name in one:
            # States are kept in float16, which has three decimal digits.
            assert one[name] == pytest.approx(two[name], rel=2e-3, abs=1e-6), name


@pytest.mark.parametrize("n_trained", [0, "all"])
def test_names_have_a_bag_of_words_too(n_trained, fit, monkeypatch):
    seen, make = [], SharedGuide.make_label_vectors

    def observed(self, doc_vectors, first, mean, batch):
        vectors, compared = make(self, doc_vectors, first, mean, batch)
        seen.append(doc_vectors.bag(batch).norm(dim=1).max().item())
        return vectors, compared

    monkeypatch.setattr(SharedGuide, "make_label_vectors", observed)
    params = dict(trained_layers=n_trained, bag_of_words=True, max_epochs=1)
    model = fit(**params, document_learning_rate=0.1)
    assert seen[0] == 0 < seen[1] < seen[-1]  # word vectors start at 0
    silent = fit(**params, document_learning_rate=0.1, link_weight=0)
    assert model.history_ != silent.history_


def test_history_tells_the_parts_of_the_loss(fit):
    parts = {"classification_loss", "feature_loss", "link_loss"}
    for params, missing in [
        ({}, set()),
        (COLUMNS, set()),
        (PAPER, set()),
        (dict(link_weight=0), {"link_loss"}),
        (dict(feature_weight=0), {"feature_loss"}),
        (NO_GUIDE, parts),
    ]:
        for epoch in fit(**params).history_:
            assert epoch.keys() == {"epoch", "loss"} | (parts - missing)
            if missing != parts:
                total = sum(epoch[name] for name in parts - missing)
                assert epoch["loss"] == pytest.approx(total)


# The label branch is gone after training


@pytest.mark.parametrize("params", VARIANTS)
def test_nothing_is_left_of_the_label_branch(params, fit, colours):
    texts, _, names = colours
    model = fit(**params)
    network = model.network_
    assert network.guide is None and network.label_encoder is None
    plain = fit(**params | NO_GUIDE).network_
    shapes = {name: p.shape for name, p in network.state_dict().items()}
    assert shapes == {name: p.shape for name, p in plain.state_dict().items()}
    sizes = [sum(p.numel() for p in each.parameters()) for each in (network, plain)]
    assert sizes[0] == sizes[1]
    expected = bits(model, texts)
    again = pickle.loads(pickle.dumps(model))
    assert_same(bits(again, texts), expected)
    assert_same(bits(model.set_params(label_texts=names[::-1]), texts), expected)
    assert_same(bits(again.set_params(label_texts=None), texts), expected)


def test_held_out_documents_show_no_labels(tiny_encoder, colours, monkeypatch):
    texts, Y, names = colours
    shown, inference, ranked = [], set(), []
    batch, make_label_vectors = NamedExamples.batch, SharedGuide.make_label_vectors
    rank = GUDNNetwork.rank

    def recorded(self, rows):
        inputs, targets = batch(self, rows)
        assert len(targets["named"]) == len(rows)
        shown.extend(rows)
        return inputs, targets

    def observed(self, *args):
        inference.add(torch.is_inference_mode_enabled())
        return make_label_vectors(self, *args)

    def ranking(self, inputs, k):
        assert inputs.keys() == {"input_ids", "attention_mask"}
        ranked.append(len(inputs["input_ids"]))
        return rank(self, inputs, k)

    monkeypatch.setattr(NamedExamples, "batch", recorded)
    monkeypatch.setattr(SharedGuide, "make_label_vectors", observed)
    monkeypatch.setattr(GUDNNetwork, "rank", ranking)
    params = SHORT | dict(label_texts=names, validation_fraction=0.2)
    model = GUDNClassifier(tiny_encoder, **params).fit(texts, Y)
    # In both epochs all documents but those that are held out.
    held_out = {*range(60)} - {*shown}
    assert len(held_out) == 12
    assert sorted(shown) == sorted([*({*range(60)} - held_out)] * 2)
    assert sum(ranked) == 3 * 12  # for the scores of two epochs, and the calibration
    assert inference == {False}
    n_calls = len(shown)
    model.predict(texts)
    model.score(texts, Y)
    assert len(shown) == n_calls and inference == {False}


# Training


@pytest.mark.parametrize("params", SOME)
def test_same_seed_same_bits(params, fit):
    def result(random_state, global_state):
        torch.manual_seed(global_state)
        model = fit(**params | dict(random_state=random_state, dropout=0.3))
        return model.network_.state_dict(), model.history_

    one, two, other = result(3, 0), result(3, 1), result(4, 1)
    assert one[1] == two[1] != other[1]
    assert all(torch.equal(one[0][name], two[0][name]) for name in one[0])


@pytest.mark.parametrize("params", SOME)
def test_interrupted_training_can_be_used(params, tiny_encoder, colours):
    texts, Y, names = colours
    params = SHORT | dict(label_texts=names) | params
    model = GUDNClassifier(tiny_encoder, **params)
    with raise_at_step(9, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        model.fit(texts, Y)  # in the second of two epochs
    network = model.network_
    assert model.n_iter_ == len(model.history_) == 1
    assert network.guide is None and network.label_encoder is None
    assert not any(module.training for module in network.modules())
    expected = bits(model, texts)
    assert np.isfinite(expected[1]).all()
    assert_same(bits(pickle.loads(pickle.dumps(model)), texts), expected)


# Encoders that read more


@pytest.fixture(scope="module")
def long_models(tiny_tokenizer):
    """Random models of two layers that read 199 and 200 tokens."""
    options = tiny_options(tiny_tokenizer)
    ids = dict(cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3)
    windows = dict(local_attention=8, global_attn_every_n_layers=2)
    torch.manual_seed(0)
    return {
        199: transformers.LongformerModel(
            transformers.LongformerConfig(**options, attention_window=[4, 4])
        ).eval(),
        200: transformers.ModernBertModel(
            transformers.ModernBertConfig(**options, **ids, **windows)
        ).eval(),
    }


@pytest.mark.parametrize("limit", [199, 200])
@pytest.mark.parametrize("params", [{}, PAPER])
def test_texts_beyond_64_tokens(
    limit, params, long_models, tiny_tokenizer, colours, tmp_path
):
    encoder = long_models[limit], tiny_tokenizer
    texts, Y, names = colours
    texts = [" ".join([text] * 25) for text in texts]
    params = SHORT | dict(max_length=limit, max_epochs=1) | params
    model = GUDNClassifier(encoder, label_texts=names, **params).fit(texts, Y)
    ids, scores = bits(model, texts)
    assert (np.sort(ids) == np.arange(12)).all() and np.isfinite(scores).all()
    assert_same(bits(pickle.loads(pickle.dumps(model)), texts), (ids, scores))
    folder = tmp_path / "model"
    with pytest.warns(UserWarning, match=r"GUDNClassifier\.encoder is tuple"):
        model.save_pretrained(folder)
    assert_same(bits(skxmc.load(folder, device="cpu"), texts), (ids, scores))
    # What stands beyond 64 tokens is read too.
    words = texts[0].split()
    other = " ".join([*words[:90], "ten", *words[91:]])
    assert np.abs(bits(model, [other])[1] - bits(model, texts[:1])[1]).max() > 0
    for name in ("max_length", "label_length"):
        message = f"{name}={limit + 1} exceeds the {limit} .*lower it to {limit}"
        refused = clone(model).set_params(**dict(max_length=64) | {name: limit + 1})
        assert_fit_refused(refused, texts, Y, message)


@torch.no_grad()
def test_first_token_of_a_longformer_sees_the_whole_text(long_models, tiny_tokenizer):
    encoder = TransformerEncoder(copy.deepcopy(long_models[199]), n_layers=1).eval()
    words = WORDS * 3
    texts = [" ".join(words), " ".join([*words[:-1], "fox"]), "red fox"]
    docs = tokenize(texts, tiny_tokenizer, 199)
    first, _ = encoder(docs.batch(np.arange(3)))
    assert (first[0] - first[1]).abs().max() > 1e-4
    for i in range(3):  # alone as beside others
        alone, _ = encoder(docs.batch(np.array([i])))
        torch.testing.assert_close(first[i], alone[0], rtol=1e-4, atol=1e-5)
