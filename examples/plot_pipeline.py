"""
A Pipeline of TF-IDF features
=============================

The classifiers take feature matrices as well as texts, so they can be the last step of
a `Pipeline`. Here the features are words and letter n-grams of diagnosis phrases, and
the last step is `LightDXMLClassifier`. The letter n-grams help if words are misspelt.
"""

# %%
# The data are mental and behavioural disorders of ICD-10-CM. Labels often come as
# lists. `MultiLabelBinarizer` with ``sparse_output=True`` turns them into a sparse
# matrix.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import MultiLabelBinarizer

from skxmc import LightDXMLClassifier
from skxmc.datasets import load_icd10cm
from skxmc.metrics import precision_at_k

data = load_icd10cm(chapters=5)
codes = np.array(data.label_codes, dtype=object)
labels_train = [codes[row.indices].tolist() for row in data.Y_train]
print(data.texts_train[200], labels_train[200])

binarizer = MultiLabelBinarizer(sparse_output=True).fit(labels_train)
Y_train = binarizer.transform(labels_train)
Y_test = binarizer.transform([codes[row.indices].tolist() for row in data.Y_test])

# %%
# We compare two pipelines. The features of the first are words and word pairs; the
# second adds pieces of three to five letters.

words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
network = LightDXMLClassifier(label_names=binarizer.classes_, random_state=0)
pipelines = {
    "words": Pipeline([("words", words), ("network", network)]),
    "words and letters": Pipeline(
        [
            ("features", FeatureUnion([("words", words), ("letters", letters)])),
            ("network", network),
        ]
    ),
}

# %%
# Both are tested on the test phrases as they are, and on misspelt ones, in which two
# neighbouring letters are swapped in every word of six letters or more.

rng = np.random.default_rng(0)


def misspell(word):
    """Swap two letters inside a long word."""
    if len(word) < 6:
        return word
    i = rng.integers(1, len(word) - 2)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


wordings = {
    "as written": data.texts_test,
    "misspelt": [" ".join(map(misspell, t.split())) for t in data.texts_test],
}
print(wordings["misspelt"][:2])

precision = {}
for name, pipeline in pipelines.items():
    pipeline.fit(data.texts_train, Y_train)
    precision[name] = [
        precision_at_k(Y_test, pipeline.predict_proba(texts), k=5)
        for texts in wordings.values()
    ]
    print(f"{name:18}", *(f"P@5 {value:.3f}" for value in precision[name]))

# %%
# Predictions are sparse matrices. ``label_lists`` of the last step turns them into
# lists of label names.

misspelt = wordings["misspelt"][:2]
predictions = pipelines["words and letters"].predict(misspelt)
print(type(predictions).__name__, predictions.shape, predictions.nnz)
print(pipelines["words and letters"][-1].label_lists(predictions))

# %%
# Letter n-grams do no harm on correct spelling, and help much on misspelt words.

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
places = np.arange(len(wordings))
for i, (name, values) in enumerate(precision.items()):
    bars = ax.bar(places + 0.4 * (i - 0.5), values, 0.38, label=name)
    ax.bar_label(bars, fmt="%.2f")
ax.set_xticks(places, list(wordings))
ax.set_ylabel("precision at 5, test phrases")
ax.set_ylim(0, 1.1)
ax.legend(frameon=False, loc="upper right")
ax.spines[["top", "right"]].set_visible(False)
