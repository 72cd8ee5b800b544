"""
Three models as one
===================

Models that make errors on different labels are better together. An ensemble averages
the predictions of its members. Here these are three models of the same phrases: one
with a transformer and two with bags of words.
"""

# %%
# The data are phrases and codes of diseases of the blood and the immune system.

import matplotlib.pyplot as plt
import numpy as np

from skxmc import EnsembleClassifier, GRankClassifier, LightDXMLClassifier
from skxmc.datasets import load_icd10cm
from skxmc.metrics import propensity, ranking_report

data = load_icd10cm(chapters=3)
members = [
    (
        "transformer",
        GRankClassifier(
            label_texts=data.label_names, max_length=24, max_epochs=4, random_state=0
        ),
    ),
    ("words", LightDXMLClassifier(label_texts=data.label_names, random_state=0)),
    (
        "single words",
        LightDXMLClassifier(
            label_texts=data.label_names, ngram_range=(1, 1), min_df=1, random_state=1
        ),
    ),
]
ensemble = EnsembleClassifier(members, label_names=data.label_names)
ensemble.fit(data.texts_train, data.Y_train)

# %%
# The members are fitted classifiers themselves. ``scale`` and ``weights`` can be
# changed without another fit. ``scale="rank"`` averages the members' rankings instead
# of their probabilities.

weights = propensity(data.Y_train)
rows = {}


def measure(name, model):
    """P@3, P@5 and PSP@5 of the test phrases."""
    ids, _ = model.predict_topk(data.texts_test, k=5)
    report = ranking_report(data.Y_test, ids, (3, 5), weights)
    rows[name] = [report[metric] for metric in ["P@3", "P@5", "PSP@5"]]
    print(f"{name:22}", *(f"{value:.3f}" for value in rows[name]))


for name, member in ensemble.named_estimators_.items():
    measure(name, member)
measure("mean of probabilities", ensemble)
measure("mean of ranks", ensemble.set_params(scale="rank"))

# %%
# On a hard phrase the members disagree, so that the mean probabilities are low.

names, scores = ensemble.set_params(scale="probability").predict_topk(
    ["too much iron in the blood"], k=4, return_names=True
)
for label, score in zip(names[0], scores[0], strict=True):
    print(f"{score:.2f} {label}")

# %%
# The ensembles (blue) beside their members (grey):

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
places = np.arange(3)
for i, (name, values) in enumerate(rows.items()):
    colour = "C0" if "mean" in name else "0.75"
    hatch = {"words": "//", "single words": "\\\\", "mean of ranks": ".."}.get(name)
    ax.bar(places + 0.17 * (i - 2), values, 0.15, label=name, color=colour, hatch=hatch)
ax.set_xticks(places, ["P@3", "P@5", "PSP@5"])
ax.set_ylabel("test phrases")
ax.legend(frameon=False, ncols=2, loc="upper right")
ax.set_ylim(0, 1.25)
ax.spines[["top", "right"]].set_visible(False)
