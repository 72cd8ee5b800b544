"""The parts of a warm fit: weights, clusters, words and documents of before."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from torch import nn

from skxmc._fingerprint import hash_documents
from skxmc._hold_out import hold_out
from skxmc._token_vectors import fit_words
from skxmc._warm_labels import place_labels
from skxmc._warm_words import extend_words
from skxmc.nn.all_labels import AllLabels
from skxmc.nn.bags import FeatureVectors
from skxmc.nn.heads import LabelScores, LinearHead
from skxmc.nn.inherit import inherit

seeds = st.integers(0, 2**31)


# Weights


def draw_labels(rng, n_labels, n_before):
    """Column of before of each label, each at most once, and -1 for new ones."""
    columns = np.append(np.arange(n_before), np.full(n_labels, -1))
    return torch.from_numpy(rng.permutation(columns)[:n_labels])


@given(seeds, st.integers(2, 8), st.integers(2, 8), st.booleans(), st.booleans())
def test_scores_of_known_labels_are_inherited(seed, n_labels, n_before, old, new):
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    labels = draw_labels(rng, n_labels, n_before)

    def make(kind, n):
        vectors = torch.randn(n, 3)
        if kind == "all":
            return AllLabels(vectors, bias=0.5)
        if kind == "linear":
            return LinearHead(3, n)
        ordered = old if n is n_before else new
        order = torch.from_numpy(rng.permutation(n)) if ordered else None
        return LabelScores(vectors, row_wise=kind == "rows" or ordered, order=order)

    docs = torch.randn(4, 3)
    for kind in ("all", "linear", "rows", "dense"):
        network, before = (nn.Sequential(make(kind, n)) for n in (n_labels, n_before))
        scores, expected = network(docs).clone(), before(docs)
        inherit(network, before, labels)
        known = labels >= 0
        scores[:, known] = expected[:, labels[known]]
        assert torch.allclose(network(docs), scores, atol=1e-6), kind


def test_words_and_other_modules_are_inherited():
    def make(n_words, n_clusters):
        table = FeatureVectors(torch.randn(n_words, 2))
        parts = table, LinearHead(2, n_clusters), nn.BatchNorm1d(2), nn.Linear(2, 2)
        return nn.ModuleDict(dict(zip("tcbl", parts, strict=True)))

    network, before = make(5, 3), make(3, 2)
    new = make(5, 3)
    new.load_state_dict(network.state_dict())
    before["b"].running_mean.fill_(7)
    labels, clusters = torch.tensor([0, -1]), torch.tensor([1, -1, 0])
    inherit(network, before, labels, clusters, left_out=("l.bias",))
    assert torch.equal(network["t"].table[:3], before["t"].table[:3])
    assert torch.equal(network["t"].table[3:], new["t"].table[3:])
    assert torch.equal(network["c"].weight[[0, 2]], before["c"].weight[[1, 0]])
    assert torch.equal(network["c"].bias[1], new["c"].bias[1])
    assert (network["b"].running_mean == 7).all()
    assert torch.equal(network["l"].weight, before["l"].weight)
    assert torch.equal(network["l"].bias, new["l"].bias)
    network["l"] = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"network's l.weight has the shape \(2, 3\)"):
        inherit(network, before, labels, clusters)


# Clusters


@given(seeds, st.integers(1, 5), st.integers(0, 30), st.integers(1, 12), st.booleans())
def test_new_labels_are_placed_in_clusters(seed, n_clusters, n_new, max_size, sparse):
    rng = np.random.default_rng(seed)
    old = np.append(np.arange(n_clusters), rng.integers(0, n_clusters, 10))
    groups = rng.permutation(np.append(old, np.full(n_new, -1)))
    features = rng.random((len(groups), 4)) * rng.integers(0, 2, (len(groups), 1))
    given_features = sp.csr_matrix(features) if sparse else features
    placed = place_labels(given_features, groups, max_size)
    assert_array_equal(placed[groups >= 0], groups[groups >= 0])
    assert ((placed >= 0) & (placed < n_clusters)).all()
    before = np.bincount(old, minlength=n_clusters)
    sizes = np.bincount(placed, minlength=n_clusters)
    # Clusters grow beyond the limit only if all of them are full.
    if sizes.max() > max(max_size, before.max()):
        assert sizes.min() >= min(max_size, before.max())


def test_the_nearest_cluster_with_room_is_chosen():
    features = np.array(
        [[1, 0], [0, 1], [1, 0.1], [1, 0.2], [1, 0.3], [0, 0], [0.1, 1]]
    )
    groups = np.array([0, 1, -1, -1, -1, -1, -1])
    # Two places in each: the most similar label has the one that is left in cluster 0.
    assert_array_equal(place_labels(features, groups, 9), [0, 1, 0, 0, 0, 1, 1])
    # With three places, the most similar labels get those of the first cluster.
    placed = place_labels(features[:5], groups[:5], 3)
    assert_array_equal(placed, [0, 1, 0, 0, 1])


# Words


def test_new_words_follow_the_known_ones():
    first = ["red fox", "red dog", "blue fox", "blue dog"]
    later = ["red ant", "ant owl", "owl ant", "bee red", "bee owl"]
    options = dict(min_df=None, ngram_range=(1, 2), max_features=100)
    vectorizer, _ = fit_words(first, **options)
    known = vectorizer.get_feature_names_out().tolist()
    extended, X = extend_words(vectorizer, later, n_before=4, **options)
    terms = extended.get_feature_names_out().tolist()
    assert terms[: len(known)] == known
    assert terms[len(known) :] == sorted(set(terms) - set(known))
    assert {"ant", "owl", "bee"} <= set(terms)
    assert_array_equal(X.toarray(), extended.transform(later).toarray())
    # An inverse document frequency is that among the larger number of texts.
    for n_before in (4, 99):
        extended, _ = extend_words(vectorizer, later, n_before=n_before, **options)
        idf = extended.idf_[extended.vocabulary_["ant"]]
        n_with = (1 + 3) * (1 + max(n_before, 5)) / (1 + 5) * 6 / (1 + max(n_before, 5))
        expected = np.log((1 + max(n_before, 5)) / n_with) + 1
        assert idf == pytest.approx(expected, rel=1e-6)
    # The most frequent of the new words have what room there is.
    limit = options | dict(max_features=len(known) + 1)
    extended, _ = extend_words(vectorizer, later, n_before=4, **limit)
    assert extended.get_feature_names_out().tolist()[len(known) :] in (["ant"], ["owl"])
    assert vectorizer.get_feature_names_out().tolist() == known


def test_words_after_texts_without_any():
    vectorizer, _ = fit_words(["!", "?"], min_df=None, max_features=9)
    extended, X = extend_words(
        vectorizer, ["red fox", "a red"], n_before=2, min_df=1, max_features=9
    )
    assert extended.get_feature_names_out().tolist() == ["a", "fox", "red"]
    assert (X.getnnz(axis=1) == 2).all()


# Documents


@given(seeds)
def test_hashes_know_documents_again(seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 2, (20, 4)) * rng.integers(1, 3, (20, 4)).astype(np.float32)
    rows = [tuple(row) for row in X.tolist()]
    for matrix in (sp.csr_matrix(X), sp.csr_matrix(X)[::-1][::-1]):
        hashes = hash_documents(matrix)
        assert len(set(hashes.tolist())) == len(set(rows))
        same = hashes[:, None] == hashes
        assert_array_equal(same, [[a == b for b in rows] for a in rows])
    texts = [str(row) for row in rows]
    hashes = hash_documents(texts)
    assert hashes.dtype == np.int64
    assert_array_equal(
        hashes[:, None] == hashes, [[a == b for b in texts] for a in texts]
    )


@given(seeds, st.floats(0, 1))
def test_only_some_documents_are_held_out(seed, fraction):
    rng = np.random.default_rng(seed)
    Y = sp.csr_matrix((rng.random((30, 5)) < 0.3).astype(np.float32))
    only = rng.random(30) < 0.5
    held_out = hold_out(Y, fraction, rng, only=only)
    assert only[held_out].all() and (np.diff(held_out) > 0).all()
    # Each label that has documents keeps one.
    kept = np.setdiff1d(np.arange(30), held_out)
    assert_array_equal(Y[kept].sum(axis=0) > 0, Y.sum(axis=0) > 0)
    if fraction == 1:  # of a label of the others none need stay for its sake
        others = Y[~only].sum(axis=0) > 0
        free = np.asarray(Y[:, ~np.asarray(others).ravel()].sum(axis=1)).ravel() == 0
        labeled = np.diff(Y.indptr) > 0
        assert set(np.flatnonzero(only & free & labeled)) <= set(held_out.tolist())
