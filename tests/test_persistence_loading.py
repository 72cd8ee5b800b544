"""Loading a model folder: without network and pickle, on any device, or a clear no."""

import json

import pytest
import torch
import transformers
from persistence_examples import (
    D,
    G,
    again,
    answers,
    assert_identical,
    change_config,
    config_of,
    content_of,
    make,
    members_of,
    needs_hnswlib,
    together,
)
from sklearn.base import clone

import skxmc
from skxmc import (
    EnsembleClassifier,
    GRankClassifier,
    LightXMLClassifier,
)
from skxmc._testing import random_states
from skxmc.persistence import _folder

pytest_plugins = ["persistence_fixtures"]
# A class that does not list an attribute would lose it without any error.
pytestmark = pytest.mark.filterwarnings("error:.* is not an attribute that fit sets")


# Loading


LOADED = ["text", pytest.param("graph", marks=needs_hnswlib), "small", "pair"]


@pytest.mark.parametrize("name", LOADED)
def test_loading_is_without_network_and_pickle(name, saved, cut_off):
    skxmc.load(saved.folder / name)
    assert not cut_off


@pytest.mark.parametrize("name", LOADED)
def test_loading_draws_nothing(name, saved):
    states = random_states()
    skxmc.load(saved.folder / name)
    assert random_states() == states


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", LOADED)
def test_nothing_is_said(name, saved, tmp_path, capfd):
    model = skxmc.load(saved.folder / name)
    model.save_pretrained(tmp_path / "model")
    assert capfd.readouterr() == ("", "")


def test_transformers_talks_as_before(saved, tmp_path):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    again(skxmc.load(saved.folder / "text"), tmp_path)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_moved_folder(saved, copied, data, tmp_path):
    folder = tmp_path / "far" / "away é"
    folder.parent.mkdir()
    copied("text").rename(folder)
    loaded = skxmc.load(str(folder))
    assert_identical(answers(loaded, data["texts"]), answers(saved.text, data["texts"]))


def test_device(saved, data, tmp_path):
    assert skxmc.load(saved.folder / "small").device == "auto"
    assert GRankClassifier.from_pretrained(saved.folder / "small").device == "auto"
    model = clone(saved.small).set_params(device="cpu")
    model.fit(data["features"], data["csr_array"])
    assert again(model, tmp_path).device == "auto"
    loaded = skxmc.load(tmp_path / "again", device="cpu")
    assert loaded.device == loaded.get_params()["device"] == "cpu"
    assert_identical(
        answers(loaded, data["features"]), answers(model, data["features"])
    )
    loaded = GRankClassifier.from_pretrained(tmp_path / "again", device="cuda:7")
    assert loaded.device == "cuda:7"


def test_device_of_members(data, tmp_path):
    model = together(make(G, device="cpu"), together(make(D, device="cpu")))
    model.fit(data["features"], data["csr_array"])
    model.save_pretrained(tmp_path / "model")
    for device in ("auto", "cuda:7"):
        loaded = skxmc.load(tmp_path / "model", device=device)
        devices = [getattr(m, "device", device) for m in members_of(loaded)]
        assert set(devices) == {device}


@pytest.mark.parametrize("verify", [True, False])
def test_hashes_are_read_if_asked(verify, saved, monkeypatch):
    read = []
    monkeypatch.setattr(
        _folder,
        "hash_file",
        lambda path, hash=_folder.hash_file: read.append(path) or hash(path),
    )
    skxmc.load(saved.folder / "text", verify=verify)
    assert len(read) == verify * len(config_of(saved.folder / "text")["files"])


def test_from_pretrained_of_the_wrong_class(saved):
    with pytest.raises(ValueError, match="holds a GRankClassifier, not a LightXML"):
        LightXMLClassifier.from_pretrained(saved.folder / "text")
    with pytest.raises(ValueError, match=r"pair holds a Ensemble.*skxmc\.load"):
        GRankClassifier.from_pretrained(saved.folder / "pair")
    loaded = EnsembleClassifier.from_pretrained(saved.folder / "pair")
    assert type(loaded) is EnsembleClassifier


