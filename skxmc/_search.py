"""The choice between exact search and search in a graph."""

from .nn.search import has_hnswlib


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
