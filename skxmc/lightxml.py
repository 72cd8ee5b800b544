"""LightXML: the estimator, and the network of the paper beside it."""

import numbers

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from ._clustering import ClusteringXMCClassifier, group_means, principal_part
from ._validation import check_choice, check_number
from .nn.encoders import BagEncoder, TransformerEncoder
from .nn.heads import (
    SCALE,
    DocumentVectors,
    LabelScores,
    at_full_precision,
    cluster_head,
    first_offset,
)
from .nn.losses import at_least_float32, bce_loss, bce_loss_all
from .nn.shortlist import LabelClusters, best_labels, log_odds
from .nn.state import (
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
        }

    def reset_unsaved(self):
        """Set what only training needs (see `skxmc.nn.state`)."""
        self._n_dropping = float("inf")

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


class RecallingXMCClassifier(ClusteringXMCClassifier):
    """Base of the classifiers that recall clusters and rank their labels.

    A subclass has the parameters of `ClusteringXMCClassifier`, and `dropout` and
    `loss_reduction`.
    """

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("loss_reduction", self.loss_reduction, ("mean", "sum"))

    def _recall_and_rank(self, encoder, readings, read=None):
        """What a `LightXMLNetwork` is made of, beside its encoder.

        Parameters
        ----------
        encoder : TransformerEncoder or BagEncoder
        readings : tensor of shape (n_labels, hidden_size) or None
            What label vectors start from.
        read : Module or None, default=None
            What reads documents, as wide for labels as for clusters; None makes
            `DocumentVectors`.
        """
        all_labels = self._ranks_all()
        n_clusters = int(self.label_groups_.max()) + 1
        start = cluster_start = dim = None
        offset = 0.0
        if readings is not None:
            start, vectors = principal_part(readings, self.label_dim)
            cluster_start = group_means(vectors, self.label_groups_)
            offset = first_offset(vectors, SCALE)
            dim = vectors.shape[1]
        elif not all_labels:
            dim = self.label_dim or 400 if read is None else read.cluster_dim
            vectors = nn.init.xavier_uniform_(torch.empty(self.n_labels_, dim))
        if read is None:
            read = DocumentVectors(encoder, dim, start=start, dropout=self.dropout)
        return dict(
            read=read,
            recall=cluster_head(read, n_clusters, cluster_start, offset=offset),
            clusters=None if all_labels else LabelClusters(self.label_groups_),
            ranker=None if all_labels else self._candidate_scores(vectors),
            n_shortlist=min(self.n_shortlist, n_clusters),
            predict_shortlist=self.predict_shortlist,
            loss_reduction=self.loss_reduction,
            offset=offset,
            single_label=self._y_kind == "single",
        )


