"""Weights of a trained network for a new one, with more or other labels and words."""

import torch

from .all_labels import AllLabels
from .bags import FeatureVectors
from .heads import LabelScores, LinearHead
from .shortlist import LabelClusters

__all__ = ["inherit"]


@torch.no_grad()
def inherit(network, before, labels, clusters=None, words=None, *, left_out=()):
    """Give a network the weights of another one, in place.

    Labels, clusters and words that the other network does not know keep the weights
    that they have, and so do modules that it does not have.

    Parameters
    ----------
    network : Module
        A network, or a part of one.
    before : Module
        The trained network, or the same part of it.
    labels : int64 tensor of shape (n_labels,)
        Column that each label had in the other network, or -1 for a new label.
    clusters : int64 tensor of shape (n_clusters,) or None, default=None
        Cluster of the other network that each cluster continues, or -1 for a new one.
        None if labels are not clustered. The linear heads then score labels.
    words : int64 tensor of shape (n_words,) or None, default=None
        For a `LabelScores` with words, the column that each word had, or -1.
    left_out : tuple of str, default=()
        Names of modules, parameters and buffers whose weights are not taken.

    Raises
    ------
    ValueError
        If a weight has another shape than before.
    """
    known = dict(before.named_modules())
    outputs = labels if clusters is None else clusters
    for name, module in network.named_modules():
        if name not in known or isinstance(module, LabelClusters):
            continue
        if any(name == other or name.startswith(f"{other}.") for other in left_out):
            continue
        old = known[name]
        if isinstance(module, AllLabels):
            _copy_rows(module.vectors, old.vectors, labels)
        elif isinstance(module, LabelScores):
            _copy_label_scores(module, old, labels, words)
        elif isinstance(module, LinearHead):
            _copy_rows(module.weight, old.weight, outputs)
            _copy_rows(module.bias, old.bias, outputs)
        elif isinstance(module, FeatureVectors):
            _copy_words(module.table, old.table, f"{name}.table")
        else:
            _copy_own(module, old, name, left_out)


def copy_known_rows(table, old, rows):
    """Copy rows of a trained table to those of a new one, in place.

    Parameters
    ----------
    table, old : tensors of shape (n_rows, ...)
    rows : int64 tensor of shape (n,), n <= n_rows
        For each of the first rows of `table`, its row in `old`, or -1 to keep it.
    """
    rows = rows.to(table.device)
    known = rows >= 0
    table[: len(rows)][known] = old.to(table)[rows[known]]


def _copy_rows(parameter, old, rows):
    copy_known_rows(parameter.data, old.data, rows)


def _copy_label_scores(head, old, labels, words):
    """Copy identity embeddings, whose rows may be in another order than the labels."""
    rows = labels.to(old.identity.device)
    if old.rows is not None:
        rows = torch.where(rows < 0, -1, old.rows[rows])
    if head.rows is not None:
        rows = rows[head.rows[:-1].argsort().to(rows.device)]
    _copy_rows(head.identity, old.identity, rows)
    if words is not None:
        _copy_rows(head.word_vectors, old.word_vectors, words)


def _copy_words(table, old, name):
    """Copy the rows of words, the first of which are those of before."""
    if table.shape[1:] != old.shape[1:]:
        raise _shape_error(name, table, old)
    n_known = min(len(table), len(old)) - 1  # the last row is padding
    table.data[:n_known] = old.data[:n_known].to(table)


def _copy_own(module, old, name, left_out):
    """Copy the parameters and buffers of a module itself, not those of its parts."""
    pairs = [
        (f"{name}.{key}".lstrip("."), tensor, getattr(old, key, None))
        for kind in (module._parameters, module._buffers)
        for key, tensor in kind.items()
    ]
    for full, tensor, value in pairs:
        if tensor is None or value is None or full in left_out:
            continue
        if tensor.shape != value.shape:
            raise _shape_error(full, tensor, value)
        tensor.data.copy_(value.data)


def _shape_error(name, tensor, old):
    return ValueError(
        f"The network's {name} has the shape {tuple(tensor.shape)}, and had "
        f"{tuple(old.shape)} in the fit that warm_start=True goes on from: a parameter "
        "has changed since then. Set it back, or fit with warm_start=False."
    )
