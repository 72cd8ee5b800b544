"""Matrices of data sets: CSR, float32, with sorted int32 indices."""

import numpy as np
from scipy import sparse

MAX_ID = 2**31 - 1  # columns are numbered by int32


def build_csr(indices, indptr, n_columns, values=None):
    """CSR matrix in which no entry is stored twice.

    Values of a repeated entry are summed. Without values the matrix is binary:
    every entry is 1, a repeated one too.
    """
    entries = np.ones(len(indices), np.float32) if values is None else values
    parts = np.asarray(entries), np.asarray(indices), indptr
    matrix = sparse.csr_matrix(parts, shape=(len(indptr) - 1, n_columns))
    matrix.sum_duplicates()
    if values is None:
        matrix.data[:] = 1
    return matrix
