"""Cross-validation functions, on dense and sparse labels."""

import inspect
from collections import deque

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
from model_selection_examples import METHODS, Frequent, by_hand, quick, rows_of
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import model_selection as sk
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from skxmc import GRankClassifier, LightDXMLClassifier
from skxmc import model_selection as ours
from skxmc.metrics import ranking_report_scorer, ranking_scorer
from skxmc.model_selection import MultilabelKFold, MultilabelShuffleSplit

CONTAINERS = [sp.csr_array, sp.csr_matrix]
SPLITTERS = [KFold(3, shuffle=True, random_state=0), MultilabelKFold(3)]


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
