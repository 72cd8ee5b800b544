"""benchmarks/papers.py: its tables, and its command on a small folder."""

import inspect
import json
import pathlib
import sys

import pytest
import torch
from transformers import BertModel

from skxmc import GRankClassifier, LightXMLClassifier
from skxmc.metrics import precision_at_k

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
SYSTEMS = ["lightxml", "grank"]
# Those of both papers' tables of results.
DATASETS = ["Eurlex-4K", "AmazonCat-13K", "Wiki10-31K", "Wiki-500K", "Amazon-670K"]
CLASSES = {"lightxml": LightXMLClassifier, "grank": GRankClassifier}
EACH = [(system, dataset) for system in SYSTEMS for dataset in DATASETS]

SMALL = "--max-epochs 1 --n-layers 2 --max-length 16 --batch-size 8 --verbose 0"
CLUSTERED = SMALL + " --max-leaf-size 3 --n-shortlist 2 --label-dim 8"
CLUSTERED += " --validation-fraction 0"  # 4,000 documents are none of 45


@pytest.fixture
def papers(monkeypatch, tmp_path):
    """The command, which writes its results into tmp_path."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("papers", "_common"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import _common
    import papers

    monkeypatch.setattr(_common, "RESULTS", tmp_path / "results")
    return papers


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
def three_encoders(tmp_path, tiny_model, tiny_tokenizer):
    """Folders of three random encoders, named as the paper's."""
    paths = []
    for name in ("bert-base-uncased", "roberta-base", "xlnet-base-cased"):
        torch.manual_seed(len(paths))
        BertModel(tiny_model.config).save_pretrained(tmp_path / name)
        tiny_tokenizer.save_pretrained(tmp_path / name)
        paths.append(str(tmp_path / name))
    return paths


@pytest.fixture
def run(papers, folder, capsys):
    """Run the command; what it printed and what it wrote."""

    def run(system, dataset, encoder, parameters, *options):
        words = f"--system {system} --dataset {dataset} --data {folder} {parameters}"
        path = papers.main([*words.split(), "--encoder", *encoder, *options])
        return capsys.readouterr().out, json.loads(path.read_text())

    return run


def row(printed, name):
    """Cells of a row of the table."""
    (line,) = (line for line in printed.splitlines() if line.startswith(name + " "))
    return line.removeprefix(name).split()


# ------------------------------------------------------------------------ Tables


@pytest.mark.parametrize("system, dataset", EACH)
def test_settings_are_parameters(papers, system, dataset):
    known = inspect.signature(CLASSES[system]).parameters
    for encoder in papers.ENCODERS.values():
        for released in {False, system == "lightxml"}:
            settings = papers.settings(system, dataset, encoder, released_code=released)
            assert settings.keys() <= known.keys()
            CLASSES[system](**settings)._check_parameters()


@pytest.mark.parametrize("system, dataset", EACH)
def test_every_data_set_has_its_figures(papers, system, dataset):
    assert sorted(papers.SETTINGS[system]) == sorted(DATASETS)
    assert sorted(papers.RESULTS[system]) == sorted(DATASETS)
    statistics = papers.published_statistics(system, dataset)
    assert list(statistics) == ["N train", "N test", "L", "labels a document"]
    for figures in papers.RESULTS[system][dataset].values():
        assert len(figures) in (3, 6)
        assert list(figures[:3]) == sorted(figures[:3], reverse=True)  # P falls in k
        assert list(figures[3:]) == sorted(figures[3:])  # PSP grows on these


# Copied from the papers a second time: E, B, width of label vectors, L_t.
@pytest.mark.parametrize(
    "system, dataset, epochs, batch, width, length",
    [
        ("lightxml", "Eurlex-4K", 20, 16, None, 512),
        ("lightxml", "AmazonCat-13K", 5, 16, None, 512),
        ("lightxml", "Wiki10-31K", 30, 16, None, 512),
        ("lightxml", "Wiki-500K", 10, 32, 500, 128),
        ("lightxml", "Amazon-670K", 15, 16, 400, 128),
        ("grank", "Eurlex-4K", 50, 32, 512, 512),
        ("grank", "AmazonCat-13K", 20, 32, 512, 512),
        ("grank", "Wiki10-31K", 50, 32, 512, 512),
        ("grank", "Wiki-500K", 20, 128, 128, 128),
        ("grank", "Amazon-670K", 50, 64, 128, 256),
    ],
)
def test_settings_of_the_papers(papers, system, dataset, epochs, batch, width, length):
    settings = papers.settings(system, dataset, "bert-base-uncased")
    names = ("max_epochs", "batch_size", "label_dim", "max_length")
    found = tuple(settings.get(name) for name in names)
    assert found == (epochs, batch, width, length)
    assert settings["learning_rate"] == settings["head_learning_rate"] == 1e-4
    assert settings["n_layers"] == 5 and settings["label_init"] == "random"
    small = dataset not in ("Wiki-500K", "Amazon-670K")
    assert settings["max_leaf_size"] == (1 if small else 100)


