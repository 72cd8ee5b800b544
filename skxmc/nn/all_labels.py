"""A head that scores every label without ever holding the scores of all labels.

It goes through the label vectors in chunks. With documents Z of shape (n_docs, dim),
the rows W of a chunk and the gradient G of their scores Z W^T, the chunk adds G W to
the gradient of the documents, and the rows move by G^T Z. The gradient of both losses
has a closed form, so that a chunk needs nothing of the other chunks but, for the GRank
loss, the logarithm of the sum over all of them.
"""

import functools

import torch
from torch import nn
from torch.nn.functional import pad, softplus

from .all_labels_optimizer import AllLabelsAdamW, AllLabelsRowwise, AllLabelsSGD
from .heads import Head
from .losses import at_least_float32, bce_loss_all, grank_loss_all
from .rowwise import TrainedByRow, append_rows, candidate_scores, choose_rows
from .shortlist import best_labels
from .state import flag, number, parameter

# Number of rows of a chunk. On a CPU, the rows of a chunk and their scores stay in
# cache; 512 to 32,768 rows take about the same time. A GPU would wait for the next
# operation if chunks were small.
_ROWS_ON_CPU, _ROWS_ON_GPU = 2048, 32_768
# The loss, which training only reports, is computed of as many documents of a batch as
# have this many scores together, and of one document at least.
_LOSS_SCORES = 2**20
# Used instead of -inf (see `skxmc.nn.losses`).
_NEVER = -1e30


