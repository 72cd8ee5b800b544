"""Building and opening stores: what they hold, and what is refused."""

import errno
import json
import multiprocessing
import os
import pickle
import shutil
import signal

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold, train_test_split
from sklearn.preprocessing import MultiLabelBinarizer
from store_examples import contents, make_store, write_shard, write_shards
from tokenizers import normalizers
from transformers import AutoTokenizer

from skxmc.datasets import load_table
from skxmc.nn.maps import is_mapped
from skxmc.nn.text import tokenize
from skxmc.store import _build, _builder, _files, build_store, open_store

ROWS = [
    {"text": "red fox", "labels": ["b", "a"]},
    {"text": "", "labels": []},
    {"text": "cafe\u0301 dog", "labels": ["c"]},
    {"text": "old stone house", "labels": None},
    {"text": "one two three", "labels": ["a", "a", "e\u0301"]},
]


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory, colour_rows, tiny_encoder):
    folder = tmp_path_factory.mktemp("colours")
    make_store(folder, colour_rows, tiny_encoder)
    return folder / "store"


@pytest.fixture
def copied(store_folder, tmp_path):
    """A store that a test may damage."""
    return shutil.copytree(store_folder, tmp_path / "copy")


# What a store holds


def test_a_store_holds_what_its_files_hold(store_folder, colours, tiny_tokenizer):
    texts, Y, names = colours
    store = open_store(store_folder, verify=True)
    assert list(store.X) == texts and len(store.X) == 60
    assert store.label_names == sorted(names)
    order = [names.index(name) for name in store.label_names]
    assert (store.Y.toarray() == Y.toarray()[:, order]).all()
    tokens = tokenize(texts, tiny_tokenizer, 16)
    np.testing.assert_array_equal(store.X.ids, tokens.ids)
    np.testing.assert_array_equal(store.X.offsets, tokens.offsets)
    assert store.X.ids.dtype == tokens.ids.dtype


def test_labels_are_those_of_a_table(tmp_path, tiny_encoder):
    shard = write_shard(tmp_path / "rows.jsonl", ROWS)
    store = build_store(shard, tmp_path / "store", tiny_encoder, 16)
    table = load_table(shard)
    assert list(store.X) == table.texts  # both in NFC
    assert store.label_names == table.label_names == ["a", "b", "c", "é"]
    assert (store.Y.toarray() == table.Y.toarray()).all()
    assert store.Y.has_canonical_format and store.Y.dtype == np.float32


def test_no_array_of_a_store_lies_in_memory(store_folder):
    store = open_store(store_folder)
    Y = sp.csr_matrix(store.Y)  # as classifiers look at it
    arrays = [store.X.ids, store.X.offsets, Y.data, Y.indices, Y.indptr]
    assert all(map(is_mapped, arrays))
    assert not is_mapped(np.zeros(3)[1:])


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_indexing_is_that_of_an_array(data, store_folder, colours):
    X, expected = open_store(store_folder).X, np.array(colours[0], object)
    for _ in range(3):  # views of views
        n = len(expected)
        keys = st.one_of(
            st.slices(n),
            st.lists(st.integers(-n, n - 1) if n else st.nothing()).map(np.array),
            st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
        )
        key = data.draw(keys)
        if isinstance(key, np.ndarray) and not len(key):
            key = key.astype(int)
        X, expected = X[key], expected[key]
        assert list(X) == expected.tolist() and X.shape == expected.shape
        assert [X[i] for i in range(-len(X), len(X))] == 2 * expected.tolist()
    assert list(pickle.loads(pickle.dumps(X))) == expected.tolist()


@pytest.mark.parametrize("key", [60, -61, [0, 60], [0.5], [[1]], [True], "a", None])
def test_wrong_indices_are_refused(store_folder, key):
    with pytest.raises(IndexError):
        open_store(store_folder).X[key]


