"""A network in training, which one process trains alone or several train together.

Several processes read a part of each batch each. `DistributedDataParallel` averages the
gradients of the weights that all of them have. The label vectors of
`skxmc.nn.all_labels.AllLabels` are cut by rows: each process trains its own. Other
tables that are trained row by row are in all processes, which exchange the factors of
their gradients and make the same step.
"""

import contextlib
import inspect

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from .group import all_or_none, alone, current_group
from .network import divisor
from .process import release_torch, seed
from .rowwise import modules_trained_by_row

# DistributedDataParallel's parameter that sends buffers with each batch, or not. Older
# versions of torch call it otherwise.
_BUFFERS = "forward_sync_buffers"
if _BUFFERS not in inspect.signature(DistributedDataParallel).parameters:
    _BUFFERS = "broadcast_buffers"


class Replica:
    """A network in training, beside those of the other processes.

    Without a group, nothing is exchanged, and the calls are those of the network.

    Parameters
    ----------
    network : Network
        Network on its device. Until `end`, a head of the class
        `skxmc.nn.all_labels.AllLabels` keeps the rows of this process only.
    examples : Examples
        Training data.
    device : str

    Raises
    ------
    ValueError
        If several processes cannot train the network together.
    """

    def __init__(self, network, examples, device):
        self.network, self.device = network, device
        self.group = current_group()
        self.tables, self.is_empty = [], False
        self.call, self.parallel = network, None
        if self.group is None:
            return
        with all_or_none():
            _check(network)
        self.seed = torch.initial_seed()
        if any(p.requires_grad for p in network.parameters()):
            # This also gives all processes the weights of the first one.
            self.parallel = DistributedDataParallel(
                network,
                **{_BUFFERS: False},  # buffers do not change in training
                process_group=self.group.averaging,
                find_unused_parameters=examples.skips_weights or network.skips_weights,
            )
            self.call = self.parallel
        self.tables = modules_trained_by_row(network)
        for table in self.tables:
            table.start_sharing(self.group)

    @property
    def shows_progress(self):
        """Whether this process shows the progress bar."""
        return self.group is None or self.group.is_first

    def choose_rows(self, rows, progress, examples):
        """Return the rows of a batch that this process reads.

        Of several processes, each reads every n-th row. If there are too few, it reads
        one of them, which does not count.

        Parameters
        ----------
        rows : int ndarray of shape (n_rows,)
        progress : Progress
            Position of the batch. What is drawn for the batch depends on it alone, so
            that checkpoints need not keep the generators of each process.
        examples : Examples
        """
        if self.group is None:
            return rows
        place = self.seed, progress.epoch, progress.batch, self.group.rank
        number = int(np.random.SeedSequence(place).generate_state(1)[0])
        seed(number, self.device)
        examples.reseed(number)
        own = rows[self.group.share(len(rows))]
        self.is_empty = not len(own)
        self.group.counts = not self.is_empty
        return rows[:1] if self.is_empty else own

    def losses(self, inputs, targets, progress):
        """Return the loss of the chosen rows, and its parts, by their names in history.

        Parameters
        ----------
        inputs, targets, progress
            As in `Network.forward`.

        Returns
        -------
        dict of tensors of shape ()
            Their mean over processes is the loss of the batch, and the mean of their
            gradients is its gradient.
        """
        losses = self.call(inputs, targets, progress)
        if self.group is not None:
            losses = self._weigh(losses, targets)
        return name_losses(losses)

    def _weigh(self, losses, targets):
        """Weigh means over the documents of this process by its share of the batch."""
        counts = self.network.count_terms(targets)
        names = sorted(counts)
        own = torch.stack([counts[name] for name in names]) * (not self.is_empty)
        total = divisor(self.group.add(own))
        weights = divisor(own) * self.group.size / torch.where(total > 0, total, 1)
        weights = dict(zip(names, weights, strict=True))
        if not isinstance(losses, dict):
            return losses * weights["loss"].to(losses.dtype)
        return {name: x * weights[name].to(x.dtype) for name, x in losses.items()}

    @contextlib.contextmanager
    def batch(self, *, last):
        """Context of the forward and backward pass of a batch.

        Parameters
        ----------
        last : bool
            Whether the batch is the last one of its step.
        """
        if self.parallel is None:
            yield
            return
        with contextlib.nullcontext() if last else self.parallel.no_sync():
            yield

    def call_back(self, function):
        """Call a function of the user, which the first process does for all.

        Returns
        -------
        bool
            What the function returns.
        """
        if self.group is None:
            with release_torch():
                return bool(function())
        found = False
        with all_or_none():
            if self.group.is_first:
                with release_torch(), alone():
                    found = bool(function())
        return self.group.gather_objects(found)[0]

    def end(self):
        """Bring the rows of all processes together, so that each has the whole model.

        It is called only if training has not failed.
        """
        for table in self.tables:
            table.stop_sharing()


def name_losses(found):
    """Return the loss of a batch and its parts by their names in the history.

    Parameters
    ----------
    found : tensor of shape () or dict of such tensors
        What a network returns.

    Returns
    -------
    dict of tensors
        "loss", and for each part "NAME_loss".
    """
    if not isinstance(found, dict):
        return {"loss": found}
    parts = {f"{name}_loss": part for name, part in found.items()}
    return {"loss": sum(parts.values()), **parts}


def _check(network):
    """Refuse a network that several processes cannot train together."""
    advice = "Or fit in one process: call fit in the context skxmc.distributed.alone()."
    if network.why_alone is not None:
        raise ValueError(f"{network.why_alone} {advice}")
    if getattr(network, "clusters", None) is not None:
        raise ValueError(
            "Several processes cannot train clusters of labels together. Use "
            f'head="all" or head="dense". {advice}'
        )
