"""Prediction time per document, in batches and one document at a time.

    python benchmarks/latency.py --systems GRankClassifier LightXMLClassifier

The models have a real encoder and are trained for a single step. Their predictions
mean nothing, but take as long as those of a trained model. Documents are `--max-length`
tokens long.
"""

import argparse
import time

import numpy as np
from _common import write_json

import skxmc
from skxmc.datasets import make_xmc
from skxmc.nn.devices import choose_device, choose_precision


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    systems = ["GRankClassifier", "LightXMLClassifier"]
    parser.add_argument("--systems", nargs="+", default=systems)
    parser.add_argument("--labels", type=int, nargs="+", default=[47_000, 670_000])
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--documents", type=int, default=512, help="documents predicted in batches"
    )
    parser.add_argument(
        "--singles", type=int, default=300, help="documents predicted one at a time"
    )
    parser.add_argument("--name", default="latency", help="name of the file in results")
    return parser.parse_args()


def fitted(system, n_labels, data, options):
    """A model trained for a single step, with random clusters of labels."""
    model = getattr(skxmc, system)(
        options.encoder,
        max_length=options.max_length,
        batch_size=options.batch_size,
        label_dim=128 if n_labels > 50_000 else None,
        cluster_features=np.random.default_rng(0).normal(size=(n_labels, 8)),
        max_epochs=1,
        validation_fraction=0,
        random_state=0,
    )
    few = slice(options.batch_size)
    return model.fit(data.texts[few], data.Y[few])


def measure(system, n_labels, options):
    data = make_xmc(
        options.documents, n_labels, words_per_doc=options.max_length, random_state=0
    )
    model = fitted(system, n_labels, data, options)
    model.predict_topk(data.texts[: options.batch_size], 5)
    start = time.perf_counter()
    model.predict_topk(data.texts, 5)
    batched = (time.perf_counter() - start) / len(data.texts)
    singles = []
    for i in range(options.singles):
        start = time.perf_counter()
        model.predict_topk([data.texts[i % len(data.texts)]], 5)
        singles.append(time.perf_counter() - start)
    median, slow = np.percentile(singles, [50, 99]).tolist()
    return {
        "system": system,
        "labels": n_labels,
        "clusters": int(model.label_groups_.max()) + 1,
        "batched_ms": round(1e3 * batched, 2),
        "single_median_ms": round(1e3 * median, 2),
        "single_99_percent_ms": round(1e3 * slow, 2),
    }


def main():
    options = parse()
    rows = []
    for system in options.systems:
        for n_labels in options.labels:
            rows.append(measure(system, n_labels, options))
            print(rows[-1], flush=True)
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    settings = vars(options) | {"device": device, "precision": precision}
    write_json(options.name, {"settings": settings, "results": rows})


if __name__ == "__main__":
    main()