def test_splitters_of_scikit_learn_take_views(store_folder, colours):
    store, texts = open_store(store_folder), np.array(colours[0], object)
    train, test, Y_train, Y_test = train_test_split(store.X, store.Y, random_state=0)
    expected = train_test_split(texts, store.Y, random_state=0)
    assert type(train) is type(test) is type(store.X)
    assert [*train, *test] == [*expected[0], *expected[1]]
    assert (Y_test != expected[3]).nnz == 0 and Y_train.shape[0] == len(train)
    for _, others in KFold(3).split(store.X):
        assert list(store.X[others]) == texts[others].tolist()


def test_a_pickle_holds_no_documents(store_folder):
    X = open_store(store_folder).X
    assert len(pickle.dumps(X[:50])) < len(pickle.dumps(X)) + 100 < 4000


def test_texts_may_be_left_out(tmp_path, tiny_encoder, colour_rows):
    store = make_store(tmp_path, colour_rows, tiny_encoder, keep_texts=False)
    assert store.X.shape == (60,) and not (tmp_path / "store" / "texts.npy").exists()
    open_store(tmp_path / "store", verify=True)
    for read in (lambda: store.X[0], lambda: list(store.X[3:5])):
        with pytest.raises(ValueError, match="keep_texts=True"):
            read()


def test_a_store_without_labels(tmp_path, tiny_encoder):
    rows = [{"text": row["text"]} for row in ROWS]
    store = make_store(tmp_path, rows, tiny_encoder, n=2, labels=None)
    assert store.Y is None and store.label_names == [] and len(store.X) == 5
    open_store(tmp_path / "store", verify=True)


def test_known_labels_are_the_columns(tmp_path, tiny_encoder):
    known = ["c", "z", "e\u0301", "b", "a", "c"]
    store = make_store(tmp_path, ROWS, tiny_encoder, n=2, known_labels=known)
    assert store.label_names == ["c", "z", "é", "b", "a", "c"]
    rows = [store.Y[[i]].indices.tolist() for i in range(5)]
    assert rows == [[3, 4], [], [0], [], [2, 4]]


def test_unknown_labels(tmp_path, tiny_encoder):
    files = write_shards(tmp_path / "shards", ROWS, 2)
    options = dict(known_labels=["a", "b", "é"])
    with pytest.raises(ValueError, match=r"part-0.parquet, document 2 .* label 'c'"):
        build_store(files, tmp_path / "a", tiny_encoder, 16, **options)
    options["unknown"] = "ignore"
    store = build_store(files, tmp_path / "b", tiny_encoder, 16, **options)
    assert store.Y.shape == (5, 3) and store.Y.nnz == 4


def test_a_folder_of_shards(tmp_path, tiny_encoder, colours, colour_rows):
    write_shards(tmp_path / "shards", colour_rows)
    (tmp_path / "shards" / "_SUCCESS").write_text("")
    store = build_store(tmp_path / "shards", tmp_path / "store", tiny_encoder, 16)
    assert list(store.X) == colours[0]


@pytest.mark.parametrize("name", ["b.jsonl.gz", "b.csv", "b.json", "b.parquet/c"])
def test_files_that_are_not_read_are_told(name, tmp_path, tiny_encoder):
    shards = tmp_path / "shards"
    shards.mkdir()
    write_shard(shards / "a.jsonl", [{"text": "red", "labels": ["a"]}])
    (shards / name).parent.mkdir(exist_ok=True)
    (shards / name).write_text("")
    message = f"also holds {name.partition('/')[0]}, and only files"
    with pytest.warns(UserWarning, match=message):
        build_store(shards, tmp_path / "store", tiny_encoder, 16)


def test_a_store_is_no_folder_of_shards(tmp_path, tiny_encoder):
    files = [write_shard(tmp_path / "a.jsonl", [{"text": "red", "labels": ["a"]}])]
    build_store(files, tmp_path / "store", tiny_encoder, 16)
    (tmp_path / "store" / "store.json").rename(tmp_path / "store" / "build.json")
    with pytest.raises(ValueError, match="store is a store. Open it with open_store"):
        build_store(tmp_path / "store", tmp_path / "other", tiny_encoder, 16)


