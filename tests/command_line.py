"""Calls of the command line in this process, and the data that they read."""

import json
import sys

import pytest
from click.testing import CliRunner

from skxmc.cli import main

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
