"""Shards of the colours, and stores of them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skxmc.store import build_store

# Columns of a Parquet file without rows.
SCHEMA = pa.schema({"text": pa.string(), "labels": pa.list_(pa.string())})


def write_shard(path, rows):
    """Write rows as a Parquet file or as JSON lines, by the name of the file."""
    if path.suffix == ".parquet":
        table = pa.Table.from_pylist(rows, None if rows else SCHEMA)
        pq.write_table(table, path, row_group_size=7)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_shards(folder, rows, n=3):
    """Divide rows into shards, of both kinds by turns."""
    folder.mkdir(exist_ok=True)
    parts = np.array_split(np.arange(len(rows)), n)
    return [
        write_shard(
            folder / f"part-{i}.{('parquet', 'jsonl')[i % 2]}", [rows[j] for j in part]
        )
        for i, part in enumerate(parts)
    ]


def make_store(folder, rows, encoder, *, n=3, max_length=16, **options):
    """A store of rows in a folder, beside their shards."""
    folder.mkdir(exist_ok=True)
    files = write_shards(folder / "shards", rows, n)
    return build_store(files, folder / "store", encoder, max_length, **options)


def contents(folder):
    """The bytes of each file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
