"""Formats of model folders: every one still loads, and names what it may name."""

import importlib
import json
import pkgutil
import shutil
from pathlib import Path

import numpy as np
import pytest
import saved_models
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

import skxmc
from skxmc.grank import GRankNetwork
from skxmc.persistence import _folder
from skxmc.persistence._classes import ESTIMATORS, PARTS, find_class, name_of_class


@pytest.mark.parametrize(
    "folder", saved_models.written(), ids=lambda folder: "/".join(folder.parts[-2:])
)
def test_folder_of_every_format(folder):
    model = skxmc.load(folder, device="cpu")
    ids, scores = model.predict_topk(saved_models.documents(folder.name)[0], 3)
    expected = json.loads(folder.with_suffix(".json").read_text())
    assert_allclose(scores, expected["scores"], rtol=1e-4)
    apart = np.abs(np.diff(expected["scores"], axis=1)).min(axis=1) > 1e-4
    assert apart.any()
    assert_array_equal(ids[apart], np.array(expected["ids"])[apart])


def test_renamed_attribute(monkeypatch, tmp_path):
    # As if GRankNetwork called its n_shortlist otherwise from now on.
    def moved(self, value):
        self._n_clusters_ranked = value

    renamed = property(lambda self: self._n_clusters_ranked, moved)
    names = {"n_shortlist": "_n_clusters_ranked"}
    monkeypatch.setattr(GRankNetwork, "n_shortlist", renamed, raising=False)
    monkeypatch.setattr(GRankNetwork, "attribute_names", names, raising=False)
    for source in ("2/GRank", "3/GRankTexts"):
        model = skxmc.load(saved_models.FOLDER.parent / source)
        assert "_n_clusters_ranked" in vars(model.network_)
        model.save_pretrained(tmp_path / "again")
        assert "_n_clusters" not in (tmp_path / "again" / "config.json").read_text()
        skxmc.load(tmp_path / "again")


# The table of classes


def test_table_has_every_class_that_has_a_state():
    # Classifiers' bases have one too, and are never saved themselves.
    known = {find_class(n, paths) for paths in (ESTIMATORS, PARTS) for n in paths}
    for found in pkgutil.walk_packages(skxmc.__path__, "skxmc."):
        if found.name.endswith("__main__"):
            continue
        for kind in vars(importlib.import_module(found.name)).values():
            if isinstance(kind, type) and hasattr(kind, "expected_state"):
                base = any(issubclass(one, kind) for one in known)
                assert kind in known or base, f"{kind} is not in the table"


@pytest.mark.parametrize("paths", [ESTIMATORS, PARTS])
def test_classes_are_found_by_name(paths):
    for name in paths:
        assert name_of_class(find_class(name, paths), paths) == name


def test_classes_of_the_same_name_are_not_mixed_up():
    class GRankNetwork(nn.Module):
        pass

    assert name_of_class(GRankNetwork, PARTS) is None


# Names in a folder


@pytest.fixture
def change(tmp_path):
    """Function that copies a saved model, and changes what its config.json says."""

    def changed(source, change):
        folder = Path(
            shutil.copytree(saved_models.FOLDER.parent / source, tmp_path / "model")
        )
        config = json.loads((folder / "config.json").read_text())
        change(config["model"])
        config["sha256"] = _folder.hash_config(config)
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return changed


def network_of(model):
    return model["state"]["network_"]


@pytest.mark.parametrize(
    "source, field, name, match",
    [
        ("3/GRank", "object", "GRankNet", "names the class 'GRankNet'"),
        ("3/GRank", "object", "grank.GRankNetwork", "the class 'grank.GRankNetwork'"),
        ("3/GRank", "object", "GRankClassifier", "the class 'GRankClassifier'"),
        ("3/GRank", "object", ["x"], "names the class"),
        ("3/GRank", "object", "LightXMLNetwork", "unknown attribute 'combine'|must be"),
        ("3/GRank", "object", "Identity", "must be a GRankNetwork"),
        ("2/GRank", "module", "grank.GRankNet", "the class 'grank.GRankNet'"),
        ("2/GRank", "module", "os.system", "the class 'os.system'"),
        ("2/GRank", "module", "lightxml.LightXMLNetwork", "must be a GRankNetwork"),
        ("2/GRank", "module", "grank.GRankClassifier", "the class 'GRankClassifier'"),
    ],
)
def test_class_that_must_not_stand_there(source, field, name, match, change):
    folder = change(source, lambda model: network_of(model).update({field: name}))
    with pytest.raises(ValueError, match=match) as error:
        skxmc.load(folder)
    assert str(folder / "config.json") in str(error.value)


@pytest.mark.parametrize(
    "source, name",
    [
        ("3/GRank", "predict_topk"),
        ("3/GRank", "_texts"),
        ("2/GRank", "predict_topk"),
        ("3/TReaderXML", "_neighbor_vectors"),
    ],
)
def test_attribute_of_a_classifier_that_is_unknown(source, name, change):
    folder = change(source, lambda model: model["state"].update({name: False}))
    with pytest.raises(ValueError, match=f"attribute '{name}'"):
        skxmc.load(folder)


@pytest.mark.parametrize(
    "source, name",
    [("3/GRank", "_lambda"), ("3/GRank", "training"), ("2/GRank", "_shares")],
)
def test_attribute_of_a_module_that_is_unknown(source, name, change):
    folder = change(source, lambda model: network_of(model)["state"].update({name: 1}))
    with pytest.raises(ValueError, match=f"attribute '{name}'"):
        skxmc.load(folder)


def test_format_2_has_no_attribute_twice(change):
    def twice(model):
        network_of(model)["state"]["encoder"] = None

    with pytest.raises(ValueError, match="two attributes 'encoder'"):
        skxmc.load(change("2/GRank", twice))


def test_folders_name_no_file_of_the_package(change):
    for folder in saved_models.written():
        text = (folder / "config.json").read_text()
        assert folder.parent.name == "2" or "grank." not in text


def test_saved_again_in_the_current_format(tmp_path):
    for folder in saved_models.written():
        model = skxmc.load(folder, device="cpu")
        model.save_pretrained(tmp_path / "again")
        config = json.loads((tmp_path / "again" / "config.json").read_text())
        assert config["format"] == _folder.FORMAT
        again = skxmc.load(tmp_path / "again", device="cpu")
        X, _ = saved_models.documents(folder.name)
        for one, other in zip(
            again.predict_topk(X, 3), model.predict_topk(X, 3), strict=True
        ):
            np.testing.assert_array_equal(one, other)
