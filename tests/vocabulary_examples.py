"""Vocabularies and corpora in the style in which real software exports them."""

import gzip
import json

# As Skosmos and VocBench export Turtle: languages, polyhierarchy, a collection,
# deprecated concepts, and a mapping to another vocabulary.
TURTLE = """
@prefix dct: <http://purl.org/dc/terms/> .
@prefix owl: <http://www.w3.org/2002/07/owl#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
@prefix xsd: <http://www.w3.org/2001/XMLSchema#> .
@prefix ex: <http://example.org/animals/> .

<http://example.org/animals/> a skos:ConceptScheme ;
    skos:prefLabel "Eläimet"@fi, "Animals"@en ;
    skos:hasTopConcept ex:p1 .

ex:Meta rdfs:subClassOf skos:Concept .

ex:p1 a skos:Concept, ex:Meta ;
    skos:prefLabel "eläimet"@fi, "animals"@en, "Tiere"@de ;
    skos:notation "59" ;
    skos:narrower ex:p2 .
ex:p2 a ex:Meta ;
    skos:prefLabel "lemmikit"@fi, "pets"@en ;
    skos:altLabel "lemmikkieläimet"@fi, "companion   animals"@en, "Haustiere"@de .
ex:p3 a skos:Concept ;
    skos:prefLabel "kissat"@fi, "cats"@en, "Katzen"@de ;
    skos:altLabel "felines"@en, "Felis", "kisut"@fi ;
    skos:broader ex:p1, ex:p2 ;
    skos:exactMatch <http://other.org/c> .
ex:p4 a skos:Concept ;
    skos:prefLabel "koirat"@fi, "Hunde"@de ;
    skos:broader ex:p2 .
ex:p5 a skos:Concept ;
    skos:prefLabel "Canis"@fi, "hounds"@en ;
    owl:deprecated true ;
    dct:isReplacedBy ex:p6 .
ex:p6 a skos:Concept ;
    skos:prefLabel "mopsit"@fi ;
    owl:deprecated "true"^^xsd:boolean ;
    dct:isReplacedBy ex:p4 .
ex:p7 a skos:Concept ;
    skos:prefLabel "splits"@en ;
    dct:isReplacedBy ex:p3, ex:p4 .
ex:g1 a skos:Collection ;
    skos:prefLabel "a group"@en ;
    skos:member ex:p3 .
"""
ANIMALS = "http://example.org/animals/"
NAMES = ["animals", "pets", "cats", "koirat"]

# As VocBench exports RDF/XML with SKOS-XL, and entities as Protégé does.
RDF_XML = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE rdf:RDF [ <!ENTITY skos "http://www.w3.org/2004/02/skos/core#"> ]>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
         xmlns:skos="http://www.w3.org/2004/02/skos/core#"
         xmlns:skosxl="http://www.w3.org/2008/05/skos-xl#"
         xml:base="http://example.org/xl/">
  <skos:Concept rdf:about="c_1">
    <skosxl:prefLabel>
      <skosxl:Label rdf:about="xl_1">
        <skosxl:literalForm xml:lang="en">maize</skosxl:literalForm>
      </skosxl:Label>
    </skosxl:prefLabel>
    <skosxl:altLabel>
      <skosxl:Label>
        <skosxl:literalForm xml:lang="en">corn</skosxl:literalForm>
      </skosxl:Label>
    </skosxl:altLabel>
    <skos:broader rdf:resource="c_2"/>
  </skos:Concept>
  <rdf:Description rdf:about="c_2">
    <rdf:type rdf:resource="&skos;Concept"/>
    <skosxl:prefLabel rdf:resource="xl_2"/>
  </rdf:Description>
  <skosxl:Label rdf:about="xl_2">
    <skosxl:literalForm xml:lang="en">cereals</skosxl:literalForm>
  </skosxl:Label>
