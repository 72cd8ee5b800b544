"""benchmarks/papers.py --list: every table and figure of the papers, once."""

import importlib
import shlex
import sys

import pytest

pytest_plugins = ["papers_fixtures"]

# Tables and figures that report results. The others describe data sets, settings,
# complexities or the network.
PLACES = {
    "lightxml": ["Table 3", "Table 4", "Table 5", "Table 6", "Fig. 2"],
    "grank": ["Fig. 3", "Table III", "Table IV", "Table V", "Table VI"],
    # The section has a result in words, without a table.
    "lightdxml": ["Table II", "Table IV", "Fig. 2", "Sec. IV-G"],
    "gudn": [f"Table {i}" for i in range(2, 9)] + ["Fig. 5", "Fig. 6"],
    "treaderxml": ["Table 2", "Table 3", "Table 4"],
}
# Data sets of each place, where it does not have all that papers.py knows.
LARGE = ["Wiki-500K", "Amazon-670K"]
DATASETS = {
    ("lightxml", "Table 4"): LARGE,
    ("lightxml", "Table 5"): LARGE,
    ("lightxml", "Table 6"): LARGE,
    ("lightxml", "Fig. 2"): LARGE,
    ("grank", "Fig. 3"): LARGE,
    ("grank", "Table IV"): ["Eurlex-4K", "Wiki10-31K"],
    ("grank", "Table VI"): LARGE,
    ("lightdxml", "Table IV"): ["EURLex-4K", "Wiki10-31K", "WikiSeeAlsoTitles-350K"],
    ("lightdxml", "Sec. IV-G"): [],
    ("treaderxml", "Table 3"): ["AmazonCat-13K"],
    ("treaderxml", "Table 4"): ["AmazonCat-13K"],
}


@pytest.fixture
def experiments(papers):
    return sys.modules["_experiments"]


def each(experiments):
    """All experiments with their systems."""
    for system, listed in experiments.EXPERIMENTS.items():
        for experiment in listed:
            yield system, experiment


def test_every_place_once(experiments):
    places = {
        system: [experiment.place for experiment in listed]
        for system, listed in experiments.EXPERIMENTS.items()
    }
    assert places == PLACES


def test_data_sets(experiments, recipes):
    for system, experiment in each(experiments):
        known = DATASETS.get((system, experiment.place), list(recipes.SETTINGS[system]))
        assert list(experiment.datasets) == known


def test_every_command_parses(experiments, papers, recipes, monkeypatch):
    # Rows of parameters that the classifiers lack are tested below.
    monkeypatch.setattr(papers, "refusal", lambda *_: None)
    n_commands = 0
    for system, experiment in each(experiments):
        for line in experiments.commands(system, experiment):
            python, script, *words = shlex.split(line)
            assert (python, script) == ("python", "benchmarks/papers.py")
            for dataset in experiment.datasets:
                given = [w.replace("DATASET", dataset) for w in words]
                options, parameters = papers.parse(given)
                assert (options.system, options.dataset) == (system, dataset)
                # Whatever follows is parameters of the classifier.
                model = recipes.CLASSES[system]
                model(**parameters)._check_parameters()
                n_commands += 1
    assert n_commands > 100


def test_every_row_is_listed(experiments, recipes):
    listed = {
        (s, row) for s, experiment in each(experiments) for row in experiment.rows
    }
    assert listed == {(s, row) for s, rows in recipes.ROWS.items() for row in rows}


def test_every_published_row_is_listed(experiments, published):
    # Each row of results belongs to a place whose commands train it on this data set.
    trained = set()
    for system, experiment in each(experiments):
        for dataset in experiment.datasets:
            rows = {"ensemble"} if "--ensemble" in experiment.options else set()
            rows |= {"single model"} if "" in experiment.options else set()
            rows |= {o.removeprefix("--") for o in experiment.options if "texts" in o}
            trained |= {(system, dataset, row) for row in rows | {*experiment.rows}}
    for system, of_system in published.RESULTS.items():
        for dataset, rows in of_system.items():
            for row in rows:
                assert (system, dataset, row) in trained


def test_other_data(experiments, papers, monkeypatch):
    for system, experiment in each(experiments):
        if experiment.offline:
            script, *words = experiment.offline.split()
            module = importlib.import_module(script.removesuffix(".py"))
            monkeypatch.setattr(sys, "argv", [script, *words])
            options, parameters = module.parse()
            # gudn-lengths is GUDN with texts of several lengths.
            assert getattr(options, "system", system).startswith(system)
            assert not parameters


def test_what_cannot_be_trained_is_missing(experiments, recipes, monkeypatch):
    (table,) = (e for e in experiments.EXPERIMENTS["gudn"] if e.place == "Table 7")
    assert experiments.missing("gudn", table) == []
    monkeypatch.setitem(recipes.ROWS["gudn"], "multi-hot", {"label_branch": "pictures"})
    (reason,) = experiments.missing("gudn", table)
    assert reason.startswith("--row multi-hot: ") and "'pictures'" in reason


def test_the_list(papers, experiments, capsys):
    with pytest.raises(SystemExit) as ended:
        papers.main(["--list"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed == experiments.describe() + "\n"
    lines = printed.splitlines()
    for name in papers.PAPERS.values():
        assert name in lines
    for _, experiment in each(experiments):
        assert f"  {experiment.place}: {experiment.about}" in lines
        for text in (experiment.missing, experiment.note):
            assert text in printed
