"""Optimizers of a table all of whose rows have a gradient in every step.

A step goes through the table in chunks of rows. It computes the gradient of the scores
of a chunk, and moves the rows of the chunk by it, before it goes on to the next chunk.
Neither the scores nor the gradient of all rows exist at any time.
"""

import torch

from .rowwise_optimizer import RowwiseOptimizer


class AllLabelsOptimizer(RowwiseOptimizer):
    """Base of the optimizers of `skxmc.nn.all_labels.AllLabels`.

    The list `touched` holds the batches whose gradient the next step uses. A step
    usually happens within the backward pass, which then computes the scores of a chunk
    once for the gradient of the documents and for that of the rows. For that, the
    optimizer must know the learning rate before (see `arm`), and the backward pass must
    be the last one of the step. Otherwise `step` computes the scores again.

    A subclass defines ``_move(rows, gradient, docs, part)``, and `_begin` if it needs
    something that all chunks of a step share.

    Parameters
    ----------
    head : AllLabels
        Head whose table is trained.
    betas : (float, float), default=(0.9, 0.999)
        Decay rates of the first and the second moment, as far as there are any.
    eps : float, default=1e-8
        Number added to the root of the second moment.
    weight_decay : float, default=0.01
        Decoupled weight decay.
    """

    state_names = ("n_steps", "n_snapshots", "means")
    row_names = ("means",)
    # Moments of a row, and whether each has one number or as many as the row.
    n_moments, moment_is_scalar = 0, False

    def __init__(self, head, *, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(head.table, head.touched)
        self.head, self.shard = head, head.shard
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.n_steps = 0
        self.means = None
        # Batches whose loss has been computed, and whose gradient has not.
        self.n_pending = 0
        self.armed_rate = None

    @classmethod
    def state_bytes(cls, table, averages):
        """Return the number of bytes that training keeps beside the table.

        Parameters
        ----------
        table : tensor of shape (n_rows, dim)
        averages : bool
            Whether snapshots are averaged.
        """
        sizes = len(table) * 4 if cls.moment_is_scalar else table.nbytes
        mean = max(4, table.element_size()) * table.numel()
        return cls.n_moments * sizes + averages * mean

    def arm(self, rate):
        """Let the backward pass that follows make the step, as the last one of it."""
        self.armed_rate = rate

    def add(self, batch):
        """Add a batch whose gradient is known now.

        Returns
        -------
        bool
            Whether the step should be made at once, by `move_rows`.
        """
        self.touched.append(batch)
        self.n_pending -= 1
        return self.armed_rate is not None and self.n_pending == 0

    def forget(self):
        """Drop the gradient."""
        super().forget()
        self.n_pending, self.armed_rate = 0, None

    def factors(self):
        """Return tensors that are finite only if the gradient is."""
        return [part for batch in self.touched for part in (batch.docs, batch.scale)]

    @torch.no_grad()
    def squared_norm(self):
        """Return the squared norm of the gradient, added up over batches."""
        # Of the dtype of all processes, even if this one has no label.
        dtype = torch.promote_types(self.vectors.dtype, torch.float32)
        total = torch.zeros((), dtype=dtype, device=self.vectors.device)
        if self.touched:
            products = self._docs() @ self._docs().T
            for _, gradient, _ in self._chunks():
                total = total + _squared_norms(gradient, products).sum()
            total = total * self.touched[0].reduction ** 2
        return total if self.shard is None else self.shard.group.add(total)

    @torch.no_grad()
    def step(self, rate, *, scale=None, applies=None):
        """Update all rows, unless the backward pass has done so, and drop the gradient.

        Parameters
        ----------
        rate : float
            Learning rate.
        scale : tensor of shape () or None, default=None
            Factor for the gradient.
        applies : bool tensor of shape () or None, default=None
            Whether the step is applied. None applies it.
        """
        if self.touched and (applies is None or applies):
            self.move_rows(rate, scale=scale)
        self.forget()

    @torch.no_grad()
    def move_rows(self, rate=None, *, scale=None, pulled=None):
        """Move all rows by the gradient of the batches that have been added.

        Parameters
        ----------
        rate : float or None, default=None
            Learning rate. None is that of `arm`.
        scale : tensor of shape () or None, default=None
            Factor for the gradient.
        pulled : tensor of shape (n_docs, dim) or None, default=None
            The gradient of the documents of the last batch is added to it. It is that
            of the rows as they are before they move.
        """
        self.rate = self.armed_rate if rate is None else rate
        docs = self._docs()
        self.n_steps += 1
        self._begin(docs)
        for rows, gradient, part in self._chunks():
            if pulled is not None:
                pulled.addmm_(gradient[-len(pulled) :], rows)
            if scale is not None:
                gradient.mul_(scale)
            self._move(rows, gradient, docs, part)
            if self.vectors.dtype == torch.bfloat16:
                self.vectors.data[part] = self._round_stochastically(rows)
        self.forget()

    def _docs(self):
        return torch.cat([batch.docs for batch in self.touched])

    def _chunks(self):
        """Yield the rows of each chunk, the gradient of their scores, and the slice.

        The rows are those of the table itself, except that those of bfloat16 are
        copies in float32. The gradient has the shape (n_docs, n_rows).
        """
        docs = self._docs()
        sizes = [len(batch.docs) for batch in self.touched]
        for start, rows in self.head.chunks():
            scores = docs @ rows.T
            for batch, own in zip(self.touched, scores.split(sizes), strict=True):
                batch.differentiate(own, start)
            yield rows, scores, slice(start, start + len(rows))

    def _begin(self, docs):
        """Compute what all chunks of a step share."""

    def _move(self, rows, gradient, docs, part):
        """Move the rows of a chunk in place.

        Parameters
        ----------
        rows : tensor of shape (n_rows, dim)
        gradient : tensor of shape (n_docs, n_rows)
            Gradient of the scores of these rows, which may be overwritten.
        docs : tensor of shape (n_docs, dim)
        part : slice
            Place of the chunk in the table.
        """
        raise NotImplementedError

    @torch.no_grad()
    def snapshot(self):
        """Include the current rows in the average."""
        self.n_snapshots += 1
        if self.means is None:
            dtype = torch.promote_types(self.vectors.dtype, torch.float32)
            self.means = self.vectors.to(dtype, copy=True)
            return
        for start, rows in self.head.chunks():
            self.means[start : start + len(rows)].lerp_(rows, 1 / self.n_snapshots)

    def averages(self, n_snapshots):
        """Return the mean of the snapshots, of the shape and dtype of `vectors`."""
        return self.means.to(self.vectors.dtype)


class AllLabelsSGD(AllLabelsOptimizer):
    """Plain stochastic gradient descent, without a state and without weight decay."""

    def _move(self, rows, gradient, docs, part):
        rows.addmm_(gradient.T, docs, alpha=-self.rate)


class AllLabelsRowwise(AllLabelsOptimizer):
    r"""Gradient descent by the gradient of a row over its running root mean square.

    .. math:: v \leftarrow \beta_2 v + (1 - \beta_2) \lVert g \rVert^2 / d, \quad
        w \leftarrow (1 - \eta \lambda) w - \eta g / (\sqrt{\hat v} + \epsilon)

    This is AdamW with one second moment for all d numbers of a row, and without a first
    moment. It learns well at the rates of AdamW, and takes 4 bytes a row. The squared
    norm of a row's gradient comes from the products of the documents with each other,
    so that the gradient itself is never written down.
    """

    state_names = (*AllLabelsOptimizer.state_names, "second")
    row_names = (*AllLabelsOptimizer.row_names, "second")
    n_moments, moment_is_scalar = 1, True

    def __init__(self, head, **options):
        super().__init__(head, **options)
        dtype = torch.promote_types(self.vectors.dtype, torch.float32)
        self.second = self.vectors.new_zeros(len(self.vectors), dtype=dtype)

    def _begin(self, docs):
        self.products = docs @ docs.T

    def _move(self, rows, gradient, docs, part):
        beta2 = self.betas[1]
        squares = _squared_norms(gradient, self.products) / rows.shape[1]
        second = self.second[part].lerp_(squares, 1 - beta2)
        size = (second / (1 - beta2**self.n_steps)).sqrt_().add_(self.eps)
        rows.addmm_(
            gradient.div_(size).T,
            docs,
            beta=1 - self.rate * self.weight_decay,
            alpha=-self.rate,
        )


class AllLabelsAdamW(AllLabelsOptimizer):
    """AdamW, with two moments for each number, of the dtype of the table."""

    state_names = (*AllLabelsOptimizer.state_names, "first", "second")
    row_names = (*AllLabelsOptimizer.row_names, "first", "second")
    n_moments = 2

    def __init__(self, head, **options):
        super().__init__(head, **options)
        self.first = torch.zeros_like(self.vectors)
        self.second = torch.zeros_like(self.vectors)

    def _move(self, rows, gradient, docs, part):
        beta1, beta2 = self.betas
        bias1, bias2 = 1 - beta1**self.n_steps, 1 - beta2**self.n_steps
        gradient = gradient.T @ docs
        first, second = self.first.data[part], self.second.data[part]
        if self.vectors.dtype == torch.bfloat16:
            first, second = first.float(), second.float()
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        if self.vectors.dtype == torch.bfloat16:
            self.first.data[part] = self._round_stochastically(first)
            self.second.data[part] = self._round_stochastically(second)
        size = torch.sqrt(second, out=gradient).div_(bias2**0.5).add_(self.eps)
        rows.mul_(1 - self.rate * self.weight_decay)
        rows.addcdiv_(first, size, value=-self.rate / bias1)


def _squared_norms(gradient, products):
    """Return the squared norm of the gradient of each row.

    Parameters
    ----------
    gradient : tensor of shape (n_docs, n_rows)
        Gradient of the scores of the rows.
    products : tensor of shape (n_docs, n_docs)
        Dot products of the documents.
    """
    return (products @ gradient).mul_(gradient).sum(dim=0).clamp_(min=0)
