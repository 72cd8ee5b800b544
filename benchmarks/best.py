"""Ranking quality of an ensemble of three systems, by the weights of its members.

    python benchmarks/best.py icd10cm --max-length 32
    python benchmarks/best.py icd10cm --chapters 1 2 --max-length 24 --held-out 0.15

A GRankClassifier and a LightXMLClassifier train the encoder, with words and neighbours
beside it, and a LightDXMLClassifier reads words alone. With `--held-out` the ensemble
is evaluated on that part of the training split, with every choice of weights below, to
choose among them. Without it, the weights of `--weights` are evaluated on the test
split. A member of weight 0 is not trained.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from _common import split_data, write_json
from quality import load

import skxmc
from skxmc._mean_ranking import mean_ranking
from skxmc.datasets import load_icd10cm
from skxmc.metrics import propensity, ranking_report

WEIGHTS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (1, 1, 1)]
WEIGHTS += [(1, 0, 0.5), (1, 1, 0.5), (2, 1, 0.5), (2, 1, 1), (2, 2, 1)]
SCALES = ("probability", "rank")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="icd10cm, or a folder with a data set")
    parser.add_argument("--chapters", type=int, nargs="+", help="of icd10cm only")
    parser.add_argument("--max-length", type=int, default=32)
    parser.add_argument("--held-out", type=float, default=0.0)
    parser.add_argument("--trained-layers", type=int, help="all layers by default")
    parser.add_argument("--epochs", type=int, nargs=2, default=(4, 4))
    parser.add_argument("--weights", type=float, nargs=3, default=(1, 0, 0.5))
    parser.add_argument("--scale", choices=SCALES, default="probability")
    parser.add_argument("--name", help="name of the file in benchmarks/results")
    return parser.parse_args()


def make(options, about):
    known = dict(label_texts=about["label_texts"], random_state=0)
    parents = {
        name: value for name, value in about.items() if name.startswith("label_parent")
    }
    reads = known | dict(
        max_length=options.max_length, trained_layers=options.trained_layers or "all"
    )
    epochs = options.epochs
    grank = skxmc.GRankClassifier.with_effort("high", max_epochs=epochs[0], **reads)
    lightxml = skxmc.LightXMLClassifier.with_effort(
        "medium", max_epochs=epochs[1], **reads
    )
    lightdxml = skxmc.LightDXMLClassifier(**known)
    for member in (grank, lightxml, lightdxml):
        has = member.get_params()
        member.set_params(**{name: parents[name] for name in parents if name in has})
    return {"grank": grank, "lightxml": lightxml, "lightdxml": lightdxml}


def rescale(scores, scale):
    """What an EnsembleClassifier averages: probabilities, or reciprocals of ranks."""
    if scale == "probability":
        return scores
    return np.where(scores > 0, 1 / np.arange(1, scores.shape[1] + 1), 0)


def main():
    options = parse()
    if options.chapters:
        data = load_icd10cm(chapters=options.chapters)
        about = {"label_texts": data.label_names}
    else:
        data, about = load(options.data)
    texts, test_texts, Y, Y_test, split = split_data(data, options.held_out)
    rankings, seconds = [], {}
    members = make(options, about)
    for (name, member), weight in zip(members.items(), options.weights, strict=True):
        if not weight and not options.held_out:
            rankings.append(None)
            continue
        start = time.process_time()
        member.fit(texts, Y)
        seconds[name] = time.process_time() - start
        print(name, round(seconds[name] / 60, 1), "core-minutes", flush=True)
        rankings.append(member.predict_topk(test_texts, 100))

    choices = [(options.scale, tuple(options.weights))]
    if options.held_out:
        choices = [(scale, weights) for scale in SCALES for weights in WEIGHTS]
    rows, propensities = [], propensity(Y)
    for scale, chosen in choices:
        used = [
            (ranking[0], rescale(ranking[1], scale))
            for ranking, weight in zip(rankings, chosen, strict=True)
            if weight
        ]
        weights = np.array([weight for weight in chosen if weight], float)
        ids, _ = mean_ranking(used, weights, 100, Y.shape[1])
        report = ranking_report(Y_test, ids, (1, 3, 5), propensities)
        report |= ranking_report(Y_test, ids, (10, 100))
        kept = ["P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5", "R@10", "R@100"]
        metrics = {name: round(100 * float(report[name]), 2) for name in kept}
        rows.append({"scale": scale, "weights": chosen, "metrics": metrics})
        print(rows[-1], flush=True)
    data_name = Path(options.data).name
    result = {
        "data": data_name,
        "chapters": options.chapters,
        "split": split,
        "settings": vars(options),
        "core_minutes": {name: round(s / 60, 1) for name, s in seconds.items()},
        "fit_core_minutes": round(sum(seconds.values()) / 60, 1),
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "mean_test_labels": round(float(np.diff(Y_test.indptr).mean()), 2),
        "rows": rows,
    }
    write_json(options.name or f"best-{data_name}", result)


if __name__ == "__main__":
    main()
