"""The module that is exported to ONNX: the predictions of a network as one graph."""

import copy

import torch
from torch import nn


class ExportedPredictions(nn.Module):
    """Module that maps token ids to the k best labels and their probabilities.

    Parameters
    ----------
    network : Network
        The module holds a copy of it, on the CPU and in float32.
    k : int
        Number of labels per document.
    calibrate : callable
        Function that turns a tensor of the network's scores into probabilities.
    """

    def __init__(self, network, k, calibrate):
        super().__init__()
        self.network = copy.deepcopy(network).cpu().float()
        self.k = k
        self.calibrate = calibrate

    def forward(self, input_ids, attention_mask):
        """Predict the labels of a batch of documents.

        Parameters
        ----------
        input_ids, attention_mask : int64 tensors of shape (n_docs, length)
            Padded on either side.

        Returns
        -------
        ids : int64 tensor of shape (n_docs, k)
            Label columns, padded with -1.
        probabilities : tensor of shape (n_docs, k)
            Probabilities of these labels, padded with 0.
        """
        input_ids, attention_mask = _pad_on_the_right(input_ids, attention_mask)
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        ids, scores = self.network.rank(batch, self.k)
        # Users of the exported file do not know n_labels, which is the padding here.
        padding = ids == self.network.n_labels
        probabilities = self.calibrate(scores).masked_fill(padding, 0)
        return ids.masked_fill(padding, -1), probabilities


def _pad_on_the_right(input_ids, mask):
    """Move the padding to the right, where a token's position is that of its text."""
    length = input_ids.shape[1]
    n_before = (mask.cumsum(dim=1) == 0).sum(dim=1)  # (n_docs,)
    places = torch.arange(length, device=mask.device) + n_before[:, None]
    places = torch.where(places < length, places, places - length)
    return input_ids.gather(1, places), mask.gather(1, places)
