"""Options for small runs of benchmarks/papers.py, and what they printed and wrote."""

SMALL = "--max-epochs 1 --n-layers 2 --max-length 16 --batch-size 8 --verbose 0"
CLUSTERED = SMALL + " --max-leaf-size 3 --n-shortlist 2 --label-dim 8"
CLUSTERED += " --validation-fraction 0"  # 4,000 documents are none of 45
GUDN = SMALL + " --label-length 16 --label-layers 3"
CYCLE = "--max-epochs 1 --label-epochs 1 --label-dim 8 --verbose 0"
READER = "--max-epochs 1 --word-dim 8 --min-df 1 --verbose 0"


def row(printed, name):
    """Cells of a row of the table."""
    line = next(line for line in printed.splitlines() if line.startswith(name + " "))
    return line.removeprefix(name).split()


def only_run(result):
    """The only run of a results file."""
    (run,) = result["runs"]
    return run
