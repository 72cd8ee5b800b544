"""Nearest vectors: exact against numpy, a graph against exact search."""

import copy
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import skxmc
from skxmc.datasets import make_xmc
from skxmc.nn import search
from skxmc.nn.search import NearestVectors, has_hnswlib

needs_hnswlib = pytest.mark.skipif(not has_hnswlib(), reason="needs hnswlib")
ways = pytest.mark.parametrize(
    "exact", [True, pytest.param(False, marks=needs_hnswlib, id="graph")]
)


def make_vectors(n_vectors, dim=16, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_vectors, dim, generator=generator).to(dtype)


def cosines_of(queries, vectors):
    """Cosines in float64; 0 where a vector is."""
    parts = [np.asarray(rows, np.float64) for rows in (queries, vectors)]
    norms = [np.linalg.norm(rows, axis=1, keepdims=True) for rows in parts]
    one, other = (
        rows / np.where(norm > 0, norm, 1)
        for rows, norm in zip(parts, norms, strict=True)
    )
    return one @ other.T


def assert_nearest(found, queries, vectors, k):
    """Demand the k largest cosines, and ids that have them; ties in any order."""
    ids, cosines = (tensor.numpy() for tensor in found)
    every = cosines_of(queries, vectors)
    assert ids.shape == cosines.shape == (len(queries), min(k, len(vectors)))
    assert ids.dtype == np.int64
    best = -np.sort(-every, axis=1)[:, :k]
    np.testing.assert_allclose(cosines, best, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(every, ids, 1), cosines, atol=1e-5)
    assert all(len(set(row)) == len(row) for row in ids.tolist())


