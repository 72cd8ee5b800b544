"""What is asked of an estimator, inside pipelines and searches as well."""

from types import SimpleNamespace

import numpy as np
import pytest
from metrics_examples import Bare, ColumnRanker, TopKRanker, scorer_problem
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skxmc import LightDXMLClassifier, metrics
from skxmc._response import (
    find_classifier,
    find_training_counts,
    predict_ranking,
    predict_topk,
    unwrap,
)


def negate(X):
    return -np.asarray(X)


def fitted_search(estimator):
    """Something that looks like a search that has been fitted."""
    return SimpleNamespace(best_estimator_=estimator)


def test_unwrap_goes_from_the_outside_in():
    model = Bare()
    pipe = make_pipeline(FunctionTransformer(), model)
    search = fitted_search(pipe)
    outer = make_pipeline(search)
    assert list(unwrap(outer)) == [outer, search, pipe, model]
    assert list(unwrap(model)) == [model]
    unfitted = GridSearchCV(model, {})  # has no best_estimator_ to look into
    assert list(unwrap(unfitted)) == [unfitted]


def test_the_classifier_is_found():
    model, other = TopKRanker(), Bare()
    for wrap in (
        make_pipeline,
        fitted_search,
        lambda m: fitted_search(make_pipeline(m)),
    ):
        assert find_classifier(wrap(model)) is model
        assert find_classifier(wrap(other)) is other
    assert find_classifier(Pipeline([("last", "passthrough")])) == "passthrough"
    frozen = FrozenEstimator(model)  # has the methods of what it freezes
    assert find_classifier(make_pipeline(frozen)) is frozen


def test_training_counts_are_found():
    X, Y = scorer_problem()
    model = ColumnRanker().fit(X, Y)
    expected = model.label_counts_, model.n_docs_
    for wrap in (lambda m: m, make_pipeline, fitted_search):
        assert find_training_counts(wrap(model)) == expected
        assert find_training_counts(wrap(Bare())) is None
    # Those of the outermost estimator that has both.
    search = fitted_search(model)
    search.label_counts_ = np.ones(8)
    assert find_training_counts(search) == expected
    search.n_docs_ = 3
    assert find_training_counts(search) == (search.label_counts_, 3)


def test_predict_topk_is_called_on_what_all_steps_before_return():
    X, Y = scorer_problem()
    model = TopKRanker().fit(X, Y)
    expected = model.predict_topk(-X, k=3)
    turn, keep = FunctionTransformer(negate), FunctionTransformer()
    for wrapped in (
        make_pipeline(turn, model),
        make_pipeline(turn, keep, model),
        make_pipeline(turn, make_pipeline(turn, turn, model)),
        fitted_search(make_pipeline(turn, fitted_search(make_pipeline(model)))),
    ):
        for got, part in zip(predict_topk(wrapped, X, 3), expected, strict=True):
            np.testing.assert_array_equal(got, part)
    with pytest.raises(AttributeError, match="predict_topk"):
        predict_topk(make_pipeline(keep, Bare()), X, 3)


@pytest.mark.parametrize("wrap", [make_pipeline, lambda search: search])
@pytest.mark.parametrize("inner", [make_pipeline, lambda model: model])
def test_top_k_does_not_cut_what_a_search_ranks(inner, wrap, colours):
    texts, Y, _ = colours
    model = LightDXMLClassifier(
        top_k=3, label_dim=8, max_epochs=1, validation_fraction=0, random_state=0
    )
    search = wrap(GridSearchCV(inner(model), {}, cv=2)).fit(texts, Y)
    ids, _ = model.fit(texts, Y).predict_topk(texts, k=5)
    np.testing.assert_array_equal(predict_ranking(search, texts, 12, 5), ids)
    np.testing.assert_array_equal(predict_topk(search, texts, 5)[0], ids)
    assert metrics.ranking_scorer("recall", 12)(search, texts, Y) == 1


def test_predict_topk_of_a_wrapper_comes_first():
    class Reversed(GridSearchCV):
        def predict_topk(self, X, k):
            ids, scores = self.best_estimator_.predict_topk(X, k)
            return ids[:, ::-1], scores[:, ::-1]

    X, Y = scorer_problem()
    search = Reversed(TopKRanker(), {}, cv=2, scoring=metrics.ndcg_at_5_scorer)
    ids, _ = search.fit(X, Y).best_estimator_.predict_topk(X, 5)
    np.testing.assert_array_equal(predict_ranking(search, X, 8, 5), ids[:, ::-1])
