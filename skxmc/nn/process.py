"""Global state of torch that all threads of a process share, and its safe use.

torch has one random generator per device, one default dtype and one pool of threads for
a whole process. Code that draws random numbers or builds modules therefore runs in the
context `isolate_torch`, which one thread at a time can enter. Predictions do not need
it, since they draw no random numbers and do not depend on these settings.
"""

import contextlib
import os
import threading

import torch

# Lock of the thread that is in `isolate_torch`, and the states that it has to restore:
# one for each nested context.
_lock = threading.RLock()
_saved = []


class _State:
    """A copy of the current states of the generators, and of the default dtype.

    Parameters
    ----------
    device : torch.device
        Device whose generator is included, in addition to the CPU's.
    """

    def __init__(self, device):
        self.thread = threading.get_ident()
        self.device = device
        self.dtype = torch.get_default_dtype()
        self.cpu = torch.get_rng_state()
        self.gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def restore(self):
        """Set the generators and the default dtype to these states."""
        torch.set_default_dtype(self.dtype)
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu, self.device)


@contextlib.contextmanager
def isolate_torch(device="cpu"):
    """Context with exclusive use of torch's generators and of its default dtype.

    Other threads that enter it wait until this one has left. Within the context, the
    default dtype is float32 and torch's modes are the default ones, whatever the caller
    has set. On leaving, the generators and the dtype are restored. A thread may nest
    the context.

    Parameters
    ----------
    device : str, default="cpu"
        Device whose random generator is used, in addition to the CPU's.
    """
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    with default_modes():
        _lock.acquire()
        try:
            _saved.append(_State(device))
            try:
                torch.set_default_dtype(torch.float32)
                yield
            finally:
                _saved.pop().restore()
        finally:
            _lock.release()


@contextlib.contextmanager
def release_torch():
    """Context that leaves `isolate_torch` for a while, to run code of the user.

    A callback may fit models in other threads and wait for them, which would never end
    while this thread holds the lock. It may also draw random numbers, which must come
    from the user's own generator states. On leaving, this thread waits for the lock and
    continues with the states that it had before.
    """
    global _saved
    if not _holds_lock():
        yield
        return
    outer, current = _saved, _State(_saved[-1].device)
    outer[0].restore()
    _saved = []
    for _ in outer:  # an RLock is released as often as it was acquired
        _lock.release()
    try:
        yield
    finally:
        interrupt = None
        for _ in outer:
            interrupt = _acquire() or interrupt
        # The user's code may have changed the states that are restored in the end.
        outer[0] = _State(outer[0].device)
        _saved = outer
        current.restore()
        if interrupt is not None:
            raise interrupt


def _acquire():
    """Acquire the lock despite interrupts; return the last interrupt, or None."""
    interrupt = None
    while True:
        try:
            _lock.acquire()
            return interrupt
        except KeyboardInterrupt as error:
            interrupt = error


def _holds_lock():
    return bool(_saved) and _saved[0].thread == threading.get_ident()


def seed(number, device):
    """Seed the generators of the CPU and of one device, but not those of other GPUs.

    Parameters
    ----------
    number : int
    device : str
    """
    torch.default_generator.manual_seed(number)
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)


def default_modes():
    """Context in which torch has its default modes, whatever the caller has set.

    Gradients are enabled, inference mode and autocast are off, and new tensors are on
    the CPU. Modes belong to a thread, so that other threads are not affected.
    """
    # Each prediction comes here, mostly with these modes: to ask takes less time than
    # to set them.
    has_them = (
        torch.is_grad_enabled()
        and not torch.is_inference_mode_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.is_autocast_enabled("cuda")
        and torch.empty(0).device.type == "cpu"
    )
    return contextlib.nullcontext() if has_them else _set_default_modes()


@contextlib.contextmanager
def _set_default_modes():
    with contextlib.ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def brief_lock():
    """Make a lock that is held briefly, and that delays forks of the process.

    A process that forked while another thread holds the lock would never get it.
    """
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):  # Windows has no fork
        os.register_at_fork(
            before=lock.acquire,
            after_in_parent=lock.release,
            after_in_child=lock.release,
        )
    return lock


def _after_fork():
    """Make torch usable in a forked process, where only the forking thread exists."""
    global _lock, _saved
    # torch would wait forever for the parent's OpenMP threads, which a fork lacks.
    torch.set_num_threads(1)
    if _holds_lock():
        return
    # The lock belonged to a thread that no longer exists. The generators are not
    # restored, since that thread may have held their locks too.
    if _saved:
        torch.set_default_dtype(_saved[0].dtype)
    _lock, _saved = threading.RLock(), []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
