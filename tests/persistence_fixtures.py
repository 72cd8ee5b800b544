"""Fixtures for tests of model folders: name this module in ``pytest_plugins``."""

import pickle
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from persistence_examples import FEW, WORDS, D, G, make, together
from sklearn.feature_extraction.text import CountVectorizer

from skxmc.nn.search import has_hnswlib


@pytest.fixture(scope="module")
def data(colours):
    texts, Y, _ = colours
    X = CountVectorizer().fit_transform(texts).astype(np.float64)
    strings = np.array(["b", "c", "a"])[Y.toarray().argmax(axis=1).clip(max=2)]
    return dict(
        texts=texts,
        features=X,
        frame=pd.DataFrame(X.toarray(), columns=[f"x{j}" for j in range(12)]),
        csr_array=Y,
        csr_matrix=sp.csr_matrix(Y),
        dense=Y.toarray().astype(int),
        strings=strings,
        two=strings == "a",
    )


@pytest.fixture(scope="module")
def saved(data, tiny_encoder, tmp_path_factory):
    """Folders, not to be changed, of a few models; and the models."""
    wide = FEW | dict(label_texts=WORDS)
    models = {
        "text": make(G, tiny_encoder, **wide).fit(data["texts"], data["csr_array"]),
        "small": make(G).fit(data["features"], data["csr_array"]),
        "other": make(G, random_state=1).fit(data["features"], data["csr_array"]),
        "pair": together(make(G), "drop").fit(data["features"], data["csr_array"]),
    }
    if has_hnswlib():
        graph = make(D, n_frequent=3, search="hnsw")
        models["graph"] = graph.fit(data["texts"], data["csr_array"])
    folder = tmp_path_factory.mktemp("saved")
    for name, model in models.items():
        model.save_pretrained(folder / name)
    return SimpleNamespace(folder=folder, **models)


@pytest.fixture
def copied(saved, tmp_path):
    """Function that copies a folder of `saved`, for damage."""

    def copy_of(name):
        return Path(shutil.copytree(saved.folder / name, tmp_path / name))

    return copy_of


@pytest.fixture
def warned_always():
    """Warnings that torch gives once a process, each time."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.fixture
def cut_off(monkeypatch):
    """No network, and nothing that unpickles; a list of what was called though."""
    calls = []

    def refuse(*args, **kwargs):
        calls.append(args)  # the error may be caught
        raise AssertionError("this was not to be called")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(joblib, "load", refuse)
    return calls
