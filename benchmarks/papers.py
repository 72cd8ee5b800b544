"""Train with a paper's settings on its data sets, and compare with its results.

    python benchmarks/papers.py --system lightxml --dataset Eurlex-4K --data DIR
    python benchmarks/papers.py --system grank --dataset Wiki-500K --data DIR --ensemble
    python benchmarks/papers.py --system gudn --dataset Wiki10-31K --data DIR --runs 3
    python benchmarks/papers.py --system grank --dataset Eurlex-4K --data DIR --row bce
    python benchmarks/papers.py --list

DIR holds texts and labels in a raw layout of `skxmc.datasets.load_xmc_repository`. For
lightdxml it may also have the features layout, and for treaderxml it may also hold the
parents of labels. One model is trained. With --ensemble, the three models of LightXML
or X-GRank are: with three encoders on the data sets with up to 31,000 labels, and with
three clusterings of the labels on larger ones. --row trains a row of the paper's
ablations. Any parameter of the classifier can be given another value than the paper's
(`--max-epochs 3`).

--list prints the tables and figures of all papers, with the command for each of them,
and with what is missing.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _common import parse_parameters, write_json
from _comparison import (
    compare,
    compare_costs,
    compare_modules,
    compare_recall,
    costs,
    mean,
)
from _experiments import describe
from _modules import timed_modules
from _published import (
    COUNTS_COLUMNS,
    METRICS,
    PROPENSITY,
    STATISTICS,
    WITHOUT_LABEL_TEXTS,
    statistics,
)
from _settings import (
    CLASSES,
    ENCODERS,
    PAPERS,
    RELEASED_CODE,
    ROWS,
    SCALES,
    SETTINGS,
    WITH_ENSEMBLES,
    WITHOUT_ENCODER,
    is_clustered,
    refusal,
    settings,
)
from sklearn.preprocessing import normalize

from skxmc import EnsembleClassifier
from skxmc.datasets import load_xmc_repository
from skxmc.metrics import propensity, ranking_report, recall_at_k

# Numbers of retrieved labels whose recall is measured (Fig. 3 of X-GRank).
RETRIEVED = (64, 128, 256, 512)


class _List(argparse.Action):
    """Print what the papers report, and end."""

    def __call__(self, parser, *_):
        print(describe())
        parser.exit()


def parse(argv=None):
    """Return the options, and the classifier's parameters that were given."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], allow_abbrev=False
    )
    parser.add_argument("--list", action=_List, nargs=0, help="print all experiments")
    parser.add_argument("--system", required=True, choices=CLASSES)
    parser.add_argument("--dataset", required=True, help="the paper's name of it")
    parser.add_argument("--data", required=True, help="folder with the data set")
    parser.add_argument("--ensemble", action="store_true")
    parser.add_argument("--row", help="a row of the paper's ablations (see --list)")
    parser.add_argument(
        "--encoder",
        nargs="+",
        help="bert, roberta, xlnet, a name on the hub, or a folder",
    )
    parser.add_argument("--random-state", type=int, default=0)
    parser.add_argument(
        "--runs", type=int, default=1, help="runs with other seeds, to be averaged"
    )
    parser.add_argument("--no-label-texts", action="store_true")
    parser.add_argument(
        "--released-code", action="store_true", help=", ".join(RELEASED_CODE)
    )
    parser.add_argument("--name", help="name of the file in benchmarks/results")
    options, parameters = parse_parameters(parser, argv)
    try:
        check(options, parameters)
        options.encoder = encoders(options)
    except ValueError as error:
        parser.error(str(error))
    return options, parameters


def check(options, parameters):
    """Refuse what the paper does not have, or what the classifier cannot do."""
    system, dataset, row = options.system, options.dataset, options.row
    if dataset not in SETTINGS[system]:
        known = ", ".join(SETTINGS[system])
        raise ValueError(f"--dataset {dataset}: for {system} there are {known}")
    if row is not None and row not in ROWS[system]:
        known = ", ".join(ROWS[system]) or "none"
        raise ValueError(f"--row {row}: for {system} there are {known}")
    if row is not None and options.ensemble:
        raise ValueError("--row: rows of ablations are single models, not ensembles")
    if options.runs < 1:
        raise ValueError(f"--runs {options.runs}: at least 1")
    unknown = sorted(parameters.keys() - CLASSES[system]().get_params().keys())
    if unknown:
        name = CLASSES[system].__name__
        raise ValueError(f"{name} has no parameter {', '.join(unknown)}")
    if options.released_code and system not in RELEASED_CODE:
        raise ValueError(f"--released-code: that of {PAPERS[system]} is not public")
    paper = PAPERS[system]
    if system not in WITH_ENSEMBLES and options.ensemble:
        raise ValueError(f"--ensemble: the paper of {paper} has single models only")
    if system in WITHOUT_ENCODER and options.encoder:
        raise ValueError(f"--encoder: {paper} has none, it uses word vectors")
    if row is not None and (reason := refusal(system, dataset, row)):
        raise ValueError(f"--row {row}: {reason}")


