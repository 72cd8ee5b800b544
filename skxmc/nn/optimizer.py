"""Optimizer steps: AdamW, its schedule, accumulation, clipping and loss scaling."""

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.lr_scheduler import LambdaLR

from .rowwise import modules_trained_by_row


class Optimizer:
    """Optimizer of a network: steps, learning rates, clipping and loss scaling.

    Most parameters are trained by torch's AdamW. Tables that are trained row by row
    have optimizers of their own (see `skxmc.nn.rowwise.TrainedByRow`).

    Parameters
    ----------
    network : Network
    learning_rate, head_learning_rate, document_learning_rate, label_learning_rate
    weight_decay, warmup, schedule, clip_norm, rows_rest
        As in `skxmc.nn.training.train`.
    n_steps : int
        Number of steps of the whole training.
    scaler : GradScaler
        Scaler of the losses, which is enabled in half precision.

    Attributes
    ----------
    n_done : int
        Number of steps that have been made.
    tables : list of RowwiseOptimizer
        Optimizers of the tables that are trained row by row.
    """

    def __init__(
        self,
        network,
        *,
        learning_rate,
        head_learning_rate,
        document_learning_rate=None,
        label_learning_rate=None,
        weight_decay,
        n_steps,
        warmup,
        schedule,
        clip_norm,
        rows_rest,
        scaler,
    ):
        rates = {}
        if document_learning_rate is not None:
            for module in network.document_modules():
                rates |= {id(p): document_learning_rate for p in module.parameters()}
        if network.encoder.at_encoder_rate:
            rates |= {id(p): learning_rate for p in network.encoder.parameters()}

        def peak_rate(parameter):
            return rates.get(id(parameter), head_learning_rate)

        self.adamw = _make_adamw(network, peak_rate, weight_decay)
        self.by_row = modules_trained_by_row(network)
        self.tables = [
            module.start_training(weight_decay=weight_decay, rests=rows_rest)
            for module in self.by_row
        ]
        self.table_rates = [
            label_learning_rate if module.by_sgd else peak_rate(module.table)
            for module in self.by_row
        ]
        self.n_steps, self.n_done = n_steps, 0
        self.clip_norm = clip_norm
        self.scaler = scaler
        self.factor = _rate_factor(warmup, n_steps, decays=schedule == "linear")
        self.schedule = LambdaLR(self.adamw, self.factor)

    def step(self, loss, *, last):
        """Add the gradient of a batch, and make a step after the last batch of it.

        Parameters
        ----------
        loss : tensor of shape ()
            Loss of the batch, divided by the number of batches of the step.
        last : bool
            Whether the batch is the last one of its step.

        Returns
        -------
        bool
            Whether a step was made.
        """
        # Tables do not take part in torch's schedule, so they are given their rates.
        factor = self.factor(self.n_done)
        rates = [rate * factor for rate in self.table_rates] if last else []
        if last and self.clip_norm is None and not self.scaler.is_enabled():
            for table, rate in zip(self.tables, rates, strict=True):
                table.arm(rate)
        self.scaler.scale(loss).backward()
        if not last:
            return False
        for table in self.tables:
            table.gather()
        scale, applies = self._unscale(loss.device)
        if self.clip_norm is not None:
            scale = self._clip(scale)
        for table, rate in zip(self.tables, rates, strict=True):
            table.step(rate, scale=scale, applies=applies)
        self.scaler.step(self.adamw)
        self.scaler.update()
        self.adamw.zero_grad(set_to_none=True)
        self.schedule.step()
        self.n_done += 1
        return True

    def state_dict(self):
        """Return the state between two steps, for checkpoints."""
        return {
            "n_done": self.n_done,
            "adamw": self.adamw.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "tables": [table.state_dict() for table in self.tables],
        }

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
        self.n_done = state["n_done"]
        self.adamw.load_state_dict(state["adamw"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        for table, part in zip(self.tables, state["tables"], strict=True):
            table.load_state_dict(part)

    def catch_up(self):
        """Bring all rows of the tables up to date (see `RowwiseAdamW.catch_up`).

        Those that several processes have are then the same in all of them.
        """
        for table in self.tables:
            table.catch_up()
            table.synchronize()

    def end(self):
        """Drop gradients that no step has used, and bring all rows up to date."""
        self.adamw.zero_grad(set_to_none=True)
        for module, table in zip(self.by_row, self.tables, strict=True):
            table.forget()
            table.catch_up()
            module.end_training()

    def dense_parameters(self):
        """Return the parameters that torch's AdamW trains."""
        groups = self.adamw.param_groups
        return [parameter for group in groups for parameter in group["params"]]

    def _dense_gradients(self):
        return [p.grad for p in self.dense_parameters() if p.grad is not None]

    def _unscale(self, device):
        """Undo the loss scaling of half precision, without waiting for the device.

        Returns
        -------
        scale : tensor of shape () or None
            Factor for the gradients of the tables. None without loss scaling.
        applies : bool tensor of shape () or None
            Whether all gradients are finite. If not, torch skips the step of the dense
            parameters, and the tables must skip it too. None without loss scaling.
        """
        if not self.scaler.is_enabled():
            return None, None
        scale = 1 / self.scaler.scale(torch.ones((), device=device))
        self.scaler.unscale_(self.adamw)
        # Gradients of tables exist only as pairs of factors. Both must be finite.
        factors = [factor for table in self.tables for factor in table.factors()]
        return scale, get_total_norm(self._dense_gradients() + factors).isfinite()

    def _clip(self, scale):
        """Clip the gradient of all parameters to the norm `clip_norm`.

        Returns
        -------
        tensor of shape ()
            Factor for the gradients of the tables, with `scale` included.
        """
        # One norm over all parameters, those of the tables included.
        norm = get_total_norm(self._dense_gradients())
        for table in self.tables:
            part = table.squared_norm()
            norm = (norm**2 + (part if scale is None else part * scale**2)).sqrt()
        clip_grads_with_norm_(self.dense_parameters(), self.clip_norm, norm)
        clipped = (self.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        return clipped if scale is None else clipped * scale


def _make_adamw(network, peak_rate, weight_decay):
    """Make torch's AdamW for all parameters that require a gradient."""
    groups = {}
    for parameter in network.parameters():
        if not parameter.requires_grad:  # trained row by row, or frozen
            continue
        decays = parameter.ndim > 1  # biases and weights of norms do not decay
        # Values of a parameter grid may be numpy scalars, which a checkpoint refuses.
        key = float(peak_rate(parameter)), float(weight_decay if decays else 0)
        groups.setdefault(key, []).append(parameter)
    groups = [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return torch.optim.AdamW(groups, fused=True)


def _rate_factor(warmup, n_steps, *, decays):
    """Return the function that gives each step its share of the peak learning rates.

    The steps of the function's argument count from 0.
    """
    n_warmup = warmup * n_steps

    def factor(step):
        if step < n_warmup:
            return (step + 1) / (n_warmup + 1)
        if not decays:
            return 1.0
        return max(0.0, (n_steps - step) / max(1.0, n_steps - n_warmup))

    return factor
