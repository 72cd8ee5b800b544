"""What systems share that cluster labels, and score them by vectors."""

import numbers

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils import check_array
from torch import nn
from torch.nn.functional import normalize

from ._validation import check_choice, check_label_texts, check_number
from ._words import WORD
from .base import BaseXMCClassifier
from .cluster import BalancedKMeans
from .nn.heads import SCALE, DocumentVectors, LabelScores, cluster_head, first_offset
from .nn.labels import label_centroids
from .nn.prediction import encode
from .nn.shortlist import LabelClusters
from .nn.state import array

# Labels up to which each is a cluster of its own (X-GRank, Table II: 30,938).
_SMALL = 50_000


class ClusteringXMCClassifier(BaseXMCClassifier):
    """Base of the classifiers that cluster labels.

    A subclass has the parameters `label_texts`, `label_init`, `label_dim`,
    `label_precision`, `max_leaf_size`, `n_shortlist`, `predict_shortlist` and
    `cluster_features` (see `GRankClassifier`), and calls `_prepare_labels` in
    ``_build``.
    """

    def _check_parameters(self):
        super()._check_parameters()
        check_number("learning_rate", self.learning_rate, numbers.Real, 0)
        for name in ("n_shortlist", "predict_shortlist"):
            check_number(name, getattr(self, name), numbers.Integral, 1)
        if self.label_dim is not None:
            check_number("label_dim", self.label_dim, numbers.Integral, 2)
        if self.max_leaf_size != "auto":
            check_number("max_leaf_size", self.max_leaf_size, numbers.Integral, 1)
        check_choice("label_precision", self.label_precision, ("fp32", "bf16"))
        if (self.label_precision, self.precision) == ("bf16", "fp64"):
            raise ValueError(
                'label_precision="bf16" contradicts precision="fp64": leave one out.'
            )
        starts = ("auto", "both", "texts", "documents", "random")
        check_choice("label_init", self.label_init, starts)
        if isinstance(self.cluster_features, str):
            names = ("tfidf", "documents", "labels")
            check_choice("cluster_features", self.cluster_features, names)

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        if self.label_texts is not None:
            check_label_texts(self.label_texts, self.n_labels_)
        reads = {self.label_init, str(self.cluster_features)}
        if self.label_texts is None and reads & {"both", "texts", "labels"}:
            raise ValueError(
                f"label_init={self.label_init!r} with cluster_features="
                f"{self.cluster_features!r} reads label texts: give label_texts."
            )
        self._check_what_is_read(reads)
        if not isinstance(self.cluster_features, str):
            shape = np.shape(self.cluster_features)
            if len(shape) != 2 or shape[0] != self.n_labels_:
                raise ValueError(
                    f"cluster_features has shape {shape} and y {self.n_labels_} label "
                    "columns; row j of a matrix must describe column j."
                )
            check_array(
                self.cluster_features,
                accept_sparse="csr",
                input_name="cluster_features",
            )
        return X, Y

    def _check_what_is_read(self, reads):
        if not self._texts and reads & {"both", "texts", "documents", "labels"}:
            raise ValueError(
                f"label_init={self.label_init!r} with cluster_features="
                f"{self.cluster_features!r} needs a transformer, and X is a feature "
                'matrix: use label_init="random" and cluster_features="tfidf".'
            )

    def expected_state(self):
        """Checks of what `fit` sets (see `skxmc.nn.state`)."""
        return super().expected_state() | {"label_groups_": self._check_groups}

    def _check_groups(self, groups, name):
        array(self.n_labels_, kinds="i")(groups, name)
        clusters = self.network_.clusters
        if clusters is None:
            same = np.array_equal(groups, np.arange(self.n_labels_))
        else:
            same = np.array_equal(groups, clusters.groups[:-1].numpy(force=True))
        if not same:
            raise ValueError(f"{name} are not the clusters of the network.")

    def _count_numbers(self):
        # Label vectors in bfloat16 are not trained in float64, however few they are.
        return None if self.label_precision == "bf16" else super()._count_numbers()

    def _prepare_labels(self, encoder, docs, X, Y, rng):
        """Set ``label_groups_``, the cluster of each label.

        Returns
        -------
        tensor of shape (n_labels, hidden_size) or None
            Unit vectors that labels start from; None is a random start.
        """
        all_labels = self._ranks_all()
        doc_vectors, text_vectors = self._readings(encoder, docs, all_labels)
        self.label_groups_ = np.arange(self.n_labels_)
        if not all_labels:
            features = self._label_features(doc_vectors, text_vectors, X, Y)
            self.label_groups_ = self._cluster(features, rng)
        return self._first_label_vectors(doc_vectors, text_vectors, Y)

    def _ranks_all(self):
        if self.max_leaf_size == "auto":
            return self.n_labels_ <= _SMALL
        return self.max_leaf_size == 1

    def _candidate_scores(self, vectors, *words):
        """Head that scores candidates by label vectors that start so."""
        if self.label_precision == "bf16":
            vectors = vectors.bfloat16()
        order = torch.from_numpy(np.argsort(self.label_groups_, kind="stable"))
        return LabelScores(vectors, *words, row_wise=True, order=order)

    def _readings(self, encoder, docs, all_labels):
        """What the untrained encoder makes of documents and label texts, if asked."""
        asked = {self._start()}
        if not all_labels:
            asked.add(str(self.cluster_features))
        doc_vectors = text_vectors = None
        if asked & {"both", "documents"}:
            doc_vectors = self._encode(encoder, docs)
        if asked & {"both", "texts", "labels"}:
            texts = self._label_names()
            text_vectors = self._encode(encoder, self._read(texts))
            blank = [not text.strip() for text in texts]
            text_vectors[torch.tensor(blank)] = 0  # they say nothing of their label
        return doc_vectors, text_vectors

    def _label_names(self):
        return check_label_texts(self.label_texts, self.n_labels_)

    def _start(self):
        """The label_init that "auto" stands for."""
        if self.label_init != "auto":
            return self.label_init
        if not self._texts:
            return "random"
        return "documents" if self.label_texts is None else "both"

    def _first_label_vectors(self, doc_vectors, text_vectors, Y):
        """Unit vectors that labels start from, or None for the paper's start."""
        how = self._start()
        if how == "random":
            return None
        if how == "texts":
            vectors = text_vectors
        else:
            vectors = torch.from_numpy(label_centroids(doc_vectors.numpy(), Y))
        if how == "both":
            vectors = normalize(vectors + text_vectors, dim=1)
        # A label with neither text nor document starts in a direction of its own.
        empty = vectors.square().sum(dim=1) == 0
        own = torch.randn(int(empty.sum()), vectors.shape[1])
        return vectors.index_put((empty,), normalize(own, dim=1))

    def _encode(self, encoder, docs):
        device, precision = self._choose_device_and_precision()
        vectors = encode(
            encoder.to(device),
            docs,
            batch_size=self.batch_size,
            device=device,
            precision=precision,
            verbose=self.verbose,
        )
        encoder.cpu()
        return vectors

    def _cluster(self, features, rng):
        leaf = 100 if self.max_leaf_size == "auto" else self.max_leaf_size
        seed = int(rng.integers(2**31))
        model = BalancedKMeans(leaf, device=self.device, random_state=seed)
        return model.fit(features).labels_

    def _label_features(self, doc_vectors, text_vectors, X, Y):
        if not isinstance(self.cluster_features, str):
            return self.cluster_features
        if self.cluster_features == "labels":
            return text_vectors.numpy()
        if self.cluster_features == "documents":
            return label_centroids(doc_vectors.numpy(), Y)
        if self._texts:
            words = dict(token_pattern=WORD, sublinear_tf=True, dtype=np.float32)
            X = count_words(TfidfVectorizer(**words), X)
        return label_centroids(X, Y)


