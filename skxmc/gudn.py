"""GUDN: the estimator; its network is in nn/networks/gudn.py."""

import numbers
import warnings

import numpy as np

from ._clustering_classifier import RecallingXMCClassifier
from ._parameters import fill_docstring
from ._pretrained import DEFAULT_N_LAYERS, PretrainedEncoderMixin, count_layers
from ._validation import check_choice, check_number
<<<<<<< HEAD
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

__all__ = ["GUDNClassifier"]
=======
from .base import N_LAYERS, layers_read
from .lightxml import LightXMLNetwork, RecallingXMCClassifier
from .nn.encoders import FeatureVectors
from .nn.heads import DocumentVectors
from .nn.losses import feature_loss
from .nn.state import choice, flag, linear_map, number, part
from .nn.text import Tokens, tokenize, tokenizing

__all__ = ["GUDNClassifier"]


class ExtractedVectors(nn.Module):
    """The paper's feature extractor (Eq. 2) and first layer of the classifier (Eq. 6).

    Parameters
    ----------
    width : int
        Of the first-token states that are read; of wider ones the last.
    dim : int
    dropout : float
    activation : {"relu", "none", "softmax"}
        Theta of Eq. 6.
    """

    lift = None  # label vectors do not start from readings here

    def __init__(self, width, dim, *, dropout, activation="relu"):
        super().__init__()
        self.cluster_dim = dim
        self.extract = Extractor(width, dim, dropout=dropout)
        self.hidden = nn.Linear(dim, dim)
        self.activation = activation

    @property
    def dim(self):
        """Width of the vectors that score labels."""
        return self.cluster_dim

    def reads(self, encoder):
        """Whether it takes what that encoder returns."""
        return self.extract.width <= encoder.width

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim = self.cluster_dim
        return {
            "cluster_dim": number(1, whole=True),
            "extract": part(Extractor, dim=dim),
            "hidden": linear_map(dim, dim),
            "activation": choice("relu", "none", "softmax"),
        }

    def forward(self, first, mean):
        """Vectors that score clusters and labels: the same one twice."""
        return self.classify(self.extract(first))

    def classify(self, features):
        """Vectors of features E_t, of shape (n_docs, dim)."""
        docs = self.hidden(features)
        if self.activation == "relu":
            docs = docs.relu()
        elif self.activation == "softmax":
            docs = docs.softmax(dim=1)
        return docs, docs


class Extractor(nn.Module):
    """Features of a text or of label names: W_e relu(dropout(f)) + b_e (Eq. 2).

    Parameters
    ----------
    width, dim : int
    dropout : float
    """

    def __init__(self, width, dim, *, dropout):
        super().__init__()
        self.width = width
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, dim)

    @property
    def dim(self):
        """Width of the features."""
        return self.linear.out_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        return {
            "width": number(1, whole=True),
            "dropout": part(nn.Dropout),
            "linear": linear_map(self.width),
        }

    def forward(self, first):
        """Extract from the last `width` numbers of the first-token states."""
        return self.linear(self.dropout(first[:, -self.width :]).relu())


class SharedGuide(nn.Module):
    """The guide of the released code: one classifier reads texts and label names.

    Their vectors are compared behind the encoder's pooler.

    Parameters
    ----------
    hidden_size : int
    pooler : Module or None
        A pretrained one of (n_docs, n_tokens, hidden_size), or its linear map; None
        is a new one.
    """

    recall = None  # the classifier of the texts

    def __init__(self, hidden_size, pooler=None):
        super().__init__()
        self.hidden_size = hidden_size
        if pooler is None or isinstance(pooler, nn.Linear):
            pooler = _Pooler(pooler or nn.Linear(hidden_size, hidden_size))
        self.pooler = pooler

    def of_texts(self, read, first, mean):
        """What classifies a text, and what is compared with its label names."""
        return read(first, mean), self._pooled(first)

    def of_labels(self, read, first, mean):
        """What classifies label names, and what is compared with their text."""
        return read(first, mean), self._pooled(first)

    def _pooled(self, first):
        return self.pooler(first[:, None, -self.hidden_size :])


