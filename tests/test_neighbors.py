"""Neighbours that vote: votes and rankings against loops, and crafted memories."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hostile import put, sign
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from persistence_examples import D, make, needs_hnswlib
from safetensors.torch import load_file, save_file

import skxmc
from skxmc import _neighbors
from skxmc.nn import neighbors
from skxmc.nn.neighbors import NeighborVotes, Votes, add_votes

N_LABELS = 12
VOTING = dict(neighbor_weight=1.5, n_voters=3)

# Votes


def make_votes(seed, n_docs, *, dim=4, n_labels=6, density=0.4, **options):
    """A memory of random documents, and their vectors and labels."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n_docs, dim)).astype(np.float32)
    Y = sp.csr_array(rng.random((n_docs, n_labels)) < density)
    votes = NeighborVotes(
        torch.from_numpy(vectors),
        torch.from_numpy(Y.indptr.astype(np.int64)),
        torch.from_numpy(Y.indices.astype(np.int64)),
        torch.arange(n_docs) * 10,
        n_labels=n_labels,
        **options,
    )
    return votes, vectors, Y.toarray()


def votes_by_hand(vectors, labels, query, n_neighbors):
    """The share of each label, by a loop over the documents."""
    if not query.any():
        return np.zeros(labels.shape[1])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ (query / np.linalg.norm(query))
    near = np.argsort(-cosines)[:n_neighbors]
    weights = np.exp(20 * cosines[near])
    shares = np.zeros(labels.shape[1])
    for i, weight in zip(near, weights / weights.sum(), strict=True):
        shares[labels[i]] += weight
    return shares


def densify(votes, n_docs, n_labels):
    found = np.zeros((n_docs, n_labels))
    found[votes.docs, votes.labels] = votes.shares
    return found


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_docs=st.integers(1, 12),
    n_queries=st.integers(0, 4),
    n_neighbors=st.integers(1, 15),
    density=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_votes_are_those_of_a_loop(seed, n_docs, n_queries, n_neighbors, density):
    votes, vectors, labels = make_votes(seed, n_docs, density=density)
    votes.n_neighbors = n_neighbors
    queries = np.random.default_rng(seed + 1).standard_normal((n_queries, 4))
    queries[:1] = 0
    queries = queries.astype(np.float32)
    places, _, weights = votes.search(torch.from_numpy(queries))
    assert places.shape == weights.shape == (n_queries, min(n_neighbors, n_docs))
    counted = votes.count(places, weights)
    pairs = list(zip(counted.docs.tolist(), counted.labels.tolist(), strict=True))
    assert pairs == sorted(set(pairs)) and (counted.shares > 0).all()
    expected = [votes_by_hand(vectors, labels, q, n_neighbors) for q in queries]
    expected = np.reshape(expected, (n_queries, labels.shape[1]))
    # The vectors are kept with 11 bits, which may change a share by 20 / 2048.
    assert_allclose(densify(counted, *expected.shape), expected, atol=0.02)
    for i in range(n_queries):
        for label in range(labels.shape[1]):
            shares = votes.shares_of(label, places[i], weights[i])
            assert_array_equal(shares > 0, labels[places[i], label] & bool(i))
            assert float(shares.sum()) == pytest.approx(expected[i, label], abs=0.02)


