"""The network of TReaderXML: attention, encoder, loss."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from toy_network import loss_of
from treaderxml_examples import (
    DIM,
    LENGTH,
    MASKS,
    N_WORDS,
    NOTHING,
    POOLINGS,
    TEXTS,
    WITH_WAVES,
    csr,
    make_docs,
)

from skxmc.nn.heads import LinearHead
from skxmc.nn.networks.treaderxml import (
    READINGS,
    Reading,
    SameVectors,
    TReaderEncoder,
    TReaderXMLNetwork,
    _waves,
)
from skxmc.nn.self_attention import SelfAttention
from skxmc.nn.self_attention import visible_places as visible
from skxmc.nn.teacher import TaughtDocuments
from skxmc.nn.text import padded_columns


def make_encoder(*, label_length=LENGTH, trains_vectors=True, **options):
    """An encoder of random weights in evaluation mode, in float64."""
    torch.manual_seed(0)
    paper = dict(reading="masked-full", mask="causal", residual=True, dropout=0.0)
    ours = dict(layer_norm=False, positional="none", pooling="mean")
    ours |= dict(pools_teacher=False)
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
        taught = encoder.untaught_vector[None]
    if encoder.positional == "sinusoidal":
        text, taught = (s + 0.5 * _waves(s[None]) for s in (text, taught))

    def read(reading, states):
        return reading(states[None], all_real(states[None]))[0]

    states = read(encoder.read_text, text)
    if encoder.read_teacher is not None:
        states = torch.cat([read(encoder.read_teacher, taught), states])
    if len(states):
        states = read(encoder.interact, states)
        if len(text) and not encoder.pools_teacher:
            states = states[-len(text) :]
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
        *[dict(pooling=p, mask=m, pools_teacher=True) for p in POOLINGS for m in MASKS],
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
@pytest.mark.parametrize("pools_teacher", [False, True])
def test_documents_without_words_are_finite(
    pools_teacher, label_length, mask, pooling, precision
):
    options = dict(label_length=label_length, mask=mask, pooling=pooling)
    options["pools_teacher"] = pools_teacher
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
    assert bool(encoder.untaught_vector.grad.any()) == any(
        row in NOTHING for row in rows
    )


@torch.no_grad()
@pytest.mark.parametrize("pools_teacher", [False, True])
@pytest.mark.parametrize("mask", MASKS)
def test_words_of_a_text_see_the_teacher_unless_it_comes_later(mask, pools_teacher):
    encoder, docs = make_encoder(mask=mask, pools_teacher=pools_teacher), make_docs()
    rows = np.array([0, 3])
    before = encoder(docs.batch(rows))[0]
    docs.nodes = docs.nodes[[3, 1, 2, 0, 4, 5]]
    same = torch.allclose(encoder(docs.batch(rows))[0], before)
    assert same == (mask == "upper" and not pools_teacher)


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
    "options",
    [
        {},
        dict(pools_teacher=True),
        dict(label_length=0),
        dict(positional="sinusoidal", pooling="max"),
    ],
    ids=str,
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
