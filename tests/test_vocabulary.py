"""Vocabularies in SKOS, and subject files of Annif."""

import socket
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabulary_examples import (
    ANIMALS,
    JSON_LD,
    N_TRIPLES,
    NAMES,
    RDF_XML,
    TURTLE,
    turtle,
    uri,
    write,
)

from skxmc.datasets import load_vocabulary
from skxmc.datasets._skos import link_concepts
from skxmc.datasets._vocabulary import Lookup

pytest.importorskip("rdflib")
pytestmark = pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
FOREIGN = pytest.mark.filterwarnings("ignore:.*are named in another")


def parents(vocabulary):
    """The parents of each label, by name."""
    names = [*vocabulary.label_names, *vocabulary.parent_names]
    matrix = vocabulary.label_parents
    return {
        names[i]: [names[j] for j in matrix[[i]].indices]
        for i in range(len(names))
        if i < matrix.shape[0]
    }


@pytest.fixture
def load(tmp_path):
    def write_and_load(content, name="vocabulary.ttl", **options):
        return load_vocabulary(write(tmp_path / name, content), **options)

    return write_and_load


@FOREIGN
def test_concepts_of_turtle(load):
    found = load(TURTLE, language="en")
    assert found.label_codes == [uri(j) for j in (1, 2, 3, 4)]
    assert found.label_names == NAMES
    assert found.label_texts == [
        "animals",
        "pets; companion animals",
        "cats; Felis; felines",
        "koirat",
    ]
    assert found.label_alternatives[2] == ["Felis", "felines"]
    assert found.label_notations == ["59", None, None, None]
    assert found.language == "en" and found.parent_names == []
    assert found.label_parents.dtype == np.float32 and sp.issparse(found.label_parents)
    assert parents(found) == {
        "animals": [],
        "pets": ["animals"],
        "cats": ["animals", "pets"],
        "koirat": ["pets"],
    }
    assert "4 concepts" in found.DESCR and "3 deprecated" in found.DESCR


@FOREIGN
def test_deprecated_concepts_and_what_replaces_them(load):
    found = load(TURTLE, language="en")
    # p7 was replaced by two concepts: which one a document means is not known.
    assert found.replaced_by == {uri(5): uri(4), uri(6): uri(4)}


@pytest.mark.parametrize(
    "about",
    [
        "owl:deprecated true",
        'owl:deprecated "True"',
        "owl:deprecated 1",
        "a owl:DeprecatedClass",
        "<http://www.w3.org/ns/adms#status> <http://purl.org/adms/status/Withdrawn>",
        "<http://publications.europa.eu/ontology/euvoc#status> "
        "<http://publications.europa.eu/resource/authority/concept-status/DEPRECATED>",
        '<http://www.w3.org/2003/06/sw-vocab-status/ns#term_status> "deprecated"',
        "dct:isReplacedBy ex:b",
        "dct:isReplacedBy <http://elsewhere.org/c>",
    ],
)
def test_kinds_of_deprecation(about, load):
    both = (
        'ex:a a skos:Concept; skos:prefLabel "x" . '
        'ex:b a skos:Concept; rdfs:label "y" . '
    )
    assert load(turtle(both)).label_names == ["x", "y"]
    found = load(turtle(f"{both} ex:a {about} ."))
    assert found.label_names == ["y"]
    expected = {"http://a.org/a": "http://a.org/b"} if about.endswith("ex:b") else {}
    assert found.replaced_by == expected


@pytest.mark.parametrize("about", ["owl:deprecated false", "dct:isReplacedBy ex:a"])
def test_what_is_no_deprecation(about, load):
    text = f'ex:a a skos:Concept ; skos:prefLabel "x" ; {about} .'
    assert load(turtle(text)).label_names == ["x"]


def test_replacements_in_a_circle(load):
    text = (
        "ex:a a skos:Concept; dct:isReplacedBy ex:b . "
        "ex:b a skos:Concept; dct:isReplacedBy ex:a . "
        'ex:c a skos:Concept; skos:prefLabel "c" . '
    )
    assert load(turtle(text)).replaced_by == {}


