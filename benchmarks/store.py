"""Time and memory of a store: its build, the batches of an epoch, and a fit.

    python benchmarks/store.py --documents 1000000 4000000

The documents are synthetic, of two words and two labels on average, with Zipf
distributions of both, in Parquet files of 100,000. "epoch" makes all batches of an
epoch, and trains nothing. "fit" is the whole fit of a LightXMLClassifier for an epoch,
held-out documents included, with a small transformer of random weights: what is
measured is what grows with the documents, and not the encoder.

Each part runs in a process of its own. The peaks are of RssAnon, the memory that the
system cannot drop and read again from a file: pages of memory maps are not part of it.
"start" is RssAnon after the imports. Results for other numbers of documents are kept.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from _common import RESULTS, write_json

_SHARD = 100_000
_N_WORDS, _N_LABELS = 50_000, 500


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--documents", type=int, nargs="+", default=[10**6, 4 * 10**6])
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--words", type=int, default=2, help="of a document; the mean")
    parser.add_argument("--max-length", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--held-out", type=int, default=10_000, help="documents")
    parser.add_argument(
        "--folder", help="where the data lie; a temporary folder if not"
    )
    parser.add_argument("--name", default="store", help="name of the file in results")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    return parser.parse_args()


class Peak:
    """The highest RssAnon of this process while a context lasts, in MiB."""

    def __enter__(self):
        self.start = self.highest = anonymous_memory()
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self.seconds, self.cpu_seconds = -time.perf_counter(), -time.process_time()
        return self

    def _watch(self):
        while not self._ends.wait(0.01):
            self.highest = max(self.highest, anonymous_memory())

    def __exit__(self, *error):
        self.seconds += time.perf_counter()
        self.cpu_seconds += time.process_time()
        self._ends.set()
        self._thread.join()

    def measured(self):
        return {
            "seconds": round(self.seconds, 1),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "start_MiB": round(self.start, 1),
            "peak_MiB": round(self.highest, 1),
        }


def anonymous_memory():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise OSError("this system does not tell RssAnon")


def write_shards(folder, n_docs, mean_words):
    """Write Parquet files of synthetic documents."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = rng.choice(syllables, (_N_WORDS, 3))
    words = np.array(["".join(row) for row in words], object)
    names = np.array([f"label {i}" for i in range(_N_LABELS)], object)
    for start in range(0, n_docs, _SHARD):
        n = min(_SHARD, n_docs - start)
        columns = {}
        for column, values, mean in (("text", words, mean_words), ("labels", names, 2)):
            lengths = 1 + rng.poisson(mean - 1, n)
            # The inverse of the distribution: rank r has a share of 1 / (r log n).
            ranks = len(values) ** rng.random(lengths.sum())
            drawn = values[ranks.astype(np.int64) - 1]
            ends = np.cumsum(np.append(0, lengths))
            lists = pa.ListArray.from_arrays(
                pa.array(ends, pa.int32()), pa.array(drawn)
            )
            columns[column] = lists
        texts = pa.compute.binary_join(columns["text"], " ")
        table = pa.table({"text": texts, "labels": columns["labels"]})
        pq.write_table(table, folder / f"part-{start // _SHARD:05}.parquet")


def build(folder, options):
    from skxmc.store import build_store

    with Peak() as peak:
        store = build_store(
            folder / "shards", folder / "store", options.encoder, options.max_length
        )
    sizes = sum(path.stat().st_size for path in (folder / "store").iterdir())
    shards = sum(path.stat().st_size for path in (folder / "shards").iterdir())
    return peak.measured() | {
        "documents": len(store.X),
        "tokens": len(store.X.ids),
        "labels": store.Y.nnz,
        "shards_MiB": shards >> 20,
        "store_MiB": sizes >> 20,
    }


def epoch(folder, options):
    """All batches of an epoch, in random order, as the training loop takes them."""
    from skxmc.nn.examples import Examples
    from skxmc.nn.text import Tokens, shuffled_batches
    from skxmc.store import open_store

    with Peak() as peak:
        store = open_store(folder / "store")
        docs = Tokens(store.X.ids, store.X.offsets, 0)
        rows = np.flatnonzero(np.diff(store.Y.indptr))
        examples = Examples(docs, store.Y, rows)
        rng = np.random.default_rng(0)
        opened = time.perf_counter()
        batches = shuffled_batches(rows, examples.lengths, options.batch_size, rng)
        n_tokens = 0
        for batch in batches:
            inputs, targets = examples.batch(batch)
            n_tokens += int(inputs["attention_mask"].sum())
        seconds = time.perf_counter() - opened
    assert n_tokens == len(store.X.ids)
    return peak.measured() | {"ms_a_batch": round(1000 * seconds / len(batches), 3)}


def fit(folder, options):
    """Train a classifier for an epoch, with a small transformer of random weights."""
    from transformers import BertConfig, BertModel

    from skxmc import LightXMLClassifier
    from skxmc.nn.encoder_files import load_encoder
    from skxmc.store import open_store

    tokenizer = load_encoder(options.encoder)[1]
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    encoder = BertModel(config), tokenizer
    with Peak() as peak:
        store = open_store(folder / "store")
        model = LightXMLClassifier(
            encoder,
            n_layers=1,
            head="all",
            label_dim=16,
            trained_layers="all",
            max_length=options.max_length,
            batch_size=options.batch_size,
            max_epochs=1,
            validation_fraction=min(0.05, options.held_out / len(store.X)),
            random_state=0,
        )
        model.fit(store.X, store.Y)
    return peak.measured() | {"history": model.history_}


PARTS = {"build": build, "epoch": epoch, "fit": fit}


def measure(n_docs, options):
    """Measure the parts, each in a process of its own, and yield what is measured."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_shards(Path(folder) / "shards", n_docs, options.words)
        result = {}
        for part in PARTS:
            command = [sys.executable, *sys.argv, "--part", part, "--folder", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            result[part] = json.loads(done.stdout)
            print(n_docs, part, result[part], flush=True)
            yield result


def main():
    options = parse()
    if options.part:
        print(json.dumps(PARTS[options.part](Path(options.folder), options)))
        return
    file = RESULTS / f"{options.name}.json"
    old = json.loads(file.read_text())["results"] if file.exists() else []
    results = {result["build"]["documents"]: result for result in old}
    left_out = "documents", "folder", "name", "part"
    settings = {k: v for k, v in vars(options).items() if k not in left_out}
    for n_docs in options.documents:
        for result in measure(n_docs, options):
            results[n_docs] = result
            rows = [results[n] for n in sorted(results)]
            write_json(options.name, {"settings": settings, "results": rows})


if __name__ == "__main__":
    main()
