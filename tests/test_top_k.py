"""The largest stored values of each row, against a sort of each row by itself."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skxmc._top_k import top_k_per_row


@st.composite
def stored_rows(draw):
    """Values row after row, with many ties; some rows are empty."""
    value = st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 0.5, 2.0, np.inf])
    rows = draw(st.lists(st.lists(value, max_size=6), min_size=1, max_size=6))
    values = np.array([v for row in rows for v in row], float)
    return values, np.cumsum([0, *map(len, rows)]), rows


@settings(max_examples=200, deadline=None)
@given(stored_rows(), st.sampled_from([None, 1, 2, 4, 100]))
def test_against_a_sort_of_each_row(case, k):
    values, indptr, rows = case
    expected = []
    for i, row in enumerate(rows):
        best = sorted(range(len(row)), key=lambda j, row=row: -row[j])[:k]  # stable
        expected += [(indptr[i] + j, i, place) for place, j in enumerate(best)]
    got = top_k_per_row(values, indptr, k)
    assert list(zip(*(part.tolist() for part in got), strict=True)) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
def test_dtypes(dtype, index_dtype):
    values = np.array([0.25, 0.5, 0.5, 0.75], dtype)
    indptr = np.array([0, 3, 3, 4], index_dtype)
    order, rows, places = top_k_per_row(values, indptr, 2)
    assert order.tolist() == [1, 2, 3]
    assert rows.tolist() == [0, 0, 2]
    assert places.tolist() == [0, 1, 0]
    assert {part.dtype for part in (order, rows, places)} == {np.dtype(np.int64)}


def test_nan_comes_last():
    values = np.array([np.nan, -np.inf, 1.0])
    assert top_k_per_row(values, np.array([0, 3]))[0].tolist() == [2, 1, 0]


def test_nothing_is_stored():
    X = sp.csr_array((3, 5))
    for part in top_k_per_row(X.data, X.indptr, 2):
        assert_array_equal(part, [])
