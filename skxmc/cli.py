"""The command line: train, predict, evaluate, inspect."""

import ast
import contextlib
import json
import sys
from pathlib import Path

import click
import numpy as np

SYSTEMS = {
    "grank": "GRankClassifier",
    "gudn": "GUDNClassifier",
    "lightdxml": "LightDXMLClassifier",
    "lightxml": "LightXMLClassifier",
    "treaderxml": "TReaderXMLClassifier",
}

_columns = (
    click.option("--text", default="text", show_default=True, help="Column of texts."),
    click.option(
        "--labels", default="labels", show_default=True, help="Column of labels."
    ),
    click.option(
        "--separator",
        default="|",
        show_default=True,
        help="What stands between the labels of a cell.",
    ),
)


def _with_columns(command):
    for option in reversed(_columns):
        command = option(command)
    return command


class _Commands(click.Group):
    """Commands whose errors are messages: 1 is the exit code, of usage 2."""

    def invoke(self, context):
        try:
            return super().invoke(context)
        except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
            if isinstance(error, BrokenPipeError):
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="skxmc")
def main():
    """Extreme multi-label text classification.

    DATA is a table with a column of texts and one of labels (.csv, .tsv, .jsonl,
    .parquet), or a folder in a raw-text layout of the extreme classification
    repository. Results go to standard output, progress to standard error.
    """