def test_parts_do_not_change_a_store(
    tmp_path, tiny_model, tiny_tokenizer, colour_rows, monkeypatch
):
    encoder = tiny_model, tiny_tokenizer
    whole = make_store(tmp_path, colour_rows, encoder, n=2)
    monkeypatch.setattr(_builder, "_DOCS", 4)
    for module in ("skxmc.store._open", "skxmc._stored_texts"):
        monkeypatch.setattr(f"{module}.CHUNK", 5)
    parts = build_store(tmp_path / "shards", tmp_path / "parts", encoder, 16)
    assert parts.fingerprint == whole.fingerprint
    assert contents(tmp_path / "parts") == contents(tmp_path / "store")
    open_store(tmp_path / "parts", verify=True)


@settings(max_examples=20, deadline=None)
@given(
    lists=st.lists(
        st.lists(st.sampled_from("abcdefg"), max_size=4), min_size=1, max_size=12
    ).filter(any),
    n=st.integers(1, 4),
)
def test_label_matrix_of_random_lists(
    lists, n, tmp_path_factory, tiny_model, tiny_tokenizer
):
    folder = tmp_path_factory.mktemp("random")
    rows = [{"text": "fox", "labels": names} for names in lists]
    store = make_store(folder, rows, (tiny_model, tiny_tokenizer), n=n)
    binarizer = MultiLabelBinarizer()
    assert (store.Y.toarray() == binarizer.fit_transform(lists)).all()
    assert store.label_names == binarizer.classes_.tolist()


# Builds that are interrupted, resumed and extended


def interrupt(*args):
    raise KeyboardInterrupt


@pytest.fixture
def counted(monkeypatch):
    """Numbers of documents that builds tokenise, and after how many they stop."""
    done, limit = [], [10**9]

    def count(texts, *args):
        if sum(done) + len(texts) > limit[0]:
            interrupt()
        done.append(len(texts))
        return tokenize(texts, *args)

    monkeypatch.setattr(_builder, "tokenize", count)
    return done, limit


@pytest.mark.parametrize("at", [5, 20, 45, 60])
def test_an_interrupted_build_goes_on(
    at, tmp_path, tiny_encoder, colour_rows, counted, store_folder, monkeypatch
):
    done, limit = counted
    monkeypatch.setattr(_builder, "_DOCS", 8)  # so that parts of a file are written
    limit[0] = at
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if at == 60:  # everything is read, and the label matrix is missing
            patch.setattr(_builder.Builder, "_write_labels", interrupt)
        make_store(tmp_path, colour_rows, tiny_encoder)
    with pytest.raises(ValueError, match="is not finished"):
        open_store(tmp_path / "store")
    done.clear()
    limit[0] = 10**9
    files = tmp_path / "shards"
    store = build_store(files, tmp_path / "store", tiny_encoder, 16)
    assert sum(done) == 60 - at // 20 * 20  # files of 20 documents
    expected = contents(store_folder)
    found = contents(tmp_path / "store")
    found["store.json"] = expected["store.json"]  # with other times of the shards
    assert found == expected
    assert store.fingerprint == open_store(store_folder).fingerprint


def test_a_killed_build_goes_on(
    tmp_path, tiny_model, tiny_tokenizer, colour_rows, counted, monkeypatch
):
    encoder, folder = (tiny_model, tiny_tokenizer), tmp_path / "store"
    files = write_shards(tmp_path / "shards", colour_rows)

    def build_and_die():
        def die_soon(texts, *args):
            if texts[0] == colour_rows[28]["text"]:  # the third part of the second file
                os.kill(os.getpid(), signal.SIGKILL)
            return tokenize(texts, *args)

        _builder.tokenize, _builder._DOCS = die_soon, 4
        build_store(files, folder, encoder, 16)

    process = multiprocessing.get_context("fork").Process(target=build_and_die)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    store = build_store(files, folder, encoder, 16)
    assert counted[0] == [20, 20]
    assert list(store.X) == [row["text"] for row in colour_rows]
    open_store(folder, verify=True)


def test_a_finished_store_is_not_built_again(
    tmp_path, tiny_encoder, colour_rows, counted
):
    make_store(tmp_path, colour_rows, tiny_encoder)
    before = contents(tmp_path / "store")
    counted[0].clear()
    build_store(tmp_path / "shards", tmp_path / "store", tiny_encoder, 16)
    assert counted[0] == [] and contents(tmp_path / "store") == before


