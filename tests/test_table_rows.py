"""Rows of CSV, TSV, JSONL and Parquet files, and repeated columns."""

import csv
import sys

import pytest
from tables import (
    SUFFIXES,
    assert_canonical,
    json_lines,
    lists_of,
    refused,
    write,
    write_columns,
    write_rows,
)

from skxmc.datasets import load_table
from skxmc.datasets._table_rows import read_rows

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
    refused(path, f"{path}, line 2: the row has 3 cells", "Quote cells that hold ';'.")


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
    refused(path, f"{path}, line {line}: the row has ")
    path = write(tmp_path, "tsv", content.replace(",", "\t"))
    refused(path, f"{path}, line {line}: the row has ")


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
        refused(path, f"{path} has several columns 'text': columns 1, 3.")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_columns_may_be_repeated(tmp_path, suffix):
    names = ["", "text", "", "labels", "x", "x"]
    rows = [["1", "t", "2", "a", "3", "4"]]
    path = write_columns(tmp_path, suffix, names, rows)
    assert load_table(path).label_names == ["a"]
    ((_, row),) = read_rows(path, ("text",), all_columns=True)
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
    with pytest.warns(UserWarning, match="same name to join their labels") as caught:
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
        (json_lines([]) + "\n{'text': 't'}\n", "line 3 is not valid JSON: "),
        (json_lines([]) + '{"text": "t', "line 2 is not valid JSON: "),
        ('{"text": "t"}\n', "line 1 has no column 'labels'; there are text."),
        (json_lines([]) + '{"labels": []}\n', "line 2 has no column 'text'"),
        ('{"text": null, "labels": []}\n', "line 1: 'text' must be a text, got None"),
        ('{"text": 3, "labels": []}\n', "line 1: 'text' must be a text, got int"),
        (json_lines([]).encode() + b'{"text": "\xe9"}', "line 2 is not UTF-8 ("),
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
    refused(
        path, f"Reading {path} needs pyarrow", "pip install pyarrow", error=ImportError
    )
    # Other tables need none.
    load_table(write(tmp_path, "csv", "text,labels\nt,a\n"))


def test_parquet_that_is_none(tmp_path):
    pytest.importorskip("pyarrow")
    refused(write(tmp_path, "parquet", "text,labels\nt,a\n" * 9), "arquet")
