"""Search for the vectors with the largest cosines: exact, or with an HNSW graph."""

import copy

import numpy as np
import torch
from torch.nn.functional import normalize

from .graph import build_graph, copy_graph, join_graph, mark_deleted, split_graph
from .process import brief_lock
from .state import absent_or, choice, floats, indices, nothing, number, optional

# Largest number of scores that exact search computes at once: 64 MB.
_SCORES_AT_ONCE = 1 << 24
# Lock that is held while a graph is searched.
_search_lock = brief_lock()


class NearestVectors:
    """Index of vectors that finds those with the largest cosines with a query.

    Exact search multiplies a query with all vectors, on the device of the query. An
    HNSW graph [1]_ (hnswlib), on the CPU, compares a query with few of the vectors.
    Unlike hnswlib, this class checks for NaN and for wrong widths, and accepts a k
    beyond the number of vectors.

    Parameters
    ----------
    vectors : tensor of shape (n_vectors, dim)
        At least one vector. A zero vector has cosine 0 with everything.
    exact : bool, default=True
        Whether to search exactly. Otherwise a graph is built.
    seed : int, default=0
        Seed of the graph.
    n_links, build_width : int, default=32 and 200
        Number of links of a vector in the graph (16 or 32), and of candidates for them
        when it is built: M and ef_construction of HNSW. With 16 and 100, a graph of
        60,000 vectors of width 384 is built in 14 s on one thread, and a query meets
        all of its 10 nearest vectors. Building takes twice as long with 16 and 200.
    half : bool, default=False
        Whether to round the vectors to float16, as which a model folder then keeps
        them.

    Attributes
    ----------
    n_vectors : int
        Number of places in the index.
    deleted : int64 tensor or None
        Places of a graph whose vectors are never found, ascending.

    Raises
    ------
    ValueError
        If there are no vectors, or one is not finite.
    ImportError
        If a graph is needed and hnswlib is not installed.

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

    # Indexes in older model folders have no such attributes.
    half = False
    deleted = None

    def __init__(
        self, vectors, *, exact=True, seed=0, n_links=32, build_width=200, half=False
    ):
        if vectors.ndim != 2 or not len(vectors):
            raise ValueError(
                "There must be vectors to search, of shape (n_vectors, dim); got shape "
                f"{tuple(vectors.shape)}."
            )
        _check_finite(vectors, "vectors")
        self.n_vectors, self.dim = vectors.shape
        vectors = normalize(vectors, dim=1)
        if half:
            self.half = True
            vectors = vectors.half().to(vectors.dtype)
        self.vectors, self.graph = (vectors, None) if exact else (None, None)
        if not exact:
            vectors = vectors.cpu().float().numpy()
            self.graph = build_graph(vectors, seed, n_links, build_width)

    def search(self, queries, k):
        """Find the k nearest vectors of each query, or all if there are fewer.

        Parameters
        ----------
        queries : tensor of shape (n_queries, dim)
            A zero query has cosine 0 with everything.
        k : int

        Returns
        -------
        ids : int64 tensor of shape (n_queries, min(k, n_found))
            Rows of the vectors, nearest first.
        cosines : tensor of the same shape, of the dtype of the queries

        Raises
        ------
        ValueError
            If k is not positive, a query is not finite, or of another width.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ValueError(
                f"queries must have shape (n_queries, {self.dim}), like the vectors; "
                f"got shape {tuple(queries.shape)}."
            )
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        _check_finite(queries, "queries")
        return self.search_units(normalize(queries, dim=1), k)

    def search_units(self, queries, k):
        """Search as `search` does, for queries that need no check.

        Parameters
        ----------
        queries : tensor of shape (n_queries, dim)
            Of length 1, or 0.
        k : int
        """
        k = min(k, self.n_found)
        if self.graph is None:
            return _search_all(self.vectors, queries, k)
        return self._search_graph(queries, k)

    def get_vectors(self):
        """Return the vectors, scaled to length 1: a tensor on the CPU."""
        if self.graph is None:
            return self.vectors.cpu()
        vectors = self.graph.get_items(range(self.n_vectors))
        return torch.from_numpy(np.asarray(vectors, np.float32))

    @property
    def n_found(self):
        """Number of vectors that a search can find."""
        n_deleted = 0 if self.deleted is None else len(self.deleted)
        return self.n_vectors - n_deleted

    def found_places(self):
        """Return the places whose vectors a search can find, ascending."""
        places = torch.arange(self.n_vectors)
        if self.deleted is None:
            return places
        return places[~torch.isin(places, self.deleted)]

    def add(self, vectors, *, build_width=200):
        """Return an index with more vectors, at the places after the present ones.

        Parameters
        ----------
        vectors : tensor of shape (n_new, dim)
        build_width : int, default=200
            As in the constructor. The new vectors are linked one after the other, and
            the links depend on nothing but the vectors and the seed.
        """
        _check_finite(vectors, "vectors")
        vectors = normalize(vectors, dim=1)
        if self.half:
            vectors = vectors.half().to(vectors.dtype)
        index = copy.copy(self)
        index.n_vectors = self.n_vectors + len(vectors)
        if self.graph is None:
            index.vectors = torch.cat([self.vectors, vectors.to(self.vectors)])
            return index
        index.graph = copy_graph(self.graph, ef_construction=build_width)
        index.graph.resize_index(index.n_vectors)
        index.graph.add_items(vectors.cpu().float().numpy(), num_threads=1)
        return index

    def remove(self, places, *, build_width=200):
        """Return an index in which some vectors cannot be found any more.

        The vectors of a graph keep their places, because its links remain. If more than
        half of them are deleted, the graph is built again.

        Parameters
        ----------
        places : int64 tensor of shape (n_removed,)
            Some of `found_places`, but not all.
        build_width : int, default=200
            As in the constructor.

        Returns
        -------
        index : NearestVectors
        kept : int64 tensor of shape (n_vectors,)
            The place that each vector of the new index has in this one.
        """
        index, kept = copy.copy(self), self.found_places()
        kept = kept[~torch.isin(kept, places)]
        if self.graph is None:
            index.vectors = self.vectors[kept.to(self.vectors.device)]
            index.n_vectors = len(kept)
            return index, kept
        if 2 * len(kept) < self.n_vectors:
            vectors = np.asarray(self.graph.get_items(kept.numpy()), np.float32)
            seed = self.graph.__getstate__()[0]["seed"]
            index.graph = build_graph(vectors, seed, self.graph.M, build_width)
            index.n_vectors, index.deleted = len(kept), None
            return index, kept
        index.graph = copy_graph(self.graph)
        mark_deleted(index.graph, places)
        deleted = places if self.deleted is None else torch.cat([self.deleted, places])
        index.deleted = deleted.sort().values
        return index, torch.arange(self.n_vectors)

    def to(self, device):
        """Return an index that searches on another device, if it is exact."""
        if self.graph is not None:
            return self
        index = copy.copy(self)
        index.vectors = self.vectors.to(device)
        return index

    def to_state(self):
        """Return the state as tensors, numbers and dicts of these (`from_state`)."""
        state = vars(self) | {"graph": None}
        if self.graph is not None:
            state["vectors"], state["graph"] = split_graph(self.graph)
        if self.half:
            state["vectors"] = state["vectors"].half()
        return state

    @classmethod
    def from_state(cls, state):
        """Make an index from the state that `to_state` returned, with the same graph.

        Raises
        ------
        ValueError
            If the state describes no valid graph.
        ImportError
            If there is a graph and hnswlib is not installed.
        """
        index = cls.__new__(cls)
        vars(index).update(state)
        if index.half:
            floats(None, None, dtypes=(torch.float16,))(index.vectors, "vectors")
            index.vectors = index.vectors.float()
        if index.graph is not None:
            vectors, index.vectors = index.vectors, None
            index.graph = join_graph(vectors, **index.graph)
            if index.deleted is not None:
                index._check_deleted(index.deleted, "deleted")
                mark_deleted(index.graph, index.deleted)
        return index

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        expected = {
            "n_vectors": number(1, whole=True),
            "dim": number(1, whole=True),
            "vectors": floats(self.n_vectors, self.dim, largest=1.01),
            "graph": nothing,
            "half": absent_or(choice(True)),
            "deleted": absent_or(nothing),
        }
        if self.graph is not None:  # `join_graph` has checked its vectors and links
            expected |= {"vectors": nothing, "graph": self._check_graph}
            expected["deleted"] = absent_or(optional(self._check_deleted))
        return expected

    def _check_deleted(self, deleted, name):
        n_vectors = self.graph.element_count
        indices(None, high=n_vectors)(deleted, name)
        if (deleted.diff() <= 0).any() or len(deleted) == n_vectors:
            raise ValueError(
                f"{name} must hold different places in ascending order, and not all of "
                f"the {n_vectors}."
            )

    def _check_graph(self, graph, name):
        found = graph.element_count, graph.dim
        if found != (self.n_vectors, self.dim):
            raise ValueError(
                f"{name} must hold {self.n_vectors} vectors of width {self.dim}, and "
                f"holds {found[0]} of width {found[1]}."
            )

    def _search_graph(self, queries, k):
        rows = queries.cpu().float().numpy()
        width = 2 * k
        while True:
            try:
                # The width of the search is a setting of the graph, which all threads
                # share. A pickle does not keep it.
                with _search_lock:
                    self.graph.set_ef(max(width, 100))
                    ids, distances = self.graph.knn_query(rows, k)
                break
            except RuntimeError:  # the search has met fewer than k vectors
                # A graph of many equal vectors may consist of parts without links.
                if width > 2 * self.n_vectors:
                    places = self.found_places()
                    vectors = self.graph.get_items(places.numpy())
                    vectors = torch.from_numpy(np.asarray(vectors, np.float32))
                    found, cosines = _search_all(vectors, queries, k)
                    return places.to(found.device)[found], cosines
                width *= 4
        cosines = torch.from_numpy(1 - distances).to(queries)
        return torch.from_numpy(ids.astype(np.int64)).to(queries.device), cosines


