"""The network of GUDN: LightXML's network, guided by label names in training."""

import torch
from torch import nn

from ..bags import FeatureVectors
from ..document_vectors import DocumentVectors
from ..encoders import TransformerEncoder
from ..heads import LinearHead
from ..losses import feature_loss, loss_weights
from ..network import count_documents
from ..state import choice, flag, linear_map, number, part
from .lightxml import LightXMLNetwork


class ExtractedVectors(nn.Module):
    """The paper's feature extractor (Eq. 2) and first layer of the classifier (Eq. 6).

    Parameters
    ----------
    width : int
        Number of columns of the first-token states that are used. If the states are
        wider, the last columns are used.
    dim : int
        Width of the features and of the vectors.
    dropout : float
        Dropout rate on the first-token states.
    activation : {"relu", "none", "softmax"}
        Theta of Eq. 6.
    """

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
        """Return whether the vectors of that encoder have the right widths."""
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

    def forward(self, first, mean, batch=None):
        """Return the vectors that score clusters and labels, which are the same."""
        return self.classify(self.extract(first))

    def classify(self, features):
        """Compute the vectors from features E_t of shape (n_docs, dim)."""
        docs = self.hidden(features)  # (n_docs, dim)
        if self.activation == "relu":
            docs = docs.relu()
        elif self.activation == "softmax":
            docs = docs.softmax(dim=1)
        return docs, docs


class Extractor(nn.Module):
    """Feature extractor of texts or of label names: W_e relu(dropout(f)) + b_e (Eq. 2).

    Parameters
    ----------
    width : int
        Number of last columns of the first-token states that are used.
    dim : int
        Width of the features.
    dropout : float
        Dropout rate on the first-token states.
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
        """Extract features of shape (n_docs, dim) from first-token states."""
        return self.linear(self.dropout(first[:, -self.width :]).relu())


class SharedGuide(nn.Module):
    """The guide of the released code: texts and label names share one classifier.

    The feature loss compares the pooled vectors of texts and label names.

    Parameters
    ----------
    hidden_size : int
        Hidden size of the encoder.
    pooler : Module or None
        Pretrained pooler, which maps states of shape (n_docs, n_tokens, hidden_size)
        to vectors of shape (n_docs, hidden_size), or only its linear map. None makes
        a new pooler.
    """

    recall = None  # label names are classified by the network's own `recall`

    def __init__(self, hidden_size, pooler=None):
        super().__init__()
        self.hidden_size = hidden_size
        if pooler is None or isinstance(pooler, nn.Linear):
            pooler = _Pooler(pooler or nn.Linear(hidden_size, hidden_size))
        self.pooler = pooler

    def make_text_vectors(self, doc_vectors, first, mean, batch):
        """Return the vectors of texts for classification, and for the feature loss."""
        return doc_vectors(first, mean, batch), self._pool(first)

    def make_label_vectors(self, doc_vectors, first, mean, batch):
        """Return the vectors of names for classification, and for the feature loss."""
        return doc_vectors(first, mean, batch), self._pool(first)

    def _pool(self, first):
        # A pooler takes the first token of (n_docs, n_tokens, hidden_size). The last
        # layer's state of that token is all that it needs.
        return self.pooler(first[:, None, -self.hidden_size :])


class _Pooler(nn.Module):
    """Pooler like BERT's: tanh of a linear map of the first token's state."""

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
        Width of the first-token states of label names.
    dim : int
        Width of the features.
    n_outputs : int
        Number of clusters, or of labels if there are no clusters.
    dropout : float
        Dropout rate on the first-token states.
    """

    def __init__(self, width, dim, n_outputs, *, dropout):
        super().__init__()
        self.extract = Extractor(width, dim, dropout=dropout)
        self.shape = nn.Linear(dim, dim)  # the "shape layer" of the paper
        self.recall = LinearHead(dim, n_outputs)

    def make_text_vectors(self, doc_vectors, first, mean, batch):
        """Return the vectors of texts for classification, and for the feature loss."""
        features = doc_vectors.extract(first)  # E_t
        return doc_vectors.classify(features), self.shape(features)

    def make_label_vectors(self, doc_vectors, first, mean, batch):
        """Return the vectors of names for classification, and for the feature loss."""
        features = self.extract(first)  # E_l
        return (features, features), features


class MultiHotEncoder(nn.Module):
    """Encoder of label columns, for labels without names (Table 7 of the paper).

    It is a linear map of the multi-hot vector of a document's labels.

    Parameters
    ----------
    n_labels : int
        Number of labels.
    encoder : TransformerEncoder or BagEncoder
        Encoder that it replaces. The outputs have the same widths.
    """

    def __init__(self, n_labels, encoder):
        super().__init__()
        vectors = torch.randn(n_labels, encoder.hidden_size) * encoder.hidden_size**-0.5
        self.n_labels = n_labels
        self.vectors = FeatureVectors(vectors)
        self.project = nn.Linear(encoder.hidden_size, encoder.width)

    def forward(self, positives):
        """Encode label columns of shape (n_docs, n_positives), padded with n_labels.

        Returns two vectors per document, as a `TransformerEncoder` does.
        """
        weights = (positives < self.n_labels).to(self.vectors.table.dtype)
        total = self.vectors({"features": positives, "weights": weights})
        return self.project(total), total


