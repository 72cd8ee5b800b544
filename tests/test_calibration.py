"""The one formula between scores and probabilities."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from skxmc._calibration import (
    UNCALIBRATED,
    calibrate,
    clip_probabilities,
    fit_calibration,
    probabilities_from_scores,
)


def make_rankings(seed=0, n_docs=40, n_labels=9, k=5, sign=1):
    """Labels, ranked labels with padding, and scores that tell right ones apart."""
    rng = np.random.default_rng(seed)
    hits = rng.random((n_docs, n_labels)) < 0.4
    scores = sign * (2.0 * hits + rng.normal(size=hits.shape))
    ids = np.argsort(-scores, axis=1)[:, :k]
    scores = np.take_along_axis(scores, ids, axis=1)
    padding = rng.random(ids.shape) < 0.2
    ids[padding], scores[padding] = -1, -np.inf
    return sp.csr_array(hits.astype("f4")), ids, scores


@pytest.mark.parametrize("seed", range(3))
def test_it_is_logistic_regression_on_what_was_ranked(seed):
    Y, ids, scores = make_rankings(seed)
    slope, offset = fit_calibration(Y, ids, scores)
    dense, x, y = Y.toarray(), [], []
    for i, j in np.ndindex(ids.shape):
        if ids[i, j] >= 0:
            x.append([scores[i, j]])
            y.append(dense[i, ids[i, j]] > 0)
    model = LogisticRegression(C=1.0).fit(x, y)
    assert slope == pytest.approx(model.coef_[0, 0]) and slope > 0
    assert offset == pytest.approx(model.intercept_[0])


def test_the_ranking_is_never_reversed():
    Y, ids, scores = make_rankings(sign=-1)
    slope, offset = fit_calibration(Y, ids, scores)
    real = ids >= 0
    hits = (
        np.array([Y[i, j] for i, j in zip(np.nonzero(real)[0], ids[real], strict=True)])
        > 0
    )
    assert slope == 1
    # At the mean score stands the share of right labels.
    share = 1 / (1 + np.exp(-(scores[real].mean() + offset)))
    assert share == pytest.approx(hits.mean())


@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong(right):
    Y = sp.csr_array(np.full((4, 3), float(right)))
    ids, scores = np.tile([2, 0, -1], (4, 1)), np.tile([1.5, 0.5, -np.inf], (4, 1))
    slope, offset = fit_calibration(Y, ids, scores)
    assert slope == 1
    odds = scores[ids >= 0].mean() + offset
    assert odds == pytest.approx(np.log(9) if right else -np.log(9))


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_log_odds(kind):
    found = calibrate(kind([0.0, 2.0, -np.inf]), (0.5, -1.0))
    assert found.tolist() == [-1, 0, -np.inf]
    assert calibrate(kind([3.0]), UNCALIBRATED).tolist() == [3]


@settings(deadline=None)
@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1), st.booleans())
def test_probabilities_are_strictly_between(scores, single_label):
    scores = np.array(scores, np.float32)
    scores = -np.abs(scores) if single_label else scores
    found = probabilities_from_scores(scores, (1.5, 0.5), single_label=single_label)
    assert found.dtype == np.float64 and found.shape == scores.shape
    small = found.astype(np.float32)
    assert (small > 0).all() and (small < 1).all()
    with np.errstate(over="ignore"):
        wide = scores.astype(float)
        expected = np.exp(wide) if single_label else 1 / (1 + np.exp(-1.5 * wide - 0.5))
    np.testing.assert_allclose(found, clip_probabilities(expected), rtol=1e-9)
