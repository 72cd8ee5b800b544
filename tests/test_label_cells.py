"""Cells of labels that are lists, written as a text, and rows of 0 and 1."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables import lists_of, refused, write

from skxmc import LightDXMLClassifier
from skxmc.datasets import load_table
from skxmc.datasets._label_cells import read_list


def write_cells(folder, *cells):
    path = folder / "cells.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "labels"), *(("t", x) for x in cells)])
    return path


def write_lists(folder, *lists):
    lines = [json.dumps({"text": "t", "labels": x}) for x in lists]
    return write(folder, "jsonl", "\n".join(lines))


@pytest.mark.parametrize("separator", ["|", ",", " ", "'"])
@pytest.mark.parametrize(
    "cell, names",
    [
        ("['a', 'b']", ["a", "b"]),
        ('["a","b"]', ["a", "b"]),
        (" [ \"a\" , 'b' , ]\n", ["a", "b"]),
        ("{'b', 'a'}", ["a", "b"]),
        ("('a', 'b')", ["a", "b"]),
        ("('a',)", ["a"]),
        ("['a' 'b'\n 'c d']", ["a", "b", "c d"]),
        ("[np.str_('a'), np.int64(3)]", ["3", "a"]),
        ("array(['a', 'b'], dtype='<U1')", ["a", "b"]),
        ("frozenset({'a'})", ["a"]),
        ("['Doe, Jane', \"it's\", 'x|y']", ["Doe, Jane", "it's", "x|y"]),
        (r"""['it\'s', 'a\\b', 'é', '\xe8', u'f']""", ["a\\b", "f", "it's", "è", "é"]),
        (r'["\u00e9", "a\/b", "\"q\""]', ['"q"', "a/b", "é"]),
        ("[2, 10, '2']", ["10", "2"]),
        ("[007]", ["007"]),
        ("[1 2\n 3]", ["1", "2", "3"]),
        ("(2, 3)", ["2", "3"]),
        ("[' a ', '']", ["a"]),
        ("[]", []),
        ("()", []),
        ("{}", []),
        ("[ ]", []),
        ("set()", []),
        ("frozenset()", []),
        ("array([], dtype=object)", []),
    ],
)
def test_lists_as_texts(tmp_path, cell, names, separator):
    # The other row, without the separator, is a name: not all rows are lists.
    path = write_cells(tmp_path, cell, "other")
    assert lists_of(load_table(path, separator=separator)) == [names, ["other"]]


@pytest.mark.parametrize(
    "cell, names",
    [
        ("[SOLVED]|bug", ["[SOLVED]", "bug"]),
        ("[SOLVED]", ["[SOLVED]"]),
        ("[a][b]", ["[a][b]"]),
        ("(draft)", ["(draft)"]),
        ("(2)", ["(2)"]),
        ("(1990, USA)", ["(1990, USA)"]),
        ("[", ["["]),
        ("a [1, 2]", ["a [1, 2]"]),
        ("{x} + {y}", ["{x} + {y}"]),
        ("('Til Tuesday)", ["('Til Tuesday)"]),
        ("array(1)", ["array(1)"]),
        ('"a"', ['"a"']),
    ],
)
def test_names_that_are_no_lists(tmp_path, cell, names):
    path = write_cells(tmp_path, cell, "x|y")
    assert lists_of(load_table(path)) == [sorted(names), ["x", "y"]]


@pytest.mark.parametrize(
    "cell, message",
    [
        ("['a', None]", "None cannot be the name of a label"),
        ("['a', nan]", "nan cannot be the name of a label"),
        ("[nan]", "nan cannot be the name of a label"),
        (
            "['a' ... 'z']",
            "... cannot be the name of a label",
        ),  # what NumPy abbreviates
        ("['a', True]", "True cannot be the name of a label"),
        ("['a', 1.5]", "1.5 cannot be the name of a label"),
        ("[null]", "must be a list of labels"),
        ("[NaN]", "must be a list of labels"),
        ("[true]", "must be a list of labels"),
        ("[1.0]", "must be a list of labels"),
        ('[["a"]]', "must be a list of labels"),
        ('[{"name": "a"}]', "must be a list of labels"),
        ('{"a": 1}', "must be a list of labels"),
        ("[['a']]", "looks like a list, but cannot be read"),
        ("[{'name': 'a'}]", "looks like a list, but cannot be read"),
        ("{'a': 1}", "looks like a list, but cannot be read"),
        ("['a', b]", "looks like a list, but cannot be read"),
        ("['it's']", "looks like a list, but cannot be read"),
        ("['a', 'b", "looks like a list, but cannot be read"),  # cut by a program
        ("['a']|['b']", "looks like a list, but cannot be read"),
        (r"['\x1']", "looks like a list, but cannot be read"),
        ("(('a',), ('b',))", "looks like a list, but cannot be read"),
        ("x|['a']", "holds a list that cannot be read"),
        ("[" * 100_000 + "'a'" + "]" * 100_000, "looks like a list"),
        ("['" + "a" * 100_000, "looks like a list"),
        ("('a'" + " " * 100_000 + "'b' c 'd')", "looks like a list"),
    ],
)
def test_lists_that_are_refused(tmp_path, cell, message):
    path = write_cells(tmp_path, "x|y", cell)
    with pytest.raises(ValueError) as error:
        load_table(path)
    assert f"{path}, line 3: 'labels' " in str(error.value)
    assert message in str(error.value) and len(str(error.value)) < 700


@pytest.mark.parametrize("value", [["['a', 'b']"], ['["a"]'], ["a", "{'b'}"]])
def test_lists_within_lists(tmp_path, value):
    path = write_lists(tmp_path, ["x"], value)
    refused(path, "line 2: 'labels' holds a list that cannot be read")


@pytest.mark.parametrize("separator", ["|", ","])
@pytest.mark.parametrize("brackets", ["[]", "{}", "()"])
def test_words_in_brackets(tmp_path, brackets, separator):
    # To split them at commas, as is said of other texts, would give "[audio".
    a, b = brackets
    path = write_cells(tmp_path, f"{a}audio, driver{b}", f"{a}video{b}", f"{a}x, y{b}")
    refused(path, "list", 'JSON, such as ["audio", "driver"]', separator=separator)


# NumPy drops the NUL that a text ends in.
WORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5
)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, max_size=5))
def test_what_python_writes_is_read(words):
    for written in (
        json.dumps(words),
        json.dumps(words, ensure_ascii=False),
        str(words),
        str(tuple(words)),
        str([np.str_(word) for word in words]),
        repr(np.array(words, dtype=object)),
    ):
        assert read_list(written) == words
    assert sorted(read_list(str(set(words)))) == sorted(set(words))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        WORDS.filter(lambda word: word == word.strip() not in ("", "0", "1")),
        min_size=1,
    )
)
def test_what_pandas_writes_is_read(tmp_path_factory, words):
    path = tmp_path_factory.mktemp("pandas") / "table.csv"
    for cell in (words, set(words), np.array(words), tuple(words)):
        pd.DataFrame({"text": ["t"], "labels": [cell]}).to_csv(path, index=False)
        if not any(word[:2] in ("['", '["', "{'", '{"') for word in words):
            assert lists_of(load_table(path)) == [sorted(set(words))]


# ------------------------------------------------------------ rows of 0 and 1

MULTI_HOT = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("form", [str, json.dumps, np.array, "|".join, ", ".join])
@pytest.mark.parametrize("rows", [MULTI_HOT, [[1, 0], [0, 1]], [[1, 1]], [[0, 0]]])
def test_rows_of_0_and_1_as_texts(tmp_path, form, rows):
    texts = [list(map(str, row)) for row in rows]
    cells = [form(r if form in (str, json.dumps, np.array) else t)
             for r, t in zip(rows, texts, strict=True)]  # fmt: skip
    path = write_cells(tmp_path, *cells)
    separator = ", " if isinstance(cells[0], str) and cells[0][1] == "," else "|"
    refused(path, "'labels' holds only 0 and 1", "[0, 2]", separator=separator)


@pytest.mark.parametrize("between", [" ", ",", ", ", ";", "\t", "|"])
@pytest.mark.parametrize("separator", ["|", ",", "/"])
def test_rows_of_0_and_1_that_are_not_split(tmp_path, between, separator):
    cells = [between.join(map(str, row)) for row in MULTI_HOT]
    message = "'labels' holds only 0 and 1"
    refused(write_cells(tmp_path, *cells, ""), message, separator=separator)


@pytest.mark.parametrize("kind", [int, str])
def test_rows_of_0_and_1_as_lists(tmp_path, kind):
    lists = [list(map(kind, row)) for row in MULTI_HOT]
    refused(write_lists(tmp_path, *lists, None), "'labels' holds only 0 and 1")
    parquet = tmp_path / "table.parquet"
    pd.DataFrame({"text": list("tuv"), "labels": lists}).to_parquet(parquet)
    refused(parquet, "'labels' holds only 0 and 1", "numpy.array(rows)")


@pytest.mark.parametrize("kind", [bool, float])
def test_rows_of_other_numbers(tmp_path, kind):
    lists = [list(map(kind, row)) for row in MULTI_HOT]
    refused(write_lists(tmp_path, *lists), "line 1: 'labels' must be", "[0, 2]")
    path = write_cells(tmp_path, *lists)
    refused(path, "line 2: 'labels' ", "[0, 2]")
    path = write_cells(tmp_path, *map(np.array, lists))
    refused(path, "line 2: 'labels' ", "[0, 2]")


def test_advice_for_rows_of_0_and_1_works(tmp_path):
    refused(write_cells(tmp_path, *MULTI_HOT), "such as [0, 2] for [1, 0, 1]")
    numbers = [np.flatnonzero(row).tolist() for row in MULTI_HOT]
    data = load_table(write_cells(tmp_path, *numbers))
    np.testing.assert_array_equal(data.Y.toarray(), MULTI_HOT)
    model = LightDXMLClassifier(max_epochs=1, validation_fraction=0, label_dim=4)
    model.fit(["red fox", "blue dog", "cat"], np.array(MULTI_HOT))
    assert model.n_labels_ == 3


@pytest.mark.parametrize(
    "lists",
    [
        [[1], [0], [1]],
        [[0, 1], [1], [0]],
        [[0, 1], [0, 1]],
        [[1, 0], [0, 1], []],  # as known names: see below
        [[1, 0], [0, 1], [2, 0]],
        [[1, 0, 1], [7]],
    ],
)
def test_labels_that_are_called_0_and_1(tmp_path, lists):
    path = write_lists(tmp_path, *lists)
    flags = lists[0] == [1, 0] and len(lists[2]) == 0
    data = load_table(path, known=["0", "1"] if flags else None)
    expected = [sorted({str(name) for name in names}) for names in lists]
    assert lists_of(data) == expected
