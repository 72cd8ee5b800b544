"""The network of LightXML: recall of label clusters, and a ranker of their labels."""

import functools

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from ..all_labels import AllLabels
from ..bags import BagEncoder, WordReader
from ..document_vectors import DocumentVectors
from ..encoders import TransformerEncoder
from ..heads import LabelScores, LinearHead, at_full_precision
from ..label_changes import best_clusters, typical_rows
from ..losses import (
    at_least_float32,
    bce_loss,
    bce_loss_all,
    candidate_weights,
    cluster_weights,
    loss_weights,
)
from ..neighbors import expected_votes
from ..network import Network
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


class RankingBranch(nn.Module):
    """What reads documents for the ranker alone, if negatives are static.

    Parameters
    ----------
    encoder : TransformerEncoder, BagEncoder, WordReader or None
        Encoder of the ranker. None takes what the encoder of the recall returns.
    doc_vectors : DocumentVectors
        Module that makes the vectors that score labels.
    """

    def __init__(self, encoder, doc_vectors):
        super().__init__()
        self.encoder = encoder
        self.doc_vectors = doc_vectors

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        return {
            "encoder": optional(part(TransformerEncoder, BagEncoder, WordReader)),
            "doc_vectors": part(DocumentVectors),
        }

    def forward(self, inputs, read):
        """Return the vectors of documents that score labels.

        Parameters
        ----------
        inputs : dict of tensors
            A batch of documents.
        read : tuple of tensors or None
            What the encoder of the recall returns. It may be None if there is an
            encoder here.
        """
        if self.encoder is not None:
            read = self.encoder(inputs)
        return self.doc_vectors(*read, inputs)[1]

    def copy_from(self, network):
        """Take the weights of the encoder and the vectors of the recall."""
        self.doc_vectors.load_state_dict(network.doc_vectors.state_dict())
        if self.encoder is not None:
            self.encoder.load_state_dict(network.encoder.state_dict())

    def fits(self, network):
        """Return whether this has the widths that a network needs."""
        same = _shapes(self.doc_vectors) == _shapes(network.doc_vectors)
        if self.encoder is None:
            return same
        return same and _shapes(self.encoder) == _shapes(network.encoder)


