"""Reading documents beside what a teacher knows about them, for TReaderXML."""

from itertools import islice

import numpy as np
import scipy.sparse as sp
import torch
from torch.nn.functional import pad

from ._hierarchy import check_label_parents
from ._token_vectors import fit_words, is_lsa, latent_vectors, read_token_vectors
from ._top_k import top_k_per_row
from ._words import word_reader
from .cluster import BalancedKMeans
from .nn.labels import label_centroids
from .nn.networks.treaderxml import SIZE, TReaderEncoder
from .nn.prediction import map_batches
from .nn.search import has_hnswlib
from .nn.teacher import TaughtDocuments, Teacher, one_hot
from .nn.text import padded_features

# Documents that tell the mean and the spread of what the bottleneck gets.
_N_READ = 2000
# Training documents up to which nearest ones are searched exactly.
_EXACT = 200_000
# Labels whose clusters stand for parents, at most.
_PSEUDO_PARENT_SIZE = 16


class TaughtReadingMixin:
    """Reads documents as words in their order, beside a teacher's words (Algorithm 1).

    For a subclass of `BaseXMCClassifier` with the parameters of `TReaderXMLClassifier`
    that concern words, the teacher and the encoder.
    """

    def _find_parents(self):
        """Parents of labels as a matrix, and the names of those that are no labels."""
        if not self._has_parents():
            return None, []
        names = None if self.label_texts is None else self._label_names()
        return check_label_parents(
            self.label_parents, self.parent_texts, self.n_labels_, names
        )

    def _has_parents(self):
        if self.label_parents is None:
            return False
        return not (
            isinstance(self.label_parents, str) and self.label_parents == "clusters"
        )

    def _check_heads(self, word_dim):
        if word_dim % self.n_heads:
            raise ValueError(
                f"n_heads={self.n_heads} does not divide the width of word vectors, "
                f"{word_dim}: change one of them."
            )

    def _make_encoder(self, X, parent_names):
        """Make the encoder, and read X as it wants it, without a teacher yet."""
        self.vectorizer_ = None
        features = X
        if self._texts:
            names = [] if self.label_texts is None else self._label_names()
            self.vectorizer_, features = fit_words(
                [*X, *names, *parent_names],
                min_df=self.min_df,
                max_features=self.max_features,
            )
        vectors = self._first_vectors(features)
        lengths = vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)
        size = vectors.square().mean().sqrt().clamp(min=1e-12)
        alike = vectors / lengths if self.neighbor_weights == "idf" else vectors
        self._neighbor_vectors = alike.numpy()
        encoder = TReaderEncoder(
            vectors * (SIZE / size),
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
            trains_vectors=self.train_vectors,
        )
        return encoder, self._read_alone(X)

    def _first_vectors(self, X):
        n_words, dim = X.shape[1], self.word_dim or 300
        if self.token_vectors is None:
            return torch.randn(n_words, dim)
        if is_lsa(self.token_vectors):
            vectors = latent_vectors(X, dim)
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
            self._check_heads(vectors.shape[1])
        # Words without a vector start at random.
        size = vectors[lengths[:, 0] > 0].square().mean().sqrt().nan_to_num(1.0)
        return torch.where(lengths > 0, vectors, size * torch.randn_like(vectors))

    def _read_alone(self, X):
        """Read words of documents, and the vectors that neighbours are found by."""
        if not self._texts:
            X = sp.csr_matrix(X, copy=True)
            X.sum_duplicates()
            X.eliminate_zeros()
            vectors = X @ self._neighbor_vectors
            return TaughtDocuments(keep_largest(X, self.max_length), vectors)
        words = self._read_words(X, self.max_length)
        weighted = words.copy()
        if self.neighbor_weights == "idf":
            weighted.data = self.vectorizer_.idf_[weighted.indices].astype(np.float32)
        return TaughtDocuments(words, weighted @ self._neighbor_vectors)

    def _read_words(self, texts, length):
        """Words of texts where they stand: a CSR matrix whose columns may repeat."""
        read = word_reader(self.vectorizer_)
        known = self.vectorizer_.vocabulary_
        rows = [
            list(islice((known[word] for word in read(text) if word in known), length))
            for text in texts
        ]
        indptr = np.append(0, np.cumsum([len(row) for row in rows]))
        columns = np.fromiter((word for row in rows for word in row), np.int32)
        ones = np.ones(len(columns), np.float32)
        return sp.csr_matrix((ones, columns, indptr), (len(rows), len(known)))

    def _read(self, X):
        docs = self._read_alone(X)
        if self.teacher_ is None:
            return docs
        nodes = self.teacher_.teach(docs.vectors)
        return TaughtDocuments(docs.X, docs.vectors, self.teacher_, nodes)

    def _standardize(self, encoder, docs, rng):
        device, precision = self._choose_device_and_precision()
        (pooled,) = map_batches(
            encoder.to(device),
            lambda batch: (encoder.pooled(batch),),
            docs,
            rng.permutation(len(docs))[:_N_READ],
            batch_size=self.batch_size,
            device=device,
            precision=precision,
        )
        encoder.cpu().standardize(pooled.float())

    def _employ_teacher(self, docs, X, Y, parents, parent_names, rng):
        """Set ``teacher_``, and return the documents with what it knows about them."""
        features = X if self.vectorizer_ is None else self.vectorizer_.transform(X)
        centroids = label_centroids(features, Y)
        parents, descriptions = self._describe(centroids, parents, parent_names, rng)
        taught = np.flatnonzero(np.diff(Y.indptr))
        others = np.setdiff1d(np.arange(len(docs)), taught)
        groups = number_repeats(docs.X)
        self.teacher_ = Teacher(
            docs.vectors[taught],
            groups[taught],
            Y[taught],
            parents,
            descriptions,
            n_words=docs.X.shape[1],
            n_neighbors=self.n_neighbors,
            strict=self.strict_algorithm1,
            exact=self._searches_exactly(len(taught)),
            seed=int(rng.integers(2**31)),
        )
        parts = [self.teacher_.teach(docs.vectors[taught], groups[taught])]
        if len(others):
            parts.append(self.teacher_.teach(docs.vectors[others]))
        back = np.argsort(np.append(taught, others))
        nodes = sp.vstack(parts, format="csr")[back]
        return TaughtDocuments(docs.X, docs.vectors, self.teacher_, nodes)

    def _describe(self, centroids, parents, parent_names, rng):
        """Parents of labels, and the words that describe labels and parents."""
        length, n_labels = self.label_length, self.n_labels_
        names = None if self.label_texts is None else self._label_names()
        descriptions = [self._words_or_terms(names, centroids)]
        if self.label_parents is None:
            parents = sp.csr_matrix((n_labels, n_labels), dtype=np.float32)
        elif parents is not None:
            if parent_names:
                centroids = (parents[:, n_labels:].T @ centroids).tocsr()
                descriptions.append(self._words_or_terms(parent_names, centroids))
        else:
            model = BalancedKMeans(
                _PSEUDO_PARENT_SIZE,
                device=self.device,
                random_state=int(rng.integers(2**31)),
            )
            groups = model.fit(centroids).labels_
            links = one_hot(groups, int(groups.max()) + 1)
            descriptions.append(largest_columns((links.T @ centroids).tocsr(), length))
            parents = sp.hstack([sp.csr_matrix((n_labels, n_labels)), links])
        parents = parents.tocsr().astype(np.float32)
        return parents, np.concatenate(descriptions).astype(np.int32)

    def _words_or_terms(self, texts, centroids):
        """Known words of texts, and top terms where a text has none, padded."""
        length, n_words = self.label_length, centroids.shape[1]
        terms = largest_columns(centroids, length)
        if texts is None or not self._texts:
            return terms
        words = self._read_words(texts, length)
        padded, _ = padded_features(words, np.arange(len(texts)))
        given = pad(padded, (0, length - padded.shape[1]), value=n_words).numpy()
        return np.where((given == n_words).all(axis=1, keepdims=True), terms, given)

    def _searches_exactly(self, n_docs):
        if self.search != "auto":
            return self.search == "exact"
        return n_docs <= _EXACT or not has_hnswlib()


