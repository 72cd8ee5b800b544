"""GRankClassifier through its public interface."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import NotFittedError, UndefinedMetricWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skxmc import GRankClassifier
from skxmc.metrics import precision_at_k, propensity, psp_at_1_scorer, psp_at_k

# The encoder is trained, and nothing stands beside it.
ALL_LAYERS = dict(
    trained_layers="all",
    bag_of_words=False,
    n_negatives=None,
    label_learning_rate=None,
    neighbor_weight=0,
)
QUICK = ALL_LAYERS | dict(
    n_layers=1,
    max_length=16,
    max_epochs=15,
    batch_size=8,
    learning_rate=1e-2,
    head_learning_rate=1e-2,
    dropout=0.0,
    validation_fraction=0,
    precision="fp32",
    random_state=0,
)
SHORT = QUICK | dict(max_epochs=2)
CLUSTERS = dict(max_leaf_size=3, n_shortlist=2, predict_shortlist=2)
N_TRAIN = 45


def fit_colours(encoder, colours, params=QUICK, **more):
    texts, Y, _ = colours
    model = GRankClassifier(encoder, **params | more)
    return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])


def ranking(model, colours, k=12):
    return model.predict_topk(colours[0][N_TRAIN:], k)


# Learning


@pytest.mark.parametrize(
    "params, least",
    [
        ({}, 0.95),
        (dict(small_label_mode="dual"), 0.95),
        (dict(small_label_mode="dual", combine="product"), 0.95),
        (dict(small_label_mode="dual", combine="sum"), 0.95),
        (dict(swa_start=0.5), 0.95),
        (dict(label_init="random", label_dim=16, max_epochs=30), 0.7),
        (dict(max_leaf_size=3, n_shortlist=4), 0.9),
        (CLUSTERS, 0.6),
    ],
)
def test_learns_what_words_mean(params, least, tiny_encoder, colours):
    # Four labels of twelve are right: chance is 1/3.
    model = fit_colours(tiny_encoder, colours, **params)
    assert model.score(colours[0][N_TRAIN:], colours[1][N_TRAIN:]) >= least
    assert model.history_[-1]["loss"] < 0.6 * model.history_[0]["loss"]


def test_learns_nothing_from_shuffled_labels(tiny_encoder, colours):
    texts, Y, _ = colours
    rows = np.random.default_rng(0).permutation(N_TRAIN)
    model = GRankClassifier(tiny_encoder, **QUICK).fit(texts[:N_TRAIN], Y[rows])
    assert model.score(texts[N_TRAIN:], Y[N_TRAIN:]) < 0.7


@pytest.mark.parametrize("label_texts", [False, True])
def test_pipeline_from_tfidf_learns(label_texts, colours):
    texts, Y, words = colours
    params = QUICK | dict(label_dim=32, label_texts=words if label_texts else None)
    model = make_pipeline(TfidfVectorizer(), GRankClassifier(**params))
    model.fit(texts[:N_TRAIN], Y[:N_TRAIN])
    assert model[-1].n_features_in_ == 12
    assert model.score(texts[N_TRAIN:], Y[N_TRAIN:]) > 0.95


def test_labels_without_documents_are_found_by_their_texts(tiny_encoder, colours):
    texts, Y, words = colours
    unseen = ["seven", "eight near", "stone"]
    Y = sp.hstack([Y, sp.csr_array((60, 3))], format="csr")
    ranks = {}
    for label_init in ("texts", "random"):
        params = QUICK | dict(max_epochs=1, learning_rate=1e-4, head_learning_rate=1e-3)
        params |= dict(label_init=label_init, label_texts=words + unseen)
        model = GRankClassifier(tiny_encoder, **params)
        ids = model.fit(texts, Y).predict_topk(unseen, 15)[0]
        ranks[label_init] = (ids == np.array([[12], [13], [14]])).argmax(axis=1)
    # A random encoder tells words apart, but barely; training never saw these.
    assert (ranks["texts"] <= 2).all()
    assert (ranks["random"] > 2).all()


# Every parameter does something


@pytest.mark.parametrize(
    "params, changed",
    [
        ({}, dict(label_init="random")),
        (dict(label_init="random"), dict(label_texts=True)),
        (dict(label_texts=True), dict(label_init="texts")),
        (dict(label_texts=True), dict(label_init="documents")),
        (dict(label_texts=True), dict(label_init="both", label_texts=None)),
        ({}, dict(max_length=4)),
        ({}, dict(trained_layers=1)),
        ({}, dict(trained_layers=0)),
        ({}, dict(bag_of_words=True)),
        ({}, dict(reading="words")),
        (dict(bag_of_words=True), dict(ngram_range=(1, 1))),
        (dict(bag_of_words=True), dict(document_learning_rate=0.1)),
        ({}, dict(loss="bce")),
        ({}, dict(n_negatives=2)),
        (dict(n_negatives=2), dict(label_learning_rate=0.1)),
        (CLUSTERS, dict(label_learning_rate=0.1)),
        ({}, dict(neighbor_weight=4)),
        ({}, dict(n_layers=2)),
        ({}, dict(dropout=0.5)),
        ({}, dict(label_dim=4)),
        (dict(label_init="random"), dict(label_dim=4)),
        ({}, dict(max_leaf_size=3)),
        (dict(small_label_mode="dual", lambda_max=0.3), dict(lambda_max=0.9)),
        (dict(small_label_mode="dual"), dict(lambda_schedule="step")),
        (dict(small_label_mode="dual"), dict(combine="product")),
        (dict(small_label_mode="dual"), dict(combine="sum")),
        (dict(small_label_mode="dual", combine="sum"), dict(combine="product")),
        (CLUSTERS, dict(n_shortlist=1)),
        (CLUSTERS, dict(predict_shortlist=1)),
        (CLUSTERS, dict(combine="product")),
        (CLUSTERS, dict(combine="sum")),
        (CLUSTERS, dict(cluster_features="documents")),
        ({}, dict(max_epochs=3)),
        ({}, dict(batch_size=16)),
        ({}, dict(accumulate=2)),
        ({}, dict(learning_rate=1e-3)),
        ({}, dict(head_learning_rate=1e-3)),
        ({}, dict(weight_decay=10.0)),
        ({}, dict(warmup=1.0)),
        ({}, dict(clip_norm=1e-9)),
        ({}, dict(swa_start=0.0)),
        ({}, dict(validation_fraction=0.3)),
        ({}, dict(precision="fp64")),
        ({}, dict(precision="bf16")),
        ({}, dict(random_state=1)),
    ],
)
def test_parameter_changes_scores(params, changed, tiny_encoder, colours):
    def scores(params):
        if params.get("label_texts"):
            params = params | dict(label_texts=colours[2])
        if params.get("label_init") == "both" and not params["label_texts"]:
            with pytest.raises(ValueError, match="give label_texts"):
                fit_colours(tiny_encoder, colours, SHORT, **params)
            return None
        return ranking(fit_colours(tiny_encoder, colours, SHORT, **params), colours)[1]

    assert not np.array_equal(scores(params), scores(params | changed))


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(max_length=65), r"max_length=65 exceeds the 64 tokens.*lower it to 64"),
        (dict(n_layers=4), r"n_layers=4, but the encoder has 3"),
        (dict(n_layers=0), "n_layers must be an int, at least 1; got 0"),
        (dict(label_dim=1), "label_dim"),
        (dict(n_negatives=0), "n_negatives"),
        (dict(label_learning_rate=-1), "label_learning_rate"),
        (dict(document_learning_rate="fast"), "document_learning_rate"),
        (dict(max_leaf_size=0), "max_leaf_size"),
        (dict(max_leaf_size="large"), "max_leaf_size"),
        (dict(n_shortlist=0), "n_shortlist"),
        (dict(predict_shortlist=0), "predict_shortlist"),
        (dict(lambda_max=1.1), "lambda_max .* at most 1; got 1.1"),
        (dict(lambda_schedule="week"), "lambda_schedule must be one of .*'week'"),
        (dict(label_init="zeros"), "label_init"),
        (dict(label_init="texts"), "give label_texts"),
        (dict(cluster_features="labels"), "give label_texts"),
        (dict(cluster_features="colour"), "cluster_features"),
        (dict(cluster_features=np.eye(11)), r"\(11, 11\) and y 12 label"),
        (dict(cluster_features=None), r"cluster_features has shape \(\)"),
        (dict(cluster_features=np.full((12, 2), np.nan)), "cluster_features contains"),
        (dict(small_label_mode="triple"), "small_label_mode"),
        (dict(combine="max"), "combine"),
        (dict(loss="hinge"), "loss must be one of .*'hinge'"),
        (dict(accumulate=0), "accumulate"),
        (dict(clip_norm=0), "clip_norm must be a number, above 0"),
        (dict(swa_start=1), "swa_start"),
        (dict(validation_fraction=1), "validation_fraction .* below 1; got 1"),
        (dict(early_stopping=True), "validation_fraction above 0"),
        (dict(n_iter_no_change=0), "n_iter_no_change"),
        (dict(tol=-0.1), "tol"),
        (dict(label_texts=["red"]), "label_texts has 1 texts and y 12"),
        (dict(label_texts=dict.fromkeys("abcdefghijkl")), "label_texts.* got dict"),
        (dict(random_state="x"), "'x' cannot be used to seed"),
        (dict(precision="fp16"), "CUDA"),
    ],
)
def test_bad_parameter_is_refused(params, message, tiny_encoder, colours):
    texts, Y, _ = colours
    model = GRankClassifier(tiny_encoder, **QUICK | params)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(texts, Y)
    with pytest.raises(NotFittedError):
        model.predict(texts)


def test_features_refuse_what_needs_a_transformer(colours):
    for params in (dict(label_init="documents"), dict(cluster_features="documents")):
        with pytest.raises(ValueError, match="needs a transformer"):
            GRankClassifier(**params).fit(np.eye(60), colours[1])


def test_folder_without_model_is_refused(tmp_path, colours):
    with pytest.raises(OSError, match="no transformers model"):
        GRankClassifier(str(tmp_path)).fit(*colours[:2])


@pytest.mark.filterwarnings("ignore:overflow")
def test_divergence_is_reported(tiny_encoder, colours):
    with pytest.raises(ValueError, match="diverged.*Lower learning_rate"):
        fit_colours(tiny_encoder, colours, learning_rate=1e30, head_learning_rate=1e30)


# Label vectors


@pytest.mark.parametrize("kind", [tuple, np.array, pd.Series, pd.DataFrame])
@pytest.mark.parametrize("label_init", ["texts", "random"])
def test_label_texts_in_any_container(kind, label_init, tiny_encoder, colours):
    more = dict(label_init=label_init)
    words = colours[2]
    expected = fit_colours(tiny_encoder, colours, SHORT, label_texts=words, **more)
    got = fit_colours(tiny_encoder, colours, SHORT, label_texts=kind(words), **more)
    for one, other in zip(
        ranking(got, colours), ranking(expected, colours), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_dirty_label_texts(tiny_encoder, colours):
    label_texts = ["", " ", "\ud800", "\x00", "red " * 99, *colours[2][5:]]
    for label_init in ("both", "texts", "random"):
        params = dict(label_texts=label_texts, label_init=label_init)
        model = fit_colours(tiny_encoder, colours, SHORT, **params)
        assert np.isfinite(ranking(model, colours)[1]).all()


def test_label_dim_is_the_width_of_label_vectors(tiny_encoder, colours):
    for params, dim in [
        (dict(label_dim=4), 4),
        (dict(), 16),
        (dict(label_init="random", label_dim=6), 6),
        (dict(label_init="random"), 512),
        (dict(label_init="random", **CLUSTERS), 128),
    ]:
        model = fit_colours(tiny_encoder, colours, SHORT, **params)
        assert model.network_.ranker.dim == dim


# Clusters


def test_clusters_partition_the_labels(tiny_encoder, colours):
    model = fit_colours(tiny_encoder, colours, SHORT, **CLUSTERS)
    groups = model.label_groups_
    assert groups.shape == (12,)
    np.testing.assert_array_equal(np.bincount(groups), [3, 3, 3, 3])
    assert fit_colours(tiny_encoder, colours, SHORT).label_groups_.tolist() == [
        *range(12)
    ]


def test_predictions_lie_in_the_top_clusters(tiny_encoder, colours):
    params = dict(max_leaf_size=3, n_shortlist=1, predict_shortlist=1)
    model = fit_colours(tiny_encoder, colours, SHORT, **params)
    ids, scores = ranking(model, colours)
    assert (ids[:, :3] >= 0).all() and (ids[:, 3:] == -1).all()
    assert (scores[:, 3:] == 0).all()
    groups = model.label_groups_[ids[:, :3]]
    assert (groups == groups[:, :1]).all()
    assert len(np.unique(groups)) > 1
    assert np.diff(model.predict_proba(colours[0]).indptr).tolist() == [3] * 60


def test_all_clusters_on_the_shortlist_rank_all_labels(tiny_encoder, colours):
    model = fit_colours(tiny_encoder, colours, SHORT, max_leaf_size=3, n_shortlist=99)
    ids, scores = ranking(model, colours)
    assert (np.sort(ids) == np.arange(12)).all()
    # The same network without clusters ranks every label.
    model.network_.clusters = None
    again, all_scores = ranking(model, colours)
    np.testing.assert_array_equal(ids, again)
    np.testing.assert_allclose(scores, all_scores, rtol=1e-4)


def test_dense_predictions_rank_what_no_cluster_offered_last(tiny_encoder, colours):
    texts, Y, _ = colours
    model = GRankClassifier(
        tiny_encoder,
        **SHORT | dict(max_leaf_size=3, n_shortlist=1, predict_shortlist=1),
    )
    model.fit(texts, Y.toarray())
    proba, (ids, _) = model.predict_proba(texts), model.predict_topk(texts, 3)
    order = np.argsort(-proba, axis=1, kind="stable")
    np.testing.assert_array_equal(order[:, :3], ids)
    assert ((proba > 0) & (proba < 1)).all()


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array, sp.csr_matrix, list])
def test_clusters_follow_given_features(container, tiny_encoder, colours):
    features = np.repeat(np.eye(4), 3, axis=0)[[*range(0, 12, 2), *range(1, 12, 2)]]
    params = CLUSTERS | dict(cluster_features=container(features))
    groups = fit_colours(tiny_encoder, colours, SHORT, **params).label_groups_
    same = groups[:, None] == groups
    np.testing.assert_array_equal(same, features @ features.T > 0)


@pytest.mark.parametrize("features", ["tfidf", "documents", "labels"])
def test_clusters_from_each_kind_of_features(features, tiny_encoder, colours):
    params = CLUSTERS | dict(cluster_features=features, label_texts=colours[2])
    model = fit_colours(tiny_encoder, colours, SHORT, **params)
    assert np.bincount(model.label_groups_).tolist() == [3, 3, 3, 3]


def test_clusters_of_labels_without_documents(tiny_encoder, colours):
    texts, Y, _ = colours
    Y = sp.hstack([Y, sp.csr_array((60, 5))], format="csr")
    model = GRankClassifier(tiny_encoder, **SHORT | CLUSTERS).fit(texts, Y)
    assert np.bincount(model.label_groups_).max() <= 3
    assert model.label_counts_.tolist() == [*np.diff(Y.tocsc().indptr)]


def test_clusters_from_words_of_one_character(tiny_encoder, colours):
    model = GRankClassifier(tiny_encoder, **SHORT | CLUSTERS)
    model.fit(["a", "b c", "d"] * 20, colours[1])
    assert np.bincount(model.label_groups_).max() == 3


def test_clusters_of_feature_matrices(colours):
    params = SHORT | CLUSTERS | dict(label_dim=8)
    X = TfidfVectorizer().fit_transform(colours[0])
    model = GRankClassifier(**params).fit(X, colours[1])
    assert np.bincount(model.label_groups_).tolist() == [3, 3, 3, 3]


# Training


@pytest.fixture
def trained_rows(monkeypatch):
    """Row numbers that the training loop was given, one array a fit."""
    seen = []
    train = GRankClassifier._train

    def spy(self, examples, *args):
        seen.append(examples.rows)
        return train(self, examples, *args)

    monkeypatch.setattr(GRankClassifier, "_train", spy)
    return seen


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_every_label_keeps_a_document(fraction, tiny_encoder, colours, trained_rows):
    texts, Y, _ = colours
    rare = sp.csr_array((np.ones(3), ([5, 6, 7], [0, 1, 1])), (60, 2))
    Y = sp.hstack([Y, rare], format="csr")
    params = SHORT | dict(validation_fraction=fraction)
    GRankClassifier(tiny_encoder, **params).fit(texts, Y)
    (rows,) = trained_rows
    assert (Y[rows].sum(axis=0) > 0).all()
    assert len(rows) < 60 and 5 in rows


def test_documents_without_labels_are_left_out(tiny_encoder, colours, trained_rows):
    texts, Y, _ = colours
    dense = Y.toarray()
    dense[10:20] = 0
    GRankClassifier(tiny_encoder, **SHORT).fit(texts, dense)
    np.testing.assert_array_equal(*trained_rows, [*range(10), *range(20, 60)])


def test_keeps_the_best_epoch(tiny_encoder, colours, trained_rows):
    texts, Y, _ = colours
    Y = Y[:, :8]
    params = dict(learning_rate=0.1, max_epochs=10, warmup=0.5)  # too fast
    params = QUICK | params | dict(validation_fraction=0.4)
    model = GRankClassifier(tiny_encoder, **params).fit(texts, Y)
    (rows,) = trained_rows
    held = np.setdiff1d(np.flatnonzero(Y.sum(axis=1)), rows)
    scores = [epoch["score"] for epoch in model.history_]
    held_texts = [texts[i] for i in held]
    k = round(Y.nnz / np.count_nonzero(Y.sum(axis=1)))  # labels a document
    best = precision_at_k(Y[held], model.predict_topk(held_texts)[0], k)
    assert best == pytest.approx(max(scores))
    assert scores[-1] < max(scores)  # else this test could not fail
    assert [epoch["epoch"] for epoch in model.history_] == [*range(1, 11)]
    assert model.n_iter_ == 10


@pytest.mark.parametrize("patience", [1, 3])
def test_early_stopping_counts_epochs(patience, tiny_encoder, colours):
    params = dict(validation_fraction=0.3, early_stopping=True, tol=1.0)
    more = dict(n_iter_no_change=patience)
    model = fit_colours(tiny_encoder, colours, **params, **more)
    assert model.n_iter_ == len(model.history_) == 1 + patience


def test_without_hold_out_there_is_no_score(tiny_encoder, colours):
    model = fit_colours(tiny_encoder, colours, SHORT)
    assert [set(epoch) for epoch in model.history_] == [{"epoch", "loss"}] * 2


@pytest.mark.parametrize("accumulate, n_steps", [(1, 6), (4, 2), (99, 1)])
def test_accumulate_divides_the_steps(
    accumulate, n_steps, tiny_encoder, colours, monkeypatch
):
    steps, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *a: steps.append(1) or step(self, *a)
    )
    params = SHORT | dict(max_epochs=1, accumulate=accumulate)
    fit_colours(tiny_encoder, colours, params)
    assert len(steps) == n_steps  # 45 documents are 6 batches of 8


def test_tiny_clip_norm_stops_learning(tiny_encoder, colours):
    params = SHORT | dict(weight_decay=0)
    clipped = fit_colours(tiny_encoder, colours, params, clip_norm=1e-30)
    still = dict(learning_rate=0, head_learning_rate=0)
    untrained = fit_colours(tiny_encoder, colours, params, **still)
    np.testing.assert_allclose(
        ranking(clipped, colours)[1], ranking(untrained, colours)[1], rtol=1e-5
    )


def test_memory_is_checked_before_training(tiny_encoder, colours, monkeypatch):
    monkeypatch.setattr("skxmc.nn.devices._free_memory", lambda device: 1000)
    model = GRankClassifier(tiny_encoder, **QUICK)
    with pytest.raises(MemoryError, match="GiB.*Lower batch_size"):
        model.fit(*colours[:2])
    with pytest.raises(NotFittedError):
        model.predict(colours[0])


def test_interrupted_before_training_it_is_as_before(
    tiny_encoder, colours, monkeypatch
):
    def interrupt(*args):
        raise KeyboardInterrupt

    texts, Y, _ = colours
    model = fit_colours(tiny_encoder, colours, SHORT)
    expected = model.predict_proba(texts)
    fresh = GRankClassifier(tiny_encoder, **SHORT)
    with monkeypatch.context() as patch:
        patch.setattr("skxmc._pretrained.tokenize", interrupt)
        for each in (model, fresh):
            with pytest.raises(KeyboardInterrupt):
                each.fit(texts, Y[:, :5])
    assert (model.predict_proba(texts) != expected).nnz == 0
    with pytest.raises(NotFittedError):
        fresh.predict(texts)


def test_verbose_writes_to_stderr(tiny_encoder, colours, capfd):
    fit_colours(tiny_encoder, colours, SHORT).predict(colours[0])
    assert capfd.readouterr() == ("", "")
    model = fit_colours(tiny_encoder, colours, SHORT, verbose=1)
    out, err = capfd.readouterr()
    assert "12/12" in err and out == ""  # 2 epochs of 6 batches
    model.predict(colours[0])
    assert capfd.readouterr() == ("", "")
    model.set_params(verbose=2).predict(colours[0])
    assert "8/8" in capfd.readouterr().err


# Predictions


def test_top_k_limits_a_row(tiny_encoder, colours):
    model = fit_colours(tiny_encoder, colours, SHORT, top_k=5)
    proba = model.predict_proba(colours[0])
    assert np.diff(proba.indptr).tolist() == [5] * 60
    best = np.sort(model.predict_topk(colours[0], 5)[0])
    np.testing.assert_array_equal(proba.indices.reshape(60, 5), best)


@pytest.mark.parametrize("params", [{}, CLUSTERS])
def test_calibration_keeps_the_order(params, tiny_encoder, colours):
    model = fit_colours(tiny_encoder, colours, validation_fraction=0.3, **params)
    assert model.calibration_[0] > 0
    proba = model.predict_proba(colours[0]).toarray()
    ids = model.predict_topk(colours[0], 4)[0]
    order = np.argsort(-proba, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(order, ids)


def test_probabilities_are_calibrated(tiny_encoder, colours):
    # Four labels of twelve are right, and the network is sure of them.
    texts, Y, _ = colours
    model = fit_colours(tiny_encoder, colours, validation_fraction=0.2)
    predicted = model.predict(texts[N_TRAIN:])
    assert (predicted != Y[N_TRAIN:]).sum() < 0.1 * 15 * 12
    proba = model.predict_proba(texts[N_TRAIN:]).toarray()
    assert proba.mean() == pytest.approx(4 / 12, abs=0.1)


def test_labels_that_are_always_right_are_predicted(tiny_encoder, colours):
    texts = colours[0]
    model = GRankClassifier(tiny_encoder, **SHORT).fit(texts, np.ones((60, 3)))
    assert model.predict(texts).all()


def test_dense_predictions_are_limited(tiny_encoder, colours, monkeypatch):
    texts, Y, _ = colours
    model = GRankClassifier(tiny_encoder, **SHORT).fit(texts, Y.toarray())
    monkeypatch.setattr("skxmc._ranking_classifier._DENSE_LIMIT", 100)
    for predict in (model.predict, model.predict_proba, model.decision_function):
        assert predict(texts[:8]).shape == (8, 12)
        with pytest.raises(ValueError, match="9 documents for 12.*predict_topk"):
            predict(texts[:9])
    assert model.predict_topk(texts)[0].shape == (60, 5)


@pytest.mark.parametrize("classes", [["no", "yes"], [7, -3], ["c", "a", "b"]])
def test_single_labels(classes, tiny_encoder, colours):
    texts = colours[0]
    which = [sum(word in text.split() for word in ("red", "cat")) for text in texts]
    which = np.minimum(which, len(classes) - 1)
    y = np.array(classes)[which]
    model = GRankClassifier(tiny_encoder, **QUICK).fit(texts[:N_TRAIN], y[:N_TRAIN])
    assert model.classes_.tolist() == sorted(classes)
    predicted = model.predict(texts[N_TRAIN:])
    assert predicted.dtype == y.dtype
    accuracy = (predicted == y[N_TRAIN:]).mean()
    assert accuracy > 0.7
    assert (
        model.score(texts[N_TRAIN:], y[N_TRAIN:]) == (predicted == y[N_TRAIN:]).mean()
    )
    # The GRank loss of one positive is cross-entropy: the scores are a softmax.
    ids, scores = model.predict_topk(texts, len(classes))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    proba = np.take_along_axis(model.predict_proba(texts), ids, axis=1)
    np.testing.assert_allclose(scores, proba, rtol=1e-4)
    np.testing.assert_array_equal(model.classes_[ids[:, 0]], model.predict(texts))
    if len(classes) == 2:
        positive = (model.decision_function(texts) > 0).astype(int)
        np.testing.assert_array_equal(model.classes_[positive], model.predict(texts))


def test_a_class_unseen_in_fit_is_a_miss(tiny_encoder, colours):
    texts = colours[0]
    model = GRankClassifier(tiny_encoder, **SHORT).fit(texts, ["a", "b"] * 30)
    with pytest.warns(UndefinedMetricWarning):
        assert model.score(texts, ["z"] * 60) == 0
    half = model.predict(texts).astype(object)
    half[:30] = "z"
    assert model.score(texts, half.astype(str)) == 0.5


# scikit-learn's tools, and other processes


def test_grid_search_in_two_processes(tiny_encoder, colours):
    texts, Y, _ = colours
    grid = {"max_epochs": [1, 12]}
    model = GRankClassifier(tiny_encoder, **QUICK)
    options = dict(cv=2, scoring=psp_at_1_scorer, error_score="raise")
    search = GridSearchCV(model, grid, n_jobs=2, **options).fit(texts, Y)
    assert search.best_params_ == {"max_epochs": 12}
    best = search.best_estimator_
    assert best.n_docs_ == 60
    np.testing.assert_array_equal(best.label_counts_, Y.sum(axis=0))
    # The scorer's propensities are those of the training labels.
    truth, ids = Y[:20], best.predict_topk(texts[:20], 1)[0]
    expected = psp_at_k(truth, ids, 1, propensity=propensity(Y))
    assert search.score(texts[:20], truth) == pytest.approx(expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pickle_moves_from_gpu_to_cpu(tiny_encoder, colours):
    model = fit_colours(tiny_encoder, colours, device="cuda")
    ids, scores = ranking(model, colours, 4)
    state = pickle.dumps(model)
    assert next(model.network_.parameters()).is_cuda
    again = pickle.loads(state)
    assert not next(again.network_.parameters()).is_cuda
    other_ids, other = ranking(again.set_params(device="cpu"), colours, 4)
    np.testing.assert_array_equal(np.sort(ids), np.sort(other_ids))
    np.testing.assert_allclose(scores, other, atol=1e-3)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_best_epoch_of_few_classes(tiny_encoder, n_classes):
    # P@5 of so few labels is the same at every epoch; P@1 is not.
    rng = np.random.default_rng(0)
    words = np.array(["red", "dog", "house"])
    y = rng.integers(n_classes, size=60)
    model = GRankClassifier(
        tiny_encoder,
        n_layers=2,
        max_length=8,
        max_epochs=12,
        batch_size=8,
        learning_rate=3e-3,
        validation_fraction=0.2,
        random_state=0,
    )
    model.fit(words[y].tolist(), y)
    scores = [epoch["score"] for epoch in model.history_]
    assert max(scores) == 1 and model.score(words[y].tolist(), y) == 1


def test_nothing_to_hold_out_is_said(tiny_encoder):
    texts, Y = ["red", "green", "blue"], sp.eye_array(3, format="csr")
    model = GRankClassifier(tiny_encoder, n_layers=1, max_length=8, max_epochs=1)
    with pytest.warns(UserWarning, match="holds out none of the 3 documents"):
        model.fit(texts, Y)
    with pytest.raises(ValueError, match="early_stopping=False, or give more data"):
        model.set_params(early_stopping=True).fit(texts, Y)


def test_label_dim_beyond_the_hidden_size(tiny_encoder, colours):
    texts, Y, _ = colours
    model = GRankClassifier(tiny_encoder, n_layers=1, max_length=8, label_dim=32)
    with pytest.raises(ValueError, match="label_dim=32 exceeds .* hidden size, 16"):
        model.fit(texts, Y)


def test_blank_label_texts_say_nothing(tiny_encoder, colours):
    # Labels without text or document start apart, not all at the same vector.
    texts, Y, names = colours
    Y = sp.csr_array(sp.hstack([Y, sp.csr_array((60, 2))]))
    model = GRankClassifier(
        tiny_encoder,
        label_texts=[*names, "", " "],
        n_layers=1,
        max_length=8,
        max_epochs=1,
        head_learning_rate=0.0,
        label_learning_rate=None,
        learning_rate=0.0,
        random_state=0,
    )
    vectors = model.fit(texts, Y).network_.ranker.identity[:14].detach()
    assert vectors[12] @ vectors[13] < 0.9
    assert torch.allclose(vectors.norm(dim=1), torch.ones(14), atol=1e-5)


@pytest.mark.parametrize("max_leaf_size", [1, 2])
def test_words_that_tell_labels_apart_count_behind_many_common_ones(max_leaf_size):
    # More common words than any cap would leave, and repeats as they stand.
    common = " ".join(f"of{i}" for i in range(60))
    texts = [f"{common} {own}" for own in ("zebra", "yak", "wolf", "wolf wolf", "wolf")]
    Y = sp.csr_array(np.eye(5, dtype=int)[np.arange(10) % 5])
    model = GRankClassifier(
        label_texts=texts,
        label_init="random",
        label_dim=64,
        max_leaf_size=max_leaf_size,
        max_epochs=1,
        validation_fraction=0,
        random_state=0,
    )
    ranker = model.fit(Y, Y).network_.ranker
    # A document without an identity part is scored by the labels' words alone.
    docs = torch.zeros(1, ranker.dim)
    docs[0, ranker.identity_dim :] = torch.randn(ranker.dim - ranker.identity_dim)
    ids = torch.arange(5)[None] if max_leaf_size > 1 else None
    with torch.no_grad():
        scores = ranker.double()(docs.double(), ids)[0]
        vectors = {
            word: vector @ docs[0, ranker.identity_dim :].double()
            for word, vector in zip(
                sorted({word for text in texts for word in text.split()}),
                ranker.word_vectors,
                strict=True,
            )
        }
    for score, text in zip(scores, texts, strict=True):
        words = text.split()
        expected = sum(vectors[word] for word in words) / len(words)
        torch.testing.assert_close(score, expected, rtol=1e-6, atol=1e-6)
    assert scores[2] == scores[4] and len(scores.unique()) == 4