class _Pooler(nn.Module):
    def __init__(self, dense):
        super().__init__()
        self.dense = dense

    def forward(self, states):
        return self.dense(states[:, 0]).tanh()


class SeparateGuide(nn.Module):
    """The guide of the paper: label names have their own extractor and classifier.

    Parameters
    ----------
    width : int
        Of the first-token states of label names.
    dim : int
    n_outputs : int
        Clusters, or labels.
    dropout : float
    """

    def __init__(self, width, dim, n_outputs, *, dropout):
        super().__init__()
        self.extract = Extractor(width, dim, dropout=dropout)
        self.shape = nn.Linear(dim, dim)
        self.recall = nn.Linear(dim, n_outputs)

    def of_texts(self, read, first, mean):
        """What classifies a text, and what is compared with its label names."""
        features = read.extract(first)
        return read.classify(features), self.shape(features)

    def of_labels(self, read, first, mean):
        """What classifies label names, and what is compared with their text."""
        features = self.extract(first)
        return (features, features), features


class MultiHotEncoder(nn.Module):
    """Label columns in the place of label names: the paper's Table 7.

    A linear map of the multi-hot vector.

    Parameters
    ----------
    n_labels : int
    encoder : TransformerEncoder or BagEncoder
        What it stands for.
    """

    def __init__(self, n_labels, encoder):
        super().__init__()
        vectors = torch.randn(n_labels, encoder.hidden_size) * encoder.hidden_size**-0.5
        self.n_labels = n_labels
        self.vectors = FeatureVectors(vectors)
        self.project = nn.Linear(encoder.hidden_size, encoder.width)

    def forward(self, positives):
        """Encode columns padded with n_labels: what a `TransformerEncoder` returns."""
        weights = (positives < self.n_labels).to(self.vectors.table.dtype)
        total = self.vectors({"features": positives, "weights": weights})
        return self.project(total), total


