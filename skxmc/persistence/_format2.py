"""Folders of format 2, turned into what format 3 would hold in their place.

Format 2 named classes by the files that defined them, and wrote every attribute of a
module under the name that it had in Python. The tables say what each of these names is
called in format 3. They describe folders that exist, so they do not change when the
code does.
"""

import numpy as np
import scipy.sparse as sp
import torch

from .._damage import DamagedError

_FILES = {
    "ensemble": ("EnsembleClassifier",),
    "grank": ("GRankClassifier", "GRankNetwork"),
    "gudn": ("Extractor", "ExtractedVectors", "GUDNClassifier", "GUDNNetwork"),
    "lightdxml": (
        "LabelEncoder",
        "LightDXMLClassifier",
        "LightDXMLNetwork",
        "SparseEncoder",
        "SpectralBlock",
    ),
    "lightxml": ("LightXMLClassifier", "LightXMLNetwork"),
    "nn.encoders": ("BagEncoder", "FeatureVectors"),
    "nn.heads": ("DocumentVectors", "LabelScores"),
    "nn.shortlist": ("LabelClusters",),
    "treaderxml": (
        "Reading",
        "SameVectors",
        "SelfAttention",
        "TReaderEncoder",
        "TReaderXMLClassifier",
        "TReaderXMLNetwork",
    ),
}
# Names of format 3 by those of format 2. Layers of torch were bare names before.
_CLASSES = {f"{file}.{name}": name for file, names in _FILES.items() for name in names}
# Attributes of classifiers.
_RENAMED = {
    "_texts": "takes_texts",
    "_nfc": "nfc",
    "_y_kind": "y_kind",
    "_y_dtype": "y_dtype",
    "_y_container": "y_container",
    "_neighbor_vectors": "neighbor_vectors",
}
# Attributes that only training uses, by class. Every module had its mode, too.
_DROPPED = {
    "BagEncoder": ("pooler",),
    "FeatureVectors": ("touched",),
    "GRankNetwork": ("_lambda", "_lambda_step"),
    "GUDNNetwork": ("_n_dropping", "guide", "label_encoder", "label_length"),
    "LabelEncoder": ("pretrained",),
    "LabelScores": ("touched",),
    "LightDXMLNetwork": ("cycle",),
    "LightXMLNetwork": ("_n_dropping",),
    "SparseEncoder": ("pooler",),
    "SpectralBlock": ("folded",),
    "TReaderEncoder": ("pooler",),
    "TReaderXMLNetwork": ("_n_dropping",),
}
# Attributes of networks.
_RENAMED_IN_NETWORKS = {"read": "doc_vectors"}
# Linear maps that are heads of networks now, by class.
_HEADS = {
    "GRankNetwork": "retriever",
    "GUDNNetwork": "recall",
    "LightDXMLNetwork": "frequent_ranker",
    "LightXMLNetwork": "recall",
    "TReaderXMLNetwork": "recall",
}
# Attributes of classifiers that say nothing new: a tokenizer that was always None, and
# what follows from the parameters.
_DROPPED_FROM_CLASSIFIERS = {
    "GUDNClassifier": "_reads_names",
    "TReaderXMLClassifier": "tokenizer_",
}
_GROUPS = ("state", "_parameters", "_buffers", "modules")


def upgrade(value, tensors, folder):
    """Turn the JSON of a value of format 2 into that of format 3.

    Parameters
    ----------
    value : object
        As parsed from JSON; nothing of it has been checked.
    tensors : dict of str to tensor
        Of the folder. Tensors that format 3 lays out in another way are added.
    folder : Path

    Raises
    ------
    ValueError, or any other Exception
        If it is not of format 2.
    """

    def upgrade_all(values):
        return {name: upgrade(item, tensors, folder) for name, item in values.items()}

    if isinstance(value, list):
        return [upgrade(item, tensors, folder) for item in value]
    if not isinstance(value, dict) or not value:
        return value
    kind = next(iter(value))
    if kind == "graph":
        raise DamagedError(
            f"{folder / value['graph']} is a graph as an early version of skxmc wrote "
            "it, which hnswlib would read unchecked. Fit the model again."
        )
    if kind in ("dict", "bunch", "vectorizer"):
        return upgrade_all(value | {kind: None}) | {kind: upgrade_all(value[kind])}
    if kind == "transformer":
        _check_fields(value, "transformer", "dtype", "options")
        model = {name: value[name] for name in ("transformer", "dtype")}
        state = {"model": model, **upgrade_all(value["options"])}
        return {"object": "TransformerEncoder", "state": state}
    if kind == "module":
        _check_fields(value, "module", *_GROUPS, "passing")
        return _upgrade_module(value, tensors, upgrade_all)
    if kind == "estimator":
        _check_fields(value, "estimator", "parameters", "state")
        state = upgrade_all(value["state"])
        name = _CLASSES.get(value["estimator"], value["estimator"])
        state.pop(_DROPPED_FROM_CLASSIFIERS.get(name), None)
        return {
            "estimator": name,
            "parameters": upgrade_all(value["parameters"]),
            "state": {_RENAMED.get(name, name): item for name, item in state.items()},
        }
    return upgrade_all(value)


def _check_fields(value, *names):
    unknown = sorted(set(value) - set(names))
    if unknown:
        raise ValueError(f"{names[0]!r} has the unknown field {unknown[0]!r}")


def _upgrade_module(value, tensors, upgrade_all):
    name = _CLASSES.get(value["module"], value["module"])
    dropped = {"training", *_DROPPED.get(name, ())}
    state = {}
    for group in _GROUPS:
        for key, item in upgrade_all(value.get(group, {})).items():
            if name in _HEADS:
                key = _RENAMED_IN_NETWORKS.get(key, key)
            if key in state:
                raise ValueError(f"a {name} has two attributes {key!r}")
            if key not in dropped:
                state[key] = item
    head = state.get(_HEADS.get(name))
    if head and head.get("object") == "Linear":
        head["object"] = "LinearHead"
    if name == "LabelScores" and "word_starts" not in state:
        state |= _lay_out_words(state, tensors)
    return {"object": name, "state": state}


def _lay_out_words(state, tensors):
    """Lay the words of all labels end to end: early folders have a padded row each."""
    if state["words"] is None:
        return {"word_shares": None, "word_starts": None}
    key = state["words"]["tensor"]
    rows, vectors = tensors[key].numpy(), tensors[state["word_vectors"]["tensor"]]
    # The last of the word vectors was the padding's, and stays unused.
    places, columns = np.nonzero(rows < len(vectors) - 1)
    shape = len(rows), len(vectors)
    ones = np.ones(len(places), np.int64)
    counts = sp.csr_array((ones, (places, rows[places, columns])), shape)
    shares = counts.data / counts.sum(axis=1).repeat(np.diff(counts.indptr))
    starts = np.append(counts.indptr, counts.nnz).astype(np.int32)
    laid_out = {
        "words": torch.from_numpy(counts.indices.astype(np.int32)),
        "word_shares": torch.from_numpy(shares.astype(np.float32)).to(vectors.dtype),
        "word_starts": torch.from_numpy(starts),
    }
    tensors.update({f"{key} {name}": tensor for name, tensor in laid_out.items()})
    del tensors[key]
    return {name: {"tensor": f"{key} {name}"} for name in laid_out}
