"""Saving a model folder: all of it or nothing, and what it cannot keep."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import transformers
from persistence_examples import (
    G,
    answers,
    assert_identical,
    assert_is,
    change_config,
    content_of,
    make,
    together,
)
from sklearn.exceptions import NotFittedError

import skxmc
from skxmc.persistence import _saving

pytest_plugins = ["persistence_fixtures"]
# A class that does not list an attribute would lose it without any error.
pytestmark = pytest.mark.filterwarnings("error:.* is not an attribute that fit sets")


# A process that has never seen the hub, may ask it, and must not; afterwards it is
# killed again and again, each time in another moment of replacing a model.
ELSEWHERE = """
import json, os, pickle, signal, socket, sys
from pathlib import Path

calls = []

def refuse(*args, **kwargs):
    calls.append(args)  # an error alone may be caught
    raise OSError("there is no network")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = refuse
import numpy as np, scipy.sparse as sp, torch
import skxmc
from skxmc.persistence import _saving

torch.set_num_threads(1)
torch.load = pickle.load = pickle.loads = refuse
folder, source = map(Path, sys.argv[1:3])
X = {"text": json.loads(Path(folder, "texts.json").read_text())}
X["small"] = np.load(folder / "features.npy")
for name in X:
    ids, scores = skxmc.load(source / name).predict_topk(X[name], 4)
    np.savez(folder / f"{name}.npz", ids=ids, scores=scores)
assert not calls, calls

model = skxmc.load(source / "other")
owners = {"os": os, "Path": Path, "_saving": _saving}
for point in sys.argv[3:] if hasattr(os, "fork") else []:
    if os.fork() == 0:
        owner, name, call, when = point.split("-")
        owner, calls = owners[owner], []

        def killing(*args, original=getattr(owner, name)):
            calls.append(args)
            now = len(calls) == int(call)
            if now and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            value = original(*args)
            if now:
                os.kill(os.getpid(), signal.SIGKILL)
            return value

        setattr(owner, name, killing)
        try:
            model.save_pretrained(folder / point / "model")
        finally:
            os._exit(1)
    _, status = os.wait()
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, point
"""
# The moments, and which model stands there then.
KILLED_AT = {
    "_saving-write_tensors-1-before": "small",
    "_saving-write_tensors-1-after": "small",
    "_saving-_write_json-1-after": "small",
    "_saving-_write_json-2-before": "small",
    "_saving-_write_json-2-after": "small",
    "os-fsync-1-before": "small",
    "Path-rename-1-before": "small",
    "Path-rename-1-after": None,  # renamed, and the new one not yet
    "Path-rename-2-after": "other",
}


@pytest.fixture(scope="module")
def elsewhere(saved, data, tmp_path_factory):
    """Folder that this process leaves behind."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "texts.json").write_text(json.dumps(data["texts"]))
    np.save(folder / "features.npy", data["features"].toarray())
    for point in KILLED_AT:
        shutil.copytree(saved.folder / "small", folder / point / "model")
    mine = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(folder), str(saved.folder), *KILLED_AT],
        env=mine | {"HF_HOME": str(folder / "hub"), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
    )
    return folder


def test_another_process(elsewhere, saved, data):
    for name in ("text", "small"):
        found = np.load(elsewhere / f"{name}.npz")
        X = data["texts" if name == "text" else "features"]
        expected = getattr(saved, name).predict_topk(X, 4)
        assert_identical([found["ids"], found["scores"]], list(expected))


# Writing


def test_unfitted_classifier(tmp_path):
    for model in (make(G), together(make(G))):
        with pytest.raises(NotFittedError):
            model.save_pretrained(tmp_path / "new" / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": "x"},
        {".hidden": "x"},
        {"config.json": "{"},
        {"config.json": "[]"},
        {"config.json": '{"model_type": "bert"}', "model.safetensors": "x"},
        {"data/config.json": '{"format": 2, "class": "GRankClassifier"}'},
        pytest.param(
            {"config.json": '{"format": "csv", "class": "x"}', "data.csv": "x"},
            id="other-format-and-class",
        ),
    ],
    ids=lambda files: "-".join(files),
)
def test_what_is_no_model_is_not_replaced(files, saved, tmp_path):
    folder = tmp_path / "target"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    before = content_of(tmp_path)
    with pytest.raises(FileExistsError, match="no part of a model"):
        saved.small.save_pretrained(folder)
    assert content_of(tmp_path) == before


