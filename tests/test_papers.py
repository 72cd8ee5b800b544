"""benchmarks/papers.py: its command, on a small folder."""

import numpy as np
import pytest
from sklearn.utils import Bunch

from skxmc import (
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc.datasets import load_xmc_repository
from skxmc.metrics import ndcg_at_k, precision_at_k

pytest_plugins = ["papers_fixtures"]

SMALL = "--max-epochs 1 --n-layers 2 --max-length 16 --batch-size 8 --verbose 0"
CLUSTERED = SMALL + " --max-leaf-size 3 --n-shortlist 2 --label-dim 8"
CLUSTERED += " --validation-fraction 0"  # 4,000 documents are none of 45
GUDN = SMALL + " --label-length 16 --label-layers 3"
CYCLE = "--max-epochs 1 --label-epochs 1 --label-dim 8 --verbose 0"


def row(printed, name):
    """Cells of a row of the table."""
    line = next(line for line in printed.splitlines() if line.startswith(name + " "))
    return line.removeprefix(name).split()


def only_run(result):
    """The only run of a results file."""
    (run,) = result["runs"]
    return run


def test_statistics_differ_beyond_the_last_digit(papers):
    published = papers.STATISTICS["lightxml"]["Wiki-500K"]
    assert published["L"] == 501_008
    assert papers.STATISTICS["grank"]["Wiki-500K"]["L"] == 501_070
    for mean, differs in [(4.74, []), (4.7599, []), (4.7612, ["labels a document"])]:
        found = published | {"labels a document": mean}
        assert papers.differing(published, found) == differs
    found = published | {"N test": published["N test"] - 1, "L": 501_070}
    assert papers.differing(published, found) == ["N test", "L"]
    warning = papers.warning(published, found)
    assert "N test: published 769,421, found 769,420" in warning


def test_what_is_not_published_cannot_differ(papers):
    published = papers.STATISTICS["lightdxml"]["EURLex-4K"]
    found = papers.statistics(15_539, 1, 3_993, 1.0)
    assert papers.differing(published, found) == []  # V: there are texts
    assert papers.differing(published, found | {"V": 5_000}) == []
    assert papers.differing(published, found | {"V": 4_999}) == ["V"]


def test_single_model(run, tiny_encoder, colours):
    printed, result = run("lightxml", "Eurlex-4K", [tiny_encoder], SMALL)
    assert row(printed, "paper, ensemble") == "87.63 75.89 63.36 - - - - -".split()
    assert 'no row "single model" here' in printed
    heading = "LightXML on Eurlex-4K: test split, 15 documents (the paper: 3,865)"
    assert heading in printed
    for line in (
        "N train: published 15,449, found 45",
        "N test: published 3,865, found 15",
        "L: published 3,956, found 12",  # the 13th has no document
        "labels a document: published 5.3, found 4.0",
    ):
        assert printed.count(line) == 2  # before the training, and after the table

    metrics = only_run(result)["measured"]["metrics"]
    cells = row(printed, "measured, single model")
    assert cells == [f"{value:.2f}" for value in metrics.values()]
    gain = f"{metrics['P@1'] - 87.63:+.2f}"
    assert row(printed, "difference")[0] == gain
    # What the file says suffices to find the same figures.
    (settings,) = only_run(result)["settings"].values()
    assert settings["max_epochs"] == 1 and settings["swa_every"] == 200
    texts, Y, _ = colours
    model = LightXMLClassifier(**settings).fit(texts[:45], Y[:45])
    ids, _ = model.predict_topk(texts[45:], 5)
    for k in (1, 3, 5):
        expected = round(100 * precision_at_k(Y[45:], ids, k), 2)
        assert metrics[f"P@{k}"] == expected
    for k in (3, 5):
        assert metrics[f"nDCG@{k}"] == round(100 * ndcg_at_k(Y[45:], ids, k), 2)
    assert (
        only_run(result)["measured"]["fit_s"] > 0
        and only_run(result)["measured"]["peak_MB"] > 0
    )


def test_ensemble_of_clusterings(run, tiny_encoder):
    printed, result = run(
        "lightxml", "Amazon-670K", [tiny_encoder], CLUSTERED, "--ensemble"
    )
    assert row(printed, "paper, ensemble") == "49.10 43.83 39.85 - - - - -".split()
    assert len(row(printed, "measured, ensemble")) == 8
    seeds = [
        settings["random_state"] for settings in only_run(result)["settings"].values()
    ]
    assert seeds == [0, 1, 2]
    assert [len(epochs) for epochs in only_run(result)["epochs"].values()] == [1, 1, 1]


def test_ensemble_of_encoders(run, three_encoders):
    printed, result = run("grank", "Eurlex-4K", three_encoders, SMALL, "--ensemble")
    paper = "88.05 76.67 63.50 - - 45.04 53.28 57.12"
    assert row(printed, "paper, ensemble") == paper.split()
    assert "Label texts: the label names" in printed and result["label_texts"]
    encoders = [
        settings["encoder"] for settings in only_run(result)["settings"].values()
    ]
    assert encoders == three_encoders


def test_without_label_names(run, folder, tiny_encoder):
    (folder / "label_names.txt").unlink()
    printed, result = run("grank", "Wiki10-31K", [tiny_encoder], SMALL)
    paper = "paper, no-label-texts"
    assert row(printed, paper) == "88.63 77.72 68.75 - - - - -".split()
    assert "has no label names" in printed and not result["label_texts"]


def test_no_label_texts_for_amazon_670k(run, tiny_encoder):
    printed, result = run("grank", "Amazon-670K", [tiny_encoder], CLUSTERED)
    assert "the paper has none for Amazon-670K" in printed
    assert not result["label_texts"]
    assert result["propensity"] == {"a": 0.6, "b": 2.6}


def test_no_warning_where_statistics_fit(run, papers, monkeypatch, tiny_encoder):
    fitting = papers.statistics(45, 15, 12, 4.01)
    monkeypatch.setitem(papers.STATISTICS["grank"], "Eurlex-4K", fitting)
    printed, result = run("grank", "Eurlex-4K", [tiny_encoder], SMALL)
    assert "WARNING" not in printed and not result["statistics"]["differing"]
    assert row(printed, "paper, single model") == "86.65 74.93 62.11 - - - - -".split()


def test_lightdxml_on_texts(run):
    printed, result = run("lightdxml", "EURLex-4K", None, CYCLE)
    paper = "82.38 67.94 56.18 - - 38.51 44.57 47.39"
    assert row(printed, "paper, single model") == paper.split()
    assert len(row(printed, "measured, single model")) == 8
    assert "LightDXML on EURLex-4K: test split, 15 documents\n" in printed
    for line in (
        "N train: published 15,539, found 45",
        "L: published 3,993, found 13",  # the 13th has a column
    ):
        assert printed.count(line) == 2
    assert "V: published" not in printed
    assert result["statistics"]["differing"] == ["N train", "L"]
    (settings,) = only_run(result)["settings"].values()
    assert settings["n_shortlist"] == 500 and settings["max_epochs"] == 1
    assert result["propensity"] == {"a": 0.55, "b": 1.5}


def test_lightdxml_on_features(run, features):
    words = CYCLE + " --released-code"
    printed, result = run("lightdxml", "EURLex-4K", None, words, data=features)
    for line in ("L: published 3,993, found 13", "V: published 5,000, found 12"):
        assert printed.count(line) == 2
    (settings,) = only_run(result)["settings"].values()
    assert settings["n_shortlist"] == 400
    data = load_xmc_repository(features)
    model = LightDXMLClassifier(**settings).fit(data.X_train, data.Y_train)
    ids, _ = model.predict_topk(data.X_test, 5)
    for k in (1, 3, 5):
        expected = round(100 * precision_at_k(data.Y_test, ids, k), 2)
        assert only_run(result)["measured"]["metrics"][f"P@{k}"] == expected


def test_lightdxml_on_its_features(run, papers, features, monkeypatch):
    fitting = {"N train": 45, "L": 13, "V": 12}
    table = papers.STATISTICS["lightdxml"]
    dataset = "AmazonTitles-670K"
    monkeypatch.setitem(table, dataset, fitting)
    words = CYCLE + " --validation-fraction 0"  # 4,000 documents are none of 45
    printed, result = run("lightdxml", dataset, None, words, data=features)
    assert "WARNING" not in printed and not result["statistics"]["differing"]
    assert result["propensity"] == {"a": 0.6, "b": 2.6}


def test_lightdxml_with_token_vectors(run, colours, tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text("".join(f"{name} {i} 1 0\n" for i, name in enumerate(colours[2])))
    words = f"{CYCLE} --token-vectors {path}"
    _, result = run("lightdxml", "Wiki10-31K", None, words)
    assert only_run(result)["settings"]["model"]["token_vectors"] == str(path)


@pytest.mark.parametrize("released", ["", " --released-code"])
def test_gudn(run, tiny_encoder, released):
    layers = " --n-layers 1 --label-layers " + ("1" if released else "3")
    words = SMALL.replace(" --n-layers 2", layers) + " --label-length 16" + released
    printed, result = run("gudn", "Wiki10-31K", [tiny_encoder], words)
    paper = "89.75 78.58 69.86 81.38 74.63 15.99 16.87 18.16"
    assert row(printed, "paper, single model") == paper.split()
    assert "Label texts: the label names" in printed and result["label_texts"]
    assert "L: published 30,938, found 13" in printed  # the 13th has a column
    (settings,) = only_run(result)["settings"].values()
    assert settings["variant"] == ("code" if released else "paper")


READER = "--max-epochs 1 --word-dim 8 --min-df 1 --verbose 0"


def test_treaderxml_without_parents(run):
    printed, result = run("treaderxml", "EURLex", None, READER)
    assert row(printed, "paper, single model") == (
        "87.88 - 64.05 80.70 73.56 - - -".split()
    )
    assert "has no parents of labels: clusters take their place" in printed
    (settings,) = only_run(result)["settings"].values()
    assert settings["n_heads"] == 4 and settings["max_length"] == 500


def test_treaderxml_with_parents(run, folder, monkeypatch):
    (folder / "label_parents.txt").write_text("0\n" * 6 + "1 0\n" + "\n" * 6)
    (folder / "parent_names.txt").write_text("colour\nanimal\n")
    (folder / "parent_parents.txt").write_text("\n\n")
    fit, seen = TReaderXMLClassifier.fit, []

    def noted(self, X, y):
        seen.append((self.label_parents, self.parent_texts))
        return fit(self, X, y)

    monkeypatch.setattr(TReaderXMLClassifier, "fit", noted)
    printed, _ = run("treaderxml", "EURLex", None, READER)
    assert "no parents" not in printed
    ((parents, names),) = seen
    assert names == ["colour", "animal"]
    # The 13th label, which no document has, is left out.
    expected = [[1, 0]] * 6 + [[1, 1]] + [[0, 0]] * 5
    assert parents.toarray().tolist() == expected


@pytest.mark.parametrize(
    "words, message",
    [
        ("gudn --dataset EURLex-4K", "for gudn there are Eurlex-4K"),
        ("gudn --dataset Eurlex-4K --ensemble", "GUDN has single models only"),
        ("treaderxml --dataset RCV1 --encoder bert", "TReaderXML has none"),
        ("treaderxml --dataset RCV1 --released-code", "TReaderXML is not public"),
    ],
)
def test_wrong_options_of_the_others(papers, words, message, capsys):
    with pytest.raises(SystemExit):
        papers.main(f"--data nowhere --system {words}".split())
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        ("--dataset Eurlex-4K", "for lightdxml there are EURLex-4K, AmazonCat-13K"),
        ("--dataset EURLex-4K --ensemble", "has single models only"),
        ("--dataset EURLex-4K --encoder bert", "--encoder: LightDXML has none"),
        ("--dataset EURLex-4K --n-layers 2", "has no parameter n_layers"),
    ],
)
def test_wrong_options_of_lightdxml(papers, folder, capsys, words, message):
    with pytest.raises(SystemExit):
        papers.main(["--system", "lightdxml", "--data", str(folder), *words.split()])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        ("--dataset Wiki-31K", "for grank there are Eurlex-4K, AmazonCat-13K, Wiki10"),
        ("--dataset Eurlex-4K --max-epoch 1", "has no parameter max_epoch"),
        ("--dataset Eurlex-4K --released-code", "that of X-GRank is not public"),
        ("--dataset Eurlex-4K --row config-0", "--row config-0: for grank there are"),
        ("--dataset Eurlex-4K --runs 0", "--runs 0: at least 1"),
        ("--dataset Eurlex-4K --row bce --ensemble", "single models, not ensembles"),
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
    with pytest.raises(SystemExit, match="none of trn.json, train_texts.txt"):
        papers.main([*words, str(folder)])
    (folder / "train.txt").write_text("1 1 1\n0 0:1\n")
    with pytest.raises(SystemExit, match="holds features"):
        papers.main([*words, str(folder)])


