"""Label lists of controlled vocabularies: SKOS, and Annif's subject files."""

import csv
import warnings
from pathlib import Path

from scipy.sparse import csr_matrix, hstack
from sklearn.utils import Bunch

from .._words import nfc
from ._skos import Concepts, choose_language, find_format, link_concepts, read_graph
from ._text_files import open_text

# Between a preferred label and its alternatives in a label text.
_BETWEEN = "; "


def load_vocabulary(path, *, language=None):
    r"""Load the labels of a controlled vocabulary, and the hierarchy between them.

    Parameters
    ----------
    path : str or path-like
        A SKOS vocabulary in Turtle (``.ttl``), RDF/XML (``.rdf``, ``.xml``, ``.owl``),
        N-Triples (``.nt``) or JSON-LD (``.jsonld``), which needs rdflib; or a subject
        file of Annif: ``.tsv`` with lines ``<uri> TAB label TAB notation``, the
        notation being optional, or ``.csv`` with columns ``uri``, ``label_en`` and so
        on, and ``notation``. Each may be compressed (``.gz``).
    language : str or None, default=None
        Language of the labels, such as "en" or "de-AT". None means the language in
        which most concepts have a label, and English if two have equally many.

    Returns
    -------
    vocabulary : :class:`~sklearn.utils.Bunch`
        label_codes : list of str of length n_labels
            URIs of the concepts, sorted for SKOS, otherwise as in the file.
        label_names : list of str of length n_labels
            Preferred labels. A concept that has none in the language gets its label
            without a language, or else that in English or in the most frequent other
            language.
        label_texts : list of str of length n_labels
            Texts for a classifier to learn from: the preferred label and its
            alternatives, with semicolons between them.
        label_alternatives : list of list of str
            Alternative labels in the language, or without a language.
        label_notations : list of (str or None)
            Notations, such as class numbers.
        label_parents : csr_matrix of shape (n_labels, n_labels + n_parents), or None
            Binary, float32: the broader concepts of each label, of which it may have
            several. The last columns are those of `parent_names`. None if the file
            has no hierarchy.
        parent_names : list of str of length n_parents
            If a SKOS file has several concept schemes with top concepts, these schemes;
            they are the parents of their top concepts.
        replaced_by : dict of str to str
            For deprecated URIs, the URI that replaces each, if it is one.
        language : str
            The language; "" for labels without one.
        DESCR : str
            Where the labels come from, and what was left out.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ImportError
        If it is a SKOS vocabulary, and rdflib is not installed.
    ValueError
        If the file is malformed, or has no label in the language.

    Warns
    -----
    UserWarning
        If broader concepts form cycles, whose links are left out, or if concepts are
        named in another language or by their URI.

    Notes
    -----
    Concepts are left out that are deprecated (``owl:deprecated``, or a status that says
    so) or replaced (``dcterms:isReplacedBy``). Collections are no labels. Labels of
    SKOS-XL are read like those of SKOS. A concept without a preferred label takes
    ``rdfs:label``. Nothing is loaded from the network.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skxmc.datasets import load_vocabulary
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "subjects.tsv")
    ...     _ = path.write_text("<http://a.org/1>\tcats\n<http://a.org/2>\tdogs\n")
    ...     vocabulary = load_vocabulary(path)
    >>> vocabulary.label_codes
    ['http://a.org/1', 'http://a.org/2']
    >>> vocabulary.label_names
    ['cats', 'dogs']
    """
    path = Path(path)
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".tsv"):
        return _load_subjects(path, _read_tsv(path), language)
    if name.endswith(".csv"):
        return _load_subjects(path, _read_csv(path), language)
    if find_format(path) is None:
        raise ValueError(
            f"{path} cannot be read as a vocabulary: its name must end in .ttl, .rdf, "
            ".xml, .owl, .nt, .n3, .jsonld or .json for SKOS, or in .tsv or .csv for a "
            "subject file of Annif."
        )
    return _load_skos(path, language)


def _warn(message):
    warnings.warn(message, UserWarning, stacklevel=5)


def _load_skos(path, language):
    graph = read_graph(path)  # which says what to do without rdflib
    from rdflib import DC, DCTERMS, RDFS, SKOS

    concepts = Concepts(graph, path)
    preferred = concepts.read_labels(SKOS.prefLabel)
    plain = concepts.read_labels(RDFS.label)
    others = concepts.read_labels(SKOS.altLabel)
    nodes = concepts.nodes
    labels = [preferred.get(node) or plain.get(node, []) for node in nodes]
    alternatives = [others.get(node, []) for node in nodes]
    uris = [nfc(str(node)) for node in nodes]
    ranks, language = choose_language(labels, alternatives, language, path)
    found = _name_labels(path, uris, labels, alternatives, ranks, language)
    notations = {
        node: nfc(str(value)) for node, value in concepts.graph[: SKOS.notation]
    }
    found.label_notations = [notations.get(node) for node in nodes]
    n_labels = len(nodes)
    children, parents = concepts.find_links()
    above = link_concepts(children, parents, n_labels, uris, _warn)
    titles = concepts.read_labels(SKOS.prefLabel, RDFS.label, DCTERMS.title, DC.title)
    schemes = concepts.find_schemes()
    if len(schemes) > 1:
        found.parent_names = [
            _choose(titles[node], ranks)[1] if titles[node] else str(node)
            for node in schemes
        ]
        columns = [j for j, tops in enumerate(schemes.values()) for _ in tops]
        rows = [top for tops in schemes.values() for top in tops]
        entries = [1.0] * len(rows), (rows, columns)
        tops = csr_matrix(entries, (n_labels, len(schemes)), dtype="float32")
        above = hstack([above, tops], format="csr")
    found.label_parents = above if above.nnz else None
    found.replaced_by = concepts.replaced_by
    found.DESCR = (
        f"SKOS vocabulary {path}: {n_labels:,} concepts, named in {language!r}; "
        f"{concepts.n_invalid:,} deprecated ones were left out"
    )
    return found