def test_transformer_is_not_replaced(saved, tiny_encoder, tmp_path):
    folder = Path(shutil.copytree(tiny_encoder, tmp_path / "bert"))
    before = content_of(tmp_path)
    with pytest.raises(FileExistsError, match="no part of a model"):
        saved.small.save_pretrained(folder)
    assert content_of(tmp_path) == before


def test_file_is_not_replaced(saved, tmp_path):
    (tmp_path / "target").write_text("x")
    with pytest.raises(FileExistsError, match="target is a file"):
        saved.small.save_pretrained(tmp_path / "target")
    with pytest.raises(OSError):
        saved.small.save_pretrained(tmp_path / "target" / "below")
    assert content_of(tmp_path) == {"target": b"x"}


def test_other_files_beside_a_model_are_not_lost(saved, copied):
    folder = copied("small")
    (folder / "LICENSE").write_text("x")
    with pytest.raises(FileExistsError):
        saved.other.save_pretrained(folder)
    assert (folder / "LICENSE").read_text() == "x"


@pytest.mark.parametrize("place", ["model", "a/b/model", "é ü", "model.v1.2"])
@pytest.mark.parametrize("kind", [str, Path])
def test_replaces_an_older_model(kind, place, saved, data, tmp_path):
    folder = tmp_path / place
    saved.small.save_pretrained(kind(folder))
    assert_is(folder, saved.small, data["features"])
    saved.other.save_pretrained(kind(folder))
    assert_is(folder, saved.other, data["features"])
    assert os.listdir(folder.parent) == [folder.name]


def test_replaces_a_model_of_another_class_and_format(saved, copied, data):
    folder = copied("text")
    change_config(folder, lambda config: config.update(format=99))
    saved.small.save_pretrained(folder)
    assert_is(folder, saved.small, data["features"])
    expected = ["README.md", "config.json", "labels.json", "model.safetensors"]
    assert sorted(os.listdir(folder)) == expected


def test_replaces_an_empty_folder(saved, data, tmp_path):
    (tmp_path / "model").mkdir()
    saved.small.save_pretrained(tmp_path / "model")
    assert_is(tmp_path / "model", saved.small, data["features"])
    assert os.listdir(tmp_path) == ["model"]


def test_saves_over_the_folder_it_came_from(copied, data):
    folder = copied("text")
    loaded = skxmc.load(folder)
    expected = answers(loaded, data["texts"])
    loaded.save_pretrained(folder)
    assert_identical(answers(loaded, data["texts"]), expected)
    assert_identical(answers(skxmc.load(folder), data["texts"]), expected)


@pytest.mark.parametrize("path", ["model", "./model", "a/../model", "a/b"])
def test_relative_path(path, saved, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for model in (saved.other, saved.small):
        model.save_pretrained(path)
        assert_is(path, model, data["features"])
    assert (tmp_path / path / "config.json").exists()


def test_link_to_a_model(saved, copied, data, tmp_path):
    (tmp_path / "latest").symlink_to(copied("small"))
    saved.other.save_pretrained(tmp_path / "latest")
    assert_is(tmp_path / "latest", saved.other, data["features"])
    assert sorted(os.listdir(tmp_path)) == ["latest", "small"]


@pytest.fixture
def umask():
    before = os.umask(0)
    yield os.umask
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002, 0o077])
def test_permissions_of_folders_follow_the_umask(mask, saved, umask, tmp_path):
    umask(mask)
    saved.text.save_pretrained(tmp_path / "made" / "model")
    modes = {path.stat().st_mode & 0o777 for path in folders(tmp_path / "made")}
    assert modes == {0o777 & ~mask}


def folders(folder):
    return [folder, *(path for path in folder.rglob("*") if path.is_dir())]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_permissions_of_files_follow_the_umask(saved, umask, tmp_path):
    umask(0o022)
    saved.text.save_pretrained(tmp_path / "model")
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    modes = {path.name: path.stat().st_mode & 0o777 for path in files}
    assert modes == dict.fromkeys(modes, 0o644)


# Writing that ends early


def fails(monkeypatch, owner, name, call, error, after=False):
    """Have the function raise when it is called that often, or behind that call."""
    original, calls = getattr(owner, name), []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == call and not after:
            raise error("disk is full")
        value = original(*args, **kwargs)
        if len(calls) == call:
            raise error("disk is full")
        return value

    monkeypatch.setattr(owner, name, failing)
    return calls


