"""
Data in the formats of the Extreme Classification Repository
============================================================

The data sets of the repository come as raw texts or as sparse features.
`~skxmc.datasets.load_xmc_repository` loads both. This example writes a small synthetic
data set in each format, loads it, and trains a classifier on it.
"""

# %%
# In the raw-text format, each line of a file is a document. The same line of another
# file has its labels, as numbers from 0. A file with label names is optional.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from skxmc import LightDXMLClassifier
from skxmc.datasets import load_xmc_repository, make_xmc
from skxmc.inspection import RankingCurveDisplay

folder = tempfile.TemporaryDirectory()
made = make_xmc(3000, 500, random_state=0)
raw = Path(folder.name, "raw")
raw.mkdir()
for part, rows in [("train", range(2500)), ("test", range(2500, 3000))]:
    texts = [made.texts[i] for i in rows]
    (raw / f"{part}_texts.txt").write_text("\n".join(texts) + "\n")
    labels = [" ".join(map(str, made.Y[[i]].indices)) for i in rows]
    (raw / f"{part}_labels.txt").write_text("\n".join(labels) + "\n")
(raw / "label_names.txt").write_text("\n".join(made.label_names) + "\n")

data = load_xmc_repository(raw)
print(data.DESCR)
print(data.texts_train[0][:60], "...", data.Y_train[[0]].indices)
print({name: value for name, value in data.items() if value is None})

# %%
# In the features format, a file starts with a header: the numbers of documents,
# features and labels. Each further line has the labels of a document and its
# ``feature:value`` pairs.

counts = make_xmc(3000, 500, kind="features", random_state=0)
features = Path(folder.name, "features")
features.mkdir()
for part, rows in [("train", range(2500)), ("test", range(2500, 3000))]:
    lines = [f"{len(rows)} {counts.X.shape[1]} {counts.Y.shape[1]}"]
    for i in rows:
        x, y = counts.X[[i]], counts.Y[[i]]
        pairs = [f"{j}:{v:g}" for j, v in zip(x.indices, x.data, strict=True)]
        lines.append(" ".join([",".join(map(str, y.indices)), *pairs]))
    (features / f"{part}.txt").write_text("\n".join(lines) + "\n")
print((features / "train.txt").read_text()[:120], "...")
as_features = load_xmc_repository(features)
print(as_features.X_train.shape, as_features.Y_train.shape)

# %%
# If a file is wrong, the error names the line and the problem.

broken = Path(folder.name, "broken.txt")
broken.write_text("2 3 4\n0,3 1:0.5 2:1\n0,9 1:1\n")
try:
    load_xmc_repository(broken)
except ValueError as error:
    print(error)

# %%
# A classifier is trained in the same way on both formats.

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
for name, X, X_test, one, style in [
    ("texts", data.texts_train, data.texts_test, data, "-"),
    ("features", as_features.X_train, as_features.X_test, as_features, "--"),
]:
    model = LightDXMLClassifier(label_dim=100, random_state=0).fit(X, one.Y_train)
    ax.set_prop_cycle(None)
    RankingCurveDisplay.from_estimator(
        model, X_test, one.Y_test, name=name, ax=ax, linestyle=style
    )
folder.cleanup()
