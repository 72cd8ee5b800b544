"""Time of a training step and of a prediction, relative to the bare encoder.

    python benchmarks/step.py --labels 4000 47000 670000

The bare step is forward, backward and fused AdamW of the same encoder on the same
batches of token ids. The bare prediction is tokenizing and forward. Blocks of steps of
both kinds alternate in one process. The result is the median of the ratios.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from _common import write_json
from _steps import bare_stepper, stepper

from skxmc import GRankClassifier
from skxmc.datasets import make_xmc
from skxmc.nn.devices import autocast, choose_device, choose_precision, to_device
from skxmc.nn.encoder_files import load_encoder
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.text import padded_columns, shuffled_batches, tokenize


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--labels", type=int, nargs="+", default=[4000, 47000, 670000])
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps per block")
    parser.add_argument("--name", default="step", help="name of the file in results")
    return parser.parse_args()


def synchronize(device):
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def timed(function, device):
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def measure(n_labels, options, device, precision):
    data = make_xmc(2048, n_labels, words_per_doc=options.max_length, random_state=0)
    clustered = n_labels > 50_000
    model = GRankClassifier(
        options.encoder,
        head="clusters" if clustered else "dense",
        label_dim=128 if clustered else None,  # as in Table II for large label sets
        max_length=options.max_length,
        batch_size=options.batch_size,
        max_epochs=1,
        validation_fraction=0,
        # The step of the paper, on all labels if there are no clusters.
        trained_layers="all",
        bag_of_words=False,
        neighbor_weight=0,
        n_negatives=None,
        label_learning_rate=None,
        cluster_features=np.random.default_rng(0).normal(size=(n_labels, 8)),
        random_state=0,
    )
    few = np.arange(options.batch_size)
    model.fit([data.texts[i] for i in few], data.Y[few])
    bare, tokenizer = load_encoder(options.encoder)
    # This sets dropout to 0 and removes the pooler, as in the classifier.
    bare = TransformerEncoder(bare, n_layers=1, dropout=model.encoder_dropout).model
    bare = bare.to(device).train()
    network = model.network_.train()
    ours = stepper(network, device, precision)
    theirs = bare_stepper(bare, device, precision)

    docs = tokenize(data.texts, tokenizer, options.max_length)
    rng = np.random.default_rng(0)
    rows = np.arange(len(docs))
    batches = shuffled_batches(rows, docs.lengths, options.batch_size, rng)
    batches = [
        (to_device(docs.batch(b), device), to_device(padded_columns(data.Y, b), device))
        for b in batches[: options.steps + 1]
    ]

    def block(step):
        """Times of consecutive steps; the first is a warm-up and left out."""
        return [timed(lambda: step(*batch), device) for batch in batches][1:]  # noqa: B023

    ours_s, theirs_s = [], []
    for _ in range(options.blocks):
        ours_s += block(ours)
        theirs_s += block(theirs)

    texts = data.texts[: 8 * options.batch_size]

    def bare_forward():
        docs = tokenize(texts, tokenizer, options.max_length)
        starts = range(0, len(docs), options.batch_size)
        with torch.inference_mode(), autocast(device, precision):
            for start in starts:
                rows = np.arange(start, min(start + options.batch_size, len(docs)))
                bare(**to_device(docs.batch(rows), device))

    bare.eval()
    network.eval()
    model.predict_topk(texts, 5)
    bare_forward()
    pairs = [
        (
            timed(lambda: model.predict_topk(texts, 5), device),
            timed(bare_forward, device),
        )
        for _ in range(4)
    ]
    return {
        "labels": n_labels,
        "clusters": int(model.label_groups_.max()) + 1 if clustered else None,
        "label_dim": model.network_.ranker.dim,
        "step_ms": round(1e3 * statistics.median(ours_s), 1),
        "bare_step_ms": round(1e3 * statistics.median(theirs_s), 1),
        "step_ratio": round(
            statistics.median(a / b for a, b in zip(ours_s, theirs_s, strict=True)), 3
        ),
        "predict_ms_a_document": round(
            1e3 * statistics.median(a for a, _ in pairs) / len(texts), 2
        ),
        "predict_ratio": round(statistics.median(a / b for a, b in pairs), 3),
    }


def main():
    options = parse()
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    rows = []
    for n_labels in options.labels:
        rows.append(measure(n_labels, options, device, precision))
        print(rows[-1], flush=True)
    settings = vars(options) | {"device": device, "precision": precision}
    write_json(options.name, {"settings": settings, "results": rows})


if __name__ == "__main__":
    main()
