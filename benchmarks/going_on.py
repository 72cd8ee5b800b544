"""A tenth of the documents comes later: ways to go on with a fit, on ICD-10-CM.

    python benchmarks/going_on.py --chapters 1 2
    python benchmarks/going_on.py --chapters 1 2 --kinds categories --only tenth \\
        --rates 0.3 --name icd10cm-chapters-rates
    python benchmarks/going_on.py --kinds categories --epochs 2 --calls 2000 \\
        --name icd10cm

Of the training documents, 15 % are held out to measure quality, of which 3,000 at most
are ranked. Of the others, a tenth is withheld from a first fit of
``GRankClassifier.with_effort("medium")``, and then given in each way. The tenth is
drawn at random, or consists of all documents of some categories (codes of three
characters), whose labels are then new. Held-out documents of these categories are the
new ones, and all others the old ones. ``document_learning_rate``,
``head_learning_rate`` and ``label_learning_rate`` are multiplied by ``--rates`` in all
ways but a fit from nothing. Seconds are those of a core, for the way alone.

Writes results/going-on-NAME.json and the table docs/tables/going-on-NAME.csv.
"""

import argparse
import copy
import csv
import json
import os
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import _common
import numpy as np
import torch
from _common import write_json
from sklearn.model_selection import train_test_split

from skxmc import GRankClassifier
from skxmc.datasets import load_icd10cm
from skxmc.metrics import propensity, ranking_report

TABLES = Path(__file__).parents[1] / "docs" / "tables"
# Largest number of held-out documents that are ranked.
N_TEST = 3000
METRICS = ("P@1", "P@5", "PSP@5")
RATES = ("document_learning_rate", "head_learning_rate", "label_learning_rate")


def find_categories(Y, codes):
    """Return the category of each document: the first of its labels that is one."""
    is_category = np.array([len(code) == 3 and "-" not in code for code in codes])
    Y = Y[:, np.flatnonzero(is_category)].tocsr()
    first = np.full(Y.shape[0], -1)
    has_one = np.diff(Y.indptr) > 0
    first[has_one] = Y.indices[Y.indptr[:-1][has_one]]
    return first