class AllLabels(Head, TrainedByRow):
    """Head that scores every label by dot products, in chunks of labels.

    Training moves the label vectors within the backward pass (see
    `skxmc.nn.all_labels_optimizer`). Rankings are exact.

    Parameters
    ----------
    vectors : tensor of shape (n_labels, dim), float32, float64 or bfloat16
        Initial label vectors.
    bias : float or None, default=None
        Initial bias of each label. None means that labels have no bias.
    trained_by : {"rowwise", "adamw", "candidates"}, default="rowwise"
        Optimizer of the label vectors: gradient descent over a second moment for each
        row, or AdamW. "candidates" trains the vectors of the candidates that `forward`
        is given, instead of all vectors, as `skxmc.nn.heads.LabelScores` does.

    Attributes
    ----------
    n_labels, dim : int
    vectors : Parameter of shape (n_labels + 1, dim or dim + 1)
        The label vectors, with the bias as their last number. The last row is padding.
    """

    trained_by = "rowwise"
    not_saved = (*TrainedByRow.not_saved, "trained_by")

    def __init__(self, vectors, *, bias=None, trained_by="rowwise"):
        super().__init__()
        self.n_labels, self.dim = vectors.shape
        self.has_bias = bias is not None
        table = vectors.new_zeros(self.n_labels + 1, self.dim + self.has_bias)
        table[:-1, : self.dim] = vectors
        if self.has_bias:
            table[:-1, -1] = bias
        self.vectors = nn.Parameter(table, requires_grad=False)
        self.trained_by = trained_by

    def reset_unsaved(self):
        """Reset the attributes that only training needs (see `skxmc.nn.state`)."""
        super().reset_unsaved()
        self.trained_by = "rowwise"

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        shape = self.n_labels + 1, self.dim + self.has_bias
        dtypes = torch.float32, torch.float64, torch.bfloat16
        return {
            "n_labels": number(1, whole=True),
            "dim": number(1, whole=True),
            "has_bias": flag,
            "vectors": parameter(*shape, dtypes=dtypes),
        }

    @property
    def n_outputs(self):
        """Number of labels that are scored."""
        return self.n_labels

    @property
    def n_scores_held(self):
        """Largest number of scores of a document that exist at the same time."""
        return min(self.n_labels, _ROWS_ON_GPU)

    @property
    def table(self):
        """The label vectors, which are trained row by row."""
        return self.vectors

    def read_rows(self):
        """Return the vectors of all labels, and their biases or None."""
        rows = self.vectors.data[: self.n_labels]
        return rows[:, : self.dim], rows[:, -1] if self.has_bias else None

    def add_rows(self, vectors, bias=None):
        """Add labels at the end, in a new parameter.

        Parameters
        ----------
        vectors : tensor of shape (n_new, dim)
        bias : tensor of shape (n_new,) or None, default=None
            None means 0. It is not used if labels have no biases.
        """
        if self.has_bias:
            bias = vectors.new_zeros(len(vectors)) if bias is None else bias
            vectors = torch.cat([vectors, bias[:, None].to(vectors)], dim=1)
        self.vectors = append_rows(self.vectors, vectors, at=self.n_labels)
        self.n_labels += len(vectors)

    def keep_rows(self, labels):
        """Keep some labels, in the given order, in a new parameter.

        Parameters
        ----------
        labels : int64 tensor of shape (n_kept,)
        """
        self.vectors = choose_rows(self.vectors, pad(labels, (0, 1), value=-1))
        self.n_labels = len(labels)

    def chunks(self):
        """Yield the first label of each chunk, and the label vectors of the chunk.

        They are parts of the table itself, or copies in float32 if it is in bfloat16.
        """
        n_rows = _ROWS_ON_GPU if self.vectors.is_cuda else _ROWS_ON_CPU
        for start in range(0, self.n_labels, n_rows):
            part = self.vectors.data[start : min(start + n_rows, self.n_labels)]
            yield start, at_least_float32(part)

    def most_words(self, n_labels):
        """Return 0: labels have no words here (see `LabelScores.most_words`)."""
        return 0

    def forward(self, docs, ids=None):
        """Score labels.

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
        ids : int64 tensor of shape (n_docs, n_candidates) or None, default=None
            Label columns padded with n_labels, each label at most once per document.
            None returns the scores of all labels, which other methods avoid.

        Returns
        -------
        tensor of shape (n_docs, n_candidates) or (n_docs, n_labels)
            The scores of padded entries are arbitrary.
        """
        docs = self._extend(docs)
        if ids is None:
            return docs @ self.vectors[: self.n_labels].to(docs.dtype).T
        self.prepare_rows(ids)
        return candidate_scores(docs, self.vectors, ids, self.touched)

    def _extend(self, docs):
        """Append the number that is multiplied by the bias."""
        return pad(docs, (0, 1), value=1.0) if self.has_bias else docs

    def loss(self, docs, positives, loss):
        """Return the loss over all labels (see `Head.loss`).

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
        positives : int64 tensor of shape (n_docs, n_positives)
            Labels of each document, padded with n_labels.
        loss : callable
            `grank_loss_all`, `bce_loss_all`, or a ``functools.partial`` of the latter
            with its ``reduction``. With "mean", the label vectors are still trained by
            the gradient of the sum: divided by the number of labels, it would be as
            small as the ``eps`` of AdamW.

        Returns
        -------
        tensor of shape ()
            With BCE and more than 2**20 scores, the loss of some documents of the
            batch. The gradient is that of all documents.
        """
        options = {}
        if isinstance(loss, functools.partial):
            loss, options = loss.func, loss.keywords
        kinds = {grank_loss_all: _GRankBatch, bce_loss_all: _BCEBatch}
        batch = kinds[loss](self, positives, **options)
        with torch.autocast(docs.device.type, enabled=False):
            docs = at_least_float32(self._extend(docs))
            if not torch.is_grad_enabled():
                return batch.start(docs)
            if self.optimizer is not None:
                self.optimizer.n_pending += 1
            # As in `weighted_bag`, the trigger has autograd call the backward pass.
            trigger = torch.empty(0, requires_grad=True)
            return _ClosedForm.apply(docs, batch, trigger)

    @torch.no_grad()
    def top(self, docs, k, *, ids=None, adjust=None, normalize=False, without=None):
        """Return the k best labels of each document (see `Head.top`).

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
        k : int
        ids : int64 tensor of shape (n_docs, n_candidates) or None, default=None
        adjust : callable or None, default=None
            Function of the scores of some labels, which must not depend on the others.
        normalize : bool, default=False
        without : int64 tensor of shape (n_docs, n_excluded) or None, default=None
            Labels that are not returned, padded with n_labels.

        Returns
        -------
        ids : int64 tensor of shape (n_docs, k), best first, padded with n_labels
        scores : tensor of shape (n_docs, k), padded with -inf
        """
        options = dict(adjust=adjust, normalize=normalize)
        if ids is not None or torch.compiler.is_exporting():
            return super().top(docs, k, ids=ids, **options)
        with torch.autocast(docs.device.type, enabled=False):
            docs = at_least_float32(self._extend(docs))
            best = docs.new_empty(len(docs), 0)
            labels = best.long()
            total = docs.new_full((len(docs),), -torch.inf)
            for start, rows in self.chunks():
                scores = docs @ rows.T
                if without is not None:
                    add_at(scores, without - start, -torch.inf)
                scores = scores if adjust is None else adjust(scores)
                if normalize:
                    total = torch.logaddexp(total, scores.logsumexp(dim=1))
                found = scores.topk(min(k, scores.shape[1]), dim=1)
                best = torch.cat([best, found.values], dim=1)
                labels = torch.cat([labels, found.indices + start], dim=1)
                best, places = best.topk(min(k, best.shape[1]), dim=1)
                labels = labels.gather(1, places)
            if normalize:
                best = best - total[:, None]
            return best_labels(best, k, self.n_labels, labels)

    def start_training(self, *, rests=False, **options):
        """Make the optimizer of the label vectors (see `TrainedByRow`)."""
        kind = self._optimizer_class()
        if kind is None:
            return super().start_training(rests=rests, **options)
        self.optimizer = kind(self, **options)
        return self.optimizer

    def state_bytes(self, averages):
        """Return the number of bytes that training keeps beside the table."""
        kind = self._optimizer_class()
        if kind is None:
            return super().state_bytes(averages)
        return kind.state_bytes(self.table, averages)

    def _optimizer_class(self):
        if self.trained_by == "candidates":
            return None
        kinds = {"rowwise": AllLabelsRowwise, "adamw": AllLabelsAdamW}
        return AllLabelsSGD if self.by_sgd else kinds[self.trained_by]


