"""Optimizer steps: AdamW, its schedule, accumulation, clipping and loss scaling."""

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.lr_scheduler import LambdaLR

from .rowwise import modules_trained_by_row


class Optimizer:
    """Makes optimizer steps out of the losses of batches.

    Most parameters are trained by torch's AdamW. Tables of vectors that are trained row
    by row bring an optimizer of their own (see `TrainedByRow`).

    Parameters
    ----------
    network : Network
    learning_rate, head_learning_rate, weight_decay, warmup, schedule, clip_norm
    rows_rest
        As in `skxmc.nn.training.train`.
    n_steps : int
        Steps of the whole training.
    scaler : GradScaler
        Scales losses in half precision.

    Attributes
    ----------
    n_done : int
        Steps that were made.
    tables : list of RowwiseAdamW
        Optimizers of the tables that are trained row by row.
    """

    def __init__(
        self,
        network,
        *,
        learning_rate,
        head_learning_rate,
        weight_decay,
        n_steps,
        warmup,
        schedule,
        clip_norm,
        rows_rest,
        scaler,
    ):
        encoder = (
            network.encoder.parameters() if network.encoder.at_encoder_rate else ()
        )
        encoder = {id(parameter) for parameter in encoder}

        def peak_rate(parameter):
            at_encoder_rate = id(parameter) in encoder
            return learning_rate if at_encoder_rate else head_learning_rate

        self.adamw = _make_adamw(network, peak_rate, weight_decay)
        self.by_row = modules_trained_by_row(network)
        self.tables = [
            module.start_training(weight_decay=weight_decay, rests=rows_rest)
            for module in self.by_row
        ]
        self.table_rates = [peak_rate(table.vectors) for table in self.tables]
        self.n_steps, self.n_done = n_steps, 0
        self.clip_norm = clip_norm
        self.scaler = scaler
        self.factor = _rate_factor(warmup, n_steps, decays=schedule == "linear")
        self.schedule = LambdaLR(self.adamw, self.factor)

    def step(self, loss, *, last):
        """Add the gradient of a batch to that of the step.

        Parameters
        ----------
        loss : tensor of shape ()
        last : bool
            Whether the batch is the last one of its step.

        Returns
        -------
        bool
            Whether the step was made.
        """
        self.scaler.scale(loss).backward()
        if not last:
            return False
        scale, applies = self._unscale(loss.device)
        if self.clip_norm is not None:
            scale = self._clip(scale)
        factor = self.factor(self.n_done)
        for table, rate in zip(self.tables, self.table_rates, strict=True):
            table.step(rate * factor, scale=scale, applies=applies)
        self.scaler.step(self.adamw)
        self.scaler.update()
        self.adamw.zero_grad(set_to_none=True)
        self.schedule.step()
        self.n_done += 1
        return True

    def state_dict(self):
        """State between two steps, for a checkpoint."""
        return {
            "n_done": self.n_done,
            "adamw": self.adamw.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "tables": [table.state_dict() for table in self.tables],
        }

    def load_state_dict(self, state):
        """Go on from a state."""
        self.n_done = state["n_done"]
        self.adamw.load_state_dict(state["adamw"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        for table, part in zip(self.tables, state["tables"], strict=True):
            table.load_state_dict(part)

    def catch_up(self):
        """Bring the rows that no step has read lately up to date."""
        for table in self.tables:
            table.catch_up()

    def end(self):
        """Drop a gradient that made no step, and bring all rows up to date."""
        self.adamw.zero_grad(set_to_none=True)
        for module, table in zip(self.by_row, self.tables, strict=True):
            table.forget()
            table.catch_up()
            module.end_training()

    def dense_parameters(self):
        """Parameters that torch's AdamW trains."""
        groups = self.adamw.param_groups
        return [parameter for group in groups for parameter in group["params"]]

    def _dense_gradients(self):
        return [p.grad for p in self.dense_parameters() if p.grad is not None]

    def _unscale(self, device):
        """Undo the scaling of half precision, without waiting for the device.

        Returns
        -------
        scale : tensor of shape () or None
            What the tables' gradients are to be multiplied by.
        applies : bool tensor of shape () or None
            Whether all gradients are finite. Otherwise torch skips the step of the
            dense weights, and the tables must skip it too.

        Both are None without scaling.
        """
        if not self.scaler.is_enabled():
            return None, None
        scale = 1 / self.scaler.scale(torch.ones((), device=device))
        self.scaler.unscale_(self.adamw)
        factors = [f for t in self.tables for touched in t.touched for f in touched[1:]]
        return scale, get_total_norm(self._dense_gradients() + factors).isfinite()

    def _clip(self, scale):
        """Clip the gradients of all parameters; return the scale of the tables'."""
        norm = get_total_norm(self._dense_gradients())
        for table in self.tables:
            part = table.squared_norm()
            norm = (norm**2 + (part if scale is None else part * scale**2)).sqrt()
        clip_grads_with_norm_(self.dense_parameters(), self.clip_norm, norm)
        clipped = (self.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        return clipped if scale is None else clipped * scale


def _make_adamw(network, peak_rate, weight_decay):
    """AdamW of the parameters that ask for a gradient, by learning rate and decay."""
    groups = {}
    for parameter in network.parameters():
        if not parameter.requires_grad:  # trained row by row, or frozen
            continue
        decays = parameter.ndim > 1  # biases and norms do not
        # Numbers of a parameter grid may be numpy's, which a checkpoint cannot hold.
        key = float(peak_rate(parameter)), float(weight_decay if decays else 0)
        groups.setdefault(key, []).append(parameter)
    groups = [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return torch.optim.AdamW(groups, fused=True)


def _rate_factor(warmup, n_steps, *, decays):
    """Function of a step: the share of the peak learning rates that it is made with."""
    n_warmup = warmup * n_steps

    def factor(step):
        if step < n_warmup:
            return (step + 1) / (n_warmup + 1)
        if not decays:
            return 1.0
        return max(0.0, (n_steps - step) / max(1.0, n_steps - n_warmup))

    return factor
