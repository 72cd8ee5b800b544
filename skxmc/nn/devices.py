"""Devices: which one, at what precision, and how much memory it has."""

import contextlib
import functools
import os

import torch
from threadpoolctl import ThreadpoolController

from .rowwise import modules_trained_by_row

PRECISIONS = ("auto", "fp64", "fp32", "bf16", "fp16")
# Numbers in features and labels up to which "auto" is float64 on a CPU. At 500
# documents of 18 features a fit of TReaderXML takes 20 s of a core (fp32: 12, bf16: 8),
# of others 0.8 s at most (0.6, 0.6). The checks of scikit-learn have up to 1,500.
_FEW_NUMBERS = 10_000


def choose_device(device):
    """Turn "auto" into the best device there is, and check any other."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it holds no numbers")
        return str(torch.empty(0, device=torch.device(device)).device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"device={device!r} cannot be used here ({reason}). "
            'Use "auto", "cpu", or a CUDA device that torch.cuda.is_available() sees.'
        ) from error


def choose_precision(precision, device, *, n_numbers=None):
    """Turn "auto" into what the device is good at, or fp64 where that costs little.

    Parameters
    ----------
    precision : {"auto", "fp64", "fp32", "bf16", "fp16"}
    device : str
    n_numbers : int or None, default=None
        Numbers in a feature matrix and its labels that a network is to be fitted on.
        Up to 10,000, on a CPU, "auto" is fp64.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {PRECISIONS}, got {precision!r}.")
    if precision == "fp16" and not device.startswith("cuda"):
        raise ValueError(
            f'precision="fp16" needs a CUDA device, got device={device!r}.'
        )
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp16"
    if device == "cpu" and n_numbers is not None and n_numbers <= _FEW_NUMBERS:
        return "fp64"
    # Without such instructions a CPU emulates bf16, 20 times slower than fp32.
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def autocast(device, precision):
    """Context in which a network of float32 (fp64: float64) weights computes."""
    if precision in ("fp32", "fp64"):
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    # Weights that were cast once would be kept in a place that all threads share: one
    # that predicts would drop them in the midst of another's step, and a caller's own
    # autocast would keep them from step to step.
    return torch.autocast(device.partition(":")[0], dtype=dtype, cache_enabled=False)


def to_device(batch, device):
    """Move a tensor, or a dict or tuple of tensors, without waiting for the device."""
    if isinstance(batch, dict):
        return {name: to_device(part, device) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(to_device(part, device) for part in batch)
    if device == "cpu":
        return batch
    return batch.pin_memory().to(device, non_blocking=True)


def check_memory(
    network,
    length,
    batch_size,
    device,
    *,
    averages=False,
    keeps_best=False,
    accumulate=1,
    precision="fp32",
    advice="",
):
    """Refuse a training that cannot fit, before its network is on the device.

    Parameters
    ----------
    network : Module
        With ``floats_per_document(length)``, the activations of a document, and
        ``n_candidates``, the labels a document whose vectors are trained by row.
    length : int
        Tokens (or features) of the longest document.
    batch_size : int
    device : str
    averages : bool, default=False
        An average of the weights is kept on the device.
    keeps_best : bool, default=False
        The best weights are kept, on the CPU.
    accumulate : int, default=1
        Batches a step.
    precision : {"fp32", "fp64", "bf16", "fp16"}, default="fp32"
    advice : str, default=""
        What to turn, for the message.

    Raises
    ------
    MemoryError
        With the figures, if the estimate passes what is free on `device`.
    """
    here = device == "cpu"  # the weights themselves are there already
    n_copies = (not here) + (keeps_best and here)
    number_bytes = 8 if precision == "fp64" else 4
    casts = precision in ("bf16", "fp16")
    weights = states = 0
    tables = [module.table for module in modules_trained_by_row(network)]
    for parameter in network.parameters():
        by_row = any(parameter is table for table in tables)
        each = parameter.element_size() if by_row else number_bytes
        size = each * parameter.numel()
        # Two moments and a gradient, which no table has as a whole.
        own = (2 if by_row else 3) * size
        if averages:  # a table's moves, at least float32, and in the end their mean
            own += size + (max(4, each) * parameter.numel() if by_row else 0)
        weights += size
        states += own + n_copies * size + (casts and not by_row) * size // 2
    # Of what is kept in 16 bits, some is kept in 32.
    step_bytes = 3 if casts else number_bytes
    step = step_bytes * batch_size * network.floats_per_document(length)
    if not here:  # where the rows of a step are updated in one block
        n_docs = batch_size * accumulate
        read = {id(parameter) for parameter in network.encoder.parameters()}
        for table in tables:
            n_rows = length if id(table) in read else network.n_candidates
            step += 4 * n_docs * n_rows * (6 * table.shape[1] + n_docs)
    free = _free_memory(device)
    if free is None or states + step <= free:
        return
    GiB = 2**30
    raise MemoryError(
        f"Training needs about {(states + step) / GiB:.1f} GiB more on {device}, and "
        f"{free / GiB:.1f} GiB are free: {states / GiB:.1f} GiB for gradients, AdamW's "
        f"moments and copies of {weights / GiB:.1f} GiB of weights, "
        f"{step / GiB:.1f} GiB for a step of {batch_size} documents of up to {length} "
        f"tokens. {advice}"
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


@contextlib.contextmanager
def name_batch_size(batch_size):
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


@contextlib.contextmanager
def one_thread(wanted=True):
    """Let torch use one thread of the CPU inside, where `wanted`.

    For operations so small that they last no longer than a second thread takes to
    wake: on a busy machine that is milliseconds. OpenMP keeps that number for each
    thread that calls it, so that others are not concerned.
    """
    # Asked first: a new thread takes torch's number over when it first needs it.
    if torch.get_num_threads() == 1 or not wanted:
        yield
        return
    with _openmp().limit(limits=1):
        yield


@functools.cache
def _openmp():
    return ThreadpoolController().select(user_api="openmp")
