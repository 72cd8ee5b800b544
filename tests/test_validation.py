"""What may come in, and what is said of everything else."""

import re
import unicodedata
from collections import UserList, deque
from numbers import Integral, Real
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

import skxmc
from skxmc._validation import (
    check_choice,
    check_label_texts,
    check_labels,
    check_number,
    check_one_text_column,
    check_texts,
    encode_labels,
    holds_texts,
)
from skxmc.datasets import make_xmc

TEXTS = ["red fox", "", "blue dog"]
EYE = np.eye(3)


class Column:
    """A column as libraries of data sets have them: a length, and texts by place."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        return self.values[i]


@pytest.mark.parametrize(
    "X",
    [
        TEXTS,
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        np.array(TEXTS)[:, None],
        np.array(TEXTS, dtype=object)[:, None],
        np.array([np.str_(text) for text in TEXTS]),
        pd.Series(TEXTS, index=[7, 8, 7]),
        pd.Series(TEXTS, dtype="string"),
        pd.Series(TEXTS, dtype="category"),
        pd.Index(TEXTS),
        pd.DataFrame({"text": TEXTS}),
        pl.Series(TEXTS),
        pl.Series(TEXTS, dtype=pl.Categorical),
        pl.DataFrame({"text": TEXTS}),
        np.array(TEXTS, dtype=np.dtypes.StringDType()),
        pd.Series(TEXTS, dtype=pd.ArrowDtype(pa.string())),
        pd.array(TEXTS, dtype="string"),
        pa.array(TEXTS),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS).dictionary_encode(),
        pa.chunked_array([TEXTS[:1], TEXTS[1:]]),
        pa.table({"text": TEXTS}),
        pa.record_batch({"text": TEXTS}),
        list(pa.array(TEXTS)),
        Column(TEXTS),
        deque(TEXTS),
        UserList(TEXTS),
        dict(enumerate(TEXTS)).values(),
        [[text] for text in TEXTS],
        [(text,) for text in TEXTS],
        [np.array([text]) for text in TEXTS],
    ],
    ids=lambda X: f"{type(X).__module__.partition('.')[0]}-{type(X).__name__}",
)
def test_texts_in_any_container(X):
    assert holds_texts(X)
    assert check_texts(X) == TEXTS
    assert all(isinstance(text, str) for text in check_texts(X))


@pytest.mark.parametrize(
    "X",
    [
        EYE,
        EYE.astype(object),
        EYE[:, :1],
        EYE.tolist(),
        [np.ones(2), np.ones(2)],
        sp.csr_array(EYE),
        sp.csr_matrix(EYE),
        pd.DataFrame(EYE),
        pd.DataFrame({"number": [1, 2]}),
        pl.DataFrame({"number": [1.0, 2.0]}),
        pd.DataFrame({"a": TEXTS, "b": TEXTS}),
        pa.table({"a": TEXTS, "b": TEXTS}),
        pa.table({"a": [1.0, 2.0]}),
        torch.ones(3, 2),
        deque(EYE),
        Column(EYE.tolist()),
        [[1.0], [2.0]],
    ],
)
def test_features_are_not_texts(X):
    assert not holds_texts(X)


@pytest.mark.parametrize(
    "value, described",
    [
        (None, "NoneType"),
        (float("nan"), "NaN"),
        (np.nan, "NaN"),
        (pd.NA, "NAType"),
        (1, "int"),
        (b"red", "bytes"),
        (["red"], "list"),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_text_that_is_none_is_named(value, described, place):
    X = list(TEXTS)
    X[place] = value
    column = pd.Series(X, dtype=object)
    message = re.escape(f"X[{place}] must be a str, got {described}. Replace")
    for container in (X, column.to_numpy(), column, column.to_frame()):
        if not isinstance(value, list):
            assert holds_texts(container)
        with pytest.raises(ValueError, match=message):
            check_texts(container)


def test_missing_values_of_tables_are_named():
    for X in (
        pl.Series(["a", None]),
        pd.Series(["a", None]),
        pd.Series(["a", None], dtype="string"),
        pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string())),
        pa.array(["a", None]),
        pa.table({"text": ["a", None]}),
        np.array(["a", np.nan], dtype=np.dtypes.StringDType(na_object=np.nan)),
        np.ma.masked_array(["a", "b"], [False, True]),
    ):
        assert holds_texts(X)
        with pytest.raises(ValueError, match=r"X\[1\] must be a str, got N"):
            check_texts(X)


@pytest.mark.parametrize("X", [[], (), np.array([], dtype=object), pl.Series([""])[:0]])
def test_no_texts(X):
    assert holds_texts(X)
    with pytest.raises(ValueError, match="X is empty: at least one text"):
        check_texts(X)


class Passing:
    def __iter__(self):
        return iter(TEXTS)


@pytest.mark.parametrize(
    "X",
    [
        None,
        Passing(),
        (t for t in TEXTS),
        iter(TEXTS),
        set(TEXTS),
        dict.fromkeys(TEXTS),
    ],
)
def test_no_sequence(X):
    for function in (holds_texts, check_texts):
        with pytest.raises(TypeError, match=f"sequence of str, got {type(X).__name__}"):
            function(X)


def test_one_text_is_no_sequence_of_texts():
    with pytest.raises(ValueError, match=r"X is one str; give .* \[text\]"):
        holds_texts("red fox")


@pytest.mark.parametrize("X", [b"red", np.array("red"), np.array(b"red")])
def test_one_text_in_other_forms(X):
    with pytest.raises(
        ValueError, match=r"X is one .*; give a list of texts: \[text\]"
    ):
        holds_texts(X)


def test_a_frame_that_is_not_read_yet():
    for function in (holds_texts, check_texts):
        with pytest.raises(TypeError, match=r"X is a LazyFrame.* Give X.collect\(\)"):
            function(pl.LazyFrame({"text": TEXTS}))


@pytest.mark.parametrize("container", [list, tuple, deque, Column])
def test_rows_that_are_no_texts(container):
    rows = [{"n": 1, "title": text} for text in TEXTS]
    with pytest.raises(ValueError, match=r"X\[0\] is a dict.*row\['title'\] for row"):
        holds_texts(container(rows))
    for rows in ([["red", "fox"], ["blue"]], [[1, "red"], [2, "blue"]]):
        with pytest.raises(ValueError, match=r"X\[0\] is a list of 2 values with text"):
            holds_texts(container(rows))
    with pytest.raises(ValueError, match=r"X\[0\] must be a str, got list"):
        check_texts(container([["red"], ["blue", "dog"]]))


@given(st.lists(st.text(st.sampled_from("aeo\u0301\u0323\u093c\u0915ä\ud800"))))
def test_texts_come_in_nfc(texts):
    if texts:
        got = check_texts([unicodedata.normalize("NFD", text) for text in texts])
        assert got == [unicodedata.normalize("NFC", text) for text in texts]
        assert check_texts(texts, normalize=False) == texts


def test_texts_that_need_no_change_are_not_copied():
    texts = ["red fox", "", "Bär"]
    assert check_texts(texts) is texts
    decomposed = [unicodedata.normalize("NFD", text) for text in texts]
    assert check_texts(decomposed) == texts
    assert decomposed[2] != texts[2]  # the list that was given stays as it was
    assert check_texts(decomposed, normalize=False) is decomposed


@pytest.mark.parametrize("library", [pd, pl, SimpleNamespace(DataFrame=pa.table)])
def test_tables_with_text_in_one_of_several_columns(library):
    table = library.DataFrame({"n": [1, 2, 3], "text": TEXTS, "name": TEXTS})
    with pytest.raises(ValueError, match=r"3 columns with text in text, name.*X\['te"):
        check_one_text_column(table)
    check_one_text_column(library.DataFrame({"n": [1, 2], "m": [0.5, 1.0]}))
    check_one_text_column(EYE)


def test_category_columns_are_text():
    table = pd.DataFrame({"n": 1, "text": pd.Series(TEXTS, dtype="category")})
    with pytest.raises(ValueError, match="text in text"):
        check_one_text_column(table)


# Labels


@pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "float32", "float64"])
@pytest.mark.parametrize(
    "container, kind",
    [
        (sp.csr_array, "sparse"),
        (sp.csr_matrix, "sparse"),
        (sp.csc_array, "sparse"),
        (sp.coo_array, "sparse"),
        (sp.lil_array, "sparse"),
        (np.array, "dense"),
        (pd.DataFrame, "dense"),
        (np.ndarray.tolist, "dense"),
    ],
)
def test_label_matrices(container, kind, dtype):
    Y, classes, got = check_labels(container(EYE.astype(dtype)))
    assert got == kind and Y.format == "csr" and Y.dtype == np.float32
    np.testing.assert_array_equal(Y.toarray(), EYE)
    assert classes.tolist() == [0, 1, 2]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1))
def test_stored_zeros_and_order_do_not_matter(rows):
    rows = np.array(rows)
    if not rows.any():
        return
    n = len(rows)
    indices = np.tile([2, 0, 1], n)  # unsorted, every entry stored
    data = rows[:, [2, 0, 1]].ravel().astype(float)
    y = sp.csr_array((data, indices, np.arange(0, 3 * n + 1, 3)), (n, 3))
    stored = y.data.copy(), y.indices.copy()
    Y, _, _ = check_labels(y)
    assert Y.has_canonical_format and Y.nnz == rows.sum()
    np.testing.assert_array_equal(Y.toarray(), rows)
    np.testing.assert_array_equal(y.data, stored[0])  # y stays as it was
    np.testing.assert_array_equal(y.indices, stored[1])


@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix])
def test_label_matrices_that_need_no_change_are_not_copied(container):
    y = container(EYE.astype(np.float32))
    assert check_labels(y)[0] is y
    for changed in (y.astype(np.float64), y.astype(bool), y.tocsc()):
        Y, _, _ = check_labels(changed)
        assert Y.dtype == np.float32 and (Y != y).nnz == 0
    y.data[1] = 0  # stored: it goes from a copy, and stays here
    Y, _, _ = check_labels(y)
    assert (Y.nnz, y.nnz) == (2, 3)


@pytest.mark.parametrize(
    "system, params",
    [
        ("GRankClassifier", {}),
        ("GUDNClassifier", {"label_branch": "multi-hot"}),
        ("LightDXMLClassifier", {"label_dim": 8}),
        ("LightXMLClassifier", {}),
        ("TReaderXMLClassifier", {"label_dim": 8}),
    ],
)
def test_fit_shares_a_label_matrix_and_leaves_it_as_it_is(system, params):
    data = make_xmc(40, 12, kind="features", random_state=0)
    for part in (data.Y.data, data.Y.indices, data.Y.indptr):
        part.flags.writeable = False  # a change in place would raise
    model = getattr(skxmc, system)(max_epochs=1, random_state=0, **params)
    model.fit(data.X, data.Y)
    assert model.score(data.X, data.Y) >= 0


def test_labels_stored_twice():
    def twice(dtype):
        parts = np.ones(3, dtype), np.array([1, 1, 0]), np.array([0, 2, 3])
        return sp.csr_array(parts, (2, 2))

    assert check_labels(twice(bool))[0].toarray().tolist() == [[0, 1], [1, 0]]
    with pytest.raises(ValueError, match="0 and 1 only, got 2"):  # scipy's sum
        check_labels(twice(int))


@pytest.mark.parametrize(
    "value, message",
    [
        (2, r"0 and 1 only, got 2.*\(y > 0\)"),
        (-1, "got -1"),
        (0.25, "got 0.25"),
        (np.nan, "NaN"),
        (np.inf, "infinity"),
    ],
)
@pytest.mark.parametrize("container", [np.array, sp.csr_array, sp.csr_matrix])
def test_other_values_than_0_and_1(value, message, container):
    y = EYE.copy()
    y[1, 2] = value
    with pytest.raises(ValueError, match=f"y.*{message}"):
        check_labels(container(y))


@pytest.mark.parametrize(
    "y, message",
    [
        (None, "y is None: give a sparse label matrix"),
        (sp.csr_array((4, 3)), "no label at all: all 4 documents"),
        (np.zeros((4, 3)), "no label at all: all 4 documents"),
        (sp.csr_array((4, 0)), "y has 0 label columns; at least 2"),
        (sp.csr_array(np.ones((4, 1))), "y has 1 label columns; at least 2"),
        (np.zeros((4, 0)), "y has 0 label columns; at least 2"),
        (["a", "a"], r"one class only \(a\); two are needed"),
        ([1.5, np.nan], "NaN"),
        ([0.5, 0.25], "continuous"),
        ([["a"], ["a", "b"]], "MultiLabelBinarizer"),
        ([["a", "b"], ["a", "b"]], "MultiLabelBinarizer"),
        ([{"a"}, set()], "MultiLabelBinarizer"),
        ([[], [1]], "MultiLabelBinarizer"),
        (np.array([["a", "b"], ["a", "b"]]), "dtype <U1; it must hold 0 and 1"),
        (np.ones((2, 2, 2)), "dim"),
    ],
)
def test_labels_that_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y)


@pytest.mark.parametrize(
    "y", [["b", "a", "b"], np.array([5, -1, 5]), [True, False, True], pl.Series(TEXTS)]
)
def test_single_labels(y):
    Y, classes, kind = check_labels(y)
    assert kind == "single"
    values = np.asarray(y)
    np.testing.assert_array_equal(classes, np.unique(values))
    np.testing.assert_array_equal(classes[Y.toarray().argmax(axis=1)], values)
    assert (np.diff(Y.indptr) == 1).all()
    np.testing.assert_array_equal(
        encode_labels(y, classes, kind).toarray(), Y.toarray()
    )


def test_classes_that_fit_did_not_see_match_nothing():
    got = encode_labels(["a", "z", "A", "c"], np.array(["a", "c"]), "single")
    assert got.toarray().tolist() == [[1, 0], [0, 0], [0, 0], [0, 1]]


def test_label_matrix_of_another_width():
    for y in (EYE, sp.csr_array(EYE)):
        assert encode_labels(y, np.arange(3), "sparse").shape == (3, 3)
        with pytest.raises(ValueError, match="3 label columns, and fit saw 4"):
            encode_labels(y, np.arange(4), "sparse")


# Parameters


def test_label_texts():
    assert check_label_texts(pd.Series(TEXTS), 3) == TEXTS
    with pytest.raises(ValueError, match=r"has 3 texts and y 4 .* label_texts\[j\]"):
        check_label_texts(TEXTS, 4)
    with pytest.raises(ValueError, match=r"label_texts\[1\] must be a str, got int"):
        check_label_texts(["a", 1], 2)
    with pytest.raises(ValueError, match="label_texts is one str"):
        check_label_texts("abc", 3)
    with pytest.raises(TypeError, match="label_texts must be .* got dict"):
        check_label_texts({"a": "x", "b": "y"}, 2)


@pytest.mark.parametrize("value", [1, 7, np.int32(3)])
def test_whole_numbers(value):
    check_number("k", value, Integral, 1)


@pytest.mark.parametrize("value", [0, True, np.True_, 1.0, "1", None, [1]])
def test_what_is_no_whole_number(value):
    with pytest.raises(ValueError, match="k must be an int, at least 1; got "):
        check_number("k", value, Integral, 1)


def test_limits_of_numbers():
    check_number("rate", 1, Real, 0, 1)
    check_number("rate", np.float32(0.5), Real, 0, 1, open_high=True)
    for value in (-0.1, 1.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="rate must be a number, .* at most 1"):
            check_number("rate", value, Real, 0, 1)
    with pytest.raises(ValueError, match="at least 0 and below 1; got 1.0"):
        check_number("rate", 1.0, Real, 0, 1, open_high=True)


@pytest.mark.parametrize("value", ["tree", None, 3, ["fox"], np.array(["fox", "dog"])])
def test_choices(value):
    check_choice("animal", "fox", ("fox", "dog"))
    with pytest.raises(
        ValueError, match=r"animal must be one of \('fox', 'dog'\), got"
    ):
        check_choice("animal", value, ("fox", "dog"))


def test_classes_in_another_form_of_unicode_are_known():
    classes = np.array(["Bär", "Maus", "Über"])
    y = [unicodedata.normalize("NFD", name) for name in ("Über", "Maus", "Bär", "Ür")]
    got = encode_labels(y, classes, "single").toarray()
    assert got.tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    # Where both forms are classes, each is its own.
    both = np.array(sorted({*y[:1], "Über"}))
    assert encode_labels(both, both, "single").toarray().tolist() == [[1, 0], [0, 1]]
