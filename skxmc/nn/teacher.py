"""The teacher of TReaderXML: the labels of the documents that are nearest to a text."""

import copy

import numpy as np
import scipy.sparse as sp
import torch

from .search import NearestVectors
from .state import absent_or, array, number, ones, part, refuse
from .text import padded_features

# Number of documents whose neighbours are searched for at once.
_DOCS_AT_ONCE = 4096


class Teacher:
    """Source of teacher knowledge: labels of the nearest documents, and their parents.

    Parameters
    ----------
    vectors : float32 ndarray of shape (n_docs, dim)
        Vectors of the training documents (Eq. 1).
    groups : int ndarray of shape (n_docs,)
        Group of each document. Documents with the same text have the same group.
    Y : csr matrix of shape (n_docs, n_labels)
        Labels of the training documents.
    parents : csr matrix of shape (n_labels, n_nodes)
        Parents of each label. The first n_labels nodes are the labels themselves, and
        the others are parents that are not labels.
    descriptions : int32 ndarray of shape (n_nodes, label_length)
        Words that describe each node, padded with n_words.
    n_words : int
        Number of words that descriptions may hold.
    n_neighbors : int
        Number of nearest documents that teach a document.
    strict : bool
        Whether labels without a parent are left out, as Algorithm 1 says literally.
    exact : bool
        Whether neighbours are searched for exactly. Otherwise a graph is used.
    seed : int
        Seed of the graph.

    Attributes
    ----------
    groups : int ndarray of shape (n_unique,)
        The distinct groups, sorted.
    knowledge : csr matrix of shape (n_unique, n_nodes)
        Nodes that each group of documents teaches: labels and their parents.
    index : NearestVectors
        Index of the vectors of the groups.
    words : list of csr matrices of shape (n_nodes, n_words)
        One-hot matrices of the descriptions, one for each place.
    parents : csr matrix of shape (n_labels, n_nodes) or None
        Parents of each label. None if the teacher comes from an older folder.
    """

    parents = None

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
        # Documents with the same text become one, or a document that must not learn
        # from itself could still learn its own labels from a copy.
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

        self.words = [one_hot(column, n_words) for column in descriptions.T]
        self.parents = make_binary(parents)

    @property
    def n_words(self):
        """Number of words that descriptions may hold."""
        return self.words[0].shape[1]

    @property
    def label_length(self):
        """Number of words of a description."""
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
            "parents": absent_or(self._check_parents),
        }

    def _check_parents(self, parents, name):
        n_labels = parents.shape[0] if sp.issparse(parents) else 0
        ones(min(n_labels, self.knowledge.shape[1]), self.knowledge.shape[1])(
            parents, name
        )

    def _check_words(self, words, name):
        if not isinstance(words, list) or not words:
            refuse(name, "a list of matrices", words)
        for i, matrix in enumerate(words):
            ones(self.knowledge.shape[1], self.n_words)(matrix, f"{name}.{i}")

    def add_labels(self, descriptions, n_labels):
        """Return a teacher that knows more labels, which no document has yet.

        Parameters
        ----------
        descriptions : int ndarray of shape (n_new, label_length)
            Words that describe each new label, padded with n_words.
        n_labels : int
            Number of labels so far. The new ones come after them, before the parents
            that are no labels.
        """
        n_new = len(descriptions)
        empty = sp.csr_matrix((self.knowledge.shape[0], n_new), dtype=np.float32)
        labels, parents = self.knowledge[:, :n_labels], self.knowledge[:, n_labels:]
        teacher = copy.copy(self)
        teacher.knowledge = sp.hstack([labels, empty, parents], format="csr")
        teacher.words = [
            sp.vstack(
                [words[:n_labels], one_hot(column, self.n_words), words[n_labels:]],
                format="csr",
            )
            for words, column in zip(self.words, descriptions.T, strict=True)
        ]
        if self.parents is not None:
            labels, parents = self.parents[:, :n_labels], self.parents[:, n_labels:]
            empty = sp.csr_matrix((n_labels, n_new), dtype=np.float32)
            parents = sp.hstack([labels, empty, parents], format="csr")
            parents.resize(n_labels + n_new, parents.shape[1])
            teacher.parents = parents
        return teacher

    def keep_labels(self, labels, n_labels):
        """Return a teacher that knows some labels only, in the given order.

        Parameters
        ----------
        labels : int ndarray of shape (n_kept,)
        n_labels : int
            Number of labels so far.
        """
        nodes = np.append(labels, np.arange(n_labels, self.knowledge.shape[1]))
        teacher = copy.copy(self)
        teacher.knowledge = make_binary(self.knowledge[:, nodes])
        teacher.words = [words[nodes] for words in self.words]
        if self.parents is not None:
            teacher.parents = make_binary(self.parents[labels][:, nodes])
        return teacher

    def teach(self, vectors, groups=None):
        """Return the teacher knowledge of documents (Algorithm 1).

        Parameters
        ----------
        vectors : float32 ndarray of shape (n_docs, dim)
            Vectors of the documents. A document without a vector (0) learns nothing.
        groups : int ndarray of shape (n_docs,) or None
            Groups as in the constructor, for training documents, which do not learn
            from their own group. None lets documents learn from all groups.

        Returns
        -------
        csr matrix of shape (n_docs, n_nodes)
            1 for the nodes that the nearest documents teach.
        """
        parts = []
        for start in range(0, len(vectors), _DOCS_AT_ONCE):
            part = slice(start, start + _DOCS_AT_ONCE)
            own = None if groups is None else groups[part]
            parts.append(self._teach(vectors[part], own))
        return parts[0] if len(parts) == 1 else sp.vstack(parts, format="csr")

    def _teach(self, vectors, groups):
        # One more neighbour is searched for if the own group will be left out.
        excludes_own = groups is not None
        found, _ = self.index.search(
            torch.from_numpy(vectors), self.n_neighbors + excludes_own
        )
        found = found.numpy()  # (n_docs, n_neighbors or one more)
        learns = np.broadcast_to(vectors.any(axis=1)[:, None], found.shape).copy()
        if excludes_own:
            is_own = self.groups[found] == groups[:, None]
            learns &= ~is_own
            # The additional neighbour only replaces the own group.
            if found.shape[1] > self.n_neighbors:
                learns[:, -1] &= is_own.any(axis=1)
        n_docs, n_nodes = len(found), self.knowledge.shape[1]
        docs = np.broadcast_to(np.arange(n_docs)[:, None], found.shape)[learns]
        nodes, owners = _stored_columns(self.knowledge, found[learns])
        # Numbers of all nodes of all documents, each once.
        keys = np.sort(docs[owners] * n_nodes + nodes)
        keys = keys[_group_starts(keys)]
        starts = np.arange(n_docs + 1) * n_nodes
        indptr = np.searchsorted(keys, starts)
        nodes = keys - starts[:-1].repeat(np.diff(indptr))
        ones = np.ones(len(keys), np.float32)
        return sp.csr_matrix((ones, nodes, indptr), (n_docs, n_nodes))

    def sequences(self, nodes, rows=None):
        """Return the teacher's sequences: mean descriptions of the nodes.

        Parameters
        ----------
        nodes : csr matrix of shape (n_docs, n_nodes)
            Teacher knowledge of the documents, as `teach` returns it.
        rows : int ndarray or None, default=None
            Rows of the documents whose sequences are wanted. None is all of them.

        Returns
        -------
        csr matrix of shape (n_docs * label_length, n_words)
            Row i * label_length + j holds the weights of the words at place j of
            document i's sequence. Rows sum to 1 or are empty.
        """
        rows = np.arange(nodes.shape[0]) if rows is None else rows
        n_sequences, n_words = len(rows) * self.label_length, self.n_words
        nodes, docs = _stored_columns(nodes, rows)
        docs = docs * self.label_length
        keys = []
        for place, words in enumerate(self.words):
            starts = words.indptr[nodes]
            has_word = words.indptr[nodes + 1] > starts
            columns = words.indices[starts[has_word]]
            keys.append((docs[has_word] + place) * n_words + columns)
        keys = np.concatenate(keys)
        # Each word of a sequence once, and where it is first.
        order = np.argsort(keys)
        starts = _group_starts(keys[order])
        counts = np.diff(starts, append=len(keys)).astype(np.float32)
        first = np.minimum.reduceat(order, starts) if len(keys) else starts
        keys = keys[order[starts]]
        rows = keys // n_words
        # In the order of a product of sparse matrices: the last node's words first.
        order = np.argsort(rows * len(order) - first)
        indptr = np.searchsorted(rows, np.arange(n_sequences + 1))
        totals = np.bincount(rows, counts, n_sequences).astype(np.float32)
        weights = counts[order] / totals[rows]
        columns = (keys - rows * n_words)[order]
        return sp.csr_matrix((weights, columns, indptr), (n_sequences, n_words))


