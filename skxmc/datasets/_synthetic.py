"""Synthetic documents whose labels can be learned from their words."""

from itertools import chain, count, islice, product
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_random_state, check_scalar

from ._csr import MAX_ID, build_csr


def make_xmc(
    n_docs=1000,
    n_labels=500,
    *,
    kind="text",
    n_labels_per_doc=3.0,
    zipf_exponent=1.0,
    n_words=5000,
    n_words_per_label=3,
    words_per_doc=20,
    noise=0.3,
    return_label_names=True,
    random_state=None,
):
    """Make documents of invented words whose labels can be learned from them.

    Every label has a few words of its own choice. A document draws labels of
    Zipf-distributed frequency, and its words in turn from their words, replaced
    by background words with probability ``noise``. Memory grows with
    ``n_docs * words_per_doc`` and with ``n_labels``, never with their product.

    Parameters
    ----------
    n_docs : int, default=1000
        Number of documents.
    n_labels : int, default=500
        Number of labels; with many, most have no document.
    kind : {"text", "features"}, default="text"
        Texts, or a matrix of their word counts.
    n_labels_per_doc : float, default=3.0
        Mean number of labels drawn for a document, at least 1: one, and a Poisson
        number more. Draws of the same label are one label.
    zipf_exponent : float, default=1.0
        The label of rank r is drawn in proportion to ``r ** -zipf_exponent``; 0
        makes labels equally frequent. Ranks are scattered over the columns.
    n_words : int, default=5000
        Size of the vocabulary, which is the number of features.
    n_words_per_label : int, default=3
        Words of a label, drawn with equal probability; labels may share words.
    words_per_doc : int, default=20
        Length of documents.
    noise : float, default=0.3
        Share of background words, drawn from the whole vocabulary with Zipf
        exponent 1. With 1, documents say nothing about their labels.
    return_label_names : bool, default=True
        False saves about 100 bytes a label. Features have no names either way.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws; an int gives the same data set on every call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        texts : list of str of length n_docs
            Only for ``kind="text"``.
        X : csr_matrix of shape (n_docs, n_words)
            Word counts, float32. Only for ``kind="features"``.
        Y : csr_matrix of shape (n_docs, n_labels)
            Binary, float32, sorted int32 indices; each row has a label.
        label_names : list of str of length n_labels or None
            The words of each label, joined by spaces.
        label_words : ndarray of shape (n_labels, n_words_per_label)
            The same as columns of ``X``, int32.
        DESCR : str
            What was made.

    Raises
    ------
    ValueError
        If ``kind`` is unknown or a number is out of its range.
    TypeError
        If an argument has the wrong type.

    Examples
    --------
    >>> from skxmc.datasets import make_xmc
    >>> data = make_xmc(n_docs=100, n_labels=50, random_state=0)
    >>> len(data.texts), data.Y.shape, len(data.texts[0].split())
    (100, (100, 50), 20)
    """
    if kind not in ("text", "features"):
        raise ValueError(f"kind must be 'text' or 'features', got {kind!r}.")
    for name, value in [
        ("n_docs", n_docs),
        ("n_labels", n_labels),
        ("n_words", n_words),
        ("n_words_per_label", n_words_per_label),
        ("words_per_doc", words_per_doc),
    ]:
        check_scalar(value, name, Integral, min_val=1, max_val=MAX_ID)
    check_scalar(n_labels_per_doc, "n_labels_per_doc", Real, min_val=1)
    check_scalar(zipf_exponent, "zipf_exponent", Real, min_val=0)
    check_scalar(noise, "noise", Real, min_val=0, max_val=1)

    rng = check_random_state(random_state)
    Y = _draw_labels(rng, n_docs, n_labels, n_labels_per_doc, zipf_exponent)
    size = (n_labels, n_words_per_label)
    label_words = rng.randint(n_words, size=size, dtype=np.int32)
    words = _draw_words(rng, Y, label_words, n_words, words_per_doc, noise)

    data = Bunch(Y=Y, label_names=None, label_words=label_words)
    if kind == "features":
        indptr = np.arange(n_docs + 1) * words_per_doc
        ones = np.ones(words.size, dtype=np.float32)
        data.X = build_csr(words.ravel(), indptr, n_words, ones)
    else:
        vocabulary = _vocabulary(n_words)
        data.texts = _join(vocabulary, words)
        if return_label_names:
            data.label_names = _join(vocabulary, label_words)
    data.DESCR = (
        f"Synthetic {kind}: {n_docs} documents of {words_per_doc} words (noise "
        f"{noise}), {n_labels} labels of Zipf exponent {zipf_exponent}."
    )
    return data


def _draw_zipf(rng, size, n_values, exponent):
    """Ranks from 0, int32, with frequencies proportional to a power of rank + 1."""
    cumulative = np.cumsum(np.arange(1, n_values + 1, dtype=np.float64) ** -exponent)
    draws = rng.random_sample(size) * cumulative[-1]
    return np.searchsorted(cumulative[:-1], draws, side="right").astype(np.int32)


def _draw_labels(rng, n_docs, n_labels, n_labels_per_doc, zipf_exponent):
    counts = 1 + rng.poisson(n_labels_per_doc - 1, size=n_docs)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    ranks = _draw_zipf(rng, indptr[-1], n_labels, zipf_exponent)
    # Scattered, so that no tie broken by column favours frequent labels.
    label_of_rank = rng.permutation(n_labels).astype(np.int32)
    return build_csr(label_of_rank[ranks], indptr, n_labels)


def _draw_words(rng, Y, label_words, n_words, words_per_doc, noise):
    """Word ids of each document, int32 of shape (n_docs, words_per_doc)."""
    counts = np.diff(Y.indptr)
    words = np.empty((Y.shape[0], words_per_doc), dtype=np.int32)
    for j in range(words_per_doc):  # a column at a time bounds memory
        labels = Y.indices[Y.indptr[:-1] + j % counts]  # in turn: none is left out
        choice = rng.randint(label_words.shape[1], size=len(labels))
        words[:, j] = label_words[labels, choice]
        background = rng.random_sample(len(labels)) < noise
        words[background, j] = _draw_zipf(rng, background.sum(), n_words, 1.0)
    return words


def _vocabulary(n_words):
    """Invented words, all different: two and more syllables."""
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    words = chain.from_iterable(product(syllables, repeat=n) for n in count(2))
    return ["".join(word) for word in islice(words, n_words)]


def _join(vocabulary, words):
    """Texts of rows of word ids."""
    texts = []
    for start in range(0, len(words), 65536):  # bounds the lists of words
        block = words[start : start + 65536].tolist()
        texts.extend(" ".join([vocabulary[w] for w in row]) for row in block)
    return texts
