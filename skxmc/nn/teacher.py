"""The teacher of TReaderXML: what the documents nearest to a text are about."""

import numpy as np
import scipy.sparse as sp
import torch

from .search import NearestVectors
from .state import array, number, ones, part, refuse
from .text import padded_features

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
        self.knowledge = make_binary(labels @ (own + parents))
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
        return make_binary(near @ self.knowledge)

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


def make_binary(matrix):
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
