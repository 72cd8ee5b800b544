"""Train what is missing of the results in the docs, and write the docs' tables.

    python benchmarks/systems.py icd10cm DIR DIR
    python benchmarks/systems.py icd10cm --again GUDNClassifier
    python benchmarks/systems.py --tables

Each row of this package is a run of `quality.py` in its own process. The rows of the
peers come from one run of `peers.py`, and so does that of LightDXML if it has no run of
its own. A run whose file is already in benchmarks/results is not repeated, unless
`--again` names it. The tables are written to docs/tables, including those for the
results of `ablations.py`. `--tables` trains nothing and only writes the tables.
"""

import argparse
import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import _common
from ablations import ROWS as PARTS

TABLES = Path(__file__).parents[1] / "docs" / "tables"
_OF_ABLATIONS = ("P@1", "P@5", "PSP@5")
COLUMNS = ("P@1", "P@3", "P@5", "nDCG@5", "PSP@1", "PSP@5", "R@10")

# For each data set: the rows, each with the suffix of its file and its parameters.
_ICD = "--max-length 32 --max-epochs 6 --validation-fraction 0.02"
_TIBKAT = "--max-length 64 --max-epochs 4 --validation-fraction 0.02"
_BIOTOOLS = "--max-length 128 --max-epochs 5 --validation-fraction 0.02"
# All layers are trained, and nothing stands beside the reading.
_ALL_LAYERS = (
    "--trained-layers all --bag-of-words False --n-negatives None "
    "--label-learning-rate None --neighbor-weight 0"
)
_CLUSTERED = "--max-leaf-size 40 --predict-shortlist 9999"
_LIGHTXML = "--batch-size 64 --learning-rate 2e-4 --schedule linear"
_GUDN = "--batch-size 64 --learning-rate 2e-4"
_WORDS = "--validation-fraction 0.02"
ROWS = {
    "icd10cm": {
        "GRankClassifier, low effort": ("-low", "--effort low"),
        "GRankClassifier": ("-medium", "--effort medium --max-length 32"),
        "GRankClassifier, high effort": ("-high", "--effort high --max-length 32"),
        "GRankClassifier, high effort, all layers, 4 epochs": (
            "-high-all",
            "--effort high --max-length 32 --trained-layers all --max-epochs 4",
        ),
        "GRankClassifier, high effort, all layers, 8 epochs": (
            "-high-all-8",
            "--effort high --max-length 32 --trained-layers all",
        ),
        "GRankClassifier, encoder alone": ("", f"{_ICD} {_ALL_LAYERS}"),
        "GRankClassifier, encoder alone, clustered": (
            "-clustered",
            f"{_ICD} {_ALL_LAYERS} {_CLUSTERED} --n-shortlist 64",
        ),
        "LightDXMLClassifier": ("-lightdxml", ""),
        "LightXMLClassifier": (
            "-lightxml",
            f"{_ICD} {_LIGHTXML} --max-epochs 4 --n-layers 1",
        ),
        "GUDNClassifier": (
            "-gudn",
            f"{_ICD} {_GUDN} --label-length 16 --max-epochs 3 --n-layers 1",
        ),
        "TReaderXMLClassifier": ("-treaderxml", f"{_WORDS} --max-length 32"),
    },
    "tibkat-core-en": {
        "GRankClassifier, low effort": ("-low", "--effort low"),
        "GRankClassifier": ("-medium", "--effort medium --max-length 64"),
        "GRankClassifier, high effort": ("-high", "--effort high --max-length 64"),
        "GRankClassifier, encoder alone": ("", f"{_TIBKAT} {_ALL_LAYERS}"),
        "GRankClassifier, encoder alone, clustered": (
            "-clustered",
            f"{_TIBKAT} {_ALL_LAYERS} {_CLUSTERED} --n-shortlist 16 "
            "--head-learning-rate 2e-4",
        ),
        "LightDXMLClassifier": ("-lightdxml", ""),
        "LightXMLClassifier": ("-lightxml", f"{_TIBKAT} {_LIGHTXML}"),
        "GUDNClassifier": (
            "-gudn",
            f"{_TIBKAT} {_GUDN} --label-length 16 --max-epochs 2",
        ),
        "TReaderXMLClassifier": ("-treaderxml", f"{_WORDS} --max-length 100"),
    },
    "biotools-edam": {
        "GRankClassifier, low effort": ("-low", "--effort low"),
        "GRankClassifier": ("-medium", "--effort medium --max-length 128"),
        "GRankClassifier, high effort": ("-high", "--effort high --max-length 128"),
        "GRankClassifier, encoder alone": ("", f"{_BIOTOOLS} {_ALL_LAYERS}"),
        "LightDXMLClassifier": ("-lightdxml", ""),
        "LightXMLClassifier": ("-lightxml", f"{_BIOTOOLS} {_LIGHTXML}"),
        "GUDNClassifier": (
            "-gudn",
            f"{_BIOTOOLS} {_GUDN} --label-length 32 --max-epochs 3",
        ),
        "TReaderXMLClassifier": ("-treaderxml", f"{_WORDS} --max-length 200"),
    },
}
_ALONE = "predict_ms_alone"
PEERS = {
    "lightdxml": "LightDXMLClassifier",
    "pecos": "PECOS XR-Linear",
    "omikuji": "omikuji Parabel",
    "napkinxc": "napkinXC PLT",
    "knn": "30 nearest neighbours",
}


