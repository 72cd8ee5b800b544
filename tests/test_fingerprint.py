"""The fingerprint of a fit: what changes it, and what does not."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

import skxmc
from skxmc import _fingerprint
from skxmc._fingerprint import fit_fingerprint

SYSTEMS = [
    "GRankClassifier",
    "GUDNClassifier",
    "LightDXMLClassifier",
    "LightXMLClassifier",
    "TReaderXMLClassifier",
]
FREE = {
    "checkpoint_dir",
    "label_names",
    "resume",
    "warm_start",
    "top_k",
    "verbose",
    "neighbor_weight",
    "n_voters",
    "label_texts_vote",
}
TEXTS = ["red fox", "", "old stone house", "ab", "c", "\ud800 alone"]
Y = sp.csr_array([[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1], [0, 0, 1], [1, 0, 0]])


def of(X=TEXTS, Y=Y, version=3, **params):
    return fit_fingerprint(skxmc.GRankClassifier(**params), X, Y, version)


def make_features(seed=0, shape=(6, 5)):
    rng = np.random.default_rng(seed)
    X = rng.random(shape) * (rng.random(shape) < 0.5)
    return sp.csr_array(X.astype(np.float32))


def test_it_names_a_file():
    assert len(of()) == 32 and of().isalnum() and of() == of()


def test_every_change_of_texts_counts():
    changed = [
        [*TEXTS[:3], "abc", "", *TEXTS[5:]],
        [*TEXTS[:3], "a", "bc", *TEXTS[5:]],
        [*TEXTS[:3], "c", "ab", *TEXTS[5:]],
        TEXTS[:-1] + ["\udfff alone"],
        TEXTS[:-1] + ["? alone"],
    ]
    for i, text in enumerate(TEXTS):
        changed.append(TEXTS[:i] + [text + " "] + TEXTS[i + 1 :])
    assert len({of(), *map(of, changed)}) == 1 + len(changed)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(), min_size=1, max_size=5), st.lists(st.text(), max_size=5))
def test_other_texts_have_another_name(texts, others):
    assert (of(texts) == of(others)) == (texts == others)


def test_every_change_of_labels_counts():
    found = {of()}
    for i, j in np.ndindex(Y.shape):
        dense = Y.toarray()
        dense[i, j] = 1 - dense[i, j]
        found.add(of(Y=sp.csr_array(dense)))
    wider = sp.csr_array((Y.data, Y.indices, Y.indptr), (6, 4))
    assert len(found | {of(Y=wider)}) == 2 + Y.shape[0] * Y.shape[1]


def test_every_change_of_features_counts():
    X = make_features()
    found = {of(X)}
    for i, j in np.ndindex(X.shape):
        dense = X.toarray()
        dense[i, j] = np.nextafter(dense[i, j], np.float32(2))
        found.add(of(sp.csr_array(dense)))
    wider = sp.csr_array((X.data, X.indices, X.indptr), (6, 9))
    assert len(found | {of(wider)}) == 2 + X.shape[0] * X.shape[1]


@pytest.mark.parametrize("container", [sp.csr_array, sp.csr_matrix])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("index", ["i4", "i8"])
def test_containers_and_dtypes_do_not_count(container, dtype, index):
    def other(M, dtype):
        parts = M.data.astype(dtype), M.indices.astype(index), M.indptr.astype(index)
        return container(parts, M.shape)

    X = make_features()
    assert of(other(X, dtype), other(Y, dtype)) == of(X, Y)
    assert of(Y=other(Y, "i1")) == of(Y=other(Y, bool)) == of()


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 8])
def test_chunks_do_not_count(chunk, monkeypatch):
    X = make_features()
    whole = of(X)
    monkeypatch.setattr(_fingerprint, "_CHUNK", chunk)
    assert of(X) == whole != of(make_features(1))


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_parameter_counts_that_training_depends_on(name):
    def fingerprint(**params):
        return fit_fingerprint(getattr(skxmc, name)(**params), TEXTS, Y, 3)

    plain, parameters = fingerprint(), getattr(skxmc, name)().get_params()
    found = {parameter: fingerprint(**{parameter: "other"}) for parameter in parameters}
    same = {parameter for parameter, value in found.items() if value == plain}
    assert same == FREE
    assert len(set(found.values())) == len(found) - len(FREE) + 1


def test_class_and_version_count():
    found = {fit_fingerprint(getattr(skxmc, n)(), TEXTS, Y, 3) for n in SYSTEMS}
    assert len(found | {of(version=4)}) == len(SYSTEMS) + 1


def test_every_weight_of_a_ready_encoder_counts(tiny_model, tiny_tokenizer):
    plain = of(encoder=(tiny_model, tiny_tokenizer))
    assert of(encoder=(copy.deepcopy(tiny_model), tiny_tokenizer)) == plain
    found = {plain}
    for name in tiny_model.state_dict():
        other = copy.deepcopy(tiny_model)
        with torch.no_grad():
            other.state_dict()[name].view(-1)[-1] += 1
        found.add(of(encoder=(other, tiny_tokenizer)))
    assert len(found) == 1 + len(tiny_model.state_dict())


def test_the_tokenizer_counts(tiny_model, tiny_tokenizer):
    plain = of(encoder=(tiny_model, tiny_tokenizer))
    used = copy.deepcopy(tiny_tokenizer)
    used("red fox", truncation=True, max_length=3, padding="max_length")
    assert of(encoder=(tiny_model, used)) == plain
    lower = copy.deepcopy(tiny_tokenizer)
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    more = copy.deepcopy(tiny_tokenizer)
    more.add_tokens(["unheard"])
    assert len({plain, *(of(encoder=(tiny_model, t)) for t in (lower, more))}) == 3


def test_nothing_is_changed():
    X, labels = make_features(), Y.copy()
    model = skxmc.GRankClassifier()
    before = model.get_params()
    fit_fingerprint(model, X, labels, 3)
    assert model.get_params() == before and not hasattr(model, "network_")
    np.testing.assert_array_equal(X.toarray(), make_features().toarray())
    np.testing.assert_array_equal(labels.toarray(), Y.toarray())
