"""Documents that are held out, against brute force."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from skxmc import _hold_out
from skxmc._hold_out import hold_out, keep_rows, typical_depth
from skxmc.nn.maps import is_mapped, temporary_array

FRACTIONS = st.floats(0, 1, exclude_max=True)


@st.composite
def labels(draw):
    """A label matrix, some of whose rows and columns may be empty."""
    shape = draw(st.integers(1, 9)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    Y = rng.random(shape) < draw(st.sampled_from([0.1, 0.4, 0.9]))
    container = draw(st.sampled_from([sp.csr_array, sp.csr_matrix]))
    return container(Y.astype(draw(st.sampled_from(["f4", "f8", "i1"]))))


@settings(deadline=None, max_examples=200)
@given(labels(), FRACTIONS, st.integers(0, 2**31))
def test_hold_out_against_brute_force(Y, fraction, seed):
    held = hold_out(Y, fraction, np.random.default_rng(seed))
    dense = Y.toarray() > 0
    order = np.random.default_rng(seed).permutation(np.flatnonzero(dense.any(axis=1)))
    free = []
    for place, row in enumerate(order):
        after = dense[order[place + 1 :]].any(axis=0)
        if after[dense[row]].all():  # another document has each of its labels
            free.append(row)
    assert held.tolist() == sorted(free[: round(fraction * len(order))])
    kept = np.setdiff1d(np.flatnonzero(dense.any(axis=1)), held)
    assert np.array_equal(dense[kept].any(axis=0), dense.any(axis=0))


def test_hold_out_takes_its_share():
    # Every document has a label of its own but for twenty, which share theirs.
    Y = sp.csr_array(np.hstack([np.eye(50), np.ones((50, 1))]))
    Y = sp.vstack([Y, sp.csr_array((np.ones(20), (range(20), [50] * 20)), (20, 51))])
    held = hold_out(sp.csr_array(Y), 0.2, np.random.default_rng(0))
    assert len(held) == 14 and (held >= 50).all()
    for seed in range(20):
        Y = sp.random_array((30, 12), density=0.2, format="csr", random_state=seed)
        held = hold_out(Y, 0.9, np.random.default_rng(seed))
        kept = np.setdiff1d(np.arange(30), held)
        present = np.unique(Y.indices)
        assert np.array_equal(np.unique(Y[kept].indices), present)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_keep_rows_against_brute_force(data):
    Y = data.draw(labels())
    places = st.integers(0, Y.shape[0] - 1)
    rows = np.array(data.draw(st.lists(places, unique=True)), int)
    before = Y.copy()
    kept = keep_rows(Y, rows)
    expected = np.zeros_like(Y.toarray())
    expected[rows] = Y.toarray()[rows]
    np.testing.assert_array_equal(kept.toarray(), expected)
    assert type(kept) is type(Y) and kept.dtype == Y.dtype
    assert kept.indices.dtype == Y.indices.dtype == kept.indptr.dtype
    assert (kept.data != 0).all()  # emptied, not zeros that are stored
    np.testing.assert_array_equal(Y.toarray(), before.toarray())


@pytest.mark.parametrize(
    "rows, same", [([0, 2], True), ([2, 1, 0], True), ([0], False)]
)
def test_keep_rows_copies_only_where_it_must(rows, same):
    Y = sp.csr_array([[1, 0], [0, 0], [1, 1]])
    assert (keep_rows(Y, np.array(rows)) is Y) == same


@pytest.mark.parametrize(
    "lengths, depth", [([1, 1, 0], 1), ([2, 3, 0, 0], 2), ([3, 4, 4], 4), ([9, 9], 5)]
)
def test_typical_depth_is_labels_a_document_up_to_five(lengths, depth):
    Y = sp.csr_array(np.arange(9) < np.array(lengths)[:, None])
    assert typical_depth(Y) == depth


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_labels_in_files_stay_there(data):
    Y = data.draw(labels())
    mapped = Y.copy()
    for name in ("data", "indices"):
        values = getattr(Y, name)
        in_file = temporary_array(values.shape, values.dtype, "Labels", "")
        in_file[:] = values
        setattr(mapped, name, in_file)
    rows = np.flatnonzero(
        data.draw(st.lists(st.booleans(), min_size=len(Y.indptr) - 1))
    )
    rows = rows[rows < Y.shape[0]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_hold_out, "_DOCS", data.draw(st.integers(1, 4)))
        found, expected = keep_rows(mapped, rows), keep_rows(Y, rows)
        held = [
            hold_out(y, 0.5, np.random.default_rng(0)).tolist() for y in (mapped, Y)
        ]
    assert held[0] == held[1] and type(found) is type(Y)
    assert found.dtype == Y.dtype and found.indptr.dtype == expected.indptr.dtype
    np.testing.assert_array_equal(found.toarray(), expected.toarray())
    assert not found.nnz or is_mapped(found.indices) and is_mapped(found.data)
    assert not is_mapped(expected.data)
