"""The recipes for clusters predict what one process does."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

RECIPES = Path(__file__).parents[1] / "examples" / "prediction"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.py")), ids=lambda p: p.stem)
def test_recipe_is_short(path):
    assert sum(map(bool, path.read_text().splitlines())) <= 20


@pytest.fixture
def texts(tmp_path, colour_rows):
    """A folder of two Parquet files."""
    pytest.importorskip("pyarrow")
    (tmp_path / "texts").mkdir()
    rows = pd.DataFrame({"text": [row["text"] for row in colour_rows]})
    rows[:35].to_parquet(tmp_path / "texts" / "part-0.parquet")
    rows[35:].to_parquet(tmp_path / "texts" / "part-1.parquet")
    return tmp_path / "texts"


def run(recipe, *args):
    command = [sys.executable, RECIPES / f"{recipe}.py", *map(str, args)]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYSPARK_PYTHON": sys.executable,
    }
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


def check(out, classifier, colour_rows):
    found = pd.concat(map(pd.read_parquet, sorted(out.glob("*.parquet"))))
    texts = [row["text"] for row in colour_rows]
    names, _ = classifier.predict_topk(texts, 5, return_names=True)
    expected = dict(zip(texts, names.tolist(), strict=True))
    assert sorted(found["text"]) == sorted(texts)
    for text, labels in zip(found["text"], found["predicted"], strict=True):
        assert list(labels) == expected[text]


def test_dask(texts, tmp_path, colour_model, colour_classifier, colour_rows):
    distributed = pytest.importorskip("distributed")
    options = dict(processes=False, protocol="tcp://", dashboard_address=None)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, **options) as one:
        args = texts, tmp_path / "out", one.scheduler_address
        run("dask_dataframe", colour_model, *args)
    check(tmp_path / "out", colour_classifier, colour_rows)


@pytest.mark.parametrize("recipe, package", [("ray_data", "ray"), ("spark", "pyspark")])
def test_other_clusters(
    recipe, package, texts, tmp_path, colour_model, colour_classifier, colour_rows
):
    pytest.importorskip(package)
    run(recipe, colour_model, texts, tmp_path / "out")
    check(tmp_path / "out", colour_classifier, colour_rows)
