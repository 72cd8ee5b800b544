"""Examples: batches against brute force, and what a resumed training finds again."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightdxml_examples import make_cycle, make_network
from test_named_examples import make_names
from toy_network import RATE, Toy

from skxmc.nn import checkpoint
from skxmc.nn.examples import Examples
from skxmc.nn.text import Features, Tokens
from skxmc.nn.training import train

RESUMED = dict(max_epochs=4, batch_size=4, learning_rate=RATE, head_learning_rate=RATE)


# --- batches ----------------------------------------------------------------


@st.composite
def problems(draw):
    """Documents of either kind, labels, training rows, and the rows of a batch."""
    n_docs, n_labels = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    Y = sp.csr_array((rng.random((n_docs, n_labels)) < 0.4).astype("f4"))
    X = rng.random((n_docs, 5)) * (rng.random((n_docs, 5)) < 0.6)
    docs = Features(sp.csr_array(X.astype("f4")))
    if draw(st.booleans()):
        lengths = rng.integers(1, 6, n_docs)
        ids = rng.integers(1, 50, lengths.sum()).astype(np.uint16)
        docs = Tokens(ids, np.append(0, lengths.cumsum()), pad_id=0)
    rows = np.array(draw(st.lists(st.integers(0, n_docs - 1), min_size=1, max_size=9)))
    return docs, Y, rows


@settings(deadline=None, max_examples=100)
@given(problems())
def test_batches_against_brute_force(problem):
    docs, Y, rows = problem
    examples = Examples(docs, Y, np.arange(len(docs)))
    inputs, targets = examples.batch(rows)
    assert targets.keys() == {"positives"}
    positives = targets["positives"]
    assert positives.dtype == torch.int64 and len(positives) == len(rows)
    for row, padded in zip(rows, positives.tolist(), strict=True):
        own = np.flatnonzero(Y[[row]].toarray()).tolist()
        assert sorted(padded) == own + [Y.shape[1]] * (len(padded) - len(own))
    np.testing.assert_array_equal(examples.lengths, docs.lengths)
    for i, row in enumerate(rows):
        if isinstance(docs, Features):
            found = np.zeros(docs.X.shape[1] + 1)
            np.add.at(found, inputs["features"][i].numpy(), inputs["weights"][i])
            np.testing.assert_array_equal(found[:-1], docs.X[[row]].toarray()[0])
            assert found[-1] == 0  # padding weighs nothing
            continue
        own = docs.ids[docs.offsets[row] : docs.offsets[row + 1]].tolist()
        width = inputs["input_ids"].shape[1]
        padding = [0] * (width - len(own))
        assert inputs["input_ids"][i].tolist() == own + padding
        assert inputs["attention_mask"][i].tolist() == [1] * len(own) + padding


def test_plain_examples_keep_nothing():
    docs = Features(sp.csr_array(np.eye(3, dtype="f4")))
    examples = Examples(docs, sp.csr_array(np.eye(3, dtype="f4")), np.arange(3))
    before = vars(examples).copy()
    examples.begin_epoch(1)
    assert examples.state_dict() == {}
    examples.load_state_dict({})
    assert vars(examples) == before


# --- states -----------------------------------------------------------------


def assert_same_batches(one, two):
    for (inputs, targets), (others, more) in zip(one, two, strict=True):
        for found, expected in [(inputs, others), (targets, more)]:
            assert found.keys() == expected.keys()
            for name, value in found.items():
                values, wanted = [value], [expected[name]]
                if isinstance(value, dict):
                    assert value.keys() == expected[name].keys()
                    values, wanted = value.values(), expected[name].values()
                assert all(map(torch.equal, values, wanted)), name


def named(seed=0):
    rng = np.random.default_rng(5)
    Y = sp.csr_array((rng.random((14, 6)) < 0.5).astype("f4"))
    lengths = [1, 2, 0, 3, 1, 2]
    examples = make_names(lengths, Y, 20, "shuffle", seed=seed)
    examples.docs = Features(sp.csr_array(rng.random((14, 10)).astype("f4")))
    return Toy(), examples


def shortlisted(seed=0):
    network = make_network(n_shortlist=4, seed=seed, dropout=0.5)
    return network, make_cycle(network, n_docs=14, label_init="documents")


def read_all(examples):
    return [examples.batch(examples.rows[i : i + 5]) for i in (0, 5, 3)]


@pytest.mark.parametrize("make", [named, shortlisted])
def test_state_brings_back_the_batches(make):
    _, examples = make()
    examples.begin_epoch(1)
    read_all(examples)
    state = copy.deepcopy(examples.state_dict())
    expected = read_all(examples)
    _, other = make(seed=1)
    other.load_state_dict(state)
    assert_same_batches(read_all(other), expected)
    if make is named:  # the state is not that of the batches after it
        with pytest.raises(AssertionError):
            assert_same_batches(read_all(other), expected)


def test_without_shortlists_there_is_no_state():
    _, examples = shortlisted()
    assert examples.state_dict() == {}
    examples.load_state_dict({})
    assert examples.shortlists is None


class Killed(BaseException):
    """What stops a training at a batch."""


def trained(make, path=None, kill_at=None, seed=0):
    """Train, and return the network and the batches that it was given."""
    network, examples = make()
    forward, batches = network.forward, []

    def watched(inputs, targets, progress):
        if len(batches) == kill_at:
            raise Killed
        batches.append((inputs, targets))
        return forward(inputs, targets, progress)

    network.forward = watched
    options = dict(weight_decay=0.0, warmup=0.0, history=[])
    options["precision"] = "fp32" if make is named else "fp64"
    # The turns of LightDXML draw from the generator that orders the documents.
    options["rng"] = np.random.default_rng(0) if make is named else examples.rng
    if path is not None:
        options["checkpoint"] = checkpoint.Checkpoint(path)
    torch.manual_seed(seed)
    try:
        train(network, examples, **options | RESUMED)
    except Killed:
        assert kill_at is not None
    return network, batches


@pytest.mark.parametrize(
    "every, kill_at", [(0, 1), (0, 4), (0, 6), (0, 13), (1e9, 4), (1e9, 6), (1e9, 13)]
)
@pytest.mark.parametrize("make", [named, shortlisted])
def test_resumed_training_finds_its_batches(
    make, every, kill_at, tmp_path, monkeypatch
):
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN_WRITES", every)
    network, expected = trained(make)
    path = tmp_path / "a.checkpoint"
    _, first = trained(make, path, kill_at)
    assert path.exists()
    again, rest = trained(make, path, seed=7)  # as in another process
    done = kill_at if every == 0 else kill_at // 4 * 4
    assert len(rest) == len(expected) - done > 0
    assert_same_batches(first, expected[:kill_at])
    assert_same_batches(rest, expected[done:])
    for name, weight in again.state_dict().items():
        assert torch.equal(weight, network.state_dict()[name]), name
