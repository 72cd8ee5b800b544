"""Data of the command line: tables, folders and stores."""

from .datasets import load_table, load_xmc_repository
from .store import build_store, open_store
from .store._build import find_shards
from .store._open import is_store


def label_parameters(documents, parameters):
    """Return the parameters that describe labels, as far as the data have them."""
    found = {}
    if documents.label_names:
        found["label_texts"] = documents.label_names
    # If --set gives another hierarchy, the names of this one's nodes do not fit it.
    if documents.get("parent_names") and "label_parents" not in parameters:
        found["label_parents"] = documents.label_parents
        found["parent_texts"] = documents.parent_names
    return found


def holds_shards(data):
    """Return whether data are files for a store, or a store."""
    of_repository = ("trn.json*", "*train.txt*", "train_texts.txt*")
    return data.is_dir() and (
        is_store(data)
        or bool(find_shards(data))
        and not any(list(data.glob(pattern)) for pattern in of_repository)
    )


def load_shards(data, store, classifier, table_options):
    """Return the documents of a store, which is built first if it is not there."""
    if not classifier._reads_stores:
        raise ValueError(
            f"{type(classifier).__name__} reads words, and {data} holds files for the "
            "tokens of a transformer. Use --system grank, gudn or lightxml, or give a "
            "single table."
        )
    if is_store(data):
        documents = open_store(data)
    else:
        documents = build_store(
            data,
            store,
            classifier.encoder,
            classifier.max_length,
            verbose=classifier.verbose,
            **table_options,
        )
    if not documents.label_names:
        raise ValueError(f"{data} has no labels.")
    documents.texts, documents.label_codes = documents.X, None
    return documents


def load_training_part(data, table_options):
    """Return the documents of a table, or of the training part of a folder."""
    if data.is_file():
        documents = load_table(data, **table_options)
        if not documents.label_names:
            column = table_options["labels"]
            raise ValueError(f"{data} has no labels in its column {column!r}.")
        documents.label_codes = None
        return documents
    return _select_part(load_xmc_repository(data), data, "train")


def load_test_part(data, table_options, known):
    """Return the documents of a table, or of the test part of a folder.

    Parameters
    ----------
    data : Path
    table_options : dict
        Arguments of `load_table`.
    known : list of str
        Names of the model's labels, which are the first columns.
    """
    if data.is_file():
        return load_table(data, **table_options, known=known)
    documents = _select_part(load_xmc_repository(data), data, "test")
    names = documents.label_codes or documents.label_names
    names = list(map(str, names or range(documents.Y.shape[1])))
    if names != known:
        raise ValueError(
            f"{data} has other labels than the model was trained on, or the same ones "
            "in another order. Evaluate on the folder that the model was trained on, "
            "or on a table."
        )
    return documents


def _select_part(data, path, part):
    """Set texts and Y to those of the train or test part."""
    data.texts, data.Y = data[f"texts_{part}"], data[f"Y_{part}"]
    if data.texts is None:
        raise ValueError(
            f"{path} has no texts for the {part} part. Data in the features layout "
            "have none: use them from Python."
        )
    return data