def test_files_are_added_at_the_end(tmp_path, tiny_encoder, colour_rows, counted):
    files = write_shards(tmp_path / "shards", colour_rows)
    options = tmp_path / "store", tiny_encoder, 16
    few = build_store(files[:2], *options)
    assert len(few.X) == 40
    counted[0].clear()
    store = build_store(files, *options)
    assert counted[0] == [20] and len(store.X) == 60
    whole = build_store(files, tmp_path / "whole", tiny_encoder, 16)
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")
    assert whole.fingerprint == store.fingerprint != few.fingerprint
    again = build_store(files[:2], *options)  # and files are left out again
    assert again.fingerprint == few.fingerprint and len(again.X) == 40


def test_a_changed_shard_is_read_again(tmp_path, tiny_encoder, colour_rows, counted):
    make_store(tmp_path, colour_rows, tiny_encoder)
    files = sorted((tmp_path / "shards").iterdir())
    rows = [{"text": "new fox", "labels": ["new"]}]
    write_shard(files[1], rows)
    counted[0].clear()
    store = build_store(files, tmp_path / "store", tiny_encoder, 16)
    assert counted[0] == [1, 20]  # the file and those after it
    expected = [row["text"] for row in [*colour_rows[:20], *rows, *colour_rows[40:]]]
    assert list(store.X) == expected and "new" in store.label_names
    open_store(tmp_path / "store", verify=True)


def test_one_process_builds_a_store(tmp_path, tiny_encoder, colour_rows):
    files = write_shards(tmp_path / "shards", colour_rows)
    folder = tmp_path / "store"
    folder.mkdir()
    with _build._lock(folder), pytest.raises(ValueError, match="Another process"):
        build_store(files, folder, tiny_encoder, 16)
    build_store(files, folder, tiny_encoder, 16)
    assert not (folder / "build.lock").exists()


# Stores that another call would make otherwise


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(max_length=8), "max_length=16, and max_length=8 is asked"),
        (dict(separator=";"), r"separator='\|', and separator=';'"),
        (dict(labels=None), "labels='labels', and labels=None"),
        (dict(keep_texts=False), "keep_texts=True, and keep_texts=False"),
        (dict(known_labels=["red"]), "known_labels=None, and known_labels=names of"),
    ],
)
def test_a_store_is_not_mixed_with_another(
    options, message, copied, tmp_path, tiny_encoder, colour_rows
):
    before = contents(copied)
    files = write_shards(tmp_path / "shards", colour_rows)
    options = {"max_length": 16} | options
    with pytest.raises(ValueError, match=message):
        build_store(files, copied, tiny_encoder, **options)
    assert contents(copied) == before


def test_a_store_of_another_tokenizer(
    copied, tmp_path, tiny_encoder, tiny_model, tiny_tokenizer, colour_rows
):
    files = write_shards(tmp_path / "shards", colour_rows)
    other = AutoTokenizer.from_pretrained(tiny_encoder)
    other.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(ValueError, match="tokenizer=.*of encoder .*BertModel"):
        build_store(files, copied, (tiny_model, other), 16)
    # What counts is the tokenizer, not where it comes from.
    os.utime(copied / "store.json")
    build_store(files, copied, (tiny_model, tiny_tokenizer), 16)


def test_a_build_without_a_finished_file_leaves_nothing(tmp_path, tiny_encoder):
    options = (
        write_shards(tmp_path / "shards", ROWS, 1),
        tmp_path / "store",
        tiny_encoder,
    )
    with pytest.raises(ValueError, match="has no column 'tags'"):
        build_store(*options, 16, labels="tags")
    assert len(build_store(*options, 8).X) == 5


def test_a_folder_of_other_files_is_left_alone(tmp_path, tiny_encoder, colour_rows):
    files = write_shards(tmp_path / "shards", colour_rows)
    with pytest.raises(ValueError, match="files that are no store"):
        build_store(files, tmp_path / "shards", tiny_encoder, 16)
    assert sorted((tmp_path / "shards").iterdir()) == files