def _load_subjects(path, subjects, language):
    """Return the vocabulary of Annif's subject files.

    Parameters
    ----------
    path : Path
    subjects : iterator of (str, list of (str, str), str or None)
        URI, languages and labels, and notation of each subject.
    language : str or None
    """
    rows, left_out = {}, 0
    for uri, labels, notation in subjects:
        if not labels:  # so Annif marks a subject that is deprecated
            left_out += 1
            continue
        known = rows.setdefault(uri, ([], notation))
        known[0].extend(labels)
    if not rows:
        raise ValueError(f"{path} holds no subjects.")
    labels = [each for each, _ in rows.values()]
    nothing = [[] for _ in rows]
    if not any(code for each in labels for code, _ in each):
        language = ""  # labels of a TSV file have no language
    ranks, language = choose_language(labels, nothing, language, path)
    found = _name_labels(path, list(rows), labels, nothing, ranks, language)
    found.label_notations = [notation for _, notation in rows.values()]
    found.DESCR = (
        f"Subject file {path}: {len(rows):,} subjects; {left_out:,} without a label "
        "were left out"
    )
    return found


def _name_labels(path, uris, labels, alternatives, ranks, language):
    """Choose the label of each concept, and make a vocabulary without a hierarchy."""
    names, texts, others = [], [], []
    n_foreign, n_unnamed = 0, 0
    for uri, own, more in zip(uris, labels, alternatives, strict=True):
        if own:
            code, name = _choose(own, ranks)
            n_foreign += ranks[code] > 2
        else:
            name = uri.rstrip("/#").replace("#", "/").rpartition("/")[2] or uri
            n_unnamed += 1
        names.append(name)
        fit = {text for code, text in [*own, *more] if ranks[code] <= 2}
        others.append(sorted(fit - {name}))
        texts.append(_BETWEEN.join([name, *others[-1]]))
    if n_foreign:
        _warn(
            f"Concepts of {path} that have no label in {language!r} are named in "
            f"another language: {n_foreign:,} of {len(uris):,}."
        )
    if n_unnamed:
        _warn(
            f"Concepts of {path} that have no label are named by the last part of "
            f"their URI: {n_unnamed:,} of {len(uris):,}."
        )
    return Bunch(
        label_codes=uris,
        label_names=names,
        label_texts=texts,
        label_alternatives=others,
        label_parents=None,
        parent_names=[],
        replaced_by={},
        language=language,
    )


def _choose(labels, ranks):
    """Return the language and the label that is preferred."""
    last = len(ranks) + 5  # for languages that only titles of schemes have
    return min(labels, key=lambda each: (ranks.get(each[0], last), each[1]))


# Annif's subject files


def clean_uri(text):
    """Return a URI without the angle brackets and the blanks around it."""
    text = text.strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    return nfc(text)


def _read_tsv(path):
    with open_text(path) as file:
        for line in file:
            cells = [cell.strip() for cell in line.rstrip("\r\n").split("\t")]
            if any(cells):
                uri, label, notation = [*cells, "", ""][:3]
                labels = [("", nfc(label))] if label else []
                yield clean_uri(uri), labels, nfc(notation) or None


def _read_csv(path):
    with open_text(path, newline="") as file:
        rows = csv.reader(file, strict=True)
        header = next(rows, [])
        languages = {
            j: name.removeprefix("label_").lower()
            for j, name in enumerate(header)
            if name.startswith("label_")
        }
        if "uri" not in header or not languages:
            raise ValueError(
                f"{path}, line 1: the columns must be uri, label_en or other "
                f"languages, and maybe notation; got {', '.join(header) or 'none'}."
            )
        uri = header.index("uri")
        notation = header.index("notation") if "notation" in header else None
        try:
            for cells in filter(None, rows):
                if len(cells) != len(header):
                    raise ValueError(
                        f"it has {len(cells)} cells instead of {len(header)}"
                    )
                labels = [
                    (code, nfc(cells[j].strip()))
                    for j, code in languages.items()
                    if cells[j].strip()
                ]
                own = None if notation is None else nfc(cells[notation].strip()) or None
                yield clean_uri(cells[uri]), labels, own
        except UnicodeDecodeError:
            raise
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path}, line {rows.line_num}: {error}.") from error


class Lookup:
    """Finds the labels of a vocabulary by what stands in a document's record.

    Parameters
    ----------
    vocabulary : Bunch
        As `load_vocabulary` returns it.
    """

    def __init__(self, vocabulary):
        codes = vocabulary.label_codes
        self._uris = {code: code for code in codes} | {
            old: new for old, new in vocabulary.replaced_by.items()
        }
        self._labels = _unique(vocabulary.label_names, codes)
        self._notations = _unique(vocabulary.label_notations, codes)

    def by_uri(self, uri):
        """Return the URI itself or what replaces it, or None if it is unknown."""
        return self._uris.get(uri)

    def by_label(self, label):
        """Return the URI of a preferred label, or None if not exactly one has it."""
        return self._labels.get(label)

    def find(self, name):
        """Return the URI of a URI, a preferred label or a notation, or None."""
        uri = self.by_uri(clean_uri(name)) or self.by_label(name)
        return uri or self._notations.get(name)


def _unique(names, codes):
    """Return the code of each name that only one code has."""
    found = {}
    for name, code in zip(names, codes, strict=True):
        if name is not None:
            found[name] = None if name in found else code
    return found
