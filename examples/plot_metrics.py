"""
Reading P@k, nDCG@k and PSP@k
=============================

Results in extreme classification are reported with several metrics. This example shows
why: of three invented rankers, none is the best by all metrics.
"""

# %%
# The documents have three labels on average, of Zipf-distributed frequency. The first
# ranker finds all true labels among the 40 most frequent ones, and no others. The
# second finds every true label with probability 0.4. The third puts the rarest true
# label of a document first, and all its other labels are wrong.

import matplotlib.pyplot as plt
import numpy as np

from skxmc.datasets import make_xmc
from skxmc.metrics import propensity, ranking_report

data = make_xmc(5000, 2000, kind="features", n_labels_per_doc=3, random_state=0)
Y, Y_test = data.Y[:4000], data.Y[4000:]
counts = np.asarray(Y.sum(axis=0)).ravel()
rng = np.random.default_rng(0)
head = np.argsort(-counts)[:40]
n_docs, n_labels = Y_test.shape


def ranked(choose):
    """Five labels for each test document, those chosen first, then wrong ones."""
    ids = np.empty((n_docs, 5), int)
    for i in range(n_docs):
        true = Y_test[[i]].indices
        wrong = rng.permutation(np.setdiff1d(head, true))
        ids[i] = choose(true, wrong)[:5]
    return ids


def knows_the_head(true, wrong):
    """Every true label among the frequent ones, then wrong ones."""
    return [*np.intersect1d(true, head), *wrong]


def right_at_times(true, wrong):
    """Each true label with probability 0.4."""
    return [*true[rng.random(len(true)) < 0.4], *wrong]


def rarest_first(true, wrong):
    """The rarest true label, and nothing else that is true."""
    return [true[counts[true].argmin()], *wrong]


rankers = {
    "knows the head": ranked(knows_the_head),
    "right at times": ranked(right_at_times),
    "rarest first": ranked(rarest_first),
}

# %%
# PSP@k needs the propensities of the training labels. One call computes all metrics.

weights = propensity(Y)
metrics = ["P@1", "P@5", "nDCG@5", "R@5", "PSP@1", "PSP@5"]
reports = {
    name: ranking_report(Y_test, ids, (1, 5), weights) for name, ids in rankers.items()
}
print(f"{'':16}" + "".join(f"{metric:>8}" for metric in metrics))
for name, report in reports.items():
    print(f"{name:16}" + "".join(f"{report[metric]:8.3f}" for metric in metrics))

# %%
# The ranker that knows the head, the frequent labels, has the best P@5. The one that
# puts the rarest label first has the best PSP@5. P@5 cannot reach 1 for documents with
# fewer than five labels; R@5 can.

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for i, (name, report) in enumerate(reports.items()):
    values = [report[metric] for metric in metrics]
    ax.bar(np.arange(len(metrics)) + 0.27 * (i - 1), values, 0.25, label=name)
ax.set_xticks(np.arange(len(metrics)), metrics)
ax.set_ylim(0, 1.15)
ax.legend(frameon=False, ncols=3, loc="upper left")
ax.spines[["top", "right"]].set_visible(False)
