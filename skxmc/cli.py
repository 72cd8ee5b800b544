"""The command line: train, predict, evaluate, inspect; serve is in `_cli_serve`."""

import ast
import json
import re
import sys
from itertools import islice
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from ._cli_group import CommandGroup, Model
from ._cli_output import print_json
from ._cli_serve import serve
from ._cli_table import refuse_unused_options, table_options, unquoted_option
from ._cli_vocabulary import (
    drop_unused,
    only_used_option,
    read_vocabulary,
    vocabulary_options,
)

__all__ = ["main"]

_SYSTEMS = {
    "grank": "GRankClassifier",
    "gudn": "GUDNClassifier",
    "lightdxml": "LightDXMLClassifier",
    "lightxml": "LightXMLClassifier",
    "treaderxml": "TReaderXMLClassifier",
}
# Documents ranked between two updates of evaluate's progress bar. A system divides them
# into batches of its own, of which this is several.
_EVALUATE_BATCH = 1024
# Number of labels that annif eval takes of each document, unless its --limit is set.
_ANNIF_LIMIT = 10
# inspect shows longer lists only by their length.
_MAX_SHOWN = 10

_EXAMPLE = """\b
Example, for a file tickets.csv that starts with these two lines:
  text,labels
  no sound after the update,audio|driver

\b
  skxmc train tickets.csv model --system lightdxml
  skxmc evaluate model later-tickets.csv
  echo '{"text": "no picture, no sound"}' | skxmc predict model -k 3
  skxmc inspect model
"""


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EXAMPLE,
)
@click.version_option(package_name="skxmc")
def main():
    """Extreme multi-label text classification: rank the labels of a text.

    DATA is a table with a column of texts and a column of labels (.csv, .tsv, .jsonl,
    .parquet), or a folder in a raw layout of the extreme classification repository
    (train_texts.txt and train_labels.txt, or trn.json and lbl.json). It may also be a
    folder of .parquet and .jsonl files, which need not fit in memory, or a corpus in a
    format of Annif. MODEL is the folder that train writes.

    Results are printed to standard output as JSON, progress and warnings to standard
    error. The exit code is 0 for success, 1 for an error in data or a model, and 2 for
    wrong usage.
    """


main.add_command(serve)


@main.command(
    epilog="Example: skxmc train tickets.csv model --system lightdxml "
    "--set max_epochs=5 --labels tags --separator ';'"
)
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--system",
    type=click.Choice(sorted(_SYSTEMS)),
    default="grank",
    show_default=True,
    help="Classifier to train. grank, gudn and lightxml fine-tune a transformer and "
    "should run on a GPU; lightdxml and treaderxml learn from words and need none.",
)
@click.option(
    "--set",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="Set a parameter of the classifier; the value is JSON or a word. May be "
    "repeated. An unknown NAME prints the list of all parameters. Without --set, "
    "parameters have the classifier's defaults, except for random_state=0.",
)
@click.option(
    "--label-texts/--no-label-texts",
    default=True,
    show_default=True,
    help="Whether the classifier learns from the names of labels, and from the "
    "hierarchy above them, if it can use them.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Folder for the tokens of a folder of .parquet and .jsonl files; MODEL.store "
    "without this option. It is kept: another fit, or the same one after an "
    "interruption, does not read the files again.",
)
@click.option(
    "--weight-column",
    metavar="COLUMN",
    help="Column of a table that holds the weight of each document: a number of at "
    "least 0. A document of weight 2 counts as if it were given twice, and one of "
    "weight 0 is left out.",
)
@click.option("--quiet", is_flag=True, help="Do not show progress.")
@vocabulary_options
@only_used_option
@table_options
def train(
    data,
    model,
    system,
    settings,
    label_texts,
    store,
    weight_column,
    quiet,
    vocabulary,
    language,
    only_used,
    **columns,
):
    """Fit a classifier to DATA and save it as the folder MODEL.

    If MODEL is already a model, it is replaced; a folder with other files is an error.
    If DATA is a folder, its training part is used, or all of its .parquet and .jsonl
    files; a folder that --store has filled may be DATA itself. The command prints one
    line of JSON: the numbers of documents, labels and epochs, and held_out, the
    precision of the best epoch on documents that were held out from training.
    """
    import skxmc
    from skxmc._cli_data import (
        holds_shards,
        label_parameters,
        load_shards,
        load_training_part,
        load_weights,
    )
    from skxmc.persistence._saving import check_target

    parameters = {"random_state": 0, "verbose": 0 if quiet else 1}
    parameters |= dict(map(_parse_setting, settings))
    classifier_class = getattr(skxmc, _SYSTEMS[system])
    known = classifier_class().get_params()
    for name in parameters:
        if name not in known:
            raise click.UsageError(
                f"{_SYSTEMS[system]} has no parameter {name!r}; there are "
                f"{', '.join(sorted(known))}."
            )
    refuse_unused_options(data)
    check_target(model)  # before hours of training
    weights = None
    if weight_column is not None:
        weights = load_weights(data, weight_column, columns)
    vocabulary = read_vocabulary(vocabulary, language)
    if only_used and vocabulary is None:
        raise click.UsageError("--only-used needs --vocabulary.")
    if vocabulary is None and holds_shards(data):
        untrained = classifier_class(**parameters)
        store = store or model.with_name(f"{model.name}.store")
        documents = load_shards(data, store, untrained, columns)
    else:
        documents = load_training_part(data, columns, vocabulary)
    if only_used:
        drop_unused(documents)
    of_labels = {"label_names": documents.label_codes or documents.label_names}
    if label_texts:
        found = label_parameters(documents, parameters)
        of_labels |= {name: value for name, value in found.items() if name in known}
    classifier = classifier_class(**of_labels | parameters)
    classifier.fit(documents.texts, documents.Y, weights)
    classifier.save_pretrained(model)
    scores = [epoch["score"] for epoch in classifier.history_ if "score" in epoch]
    print_json(
        {
            "model": str(model),
            "system": _SYSTEMS[system],
            "documents": classifier.n_docs_,
            "labels": classifier.n_labels_,
            "epochs": classifier.n_iter_,
            "held_out": max(scores, default=None),
        }
        | ({} if vocabulary is None else {"unknown_labels": len(documents.unknown)})
    )


