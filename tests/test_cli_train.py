"""``skxmc train``: data, settings, and where the model goes."""

import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from command_line import (
    QUICK,
    SKXMC,
    answers,
    json_lines,
    refused,
    run,
    train,
    write_folder,
    write_table,
)
from store_examples import write_shards

import skxmc
from skxmc.store import _builder, open_store


def test_train_prints_one_line(tmp_path, colour_table, colour_rows, colours):
    found = train(colour_table, tmp_path / "first")
    score = found.pop("held_out")
    assert 0 <= score <= 1
    assert found == {
        "model": str(tmp_path / "first"),
        "system": "LightDXMLClassifier",
        "documents": 60,
        "labels": 12,
        "epochs": 2,
    }
    loaded = skxmc.load(tmp_path / "first")
    assert type(loaded) is skxmc.LightDXMLClassifier
    assert max(epoch["score"] for epoch in loaded.history_) == score
    # Sorted names: columns are numbered by them.
    assert loaded.label_names_.tolist() == sorted(colours[2])
    assert loaded.label_texts == sorted(colours[2])
    counts = [
        sum(n in row["labels"] for row in colour_rows) for n in sorted(colours[2])
    ]
    assert loaded.label_counts_.tolist() == counts


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet"])
def test_train_on_any_table(tmp_path, colour_rows, suffix, colour_classifier):
    path = write_table(tmp_path / f"train.{suffix}", colour_rows)
    train(path, tmp_path / "deep" / "er" / "model")
    loaded = skxmc.load(tmp_path / "deep" / "er" / "model")
    texts = [row["text"] for row in colour_rows]
    for found, expected in zip(
        loaded.predict_topk(texts, return_names=True),
        colour_classifier.predict_topk(texts, return_names=True),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_train_on_other_columns(tmp_path, colour_rows):
    path = tmp_path / "tickets.csv"
    lines = [f"{';'.join(row['labels'])},{row['text']},x" for row in colour_rows]
    path.write_text("\n".join(["tags,body,other", *lines]))
    columns = ("--text", "body", "--labels", "tags")
    message = "no column 'text'; there are tags, body, other"
    refused(message, "train", path, tmp_path / "m")
    refused("set --separator ';'", "train", path, tmp_path / "m", *columns)
    columns += ("--separator", ";")
    assert train(path, tmp_path / "m", *columns)["labels"] == 12
    report = answers(run("evaluate", tmp_path / "m", path, *columns))[0]
    assert report["documents"] == 60 and report["unknown_labels"] == 0


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_weights_of_a_column(tmp_path, colour_rows, suffix):
    weights = [i % 3 for i in range(len(colour_rows))]
    path = tmp_path / f"weighted{suffix}"
    if suffix == ".jsonl":
        rows = zip(colour_rows, weights, strict=True)
        path.write_text(json_lines(*({**row, "times": w} for row, w in rows)))
    else:
        rows = write_table(path, colour_rows).read_text().splitlines()
        added = ["times", *map(str, weights)]
        lines = [",".join(pair) for pair in zip(rows, added, strict=True)]
        path.write_text("\n".join(lines))
    train(path, tmp_path / "model", "--weight-column", "times")
    model = skxmc.load(tmp_path / "model")
    assert model.total_weight_ == sum(weights)
    assert model.n_docs_ == len(colour_rows)
    table = skxmc.datasets.load_table(path)
    again = skxmc.LightDXMLClassifier(**model.get_params())
    again.fit(table.texts, table.Y, weights)
    np.testing.assert_array_equal(
        again.predict_topk(table.texts)[1], model.predict_topk(table.texts)[1]
    )


def test_weights_that_are_refused(tmp_path, colour_table, colour_folder):
    options = *QUICK, "--quiet", "--weight-column"
    place = tmp_path / "model"
    message = "'text' must be a number, got "
    refused(message, "train", colour_table, place, *options, "text")
    refused("times", "train", colour_table, place, *options, "times")
    refused("needs a single table", "train", colour_folder[0], place, *options, "times")
    path = tmp_path / "weighted.jsonl"
    path.write_text(json_lines(*2 * [{"text": "a", "labels": ["b", "c"], "w": -1}]))
    refused("sample_weight[0] is -1", "train", path, place, *options, "w")
    assert not place.exists()


def test_a_tab_between_labels(tmp_path, colour_rows):
    path = tmp_path / "tickets.csv"
    lines = ["\t".join(row["labels"]) + "," + row["text"] for row in colour_rows]
    path.write_text("\n".join(["labels,text", *lines]))
    # The two characters that a shell passes on for '\t', and a tab itself.
    for i, tab in enumerate((r"\t", "\t")):
        found = train(path, tmp_path / f"m{i}", "--separator", tab)
        assert found["labels"] == 12
    report = answers(run("evaluate", tmp_path / "m0", path, "--separator", r"\t"))[0]
    assert report["unknown_labels"] == 0


def test_train_on_a_folder(colour_folder, colours):
    _, model, found = colour_folder
    assert (found["documents"], found["labels"]) == (45, 12)
    loaded = skxmc.load(model)
    assert loaded.label_names_.tolist() == loaded.label_texts == colours[2]


def test_train_on_a_folder_with_codes(tmp_path, colour_rows, colours):
    names, codes = colours[2], [f"c{j}" for j in range(12)]
    files = dict(label_names=names, label_ids=codes)
    raw = write_folder(tmp_path / "raw", colour_rows, names, **files)
    train(raw, tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    # Codes are the names, and names the texts.
    assert loaded.label_names_.tolist() == codes and loaded.label_texts == names
    found = answers(
        run("predict", tmp_path / "model", input=json_lines(colour_rows[0]))
    )
    assert set(found[0]["predicted"]) <= set(codes)
    report = answers(run("evaluate", tmp_path / "model", raw, "-k", 1))[0]
    assert report["unknown_labels"] == 0


def test_train_on_a_folder_without_names(tmp_path, colour_rows, colours):
    raw = write_folder(tmp_path / "raw", colour_rows, colours[2], by_name=False)
    train(raw, tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    assert loaded.label_names_.tolist() == list(range(12))
    assert loaded.label_texts is None
    found = answers(
        run("predict", tmp_path / "model", input=json_lines(colour_rows[0]))
    )
    assert set(found[0]["predicted"]) <= set(range(12))
    run("evaluate", tmp_path / "model", raw)
    # In a table the numbers are names.
    lists = [[colours[2].index(name) for name in row["labels"]] for row in colour_rows]
    some = [dict(row, labels=n) for row, n in zip(colour_rows, lists, strict=True)]
    path = write_table(tmp_path / "table.jsonl", some)
    report = answers(run("evaluate", tmp_path / "model", path))[0]
    assert report["unknown_labels"] == 0 and report["P@1"] > 0


def test_train_on_raw_json(tmp_path, colour_rows, colours):
    raw = tmp_path / "raw"
    raw.mkdir()
    names = colours[2]
    for part, some in (("trn", colour_rows[:45]), ("tst", colour_rows[45:])):
        lines = [
            dict(
                title=row["text"],
                content="",
                target_ind=[names.index(name) for name in row["labels"]],
            )
            for row in some
        ]
        (raw / f"{part}.json").write_text(json_lines(*lines))
    labels = [dict(uid=f"u{j}", title=name) for j, name in enumerate(names)]
    (raw / "lbl.json").write_text(json_lines(*labels))
    train(raw, tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    assert loaded.label_names_.tolist() == [f"u{j}" for j in range(12)]
    assert loaded.label_texts == names
    report = answers(run("evaluate", tmp_path / "model", raw, "-k", 1))[0]
    assert report["documents"] == 15


def test_settings(tmp_path, colour_table):
    given = {
        "max_epochs": "1",
        "search": "exact",  # a word
        "label_init": '"random"',  # the same as JSON
        "learning_rate": "1e-2",
        "swa_start": "null",
        "early_stopping": "true",
        "label_names": json.dumps([f"n={j}" for j in range(12)]),
    }
    settings = [f"--set={name}={value}" for name, value in given.items()]
    assert train(colour_table, tmp_path / "model", *settings)["epochs"] == 1
    params = skxmc.load(tmp_path / "model").get_params()
    assert params["max_epochs"] == 1 and type(params["max_epochs"]) is int
    assert params["search"] == "exact" and params["label_init"] == "random"
    assert params["learning_rate"] == 0.01
    assert params["swa_start"] is None and params["early_stopping"] is True
    assert params["label_names"][3] == "n=3"
    assert params["random_state"] == 0 and params["verbose"] == 0


def test_label_texts(tmp_path, colour_table, colours):
    train(colour_table, tmp_path / "model", "--no-label-texts")
    loaded = skxmc.load(tmp_path / "model")
    assert loaded.label_texts is None
    assert loaded.label_names_.tolist() == sorted(colours[2])


PARENTS = dict(
    label_parents=["0"] * 6 + ["1 0"] + ["1"] * 5,
    parent_names=["colour", "animal"],
    parent_parents=["", ""],
)


@pytest.mark.parametrize(
    "args, parents, texts",
    [
        ((), [[1, 0]] * 6 + [[1, 1]] + [[0, 1]] * 5, ["colour", "animal"]),
        (("--no-label-texts",), "clusters", None),
        (("--set=label_parents=null",), None, None),
        (
            ("--set=parent_texts=['a', 'b']",),
            [[1, 0]] * 6 + [[1, 1]] + 5 * [[0, 1]],
            "ab",
        ),
    ],
)
def test_hierarchy_of_a_folder(tmp_path, colour_rows, colours, args, parents, texts):
    names = colours[2]
    raw = write_folder(
        tmp_path / "raw", colour_rows, names, label_names=names, **PARENTS
    )
    small = ("max_epochs=1", "word_dim=8", "n_heads=2", "label_dim=8")
    args = ["--system", "treaderxml", *(f"--set={name}" for name in small), *args]
    run("train", raw, tmp_path / "model", *args, "--quiet")
    loaded = skxmc.load(tmp_path / "model")
    found = loaded.label_parents
    assert (found.toarray().tolist() if sp.issparse(found) else found) == parents
    assert loaded.parent_texts == (texts and list(texts))
    n_parents = len(texts) if texts else {None: 0, "clusters": 1}[parents]
    assert loaded.teacher_.knowledge.shape[1] == 12 + n_parents


def test_hierarchy_is_for_whom_it_is_known(tmp_path, colour_rows, colours):
    names = colours[2]
    raw = write_folder(
        tmp_path / "raw", colour_rows, names, label_names=names, **PARENTS
    )
    assert train(raw, tmp_path / "model")["labels"] == 12  # LightDXML has none


def test_settings_that_are_refused(tmp_path, colour_table):
    start = ("train", colour_table, tmp_path / "model", *QUICK)
    message = refused("has no parameter 'colour'", *start, "--set", "colour=1", code=2)
    assert "LightDXMLClassifier" in message and "max_epochs" in message
    refused("--set max_epochs: write NAME=VALUE", *start, "--set", "max_epochs", code=2)
    refused("no parameter ''", *start, "--set", "=1", code=2)
    message = (
        "--set x={[]: 1}: {[]: 1} is not a valid value (unhashable type: 'list'). "
    )
    refused(message, *start, "--set", "x={[]: 1}", code=2)
    message = refused(
        "is not a valid value", *start, "--set", "x=" + "[" * 100_000, code=2
    )
    assert len(message) < 500
    refused("max_epochs must be", *start, "--set", "max_epochs=few")
    refused("search must be one of", *start, "--set", "search=fast")
    assert not (tmp_path / "model").exists()


def test_python_words_as_settings(tmp_path, colour_table):
    # run demands exit code 0.
    words = ("early_stopping=False", "resume=False", "clip_norm=None")
    train(colour_table, tmp_path / "model", *(f"--set={word}" for word in words))
    loaded = skxmc.load(tmp_path / "model")
    assert loaded.early_stopping is False and loaded.resume is False
    assert loaded.clip_norm is None


def test_unknown_settings_are_refused_before_the_data_are_read(tmp_path, colour_table):
    broken = write_table(tmp_path / "broken.csv", [])
    broken.write_text("nothing")
    refused("no parameter 'x'", "train", broken, tmp_path / "m", "--set=x=1", code=2)


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "bad.csv",
            "text,labels\nt\n",
            "bad.csv, line 2: the row has 1 cells",
        ),
        ("bad.csv", "", "bad.csv is empty: its first line must name the columns, such"),
        ("bad.csv", "text,labels\nt,\nu,|\n", "bad.csv has no labels in its column"),
        ("bad.csv", "text,labels\n", "bad.csv holds no documents"),
        ("bad.csv", "text,labels\nred,a\nfox,a\n", "y has 1 label columns"),
        ("bad.jsonl", "text", "bad.jsonl, line 1 is not valid JSON"),
        ("bad.parquet", "text", "arquet"),
        ("bad.txt", "text", "bad.txt cannot be read as a table"),
    ],
)
def test_train_on_bad_data(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    refused(message, "train", tmp_path / name, tmp_path / "model", *QUICK)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_warnings_are_messages(tmp_path):
    table = tmp_path / "few.csv"
    table.write_text("text,labels\n" + "red,a\nfox,b\ncat,c;d\n")
    error = run("train", table, tmp_path / "m", *QUICK, "--quiet").stderr
    lines = error.splitlines()
    assert all(line.startswith("Warning: ") for line in lines)
    assert "1 of 3 cells hold ';'" in lines[0]
    assert "validation_fraction" in lines[-1]


def test_train_on_bad_folders(tmp_path):
    new = tmp_path / "model"
    refused("holds no data set: none of", "train", tmp_path, new)
    (tmp_path / "train.txt").write_text("2 3 4\n0,3 1:0.5 2:1\n 0:2\n")
    refused("has no texts for the train part", "train", tmp_path, new)
    assert not new.exists()


def test_train_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "data.parquet").touch()
    args = ("train", tmp_path / "data.parquet", tmp_path / "model")
    refused("pip install pyarrow", *args)


def test_progress_is_on_standard_error(tmp_path, colour_table):
    result = run("train", colour_table, tmp_path / "model", *QUICK)
    assert "training" in result.stderr
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["epochs"] == 2
    assert run("evaluate", tmp_path / "model", colour_table).stderr == ""


def test_model_takes_the_place_of_a_model_alone(tmp_path, colour_table, colour_rows):
    model = tmp_path / "model"
    train(colour_table, model)
    train(write_table(tmp_path / "half.csv", colour_rows[:30]), model)
    assert skxmc.load(model).n_docs_ == 30
    (model / "config.json").unlink()
    args = ("train", colour_table, model, *QUICK, "--quiet")
    refused("which saving would remove. Name a new folder", *args)
    assert (model / "model.safetensors").exists()
    refused(
        "is a file. Name a folder",
        "train",
        colour_table,
        colour_table,
        *QUICK,
        "--quiet",
    )
    assert colour_table.read_text().startswith("text,labels")


def test_place_of_the_model_is_looked_at_before_training(
    tmp_path, colour_table, monkeypatch
):
    def trained(self, X, y):
        raise ValueError("trained")

    monkeypatch.setattr(skxmc.LightDXMLClassifier, "fit", trained)
    (tmp_path / "notes.txt").touch()
    refused("which saving would remove", "train", colour_table, tmp_path, *QUICK)


def test_nothing_else_on_standard_output(tmp_path, colour_rows, tiny_encoder):
    # Ten documents are too few to hold out some, of which there is a warning.
    path = write_table(tmp_path / "few.jsonl", colour_rows[:10])
    settings = dict(encoder=tiny_encoder, max_length=8, n_layers=2, max_epochs=1)
    args = [f"--set={name}={value}" for name, value in settings.items()]
    done = subprocess.run(
        [*SKXMC, "train", path, tmp_path / "model", *args],
        capture_output=True,
        timeout=120,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["system"] == "GRankClassifier"
    assert "training" in done.stderr and "Warning" in done.stderr
    assert json.loads(run("inspect", tmp_path / "model").stdout)["documents"] == 10


# Folders of shards, and stores

READER = ("--system", "lightxml", "--set", "max_epochs=1", "--quiet")


def train_reader(data, model, encoder, *args):
    options = ("--set", f"encoder={encoder}", "--set", "max_length=16", *READER)
    result = run("train", data, model, *options, *args)
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_train_on_a_folder_of_shards(tmp_path, colour_rows, tiny_encoder):
    write_shards(tmp_path / "shards", colour_rows)
    printed = train_reader(tmp_path / "shards", tmp_path / "model", tiny_encoder)
    assert (printed["documents"], printed["labels"]) == (60, 12)
    table = write_table(tmp_path / "all.jsonl", colour_rows)
    train_reader(table, tmp_path / "of-table", tiny_encoder)
    texts = [row["text"] for row in colour_rows]
    found = [
        skxmc.load(tmp_path / name).predict_topk(texts, 3, return_names=True)
        for name in ("model", "of-table")
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert list(open_store(tmp_path / "model.store").X) == texts


def test_a_store_is_kept_and_trained_from(
    tmp_path, colour_rows, tiny_encoder, monkeypatch
):
    data, store = tmp_path / "shards", tmp_path / "kept"
    rows = [{"t": row["text"], "l": ";".join(row["labels"])} for row in colour_rows]
    write_shards(data, rows)
    args = ("--store", store, "--text", "t", "--labels", "l", "--separator", ";")
    train_reader(data, tmp_path / "a", tiny_encoder, *args)
    tokenised = []
    monkeypatch.setattr(_builder, "tokenize", lambda *args: tokenised.append(args))
    train_reader(data, tmp_path / "b", tiny_encoder, *args)
    train_reader(store, tmp_path / "c", tiny_encoder)
    assert tokenised == [] and not (tmp_path / "c.store").exists()
    texts = [row["text"] for row in colour_rows]
    found = [skxmc.load(tmp_path / name).predict_topk(texts, 3) for name in "abc"]
    for ids, scores in found[1:]:
        np.testing.assert_array_equal(ids, found[0][0])
        np.testing.assert_array_equal(scores, found[0][1])


def test_shards_that_are_refused(tmp_path, colour_rows, tiny_encoder):
    data, model = tmp_path / "shards", tmp_path / "model"
    write_shards(data, colour_rows)
    refused("LightDXMLClassifier reads words", "train", data, model, *QUICK)
    refused(
        "part-0.parquet has no column 'tags'",
        *("train", data, model, "--set", f"encoder={tiny_encoder}"),
        *("--labels", "tags", "--quiet"),
    )
    write_shards(tmp_path / "bare", [{"text": "fox", "labels": []}], 1)
    refused(
        "bare has no labels",
        *("train", tmp_path / "bare", tmp_path / "other", "--quiet"),
        *("--set", f"encoder={tiny_encoder}"),
    )
    train_reader(data, model, tiny_encoder)
    refused(
        "max_length=16 tokens a document, and the classifier reads max_length=8",
        *("train", tmp_path / "model.store", model, *READER),
        *("--set", f"encoder={tiny_encoder}", "--set", "max_length=8"),
    )


def test_a_folder_of_a_repository_stays_one(tmp_path, colour_rows, colours):
    raw = write_folder(tmp_path / "raw", colour_rows, colours[2], by_name=False)
    write_table(raw / "notes.jsonl", colour_rows)
    assert train(raw, tmp_path / "model")["documents"] == 45  # of its training part
    assert not (tmp_path / "model.store").exists()


def test_options_without_an_effect_are_refused(
    tmp_path, colour_rows, colours, tiny_encoder
):
    shards, table = tmp_path / "shards", tmp_path / "table.jsonl"
    write_shards(shards, colour_rows)
    write_table(table, colour_rows)
    raw = write_folder(tmp_path / "raw", colour_rows, colours[2], by_name=False)
    train_reader(shards, tmp_path / "model", tiny_encoder)
    store = tmp_path / "model.store"
    new = tmp_path / "new"
    for data, kind in ((store, "a store"), (raw, "read as a folder of")):
        for option in (["--labels", "labels"], ["--unquoted"], ["--store", new]):
            message = f"{option[0]} has no effect, since {data} is {kind}"
            refused(message, "train", data, new, *option, code=2)
    message = f"--store has no effect, since {table} is a single table"
    refused(message, "train", table, new, "--store", tmp_path / "s", code=2)
    message = f"--separator has no effect, since {store} is a store"
    evaluated = ("evaluate", tmp_path / "model", store, "--separator", ";")
    refused(message, *evaluated, code=2)
    assert not new.exists()
