"""Ablations: what parts of a system contribute. Each row of the result is one model.

    python benchmarks/ablations.py gudn icd10cm --chapters 1 2 --max-length 24
    python benchmarks/ablations.py treaderxml DIR --documents 8000 --max-length 100

The rows for X-GRank are those of its Table IV, each also with the vectors of texts and
documents that labels start from by default. The rows for GUDN are those of its Tables 6
and 7 and of Fig. 5, then guides for an encoder that is not trained, and the activation
of Eq. 6. Their losses by epoch are those of Fig. 6. gudn-lengths has lengths of texts,
as Table 8. For TReaderXML, the rows are those of its Table 3. The rows for LightXML are
those of its Table 5, one with clusters drawn at random, and that of its Fig. 2 with the
states of one layer. lightxml-heads has heads that score labels in three ways, on texts
that are read once. Those for LightDXML vary the training of the label encoder, the
turns of the cycle, beta and the number of epochs (its Fig. 2), and what is not in the
paper.

`--documents` trains on a random sample of the training split. `--held-out 0.15`
evaluates on that share of the training split instead of the test split. `--seeds 3`
trains three models a row, and the row holds their mean. Every parameter of the
classifier can be given. The results file is written after each row. Rows that it
already contains are not trained again, unless `--rows` names them.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from _common import RESULTS, parse_parameters, split_data, write_json

from skxmc import (
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc._efforts import LIGHTXML
from skxmc.datasets import load_icd10cm, load_xmc_repository
from skxmc.metrics import propensity, ranking_report

METRICS = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5")
# Medium effort of LightXML.
_READ_ONCE = LIGHTXML["medium"]
_HEADS = _READ_ONCE | dict(neighbor_weight=0)
# Eq. 2 to 8 of GUDN, on texts and names that are read once, so that 20 epochs are fast.
_PAPER = dict(
    variant="paper",
    feature_reduction="sum",
    loss_reduction="sum",
    feature_weight=1 / 8,
    batch_size=8,
    max_epochs=20,
    trained_layers=0,
)
ROWS = {
    # The paper's label features are the words of label texts.
    "grank": {
        "X-BCE, no label features": dict(
            loss="bce", label_init="random", label_texts=None
        ),
        "X-GRank, no label features": dict(label_init="random", label_texts=None),
        "X-BCE, label features": dict(loss="bce", label_init="random"),
        "X-GRank, label features": dict(label_init="random"),
        "BCE, vectors of texts and documents": dict(loss="bce"),
        "GRank, vectors of texts and documents": {},
    },
    # How much of the encoder is trained, and for how long, beside words and neighbours.
    "grank-layers": {
        f"{layers} layers, {epochs} epochs": dict(
            trained_layers=layers, max_epochs=epochs
        )
        for layers, epochs in [
            *((0, 8), (0, 16), (1, 8), (1, 16), (2, 4), (2, 8), (2, 16), (3, 8)),
            *(("all", 4), ("all", 8)),
        ]
    },
    # Without the votes of neighbors, which make all heads more alike.
    "grank-heads": {
        "dense": dict(neighbor_weight=0, head="dense"),
        "all labels": dict(neighbor_weight=0, head="all"),
        "all labels, without n_negatives": dict(
            neighbor_weight=0, head="all", n_negatives=None, label_learning_rate=None
        ),
        "clusters": dict(neighbor_weight=0, head="clusters"),
    },
    "lightxml": {
        "dynamic negatives": {},
        # As many epochs as both phases of static negatives have together.
        "dynamic negatives, 6 epochs": dict(max_epochs=6),
        "static negatives, own encoder": dict(
            negatives="static", ranking_encoder="own"
        ),
        "static negatives, frozen encoder": dict(negatives="static"),
        "uniform negatives": dict(negatives="uniform"),
        "one layer": dict(n_layers=1),
    },
    "lightxml-heads": {
        "dense": _HEADS | dict(head="dense"),
        "all labels": _HEADS | dict(head="all"),
        "all labels, AdamW": _HEADS | dict(head="all", head_optimizer="adamw"),
        "clusters": _HEADS | dict(head="clusters"),
    },
    "lightdxml": {
        "defaults": {},
        "label encoder, 1 epoch": dict(label_epochs=1),
        "label encoder, 4 epochs": dict(label_epochs=4),
        "label encoder, 8 epochs": dict(label_epochs=8),
        "one turn": dict(refresh_every=None),
        "a turn every 2 epochs": dict(refresh_every=2),
        "beta 0": dict(beta=0),
        "beta 0.25": dict(beta=0.25),
        "beta 0.5": dict(beta=0.5),
        "beta 0.75": dict(beta=0.75),
        "beta 1": dict(beta=1),
        "no label texts": dict(label_texts=None),
        "label texts like documents": dict(label_text_negatives=1),
        "words and pairs": dict(ngram_range=(1, 2)),
        "100 labels at prediction": dict(predict_shortlist=100),
        "5 epochs": dict(max_epochs=5),
        "20 epochs": dict(max_epochs=20),
    },
    "gudn": {
        "no guide": dict(feature_weight=0, link_weight=0),
        "feature guide": dict(link_weight=0),
        "link guide": dict(feature_weight=0),
        "both guides": {},
        "both, label columns": dict(label_branch="multi-hot"),
        "both, names once": dict(label_reinforcement=None),
        "both, names repeated": dict(label_reinforcement="repeat"),
        "random start, no guide": dict(
            label_init="random", feature_weight=0, link_weight=0
        ),
        "random start, both guides": dict(label_init="random"),
        "read once, no guide": _READ_ONCE | dict(feature_weight=0, link_weight=0),
        "read once, link guide": _READ_ONCE | dict(feature_weight=0),
        "read once, both guides": _READ_ONCE,
        "read once, link guide of weight 0.1": _READ_ONCE
        | dict(feature_weight=0, link_weight=0.1),
        "paper's parts, relu": _PAPER,
        "paper's parts, softmax": _PAPER | dict(classifier_activation="softmax"),
    },
    "gudn-lengths": {
        f"{length} tokens": dict(max_length=length) for length in (64, 128, 256, 512)
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
        "random label vectors, the paper's rate": dict(
            label_init="random",
            learning_rate=1e-4,
            head_learning_rate=1e-4,
            schedule="constant",
            batch_size=8,
            max_epochs=5,
        ),
    },
}
CLASSES = {
    "grank": GRankClassifier,
    "grank-heads": GRankClassifier,
    "grank-layers": GRankClassifier,
    "lightdxml": LightDXMLClassifier,
    "lightxml": LightXMLClassifier,
    "lightxml-heads": LightXMLClassifier,
    "gudn": GUDNClassifier,
    "gudn-lengths": GUDNClassifier,
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
    parser.add_argument("--seeds", type=int, default=1, help="models a row")
    parser.add_argument("--name", help="name of the file in benchmarks/results")
    return parse_parameters(parser)


def main():
    options, parameters = parse()
    if options.data == "icd10cm":
        data = load_icd10cm(chapters=options.chapters)
    else:
        data = load_xmc_repository(options.data)
    texts, test_texts, Y, Y_test, split = split_data(data, options.held_out)
    if options.documents:
        rows = np.random.default_rng(0).permutation(len(texts))[: options.documents]
        texts, Y = [texts[i] for i in rows], Y[rows]
    given = dict(label_texts=data.label_names, random_state=0) | parameters
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
    if options.seeds > 1:
        about["seeds"] = options.seeds
    file = options.name or f"ablations-{options.system}-{data_name}"
    rows = measured(file, about)
    wanted = options.rows or [r for r in ROWS[options.system] if r not in rows]
    for name in wanted:
        runs = []
        for seed in range(options.seeds):
            changed = ROWS[options.system][name] | seeded(given, seed)
            model = CLASSES[options.system](**given | changed)
            runs.append(run(model, texts, Y, test_texts, Y_test))
        rows[name] = summarize(runs)
        print(f"{name:<34}", *list(rows[name].values())[:-1], flush=True)
        ordered = {r: rows[r] for r in ROWS[options.system] if r in rows}
        write_json(file, {**about, "rows": ordered})


def seeded(given, seed):
    return {"random_state": given["random_state"] + seed}


def run(model, texts, Y, test_texts, Y_test):
    """Fit and evaluate: metrics in %, cost, and the losses of each epoch."""
    start = time.process_time()
    model.fit(texts, Y)
    fitted = time.process_time()
    ids, _ = model.predict_topk(test_texts, 5)
    seconds = time.process_time() - fitted
    report = ranking_report(Y_test, ids, (1, 3, 5), propensity(Y))
    weights = sum(p.numel() for p in model.network_.parameters())
    return {metric: 100 * float(report[metric]) for metric in METRICS} | {
        "fit_core_minutes": (fitted - start) / 60,
        "predict_core_ms": 1e3 * seconds / len(test_texts),
        "weights_MB": 4e-6 * weights,
        "epochs": model.history_,
    }


def summarize(runs):
    """Mean of each number over runs, P@5 of each, and the epochs of the first run."""
    row = {
        name: round(float(np.mean([each[name] for each in runs])), 2)
        for name in runs[0]
        if name != "epochs"
    }
    if len(runs) > 1:
        row["P@5 of each"] = [round(each["P@5"], 2) for each in runs]
    return row | {"epochs": runs[0]["epochs"]}


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
