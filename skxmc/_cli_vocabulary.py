"""The command line's options for vocabularies and corpora of Annif."""

from pathlib import Path

import click
import numpy as np
from scipy.sparse import csr_matrix

_OPTIONS = (
    click.option(
        "--vocabulary",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Vocabulary that the labels come from: SKOS (.ttl, .rdf, .nt, .jsonld), "
        "which needs rdflib, or a subject file of Annif (.tsv, .csv). It gives names "
        "and URIs; in train also label texts, broader labels, and the labels that no "
        "document has.",
    ),
    click.option(
        "--language",
        help="Language of the vocabulary's labels, such as en. Without this option, "
        "that of most labels.",
    ),
)


def vocabulary_options(command):
    """Give a command the options ``--vocabulary`` and ``--language``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


only_used_option = click.option(
    "--only-used",
    is_flag=True,
    help="Train the labels that documents have, and no others of the vocabulary.",
)


def read_vocabulary(path, language):
    """Return the vocabulary that the options name, or None.

    Parameters
    ----------
    path : Path or None
    language : str or None
    """
    from skxmc.datasets import load_vocabulary

    if path is None:
        if language is not None:
            raise click.UsageError("--language needs --vocabulary.")
        return None
    return load_vocabulary(path, language=language)


def use_vocabulary(documents, path, vocabulary):
    """Give the labels of a table the columns and the names of a vocabulary.

    A label is a URI, a preferred label or a notation of the vocabulary.

    Parameters
    ----------
    documents : Bunch
        As `load_table` returns it; changed in place.
    path : Path
        Of the table, for messages.
    vocabulary : Bunch
    """
    from skxmc.datasets._annif import warn_of_unknown

    codes = find_label_codes(documents.label_names, vocabulary)
    known = vocabulary.label_codes
    Y, codes = relabel(documents.Y, codes, known)
    unknown = codes[len(known) :]
    counts = np.bincount(Y.indices, minlength=len(codes))[len(known) :]
    documents.unknown = dict(zip(unknown, counts.tolist(), strict=True))
    documents.Y = Y[:, : len(known)]
    if not documents.Y.nnz:
        raise ValueError(
            f"No label of {path} is in the vocabulary ({vocabulary.DESCR}). Labels of "
            f"{path} are such as {', '.join(unknown[:3])}. They must be URIs, "
            "preferred labels or notations of the vocabulary."
        )
    warn_of_unknown(path, documents.unknown, vocabulary)
    documents.label_codes = known
    for field in ("label_names", "label_texts", "label_parents", "parent_names"):
        documents[field] = vocabulary[field]


def drop_unused(documents):
    """Leave out the labels of a vocabulary that no document has.

    If such a label is broader than one that stays, it is kept as a parent.

    Parameters
    ----------
    documents : Bunch
        As `load_annif_corpus` returns it; changed in place.
    """
    used = np.unique(documents.Y.indices)
    if documents.label_parents is not None:
        above = csr_matrix(documents.label_parents)[used]
        others = np.setdiff1d(above.indices, used)
        names = [*documents.label_names, *documents.parent_names]
        documents.label_parents = above[:, np.concatenate([used, others])]
        documents.parent_names = [names[j] for j in others]
    documents.Y = csr_matrix(documents.Y[:, used])
    for field in ("label_codes", "label_names", "label_texts"):
        documents[field] = [documents[field][j] for j in used]


def find_label_codes(names, vocabulary):
    """Return the URI of each label that the vocabulary has, or else its name."""
    from skxmc.datasets._vocabulary import Lookup

    lookup = Lookup(vocabulary)
    return [lookup.find(name) or name for name in names]


def relabel(Y, codes, known):
    """Give a label matrix other columns: known ones first, then the others, sorted.

    Parameters
    ----------
    Y : csr_matrix of shape (n_docs, n_names)
    codes : list of str of length n_names
        New name of each column, which may be repeated.
    known : list of str

    Returns
    -------
    Y : csr_matrix of shape (n_docs, n_codes)
    codes : list of str of length n_codes
    """
    columns = {known[j]: j for j in reversed(range(len(known)))}
    new = sorted(set(codes) - set(columns))
    columns |= {code: j for j, code in enumerate(new, start=len(known))}
    places = [columns[code] for code in codes]
    entries = np.ones(len(codes), np.float32), (np.arange(len(codes)), places)
    moved = csr_matrix(Y @ csr_matrix(entries, (len(codes), len(known) + len(new))))
    moved.sort_indices()
    moved.data[:] = 1
    return moved, [*known, *new]
