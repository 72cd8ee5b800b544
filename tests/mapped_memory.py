"""Load a model folder, predict, and tell how its files lie in memory, as JSON.

    python tests/mapped_memory.py FOLDER

Run by tests/test_persistence_mapped.py, twice at the same time. After it has loaded,
the process waits for a line of input, tells, and waits until its input is closed.
"""

import json
import re
import sys
from pathlib import Path

import torch

import skxmc


def mapped(folder):
    """Return KiB of each field of /proc/self/smaps, summed by file of a folder."""
    found, file = {}, None
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *values = line.split()
        if re.fullmatch("[0-9a-f]+-[0-9a-f]+", name):
            path = Path(values[-1])
            file = path.relative_to(folder) if path.is_relative_to(folder) else None
        elif file and values[-1] == "kB":
            fields = found.setdefault(file.as_posix(), {})
            fields[name[:-1]] = fields.get(name[:-1], 0) + int(values[0])
    return found


def main():
    torch.set_num_threads(1)
    folder = sys.argv[1]
    model = skxmc.load(folder, device="cpu")
    ids, _ = model.predict_topk(["red fox", "dog"], 3)
    print(json.dumps(ids.tolist()), flush=True)
    sys.stdin.readline()  # until the other process has loaded, too
    print(json.dumps(mapped(folder)), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
