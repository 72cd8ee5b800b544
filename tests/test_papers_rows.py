"""benchmarks/papers.py: rows of ablations, means of runs, retrieved labels, costs."""

import time

import numpy as np
import pytest
from papers_examples import CLUSTERED, CYCLE, GUDN, READER, SMALL, only_run, row
from sklearn.utils import Bunch

from skxmc import LightDXMLClassifier, LightXMLClassifier
from skxmc.nn.label_cycle import ShortlistedExamples

pytest_plugins = ["papers_fixtures"]


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


def test_bce_with_label_texts(run, tiny_encoder):
    words = SMALL + " --row bce-label-texts"
    printed, result = run("grank", "Eurlex-4K", [tiny_encoder], words)
    assert result["label_texts"]
    assert "no figures of bce-label-texts on Eurlex-4K" in printed


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


def test_modules_of_lightdxml(run):
    printed, result = run("lightdxml", "EURLex-4K", None, CYCLE)
    line = next(x for x in printed.splitlines() if x.startswith("Seconds of the mod"))
    below = printed[printed.index(line) :]
    assert row(below, "paper") == "21.60 7.70 45.00".split()
    measured = only_run(result)["measured"]
    assert list(measured["modules"]) == ["M1", "M2", "M3, M4"]
    assert min(measured["modules"].values()) >= 0
    # Each of the four numbers is rounded.
    assert sum(measured["modules"].values()) <= measured["fit_s"] + 0.02
    assert result["modules"]["measured"] == measured["modules"]


def test_modules_are_timed_while_a_fit_runs(papers, monkeypatch):
    cycle = ShortlistedExamples
    monkeypatch.setattr(cycle, "renew_label_vectors", lambda self, s: time.sleep(s))
    monkeypatch.setattr(cycle, "_renew_shortlists", lambda self, s: time.sleep(s))
    before = vars(cycle)["_renew_shortlists"]
    examples = object.__new__(cycle)
    with papers.timed_modules() as seconds:
        examples.renew_label_vectors(0.03)
        examples.renew_label_vectors(0.03)
        examples._renew_shortlists(0.02)
    assert seconds["M1"] > 0.05 and seconds["M2"] > 0.01 and seconds["M3, M4"] >= 0
    assert vars(cycle)["_renew_shortlists"] is before


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
