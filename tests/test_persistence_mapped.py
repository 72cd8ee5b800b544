"""Weights that stay in the files of a model folder, and are shared by processes."""

import copy
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from persistence_examples import answers, assert_identical, content_of
from safetensors.torch import load_file

import skxmc
from skxmc import GRankClassifier
from skxmc.persistence._tensors import read_tensors, write_tensors

pytest_plugins = ["persistence_fixtures"]
N_LABELS = 20_000


@pytest.fixture(scope="module")
def model(data, tiny_encoder):
    """A classifier whose label vectors take more than a megabyte."""
    Y = sp.csr_array(data["csr_array"], copy=True)
    Y.resize(len(data["texts"]), N_LABELS)
    return GRankClassifier(
        tiny_encoder,
        head="all",
        label_init="random",
        trained_layers="all",
        bag_of_words=False,
        neighbor_weight=0,
        max_length=8,
        max_epochs=1,
        validation_fraction=0,
        precision="fp32",
        random_state=0,
    ).fit(data["texts"], Y)


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def stays_in(path, tensor):
    """Whether a tensor lies in a mapping of that file."""
    address = tensor.data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return line.endswith(str(path))
    raise AssertionError("it lies nowhere")


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="the system does not tell mappings"
)


@needs_proc
def test_processes_share_the_weights(folder, model, data):
    script = Path(__file__).with_name("mapped_memory.py")
    processes = [
        subprocess.Popen(
            [sys.executable, script, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        ids = [json.loads(process.stdout.readline()) for process in processes]
        for process in processes:
            process.stdin.write("\n")
            process.stdin.flush()
        found = [json.loads(process.stdout.readline()) for process in processes]
    finally:
        for process in processes:
            process.communicate()
    expected = model.predict_topk(["red fox", "dog"], 3)[0].tolist()
    assert ids == [expected, expected]
    n_bytes = model.network_.ranker.vectors.nbytes
    for maps in found:
        assert maps["model.safetensors"]["Shared_Clean"] >= n_bytes / 1024
        for name in ("model.safetensors", "encoder/model.safetensors"):
            # Nothing is written, and no page belongs to one process alone.
            assert maps[name]["Rss"] == maps[name]["Shared_Clean"] > 0, maps


@needs_proc
@pytest.mark.parametrize("mmap", [True, False])
def test_weights_stay_in_their_files_if_asked(mmap, folder):
    loaded = GRankClassifier.from_pretrained(folder, mmap=mmap)
    vectors = loaded.network_.ranker.vectors
    assert stays_in(folder / "model.safetensors", vectors) == mmap
    for weight in loaded.network_.encoder.parameters():
        assert stays_in(folder / "encoder/model.safetensors", weight) == mmap
    # Whole numbers are where something is looked up.
    assert not stays_in(folder / "model.safetensors", torch.from_numpy(loaded.classes_))


def test_answers_are_those_of_copies(folder, model, data):
    expected = answers(model, data["texts"])
    for mmap in (True, False):
        loaded = skxmc.load(folder, mmap=mmap)
        assert_identical(answers(loaded, data["texts"]), expected)


def test_what_is_written_stays_in_the_process(folder, data):
    before = content_of(folder)
    loaded, other = skxmc.load(folder), skxmc.load(folder)
    expected = answers(other, data["texts"])
    with torch.no_grad():
        for weight in loaded.network_.parameters():
            weight.mul_(-1).add_(0.5)
    assert content_of(folder) == before
    assert_identical(answers(other, data["texts"]), expected)


def test_loaded_models_train(folder, model, data):
    loaded = skxmc.load(folder)
    network = loaded.network_
    optimizer = torch.optim.SGD(network.encoder.parameters(), lr=0.1)
    before = network.encoder.state_dict()
    before = {name: weight.clone() for name, weight in before.items()}
    inputs = loaded._make_docs(data["texts"][:4]).batch(np.arange(4))
    network.encode(inputs)[0].square().sum().backward()
    optimizer.step()
    after = network.encoder.state_dict()
    assert any((after[name] != before[name]).any() for name in before)
    # Another fit is that of a classifier that was never saved.
    Y = sp.csr_array(data["csr_array"])
    again = [one.fit(data["texts"], Y) for one in (loaded, copy.deepcopy(model))]
    assert_identical(*(answers(one, data["texts"]) for one in again))


def test_copies_and_pickles_hold_the_weights(folder, model, data):
    loaded = skxmc.load(folder)
    n_bytes = len(pickle.dumps(loaded))
    assert n_bytes == pytest.approx(len(pickle.dumps(model)), rel=0.05)
    expected = answers(model, data["texts"])
    others = [copy.deepcopy(loaded), pickle.loads(pickle.dumps(loaded))]
    loaded.network_.double().float()
    shutil.rmtree(folder)
    for other in (loaded, *others):
        assert_identical(answers(other, data["texts"]), expected)


def test_a_folder_may_be_replaced_or_removed(folder, model, data):
    loaded = skxmc.load(folder)
    expected = answers(model, data["texts"])
    with torch.no_grad():
        changed = copy.deepcopy(loaded)
        changed.network_.ranker.vectors.mul_(-1)
    changed.save_pretrained(folder)
    assert_identical(answers(loaded, data["texts"]), expected)
    loaded.save_pretrained(folder)  # into the folder that it lies in
    assert_identical(answers(skxmc.load(folder), data["texts"]), expected)
    shutil.rmtree(folder)
    assert_identical(answers(loaded, data["texts"]), expected)


def test_values_are_checked_where_they_lie(folder):
    path = folder / "model.safetensors"
    place = path.stat().st_size - 4 * 10
    with path.open("r+b") as file:
        file.seek(place)
        file.write(np.float32("nan").tobytes())
    with pytest.raises(ValueError, match="is damaged: its SHA-256"):
        skxmc.load(folder)
    with pytest.raises(ValueError, match="vectors"):
        skxmc.load(folder, verify=False)


DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.uint16, torch.uint32, torch.uint64),
]


def test_written_tensors_are_aligned_and_read_by_safetensors(tmp_path):
    tensors = {}
    for i, dtype in enumerate(DTYPES):
        for shape in ((), (0,), (3, 0), (1,), (i + 1, 3)):
            values = torch.arange(np.prod(shape, dtype=int)).view(shape)
            tensors[f"{dtype}, {shape}"] = values.to(dtype)
    write_tensors(tensors, tmp_path / "tensors")
    again = load_file(tmp_path / "tensors")
    for name, tensor in tensors.items():
        assert again[name].dtype == tensor.dtype
        assert again[name].shape == tensor.shape
        assert again[name].tolist() == tensor.tolist()
        assert not tensor.numel() or again[name].data_ptr() % 64 == 0
    others = set(again) - set(tensors)
    assert all(again[name].dtype == torch.uint8 for name in others)
    assert all(len(again[name]) < 64 for name in others)
    for mmap in (True, False):
        read = read_tensors(tmp_path / "tensors", mmap)
        assert read.keys() == tensors.keys()


def test_dtype_without_a_name(tmp_path):
    tensors = {"x": torch.zeros(2, dtype=torch.complex128)}
    with pytest.raises(TypeError, match="x has the dtype torch.complex128, which"):
        write_tensors(tensors, tmp_path / "tensors")
