"""EnsembleClassifier: how rankings combine, and its manners as a meta-estimator."""

import io
import pickle
from fractions import Fraction
from unittest import mock

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logit
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.parallel import Parallel

from skxmc import EnsembleClassifier, GRankClassifier
from skxmc._mean_ranking import mean_ranking
from skxmc.estimator_checks import CHECKS
from skxmc.metrics import precision_at_k, psp_at_1_scorer

METHODS = ("predict", "predict_proba", "decision_function")
SMALL = dict(
    neighbor_weight=0,
    label_dim=8,
    dropout=0.0,
    max_epochs=4,
    batch_size=8,
    head_learning_rate=3e-2,
    validation_fraction=0.2,
    precision="fp32",
)
N_TRAIN = 45


class Told(ClassifierMixin, BaseEstimator):
    """Ranks labels by the row of a table that a document, one number, points to.

    Labels of score 0 are not ranked.
    """

    def __init__(self, table=None, error=None):
        self.table = table
        self.error = error

    def fit(self, X, y):
        if self.error is not None:
            raise self.error
        self.fitted_ = True
        return self

    def predict_topk(self, X, k=5):
        scores = np.asarray(self.table, np.float32)[X.toarray()[:, 0].astype(int)]
        ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, ids, axis=1)
        return np.where(scores > 0, ids, -1), scores


class Answers(Told):
    """Returns its table as it is."""

    def predict_topk(self, X, k=5):
        return self.table


def documents(n_docs):
    return np.arange(n_docs, dtype=float)[:, None]


def of_tables(*tables, **params):
    """Ensemble of members a, b ... that rank by their table, and its documents."""
    members = [
        (name, Told(np.atleast_2d(table)))
        for name, table in zip("abc", tables, strict=False)
    ]
    n_docs, n_labels = members[0][1].table.shape
    X = documents(n_docs)
    Y = sp.csr_array(np.ones((n_docs, n_labels)))
    return EnsembleClassifier(members, **params).fit(X, Y), X


def small(seed=0, **params):
    return GRankClassifier(**SMALL | dict(random_state=seed) | params)


def pair(**params):
    return EnsembleClassifier([("a", small(0)), ("b", small(1))], **params)


def dense(values):
    return values.toarray() if sp.issparse(values) else values


def everything(model, X):
    return [*model.predict_topk(X, 4), *(dense(getattr(model, m)(X)) for m in METHODS)]


def assert_same(got, expected):
    for one, other in zip(got, expected, strict=True):
        assert_array_equal(one, other)


def assert_differ(got, expected):
    with pytest.raises(AssertionError):
        assert_same(got, expected)


@pytest.fixture(scope="session")
def counts(colours):
    """Word counts of the 60 texts, and their labels: sparse, dense, 1-D."""
    texts, Y, _ = colours
    X = CountVectorizer().fit_transform(texts).astype(np.float64)
    first = np.array(["b", "c", "a"])[Y.toarray().argmax(axis=1).clip(max=2)]
    return X, {"sparse": Y, "dense": Y.toarray(), "single": first}


# How rankings combine


@st.composite
def rankings(draw):
    n_docs, n_labels = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    depth = draw(st.integers(1, n_labels))
    lists = st.lists(st.integers(0, n_labels - 1), unique=True, max_size=depth)
    # Sixteenths: their sums are exact, and ties are frequent.
    values = st.lists(st.integers(1, 16), min_size=depth, max_size=depth)

    def one():
        ids = np.full((n_docs, depth), -1)
        scores = np.zeros((n_docs, depth), np.float32)
        for i in range(n_docs):
            labels = draw(lists)
            ids[i, : len(labels)] = labels
            scores[i, : len(labels)] = np.divide(draw(values)[: len(labels)], 16)
        return ids, scores

    parts = [one() for _ in range(draw(st.integers(1, 3)))]
    weights = np.array([draw(st.integers(1, 4)) for _ in parts], float)
    return parts, weights, draw(st.integers(1, 8)), n_labels


def by_hand(parts, weights, doc, normalize):
    """Labels and mean scores of a document, in fractions, best first."""
    sums = {}
    for (ids, scores), weight in zip(parts, weights, strict=True):
        for label, score in zip(ids[doc].tolist(), scores[doc].tolist(), strict=True):
            if label >= 0:
                sums[label] = sums.get(label, 0) + Fraction(weight) * Fraction(score)
    total = sum(sums.values()) if normalize else Fraction(weights.sum())
    means = {label: np.float32(value / total) for label, value in sums.items()}
    return sorted(means.items(), key=lambda pair: (-pair[1], pair[0]))


