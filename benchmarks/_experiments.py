"""The tables and figures of the papers that report results, and how to run them."""

from typing import NamedTuple

from _settings import PAPERS, SETTINGS, refusal


class Experiment(NamedTuple):
    """A table or a figure of a paper.

    Parameters
    ----------
    place : str
        Its number in the paper.
    about : str
        What it reports.
    datasets : tuple of str
        The data sets that it has and papers.py knows.
    options : tuple of str
        Options of papers.py, one string for each command.
    rows : tuple of str
        Values of --row, each of which is one more command.
    offline : str
        A script and its arguments that measure the same on data that come with the
        package, or nothing.
    missing : str
        What cannot be run, or nothing.
    note : str
        What else a reader should know, or nothing.
    """

    place: str
    about: str
    datasets: tuple
    options: tuple = ("",)
    rows: tuple = ()
    offline: str = ""
    missing: str = ""
    note: str = ""


_SMALL = ("Eurlex-4K", "AmazonCat-13K", "Wiki10-31K")
_LARGE = ("Wiki-500K", "Amazon-670K")
_OF_ABLATION = ("Eurlex-4K", "Wiki10-31K")  # X-GRank
_OF_LIGHTDXML = tuple(SETTINGS["lightdxml"])
_OF_GUDN = tuple(SETTINGS["gudn"])
_OF_TREADERXML = tuple(SETTINGS["treaderxml"])
_TIMES = "Times depend on the machine, and the paper's had GPUs."
_PLOT = "The figure is a plot, whose numbers the paper does not state."

EXPERIMENTS = {
    "lightxml": (
        Experiment("Table 3", "P@k of ensembles", _SMALL + _LARGE, ("--ensemble",)),
        Experiment("Table 4", "P@k of single models", _LARGE),
        Experiment(
            "Table 5",
            "dynamic and static negatives",
            _LARGE,
            rows=("static", "static-two-encoders"),
            offline="ablations.py lightxml icd10cm --chapters 1 2",
        ),
        Experiment(
            "Table 6",
            "hours of training, ms of prediction, size",
            _LARGE,
            note=_TIMES,
        ),
        Experiment(
            "Fig. 2",
            "training loss with the states of one layer and of five",
            _LARGE,
            rows=("one-layer",),
            offline="ablations.py lightxml icd10cm --chapters 1",
            note=_PLOT + " The results file has the loss of each epoch.",
        ),
    ),
    "grank": (
        Experiment(
            "Fig. 3",
            "recall of the retrieved labels",
            _LARGE,
            note="The paper states one number of this plot.",
        ),
        Experiment("Table III", "P@k of ensembles", _SMALL + _LARGE, ("--ensemble",)),
        Experiment(
            "Table IV",
            "GRank against BCE, with and without label texts",
            _OF_ABLATION,
            ("", "--no-label-texts"),
            rows=("bce", "bce-label-texts"),
            offline="ablations.py grank icd10cm --chapters 1 2",
        ),
        Experiment("Table V", "PSP@k of ensembles", _SMALL + _LARGE, ("--ensemble",)),
        Experiment(
            "Table VI",
            "ms of training and prediction, size, at 128 tokens",
            _LARGE,
            ("--max-length 128",),
            note=_TIMES,
        ),
    ),
    "lightdxml": (
        Experiment(
            "Table II",
            "P@k, PSP@k, seconds of training, size, ms of prediction",
            _OF_LIGHTDXML,
            ("", "--released-code"),
            missing="fastText vectors for three data sets (--token-vectors FILE)",
        ),
        Experiment(
            "Table IV",
            "seconds of each module",
            ("EURLex-4K", "Wiki10-31K", "WikiSeeAlsoTitles-350K"),
            offline="lightdxml.py --data icd10cm --chapters 1 2 --effort paper",
            note=_TIMES,
        ),
        Experiment(
            "Fig. 2",
            "P@1 and PSP@1 by beta and by the number of epochs",
            _OF_LIGHTDXML,
            tuple(f"--beta {beta}" for beta in (0, 0.25, 0.5, 0.75, 1))
            + tuple(f"--max-epochs {n}" for n in (6, 11, 16, 21, 26)),
            offline="ablations.py lightdxml icd10cm --chapters 1 2",
            note=_PLOT,
        ),
        Experiment(
            "Sec. IV-G",
            "a re-ranker, which gains nothing",
            (),
            (),
            offline="reranker.py icd10cm --chapters 1 2",
            note="The paper states no numbers.",
        ),
    ),
    "gudn": (
        Experiment("Table 2", "P@k, mean of three runs", _OF_GUDN),
        Experiment("Table 3", "nDCG@k, mean of three runs", _OF_GUDN),
        Experiment("Table 4", "PSP@k, mean of three runs", _OF_GUDN),
        Experiment(
            "Table 5",
            "size and minutes of an epoch",
            _OF_GUDN,
            note=_TIMES,
        ),
        Experiment(
            "Table 6",
            "each guide alone, and none",
            _OF_GUDN,
            rows=("bert", "feature-guide", "link-guide"),
            offline="ablations.py gudn icd10cm --chapters 1 2",
        ),
        Experiment(
            "Table 7",
            "multi-hot vectors of labels instead of names",
            _OF_GUDN,
            rows=("bert", "multi-hot"),
            offline="ablations.py gudn icd10cm --chapters 1 2",
            note="Its column of raw labels agrees with Table 6 on two data sets only.",
        ),
        Experiment(
            "Table 8",
            "Longformer with texts of 512 to 4,096 tokens",
            _OF_GUDN,
            (),
            rows=tuple(f"longformer-{n}" for n in (512, 1024, 2048, 4096)),
            offline="ablations.py gudn-lengths DIR/biotools-edam",
        ),
        Experiment(
            "Fig. 5",
            "names in a new order, in the same order, and once",
            _OF_GUDN,
            rows=("names-repeated", "names-once"),
            offline="ablations.py gudn icd10cm --chapters 1 2",
            note=_PLOT,
        ),
        Experiment(
            "Fig. 6",
            "feature loss by epoch, with names and with multi-hot vectors",
            _OF_GUDN,
            rows=("multi-hot",),
            offline="ablations.py gudn icd10cm --chapters 1 2",
            note=_PLOT + " The results file has the feature loss of each epoch.",
        ),
    ),
    "treaderxml": (
        Experiment(
            "Table 2",
            "P@k and nDCG@k",
            _OF_TREADERXML,
            missing="the paper's GloVe and word2vec vectors (--token-vectors FILE)",
        ),
        Experiment(
            "Table 3",
            "without parts of the network",
            ("AmazonCat-13K",),
            rows=tuple(f"config-{i}" for i in range(6)),
            offline="ablations.py treaderxml icd10cm --chapters 1 2",
        ),
        Experiment("Table 4", "PSP@k", ("AmazonCat-13K",)),
    ),
}


