"""Folders that were damaged or made to harm: a clear no, or answers that are in range.

`hostile.py` damages them in a process of its own, which nothing may end.
"""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import saved_models
import torch
from hostile import put, sign
from persistence_examples import (
    FEW,
    MODES,
    D,
    G,
    T,
    build,
    make,
    together,
)
from safetensors.torch import load_file, save_file

import skxmc
from skxmc.nn.search import has_hnswlib

pytest_plugins = ["persistence_fixtures"]

SCRIPT = Path(__file__).with_name("hostile.py")
# Models of every system, each with what others do not hold; and damages of each.
SHARDS = {
    "features": ["G-bf16", "L-bf16", "D-features", "T-alone", "U-features"],
    "words": ["D-hnsw", "D-neighbors", "T", "T-sparse", "E-strings"],
    "transformers": ["G-clustered", "L-clustered", "U-paper", "E"],
    "format 2": [],
}
N_DAMAGES = {"features": 120, "words": 120, "transformers": 50, "format 2": 60}


@pytest.fixture(scope="module")
def folder(data, tiny_encoder, tmp_path_factory):
    """Folder of a shard's models, and of what they are asked."""

    def make(shard):
        folder = tmp_path_factory.mktemp(shard) / "models"
        folder.mkdir()
        for mode in SHARDS[shard]:
            if mode in MODES and "hnsw" in str(MODES[mode]) and not has_hnswlib():
                continue
            model, X, y = build(mode, tiny_encoder)
            model.fit(data[X], data[y]).save_pretrained(folder / mode)
            if X == "texts":
                (folder / f"{mode}.json").write_text(json.dumps(data[X][:8]))
            else:
                np.save(folder / f"{mode}.npy", data[X][:8].toarray())
        if shard == "format 2":
            copy_saved(2, folder)
        return folder

    return make


def copy_saved(number, folder):
    """Copy the models that are kept of a format, and write what they are asked."""
    for source in saved_models.written():
        if source.parent.name == str(number):
            shutil.copytree(source, folder / source.name)
            X, _ = saved_models.documents(source.name)
            if isinstance(X, list):
                (folder / f"{source.name}.json").write_text(json.dumps(X[:8]))
            else:
                np.save(folder / f"{source.name}.npy", X[:8].toarray())


@pytest.mark.skipif(os.name == "nt", reason="alarms and limits are those of Unix")
@pytest.mark.parametrize("shard", SHARDS)
def test_damaged_folders(shard, folder):
    arguments = [str(folder(shard)), "0", str(N_DAMAGES[shard])]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    failed = [i for i, line in enumerate(lines) if line.startswith("FAILED")]
    assert not failed, "\n".join("\n".join(lines[i - 1 : i + 1]) for i in failed)
    assert done.returncode == 0, "\n".join([*lines[-2:], done.stderr[-2000:]])
    told = [line for line in lines if line.endswith("were loaded")]
    assert len(told) > 2


# What somebody might write who means harm


@pytest.fixture(scope="module")
def saved(data, tiny_encoder, tmp_path_factory):
    """Folders of a few models, not to be changed."""
    folder = tmp_path_factory.mktemp("saved")
    features, texts, Y = data["features"], data["texts"], data["csr_array"]
    models = {
        "features": make(G, **FEW).fit(features, Y),
        "text": make(G, tiny_encoder).fit(texts, Y),
        "index": make(D, n_frequent=3).fit(texts, Y),
        "teacher": make(T, search="exact").fit(texts, Y),
        "pair": together(make(G), "drop").fit(features, Y),
    }
    for name, model in models.items():
        model.save_pretrained(folder / name)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    """Function that copies one of these folders, for harm."""
    return lambda name: Path(shutil.copytree(saved / name, tmp_path / name))


def change(path, function):
    """Have what a file of JSON holds changed in place."""
    content = json.loads(path.read_text())
    function(content)
    path.write_text(json.dumps(content))


def refused(folder, match, **options):
    """The folder is refused, with all hashes right and without looking at them."""
    sign(folder)
    for verify in (True, False):
        with pytest.raises(ValueError, match=match):
            skxmc.load(folder, verify=verify, **options)


