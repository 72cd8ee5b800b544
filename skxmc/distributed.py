"""Several processes that fit one model together, on one machine or on several.

`torchrun` starts the same script several times. After `start`, ``fit`` shares the work
among these processes. See :ref:`several_processes`.
"""

import multiprocessing
import os

import torch
import torch.distributed as dist

from .nn.group import alone, is_first

__all__ = ["alone", "is_first", "start"]


def start():
    """Initialise the process group of a script that `torchrun` has started.

    Without `torchrun` it does nothing, so that the same script runs alone. It also does
    nothing if a process group is initialised already, as by Ray Train, and in the
    worker processes of joblib or multiprocessing.

    On a machine with GPUs, each process gets the GPU of its number on the machine, and
    processes exchange tensors by NCCL. Without GPUs, they use Gloo.

    Raises
    ------
    RuntimeError
        If there are more processes on this machine than GPUs.

    Examples
    --------
    >>> import skxmc.distributed
    >>> skxmc.distributed.start()  # this example runs alone
    >>> skxmc.distributed.is_first()
    True
    """
    names = "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"
    if dist.is_initialized() or any(name not in os.environ for name in names):
        return
    # Workers inherit the environment of a process that torchrun has started.
    if multiprocessing.current_process().name != "MainProcess":
        return
    if not torch.cuda.is_available():
        dist.init_process_group("gloo")
        return
    place, n_gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if place >= n_gpus:
        raise RuntimeError(
            f"Process {place} of this machine has no GPU of its own: there are "
            f"{n_gpus}. Start torchrun with --nproc_per_node={n_gpus}, or set "
            'CUDA_VISIBLE_DEVICES="" to train on the CPU.'
        )
    torch.cuda.set_device(place)
    dist.init_process_group("cpu:gloo,cuda:nccl")
