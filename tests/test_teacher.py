"""The teacher of TReaderXML against loops: neighbours, sequences, batches."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from treaderxml_examples import (
    LENGTH,
    N_WORDS,
    TEXTS,
    make_docs,
    make_teacher,
    seeds,
    teacher_of_words,
)

from skxmc.nn import teacher as teacher_module


def teach_by_hand(kinds, vectors, Y, parents, query, n_neighbors, strict, own=None):
    """Nodes that the texts nearest to one teach, as a set: Algorithm 1."""
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ query / np.maximum(lengths * np.linalg.norm(query), 1e-9)
    others = sorted(set(kinds) - {own}, key=lambda kind: -cosines[kind])
    near = np.isin(kinds, others[:n_neighbors]) & query.any()
    labels = set(np.flatnonzero(Y[near].any(axis=0)))
    above = {j: set(np.flatnonzero(parents[j])) for j in labels}
    return {j for j in labels if above[j] or not strict}.union(*above.values())


def sets_of(matrix):
    assert (matrix.data == 1).all()
    return [set(row.indices.tolist()) for row in matrix]


@settings(max_examples=100, deadline=None)
@given(
    seed=seeds,
    n_docs=st.integers(1, 9),
    n_labels=st.integers(1, 5),
    n_more=st.integers(0, 3),
    n_neighbors=st.integers(1, 10),
    strict=st.booleans(),
    at_once=st.sampled_from([2, 4096]),
)
def test_teacher(seed, n_docs, n_labels, n_more, n_neighbors, strict, at_once):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(7, 4)).astype("f4")
    vectors[0] = 0
    kinds = rng.integers(0, 7, n_docs)  # texts of a kind repeat each other
    Y = rng.random((n_docs, n_labels)) < 0.4
    parents = rng.random((n_labels, n_labels + n_more)) < 0.3
    groups, words = rng.permutation(7) + 5, np.zeros((n_labels + n_more, 1))
    options = dict(n_neighbors=n_neighbors, strict=strict)
    teacher = make_teacher(vectors[kinds], groups[kinds], Y, parents, words, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher_module, "_DOCS_AT_ONCE", at_once)
        alone, every = teacher.teach(vectors, groups), teacher.teach(vectors)
    for query, found, others in zip(
        vectors, sets_of(every), sets_of(alone), strict=True
    ):
        own = int(np.flatnonzero((vectors == query).all(axis=1))[0])
        known = kinds, vectors, Y, parents, query
        assert found == teach_by_hand(*known, **options)
        assert others == teach_by_hand(*known, **options, own=own)


@pytest.mark.parametrize(
    "row, n_neighbors, left_out, every",
    [(0, 1, {2}, {0, 1}), (2, 1, {0, 1}, {2}), (1, 2, {2, 3}, {0, 1, 2})],
)
def test_texts_that_repeat_each_other_teach_as_one(row, n_neighbors, left_out, every):
    vectors = np.array([[1, 0], [1, 0], [0.9, 0.2], [0, 1]], "f4")
    groups, Y, none = np.array([7, 7, 2, 4]), np.eye(4), np.zeros((4, 4))
    teacher = make_teacher(vectors, groups, Y, none, none, n_neighbors=n_neighbors)
    assert sets_of(teacher.teach(vectors, groups))[row] == left_out
    assert sets_of(teacher.teach(vectors))[row] == every


@settings(max_examples=60, deadline=None)
@given(seed=seeds, length=st.integers(1, 4), n_docs=st.integers(1, 4))
def test_sequences_are_means_of_descriptions(seed, length, n_docs):
    rng = np.random.default_rng(seed)
    words = rng.integers(0, N_WORDS, (5, length))
    words[np.arange(length) >= rng.integers(0, length + 1, (5, 1))] = N_WORDS
    nodes = rng.random((n_docs, 5)) < 0.5
    found = (
        teacher_of_words(words).sequences(sp.csr_matrix(nodes, dtype="f4")).toarray()
    )
    assert found.shape == (n_docs * length, N_WORDS)
    rows = rng.integers(n_docs, size=3)
    some = teacher_of_words(words).sequences(sp.csr_matrix(nodes, dtype="f4"), rows)
    chosen = found.reshape(n_docs, length, -1)[rows]
    np.testing.assert_array_equal(some.toarray(), chosen.reshape(3 * length, -1))
    for place, row in enumerate(found):
        own = words[nodes[place // length], place % length]
        counts = np.bincount(own[own < N_WORDS], minlength=N_WORDS)
        np.testing.assert_allclose(row, counts / max(1, counts.sum()), rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, length=st.integers(1, 4), n_nodes=st.integers(1, 30))
def test_sequences_have_the_bits_of_products_of_matrices(seed, length, n_nodes):
    # The order of words within a row is that in which their vectors are summed.
    rng = np.random.default_rng(seed)
    teacher = teacher_of_words(rng.integers(0, N_WORDS + 1, (n_nodes, length)))
    nodes = sp.csr_matrix(rng.random((5, n_nodes)) < 0.4, dtype="f4")
    found = teacher.sequences(nodes)
    for place, words in enumerate(teacher.words):
        expected, own = nodes @ words, found[place::length]
        np.testing.assert_array_equal(own.indptr, expected.indptr)
        np.testing.assert_array_equal(own.indices, expected.indices)
        sums = np.asarray(expected.sum(axis=1)).repeat(np.diff(expected.indptr))
        np.testing.assert_array_equal(own.data, expected.data / sums)


def test_batches_of_documents():
    docs, rows = make_docs(), np.array([3, 1, 2])
    assert len(docs) == 6 and docs.lengths.tolist() == [4, 1, 0, 6, 0, 2]
    batch = docs.batch(rows)
    pad = N_WORDS
    assert batch["words"].tolist() == [TEXTS[3], [2, *5 * [pad]], 6 * [pad]]
    assert batch["weights"].tolist() == [6 * [1], [1, *5 * [0]], 6 * [0]]
    found = np.zeros((len(rows) * LENGTH, N_WORDS + 1), "f4")
    places = np.arange(len(found))[:, None]
    np.add.at(found, (places, batch["teacher"]), batch["teacher_weights"])
    expected = docs.teacher.sequences(docs.nodes[rows]).toarray()
    np.testing.assert_array_equal(found, np.pad(expected, ((0, 0), (0, 1))))
    docs.teacher = None
    assert set(docs.batch(rows)) == {"words", "weights"}
