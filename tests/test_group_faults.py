"""Fits of several processes that fail, are killed, and are resumed."""

import errno
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from group_processes import assert_close, make, outcome
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from test_checkpoint import Killed, steps

import skxmc
from skxmc import LightDXMLClassifier, distributed
from skxmc.datasets import load_table
from skxmc.nn import checkpoint, group

pytest_plugins = ["group_fixtures"]

CASE = "LightXML, all labels"


def error_of(function, *args):
    """Return the kind and the message of the error of a call."""
    try:
        function(*args)
    except Exception as error:
        return type(error).__name__, str(error)
    return None


# --- what is refused ---------------------------------------------------------


def test_different_fits_are_refused_by_all(tiny_encoder, colours, start):
    texts, Y, names = colours
    changed = Y.copy()
    changed.data[0] = 0
    changed.eliminate_zeros()
    model = make(CASE, tiny_encoder, names, max_epochs=1)
    others = {
        "X": (model, [*texts[1:], texts[0]], Y),
        "y": (model, texts, changed),
        "the class": (make("GRank", tiny_encoder, names),),
    }
    for name, value in dict(batch_size=9, random_state=1).items():
        other = make(CASE, tiny_encoder, names, max_epochs=1, **{name: value})
        others[f"the parameter {name}"] = (other,)

    weights = np.arange(1.0, len(texts) + 1)
    others["sample_weight"] = (model, texts, Y, weights)
    warm = make(CASE, tiny_encoder, names, max_epochs=1, warm_start=True)

    def fit(rank):
        errors = {}
        for name, other in others.items():
            own = (model, texts, Y)
            if rank:
                own = other + own[len(other) :]
            errors[name] = error_of(own[0].fit, *own[1:])
        with distributed.alone():
            warm.fit(texts[rank:], Y[rank:])
        errors["the fit that goes on"] = error_of(warm.fit, texts, Y)
        # A failure leaves a group that fits.
        return errors, model.set_params(verbose=rank).fit(texts, Y).score(texts, Y)

    (one, score), (other, same_score) = start(2, fit).results()
    assert one == other and score == same_score
    for name, (kind, message) in one.items():
        assert kind == "ValueError"
        named = re.search("process 1 differs from process 0 in (.*?)[.] Give", message)
        named = named[1].split(", ")
        assert named == [name] or named[0] == name == "the class"


def test_different_forms_of_the_same_data(tiny_encoder, colours, start):
    texts, Y, names = colours
    single, others = np.array(["a", "b", "c"] * 20), np.array(["d", "e", "f"] * 20)
    columns = (single[:, None] == np.unique(single)).astype(int)
    weights = [np.arange(60) != row for row in (0, 1)]
    refused = {
        "the classes of y": [(single,), (others,)],
        "the kind of y, the classes of y": [(single,), (columns,)],
        "X, y, sample_weight": [(Y, each) for each in weights],
    }

    def fit(rank):
        model = make(CASE, tiny_encoder, names, max_epochs=1)
        return [error_of(model.fit, texts, *own[rank]) for own in refused.values()]

    one, other = start(2, fit).results()
    assert one == other
    for name, (kind, message) in zip(refused, one, strict=True):
        assert kind == "ValueError" and f"from process 0 in {name}. Give" in message


def test_bad_input_on_one_is_refused_by_all(tiny_encoder, colours, start):
    texts, Y, names = colours
    model = make(CASE, tiny_encoder, names)

    def fit(rank):
        return error_of(model.fit, [None, *texts[1:]] if rank else texts, Y)

    one, other = start(2, fit).results()
    assert other[0] == "ValueError" and "None" in other[1]
    assert one[0] == "RuntimeError" and other[1] in one[1]