def str_of(value):
    return getattr(value, "__name__", str(value)).rpartition(".")[2]


POINTS = [
    (_saving, "write_tensors", 1),
    (_saving, "_write_json", 1),
    (_saving, "_write_json", 2),
    (_saving, "hash_file", 2),
    (os, "fsync", 1),
    (transformers.PreTrainedModel, "save_pretrained", 1),
    (transformers.PreTrainedTokenizerBase, "save_pretrained", 1),
    pytest.param(
        Path,
        "mkdir",
        2,
    ),
    (Path, "rename", 1),
    (Path, "rename", 2),
]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("owner, name, call", POINTS, ids=str_of)
def test_crash_leaves_the_older_model(
    owner, name, call, error, saved, copied, data, monkeypatch
):
    folder = copied("small")
    before = content_of(folder.parent)
    with monkeypatch.context() as patch:
        calls = fails(patch, owner, name, call, error)
        with pytest.raises(error, match="disk is full"):
            saved.text.save_pretrained(folder)
    assert len(calls) >= call
    assert content_of(folder.parent) == before
    saved.other.save_pretrained(folder)
    assert_is(folder, saved.other, data["features"])
    assert os.listdir(folder.parent) == ["small"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize(
    "owner, name, call",
    POINTS[:-1],
    ids=str_of,
)
def test_crash_of_the_first_leaves_nothing(
    owner, name, call, error, saved, data, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        fails(patch, owner, name, call, error)
        with pytest.raises(error, match="disk is full"):
            saved.text.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    saved.small.save_pretrained(tmp_path / "model")
    assert_is(tmp_path / "model", saved.small, data["features"])


@pytest.mark.parametrize("call", [1, 2])
def test_interruption_behind_a_rename(call, saved, copied, data, monkeypatch):
    folder = copied("small")
    with monkeypatch.context() as patch:
        fails(patch, Path, "rename", call, KeyboardInterrupt, after=True)
        with pytest.raises(KeyboardInterrupt):
            saved.other.save_pretrained(folder)
    assert_is(folder, saved.small if call == 1 else saved.other, data["features"])
    assert os.listdir(folder.parent) == ["small"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
@pytest.mark.parametrize("point", KILLED_AT)
def test_killed_while_writing(point, elsewhere, saved, data):
    folder = elsewhere / point / "model"
    if KILLED_AT[point] is None:
        with pytest.raises(FileNotFoundError, match=r"now in .*replaced\. Rename that"):
            skxmc.load(folder)
        with pytest.raises(OSError, match="disk is full"):  # which puts it back first
            save_on_a_full_disk(saved.pair, folder)
    expected = getattr(saved, KILLED_AT[point] or "small")
    assert_is(folder, expected, data["features"])
    saved.pair.save_pretrained(folder)  # and there is nothing in the way
    assert_is(folder, saved.pair, data["features"])
    assert os.listdir(folder.parent) == ["model"]


def save_on_a_full_disk(model, folder):
    with pytest.MonkeyPatch.context() as patch:
        fails(patch, _saving, "write_tensors", 1, OSError)
        model.save_pretrained(folder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows does not fork")
def test_next_save_removes_what_killed_ones_left(saved, copied, data, tmp_path):
    folder = copied("small")
    rng = np.random.default_rng(0)
    for delay in rng.uniform(0, 0.03, 40):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    saved.other.save_pretrained(folder)
            finally:
                os._exit(1)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    saved.other.save_pretrained(folder)
    assert_is(folder, saved.other, data["features"])
    assert os.listdir(folder.parent) == ["small"]


def test_next_save_leaves_what_another_writes(saved, copied, data):
    folder = copied("small")
    with _saving._hidden_folder(folder) as aside:
        (aside / "model").mkdir()
        before = content_of(aside)
        saved.other.save_pretrained(folder)
        assert content_of(aside) == before
    assert_is(folder, saved.other, data["features"])
    assert os.listdir(folder.parent) == ["small"]


def test_two_save_at_a_time(saved, copied, data):
    folder = copied("small")
    models = [saved.small, saved.other] * 2
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            list(pool.map(lambda model: model.save_pretrained(folder), models))
            loaded = skxmc.load(folder).predict_topk(data["features"], 3)
            rankings = [m.predict_topk(data["features"], 3) for m in models[:2]]
            assert any(np.array_equal(loaded[1], r[1]) for r in rankings)
    assert os.listdir(folder.parent) == ["small"]
