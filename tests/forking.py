"""Fork after predictions: what each child came to, as JSON.

    OMP_NUM_THREADS=2 python tests/forking.py

A child that hangs is killed. Run by tests/test_process.py in a process of its own, for
the threads that a process has started stay.
"""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import scipy.sparse as sp
import torch

import skxmc

# Seconds after which a child hangs: it has a second's work at most.
_PATIENCE = 60.0
N_DOCS, N_LABELS = 96, 48
WORDS = [f"w{i}" for i in range(64)]
COMMON = dict(
    max_epochs=1, label_dim=64, validation_fraction=0, device="cpu", random_state=0
)
CLUSTERS = dict(max_leaf_size=4, n_shortlist=4, predict_shortlist=4)
GRAPH = dict(n_frequent=2, search="hnsw")
READER = dict(word_dim=64, min_df=1)


def documents():
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(WORDS), size=(N_DOCS, 40))
    texts = [" ".join(WORDS[j] for j in row) for row in chosen]
    rows = np.repeat(np.arange(N_DOCS), 4)
    ones = np.ones(4 * N_DOCS, np.float32)
    labels = chosen[:, :4].ravel() % N_LABELS
    Y = sp.csr_array((ones, (rows, labels)), (N_DOCS, N_LABELS))
    Y.data[:] = 1
    X = np.stack([np.bincount(row, minlength=len(WORDS)) for row in chosen])
    return texts, X.astype(np.float32), Y


def encoder():
    """A random BERT of 2 layers x 64, and a tokenizer of these words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocab = {word: i for i, word in enumerate(special + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    )
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    return BertModel(config), tokenizer


def systems():
    """A model by name, and the kind of documents that it reads."""
    read = dict(encoder=encoder(), n_layers=1, max_length=32, **COMMON, **CLUSTERS)
    named = dict(label_texts=WORDS[:N_LABELS])
    return {
        "grank": (skxmc.GRankClassifier(**read), "texts"),
        "gudn": (skxmc.GUDNClassifier(**read, **named), "texts"),
        "lightdxml": (skxmc.LightDXMLClassifier(**COMMON), "texts"),
        "lightxml": (skxmc.LightXMLClassifier(**read), "texts"),
        "treaderxml": (skxmc.TReaderXMLClassifier(**COMMON, **READER), "texts"),
        "hnsw": (skxmc.LightDXMLClassifier(**COMMON, **GRAPH), "texts"),
        "features": (skxmc.LightXMLClassifier(**COMMON), "features"),
    }


def in_child(function):
    """What a forked process makes of a function: "done", "hangs", or an error."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException as error:
            print(f"{error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "done" if status == 0 else f"failed: {status}"
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"


def same(got, expected):
    assert all((one == other).all() for one, other in zip(got, expected, strict=True))


def predict(model, X, expected):
    got = model.predict_topk(X, 5)
    assert all((one == other).all() for one, other in zip(got, expected, strict=True))
    model.predict_topk(X[:1], 5)


def in_pool(*task):
    """What a process of multiprocessing's makes of a prediction."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            pool.apply_async(predict, task).get(_PATIENCE)
        except multiprocessing.TimeoutError:
            return "hangs"
    return "done"


def during_a_fit(fit):
    """Fork while the fit of another thread has its turn."""
    begun, goes_on = threading.Event(), threading.Event()

    class Slow(dict):
        """Word vectors that are long in coming."""

        def __contains__(self, word):
            begun.set()
            goes_on.wait()
            return True

        def __missing__(self, word):
            return np.ones(4)

    def wait():
        texts, _, Y = documents()
        skxmc.LightDXMLClassifier(token_vectors=Slow(), **COMMON).fit(texts, Y)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        return in_child(fit) if begun.wait(_PATIENCE) else "no fit to fork during"
    finally:
        goes_on.set()
        thread.join()


def main():
    warnings.simplefilter("ignore")
    assert torch.get_num_threads() > 1
    texts, X, Y = documents()
    kinds = {"texts": texts, "features": X}
    fitted, results = {}, {}
    for name, (model, kind) in systems().items():
        model.fit(kinds[kind], Y)
        fitted[name] = model, kinds[kind], model.predict_topk(kinds[kind], 5)
    for name, (model, X, expected) in fitted.items():
        results[name] = in_child(partial(predict, model, X, expected))
        results[f"{name}, fitted again"] = in_child(partial(model.fit, X, Y))
    predicts, fits = partial(predict, model, X, expected), partial(model.fit, X, Y)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder + "/model")
        results["loaded there"] = in_child(partial(skxmc.load, folder + "/model"))
    # The thread lives on until the last fork. When it ends, its OpenMP threads end a
    # moment later, and free buffers under a lock of MKL: a process that is forked at
    # that moment waits for the lock forever.
    with ThreadPoolExecutor(1) as pool:  # a thread that has predicted, too
        pool.submit(predicts).result()
        results["from another thread"] = pool.submit(in_child, predicts).result()
        results["multiprocessing"] = in_pool(model, X, expected)
        results["during a fit"] = during_a_fit(fits)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
