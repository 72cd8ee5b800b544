"""Concepts of a SKOS vocabulary: their labels, and the links between them."""

import gzip
import json
from collections import Counter, defaultdict

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from .._words import nfc

# rdflib's name of the format of a file, by the end of the file's name.
FORMATS = {
    ".ttl": "turtle",
    ".turtle": "turtle",
    ".rdf": "xml",
    ".xml": "xml",
    ".owl": "xml",
    ".skos": "xml",
    ".nt": "nt",
    ".n3": "n3",
    ".jsonld": "json-ld",
    ".json": "json-ld",
}
_ISO_THES = "http://purl.org/iso25964/skos-thes#"
_XL = "http://www.w3.org/2008/05/skos-xl#"
# Properties that tell how valid a concept is, by the last part of their value.
_STATUS = (
    "http://www.w3.org/ns/adms#status",
    "http://publications.europa.eu/ontology/euvoc#status",
    "http://www.w3.org/2003/06/sw-vocab-status/ns#term_status",
)
_INVALID = {"deprecated", "obsolete", "withdrawn"}


def find_format(path):
    """Return rdflib's name of the format of a file, or None for other files."""
    name = path.name.lower().removesuffix(".gz")
    return next((FORMATS[end] for end in FORMATS if name.endswith(end)), None)


def read_graph(path):
    """Read the triples of a file.

    Nothing is loaded from the network.

    Parameters
    ----------
    path : Path
        Its name tells the format.

    Returns
    -------
    rdflib.Graph

    Raises
    ------
    ImportError
        If rdflib is not installed.
    ValueError
        If the file is malformed.
    """
    try:
        import rdflib
    except ImportError as error:
        raise ImportError(
            f"{path} is a SKOS vocabulary, and reading it needs the package rdflib: "
            "pip install 'skxmc[skos]'."
        ) from error
    content = path.read_bytes()
    try:
        if path.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
        content = content.removeprefix(b"\xef\xbb\xbf")  # parsers stumble over the mark
        kind = find_format(path)
        if kind == "json-ld":
            _refuse_remote_contexts(json.loads(content))
        return rdflib.Graph().parse(data=content, format=kind)
    except Exception as error:  # each parser has errors of its own
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{path} cannot be read as {find_format(path)}: {reason}"
        ) from (error)


def _refuse_remote_contexts(value):
    """Refuse JSON-LD whose names are explained elsewhere: rdflib would fetch that."""
    if isinstance(value, dict):
        contexts = value.get("@context", [])
        contexts = contexts if isinstance(contexts, list) else [contexts]
        remote = [each for each in contexts if isinstance(each, str)]
        remote += [each["@import"] for each in contexts if "@import" in (each or ())]
        if remote:
            raise ValueError(
                f"its @context is {remote[0]}, which would have to be downloaded. Put "
                "the context itself into the file, or save it as Turtle."
            )
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _refuse_remote_contexts(each)


