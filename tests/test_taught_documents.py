"""What TReaderXML keeps of the rows of matrices: repetitions and largest values."""

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from treaderxml_examples import (
    csr,
    seeds,
)

from skxmc._taught_documents import group_repeats, keep_largest, largest_columns

words_and_weights = st.tuples(st.integers(0, 2), st.sampled_from([1.0, 2.0, 0.5]))
texts = st.lists(words_and_weights, max_size=4)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(texts, min_size=1, max_size=9), more=st.data())
def test_repeated(rows, more):
    rows += more.draw(st.lists(st.permutations(more.draw(st.sampled_from(rows)))))
    X = csr([[word for word, _ in row] for row in rows], 3)
    X.data = np.array([weight for row in rows for _, weight in row], "f4")
    numbers = group_repeats(X)
    same = [[one == two for two in rows] for one in rows]
    assert (numbers[:, None] == numbers).tolist() == same


@settings(max_examples=100, deadline=None)
@given(seed=seeds, n=st.integers(1, 6))
def test_largest(seed, n):
    rng = np.random.default_rng(seed)
    dense = rng.integers(-3, 4, (4, 5)).astype("f4")
    X = sp.csr_matrix(dense)
    kept = keep_largest(X, n)
    assert kept.shape == X.shape
    for i, found in enumerate(largest_columns(X, n)):
        row = dense[i]
        there = [j for j in found.tolist() if j < 5]
        assert len(set(there)) == len(there) == min(n, np.count_nonzero(row))
        assert found.tolist() == there + (n - len(there)) * [5]
        assert row[there].tolist() == sorted(row[row != 0].tolist())[::-1][:n]
        columns = kept[i].indices
        assert (np.diff(columns) > 0).all() and (kept[i].data == row[columns]).all()
        sizes = sorted(abs(row[row != 0]).tolist())[::-1]
        assert sorted(abs(kept[i].data).tolist())[::-1] == sizes[:n]
