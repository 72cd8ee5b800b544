"""Model selection on sparse labels: scikit-learn's functions, splitters and tools."""

import inspect
import itertools
import subprocess
import sys
import tracemalloc
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import randint
from sklearn import model_selection as sk
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_multilabel_classification
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.fixes import parse_version
from sklearn.utils.validation import _num_samples

from skxmc import GRankClassifier, LightDXMLClassifier
from skxmc import model_selection as ours
from skxmc.datasets import make_xmc
from skxmc.metrics import precision_at_k, ranking_report_scorer, ranking_scorer
from skxmc.model_selection import MultilabelKFold, MultilabelShuffleSplit

QUICK = dict(
    label_dim=8,
    max_epochs=2,
    batch_size=16,
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
CONTAINERS = [sp.csr_array, sp.csr_matrix]
SPLITTERS = [KFold(3, shuffle=True, random_state=0), MultilabelKFold(3)]
METHODS = ("predict", "predict_proba", "decision_function")


class Frequent(ClassifierMixin, BaseEstimator):
    """Ranks the labels of the most training documents, alike for each document."""

    def __init__(self, n_best=5):
        self.n_best = n_best

    def fit(self, X, y):
        counts = np.asarray(y.sum(axis=0)).ravel()
        self.best_ = np.argsort(-counts, kind="stable")[: self.n_best]
        self.shares_ = counts[self.best_] / y.shape[0]
        self.classes_ = np.arange(y.shape[1])
        self.label_counts_, self.n_docs_ = counts, y.shape[0]
        return self

    def predict_topk(self, X, k=5):
        each = self.best_[:k], self.shares_[:k].astype(np.float32)
        return tuple(np.tile(row, (_num_samples(X), 1)) for row in each)

    def predict_proba(self, X):
        ids, shares = self.predict_topk(X, self.n_best)
        indptr = np.arange(len(ids) + 1) * ids.shape[1]
        shape = (len(ids), len(self.classes_))
        return sp.csr_array((shares.ravel(), ids.ravel(), indptr), shape)

    def score(self, X, y, sample_weight=None):
        return precision_at_k(y, self.predict_topk(X, 1)[0], 1)


def quick(**params):
    return LightDXMLClassifier(**QUICK | params)


def rows_of(texts, rows):
    return [texts[i] for i in rows]


def dense(values):
    return values.toarray() if sp.issparse(values) else values


def totals(Y):
    return np.asarray(Y.sum(axis=0)).ravel()


def by_hand(model, texts, Y, splits):
    """Models fitted on each training part, and test parts."""
    for train, test in splits:
        fitted = clone(model).fit(rows_of(texts, train), Y[train])
        yield fitted, rows_of(texts, test), Y[test]


def assert_same_results(got, expected):
    assert got.keys() == expected.keys()
    for name in got.keys() - {"fit_time", "score_time", "estimator"}:
        if isinstance(got[name], dict):  # indices of the splits
            for part in got[name]:
                for one, other in zip(
                    got[name][part], expected[name][part], strict=True
                ):
                    assert_array_equal(one, other)
        else:
            assert_array_equal(got[name], expected[name])


@pytest.fixture(scope="module")
def multilabel():
    return make_multilabel_classification(60, n_classes=4, random_state=0)


# As scikit-learn on a dense y


@pytest.mark.parametrize(
    "name", ["cross_validate", "cross_val_score", "learning_curve", "validation_curve"]
)
def test_signature(name):
    got, expected = (inspect.signature(getattr(module, name)) for module in (ours, sk))
    assert str(got) == str(expected)  # NaN, a default, is unlike itself


def test_signature_of_cross_val_predict():
    got = dict(inspect.signature(ours.cross_val_predict).parameters)
    assert got.pop("k").default == 5
    assert got == dict(inspect.signature(sk.cross_val_predict).parameters)


@pytest.mark.parametrize("cv", [None, 3, KFold(4), [([0, 1, 2, 3], [4, 5])]], ids=str)
@pytest.mark.parametrize("kind", ["multilabel", "single"])
def test_cross_validate_on_a_dense_y(kind, cv, multilabel):
    X, y = multilabel
    y = y if kind == "multilabel" else y.argmax(axis=1)
    scoring = ["accuracy", "f1_macro" if cv is None else "f1_micro"]
    options = dict(cv=cv, scoring=scoring, return_train_score=True, return_indices=True)
    args = KNeighborsClassifier(1), X, y
    got = ours.cross_validate(*args, **options)
    assert_same_results(got, sk.cross_validate(*args, **options))
    got = ours.cross_val_score(*args, cv=cv, scoring="accuracy")
    assert_array_equal(got, sk.cross_val_score(*args, cv=cv, scoring="accuracy"))


def test_cross_validate_without_y(multilabel):
    args = KernelDensity(), multilabel[0]
    assert_array_equal(ours.cross_val_score(*args), sk.cross_val_score(*args))
    got = ours.cross_validate(*args, cv=3)
    assert_same_results(got, sk.cross_validate(*args, cv=3))


def test_cross_validate_hands_parameters_and_groups_on(multilabel):
    X, Y = multilabel
    y, groups = Y.argmax(axis=1), np.arange(60) % 5
    options = dict(groups=groups, cv=sk.GroupKFold(3))
    options["params"] = dict(sample_weight=np.arange(60) % 3)
    args = RidgeClassifier(), X, y
    got = ours.cross_validate(*args, **options)
    assert_same_results(got, sk.cross_validate(*args, **options))
    got = ours.cross_val_predict(*args, **options)
    assert_array_equal(got, sk.cross_val_predict(*args, **options))


def test_curves_on_a_dense_y(multilabel):
    options = dict(cv=3, train_sizes=[0.3, 1.0], shuffle=True, random_state=0)
    args = KNeighborsClassifier(1), *multilabel
    got = ours.learning_curve(*args, **options, return_times=True)
    assert len(got) == 5
    expected = sk.learning_curve(*args, **options)
    for one, other in zip(got[:3], expected, strict=True):
        assert_array_equal(one, other)
    options = dict(cv=3, param_name="n_neighbors", param_range=[1, 3])
    got = ours.validation_curve(*args, **options)
    for one, other in zip(got, sk.validation_curve(*args, **options), strict=True):
        assert_array_equal(one, other)


@pytest.mark.parametrize(
    "model, method",
    [
        (KNeighborsClassifier(1), "predict"),
        (KNeighborsClassifier(3), "predict_proba"),  # a list, one array a label
        (OneVsRestClassifier(BernoulliNB()), "predict_proba"),
        (RidgeClassifier(), "decision_function"),
    ],
)
def test_cross_val_predict_on_a_dense_y(model, method, multilabel):
    X, Y = multilabel
    for y in (Y, Y[:, 0]):
        for cv in (None, KFold(3, shuffle=True, random_state=0)):
            got = ours.cross_val_predict(model, X, y, cv=cv, method=method)
            expected = sk.cross_val_predict(model, X, y, cv=cv, method=method)
            assert type(got) is type(expected)
            assert_array_equal(got, expected)


# Scores on a sparse y, against a loop written out


@pytest.mark.parametrize(
    "container, cv",
    [(sp.csr_matrix, 3), (sp.csr_array, SPLITTERS[0]), (sp.csr_matrix, SPLITTERS[1])],
)
def test_cross_validate_on_a_sparse_y(container, cv, colours):
    texts, Y, _ = colours
    Y, scorer = container(Y), ranking_report_scorer(ks=(1, 3))
    options = dict(return_train_score=True, return_estimator=True, return_indices=True)
    got = ours.cross_validate(quick(), texts, Y, cv=cv, scoring=scorer, **options)
    splits = list((KFold(cv) if cv == 3 else cv).split(texts, Y))
    for i, (train, test) in enumerate(splits):
        assert_array_equal(got["indices"]["train"][i], train)
        assert_array_equal(got["indices"]["test"][i], test)
        model = quick().fit(rows_of(texts, train), Y[train])
        assert_array_equal(
            got["estimator"][i].predict_topk(texts)[1], model.predict_topk(texts)[1]
        )
        for part, rows in (("train", train), ("test", test)):
            scores = scorer(model, rows_of(texts, rows), Y[rows])
            assert {"P@1", "PSP@3"} <= scores.keys()
            for name, value in scores.items():
                assert got[f"{part}_{name}"][i] == value
    assert len(set(got["test_PSP@3"])) > 1


@pytest.mark.parametrize("container", CONTAINERS)
def test_cross_val_score_is_that_of_dense_labels(container, colours):
    texts, Y, _ = colours
    splits = list(MultilabelKFold(3).split(texts, Y))
    loop = list(by_hand(quick(), texts, Y.toarray(), splits))
    for scoring in (None, ranking_scorer("ndcg", 3), ranking_scorer("psp", 5)):
        got = ours.cross_val_score(
            quick(), texts, container(Y), cv=MultilabelKFold(3), scoring=scoring
        )
        expected = [
            m.score(x, y) if scoring is None else scoring(m, x, y) for m, x, y in loop
        ]
        assert_allclose(got, expected, rtol=1e-12)


def test_splits_as_pairs_and_as_a_generator(colours):
    texts, Y, _ = colours
    expected = ours.cross_val_score(quick(), texts, Y, cv=MultilabelKFold(3))
    pairs = list(MultilabelKFold(3).split(texts, Y))
    for cv in (pairs, (pair for pair in pairs)):
        assert_array_equal(ours.cross_val_score(quick(), texts, Y, cv=cv), expected)


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_number_does_not_stratify_one_column(container):
    Y = container(np.arange(20)[:, None] % 3 == 0, dtype=np.float64)
    for cv, n_splits in ((None, 5), (4, 4), (np.int64(2), 2)):
        got = ours.cross_validate(Frequent(), [""] * 20, Y, cv=cv, return_indices=True)[
            "indices"
        ]
        expected = list(KFold(n_splits).split(np.empty(20)))
        for i, (train, test) in enumerate(expected):
            assert_array_equal(got["train"][i], train)
            assert_array_equal(got["test"][i], test)
        predicted = ours.cross_val_predict(
            Frequent(), [""] * 20, Y, cv=cv, method="predict_proba"
        )
        assert predicted.shape == (20, 1)


def test_n_jobs(colours):
    texts, Y, _ = colours
    options = dict(cv=MultilabelKFold(2), scoring=ranking_scorer("psp", 5))
    got, expected = (
        ours.cross_val_score(quick(), texts, Y, n_jobs=n, **options) for n in (2, 1)
    )
    assert_allclose(got, expected, rtol=1e-6)
    options = dict(cv=MultilabelKFold(2), method="predict_topk", k=3)
    got, expected = (
        ours.cross_val_predict(quick(), texts, Y, n_jobs=n, **options) for n in (2, 1)
    )
    assert_array_equal(got[0], expected[0])
    assert_allclose(got[1], expected[1], rtol=1e-5)


@pytest.mark.parametrize("container", CONTAINERS)
def test_learning_curve_on_a_sparse_y(container, colours):
    texts, Y, _ = colours
    Y, scorer = container(Y), ranking_scorer("precision", 3)
    sizes, train_scores, test_scores, fit_times, _ = ours.learning_curve(
        quick(), texts, Y, cv=2, train_sizes=[10, 30], scoring=scorer, return_times=True
    )
    assert sizes.tolist() == [10, 30] and (fit_times > 0).all()
    for j, (train, test) in enumerate(KFold(2).split(texts)):
        for i, size in enumerate(sizes):
            rows = train[:size]
            model = quick().fit(rows_of(texts, rows), Y[rows])
            assert train_scores[i, j] == scorer(model, rows_of(texts, rows), Y[rows])
            assert test_scores[i, j] == scorer(model, rows_of(texts, test), Y[test])


@pytest.mark.parametrize("container", CONTAINERS)
def test_validation_curve_by_a_nested_parameter(container, colours):
    texts, Y, _ = colours
    Y, scorer = container(Y), ranking_scorer("psp", 3)
    model = make_pipeline(TfidfVectorizer(), quick())
    name, values = "lightdxmlclassifier__max_epochs", [1, 4]
    train_scores, test_scores = ours.validation_curve(
        model, texts, Y, param_name=name, param_range=values, cv=2, scoring=scorer
    )
    for i, value in enumerate(values):
        model.set_params(**{name: value})
        loop = by_hand(model, texts, Y, KFold(2).split(texts))
        expected = [scorer(*parts) for parts in loop]
        assert_array_equal(test_scores[i], expected)
    assert train_scores.shape == (2, 2)
    assert (train_scores[0] != train_scores[1]).any()


def test_failing_fits_on_a_sparse_y(colours):
    texts, Y, _ = colours
    with pytest.raises(ValueError, match="label_dim"):
        ours.cross_val_score(quick(label_dim=0), texts, Y, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ours.cross_val_score(quick(), texts[:-1], Y, cv=2)
    with pytest.raises(TypeError, match="no_such"):
        ours.cross_validate(quick(), texts, Y, no_such=1)


# Predictions on a sparse y


@pytest.mark.parametrize(
    "container, cv",
    [(sp.csr_matrix, 3), (sp.csr_array, SPLITTERS[0]), (sp.csr_matrix, SPLITTERS[1])],
)
def test_cross_val_predict_on_a_sparse_y(container, cv, colours):
    texts, Y, _ = colours
    Y = container(Y.astype(np.int32))
    model = quick(max_epochs=4, top_k=4)
    splits = list((KFold(cv) if cv == 3 else cv).split(texts, Y))
    loop = list(by_hand(model, texts, Y, splits))
    for method in METHODS:
        got = ours.cross_val_predict(model, texts, Y, cv=cv, method=method)
        assert type(got) is container and got.shape == Y.shape and got.nnz > 0
        for (_, test), (fitted, documents, _) in zip(splits, loop, strict=True):
            expected = getattr(fitted, method)(documents)
            assert got.dtype == expected.dtype
            part = got[test]
            part.sort_indices()
            for name in ("indptr", "indices", "data"):
                assert_array_equal(getattr(part, name), getattr(expected, name))
    ids, scores = ours.cross_val_predict(
        model, texts, Y, cv=cv, method="predict_topk", k=14
    )
    assert ids.dtype == np.int64 and scores.dtype == np.float32
    assert ids.shape == scores.shape == (60, 14)
    assert (ids[:, 12:] == -1).all()
    for (_, test), (fitted, documents, _) in zip(splits, loop, strict=True):
        expected = fitted.predict_topk(documents, 14)
        assert_array_equal(ids[test], expected[0])
        assert_array_equal(scores[test], expected[1])


def test_predict_topk_on_other_kinds_of_y(colours):
    texts, Y, _ = colours
    single = np.array(list("abc"))[np.arange(60) % 3]
    model = GRankClassifier(
        label_dim=4, max_epochs=1, validation_fraction=0, random_state=0
    )
    X = TfidfVectorizer().fit_transform(texts)
    dense = Y.toarray()
    ids, scores = ours.cross_val_predict(
        model, X, dense, cv=3, method="predict_topk", k=2
    )
    assert ids.dtype == np.int64 and scores.dtype == np.float32
    for train, test in KFold(3).split(X, dense):
        expected = clone(model).fit(X[train], dense[train]).predict_topk(X[test], 2)
        assert_array_equal(ids[test], expected[0])
        assert_array_equal(scores[test], expected[1])
    for y in (single, None):  # columns would be others in each fold
        with pytest.raises(ValueError, match="needs y of shape"):
            ours.cross_val_predict(model, X, y, cv=3, method="predict_topk")


def test_predict_topk_of_a_pipeline(colours):
    texts, Y, _ = colours
    model = GRankClassifier(
        label_dim=4, max_epochs=1, validation_fraction=0, random_state=0
    )
    pipe = make_pipeline(TfidfVectorizer(), model)
    options = dict(cv=3, method="predict_topk", k=2)
    for Y_ in (Y, Y.toarray()):
        ids, scores = ours.cross_val_predict(pipe, texts, Y_, **options)
        for train, test in KFold(3).split(texts):
            fitted = clone(pipe).fit([texts[i] for i in train], Y_[train])
            X = fitted[:-1].transform([texts[i] for i in test])
            expected = fitted[-1].predict_topk(X, 2)
            assert_array_equal(ids[test], expected[0])
            assert_array_equal(scores[test], expected[1])


class Far(Frequent):
    """Ranks labels whose ids no float32 holds."""

    def predict_topk(self, X, k=5):
        ids = np.tile(2**40 + np.arange(k), (len(X), 1))
        return ids, np.ones(ids.shape, np.float32)


def test_ids_stay_exact():
    Y = sp.csr_array(np.eye(4))
    ids, _ = ours.cross_val_predict(Far(), [""] * 4, Y, cv=2, method="predict_topk")
    assert_array_equal(ids, np.tile(2**40 + np.arange(5), (4, 1)))


@pytest.mark.parametrize("k", [0, -1, 1.5, "5", None])
def test_bad_k(k, colours):
    for y in (colours[1], colours[1].toarray()):
        with pytest.raises((ValueError, TypeError), match="k must be an int"):
            ours.cross_val_predict(
                quick(), colours[0], y, cv=2, method="predict_topk", k=k
            )


@pytest.mark.parametrize("method", [*METHODS, "predict_topk"])
def test_what_is_no_partition(method, colours):
    texts, Y, _ = colours
    cv = MultilabelShuffleSplit(2, random_state=0)
    with pytest.raises(ValueError, match="only works for partitions"):
        ours.cross_val_predict(quick(), texts, Y, cv=cv, method=method)


def test_unknown_method(colours):
    with pytest.raises(AttributeError, match="no_such"):
        ours.cross_val_predict(quick(), *colours[:2], cv=2, method="no_such")


# Splitters


def folds_of(splitter, Y):
    return [test for _, test in splitter.split(Y, Y)]


def n_lost(Y, train):
    """Labels of two or more documents that a training part is without."""
    return int(((totals(Y) >= 2) & (totals(Y[train]) == 0)).sum())


@st.composite
def label_matrices(draw, min_docs=2, max_per_doc=6, max_labels=10):
    """CSR array and the same as ints; repeated and empty rows, explicit zeros."""
    n_docs = draw(st.integers(min_docs, 12))
    n_labels = draw(st.integers(1, max_labels))
    row = st.sets(st.integers(0, n_labels - 1), max_size=max_per_doc)
    kinds = draw(st.lists(row, min_size=1, max_size=n_docs))
    rows = draw(st.lists(st.sampled_from(kinds), min_size=n_docs, max_size=n_docs))
    table = np.array([[j in row for j in range(n_labels)] for row in rows], int)
    stored = table + draw(st.integers(0, 1)) * np.eye(n_docs, n_labels, dtype=int) > 0
    i, j = np.nonzero(stored)
    return sp.csr_array((table[i, j].astype(float), (i, j)), table.shape), table


@settings(max_examples=100, deadline=None)
@given(label_matrices(), st.integers(2, 5), st.booleans(), st.integers(0, 99))
def test_folds_partition_the_documents(case, n_splits, shuffle, seed):
    Y, table = case
    n_docs = len(table)
    n_splits = min(n_splits, n_docs)
    splitter = MultilabelKFold(n_splits, shuffle=shuffle, random_state=seed)
    assert splitter.get_n_splits(Y, Y) == n_splits
    splits = list(splitter.split(np.empty(n_docs), Y))
    assert len(splits) == n_splits
    for train, test in splits:
        assert train.dtype.kind == test.dtype.kind == "i"
        assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(n_docs))
    sizes = [len(test) for _, test in splits]
    assert sum(sizes) == n_docs and max(sizes) - min(sizes) <= 1
    for other in (table, table.astype(bool), sp.csc_matrix(table), pd.DataFrame(table)):
        for one, two in zip(splits, splitter.split(other, other), strict=True):
            assert_array_equal(one[0], two[0])
            assert_array_equal(one[1], two[1])


@settings(max_examples=100, deadline=None)
@given(label_matrices(max_per_doc=1), st.integers(2, 5), st.integers(0, 99))
def test_one_label_a_document_is_always_kept(case, n_splits, seed):
    Y = case[0]
    n_splits = min(n_splits, Y.shape[0])
    splitter = MultilabelKFold(n_splits, shuffle=True, random_state=seed)
    for train, _ in splitter.split(Y, Y):
        assert n_lost(Y, train) == 0
    splitter = MultilabelShuffleSplit(2, test_size=Y.shape[0] // 2, random_state=seed)
    for train, _ in splitter.split(Y, Y):
        assert n_lost(Y, train) == 0


@settings(max_examples=100, deadline=None)
@given(label_matrices(3, 2, 20), st.integers(3, 5), st.integers(0, 99))
def test_two_labels_a_document_are_kept_by_three_folds(case, n_splits, seed):
    Y = case[0]
    n_splits = min(n_splits, Y.shape[0])
    splitter = MultilabelKFold(n_splits, shuffle=True, random_state=seed)
    splits = list(splitter.split(Y, Y))
    assert [n_lost(Y, train) for train, _ in splits] == [0] * n_splits


@settings(max_examples=100, deadline=None)
@given(label_matrices(), st.data())
def test_random_splits_have_the_sizes_asked_for(case, data):
    Y, table = case
    n_docs = len(table)
    n_train = data.draw(st.integers(1, n_docs - 1))
    n_test = data.draw(st.integers(1, n_docs - n_train))
    splitter = MultilabelShuffleSplit(
        3, train_size=n_train, test_size=n_test, random_state=0
    )
    splits = list(splitter.split(Y, Y))
    assert len(splits) == splitter.get_n_splits() == 3
    for train, test in splits:
        assert (len(train), len(test)) == (n_train, n_test)
        both = np.concatenate([train, test])
        assert len(np.unique(both)) == len(both)
        assert both.min() >= 0 and both.max() < n_docs
    for one, two in zip(splits, splitter.split(table, table), strict=True):
        assert_array_equal(one[0], two[0])
        assert_array_equal(one[1], two[1])


def can_be_kept(table, sizes):
    """Whether any folds of these sizes leave every label to each training part."""
    several = table[:, table.sum(axis=0) >= 2].astype(bool)
    owners = [frozenset(np.flatnonzero(column)) for column in several.T]

    def search(rest, sizes):
        if not sizes:
            return True
        for size in set(sizes):
            others = list(sizes)
            others.remove(size)
            for more in itertools.combinations(rest[1:], size - 1):
                fold = {rest[0], *more}
                if any(docs <= fold for docs in owners):
                    continue
                if search([doc for doc in rest if doc not in fold], others):
                    return True
        return False

    return search(list(range(len(table))), sizes)


def can_be_kept_by(table, n_train):
    several = table[:, table.sum(axis=0) >= 2]
    parts = itertools.combinations(range(len(table)), n_train)
    return any(several[list(part)].any(axis=0).all() for part in parts)


def small_tables(n_tables):
    rng = np.random.default_rng(0)
    for _ in range(n_tables):
        shape = rng.integers(4, 9), rng.integers(1, 9)
        yield (rng.random(shape) < rng.choice([0.15, 0.25, 0.4, 0.6])).astype(int)


@pytest.mark.parametrize("n_splits", [2, 3, 4])
def test_folds_keep_labels_where_that_can_be(n_splits):
    failures, n_tables = 0, 300
    for table in small_tables(n_tables):
        splits = list(MultilabelKFold(n_splits).split(table, table))
        sizes = [len(test) for _, test in splits]
        assert max(sizes) - min(sizes) <= 1
        if any(n_lost(table, train) for train, _ in splits):
            failures += can_be_kept(table, sizes)
    assert failures <= 0.02 * n_tables


def test_random_splits_keep_labels_where_that_can_be():
    failures, n_tables = 0, 300
    for seed, table in enumerate(small_tables(n_tables)):
        n_test = len(table) // (2 + seed % 2)
        splitter = MultilabelShuffleSplit(1, test_size=n_test, random_state=seed)
        train, test = next(splitter.split(table, table))
        assert (len(train), len(test)) == (len(table) - n_test, n_test)
        if n_lost(table, train):
            failures += can_be_kept_by(table, len(train))
    assert failures <= 0.02 * n_tables


@pytest.mark.parametrize(
    "train_size, test_size",
    [(None, None), (None, 0.3), (None, 40), (0.6, None), (33, None), (0.5, 0.2)]
    + [(50, 0.101), (0.333, 7), (90, 10), (1, 1), (99, None), (None, 99)],
)
def test_sizes_are_those_of_shuffle_split(train_size, test_size):
    Y = make_xmc(100, 30, kind="features", random_state=0).Y
    options = dict(train_size=train_size, test_size=test_size, random_state=0)
    expected = [
        (len(train), len(test))
        for train, test in sk.ShuffleSplit(3, **options).split(Y)
    ]
    splits = list(MultilabelShuffleSplit(3, **options).split(Y, Y))
    assert [(len(train), len(test)) for train, test in splits] == expected
    for train, test in splits:
        assert len(np.union1d(train, test)) == len(train) + len(test)


@pytest.mark.parametrize("test_size", [0.1, 0.5, 0.9])
def test_sizes_where_labels_are_many(test_size):
    Y = make_xmc(200, 2000, kind="features", n_labels_per_doc=8, random_state=0).Y
    splitter = MultilabelShuffleSplit(2, test_size=test_size, random_state=0)
    n_test = round(200 * test_size)
    for train, test in splitter.split(Y, Y):
        assert (len(train), len(test)) == (200 - n_test, n_test)
        assert not np.intersect1d(train, test).size
    for n_splits in (2, 7):
        sizes = [len(test) for test in folds_of(MultilabelKFold(n_splits), Y)]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("n_splits", [2, 5, 10])
def test_frequent_labels_are_shared_out(n_splits):
    Y = make_xmc(600, 100, kind="features", random_state=0).Y
    frequent = np.argsort(-totals(Y))[:20]

    def distance(splitter):
        shares = [
            totals(Y[test])[frequent] / totals(Y)[frequent]
            for test in folds_of(splitter, Y)
        ]
        return np.abs(np.array(shares) - 1 / n_splits).mean()

    def mean(kind):
        splitters = [kind(n_splits, shuffle=True, random_state=i) for i in range(5)]
        return np.mean([distance(splitter) for splitter in splitters])

    expected = mean(KFold)
    assert mean(MultilabelKFold) < 0.9 * expected
    assert distance(MultilabelKFold(n_splits)) < 0.9 * expected


def test_random_splits_share_labels_out():
    Y = make_xmc(600, 100, kind="features", random_state=0).Y
    frequent = np.argsort(-totals(Y))[:20]

    def distance(kind):
        splits = kind(10, test_size=0.2, random_state=0).split(Y, Y)
        shares = [totals(Y[test])[frequent] / totals(Y)[frequent] for _, test in splits]
        return np.abs(np.array(shares) - 0.2).mean()

    assert distance(MultilabelShuffleSplit) < 0.9 * distance(sk.ShuffleSplit)


@pytest.mark.parametrize(
    "splitter",
    [
        lambda seed: MultilabelKFold(3, shuffle=True, random_state=seed),
        lambda seed: MultilabelShuffleSplit(2, random_state=seed),
    ],
    ids=["folds", "random splits"],
)
def test_random_state(splitter):
    Y = make_xmc(60, 30, kind="features", random_state=0).Y
    got, again, other = (folds_of(splitter(seed), Y) for seed in (0, 0, 1))
    for one, two in zip(got, again, strict=True):
        assert_array_equal(one, two)
    assert any(set(one) != set(two) for one, two in zip(got, other, strict=True))
    drawn = splitter(np.random.RandomState(0))
    first, second = folds_of(drawn, Y), folds_of(drawn, Y)
    assert any(set(one) != set(two) for one, two in zip(first, second, strict=True))


def test_each_random_split_is_another():
    Y = make_xmc(60, 30, kind="features", random_state=0).Y
    one, two = folds_of(MultilabelShuffleSplit(2, random_state=0), Y)
    assert set(one) != set(two)


def test_without_shuffle_folds_are_the_same_each_time():
    Y = make_xmc(60, 30, kind="features", random_state=0).Y
    got = folds_of(MultilabelKFold(3), Y)
    for one, two in zip(got, folds_of(MultilabelKFold(3), Y), strict=True):
        assert_array_equal(one, two)


@pytest.mark.parametrize("kind", [MultilabelKFold, MultilabelShuffleSplit])
@pytest.mark.parametrize(
    "y, message",
    [
        (np.array([0, 1, 0, 1, 1]), r"shape \(5,\).*StratifiedKFold"),
        (np.full((5, 2), 2), "0 and 1 only, got 2"),
        (sp.csr_array(np.full((5, 2), 0.5)), "0 and 1 only, got 0.5"),
        (np.full((5, 2), np.nan), "0 and 1 only, got nan"),
        (np.full((5, 2), "a"), "numbers 0 and 1"),
        (sp.csr_array((5, 0)), "at least one"),
    ],
)
def test_bad_y(kind, y, message):
    with pytest.raises(ValueError, match=message):
        list(kind(2).split(np.empty(5), y))


@pytest.mark.parametrize("kind", [MultilabelKFold, MultilabelShuffleSplit])
def test_other_numbers_of_documents(kind):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        list(kind(2).split(np.empty(5), np.eye(4)))


@pytest.mark.parametrize("n_splits", [1, 0, 2.0, None])
def test_bad_numbers_of_folds(n_splits):
    with pytest.raises((ValueError, TypeError), match="n_splits must be an int"):
        MultilabelKFold(n_splits).split(np.eye(5), np.eye(5))


def test_more_folds_than_documents():
    with pytest.raises(ValueError, match="n_splits=6, but there are 5 documents"):
        list(MultilabelKFold(6).split(np.eye(5), np.eye(5)))
    folds = folds_of(MultilabelKFold(5), np.eye(5))
    assert sorted(np.concatenate(folds)) == list(range(5))


@pytest.mark.parametrize(
    "sizes",
    [
        dict(test_size=0),
        dict(test_size=1.0),
        dict(test_size=5),
        dict(train_size=-1),
        dict(train_size=3, test_size=3),
        dict(train_size=0.6, test_size=0.6),
        dict(train_size=0.1),  # no document at all
        dict(test_size="a"),
    ],
    ids=str,
)
def test_bad_sizes(sizes):
    with pytest.raises(ValueError, match="size|train|test"):
        list(MultilabelShuffleSplit(2, **sizes).split(np.eye(5), np.eye(5)))


def test_100_000_labels():
    Y = make_xmc(50_000, 100_000, kind="features", words_per_doc=1, random_state=0).Y
    splits = list(MultilabelKFold(5).split(Y, Y))
    assert [len(test) for _, test in splits] == [10_000] * 5
    splits += MultilabelShuffleSplit(1, random_state=0).split(Y, Y)
    assert (len(splits[-1][0]), len(splits[-1][1])) == (45_000, 5_000)
    assert [n_lost(Y, train) for train, _ in splits] == [0] * 6


def test_repr_and_clone_of_splitters(colours):
    folds = MultilabelKFold(3, shuffle=True, random_state=1)
    text = "MultilabelKFold(n_splits=3, random_state=1, shuffle=True)"
    assert repr(folds) == text
    text = " ".join(repr(MultilabelShuffleSplit(3, test_size=0.2)).split())
    expected = "n_splits=3, random_state=None, test_size=0.2, train_size=None"
    assert text == f"MultilabelShuffleSplit({expected})"
    search = clone(GridSearchCV(quick(), {"beta": [0.5]}, cv=folds))
    for one, two in zip(
        folds_of(search.cv, colours[1]), folds_of(folds, colours[1]), strict=True
    ):
        assert_array_equal(one, two)


# At home in scikit-learn


def assert_searched(search, texts, Y):
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert type(search.best_estimator_.predict_proba(texts)) is type(Y)
    got, expected = (m.predict_proba(texts) for m in (search, search.best_estimator_))
    assert_array_equal(got.toarray(), expected.toarray())


def test_grid_search(colours):
    texts, Y, _ = colours
    scorer = ranking_report_scorer(ks=(1, 5))
    grid = {"max_epochs": [1, 6], "beta": [0.3, 0.7]}
    search = GridSearchCV(
        quick(),
        grid,
        scoring=scorer,
        refit="PSP@5",
        cv=MultilabelKFold(3),
        error_score="raise",
    )
    search.fit(texts, Y)
    results = search.cv_results_
    means = results["mean_test_PSP@5"]
    assert search.best_score_ == means.max() > means.min()
    splits = list(MultilabelKFold(3).split(texts, Y))
    for i, params in enumerate(results["params"]):
        for j, parts in enumerate(by_hand(quick(**params), texts, Y, splits)):
            for name, value in scorer(*parts).items():
                assert results[f"split{j}_test_{name}"][i] == value
    expected = quick(**search.best_params_).fit(texts, Y).predict_topk(texts)
    assert_array_equal(search.best_estimator_.predict_topk(texts)[0], expected[0])
    assert search.score(texts, Y) == scorer(search.best_estimator_, texts, Y)["PSP@5"]


def test_randomized_search(colours):
    texts, Y, _ = colours
    search = RandomizedSearchCV(
        quick(),
        {"max_epochs": randint(1, 4), "beta": [0.3, 0.7]},
        n_iter=3,
        scoring=ranking_scorer("ndcg", 3),
        cv=MultilabelShuffleSplit(2, random_state=0),
        random_state=0,
        error_score="raise",
    )
    assert_searched(search.fit(texts, Y), texts, Y)


@pytest.mark.parametrize("resource", ["n_samples", "max_epochs"])
def test_halving_search(resource, colours):
    texts, Y, _ = colours
    search = sk.HalvingGridSearchCV(
        quick(),
        {"beta": [0.3, 0.7], "label_dim": [4, 8]},
        factor=2,
        resource=resource,
        min_resources=20 if resource == "n_samples" else 1,
        max_resources=40 if resource == "n_samples" else 2,
        scoring=ranking_scorer("precision", 3),
        cv=MultilabelKFold(2),
        random_state=0,
        error_score="raise",
    )
    search.fit(texts, Y)
    assert search.n_iterations_ == 2 and search.n_candidates_ == [4, 2]
    assert_searched(search, texts, Y)


def test_pipeline_with_memory(tmp_path, colours):
    texts, Y, _ = colours
    steps = [("tfidf", TfidfVectorizer()), ("model", quick())]
    plain, cached = Pipeline(steps), Pipeline(steps, memory=str(tmp_path))
    for _ in range(2):
        got, expected = (
            ours.cross_val_predict(m, texts, Y, cv=2, method="predict_proba")
            for m in (cached, plain)
        )
        assert_array_equal(got.toarray(), expected.toarray())
    assert any(tmp_path.rglob("output.pkl"))
    search = GridSearchCV(cached, {"model__max_epochs": [1, 2]}, cv=MultilabelKFold(2))
    assert_searched(search.fit(texts, Y), texts, Y)


def test_column_of_a_table(colours):
    texts, Y, _ = colours
    table = pd.DataFrame({"text": texts, "length": np.linspace(0, 1, 60)})
    columns = ColumnTransformer(
        [("tfidf", TfidfVectorizer(), "text"), ("rest", "passthrough", ["length"])]
    )
    model = make_pipeline(columns, quick())
    scores = ours.cross_val_score(model, table, Y, cv=MultilabelKFold(3))
    X = sp.hstack([TfidfVectorizer().fit_transform(texts), table[["length"]]], "csr")
    expected = ours.cross_val_predict(quick(), X, Y, cv=2, method="predict_proba")
    assert len(scores) == 3 and expected.shape == (60, 12)
    fitted = model.fit(table, Y)
    got = quick().fit(X, Y).predict_proba(X).toarray()
    assert_array_equal(fitted.predict_proba(table).toarray(), got)
    # The column itself, too.
    scores = ours.cross_val_score(quick(), table["text"], Y, cv=3)
    assert_array_equal(scores, ours.cross_val_score(quick(), texts, Y, cv=3))


def test_union_of_vectorizers(colours):
    texts, Y, _ = colours
    letters = TfidfVectorizer(analyzer="char", ngram_range=(2, 3))
    union = make_union(TfidfVectorizer(), letters)
    X = union.fit_transform(texts)
    model = make_pipeline(union, quick()).fit(texts, Y)
    expected = quick().fit(X, Y).predict_proba(X).toarray()
    assert_array_equal(model.predict_proba(texts).toarray(), expected)
    assert len(ours.cross_val_score(model, texts, Y, cv=2)) == 2


def test_nested_parameters(colours):
    texts, Y, _ = colours
    model = Pipeline([("tfidf", TfidfVectorizer()), ("model", quick())])
    assert model.get_params()["model__max_epochs"] == 2
    model.set_params(model__max_epochs=1, tfidf__sublinear_tf=True)
    assert model.fit(texts, Y)[-1].n_iter_ == 1
    with pytest.raises(ValueError, match="no_such"):
        model.set_params(model__no_such=1)
    grid = {"tfidf__use_idf": [True, False], "model": [quick(), quick(beta=0.3)]}
    search = GridSearchCV(model, grid, cv=2, scoring=ranking_scorer("psp", 3))
    assert_searched(search.fit(texts, Y), texts, Y)


def test_frozen_estimator(colours):
    texts, Y, _ = colours
    model = quick().fit(texts, Y)
    frozen = FrozenEstimator(model)
    splits = list(MultilabelKFold(3).split(texts, Y))
    for scoring in (None, ranking_scorer("psp", 3)):
        got = ours.cross_val_score(
            frozen, texts, Y, cv=MultilabelKFold(3), scoring=scoring
        )
        parts = [(model, rows_of(texts, test), Y[test]) for _, test in splits]
        score = LightDXMLClassifier.score if scoring is None else scoring
        assert_array_equal(got, [score(*part) for part in parts])
    proba = ours.cross_val_predict(frozen, texts, Y, cv=3, method="predict_proba")
    assert_allclose(proba.toarray(), model.predict_proba(texts).toarray(), rtol=1e-5)
    ids, _ = ours.cross_val_predict(frozen, texts, Y, cv=3, method="predict_topk")
    assert_array_equal(ids, model.predict_topk(texts)[0])
    vectors = FrozenEstimator(TfidfVectorizer().fit(texts))
    scores = ours.cross_val_score(make_pipeline(vectors, quick()), texts, Y, cv=2)
    assert np.isfinite(scores).all()


def test_sample_weight_is_routed_to_score(colours):
    texts, Y, _ = colours
    weights = np.arange(60) % 7
    cv = MultilabelKFold(3)
    expected, plain = [], []
    for train, test in cv.split(texts, Y):
        fitted = quick().fit(rows_of(texts, train), Y[train])
        part = rows_of(texts, test), Y[test]
        expected.append(fitted.score(*part, sample_weight=weights[test]))
        plain.append(fitted.score(*part))
    assert expected != plain
    with sklearn.config_context(enable_metadata_routing=True):
        last = quick().set_score_request(sample_weight=True)
        pipeline = Pipeline([("nothing", FunctionTransformer()), ("model", last)])
        # Of older versions no pipeline hands them on.
        newer = parse_version(sklearn.__version__) >= parse_version("1.9")
        for model in (last, pipeline) if newer else (last,):
            got = ours.cross_val_score(
                model, texts, Y, cv=cv, params=dict(sample_weight=weights)
            )
            assert_array_equal(got, expected)
            grid = {"beta" if model is last else "model__beta": [0.5]}
            search = GridSearchCV(model, grid, cv=cv, error_score="raise")
            search.fit(texts, Y, sample_weight=weights)
            got = [search.cv_results_[f"split{i}_test_score"][0] for i in range(3)]
            assert_array_equal(got, expected)
        # fit takes none, and a scorer that does not ask for them is not given any.
        for scoring in (None, ranking_scorer("psp", 3)):
            with pytest.raises((TypeError, ValueError), match="sample_weight"):
                ours.cross_val_score(
                    quick(),
                    texts,
                    Y,
                    scoring=scoring,
                    params=dict(sample_weight=weights),
                )


def test_metadata_routing_changes_nothing_else(colours):
    texts, Y, _ = colours
    scorer = ranking_report_scorer(ks=(1, 3))
    model = make_pipeline(TfidfVectorizer(), quick())
    options = dict(cv=MultilabelKFold(2), scoring=scorer)
    grid = {"lightdxmlclassifier__max_epochs": [1, 2]}
    results, predicted = [], []
    for enabled in (True, False):
        with sklearn.config_context(enable_metadata_routing=enabled):
            search = GridSearchCV(
                model, grid, refit="PSP@3", error_score="raise", **options
            )
            results.append(search.fit(texts, Y).cv_results_["mean_test_PSP@3"])
            results.append(ours.cross_validate(model, texts, Y, **options)["test_P@1"])
            for method in METHODS:
                predicted.append(
                    ours.cross_val_predict(model, texts, Y, cv=2, method=method)
                )
            predicted += ours.cross_val_predict(
                quick(), texts, Y, cv=2, method="predict_topk", k=3
            )
    for one, two in zip(results[:2], results[2:], strict=True):
        assert_array_equal(one, two)
    for one, two in zip(predicted[:5], predicted[5:], strict=True):
        assert_array_equal(dense(one), dense(two))


def test_groups_are_routed(colours):
    texts, Y, _ = colours
    groups = np.arange(60) % 4
    expected = ours.cross_val_predict(
        quick(),
        texts,
        Y,
        cv=list(sk.GroupKFold(2).split(texts, Y, groups)),
        method="predict_topk",
    )
    for enabled in (True, False):
        given = dict(params={"groups": groups}) if enabled else dict(groups=groups)
        with sklearn.config_context(enable_metadata_routing=enabled):
            got = ours.cross_val_predict(
                quick(), texts, Y, cv=sk.GroupKFold(2), method="predict_topk", **given
            )
        assert_array_equal(got[0], expected[0])
        assert_array_equal(got[1], expected[1])


# Memory


@pytest.fixture(scope="module")
def wide():
    """3,000 documents for 100,000 labels: 300 MB at a byte a score."""
    Y = make_xmc(3000, 100_000, kind="features", words_per_doc=1, random_state=0).Y
    return ["text"] * 3000, Y


def search_wide(texts, Y):
    search = GridSearchCV(
        Frequent(),
        {"n_best": [5, 10]},
        cv=MultilabelKFold(3),
        scoring=ranking_report_scorer(),
        refit="PSP@5",
        error_score="raise",
    )
    return search.fit(texts, Y).predict_proba(texts)


def letters():
    return TfidfVectorizer(analyzer="char")


def search_halving(X, Y):
    search = sk.HalvingGridSearchCV(
        Frequent(),
        {"n_best": [5, 6, 7]},
        min_resources=500,
        cv=MultilabelKFold(2),
        error_score="raise",
    )
    return search.fit(X, Y).predict_proba(X)


def search_randomly(X, Y):
    search = RandomizedSearchCV(
        Frequent(), {"n_best": randint(5, 9)}, n_iter=2, cv=MultilabelKFold(2)
    )
    return search.fit(X, Y).predict_proba(X)


def score_cached(X, Y):
    with TemporaryDirectory() as folder:
        model = make_pipeline(letters(), Frequent(), memory=folder)
        return ours.cross_val_score(model, X, Y, cv=3)


def score_column(X, Y):
    column = ColumnTransformer([("letters", letters(), "text")])
    table = pd.DataFrame({"text": X})
    return ours.cross_val_score(make_pipeline(column, Frequent()), table, Y, cv=3)


def score_union(X, Y):
    model = make_pipeline(make_union(letters(), letters()), Frequent())
    return ours.cross_val_score(model, X, Y, cv=3)


def score_weighted(X, Y):
    with sklearn.config_context(enable_metadata_routing=True):
        model = Frequent().set_score_request(sample_weight=True)
        params = dict(sample_weight=np.ones(len(X)))
        return ours.cross_val_score(model, X, Y, cv=3, params=params)


@pytest.mark.parametrize(
    "call",
    [
        search_wide,
        search_randomly,
        search_halving,
        score_cached,
        score_column,
        score_union,
        score_weighted,
        lambda X, Y: ours.cross_validate(
            Frequent(),
            X,
            Y,
            cv=3,
            scoring=ranking_report_scorer(),
            return_train_score=True,
        ),
        lambda X, Y: ours.cross_val_predict(
            Frequent(), X, Y, cv=MultilabelKFold(3), method="predict_proba"
        ),
        lambda X, Y: ours.cross_val_predict(
            Frequent(), X, Y, cv=3, method="predict_topk"
        ),
        lambda X, Y: ours.cross_val_predict(
            FrozenEstimator(Frequent().fit(X, Y)), X, Y, cv=3, method="predict_proba"
        ),
        lambda X, Y: ours.learning_curve(
            Frequent(), X, Y, cv=3, train_sizes=[0.5, 1.0], error_score="raise"
        ),
        lambda X, Y: ours.validation_curve(
            Frequent(), X, Y, cv=3, param_name="n_best", param_range=[5, 9]
        ),
    ],
    ids=[
        "grid search",
        "randomized search",
        "halving search",
        "pipeline",
        "column",
        "union",
        "sample_weight",
        "cross_validate",
        "predict_proba",
        "predict_topk",
        "frozen",
        "learning curve",
        "validation curve",
    ],
)
def test_no_dense_array(call, wide):
    tracemalloc.start()
    try:
        call(*wide)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6


# tracemalloc does not see what torch holds.
WIDE_SEARCH = """
import sys
from pathlib import Path
import numpy as np, scipy.sparse as sp, torch
from sklearn.model_selection import GridSearchCV
from skxmc import GRankClassifier
from skxmc.datasets import make_xmc
from skxmc.metrics import ranking_report_scorer
from skxmc.model_selection import MultilabelKFold, cross_val_predict

def peak():
    # In MB, of this process alone: getrusage counts that which started it.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000

torch.set_num_threads(1)
X = sp.csr_array(np.random.default_rng(0).random((3000, 8)))
Y = make_xmc(3000, 100_000, kind="features", words_per_doc=1, random_state=0).Y
model = GRankClassifier(
    label_dim=4,
    max_epochs=1,
    batch_size=256,
    max_leaf_size=100,
    n_shortlist=2,
    predict_shortlist=2,
    validation_fraction=0,
    random_state=0,
)
model.fit(X, Y).predict_topk(X[:9])
before = peak()
if sys.argv[1] == "dense":
    torch.ones(3000, 100_000, dtype=torch.bool)
search = GridSearchCV(
    model,
    {"head_learning_rate": [1e-3, 1e-2]},
    cv=MultilabelKFold(2),
    scoring=ranking_report_scorer(),
    refit="PSP@5",
    error_score="raise",
)
search.fit(X, Y)
proba = cross_val_predict(model, X, Y, cv=2, method="predict_proba")
assert proba.shape == (3000, 100_000) and proba.nnz == 3000 * model.top_k
print(peak() - before)
"""


@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_memory_of_a_search(kind):
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    done = subprocess.run(
        [sys.executable, "-c", WIDE_SEARCH, kind],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (float(done.stdout) < 200) == (kind == "sparse")


# Containers of texts


@pytest.mark.parametrize(
    "container, scikit_learn_too",
    [
        (pa.array, True),
        (lambda texts: pa.chunked_array([texts[:5], texts[5:]]), True),
        # scikit-learn 1.6 takes no folds of these itself.
        (lambda texts: pa.table({"text": texts}), False),
        (deque, True),
        (lambda texts: [[text] for text in texts], True),
        (lambda texts: pd.array(texts, dtype="string"), False),
        (lambda texts: dict(enumerate(texts)).values(), False),
    ],
)
def test_folds_of_texts_in_any_container(container, scikit_learn_too, colours):
    texts, Y, _ = colours
    model = LightDXMLClassifier(
        max_epochs=1, label_dim=8, validation_fraction=0, random_state=0
    )
    X = container(texts)
    for function in (ours.cross_val_score, ours.cross_val_predict):
        expected, got = (function(model, docs, Y, cv=2) for docs in (texts, X))
        expected, got = map(sp.csr_array, (expected, got))
        assert (got != expected).nnz == 0
    if scikit_learn_too:
        y = Y.toarray().argmax(axis=1)
        search = GridSearchCV(model, {"beta": [0.5]}, cv=KFold(2))
        assert search.fit(X, y).score(X, y) == search.fit(texts, y).score(texts, y)
