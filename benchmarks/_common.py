"""Shared by the benchmarks: parameters, machine, results file, peers' environment."""

import ast
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from sklearn.model_selection import train_test_split

RESULTS = Path(__file__).parent / "results"
PACKAGES = ["numpy", "scipy", "torch", "scikit-learn", "transformers"]

# libpecos 1.2.8 pins numpy<2 and scipy<1.14, so the peers have their own environment.
# The other requirements of libpecos, torch and transformers, are gigabytes that only
# XR-Transformer needs, and are left out.
PEERS = ["libpecos==1.2.8", "omikuji==0.5.2", "napkinxc==0.7.2"]
PEERS_NEED = ["numpy<2", "scipy<1.14", "scikit-learn"]
PEERS_ENV = Path.home() / ".cache" / "skxmc-peers"


def parse_parameters(parser, argv=None):
    """Options of a parser, and a dict of all other arguments, given as --name value."""
    known, rest = parser.parse_known_args(argv)
    if len(rest) % 2 or not all(name.startswith("--") for name in rest[::2]):
        parser.error(f"parameters come as --name value, got {rest}")
    names = [name[2:].replace("-", "_") for name in rest[::2]]
    return known, dict(zip(names, map(_literal, rest[1::2]), strict=True))


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def split_data(data, held_out=0.0):
    """Choose the documents to train on, and those to evaluate on.

    Parameters
    ----------
    data : Bunch
        Data set with a training and a test split.
    held_out : float, default=0.0
        Share of the training split to evaluate on. 0 evaluates on the test split.

    Returns
    -------
    texts, test_texts : list of str
    Y, Y_test : csr matrix
    split : str
        Name of what is evaluated on, for results.
    """
    texts, Y = data.texts_train, data.Y_train.tocsr()
    if not held_out:
        return texts, data.texts_test, Y, data.Y_test.tocsr(), "test"
    parts = train_test_split(texts, Y, test_size=held_out, random_state=0)
    return *parts, f"{held_out:g} of the training split"


def machine():
    """Describe the machine: processor, cores, memory in GiB, system.

    "bf16" says whether the processor has instructions for bf16. If so, models with
    precision="auto" compute in bf16.
    """
    about = Path("/proc/cpuinfo").read_text()
    cpu = platform.processor() or "unknown"
    for line in about.splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu,
        "bf16": "avx512_bf16" in about,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def versions(packages):
    """Versions of packages installed in this environment."""
    return {package: metadata.version(package) for package in packages}


def write_json(name, content):
    """Write content, machine and versions to benchmarks/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"machine": machine(), "versions": versions(PACKAGES), **content}
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(f"written: {path}")
    return path


def peers_python(env=PEERS_ENV):
    """Return the Python of the peers' environment, which is created on first use."""
    env = Path(env).expanduser()
    python, done = env / "bin" / "python", env / "skxmc-peers.txt"
    wanted = "\n".join(PEERS + PEERS_NEED)
    if done.exists() and done.read_text() == wanted:
        return python
    print(f"installing {', '.join(PEERS)} into {env}")
    subprocess.run([sys.executable, "-m", "venv", env], check=True)
    pip = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", PEERS[0]], check=True)
    subprocess.run([*pip, *PEERS_NEED, *PEERS[1:]], check=True)
    done.write_text(wanted)
    return python