class Concepts:
    """The valid concepts of a graph, in the order of their URIs.

    Parameters
    ----------
    graph : rdflib.Graph
    path : Path
        For messages.

    Attributes
    ----------
    nodes : list of URIRef of length n_concepts
    replaced_by : dict of str to str
        For URIs of concepts that are no longer valid, the one that replaces each.
    n_invalid : int
        Number of concepts that are no longer valid.
    """

    def __init__(self, graph, path):
        from rdflib import RDF, SKOS, URIRef

        self.graph = graph
        kinds = self._below(SKOS.Concept, "subClassOf")
        found = {node for kind in kinds for node in graph.subjects(RDF.type, kind)}
        found = {node for node in found if isinstance(node, URIRef)}
        if not found:
            raise ValueError(
                f"{path} holds no concept of SKOS. Give the file of a vocabulary, in "
                "which every concept has the type skos:Concept."
            )
        invalid, replacements = self._find_invalid(found)
        self.nodes = sorted(found - invalid)
        self.n_invalid = len(invalid)
        if not self.nodes:
            raise ValueError(f"All {len(found)} concepts of {path} are deprecated.")
        self._columns = {node: j for j, node in enumerate(self.nodes)}
        self.replaced_by = {}
        for node in invalid:
            last = self._follow(node, replacements)
            if last is not None:
                self.replaced_by[nfc(str(node))] = nfc(str(last))

    def _below(self, top, relation):
        """Return a class or property, and all that the file declares to be below it."""
        from rdflib import RDFS

        return set(self.graph.transitive_subjects(RDFS[relation], top))

    def _find_invalid(self, found):
        """Return the concepts that are no longer valid, and what replaces concepts."""
        from rdflib import DCTERMS, OWL, RDF, URIRef

        graph = self.graph
        invalid = {
            node
            for node, value in graph.subject_objects(OWL.deprecated)
            if str(value).strip().lower() in ("true", "1")
        }
        invalid.update(graph.subjects(RDF.type, OWL.DeprecatedClass))
        for status in map(URIRef, _STATUS):
            for node, value in graph.subject_objects(status):
                if str(value).replace("#", "/").rpartition("/")[2].lower() in _INVALID:
                    invalid.add(node)
        replacements = defaultdict(set)
        for node, other in graph.subject_objects(DCTERMS.isReplacedBy):
            replacements[node].add(other)
        for other, node in graph.subject_objects(DCTERMS.replaces):
            replacements[node].add(other)
        # A concept that is replaced is not valid, even if nothing else says so.
        invalid.update(node for node, new in replacements.items() if new - {node})
        return invalid & found, replacements

    def _follow(self, node, replacements):
        """Return the valid concept that replaces another one, or None if unclear."""
        seen = set()
        while node not in self._columns:
            new = replacements.get(node, ())
            if len(new) != 1 or node in seen:
                return None
            seen.add(node)
            (node,) = new
        return node

    def read_labels(self, *properties):
        """Return the labels of all nodes of the graph.

        Parameters
        ----------
        *properties : URIRef
            Properties of SKOS; those of SKOS-XL of the same name are read too.

        Returns
        -------
        dict of node to list of (str, str)
            Languages, lower-case and "" without one, and labels.
        """
        from rdflib import Literal, URIRef

        found = defaultdict(list)

        def add(node, label):
            text = nfc(" ".join(str(label).split()))
            if isinstance(label, Literal) and text:
                found[node].append(((label.language or "").lower(), text))

        form = URIRef(f"{_XL}literalForm")
        for kind in properties:
            for node, label in self.graph.subject_objects(kind):
                add(node, label)
            extended = URIRef(_XL + kind.rpartition("#")[2])
            for node, reified in self.graph.subject_objects(extended):
                for label in self.graph.objects(reified, form):
                    add(node, label)
        return found

    def find_links(self):
        """Return the columns of children and of parents, both as lists of int."""
        from rdflib import SKOS, URIRef

        pairs = set()
        for name, kinds in {
            "broader": ("Generic", "Instantial", "Partitive"),
            "narrower": ("Generic", "Instantial", "Partitive"),
        }.items():
            properties = self._below(SKOS[name], "subPropertyOf")
            properties |= {URIRef(f"{_ISO_THES}{name}{kind}") for kind in kinds}
            # The transitive closure is not the hierarchy itself.
            properties -= {SKOS.broaderTransitive, SKOS.narrowerTransitive}
            for kind in properties:
                for one, other in self.graph.subject_objects(kind):
                    pairs.add((one, other) if name == "broader" else (other, one))
        columns = self._columns
        linked = [pair for pair in pairs if all(node in columns for node in pair)]
        children = [columns[child] for child, _ in linked]
        return children, [columns[parent] for _, parent in linked]

    def find_schemes(self):
        """Return the schemes that have top concepts, and the columns of these."""
        from rdflib import SKOS

        tops = defaultdict(set)
        for scheme, node in self.graph.subject_objects(SKOS.hasTopConcept):
            tops[scheme].add(node)
        for node, scheme in self.graph.subject_objects(SKOS.topConceptOf):
            tops[scheme].add(node)
        columns = self._columns
        found = {
            scheme: sorted(columns[node] for node in nodes if node in columns)
            for scheme, nodes in sorted(tops.items())
        }
        return {scheme: nodes for scheme, nodes in found.items() if nodes}


def choose_language(labels, alternatives, language, path):
    """Return the order in which the languages of labels are preferred.

    Parameters
    ----------
    labels, alternatives : list of list of (str, str)
        Languages and labels of each concept.
    language : str or None
        What the user chose. None means the language of most concepts.
    path : Path
        For messages.

    Returns
    -------
    ranks : dict of str to int
        For each language in the file, its rank. 0 is the chosen one, 1 are its
        regional variants, and labels without a language follow.
    language : str
        The chosen one.
    """
    counts = Counter(code for each in labels for code in {code for code, _ in each})
    by_count = sorted(counts, key=lambda code: (-counts[code], code != "en", code))
    if language is None:
        language = by_count[0] if by_count else ""
    language = language.lower()
    base = language.partition("-")[0]
    if not any(code.partition("-")[0] == base for code in counts) and counts:
        known = ", ".join(f"{code} ({counts[code]:,})" for code in by_count if code)
        raise ValueError(
            f"No concept of {path} has a label in the language {language!r}. There are "
            f"{known or 'only labels without a language'}."
        )

    def preference(code):
        if code == language:
            return 0
        if code.partition("-")[0] == base:
            return 1
        return 2 if not code else 3 if code == "en" else 4

    codes = dict.fromkeys(by_count)
    codes |= dict.fromkeys(sorted({code for each in alternatives for code, _ in each}))
    order = sorted(codes, key=preference)  # the most frequent first of equal ones
    ranks, last = {}, 4
    for code in order:
        rank = preference(code)
        if rank == 4:
            rank, last = last, last + 1
        ranks[code] = rank
    return ranks, language


def link_concepts(children, parents, n_concepts, uris, warn):
    """Return the parents of concepts as a matrix, without links that form cycles.

    Parameters
    ----------
    children, parents : list of int
        Columns of concepts.
    n_concepts : int
    uris : list of str
        For the message.
    warn : callable
        Called with a message if there are cycles.

    Returns
    -------
    csr_matrix of shape (n_concepts, n_concepts), float32
    """
    shape = n_concepts, n_concepts
    ones = np.ones(len(children), np.float32)
    links = csr_matrix((ones, (children, parents)), shape)
    _, components = connected_components(links, connection="strong")
    links = links.tocoo()
    is_in_cycle = components[links.row] == components[links.col]
    if is_in_cycle.any():
        nodes = np.unique(links.row[is_in_cycle])
        names = ", ".join(uris[j] for j in nodes[:5])
        warn(
            f"{len(nodes)} concepts are above themselves, since links to broader "
            f"concepts form cycles: {names}{', ...' if len(nodes) > 5 else ''}. The "
            f"{is_in_cycle.sum()} links between them are left out."
        )
    keep = ~is_in_cycle
    entries = np.ones(keep.sum(), np.float32), (links.row[keep], links.col[keep])
    return csr_matrix(entries, shape)
