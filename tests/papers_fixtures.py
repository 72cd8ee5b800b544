"""Fixtures for tests of benchmarks/papers.py: name it in ``pytest_plugins``."""

import copy
import json
import pathlib
import sys

import pytest
import torch
from transformers import BertModel

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
MODULES = [
    "papers",
    "_common",
    "_comparison",
    "_experiments",
    "_modules",
    "_published",
    "_settings",
    "lightdxml",
]


@pytest.fixture
def papers(monkeypatch, tmp_path):
    """The command, which writes its results into tmp_path."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import _common
    import papers

    monkeypatch.setattr(_common, "RESULTS", tmp_path / "results")
    return papers


@pytest.fixture
def recipes(papers):
    """The module of the papers' settings."""
    return sys.modules["_settings"]


@pytest.fixture
def published(papers):
    """The module of what the papers report."""
    return sys.modules["_published"]


@pytest.fixture
def folder(tmp_path, colours):
    """A data set in the raw text layout: 45 documents for training, 15 for the test."""
    texts, Y, names = colours
    folder = tmp_path / "colours"
    folder.mkdir()
    for split, rows in (("train", slice(0, 45)), ("test", slice(45, 60))):
        lines = [" ".join(map(str, row)) for row in Y[rows].tolil().rows]
        (folder / f"{split}_texts.txt").write_text("\n".join(texts[rows]) + "\n")
        (folder / f"{split}_labels.txt").write_text("\n".join(lines) + "\n")
    # The last one has no document.
    (folder / "label_names.txt").write_text("\n".join([*names, "unused"]) + "\n")
    return folder


@pytest.fixture
def features(tmp_path, colours):
    """The same data set in the features layout: a feature for each word."""
    texts, Y, names = colours
    words = sorted({word for text in texts for word in text.split()})
    folder = tmp_path / "colours-features"
    folder.mkdir()
    for split, rows in (("train", slice(0, 45)), ("test", slice(45, 60))):
        lines = [f"{rows.stop - rows.start} {len(words)} {len(names) + 1}"]
        for text, ids in zip(texts[rows], Y[rows].tolil().rows, strict=True):
            values = " ".join(f"{words.index(word)}:0.5" for word in text.split())
            lines.append(f"{','.join(map(str, ids))} {values}")
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def three_encoders(tmp_path, tiny_model, tiny_tokenizer):
    """Folders of three random encoders, named as the paper's."""
    paths = []
    for name in ("bert-base-uncased", "roberta-base", "xlnet-base-cased"):
        torch.manual_seed(len(paths))
        model = BertModel(copy.deepcopy(tiny_model.config))  # saving notes the class
        model.save_pretrained(tmp_path / name)
        tiny_tokenizer.save_pretrained(tmp_path / name)
        paths.append(str(tmp_path / name))
    return paths


@pytest.fixture
def run(papers, folder, capsys):
    """Run the command; what it printed and what it wrote."""

    def run(system, dataset, encoder, parameters, *options, data=folder):
        words = f"--system {system} --dataset {dataset} --data {data} {parameters}"
        encoder = ["--encoder", *encoder] if encoder else []
        path = papers.main([*words.split(), *encoder, *options])
        return capsys.readouterr().out, json.loads(path.read_text())

    return run
