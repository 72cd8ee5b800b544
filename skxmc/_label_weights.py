"""Weights of labels in the loss, and rankings for propensity-scored metrics."""

import numpy as np

from ._validation import check_numbers
from .metrics import propensity_from_counts

__all__ = [
    "LabelWeightsMixin",
    "check_label_weight",
    "order_by_propensity",
]


class LabelWeightsMixin:
    """What the five systems share of the parameter `label_weight`."""

    def _choose_label_weights(self):
        """Return the weights of labels, or None if all weigh alike.

        Returns
        -------
        float64 ndarray of shape (n_labels,) or None
            With "propensity", their mean is 1 over all pairs of a document and one of
            its labels.
        """
        if self.label_weight is None:
            return None
        if not isinstance(self.label_weight, str):
            return check_label_weight(self.label_weight, self.n_labels_)
        counts = self.label_counts_
        n_docs = getattr(self, "total_weight_", self.n_docs_)
        inverse = 1 / propensity_from_counts(counts, n_docs)
        return inverse * (counts.sum() / (counts @ inverse))


def check_label_weight(label_weight, n_labels):
    """Return the weights of labels that a user gives, as a float64 ndarray.

    Raises
    ------
    ValueError
        If there is not one finite number above 0 for each label.
    """
    weights = check_numbers("label_weight", label_weight, n_labels, "y", "label column")
    # The losses are computed in float32.
    wrong = ~((weights >= np.finfo(np.float32).tiny) & (weights <= 1e30))
    if wrong.any():
        label = int(wrong.argmax())
        raise ValueError(
            f"label_weight[{label}] is {weights[label]}; weights must be finite and "
            "above 0. Remove the column of a label that is not to be learned."
        )
    return weights


def order_by_propensity(ids, probabilities, propensity, k):
    """Choose the k labels of the largest probabilities over propensities.

    Parameters
    ----------
    ids : int64 ndarray of shape (n_docs, n_ranked)
        Label columns, padded with -1.
    probabilities : ndarray of the same shape
    propensity : ndarray of shape (n_labels,)
    k : int

    Returns
    -------
    ids, probabilities : ndarrays of shape (n_docs, min(k, n_ranked))
        Labels of equal quotients stay in their order.
    """
    quotients = np.where(ids < 0, -np.inf, probabilities / propensity[ids])
    order = np.argsort(-quotients, axis=1, kind="stable")[:, :k]
    return tuple(
        np.take_along_axis(part, order, axis=1) for part in (ids, probabilities)
    )
