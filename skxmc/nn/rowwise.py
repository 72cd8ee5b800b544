"""Tables of vectors that are trained row by row, for the few rows that a step uses.

A step ranks some thousands of labels for each document, out of hundreds of thousands. A
dense gradient of the label vectors would be as large as the whole table, so it is never
computed. The gradient of one label's vector is a sum of document vectors, weighted by
the gradients of the label's scores. `candidate_scores` only keeps these two factors,
and `RowwiseAdamW` multiplies them when it updates the rows.

For feature vectors, which `weighted_bag` sums up, the factors have opposite roles: the
gradient of a feature's vector is a sum of the gradients of documents, weighted by the
weights of the feature.
"""

import torch
from torch import nn
from torch.nn.functional import embedding_bag

from .rowwise_adamw import RowwiseAdamW
from .rowwise_sgd import RowwiseSGD

# Most values of bfloat16 vectors that are converted to float32 at once: 64 MB.
_VALUES_AT_ONCE = 1 << 24


def candidate_scores(docs, vectors, ids, touched):
    """Compute dot products of document vectors with the vectors of their candidates.

    Parameters
    ----------
    docs : tensor of shape (n_docs, dim), of any floating dtype
        Vectors of the documents.
    vectors : tensor of shape (n_rows, dim), float32, float64 or bfloat16
        Table of vectors. Its ``.grad`` is not set.
    ids : int64 tensor of shape (n_docs, n_candidates)
        Rows of `vectors`.
    touched : list
        In the backward pass, ``(ids, docs, gradient of the scores)`` is appended to it.
        These are the factors of the gradient of `vectors` for `RowwiseAdamW`.

    Returns
    -------
    tensor of shape (n_docs, n_candidates)
        Scores of the dtype of `vectors`. If gradients are disabled, the scores of
        bfloat16 vectors are float32.
    """
    if torch.compiler.is_exporting():  # an exported graph needs common operations
        return (vectors[ids].to(docs.dtype) @ docs[:, :, None])[:, :, 0]
    if torch.is_grad_enabled():
        return _CandidateScores.apply(docs.to(vectors.dtype), vectors, ids, touched)
    if vectors.dtype == torch.bfloat16:
        return _exact_scores(docs, vectors, ids)
    return _products(docs.to(vectors.dtype), vectors, ids)


def _exact_scores(docs, vectors, ids):
    """Compute float32 scores of bfloat16 vectors, since bfloat16 ties near scores."""
    n_docs = max(1, _VALUES_AT_ONCE // (ids.shape[1] * vectors.shape[1]))
    parts = zip(docs.float().split(n_docs), ids.split(n_docs), strict=True)
    return torch.cat(
        [(vectors[part].float() @ own[:, :, None])[:, :, 0] for own, part in parts]
    )


def _products(docs, vectors, ids):
    # These dot products are what embedding_bag calls the gradient of its weights. No
    # other operation computes them without copying the vectors of all candidates.
    n_docs, n_candidates = ids.shape
    bags = torch.arange(n_docs, device=ids.device)
    scores = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        docs.contiguous(),
        vectors,
        ids.flatten(),
        bags * n_candidates,
        bags.repeat_interleave(n_candidates, output_size=ids.numel()),
        mode=0,
    )
    return scores.view(ids.shape)


class _CandidateScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx, docs, vectors, ids, touched):
        ctx.save_for_backward(docs, vectors, ids)
        ctx.touched = touched
        return _products(docs, vectors, ids)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        docs, vectors, ids = ctx.saved_tensors
        ctx.touched.append((ids, docs.detach(), upstream))
        weights = upstream.contiguous()
        docs = embedding_bag(ids, vectors, per_sample_weights=weights, mode="sum")
        return docs, None, None, None


def weighted_bag(ids, weights, vectors, touched):
    """Compute the weighted sum of the vectors of each document's features.

    Parameters
    ----------
    ids : int64 tensor of shape (n_docs, most_features)
        Rows of `vectors`, each at most once per document except for padding.
    weights : tensor of shape (n_docs, most_features)
        Weights of the features, 0 at padding.
    vectors : tensor of shape (n_rows, dim)
        Table of vectors. Its ``.grad`` is not set.
    touched : list
        In the backward pass, ``(ids, gradient of the sums, weights)`` is appended to
        it, for `RowwiseAdamW`.

    Returns
    -------
    tensor of shape (n_docs, dim)
    """
    weights = weights.to(vectors.dtype)
    if not torch.is_grad_enabled():
        return embedding_bag(ids, vectors, per_sample_weights=weights, mode="sum")
    # autograd calls the backward pass only if some input requires a gradient, which
    # none of the others does.
    trigger = torch.empty(0, requires_grad=True)
    return _WeightedBag.apply(ids, weights, vectors, touched, trigger)


