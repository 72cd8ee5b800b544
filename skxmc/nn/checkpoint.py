"""What an interrupted training goes on from."""

import os
import time
from pathlib import Path

import torch

from .locks import is_at, left_behind, try_lock

# Of the states of `Run` and its parts: another number where an older state would be
# taken for what it is not.
STATE_FORMAT = 3
# Seconds between two checkpoints inside an epoch; each epoch ends with one.
_EVERY = 600.0
_PART = ".part"
# Seconds until a file that another process writes is looked at again.
_WAIT = 0.1


class Checkpoint:
    """A file with the state of a training, replaced as a whole.

    Parameters
    ----------
    path : path
        Its folder is made where it is missing. What trainings that were killed there
        had written only in part is removed.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.written = time.monotonic()
        for part in self.path.parent.glob(f"*.checkpoint{_PART}"):
            _remove_if_left(part)

    def read(self):
        """State that was written last, or None. No code is run from the file."""
        if not self.path.exists():
            return None
        try:
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:  # of many kinds
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"The checkpoint {self.path} is damaged ({reason}). Remove it: "
                "training starts anew then."
            ) from error

    def is_due(self):
        """Whether it was written long ago."""
        return time.monotonic() - self.written >= _EVERY

    def write(self, state):
        """Put a state in the place of the one before."""
        with _open_alone(self._part()) as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
            if os.name == "nt":  # it renames no file that is open
                file.close()
            os.replace(self._part(), self.path)
        self.written = time.monotonic()

    def remove(self):
        """Remove the file: training is over."""
        self.path.unlink(missing_ok=True)
        self._part().unlink(missing_ok=True)

    def _part(self):
        """The file that is written before it takes the place of the checkpoint."""
        return self.path.with_name(f"{self.path.name}{_PART}")


def _open_alone(path):
    """Open a file to be written by nobody else, and locked until it is closed."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        if try_lock(file) is not False and is_at(file, path):
            file.truncate(0)
            return file
        file.close()  # another process writes or removes it
        time.sleep(_WAIT)


def _remove_if_left(part):
    """Remove a file that was written in part by a process that has ended."""
    with left_behind(part) as is_left:
        if is_left:
            part.unlink(missing_ok=True)


class Run:
    """How far a training has come, and all that its next step depends on.

    Parameters
    ----------
    network : Network
    rng : numpy Generator
    history : list of dict
    parts : dict
        What else a step depends on: objects with ``state_dict()`` and
        ``load_state_dict(state)``.
    checkpoint : Checkpoint or None
        Where it starts from, and is saved.

    Attributes
    ----------
    epoch : int
        The epoch that goes on, counted from 1.
    n_done : int
        Its batches that are done.
    batches : list of int ndarray, or None
        All of them; None where the epoch has not begun.
    total : tensor of shape () or None
        Sum of their losses.
    """

    def __init__(self, network, rng, history, parts, checkpoint=None):
        self.network, self.rng = network, rng
        self.history, self.parts = history, parts
        self.checkpoint = checkpoint
        self.epoch, self.n_done, self.batches, self.total = 1, 0, None, None
        state = None if checkpoint is None else checkpoint.read()
        if state is not None:
            self._restore(state)

    def end_epoch(self, *, stop_at=None):
        """Count an epoch as done, and save; with `stop_at` all before that epoch."""
        self.epoch = stop_at or self.epoch + 1
        self.n_done, self.batches = 0, None
        if self.checkpoint is not None:
            self.checkpoint.write(self._state())

    def end_step(self, n_done):
        """Count a step as done after `n_done` batches, and save now and then."""
        self.n_done = n_done
        if self.checkpoint is not None and self.checkpoint.is_due():
            self.checkpoint.write(self._state())

    def _state(self):
        batches = None
        if self.batches is not None:
            batches = [torch.from_numpy(batch) for batch in self.batches]
        return {
            "epoch": self.epoch,
            "n_done": self.n_done,
            "batches": batches,
            "total": self.total,
            "history": self.history,
            "rng": self.rng.bit_generator.state,
            "torch": torch.get_rng_state(),
            "cuda": self._gpu_state(),
            "network": self.network.state_dict(),
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }

    def _restore(self, state):
        self.epoch, self.n_done = state["epoch"], state["n_done"]
        if state["batches"] is not None:
            self.batches = [batch.numpy() for batch in state["batches"]]
        device = next(self.network.parameters()).device
        self.total = None if state["total"] is None else state["total"].to(device)
        self.history[:] = state["history"]
        self.rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], device)
        self.network.load_state_dict(state["network"])
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])

    def _gpu_state(self):
        """State of the generator of the GPU that is trained on, if it is one."""
        device = next(self.network.parameters()).device
        return torch.cuda.get_rng_state(device) if device.type == "cuda" else None
