"""What is asked of an estimator inside pipelines and searches."""

import numpy as np
import pytest
from metrics_examples import TopKRanker, scorer_problem
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skxmc import LightDXMLClassifier, metrics
from skxmc._response import predict_ranking, predict_topk


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
