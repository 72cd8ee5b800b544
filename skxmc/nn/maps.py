"""Arrays in temporary files, for what would not fit in memory, and full disks."""

import contextlib
import errno
import os
import re
import shutil
import tempfile

import numpy as np

_MOVE = "You may also set the environment variable TMPDIR to a folder on a larger disk."
# Share of the free disk space that an array may take.
_DISK_SHARE = 0.9
# Error numbers of a disk, and of a user's share of it, that is full.
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def temporary_array(shape, dtype, what, advice):
    """Make an array that lies in a temporary file.

    The file disappears with the array, or with the process.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    what : str
        What the array holds, for the message: a plural that begins a sentence.
    advice : str
        What to change if there is no room, for the message: a sentence.

    Returns
    -------
    memmap
        Its values are 0. An array without values lies in memory.

    Raises
    ------
    OSError
        If the disk has no room for it.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    folder, advice = tempfile.gettempdir(), f"{advice} {_MOVE}"
    check_room(folder, size, what, advice)
    if not size:  # an empty file cannot be mapped
        return np.zeros(shape, dtype)
    with tempfile.TemporaryFile() as file:
        try:
            # Without this, the process would be killed when it writes to a place that
            # the disk has no room for.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise _room_error(folder, size, what, advice) from error
        return np.memmap(file, dtype, "w+", shape=shape)


class TemporaryColumn:
    """An array in a temporary file, which grows at its end until it is mapped.

    Parameters
    ----------
    dtype : dtype
    what, advice : str
        As in `temporary_array`.
    """

    def __init__(self, dtype, what, advice):
        self.dtype, self.what = np.dtype(dtype), what
        self.advice = f"{advice} {_MOVE}"
        self.length = 0
        self._file = tempfile.TemporaryFile()

    def append(self, values):
        """Add values at the end."""
        try:
            self._file.write(np.ascontiguousarray(values, self.dtype).data)
        except OSError as error:
            size = (self.length + len(values)) * self.dtype.itemsize
            folder = tempfile.gettempdir()
            raise _room_error(folder, size, self.what, self.advice) from error
        self.length += len(values)

    def finish(self):
        """Return the array. Nothing can be added afterwards."""
        with self._file as file:
            file.flush()
            if not self.length:
                return np.zeros(0, self.dtype)
            return np.memmap(file, self.dtype, "r+", shape=(self.length,))


def is_mapped(array):
    """Return whether the values of an array lie in a file."""
    while array is not None:
        if isinstance(array, np.memmap):
            return True
        array = getattr(array, "base", None)
    return False


def check_room(folder, size, what, advice):
    """Refuse to write more bytes than a disk has room for.

    Parameters
    ----------
    folder : path
    size : int
        Number of bytes.
    what, advice : str
        As in `temporary_array`.

    Raises
    ------
    OSError
        If the bytes would take more than nine tenths of what is free.
    """
    if size > _DISK_SHARE * shutil.disk_usage(folder).free:
        raise _room_error(folder, size, what, advice)


@contextlib.contextmanager
def explain_full_disk(folder, what, advice):
    """Context in which the error of a full disk says where it is and what to do.

    Parameters
    ----------
    folder : path
        Folder that is written to.
    what : str
        What is being written, for the message: a singular.
    advice : str
        What to do, for the message: a sentence.
    """
    try:
        yield
    except Exception as error:
        number = _number_of_full_disk(error)
        if number is None:
            raise
        message = f"The disk of {folder} is full: {what} does not fit. {advice}"
        raise OSError(number, message) from error


def _number_of_full_disk(error):
    """Return the number of the error of a full disk that has led to an error, or None.

    Errors of libraries in Rust, such as safetensors, name the number in their messages.
    torch replaces the error of a file by one of its own.
    """
    while error is not None:
        named = re.search(r"\(os error (\d+)\)", str(error))
        number = int(named[1]) if named else getattr(error, "errno", None)
        if number in _FULL:
            return number
        error = error.__context__
    return None


def _room_error(folder, size, what, advice):
    free = shutil.disk_usage(folder).free
    return OSError(
        f"{what} take {size / 2**30:.1f} GiB, and {folder} has {free / 2**30:.1f} GiB "
        f"free. {advice}"
    )
