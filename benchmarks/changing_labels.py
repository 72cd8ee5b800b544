"""Labels and documents that come after a fit, beside a fit with all, on ICD-10-CM.

    python benchmarks/changing_labels.py
    python benchmarks/changing_labels.py --chapters 1 2 --labels 200 --documents 700
    python benchmarks/changing_labels.py --sample 0 --labels 2000 --documents 10000

GRankClassifier.with_effort("medium") at max_length=24 is fitted on 90 % of ``--sample``
training documents, drawn at random (0 takes all), and the rest is predicted. Labels
that no document of the 90 % has are left out. Three fits are made: on everything;
without ``--labels`` labels, a quarter of them from each range of frequencies; and
without ``--documents`` documents. ``--only`` makes one of them. What was withheld then
comes by `add_labels` and `add_documents`. "R@10 of the added" is the share of the added
labels of held-out documents that are among the 10 best. "P@5 of others" is for held-out
documents without any added label. All in %. Times are seconds of one CPU thread.

Each fit takes two to three minutes on one thread, and one of all documents takes eight.
Writes results/changing-labels.json, changing-labels-1-2.json for chapters 1 and 2, or
changing-labels-all.json for all documents.
"""

import argparse
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import copy

import numpy as np
import torch
from _common import RESULTS, write_json

from skxmc import GRankClassifier
from skxmc.datasets import load_icd10cm
from skxmc.metrics import propensity_from_counts, ranking_report
from skxmc.model_selection import MultilabelShuffleSplit

# First numbers of training documents of a label in each range of frequencies.
EDGES = (1, 2, 4, 16)
RANGES = ("1 document", "2 to 3", "4 to 15", "16 or more")
PARTS = ("all", "labels", "documents")


