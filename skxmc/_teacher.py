"""Teacher knowledge of TReaderXML: what similar documents are about, and its words."""

import numbers
import reprlib
from collections import Counter
from collections.abc import Set

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components

from ._top_k import top_k_per_row
from ._validation import check_texts
from ._words import nfc
from .nn.search import NearestVectors
from .nn.state import array, number, ones, part, refuse
from .nn.text import padded_features

# Documents whose neighbours are looked up at once.
_DOCS_AT_ONCE = 4096


class Teacher:
    """Teacher knowledge: labels of the nearest documents, and their parents.

    Parameters
    ----------
    vectors : float32 ndarray of shape (n_docs, dim)
        Of the documents to learn from (Eq. 1).
    groups : int ndarray of shape (n_docs,)
        Equal for documents that repeat each other.
    Y : csr matrix of shape (n_docs, n_labels)
    parents : csr matrix of shape (n_labels, n_nodes)
        Nodes are the labels, and other parents beyond them.
    descriptions : int32 ndarray of shape (n_nodes, label_length)
        Words of each node, padded with n_words.
    n_words, n_neighbors : int
    strict : bool
        Algorithm 1 to the letter: labels without a parent are passed over.
    exact : bool
    seed : int

    Attributes
    ----------
    knowledge : csr matrix of shape (n_unique, n_nodes)
        Nodes that a document, or those that repeat it, teach.
    """

    def __init__(
        self,
        vectors,
        groups,
        Y,
        parents,
        descriptions,
        *,
        n_words,
        n_neighbors,
        strict=False,
        exact=True,
        seed=0,
    ):
        self.n_neighbors = n_neighbors
        # A document and those that repeat it are one: what is left out is left out.
        self.groups, first, members = np.unique(
            groups, return_index=True, return_inverse=True
        )
        n_docs, n_unique = len(groups), len(self.groups)
        rows = (np.ones(n_docs, np.float32), (members, np.arange(n_docs)))
        labels = sp.csr_matrix(rows, (n_unique, n_docs)) @ sp.csr_matrix(Y)
        own = sp.identity(Y.shape[1], np.float32, format="csr")
        own.resize(parents.shape)
        if strict:
            own = sp.diags((np.diff(parents.indptr) > 0).astype(np.float32)) @ own
        self.knowledge = _binary(labels @ (own + parents))
        self.index = NearestVectors(
            torch.from_numpy(vectors[first]), exact=exact, seed=seed
        )
        # Of each place in a description, the word of each node.
        self.words = [one_hot(column, n_words) for column in descriptions.T]

    @property
    def n_words(self):
        """Words that descriptions may hold."""
        return self.words[0].shape[1]

    @property
    def label_length(self):
        """Words of a description."""
        return len(self.words)

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n_unique, n_nodes = self.knowledge.shape
        return {
            "n_neighbors": number(1, whole=True),
            "groups": array(n_unique, kinds="i"),
            "knowledge": ones(n_unique, n_nodes),
            "index": part(NearestVectors, n_vectors=n_unique),
            "words": self._check_words,
        }

    def _check_words(self, words, name):
        if not isinstance(words, list) or not words:
            refuse(name, "a list of matrices", words)
        for i, matrix in enumerate(words):
            ones(self.knowledge.shape[1], self.n_words)(matrix, f"{name}.{i}")

    def teach(self, vectors, groups=None):
        """Nodes that documents learn from: their nearest documents' (Algorithm 1).

        Parameters
        ----------
        vectors : float32 ndarray of shape (n_docs, dim)
        groups : int ndarray of shape (n_docs,) or None
            As in the constructor: a document does not learn from itself, nor from
            one that repeats it. None: from all.

        Returns
        -------
        csr matrix of shape (n_docs, n_nodes)
        """
        parts = []
        for start in range(0, len(vectors), _DOCS_AT_ONCE):
            part = slice(start, start + _DOCS_AT_ONCE)
            own = None if groups is None else groups[part]
            parts.append(self._teach(vectors[part], own))
        return sp.vstack(parts, format="csr")

    def _teach(self, vectors, groups):
        more = groups is not None
        found, _ = self.index.search(torch.from_numpy(vectors), self.n_neighbors + more)
        found = found.numpy()
        learns = np.broadcast_to(vectors.any(axis=1)[:, None], found.shape).copy()
        if more:
            own = self.groups[found] == groups[:, None]
            learns &= ~own
            if found.shape[1] > self.n_neighbors:  # one more was searched for
                learns[:, -1] &= own.any(axis=1)
        rows = np.broadcast_to(np.arange(len(found))[:, None], found.shape)
        ones = np.ones(learns.sum(), np.float32)
        shape = len(found), len(self.groups)
        near = sp.csr_matrix((ones, (rows[learns], found[learns])), shape)
        return _binary(near @ self.knowledge)

    def sequences(self, nodes):
        """Mean of the nodes' descriptions, place by place, as words and weights.

        Parameters
        ----------
        nodes : csr matrix of shape (n_docs, n_nodes)

        Returns
        -------
        csr matrix of shape (n_docs * label_length, n_words)
            Row i * label_length + j holds place j of document i. Rows sum to 1, or
            are empty.
        """
        places = [nodes @ words for words in self.words]
        n_docs, n_places = nodes.shape[0], len(places)
        order = np.arange(n_docs * n_places).reshape(n_places, n_docs).T.ravel()
        rows = sp.vstack(places, format="csr")[order]
        sums = np.asarray(rows.sum(axis=1)).ravel()
        rows.data /= np.repeat(sums, np.diff(rows.indptr))
        return rows