class TaughtDocuments:
    """Documents as word sequences, with their teacher knowledge.

    Parameters
    ----------
    X : csr matrix of shape (n_docs, n_words)
        The stored columns of a row are the words of a document in their order. Columns
        may repeat. The values are weights of the word vectors.
    vectors : float32 ndarray of shape (n_docs, dim)
        Vectors by which the teacher finds the nearest documents.
    teacher : Teacher or None, default=None
        Teacher that makes the sequences. None makes batches of words only.
    nodes : csr matrix of shape (n_docs, n_nodes) or None, default=None
        Teacher knowledge of each document, as `Teacher.teach` returns it.
    """

    def __init__(self, X, vectors, teacher=None, nodes=None):
        self.X, self.vectors = X, vectors
        self.teacher, self.nodes = teacher, nodes

    def __len__(self):
        return self.X.shape[0]

    @property
    def lengths(self):
        """Number of words of each document."""
        return np.diff(self.X.indptr)

    def batch(self, rows):
        """Make the batch of some documents.

        Parameters
        ----------
        rows : int ndarray of shape (n_rows,)

        Returns
        -------
        dict of tensors
            ``words`` and ``weights`` have the shape (n_rows, longest), padded with
            n_words and 0. With a teacher, ``teacher`` and ``teacher_weights`` hold its
            sequences in the same form, with n_rows * label_length rows.
        """
        words, weights = padded_features(self.X, rows)
        batch = {"words": words, "weights": weights}
        if self.teacher is not None:
            taught = self.teacher.sequences(self.nodes, rows)
            words, weights = padded_features(taught, np.arange(taught.shape[0]))
            batch |= {"teacher": words, "teacher_weights": weights}
        return batch


