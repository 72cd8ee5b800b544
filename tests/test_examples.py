"""The examples of the gallery run; those that take minutes are marked slow."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = {"clusters", "metrics", "pipeline", "repository_format", "save_and_serve"}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[] if path.stem[5:] in QUICK else pytest.mark.slow)
        for path in sorted(EXAMPLES.glob("plot_*.py"))
    ],
    ids=lambda path: path.stem,
)
def test_example_runs(path, monkeypatch, tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    with plt.rc_context({"backend": "agg"}):
        runpy.run_path(str(path), run_name="__main__")
        assert plt.get_fignums() or path.stem == "plot_save_and_serve"
    plt.close("all")
