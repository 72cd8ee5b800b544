"""Documents and labels in batches, as the training loop takes them."""

from .text import padded_columns


class Examples:
    """What a network is trained on: the one place where documents and labels meet.

    The training loop asks for batches and for nothing else. A subclass changes what a
    batch holds: shortlists, the names of labels, weights, states that are kept on disk.

    Parameters
    ----------
    docs : Tokens, Features or TaughtDocuments
        All documents, those that are held out of training among them.
    Y : csr matrix of shape (n_docs, n_labels)
        Labels of the documents.
    rows : int ndarray of shape (n_rows,)
        Documents to train on.
    """

    def __init__(self, docs, Y, rows):
        self.docs = docs
        self.Y = Y
        self.rows = rows

    @property
    def lengths(self):
        """Tokens or features of each document: ndarray of shape (n_docs,)."""
        return self.docs.lengths

    def batch(self, rows):
        """Make the batch of some documents.

        Parameters
        ----------
        rows : int ndarray of shape (n_rows,)

        Returns
        -------
        inputs : dict of tensors
            The documents, as the encoder reads them.
        targets : dict of tensors
            What the loss compares with: ``positives``, int64 of shape
            (n_rows, n_positives), the label columns of each document, padded with
            n_labels.
        """
        return self.docs.batch(rows), {"positives": padded_columns(self.Y, rows)}

    def begin_epoch(self, epoch):
        """Renew what batches hold, before an epoch (counted from 1)."""

    def state_dict(self):
        """What later batches depend on beside their rows: goes into checkpoints."""
        return {}

    def load_state_dict(self, state):
        """Go on from a state that `state_dict` returned."""
