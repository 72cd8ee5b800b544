"""The command as a whole: help, usage, progress, errors of libraries."""

import contextlib
import io
import json
import os
import subprocess
import sys
from importlib.metadata import entry_points, version

import click
import pytest
from command_line import (
    COMMANDS,
    QUICK,
    refused,
    run,
    write_table,
)

from skxmc.cli import main


def test_entry_point():
    (point,) = entry_points(group="console_scripts", name="skxmc")
    assert point.load() is main


def test_as_a_module(colour_model, colour_classifier):
    command = [sys.executable, "-m", "skxmc", "inspect", str(colour_model)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["labels"] == colour_classifier.n_labels_


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


def test_usage(colour_model, colour_table, tmp_path):
    new = tmp_path / "new"
    refused("No such command 'fit'", "fit", code=2)
    refused("Missing argument 'DATA'", "train", code=2)
    refused("Missing argument 'MODEL'", "train", colour_table, code=2)
    refused(
        "'bert' is not one of", "train", colour_table, new, "--system", "bert", code=2
    )
    refused("does not exist", "train", tmp_path / "no.csv", new, code=2)
    for command in COMMANDS[1:]:
        data = [colour_table] if command == "evaluate" else []
        refused("does not exist", command, tmp_path / "no", *data, code=2)
    refused("does not exist", "evaluate", colour_model, tmp_path / "no.csv", code=2)
    refused("does not exist", "predict", colour_model, tmp_path / "no.jsonl", code=2)
    refused("holds no .parquet and no .jsonl", "predict", colour_model, tmp_path)
    refused("not in the range", "predict", colour_model, "-k", 0, code=2)
    refused("not in the range", "predict", colour_model, "--batch", 0, code=2)
    refused("not in the range", "evaluate", colour_model, colour_table, "-k", 0, code=2)
    assert not new.exists()


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


def test_progress_of_predict(colour_model, colour_table, on_a_terminal):
    answered, shown = on_a_terminal("predict", colour_model, colour_table, "--batch", 7)
    assert answered == run("predict", colour_model, colour_table, "--batch", 7).stdout
    assert "predicting: 60doc" in shown.split("\r")[-1]
    # Answers on a terminal are not written over.
    same, shown = on_a_terminal("predict", colour_model, colour_table, output=Terminal)
    assert len(same.splitlines()) == 60 and shown == ""


def test_progress_of_evaluate(colour_model, colour_table, on_a_terminal, monkeypatch):
    for n in (60, 25, 1):  # the same in parts of any size
        monkeypatch.setattr("skxmc.cli._EVALUATE_BATCH", n)
        printed, shown = on_a_terminal("evaluate", colour_model, colour_table)
        assert printed == run("evaluate", colour_model, colour_table).stdout
        assert "evaluating: 100%" in shown and "60/60" in shown
        assert "evaluating:   0%" in shown


@pytest.mark.parametrize("kind", [RuntimeError, NotImplementedError, RecursionError])
def test_errors_of_libraries(
    colour_model, colour_table, colour_classifier, monkeypatch, kind
):
    def failed(self, X, k, **_):
        raise kind("Cannot return the results in a contiguous 2D array")

    monkeypatch.setattr(type(colour_classifier), "predict_topk", failed)
    refused("Error: Cannot return the results", "predict", colour_model, colour_table)
    refused("Error: Cannot return the results", "evaluate", colour_model, colour_table)
    # Who looks for a bug has the traceback.
    with pytest.raises(click.ClickException) as caught:
        main(["predict", str(colour_model), str(colour_table)], standalone_mode=False)
    assert type(caught.value.__cause__) is kind
    assert caught.traceback[-1].name == "invoke"


def test_errors_without_a_message(
    colour_model, colour_table, colour_classifier, monkeypatch
):
    def failed(self, X, k, **_):
        raise MemoryError

    monkeypatch.setattr(type(colour_classifier), "predict_topk", failed)
    refused("Error: MemoryError()", "predict", colour_model, colour_table)


def test_parquet_that_pyarrow_cannot_read(
    tmp_path, colour_model, colour_rows, monkeypatch
):
    path = write_table(tmp_path / "new.parquet", colour_rows)
    pyarrow = pytest.importorskip("pyarrow")

    def failed(*_, **__):
        raise pyarrow.ArrowNotImplementedError("Support for codec 'lzo' not built")
        yield

    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", failed)
    refused("codec 'lzo' not built", "predict", colour_model, path)
    refused("codec 'lzo' not built", "evaluate", colour_model, path)
    refused("codec 'lzo' not built", "train", path, tmp_path / "new", *QUICK)


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
