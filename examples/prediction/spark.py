"""Spark. Run: spark-submit spark.py MODEL TEXTS.parquet OUT."""

import sys

from pyspark.sql import SparkSession

folder, texts, out = sys.argv[1:]


def predict(batches):
    import skxmc

    model = skxmc.load(folder)  # once in each task, from a path that all machines have
    for rows in batches:
        names, _ = model.predict_topk(rows["text"], k=5, return_names=True)
        yield rows[["text"]].assign(predicted=names.tolist())


rows = SparkSession.builder.getOrCreate().read.parquet(texts)
rows.mapInPandas(predict, "text string, predicted array<string>").write.parquet(out)
