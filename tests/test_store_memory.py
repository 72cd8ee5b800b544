"""Memory does not grow with the number of documents of a store."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the system does not tell RssAnon"
)
def test_memory_does_not_grow_with_the_documents(tiny_encoder, tmp_path):
    script = Path(__file__).with_name("store_memory.py")
    command = [sys.executable, script, tiny_encoder, tmp_path, "1000", "4000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many = json.loads(done.stdout)
    assert few.keys() == many.keys() and len(few) == 3
    more = 3000 * 20_000 / 2**20  # MiB of the additional texts
    for part, peak in few.items():
        found = f"{part}: {peak:.0f} MiB, then {many[part]:.0f} MiB"
        assert many[part] <= 1.1 * peak and many[part] - peak < more / 2, found
