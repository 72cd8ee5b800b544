"""Memory of activations."""

import torch

from .process import isolate_torch


def kept_floats(encoder, length):
    """Return how many floats the forward pass of a document keeps for the gradient.

    Parameters
    ----------
    encoder : TransformerEncoder
    length : int
        Number of tokens of the document.
    """
    # A batch of texts without any token is padded to one.
    ids = torch.zeros(1, max(length, 1), dtype=torch.int64)
    weights = {p.untyped_storage().data_ptr() for p in encoder.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            # The storage itself is kept, or its address could be used again.
            kept[storage.data_ptr()] = storage
        return tensor

    was_training = encoder.training
    with (
        isolate_torch(),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        encoder.train()({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    encoder.train(was_training)
    return sum(storage.nbytes() for storage in kept.values()) // 4
