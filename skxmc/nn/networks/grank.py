"""The network of X-GRank: a retriever of label clusters, and a ranker of labels."""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import logsigmoid, pad

from ..all_labels import AllLabels
from ..bags import BagEncoder, WordReader
from ..document_vectors import DocumentVectors
from ..encoders import TransformerEncoder
from ..heads import LabelScores, LinearHead, at_full_precision, cluster_head
from ..label_changes import best_clusters, typical_rows
from ..losses import (
    at_least_float32,
    bce_loss,
    bce_loss_all,
    candidate_weights,
    cluster_weights,
    grank_loss,
    grank_loss_all,
    loss_weights,
)
from ..neighbors import expected_votes
from ..network import Network, count_documents
from ..shortlist import LabelClusters, log_odds
from ..state import (
    absent_or,
    choice,
    flag,
    nothing,
    number,
    optional,
    parameter,
    part,
)

# Of each choice of `loss`: the loss of candidates, and that of all outputs. Both are
# sums over the outputs of a document, as Eq. 7 and 8 are.
_LOSSES = {
    "grank": (grank_loss, grank_loss_all),
    "bce": (
        partial(bce_loss, reduction="sum"),
        partial(bce_loss_all, reduction="sum"),
    ),
}


class GRankNetwork(Network):
    """Encoder, retriever of label clusters, and ranker of their labels.

    Parameters
    ----------
    encoder : TransformerEncoder, BagEncoder or WordReader
        Encoder of the documents.
    ranker : LabelScores or AllLabels
        Head that scores labels.
    clusters : LabelClusters or None
        Clusters of the labels. None ranks all labels of every document.
    n_retrieved : int
        Number of outputs of the retriever: clusters, or labels if `clusters` is None.
        0 makes no retriever.
    start : tensor of shape (identity_dim, hidden_size) or None, default=None
        Matrix that maps a vector of the encoder to an initial label vector. None if
        label vectors start at random.
    n_words : int or None, default=None
        Number of words of the bag beside the encoder. None makes no bag.
    cluster_start : tensor of shape (n_retrieved, identity_dim) or None, default=None
        Initial cluster vectors of the retriever; None starts at random.
    dropout : float, default=0.5
        Dropout rate on the first-token states.
    n_negatives : int or None, default=None
        Number of labels that a document is trained to rank below its own, if there are
        no clusters: those that score best at that moment. None ranks all labels.
    n_shortlist, predict_shortlist : int
        Number of clusters whose labels are ranked for a document, in training and at
        prediction. `predict_shortlist` may be None, which is `n_shortlist`.
    lambda_max : float, default=0.5
        Weight of the ranking loss in the last epoch (Eq. 9).
    lambda_schedule : {"epoch", "step"}, default="epoch"
        Whether that weight grows with each epoch or with each batch.
    combine : {"ranker", "product", "sum"}, default="ranker"
        Scores that order the labels at prediction: those of the ranker, or the product
        of its sigmoids with the retriever's, or the sum of both scores.
    loss : {"grank", "bce"}, default="grank"
        Loss of both heads: GRank, or binary cross-entropy (X-BCE of Table IV).
    offset : float or None, default=None
        Initial value of a number that is added to the ranker's scores and trained. It
        is also the retriever's first bias. None adds none. The GRank loss does not
        depend on it.
    single_label : bool or None, default=None
        Whether each document has exactly one label. It must be given with
        ``loss="bce"``, whose scores are log-odds unless there is one label a document.
    """

    # Folders of older versions lack it.
    loss = "grank"

    def __init__(
        self,
        encoder,
        ranker,
        *,
        clusters,
        n_retrieved,
        start=None,
        n_words=None,
        cluster_start=None,
        dropout=0.5,
        n_negatives=None,
        n_shortlist=32,
        predict_shortlist=None,
        lambda_max=0.5,
        lambda_schedule="epoch",
        combine="ranker",
        loss="grank",
        offset=None,
        single_label=None,
    ):
        super().__init__()
        self.encoder = encoder
        self.ranker = ranker
        self.clusters = clusters
        self.doc_vectors = DocumentVectors(
            encoder, ranker.dim, start=start, dropout=dropout, n_words=n_words
        )
        self.retriever = None
        if n_retrieved:
            self.retriever = cluster_head(
                self.doc_vectors, n_retrieved, cluster_start, offset=offset
            )
        self.n_negatives = n_negatives
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist or n_shortlist
        self.lambda_max = lambda_max
        self.lambda_schedule = lambda_schedule
        self.combine = combine
        self.loss = loss
        # Label vectors from the encoder give every label a large score at first. The
        # binary cross-entropy would start far too high without an offset.
        self.offset = None if offset is None else nn.Parameter(torch.tensor(offset))
        self.single_label = single_label

    @property
    def n_labels(self):
        """Number of labels that are ranked."""
        return self.ranker.n_labels

    @property
    def vector_dim(self):
        """Width of the vectors by which neighbours are found."""
        return self.doc_vectors.dim

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n_labels, clustered = self.n_labels, self.clusters is not None
        retriever = part(
            LinearHead,
            in_features=self.doc_vectors.cluster_dim,
            out_features=self.clusters.n_clusters if clustered else n_labels,
        )
        return {
            "encoder": part(TransformerEncoder, BagEncoder, WordReader),
            "ranker": part(
                LabelScores,
                AllLabels,
                dim=self.doc_vectors.dim,
                fits=self._takes,
            ),
            "clusters": optional(part(LabelClusters, n_labels=n_labels)),
            "doc_vectors": part(
                DocumentVectors, fits=lambda module: module.fits_encoder(self.encoder)
            ),
            "retriever": retriever if clustered else optional(retriever),
            # Folders of older versions lack it.
            "n_negatives": absent_or(optional(number(1, whole=True))),
            "n_shortlist": number(0, whole=True),
            "predict_shortlist": number(1, whole=True),
            "lambda_max": number(0, 1),
            "lambda_schedule": choice("epoch", "step"),
            "combine": choice("ranker", "product", "sum"),
            # Folders of older versions lack these three.
            "loss": absent_or(choice("grank", "bce")),
            "offset": absent_or(optional(parameter())),
            "single_label": flag if self.loss == "bce" else absent_or(nothing),
            "neighbors": expected_votes(self),
        }

    def _takes(self, ranker):
        """Return whether a ranker can score what this network ranks in training."""
        if isinstance(ranker, AllLabels):
            return self.clusters is None and self.retriever is None
        needs_rows = self.clusters is not None
        negatives = getattr(self, "n_negatives", None)
        return ranker.row_wise == (needs_rows or negatives is not None)

    def forward(self, inputs, targets, progress):
        """Return the weighted sum of the retrieval loss and the ranking loss.

        The retrieval loss (Eq. 7) has the weight 1 - lambda, and the ranking loss
        (Eq. 8) the weight lambda (Eq. 9). Without a retriever, the loss is the ranking
        loss alone.
        """
        positives = targets["positives"]  # (n_docs, n_positives)
        weights = loss_weights(targets)
        for_clusters, for_labels = self.encode(inputs)
        if self.retriever is None:
            return self._rank_negatives(for_labels, positives, weights)
        loss, loss_of_all = _LOSSES[self.loss]
        if self.clusters is None:
            weighted = partial(loss_of_all, **weights)
            retrieval_loss = self.retriever.loss(for_clusters, positives, weighted)
            ranking_loss = self._rank_negatives(for_labels, positives, weights)
        else:
            cluster_scores = self.retriever(for_clusters)  # (n_docs, n_clusters)
            positive_clusters = self.clusters.targets(positives)
            retrieval_loss = loss_of_all(
                cluster_scores, positive_clusters, **cluster_weights(weights)
            )
            # Both are (n_docs, n_candidates).
            ids, is_positive = self.clusters.candidates(
                cluster_scores, positives, self.n_shortlist
            )
            scores = self._add_offset(self.ranker(for_labels, ids))
            ranking_loss = loss(
                scores,
                is_positive,
                ids < self.n_labels,
                **candidate_weights(weights, ids),
            )
        weight = self.ranking_weight(progress)
        return (1 - weight) * retrieval_loss + weight * ranking_loss

    def count_terms(self, targets):
        """Return what the loss divides by (see `Network.count_terms`).

        The GRank loss leaves out documents that have all labels.
        """
        if self.loss == "bce":
            return super().count_terms(targets)
        numbers = (targets["positives"] < self.n_labels).sum(dim=1)
        is_usable = (numbers > 0) & (numbers < self.n_labels)
        return {"loss": count_documents(targets, is_usable)}

    def _rank_negatives(self, docs, positives, weights):
        """Return the loss of ranking positives above the other labels (Eq. 8).

        With `n_negatives`, these are the labels with the best scores alone. They have
        nearly all of the gradient: the softmax of all others, or with
        ``loss="bce"`` their sigmoid, is close to 0.
        """
        loss, loss_of_all = _LOSSES[self.loss]
        loss_of_all = partial(loss_of_all, **weights)
        if self.n_negatives is None and isinstance(self.ranker, AllLabels):
            return self.ranker.loss(docs, positives, loss_of_all)  # it has a bias
        if self.n_negatives is None:
            return self.ranker.loss(
                docs,
                positives,
                lambda scores, ids: loss_of_all(self._add_offset(scores), ids),
            )
        ids = torch.cat([positives, self._find_negatives(docs, positives)], dim=1)
        # (n_docs, n_positives + n_negatives). The positives come first.
        is_real = ids < self.n_labels
        is_positive = is_real.clone()
        is_positive[:, positives.shape[1] :] = False
        scores = self._add_offset(self.ranker(docs, ids))
        return loss(scores, is_positive, is_real, **candidate_weights(weights, ids))

    @torch.no_grad()
    def _find_negatives(self, docs, positives):
        """Return the labels with the best scores that documents do not have."""
        n_negatives = min(self.n_negatives, self.n_labels)
        if isinstance(self.ranker, AllLabels):
            return self.ranker.top(docs, n_negatives, without=positives)[0]
        scores = self.ranker(docs)  # (n_docs, n_labels)
        # Padded positives get a column of their own.
        scores = pad(scores, (0, 1)).scatter_(1, positives, -torch.inf)
        best = scores[:, :-1].topk(n_negatives, dim=1, sorted=False)
        return best.indices.masked_fill(best.values == -torch.inf, self.n_labels)

    def ranking_weight(self, progress):
        """Return lambda, the weight of the ranking loss: lambda_max * e / E (Eq. 9).

        e is the epoch, counted from 1, and E the number of epochs. With the schedule
        "step", lambda grows with each batch and has the same value at an epoch's end.
        """
        epoch, n_epochs, batch, n_batches = progress
        if self.lambda_schedule == "epoch":
            return self.lambda_max * epoch / n_epochs
        done = (epoch - 1) * n_batches + batch
        return self.lambda_max * done / (n_epochs * n_batches)

    def encode(self, inputs):
        """Return the vectors of documents that score clusters and labels.

        They have the shapes (n_docs, cluster_dim) and (n_docs, dim).
        """
        return self.doc_vectors(*self.encoder(inputs), inputs)

    def label_head(self, vectors):
        """Return the head that scores labels, and the documents as it takes them."""
        return self.ranker, vectors[1]

    @property
    def labels_in_space(self):
        """Whether label vectors started as the encoder's vectors of documents."""
        return getattr(self.doc_vectors, "lift", None) is not None

    def start_rows(self, vectors):
        """Return the first vectors of new labels (see `Network.start_rows`)."""
        directions = vectors[1] if self.labels_in_space else None
        return typical_rows(self.ranker, directions, n_new=len(vectors[1]))

    def add_labels(self, rows, biases, vectors):
        """Add labels at the end (see `Network.add_labels`)."""
        for_clusters, for_labels = vectors
        self.ranker.add_rows(rows, biases)
        if self.clusters is not None:
            self.clusters.add_rows(best_clusters(self.retriever, for_clusters))
        elif self.retriever is not None:
            directions = for_labels if self.labels_in_space else None
            self.retriever.add_rows(
                *typical_rows(self.retriever, directions, n_new=len(rows))
            )

    def keep_labels(self, labels):
        """Keep some labels, in the given order (see `Network.keep_labels`)."""
        self.ranker.keep_rows(labels)
        if self.clusters is not None:
            self.retriever.keep_rows(self.clusters.keep_rows(labels))
            self.n_shortlist = min(self.n_shortlist, self.clusters.n_clusters)
        elif self.retriever is not None:
            self.retriever.keep_rows(labels)

    def document_modules(self):
        """Return the modules between the encoder and the vectors of documents."""
        return (self.doc_vectors,)

    def rank_encoded(self, vectors, k):
        """Return the best labels of documents (see `Network.rank_encoded`).

        Scores are logarithms of the softmax over the labels that were ranked, because
        the GRank loss does not change if all scores of a document are shifted. With
        ``loss="bce"`` they are log-odds, or with `single_label` logarithms of
        probabilities, normalised to sum 1 over the labels that were ranked.
        """
        for_clusters, for_labels = vectors
        ids = None
        if self.clusters is not None:
            cluster_scores = at_full_precision(self.retriever, for_clusters)
            if self.predict_shortlist < self.clusters.n_clusters:
                # Labels of the best clusters, and their clusters' scores: both are
                # (n_docs, n_candidates).
                ids, retrieved = self.clusters.top(
                    cluster_scores, self.predict_shortlist
                )

        combines = self.combine != "ranker" and self.retriever is not None

        def adjust(scores):  # (n_docs, n_candidates) or (n_docs, n_labels)
            scores = self._add_offset(scores)
            if combines:
                scores = combine(scores)
            is_one = self.loss == "bce" and self.single_label
            return logsigmoid(scores) if is_one else scores

        def combine(scores):
            if self.clusters is None:
                label_scores = at_full_precision(self.retriever, for_clusters)
            elif ids is None:  # the shortlist would hold all labels
                label_scores = self.clusters.spread_scores(cluster_scores)
            else:
                label_scores = retrieved
            if self.combine == "sum":
                return scores + label_scores
            # A product of sigmoids, as logarithms.
            product = logsigmoid(scores) + logsigmoid(label_scores)
            return log_odds(product) if self.loss == "bce" else product

        normalize = self.loss == "grank" or self.single_label
        return self.ranker.top(
            for_labels, k, ids=ids, adjust=adjust, normalize=normalize
        )

    def _add_offset(self, scores):
        offset = getattr(self, "offset", None)  # folders of older versions lack it
        return scores if offset is None else at_least_float32(scores) + offset

    @property
    def has_shortlist(self):
        """Whether labels are retrieved before they are ranked."""
        return self.clusters is not None

    def retrieve_encoded(self, vectors, n=None):
        """Return the labels of the best clusters (see `Network.retrieve_encoded`)."""
        scores = at_full_precision(self.retriever, vectors[0])
        return self.clusters.retrieve(scores, self.predict_shortlist, n)

    def floats_per_document(self, length):
        """Return the number of floats kept for the gradient of a document."""
        n_scores = 0 if self.retriever is None else self.retriever.n_outputs
        n_ranked = self.n_candidates or self.n_labels
        n_scores += self.ranker.n_scores_held if self.clusters is None else n_ranked
        # For each word of a candidate, autograd keeps its score and its share (2
        # floats), and the places of both (two int64, the size of 4 floats).
        n_words = 6 * self.ranker.most_words(n_ranked) if self.n_candidates else 0
        return self.encoder.floats_per_document(length) + 4 * n_scores + n_words

    @property
    def n_candidates(self):
        """Number of candidates of a document whose vectors are trained row by row."""
        if self.clusters is None:
            return self.n_negatives or 0
        return self.clusters.n_candidates(self.n_shortlist)
