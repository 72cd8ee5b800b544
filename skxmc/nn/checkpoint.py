"""Checkpoints: the file from which an interrupted training resumes."""

import contextlib
import os
import time
from pathlib import Path

import torch

from .group import (
    all_or_none,
    current_group,
    from_first,
    is_first,
    mean_of_processes,
)
from .locks import is_at, lock_abandoned, try_lock
from .maps import explain_full_disk

# Version of the states that `Run` and its parts save. It is increased when an older
# state would load without an error but be misunderstood.
STATE_FORMAT = 4
# Seconds between two checkpoints within an epoch; each epoch also ends with one.
_SECONDS_BETWEEN_WRITES = 600.0
_UNFINISHED = ".part"
_ADVICE = (
    "Make room, and call fit again: it resumes from the checkpoint before, if there "
    "is one."
)
# Seconds between two attempts to lock a file that another process is writing.
_RETRY_SECONDS = 0.1


class Checkpoint:
    """A file with the state of a training, which is always replaced as a whole.

    Parameters
    ----------
    path : path
        Path of the file. Its folder is created if it is missing. Unfinished files
        that killed processes have left in the folder are removed.

    Notes
    -----
    If several processes fit together, the first one writes the state of all of them,
    which is of the same form as that of one process. Each of them reads it.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.written = time.monotonic()
        for part in self.path.parent.glob(f"*.checkpoint{_UNFINISHED}"):
            _remove_abandoned(part)

    def read(self):
        """Return the state that was written last, or None if there is no file.

        No code from the file is executed.
        """
        if not self.path.exists():
            return None
        # The processes of a machine share the pages of a file that they map.
        options = dict(mmap=True) if current_group() is not None else {}
        try:
            return torch.load(
                self.path, map_location="cpu", weights_only=True, **options
            )
        except Exception as error:  # torch.load raises many kinds of errors
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"The checkpoint {self.path} is damaged ({reason}). Remove it to start "
                "the training anew."
            ) from error

    def is_due(self):
        """Return whether the last write is long enough ago for another one."""
        return time.monotonic() - self.written >= _SECONDS_BETWEEN_WRITES

    def write(self, state):
        """Replace the file by one with this state."""
        # A file is complete before it gets the checkpoint's name: a process that is
        # killed while it writes leaves the previous checkpoint intact.
        unfinished = self._unfinished_path()
        with (
            explain_full_disk(self.path.parent, "a checkpoint", _ADVICE),
            _open_locked(unfinished) as file,
        ):
            try:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            except Exception:
                with contextlib.suppress(OSError):  # Windows keeps a file that is open
                    unfinished.unlink()
                raise
            if os.name == "nt":  # Windows cannot rename a file that is open
                file.close()
            os.replace(unfinished, self.path)
        self.written = time.monotonic()

    def remove(self):
        """Remove the file once training has finished."""
        self.path.unlink(missing_ok=True)
        self._unfinished_path().unlink(missing_ok=True)

    def _unfinished_path(self):
        """Path that a state is written to before the file gets its final name."""
        return self.path.with_name(f"{self.path.name}{_UNFINISHED}")


def _open_locked(path):
    """Open a file for writing, and lock it against other processes until it closes."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        if try_lock(file) is not False and is_at(file, path):
            file.truncate(0)
            return file
        file.close()  # another process is writing or removing the file
        time.sleep(_RETRY_SECONDS)


def _remove_abandoned(part):
    """Remove an unfinished file if the process that was writing it has ended."""
    with lock_abandoned(part) as is_abandoned:
        if is_abandoned:
            part.unlink(missing_ok=True)