# Files that are wrong


def test_missing_texts_are_refused(tmp_path, tiny_encoder):
    for kind in ("parquet", "jsonl"):
        rows = [*ROWS, {"text": None, "labels": ["a"]}]
        shard = write_shard(tmp_path / f"a.{kind}", rows)
        with pytest.raises(ValueError, match=rf"a.{kind}, \w+ 6: 'text' .* NoneType"):
            build_store(shard, tmp_path / kind, tiny_encoder, 16)


def test_empty_files_hold_no_documents(tmp_path, tiny_encoder):
    empty = [tmp_path / "a.jsonl", tmp_path / "b.parquet", tmp_path / "c.jsonl"]
    for path in empty:
        write_shard(path, [])
    with pytest.raises(ValueError, match="3 files, the first of which is .*a.jsonl"):
        build_store(empty, tmp_path / "empty", tiny_encoder, 16)
    full = write_shard(tmp_path / "full.jsonl", ROWS)
    files = [empty[0], full, *empty[1:]]
    store = build_store(files, tmp_path / "store", tiny_encoder, 16)
    assert len(store.X) == 5
    open_store(tmp_path / "store", verify=True)


def test_no_label_at_all(tmp_path, tiny_encoder):
    rows = [{"text": "fox", "labels": []}, {"text": "dog", "labels": None}]
    store = make_store(tmp_path, rows, tiny_encoder, n=1)
    assert store.Y.shape == (2, 0) and store.label_names == []


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_truncated_shards_are_named(kind, share, tmp_path, tiny_encoder, colour_rows):
    good = write_shard(tmp_path / "a.jsonl", ROWS)
    shard = write_shard(tmp_path / f"b.{kind}", colour_rows)
    content = shard.read_bytes()
    shard.write_bytes(content[: int(share * len(content))])
    folder = tmp_path / "store"
    if kind == "jsonl" and not share:
        assert len(build_store([good, shard], folder, tiny_encoder, 16).X) == 5
        return
    with pytest.raises(ValueError, match=rf"b.{kind}"):
        build_store([good, shard], folder, tiny_encoder, 16)
    shard.write_bytes(content)  # mended
    store = build_store([good, shard], folder, tiny_encoder, 16)
    assert list(store.X)[5:] == [row["text"] for row in colour_rows]
    open_store(folder, verify=True)


def test_damaged_pages_are_named(tmp_path, tiny_encoder, colour_rows):
    shard = write_shard(tmp_path / "a.parquet", colour_rows)
    content = bytearray(shard.read_bytes())
    content[10:400] = bytes(390)
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"a.parquet cannot be read: "):
        build_store(shard, tmp_path / "store", tiny_encoder, 16)


def test_wrong_files_are_refused_at_once(tmp_path, tiny_encoder, counted):
    good = write_shard(tmp_path / "a.jsonl", ROWS)
    other = tmp_path / "b.txt"
    other.write_text("red fox")
    for files, message in [
        ([good, tmp_path / "missing.jsonl"], "missing.jsonl is missing"),
        ([good, other], "b.txt cannot be read: its name must end"),
        ([], "files is empty"),
        (tmp_path / "empty", "holds no file that ends"),
    ]:
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            build_store(files, tmp_path / "store", tiny_encoder, 16)
    assert counted[0] == []


def test_a_label_matrix_as_labels_is_refused(tmp_path, tiny_encoder):
    rows = [{"text": "fox", "labels": [i, 1 - i, 0]} for i in (0, 1)]
    with pytest.raises(ValueError, match="holds only 0 and 1"):
        make_store(tmp_path, rows, tiny_encoder, n=1)


# A full disk


def test_a_full_disk_is_told_and_left(
    tmp_path, tiny_encoder, colour_rows, monkeypatch, counted
):
    files = write_shards(tmp_path / "shards", colour_rows)
    append = _files.GrowingArray.append

    def fill(array, values):
        if array.path.name == "texts.npy" and array.length > 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(array, values)

    with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
        patch.setattr(_files.GrowingArray, "append", fill)
        build_store(files, tmp_path / "store", tiny_encoder, 16)
    assert caught.value.errno == errno.ENOSPC
    assert "part-1.jsonl holds does not fit" in str(caught.value)
    counted[0].clear()
    build_store(files, tmp_path / "store", tiny_encoder, 16)
    assert counted[0] == [20, 20]
    open_store(tmp_path / "store", verify=True)


