"""What neighbours that vote cost and change: seconds, milliseconds, and metrics.

The costs are those of random vectors in clusters, for several numbers of training
documents. The metrics are those of a fifth of the training documents of chapters 1 and
2 of ICD-10-CM, which are held out; labels that no other document has are left out::

    python benchmarks/neighbors.py

Writes results/neighbors.json. It takes about three minutes on one thread.
"""

import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from _common import write_json

from skxmc import GRankClassifier, LightDXMLClassifier
from skxmc.datasets import load_icd10cm
from skxmc.metrics import propensity_from_counts, ranking_report
from skxmc.model_selection import MultilabelShuffleSplit
from skxmc.nn.neighbors import NeighborVotes

DIM, N_LABELS, LABELS_PER_DOC, DOCS_PER_CLUSTER = 384, 47_000, 4, 20
WEIGHTS = (0, 1, 4)
METRICS = ("P@1", "P@5", "PSP@5", "R@10")
SYSTEMS = {
    "GRankClassifier": lambda texts: GRankClassifier(
        label_texts=texts, trained_layers=0, bag_of_words=True, max_epochs=6
    ),
    "LightDXMLClassifier": lambda texts: LightDXMLClassifier(label_texts=texts),
    "LightDXMLClassifier, no label texts": lambda texts: LightDXMLClassifier(),
}


def cpu_seconds(function, n=1):
    """Mean CPU seconds of a call, of n calls."""
    begin = time.process_time()
    for _ in range(n):
        result = function()
    return (time.process_time() - begin) / n, result


@torch.inference_mode()
def measure_costs(n_docs, exact):
    """Seconds to build a memory, and milliseconds that votes take."""
    torch.manual_seed(0)
    centers = torch.randn(n_docs // DOCS_PER_CLUSTER, DIM)
    vectors = centers[torch.randint(len(centers), (n_docs,))]
    vectors = vectors + 0.6 * torch.randn(n_docs, DIM)
    indptr = torch.arange(n_docs + 1) * LABELS_PER_DOC
    ids = torch.randint(N_LABELS, (n_docs * LABELS_PER_DOC,))
    rows = torch.arange(n_docs)
    build_s, votes = cpu_seconds(
        lambda: NeighborVotes(
            vectors, indptr, ids, rows, n_labels=N_LABELS, exact=exact
        )
    )
    found = {"build_s": round(build_s, 2)}
    for n in (1, 64):
        docs = vectors[:n] + 0.1
        ranked = torch.rand(n, N_LABELS).topk(votes.depth, dim=1)

        def vote(docs=docs, ranked=ranked):
            return votes.rerank(ranked.indices, ranked.values, docs, 5, normalize=False)

        vote()
        found[f"ms_batch_{n}"] = round(1000 * cpu_seconds(vote, 20)[0], 2)
    return found


def measure_quality():
    """Metrics of each system and weight, with and without votes of label texts."""
    data = load_icd10cm(chapters=[1, 2])
    texts, Y = np.array(data.texts_train, object), data.Y_train.tocsc()
    split = MultilabelShuffleSplit(n_splits=1, test_size=0.2, random_state=2)
    train, test = next(split.split(texts, Y))
    kept = np.flatnonzero(np.asarray(Y.tocsr()[train].sum(axis=0)).ravel())
    Y = Y[:, kept].tocsr()
    test = test[np.asarray(Y[test].sum(axis=1)).ravel() > 0]
    names = [data.label_names[j] for j in kept]
    results = {}
    for system, make in SYSTEMS.items():
        for label_texts_vote in (False, True):
            model = make(names).set_params(
                neighbor_weight=1, label_texts_vote=label_texts_vote, random_state=0
            )
            if label_texts_vote and model.label_texts is None:
                continue
            model.fit(texts[train].tolist(), Y[train])
            for weight in WEIGHTS:
                model.network_.neighbors.weight = weight
                ids, _ = model.predict_topk(texts[test].tolist(), 10)
                propensity = propensity_from_counts(model.label_counts_, model.n_docs_)
                report = ranking_report(Y[test], ids, (1, 5, 10), propensity)
                report = {m: round(100 * float(report[m]), 1) for m in METRICS}
                voters = "label texts too" if label_texts_vote else "documents"
                name = f"{system}, {voters}, weight {weight}"
                results[name] = report
                print(name, report, flush=True)
    return results


def main():
    """Measure all, and write the file."""
    torch.set_num_threads(1)
    costs = {}
    for n_docs in (5000, 20_000, 60_000):
        for exact in (True, False):
            name = f"{n_docs} documents, {'exact' if exact else 'graph'}"
            costs[name] = measure_costs(n_docs, exact)
            print(name, costs[name], flush=True)
    write_json("neighbors", {"costs": costs, "quality": measure_quality()})


if __name__ == "__main__":
    main()
