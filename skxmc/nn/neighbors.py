"""Neighbours that vote: labels of the nearest training documents join the ranking."""

import copy
import math
from typing import NamedTuple

import torch
from torch.nn.functional import normalize, pad

from .devices import FullPrecision
from .losses import at_least_float32
from .search import NearestVectors
from .state import absent_or, floats, indices, number, optional, part

# Number of best labels of a document that votes are added to. Other labels that get
# votes count with the score of the last of these.
DEPTH = 100
# Votes are a softmax of the cosines times this number.
_SHARPNESS = 20.0
# Vectors that are not longer are brought to length 1 by `normalize`, which bounds them.
_SHORTEST = 1e-12
# M and ef_construction of HNSW (see `NearestVectors`).
_N_LINKS, _BUILD_WIDTH = 16, 100


class Votes(NamedTuple):
    """Votes for the labels of documents, as a list without repetitions.

    Parameters
    ----------
    docs, labels : int64 tensors of shape (n_votes,)
        Number of the document within its batch, and column of the label. Votes are in
        the order of documents, and those of a document in the order of labels.
    shares : tensor of shape (n_votes,)
        Sum of the weights of the document's neighbours that have the label. It is above
        0 and, but for rounding, at most 1.
    """

    docs: torch.Tensor
    labels: torch.Tensor
    shares: torch.Tensor


