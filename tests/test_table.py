"""Tables of texts and labels: CSV, TSV, JSONL and Parquet."""

import csv
import json
import sys
import unicodedata
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse

from skxmc.datasets import load_table
from skxmc.datasets._table import read_rows

SUFFIXES = ("csv", "tsv", "jsonl", "parquet")
UTF8 = "x é 石油 \u2028 \x85 🦊"


def write(folder, suffix, content):
    path = folder / f"table.{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def json_lines(*lists):
    """A document for each value of its field of labels."""
    return "".join(json.dumps({"text": "t", "labels": x}) + "\n" for x in lists)


def write_rows(folder, suffix, texts, lists, lists_as_texts=False):
    """The same documents in any format; labels are texts where they have to be."""
    joined = ["|".join(names) for names in lists]
    path = folder / f"{'joined' if lists_as_texts else 'table'}.{suffix}"
    if suffix in ("csv", "tsv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file, delimiter="\t" if suffix == "tsv" else ",")
            rows.writerows([("text", "labels"), *zip(texts, joined, strict=True)])
        return path
    columns = {"text": list(texts), "labels": joined if lists_as_texts else lists}
    if suffix == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        kind = pyarrow.string() if lists_as_texts else pyarrow.list_(pyarrow.string())
        schema = pyarrow.schema({"text": pyarrow.string(), "labels": kind})
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table(columns, schema), path)
        return path
    with path.open("w", encoding="utf-8") as file:
        for row in zip(*columns.values(), strict=True):
            line = json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)
            file.write(line + "\n")
    return path


def write_columns(folder, suffix, names, rows):
    """Texts under these names, some of which may be the same."""
    path = folder / f"columns.{suffix}"
    if suffix in ("csv", "tsv"):
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if suffix == "tsv" else ",")
            writer.writerows([names, *rows])
    elif suffix == "jsonl":
        pairs = [
            ", ".join(
                f'"{n}": {json.dumps(v)}' for n, v in zip(names, row, strict=True)
            )
            for row in rows
        ]
        path.write_text("".join(f"{{{pair}}}\n" for pair in pairs))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = [pyarrow.array(column) for column in zip(*rows, strict=True)]
        parquet.write_table(pyarrow.Table.from_arrays(columns, names), path)
    return path


def lists_of(data):
    """Names of the labels of each document."""
    rows = np.split(data.Y.indices, data.Y.indptr[1:-1])
    return [[data.label_names[j] for j in row] for row in rows]


def assert_canonical(Y, shape):
    assert sparse.isspmatrix_csr(Y) and Y.shape == shape
    assert (Y.dtype, Y.indices.dtype) == (np.float32, np.int32)
    assert (Y.data == 1).all() and len(Y.data) == Y.indptr[-1]
    for row in np.split(Y.indices, Y.indptr[1:-1]):
        assert (np.diff(row) > 0).all()


def refused(path, *patterns, error=ValueError, **params):
    with pytest.raises(error) as caught:
        load_table(path, **params)
    for pattern in patterns:
        assert pattern in str(caught.value)


# ---------------------------------------------------------------- all formats


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
    refused(path, str(path), f"say separator={used!r}", separator=said)
    assert load_table(path, separator=used).label_names == ["a", "b", "c", "d"]


@pytest.mark.parametrize("used", [";", "|", "\t"])
def test_separator_that_stands_in_a_few_cells_is_pointed_at(tmp_path, used):
    content = f't,b\n"u","a{used}b"\nv,c\n'
    path = write(tmp_path, "csv", "text,labels\n" + content)
    with pytest.warns(UserWarning, match="but 1 of 3 cells hold ") as caught:
        data = load_table(path, separator=":")
    assert f"say separator={used!r}" in str(caught[0].message)
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


# --------------------------------------------------------------------- CSV, TSV


@pytest.mark.parametrize("suffix", SUFFIXES[:3])
def test_byte_order_mark(tmp_path, suffix):
    path = write_rows(tmp_path, suffix, ["t", "u"], [["a"], ["b"]])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    data = load_table(path)
    assert data.texts == ["t", "u"] and lists_of(data) == [["a"], ["b"]]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_csv_with_semicolons(tmp_path, mark):
    content = mark + 'id;"text";labels\r\n1,5;no, none;a|b\r\n2;"x; y\nz";c\r\n'
    data = load_table(write(tmp_path, "csv", content))
    assert data.texts == ["no, none", "x; y\nz"]
    assert lists_of(data) == [["a", "b"], ["c"]]


def test_csv_with_semicolons_by_its_header_alone(tmp_path):
    # The header has both columns either way: commas come first.
    content = "text,labels,x;text;labels\nt;u,a|b,c\n"
    data = load_table(write(tmp_path, "csv", content))
    assert data.texts == ["t;u"] and data.label_names == ["a", "b"]
    path = write(tmp_path, "csv", "text;tags\nt;a\n")
    refused(path, f"{path} has no column 'text'; there are text;tags.")
    path = write(tmp_path, "csv", "text;labels\nt;a;b\n")
    refused(path, f"{path}, line 2 has another", "Quote cells that hold ';'.")