@settings(max_examples=200, deadline=None)
@given(rankings(), st.booleans(), st.sampled_from([1, 7, 1000]))
def test_mean_ranking_against_brute_force(case, normalize, block):
    parts, weights, k, n_labels = case
    with mock.patch("skxmc._mean_ranking._BLOCK", block):
        ids, scores = mean_ranking(parts, weights, k, n_labels, normalize=normalize)
    assert ids.dtype == np.int64 and scores.dtype == np.float32
    assert ids.shape == scores.shape == (len(parts[0][0]), k)
    for doc, (row, values) in enumerate(zip(ids, scores, strict=True)):
        expected = by_hand(parts, weights, doc, normalize)[:k]
        expected += [(-1, 0)] * (k - len(expected))
        assert list(zip(row.tolist(), values.tolist(), strict=True)) == expected


def test_a_label_that_a_member_does_not_rank_adds_nothing():
    model, X = of_tables([0.9, 0.6, 0], [0, 0.8, 0.2])
    ids, scores = model.predict_topk(X, 4)
    assert_array_equal(ids, [[1, 0, 2, -1]])
    assert_allclose(scores, [[0.7, 0.45, 0.1, 0]], rtol=1e-6)
    assert_allclose(model.predict_proba(X).toarray(), [[0.45, 0.7, 0.1]], rtol=1e-6)
    odds = model.decision_function(X).toarray()
    assert_allclose(odds, logit([[0.45, 0.7, 0.1]]), rtol=1e-5)
    assert_array_equal(model.predict(X).toarray(), [[0, 1, 0]])


def test_ties_are_not_broken_by_rounding():
    # (1/2 + 1/6) + 1 is below (1/6 + 1) + 1/2 in floating point.
    places = [2, 6, 1, 3, 4, 5], [6, 1, 2, 3, 4, 5], [1, 2, 6, 3, 4, 5]
    model, X = of_tables(*1 - np.array(places) / 10, scale="rank")
    ids, scores = model.predict_topk(X, 3)
    assert_array_equal(ids, [[0, 1, 2]])
    assert_allclose(scores, np.full((1, 3), 5 / 9), rtol=1e-6)


def test_probabilities_stay_inside():
    model, X = of_tables([1.0, 0.5])
    for y in (np.ones((1, 2)), sp.csr_array(np.ones((1, 2)))):
        proba = dense(model.fit(X, y).predict_proba(X))
        assert 1 - 1e-6 < proba[0, 0] < 1
        assert np.isfinite(dense(model.decision_function(X))).all()


@pytest.mark.parametrize("weights", [[3, 1], np.array([0.75, 0.25])])
def test_weights(weights):
    model, X = of_tables([0.9, 0.1], [0.1, 0.8], weights=weights)
    assert_allclose(model.predict_topk(X, 2)[1], [[0.7, 0.275]], rtol=1e-6)
    model.set_params(weights=None)  # is read at prediction
    assert_allclose(model.predict_topk(X, 2)[1], [[0.5, 0.45]], rtol=1e-6)
    with pytest.raises(ValueError, match="weights must be 2 numbers"):
        model.set_params(weights=[1, 1, 1]).predict_topk(X)


def test_weight_0_is_not_asked():
    model, X = of_tables([0.9, 0.1, 0], [0.2, 0.1, 0.3], weights=[1, 0])
    del model.named_estimators_.b.table
    assert_array_equal(model.predict_topk(X, 3)[0], [[0, 1, -1]])


def test_depth():
    tables = [0.9, 0.8, 0.7, 0.1], [0.1, 0.3, 0.9, 0.8]
    model, X = of_tables(*tables, depth=2)
    ids, scores = model.predict_topk(X, 2)
    assert_array_equal(ids, [[0, 2]])  # places 1 and 2 of each: 0, 1 and 2, 3
    assert_allclose(scores, [[0.45, 0.45]], rtol=1e-6)
    # More labels than that are asked for, and as many are looked at.
    ids, scores = model.predict_topk(X, 3)
    assert_array_equal(ids, [[2, 1, 0]])
    assert_allclose(scores, [[0.8, 0.55, 0.45]], rtol=1e-6)
    ids, scores = model.set_params(depth=4).predict_topk(X, 2)
    assert_array_equal(ids, [[2, 1]])
    assert_allclose(scores, [[0.8, 0.55]], rtol=1e-6)


