"""The queue: what is read together, how it is shared, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import SECONDS, Stub, wait_until

from skxmc.serve._batching import Batcher, QueueClosed, QueueFull
from skxmc.serve._labels import Labels, fold


@pytest.fixture
def stub():
    return Stub(waits=True)


@pytest.fixture
def batcher(stub):
    batcher = Batcher(batch_size=8, max_waiting=40)
    yield batcher
    stub.gate.set()
    batcher.close(SECONDS)


def occupy(batcher, stub):
    """Keep the thread busy, so that what is submitted next waits."""
    future = batcher.submit(stub, ["first"], 1)
    wait_until(stub.entered.is_set)
    return future


def test_requests_that_wait_are_read_together(batcher, stub):
    occupy(batcher, stub)
    futures = [batcher.submit(stub, [f"text{i}" * i], 2) for i in range(5)]
    assert batcher.n_waiting == 5
    stub.gate.set()
    for i, future in enumerate(futures):
        ids, scores = future.result(SECONDS)
        assert ids.tolist() == [[(5 * i) % 3, (5 * i + 1) % 3]]
        assert scores.shape == (1, 2)
    assert [len(texts) for texts, _ in stub.calls] == [1, 5]
    assert batcher.n_waiting == 0


def test_only_requests_of_one_k_and_one_model_are_read_together(batcher, stub):
    occupy(batcher, stub)
    other = Stub()
    futures = [
        batcher.submit(model, ["a", "bb"], k)
        for model, k in [(stub, 1), (stub, 3), (other, 1), (stub, 1), (stub, 3)]
    ]
    stub.gate.set()
    shapes = [future.result(SECONDS)[0].shape for future in futures]
    assert shapes == [(2, 1), (2, 3), (2, 1), (2, 1), (2, 3)]
    assert [(len(texts), k) for texts, k in stub.calls[1:]] == [(4, 1), (4, 3)]
    assert [(len(texts), k) for texts, k in other.calls] == [(2, 1)]


def test_a_large_request_does_not_hold_up_a_small_one(batcher, stub):
    occupy(batcher, stub)
    large = batcher.submit(stub, [f"large{i}" for i in range(30)], 1)
    small = batcher.submit(stub, ["small"], 1)
    stub.gate.set()
    ids = large.result(SECONDS)[0]
    assert ids.ravel().tolist() == [len(f"large{i}") % 3 for i in range(30)]
    small.result(SECONDS)
    # The small one is in the first batch that both waited for.
    assert "small" in stub.calls[1][0] and len(stub.calls[1][0]) == 8
    assert all(len(texts) <= 8 for texts, _ in stub.calls)


def test_requests_that_do_not_fit_are_refused(batcher, stub):
    # An empty queue takes any number.
    future = batcher.submit(stub, ["x"] * 50, 1)
    wait_until(stub.entered.is_set)
    with pytest.raises(QueueFull):
        batcher.submit(stub, ["x"], 1)
    stub.gate.set()
    assert len(future.result(SECONDS)[0]) == 50
    assert batcher.submit(stub, ["x"], 1).result(SECONDS)


def test_cancelled_requests_make_room_and_are_not_ranked(batcher, stub):
    occupy(batcher, stub)
    gone = batcher.submit(stub, ["gone"] * 39, 1)
    with pytest.raises(QueueFull):
        batcher.submit(stub, ["x", "y"], 1)
    assert gone.cancel()
    assert batcher.n_waiting == 0
    kept = batcher.submit(stub, ["x", "y"], 1)
    stub.gate.set()
    kept.result(SECONDS)
    assert "gone" not in {text for texts, _ in stub.calls for text in texts}


def test_a_failure_reaches_only_the_request_that_caused_it(batcher, stub):
    occupy(batcher, stub)
    futures = [batcher.submit(stub, [text], 1) for text in ("a", "bad", "ccc")]
    stub.gate.set()
    assert futures[0].result(SECONDS)[0].tolist() == [[1]]
    assert futures[2].result(SECONDS)[0].tolist() == [[0]]
    with pytest.raises(RuntimeError, match="breaks the model"):
        futures[1].result(SECONDS)
    assert batcher.submit(stub, ["a"], 1).result(SECONDS)


def test_a_failure_in_a_part_of_a_large_request_ends_it(batcher, stub):
    occupy(batcher, stub)
    future = batcher.submit(stub, ["bad", *"abcdefghijklmnop"], 1)
    stub.gate.set()
    with pytest.raises(RuntimeError, match="breaks the model"):
        future.result(SECONDS)
    wait_until(lambda: batcher.n_waiting == 0)


def test_close_answers_what_waits(stub):
    batcher = Batcher(batch_size=2, max_waiting=40)
    occupy(batcher, stub)
    future = batcher.submit(stub, list("abcde"), 1)
    stub.gate.set()
    batcher.close(SECONDS)
    assert len(future.result(0)[0]) == 5
    with pytest.raises(QueueClosed):
        batcher.submit(stub, ["x"], 1)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3)), min_size=1))
def test_every_request_gets_its_own_rows(sizes):
    stub, batcher = Stub(), Batcher(batch_size=4, max_waiting=10**6)
    texts = [["x" * (i + j) for j in range(n)] for i, (n, _) in enumerate(sizes)]
    futures = [
        batcher.submit(stub, part, k) for part, (_, k) in zip(texts, sizes, strict=True)
    ]
    for part, (n, k), future in zip(texts, sizes, futures, strict=True):
        ids, scores = future.result(SECONDS)
        assert ids.shape == scores.shape == (n, k)
        assert ids[:, 0].tolist() == [len(text) % 3 for text in part]
    batcher.close(SECONDS)
    assert sum(len(texts) for texts, _ in stub.calls) == sum(n for n, _ in sizes)


class Named:
    """What `Labels` needs of a classifier."""

    def __init__(self, names, counts=None, texts=None):
        self.label_names_ = np.array(names, object)
        self.label_counts_ = np.zeros(len(names)) if counts is None else counts
        self.label_texts = texts


def test_search_prefers_beginnings_then_frequent_labels():
    names = ["left eye", "eye, left", "Cataract of eye", "eyelid", "bye"]
    labels = Labels(Named(names, counts=np.array([1, 5, 9, 7, 100])))
    assert labels.search("eye", 10) == [3, 1, 2, 0]
    assert labels.search("eye", 2) == [3, 1]
    # The words of a query may stand in any order.
    assert labels.search("EYE le", 10) == [1, 0]
    assert labels.search("", 10) == labels.search("?!", 10) == []


def test_search_ignores_case_accents_and_punctuation():
    labels = Labels(Named(["Straße", "Crème brûlée", "x_ray (chest)", "石油 化学"]))
    for query, label in [
        *[("strasse", 0), ("creme BRUL", 1), ("chest", 2), ("ray", 2), ("石", 3)]
    ]:
        assert labels.search(query, 3) == [label]
    assert labels.find("Crème brûlée") == labels.find("Cre\u0300me brûlée") == 1
    assert labels.find("creme") is None


def test_search_reads_codes_and_texts():
    labels = Labels(Named(["H25", "H26"], texts=["Senile cataract", "Other cataract"]))
    assert labels.search("h26", 5) == [1] and labels.search("senile", 5) == [0]
    assert labels.describe(0) == {"id": 0, "name": "H25", "text": "Senile cataract"}


words = st.text(st.sampled_from("abÄß -_.\n"), max_size=6)


@given(st.lists(words, min_size=2, max_size=8), words)
def test_search_finds_what_brute_force_finds(names, query):
    found = Labels(Named(names)).search(query, 100)
    parts = fold(query).split()
    expected = {
        i
        for i, name in enumerate(names)
        if parts
        and all(any(w.startswith(p) for w in fold(name).split()) for p in parts)
    }
    assert set(found) == expected and len(found) == len(expected)