def test_wrong_folders_of_lightdxml(papers, features):
    (features / "test.txt").unlink()
    words = ["--system", "lightdxml", "--dataset", "EURLex-4K", "--data"]
    with pytest.raises(SystemExit, match="no test split"):
        papers.main([*words, str(features)])


# ------------------------------------------------------- Rows, runs and costs


@pytest.mark.parametrize(
    "name",
    ["bert", "feature-guide", "link-guide", "multi-hot"]
    + ["names-once", "names-repeated", "longformer-4096"],
)
def test_rows_of_gudn(run, papers, published, tiny_encoder, name):
    printed, result = run("gudn", "Eurlex-4K", [tiny_encoder], f"{GUDN} --row {name}")
    assert result["row"] == name
    (settings,) = only_run(result)["settings"].values()
    given = {"encoder": tiny_encoder, "max_length": 16}
    assert settings | papers.ROWS["gudn"][name] | given == settings
    figures = published.RESULTS["gudn"]["Eurlex-4K"].get(name)
    if figures is None:
        assert f"no figures of {name} on Eurlex-4K" in printed
        assert list(result["rows"]) == [f"measured, {name}"]
    else:
        cells = row(printed, f"paper, {name}")
        assert cells == [f"{figures[k]:.2f}" for k in ("P@1", "P@3", "P@5")] + ["-"] * 5
    assert len(row(printed, f"measured, {name}")) == 8