def test_rank_scale():
    # Places 1 and 2, 2 and 1, 3 and none.
    tables = [0.9, 0.8, 0.7], [0.1, 0.2, 0]
    model, X = of_tables(*tables, scale="rank")
    ids, scores = model.predict_topk(X, 4)
    assert_array_equal(ids, [[0, 1, 2, -1]])
    assert_allclose(scores, [[3 / 4, 3 / 4, 1 / 6, 0]], rtol=1e-6)
    for method in ("predict_proba", "decision_function"):
        values = getattr(model, method)(X).toarray()
        assert_allclose(values, [[3 / 4, 3 / 4, 1 / 6]], rtol=1e-6)
    ids, scores = model.set_params(scale="probability").predict_topk(X, 2)
    assert_allclose(scores, [[0.5, 0.5]], rtol=1e-6)


def test_rank_scale_predicts_by_majority():
    # Means of probabilities would have it the other way round.
    tables = [0.51, 0.9, 0.51], [0.51, 0.49, 0.49], [0.1, 0.49, 0.49]
    model, X = of_tables(*tables, scale="rank")
    assert_array_equal(model.predict(X).toarray(), [[1, 0, 0]])
    model.set_params(weights=[2, 0.5, 0.5])
    assert_array_equal(model.predict(X).toarray(), [[1, 1, 1]])
    model.set_params(weights=[1, 1, 2])  # half is no majority
    assert_array_equal(model.predict(X).toarray(), [[0, 0, 0]])
    model.set_params(weights=None, scale="probability")
    assert_array_equal(model.predict(X).toarray(), [[0, 1, 0]])


def test_one_class_of_several():
    X, y = documents(3), np.array(["x", "y", "z"])
    tables = np.array([[0.7, 0.2, 0.1]] * 3), np.array([[0.1, 0.5, 0.4]] * 3)
    members = [(name, Told(t)) for name, t in zip("ab", tables, strict=True)]
    model = EnsembleClassifier(members).fit(X, y)
    assert_allclose(model.predict_proba(X), [[0.4, 0.35, 0.25]] * 3, rtol=1e-6)
    odds = model.decision_function(X)
    assert_allclose(odds, np.log([[0.4, 0.35, 0.25]] * 3), rtol=1e-6)
    assert model.predict(X).tolist() == ["x"] * 3
    assert model.score(X, y) == 1 / 3
    # Places 1, 2, 3 and 3, 1, 2: 4/3, 3/2, 5/6 of 11/3.
    model.set_params(scale="rank")
    shares = np.array([[8, 9, 5]] * 3) / 22
    assert_allclose(model.predict_proba(X), shares, rtol=1e-6)
    assert_allclose(model.predict_topk(X, 3)[1][:, [1, 0, 2]], shares, rtol=1e-6)
    assert_allclose(model.decision_function(X), np.log(shares), rtol=1e-6)
    assert model.predict(X).tolist() == ["y"] * 3


# Against the members


@pytest.mark.parametrize("kind", ["sparse", "dense", "single"])
@pytest.mark.parametrize("n_copies", [1, 3])
def test_an_ensemble_of_the_same_is_the_same(kind, n_copies, counts):
    X, ys = counts
    member = small(top_k=5).fit(X[:N_TRAIN], ys[kind][:N_TRAIN])
    copies = [(f"m{i}", small()) for i in range(n_copies)]
    model = EnsembleClassifier(copies, top_k=5).fit(X[:N_TRAIN], ys[kind][:N_TRAIN])
    expected, got = everything(member, X), everything(model, X)
    assert got[0].shape == (len(dense(X)), 4)
    assert_array_equal(got[0], expected[0])
    assert_array_equal(got[2], expected[2])
    # Probabilities are float32 on their way through the ensemble.
    assert_allclose(got[1], expected[1], rtol=1e-6)
    assert_allclose(got[3], expected[3], rtol=1e-5)
    assert_allclose(got[4], expected[4], rtol=1e-4, atol=1e-5)
    if kind == "sparse":
        assert_same(got[:4], expected[:4])


