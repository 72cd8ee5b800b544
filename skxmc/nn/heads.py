"""Heads: modules that score clusters or labels by the vectors of documents."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import embedding_bag, linear, pad

from .devices import FullPrecision
from .losses import at_least_float32
from .rowwise import TrainedByRow, append_rows, candidate_scores, choose_rows
from .shortlist import best_labels
from .state import (
    flag,
    floats,
    indices,
    nothing,
    number,
    optional,
    parameter,
)

# Number of label vectors that are compared to estimate the cosine of unrelated labels.
_N_COMPARED = 1000


def at_full_precision(head, vectors, *ids):
    """Compute a head's scores without autocast: in bf16, near scores would tie."""
    with FullPrecision(vectors.device.type):
        return head(at_least_float32(vectors), *ids)


class Head:
    """Base of heads: the loss over all outputs, and the best outputs of a document.

    The scores of all outputs never leave these methods, so that a head with hundreds of
    thousands of outputs can compute them in parts. A subclass is also a Module. It has
    ``n_outputs``, and its ``forward(docs)`` returns the scores of all outputs. If it
    can score candidates alone, it takes them as ``forward(docs, ids)``. Its
    ``read_rows()`` returns the vectors and biases of all outputs, or None for the
    latter. Outputs are added at the end by ``add_rows(vectors, bias)``, and chosen by
    ``keep_rows(rows)``.
    """

    @property
    def n_scores_held(self):
        """Largest number of scores of a document that exist at the same time."""
        return self.n_outputs

    def loss(self, docs, positives, loss):
        """Return the loss over all outputs.

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
        positives : int64 tensor of shape (n_docs, n_positives)
            Positive outputs of each document, padded with n_outputs.
        loss : callable
            ``loss(scores, positives)``, such as `skxmc.nn.losses.grank_loss_all`.

        Returns
        -------
        tensor of shape ()
        """
        return loss(self(docs), positives)

    def top(self, docs, k, *, ids=None, adjust=None, normalize=False):
        """Return the k best outputs of each document.

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
        k : int
        ids : int64 tensor of shape (n_docs, n_candidates) or None, default=None
            Candidates, padded with n_outputs, for heads that can score candidates. None
            ranks all outputs.
        adjust : callable or None, default=None
            Function that turns the scores into those that order the outputs. It may
            add the scores of another head, or take logarithms of probabilities. It
            must leave padded entries at -inf.
        normalize : bool, default=False
            Whether the scores, after `adjust`, become logarithms of the softmax over
            the outputs that are ranked.

        Returns
        -------
        ids : int64 tensor of shape (n_docs, k), best first, padded with n_outputs
        scores : tensor of shape (n_docs, k), padded with -inf
        """
        if ids is None:
            scores = at_full_precision(self, docs)
        else:
            scores = at_full_precision(self, docs, ids)
            scores = scores.masked_fill(ids == self.n_outputs, -torch.inf)
        scores = scores if adjust is None else adjust(scores)
        scores = scores.log_softmax(dim=1) if normalize else scores
        return best_labels(scores, k, self.n_outputs, ids)


class LinearHead(Head, nn.Linear):
    """Linear map with a bias that scores clusters or labels."""

    @property
    def n_outputs(self):
        """Number of clusters or labels that are scored."""
        return self.out_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        return {
            "in_features": number(1, whole=True),
            "out_features": number(0, whole=True),
            "weight": parameter(self.out_features, self.in_features),
            "bias": parameter(self.out_features),
        }

    def read_rows(self):
        """Return the weights and the biases of all outputs."""
        return self.weight.data, self.bias.data

    def add_rows(self, vectors, bias=None):
        """Add outputs at the end, in new parameters.

        Parameters
        ----------
        vectors : tensor of shape (n_new, in_features)
            Weights of the new outputs.
        bias : tensor of shape (n_new,) or None, default=None
            None means 0.
        """
        bias = vectors.new_zeros(len(vectors)) if bias is None else bias
        self.weight = append_rows(self.weight, vectors)
        self.bias = append_rows(self.bias, bias)
        self.out_features = len(self.weight)

    def keep_rows(self, rows):
        """Keep some outputs, in the given order, in new parameters."""
        self.weight = choose_rows(self.weight, rows)
        self.bias = choose_rows(self.bias, rows)
        self.out_features = len(self.weight)


