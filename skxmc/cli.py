"""The command line: train, predict, evaluate, inspect."""

import ast
import contextlib
import json
import math
import os
import sys
import warnings
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

SYSTEMS = {
    "grank": "GRankClassifier",
    "gudn": "GUDNClassifier",
    "lightdxml": "LightDXMLClassifier",
    "lightxml": "LightXMLClassifier",
    "treaderxml": "TReaderXMLClassifier",
}
# Documents between two steps of evaluate's progress; several batches of any system.
_EVALUATED_AT_ONCE = 1024
# Longer lists are shown by their length.
_SHORT = 10

_unquoted = click.option(
    "--unquoted",
    "quoted",
    flag_value=False,
    default=True,
    help="Quotes in a .csv or .tsv file are part of its texts: they enclose no cells.",
)
_columns = (
    click.option("--text", default="text", show_default=True, help="Column of texts."),
    click.option(
        "--labels", default="labels", show_default=True, help="Column of labels."
    ),
    click.option(
        "--separator",
        default="|",
        show_default=True,
        # Most shells have no short way to write a tab.
        callback=lambda context, option, value: "\t" if value == r"\t" else value,
        help=r"What stands between the labels of a cell; \t is a tab.",
    ),
    _unquoted,
)


def _with_columns(command):
    for option in reversed(_columns):
        command = option(command)
    return command


# RuntimeError is what libraries say: hnswlib, torch, pyarrow (NotImplementedError).
_WRONG = ValueError, TypeError, OSError, ImportError, MemoryError, RuntimeError


class _Commands(click.Group):
    """Commands whose errors are messages: 1 is the exit code, of usage 2."""

    def invoke(self, context):
        def show(message, *where, **_):
            click.echo(f"Warning: {message}", err=True)

        try:
            with warnings.catch_warnings():
                warnings.showwarning = show
                return super().invoke(context)
        except (BrokenPipeError, click.Abort, click.exceptions.Exit):
            raise
        except _WRONG as error:
            raise click.ClickException(str(error) or repr(error)) from error


_EXAMPLE = """\b
Example, with a file tickets.csv that starts with these two lines:
  text,labels
  no sound after the update,audio|driver

\b
  skxmc train tickets.csv model --system lightdxml
  skxmc evaluate model later-tickets.csv
  echo '{"text": "no picture, no sound"}' | skxmc predict model -k 3
  skxmc inspect model
"""


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EXAMPLE,
)
@click.version_option(package_name="skxmc")
def main():
    """Extreme multi-label text classification: rank the labels of a text.

    DATA is a table with a column of texts and one of labels (.csv, .tsv, .jsonl,
    .parquet), or a folder in a raw layout of the extreme classification repository
    (train_texts.txt and train_labels.txt, or trn.json and lbl.json). MODEL is the
    folder that train writes.

    Results go to standard output as JSON, progress and warnings to standard error.
    The exit code is 0 when all went well, 1 where data or a model is wrong, 2 for a
    wrong call.
    """
    # Read when torch is loaded, as the commands do. Threads that wait actively slow a
    # fit several times over where others are at work on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@main.command(
    epilog="Example: skxmc train tickets.csv model --system lightdxml "
    "--set max_epochs=5 --labels tags --separator ';'"
)
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--system",
    type=click.Choice(sorted(SYSTEMS)),
    default="grank",
    show_default=True,
    help="The classifier. grank, gudn and lightxml fine-tune a transformer, best on a "
    "GPU; lightdxml and treaderxml read words, and need none.",
)
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="A parameter of the classifier, its value as JSON or a word. Repeatable; a "
    "wrong NAME lists those there are. Others keep the classifier's defaults, but for "
    "random_state=0.",
)
@click.option(
    "--label-texts/--no-label-texts",
    default=True,
    show_default=True,
    help="Let the classifier read the names of labels, and the hierarchy above them, "
    "where it can.",
)
@click.option("--quiet", is_flag=True, help="No progress on standard error.")
@_with_columns
def train(data, model, system, settings, label_texts, quiet, **table):
    """Fit a classifier to DATA and save it as the folder MODEL.

    A model that is there is replaced; a folder with other files is refused. Of a folder
    DATA the training part is read. What is printed is a line of JSON: how many
    documents, labels and epochs there were, and held_out, the best epoch's precision
    on documents held out of training.
    """
    import skxmc
    from skxmc.persistence._saving import check_target

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
    documents = _training_part(data, table)
    given = {"label_names": documents.label_codes or documents.label_names}
    if label_texts:
        about = _about_labels(documents, parameters)
        given |= {name: value for name, value in about.items() if name in known}
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


