"""The network of TReaderXML: attention, teacher, encoder, loss."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from toy_network import loss_of

from skxmc._hierarchy import check_label_parents
from skxmc._taught_documents import group_repeats, keep_largest, largest_columns
from skxmc.nn import teacher as teacher_module
from skxmc.nn.heads import LinearHead
from skxmc.nn.networks.treaderxml import (
    READINGS,
    Reading,
    SameVectors,
    SelfAttention,
    TReaderEncoder,
    TReaderXMLNetwork,
    _waves,
)
from skxmc.nn.networks.treaderxml import visible_places as visible
from skxmc.nn.teacher import TaughtDocuments, Teacher
from skxmc.nn.text import padded_columns

DIM, N_WORDS, LENGTH = 8, 7, 3
MASKS, POOLINGS = [None, "causal", "upper"], ["mean", "max", "first"]
WITH_WAVES = dict(positional="sinusoidal")
seeds = st.integers(0, 2**31)

# Words of documents, the nodes that teach them, and the words of these.
TEXTS = [[0, 3, 3, 5], [2], [], [6, 1, 4, 0, 0, 2], [], [1, 0]]
NODES = [[0, 2], [], [1], [0, 1, 2, 3], [], [3]]
WORDS_OF_NODES = [[5, 5, 1], [0, N_WORDS, N_WORDS], [5, 2, N_WORDS], 3 * [N_WORDS]]
NOTHING = [1, 4, 5]  # documents whose nodes say nothing


def csr(rows, n_columns):
    """A CSR matrix with ones where rows say, in their order."""
    columns = np.array([j for row in rows for j in row], np.int32)
    indptr = np.append(0, np.cumsum([len(row) for row in rows]))
    ones = np.ones(len(columns), "f4")
    return sp.csr_matrix((ones, columns, indptr), (len(rows), n_columns))


def make_teacher(vectors, groups, Y, parents, words, *, n_neighbors=2, strict=False):
    Y, parents = (sp.csr_matrix(each, dtype="f4") for each in (Y, parents))
    words, options = np.array(words, np.int32), dict(n_words=N_WORDS, strict=strict)
    return Teacher(
        vectors, groups, Y, parents, words, n_neighbors=n_neighbors, **options
    )


def teacher_of_words(words):
    """A teacher of one document, to turn nodes into sequences."""
    n, one = len(words), np.ones((1, 1), "f4")
    return make_teacher(
        one, np.zeros(1, int), np.zeros((1, n)), np.zeros((n, n)), words
    )


def make_docs():
    docs = TaughtDocuments(csr(TEXTS, N_WORDS), np.zeros((len(TEXTS), 2), "f4"))
    docs.teacher, docs.nodes = teacher_of_words(WORDS_OF_NODES), csr(NODES, 4)
    return docs


def make_encoder(*, label_length=LENGTH, trains_vectors=True, **options):
    """An encoder of random weights in evaluation mode, in float64."""
    torch.manual_seed(0)
    paper = dict(reading="masked-full", mask="causal", residual=True, dropout=0.0)
    ours = dict(layer_norm=False, positional="none", pooling="mean")
    encoder = TReaderEncoder(
        torch.randn(N_WORDS, DIM),
        label_length=label_length,
        hidden_size=5,
        n_heads=2,
        trains_vectors=trains_vectors,
        **paper | ours | options,
    )
    nn.init.ones_(encoder.bottleneck.bias)  # few units that are off
    return encoder.double().eval()


def make_attention(n_docs, length, n_heads=2):
    """Random weights, and states of documents."""
    torch.manual_seed(0)
    states = torch.randn(n_docs, length, DIM, dtype=torch.float64)
    return SelfAttention(DIM, n_heads).double(), states


def all_real(states):
    return torch.ones(states.shape[:2], dtype=torch.bool)


# --- attention --------------------------------------------------------------


def sees(real, mask, i, j):
    """Whether place i of a document sees place j."""
    order = {None: True, "causal": j <= i, "upper": j >= i}[mask]
    return i == j or bool(real[j]) and order


def attend_by_hand(layer, states, real, mask):
    """Eq. 3 to 13 for one document, head by head and place by place."""
    length, width, heads = len(states), DIM // layer.n_heads, []
    for head in range(layer.n_heads):
        own, rows = slice(head * width, (head + 1) * width), []
        weights = layer.qkv.weight.split(DIM)
        query, key, value = (states @ weight[own].T for weight in weights)
        for i in range(length):
            seen = [j for j in range(length) if sees(real, mask, i, j)]
            scores = torch.stack([query[i] @ key[j] / width**0.5 for j in seen])
            rows.append(scores.softmax(0) @ value[seen])
        heads.append(torch.stack(rows))
    return torch.tanh(torch.cat(heads, dim=1) @ layer.mix.weight.T)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("n_heads", [1, 2, 4, 8])
def test_attention_is_that_of_the_paper(mask, n_heads):
    layer, states = make_attention(4, 5, n_heads)
    real = torch.arange(5) < torch.tensor([[5], [3], [1], [0]])
    found = layer(states, visible(real, mask))
    for one, own, there in zip(found, states, real, strict=True):
        torch.testing.assert_close(one, attend_by_hand(layer, own, there, mask))


@torch.no_grad()
def test_attention_starts_by_passing_on_what_it_sees():
    layer = SelfAttention(300, 4)
    query, key, value = layer.qkv.weight.split(300)
    for weight in (query, key):
        limit = (6 / 600) ** 0.5
        assert 0.99 * limit < weight.abs().max() <= limit
    torch.testing.assert_close(
        layer.mix.weight @ value, torch.eye(300), atol=1e-4, rtol=0
    )
    alone = torch.randn(2, 1, 300) / 10
    seen = torch.ones(2, 1, 1, 1, dtype=torch.bool)
    torch.testing.assert_close(layer(alone, seen), alone.tanh(), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_full_attention_is_equivariant():
    layer, states = make_attention(2, 6)
    order = torch.randperm(6)
    real = all_real(states)
    found = layer(states[:, order], visible(real))
    torch.testing.assert_close(found, layer(states, visible(real))[:, order])
    masked = layer(states[:, order], visible(real, "causal"))
    assert not torch.allclose(masked, layer(states, visible(real, "causal"))[:, order])


@torch.no_grad()
@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("mask", MASKS)
def test_what_a_place_changes(place, mask):
    layer, states = make_attention(1, 5)
    other = states.clone()
    other[:, place] += 1
    places = visible(all_real(states), mask)
    moved = (layer(states, places) - layer(other, places)).abs().sum(dim=2)[0] > 1e-9
    real = torch.ones(5)
    assert moved.tolist() == [sees(real, mask, i, place) for i in range(5)]


@torch.no_grad()
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", READINGS)
def test_reading_composes_attention(name, mask, residual, layer_norm):
    _, states = make_attention(3, 4)
    real = torch.arange(4) < torch.tensor([[4], [2], [1]])
    options = dict(mask=mask, residual=residual, dropout=0.0, layer_norm=layer_norm)
    reading = Reading(DIM, 2, READINGS[name], **options).double()
    layers = {"masked": [mask], "full": [None], "none": []}
    order = [each for part in name.split("-") for each in layers[part]]
    assert len(reading.layers) == len(order)
    expected = states
    for i, (layer, own) in enumerate(zip(reading.layers, order, strict=True)):
        new = layer(expected, visible(real, own))
        expected = new + states if residual and i == 0 else new
        expected = reading.norms[i](expected)
        if layer_norm:
            means = expected.mean(dim=2)
            torch.testing.assert_close(means, torch.zeros_like(means))
    torch.testing.assert_close(reading(states, real), expected)


def test_dropout_is_on_what_a_layer_adds():
    options = dict(mask=None, residual=True, layer_norm=False)
    reading = Reading(DIM, 2, (True,), **options, dropout=0.5).double()
    _, states = make_attention(1, 6)
    dropped = (reading(states, all_real(states)) == states).double().mean()
    assert 0.2 < dropped < 0.8
    reading.eval()
    assert (reading(states, all_real(states)) != states).all()


# --- encoder ----------------------------------------------------------------


def encode_alone(encoder, docs, row):
    """One document, its teacher's sequence without padding, by dense operations."""
    table = encoder.words.table
    text = table[torch.tensor(TEXTS[row], dtype=torch.long)]
    places = torch.from_numpy(docs.teacher.sequences(docs.nodes[[row]]).toarray())
    taught = places[places.any(dim=1)].to(table.dtype) @ table[:N_WORDS]
    if not len(taught) and encoder.read_teacher is not None:
        taught = encoder.nothing[None]
    if encoder.positional == "sinusoidal":
        text, taught = (s + 0.5 * _waves(s[None]) for s in (text, taught))

    def read(reading, states):
        return reading(states[None], all_real(states[None]))[0]

    states = read(encoder.read_text, text)
    if encoder.read_teacher is not None:
        states = torch.cat([read(encoder.read_teacher, taught), states])
    if len(states):
        states = read(encoder.interact, states)
        pooled = dict(mean=states.mean(dim=0), max=states.amax(dim=0), first=states[0])
        pooled = pooled[encoder.pooling]
    else:
        pooled = states.new_zeros(DIM)
    return encoder.bottleneck((pooled - encoder.center) * encoder.scale).relu()