class LightXMLNetwork(Network):
    """Encoder, recall of label clusters, and ranker of their labels.

    Parameters
    ----------
    encoder : TransformerEncoder, BagEncoder or WordReader
        Encoder of the documents.
    doc_vectors : DocumentVectors
        Module that makes the two vectors of a document, for clusters and for labels.
    recall : LinearHead or AllLabels
        Head that scores clusters: the generator of the paper. AllLabels scores labels,
        by the vectors for labels.
    clusters : LabelClusters or None
        Clusters of the labels. If None, recall scores all labels and nothing else is
        ranked.
    ranker : LabelScores or None
        Head that scores labels: the discriminator of the paper. None without clusters.
    n_shortlist, predict_shortlist : int
        Number of clusters whose labels are ranked for a document, in training and at
        prediction. `predict_shortlist` may be None, which is `n_shortlist`.
    negatives : {"dynamic", "uniform", "static"}
        Clusters that are ranked in training: those with the best scores, clusters
        drawn at random, or those with the best scores at the end of a first phase that
        trains the recall alone (see `skxmc.nn.static_negatives`).
    bottleneck_activation : {"none", "sigmoid"}
        Activation of the vectors that score labels (Eq. 4).
    loss_reduction : {"mean", "sum"}
        Mean over the outputs, as in the released code, or sum, as in Eq. 1 and 5.
    dropout_until : float
        Share of each epoch's batches that are trained with dropout.
    offset : float or None
        Initial value of a number that is added to the ranker's scores and trained. None
        adds none.
    single_label : bool
        Whether each document has exactly one label. Scores are then those of a
        probability distribution over the labels.
    ranking : RankingBranch or None
        What reads documents for the ranker, with static negatives. None if recall and
        ranker share a document's vectors.
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
        offset=None,
        single_label=False,
        ranking=None,
    ):
        super().__init__()
        self.encoder = encoder
        self.doc_vectors = doc_vectors
        self.recall = recall
        self.clusters = clusters
        self.ranker = ranker
        # If label vectors are initialised from the encoder, every label has a large
        # score at first. Without an offset, the loss would start far too high.
        has_offset = ranker is not None and offset is not None
        self.offset = nn.Parameter(torch.tensor(offset)) if has_offset else None
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist or n_shortlist
        self.negatives = negatives
        self.bottleneck_activation = bottleneck_activation
        self.loss_reduction = loss_reduction
        self.dropout_until = dropout_until
        self.single_label = single_label
        self.ranking = ranking

    @property
    def n_labels(self):
        """Number of labels that are ranked."""
        if self.clusters is None:
            return self.recall.n_outputs
        return self.clusters.n_labels

    @property
    def vector_dim(self):
        """Width of the vectors by which neighbours are found."""
        return self.doc_vectors.dim or self.doc_vectors.cluster_dim

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n_outputs, ranker = self.n_labels, nothing
        scores_labels = self.clusters is None and isinstance(self.recall, AllLabels)
        if self.clusters is not None:
            n_outputs = self.clusters.n_clusters
            ranker = part(
                LabelScores,
                n_labels=self.n_labels,
                row_wise=True,
                dim=self.doc_vectors.dim,
            )
        return {
            "encoder": part(TransformerEncoder, BagEncoder, WordReader),
            "doc_vectors": part(
                DocumentVectors, fits=lambda module: module.fits_encoder(self.encoder)
            ),
            "recall": part(AllLabels, dim=self.doc_vectors.dim)
            if scores_labels
            else part(
                LinearHead,
                in_features=self.doc_vectors.cluster_dim,
                out_features=n_outputs,
            ),
            "clusters": optional(part(LabelClusters)),
            "ranker": ranker,
            "offset": optional(parameter()),
            "n_shortlist": number(1, whole=True),
            "predict_shortlist": number(1, whole=True),
            "negatives": choice("dynamic", "uniform", "static"),
            "bottleneck_activation": choice("none", "sigmoid"),
            "loss_reduction": choice("mean", "sum"),
            "dropout_until": number(0, 1),
            "single_label": flag,
            # Folders of older versions lack it.
            "ranking": absent_or(
                optional(part(RankingBranch, fits=lambda branch: branch.fits(self)))
            ),
            "neighbors": expected_votes(self),
        }

    def uses_dropout(self, progress):
        """Return whether a batch is trained with dropout.

        The first batches of each epoch are, up to the share `dropout_until`.
        """
        return progress.batch <= round(self.dropout_until * progress.n_batches)

    def forward(self, inputs, targets, progress):
        """Return the recall loss (Eq. 1) plus the ranking loss (Eq. 5): Eq. 6."""
        vectors = self.encode(inputs)
        return self._classification_loss(
            self.recall, *vectors, targets["positives"], loss_weights(targets)
        )

    def _classification_loss(
        self, recall, for_clusters, for_labels, positives, weights
    ):
        if isinstance(recall, AllLabels):
            options = weights | {"reduction": self.loss_reduction}
            loss = functools.partial(bce_loss_all, **options)
            return recall.loss(for_labels, positives, loss)
        if self.clusters is None:
            loss = functools.partial(self._loss_of_all, **weights)
            return recall.loss(for_clusters, positives, loss)
        cluster_scores = recall(for_clusters)  # (n_docs, n_clusters)
        recall_loss = self.recall_loss(cluster_scores, positives, weights)
        candidates = self.clusters.candidates(
            self._get_selection_scores(cluster_scores), positives, self.n_shortlist
        )
        return recall_loss + self.ranking_loss(for_labels, *candidates, weights)

    def recall_loss(self, cluster_scores, positives, weights):
        """Return the loss of the clusters' scores: Eq. 1."""
        targets = self.clusters.targets(positives)
        return self._loss_of_all(cluster_scores, targets, **cluster_weights(weights))

    def ranking_loss(self, for_labels, ids, is_positive, weights):
        """Return the loss of the candidates' scores: Eq. 5.

        Parameters
        ----------
        for_labels : tensor of shape (n_docs, dim)
            Vectors of the documents that score labels.
        ids : int64 tensor of shape (n_docs, n_candidates)
            Label columns padded with n_labels.
        is_positive : bool tensor of the same shape
        weights : dict of str to tensor
            Weights of the batch by `skxmc.nn.losses.loss_weights`.
        """
        scores = self._add_offset(self.ranker(self._activate(for_labels), ids))
        mask = ids < self.n_labels
        options = candidate_weights(weights, ids) | {"reduction": self.loss_reduction}
        return bce_loss(scores, is_positive, mask, **options)

    def _get_selection_scores(self, cluster_scores):
        """Return the scores that choose the clusters of a training step."""
        if self.negatives == "dynamic":
            return cluster_scores
        # float32 whatever the scores are: bf16 has so few values that many would tie.
        return torch.rand(cluster_scores.shape, device=cluster_scores.device)

    def _loss_of_all(self, scores, positives, **weights):
        return bce_loss_all(scores, positives, reduction=self.loss_reduction, **weights)

    def encode(self, inputs):
        """Return the vectors of documents that score clusters and labels.

        They have the shapes (n_docs, cluster_dim) and (n_docs, dim).
        """
        read = self.encoder(inputs)
        for_clusters, for_labels = self.doc_vectors(*read, inputs)
        ranking = getattr(self, "ranking", None)  # folders of older versions lack it
        if ranking is not None:
            for_labels = ranking(inputs, read)
        return for_clusters, for_labels

    def label_head(self, vectors):
        """Return the head that scores labels, and the documents as it takes them."""
        for_clusters, for_labels = vectors
        if self.clusters is not None:
            return self.ranker, self._activate(at_least_float32(for_labels))
        in_chunks = isinstance(self.recall, AllLabels)
        return self.recall, for_labels if in_chunks else for_clusters

    @property
    def labels_in_space(self):
        """Whether label vectors started as the encoder's vectors of documents."""
        return getattr(self.doc_vectors, "lift", None) is not None

    def start_rows(self, vectors):
        """Return the first vectors of new labels (see `Network.start_rows`)."""
        head, _ = self.label_head(vectors)
        directions = self.compared_vectors(vectors) if self.labels_in_space else None
        return typical_rows(head, directions, n_new=len(vectors[0]))

    def add_labels(self, rows, biases, vectors):
        """Add labels at the end (see `Network.add_labels`)."""
        if self.clusters is None:
            self.recall.add_rows(rows, biases)
            return
        self.ranker.add_rows(rows, biases)
        self.clusters.add_rows(best_clusters(self.recall, vectors[0]))

    def keep_labels(self, labels):
        """Keep some labels, in the given order (see `Network.keep_labels`)."""
        if self.clusters is None:
            self.recall.keep_rows(labels)
            return
        self.ranker.keep_rows(labels)
        self.recall.keep_rows(self.clusters.keep_rows(labels))
        self.n_shortlist = min(self.n_shortlist, self.clusters.n_clusters)

    def document_modules(self):
        """Return the modules between the encoder and the vectors of documents."""
        return (self.doc_vectors,)

    def rank_encoded(self, vectors, k):
        """Return the best labels of documents (see `Network.rank_encoded`).

        The probability of a label is the product of its cluster's probability by recall
        and its own by the ranker. Scores are its log-odds. With `single_label`, scores
        are the logarithms of the probabilities, normalised to sum 1 over the labels
        that were ranked.
        """
        for_clusters, for_labels = vectors
        if self.clusters is None:
            in_chunks = isinstance(self.recall, AllLabels)
            return self.recall.top(
                for_labels if in_chunks else for_clusters,
                k,
                adjust=logsigmoid if self.single_label else None,
                normalize=self.single_label,
            )
        recalled, ids = at_full_precision(self.recall, for_clusters), None
        if self.predict_shortlist < self.clusters.n_clusters:
            ids, recalled = self.clusters.top(recalled, self.predict_shortlist)

        def adjust(scores):  # (n_docs, n_candidates), or (n_docs, n_labels)
            by_label = (
                self.clusters.spread_scores(recalled) if ids is None else recalled
            )
            # A sum of logarithms in float32, since products of small probabilities
            # would underflow.
            return logsigmoid(by_label) + logsigmoid(self._add_offset(scores))

        docs = self._activate(at_least_float32(for_labels))
        normalize = self.single_label
        ids, scores = self.ranker.top(
            docs, k, ids=ids, adjust=adjust, normalize=normalize
        )
        return ids, scores if self.single_label else log_odds(scores)

    @property
    def has_shortlist(self):
        """Whether labels are retrieved before they are ranked."""
        return self.clusters is not None

    def retrieve_encoded(self, vectors, n=None):
        """Return the labels of the best clusters (see `Network.retrieve_encoded`)."""
        scores = at_full_precision(self.recall, vectors[0])
        return self.clusters.retrieve(scores, self.predict_shortlist, n)

    def floats_per_document(self, length):
        """Return the number of floats kept for the gradient of a document."""
        n_scores = self.recall.n_scores_held + self.n_candidates
        return self.encoder.floats_per_document(length) + 4 * n_scores

    @property
    def n_candidates(self):
        """Number of candidates of a document whose vectors are trained row by row."""
        if self.clusters is None:
            return 0
        return self.clusters.n_candidates(self.n_shortlist)

    def _activate(self, docs):
        return docs.sigmoid() if self.bottleneck_activation == "sigmoid" else docs

    def _add_offset(self, scores):
        scores = at_least_float32(scores)
        return scores if self.offset is None else scores + self.offset


def _shapes(module):
    """Return the shapes of a module's weights by name."""
    return {name: weight.shape for name, weight in module.state_dict().items()}
