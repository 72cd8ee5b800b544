"""Weights of documents, as ``fit`` takes them."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ._validation import check_numbers, count_documents, count_rows

__all__ = [
    "FitWeightsMixin",
    "Weighing",
    "check_sample_weight",
    "sum_weights",
]

# Number of entries of a label matrix whose weights are added up together.
_CHUNK = 2**24


class Weighing(NamedTuple):
    """Weights of the documents of a fit, and what the fit leaves out.

    Parameters
    ----------
    weights : float64 ndarray of shape (n_kept,)
        Weights of the documents that are not left out. All are above 0.
    rows : int ndarray of shape (n_kept,)
        Rows of these documents in the X of the user.
    n_docs : int
        Number of documents in the X of the user.
    """

    weights: np.ndarray
    rows: np.ndarray
    n_docs: int

    def choose(self, X):
        """Return the documents that are not left out.

        Parameters
        ----------
        X : list of str, store, or csr matrix
            All documents.
        """
        if len(self.rows) == self.n_docs:
            return X
        if isinstance(X, list):
            return [X[row] for row in self.rows]
        return X.tocsr()[self.rows] if sp.issparse(X) else X[self.rows]

    def restore_rows(self, rows):
        """Return the rows in the user's X of rows among the documents that were kept.

        Rows beyond these documents stay as far beyond the user's documents.
        """
        n_kept, is_user = len(self.rows), rows < len(self.rows)
        restored = rows - n_kept + self.n_docs
        restored[is_user] = self.rows[rows[is_user]]
        return restored


def check_sample_weight(sample_weight, n_docs):
    """Return the weights of documents as a float64 ndarray, or None without weights.

    Raises
    ------
    ValueError
        If there is not one finite number of at least 0 for each document, or if all of
        them are 0.
    """
    if sample_weight is None:
        return None
    weights = check_numbers("sample_weight", sample_weight, n_docs, "X", "document")
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"sample_weight[{row}] is {weights[row]}; weights must be finite and at "
            "least 0. A weight of 0 leaves the document out."
        )
    if not weights.any():
        raise ValueError(
            "sample_weight is zero for all documents, so that none is left to train "
            "on. Give some of them a weight above 0."
        )
    return weights


def sum_weights(Y, weights):
    """Return the sum of the weights of each label's documents, or their number.

    Parameters
    ----------
    Y : csr matrix of shape (n_docs, n_labels)
    weights : float64 ndarray of shape (n_docs,) or None

    Returns
    -------
    ndarray of shape (n_labels,)
        int64 if all weights are whole numbers, and float64 otherwise.
    """
    if weights is None:
        return count_documents(Y)
    sums = np.zeros(Y.shape[1])
    owners = np.repeat(np.arange(Y.shape[0]), np.diff(Y.indptr))
    for start in range(0, Y.nnz, _CHUNK):
        part = slice(start, start + _CHUNK)
        sums += np.bincount(
            Y.indices[part], weights=weights[owners[part]], minlength=Y.shape[1]
        )
    return sums.astype(np.int64) if (weights % 1 == 0).all() else sums


class FitWeightsMixin:
    """What the five systems share of weights while they are fitted.

    The attribute `_weighing` exists in the meantime only.
    """

    # None if documents have no weights.
    _weighing = None

    def _weights_of(self, rows):
        """Return the weights of documents of a fit, or None if they have none.

        Parameters
        ----------
        rows : int ndarray of shape (n_rows,)
            Rows of documents, among those that were not left out and those that a
            system has added to them, which have the weight 1.
        """
        if self._weighing is None:
            return None
        return np.append(self._weighing.weights, 1.0)[
            np.minimum(rows, len(self._weighing.weights))
        ]

    def _weights_of_all(self, X):
        """Return the weights of all documents of a fit, or None if they have none."""
        return self._weights_of(np.arange(count_rows(X)))

    def _count_pairs(self, Y, rows):
        """Return how many labels documents have together, and how many they are.

        Both count the weights of the documents.

        Parameters
        ----------
        Y : csr matrix of shape (n_docs, n_labels)
            The rows of other documents than `rows` are empty.
        rows : int ndarray of shape (n_rows,)
        """
        weights = self._weights_of(rows)
        if weights is None:
            return Y.nnz, len(rows)
        return weights @ np.diff(Y.indptr)[rows], weights.sum()

    def _end_weighing(self):
        """Forget the weights, and count the documents as the user's X does."""
        weighing = vars(self).pop("_weighing", None)
        if weighing is None or "network_" not in vars(self):
            return
        # Documents of earlier fits may be counted too.
        self.n_docs_ += weighing.n_docs - len(weighing.rows)
        votes = self.network_.neighbors
        if votes is not None:
            rows = weighing.restore_rows(votes.rows.numpy())
            votes.rows = votes.rows.new_tensor(rows)