@torch.no_grad()
@pytest.mark.parametrize(
    "options",
    [
        *[dict(pooling=p, mask=m) for p in POOLINGS for m in MASKS],
        *[dict(reading=reading) for reading in READINGS],
        WITH_WAVES,
        *[dict(WITH_WAVES, label_length=0, pooling=p) for p in POOLINGS],
        dict(label_length=0),
        dict(layer_norm=True),
        dict(residual=False),
    ],
    ids=str,
)
def test_documents_are_encoded_as_if_alone(options):
    encoder, docs = make_encoder(**options), make_docs()
    encoder.standardize(torch.randn(9, DIM, dtype=torch.float64))
    found, same = encoder(docs.batch(np.arange(len(docs))))
    joined = encoder.interact
    assert joined.masks == [options.get("mask", "causal")] and not joined.residual
    assert same is found and found.shape == (len(docs), encoder.hidden_size)
    for row in range(len(docs)):
        expected = encode_alone(encoder, docs, row)
        torch.testing.assert_close(found[row], expected)
        torch.testing.assert_close(encoder(docs.batch(np.array([row])))[0][0], expected)
    assert (found > 0).any(dim=1).all()


@torch.no_grad()
def test_what_goes_into_the_bottleneck_is_standardized():
    encoder, docs = make_encoder(), make_docs()
    every = docs.batch(np.arange(len(docs)))
    pooled = encoder.pooled(every)
    encoder.standardize(pooled)
    got = []
    encoder.bottleneck.register_forward_pre_hook(lambda _, args: got.append(args[0]))
    encoder(every)
    torch.testing.assert_close(got[0].mean(dim=0), torch.zeros_like(pooled[0]))
    torch.testing.assert_close(got[0].square().mean(), torch.ones_like(pooled[0, 0]))
    encoder.standardize(pooled[[0, 0]])  # the same document twice has no spread
    assert encoder.scale == 1 and torch.equal(encoder.pooled(every), pooled)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("label_length", [0, LENGTH])
