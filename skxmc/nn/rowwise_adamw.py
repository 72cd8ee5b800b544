"""AdamW for the rows of a table that a step touches; each row counts its own steps."""

import torch
from torch.nn.functional import pad

# Number of rows updated at once on a CPU: 4 buffers of 2048 x 400 floats stay in cache.
_ROWS_AT_ONCE = 2048
# A matrix of rows and documents is used only if it has at most this many places for
# each entry; otherwise entries are added up one by one.
_MAX_PLACES_PER_ENTRY = 256
# Rows of the table `RowwiseAdamW.past`, which has a column for each call of `step`:
# the number of steps applied until then (a step that overflows in half precision is
# not applied), and four numbers about a row that was last touched in that call. They
# are the share of its vector that weight decay has left, the multiple of its last move
# that momentum has added, and sums of both over the snapshots since.
_PAST = _APPLIED, _KEPT, _TAIL, _DECAYED, _TAILS = range(5)
# Number of calls after which the momentum of a move is neglected. Its factor is 1e-46
# then for the usual betas.
_FORGOTTEN = 1000


class RowwiseAdamW:
    """AdamW that computes only the rows that a step touches.

    Dense AdamW [1]_ moves every row in every step: a row without a gradient still moves
    by its momentum and decays. Here, such a row is not computed until it is used again.
    `catch_up` then makes all missed moves at once. Their sum is a geometric series,
    weighted by the learning rates of the steps. Two numbers for each past step, which
    all rows share, are enough to compute it. A step therefore costs time only for the
    rows that it touches, and all rows get the values that dense AdamW gives them.

    There is one difference beyond rounding: in the missed moves of a row, `eps` is
    scaled down along with the second moment, as it was after the row's last gradient.

    Parameters
    ----------
    vectors : Parameter of shape (n_rows, dim), float32, float64 or bfloat16
        Table that is updated in place. It does not require a gradient. The last row is
        padding, and its gradient must be 0. The moments have the same dtype. bfloat16
        is rounded stochastically, because most moves are smaller than half of its
        resolution and would be lost.
    touched : list
        List to which `candidate_scores` or `weighted_bag` append the factors of the
        gradient. The gradients of all batches since the last step are added up. Except
        for the padding, a document must not have a row twice.
    betas : (float, float), default=(0.9, 0.999)
        Decay rates of the first and the second moment.
    eps : float, default=1e-8
        Number added to the root of the second moment.
    weight_decay : float, default=0.01
        Decoupled weight decay.
    rests : bool, default=False
        Whether rows stay unchanged in steps that do not touch them, as under torch's
        SparseAdam. A row that was touched n times then has the value that AdamW gives
        it after n steps.

    References
    ----------
    .. [1] Loshchilov, Hutter. Decoupled Weight Decay Regularization, ICLR 2019.
    """

    def __init__(
        self,
        vectors,
        touched,
        *,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.01,
        rests=False,
    ):
        self.vectors = vectors
        self.touched = touched
        self.rests = rests
        self.betas, self.eps, self.weight_decay = betas, eps, weight_decay
        self.first = torch.zeros_like(vectors)
        self.second = torch.zeros_like(vectors)
        # Number of the last call of `step` that the vector, or the moments, of each row
        # include. With `rests`, the number of calls that have touched the row.
        clock = torch.zeros(len(vectors), dtype=torch.int32, device=vectors.device)
        self.vector_clock, self.moment_clock = clock, clock.clone()
        self.n_calls = 0
        # One column for each call of `step`, and a first one for the initial state.
        self.past = clock.new_zeros(len(_PAST), 1, dtype=torch.float64)
        self.past[_KEPT] = 1
        # On a GPU, all entries of a step form one block. Splitting them would need the
        # number of distinct rows, and reading that would wait for the device.
        self.in_one_block = vectors.is_cuda
        self.n_snapshots, self.moved = 0, None
        self.noise = None

    def state_dict(self):
        """Return the state between two steps, for checkpoints."""
        names = "first second vector_clock moment_clock n_calls past n_snapshots moved"
        return {name: getattr(self, name) for name in names.split()}

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
        for name, value in state.items():
            is_tensor = isinstance(value, torch.Tensor)
            setattr(self, name, value.to(self.vectors.device) if is_tensor else value)

    @torch.no_grad()
    def catch_up(self, rows=None):
        """Make the moves that vectors have missed, up to the last step.

        Parameters
        ----------
        rows : int64 tensor of any shape or None, default=None
            Rows that are about to be used, in any order and possibly repeated. None is
            all rows.
        """
        for block in self._stale_rows(rows):
            clock = self.vector_clock[block]
            applied, kept, tail, decayed, tails = self.past[:, clock]
            n_steps = self.past[_APPLIED, self.moment_clock[block]]
            first, second = (
                self._get_rows(table, block) for table in (self.first, self.second)
            )

            def column(values):
                return values[:, None].to(first.dtype)  # noqa: B023

            # The clamp keeps rows that were never touched from 0 / 0.
            correction = (1 - self.betas[1] ** n_steps.clamp(min=1)).sqrt()
            size = second.sqrt_().add_(column(self.eps * correction))
            ratio = self._move_ratio ** (applied - n_steps)
            old = self._get_rows(self.vectors, block)
            # `moved` gets n_snapshots times the missed moves, less the part of them
            # that each snapshot taken meanwhile already includes.
            if self.n_snapshots:
                moved = old.mul(column(decayed) - self.n_snapshots)
                moved.addcdiv_(first * column(ratio * tails), size)
            step = first.mul_(column(ratio * tail))
            new = old.mul_(column(kept)).addcdiv_(step, size, value=-1)
            new = self._set_rows(self.vectors, block, new)
            self.vector_clock[block] = self.n_calls
            if self.n_snapshots:
                self.moved.index_add_(0, block, moved.add_(new, alpha=self.n_snapshots))

    def _stale_rows(self, rows):
        """Return blocks of the rows that have missed moves, each row once."""
        if self.rests:
            return ()
        if self.in_one_block and rows is not None:
            # Distinct rows, followed by padding up to the number of entries.
            rows = rows.flatten().sort().values
            places = (rows.diff(prepend=rows[:1]) != 0).cumsum(0)
            padding = torch.full_like(rows, len(self.vectors) - 1)
            return [padding.scatter_(0, places, rows)]
        is_stale = self.vector_clock < self.n_calls
        if rows is not None:
            is_stale &= torch.zeros_like(is_stale).index_fill_(0, rows.flatten(), True)
        rows = is_stale.nonzero()[:, 0]
        return rows.split(_ROWS_AT_ONCE) if len(rows) else ()

    @property
    def _move_ratio(self):
        """Ratio of a row's move in a step without a gradient to its move before."""
        return self.betas[0] / self.betas[1] ** 0.5

    def _record_step(self, rate, applies):
        """Add a column to `past`: the effect of a step on rows it does not touch."""
        n = self.n_calls + 1
        if self.rests:
            return
        if n >= self.past.shape[1]:
            self.past = pad(self.past, (0, 2 * n))
        applied = self.past[_APPLIED]
        applied[n] = applied[n - 1] + (1 if applies is None else applies)
        beta1, beta2 = self.betas
        kept = applied.new_full((), 1 - rate * self.weight_decay)
        weight = rate * (1 - beta2 ** applied[n]).sqrt() / (1 - beta1 ** applied[n])
        if applies is not None:
            kept = torch.where(applies, kept, applied.new_ones(()))
            weight = torch.where(applies, weight, torch.zeros_like(weight))
        self.past[_KEPT : _TAIL + 1, :n] *= kept
        recent = slice(max(0, n - _FORGOTTEN), n)
        self.past[_TAIL, recent] += weight * self._move_ratio ** (
            applied[n] - applied[recent]
        )
        self.past[_KEPT, n] = 1
        self.n_calls = n

    def snapshot(self):
        """Include the current rows in the average."""
        if self.moved is None:
            dtype = torch.promote_types(self.vectors.dtype, torch.float32)
            self.moved = torch.zeros_like(self.vectors, dtype=dtype)
        past = self.past[:, : self.n_calls + 1]
        past[_DECAYED] += 1 - past[_KEPT]
        past[_TAILS] += past[_TAIL]
        self.n_snapshots += 1

    @torch.no_grad()
    def averages(self, n_snapshots):
        """Return the mean of the snapshots, of the shape and dtype of `vectors`.

        No snapshot is stored. Its rows are the current ones minus their moves since
        then, so that it is enough to sum up each move times the number of snapshots
        before it (`moved`).
        """
        self.catch_up()
        means = torch.empty_like(self.vectors)
        parts = (
            table.split(_ROWS_AT_ONCE) for table in (means, self.vectors, self.moved)
        )
        for mean, vectors, moved in zip(*parts, strict=True):
            mean.copy_(vectors - moved / n_snapshots)
        return means

    @torch.no_grad()
    def squared_norm(self):
        """Return the squared norm of the gradient, added up over batches."""
        total = torch.zeros((), device=self.vectors.device)
        for _, gradient in self._gradients():
            total = total + gradient.square().sum()
        return total

    @torch.no_grad()
    def step(self, rate, *, scale=None, applies=None):
        """Update the touched rows, and drop the gradient.

        `catch_up` must have been called for these rows before.

        Parameters
        ----------
        rate : float
            Learning rate.
        scale : tensor of shape () or None, default=None
            Factor for the gradient.
        applies : bool tensor of shape () or None, default=None
            Whether the step is applied. A step that overflows in half precision
            changes nothing. None applies it.
        """
        self._record_step(rate, applies)
        beta1, beta2 = self.betas

        def select(new, old):  # without a branch, which would wait for the device
            return new if applies is None else torch.where(applies, new, old)

        for rows, gradient in self._gradients():
            gradient = gradient if scale is None else gradient.mul_(scale)
            clock = self.moment_clock[rows]
            if self.rests:
                now, gaps = clock + 1, clock.new_ones(1)
                n_steps = now.double()[:, None]
            else:
                # The moments decay once for each step since the row's last gradient.
                now = torch.full_like(clock, self.n_calls)
                n_steps = self.past[_APPLIED, self.n_calls]
                gaps = (n_steps - self.past[_APPLIED, clock])[:, None]
            bias1, bias2 = 1 - beta1**n_steps, 1 - beta2**n_steps
            old_first = self._get_rows(self.first, rows)
            old_second = self._get_rows(self.second, rows)
            first = old_first * (beta1**gaps).to(gradient.dtype)
            first.add_(gradient, alpha=1 - beta1)
            second = old_second * (beta2**gaps).to(gradient.dtype)
            second.addcmul_(gradient, gradient, value=1 - beta2)
            self._set_rows(self.first, rows, select(first, old_first))
            self._set_rows(self.second, rows, select(second, old_second))
            self.moment_clock[rows] = select(now, clock)

            size = second.sqrt_().div_(bias2.sqrt().to(gradient.dtype))
            size.add_(self.eps)
            step = first.mul_((rate / bias1).to(gradient.dtype))
            old = self._get_rows(self.vectors, rows)
            new = (old * (1 - rate * self.weight_decay)).addcdiv_(step, size, value=-1)
            new = self._set_rows(self.vectors, rows, select(new, old))
            self.vector_clock[rows] = self.n_calls
            if self.n_snapshots:
                self.moved.index_add_(0, rows, new - old, alpha=self.n_snapshots)
        self.forget()

    def forget(self):
        """Drop the gradient."""
        self.touched.clear()
        self.noise = None

    def _gradients(self):
        """Yield blocks of touched rows, each row once, with their gradients."""
        if not self.touched:
            return
        docs, ids, owners, weights = self._factors()
        is_new = ids.diff(prepend=ids.new_full((1,), -1)) != 0
        places = is_new.cumsum(0) - 1
        for rows, entries, start in self._blocks(ids, is_new, places):
            at, owner = places[entries] - start, owners[entries]
            weight = weights[entries]
            if _MAX_PLACES_PER_ENTRY * len(at) < len(rows) * len(docs):
                gradient = docs.new_zeros(len(rows), docs.shape[1])
                yield rows, gradient.index_add_(0, at, docs[owner] * weight[:, None])
                continue
            factor = docs.new_zeros(len(rows), len(docs))
            factor[at, owner] = weight
            with torch.autocast(docs.device.type, enabled=False):
                yield rows, factor @ docs

    def _factors(self):
        """Concatenate the factors of all batches, with entries sorted by row.

        Returns
        -------
        docs : tensor of shape (n_docs, dim)
            Document vectors or gradients: the factors that are multiplied by weights.
        ids, owners, weights : tensors of shape (n_entries,)
            Row of the table, row of `docs`, and weight of each entry.
        """
        docs = torch.cat([docs for _, docs, _ in self.touched])
        docs = docs.to(torch.promote_types(docs.dtype, torch.float32))
        ids, order = torch.cat([ids.flatten() for ids, _, _ in self.touched]).sort()
        weights = torch.cat([weights.flatten() for _, _, weights in self.touched])
        owners = torch.arange(len(docs), device=ids.device)
        parts = owners.split([len(ids) for ids, _, _ in self.touched])
        owners = torch.cat(
            [
                part[:, None].expand(ids.shape).flatten()
                for part, (ids, _, _) in zip(parts, self.touched, strict=True)
            ]
        )
        return docs, ids, owners[order], weights[order].to(docs.dtype)

    def _blocks(self, ids, is_new, places):
        """Yield the rows, the slice of entries and the first place of each block."""
        if self.in_one_block:
            rows = torch.full_like(ids, len(self.vectors) - 1)
            yield rows.scatter_(0, places, ids), slice(None), 0
            return
        rows = ids[is_new].split(_ROWS_AT_ONCE)
        ends = is_new.nonzero()[_ROWS_AT_ONCE::_ROWS_AT_ONCE, 0].tolist()
        starts = [0, *ends]
        for i, (start, end) in enumerate(zip(starts, [*ends, len(ids)], strict=True)):
            yield rows[i], slice(start, end), i * _ROWS_AT_ONCE

    def _get_rows(self, table, rows):
        part = table.index_select(0, rows)
        return part.to(torch.promote_types(part.dtype, torch.float32))

    def _set_rows(self, table, rows, part):
        """Write rows to a table, and return them with its rounding."""
        if table.dtype == torch.bfloat16:
            part = self._round_stochastically(part)
        # `data` hides the change from autograd, which would otherwise refuse a backward
        # pass. That is safe, since only rows change that no such pass needs.
        table.data.index_copy_(0, rows, part.to(table.dtype))
        return part

    def _round_stochastically(self, part):
        """Round float32 to bfloat16 up or down at random, exact in the mean."""
        # The random bits are reused within a step: they need not be independent between
        # rows, but only of the values.
        n_noise = 0 if self.noise is None else len(self.noise)
        if n_noise < len(part):
            shape = max(len(part), _ROWS_AT_ONCE), part.shape[1]
            self.noise = torch.randint(
                1 << 16, shape, dtype=torch.int32, device=part.device
            )
        bits = part.view(torch.int32) + self.noise[: len(part)]
        return bits.bitwise_and_(-(1 << 16)).view(torch.float32)
