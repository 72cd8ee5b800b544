"""Ways to combine LightDXML's classifier and shortlist, on held-out training documents.

    python benchmarks/mixture.py icd10cm --chapters 1 2
    python benchmarks/mixture.py DIR --docs 6000

DIR holds a data set in a layout of `skxmc.datasets.load_xmc_repository`. The model is
fitted on 85 % of the training documents (of `--docs` of them, drawn at random) with
single words and with pairs of words, with and without label texts. Each way to combine
the logits of the classifier with the cosines of the shortlist then ranks the rest.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from _common import write_json
from sklearn.model_selection import train_test_split
from torch.nn.functional import logsigmoid

from skxmc import LightDXMLClassifier
from skxmc.datasets import load_icd10cm, load_xmc_repository
from skxmc.metrics import propensity, ranking_report
from skxmc.nn.networks.lightdxml import mix_logarithms
from skxmc.nn.prediction import map_batches
from skxmc.nn.shortlist import best_labels


def load(options):
    """Texts, labels that occur, and their names, of the training split."""
    if options.data == "icd10cm":
        data = load_icd10cm(chapters=options.chapters)
    else:
        data = load_xmc_repository(options.data)
    texts, Y = data.texts_train, data.Y_train.tocsr()
    if options.docs and options.docs < len(texts):
        rows = np.random.default_rng(0).permutation(len(texts))[: options.docs]
        texts, Y = [texts[i] for i in rows], Y[rows]
    labels = np.unique(Y.indices)
    return texts, Y[:, labels], [data.label_names[j] for j in labels]


def combinations(logits, cosines):
    """Name and scores of each way to combine the two."""
    for beta in (0.25, 0.5, 0.75, 1.0):
        yield f"mixture, beta {beta}", mix_logarithms(logits, cosines, beta, 1.0)
    for share in (0.1, 0.25, 0.5, 0.75):
        logarithms = share * logsigmoid(logits) + (1 - share) * logsigmoid(cosines)
        yield f"sum of log sigmoids, {share} of the classifier", logarithms
    for weight in (2, 5, 10, 20, 40):
        yield f"logit + {weight} cosine", logits + weight * cosines


def rank(model, texts):
    """Labels that the model classifies for texts, their logits and their cosines."""
    docs = model._make_docs(model._check_X(texts))
    return map_batches(
        model.network_,
        lambda inputs: model.network_.classify(*model.network_.encode(inputs)),
        docs,
        np.arange(len(texts)),
        batch_size=256,
        device="cpu",
        precision="fp32",
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", help="icd10cm, or a folder with a data set")
    parser.add_argument("--chapters", type=int, nargs="+", help="of icd10cm")
    parser.add_argument("--docs", type=int, help="training documents that are used")
    parser.add_argument("--name", help="name of the file in benchmarks/results")
    options = parser.parse_args()
    texts, Y, names = load(options)
    texts, held_out, Y, Y_held_out = train_test_split(
        texts, Y, test_size=0.15, random_state=0
    )
    weights, rows = propensity(Y), []
    for last in (1, 2):
        for label_texts in (names, None):
            model = LightDXMLClassifier(
                ngram_range=(1, last),
                label_texts=label_texts,
                device="cpu",
                random_state=0,
            )
            start = time.process_time()
            model.fit(texts, Y)
            about = {
                "ngram_range": [1, last],
                "label_texts": label_texts is not None,
                "fit_cpu_s": round(time.process_time() - start, 1),
            }
            label_ids, logits, cosines = rank(model, held_out)
            for name, scores in combinations(logits, cosines):
                ids = best_labels(scores, 10, model.n_labels_, label_ids)[0].numpy()
                ids = np.where(ids == model.n_labels_, -1, ids)
                report = ranking_report(Y_held_out, ids, (1, 5), weights)
                report |= ranking_report(Y_held_out, ids, (10,))
                kept = ("P@1", "P@5", "nDCG@5", "PSP@1", "PSP@5", "R@10")
                figures = {key: round(100 * report[key], 1) for key in kept}
                rows.append(about | {"combination": name} | figures)
                print(rows[-1], flush=True)
    name = options.name or f"mixture-{Path(options.data).name}"
    write_json(
        name,
        {
            "data": Path(options.data).name,
            "chapters": options.chapters,
            "split": "15 % of the training documents, held out",
            "n_docs": len(texts) + len(held_out),
            "rows": rows,
        },
    )


if __name__ == "__main__":
    main()
