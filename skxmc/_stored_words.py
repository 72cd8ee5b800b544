"""Words of the texts of a store, which are counted without holding all in memory.

The vectorizer and the matrix have the same bits as those that scikit-learn makes of the
same texts in memory.
"""

import contextlib
import heapq
import tempfile
from array import array
from collections import Counter
from functools import partial
from itertools import groupby
from operator import itemgetter

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.utils.sparsefuncs_fast import inplace_csr_row_normalize_l2

from ._stored_texts import StoredTexts
from ._words import term_finder
from .nn.maps import TemporaryColumn

# Number of different terms that are counted in memory: some 250 bytes each.
_TERMS = 2**19
# Number of files of sorted terms that are merged at once.
_RUNS = 64
# Texts whose words are counted together, and their largest number of characters
# together.
_TEXTS, _CHARS = 4096, 2**20
_ADVICE = "Set bag_of_words=False, or free room on the disk."


def fit_vectorizer(vectorizer, texts, weights=None):
    """Fit a vectorizer on texts in memory or in a store, and return their matrix.

    Parameters
    ----------
    vectorizer : TfidfVectorizer
        Its `min_df` is an int and its `max_df` 1.0.
    texts : list of str or StoredTexts
    weights : ndarray of shape (n_texts,) or None, default=None
        Weights of the texts, as often as each of them counts. In `min_df`, each counts
        at least once.

    Returns
    -------
    csr_matrix or csr_array of shape (n_texts, n_features), float32
        Of a store, its arrays lie in temporary files, and it is in canonical form.

    Raises
    ------
    ValueError
        If no term remains.
    OSError
        If the disk has no room for the matrix.
    """
    if weights is not None:
        return _fit_weighted(vectorizer, texts, weights)
    if not isinstance(texts, StoredTexts):
        return vectorizer.fit_transform(texts)
    terms, n_texts_with, order = _choose_terms(vectorizer, texts)
    if not terms:
        raise ValueError("No term remains.")
    vectorizer.vocabulary_ = {term: i for i, term in enumerate(terms)}
    # Smoothed as in TfidfTransformer.fit, in the same types.
    n_texts_with = n_texts_with.astype(vectorizer.dtype) + vectorizer.dtype(1)
    idf = np.full_like(n_texts_with, len(texts) + 1) / n_texts_with
    vectorizer.idf_ = np.log(idf) + vectorizer.dtype(1)
    # scikit-learn numbers terms in the order in which it meets them, and keeps this
    # order within a row when it sums the squares of the row.
    options = vectorizer.get_params()
    options = {
        name: options[name]
        for name in CountVectorizer().get_params()
        if name not in ("vocabulary", "min_df", "max_df", "max_features")
    }
    counter = CountVectorizer(vocabulary=[terms[i] for i in order], **options)

    def transform(part):
        X = counter.transform(part)
        X.indices = order.astype(X.indices.dtype)[X.indices]
        X.has_sorted_indices = False
        return vectorizer._tfidf.transform(X, copy=False)

    return _stack_parts(transform, texts, len(terms))


def _fit_weighted(vectorizer, texts, weights):
    """Fit a vectorizer on texts of which each counts as often as its weight says.

    The words of all texts, those of a store included, are counted in memory.
    """
    names = CountVectorizer().get_params()
    options = {name: vectorizer.get_params()[name] for name in names}
    counter = CountVectorizer(**options | dict(min_df=1, max_features=None))
    counts = counter.fit_transform(texts)
    terms = counter.get_feature_names_out()
    found = counts.copy()
    found.data = np.ones(len(found.data))
    chosen = np.maximum(weights, 1) @ found >= vectorizer.min_df
    if vectorizer.vocabulary is not None:
        chosen[:] = True
    limit = vectorizer.max_features
    if limit is not None and limit < chosen.sum():
        places = np.flatnonzero(chosen)
        totals = (weights @ counts)[places].astype(vectorizer.dtype)
        chosen[:] = False
        chosen[places[(-totals).argsort(kind="stable")[:limit]]] = True
    if not chosen.any():
        raise ValueError("No term remains.")
    vectorizer.vocabulary_ = {term: i for i, term in enumerate(terms[chosen])}
    idf = (1 + weights.sum()) / (1 + (weights @ found)[chosen])
    vectorizer.idf_ = (np.log(idf) + 1).astype(vectorizer.dtype)
    X = counts[:, np.flatnonzero(chosen)]
    return vectorizer._tfidf.transform(X.astype(vectorizer.dtype), copy=False)


def transform_words(vectorizer, texts):
    """Return the matrix of texts, in memory or in a store, by a fitted vectorizer.

    It is to the bit what ``vectorizer.transform(texts)`` returns, which makes several
    matrices of the words: for a single text, that takes longer than the rest.
    """
    if not isinstance(texts, StoredTexts):
        return _transform(vectorizer, texts)
    n_features = len(vectorizer.vocabulary_)
    return _stack_parts(partial(_transform, vectorizer), texts, n_features)


def _transform(vectorizer, texts):
    find_terms, column_of = term_finder(vectorizer), vectorizer.vocabulary_.get
    columns, counts, indptr = [], [], [0]
    for text in texts:
        counter = Counter(map(column_of, find_terms(text)))
        counter.pop(None, None)  # terms that are not in the vocabulary
        columns += counter
        counts += counter.values()
        indptr.append(len(columns))
    kind = np.int32 if len(columns) < 2**31 else np.int64
    columns, indptr = np.array(columns, kind), np.array(indptr, kind)
    shape = (len(texts), len(vectorizer.vocabulary_))
    X = sp.csr_matrix((np.array(counts, np.float32), columns, indptr), shape)
    X.sort_indices()
    X.data = np.log(X.data) + 1
    X.data *= vectorizer.idf_[X.indices]
    inplace_csr_row_normalize_l2(X)
    X.has_canonical_format = True
    return X


