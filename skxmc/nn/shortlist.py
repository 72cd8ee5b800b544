"""Candidate labels of a document: clusters of labels, positives added."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad

from .state import indices, number


class LabelClusters(nn.Module):
    """Labels in clusters, as tables that live on the device.

    Parameters
    ----------
    groups : int ndarray of shape (n_labels,)
        Cluster of each label, 0 .. n_clusters - 1.

    Attributes
    ----------
    n_labels, n_clusters : int
    """

    def __init__(self, groups):
        super().__init__()
        self.n_labels, self.n_clusters = len(groups), int(groups.max()) + 1
        order = np.argsort(groups, kind="stable")
        sizes = np.bincount(groups, minlength=self.n_clusters)
        slots = np.empty(self.n_labels, np.int64)
        slots[order] = np.arange(self.n_labels) - np.repeat(
            sizes.cumsum() - sizes, sizes
        )
        members = np.full((self.n_clusters, sizes.max()), self.n_labels, np.int64)
        members[groups, slots] = np.arange(self.n_labels)
        # One entry more than there are labels: a padded label has a cluster too.
        self.register_buffer("groups", _with_pad(groups, self.n_clusters))
        self.register_buffer("slots", _with_pad(slots, 0))
        self.register_buffer("members", torch.from_numpy(members))

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`): tables of disjoint clusters."""
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
            raise ValueError(f"{name}: there are not {n_clusters} clusters.")
        largest = int(torch.bincount(groups).max())
        indices(n_clusters, largest, high=n_labels + 1)(members, name)
        again = LabelClusters(groups.numpy(force=True))
        same = all(
            torch.equal(t.cpu(), again.get_buffer(n)) for n, t in self._buffers.items()
        )
        if not same:
            raise ValueError(f"{name} are not those of a partition of the labels.")

    def targets(self, positives):
        """Clusters of the positives, each once.

        Parameters
        ----------
        positives : int64 tensor of shape (n_docs, n_positives)
            Label columns padded with n_labels.

        Returns
        -------
        int64 tensor of the same shape, ascending, padded with n_clusters
        """
        clusters = self.groups[positives].sort(dim=1).values
        again = pad(clusters[:, 1:] == clusters[:, :-1], (1, 0))
        return clusters.masked_fill(again, self.n_clusters).sort(dim=1).values

    def top(self, cluster_scores, k):
        """Labels of the k best clusters.

        Parameters
        ----------
        cluster_scores : tensor of shape (n_docs, n_clusters)
        k : int

        Returns
        -------
        ids : int64 tensor of shape (n_docs, k * largest cluster)
            Label columns padded with n_labels.
        scores : tensor of the same shape
            Those of the labels' clusters.
        """
        best = cluster_scores.topk(k, dim=1)
        scores = best.values.repeat_interleave(self.members.shape[1], dim=1)
        return self.members[best.indices].flatten(1), scores

    def n_candidates(self, k):
        """Labels that k clusters hold at most: the width of a shortlist."""
        return k * self.members.shape[1]

    def of_labels(self, cluster_scores):
        """Score of each label's cluster, of shape (n_docs, n_labels)."""
        return cluster_scores[:, self.groups[:-1]]

    def candidates(self, cluster_scores, positives, k):
        """Labels to rank in training: those of the top clusters, and all positives.

        Positives whose cluster is not among the k best are added one by one, so
        that they take no place from the others (Algorithm 1 of LightXML). Every
        positive is there exactly once, and no label is there twice.

        Parameters
        ----------
        cluster_scores : tensor of shape (n_docs, n_clusters)
        positives : int64 tensor of shape (n_docs, n_positives)
            Label columns padded with n_labels.
        k : int
            Clusters a document.

        Returns
        -------
        ids : int64 tensor of shape (n_docs, n_candidates)
            Label columns padded with n_labels, so that ``ids < n_labels`` is
            the mask.
        is_positive : bool tensor of the same shape
        """
        clusters = cluster_scores.topk(k, dim=1).indices
        ids = self.members[clusters].flatten(1)

        n_docs, n_found = ids.shape
        place = ids.new_full((n_docs, self.n_clusters + 1), -1)
        place.scatter_(
            1, clusters, torch.arange(k, device=ids.device).expand(n_docs, k)
        )
        place = place.gather(1, self.groups[positives])
        found = place >= 0
        extra = torch.arange(positives.shape[1], device=ids.device) + n_found
        at = place * self.members.shape[1] + self.slots[positives]
        at = torch.where(found, at, extra)

        ids = torch.cat([ids, positives.masked_fill(found, self.n_labels)], dim=1)
        is_positive = torch.zeros_like(ids, dtype=torch.bool)
        return ids, is_positive.scatter_(1, at, True) & (ids < self.n_labels)


def best_labels(scores, k, n_labels, ids=None):
    """The k best of the labels that were ranked.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_ranked)
        -inf where an entry is padding.
    k : int
    n_labels : int
    ids : int64 tensor of shape (n_docs, n_ranked) or None
        What was ranked; None is all labels.

    Returns
    -------
    ids : int64 tensor of shape (n_docs, k), padded with n_labels
    scores : tensor of shape (n_docs, k), best first, padded with -inf
    """
    scores, best = scores.topk(min(k, scores.shape[1]), dim=1)
    ids = best if ids is None else ids.gather(1, best)
    ids = ids.masked_fill(scores == -torch.inf, n_labels)
    missing = (0, k - ids.shape[1])
    return pad(ids, missing, value=n_labels), pad(scores, missing, value=-torch.inf)


def log_odds(logarithms):
    """Log-odds, log p - log(1 - p), of probabilities given by their logarithms."""
    return logarithms - (-torch.expm1(logarithms.clamp(max=-1e-30))).log()


def _with_pad(values, padding):
    return torch.from_numpy(np.append(values, padding).astype(np.int64))