class NeighborVotes:
    """Memory of training documents, the nearest of which vote for their labels.

    The weights of a document's neighbours are the softmax of 20 times their cosines.
    The vote for a label is the sum of the weights of the neighbours that have it.

    Parameters
    ----------
    vectors : float tensor of shape (n_docs, dim)
        Vectors of the training documents. They are kept as float16.
    indptr : int64 tensor of shape (n_docs + 1,)
        Document i has the labels ``ids[indptr[i]:indptr[i + 1]]``.
    ids : int64 tensor of shape (n_entries,)
        Label columns.
    rows : int64 tensor of shape (n_docs,)
        Row of each document in the data of the user, for explanations.
    n_labels : int
        Number of labels.
    n_neighbors : int, default=10
        Number of nearest documents that vote.
    weight : float, default=1.0
        Number by which votes are multiplied before they are added to scores.
    exact : bool, default=True
        Whether to compare with all documents. Otherwise an HNSW graph is used.
    counts : float tensor of shape (n_docs,) or None, default=None
        How many of the neighbours that vote each document counts for, as if it were
        repeated. None counts each as one.
    hashes : int64 tensor of shape (n_docs,) or None, default=None
        Hashes by which documents are known again, 0 where there is none.
    """

    # Folders of older versions lack them.
    counts = hashes = None

    def __init__(
        self,
        vectors,
        indptr,
        ids,
        rows,
        *,
        n_labels,
        n_neighbors=10,
        weight=1.0,
        exact=True,
        counts=None,
        hashes=None,
    ):
        self.index = _make_index(vectors.cpu(), exact=exact)
        self.counts = counts
        self.indptr, self.ids, self.rows = indptr, ids, rows
        self.hashes = torch.zeros_like(rows) if hashes is None else hashes
        self.n_labels = n_labels
        self.n_neighbors = n_neighbors
        self.weight = weight
        self.reset_unsaved()

    @property
    def depth(self):
        """Number of labels per document that `rerank` needs to know."""
        return DEPTH

    def reset_unsaved(self):
        """Forget the copy of the memory on another device (see `skxmc.nn.state`)."""
        self._copy = None

    def __getstate__(self):
        return self.__dict__ | {"_copy": None}

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n_docs = self.index.n_vectors
        return {
            "index": part(NearestVectors, half=True),
            "indptr": self._check_indptr,
            "ids": indices(len(self.ids), high=self.n_labels),
            "rows": indices(n_docs, high=2**63 - 1),
            "counts": absent_or(optional(self._check_counts)),
            "n_labels": number(1, whole=True),
            "n_neighbors": number(1, whole=True),
            "weight": number(0),
            "hashes": absent_or(indices(n_docs, low=-(2**63), high=2**63 - 1)),
        }

    def _check_counts(self, counts, name):
        floats(self.index.n_vectors)(counts, name)
        if not (counts > 0).all():
            raise ValueError(f"{name} holds numbers that are not above 0.")

    def _check_indptr(self, indptr, name):
        indices(self.index.n_vectors + 1, high=len(self.ids) + 1)(indptr, name)
        descends = (indptr.diff() < 0).any()
        if descends or indptr[0] != 0 or indptr[-1] != len(self.ids):
            raise ValueError(f"{name} does not divide the labels among the documents.")

    def get_hashes(self):
        """Return the hashes of documents, or zeros."""
        return torch.zeros_like(self.rows) if self.hashes is None else self.hashes

    @property
    def n_found(self):
        """Number of documents that may vote."""
        return self.index.n_found

    def find_rows(self, rows):
        """Return the places of documents that may vote, and -1 for others.

        Parameters
        ----------
        rows : int64 tensor of shape (n,)
            Rows of documents in the data of the user.
        """
        places = self.index.found_places()
        known, order = self.rows[places].sort()
        found = torch.searchsorted(known, rows).clamp(max=len(known) - 1)
        return torch.where(known[found] == rows, places[order[found]], -1)

    def add_documents(
        self, vectors, indptr, ids, rows, *, exact, counts=None, hashes=None
    ):
        """Return a memory with more documents.

        Parameters
        ----------
        vectors, indptr, ids, rows, counts, hashes
            As in the constructor, for the new documents.
        exact : bool
            Whether documents are still compared with all of the memory, if they were
            so far. Otherwise a graph is built. A graph stays one.
        """
        index = self.index
        if index.graph is None and not exact:
            index = _make_index(torch.cat([index.vectors, vectors]), exact=False)
        else:
            index = index.add(vectors, build_width=_BUILD_WIDTH)
        votes = self._copy_with(index)
        votes.indptr = torch.cat([self.indptr, indptr[1:] + self.indptr[-1]])
        votes.ids = torch.cat([self.ids, ids])
        votes.rows = torch.cat([self.rows, rows])
        if self.counts is not None or counts is not None:
            before = torch.ones(index.n_vectors - len(rows))
            before = before if self.counts is None else self.counts
            added = before.new_ones(len(rows)) if counts is None else counts
            votes.counts = torch.cat([before, added])
        hashes = torch.zeros_like(rows) if hashes is None else hashes
        votes.hashes = torch.cat([self.get_hashes(), hashes])
        return votes

    def count_labels(self, places):
        """Count how many of some documents have each label.

        Parameters
        ----------
        places : int64 tensor of shape (n_places,)
            Different places of documents.

        Returns
        -------
        tensor of shape (n_labels,)
        """
        lengths = self.indptr.diff()
        counted = torch.zeros(len(lengths))
        counted[places] = 1.0 if self.counts is None else self.counts[places]
        counted = counted.repeat_interleave(lengths).double()
        return self.ids.bincount(counted, minlength=self.n_labels)

    def remove_documents(self, places):
        """Return a memory without some documents, or None if none would remain.

        Parameters
        ----------
        places : int64 tensor of shape (n_removed,)
            Different places of documents that may vote.
        """
        if len(places) == self.n_found:
            return None
        if not len(places):
            return self
        index, kept = self.index.remove(places, build_width=_BUILD_WIDTH)
        votes = self._copy_with(index)
        votes.rows = self.rows[kept]
        if self.counts is not None:
            votes.counts = self.counts[kept]
        votes.hashes = self.get_hashes()[kept]
        # In a graph, documents that have left keep their places, but no labels.
        lengths = self.indptr.diff()
        lengths[places] = 0
        stays = torch.ones(len(self.indptr) - 1, dtype=torch.bool)
        stays[places] = False
        votes.ids = self.ids[stays.repeat_interleave(self.indptr.diff())]
        votes.indptr = pad(lengths[kept].cumsum(0), (1, 0))
        return votes

    def number(self, *, n_labels, rows):
        """Return this memory with other numbers of rows, and more labels.

        Parameters
        ----------
        n_labels : int
        rows : int64 tensor of shape (n_docs,)
        """
        votes = self._copy_with(self.index)
        votes.n_labels, votes.rows = n_labels, rows
        return votes

    def keep_labels(self, columns, n_labels):
        """Return a memory in which labels have other columns.

        Documents with none of the labels that are kept leave it.

        Parameters
        ----------
        columns : int64 tensor of shape (n_labels,)
            New column of each label, or -1 if it is not kept.
        n_labels : int
            New number of labels.

        Returns
        -------
        NeighborVotes or None
            None if no document remains.
        """
        ids = columns[self.ids]
        votes = self._copy_with(self.index)
        votes.n_labels, votes.ids = n_labels, ids[ids >= 0]
        votes.indptr = pad((ids >= 0).cumsum(0), (1, 0))[self.indptr]
        places = self.index.found_places()
        return votes.remove_documents(places[votes.indptr.diff()[places] == 0])

    def _copy_with(self, index):
        """Return a copy with another index, for others may search in this one."""
        votes = copy.copy(self)
        votes.index = index
        votes.reset_unsaved()
        return votes

    def search(self, docs, n_neighbors=None):
        """Find the neighbours of documents.

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
            Vectors of the documents.
        n_neighbors : int or None, default=None
            Number of neighbours; None finds those that vote.

        Returns
        -------
        places : int64 tensor of shape (n_docs, n_neighbors)
            Places of the neighbours in the memory, nearest first. There are fewer if
            the memory holds fewer documents.
        cosines : tensor of the same shape
        weights : tensor of the same shape
            Weights of the neighbours, with sum 1. They are 0 for a document whose
            vector is 0 or not finite, for such a document has no neighbours.
            Documents with counts get weights until their counts add up to
            `n_neighbors`.
        """
        index, _, _ = self._on(docs.device)
        docs = at_least_float32(docs)
        lengths = torch.linalg.vector_norm(docs, dim=1, keepdim=True)
        have_directions = bool(((lengths > _SHORTEST) & (lengths < math.inf)).all())
        if have_directions:
            units = docs / lengths
        else:
            is_finite = docs.isfinite().all(dim=1, keepdim=True)
            docs = torch.where(is_finite, docs, 0)
            units = normalize(docs, dim=1)
        with FullPrecision(docs.device.type):
            places, cosines = index.search_units(units, n_neighbors or self.n_neighbors)
        logits = _SHARPNESS * cosines
        if self.counts is not None:
            counts = self.counts.to(docs.device)[places].to(logits)
            room = self.n_neighbors - counts.cumsum(dim=1) + counts
            logits = logits + torch.minimum(counts, room).clamp(min=0).log()
        weights = logits.softmax(dim=1)
        if not have_directions:
            weights = weights * docs.any(dim=1, keepdim=True)
        return places, cosines, weights

    def count(self, places, weights):
        """Count the votes of neighbours.

        Parameters
        ----------
        places, weights : tensors of shape (n_docs, n_neighbors)
            What `search` returns.

        Returns
        -------
        Votes
        """
        _, indptr, ids = self._on(places.device)
        firsts = torch.arange(len(places), device=places.device) * self.n_labels
        firsts = firsts[:, None].expand(places.shape).ravel()
        places, weights = places.ravel(), weights.ravel()
        starts, ends = indptr[places], indptr[places + 1]
        lengths = ends - starts
        # One entry for each label of each neighbour. The labels of a neighbour lie
        # `shifts` places after its entries.
        shifts = (ends - lengths.cumsum(0)).repeat_interleave(lengths)
        n_entries = len(shifts)
        labels = ids[torch.arange(n_entries, device=places.device) + shifts]
        keys = firsts.repeat_interleave(lengths, output_size=n_entries) + labels
        keys, owners = keys.unique(return_inverse=True)
        weights = weights.repeat_interleave(lengths, output_size=n_entries)
        shares = weights.new_zeros(len(keys)).index_add(0, owners, weights)
        counts = shares > 0
        if not counts.all():
            keys, shares = keys[counts], shares[counts]
        docs = keys // self.n_labels
        return Votes(docs, keys - docs * self.n_labels, shares)

    def rerank(self, ids, scores, docs, k, *, normalize):
        """Add the votes of the neighbours of documents to a ranking of their labels.

        Parameters
        ----------
        ids, scores, k, normalize
            As in `add_votes`.
        docs : tensor of shape (n_docs, dim)
            Vectors of the documents.

        Returns
        -------
        ids, scores : tensors of shape (n_docs, k)
        """
        places, _, weights = self.search(docs)
        return add_votes(
            ids,
            scores,
            self.count(places, weights),
            self.weight,
            k,
            n_labels=self.n_labels,
            normalize=normalize,
        )

    def shares_of(self, label, places, weights):
        """Return the weights of the neighbours that have a label, and 0 for the others.

        Parameters
        ----------
        label : int
            Column of the label.
        places, weights : tensors of shape (n_neighbors,)
            Neighbours of one document, on the CPU.

        Returns
        -------
        tensor of shape (n_neighbors,)
        """
        before = pad((self.ids == label).cumsum(0), (1, 0))[self.indptr]
        return weights * (before.diff()[places] > 0)

    def _on(self, device):
        """Return the index, the row pointers and the labels on a device."""
        if device.type == "cpu":
            return self.index, self.indptr, self.ids
        copy = self._copy  # another thread may replace the attribute meanwhile
        if copy is None or copy[1].device != device:
            copy = self.index.to(device), self.indptr.to(device), self.ids.to(device)
            self._copy = copy
        return copy