class RecallingXMCClassifier(ClusteringXMCClassifier):
    """Base of the classifiers that recall clusters and rank their labels.

    A subclass has the parameters of `ClusteringXMCClassifier`, and `dropout` and
    `loss_reduction`.
    """

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("loss_reduction", self.loss_reduction, ("mean", "sum"))

    def _recall_and_rank(self, encoder, readings, doc_vectors=None):
        """What a `LightXMLNetwork` is made of, beside its encoder.

        Parameters
        ----------
        encoder : TransformerEncoder or BagEncoder
        readings : tensor of shape (n_labels, hidden_size) or None
            What label vectors start from.
        doc_vectors : Module or None, default=None
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
            dim = (
                self.label_dim or 400
                if doc_vectors is None
                else doc_vectors.cluster_dim
            )
            vectors = nn.init.xavier_uniform_(torch.empty(self.n_labels_, dim))
        if doc_vectors is None:
            doc_vectors = DocumentVectors(
                encoder, dim, start=start, dropout=self.dropout
            )
        return dict(
            doc_vectors=doc_vectors,
            recall=cluster_head(doc_vectors, n_clusters, cluster_start, offset=offset),
            clusters=None if all_labels else LabelClusters(self.label_groups_),
            ranker=None if all_labels else self._candidate_scores(vectors),
            n_shortlist=min(self.n_shortlist, n_clusters),
            predict_shortlist=self.predict_shortlist,
            loss_reduction=self.loss_reduction,
            offset=offset,
            single_label=self._y_kind == "single",
        )


def count_words(vectorizer, texts):
    try:
        return vectorizer.fit_transform(texts)
    except ValueError:  # no text has a word: one that none of them has
        return sp.csr_matrix((len(texts), 1), dtype=np.float32)


def random_vectors(n, dim, total_dim):
    return torch.randn(n, dim) * total_dim**-0.5


def principal_part(readings, dim):
    """Matrix that turns readings into label vectors of width dim, and these."""
    hidden_size = readings.shape[1]
    if dim is None or dim == hidden_size:
        return torch.eye(hidden_size), readings
    if dim > hidden_size:
        raise ValueError(
            f"label_dim={dim} passes the encoder's hidden size, {hidden_size}, in "
            'which label vectors start. Lower it, or use label_init="random".'
        )
    directions = torch.linalg.eigh(readings.T @ readings).eigenvectors[:, -dim:]
    return directions.T.contiguous(), normalize(readings @ directions, dim=1)


def group_means(vectors, groups):
    """Unit vector of each cluster: the direction of its labels' sum."""
    groups = torch.from_numpy(np.asarray(groups, np.int64))
    sums = vectors.new_zeros(int(groups.max()) + 1, vectors.shape[1])
    return normalize(sums.index_add_(0, groups, vectors), dim=1)
