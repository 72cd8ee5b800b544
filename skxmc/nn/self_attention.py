"""The masked self-attention of TReaderXML."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from .state import linear_map, number


class SelfAttention(nn.Module):
    """Multi-head self-attention, tanh({H_1; ...; H_h} W) (Eq. 3 to 13).

    Parameters
    ----------
    dim : int
        Width of the states.
    n_heads : int
        Number of heads, which divides `dim`.
    """

    def __init__(self, dim, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.mix = nn.Linear(dim, dim, bias=False)
        query, key, value = self.qkv.weight.split(dim)
        nn.init.xavier_uniform_(query)
        nn.init.xavier_uniform_(key)
        # The value map is orthogonal and the last map its inverse, so that at first,
        # attention averages the states without changing their coordinates.
        nn.init.orthogonal_(value)
        with torch.no_grad():
            self.mix.weight.copy_(value.T)

    @property
    def dim(self):
        """Width of the states."""
        return self.mix.in_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim, n_heads = self.dim, self.n_heads
        divides = type(n_heads) is int and n_heads > 0 and dim % n_heads == 0
        return {
            "n_heads": number(1, dim if divides else 0, whole=True),
            "qkv": linear_map(dim, 3 * dim, bias=False),
            "mix": linear_map(dim, dim, bias=False),
        }

    def forward(self, states, visible):
        """Attend from every position to the positions that it sees.

        Parameters
        ----------
        states : tensor of shape (n_docs, length, dim)
        visible : bool tensor of shape (n_docs, 1, length, length)
            Whether a position (third axis) sees another one (fourth axis).

        Returns
        -------
        tensor of shape (n_docs, length, dim)
        """
        # (n_docs, length, 3, n_heads, dim per head)
        split = self.qkv(states).unflatten(2, (3, self.n_heads, -1))
        # Each (n_docs, n_heads, length, dim per head)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        heads = scaled_dot_product_attention(query, key, value, attn_mask=visible)
        return self.mix(heads.transpose(1, 2).flatten(2)).tanh()


def visible_places(real, mask=None):
    """Return which positions of a sequence see which.

    Every position sees itself, and the positions that hold a word as far as the mask
    allows.

    Parameters
    ----------
    real : bool tensor of shape (n_docs, length)
        Whether a position holds a word; False at padding.
    mask : {"causal", "upper"} or None, default=None
        "causal" shows a position the ones before it, "upper" the ones after it, and
        None shows all positions.

    Returns
    -------
    bool tensor of shape (n_docs, 1, length, length)
        Whether a position (third axis) sees another one (fourth axis).
    """
    length = real.shape[1]
    visible = real[:, None, None, :].expand(-1, 1, length, -1)
    if mask == "causal":
        visible = visible.tril()
    elif mask == "upper":
        visible = visible.triu()
    # The softmax of a position that sees nothing would be NaN.
    return visible | torch.eye(length, dtype=torch.bool, device=real.device)