def test_a_disk_that_is_full_at_once(tmp_path, tiny_encoder, colour_rows, monkeypatch):
    files = write_shards(tmp_path / "shards", colour_rows)

    def full(content, file, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(_files.json, "dump", full)
        with pytest.raises(OSError, match="store is full: .* call build_store again"):
            build_store(files, tmp_path / "store", tiny_encoder, 16)
    assert len(build_store(files, tmp_path / "store", tiny_encoder, 16).X) == 60


def test_labels_without_room_are_refused_before(
    tmp_path, tiny_encoder, colour_rows, monkeypatch
):
    usage = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(OSError, match="The labels of the store .* Make room"):
            make_store(tmp_path, colour_rows, tiny_encoder)
    build_store(tmp_path / "shards", tmp_path / "store", tiny_encoder, 16)


# Stores that are damaged


FILES = [
    *("tokens.npy", "tokens_offsets.npy", "texts.npy", "texts_offsets.npy"),
    *("labels.npy", "labels_offsets.npy", "ones.npy", "label_names.json"),
]


def test_there_is_no_store(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no store"):
        open_store(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_missing_and_truncated_files_are_named(name, copied):
    path = copied / name
    content = path.read_bytes()
    for damaged in (content[:-1], content[:50], b"", content + b"12345678", None):
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            open_store(copied)
        path.write_bytes(content)
    open_store(copied)


@pytest.mark.parametrize("name", [n for n in FILES if "offsets" not in n])
def test_changed_values_are_found_on_request(name, copied):
    path = copied / name
    content = bytearray(path.read_bytes())
    place = -5 if name.endswith("json") else -8
    content[place] ^= 1
    path.write_bytes(content)
    open_store(copied)
    with pytest.raises(ValueError, match="is damaged: it"):
        open_store(copied, verify=True)


def test_a_changed_part_is_named(copied):
    store = open_store(copied)
    content = bytearray((copied / "texts.npy").read_bytes())
    content[128 + store.X._text_offsets[25]] ^= 1
    (copied / "texts.npy").write_bytes(content)
    with pytest.raises(ValueError, match="its part for part-1.jsonl has changed"):
        open_store(copied, verify=True)


@pytest.mark.parametrize("name", ["tokens", "texts", "labels"])
def test_places_beyond_the_end_are_refused(name, copied):
    path = copied / f"{name}_offsets.npy"
    offsets = np.load(path)
    for place, value in [(5, 10**6), (5, -1), (0, 1), (-1, offsets[-1] - 1)]:
        changed = offsets.copy()
        changed[place] = value
        np.save(path, changed)
        with pytest.raises(ValueError, match="does not divide"):
            open_store(copied)


@pytest.mark.parametrize("value", [-1, 12])
def test_labels_without_a_column_are_refused(value, copied):
    labels = np.load(copied / "labels.npy")
    labels[7] = value
    np.save(copied / "labels.npy", labels)
    with pytest.raises(ValueError, match="labels beyond 0 to 11"):
        open_store(copied)


def test_other_types_are_refused(copied):
    np.save(copied / "tokens.npy", np.load(copied / "tokens.npy").astype(np.int16))
    with pytest.raises(ValueError, match="of type uint16, not .* of int16"):
        open_store(copied)
    np.save(copied / "tokens.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="tokens.npy is damaged"):
        open_store(copied)


def test_damaged_descriptions_are_refused(copied):
    path = copied / "store.json"
    content = json.loads(path.read_text())
    lacking = content | {}
    del lacking["tokenizer"]
    newer = content | {"format": 2}
    for text, message in [
        ("{", "no description"),
        ("[]", "no description"),
        (json.dumps(lacking), "lacks 'tokenizer'"),
        (json.dumps(newer), "format 2, and this version of skxmc reads format 1"),
    ]:
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            open_store(copied)
