"""LightDXMLClassifier through its public interface."""

import copy
import gc
import inspect
import pickle
import re
import sys
import warnings
import weakref

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from torch.nn.functional import normalize

from skxmc import LightDXMLClassifier, _shortlist_search, lightdxml
from skxmc._mixture import select_beta
from skxmc._neighbors import NeighborsMixin
from skxmc.datasets import make_xmc
from skxmc.feature_extraction import TextEncoder
from skxmc.metrics import precision_at_k
from skxmc.nn.label_cycle import (
    LabelEncoderExamples,
    LabelEncoderTraining,
    ShortlistedExamples,
)
from skxmc.nn.networks.lightdxml import LightDXMLNetwork
from skxmc.nn.search import has_hnswlib

QUICK = dict(
    label_dim=16,
    label_epochs=1,
    max_epochs=8,
    batch_size=8,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    dropout=0.0,
    n_frequent=4,
    n_shortlist=5,
    predict_shortlist=6,
    validation_fraction=0,
    precision="fp32",
    random_state=0,
)
SHORT = QUICK | dict(max_epochs=2)
N_TRAIN = 45

needs_hnswlib = pytest.mark.skipif(not has_hnswlib(), reason="needs hnswlib")


@pytest.fixture(scope="module")
def features(colours):
    return TfidfVectorizer().fit_transform(colours[0])


def fit_texts(colours, params=SHORT, **more):
    texts, Y, _ = colours
    model = LightDXMLClassifier(**params | more)
    return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])


def fit_features(features, colours, params=SHORT, **more):
    model = LightDXMLClassifier(**params | more)
    return model.fit(features[:N_TRAIN], colours[1][:N_TRAIN])