def test_documents_without_words_are_finite(label_length, mask, pooling, precision):
    options = dict(label_length=label_length, mask=mask, pooling=pooling)
    encoder, docs = make_encoder(**options).float().train(), make_docs()
    for rows in map(np.array, ([2], [4], [0, 2, 3, 4])):
        encoder.zero_grad()
        enabled = precision == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found = encoder(docs.batch(rows))[0]
        found.float().sum().backward()
        grads = [p.grad for p in encoder.parameters() if p.grad is not None]
        assert found.isfinite().all() and all(g.isfinite().all() for g in grads)
        expected = torch.stack([encode_alone(encoder, docs, row) for row in rows])
        torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("rows", [[0, 3], [0, 1], [4], [2]])
def test_a_document_that_nobody_teaches_teaches_the_token_for_it(rows):
    encoder, docs = make_encoder().train(), make_docs()
    encoder(docs.batch(np.array(rows)))[0].sum().backward()
    assert bool(encoder.nothing.grad.any()) == any(row in NOTHING for row in rows)


@pytest.mark.parametrize("positional", ["none", "sinusoidal"])
@pytest.mark.parametrize("mask", MASKS)
@torch.no_grad()
def test_order_of_words_counts_by_masks_and_positions(mask, positional):
    encoder = make_encoder(mask=mask, positional=positional, label_length=0)
    docs = TaughtDocuments(csr([[0, 3, 5, 2], [5, 0, 2, 3]], N_WORDS), None)
    one, two = encoder(docs.batch(np.arange(2)))[0]
    same = mask is None and positional == "none"
    assert torch.allclose(one, two) == same


