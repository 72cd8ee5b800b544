"""Plain SGD for the rows that a step touches, against torch's dense SGD."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rowwise_examples import (
    BLOCKS,
    backward,
    bag_backward,
    dense_gradient,
    make_vectors,
    random_step,
    set_blocks,
)

from skxmc.nn.rowwise_sgd import RowwiseSGD


@pytest.fixture(autouse=True, params=BLOCKS)
def rows_at_once(request, monkeypatch):
    set_blocks(request.param, monkeypatch)


@pytest.mark.parametrize("backward", [backward, bag_backward])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), n_steps=st.integers(1, 4))
def test_rows_are_those_of_dense_sgd(backward, seed, n_steps):
    vectors, touched = make_vectors(), []
    optimizer = RowwiseSGD(vectors, touched)
    expected = vectors.detach().clone()
    for i in range(n_steps):
        step = random_step(seed + i)
        backward(vectors, touched, step)
        optimizer.step(0.1 * (i + 1), scale=torch.tensor(0.5, dtype=torch.float64))
        expected -= 0.1 * (i + 1) * 0.5 * dense_gradient([step])
    torch.testing.assert_close(vectors.detach(), expected)
    assert not touched


def test_a_step_that_overflows_is_not_applied():
    vectors, touched = make_vectors(), []
    before = vectors.detach().clone()
    backward(vectors, touched, random_step(0))
    RowwiseSGD(vectors, touched).step(0.1, applies=torch.tensor(False))
    assert torch.equal(vectors, before) and not touched


def test_average_of_snapshots():
    vectors, touched = make_vectors(), []
    optimizer, snapshots = RowwiseSGD(vectors, touched), []
    for i in range(6):
        backward(vectors, touched, random_step(i))
        optimizer.step(0.1)
        if i % 2:
            optimizer.snapshot()
            snapshots.append(vectors.detach().clone())
    backward(vectors, touched, random_step(9))
    optimizer.step(0.1)
    torch.testing.assert_close(optimizer.averages(3), torch.stack(snapshots).mean(0))


def test_bfloat16_is_exact_in_the_mean():
    torch.manual_seed(0)
    vectors, touched = make_vectors(dtype=torch.bfloat16), []
    before = vectors.detach().double()
    optimizer = RowwiseSGD(vectors, touched)
    step = random_step(1)
    for _ in range(400):  # each move is far below the resolution of bfloat16
        ids, docs, weights = step
        touched.append((ids, docs.float(), weights.float()))
        optimizer.step(1e-4)
    expected = before - 400 * 1e-4 * dense_gradient([step])
    torch.testing.assert_close(vectors.double(), expected, rtol=0.05, atol=0.05)