class GUDNNetwork(LightXMLNetwork):
    """LightXML's network with a guide, which uses the names of the labels in training.

    Parameters
    ----------
    encoder, doc_vectors, recall, **options
        As in `LightXMLNetwork`.
    guide : SharedGuide or SeparateGuide or None
        Part of the network that only training uses. None trains on texts alone.
    label_encoder : MultiHotEncoder or None
        Encoder of labels. None encodes their names with the encoder of the texts.
    feature_weight, link_weight : float
        Weights of the feature loss and of the link loss.
    feature_reduction : {"mean", "sum"}
        As `reduction` in `skxmc.nn.losses.feature_loss`.
    stop_gradient_labels : bool
        Whether the feature loss sends no gradient into the vectors of label names.
    label_length : int
        Largest number of tokens of a sequence of label names.
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
        """Reset the attributes that only training needs (see `skxmc.nn.state`)."""
        self.guide = self.label_encoder = None
        self.label_length = 0

    def forward(self, inputs, targets, progress):
        """Return the classification, feature and link loss, weighted (Eq. 8).

        They are a dict, unless there is no guide. A batch none of whose documents has a
        label with a name has the classification loss alone.
        """
        positives = targets["positives"]  # (n_docs, n_positives)
        weights = loss_weights(targets)
        # (n_docs, width) and (n_docs, hidden_size)
        texts = self.encoder(inputs)
        if self.guide is None or self.label_encoder is None and "names" not in targets:
            vectors = self.doc_vectors(*texts, inputs)
            loss = self._classification_loss(self.recall, *vectors, positives, weights)
            if self.guide is None:
                return loss
            losses = {"classification": loss}
            if self._has_link_loss and getattr(self.recall, "shard", None) is not None:
                # Other processes may have names, and score them by the labels here.
                nothing = (part[:0] for part in (*vectors, positives))
                weights = loss_weights(targets, positives.new_zeros(0))
                losses["link"] = self._classification_loss(
                    self.recall, *nothing, weights
                )
            return losses
        vectors, text_features = self.guide.make_text_vectors(
            self.doc_vectors, *texts, inputs
        )
        # Eq. 7, on all documents of the batch.
        losses = {
            "classification": self._classification_loss(
                self.recall, *vectors, positives, weights
            )
        }
        names = None
        if self.label_encoder is not None:
            labels = self.label_encoder(positives)
        else:  # the guide leaves out documents none of whose labels has a name
            rows, names = targets["named"], targets["names"]  # (n_named,)
            labels = self.encoder(names)
            text_features, positives = text_features[rows], positives[rows]
            weights = loss_weights(targets, rows)
        vectors, label_features = self.guide.make_label_vectors(
            self.doc_vectors, *labels, names
        )
        if self.feature_weight:  # Eq. 3
            if self.stop_gradient_labels:
                label_features = label_features.detach()
            losses["feature"] = self.feature_weight * feature_loss(
                text_features,
                label_features,
                reduction=self.feature_reduction,
                doc_weights=weights.get("doc_weights"),
            )
        if self._has_link_loss:  # Eq. 4
            recall = self.guide.recall or self.recall
            link_loss = self._classification_loss(recall, *vectors, positives, weights)
            losses["link"] = self.link_weight * link_loss
        return losses

    def count_terms(self, targets):
        """Return what each loss divides by (see `Network.count_terms`)."""
        counts = super().count_terms(targets)
        if self.guide is None:
            return counts
        of_docs = of_names = counts["loss"]
        if self.label_encoder is None:
            is_named = torch.zeros_like(targets["positives"][:, 0], dtype=torch.bool)
            if "named" in targets:
                is_named[targets["named"]] = True
            of_names = count_documents(targets, is_named)
        return {"classification": of_docs, "feature": of_names, "link": of_names}

    def drop_guide(self):
        """Drop the modules that only training needs: the guide and its encoders."""
        self.guide = self.label_encoder = None
        if isinstance(self.encoder, TransformerEncoder):
            self.encoder.pooler = None

    def floats_per_document(self, length):
        """Return the number of floats kept for the gradient of a document."""
        total = super().floats_per_document(length)
        if self.guide is None:
            return total
        if self.label_encoder is None:  # the encoder reads the names too
            total += self.encoder.floats_per_document(self.label_length)
        return total + 4 * self._has_link_loss * self.recall.n_scores_held

    @property
    def n_candidates(self):
        """Number of candidates of a document whose vectors are trained row by row.

        The link loss ranks candidates of the label names as well.
        """
        return super().n_candidates * (1 + self._has_link_loss)

    @property
    def skips_weights(self):
        """Whether some weights of the guide belong to a loss that is left out."""
        has_both = self.feature_weight and self._has_link_loss
        return self.guide is not None and not has_both

    @property
    def _has_link_loss(self):
        """Whether label names are classified too."""
        return self.guide is not None and self.link_weight > 0
