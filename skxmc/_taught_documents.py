"""TReaderXML's documents: their words, and the teacher knowledge about them."""

from itertools import islice

import numpy as np
import scipy.sparse as sp
import torch
from torch.nn.functional import pad

from ._hierarchy import check_label_parents
from ._token_vectors import is_lsa, latent_vectors, read_token_vectors
from ._top_k import top_k_per_row
from ._warm_labels import place_labels
from ._warm_teacher import EarlierLessons, continue_encoder, continue_words
from ._words import word_reader
from .cluster import BalancedKMeans
from .nn.all_labels import AllLabels
from .nn.labels import label_centroids, weigh_rows
from .nn.networks.treaderxml import SIZE, TReaderEncoder
from .nn.prediction import map_batches
from .nn.search import uses_exact_search
from .nn.teacher import TaughtDocuments, Teacher, make_binary, one_hot
from .nn.text import padded_features

# Number of documents from which the input of the bottleneck is standardized.
_N_STANDARDIZED = 2000
# search="auto" is exact for up to this many training documents.
_MAX_EXACT = 200_000
# label_parents="clusters" makes clusters of up to this many labels.
_MAX_CLUSTER_SIZE = 16


class TaughtDocumentsMixin:
    """Makes TReaderXML's encoder, its documents and their teacher (Algorithm 1).

    It is for a subclass of `ClusteringXMCClassifier` that has those parameters of
    `TReaderXMLClassifier` that concern words, the encoder, the teacher and parents. In
    ``_build`` it calls ``_make_parents()``, ``_make_encoder(X, parent_texts)``, and if
    there is a teacher, ``_make_teacher(...)``.
    """

    def _make_parents(self):
        """Make the matrix of the labels' parents, as the user names them.

        Returns
        -------
        parents : csr matrix of shape (n_labels, n_nodes) or None
            None if the user names no parents.
        parent_texts : list of n_nodes - n_labels str
            Names of the parents that are not labels.
        """
        if not self._has_named_parents():
            return None, []
        names = None if self.label_texts is None else self._get_label_texts()
        return check_label_parents(
            self.label_parents, self.parent_texts, self.n_labels_, names
        )

    def _has_named_parents(self):
        """Return whether the user names parents, rather than None or "clusters"."""
        if self.label_parents is None:
            return False
        return not _is_clusters(self.label_parents)

    def _check_n_heads(self, word_dim):
        if word_dim % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads} does not divide the width of word vectors, "
                f"{word_dim}: change one of them."
            )

    def _make_encoder(self, X, parent_texts):
        """Make the encoder, and turn X into the documents that it takes.

        This sets ``vectorizer_``, which ``_make_docs`` uses.

        Parameters
        ----------
        X : list of str, or csr matrix of shape (n_docs, n_features)
        parent_texts : list of str
            Names of parents that are not labels: their words get vectors too.

        Returns
        -------
        encoder : TReaderEncoder
        docs : TaughtDocuments
            They have no teacher yet.
        """
        self.vectorizer_ = None
        features = X
        if self._texts:
            label_texts = [] if self.label_texts is None else self._get_label_texts()
            texts = [*X, *label_texts, *parent_texts]
            self.vectorizer_, features = self._fit_words(
                texts,
                min_df=self.min_df,
                max_features=self.max_features,
                weights=self._weights_of_all(texts),
            )
        start = self._start
        if start is None:
            vectors = self._make_word_vectors(features)
            lengths = vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
            unit_vectors = vectors / lengths
            by_idf = self.neighbor_weights == "idf"
            self._neighbor_vectors = (unit_vectors if by_idf else vectors).numpy()
            root_mean_square = vectors.square().mean().sqrt().clamp(min=1e-12)
            vectors = vectors * (SIZE / root_mean_square)
        else:
            vectors, self._neighbor_vectors = continue_words(start, features.shape[1])
        encoder = TReaderEncoder(
            vectors,
            label_length=self.label_length if self.use_teacher else 0,
            hidden_size=self.label_dim or vectors.shape[1],
            n_heads=self.n_heads,
            reading=self.reading,
            mask=self.mask,
            residual=self.residual,
            dropout=self.dropout,
            layer_norm=self.layer_norm,
            positional=self.positional,
            pooling=self.pooling,
            pools_teacher=self._pools_teacher(),
            trains_vectors=self.train_vectors,
        )
        if start is not None:
            continue_encoder(encoder, start)
        return encoder, self._make_untaught_docs(X)

    def _pools_teacher(self):
        """Return whether the positions of the teacher's sequence are pooled."""
        if self.pool_teacher == "auto":
            return self.mask == "upper"
        return bool(self.pool_teacher)

    def _make_word_vectors(self, X):
        """Make the initial word vectors, a tensor of shape (n_words, word_dim).

        X is the TF-IDF matrix of the texts, or the user's feature matrix.
        """
        n_words, dim = X.shape[1], self.word_dim or 300
        if self.token_vectors is None:
            return torch.randn(n_words, dim)
        if is_lsa(self.token_vectors):
            weights = self._weights_of_all(X)
            vectors = latent_vectors(X, dim, weights)
            vectors = pad(vectors, (0, dim - vectors.shape[1]))
            lengths = vectors.norm(dim=1, keepdim=True)
            vectors = vectors / lengths.clamp(min=1e-12)
        else:
            terms = self.vectorizer_.get_feature_names_out()
            vectors, _ = read_token_vectors(self.token_vectors, terms)
            vectors = torch.from_numpy(vectors)
            lengths = vectors.norm(dim=1, keepdim=True)
            if self.word_dim not in (None, vectors.shape[1]):
                raise ValueError(
                    f"word_dim={self.word_dim}, but token_vectors have "
                    f"{vectors.shape[1]} numbers a word: leave word_dim out."
                )
            self._check_n_heads(vectors.shape[1])
        # Words without a vector get random ones, as large as the others. The mean of
        # the others is NaN if there are none.
        size = vectors[lengths[:, 0] > 0].square().mean().sqrt().nan_to_num(1.0)
        return torch.where(lengths > 0, vectors, size * torch.randn_like(vectors))

    def _make_untaught_docs(self, X):
        """Make documents of their words and the vectors by which neighbors are found.

        Returns
        -------
        TaughtDocuments
            Without a teacher.
        """
        if not self._texts:
            X = sp.csr_matrix(X, copy=True)
            X.sum_duplicates()
            X.eliminate_zeros()
            vectors = X @ self._neighbor_vectors
            return TaughtDocuments(keep_largest(X, self.max_length), vectors)
        words = self._find_words(X, self.max_length)
        weighted = words.copy()
        if self.neighbor_weights == "idf":
            weighted.data = self.vectorizer_.idf_[weighted.indices].astype(np.float32)
        return TaughtDocuments(words, weighted @ self._neighbor_vectors)

    def _find_words(self, texts, length):
        """Find the first known words of each text.

        Returns
        -------
        csr matrix of shape (n_texts, n_words)
            The entries of a row are in the order of the text, so its columns are
            unsorted and may repeat. All values are 1.
        """
        split = word_reader(self.vectorizer_)
        vocabulary = self.vectorizer_.vocabulary_
        rows = [
            list(
                islice(
                    (vocabulary[word] for word in split(text) if word in vocabulary),
                    length,
                )
            )
            for text in texts
        ]
        indptr = np.append(0, np.cumsum([len(row) for row in rows]))
        columns = np.fromiter((word for row in rows for word in row), np.int32)
        ones = np.ones(len(columns), np.float32)
        return sp.csr_matrix((ones, columns, indptr), (len(rows), len(vocabulary)))

    def _make_docs(self, X):
        docs = self._make_untaught_docs(X)
        if self.teacher_ is None:
            return docs
        nodes = self.teacher_.teach(docs.vectors)
        return TaughtDocuments(docs.X, docs.vectors, self.teacher_, nodes)

    def _standardize_encoder(self, encoder, docs, rng):
        """Standardize the input of the bottleneck over a sample of the documents."""
        if self._start is not None:
            return  # the encoder has been trained with what it had
        device, precision = self._choose_device_and_precision()
        rows = rng.permutation(len(docs))[:_N_STANDARDIZED]
        (pooled,) = map_batches(
            encoder.to(device),
            lambda batch: (encoder.pooled(batch),),
            docs,
            rows,
            batch_size=self.batch_size,
            device=device,
            precision=precision,
        )
        encoder.cpu().standardize(pooled.float(), self._weights_of(rows))

    def _make_teacher(self, docs, X, Y, parents, parent_texts, rng):
        """Set ``teacher_``, and give the documents their teacher knowledge.

        Parameters
        ----------
        docs : TaughtDocuments
            Without a teacher.
        X : list of str, or csr matrix of shape (n_docs, n_features)
            The same documents as the user gave them.
        Y : csr matrix of shape (n_docs, n_labels)
            Labels of the training documents. The rows of other documents are empty.
        parents, parent_texts
            What ``_make_parents`` returns.
        rng : numpy Generator

        Returns
        -------
        TaughtDocuments
            The same documents with their teacher.
        """
        features = X if self.vectorizer_ is None else self.vectorizer_.transform(X)
        weighted = weigh_rows(Y, self._weights_of_all(Y))
        centroids = label_centroids(features, weighted)
        labeled = np.flatnonzero(np.diff(Y.indptr))
        others = np.setdiff1d(np.arange(len(docs)), labeled)
        groups = group_repeats(docs.X)
        taught = docs.vectors[labeled], groups[labeled], Y[labeled]
        earlier = None
        if self._start is not None:
            earlier = EarlierLessons(
                self._start,
                docs.vectors,
                self.n_labels_,
                docs.X.shape[1],
                has_clusters=not self._has_named_parents()
                and _is_clusters(self._get_noted("label_parents")),
            )
            taught = earlier.append_to(*taught)
        parents, descriptions = self._describe_nodes(
            centroids, parents, parent_texts, rng, earlier, taught
        )
        self.teacher_ = Teacher(
            *taught,
            parents,
            descriptions,
            n_words=docs.X.shape[1],
            n_neighbors=self.n_neighbors,
            strict=self.strict_algorithm1,
            exact=uses_exact_search(self.search, len(labeled), _MAX_EXACT),
            seed=int(rng.integers(2**31)),
        )
        # A training document must not learn from itself, or from a repetition of it:
        # its own labels would be its teacher knowledge, as they never are later.
        parts = [self.teacher_.teach(docs.vectors[labeled], groups[labeled])]
        if len(others):
            parts.append(self.teacher_.teach(docs.vectors[others]))
        original_order = np.argsort(np.append(labeled, others))
        nodes = sp.vstack(parts, format="csr")[original_order]
        return TaughtDocuments(docs.X, docs.vectors, self.teacher_, nodes)

    def _describe_nodes(
        self, centroids, parents, parent_texts, rng, earlier=None, taught=None
    ):
        """Choose the words that describe labels and parents, which are called nodes.

        Parameters
        ----------
        centroids : csr matrix of shape (n_labels, n_words)
            TF-IDF centroids of the labels' documents.
        parents, parent_texts
            What ``_make_parents`` returns.
        rng : numpy Generator
        earlier : EarlierLessons or None, default=None
            What is known of an earlier fit.
        taught : tuple or None, default=None
            The vectors, groups and labels of all documents that teach, earlier ones
            included. Needed with `earlier`.

        Returns
        -------
        parents : csr matrix of shape (n_labels, n_nodes), float32
        descriptions : int32 ndarray of shape (n_nodes, label_length)
            Columns of words, padded with n_words.
        """
        length, n_labels = self.label_length, self.n_labels_
        label_texts = None if self.label_texts is None else self._get_label_texts()
        descriptions = [self._choose_words(label_texts, centroids)]
        if earlier is not None:
            descriptions = [earlier.keep_descriptions(descriptions[0])]
        if self.label_parents is None:
            parents = sp.csr_matrix((n_labels, n_labels), dtype=np.float32)
        elif parents is not None:
            if parent_texts:
                centroids = (parents[:, n_labels:].T @ centroids).tocsr()
                descriptions.append(self._choose_words(parent_texts, centroids))
        else:
            features = centroids
            if earlier is not None:  # labels may have no documents in this fit
                features = label_centroids(taught[0], taught[2])
            groups = self._cluster_for_parents(features, rng, earlier)
            links = one_hot(groups, int(groups.max()) + 1)
            terms = largest_columns((links.T @ centroids).tocsr(), length)
            if earlier is not None:
                terms = earlier.describe_clusters(terms, groups, descriptions[0])
            descriptions.append(terms)
            parents = sp.hstack([sp.csr_matrix((n_labels, n_labels)), links])
        parents = parents.tocsr().astype(np.float32)
        return parents, np.concatenate(descriptions).astype(np.int32)

    def _cluster_for_parents(self, features, rng, earlier):
        """Cluster labels by their features, or place new ones in earlier clusters."""
        seed = int(rng.integers(2**31))
        if earlier is not None and earlier.groups is not None:
            return place_labels(features, earlier.groups, 2 * _MAX_CLUSTER_SIZE)
        model = BalancedKMeans(_MAX_CLUSTER_SIZE, device=self.device, random_state=seed)
        return model.fit(features).labels_

    def _describe_added(self, texts, X, Y):
        """Have the teacher know of new labels, before they are added."""
        if self.teacher_ is None:
            return
        n_new = Y.shape[1] if texts is None else len(texts)
        centroids = sp.csr_matrix((n_new, self.teacher_.n_words), dtype=np.float32)
        if X is not None:
            features = X if self.vectorizer_ is None else self.vectorizer_.transform(X)
            centroids = sp.csr_matrix(label_centroids(features, Y))
        words = self._choose_words(texts, centroids)
        self.teacher_ = self.teacher_.add_labels(words, self.n_labels_)

    def _describe_kept(self, kept):
        """Have the teacher know of some labels only, before the others go."""
        if self.teacher_ is not None:
            self.teacher_ = self.teacher_.keep_labels(kept, self.n_labels_)

    def _choose_words(self, texts, centroids):
        """Choose the first known words of each text, or else the top terms.

        The top terms of a node have the largest values in its row of the centroids.
        """
        length, n_words = self.label_length, centroids.shape[1]
        terms = largest_columns(centroids, length)
        if texts is None or not self._texts:
            return terms
        words, _ = padded_features(
            self._find_words(texts, length), np.arange(len(texts))
        )
        words = pad(words, (0, length - words.shape[1]), value=n_words).numpy()
        has_no_word = (words == n_words).all(axis=1, keepdims=True)
        return np.where(has_no_word, terms, words)