class Data:
    """Training and held-out documents, with the labels to withhold as last columns."""

    def __init__(self, options):
        data = load_icd10cm(chapters=options.chapters or None)
        texts, Y = np.array(data.texts_train, object), data.Y_train.tocsr()
        if 0 < options.sample < len(texts):
            rows = np.random.default_rng(1).permutation(len(texts))[: options.sample]
            texts, Y = texts[rows], Y[rows]
        split = MultilabelShuffleSplit(n_splits=1, test_size=0.1, random_state=2)
        train, held_out = next(split.split(texts, Y))
        counts = np.asarray(Y[train].sum(axis=0)).ravel().astype(int)
        known = np.flatnonzero(counts)
        rng = np.random.default_rng(0)
        bins = np.searchsorted(EDGES, counts[known], side="right")
        added = [
            rng.permutation(known[bins == i])[: options.labels // len(EDGES)]
            for i in range(1, len(EDGES) + 1)
        ]
        self.bins = np.repeat(np.arange(len(EDGES)), [len(part) for part in added])
        added = np.concatenate(added)
        order = np.append(np.setdiff1d(known, added), added)
        self.n_old, self.n_labels = len(order) - len(added), len(order)
        self.names = [data.label_names[j] for j in order]
        self.codes = [data.label_codes[j] for j in order]  # some names are equal
        Y = Y[:, order].tocsr()
        self.texts, self.Y = texts[train], Y[train]
        self.withheld = rng.permutation(len(train))[: options.documents]
        has_label = np.diff(Y[held_out].indptr) > 0
        self.held_texts = texts[held_out][has_label].tolist()
        self.held_Y = Y[held_out][has_label]
        self.propensity = propensity_from_counts(counts[order], len(train))

    def measure(self, model):
        """Metrics of a classifier on the held-out documents, in %."""
        ids, _ = model.predict_topk(self.held_texts, 10)
        scores = ranking_report(self.held_Y, ids, (1, 5), self.propensity)
        rows, labels = self.held_Y[:, self.n_old :].nonzero()
        is_found = (ids[rows] == self.n_old + labels[:, None]).any(axis=1)
        others = np.setdiff1d(np.arange(len(ids)), rows)
        of_others = ranking_report(self.held_Y[others], ids[others], (5,))
        found = {name: scores[name] for name in ("P@1", "P@5", "PSP@5")}
        found["P@5 of others"] = of_others["P@5"]
        found["R@10 of the added"] = is_found.mean()
        for i, name in enumerate(RANGES):
            of_range = is_found[self.bins[labels] == i]
            if len(of_range):
                found[f"R@10, {name}"] = of_range.mean()
        return {name: round(100 * float(value), 1) for name, value in found.items()}


def timed(function):
    """CPU seconds of a call, and what it returns."""
    start = time.process_time()
    result = function()
    return round(time.process_time() - start, 1), result


def fit(texts, Y, names, codes):
    names = dict(label_texts=names, label_names=codes)
    model = GRankClassifier.with_effort(
        "medium", max_length=24, random_state=0, **names
    )
    return timed(lambda: model.fit(texts.tolist(), Y))


def report(rows, name, seconds, metrics):
    rows[name] = {"seconds": seconds} | metrics
    print(name, rows[name], flush=True)


def measure_all(data, rows):
    seconds, model = fit(data.texts, data.Y, data.names, data.codes)
    report(rows, "fit with all", seconds, data.measure(model))


def measure_labels(data, rows):
    """Labels that are added by their texts, and by texts and documents."""
    old, new = data.Y[:, : data.n_old].tocsr(), slice(data.n_old, None)
    new = data.names[new], data.codes[new]
    is_known = np.diff(old.indptr) > 0
    names, codes = data.names[: data.n_old], data.codes[: data.n_old]
    seconds, model = fit(data.texts[is_known], old[is_known], names, codes)
    report(rows, "without the labels", seconds, data.measure(model))

    more = copy.deepcopy(model)
    seconds, _ = timed(lambda: more.add_labels(*new))
    report(rows, "labels added by text", seconds, data.measure(more))

    has_new = np.diff(data.Y[:, data.n_old :].tocsr().indptr) > 0
    X, Y = data.texts[has_new].tolist(), data.Y[has_new]
    more = copy.deepcopy(model)
    seconds, _ = timed(lambda: more.add_labels(*new, X=X, y=Y))
    report(rows, "labels added by text and documents", seconds, data.measure(more))
    rows["labels added by text and documents"]["documents"] = len(X)

    # The memory, too, is told which documents have the new labels.
    def replace():
        votes = model.network_.neighbors
        remembered = np.flatnonzero(is_known)[votes.rows[votes.rows < model.n_docs_]]
        has = has_new[remembered]
        model.forget_documents(votes.rows[votes.rows < model.n_docs_][has].numpy())
        model.add_documents(X, Y, new[0], label_names=new[1])

    if model.network_.neighbors is not None:
        seconds, _ = timed(replace)
        name = "labels added, documents remembered"
        report(rows, name, seconds, data.measure(model))


def measure_documents(data, rows):
    """Documents that are remembered after a fit without them."""
    rest = np.setdiff1d(np.arange(len(data.texts)), data.withheld)
    seconds, model = fit(data.texts[rest], data.Y[rest], data.names, data.codes)
    report(rows, "without the documents", seconds, data.measure(model))
    if model.network_.neighbors is None:
        return
    X, Y = data.texts[data.withheld].tolist(), data.Y[data.withheld]
    seconds, _ = timed(lambda: model.add_documents(X, Y))
    report(rows, "documents remembered", seconds, data.measure(model))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chapters", type=int, nargs="*")
    parser.add_argument("--sample", type=int, default=20_000)
    parser.add_argument("--labels", type=int, default=800)
    parser.add_argument("--documents", type=int, default=3000)
    parser.add_argument("--only", choices=PARTS, nargs="*", default=PARTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = Data(options)
    parts = "" if options.sample or options.chapters else "-all"
    parts += "".join(f"-{chapter}" for chapter in options.chapters or ())
    name = f"changing-labels{parts}"
    file, rows = RESULTS / f"{name}.json", {}
    if file.exists() and len(options.only) < len(PARTS):
        rows = json.loads(file.read_text())["rows"]
    measures = dict(
        zip(PARTS, (measure_all, measure_labels, measure_documents), strict=True)
    )
    for part in options.only:
        measures[part](data, rows)
        about = {
            "documents": len(data.texts),
            "held_out": len(data.held_texts),
            "labels": data.n_labels,
            "labels_withheld": data.n_labels - data.n_old,
            "documents_withheld": len(data.withheld),
        }
        write_json(name, {"data": about, "rows": rows})


if __name__ == "__main__":
    main()
