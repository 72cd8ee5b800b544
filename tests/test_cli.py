"""The command line, in this process but for six times."""

import contextlib
import datetime
import io
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from importlib.metadata import entry_points, version
from pathlib import Path

import click
import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import CliRunner

import skxmc
from skxmc.cli import main
from skxmc.metrics import propensity, ranking_report

QUICK = ("--system", "lightdxml", "--set", "max_epochs=2", "--set", "label_dim=8")
SKXMC = [sys.executable, "-c", "from skxmc.cli import main; main()"]
COMMANDS = ("train", "predict", "evaluate", "inspect")


def run(*args, input=None, code=0, charset="utf-8"):
    result = CliRunner(charset=charset).invoke(main, list(map(str, args)), input=input)
    # Anything else than an exit would be a traceback.
    assert isinstance(result.exception, (SystemExit, type(None))), result.exception
    assert result.exit_code == code, result.stderr
    return result


def refused(message, *args, code=1, input=None, answered=0):
    """Nothing but a message, behind so many answers."""
    result = run(*args, code=code, input=input)
    assert len(result.stdout.splitlines()) == answered
    assert message in result.stderr and "Traceback" not in result.stderr
    if code == 1:
        assert result.stderr.startswith("Error: ")
    return result.stderr


def train(data, model, *args):
    """What the command prints: one line of JSON."""
    result = run("train", data, model, *QUICK, "--quiet", *args)
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def answers(result):
    return list(map(json.loads, result.stdout.splitlines()))


def json_lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.fixture(scope="module")
def rows(colours):
    """60 documents and the names of their labels."""
    texts, Y, names = colours
    lists = [[names[j] for j in Y[[i]].indices] for i in range(len(texts))]
    return [dict(text=t, labels=n) for t, n in zip(texts, lists, strict=True)]