def test_csv_quotes(tmp_path):
    content = (
        "\ufefflabels,id,text\r\n"
        'a|b,1,"said ""yes"", left"\r\n'
        "\r\n"
        '"c, d",2,"two\r\nlines\nor three"\r\n'
        'a,3,5" wide'
    )
    data = load_table(write(tmp_path, "csv", content))
    texts = ['said "yes", left', "two\r\nlines\nor three", '5" wide']
    assert data.texts == texts
    assert lists_of(data) == [["a", "b"], ["c, d"], ["a"]]


def test_tsv_keeps_commas(tmp_path):
    content = 'text\tlabels\na, b\tx, y|z\n"tab\there"\tz\n'
    data = load_table(write(tmp_path, "tsv", content))
    assert data.texts == ["a, b", "tab\there"]
    assert lists_of(data) == [["x, y", "z"], ["z"]]


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_long_texts(tmp_path, suffix):
    before = csv.field_size_limit(128 * 1024)  # what Python starts with
    try:
        texts = ["fox, tree, sea\n" * 30_000, "t"]
        path = write_rows(tmp_path, suffix, texts, [["a"], ["b"]])
        assert load_table(path).texts == texts
    finally:
        csv.field_size_limit(before)


@pytest.mark.parametrize(
    "content, line",
    [
        ("text,labels\nt,a\nu\n", 3),
        ("text,labels\nt,a\nu,b,c\n", 3),
        ("text,labels\n\n\nu,b,c\n", 4),
        ('text,labels\n"t\nt\nt",a\nu,b,\n', 5),
        ("text,labels,id\nt,a,1\nu,a\n", 3),
    ],
)
def test_ragged_rows(tmp_path, content, line):
    path = write(tmp_path, "csv", content)
    refused(path, f"{path}, line {line} has another number of cells than the header")
    path = write(tmp_path, "tsv", content.replace(",", "\t"))
    refused(path, f"{path}, line {line} has another number of cells than the header")


# ------------------------------------------------------------- repeated columns


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_labels_of_repeated_columns_are_joined(tmp_path, suffix):
    names = ["labels", "text", "labels", "labels"]
    rows = [["b", "t", "a|c", ""], ["", "u", "", ""], ["d", "v", "", "b"]]
    data = load_table(write_columns(tmp_path, suffix, names, rows))
    assert data.texts == ["t", "u", "v"]
    assert lists_of(data) == [["a", "b", "c"], [], ["b", "d"]]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_repeated_column_of_texts(tmp_path, suffix):
    names = ["text", "id", "text", "labels"]
    path = write_columns(tmp_path, suffix, names, [["t", "1", "u", "a"]])
    if suffix == "jsonl":
        refused(path, f"{path}, line 1 has 'text' 2 times")
    else:
        refused(path, f"{path} has several columns 'text', in the places 1, 3.")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_columns_may_be_repeated(tmp_path, suffix):
    names = ["", "text", "", "labels", "x", "x"]
    rows = [["1", "t", "2", "a", "3", "4"]]
    path = write_columns(tmp_path, suffix, names, rows)
    assert load_table(path).label_names == ["a"]
    ((_, row),) = read_rows(path, ("text",), others=True)
    assert row == {"": ["1", "2"], "text": "t", "labels": "a", "x": ["3", "4"]}


def test_lists_of_repeated_keys(tmp_path):
    lines = (
        '{"text": "t", "labels": ["a"], "labels": null, "labels": ["b", 3]}\n'
        '{"labels": ["a"], "labels": 3, "text": "t"}\n'
    )
    path = write(tmp_path, "jsonl", lines)
    refused(path, "line 2: 'labels' must be a list", "got 3.")
    path = write(tmp_path, "jsonl", lines.splitlines()[0])
    assert load_table(path).label_names == ["3", "a", "b"]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("pattern", ["{}.{}", "{}_duplicated_{}"])
