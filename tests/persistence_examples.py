"""Models to be saved, and what tests of model folders have in common."""

import hashlib
import json

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator

import skxmc
from skxmc import (
    EnsembleClassifier,
    GRankClassifier,
    GUDNClassifier,
    LightDXMLClassifier,
    LightXMLClassifier,
    TReaderXMLClassifier,
)
from skxmc.nn.search import has_hnswlib
from skxmc.persistence import _folder

QUICK = dict(
    max_epochs=1,
    batch_size=16,
    validation_fraction=0.2,
    precision="fp32",
    random_state=0,
)
FEW = dict(max_leaf_size=3, n_shortlist=2, predict_shortlist=2)
READERS = (GRankClassifier, LightXMLClassifier, GUDNClassifier)
METHODS = ("predict", "predict_proba", "decision_function")
WORDS = "red green blue fox dog cat tree house river stone bright dark".split()
needs_hnswlib = pytest.mark.skipif(not has_hnswlib(), reason="needs hnswlib")


def vectors(seed=0):
    drawn = np.random.default_rng(seed).standard_normal((len(WORDS), 5))
    return dict(zip(WORDS, drawn, strict=True))


def make(kind, encoder=None, **params):
    reads = issubclass(kind, READERS) and encoder is not None
    about = dict(encoder=encoder, max_length=8, n_layers=2) if reads else {}
    if kind is TReaderXMLClassifier and "token_vectors" not in params:
        about = dict(word_dim=16)
    return kind(**QUICK | about | params)


def together(*members, **params):
    return EnsembleClassifier(list(zip("abcd", members, strict=False)), **params)


# Every system in its modes: class, what X and y are, parameters.
G, L, D, T, U = (
    GRankClassifier,
    LightXMLClassifier,
    LightDXMLClassifier,
    TReaderXMLClassifier,
    GUDNClassifier,
)
MODES = {
    "G": (G, "texts", "csr_array", {}),
    "G-clustered": (G, "texts", "csr_matrix", FEW | dict(label_texts=WORDS)),
    "G-dual": (G, "texts", "dense", dict(small_label_mode="dual")),
    "G-random": (G, "texts", "csr_array", dict(label_init="random", label_texts=WORDS)),
    "G-fp64": (G, "texts", "csr_array", dict(precision="fp64")),
    "G-bag": (G, "texts", "csr_array", dict(trained_layers=1, bag_of_words=True)),
    "G-words": (
        G,
        "texts",
        "csr_array",
        FEW | dict(reading="words", bag_of_words=True, label_texts=WORDS),
    ),
    "L-once": (L, "texts", "csr_array", dict(trained_layers=0)),
    "G-strings": (G, "texts", "strings", {}),
    "G-features": (G, "features", "csr_array", {}),
    "G-bf16": (
        G,
        "features",
        "csr_matrix",
        FEW | dict(label_precision="bf16", combine="sum"),
    ),
    "G-columns": (G, "frame", "dense", dict(cluster_features=np.eye(12)) | FEW),
    "G-bce": (G, "texts", "strings", FEW | dict(loss="bce")),
    "G-all": (G, "texts", "csr_array", dict(head="all")),
    "G-all-bf16": (
        G,
        "features",
        "csr_array",
        dict(head="all", label_precision="bf16"),
    ),
    "L": (L, "texts", "csr_array", {}),
    "L-all": (L, "texts", "strings", dict(head="all", head_optimizer="adamw")),
    "L-all-features": (L, "features", "dense", dict(head="all", precision="fp64")),
    "L-clustered": (L, "texts", "dense", FEW),
    "L-static": (
        L,
        "texts",
        "csr_matrix",
        FEW | dict(negatives="static", ranking_encoder="own", bag_of_words=True),
    ),
    "L-neighbors": (L, "texts", "strings", FEW | dict(neighbor_weight=1)),
    "L-bf16": (L, "features", "csr_array", FEW | dict(label_precision="bf16")),
    "L-fp64": (L, "features", "dense", dict(precision="fp64", label_names=WORDS)),
    "L-strings": (L, "texts", "strings", {}),
    "L-two": (L, "features", "two", dict(early_stopping=True)),
    "D": (D, "texts", "csr_array", dict(n_frequent=3, label_texts=WORDS)),
    "D-hnsw": (D, "texts", "csr_matrix", dict(n_frequent=3, search="hnsw")),
    "D-mapping": (D, "texts", "dense", dict(token_vectors=vectors())),
    "D-matrix": (
        D,
        "texts",
        "csr_array",
        dict(token_vectors=(np.arange(24.0).reshape(12, 2), WORDS)),
    ),
    "D-features": (D, "features", "csr_array", dict(beta="auto", swa_start=0.0)),
    "D-fp64": (D, "features", "csr_array", dict(precision="fp64")),
    "D-strings": (D, "texts", "strings", {}),
    "D-neighbors": (D, "texts", "csr_array", dict(neighbor_weight=2.0, n_voters=3)),
    "T": (T, "texts", "csr_array", dict(label_texts=WORDS)),
    "T-clustered": (T, "texts", "dense", FEW | dict(layer_norm=True)),
    "T-parents": (
        T,
        "texts",
        "csr_array",
        dict(label_parents=[[12], [12, 13], None] * 4, parent_texts=["fox", "dog"]),
    ),
    "T-sparse": (
        T,
        "texts",
        "csr_matrix",
        dict(label_parents=sp.csr_array(np.eye(12, k=1)), search="hnsw"),
    ),
    "T-mapping": (
        T,
        "texts",
        "csr_array",
        dict(token_vectors=vectors(), n_heads=1, positional="sinusoidal"),
    ),
    "T-features": (T, "features", "csr_array", {}),
    "T-alone": (T, "features", "csr_array", dict(use_teacher=False) | FEW),
    "T-all": (T, "texts", "csr_array", dict(head="all")),
    "T-strings": (T, "texts", "strings", dict(label_parents=None)),
    "U": (U, "texts", "csr_array", dict(label_texts=WORDS)),
    "U-paper": (
        U,
        "texts",
        "csr_matrix",
        dict(label_texts=WORDS, variant="paper", label_layers=2),
    ),
    "U-all": (U, "texts", "csr_array", dict(label_texts=WORDS, head="all")),
    "U-clustered": (U, "texts", "dense", FEW | dict(label_texts=WORDS)),
    "U-features": (U, "features", "csr_array", dict(label_branch="multi-hot")),
    "U-strings": (U, "texts", "strings", dict(label_texts=["a", "b", "c"])),
}
ENSEMBLES = {
    "E": lambda encoder: together(
        make(G, encoder), make(L, encoder, random_state=1), "drop", weights=[2, 1, 0]
    ),
    "E-features": lambda encoder: together(
        make(G), make(D), scale="rank", weights=np.array([1.0, 0.5]), depth=7
    ),
    "E-strings": lambda encoder: together(make(D), make(T)),
    "E-nested": lambda encoder: together(
        together(make(D), "drop"), make(G, encoder), label_names=WORDS
    ),
}
ENSEMBLE_DATA = {
    "E": ("texts", "csr_array"),
    "E-features": ("features", "dense"),
    "E-strings": ("texts", "strings"),
    "E-nested": ("texts", "csr_matrix"),
}


