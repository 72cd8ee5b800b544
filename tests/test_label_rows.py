"""Heads and clusters that get more labels, or keep some of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch.nn.functional import pad

from skxmc.nn.all_labels import AllLabels
from skxmc.nn.heads import LabelScores, LinearHead
from skxmc.nn.rowwise import append_rows, choose_rows
from skxmc.nn.shortlist import LabelClusters
from skxmc.nn.state import check_state, to_state

N_LABELS, DIM, N_DOCS = 7, 4, 3
N_WORDS = 5


def linear(dtype):
    return LinearHead(DIM, N_LABELS).to(dtype)


def all_labels(dtype):
    return AllLabels(torch.randn(N_LABELS, DIM, dtype=dtype), bias=0.5)


def all_labels_without_bias(dtype):
    return AllLabels(torch.randn(N_LABELS, DIM, dtype=dtype))


def plain(dtype):
    return LabelScores(torch.randn(N_LABELS, DIM, dtype=dtype))


def by_row(dtype):
    return LabelScores(torch.randn(N_LABELS, DIM, dtype=dtype), row_wise=True)


def ordered(dtype):
    order = torch.randperm(N_LABELS)
    vectors = torch.randn(N_LABELS, DIM, dtype=dtype)
    return LabelScores(vectors, row_wise=True, order=order)


def with_words(dtype):
    counts = csr_array(np.random.default_rng(0).integers(0, 3, (N_LABELS, N_WORDS)))
    counts[[2]] = 0  # a label without words
    counts.eliminate_zeros()
    words = torch.randn(N_WORDS, 2, dtype=dtype)
    vectors = torch.randn(N_LABELS, DIM, dtype=dtype)
    return LabelScores(vectors, counts, words, row_wise=True)


HEADS = [linear, all_labels, all_labels_without_bias, plain, by_row, ordered]
HEADS.append(with_words)
every_head = pytest.mark.parametrize("make", HEADS, ids=lambda make: make.__name__)


def build(make, dtype=torch.float64):
    torch.manual_seed(0)
    head = make(dtype)
    width = DIM if isinstance(head, LinearHead) else head.dim
    return head, torch.randn(N_DOCS, width, dtype=dtype)


def score(head, docs):
    with torch.no_grad():
        return head(docs)


def assert_valid(head):
    """A folder would keep the head, and every row of a label is scored by its id."""
    check_state(head, "head", to_state(head))
    if getattr(head, "row_wise", False):
        every = torch.arange(head.n_labels)[None]
        docs = torch.randn(1, head.dim, dtype=head.table.dtype)
        with torch.no_grad():
            torch.testing.assert_close(head(docs, every), head(docs))
        assert not head.table[-1].any()


@every_head
def test_added_labels_are_scored_and_others_as_before(make):
    head, docs = build(make)
    before = score(head, docs)
    vectors = torch.randn(2, DIM, dtype=docs.dtype)
    bias = torch.tensor([0.25, -1.0], dtype=docs.dtype)
    takes_bias = make in (linear, all_labels)
    head.add_rows(vectors, bias if takes_bias else None)
    after = score(head, docs)
    assert head.n_outputs == N_LABELS + 2
    torch.testing.assert_close(after[:, :N_LABELS], before)
    expected = docs[:, :DIM] @ vectors.T + (bias if takes_bias else 0)
    torch.testing.assert_close(after[:, N_LABELS:], expected)
    assert_valid(head)


@every_head
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_kept_labels_have_their_scores_in_the_given_order(make, data):
    head, docs = build(make)
    order = data.draw(st.permutations(range(N_LABELS)))
    kept = torch.tensor(order[: data.draw(st.integers(1, N_LABELS))])
    expected = score(head, docs)[:, kept]
    head.keep_rows(kept)
    torch.testing.assert_close(score(head, docs), expected)
    assert head.n_outputs == len(kept)
    assert_valid(head)
    head.add_rows(torch.ones(1, DIM))  # of another dtype
    torch.testing.assert_close(score(head, docs)[:, :-1], expected)
    assert_valid(head)


@every_head
def test_no_tensor_is_changed_in_place(make):
    head, docs = build(make)
    held = {n: (t, t.clone()) for n, t in head.state_dict(keep_vars=True).items()}
    trained = {n: p.requires_grad for n, p in head.named_parameters()}
    head.add_rows(torch.zeros(1, DIM))
    head.keep_rows(torch.tensor([4, 0, 7]))
    for tensor, before in held.values():
        assert torch.equal(tensor, before)
    assert {n: p.requires_grad for n, p in head.named_parameters()} == trained


def test_words_of_kept_labels():
    head, _ = build(with_words)
    assert head.most_words(1) == head.word_starts.diff().max()
    head.keep_rows(torch.tensor([2, 0]))
    assert head.most_words(1) == head.most_words(2) == len(head.words) > 0


def test_bfloat16_tables_keep_their_dtype():
    head = AllLabels(torch.randn(N_LABELS, DIM).bfloat16(), bias=0.5)
    head.add_rows(torch.randn(2, DIM), torch.zeros(2))
    assert head.vectors.dtype == torch.bfloat16


# --- clusters ---------------------------------------------------------------


@st.composite
def groupings(draw):
    n_clusters = draw(st.integers(1, 5))
    more = draw(st.lists(st.integers(0, n_clusters - 1), max_size=8))
    return np.array(draw(st.permutations([*range(n_clusters), *more])))


def assert_same_tables(clusters, groups):
    expected = LabelClusters(np.asarray(groups))
    assert clusters.n_labels == expected.n_labels
    assert clusters.n_clusters == expected.n_clusters
    for name, table in expected.named_buffers():
        assert torch.equal(clusters.get_buffer(name), table), name
    check_state(clusters, "clusters", to_state(clusters))


@settings(max_examples=40, deadline=None)
@given(groups=groupings(), data=st.data())
def test_clusters_that_grow_and_shrink(groups, data):
    clusters = LabelClusters(groups)
    choice = st.integers(0, groups.max())
    new = data.draw(st.lists(choice, min_size=1, max_size=4))
    clusters.add_rows(torch.tensor(new))
    groups = np.append(groups, new)
    assert_same_tables(clusters, groups)

    order = data.draw(st.permutations(range(len(groups))))
    kept = order[: data.draw(st.integers(1, len(groups)))]
    found = clusters.keep_rows(torch.tensor(kept))
    expected, renumbered = np.unique(groups[kept], return_inverse=True)
    assert found.tolist() == expected.tolist()
    assert_same_tables(clusters, renumbered)


# --- parameters -------------------------------------------------------------


def test_rows_are_inserted_and_chosen():
    table = torch.nn.Parameter(torch.arange(6.0).view(3, 2), requires_grad=False)
    grown = append_rows(table, torch.full((1, 2), 9.0), at=2)
    assert grown.tolist() == [[0, 1], [2, 3], [9, 9], [4, 5]]
    assert choose_rows(grown, torch.tensor([3, 0])).tolist() == [[4, 5], [0, 1]]
    assert not grown.requires_grad
    bias = append_rows(torch.nn.Parameter(torch.zeros(1)), torch.ones(2))
    assert torch.equal(bias, pad(torch.ones(2), (1, 0))) and bias.requires_grad
