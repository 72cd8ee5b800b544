"""A config.json that somebody wrote: its classes and values are refused by name."""

import json
import os

import pytest
import torch
from persistence_examples import change_config, needs_hnswlib, sign
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

import skxmc
from skxmc.persistence import _from_json

pytest_plugins = ["persistence_fixtures"]
# A class that does not list an attribute would lose it without any error.
pytestmark = pytest.mark.filterwarnings("error:.* is not an attribute that fit sets")


def named(name, **parameters):
    """A model of that class."""
    return {"estimator": name, "parameters": parameters, "state": {}}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("os.system"),
        pytest.param("sklearn.linear_model.LogisticRegression"),
        pytest.param("torch.nn.Bilinear"),
        pytest.param("persistence.shutil.rmtree"),
        pytest.param("..os.system"),
        pytest.param("base.LogisticRegression"),
        pytest.param("_from_json.TfidfVectorizer"),
        pytest.param(
            "cluster.BalancedKMeans",
        ),
        "datasets.load_icd10cm",
        "datasets.make_xmc",
        "nn.encoder_files.load_encoder",
        "persistence.load",
        "persistence.os",
        "_teacher.Teacher",
        "grank.GRankClassifier",
        "skxmc.grank.GRankClassifier",
        "GRankNetwork",
        "Teacher",
        "Bilinear",
        "Linear",
        "load",
        "",
        ".",
    ],
)
def test_class_that_is_none_of_ours(name, copied, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("this was not to be called")

    # Constructors of scikit-learn, and functions of ours, are never called.
    monkeypatch.setattr(LogisticRegression, "__init__", refuse)
    monkeypatch.setattr(_from_json.TfidfVectorizer, "__init__", refuse)
    monkeypatch.setattr(skxmc.datasets, "make_xmc", refuse)
    monkeypatch.setattr(skxmc.datasets, "load_icd10cm", refuse)
    monkeypatch.setattr(os, "system", refuse)
    folder = copied("pair")
    change_config(folder, lambda config: config.update(model=named(name)))
    with pytest.raises(ValueError, match=r"pair/config\.json .* it names the class"):
        skxmc.load(folder)


def test_nothing_is_called(copied, tmp_path):
    touched = tmp_path / "touched"
    folder = copied("pair")
    for name in ("os.system", "posix.system", "subprocess.run", "builtins.eval"):
        model = named(name, command=f"touch {touched}", args=["touch", str(touched)])
        change_config(folder, lambda config, model=model: config.update(model=model))
        with pytest.raises(Exception, match="."):
            skxmc.load(folder)
        assert not touched.exists()


def inside(value):
    """A change that puts a value in the place of a parameter."""
    return lambda config: config["model"]["parameters"].update(depth=value)


@pytest.mark.parametrize(
    "change",
    [
        inside({}),
        inside({"unknown": 1}),
        inside({"tensor": "nothing"}),
        inside({"numbers": "nothing"}),
        inside({"texts": "nothing"}),
        inside({"same": 99}),
        inside({"object": "ReLU"}),
        inside({"object": "ReLU", "state": {}}),
        inside({"object": "GRankClassifier", "state": {}}),
        inside({"object": "os", "state": {}}),
        inside({"module": "ReLU", "state": {}, "passing": [], "modules": {}}),
        inside({"container": "dok_array"}),
        inside({"dtype": "nonsense"}),
        lambda config: config["model"].pop("state"),
        lambda config: config["model"].update(parameters=5),
        lambda config: config["model"]["parameters"].update(unknown=1),
        lambda config: config.update(model={}),
        pytest.param(inside({"float": "nonsense"}), id="float"),
        pytest.param(
            inside(
                {"sparse": "csr_array", "shape": [2, 2]}
                | dict.fromkeys(("data", "indices", "indptr"), [1, 2])
            ),
            id="sparse",
        ),
        pytest.param(
            inside({"graph": "no.bin", "dim": 3}),
            marks=needs_hnswlib,
            id="graph",
        ),
        pytest.param(
            inside({"transformer": "no", "dtype": "float32"}),
            id="transformer",
        ),
        pytest.param(
            inside(json.loads('{"tuple": [' * 330 + "]}" * 330)),
            id="deep",
        ),
        pytest.param(
            lambda config: config.update(model=5),
            id="model-int",
        ),
        pytest.param(
            lambda config: config.update(model=[]),
            id="model-list",
        ),
        pytest.param(
            lambda config: config.update(files={"labels.json": {}}),
            id="file-empty",
        ),
        pytest.param(
            lambda config: config.update(files={"labels.json": 5}),
            id="file-int",
        ),
        pytest.param(
            lambda config: config.update(format=2, versions=[]),
            id="versions",
        ),
    ],
)
def test_changed_config(change, copied):
    folder = copied("pair")
    change_config(folder, change)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        skxmc.load(folder)
    assert str(folder) in str(error.value)


def test_missing_tensor(copied):
    folder = copied("small")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.startswith("network_"))
    del tensors[name]
    save_file(tensors, folder / "model.safetensors")
    sign(folder)
    with pytest.raises(ValueError, match=r"config\.json") as error:
        skxmc.load(folder)
    assert name in str(error.value)


def test_missing_weights_of_the_transformer(copied):
    path = copied("text") / "encoder" / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if "attention" in name)
    del weights[name]
    save_file(weights, path, {"format": "pt"})
    sign(path.parents[1])
    with pytest.raises(ValueError, match=r"encoder is damaged: no weights for"):
        skxmc.load(path.parents[1])


def test_pickled_weights_of_the_transformer(copied, cut_off):
    folder = copied("text")
    path = folder / "encoder" / "model.safetensors"
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()
    change_config(folder, lambda config: config["files"].pop(f"encoder/{path.name}"))
    with pytest.raises((ValueError, FileNotFoundError)):
        skxmc.load(folder)
    assert not cut_off


def test_code_in_the_folder_is_not_run(copied, tmp_path):
    folder = copied("text")
    code = f"open({str(tmp_path / 'touched')!r}, 'w')\n"
    for part in ("encoder", "tokenizer"):
        (folder / part / "mine.py").write_text(code + "class Mine: pass\n")
        with pytest.raises(ValueError, match=rf"{part}/mine\.py is no part of"):
            skxmc.load(folder)
        (folder / part / "mine.py").unlink()
    for file, key in [
        ("encoder/config.json", "AutoModel"),
        ("tokenizer/tokenizer_config.json", "AutoTokenizer"),
    ]:
        about = json.loads((folder / file).read_text())
        about["auto_map"] = {key: "mine.Mine", "AutoConfig": "mine.Mine"}
        (folder / file).write_text(json.dumps(about))
    sign(folder)
    skxmc.load(folder)  # bert is known without it
    assert not (tmp_path / "touched").exists()
