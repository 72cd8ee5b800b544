"""Training data: documents and labels in the batches that the training loop needs."""

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
    """

    # Whether the network does not use all of its weights for some batches.
    skips_weights = False

    def __init__(self, docs, Y, rows):
        self.docs = docs
        self.Y = Y
        self.rows = rows

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
            with n_labels.
        """
        return self.docs.batch(rows), {"positives": padded_columns(self.Y, rows)}

    def begin_epoch(self, epoch):
        """Prepare the batches of an epoch, which is counted from 1."""
        # A subclass renews here what changes from epoch to epoch.

    def reseed(self, number):
        """Let what the next batches draw depend on this number alone."""
        # A subclass that draws random numbers for a batch seeds its generator.

    def state_dict(self):
        """Return the state that later batches depend on, for checkpoints."""
        return {}

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
