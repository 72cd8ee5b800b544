"""Graphs of hnswlib in a model folder, whose links are checked before it gets them."""

import sys

import pytest
import torch
from hostile import put
from persistence_examples import (
    T,
    make,
    needs_hnswlib,
)

import skxmc
from skxmc.nn.search import NearestVectors

pytest_plugins = ["persistence_fixtures"]


def of_lowest(column, value):
    return lambda state: put(value, 3, column)(state["graph"]["lowest"])


@needs_hnswlib
@pytest.mark.parametrize(
    "change_state",
    [
        of_lowest(0, 65),
        of_lowest(0, -1),
        of_lowest(0, 1 << 16),  # a mark of deletion
        of_lowest(1, 300),
        of_lowest(1, -1),
        lambda state: put(300, 0, 1)(state["graph"]["upper"]),
        lambda state: put(33, 0, 0)(state["graph"]["upper"]),
        lambda state: put(1)(state["graph"]["levels"]),
        lambda state: put(-1, 0)(state["graph"]["levels"]),
        lambda state: put(10**9, 0)(state["graph"]["levels"]),
        lambda state: state["graph"].update(levels=state["graph"]["levels"][:-1]),
        lambda state: state["graph"].update(upper=state["graph"]["upper"][:-1]),
        lambda state: state["graph"].update(entry=-1),
        lambda state: state["graph"].update(entry=300),
        lambda state: state["graph"].update(seed="x"),
        lambda state: put(float("nan"), 0, 0)(state["vectors"]),
        lambda state: put(1e30, 0, 0)(state["vectors"]),
        lambda state: state.update(vectors=state["vectors"].double()),
        lambda state: state.update(vectors=state["vectors"][:-1]),
        lambda state: state.update(vectors=None),
    ],
)
def test_crafted_graph(change_state):
    vectors = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    state = NearestVectors(vectors, exact=False).to_state()
    change_state(state)
    with pytest.raises(ValueError):
        NearestVectors.from_state(state)


@needs_hnswlib
def test_link_to_a_level_that_is_not_there():
    vectors = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
    state = NearestVectors(vectors, exact=False).to_state()
    graph = state["graph"]
    assert graph["upper"][0, 0] > 0
    graph["upper"][0, 1] = int((graph["levels"] == 0).nonzero()[0])
    with pytest.raises(ValueError, match="level that it does not have"):
        NearestVectors.from_state(state)
    state = NearestVectors(vectors, exact=False).to_state()
    state["graph"]["entry"] = int((graph["levels"] == 0).nonzero()[0])
    with pytest.raises(ValueError, match="below the highest level"):
        NearestVectors.from_state(state)


@needs_hnswlib
@pytest.mark.parametrize("n, dim", [(1, 3), (40, 1), (3000, 16)])
def test_graph_from_its_state_finds_the_same(n, dim):
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(n, dim, generator=generator)
    queries = torch.randn(30, dim, generator=generator)
    index = NearestVectors(vectors, exact=False, seed=3)
    again = NearestVectors.from_state(index.to_state())
    for k in (1, 10, n):
        for one, other in zip(
            index.search(queries, k), again.search(queries, k), strict=True
        ):
            assert torch.equal(one, other)


@needs_hnswlib
def test_hnswlib_is_missing_where_a_graph_is_loaded(data, tmp_path, monkeypatch):
    model = make(T, search="hnsw").fit(data["texts"], data["csr_array"])
    model.save_pretrained(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    with pytest.raises(ImportError, match="pip install hnswlib"):
        skxmc.load(tmp_path / "model")
