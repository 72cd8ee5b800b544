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


@pytest.mark.parametrize("name", ["icd10cm-chapters", "icd10cm-chapters-rates"])
def test_tables_of_fits_that_go_on_are_those_of_the_results(name, systems):
    import going_on

    with open(going_on.TABLES / f"going-on-{name}.csv", newline="") as file:
        assert list(csv.reader(file)) == going_on.table(name)


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


def test_ablations_are_those_of_the_results(systems):
    found = systems.find_ablations()
    written = {path.stem for path in systems.TABLES.glob("ablations-*.csv")}
    assert written == set(found) and len(found) > 3
    for name, paths in found.items():
        with open(systems.TABLES / f"{name}.csv", newline="") as file:
            header, *rows = csv.reader(file)
        assert header[:2] == ["", "parameters"] and rows
        results = [json.loads(path.read_text()) for path in paths]
        (system,) = {result["system"] for result in results}
        titles = {title for result in results for title in result["rows"]}
        assert len(rows) == len(titles) and {row[0] for row in rows} == titles
        for title, parameters, *cells in rows:
            changed = systems.PARTS[system][title]
            assert (parameters == "defaults") == (changed == {})
            expected = {
                f"{result['data']} {metric}": f"{value:.1f}"
                for result in results
                for metric, value in result["rows"].get(title, {}).items()
                if isinstance(value, float)
            }
            for column, cell in zip(header[2:], cells, strict=True):
                assert cell == expected.get(column, "")


def test_ablations_on_several_data_sets_are_one_table(systems, elsewhere):
    for name, data in (
        ("gudn-icd10cm", "icd10cm"),
        ("gudn-biotools-edam", "biotools-edam"),
        ("gudn-icd10cm-seeds", "icd10cm"),
    ):
        result = {"system": "gudn", "data": data, "rows": {}}
        path = systems._common.RESULTS / f"ablations-{name}.json"
        path.write_text(json.dumps(result))
    tables = {
        name: [path.stem for path in paths]
        for name, paths in systems.find_ablations().items()
    }
    assert tables == {
        "ablations-gudn": ["ablations-gudn-biotools-edam", "ablations-gudn-icd10cm"],
        "ablations-gudn-icd10cm-seeds": ["ablations-gudn-icd10cm-seeds"],
    }


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