def _is_clusters(label_parents):
    return isinstance(label_parents, str) and label_parents == "clusters"


def start_at_frequencies(head, Y, groups, weights=None):
    """Set the biases of a head to the log-odds of what it scores.

    From biases of 0, a network spends most of its training on learning that almost all
    labels are rare: a step of Adam moves each weight by no more than the learning rate.

    Parameters
    ----------
    head : LinearHead or AllLabels
        Head that scores clusters of labels, or labels if each is its own cluster.
    Y : csr matrix of shape (n_docs, n_labels)
        Labels of the training documents. Documents without labels do not count.
    groups : int ndarray of shape (n_labels,)
        Cluster of each label.
    weights : float64 ndarray of shape (n_docs,) or None
        Weights of the documents. None weighs all alike.
    """
    found = make_binary(Y @ one_hot(groups, head.n_outputs))
    counts = np.asarray(weigh_rows(found, weights).sum(axis=0)).ravel() + 0.5
    has_labels = np.diff(Y.indptr).astype(bool)
    n_docs = has_labels.sum() if weights is None else weights @ has_labels
    others = n_docs + 1 - counts
    biases = head.vectors[:-1, -1] if isinstance(head, AllLabels) else head.bias
    biases.data.copy_(torch.from_numpy(np.log(counts / others)))


