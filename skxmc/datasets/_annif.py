"""Document corpora of Annif: short texts in one file, full texts in a folder."""

import csv
import json
import re
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from .._words import nfc
from ._table import _build_label_matrix
from ._text_files import open_text
from ._vocabulary import Lookup, clean_uri, load_vocabulary

_TABLES = (".tsv", ".csv", ".jsonl")
_URI = re.compile(r"<[^<>\s]+>|(https?|urn|info|ark|doi):\S+", re.IGNORECASE)
# Of documents and names that are left out, so many are named in a warning.
_N_NAMED = 5


def load_annif_corpus(path, vocabulary=None, *, language=None, known=None):
    r"""Load documents and their subjects from a corpus in one of Annif's formats.

    Parameters
    ----------
    path : str or path-like
        A file or a folder.

        - ``.tsv`` without a header: ``text TAB <uri> <uri>`` in each line.
        - ``.csv`` with the columns ``text`` and ``subject_uris``, in which spaces
          separate URIs. Other columns are ignored.
        - ``.jsonl``: an object with ``text`` and ``subjects`` in each line. A subject
          is an object with ``uri``, ``label`` or both.
        - A folder of documents: ``.txt`` files, each with a file of the same name that
          ends in ``.tsv`` (``<uri> TAB label`` in each line) or ``.key`` (a label in
          each line), and ``.json`` files with the objects of ``.jsonl``.

        Files may be compressed (``.gz``), except those in a folder.
    vocabulary : str, path-like, Bunch or None, default=None
        The vocabulary of the subjects: a file for :func:`load_vocabulary`, or what
        that returns. Its labels are the columns of ``Y``, whether documents have them
        or not. None takes the subjects of the documents as they are.
    language : str or None, default=None
        Language of a vocabulary that is given as a file.
    known : sequence of str or None, default=None
        Names of the first label columns, such as the `label_names_` of a classifier.
        Subjects that only the corpus has follow them, and a vocabulary is only used to
        find the URIs of labels, and of what replaces deprecated concepts.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        texts : list of str of length n_docs
            Documents, those of a folder in the order of their names.
        Y : csr_matrix of shape (n_docs, n_labels)
            Binary label matrix, float32, with sorted int32 indices.
        label_codes : list of str of length n_labels
            URIs, or labels where a subject has no URI.
        label_names : list of str of length n_labels, or None
            Names of the vocabulary, or labels in the files of the documents. A label
            without a name has its code. None if there are no names.
        label_texts, label_parents, parent_names
            Those of the vocabulary, or None.
        unknown : dict of str to int
            Subjects that are not in the vocabulary, or not `known`, and the number of
            documents that have each. With `known`, they are columns of ``Y``.
        DESCR : str
            Where the data come from.

    Raises
    ------
    FileNotFoundError
        If a file does not exist.
    ImportError
        If the vocabulary is in SKOS, and rdflib is not installed.
    ValueError
        If a file is malformed, or if there are no documents with subjects.

    Warns
    -----
    UserWarning
        If subjects are not in the vocabulary, or if documents are left out since no
        file or no tab tells their subjects.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skxmc.datasets import load_annif_corpus
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "train.tsv")
    ...     _ = path.write_text("A cat\t<http://a.org/1>\nA dog\t<http://a.org/2>\n")
    ...     data = load_annif_corpus(path)
    >>> data.label_codes
    ['http://a.org/1', 'http://a.org/2']
    >>> data.Y.toarray().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    path = Path(path)
    if vocabulary is not None and not isinstance(vocabulary, Bunch):
        vocabulary = load_vocabulary(vocabulary, language=language)
    texts, lists = [], []
    for text, subjects in _read_corpus(path):
        texts.append(nfc(text))
        lists.append(subjects)
    if not texts:
        raise ValueError(f"{path} holds no documents with subjects.")
    if not any(texts):
        raise ValueError(f"All {len(texts):,} documents of {path} are empty texts.")
    names = find_codes(lists, vocabulary)
    columns = known
    if known is None and vocabulary is not None:
        columns = vocabulary.label_codes
    Y, codes = _build_label_matrix(names, columns)
    n_known = len(codes) if columns is None else len(columns)
    counts = np.bincount(Y.indices, minlength=len(codes))
    unknown = {code: int(counts[j]) for j, code in enumerate(codes) if j >= n_known}
    if vocabulary is not None:
        warn_of_unknown(path, unknown, vocabulary)
    data = Bunch(texts=texts, Y=Y, label_codes=codes, label_names=None)
    data.update(label_texts=None, label_parents=None, parent_names=None)
    data.update(unknown=unknown, DESCR=f"Corpus in a format of Annif: {path}")
    if known is None and vocabulary is not None:
        data.Y, data.label_codes = Y[:, :n_known], vocabulary.label_codes
        for field in ("label_names", "label_texts", "label_parents", "parent_names"):
            data[field] = vocabulary[field]
        if not data.Y.nnz:
            raise ValueError(
                f"No document of {path} has a subject of the vocabulary "
                f"({vocabulary.DESCR}). Its subjects are such as "
                f"{', '.join(list(unknown)[:3]) or 'none'}: give the vocabulary that "
                "they come from."
            )
    elif known is None:
        data.label_names = _names_of_documents(lists, codes)
    return data


def find_codes(lists, vocabulary):
    """Return the code of each subject: its URI, or its label if it has no URI.

    Parameters
    ----------
    lists : list of list of (str or None, str or None)
        URIs and labels of the subjects of each document.
    vocabulary : Bunch or None
        Gives the URIs of labels, and of what replaces a deprecated concept.
    """
    if vocabulary is None:
        return [[uri or label for uri, label in subjects] for subjects in lists]
    lookup = Lookup(vocabulary)
    return [
        [
            (lookup.by_uri(uri) if uri else lookup.by_label(label)) or uri or label
            for uri, label in subjects
        ]
        for subjects in lists
    ]


def warn_of_unknown(path, unknown, vocabulary):
    """Warn of subjects that are not in the vocabulary."""
    if not unknown:
        return
    most = sorted(unknown, key=lambda code: (-unknown[code], code))[:_N_NAMED]
    names = ", ".join(f"{code} ({unknown[code]:,})" for code in most)
    warnings.warn(
        f"{path} has labels that are not in the vocabulary ({vocabulary.DESCR}): "
        f"{len(unknown):,} labels, which stand {sum(unknown.values()):,} times at a "
        f"document. They are left out or count as missed: {names}"
        f"{', ...' if len(unknown) > _N_NAMED else ''}.",
        UserWarning,
        stacklevel=3,
    )


def _names_of_documents(lists, codes):
    """Return the labels that stand beside URIs, the most frequent one of each."""
    counts = Counter(
        pair for subjects in lists for pair in subjects if None not in pair
    )
    if not counts:
        return None
    names = {}
    for uri, label in sorted(counts, key=lambda pair: (-counts[pair], pair)):
        names.setdefault(uri, label)
    return [names.get(code, code) for code in codes]


# Which files are a corpus


def is_annif_corpus(path):
    """Whether a file or a folder looks like a corpus of Annif.

    A ``.tsv`` file does if the first line is a text and URIs, a ``.csv`` file if its
    header has the columns, a ``.jsonl`` file if its first object has ``subjects``, and
    a folder if it holds documents with files of subjects.
    """
    path = Path(path)
    if path.is_dir():
        return any(_subject_file(text) for text in path.glob("*.txt")) or any(
            _has_subjects(_read_start(file)) for file in path.glob("*.json")
        )
    kind = _find_kind(path)
    if kind is None:
        return False
    try:
        with open_text(path) as file:
            first = next((line for line in file if line.strip()), "")
    except (OSError, ValueError):
        return False
    if kind == ".tsv":
        subjects = first.partition("\t")[2].split()
        return bool(subjects) and all(map(_URI.fullmatch, subjects))
    if kind == ".csv":
        return {"text", "subject_uris"} <= set(next(csv.reader([first]), ()))
    return _has_subjects(first)


def _find_kind(path):
    name = path.name.lower().removesuffix(".gz")
    return next((kind for kind in _TABLES if name.endswith(kind)), None)


def _read_start(path):
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError):
        return ""


def _has_subjects(line):
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    subjects = found.get("subjects") if isinstance(found, dict) else None
    are_objects = isinstance(subjects, list) and all(
        isinstance(subject, dict) for subject in subjects
    )
    return are_objects and "labels" not in found


def _subject_file(path):
    """Return the file that tells the subjects of a document, or None."""
    others = (path.with_suffix(suffix) for suffix in (".tsv", ".key"))
    return next((other for other in others if other.is_file()), None)


# Reading


def _read_corpus(path):
    """Yield the text of each document, and its subjects as (URI, label) pairs."""
    if path.is_dir():
        yield from _read_folder(path)
        return
    readers = {".tsv": _read_tsv, ".csv": _read_csv, ".jsonl": _read_jsonl}
    kind = _find_kind(path)
    if kind is None:
        raise ValueError(
            f"{path} cannot be read as a corpus of Annif: it must be a folder, or its "
            "name must end in .tsv, .csv or .jsonl, or in one of them and .gz."
        )
    yield from readers[kind](path)


def _split_uris(cell):
    return [(clean_uri(uri), None) for uri in cell.split()]


def _read_tsv(path):
    skipped = []
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            text, tab, uris = line.rstrip("\r\n").partition("\t")
            if tab:
                yield text, _split_uris(uris)
            elif text.strip():
                skipped.append(f"line {number}")
    _warn_of_skipped(path, skipped, "have no tab between a text and its subjects")


def _read_csv(path):
    with open_text(path, newline="") as file:
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default is 128 KiB
        rows = csv.reader(file, strict=True)
        try:
            header = next(rows, [])
            if not {"text", "subject_uris"} <= set(header):
                raise ValueError(
                    "the header must have the columns text and subject_uris; got "
                    f"{', '.join(header) or 'none'}"
                )
            text, uris = header.index("text"), header.index("subject_uris")
            for cells in filter(None, rows):
                if len(cells) != len(header):
                    raise ValueError(
                        f"it has {len(cells)} cells, and the header has {len(header)}"
                    )
                yield cells[text], _split_uris(cells[uris])
        except UnicodeDecodeError:
            raise
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path}, line {rows.line_num}: {error}.") from error


def _read_jsonl(path):
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _read_object(line, f"{path}, line {number}")


def _read_object(text, place):
    """Return the text and the subjects of a JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place} is not valid JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ValueError(f"{place} must be a JSON object, got {text.strip()!r:.60}.")
    document, subjects = found.get("text") or "", found.get("subjects") or []
    if not isinstance(document, str):
        raise ValueError(f'{place}: "text" must be a text, got {document!r:.60}.')
    pairs = []
    for subject in subjects if isinstance(subjects, list) else [subjects]:
        uri, label = None, None
        if isinstance(subject, dict):
            uri, label = subject.get("uri") or None, subject.get("label") or None
        given = [value for value in (uri, label) if value is not None]
        if not given or not all(isinstance(value, str) for value in given):
            raise ValueError(
                f'{place}: "subjects" must be a list of objects with a "uri" or a '
                f'"label"; got {subject!r:.60}.'
            )
        pairs.append((uri and clean_uri(uri), label and nfc(label.strip())))
    return document, pairs


