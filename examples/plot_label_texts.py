"""
Labels that have no document yet
================================

Every label of a long list has a name, even a label that was added yesterday and that no
document has. With ``label_texts``, the classifier's label vectors start from the
encoded names, so that such a label can be found.
"""

# %%
# The data are phrases and codes of diseases of the blood. We treat one code in eight as
# new: its phrases are removed from training, and later show whether it is found.

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp

from skxmc import GRankClassifier
from skxmc.datasets import load_icd10cm
from skxmc.inspection import RankingCurveDisplay
from skxmc.metrics import recall_at_k

data = load_icd10cm(chapters=3)
n_labels = data.Y_train.shape[1]
is_leaf = np.asarray(data.label_parents.sum(axis=0)).ravel() == 0
new = np.flatnonzero(is_leaf & (np.arange(n_labels) % 8 == 0))
carries_new = np.asarray(data.Y_train[:, new].sum(axis=1)).ravel() > 0

texts = np.array(data.texts_train, dtype=object)
texts_old, texts_new = texts[~carries_new].tolist(), texts[carries_new].tolist()
Y_old, Y_new = data.Y_train[~carries_new], data.Y_train[carries_new]
print(f"{len(texts_old)} training phrases, {n_labels} labels, {len(new)} of them new")
print(f"{len(texts_new)} phrases of the new labels")

# %%
# One model gets the label names, the other does not. All else is equal.

models = {}
for name, label_texts in [("without names", None), ("with names", data.label_names)]:
    model = GRankClassifier(
        label_texts=label_texts, max_length=24, max_epochs=4, random_state=0
    )
    models[name] = model.fit(texts_old, Y_old)

# %%
# Labels that have documents are found either way:

for name, model in models.items():
    ids, _ = model.predict_topk(data.texts_test, k=5)
    print(f"{name:14} R@5 of the test phrases {recall_at_k(data.Y_test, ids, 5):.3f}")

# %%
# New labels are found by their names only. Similar old labels are ranked before them,
# since the model was trained on the old ones.

Y_only_new = (Y_new @ sp.diags_array(np.isin(np.arange(n_labels), new) * 1.0)).tocsr()
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, model in models.items():
    ids, _ = model.predict_topk(texts_new, k=50)
    RankingCurveDisplay.from_predictions(
        Y_only_new, ids, ks=range(1, 51), metrics=["recall"], name=name, ax=ax
    )
ax.set_ylabel("share of the new labels found")
ax.axhline(0.0, color="0.8", zorder=0)
