"""Balanced label clusters: BalancedKMeans against PECOS's hierarchical k-means.

    python benchmarks/cluster.py
    python benchmarks/cluster.py --labels 670091 --features 135909 --nnz 60
    python benchmarks/cluster.py --data /work/data/tibkat-core-en

Label features are synthetic, or computed from ``train_texts.txt`` and
``train_labels.txt`` of a folder. Both libraries get the same features, largest cluster
size and number of threads. They run in turn, each in a fresh process. The first run
installs PECOS into its own environment.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import scipy.sparse as sp


def synthetic_features(n_labels, n_features, nnz, seed=0):
    """Labels with topics: half of the words from the topic, half common words."""
    rng = np.random.default_rng(seed)
    topics = (n_features * rng.random((max(n_labels // 50, 2), 200)) ** 2).astype("i4")
    topic = rng.integers(len(topics), size=(n_labels, 1))
    own = topics[topic, (200 * rng.random((n_labels, nnz // 2)) ** 2).astype("i4")]
    # Words with log-uniform ranks have frequencies proportional to 1 / rank (Zipf).
    common = np.exp(rng.random((n_labels, nnz - nnz // 2)) * np.log(n_features))
    columns = np.hstack([own, common.astype("i4") - 1]).ravel()
    data = rng.random(columns.size, dtype="f4") + np.float32(0.1)
    indptr = np.arange(n_labels + 1) * nnz
    X = sp.csr_matrix((data, columns, indptr), shape=(n_labels, n_features))
    X.sum_duplicates()
    counts = np.maximum(np.bincount(X.indices, minlength=n_features), 1)
    X.data *= np.log(n_labels / counts).astype("f4")[X.indices]
    return _unit_rows(X)


def text_features(folder):
    """TF-IDF of the training texts, summed by label, for labels with documents."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    from skxmc.nn.labels import label_centroids

    texts = (folder / "train_texts.txt").read_text().splitlines()
    lines = (folder / "train_labels.txt").read_text().splitlines()
    labels = [[int(i) for i in line.split()] for line in lines]
    rows = np.repeat(np.arange(len(labels)), [len(ids) for ids in labels])
    _, columns = np.unique([i for ids in labels for i in ids], return_inverse=True)
    Y = sp.csr_matrix((np.ones(len(rows), "f4"), (rows, columns)))
    return label_centroids(TfidfVectorizer(dtype=np.float32).fit_transform(texts), Y)


def _unit_rows(X):
    lengths = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)).ravel())
    X.data /= np.repeat(np.where(lengths > 0, lengths, 1), np.diff(X.indptr))
    return X


def run_skxmc(X, leaf_size, threads, seed, tol=1e-4):
    import torch

    from skxmc.cluster import BalancedKMeans

    torch.set_num_threads(threads)
    model = BalancedKMeans(leaf_size, device="cpu", random_state=seed, tol=tol)
    start = time.perf_counter()
    model.fit(X)
    return time.perf_counter() - start, model.labels_


def run_skxmc_tight(X, leaf_size, threads, seed):
    return run_skxmc(X, leaf_size, threads, seed, tol=0)


def run_pecos(X, leaf_size, threads, seed):
    from pecos.xmc import Indexer

    start = time.perf_counter()
    # Two branches per node, as in skxmc. PECOS's default is 20 iterations.
    chain = Indexer.gen(
        X,
        indexer_type="hierarchicalkmeans",
        nr_splits=2,
        max_leaf_size=leaf_size,
        threads=threads,
        seed=seed,
    )
    seconds = time.perf_counter() - start
    return seconds, sp.csr_matrix(chain[len(chain) - 1]).indices


RUNS = {
    "skxmc": run_skxmc,
    "skxmc, tol=0": run_skxmc_tight,
    "pecos": run_pecos,
}


