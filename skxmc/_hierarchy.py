"""Parents of labels, as the user names them and as a matrix."""

import numbers
import reprlib
from collections import Counter
from collections.abc import Set

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from ._validation import check_texts
from ._words import nfc
from .nn.teacher import make_binary


def check_label_parents(label_parents, parent_texts, n_labels, label_texts=None):
    """Parents of labels as a matrix, and the texts of those that are no labels.

    Parameters
    ----------
    label_parents, parent_texts
        As of `TReaderXMLClassifier`, but for "clusters" and None.
    n_labels : int
    label_texts : list of n_labels str or None, default=None
        A name that one label alone has is that label.

    Returns
    -------
    parents : csr matrix of shape (n_labels, n_nodes), float32
        0 and 1; the first n_labels columns are labels.
    texts : list of n_nodes - n_labels str

    Raises
    ------
    ValueError
        If lengths or columns do not fit, or a label is its own ancestor.
    """
    texts = [] if parent_texts is None else check_texts(parent_texts, "parent_texts")
    n_nodes = n_labels + len(texts)
    if sp.issparse(label_parents):
        parents = sp.csr_matrix(label_parents, dtype=np.float32, copy=True)
        widths = {n_nodes, len(texts) or n_nodes}
        if parents.shape[0] != n_labels or parents.shape[1] not in widths:
            raise ValueError(
                f"label_parents has shape {parents.shape}; with {n_labels} labels and "
                f"{len(texts)} parent_texts it must have {n_labels} rows and "
                f"{' or '.join(map(str, sorted(widths)))} columns."
            )
        if parents.shape[1] != n_nodes:  # parent_texts alone
            labels = sp.csr_matrix((n_labels, n_labels), dtype=np.float32)
            parents = sp.hstack([labels, parents])
    else:
        names = [None] * n_labels if label_texts is None else list(label_texts)
        parents, texts = _listed_parents(label_parents, names, texts)
    parents = make_binary(parents)
    _check_acyclic(parents[:, :n_labels])
    return parents, texts


def _listed_parents(label_parents, label_texts, texts):
    nodes = [*label_texts, *texts]
    n_labels, n_nodes = len(label_texts), len(nodes)
    listed = isinstance(label_parents, (list, tuple))
    listed = listed or getattr(label_parents, "ndim", 0) == 1
    if not listed or len(label_parents) != n_labels:
        short = reprlib.repr(label_parents)
        what = f"{len(label_parents)} entries" if listed else short
        raise ValueError(
            f"label_parents must be a sparse matrix or a list with the parents of each "
            f"of the {n_labels} labels; got {what}."
        )
    counts = Counter(nodes)
    known = {name: node for node, name in enumerate(nodes) if counts[name] == 1}
    named, rows, columns = {}, [], []
    for label, parents in enumerate(label_parents):
        if parents is None:
            continue
        if isinstance(parents, str) or not hasattr(parents, "__iter__"):
            parents = [parents]
        if isinstance(parents, Set):  # whose order is chance
            parents = sorted(parents, key=str)
        for parent in parents:
            if isinstance(parent, str):
                parent = nfc(parent)
                column = known.get(parent)
                if column is None:
                    column = named.setdefault(parent, n_nodes + len(named))
            elif _is_column(parent, n_nodes):
                column = int(parent)
            else:
                raise ValueError(
                    f"label_parents[{label}] names the parent {parent!r}; parents are "
                    f"columns from 0 to {n_nodes - 1} ({n_labels} labels and "
                    f"{len(texts)} parent_texts), or names."
                )
            rows.append(label)
            columns.append(column)
    shape = n_labels, n_nodes + len(named)
    ones = np.ones(len(rows), np.float32)
    return sp.csr_matrix((ones, (rows, columns)), shape), texts + list(named)


def _is_column(value, n_columns):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return whole and 0 <= value < n_columns


def _check_acyclic(parents):
    n_parts, parts = connected_components(parents, connection="strong")
    own = np.flatnonzero(parents.diagonal())
    if n_parts == parents.shape[0] and not len(own):
        return
    part = parts[own[0]] if len(own) else np.bincount(parts).argmax()
    labels = np.flatnonzero(parts == part).tolist()
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    raise ValueError(
        f"label_parents has a cycle among the labels {labels[:5]}{more}: each is its "
        "own ancestor. Remove one of the links between them."
    )
