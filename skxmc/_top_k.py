"""The largest stored values of each row of a sparse matrix."""

import numpy as np


def top_k_per_row(values, indptr, k=None):
    """Sort the stored values of each row in descending order, and keep the first k.

    Parameters
    ----------
    values : float ndarray of shape (n_stored,)
        Values as a CSR matrix stores them, row after row. Equal values stay in the
        order in which they are stored: by column, if column indices are sorted. NaN
        comes last.
    indptr : int ndarray of shape (n_rows + 1,)
        Row i has the values ``values[indptr[i]:indptr[i + 1]]``.
    k : int or None, default=None
        How many values a row keeps at most; None keeps all.

    Returns
    -------
    order : int64 ndarray of shape (n_kept,)
        Positions of the kept values in `values`, row after row.
    rows : int64 ndarray of shape (n_kept,)
        Row of each kept value.
    places : int64 ndarray of shape (n_kept,)
        Place of each kept value in its row; the largest has place 0.

    Examples
    --------
    >>> import numpy as np
    >>> values, indptr = np.array([0.1, 0.7, 0.7, 0.5]), np.array([0, 3, 3, 4])
    >>> order, rows, places = top_k_per_row(values, indptr, 2)
    >>> order.tolist(), rows.tolist(), places.tolist()
    ([1, 2, 3], [0, 0, 2], [0, 1, 0])
    """
    lengths = np.diff(indptr)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((-values, rows))  # stable
    places = np.arange(len(rows)) - np.repeat(indptr[:-1], lengths)
    if k is None:
        return order, rows, places
    kept = places < k
    return order[kept], rows[kept], places[kept]
