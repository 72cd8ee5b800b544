"""Candidate labels of documents: labels of the best clusters, and best labels."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad

from .state import indices, number


class LabelClusters(nn.Module):
    """Clusters of labels, as tables on the device.

    Parameters
    ----------
    groups : int ndarray of shape (n_labels,)
        Cluster of each label, from 0 to n_clusters - 1. No cluster is empty.

    Attributes
    ----------
    n_labels, n_clusters : int
    groups : int64 tensor of shape (n_labels + 1,)
        Cluster of each label, and n_clusters for the padding.
    slots : int64 tensor of shape (n_labels + 1,)
        Place of each label within its cluster.
    members : int64 tensor of shape (n_clusters, largest cluster)
        Labels of each cluster, padded with n_labels.
    """

    def __init__(self, groups):
        super().__init__()
        self._make_tables(groups)

    def _make_tables(self, groups):
        self.n_labels, self.n_clusters = len(groups), int(groups.max()) + 1
        order = np.argsort(groups, kind="stable")
        sizes = np.bincount(groups, minlength=self.n_clusters)
        slots = np.empty(self.n_labels, np.int64)
        slots[order] = np.arange(self.n_labels) - np.repeat(
            sizes.cumsum() - sizes, sizes
        )
        members = np.full((self.n_clusters, sizes.max()), self.n_labels, np.int64)
        members[groups, slots] = np.arange(self.n_labels)
        # The last entry makes n_labels, the padding of label columns, a valid index.
        self.register_buffer("groups", _append(groups, self.n_clusters))
        self.register_buffer("slots", _append(slots, 0))
        self.register_buffer("members", torch.from_numpy(members))

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n, n_clusters = self.n_labels, self.n_clusters
        return {
            "n_labels": number(1, whole=True),
            "n_clusters": number(1, n, whole=True),
            "groups": indices(n + 1, high=n_clusters + 1),
            "slots": indices(n + 1, high=n),
            "members": self._check_members,
        }

    def _check_members(self, members, name):
        n_labels, n_clusters, groups = self.n_labels, self.n_clusters, self.groups[:-1]
        if int(groups.max()) + 1 != n_clusters:
            raise ValueError(f"{name}: the labels are not in {n_clusters} clusters.")
        largest = int(torch.bincount(groups).max())
        indices(n_clusters, largest, high=n_labels + 1)(members, name)
        # The tables are redundant: the clusters of the labels determine all of them.
        expected = LabelClusters(groups.numpy(force=True))
        same = all(
            torch.equal(t.cpu(), expected.get_buffer(n))
            for n, t in self._buffers.items()
        )
        if not same:
            raise ValueError(f"{name} does not agree with the clusters of the labels.")

    def add_rows(self, groups):
        """Add labels at the end, in new tables.

        Parameters
        ----------
        groups : int64 tensor of shape (n_new,)
            Cluster of each new label.
        """
        self._replace_groups(torch.cat([self.groups[:-1], groups.to(self.groups)]))

    def keep_rows(self, labels):
        """Keep some labels, in the given order, in new tables.

        Clusters without labels are dropped, and those after them move up.

        Parameters
        ----------
        labels : int64 tensor of shape (n_kept,)

        Returns
        -------
        int64 tensor of shape (n_clusters,)
            The clusters that are kept, ascending.
        """
        groups = self.groups[labels.to(self.groups.device)]
        clusters, groups = groups.unique(return_inverse=True)
        self._replace_groups(groups)
        return clusters

    def _replace_groups(self, groups):
        device = self.groups.device
        self._make_tables(groups.numpy(force=True))
        self.to(device)

    def targets(self, positives):
        """Return the clusters of each document's positives, each once.

        Parameters
        ----------
        positives : int64 tensor of shape (n_docs, n_positives)
            Label columns padded with n_labels.

        Returns
        -------
        int64 tensor of the same shape, ascending, padded with n_clusters
        """
        clusters = self.groups[positives].sort(dim=1).values
        is_repeated = pad(clusters[:, 1:] == clusters[:, :-1], (1, 0))
        return clusters.masked_fill(is_repeated, self.n_clusters).sort(dim=1).values

    def top(self, cluster_scores, k):
        """Return the labels of each document's k best clusters.

        Parameters
        ----------
        cluster_scores : tensor of shape (n_docs, n_clusters)
        k : int

        Returns
        -------
        ids : int64 tensor of shape (n_docs, k * largest cluster)
            Label columns padded with n_labels.
        scores : tensor of the same shape
            Score of each label's cluster.
        """
        best = cluster_scores.topk(k, dim=1)  # (n_docs, k)
        scores = best.values.repeat_interleave(self.members.shape[1], dim=1)
        return self.members[best.indices].flatten(1), scores

    def retrieve(self, cluster_scores, k, n=None):
        """Return labels in the order of their clusters' scores.

        Labels of one cluster are in the order of their columns.

        Parameters
        ----------
        cluster_scores : tensor of shape (n_docs, n_clusters)
        k : int
            Number of clusters per document whose labels are returned, if `n` is None.
        n : int or None, default=None
            Number of labels per document, from as many clusters as are needed.

        Returns
        -------
        int64 tensor of shape (n_docs, n)
            Label columns, padded at the end with n_labels. Without `n`, there are as
            many columns as k clusters may have labels.
        """
        if n is not None:
            smallest = int(self.groups[:-1].bincount().min())
            k = -(-n // smallest)
        k = min(k, self.n_clusters)
        width = min(self.n_candidates(k), self.n_labels) if n is None else n
        ids, _ = self.top(cluster_scores, k)
        # The padding of each cluster moves behind all labels, which keep their order.
        order = (ids == self.n_labels).byte().argsort(dim=1, stable=True)
        ids = ids.gather(1, order)[:, :width]
        return pad(ids, (0, width - ids.shape[1]), value=self.n_labels)

    def n_candidates(self, k):
        """Return the largest number of labels that k clusters can hold."""
        return k * self.members.shape[1]

    def spread_scores(self, cluster_scores):
        """Return the score of each label's cluster, of shape (n_docs, n_labels)."""
        return cluster_scores[:, self.groups[:-1]]

    def candidates(self, cluster_scores, positives, k):
        """Return the labels to rank in training.

        They are the labels of each document's k best clusters and all its positives.
        Positives from other clusters are appended one by one, so that they do not
        replace other candidates (Algorithm 1 of LightXML). Each positive occurs exactly
        once, and no label occurs twice.

        Parameters
        ----------
        cluster_scores : tensor of shape (n_docs, n_clusters)
        positives : int64 tensor of shape (n_docs, n_positives)
            Label columns padded with n_labels.
        k : int
            Number of clusters per document.

        Returns
        -------
        ids : int64 tensor of shape (n_docs, n_candidates)
            Label columns padded with n_labels, so that ``ids < n_labels`` is
            the mask.
        is_positive : bool tensor of the same shape
        """
        return self.candidates_of(cluster_scores.topk(k, dim=1).indices, positives)

    def candidates_of(self, clusters, positives):
        """Return the labels to rank in training, of clusters that have been chosen.

        Parameters
        ----------
        clusters : int64 tensor of shape (n_docs, k)
            Clusters of each document, each once.
        positives : int64 tensor of shape (n_docs, n_positives)
            Label columns padded with n_labels.

        Returns
        -------
        ids, is_positive
            As `candidates` returns them.
        """
        k = clusters.shape[1]
        ids = self.members[clusters].flatten(1)  # (n_docs, k * largest cluster)

        # The rank of each positive's cluster among the k best; -1 if it is not there.
        n_docs, n_found = ids.shape
        ranks = ids.new_full((n_docs, self.n_clusters + 1), -1)
        ranks.scatter_(
            1, clusters, torch.arange(k, device=ids.device).expand(n_docs, k)
        )
        ranks = ranks.gather(1, self.groups[positives])  # (n_docs, n_positives)
        is_found = ranks >= 0
        # The column of each positive: within its cluster's columns, or appended.
        appended = torch.arange(positives.shape[1], device=ids.device) + n_found
        columns = ranks * self.members.shape[1] + self.slots[positives]
        columns = torch.where(is_found, columns, appended)

        ids = torch.cat([ids, positives.masked_fill(is_found, self.n_labels)], dim=1)
        is_positive = torch.zeros_like(ids, dtype=torch.bool)
        return ids, is_positive.scatter_(1, columns, True) & (ids < self.n_labels)


def best_labels(scores, k, n_labels, ids=None):
    """Return the k best labels of each document.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_ranked)
        Scores of the labels that were ranked, -inf at padding.
    k : int
    n_labels : int
    ids : int64 tensor of shape (n_docs, n_ranked) or None
        Columns of the labels that were ranked; None is all labels.

    Returns
    -------
    ids : int64 tensor of shape (n_docs, k), padded with n_labels
    scores : tensor of shape (n_docs, k), best first, padded with -inf
    """
    scores, best = scores.topk(min(k, scores.shape[1]), dim=1)
    ids = best if ids is None else ids.gather(1, best)
    ids = ids.masked_fill(scores == -torch.inf, n_labels)
    missing = (0, k - ids.shape[1])
    if not missing[1]:
        return ids, scores
    return pad(ids, missing, value=n_labels), pad(scores, missing, value=-torch.inf)


def log_odds(logarithms):
    """Compute log-odds, log p - log(1 - p), from logarithms of probabilities."""
    # The clamp keeps the log-odds of probability 1 finite.
    return logarithms - (-torch.expm1(logarithms.clamp(max=-1e-30))).log()


def _append(values, padding):
    return torch.from_numpy(np.append(values, padding).astype(np.int64))