# Languages


@FOREIGN
def test_default_language_is_that_of_most_concepts(load):
    found = load(TURTLE)
    assert found.language == "fi"
    assert found.label_names == ["eläimet", "lemmikit", "kissat", "koirat"]
    assert found.label_texts[2] == "kissat; Felis; kisut"


def test_english_is_the_default_of_equals(load):
    text = 'ex:a a skos:Concept; skos:prefLabel "x"@en, "w"@de, "v"@fi.'
    assert load(turtle(text)).label_names == ["x"]


@pytest.mark.parametrize(
    "language, expected",
    [
        ("de", "d"),
        ("DE", "d"),
        ("de-AT", "d-at"),
        ("de-CH", "d"),  # another region of the language
        ("fr", "plain"),  # none of this concept, but of the other one
    ],
)
@FOREIGN
def test_fallbacks_of_languages(language, expected, load):
    text = (
        'ex:a a skos:Concept; skos:prefLabel "plain", "e"@en, "d"@de, "d-at"@de-at.'
        'ex:b a skos:Concept; skos:prefLabel "f"@fr, "g"@de.'
    )
    assert load(turtle(text), language=language).label_names[0] == expected


def test_falls_back_to_english_and_then_to_the_most_frequent(load):
    text = (
        'ex:a a skos:Concept; skos:prefLabel "d"@de.'
        'ex:b a skos:Concept; skos:prefLabel "f"@fi, "s"@sv, "e"@en.'
        'ex:c a skos:Concept; skos:prefLabel "s"@sv, "f"@fi.'
        'ex:d a skos:Concept; skos:prefLabel "f"@fi.'
    )
    with pytest.warns(UserWarning, match="named in another language: 3 of 4"):
        found = load(turtle(text), language="de")
    assert found.label_names == ["d", "e", "f", "f"]


def test_language_that_no_label_has(load):
    with pytest.raises(ValueError, match=r"language 'fr'. There are fi \(4\), en"):
        load(TURTLE, language="fr")
    with pytest.raises(ValueError, match="only labels without a language"):
        load(N_TRIPLES, "v.nt", language="en")


def test_several_preferred_labels_and_none(load):
    text = (
        'ex:a a skos:Concept; skos:prefLabel "y"@en, "x"@en . '
        'ex:a skos:altLabel "z"@en, "x"@en . '
        "<http://a.org/b#last> a skos:Concept . "
        "ex:_c a skos:Concept; skos:prefLabel ' ' . "
    )
    with pytest.warns(UserWarning, match="last part of their URI: 2 of 3"):
        found = load(turtle(text))
    assert found.label_names == ["_c", "x", "last"]
    assert found.label_texts[1] == "x; y; z"


# Formats


def test_rdf_xml_with_extended_labels(load):
    found = load(RDF_XML, "export.rdf")
    assert found.label_codes == [
        "http://example.org/xl/c_1",
        "http://example.org/xl/c_2",
    ]
    assert found.label_texts == ["maize; corn", "cereals"]
    assert parents(found) == {"maize": ["cereals"], "cereals": []}


def test_n_triples(load):
    found = load(N_TRIPLES, "v.nt")
    assert found.label_names == ["Straße", "Weg"] and found.language == ""
    assert parents(found) == {"Straße": [], "Weg": ["Straße"]}


@FOREIGN
def test_json_ld(load):
    found = load(JSON_LD, "v.jsonld")
    assert found.label_names == ["roads", "paths"]
    assert load(JSON_LD, "v.json", language="fi").label_names == ["tiet", "paths"]


@FOREIGN
@pytest.mark.parametrize("name", ["v.ttl", "v.TTL", "v.ttl.gz", "v.turtle"])
def test_marks_line_ends_and_compression(name, load):
    content = b"\xef\xbb\xbf" + TURTLE.replace("\n", "\r\n").encode()
    assert load(content, name, language="en").label_names == NAMES


