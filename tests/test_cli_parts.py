"""``skxmc predict --part``, and several files, folders of shards and stores."""

import json
import os
import shutil

import numpy as np
import pytest
from command_line import answers, json_lines, refused, run, write_table
from store_examples import make_store, write_shard, write_shards

import skxmc
from skxmc import LightXMLClassifier
from skxmc.store import build_store


@pytest.fixture(scope="module")
def shards(tmp_path_factory, colour_rows):
    """Files of 20 rows each: Parquet, JSON lines, Parquet."""
    folder = tmp_path_factory.mktemp("parts") / "shards"
    return write_shards(folder, colour_rows)


@pytest.fixture(scope="module")
def reader(tmp_path_factory, colours, tiny_encoder):
    """Folder of a classifier that a transformer reads for, padded batch by batch."""
    texts, Y, names = colours
    folder = tmp_path_factory.mktemp("reader") / "model"
    LightXMLClassifier(
        tiny_encoder,
        label_texts=names,
        max_length=16,
        max_epochs=1,
        precision="fp32",
        random_state=0,
    ).fit(texts, Y).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("n, batch", [(1, 7), (2, 7), (3, 1), (4, 60), (9, 7), (61, 1)])
def test_parts_are_the_whole(reader, shards, n, batch):
    whole = run("predict", reader, *shards, "--batch", batch).stdout
    assert len(whole.splitlines()) == 60
    parts = [
        run("predict", reader, *shards, "--batch", batch, "--part", f"{i}/{n}").stdout
        for i in range(1, n + 1)
    ]
    assert "".join(parts) == whole
    sizes = [len(part.splitlines()) for part in parts]
    assert max(sizes) - min(sizes) <= 2 * batch


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_parts_of_one_file(tmp_path, colour_model, colour_rows, suffix):
    path = write_table(tmp_path / f"new.{suffix}", colour_rows)
    command = "predict", colour_model, path, "--batch", 8
    parts = [run(*command, "--part", f"{i}/3").stdout for i in (1, 2, 3)]
    assert "".join(parts) == run(*command).stdout
    assert len(set(parts)) == 3


@pytest.mark.parametrize(
    "part", ["0/4", "5/4", "1/0", "0/0", "x", "1", "/", "-1/4", "1/4/4", "1.5/2", "٣/4"]
)
def test_parts_that_there_are_not(colour_model, shards, part):
    message = f"{part} is no part. Write I/N, from 1/N to N/N"
    refused(message, "predict", colour_model, *shards, f"--part={part}", code=2)


def test_parts_of_what_is_read_once(tmp_path, colour_model):
    row = json_lines({"text": "fox"})
    message = "Standard input cannot be divided into parts"
    for source in ([], ["-"]):
        command = "predict", colour_model, *source, "--part", "1/2"
        refused(message, *command, input=row)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        message = "pipe cannot be divided into parts"
        refused(message, "predict", colour_model, tmp_path / "pipe", "--part", "1/2")


def test_parts_check_all_rows_first(tmp_path, colour_model, colour_rows):
    good = write_table(tmp_path / "good.jsonl", colour_rows[:9])
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json_lines({"text": "fox"}) + "fox\n")
    message = f"{bad}, line 2 is not valid JSON"
    refused(message, "predict", colour_model, good, bad, answered=10)
    for i in (1, 2, 3):
        command = "predict", colour_model, good, bad, "--batch", 2
        refused(message, *command, "--part", f"{i}/3")


def test_several_files_and_folders(tmp_path, colour_model, colour_rows, shards):
    lines = json_lines(*colour_rows)
    whole = answers(run("predict", colour_model, input=lines))
    folder = shards[0].parent
    assert answers(run("predict", colour_model, *shards)) == whole
    assert answers(run("predict", colour_model, folder)) == whole
    table = write_table(tmp_path / "more.jsonl", colour_rows[:3])
    found = answers(run("predict", colour_model, table, folder, table))
    assert found == whole[:3] + whole + whole[:3]
    mixed = run("predict", colour_model, table, "-", input=json_lines(colour_rows[5]))
    assert answers(mixed) == [*whole[:3], whole[5]]