@pytest.mark.parametrize(
    "name, value, match",
    [
        ("calibration_", {"tuple": [{"float": "nan"}, 0.0]}, "calibration_"),
        ("calibration_", {"tuple": [-1.0, 0.0]}, "calibration_"),
        ("calibration_", {"tuple": [1.0, {"float": "inf"}]}, "calibration_"),
        ("label_names_", [], "label_names_"),
        ("predict_topk", 1, "sets no attribute 'predict_topk'"),
        ("_metadata_request", {"dict": {}}, "sets no attribute"),
        ("top_k", 1, "sets no attribute"),
        ("n_labels_", 13, "shape"),
        ("n_labels_", 10**30, "n_labels_"),
        ("n_features_in_", 13, "n_features"),
        ("y_dtype", {"dtype": "|V1000000000"}, "y_dtype"),
        ("history_", [{"dict": {"epoch": 1, "loss": "x"}}], "history_"),
        ("history_", [{"dict": {"epoch": 1, "loss": 1.0, "y": 1.0}}], "more than"),
        ("history_", [{"dict": {"epoch": 1, "loss": 1.0, "y_loss": "x"}}], "y_loss"),
        ("tokenizer_", 5, "must be None, and is 5"),
        ("max_length_", 8, "max_length_"),
        ("network_", None, "network_|NoneType"),
    ],
)
def test_crafted_attributes(name, value, match, copied):
    folder = copied("features")
    state = {name: value}
    change(folder / "config.json", lambda c: c["model"]["state"].update(state))
    refused(folder, match)


@pytest.mark.parametrize(
    "name", ["label_names_", "calibration_", "takes_texts", "history_"]
)
def test_missing_attributes(name, copied):
    folder = copied("features")
    change(folder / "config.json", lambda c: c["model"]["state"].pop(name))
    refused(folder, name)


@pytest.mark.parametrize(
    "name, value",
    [
        ("max_length", 65),  # more than the encoder has positions
        ("top_k", 0),
        ("batch_size", 10**30),
        ("precision", "fp8"),
        ("verbose", "x"),
        ("label_names", [1]),
        ("combine", "other"),
        ("n_layers", 1.5),
    ],
)
def test_crafted_parameters(name, value, copied):
    folder = copied("text")
    parameters = {name: value}
    change(
        folder / "config.json", lambda c: c["model"]["parameters"].update(parameters)
    )
    refused(folder, name)


def test_no_max_length(copied):
    for value in (None, 0, 65):
        folder = copied("text")

        def changed(config, value=value):
            config["model"]["parameters"]["max_length"] = None
            config["model"]["state"]["max_length_"] = value

        change(folder / "config.json", changed)
        refused(folder, "max_length")
        shutil.rmtree(folder)


def test_member_of_itself(copied):
    folder = copied("pair")

    def changed(config):
        config["model"]["parameters"]["estimators"][0]["tuple"][1] = {"same": 0}

    change(folder / "config.json", changed)
    refused(folder, "member of itself")


