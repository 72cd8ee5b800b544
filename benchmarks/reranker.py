"""Does LightDXML gain from a re-ranker? The paper says that it does not (IV-G).

    python benchmarks/reranker.py icd10cm --chapters 1 2
    python benchmarks/reranker.py DIR --documents 6000

DIR holds a data set in a layout of `skxmc.datasets.load_xmc_repository`. The re-ranker
is that of Astec: it has the form of the model and weights of its own, and its negatives
are the labels that the fitted model ranks best and that a document does not have. The
probabilities of both are averaged. The last row is the model alone, trained for as many
epochs as both together. Metrics are for the test split, in %. Every parameter can be
given.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from _common import parse_parameters, write_json
from scipy.special import expit

from skxmc import LightDXMLClassifier
from skxmc.datasets import load_icd10cm, load_xmc_repository
from skxmc.metrics import propensity, ranking_report
from skxmc.nn.label_cycle import drop_positives
from skxmc.nn.prediction import map_batches
from skxmc.nn.text import padded_columns

METRICS = ("P@1", "P@3", "P@5", "PSP@1", "PSP@5")
# Number of a document's best labels that the re-ranker scores again.
DEPTH = 50


class Reranker(LightDXMLClassifier):
    """LightDXML whose negatives are the best labels by a fitted model."""

    def __init__(self, fitted, **parameters):
        super().__init__(**parameters)
        self.fitted = fitted

    def _build(self, X, Y, rows, rng):
        network, examples = super()._build(X, Y, rows, rng)
        ids, _ = self.fitted.predict_topk([X[row] for row in rows], DEPTH)
        ids = torch.from_numpy(np.where(ids < 0, self.n_labels_, ids))
        positives = padded_columns(Y, rows)
        ids = drop_positives(ids, positives, self.n_labels_).numpy()

        def keep_mistakes(vectors):
            examples.shortlists = ids

        examples._renew_shortlists = keep_mistakes
        return network, examples

    def score_again(self, X, ids):
        """Return the logits of labels of documents, by this model's classifier."""
        network, docs = self.network_, self._make_docs(self._check_X(X))
        (vectors,) = map_batches(
            network,
            network.encode,
            docs,
            np.arange(len(docs)),
            batch_size=256,
            device="cpu",
            precision="fp32",
        )
        with torch.no_grad():
            return network._classify(vectors, torch.from_numpy(ids)).numpy()


def rerank(ids, scores):
    """Sort the labels of each document by their scores; padding comes last."""
    scores = np.where(ids < 0, -np.inf, scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="icd10cm, or a folder with a data set")
    parser.add_argument("--chapters", nargs="+", type=int)
    parser.add_argument("--documents", type=int, help="number of training documents")
    parser.add_argument("--seeds", type=int, default=2, help="models a row")
    return parse_parameters(parser)


def main():
    options, parameters = parse()
    if options.data == "icd10cm":
        data = load_icd10cm(chapters=options.chapters)
    else:
        data = load_xmc_repository(options.data)
    texts, Y, Y_test = data.texts_train, data.Y_train.tocsr(), data.Y_test.tocsr()
    if options.documents:
        rows = np.random.default_rng(0).permutation(len(texts))[: options.documents]
        texts, Y = [texts[i] for i in rows], Y[rows]
    rows = {"alone": [], "with a re-ranker": [], "alone, twice the epochs": []}

    def add(name, start, ids):
        report = ranking_report(Y_test, ids, (1, 3, 5), propensity(Y))
        minutes = (time.process_time() - start) / 60
        metrics = {key: 100 * float(report[key]) for key in METRICS}
        rows[name].append(metrics | {"fit_core_minutes": minutes})

    for seed in range(options.seeds):
        given = dict(
            label_texts=data.label_names,
            device="cpu",
            precision="fp32",
            neighbor_weight=0,
            random_state=seed,
        )
        given |= parameters
        n_epochs = LightDXMLClassifier(**given).max_epochs
        start = time.process_time()
        once = LightDXMLClassifier(**given)
        ids, probabilities = once.fit(texts, Y).predict_topk(data.texts_test, DEPTH)
        add("alone", start, ids)
        again = Reranker(once, **given).fit(texts, Y)
        known = np.where(ids < 0, Y.shape[1], ids)
        scores = again.score_again(data.texts_test, known)
        scores = probabilities + expit(scores)
        add("with a re-ranker", start, rerank(ids, scores))
        start = time.process_time()
        longer = LightDXMLClassifier(**given | {"max_epochs": 2 * n_epochs})
        ids, _ = longer.fit(texts, Y).predict_topk(data.texts_test, DEPTH)
        add("alone, twice the epochs", start, ids)
    name = Path(options.data).name
    about = {**vars(options), "data": name, "split": "test"}
    about["training_documents"], about["test_documents"] = len(texts), Y_test.shape[0]
    results = {
        row: {key: round(float(np.mean([r[key] for r in runs])), 2) for key in runs[0]}
        for row, runs in rows.items()
    }
    for row, result in results.items():
        print(f"{row:<26}", result)
    write_json(f"reranker-{name}", {**about, "rows": results})


if __name__ == "__main__":
    main()
