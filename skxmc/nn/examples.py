"""Training data: documents and labels in the batches that the training loop needs."""

import numpy as np
import torch

from .text import padded_columns


class Examples:
    """Training data of a network: the only place where documents and labels meet.

    The training loop only ever asks for batches. A subclass can add to what a batch
    holds, such as shortlists, label names or sample weights.

    Parameters
    ----------
    docs : Tokens, Features or TaughtDocuments
        All documents, including those that are held out for validation.
    Y : csr matrix of shape (n_docs, n_labels)
        Labels of the documents.
    rows : int ndarray of shape (n_rows,)
        Rows of the documents to train on.

    Attributes
    ----------
    doc_weights : float64 ndarray of shape (n_docs,) or None
        Weights of the documents; None if all count alike.
    label_weights : float ndarray of shape (n_labels,) or None
        Weights of the labels as positives; None if all count alike.
    """

    # Whether the network does not use all of its weights for some batches.
    skips_weights = False
    doc_weights = label_weights = None

    def __init__(self, docs, Y, rows):
        self.docs = docs
        self.Y = Y
        self.rows = rows

    def weigh(self, doc_weights=None, label_weights=None):
        """Give the documents, or the labels, weights in the loss.

        Parameters
        ----------
        doc_weights : float64 ndarray of shape (n_docs,) or None, default=None
            All above 0 for the documents to train on.
        label_weights : float ndarray of shape (n_labels,) or None, default=None
            All above 0.
        """
        self.doc_weights, self.label_weights = doc_weights, label_weights
        if doc_weights is not None:  # relative to the mean of those in training
            self._weights = doc_weights / doc_weights[self.rows].mean()
        if label_weights is not None:
            table = np.append(label_weights, 1).astype(np.float32)  # with padding
            self._label_table = torch.from_numpy(table)

    @property
    def lengths(self):
        """Number of tokens or features of each document: ndarray of shape (n_docs,)."""
        return self.docs.lengths

    def batch(self, rows):
        """Make the batch of some documents.

        Parameters
        ----------
        rows : int ndarray of shape (n_rows,)

        Returns
        -------
        inputs : dict of tensors
            The documents, as input of the encoder.
        targets : dict of tensors
            What the loss needs to know about them. ``positives``, int64 of shape
            (n_rows, n_positives), holds the label columns of each document, padded
            with n_labels. If there are weights, ``doc_weights``, of shape (n_rows,) and
            with the mean 1 over all training documents, and ``label_weights``, of shape
            (n_labels + 1,), hold them.
        """
        targets = {"positives": padded_columns(self.Y, rows)}
        if self.doc_weights is not None:
            targets["doc_weights"] = torch.from_numpy(self._weights[rows])
        if self.label_weights is not None:
            targets["label_weights"] = self._label_table
        return self.docs.batch(rows), targets

    def begin_epoch(self, epoch):
        """Prepare the batches of an epoch, which is counted from 1."""
        # A subclass renews here what changes from epoch to epoch.

    def keep_on(self, device):
        """Move what is the same in all batches to a device, once for all of them."""
        if self.label_weights is not None:
            self._label_table = self._label_table.to(device)

    def reseed(self, number):
        """Let what the next batches draw depend on this number alone."""
        # A subclass that draws random numbers for a batch seeds its generator.

    def state_dict(self):
        """Return the state that later batches depend on, for checkpoints."""
        return {}

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