def test_what_processes_cannot_train_together(tiny_encoder, colours, start):
    texts, Y, names = colours
    words = LightDXMLClassifier(device="cpu", random_state=0)
    refused = [
        ("GRank", dict(max_leaf_size=3), "clusters.*head="),
        ("LightXML", dict(max_leaf_size=3), "clusters.*head="),
        ("LightXML", dict(max_leaf_size=3, negatives="static"), "dynamic"),
        (words, None, "LightDXMLClassifier"),
    ]

    def fit(rank):
        errors = []
        for case, options, _ in refused:
            model = case
            if isinstance(case, str):
                model = make(case, tiny_encoder, names, **options)
            errors.append(error_of(model.set_params(max_epochs=1).fit, texts, Y))
        with distributed.alone():
            return errors, error_of(words.fit, texts, Y)

    (one, fits_alone), (other, _) = start(2, fit).results()
    assert one == other and fits_alone is None
    for (_, _, message), (kind, found) in zip(refused, one, strict=True):
        assert kind == "ValueError" and re.search(message, found), found
        assert "skxmc.distributed.alone()" in found


# --- processes that end ------------------------------------------------------


def fails_at_step(rank, n_steps, fail):
    """Count the steps of a process, which fails after some of them."""
    patch = pytest.MonkeyPatch()
    step = checkpoint.Run.end_step
    done = [0]

    def counting(self, n_done):
        done[0] += 1
        if rank == 1 and done[0] == n_steps:
            fail()
        step(self, n_done)

    patch.setattr(checkpoint.Run, "end_step", counting)


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("fail, status", [(kill, -signal.SIGKILL), (interrupt, 1)])
def test_others_end_with_one_that_ends(
    fail, status, tiny_encoder, colours, start, tmp_path
):
    texts, Y, names = colours
    folder = tmp_path / "checkpoints"

    def fit(rank):
        fails_at_step(rank, 9, fail)
        model = make(CASE, tiny_encoder, names, checkpoint_dir=folder)
        try:
            model.fit(texts, Y)
        except BaseException:
            with pytest.raises(NotFittedError):
                model.predict(texts)
            raise

    begun = time.monotonic()
    processes = start(2, fit)
    assert processes.wait() == [1, status]
    assert time.monotonic() - begun < 60
    errors = processes.errors()
    assert "SystemExit" in errors[0]
    assert ("KeyboardInterrupt" in errors.get(1, "")) == (fail is interrupt)
    assert len(list(folder.glob("*.checkpoint"))) == 1


def test_one_that_would_go_on_after_an_error(tiny_encoder, colours, start, monkeypatch):
    texts, Y, names = colours
    monkeypatch.setattr(group, "_PATIENCE", timedelta(seconds=3))

    def fail():
        raise OSError("no memory")

    def fit(rank):
        fails_at_step(rank, 3, fail)
        model = make(CASE, tiny_encoder, names)
        # It goes on after errors.
        GridSearchCV(model, {"dropout": [0.0]}, cv=2).fit(texts, Y)

    processes = start(2, fit)
    assert processes.wait() == [1, 1]
    for error in processes.errors().values():
        assert re.search("SystemExit: Process . of 2 ends", error)


def test_one_that_ends_before_fit(tiny_encoder, colours, start):
    texts, Y, names = colours

    def fit(rank):
        if rank:
            raise OSError("no data here")
        make(CASE, tiny_encoder, names).fit(texts, Y)

    processes = start(2, fit)
    assert processes.wait() == [1, 1]
    assert "no data here" in processes.errors()[1]


def test_a_full_disk_ends_all(tiny_encoder, colours, start, tmp_path):
    texts, Y, names = colours

    def fit(rank):
        write, n_written = checkpoint.Checkpoint.write, [0]

        def full(self, state):
            n_written[0] += 1
            if n_written[0] == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(self, state)

        pytest.MonkeyPatch().setattr(checkpoint.Checkpoint, "write", full)
        model = make(CASE, tiny_encoder, names, checkpoint_dir=tmp_path / "full")
        return error_of(model.fit, texts, Y), n_written[0]

    (one, n_written), (other, n_others) = start(2, fit).results()
    assert one[0] == "OSError" and "No space left" in one[1]
    assert other[0] == "RuntimeError" and one[1] in other[1]
    assert (n_written, n_others) == (2, 0)
    assert len(list((tmp_path / "full").glob("*.checkpoint"))) == 1


# --- checkpoints -------------------------------------------------------------


RESUMED = [
    *("GRank, all labels", CASE, "GUDN", "GRank, best labels by AdamW"),
    *("GRank, best of all labels by AdamW", "GRank, best labels by BCE"),
]


