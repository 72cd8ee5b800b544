"""The network of X-GRank: a retriever of label clusters, and a ranker of labels."""

from torch.nn.functional import logsigmoid

from ..encoders import BagEncoder, TransformerEncoder
from ..heads import (
    DocumentVectors,
    LabelScores,
    LinearHead,
    at_full_precision,
    cluster_head,
)
from ..losses import grank_loss, grank_loss_all
from ..network import Network
from ..shortlist import LabelClusters
from ..state import choice, number, optional, part


class GRankNetwork(Network):
    """Retriever of clusters and ranker of their labels, on one encoder.

    Parameters
    ----------
    encoder : TransformerEncoder or BagEncoder
    ranker : LabelScores
    clusters : LabelClusters or None
        None ranks all labels of every document.
    n_retrieved : int
        Outputs of the retriever: clusters, or labels where `clusters` is None;
        0 leaves the retriever out.
    start : tensor of shape (identity_dim, hidden_size) or None, default=None
        Matrix that turns what the encoder makes of a text into a label's vector, where
        label vectors start from that.
    cluster_start : tensor of shape (n_retrieved, identity_dim) or None, default=None
        Where the retriever starts in that case.
    dropout : float, default=0.5
        On the first-token states.
    n_shortlist, predict_shortlist : int
        Clusters whose labels are ranked for a document, in training and at prediction;
        None as the latter is as many as in training.
    lambda_max : float, default=0.5
        Weight of the ranking loss in the last epoch (Eq. 9).
    lambda_schedule : {"epoch", "step"}, default="epoch"
        Whether that weight grows by epoch or by batch.
    combine : {"ranker", "product", "sum"}, default="ranker"
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
        self.doc_vectors = DocumentVectors(
            encoder, ranker.dim, start=start, dropout=dropout
        )
        self.retriever = None
        if n_retrieved:
            self.retriever = cluster_head(self.doc_vectors, n_retrieved, cluster_start)
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist or n_shortlist
        self.lambda_max = lambda_max
        self.lambda_schedule = lambda_schedule
        self.combine = combine

    @property
    def n_labels(self):
        """Labels that are ranked."""
        return self.ranker.n_labels

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n_labels, clustered = self.n_labels, self.clusters is not None
        retriever = part(
            LinearHead,
            in_features=self.doc_vectors.cluster_dim,
            out_features=self.clusters.n_clusters if clustered else n_labels,
        )
        return {
            "encoder": part(TransformerEncoder, BagEncoder),
            "ranker": part(LabelScores, row_wise=clustered, dim=self.doc_vectors.dim),
            "clusters": optional(part(LabelClusters, n_labels=n_labels)),
            "doc_vectors": part(
                DocumentVectors, fits=lambda module: module.fits_encoder(self.encoder)
            ),
            "retriever": retriever if clustered else optional(retriever),
            "n_shortlist": number(0, whole=True),
            "predict_shortlist": number(1, whole=True),
            "lambda_max": number(0, 1),
            "lambda_schedule": choice("epoch", "step"),
            "combine": choice("ranker", "product", "sum"),
        }

    def forward(self, inputs, targets, progress):
        """(1 - lambda) times the retrieving loss plus lambda times the ranking loss.

        Eq. 7, 8 and 9. Without a retriever the ranking loss alone.
        """
        positives = targets["positives"]
        for_clusters, for_labels = self.doc_vectors(*self.encoder(inputs))
        if self.retriever is None:
            return self.ranker.loss(for_labels, positives, grank_loss_all)
        if self.clusters is None:
            retrieving = self.retriever.loss(for_clusters, positives, grank_loss_all)
            ranking = self.ranker.loss(for_labels, positives, grank_loss_all)
        else:
            found = self.retriever(for_clusters)
            retrieving = grank_loss_all(found, self.clusters.targets(positives))
            ids, is_positive = self.clusters.candidates(
                found, positives, self.n_shortlist
            )
            scores = self.ranker(for_labels, ids)
            ranking = grank_loss(scores, is_positive, ids < self.n_labels)
        weight = self.ranking_weight(progress)
        return (1 - weight) * retrieving + weight * ranking

    def ranking_weight(self, progress):
        """Lambda, the weight of the ranking loss: lambda_max * e / E (Eq. 9).

        By "step" it grows within the epoch too, to the same value at its end.
        """
        epoch, n_epochs, batch, n_batches = progress
        if self.lambda_schedule == "epoch":
            return self.lambda_max * epoch / n_epochs
        done = (epoch - 1) * n_batches + batch
        return self.lambda_max * done / (n_epochs * n_batches)

    def rank(self, inputs, k):
        """Best labels of a batch (see `Network.rank`).

        Scores are logarithms of the softmax over the labels that were ranked, since the
        loss leaves each document's scores an arbitrary offset.
        """
        for_clusters, for_labels = self.doc_vectors(*self.encoder(inputs))
        ids = None
        if self.clusters is not None:
            found = at_full_precision(self.retriever, for_clusters)
            if self.predict_shortlist < self.clusters.n_clusters:
                ids, found = self.clusters.top(found, self.predict_shortlist)

        def adjust(scores):
            if self.combine == "ranker" or self.retriever is None:
                return scores.log_softmax(dim=1)
            if self.clusters is None:
                retrieved = at_full_precision(self.retriever, for_clusters)
            elif ids is None:
                retrieved = self.clusters.of_labels(found)
            else:
                retrieved = found
            if self.combine == "product":  # of sigmoids, as logarithms
                scores, retrieved = logsigmoid(scores), logsigmoid(retrieved)
            return (scores + retrieved).log_softmax(dim=1)

        return self.ranker.top(for_labels, k, ids=ids, adjust=adjust)

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` tokens."""
        n_scores = 0 if self.retriever is None else self.retriever.n_outputs
        n_ranked = self.n_candidates or self.n_labels
        # Each word of a candidate has a score, its share, and where both are.
        n_words = 6 * self.ranker.most_words(n_ranked) if self.n_candidates else 0
        n_scores += n_ranked
        return self.encoder.floats_per_document(length) + 4 * n_scores + n_words

    @property
    def n_candidates(self):
        """Labels of a document that a step ranks by vectors trained row by row."""
        if self.clusters is None:
            return 0
        return self.clusters.n_candidates(self.n_shortlist)
