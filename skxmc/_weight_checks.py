"""The checks of `skxmc.estimator_checks` that concern scores and sample weights."""

import numpy as np

from ._testing import (
    N_DOCS,
    assert_refused,
    assert_same,
    assert_unfitted,
    clone_seeded,
    fit_clone,
    make_data,
    predict_all,
    raise_at_step,
)
from .metrics import precision_at_k


def check_score(estimator):
    """Score is precision at 1, and accepts sample weights."""
    texts, Y = make_data()
    model = fit_clone(estimator, texts, Y)
    best = model.predict_topk(texts, k=1)[0]
    assert model.score(texts, Y) == precision_at_k(Y, best, 1)
    hits = Y.toarray()[np.arange(N_DOCS), best[:, 0]]
    weights = np.arange(1.0, N_DOCS + 1)
    expected = np.average(hits, weights=weights)
    np.testing.assert_allclose(model.score(texts, Y, sample_weight=weights), expected)
    for wrong in (dict(y=Y[:-1]), dict(y=Y[:, :-1]), dict(y=Y[:-1], sample_weight=1)):
        assert_refused(lambda wrong=wrong: model.score(texts, **wrong), "")


def check_sample_weight(estimator):
    """A document of weight 0 is left out, and wrong weights are refused at once."""
    texts, Y = make_data()
    weights = np.where(np.arange(N_DOCS) % 5, 1.0, 0.0)
    weights[1:4] = 2
    kept = np.flatnonzero(weights)
    before = weights.copy()
    model = clone_seeded(estimator).fit(texts, Y, sample_weight=weights)
    assert (weights == before).all(), "the weights were changed"
    some = [texts[row] for row in kept]
    other = clone_seeded(estimator).fit(some, Y[kept], sample_weight=weights[kept])
    assert_same(
        predict_all(model, texts), predict_all(other, texts), "documents left out"
    )
    assert model.n_docs_ == N_DOCS
    wrong = {
        "shape": weights[:-1],
        r"\[3\].*-1": np.where(np.arange(N_DOCS) == 3, -1, 1),
        r"\[3\].*nan": np.where(np.arange(N_DOCS) == 3, np.nan, 1),
        "zero for all": 0 * weights,
    }
    for message, values in wrong.items():
        model = clone_seeded(estimator)
        error = AssertionError("wrong weights were noticed only after training began")
        with raise_at_step(1, error):
            assert_refused(
                lambda model=model, values=values: model.fit(
                    texts, Y, sample_weight=values
                ),
                message,
            )
        assert_unfitted(model)
