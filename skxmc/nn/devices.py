"""Choice of the device and of its precision, and estimates of the memory needed."""

import contextlib
import functools
import os

import torch
from threadpoolctl import ThreadpoolController

from .group import current_group
from .rowwise import modules_trained_by_row

PRECISIONS = ("auto", "fp64", "fp32", "bf16", "fp16")
# Largest number of values in X and y for which "auto" is float64 on a CPU. With 500
# documents of 18 features, a fit of TReaderXML takes 20 s on one core (fp32: 12 s,
# bf16: 8 s), and a fit of the other systems at most 0.8 s (0.6 s, 0.6 s). The data of
# scikit-learn's estimator checks have up to 1,500 values.
_MAX_FP64_VALUES = 10_000


def choose_device(device):
    """Return the best device that exists for "auto"; check any other device.

    Raises
    ------
    ValueError
        If the device cannot be used on this machine.
    """
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
    """Return the fastest precision of the device for "auto"; check any other.

    Parameters
    ----------
    precision : {"auto", "fp64", "fp32", "bf16", "fp16"}
    device : str
    n_numbers : int or None, default=None
        Number of values in the feature matrix and the label matrix together, if the
        network is fitted on features. On a CPU, "auto" is fp64 for up to 10,000, where
        it costs little.

    Raises
    ------
    ValueError
        If the precision is unknown, or "fp16" without a CUDA device.
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
    if device == "cpu" and n_numbers is not None and n_numbers <= _MAX_FP64_VALUES:
        return "fp64"
    # A CPU without bf16 instructions emulates them, 20 times slower than fp32.
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def autocast(device, precision):
    """Return the context in which a network computes in the given precision.

    The weights themselves are float32, or float64 for fp64.
    """
    if precision in ("fp32", "fp64"):
        return contextlib.nullcontext()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    # torch's cache of cast weights is shared by all threads. A thread that predicts
    # would clear it in the middle of another thread's step, and inside a caller's own
    # autocast the cache would keep stale weights from one step to the next.
    return torch.autocast(device.partition(":")[0], dtype=dtype, cache_enabled=False)


class FullPrecision:
    """Context in which autocast is off: ``torch.autocast(kind, enabled=False)``.

    It sets nothing but what that sets in the end, which takes a fifth of the time.

    Parameters
    ----------
    kind : str
        Type of the device, such as "cpu" or "cuda".
    """

    def __init__(self, kind):
        self._kind = kind

    def __enter__(self):
        self._was_on = torch.is_autocast_enabled(self._kind)
        if self._was_on:
            torch.set_autocast_enabled(self._kind, False)

    def __exit__(self, *error):
        if self._was_on:
            torch.set_autocast_enabled(self._kind, True)


def to_device(batch, device):
    """Move a tensor, or a dict or tuple of tensors, to a device without blocking.

    Only tensors in main memory are moved: others are where they are needed already.
    """
    if isinstance(batch, dict):
        return {name: to_device(part, device) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(to_device(part, device) for part in batch)
    if device == "cpu" or batch.device.type != "cpu":
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
    """Raise an error if training cannot fit in memory.

    This is called while the network is still on the CPU, so that the error comes
    before training starts. The estimate counts gradients and AdamW's moments of what is
    trained, copies of all weights, and the activations of one step. In a group, all
    processes of a machine must fit in its main memory together, and each in the memory
    of its own GPU.

    Parameters
    ----------
    network : Network
        Its ``floats_per_document(length)`` and ``n_candidates`` are used.
    length : int
        Number of tokens or features of the longest document.
    batch_size : int
    device : str
    averages : bool, default=False
        Whether an average of the weights is kept on the device.
    keeps_best : bool, default=False
        Whether the best weights are kept on the CPU.
    accumulate : int, default=1
        Batches in each step.
    precision : {"fp32", "fp64", "bf16", "fp16"}, default="fp32"
    advice : str, default=""
        Last sentence of the message: the parameters to change.

    Raises
    ------
    MemoryError
        If the estimate exceeds the free memory of `device`.
    """
    group = current_group()
    n_processes = 1 if group is None else group.size
    weights, states, step = estimate_memory(
        network,
        length,
        batch_size,
        device,
        averages=averages,
        keeps_best=keeps_best,
        accumulate=accumulate,
        precision=precision,
        n_processes=n_processes,
    )
    free = _free_memory(device)
    n_sharing = group.n_here if group is not None and device == "cpu" else 1
    need = n_sharing * (states + step)
    if free is None or need <= free:
        return
    GiB = 2**30
    together = f" for {n_sharing} processes together" if n_sharing > 1 else ""
    each = " in each" if n_sharing > 1 else ""
    raise MemoryError(
        f"Training needs about {need / GiB:.1f} GiB more on {device}{together}, and "
        f"{free / GiB:.1f} GiB are free: {states / GiB:.1f} GiB{each} for gradients, "
        f"AdamW's moments and copies of {weights / GiB:.1f} GiB of weights, and "
        f"{step / GiB:.1f} GiB{each} for a step of {batch_size} documents of up to "
        f"{length} tokens. {advice}"
    )


def estimate_memory(
    network,
    length,
    batch_size,
    device,
    *,
    averages=False,
    keeps_best=False,
    accumulate=1,
    precision="fp32",
    n_processes=1,
):
    """Estimate the memory that training needs.

    Parameters
    ----------
    network, length, batch_size, device, averages, keeps_best, accumulate, precision
        As in `check_memory`. The network may be on the meta device.
    n_processes : int, default=1
        Number of processes that train together. The result is what one of them needs.
        Of the label vectors that each of them trains a part of, it has all rows before
        and after training.

    Returns
    -------
    weights : int
        Bytes of the weights.
    states : int
        Bytes of gradients, moments and copies of the weights. On a GPU, the weights
        themselves are one of the copies.
    step : int
        Bytes of what a step computes.
    """
    on_cpu = device == "cpu"  # the weights are counted only if they must be copied
    n_copies = (not on_cpu) + (keeps_best and on_cpu)
    number_bytes = 8 if precision == "fp64" else 4
    casts = precision in ("bf16", "fp16")
    weights = states = 0
    by_row = modules_trained_by_row(network)
    tables = [module.table for module in by_row]
    own_docs = -(-batch_size // n_processes)
    other_scores = 0
    for module in by_row:  # which never has the gradient of all its rows
        size, n_states = module.table.nbytes, module.state_bytes(averages)
        weights += size
        if n_processes == 1 or not getattr(module, "is_cut", False):
            states += n_states + n_copies * size
            continue
        # The rows of a process and their states are there until all rows have come
        # together again, besides the rows that another process is sending.
        part = -(-size // n_processes)
        states += -(-n_states // n_processes) + (2 + (keeps_best and on_cpu)) * part
        states += (not on_cpu) * size
        # It scores the documents of all processes.
        other_scores += 4 * (batch_size - own_docs) * module.n_scores_held
    counted = set(map(id, tables))
    for parameter in network.parameters():
        if id(parameter) in counted:
            continue
        size = number_bytes * parameter.numel()
        weights += size
        if parameter.requires_grad:
            # AdamW's two moments, a gradient, the mean of the snapshots, and what
            # several processes add their gradients up in.
            n_sets = n_copies + 3 + averages + (n_processes > 1)
            states += n_sets * size + casts * size // 2
        elif not on_cpu:
            states += size
    # Autocast keeps most activations in 16 bits and some in 32: 3 bytes on average.
    step_bytes = 3 if casts else number_bytes
    step = step_bytes * own_docs * network.floats_per_document(length)
    step += step_bytes * other_scores
    if not on_cpu:  # a GPU updates all rows of a step in one block
        n_docs = batch_size * accumulate
        encoder = {id(parameter) for parameter in network.encoder.parameters()}
        for table in tables:
            n_rows = length if id(table) in encoder else network.n_candidates
            step += 4 * n_docs * n_rows * (6 * table.shape[1] + n_docs)
    return weights, states, step


def check_free_memory(n_bytes, what, advice):
    """Raise an error if the memory of the CPU has no room for so many bytes.

    Parameters
    ----------
    n_bytes : int
    what : str
        Subject of the message: what needs the memory.
    advice : str
        Last sentence of the message.

    Raises
    ------
    MemoryError
    """
    free = _free_memory("cpu")
    if free is not None and n_bytes > free:
        raise MemoryError(
            f"{what} need about {n_bytes / 2**30:.1f} GiB of memory, and "
            f"{free / 2**30:.1f} GiB are free. {advice}"
        )


def has_free_memory(n_bytes):
    """Return whether the memory of the CPU has room for so many bytes, as far as known.

    Parameters
    ----------
    n_bytes : int
    """
    free = _free_memory("cpu")
    return free is None or n_bytes <= free


def _free_memory(device):
    """Return the free bytes of a device, or None if they cannot be determined."""
    if device.startswith("cuda"):
        # Memory that torch has reserved but does not use is free for torch.
        unused = torch.cuda.memory_reserved(device)
        unused -= torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        lines = _read("/proc/meminfo").splitlines()
        sizes = dict(line.split()[:2] for line in lines)
        free = 1024 * int(sizes["MemAvailable:"])
    except (OSError, KeyError):
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (ValueError, OSError, AttributeError):
            return None
    with contextlib.suppress(OSError, ValueError):  # a container may have a lower limit
        folder = "/sys/fs/cgroup/memory."
        limit, used = int(_read(folder + "max")), int(_read(folder + "current"))
        # The cache of files counts as used, but the kernel frees it on demand.
        stat = dict(map(str.split, _read(folder + "stat").splitlines()))
        free = min(free, limit - used + int(stat.get("inactive_file", 0)))
    return free


def _read(path):
    with open(path) as file:
        return file.read()


@contextlib.contextmanager
def name_batch_size(batch_size):
    """Suggest a smaller batch size in the error when the device runs out of memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise out_of_memory(batch_size) from error


def out_of_memory(batch_size):
    """Return the error that suggests a smaller batch size."""
    advice = (
        f"try batch_size={batch_size // 2}"
        if batch_size > 1
        else "lower max_length or use a smaller encoder"
    )
    return MemoryError(
        f"The device ran out of memory at batch_size={batch_size}: {advice}."
    )


@contextlib.contextmanager
def one_thread(wanted=True):
    """Limit torch to one CPU thread in this context, if `wanted`.

    This is for operations that take less time than waking a second thread, which takes
    milliseconds on a busy machine. OpenMP stores the limit for each calling thread, so
    that other threads are not affected.
    """
    # A new thread adopts torch's number of threads when it first asks for it, so that
    # this call must come before the limit.
    if torch.get_num_threads() == 1 or not wanted:
        yield
        return
    with _openmp().limit(limits=1):
        yield


@functools.cache
def _openmp():
    return ThreadpoolController().select(user_api="openmp")
