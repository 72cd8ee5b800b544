"""Layouts of the extreme classification repository, and its reciprocal pairs."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy import sparse

from skxmc.datasets import load_xmc_repository, remove_reciprocal


def write(folder, packed=False, **files):
    """Write files, names with _txt or _json for their suffix; maybe as gz."""
    for name, content in files.items():
        stem, _, suffix = name.rpartition("_")
        content = content if isinstance(content, bytes) else content.encode()
        path = folder / f"{stem}.{suffix}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)
    return folder


def json_lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


FEATURES = "3 4 5\n0,4 0:0.5 3:-2e1\n 1:1\n2\n"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("prefix", ["", "Tiny_"])
def test_features_layout(tmp_path, packed, prefix):
    test = "1 4 5\n3,1 2:7\n"
    files = {f"{prefix}train_txt": FEATURES, f"{prefix}test_txt": test}
    write(tmp_path, packed, **files, filter_labels_test_txt="0 3\n")
    data = load_xmc_repository(tmp_path)
    X = [[0.5, 0, 0, -20], [0, 1, 0, 0], [0, 0, 0, 0]]
    Y = [[1, 0, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 1, 0, 0]]
    assert_array_equal(data.X_train.toarray(), X)
    assert_array_equal(data.Y_train.toarray(), Y)
    assert_array_equal(data.X_test.toarray(), [[0, 0, 7, 0]])
    assert_array_equal(data.Y_test.toarray(), [[0, 1, 0, 1, 0]])
    assert_array_equal(data.filter_test, [[0, 3]])
    for matrix in (data.X_train, data.Y_train):
        assert sparse.isspmatrix_csr(matrix)
        assert (matrix.dtype, matrix.indices.dtype) == (np.float32, np.int32)
    assert data.texts_train is data.label_names is data.filter_train is None


def test_features_in_a_single_file(tmp_path):
    path = write(tmp_path, small_txt=FEATURES) / "small.txt"
    data = load_xmc_repository(str(path))
    assert data.X_train.shape == (3, 4) and data.X_test is None


def test_features_lenient_lines(tmp_path):
    # A byte order mark, repeats, carriage returns, no space before features, blank
    # lines at the end.
    write(tmp_path, train_txt="\ufeff2 3 2\r\n1,1,0 2:1 0:1 2:2\r\n0:4\r\n\r\n")
    data = load_xmc_repository(tmp_path)
    assert_array_equal(data.X_train.toarray(), [[1, 0, 3], [4, 0, 0]])
    assert_array_equal(data.Y_train.toarray(), [[1, 1], [0, 0]])
    assert data.X_train.has_sorted_indices and data.Y_train.nnz == 2


@pytest.mark.parametrize("between", [" ", "\t", "  ", " \t", "\u00a0"])
def test_features_with_other_blanks(tmp_path, between):
    lines = ["2 3 2", "0,1 0:1 2:2", " 1:4", ""]
    content = "\r\n".join(line.replace(" ", between) for line in lines)
    data = load_xmc_repository(write(tmp_path, train_txt=content))
    assert_array_equal(data.X_train.toarray(), [[1, 0, 2], [0, 4, 0]])
    assert_array_equal(data.Y_train.toarray(), [[1, 1], [0, 0]])


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 5)),
    seed=st.integers(0, 2**31),
    packed=st.booleans(),
)
def test_features_round_trip(tmp_path_factory, shape, seed, packed):
    n_docs, n_features, n_labels = shape
    rng = np.random.default_rng(seed)
    X = sparse.random_array((n_docs, n_features), density=0.4, rng=rng).toarray()
    X = (X * 10.0 ** rng.integers(-30, 30)).astype(np.float32)
    Y = rng.random((n_docs, n_labels)) < 0.3
    text = f"{n_docs} {n_features} {n_labels}\n"
    for x, y in zip(X, Y, strict=True):
        pairs = [f"{j}:{float(x[j])!r}" for j in np.flatnonzero(x)]
        text += " ".join([",".join(map(str, np.flatnonzero(y))), *pairs]) + "\n"
    data = load_xmc_repository(
        write(tmp_path_factory.mktemp("d"), packed, train_txt=text)
    )
    assert_array_equal(data.X_train.toarray(), X)
    assert_array_equal(data.Y_train.toarray(), Y)


@pytest.mark.parametrize(
    "content, line, message",
    [
        ("", 1, "the header is ''"),
        ("2 3\n", 1, "n_docs n_features n_labels"),
        ("2 3 x\n", 1, "'x' is not an integer"),
        ("1 3 2\nx 0:1\n", 2, "label 'x' is not an integer from 0 to 1"),
        ("1 3 2\n1.0 0:1\n", 2, "label '1.0' is not an integer"),
        ("1 3 2\n0,,1 0:1\n", 2, "label '' is not an integer"),
        ("2 3 2\n0 0:1\n2 0:1\n", 3, "label '2' is not an integer from 0 to 1"),
        ("1 3 2\n-1 0:1\n", 2, "label '-1'"),
        ("1 3 2\n0 3:1\n", 2, "feature '3' is not an integer from 0 to 2"),
        ("1 3 2\n0 a:1\n", 2, "feature 'a'"),
        ("1 3 2\n0 1: 2:1\n", 2, "value '' is not a finite float32"),
        ("1 3 2\n0 1 2:1\n", 2, "'1' is not of the form feature:value"),
        ("1 3 2\n0, 1 2:1\n", 2, "label '' is not an integer"),
        ("1 3 2\n 0,1 2:1\n", 2, "'0,1' is not of the form feature:value"),
        ("1 3 2\n0\t1\t2:1\n", 2, "'1' is not of the form feature:value"),
        ("1 3 2\n0 1:x\n", 2, "value 'x'"),
        ("1 3 2\n0 1:2:3\n", 2, "value '2:3'"),
        ("1 3 2\n0 1:nan\n", 2, "value 'nan'"),
        ("1 3 2\n0 1:inf\n", 2, "value 'inf'"),
        ("1 3 2\n0 1:1e39\n", 2, "value '1e39'"),
        ("1 3 2\n0 1:1\n1 1:1\n", 3, "the header has only 1 documents"),
        ("3 3 2\n0 1:1\n1 1:1\n", 1, "the header has 3 documents, but the file has 2"),
        (b"1 3 2\n\xff 1:1\n", 2, "not UTF-8"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_features_error_names_file_and_line(tmp_path, content, line, message, packed):
    write(tmp_path, packed, train_txt=content)
    with pytest.raises(ValueError) as error:
        load_xmc_repository(tmp_path)
    name = "train.txt.gz" if packed else "train.txt"
    assert f"{tmp_path / name}, line {line}: " in str(error.value)
    assert message in str(error.value)


def test_features_headers_must_agree(tmp_path):
    write(tmp_path, train_txt=FEATURES, test_txt="1 4 6\n0 1:1\n")
    with pytest.raises(ValueError, match=r"test\.txt, line 1: .*\(4, 6\).*\(4, 5\)"):
        load_xmc_repository(tmp_path)


def test_truncated_gzip(tmp_path):
    packed = gzip.compress(FEATURES.encode())
    (tmp_path / "train.txt.gz").write_bytes(packed[:-9])
    with pytest.raises(ValueError, match=r"train\.txt\.gz, line \d+: broken gzip"):
        load_xmc_repository(tmp_path)


TEXTS = {
    "train_texts_txt": "red apple\ngreen\rpear\nnaïve plum\n",
    "train_labels_txt": "1 0\n\n2\n",
    "test_texts_txt": "apple\n",
    "test_labels_txt": "0 0\n",
    "label_names_txt": "apple\nred thing\n42\n",
}


@pytest.mark.parametrize("packed", [False, True])
def test_raw_text_layout(tmp_path, packed):
    data = load_xmc_repository(write(tmp_path, packed, **TEXTS))
    assert data.texts_train == ["red apple", "green\rpear", "naïve plum"]
    assert data.texts_test == ["apple"]
    assert data.label_names == ["apple", "red thing", "42"]
    assert_array_equal(data.Y_train.toarray(), [[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    assert_array_equal(data.Y_test.toarray(), [[1, 0, 0]])
    assert data.X_train is data.label_parents is data.label_codes is None


def test_raw_text_with_label_names_in_lines(tmp_path):
    files = TEXTS | {
        "train_labels_txt": "\nred thing\tapple\n42\n",
        "test_labels_txt": "42\tapple\t\n",
    }
    data = load_xmc_repository(write(tmp_path, **files))
    assert_array_equal(data.Y_train.toarray(), [[0, 0, 0], [1, 1, 0], [0, 0, 1]])
    assert_array_equal(data.Y_test.toarray(), [[1, 0, 1]])


def test_raw_text_without_label_names(tmp_path):
    files = {name: text for name, text in TEXTS.items() if "names" not in name}
    files["test_labels_txt"] = "6\n"
    data = load_xmc_repository(write(tmp_path, **files))
    assert data.label_names is None
    assert data.Y_train.shape == (3, 7) and data.Y_test.shape == (1, 7)
    assert_array_equal(data.Y_test.indices, [6])


def test_raw_text_hierarchy(tmp_path):
    files = TEXTS | {
        "label_ids_txt": "a\nr\nn\n",
        "label_parents_txt": "1\n\n0 1\n",
        "parent_names_txt": "thing\nfruit\n",
        "parent_parents_txt": "\n0\n",
    }
    data = load_xmc_repository(write(tmp_path, **files))
    assert data.label_codes == ["a", "r", "n"]
    assert data.parent_names == ["thing", "fruit"]
    assert_array_equal(data.label_parents.toarray(), [[0, 1], [0, 0], [1, 1]])
    assert_array_equal(data.parent_parents.toarray(), [[0, 0], [1, 0]])


def test_blank_lines_at_the_end(tmp_path):
    codes = {"label_ids_txt": "a\nr\nn\n"}
    plain = load_xmc_repository(write(tmp_path, **TEXTS | codes))
    # Texts stay: an empty one is a document, which has its line of labels.
    longer = {
        name: content + ("" if "texts" in name else "\n \r\n")
        for name, content in (TEXTS | codes).items()
    }
    longer["filter_labels_train_txt"] = "0 0\n\n"
    data = load_xmc_repository(write(tmp_path, **longer))
    assert data.label_names == plain.label_names == ["apple", "red thing", "42"]
    assert data.label_codes == ["a", "r", "n"]
    assert (data.Y_train != plain.Y_train).nnz == 0
    assert data.texts_train == plain.texts_train
    assert_array_equal(data.filter_train, [[0, 0]])


def test_blank_names_and_texts_between_others_keep_their_places(tmp_path):
    files = {
        "train_texts_txt": "a\n\nb\n\n",
        "train_labels_txt": "0\n1\n2\n\n",
        "label_names_txt": "x\n\nz\n\n",
    }
    data = load_xmc_repository(write(tmp_path, **files))
    assert data.texts_train == ["a", "", "b", ""]
    assert data.label_names == ["x", "", "z"]
    assert_array_equal(data.Y_train.indices, [0, 1, 2])
    assert data.Y_train.shape == (4, 3)


def test_gzip_of_several_members(tmp_path):
    parts = [gzip.compress(part.encode()) for part in ("red ", "fox\ncat\n")]
    write(tmp_path, train_labels_txt="0\n1\n")
    (tmp_path / "train_texts.txt.gz").write_bytes(b"".join(parts))
    assert load_xmc_repository(tmp_path).texts_train == ["red fox", "cat"]


def test_messages_stay_short(tmp_path):
    long = "x" * 100_000
    for changed in (
        {"train_labels_txt": f"apple\n{long}\n42\n"},
        {"train_labels_txt": f"0\n{long}\n2\n"},
        {"label_names_txt": f"{long}\n{long}\n", "train_labels_txt": "a\n\n\n"},
    ):
        with pytest.raises(ValueError, match=r"'x{60}'\.\.\.") as error:
            load_xmc_repository(write(tmp_path, **TEXTS | changed))
        assert len(str(error.value)) < 500
    for line in (f"0 {long}:1", f"0 1:{long}", f"{long} 1:1", f"0 1:1 {long}"):
        path = write(tmp_path, one_txt=f"1 3 2\n{line}\n") / "one.txt"
        with pytest.raises(ValueError) as error:
            load_xmc_repository(path)
        assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "changed, where, message",
    [
        ({"train_labels_txt": "1\n0\n\n2\n"}, "train_labels.txt, line 4", "4 lines"),
        ({"train_labels_txt": "1\n0\n"}, "train_labels.txt, line 3", "2 lines for 3"),
        ({"test_labels_txt": "1\n0\n"}, "test_labels.txt, line 2", "2 lines for 1"),
        ({"train_labels_txt": "1\n3\n0\n"}, "train_labels.txt, line 2", "id '3'"),
        ({"train_labels_txt": "1\n0 x\n0\n"}, "train_labels.txt, line 2", "id 'x'"),
        (
            {"train_labels_txt": "apple\nred thing\nred apple\n"},
            "train_labels.txt, line 3",
            "label 'red apple' is not in label_names.txt",
        ),
        (
            {"train_labels_txt": "a\n\n\n", "label_names_txt": "a\nb\na\n"},
            "label_names.txt, line 3",
            "'a' is also on line 1",
        ),
        ({"label_ids_txt": "a\nr\n"}, "label_ids.txt, line 2", "there are 3 labels"),
        ({"test_texts_txt": b"\xe9t\xe9\n"}, "test_texts.txt, line 1", "not UTF-8"),
        (
            {
                "parent_names_txt": "p\n",
                "label_parents_txt": "0\n\n1\n",
                "parent_parents_txt": "\n",
            },
            "label_parents.txt, line 3",
            "id '1' is not an integer from 0 to 0",
        ),
    ],
)
def test_raw_text_error_names_file_and_line(tmp_path, changed, where, message):
    with pytest.raises(ValueError) as error:
        load_xmc_repository(write(tmp_path, **TEXTS | changed))
    assert f"{tmp_path / where}: " in str(error.value)
    assert message in str(error.value)


def test_raw_text_missing_companion(tmp_path):
    write(tmp_path, train_texts_txt="a\n")
    with pytest.raises(FileNotFoundError, match=r"neither train_labels\.txt nor"):
        load_xmc_repository(tmp_path)


LF = {
    "trn_json": json_lines(
        {
            "uid": "A",
            "title": "big hammer",
            "content": "for nails",
            "target_ind": [1, 0],
            "target_rel": [1.0, 1.0],
        },
        {"uid": "B", "title": "nail", "content": "", "target_ind": []},
    ),
    "tst_json": json_lines({"uid": "C", "title": "saw", "target_ind": [1, 1]}),
    "lbl_json": json_lines({"uid": "L0", "title": "nail"}, {"title": "hammer é"}),
    "filter_labels_train_txt": "0 1\n",
    "filter_labels_test_txt": "",
}


@pytest.mark.parametrize("packed", [False, True])
def test_json_layout(tmp_path, packed):
    data = load_xmc_repository(write(tmp_path, packed, **LF))
    assert data.texts_train == ["big hammer for nails", "nail"]
    assert data.texts_test == ["saw"]
    assert data.label_names == ["nail", "hammer é"]
    assert data.label_codes == ["L0", ""]
    assert_array_equal(data.Y_train.toarray(), [[1, 1], [0, 0]])
    assert_array_equal(data.Y_test.toarray(), [[0, 1]])
    assert_array_equal(data.filter_train, [[0, 1]])
    assert data.filter_train.dtype == np.int64
    assert data.filter_test.shape == (0, 2)


def test_json_layout_without_label_file(tmp_path):
    data = load_xmc_repository(write(tmp_path, trn_json=LF["trn_json"]))
    assert data.Y_train.shape == (2, 2)
    assert data.Y_test is data.label_names is data.texts_test is None


GOOD = '{"title": "a", "target_ind": [0]}\n'


@pytest.mark.parametrize(
    "changed, where, message",
    [
        ({"trn_json": GOOD + "{"}, "trn.json, line 2", "not valid JSON"),
        (
            {"trn_json": '{"title": "a", "target_ind": [0], "target_ind": [1]}'},
            "trn.json, line 1",
            "the key 'target_ind' occurs twice",
        ),
        ({"trn_json": GOOD + "\n"}, "trn.json, line 2", "not valid JSON"),
        (
            {"trn_json": GOOD + "[1]\n"},
            "trn.json, line 2",
            "must be an object with strings title",
        ),
        (
            {"tst_json": '{"title": 3}'},
            "tst.json, line 1",
            "must be an object with strings title",
        ),
        (
            {"lbl_json": "{}\n"},
            "lbl.json, line 1",
            "must be an object with strings title",
        ),
        ({"trn_json": '{"title": "a"}'}, "trn.json, line 1", "target_ind is None"),
        ({"trn_json": GOOD.replace("[0]", "[2]")}, "trn.json, line 1", "label '2'"),
        ({"trn_json": GOOD.replace("[0]", "[1.0]")}, "trn.json, line 1", "'1.0'"),
        ({"trn_json": GOOD.replace("[0]", "[true]")}, "trn.json, line 1", "'True'"),
        (
            {"filter_labels_train_txt": "0 1\n2 0\n"},
            "filter_labels_train.txt, line 2",
            "document '2' is not an integer from 0 to 1",
        ),
        (
            {"filter_labels_test_txt": "0 2\n"},
            "filter_labels_test.txt, line 1",
            "label '2'",
        ),
        (
            {"filter_labels_test_txt": "0\n"},
            "filter_labels_test.txt, line 1",
            "'0' is not a pair",
        ),
    ],
)
def test_json_error_names_file_and_line(tmp_path, changed, where, message):
    with pytest.raises(ValueError) as error:
        load_xmc_repository(write(tmp_path, **LF | changed))
    assert f"{tmp_path / where}: " in str(error.value)
    assert message in str(error.value)


def test_folder_without_a_data_set(tmp_path):
    write(tmp_path, filter_labels_train_txt="0 0\n")
    looked_for = r"none of trn\.json, train_texts\.txt, train\.txt, \*_train\.txt"
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match=looked_for):
            load_xmc_repository(path)


def test_folder_with_two_data_sets(tmp_path):
    write(tmp_path, a_train_txt=FEATURES, b_train_txt=FEATURES)
    with pytest.raises(ValueError, match=r"a_train\.txt, b_train\.txt. Rename one"):
        load_xmc_repository(tmp_path)


# ---------------------------------------------------------- remove_reciprocal


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array])
def test_remove_reciprocal_against_dense(container):
    rng = np.random.default_rng(0)
    dense = rng.random((20, 30)) * (rng.random((20, 30)) < 0.3)
    pairs = np.column_stack([rng.integers(20, size=90), rng.integers(30, size=90)])
    scores = container(dense)
    left = remove_reciprocal(scores, pairs)
    expected = dense.copy()
    expected[pairs[:, 0], pairs[:, 1]] = 0
    assert type(left) is container
    assert_array_equal(left.toarray(), expected)
    assert left.nnz == np.count_nonzero(expected) < scores.nnz
    assert_array_equal(scores.toarray(), dense)


def test_remove_reciprocal_keeps_the_order_of_a_ranking():
    entries = [0.9, 0.8, 0.7], [2, 0, 1], [0, 3, 3]  # best first, not by column
    left = remove_reciprocal(sparse.csr_matrix(entries, shape=(2, 3)), [[0, 0]])
    assert_array_equal(left.indices, [2, 1])
    assert_array_equal(left.data, [0.9, 0.7])
    none = remove_reciprocal(left, np.empty((0, 2), dtype=int))
    assert_array_equal(none.indices, [2, 1])


@pytest.mark.parametrize("pairs", [[0, 1], [[0, 1, 2]], [[2, 0]], [[0, 3]], [[-1, 0]]])
def test_remove_reciprocal_refuses_pairs(pairs):
    with pytest.raises(ValueError, match="pairs (must have shape|has documents)"):
        remove_reciprocal(sparse.csr_matrix((2, 3)), pairs)


def test_remove_reciprocal_refuses_dense_scores():
    with pytest.raises(TypeError, match="got ndarray"):
        remove_reciprocal(np.eye(2), [[0, 0]])
