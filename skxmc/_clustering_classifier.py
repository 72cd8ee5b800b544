"""Bases of the systems that cluster labels and score them by label vectors."""

import math
import numbers

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils import check_array
from torch import nn
from torch.nn.functional import normalize

from ._shortlist import ShortlistMixin
from ._stored_words import fit_vectorizer
from ._validation import check_choice, check_label_texts, check_number
from ._warm_labels import continue_labels
from ._words import WORD
from .base import BaseXMCClassifier
from .cluster import BalancedKMeans
from .nn.all_labels import AllLabels
from .nn.devices import choose_device
from .nn.document_vectors import SCALE, DocumentVectors
from .nn.group import current_group
from .nn.heads import LabelScores, cluster_head, first_offset
from .nn.labels import label_centroids, weigh_rows
from .nn.prediction import encode
from .nn.reading import Documents, keep_vectors
from .nn.shortlist import LabelClusters
from .nn.state import array

# head="auto" is "dense" for up to this many labels. The largest set that X-GRank ranks
# without clusters has 30,938 (Table II).
_MAX_DENSE = 50_000
# On a CPU, it is "all" for up to this many labels. With more, a step with clusters
# takes less time.
_MAX_ALL_ON_CPU = 200_000
# Width of the label vectors of LightXML's paper for most of its data sets.
_PAPER_DIM = 400


