"""
Are rare labels found?
======================

P@k alone hides the long tail of rare labels, because most correct predictions are of
frequent labels. Five plots show a data set and two classifiers on it.
"""

# %%
# The documents are synthetic, and the frequency of their 3,000 labels is
# Zipf-distributed: many labels have one document or none.

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
axes[1].set_title("How likely a true label is recorded")

# %%
# PSP divides each correct prediction by the label's propensity, so that rare labels
# count more. The two classifiers are the same network. With ``beta=0.5`` its
# predictions also use the similarity of label vectors to the document, with ``beta=1``
# they do not.

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
# The curves show precision, recall and PSP by the number k of labels returned.

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
for (name, model), style in zip(models.items(), ["-", "--"], strict=True):
    ax.set_prop_cycle(None)
    RankingCurveDisplay.from_estimator(
        model, texts_test, Y_test, name=name, ax=ax, linestyle=style
    )

# %%
# The training loss of each epoch, and the precision on held-out documents:

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
HistoryDisplay.from_estimator(models["beta=0.5"], ax=ax)

# %%
# The last plot shows which labels occur together. The labels of these synthetic
# documents are drawn independently; those of real documents are not.

figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
CooccurrenceDisplay.from_labels(Y, n_labels=15, ax=ax)
