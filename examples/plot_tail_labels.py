"""
Is the tail found?
==================

One figure, P@k, hides a long tail: most of the predictions that count are of frequent
labels. Five pictures of a data set and of two classifiers on it.
"""

# %%
# Invented documents with labels of Zipf-distributed frequency: 3,000 labels, of which
# many have one document or none.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from skxmc import LightDXMLClassifier
from skxmc.datasets import make_xmc
from skxmc.inspection import (
    CooccurrenceDisplay,
    FrequencyBinsDisplay,
    HistoryDisplay,
    RankingCurveDisplay,
)
from skxmc.metrics import propensity

data = make_xmc(4000, 3000, words_per_doc=12, noise=0.4, random_state=0)
texts, texts_test, Y, Y_test = train_test_split(
    data.texts, data.Y, test_size=1000, random_state=0
)
counts = np.asarray(Y.sum(axis=0)).ravel().astype(int)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
axes[0].loglog(np.arange(1, len(counts) + 1), np.sort(counts)[::-1])
axes[0].set_xlabel("label, by frequency")
axes[0].set_ylabel("training documents")
order = np.argsort(counts)
axes[1].semilogx(counts[order] + 1, propensity(Y)[order])
axes[1].set_xlabel("training documents + 1")
axes[1].set_ylabel("propensity")
axes[1].set_title("How likely a true label is written down")

# %%
# PSP divides each hit by the label's propensity, so that a hit in the tail counts more.
# Two classifiers: the same network, with label vectors in its predictions
# (``beta=0.5``) and without (``beta=1``).

models = {
    f"beta={beta}": LightDXMLClassifier(
        beta=beta, label_texts=data.label_names, label_dim=100, random_state=0
    ).fit(texts, Y)
    for beta in [0.5, 1.0]
}
figure, axes = plt.subplots(1, 2, figsize=(11, 3.8), layout="constrained", sharey=True)
for ax, (name, model) in zip(axes, models.items(), strict=True):
    FrequencyBinsDisplay.from_estimator(
        model, texts_test, Y_test, edges=(1, 3, 10, 50), name=name, ax=ax
    )

# %%
# The same as curves: how much is right, how much is found, by the number of labels
# shown.

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
for (name, model), style in zip(models.items(), ["-", "--"], strict=True):
    ax.set_prop_cycle(None)
    RankingCurveDisplay.from_estimator(
        model, texts_test, Y_test, name=name, ax=ax, linestyle=style
    )

# %%
# Training, epoch by epoch, with the precision on documents held out from it.

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
HistoryDisplay.from_estimator(models["beta=0.5"], ax=ax)

# %%
# And which labels come together. Labels of invented documents are drawn one by one;
# those of real ones are not.

figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
CooccurrenceDisplay.from_labels(Y, n_labels=15, ax=ax)