def test_probabilities_are_the_mean_of_the_members(counts):
    X, ys = counts
    for y in ys.values():
        model = pair(weights=[2, 1]).fit(X, y)
        one, other = (dense(m.predict_proba(X)) for m in model.estimators_)
        assert np.abs(one - other).max() > 0.01
        got = dense(model.predict_proba(X))
        assert_allclose(got, (2 * one + other) / 3, rtol=1e-5)


def test_members_with_clusters_add_what_they_ranked(counts):
    X, ys = counts
    clusters = dict(max_leaf_size=3, n_shortlist=2, predict_shortlist=2)
    members = [small(seed, **clusters) for seed in (0, 1)]
    members = list(zip("ab", members, strict=True))
    model = EnsembleClassifier(members).fit(X, ys["sparse"])
    one, other = (m.predict_proba(X) for m in model.estimators_)
    assert one.nnz == other.nnz == 60 * 6  # of 12 labels
    got = model.predict_proba(X)
    assert 60 * 6 < got.nnz < 60 * 12
    assert_allclose(got.toarray(), (one + other).toarray() / 2, rtol=1e-5)
    # A dense y wants all labels: those that nobody ranked stand last.
    model.fit(X, ys["dense"])
    proba, (ids, _) = model.predict_proba(X), model.predict_topk(X, 12)
    n_ranked = (ids >= 0).sum(axis=1)
    assert n_ranked.min() < 12
    order = np.argsort(-proba, axis=1, kind="stable")
    assert_array_equal(np.where(np.arange(12) < n_ranked[:, None], order, -1), ids)
    assert ((proba > 0) & (proba < 1)).all()


def test_an_ensemble_errs_less_than_its_members():
    rng = np.random.default_rng(0)
    Y = rng.random((500, 8)) < 0.3
    noise = rng.normal(size=(3, 500, 8))
    tables = 1 / (1 + np.exp(-(2.0 * Y - 1 + noise)))
    for scale in ("probability", "rank"):
        model, X = of_tables(*tables, scale=scale)
        alone = [of_tables(table)[0].score(X, Y) for table in tables]
        assert model.score(X, Y) > max(alone) + 0.05


# Kinds of y


@pytest.mark.parametrize("scale", ["probability", "rank"])
@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix])
def test_sparse_in_sparse_out(scale, container, counts):
    X, ys = counts
    Y = container(ys["sparse"].astype(np.int32))
    model = pair(scale=scale, top_k=3).fit(X, Y)
    for method in METHODS:
        got = getattr(model, method)(X)
        assert type(got) is container and got.shape == (60, 12)
        assert got.dtype == (np.int32 if method == "predict" else np.float32)
        assert got.has_canonical_format and (got.data != 0).all()
    assert_array_equal(np.diff(model.predict_proba(X).indptr), np.full(60, 3))
    assert model.predict(X).nnz > 0


@pytest.mark.parametrize("scale", ["probability", "rank"])
def test_dense_in_dense_out(scale, counts):
    X, ys = counts
    model = pair(scale=scale, top_k=3).fit(X, ys["dense"])
    for method in METHODS:
        got = getattr(model, method)(X)
        assert isinstance(got, np.ndarray) and got.shape == (60, 12)
    predicted = model.predict(X)
    assert predicted.dtype == np.int64 and set(predicted.ravel()) == {0, 1}
    proba, (ids, scores) = model.predict_proba(X), model.predict_topk(X, 12)
    assert_allclose(np.take_along_axis(proba, ids, axis=1), scores, rtol=1e-5)


@pytest.mark.parametrize("scale", ["probability", "rank"])
def test_classes_in_classes_out(scale, counts):
    X, ys = counts
    y = ys["single"]
    model = pair(scale=scale).fit(X, y)
    assert model.classes_.tolist() == ["a", "b", "c"]
    proba = model.predict_proba(X)
    assert proba.shape == model.decision_function(X).shape == (60, 3)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert_array_equal(model.predict(X), model.classes_[proba.argmax(axis=1)])
    assert model.score(X, y) == np.mean(model.predict(X) == y) > 0.5
    model.fit(X, y == "a")
    odds = model.decision_function(X)
    assert odds.shape == (60,)
    assert_array_equal(model.predict(X), odds > 0)


def test_too_large_dense_output_is_refused(counts, monkeypatch):
    X, ys = counts
    model = pair().fit(X, ys["dense"])
    monkeypatch.setattr("skxmc._ranking_classifier._DENSE_LIMIT", 60 * 12 - 1)
    for method in METHODS:
        with pytest.raises(ValueError, match="60 documents for 12 labels"):
            getattr(model, method)(X)
    assert model.predict_topk(X)[0].shape == (60, 5)


