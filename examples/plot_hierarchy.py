"""
Using a hierarchy of labels
===========================

`TReaderXMLClassifier` uses a text together with the labels of its nearest training
texts and the parents of these labels. Here the labels are the three-character
categories of ICD-10-CM, and ``label_parents`` gives the block above each category.
"""

# %%
# Parents need not be labels themselves. Here they are blocks and chapters, which have
# names.

import matplotlib.pyplot as plt
import numpy as np

from skxmc import TReaderXMLClassifier
from skxmc.datasets import load_icd10cm
from skxmc.metrics import ranking_report

data = load_icd10cm(chapters=[5, 6])
codes, names = np.array(data.label_codes), np.array(data.label_names, dtype=object)
labels = np.flatnonzero([len(code) == 3 and code[0].isalpha() for code in codes])
above = np.flatnonzero([len(code) < 3 or "-" in code for code in codes])


def with_labels(texts, Y):
    """Documents that have a category, and their categories."""
    Y = Y[:, labels]
    rows = np.flatnonzero(np.asarray(Y.sum(axis=1)).ravel())
    return [texts[i] for i in rows], Y[rows]


texts_train, Y_train = with_labels(data.texts_train, data.Y_train)
texts_test, Y_test = with_labels(data.texts_test, data.Y_test)
parents = data.label_parents[labels][:, above]
print(f"{len(labels)} labels below {len(above)} nodes, {len(texts_train)} phrases")
(parent,) = parents[[10]].indices
print(f"{names[labels][10]!r} is below {names[above][parent]!r}")

# %%
# We compare three models. The first uses the text alone, the second also the labels of
# the nearest training texts, and the third also the parents of these labels.

variants = {
    "text alone": dict(use_teacher=False),
    "and labels": dict(label_texts=names[labels].tolist()),
    "and their parents": dict(
        label_texts=names[labels].tolist(),
        label_parents=parents,
        parent_texts=names[above].tolist(),
    ),
}
reports = {}
for name, parameters in variants.items():
    model = TReaderXMLClassifier(
        **parameters, max_length=24, max_epochs=6, random_state=0
    )
    model.fit(texts_train, Y_train)
    ids, _ = model.predict_topk(texts_test, k=5)
    reports[name] = ranking_report(Y_test, ids, (1, 3, 5))
    print(f"{name:18} P@1 {reports[name]['P@1']:.3f}  R@5 {reports[name]['R@5']:.3f}")

# %%
# The labels of similar phrases help here. Their parents add little: if a neighbour has
# the right category, this already implies the right block.

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
metrics = ["P@1", "R@3", "R@5"]
for i, (name, report) in enumerate(reports.items()):
    values = [report[metric] for metric in metrics]
    bars = ax.bar(np.arange(3) + 0.27 * (i - 1), values, 0.25, label=name)
    ax.bar_label(bars, fmt="%.2f")
ax.set_xticks(np.arange(3), metrics)
ax.set_ylim(0, 1.15)
ax.set_ylabel("test phrases")
ax.legend(frameon=False, ncols=3, loc="upper center")
ax.spines[["top", "right"]].set_visible(False)
