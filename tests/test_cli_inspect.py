"""``skxmc inspect``, and models that are damaged."""

import json
import shutil

import numpy as np
import pytest
import scipy.sparse as sp
from command_line import json_lines, refused, run, train, write_folder

import skxmc


def test_inspect(colour_model, colour_classifier):
    result = run("inspect", colour_model)
    assert result.stderr == ""
    found = json.loads(result.stdout)
    assert found["class"] == "LightDXMLClassifier"
    assert (found["documents"], found["labels"]) == (60, 12)
    assert found["labels_without_documents"] == 0
    assert found["versions"]["skxmc"] == skxmc.__version__
    sizes = {path.name: path.stat().st_size for path in colour_model.iterdir()}
    assert found["bytes"] == sizes["labels.json"] + sizes["model.safetensors"]
    assert found["history"] == colour_classifier.history_
    expected = colour_classifier.get_params()
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


def test_inspect_labels_without_documents(tmp_path, colour_rows, colours):
    names = [*colours[2], "rare", "rarer"]
    raw = write_folder(tmp_path / "raw", colour_rows, names, label_names=names)
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
def test_damaged_model(tmp_path, colour_model, colour_table, damage):
    copy = tmp_path / "model"
    shutil.copytree(colour_model, copy)
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
    refused(message, "evaluate", copy, colour_table)


def test_model_that_is_a_file(colour_table):
    refused("holds no model", "inspect", colour_table)


def test_inspect_of_a_changed_config(tmp_path, colour_model):
    copy = tmp_path / "model"
    shutil.copytree(colour_model, copy)
    config = json.loads((copy / "config.json").read_text())
    # Folders without a hash of config.json are older ones, checked all the same.
    for name in config.keys() - {"sha256"}:
        less = {n: value for n, value in config.items() if n != name}
        (copy / "config.json").write_text(json.dumps(less))
        refused("config.json", "inspect", copy)
