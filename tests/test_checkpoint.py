"""Training that goes on where it was killed, to the same bits."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import skxmc
from skxmc.nn import checkpoint, optimizer

N_EPOCHS = 3
COMMON = dict(
    max_epochs=N_EPOCHS,
    batch_size=16,
    validation_fraction=0.1,
    random_state=0,
    precision="fp32",
    device="cpu",
)
TEXTS = dict(max_length=12, n_layers=2)
CLUSTERED = dict(max_leaf_size=3, n_shortlist=2)
ALL = dict(head="all", n_negatives=None, label_learning_rate=None)
CASES = {
    "X-GRank": ("GRankClassifier", TEXTS | dict(lambda_schedule="step")),
    "X-GRank, clustered": (
        "GRankClassifier",
        TEXTS | CLUSTERED | dict(swa_start=0.3, swa_every=2, clip_norm=1.0),
    ),
    "X-GRank, all labels": (
        "GRankClassifier",
        TEXTS | dict(head="all", n_negatives=None, swa_start=0.3, swa_every=2),
    ),
    "X-GRank, all labels in bf16": (
        "GRankClassifier",
        TEXTS | ALL | dict(label_precision="bf16", accumulate=2),
    ),
    "X-GRank, negatives of all labels": ("GRankClassifier", TEXTS | dict(head="all")),
    "X-GRank, bf16 labels": (
        "GRankClassifier",
        TEXTS | CLUSTERED | dict(label_precision="bf16", accumulate=2),
    ),
    "X-GRank, one layer and words": (
        "GRankClassifier",
        TEXTS | dict(trained_layers=1, bag_of_words=True),
    ),
    "X-GRank, words alone": (
        "GRankClassifier",
        TEXTS | CLUSTERED | dict(reading="words", bag_of_words=True),
    ),
    "LightXML, read once": (
        "LightXMLClassifier",
        TEXTS | dict(trained_layers=0, bag_of_words=True),
    ),
    "LightXML": (
        "LightXMLClassifier",
        TEXTS | CLUSTERED | dict(dropout_until=0.5, negatives="uniform"),
    ),
    "LightXML, all labels": (
        "LightXMLClassifier",
        TEXTS | dict(head="all", head_optimizer="adamw", clip_norm=1.0),
    ),
    "LightDXML": (
        "LightDXMLClassifier",
        dict(n_frequent=3, n_shortlist=4, refresh_every=2, n_random_negatives=2),
    ),
    "LightDXML, graph": (
        "LightDXMLClassifier",
        dict(n_frequent=0, n_shortlist=4, refresh_every=None, search="hnsw"),
    ),
    "TReaderXML": ("TReaderXMLClassifier", dict(max_length=8)),
    "TReaderXML, clustered": (
        "TReaderXMLClassifier",
        CLUSTERED | dict(max_length=8, swa_start=0.3, swa_every=2, dropout=0.3),
    ),
    "TReaderXML, all labels": (
        "TReaderXMLClassifier",
        dict(max_length=8, head="all", swa_start=0.3, swa_every=2),
    ),
    "GUDN, all labels": ("GUDNClassifier", TEXTS | dict(head="all")),
    "GUDN, columns": (
        "GUDNClassifier",
        TEXTS | CLUSTERED | dict(variant="paper", label_branch="multi-hot"),
    ),
    "GUDN": ("GUDNClassifier", TEXTS | dict(early_stopping=True, n_iter_no_change=9)),
}


class Killed(BaseException):
    """What stops a training at a step."""


def make(case, encoder, names, folder=None, **options):
    name, own = CASES[case]
    system = getattr(skxmc, name)
    known = system().get_params()
    own = COMMON | own | options
    if "encoder" in known:
        own["encoder"] = encoder
    if name == "GUDNClassifier":
        own["label_texts"] = names
    return system(checkpoint_dir=folder, **own)


@contextmanager
def steps(limit=None):
    """Count optimizer steps; the one after `limit` others raises Killed."""
    done = [0]
    step = optimizer.Optimizer.step

    def counting(self, loss, *, last):
        if done[0] == limit:
            raise Killed
        done[0] += 1
        return step(self, loss, last=last)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optimizer.Optimizer, "step", counting)
        yield done


def kill(model, X, Y, n_steps):
    """Fit, and stop after so many steps."""
    with steps(n_steps), pytest.raises(Killed):
        model.fit(X, Y)


def assert_same(model, expected, texts):
    weights, others = model.network_.state_dict(), expected.network_.state_dict()
    assert list(weights) == list(others)
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name
    assert model.history_ == expected.history_
    assert model.calibration_ == expected.calibration_
    for a, b in zip(
        model.predict_topk(texts), expected.predict_topk(texts), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", CASES)
def test_goes_on_to_the_same_bits(case, tiny_encoder, colours, tmp_path, monkeypatch):
    texts, Y, names = colours
    with steps() as all_steps:
        expected = make(case, tiny_encoder, names).fit(texts, Y)
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN_WRITES", 0)  # one a step
    for n_steps in (2, 5):
        model = make(case, tiny_encoder, names, tmp_path)
        # Killed three times, the second time soon after the first.
        for n_more in (n_steps, 1, n_steps):
            kill(model, texts, Y, n_more)
            assert len(list(tmp_path.iterdir())) == 1
        with steps() as done:
            model.fit(texts, Y)
        assert 0 < done[0] < all_steps[0]
        assert_same(model, expected, texts)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", ["X-GRank", "LightDXML"])
def test_goes_on_after_an_epoch(case, tiny_encoder, colours, tmp_path, monkeypatch):
    texts, Y, names = colours
    model = make(case, tiny_encoder, names, tmp_path)
    with steps() as all_steps:
        expected = make(case, tiny_encoder, names).fit(texts, Y)
    kill(model, texts, Y, all_steps[0] - 1)
    with steps() as done:
        model.fit(texts, Y)
    assert 0 < done[0] < all_steps[0] / 2  # the last epoch
    assert_same(model, expected, texts)


def test_interrupted_after_the_last_epoch(tiny_encoder, colours, tmp_path, monkeypatch):
    texts, Y, names = colours
    expected = make("X-GRank", tiny_encoder, names).fit(texts, Y)
    model = make("X-GRank", tiny_encoder, names, tmp_path)
    with monkeypatch.context() as patch:

        def stop(*args):
            raise Killed

        patch.setattr(skxmc.GRankClassifier, "_finish", stop)
        with pytest.raises(Killed):
            model.fit(texts, Y)
    with steps(0):  # nothing is left to be trained
        model.fit(texts, Y)
    assert_same(model, expected, texts)


def test_features_and_a_ready_encoder(
    tiny_model, tiny_tokenizer, colours, tmp_path, monkeypatch
):
    texts, Y, names = colours
    X = sp.csr_array(np.random.default_rng(0).random((60, 9)))
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN_WRITES", 0)
    for documents in (texts, X):
        model = make("X-GRank", (tiny_model, tiny_tokenizer), names, tmp_path)
        kill(model, documents, Y, 3)
        with steps() as done:
            model.fit(documents, Y)
            n_more = done[0]
            expected = make("X-GRank", model.encoder, names).fit(documents, Y)
            assert done[0] - n_more == n_more + 3
        assert_same(model, expected, documents)


def test_other_fits_are_not_mixed_up(tiny_encoder, colours, tmp_path, monkeypatch):
    texts, Y, names = colours
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN_WRITES", 0)
    model = make("X-GRank", tiny_encoder, names, tmp_path)
    kill(model, texts, Y, 3)
    assert len(list(tmp_path.iterdir())) == 1
    changed = Y.copy()
    changed.data[0] = 0
    changed.eliminate_zeros()
    for other, X, y in (
        (make("X-GRank", tiny_encoder, names, tmp_path, dropout=0.4), texts, Y),
        (make("X-GRank", tiny_encoder, names, tmp_path, random_state=1), texts, Y),
        (make("LightXML", tiny_encoder, names, tmp_path), texts, Y),
        (model, texts[::-1], Y),
        (model, texts, changed),
    ):
        with steps() as done, pytest.warns(UserWarning, match="none of"):
            other.fit(X, y)
        assert done[0] == N_EPOCHS * 4
        assert len(list(tmp_path.iterdir())) == 1
    # What training does not depend on may change.
    model.set_params(verbose=0, top_k=3, label_names=names)
    with steps() as done:
        model.fit(texts, Y)
    assert done[0] == N_EPOCHS * 4 - 3


def test_resume_false_starts_anew(tiny_encoder, colours, tmp_path, monkeypatch):
    texts, Y, names = colours
    model = make("X-GRank", tiny_encoder, names, tmp_path)
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN_WRITES", 0)
    kill(model, texts, Y, 3)
    with steps() as done:
        model.set_params(resume=False).fit(texts, Y)
    assert done[0] == N_EPOCHS * 4 and not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_named(tiny_encoder, colours, tmp_path, monkeypatch):
    texts, Y, names = colours
    model = make("X-GRank", tiny_encoder, names, tmp_path)
    monkeypatch.setattr(checkpoint, "_SECONDS_BETWEEN_WRITES", 0)
    kill(model, texts, Y, 3)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{path.name} is damaged.*Remove it"):
        model.fit(texts, Y)


def test_a_write_that_fails_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    saved = checkpoint.Checkpoint(tmp_path / "new" / "a.checkpoint")
    assert saved.read() is None
    saved.write({"epoch": 1})

    def full(state, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="new is full: a checkpoint does not fit"):
        saved.write({"epoch": 2})
    assert saved.read() == {"epoch": 1}
    assert os.listdir(saved.path.parent) == ["a.checkpoint"]
    saved.remove()
    assert not list(saved.path.parent.iterdir())


@pytest.mark.parametrize("seed", [None, np.random.RandomState(0)])
def test_needs_an_int_as_random_state(seed, colours, tmp_path):
    texts, Y, _ = colours
    model = skxmc.LightDXMLClassifier(checkpoint_dir=tmp_path, random_state=seed)
    with pytest.raises(ValueError, match="checkpoint_dir needs an int"):
        model.fit(texts, Y)


SCRIPT = """
    import os, signal, sys
    sys.path[:0] = [{tests!r}]
    import numpy as np, torch
    import conftest, test_checkpoint
    from skxmc.nn import checkpoint, optimizer
    texts, Y = {texts!r}, np.array({Y!r})
    import scipy.sparse as sp
    checkpoint._SECONDS_BETWEEN_WRITES = 0
    step, write, done = optimizer.Optimizer.step, torch.save, [0]
    def counting(self, loss, *, last):
        if done[0] == {n_steps}:
            os.kill(os.getpid(), signal.SIGKILL)
        done[0] += 1
        return step(self, loss, last=last)
    def writing(state, file):
        if done[0] + 1 == {n_steps} and {in_write}:
            file.write(b"half of a state")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        write(state, file)
    optimizer.Optimizer.step = counting
    torch.save = writing
    model = test_checkpoint.make({case!r}, {encoder!r}, {names!r}, {folder!r})
    model.fit(texts, sp.csr_array(Y.astype(float)))
