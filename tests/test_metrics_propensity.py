"""Propensities."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from metrics_examples import SPARSE, Y1, csr_with_explicit_zeros

from skxmc import metrics

# Propensity


@pytest.mark.parametrize("container", [np.asarray, *SPARSE])
def test_propensity_check_values(container):
    Y = np.zeros((1000, 3), dtype=int)
    Y[0, 1], Y[:10, 2] = 1, 1
    q = 1 / metrics.propensity(container(Y))
    np.testing.assert_allclose(q, [8.824188577703566, math.log(1000), 3.55214702350837])


@pytest.mark.parametrize("a, b", [(0.55, 1.5), (0.6, 2.6), (0.5, 0.4)])
def test_label_of_one_document_has_q_ln_n(a, b):
    Y = np.eye(50, dtype=int)
    p = metrics.propensity(Y, a=a, b=b)
    assert p.dtype == np.float64
    np.testing.assert_allclose(1 / p, math.log(50))


def test_propensity_grows_with_frequency_and_ignores_explicit_zeros():
    Y = np.tri(40, 30, dtype=int)
    p = metrics.propensity(Y)
    assert (np.diff(p) < 0).all() and (p > 0).all() and (p < 1).all()
    full = csr_with_explicit_zeros(Y, np.ones(Y.shape, bool), sp.csr_array)
    np.testing.assert_array_equal(metrics.propensity(full), p)


@pytest.mark.parametrize("n_docs", [1, 2])
def test_propensity_of_tiny_data_is_1(n_docs):
    np.testing.assert_array_equal(metrics.propensity(np.ones((n_docs, 2))), [1, 1])


def test_bad_input_of_propensity():
    with pytest.raises(ValueError, match="Y must hold 0 and 1 only, got 3"):
        metrics.propensity([[3]])
    for a, b in [(-1, 1.5), (0.55, 0), (np.nan, 1.5)]:
        with pytest.raises(ValueError, match="a >= 0 and b > 0, got a="):
            metrics.propensity(Y1, a=a, b=b)
