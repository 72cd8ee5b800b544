"""Initial vectors and clusters of the labels that a fit adds to those of another."""

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.preprocessing import normalize

from ._words import WORD
from .nn.teacher import one_hot

__all__ = ["continue_labels", "find_label_words", "place_labels"]

# Number of clusters that a new label may be placed in before it goes where there is
# room. The nearest may be full.
_N_CHOICES = 8
# Number of new labels that are compared with all clusters at once.
_LABELS_AT_ONCE = 1024


def continue_labels(estimator, encoder, docs, X, Y):
    """Place new labels in the clusters, and make their initial vectors.

    It does what ``_prepare_labels`` of `ClusteringXMCClassifier` does in a first fit,
    and has its arguments. Labels that are known stay in their clusters. Their vectors
    here have no meaning, since the network takes them from the one before.

    Returns
    -------
    tensor of shape (n_labels, hidden_size) or None
        None means random vectors.
    """
    start, n_labels = estimator._start, estimator.n_labels_
    is_new = start.is_new
    doc_vectors = text_vectors = None
    if is_new.any():
        doc_vectors, text_vectors = estimator._encode_untrained(encoder, docs)
    estimator.label_groups_ = np.arange(n_labels)
    if not estimator._ranks_all_labels():
        groups = np.where(is_new, -1, start.label_groups_[start.labels])
        # Clusters all of whose labels have been left out are no clusters any more.
        start.clusters, groups[~is_new] = np.unique(
            groups[~is_new], return_inverse=True
        )
        if is_new.any():
            features = estimator._make_label_features(doc_vectors, text_vectors, X, Y)
            leaf_size = estimator.max_leaf_size
            leaf_size = 100 if leaf_size == "auto" else leaf_size
            groups = place_labels(features, groups, 2 * leaf_size)
        estimator.label_groups_ = groups
    if estimator._choose_label_init() == "random":
        return None
    if not is_new.any():
        return torch.zeros(n_labels, encoder.hidden_size)
    return estimator._make_label_vectors(doc_vectors, text_vectors, Y)


def find_label_words(start, texts):
    """Find the words of label texts that the fit before has trained vectors of.

    X-GRank trains them with random label vectors. The words themselves are not kept,
    but they follow from the texts, in alphabetical order.

    Parameters
    ----------
    start : skxmc._warm_start.Start
    texts : list of n_labels str

    Returns
    -------
    int64 tensor of shape (n_words,)
        Column that each word had before, or -1 for a new word.

    Raises
    ------
    ValueError
        If the texts of known labels are not those of before.
    """
    ranker, columns = start.network.ranker, start.find_columns()
    before, counts = _count([texts[column] for column in columns if column >= 0])
    parts = ranker.word_shares, ranker.words, ranker.word_starts[:-1]
    shares = sp.csr_matrix(
        tuple(part.numpy(force=True) for part in parts),
        (ranker.n_labels, len(ranker.word_vectors)),
    )
    for matrix in (counts, shares):
        matrix.sort_indices()
    same = np.array_equal(counts.indices, shares.indices)
    if not same or not np.array_equal(counts.indptr, shares.indptr):
        raise ValueError(
            'label_init="random" trains vectors of the words of label_texts, and the '
            "texts of labels of the fit that is to go on have changed. Give all of "
            "them as they were, with new ones at the end, or set warm_start=False."
        )
    known = {word: i for i, word in enumerate(before)}
    return torch.tensor([known.get(word, -1) for word in _count(texts)[0]])


def _count(texts):
    """Return the words of texts, sorted, and their counts in each text."""
    vectorizer = CountVectorizer(token_pattern=WORD)
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError:  # there is no word; a column stands for it in the network
        return [""], sp.csr_matrix((len(texts), 1))
    return vectorizer.get_feature_names_out().tolist(), counts


def place_labels(features, groups, max_size):
    """Place labels in the clusters whose labels they are most similar to.

    The similarity is the cosine of a label's features with the mean direction of a
    cluster. Of the labels that want to be in a cluster without room for all of them,
    the most similar ones are placed there, and the others in their next cluster.

    Parameters
    ----------
    features : ndarray or sparse matrix of shape (n_labels, n_features)
    groups : int ndarray of shape (n_labels,)
        Cluster of each label, or -1 for those to place. No cluster is empty.
    max_size : int
        Number of labels of a cluster that has no more room, unless all are full.

    Returns
    -------
    int ndarray of shape (n_labels,)
    """
    groups, n_clusters = groups.copy(), int(groups.max()) + 1
    new, old = np.flatnonzero(groups < 0), np.flatnonzero(groups >= 0)
    if not len(new):
        return groups
    features = normalize(sp.csr_matrix(features) if sp.issparse(features) else features)
    centers = normalize(one_hot(groups[old], n_clusters).T @ features[old])
    best, cosines = _find_nearest(features[new], centers, min(_N_CHOICES, n_clusters))
    sizes = np.bincount(groups[old], minlength=n_clusters)
    for choice, cosine in zip(best.T, cosines.T, strict=True):
        waiting = np.flatnonzero((groups[new] < 0) & (cosine > 0))
        # The most similar labels of each cluster come first.
        waiting = waiting[np.lexsort((-cosine[waiting], choice[waiting]))]
        wanted = choice[waiting]
        counts = np.bincount(wanted, minlength=n_clusters)
        ranks = np.arange(len(wanted)) - (counts.cumsum() - counts)[wanted]
        placed = ranks < (max_size - sizes)[wanted]
        groups[new[waiting[placed]]] = wanted[placed]
        sizes += np.bincount(wanted[placed], minlength=n_clusters)
    rest = new[groups[new] < 0]
    # As if each of them went to the smallest cluster, one after the other.
    largest = -(-(sizes.sum() + len(rest)) // n_clusters) + sizes.max()
    room = np.repeat(np.arange(n_clusters), largest - sizes)
    starts = np.cumsum(largest - sizes) - (largest - sizes)
    filled = sizes[room] + np.arange(len(room)) - starts[room]
    groups[rest] = room[np.argsort(filled, kind="stable")[: len(rest)]]
    return groups


def _find_nearest(features, centers, k):
    """Return the k centers of largest cosine, best first, and these cosines."""
    parts = []
    for start in range(0, features.shape[0], _LABELS_AT_ONCE):
        cosines = features[start : start + _LABELS_AT_ONCE] @ centers.T
        cosines = torch.from_numpy(
            np.asarray(cosines.toarray() if sp.issparse(cosines) else cosines)
        )
        found = cosines.topk(k, dim=1)
        parts.append((found.indices.numpy(), found.values.numpy()))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
