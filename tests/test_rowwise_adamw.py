"""AdamW for the rows that a step touches, against torch's dense AdamW."""

import copy

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
    dense_gradient,
    make_vectors,
    random_step,
    set_blocks,
)

from skxmc.nn.rowwise_adamw import RowwiseAdamW


@pytest.fixture(autouse=True, params=BLOCKS)
def rows_at_once(request, monkeypatch):
    set_blocks(request.param, monkeypatch)


@pytest.mark.parametrize("backward", [backward, bag_backward])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), n_batches=st.integers(1, 3))
def test_norm_of_what_was_added_up(backward, seed, n_batches):
    vectors, touched = make_vectors(), []
    optimizer = RowwiseAdamW(vectors, touched)
    assert optimizer.squared_norm() == 0
    # Batches of unequal width.
    steps = [random_step(seed + i, 2 + i, 4 + i) for i in range(n_batches)]
    for step in steps:
        backward(vectors, touched, step)
    expected = dense_gradient(steps).square().sum()
    torch.testing.assert_close(optimizer.squared_norm().double(), expected)


# Missed moves take another eps than those of dense AdamW: here it hardly counts.
EPS = 1e-12


class Dense:
    """torch's AdamW on a table as a whole, where a step has a gradient for all rows."""

    def __init__(self, vectors):
        self.table = torch.nn.Parameter(vectors.detach().clone())
        self.optimizer = torch.optim.AdamW([self.table], eps=EPS)

    def step(self, gradient, rate, weight_decay=0.01):
        (group,) = self.optimizer.param_groups
        group["lr"], group["weight_decay"] = rate, weight_decay
        self.table.grad = gradient
        self.optimizer.step()

    def moments(self):
        state = self.optimizer.state[self.table]
        return state["exp_avg"], state["exp_avg_sq"]


def rare_step(seed):
    """As `random_step`, but four rows in five have no gradient."""
    ids, docs, weights = random_step(seed, n_docs=2, n_candidates=2)
    return ids, docs, weights


@pytest.mark.parametrize("backward", [backward, bag_backward])
@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**31),
    n_batches=st.integers(1, 3),
    weight_decay=st.sampled_from([0.0, 0.3]),
)
def test_rows_are_where_dense_adamw_has_them(backward, seed, n_batches, weight_decay):
    vectors, touched = make_vectors(), []
    by_row = RowwiseAdamW(vectors, touched, eps=EPS, weight_decay=weight_decay)
    dense = Dense(vectors)
    for i in range(12):
        rate = 0.1 / (i + 1)
        steps = [rare_step(seed + 3 * i + j) for j in range(n_batches)]
        for step in steps:
            by_row.catch_up(step[0])
            read = step[0].unique()
            torch.testing.assert_close(vectors[read], dense.table[read].detach())
            backward(vectors, touched, step)
        by_row.step(rate)
        assert not touched
        dense.step(dense_gradient(steps), rate, weight_decay)
        rows = torch.cat([ids.unique() for ids, *_ in steps]).unique()
        torch.testing.assert_close(vectors[rows], dense.table[rows].detach())
        for own, whole in zip(
            (by_row.first, by_row.second), dense.moments(), strict=True
        ):
            torch.testing.assert_close(own[rows], whole[rows])
    assert (vectors.data - dense.table).abs().max() > 1e-3, "no row is left behind"
    by_row.catch_up()
    torch.testing.assert_close(vectors.data, dense.table.data)
    assert (vectors[PAD] == 0).all()


@pytest.mark.parametrize("backward", [backward, bag_backward])
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31), weight_decay=st.sampled_from([0.0, 0.3]))
def test_rows_that_rest_have_a_clock_each(backward, seed, weight_decay):
    vectors, touched = make_vectors(), []
    by_row = RowwiseAdamW(vectors, touched, weight_decay=weight_decay, rests=True)
    rows = [row.clone().requires_grad_() for row in vectors]
    dense = [torch.optim.AdamW([row], weight_decay=weight_decay) for row in rows]
    seen = []
    for i in range(6):
        step = rare_step(seed + i)
        by_row.catch_up(step[0])  # there is nothing to make up for
        backward(vectors, touched, step)
        by_row.step(0.1 / (i + 1))
        gradient = dense_gradient([step])
        for label in step[0].unique().tolist():
            rows[label].grad = gradient[label]
            dense[label].param_groups[0]["lr"] = 0.1 / (i + 1)
            dense[label].step()
        torch.testing.assert_close(vectors.data, torch.stack(rows).detach())
        by_row.snapshot()
        seen.append(vectors.data.clone())
    means = torch.stack(seen).mean(dim=0)
    torch.testing.assert_close(by_row.averages(len(seen)), means)


def test_a_row_that_is_touched_once_in_a_long_while():
    # Longer than a move is remembered, and with rates that rise and fall.
    vectors, touched = make_vectors(), []
    by_row = RowwiseAdamW(vectors, touched, eps=EPS, weight_decay=0.1)
    dense = Dense(vectors)
    ids, docs, weights = torch.tensor([[3]]), torch.ones(1, DIM), torch.ones(1, 1)
    nothing = torch.tensor([[5]]), docs.double(), torch.zeros(1, 1).double()
    for i in range(1500):
        step = nothing if i % 1200 else (ids, docs.double(), weights.double())
        rate = 1e-3 * (1 + i % 7)
        by_row.catch_up(step[0])
        backward(vectors, touched, step)
        by_row.step(rate)
        dense.step(dense_gradient([step]), rate, 0.1)
    by_row.catch_up()
    torch.testing.assert_close(vectors.data, dense.table.data)


