"""A training step of LightXML at 670,091 labels, against two others, and its memory.

    python benchmarks/lightxml.py

Three kinds of step run on the same batches, in alternating blocks: our step; forward,
backward and fused AdamW of the bare encoder; and a plain implementation of the
published procedure. The latter assembles candidates on the host in loops, computes a
gradient and AdamW over all label embeddings, and pads every document to the full
length. The cost of a step outside the encoder is its time minus that of the bare step
at the same length. Peak memory is that of a separate process that only makes our steps.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import scipy.sparse as sp
import torch
from _common import write_json
from _steps import stepper
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from skxmc.nn.devices import autocast, choose_device, choose_precision, to_device
from skxmc.nn.document_vectors import DocumentVectors
from skxmc.nn.encoder_files import load_encoder
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.heads import LabelScores, cluster_head
from skxmc.nn.networks.lightxml import LightXMLNetwork
from skxmc.nn.shortlist import LabelClusters
from skxmc.nn.text import padded_columns, tokenize

LABELS_A_DOCUMENT = 5


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--labels", type=int, default=670_091)
    parser.add_argument("--clusters", type=int, default=8192)
    parser.add_argument("--shortlist", type=int, default=75)
    parser.add_argument("--label-dim", type=int, default=400)
    parser.add_argument("--label-precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4, help="steps per block")
    parser.add_argument(
        "--name", default="lightxml", help="name of the file in results"
    )
    parser.add_argument("--memory-only", action="store_true")
    return parser.parse_args()


def encoder_of(options):
    model, tokenizer = load_encoder(options.encoder)
    return TransformerEncoder(model, n_layers=5, dropout=0.0), tokenizer


def label_groups(options):
    """Random clusters of equal size; the cost does not depend on their members."""
    order = np.random.default_rng(0).permutation(options.labels)
    return order * options.clusters // options.labels


def batches_of(options, tokenizer, device):
    """Token ids and positives; every document has the full length."""
    rng = np.random.default_rng(1)
    n_docs = options.batch_size * (options.steps + 1)
    words = rng.integers(0, 5000, (n_docs, 2 * options.max_length))
    docs = [" ".join(f"w{word}" for word in row) for row in words]
    docs = tokenize(docs, tokenizer, options.max_length)
    assert docs.lengths.min() == options.max_length
    columns = rng.integers(0, options.labels, (n_docs, LABELS_A_DOCUMENT))
    rows = np.arange(n_docs).repeat(LABELS_A_DOCUMENT)
    Y = sp.csr_array((np.ones(columns.size), (rows, columns.ravel())))
    Y.resize(n_docs, options.labels)
    return [
        (
            to_device(docs.batch(part), device),
            to_device(padded_columns(Y, part), device),
        )
        for part in np.arange(n_docs).reshape(-1, options.batch_size)
    ]


def our_network(options, device):
    torch.manual_seed(0)
    encoder, _ = encoder_of(options)
    read = DocumentVectors(encoder, options.label_dim)
    dtype = torch.float32 if options.label_precision == "fp32" else torch.bfloat16
    vectors = torch.empty(options.labels, options.label_dim, dtype=dtype)
    nn.init.xavier_uniform_(vectors)
    groups = label_groups(options)
    order = torch.from_numpy(np.argsort(groups, kind="stable"))
    network = LightXMLNetwork(
        encoder,
        read,
        cluster_head(read, options.clusters),
        clusters=LabelClusters(groups),
        ranker=LabelScores(vectors, row_wise=True, order=order),
        n_shortlist=options.shortlist,
    )
    del vectors
    network.to(device).train()
    return network


def bare_step(options, device, precision):
    encoder, _ = encoder_of(options)
    encoder.to(device).train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-4, fused=True)

    def step(batch, _):
        with autocast(device, precision):
            first = encoder(batch)[0]
        first.float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


class Plain(nn.Module):
    """The published procedure as the paper tells it, one document after the other."""

    def __init__(self, options):
        super().__init__()
        self.encoder, _ = encoder_of(options)
        self.dropout = nn.Dropout(0.5)
        self.recall = nn.Linear(self.encoder.width, options.clusters)
        self.bottleneck = nn.Linear(self.encoder.width, options.label_dim)
        self.embeddings = nn.Embedding(options.labels, options.label_dim)
        nn.init.xavier_uniform_(self.embeddings.weight)
        self.groups = label_groups(options)
        self.members = np.split(
            np.argsort(self.groups, kind="stable"),
            np.bincount(self.groups).cumsum()[:-1],
        )
        self.n_shortlist = options.shortlist

    def forward(self, batch, positives):
        first = self.dropout(self.encoder(batch)[0])
        found = self.recall(first)
        n_labels = len(self.groups)
        lists = [[j for j in row if j < n_labels] for row in positives.tolist()]
        targets = torch.zeros(found.shape, device=found.device)
        for i, labels in enumerate(lists):
            targets[i, self.groups[labels]] = 1
        best = (found.detach().sigmoid() + targets).topk(self.n_shortlist, dim=1)
        candidates, is_positive = [], []
        for clusters, labels in zip(best.indices.cpu().numpy(), lists, strict=True):
            ids = np.concatenate([self.members[c] for c in clusters]).tolist()
            wanted = set(labels)
            candidates.append(torch.tensor(ids))
            is_positive.append(torch.tensor([float(j in wanted) for j in ids]))
        width = max(map(len, candidates))
        ids = torch.stack(
            [pad(c, (0, width - len(c)), value=c[-1]) for c in candidates]
        )
        truth = [pad(p, (0, width - len(p)), value=p[-1]) for p in is_positive]
        vectors = self.embeddings(ids.to(found.device))
        scores = torch.bmm(vectors, self.bottleneck(first)[:, :, None])[:, :, 0]
        truth = torch.stack(truth).to(found.device)
        loss = binary_cross_entropy_with_logits(scores.float(), truth)
        return loss + binary_cross_entropy_with_logits(found.float(), targets)


def plain_step(options, device, precision):
    network = Plain(options).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step(batch, positives):
        with autocast(device, precision):
            loss = network(batch, positives)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def seconds(step, batches, device):
    """Times of consecutive steps; the first is a warm-up and left out."""
    each = []
    for batch in batches:
        start = time.perf_counter()
        step(*batch)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        each.append(time.perf_counter() - start)
    return each[1:]


def measure_memory(options, device, precision):
    """Peak memory of our steps in this process, and its parts, in MB."""
    network = our_network(options, device)
    batches = batches_of(options, encoder_of(options)[1], device)
    seconds(stepper(network, device, precision), batches, device)
    label_vectors = network.ranker.identity
    dense = sum(p.nbytes for p in network.parameters()) - label_vectors.nbytes
    n_rows = options.batch_size * network.n_candidates
    if device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated()
    else:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Beside their values, dense weights have a gradient and two moments, label vectors
    # only two moments.
    states = 4 * dense + 3 * label_vectors.nbytes
    touched = 4 * n_rows * options.label_dim
    return {
        "peak_MB": peak >> 20,
        "weights_gradients_and_moments_MB": states >> 20,
        "gradients_of_touched_rows_MB": touched >> 20,
        "over_both_MB": (peak - states - touched) >> 20,
    }


def measure_steps(options, device, precision):
    batches = batches_of(options, encoder_of(options)[1], device)
    steps = {
        "ours": stepper(our_network(options, device), device, precision),
        "bare": bare_step(options, device, precision),
        "plain": plain_step(options, device, precision),
    }
    times = {name: [] for name in steps}
    for _ in range(options.blocks):
        for name, step in steps.items():
            times[name] += seconds(step, batches, device)
    medians = {name: statistics.median(each) for name, each in times.items()}
    outside = {name: medians[name] - medians["bare"] for name in ("ours", "plain")}
    pairs = zip(times["ours"], times["bare"], strict=True)
    return {
        **{f"{name}_ms": round(1e3 * median, 1) for name, median in medians.items()},
        "ours_to_bare": round(statistics.median(a / b for a, b in pairs), 3),
        "outside_the_encoder_plain_to_ours": round(
            outside["plain"] / outside["ours"], 1
        ),
    }


def main():
    options = parse()
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    if options.memory_only:
        print(json.dumps(measure_memory(options, device, precision)))
        return
    child = [sys.executable, *sys.argv, "--memory-only"]
    child = subprocess.run(child, check=True, capture_output=True, text=True)
    memory = json.loads(child.stdout.splitlines()[-1])
    print(memory, flush=True)
    steps = measure_steps(options, device, precision)
    print(steps)
    settings = vars(options) | {"device": device, "precision": precision}
    write_json(options.name, {"settings": settings, "step": steps, "memory": memory})


if __name__ == "__main__":
    main()
