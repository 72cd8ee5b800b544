"""Dask. Run: python dask_dataframe.py MODEL TEXTS.parquet OUT SCHEDULER."""

import sys

import dask.dataframe as dd
import pyarrow as pa
from distributed import Client

import skxmc


def predict(rows, folder):
    model = skxmc.load(folder)  # once for each partition
    names, _ = model.predict_topk(rows["text"], k=5, return_names=True)
    return rows[["text"]].assign(predicted=names.tolist())


folder, texts, out, scheduler = sys.argv[1:]
client, meta = Client(scheduler), {"text": str, "predicted": object}
schema = pa.schema({"text": pa.string(), "predicted": pa.list_(pa.string())})
rows = dd.read_parquet(texts).map_partitions(predict, folder, meta=meta)
rows.to_parquet(out, schema=schema, write_index=False)
