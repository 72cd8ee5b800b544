"""Files of a store that is being built, which grow at their ends."""

import contextlib
import hashlib
import json
import os

import numpy as np

from .._stored_texts import paths_of_rows, store_error

# Length in bytes of the header of an .npy file with one axis. NumPy leaves room in it,
# so that it can be written again when the file has grown.
_HEADER = 128


class GrowingArray:
    """A one-dimensional .npy file to which values are added at its end.

    Parameters
    ----------
    path : Path
    dtype : dtype
    length : int
        Number of its first values that are kept. Later ones, which a killed build has
        left, are removed.

    Raises
    ------
    ValueError
        If the file holds fewer values.
    """

    def __init__(self, path, dtype, length):
        self.path, self.dtype, self.length = path, np.dtype(dtype), length
        size = _HEADER + length * self.dtype.itemsize
        self._file = _open_at(path, size if length else 0)
        if not length:
            self._write_header()
            self._file.seek(_HEADER)

    def append(self, values):
        """Add values at the end."""
        self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self.length += len(values)

    def sync(self):
        """Write everything to the disk, with a header of the current length."""
        self._write_header()
        self._file.seek(0, os.SEEK_END)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self):
        """Close the file without writing its header."""
        with contextlib.suppress(OSError):  # a full disk has been told of before
            self._file.close()

    def _write_header(self):
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.length,),
            },
        )
        if self._file.tell() != _HEADER:
            raise RuntimeError(
                f"NumPy {np.__version__} wrote a header of {self._file.tell()} bytes "
                f"to {self.path}, and {_HEADER} were expected."
            )


class GrowingRows:
    """Rows of different lengths in two files: their values, and their ends.

    Parameters
    ----------
    folder : Path
    name : str
        Name of both files.
    dtype : dtype
        Type of the values.
    n_rows, n_values : int
        Numbers of rows, and of values in them, that are kept (see `GrowingArray`).
    offset_dtype : dtype, default=numpy.int64
        Type of the ends.
    """

    def __init__(self, folder, name, dtype, n_rows, n_values, offset_dtype=np.int64):
        values, offsets = paths_of_rows(folder, name)
        self._values = GrowingArray(values, dtype, n_values)
        try:
            n_ends = n_rows and n_rows + 1
            self._offsets = GrowingArray(offsets, offset_dtype, n_ends)
        except BaseException:
            self._values.close()
            raise
        if not n_rows:
            self._offsets.append([0])
        self.hash = RowsHash()

    @property
    def dtype(self):
        """Type of the values."""
        return self._values.dtype

    @property
    def n_values(self):
        """Number of values of all rows."""
        return self._values.length

    def append(self, values, lengths):
        """Add rows, given as their values end to end and the lengths of the rows."""
        values = np.ascontiguousarray(values, self._values.dtype)
        offsets = self.n_values + lengths.cumsum()
        self._values.append(values)
        self._offsets.append(offsets)
        self.hash.update(values, lengths)

    def finish_file(self):
        """Write everything to the disk; return the hash of the rows since the last."""
        self._values.sync()
        self._offsets.sync()
        digest, self.hash = self.hash.hexdigest(), RowsHash()
        return digest

    def close(self):
        """Close both files."""
        self._values.close()
        self._offsets.close()


class RowsHash:
    """Hash of rows, which does not depend on how many are added at once."""

    def __init__(self):
        self._parts = hashlib.sha256(), hashlib.sha256()

    def update(self, values, lengths):
        """Add rows, given as their values end to end and the lengths of the rows."""
        self._parts[0].update(np.ascontiguousarray(values).data)
        self._parts[1].update(np.ascontiguousarray(lengths, np.int64).data)

    def hexdigest(self):
        """Return the hash of all rows that were added."""
        return hash_json([part.hexdigest() for part in self._parts])


class GrowingNames:
    """A file of names, one JSON text a line, in the order of their numbers.

    Parameters
    ----------
    path : Path
    length : int
        Number of its first names that are kept.
    n_bytes : int
        Number of bytes that they take.
    """

    def __init__(self, path, length, n_bytes):
        self._file = _open_at(path, n_bytes)
        self._file.seek(0)
        names = [json.loads(line) for line in self._file]
        if len(names) != length:
            raise store_error(path, f"it holds {len(names)} names, not {length}")
        self.ids = {name: i for i, name in enumerate(names)}
        self.n_bytes = n_bytes

    def find(self, names):
        """Return the number of each of some different names, and add new ones."""
        for name in names:
            if name not in self.ids:
                self.ids[name] = len(self.ids)
                # ASCII can hold lone surrogates, which UTF-8 cannot.
                self.n_bytes += self._file.write(json.dumps(name).encode() + b"\n")
        return [self.ids[name] for name in names]

    def sync(self):
        """Write everything to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self):
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()


def hash_json(content):
    """Return the hash of what JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_json(path, content):
    """Replace a JSON file as a whole, so that a killed process leaves the old one."""
    unfinished = path.with_name(f"{path.name}.part")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def _open_at(path, n_bytes):
    """Open a file, remove what follows its first bytes, and go to its end."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
    size = file.seek(0, os.SEEK_END)
    if size < n_bytes:
        file.close()
        raise store_error(path, f"it has {size} bytes, and should have {n_bytes}")
    file.truncate(n_bytes)
    file.seek(n_bytes)
    return file