class ClusteringXMCClassifier(ShortlistMixin, BaseXMCClassifier):
    """Base of the classifiers that cluster labels.

    A subclass has the parameters `head`, `head_optimizer`, `label_texts`, `label_init`,
    `label_dim`, `label_precision`, `max_leaf_size`, `n_shortlist`, `predict_shortlist`
    and `cluster_features` (see `GRankClassifier`), and calls ``_prepare_labels(...)``
    in ``_build``. It may override

    - ``_why_not_all()``: why its other parameters rule out ``head="all"``, or None;
    - ``_choose_label_init()``: the initial label vectors that "auto" stands for;
    - ``_count_bag()``: the number of words of a bag beside the encoder, or None;
    - ``_get_label_texts()``: the label texts as the encoder reads them.
    """

    def _check_parameters(self):
        super()._check_parameters()
        check_number("learning_rate", self.learning_rate, numbers.Real, 0)
        for name in ("n_shortlist", "predict_shortlist"):
            check_number(name, getattr(self, name), numbers.Integral, 1)
        if self.label_dim is not None:
            check_number("label_dim", self.label_dim, numbers.Integral, 2)
        check_number(
            "max_leaf_size", self.max_leaf_size, numbers.Integral, 1, word="auto"
        )
        check_choice("head", self.head, ("auto", "dense", "clusters", "all"))
        check_choice("head_optimizer", self.head_optimizer, ("rowwise", "adamw"))
        clustered = self.max_leaf_size != "auto" and self.max_leaf_size > 1
        if (
            self.head == "clusters"
            and self.max_leaf_size == 1
            or (self.head in ("dense", "all") and clustered)
        ):
            raise ValueError(
                f"head={self.head!r} contradicts max_leaf_size={self.max_leaf_size}, "
                f"which {'makes' if clustered else 'makes no'} clusters of labels: "
                "leave one of them out."
            )
        check_choice("label_precision", self.label_precision, ("fp32", "bf16"))
        if (self.label_precision, self.precision) == ("bf16", "fp64"):
            raise ValueError(
                'label_precision="bf16" contradicts precision="fp64": leave one out.'
            )
        inits = ("auto", "both", "texts", "documents", "random")
        check_choice("label_init", self.label_init, inits)
        if isinstance(self.cluster_features, str):
            sources = ("tfidf", "documents", "labels")
            check_choice("cluster_features", self.cluster_features, sources)

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        if self.label_texts is not None:
            check_label_texts(self.label_texts, self.n_labels_)
        if self.head == "all" and self._why_not_all() is not None:
            raise ValueError(
                f'head="all" scores labels in chunks. {self._why_not_all()}'
            )
        sources = {self.label_init, str(self.cluster_features)}
        if self.label_texts is None and sources & {"both", "texts", "labels"}:
            raise ValueError(
                f"label_init={self.label_init!r} with cluster_features="
                f"{self.cluster_features!r} needs the texts of labels: give "
                "label_texts."
            )
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

    def expected_state(self):
        """Return the checks of what `fit` sets (see `skxmc.nn.state`)."""
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
        # Label vectors in bfloat16 cannot be trained in float64.
        return None if self.label_precision == "bf16" else super()._count_numbers()

    def _prepare_labels(self, encoder, docs, X, Y, rng):
        """Cluster the labels, and make their initial vectors.

        This sets ``label_groups_``, the cluster of each label.

        Parameters
        ----------
        encoder : Module
            The untrained encoder.
        docs : Tokens, Features or TaughtDocuments
            The documents as the encoder takes them.
        X : list of str, or csr matrix of shape (n_docs, n_features)
            The same documents as the user gave them.
        Y : csr matrix of shape (n_docs, n_labels)
        rng : numpy Generator

        Returns
        -------
        tensor of shape (n_labels, hidden_size) or None
            Initial label vectors, of length one. None means random vectors.
        """
        Y = weigh_rows(Y, self._weights_of_all(Y))
        if self._start is not None:
            return continue_labels(self, encoder, docs, X, Y)
        doc_vectors, text_vectors = self._encode_untrained(encoder, docs)
        self.label_groups_ = np.arange(self.n_labels_)
        if not self._ranks_all_labels():
            features = self._make_label_features(doc_vectors, text_vectors, X, Y)
            self.label_groups_ = self._cluster_labels(features, rng)
        return self._make_label_vectors(doc_vectors, text_vectors, Y)

    def _ranks_all_labels(self):
        """Return whether every label is scored for every document."""
        return self._choose_head() != "clusters"

    def _choose_head(self):
        """Return `head`, or what "auto" stands for."""
        if self._start is not None:
            return self._start.head
        if self.head != "auto":
            return self.head
        if self.max_leaf_size != "auto":
            return "dense" if self.max_leaf_size == 1 else "clusters"
        if self.n_labels_ <= _MAX_DENSE:
            return "dense"
        # Several processes share labels, and no clusters of labels.
        alone_on_cpu = choose_device(self.device) == "cpu" and current_group() is None
        # The papers, whose label vectors start at random, have clusters.
        scores_all = (
            self._choose_label_init() != "random"
            and self._why_not_all() is None
            and (self.n_labels_ <= _MAX_ALL_ON_CPU or not alone_on_cpu)
        )
        return "all" if scores_all else "clusters"

    def _why_not_all(self):
        """Return a sentence about the parameters that rule out "all", or None."""
        return None

    def _make_all_labels(self, vectors, *, bias=None, trained_by=None):
        """Make the head that scores all labels in chunks.

        Parameters
        ----------
        vectors : tensor of shape (n_labels, dim)
            Initial label vectors.
        bias, trained_by
            As in `AllLabels`. None makes no bias, and takes `head_optimizer`.
        """
        if self.label_precision == "bf16":
            vectors = vectors.bfloat16()
        trained_by = trained_by or self.head_optimizer
        return AllLabels(vectors, bias=bias, trained_by=trained_by)

    def _choose_bias(self):
        """Return the log-odds that a document has a label, by their numbers alone."""
        n_docs = getattr(self, "total_weight_", self.n_docs_)
        mean = self.label_counts_.sum() / (n_docs * self.n_labels_)
        return math.log(mean / (1 - mean)) if 0 < mean < 1 else 0.0

    def _make_candidate_ranker(self, vectors, *words):
        """Make the head that scores the candidates of a document, not all labels.

        Parameters
        ----------
        vectors : tensor of shape (n_labels, dim)
            Initial label vectors.
        *words
            Word counts of the label texts and word vectors, as of `LabelScores`.
        """
        if self.label_precision == "bf16":
            vectors = vectors.bfloat16()
        if self._ranks_all_labels():
            return LabelScores(vectors, *words, row_wise=True)
        # The labels of a cluster are candidates together, so their rows are neighbours.
        order = torch.from_numpy(np.argsort(self.label_groups_, kind="stable"))
        return LabelScores(vectors, *words, row_wise=True, order=order)

    def _encode_untrained(self, encoder, docs):
        """Encode documents and label texts by the untrained encoder, where needed.

        Returns
        -------
        doc_vectors : tensor of shape (n_docs, hidden_size) or None
        text_vectors : tensor of shape (n_labels, hidden_size) or None
            None if neither initial label vectors nor clusters are made from them.
        """
        sources = {self._choose_label_init()}
        if not self._ranks_all_labels():
            sources.add(str(self.cluster_features))
        doc_vectors = text_vectors = None
        if sources & {"both", "documents"}:
            doc_vectors = self._encode_docs(encoder, docs)
        if sources & {"both", "texts", "labels"}:
            texts = self._get_label_texts()
            text_docs = self._make_label_docs(texts)
            text_vectors = self._encode_docs(encoder, text_docs)
            if getattr(encoder, "is_fixed", False):
                docs.label_docs = keep_vectors(text_docs, text_vectors)
            # All blank texts have one vector, which says nothing about their labels.
            is_blank = [not text.strip() for text in texts]
            text_vectors[torch.tensor(is_blank)] = 0
        return doc_vectors, text_vectors

    def _count_bag(self):
        return None

    def _choose_label_init(self):
        """Return `label_init`, or what "auto" stands for."""
        if self.label_init != "auto":
            return self.label_init
        if not self._texts:
            return "random"
        return "documents" if self.label_texts is None else "both"

    def _make_label_vectors(self, doc_vectors, text_vectors, Y):
        """Make initial label vectors of length one, or None for random ones."""
        label_init = self._choose_label_init()
        if label_init == "random":
            return None
        if label_init == "texts":
            vectors = text_vectors
        else:
            vectors = torch.from_numpy(label_centroids(doc_vectors.numpy(), Y))
        if label_init == "both":
            vectors = normalize(vectors + text_vectors, dim=1)
        # A label with neither text nor document gets a random direction.
        is_zero = vectors.square().sum(dim=1) == 0
        random = torch.randn(int(is_zero.sum()), vectors.shape[1])
        return vectors.index_put((is_zero,), normalize(random, dim=1))

    def _project_vectors(self, vectors):
        """Project label vectors on the space of the head (see `project_vectors`)."""
        if self._start is None:
            return project_vectors(vectors, self.label_dim)
        # The map has been trained, and with it the space.
        projection = self._start.network.doc_vectors.lift.weight.detach()
        projection = projection.cpu().to(vectors.dtype)
        return projection, normalize(vectors @ projection.T, dim=1)

    def _encode_docs(self, encoder, docs):
        if isinstance(docs, Documents) and docs.vectors is not None:
            return docs.vectors
        options = self._computing_options()
        options["on_disk"] = getattr(docs, "on_disk", False)
        vectors = encode(encoder.to(options["device"]), docs, **options)
        encoder.cpu()  # training begins there, after memory has been checked
        return vectors

    def _computing_options(self):
        """Return the arguments of `skxmc.nn.prediction.encode` beside the documents."""
        device, precision = self._choose_device_and_precision()
        return dict(
            batch_size=self.batch_size,
            device=device,
            precision=precision,
            verbose=self.verbose,
        )

    def _cluster_labels(self, features, rng):
        leaf_size = 100 if self.max_leaf_size == "auto" else self.max_leaf_size
        seed = int(rng.integers(2**31))
        model = BalancedKMeans(leaf_size, device=self.device, random_state=seed)
        return model.fit(features).labels_

    def _make_label_features(self, doc_vectors, text_vectors, X, Y):
        if not isinstance(self.cluster_features, str):
            return self.cluster_features
        if self.cluster_features == "labels":
            return text_vectors.numpy()
        if self.cluster_features == "documents":
            return label_centroids(doc_vectors.numpy(), Y)
        if self._texts:
            options = dict(token_pattern=WORD, sublinear_tf=True, dtype=np.float32)
            weights = self._weights_of_all(X)
            X = count_words(TfidfVectorizer(**options), X, weights)
        return label_centroids(X, Y)


