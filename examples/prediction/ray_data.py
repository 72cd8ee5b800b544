"""Ray Data. Run: python ray_data.py MODEL TEXTS.parquet OUT."""

import sys

import ray

import skxmc


class Predict:
    def __init__(self, folder):
        self.model = skxmc.load(folder)  # once in each actor

    def __call__(self, rows):
        names, _ = self.model.predict_topk(rows["text"], k=5, return_names=True)
        return rows | {"predicted": names.tolist()}


folder, texts, out = sys.argv[1:]
actors = {"concurrency": (1, 8), "fn_constructor_args": [folder]}  # "num_gpus": 1
ray.data.read_parquet(texts).map_batches(Predict, **actors).write_parquet(out)
