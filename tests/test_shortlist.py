"""Clusters of labels, and the candidates that come from them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

from skxmc.nn.shortlist import LabelClusters, log_odds


@st.composite
def cases(draw):
    """Labels in clusters of any size, positives, distinct scores, k."""
    n_clusters = draw(st.integers(1, 8))
    more = draw(st.lists(st.integers(0, n_clusters - 1), max_size=20))
    groups = np.array(draw(st.permutations([*range(n_clusters), *more])))
    n_docs = draw(st.integers(1, 4))
    columns = st.lists(st.integers(0, len(groups) - 1), max_size=12, unique=True)
    positives = draw(st.lists(columns, min_size=n_docs, max_size=n_docs))
    k = draw(st.integers(1, n_clusters))
    ranks = [draw(st.permutations(range(n_clusters))) for _ in range(n_docs)]
    scores = torch.tensor(ranks, dtype=torch.float32) - n_clusters / 2
    return groups, positives, scores, k


def as_tensor(rows, padding, n_more=0):
    width = max(map(len, rows), default=0) + n_more
    width = max(width, 1)
    return torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows])


# --- the tables -------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(cases())
def test_members_and_slots_are_a_partition(case):
    groups = case[0]
    clusters = LabelClusters(groups)
    n_labels = len(groups)
    assert (clusters.n_labels, clusters.n_clusters) == (n_labels, groups.max() + 1)
    assert clusters.members.shape[1] == np.bincount(groups).max()
    for cluster, row in enumerate(clusters.members.tolist()):
        expected = np.flatnonzero(groups == cluster).tolist()
        assert row == expected + [n_labels] * (len(row) - len(expected))
    for label in range(n_labels):
        place = clusters.groups[label], clusters.slots[label]
        assert clusters.members[place] == label
    assert clusters.groups[n_labels] == clusters.n_clusters


def test_tables_travel_with_the_network():
    clusters = LabelClusters(np.array([0, 1, 0]))
    assert set(clusters.state_dict()) == {"groups", "slots", "members"}
    assert not list(clusters.parameters())


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 3))
def test_targets(case, n_more):
    groups, positives, _, _ = case
    clusters = LabelClusters(groups)
    ids = as_tensor(positives, len(groups), n_more)
    targets = clusters.targets(ids)
    assert targets.shape == ids.shape
    for row, own in zip(targets.tolist(), positives, strict=True):
        expected = sorted({int(groups[label]) for label in own})
        assert row == expected + [clusters.n_clusters] * (len(row) - len(expected))


@settings(max_examples=60, deadline=None)
@given(cases())
def test_top(case):
    groups, _, scores, k = case
    clusters = LabelClusters(groups)
    ids, of_cluster = clusters.top(scores, k)
    size = clusters.members.shape[1]
    assert ids.shape == of_cluster.shape == (len(scores), k * size)
    for row, values, own in zip(ids, of_cluster, scores, strict=True):
        best = own.argsort(descending=True)[:k]
        labels = [label for label in row.tolist() if label < len(groups)]
        expected = [np.flatnonzero(groups == c).tolist() for c in best.tolist()]
        assert labels == sum(expected, [])
        assert values.tolist() == own[best].repeat_interleave(size).tolist()


@settings(max_examples=60, deadline=None)
@given(cases())
def test_score_of_each_labels_cluster(case):
    groups, _, scores, _ = case
    found = LabelClusters(groups).spread_scores(scores)
    assert found.tolist() == scores.numpy()[:, groups].tolist()


@settings(max_examples=100, deadline=None)
@given(cases(), st.one_of(st.none(), st.integers(1, 40)))
def test_retrieve(case, n):
    groups, _, scores, k = case
    clusters, n_labels = LabelClusters(groups), len(groups)
    found = clusters.retrieve(scores, k, n)
    n_clusters = k if n is None else clusters.n_clusters
    width = min(clusters.n_candidates(k), n_labels) if n is None else n
    assert found.shape == (len(scores), width)
    for row, own in zip(found.tolist(), scores, strict=True):
        best = own.argsort(descending=True)[:n_clusters].tolist()
        expected = sum([np.flatnonzero(groups == c).tolist() for c in best], [])[:width]
        assert row == expected + [n_labels] * (width - len(expected))


# --- candidates -------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(0, 3))
def test_candidates(case, n_more):
    groups, positives, scores, k = case
    n_labels, clusters = len(groups), LabelClusters(groups)
    ids = as_tensor(positives, n_labels, n_more)
    found, is_positive = clusters.candidates(scores, ids, k)
    size = clusters.members.shape[1]
    assert found.shape == is_positive.shape == (len(ids), k * size + ids.shape[1])
    assert found.dtype == torch.int64 and is_positive.dtype == torch.bool

    for i, own in enumerate(positives):
        row, flags = found[i], is_positive[i]
        real = row[row < n_labels].tolist()
        assert len(real) == len(set(real)), "a label is there twice"
        assert sorted(row[flags].tolist()) == sorted(own), "a positive, once, flagged"

        # The k blocks are the best clusters, whichever of them hold positives.
        blocks = row[: k * size].view(k, size).tolist()
        blocks = [{label for label in block if label < n_labels} for block in blocks]
        order = [int(groups[min(block)]) for block in blocks]
        assert order == scores[i].argsort(descending=True)[:k].tolist()
        for cluster, block in zip(order, blocks, strict=True):
            assert block == set(np.flatnonzero(groups == cluster).tolist())

        # The rest holds the positives whose cluster found no place, and no others.
        rest = row[k * size :]
        rest = rest[rest < n_labels].tolist()
        assert set(rest) == {label for label in own if groups[label] not in order}


def test_candidates_of_documents_without_positives():
    clusters = LabelClusters(np.array([0, 0, 1, 1, 2]))
    none = torch.full((2, 1), 5)
    scores = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    ids, is_positive = clusters.candidates(scores, none, 2)
    assert ids.tolist() == [[4, 5, 2, 3, 5], [0, 1, 2, 3, 5]]
    assert not is_positive.any()


def test_true_clusters_take_no_place_from_hard_negatives():
    clusters = LabelClusters(np.arange(6))
    positives = torch.tensor([[0, 1, 2, 3]])
    scores = torch.arange(6.0)[None]
    ids, is_positive = clusters.candidates(scores, positives, 2)
    assert sorted(ids[is_positive].tolist()) == [0, 1, 2, 3]
    assert sorted(ids[~is_positive & (ids < 6)].tolist()) == [4, 5]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_candidates_in_other_precisions(dtype):
    clusters = LabelClusters(np.arange(30) % 5)
    positives = torch.tensor([[3, 9, 30], [12, 30, 30]])
    # Whole numbers, that every precision holds.
    scores = torch.tensor([[3.0, 1, 4, 0, 5], [2, 7, 1, 8, 3]])
    expected = clusters.candidates(scores, positives, 3)
    found = clusters.candidates(scores.to(dtype), positives, 3)
    assert all(map(torch.equal, found, expected))


def test_candidates_leave_the_scores_alone():
    clusters = LabelClusters(np.arange(4))
    positives = torch.tensor([[1, 4], [2, 3]])
    scores = torch.randn(2, 4, requires_grad=True)
    before = scores.detach().clone()
    ids, is_positive = clusters.candidates(scores, positives, 2)
    assert torch.equal(scores, before)
    assert not ids.requires_grad


# --- log-odds ---------------------------------------------------------------


@pytest.mark.parametrize("dtype, rel", [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@settings(max_examples=100, deadline=None)
@given(st.floats(1e-30, 0.5))
def test_log_odds(dtype, rel, p):
    # Of p, and of 1 - p, whose logarithm knows a p that 1 - p does not.
    logarithms = torch.tensor([np.log(p), np.log1p(-p)]).to(dtype)
    found = log_odds(logarithms)
    assert found.dtype == dtype
    expected = [logit(p), -logit(p)]
    assert found.tolist() == pytest.approx(expected, rel=rel, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_log_odds_at_the_ends(dtype):
    logarithms = torch.tensor([-torch.inf, -1e4, -200.0, -1e-35, 0.0], dtype=dtype)
    found = log_odds(logarithms).tolist()
    assert found[:3] == [-np.inf, -1e4, -200.0]
    # A probability of 1 has odds of 1e30, not of infinity.
    assert found[3:] == pytest.approx([-np.log(1e-30)] * 2)


def test_log_odds_keep_the_order():
    logarithms = -torch.logspace(-29, 3, 500, dtype=torch.float64)
    assert (log_odds(logarithms).diff() < 0).all()