class RecallingXMCClassifier(ClusteringXMCClassifier):
    """Base of the classifiers whose network is a `LightXMLNetwork`.

    It recalls clusters of labels, and ranks the labels in them. A subclass has the
    parameters of `ClusteringXMCClassifier`, and `dropout` and `loss_reduction`. It
    calls ``_make_heads(...)`` in ``_build``.
    """

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("loss_reduction", self.loss_reduction, ("mean", "sum"))

    def _make_heads(self, encoder, label_vectors, doc_vectors=None):
        """Make the arguments of `LightXMLNetwork` other than its encoder.

        Parameters
        ----------
        encoder : TransformerEncoder, BagEncoder or TReaderEncoder
        label_vectors : tensor of shape (n_labels, hidden_size) or None
            What ``_prepare_labels`` returns.
        doc_vectors : Module or None, default=None
            Turns what the encoder returns into the vectors that score clusters and
            labels, both of one width. None makes `DocumentVectors`.

        Returns
        -------
        dict
        """
        kind = self._choose_head()
        n_clusters = int(self.label_groups_.max()) + 1
        projection = cluster_vectors = dim = offset = None
        if label_vectors is not None:
            projection, vectors = self._project_vectors(label_vectors)
            cluster_vectors = mean_directions(vectors, self.label_groups_)
            offset = first_offset(vectors, SCALE)
            dim = vectors.shape[1]
        elif kind != "dense":
            dim = self.label_dim or _PAPER_DIM
            if doc_vectors is not None:
                dim = doc_vectors.cluster_dim
            vectors = nn.init.xavier_uniform_(torch.empty(self.n_labels_, dim))
        n_words = self._count_bag()
        if dim is None and n_words is not None:
            dim = self.label_dim or _PAPER_DIM
        if doc_vectors is None:
            doc_vectors = DocumentVectors(
                encoder, dim, start=projection, dropout=self.dropout, n_words=n_words
            )
        if kind == "all":
            bias = self._choose_bias() if offset is None else offset
            recall = self._make_all_labels(vectors, bias=bias)
        else:
            recall = cluster_head(
                doc_vectors, n_clusters, cluster_vectors, offset=offset
            )
        clustered = kind == "clusters"
        return dict(
            doc_vectors=doc_vectors,
            recall=recall,
            clusters=LabelClusters(self.label_groups_) if clustered else None,
            ranker=self._make_candidate_ranker(vectors) if clustered else None,
            n_shortlist=min(self.n_shortlist, n_clusters),
            predict_shortlist=self.predict_shortlist,
            loss_reduction=self.loss_reduction,
            offset=offset,
            single_label=self._y_kind == "single",
        )


