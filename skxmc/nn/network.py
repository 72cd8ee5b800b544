"""The contract of networks: what the training and the prediction loop call."""

from typing import NamedTuple

import torch
from torch import nn


class Progress(NamedTuple):
    """The position of a batch within the training.

    Parameters
    ----------
    epoch, n_epochs : int
        Epoch of the batch, counted from 1, and number of epochs.
    batch, n_batches : int
        Number of the batch within its epoch, counted from 1, and number of batches.
    """

    epoch: int
    n_epochs: int
    batch: int
    n_batches: int


class Network(nn.Module):
    """Base class of networks, with all the methods and attributes that the loops use.

    A subclass must define `forward`, which returns the loss of a batch, `encode` and
    `rank_encoded`, which predict, `floats_per_document` and the attributes below. A
    network does not count steps or epochs itself, since `Progress` is passed in. It
    does not hold scores of all labels either: they stay within its heads (see
    `skxmc.nn.heads`).

    Attributes
    ----------
    encoder : Module
        Module that turns inputs into vectors of documents. It has
        ``floats_per_document(length)`` and the bool ``at_encoder_rate``: whether it is
        trained at the encoder's learning rate, or at that of the heads. If model
        folders keep the network, it also has ``n_features``, the number of features or
        token ids that have a vector.
    n_labels : int
        Number of labels that are ranked.
    single_label : bool or None
        Whether each document has exactly one label (a 1-D y). The scores of `rank` must
        then be logarithms of probabilities. None, the default, if they are logarithms
        of probabilities in any case.
    neighbors : NeighborVotes or None
        Training documents that vote for their labels in `rank`. None, the default, if
        there are none. ``expected_state()`` checks them by
        `skxmc.nn.neighbors.expected_votes`, which asks for `vector_dim`.
    why_alone : str or None
        A sentence that says why several processes cannot train the network together
        (see `skxmc.nn.replica`). None, the default, if they can.
    skips_weights : bool
        Whether training leaves out some of the weights. False by default.
    """

    single_label = None
    neighbors = None
    why_alone = None
    skips_weights = False

    def forward(self, inputs, targets, progress):
        """Return the loss of a batch.

        Parameters
        ----------
        inputs, targets : dict of tensors
            A batch by `skxmc.nn.examples.Examples.batch`, on the device.
        progress : Progress
            Position of the batch within the training.

        Returns
        -------
        tensor of shape (), or dict of such tensors
            Mean over the documents, in nats. A dict holds the parts of the loss by
            name: their sum is the loss, and `history_` tells each of them.
        """
        raise NotImplementedError

    def count_terms(self, targets):
        """Return what the loss of a batch divides by.

        Several processes weigh the losses of their documents by it.

        Parameters
        ----------
        targets : dict of tensors
            As in `forward`.

        Returns
        -------
        dict of float64 tensors of shape (3,)
            What `count_documents` returns, for each part of the loss that `forward` may
            return, or for "loss" if it returns no parts.
        """
        return {"loss": count_documents(targets)}

    def encode(self, inputs):
        """Return the vectors of the documents of a batch.

        Parameters
        ----------
        inputs : dict of tensors
            A batch of documents by their method ``batch``, on the device.

        Returns
        -------
        tuple of tensors of shape (n_docs, some width), or None
            What `rank_encoded` needs to know about the documents. Neighbours are found
            by the last one that is not None.
        """
        raise NotImplementedError

    def rank_encoded(self, vectors, k):
        """Return the k best labels of each document.

        Parameters
        ----------
        vectors : tuple of tensors
            What `encode` returns.
        k : int

        Returns
        -------
        ids : int64 tensor of shape (n_docs, k)
            Label columns, best first, padded with n_labels.
        scores : tensor of shape (n_docs, k), float32 (float64 in fp64)
            Scores of these labels, padded with -inf. They are calibrated later, unless
            each document has exactly one label.
        """
        raise NotImplementedError

    def rank(self, inputs, k):
        """Return the k best labels of each document of a batch, votes included.

        Parameters
        ----------
        inputs : dict of tensors
            A batch of documents by their method ``batch``, on the device.
        k : int

        Returns
        -------
        ids, scores : tensors of shape (n_docs, k)
            As `rank_encoded` returns them.
        """
        vectors = self.encode(inputs)
        if self.neighbors is None:
            return self.rank_encoded(vectors, k)
        return self.neighbors.rerank(
            *self.rank_encoded(vectors, max(k, self.neighbors.depth)),
            self.compared_vectors(vectors),
            k,
            normalize=self.single_label is not False,
        )

    @property
    def has_shortlist(self):
        """Whether labels are retrieved before they are ranked."""
        return False

    def retrieve_encoded(self, vectors, n=None):
        """Return the labels that are retrieved for each document before any is ranked.

        Parameters
        ----------
        vectors : tuple of tensors
            What `encode` returns.
        n : int or None, default=None
            Number of labels. None retrieves those that `rank_encoded` ranks.

        Returns
        -------
        int64 tensor of shape (n_docs, n_retrieved)
            Label columns, best first, padded with n_labels.
        """
        raise NotImplementedError

    def compared_vectors(self, vectors):
        """Return the vectors by which neighbours are found: the last that there are.

        Parameters
        ----------
        vectors : tuple of tensors or None
            What `encode` returns.

        Returns
        -------
        tensor of shape (n_docs, vector_dim)
        """
        return next(part for part in reversed(vectors) if part is not None)

    @property
    def vector_dim(self):
        """Width of the vectors by which neighbours are found."""
        raise NotImplementedError

    def label_head(self, vectors):
        """Return the head that scores labels, and the documents as it takes them.

        Parameters
        ----------
        vectors : tuple of tensors
            What `encode` returns.
        """
        raise NotImplementedError

    @property
    def labels_in_space(self):
        """Whether the vectors of documents suit labels before any training."""
        raise NotImplementedError

    def start_rows(self, vectors):
        """Return the first vectors of new labels, as rows of the head of labels.

        Parameters
        ----------
        vectors : tuple of tensors of shape (n_new, some width), or None
            For each new label, the mean of what `encode` returns for its text and its
            documents. Unless `labels_in_space`, all rows are the mean of the rows that
            there are.

        Returns
        -------
        rows : tensor of shape (n_new, width of the head)
        biases : tensor of shape (n_new,), or None if the head has none
        """
        raise NotImplementedError

    def add_labels(self, rows, biases, vectors):
        """Add labels at the end, without changing a tensor in place.

        Parameters
        ----------
        rows, biases
            As `start_rows` returns them, or trained from there.
        vectors
            As in `start_rows`. A label joins the cluster that suits its vectors best.
        """
        raise NotImplementedError

    def keep_labels(self, labels):
        """Keep some labels, in the given order, without changing a tensor in place.

        Parameters
        ----------
        labels : int64 tensor of shape (n_kept,)
            Columns of labels, at least one.
        """
        raise NotImplementedError

    def document_modules(self):
        """Return the modules between the encoder and the vectors of documents.

        They may be trained at a learning rate of their own.
        """
        return ()

    def uses_dropout(self, progress):
        """Return whether a batch is trained with dropout."""
        return True

    def floats_per_document(self, length):
        """Return the number of floats kept for the gradient of a document.

        `skxmc.nn.devices.check_memory` uses it to estimate the memory of training.

        Parameters
        ----------
        length : int
            Number of tokens or features of the document.
        """
        raise NotImplementedError

    @property
    def n_candidates(self):
        """Number of candidates of a document whose vectors are trained row by row.

        It is 0 if all labels are scored.
        """
        return 0


