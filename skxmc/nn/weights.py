"""The weights that training returns: an average over steps, or the best epoch's."""

import contextlib

import numpy as np

from .rowwise import modules_trained_by_row


def trained_state(module):
    """Return the state of a module without its frozen weights.

    Buffers are part of it, and so are tables that are trained row by row, although
    these require no gradient.
    """
    by_row = {id(part.table) for part in modules_trained_by_row(module)}
    frozen = {
        name
        for name, weight in module.named_parameters(remove_duplicate=False)
        if not weight.requires_grad and id(weight) not in by_row
    }
    state = module.state_dict()
    return {name: state[name] for name in state if name not in frozen}


class AverageWeights:
    """Running mean of the weights over the last part of training (SWA [1]_).

    Parameters
    ----------
    network : Network
    optimizer : Optimizer
    start : float or None
        Share of the steps after which averaging begins. None never averages.
    every : int
        Steps between two snapshots of the weights.

    References
    ----------
    .. [1] Izmailov et al., Averaging Weights Leads to Wider Optima and Better
       Generalization, UAI 2018.
    """

    def __init__(self, network, optimizer, start, every):
        self.network, self.optimizer = network, optimizer
        self.start, self.every = start, every
        self.n_snapshots, self.means = 0, None

    def update(self, *, last):
        """Take a snapshot if one is due after this step.

        Once averaging has begun, a snapshot is due every `every` steps and after the
        last step of an epoch.

        Parameters
        ----------
        last : bool
            Whether this is the last step of an epoch.
        """
        n_done, n_steps = self.optimizer.n_done, self.optimizer.n_steps
        averages = self.start is not None and n_done > self.start * n_steps
        if not averages or (n_done % self.every and not last):
            return
        # All is computed before anything is assigned, so that an interruption leaves
        # the old average intact.
        n = self.n_snapshots + 1
        weights = [p.detach() for p in self.optimizer.dense_parameters()]
        means = self.means or weights
        means = [m.lerp(w, 1 / n) for m, w in zip(means, weights, strict=True)]
        for table in self.optimizer.tables:
            table.snapshot()
        self.means, self.n_snapshots = means, n

    @contextlib.contextmanager
    def in_place(self):
        """Give the network the averaged weights within the context."""
        weights = [p.data for p in self.network.parameters()]
        try:
            self.apply()
            yield
        finally:
            for parameter, data in zip(self.network.parameters(), weights, strict=True):
                parameter.data = data

    def apply(self):
        """Give the network the averaged weights, if there are any."""
        if not self.n_snapshots:
            return
        weights = self.optimizer.dense_parameters()
        tables = [t.averages(self.n_snapshots) for t in self.optimizer.tables]
        for parameter, mean in zip(weights, self.means, strict=True):
            parameter.data = mean
        for table, mean in zip(self.optimizer.tables, tables, strict=True):
            table.vectors.data = mean

    def state_dict(self):
        """Return the state between two steps, for checkpoints."""
        return {"n_snapshots": self.n_snapshots, "means": self.means}

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
        self.n_snapshots, self.means = state["n_snapshots"], state["means"]
        if self.means is not None:
            pairs = zip(self.means, self.optimizer.dense_parameters(), strict=True)
            self.means = [mean.to(weight.device) for mean, weight in pairs]


class BestWeights:
    """The weights with the best held-out score so far.

    Parameters
    ----------
    tol : float
        A score counts as a gain if it is higher than the best one by more than this.

    Attributes
    ----------
    score : float
        The best score; -inf before the first one.
    weights : dict of tensors or None
        The weights with that score, on the CPU, without frozen ones (see
        `trained_state`). None before the first score.
    n_waited : int
        Number of epochs since the last gain.
    """

    def __init__(self, tol):
        self.tol = tol
        self.score, self.weights, self.n_waited = -np.inf, None, 0

    def update(self, network, score):
        """Keep the weights if the score of this epoch is the best one."""
        self.n_waited = 0 if score > self.score + self.tol else self.n_waited + 1
        if score >= self.score:  # of two equal epochs, the later one is kept
            self.score = score
            self.weights = {
                name: tensor.detach().to("cpu", copy=True)
                for name, tensor in trained_state(network).items()
            }

    def apply(self, network):
        """Give the network the best weights; it has the frozen ones already."""
        network.load_state_dict(self.weights, strict=False)

    def state_dict(self):
        """Return the state between two epochs, for checkpoints."""
        return {"score": self.score, "weights": self.weights, "waited": self.n_waited}

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
        self.score, self.weights = state["score"], state["weights"]
        self.n_waited = state["waited"]