def test_vectorizer_that_reads_files(copied):
    for name, value in (("input", "filename"), ("token_pattern", "(a+)+$")):
        folder = copied("teacher")
        vectorizer = {name: value}
        change(
            folder / "config.json",
            lambda c, new=vectorizer: c["model"]["state"]["vectorizer_"][
                "vectorizer"
            ].update(new),
        )
        refused(folder, name)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "model, name, changed",
    [
        ("teacher", "teacher_.knowledge.indices", put(10**6, 0)),
        ("teacher", "teacher_.knowledge.indices", put(-5, 0)),
        ("teacher", "teacher_.knowledge.indptr", put(10**6, 1)),
        ("teacher", "teacher_.knowledge.indptr", put(-1, 1)),
        ("teacher", "teacher_.knowledge.data", put(float("nan"), 0)),
        ("teacher", "teacher_.words.0.indices", put(10**6, 0)),
        ("teacher", "teacher_.index.vectors", put(float("inf"), 0, 0)),
        ("teacher", "teacher_.index.vectors", lambda t: t[:-1]),
        ("teacher", "teacher_.groups", lambda t: t[:-1]),
        ("teacher", "network_.encoder.scale", put(float("nan"))),
        ("teacher", "vectorizer_.idf", lambda t: t[:-1]),
        ("index", "network_.frequent", put(-1, 0)),
        ("index", "network_.frequent", put(1, 0, ...)),
        ("index", "network_.indexed", put(10**6, 0)),
        ("index", "network_.places", put(0)),
        ("index", "network_.ranker.identity", lambda t: t[:-1]),
        ("index", "network_.ranker.identity", lambda t: t[:, :-1]),
        ("index", "network_.ranker.identity", lambda t: t.long()),
        ("index", "network_.label_vectors", put(1e30, 0, 0)),
        ("features", "network_.clusters.members", put(99, 0, 0)),
        ("features", "network_.clusters.members", put(1)),
        ("features", "network_.clusters.groups", put(3, 0)),
        ("features", "network_.clusters.slots", put(-1, 0)),
        ("features", "network_.ranker.rows", put(-1, 0)),
        ("features", "network_.ranker.rows", put(0, 1)),
        ("features", "network_.retriever.weight", lambda t: t[:-1]),
        ("features", "network_.retriever.bias", lambda t: t.double()),
        ("features", "network_.encoder.features.table", lambda t: t[:-1]),
        ("features", "label_counts_", put(-1, 0)),
        ("features", "classes_", put(99, 0)),
    ],
)
def test_crafted_tensors(model, name, changed, copied):
    folder = copied(model)
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = changed(tensors[name].clone()).contiguous()
    save_file(tensors, folder / "model.safetensors")
    refused(folder, r"config\.json does not describe a model")


def test_tensors_and_texts_that_belong_to_nothing(copied):
    folder = copied("features")
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"more": torch.zeros(1)}, folder / "model.safetensors")
    refused(folder, "nothing in the model uses 'more'")


# Files


@pytest.mark.parametrize(
    "name",
    [
        "encoder/model.safetensors.index.json",
        "encoder/adapter_config.json",
        "encoder/pytorch_model.bin",
        "encoder/.hidden",
        "encoder/README.md",
        "encoder/more/config.json",
        "tokenizer/vocab.txt",
        "tokenizer/mine.py",
        "pytorch_model.bin",
        "index.bin",
        "encoder-2/config.json",
        "README/x",
    ],
)
def test_other_files_are_refused_by_name(name, copied):
    folder = copied("text")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    with pytest.raises(ValueError, match=str((folder / name).parent)) as error:
        skxmc.load(folder)
    assert "is no part of the model" in str(error.value)
    # It does not help to name it in config.json.
    about = {"bytes": 2, "sha256": ""}
    change(folder / "config.json", lambda c: c["files"].update({name: about}))
    refused(folder, "no file of a model|is no part|nothing in the model uses")


@pytest.mark.parametrize("name", [".gitattributes", ".git/config", "README.md"])
def test_files_that_hubs_put_beside_a_model(name, copied):
    folder = copied("features")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("x")
    skxmc.load(folder)


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../secret", "encoder/../labels.json"]
)
def test_names_that_lead_elsewhere(name, copied, tmp_path):
    (tmp_path / "secret").write_text("x")
    folder = copied("text")
    about = {"bytes": 1, "sha256": ""}
    change(folder / "config.json", lambda c: c["files"].update({name: about}))
    for verify in (True, False):
        with pytest.raises(ValueError, match=r"config\.json is damaged"):
            skxmc.load(folder, verify=verify)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", ["labels.json", "encoder", "config.json"])
def test_links_that_lead_out(name, copied, tmp_path):
    folder = copied("text")
    (folder / name).rename(tmp_path / "out")
    (folder / name).symlink_to(tmp_path / "out")
    with pytest.raises(ValueError, match="link that leads out of"):
        skxmc.load(folder)


# config.json


