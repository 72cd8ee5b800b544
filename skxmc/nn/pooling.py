"""From the states of tokens to vectors of documents."""

import torch
from torch.nn.functional import normalize


def mean_of_tokens(states, mask):
    """Return the mean of a layer's states over the tokens of each document."""
    weight = mask.to(states.dtype)[:, :, None]
    return (states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def last_tokens(states, mask):
    """Return the state of each document's last token, of each of some layers."""
    last = mask.sum(dim=1).sub(1).clamp(min=0)  # (n_docs,)
    last = last[:, None, None].expand(-1, 1, states[0].shape[2])
    return [layer.gather(1, last)[:, 0] for layer in states]


def pool_more(states, mask, layers):
    """Return what is read of a document beside the mean of the last layer's states.

    Parameters
    ----------
    states : sequence of tensors of shape (n_docs, length, state_size)
        States of all layers, that of the embeddings first; without `layers`, the last
        one is enough.
    mask : tensor of shape (n_docs, length)
        1 at tokens and 0 at padding.
    layers : sequence of int

    Returns
    -------
    list of tensors of shape (n_docs, state_size)
        The maximum of the last layer's states over the tokens, and the mean of the
        states of each of `layers`, scaled to length 1. All are 0 without tokens.
    """
    is_token = mask[:, :, None] > 0
    highest = states[-1].masked_fill(~is_token, -torch.inf).amax(dim=1)
    found = [highest.masked_fill(~is_token.any(dim=1), 0)]
    found += [mean_of_tokens(states[layer], mask) for layer in layers]
    return [normalize(vectors, dim=1) for vectors in found]
