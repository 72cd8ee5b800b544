"""Ranking quality and cost of a classifier on real data.

    python benchmarks/quality.py icd10cm --max-length 24 --max-epochs 6
    python benchmarks/quality.py DIR --max-length 96 --max-epochs 5

DIR holds a data set in a layout of `skxmc.datasets.load_xmc_repository`. Every
parameter of the classifier can be given. Choices between models must be made on a part
of the training split: `--held-out 0.1` evaluates on such a part instead of on the test
split, to choose parameters by hand.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import numpy as np
from _common import parse_parameters, split_data, write_json

import skxmc
from skxmc.datasets import load_icd10cm, load_xmc_repository
from skxmc.metrics import propensity, ranking_report


def load(name):
    """Load a data set, and what it says of its labels, by parameters of classifiers."""
    data = load_icd10cm() if name == "icd10cm" else load_xmc_repository(name)
    about = {"label_texts": data.label_names}
    if data.label_parents is not None:
        about["label_parents"] = data.label_parents
        about["parent_texts"] = data.get("parent_names")
    return data, about


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("data", help="icd10cm, or a folder with a data set")
    parser.add_argument("--system", default="GRankClassifier")
    parser.add_argument("--effort", help="set of parameters: low, medium, high, paper")
    parser.add_argument("--no-label-texts", action="store_true")
    parser.add_argument("--held-out", type=float, default=0.0)
    parser.add_argument("--name", help="name of the file in benchmarks/results")
    return parse_parameters(parser)


def main():
    options, parameters = parse()
    data, about = load(options.data)
    texts, test_texts, Y, Y_test, split = split_data(data, options.held_out)
    system = getattr(skxmc, options.system)
    if not options.no_label_texts:
        known = system().get_params()
        about = {name: value for name, value in about.items() if name in known}
        parameters = about | parameters
    parameters.setdefault("random_state", 0)
    parameters.setdefault("verbose", 1)
    model = (
        system.with_effort(options.effort, **parameters)
        if options.effort
        else system(**parameters)
    )

    start, start_cpu = time.perf_counter(), time.process_time()
    model.fit(texts, Y)
    fitted, fitted_cpu = time.perf_counter(), time.process_time()
    ids, _ = model.predict_topk(test_texts, 100)
    predicted = time.perf_counter()

    report = ranking_report(Y_test, ids, (1, 3, 5), propensity(Y))
    report |= ranking_report(Y_test, ids, (10, 100))
    # Test documents that repeat a training document can be answered from memory.
    known = set(texts)
    new = np.array([text not in known for text in test_texts])
    report_new = ranking_report(Y_test[new], ids[new], (1, 5), propensity(Y))
    kept = ["P@1", "P@3", "P@5", "nDCG@3", "nDCG@5", "PSP@1", "PSP@3", "PSP@5"]
    kept += ["R@10", "R@100"]
    for name in about:
        parameters.pop(name, None)
    weights = sum(p.numel() for p in model.network_.parameters())
    result = {
        "data": Path(options.data).name,
        "split": split,
        "system": options.system,
        "effort": options.effort,
        "label_texts": not options.no_label_texts,
        "parameters": parameters,
        "metrics": {name: round(100 * float(report[name]), 2) for name in kept},
        "repeated_test_documents": int((~new).sum()),
        "metrics_without_repeated": {
            name: round(100 * float(report_new[name]), 2)
            for name in ("P@1", "P@5", "PSP@1", "PSP@5")
        },
        "neighbor_weight": model.neighbor_weight_,
        "held_out_P@5_by_epoch": [e.get("score") for e in model.history_],
        "fit_s": round(fitted - start, 1),
        "fit_core_minutes": round((fitted_cpu - start_cpu) / 60, 1),
        "predict_ms_a_document": round(1e3 * (predicted - fitted) / len(test_texts), 2),
        "weights_MB": round(4e-6 * weights, 1),
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "mean_test_labels": round(float(np.diff(Y_test.indptr).mean()), 2),
    }
    print(json.dumps(result["metrics"]))
    write_json(options.name or f"quality-{result['data']}", result)


if __name__ == "__main__":
    main()
