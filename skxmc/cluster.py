"""Balanced clusters of labels: the tree that label shortlists grow on."""

from concurrent.futures import ThreadPoolExecutor
from copy import copy
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.preprocessing import normalize
from sklearn.utils import TransformerTags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .nn.devices import choose_device
from .nn.process import default_modes

# Non-zeros handled at once on the CPU: a block of 8 MB stays in the cache and
# still shares the fixed cost of a NumPy call among hundreds of small nodes.
_BLOCK_NNZ = 1_000_000


class BalancedKMeans(ClusterMixin, BaseEstimator):
    r"""Halve the labels again and again into clusters of nearly equal size.

    A node of the tree is split by balanced spherical 2-means. Two distinct
    random members are the first centres; the half of the members that is
    nearer the first centre than the second, by the difference of cosines,
    goes left, the rest right; the normalised sum of each side is its new
    centre; and so on until the mean cosine of a member to its centre gains
    less than ``tol``. Equal differences go left in the order of the labels.

    Parameters
    ----------
    max_leaf_size : int, default=100
        Largest number of labels in a cluster; nodes with more are split.
        Not used if ``n_clusters`` is given.
    n_clusters : int or None, default=None
        Number of clusters, not only powers of two: at the last level the
        largest nodes are split, and of equal ones the first.
    max_iter : int, default=100
        Largest number of assignments tried for one split.
    tol : float, default=1e-4
        A split ends when its mean cosine gains less than this. 0 goes on
        until no label moves: up to twice the time, for clusters from 0.04 %
        (library subjects) to 4 % (loosely related labels) tighter.
    device : {"auto", "cpu", "cuda"} or torch.device, default="auto"
        "auto" takes the GPU if there is one. ``torch.set_num_threads`` sets
        the number of CPU threads.
    random_state : int, RandomState instance or None, default=None
        Draws the first centres; an int makes ``fit`` repeatable.

    Attributes
    ----------
    labels_ : ndarray of shape (n_labels,), int32
        Cluster of each label. Clusters are numbered in tree order, so that
        siblings are neighbours.
    n_clusters_ : int
        Number of clusters found.
    n_iter_ : int
        Largest number of assignments that one split took, at least 1.
    n_features_in_ : int
        Number of label features.

    Raises
    ------
    ValueError
        In ``fit``, for a parameter out of its range, more clusters than
        labels, or label features that are not finite or not 2-D; in
        ``transform``, for a ``Y`` without ``n_labels`` columns.

    See Also
    --------
    skxmc.nn.labels.label_centroids : Label features from documents.

    Notes
    -----
    Sibling sizes differ by at most one, and so do the sizes of all nodes at
    one depth. With ``max_leaf_size=m`` every cluster of a tree with splits
    holds from ceil(m / 2) to m labels.

    All nodes of a level are handled at once, and an assignment costs one
    product of the features with the sums of the left halves. With
    :math:`u_i = \langle x_i, s_{left} \rangle` and :math:`t_i = \langle x_i,
    s_{left} + s_{right} \rangle`, the right side's products are
    :math:`t_i - u_i`, and a sum's squared length is the sum of its members'
    products with it.

    Time grows with the number of levels times the non-zeros of the features;
    memory is two to three copies of them. The number of threads does not
    change the result. CPU and GPU, or dense and sparse features, round
    differently: where a label is about as near to both sides, either may
    come to a different tree of the same quality.

    References
    ----------
    .. [1] Jiang et al., LightXML: Transformer with Dynamic Negative Sampling
       for High-Performance Extreme Multi-label Text Classification,
       AAAI 2021.
    .. [2] You et al., AttentionXML: Label Tree-based Attention-Aware Deep
       Model for High-Performance Extreme Multi-Label Text Classification,
       NeurIPS 2019.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc.cluster import BalancedKMeans
    >>> label_features = [[1, 0], [0, 1], [3, 1], [1, 4]]
    >>> model = BalancedKMeans(n_clusters=2, random_state=0)
    >>> model.fit_predict(label_features)
    array([0, 1, 0, 1], dtype=int32)
    >>> model.transform(csr_array([[1, 0, 1, 0], [0, 1, 1, 0]])).toarray()
    array([[1, 0],
           [1, 1]])
    """

    def __init__(
        self,
        max_leaf_size=100,
        *,
        n_clusters=None,
        max_iter=100,
        tol=1e-4,
        device="auto",
        random_state=None,
    ):
        self.max_leaf_size = max_leaf_size
        self.n_clusters = n_clusters
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    def fit(self, X, y=None):
        """Cluster the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix or array} of shape (n_labels, n_features)
            Label features, used as float32. Only the direction of a row
            counts. Zero rows are allowed, and fill up whichever side has room.
        y : None
            Ignored.

        Returns
        -------
        self : BalancedKMeans
            The fitted estimator.
        """
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float32)
        self._check_params(X.shape[0])
        with default_modes():
            order, sizes, self.n_iter_ = _grow_tree(
                _root(normalize(X), self.device),
                self.max_leaf_size,
                self.n_clusters,
                self.max_iter,
                self.tol,
                check_random_state(self.random_state),
            )
        self.n_clusters_ = len(sizes)
        self.labels_ = np.empty(X.shape[0], dtype=np.int32)
        self.labels_[order] = np.repeat(np.arange(len(sizes)), sizes)
        return self

    def transform(self, Y):
        """Turn label columns into cluster columns.

        Parameters
        ----------
        Y : {array-like, sparse matrix or array} of shape (n_docs, n_labels)
            Labels of documents: every non-zero counts as one. Unlike in
            other transformers these are not rows of ``fit``'s ``X``.

        Returns
        -------
        clusters : CSR matrix or array of shape (n_docs, n_clusters)
            1 where a document has a label of the cluster, of the data type
            of ``Y``; a ``csr_matrix`` for a sparse matrix, else a
            ``csr_array``. Column indices are sorted.
        """
        check_is_fitted(self)
        Y = check_array(Y, accept_sparse="csr", ensure_min_samples=0)
        if Y.shape[1] != len(self.labels_):
            raise ValueError(
                f"Y must have one column for each of the {len(self.labels_)} "
                f"labels that fit saw as the rows of X, got {Y.shape[1]} columns. "
                f"Pass document labels, not features, of the same label set."
            )
        Y = Y.copy() if sp.issparse(Y) else sp.csr_array(Y)
        Y.eliminate_zeros()
        Z = type(Y)(
            (Y.data, self.labels_[Y.indices], Y.indptr),
            shape=(Y.shape[0], self.n_clusters_),
        )
        Z.sum_duplicates()
        Z.data[:] = 1  # also where a document's labels summed up to zero
        return Z

    def _check_params(self, n_labels):
        for name in ("max_leaf_size", "max_iter", "n_clusters"):
            value = getattr(self, name)
            unset = name == "n_clusters" and value is None
            if not unset and not (isinstance(value, Integral) and value >= 1):
                raise ValueError(
                    f"{name} must be a whole number of at least 1, got {value!r}."
                )
        if not (isinstance(self.tol, Real) and self.tol >= 0):
            raise ValueError(f"tol must be a number of at least 0, got {self.tol!r}.")
        if self.n_clusters is not None and self.n_clusters > n_labels:
            raise ValueError(
                f"n_clusters must not exceed the number of labels, got n_clusters="
                f"{self.n_clusters} for the {n_labels} rows of X. Ask for fewer "
                f"clusters, or pass one row of features per label."
            )

    def __sklearn_tags__(self):  # noqa: D105
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags = TransformerTags(preserves_dtype=[])
        return tags