def count_documents(targets, counted=None):
    """Count the documents of a batch, for what its loss divides by (see `divisor`).

    Parameters
    ----------
    targets : dict of tensors
        Targets of a batch by `skxmc.nn.examples.Examples.batch`.
    counted : bool tensor of shape (n_docs,) or None, default=None
        Documents that the loss is a weighted mean over, as
        `skxmc.nn.losses.document_factors` makes it. None if the loss is a sum that is
        divided by the number of documents, whatever they weigh.

    Returns
    -------
    float64 tensor of shape (3,)
        Weight of those documents, number and weight of all. They can be added up over
        parts of a batch.
    """
    positives = targets["positives"]
    weights = positives.new_ones(len(positives), dtype=torch.float64)
    number = weights.sum()
    if counted is None:
        return torch.stack([number, number, number])
    weights = targets.get("doc_weights", weights).double()
    return torch.stack([(weights * counted).sum(), number, weights.sum()])


def divisor(counts):
    """Return the number that a loss divides the sum over the documents by.

    With weights, a loss divides by the weight of the documents that it counts, and
    multiplies by the mean weight of all (see
    `skxmc.nn.losses.document_factors`).

    Parameters
    ----------
    counts : tensor of shape (..., 3)
        What `count_documents` returns, or a sum of that over parts of a batch.

    Returns
    -------
    tensor of shape (...)
        0 if there are no documents.
    """
    counted, number, weight = counts.unbind(dim=-1)
    return counted * number / torch.where(weight > 0, weight, 1)
