"""
Code diagnoses with ICD-10-CM
=============================

This example assigns codes to short diagnosis phrases. The label list has a long tail:
it holds the infections and neoplasms of ICD-10-CM and their ancestors, and most labels
have fewer than five training phrases. `GRankClassifier` reads each phrase once with a
small transformer, and is compared with two baselines from scikit-learn. The example
takes about a minute on two cores.
"""

# %%
# The data comes from an installed package; nothing is downloaded. A document is a
# phrase. Its labels are its code and all ancestors of that code. The test phrases are
# wordings that occur only in the notes of ICD-10-CM, not as the description of a code.

import time

import matplotlib.pyplot as plt
import numpy as np
import scipy.sparse as sp
from sklearn.dummy import DummyRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline

from skxmc import GRankClassifier
from skxmc.datasets import load_icd10cm
from skxmc.metrics import propensity, ranking_report

data = load_icd10cm(chapters=[1, 2])
Y_train, Y_test = data.Y_train, data.Y_test
counts = np.asarray(Y_train.sum(axis=0)).ravel()
print(
    f"{len(data.texts_train)} training and {len(data.texts_test)} test phrases, "
    f"{Y_train.shape[1]} labels, {np.mean(counts < 5):.0%} of them with fewer than "
    "5 phrases"
)

# %%
# With ``label_texts``, the classifier starts from what its encoder already knows about
# the words of a label.

start = time.perf_counter()
model = GRankClassifier(
    encoder="all-MiniLM-L6-v2",
    label_texts=data.label_names,
    random_state=0,
    verbose=1,
)
model.fit(data.texts_train, Y_train)
print(f"fitted in {time.perf_counter() - start:.0f} s")

# %%
# There are two baselines. One predicts the most frequent labels for every phrase, the
# other the labels of the ten nearest training phrases by TF-IDF. Both are regressors on
# a dense 0/1 matrix, which give scores for all labels. This is possible at this size,
# but not at much larger ones.

neighbours = KNeighborsRegressor(n_neighbors=10, metric="cosine", weights="distance")
baselines = {
    "most frequent": DummyRegressor(strategy="mean"),
    "10 nearest": make_pipeline(TfidfVectorizer(sublinear_tf=True), neighbours),
}
top5 = {"X-GRank": model.predict_topk(data.texts_test, k=5)[0]}
for name, baseline in baselines.items():
    baseline.fit(data.texts_train, Y_train.toarray())
    scores = baseline.predict(data.texts_test)
    top5[name] = np.argsort(-scores, axis=1, kind="stable")[:, :5]

columns = ["P@1", "P@3", "P@5", "nDCG@5", "PSP@5"]
print(f"\n{'test split, %':14}" + "".join(f"{column:>8}" for column in columns))
for name, ids in top5.items():
    report = ranking_report(Y_test, ids, (1, 3, 5), propensity(Y_train))
    print(f"{name:14}" + "".join(f"{100 * report[column]:8.1f}" for column in columns))

# %%
# We invent five phrases, in wordings that are not in the data, and print their best
# labels.

phrases = [
    "stomach bug with bloody diarrhoea after eating undercooked chicken",
    "cancer of the left breast, upper outer part",
    "cold sore on the lip",
    "tb of the lungs",
    "bowel cancer that has spread to the liver",
]
ids, scores = model.predict_topk(phrases, k=5)
for phrase, best, probabilities in zip(phrases, ids, scores, strict=True):
    print(f"\n{phrase}")
    for j, probability in zip(best, probabilities, strict=True):
        name = data.label_names[j]
        print(f"  {probability:6.2f}  {data.label_codes[j]:8}  {name[:60]}")

# %%
# Head against tail: how many of the true labels of the test phrases are among the five
# best predictions, by the number of training phrases of the label?

edges = np.array([1, 2, 5, 20, 100, np.inf])
names = ["1", "2-4", "5-19", "20-99", "100 and more"]
group = np.searchsorted(edges, counts, side="right") - 1
total = np.bincount(group, np.asarray(Y_test.sum(axis=0)).ravel(), len(names))

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
places = np.arange(len(names))
for i, (name, best) in enumerate(top5.items()):
    rows = np.repeat(np.arange(len(best)), best.shape[1])
    predicted = sp.csr_matrix((np.ones(best.size), (rows, best.ravel())), Y_test.shape)
    found = np.asarray(predicted.multiply(Y_test).sum(axis=0)).ravel()
    share = np.bincount(group, found, len(names)) / total
    axes.bar(places + 0.27 * (i - 1), 100 * share, 0.25, label=name)
axes.set_xticks(places, names)
axes.set_xlabel("training phrases of the label")
axes.set_ylabel("found among the best five, %")
axes.set_title("ICD-10-CM, chapters 1 and 2: head against tail")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.savefig("quickstart.png", dpi=120)
print("\nsaved quickstart.png")