def describe(X, labels, seconds):
    """Time, cluster sizes, and mean cosine of labels to their cluster's centre."""
    sizes = np.bincount(labels)
    members = sp.csr_matrix((np.ones(len(labels), "f4"), (labels, range(len(labels)))))
    sums = members @ X
    lengths = np.sqrt(np.asarray(sums.multiply(sums).sum(axis=1)).ravel())
    return {
        "seconds": seconds,
        "n_clusters": len(sizes),
        "size_min": int(sizes.min()),
        "size_mean": float(sizes.mean()),
        "size_max": int(sizes.max()),
        "mean_cosine": float(lengths.sum() / len(labels)),
    }


def compare(X, args):
    """Run all in turn, ``--repeat`` times, and return results with median times."""
    from _common import peers_python

    pythons = dict.fromkeys(RUNS, sys.executable)
    pythons["pecos"] = peers_python(args.peers_env)
    # On a busy machine, OpenMP threads that wait actively double PECOS's time.
    environment = os.environ | {"OMP_WAIT_POLICY": "passive"}
    times, results = {name: [] for name in RUNS}, {}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "features.npz"), Path(folder, "labels.npz")
        sp.save_npz(source, X, compressed=False)
        for turn in range(args.repeat):
            for name in RUNS:
                settings = name, source, target, args.leaf, args.threads, turn
                call = [pythons[name], __file__, "--worker", *map(str, settings)]
                subprocess.run(call, check=True, env=environment)
                answer = np.load(target)
                times[name].append(float(answer["seconds"]))
                middle = median(times[name])
                results[name] = describe(X, answer["labels"], middle)
                results[name]["all_seconds"] = times[name]
                print(name, json.dumps(results[name]), flush=True)
    return results


def worker(name, source, target, leaf_size, threads, seed):
    """Cluster in this process, and write time and labels to a file."""
    X = sp.csr_matrix(sp.load_npz(source))
    seconds, labels = RUNS[name](X, int(leaf_size), int(threads), int(seed))
    np.savez(target, seconds=seconds, labels=labels)


def versions(peers_env):
    """Versions of the packages in both environments."""
    from _common import peers_python

    code = (
        "import json, sys; from importlib.metadata import version;"
        "print(json.dumps({p: version(p) for p in sys.argv[1:]}))"
    )
    asked = {
        "skxmc": (sys.executable, ["numpy", "scipy", "scikit-learn", "torch"]),
        "pecos": (peers_python(peers_env), ["libpecos", "numpy", "scipy"]),
    }
    return {
        side: json.loads(subprocess.check_output([python, "-c", code, *packages]))
        for side, (python, packages) in asked.items()
    }


def main():
    """Run the comparison that the command line asks for, and write the JSON file."""
    from _common import PEERS_ENV, write_json

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--labels", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--nnz", type=int, default=60, help="most words per label")
    parser.add_argument("--data", type=Path, help="folder with texts and labels")
    parser.add_argument(
        "--leaf", type=int, default=100, help="size of the largest cluster"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peers-env", type=Path, default=PEERS_ENV)
    parser.add_argument("--name", default="cluster", help="name of the JSON file")
    args = parser.parse_args()

    if args.data:
        X = text_features(args.data)
    else:
        X = synthetic_features(args.labels, args.features, args.nnz)
    results = compare(sp.csr_matrix(X), args)
    write_json(
        args.name,
        {
            "versions": versions(args.peers_env),
            "data": str(args.data.name) if args.data else "synthetic",
            "n_labels": X.shape[0],
            "n_features": X.shape[1],
            "nnz_per_label": X.nnz / X.shape[0],
            "max_leaf_size": args.leaf,
            "threads": args.threads,
            "results": results,
            "pecos_seconds_over_skxmc": {
                name: results["pecos"]["seconds"] / results[name]["seconds"]
                for name in results
            },
            "mean_cosine_over_pecos": {
                name: results[name]["mean_cosine"] / results["pecos"]["mean_cosine"]
                for name in results
            },
        },
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
