"""GUDN: the estimator; its network is in nn/networks/gudn.py."""

import numbers

from ._clustering_classifier import RecallingXMCClassifier
from ._efforts import GUDN
from ._label_branch import LabelBranchMixin, load_pooler
from ._parameters import fill_docstring
from ._pretrained import DEFAULT_N_LAYERS, PretrainedEncoderMixin, count_layers
from ._validation import check_choice, check_number
from .nn.examples import Examples
from .nn.networks.gudn import (
    ExtractedVectors,
    GUDNNetwork,
    MultiHotEncoder,
    SeparateGuide,
    SharedGuide,
)
from .nn.text import count_tokens

__all__ = ["GUDNClassifier"]


@fill_docstring
class GUDNClassifier(LabelBranchMixin, PretrainedEncoderMixin, RecallingXMCClassifier):
    """GUDN: label names guide the encoder in training.

    In training, the encoder reads a document and, in a second branch, the names of its
    labels [1]_. Two losses make the branches agree: a feature loss draws their vectors
    together, and a link loss recognizes the labels from their names. At prediction the
    encoder reads the text alone. The label branch is gone by then, so that predictions
    cost as much as those of `LightXMLClassifier`, whose heads, clusters and dynamic
    negatives this classifier shares.

    One thing goes beyond the paper: label vectors may start from the encoder's own
    vectors of the label texts and of the labels' documents (``label_init``).

    Parameters
    ----------
    Encoder: how documents become vectors

    %(encoder)s
        The paper uses "bert-base-uncased", and a Longformer for long texts.
    %(pooling)s
    %(text_prompt)s
    %(label_prompt)s
    %(reading)s
    %(trained_layers)s
    %(gradient_checkpointing)s
    %(bag_of_words)s
        The bag of label names holds the words of each of them once.
    %(ngram_range)s
    %(max_length)s
        The paper uses 512, or 4,096 with a Longformer.
    %(n_layers)s
        The released code uses 10 of BERT's 13, the paper 8.
    %(dropout)s
    %(encoder_dropout)s
        The paper keeps the rate of the pretraining.

    Labels: their texts, vectors and clusters

    %(label_texts)s
        They are the names that the label branch reads. Underscores are read as blanks.
        A label with a blank name takes no part in the guide.
    label_branch : {"auto", "names", "multi-hot"}, default="auto"
        Input of the label branch: the label names, or the label columns through a
        linear map of their own ("multi-hot"), which improves results less (Table 7).
        "auto" means names if there are `label_texts` and X is texts, and otherwise
        label columns, with a warning.
    variant : {"code", "paper"}, default="code"
        How the two branches are joined. "code" follows the released code: one
        classifier serves both branches, and their vectors are compared after the
        encoder's pooler. "paper" has a feature extractor for each branch (Eq. 2), a
        layer that maps features of texts to the width of those of names, a separate
        classifier for the link loss, and a hidden layer in the classifier of texts
        (Eq. 6). "paper" needs ``label_init="random"``, which "auto" then means.
    classifier_activation : {"relu", "none", "softmax"}, default="relu"
        Activation of the hidden layer of ``variant="paper"``. "softmax" follows Eq. 6
        to the letter, but leaves next to no gradient.
    label_reinforcement : {"shuffle", "repeat"} or None, default="shuffle"
        How the names of a document's labels fill the input of the label branch:
        repeated in a new order each time ("shuffle", the paper's disordered fill),
        repeated in the same order ("repeat"), or each name once (None). Unless all of
        the encoder is trained, names are read once, like texts (see `trained_layers`):
        "shuffle" then draws one order for each document.
    label_length : int or None, default=None
        Maximum number of tokens in the input of the label branch. None means as many as
        are kept per document, but at most 512, as in the paper.
    label_layers : int or None, default=None
        Number of last layers whose first-token states the label branch concatenates.
        None means `n_layers`; with ``variant="paper"`` two more, if the encoder has
        them.
    %(label_init)s
        The recall head starts at the means of the clusters' label vectors.
    label_dim : int or None, default=None
        Width of the label vectors; of the features and the hidden layer with
        ``variant="paper"``; and of the documents' vectors if X is a feature matrix.
        None means the encoder's hidden size, or 400 with ``label_init="random"``.
    %(head)s
        "all" needs ``variant="code"``. "dense" scores labels by the first-token states
        of `n_layers` layers, and "all" by vectors of the width `label_dim`.
    %(label_precision)s
    %(max_leaf_size)s
        Without clusters, the recall head scores the labels, and `cluster_features`,
        `n_shortlist` and `predict_shortlist` have no effect.
    %(cluster_features)s
    %(n_shortlist)s

    Training: objective, optimizer and held-out documents

    feature_weight : float, default=1.0
        Weight of the feature loss (Eq. 3), which is added to the classification loss
        (Eq. 7, 8). Eq. 3 is a mean over documents, and Eq. 4 and 7 are sums; here all
        three are means. With 1 / `batch_size` and both reductions "sum", the losses
        have the proportions of the equations. If both this and `link_weight` are 0,
        there is no label branch.
    link_weight : float, default=1.0
        Weight of the link loss (Eq. 4), which is added to the classification loss
        (Eq. 7, 8). If both this and `feature_weight` are 0, there is no label branch.
    feature_reduction : {"mean", "sum"}, default="mean"
        Reduction of the feature loss over dimensions: the mean of the squares, as in
        the released code, or half their sum, as in Eq. 3.
    stop_gradient_labels : bool, default=False
        Whether the feature loss changes only how texts are encoded, and passes no
        gradient to the label branch.
    loss_reduction : {"mean", "sum"}, default="mean"
        Reduction of the classification loss and the link loss: the mean over all
        outputs of a batch, as in the released code, or the sum over the outputs of a
        document, averaged over documents, as in Eq. 4 and 7.
    %(label_weight)s
    %(max_epochs)s
        The paper uses 20 or 40.
    %(batch_size)s
        The paper uses 8.
    %(accumulate)s
    %(learning_rate)s
        The released code uses 5e-5 for all weights.
    %(document_learning_rate)s
    %(head_learning_rate)s
    %(head_optimizer)s
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
    network_ : GUDNNetwork
        The trained network, without its label branch.
    %(tokenizer_)s
    %(vectorizer_)s
    %(max_length_)s
    %(text_prompt_)s
    %(label_prompt_)s
    %(calibration_)s

    References
    ----------
    .. [1] Wang, Zhu, Shu, Asamoah, Shi, Zhou. GUDN: A Novel Guide Network with Label
       Reinforcement Strategy for Extreme Multi-label Text Classification, 2022.
       Features: Eq. 2; guide: Eq. 3 to 5; classification: Eq. 6, 7; their sum: Eq. 8.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc import GUDNClassifier
    >>> X = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> Y = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> model = GUDNClassifier(
    ...     label_branch="multi-hot",
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

    _memory_advice = PretrainedEncoderMixin._memory_advice.replace(
        "batch_size or max_length", "batch_size, max_length or label_length"
    )

    def __init__(
        self,
        encoder="all-MiniLM-L6-v2",
        *,
        label_texts=None,
        label_branch="auto",
        variant="code",
        classifier_activation="relu",
        feature_weight=1.0,
        link_weight=1.0,
        feature_reduction="mean",
        stop_gradient_labels=False,
        label_reinforcement="shuffle",
        label_length=None,
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
        label_layers=None,
        dropout=0.5,
        encoder_dropout=0.0,
        label_dim=None,
        head="auto",
        label_precision="fp32",
        max_leaf_size="auto",
        n_shortlist=75,
        predict_shortlist=75,
        cluster_features="tfidf",
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
        schedule="linear",
        clip_norm=None,
        swa_start=None,
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
        self.label_branch = label_branch
        self.variant = variant
        self.classifier_activation = classifier_activation
        self.feature_weight = feature_weight
        self.link_weight = link_weight
        self.feature_reduction = feature_reduction
        self.stop_gradient_labels = stop_gradient_labels
        self.label_reinforcement = label_reinforcement
        self.label_length = label_length
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
        self.label_layers = label_layers
        self.dropout = dropout
        self.encoder_dropout = encoder_dropout
        self.label_dim = label_dim
        self.head = head
        self.label_precision = label_precision
        self.max_leaf_size = max_leaf_size
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.cluster_features = cluster_features
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

    _network_class = GUDNNetwork
    _efforts = GUDN
    _no_stream = "its guide must be trained on all documents before it guides."
    _fixed_parameters = (
        *("encoder", "reading", "trained_layers", "bag_of_words", "ngram_range"),
        *("pooling", "text_prompt", "label_prompt"),
        *("max_length", "n_layers", "label_init", "label_dim", "label_precision"),
        *("head", "max_leaf_size", "label_layers", "variant"),
        "classifier_activation",
    )

    def _check_parameters(self):
        super()._check_parameters()
        choices = {
            "label_branch": ("auto", "names", "multi-hot"),
            "variant": ("code", "paper"),
            "classifier_activation": ("relu", "none", "softmax"),
            "feature_reduction": ("mean", "sum"),
        }
        for name, values in choices.items():
            check_choice(name, getattr(self, name), values)
        for name in ("feature_weight", "link_weight"):
            check_number(name, getattr(self, name), numbers.Real, 0)
        for name in ("label_length", "label_layers"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), numbers.Integral, 1)
        if self.label_reinforcement is not None:
            fills = ("shuffle", "repeat")
            check_choice("label_reinforcement", self.label_reinforcement, fills)
        if self.variant == "paper" and self.label_init not in ("auto", "random"):
            raise ValueError(
                'variant="paper" needs label_init="random", got '
                f"{self.label_init!r}: other initial label vectors come from the "
                "encoder, and this variant scores vectors of another space."
            )
        if self.variant == "paper" and self.bag_of_words:
            raise ValueError(
                'bag_of_words=True needs variant="code", got "paper": the paper\'s '
                "features of a text have no place for a bag."
            )
        n_layers, label_layers = self._get_layer_counts()
        if self.variant == "code" and label_layers != n_layers:
            raise ValueError(
                f"label_layers={self.label_layers} with n_layers={self.n_layers}: with "
                'variant="code" one classifier serves texts and names, which must have '
                'as many layers. Leave label_layers out, or set variant="paper".'
            )

    def _why_not_all(self):
        if self.variant == "paper":
            return 'Leave out variant="paper", whose classifier of names does not.'
        return None

    def _choose_label_init(self):
        if self.variant == "paper":
            return "random"
        return super()._choose_label_init()

    def _count_layers(self, n_states):
        # One encoder reads texts and names, and returns as many layers as either needs.
        n_layers = super()._count_layers(n_states)
        if not self._uses_label_names:
            return n_layers
        _, default = self._get_layer_counts()
        label_layers = count_layers(
            "label_layers", self.label_layers, default, n_states
        )
        return max(n_layers, label_layers)

    def _get_layer_counts(self):
        """Return how many layers texts and label names use if the encoder has them."""
        n_layers = self.n_layers or DEFAULT_N_LAYERS
        return n_layers, self.label_layers or n_layers + 2 * (self.variant == "paper")

    def _complete_encoder(self, encoder):
        if self._encoder_options(encoder.model)["with_pooler"]:
            encoder.pooler = load_pooler(self.encoder, encoder.model)

    def _encoder_options(self, model):
        length = self._get_label_length()
        if self._uses_label_names:
            self._check_length("label_length", length, model)
        n_special = self.tokenizer_.num_special_tokens_to_add()
        n_special += count_tokens(self.label_prompt_, self.tokenizer_)
        if self._uses_label_names and length <= n_special:
            name = "label_length" if self.label_length else "label_length=max_length"
            raise ValueError(
                f"{name}={length} has no room for names beside the {n_special} "
                f"special tokens of the tokenizer; use at least {n_special + 1}."
            )
        return {"with_pooler": self._has_label_branch() and self.variant == "code"}

    def _build(self, X, Y, rows, rng):
        encoder, docs = self._make_encoder(X)
        label_vectors = self._prepare_labels(encoder, docs, X, Y, rng)
        doc_vectors, guide, label_encoder = None, None, None
        # Width of each layer's part of the first of the encoder's vectors.
        layer_size = encoder.width // getattr(encoder, "n_layers", 1)
        n_layers, label_layers = self._get_layer_counts()
        if self.variant == "paper":
            doc_vectors = ExtractedVectors(
                min(n_layers * layer_size, encoder.width),
                self.label_dim or 400,
                dropout=self.dropout,
                activation=self.classifier_activation,
            )
        heads = self._make_heads(encoder, label_vectors, doc_vectors)
        examples = Examples(docs, Y, rows)
        if self._has_label_branch():
            pooler = getattr(encoder, "pooler", None)
            guide = SharedGuide(layer_size, pooler)
            if self.variant == "paper":
                guide = SeparateGuide(
                    min(label_layers * layer_size, encoder.width),
                    doc_vectors.cluster_dim,
                    heads["recall"].out_features,
                    dropout=self.dropout,
                )
            if self._uses_label_names:
                examples = self._make_named_examples(encoder, docs, Y, rows, rng)
            else:
                label_encoder = MultiHotEncoder(self.n_labels_, encoder)
        network = GUDNNetwork(
            encoder,
            guide=guide,
            label_encoder=label_encoder,
            feature_weight=self.feature_weight,
            link_weight=self.link_weight,
            feature_reduction=self.feature_reduction,
            stop_gradient_labels=self.stop_gradient_labels,
            label_length=examples.longest if self._uses_label_names else 0,
            **heads,
        )
        return network, examples

    def _clean_label_texts(self, texts):
        return [text.replace("_", " ") for text in texts]

    def _finish_training(self, examples, Y, held_out):
        self.network_.drop_guide()
