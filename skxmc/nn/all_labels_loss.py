"""The losses over all labels, and the closed form of their gradients.

They are computed in chunks of labels, for `skxmc.nn.all_labels.AllLabels`.
"""

import torch
from torch.nn.functional import pad, softplus

from .losses import at_least_float32, document_factors, relative_weights
from .rowwise import candidate_scores

# The loss, which training only reports, is computed of as many documents of a batch as
# have this many scores together, and of one document at least.
_LOSS_SCORES = 2**20
# Used instead of -inf (see `skxmc.nn.losses`).
_NEVER = -1e30


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


def closed_form(docs, batch):
    """Return the loss of a batch, whose gradient is written down in it.

    Parameters
    ----------
    docs : tensor of shape (n_docs, dim)
    batch : Batch
    """
    # As in `weighted_bag`, the trigger has autograd call the backward pass.
    trigger = torch.empty(0, requires_grad=True)
    return _ClosedForm.apply(docs, batch, trigger)


class _ClosedForm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, docs, batch, trigger):
        ctx.batch = batch
        return batch.start(docs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        return ctx.batch.finish(upstream), None, None


class Batch:
    """A batch of documents, and what the gradient of their scores depends on.

    Attributes
    ----------
    docs : tensor of shape (n_docs, dim)
        If several processes share the labels, these are the documents of all of them.
        The loss is then the mean over the documents of this process.
    scale : tensor of shape () or (n_docs, 1)
        Factor of the gradient, which is known once the backward pass has come.
    reduction : float
        Factor of the gradient of the documents beside that of the rows.
    exchange : Exchange or None
        The documents of all processes. None if this process has all labels.
    doc_weights : tensor of shape (n_docs,) or None
        Weights of the documents.
    label_weights : tensor of shape (n_docs, n_positives) or None
        Weights of the positives, those of labels of other processes included.
    real : bool tensor of shape (n_docs, n_positives)
        Whether a positive is a label of this process, and not padding.
    """

    reduction = 1.0
    exchange = None

    def __init__(self, head, positives, doc_weights=None, label_weights=None):
        self.head, self.positives = head, positives
        self.doc_weights = doc_weights
        self.label_weights = None
        if label_weights is not None:
            self.label_weights = label_weights[positives]

    @torch.no_grad()
    def start(self, docs):
        """Return the loss, and keep what the gradient needs."""
        if self.doc_weights is not None:
            self.doc_weights = self.doc_weights.to(docs.dtype)
        if self.head.shard is not None:
            docs = self._exchange(docs)
        self.docs = docs
        self.real = self.positives < self.head.n_rows
        good = candidate_scores(docs, self.head.vectors, self.positives, None)
        return self._start(docs, good)

    def _exchange(self, docs):
        """Exchange documents and weights with the other processes."""
        exchange = self.exchange = self.head.shard.exchange(docs, self.positives)
        self.positives = exchange.labels
        if self.doc_weights is not None:
            self.doc_weights = exchange.gather(self.doc_weights[:, None], 1)[:, 0]
        if self.label_weights is not None:
            self.label_weights = exchange.gather(self.label_weights, exchange.width, 1)
        return exchange.docs

    def finish(self, upstream):
        """Return the gradient of the documents; move the rows if it is time."""
        raise NotImplementedError

    def _scale(self, upstream):
        """Return the factor of the gradient of the rows.

        Each process knows the factor of its own documents. `upstream` is that of a sum
        over processes, of which they take the mean.
        """
        if self.exchange is None:
            return upstream
        return self.exchange.spread(upstream / self.exchange.group.size)

    def differentiate(self, scores, start):
        """Replace scores of the chunk from `start` on by their gradient, in place."""
        raise NotImplementedError


class GRankBatch(Batch):
    """The GRank loss: Eq. 6 of X-GRank, as `skxmc.nn.losses.grank_loss_all`.

    The exponentials of the scores are summed up relative to the largest score so far,
    which may grow with each chunk. The same pass adds up the rows that pull at the
    documents, so that the backward pass does not compute any score.
    """

    def _start(self, docs, good):
        bad, means = -good, 1
        if self.label_weights is not None:
            weights = self.label_weights.to(good.dtype)
            is_label = self.real if self.exchange is None else self.exchange.is_label
            shifts, means = relative_weights(weights, is_label)
            bad, means = bad + shifts, means[:, None]
        low = bad.masked_fill(~self.real, _NEVER).logsumexp(dim=1, keepdim=True)
        share = (bad - low).clamp(max=0).exp() * self.real
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
        total.clamp_(min=1)  # it is at least 1, unless this process has no label
        pulled /= total
        self.high = highest + total.log()
        n_positives = self.real.sum(dim=1, keepdim=True)
        if self.exchange is not None:
            parts = torch.cat([self.high, low, n_positives.to(low.dtype)], dim=1)
            highs, lows, counts = self.exchange.group.gather(parts).split(1, dim=2)
            high, all_low = highs.logsumexp(dim=0), lows.logsumexp(dim=0)
            pulled *= (self.high - high).exp()
            share *= (low - all_low).clamp(max=0).exp()
            self.high, low, n_positives = high, all_low, counts.sum(dim=0)

        usable = (n_positives > 0) & (n_positives < self.head.n_labels)
        z = torch.where(usable, self.high + low, _NEVER)
        if self.exchange is not None:
            means = means * self._own_factors(usable)
            self.weight, losses = z.sigmoid() * means, softplus(z) * means
        elif self.doc_weights is not None:
            factors = document_factors(usable[:, 0], self.doc_weights)[:, None] * means
            self.weight = z.sigmoid() * factors
            loss = (softplus(z) * factors).sum()
        else:
            n_usable = usable.sum().clamp(min=1)
            self.weight = z.sigmoid() * means / n_usable
            loss = (softplus(z) * means).sum() / n_usable
        self.weight_of_positives = self.weight * share
        own = at_least_float32(self.head.vectors.data[self.positives])
        pushed = (self.weight_of_positives[:, None] @ own)[:, 0]
        self.gradient = self.weight * pulled - pushed
        if self.exchange is None:
            return loss
        own = self.exchange.own
        self.gradient = self.exchange.group.add(self.gradient)[own]
        return losses[own].sum()

    def _own_factors(self, usable):
        """Return the factors of the documents in the losses of their own processes."""
        usable = usable.view(-1, self.exchange.n_each)
        if self.doc_weights is None:
            factors = 1 / usable.sum(dim=1, keepdim=True).clamp(min=1)
            return factors.expand(usable.shape).reshape(-1, 1)
        weights = self.doc_weights.view(usable.shape)
        parts = zip(weights, usable, self.exchange.sizes, strict=True)
        factors = [
            pad(document_factors(some[:n], own[:n]), (0, len(own) - n))
            for own, some, n in parts
        ]
        return torch.cat(factors)[:, None]

    def finish(self, upstream):
        """Return the gradient of the documents (see `Batch.finish`)."""
        self.scale = self._scale(upstream)
        if self.head.optimizer is not None:
            if self.head.optimizer.add(self):
                self.head.optimizer.move_rows()
        return self.gradient * upstream

    def differentiate(self, scores, start):
        """Replace scores by their gradient (see `Batch.differentiate`)."""
        columns = self.positives - start
        add_at(scores, columns, _NEVER)
        scores.sub_(self.high).exp_().mul_(self.weight * self.scale)
        add_at(scores, columns, -self.weight_of_positives * self.scale)


class BCEBatch(Batch):
    """Binary cross-entropy: Eq. 1 of LightXML, as `skxmc.nn.losses.bce_loss_all`."""

    def __init__(self, head, positives, reduction="mean", **weights):
        super().__init__(head, positives, **weights)
        if reduction == "mean":
            self.reduction = 1 / head.n_labels

    def _start(self, docs, good):
        n_docs, n_labels = len(docs), self.head.n_labels
        if self.exchange is not None:
            return self._start_own(docs, good)
        # Every few documents: batches may be sorted by length.
        some = slice(None, None, _count_steps(n_docs, n_labels))
        docs, good, real = docs[some], good[some], self.real[some]
        if self.doc_weights is not None or self.label_weights is not None:
            return self._weighted_loss(docs, good, some)
        total = -(good * real).sum()  # softplus(-s) = softplus(s) - s
        for _, rows in self.head.chunks():
            total += softplus(docs @ rows.T).sum()
        return total / len(docs) * self.reduction

    def _weighted_loss(self, docs, good, some):
        counted = 1 if self.doc_weights is None else self.doc_weights[some, None]
        wanted = self._wanted()[some]
        total = softplus(good) * (wanted - 1) * self.real[some] - good * wanted
        total = total.sum(dim=1, keepdim=True)
        for _, rows in self.head.chunks():
            total += softplus(docs @ rows.T).sum(dim=1, keepdim=True)
        return (total * counted).sum() / len(docs) * self.reduction

    def _wanted(self):
        """Return the weights of the positives, and 0 for padding."""
        real = self.real.to(self.docs.dtype)
        return real if self.label_weights is None else real * self.label_weights

    def _start_own(self, docs, good):
        """Return the loss of this process's documents, over the labels of all."""
        exchange = self.exchange
        n_docs = max(1, exchange.n_counted)
        n_own = max(1, exchange.sizes[exchange.group.rank])
        step = _count_steps(n_docs, self.head.n_labels)
        some = (exchange.places() % step == 0).nonzero()[:, 0].to(docs.device)
        totals = docs.new_zeros(len(docs))
        wanted = self._wanted()
        beyond = softplus(good) * (wanted - 1) * self.real - good * wanted
        totals[some] = beyond.sum(dim=1)[some]
        for _, rows in self.head.chunks():
            totals[some] += softplus(docs[some] @ rows.T).sum(dim=1)
        if self.doc_weights is not None:
            totals = totals * self.doc_weights
        total = exchange.group.add(totals)[exchange.own].sum()
        # The processes take the mean weighted by `n_own`. It shall be the mean over
        # the documents that are looked at.
        n_seen = n_own * -(-n_docs // step) / n_docs
        return total / n_seen * self.reduction

    def finish(self, upstream):
        """Return the gradient of the documents (see `Batch.finish`)."""
        n_docs = len(self.docs)
        if self.exchange is not None:
            n_docs = max(1, self.exchange.sizes[self.exchange.group.rank])
        self.scale = self._scale(upstream / n_docs)
        if self.doc_weights is not None:
            self.scale = self.scale * self.doc_weights[:, None]
        optimizer = self.head.optimizer
        pulled = torch.zeros_like(self.docs)
        if optimizer is not None and optimizer.add(self):
            optimizer.move_rows(pulled=pulled)
        else:
            for start, rows in self.head.chunks():
                scores = self.docs @ rows.T
                self.differentiate(scores, start)
                pulled.addmm_(scores, rows)
        if self.exchange is not None:
            group = self.exchange.group
            pulled = group.add(pulled)[self.exchange.own] * group.size
        return pulled * self.reduction

    def differentiate(self, scores, start):
        """Replace scores by their gradient (see `Batch.differentiate`)."""
        scores.sigmoid_()
        columns, change = self.positives - start, -1.0
        if self.label_weights is not None:
            found = scores.gather(1, columns.clamp(0, scores.shape[1] - 1))
            wanted = self._wanted()
            change = found * (wanted - 1) * self.real - wanted
        add_at(scores, columns, change)
        scores.mul_(self.scale)


def _count_steps(n_docs, n_labels):
    """Return n, where the loss is reported of every n-th document of a batch."""
    return max(1, min(n_docs, n_docs * n_labels // _LOSS_SCORES))