def _root(X, device):
    """Put all labels into one node, on the device asked for."""
    device = choose_device(device)
    valid = np.ones((1, X.shape[0]), dtype=bool)
    if not sp.issparse(X):
        return _DenseNodes(torch.from_numpy(X).to(device)[None], valid)
    if torch.device(device).type == "cpu":
        return _SparseNodes(X, valid)
    return _GPUSparseNodes(X, valid, device)


def _grow_tree(root, max_leaf_size, n_clusters, max_iter, tol, rng):
    """Split level by level until the leaves are small, or many, enough.

    Returns the labels in tree order, the sizes of the leaves, and the
    largest number of assignments that a split took.
    """
    blocks, sizes, n_iter = [root], root.sizes, 1
    order = np.arange(sizes[0])
    # SciPy's products run side by side without the GIL; torch has its own threads.
    n_threads = torch.get_num_threads() if isinstance(root, _SparseNodes) else 1
    with ThreadPoolExecutor(n_threads) as pool:
        splits = _choose_splits(sizes, max_leaf_size, n_clusters)
        while splits.any():
            child_sizes = _child_sizes(sizes, splits)
            next_splits = _choose_splits(child_sizes, max_leaf_size, n_clusters)
            # Drawn for the whole level, before threads can change the order.
            starts = _draw_starts(sizes, rng)

            bounds = np.cumsum([len(block.sizes) for block in blocks])[:-1]
            jobs = [
                pool.submit(_split_block, *job, max_iter, tol, next_splits.any())
                for job in zip(
                    blocks,
                    np.split(splits, bounds),
                    np.split(starts, bounds),
                    np.split(order, np.cumsum([b.sizes.sum() for b in blocks])[:-1]),
                    strict=True,
                )
            ]
            orders, children, iterations = zip(*(j.result() for j in jobs), strict=True)
            order, n_iter = np.concatenate(orders), max(n_iter, *iterations)
            blocks = [block for group in children for block in group]
            sizes, splits = child_sizes, next_splits
    return order, sizes, n_iter


