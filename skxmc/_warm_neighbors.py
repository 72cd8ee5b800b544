"""Documents of earlier fits that vote on when a fit goes on from another one."""

from typing import NamedTuple

import numpy as np
import torch

__all__ = ["EarlierVoters", "find_earlier_voters"]


class EarlierVoters(NamedTuple):
    """Documents of earlier fits, as `skxmc.nn.neighbors.NeighborVotes` takes them.

    Parameters
    ----------
    vectors : float32 tensor of shape (n_docs, dim)
        Vectors by the network that read the documents last.
    indptr, ids : int64 ndarrays
        Document i has the labels ``ids[indptr[i]:indptr[i + 1]]``.
    rows : int64 ndarray of shape (n_docs,)
    hashes : int64 ndarray of shape (n_docs,)
        Hashes by `skxmc._fingerprint.hash_documents`, or 0 where they are not known.
    counts : ndarray of shape (n_labels,)
        Number of the documents of each label, without texts of labels, or the sum of
        their weights.
    n_docs : int
        Number of these documents.
    weights : float64 ndarray of shape (n_docs,) or None
        Weights of the documents. None weighs all alike.
    """

    vectors: torch.Tensor
    indptr: np.ndarray
    ids: np.ndarray
    rows: np.ndarray
    hashes: np.ndarray
    counts: np.ndarray
    n_docs: int
    weights: np.ndarray | None = None

    def append_weights(self, weights, n):
        """Append the weights to those of n other documents; both may be None."""
        if weights is None and self.weights is None:
            return None
        first = np.ones(n) if weights is None else weights
        own = np.ones(len(self.rows)) if self.weights is None else self.weights
        return np.append(first, own)


def find_earlier_voters(start, hashes, n_docs, n_labels, *, keeps_texts):
    """Find the documents that voted before this fit and that it does not repeat.

    Parameters
    ----------
    start : skxmc._warm_start.Start or None
        What the fit goes on from.
    hashes : int64 ndarray of shape (n_docs,)
        Hashes of the documents of this fit. It reads them anew, or holds them out.
    n_docs, n_labels : int
        Numbers of documents and labels of this fit.
    keeps_texts : bool
        Whether the texts of labels stay as they are too.

    Returns
    -------
    EarlierVoters
        Their rows begin at n_docs, and texts of labels follow in the order of labels.
    """
    votes = None if start is None else start.network.neighbors
    none = np.zeros(0, np.int64)
    if votes is None:
        indptr, counts = np.zeros(1, np.int64), np.zeros(n_labels, np.int64)
        return EarlierVoters(torch.empty(0, 0), indptr, none, none, none, counts, 0)
    columns = start.find_columns()
    known = votes.get_hashes().numpy()
    texts = votes.rows.numpy() - start.n_docs_
    is_text = texts >= 0
    is_kept = np.where(is_text, keeps_texts, ~np.isin(known, hashes) | (known == 0))
    # Labels that are left out vote no longer, nor do documents that had no others.
    ids, lengths = columns[votes.ids.numpy()], np.diff(votes.indptr.numpy())
    owners = np.repeat(np.arange(len(lengths)), lengths)
    counts = np.bincount(owners[ids >= 0], minlength=len(lengths))
    is_kept &= counts > 0
    found = votes.index.found_places().numpy()  # others have been forgotten
    is_kept &= np.isin(np.arange(len(is_kept)), found)

    is_doc = is_kept & ~is_text
    n_earlier = int(is_doc.sum())
    rows = n_docs + np.cumsum(is_doc) - 1
    rows[is_text] = n_docs + n_earlier + columns[texts[is_text]]
    weights, counted = None, (ids >= 0) & is_doc[owners]
    sums = np.bincount(ids[counted], minlength=n_labels)
    if votes.counts is not None:
        weights = votes.counts.double().numpy()
        sums = np.bincount(ids[counted], weights[owners[counted]], n_labels)
    return EarlierVoters(
        votes.index.get_vectors()[torch.from_numpy(is_kept)],
        np.append(0, counts[is_kept].cumsum()),
        ids[(ids >= 0) & is_kept[owners]],
        rows[is_kept],
        known[is_kept],
        sums,
        n_earlier,
        None if weights is None else weights[is_kept],
    )