def cluster_head(doc_vectors, n_outputs, start=None, *, offset=None):
    """Make the linear head that scores clusters.

    Parameters
    ----------
    doc_vectors : DocumentVectors
        Module whose vectors for clusters are the input.
    n_outputs : int
        Number of clusters, or of labels if there are no clusters.
    start : tensor of shape (n_outputs, dim) or None, default=None
        Initial weights for the part of the input that is the vector for labels. The
        other weights are then 0. None initialises all weights at random.
    offset : float or None, default=None
        Initial bias if there are initial weights. None means 0.
    """
    head = LinearHead(doc_vectors.cluster_dim, n_outputs)
    if start is not None:
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, offset or 0.0)
        head.weight.data[:, -start.shape[1] :] = start
    return head


def first_offset(vectors, scale):
    """Return the initial bias of a head whose weights start as label vectors.

    The logit then starts positive only if the cosine of a document with a label is
    beyond the mean cosine of two labels plus three standard deviations.

    Parameters
    ----------
    vectors : tensor of shape (n_labels, dim)
        Label vectors of length one.
    scale : float
        Length of the document vectors, which is the logit of cosine 1 without the bias.

    Returns
    -------
    float
    """
    sample = vectors[torch.randperm(len(vectors))[:_N_COMPARED]]
    i, j = torch.triu_indices(len(sample), len(sample), offset=1)
    cosines = (sample @ sample.T)[i, j]
    if len(cosines) < 2:
        return -0.5 * scale
    return -scale * float(cosines.mean() + 3 * cosines.std())


