"""
Labels in balanced clusters
===========================

With many labels, a classifier first finds clusters of labels and then ranks the labels
in them. `~skxmc.cluster.BalancedKMeans` makes these clusters. It splits the labels into
halves of equal size, again and again, so that no cluster costs more than another.
"""

# %%
# The features of a label are the sum of the TF-IDF rows of its documents. ICD-10-CM has
# 22 chapters, of which this example uses six. The clustering does not use the chapters;
# the last plot does.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from skxmc.cluster import BalancedKMeans
from skxmc.datasets import load_icd10cm
from skxmc.inspection import ClusterSizesDisplay

data = load_icd10cm(chapters=[7, 8, 9, 10, 11, 12])
X = TfidfVectorizer(sublinear_tf=True, dtype=np.float32).fit_transform(data.texts_train)
labels = normalize(data.Y_train.T @ X).tocsr()
print(f"{labels.shape[0]} labels, {labels.shape[1]} words")

# %%
# For comparison, k-means without balancing makes as many clusters. Its largest clusters
# hold many times more labels than its smallest.

balanced = BalancedKMeans(max_leaf_size=64, random_state=0).fit(labels)
groups = balanced.labels_
n_clusters = groups.max() + 1
free = MiniBatchKMeans(n_clusters, random_state=0, n_init=1).fit_predict(labels)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
ClusterSizesDisplay.from_groups(groups, name="BalancedKMeans", ax=axes[0])
ClusterSizesDisplay.from_groups(free, name="MiniBatchKMeans", ax=axes[1])

# %%
# The clusters follow the chapters, although the clustering did not use them. Each
# column is a cluster, each row a chapter.

up = data.label_parents.tocsr()
chapter = np.arange(labels.shape[0])
for _ in range(10):
    has_parent = np.diff(up[chapter].indptr) > 0
    chapter[has_parent] = up[chapter].indices
chapters = np.unique(chapter)
shares = np.zeros((len(chapters), n_clusters))
np.add.at(shares, (np.searchsorted(chapters, chapter), groups), 1)
shares /= shares.sum(axis=0)
order = np.lexsort((-shares.max(axis=0), shares.argmax(axis=0)))

figure, ax = plt.subplots(figsize=(9, 3), layout="constrained")
image = ax.imshow(shares[:, order], aspect="auto", cmap="Blues", vmin=0, vmax=1)
ax.set_yticks(np.arange(len(chapters)), [data.label_names[i][:32] for i in chapters])
ax.set_xlabel("cluster")
figure.colorbar(image, label="share of its labels")
share = shares.max(axis=0).mean()
print(f"on average, {share:.0%} of a cluster's labels are of the same chapter")