def commands(data, again=()):
    """Commands for the missing results, each as a list of arguments to Python."""
    name = Path(data).name
    here = Path(__file__).parent
    found = []
    for row, (suffix, parameters) in ROWS[name].items():
        file = f"quality-{name}{suffix}"
        if row in again or not _path(file).exists():
            system = row.partition(",")[0]
            found.append(
                [str(here / "quality.py"), data, "--system", system, "--name", file]
                + _without_repetition(parameters.split())
            )
    if "peers" in again or not _path(f"peers-{name}").exists():
        found.append([str(here / "peers.py"), data])
    return found


def _without_repetition(words):
    """Keep the last value of each option."""
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    return [word for pair in pairs.items() for word in pair]


def _path(name):
    return _common.RESULTS / f"{name}.json"


def table(name):
    """Rows of a data set's table, header first; the best value of a column is bold."""
    rows = {}
    for row, (suffix, _) in ROWS[name].items():
        path = _path(f"quality-{name}{suffix}")
        if path.exists():
            result = json.loads(path.read_text())
            minutes = f"{result['fit_core_minutes']:.0f}"
            if result["machine"].get("bf16"):
                minutes += " (bf16)"
            rows[row] = result["metrics"], minutes
    path = _path(f"peers-{name}")
    if path.exists():
        result = json.loads(path.read_text())
        for peer, title in PEERS.items():
            if peer in result["results"] and title not in rows:
                one = result["results"][peer]
                minutes = math.ceil(one["fit_s"] * result["threads"] / 60)
                rows[title] = one["metrics"], f"< {minutes}" if minutes else "0"
    best = {c: max(metrics[c] for metrics, _ in rows.values()) for c in COLUMNS}
    # Sphinx would turn R@10 into an e-mail address.
    lines = [["", *(c.replace("@", r"\@") for c in COLUMNS), "training"]]
    for title, (metrics, minutes) in rows.items():
        cells = [
            f"**{metrics[c]:.1f}**" if metrics[c] == best[c] else f"{metrics[c]:.1f}"
            for c in COLUMNS
        ]
        lines.append([title, *cells, minutes])
    return lines


def costs(name):
    """Rows of the table of costs of LightDXML and the peers, header first."""
    result = json.loads(_path(f"peers-{name}").read_text())
    lines = [["", "training s", "ms per document", "ms alone", "model MB", "peak MB"]]
    for peer, title in PEERS.items():
        one = result["results"].get(peer)
        if one is None:
            continue
        size = "" if one["model_MB"] is None else f"{one['model_MB']:.0f}"
        times = [f"{one[key]:.2f}" for key in ("predict_ms_a_document", _ALONE)]
        lines.append([title, f"{one['fit_s']:.0f}", *times, size, str(one["peak_MB"])])
    return lines


def find_ablations():
    """Results of ablations by table: the name of the table, and paths of JSON files.

    The files of one system on several data sets make one table. A file of any other
    name is a table of its own.
    """
    tables = {}
    for path in sorted(_common.RESULTS.glob("ablations-*.json")):
        file = json.loads(path.read_text())
        table = f"ablations-{file['system']}"
        is_own = path.stem != f"{table}-{file['data']}"
        tables.setdefault(path.stem if is_own else table, []).append(path)
    return tables


def ablations(paths):
    """Rows of a table of ablations from JSON files, header first."""
    files = [json.loads(path.read_text()) for path in paths]
    lines = [["", "parameters"]]
    lines[0] += [f"{file['data']} {c}" for file in files for c in _OF_ABLATIONS]
    for title, changed in PARTS[files[0]["system"]].items():
        measured = [file["rows"].get(title) for file in files]
        cells = [
            f"{row[c]:.1f}" if row else "" for row in measured for c in _OF_ABLATIONS
        ]
        if any(cells):
            lines.append([title, _settings(changed), *cells])
    return lines


def _settings(changed):
    """Changed parameters of a row as reStructuredText literals."""
    if not changed:
        return "defaults"
    return ", ".join(f"``{name}={value!r}``" for name, value in changed.items())


def _write(name, lines):
    with open(TABLES / f"{name}.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def write_tables():
    """Write a CSV file for each data set and each ablation that has results."""
    TABLES.mkdir(exist_ok=True)
    for name, paths in find_ablations().items():
        _write(name, ablations(paths))
    for name in ROWS:
        lines = table(name)
        _write(name, lines)
        if _path(f"peers-{name}").exists():
            _write(f"costs-{name}", costs(name))
        missing = [row for row in ROWS[name] if row not in {line[0] for line in lines}]
        print(f"{name}: {len(lines) - 1} rows", *(f"no {row}" for row in missing))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", nargs="*", help="icd10cm, or folders with data sets")
    parser.add_argument(
        "--again", nargs="+", default=(), help='repeat these rows, or "peers"'
    )
    parser.add_argument(
        "--tables", action="store_true", help="train nothing, only write tables"
    )
    options = parser.parse_args()
    for data in [] if options.tables else options.data:
        if Path(data).name not in ROWS:
            parser.error(f"{data}: data sets are {', '.join(ROWS)}")
        for command in commands(data, options.again):
            print(*command[1:], flush=True)
            subprocess.run([sys.executable, *command], check=True)
            write_tables()
    write_tables()


if __name__ == "__main__":
    main()
