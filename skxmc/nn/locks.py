"""File locks, which tell a process whether another one is still writing a file."""

import contextlib
import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


def try_lock(file):
    """Try to lock an open file, until it is closed or its process ends.

    Parameters
    ----------
    file : file object, open for writing

    Returns
    -------
    bool or None
        True if the file is locked now. False if another process, or another open file
        of this process, has the lock. None if the file system has no locks.
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
    """Return whether an open file is still the one at a path.

    Another process may have removed or replaced the file at the path since it was
    opened here.
    """
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False


@contextlib.contextmanager
def lock_abandoned(path):
    """Lock a file in this context, if the process that was writing it has ended.

    Yields
    ------
    bool
        Whether the file is abandoned. If so, no other process can lock it within the
        context, and the caller may remove it.
    """
    try:
        file = open(path, "r+b")
    except OSError:  # the file is gone, or belongs to another user
        yield False
        return
    with file:
        yield try_lock(file) is True and is_at(file, path)