def add_at(scores, columns, values):
    """Add values to some of the scores of a chunk, in place.

    Nothing is selected by a mask, which would wait for a GPU.

    Parameters
    ----------
    scores : tensor of shape (n_docs, n_rows)
    columns : int64 tensor of shape (n_docs, n)
        Columns of the scores. Those outside of [0, n_rows) are left out.
    values : float or tensor of shape (n_docs, n)
    """
    inside = (columns >= 0) & (columns < scores.shape[1])
    values = torch.as_tensor(values, dtype=scores.dtype, device=scores.device)
    values = torch.where(inside, values, 0)
    scores.scatter_add_(1, columns.clamp(0, scores.shape[1] - 1), values)


class _ClosedForm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, docs, batch, trigger):
        ctx.batch = batch
        return batch.start(docs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        return ctx.batch.finish(upstream), None, None


class _Batch:
    """A batch of documents, and what the gradient of their scores depends on.

    Attributes
    ----------
    docs : tensor of shape (n_docs, dim)
    scale : tensor of shape ()
        Factor of the gradient, which is known once the backward pass has come.
    reduction : float
        Factor of the gradient of the documents beside that of the rows.
    """

    reduction = 1.0

    def __init__(self, head, positives):
        self.head, self.positives = head, positives
        self.real = positives < head.n_labels

    @torch.no_grad()
    def start(self, docs):
        """Return the loss, and keep what the gradient needs."""
        self.docs = docs
        good = candidate_scores(docs, self.head.vectors, self.positives, None)
        return self._start(docs, good)

    def finish(self, upstream):
        """Return the gradient of the documents; move the rows if it is time."""
        raise NotImplementedError

    def differentiate(self, scores, start):
        """Replace scores of the chunk from `start` on by their gradient, in place."""
        raise NotImplementedError


class _GRankBatch(_Batch):
    """The GRank loss: Eq. 6 of X-GRank, as `skxmc.nn.losses.grank_loss_all`.

    The exponentials of the scores are summed up relative to the largest score so far,
    which may grow with each chunk. The same pass adds up the rows that pull at the
    documents, so that the backward pass does not compute any score.
    """

    def _start(self, docs, good):
        low = (-good).masked_fill(~self.real, _NEVER).logsumexp(dim=1, keepdim=True)
        share = (-good - low).clamp(max=0).exp() * self.real
        highest = docs.new_full((len(docs), 1), _NEVER)
        total, pulled = torch.zeros_like(highest), torch.zeros_like(docs)
        for start, rows in self.head.chunks():
            scores = docs @ rows.T
            add_at(scores, self.positives - start, _NEVER)
            before = highest
            highest = torch.maximum(before, scores.amax(dim=1, keepdim=True))
            kept = (before - highest).exp_()
            scores.sub_(highest).exp_()
            total.mul_(kept).add_(scores.sum(dim=1, keepdim=True))
            pulled.mul_(kept).addmm_(scores, rows)
        self.high = highest + total.log()

        n_positives = self.real.sum(dim=1, keepdim=True)
        usable = (n_positives > 0) & (n_positives < self.head.n_labels)
        z = torch.where(usable, self.high + low, _NEVER)
        n_usable = usable.sum().clamp(min=1)
        self.weight = z.sigmoid() / n_usable
        self.weight_of_positives = self.weight * share
        own = at_least_float32(self.head.vectors.data[self.positives])
        pushed = (self.weight_of_positives[:, None] @ own)[:, 0]
        self.gradient = self.weight * (pulled / total) - pushed
        return softplus(z).sum() / n_usable

    def finish(self, upstream):
        self.scale = upstream
        if self.head.optimizer is not None:
            if self.head.optimizer.add(self):
                self.head.optimizer.move_rows()
        return self.gradient * upstream

    def differentiate(self, scores, start):
        columns = self.positives - start
        add_at(scores, columns, _NEVER)
        scores.sub_(self.high).exp_().mul_(self.weight * self.scale)
        add_at(scores, columns, -self.weight_of_positives * self.scale)


class _BCEBatch(_Batch):
    """Binary cross-entropy: Eq. 1 of LightXML, as `skxmc.nn.losses.bce_loss_all`."""

    def __init__(self, head, positives, reduction="mean"):
        super().__init__(head, positives)
        if reduction == "mean":
            self.reduction = 1 / head.n_labels

    def _start(self, docs, good):
        n_docs, n_labels = len(docs), self.head.n_labels
        # Every few documents: batches may be sorted by length.
        some = slice(None, None, max(1, min(n_docs, n_docs * n_labels // _LOSS_SCORES)))
        docs, good, real = docs[some], good[some], self.real[some]
        total = -(good * real).sum()  # softplus(-s) = softplus(s) - s
        for _, rows in self.head.chunks():
            total += softplus(docs @ rows.T).sum()
        return total / len(docs) * self.reduction

    def finish(self, upstream):
        self.scale = upstream / len(self.docs)
        optimizer = self.head.optimizer
        pulled = torch.zeros_like(self.docs)
        if optimizer is not None and optimizer.add(self):
            optimizer.move_rows(pulled=pulled)
            return pulled * self.reduction
        for start, rows in self.head.chunks():
            scores = self.docs @ rows.T
            self.differentiate(scores, start)
            pulled.addmm_(scores, rows)
        return pulled * self.reduction

    def differentiate(self, scores, start):
        scores.sigmoid_()
        add_at(scores, self.positives - start, -1.0)
        scores.mul_(self.scale)