@needs_hnswlib
def test_a_graph_finds_the_same_neighbors():
    exact, vectors, _ = make_votes(0, 500, dim=8)
    graph, _, _ = make_votes(0, 500, dim=8, exact=False)
    queries = torch.from_numpy(vectors[:50] + 0.1)
    one, other = (votes.count(*votes.search(queries)[::2]) for votes in (exact, graph))
    assert_array_equal(one.labels, other.labels)
    assert_allclose(one.shares, other.shares, atol=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_a_document_without_a_vector_gets_no_votes(value):
    votes, vectors, _ = make_votes(0, 9)
    queries = torch.from_numpy(vectors[:2].copy())
    queries[0] = value
    assert set(votes.count(*votes.search(queries)[::2]).docs.tolist()) == {1}


def test_neighbors_are_found_at_full_precision():
    votes, vectors, _ = make_votes(0, 300, dim=16)
    queries = torch.from_numpy(vectors[:20] + 0.3)
    expected = votes.search(queries)
    with torch.autocast("cpu", torch.bfloat16):
        found = votes.search(queries)
    assert all(map(torch.equal, found, expected))


# Votes in a ranking


def make_ranking(rng, n_docs, n_labels, n_ranked, n_padded):
    ids = np.argsort(rng.random((n_docs, n_labels)), axis=1)[:, :n_ranked]
    scores = -np.sort(rng.random(ids.shape) * 9, axis=1)
    if n_padded:
        ids[:, -n_padded:], scores[:, -n_padded:] = n_labels, -np.inf
    return torch.from_numpy(ids), torch.from_numpy(scores)


def ranking_by_hand(ids, scores, shares, weight, n_labels, depth):
    """A dict of the labels of one document and their scores, by a loop."""
    known = {
        int(label): float(score)
        for label, score in zip(ids, scores, strict=True)
        if label < n_labels
    }
    best = dict(list(known.items())[:depth])
    lowest = min(best.values(), default=0)
    for label in np.flatnonzero(shares):
        known[label] = best.get(label, lowest) + weight * shares[label]
    return known


rankings = given(
    seed=st.integers(0, 2**31),
    n_docs=st.integers(1, 4),
    n_ranked=st.integers(1, 8),
    n_padded=st.integers(0, 8),
    n_votes=st.integers(0, 20),
    k=st.integers(1, 10),
    depth=st.integers(1, 8),
    weight=st.sampled_from([0.0, 0.5, 3.0]),
)


def draw(seed, n_docs, n_ranked, n_padded, n_votes, n_labels=8):
    rng = np.random.default_rng(seed)
    ranking = make_ranking(rng, n_docs, n_labels, n_ranked, min(n_padded, n_ranked))
    places = np.unique(rng.integers(n_docs * n_labels, size=n_votes))
    shares = rng.random(len(places)) + 0.01
    docs, labels = np.divmod(places, n_labels)
    return *ranking, Votes(*map(torch.from_numpy, (docs, labels, shares)))


@settings(max_examples=200, deadline=None)
@rankings
def test_ranking_is_that_of_a_loop(
    seed, n_docs, n_ranked, n_padded, n_votes, k, depth, weight
):
    ids, scores, votes = draw(seed, n_docs, n_ranked, n_padded, n_votes)
    options = dict(n_labels=8, normalize=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbors, "DEPTH", depth)
        got_ids, got = add_votes(ids, scores, votes, weight, k, **options)
    assert got_ids.shape == got.shape == (n_docs, k)
    assert (got.diff(dim=1).nan_to_num(nan=-1) <= 0).all()
    assert_array_equal(got_ids == 8, got == -math.inf)
    shares = densify(votes, n_docs, 8)
    for i in range(n_docs):
        expected = ranking_by_hand(ids[i], scores[i], shares[i], weight, 8, depth)
        pairs = got_ids[i].tolist(), got[i].tolist()
        found = {j: s for j, s in zip(*pairs, strict=True) if j < 8}
        assert len(found) == min(k, len(expected)) == (got_ids[i] < 8).sum()
        best = sorted(expected.values(), reverse=True)[: len(found)]
        assert_allclose(list(found.values()), best)
        assert_allclose([expected[label] for label in found], best)


@settings(max_examples=100, deadline=None)
@rankings
def test_a_weight_of_zero_keeps_the_ranking(
    seed, n_docs, n_ranked, n_padded, n_votes, k, depth, weight
):
    ids, scores, votes = draw(seed, n_docs, n_ranked, n_padded, n_votes)
    k = min(k, n_ranked)
    got_ids, got = add_votes(ids, scores, votes, 0.0, k, n_labels=8, normalize=False)
    ranked = ids[:, :k] < 8
    assert torch.equal(got_ids[ranked], ids[:, :k][ranked])
    assert torch.equal(got[ranked], scores[:, :k][ranked])


@settings(max_examples=100, deadline=None)
@rankings
def test_the_best_labels_do_not_depend_on_how_many_are_asked_for(
    seed, n_docs, n_ranked, n_padded, n_votes, k, depth, weight
):
    ids, scores, votes = draw(seed, n_docs, n_ranked, n_padded, n_votes)
    more = add_votes(ids, scores, votes, weight, 12, n_labels=8, normalize=True)
    few = add_votes(ids, scores, votes, weight, k, n_labels=8, normalize=True)
    for one, other in zip(few, more, strict=True):
        assert torch.equal(one, other[:, :k])


@settings(max_examples=100, deadline=None)
@rankings
def test_probabilities_sum_to_at_most_one(
    seed, n_docs, n_ranked, n_padded, n_votes, k, depth, weight
):
    ids, scores, votes = draw(seed, n_docs, 8, 0, n_votes)
    scores = scores.log_softmax(dim=1)
    options = dict(n_labels=8, normalize=True)
    every = add_votes(ids, scores, votes, weight, 8, **options)[1].exp().sum(dim=1)
    assert_allclose(every, 1)
    known = ids[:, :n_ranked], scores[:, :n_ranked]
    some = add_votes(*known, votes, weight, 8, **options)[1].exp().sum(dim=1)
    assert (some <= 1 + 1e-9).all()


# Model folders


@pytest.fixture(scope="module")
def saved(colours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    weights = np.linspace(1, 2, len(colours[0]))
    make(D, **VOTING).fit(*colours[:2], weights).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "name, changed",
    [
        ("ids", put(N_LABELS, 0)),
        ("ids", put(-1, 0)),
        ("ids", lambda t: t[:-1]),
        ("ids", lambda t: t.int()),
        ("indptr", put(10**6, 1)),
        ("indptr", put(-1, 1)),
        ("indptr", put(0, 3)),
        ("indptr", put(1, 0)),
        ("indptr", lambda t: t[:-1]),
        ("rows", put(-1, 0)),
        ("rows", lambda t: t[:-1]),
        ("counts", put(0.0, 0)),
        ("counts", put(math.nan, 0)),
        ("counts", lambda t: t[:-1]),
        ("index.vectors", put(math.nan, 0, 0)),
        ("index.vectors", put(3.0, 0, 0)),
        ("index.vectors", lambda t: t[:-1]),
        ("index.vectors", lambda t: t[:, :-1]),
        ("index.vectors", lambda t: t.float()),
        ("index.vectors", lambda t: t.bfloat16()),
    ],
)
def test_crafted_memory(name, changed, saved, tmp_path):
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    name = f"network_.neighbors.{name}"
    tensors[name] = changed(tensors[name].clone()).contiguous()
    save_file(tensors, folder / "model.safetensors")
    refuse(folder)


@pytest.mark.parametrize(
    "state",
    [
        dict(weight=-1.0),
        dict(weight="x"),
        dict(n_neighbors=0),
        dict(n_labels=13),
        dict(n_labels=11),
        dict(_copy=None),
        dict(rerank=1),
        dict(indptr=None),
        dict(index=None),
    ],
)
def test_crafted_numbers(state, saved, tmp_path):
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    network = config["model"]["state"]["network_"]["state"]
    network["neighbors"]["state"].update(state)
    (folder / "config.json").write_text(json.dumps(config))
    refuse(folder)


def test_a_memory_of_another_width(saved, colours, tmp_path):
    other = make(D, label_dim=6, **VOTING).fit(colours[0], colours[1])
    model = skxmc.load(saved)
    model.network_.neighbors = other.network_.neighbors
    with pytest.raises(ValueError, match=r"neighbors\.index\.dim is 6 instead of"):
        model.save_pretrained(tmp_path / "model")


def refuse(folder):
    sign(folder)
    for verify in (True, False):
        with pytest.raises(ValueError, match=r"config\.json does not describe a model"):
            skxmc.load(folder, verify=verify)


@needs_hnswlib
def test_a_graph_in_a_folder(colours, tmp_path, monkeypatch):
    monkeypatch.setattr(_neighbors, "_MAX_EXACT", 5)
    model = make(D, **VOTING).fit(colours[0], colours[1])
    assert model.network_.neighbors.index.graph.M == 16
    model.save_pretrained(tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    for one, other in zip(
        (*model.predict_topk(colours[0], 5), *model.kneighbors(colours[0])),
        (*loaded.predict_topk(colours[0], 5), *loaded.kneighbors(colours[0])),
        strict=True,
    ):
        assert_array_equal(one, other)
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    assert tensors["network_.neighbors.index.vectors"].dtype == torch.float16
