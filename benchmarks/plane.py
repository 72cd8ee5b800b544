"""Picture of quality against training time, from the results of `systems.py`.

    python benchmarks/plane.py

It writes docs/quality-and-time.png: P@5 on the test split over core-minutes of training
for all rows of the docs' tables, one panel a data set. Nothing is trained. Hollow marks
are rows that were measured on a processor with instructions for bf16.
"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.transforms import Bbox
from systems import PEERS, ROWS, _path

PICTURE = Path(__file__).parents[1] / "docs" / "quality-and-time.png"
METRICS = ("P@5", "PSP@5")
# Offsets of a name from its point, and its alignment, in the order of preference.
PLACES = [
    (5, 3, "left", "center"),
    (-5, 3, "right", "center"),
    (0, 6, "center", "bottom"),
    (0, -6, "center", "top"),
    (5, -7, "left", "center"),
    (-5, -7, "right", "center"),
    (0, 16, "center", "bottom"),
    (0, -16, "center", "top"),
]
TITLES = {
    "icd10cm": "ICD-10-CM\n47,150 labels",
    "tibkat-core-en": "a library's subjects\n11,621 labels",
    "biotools-edam": "descriptions of software\n1,565 labels",
}
# Short names, since the points lie close to each other.
SHORT = {
    "GRankClassifier, low effort": "X-GRank, low",
    "GRankClassifier": "X-GRank, medium",
    "GRankClassifier, high effort": "X-GRank, high",
    "GRankClassifier, high effort, all layers, 8 epochs": "X-GRank, high, all layers",
    "GRankClassifier, encoder alone": "X-GRank, encoder alone",
    "LightXMLClassifier": "LightXML",
    "GUDNClassifier": "GUDN",
    "TReaderXMLClassifier": "TReaderXML",
    "LightDXMLClassifier": "LightDXML",
    "PECOS XR-Linear": "PECOS",
    "omikuji Parabel": "omikuji",
    "napkinXC PLT": "napkinXC",
}


def points(name):
    """Yield the title, metrics, core-minutes, whether bf16, and kind of each row."""
    shown = set()
    for row, (suffix, _) in ROWS[name].items():
        path = _path(f"quality-{name}{suffix}")
        if row in SHORT and path.exists():
            shown.add(row)
            result = json.loads(path.read_text())
            has_bf16 = bool(result["machine"].get("bf16"))
            kind = "C0" if row.startswith("GRank") else "C2"
            yield row, result["metrics"], result["fit_core_minutes"], has_bf16, kind
    result = json.loads(_path(f"peers-{name}").read_text())
    for peer, title in PEERS.items():
        one = result["results"].get(peer)
        if title in SHORT and one is not None and title not in shown:
            minutes = one["fit_s"] * result["threads"] / 60
            kind = "C2" if title == "LightDXMLClassifier" else "C1"
            yield title, one["metrics"], minutes, False, kind


def write_names(axis, names):
    """Write a name beside each point, where it covers no point and no other name."""
    middles = [axis.transData.transform(point) for _, point in names]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in middles]
    for name, point in names:
        for place in PLACES:
            dx, dy, horizontal, vertical = place
            text = axis.annotate(
                name,
                point,
                (dx, dy),
                textcoords="offset points",
                fontsize="x-small",
                horizontalalignment=horizontal,
                verticalalignment=vertical,
            )
            box = text.get_window_extent()
            is_inside = axis.bbox.x0 < box.x0 and box.x1 < axis.bbox.x1
            if is_inside and not any(box.overlaps(other) for other in taken):
                break
            if place is not PLACES[-1]:
                text.remove()
        taken.append(box)


def main():
    figure, axes = plt.subplots(
        len(METRICS), len(ROWS), figsize=(13, 7.5), sharex=True, layout="constrained"
    )
    labels = []
    for column, name in enumerate(ROWS):
        for axis, metric in zip(axes[:, column], METRICS, strict=True):
            rows = list(points(name))
            for _, metrics, minutes, has_bf16, colour in rows:
                axis.plot(
                    minutes,
                    metrics[metric],
                    "o",
                    color=colour,
                    fillstyle="none" if has_bf16 else "full",
                )
            axis.set_xscale("log")
            axis.margins(x=0.18, y=0.1)
            axis.grid(alpha=0.3)
            axis.set_ylabel(f"{metric} in %")
            names = [(SHORT[row], (x, y[metric])) for row, y, x, *_ in rows]
            labels.append((axis, names))
        axes[0, column].set_title(TITLES[name])
        axes[-1, column].set_xlabel("training in core-minutes")
    figure.draw_without_rendering()  # the axes get their sizes
    figure.set_layout_engine("none")
    for axis, names in labels:
        write_names(axis, names)
    figure.savefig(PICTURE, dpi=110)
    print(f"written: {PICTURE}")


if __name__ == "__main__":
    main()
