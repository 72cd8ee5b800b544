"""Parents of labels, from lists and matrices."""

import numpy as np
import pytest
import scipy.sparse as sp

from skxmc._hierarchy import check_label_parents


@pytest.mark.parametrize(
    "given, texts, links, more",
    [
        ([None, 0, [0, 1], []], None, {(1, 0), (2, 0), (2, 1)}, []),
        (["a", "b", "a", ["b", 0]], None, {(0, 4), (1, 5), (2, 4), (3, 0), (3, 5)},
         ["a", "b"]),
        ([4, [5, "c"], None, (3 - 1, np.int64(4))], ["x", "y"],
         {(0, 4), (1, 5), (1, 6), (3, 2), (3, 4)}, ["x", "y", "c"]),
        ([[3, 3], {"a"}, None, None], None, {(0, 3), (1, 4)}, ["a"]),
        ([[1, 2], 3, 3, None], None, {(0, 1), (0, 2), (1, 3), (2, 3)}, []),
        (np.array(["a", "b", "a", "a"]), None, {(0, 4), (1, 5), (2, 4), (3, 4)},
         ["a", "b"]),
        (4 * [None], ["x"], set(), ["x"]),
    ],
)  # fmt: skip
def test_listed_parents(given, texts, links, more):
    parents, names = check_label_parents(given, texts, 4)
    assert parents.shape == (4, 4 + len(more)) and names == more
    assert parents.format == "csr" and parents.dtype == np.float32
    assert set(zip(*parents.nonzero(), strict=True)) == links
    assert (parents.data == 1).all()


def test_parents_named_as_labels_or_texts_are_these():
    labels, texts = ["red", "old", "red", "new"], ["x", "y", "y"]
    given = ["new", "x", ["red", "old"], "y"]  # "red" and "y" are two each
    parents, names = check_label_parents(given, texts, 4, labels)
    assert names == ["x", "y", "y", "red", "y"]
    links = set(zip(*parents.nonzero(), strict=True))
    assert links == {(0, 3), (1, 4), (2, 7), (2, 1), (3, 8)}
    with pytest.raises(ValueError, match=r"cycle among the labels \[1, 3\]"):
        check_label_parents([None, "new", None, "old"], None, 4, labels)


def test_sets_of_parents_have_an_order():
    columns = [f"p{i}" for i in range(40)]
    _, names = check_label_parents([set(columns), set(columns[::-1])], None, 2)
    assert names == sorted(columns)


def test_errors_stay_short():
    long = {label: label // 2 for label in range(9999)}
    with pytest.raises(ValueError) as caught:
        check_label_parents(long, None, 9999)
    assert len(str(caught.value)) < 300
    ring = [(label + 1) % 99 for label in range(99)]
    with pytest.raises(ValueError, match=r"labels \[0, 1, 2, 3, 4\] and 94 more: each"):
        check_label_parents(ring, None, 99)


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csr_array, sp.coo_array])
@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
@pytest.mark.parametrize(
    "columns, texts",
    [(slice(4), None), (slice(6), ["x", "y"]), (slice(4, 6), ["x", "y"])],
)
def test_matrix_of_parents(kind, dtype, columns, texts):
    expected = np.zeros((4, 6 if texts else 4), "f4")
    expected[0, [1, 2]] = expected[1, 3] = expected[:, 4:] = 1
    expected[:, : columns.start] = 0
    given = kind(expected[:, columns].astype(dtype))
    parents, names = check_label_parents(given, texts, 4)
    np.testing.assert_array_equal(parents.toarray(), expected)
    assert parents.dtype == np.float32 and names == (texts or [])


@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_a_matrix_of_parents_stays_as_it_is(dtype):
    # Unsorted, with a stored zero.
    stored = np.array([3, 0, 2], dtype), np.array([2, 0, 1]), np.array([0, 3, 3, 3])
    given = sp.csr_matrix(stored, (3, 3))
    parents, _ = check_label_parents(given, None, 3)
    assert parents.toarray().tolist() == [[0, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert given.toarray().tolist() == [[0, 2, 3], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "given, texts, message",
    [
        ([None], None, "each of the 3 labels; got 1 entries"),
        ("abc", None, "sparse matrix or a list.*got 'abc'"),
        ([None, 3, None], None, r"label_parents\[1\].*parent 3.*from 0 to 2"),
        ([None, 5, None], ["x", "y"], r"parent 5.*0 to 4 \(3 labels and 2 parent"),
        ([None, None, [0, -1]], None, r"label_parents\[2\] names the parent -1"),
        ([None, [1.5], None], None, r"label_parents\[1\] names the parent 1.5"),
        ([None, float("nan"), None], None, r"label_parents\[1\].*nan"),
        ([None, 1.5, None], None, r"label_parents\[1\].*1.5"),
        (7, None, "sparse matrix or a list.*got 7"),
        ({0: 1, 1: 2, 2: 0}, None, "sparse matrix or a list.*got {0: 1"),
        (np.eye(3, dtype=int), None, "sparse matrix or a list.*got array"),
        ([None, True, None], None, r"label_parents\[1\] names the parent True"),
        (sp.csr_matrix((3, 4)), None, r"shape \(3, 4\).* 3 rows and 3 col"),
        (sp.csr_matrix((2, 3)), None, r"shape \(2, 3\)"),
        (sp.csr_matrix((3, 3)), ["x", "y"], r"shape \(3, 3\)"),
        (sp.csr_array((3, 4)), ["x", "y"], r"2 parent_texts .* 2 or 5 columns"),
        (3 * [None], [1], r"parent_texts\[0\] must be a str"),
        ([None, 1, None], None, r"cycle among the labels \[1\]"),
        ([1, 0, None], None, r"cycle among the labels \[0, 1\].*Remove one"),
        ([["a", 2], 0, 1], None, r"cycle among the labels \[0, 1, 2\]"),
        (sp.csr_matrix(np.eye(3)[[2, 1, 0]]), None, r"cycle among the labels \[1\]"),
    ],
)  # fmt: skip
def test_bad_parents_are_refused(given, texts, message):
    with pytest.raises(ValueError, match=message):
        check_label_parents(given, texts, 3)