def test_scores_and_scorers(counts):
    X, ys = counts
    Y = ys["sparse"]
    model = pair().fit(X, Y)
    assert model.score(X, Y) == precision_at_k(Y, model.predict_topk(X, 1)[0], 1)
    assert model.n_docs_ == 60 and model.n_labels_ == 12
    assert_array_equal(model.label_counts_, Y.sum(axis=0))
    assert 0 < psp_at_1_scorer(model, X, Y) <= 1


# Members by name


def test_members_by_name(counts):
    X, ys = counts
    model = pair().fit(X, ys["sparse"])
    assert [*model.named_estimators_] == ["a", "b"]
    assert model.named_estimators_.a is model.estimators_[0]
    assert model.named_estimators_["b"] is model.estimators_[1]
    assert model.estimators_[0] is not model.estimators[0][1]  # a clone was fitted
    assert not hasattr(model.estimators[0][1], "network_")
    assert model.n_features_in_ == 12


def test_parameters_of_members():
    model = pair()
    params = model.get_params()
    assert params["a"] is model.estimators[0][1] and params["b__random_state"] == 1
    assert set(model.get_params(deep=False)) == {
        *("estimators", "weights", "scale", "depth", "n_jobs", "label_names"),
        *("top_k", "warm_start", "verbose"),
    }
    other = small(7)
    model.set_params(a=other, b__max_epochs=9, depth=3)
    assert model.estimators[0] == ("a", other) and model.depth == 3
    assert model.estimators[1][1].max_epochs == 9
    with pytest.raises(ValueError, match="Invalid parameter 'c'"):
        model.set_params(c=small())


def test_a_dropped_member_is_left_out(counts):
    X, ys = counts
    Y = ys["sparse"]
    both, alone = pair().fit(X, Y), small(1).fit(X, Y)
    model = pair(weights=[3, 1]).set_params(a="drop").fit(X, Y)
    assert model.named_estimators_.a == "drop" and len(model.estimators_) == 1
    assert_same(everything(model, X)[:4], everything(alone, X)[:4])
    assert_differ(everything(both, X)[:4], everything(alone, X)[:4])


def test_ensembles_in_an_ensemble(counts):
    X, ys = counts
    inner = [("inner", pair()), ("c", small(2))]
    model = EnsembleClassifier(inner, weights=[2, 1]).fit(X, ys["sparse"])
    assert model.get_params()["inner__b__random_state"] == 1
    flat = EnsembleClassifier([*pair().estimators, ("c", small(2))])
    flat.fit(X, ys["sparse"])
    expected = flat.predict_proba(X).toarray()
    assert_allclose(model.predict_proba(X).toarray(), expected, rtol=1e-5)


# Tools of scikit-learn and joblib


def test_pipeline(counts, colours):
    X, ys = counts
    model = make_pipeline(CountVectorizer(), pair()).fit(colours[0], ys["sparse"])
    expected = everything(pair().fit(X, ys["sparse"]), X)
    assert_same([dense(getattr(model, m)(colours[0])) for m in METHODS], expected[2:])
    assert model.score(colours[0], ys["sparse"]) == model[-1].score(X, ys["sparse"])


def text_pair(encoder, **params):
    short = dict(n_layers=1, max_length=8, max_epochs=1, precision="fp32")
    short |= dict(label_init="random", label_dim=8)
    members = [GRankClassifier(encoder, random_state=i, **short) for i in (0, 1)]
    return EnsembleClassifier(list(zip("ab", members, strict=True)), **params)


