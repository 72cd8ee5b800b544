"""The network of X-GRank."""

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from ..encoders import BagEncoder, TransformerEncoder
from ..heads import (
    DocumentVectors,
    LabelScores,
    at_full_precision,
    cluster_head,
)
from ..losses import grank_loss, grank_loss_all
from ..shortlist import LabelClusters, best_labels
from ..state import choice, linear_map, number, optional, part


class GRankNetwork(nn.Module):
    """Retriever over clusters and ranker over their labels, on one encoder.

    Parameters
    ----------
    encoder : TransformerEncoder or BagEncoder
    ranker : LabelScores
    clusters : LabelClusters or None
        None ranks all labels of every document.
    n_retrieved : int
        Outputs of the retriever: clusters, or labels where `clusters` is None;
        0 leaves the retriever out.
    start : tensor of shape (identity_dim, hidden_size) or None
        Where label vectors start from the encoder's reading: the matrix that
        turns a reading into a label's vector.
    cluster_start : tensor of shape (n_retrieved, identity_dim) or None
        Where the retriever starts then.
    dropout : float
        On the first-token states.
    n_shortlist, predict_shortlist : int
        Clusters ranked a document, in training and at prediction; the latter None
        is as many as in training.
    lambda_max : float
        Weight of the ranking loss in the last epoch (Eq. 9).
    lambda_schedule : {"epoch", "step"}
    combine : {"ranker", "product", "sum"}
        What orders labels at prediction.
    """

    def __init__(
        self,
        encoder,
        ranker,
        *,
        clusters,
        n_retrieved,
        start=None,
        cluster_start=None,
        dropout=0.5,
        n_shortlist=32,
        predict_shortlist=None,
        lambda_max=0.5,
        lambda_schedule="epoch",
        combine="ranker",
    ):
        super().__init__()
        self.encoder = encoder
        self.ranker = ranker
        self.clusters = clusters
        self.read = DocumentVectors(encoder, ranker.dim, start=start, dropout=dropout)
        self.retriever = None
        if n_retrieved:
            self.retriever = cluster_head(self.read, n_retrieved, cluster_start)
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist or n_shortlist
        self.lambda_max = lambda_max
        self.lambda_schedule = lambda_schedule
        self.combine = combine
        self._lambda, self._lambda_step = lambda_max, 0.0

    @property
    def n_labels(self):
        """Labels that are ranked."""
        return self.ranker.n_labels

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n_labels, clustered = self.n_labels, self.clusters is not None
        width = self.read.cluster_dim
        if clustered:
            retriever = linear_map(width, self.clusters.n_clusters)
        else:
            retriever = optional(linear_map(width, n_labels))
        return {
            "encoder": part(TransformerEncoder, BagEncoder),
            "ranker": part(LabelScores, row_wise=clustered, dim=self.read.dim),
            "clusters": optional(part(LabelClusters, n_labels=n_labels)),
            "read": part(DocumentVectors, fits=lambda read: read.reads(self.encoder)),
            "retriever": retriever,
            "n_shortlist": number(0, whole=True),
            "predict_shortlist": number(1, whole=True),
            "lambda_max": number(0, 1),
            "lambda_schedule": choice("epoch", "step"),
            "combine": choice("ranker", "product", "sum"),
            "_lambda": number(),
            "_lambda_step": number(),
        }

    def start_epoch(self, epoch, n_epochs, n_steps):
        """Set the weight of the ranking loss: lambda_max * e / E (Eq. 9)."""
        self._lambda = self.lambda_max * epoch / n_epochs
        self._lambda_step = 0.0
        if self.lambda_schedule == "step":
            self._lambda_step = self.lambda_max / (n_epochs * n_steps)
            self._lambda = self.lambda_max * (epoch - 1) / n_epochs + self._lambda_step

    def loss(self, batch, positives):
        """(1 - lambda) times the retrieving loss plus lambda times the ranking loss."""
        retrieval, docs = self.read(*self.encoder(batch))
        if self.retriever is None:
            return grank_loss_all(self.ranker(docs), positives)
        found = self.retriever(retrieval)
        if self.clusters is None:
            retrieving = grank_loss_all(found, positives)
            ranking = grank_loss_all(self.ranker(docs), positives)
        else:
            retrieving = grank_loss_all(found, self.clusters.targets(positives))
            ids, is_positive = self.clusters.candidates(
                found, positives, self.n_shortlist
            )
            mask = ids < self.ranker.n_labels
            ranking = grank_loss(self.ranker(docs, ids), is_positive, mask)
        weight = self._lambda
        self._lambda += self._lambda_step
        return (1 - weight) * retrieving + weight * ranking

    def rank(self, batch, k):
        """Best labels of a batch.

        Returns
        -------
        ids : int64 tensor of shape (n_docs, k), padded with n_labels
        scores : tensor of shape (n_docs, k), float32 (float64 in fp64)
            Best first: logarithms of the softmax over the labels that were
            ranked, since the loss leaves each document's scores an arbitrary
            offset.
        """
        retrieval, docs = self.read(*self.encoder(batch))
        n_labels, ids = self.ranker.n_labels, None
        found = self.retriever and at_full_precision(self.retriever, retrieval)
        if self.clusters is None:
            scores = at_full_precision(self.ranker, docs)
        elif self.predict_shortlist >= self.clusters.n_clusters:
            scores = at_full_precision(self.ranker, docs)
            found = self.clusters.of_labels(found)
        else:
            ids, found = self.clusters.top(found, self.predict_shortlist)
            scores = at_full_precision(self.ranker, docs, ids)
            scores = scores.masked_fill(ids == n_labels, -torch.inf)
        if self.combine != "ranker" and found is not None:
            scores = self._combined(scores, found)
        return best_labels(scores.log_softmax(dim=1), k, n_labels, ids)

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` tokens."""
        n_scores = 0 if self.retriever is None else self.retriever.out_features
        n_ranked = self.n_candidates or self.ranker.n_labels
        # Of each candidate's word a score, its share, and where both are.
        n_words = 6 * self.ranker.most_words(n_ranked) if self.n_candidates else 0
        n_scores += n_ranked
        return self.encoder.floats_per_document(length) + 4 * n_scores + n_words

    @property
    def n_candidates(self):
        """Labels a document that are ranked in training by vectors of their own."""
        if self.clusters is None:
            return 0
        return self.clusters.n_candidates(self.n_shortlist)

    def _combined(self, ranked, retrieved):
        if self.combine == "sum":
            return ranked + retrieved
        return logsigmoid(ranked) + logsigmoid(retrieved)
