"""AdamW on the rows of a table that a step touches."""

import torch
from torch.nn.functional import pad

# Rows updated at once on a CPU: 4 buffers of 2048 x 400 floats stay in its cache.
_ROWS_AT_ONCE = 2048
# Rows times documents for an entry, beyond which no matrix of them is made.
_FEW = 256
# What is written down of a call of `RowwiseAdamW.step`: the steps that applied until
# then (one that overflowed in half precision does not), and of a row that has not been
# touched since: the share of its vector that weight decay has left, the multiple of its
# last move that momentum has added, and sums of both over the snapshots since.
_PAST = _APPLIED, _KEPT, _TAIL, _DECAYED, _TAILS = range(5)
# Calls after which nothing is left of a move: a factor of 1e-46 for the usual betas.
_FORGOTTEN = 1000


class RowwiseAdamW:
    """AdamW on the rows that steps touch: rows stand where dense AdamW has them.

    Dense AdamW [1]_ moves every row in every step: a row without a gradient goes on
    by its momentum, and decays. Here such a row is left alone until it is read again.
    `catch_up` then makes up for all steps in between in one move: their sum is a
    geometric series, weighted by the steps' rates, and two numbers for each past step,
    which all rows share, tell it. So a step costs what the rows cost that it touches.

    A row's missed moves all take the `eps` of its last gradient, scaled down with the
    second moment. Otherwise they are dense AdamW's, to rounding.

    Parameters
    ----------
    vectors : Parameter of shape (n_rows, dim), float32, float64 or bfloat16
        Updated in place; it requires no gradient. The last row is padding: ids that
        stand for no label; its gradient must be 0. The moments are kept in the same
        dtype; bfloat16 is rounded stochastically, since most steps are smaller than
        half its resolution.
    touched : list
        Where `candidate_scores` or `weighted_bag` leave the factors of the gradient.
        Those of all batches since the last step are added up. A document must not
        name a row twice, but for the padding.
    betas : (float, float), default=(0.9, 0.999)
    eps : float, default=1e-8
    weight_decay : float, default=0.01
    rests : bool, default=False
        Whether rows rest in steps that leave them alone, as under torch's SparseAdam,
        instead. A row that was touched n times then stands where n steps of AdamW
        have brought it.

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
        # The call of `step` after which a row's vector and its moments are those of
        # dense AdamW; for rows that rest, how often each was touched.
        clock = torch.zeros(len(vectors), dtype=torch.int32, device=vectors.device)
        self.vector_clock, self.moment_clock = clock, clock.clone()
        self.n_calls = 0
        # A column for each call of `step`, and one for the time before the first.
        self.past = clock.new_zeros(len(_PAST), 1, dtype=torch.float64)
        self.past[_KEPT] = 1
        # As many rows as entries: to count them would be to wait for the device.
        self.in_one_block = vectors.is_cuda
        self.n_snapshots, self.moved = 0, None
        self.noise = None

    def state_dict(self):
        """Moments, clocks and what an average needs, between two steps."""
        names = "first second vector_clock moment_clock n_calls past n_snapshots moved"
        return {name: getattr(self, name) for name in names.split()}

    def load_state_dict(self, state):
        """Go on from a state."""
        for name, value in state.items():
            is_tensor = isinstance(value, torch.Tensor)
            setattr(self, name, value.to(self.vectors.device) if is_tensor else value)

    @torch.no_grad()
    def catch_up(self, rows=None):
        """Bring vectors to where dense AdamW has them after the last step.

        Parameters
        ----------
        rows : int64 tensor of any shape or None, default=None
            Rows that are about to be read, in any order, also repeatedly; None is all.
        """
        for some in self._behind(rows):
            read = self.vector_clock[some]
            applied, kept, tail, decayed, tails = self.past[:, read]
            n_steps = self.past[_APPLIED, self.moment_clock[some]]
            first, second = (
                self._read(table, some) for table in (self.first, self.second)
            )

            def column(values):
                return values[:, None].to(first.dtype)  # noqa: B023

            # A row that was never touched has moments of 0, and must not become NaN.
            correction = (1 - self.betas[1] ** n_steps.clamp(min=1)).sqrt()
            size = second.sqrt_().add_(column(self.eps * correction))
            ratio = self._ratio ** (applied - n_steps)
            old = self._read(self.vectors, some)
            if self.n_snapshots:  # less what had not moved yet when they were taken
                moved = old.mul(column(decayed) - self.n_snapshots)
                moved.addcdiv_(first * column(ratio * tails), size)
            step = first.mul_(column(ratio * tail))
            new = old.mul_(column(kept)).addcdiv_(step, size, value=-1)
            new = self._write(self.vectors, some, new)
            self.vector_clock[some] = self.n_calls
            if self.n_snapshots:
                self.moved.index_add_(0, some, moved.add_(new, alpha=self.n_snapshots))

    def _behind(self, rows):
        """Blocks of the rows that are to be brought up to date, each row once."""
        if self.rests:
            return ()
        if self.in_one_block and rows is not None:
            rows = rows.flatten().sort().values
            places = (rows.diff(prepend=rows[:1]) != 0).cumsum(0)
            padding = torch.full_like(rows, len(self.vectors) - 1)
            return [padding.scatter_(0, places, rows)]
        behind = self.vector_clock < self.n_calls
        if rows is not None:
            behind &= torch.zeros_like(behind).index_fill_(0, rows.flatten(), True)
        rows = behind.nonzero()[:, 0]
        return rows.split(_ROWS_AT_ONCE) if len(rows) else ()

    @property
    def _ratio(self):
        """What a step without a gradient leaves of a row's move."""
        return self.betas[0] / self.betas[1] ** 0.5

    def _count(self, rate, applies):
        """Write down what a step does to rows that it does not touch."""
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
        self.past[_TAIL, recent] += weight * self._ratio ** (
            applied[n] - applied[recent]
        )
        self.past[_KEPT, n] = 1
        self.n_calls = n

    def snapshot(self):
        """Count the rows as they stand into their average."""
        if self.moved is None:
            dtype = torch.promote_types(self.vectors.dtype, torch.float32)
            self.moved = torch.zeros_like(self.vectors, dtype=dtype)
        past = self.past[:, : self.n_calls + 1]
        past[_DECAYED] += 1 - past[_KEPT]
        past[_TAILS] += past[_TAIL]
        self.n_snapshots += 1

    @torch.no_grad()
    def averages(self, n_snapshots):
        """Mean of the snapshots, of the shape and dtype of `vectors`.

        The rows of a snapshot are those of today less what they moved since, so
        that each move, weighted by the snapshots before it, is all to be kept.
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
        """Squared norm of the gradient that has been added up."""
        total = torch.zeros((), device=self.vectors.device)
        for _, gradient in self._gradients():
            total = total + gradient.square().sum()
        return total

    @torch.no_grad()
    def step(self, rate, *, scale=None, applies=None):
        """Update the touched rows, which are up to date, and forget the gradient.

        Parameters
        ----------
        rate : float
            Learning rate.
        scale : tensor of shape () or None, default=None
            What the gradient is multiplied by.
        applies : bool tensor of shape () or None, default=None
            Where False, the step changes nothing: an overflow of half precision.
        """
        self._count(rate, applies)
        beta1, beta2 = self.betas

        def chosen(new, old):
            return new if applies is None else torch.where(applies, new, old)

        for rows, gradient in self._gradients():
            gradient = gradient if scale is None else gradient.mul_(scale)
            clock = self.moment_clock[rows]
            if self.rests:
                now, gaps = clock + 1, clock.new_ones(1)
                n_steps = now.double()[:, None]
            else:
                now = torch.full_like(clock, self.n_calls)
                n_steps = self.past[_APPLIED, self.n_calls]
                gaps = (n_steps - self.past[_APPLIED, clock])[:, None]
            bias1, bias2 = 1 - beta1**n_steps, 1 - beta2**n_steps
            old_first = self._read(self.first, rows)
            old_second = self._read(self.second, rows)
            first = old_first * (beta1**gaps).to(gradient.dtype)
            first.add_(gradient, alpha=1 - beta1)
            second = old_second * (beta2**gaps).to(gradient.dtype)
            second.addcmul_(gradient, gradient, value=1 - beta2)
            self._write(self.first, rows, chosen(first, old_first))
            self._write(self.second, rows, chosen(second, old_second))
            self.moment_clock[rows] = chosen(now, clock)

            size = second.sqrt_().div_(bias2.sqrt().to(gradient.dtype))
            size.add_(self.eps)
            step = first.mul_((rate / bias1).to(gradient.dtype))
            old = self._read(self.vectors, rows)
            new = (old * (1 - rate * self.weight_decay)).addcdiv_(step, size, value=-1)
            new = self._write(self.vectors, rows, chosen(new, old))
            self.vector_clock[rows] = self.n_calls
            if self.n_snapshots:
                self.moved.index_add_(0, rows, new - old, alpha=self.n_snapshots)
        self.forget()

    def forget(self):
        """Drop the gradient that has been added up."""
        self.touched.clear()
        self.noise = None

    def _gradients(self):
        """Blocks of touched rows, each row once, with their gradients."""
        if not self.touched:
            return
        docs, ids, owners, weights = self._factors()
        is_new = ids.diff(prepend=ids.new_full((1,), -1)) != 0
        places = is_new.cumsum(0) - 1
        for rows, entries, start in self._blocks(ids, is_new, places):
            at, of, weight = places[entries] - start, owners[entries], weights[entries]
            if _FEW * len(at) < len(rows) * len(docs):
                gradient = docs.new_zeros(len(rows), docs.shape[1])
                yield rows, gradient.index_add_(0, at, docs[of] * weight[:, None])
                continue
            factor = docs.new_zeros(len(rows), len(docs))
            factor[at, of] = weight
            with torch.autocast(docs.device.type, enabled=False):
                yield rows, factor @ docs

    def _factors(self):
        """Factors of all batches as one: documents, and entries sorted by row.

        Returns
        -------
        docs : tensor of shape (n_docs, dim)
        ids, owners, weights : tensors of shape (n_entries,)
            Row, document and weight of each entry.
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
        """Rows of each block, slice of its entries, and place of its first row."""
        if self.in_one_block:
            rows = torch.full_like(ids, len(self.vectors) - 1)
            yield rows.scatter_(0, places, ids), slice(None), 0
            return
        rows = ids[is_new].split(_ROWS_AT_ONCE)
        ends = is_new.nonzero()[_ROWS_AT_ONCE::_ROWS_AT_ONCE, 0].tolist()
        starts = [0, *ends]
        for i, (start, end) in enumerate(zip(starts, [*ends, len(ids)], strict=True)):
            yield rows[i], slice(start, end), i * _ROWS_AT_ONCE

    def _read(self, table, rows):
        part = table.index_select(0, rows)
        return part.to(torch.promote_types(part.dtype, torch.float32))

    def _write(self, table, rows, part):
        """Put rows into a table; return them as they stand there."""
        if table.dtype == torch.bfloat16:
            part = self._round_stochastically(part)
        # Past autograd: what it keeps of the table are rows that stay as they are.
        table.data.index_copy_(0, rows, part.to(table.dtype))
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
