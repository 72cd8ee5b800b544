"""benchmarks/systems.py: the tables of the documentation are those of its files."""

import csv
import json
import pathlib
import sys

import pytest

import skxmc

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def systems(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("systems", "_common"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import systems

    return systems


@pytest.fixture
def elsewhere(systems, monkeypatch, tmp_path):
    """An empty folder of results."""
    monkeypatch.setattr(systems._common, "RESULTS", tmp_path)
    return tmp_path


def write_quality(folder, name, figure, **machine):
    content = {
        "machine": machine,
        "metrics": dict.fromkeys(("P@1", "P@3", "P@5", "nDCG@5"), figure)
        | dict.fromkeys(("PSP@1", "PSP@5", "R@10"), 1.0),
        "fit_core_minutes": 7.4,
    }
    (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["icd10cm", "tibkat-core-en", "biotools-edam"])
def test_tables_are_those_of_the_results(systems, name):
    with open(systems.TABLES / f"{name}.csv", newline="") as file:
        assert list(csv.reader(file)) == systems.table(name)


@pytest.mark.parametrize("name", ["icd10cm", "tibkat-core-en", "biotools-edam"])
def test_costs_are_those_of_the_results(systems, name):
    path = systems._common.RESULTS / f"peers-{name}.json"
    results = json.loads(path.read_text())["results"]
    with open(systems.TABLES / f"costs-{name}.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert [row[0] for row in rows] == list(systems.PEERS.values())
    for (_, *cells), peer in zip(rows, systems.PEERS, strict=True):
        one = results[peer]
        numbers = [one["fit_s"], one["predict_ms_a_document"], one["predict_ms_alone"]]
        numbers += [one["model_MB"], one["peak_MB"]]
        for cell, number in zip(cells, numbers, strict=True):
            places = len(cell.partition(".")[2])
            assert cell == ("" if number is None else f"{number:.{places}f}")


@pytest.mark.parametrize(
    "system", ["grank", "gudn", "lightdxml", "lightxml", "treaderxml"]
)
def test_ablations_are_those_of_the_results(systems, system):
    with open(systems.TABLES / f"ablations-{system}.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:2] == ["", "parameters"] and rows
    paths = sorted(systems._common.RESULTS.glob(f"ablations-{system}-*.json"))
    results = [json.loads(path.read_text()) for path in paths]
    titles = {title for result in results for title in result["rows"]}
    assert len(rows) == len(titles) and {row[0] for row in rows} == titles
    for title, parameters, *cells in rows:
        assert (parameters == "defaults") == (systems.PARTS[system][title] == {})
        expected = {
            f"{result['data']} {metric}": f"{value:.1f}"
            for result in results
            for metric, value in result["rows"].get(title, {}).items()
            if metric in systems._OF_ABLATIONS
        }
        for name, cell in zip(header[2:], cells, strict=True):
            assert cell == expected.get(name, "")


def test_the_best_is_bold(systems, elsewhere):
    write_quality(elsewhere, "quality-icd10cm-medium", 50.04)
    write_quality(elsewhere, "quality-icd10cm-gudn", 49.96, bf16=True)
    header, first, second = systems.table("icd10cm")
    columns = [name.replace("\\", "") for name in header]
    assert columns == ["", *systems.COLUMNS, "training"]
    assert first == ["GRankClassifier", *["**50.0**"] * 4, *["**1.0**"] * 3, "7"]
    assert second == ["GUDNClassifier", *["50.0"] * 4, *["**1.0**"] * 3, "7 (bf16)"]


def test_only_what_is_missing_is_trained(systems, elsewhere):
    every = systems.commands("icd10cm")
    assert len(every) == len(systems.ROWS["icd10cm"]) + 1  # and the peers
    write_quality(elsewhere, "quality-icd10cm-clustered", 50.0)
    left = systems.commands("icd10cm")
    assert len(left) == len(every) - 1
    assert not any("quality-icd10cm-clustered" in command for command in left)
    again = systems.commands("icd10cm", ["GRankClassifier, encoder alone, clustered"])
    assert again == every


@pytest.mark.parametrize("name", ["icd10cm", "tibkat-core-en", "biotools-edam"])
def test_commands_are_of_parameters_that_there_are(systems, elsewhere, name):
    for script, data, *words in systems.commands(f"some/{name}"):
        assert pathlib.Path(script).exists() and data == f"some/{name}"
        options = dict(zip(words[::2], words[1::2], strict=True))
        if not options:
            continue  # the peers
        system = getattr(skxmc, options.pop("--system"))
        effort = options.pop("--effort", None)
        assert effort is None or effort in system._efforts
        assert options.pop("--name").startswith(f"quality-{name}")
        names = {option[2:].replace("-", "_") for option in options}
        assert names <= system().get_params().keys()
