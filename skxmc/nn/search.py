"""Nearest label vectors of a document, by cosine: exact, or by a graph."""

import numpy as np
import torch
from torch.nn.functional import normalize

from .process import brief_lock

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
    try:
        import hnswlib
    except ImportError as error:
        raise ImportError(
            'search="hnsw" needs hnswlib, which is not installed here: pip install '
            'hnswlib (it is compiled, and needs a C++ compiler), or use search="exact".'
        ) from error
    graph = hnswlib.Index("ip", vectors.shape[1])
    graph.init_index(
        len(vectors), M=_N_LINKS, ef_construction=_BUILD_WIDTH, random_seed=seed
    )
    # On more threads it would be another graph each time.
    graph.add_items(vectors, num_threads=1)
    return graph


def _check_finite(rows, name):
    good = rows.isfinite().all(dim=1)
    if not good.all():
        i = int((~good).nonzero()[0, 0])
        raise ValueError(f"{name}[{i}] holds NaN or infinity.")