class LabelScores(Head, TrainedByRow):
    """Head that scores labels by dot products of document and label vectors.

    A label's vector is the concatenation of its identity embedding and, if `words` are
    given, the mean of its words' embeddings (Sec. III-E of X-GRank). The mean is taken
    over the words' scores: the same number, without a vector per label and word.

    Parameters
    ----------
    identity : tensor of shape (n_labels, identity_dim)
        Initial identity embeddings.
    words : csr_array or csr_matrix of shape (n_labels, n_words) or None, default=None
        Counts of each word in the text of each label.
    word_vectors : tensor of shape (n_words, word_dim) or None, default=None
        Initial word embeddings.
    row_wise : bool, default=False
        Whether a step scores candidates and trains only their identity embeddings (see
        `skxmc.nn.rowwise`). The parameter then has one more row for padding, and does
        not require a gradient.
    order : int tensor of shape (n_labels,) or None, default=None
        Labels in the order of their rows in the table, if `row_wise`. Memory access is
        faster if candidates of the same document are neighbours. None is the order of
        the columns.

    Attributes
    ----------
    n_labels : int
    dim : int
        Width of the document vectors: identity_dim + word_dim.
    table : Parameter
        The identity embeddings.
    """

    _most_words = None  # cache of the method most_words
    not_saved = (*TrainedByRow.not_saved, "_most_words")

    def __init__(
        self, identity, words=None, word_vectors=None, *, row_wise=False, order=None
    ):
        super().__init__()
        self.n_labels, self.identity_dim = identity.shape
        self.row_wise = row_wise
        rows = None if order is None else pad(order.argsort(), (0, 1), value=len(order))
        self.register_buffer("rows", rows)  # row of each label, and of the padding
        if row_wise:
            table = identity.new_zeros(self.n_labels + 1, self.identity_dim)
            if order is None:
                order = torch.arange(self.n_labels)
            torch.index_select(identity, 0, order, out=table[:-1])
            identity = table
        self.identity = nn.Parameter(identity, requires_grad=not row_wise)
        self.dim = self.identity_dim
        self._set_words(words)
        if words is not None:
            self.word_vectors = nn.Parameter(word_vectors)
            self.dim += word_vectors.shape[1]

    def _set_words(self, counts):
        """Store the words of all labels end to end, and their shares of the text."""
        words = shares = starts = None
        if counts is not None:
            counts = counts.tocsr()
            totals = np.asarray(counts.sum(axis=1)).ravel()
            totals = totals.repeat(np.diff(counts.indptr))
            words = torch.from_numpy(counts.indices.astype(np.int32))
            shares = torch.from_numpy((counts.data / totals).astype(np.float32))
            # The padding counts as a label without words, so its start is repeated.
            starts = np.append(counts.indptr, counts.nnz).astype(np.int32)
            starts = torch.from_numpy(starts)
        self.register_buffer("words", words)
        self.register_buffer("word_shares", shares)
        self.register_buffer("word_starts", starts)

    def reset_unsaved(self):
        """Reset the attributes that only training needs (see `skxmc.nn.state`)."""
        super().reset_unsaved()
        self._most_words = None

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n, word_dim = self.n_labels, self.dim - self.identity_dim
        dtypes = (torch.float32, torch.float64)
        if self.row_wise:
            dtypes += (torch.bfloat16,)
        expected = {
            "n_labels": number(1, whole=True),
            "identity_dim": number(1, whole=True),
            "dim": number(1, whole=True),
            "row_wise": flag,
            "identity": parameter(n + self.row_wise, self.identity_dim, dtypes=dtypes),
            "rows": optional(self._check_rows),
            "words": nothing,
            "word_shares": nothing,
            "word_starts": nothing,
        }
        if self.words is not None:
            n_stored, high = len(self.words), len(self.word_vectors)
            expected |= {
                "words": indices(n_stored, high=high, dtype=torch.int32),
                "word_shares": floats(n_stored, largest=1.001),
                "word_starts": self._check_starts,
                "word_vectors": parameter(None, word_dim),
            }
        elif word_dim:
            raise ValueError(
                f"Label vectors have width {self.dim}, but there are no words, and the "
                f"identity embeddings have width {self.identity_dim}."
            )
        return expected

    def _check_starts(self, starts, name):
        n_stored = len(self.words)
        shape = (self.n_labels + 2,)
        indices(*shape, high=n_stored + 1, dtype=torch.int32)(starts, name)
        if starts[0] or (starts.diff() < 0).any() or (starts[-2:] != n_stored).any():
            raise ValueError(f"{name} does not divide the words among the labels.")

    def _check_rows(self, rows, name):
        indices(self.n_labels + 1, high=self.n_labels + 1)(rows, name)
        every = torch.arange(self.n_labels + 1, device=rows.device)
        order = rows.sort().values
        if not torch.equal(order, every) or rows[-1] != self.n_labels:
            raise ValueError(f"{name} does not give each label a row of its own.")

    @property
    def n_outputs(self):
        """Number of labels that are scored."""
        return self.n_labels

    @property
    def table(self):
        """The identity embeddings, which are trained row by row if `row_wise`."""
        return self.identity

    def read_rows(self):
        """Return the identity embeddings of all labels, and None for the biases."""
        rows = self.identity.data[: self.n_labels]
        return (rows if self.rows is None else rows[self.rows[:-1]]), None

    def add_rows(self, vectors, bias=None):
        """Add labels at the end, in new parameters. They have no words and no bias.

        Parameters
        ----------
        vectors : tensor of shape (n_new, identity_dim)
            Identity embeddings of the new labels.
        bias : None
        """
        before, self.n_labels = self.n_labels, self.n_labels + len(vectors)
        self.identity = append_rows(self.identity, vectors, at=before)
        if self.rows is not None:
            new = torch.arange(before, self.n_labels + 1, device=self.rows.device)
            self.rows = torch.cat([self.rows[:-1], new])
        if self.words is not None:
            self.word_starts = torch.cat(
                [self.word_starts, self.word_starts[-1:].expand(len(vectors))]
            )
        self._most_words = None

    def keep_rows(self, labels):
        """Keep some labels, in the given order, in new parameters."""
        labels = labels.to(self.identity.device)
        if self.words is not None:
            self._keep_words(labels)
        rows, self.n_labels = labels, len(labels)
        if self.rows is not None:  # the rows of the table stay in their order
            order = self.rows[labels].argsort()
            rows = self.rows[labels[order]]
            self.rows = pad(order.argsort(), (0, 1), value=self.n_labels)
        if self.row_wise:
            rows = pad(rows, (0, 1), value=len(self.identity) - 1)
        self.identity = choose_rows(self.identity, rows)
        self._most_words = None

    def _keep_words(self, labels):
        """Keep the words of some labels; other words keep their vectors too."""
        starts, counts = (
            self.word_starts[labels].long(),
            self.word_starts.diff()[labels],
        )
        ends = counts.cumsum(0)
        owners = torch.arange(len(labels), device=labels.device)
        owners = owners.repeat_interleave(counts)
        places = torch.arange(len(owners), device=labels.device)
        places = places + (starts - ends + counts)[owners]
        self.words, self.word_shares = self.words[places], self.word_shares[places]
        self.word_starts = torch.cat([ends[:1] * 0, ends, ends[-1:]]).int()

    def forward(self, docs, ids=None):
        """Score labels.

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
        ids : int64 tensor of shape (n_docs, n_candidates) or None
            Label columns padded with n_labels, each label at most once per document.
            They need `row_wise`. None scores all labels.

        Returns
        -------
        tensor of shape (n_docs, n_candidates) or (n_docs, n_labels)
            The scores of padded entries are arbitrary.
        """
        # One part of a document's vector is for identities, the other for words.
        widths = [self.identity_dim, self.dim - self.identity_dim]
        identity_part, word_part = docs.split(widths, dim=1)
        if ids is None:
            # The gradient of a slice would be copied into one of the whole table.
            table = self.identity[: self.n_labels] if self.row_wise else self.identity
            scores = linear(identity_part, table.to(identity_part.dtype))
            scores = scores if self.rows is None else scores[:, self.rows[:-1]]
        elif self.row_wise:
            rows = ids if self.rows is None else self.rows[ids]
            self.prepare_rows(rows)
            scores = candidate_scores(identity_part, self.identity, rows, self.touched)
        else:
            raise ValueError("LabelScores needs row_wise=True to score candidates.")
        if self.words is None:
            return scores
        return scores + self._score_words(word_part, ids)

    def most_words(self, n_labels):
        """Return the largest total number of distinct words of `n_labels` labels.

        A word is counted once for each label that has it.
        """
        if self.words is None:
            return 0
        if self._most_words is None:
            counts = self.word_starts.diff().sort(descending=True).values
            self._most_words = pad(counts.cumsum(0), (1, 0)).tolist()
        return self._most_words[min(n_labels, self.n_labels)]

    def _score_all_words(self, docs):
        if torch.compiler.is_exporting():  # ONNX would turn embedding_bag into a loop
            return linear(docs, self._text_vectors().to(docs.dtype))
        # In 16 bits, the gradient of a common word, a long sum, would lose most terms.
        scores = at_least_float32(linear(self.word_vectors, docs))
        return embedding_bag(
            self.words,
            scores,
            self.word_starts[:-1],
            mode="sum",
            per_sample_weights=self.word_shares.to(scores.dtype),
            include_last_offset=True,
        ).T

    def _score_words(self, docs, ids):
        """Return the mean score of the words of each candidate, or of each label."""
        if ids is None:
            return self._score_all_words(docs)
        # A graph cannot have a number of words that depends on the candidates.
        if torch.compiler.is_exporting():
            vectors = pad(self._text_vectors(), (0, 0, 0, 1)).to(docs.dtype)
            return (vectors[ids] @ docs[:, :, None])[:, :, 0]
        scores = at_least_float32(linear(docs, self.word_vectors))  # (n_docs, n_words)
        pairs, places = self._list_words(ids)
        # Entries that only fill up the list belong to no document. They count for the
        # last one here, and their sum is dropped below.
        owners = (pairs // ids.shape[1]).clamp(max=len(ids) - 1)
        entries = owners * scores.shape[1] + self.words[places]
        shared = scores.flatten().index_select(0, entries)
        shared = shared * self.word_shares[places].to(shared.dtype)
        sums = shared.new_zeros(ids.numel() + 1).index_add(0, pairs, shared)
        return sums[:-1].view(ids.shape)

    def _list_words(self, ids):
        """List the words of candidates, end to end.

        Returns
        -------
        pairs : int64 tensor of shape (n,)
            Place in the flattened `ids` of the candidate that has each word.
        places : int64 tensor of shape (n,)
            Place of each word in the list of the words of all labels.
        """
        starts = self.word_starts[ids.flatten()].long()
        counts = self.word_starts[ids.flatten() + 1] - starts
        total = counts.sum()
        if self._can_count(ids):
            n = int(total)
        else:  # reading the total would wait for the GPU, so its upper bound is used
            n = len(ids) * self.most_words(ids.shape[1])
        # The last entry fills the list up to n.
        starts, counts = pad(starts, (0, 1)), torch.cat([counts, (n - total)[None]])
        candidates = torch.arange(len(counts), device=ids.device)
        pairs = candidates.repeat_interleave(counts, output_size=n)
        places = torch.arange(n, device=ids.device) - (counts.cumsum(0) - counts)[pairs]
        return pairs, (starts[pairs] + places).clamp(max=len(self.words) - 1)

    @staticmethod
    def _can_count(ids):
        return not ids.is_cuda

    def _text_vectors(self):
        """Mean word vectors of all labels, of shape (n_labels, word_dim)."""
        # Only operations that an exported graph can have: the label of each word is
        # found by counting the labels that start before it.
        starts = self.word_starts[1 : self.n_labels].long()
        begins = starts.new_zeros(len(self.words) + 1)
        owners = begins.index_add(0, starts, torch.ones_like(starts)).cumsum(0)[:-1]
        shared = self.word_vectors[self.words] * self.word_shares[:, None]
        means = shared.new_zeros(self.n_labels, shared.shape[1])
        return means.index_add(0, owners, shared)
