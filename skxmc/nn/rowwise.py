"""Label vectors whose training costs what a step touches, not what there are.

A step ranks some thousands of labels a document, of hundreds of thousands. Their
vectors' gradient is never spread over all labels, nor even written down: the
gradient of a label is a sum of document vectors, weighted by the gradients of its
scores, so `candidate_scores` keeps these factors and `RowwiseAdamW` multiplies them
where it updates the rows.
"""

import torch
from torch.nn.functional import embedding_bag

# Rows updated at once on a CPU: 4 buffers of 2048 x 400 floats stay in its cache.
_ROWS_AT_ONCE = 2048


def candidate_scores(docs, vectors, ids, touched):
    """Score candidate labels: dot products of documents with their vectors.

    Parameters
    ----------
    docs : tensor of shape (n_docs, dim)
    vectors : tensor of shape (n_rows, dim)
        No gradient comes to its ``.grad``.
    ids : int64 tensor of shape (n_docs, n_candidates)
        Rows of `vectors`.
    touched : list
        Receives ``(ids, docs, gradient of the scores)`` in the backward pass: the
        factors of the gradient of `vectors`, for `RowwiseAdamW`.

    Returns
    -------
    tensor of shape (n_docs, n_candidates), of the dtype of `vectors`
    """
    return _CandidateScores.apply(docs.to(vectors.dtype), vectors, ids, touched)


class _CandidateScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx, docs, vectors, ids, touched):
        ctx.save_for_backward(docs, vectors, ids)
        ctx.touched = touched
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

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        docs, vectors, ids = ctx.saved_tensors
        ctx.touched.append((ids, docs.detach(), upstream))
        weights = upstream.contiguous()
        docs = embedding_bag(ids, vectors, per_sample_weights=weights, mode="sum")
        return docs, None, None, None


