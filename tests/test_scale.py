"""benchmarks/scale.py: its tables are those of its results, and its estimates hold."""

import csv
import json
import pathlib
import sys

import pytest

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("scale", "_common", "_heads", "_scale_tables", "_steps"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import scale

    return scale


def test_tables_are_those_of_the_results(scale):
    content = json.loads((scale.RESULTS / "scale.json").read_text())
    tables = sys.modules["_scale_tables"]
    made = {"scale": tables.head_table(content["heads"])}
    if content["documents"]:
        made["scale-documents"] = tables.document_table(content["documents"])
    for name, table in made.items():
        with (tables.DOCS / "tables" / f"{name}.csv").open(newline="") as file:
            assert list(csv.reader(file)) == table


def test_shares_are_shown_where_they_were_measured(scale):
    tables = sys.modules["_scale_tables"]
    row = {"labels": 5, "dim": 3, "head": "all", "step_s": 1.0, "peak_MB": 2000}
    row["predict_ms"] = 0.5
    rows = [row | {"loss": loss} for loss in ("bce", "grank")]
    assert tables.head_table(rows)[1] == [
        "5 x 3",
        "all",
        "1",
        "1",
        "2,000",
        "2,000",
        "0.50",
    ]
    rows[0]["share_of_step"] = 0.125
    header, found = tables.head_table(rows)
    assert found[header.index("BCE, share in %")] == "12"
    assert found[header.index("GRank, share in %")] == "-"
    fit = {"documents": 4000, "fit_s": 8.0, "peak_MB": 1500}
    assert tables.document_table([fit])[1] == ["4,000", "8.0", "2.00", "1,500"]


def test_rows_that_are_measured_again_replace_others(scale):
    old = [{"labels": n, "loss": "bce", "head": "all", "x": 0} for n in (5, 7)]
    new = [old[1] | {"x": 1}, old[1] | {"head": "dense"}, old[1] | {"labels": 6}]
    found = scale.replace_rows("heads", old, new)
    assert [(row["labels"], row["head"]) for row in found] == [
        *((5, "all"), (6, "all"), (7, "all"), (7, "dense"))
    ]
    assert found[2]["x"] == 1


def test_estimates_of_memory(scale):
    n_labels, dim = 3_000_000, 128
    about = ("bce", "all", n_labels, dim, "cpu")
    table = (n_labels + 1) * (dim + 1) * 4 / 2**30
    # The label vectors, four bytes a label, and little for the scores of a chunk.
    assert scale.estimate(*about) == pytest.approx(table + n_labels * 4 / 2**30, 0.05)
    halved = scale.estimate("bce", "all, bf16", n_labels, dim, "cpu")
    assert halved == pytest.approx(table / 2 + n_labels * 4 / 2**30, 0.05)
    # Weights, a gradient and two moments; and the scores of 64 documents.
    dense = scale.estimate("grank", "dense", n_labels, dim, "cpu")
    assert 4 * table < dense < 4 * table + 5 * 64 * n_labels * 4 / 2**30