def test_averaging_starts_after_whole_epochs(papers):
    first = {"Eurlex-4K": 10, "AmazonCat-13K": 2, "Wiki10-31K": 10}
    first |= {"Wiki-500K": 4, "Amazon-670K": 4}
    for dataset, epoch in first.items():
        for released in (False, True):
            s = papers.settings("lightxml", dataset, "bert", released_code=released)
            assert s["swa_start"] * s["max_epochs"] == pytest.approx(epoch)


def test_released_code_of_one_encoder(papers):
    of = [
        papers.settings("lightxml", "Eurlex-4K", f"/models/{name}", released_code=True)
        for name in papers.ENCODERS.values()
    ]
    assert [s["batch_size"] * s.get("accumulate", 1) for s in of] == [16, 16, 16]
    assert [s["head_learning_rate"] for s in of] == [1e-4, 1e-4, 5e-4]
    assert {s["max_epochs"] for s in of} == {25}


@pytest.mark.parametrize(
    "system, dataset, kind, figures",
    [
        ("lightxml", "Eurlex-4K", "ensemble", [87.63, 75.89, 63.36]),
        ("lightxml", "Amazon-670K", "single model", [47.14, 42.02, 38.23]),
        ("lightxml", "Wiki-500K", "single model", [76.19, 57.22, 44.12]),
        ("lightxml", "Wiki-500K", "ensemble", [77.78, 58.85, 45.57]),
        ("grank", "AmazonCat-13K", "ensemble", [97.35, 84.08, 68.97]),
        ("grank", "Wiki10-31K", "single model", [89.63, 77.89, 68.10]),
        ("grank", "Amazon-670K", "ensemble", [49.36, 44.73, 40.37]),
    ],
)
def test_published_precision(papers, system, dataset, kind, figures):
    found, figures_by_name = papers.published_row(system, dataset, kind)
    assert found == kind
    assert list(figures_by_name.values())[:3] == figures


def test_published_psp(papers):
    _, row = papers.published_row("grank", "Wiki-500K", "ensemble")
    assert [row[f"PSP@{k}"] for k in (1, 3, 5)] == [33.50, 40.73, 42.81]
    _, row = papers.published_row("lightxml", "Wiki-500K", "ensemble")
    assert row["PSP@1"] is None


def test_statistics_differ_beyond_the_last_digit(papers):
    published = papers.published_statistics("lightxml", "Wiki-500K")
    assert published["L"] == 501_008
    assert papers.published_statistics("grank", "Wiki-500K")["L"] == 501_070
    for mean, differs in [(4.74, []), (4.7599, []), (4.7612, ["labels a document"])]:
        found = published | {"labels a document": mean}
        assert papers.differing(published, found) == differs
    found = published | {"N test": published["N test"] - 1, "L": 501_070}
    assert papers.differing(published, found) == ["N test", "L"]
    warning = papers.warning(published, found)
    assert "N test: published 769,421, found 769,420" in warning


# ------------------------------------------------------------------- The command


def test_single_model(run, tiny_encoder, colours):
    printed, result = run("lightxml", "Eurlex-4K", [tiny_encoder], SMALL)
    assert row(printed, "paper, ensemble") == "87.63 75.89 63.36 - - -".split()
    assert "no row for a single model here" in printed
    heading = "LightXML on Eurlex-4K: test split, 15 documents (the paper: 3,865)"
    assert heading in printed
    for line in (
        "N train: published 15,449, found 45",
        "N test: published 3,865, found 15",
        "L: published 3,956, found 12",  # the 13th has no document
        "labels a document: published 5.3, found 4.0",
    ):
        assert printed.count(line) == 2  # before the training, and after the table

    metrics = result["measured"]["metrics"]
    cells = row(printed, "measured, single model")
    assert cells == [f"{value:.2f}" for value in metrics.values()]
    gain = f"{metrics['P@1'] - 87.63:+.2f}"
    assert row(printed, "difference")[0] == gain
    # What the file says suffices to find the same figures.
    (settings,) = result["settings"].values()
    assert settings["max_epochs"] == 1 and settings["swa_every"] == 200
    texts, Y, _ = colours
    model = LightXMLClassifier(**settings).fit(texts[:45], Y[:45])
    ids, _ = model.predict_topk(texts[45:], 5)
    for k in (1, 3, 5):
        expected = round(100 * precision_at_k(Y[45:], ids, k), 2)
        assert metrics[f"P@{k}"] == expected
    assert result["measured"]["fit_s"] > 0 and result["measured"]["peak_MB"] > 0


