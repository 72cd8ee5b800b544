"""Several processes that fit together, forked from the tests.

A fork has imported everything already, which takes seconds otherwise.
"""

import os
import pickle
import signal
import sys
import time
import traceback

import torch
import torch.distributed as dist

# Seconds after which processes hang: they have some seconds' work.
PATIENCE = 60.0


class Processes:
    """Processes of one group.

    Parameters
    ----------
    n : int
    function : callable
        ``function(rank)``, which returns something that can be pickled.
    folder : Path
        Folder for what the processes return.
    """

    def __init__(self, n, function, folder):
        self.folder = folder
        folder.mkdir()
        sys.stdout.flush()
        self.ids = [self._fork(rank, n, function) for rank in range(n)]

    def _fork(self, rank, n, function):
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            torch.set_num_threads(1)
            store = dist.FileStore(str(self.folder / "store"), n)
            dist.init_process_group("gloo", store=store, rank=rank, world_size=n)
            found = function(rank)
            (self.folder / f"{rank}.pickle").write_bytes(pickle.dumps(found))
            dist.barrier()  # else a process closes what another still reads
            status = 0
        except BaseException:
            (self.folder / f"{rank}.error").write_text(traceback.format_exc())
        finally:
            os._exit(status)

    def wait(self):
        """Return the exit status of each process; those that hang are killed."""
        end, status = time.monotonic() + PATIENCE, {}
        while len(status) < len(self.ids):
            for child in set(self.ids) - set(status):
                ended, code = os.waitpid(child, os.WNOHANG)
                if ended:
                    status[child] = os.waitstatus_to_exitcode(code)
            if time.monotonic() > end:
                for child in set(self.ids) - set(status):
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    status[child] = "hangs"
            time.sleep(0.01)
        return [status[child] for child in self.ids]

    def errors(self):
        """Return the traceback of each process that has failed, by its number."""
        found = self.folder.glob("*.error")
        return {int(path.stem): path.read_text() for path in found}

    def results(self):
        """Return what the processes returned, one after the other."""
        status = self.wait()
        assert status == [0] * len(status), (status, self.errors())
        paths = (self.folder / f"{rank}.pickle" for rank in range(len(self.ids)))
        return [pickle.loads(path.read_bytes()) for path in paths]