# --- what is found ----------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_vectors=st.integers(1, 12),
    n_queries=st.integers(0, 5),
    dim=st.integers(1, 5),
    k=st.integers(1, 15),
    scale=st.sampled_from([1e-3, 1.0, 1e6]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    share_of_zeros=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_exact_search(seed, n_vectors, n_queries, dim, k, scale, dtype, share_of_zeros):
    rng = np.random.default_rng(seed)
    rows = scale * rng.normal(size=(n_vectors + n_queries, dim))
    rows[rng.random(len(rows)) < share_of_zeros] = 0
    vectors, queries = torch.from_numpy(rows).to(dtype).split([n_vectors, n_queries])
    found = NearestVectors(vectors).search(queries, k)
    assert_nearest(found, queries, vectors, k)
    assert found[1].dtype == dtype


@pytest.mark.parametrize("at_once", [1, 50, 120])
def test_exact_search_in_parts(monkeypatch, at_once):
    monkeypatch.setattr(search, "_SCORES_AT_ONCE", at_once)
    vectors, queries = make_vectors(40), make_vectors(7, seed=1)
    assert_nearest(NearestVectors(vectors).search(queries, 5), queries, vectors, 5)


@needs_hnswlib
@pytest.mark.parametrize("k", [5, 50])
def test_recall_of_the_graph(k):
    vectors, queries = make_vectors(5000, 64), make_vectors(100, 64, seed=1)
    wanted, _ = NearestVectors(vectors).search(queries, k)
    found, cosines = NearestVectors(vectors, exact=False).search(queries, k)
    pairs = zip(found.tolist(), wanted.tolist(), strict=True)
    recall = np.mean([len({*one} & {*other}) / k for one, other in pairs])
    assert recall >= 0.95
    # And the cosines are those of what it found, nearest first.
    every = torch.from_numpy(cosines_of(queries, vectors)).float()
    torch.testing.assert_close(cosines, every.gather(1, found), rtol=0, atol=1e-5)
    assert (cosines.diff(dim=1) <= 0).all()


@ways
@pytest.mark.parametrize("k", [1, 9, 10, 11, 1000])
def test_no_more_than_there_are(exact, k):
    vectors, queries = make_vectors(10), make_vectors(4, seed=1)
    found = NearestVectors(vectors, exact=exact).search(queries, k)
    assert_nearest(found, queries, vectors, k)


@ways
def test_one_vector_or_no_query(exact):
    index = NearestVectors(torch.tensor([[3.0, 4.0]]), exact=exact)
    ids, cosines = index.search(torch.tensor([[0.0, 2.0], [0.0, -1.0]]), 5)
    assert ids.tolist() == [[0], [0]]
    torch.testing.assert_close(cosines, torch.tensor([[0.8], [-0.8]]))
    ids, cosines = index.search(torch.zeros(0, 2), 5)
    assert ids.shape == cosines.shape == (0, 1)


@ways
def test_zero_vectors_and_queries(exact):
    vectors = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    index = NearestVectors(vectors, exact=exact)
    ids, cosines = index.search(torch.tensor([[5.0, 0.0]]), 3)
    assert ids.tolist() == [[0, 1, 2]] and cosines.tolist() == [[1.0, 0.0, -1.0]]
    ids, cosines = index.search(torch.zeros(2, 2), 3)
    assert ids.sort().values.tolist() == [[0, 1, 2]] * 2
    assert (cosines == 0).all()


@needs_hnswlib
@pytest.mark.parametrize("k", [50, 900, 1000])
@pytest.mark.parametrize("n_different", [1, 10])
def test_graph_of_equal_vectors_finds_as_many_as_asked(n_different, k):
    # Equal vectors are linked among themselves alone: the graph falls apart.
    vectors = make_vectors(n_different).repeat(1000 // n_different, 1)
    queries = make_vectors(5, seed=1)
    ids, cosines = NearestVectors(vectors, exact=False).search(queries, k)
    assert all(len(set(row)) == k for row in ids.tolist())
    every = torch.from_numpy(cosines_of(queries, vectors)).float()
    torch.testing.assert_close(cosines, every.gather(1, ids), rtol=0, atol=1e-5)
    if k == 1000:
        assert_nearest((ids, cosines), queries, vectors, k)


@ways
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_cosines_are_of_the_dtype_of_the_queries(exact, dtype):
    index = NearestVectors(make_vectors(20), exact=exact)
    ids, cosines = index.search(make_vectors(3, seed=1, dtype=dtype), 2)
    assert (ids.dtype, cosines.dtype) == (torch.int64, dtype)
    assert (cosines.abs() <= 1.01).all()


@ways
def test_vectors_and_queries_are_left_alone(exact):
    vectors, queries = make_vectors(20), make_vectors(3, seed=1)
    before = vectors.clone(), queries.clone()
    NearestVectors(vectors, exact=exact).search(queries, 2)
    assert torch.equal(vectors, before[0]) and torch.equal(queries, before[1])


# --- copies and seeds -------------------------------------------------------


@ways
@pytest.mark.parametrize("duplicate", [copy.deepcopy, "pickle"])
@pytest.mark.parametrize("k", [5, 150])  # the graph's own default looks at 10
def test_copies_answer_the_same(exact, duplicate, k):
    vectors, queries = make_vectors(2000), make_vectors(20, seed=1)
    index = NearestVectors(vectors, exact=exact)
    if duplicate == "pickle":
        twin = pickle.loads(pickle.dumps(index))
    else:
        twin = duplicate(index)
    found = twin.search(queries, k)
    assert all(map(torch.equal, found, index.search(queries, k)))
    assert found[0].shape == (20, k)


def links_of(index):
    """The graph itself, without its seed."""
    state = index.graph.__getstate__()[0]
    parts = "element_levels", "data_level0", "link_lists"
    return [state[name].tolist() for name in parts]


@needs_hnswlib
def test_graph_of_a_seed():
    vectors = make_vectors(1000)

    def links(seed):
        return links_of(NearestVectors(vectors, exact=False, seed=seed))

    first = links(0)
    assert links(0) == first
    assert links(2) != first  # to the generator of hnswlib, 0 is 1


# --- what is refused --------------------------------------------------------


@ways
@pytest.mark.parametrize("shape", [(0, 3), (4,), (2, 2, 2)])
def test_nothing_to_search(exact, shape):
    with pytest.raises(ValueError, match="must be vectors to search, .* got shape"):
        NearestVectors(torch.ones(shape), exact=exact)


@ways
@pytest.mark.parametrize("shape", [(2, 4), (2, 2), (3,), (1, 2, 3)])
def test_queries_of_another_width(exact, shape):
    index = NearestVectors(torch.eye(3), exact=exact)
    with pytest.raises(ValueError) as caught:
        index.search(torch.ones(shape), 1)
    assert f"(n_queries, 3), like the vectors; got shape {shape}" in str(caught.value)


@ways
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_numbers_that_are_not_finite(exact, value):
    rows = torch.eye(4)
    rows[2, 1] = value
    with pytest.raises(ValueError, match=r"^vectors\[2\] holds NaN or infinity"):
        NearestVectors(rows, exact=exact)
    index = NearestVectors(torch.eye(4), exact=exact)
    with pytest.raises(ValueError, match=r"^queries\[2\] holds NaN or infinity"):
        index.search(rows, 1)


@ways
@pytest.mark.parametrize("k", [0, -1])
def test_k_below_1(exact, k):
    index = NearestVectors(torch.eye(3), exact=exact)
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        index.search(torch.eye(3), k)


def test_hnswlib_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    assert not has_hnswlib()
    with pytest.raises(ImportError, match='pip install hnswlib.*search="exact"'):
        NearestVectors(torch.eye(3), exact=False)
    index = NearestVectors(torch.eye(3))
    assert index.search(torch.eye(3), 1)[0].tolist() == [[0], [1], [2]]


@pytest.mark.parametrize(
    "kind", ["GRank", "LightXML", "LightDXML", "TReaderXML", "GUDN"]
)
def test_without_a_graph_nothing_needs_hnswlib(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    data = make_xmc(60, 20, kind="features", random_state=0)
    options = {"label_branch": "multi-hot"} if kind == "GUDN" else {}
    model = getattr(skxmc, f"{kind}Classifier")(
        max_epochs=1, precision="fp32", random_state=0, **options
    )
    ids, _ = model.fit(data.X, data.Y).predict_topk(data.X, 3)
    assert ids.shape == (60, 3) and (ids >= 0).all()


def test_searches_of_a_graph_in_threads_are_those_of_one():
    hnswlib = pytest.importorskip("hnswlib")
    assert hnswlib
    vectors = torch.randn(4000, 32, generator=torch.Generator().manual_seed(0))
    index = NearestVectors(vectors, exact=False)
    queries = vectors[:200].flip(1)
    # The more neighbours are asked for, the more of the graph is looked at.
    expected = {k: index.search(queries, k) for k in (1, 300)}

    def ask(k):
        for _ in range(10):
            for got, of_one in zip(index.search(queries, k), expected[k], strict=True):
                assert torch.equal(got, of_one)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, [1, 300, 1, 300]))
