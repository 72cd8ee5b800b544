"""What heads read of a document, and scores of labels for it."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import embedding_bag, linear, normalize, pad

from .losses import at_least_float32
from .rowwise import TrainedByRow, candidate_scores
from .shortlist import best_labels
from .state import (
    flag,
    floats,
    indices,
    linear_map,
    nothing,
    number,
    optional,
    parameter,
    part,
)

# Length of the document vector where label vectors start as unit vectors: scores
# then span what a softmax over tens of thousands of labels needs.
SCALE = 20.0
# Label vectors looked at to tell how far apart labels are that have nothing in common.
_N_COMPARED = 1000


class DocumentVectors(nn.Module):
    """Vectors of a document: for scoring clusters, and for scoring labels.

    Clusters are scored by the first-token states of the last layers. Labels are
    scored by a projection of these. Where label vectors start from the encoder's
    reading, the projection starts at the mean of the last layer instead, brought
    to the length `SCALE`, and clusters may be scored by it too.

    Parameters
    ----------
    encoder : TransformerEncoder or BagEncoder
        Its widths are read.
    dim : int or None
        Width of the label vectors; None makes no vectors that score labels.
    start : tensor of shape (dim, hidden_size) or None, default=None
        What turns a reading into a label's vector, where label vectors start so.
    dropout : float, default=0.5
        On the first-token states.

    Attributes
    ----------
    cluster_dim : int
        Width of the vectors that score clusters.
    """

    def __init__(self, encoder, dim, *, start=None, dropout=0.5):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.project = None if dim is None else nn.Linear(encoder.width, dim)
        self.lift = None
        self.cluster_dim = encoder.width
        if start is not None:
            self.lift = nn.Linear(*start.T.shape, bias=False)
            self.lift.weight.data.copy_(start)
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)
            self.cluster_dim += dim

    @property
    def dim(self):
        """Width of the vectors that score labels; None where there are none."""
        return None if self.project is None else self.project.out_features

    def fits_encoder(self, encoder):
        """Whether it takes what that encoder returns."""
        width = self.cluster_dim - (0 if self.lift is None else self.dim)
        hidden_size = (
            encoder.hidden_size if self.lift is None else self.lift.in_features
        )
        return (width, hidden_size) == (encoder.width, encoder.hidden_size)

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        width, dim = self.cluster_dim, self.dim
        if self.lift is not None:
            width -= dim
        return {
            "cluster_dim": number(1, whole=True),
            "dropout": part(nn.Dropout),
            "project": nothing if dim is None else linear_map(width, dim),
            "lift": optional(
                part(nn.Linear, fits=lambda m: m.bias is None, out_features=dim)
            ),
        }

    def forward(self, first, mean):
        """Turn what the encoder returns into the two vectors.

        Returns
        -------
        for_clusters : tensor of shape (n_docs, cluster_dim)
        for_labels : tensor of shape (n_docs, dim), or None
        """
        first = self.dropout(first)
        docs = None if self.project is None else self.project(first)
        if self.lift is None:
            return first, docs
        docs = at_least_float32(docs + self.lift(mean))
        docs = SCALE * normalize(docs, dim=1, eps=1e-3)  # eps tames an empty text
        return torch.cat([first, docs], dim=1), docs


def at_full_precision(head, vectors, *ids):
    """Scores at the precision of the weights: bf16 would tie near ones."""
    with torch.autocast(vectors.device.type, enabled=False):
        return head(at_least_float32(vectors), *ids)


class Head:
    """What heads share: the loss over all outputs, and the best outputs.

    The scores of all outputs are made in here and never leave: where there are
    hundreds of thousands, a head may make them in parts. A subclass is a module whose
    ``forward(docs)`` scores all outputs, and which has ``n_outputs``. Where it can
    score candidates alone, it takes them as ``forward(docs, ids)``.
    """

    def loss(self, docs, positives, loss):
        """Loss over all outputs.

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
        positives : int64 tensor of shape (n_docs, n_positives)
            Right outputs of each document, padded with n_outputs.
        loss : callable
            ``loss(scores, positives)``, such as `skxmc.nn.losses.grank_loss_all`.

        Returns
        -------
        tensor of shape ()
        """
        return loss(self(docs), positives)

    def top(self, docs, k, *, ids=None, adjust=None):
        """The best outputs of each document.

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
        k : int
        ids : int64 tensor of shape (n_docs, n_candidates) or None, default=None
            Outputs to choose from, for heads that score candidates, padded with
            n_outputs; None is all.
        adjust : callable or None, default=None
            Turns scores into those that order the outputs: it adds what another head
            says, or takes logarithms of probabilities. Padded entries are -inf, and
            must stay so.

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
        return best_labels(scores, k, self.n_outputs, ids)


