"""Tables in every format, for the tests that read them."""

import csv
import json

import numpy as np
import pytest
from scipy import sparse

from skxmc.datasets import load_table

SUFFIXES = ("csv", "tsv", "jsonl", "parquet")
UTF8 = "x é 石油 \u2028 \x85 🦊"


def write(folder, suffix, content):
    path = folder / f"table.{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def json_lines(*lists):
    """A document for each value of its field of labels."""
    return "".join(json.dumps({"text": "t", "labels": x}) + "\n" for x in lists)


def write_rows(folder, suffix, texts, lists, lists_as_texts=False):
    """The same documents in any format; labels are texts where they have to be."""
    joined = ["|".join(names) for names in lists]
    path = folder / f"{'joined' if lists_as_texts else 'table'}.{suffix}"
    if suffix in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, delimiter="\t" if suffix == "tsv" else ",")
            rows.writerows([("text", "labels"), *zip(texts, joined, strict=True)])
        return path
    columns = {"text": list(texts), "labels": joined if lists_as_texts else lists}
    if suffix == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        kind = pyarrow.string() if lists_as_texts else pyarrow.list_(pyarrow.string())
        schema = pyarrow.schema({"text": pyarrow.string(), "labels": kind})
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table(columns, schema), path)
        return path
    with path.open("w", encoding="utf-8") as file:
        for row in zip(*columns.values(), strict=True):
            line = json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
            file.write(line + "\n")
    return path


def write_columns(folder, suffix, names, rows):
    """Texts under these names, some of which may be the same."""
    path = folder / f"columns.{suffix}"
    if suffix in ("csv", "tsv"):
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if suffix == "tsv" else ",")
            writer.writerows([names, *rows])
    elif suffix == "jsonl":
        pairs = [
            ", ".join(
                f'"{n}": {json.dumps(v)}' for n, v in zip(names, row, strict=True)
            )
            for row in rows
        ]
        path.write_text("".join(f"{{{pair}}}\n" for pair in pairs))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = [pyarrow.array(column) for column in zip(*rows, strict=True)]
        parquet.write_table(pyarrow.Table.from_arrays(columns, names), path)
    return path


def lists_of(data):
    """Names of the labels of each document."""
    rows = np.split(data.Y.indices, data.Y.indptr[1:-1])
    return [[data.label_names[j] for j in row] for row in rows]


def assert_canonical(Y, shape):
    assert sparse.isspmatrix_csr(Y) and Y.shape == shape
    assert (Y.dtype, Y.indices.dtype) == (np.float32, np.int32)
    assert (Y.data == 1).all() and len(Y.data) == Y.indptr[-1]
    for row in np.split(Y.indices, Y.indptr[1:-1]):
        assert (np.diff(row) > 0).all()


def refused(path, *patterns, error=ValueError, **params):
    with pytest.raises(error) as caught:
        load_table(path, **params)
    for pattern in patterns:
        assert pattern in str(caught.value)
