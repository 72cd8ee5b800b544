"""
A grid search by PSP@5
======================

Precision is dominated by frequent labels. Propensity-scored precision, PSP, gives rare
labels more weight. This grid search computes both, on folds that keep rare labels in
the training part.
"""

# %%
# `~skxmc.model_selection.MultilabelKFold` distributes the documents of each label over
# the folds, rare labels first. If all documents of a label are in the same fold, the
# label has no training document when this fold is tested, and no classifier can predict
# it. We count these lost labels:

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, KFold

from skxmc import LightDXMLClassifier
from skxmc.datasets import load_icd10cm
from skxmc.metrics import ranking_report_scorer
from skxmc.model_selection import MultilabelKFold

data = load_icd10cm(chapters=5)
texts, Y = data.texts_train, data.Y_train
several = np.asarray(Y.sum(axis=0)).ravel() >= 2
for folds in [KFold(3, shuffle=True, random_state=0), MultilabelKFold(3)]:
    lost = [
        int(np.sum(several & (np.asarray(Y[rows].sum(axis=0)).ravel() == 0)))
        for rows, _ in folds.split(texts, Y)
    ]
    print(f"{type(folds).__name__}: labels of two or more documents lost: {lost}")

# %%
# LightDXML's predictions combine two scores of a label: that of its classifier, and the
# similarity of the label's vector to the document's. ``beta`` is the weight of the
# first. The search predicts once for all metrics; ``refit`` names the metric that
# decides.

search = GridSearchCV(
    LightDXMLClassifier(label_dim=100, random_state=0),
    {"beta": [0.25, 0.5, 0.75, 1.0]},
    scoring=ranking_report_scorer(ks=[3, 5]),
    refit="PSP@5",
    cv=MultilabelKFold(3),
)
search.fit(texts, Y)
print(search.best_params_)

# %%
# The value that finds most rare labels is not the one with the best precision.

betas = np.array(search.param_grid["beta"])
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for metric in ["P@3", "P@5", "PSP@3", "PSP@5"]:
    mean = search.cv_results_[f"mean_test_{metric}"]
    (line,) = ax.plot(betas, mean, marker="o", label=metric)
    ax.plot(
        betas[mean.argmax()], mean.max(), "o", ms=13, mfc="none", c=line.get_color()
    )
ax.set_xlabel("beta, weight of the classifier's score")
ax.set_ylabel("mean of three folds")
ax.set_title("Circles: the best of each metric")
ax.legend(frameon=False, ncols=2)
ax.spines[["top", "right"]].set_visible(False)

# %%
# The search has fitted the best model on all training documents. It is evaluated on the
# test phrases, once.

report = ranking_report_scorer(ks=[3, 5])(search, data.texts_test, data.Y_test)
for metric in ["P@3", "P@5", "PSP@3", "PSP@5"]:
    print(f"{metric:6} {report[metric]:.3f}")
