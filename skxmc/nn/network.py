"""What the training loop and the prediction loop ask of a network: the contract."""

from typing import NamedTuple

from torch import nn


class Progress(NamedTuple):
    """How far a training has come when a batch is read.

    Parameters
    ----------
    epoch, n_epochs : int
        Epoch of the batch, counted from 1, and how many there are.
    batch, n_batches : int
        Place of the batch in its epoch, counted from 1, and how many there are.
    """

    epoch: int
    n_epochs: int
    batch: int
    n_batches: int


class Network(nn.Module):
    """Base of the networks: what each of them must define, and defaults for the rest.

    A network is trained by calling it (`forward` is the loss), and predicts by `rank`.
    It keeps no count of what training has done: `Progress` is passed in. Scores of all
    labels stay inside its heads (see `skxmc.nn.heads`).

    Attributes
    ----------
    encoder : Module
        Turns inputs into vectors of documents. It has ``floats_per_document(length)``,
        and ``at_encoder_rate``: whether it learns at the encoder's learning rate, or at
        that of the heads.
    n_labels : int
        Labels that are ranked.
    """

    def forward(self, inputs, targets, progress):
        """Loss of a batch: a scalar tensor, in nats, mean over its documents.

        Parameters
        ----------
        inputs, targets : dict of tensors
            What `skxmc.nn.examples.Examples.batch` returns, on the device.
        progress : Progress
        """
        raise NotImplementedError

    def rank(self, inputs, k):
        """Best labels of a batch of documents.

        Parameters
        ----------
        inputs : dict of tensors
            What the documents' ``batch`` returns, on the device.
        k : int

        Returns
        -------
        ids : int64 tensor of shape (n_docs, k)
            Label columns, best first, padded with n_labels.
        scores : tensor of shape (n_docs, k), float32 (float64 in fp64)
            Scores of these labels, padded with -inf.
        """
        raise NotImplementedError

    def uses_dropout(self, progress):
        """Whether a batch is trained with dropout."""
        return True

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, of a document of that length.

        The estimate of memory asks for it before training (see
        `skxmc.nn.devices.check_memory`).
        """
        raise NotImplementedError

    @property
    def n_candidates(self):
        """Labels of a document whose vectors a step trains row by row; often 0."""
        return 0
