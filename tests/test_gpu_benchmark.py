"""The script for a machine with a GPU runs whole on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

GPU = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def test_rehearsal(tmp_path):
    command = [sys.executable, GPU, "--device", "cpu", "--small", "--out", tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    for part in ("tests", "equality", "scale", "memory"):
        assert found[part]["passed"] and "error" not in found[part]
    assert "skipped" in found["tests"]["summary"]
    same = [found["equality"][name]["same_labels"] for name in ("GRank", "LightDXML")]
    assert same == [1, 1]
    rows = found["scale"]["rows"]
    assert {(row["batch_size"], row["labels"]) for row in rows} == {
        *((8, 500), (8, 2000), (16, 500), (16, 2000))
    }
    assert {row["head"] for row in rows} == {"dense", "all", "all, bf16", "clusters"}
    assert all(0 < row["of_matrix_rate"] for row in rows if row["head"] == "dense")
    assert found["memory"]["estimated_GiB"] > 0
