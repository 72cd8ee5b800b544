"""LightDXML with hundreds of thousands of labels: time of each phase, peak memory.

    python benchmarks/lightdxml.py
    python benchmarks/lightdxml.py --data icd10cm --chapters 1 2 --effort paper

The documents are short and synthetic, with a Zipf distribution of labels, unless
`--data` names icd10cm or a folder with a data set. The classifier's own fit is timed,
in seconds, or in CPU seconds with `--data`: TF-IDF, word vectors, the turns of the
cycle, and the epochs. Without `--effort`, there are one epoch and the turn that
predictions use. "modules" are those of Table IV of the paper. Then predictions are
timed, in batches and one at a time, including TF-IDF. Peak memory is that of the whole
process, including the data.
"""

import argparse
import resource
import time
from collections import defaultdict
from contextlib import contextmanager

import numpy as np
from _common import parse_parameters, write_json

import skxmc.lightdxml
from skxmc import LightDXMLClassifier
from skxmc.datasets import load_icd10cm, load_xmc_repository, make_xmc

SHORTLISTS = "shortlists, with their index"


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--data", help="icd10cm, or a folder with a data set")
    parser.add_argument("--chapters", type=int, nargs="+", help="of icd10cm")
    parser.add_argument("--effort", help="set of parameters: paper")
    parser.add_argument("--labels", type=int, default=670_091)
    parser.add_argument("--documents", type=int, default=485_176)
    parser.add_argument("--words", type=int, default=66_666)
    parser.add_argument("--words-per-doc", type=int, default=8)
    parser.add_argument("--labels-per-doc", type=float, default=5.4)
    parser.add_argument(
        "--batched", type=int, default=2048, help="documents predicted in batches"
    )
    parser.add_argument(
        "--singles", type=int, default=500, help="documents predicted one at a time"
    )
    parser.add_argument(
        "--name", default="lightdxml", help="name of the file in results"
    )
    return parse_parameters(parser)


@contextmanager
def stopwatch(places, clock):
    """Time the calls of functions (owner, name, title): lists of seconds by title."""
    seconds, kept = defaultdict(list), [vars(owner)[name] for owner, name, _ in places]

    def timed(function, title):
        def call(*args, **options):
            start = clock()
            try:
                return function(*args, **options)
            finally:
                seconds[title].append(round(clock() - start, 2))

        return call

    for (owner, name, title), function in zip(places, kept, strict=True):
        setattr(owner, name, timed(function, title))
    try:
        yield seconds
    finally:
        for (owner, name, _), function in zip(places, kept, strict=True):
            setattr(owner, name, function)


def load(options):
    """Texts and labels."""
    if options.data is None:
        data = make_xmc(
            options.documents,
            options.labels,
            n_words=options.words,
            n_words_per_label=4,
            words_per_doc=options.words_per_doc,
            n_labels_per_doc=options.labels_per_doc,
            return_label_names=False,
            random_state=0,
        )
        return data.texts, data.Y
    if options.data == "icd10cm":
        data = load_icd10cm(chapters=options.chapters)
    else:
        data = load_xmc_repository(options.data)
    return data.texts_train, data.Y_train


def main():
    options, parameters = parse()
    texts, Y = load(options)
    data_MB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    fixed = {"validation_fraction": 0, "random_state": 0, "verbose": 1}
    parameters = fixed | parameters
    if options.effort:
        model = LightDXMLClassifier.with_effort(options.effort, **parameters)
    else:
        parameters = {"max_epochs": 1, "refresh_every": 1} | parameters
        model = LightDXMLClassifier(**parameters)
    module = skxmc.lightdxml
    places = [
        (module, "fit_words", "tfidf"),
        (module, "bag_vectors", "word vectors"),
        (module.ShortlistedExamples, "renew_label_vectors", "label vectors"),
        (module.ShortlistedExamples, "_renew_shortlists", SHORTLISTS),
        (module.LightDXMLNetwork, "search_index", "index"),
    ]
    clock = time.process_time if options.data else time.perf_counter
    start = clock()
    with stopwatch(places, clock) as seconds:
        model.fit(texts, Y)
    fit_s = clock() - start
    index = seconds.pop("index", [])
    # Predictions search the last index; those of training are part of the shortlists.
    seconds["index"] = [s for s in index if s >= 0.1]
    last_index = seconds["index"][len(seconds[SHORTLISTS]) :]
    others = sum(map(sum, seconds.values())) - sum(seconds["index"]) + sum(last_index)
    epochs = fit_s - others
    modules = {
        "1, label vectors": sum(seconds["label vectors"]),
        "2, shortlists": sum(seconds[SHORTLISTS]) + sum(last_index),
        "3 and 4, classifier": epochs,
    }
    peak_MB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10

    texts = texts[: options.batched]
    start = time.perf_counter()
    model.predict_topk(texts, 5)
    batched = (time.perf_counter() - start) / len(texts)
    singles = []
    for i in range(options.singles):
        start = time.perf_counter()
        model.predict_topk([texts[i % len(texts)]], 5)
        singles.append(time.perf_counter() - start)
    median, slow = (1e3 * np.percentile(singles, [50, 99])).round(2).tolist()
    weights = [*model.network_.parameters(), *model.network_.buffers()]
    result = {
        "settings": vars(options) | parameters,
        "labels_with_documents": int((model.label_counts_ > 0).sum()),
        "features": len(model.vectorizer_.vocabulary_),
        "seconds": seconds,
        "rest_of_the_epoch_s": round(epochs, 1),
        "modules_s": {title: round(s, 1) for title, s in modules.items()},
        "fit_s": round(fit_s, 1),
        "data_MB": data_MB,
        "weights_MB": sum(w.nbytes for w in weights) >> 20,
        "peak_MB": peak_MB,
        "batched_ms": round(1e3 * batched, 2),
        "single_median_ms": median,
        "single_99_percent_ms": slow,
    }
    print(result)
    write_json(options.name, result)


if __name__ == "__main__":
    main()
