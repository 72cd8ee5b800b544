"""Weights of documents in a fit: 0 leaves out, whole numbers repeat."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skxmc
from skxmc import (
    EnsembleClassifier,
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc._fingerprint import fit_fingerprint
from skxmc._testing import N_DOCS, N_LABELS, make_data, predict_all, text_features
from skxmc._token_vectors import fit_words, latent_vectors
from skxmc.metrics import precision_at_1_scorer, precision_at_k, psp_at_1_scorer
from skxmc.nn.labels import label_centroids, label_means, weigh_rows

TINY = dict(max_epochs=2, batch_size=8, label_dim=8, precision="fp32", random_state=0)
READS = dict(n_layers=1, max_length=16)
CLUSTERS = dict(max_leaf_size=2, n_shortlist=2, predict_shortlist=2)
# With these, the order and the number of documents change nothing but sums.
FULL = dict(
    batch_size=128,
    max_epochs=4,
    label_dim=8,
    dropout=0,
    validation_fraction=0,
    precision="fp64",
    random_state=0,
)
WORDS = ["one", "two", "three", "four", "five", "six"]
TREADER = dict(word_dim=8, n_heads=2, n_neighbors=3, min_df=1)
SYSTEMS = [
    (GRankClassifier, READS | CLUSTERS),
    (GRankClassifier, READS | dict(neighbor_weight=1, validation_fraction=0.2)),
    (LightXMLClassifier, READS | CLUSTERS | dict(negatives="static")),
    (LightDXMLClassifier, dict(n_frequent=2, label_epochs=1, refresh_every=1)),
    (GUDNClassifier, READS | dict(label_texts=list("abcdef"))),
    (TReaderXMLClassifier, TREADER | dict(label_parents="clusters")),
]


def make(kind, parameters, tiny_encoder):
    if "n_layers" in parameters:
        parameters = parameters | dict(encoder=tiny_encoder)
    return kind(**TINY | parameters)


def zeros_and_ones():
    weights = np.ones(N_DOCS)
    weights[[0, 3, 4, 11, 23]] = 0
    return weights


def whole_weights():
    return np.random.default_rng(0).integers(1, 4, N_DOCS).astype(float)


@pytest.mark.parametrize("kind, parameters", SYSTEMS)
@pytest.mark.filterwarnings("ignore:validation_fraction")
def test_weight_zero_leaves_a_document_out(kind, parameters, tiny_encoder):
    texts, Y = make_data()
    weights = zeros_and_ones()
    weights[5:9] = 2.5
    kept = np.flatnonzero(weights)
    model = make(kind, parameters, tiny_encoder)
    model.fit(texts, Y, sample_weight=weights)
    other = make(kind, parameters, tiny_encoder)
    other.fit([texts[i] for i in kept], Y[kept], weights[kept])
    for found, expected in zip(
        predict_all(model, texts), predict_all(other, texts), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert model.n_docs_ == N_DOCS and other.n_docs_ == len(kept)
    np.testing.assert_array_equal(model.label_counts_, other.label_counts_)
    assert "_weighing" not in vars(model)


def test_only_zeros_and_ones_are_as_a_fit_without_weights(tiny_encoder):
    texts, Y = make_data()
    kept = np.flatnonzero(zeros_and_ones())
    model = make(GRankClassifier, READS, tiny_encoder)
    expected = predict_all(model.fit([texts[i] for i in kept], Y[kept]), texts)
    for found, wanted in zip(
        predict_all(model.fit(texts, Y, zeros_and_ones()), texts),
        expected,
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)
    assert model.label_counts_.dtype == np.int64
    assert model.total_weight_ == len(kept)


def test_weights_of_one_are_no_weights(tiny_encoder):
    texts, Y = make_data()
    model = make(LightDXMLClassifier, {}, tiny_encoder)
    expected = predict_all(model.fit(texts, Y), texts)
    found = predict_all(model.fit(texts, Y, [1] * N_DOCS), texts)
    np.testing.assert_array_equal(found[0], expected[0])
    assert not hasattr(model, "total_weight_")


FEATURES = [
    (GRankClassifier, {}),
    (GRankClassifier, dict(loss="bce", n_negatives=None)),
    (GRankClassifier, dict(head="all", n_negatives=None)),
    (GRankClassifier, dict(head="all", n_negatives=None, loss="bce")),
    (GRankClassifier, dict(small_label_mode="dual", loss="bce")),
    (GRankClassifier, dict(neighbor_weight=2, n_voters=5)),
    (LightXMLClassifier, {}),
    (LightXMLClassifier, dict(head="all", loss_reduction="sum")),
    (LightDXMLClassifier, dict(token_vectors=None, n_frequent=3, beta=0.5)),
    (
        LightDXMLClassifier,
        dict(token_vectors=None, n_frequent=0, label_epochs=2, label_batch_size=999),
    ),
    (GUDNClassifier, dict(label_branch="multi-hot")),
    (GUDNClassifier, dict(label_branch="multi-hot", feature_reduction="sum")),
    # Its inputs are standardised in float32.
    (TReaderXMLClassifier, TREADER | dict(token_vectors=None, label_init="random")),
]


@pytest.mark.parametrize("kind, parameters", FEATURES)
def test_whole_weights_repeat_documents(kind, parameters):
    texts, Y = make_data()
    X = text_features(texts) + np.random.default_rng(1).random((N_DOCS, 8)) / 8
    weights = whole_weights()
    rows = np.repeat(np.arange(N_DOCS), weights.astype(int))
    repeated = kind(**FULL | parameters).fit(X[rows], Y[rows])
    model = kind(**FULL | parameters).fit(X, Y, weights)
    alone = kind(**FULL | parameters).fit(X, Y)
    tolerance = 1e-4 if kind is TReaderXMLClassifier else 1e-6
    found, expected, without = (
        m.predict_proba(X).toarray() for m in (model, repeated, alone)
    )
    np.testing.assert_allclose(found, expected, rtol=tolerance)
    assert abs(without - expected).max() > 10 * tolerance
    np.testing.assert_allclose(model.calibration_, repeated.calibration_, tolerance)
    np.testing.assert_array_equal(model.label_counts_, repeated.label_counts_)
    assert model.total_weight_ == repeated.n_docs_
    for scorer in (precision_at_1_scorer, psp_at_1_scorer):
        assert scorer(model, X, Y, weights) == pytest.approx(
            scorer(repeated, X[rows], Y[rows])
        )
    assert model.score(X, Y, weights) == repeated.score(X[rows], Y[rows])


def test_whole_weights_repeat_texts():
    texts, _ = make_data()
    texts = [f"{text} only{i % 12}" for i, text in enumerate(texts)]
    weights = whole_weights()
    rows = np.repeat(np.arange(N_DOCS), weights.astype(int))
    repeated = [texts[i] for i in rows]
    for options in (
        dict(min_df=2, max_features=9),
        dict(min_df=5, max_features=None),
        dict(min_df=None, max_features=None, ngram_range=(1, 2)),
        dict(min_df=99, max_features=None),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found, X = fit_words(texts, weights=weights, **options)
            expected, X_repeated = fit_words(repeated, **options)
        assert found.vocabulary_ == expected.vocabulary_
        np.testing.assert_allclose(found.idf_, expected.idf_, rtol=1e-6)
        np.testing.assert_allclose(X[rows].toarray(), X_repeated.toarray(), rtol=1e-5)
    assert X.dtype == np.float32


@pytest.mark.parametrize(
    "kind, parameters",
    [
        (GRankClassifier, dict(neighbor_weight=1, label_texts=WORDS)),
        (LightXMLClassifier, dict(trained_layers=1, bag_of_words=True)),
        (GUDNClassifier, dict(label_texts=WORDS, label_reinforcement="repeat")),
    ],
)
def test_whole_weights_repeat_texts_that_a_transformer_reads(
    kind, parameters, tiny_encoder
):
    texts, Y = make_data()
    weights = whole_weights()
    rows = np.repeat(np.arange(N_DOCS), weights.astype(int))
    options = FULL | dict(label_dim=None, encoder_dropout=0) | READS | parameters
    model = kind(tiny_encoder, **options).fit(texts, Y, weights)
    repeated = kind(tiny_encoder, **options).fit([texts[i] for i in rows], Y[rows])
    alone = kind(tiny_encoder, **options).fit(texts, Y)
    found, expected, without = (
        m.predict_proba(texts).toarray() for m in (model, repeated, alone)
    )
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    assert abs(without - expected).max() > 0.02


def test_texts_of_small_weights_still_have_words():
    texts, _ = make_data()
    found, _ = fit_words(texts, min_df=2, max_features=None, weights=np.full(24, 0.01))
    expected, _ = fit_words(texts, min_df=2, max_features=None)
    assert found.vocabulary_ == expected.vocabulary_


@pytest.mark.parametrize("dense", [False, True])
def test_whole_weights_repeat_documents_of_labels(dense):
    rng = np.random.default_rng(0)
    features = sp.random_array((N_DOCS, 9), density=0.5, rng=rng, format="csr")
    features = features.toarray() if dense else features
    _, Y = make_data()
    weights = whole_weights()
    rows = np.repeat(np.arange(N_DOCS), weights.astype(int))
    found = label_centroids(features, weigh_rows(Y, weights))
    expected = label_centroids(features[rows], Y[rows])
    for part in (found, expected):
        assert part.shape == (N_LABELS, 9)
    np.testing.assert_allclose(
        *(x if dense else x.toarray() for x in (found, expected)), rtol=1e-5, atol=1e-7
    )
    if dense:
        np.testing.assert_allclose(
            label_means(features, Y, weights), label_means(features[rows], Y[rows])
        )


def test_weighted_directions_are_those_of_repeated_documents():
    X = sp.random_array((40, 12), density=0.5, rng=np.random.default_rng(0))
    X = X.tocsr().astype(np.float32)
    weights = np.random.default_rng(1).integers(1, 4, 40)
    rows = np.repeat(np.arange(40), weights)
    found, expected = latent_vectors(X, 4, weights), latent_vectors(X[rows], 4)
    products = (found.T @ expected).abs()  # directions may point either way
    np.testing.assert_allclose(products, np.eye(4), atol=1e-2)


def test_weights_count_among_the_voters():
    # Of three copies and two others, three copies fill all places.
    X = np.eye(6)[[0, 0, 0, 1, 2, 3, 4, 5]] + 0.1
    Y = sp.csr_array(np.eye(6)[[0, 0, 0, 1, 2, 3, 4, 5]])
    options = FULL | dict(neighbor_weight=3, n_voters=3)
    repeated = GRankClassifier(**options).fit(X, Y)
    model = GRankClassifier(**options).fit(X[2:], Y[2:], [3, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(
        model.predict_proba(X).toarray(), repeated.predict_proba(X).toarray(), 1e-6
    )
    _, rows = model.kneighbors(X[:1], n_neighbors=4)
    assert rows[0, 0] == 0 and len(set(rows[0])) == 4


def test_rows_of_neighbors_are_those_of_the_user(tiny_encoder):
    texts, Y = make_data()
    weights = zeros_and_ones()
    model = make(
        GRankClassifier,
        READS | dict(neighbor_weight=1, validation_fraction=0, label_texts=WORDS),
        tiny_encoder,
    ).fit(texts, Y, weights)
    _, rows = model.kneighbors(texts, n_neighbors=model.network_.neighbors.rows.numel())
    expected = [*np.flatnonzero(weights), *(N_DOCS + np.arange(N_LABELS))]
    assert sorted(set(rows[0])) == expected
    distances, rows = model.kneighbors(texts, n_neighbors=len(expected))
    for i in np.flatnonzero(weights):  # a document is as near to itself as can be
        assert distances[i, rows[i] == i] <= distances[i].min() + 1e-3


BAD = [
    ([1.0] * (N_DOCS - 1), r"shape \(23,\) and .* 24"),
    (np.ones((N_DOCS, 2)), r"shape \(24, 2\)"),
    ([1.0] * (N_DOCS - 1) + [-1], r"sample_weight\[23\] is -1"),
    ([1.0, float("nan")] + [1.0] * (N_DOCS - 2), r"sample_weight\[1\] is nan"),
    ([float("inf")] + [1.0] * (N_DOCS - 1), r"sample_weight\[0\] is inf"),
    ([0.0] * N_DOCS, "zero for all documents"),
    (["a"] * N_DOCS, "a number for each document"),
    (np.full(N_DOCS, 2j), "a number for each document"),
]


@pytest.mark.parametrize("weights, message", BAD)
def test_wrong_weights_are_refused_before_training(weights, message, monkeypatch):
    texts, Y = make_data()
    model = LightDXMLClassifier(**TINY)
    monkeypatch.setattr(model, "_build", lambda *rest: pytest.fail("training began"))
    with pytest.raises(ValueError, match=message):
        model.fit(texts, Y, weights)
    with pytest.raises(ValueError, match=message):
        precision_at_k(Y, np.zeros((N_DOCS, 1), int), 1, sample_weight=weights)
    with pytest.raises(ValueError, match=message):
        EnsembleClassifier([("a", model)]).fit(texts, Y, weights)


def test_documents_that_are_left_must_have_labels():
    texts, Y = make_data()
    Y = Y.tolil()
    Y[:4] = 0
    weights = np.zeros(N_DOCS)
    weights[:4] = 1
    with pytest.raises(ValueError, match="no label"):
        LightDXMLClassifier(**TINY).fit(texts, Y.tocsr(), weights)
    y = np.arange(N_DOCS) % 2
    with pytest.raises(ValueError, match="one class only"):
        LightDXMLClassifier(**TINY).fit(texts, y, y)


def test_classes_of_documents_that_are_left_out_are_dropped():
    texts, _ = make_data()
    y = np.array(["a", "b", "c"])[np.arange(N_DOCS) % 3]
    model = LightDXMLClassifier(**TINY).fit(texts, y, 2.0 * (y != "b"))
    assert model.classes_.tolist() == ["a", "c"]
    assert model.label_counts_.tolist() == [16, 16]
    assert set(model.predict(texts)) <= {"a", "c"}


def test_checkpoints_know_the_weights():
    texts, Y = make_data()
    model = LightDXMLClassifier(**TINY)
    weights = whole_weights()
    names = {
        fit_fingerprint(model, texts, Y, 1, w)
        for w in (None, weights, weights + 1, weights)
    }
    assert len(names) == 3


def test_a_fit_with_weights_is_saved(tmp_path, tiny_encoder):
    texts, Y = make_data()
    model = make(
        GRankClassifier, READS | dict(neighbor_weight=1, max_epochs=1), tiny_encoder
    ).fit(texts, Y, whole_weights() / 3)
    model.save_pretrained(tmp_path / "model")
    again = skxmc.load(tmp_path / "model")
    for found, expected in zip(
        predict_all(again, texts), predict_all(model, texts), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    assert again.total_weight_ == model.total_weight_
    np.testing.assert_array_equal(again.label_counts_, model.label_counts_)


def test_a_checkpoint_resumes_a_fit_with_weights(tmp_path):
    texts, Y = make_data()
    options = TINY | dict(max_epochs=3, checkpoint_dir=tmp_path)
    weights = whole_weights()
    expected = LightDXMLClassifier(**TINY | dict(max_epochs=3))
    expected.fit(texts, Y, weights)
    model = LightDXMLClassifier(**options).fit(texts, Y, weights)
    np.testing.assert_array_equal(
        model.predict_topk(texts)[1], expected.predict_topk(texts)[1]
    )


@pytest.mark.filterwarnings("ignore:validation_fraction")
def test_routing():
    texts, Y = make_data()
    weights = zeros_and_ones()
    model = LightDXMLClassifier(**TINY | dict(max_epochs=1))
    with sklearn.config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(), model)
        fitted = pipeline.fit(texts, Y, sample_weight=weights)[-1]
        assert fitted.total_weight_ == weights.sum()
        search = GridSearchCV(
            pipeline, {"lightdxmlclassifier__dropout": [0, 0.5]}, cv=2
        )
        search.fit(np.array(texts), Y, sample_weight=weights)
        best = search.best_estimator_
        assert best[-1].total_weight_ == weights.sum()
        assert pipeline.score(texts, Y, sample_weight=weights) == model.score(
            texts, Y, weights
        )
        scorer = skxmc.metrics.ranking_scorer("precision", 1)
        scorer.set_score_request(sample_weight=True)
        found = cross_validate(
            model,
            np.array(texts),
            Y.toarray(),
            cv=2,
            scoring=scorer,
            params={"sample_weight": weights},
            return_estimator=True,
            return_indices=True,
        )
        for fold, rows in enumerate(found["indices"]["test"]):
            one = found["estimator"][fold]
            some = [texts[i] for i in rows]
            assert found["test_score"][fold] == one.score(
                some, Y.toarray()[rows], weights[rows]
            )
    model = LightDXMLClassifier(**TINY | dict(max_epochs=1))
    found = cross_validate(
        model, np.array(texts), Y.toarray(), params={"sample_weight": weights}, cv=2
    )
    assert np.isfinite(found["test_score"]).all()


def test_an_ensemble_weighs_its_members():
    texts, Y = make_data()
    weights = zeros_and_ones() * 2
    kept = np.flatnonzero(weights)
    ensemble = EnsembleClassifier([("a", LightDXMLClassifier(**TINY))])
    alone = LightDXMLClassifier(**TINY).fit(texts, Y, weights)
    for y in (Y, Y.toarray(), np.arange(N_DOCS) % 3):
        ensemble.fit(texts, y, weights)
        assert ensemble.n_docs_ == N_DOCS
        assert ensemble.named_estimators_.a.total_weight_ == 2 * len(kept)
        np.testing.assert_array_equal(
            ensemble.label_counts_, ensemble.named_estimators_.a.label_counts_
        )
        if y is Y:
            np.testing.assert_array_equal(
                ensemble.predict_topk(texts)[0], alone.predict_topk(texts)[0]
            )

    class Unweighted(LightDXMLClassifier):
        def fit(self, X, y):
            return super().fit(X, y)

    ensemble = EnsembleClassifier([("a", Unweighted(**TINY))])
    with pytest.raises(TypeError, match="takes no sample_weight"):
        ensemble.fit(texts, Y, weights)


def test_documents_come_and_go_with_their_weights(tiny_encoder):
    texts, Y = make_data()
    weights = whole_weights()
    weights[3] = 0
    parameters = READS | dict(neighbor_weight=1, validation_fraction=0)
    model = make(GRankClassifier, parameters, tiny_encoder).fit(texts, Y, weights)
    counts, total = model.label_counts_.copy(), weights.sum()
    model.add_documents(texts[:2], Y[:2])
    added = Y[:2].sum(axis=0)
    np.testing.assert_array_equal(model.label_counts_, counts + added)
    assert model.total_weight_ == total + 2
    votes = model.network_.neighbors
    assert votes.counts[-2:].tolist() == [1, 1]
    assert votes.rows[-2:].tolist() == [N_DOCS, N_DOCS + 1]
    model.forget_documents([1, 5, N_DOCS])
    left = weights[1] * Y[[1]] + weights[5] * Y[[5]] + Y[[0]]
    np.testing.assert_array_equal(
        model.label_counts_, counts + added - left.toarray()[0]
    )
    votes = model.network_.neighbors
    places = votes.index.found_places()
    rows = votes.rows[places]
    expected = np.append(weights, [1, 1])[rows.numpy()]
    np.testing.assert_array_equal(votes.counts[places].numpy(), expected)
    ids, scores = model.predict_topk(texts)
    assert (ids >= 0).all() and np.isfinite(scores).all()


@pytest.mark.parametrize("weighs", [(True, False), (False, True), (True, True)])
def test_weights_of_earlier_documents_count_when_a_fit_goes_on(
    tiny_encoder, tmp_path, weighs
):
    texts, Y = make_data()
    half = N_DOCS // 2
    weights = whole_weights() + 0.5
    parts = slice(None, half), slice(half, None)
    given = [
        weights[rows] if w else None for rows, w in zip(parts, weighs, strict=True)
    ]
    parameters = READS | dict(neighbor_weight=1, validation_fraction=0)
    model = make(GRankClassifier, parameters, tiny_encoder)
    for rows, part in zip(parts, given, strict=True):
        model.partial_fit(texts[rows], Y[rows], sample_weight=part)
    weights = np.concatenate(
        [np.ones(half) if part is None else part for part in given]
    )
    assert model.n_docs_ == N_DOCS and model.total_weight_ == weights.sum()
    np.testing.assert_allclose(model.label_counts_, weights @ Y.toarray())
    model.save_pretrained(tmp_path / "model")
    again = skxmc.load(tmp_path / "model")
    assert again.total_weight_ == model.total_weight_
    np.testing.assert_array_equal(
        again.predict_topk(texts)[0], model.predict_topk(texts)[0]
    )
