"""Scores and sums of rows, and their gradients, against what is written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rowwise_examples import (
    BLOCKS,
    DIM,
    N_ROWS,
    PAD,
    backward,
    bag_backward,
    make_vectors,
    random_step,
    set_blocks,
)

from skxmc.nn import rowwise
from skxmc.nn.rowwise import candidate_scores, weighted_bag
from skxmc.nn.rowwise_adamw import RowwiseAdamW


@pytest.fixture(autouse=True, params=BLOCKS)
def rows_at_once(request, monkeypatch):
    set_blocks(request.param, monkeypatch)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31))
def test_scores_and_their_gradients(seed):
    vectors, touched, step = make_vectors(seed), [], random_step(seed)
    ids, docs, weights = step
    explicit = docs.clone().requires_grad_()
    wanted = (vectors[ids] * explicit[:, None]).sum(dim=2)
    (wanted * weights).sum().backward()
    scores, gradient = backward(vectors, touched, step)
    torch.testing.assert_close(scores, wanted.detach())
    torch.testing.assert_close(gradient, explicit.grad)
    assert vectors.grad is None


@pytest.mark.parametrize("gathered", [1, 1 << 24])
def test_bfloat16_scores_are_exact_without_a_gradient(monkeypatch, gathered):
    monkeypatch.setattr(rowwise, "_VALUES_AT_ONCE", gathered)
    vectors, (ids, docs, _) = make_vectors(dtype=torch.bfloat16), random_step(0)
    docs = docs.float()
    with torch.no_grad():
        scores = candidate_scores(docs, vectors, ids, [])
    expected = (vectors.float()[ids] * docs[:, None]).sum(dim=2)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected)


def test_no_grad_and_inference():
    vectors, touched, (ids, docs, _) = make_vectors(), [], random_step(0)
    expected = (vectors[ids] * docs[:, None]).sum(dim=2)
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            scores = candidate_scores(docs, vectors, ids, touched)
            torch.testing.assert_close(scores, expected)
    assert not touched


# --- weighted sums ----------------------------------------------------------


def as_matrix(ids, weights):
    """Weights of the rows in each document, written out."""
    return torch.zeros(len(ids), N_ROWS, dtype=weights.dtype).scatter_add(
        1, ids, weights
    )


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**31),
    order=st.lists(st.integers(0, 3), min_size=1, max_size=9),
)
def test_weighted_sums_and_their_gradient(seed, order):
    # The same documents again and again, each with a gradient of its own.
    ids, _, weights = random_step(seed, n_docs=4)
    ids, weights = ids[order], weights[order]
    upstream = random_step(seed + 1, n_docs=len(order))[1]
    vectors, touched = make_vectors(seed), []
    sums = bag_backward(vectors, touched, (ids, upstream, weights))
    matrix = as_matrix(ids, weights)
    torch.testing.assert_close(sums, matrix @ vectors)
    assert vectors.grad is None

    optimizer = RowwiseAdamW(vectors, touched)
    found = torch.zeros_like(vectors)
    for rows, gradient in optimizer._gradients():
        found.index_add_(0, rows, gradient)
    torch.testing.assert_close(found.data, matrix.T @ upstream)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_weighted_sums_are_of_the_dtype_of_the_vectors(dtype, autocast):
    vectors, (ids, _, weights) = make_vectors(dtype=dtype), random_step(0)
    expected = as_matrix(ids, weights) @ vectors.double()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        for context in (torch.enable_grad(), torch.no_grad()):
            with context:
                sums = weighted_bag(ids, weights.float(), vectors, [])
            assert sums.dtype == dtype
            rtol = 0.05 if dtype == torch.bfloat16 else 1e-5
            torch.testing.assert_close(sums.double(), expected, rtol=rtol, atol=rtol)


def test_sums_without_a_gradient_touch_nothing():
    vectors, touched, (ids, _, weights) = make_vectors(), [], random_step(0)
    expected = as_matrix(ids, weights) @ vectors
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            sums = weighted_bag(ids, weights, vectors, touched)
            torch.testing.assert_close(sums, expected)
        assert not sums.requires_grad
    weighted_bag(ids, weights, vectors, touched)  # and no backward pass
    assert not touched


def test_sums_of_documents_without_features():
    vectors, touched = make_vectors(), []
    ids, weights = torch.full((2, 1), PAD), torch.zeros(2, 1, dtype=torch.float64)
    before = vectors.clone()
    sums = weighted_bag(ids, weights, vectors, touched)
    assert torch.equal(sums, torch.zeros(2, DIM, dtype=torch.float64))
    sums.sum().backward()
    RowwiseAdamW(vectors, touched, weight_decay=0.5).step(0.1)
    assert torch.equal(vectors, before)