def _read_folder(path):
    skipped, damaged = [], []
    for file in sorted(path.glob("*.txt")):
        subjects = _subject_file(file)
        if subjects is None:
            skipped.append(file.name)
            continue
        content = file.read_bytes().removeprefix(b"\xef\xbb\xbf")
        text = content.decode("utf-8", errors="replace")
        if "\ufffd" in text:
            damaged.append(file.name)
        with open_text(subjects) as lines:
            yield text, [pair for line in lines for pair in _read_subject(line)]
    for file in sorted(path.glob("*.json")):
        with open_text(file) as content:
            yield _read_object(content.read(), str(file))
    _warn_of_skipped(path, skipped, "have no file .tsv or .key with their subjects")
    if damaged:
        warnings.warn(
            f"Texts of {path} have bytes that are not UTF-8, which were replaced: "
            f"{len(damaged):,} texts, {_name_some(damaged)}.",
            UserWarning,
            stacklevel=4,
        )


def _read_subject(line):
    """Yield the URI and the label in a line of a subject file, either of them None."""
    cells = [cell.strip() for cell in line.split("\t")]
    cells = [cell for cell in cells if cell]
    if cells and _URI.fullmatch(cells[0]):
        yield clean_uri(cells[0]), nfc(cells[1]) if len(cells) > 1 else None
    elif cells:
        yield None, nfc(cells[0])


def _warn_of_skipped(path, skipped, reason):
    if skipped:
        warnings.warn(
            f"Documents of {path} {reason}, and are left out: {len(skipped):,}, "
            f"{_name_some(skipped)}.",
            UserWarning,
            stacklevel=5,
        )


def _name_some(names):
    more = ", ..." if len(names) > _N_NAMED else ""
    return ", ".join(names[:_N_NAMED]) + more
