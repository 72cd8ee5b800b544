"""benchmarks/papers.py: its command, on a small folder."""

import pytest
from papers_examples import CLUSTERED, CYCLE, GUDN, READER, SMALL, only_run, row

from skxmc import LightDXMLClassifier, LightXMLClassifier, TReaderXMLClassifier
from skxmc.datasets import load_xmc_repository
from skxmc.metrics import ndcg_at_k, precision_at_k

pytest_plugins = ["papers_fixtures"]


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
    assert seeds == [0, 1, 2] and result["scale"] == "raw"
    assert [len(epochs) for epochs in only_run(result)["epochs"].values()] == [1, 1, 1]


def test_ensemble_of_encoders(run, three_encoders):
    printed, result = run("grank", "Eurlex-4K", three_encoders, SMALL, "--ensemble")
    paper = "88.05 76.67 63.50 - - 45.04 53.28 57.12"
    assert row(printed, "paper, ensemble") == paper.split()
    assert "Label texts: the label names" in printed and result["label_texts"]
    encoders = [
        settings["encoder"] for settings in only_run(result)["settings"].values()
    ]
    assert encoders == three_encoders and result["scale"] == "probability"


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


def test_released_code_of_lightxml(run, three_encoders):
    _, roberta, _ = three_encoders
    words = SMALL.replace("--batch-size 8 ", "") + " --released-code"
    _, result = run("lightxml", "Wiki10-31K", [roberta], words)
    assert result["released_code"]
    (settings,) = only_run(result)["settings"].values()
    assert (settings["batch_size"], settings["accumulate"]) == (8, 2)
    assert settings["swa_start"] == 10 / 35


@pytest.mark.parametrize(
    "system, dataset, words, message",
    [
        ("grank", "Eurlex-4K", SMALL, "identity embeddings only"),
        ("gudn", "Eurlex-4K", GUDN, "the guide uses label columns"),
        ("treaderxml", "EURLex", READER, "labels are described by top terms"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*label columns")
def test_without_label_texts(run, tiny_encoder, system, dataset, words, message):
    encoder = None if system == "treaderxml" else [tiny_encoder]
    words += " --no-label-texts"
    printed, result = run(system, dataset, encoder, words)
    assert f"No label texts (--no-label-texts): {message}" in printed
    assert not result["label_texts"]


def test_seed_and_name(run, tmp_path):
    words = CYCLE + " --random-state 7 --name of-mine"
    _, result = run("lightdxml", "EURLex-4K", None, words)
    assert only_run(result)["settings"]["model"]["random_state"] == 7
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["of-mine.json"]


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