def withhold(kind, categories, rng):
    """Choose a tenth of the documents, by their categories or each by itself."""
    if kind == "random":
        return rng.permutation(len(categories)) < len(categories) // 10
    values = rng.permutation(np.unique(categories[categories >= 0]))
    sizes = np.array([(categories == value).sum() for value in values])
    n = np.searchsorted(sizes.cumsum(), len(categories) // 10) + 1
    return np.isin(categories, values[:n])


class Data:
    """Documents of the first fit and of the withheld tenth, and those that measure.

    Labels of the first fit come first, and the new ones follow.
    """

    def __init__(self, options, kind):
        data = load_icd10cm(chapters=options.chapters)
        rng = np.random.default_rng(options.seed)
        texts, Y = np.array(data.texts_train, object), data.Y_train.tocsr()
        categories = find_categories(Y, data.label_codes)
        train, test = train_test_split(
            np.arange(len(texts)), test_size=0.15, random_state=options.seed
        )
        is_late = withhold(kind, categories[train], rng)
        early, late = train[~is_late], train[is_late]
        counts = [
            np.bincount(Y[rows].indices, minlength=Y.shape[1]) for rows in (early, late)
        ]
        known = np.flatnonzero(counts[0])
        added = np.flatnonzero((counts[0] == 0) & (counts[1] > 0))
        columns = np.append(known, added)
        self.n_known = len(known)
        self.names = [data.label_names[j] for j in columns]
        self.codes = [data.label_codes[j] for j in columns]
        Y = Y[:, columns].tocsr()
        test = test[np.diff(Y[test].indptr) > 0][:N_TEST]
        self.texts, self.Y = texts, Y
        self.early, self.late, self.test = early, late, test
        if kind == "categories":
            self.is_new = np.isin(categories[test], categories[late])
        else:
            self.is_new = np.zeros(len(test), bool)
        self.weights = propensity(Y[train])

    def give(self, rows, n_labels=None):
        """Return texts and labels of some documents."""
        return self.texts[rows].tolist(), self.Y[rows][:, :n_labels]

    def about(self, n_labels):
        """Return the parameters that say what the labels are."""
        return dict(
            label_texts=self.names[:n_labels], label_names=self.codes[:n_labels]
        )

    def measure(self, model):
        """Return the metrics on all held-out documents, on old and on new ones."""
        ids, _ = model.predict_topk(self.texts[self.test].tolist(), 5)
        found = {}
        parts = {"all": slice(None), "old": ~self.is_new, "new": self.is_new}
        for name, part in parts.items():
            if name != "all" and not self.is_new.any():
                continue
            report = ranking_report(
                self.Y[self.test][part], ids[part], (1, 5), self.weights
            )
            found[name] = {m: round(100 * float(report[m]), 1) for m in METRICS}
        return found


def make(data, options, n_labels=None):
    """Return an unfitted classifier."""
    return GRankClassifier.with_effort(
        "medium", device="cpu", random_state=options.seed, **data.about(n_labels)
    )


def ways(data, options, first):
    """Yield the name of each way, and a function that returns the classifier."""
    everything = np.append(data.early, data.late)

    def copied(**params):
        rates = {name: options.rates * getattr(first, name) for name in RATES}
        return copy.deepcopy(first).set_params(**data.about(None), **rates, **params)

    def go_on(rows, epochs):
        model = copied(warm_start=True, max_epochs=epochs)
        return model.fit(*data.give(rows))

    def stream(size):
        model = copied()
        rows = np.random.default_rng(0).permutation(data.late)
        for start in range(0, len(rows), size):
            model.partial_fit(*data.give(rows[start : start + size]))
        return model

    yield "nothing", lambda: first
    for epochs in options.epochs:
        yield (
            f"warm_start with the tenth, {epochs} epochs",
            partial(go_on, data.late, epochs),
        )
    for epochs in options.epochs:
        yield (
            f"warm_start with all, {epochs} epochs",
            partial(go_on, everything, epochs),
        )
    for size in options.calls:
        yield (
            f"partial_fit with the tenth, calls of {size or 'all'}",
            partial(stream, size or len(data.late)),
        )
    yield "fit on all", lambda: make(data, options).fit(*data.give(everything))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--chapters", type=int, nargs="+", help="None takes all")
    parser.add_argument("--kinds", nargs="+", default=["categories", "random"])
    parser.add_argument("--epochs", type=int, nargs="+", default=[2, 8])
    parser.add_argument(
        "--calls", type=int, nargs="+", default=[100, 0], help="0 makes one call"
    )
    parser.add_argument("--rates", type=float, default=1.0, help="factor of the rates")
    parser.add_argument("--only", default="", help="ways whose names contain this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="icd10cm-chapters")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for kind in options.kinds:
        data = Data(options, kind)
        begin = time.process_time()
        first = make(data, options, data.n_known).fit(
            *data.give(data.early, data.n_known)
        )
        about = {
            "tenth": kind,
            "n_early": len(data.early),
            "n_late": len(data.late),
            "n_labels_early": data.n_known,
            "n_labels": len(data.names),
            "n_test": len(data.test),
            "n_test_new": int(data.is_new.sum()),
            "first_fit_cpu_s": round(time.process_time() - begin, 1),
        }
        for name, go_on in ways(data, options, first):
            if options.only not in name:
                continue
            begin = time.process_time()
            model = go_on()
            seconds = round(time.process_time() - begin, 1)
            figures = {"way": name, "cpu_s": seconds, **data.measure(model)}
            print(kind, figures, flush=True)
            rows.append(about | figures)
            write(options, rows)


def table(name):
    """Return the rows of a table of the documentation, the header first."""
    path = _common.RESULTS / f"going-on-{name}.json"
    rows = json.loads(path.read_text())["rows"]
    header = ["Way", "Seconds", *METRICS]
    header += [f"{part}: {metric}" for part in ("Old", "New") for metric in METRICS[1:]]
    found = [header]
    for row in rows:
        if row["tenth"] != "categories":
            continue
        figures = [row["cpu_s"], *row["all"].values()]
        figures += [row[part][m] for part in ("old", "new") for m in METRICS[1:]]
        found.append([row["way"], *(f"{figure:.1f}" for figure in figures)])
    return found


def write(options, rows):
    """Write all rows so far."""
    about = {
        "data": "icd10cm",
        "chapters": options.chapters,
        "split": "15 % of the training documents, held out",
        "rates": options.rates,
        "seed": options.seed,
    }
    write_json(f"going-on-{options.name}", about | {"rows": rows})
    with open(TABLES / f"going-on-{options.name}.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(table(options.name))


if __name__ == "__main__":
    main()