def _choose_splits(sizes, max_leaf_size, n_clusters):
    """Mask the nodes to halve next."""
    if n_clusters is None:
        return sizes > max_leaf_size
    splits = np.zeros(len(sizes), dtype=bool)
    splits[np.argsort(-sizes, kind="stable")[: n_clusters - len(sizes)]] = True
    return splits


def _child_sizes(sizes, splits):
    """Sizes of the next level's nodes; a node not split is its own child."""
    left = np.where(splits, sizes // 2, sizes)
    children = np.stack([left, sizes - left], axis=1)
    return children[children > 0]


def _draw_starts(sizes, rng):
    """Draw two distinct members of each node, as positions in it."""
    first, step = rng.random_sample((2, len(sizes)))
    first = (first * sizes).astype(np.int64)
    step = 1 + (step * (sizes - 1)).astype(np.int64)
    return np.stack([first, (first + step) % sizes], axis=1)


def _split_block(nodes, splits, starts, order, max_iter, tol, go_on):
    """Split some nodes of a block; returns its labels in the new order.

    Also returns the blocks of the children, if the tree is to go on, and
    the number of assignments tried.
    """
    if not splits.any():  # only at the last level: there are no children
        return order, [], 0
    valid = nodes.valid
    left = valid.copy()  # a node not split keeps all members on the left
    part = nodes if splits.all() else nodes.keep(splits)
    left[splits], n_iter = _two_means(part, starts[splits], max_iter, tol)

    # Stable: each child lists its labels in their own order, as ties need it.
    child = 2 * np.arange(len(left))[:, None] + ~left
    rows = np.argsort(child[valid], kind="stable")
    children = nodes.children(rows, _child_sizes(nodes.sizes, splits)) if go_on else []
    return order[rows], list(children), n_iter


def _two_means(nodes, starts, max_iter, tol):
    """Halve each node; returns the mask of left members, and the iterations.

    Arrays have shape (n_nodes, largest size): row i lists node i's members,
    and False or zero fills a shorter node's last place.
    """
    valid, sizes, ids = nodes.valid, nodes.sizes, np.arange(len(nodes.sizes))
    total = nodes.products(valid)
    centres = np.zeros(valid.shape, dtype=np.float32)
    centres[ids, starts[:, 0]], centres[ids, starts[:, 1]] = 1, -1
    margin = nodes.products(centres)
    # Sum of all members' cosines to the right centre. The margins of the left
    # ones on top of it make the objective.
    base = total[ids, starts[:, 1]]
    halves, old, gained = valid.copy(), None, np.full(len(ids), -np.inf)

    for n_iter in range(1, max_iter + 1):  # noqa: B007
        left = _largest(np.where(valid, margin, -np.inf), sizes // 2)
        halves[ids] = left
        mean = (np.where(left, margin, 0).sum(axis=1, dtype=np.float64) + base) / sizes
        open_ = mean - gained >= tol
        if old is not None:
            open_ &= (left != old).any(axis=1)
        if not open_.any():
            break
        if open_.mean() < 0.5:  # halving: all the copies cost less than one pass
            nodes, sizes, ids = nodes.keep(open_), sizes[open_], ids[open_]
            valid, total, left, mean = (a[open_] for a in (valid, total, left, mean))
        old, gained = left, mean

        product = nodes.products(left)
        rest = total - product
        to_left = _inverse_length(np.where(left, product, 0))
        to_right = _inverse_length(np.where(left, 0, rest))
        margin = to_left[:, None] * product - to_right[:, None] * rest
        base = to_right * rest.sum(axis=1, dtype=np.float64)
    return halves, n_iter


def _valid(sizes):
    return np.arange(sizes.max()) < sizes[:, None]


def _inverse_length(products):
    """1 / length of a sum, from its members' products with it; 0 for no sum."""
    square = products.sum(axis=1, dtype=np.float64)
    positive = square > 0
    return (positive / np.sqrt(np.where(positive, square, 1))).astype(np.float32)


def _largest(values, k):
    """Mask the k[i] largest values of each row i; of equal ones, the first."""
    kth = values.shape[1] - k
    ranked = np.partition(values, np.unique(kth), axis=1)  # 20 times argsort's speed
    threshold = np.take_along_axis(ranked, kth[:, None], axis=1)
    above, equal = values > threshold, values == threshold
    room = k - above.sum(axis=1)
    return above | (equal & (equal.cumsum(axis=1) <= room[:, None]))


# The three classes below hold the label features of consecutive nodes of a
# level. valid is the mask of _two_means. products(weights) takes one weight per
# member and returns each member's product with its node's weighted sum;
# keep(mask) drops nodes; children(rows, sizes) regroups members for a new level.


class _SparseNodes:
    """CSR rows of the members, in node order; no two nodes share a column."""

    def __init__(self, matrix, valid):
        self.matrix, self.valid, self.sizes = matrix, valid, valid.sum(axis=1)
        self.weights = np.zeros(matrix.shape[0], dtype=np.float32)
        self.sums = np.zeros(matrix.shape[1], dtype=np.float32)

    def products(self, weights):
        weights = weights[self.valid].astype(np.float32)
        change, sums = weights - self.weights, self.sums
        if np.count_nonzero(change) > np.count_nonzero(weights):
            change, sums = weights, 0
        rows = np.flatnonzero(change)  # few, once a split has nearly settled
        self.sums = sums + self.matrix[rows].T @ change[rows]
        self.weights = weights
        products = np.zeros(self.valid.shape, dtype=np.float32)
        products[self.valid] = self.matrix @ self.sums
        return products

    def keep(self, mask):
        rows = np.repeat(mask, self.sizes)
        kept = _SparseNodes(self.matrix[rows], self.valid[mask])
        kept.weights, kept.sums = self.weights[rows], self.sums
        return kept

    def children(self, rows, sizes):
        n_blocks = 2 if self.matrix.nnz > _BLOCK_NNZ else 1
        for part in np.array_split(np.arange(len(sizes)), n_blocks):
            start, end = sizes[: part[0]].sum(), sizes[: part[-1] + 1].sum()
            matrix = _separate(self.matrix[rows[start:end]], sizes[part])
            yield _SparseNodes(matrix, _valid(sizes[part]))


def _separate(matrix, sizes):
    """Give siblings different columns, and number the used ones densely."""
    if len(sizes) == 1:
        return matrix
    n_cols = matrix.shape[1]
    dtype = np.int32 if 2 * n_cols < 2**31 else np.int64
    side = np.arange(len(sizes), dtype=dtype) % 2 * n_cols
    lengths = np.diff(matrix.indptr[np.cumsum([0, *sizes])])
    columns = matrix.indices + np.repeat(side, lengths)
    used = np.zeros(2 * n_cols, dtype=bool)
    used[columns] = used[0] = True  # a column even where all rows are zero
    number = np.cumsum(used, dtype=dtype) - 1
    parts = matrix.data, number[columns], matrix.indptr
    return sp.csr_matrix(parts, shape=(matrix.shape[0], number[-1] + 1))


class _DenseNodes:
    """Tensor (n_nodes, largest size, n_features), zero where not valid."""

    def __init__(self, features, valid):
        self.features, self.valid, self.sizes = features, valid, valid.sum(axis=1)

    def products(self, weights):
        weights = torch.from_numpy(weights).to(self.features)
        sums = torch.bmm(weights[:, None], self.features)
        return torch.bmm(self.features, sums.mT)[:, :, 0].cpu().numpy()

    def keep(self, mask):
        chosen = torch.from_numpy(mask).to(self.features.device)
        return _DenseNodes(self.features[chosen], self.valid[mask])

    def children(self, rows, sizes):
        valid, device = _valid(sizes), self.features.device
        source = np.zeros(valid.shape, dtype=np.int64)
        source[valid] = np.flatnonzero(self.valid)[rows]
        features = self.features.flatten(0, 1)[torch.from_numpy(source).to(device)]
        features[torch.from_numpy(~valid).to(device)] = 0
        yield _DenseNodes(features, valid)


class _GPUSparseNodes:
    """All labels' non-zeros, in the order of the labels; members points there."""

    def __init__(self, X, valid, device):
        self.lengths = torch.from_numpy(np.diff(X.indptr)).long().to(device)
        self.columns = torch.from_numpy(X.indices).long().to(device)
        self.data, self.n_features = torch.from_numpy(X.data).to(device), X.shape[1]
        self._place(torch.arange(X.shape[0], device=device), valid)

    def _place(self, members, valid):
        """Give each pair of node and feature a number, to sum up there."""
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
        # index_put_ adds in a fixed order on a GPU, index_add_ does not.
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
        self._place(self.members[rows], _valid(sizes))
        yield self
