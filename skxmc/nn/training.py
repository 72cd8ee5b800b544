"""The one training loop, and the one prediction loop.

A network that they drive has an ``encoder`` and three methods: ``loss(batch,
positives)``, a scalar; ``rank(batch, k)``, label ids (padded with n_labels) and
scores, best first, both (n_docs, k); ``start_epoch(epoch, n_epochs, n_steps)``,
called before each epoch, counted from 1. For the estimate of memory it has
``floats_per_document(length)`` and ``n_candidates`` (see `check_memory`). With
``rows_rest`` what it trains by row rests in between (see `RowwiseAdamW`).
"""

import contextlib

import numpy as np
import torch
from torch.nn.functional import normalize
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.lr_scheduler import LambdaLR
from tqdm.auto import tqdm

from .checkpoint import Run
from .devices import autocast, names_batch_size, to_device
from .process import handed_back
from .rowwise import RowwiseAdamW
from .text import padded_columns, shuffled_batches, sorted_batches

# Steps between two read-outs of the loss: each waits for the device.
_READ_OUT = 20


def train(
    network,
    docs,
    Y,
    *,
    rows,
    rng,
    history,
    evaluate=None,
    max_epochs,
    batch_size,
    learning_rate,
    head_learning_rate,
    weight_decay,
    warmup,
    schedule="linear",
    accumulate=1,
    clip_norm=None,
    swa_start=None,
    swa_every=10,
    patience=None,
    tol=0.0,
    device="cpu",
    precision="fp32",
    checkpoint=None,
    epochs=None,
    verbose=0,
    title="training",
):
    """Train a network in place; leave it at its best state.

    Parameters
    ----------
    network : Module
        On `device` already.
    docs : Tokens or Features
    Y : csr matrix of shape (n_docs, n_labels)
    rows : int ndarray
        Documents to train on.
    rng : numpy Generator
        Orders the batches.
    history : list
        Receives a dict an epoch: epoch, loss (nats, mean over its steps) and,
        with `evaluate`, score.
    evaluate : callable or None
        ``evaluate(network) -> float`` on the held-out part, the higher the
        better. The best epoch's weights are kept, also when interrupted.
    learning_rate, head_learning_rate : float
        Peak rates of the pretrained encoder and of everything else.
    warmup : float
        Share of the steps over which the rates rise.
    schedule : {"linear", "constant"}
        Whether they fall to 0 then, or stay.
    accumulate : int
        Batches whose gradients a step takes the mean of; the last step of an epoch
        may have fewer.
    clip_norm : float or None
        Largest norm of the whole gradient.
    swa_start : float or None
        Share of the steps after which weights are averaged.
    swa_every : int
        Steps between two snapshots that enter the average.
    patience : int or None
        Epochs without a gain of more than `tol` before training stops.
    precision : {"fp64", "fp32", "bf16", "fp16"}
    checkpoint : Checkpoint or None
        What training starts from, if there is something, and where it is saved.
    epochs : object or None
        Its ``begin()`` is called before each epoch and its ``end()`` after it, which
        returns whether training should stop.
    title : str
        Of the progress bar.
    """
    n_batches = -(-len(rows) // batch_size)
    descent = _Descent(
        network,
        learning_rate=learning_rate,
        head_learning_rate=head_learning_rate,
        weight_decay=weight_decay,
        n_steps=max_epochs * -(-n_batches // accumulate),
        warmup=warmup,
        schedule=schedule,
        clip_norm=clip_norm,
        scaler=torch.amp.GradScaler(device, enabled=precision == "fp16"),
    )
    average, best = _Average(network, descent, swa_start, swa_every), _Best(tol)
    parts = {"descent": descent, "average": average, "best": best}
    run = Run(network, docs, rng, history, parts, checkpoint)
    n_all, n_before = max_epochs * n_batches, (run.epoch - 1) * n_batches + run.n_done
    bar = tqdm(
        total=n_all, initial=n_before, desc=title, unit="batch", disable=not verbose
    )
    try:
        for epoch in range(run.epoch, max_epochs + 1):
            if epochs is not None:
                with handed_back():
                    epochs.begin()
            network.train()
            if run.batches is None:
                network.start_epoch(epoch, max_epochs, n_batches)
                run.total = torch.zeros((), device=device)
                run.batches = shuffled_batches(rows, docs.lengths, batch_size, rng)
            for i in range(run.n_done + 1, n_batches + 1):
                batch = run.batches[i - 1]
                inputs = to_device(docs.batch(batch), device)
                positives = to_device(padded_columns(Y, batch), device)
                first = (i - 1) // accumulate * accumulate  # of those of this step
                n_added = min(accumulate, n_batches - first)
                with names_batch_size(batch_size):
                    with autocast(device, precision):
                        loss = network.loss(inputs, positives)
                    stepped = descent.step(loss / n_added, last=i == first + n_added)
                run.total += loss.detach()
                bar.update()
                if verbose and i % _READ_OUT == 0:
                    bar.set_postfix(epoch=epoch, loss=f"{run.total.item() / i:.3f}")
                if stepped:
                    average.update(last=i == n_batches)
                    run.end_step(i)
            descent.catch_up()
            history.append({"epoch": epoch, "loss": run.total.item() / n_batches})
            if evaluate is not None:
                with average.in_place():
                    score = history[-1]["score"] = evaluate(network)
                    best.waits(network, score)
                bar.set_postfix(epoch=epoch, held_out=f"{score:.4f}")
            stops = best.n_waited == patience
            if epochs is not None:
                with handed_back():
                    stops = epochs.end() or stops
            run.end_epoch(stop_at=max_epochs + 1 if stops else None)
            if stops:
                break
    finally:
        bar.close()
        descent.end()
        if best.weights is not None:
            network.load_state_dict(best.weights)
        else:
            average.put()
        network.eval()


class _Descent:
    """Optimizer steps with their schedule, accumulation, clipping and scaling.

    Attributes
    ----------
    tables : list of RowwiseAdamW
        Of vectors of labels and features that are trained by row.
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
        scaler,
    ):
        rates = learning_rate, head_learning_rate
        self.optimizer = _adamw(network, *rates, weight_decay)
        by_row = [m for m in network.modules() if getattr(m, "row_wise", False)]
        self.tables = [
            RowwiseAdamW(
                m.table,
                m.touched,
                weight_decay=weight_decay,
                rests=getattr(network, "rows_rest", False),
            )
            for m in by_row
        ]
        self.table_rates = [_rate(network, *rates)(m.table) for m in by_row]
        self.by_row = by_row
        for module, table in zip(by_row, self.tables, strict=True):
            module.catch_up = table.catch_up
        self.n_steps, self.n_done = n_steps, 0
        self.clip_norm = clip_norm
        self.scaler = scaler
        self.factor = _warmup(warmup, n_steps, falls=schedule == "linear")
        self.schedule = LambdaLR(self.optimizer, self.factor)

    def step(self, loss, *, last):
        """Add the gradient of a batch; return whether a step was made with it."""
        self.scaler.scale(loss).backward()
        if not last:
            return False
        scale, applies = self._unscale(loss.device)
        if self.clip_norm is not None:
            scale = self._clip(scale)
        factor = self.factor(self.n_done)
        for table, rate in zip(self.tables, self.table_rates, strict=True):
            table.step(rate * factor, scale=scale, applies=applies)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.n_done += 1
        return True

    def state_dict(self):
        """Its state between two steps, to go on from."""
        return {
            "n_done": self.n_done,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "tables": [table.state_dict() for table in self.tables],
        }

    def load_state_dict(self, state):
        """Go on from a state."""
        self.n_done = state["n_done"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        for table, part in zip(self.tables, state["tables"], strict=True):
            table.load_state_dict(part)

    def catch_up(self):
        """Bring the rows that no step has read lately up to date."""
        for table in self.tables:
            table.catch_up()

    def end(self):
        """Bring all rows up to date, and drop a gradient that made no step."""
        self.optimizer.zero_grad(set_to_none=True)
        for module, table in zip(self.by_row, self.tables, strict=True):
            table.forget()
            table.catch_up()
            module.catch_up = None

    def _unscale(self, device):
        """Undo the scaling of half precision, without a look at the device.

        Returns what the tables' gradients are to be multiplied by, and whether all
        gradients are finite: otherwise dense weights skip the step, and so must the
        tables. None and None without scaling.
        """
        if not self.scaler.is_enabled():
            return None, None
        scale = 1 / self.scaler.scale(torch.ones((), device=device))
        self.scaler.unscale_(self.optimizer)
        factors = [f for t in self.tables for touched in t.touched for f in touched[1:]]
        return scale, get_total_norm(self._dense_gradients() + factors).isfinite()

    def _clip(self, scale):
        """Clip the gradients of all parameters; return what scales the tables'."""
        norm = get_total_norm(self._dense_gradients())
        for table in self.tables:
            part = table.squared_norm()
            norm = (norm**2 + (part if scale is None else part * scale**2)).sqrt()
        clip_grads_with_norm_(self.dense(), self.clip_norm, norm)
        clipped = (self.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        return clipped if scale is None else clipped * scale

    def dense(self):
        """Parameters that the optimizer trains, tables not among them."""
        groups = self.optimizer.param_groups
        return [parameter for group in groups for parameter in group["params"]]

    def _dense_gradients(self):
        return [p.grad for p in self.dense() if p.grad is not None]


class _Average:
    """Running mean of the weights after a share of the steps (SWA [1]_).

    References
    ----------
    .. [1] Izmailov et al., Averaging Weights Leads to Wider Optima and Better
       Generalization, UAI 2018.
    """

    def __init__(self, network, descent, start, every):
        self.network, self.descent = network, descent
        self.start, self.every = start, every
        self.n_snapshots, self.means = 0, None

    def update(self, *, last):
        """Add the weights now and then, and after an epoch's last step."""
        n_done, n_steps = self.descent.n_done, self.descent.n_steps
        late = self.start is not None and n_done > self.start * n_steps
        if not late or (n_done % self.every and not last):
            return
        # Interrupted anywhere before the last line, it has not been counted.
        n = self.n_snapshots + 1
        weights = [p.detach() for p in self.descent.dense()]
        means = self.means or weights
        means = [m.lerp(w, 1 / n) for m, w in zip(means, weights, strict=True)]
        for table in self.descent.tables:
            table.snapshot()
        self.means, self.n_snapshots = means, n

    @contextlib.contextmanager
    def in_place(self):
        """The network at its average inside, and bit for bit as it was after."""
        weights = [p.data for p in self.network.parameters()]
        try:
            self.put()
            yield
        finally:
            for parameter, data in zip(self.network.parameters(), weights, strict=True):
                parameter.data = data

    def state_dict(self):
        """Its state, to go on from."""
        return {"n_snapshots": self.n_snapshots, "means": self.means}

    def load_state_dict(self, state):
        """Go on from a state."""
        self.n_snapshots, self.means = state["n_snapshots"], state["means"]
        if self.means is not None:
            weights = self.descent.dense()
            pairs = zip(self.means, weights, strict=True)
            self.means = [mean.to(weight.device) for mean, weight in pairs]

    def put(self):
        """Give the network its average, where there is one."""
        if not self.n_snapshots:
            return
        tables = [t.averages(self.n_snapshots) for t in self.descent.tables]
        for parameter, mean in zip(self.descent.dense(), self.means, strict=True):
            parameter.data = mean
        for table, mean in zip(self.descent.tables, tables, strict=True):
            table.vectors.data = mean


class _Best:
    """Weights at the best held-out score, and epochs since the last gain."""

    def __init__(self, tol):
        self.tol = tol
        self.score, self.weights, self.n_waited = -np.inf, None, 0

    def state_dict(self):
        """Its state, to go on from."""
        return {"score": self.score, "weights": self.weights, "waited": self.n_waited}

    def load_state_dict(self, state):
        """Go on from a state."""
        self.score, self.weights = state["score"], state["weights"]
        self.n_waited = state["waited"]

    def waits(self, network, score):
        """Look at an epoch's score."""
        self.n_waited = 0 if score > self.score + self.tol else self.n_waited + 1
        if score >= self.score:  # of equal epochs the later one
            self.score = score
            self.weights = {
                name: tensor.detach().to("cpu", copy=True)
                for name, tensor in network.state_dict().items()
            }
        return self.n_waited


def rank(network, docs, rows, k, *, batch_size, device, precision, verbose=0):
    """Best labels of documents.

    Parameters
    ----------
    network : Module
    docs : Tokens or Features
    rows : int ndarray of shape (n_rows,)
    k : int

    Returns
    -------
    ids : int64 ndarray of shape (n_rows, k)
        Label columns, best first, padded with n_labels.
    scores : ndarray of shape (n_rows, k), float32 (float64 in fp64)
    """
    ids, scores = in_batches(
        network,
        lambda batch: network.rank(batch, k),
        docs,
        rows,
        batch_size=batch_size,
        device=device,
        precision=precision,
        verbose=verbose,
    )
    return ids.numpy(), scores.numpy()


def encode(encoder, docs, *, batch_size, device, precision, verbose=0):
    """Mean states of documents, as unit vectors.

    Parameters
    ----------
    encoder : TransformerEncoder or BagEncoder
    docs : Tokens or Features

    Returns
    -------
    float32 tensor of shape (n_docs, hidden_size), on the CPU
    """
    (vectors,) = in_batches(
        encoder,
        lambda batch: (normalize(encoder(batch)[1], dim=1),),
        docs,
        np.arange(len(docs)),
        batch_size=batch_size,
        device=device,
        precision=precision,
        verbose=verbose,
    )
    return vectors


def in_batches(module, function, docs, rows, *, batch_size, device, precision, verbose):
    """Apply a function to batches, in the module's evaluation mode.

    Parameters
    ----------
    module : Module
    function : callable
        Takes a batch on the device; returns a tuple of tensors, a row a document.
    docs : Tokens or Features
    rows : int ndarray of shape (n_rows,)

    Returns
    -------
    list of tensors, on the CPU, their rows in the order of `rows`
    """
    batches = sorted_batches(np.arange(len(rows)), docs.lengths[rows], batch_size)
    outputs, pending = [], None

    def store(places, parts):
        if not outputs:
            with torch.inference_mode(False):  # they may be trained later
                for part in parts:
                    shape = len(rows), *part.shape[1:]
                    outputs.append(torch.empty(shape, dtype=part.dtype))
        for output, part in zip(outputs, parts, strict=True):
            output[torch.from_numpy(places)] = part.cpu()

    was_training = module.training
    if was_training:  # to visit all modules takes milliseconds
        module.eval()
    with torch.inference_mode(), autocast(device, precision):
        for places in tqdm(batches, desc="reading", unit="batch", disable=not verbose):
            with names_batch_size(batch_size):
                parts = function(to_device(docs.batch(rows[places]), device))
            if pending:  # one behind, so that the device has work meanwhile
                store(*pending)
            pending = places, parts
        store(*pending)
    if was_training:
        module.train()
    return outputs


def _rate(network, learning_rate, head_learning_rate):
    """What tells the rate of a parameter: whether it is in a pretrained encoder."""
    pretrained = network.encoder.parameters() if network.encoder.pretrained else ()
    pretrained = {id(parameter) for parameter in pretrained}
    return lambda p: learning_rate if id(p) in pretrained else head_learning_rate


def _adamw(network, learning_rate, head_learning_rate, weight_decay):
    """AdamW; no decay on biases and norms, rates by pretrained or not."""
    rate = _rate(network, learning_rate, head_learning_rate)
    groups = {}
    for parameter in network.parameters():
        if not parameter.requires_grad:  # trained by row, or frozen
            continue
        decay = weight_decay if parameter.ndim > 1 else 0.0
        # Plain floats, which a checkpoint may hold: others come from grids.
        key = float(rate(parameter)), float(decay)
        groups.setdefault(key, []).append(parameter)
    groups = [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return torch.optim.AdamW(groups, fused=True)


def _warmup(share, n_steps, *, falls):
    """Factor of the rates at a step: rising, then falling to 0, or staying at 1."""
    n_warmup = share * n_steps

    def factor(step):
        if step < n_warmup:
            return (step + 1) / (n_warmup + 1)
        if not falls:
            return 1.0
        return max(0.0, (n_steps - step) / max(1.0, n_steps - n_warmup))

    return factor
