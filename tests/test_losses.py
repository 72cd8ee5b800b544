"""Losses, with a mask and over all labels, against their equations."""

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from skxmc.nn.losses import (
    bce_loss,
    bce_loss_all,
    feature_loss,
    grank_loss,
    grank_loss_all,
    log_distance_loss,
)

# What a gradient below 1 loses when it is rounded to the dtype of the scores.
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}


def equation_4(scores, is_positive, mask):
    """Mean over usable rows of log(1 + double sum), as the paper writes it."""
    losses = []
    for row, positive, real in zip(
        scores.tolist(), is_positive.tolist(), mask.tolist(), strict=True
    ):
        columns = [j for j in range(len(row)) if real[j]]
        P = [j for j in columns if positive[j]]
        M = [j for j in columns if not positive[j]]
        if P and M:
            total = sum(math.exp(row[j] - row[i]) for j in M for i in P)
            losses.append(math.log1p(total))
    return sum(losses) / max(len(losses), 1)


def random_batch(seed, n_docs=6, n_labels=9, dtype=torch.float64, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    scores = scale * torch.randn(n_docs, n_labels, generator=generator).to(dtype)
    is_positive = torch.rand(n_docs, n_labels, generator=generator) < 0.3
    mask = torch.rand(n_docs, n_labels, generator=generator) < 0.8
    return scores, is_positive, mask


def columns_of(is_positive, n_more=1):
    """Positives as ids, ascending, padded by `n_more` columns too many."""
    n_labels = is_positive.shape[1]
    ids = torch.where(is_positive, torch.arange(n_labels), n_labels)
    width = max(int(is_positive.sum(dim=1).max()), 1) + n_more
    return (
        torch.nn.functional.pad(ids, (0, width), value=n_labels)
        .sort()
        .values[:, :width]
    )


def value_and_gradient(loss, scores, *rest):
    scores = scores.clone().requires_grad_()
    value = loss(scores, *rest)
    value.backward()
    return value.detach(), scores.grad


def both(scores, is_positive):
    """Value and gradient by either function, every label a candidate."""
    mask = torch.ones_like(is_positive)
    yield value_and_gradient(grank_loss, scores, is_positive, mask)
    yield value_and_gradient(grank_loss_all, scores, columns_of(is_positive))


# --- values -----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_equation_4(seed):
    scores, is_positive, mask = random_batch(seed)
    expected = equation_4(scores, is_positive, mask)
    assert grank_loss(scores, is_positive, mask).item() == pytest.approx(expected)

    expected = equation_4(scores, is_positive, torch.ones_like(mask))
    loss = grank_loss_all(scores, columns_of(is_positive))
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("n_pos, n_neg", [(1, 1), (5, 3951), (19, 30919)])
@pytest.mark.parametrize("level", [0.0, -7.0, 300.0])
def test_equal_scores(n_pos, n_neg, level):
    # Eq. 4 with equal scores is log(1 + |P||M|).
    is_positive = torch.arange(n_pos + n_neg)[None] < n_pos
    scores = torch.full(is_positive.shape, level)
    for loss, _ in both(scores, is_positive):
        assert loss.item() == pytest.approx(math.log1p(n_pos * n_neg), rel=1e-5)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-1e4, 1e4))
