"""X-GRank: the estimator; its network is in nn/networks/grank.py."""

import numbers

import numpy as np
from scipy.special import logit
from sklearn.feature_extraction.text import CountVectorizer

from ._clustering_classifier import (
    ClusteringXMCClassifier,
    count_words,
    mean_directions,
    random_vectors,
)
from ._efforts import GRANK
from ._parameters import fill_docstring
from ._partial_fit import PartialFitMixin
from ._pretrained import PretrainedEncoderMixin
from ._validation import check_choice, check_label_texts, check_number
from ._warm_labels import find_label_words
from ._words import WORD
from .nn.document_vectors import SCALE
from .nn.examples import Examples
from .nn.heads import LabelScores, first_offset
from .nn.networks.grank import GRankNetwork
from .nn.shortlist import LabelClusters

__all__ = ["GRankClassifier"]


@fill_docstring
class GRankClassifier(PartialFitMixin, PretrainedEncoderMixin, ClusteringXMCClassifier):
    """X-GRank: retrieve label clusters, then rank their labels, with a group-wise loss.

    A transformer encodes a document. A retriever scores clusters of labels from the
    first-token states of the encoder's last layers, and a ranker scores the labels of
    the best clusters by dot products with label vectors. Both are trained with the
    GRank loss, which ranks the positives of a document, as one group, above its
    negatives, as another [1]_. Small label sets need no clusters: the ranker then
    scores every label.

    Two things go beyond the paper (``label_init``). Label vectors start from the
    encoder's own vectors of the label texts and of the labels' documents, and the
    vector of a document starts from the mean of the encoder's last layer.

    Parameters
    ----------
    Encoder: how documents become vectors

    %(encoder)s
        The paper uses "bert-base-uncased", "roberta-base" and "xlnet-base-cased".
    %(pooling)s
    %(text_prompt)s
    %(label_prompt)s
    %(reading)s
    %(trained_layers)s
    %(gradient_checkpointing)s
    %(bag_of_words)s
    %(ngram_range)s
    %(max_length)s
        The paper uses 128 to 512.
    %(n_layers)s
    %(dropout)s
    %(encoder_dropout)s
        Dropout suits the tens of epochs of the paper. With a few epochs, the model
        learns faster without it, and an epoch takes a tenth less time.

    Labels: their texts, vectors and clusters

    %(label_texts)s
        Without texts, and with ``label_init="random"``, a label vector is its identity
        embedding alone.
    %(label_init)s

        With "random", half of a label's vector is its identity embedding and half the
        mean of the embeddings of the words in its text.
    label_dim : int or None, default=None
        Width of the label vectors, and of the documents' vectors if X is a feature
        matrix. None means the encoder's hidden size; with ``label_init="random"`` it
        means 512 if all labels are ranked and 128 with clusters (Table II). Training
        takes 4 bytes per label and dimension, or up to 16 if AdamW trains the label
        vectors (see `label_learning_rate`): use 128 for a million labels.
    %(head)s
        "all" needs ``small_label_mode="rank_only"``, and label vectors without a part
        for words, which "random" ones with `label_texts` have.
    %(label_precision)s
    %(max_leaf_size)s
    small_label_mode : {"rank_only", "dual"}, default="rank_only"
        What is trained if all labels are ranked: the ranker alone ("rank_only"), or
        also the retriever, with one label per cluster, as Table II implies ("dual").
    %(cluster_features)s
    %(n_shortlist)s
        This is K_c of Table II.

    Training: objective, optimizer and held-out documents

    loss : {"grank", "bce"}, default="grank"
        Loss of both heads: the GRank loss (Eq. 7, 8), or binary cross-entropy of each
        output, summed over the outputs of a document. With "bce" this is X-BCE, with
        which the paper compares its loss (Table IV).
    n_negatives : int or None, default=128
        Number of labels that a document is trained to rank below its own in a step, if
        all labels are ranked: those with the best scores at that moment. The other
        labels have next to no gradient, and a step without them takes a fraction of the
        time. That holds for both kinds of `loss`. None trains on all labels, as in the
        paper. Used only if label vectors start from the encoder's own (`label_init`).
    lambda_max : float, default=0.5
        Weight lambda of the ranking loss in the last epoch; the weight of the
        retrieval loss is 1 - lambda (Eq. 9). Used only if the retriever is trained.
    lambda_schedule : {"epoch", "step"}, default="epoch"
        Whether lambda grows once per epoch, as in Eq. 9, or with every step. Used only
        if the retriever is trained.
    %(label_weight)s
    %(max_epochs)s
        The paper uses 20 to 50.
    %(batch_size)s
    %(accumulate)s
    %(learning_rate)s
        The paper uses 1e-4 for all weights.
    %(document_learning_rate)s
    %(head_learning_rate)s
    %(head_optimizer)s
        Used only where neither `n_negatives` nor `label_learning_rate` is.
    label_learning_rate : float or None, default=0.3
        Peak learning rate of plain SGD, which trains the label vectors. Rare labels
        then stay near the texts and documents that they start from. None trains label
        vectors by AdamW at `head_learning_rate`, as in the paper, or by
        `head_optimizer`. Used only if label vectors start from the encoder's own, and
        if there are clusters or `n_negatives`, or with ``head="all"``.
    %(weight_decay)s
    %(warmup)s
    %(schedule)s
    %(clip_norm)s
    %(swa_start)s
    %(swa_every)s
    %(validation_fraction)s
    %(early_stopping)s
    %(n_iter_no_change)s
    %(tol)s

    Prediction: which labels are returned, and their names

    %(predict_shortlist)s
    combine : {"ranker", "product", "sum"}, default="ranker"
        Score that orders the labels at prediction: the ranker's score, the product of
        the sigmoids of both heads' scores, or the sum of both scores. Used only if the
        retriever is trained.
    %(neighbor_weight)s
    %(n_voters)s
    %(label_texts_vote)s
    %(label_names)s
    %(top_k)s

    Running: device, precision, checkpoints and messages

    %(device)s
    %(precision)s
    %(checkpoint_dir)s
    %(resume)s
    %(warm_start)s
    %(random_state)s
    %(verbose)s

    Attributes
    ----------
    %(classes_)s
    %(n_labels_)s
    %(n_docs_)s
    %(n_features_in_)s
    %(feature_names_in_)s
    %(label_names_)s
    %(label_texts_)s
    %(label_counts_)s
    %(total_weight_)s
    %(label_groups_)s
    %(history_)s
    %(n_iter_)s
    %(neighbor_weight_)s
    network_ : GRankNetwork
        The trained network.
    %(tokenizer_)s
    %(vectorizer_)s
    %(max_length_)s
    %(text_prompt_)s
    %(label_prompt_)s
    calibration_ : (float, float)
        Slope and offset that turn the logarithm of the network's softmax into the
        log-odds of `predict_proba`. With ``loss="bce"`` they turn the network's
        log-odds into these.

    Notes
    -----
    The GRank loss does not change if the same number is added to all scores of a
    document. The network's scores therefore have no absolute meaning and cannot be
    compared between documents. Predictions come from the softmax over the labels that
    were ranked, calibrated on the held-out documents. With ``loss="bce"`` the network's
    scores are log-odds, and their sigmoids are probabilities without a calibration too.

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
        pooling="auto",
        text_prompt=None,
        label_prompt=None,
        reading="texts",
        trained_layers=0,
        gradient_checkpointing=False,
        bag_of_words=True,
        ngram_range=(1, 2),
        max_length=None,
        n_layers=None,
        dropout=0.5,
        encoder_dropout=0.0,
        label_dim=None,
        head="auto",
        label_precision="fp32",
        max_leaf_size="auto",
        small_label_mode="rank_only",
        n_shortlist=32,
        predict_shortlist=128,
        cluster_features="tfidf",
        loss="grank",
        n_negatives=128,
        lambda_max=0.5,
        lambda_schedule="epoch",
        combine="ranker",
        label_weight=None,
        max_epochs=8,
        batch_size=64,
        accumulate=1,
        learning_rate=2e-4,
        document_learning_rate=1e-3,
        head_learning_rate=1e-3,
        head_optimizer="rowwise",
        label_learning_rate=0.3,
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
        neighbor_weight="auto",
        n_voters=10,
        label_texts_vote=True,
        label_names=None,
        top_k=50,
        device="auto",
        precision="auto",
        checkpoint_dir=None,
        resume=True,
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.encoder = encoder
        self.label_texts = label_texts
        self.label_init = label_init
        self.pooling = pooling
        self.text_prompt = text_prompt
        self.label_prompt = label_prompt
        self.reading = reading
        self.trained_layers = trained_layers
        self.gradient_checkpointing = gradient_checkpointing
        self.bag_of_words = bag_of_words
        self.ngram_range = ngram_range
        self.max_length = max_length
        self.n_layers = n_layers
        self.dropout = dropout
        self.encoder_dropout = encoder_dropout
        self.label_dim = label_dim
        self.head = head
        self.label_precision = label_precision
        self.max_leaf_size = max_leaf_size
        self.small_label_mode = small_label_mode
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.cluster_features = cluster_features
        self.loss = loss
        self.n_negatives = n_negatives
        self.lambda_max = lambda_max
        self.lambda_schedule = lambda_schedule
        self.combine = combine
        self.label_weight = label_weight
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.learning_rate = learning_rate
        self.document_learning_rate = document_learning_rate
        self.head_learning_rate = head_learning_rate
        self.head_optimizer = head_optimizer
        self.label_learning_rate = label_learning_rate
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
        self.neighbor_weight = neighbor_weight
        self.n_voters = n_voters
        self.label_texts_vote = label_texts_vote
        self.label_names = label_names
        self.top_k = top_k
        self.device = device
        self.precision = precision
        self.checkpoint_dir = checkpoint_dir
        self.resume = resume
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    _network_class = GRankNetwork
    _efforts = GRANK
    _fixed_parameters = (
        *("encoder", "reading", "trained_layers", "bag_of_words", "ngram_range"),
        *("pooling", "text_prompt", "label_prompt"),
        *("max_length", "n_layers", "label_init", "label_dim", "label_precision"),
        *("head", "max_leaf_size", "small_label_mode", "loss"),
    )

    def _check_parameters(self):
        super()._check_parameters()
        check_number("lambda_max", self.lambda_max, numbers.Real, 0, 1)
        check_choice("small_label_mode", self.small_label_mode, ("rank_only", "dual"))
        check_choice("lambda_schedule", self.lambda_schedule, ("epoch", "step"))
        check_choice("combine", self.combine, ("ranker", "product", "sum"))
        check_choice("loss", self.loss, ("grank", "bce"))
        if self.n_negatives is not None:
            check_number("n_negatives", self.n_negatives, numbers.Integral, 1)
        if self.label_learning_rate is not None:
            rate = self.label_learning_rate
            check_number("label_learning_rate", rate, numbers.Real, 0)

    def _has_log_odds(self):
        return self.loss == "bce"

    def _why_not_all(self):
        if self.small_label_mode == "dual":
            return 'Leave out small_label_mode="dual", whose retriever does not.'
        if self.label_texts is not None and self._choose_label_init() == "random":
            return (
                'Leave out label_texts, or label_init="random": together, they make '
                "vectors of words, whose scores of all labels are computed at once."
            )
        return None

    def _training_options(self, examples):
        options = super()._training_options(examples)
        return options | {"label_learning_rate": self.label_learning_rate}

    def _build(self, X, Y, rows, rng):
        encoder, docs = self._make_encoder(X)
        label_vectors = self._prepare_labels(encoder, docs, X, Y, rng)
        all_labels = self._ranks_all_labels()
        clusters = None if all_labels else LabelClusters(self.label_groups_)
        n_retrieved = int(self.label_groups_.max()) + 1
        if all_labels and self.small_label_mode == "rank_only":
            n_retrieved = 0  # without outputs, there is no retriever

        projection = cluster_vectors = n_negatives = offset = None
        if label_vectors is None:
            # Widths of Table II.
            parts = self._make_random_vectors(512 if all_labels else 128)
            if self.loss == "bce":
                n_ranked = self.n_labels_
                if clusters is not None:
                    n_ranked = clusters.n_candidates(min(self.n_shortlist, n_retrieved))
                n_positive, n_docs = self._count_pairs(Y, rows)
                offset = _mean_log_odds(n_positive, n_ranked * n_docs)
        else:
            projection, vectors = self._project_vectors(label_vectors)
            if n_retrieved:
                cluster_vectors = mean_directions(vectors, self.label_groups_)
            parts = (vectors,)
            if self.loss == "bce":
                offset = first_offset(vectors, SCALE)
            n_negatives = self.n_negatives if all_labels else None
        if self._choose_head() == "all":
            trained_by = bias = None
            if n_negatives is not None:
                trained_by = "candidates"
            elif self.loss == "bce":  # each label has a bias instead of one offset
                bias = self._choose_bias() if offset is None else offset
                offset = None
            ranker = self._make_all_labels(*parts, bias=bias, trained_by=trained_by)
        elif all_labels and n_negatives is None:
            ranker = LabelScores(*parts)
        else:
            ranker = self._make_candidate_ranker(*parts)
        if ranker.row_wise:
            # Plain SGD needs label vectors that are near their aim already.
            uses_sgd = self.label_learning_rate is not None
            ranker.by_sgd = uses_sgd and label_vectors is not None
        network = GRankNetwork(
            encoder,
            ranker,
            clusters=clusters,
            n_retrieved=n_retrieved,
            start=projection,
            n_words=self._count_bag(),
            cluster_start=cluster_vectors,
            dropout=self.dropout,
            n_negatives=n_negatives,
            n_shortlist=min(self.n_shortlist, n_retrieved),
            predict_shortlist=self.predict_shortlist,
            lambda_max=self.lambda_max,
            lambda_schedule=self.lambda_schedule,
            combine=self.combine,
            loss=self.loss,
            offset=offset,
            single_label=self._y_kind == "single" if self.loss == "bce" else None,
        )
        return network, Examples(docs, Y, rows)

    def _make_random_vectors(self, default_dim):
        """Make the paper's random label vectors (Sec. III-E).

        Parameters
        ----------
        default_dim : int
            Width of the label vectors if `label_dim` is None.

        Returns
        -------
        tuple
            Arguments of `LabelScores`: the identity embeddings; with label texts, also
            the word counts of the texts and the word embeddings.
        """
        dim = self.label_dim or default_dim
        if self.label_texts is None:
            return (random_vectors(self.n_labels_, dim, dim),)
        texts = check_label_texts(self.label_texts, self.n_labels_)
        counts = count_words(CountVectorizer(token_pattern=WORD), texts)
        if self._start is not None:
            self._start.label_words = find_label_words(self._start, texts)
        words = random_vectors(counts.shape[1], dim // 2, dim)
        identities = random_vectors(self.n_labels_, dim - dim // 2, dim)
        return identities, counts, words


def _mean_log_odds(n_positive, n_ranked):
    """Return the log-odds of an output that is positive as often as all are in mean.

    Sigmoids that start there are right in mean. From 1/2, thousands of scores would
    first have to fall before the loss could tell labels apart.
    """
    share = n_positive / n_ranked
    return float(logit(np.clip(share, 1e-9, 0.5)))