@pytest.mark.parametrize("name", [f"config-{i}" for i in range(6)])
def test_rows_of_treaderxml(run, papers, published, name):
    words = f"{READER} --validation-fraction 0 --row {name}"
    printed, result = run("treaderxml", "AmazonCat-13K", None, words)
    (settings,) = only_run(result)["settings"].values()
    assert settings | papers.ROWS["treaderxml"][name] == settings
    figures = published.RESULTS["treaderxml"]["AmazonCat-13K"][name].values()
    cells = ["-" if x is None else f"{x:.2f}" for x in figures]
    assert row(printed, f"paper, {name}") == cells
    assert result["rows"]["difference"]["PSP@1"] is None


@pytest.mark.parametrize(
    "name, figures",
    [("static", "43.36 38.55 34.96"), ("static-two-encoders", "46.27 41.40 37.69")],
)
def test_static_negatives(run, tiny_encoder, name, figures):
    printed, result = run(
        "lightxml", "Amazon-670K", [tiny_encoder], f"{CLUSTERED} --row {name}"
    )
    assert row(printed, f"paper, {name}")[:3] == figures.split()
    (settings,) = only_run(result)["settings"].values()
    assert settings["negatives"] == "static"
    assert [len(epochs) for epochs in only_run(result)["epochs"].values()] == [2]