def commands(system, experiment):
    """Return the commands of an experiment, with DATASET and DIR in them."""
    rows = tuple(f"--row {row}" for row in experiment.rows)
    # "For every experiment, we repeated three times" (Sec. 4 of GUDN).
    runs = "--runs 3" if system == "gudn" else ""
    start = f"python benchmarks/papers.py --system {system} --dataset DATASET"
    return [
        " ".join(filter(None, (f"{start} --data DIR", words, runs)))
        for words in experiment.options + rows
    ]


def missing(system, experiment):
    """Return what an experiment lacks, as a list of sentences or phrases."""
    found = [experiment.missing] if experiment.missing else []
    for row in experiment.rows:
        reason = refusal(system, experiment.datasets[0], row)
        if reason:
            found.append(f"--row {row}: {reason}")
    return found


def describe():
    """Return the list of all experiments as text."""
    lines = ["DIR holds the data set DATASET, which does not come with the package."]
    for system, experiments in EXPERIMENTS.items():
        lines += ["", PAPERS[system]]
        for experiment in experiments:
            lines.append(f"  {experiment.place}: {experiment.about}")
            lines += [f"    {line}" for line in commands(system, experiment)]
            if experiment.datasets:
                lines.append(f"    DATASET: {', '.join(experiment.datasets)}")
            if experiment.offline:
                lines.append(f"    other data: python benchmarks/{experiment.offline}")
            lines += [f"    missing: {text}" for text in missing(system, experiment)]
            if experiment.note:
                lines.append(f"    note: {experiment.note}")
    return "\n".join(lines)
