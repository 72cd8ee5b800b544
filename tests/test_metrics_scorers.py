"""Scorers for scikit-learn's tools."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from metrics_examples import (
    SPARSE,
    Bare,
    ColumnRanker,
    TopKRanker,
    assert_reports_equal,
    scorer_problem,
)
from sklearn import config_context
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skxmc import metrics
from skxmc.metrics._ranking import METRICS


@pytest.mark.parametrize("container", [np.asarray, *SPARSE])
@pytest.mark.parametrize("ranker", [ColumnRanker, TopKRanker])
@pytest.mark.parametrize("name", METRICS)
def test_scorer_equals_metric(name, ranker, container):
    X, Y = scorer_problem(container)
    model = ranker().fit(X[:20], Y[:20])
    p = metrics.propensity(Y[:20], a=0.6, b=2.6)
    options = {"propensity": p} if name.startswith("ps") else {}
    expected = getattr(metrics, f"{name}_at_k")(Y[20:], X[20:], 3, **options)
    got = metrics.ranking_scorer(name, 3, a=0.6, b=2.6)(model, X[20:], Y[20:])
    assert type(got) is float and got == pytest.approx(expected)


def test_given_propensity_wins():
    X, Y = scorer_problem()
    model = ColumnRanker().fit(X, Y)
    p = np.linspace(0.1, 1, 8)
    got = metrics.ranking_scorer("psp", 3, propensity=p)(model, X, Y)
    assert got == metrics.psp_at_k(Y, X, 3, propensity=p)
    assert got != metrics.psp_at_3_scorer(model, X, Y)


@pytest.mark.parametrize(
    "scorer, name, k",
    [
        (metrics.precision_at_1_scorer, "P", 1),
        (metrics.precision_at_3_scorer, "P", 3),
        (metrics.precision_at_5_scorer, "P", 5),
        (metrics.recall_at_5_scorer, "R", 5),
        (metrics.ndcg_at_3_scorer, "nDCG", 3),
        (metrics.ndcg_at_5_scorer, "nDCG", 5),
        (metrics.psp_at_1_scorer, "PSP", 1),
        (metrics.psp_at_3_scorer, "PSP", 3),
        (metrics.psp_at_5_scorer, "PSP", 5),
    ],
)
def test_ready_made_scorers_and_report_scorer(scorer, name, k):
    X, Y = scorer_problem()
    model = ColumnRanker().fit(X, Y)
    expected = metrics.ranking_report(Y, X, propensity=metrics.propensity(Y))
    assert_reports_equal(metrics.ranking_report_scorer()(model, X, Y), expected)
    assert scorer(model, X, Y) == pytest.approx(expected[f"{name}@{k}"])


def test_report_scorer_predicts_once_for_the_largest_k():
    X, Y = scorer_problem()
    model = TopKRanker().fit(X, Y)
    metrics.ranking_report_scorer(ks=(3, 1))(model, X, Y)
    assert model.asked_ == 3
    metrics.ranking_report_scorer(ks=100)(model, X, Y)
    assert model.asked_ == 8  # n_labels


def test_predict_proba_is_the_last_resort_and_integers_are_scores():
    class Probabilities(Bare):
        def predict_proba(self, X):
            return np.array([[0, 1, 0], [1, 0, 0]])

    Y = np.array([[0, 1, 0], [1, 0, 0]])
    assert metrics.precision_at_1_scorer(Probabilities(), Y, Y) == 1


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_decision_function(kind):
    class Sparse(ColumnRanker):
        def decision_function(self, X):
            return kind(np.where(X > 0, X, 0))

    X, Y = scorer_problem(kind)
    expected = metrics.ndcg_at_k(Y, sp.csr_array(np.where(X > 0, X, 0)), 5)
    assert metrics.ndcg_at_5_scorer(Sparse().fit(X, Y), X, Y) == expected


def test_counts_are_found_inside_pipeline_and_search():
    X, Y = scorer_problem()
    expected = metrics.psp_at_5_scorer(ColumnRanker().fit(X, Y), X, Y)
    assert expected < 1
    pipe = make_pipeline(FunctionTransformer(), ColumnRanker())
    assert metrics.psp_at_5_scorer(pipe.fit(X, Y), X, Y) == expected
    grid = {"columnranker__sign": [1.0, -1.0]}
    search = GridSearchCV(pipe, grid, scoring=metrics.psp_at_5_scorer, cv=2)
    nested = make_pipeline(FunctionTransformer(), search.fit(X, Y))
    assert metrics.psp_at_5_scorer(nested, X, Y) == expected


@pytest.mark.parametrize("kind", SPARSE)
def test_grid_search_over_processes_with_report_scorer(kind):
    X, Y = scorer_problem(kind)
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), ColumnRanker()),
        {"columnranker__sign": [-1.0, 1.0]},
        scoring=metrics.ranking_report_scorer(ks=(1, 5)),
        refit="PSP@5",
        cv=2,
        n_jobs=2,
        error_score="raise",
    ).fit(X, Y)
    assert search.best_params_ == {"columnranker__sign": 1.0}
    # The folds are the halves, each scored with the counts of the other half.
    folds = [
        metrics.psp_at_k(Y[test], X[test], 5, propensity=metrics.propensity(Y[train]))
        for train, test in [(slice(20, 40), slice(20)), (slice(20), slice(20, 40))]
    ]
    assert search.cv_results_["mean_test_PSP@5"][1] == pytest.approx(np.mean(folds))
    assert search.score(X, Y) == pytest.approx(
        metrics.psp_at_k(Y, X, 5, propensity=metrics.propensity(Y))
    )


def test_with_scikit_learn_classifiers_and_routing():
    X, Y = scorer_problem()
    model = OneVsRestClassifier(GaussianNB())
    scores = cross_val_score(model, X, Y, scoring=metrics.ndcg_at_3_scorer, cv=2)
    assert (scores > 0.5).all()
    report = metrics.ranking_report_scorer(ks=1, propensity=False)
    with config_context(enable_metadata_routing=True):
        results = cross_validate(model, X, Y, scoring=report, cv=2)
        assert "test_nDCG@1" in results and "test_PSP@1" not in results
        search = GridSearchCV(model, {}, scoring=report, refit="P@1", cv=2)
        assert 0 < search.fit(X, Y).best_score_ <= 1


@pytest.mark.parametrize("classes", [[0, 1], ["b", "a"], ["b", "c", "a"]])
def test_one_dimensional_y_is_mapped_through_classes(classes):
    rng = np.random.default_rng(0)
    y = rng.choice(classes, 60)
    X = (y[:, None] == np.array(classes)) + rng.normal(size=(60, len(classes)))
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    accuracy = model.score(X, y)
    assert 1 / len(classes) < accuracy < 1
    assert metrics.precision_at_1_scorer(model, X, y) == pytest.approx(accuracy)
    assert metrics.precision_at_1_scorer(model, X, list(y)) == pytest.approx(accuracy)


def test_unsorted_classes_and_a_class_unseen_in_training():
    class Unsorted(ColumnRanker):
        classes_ = np.array(["c", "a", "b"])

    X = np.array([[3.0, 2, 1], [1, 3, 2], [1, 2, 3], [3, 2, 1]])
    scorer = metrics.precision_at_1_scorer
    assert scorer(Unsorted(), X, np.array(["c", "a", "b", "zz"])) == 0.75


@pytest.mark.parametrize("as_list", [False, True])
def test_scorers_can_be_pickled_cloned_and_copied(as_list):
    X, Y = scorer_problem()
    model = ColumnRanker().fit(X, Y)
    p = metrics.propensity(Y)
    p = list(p) if as_list else p
    for scorer in (
        metrics.psp_at_3_scorer,
        metrics.ranking_scorer("macro_f1", 2, propensity=p),
        metrics.ranking_report_scorer((1, 2), propensity=p),
    ):
        expected = scorer(model, X, Y)
        for other in (
            pickle.loads(pickle.dumps(scorer)),
            clone(scorer),
            copy.deepcopy(scorer),
        ):
            assert other is not scorer and other(model, X, Y) == expected


def test_errors_of_scorers():
    X, Y = scorer_problem()
    with pytest.raises(ValueError, match="metric must be one of precision,.*'f2'"):
        metrics.ranking_scorer("f2")
    with pytest.raises(ValueError, match="k must be an integer >= 1.*got 0"):
        metrics.ranking_scorer("ndcg", 0)
    with pytest.raises(ValueError, match=r"k must be one integer, got \(1, 3\)"):
        metrics.ranking_scorer("ndcg", (1, 3))
    plain = OneVsRestClassifier(GaussianNB()).fit(X, Y)
    for scorer in (metrics.psp_at_1_scorer, metrics.ranking_report_scorer()):
        with pytest.raises(ValueError, match="OneVsRest.* no fitted label_counts_"):
            scorer(plain, X, Y)
        with pytest.raises(ValueError, match="Pass propensity="):
            scorer(make_pipeline(plain), X, Y)
    with pytest.raises(ValueError, match="Bare has none of predict_topk"):
        metrics.precision_at_1_scorer(Bare(), X, Y)
    with pytest.raises(ValueError, match="y is 1-D, but Bare has no classes_"):
        metrics.precision_at_1_scorer(Bare(), X, Y[:, 0])
    forest = RandomForestClassifier(2).fit(X, Y)
    with pytest.raises(ValueError, match="predict_proba returned a list of 8 arrays"):
        metrics.precision_at_1_scorer(forest, X, Y)
    constant = DummyClassifier().fit(X, Y[:, 1])
    with pytest.raises(ValueError, match=r"y_score holds scores of shape \(40, 2\)"):
        metrics.precision_at_1_scorer(constant, X, Y)