class LinearHead(Head, nn.Linear):
    """Scores of clusters, or of labels, as a linear map with a bias."""

    @property
    def n_outputs(self):
        """Clusters or labels that are scored."""
        return self.out_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        return {
            "in_features": number(1, whole=True),
            "out_features": number(1, whole=True),
            "weight": parameter(self.out_features, self.in_features),
            "bias": parameter(self.out_features),
        }


def cluster_head(doc_vectors, n_outputs, start=None, *, offset=0.0):
    """Linear head that scores clusters.

    Parameters
    ----------
    doc_vectors : DocumentVectors
    n_outputs : int
    start : tensor of shape (n_outputs, dim) or None, default=None
        Cluster vectors that documents, as read for labels, start with.
    offset : float, default=0.0
        The bias then.
    """
    head = LinearHead(doc_vectors.cluster_dim, n_outputs)
    if start is not None:
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, offset)
        head.weight.data[:, -start.shape[1] :] = start
    return head


def first_offset(vectors, scale):
    """Bias of heads that start at label vectors, so that logits start out right.

    Logit 0 is where a document is nearer to a label than labels are by chance: at
    their mean cosine and three standard deviations.

    Parameters
    ----------
    vectors : tensor of shape (n_labels, dim)
        Of length one.
    scale : float
        Of the scores: the logit of cosine 1.

    Returns
    -------
    float
    """
    some = vectors[torch.randperm(len(vectors))[:_N_COMPARED]]
    i, j = torch.triu_indices(len(some), len(some), offset=1)
    cosines = (some @ some.T)[i, j]
    if len(cosines) < 2:
        return -0.5 * scale
    return -scale * float(cosines.mean() + 3 * cosines.std())


