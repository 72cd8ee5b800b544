"""Opening a store, and comparing it with what was written."""

import json
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.utils import Bunch

from .._stored_texts import (
    CHUNK,
    DESCRIPTION,
    JOURNAL,
    StoredTexts,
    map_file,
    map_rows,
    paths_of_rows,
    read_description,
    store_error,
)
from ._files import RowsHash, hash_json

# Numbers of labels in the order in which a build finds them.
FOUND = "found"
# The label matrix: its columns and ends of rows, its ones, and the names of columns.
LABELS, ONES, NAMES = "labels", "ones.npy", "label_names.json"


def open_store(folder, *, verify=False):
    """Open a folder that :func:`build_store` has filled.

    Parameters
    ----------
    folder : path
    verify : bool, default=False
        Whether to read the whole store, and to compare it with the hashes that were
        written with it. Without this, sizes are compared, and labels and the places of
        documents are checked.

    Returns
    -------
    store : :class:`~sklearn.utils.Bunch`
        X : sequence of str, of shape (n_docs,)
            The documents. ``X[i]`` is a text. ``X[rows]``, for a slice, an integer
            array or a mask, is a view of these documents. Nothing of them is held in
            memory but 8 bytes for each row of an array.
        Y : csr_matrix of shape (n_docs, n_labels) or None
            Binary label matrix, float32, whose arrays are memory maps. None if the
            store was built with ``labels=None``. Like of any CSR matrix, a part of the
            rows is a copy in memory.
        label_names : list of str of length n_labels
            Names of the columns.
        fingerprint : str
            Hash of the documents, their labels and the tokenizer.
        DESCR : str
            Where the data come from.

    Raises
    ------
    FileNotFoundError
        If the folder holds no store.
    ValueError
        If its build was not finished, or if a file is missing or damaged.
    """
    folder = Path(folder)
    if not (folder / DESCRIPTION).exists():
        if (folder / JOURNAL).exists():
            raise ValueError(
                f"The store {folder} is not finished. Call build_store again with the "
                "same arguments: it goes on after the last finished file."
            )
        raise FileNotFoundError(f"{folder} holds no store: it has no {DESCRIPTION}.")
    description = read_description(folder / DESCRIPTION)
    X = StoredTexts(folder, description)
    Y, names = _open_labels(folder, description)
    if verify:
        _verify(folder, description, X, Y)
    return Bunch(
        X=X,
        Y=Y,
        label_names=names,
        fingerprint=description["fingerprint"],
        DESCR=f"Store: {folder}",
    )


def is_store(folder):
    """Return whether a folder holds a store, finished or not."""
    return any((Path(folder) / name).exists() for name in (DESCRIPTION, JOURNAL))


def _open_labels(folder, description):
    """Return the label matrix on its maps, and the names of its columns."""
    if description["labels"] is None:
        return None, []
    n_docs, n_entries = description["documents"], description["sizes"][FOUND]
    n_labels = description["n_labels"]
    kind = index_dtype(n_entries)
    ids, offsets = map_rows(folder, LABELS, kind, n_docs, n_entries, kind)
    ones = map_file(folder / ONES, "<f4", n_entries)
    for start in range(0, n_entries, CHUNK):
        part = ids[start : start + CHUNK]
        if part.min() < 0 or part.max() >= n_labels:
            path = folder / f"{LABELS}.npy"
            raise store_error(path, f"it holds labels beyond 0 to {n_labels - 1}")
    try:
        names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise store_error(folder / NAMES, str(error)) from error
    if not isinstance(names, list) or len(names) != n_labels:
        raise store_error(folder / NAMES, f"it is no list of {n_labels} names")
    Y = sp.csr_matrix((ones, ids, offsets), (n_docs, n_labels))
    Y.has_canonical_format = True  # as it was written: this spares a look at all of it
    return Y, names


def _verify(folder, description, X, Y):
    """Compare what a store holds with the hashes that were written with it."""
    start = 0
    for source in description["sources"]:
        stop = start + source["documents"]
        for name, (values, offsets) in X.rows_in_files().items():
            if _hash_rows(values, offsets, start, stop) != source["hashes"][name]:
                path = paths_of_rows(folder, name)[0]
                raise store_error(
                    path, f"its part for {source['name']} has changed since"
                )
        start = stop
    if Y is None:
        return
    names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    digest = _hash_rows(Y.indices, Y.indptr, 0, Y.shape[0])
    if hash_json([digest, names]) != description["labels_hash"]:
        path = paths_of_rows(folder, LABELS)[0]
        raise store_error(path, f"it or {NAMES} has changed since")
    if not all((Y.data[i : i + CHUNK] == 1).all() for i in range(0, Y.nnz, CHUNK)):
        raise store_error(folder / ONES, "it holds other values than 1")


def _hash_rows(values, offsets, start, stop):
    digest = RowsHash()
    for first, last in split_rows(offsets[start : stop + 1]):
        ends = offsets[start + first : start + last + 1]
        digest.update(values[ends[0] : ends[-1]], np.diff(ends))
    return digest.hexdigest()


def split_rows(offsets):
    """Yield the first and the last row, exclusive, of parts of limited size."""
    start, n_rows = 0, len(offsets) - 1
    while start < n_rows:
        stop = int(np.searchsorted(offsets, offsets[start] + CHUNK, side="right")) - 1
        stop = min(max(stop, start + 1), start + CHUNK, n_rows)
        yield start, stop
        start = stop


def index_dtype(n_entries):
    """Return the type that scipy wants for a matrix, which it would convert to."""
    return np.dtype("<i4" if n_entries < 2**31 else "<i8")
