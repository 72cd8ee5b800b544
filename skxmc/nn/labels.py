"""Label features: vectors of labels, computed from those of their documents."""

import numpy as np
import scipy.sparse as sp

from .maps import is_mapped, temporary_array

# Number of values of dense features that are summed at once.
_AT_ONCE = 2**24
# Number of rows of a sparse matrix that are normalised at once.
_ROWS = 2**14


def label_centroids(features, Y):
    r"""Describe each label by the direction of its documents.

    .. math:: v_l = \frac{s_l}{\lVert s_l \rVert}, \quad
        s_l = \sum_{i : Y_{il} \neq 0} Y_{il} \frac{x_i}{\lVert x_i \rVert}

    that is, ``normalize(Y.T @ normalize(features))`` with l2-normalised rows.

    Parameters
    ----------
    features : {ndarray, CSR matrix or array} of shape (n_docs, n_features)
        Document features, such as TF-IDF. Rows need not be normalised.
    Y : CSR matrix or array of shape (n_docs, n_labels)
        Labels of each document, 0/1; other values weigh the documents.

    Returns
    -------
    centroids : {ndarray, CSR matrix or array} of shape (n_labels, n_features)
        float32 rows of length one, of the kind of ``features``. A label
        without documents, or whose documents are all zero, gets a zero row.

    Raises
    ------
    ValueError
        If ``features`` and ``Y`` have different numbers of rows.

    References
    ----------
    .. [1] You et al., AttentionXML, NeurIPS 2019, Section 3.1.
    .. [2] Jiang et al., LightXML, AAAI 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> features = np.array([[3.0, 4.0], [0.0, 2.0]])
    >>> label_centroids(features, csr_array([[1, 0], [0, 0]]))
    array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """
    if features.shape[0] != Y.shape[0]:
        raise ValueError(
            f"features and Y must describe the same documents, got "
            f"{features.shape[0]} and {Y.shape[0]} rows. Pass one row of each "
            f"per document."
        )
    if sp.issparse(features):
        members = Y.T.tocsr().astype(np.float32, copy=False)
        return _normalize_rows(members @ _normalize_rows(features))
    return _normalize_rows(_sum_directions(features, Y))


def weigh_rows(Y, weights):
    """Multiply the rows of a label matrix by the weights of the documents.

    Parameters
    ----------
    Y : CSR matrix or array of shape (n_docs, n_labels)
    weights : ndarray of shape (n_docs,) or None
        None returns Y itself.
    """
    if weights is None:
        return Y
    data = Y.data * np.repeat(weights, np.diff(Y.indptr))
    weighted = type(Y)((data.astype(np.float32), Y.indices, Y.indptr), Y.shape)
    weighted.has_canonical_format = Y.has_canonical_format
    return weighted


def label_means(vectors, Y, weights=None):
    """Compute the mean vector of each label's documents: Eq. 5 of LightDXML.

    Parameters
    ----------
    vectors : ndarray of shape (n_docs, dim)
        Vectors of the documents.
    Y : CSR matrix or array of shape (n_docs, n_labels)
        Labels of each document, 0/1.
    weights : ndarray of shape (n_docs,) or None, default=None
        Weights of the documents, above 0. None weighs all alike.

    Returns
    -------
    ndarray of shape (n_labels, dim), of the dtype of `vectors`
        The rows of labels without documents are 0.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_array
    >>> vectors = np.array([[1.0, 0.0], [3.0, 2.0]])
    >>> label_means(vectors, csr_array([[1, 1, 0], [1, 0, 0]]))
    array([[2., 1.],
           [1., 0.],
           [0., 0.]])
    """
    members = Y.T.tocsr().astype(vectors.dtype)
    counts = np.diff(members.indptr).clip(min=1)
    if weights is not None:
        members.data *= weights[members.indices].astype(vectors.dtype)
        sums = np.asarray(members.sum(axis=1)).ravel()
        counts = np.where(sums > 0, sums, 1)
    return (members @ vectors) / counts[:, None].astype(vectors.dtype)


def _sum_directions(features, Y):
    """Compute ``Y.T @ normalize(features)`` from a part of the documents at a time.

    The sums have the bits of those over all documents at once, since each is made in
    the order of its documents.
    """
    n_docs, dim = features.shape
    n_at_once = max(1, _AT_ONCE // max(dim, 1))
    sums = np.zeros((Y.shape[1], dim), np.float32)
    for start in range(0, n_docs, n_at_once):
        part = _normalize_rows(features[start : start + n_at_once])
        members = Y[start : start + n_at_once].T.tocsr().astype(np.float32)
        if not start:
            sums = members @ part
            continue
        labels = np.flatnonzero(np.diff(members.indptr))
        # The first term of each sum is the sum of the parts before.
        first = sp.identity(len(labels), np.float32, "csr")
        terms = sp.hstack([first, members[labels]], "csr")
        sums[labels] = terms @ np.concatenate([sums[labels], part])
    return sums


def _normalize_rows(rows):
    """Return a float32 copy whose rows have length one; zero rows stay zero.

    The copy of a sparse matrix whose values lie in a file lies in a file as well.
    """
    if not sp.issparse(rows):
        rows = np.asarray(rows, dtype=np.float32)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.where(norms > 0, norms, 1)
    if is_mapped(rows.data):
        return _normalize_in_file(rows)
    rows = rows.tocsr().astype(np.float32)  # always a copy
    rows.sum_duplicates()
    norms = np.sqrt(rows.multiply(rows).sum(axis=1, dtype=np.float64))
    norms = np.asarray(norms, dtype=np.float32).ravel()
    norms[norms == 0] = 1
    rows.data /= np.repeat(norms, np.diff(rows.indptr))
    return rows


def _normalize_in_file(rows):
    """Normalise a CSR matrix in canonical form, a part at a time."""
    values = temporary_array(
        rows.data.shape,
        np.float32,
        "The words of the documents",
        'Set cluster_features="documents".',
    )
    for start in range(0, rows.shape[0], _ROWS):
        stop = min(start + _ROWS, rows.shape[0])
        part = slice(rows.indptr[start], rows.indptr[stop])
        values[part] = _normalize_rows(_in_memory(rows, start, stop)).data
    normalized = type(rows)((values, rows.indices, rows.indptr), rows.shape)
    normalized.has_canonical_format = True
    return normalized


def _in_memory(rows, start, stop):
    """Return a copy of some rows of a CSR matrix."""
    part = slice(rows.indptr[start], rows.indptr[stop])
    indptr = rows.indptr[start : stop + 1] - rows.indptr[start]
    shape = stop - start, rows.shape[1]
    data, indices = np.array(rows.data[part]), np.array(rows.indices[part])
    return type(rows)((data, indices, indptr), shape)