class _WeightedBag(torch.autograd.Function):
    @staticmethod
    def forward(ctx, ids, weights, vectors, touched, trigger):
        ctx.save_for_backward(ids, weights)
        ctx.touched = touched
        return embedding_bag(ids, vectors, per_sample_weights=weights, mode="sum")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        ids, weights = ctx.saved_tensors
        ctx.touched.append((ids, upstream, weights))
        return None, None, None, None, None


class TrainedByRow(nn.Module):
    """Base of modules with a table of vectors that is trained row by row.

    A subclass has the attribute or property `table`, and calls `prepare_rows` with the
    rows that it is about to use for a gradient.

    Attributes
    ----------
    row_wise : bool
        Whether the table is trained row by row. Otherwise it is a parameter like any
        other, or is not trained.
    touched : list
        Factors of the table's gradient, as `candidate_scores` and `weighted_bag` append
        them.
    optimizer : RowwiseOptimizer or None
        Optimizer of the table during training.
    by_sgd : bool
        Whether plain SGD trains the table, instead of AdamW.
    rests : bool
        Whether rows stay unchanged in steps that do not touch them (see
        `RowwiseAdamW`), whatever the training loop says.
    group : Group or None
        The processes that train the table together, if each of them has all rows.
    shard : Shard or None
        The rows of this process, if each of several processes has some.
    """

    row_wise = True
    by_sgd = False
    rests = False
    optimizer = group = shard = None
    # Attributes that copies, pickles and model folders leave out.
    not_saved = ("optimizer", "by_sgd", "rests", "group", "shard")

    def __init__(self):
        super().__init__()
        self.touched = []

    def reset_unsaved(self):
        """Reset the attributes that only training needs (see `skxmc.nn.state`)."""
        self.touched, self.optimizer = [], None
        self.by_sgd = self.rests = False
        self.group = self.shard = None

    def start_sharing(self, group):
        """Train the table together with other processes, until `stop_sharing`."""
        self.group = group

    def stop_sharing(self):
        """Train the table alone again, from the rows of the first process.

        The average of rows in bfloat16 may be rounded otherwise in each process.
        """
        self.table.data.copy_(self.group.take_from(0, self.table.data))
        self.group = None

    def start_training(self, *, rests=False, **options):
        """Make the optimizer of the table.

        Parameters
        ----------
        rests : bool, default=False
            Whether rows rest in the whole network.
        **options
            Other parameters of `RowwiseAdamW`.

        Returns
        -------
        RowwiseOptimizer
        """
        if self.by_sgd:
            self.optimizer = RowwiseSGD(self.table, self.touched)
        else:
            options["rests"] = rests or self.rests
            self.optimizer = RowwiseAdamW(self.table, self.touched, **options)
        self.optimizer.group, self.optimizer.shard = self.group, self.shard
        return self.optimizer

    def state_bytes(self, averages):
        """Return the number of bytes that training keeps beside the table.

        Parameters
        ----------
        averages : bool
            Whether the table is averaged over snapshots.
        """
        size = 0 if self.by_sgd else 2 * self.table.nbytes  # AdamW's two moments
        if averages:  # the mean, and the sum of the moves in float32 at least
            size += self.table.nbytes
            size += max(4, self.table.element_size()) * self.table.numel()
        return size

    def end_training(self):
        """Drop the optimizer."""
        self.optimizer = None

    def prepare_rows(self, rows):
        """Bring rows up to date before they are used (see `RowwiseAdamW.catch_up`)."""
        if self.optimizer is not None and torch.is_grad_enabled():
            self.optimizer.catch_up(rows)

    def __getstate__(self):
        state = dict(super().__getstate__())
        for name in self.not_saved:
            state.pop(name, None)
        return state


def modules_trained_by_row(network):
    """Return the modules of a network whose tables are trained row by row."""
    modules = network.modules()
    return [m for m in modules if isinstance(m, TrainedByRow) and m.row_wise]


def append_rows(table, rows, *, at=None):
    """Return a parameter with more rows.

    Parameters
    ----------
    table : Parameter of shape (n_rows,) or (n_rows, dim)
    rows : tensor of shape (n_new,) or (n_new, dim)
    at : int or None, default=None
        Row before which the new ones are inserted. None appends them.
    """
    rows = rows.to(table.device, table.dtype)
    at = len(table) if at is None else at
    grown = torch.cat([table.data[:at], rows, table.data[at:]])
    return nn.Parameter(grown, requires_grad=table.requires_grad)


def choose_rows(table, rows):
    """Return a parameter that holds some rows of another one, in the given order.

    Parameters
    ----------
    table : Parameter
    rows : int64 tensor of shape (n_kept,)
    """
    kept = table.data[rows.to(table.device)]
    return nn.Parameter(kept, requires_grad=table.requires_grad)