class GUDNNetwork(LightXMLNetwork):
    """LightXML's network, and in training a guide that reads label names too.

    Parameters
    ----------
    encoder, read, recall, **options
        As of `LightXMLNetwork`.
    guide : SharedGuide or SeparateGuide or None
        None trains on texts alone, and serves for predictions.
    label_encoder : MultiHotEncoder or None
        What reads labels; None is the encoder of the texts, which reads their names.
    feature_weight, link_weight : float
        Weights of the two losses of the guide.
    feature_reduction : {"mean", "sum"}
    stop_gradient_labels : bool
    label_length : int
        Tokens of label names.
    """

    def __init__(
        self,
        encoder,
        read,
        recall,
        *,
        guide=None,
        label_encoder=None,
        feature_weight=1.0,
        link_weight=1.0,
        feature_reduction="mean",
        stop_gradient_labels=False,
        label_length=0,
        **options,
    ):
        super().__init__(encoder, read, recall, **options)
        self.guide = guide
        self.label_encoder = label_encoder
        self.feature_weight = feature_weight
        self.link_weight = link_weight
        self.feature_reduction = feature_reduction
        self.stop_gradient_labels = stop_gradient_labels
        self.label_length = label_length

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        return super().expected_state() | {
            "read": part(
                DocumentVectors,
                ExtractedVectors,
                fits=lambda read: read.reads(self.encoder),
            ),
            "feature_weight": number(0),
            "link_weight": number(0),
            "feature_reduction": choice("mean", "sum"),
            "stop_gradient_labels": flag,
        }

    def reset_unsaved(self):
        """Set what only training needs (see `skxmc.nn.state`)."""
        super().reset_unsaved()
        self.guide = self.label_encoder = None
        self.label_length = 0

    def loss(self, batch, positives):
        """Classification, feature and link loss (Eq. 8)."""
        texts = self.encoder(batch)
        if self.guide is None or self.label_encoder is None and "names" not in batch:
            return self._classifying(self.recall, *self.read(*texts), positives)
        vectors, compared = self.guide.of_texts(self.read, *texts)
        loss = self._classifying(self.recall, *vectors, positives)
        if self.label_encoder is not None:
            labels = self.label_encoder(positives)
        else:  # documents whose labels have no name say nothing here
            rows = batch["named"]
            labels = self.encoder(batch["names"])
            compared, positives = compared[rows], positives[rows]
        vectors, features = self.guide.of_labels(self.read, *labels)
        if self.feature_weight:
            features = features.detach() if self.stop_gradient_labels else features
            loss = loss + self.feature_weight * feature_loss(
                compared, features, reduction=self.feature_reduction
            )
        if self._links:
            recall = self.guide.recall or self.recall
            linking = self._classifying(recall, *vectors, positives)
            loss = loss + self.link_weight * linking
        return loss

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` tokens."""
        total = super().floats_per_document(length)
        if self.guide is None:
            return total
        if self.label_encoder is None:
            total += self.encoder.floats_per_document(self.label_length)
        return total + 4 * self._links * self.recall.out_features

    @property
    def n_candidates(self):
        """Labels a document that are ranked in training, by text and by names."""
        return super().n_candidates * (1 + self._links)

    @property
    def _links(self):
        """Whether names are classified too."""
        return self.guide is not None and self.link_weight > 0


class LabelNames:
    """Sequences of the label names of documents: label reinforcement (Sec. 3.5).

    Parameters
    ----------
    names : Tokens
        Names of the labels, without special tokens.
    Y : csr matrix of shape (n_docs, n_labels)
        Only these documents have sequences, those of their labels.
    length : int
        Tokens of a sequence, special tokens included.
    special : (list of int, list of int)
        Special tokens before and after.
    reinforcement : {"shuffle", "repeat"} or None
        Repeat the names to that length, in a new order each time, or the same. None:
        every name once, in the order of the labels.
    rng : numpy Generator
    """

    def __init__(self, names, Y, *, length, special, reinforcement, rng):
        self.names, self.Y = names, Y
        self.length = length
        self.special = special
        self.reinforcement = reinforcement
        self.rng = rng

    def batch(self, rows):
        """Sequences for documents `rows`.

        Returns a dict of ``named``, places of the documents that have named labels,
        and ``names``, their sequences as `Tokens` makes batches; empty without any.
        """
        part = self.Y[rows]
        docs = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        lengths = self.names.lengths[part.indices]
        named, docs = np.unique(docs[lengths > 0], return_inverse=True)
        if not len(named):
            return {}
        labels = part.indices[lengths > 0]
        before, after = self.special
        room = self.length - len(before) - len(after)
        docs, labels = self._in_order(docs, labels, room)
        starts, lengths = _in_rows(docs, self.names.lengths[labels])
        lengths = np.minimum(lengths, room - starts)
        docs, labels, starts, lengths = (
            values[lengths > 0] for values in (docs, labels, starts, lengths)
        )
        ends = np.zeros(len(named), np.int64)
        np.maximum.at(ends, docs, starts + lengths)

        steps = np.arange(lengths.sum()) - np.repeat(
            lengths.cumsum() - lengths, lengths
        )
        source = np.repeat(self.names.offsets[labels], lengths) + steps
        columns = np.repeat(starts, lengths) + steps + len(before)
        ids = np.full(
            (len(named), ends.max() + self.length - room), self.names.pad_id, np.int64
        )
        ids[np.repeat(docs, lengths), columns] = self.names.ids[source]
        ids[:, : len(before)] = before
        last = ends[:, None] + len(before) + np.arange(len(after))
        ids[np.arange(len(named))[:, None], last] = after
        mask = np.arange(ids.shape[1]) < (ends + len(before) + len(after))[:, None]
        return {
            "named": torch.from_numpy(named),
            "names": {
                "input_ids": torch.from_numpy(ids),
                "attention_mask": torch.from_numpy(mask.astype(np.int64)),
            },
        }

    def _in_order(self, docs, labels, room):
        """Labels of each document, as often and in the order that they are read."""
        if self.reinforcement is None:
            return docs, labels
        totals = np.bincount(docs, weights=self.names.lengths[labels])
        copies = np.ceil(room / totals).astype(np.int64)[docs]
        copy, _ = _in_rows(np.repeat(np.arange(len(docs)), copies), np.ones(1, int))
        entry = np.repeat(np.arange(len(docs)), copies)
        within = self.rng.random(len(entry))
        if self.reinforcement == "repeat":
            within = entry
        order = np.lexsort((within, copy, docs[entry]))
        return docs[entry][order], labels[entry][order]


def _in_rows(rows, lengths):
    """Where values that stand one behind the other in rows start, and their lengths."""
    lengths = np.broadcast_to(lengths, rows.shape)
    starts = lengths.cumsum() - lengths
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    return starts - np.repeat(starts[first], np.diff(first, append=len(rows))), lengths


class NamedTokens(Tokens):
    """Tokens whose batches carry the label names of their documents, in training.

    Attributes
    ----------
    names : LabelNames or None
    """

    names = None

    def batch(self, rows):
        """Token ids of documents, and the sequences of their label names."""
        batch = super().batch(rows)
        return batch if self.names is None else batch | self.names.batch(rows)

    def state(self):
        """What orders the names, to go on from."""
        return None if self.names is None else self.names.rng.bit_generator.state

    def restore(self, state):
        """Go on from a state."""
        self.names.rng.bit_generator.state = state


def special_tokens(tokenizer):
    """Special tokens that a tokenizer puts before and after a text."""
    with tokenizing:
        whole = tokenizer(" a")["input_ids"]
        bare = tokenizer(" a", add_special_tokens=False)["input_ids"]
    n = len(bare)
    start = next(i for i in range(len(whole)) if whole[i : i + n] == bare)
    return whole[:start], whole[start + n :]
>>>>>>> data


@fill_docstring
class GUDNClassifier(PretrainedEncoderMixin, RecallingXMCClassifier):
    """GUDN: label names guide the encoder in training [1]_.

    In training, the encoder reads a document and, in a second branch, the names of its
    labels. Two losses make the branches agree: a feature loss draws their vectors
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
    %(max_length)s
        The paper uses 512, or 4,096 with a Longformer.
    %(n_layers)s
        The released code uses 10 of BERT's 13, the paper 8.
    %(dropout)s
    %(encoder_dropout)s
        The paper keeps that rate.

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
        layer that fits the shape of one's features to the other's, a separate
        classifier for the link loss, and a hidden layer in the classifier of texts
        (Eq. 6). "paper" needs ``label_init="random"``, which "auto" then means.
    classifier_activation : {"relu", "none", "softmax"}, default="relu"
        Activation of the hidden layer of ``variant="paper"``. Eq. 6 has a softmax,
        which leaves little gradient.
    label_reinforcement : {"shuffle", "repeat"} or None, default="shuffle"
        How the names of a document's labels fill the input of the label branch:
        repeated in a new order each time ("shuffle", the paper's disordered fill),
        repeated in the same order ("repeat"), or each name once (None).
    label_length : int or None, default=None
        Number of tokens in the input of the label branch. None means as many as are
        kept per document.
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
    %(label_precision)s
    %(max_leaf_size)s
        Without clusters, the recall head scores the labels, and `label_precision`,
        `cluster_features`, `n_shortlist` and `predict_shortlist` have no effect.
    %(cluster_features)s
    %(n_shortlist)s

    Training: objective, optimizer and held-out documents

    feature_weight : float, default=1.0
        Weight of the feature loss (Eq. 3), which is added to the classification loss
        (Eq. 7, 8). If both this and `link_weight` are 0, there is no label branch.
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
    %(max_epochs)s
        The paper uses 20 or 40.
    %(batch_size)s
        The paper uses 8.
    %(accumulate)s
    %(learning_rate)s
        The released code uses 5e-5 for all weights.
    %(head_learning_rate)s
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
    %(label_names)s
    %(top_k)s

    Running: device, precision, checkpoints and messages

    %(device)s
    %(precision)s
    %(checkpoint_dir)s
    %(resume)s
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
    %(label_counts_)s
    %(label_groups_)s
    %(history_)s
    %(n_iter_)s
    network_ : GUDNNetwork
        The trained network, without its label branch.
    %(tokenizer_)s
    %(max_length_)s
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
    attribute_names = {"reads_label_names": "_reads_names"}

    def expected_state(self):
        """Checks of what `fit` sets (see `skxmc.nn.state`)."""
        return super().expected_state() | {"reads_label_names": flag}

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