# Damage


FILES = [
    ("text", "config.json"),
    ("text", "labels.json"),
    ("text", "model.safetensors"),
    ("text", "encoder/config.json"),
    ("text", "encoder/model.safetensors"),
    ("text", "tokenizer/tokenizer.json"),
    ("text", "tokenizer/tokenizer_config.json"),
]


def test_files_are_these(saved):
    found = [n for n, content in content_of(saved.folder / "text").items() if content]
    assert sorted(found) == sorted(["README.md", *(name for _, name in FILES)])
    config = config_of(saved.folder / "text")
    assert set(config["files"]) == set(found) - {"config.json", "README.md"}
    assert config["format"] == 3 and config["class"] == "GRankClassifier"
    assert config["versions"]["skxmc"] == skxmc.__version__
    assert config["versions"]["torch"] == torch.__version__


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name, file", FILES)
def test_missing_file(name, file, verify, copied):
    folder = copied(name)
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError) as error:
        skxmc.load(folder, verify=verify)
    assert file in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("share", [0, 0.5, 1.1])
@pytest.mark.parametrize("name, file", FILES)
def test_file_of_another_length(name, file, share, verify, copied):
    if (file, share) == ("config.json", 1.1):
        pytest.skip("blanks behind it change nothing")
    path = copied(name) / file
    content = path.read_bytes()
    longer = content + b" " * len(content)
    path.write_bytes(longer[: int(share * len(content))])
    with pytest.raises(ValueError, match="is damaged") as error:
        skxmc.load(path.parents[file.count("/")], verify=verify)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("place", [0, 100, -1])
@pytest.mark.parametrize("name, file", FILES[1:])
def test_flipped_byte(name, file, place, copied):
    path = copied(name) / file
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"is damaged: its SHA-256") as error:
        skxmc.load(path.parents[file.count("/")])
    assert str(path) in str(error.value)


def test_broken_header_without_verification(copied):
    path = copied("small") / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[:8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        skxmc.load(path.parent, verify=False)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"1",
        b'"format class"',
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": 2}',
        b'{"format": 2, "class": "GRankClassifier"}',
        b'{"format": 2, "class": "GRankClassifier", "files": [], "model": {}}',
        b'{"architectures": ["BertModel"], "model_type": "bert"}',
        b'{"format": 2, "class": "x", "files": {}}',
    ],
    ids=lambda content: content[:50].decode(errors="replace"),
)
def test_other_config(content, copied):
    folder = copied("small")
    (folder / "config.json").write_bytes(content)
    for load in (skxmc.load, GRankClassifier.from_pretrained):
        with pytest.raises(ValueError) as error:
            load(folder)
        assert str(folder / "config.json") in str(error.value)


@pytest.mark.parametrize("number", [0, 1, 99])
def test_other_format(number, copied):
    folder = copied("small")

    def changed(config):
        config.update(format=number)
        config["versions"]["skxmc"] = "9.8.7"

    change_config(folder, changed)
    for load in (skxmc.load, GRankClassifier.from_pretrained):
        with pytest.raises(ValueError) as error:
            load(folder)
        for part in (
            folder,
            f"format {number}",
            "9.8.7",
            skxmc.__version__,
            "formats 2 and 3",
        ):
            assert str(part) in str(error.value)


@pytest.mark.parametrize(
    "about", [{}, {"format": "1"}, {"format": None}, {"format": True}, {"versions": []}]
)
def test_config_of_something_else(about, copied):
    folder = copied("small")
    about = {"format": 2, "class": "G", "versions": {}} | about
    (folder / "config.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"config\.json was not written by skxmc"):
        skxmc.load(folder)


@pytest.mark.parametrize("load", [skxmc.load, GRankClassifier.from_pretrained])
def test_no_folder(load, tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder .*nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no model: config\.json"):
        load(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match="holds no model"):
        load(str(tmp_path / "file"))
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        load(tmp_path / "file" / "below")
