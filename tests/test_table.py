"""Tables of texts and labels: what is common to all formats."""

import unicodedata
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from tables import (
    SUFFIXES,
    UTF8,
    assert_canonical,
    json_lines,
    lists_of,
    refused,
    write,
    write_rows,
)

from skxmc.datasets import load_table


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("lists_as_texts", [False, True])
def test_formats_agree(tmp_path, suffix, lists_as_texts):
    texts = [UTF8, "", 'a "quoted" one, and\ttwo', "b\nc", " blanks stay "]
    lists = [["b", "a", "b"], [], ["c d", UTF8], ["a"], []]
    path = write_rows(tmp_path, suffix, texts, lists, lists_as_texts)
    data = load_table(str(path))
    assert data.texts == texts
    assert data.label_names == sorted({"a", "b", "c d", UTF8})
    assert lists_of(data) == [sorted(set(names)) for names in lists]
    assert_canonical(data.Y, (5, 4))
    assert str(path) in data.DESCR


nfc = partial(unicodedata.normalize, "NFC")
LETTERS = st.characters(exclude_categories=["Cs"])
# In brackets a text may be a list of labels: see test_label_cells.py.
NAMES = st.text(LETTERS, min_size=1, max_size=4).filter(
    lambda name: name == name.strip() and "|" not in name and name[0] not in "[({"
)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.text(LETTERS, max_size=6), st.lists(NAMES, max_size=4)))
)
@example(rows=[("\u2f801", ["e\u0301", "\xe9"])])
def test_formats_agree_on_anything(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    # The first row shows that labels are separated by "|".
    rows = [("", ["x", "y"]), *rows]
    texts, lists = [row[0] for row in rows], [row[1] for row in rows]
    for suffix in SUFFIXES:
        data = load_table(write_rows(folder, suffix, texts, lists))
        assert data.texts == list(map(nfc, texts))
        assert lists_of(data) == [sorted(set(map(nfc, names))) for names in lists]
        assert_canonical(data.Y, (len(rows), len(data.label_names)))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_known_labels_come_first(tmp_path, suffix):
    path = write_rows(tmp_path, suffix, ["t", "u"], [["z", "a"], ["b", "d", "a"]])
    for known in (["d", "q", "a"], ("d", "q", "a"), np.array(["d", "q", "a"], object)):
        data = load_table(path, known=known)
        assert data.label_names == ["d", "q", "a", "b", "z"]
        assert_array_equal(data.Y.toarray(), [[0, 0, 1, 0, 1], [1, 0, 1, 1, 0]])
        assert_canonical(data.Y, (2, 5))
    assert load_table(path, known=[]).label_names == ["a", "b", "d", "z"]


def test_known_labels_of_the_same_name(tmp_path):
    # Titles of label_names.txt may be the same, such as those of products.
    path = write(tmp_path, "jsonl", json_lines(["b"], ["c"]))
    data = load_table(path, known=["a", "b", "b"])
    assert data.label_names == ["a", "b", "b", "c"]
    assert data.Y.shape == (2, 4) and data.Y[1].indices.tolist() == [3]


def test_known_labels_of_a_classifier_without_names(tmp_path):
    # Documented: "such as a classifier's label_names_", here np.arange(3).
    path = write(tmp_path, "csv", "text,labels\nt,0|2\n")
    for known in (np.arange(3), [0, 1, 2]):
        data = load_table(path, known=known)
        assert data.Y.indices.tolist() == [0, 2]
        assert data.label_names == ["0", "1", "2"]
        assert all(type(name) is str for name in data.label_names)


def test_known_labels_of_the_same_text(tmp_path):
    # "Of several with one name the first is meant": 1 and "1" are one name here.
    path = write(tmp_path, "csv", "text,labels\nt,1|a\n")
    data = load_table(path, known=[0, 1, "1"])
    assert data.label_names == ["0", "1", "1", "a"]
    assert data.Y.indices.tolist() == [1, 3]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_columns(tmp_path, suffix):
    path = write_rows(tmp_path, suffix, ["t", "u"], [["a", "b"], ["c"]])
    refused(path, str(path), "no column 'body'; there are text, labels", text="body")
    refused(path, str(path), "no column 'tags'; there are text, labels", labels="tags")
    data = load_table(path, labels="text")
    assert data.label_names == ["t", "u"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_labels_at_all(tmp_path, suffix):
    data = load_table(write_rows(tmp_path, suffix, ["t", "u"], [[], []]))
    assert data.label_names == [] and data.Y.shape == (2, 0)
    data = load_table(write_rows(tmp_path, suffix, ["t"], [[]]), known=["a"])
    assert_canonical(data.Y, (1, 1))
    assert data.Y.nnz == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_documents(tmp_path, suffix):
    refused(write_rows(tmp_path, suffix, [], []), "table.", "holds no documents")


@pytest.mark.parametrize(
    "suffix, message",
    [
        (
            "csv",
            "table.csv is empty: its first line must name the columns, such as text,",
        ),
        (
            "tsv",
            "table.tsv is empty: its first line must name the columns, such as text\t",
        ),
        ("jsonl", "table.jsonl holds no documents"),
        pytest.param(
            "parquet",
            "table.parquet",
        ),
    ],
)
def test_empty_file(tmp_path, suffix, message):
    refused(write(tmp_path, suffix, ""), message)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_file(tmp_path, suffix):
    name = f"nothing.{suffix}"
    refused(tmp_path / name, name, error=FileNotFoundError)


@pytest.mark.parametrize("name", ["table.txt", "table", "table.csv.gz", "table.json"])
def test_unknown_suffix(tmp_path, name):
    path = tmp_path / name
    path.write_text("text,labels\nt,a\n")
    refused(path, str(path), "must end in .csv, .tsv, .jsonl, .ndjson, .parquet")


def test_suffixes_in_capitals_and_ndjson(tmp_path):
    for suffix in ("CSV", "Csv"):
        data = load_table(write(tmp_path, suffix, "text,labels\nt,a|b\n"))
        assert data.label_names == ["a", "b"]
    data = load_table(write(tmp_path, "ndjson", json_lines(["a", "b"])))
    assert data.label_names == ["a", "b"]


@pytest.mark.parametrize(
    "suffix, content",
    [
        ("csv", "text,labels\nt,a\né,b\n".encode("latin-1")),
        ("csv", "text,labels\nt,a\n".encode("utf-16")),
        ("csv", "text,labels\nt,a\n".encode("utf-16-le")),
        ("jsonl", '{"text": "é", "labels": []}\n'.encode("latin-1")),
    ],
    ids=["csv", "utf-16", "utf-16-le", "jsonl"],
)
def test_not_utf8(tmp_path, suffix, content):
    # UnicodeDecodeError is a ValueError, whose message is to name the line.
    path = write(tmp_path, suffix, content)
    refused(path, str(path), "line")


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_utf16_is_named(tmp_path, suffix, code):
    content = "text,labels\nt,a\n".replace(",", "," if suffix == "csv" else "\t")
    refused(write(tmp_path, suffix, content.encode(code)), "line 1", "UTF-16")


def test_not_utf8_is_a_value_error(tmp_path):
    content = "text,labels\né,b\n".encode("latin-1")
    refused(write(tmp_path, "csv", content), "utf-8")


# ------------------------------------------------------------------ separators


def test_blanks_around_labels(tmp_path):
    content = 'text,labels\nt," b | a b|| |a\t"\nu,|\nv,"  "\n'
    data = load_table(write(tmp_path, "csv", content))
    assert lists_of(data) == [["a", "a b", "b"], [], []]


def test_blanks_around_labels_of_lists(tmp_path):
    data = load_table(write(tmp_path, "jsonl", json_lines([" b", "a b ", "", "b"])))
    assert data.label_names == ["a b", "b"]


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", "||", "石", "."])
def test_other_separators(tmp_path, separator):
    cell = separator.join(["b", "a", "b"])
    path = write(tmp_path, "csv", f'text,labels\nt,"{cell}"\nu,c|d\n')
    assert lists_of(load_table(path, separator=separator)) == [["a", "b"], ["c|d"]]


@pytest.mark.parametrize("used", [",", ";", "|", "\t"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_wrong_separator_is_detected(tmp_path, used, suffix):
    said = ";" if used == "|" else "|"
    cells = [used.join("ab"), used.join("cda"), "a"]
    if suffix == "csv":
        content = "text,labels\n" + "".join(f't,"{cell}"\n' for cell in cells)
    else:
        content = json_lines(*cells)
    path = write(tmp_path, suffix, content)
    refused(path, str(path), f"set separator={used!r}", separator=said)
    assert load_table(path, separator=used).label_names == ["a", "b", "c", "d"]


@pytest.mark.parametrize("used", [";", "|", "\t"])
def test_separator_that_stands_in_a_few_cells_is_pointed_at(tmp_path, used):
    content = f't,b\n"u","a{used}b"\nv,c\n'
    path = write(tmp_path, "csv", "text,labels\n" + content)
    with pytest.warns(UserWarning, match="but 1 of 3 cells hold ") as caught:
        data = load_table(path, separator=":")
    assert f"set separator={used!r}" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert data.label_names == ["a" + used + "b", "b", "c"]


def test_separator_is_not_doubted_without_reason(tmp_path):
    # Some names hold a comma; most do not, or "|" stands in some cell.
    few = 'text,labels\nt,"a, b"\nt,c\nt,d\n'
    assert load_table(write(tmp_path, "csv", few)).label_names == ["a, b", "c", "d"]
    used = 'text,labels\nt,"a, b"\nt,"c, d|a, b"\n'
    assert load_table(write(tmp_path, "csv", used)).label_names == ["a, b", "c, d"]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_lists_of_single_labels_that_hold_commas(tmp_path, suffix):
    lists = [["Doe, Jane"], ["Smith, John"]]
    path = write_rows(tmp_path, suffix, ["t", "u"], lists)
    assert lists_of(load_table(path)) == lists