def test_shift_of_a_document_changes_nothing(seed, shift):
    scores, is_positive, mask = random_batch(seed)
    shifts = shift * torch.arange(len(scores), dtype=scores.dtype)[:, None]
    for moved, still in zip(
        both(scores + shifts, is_positive), both(scores, is_positive), strict=True
    ):
        torch.testing.assert_close(moved, still, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(
        grank_loss(scores + shifts, is_positive, mask),
        grank_loss(scores, is_positive, mask),
    )


def test_mean_over_usable_rows_only():
    scores, is_positive, _ = random_batch(0, n_docs=5)
    is_positive[:, 0], is_positive[:, 1] = True, False
    is_positive[1] = False  # no positive
    is_positive[3] = True  # no negative
    usable = [0, 2, 4]
    alone = [
        equation_4(scores[[i]], is_positive[[i]], torch.ones(1, 9) > 0) for i in usable
    ]
    for loss, gradient in both(scores, is_positive):
        assert loss.item() == pytest.approx(sum(alone) / 3)
        assert (gradient[[1, 3]] == 0).all()
        assert (gradient[usable] != 0).all()


# --- gradients --------------------------------------------------------------


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("seed", range(3))
def test_gradient_in_closed_form(dtype, seed):
    # Eq. 6: sums of s / (1 + s) over negatives and -s / (1 + s) over positives.
    scores, is_positive, _ = random_batch(seed, dtype=dtype)
    is_positive[:, 0], is_positive[:, 1] = True, False
    z = scores.double()
    high = z.masked_fill(is_positive, -math.inf)
    low = (-z).masked_fill(~is_positive, -math.inf)
    weight = (high.logsumexp(1) + low.logsumexp(1)).sigmoid()[:, None]
    expected = weight * (high.softmax(dim=1) - low.softmax(dim=1)) / len(scores)

    tolerance = ROUNDING[dtype]
    for loss, gradient in both(scores, is_positive):
        assert loss.dtype == torch.float32 and gradient.dtype == dtype
        gradient = gradient.double()
        torch.testing.assert_close(gradient, expected, rtol=0, atol=tolerance)
        up = gradient.masked_fill(is_positive, 0).sum(dim=1)
        down = gradient.masked_fill(~is_positive, 0).sum(dim=1)
        share = weight[:, 0] / len(scores)
        torch.testing.assert_close(up, share, rtol=0, atol=tolerance)
        torch.testing.assert_close(down, -share, rtol=0, atol=tolerance)
        assert up.min() > 0.05  # so that the tolerance can tell


@pytest.mark.parametrize("seed", range(3))
def test_gradient_by_differences(seed):
    scores, is_positive, mask = random_batch(seed, n_docs=3, n_labels=6)
    scores.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: grank_loss(s, is_positive, mask), scores)
    ids = columns_of(is_positive)
    assert torch.autograd.gradcheck(lambda s: grank_loss_all(s, ids), scores)


@pytest.mark.parametrize("dtype", [torch.float64, *ROUNDING])
@pytest.mark.parametrize("seed", range(5))
def test_both_functions_agree(dtype, seed):
    scores, is_positive, _ = random_batch(seed, n_docs=8, dtype=dtype)
    is_positive[0], is_positive[1] = False, True
    (loss, gradient), (loss_all, gradient_all) = both(scores, is_positive)
    assert loss.dtype == loss_all.dtype
    torch.testing.assert_close(loss, loss_all)
    torch.testing.assert_close(gradient, gradient_all)


def test_gradient_scales_with_what_comes_from_above():
    scores, is_positive, _ = random_batch(1)
    ids = columns_of(is_positive)
    _, gradient = value_and_gradient(grank_loss_all, scores, ids)
    _, seven = value_and_gradient(lambda s, i: 7 * grank_loss_all(s, i), scores, ids)
    torch.testing.assert_close(seven, 7 * gradient)


def test_scores_are_left_alone():
    # The all-label loss works in place, on a copy of its own.
    for dtype in ROUNDING:
        scores, is_positive, _ = random_batch(2, dtype=dtype)
        before = scores.clone()
        grank_loss_all(scores, columns_of(is_positive))
        assert torch.equal(scores, before)


# --- padding and degenerate rows --------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    filling=st.sampled_from([0.0, 1e4, -1e4, math.inf, -math.inf, math.nan]),
)
def test_padding_never_matters(seed, filling):
    scores, is_positive, mask = random_batch(seed)
    expected, _ = value_and_gradient(grank_loss, scores, is_positive, mask)
    filled = scores.masked_fill(~mask, filling)
    loss, gradient = value_and_gradient(grank_loss, filled, is_positive, mask)
    assert torch.equal(loss, expected)
    assert (gradient[~mask] == 0).all()
    assert gradient.isfinite().all()