class TaughtDocuments:
    """Words of documents in their order, and what their teacher knows.

    Parameters
    ----------
    X : csr matrix of shape (n_docs, n_words)
        Words of each document where they stand: columns may repeat. The values
        weigh word vectors.
    vectors : float32 ndarray of shape (n_docs, dim)
        What neighbours are found by.
    teacher : Teacher or None, default=None
    nodes : csr matrix of shape (n_docs, n_nodes) or None, default=None
        Teacher knowledge of each document.
    """

    def __init__(self, X, vectors, teacher=None, nodes=None):
        self.X, self.vectors = X, vectors
        self.teacher, self.nodes = teacher, nodes

    def __len__(self):
        return self.X.shape[0]

    @property
    def lengths(self):
        """Words of each document."""
        return np.diff(self.X.indptr)

    def batch(self, rows):
        """Words and weights of documents, and those of the teacher's sequences."""
        words, weights = padded_features(self.X, rows)
        batch = {"words": words, "weights": weights}
        if self.teacher is not None:
            taught = self.teacher.sequences(self.nodes[rows])
            words, weights = padded_features(taught, np.arange(taught.shape[0]))
            batch |= {"teacher": words, "teacher_weights": weights}
        return batch


def _binary(matrix):
    """A CSR matrix with 1 where there is anything, its columns sorted."""
    matrix = matrix.tocsr()
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    matrix.data = np.ones(matrix.nnz, np.float32)
    return matrix


def one_hot(columns, n_columns):
    """CSR matrix with a 1 in the column of each row; none where it is n_columns."""
    there = columns < n_columns
    indptr = np.append(0, there.cumsum())
    ones = np.ones(indptr[-1], np.float32)
    return sp.csr_matrix((ones, columns[there], indptr), (len(columns), n_columns))


def repeated(X):
    """Numbers of documents, equal for those of the same words, places and weights."""
    n_words, lengths = X.shape[1], np.diff(X.indptr)
    draw = np.random.default_rng(0)
    codes = draw.integers(2**63, size=n_words, dtype=np.uint64)[X.indices]
    places = np.arange(X.nnz) - np.repeat(X.indptr[:-1], lengths)
    powers = np.full(lengths.max(initial=0), 0x9E3779B97F4A7C15, np.uint64).cumprod()
    codes = codes * powers[places] * (2 * X.data.view(np.uint32).astype(np.uint64) + 1)
    sums = np.append(np.uint64(0), codes.cumsum(dtype=np.uint64))
    return np.unique(sums[X.indptr[1:]] - sums[X.indptr[:-1]], return_inverse=True)[1]


def largest(X, n):
    """Columns of the n largest values of each row, padded with n_columns."""
    order, rows, places = top_k_per_row(X.data, X.indptr, n)
    columns = np.full((X.shape[0], n), X.shape[1], np.int32)
    columns[rows, places] = X.indices[order]
    return columns


def with_largest(X, n):
    """The n largest values of each row, by magnitude, where they stand."""
    lengths = np.diff(X.indptr)
    if lengths.max(initial=0) <= n:
        return X
    kept = np.sort(top_k_per_row(abs(X.data), X.indptr, n)[0])
    indptr = np.append(0, np.minimum(lengths, n).cumsum())
    return sp.csr_matrix((X.data[kept], X.indices[kept], indptr), X.shape)


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
    parents = _binary(parents)
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