def _make_index(vectors, *, exact):
    graph = dict(n_links=_N_LINKS, build_width=_BUILD_WIDTH)
    return NearestVectors(vectors, exact=exact, half=True, **graph)


def add_votes(ids, scores, votes, weight, k, *, n_labels, normalize):
    """Add votes to the scores of labels: the new score is ``score + weight * vote``.

    The scores of a document's 100 best labels are known. A voted label beyond these,
    or outside of the document's shortlist, takes the lowest of their scores instead of
    its own. The best labels thus do not depend on how many of them are asked for.

    Parameters
    ----------
    ids : int64 tensor of shape (n_docs, n_ranked)
        Label columns, best first, padded with n_labels.
    scores : tensor of shape (n_docs, n_ranked)
        Scores of these labels, padded with -inf.
    votes : Votes
    weight : float
    k : int
        Number of labels to return.
    n_labels : int
    normalize : bool
        Whether scores are logarithms of probabilities. They are then normalised again,
        such that the probabilities of a document's labels have a sum of at most 1.

    Returns
    -------
    ids : int64 tensor of shape (n_docs, k), best first, padded with n_labels
    scores : tensor of shape (n_docs, k), padded with -inf
        Labels with equal scores stay in the order of the ranking.
    """
    n_docs, n_ranked = ids.shape
    shares = (weight * votes.shares).to(scores.dtype)
    # Whether and where each ranked label is among the votes. No ranked label has the
    # key that is appended.
    keys = votes.docs * (n_labels + 1) + votes.labels
    keys = torch.cat([keys, keys.new_full((1,), n_docs * (n_labels + 1))])
    docs = torch.arange(n_docs, device=ids.device)
    sought = docs[:, None] * (n_labels + 1) + ids
    places = torch.searchsorted(keys, sought)  # (n_docs, n_ranked)
    is_voted = keys[places] == sought
    if n_ranked > DEPTH:
        # Voted labels beyond the 100 best ones count as if they had not been ranked.
        is_deep = is_voted[:, DEPTH:].clone()
        is_voted[:, DEPTH:] = False
    places = places.masked_fill(~is_voted, len(keys) - 1)  # the key that is appended
    is_other = torch.ones_like(keys, dtype=torch.bool)
    is_other[places] = False

    best = scores[:, :DEPTH]
    lowest = best.masked_fill(best == -math.inf, math.inf).amin(dim=1)
    lowest = lowest.masked_fill(lowest == math.inf, 0)  # where nothing is ranked
    others = is_other[:-1].nonzero()[:, 0]
    others = Votes(votes.docs[others], votes.labels[others], shares[others])
    columns = torch.arange(len(others.docs), device=ids.device)
    columns = columns - torch.searchsorted(others.docs, docs)[others.docs]
    shape = n_docs, int(columns.max()) + 1 if len(columns) else 0
    added_ids = ids.new_full(shape, n_labels)
    added_ids[others.docs, columns] = others.labels
    added = scores.new_full(shape, -math.inf)
    added[others.docs, columns] = lowest[others.docs] + others.shares

    raised = scores + torch.cat([shares, shares.new_full((1,), 0)])[places]
    if n_ranked > DEPTH and is_deep.any():
        raised[:, DEPTH:].masked_fill_(is_deep, -math.inf)
        ids = ids.clone()
        ids[:, DEPTH:].masked_fill_(is_deep, n_labels)
    if normalize:
        # Labels that are not known share what the best ones leave of the probability.
        rest = torch.log1p(-best.exp().sum(dim=1, keepdim=True).clamp(max=1))
        total = torch.cat([raised[:, :DEPTH], added, rest], dim=1)
        total = total.logsumexp(dim=1, keepdim=True)
        raised, added = raised - total, added - total
    ids = torch.cat([ids, added_ids], dim=1)
    scores = torch.cat([raised, added], dim=1)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    ids = ids.gather(1, order[:, :k])
    scores, missing = scores[:, :k], (0, k - ids.shape[1])
    if not missing[1]:
        return ids, scores
    return pad(ids, missing, value=n_labels), pad(scores, missing, value=-math.inf)


def expected_votes(network):
    """Make the check of the attribute ``neighbors`` of a network."""
    expected = {"n_labels": network.n_labels, "index.dim": network.vector_dim}
    return absent_or(optional(part(NeighborVotes, **expected)))
