"""Means of labels' documents, against loops."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc.nn.labels import label_means


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
