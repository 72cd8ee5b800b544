"""The network of GUDN."""

import torch
from torch import nn

from ..encoders import FeatureVectors, TransformerEncoder
from ..heads import DocumentVectors, LinearHead
from ..losses import feature_loss
from ..state import choice, flag, linear_map, number, part
from .lightxml import LightXMLNetwork


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

    def fits_encoder(self, encoder):
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

    def of_texts(self, doc_vectors, first, mean):
        """What classifies a text, and what is compared with its label names."""
        return doc_vectors(first, mean), self._pooled(first)

    def of_labels(self, doc_vectors, first, mean):
        """What classifies label names, and what is compared with their text."""
        return doc_vectors(first, mean), self._pooled(first)

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
        self.recall = LinearHead(dim, n_outputs)

    def of_texts(self, doc_vectors, first, mean):
        """What classifies a text, and what is compared with its label names."""
        features = doc_vectors.extract(first)
        return doc_vectors.classify(features), self.shape(features)

    def of_labels(self, doc_vectors, first, mean):
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
    encoder, doc_vectors, recall, **options
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
        doc_vectors,
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
        super().__init__(encoder, doc_vectors, recall, **options)
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
            "doc_vectors": part(
                DocumentVectors,
                ExtractedVectors,
                fits=lambda module: module.fits_encoder(self.encoder),
            ),
            "feature_weight": number(0),
            "link_weight": number(0),
            "feature_reduction": choice("mean", "sum"),
            "stop_gradient_labels": flag,
        }

    def reset_unsaved(self):
        """Set what only training needs (see `skxmc.nn.state`)."""
        self.guide = self.label_encoder = None
        self.label_length = 0

    def forward(self, inputs, targets, progress):
        """Classification, feature and link loss (Eq. 8)."""
        positives = targets["positives"]
        texts = self.encoder(inputs)
        if self.guide is None or self.label_encoder is None and "names" not in targets:
            vectors = self.doc_vectors(*texts)
            return self._classification_loss(self.recall, *vectors, positives)
        vectors, compared = self.guide.of_texts(self.doc_vectors, *texts)
        loss = self._classification_loss(self.recall, *vectors, positives)
        if self.label_encoder is not None:
            labels = self.label_encoder(positives)
        else:  # documents whose labels have no name guide nothing
            rows = targets["named"]
            labels = self.encoder(targets["names"])
            compared, positives = compared[rows], positives[rows]
        vectors, features = self.guide.of_labels(self.doc_vectors, *labels)
        if self.feature_weight:
            features = features.detach() if self.stop_gradient_labels else features
            loss = loss + self.feature_weight * feature_loss(
                compared, features, reduction=self.feature_reduction
            )
        if self._links:
            recall = self.guide.recall or self.recall
            linking = self._classification_loss(recall, *vectors, positives)
            loss = loss + self.link_weight * linking
        return loss

    def drop_guide(self):
        """Drop what only training needs: the guide, and what reads labels."""
        self.guide = self.label_encoder = None
        if isinstance(self.encoder, TransformerEncoder):
            self.encoder.pooler = None

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` tokens."""
        total = super().floats_per_document(length)
        if self.guide is None:
            return total
        if self.label_encoder is None:
            total += self.encoder.floats_per_document(self.label_length)
        return total + 4 * self._links * self.recall.n_outputs

    @property
    def n_candidates(self):
        """Labels a document that are ranked in training, by text and by names."""
        return super().n_candidates * (1 + self._links)

    @property
    def _links(self):
        """Whether names are classified too."""
        return self.guide is not None and self.link_weight > 0