def test_grid_search_on_texts(tiny_encoder, colours):
    texts, Y, _ = colours
    grid = {"a__max_epochs": [1, 2], "b": ["drop"], "scale": ["rank"]}
    search = GridSearchCV(
        text_pair(tiny_encoder), grid, cv=2, n_jobs=2, error_score="raise"
    )
    search.fit(texts, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    assert best.named_estimators_.a.n_iter_ == search.best_params_["a__max_epochs"]
    assert best.named_estimators_.b == "drop"
    assert search.predict_proba(texts[:5]).shape == (5, 12)


def test_n_jobs_changes_nothing(tiny_encoder, colours):
    texts, Y, _ = colours
    model = text_pair(tiny_encoder).fit(texts, Y)
    assert not hasattr(model, "n_features_in_")
    with mock.patch("skxmc.ensemble.Parallel", wraps=Parallel) as used:
        parallel = text_pair(tiny_encoder, n_jobs=2).fit(texts, Y)
    used.assert_called_once_with(n_jobs=2)
    got, expected = everything(parallel, texts), everything(model, texts)
    assert_array_equal(got[0], expected[0])
    for one, other in zip(got, expected, strict=True):
        assert_allclose(one, other, rtol=1e-5)


def test_verbose_tells_of_members(capsys):
    of_tables([0.9, 0.1], [0.1, 0.8])
    assert capsys.readouterr().out == ""
    of_tables([0.9, 0.1], [0.1, 0.8], verbose=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" in ")[0] for line in lines] == ["a: fitted", "b: fitted"]


def test_clone_and_pickle(counts):
    X, ys = counts
    model = pair(weights=[1, 2]).fit(X, ys["sparse"])
    expected = everything(model, X)
    assert_same(everything(pickle.loads(pickle.dumps(model)), X), expected)
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    assert_same(everything(joblib.load(file), X), expected)
    other = clone(model)
    with pytest.raises(NotFittedError):
        other.predict(X)
    assert_same(everything(other.fit(X, ys["sparse"]), X), expected)


def test_from_features_to_texts(tiny_encoder, counts, colours):
    model = text_pair(tiny_encoder).fit(counts[0], colours[1])
    assert model.n_features_in_ == 12
    with pytest.raises(ValueError, match="X must be a feature matrix, as in fit"):
        model.predict(colours[0])
    model.fit(colours[0], colours[1])
    assert not hasattr(model, "n_features_in_")


# What is refused


UNTOUCHED = Told(error=AssertionError("a member was fitted before the error was seen"))


@pytest.mark.parametrize(
    "params, message",
    [
        (dict(estimators=[]), r"at least one; got \[\]"),
        (dict(estimators=None), "list of .name, estimator. pairs.*got None"),
        (dict(estimators=[UNTOUCHED]), "list of .name, estimator. pairs"),
        (dict(estimators=[(1, UNTOUCHED)]), "list of .name, estimator. pairs"),
        (dict(estimators=[("a", UNTOUCHED)] * 2), r"not unique: \['a', 'a'\]"),
        (dict(estimators=[("a__b", UNTOUCHED)]), r"must not contain __.*a__b"),
        (dict(estimators=[("depth", UNTOUCHED)]), r"constructor arguments.*depth"),
        (dict(estimators=[("a", "drop")]), "All estimators are"),
        (dict(estimators=[("a", "off"), ("b", UNTOUCHED)]), "'a' is str; a member"),
        (dict(estimators=[("a", Told)]), "'a' is the class Told"),
        (dict(weights=[1]), r"2 numbers.*got \[1\]"),
        (dict(weights=[[1, 1]]), "2 numbers"),
        (dict(weights=[2, -1]), "at least 0"),
        (dict(weights=[0, 0]), "not all 0"),
        (dict(weights=[1, np.nan]), "2 numbers"),
        (dict(weights=["a", "b"]), "could not convert"),
        (dict(weights=[1, 0], a="drop"), "not all 0"),
        (dict(scale="log"), "scale must be one of .*'log'"),
        (dict(depth=0), "depth must be an int, at least 1; got 0"),
        (dict(depth=1.5), "depth"),
        (dict(top_k=0), "top_k"),
    ],
)
def test_bad_parameters(params, message):
    model = EnsembleClassifier([("a", UNTOUCHED), ("b", UNTOUCHED)])
    model.set_params(**params)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(documents(3), np.eye(3))
    with pytest.raises(NotFittedError):
        model.predict(documents(3))


def test_a_pipeline_is_no_member():
    members = [("a", UNTOUCHED), ("b", make_pipeline(CountVectorizer(), small()))]
    with pytest.raises(TypeError, match=r"'b' is Pipeline.*predict_topk\(X, k\)"):
        EnsembleClassifier(members).fit(["red"] * 3, np.eye(3))


@pytest.mark.parametrize(
    "X, y, message",
    [
        (documents(3), np.eye(4), "X holds 3 documents and y 4 rows"),
        (documents(3), 2 * np.eye(3), "0 and 1"),
        (documents(3) * np.nan, np.eye(3), "NaN"),
        (["red", None, "blue"], np.eye(3), r"X\[1\] must be a str, got NoneType"),
    ],
)
def test_bad_data(X, y, message):
    with pytest.raises(ValueError, match=message):
        EnsembleClassifier([("a", UNTOUCHED)]).fit(X, y)


