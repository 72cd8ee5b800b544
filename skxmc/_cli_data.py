"""Data of the command line: tables, folders and stores."""

import numpy as np
import scipy.sparse as sp

from ._cli_vocabulary import find_label_codes, relabel, use_vocabulary
from .datasets import load_annif_corpus, load_table, load_xmc_repository
from .datasets._annif import is_annif_corpus
from .datasets._table import read_documents
from .datasets._table_rows import read_rows
from .store import build_store, open_store
from .store._build import find_shards, warn_of_unread
from .store._open import is_store


def label_parameters(documents, parameters):
    """Return the parameters that describe labels, as far as the data have them."""
    found = {}
    if documents.label_names:
        found["label_texts"] = documents.get("label_texts") or documents.label_names
    # If --set gives another hierarchy, the names of this one's nodes do not fit it.
    parents = documents.get("label_parents")
    if parents is not None and "label_parents" not in parameters:
        found["label_parents"] = parents
        found["parent_texts"] = documents.parent_names or None
    return found


def holds_shards(data):
    """Return whether data are files for a store, or a store."""
    of_repository = ("trn.json*", "*train.txt*", "train_texts.txt*")
    return data.is_dir() and (
        is_store(data)
        or bool(find_shards(data))
        and not any(list(data.glob(pattern)) for pattern in of_repository)
    )


def describe_data(data):
    """Return what data are.

    Returns
    -------
    kind : str
        For messages.
    has_columns : bool
        Whether options say how the columns are read.
    fills_store : bool
        Whether a store is built from the data.
    """
    if is_annif_corpus(data):
        return "read as a corpus of Annif", False, False
    if data.is_file():
        return "a single table", True, False
    if is_store(data):
        return "a store", False, False
    if holds_shards(data):
        return "a folder of shards", True, True
    return "read as a folder of the extreme classification repository", False, False


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
            text_prompt=classifier.text_prompt,
            verbose=classifier.verbose,
            **table_options,
        )
    if not documents.label_names:
        raise ValueError(f"{data} has no labels.")
    documents.texts, documents.label_codes = documents.X, None
    return documents


def load_training_part(data, table_options, vocabulary=None):
    """Return the documents of a table or corpus, or of the training part of a folder.

    Parameters
    ----------
    data : Path
    table_options : dict
        Arguments of `load_table`.
    vocabulary : Bunch or None, default=None
        As `load_vocabulary` returns it. Its labels become those of the documents.
    """
    if is_annif_corpus(data):
        return load_annif_corpus(data, vocabulary)
    if data.is_file():
        documents = load_table(data, **table_options)
        if not documents.label_names:
            column = table_options["labels"]
            raise ValueError(f"{data} has no labels in its column {column!r}.")
        documents.label_codes = None
        if vocabulary is not None:
            use_vocabulary(documents, data, vocabulary)
        return documents
    if vocabulary is not None:
        _refuse_vocabulary(data)
    return _select_part(load_xmc_repository(data), data, "train")


def load_weights(data, column, table_options):
    """Return the weights of the documents of a table, as floats.

    Parameters
    ----------
    data : Path
    column : str
        Column that holds a number for each document.
    table_options : dict
        Arguments of `load_table`.
    """
    if not data.is_file():
        raise ValueError(
            f"--weight-column needs a single table, and {data} is a folder. In Python, "
            "fit takes sample_weight for documents from any source."
        )
    columns = table_options["text"], column
    weights = []
    for place, row in read_rows(data, columns, quoted=table_options["quoted"]):
        try:
            weights.append(float(row[column]))
        except (TypeError, ValueError):
            raise ValueError(
                f"{place}: {column!r} must be a number, got {row[column]!r:.60}."
            ) from None
    return weights


def load_test_parts(data, table_options, known, vocabulary=None):
    """Yield the documents of a table, corpus or store, of shards, or of a test part.

    Each part has the label columns of the one before, and may have more.

    Parameters
    ----------
    data : Path
    table_options : dict
        Arguments of `load_table`.
    known : list of str
        Names of the model's labels, which are the first columns.
    vocabulary : Bunch or None, default=None
        Gives the URIs of labels, if these are the names of the model's labels.
    """
    if is_annif_corpus(data):
        yield _load_corpus(data, known, vocabulary)
    elif vocabulary is not None:
        yield _load_named_table(data, table_options, known, vocabulary)
    elif data.is_file():
        yield load_table(data, **table_options, known=known)
    elif is_store(data):
        yield _load_store(data, known)
    elif holds_shards(data):
        yield from _load_shards(data, table_options, known)
    else:
        yield _load_test_part(data, known)


def stack_labels(matrices):
    """Put label matrices, each as wide as the one before or wider, below each other."""
    for Y in matrices:
        Y.resize(Y.shape[0], matrices[-1].shape[1])
    return matrices[0] if len(matrices) == 1 else sp.vstack(matrices, format="csr")


def _load_corpus(data, known, vocabulary):
    documents = load_annif_corpus(data, vocabulary, known=known)
    if not documents.Y[:, : len(known)].nnz:
        raise ValueError(
            f"The model knows no subject of {data}. Its labels are such as "
            f"{', '.join(known[:2])}, and subjects are such as "
            f"{', '.join(documents.label_codes[len(known) :][:2]) or 'none'}. If one "
            "are URIs and the other labels, give the --vocabulary."
        )
    return documents


def _load_named_table(data, table_options, known, vocabulary):
    """Load a table whose labels are URIs, names or notations of a vocabulary."""
    if not data.is_file():
        _refuse_vocabulary(data)
    documents = load_table(data, **table_options)
    codes = find_label_codes(documents.label_names, vocabulary)
    documents.Y, documents.label_names = relabel(documents.Y, codes, known)
    return documents


def _load_store(data, known):
    documents = open_store(data)
    if documents.Y is None:
        raise ValueError(f"{data} has no labels.")
    documents.texts = documents.X
    # The first of several known labels of one name, as in load_table.
    columns = {known[j]: j for j in reversed(range(len(known)))}
    new = sorted(set(documents.label_names) - set(columns))
    columns |= {name: j for j, name in enumerate(new, start=len(known))}
    ids = np.array([columns[name] for name in documents.label_names], np.int32)
    Y = documents.Y
    shape = Y.shape[0], len(known) + len(new)
    documents.Y = sp.csr_matrix((np.array(Y.data), ids[Y.indices], Y.indptr), shape)
    documents.Y.sort_indices()
    documents.label_names = known + new
    return documents


def _load_shards(data, table_options, known):
    """Yield the documents of one file after the other; files without rows are none."""
    options = {**table_options, "batch_size": 1}
    found = False
    warn_of_unread(data)
    for path in find_shards(data):
        if next(read_documents(path, **options), None) is None:
            continue
        found = True
        documents = load_table(path, **table_options, known=known)
        known = documents.label_names
        yield documents
    if not found:
        raise ValueError(f"{data} holds no documents.")


def _load_test_part(data, known):
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


def _refuse_vocabulary(data):
    raise ValueError(
        f"{data} names its labels itself: leave --vocabulary out. It is for tables and "
        "for corpora of Annif."
    )


def _select_part(data, path, part):
    """Set texts and Y to those of the train or test part."""
    data.texts, data.Y = data[f"texts_{part}"], data[f"Y_{part}"]
    if data.texts is None:
        raise ValueError(
            f"{path} has no texts for the {part} part. Data in the features layout "
            "have none: use them from Python."
        )
    return data
