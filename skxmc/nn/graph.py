"""Graphs of hnswlib: how they are built, copied, and kept as tensors."""

import numpy as np
import torch

from .state import choice, floats, indices, number

# Numbers of links that a vector of a graph may have: the M of HNSW. A model folder with
# another number is refused.
_LINKS = (16, 32)
# Bit of hnswlib's number of links of a vector that marks the vector as deleted.
_DELETED = 1 << 16


def build_graph(vectors, seed, n_links, build_width):
    """Build a graph of float32 vectors, on one thread.

    Parameters
    ----------
    vectors : ndarray of shape (n_vectors, dim)
    seed : int
    n_links, build_width : int
        As in `skxmc.nn.search.NearestVectors`.

    Raises
    ------
    ImportError
        If hnswlib is not installed.
    """
    graph = _make_graph(*vectors.shape, seed, n_links, build_width)
    # With more threads, the links would depend on their timing.
    graph.add_items(vectors, num_threads=1)
    return graph


def _make_graph(n_vectors, dim, seed, n_links, build_width=200):
    """Make a graph without vectors, with room for `n_vectors`."""
    try:
        import hnswlib
    except ImportError as error:
        raise ImportError(
            "The search for labels or documents uses a graph, which needs hnswlib, and "
            "hnswlib is not installed: pip install hnswlib (this needs a C++ "
            'compiler). Or fit with search="exact", which does not need it.'
        ) from error
    graph = hnswlib.Index("ip", dim)
    graph.init_index(
        n_vectors, M=n_links, ef_construction=build_width, random_seed=seed
    )
    return graph


def copy_graph(graph, **changed):
    """Copy a graph, so that threads that search in it do not see it change."""
    state = graph.__getstate__()[0] | changed
    return type(graph)(state)


def mark_deleted(graph, places):
    """Have searches find some vectors no more. Their places and links remain."""
    for place in places.tolist():
        graph.mark_deleted(place)


def split_graph(graph):
    """Turn the bytes of a graph of hnswlib into tensors of its vectors and links.

    Returns
    -------
    vectors : float32 tensor of shape (n_vectors, dim)
    links : dict
        ``lowest``, of shape (n_vectors, 1 + 2 * n_links), holds the links of each
        vector on the lowest level, and ``upper``, of shape (n_upper, 1 + n_links),
        those on all higher levels. A row is int32: the number of links, and the linked
        vectors, padded with 0. ``levels``, int32 of shape (n_vectors,), is the number
        of higher levels of each vector, and so of its rows in ``upper``. ``entry``,
        int, is the vector where a search starts, and ``seed`` the seed.
    """
    state = graph.__getstate__()[0]
    # hnswlib stores a vector's links, its numbers and its 64-bit id in one row.
    n_vectors, width = graph.element_count, 1 + 2 * graph.M
    rows = state["data_level0"].view(np.int32).reshape(n_vectors, -1)
    upper = state["link_lists"].view(np.int32).reshape(-1, 1 + graph.M)
    vectors = rows[:, width : width + graph.dim].copy().view(np.float32)
    lowest = rows[:, :width].copy()
    lowest[:, 0] &= ~_DELETED
    return torch.from_numpy(vectors), {
        "lowest": torch.from_numpy(_clear_unused(lowest)),
        "upper": torch.from_numpy(_clear_unused(upper)),
        "levels": torch.from_numpy(state["element_levels"].copy()),
        "entry": int(state["enterpoint_node"]),
        "seed": int(state["seed"]),
    }


def _clear_unused(links):
    """Set unused places of links to 0, where hnswlib leaves arbitrary numbers."""
    links = links.copy()
    links[:, 1:][np.arange(links.shape[1] - 1) >= links[:, :1]] = 0
    return links


def join_graph(vectors, *, lowest, upper, levels, entry, seed):
    """Make a graph from what `split_graph` returns.

    hnswlib does not check links. A search would follow a wrong one to an arbitrary
    address in memory, so all of them are checked here.
    """
    for tensor in (vectors, lowest):
        if not isinstance(tensor, torch.Tensor) or tensor.ndim != 2:
            raise ValueError("A graph holds no vectors or no links.")
    n_vectors, dim = vectors.shape
    n_links = (lowest.shape[1] - 1) // 2
    choice(*_LINKS)(n_links, "n_links")
    number(0, 2**63 - 1, whole=True)(seed, "seed")
    number(0, n_vectors - 1, whole=True)(entry, "entry")
    floats(None, None, dtypes=(torch.float32,), largest=1.01)(vectors, "vectors")
    indices(n_vectors, high=len(upper) + 1, dtype=torch.int32)(levels, "levels")
    n_upper = int(levels.sum())
    _check_links(lowest, "lowest", n_vectors, 2 * n_links, n_vectors)
    linked = _check_links(upper, "upper", n_upper, n_links, n_vectors)
    # The level of each row of upper. The rows of a vector follow each other, from its
    # level 1 on, and may only link vectors that are on the same level too.
    heights = levels.repeat_interleave(levels)
    starts = levels.cumsum(0).repeat_interleave(levels) - heights
    row_levels = torch.arange(n_upper) - starts + 1
    if (levels[upper[:, 1:].long()] < row_levels[:, None])[linked].any():
        raise ValueError("A graph links a vector on a level that it does not have.")
    if levels[entry] != levels.max():
        raise ValueError("A graph has its entry below the highest level.")

    graph = _make_graph(n_vectors, dim, seed, n_links)
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
    """Check rows of links, and return which of their places are used."""
    indices(n_rows, 1 + n_links, high=max(n_vectors, n_links + 1), dtype=torch.int32)(
        links, name
    )
    linked = torch.arange(n_links) < links[:, :1]
    if (links[:, 0] > n_links).any() or (links[:, 1:] >= n_vectors).any():
        raise ValueError(f"{name} holds links to vectors that do not exist.")
    return linked