def test_all_rows_touched_in_all_steps_is_dense_adamw():
    vectors, touched = make_vectors(dtype=torch.float32), []
    dense = torch.nn.Parameter(vectors.clone())
    by_row = RowwiseAdamW(vectors, touched, weight_decay=0.1)
    adamw = torch.optim.AdamW([dense], lr=0.01, weight_decay=0.1)
    ids = torch.arange(PAD).expand(3, -1)
    for seed in range(20):
        _, docs, _ = random_step(seed)
        weights = torch.randn(ids.shape, dtype=torch.float64)
        backward(vectors, touched, (ids, docs, weights))
        dense.grad = dense_gradient([(ids, docs, weights)]).float()
        by_row.step(0.01)
        adamw.step()
    torch.testing.assert_close(vectors.data, dense.data, rtol=1e-4, atol=1e-6)


def test_rows_that_were_never_touched_only_decay():
    vectors, touched = make_vectors(), []
    before = vectors.clone()
    by_row = RowwiseAdamW(vectors, touched, weight_decay=0.5)
    step = torch.tensor([[2, 5, PAD]]), torch.ones(1, DIM).double(), torch.ones(1, 3)
    step[2][0, 2] = 0
    backward(vectors, touched, step)
    by_row.step(0.1)
    moved = (vectors != before).any(dim=1).nonzero().flatten().tolist()
    assert moved == [2, 5]
    by_row.catch_up()
    others = [row for row in range(N_ROWS) if row not in moved]
    torch.testing.assert_close(vectors[others], before[others] * (1 - 0.1 * 0.5))
    after = vectors.clone()
    by_row.catch_up()  # nothing is behind: nothing moves
    torch.testing.assert_close(vectors.data, after, rtol=0, atol=0)


@pytest.mark.parametrize("scale", [0.25, 4.0])
def test_scale_of_the_gradient(scale):
    one, other = make_vectors(), make_vectors()
    touched = [], []
    optimizers = RowwiseAdamW(one, touched[0]), RowwiseAdamW(other, touched[1])
    ids, docs, weights = random_step(0)
    backward(one, touched[0], (ids, docs, weights / scale))
    optimizers[0].step(0.1, scale=torch.tensor(scale))
    backward(other, touched[1], (ids, docs, weights))
    optimizers[1].step(0.1)
    torch.testing.assert_close(one.data, other.data)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.booleans(), min_size=6, max_size=6))
def test_steps_that_do_not_apply_change_nothing(applied):
    vectors, touched = make_vectors(), []
    by_row, dense = RowwiseAdamW(vectors, touched, eps=EPS), Dense(vectors)
    for seed, applies in enumerate(applied):
        ids, docs, weights = step = rare_step(seed)
        by_row.catch_up(ids)
        if applies:
            dense.step(dense_gradient([step]), 0.1)
        else:
            weights = weights * torch.inf
        backward(vectors, touched, (ids, docs, weights))
        by_row.step(0.1, applies=torch.tensor(applies))
        assert not touched
    by_row.catch_up()
    torch.testing.assert_close(vectors.data, dense.table.data)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    snapshots=st.lists(st.booleans(), min_size=8, max_size=8).filter(any),
)
def test_average_is_that_of_the_snapshots(seed, snapshots):
    vectors, touched = make_vectors(), []
    by_row = RowwiseAdamW(vectors, touched, eps=EPS, weight_decay=0.3)
    dense = Dense(vectors)
    seen = []
    for i, taken in enumerate(snapshots):
        step = rare_step(seed + i)
        by_row.catch_up(step[0])
        backward(vectors, touched, step)
        by_row.step(0.1)
        dense.step(dense_gradient([step]), 0.1, 0.3)
        if taken:
            by_row.snapshot()
            seen.append(dense.table.detach().clone())
    torch.testing.assert_close(
        by_row.averages(len(seen)), torch.stack(seen).mean(dim=0)
    )
    torch.testing.assert_close(vectors.data, dense.table.data)


def test_bfloat16_is_right_in_the_mean():
    # Steps of 1e-3 on numbers near 1: bfloat16 knows 1 and 1.0078.
    torch.manual_seed(0)
    n_rows, dim = 200, 64
    vectors = torch.nn.Parameter(torch.ones(n_rows + 1, dim), requires_grad=False)
    touched = [], []
    exact, rounded = vectors, copy.deepcopy(vectors).bfloat16()
    optimizers = [
        RowwiseAdamW(table, place, weight_decay=0.0)
        for table, place in zip((exact, rounded), touched, strict=True)
    ]
    ids, docs = torch.arange(n_rows)[None], torch.ones(1, dim)
    for _ in range(20):
        for table, place, optimizer in zip(
            (exact, rounded), touched, optimizers, strict=True
        ):
            backward(table, place, (ids, docs, torch.ones(1, n_rows)))
            optimizer.step(1e-3)
    assert rounded.dtype == optimizers[1].first.dtype == torch.bfloat16
    drift = exact[0, 0].item() - 1
    assert drift == pytest.approx(-0.02, rel=0.01)
    moved = rounded[:n_rows].float().mean().item() - 1
    assert moved == pytest.approx(drift, rel=0.05)
    assert len(rounded[:n_rows].unique()) > 2


def test_same_seed_same_bits_in_bfloat16():
    def result(seed):
        torch.manual_seed(seed)
        vectors, touched = make_vectors(dtype=torch.bfloat16), []
        optimizer = RowwiseAdamW(vectors, touched)
        for i in range(5):
            optimizer.catch_up(random_step(i)[0])
            backward(vectors, touched, random_step(i))
            optimizer.step(1e-3)
        return vectors.data

    assert torch.equal(result(0), result(0))
    assert not torch.equal(result(0), result(1))