def test_padded_list_of_positives():
    scores, is_positive, _ = random_batch(3)
    short, long = columns_of(is_positive, 0), columns_of(is_positive, 20)
    expected = value_and_gradient(grank_loss_all, scores, short)
    torch.testing.assert_close(
        value_and_gradient(grank_loss_all, scores, long), expected
    )


@pytest.mark.parametrize("dtype", [torch.float64, *ROUNDING])
@pytest.mark.parametrize("kind", ["no positive", "no negative", "all padding"])
def test_unusable_rows_give_nothing(dtype, kind):
    scores = random_batch(0, n_docs=3, dtype=dtype)[0]
    is_positive = torch.full(scores.shape, kind == "no negative")
    mask = torch.full(scores.shape, kind != "all padding")
    results = [value_and_gradient(grank_loss, scores, is_positive, mask)]
    if kind != "all padding":
        results.append(
            value_and_gradient(grank_loss_all, scores, columns_of(is_positive))
        )
    for loss, gradient in results:
        assert loss == 0
        assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, *ROUNDING])
@pytest.mark.parametrize("size", [88.0, 1e4, 6e4])
@pytest.mark.parametrize("right", [True, False])
def test_scores_that_would_overflow(dtype, size, right):
    # exp of 11.1 overflows fp16, of 88.8 float32, of 709.8 float64.
    is_positive = torch.tensor([[True, True, False, False, False]])
    scores = torch.where(is_positive == right, size, -size).to(dtype)
    gap = 2 * scores[0, 0].abs().item()
    # Ranked right: the loss is 0. Wrong: log(2 * 3) above the gap.
    expected = 0.0 if right else gap + math.log(6)
    for loss, gradient in both(scores, is_positive):
        assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-30)
        assert gradient.isfinite().all()
        total = gradient.double().abs().sum().item()
        assert total == pytest.approx(0 if right else 2, abs=1e-2)


def test_hard_row_does_not_spill_over():
    scores, is_positive, _ = random_batch(4, n_docs=2)
    is_positive[:, 0], is_positive[:, 1] = True, False
    hard = scores.clone()
    hard[0] *= 1e4
    for (_, gradient), (_, plain) in zip(
        both(hard, is_positive), both(scores, is_positive), strict=True
    ):
        torch.testing.assert_close(gradient[1], plain[1])


# --- binary cross-entropy ---------------------------------------------------


def torchs(scores, is_positive, mask, reduction):
    """Mean over the real entries, or sum over a row's and mean over rows."""
    targets = is_positive.to(scores.dtype)
    if reduction == "mean":
        return binary_cross_entropy_with_logits(scores[mask], targets[mask])
    each = binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return (each * mask).sum(dim=1).mean()


def both_bce(scores, is_positive, reduction, n_more=1):
    """Value and gradient by either function, every label a candidate."""
    masked = functools.partial(bce_loss, reduction=reduction)
    over_all = functools.partial(bce_loss_all, reduction=reduction)
    mask = torch.ones_like(is_positive)
    yield value_and_gradient(masked, scores, is_positive, mask)
    yield value_and_gradient(over_all, scores, columns_of(is_positive, n_more))


reductions = pytest.mark.parametrize("reduction", ["mean", "sum"])


@reductions
@pytest.mark.parametrize("seed", range(5))
def test_bce_is_torchs(seed, reduction):
    scores, is_positive, mask = random_batch(seed)
    loss = functools.partial(bce_loss, reduction=reduction)
    got = value_and_gradient(loss, scores, is_positive, mask)
    expected = value_and_gradient(torchs, scores, is_positive, mask, reduction)
    torch.testing.assert_close(got, expected)

    every = torch.ones_like(mask)
    expected = value_and_gradient(torchs, scores, is_positive, every, reduction)
    for got in both_bce(scores, is_positive, reduction):
        torch.testing.assert_close(got, expected)


