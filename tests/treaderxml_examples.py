"""Documents of TReaderXML, and teachers of them."""

import numpy as np
import scipy.sparse as sp
from hypothesis import strategies as st

from skxmc.nn.teacher import TaughtDocuments, Teacher

DIM, N_WORDS, LENGTH = 8, 7, 3
MASKS, POOLINGS = [None, "causal", "upper"], ["mean", "max", "first"]
WITH_WAVES = dict(positional="sinusoidal")
seeds = st.integers(0, 2**31)

# Words of documents, the nodes that teach them, and the words of these.
TEXTS = [[0, 3, 3, 5], [2], [], [6, 1, 4, 0, 0, 2], [], [1, 0]]
NODES = [[0, 2], [], [1], [0, 1, 2, 3], [], [3]]
WORDS_OF_NODES = [[5, 5, 1], [0, N_WORDS, N_WORDS], [5, 2, N_WORDS], 3 * [N_WORDS]]
NOTHING = [1, 4, 5]  # documents whose nodes say nothing


def csr(rows, n_columns):
    """A CSR matrix with ones where rows say, in their order."""
    columns = np.array([j for row in rows for j in row], np.int32)
    indptr = np.append(0, np.cumsum([len(row) for row in rows]))
    ones = np.ones(len(columns), "f4")
    return sp.csr_matrix((ones, columns, indptr), (len(rows), n_columns))


def make_teacher(vectors, groups, Y, parents, words, *, n_neighbors=2, strict=False):
    Y, parents = (sp.csr_matrix(each, dtype="f4") for each in (Y, parents))
    words, options = np.array(words, np.int32), dict(n_words=N_WORDS, strict=strict)
    return Teacher(
        vectors, groups, Y, parents, words, n_neighbors=n_neighbors, **options
    )


def teacher_of_words(words):
    """A teacher of one document, to turn nodes into sequences."""
    n, one = len(words), np.ones((1, 1), "f4")
    return make_teacher(
        one, np.zeros(1, int), np.zeros((1, n)), np.zeros((n, n)), words
    )


def make_docs():
    vectors = np.zeros((len(TEXTS), 2), "f4")
    teacher, nodes = teacher_of_words(WORDS_OF_NODES), csr(NODES, 4)
    return TaughtDocuments(csr(TEXTS, N_WORDS), vectors, teacher, nodes)
