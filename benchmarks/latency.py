"""Prediction time of one document: the whole call, and what each part of it takes.

    python benchmarks/latency.py --systems GRankClassifier LightXMLClassifier

The models are trained for one epoch on random texts. Their predictions mean nothing,
but take as long as those of a trained model. A call and the bare transformer are timed
in turns. In further calls, the parts of a call are timed where they are called:

- ``overhead_ms`` is what is left of a call without the transformer and the product of
  the head (``without_ms``). Without a transformer, it is what is left without the
  network.
- ``of_it_ms`` are parts of the overhead: the tokens and the words of the text
  ("documents" where there is no transformer, with the search for TReaderXML's
  teachers), the vector of the document, and the neighbours and their votes.

A transformer reads more weights than the caches of a processor hold. Whatever follows
it waits for its code and data from memory, and takes several times as long as without
it. On a machine that others use too, measure processor time on one thread:

    OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
        python benchmarks/latency.py --clock cpu
"""

import argparse
import contextlib
import time
from unittest import mock

import numpy as np
import scipy.sparse as sp
import torch
from _common import write_json

import skxmc
from skxmc import _pretrained
from skxmc.nn import neighbors
from skxmc.nn.devices import autocast, choose_device, choose_precision

SYSTEMS = [
    "GRankClassifier",
    "LightXMLClassifier",
    "GUDNClassifier",
    "LightDXMLClassifier",
    "TReaderXMLClassifier",
]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# Words that are one token each for BERT's tokenizer.
WORDS = (
    "time year people way day man thing woman life child world school state family "
    "student group country problem hand part place case week company system program "
    "question work government number night point home water room mother area money "
    "story fact month lot right study book eye job word business issue side kind head "
    "house service friend father power hour game line end member law car city name"
).split()
LABELS_PER_DOC = 3


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, choices=SYSTEMS)
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--documents", type=int, default=1000, help="trained on")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--tokens", type=int, nargs="+", default=[16, 128])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--name", default="latency", help="name of the file in results")
    return parser.parse_args()


def random_texts(n_texts, n_words, rng):
    return [" ".join(words) for words in rng.choice(WORDS, (n_texts, n_words))]


def fitted(system, options):
    """A model that is trained for one epoch on random texts of twelve words."""
    rng = np.random.default_rng(0)
    n_docs, n_labels = options.documents, options.labels
    columns = rng.integers(n_labels, size=n_docs * LABELS_PER_DOC)
    rows = np.arange(n_docs).repeat(LABELS_PER_DOC)
    Y = sp.csr_array((np.ones(len(rows)), (rows, columns)), (n_docs, n_labels))
    Y.data[:] = 1
    parameters = dict(max_epochs=1, validation_fraction=0, random_state=0)
    if system in ("GRankClassifier", "LightXMLClassifier", "GUDNClassifier"):
        parameters |= dict(encoder=options.encoder, max_length=max(options.tokens))
    if system == "GUDNClassifier":
        parameters["label_texts"] = random_texts(n_labels, 3, rng)
    texts = random_texts(n_docs, 12, rng)
    return getattr(skxmc, system)(**parameters).fit(texts, Y)


def bare_encoder(model, text):
    """Return a function that runs the transformer alone, or None without one."""
    transformer = getattr(model.network_.encoder, "model", None)
    if transformer is None:
        return None
    device = choose_device("auto")
    precision = choose_precision("auto", device)
    batch = model.tokenizer_(text, return_tensors="pt", return_token_type_ids=False)
    batch = batch.to(device)

    def run():
        with torch.inference_mode(), autocast(device, precision):
            transformer(**batch)

    return run


def milliseconds(functions, options):
    """Times of functions that are called in turns: (n_functions, repetitions)."""
    clock = CLOCKS[options.clock]
    times = np.zeros((len(functions), options.repetitions))
    for i in range(-5, options.repetitions):  # the first calls warm up
        for function, row in zip(functions, times, strict=True):
            start = clock()
            function()
            if i >= 0:
                row[i] = 1e3 * (clock() - start)
    return times


