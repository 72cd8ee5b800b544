"""TReaderXML's teacher if a fit goes on from another: earlier documents teach on."""

import numpy as np
import scipy.sparse as sp
import torch

from .nn.inherit import inherit

__all__ = ["EarlierLessons", "continue_encoder", "continue_words"]

# A document of before is repeated by one whose vector has a larger cosine with its own.
_SAME = 1 - 1e-5
# Number of documents of before that a document may repeat: those with the same words in
# another order.
_N_REPEATED = 4
# Number of documents that are compared with those of before at once.
_DOCS_AT_ONCE = 4096


def continue_words(start, n_words):
    """Return initial word vectors, and the vectors of words that find neighbours.

    Parameters
    ----------
    start : skxmc._warm_start.Start
    n_words : int
        Number of words. The first are those of before.

    Returns
    -------
    vectors : float32 tensor of shape (n_words, dim)
        0 for now: the encoder takes those of known words from the one before.
    neighbor_vectors : float32 ndarray of shape (n_words, dim)
        Those of new words are 0.
    """
    known = start._neighbor_vectors
    found = np.pad(known, ((0, n_words - len(known)), (0, 0)))
    return torch.zeros(n_words, start.network.encoder.words.dim), found


def continue_encoder(encoder, start):
    """Give an encoder the weights of the one before, which reads documents for heads.

    Parameters
    ----------
    encoder : TReaderEncoder
    start : skxmc._warm_start.Start
    """
    inherit(encoder, start.network.encoder, torch.from_numpy(start.labels))


class EarlierLessons:
    """What the documents of earlier fits teach that this fit does not repeat.

    Parameters
    ----------
    start : skxmc._warm_start.Start
    vectors : float32 ndarray of shape (n_docs, dim)
        Vectors of all documents of this fit.
    n_labels, n_words : int
        Numbers of labels and words of this fit.
    has_clusters : bool
        Whether the parents of labels were clusters, and are clusters now.

    Attributes
    ----------
    vectors : float32 ndarray of shape (n_earlier, dim)
    Y : csr matrix of shape (n_earlier, n_labels)
        Labels that they taught, those among the parents of others included.
    descriptions : int32 ndarray of shape (n_labels, label_length)
        Words that described the labels, padded with n_words. A new label has none.
    groups : int ndarray of shape (n_labels,) or None
        Cluster of each label, or -1 for a new one. None if they are not known.
    clusters : int32 ndarray of shape (n_clusters, label_length)
        Words that described the clusters.
    """

    def __init__(self, start, vectors, n_labels, n_words, *, has_clusters):
        teacher, self.n_words = start.teacher_, n_words
        repeated = np.zeros(teacher.index.n_vectors, bool)
        for begin in range(0, len(vectors), _DOCS_AT_ONCE):
            part = torch.from_numpy(vectors[begin : begin + _DOCS_AT_ONCE])
            found, cosines = teacher.index.search(part, _N_REPEATED)
            repeated[found[cosines > _SAME].numpy()] = True
        self.vectors = teacher.index.get_vectors().float().numpy()[~repeated]
        labels = teacher.knowledge[~repeated][:, : start.n_labels_].tocoo()
        columns = start.find_columns()[labels.col]
        is_kept = columns >= 0
        entries = labels.data[is_kept], (labels.row[is_kept], columns[is_kept])
        self.Y = sp.csr_matrix(entries, (labels.shape[0], n_labels))

        shape = len(teacher.words), teacher.knowledge.shape[1]
        described = np.full(shape, n_words, np.int32)
        for row, words in zip(described, teacher.words, strict=True):
            row[np.diff(words.indptr) > 0] = words.indices
        known = np.flatnonzero(~start.is_new)
        self.descriptions = np.full((n_labels, len(teacher.words)), n_words, np.int32)
        self.descriptions[known] = described.T[start.labels[known]]

        self.groups = None
        if has_clusters and teacher.parents is not None:
            # A label has one cluster, or none if it was added after the fit. Clusters
            # follow the labels.
            parents = teacher.parents[start.labels[known]]
            known = known[np.diff(parents.indptr) > 0]
            self.groups = np.full(n_labels, -1)
            nodes, self.groups[known] = np.unique(parents.indices, return_inverse=True)
            self.clusters = described.T[nodes]

    def append_to(self, vectors, groups, Y):
        """Append earlier documents to those of this fit, each with its own group.

        Parameters
        ----------
        vectors : float32 ndarray of shape (n_docs, dim)
        groups : int ndarray of shape (n_docs,)
        Y : csr matrix of shape (n_docs, n_labels)

        Returns
        -------
        vectors, groups, Y
        """
        n_groups = groups.max(initial=-1) + 1
        own = n_groups + np.arange(len(self.vectors))
        return (
            np.concatenate([vectors, self.vectors.astype(vectors.dtype)]),
            np.append(groups, own),
            sp.vstack([sp.csr_matrix(Y), self.Y], format="csr"),
        )

    def keep_descriptions(self, descriptions):
        """Return descriptions of labels, for known labels those of before.

        Parameters
        ----------
        descriptions : int32 ndarray of shape (n_labels, label_length)
        """
        n_words = self.n_words
        is_known = (self.descriptions < n_words).any(axis=1, keepdims=True)
        return np.where(is_known, self.descriptions, descriptions)

    def describe_clusters(self, descriptions, groups, labels):
        """Return descriptions of clusters, for known ones those of before.

        Parameters
        ----------
        descriptions : int32 ndarray of shape (n_clusters, label_length)
            Top terms of the clusters, padded with n_words.
        groups : int ndarray of shape (n_labels,)
            Cluster of each label.
        labels : int32 ndarray of shape (n_labels, label_length)
            Descriptions of the labels, the first of which describes a cluster without
            terms.

        Returns
        -------
        int32 ndarray of shape (n_clusters, label_length)
        """
        if self.groups is not None:
            return self.clusters
        _, first = np.unique(groups, return_index=True)
        is_empty = (descriptions == self.n_words).all(axis=1, keepdims=True)
        return np.where(is_empty, labels[first], descriptions)
