"""The retrieved labels of the systems that shortlist labels before they rank them."""

import numbers

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._validation import check_number
from .nn.prediction import map_batches, pad_with_minus_one
from .nn.process import default_modes


class ShortlistMixin:
    """Gives a classifier ``shortlist``: what it retrieves before it ranks."""

    def shortlist(self, X, k=None):
        """Return the labels that are retrieved for each document, before any is ranked.

        Only these labels can be predicted, and those that neighbors vote for (see
        `neighbor_weight`). To know how many of the right labels are among them, pass
        the result to :func:`skxmc.metrics.recall_at_k`.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.
        k : int or None, default=None
            Number of labels per document. None means all that a prediction ranks (see
            `predict_shortlist`).

        Returns
        -------
        ids : int64 ndarray of shape (n_docs, k)
            Label columns (positions in `classes_`) in the order of retrieval, padded
            with -1. If clusters are retrieved, labels of a better cluster come first,
            and labels of one cluster are in the order of their columns. If labels are
            retrieved by their vectors, the nearest one comes first.

        Raises
        ------
        ValueError
            If `X` or `k` is not as described, or if every label is ranked, so that
            there is no shortlist.

        Examples
        --------
        >>> from skxmc import LightXMLClassifier
        >>> from skxmc.datasets import make_xmc
        >>> from skxmc.metrics import recall_at_k
        >>> data = make_xmc(200, 40, kind="features", random_state=0)
        >>> model = LightXMLClassifier(
        ...     max_leaf_size=5, predict_shortlist=3, max_epochs=3, random_state=0
        ... )
        >>> ids = model.fit(data.X[:150], data.Y[:150]).shortlist(data.X[150:])
        >>> ids.shape
        (50, 15)
        >>> recalls = recall_at_k(data.Y[150:], ids, k=(5, 15))
        >>> bool(recalls[0] <= recalls[1] <= 1)
        True
        """
        check_is_fitted(self)
        if k is not None:
            check_number("k", k, numbers.Integral, 1)
        X, n_labels = self._check_X(X), self.n_labels_
        if not self.network_.has_shortlist:
            raise ValueError(
                f"This {type(self).__name__} ranks all of its {n_labels} labels, and "
                "has no shortlist. Fit with a max_leaf_size above 1 to cluster labels."
            )
        with default_modes():
            docs = self._make_docs(X)
            device, precision = self._move_network()
            network = self.network_
            (ids,) = map_batches(
                network,
                lambda inputs: (network.retrieve_encoded(network.encode(inputs), k),),
                docs,
                np.arange(len(docs)),
                batch_size=self.batch_size,
                device=device,
                precision=precision,
                verbose=self.verbose > 1,
                title="shortlists",
            )
        return pad_with_minus_one(ids.numpy(), n_labels)