def test_bce(run, tiny_encoder):
    printed, result = run("grank", "Eurlex-4K", [tiny_encoder], SMALL + " --row bce")
    assert row(printed, "paper, bce")[:3] == "84.27 71.81 59.59".split()
    assert "No label texts (the paper's X-BCE has none)" in printed
    assert not result["label_texts"]
    (settings,) = only_run(result)["settings"].values()
    assert settings["loss"] == "bce"


def test_feature_losses_of_gudn(run, tiny_encoder):
    _, result = run("gudn", "Eurlex-4K", [tiny_encoder], f"{GUDN} --row multi-hot")
    (epochs,) = only_run(result)["epochs"].values()
    assert all(epoch["feature_loss"] > 0 for epoch in epochs)


def test_one_layer(run, tiny_encoder):
    words = f"{CLUSTERED.replace('--n-layers 2', '')} --row one-layer"
    printed, result = run("lightxml", "Amazon-670K", [tiny_encoder], words)
    (settings,) = only_run(result)["settings"].values()
    assert settings["n_layers"] == 1
    assert "The paper has no figures of one-layer on Amazon-670K" in printed


def test_rows_that_the_classifier_lacks_are_refused(papers, monkeypatch, capsys):
    monkeypatch.setitem(papers.ROWS["grank"], "new", dict(unknown=1))
    monkeypatch.setitem(papers.ROWS["lightxml"], "new", dict(negatives="none such"))
    for system, reason in (("grank", "'unknown'"), ("lightxml", "'none such'")):
        with pytest.raises(SystemExit):
            words = f"--system {system} --dataset Wiki-500K --data nowhere --row new"
            papers.main(words.split())
        assert reason in capsys.readouterr().err


def test_mean_of_runs(run, tiny_encoder, colours):
    words = GUDN + " --runs 2"
    printed, result = run("gudn", "Eurlex-4K", [tiny_encoder], words)
    first, second = result["runs"]
    seeds = [next(iter(r["settings"].values()))["random_state"] for r in result["runs"]]
    assert seeds == [0, 1]
    shown = result["rows"]["measured, single model, mean of 2 runs"]
    for name, value in shown.items():
        both = first["measured"]["metrics"][name], second["measured"]["metrics"][name]
        assert value == pytest.approx(sum(both) / 2, abs=1e-4)
    cells = row(printed, "measured, single model, mean of 2 runs")
    assert cells == [f"{value:.2f}" for value in shown.values()]


