"""Quotes, line ends and blanks of CSV and TSV files: nothing is guessed."""

import csv
import io
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import lists_of, refused, write

from skxmc.datasets import load_table
from skxmc.datasets._table_rows import read_rows

ROWS = [f"film {i} is here,tag{i % 7}" for i in range(200)]


def with_quotes(places, change):
    """The 200 rows, four of which have a quote."""
    rows = list(ROWS)
    for place, i in zip(places, (20, 60, 100, 140), strict=True):
        rows[i] = change[place](rows[i])
    return "text,labels\n" + "\n".join(rows) + "\n"


QUOTE_AT = {
    "text begins": lambda row: f'"{row}',
    "text ends": lambda row: row.replace(",", '",'),
    "label begins": lambda row: row.replace(",", ',"'),
    "label ends": lambda row: f'{row}"',
    "within": lambda row: row.replace("is", 'i"s'),
}
OPENING = {"text begins", "label begins"}


@pytest.mark.parametrize("first", QUOTE_AT)
@pytest.mark.parametrize("second", QUOTE_AT)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_stray_quotes_swallow_no_rows_in_silence(tmp_path, first, second, delimiter):
    content = with_quotes((first, second) * 2, QUOTE_AT).replace(",", delimiter)
    suffix = "tsv" if delimiter == "\t" else "csv"
    path = write(tmp_path, suffix, content)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            data = load_table(path)
        except ValueError as error:
            assert "quoted=False (--unquoted)" in str(error)
            data = None
    if data is not None and len(data.texts) < 200:
        assert "quotes join these lines into one row, although each line" in str(
            caught[0].message
        )
        assert caught[0].filename == __file__
    elif data is not None:  # no quote opens a cell: all of them are kept
        assert not {first, second} & OPENING and not caught
    data = load_table(path, quoted=False)
    assert len(data.texts) == 200
    written = [row for row in content.splitlines()[1:] if '"' in row]
    kept = [
        f"{text}{delimiter}{names[0]}"
        for text, names in zip(data.texts, lists_of(data), strict=True)
    ]
    assert [row for row in kept if '"' in row] == written


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_leading_quotes_are_refused_where_the_row_begins(tmp_path, n):
    rows = list(ROWS)
    for i in (20, 60, 100, 140)[:n]:
        rows[i] = '"' + rows[i]
    path = write(tmp_path, "csv", "text,labels\n" + "\n".join(rows) + "\n")
    if n == 1:
        refused(path, f"{path}, line 22: a quote opens a cell and no quote closes it.")
    else:
        refused(path, f"{path}, lines 22 to 62: text follows the quote", "line 62")


def test_leading_quotes_of_a_single_column(tmp_path):
    path = write(tmp_path, "csv", 'text\na\n"b\nc\n"d\n')
    with pytest.raises(ValueError, match="lines 3 to 5: text follows the quote"):
        list(read_rows(path, ("text",)))
    rows = read_rows(path, ("text",), quoted=False)
    assert [row["text"] for _, row in rows] == ["a", '"b', "c", '"d']


@pytest.mark.parametrize(
    "line, message",
    [
        ('"Heat" (1995),film', "line 3: text follows the quote that closes"),
        ('""Heat"" (1995),film', "line 3: text follows the quote that closes"),
        ('"Heat" ,film', "line 3: text follows the quote that closes"),
        (r'"said \"yes\"",film', "line 3: text follows the quote that closes"),
        (r'"said \"",film', "line 3: a quote opens a cell and no quote closes it"),
        ('"Heat,film', "line 3: a quote opens a cell and no quote closes it"),
        ('Heat,"film', "line 3: a quote opens a cell and no quote closes it"),
        (
            'Heat, "film"',
            "line 3: a quote follows blanks at the start of the cell ' \"film\"'",
        ),
        (
            ' "Heat",film',
            "line 3: a quote follows blanks at the start of the cell ' \"Heat\"'",
        ),
        (
            ' "Heat,film',
            "line 3: a quote follows blanks at the start of the cell ' \"Heat'",
        ),
        (
            "Heat\rCasino,film",
            r"line 3 ends in '\r', but the header ends in '\n'. Quote",
        ),
    ],
)
def test_what_is_open_to_doubt(tmp_path, line, message):
    content = f"text,labels\nt,a\n{line}\nu,b\n"
    path = write(tmp_path, "csv", content)
    refused(path, f"{path}, {message}")
    refused(write(tmp_path, "tsv", content.replace(",", "\t")), message)
    if "\r" not in line:
        document, label = line.split(",")
        data = load_table(path, quoted=False)
        assert data.texts == ["t", document, "u"]
        assert label.strip() in data.label_names


