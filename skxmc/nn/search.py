"""Nearest label vectors of a document, by cosine: exact, or by a graph."""

import numpy as np
import torch
from torch.nn.functional import normalize

from .process import brief_lock
from .state import floats, indices, nothing, number

# Scores made at once by exact search: some 64 MB.
_SCORES_AT_ONCE = 1 << 24
# Links of a vector, and candidates looked at where it is linked.
_N_LINKS = 32
_BUILD_WIDTH = 200
# Held while graphs are searched, one search at a time.
_searching = brief_lock()


class NearestVectors:
    """Search for the vectors of the largest cosine with a query.

    A small wrapper around two ways: the product with all vectors, exact and on the
    device of the vectors; or an HNSW graph [1]_ (hnswlib), on the CPU, which looks
    at a few vectors of many. It checks what the latter does not: NaN, widths, more
    neighbours than there are vectors.

    Parameters
    ----------
    vectors : tensor of shape (n_vectors, dim)
        At least one. A zero vector has cosine 0 with everything.
    exact : bool, default=True
    seed : int, default=0
        Of the graph.

    Raises
    ------
    ValueError
        If there are no vectors, or one is not finite.
    ImportError
        If the graph is asked for, and hnswlib is not installed.

    References
    ----------
    .. [1] Malkov, Yashunin. Efficient and Robust Approximate Nearest Neighbor Search
       Using Hierarchical Navigable Small World Graphs, TPAMI 2020.

    Examples
    --------
    >>> import torch
    >>> index = NearestVectors(torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    >>> index.search(torch.tensor([[0.0, 2.0]]), 2)
    (tensor([[2, 1]]), tensor([[1.0000, 0.8000]]))
    """

    def __init__(self, vectors, *, exact=True, seed=0):
        if vectors.ndim != 2 or not len(vectors):
            raise ValueError(
                f"There must be vectors to search, got shape {tuple(vectors.shape)}."
            )
        _check_finite(vectors, "vectors")
        self.n_vectors, self.dim = vectors.shape
        vectors = normalize(vectors, dim=1)
        self.vectors, self.graph = (vectors, None) if exact else (None, None)
        if not exact:
            self.graph = _build(vectors.cpu().float().numpy(), seed)

    def search(self, queries, k):
        """Find the k nearest vectors of each query, or all if there are fewer.

        Parameters
        ----------
        queries : tensor of shape (n_queries, dim)
            A zero query has cosine 0 with everything.
        k : int

        Returns
        -------
        ids : int64 tensor of shape (n_queries, min(k, n_vectors))
            Nearest first.
        cosines : tensor of the same shape, of the dtype of the queries

        Raises
        ------
        ValueError
            If k is not positive, a query is not finite, or of another width.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ValueError(
                f"queries have shape {tuple(queries.shape)}, and the vectors "
                f"{self.dim} columns."
            )
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        _check_finite(queries, "queries")
        k = min(k, self.n_vectors)
        queries = normalize(queries, dim=1)
        if self.graph is None:
            return _search_all(self.vectors, queries, k)
        return self._search_graph(queries, k)

    def to_state(self):
        """All that `from_state` needs, as tensors, numbers and dicts of these."""
        state = vars(self) | {"graph": None}
        if self.graph is not None:
            state["vectors"], state["graph"] = _take_apart(self.graph)
        return state

    @classmethod
    def from_state(cls, state):
        """Make what `to_state` was called on, with the same graph.

        Raises
        ------
        ValueError
            If the state is none that `to_state` returns.
        ImportError
            If there is a graph, and hnswlib is not installed.
        """
        index = cls.__new__(cls)
        vars(index).update(state)
        if index.graph is not None:
            vectors, index.vectors = index.vectors, None
            index.graph = _put_together(vectors, **index.graph)
        return index

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        expected = {
            "n_vectors": number(1, whole=True),
            "dim": number(1, whole=True),
            "vectors": floats(self.n_vectors, self.dim, largest=1.01),
            "graph": nothing,
        }
        if self.graph is not None:  # which was checked when it was put together
            expected |= {"vectors": nothing, "graph": self._check_graph}
        return expected

    def _check_graph(self, graph, name):
        found = graph.element_count, graph.dim
        if found != (self.n_vectors, self.dim):
            raise ValueError(f"{name} holds {found[0]} vectors of width {found[1]}.")

    def _search_graph(self, queries, k):
        rows = queries.cpu().float().numpy()
        width = 2 * k
        while True:
            try:
                with _searching:  # the graph has one width for all threads
                    self.graph.set_ef(max(width, 100))  # forgotten when it is loaded
                    ids, distances = self.graph.knn_query(rows, k)
                break
            except RuntimeError:  # fewer than k were met on the way
                if width > 2 * self.n_vectors:  # equal vectors, which nothing links
                    vectors = self.graph.get_items(range(self.n_vectors))
                    vectors = torch.from_numpy(np.asarray(vectors, np.float32))
                    return _search_all(vectors, queries, k)
                width *= 4
        cosines = torch.from_numpy(1 - distances).to(queries)
        return torch.from_numpy(ids.astype(np.int64)).to(queries.device), cosines


def _search_all(vectors, queries, k):
    vectors = vectors.to(queries.device, queries.dtype)
    at_once = max(1, _SCORES_AT_ONCE // len(vectors))
    best = [(part @ vectors.T).topk(k, dim=1) for part in queries.split(at_once)]
    return (
        torch.cat([part.indices for part in best]),
        torch.cat([part.values for part in best]),
    )


def has_hnswlib():
    """Whether hnswlib can be imported."""
    try:
        import hnswlib  # noqa: F401
    except ImportError:
        return False
    return True


def _build(vectors, seed):
    graph = _empty(*vectors.shape, seed)
    # On more threads it would be another graph each time.
    graph.add_items(vectors, num_threads=1)
    return graph


def _empty(n_vectors, dim, seed):
    try:
        import hnswlib
    except ImportError as error:
        raise ImportError(
            "Labels or documents are searched by a graph here, which needs hnswlib, "
            "and that is not installed: pip install hnswlib (it is compiled, and needs "
            'a C++ compiler). To do without, fit with search="exact".'
        ) from error
    graph = hnswlib.Index("ip", dim)
    graph.init_index(
        n_vectors, M=_N_LINKS, ef_construction=_BUILD_WIDTH, random_seed=seed
    )
    return graph


def _take_apart(graph):
    """The vectors of a graph, and its links: hnswlib's bytes as tensors.

    Returns
    -------
    vectors : float32 tensor of shape (n_vectors, dim)
    links : dict
        ``lowest`` (n_vectors, 1 + most links) and ``upper`` (total of levels, 1 +
        most links): int32, each row the number of links and the vectors linked,
        padded with 0. ``levels``, int32: how many rows of ``upper`` each vector has.
        ``entry`` and ``seed``, int.
    """
    state = graph.__getstate__()[0]
    n_vectors, width = graph.element_count, 1 + 2 * _N_LINKS
    rows = state["data_level0"].view(np.int32).reshape(n_vectors, -1)
    upper = state["link_lists"].view(np.int32).reshape(-1, 1 + _N_LINKS)
    vectors = rows[:, width : width + graph.dim].copy().view(np.float32)
    return torch.from_numpy(vectors), {
        "lowest": torch.from_numpy(_without_padding(rows[:, :width])),
        "upper": torch.from_numpy(_without_padding(upper)),
        "levels": torch.from_numpy(state["element_levels"].copy()),
        "entry": int(state["enterpoint_node"]),
        "seed": int(state["seed"]),
    }


def _without_padding(links):
    """Links with 0 in unused places, where hnswlib leaves anything."""
    links = links.copy()
    links[:, 1:][np.arange(links.shape[1] - 1) >= links[:, :1]] = 0
    return links


def _put_together(vectors, *, lowest, upper, levels, entry, seed):
    """A graph of its vectors and links, which hnswlib would not check."""
    if not isinstance(vectors, torch.Tensor) or vectors.ndim != 2:
        raise ValueError("A graph holds no vectors.")
    n_vectors, dim = vectors.shape
    number(0, 2**63 - 1, whole=True)(seed, "seed")
    number(0, n_vectors - 1, whole=True)(entry, "entry")
    floats(None, None, dtypes=(torch.float32,), largest=1.01)(vectors, "vectors")
    indices(n_vectors, high=len(upper) + 1, dtype=torch.int32)(levels, "levels")
    n_upper = int(levels.sum())
    _check_links(lowest, "lowest", n_vectors, 2 * _N_LINKS, n_vectors)
    linked = _check_links(upper, "upper", n_upper, _N_LINKS, n_vectors)
    owners = levels.repeat_interleave(levels)  # of the rows of upper
    starts = levels.cumsum(0).repeat_interleave(levels) - owners
    row_levels = torch.arange(n_upper) - starts + 1
    if (levels[upper[:, 1:].long()] < row_levels[:, None])[linked].any():
        raise ValueError("A graph links a vector on a level that it does not have.")
    if levels[entry] != levels.max():
        raise ValueError("A graph is entered below its highest level.")

    graph = _empty(n_vectors, dim, seed)
    numbers = torch.arange(n_vectors, dtype=torch.int64)
    parts = lowest, vectors.view(torch.int32), numbers.view(torch.int32).view(-1, 2)
    state = graph.__getstate__()[0]
    state |= {
        "ep_added": True,
        "cur_element_count": n_vectors,
        "max_level": int(levels.max()),
        "enterpoint_node": entry,
        "label_lookup_external": numbers.numpy().astype(np.uint64),
        "label_lookup_internal": numbers.numpy().astype(np.uint32),
        "element_levels": levels.numpy(),
        "data_level0": torch.cat(parts, dim=1).numpy().view(np.int8).ravel(),
        "link_lists": upper.numpy().view(np.int8).ravel(),
    }
    return type(graph)(state)


def _check_links(links, name, n_rows, n_links, n_vectors):
    """Check rows of links; return which of their places are links."""
    indices(n_rows, 1 + n_links, high=max(n_vectors, n_links + 1), dtype=torch.int32)(
        links, name
    )
    linked = torch.arange(n_links) < links[:, :1]
    if (links[:, 0] > n_links).any() or (links[:, 1:] >= n_vectors).any():
        raise ValueError(f"{name} holds links that lead nowhere.")
    return linked


def _check_finite(rows, name):
    good = rows.isfinite().all(dim=1)
    if not good.all():
        i = int((~good).nonzero()[0, 0])
        raise ValueError(f"{name}[{i}] holds NaN or infinity.")