def test_bce_is_a_mean_unless_asked_for_a_sum():
    scores, is_positive, mask = random_batch(0)
    ids = columns_of(is_positive)
    assert bce_loss(scores, is_positive, mask) == bce_loss(
        scores, is_positive, mask, reduction="mean"
    )
    assert bce_loss_all(scores, ids) == bce_loss_all(scores, ids, reduction="mean")
    total = bce_loss_all(scores, ids, reduction="sum")
    assert total.item() == pytest.approx(9 * bce_loss_all(scores, ids).item())


@reductions
@pytest.mark.parametrize("dtype", [torch.float64, *ROUNDING])
@pytest.mark.parametrize("seed", range(3))
def test_bce_gradient_in_closed_form(dtype, seed, reduction):
    scores, is_positive, mask = random_batch(seed, dtype=dtype)
    exact = scores.double().sigmoid() - is_positive.double()
    tolerance = dict(rtol=0, atol=ROUNDING.get(dtype, 1e-12))
    wide = torch.promote_types(dtype, torch.float32)
    n = exact.numel() if reduction == "mean" else len(exact)
    value = torchs(scores.double(), is_positive, torch.ones_like(mask), reduction)
    for loss, gradient in both_bce(scores, is_positive, reduction):
        assert loss.dtype == wide and gradient.dtype == dtype
        # The loss of the rounded scores is not rounded itself.
        torch.testing.assert_close(loss.double(), value, rtol=1e-6, atol=0)
        torch.testing.assert_close(n * gradient.double(), exact, **tolerance)

    loss = functools.partial(bce_loss, reduction=reduction)
    _, gradient = value_and_gradient(loss, scores, is_positive, mask)
    n = int(mask.sum()) if reduction == "mean" else len(exact)
    torch.testing.assert_close(n * gradient.double(), exact * mask, **tolerance)


@reductions
def test_bce_gradient_by_differences(reduction):
    scores, is_positive, mask = random_batch(0, n_docs=3, n_labels=6)
    scores.requires_grad_()
    check = functools.partial(torch.autograd.gradcheck, inputs=scores)
    ids = columns_of(is_positive)
    assert check(lambda s: bce_loss(s, is_positive, mask, reduction=reduction))
    assert check(lambda s: bce_loss_all(s, ids, reduction=reduction))


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_docs=st.integers(1, 7),
    n_labels=st.integers(1, 30),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e4]),
    dtype=st.sampled_from([torch.float64, *ROUNDING]),
    reduction=st.sampled_from(["mean", "sum"]),
    n_more=st.integers(0, 40),
)
def test_both_bce_functions_agree(
    seed, n_docs, n_labels, scale, dtype, reduction, n_more
):
    scores, is_positive, _ = random_batch(seed, n_docs, n_labels, dtype, scale)
    (loss, gradient), (loss_all, gradient_all) = both_bce(
        scores, is_positive, reduction, n_more
    )
    assert loss.dtype == loss_all.dtype
    # One of them subtracts what is as large as the scores, and softplus beyond 20
    # is its argument: less than e**-20 is lost, of 30 labels.
    atol = 1e-7 if dtype == torch.float64 else 1e-7 + 3e-6 * scale
    torch.testing.assert_close(loss, loss_all, rtol=1e-5, atol=atol)
    torch.testing.assert_close(gradient, gradient_all)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    filling=st.sampled_from([0.0, 1e4, -1e4, math.inf, -math.inf, math.nan]),
    reduction=st.sampled_from(["mean", "sum"]),
)
def test_padding_never_matters_to_bce(seed, filling, reduction):
    scores, is_positive, mask = random_batch(seed)
    loss = functools.partial(bce_loss, reduction=reduction)
    expected = value_and_gradient(loss, scores, is_positive, mask)
    filled = scores.masked_fill(~mask, filling)
    got = value_and_gradient(loss, filled, is_positive, mask)
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])
    assert (got[1][~mask] == 0).all() and (got[1][mask] != 0).all()


