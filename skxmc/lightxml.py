"""LightXML: the estimator; its network is in nn/networks/lightxml.py."""

import copy
import numbers

from ._clustering_classifier import RecallingXMCClassifier
from ._efforts import LIGHTXML
from ._parameters import fill_docstring
from ._partial_fit import PartialFitMixin
from ._pretrained import PretrainedEncoderMixin
from ._validation import check_choice, check_number
from .nn.examples import Examples
from .nn.networks.lightxml import LightXMLNetwork, RankingBranch
from .nn.static_negatives import train_in_turn

__all__ = ["LightXMLClassifier"]


@fill_docstring
class LightXMLClassifier(
    PartialFitMixin, PretrainedEncoderMixin, RecallingXMCClassifier
):
    """LightXML: recall label clusters, then rank the labels in them.

    A transformer encodes a document. A recall head scores clusters of labels, and a
    ranking head scores the labels of the best clusters [1]_. The ranking head's
    negatives are dynamic: in every training step they come from the clusters that the
    recall head scores best at that moment, so that they become harder as it learns.
    Both heads learn by binary cross-entropy. The probability of a label is the product
    of its cluster's probability and its own. Small label sets need no clusters: the
    recall head then scores the labels themselves, and there is no ranking head.

    One thing goes beyond the paper: label vectors may start from the encoder's own
    vectors of the label texts and of the labels' documents (``label_init``).

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
        The paper uses 128 or 512.
    %(n_layers)s
    %(dropout)s
    dropout_until : float, default=1.0
        Fraction of the steps of each epoch after which dropout is switched off. In the
        released code, dropout stays off after the first evaluation in an epoch: after
        0.1 of the epoch on Amazon-670K, 0.05 on Wiki-500K and 0.27 on AmazonCat-13K.
    %(encoder_dropout)s
        The paper keeps the rate of the pretraining.

    Labels: their texts, vectors and clusters

    %(label_texts)s
        Training uses them only through `label_init` and `cluster_features`.
    %(label_init)s
        The recall head starts at the means of the clusters' label vectors.
    label_dim : int or None, default=None
        Width of the bottleneck and of the label vectors, and of the documents' vectors
        if X is a feature matrix. None means the encoder's hidden size, or 400 with
        ``label_init="random"`` (the paper uses 400 or 500). With the head
        "dense", only the initial vectors of `label_init` have this width.
    %(head)s
        "dense" scores labels by the first-token states of `n_layers` layers, and "all"
        by vectors of the width `label_dim`, as the ranking head of clusters does.
    %(label_precision)s
    %(max_leaf_size)s
        Without clusters, the recall head scores the labels, and `cluster_features`,
        `n_shortlist`, `predict_shortlist`, `negatives`, `ranking_encoder` and
        `bottleneck_activation` have no effect.
    %(cluster_features)s
    %(n_shortlist)s
        The released code uses 75 for Amazon-670K and 32 for Wiki-500K.
    negatives : {"dynamic", "uniform", "static"}, default="dynamic"
        Clusters that the negatives of a training step come from: those that the recall
        head scores best at that moment ("dynamic"), or as many clusters drawn at random
        ("uniform"). With "static", the recall head is trained first. The clusters of
        each document are then found once, and the ranking head is trained with these
        (Table 5).
    ranking_encoder : {"frozen", "own"}, default="frozen"
        What the ranking head reads documents with, if negatives are static: the encoder
        that the recall head was trained with, which does not change any more ("frozen",
        S of Table 5), or a copy of it, which is trained with the ranking head ("own",
        BS of Table 5). A model with two encoders takes twice as long to predict.
    bottleneck_activation : {"none", "sigmoid"}, default="none"
        Activation of the document vector that scores labels. Eq. 4 has a sigmoid, the
        released code has none. "sigmoid" needs ``label_init="random"``.

    Training: objective, optimizer and held-out documents

    loss_reduction : {"mean", "sum"}, default="mean"
        Reduction of the loss of each head: the mean over all outputs of a batch, as in
        the released code, or the sum over the outputs of a document, averaged over
        documents, as in Eq. 1 and 5.
    %(label_weight)s
    %(max_epochs)s
        The paper uses 5 to 30. If negatives are static, the recall head is trained for
        as many epochs, and then the ranking head for as many.
    %(batch_size)s
    %(accumulate)s
    %(learning_rate)s
    %(document_learning_rate)s
    %(head_learning_rate)s
        The paper uses 1e-4.
    %(head_optimizer)s
    %(weight_decay)s
    %(warmup)s
    %(schedule)s
    %(clip_norm)s
    %(swa_start)s
        The paper uses 0.27 to 0.5.
    %(swa_every)s
        The released code uses 200 to 10,000.
    %(validation_fraction)s
    %(early_stopping)s
    %(n_iter_no_change)s
    %(tol)s

    Prediction: which labels are returned, and their names

    %(predict_shortlist)s
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
        If negatives are static, the epochs of the recall head come first, without a
        score.
    %(n_iter_)s
    %(neighbor_weight_)s
    network_ : LightXMLNetwork
        The trained network.
    %(tokenizer_)s
    %(vectorizer_)s
    %(max_length_)s
    %(text_prompt_)s
    %(label_prompt_)s
    %(calibration_)s

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
        pooling="auto",
        text_prompt=None,
        label_prompt=None,
        reading="texts",
        trained_layers="all",
        gradient_checkpointing=False,
        bag_of_words=False,
        ngram_range=(1, 2),
        max_length=None,
        n_layers=None,
        dropout=0.5,
        dropout_until=1.0,
        encoder_dropout=0.0,
        label_dim=None,
        head="auto",
        label_precision="fp32",
        max_leaf_size="auto",
        n_shortlist=75,
        predict_shortlist=75,
        cluster_features="tfidf",
        negatives="dynamic",
        ranking_encoder="frozen",
        bottleneck_activation="none",
        loss_reduction="mean",
        label_weight=None,
        max_epochs=10,
        batch_size=32,
        accumulate=1,
        learning_rate=1e-4,
        document_learning_rate=1e-3,
        head_learning_rate=1e-3,
        head_optimizer="rowwise",
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
        neighbor_weight=0,
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
        self.dropout_until = dropout_until
        self.encoder_dropout = encoder_dropout
        self.label_dim = label_dim
        self.head = head
        self.label_precision = label_precision
        self.max_leaf_size = max_leaf_size
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.cluster_features = cluster_features
        self.negatives = negatives
        self.ranking_encoder = ranking_encoder
        self.bottleneck_activation = bottleneck_activation
        self.loss_reduction = loss_reduction
        self.label_weight = label_weight
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.learning_rate = learning_rate
        self.document_learning_rate = document_learning_rate
        self.head_learning_rate = head_learning_rate
        self.head_optimizer = head_optimizer
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

    _network_class = LightXMLNetwork
    _efforts = LIGHTXML
    _fixed_parameters = (
        *("encoder", "reading", "trained_layers", "bag_of_words", "ngram_range"),
        *("pooling", "text_prompt", "label_prompt"),
        *("max_length", "n_layers", "label_init", "label_dim", "label_precision"),
        *("head", "max_leaf_size", "negatives", "ranking_encoder"),
        "bottleneck_activation",
    )

    def _check_parameters(self):
        super()._check_parameters()
        check_number("dropout_until", self.dropout_until, numbers.Real, 0, 1)
        kinds = ("dynamic", "uniform", "static")
        check_choice("negatives", self.negatives, kinds)
        check_choice("ranking_encoder", self.ranking_encoder, ("frozen", "own"))
        activations = ("none", "sigmoid")
        check_choice("bottleneck_activation", self.bottleneck_activation, activations)

    def _why_no_stream(self):
        if self.negatives == "static":
            return (
                'negatives="static" finds the negatives of all documents once, after '
                'the recall head has been trained. Use negatives="dynamic", or fit '
                "with warm_start=True."
            )
        return None

    def _why_not_all(self):
        if self.negatives != "dynamic":
            return f"Leave out negatives={self.negatives!r}, which chooses clusters."
        return None

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        if (
            self.bottleneck_activation == "sigmoid"
            and self._choose_label_init() != "random"
        ):
            raise ValueError(
                'bottleneck_activation="sigmoid" needs label_init="random", got '
                f"{self.label_init!r}: other initial label vectors come from the "
                "encoder, and the sigmoid's document vectors are not in their space."
            )
        if self._has_phases() and self.ranking_encoder == "own" and self._texts:
            if self.trained_layers == 0 or self.reading == "words":
                raise ValueError(
                    'ranking_encoder="own" needs an encoder that is trained, and it is '
                    f"not with trained_layers={self.trained_layers!r} and reading="
                    f'{self.reading!r}: use ranking_encoder="frozen".'
                )
        return X, Y

    def _has_phases(self):
        """Return whether the recall head is trained before the ranking head."""
        return self.negatives == "static" and not self._ranks_all_labels()

    def _count_epochs(self):
        # Callbacks ask before the labels have been counted.
        return super()._count_epochs() * (2 if self.negatives == "static" else 1)

    def _run_training(self, examples, **options):
        if self._has_phases():
            options["goes_on"] = self._start is not None
            train_in_turn(self.network_, examples, **options)
        else:
            super()._run_training(examples, **options)

    def _build(self, X, Y, rows, rng):
        encoder, docs = self._make_encoder(X)
        label_vectors = self._prepare_labels(encoder, docs, X, Y, rng)
        heads, ranking = self._make_heads(encoder, label_vectors), None
        if self._has_phases():
            own = copy.deepcopy(encoder) if self.ranking_encoder == "own" else None
            ranking = RankingBranch(own, copy.deepcopy(heads["doc_vectors"]))
        network = LightXMLNetwork(
            encoder,
            **heads,
            ranking=ranking,
            negatives=self.negatives,
            bottleneck_activation=self.bottleneck_activation,
            dropout_until=self.dropout_until,
        )
        return network, Examples(docs, Y, rows)