def build(mode, encoder):
    if mode in ENSEMBLES:
        return ENSEMBLES[mode](encoder), *ENSEMBLE_DATA[mode]
    kind, X, y, params = MODES[mode]
    return make(kind, encoder if X == "texts" else None, **params), X, y


def answers(model, X):
    some, one = part_of(X, slice(12)), part_of(X, slice(7, 8))
    return [
        *model.predict_topk(some, 20),
        *model.predict_topk(one, 3),
        *model.predict_topk(one, 20, return_names=True),
        *(getattr(model, method)(some) for method in METHODS),
    ]


def part_of(X, rows):
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def assert_identical(got, expected):
    """Of the same type, dtype and bits, all the way down."""
    assert type(got) is type(expected)
    if isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_identical(one, other)
    elif isinstance(expected, dict):
        assert list(got) == list(expected)
        assert_identical(list(got.values()), list(expected.values()))
    elif sp.issparse(expected):
        assert got.shape == expected.shape and got.format == expected.format
        for part in ("data", "indices", "indptr"):
            assert_identical(getattr(got, part), getattr(expected, part))
    elif isinstance(expected, np.ndarray):
        assert got.dtype == expected.dtype
        assert_array_equal(got, expected, strict=True)
    elif isinstance(expected, BaseEstimator):
        params = [e.get_params(deep=False) for e in (got, expected)]
        assert_identical(*params)
    else:
        assert got == expected


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def change_config(folder, change):
    """Have config.json changed in place."""
    config = config_of(folder)
    change(config)
    if "sha256" in config:
        config["sha256"] = _folder.hash_config(config)
    (folder / "config.json").write_text(json.dumps(config))


def sign(folder):
    """Write the files that there are into config.json."""

    def signed(config):
        for name in list(config["files"]):
            path = folder / name
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            config["files"][name] = {"bytes": len(content), "sha256": digest}

    change_config(folder, signed)


def content_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else 0
        for path in folder.rglob("*")
    }


def again(model, folder, **options):
    model.save_pretrained(folder / "again")
    return skxmc.load(folder / "again", **options)


def members_of(model):
    inner = [m for e in getattr(model, "estimators_", []) for m in members_of(e)]
    return [model, *inner]


def assert_is(folder, model, X):
    """The folder holds that model."""
    loaded = skxmc.load(folder)
    assert_identical(answers(loaded, X), answers(model, X))
