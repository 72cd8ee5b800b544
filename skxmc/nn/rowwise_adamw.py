"""AdamW for the rows of a table that a step touches; each row counts its own steps."""

import torch
from torch.nn.functional import pad

from .rowwise_optimizer import RowwiseOptimizer

# Rows of the table `RowwiseAdamW.past`, which has a column for each call of `step`:
# the number of steps applied until then (a step that overflows in half precision is
# not applied), and four numbers about a row that was last touched in that call. They
# are the share of its vector that weight decay has left, the multiple of its last move
# that momentum has added, and sums of both over the snapshots since.
_PAST = _APPLIED, _KEPT, _TAIL, _DECAYED, _TAILS = range(5)
# Number of calls after which the momentum of a move is neglected. Its factor is 1e-46
# then for the usual betas.
_FORGOTTEN = 1000


class RowwiseAdamW(RowwiseOptimizer):
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
    vectors, touched
        As in `RowwiseOptimizer`. The moments have the dtype of the vectors.
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

    state_names = (
        "first",
        "second",
        "vector_clock",
        "moment_clock",
        "n_calls",
        "past",
        *RowwiseOptimizer.state_names,
    )
    row_names = (
        *("first", "second", "vector_clock", "moment_clock"),
        *RowwiseOptimizer.row_names,
    )

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
        super().__init__(vectors, touched)
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
        return rows.split(self.rows_at_once) if len(rows) else ()

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
        super().snapshot()
        past = self.past[:, : self.n_calls + 1]
        past[_DECAYED] += 1 - past[_KEPT]
        past[_TAILS] += past[_TAIL]

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