@pytest.mark.parametrize("dim", [4, 7])
def test_sinusoidal_positions(dim):
    found = _waves(torch.zeros(1, 9, dim, dtype=torch.float64)).numpy()
    pairs = np.arange(dim) // 2 * 2
    angles = np.arange(9)[:, None] / 10_000 ** (pairs / dim)
    expected = np.where(np.arange(dim) % 2, np.cos(angles), np.sin(angles))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{}, dict(label_length=0), dict(positional="sinusoidal", pooling="max")]
)
def test_gradients(options, gradient_by_row):
    encoder, docs = make_encoder(**options).train(), make_docs()
    rows = np.arange(len(docs))
    upstream = torch.randn(len(docs), encoder.hidden_size, dtype=torch.float64)
    weights = [p for p in encoder.parameters() if p.requires_grad]
    encoder(docs.batch(rows))[0].backward(upstream)
    by_row = gradient_by_row(encoder.words)
    assert encoder.words.table.grad is None

    encoder.words.table.requires_grad_()
    alone = torch.stack([encode_alone(encoder, docs, row) for row in rows])
    wanted = torch.autograd.grad(alone, [encoder.words.table, *weights], upstream)
    torch.testing.assert_close(by_row, wanted[0])
    assert (by_row[:N_WORDS] != 0).any(dim=1).all() and not by_row[N_WORDS].any()
    for weight, expected in zip(weights, wanted[1:], strict=True):
        assert expected.any()
        torch.testing.assert_close(weight.grad, expected)


@pytest.mark.parametrize("trains_vectors, training", [(False, True), (True, False)])
def test_vectors_that_are_not_trained(trains_vectors, training):
    encoder = make_encoder(trains_vectors=trains_vectors).train(training)
    encoder(make_docs().batch(np.arange(4)))[0].sum().backward()
    assert encoder.words.touched == [] and encoder.words.table.grad is None


# --- network ----------------------------------------------------------------