class LightXMLClassifier(RecallingXMCClassifier):
    """LightXML: recall label clusters, rank the labels in them [1]_.

    A transformer reads a document. A recall head scores clusters of labels; the
    labels of the best clusters, resampled in every training step as the head
    learns, are the negatives that a ranking head learns from. Both learn by binary
    cross-entropy, and the probability of a label is the product of its cluster's
    and its own. Small label sets do without clusters: recall is all.

    Beyond the paper, label vectors may start from the encoder's own reading of the
    label texts and of the labels' documents (``label_init``).

    Parameters
    ----------
    encoder : str, path, or (model, tokenizer), default="all-MiniLM-L6-v2"
        As in `GRankClassifier`. The paper's are "bert-base-uncased",
        "roberta-base" and "xlnet-base-cased".
    label_texts : sequence of str or None, default=None
        Text of each label, in the order of the columns of `y`. Only `label_init`
        and `cluster_features` read them.
    label_init : {"auto", "both", "texts", "documents", "random"}, default="auto"
        Where label vectors start. "random": the paper's. The others as in
        `GRankClassifier`: unit vectors, which documents are read beside as vectors
        of length 20; then the recall head starts at the clusters' means. "auto":
        "both" with label texts, otherwise "documents"; "random" where X is a
        feature matrix.
    max_length : int or None, default=None
        Tokens kept per document (the paper: 128 or 512). None: 128, or as many as
        the encoder can read where that is fewer.
    n_layers : int or None, default=None
        Last layers whose first-token states are concatenated, of which the embeddings
        are the first. None: 5, or as many as there are where that is fewer.
    dropout : float, default=0.5
        On these states.
    dropout_until : float, default=1.0
        Share of each epoch's steps after which dropout is off. The released code
        is left without dropout after its first evaluation in an epoch: 0.1 on
        Amazon-670K, 0.05 on Wiki-500K, 0.27 on AmazonCat-13K.
    encoder_dropout : float or None, default=0.0
        Inside a pretrained encoder. None keeps what it was pretrained with, as the
        paper does.
    label_dim : int or None, default=None
        Width of the bottleneck and of label vectors. None: the encoder's hidden
        size, or 400 with ``label_init="random"`` (the paper: 400 or 500). Where X
        is a feature matrix also that of documents. Without clusters only the
        start has such vectors.
    label_precision : {"fp32", "bf16"}, default="fp32"
        Of the label vectors and their optimizer state where labels are clustered:
        12 bytes a number in training, or 6, rounded stochastically; averaging
        (`swa_start`) takes 8, or 6, more.
    max_leaf_size : int or "auto", default="auto"
        Most labels in a cluster. 1: every label is a cluster of its own, and recall
        is all; "auto" is 1 up to 50,000 labels, and 100 beyond. The next five
        parameters and `label_precision` do nothing where recall is all.
    n_shortlist : int, default=75
        Best clusters of a document whose labels are ranked in training, beside its
        own labels (released code: 75 for Amazon-670K, 32 for Wiki-500K).
    predict_shortlist : int, default=75
        Clusters whose labels are ranked at prediction; as many as there are rank
        every label.
    cluster_features : {"tfidf", "documents", "labels"} or matrix, default="tfidf"
        What labels are clustered by, as in `GRankClassifier`.
    negatives : {"dynamic", "uniform"}, default="dynamic"
        Where the negatives of a training step come from: the clusters that recall
        now scores best, or as many clusters drawn at random.
    bottleneck_activation : {"none", "sigmoid"}, default="none"
        On the vector that scores labels. Eq. 4 has a sigmoid, the released code
        has none; "sigmoid" needs ``label_init="random"``.
    loss_reduction : {"mean", "sum"}, default="mean"
        Of either head's loss: mean over all outputs, as the released code has it,
        or sum over a document's, as Eq. 1 and 5 have it.
    max_epochs : int, default=10
        Passes over the documents (the paper: 5 to 30).
    batch_size : int, default=32
        Documents a batch, in training and prediction.
    accumulate : int, default=1
        Batches whose gradients a step takes the mean of.
    learning_rate : float, default=1e-4
        Rate of the pretrained encoder.
    head_learning_rate : float, default=1e-3
        Rate of everything that is not pretrained (the paper: 1e-4).
    weight_decay : float, default=0.01
        AdamW's, not on biases and norms.
    warmup : float, default=0.0
        Share of the steps over which rates rise.
    schedule : {"linear", "constant"}, default="constant"
        Whether they fall to 0 then, or stay.
    clip_norm : float or None, default=None
        Largest norm of a step's gradient.
    swa_start : float or None, default=0.5
        Share of training after which weights are averaged (the paper: 0.27 to 0.5).
    swa_every : int, default=10
        Steps between two sets of weights that enter the average, as do those of an
        epoch's end (released code: 200 to 10,000).
    validation_fraction, early_stopping, n_iter_no_change, tol, label_names, top_k
        As in `GRankClassifier`.
    device, precision, checkpoint_dir, resume, random_state, verbose
        As in `GRankClassifier`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        Class labels of a 1-D `y`; otherwise the label columns.
    n_labels_, n_docs_ : int
        Seen in `fit`.
    label_names_ : ndarray of shape (n_labels,)
        `label_names`, or else `label_texts`, or else `classes_`.
    label_counts_ : int ndarray of shape (n_labels,)
        Documents of each label.
    label_groups_ : int ndarray of shape (n_labels,)
        Cluster of each label.
    history_ : list of dict
        Of each epoch: its number, mean loss (nats) and held-out P@k ("score").
    n_iter_ : int
        Epochs run.
    network_ : LightXMLNetwork
    tokenizer_ : PreTrainedTokenizerFast or None
    max_length_ : int
        Tokens kept per document, where X was texts.
    calibration_ : (float, float)
        Slope and offset that turn the network's log-odds into those of
        `predict_proba`.

    References
    ----------
    .. [1] Jiang, Wang, Sun, Yang, Zhao, Zhuang. LightXML: Transformer with Dynamic
       Negative Sampling for High-Performance Extreme Multi-label Text
       Classification, AAAI 2021. Recall: Eq. 1, 2; ranking: Eq. 4, 5; their sum:
       Eq. 6.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc import LightXMLClassifier
    >>> X = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> Y = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> model = LightXMLClassifier(
    ...     max_epochs=50,
    ...     head_learning_rate=0.01,
    ...     dropout=0,
    ...     validation_fraction=0,
    ...     label_dim=8,
    ...     random_state=0,
    ... )
    >>> ids, scores = model.fit(X, Y).predict_topk(X, k=1)
    >>> ids[:3].tolist()
    [[0], [1], [2]]
    """

    def __init__(
        self,
        encoder="all-MiniLM-L6-v2",
        *,
        label_texts=None,
        label_init="auto",
        max_length=None,
        n_layers=None,
        dropout=0.5,
        dropout_until=1.0,
        encoder_dropout=0.0,
        label_dim=None,
        label_precision="fp32",
        max_leaf_size="auto",
        n_shortlist=75,
        predict_shortlist=75,
        cluster_features="tfidf",
        negatives="dynamic",
        bottleneck_activation="none",
        loss_reduction="mean",
        max_epochs=10,
        batch_size=32,
        accumulate=1,
        learning_rate=1e-4,
        head_learning_rate=1e-3,
        weight_decay=0.01,
        warmup=0.0,
        schedule="constant",
        clip_norm=None,
        swa_start=0.5,
        swa_every=10,
        validation_fraction=0.05,
        early_stopping=False,
        n_iter_no_change=2,
        tol=0.0,
        label_names=None,
        top_k=50,
        device="auto",
        precision="auto",
        checkpoint_dir=None,
        resume=True,
        random_state=None,
        verbose=0,
    ):
        self.encoder = encoder
        self.label_texts = label_texts
        self.label_init = label_init
        self.max_length = max_length
        self.n_layers = n_layers
        self.dropout = dropout
        self.dropout_until = dropout_until
        self.encoder_dropout = encoder_dropout
        self.label_dim = label_dim
        self.label_precision = label_precision
        self.max_leaf_size = max_leaf_size
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.cluster_features = cluster_features
        self.negatives = negatives
        self.bottleneck_activation = bottleneck_activation
        self.loss_reduction = loss_reduction
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.schedule = schedule
        self.clip_norm = clip_norm
        self.swa_start = swa_start
        self.swa_every = swa_every
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.label_names = label_names
        self.top_k = top_k
        self.device = device
        self.precision = precision
        self.checkpoint_dir = checkpoint_dir
        self.resume = resume
        self.random_state = random_state
        self.verbose = verbose

    _network = LightXMLNetwork

    def _check_parameters(self):
        super()._check_parameters()
        check_number("dropout_until", self.dropout_until, numbers.Real, 0, 1)
        check_choice("negatives", self.negatives, ("dynamic", "uniform"))
        activations = ("none", "sigmoid")
        check_choice("bottleneck_activation", self.bottleneck_activation, activations)

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        if self.bottleneck_activation == "sigmoid" and self._start() != "random":
            raise ValueError(
                'bottleneck_activation="sigmoid" needs label_init="random", got '
                f"{self.label_init!r}: documents would leave the space of the readings "
                "that label vectors start from."
            )
        return X, Y

    def _build(self, encoder, docs, X, Y, rng):
        readings = self._prepare_labels(encoder, docs, X, Y, rng)
        return LightXMLNetwork(
            encoder,
            **self._recall_and_rank(encoder, readings),
            negatives=self.negatives,
            bottleneck_activation=self.bottleneck_activation,
            dropout_until=self.dropout_until,
        )