def group_repeats(X):
    """Number the documents such that repetitions have the same number.

    Two documents repeat each other if their rows have the same columns and values in
    the same order. Rows are compared by hashes of 64 bits: the sum over the entries of
    a random code for the column, times a power for the position, times the value.

    Parameters
    ----------
    X : csr matrix of shape (n_docs, n_words), float32

    Returns
    -------
    int ndarray of shape (n_docs,)
    """
    n_words, lengths = X.shape[1], np.diff(X.indptr)
    rng = np.random.default_rng(0)
    codes = rng.integers(2**63, size=n_words, dtype=np.uint64)[X.indices]
    places = np.arange(X.nnz) - np.repeat(X.indptr[:-1], lengths)
    # Powers of an odd number never become 0 modulo 2**64.
    powers = np.full(lengths.max(initial=0), 0x9E3779B97F4A7C15, np.uint64).cumprod()
    codes = codes * powers[places] * (2 * X.data.view(np.uint32).astype(np.uint64) + 1)
    sums = np.append(np.uint64(0), codes.cumsum(dtype=np.uint64))
    return np.unique(sums[X.indptr[1:]] - sums[X.indptr[:-1]], return_inverse=True)[1]


def largest_columns(X, n):
    """Return the columns of the n largest values per row, padded with n_columns."""
    order, rows, places = top_k_per_row(X.data, X.indptr, n)
    columns = np.full((X.shape[0], n), X.shape[1], np.int32)
    columns[rows, places] = X.indices[order]
    return columns


def keep_largest(X, n):
    """Keep the n values of each row that are largest in magnitude, in their order."""
    lengths = np.diff(X.indptr)
    if lengths.max(initial=0) <= n:
        return X
    kept = np.sort(top_k_per_row(abs(X.data), X.indptr, n)[0])
    indptr = np.append(0, np.minimum(lengths, n).cumsum())
    return sp.csr_matrix((X.data[kept], X.indices[kept], indptr), X.shape)
