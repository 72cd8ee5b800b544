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
from torch.nn.functional import pad

from .all_labels_loss import BCEBatch, GRankBatch, add_at, closed_form
from .all_labels_optimizer import AllLabelsAdamW, AllLabelsRowwise, AllLabelsSGD
from .devices import FullPrecision
from .group import Shard, current_group
from .heads import Head
from .losses import at_least_float32, bce_loss_all, grank_loss_all
from .rowwise import TrainedByRow, append_rows, candidate_scores, choose_rows
from .shared_scores import shared_scores
from .shortlist import best_labels
from .state import flag, number, parameter

# Number of rows of a chunk. On a CPU, the rows of a chunk and their scores stay in
# cache; 512 to 32,768 rows take about the same time. A GPU would wait for the next
# operation if chunks were small.
_ROWS_ON_CPU, _ROWS_ON_GPU = 2048, 32_768


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
    shard : Shard or None
        The labels of this process, while several processes train the head: `vectors`
        then has the rows of these labels alone, and the padding. Losses and rankings
        are those of all labels nonetheless, and all processes must ask for them.
    is_cut : bool
        Whether several processes train some of the rows each.
    """

    is_cut = True
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

    def start_sharing(self, group):
        """Keep the rows of this process only, until `stop_sharing`."""
        self.shard = Shard(group, self.n_labels)
        self.vectors.data = self.shard.cut(self.vectors.data)

    def stop_sharing(self):
        """Bring the rows of all processes together again."""
        self.vectors.data = self.shard.whole(self.vectors.data)
        self.shard = None

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

    @property
    def n_rows(self):
        """Number of labels whose vectors this process has."""
        return len(self.vectors) - 1

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
        """Yield the first row of each chunk, and the label vectors of the chunk.

        They are parts of the table itself, or copies in float32 if it is in bfloat16.
        """
        n_rows = _ROWS_ON_GPU if self.vectors.is_cuda else _ROWS_ON_CPU
        for start in range(0, self.n_rows, n_rows):
            part = self.vectors.data[start : min(start + n_rows, self.n_rows)]
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
        if self.shard is not None:
            return self._share_scores(docs, ids)
        self.prepare_rows(ids)
        return candidate_scores(docs, self.vectors, ids, self.touched)

    def _share_scores(self, docs, ids):
        """Score candidates whose vectors other processes have."""
        docs = at_least_float32(docs)
        exchange = self.shard.exchange(docs.detach(), ids)
        self.prepare_rows(exchange.labels)
        scores = shared_scores(docs, self.vectors, exchange, self.touched)
        return scores[:, : ids.shape[1]]

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
            `grank_loss_all`, `bce_loss_all`, or a ``functools.partial`` of one of them
            with its ``reduction`` or with weights. With "mean", the label vectors are
            still trained by the gradient of the sum: divided by the number of labels,
            it would be as small as the ``eps`` of AdamW.

        Returns
        -------
        tensor of shape ()
            With BCE and more than 2**20 scores, the loss of some documents of the
            batch. The gradient is that of all documents.
        """
        options = {}
        if isinstance(loss, functools.partial):
            loss, options = loss.func, loss.keywords
        kinds = {grank_loss_all: GRankBatch, bce_loss_all: BCEBatch}
        batch = kinds[loss](self, positives, **options)
        with FullPrecision(docs.device.type):
            docs = at_least_float32(self._extend(docs))
            if not torch.is_grad_enabled():
                return batch.start(docs)
            if self.optimizer is not None:
                self.optimizer.n_pending += 1
            return closed_form(docs, batch)

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
        with FullPrecision(docs.device.type):
            docs = at_least_float32(self._extend(docs))
            if self.shard is None:
                found = self._top_of_rows(docs, k, adjust, normalize, without)
            else:
                found = self._top_of_all(docs, k, adjust, normalize, without)
            best, labels, total = found
            if normalize:
                best = best - total[:, None]
            return best_labels(best, k, self.n_labels, labels)

    def _top_of_rows(self, docs, k, adjust, normalize, without=None):
        """Return the best scores and their rows, and the log-sum-exp of all scores.

        The latter is computed only with `normalize`.
        """
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
        return best, labels, total

    def _top_of_all(self, docs, k, adjust, normalize, without):
        """Return what `_top_of_rows` does, over the labels of all processes."""
        if current_group() is None:
            raise RuntimeError(
                "A callback cannot predict while several processes train the labels' "
                "vectors: each of them has some of the labels only."
            )
        exchange = self.shard.exchange(docs, without)
        best, labels, total = self._top_of_rows(
            exchange.docs, k, adjust, normalize, exchange.labels
        )
        missing = min(k, self.n_labels) - best.shape[1]
        best = pad(best, (0, missing), value=-torch.inf)
        labels = pad(labels + self.shard.first, (0, missing), value=self.n_labels)
        gather, own = self.shard.group.gather, exchange.own
        # (n_own, n_processes * k)
        best, labels = (
            gather(part)[:, own].transpose(0, 1).flatten(1) for part in (best, labels)
        )
        total = gather(total)[:, own].logsumexp(dim=0)
        best, places = best.topk(min(k, self.n_labels), dim=1)
        return best, labels.gather(1, places), total

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
