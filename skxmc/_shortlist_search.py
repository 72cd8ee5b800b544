"""How LightDXML's predictions search for the labels nearest to a document."""

import warnings

from .nn.search import uses_exact_search

__all__ = ["choose_exact_search"]

# search="auto" is exact at prediction for up to this many labels.
_MAX_EXACT = 20_000


def choose_exact_search(search, device, n_labels):
    """Return whether predictions search exactly, with a warning if that is slow.

    Parameters
    ----------
    search : {"auto", "exact", "hnsw"}
    device : str
    n_labels : int
        Number of labels that are searched.

    Returns
    -------
    bool
    """
    if search == "auto" and device.startswith("cuda"):
        return True
    exact = uses_exact_search(search, n_labels, _MAX_EXACT)
    if exact and search == "auto" and n_labels > _MAX_EXACT:
        warnings.warn(
            f"hnswlib is not installed, so each document is compared with all "
            f"{n_labels} labels, which makes predictions of single documents slow. "
            'Install it (pip install hnswlib), or set search="exact".',
            UserWarning,
            stacklevel=5,
        )
    return exact