@reductions
@pytest.mark.parametrize("dtype", [torch.float64, *ROUNDING])
@pytest.mark.parametrize("n_more", [0, 5])
def test_bce_without_any_positive(dtype, reduction, n_more):
    # Unlike the GRank loss, it learns from negatives alone.
    scores, is_positive, mask = random_batch(0, dtype=dtype)
    nothing = torch.zeros_like(is_positive)
    expected = torchs(scores.double(), nothing, torch.ones_like(mask), reduction)
    for loss, gradient in both_bce(scores, nothing, reduction, n_more):
        torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
        assert (gradient > 0).all()


@reductions
def test_bce_of_padding_alone_is_nothing(reduction):
    scores, is_positive, mask = random_batch(0)
    loss = functools.partial(bce_loss, reduction=reduction)
    none = torch.zeros_like(mask)
    value, gradient = value_and_gradient(loss, scores, is_positive, none)
    assert value == 0 and (gradient == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, *ROUNDING])
@pytest.mark.parametrize("size", [88.0, 1e4, 6e4])
@pytest.mark.parametrize("right", [True, False])
def test_bce_of_scores_that_would_overflow(dtype, size, right):
    is_positive = torch.tensor([[True, True, False, False, False]])
    scores = torch.where(is_positive == right, size, -size).to(dtype)
    expected = 0.0 if right else scores[0, 0].abs().item()
    slope = torch.zeros(1, 5) if right else 1 - 2 * is_positive.float()
    for loss, gradient in both_bce(scores, is_positive, "mean"):
        assert loss.item() == pytest.approx(expected, rel=1e-6, abs=1e-30)
        torch.testing.assert_close(5 * gradient.float(), slope, rtol=0.01, atol=1e-30)


@reductions
def test_bce_gradient_scales_with_what_comes_from_above(reduction):
    scores, is_positive, _ = random_batch(1)
    ids = columns_of(is_positive)
    loss = functools.partial(bce_loss_all, reduction=reduction)
    _, gradient = value_and_gradient(loss, scores, ids)
    _, seven = value_and_gradient(lambda s, i: 7 * loss(s, i), scores, ids)
    torch.testing.assert_close(seven, 7 * gradient)


@reductions
@pytest.mark.parametrize("seed", range(5))
def test_bce_with_weights_of_negatives(seed, reduction):
    scores, is_positive, mask = random_batch(seed)
    weights = torch.linspace(0, 1.5, len(scores), dtype=scores.dtype)

    def brute(scores, is_positive, mask):
        targets = is_positive.to(scores.dtype)
        terms = binary_cross_entropy_with_logits(scores, targets, reduction="none")
        terms = torch.where(is_positive, terms, terms * weights[:, None]) * mask
        return terms.sum() / (mask.sum() if reduction == "mean" else len(scores))

    options = dict(reduction=reduction, weights=weights)
    loss = functools.partial(bce_loss, **options)
    got = value_and_gradient(loss, scores, is_positive, mask)
    expected = value_and_gradient(brute, scores, is_positive, mask)
    torch.testing.assert_close(got, expected)

    over_all = functools.partial(bce_loss_all, **options)
    got = value_and_gradient(over_all, scores, columns_of(is_positive, 2))
    every = torch.ones_like(mask)
    expected = value_and_gradient(brute, scores, is_positive, every)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dtype", [torch.float64, *ROUNDING])
def test_bce_leaves_scores_and_positives_alone(dtype):
    scores, is_positive, mask = random_batch(2, dtype=dtype)
    ids = columns_of(is_positive)
    before = scores.clone(), is_positive.clone(), ids.clone()
    scores.requires_grad_()
    bce_loss_all(scores, ids).backward()
    bce_loss(scores, is_positive, mask).backward()
    after = scores.detach(), is_positive, ids
    assert all(map(torch.equal, after, before))


# --- distance ---------------------------------------------------------------


