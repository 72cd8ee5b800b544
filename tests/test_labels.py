"""Means of labels' documents, against loops."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc.nn import labels
from skxmc.nn.labels import label_centroids, label_means


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_docs=st.integers(1, 12),
    n_labels=st.integers(1, 8),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    kind=st.sampled_from([sp.csr_array, sp.csr_matrix]),
    dtype=st.sampled_from([np.float32, np.float64]),
    of_labels=st.sampled_from([bool, np.int8, np.float32, np.float64]),
)
def test_label_means(seed, n_docs, n_labels, density, kind, dtype, of_labels):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n_docs, 3)).astype(dtype)
    Y = rng.random((n_docs, n_labels)) < density
    found = label_means(vectors, kind(Y.astype(of_labels)))
    assert type(found) is np.ndarray
    assert found.dtype == dtype and found.shape == (n_labels, 3)
    for label, mean in enumerate(found):
        own = vectors[Y[:, label]]
        expected = own.mean(axis=0) if len(own) else np.zeros(3)
        assert mean == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_means_of_many_documents_do_not_overflow():
    found = label_means(np.ones((300, 2)), sp.csr_array(np.ones((300, 1), np.int8)))
    assert found.tolist() == [[1.0, 1.0]]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_docs=st.integers(1, 40),
    at_once=st.integers(1, 9),
    kind=st.sampled_from([sp.csr_array, sp.csr_matrix]),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
def test_parts_of_the_documents_do_not_change_centroids(
    seed, n_docs, at_once, kind, dtype
):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n_docs, 5)).astype(dtype)
    vectors[rng.random(n_docs) < 0.1] = 0
    Y = kind((rng.random((n_docs, 7)) < 0.3) * rng.integers(1, 4, 7))
    expected = label_centroids(vectors, Y)  # of all documents at once
    plain = Y.T.toarray().astype(np.float64) @ (
        vectors
        / np.maximum(np.linalg.norm(vectors.astype("f8"), axis=1), 1e-9)[:, None]
    )
    plain /= np.maximum(np.linalg.norm(plain, axis=1), 1e-9)[:, None]
    np.testing.assert_allclose(expected, plain, atol=2e-3 if dtype == "f2" else 1e-5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(labels, "_AT_ONCE", 5 * at_once)
        found = label_centroids(vectors, Y)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
