"""The module that is exported to ONNX: a network's predictions as one graph."""

import copy

from torch import nn


class ExportedPredictions(nn.Module):
    """Token ids in; label columns and probabilities out.

    Parameters
    ----------
    network : Network
        It is copied, to the CPU and to float32.
    k : int
        Labels a document.
    calibrate : callable
        Turns a tensor of the network's scores into probabilities.
    """

    def __init__(self, network, k, calibrate):
        super().__init__()
        self.network = copy.deepcopy(network).cpu().float()
        self.k = k
        self.calibrate = calibrate

    def forward(self, input_ids, attention_mask):
        """Return ids and probabilities of shape (n_docs, k), padded with -1 and 0."""
        batch = {"input_ids": input_ids, "attention_mask": attention_mask}
        ids, scores = self.network.rank(batch, self.k)
        padding = ids == self.network.n_labels
        probabilities = self.calibrate(scores).masked_fill(padding, 0)
        return ids.masked_fill(padding, -1), probabilities
