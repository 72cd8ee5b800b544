"""The labels that LightDXML classifies for every document, and those it shortlists."""

import numpy as np
import torch

from .nn.inherit import copy_known_rows, inherit

__all__ = ["continue_split", "inherit_classifier", "split_labels"]


def split_labels(counts, n_frequent):
    """Split the labels that have documents into frequent ones and the others.

    Parameters
    ----------
    counts : ndarray of shape (n_labels,)
        Number of each label's training documents, or the sum of their weights.
    n_frequent : int
        Number of frequent labels.

    Returns
    -------
    frequent, others : int ndarrays
        Label columns. Labels without documents are in neither of them.
    """
    by_count = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    frequent, others = np.split(by_count, [n_frequent])
    return frequent, np.sort(others)


def continue_split(start, counts, n_frequent):
    """Split the labels if a fit goes on from another one.

    Frequent labels stay frequent, and the others stay among the others, whether they
    have documents in this fit or not. Labels that get their first documents become
    frequent as long as there are fewer than `n_frequent`.

    Parameters
    ----------
    start : skxmc._warm_start.Start
    counts, n_frequent
        As in `split_labels`.

    Returns
    -------
    frequent, others : int ndarrays
    is_known : bool tensor of shape (n_frequent + n_others,)
        Which of them have been classified before.
    """
    network, columns = start.network, start.find_columns()
    frequent, others = (
        columns[labels.numpy(force=True)]
        for labels in (network.frequent, network.indexed)
    )
    frequent, others = frequent[frequent >= 0], others[others >= 0]
    is_known = np.zeros(len(counts), bool)
    is_known[frequent] = is_known[others] = True
    new = np.flatnonzero(~is_known & (counts > 0))
    new = new[np.argsort(-counts[new], kind="stable")]
    first, later = np.split(new, [max(0, n_frequent - len(frequent))])
    frequent, others = np.append(frequent, first), np.sort(np.append(others, later))
    return frequent, others, torch.from_numpy(is_known[np.append(frequent, others)])


@torch.no_grad()
def inherit_classifier(network, start):
    """Give a LightDXMLNetwork the weights of the one that its fit goes on from.

    Parameters
    ----------
    network : LightDXMLNetwork
    start : skxmc._warm_start.Start
    """
    before, labels = start.network, torch.from_numpy(start.labels)
    own = ("frequent_ranker", "frequent", "indexed", "places", "label_vectors")
    inherit(network, before, labels, left_out=(*own, "n_turns"))

    # Row of each label among those that were ranked before, or -1.
    ranked = torch.cat([before.frequent, before.indexed]).cpu()
    places = torch.full((before.n_labels + 1,), -1)
    places[ranked] = torch.arange(len(ranked))
    places = places[labels]
    n_frequent = len(network.frequent)
    rows = places[torch.cat([network.frequent, network.indexed]).cpu()]
    copy_known_rows(network.label_vectors, before.label_vectors, rows)
    rows, head = rows[:n_frequent], network.frequent_ranker
    copy_known_rows(head.weight.data, before.frequent_ranker.weight.data, rows)
    copy_known_rows(head.bias.data, before.frequent_ranker.bias.data, rows)
