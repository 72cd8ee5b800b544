"""What rare labels gain by `label_weight` and `rank_by`, and what frequent ones lose.

GRankClassifier with medium effort is fitted twice on each data set, with and without
``label_weight="propensity"``, and each fit ranks by probability and by propensity::

    python benchmarks/tail.py icd10cm DIR/biotools-edam=4000 DIR/tibkat-core-en=3000

"icd10cm" is chapters 1 and 2 of ICD-10-CM. A number after a name draws that many
documents of the training split at random. Of these, 15 % are held out and measured;
labels that no other document has are left out. Propensities are those of the other
85 %. Writes results/tail-NAME.json for each data set.
"""

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from _common import write_json

from skxmc import GRankClassifier
from skxmc.datasets import load_icd10cm, load_xmc_repository
from skxmc.metrics import propensity_from_counts, ranking_report
from skxmc.model_selection import MultilabelShuffleSplit

MAX_LENGTH = {"icd10cm": 24, "tibkat-core-en": 64, "biotools-edam": 128}
METRICS = ("P@1", "P@5", "PSP@1", "PSP@5", "coverage@5")


def load_parts(source, n_docs):
    """Return the texts and labels of both parts, and the names of the labels."""
    if source == "icd10cm":
        data = load_icd10cm(chapters=[1, 2])
    else:
        data = load_xmc_repository(source)
    texts, Y = np.array(data.texts_train, object), data.Y_train.tocsr()
    if n_docs is not None:
        rows = np.random.default_rng(0).permutation(len(texts))[:n_docs]
        texts, Y = texts[rows], Y[rows]
    split = MultilabelShuffleSplit(n_splits=1, test_size=0.15, random_state=0)
    train, test = next(split.split(texts, Y))
    kept = np.flatnonzero(np.asarray(Y[train].sum(axis=0)).ravel())
    names = [data.label_names[j] for j in kept]
    Y = Y.tocsc()[:, kept].tocsr()
    train = train[np.diff(Y.indptr)[train] > 0]
    test = test[np.diff(Y.indptr)[test] > 0]
    return texts[train].tolist(), Y[train], texts[test].tolist(), Y[test], names


def measure(source, n_docs):
    """Metrics in percent of the two fits and the two rankings, and CPU minutes."""
    name = Path(source).name
    X, Y, X_test, Y_test, names = load_parts(source, n_docs)
    found = {"documents": len(X), "held_out": len(X_test), "labels": len(names)}
    print(name, found, flush=True)
    found["max_length"], found["rows"] = MAX_LENGTH[name], {}
    for label_weight in (None, "propensity"):
        begin = time.process_time()
        model = GRankClassifier.with_effort(
            "medium",
            label_texts=names,
            label_weight=label_weight,
            max_length=MAX_LENGTH[name],
            random_state=0,
        ).fit(X, Y)
        minutes = (time.process_time() - begin) / 60
        propensity = propensity_from_counts(model.label_counts_, model.n_docs_)
        for rank_by in ("probability", "propensity"):
            ids, _ = model.predict_topk(X_test, 5, rank_by=rank_by)
            report = ranking_report(Y_test, ids, (1, 5), propensity)
            row = {m: round(100 * float(report[m]), 1) for m in METRICS}
            row["fit_cpu_minutes"] = round(minutes, 1)
            found["rows"][f"label_weight={label_weight}, rank_by={rank_by}"] = row
            print(label_weight, rank_by, row, flush=True)
    return found


def main():
    """Measure all data sets of the command line."""
    torch.set_num_threads(1)
    for argument in sys.argv[1:] or ["icd10cm"]:
        source, _, n_docs = argument.partition("=")
        found = measure(source, int(n_docs) if n_docs else None)
        write_json(f"tail-{Path(source).name}", found)


if __name__ == "__main__":
    main()
