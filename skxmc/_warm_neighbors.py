"""Documents of earlier fits that vote on when a fit goes on from another one."""

from typing import NamedTuple

import numpy as np
import torch

from .nn.neighbors import NeighborVotes

__all__ = ["EarlierVoters", "find_earlier_voters"]


class EarlierVoters(NamedTuple):
    """Documents of earlier fits that go on to vote.

    Parameters
    ----------
    votes : NeighborVotes or None
        Memory of these documents, with the columns of labels and the rows of this fit.
        The vectors are those of the network that read a document last. None if no
        documents vote on.
    counts : ndarray of shape (n_labels,)
        Number of the documents of each label, without texts of labels, or the sum of
        their weights.
    n_docs : int
        Number of these documents.
    total_weight : float or None
        Sum of their weights. None if they have none.
    """

    votes: NeighborVotes | None
    counts: np.ndarray
    n_docs: int
    total_weight: float | None

    @property
    def n_voters(self):
        """Number of these documents and of texts of labels that vote on."""
        return 0 if self.votes is None else self.votes.n_found

    def join(self, vectors, indptr, ids, rows, *, counts, hashes, exact, **options):
        """Return the memory of these documents and those of this fit.

        A graph of these documents is extended, for it takes long to build. Otherwise
        the documents of this fit come first.

        Parameters
        ----------
        vectors, indptr, ids, rows, counts, hashes, exact
            As in `NeighborVotes`, for the documents of this fit.
        **options
            `n_labels` and `n_neighbors` of the whole memory.
        """
        new, before = (vectors, indptr, ids, rows), self.votes
        more = dict(counts=counts, hashes=hashes, exact=exact)
        if before is None:
            return NeighborVotes(*new, **more, **options)
        if before.index.graph is not None and not exact:
            votes = before.add_documents(*new, **more) if len(rows) else before
            votes.n_neighbors = options["n_neighbors"]
            return votes
        found = before.index.found_places()  # others have been forgotten
        lengths = before.indptr.diff()[found]
        if counts is not None or before.counts is not None:
            weights = torch.ones(len(found))
            weights = weights if before.counts is None else before.counts[found]
            counts = torch.ones(len(rows)) if counts is None else counts
            counts = torch.cat([counts, weights])
        return NeighborVotes(
            torch.cat([vectors, before.index.get_vectors()[found].to(vectors)]),
            torch.cat([indptr, indptr[-1] + lengths.cumsum(0)]),
            torch.cat([ids, before.ids]),
            torch.cat([rows, before.rows[found]]),
            counts=counts,
            hashes=torch.cat([hashes, before.get_hashes()[found]]),
            exact=exact,
            **options,
        )


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
        Their rows begin at n_docs, in the order of their rows so far, and texts of
        labels follow in the order of labels.
    """
    votes = None if start is None else start.network.neighbors
    if votes is not None:
        known = votes.get_hashes()
        leaves = torch.isin(known, torch.from_numpy(hashes)) & (known != 0)
        leaves[votes.rows >= start.n_docs_] = not keeps_texts
        places = votes.index.found_places()
        votes = votes.remove_documents(places[leaves[places]])
    if votes is not None:
        # Labels that are left out vote no longer, nor do documents that had no others.
        columns = torch.from_numpy(start.find_columns())
        votes = votes.keep_labels(columns, n_labels)
    if votes is None:
        return EarlierVoters(None, np.zeros(n_labels, np.int64), 0, None)
    places = votes.index.found_places()
    is_text = votes.rows[places] >= start.n_docs_
    docs, texts = places[~is_text], places[is_text]
    docs = docs[votes.rows[docs].argsort()]  # the order of a graph is another one
    rows = torch.zeros_like(votes.rows)
    rows[docs] = n_docs + torch.arange(len(docs))
    rows[texts] = n_docs + len(docs) + columns[votes.rows[texts] - start.n_docs_]
    counts, total_weight = votes.count_labels(docs).numpy(), None
    if votes.counts is None:
        counts = counts.astype(np.int64)
    else:
        total_weight = float(votes.counts[docs].double().sum())
    votes = votes.number(n_labels=n_labels, rows=rows)
    return EarlierVoters(votes, counts, len(docs), total_weight)