def count_words(vectorizer, texts, weights=None):
    """Fit a vectorizer and return its matrix, with one empty column without words."""
    try:
        return fit_vectorizer(vectorizer, texts, weights)
    except ValueError:  # scikit-learn refuses texts without any word
        return sp.csr_matrix((len(texts), 1), dtype=np.float32)


def random_vectors(n_vectors, dim, total_dim):
    """Draw vectors that are parts, of width dim, of vectors of length about one.

    Parameters
    ----------
    n_vectors, dim : int
    total_dim : int
        Width of the whole vectors.
    """
    return torch.randn(n_vectors, dim) * total_dim**-0.5


def project_vectors(vectors, dim):
    """Project vectors on their principal directions.

    Parameters
    ----------
    vectors : tensor of shape (n_labels, hidden_size)
        Of length one.
    dim : int or None
        Number of directions to keep. None keeps all.

    Returns
    -------
    projection : tensor of shape (dim, hidden_size)
    projected : tensor of shape (n_labels, dim)
        Brought to length one again.

    Raises
    ------
    ValueError
        If `dim` exceeds the width of the vectors.
    """
    hidden_size = vectors.shape[1]
    if dim is None or dim == hidden_size:
        return torch.eye(hidden_size), vectors
    if dim > hidden_size:
        raise ValueError(
            f"label_dim={dim} exceeds the encoder's hidden size, {hidden_size}, and "
            "initial label vectors come from the encoder. Lower it, or use "
            'label_init="random".'
        )
    # Eigenvalues ascend, so the principal directions are the last ones.
    directions = torch.linalg.eigh(vectors.T @ vectors).eigenvectors[:, -dim:]
    return directions.T.contiguous(), normalize(vectors @ directions, dim=1)


def mean_directions(vectors, groups):
    """Return the direction of the mean of each group's vectors, as unit vectors.

    Parameters
    ----------
    vectors : tensor of shape (n_labels, dim)
    groups : int array of shape (n_labels,)
        Group of each vector, from 0 on.

    Returns
    -------
    tensor of shape (n_groups, dim)
    """
    groups = torch.from_numpy(np.asarray(groups, np.int64))
    sums = vectors.new_zeros(int(groups.max()) + 1, vectors.shape[1])
    return normalize(sums.index_add_(0, groups, vectors), dim=1)