def test_runs_of_clusterings_share_no_seed(run, tiny_encoder):
    words = CLUSTERED + " --ensemble --runs 2"
    _, result = run("lightxml", "Amazon-670K", [tiny_encoder], words)
    seeds = [s["random_state"] for r in result["runs"] for s in r["settings"].values()]
    assert seeds == [0, 1, 2, 3, 4, 5]
    assert result["costs"] is None  # the papers' are those of single models


def test_costs_beside_the_papers(run, tiny_encoder):
    printed, result = run("lightxml", "Amazon-670K", [tiny_encoder], CLUSTERED)
    assert "the paper's: one Tesla V100" in printed
    assert row(printed, "paper") == "28.75 4.09 1.53".split()
    measured = only_run(result)["measured"]
    assert measured["model_MiB"] > 0
    costs = result["costs"]["measured"]
    assert list(costs) == ["training h", "prediction ms", "size GB"]
    assert costs["prediction ms"] == pytest.approx(measured["predict_ms_a_document"])


def test_recall_of_retrieved_labels(run, tiny_encoder, colours):
    printed, result = run("grank", "Wiki-500K", [tiny_encoder], CLUSTERED)
    recall = only_run(result)["measured"]["recall"]
    assert list(recall) == ["R@64", "R@128", "R@256", "R@512"]
    assert recall["R@512"] == 100  # there are twelve labels
    assert "Recall of the labels that are retrieved" in printed
    assert row(printed, "paper") == ["-", "-", "-", "92.18"]
    assert row(printed, "measured") == ["100.00"] * 4
    assert result["recall"]["paper"]["R@512"] == 92.18


def test_recall_of_few_retrieved_labels(papers, colours, tiny_encoder, monkeypatch):
    monkeypatch.setattr(papers, "RETRIEVED", (2, 6))
    texts, Y, _ = colours
    model = LightXMLClassifier(
        tiny_encoder, max_epochs=1, max_length=16, max_leaf_size=3, random_state=0
    ).fit(texts[:45], Y[:45])
    found = papers.retrieval(model, Bunch(docs_test=texts[45:], Y_test=Y[45:]))
    ids, dense = model.shortlist(texts[45:], 6), Y[45:].toarray()
    for k in (2, 6):
        hits = np.take_along_axis(dense, ids[:, :k], 1).sum(1)
        assert found[f"R@{k}"] == round(100 * np.mean(hits / dense.sum(1)), 2)
    assert 0 < found["R@2"] < found["R@6"] < 100


def test_no_recall_where_all_labels_are_ranked(run, tiny_encoder):
    printed, result = run("grank", "Eurlex-4K", [tiny_encoder], SMALL)
    assert only_run(result)["measured"]["recall"] == {} and result["recall"] is None
    assert "retrieved" not in printed


def test_size_is_that_of_the_folder(papers, tmp_path, colours):
    texts, Y, _ = colours
    model = LightDXMLClassifier(max_epochs=1, label_dim=8).fit(texts, Y)
    model.save_pretrained(tmp_path / "saved")
    files = [file for file in (tmp_path / "saved").rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 2**20
    assert papers.folder_size(model) == pytest.approx(size, abs=0.001)


def test_results_are_kept_when_the_disk_is_full(papers):
    class Full:
        def save_pretrained(self, folder):
            raise OSError("No space left on device")

    assert papers.folder_size(Full()) is None


def test_units_of_costs(papers):
    measured = {"fit_s": 7200.0, "predict_ms_a_document": 0.5, "model_MiB": 1536.0}
    assert papers.costs(measured, n_docs=1000, n_epochs=4) == {
        "training s": 7200,
        "training h": 2,
        "training min an epoch": 30,
        "training ms a document": 1800,
        "prediction ms": 0.5,
        "size MB": 1536,
        "size GB": 1.5,
    }
    unknown = papers.costs(measured | {"model_MiB": None}, 1000, 4)
    assert unknown["size MB"] is unknown["size GB"] is None


def test_names_of_results_tell_runs_apart(run, tiny_encoder, tmp_path):
    run("gudn", "Eurlex-4K", [tiny_encoder], GUDN + " --row bert")
    run("lightdxml", "EURLex-4K", None, CYCLE + " --beta 0.25 --released-code")
    names = [path.name for path in (tmp_path / "results").iterdir()]
    (of_row,) = (name for name in names if "gudn" in name)
    assert of_row.startswith("papers-gudn-Eurlex-4K-bert-")
    (of_beta,) = (name for name in names if "lightdxml" in name)
    assert "released-code" in of_beta and "beta-0.25" in of_beta
