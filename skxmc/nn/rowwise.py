"""Tables of vectors whose training costs what a step touches, not what they hold.

A step ranks some thousands of labels for a document, out of hundreds of thousands. The
gradient of their vectors is never spread over all labels, nor even written down. The
gradient of one label is a sum of document vectors, weighted by the gradients of the
label's scores, so `candidate_scores` keeps these two factors, and `RowwiseAdamW`
multiplies them where it updates the rows. For the vectors of features, which
`weighted_bag` adds up, it is the other way round: the gradient of a feature is a sum of
the documents' gradients, weighted by the feature's weights.
"""

import torch
from torch import nn
from torch.nn.functional import embedding_bag

from .rowwise_adamw import RowwiseAdamW

# Numbers of bfloat16 vectors that are brought to float32 at once for exact scores.
_GATHERED = 1 << 24


def candidate_scores(docs, vectors, ids, touched):
    """Score candidate labels: dot products of documents with their vectors.

    Parameters
    ----------
    docs : tensor of shape (n_docs, dim), of any floating dtype
    vectors : tensor of shape (n_rows, dim), float32, float64 or bfloat16
        No gradient comes to its ``.grad``.
    ids : int64 tensor of shape (n_docs, n_candidates)
        Rows of `vectors`.
    touched : list
        Receives ``(ids, docs, gradient of the scores)`` in the backward pass: the
        factors of the gradient of `vectors`, for `RowwiseAdamW`.

    Returns
    -------
    tensor of shape (n_docs, n_candidates)
        Of the dtype of `vectors`; without a gradient, float32 for bfloat16.
    """
    if torch.compiler.is_exporting():  # a graph has common operations only
        return (vectors[ids].to(docs.dtype) @ docs[:, :, None])[:, :, 0]
    if torch.is_grad_enabled():
        return _CandidateScores.apply(docs.to(vectors.dtype), vectors, ids, touched)
    if vectors.dtype == torch.bfloat16:
        return _exact_scores(docs, vectors, ids)
    return _products(docs.to(vectors.dtype), vectors, ids)


def _exact_scores(docs, vectors, ids):
    """Scores in float32 for vectors in bfloat16, whose own products tie near ones."""
    n_docs = max(1, _GATHERED // (ids.shape[1] * vectors.shape[1]))
    parts = zip(docs.float().split(n_docs), ids.split(n_docs), strict=True)
    return torch.cat(
        [(vectors[part].float() @ own[:, :, None])[:, :, 0] for own, part in parts]
    )


def _products(docs, vectors, ids):
    # What embedding_bag calls the gradient of its weights are these products;
    # alone of all operations it makes them without a copy of the vectors.
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
    """Sum up the vectors of each document's features, times their weights.

    Parameters
    ----------
    ids : int64 tensor of shape (n_docs, n_features_a_doc)
        Rows of `vectors`, no two of a document the same but for padding.
    weights : tensor of shape (n_docs, n_features_a_doc)
        0 at padding.
    vectors : tensor of shape (n_rows, dim)
        No gradient comes to its ``.grad``.
    touched : list
        Receives ``(ids, gradient of the sums, weights)`` in the backward pass, for
        `RowwiseAdamW`.

    Returns
    -------
    tensor of shape (n_docs, dim)
    """
    weights = weights.to(vectors.dtype)
    if not torch.is_grad_enabled():
        return embedding_bag(ids, vectors, per_sample_weights=weights, mode="sum")
    # None of the inputs asks for a gradient: one that does makes autograd call back.
    asking = torch.empty(0, requires_grad=True)
    return _WeightedBag.apply(ids, weights, vectors, touched, asking)


class _WeightedBag(torch.autograd.Function):
    @staticmethod
    def forward(ctx, ids, weights, vectors, touched, asking):
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
    """Base of modules with a table of vectors, of which a step trains some rows.

    A subclass has the table as `table`, and calls `prepare_rows` with the rows that it
    is about to use for a gradient.

    Attributes
    ----------
    row_wise : bool
        Whether the table is trained row by row; otherwise it is a parameter like any
        other, or does not learn.
    touched : list
        Receives the factors of the table's gradient.
    """

    row_wise = True
    # Optimizer of the rows while the table is trained. No copy and no folder has it.
    optimizer = None
    not_saved = ("optimizer",)

    def __init__(self):
        super().__init__()
        self.touched = []

    def reset_unsaved(self):
        """Set what only training needs (see `skxmc.nn.state`)."""
        self.touched, self.optimizer = [], None

    def start_training(self, **options):
        """Make the optimizer of the rows.

        Parameters
        ----------
        **options
            For `RowwiseAdamW`.

        Returns
        -------
        RowwiseAdamW
        """
        self.optimizer = RowwiseAdamW(self.table, self.touched, **options)
        return self.optimizer

    def end_training(self):
        """Let go of the optimizer."""
        self.optimizer = None

    def prepare_rows(self, rows):
        """Bring rows up to date, where training has left them behind."""
        if self.optimizer is not None and torch.is_grad_enabled():
            self.optimizer.catch_up(rows)

    def __getstate__(self):
        state = dict(super().__getstate__())
        for name in self.not_saved:
            state.pop(name, None)
        return state


def modules_trained_by_row(network):
    """Modules of a network whose tables are trained row by row."""
    modules = network.modules()
    return [m for m in modules if isinstance(m, TrainedByRow) and m.row_wise]
