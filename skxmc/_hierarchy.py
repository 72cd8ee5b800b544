"""Parents of labels: from the user's lists or matrices to one checked matrix."""

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
    """Turn the parents of labels into a matrix, and check it.

    The columns of the matrix are called nodes: the labels, followed by the parents that
    are not labels.

    Parameters
    ----------
    label_parents, parent_texts
        See `TReaderXMLClassifier`; but not "clusters", and `label_parents` not None.
    n_labels : int
    label_texts : list of n_labels str or None, default=None
        A parent with the name of exactly one label is that label.

    Returns
    -------
    parents : csr matrix of shape (n_labels, n_nodes), float32
        1 for each parent of a label, and 0 otherwise.
    texts : list of n_nodes - n_labels str
        Names of the parents that are not labels.

    Raises
    ------
    ValueError
        If a length or a column is wrong, or a label is its own ancestor.
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
        if parents.shape[1] != n_nodes:  # its columns are those of parent_texts
            labels = sp.csr_matrix((n_labels, n_labels), dtype=np.float32)
            parents = sp.hstack([labels, parents])
    else:
        names = [None] * n_labels if label_texts is None else list(label_texts)
        parents, texts = _make_matrix(label_parents, names, texts)
    parents = make_binary(parents)
    _check_acyclic(parents[:, :n_labels])
    return parents, texts


def _make_matrix(label_parents, label_texts, texts):
    """Turn a list of the labels' parents into a matrix, and extend the parents' texts.

    A name that is neither among `label_texts` nor among `texts` gets a new column.
    """
    names = [*label_texts, *texts]
    n_labels, n_nodes = len(label_texts), len(names)
    is_list = isinstance(label_parents, (list, tuple))
    is_list = is_list or getattr(label_parents, "ndim", 0) == 1
    if not is_list or len(label_parents) != n_labels:
        short = reprlib.repr(label_parents)
        what = f"{len(label_parents)} entries" if is_list else short
        raise ValueError(
            f"label_parents must be a sparse matrix or a list with the parents of each "
            f"of the {n_labels} labels; got {what}."
        )
    counts = Counter(names)
    known = {name: node for node, name in enumerate(names) if counts[name] == 1}
    new, rows, columns = {}, [], []
    for label, parents in enumerate(label_parents):
        if parents is None:
            continue
        if isinstance(parents, str) or not hasattr(parents, "__iter__"):
            parents = [parents]
        if isinstance(parents, Set):  # its order may change from run to run
            parents = sorted(parents, key=str)
        for parent in parents:
            if isinstance(parent, str):
                parent = nfc(parent)
                column = known.get(parent)
                if column is None:
                    column = new.setdefault(parent, n_nodes + len(new))
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
    shape = n_labels, n_nodes + len(new)
    ones = np.ones(len(rows), np.float32)
    return sp.csr_matrix((ones, (rows, columns)), shape), texts + list(new)


def _is_column(value, n_columns):
    is_int = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_int and 0 <= value < n_columns


def _check_acyclic(parents):
    """Refuse a matrix of shape (n_labels, n_labels) with a cycle, and name its labels.

    A cycle is a strongly connected component of several labels, or a label that is
    its own parent.
    """
    n_components, components = connected_components(parents, connection="strong")
    own_parents = np.flatnonzero(parents.diagonal())
    if n_components == parents.shape[0] and not len(own_parents):
        return
    if len(own_parents):
        component = components[own_parents[0]]
    else:
        component = np.bincount(components).argmax()
    labels = np.flatnonzero(components == component).tolist()
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    raise ValueError(
        f"label_parents has a cycle among the labels {labels[:5]}{more}: each is its "
        "own ancestor. Remove one of the links between them."
    )