@main.command(epilog="Example: skxmc predict model texts.jsonl -k 3 > predicted.jsonl")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument(
    "texts",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    default="-",
)
@click.option(
    "-k",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Labels for each document.",
)
@click.option("--text", default="text", show_default=True, help="Field of the text.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Documents read and answered at once.",
)
@_unquoted
def predict(model, texts, k, text, batch, quoted):
    """Rank the labels of texts, line by line.

    TEXTS is a file of JSON objects, one a line, or standard input, or a table (.csv,
    .tsv, .parquet). Each row comes back on standard output as a JSON object, in the
    order of the input, with all its fields, and best first with the fields predicted
    and predicted_scores, which replace those of that name. Fields of one name become
    one with a list. Memory does not grow with
    the length of the input. What stands before a line that cannot be read is answered.
    """
    import skxmc

    classifier = skxmc.load(model)
    # Answers on a terminal are progress themselves, and a line would stand in them.
    with _progress("predicting", hidden=sys.stdout.isatty()) as bar:
        for rows in _batches(texts, text, batch, quoted):
            documents = [row[text] for row in rows]
            names, scores = classifier.predict_topk(documents, k=k, return_names=True)
            for row, labels, values in zip(rows, names, scores, strict=True):
                kept = [label is not None for label in labels]
                # Not "labels": there the truth may stand.
                row["predicted"] = labels[kept].tolist()
                row["predicted_scores"] = [round(float(x), 6) for x in values[kept]]
                _print(row)
            sys.stdout.flush()
            bar.update(len(rows))


@main.command(epilog="Example: skxmc evaluate model later-tickets.csv -k 1 -k 10")
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-k",
    "ks",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 3, 5),
    show_default=True,
    help="The k of P@k and the others. Repeatable.",
)
@_with_columns
def evaluate(model, data, ks, **table):
    """Print ranking metrics of MODEL on DATA.

    Of a folder DATA the test part is read. What is printed is a line of JSON. PSP takes
    how frequent labels were in training. Labels that the classifier does not know count
    as missed.
    """
    import skxmc
    from skxmc._words import nfc
    from skxmc.metrics import propensity_from_counts, ranking_report

    classifier = skxmc.load(model)
    known = [nfc(str(name)) for name in classifier.label_names_]
    documents = _test_part(data, table, known)
    ids = _best_labels(classifier, documents.texts, max(ks))
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
    parameters = classifier.get_params(deep=False).items()
    _print(
        {
            "class": type(classifier).__name__,
            "versions": config["versions"],
            "documents": classifier.n_docs_,
            "labels": classifier.n_labels_,
            "labels_without_documents": int((classifier.label_counts_ == 0).sum()),
            "bytes": sum(file["bytes"] for file in config["files"].values()),
            "parameters": {name: _shown(value) for name, value in parameters},
            "history": getattr(classifier, "history_", None),
        },
        indent=1,
    )


def _setting(text):
    name, found, value = text.partition("=")
    if not found:
        raise click.UsageError(f"--set {text}: write NAME=VALUE.")
    for read in (json.loads, ast.literal_eval):  # false, and False
        try:
            return name, read(value)
        except (ValueError, SyntaxError):
            continue
        except (TypeError, RecursionError, MemoryError) as error:
            raise click.UsageError(
                f"--set {text:.60}: {value:.60} is no value ({error}). Write "
                "NAME=VALUE, the value as JSON or a word."
            ) from error
    return name, value


