"""Losses with weights of documents and of labels, against loops and repetitions."""

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_losses import columns_of, random_batch, value_and_gradient

from skxmc.nn.losses import (
    bce_loss,
    bce_loss_all,
    candidate_weights,
    cluster_weights,
    feature_loss,
    grank_loss,
    grank_loss_all,
    log_distance_loss,
    loss_weights,
)
from skxmc.nn.network import count_documents, divisor

SEEDS = st.integers(0, 2**31 - 1)
LOSSES = {
    "grank": (grank_loss, grank_loss_all),
    "bce": (bce_loss, bce_loss_all),
    "bce, sum": tuple(
        functools.partial(loss, reduction="sum") for loss in (bce_loss, bce_loss_all)
    ),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


def random_weights(seed, n_docs=6, n_labels=9):
    """Weights of documents, and of labels with a 1 for padding."""
    generator = torch.Generator().manual_seed(seed + 1)
    documents, labels = (
        0.1 + 3 * torch.rand(n, generator=generator).double()
        for n in (n_docs, n_labels + 1)
    )
    labels[-1] = 1
    return documents, labels


def softplus(x):
    return math.log1p(math.exp(x))


def loss_of_document(name, row, positive, real, v):
    """Loss of one document as its equation says, and how many terms it has."""
    P = [j for j in range(len(row)) if real[j] and positive[j]]
    M = [j for j in range(len(row)) if real[j] and not positive[j]]
    if name.startswith("bce"):
        loss = sum(v[j] * softplus(-row[j]) for j in P)
        loss += sum(softplus(row[j]) for j in M)
        return loss, len(P) + len(M) if name == "bce" else 1
    if not P or not M:
        return 0.0, 0
    mean = sum(v[i] for i in P) / len(P)
    total = sum(math.exp(row[j] - row[i]) * v[i] / mean for j in M for i in P)
    return mean * math.log1p(total), 1


def written_out(name, scores, is_positive, mask, weights, v):
    parts = [
        loss_of_document(name, *lists, v.tolist())
        for lists in zip(
            *(x.tolist() for x in (scores, is_positive, mask)), strict=True
        )
    ]
    w = weights.tolist()
    n_terms = sum(w[i] * n for i, (_, n) in enumerate(parts))
    total = sum(w[i] * loss for i, (loss, _) in enumerate(parts))
    return total / n_terms * sum(w) / len(w) if n_terms else 0.0


@every_loss
@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_a_weighted_mean_of_its_equation(name, seed):
    scores, is_positive, mask = random_batch(seed)
    weights, v = random_weights(seed)
    of_candidates, of_all = LOSSES[name]
    found = of_candidates(
        scores,
        is_positive,
        mask,
        doc_weights=weights,
        label_weights=v[:-1].expand(scores.shape),
    )
    expected = written_out(name, scores, is_positive, mask, weights, v)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    everything = torch.ones_like(mask)
    found = of_all(
        scores, columns_of(is_positive), doc_weights=weights, label_weights=v
    )
    expected = written_out(name, scores, is_positive, everything, weights, v)
    assert found.item() == pytest.approx(expected, rel=1e-12)


@every_loss
@pytest.mark.parametrize("given_weights", ["documents", "labels", "both"])
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_both_forms_agree_and_so_do_their_gradients(name, given_weights, seed):
    scores, is_positive, _ = random_batch(seed)
    weights, v = random_weights(seed)
    of_candidates, of_all = LOSSES[name]
    options = {"doc_weights": weights, "label_weights": v}
    if given_weights != "both":
        options.pop("label_weights" if given_weights == "documents" else "doc_weights")
    ids = torch.arange(9).expand(scores.shape)
    expected = value_and_gradient(
        functools.partial(of_candidates, **candidate_weights(options, ids)),
        scores,
        is_positive,
        torch.ones_like(is_positive),
    )
    found = value_and_gradient(
        functools.partial(of_all, **options), scores, columns_of(is_positive)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


@every_loss
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_whole_weights_repeat_documents(name, seed):
    scores, is_positive, mask = random_batch(seed)
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 4, (len(scores),), generator=generator)
    weights = counts.double() / counts.double().mean()
    rows = torch.arange(len(scores)).repeat_interleave(counts)
    of_candidates, of_all = LOSSES[name]
    ids = columns_of(is_positive)
    for loss, *rest in ((of_candidates, is_positive, mask), (of_all, ids)):
        value, gradient = value_and_gradient(
            functools.partial(loss, doc_weights=weights), scores, *rest
        )
        repeated = value_and_gradient(loss, scores[rows], *(x[rows] for x in rest))
        sums = torch.zeros_like(scores).index_add_(0, rows, repeated[1])
        torch.testing.assert_close(value, repeated[0], rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(gradient, sums, rtol=1e-10, atol=1e-14)


@every_loss
def test_weights_of_one_change_nothing(name):
    scores, is_positive, mask = random_batch(3)
    ones = {"doc_weights": torch.ones(6), "label_weights": torch.ones(10)}
    of_candidates, of_all = LOSSES[name]
    ids = torch.arange(9).expand(scores.shape)
    for loss, options, rest in (
        (of_candidates, candidate_weights(ones, ids), (is_positive, mask)),
        (of_all, ones, (columns_of(is_positive),)),
    ):
        expected = value_and_gradient(loss, scores, *rest)
        found = value_and_gradient(functools.partial(loss, **options), scores, *rest)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, factor=st.floats(0.01, 100))
def test_the_grank_loss_grows_with_the_weights_of_labels(seed, factor):
    # Of one positive, the weight is a factor of the loss.
    scores, is_positive, _ = random_batch(seed)
    _, v = random_weights(seed)
    ids = columns_of(is_positive)
    loss = grank_loss_all(scores, ids, label_weights=v)
    scaled = grank_loss_all(scores, ids, label_weights=factor * v)
    assert scaled.item() == pytest.approx(factor * loss.item(), rel=1e-10)
    alone = torch.tensor([[2, 9]] * 6)
    assert grank_loss_all(scores, alone, label_weights=v).item() == pytest.approx(
        v[2].item() * grank_loss_all(scores, alone).item(), rel=1e-10
    )


def test_weights_of_negatives_and_of_documents_go_together():
    scores, is_positive, _ = random_batch(5)
    weights, v = random_weights(5)
    factors = torch.linspace(0.1, 1, 6).double()
    options = dict(reduction="sum", weights=factors, doc_weights=weights)
    ids = torch.arange(9).expand(scores.shape)
    expected = value_and_gradient(
        functools.partial(bce_loss, label_weights=v[ids], **options),
        scores,
        is_positive,
        torch.ones_like(is_positive),
    )
    found = value_and_gradient(
        functools.partial(bce_loss_all, label_weights=v, **options),
        scores,
        columns_of(is_positive),
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_weighted_distances_repeat_documents(reduction):
    generator = torch.Generator().manual_seed(0)
    texts, labels = torch.randn(2, 4, 3, generator=generator).double()
    counts = torch.tensor([1, 3, 2, 2])
    rows = torch.arange(4).repeat_interleave(counts)
    weights = counts / 2
    found = feature_loss(texts, labels, reduction=reduction, doc_weights=weights)
    expected = feature_loss(texts[rows], labels[rows], reduction=reduction)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    found = log_distance_loss(texts, labels, weights)
    expected = log_distance_loss(texts[rows], labels[rows])
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_weights_of_some_documents_have_the_mean_of_the_batch():
    weights = torch.tensor([1.0, 2.0, 6.0])
    targets = {"doc_weights": weights, "label_weights": torch.ones(4)}
    assert loss_weights({"positives": weights}) == {}
    some = loss_weights(targets, torch.tensor([0, 1]))
    torch.testing.assert_close(some["doc_weights"], torch.tensor([2.0, 4.0]))
    assert some["label_weights"] is targets["label_weights"]
    assert list(cluster_weights(some)) == ["doc_weights"]


# --- parts of a batch ---------------------------------------------------------


@given(seed=SEEDS, sizes=st.permutations([0, 1, 2, 3]), weighs=st.booleans())
@settings(max_examples=30, deadline=None)
def test_losses_of_parts_make_that_of_the_batch(seed, sizes, weighs):
    scores, is_positive, _ = random_batch(seed)
    is_positive[0] = True  # a document that GRank leaves out
    columns, (weights, _) = columns_of(is_positive), random_weights(seed)
    targets = {"positives": columns} | ({"doc_weights": weights} if weighs else {})
    count = is_positive.sum(dim=1)
    usable = (count > 0) & (count < scores.shape[1])
    of_texts, of_names = torch.randn(2, *scores.shape).double()
    parts = torch.arange(len(scores)).split(sizes)
    every = torch.arange(len(scores))

    def grank(rows, given):
        return grank_loss_all(scores[rows], columns[rows], **given)

    def bce(rows, given):
        return bce_loss_all(scores[rows], columns[rows], reduction="sum", **given)

    def feature(rows, given):
        some = usable[rows].nonzero()[:, 0]
        weights = loss_weights(given, some).get("doc_weights")
        rows = rows[some]
        return feature_loss(of_texts[rows], of_names[rows], doc_weights=weights)

    for loss, counted in ((grank, usable), (bce, None), (feature, usable)):

        def of(rows):
            given = {name: x[rows] for name, x in targets.items()}
            some = None if counted is None else counted[rows]  # noqa: B023
            counts = count_documents(given, some)
            given.pop("positives")
            return loss(rows, given) if divisor(counts) else 0, counts  # noqa: B023

        found = [of(rows) for rows in parts if len(rows)]
        total = sum(counts for _, counts in found)
        whole = sum(one * divisor(counts) for one, counts in found) / divisor(total)
        torch.testing.assert_close(whole, of(every)[0])
