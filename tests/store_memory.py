"""Peaks of memory while a store is built and classifiers are fitted on it, as JSON.

    python tests/store_memory.py ENCODER FOLDER 1000 4000

Run by tests/test_store_memory.py in a process of its own, so that nothing else that the
process has done before is counted. Prints a dict of MiB for each number of documents.
"""

import json
import sys
import threading
from pathlib import Path

import numpy as np
import torch
from conftest import WORDS

import skxmc
from skxmc.store import build_store

# Characters of a text, nearly all of which follow its words and are none themselves.
N_WORDS, N_CHARS = 24, 20_000


def anonymous_memory():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024


def peak_of(function):
    """The highest RssAnon while a function runs, and what it returns."""
    peak, ended = [anonymous_memory()], threading.Event()

    def watch():
        while not ended.wait(0.002):
            peak.append(max(peak.pop(), anonymous_memory()))

    thread = threading.Thread(target=watch)
    thread.start()
    found = function()
    ended.set()
    thread.join()
    return peak[0], found


def write_shards(folder, n_docs):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(3):
        with (folder / f"{number}.jsonl").open("w") as file:
            for _ in range(n_docs // 3):
                row = rng.integers(len(WORDS), size=N_WORDS)
                text = " ".join(WORDS[j] for j in row).ljust(N_CHARS, "-")
                labels = [WORDS[j] for j in row[:2]]
                file.write(json.dumps({"text": text, "labels": labels}) + "\n")


def measure(folder, encoder, n_docs):
    write_shards(folder / "shards", n_docs)
    peaks = {}
    peaks["build"], store = peak_of(
        lambda: build_store(folder / "shards", folder / "store", encoder, 8)
    )
    common = dict(max_length=8, max_epochs=1, batch_size=64, random_state=0)
    for system, options in {
        "GRankClassifier": dict(ngram_range=(1, 1), neighbor_weight=0),
        "LightXMLClassifier": dict(max_leaf_size=4, swa_start=None),
    }.items():
        model = getattr(skxmc, system)(encoder, **common, **options)

        def fit_and_predict(model=model):
            model.fit(store.X, store.Y).predict_topk(store.X)

        peaks[system], _ = peak_of(fit_and_predict)
    return peaks


def main():
    torch.set_num_threads(1)
    encoder, folder, *numbers = sys.argv[1:]
    measure(Path(folder) / "first", encoder, 300)  # loads whatever is loaded once
    print(json.dumps([measure(Path(folder) / n, encoder, int(n)) for n in numbers]))


if __name__ == "__main__":
    main()
