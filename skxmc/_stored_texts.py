"""Texts of a store: a sequence that holds none of them in memory."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

# Version of the folder's files.
FORMAT = 1
DESCRIPTION, JOURNAL = "store.json", "build.json"
TOKENS, TEXTS = "tokens", "texts"
# What a description says before the store is finished.
_KEYS = {
    *("dtype", "encoder", "keep_texts", "known_labels", "labels", "max_length"),
    *("quoted", "separator", "sources", "text", "tokenizer", "unknown"),
}
# Number of values that are looked at together when a whole file is read.
CHUNK = 2**20


class StoredTexts(Sequence):
    """Texts that lie in a store, together with their tokens.

    An integer as index gives a text. A slice, an integer array or a mask gives a view
    of these documents, which shares the files of the store. Classifiers that read
    with a transformer take a view as they take a list of texts, and read its tokens.

    Parameters
    ----------
    folder : Path
        Folder of the store.
    description : dict
        Content of its ``store.json``.
    rows : range, int64 ndarray or None, default=None
        Rows of the documents in the store. None means all of them.

    Attributes
    ----------
    shape : (int,)
        Number of documents.
    ids : ndarray of shape (n_tokens,), uint16 or int32
        Tokens of all documents of the store, in its file.
    offsets : int64 ndarray of shape (n_stored + 1,)
        Document i of the store has the tokens ``ids[offsets[i]:offsets[i + 1]]``.
    """

    def __init__(self, folder, description, rows=None):
        self.folder, self.description = folder, description
        n_docs, sizes = description["documents"], description["sizes"]
        self.ids, self.offsets = map_rows(
            folder, TOKENS, description["dtype"], n_docs, sizes[TOKENS]
        )
        self._bytes = self._text_offsets = None
        if TEXTS in sizes:
            self._bytes, self._text_offsets = map_rows(
                folder, TEXTS, "|u1", n_docs, sizes[TEXTS]
            )
        self._rows = range(n_docs) if rows is None else rows

    def __len__(self):
        return len(self._rows)

    @property
    def shape(self):
        """Number of documents, by which scikit-learn knows that it may take a view."""
        return (len(self),)

    @property
    def holds_all(self):
        """Whether these are all documents of the store, in their order."""
        every = range(self.description["documents"])
        return isinstance(self._rows, range) and self._rows == every

    @property
    def rows(self):
        """Rows of the documents in the store: int64 ndarray of shape (n_docs,)."""
        return np.asarray(self._rows, np.int64)

    @property
    def fingerprint(self):
        """Hash of all documents of the store, of its tokenizer and `max_length`."""
        parts = ("documents_hash", "tokenizer", "max_length")
        return " ".join(str(self.description[part]) for part in parts)

    @property
    def has_texts(self):
        """Whether the store keeps its texts beside their tokens."""
        return self._bytes is not None

    def __getitem__(self, key):
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # scikit-learn indexes whatever has a shape like this
        if isinstance(key, slice):
            return self._view(self._rows[key])
        key = np.asarray(key)
        if key.ndim == 0 and key.dtype.kind in "iu":
            return self._read(int(self._rows[int(key)]))
        if key.dtype == bool and key.shape == self.shape:
            key = np.flatnonzero(key)
        if key.ndim != 1 or len(key) and key.dtype.kind not in "iu":
            raise IndexError(
                "The texts of a store are indexed by an integer, a slice, a 1-D array "
                f"of integers or a mask of shape {self.shape}; got an array of shape "
                f"{key.shape} and dtype {key.dtype}."
            )
        key = key.astype(np.int64)
        is_outside = (key < -len(self)) | (key >= len(self))
        if is_outside.any():
            raise IndexError(
                f"There are {len(self)} documents, and no document {key[is_outside][0]}"
            )
        key = np.where(key < 0, key + len(self), key)
        if isinstance(self._rows, range):
            return self._view(self._rows.start + self._rows.step * key)
        return self._view(self._rows[key])

    def __iter__(self):
        for start in range(0, len(self), CHUNK):
            rows = np.asarray(self._rows[start : start + CHUNK], np.int64)
            yield from self._read_chunk(rows)

    def __repr__(self):
        return f"<{len(self)} texts of the store {str(self.folder)!r}>"

    def __reduce__(self):
        # The files are mapped anew, since a pickled map holds all of its values.
        return _reopen, (self.folder, self.description, self._rows)

    def rows_in_files(self):
        """Return the values and offsets of all rows of the store, by their names."""
        found = {TOKENS: (self.ids, self.offsets)}
        if self.has_texts:
            found[TEXTS] = self._bytes, self._text_offsets
        return found

    def _view(self, rows):
        view = object.__new__(type(self))
        vars(view).update(vars(self))
        view._rows = rows
        return view

    def _read(self, row):
        """Return the text of a row of the store."""
        self.check_texts()
        start, stop = self._text_offsets[row : row + 2]
        return self._bytes[start:stop].tobytes().decode("utf-8", "surrogatepass")

    def _read_chunk(self, rows):
        """Yield the texts of rows of the store."""
        self.check_texts()
        starts, stops = self._text_offsets[rows], self._text_offsets[rows + 1]
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            yield self._bytes[start:stop].tobytes().decode("utf-8", "surrogatepass")

    def check_texts(self):
        """Refuse to read texts of a store that keeps only their tokens."""
        if not self.has_texts:
            raise ValueError(
                f"The store {self.folder} keeps tokens, but no texts. Build it with "
                "keep_texts=True, or use a classifier that needs no texts: "
                'bag_of_words=False, reading="texts", and cluster_features="documents" '
                "if labels are clustered."
            )


def _reopen(folder, description, rows):
    return StoredTexts(folder, description, rows)


def paths_of_rows(folder, name):
    """Return the paths of the values and of the offsets of rows in a store."""
    return folder / f"{name}.npy", folder / f"{name}_offsets.npy"


def map_rows(folder, name, dtype, n_rows, n_values, offset_dtype="<i8"):
    """Map rows of different lengths into memory, after checking their files.

    Parameters
    ----------
    folder : Path
    name : str
    dtype : str
        Expected type of the values.
    n_rows, n_values : int
        Expected numbers of rows, and of values in all of them.
    offset_dtype : str, default="<i8"
        Expected type of the offsets.

    Returns
    -------
    values : ndarray of shape (n_values,), read-only
    offsets : ndarray of shape (n_rows + 1,), read-only
        Row i has the values ``values[offsets[i]:offsets[i + 1]]``.

    Raises
    ------
    ValueError
        As `map_file`, or if the offsets do not divide the values into rows.
    """
    paths = paths_of_rows(folder, name)
    values = map_file(paths[0], dtype, n_values)
    offsets = map_file(paths[1], offset_dtype, n_rows + 1)
    ascends = all(
        (np.diff(offsets[start : start + CHUNK + 1]) >= 0).all()
        for start in range(0, n_rows, CHUNK)
    )
    if not ascends or offsets[0] != 0 or offsets[-1] != n_values:
        raise store_error(paths[1], f"it does not divide {n_values} values into rows")
    return values, offsets


def map_file(path, dtype, length):
    """Map a one-dimensional .npy file into memory, after checking its size.

    Parameters
    ----------
    path : Path
    dtype : str
        Expected type of its values.
    length : int
        Expected number of its values.

    Returns
    -------
    ndarray of shape (length,), read-only

    Raises
    ------
    ValueError
        If the file is missing, shorter or longer than it was, or of another type.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0
            shape, _, found = read(file) if version == (1, 0) else (None, None, None)
            start = file.tell()
    except FileNotFoundError as error:
        raise store_error(path, "it is missing") from error
    except ValueError as error:
        raise store_error(path, f"it is no .npy file ({error})") from error
    if shape != (length,) or found != np.dtype(dtype):
        expected = f"{length} values of type {np.dtype(dtype)}"
        raise store_error(path, f"it must hold {expected}, not {shape} of {found}")
    n_bytes = start + length * found.itemsize
    if path.stat().st_size != n_bytes:
        size = path.stat().st_size
        raise store_error(path, f"it has {size} bytes, and should have {n_bytes}")
    if not length:  # an empty file cannot be mapped
        return np.zeros(0, found)
    return np.asarray(np.memmap(path, found, "r", offset=start, shape=(length,)))


def store_error(path, reason):
    """Return the error for a file of a store that is not as it was written."""
    return ValueError(
        f"The store's file {path} is damaged: {reason}. Copy the store again, or "
        "remove its folder and call build_store again."
    )


def read_description(path):
    """Return the content of a store's ``store.json`` or ``build.json``."""
    try:
        description = json.loads(Path(path).read_text(encoding="utf-8"))
        version = description["format"]
        missing = [] if version != FORMAT else sorted(_KEYS - set(description))
    except (ValueError, KeyError, TypeError) as error:
        raise store_error(path, f"it is no description of a store ({error})") from error
    if missing:
        raise store_error(path, f"it lacks {missing[0]!r}")
    if version != FORMAT:
        raise ValueError(
            f"{path} is of format {version}, and this version of skxmc reads format "
            f"{FORMAT}. Build the store again, or install the version that wrote it."
        )
    return description