def test_nothing_is_loaded_from_the_network(load, monkeypatch):
    calls = []

    def refuse(*args, **kwargs):
        calls.append(args)
        raise OSError("there is no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for context in (
        "http://example.org/context.jsonld",
        [{}, "http://example.org/context.jsonld"],
        {"@import": "http://example.org/context.jsonld"},
    ):
        content = JSON_LD | {"@context": context}
        with pytest.raises(ValueError, match="http://example.org/context.jsonld"):
            load(content, "v.jsonld")
        with pytest.raises(ValueError, match="would have to be downloaded"):
            load({"@graph": [content]}, "v.jsonld")
    entity = '<!DOCTYPE x [<!ENTITY e SYSTEM "http://example.org/x">]>'
    text = RDF_XML.replace("<rdf:RDF", "<rdf:RDF", 1)
    start = text.index("<!DOCTYPE")
    stop = text.index("]>") + 2
    text = text[:start] + entity.replace("x [", "rdf:RDF [") + text[stop:]
    text = text.replace("&skos;", "http://www.w3.org/2004/02/skos/core#")
    text = text.replace("maize", "maize&e;")
    try:
        found = load(text, "v.rdf")
        assert "maize" in found.label_names[0]
    except ValueError:
        pass  # a parser may refuse it
    assert not calls


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("v.ttl", "<a> <b>", "cannot be read as turtle"),
        ("v.rdf", "<rdf:RDF>", "cannot be read as xml"),
        ("v.jsonld", "{", "cannot be read as json-ld"),
        ("v.ttl.gz", b"x", "cannot be read as turtle"),
        ("v.nt", "", "holds no concept of SKOS"),
        ("v.ttl", turtle('ex:a skos:prefLabel "x" .'), "holds no concept of SKOS"),
        ("v.ttl", turtle('[] a skos:Concept; skos:prefLabel "x".'), "holds no concept"),
        ("v.ttl", turtle("ex:a a skos:Concept; owl:deprecated true."), "deprecated"),
        ("v.doc", "", r"its name must end in \.ttl"),
        ("v.tsv", "", "holds no subjects"),
        ("v.csv", "", "the columns must be uri, label_en"),
        ("v.csv", "uri,label_en\na,b,c\n", "line 2: it has 3 cells instead of 2"),
        ("v.tsv", b"\xff\xfe", "is not UTF-8"),
        ("v.csv", b"uri,label_en\nx,\xff", "is not UTF-8"),
        ("v.tsv.gz", b"x", "cannot be"),
    ],
)
def test_files_that_cannot_be_read(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        load_vocabulary(path)


def test_file_that_is_not_there(tmp_path):
    for name in ("v.ttl", "v.tsv", "v.csv.gz"):
        with pytest.raises(FileNotFoundError):
            load_vocabulary(tmp_path / name)


def test_without_rdflib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rdflib", None)
    with pytest.raises(ImportError, match=r"pip install 'skxmc\[skos\]'"):
        load_vocabulary(write(tmp_path / "v.ttl", TURTLE))
    path = write(tmp_path / "v.tsv", "<http://a.org/1>\tx\n")
    assert load_vocabulary(path).label_names == ["x"]


# The hierarchy


def test_all_kinds_of_links(load):
    text = (
        "ex:part rdfs:subPropertyOf skos:broader . "
        "ex:a a skos:Concept . ex:b a skos:Concept; skos:broader ex:a . "
        "ex:c a skos:Concept . "
        "ex:c <http://purl.org/iso25964/skos-thes#broaderGeneric> ex:b . "
        "ex:d a skos:Concept . ex:b skos:narrower ex:d . "
        "ex:e a skos:Concept; ex:part ex:a; skos:broader <http://other.org/x> . "
        "ex:c skos:broaderTransitive ex:a; skos:related ex:e; skos:broadMatch ex:d . "
    )
    with pytest.warns(UserWarning, match="that have no label are"):
        found = load(turtle(text))
    assert parents(found) == {"a": [], "b": ["a"], "c": ["b"], "d": ["b"], "e": ["a"]}


def test_cycles_are_told_and_opened(load):
    text = "".join(
        f'ex:{name} a skos:Concept; skos:prefLabel "{name}"; skos:broader {above} . '
        for name, above in {
            "a": "ex:b",
            "b": "ex:c, ex:e",
            "c": "ex:a",
            "d": "ex:d, ex:a",
            "e": "ex:f",
            "f": "ex:g",
        }.items()
    )
    with pytest.warns(UserWarning, match=r"4 concepts .*a\.org/a, .* 4 links between"):
        found = load(turtle(f'{text} ex:g a skos:Concept; skos:prefLabel "g".'))
    assert parents(found) == {
        **{"a": [], "b": ["e"], "c": [], "d": ["a"]},
        **{"e": ["f"], "f": ["g"], "g": []},
    }


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=20), st.data()
)
def test_no_cycle_is_left_and_no_other_link_is_lost(links, data):
    children, above = [pair[0] for pair in links], [pair[1] for pair in links]
    messages = []
    found = link_concepts(children, above, 8, list("abcdefgh"), messages.append)
    dense = np.zeros((8, 8))
    dense[children, above] = 1
    reach = np.linalg.matrix_power(np.eye(8) + dense, 8) > 0
    # A link is in a cycle if its parent reaches its child.
    expected = dense * ~reach.T
    assert (found.toarray() == expected).all()
    assert bool(messages) == bool((dense != expected).any())
    assert not np.linalg.matrix_power(found.toarray(), 8).any()


