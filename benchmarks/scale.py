"""Time and memory of a training step of the heads, by the number of labels.

    python benchmarks/scale.py

The networks of GRankClassifier and LightXMLClassifier make their own training steps on
given vectors of documents, so that all of the time is that of the head. Its scores are
dense, in chunks of labels ("all"), or those of clusters of 100 labels. Each head runs
in processes of its own, which take turns. The time is the CPU time of the fastest step,
since other processes may run on the machine. The memory is the largest resident size
during steps, less that before the network was made. Rows of the results file that have
another number of labels are kept.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from _common import RESULTS, write_json
from _steps import stepper
from torch import nn

from skxmc.nn.all_labels import AllLabels
from skxmc.nn.document_vectors import DocumentVectors
from skxmc.nn.heads import LabelScores, cluster_head
from skxmc.nn.networks.grank import GRankNetwork
from skxmc.nn.networks.lightxml import LightXMLNetwork
from skxmc.nn.shortlist import LabelClusters

HEADS = ["dense", "all", "all, SGD", "all, AdamW", "all, bf16", "clusters"]
LOSSES = ["bce", "grank"]
LABELS_A_DOCUMENT, LABELS_A_CLUSTER = 5, 100
N_BATCHES = 3


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = [4000, 47_000, 131_000, 670_000]
    parser.add_argument("--labels", type=int, nargs="+", default=default)
    parser.add_argument("--heads", nargs="+", default=HEADS, choices=HEADS)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3, help="steps of a process")
    parser.add_argument("--turns", type=int, default=2, help="processes of each head")
    parser.add_argument("--name", default="scale", help="name of the file in results")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # a loss and a head
    return parser.parse_args()


class Given(nn.Module):
    """Encoder of documents that are vectors already."""

    at_encoder_rate = False

    def __init__(self, dim):
        super().__init__()
        self.width = self.hidden_size = dim

    def forward(self, batch):
        return batch["vectors"], batch["vectors"]


def make_network(loss, kind, n_labels, dim):
    """Make a network with random label vectors and random clusters."""
    encoder = Given(dim)
    vectors = torch.randn(n_labels, dim).mul_(dim**-0.5)
    clusters = order = None
    if kind == "clusters":
        groups = np.random.default_rng(0).permutation(n_labels) // LABELS_A_CLUSTER
        clusters = LabelClusters(groups)
        order = torch.from_numpy(np.argsort(groups, kind="stable"))
    if kind == "all, bf16":
        vectors = vectors.bfloat16()
    if kind.startswith("all"):
        bias = -5.0 if loss == "bce" else None
        trained_by = "adamw" if kind == "all, AdamW" else "rowwise"
        head = AllLabels(vectors, bias=bias, trained_by=trained_by)
        head.by_sgd = kind == "all, SGD"
    elif kind == "clusters" or loss == "grank":
        head = LabelScores(vectors, row_wise=kind == "clusters", order=order)
    n_clusters = clusters.n_clusters if clusters else 0
    if loss == "grank":
        return GRankNetwork(
            encoder,
            head,
            clusters=clusters,
            n_retrieved=n_clusters,
            n_shortlist=min(32, n_clusters),
            predict_shortlist=128,
        )
    doc_vectors = DocumentVectors(encoder, dim)
    recall = head if kind.startswith("all") else None
    return LightXMLNetwork(
        encoder,
        doc_vectors,
        recall or cluster_head(doc_vectors, n_clusters or n_labels),
        clusters=clusters,
        ranker=head if clusters else None,
        n_shortlist=min(75, n_clusters or 75),
        loss_reduction="sum",
    )


def make_batches(n_labels, dim, batch_size):
    """Draw vectors of documents, and labels with a Zipf distribution."""
    rng = np.random.default_rng(1)
    frequencies = 1 / np.arange(1, n_labels + 1)
    shape = batch_size, LABELS_A_DOCUMENT
    for _ in range(N_BATCHES):
        vectors = torch.randn(batch_size, dim)
        ids = rng.choice(n_labels, shape, p=frequencies / frequencies.sum())
        ids.sort(axis=1)
        ids[:, 1:][ids[:, 1:] == ids[:, :-1]] = n_labels
        ids.sort(axis=1)
        yield {"vectors": vectors}, torch.from_numpy(ids)


def resident(name="VmRSS"):
    """Return the resident memory in bytes; "VmHWM" is the largest so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def cpu_time(function):
    start = time.process_time()
    function()
    return time.process_time() - start


def measure(loss, kind, n_labels, options):
    """Measure steps and predictions in this process."""
    torch.manual_seed(0)
    batches = list(make_batches(n_labels, options.dim, options.batch_size))
    before = resident()
    network = make_network(loss, kind, n_labels, options.dim).train()
    step = stepper(network, "cpu", "fp32", label_learning_rate=1e-5)
    Path("/proc/self/clear_refs").write_text(
        "5"
    )  # the largest size so far is forgotten
    times = [cpu_time(lambda: step(*batches[0]))]
    for i in range(options.steps):
        times.append(cpu_time(lambda: step(*batches[i % N_BATCHES])))  # noqa: B023
    peak = resident("VmHWM") - before
    network.eval()
    with torch.inference_mode():
        ranks = [cpu_time(lambda: network.rank(batches[0][0], 10)) for _ in range(3)]
    return {
        "step_s": min(times[1:]),
        "peak_MB": peak >> 20,
        "predict_ms": 1e3 * min(ranks) / options.batch_size,
    }


def run_alone(loss, kind, n_labels, options):
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--one", loss, kind]
    for name in ("labels", "dim", "batch_size", "steps"):
        value = n_labels if name == "labels" else getattr(options, name)
        command += [f"--{name.replace('_', '-')}", str(value)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(n_labels, options):
    """Measure all heads in turns, and keep the best figure of each."""
    found = {}
    for _ in range(options.turns):
        for loss in LOSSES:
            for kind in options.heads:
                own = run_alone(loss, kind, n_labels, options)
                best = found.setdefault((loss, kind), own)
                found[loss, kind] = {key: min(own[key], best[key]) for key in own}
    for (loss, kind), own in found.items():
        row = {"labels": n_labels, "loss": loss, "head": kind}
        row |= {key: round(value, 4) for key, value in own.items()}
        if (loss, "dense") in found:
            dense = found[loss, "dense"]
            row["step_ratio"] = round(own["step_s"] / dense["step_s"], 3)
            row["peak_ratio"] = round(own["peak_MB"] / dense["peak_MB"], 3)
        yield row


def read_rows(options):
    """Return the rows of the results file that are not measured again."""
    file = RESULTS / f"{options.name}.json"
    rows = json.loads(file.read_text())["results"] if file.exists() else []
    return [row for row in rows if row["labels"] not in options.labels]


def main():
    options = parse()
    if options.one:
        print(json.dumps(measure(*options.one, *options.labels, options)))
        return
    rows = read_rows(options)
    for n_labels in options.labels:
        for row in compare(n_labels, options):
            rows.append(row)
            print(row, flush=True)
    rows.sort(key=lambda row: row["labels"])  # which keeps the order of heads
    leave_out = ("one", "labels", "heads")
    settings = {k: v for k, v in vars(options).items() if k not in leave_out}
    settings["threads"] = torch.get_num_threads()
    write_json(options.name, {"settings": settings, "results": rows})


if __name__ == "__main__":
    main()
