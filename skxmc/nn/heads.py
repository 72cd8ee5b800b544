"""Scores of labels for document vectors, for all labels or for candidates."""

from torch import nn
from torch.nn.functional import embedding, embedding_bag, linear

from .losses import at_least_float32


class LabelScores(nn.Module):
    """Dot products of document vectors with label vectors.

    A label's vector is the concatenation of an identity embedding and, where
    label words are given, the mean of its label-word embeddings (Sec. III-E of
    X-GRank). The mean is taken over the words' scores, not over their vectors:
    the same sum, without a vector for each label and word.

    Parameters
    ----------
    identity : tensor of shape (n_labels, identity_dim)
        Where the identity embedding starts.
    words : int tensor of shape (n_labels, n_words_a_label) or None, default=None
        Word ids of each label, padded with n_words.
    word_vectors : tensor of shape (n_words + 1, word_dim) or None, default=None
        Where the word embeddings start; the last row is padding.

    Attributes
    ----------
    n_labels : int
    dim : int
        Width of the document vectors: identity_dim + word_dim.
    """

    def __init__(self, identity, words=None, word_vectors=None):
        super().__init__()
        self.n_labels, self.identity_dim = identity.shape
        self.identity = nn.Parameter(identity)
        self.dim = self.identity_dim
        self.register_buffer("words", words)
        if words is not None:
            self.word_vectors = nn.Parameter(word_vectors)
            self.dim += word_vectors.shape[1]

    def forward(self, docs, ids=None):
        """Score labels.

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
        ids : int64 tensor of shape (n_docs, n_candidates) or None
            Label columns padded with n_labels; None scores all labels.

        Returns
        -------
        tensor of shape (n_docs, n_candidates) or (n_docs, n_labels)
            What stands at padded entries means nothing.
        """
        own, spelled = docs.split([self.identity_dim, self.dim - self.identity_dim], 1)
        if ids is None:
            scores = linear(own, self.identity)
            return scores if self.words is None else scores + self._all_words(spelled)
        ids = ids.clamp(max=self.n_labels - 1)
        vectors = embedding(ids, self.identity)
        scores = (vectors @ own[:, :, None].to(vectors.dtype))[:, :, 0]
        return scores if self.words is None else scores + self._words(spelled, ids)

    def _all_words(self, docs):
        # Half precision would lose most of a common word's summed gradient.
        scores = at_least_float32(linear(self.word_vectors, docs))
        padding = len(self.word_vectors) - 1
        return embedding_bag(self.words, scores, mode="mean", padding_idx=padding).T

    def _words(self, docs, ids):
        scores = at_least_float32(linear(docs, self.word_vectors))
        words = self.words[ids]
        real = words < len(self.word_vectors) - 1
        each = scores.gather(1, words.flatten(1).long()).view(words.shape)
        return (each * real).sum(dim=2) / real.sum(dim=2).clamp(min=1)