@pytest.mark.parametrize(
    "answer, message",
    [
        (([[0, 1]], [[1.0, 0.5]]), r"'a' returned ids of shape \(1, 2\)"),
        (([[0, 1, 2]], [[1.0, 0.5]]), r"scores of shape \(1, 2\)"),
        (([[0, 1, 3]], [[1.0, 0.5, 0.1]]), r"an id outside of \[-1, 3\)"),
        (([[0, 1, -2]], [[1.0, 0.5, 0.1]]), "an id outside"),
        (([[0, 1, 2]], [[3.2, 0.5, 0.1]]), r"outside of \[0, 1\]"),
        (([[0, 1, 2]], [[0.9, 0.5, -0.1]]), r"outside of \[0, 1\]"),
        (([[0, 1, 2]], [[0.9, 0.5, np.nan]]), r"outside of \[0, 1\]"),
    ],
)
def test_members_that_do_not_keep_the_convention(answer, message):
    answer = tuple(map(np.array, answer))
    model = EnsembleClassifier([("a", Answers(answer))])
    model.fit(documents(2), np.eye(2, 3))
    with pytest.raises(ValueError, match=message):
        model.predict_topk(documents(1))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_fit_that_ends_early_changes_nothing(error, counts):
    X, ys = counts
    model = pair().fit(X, ys["sparse"])
    expected = everything(model, X)
    model.set_params(b=Told(error=error()))
    with pytest.raises(error):
        model.fit(X[:, :5], ys["single"])
    assert_same(everything(model, X), expected)
    assert model.n_features_in_ == 12
    unfitted = clone(model)
    with pytest.raises(error):
        unfitted.fit(X, ys["sparse"])
    assert not [name for name in vars(unfitted) if name.endswith("_")]


# Shared checks


class Twins(EnsembleClassifier):
    """Takes the parameters of its two members, as the shared checks set them."""

    weights, scale, depth, n_jobs, verbose = None, "probability", 100, None, 0
    label_names, warm_start = None, False

    def __init__(
        self,
        encoder=None,
        *,
        label_texts=None,
        max_epochs=2,
        batch_size=8,
        max_length=16,
        learning_rate=2e-4,
        weight_decay=0.01,
        warmup=0.1,
        dropout=0.5,
        top_k=50,
        device="auto",
        precision="fp32",
        random_state=None,
    ):
        self.encoder = encoder
        self.label_texts = label_texts
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.max_length = max_length
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.dropout = dropout
        self.top_k = top_k
        self.device = device
        self.precision = precision
        self.random_state = random_state

    @property
    def estimators(self):
        own = {name: getattr(self, name) for name in self._get_param_names()}
        own |= dict(n_layers=1, validation_fraction=0.2)
        widths = {"a": 8, "b": 4}
        return [(n, GRankClassifier(**own, label_dim=w)) for n, w in widths.items()]


# An interrupted ensemble has no members to predict with, and the members of Twins are
# new ones at every look. The others are slow, and see what is not the ensemble's own.
LEFT_OUT = """
    interruption nothing_mutated
    text_containers label_containers stored_labels random_state features odd_documents
    pipeline grid_search
""".split()


@pytest.mark.filterwarnings("ignore:validation_fraction")
@pytest.mark.parametrize(
    "check",
    [check for check in CHECKS if check.__name__[6:] not in LEFT_OUT],
    ids=lambda check: check.__name__,
)
def test_passes_shared_checks(check, tiny_encoder):
    check(Twins(tiny_encoder))


@pytest.mark.filterwarnings("ignore")
def test_sklearn_suite(float32_cpu):
    # Weights repeat documents without dropout and held-out documents.
    options = dict(max_epochs=3, dropout=0, validation_fraction=0)
    members = [GRankClassifier(random_state=i, **options) for i in (0, 1)]
    model = EnsembleClassifier(list(zip("ab", members, strict=True)))
    results = check_estimator(model, on_skip=None, on_fail=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["exception"]}
    assert not failed
    assert {r["status"] for r in results} == {"passed"}
    assert len(results) >= 59  # scikit-learn 1.9; fewer would mean checks left out