"""


def test_part_that_a_killed_fit_left(tmp_path):
    left = tmp_path / "other.checkpoint.part"
    left.write_bytes(b"half of it")
    with checkpoint._open_locked(tmp_path / "written.checkpoint.part") as file:
        file.write(b"half of it")
        file.flush()
        own = checkpoint.Checkpoint(tmp_path / "own.checkpoint")
        assert os.listdir(tmp_path) == ["written.checkpoint.part"]
        file.write(b"and the other half")
    assert (tmp_path / "written.checkpoint.part").stat().st_size == 28
    own.write({"epoch": 1})
    assert own.read() == {"epoch": 1}
    checkpoint.Checkpoint(tmp_path / "own.checkpoint")  # what was closed is left now
    assert os.listdir(tmp_path) == ["own.checkpoint"]


@pytest.mark.parametrize(
    "case, n_steps, in_write",
    [
        ("X-GRank, clustered", 6, False),
        ("LightXML", 3, False),
        ("LightDXML", 6, False),
        ("LightDXML", 5, True),
        ("TReaderXML", 4, True),
        ("GUDN", 5, False),
    ],
)
def test_a_real_kill(case, n_steps, in_write, tiny_encoder, colours, tmp_path):
    texts, Y, names = colours
    script = textwrap.dedent(SCRIPT).format(
        tests=str(__file__).rpartition("/")[0],
        texts=texts,
        Y=Y.toarray().astype(int).tolist(),
        names=names,
        case=case,
        encoder=tiny_encoder,
        folder=str(tmp_path),
        n_steps=n_steps,
        in_write=in_write,
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert len(list(tmp_path.glob("*.checkpoint"))) == 1
    assert len(list(tmp_path.glob("*.part"))) == in_write
    with steps() as n_done:
        model = make(case, tiny_encoder, names, str(tmp_path)).fit(texts, Y)
    assert not list(tmp_path.iterdir())
    with steps() as n_all:
        expected = make(case, tiny_encoder, names).fit(texts, Y)
    assert 0 < n_done[0] < n_all[0]
    assert_same(model, expected, texts)
