"""The network of LightXML."""

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from ..encoders import BagEncoder, TransformerEncoder
from ..heads import (
    DocumentVectors,
    LabelScores,
    at_full_precision,
)
from ..losses import at_least_float32, bce_loss, bce_loss_all
from ..shortlist import LabelClusters, best_labels, log_odds
from ..state import (
    choice,
    flag,
    linear_map,
    nothing,
    number,
    optional,
    parameter,
    part,
)


class LightXMLNetwork(nn.Module):
    """Recalls clusters of labels, and ranks their labels, on one encoder.

    Parameters
    ----------
    encoder : TransformerEncoder or BagEncoder
    read : DocumentVectors
    recall : Module
        Scores clusters: the generator of the paper.
    clusters : LabelClusters or None
        None: every label is a cluster of its own, and recall is all.
    ranker : LabelScores or None
        Scores labels: the discriminator. None without clusters.
    n_shortlist, predict_shortlist : int
        Clusters ranked a document, in training and at prediction; the latter None
        is as many as in training.
    negatives : {"dynamic", "uniform"}
        Whether the clusters of a training step are the best by recall, or drawn.
    bottleneck_activation : {"none", "sigmoid"}
    loss_reduction : {"mean", "sum"}
    dropout_until : float
        Share of an epoch's steps after which dropout is off.
    offset : float
        Added to the scores of labels whose vectors start from readings, at first.
    single_label : bool
        A document has one label: scores are those of a distribution over labels.
    """

    def __init__(
        self,
        encoder,
        read,
        recall,
        *,
        clusters=None,
        ranker=None,
        n_shortlist=75,
        predict_shortlist=None,
        negatives="dynamic",
        bottleneck_activation="none",
        loss_reduction="mean",
        dropout_until=1.0,
        offset=-10.0,
        single_label=False,
    ):
        super().__init__()
        self.encoder = encoder
        self.read = read
        self.recall = recall
        self.clusters = clusters
        self.ranker = ranker
        started = ranker is not None and read.lift is not None
        self.offset = nn.Parameter(torch.tensor(offset)) if started else None
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist or n_shortlist
        self.negatives = negatives
        self.bottleneck_activation = bottleneck_activation
        self.loss_reduction = loss_reduction
        self.dropout_until = dropout_until
        self.single_label = single_label
        self._n_dropping = float("inf")

    @property
    def n_labels(self):
        """Labels that are ranked."""
        if self.clusters is None:
            return self.recall.out_features
        return self.clusters.n_labels

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n_outputs, ranker = self.n_labels, nothing
        if self.clusters is not None:
            n_outputs = self.clusters.n_clusters
            ranker = part(
                LabelScores, n_labels=self.n_labels, row_wise=True, dim=self.read.dim
            )
        return {
            "encoder": part(TransformerEncoder, BagEncoder),
            "read": part(DocumentVectors, fits=lambda read: read.reads(self.encoder)),
            "recall": linear_map(self.read.cluster_dim, n_outputs),
            "clusters": optional(part(LabelClusters)),
            "ranker": ranker,
            "offset": optional(parameter()),
            "n_shortlist": number(1, whole=True),
            "predict_shortlist": number(1, whole=True),
            "negatives": choice("dynamic", "uniform"),
            "bottleneck_activation": choice("none", "sigmoid"),
            "loss_reduction": choice("mean", "sum"),
            "dropout_until": number(0, 1),
            "single_label": flag,
            "_n_dropping": number(finite=False),
        }

    def start_epoch(self, epoch, n_epochs, n_steps):
        """Set for how many steps dropout stays on."""
        self._n_dropping = round(self.dropout_until * n_steps)

    def loss(self, batch, positives):
        """Recalling loss plus ranking loss (Eq. 6)."""
        if self._n_dropping <= 0:
            self.eval()
        self._n_dropping -= 1
        vectors = self.read(*self.encoder(batch))
        return self._classifying(self.recall, *vectors, positives)

    def _classifying(self, recall, for_clusters, for_labels, positives):
        found = recall(for_clusters)
        reduction = self.loss_reduction
        if self.clusters is None:
            return bce_loss_all(found, positives, reduction=reduction)
        targets = self.clusters.targets(positives)
        drawn = found
        if self.negatives == "uniform":
            drawn = torch.rand(found.shape, device=found.device)  # bf16 would tie
        ids, is_positive = self.clusters.candidates(drawn, positives, self.n_shortlist)
        mask = ids < self.ranker.n_labels
        recalling = bce_loss_all(found, targets, reduction=reduction)
        ranked = self._rank_scores(for_labels, ids)
        return recalling + bce_loss(ranked, is_positive, mask, reduction=reduction)

    def rank(self, batch, k):
        """Best labels of a batch.

        Returns
        -------
        ids : int64 tensor of shape (n_docs, k), padded with n_labels
        scores : tensor of shape (n_docs, k), float32 (float64 in fp64)
            Best first: log-odds of a label, whose probability is the product of
            what recall gives its cluster and what the ranker gives the label. With
            `single_label` the logarithm of its share in those of all labels that
            were ranked.
        """
        for_clusters, for_labels = self.read(*self.encoder(batch))
        found = at_full_precision(self.recall, for_clusters)
        if self.clusters is None:
            scores = (
                logsigmoid(found).log_softmax(dim=1) if self.single_label else found
            )
            return best_labels(scores, k, found.shape[1])
        n_labels, ids = self.ranker.n_labels, None
        if self.predict_shortlist >= self.clusters.n_clusters:
            found = self.clusters.of_labels(found)
        else:
            ids, found = self.clusters.top(found, self.predict_shortlist)
        ranked = at_full_precision(self._rank_scores, for_labels, ids)
        # A sum of logarithms in float32: products would underflow in the tail.
        logarithms = logsigmoid(found) + logsigmoid(ranked)
        if ids is not None:
            logarithms = logarithms.masked_fill(ids == n_labels, -torch.inf)
        if self.single_label:
            logarithms = logarithms.log_softmax(dim=1)
        ids, scores = best_labels(logarithms, k, n_labels, ids)
        return ids, scores if self.single_label else log_odds(scores)

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` tokens."""
        n_scores = self.recall.out_features + self.n_candidates
        return self.encoder.floats_per_document(length) + 4 * n_scores

    @property
    def n_candidates(self):
        """Labels a document that are ranked in training."""
        if self.clusters is None:
            return 0
        return self.clusters.n_candidates(self.n_shortlist)

    def _rank_scores(self, docs, ids):
        if self.bottleneck_activation == "sigmoid":
            docs = docs.sigmoid()
        scores = at_least_float32(self.ranker(docs, ids))
        return scores if self.offset is None else scores + self.offset
