"""LightDXML's documents, as bags of words."""

import torch

from ._stored_words import transform_words
from ._token_vectors import bag_vectors
from .nn.sparse_encoder import SparseEncoder, choose_learning_rate
from .nn.text import Features

__all__ = ["BagDocumentsMixin"]


class BagDocumentsMixin:
    """Makes LightDXML's encoder and its documents.

    It is for a subclass of `skxmc.base.BaseXMCClassifier` that has those parameters of
    `LightDXMLClassifier` that concern words, `dropout` and `learning_rate`.
    """

    def _make_encoder(self, X):
        """Make the encoder, and turn X into `Features`, the documents that it takes.

        This sets ``vectorizer_``, which ``_make_docs`` uses.
        """
        self.vectorizer_ = None
        weights = self._weights_of_all(X)
        if self._texts:
            self.vectorizer_, X = self._fit_words(
                X,
                min_df=self.min_df,
                ngram_range=self.ngram_range,
                max_features=self.max_features,
                weights=weights,
            )
        if self._start is None:
            source = self.token_vectors
            vectors = bag_vectors(X, self.label_dim, source, self.vectorizer_, weights)
        else:  # vectors of new words start at 0, and the others are inherited
            dim = self._start.network.encoder.hidden_size
            vectors = torch.zeros(X.shape[1], dim)
        return SparseEncoder(vectors, dropout=self.dropout), Features(X)

    def _make_docs(self, X):
        if self.vectorizer_ is not None:
            X = transform_words(self.vectorizer_, X)
        return Features(X)

    def _training_options(self, examples):
        # A step changes only the vectors of words that the batch contains, as torch's
        # SparseAdam does, which the released code uses.
        options = {"learning_rate": self.learning_rate, "rows_rest": True}
        if self.learning_rate == "auto":
            rate = choose_learning_rate(examples.docs, examples.doc_weights)
            options["learning_rate"] = rate
        return options
