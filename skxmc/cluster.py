"""Balanced clusters of labels, from which label shortlists are made."""

from concurrent.futures import ThreadPoolExecutor
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.preprocessing import normalize
from sklearn.utils import TransformerTags, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ._cluster_nodes import DenseNodes, GPUSparseNodes, SparseNodes
from .nn.devices import choose_device
from .nn.process import default_modes

__all__ = ["BalancedKMeans"]


class BalancedKMeans(ClusterMixin, BaseEstimator):
    r"""Cluster labels by halving them repeatedly, into nearly equal sizes.

    All labels form the root of a tree, and balanced spherical 2-means splits
    each node [1]_ [2]_. Two random members of the node are the first centres.
    Members are sorted by the difference of their cosines to the two centres:
    the half that is nearer to the first centre goes left, the other half goes
    right, and ties go left in the order of the labels. The normalised sum of
    each side becomes its new centre. This repeats until the mean cosine of a
    member to its centre gains less than ``tol``.

    Parameters
    ----------
    max_leaf_size : int, default=100
        Largest number of labels in a cluster: larger nodes are split. It is
        ignored if ``n_clusters`` is given.
    n_clusters : int or None, default=None
        Number of clusters, or None to let ``max_leaf_size`` decide. It need
        not be a power of two: at the last level only the largest nodes are
        split, the first ones among equals.
    max_iter : int, default=100
        Largest number of assignments for one split.
    tol : float, default=1e-4
        A split ends when its mean cosine gains less than this. With 0 it
        ends only when no label moves, which takes up to twice the time and
        makes clusters from 0.04 % (library subjects) to 4 % (loosely related
        labels) tighter.
    device : {"auto", "cpu", "cuda"} or torch.device, default="auto"
        Where to compute. "auto" uses a GPU if there is one. On the CPU,
        ``torch.set_num_threads`` sets the number of threads.
    random_state : int, RandomState instance or None, default=None
        Seed of the first centres. An int makes ``fit`` repeatable.

    Attributes
    ----------
    labels_ : ndarray of shape (n_labels,), int32
        Cluster of each label. Clusters are numbered from left to right in
        the tree, so siblings have neighbouring numbers.
    n_clusters_ : int
        Number of clusters found.
    n_iter_ : int
        Largest number of assignments that a split took, at least 1.
    n_features_in_ : int
        Number of label features.

    Raises
    ------
    ValueError
        In ``fit``, if a parameter is out of range, if there are more
        clusters than labels, or if label features are not finite or not 2-D.
        In ``transform``, if ``Y`` does not have ``n_labels`` columns.

    Notes
    -----
    Sibling sizes differ by at most one, and so do the sizes of all nodes at
    one depth. With ``max_leaf_size=m`` every cluster of a tree with splits
    holds from ceil(m / 2) to m labels.

    All nodes of a level are split at once, and an assignment costs a single
    product of the features with the sums of the left halves. With
    :math:`u_i = \langle x_i, s_{left} \rangle` and :math:`t_i = \langle x_i,
    s_{left} + s_{right} \rangle`, the products with the right sums are
    :math:`t_i - u_i`, and the squared length of a sum is the sum of its
    members' products with it.

    Time grows with the number of levels times the number of non-zeros of the
    features, and memory is two to three times that of the features. The
    number of threads does not change the result. CPU and GPU, or dense and
    sparse features, round differently: if a label is about equally near to
    both sides, they may find different trees of the same quality.

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
            matters. Rows of zeros are allowed; they fill the side that has room.
        y : ignored
            Present because scikit-learn passes it.

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
            Labels of documents: every non-zero counts as 1. Unlike in other
            transformers, these are not rows like those of ``X`` in ``fit``.

        Returns
        -------
        clusters : CSR matrix or array of shape (n_docs, n_clusters)
            1 if a document has a label of the cluster. The data type is that
            of ``Y``, and column indices are sorted. A sparse matrix gives a
            ``csr_matrix``; anything else gives a ``csr_array``.
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
        Z.data[:] = 1  # also if a document's labels add up to 0
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
    """Make the root of the tree, a node of all labels, on a device."""
    device = choose_device(device)
    valid = np.ones((1, X.shape[0]), dtype=bool)
    if not sp.issparse(X):
        return DenseNodes(torch.from_numpy(X).to(device)[None], valid)
    if torch.device(device).type == "cpu":
        return SparseNodes(X, valid)
    return GPUSparseNodes(X, valid, device)


def _grow_tree(root, max_leaf_size, n_clusters, max_iter, tol, rng):
    """Split level by level until the leaves are small enough, or enough of them.

    A level is a list of blocks, each of which holds consecutive nodes. Returns the
    labels in the order of the leaves, the sizes of the leaves, and the largest
    number of assignments that a split took.
    """
    blocks, sizes, n_iter = [root], root.sizes, 1
    order = np.arange(sizes[0])
    # SciPy's products release the GIL, so blocks run in parallel threads. Products of
    # torch are parallel themselves.
    n_threads = torch.get_num_threads() if isinstance(root, SparseNodes) else 1
    with ThreadPoolExecutor(n_threads) as pool:
        splits = _choose_splits(sizes, max_leaf_size, n_clusters)
        while splits.any():
            child_sizes = _child_sizes(sizes, splits)
            next_splits = _choose_splits(child_sizes, max_leaf_size, n_clusters)
            # Drawn for the whole level: the order of threads must not matter.
            starts = _draw_starts(sizes, rng)

            node_ends = np.cumsum([len(block.sizes) for block in blocks])[:-1]
            label_ends = np.cumsum([block.sizes.sum() for block in blocks])[:-1]
            # The last level's nodes become leaves, which need no features.
            needs_children = next_splits.any()
            jobs = [
                pool.submit(_split_block, *job, max_iter, tol, needs_children)
                for job in zip(
                    blocks,
                    np.split(splits, node_ends),
                    np.split(starts, node_ends),
                    np.split(order, label_ends),
                    strict=True,
                )
            ]
            orders, children, iterations = zip(*(j.result() for j in jobs), strict=True)
            order, n_iter = np.concatenate(orders), max(n_iter, *iterations)
            blocks = [block for group in children for block in group]
            sizes, splits = child_sizes, next_splits
    return order, sizes, n_iter


def _choose_splits(sizes, max_leaf_size, n_clusters):
    """Return a mask of the nodes to split next."""
    if n_clusters is None:
        return sizes > max_leaf_size
    splits = np.zeros(len(sizes), dtype=bool)
    splits[np.argsort(-sizes, kind="stable")[: n_clusters - len(sizes)]] = True
    return splits


def _child_sizes(sizes, splits):
    """Return the sizes of the next level's nodes; an unsplit node is its own child."""
    left = np.where(splits, sizes // 2, sizes)
    children = np.stack([left, sizes - left], axis=1)
    return children[children > 0]


def _draw_starts(sizes, rng):
    """Draw two distinct members of each node, as positions within the node."""
    first, step = rng.random_sample((2, len(sizes)))
    first = (first * sizes).astype(np.int64)
    step = 1 + (step * (sizes - 1)).astype(np.int64)
    return np.stack([first, (first + step) % sizes], axis=1)


def _split_block(nodes, splits, starts, order, max_iter, tol, needs_children):
    """Split the chosen nodes of a block.

    Returns the block's labels in their new order, the blocks of the children if
    they are needed, and the number of assignments.
    """
    if not splits.any():  # happens at the last level only, which has no children
        return order, [], 0
    valid = nodes.valid
    left = valid.copy()  # a node that is not split keeps all members on the left
    part = nodes if splits.all() else nodes.keep(splits)
    left[splits], n_iter = _two_means(part, starts[splits], max_iter, tol)

    # A stable sort keeps the labels of a child in their own order, which breaks ties.
    child = 2 * np.arange(len(left))[:, None] + ~left
    rows = np.argsort(child[valid], kind="stable")
    children = []
    if needs_children:
        children = list(nodes.children(rows, _child_sizes(nodes.sizes, splits)))
    return order[rows], children, n_iter


def _two_means(nodes, starts, max_iter, tol):
    """Halve each node; return a mask of the left members and the iterations.

    Arrays have shape (n_nodes, largest size). Row i lists the members of node i,
    and is filled with False or 0 where the node is smaller.
    """
    valid, sizes, ids = nodes.valid, nodes.sizes, np.arange(len(nodes.sizes))
    total = nodes.products(valid)
    # The margin of a member is its cosine to the left centre minus that to the right
    # one. At first the centres are single members, with the weights 1 and -1.
    centres = np.zeros(valid.shape, dtype=np.float32)
    centres[ids, starts[:, 0]], centres[ids, starts[:, 1]] = 1, -1
    margin = nodes.products(centres)
    # The sum over all members of the cosine to the right centre. Adding the margins
    # of the left members gives the sum of each member's cosine to its own centre.
    base = total[ids, starts[:, 1]]
    halves, previous, best = valid.copy(), None, np.full(len(ids), -np.inf)

    for n_iter in range(1, max_iter + 1):  # noqa: B007
        left = _mask_largest(np.where(valid, margin, -np.inf), sizes // 2)
        halves[ids] = left
        mean = (np.where(left, margin, 0).sum(axis=1, dtype=np.float64) + base) / sizes
        unfinished = mean - best >= tol
        if previous is not None:
            unfinished &= (left != previous).any(axis=1)
        if not unfinished.any():
            break
        # Dropping finished nodes copies the others. Done only when half are finished,
        # all these copies together cost less than one pass.
        if unfinished.mean() < 0.5:
            nodes = nodes.keep(unfinished)
            sizes, ids = sizes[unfinished], ids[unfinished]
            valid, total = valid[unfinished], total[unfinished]
            left, mean = left[unfinished], mean[unfinished]
        previous, best = left, mean

        # As in the notes of the class: one product gives both sides.
        product = nodes.products(left)
        rest = total - product
        to_left = _inverse_length(np.where(left, product, 0))
        to_right = _inverse_length(np.where(left, 0, rest))
        margin = to_left[:, None] * product - to_right[:, None] * rest
        base = to_right * rest.sum(axis=1, dtype=np.float64)
    return halves, n_iter


def _inverse_length(products):
    """Return 1 / length of a sum from its members' products with it, or 0 for zero."""
    square = products.sum(axis=1, dtype=np.float64)
    positive = square > 0
    return (positive / np.sqrt(np.where(positive, square, 1))).astype(np.float32)


def _mask_largest(values, k):
    """Return a mask of the k[i] largest values of row i, the first ones if equal."""
    kth = values.shape[1] - k
    # A partition is 20 times as fast as a sort. Its threshold leaves ties open, which
    # the last line breaks in the order of the columns.
    ranked = np.partition(values, np.unique(kth), axis=1)
    threshold = np.take_along_axis(ranked, kth[:, None], axis=1)
    above, equal = values > threshold, values == threshold
    room = k - above.sum(axis=1)
    return above | (equal & (equal.cumsum(axis=1) <= room[:, None]))
