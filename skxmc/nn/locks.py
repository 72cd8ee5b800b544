"""Locks of files, by which a process tells what another one still writes."""

import contextlib
import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


def try_lock(file):
    """Lock an open file until it is closed, or its process ends.

    Parameters
    ----------
    file : file object, open for writing

    Returns
    -------
    bool or None
        False if another process, or another open file, has the lock. None if this
        file system has no locks.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def is_at(file, path):
    """Whether an open file is the one that lies at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False


@contextlib.contextmanager
def left_behind(path):
    """Hold the lock of a file that a process which has ended did not remove.

    Yields
    ------
    bool
        Whether it is one: nobody else has the lock, and nobody gets it inside.
    """
    try:
        file = open(path, "r+b")
    except OSError:  # it is gone, or somebody else's
        yield False
        return
    with file:
        yield try_lock(file) is True and is_at(file, path)
