"""Ablations: what parts of a system contribute. Each row of the result is one model.

    python benchmarks/ablations.py gudn icd10cm --chapters 1 2 --max-length 24
    python benchmarks/ablations.py treaderxml DIR --documents 8000 --max-length 100

The rows for GUDN are those of its Tables 6 and 7, and for TReaderXML those of its
Table 3. The rows for LightXML compare two kinds of negatives. Those for LightDXML are
with and without its cycle; the last one trains for about as long as the first.

`--documents` trains on a random sample of the training split. `--held-out 0.15`
evaluates on that share of the training split instead of the test split. Every parameter
of the classifier can be given. The results file is written after each row. Rows that it
already contains are not trained again, unless `--rows` names them.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from _common import RESULTS, parse_parameters, write_json
from sklearn.model_selection import train_test_split

from skxmc import (
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc.datasets import load_icd10cm, load_xmc_repository
from skxmc.metrics import propensity, ranking_report

METRICS = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5")
ROWS = {
    "lightxml": {
        "dynamic negatives": {},
        "uniform negatives": dict(negatives="uniform"),
    },
    "lightdxml": {
        "a turn every 2 epochs": {},
        "one turn": dict(refresh_every=None),
        "one turn, 13 epochs": dict(refresh_every=None, max_epochs=13),
    },
    "gudn": {
        "no guide": dict(feature_weight=0, link_weight=0),
        "feature guide": dict(link_weight=0),
        "link guide": dict(feature_weight=0),
        "both guides": {},
        "both, label columns": dict(label_branch="multi-hot"),
        "both, names once": dict(label_reinforcement=None),
        "random start, no guide": dict(
            label_init="random", feature_weight=0, link_weight=0
        ),
        "random start, both guides": dict(label_init="random"),
    },
    # "No reading" is the "-" in the paper's Reading column: no attention in the
    # branches.
    "treaderxml": {
        "no teacher, no reading": dict(use_teacher=False, reading="none"),
        "no teacher": dict(use_teacher=False),
        "teacher, no reading": dict(reading="none"),
        "masked + residual": dict(reading="masked"),
        "full + residual": dict(reading="full"),
        "full + residual, masked": dict(reading="full-masked"),
        "masked, full": dict(residual=False),
        "masked + residual, full": {},
        "the same, all positions pooled": dict(pool_teacher=True),
        "the same, labels without parents": dict(label_parents=None, parent_texts=None),
        "the same, random label vectors": dict(label_init="random"),
    },
}
CLASSES = {
    "lightdxml": LightDXMLClassifier,
    "lightxml": LightXMLClassifier,
    "gudn": GUDNClassifier,
    "treaderxml": TReaderXMLClassifier,
}


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("system", choices=CLASSES)
    parser.add_argument("data", help="icd10cm, or a folder with a data set")
    parser.add_argument(
        "--chapters", nargs="+", type=int, help="chapters of icd10cm to use"
    )
    parser.add_argument("--documents", type=int, help="number of training documents")
    parser.add_argument("--held-out", type=float, default=0.0)
    parser.add_argument("--rows", nargs="+", help="train these rows only")
    parser.add_argument("--name", help="name of the file in benchmarks/results")
    return parse_parameters(parser)


def main():
    options, parameters = parse()
    if options.data == "icd10cm":
        data = load_icd10cm(chapters=options.chapters)
    else:
        data = load_xmc_repository(options.data)
    texts, test_texts = data.texts_train, data.texts_test
    Y, Y_test = data.Y_train.tocsr(), data.Y_test.tocsr()
    split = "test"
    if options.held_out:
        split = f"{options.held_out:g} of the training split"
        texts, test_texts, Y, Y_test = train_test_split(
            texts, Y, test_size=options.held_out, random_state=0
        )
    if options.documents:
        rows = np.random.default_rng(0).permutation(len(texts))[: options.documents]
        texts, Y = [texts[i] for i in rows], Y[rows]
    names = None if options.system == "lightdxml" else data.label_names
    given = dict(label_texts=names, random_state=0) | parameters
    if options.system == "treaderxml" and data.label_parents is not None:
        given.setdefault("label_parents", data.label_parents)
        given.setdefault("parent_texts", data.get("parent_names"))

    data_name = Path(options.data).name
    about = {
        "system": options.system,
        "data": data_name,
        "chapters": options.chapters,
        "training_documents": len(texts),
        "labels": Y.shape[1],
        "split": split,
        "test_documents": len(test_texts),
        "parameters": {
            key: value
            for key, value in given.items()
            if key not in ("label_texts", "label_parents", "parent_texts")
        },
    }
    file = options.name or f"ablations-{options.system}-{data_name}"
    rows = measured(file, about)
    wanted = options.rows or [r for r in ROWS[options.system] if r not in rows]
    for name in wanted:
        model = CLASSES[options.system](**given | ROWS[options.system][name])
        start = time.process_time()
        model.fit(texts, Y)
        minutes = round((time.process_time() - start) / 60, 1)
        ids, _ = model.predict_topk(test_texts, 5)
        report = ranking_report(Y_test, ids, (1, 3, 5), propensity(Y))
        row = {metric: round(100 * float(report[metric]), 2) for metric in METRICS}
        rows[name] = row | {"fit_core_minutes": minutes}
        print(f"{name:<34}", *row.values(), f"{minutes} core-min", flush=True)
        ordered = {r: rows[r] for r in ROWS[options.system] if r in rows}
        write_json(file, {**about, "rows": ordered})


def measured(file, about):
    """Rows of an earlier file with the same settings; other settings are an error."""
    path = RESULTS / f"{file}.json"
    if not path.exists():
        return {}
    there = json.loads(path.read_text())
    for key, value in about.items():
        if there[key] != value:
            raise SystemExit(
                f"{path} was measured with {key}={there[key]}, not {value}. Remove it, "
                "or give this run another --name."
            )
    return there["rows"]


if __name__ == "__main__":
    main()