@pytest.mark.parametrize("case", RESUMED)
def test_any_number_of_processes_resumes(
    case, tiny_encoder, colours, start, tmp_path, monkeypatch
):
    texts, Y, names = colours
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN_WRITES", 0)  # one a step
    options = dict(max_epochs=3, batch_size=8)  # seven batches an epoch
    model = make(
        case, tiny_encoder, names, checkpoint_dir=tmp_path / "saved", **options
    )

    def stop(rank):
        with steps(7), pytest.raises(Killed):
            model.fit(texts, Y)

    def go_on(rank):
        with steps() as done:
            model.fit(texts, Y)
        return outcome(model, texts), done[0]

    start(2, stop).results()
    stop(0)
    assert len(list((tmp_path / "saved").iterdir())) == 1
    processes = start(3, go_on)
    found = processes.results()
    assert not list((tmp_path / "saved").iterdir())
    with steps() as done:
        expected = make(case, tiny_encoder, names, **options).fit(texts, Y)
    for each, n_steps in found:
        assert n_steps == done[0] - 14
        assert_close(each, outcome(expected, texts))


def test_a_checkpoint_that_one_does_not_see(
    tiny_encoder, colours, start, tmp_path, monkeypatch
):
    texts, Y, names = colours
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN_WRITES", 0)
    model = make(CASE, tiny_encoder, names, checkpoint_dir=tmp_path / "here")

    def fit(rank):
        found = []
        read = checkpoint.Checkpoint.read
        patch = pytest.MonkeyPatch()
        patch.setattr(
            checkpoint.Checkpoint, "read", lambda self: None if rank else read(self)
        )
        with steps(6):
            for _ in range(2):
                try:
                    model.fit(texts, Y)
                except (Killed, OSError) as error:
                    found.append(str(error))
        return found

    for _, message in start(2, fit).results():
        assert re.search("Process 1 does not find the checkpoint.*share", message)


# --- torchrun ----------------------------------------------------------------

EXAMPLE = Path(__file__).parents[1] / "examples" / "training" / "with_torchrun.py"
# A script that kills one of the processes in a step.
KILLED = f"""
    import os, runpy, sys
    sys.path[:0] = [{str(Path(__file__).parent)!r}]
    import group_processes, test_group_faults
    test_group_faults.fails_at_step(
        int(os.environ["RANK"]), 2, test_group_faults.kill
    )
    runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
"""


def run_torchrun(script, *args, **variables):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node=2", *map(str, [script, *args])]
    options = dict(capture_output=True, text=True, timeout=240)
    return subprocess.run(command, env=os.environ | variables, **options)


def test_torchrun(tiny_encoder, colour_table, tmp_path):
    options = ["--encoder", tiny_encoder, "--max-length", "16"]
    on_cpu = dict(CUDA_VISIBLE_DEVICES="")
    done = run_torchrun(EXAMPLE, colour_table, tmp_path / "model", *options, **on_cpu)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("P@1") == 1
    data = load_table(colour_table)
    model = skxmc.load(tmp_path / "model")
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]
    (tmp_path / "killed.py").write_text(textwrap.dedent(KILLED))
    script = tmp_path / "killed.py"
    done = run_torchrun(script, colour_table, tmp_path / "no", *options, **on_cpu)
    assert done.returncode == 1
    assert "exitcode  : -9" in done.stderr and "P@1" not in done.stdout
    assert not (tmp_path / "no").exists()
    assert model.score(data.texts, data.Y) > 0.3


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("head", ["dense", "all"])
def test_torchrun_on_two_gpus(head, tiny_encoder, colour_table, tmp_path):
    options = ["--encoder", tiny_encoder, "--max-length", "16", "--head", head]
    done = run_torchrun(EXAMPLE, colour_table, tmp_path / "model", *options)
    assert done.returncode == 0, done.stderr
    model, data = skxmc.load(tmp_path / "model"), load_table(colour_table)
    assert model.score(data.texts, data.Y) > 0.3


def test_a_process_without_a_gpu(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RuntimeError, match="--nproc_per_node=1"):
        distributed.start()
