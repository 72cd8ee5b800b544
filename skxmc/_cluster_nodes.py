"""Label features of the nodes of a cluster tree: sparse, dense, or on a GPU.

Each of the three classes holds consecutive nodes of a level. Its attributes are
``sizes``, of shape (n_nodes,), and the mask ``valid`` of shape (n_nodes, largest size),
which tells the places of members from those that fill a row. Its methods are

- ``products(weights)``: each member's product with the weighted sum of the members of
  its node, for one weight per member;
- ``keep(mask)``: the same nodes without those that the mask leaves out;
- ``children(rows, sizes)``: blocks of nodes for the next level, which have these sizes
  and take the members in the order of ``rows``.
"""

from copy import copy

import numpy as np
import scipy.sparse as sp
import torch

# Non-zeros handled at once on the CPU. A block of 8 MB stays in the cache, and it
# shares the fixed cost of a NumPy call among hundreds of small nodes.
_BLOCK_NNZ = 1_000_000


def mask_members(sizes):
    """Return a mask of shape (n_nodes, largest size) of the places that are used."""
    return np.arange(sizes.max()) < sizes[:, None]


class SparseNodes:
    """Nodes on the CPU: CSR rows of the members, node after node.

    No two nodes share a column, so one product with a vector serves all of them.
    """

    def __init__(self, matrix, valid):
        self.matrix, self.valid, self.sizes = matrix, valid, valid.sum(axis=1)
        self.weights = np.zeros(matrix.shape[0], dtype=np.float32)
        self.sums = np.zeros(matrix.shape[1], dtype=np.float32)

    def products(self, weights):
        weights = weights[self.valid].astype(np.float32)
        # The sums are updated from the last call's: few members change sides once a
        # split has nearly settled. With many changes they are computed anew.
        change, sums = weights - self.weights, self.sums
        if np.count_nonzero(change) > np.count_nonzero(weights):
            change, sums = weights, 0
        rows = np.flatnonzero(change)
        self.sums = sums + self.matrix[rows].T @ change[rows]
        self.weights = weights
        products = np.zeros(self.valid.shape, dtype=np.float32)
        products[self.valid] = self.matrix @ self.sums
        return products

    def keep(self, mask):
        rows = np.repeat(mask, self.sizes)
        kept = SparseNodes(self.matrix[rows], self.valid[mask])
        kept.weights, kept.sums = self.weights[rows], self.sums
        return kept

    def children(self, rows, sizes):
        n_blocks = 2 if self.matrix.nnz > _BLOCK_NNZ else 1
        for part in np.array_split(np.arange(len(sizes)), n_blocks):
            start, end = sizes[: part[0]].sum(), sizes[: part[-1] + 1].sum()
            matrix = _separate_columns(self.matrix[rows[start:end]], sizes[part])
            yield SparseNodes(matrix, mask_members(sizes[part]))


def _separate_columns(matrix, sizes):
    """Give siblings different columns, and leave no column unused.

    Two siblings share the columns of their parent, so the right one's columns are
    moved behind all others.
    """
    if len(sizes) == 1:
        return matrix
    n_cols = matrix.shape[1]
    dtype = np.int32 if 2 * n_cols < 2**31 else np.int64
    side = np.arange(len(sizes), dtype=dtype) % 2 * n_cols
    lengths = np.diff(matrix.indptr[np.cumsum([0, *sizes])])
    columns = matrix.indices + np.repeat(side, lengths)
    used = np.zeros(2 * n_cols, dtype=bool)
    used[columns] = used[0] = True  # at least one column, even if all rows are zero
    number = np.cumsum(used, dtype=dtype) - 1
    parts = matrix.data, number[columns], matrix.indptr
    return sp.csr_matrix(parts, shape=(matrix.shape[0], number[-1] + 1))


class DenseNodes:
    """Nodes of dense features: a tensor (n_nodes, largest size, n_features).

    Places beyond the size of a node hold zeros.
    """

    def __init__(self, features, valid):
        self.features, self.valid, self.sizes = features, valid, valid.sum(axis=1)

    def products(self, weights):
        weights = torch.from_numpy(weights).to(self.features)
        sums = torch.bmm(weights[:, None], self.features)
        return torch.bmm(self.features, sums.mT)[:, :, 0].cpu().numpy()

    def keep(self, mask):
        chosen = torch.from_numpy(mask).to(self.features.device)
        return DenseNodes(self.features[chosen], self.valid[mask])

    def children(self, rows, sizes):
        valid, device = mask_members(sizes), self.features.device
        source = np.zeros(valid.shape, dtype=np.int64)
        source[valid] = np.flatnonzero(self.valid)[rows]
        features = self.features.flatten(0, 1)[torch.from_numpy(source).to(device)]
        features[torch.from_numpy(~valid).to(device)] = 0
        yield DenseNodes(features, valid)


class GPUSparseNodes:
    """Nodes on a GPU: the non-zeros of all labels stay in place, in label order.

    `members` lists the labels of all nodes, node after node.
    """

    def __init__(self, X, valid, device):
        self.lengths = torch.from_numpy(np.diff(X.indptr)).long().to(device)
        self.columns = torch.from_numpy(X.indices).long().to(device)
        self.data, self.n_features = torch.from_numpy(X.data).to(device), X.shape[1]
        self._assign(torch.arange(X.shape[0], device=device), valid)

    def _assign(self, members, valid):
        """Set the members, and number the pairs of node and feature that occur."""
        self.members, self.valid, self.sizes = members, valid, valid.sum(axis=1)
        node = torch.empty_like(members)
        node[members] = torch.from_numpy(valid.nonzero()[0]).to(members.device)
        pairs = node.repeat_interleave(self.lengths) * self.n_features + self.columns
        used, self.ids = torch.unique(pairs, return_inverse=True)
        self.n_sums = len(used)

    def products(self, weights):
        spread = self.data.new_zeros(len(self.lengths))
        weights = torch.from_numpy(weights[self.valid]).to(spread)
        spread[self.members] = weights
        spread = spread.repeat_interleave(self.lengths) * self.data
        chosen = spread.nonzero()[:, 0]
        sums = self.data.new_zeros(self.n_sums)
        # On a GPU index_put_ adds in a fixed order, but index_add_ does not.
        sums.index_put_((self.ids[chosen],), spread[chosen], accumulate=True)
        rows = self.data * sums[self.ids]
        rows = torch.segment_reduce(rows, "sum", lengths=self.lengths, initial=0)
        products = np.zeros(self.valid.shape, dtype=np.float32)
        products[self.valid] = rows[self.members].cpu().numpy()
        return products

    def keep(self, mask):
        kept = copy(self)
        rows = torch.from_numpy(np.repeat(mask, self.sizes))
        kept.members = self.members[rows.to(self.members.device)]
        kept.valid, kept.sizes = self.valid[mask], self.sizes[mask]
        return kept

    def children(self, rows, sizes):
        rows = torch.from_numpy(rows).to(self.members.device)
        self._assign(self.members[rows], mask_members(sizes))
        yield self