def assert_same_ranking(one, two, X, k=12):
    for found, expected in zip(
        one.predict_topk(X, k), two.predict_topk(X, k), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.fixture
def events(monkeypatch):
    """Epochs of the label encoder ("label") and of the classifier, in their order."""
    events = []
    for kind, name in [
        (LabelEncoderExamples, "label"),
        (ShortlistedExamples, "classifier"),
    ]:
        begin = kind.begin_epoch

        def begun(self, epoch, begin=begin, name=name):
            begin(self, epoch)
            events.append(name)

        monkeypatch.setattr(kind, "begin_epoch", begun)
    return events


@pytest.fixture
def held_out(monkeypatch):
    """Held-out documents of each fit."""
    seen, finish = [], LightDXMLClassifier._finish

    def observed(self, examples, Y, held_out, rng):
        seen.append(held_out)
        return finish(self, examples, Y, held_out, rng)

    monkeypatch.setattr(LightDXMLClassifier, "_finish", observed)
    return seen


# Learning


@pytest.mark.parametrize(
    "params",
    [
        {},
        dict(n_frequent=0),
        dict(n_frequent=12),
        dict(token_vectors=None, max_epochs=15),
        dict(label_init="random", max_epochs=20, n_frequent=0),
        dict(beta=1.0),
        dict(beta=0.0),
        dict(refresh_every=None),
        dict(refresh_every=1),
        dict(n_random_negatives=3),
        dict(label_activation="none"),
        dict(label_epochs=0),
        dict(label_epochs=4, label_batch_size=8, label_learning_rate=3e-3),
        dict(precision="fp64"),
        dict(precision="bf16"),
        dict(precision="bf16", beta=0.0),
        dict(dropout=0.3),
        dict(swa_start=0.5, swa_every=2),
        dict(accumulate=2, clip_norm=1.0),
        pytest.param(dict(search="hnsw"), marks=needs_hnswlib),
    ],
    ids=str,
)
def test_learns_what_words_mean(params, colours):
    # Four labels of twelve are right: chance is 1/3.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit_texts(colours, QUICK | params)
    assert model.score(colours[0][N_TRAIN:], colours[1][N_TRAIN:]) >= 0.8
    assert model.history_[-1]["loss"] < 0.9 * model.history_[0]["loss"]


@pytest.mark.parametrize("container", [sp.csr_matrix, np.asarray])
def test_learns_from_features(container, features, colours):
    X = container(features.toarray())
    model = fit_features(X, colours, QUICK)
    assert model.vectorizer_ is None and model.n_features_in_ == 12
    assert model.score(X[N_TRAIN:], colours[1][N_TRAIN:]) >= 0.8
    assert_same_ranking(model, fit_features(features, colours, QUICK), features)


def test_pipeline_from_tfidf_learns(colours):
    texts, Y, _ = colours
    model = make_pipeline(TfidfVectorizer(), LightDXMLClassifier(**QUICK))
    model.fit(texts[:N_TRAIN], Y[:N_TRAIN])
    assert model.score(texts[N_TRAIN:], Y[N_TRAIN:]) >= 0.8


def test_learns_nothing_from_shuffled_labels(features, colours):
    rows = np.random.default_rng(0).permutation(N_TRAIN)
    model = LightDXMLClassifier(**QUICK).fit(features[:N_TRAIN], colours[1][rows])
    assert model.score(features[N_TRAIN:], colours[1][N_TRAIN:]) < 0.7


# Every parameter does something, or is refused


@pytest.mark.parametrize(
    "changed",
    [
        dict(token_vectors=None),
        dict(ngram_range=(1, 2)),
        dict(min_df=18),
        dict(max_features=9),
        dict(label_texts=True),
        dict(label_dim=8),
        dict(label_init="random"),
        dict(label_hidden_dim=17),
        dict(label_epochs=3),
        dict(label_epochs=3, label_batch_size=4),
        dict(label_epochs=3, label_learning_rate=0.1),
        dict(refresh_every=1),
        dict(n_shortlist=2),
        dict(predict_shortlist=2),
        dict(n_frequent=0),
        dict(n_random_negatives=3),
        dict(beta=0.9),
        dict(shortlist_temperature=0.1),
        dict(dropout=0.5),
        dict(max_epochs=3),
        dict(batch_size=16),
        dict(accumulate=2),
        dict(learning_rate=1e-3),
        dict(head_learning_rate=1e-3),
        dict(weight_decay=10.0),
        dict(warmup=1.0),
        dict(schedule="constant"),
        dict(clip_norm=1e-9),
        dict(swa_start=0.0),
        dict(validation_fraction=0.3),
        dict(precision="fp64"),
        dict(random_state=1),
    ],
    ids=str,
)
def test_parameter_changes_scores(changed, colours):
    if changed.get("label_texts"):
        changed = dict(label_texts=colours[2])
    one, two = (
        fit_texts(colours, **params).predict_topk(colours[0][N_TRAIN:], 12)
        for params in ({}, changed)
    )
    assert np.isfinite(two[1]).all()
    assert not np.array_equal(one[1], two[1])


def test_label_activation_changes_label_vectors(colours):
    # Means are not negative: without training both are one.
    params = dict(label_learning_rate=0.1, label_epochs=5)
    one, two = (
        fit_texts(colours, **params, label_activation=name).network_.label_vectors
        for name in ("relu", "none")
    )
    assert (one >= 0).all() and (two < 0).any()


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(n_shortlist=0), "n_shortlist must be an int, at least 1; got 0"),
        (dict(predict_shortlist=1.5), "predict_shortlist must be an int"),
        (dict(label_epochs=-1), "label_epochs must be an int, at least 0"),
        (dict(label_batch_size=0), "label_batch_size must be an int, at least 1"),
        (dict(label_dim=1), "label_dim must be an int, at least 2"),
        (dict(label_hidden_dim=0), "label_hidden_dim must be an int, at least 1"),
        (dict(label_hidden_dim=15), "label_hidden_dim=15 is less than .*, 16"),
        (dict(refresh_every=0), "refresh_every must be an int, at least 1"),
        (dict(max_features=0), "max_features must be an int, at least 1"),
        (dict(min_df=0), "min_df must be an int, at least 1"),
        (dict(n_frequent=-1), "n_frequent must be an int, at least 0"),
        (dict(n_random_negatives=None), "n_random_negatives must be an int"),
        (
            dict(learning_rate="fast"),
            "learning_rate must be .auto. or a number.*'fast'",
        ),
        (dict(label_learning_rate=-1), "label_learning_rate must be a number"),
        (dict(label_text_negatives=-1), "label_text_negatives must be a number"),
        (
            dict(beta=1.1),
            'beta must be "auto" or a number, at least 0 and at most 1; got 1.1',
        ),
        (dict(beta="best"), 'beta must be "auto" or a number'),
        (dict(shortlist_temperature=0), "shortlist_temperature .* above 0"),
        (dict(label_init="texts"), "label_init must be one of"),
        (dict(label_activation="tanh"), "label_activation must be one of"),
        (dict(search="faiss"), "search must be one of .*'faiss'"),
        (dict(ngram_range=(2, 1)), "ngram_range"),
        (dict(label_texts=["red"]), "label_texts has 1 texts and y 12"),
        (dict(token_vectors=3), "token_vectors must map words to vectors.*got int"),
        (dict(token_vectors={"zebra": [1.0]}), "has a vector for none of"),
        (dict(token_vectors={"red": [np.nan]}), "holds NaN"),
        (dict(dropout=1.0), "dropout"),
        (dict(max_epochs=0), "max_epochs"),
        (dict(accumulate=0), "accumulate"),
        (dict(clip_norm=0), "clip_norm must be a number, above 0"),
        (dict(swa_start=1.0), "swa_start .*below 1"),
        (dict(schedule="cosine"), "schedule must be one of"),
        (dict(early_stopping=True), "early_stopping=True needs held-out documents"),
    ],
)
def test_bad_parameter_is_refused(params, message, colours, events):
    texts, Y, _ = colours
    model = LightDXMLClassifier(**QUICK | params)
    with pytest.raises(ValueError, match=message):
        model.fit(texts, Y)
    assert not events
    with pytest.raises(NotFittedError):
        model.predict(texts)


def test_a_missing_file_of_vectors_is_told(colours):
    with pytest.raises(OSError, match="no/such/file"):
        fit_texts(colours, token_vectors="no/such/file")