def _group_starts(values):
    """Return where each group of equal values starts, of sorted values."""
    is_first = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=is_first[1:])
    return np.flatnonzero(is_first)


def _stored_columns(matrix, rows):
    """Return the stored columns of some rows of a CSR matrix, one row after the other.

    Parameters
    ----------
    matrix : csr matrix
    rows : int ndarray of shape (n_rows,)

    Returns
    -------
    columns : int ndarray of shape (n_stored,)
    owners : int64 ndarray of shape (n_stored,)
        Place in `rows` of the row of each column.
    """
    starts, ends = matrix.indptr[rows], matrix.indptr[rows + 1]
    lengths = ends - starts
    owners = np.arange(len(rows)).repeat(lengths)
    shifts = (ends - lengths.cumsum())[owners]
    return matrix.indices[np.arange(len(owners)) + shifts], owners


def make_binary(matrix):
    """Return a CSR matrix with 1 for each nonzero value, and with sorted columns."""
    matrix = matrix.tocsr()
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    matrix.data = np.ones(matrix.nnz, np.float32)
    return matrix


def one_hot(columns, n_columns):
    """Return a CSR matrix with a 1 in the given column of each row.

    Rows whose column is n_columns, the padding, are empty.
    """
    is_real = columns < n_columns
    indptr = np.append(0, is_real.cumsum())
    ones = np.ones(indptr[-1], np.float32)
    return sp.csr_matrix((ones, columns[is_real], indptr), (len(columns), n_columns))