def _search_all(vectors, queries, k):
    vectors = vectors.to(queries.device, queries.dtype)
    at_once = max(1, _SCORES_AT_ONCE // len(vectors))
    best = [(part @ vectors.T).topk(k, dim=1) for part in queries.split(at_once)]
    if len(best) == 1:
        return best[0].indices, best[0].values
    return (
        torch.cat([part.indices for part in best]),
        torch.cat([part.values for part in best]),
    )


def has_hnswlib():
    """Return whether hnswlib can be imported."""
    try:
        import hnswlib  # noqa: F401
    except ImportError:
        return False
    return True


def uses_exact_search(search, n_vectors, max_exact):
    """Return whether to search exactly, rather than in a graph of hnswlib.

    Parameters
    ----------
    search : {"auto", "exact", "hnsw"}
    n_vectors : int
        Number of vectors that each query is compared with.
    max_exact : int
        Number of vectors up to which "auto" is exact. It is also exact if hnswlib is
        not installed.
    """
    if search != "auto":
        return search == "exact"
    return n_vectors <= max_exact or not has_hnswlib()


def _check_finite(rows, name):
    is_finite = rows.isfinite().all(dim=1)
    if not is_finite.all():
        i = int((~is_finite).nonzero()[0, 0])
        raise ValueError(f"{name}[{i}] holds NaN or infinity.")