class Run:
    """The progress of a training, and everything that its next step depends on.

    Parameters
    ----------
    network : Network
        Network that is trained.
    rng : numpy Generator
        Generator that draws the order of the documents.
    history : list of dict
        One dict for each finished epoch; see `skxmc.nn.training.train`.
    parts : dict
        The other objects that a step depends on, such as the optimizer, by name.
        Each has ``state_dict()`` and ``load_state_dict(state)``.
    checkpoint : Checkpoint or None
        The training resumes from its state, if there is one, and is saved to it.
        None neither resumes nor saves.

    Attributes
    ----------
    epoch : int
        Current epoch, counted from 1.
    n_done : int
        Number of batches of this epoch that are done.
    batches : list of int ndarray, or None
        All batches of this epoch; None if the epoch has not begun.
    totals : dict of tensors of shape ()
        Sums over the batches that are done, of the loss and of each of its parts.
    """

    def __init__(self, network, rng, history, parts, checkpoint=None):
        self.network, self.rng = network, rng
        self.history, self.parts = history, parts
        self.checkpoint = checkpoint
        self.epoch, self.n_done, self.batches, self.totals = 1, 0, None, {}
        self.group = current_group()
        state = None if checkpoint is None else self._read()
        if state is not None:
            self._restore(state)

    def _read(self):
        """Return the state that all processes find, or None if there is none."""
        with all_or_none():
            state = self.checkpoint.read()
        if self.group is not None:
            found = self.group.gather_objects(state is not None)
            if any(found) and not all(found):
                raise OSError(
                    f"Process {found.index(False)} does not find the checkpoint "
                    f"{self.checkpoint.path}, and process {found.index(True)} does: "
                    "checkpoint_dir must be a folder that all processes share."
                )
        return state

    def _write(self):
        """Save the state of all processes."""
        state = self._state()
        with all_or_none():  # the disk may be full
            if is_first():
                self.checkpoint.write(state)

    def add(self, losses):
        """Add the losses of a batch to the totals, without waiting for the device.

        A batch need not have all parts of the loss. A part that it lacks counts as 0.
        """
        for name, loss in losses.items():
            if name not in self.totals:
                self.totals[name] = torch.zeros((), device=loss.device)
            self.totals[name] += loss.detach()

    def end_epoch(self, *, stop_at=None):
        """Count the epoch as done, and save the state.

        Parameters
        ----------
        stop_at : int or None, default=None
            Epoch to continue with instead of the next one. One more than the number
            of epochs ends the training.
        """
        self.epoch = stop_at or self.epoch + 1
        self.n_done, self.batches = 0, None
        if self.checkpoint is not None:
            self._write()

    def end_step(self, n_done):
        """Count `n_done` batches as done, and save the state if that is due."""
        self.n_done = n_done
        # The clocks of several processes differ.
        if self.checkpoint is not None and from_first(self.checkpoint.is_due()):
            self._write()

    def _state(self):
        batches, totals = None, self.totals
        if self.group is not None:
            totals = mean_of_processes(totals)
            options = dict(dtype=torch.float64)
            totals = {name: torch.tensor(x, **options) for name, x in totals.items()}
        if self.batches is not None:
            batches = [torch.from_numpy(batch) for batch in self.batches]
        return {
            "epoch": self.epoch,
            "n_done": self.n_done,
            "batches": batches,
            "totals": totals,
            "history": self.history,
            "rng": self.rng.bit_generator.state,
            "torch": torch.get_rng_state(),
            "cuda": self._gpu_state(),
            "network": self._whole(self.network.state_dict()),
            "parts": self._state_of_parts(),
        }

    def _state_of_parts(self):
        states = {name: part.state_dict() for name, part in self.parts.items()}
        best = states.get("best")
        if best is not None and best["weights"] is not None:
            states["best"] = best | {"weights": self._whole(best["weights"])}
        return states

    def _shards(self):
        """Return the shard of each table that the processes have cut, by its name."""
        if self.group is None:
            return {}
        return {
            f"{name}.vectors": module.shard
            for name, module in self.network.named_modules()
            if getattr(module, "shard", None) is not None
        }

    def _whole(self, weights):
        """Return weights with the rows of all processes, for the first process."""
        shards, keep = self._shards(), is_first()
        whole = {name: s.whole(weights[name], keep=keep) for name, s in shards.items()}
        return weights | whole

    def _cut(self, weights):
        """Return weights with the rows of this process."""
        own = {name: shard.cut(weights[name]) for name, shard in self._shards().items()}
        return weights | own

    def _restore(self, state):
        self.epoch, self.n_done = state["epoch"], state["n_done"]
        if state["batches"] is not None:
            self.batches = [batch.numpy() for batch in state["batches"]]
        device = next(self.network.parameters()).device
        self.totals = {name: x.to(device) for name, x in state["totals"].items()}
        self.history[:] = state["history"]
        self.rng.bit_generator.state = state["rng"]
        torch.set_rng_state(state["torch"])
        if device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], device)
        self.network.load_state_dict(self._cut(state["network"]))
        for name, part in self.parts.items():
            own = state["parts"][name]
            if name == "best" and own["weights"] is not None:
                own = own | {"weights": self._cut(own["weights"])}
            part.load_state_dict(own)

    def _gpu_state(self):
        """Return the state of the GPU's random generator, or None on a CPU."""
        device = next(self.network.parameters()).device
        return torch.cuda.get_rng_state(device) if device.type == "cuda" else None