class LabelScores(Head, TrainedByRow):
    """Dot products of document vectors with label vectors.

    A label's vector is the concatenation of an identity embedding and, where
    label words are given, the mean of its label-word embeddings (Sec. III-E of
    X-GRank). The mean is taken over the words' scores, not over their vectors:
    the same sum, without a vector for each label and word.

    Parameters
    ----------
    identity : tensor of shape (n_labels, identity_dim)
        Where the identity embedding starts.
    words : csr_array or csr_matrix of shape (n_labels, n_words) or None, default=None
        How often each word stands in each label's text.
    word_vectors : tensor of shape (n_words, word_dim) or None, default=None
        Where the word embeddings start.
    row_wise : bool, default=False
        Score candidates, and train their identity embeddings alone (see
        `skxmc.nn.rowwise`). The parameter then has a last row of padding, and
        requires no gradient.
    order : int tensor of shape (n_labels,) or None, default=None
        Labels in the order in which their rows are to stand, where `row_wise`:
        candidates that are neighbours there are read and written faster.

    Attributes
    ----------
    n_labels : int
    dim : int
        Width of the document vectors: identity_dim + word_dim.
    table : Parameter
        The identity embeddings.
    """

    _most_words = None  # made when it is asked for
    not_saved = (*TrainedByRow.not_saved, "_most_words")

    def __init__(
        self, identity, words=None, word_vectors=None, *, row_wise=False, order=None
    ):
        super().__init__()
        self.n_labels, self.identity_dim = identity.shape
        self.row_wise = row_wise
        rows = None if order is None else pad(order.argsort(), (0, 1), value=len(order))
        self.register_buffer("rows", rows)  # of labels, and of the padding
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
        """Lay the words of all labels end to end, with their shares of the text."""
        words = shares = starts = None
        if counts is not None:
            counts = counts.tocsr()
            totals = np.asarray(counts.sum(axis=1)).ravel()
            totals = totals.repeat(np.diff(counts.indptr))
            words = torch.from_numpy(counts.indices.astype(np.int32))
            shares = torch.from_numpy((counts.data / totals).astype(np.float32))
            # The padding is a label that has no words.
            starts = np.append(counts.indptr, counts.nnz).astype(np.int32)
            starts = torch.from_numpy(starts)
        self.register_buffer("words", words)
        self.register_buffer("word_shares", shares)
        self.register_buffer("word_starts", starts)

    def reset_unsaved(self):
        """Set what only training needs (see `skxmc.nn.state`)."""
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
            raise ValueError("the width of label vectors is not that of their parts.")
        return expected

    def _check_starts(self, starts, name):
        n_stored = len(self.words)
        shape = (self.n_labels + 2,)
        indices(*shape, high=n_stored + 1, dtype=torch.int32)(starts, name)
        if starts[0] or (starts.diff() < 0).any() or (starts[-2:] != n_stored).any():
            raise ValueError(f"{name} do not part the words among the labels.")

    def _check_rows(self, rows, name):
        indices(self.n_labels + 1, high=self.n_labels + 1)(rows, name)
        every = torch.arange(self.n_labels + 1, device=rows.device)
        order = rows.sort().values
        if not torch.equal(order, every) or rows[-1] != self.n_labels:
            raise ValueError(f"{name} does not give each label a row of its own.")

    @property
    def n_outputs(self):
        """Labels that are scored."""
        return self.n_labels

    @property
    def table(self):
        """What is trained by row, where `row_wise`."""
        return self.identity

    def forward(self, docs, ids=None):
        """Score labels.

        Parameters
        ----------
        docs : tensor of shape (n_docs, dim)
        ids : int64 tensor of shape (n_docs, n_candidates) or None
            Label columns padded with n_labels, where `row_wise`, no label twice for a
            document; None scores all labels.

        Returns
        -------
        tensor of shape (n_docs, n_candidates) or (n_docs, n_labels)
            What stands at padded entries means nothing.
        """
        own, spelled = docs.split([self.identity_dim, self.dim - self.identity_dim], 1)
        if ids is None:
            scores = linear(own, self.identity[: self.n_labels].to(own.dtype))
            scores = scores if self.rows is None else scores[:, self.rows[:-1]]
            return scores if self.words is None else scores + self._all_words(spelled)
        if not self.row_wise:
            raise ValueError("candidates are scored with row_wise=True only")
        rows = ids if self.rows is None else self.rows[ids]
        self.prepare_rows(rows)
        scores = candidate_scores(own, self.identity, rows, self.touched)
        return scores if self.words is None else scores + self._words(spelled, ids)

    def most_words(self, n_labels):
        """Words that so many labels have at most, each counted once a label."""
        if self.words is None:
            return 0
        if self._most_words is None:
            counts = self.word_starts.diff().sort(descending=True).values
            self._most_words = pad(counts.cumsum(0), (1, 0)).tolist()
        return self._most_words[min(n_labels, self.n_labels)]

    def _all_words(self, docs):
        if torch.compiler.is_exporting():  # a bag would become a loop
            return linear(docs, self._text_vectors().to(docs.dtype))
        # Half precision would lose most of a common word's summed gradient.
        scores = at_least_float32(linear(self.word_vectors, docs))
        return embedding_bag(
            self.words,
            scores,
            self.word_starts[:-1],
            mode="sum",
            per_sample_weights=self.word_shares.to(scores.dtype),
            include_last_offset=True,
        ).T

    def _words(self, docs, ids):
        if torch.compiler.is_exporting():  # how many words there are depends on ids
            vectors = pad(self._text_vectors(), (0, 0, 0, 1)).to(docs.dtype)
            return (vectors[ids] @ docs[:, :, None])[:, :, 0]
        scores = at_least_float32(linear(docs, self.word_vectors))
        pairs, places = self._words_of(ids)
        # What fills up to a known number is of no document: any will do.
        owners = (pairs // ids.shape[1]).clamp(max=len(ids) - 1)
        each = owners * scores.shape[1] + self.words[places]
        each = scores.flatten().index_select(0, each)
        each = each * self.word_shares[places].to(each.dtype)
        sums = each.new_zeros(ids.numel() + 1).index_add(0, pairs, each)
        return sums[:-1].view(ids.shape)

    def _words_of(self, ids):
        """The words of candidates, end to end.

        Returns
        -------
        pairs : int64 tensor of shape (n,)
            Which of the flattened `ids` has each word.
        places : int64 tensor of shape (n,)
            Where the word stands among the words of all labels.
        """
        starts = self.word_starts[ids.flatten()].long()
        counts = self.word_starts[ids.flatten() + 1] - starts
        total = counts.sum()
        if self._can_count(ids):
            n = int(total)
        else:  # it would wait for the device: as many as there can be
            n = len(ids) * self.most_words(ids.shape[1])
        starts, counts = pad(starts, (0, 1)), torch.cat([counts, (n - total)[None]])
        every = torch.arange(len(counts), device=ids.device)
        pairs = every.repeat_interleave(counts, output_size=n)
        places = torch.arange(n, device=ids.device) - (counts.cumsum(0) - counts)[pairs]
        return pairs, (starts[pairs] + places).clamp(max=len(self.words) - 1)

    @staticmethod
    def _can_count(ids):
        return not ids.is_cuda

    def _text_vectors(self):
        """The text part of all labels' vectors, of shape (n_labels, word_dim)."""
        # Which label has each word: common operations, as an exported graph has.
        starts = self.word_starts[1 : self.n_labels].long()
        begins = starts.new_zeros(len(self.words) + 1)
        owners = begins.index_add(0, starts, torch.ones_like(starts)).cumsum(0)[:-1]
        each = self.word_vectors[self.words] * self.word_shares[:, None]
        return each.new_zeros(self.n_labels, each.shape[1]).index_add(0, owners, each)