def _about_labels(documents, parameters):
    """What a system may know of labels; `parameters` come first."""
    about = {}
    if documents.label_names:
        about["label_texts"] = documents.label_names
    # Their names belong to this hierarchy, not to one that --set gives.
    if documents.get("parent_names") and "label_parents" not in parameters:
        about["label_parents"] = documents.label_parents
        about["parent_texts"] = documents.parent_names
    return about


def _training_part(data, table):
    from skxmc.datasets import load_table, load_xmc_repository

    if data.is_file():
        documents = load_table(data, **table)
        if not documents.label_names:
            raise ValueError(f"{data} has no labels in its column {table['labels']!r}.")
        documents.label_codes = None
        return documents
    return _texts_of(load_xmc_repository(data), data, "train")


def _test_part(data, table, known):
    from skxmc.datasets import load_table, load_xmc_repository

    if data.is_file():
        return load_table(data, **table, known=known)
    documents = _texts_of(load_xmc_repository(data), data, "test")
    names = documents.label_codes or documents.label_names
    names = list(map(str, names or range(documents.Y.shape[1])))
    if names != known:
        raise ValueError(
            f"{data} has other labels than the model was trained on, or in another "
            "order. Evaluate on the folder that it was trained on, or on a table."
        )
    return documents


def _texts_of(data, path, part):
    data.texts, data.Y = data[f"texts_{part}"], data[f"Y_{part}"]
    if data.texts is None:
        raise ValueError(f"{path} has no texts for the {part} part.")
    return data


def _progress(title, total=None, hidden=False):
    """A line on standard error if that is a terminal."""
    disable = hidden or None  # None looks whether it is
    return tqdm(desc=title, total=total, unit="doc", disable=disable)


def _best_labels(classifier, texts, k):
    parts = []
    with _progress("evaluating", len(texts)) as bar:
        for start in range(0, len(texts) or 1, _EVALUATED_AT_ONCE):
            some = texts[start : start + _EVALUATED_AT_ONCE]
            parts.append(classifier.predict_topk(some, k=k)[0])
            bar.update(len(some))
    return np.concatenate(parts)


def _shown(value):
    """A parameter as JSON that fits a screen."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    kind = type(value).__name__
    if hasattr(value, "shape"):
        return f"{kind} of shape {value.shape}"
    if isinstance(value, (list, tuple)) and len(value) <= _SHORT:
        return [_shown(part) for part in value]
    return f"{kind} of length {len(value)}" if hasattr(value, "__len__") else kind


def _batches(path, text, size, quoted):
    from skxmc._tables import check_once

    rows = []
    try:
        for where, row in _rows(path, text, size, quoted):
            check_once(where, row, text)
            if not isinstance(row.get(text), str):
                raise ValueError(f"{where} has no text in its field {text!r}.")
            rows.append(row)
            if len(rows) == size:
                yield rows
                rows = []
    except ValueError:
        if rows:
            yield rows
        raise
    if rows:
        yield rows


def _rows(path, text, size, quoted):
    from skxmc._tables import read_objects, read_rows

    if path.suffix.lower() in (".csv", ".tsv", ".parquet"):
        yield from read_rows(path, (text,), others=True, quoted=quoted, n_rows=size)
        return
    with click.open_file(path, "rb") as file:
        yield from read_objects(file, "Line")


def _print(content, indent=None):
    for ascii in (False, True):  # half an emoji is no UTF-8, but can be escaped
        text = _json(content, ensure_ascii=ascii, indent=indent)
        with contextlib.suppress(UnicodeEncodeError):
            click.echo(text.encode("utf-8"))
            return


def _json(content, **options):
    options["default"] = str  # the dates of a Parquet file
    try:
        return json.dumps(content, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_finite(content), allow_nan=False, **options)


def _finite(content):
    """The same with null for NaN and infinities, which JSON does not have."""
    if isinstance(content, dict):
        return {name: _finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return list(map(_finite, content))
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
