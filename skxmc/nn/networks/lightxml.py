"""The network of LightXML."""

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from ..encoders import BagEncoder, TransformerEncoder
from ..heads import DocumentVectors, LabelScores, LinearHead, at_full_precision
from ..losses import at_least_float32, bce_loss, bce_loss_all
from ..network import Network
from ..shortlist import LabelClusters, log_odds
from ..state import choice, flag, nothing, number, optional, parameter, part


class LightXMLNetwork(Network):
    """Recalls clusters of labels, and ranks their labels, on one encoder.

    Parameters
    ----------
    encoder : TransformerEncoder or BagEncoder
    doc_vectors : DocumentVectors
    recall : LinearHead
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
        doc_vectors,
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
        self.doc_vectors = doc_vectors
        self.recall = recall
        self.clusters = clusters
        self.ranker = ranker
        started = ranker is not None and doc_vectors.lift is not None
        self.offset = nn.Parameter(torch.tensor(offset)) if started else None
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist or n_shortlist
        self.negatives = negatives
        self.bottleneck_activation = bottleneck_activation
        self.loss_reduction = loss_reduction
        self.dropout_until = dropout_until
        self.single_label = single_label

    @property
    def n_labels(self):
        """Labels that are ranked."""
        if self.clusters is None:
            return self.recall.n_outputs
        return self.clusters.n_labels

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n_outputs, ranker = self.n_labels, nothing
        if self.clusters is not None:
            n_outputs = self.clusters.n_clusters
            ranker = part(
                LabelScores,
                n_labels=self.n_labels,
                row_wise=True,
                dim=self.doc_vectors.dim,
            )
        return {
            "encoder": part(TransformerEncoder, BagEncoder),
            "doc_vectors": part(
                DocumentVectors, fits=lambda module: module.fits_encoder(self.encoder)
            ),
            "recall": part(
                LinearHead,
                in_features=self.doc_vectors.cluster_dim,
                out_features=n_outputs,
            ),
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
        }

    def uses_dropout(self, progress):
        """Dropout is on for the first batches of an epoch: a share `dropout_until`."""
        return progress.batch <= round(self.dropout_until * progress.n_batches)

    def forward(self, inputs, targets, progress):
        """Recalling loss plus ranking loss (Eq. 6)."""
        vectors = self.doc_vectors(*self.encoder(inputs))
        return self._classification_loss(self.recall, *vectors, targets["positives"])

    def _classification_loss(self, recall, for_clusters, for_labels, positives):
        if self.clusters is None:
            return recall.loss(for_clusters, positives, self._loss_of_all)
        found = recall(for_clusters)
        drawn = found
        if self.negatives == "uniform":
            drawn = torch.rand(found.shape, device=found.device)  # bf16 would tie
        ids, is_positive = self.clusters.candidates(drawn, positives, self.n_shortlist)
        recalling = self._loss_of_all(found, self.clusters.targets(positives))
        scores = self._adjust(self.ranker(self._activate(for_labels), ids))
        mask = ids < self.n_labels
        reduction = self.loss_reduction
        return recalling + bce_loss(scores, is_positive, mask, reduction=reduction)

    def _loss_of_all(self, scores, positives):
        return bce_loss_all(scores, positives, reduction=self.loss_reduction)

    def rank(self, inputs, k):
        """Best labels of a batch (see `Network.rank`).

        Scores are log-odds of a label, whose probability is the product of what recall
        gives its cluster and what the ranker gives the label. With `single_label` they
        are logarithms of the label's share in those of all labels that were ranked.
        """
        for_clusters, for_labels = self.doc_vectors(*self.encoder(inputs))
        if self.clusters is None:
            adjust = _log_shares if self.single_label else None
            return self.recall.top(for_clusters, k, adjust=adjust)
        found, ids = at_full_precision(self.recall, for_clusters), None
        if self.predict_shortlist < self.clusters.n_clusters:
            ids, found = self.clusters.top(found, self.predict_shortlist)

        def adjust(scores):
            recalled = self.clusters.of_labels(found) if ids is None else found
            # A sum of logarithms in float32: products would underflow in the tail.
            logarithms = logsigmoid(recalled) + logsigmoid(self._adjust(scores))
            return logarithms.log_softmax(dim=1) if self.single_label else logarithms

        docs = self._activate(at_least_float32(for_labels))
        ids, scores = self.ranker.top(docs, k, ids=ids, adjust=adjust)
        return ids, scores if self.single_label else log_odds(scores)

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` tokens."""
        n_scores = self.recall.n_outputs + self.n_candidates
        return self.encoder.floats_per_document(length) + 4 * n_scores

    @property
    def n_candidates(self):
        """Labels a document that are ranked in training."""
        if self.clusters is None:
            return 0
        return self.clusters.n_candidates(self.n_shortlist)

    def _activate(self, docs):
        return docs.sigmoid() if self.bottleneck_activation == "sigmoid" else docs

    def _adjust(self, scores):
        scores = at_least_float32(scores)
        return scores if self.offset is None else scores + self.offset


def _log_shares(scores):
    """Logarithms of the shares of labels in the sum of their probabilities."""
    return logsigmoid(scores).log_softmax(dim=1)