def encoders(options):
    """Encoders to train: three for an ensemble without clusters, otherwise one."""
    if options.system in WITHOUT_ENCODER:
        return []
    several = options.ensemble and not is_clustered(options.system, options.dataset)
    wanted = len(ENCODERS) if several else 1
    of_row = ROWS[options.system].get(options.row, {}).get("encoder")
    names = options.encoder or [of_row or name for name in ENCODERS][:wanted]
    if len(names) != wanted or len({Path(name).name for name in names}) != wanted:
        raise ValueError(f"--encoder: {wanted} of different names wanted, got {names}")
    return [ENCODERS.get(name, name) for name in names]


def members(options, parameters, run=0):
    """Parameters of each model of a run, by the name of the model."""
    trees = options.ensemble and is_clustered(options.system, options.dataset)
    seed = options.random_state + run * (3 if trees else 1)
    if options.system in WITHOUT_ENCODER:
        drawn = {"model": (None, seed)}
    elif trees:
        # Among other things, the seed determines the first centres of the clusters.
        drawn = {f"tree-{i}": (options.encoder[0], seed + i) for i in range(3)}
    else:
        drawn = {Path(e).name: (e, seed) for e in options.encoder}
    given = dict(row=options.row, released_code=options.released_code)
    return {
        name: settings(options.system, options.dataset, encoder, **given)
        | {"random_state": seed}
        | parameters
        for name, (encoder, seed) in drawn.items()
    }


def load(folder, system):
    """The data set, with the system's documents as docs_train and docs_test.

    Labels without documents are left out if the paper does not count them.
    """
    data = load_xmc_repository(folder)
    data.docs_train, data.docs_test = data.texts_train, data.texts_test
    if data.texts_train is None:
        if system != "lightdxml":
            raise ValueError(
                f"{folder} holds features, but the papers' encoders need texts. Give a "
                "folder with trn.json and tst.json, or with train_texts.txt and "
                "test_texts.txt."
            )
        # Rows are scaled to length 1, as in the released code.
        data.docs_train = normalize(data.X_train)
        data.docs_test = None if data.X_test is None else normalize(data.X_test)
    if data.docs_test is None:
        raise ValueError(
            f"{folder} has no test split (tst.json, test_texts.txt, or test.txt)."
        )
    if system not in COUNTS_COLUMNS:
        used = np.union1d(data.Y_train.indices, data.Y_test.indices)
        data.Y_train, data.Y_test = data.Y_train[:, used], data.Y_test[:, used]
        if data.label_names is not None:
            data.label_names = [data.label_names[j] for j in used]
        if data.label_parents is not None:
            data.label_parents = data.label_parents[used]
    return data


def found_statistics(data):
    """What the paper states about a data set, counted in the folder."""
    (n_train, n_labels), n_test = data.Y_train.shape, data.Y_test.shape[0]
    found = statistics(n_train, n_test, n_labels, round(data.Y_train.nnz / n_train, 4))
    return found if data.X_train is None else found | {"V": data.X_train.shape[1]}


def differing(published, found):
    """Names of statistics that differ: counts at all, means by more than 0.01.

    Statistics that the paper does not state are skipped, and so is V for texts.
    """
    both = [name for name in published if name in found]
    allowed = {name: 0.0101 * isinstance(published[name], float) for name in both}
    return [n for n in both if abs(found[n] - published[n]) > allowed[n]]


def warning(published, found):
    """A warning about statistics that differ, or None."""
    lines = [
        f"  {name}: published {published[name]:,}, found {found[name]:,}"
        for name in differing(published, found)
    ]
    head = "WARNING: this is not the paper's data set, the rows cannot be compared:"
    return "\n".join([head, *lines]) if lines else None


def label_texts(options, data):
    """Label texts or None, and a message about them or None."""
    system = options.system
    if system in ("lightxml", "lightdxml"):
        return None, None
    reason = None
    if system == "grank" and options.dataset in WITHOUT_LABEL_TEXTS:
        reason = f"the paper has none for {options.dataset}"
    elif options.no_label_texts:
        reason = "--no-label-texts"
    elif options.row == "bce":
        reason = "the paper's X-BCE has none"
    elif data.label_names is None:
        reason = f"{options.data} has no label names"
    if reason:
        instead = {
            "grank": "identity embeddings only",
            "gudn": "the guide uses label columns",
            "treaderxml": "labels are described by top terms of their documents",
        }
        return None, f"No label texts ({reason}): {instead[system]}."
    # Names such as anti-dumping_duty would otherwise be a single word.
    texts = [name.replace("_", " ") for name in data.label_names]
    return texts, "Label texts: the label names of the folder."


def build(system, models, given):
    """One classifier, or an ensemble of several."""
    models = [
        (name, CLASSES[system](**given | model)) for name, model in models.items()
    ]
    if len(models) == 1:
        return models[0][1]
    return EnsembleClassifier(models, scale=SCALES[system], verbose=given["verbose"])