@main.command()
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--system", type=click.Choice(sorted(SYSTEMS)), default="grank", show_default=True
)
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter of the classifier, its value as JSON or a word. Repeatable.",
)
@click.option(
    "--label-texts/--no-label-texts",
    default=True,
    show_default=True,
    help="Let the classifier read the names of labels.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@_with_columns
def train(data, model, system, settings, label_texts, quiet, text, labels, separator):
    """Fit a classifier to DATA and save it as the folder MODEL."""
    import skxmc
    from skxmc.persistence import check_target

    parameters = {"random_state": 0, "verbose": 0 if quiet else 1}
    parameters |= dict(map(_setting, settings))
    kind = getattr(skxmc, SYSTEMS[system])
    known = kind().get_params()
    for name in parameters:
        if name not in known:
            raise click.UsageError(
                f"{SYSTEMS[system]} has no parameter {name!r}; there are "
                f"{', '.join(sorted(known))}."
            )
    check_target(model)  # before hours of training
    documents = _training_part(data, text, labels, separator)
    given = {"label_names": documents.label_codes or documents.label_names}
    if label_texts and "label_texts" in known and documents.label_names:
        given["label_texts"] = documents.label_names
    classifier = kind(**given | parameters)
    classifier.fit(documents.texts, documents.Y)
    classifier.save_pretrained(model)
    history = classifier.history_
    _print(
        {
            "model": str(model),
            "system": SYSTEMS[system],
            "documents": classifier.n_docs_,
            "labels": classifier.n_labels_,
            "epochs": classifier.n_iter_,
            "held_out": max(
                (e["score"] for e in history if "score" in e), default=None
            ),
        }
    )


@main.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("texts", type=click.File(encoding="utf-8"), default="-")
@click.option("-k", type=click.IntRange(1), default=5, show_default=True)
@click.option("--text", default="text", show_default=True, help="Field of the text.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Documents read and answered at once.",
)
def predict(model, texts, k, text, batch):
    """Rank labels for TEXTS, a file of JSON objects a line, or standard input.

    Each line comes back with the fields ``labels`` and ``scores``, best first, in the
    order of the input; memory does not grow with its length.
    """
    import skxmc

    classifier = skxmc.load(model)
    for rows in _batches(texts, text, batch):
        documents = [row[text] for row in rows]
        names, scores = classifier.predict_topk(documents, k=k, return_names=True)
        for row, labels, values in zip(rows, names, scores, strict=True):
            kept = [label is not None for label in labels]
            row["labels"] = labels[kept].tolist()
            row["scores"] = [round(float(score), 6) for score in values[kept]]
            _print(row)
        sys.stdout.flush()


@main.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option("-k", "ks", type=click.IntRange(1), multiple=True, default=(1, 3, 5))
@_with_columns
def evaluate(model, data, ks, text, labels, separator):
    """Print ranking metrics of MODEL on DATA: of a folder its test part.

    PSP takes how frequent labels were in training. Labels that the classifier does not
    know count as missed.
    """
    import skxmc
    from skxmc.metrics import propensity_from_counts, ranking_report

    classifier = skxmc.load(model)
    known = [str(name) for name in classifier.label_names_]
    documents = _test_part(data, text, labels, separator, known)
    ids, _ = classifier.predict_topk(documents.texts, k=max(ks))
    n_new = documents.Y.shape[1] - len(known)
    counts = np.append(classifier.label_counts_, np.zeros(n_new, np.int64))
    weights = propensity_from_counts(counts, classifier.n_docs_)
    report = ranking_report(documents.Y, ids, ks, weights)
    about = {"documents": len(documents.texts), "unknown_labels": n_new}
    _print(about | {name: round(float(value), 6) for name, value in report.items()})


@main.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
def inspect(model):
    """Print what MODEL is: class, sizes, parameters, history."""
    import skxmc

    classifier = skxmc.load(model)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    parameters = classifier.get_params(deep=False)
    short = {n: v for n, v in parameters.items() if isinstance(v, (int, float, str))}
    _print(
        {
            "class": type(classifier).__name__,
            "versions": config["versions"],
            "documents": classifier.n_docs_,
            "labels": classifier.n_labels_,
            "labels_without_documents": int((classifier.label_counts_ == 0).sum()),
            "bytes": sum(file["bytes"] for file in config["files"].values()),
            "parameters": short,
            "history": getattr(classifier, "history_", None),
        },
        indent=1,
    )


def _setting(text):
    name, found, value = text.partition("=")
    if not found:
        raise click.UsageError(f"--set {text}: write NAME=VALUE.")
    for read in (json.loads, ast.literal_eval):  # false, and False
        with contextlib.suppress(ValueError, SyntaxError):
            return name, read(value)
    return name, value


def _training_part(data, *columns):
    from skxmc.datasets import load_table, load_xmc_repository

    if data.is_file():
        documents = load_table(data, **_named(columns))
        documents.label_codes = None
        return documents
    return _texts_of(load_xmc_repository(data), data, "train")


def _test_part(data, text, labels, separator, known):
    from skxmc.datasets import load_table, load_xmc_repository

    if data.is_file():
        return load_table(data, **_named((text, labels, separator)), known=known)
    documents = _texts_of(load_xmc_repository(data), data, "test")
    names = documents.label_codes or documents.label_names
    names = list(map(str, names or range(documents.Y.shape[1])))
    if names != known:
        raise ValueError(
            f"{data} has other labels than the model was trained on, or in another "
            "order. Evaluate on the folder that it was trained on, or on a table."
        )
    return documents


def _named(columns):
    return dict(zip(("text", "labels", "separator"), columns, strict=True))


def _texts_of(data, path, part):
    data.texts, data.Y = data[f"texts_{part}"], data[f"Y_{part}"]
    if data.texts is None:
        raise ValueError(f"{path} has no texts for the {part} part.")
    return data


def _batches(file, text, size):
    from skxmc._tables import parse_line

    rows = []
    for i, line in enumerate(file, start=1):
        if not line.strip():
            continue
        row = parse_line(line, f"Line {i}")
        if not isinstance(row.get(text), str):
            raise ValueError(f"Line {i} has no text in its field {text!r}.")
        rows.append(row)
        if len(rows) == size:
            yield rows
            rows = []
    if rows:
        yield rows


def _print(content, indent=None):
    for ascii in (False, True):  # half an emoji is no UTF-8, but can be escaped
        text = json.dumps(content, ensure_ascii=ascii, indent=indent)
        with contextlib.suppress(UnicodeEncodeError):
            click.echo(text.encode("utf-8"))
            return