def number_repeats(X):
    """Numbers of documents, equal for those of the same words, places and weights."""
    n_words, lengths = X.shape[1], np.diff(X.indptr)
    draw = np.random.default_rng(0)
    codes = draw.integers(2**63, size=n_words, dtype=np.uint64)[X.indices]
    places = np.arange(X.nnz) - np.repeat(X.indptr[:-1], lengths)
    powers = np.full(lengths.max(initial=0), 0x9E3779B97F4A7C15, np.uint64).cumprod()
    codes = codes * powers[places] * (2 * X.data.view(np.uint32).astype(np.uint64) + 1)
    sums = np.append(np.uint64(0), codes.cumsum(dtype=np.uint64))
    return np.unique(sums[X.indptr[1:]] - sums[X.indptr[:-1]], return_inverse=True)[1]


def largest_columns(X, n):
    """Columns of the n largest values of each row, padded with n_columns."""
    order, rows, places = top_k_per_row(X.data, X.indptr, n)
    columns = np.full((X.shape[0], n), X.shape[1], np.int32)
    columns[rows, places] = X.indices[order]
    return columns


def keep_largest(X, n):
    """The n largest values of each row, by magnitude, where they stand."""
    lengths = np.diff(X.indptr)
    if lengths.max(initial=0) <= n:
        return X
    kept = np.sort(top_k_per_row(abs(X.data), X.indptr, n)[0])
    indptr = np.append(0, np.minimum(lengths, n).cumsum())
    return sp.csr_matrix((X.data[kept], X.indices[kept], indptr), X.shape)