@pytest.mark.parametrize("activation", ["none", "softmax"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_and_ranking(activation, reduction):
    encoder, batch = make_encoder(), make_docs().batch(np.arange(3))
    options = dict(output_activation=activation, loss_reduction=reduction)
    recall, read = LinearHead(5, 6).double(), SameVectors(5)
    network = TReaderXMLNetwork(encoder, doc_vectors=read, recall=recall, **options)
    Y = csr([[0, 3, 5], [], [1]], 6)
    scores = network.recall(encoder(batch)[0])
    outputs = scores.softmax(dim=1) if activation == "softmax" else scores
    target = torch.from_numpy(Y.toarray()).double()
    expected = binary_cross_entropy_with_logits(outputs, target)
    found = loss_of(network, batch, padded_columns(Y, np.arange(3)))
    size = 6 if reduction == "sum" else 1
    torch.testing.assert_close(found.double(), size * expected, rtol=1e-5, atol=1e-6)
    ids, odds = network.rank(batch, 4)
    wanted = scores.topk(4, dim=1)
    assert torch.equal(ids, wanted.indices)
    torch.testing.assert_close(odds, wanted.values, check_dtype=False)


# --- teacher ----------------------------------------------------------------


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
    for place, row in enumerate(found):
        own = words[nodes[place // length], place % length]
        counts = np.bincount(own[own < N_WORDS], minlength=N_WORDS)
        np.testing.assert_allclose(row, counts / max(1, counts.sum()), rtol=1e-6)


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


# --- rows of matrices -------------------------------------------------------

words_and_weights = st.tuples(st.integers(0, 2), st.sampled_from([1.0, 2.0, 0.5]))
texts = st.lists(words_and_weights, max_size=4)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(texts, min_size=1, max_size=9), more=st.data())
def test_repeated(rows, more):
    rows += more.draw(st.lists(st.permutations(more.draw(st.sampled_from(rows)))))
    X = csr([[word for word, _ in row] for row in rows], 3)
    X.data = np.array([weight for row in rows for _, weight in row], "f4")
    numbers = group_repeats(X)
    same = [[one == two for two in rows] for one in rows]
    assert (numbers[:, None] == numbers).tolist() == same


@settings(max_examples=100, deadline=None)
@given(seed=seeds, n=st.integers(1, 6))
def test_largest(seed, n):
    rng = np.random.default_rng(seed)
    dense = rng.integers(-3, 4, (4, 5)).astype("f4")
    X = sp.csr_matrix(dense)
    kept = keep_largest(X, n)
    assert kept.shape == X.shape
    for i, found in enumerate(largest_columns(X, n)):
        row = dense[i]
        there = [j for j in found.tolist() if j < 5]
        assert len(set(there)) == len(there) == min(n, np.count_nonzero(row))
        assert found.tolist() == there + (n - len(there)) * [5]
        assert row[there].tolist() == sorted(row[row != 0].tolist())[::-1][:n]
        columns = kept[i].indices
        assert (np.diff(columns) > 0).all() and (kept[i].data == row[columns]).all()
        sizes = sorted(abs(row[row != 0]).tolist())[::-1]
        assert sorted(abs(kept[i].data).tolist())[::-1] == sizes[:n]


# --- parents of labels ------------------------------------------------------


@pytest.mark.parametrize(
    "given, texts, links, more",
    [
        ([None, 0, [0, 1], []], None, {(1, 0), (2, 0), (2, 1)}, []),
        (["a", "b", "a", ["b", 0]], None, {(0, 4), (1, 5), (2, 4), (3, 0), (3, 5)},
         ["a", "b"]),
        ([4, [5, "c"], None, (3 - 1, np.int64(4))], ["x", "y"],
         {(0, 4), (1, 5), (1, 6), (3, 2), (3, 4)}, ["x", "y", "c"]),
        ([[3, 3], {"a"}, None, None], None, {(0, 3), (1, 4)}, ["a"]),
        ([[1, 2], 3, 3, None], None, {(0, 1), (0, 2), (1, 3), (2, 3)}, []),
        (np.array(["a", "b", "a", "a"]), None, {(0, 4), (1, 5), (2, 4), (3, 4)},
         ["a", "b"]),
        (4 * [None], ["x"], set(), ["x"]),
    ],
)  # fmt: skip
def test_listed_parents(given, texts, links, more):
    parents, names = check_label_parents(given, texts, 4)
    assert parents.shape == (4, 4 + len(more)) and names == more
    assert parents.format == "csr" and parents.dtype == np.float32
    assert set(zip(*parents.nonzero(), strict=True)) == links
    assert (parents.data == 1).all()


def test_parents_named_as_labels_or_texts_are_these():
    labels, texts = ["red", "old", "red", "new"], ["x", "y", "y"]
    given = ["new", "x", ["red", "old"], "y"]  # "red" and "y" are two each
    parents, names = check_label_parents(given, texts, 4, labels)
    assert names == ["x", "y", "y", "red", "y"]
    links = set(zip(*parents.nonzero(), strict=True))
    assert links == {(0, 3), (1, 4), (2, 7), (2, 1), (3, 8)}
    with pytest.raises(ValueError, match=r"cycle among the labels \[1, 3\]"):
        check_label_parents([None, "new", None, "old"], None, 4, labels)


def test_sets_of_parents_have_an_order():
    columns = [f"p{i}" for i in range(40)]
    _, names = check_label_parents([set(columns), set(columns[::-1])], None, 2)
    assert names == sorted(columns)


def test_errors_stay_short():
    long = {label: label // 2 for label in range(9999)}
    with pytest.raises(ValueError) as caught:
        check_label_parents(long, None, 9999)
    assert len(str(caught.value)) < 300
    ring = [(label + 1) % 99 for label in range(99)]
    with pytest.raises(ValueError, match=r"labels \[0, 1, 2, 3, 4\] and 94 more: each"):
        check_label_parents(ring, None, 99)


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array, sp.coo_array])
@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
@pytest.mark.parametrize(
    "columns, texts",
    [(slice(4), None), (slice(6), ["x", "y"]), (slice(4, 6), ["x", "y"])],
)
def test_matrix_of_parents(kind, dtype, columns, texts):
    expected = np.zeros((4, 6 if texts else 4), "f4")
    expected[0, [1, 2]] = expected[1, 3] = expected[:, 4:] = 1
    expected[:, : columns.start] = 0
    given = kind(expected[:, columns].astype(dtype))
    parents, names = check_label_parents(given, texts, 4)
    np.testing.assert_array_equal(parents.toarray(), expected)
    assert parents.dtype == np.float32 and names == (texts or [])


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_a_matrix_of_parents_stays_as_it_is(dtype):
    # Unsorted, with a stored zero.
    stored = np.array([3, 0, 2], dtype), np.array([2, 0, 1]), np.array([0, 3, 3, 3])
    given = sp.csr_matrix(stored, (3, 3))
    parents, _ = check_label_parents(given, None, 3)
    assert parents.toarray().tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert given.toarray().tolist() == [[0, 2, 3], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "given, texts, message",
    [
        ([None], None, "each of the 3 labels; got 1 entries"),
        ("abc", None, "sparse matrix or a list.*got 'abc'"),
        ([None, 3, None], None, r"label_parents\[1\].*parent 3.*from 0 to 2"),
        ([None, 5, None], ["x", "y"], r"parent 5.*0 to 4 \(3 labels and 2 parent"),
        ([None, None, [0, -1]], None, r"label_parents\[2\] names the parent -1"),
        ([None, [1.5], None], None, r"label_parents\[1\] names the parent 1.5"),
        ([None, float("nan"), None], None, r"label_parents\[1\].*nan"),
        ([None, 1.5, None], None, r"label_parents\[1\].*1.5"),
        (7, None, "sparse matrix or a list.*got 7"),
        ({0: 1, 1: 2, 2: 0}, None, "sparse matrix or a list.*got {0: 1"),
        (np.eye(3, dtype=int), None, "sparse matrix or a list.*got array"),
        ([None, True, None], None, r"label_parents\[1\] names the parent True"),
        (sp.csr_matrix((3, 4)), None, r"shape \(3, 4\).* 3 rows and 3 col"),
        (sp.csr_matrix((2, 3)), None, r"shape \(2, 3\)"),
        (sp.csr_matrix((3, 3)), ["x", "y"], r"shape \(3, 3\)"),
        (sp.csr_array((3, 4)), ["x", "y"], r"2 parent_texts .* 2 or 5 columns"),
        (3 * [None], [1], r"parent_texts\[0\] must be a str"),
        ([None, 1, None], None, r"cycle among the labels \[1\]"),
        ([1, 0, None], None, r"cycle among the labels \[0, 1\].*Remove one"),
        ([["a", 2], 0, 1], None, r"cycle among the labels \[0, 1, 2\]"),
        (sp.csr_matrix(np.eye(3)[[2, 1, 0]]), None, r"cycle among the labels \[1\]"),
    ],
)  # fmt: skip
def test_bad_parents_are_refused(given, texts, message):
    with pytest.raises(ValueError, match=message):
        check_label_parents(given, texts, 3)
