"""The one training loop, and the one prediction loop.

A network that they drive has an ``encoder`` and three methods: ``loss(batch,
positives)``, a scalar; ``rank(batch, k)``, label ids (padded with n_labels) and
scores, best first, both (n_docs, k); ``start_epoch(epoch, n_epochs, n_steps)``,
called before each epoch, counted from 1.
"""

import contextlib
import os

import numpy as np
import torch
from torch.nn.functional import normalize
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from .text import padded_columns, shuffled_batches, sorted_batches

# Steps between two read-outs of the loss: each waits for the device.
_READ_OUT = 20
# Steps between two snapshots that enter the weight average.
_AVERAGE_EVERY = 10


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
    accumulate=1,
    clip_norm=None,
    swa_start=None,
    patience=None,
    tol=0.0,
    device="cpu",
    precision="fp32",
    verbose=0,
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
        Share of the steps over which the rates rise; then they fall linearly to 0.
    accumulate : int
        Batches whose gradients are added up before a step.
    clip_norm : float or None
        Largest norm of the whole gradient.
    swa_start : float or None
        Share of the steps after which weights are averaged.
    patience : int or None
        Epochs without a gain of more than `tol` before training stops.
    precision : {"fp64", "fp32", "bf16", "fp16"}
    """
    n_batches = -(-len(rows) // batch_size)
    descent = _Descent(
        _adamw(network, learning_rate, head_learning_rate, weight_decay),
        n_steps=max_epochs * -(-n_batches // accumulate),
        warmup=warmup,
        accumulate=accumulate,
        clip_norm=clip_norm,
        scaler=torch.amp.GradScaler(device, enabled=precision == "fp16"),
    )
    average, best = _Average(swa_start), _Best(tol)
    n_all = max_epochs * n_batches
    bar = tqdm(total=n_all, desc="training", unit="batch", disable=not verbose)
    try:
        for epoch in range(1, max_epochs + 1):
            network.train()
            network.start_epoch(epoch, max_epochs, n_batches)
            total = torch.zeros((), device=device)
            batches = shuffled_batches(rows, docs.lengths, batch_size, rng)
            for i, batch in enumerate(batches, start=1):
                inputs = to_device(docs.batch(batch), device)
                positives = to_device(padded_columns(Y, batch), device)
                with _names_batch_size(batch_size):
                    with autocast(device, precision):
                        loss = network.loss(inputs, positives)
                    if descent.step(loss, last=i == n_batches):
                        average.update(network, descent.n_done, descent.n_steps)
                total += loss.detach()
                bar.update()
                if verbose and i % _READ_OUT == 0:
                    bar.set_postfix(epoch=epoch, loss=f"{total.item() / i:.3f}")
            history.append({"epoch": epoch, "loss": total.item() / n_batches})
            if evaluate is None:
                continue
            score = history[-1]["score"] = evaluate(average.of(network))
            bar.set_postfix(epoch=epoch, held_out=f"{score:.4f}")
            if best.waits(average.of(network), score) == patience:
                break
    finally:
        bar.close()
        best.restore(network, otherwise=average.of(network))
        network.eval()


class _Descent:
    """Optimizer steps with their schedule, accumulation, clipping and scaling."""

    def __init__(self, optimizer, *, n_steps, warmup, accumulate, clip_norm, scaler):
        self.optimizer = optimizer
        self.n_steps, self.n_done = n_steps, 0
        self.accumulate, self.n_added = accumulate, 0
        self.clip_norm = clip_norm
        self.scaler = scaler
        self.schedule = LambdaLR(optimizer, _warmup_linear(warmup, n_steps))

    def step(self, loss, *, last):
        """Add the gradient of a batch; return whether a step was made with it."""
        self.scaler.scale(loss / self.accumulate).backward()
        self.n_added += 1
        if self.n_added < self.accumulate and not last:
            return False
        if self.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            groups = self.optimizer.param_groups
            every = [parameter for group in groups for parameter in group["params"]]
            clip_grad_norm_(every, self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        self.n_added = 0
        self.n_done += 1
        return True


class _Average:
    """Running mean of the weights after a share of the steps."""

    def __init__(self, start):
        self.start, self.model = start, None

    def update(self, network, n_done, n_steps):
        late = self.start is not None and n_done > self.start * n_steps
        if late and (n_done % _AVERAGE_EVERY == 0 or n_done == n_steps):
            self.model = self.model or AveragedModel(network)
            self.model.update_parameters(network)

    def of(self, network):
        return network if self.model is None else self.model.module


class _Best:
    """Weights at the best held-out score, and epochs since the last gain."""

    def __init__(self, tol):
        self.tol = tol
        self.score, self.weights, self.n_waited = -np.inf, None, 0

    def waits(self, network, score):
        self.n_waited = 0 if score > self.score + self.tol else self.n_waited + 1
        if score > self.score:
            self.score = score
            self.weights = {
                name: tensor.detach().to("cpu", copy=True)
                for name, tensor in network.state_dict().items()
            }
        return self.n_waited

    def restore(self, network, *, otherwise):
        if self.weights is not None:
            network.load_state_dict(self.weights)
        elif otherwise is not network:
            network.load_state_dict(otherwise.state_dict())


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
    scores : float32 ndarray of shape (n_rows, k)
    """
    ids, scores = _in_batches(
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
    (vectors,) = _in_batches(
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


def _in_batches(
    module, function, docs, rows, *, batch_size, device, precision, verbose
):
    """Apply a function that returns tensors to batches; put rows back in order."""
    batches = sorted_batches(rows, docs.lengths, batch_size)
    parts = []
    was_training = module.training
    module.eval()
    with torch.inference_mode(), autocast(device, precision):
        for batch in tqdm(batches, desc="reading", unit="batch", disable=not verbose):
            with _names_batch_size(batch_size):
                parts.append(function(to_device(docs.batch(batch), device)))
    module.train(was_training)
    place = np.empty(len(docs), np.int64)
    place[np.concatenate(batches)] = np.arange(len(rows))
    order = torch.from_numpy(place[rows])
    return [torch.cat(part).cpu()[order] for part in zip(*parts, strict=True)]


def choose_device(device):
    """Turn "auto" into the best device there is, and check any other."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return str(torch.empty(0, device=device).device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"device={device!r} cannot be used here ({reason}). "
            'Use "auto", "cpu", or a CUDA device that torch.cuda.is_available() sees.'
        ) from error


def choose_precision(precision, device):
    """Turn "auto" into bf16, fp16 or fp32, whichever the device is good at."""
    known = ("auto", "fp64", "fp32", "bf16", "fp16")
    if precision not in known:
        raise ValueError(f"precision must be one of {known}, got {precision!r}.")
    if precision == "fp16" and not device.startswith("cuda"):
        raise ValueError(
            f'precision="fp16" needs a CUDA device, got device={device!r}.'
        )
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
    # Without such instructions a CPU emulates bf16, 20 times slower than fp32.
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def autocast(device, precision):
    """Context in which a network of float32 (fp64: float64) weights computes."""
    if precision in ("fp32", "fp64"):
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return torch.autocast(device.partition(":")[0], dtype=dtype)


def to_device(batch, device):
    """Move a tensor, or a dict of tensors, without waiting for the device."""
    if isinstance(batch, dict):
        return {name: to_device(tensor, device) for name, tensor in batch.items()}
    if device == "cpu":
        return batch
    return batch.pin_memory().to(device, non_blocking=True)


def check_memory(network, length, batch_size, device, *, n_copies):
    """Refuse a training that cannot fit.

    Parameters
    ----------
    network : Module
        With ``floats_per_document(length)``, the activations of a document.
    length : int
        Tokens (or features) of the longest document.
    n_copies : int
        Copies of the weights that training keeps beside the weights, their
        gradients and AdamW's two moments.

    Raises
    ------
    MemoryError
        With the figures, if the estimate passes what is free on `device`.
    """
    weights = 4 * sum(p.numel() for p in network.parameters())
    states = (3 + n_copies) * weights
    step = 4 * batch_size * network.floats_per_document(length)
    free = _free_memory(device)
    if free is None or states + step <= free:
        return
    GiB = 2**30
    raise MemoryError(
        f"Training needs about {(states + step) / GiB:.1f} GiB more on {device}, and "
        f"{free / GiB:.1f} GiB are free: {states / GiB:.1f} GiB for gradients, AdamW's "
        f"moments and kept copies of {weights / GiB:.1f} GiB of weights, "
        f"{step / GiB:.1f} GiB for a step of {batch_size} documents of up to {length} "
        "tokens. Lower batch_size or max_length (the step), label_dim or n_layers (the "
        "weights), or raise max_leaf_size to rank fewer labels a step."
    )


def _free_memory(device):
    """Free bytes on a device, or None where it cannot be told."""
    if device.startswith("cuda"):
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + held  # torch uses that first
    try:
        lines = _read("/proc/meminfo").splitlines()
        sizes = dict(line.split()[:2] for line in lines)
        free = 1024 * int(sizes["MemAvailable:"])
    except (OSError, KeyError):
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (ValueError, OSError, AttributeError):
            return None
    with contextlib.suppress(OSError, ValueError):  # a container may allow less
        folder = "/sys/fs/cgroup/memory."
        limit, used = int(_read(folder + "max")), int(_read(folder + "current"))
        # Files read count as used, and give way when memory is asked for.
        stat = dict(map(str.split, _read(folder + "stat").splitlines()))
        free = min(free, limit - used + int(stat.get("inactive_file", 0)))
    return free


def _read(path):
    with open(path) as file:
        return file.read()


def _adamw(network, learning_rate, head_learning_rate, weight_decay):
    """AdamW; no decay on biases and norms, rates by pretrained or not."""
    pretrained = network.encoder.parameters() if network.encoder.pretrained else ()
    pretrained = {id(parameter) for parameter in pretrained}
    groups = {}
    for parameter in network.parameters():
        rate = learning_rate if id(parameter) in pretrained else head_learning_rate
        decay = weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    groups = [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return torch.optim.AdamW(groups, fused=True)


def _warmup_linear(warmup, n_steps):
    n_warmup = warmup * n_steps

    def factor(step):
        if step < n_warmup:
            return (step + 1) / (n_warmup + 1)
        return max(0.0, (n_steps - step) / max(1.0, n_steps - n_warmup))

    return factor


@contextlib.contextmanager
def _names_batch_size(batch_size):
    """Say which batch size to try when the device's memory runs out."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        advice = (
            f"try batch_size={batch_size // 2}"
            if batch_size > 1
            else "lower max_length, or use a smaller encoder"
        )
        raise MemoryError(
            f"The device ran out of memory at batch_size={batch_size}: {advice}."
        ) from error
