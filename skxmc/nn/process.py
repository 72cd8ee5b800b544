"""What a process has of torch only once, shared by threads and by forks.

torch has one random generator a device, one default dtype and one pool of threads for
a whole process. Whatever draws random numbers or builds modules does so `alone`, in
turn with other threads. Predictions take no turn: they draw nothing, and depend on none
of these settings.
"""

import contextlib
import os
import threading

import torch

# Held by the thread whose turn it is, and the states that it is to put back: one for
# each `alone` that it is in.
_lock = threading.RLock()
_found = []


class _State:
    """Generators and default dtype as they are now.

    Parameters
    ----------
    device : torch.device
        Its generator, beside that of the CPU.
    """

    def __init__(self, device):
        self.thread = threading.get_ident()
        self.device = device
        self.dtype = torch.get_default_dtype()
        self.cpu = torch.get_rng_state()
        self.gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def put_back(self):
        """Bring them back to what they were."""
        torch.set_default_dtype(self.dtype)
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu, self.device)


@contextlib.contextmanager
def alone(device="cpu"):
    """Have torch's generators and default dtype to oneself; put them back after.

    Other threads that ask for the same wait until this one is done. Inside, torch's
    modes are as by default, whatever the caller has set. Within another `alone` of the
    same thread nothing is waited for.

    Parameters
    ----------
    device : str, default="cpu"
        Device that is drawn on, beside the CPU.
    """
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    with default_modes():
        _lock.acquire()
        try:
            _found.append(_State(device))
            try:
                torch.set_default_dtype(torch.float32)
                yield
            finally:
                _found.pop().put_back()
        finally:
            _lock.release()


@contextlib.contextmanager
def handed_back():
    """Let the caller's code run within `alone`, as if it were outside.

    Such code may fit models in other threads and wait for them, or draw numbers.
    """
    global _found
    if not _is_mine():
        yield
        return
    mine, ours = _found, _State(_found[-1].device)
    mine[0].put_back()
    _found = []
    for _ in mine:
        _lock.release()
    try:
        yield
    finally:
        interrupt = None
        for _ in mine:
            interrupt = _acquire() or interrupt
        mine[0] = _State(mine[0].device)
        _found = mine
        ours.put_back()
        if interrupt is not None:
            raise interrupt


def _acquire():
    """Wait for the lock, come what may; return the interrupt that came, or None."""
    interrupt = None
    while True:
        try:
            _lock.acquire()
            return interrupt
        except KeyboardInterrupt as error:
            interrupt = error


def _is_mine():
    return bool(_found) and _found[0].thread == threading.get_ident()


def seed(number, device):
    """Seed the generators of the CPU and of a device, and of no other.

    Parameters
    ----------
    number : int
    device : str
    """
    torch.default_generator.manual_seed(number)
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)


@contextlib.contextmanager
def default_modes():
    """Let torch's modes of this thread be as by default, whatever the caller has set.

    That is: gradients, no inference mode, no autocast, tensors made on the CPU.
    """
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
    """Make a lock for moments, during which the process does not fork."""
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
        os.register_at_fork(
            before=lock.acquire,
            after_in_parent=lock.release,
            after_in_child=lock.release,
        )
    return lock


def _after_fork():
    """Make torch work in a forked process, where only one thread lives on."""
    global _lock, _found
    # Threads of OpenMP that the parent has started would be waited for, forever.
    torch.set_num_threads(1)
    if _is_mine():
        return
    if _found:  # the generators may be locked by a thread that there is no more
        torch.set_default_dtype(_found[0].dtype)
    _lock, _found = threading.RLock(), []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