@pytest.mark.parametrize(
    "params", [dict(label_texts=12 * ["red"]), dict(token_vectors={"red": [1.0]})]
)
def test_features_refuse_what_needs_texts(params, features, colours, events):
    (name,) = params
    with pytest.raises(ValueError, match=f"{name} needs texts, and X is a feature"):
        fit_features(features, colours, **params)
    assert not events


def test_every_parameter_is_documented_and_no_other():
    text = inspect.getdoc(LightDXMLClassifier)
    section = text.partition("\nParameters\n")[2].partition("\nAttributes\n")[0]
    lines = re.findall(r"^(\w[\w, ]*?)(?: :.*)?$", section, flags=re.MULTILINE)
    documented = {name for line in lines for name in line.split(", ")}
    assert documented == set(inspect.signature(LightDXMLClassifier).parameters)


# The cycle


@pytest.mark.parametrize(
    "n_epochs, every, label_epochs", [(4, 2, 1), (4, 2, 3), (6, 3, 2), (3, 1, 1)]
)
def test_label_encoder_epochs_are_those_of_the_paper(
    n_epochs, every, label_epochs, features, colours, events
):
    params = dict(max_epochs=n_epochs, refresh_every=every, label_epochs=label_epochs)
    fit_features(features, colours, **params)
    turn = label_epochs * ["label"]
    expected = (turn + every * ["classifier"]) * (n_epochs // every) + turn
    assert events == expected
    assert events.count("label") == label_epochs * (n_epochs // every + 1)


@pytest.mark.parametrize(
    "every, expected", [(None, "lccc"), (2, "lcclc"), (3, "lcccl"), (9, "lccc")]
)
def test_order_of_epochs(every, expected, features, colours, events):
    fit_features(features, colours, max_epochs=3, refresh_every=every)
    assert "".join(name[0] for name in events) == expected


def test_label_encoder_is_not_trained_by_default(features, colours, events):
    model = LightDXMLClassifier(max_epochs=2, label_dim=16, n_frequent=4)
    model.fit(features, colours[1])
    assert events == ["classifier"] * 2 and int(model.network_.n_turns) == 1


@pytest.mark.parametrize("params", [{}, dict(validation_fraction=0.2)])
def test_training_leaves_neither_examples_nor_shortlists(
    params, features, colours, monkeypatch
):
    seen = []
    finish = LightDXMLClassifier._finish

    def observed(self, examples, *args):
        seen.append(weakref.ref(examples))
        assert len(examples.shortlists) == len(examples.rows)
        return finish(self, examples, *args)

    monkeypatch.setattr(LightDXMLClassifier, "_finish", observed)
    model = fit_features(features, colours, **params)
    (examples,) = seen
    gc.collect()
    assert examples() is None
    assert not any(module.training for module in model.network_.modules())
    modules = model.network_.ranker, model.network_.encoder.features
    assert all(module.touched == [] for module in modules)
    assert all(module.optimizer is None for module in modules)


@pytest.mark.parametrize("refresh_every", [1, 2, 4])
@pytest.mark.parametrize("validation_fraction", [0, 0.2])
def test_label_vectors_are_those_of_the_last_documents(
    refresh_every, validation_fraction, features, colours
):
    model = LightDXMLClassifier(
        **QUICK
        | dict(max_epochs=4, refresh_every=refresh_every, random_state=1)
        | dict(validation_fraction=validation_fraction, dropout=0.3)
    )
    seen = []
    build = model._build

    def observed(X, Y, rows, rng):
        seen.append(Y)
        return build(X, Y, rows, rng)

    model._build = observed
    model.fit(features, colours[1])
    network, (Y,) = model.network_, seen
    with torch.no_grad():
        docs = network.encoder(
            model._make_docs(features.astype("f4")).batch(np.arange(60))
        )
        labels = torch.cat([network.frequent, network.indexed]).tolist()
        rows = [torch.from_numpy(Y.toarray()[:, j] > 0) for j in labels]
        means = torch.stack([docs[own].mean(dim=0) for own in rows])
        expected = normalize(network.label_encoder(means), dim=1)
    torch.testing.assert_close(network.label_vectors, expected, rtol=1e-4, atol=1e-5)
    # What predictions search is of them, though training stepped back to its best.
    expected = expected[len(network.frequent) :]
    found = network.search_index().vectors
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_frequent_labels_are_those_with_the_most_documents(features, colours):
    model = fit_features(features, colours)
    network, counts = model.network_, model.label_counts_
    np.testing.assert_array_equal(counts, colours[1][:N_TRAIN].sum(axis=0))
    frequent, indexed = network.frequent.numpy(), network.indexed.numpy()
    assert len(frequent) == 4 and counts[frequent].min() >= counts[indexed].max()
    assert sorted([*frequent, *indexed]) == list(range(12))
    assert (np.diff(counts[frequent]) <= 0).all()


# Search


@needs_hnswlib
def test_a_graph_finds_what_exact_search_finds(colours):
    exact, graph = (
        fit_texts(colours, QUICK, search=way, n_frequent=2) for way in ("exact", "hnsw")
    )
    assert exact.network_.index.graph is None
    assert graph.network_.index.graph is not None
    (ids, scores), (others, other_scores) = (
        model.predict_topk(colours[0], 12) for model in (exact, graph)
    )
    np.testing.assert_array_equal(ids, others)
    np.testing.assert_allclose(scores, other_scores, atol=1e-5)


@needs_hnswlib
@pytest.mark.parametrize("search", ["exact", "hnsw"])
def test_pickle_clone_and_copy(search, colours):
    texts, Y, _ = colours
    model = fit_texts(colours, search=search)
    for again in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        clone(model).fit(texts[:N_TRAIN], Y[:N_TRAIN]),
    ):
        assert again.get_params() == model.get_params()
        assert_same_ranking(again, model, texts)
    assert not hasattr(clone(model), "network_")


def test_search_without_hnswlib_is_refused_before_training(
    colours, events, monkeypatch
):
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with pytest.raises(ImportError, match="hnswlib.*pip install.*exact"):
        fit_texts(colours, search="hnsw")
    assert not events


def test_auto_without_hnswlib_warns_and_is_exact(colours, monkeypatch):
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    monkeypatch.setattr(_shortlist_search, "_MAX_EXACT", 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few = fit_texts(colours, search="auto")
    n_indexed = len(few.network_.indexed)
    monkeypatch.setattr(_shortlist_search, "_MAX_EXACT", n_indexed - 1)
    model, (texts, Y, _) = LightDXMLClassifier(**SHORT), colours
    match = f"all {n_indexed} labels.*pip install"
    with pytest.warns(UserWarning, match=match) as caught:
        model.fit(texts[:N_TRAIN], Y[:N_TRAIN])
    assert caught[0].filename == __file__
    assert model.network_.exact
    assert_same_ranking(model, few, texts)


@needs_hnswlib
def test_auto_takes_the_graph_beyond_a_size(colours, monkeypatch):
    n_indexed = len(fit_texts(colours).network_.indexed)
    for size, exact in [(n_indexed, True), (n_indexed - 1, False)]:
        monkeypatch.setattr(_shortlist_search, "_MAX_EXACT", size)
        assert fit_texts(colours).network_.exact == exact


# beta


def mean_precisions(model, X, Y, betas):
    """P@1 plus P@k of each document, by beta."""
    k = round(Y.nnz / (Y.sum(axis=1) > 0).sum())
    found = {}
    for beta in betas:
        model.network_.beta = beta
        ids = model.predict_topk(X, k)[0]
        found[beta] = np.array(
            [
                sum(precision_at_k(Y[[i]], ids[[i]], depth) for depth in (1, k))
                for i in range(len(ids))
            ]
        )
    return found


@pytest.mark.parametrize("seed", range(5))
def test_beta_is_clearly_better_on_the_held_out_part(seed, features, held_out):
    rng = np.random.default_rng(seed)
    Y = sp.csr_array(
        (rng.random((60, 12)) < 0.3).astype("f4")
    )  # hard, so that it tells
    params = QUICK | dict(beta="auto", validation_fraction=0.5, random_state=seed)
    model = LightDXMLClassifier(**params).fit(features, Y)
    (rows,) = held_out
    assert model.network_.beta == model.beta_
    assert len(rows) > 10
    betas = np.arange(5) / 4
    found = mean_precisions(model, features[rows], Y[rows], betas)
    assert len({values.mean() for values in found.values()}) > 1
    best = max(betas, key=lambda beta: (found[beta].mean(), beta))
    gains = found[best] - found[0.75]
    is_clear = gains.mean() > 2 * np.sqrt(gains.var() / len(gains))
    assert model.beta_ == (best if is_clear else 0.75)


@pytest.mark.parametrize(
    "gains, expected",
    [
        ([0] * 9, 0.75),
        ([-1] * 9, 0.75),
        ([1] * 3 + [0] * 97, 0.75),  # the mean, 0.03, is less than 2 * 0.171 / 10
        ([1] * 5 + [0] * 95, 0.25),  # 0.05 is more than 2 * 0.218 / 10
        ([1] * 6 + [-1] * 2 + [0] * 92, 0.75),
        ([1] * 9, 0.25),
    ],
)
def test_beta_needs_a_clear_gain(gains, expected):
    # Betas up to 0.25 rank label 0 first, and higher ones label 1. Documents without a
    # gain have label 2, which is not among the candidates.
    n, right = len(gains), {1: 0, -1: 1, 0: 2}
    Y = sp.csr_array(np.eye(3, dtype="f4")[[right[gain] for gain in gains]])
    logits = torch.tensor([[0.27, 0.9]]).logit().expand(n, 2)
    cosines = torch.tensor([[0.7, 0.33]]).logit().expand(n, 2)
    label_ids = torch.tensor([[0, 1]]).expand(n, 2)
    classified = label_ids, logits, cosines
    assert select_beta(Y, np.arange(n), *classified, 1.0) == expected


def test_beta_with_nothing_held_out(features, colours):
    auto, set_ = (fit_features(features, colours, beta=beta) for beta in ("auto", 0.75))
    assert auto.beta_ == set_.beta_ == 0.75
    assert_same_ranking(auto, set_, features)
    assert fit_features(features, colours, beta=0.3).beta_ == 0.3


@pytest.mark.parametrize("neighbor_weight", [0, "auto"])
def test_choices_leave_out_documents_that_repeat_a_label_text(
    neighbor_weight, colours, held_out, monkeypatch
):
    texts, Y, words = colours
    label_texts = [*words]
    for i in range(0, 60, 2):  # the texts of half of the documents, in other case
        label_texts[i % 12] = texts[i].upper() + " "
    repeated = {text.lower().strip() for text in label_texts}
    seen, beta, add = [], lightdxml.select_beta, NeighborsMixin._add_neighbors

    def select(Y, rows, *args):
        seen.append(rows)
        return beta(Y, rows, *args)

    def add_neighbors(self, examples, Y, rows):
        seen.append(rows)
        return add(self, examples, Y, rows)

    monkeypatch.setattr(lightdxml, "select_beta", select)
    monkeypatch.setattr(NeighborsMixin, "_add_neighbors", add_neighbors)
    params = SHORT | dict(validation_fraction=0.5, beta="auto")
    params |= dict(label_texts=label_texts, neighbor_weight=neighbor_weight)
    LightDXMLClassifier(**params).fit(texts, Y)
    (rows,) = held_out
    expected = [i for i in rows if texts[i].lower() not in repeated]
    assert 0 < len(expected) < len(rows)
    assert [found.tolist() for found in seen] == [expected, expected]


# Texts of labels


def with_a_new_label(colours):
    """One more label, without documents."""
    texts, Y, words = colours
    return texts, sp.hstack([Y, sp.csr_array((60, 1))], format="csr"), words


def test_a_label_without_documents_is_predicted_by_its_text(colours):
    texts, Y, words = with_a_new_label(colours)
    params = QUICK | dict(n_frequent=0, beta=0.3, min_df=1)
    model = LightDXMLClassifier(**params, label_texts=[*words, "purple"])
    model.fit(texts, Y)
    assert model.n_docs_ == 60 and model.label_counts_.tolist()[12] == 0
    np.testing.assert_array_equal(model.label_counts_, Y.sum(axis=0))
    assert model.predict_topk(["purple"], 1)[0].tolist() == [[12]]
    assert model.score(texts, Y) > 0.8
    without = LightDXMLClassifier(**params).fit(texts, Y)
    assert (without.predict_topk(["purple", *texts], 13)[0] != 12).all()
    assert 12 not in without.network_.indexed


def test_weight_of_the_negatives_of_label_texts(colours):
    texts, _, words = colours
    models = [
        fit_texts(colours, label_texts=label_texts, label_text_negatives=weight)
        for label_texts in (words, None)
        for weight in (0.0, 1.0)
    ]
    scores = [model.predict_topk(texts, 12)[1] for model in models]
    assert not np.array_equal(scores[0], scores[1])
    np.testing.assert_array_equal(scores[2], scores[3])


def test_blank_label_texts_add_nothing(colours):
    texts, Y, words = colours
    blank = fit_texts(colours, label_texts=["", " \n", *10 * [""]])
    assert_same_ranking(blank, fit_texts(colours), texts)
    some = fit_texts(colours, label_texts=[words[0], *11 * [" "]])
    assert some.n_docs_ == N_TRAIN
    assert not np.array_equal(
        some.predict_topk(texts, 12)[1], blank.predict_topk(texts, 12)[1]
    )


def test_label_texts_are_never_held_out(colours, monkeypatch):
    texts, Y, words = with_a_new_label(colours)
    seen = []
    train = LightDXMLClassifier._train

    def observed(self, examples, Y, held_out, *args):
        seen.append((len(examples.docs), Y, examples.rows, held_out))
        return train(self, examples, Y, held_out, *args)

    monkeypatch.setattr(LightDXMLClassifier, "_train", observed)
    params = SHORT | dict(validation_fraction=0.9, label_texts=[*words, "purple"])
    LightDXMLClassifier(**params).fit(texts, Y)
    ((n_docs, Y_all, rows, held_out),) = seen
    assert n_docs == 60 + 13 and len(held_out) > 20 and held_out.max() < 60
    assert set(range(60, 73)) <= set(rows) and not set(rows) & set(held_out)
    np.testing.assert_array_equal(Y_all[60:].toarray(), np.eye(13))


# Vectors of words


def test_words_that_a_transformer_has_read(colours, tiny_encoder):
    words = TfidfVectorizer().fit(colours[0]).get_feature_names_out()
    vectors = TextEncoder(tiny_encoder).fit_transform(words)
    model = fit_texts(colours, token_vectors=(vectors, words))
    mapping = dict(zip(words, vectors, strict=True))
    assert_same_ranking(model, fit_texts(colours, token_vectors=mapping), colours[0])
    others = fit_texts(colours, token_vectors=tiny_encoder)
    assert not np.array_equal(
        model.predict_topk(colours[0], 3)[1], others.predict_topk(colours[0], 3)[1]
    )


def word_vectors(dim=5):
    rng = np.random.default_rng(0)
    words = "red green blue fox dog cat tree house river stone bright dark".split()
    return {word: rng.normal(size=dim).astype("f4") for word in words}


def first_vectors(model):
    """Vectors of the features before any step, by their names."""
    names = model.vectorizer_.get_feature_names_out()
    table = model.network_.encoder.features.table.detach().numpy()
    return dict(zip(names, table[:-1], strict=True))


STILL = SHORT | dict(max_epochs=1, learning_rate=0.0, head_learning_rate=0.0)


@pytest.mark.parametrize("as_pair", [False, True])
def test_given_vectors_of_words_are_where_they_start(as_pair, colours):
    vectors = given = word_vectors()
    if as_pair:
        given = np.array([*vectors.values()]), list(vectors)
    model = fit_texts(colours, STILL, token_vectors=given, label_dim=None)
    found = first_vectors(model)
    lengths = [np.linalg.norm(vector) for vector in found.values()]
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-4)
    for term, vector in found.items():
        expected = np.mean([vectors[word] for word in term.split()], axis=0)
        expected = np.concatenate([expected, -expected])
        cosine = vector @ expected / np.linalg.norm(vector) / np.linalg.norm(expected)
        assert cosine == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("token_vectors", ["lsa", None, word_vectors()])
@pytest.mark.parametrize("label_dim", [2, 7, 30, None])
def test_width_and_size_of_first_vectors(token_vectors, label_dim, colours):
    params = dict(token_vectors=token_vectors, label_dim=label_dim)
    model = fit_texts(colours, STILL, **params)
    width = label_dim or (10 if isinstance(token_vectors, dict) else 300)
    table = model.network_.encoder.features.table.detach().numpy()[:-1]
    assert table.shape[1] == width
    docs = model.vectorizer_.transform(colours[0][:N_TRAIN]) @ table
    assert np.sqrt(np.mean(docs**2)) == pytest.approx(0.1, rel=1e-3)


def test_vocabulary_is_that_of_tfidf(colours):
    params = dict(ngram_range=(1, 2), min_df=3, max_features=20)
    model = fit_texts(colours, **params)
    vectorizer = TfidfVectorizer(
        sublinear_tf=True, token_pattern=r"\w+", dtype=np.float32, **params
    )
    vectorizer.fit(colours[0][:N_TRAIN])
    names = vectorizer.get_feature_names_out()
    np.testing.assert_array_equal(model.vectorizer_.get_feature_names_out(), names)
    texts = [f"{text} red red blue" for text in colours[0]]
    found, expected = (v.transform(texts) for v in (model.vectorizer_, vectorizer))
    np.testing.assert_array_equal(found.toarray(), expected.toarray())
    assert any(" " in name for name in names)


# Odd input


def test_min_df_beyond_all_words_is_1(colours):
    with pytest.warns(UserWarning, match="min_df=46, but no word is in 46 texts"):
        rare = fit_texts(colours, min_df=46)
    one = fit_texts(colours, min_df=1)
    assert_same_ranking(rare, one, colours[0])


@pytest.mark.parametrize("token_vectors", ["lsa", None])
def test_texts_without_words(token_vectors, colours):
    _, Y, _ = colours
    texts = ["?!", "", "--"] * 20
    model = LightDXMLClassifier(**SHORT | dict(token_vectors=token_vectors))
    model.fit(texts, Y)
    ids, scores = model.predict_topk([*texts[:3], "a fox"], 5)
    assert (ids >= 0).all() and ((scores > 0) & (scores < 1)).all()
    vectors = model.network_.encoder.features.table
    assert vectors.abs().max() < 1


def test_empty_texts_and_documents_without_labels(colours):
    texts, Y = list(colours[0]), colours[1].tolil()
    texts[3] = texts[7] = ""
    Y[5:9] = 0
    Y = Y.tocsr()
    model = LightDXMLClassifier(**QUICK).fit(texts, Y)
    assert model.n_docs_ == 60
    ids, scores = model.predict_topk(["", "red fox", "\ud800 zebra"], 4)
    assert (ids >= 0).all() and np.isfinite(scores).all()
    taught = LightDXMLClassifier(**QUICK).fit(texts, Y)
    assert_same_ranking(model, taught, texts)
    assert model.score(texts[9:], Y[9:]) > 0.8


@pytest.mark.parametrize("n_frequent", [0, 4])
def test_labels_without_documents_are_never_ranked(n_frequent, features, colours):
    Y = sp.hstack([sp.csr_array((60, 3)), colours[1]], format="csr")
    params = QUICK | dict(predict_shortlist=99, n_frequent=n_frequent)
    model = LightDXMLClassifier(**params, n_random_negatives=2).fit(features, Y)
    ids, scores = model.predict_topk(features, 15)
    assert (np.sort(ids[:, :12]) == np.arange(3, 15)).all()
    assert (ids[:, 12:] == -1).all() and (scores[:, 12:] == 0).all()


def test_ranking_ends_with_the_shortlist(features, colours):
    model = fit_features(features, colours, n_frequent=3, predict_shortlist=4)
    ids, scores = model.predict_topk(features, 10)
    assert (ids[:, :7] >= 0).all() and (ids[:, 7:] == -1).all()
    assert (scores[:, 7:] == 0).all()
    assert np.diff(model.predict_proba(features).indptr).tolist() == [7] * 60
    frequent = set(model.network_.frequent.tolist())
    assert all(frequent <= set(row) for row in ids.tolist())


@pytest.mark.parametrize("token_vectors", ["lsa", None])
def test_one_feature(token_vectors):
    X = np.tile([[0.0], [1.0]], (20, 1))
    Y = np.tile([[0, 1], [1, 0]], (20, 1))
    params = QUICK | dict(token_vectors=token_vectors, max_epochs=10)
    model = LightDXMLClassifier(**params).fit(X, Y)
    assert model.score(X, Y) == 1


def test_dense_labels_are_predicted_densely(features, colours):
    Y = colours[1].toarray()
    model = LightDXMLClassifier(**QUICK).fit(features[:N_TRAIN], Y[:N_TRAIN])
    assert_same_ranking(model, fit_features(features, colours, QUICK), features)
    proba = model.predict_proba(features)
    assert proba.shape == (60, 12) and ((proba > 0) & (proba < 1)).all()
    predicted = model.predict(features[N_TRAIN:])
    assert isinstance(predicted, np.ndarray)
    assert (predicted != Y[N_TRAIN:]).mean() < 0.25  # 1/3 are ones


@pytest.mark.parametrize("classes", [["no", "yes"], [7, -3, 5]])
@pytest.mark.parametrize("n_frequent", [0, 9])
def test_single_labels(classes, n_frequent, features, colours):
    which = [
        sum(word in text.split() for word in ("red", "cat")) for text in colours[0]
    ]
    y = np.array(classes)[np.minimum(which, len(classes) - 1)]
    params = QUICK | dict(n_frequent=n_frequent, beta=1.0, max_epochs=20)
    model = LightDXMLClassifier(**params).fit(features[:N_TRAIN], y[:N_TRAIN])
    assert model.classes_.tolist() == sorted(classes)
    predicted = model.predict(features)
    assert predicted.dtype == y.dtype
    assert (predicted == y).mean() > 0.8
    ids, scores = model.predict_topk(features, len(classes))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(model.classes_[ids[:, 0]], predicted)


# Training


@pytest.mark.parametrize(
    "params",
    [{}, dict(dropout=0.5, n_random_negatives=3, validation_fraction=0.2)],
)
def test_same_seed_same_bits(params, colours):
    def result(random_state, global_state):
        torch.manual_seed(global_state)
        model = fit_texts(colours, random_state=random_state, **params)
        return model.network_.state_dict(), model.history_

    one, two, other = result(3, 0), result(3, 1), result(4, 1)
    assert one[1] == two[1] != other[1]
    assert all(torch.equal(one[0][name], two[0][name]) for name in one[0])


@pytest.mark.parametrize("where", ["label encoder", "epoch", "last turn", "finish"])
@pytest.mark.parametrize("params", [{}, dict(beta="auto", validation_fraction=0.2)])
def test_interrupted_training_can_be_used(where, params, colours, monkeypatch):
    kind = LabelEncoderTraining if where in ("label encoder", "last turn") else None
    kind, name = kind or LightDXMLNetwork, "forward"
    # Of 6 or 8 batches an epoch, and one of the label encoder a turn.
    number = {"label encoder": 2, "last turn": 3, "epoch": 10}.get(where)
    if where == "finish":
        kind, name, number = LightDXMLNetwork, "search_index", None
    count, original = [], getattr(kind, name)

    def interrupted(self, *args, **options):
        count.append(1)
        # The index of the predictions is made when training has dropped its own.
        finishes = number is None and self.index is None and not options
        if len(count) == number or finishes:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return original(self, *args, **options)

    texts, Y, _ = colours
    options = dict(max_epochs=4, refresh_every=2, accumulate=4)
    model = LightDXMLClassifier(**SHORT | options | params)
    monkeypatch.setattr(kind, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(texts, Y)
    n_epochs = 4 if where in ("last turn", "finish") else 2 if where[0] == "l" else 1
    assert model.n_iter_ == len(model.history_) == n_epochs
    assert model.beta_ in np.arange(5) / 4
    network = model.network_
    assert network.ranker.touched == network.encoder.features.touched == []
    assert not any(module.training for module in network.modules())
    ids, scores = model.predict_topk(texts, 9)
    assert (ids >= 0).all() and np.isfinite(scores).all()
    assert_same_ranking(pickle.loads(pickle.dumps(model)), model, texts)
    assert model.score(texts, Y) > 0.5
    # Training anew is training from the start.
    assert_same_ranking(model.fit(texts, Y), clone(model).fit(texts, Y), texts)


def test_auto_learning_rate_is_by_the_weights_of_a_document(features, colours):
    X = sp.csr_matrix(features[:N_TRAIN] * 3, dtype=np.float32)
    X = sp.vstack([X, sp.csr_matrix((1, X.shape[1]))], format="csr")  # does not count
    Y = np.vstack([colours[1][:N_TRAIN].toarray(), np.ones(12)])
    auto, given = (
        LightDXMLClassifier(**SHORT | dict(learning_rate=rate)).fit(X, sp.csr_array(Y))
        for rate in ("auto", 0.012 / (float(X.sum(dtype=np.float64)) / N_TRAIN))
    )
    assert_same_ranking(auto, given, X)


@pytest.mark.parametrize("name", ["learning_rate", "head_learning_rate"])
def test_divergence_is_told(name, features, colours):
    with pytest.raises(ValueError, match="Training diverged.*Lower"):
        fit_features(features, colours, **{name: 1e38}, max_epochs=4)


def test_early_stopping(features, colours):
    params = QUICK | dict(max_epochs=40, n_iter_no_change=2, validation_fraction=0.2)
    model = LightDXMLClassifier(**params, early_stopping=True)
    model.fit(features, colours[1])
    scores = [epoch["score"] for epoch in model.history_]
    assert 3 <= model.n_iter_ < 40
    best = max(scores[:-2])
    assert max(scores[-2:]) <= best and model.n_iter_ == len(scores)


def test_the_best_epoch_is_kept(features, held_out):
    rng = np.random.default_rng(0)
    Y = sp.csr_array((rng.random((60, 12)) < 0.3).astype("f4"))
    # Without a last turn, what was judged is what is kept.
    params = QUICK | dict(
        validation_fraction=0.5, refresh_every=3, max_epochs=7, random_state=2
    )
    model = LightDXMLClassifier(**params).fit(features, Y)
    scores = [epoch["score"] for epoch in model.history_]
    k = round(Y.nnz / (Y.sum(axis=1) > 0).sum())
    (rows,) = held_out
    found = precision_at_k(Y[rows], model.predict_topk(features[rows], k)[0], k)
    assert len(scores) == 7 and scores[-1] < max(scores)
    assert found == pytest.approx(max(scores))


def test_predictions_search_the_last_label_vectors(features):
    # Of turns 1, 2 and 3 the best epoch came after 1: so the last is 2 again.
    rng = np.random.default_rng(0)
    Y = sp.csr_array((rng.random((60, 12)) < 0.3).astype("f4"))
    params = QUICK | dict(
        max_epochs=4, refresh_every=2, validation_fraction=0.5, random_state=8
    )
    model = LightDXMLClassifier(**params, label_learning_rate=0.1).fit(features, Y)
    scores = [epoch["score"] for epoch in model.history_]
    assert max(scores[2:]) < max(scores) and int(model.network_.n_turns) == 2
    expected = model.network_.label_vectors[4:]
    torch.testing.assert_close(model.network_.search_index().vectors, expected)


@pytest.mark.parametrize("swa_start", [None, 0.0])
def test_turns_of_the_kept_epoch(swa_start, features, colours):
    params = SHORT | dict(max_epochs=3, refresh_every=2, swa_start=swa_start)
    model = LightDXMLClassifier(**params).fit(features, colours[1])
    assert int(model.network_.n_turns) == 2
    assert np.isfinite(model.predict_topk(features, 9)[1]).all()


def test_accumulation_is_a_larger_batch(features, colours):
    params = QUICK | dict(precision="fp64", max_epochs=2)
    tables = []
    for batch_size, accumulate in [(8, 6), (48, 1), (8, 5)]:
        sizes = dict(batch_size=batch_size, accumulate=accumulate)
        model = LightDXMLClassifier(**params | sizes)
        model.fit(features[:48], colours[1][:48])
        tables.append(model.network_.frequent_ranker.weight.detach())
    # Nearly: the power iteration of the block moves with each batch.
    gap, other_gap = ((table - tables[1]).norm() for table in (tables[0], tables[2]))
    assert gap < 0.1 * other_gap and other_gap > 1e-3


def test_documents_in_any_order(features, colours):
    model = fit_features(features, colours, precision="auto")
    order = np.random.default_rng(0).permutation(60)
    ids, scores = model.predict_topk(features, 5)
    other_ids, others = model.predict_topk(features[order], 5)
    np.testing.assert_array_equal(other_ids, ids[order])
    np.testing.assert_allclose(others, scores[order], rtol=1e-6)


def test_same_bits_on_two_threads():
    # Sums that threads add up in any order differ in their last bits.
    data = make_xmc(1500, 200, kind="features", n_labels_per_doc=5, random_state=0)
    before, states = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for _ in range(2):
            model = LightDXMLClassifier(label_dim=128, max_epochs=1, random_state=0)
            states.append(model.fit(data.X, data.Y).network_.state_dict())
    finally:
        torch.set_num_threads(before)
    for name, weight in states[0].items():
        assert torch.equal(weight, states[1][name]), name