def write_table(path, rows):
    if path.suffix == ".jsonl":
        path.write_text(json_lines(*rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        comma = "\t" if path.suffix == ".tsv" else ","
        lines = [f"{row['text']}{comma}{'|'.join(row['labels'])}" for row in rows]
        path.write_text("\n".join([f"text{comma}labels", *lines]), encoding="utf-8")
    return path


def write_folder(folder, rows, names, *, by_name=True, **files):
    """A raw-text layout: the last 15 documents are the test part."""
    folder.mkdir()
    for part, some in (("train", rows[:-15]), ("test", rows[-15:])):
        texts = [row["text"] for row in some]
        if by_name:
            labels = ["\t".join(row["labels"]) for row in some]
        else:
            ids = [[str(names.index(name)) for name in row["labels"]] for row in some]
            labels = list(map(" ".join, ids))
        files |= {f"{part}_texts": texts, f"{part}_labels": labels}
    for name, lines in files.items():
        content = "".join(line + "\n" for line in lines)
        (folder / f"{name}.txt").write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def table(folder, rows):
    return write_table(folder / "train.csv", rows)


@pytest.fixture(scope="module")
def model(folder, table):
    train(table, folder / "model")
    return folder / "model"


@pytest.fixture(scope="module")
def classifier(model):
    return skxmc.load(model)


@pytest.fixture(scope="module")
def raw(folder, rows, colours):
    """A raw-text folder, and the model trained on it."""
    names = colours[2]
    raw = write_folder(folder / "raw", rows, names, label_names=names)
    return raw, folder / "of-raw", train(raw, folder / "of-raw")


# ------------------------------------------------------------------ the command


def test_entry_point():
    (point,) = entry_points(group="console_scripts", name="skxmc")
    assert point.load() is main


def test_as_a_module(model, classifier):
    command = [sys.executable, "-m", "skxmc", "inspect", str(model)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["labels"] == classifier.n_labels_


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag):
    listed = run(flag)
    assert listed.stderr == ""
    for command in COMMANDS:
        assert f"  {command} " in listed.stdout
        page = run(command, flag)
        assert page.stdout.startswith("Usage: ") and page.stderr == ""
    assert listed.stdout == run(code=2).stderr  # what is said without arguments


def test_help_shows_an_example_and_every_default():
    for command in ("", *COMMANDS[:3]):
        page = " ".join(run(*command.split(), "--help").stdout.split())
        assert "Example" in page and f"skxmc {command}" in page
    for command in (main.commands[name] for name in COMMANDS):
        for option in command.params:
            if option.param_type_name == "option":
                assert option.help, (command.name, option.name)
    assert "[default: 1, 3, 5;" in " ".join(run("evaluate", "-h").stdout.split())


def test_version():
    assert run("--version").stdout.rstrip().endswith(version("skxmc"))


def test_usage(model, table, tmp_path):
    new = tmp_path / "new"
    refused("No such command 'fit'", "fit", code=2)
    refused("Missing argument 'DATA'", "train", code=2)
    refused("Missing argument 'MODEL'", "train", table, code=2)
    refused("'bert' is not one of", "train", table, new, "--system", "bert", code=2)
    refused("does not exist", "train", tmp_path / "no.csv", new, code=2)
    for command in COMMANDS[1:]:
        data = [table] if command == "evaluate" else []
        refused("does not exist", command, tmp_path / "no", *data, code=2)
    refused("does not exist", "evaluate", model, tmp_path / "no.csv", code=2)
    refused("does not exist", "predict", model, tmp_path / "no.jsonl", code=2)
    refused("is a directory", "predict", model, tmp_path, code=2)
    refused("not in the range", "predict", model, "-k", 0, code=2)
    refused("not in the range", "predict", model, "--batch", 0, code=2)
    refused("not in the range", "evaluate", model, table, "-k", 0, code=2)
    assert not new.exists()


# ------------------------------------------------------------------------ train


def test_train_prints_one_line(folder, table, rows, colours):
    found = train(table, folder / "first")
    score = found.pop("held_out")
    assert 0 <= score <= 1
    assert found == {
        "model": str(folder / "first"),
        "system": "LightDXMLClassifier",
        "documents": 60,
        "labels": 12,
        "epochs": 2,
    }
    loaded = skxmc.load(folder / "first")
    assert type(loaded) is skxmc.LightDXMLClassifier
    assert max(epoch["score"] for epoch in loaded.history_) == score
    # Sorted names: columns are numbered by them.
    assert loaded.label_names_.tolist() == sorted(colours[2])
    assert loaded.label_texts == sorted(colours[2])
    counts = [sum(n in row["labels"] for row in rows) for n in sorted(colours[2])]
    assert loaded.label_counts_.tolist() == counts


@pytest.mark.parametrize("suffix", ["tsv", "jsonl", "parquet"])
def test_train_on_any_table(tmp_path, rows, suffix, classifier):
    path = write_table(tmp_path / f"train.{suffix}", rows)
    train(path, tmp_path / "deep" / "er" / "model")
    loaded = skxmc.load(tmp_path / "deep" / "er" / "model")
    texts = [row["text"] for row in rows]
    for found, expected in zip(
        loaded.predict_topk(texts, return_names=True),
        classifier.predict_topk(texts, return_names=True),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


def test_train_on_other_columns(tmp_path, rows):
    path = tmp_path / "tickets.csv"
    lines = [f"{';'.join(row['labels'])},{row['text']},x" for row in rows]
    path.write_text("\n".join(["tags,body,other", *lines]))
    columns = ("--text", "body", "--labels", "tags")
    message = "no column 'text'; there are tags, body, other"
    refused(message, "train", path, tmp_path / "m")
    refused("set separator=';'", "train", path, tmp_path / "m", *columns)
    columns += ("--separator", ";")
    assert train(path, tmp_path / "m", *columns)["labels"] == 12
    report = answers(run("evaluate", tmp_path / "m", path, *columns))[0]
    assert report["documents"] == 60 and report["unknown_labels"] == 0


def test_a_tab_between_labels(tmp_path, rows):
    path = tmp_path / "tickets.csv"
    lines = ["\t".join(row["labels"]) + "," + row["text"] for row in rows]
    path.write_text("\n".join(["labels,text", *lines]))
    # The two characters that a shell passes on for '\t', and a tab itself.
    for i, tab in enumerate((r"\t", "\t")):
        found = train(path, tmp_path / f"m{i}", "--separator", tab)
        assert found["labels"] == 12
    report = answers(run("evaluate", tmp_path / "m0", path, "--separator", r"\t"))[0]
    assert report["unknown_labels"] == 0


def test_train_on_a_folder(raw, colours):
    _, model, found = raw
    assert (found["documents"], found["labels"]) == (45, 12)
    loaded = skxmc.load(model)
    assert loaded.label_names_.tolist() == loaded.label_texts == colours[2]


def test_train_on_a_folder_with_codes(tmp_path, rows, colours):
    names, codes = colours[2], [f"c{j}" for j in range(12)]
    files = dict(label_names=names, label_ids=codes)
    raw = write_folder(tmp_path / "raw", rows, names, **files)
    train(raw, tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    # Codes are the names, and names the texts.
    assert loaded.label_names_.tolist() == codes and loaded.label_texts == names
    found = answers(run("predict", tmp_path / "model", input=json_lines(rows[0])))
    assert set(found[0]["predicted"]) <= set(codes)
    report = answers(run("evaluate", tmp_path / "model", raw, "-k", 1))[0]
    assert report["unknown_labels"] == 0


def test_train_on_a_folder_without_names(tmp_path, rows, colours):
    raw = write_folder(tmp_path / "raw", rows, colours[2], by_name=False)
    train(raw, tmp_path / "model")
    loaded = skxmc.load(tmp_path / "model")
    assert loaded.label_names_.tolist() == list(range(12))
    assert loaded.label_texts is None
    found = answers(run("predict", tmp_path / "model", input=json_lines(rows[0])))
    assert set(found[0]["predicted"]) <= set(range(12))
    run("evaluate", tmp_path / "model", raw)
    # In a table the numbers are names.
    lists = [[colours[2].index(name) for name in row["labels"]] for row in rows]
    some = [dict(row, labels=n) for row, n in zip(rows, lists, strict=True)]
    path = write_table(tmp_path / "table.jsonl", some)
    report = answers(run("evaluate", tmp_path / "model", path))[0]
    assert report["unknown_labels"] == 0 and report["P@1"] > 0


def test_train_on_raw_json(tmp_path, rows, colours):
    raw = tmp_path / "raw"
    raw.mkdir()
    names = colours[2]
    for part, some in (("trn", rows[:45]), ("tst", rows[45:])):
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


def test_settings(tmp_path, table):
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
    assert train(table, tmp_path / "model", *settings)["epochs"] == 1
    params = skxmc.load(tmp_path / "model").get_params()
    assert params["max_epochs"] == 1 and type(params["max_epochs"]) is int
    assert params["search"] == "exact" and params["label_init"] == "random"
    assert params["learning_rate"] == 0.01
    assert params["swa_start"] is None and params["early_stopping"] is True
    assert params["label_names"][3] == "n=3"
    assert params["random_state"] == 0 and params["verbose"] == 0


def test_label_texts(tmp_path, table, colours):
    train(table, tmp_path / "model", "--no-label-texts")
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
def test_hierarchy_of_a_folder(tmp_path, rows, colours, args, parents, texts):
    names = colours[2]
    raw = write_folder(tmp_path / "raw", rows, names, label_names=names, **PARENTS)
    small = ("max_epochs=1", "word_dim=8", "n_heads=2", "label_dim=8")
    args = ["--system", "treaderxml", *(f"--set={name}" for name in small), *args]
    run("train", raw, tmp_path / "model", *args, "--quiet")
    loaded = skxmc.load(tmp_path / "model")
    found = loaded.label_parents
    assert (found.toarray().tolist() if sp.issparse(found) else found) == parents
    assert loaded.parent_texts == (texts and list(texts))
    n_parents = len(texts) if texts else {None: 0, "clusters": 1}[parents]
    assert loaded.teacher_.knowledge.shape[1] == 12 + n_parents


def test_hierarchy_is_for_whom_it_is_known(tmp_path, rows, colours):
    names = colours[2]
    raw = write_folder(tmp_path / "raw", rows, names, label_names=names, **PARENTS)
    assert train(raw, tmp_path / "model")["labels"] == 12  # LightDXML has none


def test_settings_that_are_refused(tmp_path, table):
    start = ("train", table, tmp_path / "model", *QUICK)
    message = refused("has no parameter 'colour'", *start, "--set", "colour=1", code=2)
    assert "LightDXMLClassifier" in message and "max_epochs" in message
    refused("--set max_epochs: write NAME=VALUE", *start, "--set", "max_epochs", code=2)
    refused("no parameter ''", *start, "--set", "=1", code=2)
    message = r"--set x={[]: 1}: {[]: 1} is no value (unhashable type: 'list'). Write"
    refused(message, *start, "--set", "x={[]: 1}", code=2)
    message = refused("is no value", *start, "--set", "x=" + "[" * 100_000, code=2)
    assert len(message) < 500
    refused("max_epochs must be", *start, "--set", "max_epochs=few")
    refused("search must be one of", *start, "--set", "search=fast")
    assert not (tmp_path / "model").exists()


def test_python_words_as_settings(tmp_path, table):
    # run demands exit code 0.
    words = ("early_stopping=False", "resume=False", "clip_norm=None")
    train(table, tmp_path / "model", *(f"--set={word}" for word in words))
    loaded = skxmc.load(tmp_path / "model")
    assert loaded.early_stopping is False and loaded.resume is False
    assert loaded.clip_norm is None


def test_unknown_settings_are_refused_before_the_data_are_read(tmp_path, table):
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


def test_progress_is_on_standard_error(tmp_path, table):
    result = run("train", table, tmp_path / "model", *QUICK)
    assert "training" in result.stderr
    (line,) = result.stdout.splitlines()
    assert json.loads(line)["epochs"] == 2
    assert run("evaluate", tmp_path / "model", table).stderr == ""


def test_model_takes_the_place_of_a_model_alone(tmp_path, table, rows):
    model = tmp_path / "model"
    train(table, model)
    train(write_table(tmp_path / "half.csv", rows[:30]), model)
    assert skxmc.load(model).n_docs_ == 30
    (model / "config.json").unlink()
    args = ("train", table, model, *QUICK, "--quiet")
    refused("which saving would remove. Name a new folder", *args)
    assert (model / "model.safetensors").exists()
    refused("is a file. Name a folder", "train", table, table, *QUICK, "--quiet")
    assert table.read_text().startswith("text,labels")


def test_place_of_the_model_is_looked_at_before_training(tmp_path, table, monkeypatch):
    def trained(self, X, y):
        raise ValueError("trained")

    monkeypatch.setattr(skxmc.LightDXMLClassifier, "fit", trained)
    (tmp_path / "notes.txt").touch()
    refused("which saving would remove", "train", table, tmp_path, *QUICK)


def test_nothing_else_on_standard_output(tmp_path, rows, tiny_encoder):
    # Ten documents are too few to hold out some, of which there is a warning.
    path = write_table(tmp_path / "few.jsonl", rows[:10])
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


# ---------------------------------------------------------------------- predict


def test_predict(folder, model, classifier, rows):
    given = [{"id": i, "more": {"é": [None, 1.5]}, **rows[i]} for i in range(60)]
    for row in given:
        del row["labels"]
    path = folder / "texts.jsonl"
    path.write_text(json_lines(*given), encoding="utf-8")
    names, scores = classifier.predict_topk(
        [row["text"] for row in rows], 5, return_names=True
    )
    result = run("predict", model, path)
    assert result.stderr == ""
    for found, row, labels, values in zip(
        answers(result), given, names, scores, strict=True
    ):
        assert found.pop("predicted") == list(labels)
        given_scores = found.pop("predicted_scores")
        np.testing.assert_allclose(given_scores, values, atol=6e-7, rtol=0)
        assert found == row and list(found) == list(row)
    for source in ([], ["-"]):
        read = run("predict", model, *source, input=path.read_text(encoding="utf-8"))
        assert read.stdout == result.stdout
    for batch in (1, 7):
        parts = answers(run("predict", model, path, "--batch", batch))
        assert [row["id"] for row in parts] == list(range(60))
        assert [row["predicted"] for row in parts] == names.tolist()


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_predict_reads_tables(tmp_path, model, rows, suffix):
    some = [dict(rows[i], labels=["old"]) for i in range(7)]
    path = write_table(tmp_path / f"new.{suffix}", some)
    found = answers(run("predict", model, path, "--batch", 3))
    as_lines = answers(run("predict", model, "--batch", 3, input=json_lines(*some)))
    for row, expected in zip(found, as_lines, strict=True):
        assert row.pop("labels") in ("old", ["old"])
        expected.pop("labels")
        assert row == expected


def test_quotes_that_are_part_of_texts(tmp_path, rows):
    lines = [f'"{row["text"]} old\t{"|".join(row["labels"])}' for row in rows]
    path = tmp_path / "tickets.tsv"
    path.write_text("\n".join(["text\tlabels", *lines]))
    for command in (
        ("train", path, tmp_path / "model", *QUICK),
        ("evaluate", tmp_path / "model", path),
        ("predict", tmp_path / "model", path),
    ):
        if command[0] != "train":
            refused("read the table with quoted=False (--unquoted)", *command)
        found = answers(run(*command, "--unquoted"))
        assert len(found) == 60 or found[0]["documents"] == 60
    assert [row["text"] for row in found] == [line.split("\t")[0] for line in lines]


def test_predict_keeps_fields_of_one_name(tmp_path, model):
    path = tmp_path / "new.csv"
    path.write_text("id,text,tag,tag\n1,fox,a,b\n2,cat,,c\n")
    found = answers(run("predict", model, path))
    assert [row["tag"] for row in found] == [["a", "b"], ["", "c"]]
    lines = '{"text": "fox", "more": {"x": 1, "x": [2]}, "tag": 1, "tag": null}\n'
    (row,) = answers(run("predict", model, input=lines))
    assert row["tag"] == [1, None] and row["more"] == {"x": [1, [2]]}
    message = "Line 2 has 'text' 2 times."
    twice = '{"text": "fox", "text": "cat"}\n'
    refused(message, "predict", model, input=lines + twice, answered=1)


def test_predict_answers_a_line_for_each_line_of_a_single_column(tmp_path, model):
    path = tmp_path / "new.csv"
    path.write_text("text\nfox\n\ncat\n\n")
    found = answers(run("predict", model, path, "--unquoted"))
    assert [row["text"] for row in found] == ["fox", "", "cat"]


def test_predict_keeps_the_dates_of_a_table(tmp_path, model):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "new.parquet"
    days = [datetime.date(2026, 1, day) for day in (1, 2)]
    parquet.write_table(pyarrow.table({"text": ["fox", "cat"], "day": days}), path)
    found = answers(run("predict", model, path))
    assert [row["day"] for row in found] == ["2026-01-01", "2026-01-02"]


def test_predict_writes_null_for_what_json_lacks(tmp_path, model):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "new.parquet"
    more = [{"x": [1.5, math.nan]}, {"x": [-math.inf]}]
    columns = {"text": ["fox", "石油"], "price": [math.nan, 2.5], "more": more}
    parquet.write_table(pyarrow.table(columns), path)
    lines = '{"text": "fox", "price": NaN}\n{"text": "cat", "price": 1e999}\n'
    of_table = run("predict", model, path)
    for result in (of_table, run("predict", model, input=lines)):
        for word in ("NaN", "Infinity"):
            assert word not in result.stdout
        assert answers(result)[0]["price"] is None
    found = answers(of_table)
    assert found[1]["price"] == 2.5 and found[1]["text"] == "石油"
    assert [row["more"] for row in found] == [{"x": [1.5, None]}, {"x": [None]}]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predict_names_what_a_table_lacks(tmp_path, model, suffix):
    path = write_table(tmp_path / f"new.{suffix}", [dict(text="t", labels=["a"])])
    message = f"{path} has no column 'body'; there are text, labels."
    refused(message, "predict", model, path, "--text", "body")


def test_predict_other_field(model, rows):
    content = json_lines({"body": rows[0]["text"], "text": 3})
    (found,) = answers(run("predict", model, "--text", "body", input=content))
    (same,) = answers(run("predict", model, input=json_lines(rows[0])))
    assert found["predicted"] == same["predicted"] and found["text"] == 3


@pytest.mark.parametrize("k", [1, 12, 100])
def test_predict_k(model, colours, k):
    content = json_lines({"text": "red fox"}, {"text": ""})
    for row in answers(run("predict", model, "-k", k, input=content)):
        labels, scores = row["predicted"], row["predicted_scores"]
        assert len(labels) == len(set(labels)) == len(scores) == min(k, 12)
        assert set(labels) <= set(colours[2])
        assert scores == sorted(scores, reverse=True)


def test_predict_nothing(model):
    for content in ("", "\n \n"):
        assert run("predict", model, input=content).stdout == ""


@pytest.mark.parametrize(
    "line, message",
    [
        ("fox", "Line 4 is not valid JSON: "),
        ('{"text": "fox"', "Line 4 is not valid JSON: "),
        ('["fox"]', 'Line 4 must be a JSON object, got ["fox"].'),
        ("{}", "Line 4 has no text in its field 'text'."),
        ('{"body": "fox"}', "Line 4 has no text in its field 'text'."),
        ('{"text": null}', "Line 4 has no text in its field 'text'."),
        ('{"text": 4}', "Line 4 has no text in its field 'text'."),
        ('{"text": ["fox"]}', "Line 4 has no text in its field 'text'."),
    ],
)
def test_predict_names_a_broken_line(model, line, message):
    content = '{"text": "fox"}\n\n{"text": "cat"}\n' + line + "\n"
    for batch in (1, 2, 3):  # lines before it are answered
        args = ("predict", model, "--batch", batch)
        refused(message, *args, input=content, answered=2)


def test_predict_keeps_the_labels_of_the_input(model, rows):
    given = [dict(row, scores="s", predicted=["old"]) for row in rows[:3]]
    found = answers(run("predict", model, input=json_lines(*given)))
    for row, answer in zip(given, found, strict=True):
        assert answer["labels"] == row["labels"] and answer["scores"] == "s"
        assert "old" not in answer["predicted"] and len(answer["predicted"]) == 5


def test_predict_takes_byte_order_marks(tmp_path, model):
    lines = json_lines({"text": "fox"}, {"text": "tree"})
    # Windows writes one at the start, and joined files have them within.
    for content in ("\ufeff" + lines, "\ufeff" + lines.replace("\n", "\n\ufeff")):
        path = tmp_path / "texts.jsonl"
        path.write_text(content, encoding="utf-8")
        for source, input in ((["-"], content), ([path], None)):
            found = answers(run("predict", model, *source, input=input))
            assert [row["text"] for row in found] == ["fox", "tree"]


def test_predict_names_a_line_that_is_no_utf8(tmp_path, model):
    content = json_lines({"text": "fox"}).encode() * 2 + b"\n"
    content += '{"text": "é"}\n'.encode("latin-1") + b'{"text": "fox"}\n'
    path = tmp_path / "texts.jsonl"
    path.write_bytes(content)
    for source, input in ((["-"], content), ([path], None)):
        args = ("predict", model, *source, "--batch", 1)
        refused("Line 4 is not UTF-8 ('utf-8' codec", *args, input=input, answered=2)
    refused(
        "Line 1 is not UTF-8",
        "predict",
        model,
        input=content.decode("latin-1").encode("utf-16"),
    )


def test_predict_from_brackets(model):
    refused("Line 1", "predict", model, input="[" * 100_000)


def test_predict_keeps_what_is_not_ascii(tmp_path, rows):
    new = {"red": "größe", "fox": "石油 🦊", "dog": "a \u2028 b"}
    named = [
        dict(row, labels=[new.get(name, name) for name in row["labels"]])
        for row in rows
    ]
    train(write_table(tmp_path / "data.jsonl", named), tmp_path / "model")
    content = json_lines({"text": "größer 石油 \u2028 \x85", "ключ": "🦊"})
    result = run("predict", tmp_path / "model", "-k", 12, input=content)
    (found,) = [json.loads(line) for line in result.stdout.rstrip("\n").split("\n")]
    assert found["text"] == "größer 石油 \u2028 \x85" and found["ключ"] == "🦊"
    assert set(new.values()) <= set(found["predicted"])
    assert "石油 🦊" in result.stdout and "ключ" in result.stdout


def test_predict_writes_utf8(model):
    content = json_lines({"text": "石油"}).encode()
    result = run("predict", model, input=content, charset="latin-1")
    assert json.loads(result.stdout_bytes.decode())["text"] == "石油"


def test_predict_keeps_half_a_character(model):
    # What a cut through an emoji leaves: JSON can hold it, escaped.
    content = '{"text": "fox \\ud83d"}\n{"text": "fox"}\n'
    found = answers(run("predict", model, input=content))
    assert [row["text"] for row in found] == ["fox \ud83d", "fox"]


N_STREAMED = 30_000


def peak_memory(pid):
    """The most memory that a process has used so far, in MB; None elsewhere."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return None
    lines = status.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if "VmHWM" in line) / 1024


@pytest.fixture(scope="module")
def stream(model):
    """What a process does that is fed batch by batch, and stopped like by `head`."""
    process = subprocess.Popen(
        [*SKXMC, "predict", str(model), "--batch", "100"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    watch = threading.Timer(120, process.kill)
    watch.start()

    def feed(start, stop):
        for i in range(start, stop):
            row = {"id": i, "text": "fox tree", "more": "x" * 1000}
            process.stdin.write(json_lines(row))
        process.stdin.flush()

    def read(n):
        return [json.loads(process.stdout.readline())["id"] for _ in range(n)]

    try:
        feed(0, 100)
        ids = read(100)  # before anything follows
        memory = [peak_memory(process.pid)]
        feeder = threading.Thread(target=feed, args=(100, N_STREAMED))
        feeder.start()
        ids += read(N_STREAMED - 100)
        feeder.join()
        memory.append(peak_memory(process.pid))
        process.stdout.close()
        feed(0, 100)
        errors = process.stderr.read()
        code = process.wait()
    finally:
        watch.cancel()
        process.kill()
        process.stderr.close()
    return dict(ids=ids, memory=memory, errors=errors, code=code)


def test_predict_streams(stream):
    assert stream["ids"] == list(range(N_STREAMED))


def test_predict_needs_no_more_memory_for_more_lines(stream):
    before, after = stream["memory"]
    if before is None:
        pytest.skip("needs /proc")
    # All answers together would take twice that.
    assert after - before < 25


def test_predict_into_a_closed_pipe(stream):
    assert stream["errors"] == "" and stream["code"] == 1


MEASURED = """
import sys
from pathlib import Path
from skxmc.cli import main
_, model, *tables = sys.argv
for table in tables:
    main(["predict", model, table, "--batch", "100"], standalone_mode=False)
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    print(int(peak) / 1024, file=sys.stderr)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predict_needs_no_more_memory_for_more_rows(tmp_path, model, suffix):
    # 50 MB that do not shrink: random texts, in Parquet in one row group.
    rows = [dict(text="fox", labels=[os.urandom(1000).hex()]) for _ in range(25_000)]
    tables = [write_table(tmp_path / f"{n}.{suffix}", rows[:n]) for n in (500, 25_000)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(model), *map(str, tables)],
        capture_output=True,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    before, after = map(float, done.stderr.split())
    assert len(done.stdout.splitlines()) == 25_500
    assert after - before < 25


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.fixture
def on_a_terminal():
    """What a command writes on standard error, and out, where they are terminals."""

    def run(*args, output=io.TextIOWrapper):
        out, err = output(io.BytesIO(), "utf-8"), Terminal(io.BytesIO(), "utf-8")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(list(map(str, args)), standalone_mode=False)
        for stream in (out, err):
            stream.flush()
        return [stream.buffer.getvalue().decode() for stream in (out, err)]

    return run


def test_progress_of_predict(model, table, on_a_terminal):
    answered, shown = on_a_terminal("predict", model, table, "--batch", 7)
    assert answered == run("predict", model, table, "--batch", 7).stdout
    assert "predicting: 60doc" in shown.split("\r")[-1]
    # Answers on a terminal are not written over.
    same, shown = on_a_terminal("predict", model, table, output=Terminal)
    assert len(same.splitlines()) == 60 and shown == ""


def test_progress_of_evaluate(model, table, on_a_terminal, monkeypatch):
    for n in (60, 25, 1):  # the same in parts of any size
        monkeypatch.setattr("skxmc.cli._EVALUATED_AT_ONCE", n)
        printed, shown = on_a_terminal("evaluate", model, table)
        assert printed == run("evaluate", model, table).stdout
        assert "evaluating: 100%" in shown and "60/60" in shown
        assert "evaluating:   0%" in shown


# --------------------------------------------- what libraries say of bad input


@pytest.mark.parametrize("kind", [RuntimeError, NotImplementedError, RecursionError])
def test_errors_of_libraries(model, table, classifier, monkeypatch, kind):
    def failed(self, X, k, **_):
        raise kind("Cannot return the results in a contiguous 2D array")

    monkeypatch.setattr(type(classifier), "predict_topk", failed)
    refused("Error: Cannot return the results", "predict", model, table)
    refused("Error: Cannot return the results", "evaluate", model, table)
    # Who looks for a bug has the traceback.
    with pytest.raises(click.ClickException) as caught:
        main(["predict", str(model), str(table)], standalone_mode=False)
    assert type(caught.value.__cause__) is kind
    assert caught.traceback[-1].name == "invoke"


def test_errors_without_a_message(model, table, classifier, monkeypatch):
    def failed(self, X, k, **_):
        raise MemoryError

    monkeypatch.setattr(type(classifier), "predict_topk", failed)
    refused("Error: MemoryError()", "predict", model, table)


def test_parquet_that_pyarrow_cannot_read(tmp_path, model, rows, monkeypatch):
    path = write_table(tmp_path / "new.parquet", rows)
    pyarrow = pytest.importorskip("pyarrow")

    def failed(*_, **__):
        raise pyarrow.ArrowNotImplementedError("Support for codec 'lzo' not built")
        yield

    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", failed)
    refused("codec 'lzo' not built", "predict", model, path)
    refused("codec 'lzo' not built", "evaluate", model, path)
    refused("codec 'lzo' not built", "train", path, tmp_path / "new", *QUICK)


# --------------------------------------------------------------------- evaluate


def by_hand(rows, answered, k):
    """P@k and R@k."""
    hits = [
        len(set(row["labels"]) & set(found["predicted"][:k]))
        for row, found in zip(rows, answered, strict=True)
    ]
    recall = [hit / len(row["labels"]) for hit, row in zip(hits, rows, strict=True)]
    return np.mean(hits) / k, np.mean(recall)


def assert_report(found, truth, ids, ks, p):
    expected = ranking_report(truth, ids, ks, p)
    assert list(found) == ["documents", "unknown_labels", *expected]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=6e-7), name


@pytest.mark.parametrize("ks", [(), (2,), (1, 4), (3, 20)])
def test_evaluate(table, model, classifier, rows, ks):
    args = [arg for k in ks for arg in ("-k", k)]
    result = run("evaluate", model, table, *args)
    assert result.stderr == ""
    (found,) = answers(result)
    assert (found["documents"], found["unknown_labels"]) == (60, 0)
    texts = [row["text"] for row in rows]
    names = classifier.label_names_.tolist()
    Y = sp.csr_matrix([[name in row["labels"] for name in names] for row in rows])
    ids = classifier.predict_topk(texts, max(ks or (5,)))[0]
    # It was trained on these.
    assert_report(found, Y, ids, ks or (1, 3, 5), propensity(Y))
    answered = answers(run("predict", model, "-k", 20, input=json_lines(*rows)))
    for k in ks or (1, 3, 5):
        pair = found[f"P@{k}"], found[f"R@{k}"]
        assert pair == pytest.approx(by_hand(rows, answered, k), abs=6e-7)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_evaluate_with_unknown_labels(tmp_path, model, classifier, rows, suffix):
    some = [dict(row, labels=list(row["labels"])) for row in rows[:20]]
    for i, row in enumerate(some):
        row["labels"] += ["new", f"a {i}"][: i % 3]
        if i % 5 == 0:
            row["labels"].remove(row["labels"][0])
    unknown = sorted({n for row in some for n in row["labels"] if n == "new"})
    unknown += sorted({n for row in some for n in row["labels"] if n.startswith("a ")})
    path = write_table(tmp_path / f"test.{suffix}", some)
    (found,) = answers(run("evaluate", model, path))
    assert (
        (found["documents"], found["unknown_labels"]) == (20, len(unknown)) == (20, 7)
    )
    known = classifier.label_names_.tolist()
    truth = [[name in row["labels"] for name in known + unknown] for row in some]
    trained = [[name in row["labels"] for name in known + unknown] for row in rows]
    p = propensity(np.array(trained, float))  # no document has the unknown ones
    ids = classifier.predict_topk([row["text"] for row in some], 5)[0]
    assert_report(found, sp.csr_matrix(truth), ids, (1, 3, 5), p)
    answered = answers(run("predict", model, input=json_lines(*some)))
    for k in (1, 3, 5):
        pair = found[f"P@{k}"], found[f"R@{k}"]
        assert pair == pytest.approx(by_hand(some, answered, k), abs=6e-7)


def test_evaluate_on_labels_that_are_all_unknown(tmp_path, model):
    path = write_table(tmp_path / "t.jsonl", [dict(text="fox", labels=["x", "y"])])
    (found,) = answers(run("evaluate", model, path, "-k", 1))
    assert found["unknown_labels"] == 2 and found["P@1"] == found["PSP@1"] == 0


def test_evaluate_on_the_test_part(raw, rows, colours):
    data, model, _ = raw
    (found,) = answers(run("evaluate", model, data))
    assert (found["documents"], found["unknown_labels"]) == (15, 0)
    Y = colours[1].tocsr()
    ids = skxmc.load(model).predict_topk([row["text"] for row in rows[-15:]], 5)[0]
    assert_report(found, Y[45:], ids, (1, 3, 5), propensity(Y[:45]))


def test_evaluate_on_another_folder(tmp_path, raw, model, rows, colours):
    data, of_raw, _ = raw
    message = "has other labels than the model was trained on"
    refused(message, "evaluate", model, data)  # sorted, as of a table
    names = colours[2][::-1]
    other = write_folder(tmp_path / "raw", rows, names, label_names=names)
    refused(message, "evaluate", of_raw, other)
    more = colours[2] + ["more"]
    other = write_folder(tmp_path / "more", rows, more, label_names=more)
    refused(message, "evaluate", of_raw, other)
    # On a table it does not matter in which order they are.
    path = write_table(tmp_path / "test.csv", rows[-15:])
    assert run("evaluate", of_raw, path).stdout == run("evaluate", of_raw, data).stdout


def test_evaluate_on_a_folder_without_a_test_part(tmp_path, raw, rows):
    data, model, _ = raw
    shutil.copytree(data, tmp_path / "raw")
    for path in (tmp_path / "raw").glob("test_*"):
        path.unlink()
    refused("has no texts for the test part", "evaluate", model, tmp_path / "raw")


@pytest.mark.parametrize("labels, n_unknown", [(["fox"], 0), (["fox", "new"], 1)])
def test_evaluate_with_labels_of_the_same_name(
    tmp_path, rows, colours, labels, n_unknown
):
    # Two columns that a folder calls "red"; it gives labels as ids.
    names = ["red", "red", *colours[2][2:]]
    files = dict(by_name=False, label_names=names)
    raw = write_folder(tmp_path / "raw", rows, colours[2], **files)
    train(raw, tmp_path / "model")
    path = write_table(tmp_path / "t.jsonl", [dict(text="fox", labels=labels)])
    (found,) = answers(run("evaluate", tmp_path / "model", path))
    assert found["unknown_labels"] == n_unknown


def test_evaluate_with_labels_of_the_same_name_on_their_folder(tmp_path, rows, colours):
    names = ["red", "red", *colours[2][2:]]
    files = dict(by_name=False, label_names=names)
    raw = write_folder(tmp_path / "raw", rows, colours[2], **files)
    train(raw, tmp_path / "model")
    (found,) = answers(run("evaluate", tmp_path / "model", raw))
    assert (found["documents"], found["unknown_labels"]) == (15, 0)


def test_evaluate_on_bad_data(tmp_path, model, table):
    path = tmp_path / "t.csv"
    path.write_text("text,labels\nt,a,b\n")
    refused("t.csv, line 2", "evaluate", model, path)
    refused("no column 'x'", "evaluate", model, path, "--labels", "x")
    refused("separator", "evaluate", model, table, "--separator", "")


# -------------------------------------------------- inspect, and damaged models


def test_inspect(model, classifier):
    result = run("inspect", model)
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["class"] == "LightDXMLClassifier"
    assert (found["documents"], found["labels"]) == (60, 12)
    assert found["labels_without_documents"] == 0
    assert found["versions"]["skxmc"] == skxmc.__version__
    sizes = {path.name: path.stat().st_size for path in model.iterdir()}
    assert found["bytes"] == sum(sizes.values()) - sizes["config.json"]
    assert found["history"] == classifier.history_
    expected = classifier.get_params()
    assert list(found["parameters"]) == list(expected)
    assert found["parameters"]["max_epochs"] == 2
    for name, value in found["parameters"].items():
        if name in ("label_names", "label_texts"):
            assert value == "list of length 12"
        else:
            # A tuple is a list in JSON.
            assert json.loads(json.dumps(expected[name])) == value


def test_inspect_shows_every_parameter(tmp_path, colours):
    small = dict(max_epochs=1, word_dim=8, n_heads=2, random_state=0)
    names = colours[2]
    given = dict(
        label_parents=sp.csr_matrix(np.ones((12, 2))),
        parent_texts=["colour", "animal"],
        label_names=np.array(names),
        token_vectors={name: np.ones(8) for name in names},
        label_texts=None,
        swa_start=0.5,
        early_stopping=False,
    )
    classifier = skxmc.TReaderXMLClassifier(**small | given)
    classifier.fit(colours[0], colours[1]).save_pretrained(tmp_path / "model")
    found = json.loads(run("inspect", tmp_path / "model").stdout)["parameters"]
    assert list(found) == list(classifier.get_params())
    assert {name: found[name] for name in given} == {
        "label_parents": "csr_matrix of shape (12, 2)",
        "parent_texts": ["colour", "animal"],
        "label_names": "ndarray of shape (12,)",
        "token_vectors": "dict of length 12",
        "label_texts": None,
        "swa_start": 0.5,
        "early_stopping": False,
    }


def test_inspect_of_an_ensemble(tmp_path, colours):
    one = skxmc.LightDXMLClassifier(max_epochs=1, label_dim=8, random_state=0)
    ensemble = skxmc.EnsembleClassifier([("a", one), ("b", one)])
    ensemble.fit(colours[0], colours[1]).save_pretrained(tmp_path / "model")
    found = json.loads(run("inspect", tmp_path / "model").stdout)["parameters"]
    members = [[name, "LightDXMLClassifier"] for name in "ab"]
    assert found["estimators"] == members and found["weights"] is None


def test_inspect_labels_without_documents(tmp_path, rows, colours):
    names = [*colours[2], "rare", "rarer"]
    raw = write_folder(tmp_path / "raw", rows, names, label_names=names)
    assert train(raw, tmp_path / "model")["labels"] == 14
    found = json.loads(run("inspect", tmp_path / "model").stdout)
    assert found["labels"] == 14 and found["labels_without_documents"] == 2


def change(path, content):
    path.write_bytes(content(path.read_bytes()))


DAMAGES = {
    "config": ("config.json", lambda content: content[:-20]),
    "weights": ("model.safetensors", lambda content: content[:-4]),
    "bits": ("model.safetensors", lambda content: content[:-4] + b"\x01\x02\x03\x04"),
    "labels": ("labels.json", lambda content: content.replace(b"fox", b"box")),
}


@pytest.mark.parametrize("damage", [*DAMAGES, "missing", "none"])
def test_damaged_model(tmp_path, model, table, damage):
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    if damage == "missing":
        (copy / "model.safetensors").unlink()
        message = "model.safetensors is missing"
    elif damage == "none":
        (copy / "config.json").unlink()
        message = "holds no model: config.json is missing"
    else:
        name, content = DAMAGES[damage]
        change(copy / name, content)
        message = f"{copy / name} is damaged"
    refused(message, "inspect", copy)
    refused(message, "predict", copy, input=json_lines({"text": "fox"}))
    refused(message, "evaluate", copy, table)


def test_model_that_is_a_file(table):
    refused("holds no model", "inspect", table)


def test_inspect_of_a_changed_config(tmp_path, model):
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    config = json.loads((copy / "config.json").read_text())
    # Folders without a hash of config.json are older ones, checked all the same.
    for name in config.keys() - {"sha256"}:
        less = {n: value for n, value in config.items() if n != name}
        (copy / "config.json").write_text(json.dumps(less))
        refused("config.json", "inspect", copy)


@pytest.mark.parametrize("given", [None, "ACTIVE"])
@pytest.mark.parametrize("start", ["console script", "module"])
def test_waiting_threads_are_passive_from_the_first(start, given, tmp_path):
    # Settings of OpenMP count that stand when torch is loaded.
    script = f"""
import os, runpy, sys

class Spy:
    def find_spec(self, name, path, target=None):
        if name == "torch":
            sys.exit(f"torch is loaded under {{os.environ.get('OMP_WAIT_POLICY')}}")

sys.meta_path.insert(0, Spy())
sys.argv = ["skxmc", "inspect", {str(tmp_path)!r}]
if {start!r} == "module":
    runpy.run_module("skxmc", run_name="__main__", alter_sys=True)
else:
    from skxmc.cli import main
    sys.exit(main())
"""
    env = {n: value for n, value in os.environ.items() if n != "OMP_WAIT_POLICY"}
    env |= {} if given is None else {"OMP_WAIT_POLICY": given}
    call = [sys.executable, "-c", script]
    done = subprocess.run(call, env=env, capture_output=True, text=True)
    assert done.stderr == f"torch is loaded under {given or 'PASSIVE'}\n"
