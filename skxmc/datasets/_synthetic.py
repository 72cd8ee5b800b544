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

    Every label has a few words, drawn from the vocabulary. A document draws labels,
    whose frequencies follow Zipf's law. Each of its words comes from one of its
    labels in turn, or, with probability ``noise``, is a background word. Memory
    grows with ``n_docs * words_per_doc`` and with ``n_labels``, but not with
    ``n_docs * n_labels``.

    Parameters
    ----------
    n_docs : int, default=1000
        Number of documents.
    n_labels : int, default=500
        Number of labels. If there are many, most labels have no document.
    kind : {"text", "features"}, default="text"
        Whether documents are texts, or rows of a matrix of word counts.
    n_labels_per_doc : float, default=3.0
        Mean number of labels drawn for a document, at least 1: every document draws
        one label and a Poisson number of others. Equal draws count once.
    zipf_exponent : float, default=1.0
        The label of rank r is drawn with a probability proportional to
        ``r ** -zipf_exponent``, so 0 makes all labels equally frequent. The order
        of the columns is independent of the ranks.
    n_words : int, default=5000
        Size of the vocabulary, which is the number of features of a matrix.
    n_words_per_label : int, default=3
        Number of words of a label, all equally probable. Labels may share words.
    words_per_doc : int, default=20
        Number of words of every document.
    noise : float, default=0.3
        Probability that a word is a background word, drawn from the whole
        vocabulary with Zipf exponent 1. If it is 1, documents tell nothing about
        their labels.
    return_label_names : bool, default=True
        Whether to return label names, for ``kind="text"``. They take about 100
        bytes per label.
    random_state : int, RandomState instance or None, default=None
        Seed of all draws. An int gives the same data set on every call.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        texts : list of str of length n_docs
            Documents; only for ``kind="text"``.
        X : csr_matrix of shape (n_docs, n_words)
            Word counts, float32; only for ``kind="features"``.
        Y : csr_matrix of shape (n_docs, n_labels)
            Binary, float32, with sorted int32 indices. Each row has at least one
            label.
        label_names : list of str of length n_labels or None
            The words of each label, joined by spaces. None for features, or if
            names are not wanted.
        label_words : ndarray of shape (n_labels, n_words_per_label)
            The words of each label as columns of ``X``, int32.
        DESCR : str
            Kind and parameters of the data.

    Raises
    ------
    ValueError
        If ``kind`` is unknown or a number is out of range.
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
        vocabulary = _make_words(n_words)
        data.texts = _join_words(vocabulary, words)
        if return_label_names:
            data.label_names = _join_words(vocabulary, label_words)
    data.DESCR = (
        f"Synthetic {kind}: {n_docs} documents of {words_per_doc} words (noise "
        f"{noise}), {n_labels} labels of Zipf exponent {zipf_exponent}."
    )
    return data


def _draw_zipf(rng, size, n_values, exponent):
    """Draw ranks from 0, int32, with probabilities (rank + 1) ** -exponent."""
    cumulative = np.cumsum(np.arange(1, n_values + 1, dtype=np.float64) ** -exponent)
    draws = rng.random_sample(size) * cumulative[-1]
    return np.searchsorted(cumulative[:-1], draws, side="right").astype(np.int32)


def _draw_labels(rng, n_docs, n_labels, n_labels_per_doc, zipf_exponent):
    counts = 1 + rng.poisson(n_labels_per_doc - 1, size=n_docs)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    ranks = _draw_zipf(rng, indptr[-1], n_labels, zipf_exponent)
    # Shuffled: otherwise ties that are broken by column would favour frequent labels.
    label_of_rank = rng.permutation(n_labels).astype(np.int32)
    return build_csr(label_of_rank[ranks], indptr, n_labels)


def _draw_words(rng, Y, label_words, n_words, words_per_doc, noise):
    """Draw word ids of each document, int32 of shape (n_docs, words_per_doc)."""
    counts = np.diff(Y.indptr)
    words = np.empty((Y.shape[0], words_per_doc), dtype=np.int32)
    for j in range(words_per_doc):  # one column at a time, to save memory
        labels = Y.indices[
            Y.indptr[:-1] + j % counts
        ]  # in turn, so that no label is left out
        choice = rng.randint(label_words.shape[1], size=len(labels))
        words[:, j] = label_words[labels, choice]
        background = rng.random_sample(len(labels)) < noise
        words[background, j] = _draw_zipf(rng, background.sum(), n_words, 1.0)
    return words


def _make_words(n_words):
    """Make different words of two or more syllables."""
    syllables = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]
    words = chain.from_iterable(product(syllables, repeat=n) for n in count(2))
    return ["".join(word) for word in islice(words, n_words)]


def _join_words(vocabulary, words):
    """Return a text for each row of word ids."""
    texts = []
    for start in range(
        0, len(words), 65536
    ):  # Python lists take more memory than arrays
        block = words[start : start + 65536].tolist()
        texts.extend(" ".join([vocabulary[w] for w in row]) for row in block)
    return texts