def test_columns_that_a_library_numbered(tmp_path, suffix, pattern):
    numbered = [pattern.format("labels", i) for i in (1, 2)]
    names = ["text", "labels", *numbered, "labels.x"]
    path = write_columns(tmp_path, suffix, names, [["t", "a", "b", "c", "d"]])
    with pytest.warns(UserWarning, match="same, and their labels are joined") as caught:
        data = load_table(path)
    assert f"columns {', '.join(numbered)} besides" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert data.label_names == ["a"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_messages_name_some_columns_only(tmp_path, suffix):
    # Without a header the first line is a document.
    for names in (["x" * 95_000, "b"], [f"{i:05d}" for i in range(9_000)]):
        path = write_columns(tmp_path, suffix, names, [["c"] * len(names)])
        with pytest.raises(
            ValueError, match=f"no column.*{len(names)} in all"
        ) as error:
            load_table(path)
        assert len(str(error.value)) < 500


def test_blanks_and_quotes_in_a_header_are_shown(tmp_path):
    path = write(tmp_path, "csv", 'text, "labels",\nt,a,\n')
    refused(path, f"{path} has no column 'labels'; there are text, ' \"labels\"', ''.")


# ------------------------------------------------------------------------ JSONL


def test_jsonl_blank_lines(tmp_path):
    content = json_lines(["a"]) + "\n  \r\n" + json_lines(["b"]).rstrip() + "\n\n"
    assert lists_of(load_table(write(tmp_path, "jsonl", content))) == [["a"], ["b"]]


@pytest.mark.parametrize(
    "content, message",
    [
        ("\n\n[1, 2]\n", "line 3 must be a JSON object, got [1, 2]."),
        (json_lines([]) + '"text"\n', 'line 2 must be a JSON object, got "text".'),
        ("null\n", "line 1 must be a JSON object, got null."),
        (json_lines([]) + "\n{'text': 't'}\n", "line 3 is no JSON: "),
        (json_lines([]) + '{"text": "t', "line 2 is no JSON: "),
        ('{"text": "t"}\n', "line 1 has no column 'labels'; there are text."),
        (json_lines([]) + '{"labels": []}\n', "line 2 has no column 'text'"),
        ('{"text": null, "labels": []}\n', "line 1: 'text' must be a text, got None"),
        ('{"text": 3, "labels": []}\n', "line 1: 'text' must be a text, got int"),
        (json_lines([]).encode() + b'{"text": "\xe9"}', "line 2 is no UTF-8 ("),
    ],
)
def test_jsonl_broken_lines(tmp_path, content, message):
    path = write(tmp_path, "jsonl", content)
    refused(path, f"{path}, {message}")


@pytest.mark.parametrize(
    "value, names",
    [
        (["b", "a", "b"], ["a", "b"]),
        ([10, 9, 10], ["10", "9"]),
        ([1, "1", "a"], ["1", "a"]),
        ("b|a|b", ["a", "b"]),
        ("a", ["a"]),
        (["a|b"], ["a|b"]),  # lists need no separator
        (["a b", "é"], ["a b", "é"]),
        ([], []),
        ("", []),
        (None, []),
    ],
)
def test_jsonl_kinds_of_labels(tmp_path, value, names):
    content = json_lines(value, ["some", "more"])
    data = load_table(write(tmp_path, "jsonl", content))
    assert lists_of(data)[0] == names
    assert_canonical(data.Y, (2, len({*names, "some", "more"})))


@pytest.mark.parametrize("value", [3, 1.5, True, {"a": 1}, ["a", None], [["a"]], [0.5]])
def test_jsonl_labels_of_other_kinds(tmp_path, value):
    path = write(tmp_path, "jsonl", json_lines(["a"], value))
    message = f"{path}, line 2: 'labels' must be a list of labels, or a text with '|'"
    refused(path, message, repr(value))


# ---------------------------------------------------------------------- Parquet


def write_parquet(folder, texts, labels):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"id": range(len(texts)), "text": texts, "labels": labels})
    parquet.write_table(table, folder / "table.parquet", row_group_size=2)
    return folder / "table.parquet"


@pytest.mark.parametrize(
    "labels",
    [
        [["b", "a", "b"], [], None, ["c"], ["a"]],
        ["b|a|b", "", None, "c", "a"],
    ],
)
def test_parquet_with_missing_labels(tmp_path, labels):
    data = load_table(write_parquet(tmp_path, list("vwxyz"), labels))
    assert data.texts == list("vwxyz")
    assert lists_of(data) == [["a", "b"], [], [], ["c"], ["a"]]


def test_parquet_of_other_types(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    texts = pyarrow.array(["t", "u", "t"]).dictionary_encode()
    labels = pyarrow.array([[2, 1], [10], []], pyarrow.large_list(pyarrow.int16()))
    data = load_table(write_parquet(tmp_path, texts, labels))
    assert data.texts == ["t", "u", "t"]
    assert lists_of(data) == [["1", "2"], ["10"], []]


@pytest.mark.parametrize(
    "texts, labels, message",
    [
        (["t", "u", None], [["a"]] * 3, "row 3: 'text' must be a text, got None"),
        ([1, 2, 3], [["a"]] * 3, "row 1: 'text' must be a text, got int"),
        (
            ["t", "u", "v"],
            [["a"], ["a"], ["b", None]],
            "row 3: 'labels' must be a list",
        ),
        (["t", "u", "v"], [1, 2, 3], "row 1: 'labels' must be a list of labels"),
        (["t", "u", "v"], [[0.5]] * 3, "row 1: 'labels' must be a list of labels"),
    ],
)
def test_parquet_rows_are_named(tmp_path, texts, labels, message):
    path = write_parquet(tmp_path, texts, labels)
    refused(path, f"{path}, {message}")


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    path = write(tmp_path, "parquet", b"")
    refused(path, f"{path} needs pyarrow", "pip install pyarrow", error=ImportError)
    # Other tables need none.
    load_table(write(tmp_path, "csv", "text,labels\nt,a\n"))


def test_parquet_that_is_none(tmp_path):
    pytest.importorskip("pyarrow")
    refused(write(tmp_path, "parquet", "text,labels\nt,a\n" * 9), "arquet")