class RowwiseAdamW:
    """AdamW on the rows that a step touched, each on a clock of its own.

    A row that was touched n times stands where dense AdamW [1]_ would have brought
    it in the n steps of its gradients: moments, their bias correction and the
    weight decay count the steps of the row. A step costs what the touched rows
    cost.

    Parameters
    ----------
    vectors : Parameter of shape (n_rows, dim), float32, float64 or bfloat16
        Updated in place; it requires no gradient. The last row is padding: ids that
        stand for no label; its gradient must be 0. The moments are kept in the same
        dtype; bfloat16 is rounded stochastically, since most steps are smaller than
        half its resolution.
    touched : list
        Where `candidate_scores` leaves the factors of the gradient. Those of all
        batches since the last step are added up.
    betas : (float, float), default=(0.9, 0.999)
    eps : float, default=1e-8
    weight_decay : float, default=0.01

    References
    ----------
    .. [1] Loshchilov, Hutter. Decoupled Weight Decay Regularization, ICLR 2019.
    """

    def __init__(
        self, vectors, touched, *, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
    ):
        self.vectors = vectors
        self.touched = touched
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.first = torch.zeros_like(vectors)
        self.second = torch.zeros_like(vectors)
        n_rows = len(vectors)
        self.n_steps = torch.zeros(n_rows, dtype=torch.int32, device=vectors.device)
        self.n_snapshots, self.moved = 0, None
        self.noise = None

    def snapshot(self):
        """Count the rows as they stand into their average."""
        if self.moved is None:
            dtype = torch.promote_types(self.vectors.dtype, torch.float32)
            self.moved = torch.zeros_like(self.vectors, dtype=dtype)
        self.n_snapshots += 1

    def averages(self):
        """Mean of the snapshots, of the shape and dtype of `vectors`.

        The rows of a snapshot are those of today less what they moved since, so
        that each move, weighted by the snapshots before it, is all to be kept.
        """
        mean = self.vectors - self.moved / self.n_snapshots
        return mean.to(self.vectors.dtype)

    @torch.no_grad()
    def squared_norm(self):
        """Squared norm of the gradient that has been added up."""
        total = torch.zeros((), device=self.vectors.device)
        for _, gradient in self._gradients():
            total = total + gradient.square().sum()
        return total

    @torch.no_grad()
    def step(self, rate, *, scale=None):
        """Update the touched rows, and forget the gradient.

        Parameters
        ----------
        rate : float
            Learning rate.
        scale : tensor of shape () or None, default=None
            What the gradient is multiplied by; it may not be finite then.
        """
        beta1, beta2 = self.betas
        for rows, gradient in self._gradients():
            if scale is not None:
                # Overflows of half precision: dense weights skip such a step too.
                gradient = gradient.mul_(scale).nan_to_num_(0.0, 0.0, 0.0)
            n_steps = self.n_steps[rows] + 1
            self.n_steps[rows] = n_steps
            n_steps = n_steps[:, None].to(gradient.dtype)
            first = self._read(self.first, rows).lerp_(gradient, 1 - beta1)
            second = self._read(self.second, rows).mul_(beta2)
            second.addcmul_(gradient, gradient, value=1 - beta2)
            self._write(self.first, rows, first)
            self._write(self.second, rows, second)

            size = second.sqrt_().div_((1 - beta2**n_steps).sqrt_()).add_(self.eps)
            step = first.mul_(rate / (1 - beta1**n_steps))
            old = self._read(self.vectors, rows)
            new = (old * (1 - rate * self.weight_decay)).addcdiv_(step, size, value=-1)
            new = self._write(self.vectors, rows, new)
            if self.n_snapshots:
                self.moved.index_add_(0, rows, new - old, alpha=self.n_snapshots)
        self.touched.clear()
        self.noise = None

    def _gradients(self):
        """Blocks of touched rows, each row once, with their gradients."""
        if not self.touched:
            return
        docs = torch.cat([docs for _, docs, _ in self.touched])
        docs = docs.to(torch.promote_types(docs.dtype, torch.float32))
        ids = torch.cat([ids.flatten() for ids, _, _ in self.touched])
        weights = torch.cat([weights.flatten() for _, _, weights in self.touched])
        n_each = [ids.shape for ids, _, _ in self.touched]
        owners = torch.arange(len(docs), device=ids.device)
        owners = torch.cat(
            [
                part.repeat_interleave(n, output_size=len(part) * n)
                for part, (_, n) in zip(
                    owners.split([n for n, _ in n_each]), n_each, strict=True
                )
            ]
        )
        ids, order = ids.sort()
        owners, weights = owners[order], weights[order]
        is_new = ids.diff(prepend=ids.new_full((1,), -1)) != 0
        places = is_new.cumsum(0) - 1
        if ids.is_cuda:  # as many rows as entries: a count would wait for the device
            rows = torch.full_like(ids, len(self.vectors) - 1)
            blocks = [(rows.scatter_(0, places, ids), slice(None))]
        else:
            rows = ids[is_new].split(_ROWS_AT_ONCE)
            ends = is_new.nonzero()[_ROWS_AT_ONCE::_ROWS_AT_ONCE, 0].tolist()
            entries = map(slice, [0, *ends], [*ends, len(ids)])
            blocks = zip(rows, entries, strict=True)
        for i, (rows, entries) in enumerate(blocks):
            factor = docs.new_zeros(len(rows), len(docs))
            places_here = places[entries] - i * _ROWS_AT_ONCE
            factor[places_here, owners[entries]] = weights[entries].to(docs.dtype)
            yield rows, factor @ docs

    def _read(self, table, rows):
        part = table.index_select(0, rows)
        return part.to(torch.promote_types(part.dtype, torch.float32))

    def _write(self, table, rows, part):
        """Put rows into a table; return them as they stand there."""
        if table.dtype == torch.bfloat16:
            part = self._round_stochastically(part)
        table.index_copy_(0, rows, part.to(table.dtype))
        return part

    def _round_stochastically(self, part):
        """Round float32 to what bfloat16 holds, up or down, right in the mean."""
        # One draw serves many rows: it need not depend on anything but them.
        n_drawn = 0 if self.noise is None else len(self.noise)
        if n_drawn < len(part):
            shape = max(len(part), _ROWS_AT_ONCE), part.shape[1]
            self.noise = torch.randint(
                1 << 16, shape, dtype=torch.int32, device=part.device
            )
        bits = part.view(torch.int32) + self.noise[: len(part)]
        return bits.bitwise_and_(-(1 << 16)).view(torch.float32)