def test_config_has_a_hash_of_its_own(copied):
    folder = copied("features")
    path = folder / "config.json"
    written = path.read_text()
    for old, new in (
        ('"combine": "ranker"', '"combine": "sum"'),
        ('"sha256": "', '"sha256": "0'),
        ('"sha256"', '"sha255"'),
        ('"format": 3,', '"format": 3, "format": 3,'),
        ('"lambda_max": 0.5', '"lambda_max": NaN'),
        ('"lambda_max": 0.5', '"lambda_max": 1' + "0" * 5000),
    ):
        assert old in written
        head, _, tail = written.rpartition(old)
        path.write_text(head + new + tail)
        for verify in (True, False):
            with pytest.raises(ValueError, match=r"config\.json is damaged"):
                skxmc.load(folder, verify=verify)
    path.write_text(json.dumps(json.loads(written)))  # other blanks
    skxmc.load(folder)


def test_format_2_had_no_such_hash_at_first(copied, tmp_path):
    older = saved_models.FOLDER.with_name("2") / "GRank"
    folder = Path(shutil.copytree(older, tmp_path / "older"))
    change(folder / "config.json", lambda c: c.pop("sha256", None))
    skxmc.load(folder)
    parameters = {"lambda_max": -1}
    change(
        folder / "config.json", lambda c: c["model"]["parameters"].update(parameters)
    )
    with pytest.raises(ValueError, match="lambda_max"):
        skxmc.load(folder)
    newer = copied("features")
    change(newer / "config.json", lambda c: c.pop("sha256"))
    with pytest.raises(ValueError, match="its fields are not those of a model"):
        skxmc.load(newer)


# The transformer and its tokenizer


@pytest.mark.parametrize(
    "field, value",
    [
        ("vocab_size", 10**12),
        ("vocab_size", 10**6),
        ("num_hidden_layers", 10**6),
        ("num_hidden_layers", 3),
        ("intermediate_size", 10**9),
        ("model_type", "unknown"),
        ("model_type", "gpt2"),
        ("hidden_act", "unknown"),
        ("quantization_config", {"quant_method": "bitsandbytes"}),
        ("attn_implementation", "somebody/kernels"),
    ],
)
def test_crafted_encoder(field, value, copied):
    folder = copied("text")
    new = {field: value}
    change(folder / "encoder" / "config.json", lambda about: about.update(new))
    refused(folder, "encoder.* is damaged")


def test_tokenizer_that_reads_elsewhere(copied):
    folder = copied("text")
    path = folder / "tokenizer" / "tokenizer_config.json"
    new = {"tokenizer_file": "/elsewhere/tokenizer.json"}
    change(path, lambda about: about.update(new))
    refused(folder, "tokenizer_file names another file")


def test_tokenizer_with_more_ids_than_there_are_embeddings(copied, tiny_encoder):
    def longer(about):
        about["model"]["vocab"]["another"] = 10_000

    def around(about):
        about["post_processor"]["special_tokens"]["[CLS]"]["ids"] = [10_000]

    for changed in (longer, around):
        folder = copied("text")
        change(folder / "tokenizer" / "tokenizer.json", changed)
        refused(folder, "ids up to 10000")
        shutil.rmtree(folder)


def test_fit_refuses_such_a_tokenizer(tiny_model, tiny_tokenizer, data):
    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.add_tokens(["another"])
    with pytest.raises(ValueError, match="resize_token_embeddings"):
        make(G, (tiny_model, tokenizer)).fit(data["texts"], data["csr_array"])


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": {"type": "BPE"}}'])
def test_tokenizer_that_is_none(content, copied):
    folder = copied("text")
    (folder / "tokenizer" / "tokenizer.json").write_text(content)
    refused(folder, "tokenizer is damaged")


# Saving


def test_what_would_be_refused_is_not_saved(data, tmp_path):
    model = make(G).fit(data["features"], data["csr_array"])
    model.calibration_ = (float("nan"), 0.0)
    with pytest.raises(ValueError, match="calibration_"):
        model.save_pretrained(tmp_path / "model")
    model.calibration_ = (1.0, 0.0)
    model.set_params(max_epochs=0)
    with pytest.raises(ValueError, match="max_epochs"):
        model.save_pretrained(tmp_path / "model")
    assert not list(tmp_path.iterdir())
    model.set_params(max_epochs=1)
    model.notes = "mine"
    with pytest.warns(UserWarning, match=r"GRankClassifier\.notes is not an attribute"):
        model.save_pretrained(tmp_path / "model")
    assert not hasattr(skxmc.load(tmp_path / "model"), "notes")