def _stack_parts(transform, texts, n_features):
    """Return the matrix of texts by a function that makes that of some texts."""
    what = "The words of the documents"
    data = TemporaryColumn(np.float32, what, _ADVICE)
    indices = TemporaryColumn(np.int32, what, _ADVICE)
    indptr = TemporaryColumn(np.int64, what, _ADVICE)
    indptr.append([0])
    for part in _split(texts):
        X = sp.csr_matrix(transform(part))
        X.sort_indices()
        indptr.append(data.length + X.indptr[1:].astype(np.int64))
        data.append(X.data)
        indices.append(X.indices)
    # scipy wants one type of integers for both, and would convert them in memory.
    kind = np.int32 if data.length < 2**31 else np.int64
    columns = [_convert(column.finish(), kind, what) for column in (indices, indptr)]
    X = sp.csr_matrix((data.finish(), *columns), (len(texts), n_features))
    X.has_canonical_format = True
    return X


def _convert(values, dtype, what):
    """Return values in another type, in a temporary file of their own."""
    if values.dtype == dtype:
        return values
    column = TemporaryColumn(dtype, what, _ADVICE)
    for start in range(0, len(values), 2**20):
        column.append(values[start : start + 2**20])
    return column.finish()


def _split(texts):
    """Yield lists of texts."""
    part, n_chars = [], 0
    for text in texts:
        part.append(text)
        n_chars += len(text)
        if len(part) >= _TEXTS or n_chars >= _CHARS:
            yield part
            part, n_chars = [], 0
    if part:
        yield part


def _choose_terms(vectorizer, texts):
    """Count all terms, and choose those that the vectorizer keeps.

    Returns
    -------
    terms : list of str
        Sorted.
    n_texts_with : int64 ndarray
        How many texts have each of them.
    order : int64 ndarray
        Their places in the order in which they first occur.
    """
    fixed = None if vectorizer.vocabulary is None else sorted(vectorizer.vocabulary)
    numbers = [array("q") for _ in range(3)]
    with contextlib.ExitStack() as stack:
        runs = _sort_terms(vectorizer.build_analyzer(), texts, stack)
        kept = stack.enter_context(_term_file())
        for term, *counts in _merge(runs):
            if counts[0] >= vectorizer.min_df if fixed is None else term in fixed:
                kept.write(f"{term}\n")
                for column, count in zip(numbers, counts, strict=True):
                    column.append(count)
        kept.seek(0)
        n_texts_with, totals, first = (np.array(column, np.int64) for column in numbers)
        chosen, limit = np.ones(len(totals), bool), vectorizer.max_features
        if limit is not None and limit < len(totals):
            # The same type and the same sort choose the same of several equal ones.
            best = (-totals.astype(vectorizer.dtype)).argsort()[:limit]
            chosen[:] = False
            chosen[best] = True
        terms = [line[:-1] for line, keep in zip(kept, chosen, strict=True) if keep]
    if fixed is not None:
        counts = dict(zip(terms, n_texts_with.tolist(), strict=True))
        counts = np.array([counts.get(term, 0) for term in fixed])
        return fixed, counts, np.arange(len(fixed))
    order = np.argsort(first[chosen], kind="stable")
    return terms, n_texts_with[chosen], order


def _sort_terms(analyze, texts, stack):
    """Count the terms of texts in parts, and write the terms of each part, sorted.

    Returns
    -------
    list of files
    """
    runs, n_seen = [], 0
    totals, n_texts_with = Counter(), Counter()

    def write_run():
        run = stack.enter_context(_term_file())
        first = {term: i for i, term in enumerate(totals, start=n_seen)}
        for term in sorted(totals):
            counts = n_texts_with[term], totals[term], first[term]
            run.write("\t".join([term, *map(str, counts)]) + "\n")
        run.seek(0)
        runs.append(run)

    for text in texts:
        found = analyze(text)
        totals.update(found)
        n_texts_with.update(set(found))
        if len(totals) >= _TERMS:
            write_run()
            n_seen += len(totals)
            totals.clear()
            n_texts_with.clear()
            if len(runs) == _RUNS:
                merged = stack.enter_context(_term_file())
                for term, *counts in _merge(runs):
                    merged.write("\t".join([term, *map(str, counts)]) + "\n")
                merged.seek(0)
                for run in runs:
                    run.close()
                runs[:] = [merged]
    write_run()
    return runs


def _merge(runs):
    """Yield each term of sorted files with its counts in all of them."""
    lines = heapq.merge(*map(_read_run, runs), key=itemgetter(0))
    for term, same in groupby(lines, key=itemgetter(0)):
        n_texts_with, totals, first = zip(*(counts for _, counts in same), strict=True)
        yield term, sum(n_texts_with), sum(totals), min(first)


def _read_run(run):
    for line in run:
        term, *counts = line.rstrip("\n").rsplit("\t", 3)
        yield term, tuple(map(int, counts))


def _term_file():
    return tempfile.TemporaryFile(
        "w+", encoding="utf-8", errors="surrogatepass", newline="\n"
    )
