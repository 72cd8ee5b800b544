"""Synthetic documents: sizes, frequencies, and that they can be learned."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from scipy.stats import linregress

from skxmc.datasets import make_xmc


def test_make_xmc_is_reproducible():
    same = [make_xmc(50, 30, random_state=3) for _ in range(2)]
    other = make_xmc(50, 30, random_state=4)
    assert same[0].texts == same[1].texts != other.texts
    assert (same[0].Y != same[1].Y).nnz == 0 != (same[0].Y != other.Y).nnz
    assert same[0].label_names == same[1].label_names != other.label_names


def test_make_xmc_text_and_features_agree():
    options = dict(n_words=90, words_per_doc=8, random_state=0)
    text = make_xmc(40, 25, **options)
    features = make_xmc(40, 25, kind="features", **options)
    assert features.X.shape == (40, 90) and features.X.dtype == np.float32
    assert_array_equal(features.X.sum(axis=1), 8)
    assert (text.Y != features.Y).nnz == 0
    assert "texts" not in features and features.label_names is None
    # The same number of different words, in every document.
    assert_array_equal(
        features.X.getnnz(axis=1), [len(set(t.split())) for t in text.texts]
    )


@pytest.mark.parametrize(
    "n_docs, n_labels, n_words, words_per_doc",
    [(1, 1, 1, 1), (3, 2000, 10, 4), (200, 2, 7000, 1), (70_000, 5, 50, 2)],
)
def test_make_xmc_sizes(n_docs, n_labels, n_words, words_per_doc):
    data = make_xmc(
        n_docs,
        n_labels,
        n_words=n_words,
        words_per_doc=words_per_doc,
        n_words_per_label=2,
        random_state=0,
    )
    assert data.Y.shape == (n_docs, n_labels) and len(data.texts) == n_docs
    assert data.Y.dtype == np.float32 and data.Y.indices.dtype == np.int32
    assert (data.Y.data == 1).all() and data.Y.getnnz(axis=1).min() >= 1
    assert {len(text.split()) for text in data.texts} == {words_per_doc}
    assert len(data.label_names) == n_labels
    assert len({word for text in data.texts for word in text.split()}) <= n_words


def test_make_xmc_zipf_frequencies():
    data = make_xmc(
        100_000, 1000, kind="features", words_per_doc=1,
        n_labels_per_doc=1, zipf_exponent=1.3, random_state=0,
    )  # fmt: skip
    assert data.Y.nnz == 100_000  # one label a document
    counts = np.sort(data.Y.getnnz(axis=0))[::-1]
    fit = linregress(np.log(np.arange(1, 101)), np.log(counts[:100]))
    assert fit.slope == pytest.approx(-1.3, abs=0.05)
    # Frequent labels are scattered: the first columns are not the frequent ones.
    assert data.Y[:, :500].nnz < 95_000


def test_make_xmc_mean_number_of_labels():
    data = make_xmc(20_000, 10**5, zipf_exponent=0, n_labels_per_doc=4, random_state=0)
    assert data.Y.nnz / 20_000 == pytest.approx(4, abs=0.05)
    flat = np.bincount(data.Y.getnnz(axis=0))
    assert len(flat) < 12  # 0.8 documents a label on average, none is frequent


def test_make_xmc_without_noise_has_only_label_words_and_all_labels():
    data = make_xmc(300, 40, noise=0, words_per_doc=30, random_state=0)
    for text, row in zip(data.texts, data.Y, strict=True):
        words = [set(data.label_names[i].split()) for i in row.indices]
        assert set(text.split()) <= set.union(*words)
        assert all(set(text.split()) & own for own in words)


@pytest.mark.parametrize("noise, low, high", [(0.3, 0.75, 1.0), (1.0, 0.0, 0.3)])
def test_make_xmc_can_be_learned_unless_all_is_noise(noise, low, high):
    options = dict(kind="features", n_words=2000, noise=noise, random_state=0)
    data = make_xmc(400, 100, **options)
    own = sparse.csr_matrix((100, 2000), dtype=np.float32).tolil()
    own[np.arange(100)[:, None], data.label_words] = 1
    best = np.asarray((data.X @ own.T.tocsr()).argmax(axis=1)).ravel()
    hits = np.asarray(data.Y[np.arange(400), best]).mean()
    assert low <= hits <= high


def test_make_xmc_million_labels_take_little_memory():
    tracemalloc.start()
    data = make_xmc(
        1000, 1_000_000, kind="features", return_label_names=False, random_state=0
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.Y.shape == (1000, 1_000_000)
    assert peak < 150e6  # a few arrays of n_labels; 4 GB if dense by documents


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "images"}, "kind must be 'text' or 'features', got 'images'"),
        ({"n_docs": 0}, "n_docs == 0, must be >= 1"),
        ({"n_labels": 0}, "n_labels == 0"),
        ({"n_words": 2**31}, "n_words == 2147483648"),
        ({"words_per_doc": 0}, "words_per_doc == 0"),
        ({"n_labels_per_doc": 0.5}, "n_labels_per_doc == 0.5"),
        ({"zipf_exponent": -1}, "zipf_exponent == -1"),
        ({"noise": 1.5}, "noise == 1.5, must be <= 1"),
    ],
)
def test_make_xmc_refuses_values(options, message):
    with pytest.raises(ValueError, match=message):
        make_xmc(**options)


def test_make_xmc_refuses_types():
    with pytest.raises(TypeError, match="n_docs must be an instance of"):
        make_xmc(n_docs=10.0)