def test_comma_in_a_cell_with_blanks_before_its_quote(tmp_path):
    # By accident as many cells as the header.
    path = write(tmp_path, "csv", 'text,labels,id\nt, "a, b"\n')
    refused(path, "line 2: a quote follows blanks at the start of the cell ' \"a'")


@pytest.mark.parametrize(
    "text", ['5" wide', 'the "new" one', ' "so" he said', '"Heat" (1995)', '\t"', '"']
)
def test_quotes_of_texts_that_a_writer_quoted(tmp_path, text):
    file = io.StringIO(newline="")
    csv.writer(file).writerows([["text", "labels"], [text, "a"], ["t", "b"]])
    assert load_table(write(tmp_path, "csv", file.getvalue())).texts == [text, "t"]


def test_rows_of_several_lines_are_named_whole(tmp_path):
    path = write(tmp_path, "csv", 'text,labels\nt,a\n"u\nv\nw",b,c\n')
    refused(path, f"{path}, lines 3 to 5: the row has 3 cells, but the header has 2.")


def test_texts_of_several_lines_are_not_doubted(tmp_path):
    content = 'text,labels\n"Hello,\nno sound, no picture.\n\nBye",a\n"x, y\nz",b\n'
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = load_table(write(tmp_path, "csv", content))
    assert data.texts == ["Hello,\nno sound, no picture.\n\nBye", "x, y\nz"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_line_ends(tmp_path, end):
    rows = ["text,labels", '"t\r\nu",a', "v,b", "", "w,c"]
    data = load_table(write(tmp_path, "csv", end.join(rows)))
    assert data.texts == ["t\r\nu", "v", "w"]
    path = write(tmp_path, "csv", end.join(["text", "t", "", "v", "", ""]) + end)
    found = [row["text"] for _, row in read_rows(path, ("text",))]
    assert found == ["t", "", "v"]  # one a line, but no blank ones at the end


def test_header_behind_blank_lines(tmp_path):
    data = load_table(write(tmp_path, "csv", "\n\r\n\ntext,labels\nt,a\n"))
    assert data.texts == ["t"]


def test_quoted_header_with_semicolons(tmp_path):
    content = '"text";"labels"\n"a, b";"c"\n'
    assert load_table(write(tmp_path, "csv", content)).texts == ["a, b"]
    path = write(tmp_path, "csv", content.replace('"c"', '"c'))
    refused(path, f"{path}, line 2: a quote opens a cell")


def test_quotes_of_a_header_that_is_read_unquoted(tmp_path):
    path = write(tmp_path, "csv", '"text","labels"\n"a","b"\n')
    refused(path, 'no column \'text\'; there are "text", "labels".', quoted=False)
    data = load_table(path, text='"text"', labels='"labels"', quoted=False)
    assert data.texts == ['"a"'] and data.label_names == ['"b"']


LINES = st.text(st.characters(exclude_characters="\r\n\t", exclude_categories=["Cs"]))


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(LINES.filter(lambda x: not x.startswith("\ufeff"))))
def test_unquoted_lines_come_back_as_they_are(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("lines")
    lines = ["text\tlabels", *(f"{text}\ta" for text in texts), "t\ta"]
    path = write(folder, "tsv", "\n".join(lines))
    assert load_table(path, quoted=False).texts == [*texts, "t"]


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(st.tuples(*[st.text('a", \r\n', max_size=6)] * 2)),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_a_writer_writes_is_never_refused(tmp_path_factory, rows, quoting):
    file = io.StringIO(newline="")
    csv.writer(file, quoting=quoting).writerows([["text", "more"], *rows])
    path = write(tmp_path_factory.mktemp("rows"), "csv", file.getvalue())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows that others may have swallowed
        found = [(r["text"], r["more"]) for _, r in read_rows(path, ("text", "more"))]
    assert found == rows