_rank_by_option = click.option(
    "--rank-by",
    type=click.Choice(["probability", "propensity"]),
    default="probability",
    show_default=True,
    help="What orders the labels: their probabilities, or these divided by the "
    "propensities of the training frequencies, which PSP rewards.",
)


def _parse_part(context, option, value):
    """Return the two numbers of I/N, or None."""
    if value is None:
        return None
    numbers = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", value)
    if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise click.BadParameter(
            f"{value:.60} is no part. Write I/N, from 1/N to N/N: 2/4 is the second of "
            "four parts."
        )
    return int(numbers[1]), int(numbers[2])


@main.command(
    epilog="""\b
Examples:
  skxmc predict model texts.jsonl -k 3 > predicted.jsonl
  skxmc predict model shards --part 2/4 > predicted-2.jsonl
"""
)
@click.argument("model", type=Model())
@click.argument(
    "texts", type=click.Path(exists=True, allow_dash=True, path_type=Path), nargs=-1
)
@click.option(
    "-k",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Number of labels per document.",
)
@click.option(
    "--text", default="text", show_default=True, help="Field that holds the text."
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="Documents that are read, ranked and printed together.",
)
@click.option(
    "--part",
    metavar="I/N",
    callback=_parse_part,
    help="Predict only part I of N equal parts of the documents, so that N processes "
    "or machines share the work. The outputs of all parts, one after the other, are "
    "the output of one process.",
)
@_rank_by_option
@unquoted_option
def predict(model, texts, k, text, batch, part, rank_by, quoted):
    """Rank the labels of texts, line by line.

    TEXTS are files with one JSON object per line, tables (.csv, .tsv, .parquet), or
    folders of .parquet and .jsonl files; without TEXTS, JSON lines are read from
    standard input. The command prints each row as a JSON object, in the order of the
    input and with all its fields. It adds the fields predicted and predicted_scores,
    best label first, or replaces fields with these names. Several fields of one name
    become a list. Memory does not grow with the length of the input. If a line cannot
    be read, all rows before it are still printed; with --part, nothing is.
    """
    import skxmc
    from skxmc._cli_rows import count_batches, list_files, read_batches

    files = list_files(texts)
    start, stop = 0, None
    if part:
        n_batches = count_batches(files, text, batch, quoted)
        start, stop = (n_batches * i // part[1] for i in (part[0] - 1, part[0]))
    classifier = skxmc.load(model)
    batches = islice(read_batches(files, text, batch, quoted), start, stop)
    total = None if stop is None else (stop - start) * batch
    options = dict(k=k, rank_by=rank_by)
    # On a terminal, rows show the progress, and a bar would be mixed up with them.
    with _progress_bar("predicting", total, hidden=sys.stdout.isatty()) as bar:
        for rows in batches:
            documents = [row[text] for row in rows]
            names, scores = classifier.predict_topk(
                documents, return_names=True, **options
            )
            for row, labels, values in zip(rows, names, scores, strict=True):
                is_label = [label is not None for label in labels]  # not padding
                # The field "labels" may hold the true labels, so it is left alone.
                row["predicted"] = labels[is_label].tolist()
                row["predicted_scores"] = [round(float(x), 6) for x in values[is_label]]
                print_json(row)
            sys.stdout.flush()
            bar.update(len(rows))


@main.command(epilog="Example: skxmc evaluate model later-tickets.csv -k 1 -k 10")
@click.argument("model", type=Model())
@click.argument("data", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-k",
    "ks",
    type=click.IntRange(1),
    multiple=True,
    default=(1, 3, 5),
    show_default=True,
    help="Rank k for P@k and the other metrics. May be repeated.",
)
@_rank_by_option
@click.option(
    "--annif/--no-annif",
    default=None,
    help="Whether to print the metrics of annif eval too, for the 10 best labels and "
    "under its names. Without this option, they are printed if DATA is a corpus of "
    "Annif.",
)
@vocabulary_options
@table_options
def evaluate(model, data, ks, rank_by, annif, vocabulary, language, **columns):
    """Print ranking metrics of MODEL on DATA.

    If DATA is a folder, its test part is used, or all of its .parquet and .jsonl files;
    it may also be a store. The command prints one line of JSON. The propensities of PSP
    come from the label frequencies of the training data. Labels that the classifier
    does not know count as missed; in the metrics of annif eval they do not count, as
    there. A vocabulary gives the URIs of labels.
    """
    import skxmc
    from skxmc._cli_data import is_annif_corpus, load_test_parts, stack_labels
    from skxmc._response import find_training_counts
    from skxmc._words import nfc
    from skxmc.metrics import annif_report, propensity_from_counts, ranking_report

    refuse_unused_options(data)
    classifier = skxmc.load(model)
    known = [nfc(str(name)) for name in classifier.label_names_]
    vocabulary = read_vocabulary(vocabulary, language)
    annif = is_annif_corpus(data) if annif is None else annif
    options = dict(k=max(*ks, _ANNIF_LIMIT) if annif else max(ks), rank_by=rank_by)
    ids, truths = [], []
    for documents in load_test_parts(data, columns, known, vocabulary):
        ids.append(_rank_in_batches(classifier, documents.texts, options))
        truths.append(documents.Y)
    ids, Y = np.concatenate(ids), stack_labels(truths)
    n_new = Y.shape[1] - len(known)
    counts, n_docs = find_training_counts(classifier)
    counts = np.append(counts, np.zeros(n_new, np.int64))
    weights = propensity_from_counts(counts, n_docs)
    report = ranking_report(Y, ids, ks, weights)
    if annif:
        report |= annif_report(Y[:, : len(known)], ids, limit=_ANNIF_LIMIT)
    sizes = {"documents": Y.shape[0], "unknown_labels": n_new}
    metrics = {
        name: value if isinstance(value, int) else round(float(value), 6)
        for name, value in report.items()
    }
    print_json(sizes | metrics)


@main.command()
@click.argument("model", type=Model())
def inspect(model):
    """Print the class, sizes, parameters and history of MODEL.

    The command prints a JSON object. Long lists, arrays and matrices are shown by their
    length or shape only.
    """
    import skxmc
    from skxmc.persistence._loading import load_config

    classifier, config = skxmc.load(model), load_config(model)
    parameters = classifier.get_params(deep=False).items()
    print_json(
        {
            "class": type(classifier).__name__,
            "versions": config["versions"],
            "documents": classifier.n_docs_,
            "labels": classifier.n_labels_,
            "labels_without_documents": int((classifier.label_counts_ == 0).sum()),
            "bytes": sum(file["bytes"] for file in config["files"].values()),
            "parameters": {name: _shorten(value) for name, value in parameters},
            "history": getattr(classifier, "history_", None),
        },
        indent=1,
    )


def _parse_setting(text):
    """Return the name and the value of NAME=VALUE."""
    name, found, value = text.partition("=")
    if not found:
        raise click.UsageError(f"--set {text}: write NAME=VALUE.")
    for parse in (json.loads, ast.literal_eval):  # of JSON, false; of Python, False
        try:
            return name, parse(value)
        except (ValueError, SyntaxError):
            continue
        except (TypeError, RecursionError, MemoryError) as error:
            raise click.UsageError(
                f"--set {text:.60}: {value:.60} is not a valid value ({error}). Write "
                "NAME=VALUE, with JSON or a word as the value."
            ) from error
    return name, value


def _progress_bar(title, total=None, hidden=False):
    """Make a progress bar, which is shown if standard error is a terminal."""
    disable = hidden or None  # None lets tqdm check for a terminal
    return tqdm(desc=title, total=total, unit="doc", disable=disable)


def _rank_in_batches(classifier, texts, options):
    """Return the ids of the best labels of each text, and show the progress."""
    parts = []
    with _progress_bar("evaluating", len(texts)) as bar:
        for start in range(0, len(texts) or 1, _EVALUATE_BATCH):
            batch = texts[start : start + _EVALUATE_BATCH]
            parts.append(classifier.predict_topk(batch, **options)[0])
            bar.update(len(batch))
    return np.concatenate(parts)


def _shorten(value):
    """Return a parameter in a form that JSON can hold and a screen can show."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    kind = type(value).__name__
    if hasattr(value, "shape"):
        return f"{kind} of shape {value.shape}"
    if isinstance(value, (list, tuple)) and len(value) <= _MAX_SHOWN:
        return [_shorten(part) for part in value]
    return f"{kind} of length {len(value)}" if hasattr(value, "__len__") else kind