def places_of_parts(model):
    """Return where the parts of a call are called, by the name of the part.

    Returns
    -------
    inner : dict of str to list of (object, str)
        The parts that are not overhead.
    of_it : dict of str to list of (object, str)
        Parts of the overhead.
    """
    network = model.network_
    transformer = getattr(network.encoder, "model", None)
    inner = {"network": [(network, "rank")]}
    of_it = {"documents": [(model, "_make_docs")]}
    if transformer is not None:
        heads = (getattr(network, name, None) for name in ("ranker", "recall"))
        heads = [(head, "forward") for head in heads if head is not None]
        inner = {"transformer": [(transformer, "forward")], "head": heads}
        of_it = {
            "tokens": [(_pretrained, "tokenize")],
            "words": [(_pretrained, "transform_words")],
            "vectors": [(network.encoder, "_pool"), (network.doc_vectors, "forward")],
        }
        if network.neighbors is not None:
            of_it["neighbors"] = [
                (network.neighbors, name) for name in ("search", "count")
            ] + [(neighbors, "add_votes")]
    return inner, of_it


def time_parts(model, text, options):
    """Time the parts of a call.

    Returns
    -------
    dict of str to ndarray of shape (repetitions,)
        Milliseconds of each part, and of the call ("call").
    """
    clock, spent = CLOCKS[options.clock], {}

    def timed(function, part):
        def call(*args, **kwargs):
            start = clock()
            try:
                return function(*args, **kwargs)
            finally:
                spent[part] += 1e3 * (clock() - start)

        return call

    inner, of_it = places_of_parts(model)
    times = {part: [] for part in [*inner, *of_it, "call"]}
    with contextlib.ExitStack() as stack:
        for part, places in (inner | of_it).items():
            for owner, name in places:
                function = timed(getattr(owner, name), part)
                stack.enter_context(mock.patch.object(owner, name, function))
        predict = timed(model.predict_topk, "call")
        for i in range(-5, options.repetitions):
            spent.update(dict.fromkeys(times, 0.0))
            predict([text], 5)
            for part, values in times.items() if i >= 0 else ():
                values.append(spent[part])
    times = {part: np.array(values) for part, values in times.items()}
    times["overhead"] = times["call"] - sum(times[part] for part in inner)
    return {name: times[name] for name in [*inner, *of_it, "overhead"]}


def describe(times):
    least, median, slow = np.percentile(times, [0, 50, 99]).round(2).tolist()
    return {"least": least, "median": median, "99 percent": slow}


def measure(system, model, n_tokens, options):
    # Two tokens are special.
    (text,) = random_texts(1, n_tokens - 2, np.random.default_rng(n_tokens))
    bare = bare_encoder(model, text)
    functions = [lambda: model.predict_topk([text], 5), *([bare] if bare else [])]
    times = milliseconds(functions, options)
    row = {"system": system, "tokens": n_tokens, "call_ms": describe(times[0])}
    if bare:
        row["encoder_ms"] = describe(times[1])
        least = row["call_ms"]["least"] - row["encoder_ms"]["least"]
        median = row["call_ms"]["median"] - row["encoder_ms"]["median"]
        row["added_ms"] = {"least": round(least, 2), "median": round(median, 2)}
    parts = time_parts(model, text, options)
    row["overhead_ms"] = describe(parts.pop("overhead"))
    of_it = places_of_parts(model)[1]
    for key, names in (("without_ms", parts.keys() - of_it), ("of_it_ms", of_it)):
        medians = {name: float(np.median(parts[name])) for name in sorted(names)}
        row[key] = {name: round(value, 3) for name, value in medians.items()}
    return row


def main():
    options = parse()
    rows = []
    for system in options.systems:
        model = fitted(system, options)
        for n_tokens in options.tokens:
            rows.append(measure(system, model, n_tokens, options))
            print(rows[-1], flush=True)
    device = choose_device("auto")
    settings = vars(options) | {
        "device": device,
        "precision": choose_precision("auto", device),
        "threads": torch.get_num_threads(),
    }
    write_json(options.name, {"settings": settings, "results": rows})


if __name__ == "__main__":
    main()