</rdf:RDF>
"""

_TYPE = "<http://www.w3.org/1999/02/22-rdf-syntax-ns#type>"
_SKOS = "http://www.w3.org/2004/02/skos/core#"
N_TRIPLES = f"""\
<http://a.org/1> {_TYPE} <{_SKOS}Concept> .
<http://a.org/1> <{_SKOS}prefLabel> "Stra\\u00DFe" .
<http://a.org/2> {_TYPE} <{_SKOS}Concept> .
<http://a.org/2> <{_SKOS}prefLabel> "Weg" .
<http://a.org/2> <{_SKOS}broader> <http://a.org/1> .
"""

JSON_LD = {
    "@context": {
        "skos": "http://www.w3.org/2004/02/skos/core#",
        "uri": "@id",
        "type": "@type",
        "prefLabel": {"@id": "skos:prefLabel", "@container": "@language"},
        "broader": {"@id": "skos:broader", "@type": "@id"},
    },
    "@graph": [
        {
            "uri": "http://a.org/1",
            "type": "skos:Concept",
            "prefLabel": {"en": "roads", "fi": "tiet"},
        },
        {
            "uri": "http://a.org/2",
            "type": "skos:Concept",
            "prefLabel": {"en": "paths"},
            "broader": "http://a.org/1",
        },
    ],
}


def turtle(body):
    """A Turtle file with the usual prefixes, and ex:NAME as http://a.org/NAME."""
    return (
        "@prefix dct: <http://purl.org/dc/terms/> .\n"
        "@prefix owl: <http://www.w3.org/2002/07/owl#> .\n"
        "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n"
        "@prefix skos: <http://www.w3.org/2004/02/skos/core#> .\n"
        f"@prefix ex: <http://a.org/> .\n{body}"
    )


def write(path, content):
    """Write a text or an object of JSON, compressed if the name says so."""
    if not isinstance(content, (str, bytes)):
        content = json.dumps(content)
    content = content if isinstance(content, bytes) else content.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def uri(name):
    return f"{ANIMALS}p{name}"


# Three documents and their subjects in TURTLE: the last is deprecated or unknown.
TEXTS = ["A cat, purring", "dogs and cats", "the hounds", "stones"]
SUBJECTS = [[3], [3, 4], [5], [99]]
# Which columns of the vocabulary that makes: p5 became p4, and p99 is not there.
COLUMNS = [[2], [2, 3], [3], []]


def write_corpus(kind, folder):
    """Write the documents in one of the formats, and return the path of the corpus."""
    uris = [[uri(j) for j in row] for row in SUBJECTS]
    pairs = list(zip(TEXTS, uris, strict=True))
    if kind.startswith("tsv"):
        lines = [f"{text}\t{' '.join(f'<{u}>' for u in us)}" for text, us in pairs]
        end = "\r\n" if kind == "tsv-crlf" else "\n"
        name = "train.tsv.gz" if kind == "tsv-gz" else "train.tsv"
        return write(folder / name, "\ufeff" + end.join(lines) + end)
    if kind.startswith("csv"):
        rows = [f'7,"{text}",{" ".join(us)}' for text, us in pairs]
        name = "train.csv.gz" if kind == "csv-gz" else "train.csv"
        return write(folder / name, "\r\n".join(["id,text,subject_uris", *rows]))
    objects = [
        {"document_id": text, "text": text, "subjects": [{"uri": u} for u in us]}
        for text, us in pairs
    ]
    if kind == "jsonl":
        lines = [json.dumps(each, ensure_ascii=False) for each in objects]
        return write(folder / "train.jsonl", "\n".join(lines) + "\n")
    for i, (text, us) in enumerate(pairs):
        if kind == "json":
            write(folder / "docs" / f"{i}.json", objects[i])
        else:
            write(folder / "docs" / f"{i}.txt", "\ufeff" + text)
            lines = [f"<{u}>\ta label\tmore\n" for u in us]
            write(folder / "docs" / f"{i}.tsv", "\ufeff" + "".join(lines))
    return folder / "docs"


CORPORA = "tsv tsv-crlf tsv-gz csv csv-gz jsonl json folder".split()
