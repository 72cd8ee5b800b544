"""Sequences of label names: what they hold, and how they are filled."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from skxmc.nn import named_examples
from skxmc.nn.named_examples import NamedExamples, special_tokens
from skxmc.nn.text import Features, Tokens, padded_columns


def distinct_names(lengths):
    """Names in which a token tells label and place: 110 is the first of label 1."""
    return [[100 + 10 * j + i for i in range(n)] for j, n in enumerate(lengths)]


def make_names(lengths, Y, length, fill, *, special=([2], [3]), seed=0):
    ids = np.array(sum(distinct_names(lengths), []), np.uint16)
    tokens = Tokens(ids, np.cumsum([0, *lengths]), pad_id=0)
    rng = np.random.default_rng(seed)
    options = dict(length=length, special=special, reinforcement=fill, rng=rng)
    docs = Features(sp.csr_array(np.ones((Y.shape[0], 1), np.float32)))
    return NamedExamples(docs, Y, np.arange(Y.shape[0]), tokens, **options)


def names_of(examples, rows):
    """What the targets of a batch hold beside the positives."""
    inputs, targets = examples.batch(rows)
    assert len(inputs["features"]) == len(rows)
    assert torch.equal(targets.pop("positives"), padded_columns(examples.Y, rows))
    return targets


def sequences(batch):
    """Tokens of each sequence, padding cut off."""
    ids, mask = batch["names"]["input_ids"], batch["names"]["attention_mask"]
    assert ids.dtype == mask.dtype == batch["named"].dtype == torch.int64
    assert (ids[mask == 0] == 0).all()
    lengths = mask.sum(dim=1)
    assert torch.equal(mask, (torch.arange(mask.shape[1]) < lengths[:, None]).long())
    assert lengths.max() == mask.shape[1]
    return [row[:n].tolist() for row, n in zip(ids, lengths, strict=True)]


def rounds(body, lengths, n_names):
    """Names that follow each other in a body, so many a round."""
    names, found = distinct_names(lengths), []
    while body:
        name = names[body[0] // 10 - 10]
        assert body[: len(name)] == name[: len(body)]
        found.append(body[0] // 10 - 10)
        body = body[len(name) :]
    return [found[i : i + n_names] for i in range(0, len(found), n_names)]


@st.composite
def label_sets(draw):
    lengths = draw(st.lists(st.integers(0, 4), min_size=1, max_size=6))
    n_docs = draw(st.integers(1, 5))
    flags = st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))
    Y = sp.csr_array(np.array([draw(flags) for _ in range(n_docs)], dtype="f4"))
    rows = draw(st.permutations(range(n_docs)))
    return lengths, Y, np.array(rows[: draw(st.integers(1, n_docs))])


@settings(deadline=None, max_examples=100)
@given(
    label_sets(),
    st.integers(1, 14),
    st.sampled_from([([2], [3]), ([], [3, 2]), ([], [])]),
    st.sampled_from(["shuffle", "repeat", None]),
)
def test_sequences_against_a_slow_reference(label_set, room, special, fill):
    lengths, Y, rows = label_set
    before, after = special
    length = len(before) + room + len(after)
    names = make_names(lengths, Y, length, fill, special=special)
    batch = names_of(names, rows)
    labels = [[j for j in np.flatnonzero(Y[[i]].toarray()) if lengths[j]] for i in rows]
    named = [i for i, own in enumerate(labels) if own]
    if fill is None:
        names.rows = rows
        totals = [sum(lengths[j] for j in np.flatnonzero(row)) for row in Y.toarray()]
        most = len(before) + max(totals) + len(after)
        assert names.longest == min(length, most)
    else:
        assert names.longest == length
    if not named:
        assert batch == {}
        return
    assert batch["named"].tolist() == named
    for i, sequence in zip(named, sequences(batch), strict=True):
        body = sequence[len(before) : len(sequence) - len(after)]
        assert sequence == before + body + after
        if fill == "shuffle":
            assert len(body) == room
            *full, last = rounds(body, lengths, len(labels[i]))
            assert all(sorted(each) == labels[i] for each in full)
            assert len({*last}) == len(last) and {*last} <= {*labels[i]}
            continue
        expected = sum((distinct_names(lengths)[j] for j in labels[i]), [])
        assert body == (expected * (room if fill == "repeat" else 1))[:room]


@settings(deadline=None, max_examples=50)
@given(label_sets(), st.integers(1, 14), st.sampled_from(["shuffle", "repeat", None]))
def test_sequences_that_are_read_once(label_set, room, fill):
    lengths, Y, rows = label_set
    names = make_names(lengths, Y, room + 2, fill)
    names.rows = rows
    expected = names_of(make_names(lengths, Y, room + 2, fill), rows)
    read = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(named_examples, "_CHUNK", 2)
        names.read_once(lambda tokens: read.append(tokens) or tokens)
    assert len(read) == bool(expected)
    whole, again = names_of(names, rows), names_of(names, rows)
    assert whole.keys() == expected.keys()
    for i in range(len(rows)):  # each document keeps its sequence
        alone = names_of(names, rows[i : i + 1])
        if whole and i in whole["named"]:
            place = whole["named"].tolist().index(i)
            assert sequences(alone) == sequences(whole)[place : place + 1]
        else:
            assert alone == {}
    if expected:
        assert sequences(whole) == sequences(again)
        assert torch.equal(whole["named"], expected["named"])
        if fill != "shuffle":
            assert sequences(whole) == sequences(expected)
        for one, two in zip(sequences(whole), sequences(expected), strict=True):
            assert len(one) == len(two)


@pytest.mark.parametrize("once", [False, True])
def test_words_of_the_names(once):
    Y = sp.csr_array(np.array([[1, 1, 0, 0], [0, 0, 0, 1], [0, 1, 1, 0]], "f4"))
    rng = np.random.default_rng(0)
    words = rng.random((4, 9)) * (rng.random((4, 9)) < 0.4)
    words[[0, 2], [0, 8]] = 0.5
    words = sp.csr_array(words.astype("f4"))
    examples = make_names([1, 2, 1, 0], Y, 10, "repeat")
    examples.words = words
    if once:
        examples.read_once(lambda tokens: tokens)
    batch = names_of(examples, np.array([2, 1, 0]))
    assert batch["named"].tolist() == [0, 2]  # the second has no name
    expected = (Y @ words).toarray()[[2, 0]]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    names = batch["names"]
    found = torch.zeros(2, 10).scatter_add_(1, names["features"], names["weights"])
    torch.testing.assert_close(found[:, :9], torch.from_numpy(expected))
    assert names["weights"].dtype == torch.float32
    assert names["input_ids"].shape == (2, 10)


def test_shuffle_is_another_each_time_and_follows_its_seed():
    Y = sp.csr_array(np.ones((2, 5), "f4"))

    def draws(seed, fill="shuffle"):
        names = make_names([1, 2, 1, 3, 1], Y, 30, fill, seed=seed)
        return [sequences(names_of(names, np.array([0, 1]))) for _ in range(3)]

    first = draws(0)
    assert first == draws(0) != draws(1)
    assert len({tuple(row) for pair in first for row in pair}) == 6
    assert draws(0, "repeat") == draws(1, "repeat")
    assert len({tuple(row) for pair in draws(0, "repeat") for row in pair}) == 1


def test_shuffled_rounds_have_all_orders_alike():
    Y = sp.csr_array(np.ones((1, 3), "f4"))
    names = make_names([1, 1, 1], Y, 3 * 400 + 2, "shuffle")
    (sequence,) = sequences(names_of(names, np.array([0])))
    orders = [tuple(each) for each in rounds(sequence[1:-1], [1, 1, 1], 3)]
    counts = {order: orders.count(order) for order in orders}
    # 400 / 6 are 67, give or take 7.5.
    assert len(counts) == 6 and all(40 < n < 95 for n in counts.values())


@pytest.mark.parametrize(
    "template, expected",
    [
        ("$A [SEP] [CLS]", ([], [3, 2])),
        ("[CLS] $A", ([2], [])),
        ("[CLS] [MASK] $A [SEP] [SEP]", ([2, 4], [3, 3])),
        ("$A", ([], [])),
    ],
)
def test_special_tokens_before_and_after(template, expected, tiny_tokenizer):
    assert special_tokens(tiny_tokenizer) == ([2], [3])
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3), ("[MASK]", 4)]
    )
    assert special_tokens(tokenizer) == expected