def measure(model, data, dataset):
    """Fit and evaluate. Return metrics in %, times and sizes."""
    start, start_cpu = time.perf_counter(), time.process_time()
    with timed_modules() as seconds:
        model.fit(data.docs_train, data.Y_train)
    fitted, fitted_cpu = time.perf_counter(), time.process_time()
    ids, _ = model.predict_topk(data.docs_test, 5)
    predicted = time.perf_counter()
    p = propensity(data.Y_train, **PROPENSITY.get(dataset, {}))
    report = ranking_report(data.Y_test, ids, (1, 3, 5), p)
    gpu = torch.cuda.is_available()
    n_test = data.Y_test.shape[0]
    return {
        "metrics": {name: round(100 * float(report[name]), 2) for name in METRICS},
        "recall": retrieval(model, data),
        "fit_s": round(fitted - start, 3),
        "modules": {name: round(value, 2) for name, value in seconds.items()},
        "fit_core_minutes": round((fitted_cpu - start_cpu) / 60, 1),
        "predict_ms_a_document": round(1e3 * (predicted - fitted) / n_test, 3),
        "model_MiB": folder_size(model),
        "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "peak_GPU_MB": torch.cuda.max_memory_allocated() >> 20 if gpu else None,
    }


def retrieval(model, data):
    """Recall of the retrieved labels in %. Empty if a model ranks all labels."""
    if not getattr(getattr(model, "network_", None), "has_shortlist", False):
        return {}
    ids = model.shortlist(data.docs_test, RETRIEVED[-1])
    recalls = recall_at_k(data.Y_test, ids, k=RETRIEVED)
    pairs = zip(RETRIEVED, recalls, strict=True)
    return {f"R@{k}": round(100 * float(recall), 2) for k, recall in pairs}


def folder_size(model):
    """Size of the model's folder in MiB. None if there is no room to save it."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(Path(folder, "model"))
            files = Path(folder).rglob("*")
            return round(sum(f.stat().st_size for f in files if f.is_file()) / 2**20, 3)
    except OSError:  # the results of hours of training are worth more than this number
        return None


def name_of_results(options, parameters):
    """A name that tells runs with other options or parameters apart."""
    flags = ("ensemble", "no_label_texts", "released_code")
    words = ["papers", options.system, options.dataset, options.row]
    words += [flag.replace("_", "-") for flag in flags if getattr(options, flag)]
    for name, value in parameters.items():
        words += [name.replace("_", "-"), Path(str(value)).name]
    return "-".join(filter(None, words))[:200]


def main(argv=None):
    """Run the command. Return the path of the results."""
    options, parameters = parse(argv)
    system, dataset = options.system, options.dataset
    verbose = parameters.pop("verbose", 1)
    try:
        data = load(options.data, system)
    except (OSError, ValueError) as error:
        sys.exit(f"papers.py: {error}")
    published, found = STATISTICS[system][dataset], found_statistics(data)
    warned = warning(published, found)
    texts, about_texts = label_texts(options, data)
    for line in filter(None, (warned, about_texts)):
        print(line, flush=True)

    given = dict(label_texts=texts, verbose=verbose)
    if system == "treaderxml" and data.label_parents is None:
        print(f"{options.data} has no parents of labels: clusters take their place.")
    elif system == "treaderxml":
        given |= dict(label_parents=data.label_parents, parent_texts=data.parent_names)

    runs = []
    for run in range(options.runs):
        models = members(options, parameters, run)
        model = build(system, models, given)
        measured = measure(model, data, dataset)
        fitted = getattr(model, "estimators_", [model])
        history = {
            name: member.history_ for name, member in zip(models, fitted, strict=True)
        }
        n_epochs = sum(map(len, history.values()))
        measured["costs"] = costs(measured, found["N train"], n_epochs)
        runs.append({"settings": models, "measured": measured, "epochs": history})

    n_tests = f"{found['N test']:,} documents"
    if "N test" in published:
        n_tests += f" (the paper: {published['N test']:,})"
    print(f"\n{PAPERS[system]} on {dataset}: test split, {n_tests}")
    metrics = mean([run["measured"]["metrics"] for run in runs])
    rows = compare(options, texts, metrics)
    recall_rows = compare_recall(options, mean([r["measured"]["recall"] for r in runs]))
    cost_rows = compare_costs(options, mean([r["measured"]["costs"] for r in runs]))
    module_rows = compare_modules(
        options, mean([r["measured"]["modules"] for r in runs])
    )
    if warned:  # printed again, since training can take hours
        print(warned)
    result = {
        "system": system,
        "dataset": dataset,
        "row": options.row,
        "data": Path(options.data).name,
        "split": "test",
        "rows": rows,
        "recall": recall_rows,
        "costs": cost_rows,
        "modules": module_rows,
        "statistics": {
            "published": published,
            "found": found,
            "differing": differing(published, found),
        },
        "released_code": options.released_code,
        "label_texts": texts is not None,
        "scale": getattr(model, "scale", None),
        "propensity": PROPENSITY.get(dataset, dict(a=0.55, b=1.5)),
        "runs": runs,
    }
    return write_json(options.name or name_of_results(options, parameters), result)


if __name__ == "__main__":
    main()
