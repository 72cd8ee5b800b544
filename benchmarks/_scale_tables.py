"""Tables and the picture that the docs show of the results of `scale.py`."""

import csv
import math
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
LOSSES = ["bce", "grank"]
SHOWN = ["dense", "all", "all, bf16", "clusters"]


def by_head(rows):
    """Return rows by their labels, loss and head."""
    return {(row["labels"], row["loss"], row["head"]): row for row in rows}


def head_table(rows):
    """Rows of the table of heads, header first."""
    found = by_head(rows)
    names = ["Labels x dimensions", "Head", "BCE, s", "GRank, s"]
    has_shares = any("share_of_step" in row for row in rows)
    if has_shares:
        names += ["BCE, share in %", "GRank, share in %"]
    table = [[*names, "BCE, MB", "GRank, MB", "GRank, ms a document"]]
    for n_labels in sorted({labels for labels, *_ in found}):
        for head in SHOWN:
            pair = [found.get((n_labels, loss, head)) for loss in LOSSES]
            if None in pair:
                continue
            row = [f"{n_labels:,} x {pair[0]['dim']}", head.replace(", ", ", in ")]
            row += [f"{one['step_s']:.3g}" for one in pair]
            row += [share(one) for one in pair if has_shares]
            row += [f"{one['peak_MB']:,}" for one in pair]
            table.append([*row, f"{pair[1]['predict_ms']:.2f}"])
    return table


def share(row):
    """Write a head's share of a step with the encoder, if that was measured."""
    return f"{100 * row['share_of_step']:.2g}" if "share_of_step" in row else "-"


def document_table(rows):
    """Rows of the table of whole fits, header first."""
    table = [["Documents", "s", "s for 1,000 documents", "MB"]]
    for one in rows:
        n, seconds = one["documents"], one["fit_s"]
        rate = f"{1000 * seconds / n:.2f}"
        table.append([f"{n:,}", f"{seconds:.1f}", rate, f"{one['peak_MB']:,}"])
    return table


def write_tables(sections):
    """Write what the docs show of a results file."""
    write_csv("scale", head_table(sections["heads"]))
    if sections["documents"]:
        write_csv("scale-documents", document_table(sections["documents"]))
    draw(by_head(sections["heads"]))


def write_csv(name, rows):
    path = DOCS / "tables" / f"{name}.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    print(f"written: {path}")


def draw(found):
    """Draw the time of a step and its memory by the number of labels."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, name, title in zip(
        axes,
        ("step_s", "peak_MB"),
        ("CPU time of a step, s", "memory, MB"),
        strict=True,
    ):
        for colour, head in enumerate(SHOWN):
            for loss, line in zip(LOSSES, ("-", "--"), strict=True):
                rows = [row for key, row in found.items() if key[1:] == (loss, head)]
                # Label vectors of another width would bend the line.
                rows = [row for row in rows if row["dim"] == 384]
                label = head.replace(", ", ", in ") if loss == "bce" else None
                points = [(row["labels"], row[name]) for row in rows]
                axis.plot(*zip(*points, strict=True), line, c=f"C{colour}", label=label)
        axis.set(xscale="log", yscale="log", xlabel="labels", title=title)
        axis.grid(alpha=0.3)
    times = [r["encoder_step_s"] for r in found.values() if "encoder_step_s" in r]
    if times:
        mean = math.fsum(times) / len(times)
        axes[0].axhline(mean, c="0.5", ls=":", label="bare encoder")
    axes[0].legend(fontsize="small")
    path = DOCS / "scale.png"
    figure.savefig(path, dpi=150)
    print(f"written: {path}")