def test_a_store_has_no_rows_to_print(
    tmp_path, colour_model, colour_rows, tiny_encoder
):
    make_store(tmp_path, colour_rows, tiny_encoder)
    message = "store is a store, which keeps no other fields than texts. Give the files"
    refused(message, "predict", colour_model, tmp_path / "store")
    (tmp_path / "store" / "store.json").rename(tmp_path / "store" / "build.json")
    refused(message, "predict", colour_model, tmp_path / "store")
    command = "train", tmp_path / "store", tmp_path / "model", "--system", "lightxml"
    refused("store is not finished", *command, "--set", f"encoder={tiny_encoder}")


def test_files_that_are_not_read_are_told(tmp_path, colour_model, shards):
    folder = shutil.copytree(shards[0].parent, tmp_path / "shards")
    (folder / "more.jsonl.gz").write_text("")
    for command in ("predict", "evaluate"):
        result = run(command, colour_model, folder)
        assert "Warning" in result.stderr and "more.jsonl.gz" in result.stderr


# Evaluation


def with_new_labels(rows):
    """Rows some of whose labels no model has seen, in an order that is not sorted."""
    more = {3: ["z", "b"], 25: ["a"], 50: ["b", "c"]}
    return [
        dict(row, labels=row["labels"] + more.get(i, [])) for i, row in enumerate(rows)
    ]


def test_evaluate_shards_and_stores(tmp_path, reader, colour_rows, tiny_encoder):
    rows = with_new_labels(colour_rows)
    table = write_table(tmp_path / "all.jsonl", rows)
    (expected,) = answers(run("evaluate", reader, table, "-k", 1, "-k", 7))
    assert (expected["documents"], expected["unknown_labels"]) == (60, 4)
    make_store(tmp_path, rows, tiny_encoder)
    write_shard(tmp_path / "shards" / "empty.parquet", [])
    for name in ("shards", "store"):
        result = run("evaluate", reader, tmp_path / name, "-k", 1, "-k", 7)
        assert result.stderr == "" and answers(result) == [expected]


def test_evaluate_shards_by_words(tmp_path, colour_model, colour_rows):
    rows = with_new_labels(colour_rows)
    table = write_table(tmp_path / "all.jsonl", rows)
    write_shards(tmp_path / "shards", rows)
    args = ("--labels", "labels", "--text", "text")
    found = run("evaluate", colour_model, tmp_path / "shards", *args).stdout
    assert found == run("evaluate", colour_model, table).stdout


def test_evaluate_a_store_with_the_labels_of_the_model(
    tmp_path, reader, colour_rows, tiny_encoder
):
    known = skxmc.load(reader).label_names_.tolist()
    few = colour_rows[:9]
    table = write_table(tmp_path / "few.jsonl", few)
    store = make_store(tmp_path, few, tiny_encoder, known_labels=known[::-1])
    assert store.label_names == known[::-1]
    before = np.array(store.Y.indices)
    found = run("evaluate", reader, tmp_path / "store").stdout
    assert found == run("evaluate", reader, table).stdout
    assert json.loads(found)["unknown_labels"] == 0
    np.testing.assert_array_equal(store.Y.indices, before)


def test_evaluate_refuses_stores(
    tmp_path, reader, colour_model, colour_rows, tiny_encoder
):
    make_store(tmp_path, colour_rows, tiny_encoder)
    message = "LightDXMLClassifier"
    assert message in refused("store", "evaluate", colour_model, tmp_path / "store")
    files = sorted((tmp_path / "shards").iterdir())
    build_store(files, tmp_path / "bare", tiny_encoder, 16, labels=None)
    refused("bare has no labels", "evaluate", reader, tmp_path / "bare")
    shutil.rmtree(tmp_path / "shards")
    (tmp_path / "shards").mkdir()
    write_shard(tmp_path / "shards" / "0.parquet", [])
    refused("shards holds no documents", "evaluate", reader, tmp_path / "shards")
