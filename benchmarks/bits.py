"""Fit every system on small data, and write down its predictions to the bit.

Two versions of the library that compute the same write the same file::

    python benchmarks/bits.py before.json
    python benchmarks/bits.py after.json --compare before.json

Everything goes through the public API. The transformer is tiny, random and made on
the spot, so that the whole takes about a minute on one thread. Figures are the same on
the same machine with the same number of threads.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from _common import PACKAGES, machine
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

import skxmc
from skxmc.datasets import make_xmc

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
COMMON = dict(max_epochs=2, batch_size=16, random_state=0, precision="fp32")
# Options that reach other paths through training and prediction than the defaults do.
CLUSTERS = dict(max_leaf_size=8, n_shortlist=3, predict_shortlist=4)
MANNERS = dict(accumulate=2, clip_norm=1.0, swa_start=0.5, swa_every=2, warmup=0.2)


def make_encoder(texts, folder):
    """Save a random BERT of two layers that knows the words of the texts."""
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(SPECIAL + words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad", "unk", "cls", "sep"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{k}_token": v for k, v in names.items()}
    ).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
        )
    ).save_pretrained(folder)
    return str(folder)


def make_fits(encoder, label_texts):
    """Name, class and parameters of every fit; "single" ones have a 1-D y."""
    reading = dict(encoder=encoder)
    told = reading | dict(label_texts=label_texts)
    all_layers = dict(
        trained_layers="all",
        bag_of_words=False,
        neighbor_weight=0,
        n_negatives=None,
        label_learning_rate=None,
    )
    grank_reading, grank_told = reading | all_layers, told | all_layers
    fits = {
        "GRank": {
            "defaults": told,
            "one layer": told | dict(trained_layers=1),
            "words read": reading | CLUSTERS | dict(reading="words"),
            "": grank_told,
            "clusters": grank_told | CLUSTERS,
            "words": grank_told | CLUSTERS | dict(label_init="random"),
            "dual": grank_told | dict(small_label_mode="dual", combine="sum"),
            "steps": grank_reading | CLUSTERS | dict(lambda_schedule="step"),
            "product": grank_told
            | CLUSTERS
            | dict(combine="product", predict_shortlist=99),
            "manners": grank_told | MANNERS,
            "manners clusters": grank_told | CLUSTERS | MANNERS,
            "bf16 labels": grank_told | CLUSTERS | dict(label_precision="bf16"),
            "bf16": grank_told | CLUSTERS | dict(precision="bf16"),
            "features": CLUSTERS | dict(label_init="random", neighbor_weight=0),
        },
        "LightXML": {
            "": told,
            "clusters": told | CLUSTERS,
            "uniform": told | CLUSTERS | dict(negatives="uniform"),
            "paper": reading
            | CLUSTERS
            | dict(
                label_init="random",
                bottleneck_activation="sigmoid",
                dropout_until=0.5,
                loss_reduction="sum",
            ),
            "manners": told | CLUSTERS | MANNERS,
            "single": told,
            "single clusters": told | CLUSTERS,
            "features": CLUSTERS,
        },
        "LightDXML": {
            "": {},
            "texts": dict(label_texts=label_texts),
            "frequent": dict(n_frequent=5, n_random_negatives=3, refresh_every=1),
            "beta": dict(n_frequent=5, beta="auto"),
            "manners": dict(n_frequent=5) | MANNERS,
            "single": dict(n_frequent=5),
            "features": dict(n_frequent=5),
        },
        "TReaderXML": {
            "": {},
            "texts": dict(label_texts=label_texts),
            "parents": dict(
                label_texts=label_texts,
                label_parents=[f"group {j % 5}" for j in range(len(label_texts))],
            ),
            "clusters": CLUSTERS,
            "paper": dict(
                label_init="random", output_activation="softmax", use_teacher=False
            ),
            "places": dict(
                positional="sinusoidal", pooling="max", layer_norm=True, mask="upper"
            ),
            "manners": CLUSTERS | MANNERS,
            "single": {},
            "features": CLUSTERS,
        },
        "GUDN": {
            "": told,
            "clusters": told | CLUSTERS,
            "paper": told | dict(variant="paper"),
            "columns": reading | dict(label_branch="multi-hot"),
            "manners": told | CLUSTERS | MANNERS,
            "features": CLUSTERS | dict(label_branch="multi-hot"),
        },
    }
    for system, variants in fits.items():
        for name, parameters in variants.items():
            yield f"{system} {name}".strip(), f"{system}Classifier", parameters


def digest(*arrays):
    """SHA-256 of arrays: equal for the same bits alone."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(str((array.dtype, array.shape)).encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def describe(model, X):
    """What must not change: history, and the bits of all kinds of predictions."""
    ids, scores = model.predict_topk(X, k=7)
    alone = model.predict_topk(X[:1], k=3)
    outputs = [getattr(model, f)(X) for f in ("predict_proba", "decision_function")]
    outputs = [
        output.data if hasattr(output, "indptr") else output for output in outputs
    ]
    return {
        "history": [
            {key: epoch[key] for key in ("epoch", "loss", "score") if key in epoch}
            for epoch in model.history_
        ],
        "calibration": getattr(model, "calibration_", None),
        "best": ids[:3, :3].tolist(),
        "topk": digest(ids, scores),
        "one document": digest(*alone),
        "outputs": digest(*outputs),
    }


def fit_all(only=""):
    """Fit everything whose name contains `only`; return what `describe` says."""
    found = {}
    data = make_xmc(180, 40, n_words=300, random_state=0)
    counts = make_xmc(180, 40, n_words=300, kind="features", random_state=0)
    first = np.array([row[0] if len(row) else 0 for row in data.Y.tolil().rows])
    texts = data.texts[:150], data.texts[150:]
    matrix = counts.X[:150], counts.X[150:]
    with tempfile.TemporaryDirectory() as folder:
        encoder = make_encoder([*data.texts, *data.label_names], folder)
        for name, kind, parameters in make_fits(encoder, list(data.label_names)):
            if only not in name:
                continue
            X, y = texts, data.Y
            if name.endswith("features"):
                X, y = matrix, counts.Y
            elif "single" in name:
                y = first
                if "label_texts" in parameters:
                    classes = np.unique(first[:150])
                    names = [str(data.label_names[j]) for j in classes]
                    parameters = parameters | dict(label_texts=names)
            model = getattr(skxmc, kind)(**COMMON | parameters)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = describe(model.fit(X[0], y[:150]), X[1])
            print(name, found[name]["topk"][:12], flush=True)
    return found


def main():
    """Write the file; with --compare tell which fits differ, and fail then."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--compare", type=Path, help="an earlier file")
    parser.add_argument("--only", default="", help="part of the names of the fits")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "machine": machine(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "fits": fit_all(arguments.only),
    }
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")
    if arguments.compare is None:
        return
    earlier = json.loads(arguments.compare.read_text())["fits"]
    fits = json.loads(json.dumps(result["fits"]))  # as JSON has it
    names = [name for name in earlier if arguments.only in name]
    differ = [name for name in names if fits.get(name) != earlier[name]]
    for name in differ:
        if name not in fits:
            print(f"{name} was not fitted.")
            continue
        parts = [
            key for key in earlier[name] if fits[name].get(key) != earlier[name][key]
        ]
        print(f"{name}: {', '.join(parts)} differ.")
    for name in set(fits) - set(names):
        print(f"{name} has nothing to be compared with.")
    print(f"{len(names) - len(differ)} of {len(names)} fits have the same bits.")
    sys.exit(bool(differ) or not names)


if __name__ == "__main__":
    main()
