"""Plain SGD for the rows of a table that a step touches."""

import torch

from .rowwise_optimizer import RowwiseOptimizer


class RowwiseSGD(RowwiseOptimizer):
    """Stochastic gradient descent without momentum or weight decay.

    A row moves by its gradient times the learning rate. A row that few documents touch
    therefore moves little, where AdamW would make all rows move alike. There is no
    state but the vectors, and a row without a gradient rests.

    Parameters
    ----------
    vectors, touched
        As in `RowwiseOptimizer`.

    Examples
    --------
    >>> import torch
    >>> table = torch.nn.Parameter(torch.zeros(3, 2), requires_grad=False)
    >>> ids, docs = torch.tensor([[1]]), torch.tensor([[2.0, 4.0]])
    >>> optimizer = RowwiseSGD(table, [(ids, docs, torch.tensor([[-1.0]]))])
    >>> optimizer.step(0.5)
    >>> table.tolist()
    [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]
    """

    @torch.no_grad()
    def step(self, rate, *, scale=None, applies=None):
        """Move the touched rows, and drop the gradient.

        Parameters
        ----------
        rate : float
            Learning rate.
        scale : tensor of shape () or None, default=None
            Factor for the gradient.
        applies : bool tensor of shape () or None, default=None
            Whether the step is applied. None applies it.
        """
        for rows, gradient in self._gradients():
            gradient = gradient if scale is None else gradient.mul_(scale)
            old = self._get_rows(self.vectors, rows)
            new = old.add(gradient.to(old.dtype), alpha=-rate)
            new = new if applies is None else torch.where(applies, new, old)
            new = self._set_rows(self.vectors, rows, new)
            if self.n_snapshots:
                self.moved.index_add_(0, rows, new - old, alpha=self.n_snapshots)
        self.forget()