def test_schemes_are_the_parents_of_top_concepts(load):
    text = (
        'ex:s a skos:ConceptScheme; dct:title "First"@en.'
        "ex:t a skos:ConceptScheme . "
        "ex:u a skos:ConceptScheme; skos:hasTopConcept ex:x . "
        'ex:a a skos:Concept; skos:prefLabel "a"@en; skos:topConceptOf ex:s . '
        'ex:b a skos:Concept; skos:prefLabel "b"@en; skos:broader ex:a . '
        'ex:t skos:hasTopConcept ex:c . ex:c a skos:Concept; skos:prefLabel "c"@en.'
    )
    found = load(turtle(text))
    assert found.parent_names == ["First", "http://a.org/t"]
    assert found.label_parents.shape == (3, 5)
    assert parents(found) == {"a": ["First"], "b": ["a"], "c": ["http://a.org/t"]}


# Subject files of Annif


def test_subjects_in_tsv(load):
    content = (
        "\ufeff<http://a.org/1>\tcats\t1.2\r\n\r\nhttp://a.org/2\t dogs \r\n"
        "<http://a.org/3>\n<http://a.org/1>\tfelines\n"
    )
    found = load(content, "v.tsv", language="en")
    assert found.label_codes == ["http://a.org/1", "http://a.org/2"]
    assert found.label_names == ["cats", "dogs"]
    assert found.label_texts == ["cats; felines", "dogs"]
    assert found.label_notations == ["1.2", None]
    assert found.label_parents is None and "1 without a label" in found.DESCR


@FOREIGN
def test_subjects_in_csv(load):
    content = (
        'uri,notation,label_en,label_fi\n<http://a.org/1>,1,"cats, big",kissat\n'
        "http://a.org/2,,,koirat\nhttp://a.org/3,3,,\n"
    )
    found = load(content, "v.csv.gz")
    assert found.label_names == ["kissat", "koirat"]  # two of fi, one of en
    found = load(content, "v.csv.gz", language="en")
    assert found.label_names == ["cats, big", "koirat"]
    assert found.label_notations == ["1", None]


@FOREIGN
def test_lookup(load):
    text = turtle('ex:z a skos:Concept; skos:prefLabel "cats"@en; skos:notation "7".')
    lookup = Lookup(load(TURTLE + text, language="en"))
    assert lookup.by_uri(uri(3)) == uri(3) and lookup.by_uri(uri(6)) == uri(4)
    assert lookup.by_uri(uri(7)) is None and lookup.by_uri("cats") is None
    assert lookup.by_label("pets") == uri(2)
    assert lookup.by_label("cats") is None  # of two concepts
    assert lookup.find(f"<{ANIMALS}p1>") == lookup.find("59") == uri(1)
    assert lookup.find("7") == "http://a.org/z" and lookup.find("companion") is None
