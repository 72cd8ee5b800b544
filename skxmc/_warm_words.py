"""The words that a fit adds to those of another one."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from ._stored_words import transform_words
from ._token_vectors import fit_words

__all__ = ["extend_words"]


def extend_words(vectorizer, texts, *, n_before, max_features, weights=None, **options):
    """Add the new words of texts to a fitted vectorizer, in a new one.

    Known words keep their columns and their inverse document frequencies. New words
    follow them, in alphabetical order.

    Parameters
    ----------
    vectorizer : TfidfVectorizer
        What `fit_words` has returned.
    texts : list of str or StoredTexts
    n_before : int
        Number of texts that the vectorizer was fitted on. If it is larger than the
        number of `texts`, the frequencies of new words are taken as those among so many
        texts.
    max_features : int or None
        Maximum number of words, known and new. Of new words, those in the most texts
        are added.
    weights : float64 ndarray of shape (n_texts,) or None, default=None
        As in `fit_words`.
    **options
        The arguments min_df and ngram_range of `fit_words`.

    Returns
    -------
    vectorizer : TfidfVectorizer
    X : csr matrix of shape (n_texts, n_features), float32
    """
    options |= dict(max_features=max_features, weights=weights)
    found, _ = fit_words(texts, **options)
    terms = found.get_feature_names_out()
    known = vectorizer.vocabulary_
    added = np.flatnonzero([term not in known for term in terms])
    if max_features is not None:
        room = max(0, max_features - len(known))
        added = np.sort(added[np.argsort(found.idf_[added], kind="stable")[:room]])
    # idf = log((1 + n_texts) / (1 + n_texts_with)) + 1
    n_now = len(texts) if weights is None else weights.sum()
    idf = found.idf_[added] + np.log((1 + max(n_before, n_now)) / (1 + n_now))
    extended = TfidfVectorizer(**vectorizer.get_params() | {"vocabulary": None})
    new = {term: len(known) + i for i, term in enumerate(terms[added])}
    extended.vocabulary_ = known | new
    extended.idf_ = np.append(vectorizer.idf_, idf).astype(vectorizer.idf_.dtype)
    return extended, transform_words(extended, texts)