@st.composite
def pairs(draw):
    """Documents and labels, from the same to far apart."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    shape = 2, draw(st.integers(1, 9)), draw(st.integers(1, 6))
    docs, labels = torch.from_numpy(rng.normal(size=shape))
    return docs, docs + labels * draw(st.sampled_from([0.0, 1e-3, 1.0, 1e3]))


@settings(max_examples=80, deadline=None)
@given(pairs())
def test_log_distance_of_equation_2(pairs):
    docs, labels = pairs
    gaps = np.linalg.norm(docs.numpy() - labels.numpy(), axis=1)
    expected = np.log(1 + gaps**2).mean()
    loss = log_distance_loss(docs, labels)
    assert loss.shape == () and loss.dtype == torch.float64
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(max_examples=80, deadline=None)
@given(pairs())
def test_log_distance_gradient_in_closed_form(pairs):
    docs, labels = (vectors.clone().requires_grad_() for vectors in pairs)
    log_distance_loss(docs, labels).backward()
    gaps = labels.detach() - docs.detach()
    n_pairs = len(gaps)
    expected = 2 * gaps / (1 + gaps.square().sum(dim=1, keepdim=True)) / n_pairs
    torch.testing.assert_close(labels.grad, expected)
    torch.testing.assert_close(docs.grad, -expected)
    assert (n_pairs * labels.grad.norm(dim=1) <= 1 + 1e-9).all()


def test_log_distance_pulls_hardest_at_distance_1():
    labels = torch.tensor([[0.5], [1.0], [2.0], [1e9]], requires_grad=True)
    log_distance_loss(torch.zeros(4, 1), labels).backward()
    pulls = 4 * labels.grad[:, 0]
    assert pulls.tolist() == pytest.approx([0.8, 1, 0.8, 2e-9])


@pytest.mark.parametrize("dtype", [torch.float64, *ROUNDING])
@pytest.mark.parametrize("other", [torch.float32, torch.float16])
def test_log_distance_in_other_precisions(dtype, other):
    # 300 squared overflows fp16.
    docs, labels = torch.full((2, 3), 300.0, dtype=dtype), torch.zeros(2, 3).to(other)
    docs.requires_grad_()
    loss = log_distance_loss(docs, labels)
    wide = torch.promote_types(torch.promote_types(dtype, other), torch.float32)
    assert loss.dtype == wide
    assert loss.item() == pytest.approx(math.log1p(3 * 300**2), rel=1e-6)
    loss.backward()
    assert docs.grad.dtype == dtype and docs.grad.isfinite().all()


def test_log_distance_of_no_pairs_is_nothing():
    docs = torch.ones(0, 3, requires_grad=True)
    loss = log_distance_loss(docs, torch.ones(0, 3))
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize("n_docs, dim", [(1, 1), (3, 5), (8, 2)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_feature_loss_and_its_gradient(n_docs, dim, reduction):
    torch.manual_seed(0)
    texts, labels = torch.randn(2, n_docs, dim, dtype=torch.float64).unbind()
    pairs = zip(texts.flatten().tolist(), labels.flatten().tolist(), strict=True)
    total = sum((one - two) ** 2 for one, two in pairs)
    texts.requires_grad_()
    labels.requires_grad_()
    loss = feature_loss(texts, labels, reduction=reduction)
    assert loss.dtype == torch.float64
    divisor = n_docs * dim if reduction == "mean" else 2 * n_docs
    assert loss.item() == pytest.approx(total / divisor)
    loss.backward()
    gap = (texts - labels).detach()
    expected = 2 * gap / (n_docs * dim) if reduction == "mean" else gap / n_docs
    torch.testing.assert_close(texts.grad, expected)
    torch.testing.assert_close(labels.grad, -expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction, expected", [("mean", 4.0e8), ("sum", 3.2e9)])
def test_feature_loss_of_large_half_precision(dtype, reduction, expected):
    # Squares pass 65504, where float16 ends.
    texts = torch.full((2, 16), 1e4, dtype=dtype, requires_grad=True)
    loss = feature_loss(texts, -texts.detach(), reduction=reduction)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=0.01)
    loss.backward()
    assert texts.grad.isfinite().all() and (texts.grad != 0).all()