def test_ensemble_of_clusterings(run, tiny_encoder):
    printed, result = run(
        "lightxml", "Amazon-670K", [tiny_encoder], CLUSTERED, "--ensemble"
    )
    assert row(printed, "paper, ensemble") == "49.10 43.83 39.85 - - -".split()
    assert len(row(printed, "measured, ensemble")) == 6
    seeds = [settings["random_state"] for settings in result["settings"].values()]
    assert seeds == [0, 1, 2]
    assert [len(epochs) for epochs in result["epochs"].values()] == [1, 1, 1]


def test_ensemble_of_encoders(run, three_encoders):
    printed, result = run("grank", "Eurlex-4K", three_encoders, SMALL, "--ensemble")
    paper = "88.05 76.67 63.50 45.04 53.28 57.12"
    assert row(printed, "paper, ensemble") == paper.split()
    assert "Label texts: the label names" in printed and result["label_texts"]
    encoders = [settings["encoder"] for settings in result["settings"].values()]
    assert encoders == three_encoders


def test_without_label_names(run, folder, tiny_encoder):
    (folder / "label_names.txt").unlink()
    printed, result = run("grank", "Wiki10-31K", [tiny_encoder], SMALL)
    paper = "paper, single model without label texts"
    assert row(printed, paper) == "88.63 77.72 68.75 - - -".split()
    assert "has no label names" in printed and not result["label_texts"]


def test_no_label_texts_for_amazon_670k(run, tiny_encoder):
    printed, result = run("grank", "Amazon-670K", [tiny_encoder], CLUSTERED)
    assert "the paper has none for Amazon-670K" in printed
    assert not result["label_texts"]
    assert result["propensity"] == {"a": 0.6, "b": 2.6}


def test_no_warning_where_statistics_fit(run, papers, monkeypatch, tiny_encoder):
    fitting = papers._statistics(45, 15, 12, 4.01)
    monkeypatch.setitem(papers.STATISTICS, "Eurlex-4K", fitting)
    printed, result = run("grank", "Eurlex-4K", [tiny_encoder], SMALL)
    assert "WARNING" not in printed and not result["statistics"]["differing"]
    assert row(printed, "paper, single model") == "86.65 74.93 62.11 - - -".split()


@pytest.mark.parametrize(
    "words, message",
    [
        ("--dataset Wiki-31K", "for grank there are Eurlex-4K, AmazonCat-13K, Wiki10"),
        ("--dataset Eurlex-4K --max-epoch 1", "has no parameter max_epoch"),
        ("--dataset Eurlex-4K --released-code", "that of X-GRank is not public"),
        ("--dataset Eurlex-4K --ensemble --encoder bert", "3 of different names"),
        ("--dataset Wiki-500K --ensemble --encoder bert xlnet", "1 of different names"),
    ],
)
def test_wrong_options(papers, folder, capsys, words, message):
    with pytest.raises(SystemExit):
        papers.main(["--system", "grank", "--data", str(folder), *words.split()])
    assert message in capsys.readouterr().err


def test_wrong_folders(papers, folder):
    words = "--system grank --dataset Eurlex-4K --data".split()
    (folder / "test_texts.txt").unlink()
    with pytest.raises(SystemExit, match="no test split"):
        papers.main([*words, str(folder)])
    (folder / "train_texts.txt").unlink()
    with pytest.raises(SystemExit, match="looked for trn.json, train_texts.txt"):
        papers.main([*words, str(folder)])
    (folder / "train.txt").write_text("1 1 1\n0 0:1\n")
    with pytest.raises(SystemExit, match="holds features"):
        papers.main([*words, str(folder)])
