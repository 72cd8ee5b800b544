"""Words that are counted in parts, against scikit-learn's vectorizer in memory."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from skxmc import _stored_words
from skxmc._stored_texts import StoredTexts
from skxmc._stored_words import fit_vectorizer, transform_words
from skxmc._token_vectors import fit_words
from skxmc._words import WORD
from skxmc.nn.labels import label_centroids
from skxmc.nn.maps import is_mapped

OPTIONS = dict(token_pattern=WORD, sublinear_tf=True, dtype=np.float32)
WORDS = [
    "fox",
    "dog",
    "Fox",
    "été",
    "ǰ",
    "a",
    "ab",
    "b",
    "x_1",
    "狐",
    "7",
    "\u0915\u093f",
]
TEXTS = st.lists(
    st.lists(
        st.sampled_from([*WORDS, "-", "\n", "\t", "\ud800", "\x85"]), max_size=9
    ).map(" ".join),
    min_size=1,
    max_size=30,
)


def stored(texts):
    """Texts as a store has them, without the files of one."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    view = object.__new__(StoredTexts)
    ends = np.cumsum([0, *map(len, encoded)])
    values = np.frombuffer(b"".join(encoded), np.uint8)
    view.__dict__ |= dict(_bytes=values, _text_offsets=ends, _rows=range(len(texts)))
    return view


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(_stored_words, "_TERMS", 5)
    monkeypatch.setattr(_stored_words, "_RUNS", 3)
    monkeypatch.setattr(_stored_words, "_TEXTS", 4)


def assert_same(found, expected):
    expected = expected.copy()
    expected.sum_duplicates()
    assert found.shape == expected.shape and found.dtype == expected.dtype
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.has_canonical_format


@settings(max_examples=150, deadline=None)
@given(
    texts=TEXTS,
    more=TEXTS,
    min_df=st.integers(1, 3),
    max_features=st.none() | st.integers(1, 12),
    last=st.integers(1, 3),
)
def test_vectorizer_has_the_bits_of_scikit_learn(
    texts, more, min_df, max_features, last
):
    options = dict(min_df=min_df, max_features=max_features, ngram_range=(1, last))
    expected = TfidfVectorizer(**OPTIONS, **options)
    found = TfidfVectorizer(**OPTIONS, **options)
    try:
        X = expected.fit_transform(texts)
    except ValueError:
        with pytest.raises(ValueError):
            fit_vectorizer(found, stored(texts))
        return
    assert_same(fit_vectorizer(found, stored(texts)), X)
    assert found.vocabulary_ == expected.vocabulary_
    assert found.idf_.dtype == expected.idf_.dtype
    np.testing.assert_array_equal(found.idf_, expected.idf_)
    assert_same(transform_words(found, stored(more)), expected.transform(more))
    assert_same(transform_words(found, more), expected.transform(more))


@settings(max_examples=40, deadline=None)
@given(texts=TEXTS, last=st.integers(1, 2))
def test_words_of_a_store_are_those_of_a_list(texts, last):
    options = dict(min_df=None, max_features=9, ngram_range=(1, last))
    expected, X = fit_words(texts, **options)
    found, in_files = fit_words(stored(texts), **options)
    assert_same(in_files, X)
    assert found.vocabulary_ == expected.vocabulary_
    np.testing.assert_array_equal(found.idf_, expected.idf_)


def test_texts_without_words():
    found, X = fit_words(stored(["", "-"]), min_df=None, max_features=5)
    expected, Y = fit_words(["", "-"], min_df=None, max_features=5)
    assert found.vocabulary_ == expected.vocabulary_ == {"a": 0}
    assert X.shape == Y.shape and X.nnz == 0


def test_runs_are_merged_in_parts(monkeypatch):
    texts = [f"w{i:03} w{i % 7:03} w{i * i % 11:03}" for i in range(200)]
    expected = TfidfVectorizer(**OPTIONS).fit(texts)
    n_open = []
    read = _stored_words._merge
    monkeypatch.setattr(
        _stored_words, "_merge", lambda runs: (n_open.append(len(runs)), read(runs))[1]
    )
    found = TfidfVectorizer(**OPTIONS)
    fit_vectorizer(found, stored(texts))
    assert len(n_open) > 10 and max(n_open) <= 4
    assert found.vocabulary_ == expected.vocabulary_
    np.testing.assert_array_equal(found.idf_, expected.idf_)


@pytest.mark.parametrize("n_texts", [3, 50])
def test_centroids_of_words_in_files(n_texts, monkeypatch):
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 6)) for _ in range(n_texts)]
    Y = sp.random_array((n_texts, 9), density=0.4, format="csr", rng=rng)
    X = TfidfVectorizer(**OPTIONS).fit_transform(texts)
    in_files = fit_vectorizer(TfidfVectorizer(**OPTIONS), stored(texts))
    assert is_mapped(in_files.data) and is_mapped(in_files.indices)
    before = in_files.copy()
    monkeypatch.setattr("skxmc.nn.labels._ROWS", 7)
    expected, found = label_centroids(X, Y), label_centroids(in_files, Y)
    assert (expected != found).nnz == 0 and found.nnz
    assert (before != in_files).nnz == 0


def test_a_full_disk_is_told(monkeypatch):
    usage = SimpleNamespace(free=10 * 2**30)
    monkeypatch.setattr("skxmc.nn.maps.shutil.disk_usage", lambda folder: usage)

    class Full:
        def write(self, values):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("skxmc.nn.maps.tempfile.TemporaryFile", Full)
    monkeypatch.setattr(_stored_words, "_choose_terms", lambda *args: 1 / 0)
    vectorizer = TfidfVectorizer(**OPTIONS).fit(["fox"])
    message = "words of the documents take 0.0 GiB.*bag_of_words=False.*TMPDIR"
    with pytest.raises(OSError, match=message):
        transform_words(vectorizer, stored(["fox"]))
