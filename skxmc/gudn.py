"""GUDN: the estimator; its network is in nn/networks/gudn.py."""

import numbers
import warnings

import numpy as np

from ._clustering import RecallingXMCClassifier
from ._pretrained import DEFAULT_N_LAYERS, PretrainedEncoderMixin, count_layers
from ._validation import check_choice, check_number
from .nn.examples import Examples
from .nn.label_names import NamedExamples, special_tokens
from .nn.networks.gudn import (
    ExtractedVectors,
    GUDNNetwork,
    MultiHotEncoder,
    SeparateGuide,
    SharedGuide,
)
from .nn.state import flag
from .nn.text import tokenize


class GUDNClassifier(PretrainedEncoderMixin, RecallingXMCClassifier):
    """GUDN: label names guide the encoder in training [1]_.

    The encoder reads a document, and the names of the document's labels. Both are to
    be the same: a feature loss draws their vectors together, and a link loss has the
    labels recognised from their names. Predictions read the text alone; the label
    branch is gone then, and they cost what `LightXMLClassifier`'s do, whose heads,
    clusters and dynamic negatives these are.

    Beyond the paper, label vectors may start from the encoder's own reading of the
    label texts and of the labels' documents (``label_init``).

    Parameters
    ----------
    encoder : str, path, or (model, tokenizer), default="all-MiniLM-L6-v2"
        As in `GRankClassifier`. The paper's is "bert-base-uncased", and a Longformer
        for long texts.
    label_texts : sequence of str or None, default=None
        Name of each label, in the order of the columns of `y`. Underscores are read as
        blanks. A blank name takes no part in the guide.
    label_branch : {"auto", "names", "multi-hot"}, default="auto"
        What the label branch reads: label names, or label columns through a linear
        map of their own, which gains less (Table 7). "auto": names where there are
        label texts and X is text, otherwise columns, with a warning.
    variant : {"code", "paper"}, default="code"
        How branches are joined. "code": one classifier for both, and vectors compared
        behind the encoder's pooler, as in the released code. "paper": an extractor
        for each (Eq. 2), a layer that fits their shapes, a classifier of its own for
        the link, and a hidden layer in that of texts (Eq. 6); it needs
        ``label_init="random"``, which "auto" is then.
    classifier_activation : {"relu", "none", "softmax"}, default="relu"
        In that hidden layer. Eq. 6 has a softmax, of which little gradient is left.
    feature_weight, link_weight : float, default=1.0
        Of the feature loss (Eq. 3) and the link loss (Eq. 4) beside the classification
        loss (Eq. 7, 8). With both 0 there is no label branch.
    feature_reduction : {"mean", "sum"}, default="mean"
        Mean of the squares over dimensions, as in the released code, or half their
        sum, as in Eq. 3.
    stop_gradient_labels : bool, default=False
        Whether the feature loss leaves label features alone, and moves only texts.
    label_reinforcement : {"shuffle", "repeat"} or None, default="shuffle"
        Fill the label branch's input with the names over and over, in a new order each
        time (the paper's disordered fill), or in the same one. None: each name once.
    label_length : int or None, default=None
        Tokens of that input. None: as many as of a document.
    label_init : {"auto", "both", "texts", "documents", "random"}, default="auto"
        As in `LightXMLClassifier`.
    max_length : int or None, default=None
        Tokens kept per document (the paper: 512, or 4,096 with a Longformer). None:
        128, or as many as the encoder can read where that is fewer.
    n_layers : int or None, default=None
        Last layers whose first-token states are concatenated (released code: 10 of
        BERT's 13; the paper: 8). None: 5, or as many as there are where that is fewer.
    label_layers : int or None, default=None
        Of the label branch. None: as many; with ``variant="paper"`` two more, where
        there are as many.
    dropout : float, default=0.5
        On these states.
    encoder_dropout : float or None, default=0.0
        Inside a pretrained encoder. None keeps what it was pretrained with, as the
        paper does.
    label_dim : int or None, default=None
        Width of label vectors and, with ``variant="paper"``, of features and hidden
        layer. None: the encoder's hidden size, or 400 with ``label_init="random"``.
        Where X is a feature matrix also that of documents.
    label_precision, max_leaf_size, n_shortlist, predict_shortlist, cluster_features
        As in `LightXMLClassifier`.
    loss_reduction : {"mean", "sum"}, default="mean"
        Of classification and link loss: mean over all outputs, as the released code
        has it, or sum over a document's, as Eq. 4 and 7 have it.
    max_epochs : int, default=10
        Passes over the documents (the paper: 20 or 40).
    batch_size : int, default=32
        Documents a batch, in training and prediction (the paper: 8).
    accumulate : int, default=1
        Batches whose gradients a step takes the mean of.
    learning_rate : float, default=1e-4
        Peak rate of the pretrained encoder (released code: 5e-5 for all).
    head_learning_rate : float, default=1e-3
        Peak rate of everything that is not pretrained.
    weight_decay, warmup, schedule, clip_norm, swa_start, swa_every
        As in `GRankClassifier`, but no warm-up by default.
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
    network_ : GUDNNetwork
        Without its guide.
    tokenizer_ : PreTrainedTokenizerFast or None
    max_length_ : int
        Tokens kept per document, where X was texts.
    calibration_ : (float, float)
        Slope and offset that turn the network's log-odds into those of
        `predict_proba`.

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

    _memory_advice = RecallingXMCClassifier._memory_advice.replace(
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
        max_length=None,
        n_layers=None,
        label_layers=None,
        dropout=0.5,
        encoder_dropout=0.0,
        label_dim=None,
        label_precision="fp32",
        max_leaf_size="auto",
        n_shortlist=75,
        predict_shortlist=75,
        cluster_features="tfidf",
        loss_reduction="mean",
        max_epochs=10,
        batch_size=32,
        accumulate=1,
        learning_rate=1e-4,
        head_learning_rate=1e-3,
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
        self.max_length = max_length
        self.n_layers = n_layers
        self.label_layers = label_layers
        self.dropout = dropout
        self.encoder_dropout = encoder_dropout
        self.label_dim = label_dim
        self.label_precision = label_precision
        self.max_leaf_size = max_leaf_size
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.cluster_features = cluster_features
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

    _network_class = GUDNNetwork

    def expected_state(self):
        """Checks of what `fit` sets (see `skxmc.nn.state`)."""
        return super().expected_state() | {"_reads_names": flag}

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
                f"{self.label_init!r}: its documents are not in the space of the "
                "readings that label vectors start from."
            )
        n_layers, label_layers = self._layers_wanted()
        if self.variant == "code" and label_layers != n_layers:
            raise ValueError(
                f"label_layers={self.label_layers} with n_layers={self.n_layers}: one "
                'classifier reads both with variant="code", so leave label_layers out, '
                'or say variant="paper".'
            )

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        self._reads_names = False
        if not self._guides():
            return X, Y
        missing = None
        if not self._texts:
            missing = "X is a feature matrix, so label names cannot be read"
        elif self.label_texts is None:
            missing = "label_texts is None"
        elif not any(map(str.strip, self._label_names())):
            missing = "all label_texts are blank"
        if missing and self.label_branch == "names":
            raise ValueError(
                f'{missing}, and label_branch="names" reads label names: give texts '
                'and their label_texts, or say label_branch="multi-hot".'
            )
        if missing and self.label_branch == "auto":
            warnings.warn(
                f"{missing}: the label branch reads label columns instead of names, "
                "which guides less. Give label_texts and X as texts if there are any; "
                'label_branch="multi-hot" says that columns are meant, '
                "feature_weight=0 with link_weight=0 leaves the branch out.",
                UserWarning,
                stacklevel=4,
            )
        self._reads_names = not missing and self.label_branch != "multi-hot"
        alone = not self._reads_names and not self.feature_weight
        if alone and self.variant == "paper" and self._ranks_all():
            warnings.warn(
                'The link guide shares nothing with the texts where variant="paper" '
                "reads label columns, so feature_weight=0 trains as if there were no "
                "guide. Give label_texts, or a feature_weight above 0.",
                UserWarning,
                stacklevel=4,
            )
        return X, Y

    def _guides(self):
        return self.feature_weight > 0 or self.link_weight > 0

    def _start(self):
        return "random" if self.variant == "paper" else super()._start()

    def _count_layers(self, n_states):
        n_layers = super()._count_layers(n_states)
        if not self._reads_names:
            return n_layers
        given, (_, default) = self.label_layers, self._layers_wanted()
        return max(n_layers, count_layers("label_layers", given, default, n_states))

    def _layers_wanted(self):
        """Layers of the text and of its label names, where the encoder has as many."""
        n_layers = self.n_layers or DEFAULT_N_LAYERS
        return n_layers, self.label_layers or n_layers + 2 * (self.variant == "paper")

    def _names_length(self):
        return self.label_length or self.max_length_

    def _encoder_options(self, model):
        length = self._names_length()
        if self._reads_names:
            self._check_length("label_length", length, model)
        n_special = self.tokenizer_.num_special_tokens_to_add()
        if self._reads_names and length <= n_special:
            given = "label_length" if self.label_length else "label_length=max_length"
            raise ValueError(
                f"{given}={length} has no room for names beside the {n_special} "
                f"special tokens of the tokenizer; use at least {n_special + 1}."
            )
        return {"with_pooler": self._guides() and self.variant == "code"}

    def _build(self, X, Y, rows, rng):
        encoder, docs = self._make_encoder(X)
        readings = self._prepare_labels(encoder, docs, X, Y, rng)
        read, guide, label_encoder = None, None, None
        hidden_size = encoder.hidden_size
        n_layers, label_layers = self._layers_wanted()
        if self.variant == "paper":
            read = ExtractedVectors(
                min(n_layers * hidden_size, encoder.width),
                self.label_dim or 400,
                dropout=self.dropout,
                activation=self.classifier_activation,
            )
        parts = self._recall_and_rank(encoder, readings, read)
        examples = Examples(docs, Y, rows)
        if self._guides():
            pooler = encoder.pooler if self._texts else None
            guide = SharedGuide(hidden_size, pooler)
            if self.variant == "paper":
                guide = SeparateGuide(
                    min(label_layers * hidden_size, encoder.width),
                    read.cluster_dim,
                    parts["recall"].out_features,
                    dropout=self.dropout,
                )
            if self._reads_names:
                examples = self._make_named_examples(docs, Y, rows, rng)
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
            label_length=self._names_length() if self._reads_names else 0,
            **parts,
        )
        return network, examples

    def _label_names(self):
        return [name.replace("_", " ") for name in super()._label_names()]

    def _make_named_examples(self, docs, Y, rows, rng):
        # With a blank, as names stand between others.
        names = [f" {name.strip()}".rstrip() for name in self._label_names()]
        length = self._names_length()
        tokens = tokenize(names, self.tokenizer_, length, special=False)
        if not tokens.lengths.any():
            raise ValueError(
                "The tokenizer finds no token in any of label_texts, the first of "
                f"which is {names[0].strip()!r}. Give names of its language, or say "
                'label_branch="multi-hot".'
            )
        return NamedExamples(
            docs,
            Y,
            rows,
            tokens,
            length=length,
            special=special_tokens(self.tokenizer_),
            reinforcement=self.label_reinforcement,
            rng=np.random.default_rng(rng.integers(2**31)),
        )

    def _finish_training(self, examples, Y, held_out):
        self.network_.drop_guide()
