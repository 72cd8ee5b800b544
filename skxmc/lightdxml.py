"""LightDXML: the estimator, and the network of the paper beside it."""

import numbers
import tempfile
import warnings

import numpy as np
import scipy.sparse as sp
import torch
from sklearn import config_context
from torch import nn
from torch.nn.functional import linear, logsigmoid, normalize, pad, relu

from ._clustering import random_vectors
from ._parameters import fill_docstring
from ._token_vectors import (
    check_words,
    fit_words,
    is_lsa,
    latent_vectors,
    read_token_vectors,
    with_both_signs,
)
from ._validation import check_choice, check_label_texts, check_number
from .base import BaseXMCClassifier, depth_of, minus_one
from .metrics import precision_at_k
from .nn.devices import one_thread
from .nn.encoders import FeatureVectors
from .nn.heads import LabelScores, at_full_precision, first_offset
from .nn.labels import label_means
from .nn.losses import (
    at_least_float32,
    bce_loss,
    bce_loss_all,
    log_distance_loss,
)
from .nn.search import NearestVectors, has_hnswlib
from .nn.shortlist import best_labels, log_odds
from .nn.state import (
    choice,
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
from .nn.text import Features, padded_columns
from .nn.training import in_batches, train

__all__ = ["LightDXMLClassifier"]

# Labels up to which shortlists of many documents come from exact search, and those of
# single ones.
_EXACT_IN_BATCHES, _EXACT_ALONE = 200_000, 20_000
# Bytes of shortlists beyond which they lie on disk, and documents shortlisted at once.
_IN_MEMORY, _DOCS_AT_ONCE = 1 << 30, 1024
# Documents of a batch up to which one thread ranks them.
_FEW_DOCS = 8
# beta where there is nothing to choose it on.
_BETA = 0.5
# Size of the coordinates that documents start with, and documents it is measured on.
_SIZE, _SIZED_ON = 0.1, 10_000
# How far a step may move a coordinate of a document at the "auto" learning rate.
_REACH = 0.04
# Length of the document vector times that of a label's in the classifier at first.
_SCALE = 10.0


class SpectralBlock(nn.Module):
    """Residual block whose weight has spectral norm 1: relu(W x + b) + x.

    Parameters
    ----------
    dim : int
    dropout : float
    """

    def __init__(self, dim, dropout):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("direction", normalize(torch.randn(dim), dim=0))
        # The normalised weight, as long as nothing is trained.
        self.register_buffer("folded", None, persistent=False)

    @property
    def dim(self):
        """Width of the states."""
        return self.weight.shape[0]

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim = self.dim
        return {
            "weight": parameter(dim, dim),
            "bias": parameter(dim),
            "dropout": part(nn.Dropout),
            "direction": floats(dim),
        }

    def reset_unsaved(self):
        """Set what is computed again (see `skxmc.nn.state`)."""
        self.register_buffer("folded", None, persistent=False)

    def train(self, mode=True):
        """Set the mode; what was folded before is forgotten."""
        self.folded = None
        return super().train(mode)

    def forward(self, states):
        """Transform states of shape (n_docs, dim)."""
        weight = self._weight()
        return self.dropout(relu(linear(states, weight, self.bias))) + states

    def _weight(self):
        if self.training or torch.is_grad_enabled():
            self.folded = None
            return self.normalised()
        folded = self.folded  # other threads may read and write it meanwhile
        if folded is None:
            with torch.inference_mode(False), torch.no_grad():
                folded = self.folded = self.normalised()
        return folded

    def normalised(self):
        """The weight over its largest singular value, by power iteration."""
        with torch.autocast(self.weight.device.type, enabled=False):
            with torch.no_grad():
                left = normalize(self.weight @ self.direction, dim=0)
                right = normalize(self.weight.T @ left, dim=0)
                if self.training:
                    self.direction.copy_(right)
            norm = left @ (self.weight @ right)
            return self.weight / norm.clamp(min=1e-12)


class SparseEncoder(nn.Module):
    """Documents as weighted sums of their words' vectors, and a residual block.

    Parameters
    ----------
    vectors : tensor of shape (n_features, dim)
        Where the vectors of words start.
    dropout : float
        On the sum and in the block.
    """

    pretrained = True  # trained at the encoder's learning rate

    def __init__(self, vectors, *, dropout):
        super().__init__()
        self.hidden_size = vectors.shape[1]
        self.features = FeatureVectors(vectors)
        self.dropout = nn.Dropout(dropout)
        self.block = SpectralBlock(self.hidden_size, dropout)

    @property
    def n_features(self):
        """Features that it reads."""
        return self.features.n_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim = self.hidden_size
        return {
            "hidden_size": number(1, whole=True),
            "features": part(FeatureVectors, dim=dim),
            "dropout": part(nn.Dropout),
            "block": part(SpectralBlock, dim=dim),
        }

    def forward(self, batch):
        """Encode a batch of `Features`: a tensor of shape (n_docs, hidden_size)."""
        return self.block(self.dropout(relu(self.features(batch))))

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` features."""
        return 3 * length + 6 * self.hidden_size


class LabelEncoder(nn.Module):
    """Labels' vectors from the means of their documents: Eq. 4, 5.

    Two linear maps without anything between them, which start as the identity: a
    label starts at the mean of its documents.

    Parameters
    ----------
    dim, hidden_dim : int
        D and D-hat of the paper.
    activation : {"relu", "none"}
    """

    def __init__(self, dim, hidden_dim, *, activation="relu"):
        super().__init__()
        self.first, self.second = nn.Linear(dim, hidden_dim), nn.Linear(hidden_dim, dim)
        nn.init.orthogonal_(self.first.weight)
        self.second.weight.data.copy_(self.first.weight.T)
        nn.init.zeros_(self.first.bias)
        nn.init.zeros_(self.second.bias)
        self.activation = activation

    @property
    def dim(self):
        """Width of label vectors."""
        return self.first.in_features

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        dim, hidden_dim = self.dim, self.first.out_features
        return {
            "first": linear_map(dim, hidden_dim),
            "second": linear_map(hidden_dim, dim),
            "activation": choice("relu", "none"),
        }

    def reset_unsaved(self):
        """Set what only training needs (see `skxmc.nn.state`)."""
        self.pretrained = False

    def forward(self, means):
        """Encode means of shape (n_labels, dim), by the product of both maps."""
        weight = self.second.weight @ self.first.weight
        bias = self.second.weight @ self.first.bias + self.second.bias
        vectors = linear(means, weight, bias)
        return relu(vectors) if self.activation == "relu" else vectors


class LightDXMLNetwork(nn.Module):
    """Shortlists labels by cosine, and classifies documents for these alone.

    Parameters
    ----------
    encoder : SparseEncoder
    label_encoder : LabelEncoder
    ranker : LabelScores
        The one-vs-all classifier; its last column is the bias.
    frequent : int64 tensor of shape (n_frequent,)
        Labels that are classified for every document.
    indexed : int64 tensor of shape (n_indexed,)
        Other labels that have documents: those that can be shortlisted.
    n_shortlist, predict_shortlist : int
        Labels a document, in training and at prediction.
    n_random_negatives : int
        Labels drawn at random that are added in training.
    beta : float
        Weight of the classifier's probability; 1 - beta is that of the shortlist's.
    shortlist_temperature : float
        Cosines are divided by it.
    exact : bool
        Whether predictions search exactly.
    seed : int
        Of the graph that is searched otherwise.
    single_label : bool
        A document has one label: scores are those of a distribution over labels.

    Attributes
    ----------
    label_vectors : tensor of shape (n_frequent + n_indexed, dim)
        What the label encoder makes of the labels, brought to length 1, the frequent
        ones first.
    cycle : Cycle or None
        What trains the label encoder, and shortlists; None but in training.
    """

    rows_rest = True  # the released code has SparseAdam

    def __init__(
        self,
        encoder,
        label_encoder,
        ranker,
        frequent,
        indexed,
        *,
        n_shortlist=200,
        predict_shortlist=200,
        n_random_negatives=0,
        beta=0.5,
        shortlist_temperature=1.0,
        exact=True,
        seed=0,
        single_label=False,
    ):
        super().__init__()
        self.encoder = encoder
        self.label_encoder = label_encoder
        self.ranker = ranker
        dim, n_frequent = encoder.hidden_size, len(frequent)
        with warnings.catch_warnings():
            # Where none is frequent, there are no weights to start.
            warnings.simplefilter("ignore", UserWarning)
            self.frequent_ranker = nn.Linear(dim, n_frequent)
        self.register_buffer("frequent", frequent)
        self.register_buffer("indexed", indexed)
        self.register_buffer("places", _places(frequent, ranker.n_labels))
        vectors = torch.zeros(n_frequent + len(indexed), dim)
        self.register_buffer("label_vectors", vectors)
        self.register_buffer("n_turns", torch.zeros((), dtype=torch.int64))
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.n_random_negatives = n_random_negatives
        self.beta = beta
        self.shortlist_temperature = shortlist_temperature
        self.exact = exact
        self.seed = seed
        self.single_label = single_label
        self.cycle = self.index = self.index_turn = None

    @property
    def n_labels(self):
        """Labels that there are, with documents or without."""
        return self.ranker.n_labels

    def expected_state(self):
        """Checks of attributes (see `skxmc.nn.state`)."""
        n, dim = self.n_labels, self.encoder.hidden_size
        n_frequent, n_indexed = len(self.frequent), len(self.indexed)
        return {
            "encoder": part(SparseEncoder),
            "label_encoder": part(LabelEncoder, dim=dim),
            "ranker": part(LabelScores, row_wise=True, dim=dim + 1),
            "frequent_ranker": linear_map(dim, n_frequent),
            "frequent": indices(n_frequent, high=n),
            "indexed": indices(n_indexed, high=n),
            "places": self._check_places,
            "label_vectors": floats(n_frequent + n_indexed, dim, largest=1.01),
            "n_turns": indices(high=2**63 - 1),
            "n_shortlist": number(1, whole=True),
            "predict_shortlist": number(1, whole=True),
            "n_random_negatives": number(0, whole=True),
            "beta": number(0, 1),
            "shortlist_temperature": number(1e-30),
            "exact": flag,
            "seed": number(0, whole=True),
            "single_label": flag,
            "index": optional(part(NearestVectors, n_vectors=n_indexed, dim=dim)),
            "index_turn": optional(number(0, whole=True)),
        }

    def reset_unsaved(self):
        """Set what only training needs (see `skxmc.nn.state`)."""
        self.cycle = None

    def _check_places(self, places, name):
        n, frequent = self.n_labels, self.frequent
        ranked = torch.cat([frequent, self.indexed])
        if not len(ranked) or len(ranked.unique()) != len(ranked):
            raise ValueError(
                f"{name}: a label stands twice among those that are ranked."
            )
        again = _places(frequent, n)
        if not isinstance(places, torch.Tensor) or not torch.equal(places, again):
            raise ValueError(f"{name} are not those of the frequent labels.")

    def start_epoch(self, epoch, n_epochs, n_steps):
        """Turn the cycle where it is due: new label vectors, new shortlists."""
        if self.cycle is not None:
            self.cycle.start_epoch(self, epoch)

    def loss(self, batch, positives):
        """Binary cross-entropy on positives and negatives (Eq. 3, 7, 8).

        The negatives are the shortlist and the frequent labels.
        """
        docs = self.encoder(batch)
        n_labels, n_frequent = self.ranker.n_labels, len(self.frequent)
        columns = self.places[positives]
        positives = positives.masked_fill(columns < n_frequent, n_labels)
        ids = torch.cat([positives, batch["shortlist"]], dim=1)
        if self.n_random_negatives:
            ids = self._with_random(ids)
        is_positive = (ids < n_labels) & (
            torch.arange(ids.shape[1], device=ids.device) < positives.shape[1]
        )
        scores = self._classify(docs, ids)
        loss = bce_loss(scores, is_positive, ids < n_labels, reduction="sum")
        if n_frequent:
            scores = self.frequent_ranker(docs)
            loss = loss + bce_loss_all(scores, columns, reduction="sum")
        return loss

    def rank(self, batch, k):
        """Best labels of a batch (step 6 of Algorithm 1).

        Returns
        -------
        ids : int64 tensor of shape (n_docs, k), padded with n_labels
        scores : tensor of shape (n_docs, k), float32 (float64 in fp64)
            Best first: log-odds of a label, whose probability is
            ``beta * sigmoid(classifier) + (1 - beta) * sigmoid(cosine)``. With
            `single_label` the logarithm of its share in those of all labels that
            were classified.
        """
        with one_thread(len(batch["features"]) <= _FEW_DOCS):
            ids, logits, cosines = self.classify(batch)
            scores = mixed(logits, cosines, self.beta, self.shortlist_temperature)
            if self.single_label:
                scores = scores.log_softmax(dim=1)
            else:
                scores = log_odds(scores)
            return best_labels(scores, k, self.ranker.n_labels, ids)

    def classify(self, batch):
        """Frequent and shortlisted labels, the classifier's logits, and cosines.

        Returns
        -------
        ids, logits, cosines : tensors of shape (n_docs, n_classified)
        """
        docs = at_least_float32(self.encoder(batch))
        return at_full_precision(self._classify_all, docs)

    def _classify_all(self, docs):
        ids = self.frequent.expand(len(docs), -1)
        logits = self.frequent_ranker(docs)
        vectors = self.label_vectors[: len(self.frequent)]
        cosines = normalize(docs, dim=1) @ vectors.T
        if len(self.indexed):
            found, near = self.searched().search(docs, self.predict_shortlist)
            found = self.indexed[found]
            others = self._classify(docs, found)
            ids = torch.cat([ids, found], dim=1)
            logits = torch.cat([logits, others], dim=1)
            cosines = torch.cat([cosines, near], dim=1)
        return ids, logits, cosines

    def searched(self, *, in_batches=False):
        """The index of the label vectors as they are now.

        With `in_batches`, and always in training, one that suits many documents, and
        serves until the next turn: a graph is built where it pays.
        """
        turn = int(self.n_turns)
        index = self.index  # which another thread may make meanwhile, but not drop
        if index is None or self.index_turn != turn:
            vectors = self.label_vectors[len(self.frequent) :]
            in_batches = in_batches or self.cycle is not None
            exact = self.exact or in_batches and len(vectors) <= _EXACT_IN_BATCHES
            index = NearestVectors(vectors, exact=exact, seed=self.seed)
            self.index, self.index_turn = index, turn
        return index

    @torch.no_grad()
    def start_classifier(self, scale, length):
        """Let the classifier start at the label vectors.

        So that the logit of cosine 1 is `scale` more than the bias, where documents
        have that length.
        """
        offset = first_offset(self.label_vectors, scale)
        vectors = self.label_vectors * (scale / max(length, 1e-6))
        frequent, others = vectors.tensor_split([len(self.frequent)])
        self.frequent_ranker.weight.copy_(frequent)
        self.frequent_ranker.bias.fill_(offset)
        self.ranker.identity[self.indexed] = pad(others, (0, 1), value=offset)

    def floats_per_document(self, length):
        """Activations kept for the gradient, in floats, at `length` features."""
        n_scores = self.n_candidates + len(self.frequent)
        return self.encoder.floats_per_document(length) + 4 * n_scores

    @property
    def n_candidates(self):
        """Labels a document that are classified in training, by rows of their own."""
        return self.n_shortlist + self.n_random_negatives

    def __getstate__(self):
        state = self.__dict__.copy()
        if self.exact:  # made again at once; it may lie on a GPU
            state["index"] = None
        return state

    def _classify(self, docs, ids):
        return at_least_float32(self.ranker(pad(docs, (0, 1), value=1.0), ids))

    def _with_random(self, ids):
        """Add labels drawn at random, but for those that are there already."""
        n_labels, shape = self.ranker.n_labels, (len(ids), self.n_random_negatives)
        drawn = torch.randint(n_labels, shape, device=ids.device)
        drawn = drawn.masked_fill(self.places[drawn] < len(self.frequent), n_labels)
        ids = torch.cat([ids, drawn], dim=1)
        ordered, places = ids.sort(dim=1, stable=True)
        again = pad(ordered[:, 1:] == ordered[:, :-1], (1, 0))
        return ids.scatter(1, places, ordered.masked_fill(again, n_labels))


def _places(frequent, n_labels):
    """Place of each label among the frequent ones, and past them of all others."""
    places = torch.full((n_labels + 1,), len(frequent), device=frequent.device)
    places[frequent] = torch.arange(len(frequent), device=frequent.device)
    return places


def mixed(logits, cosines, beta, temperature):
    """Logarithm of the probability of a label, by classifier and shortlist."""
    parts = []
    if beta > 0:
        parts.append(logsigmoid(logits) + np.log(beta))
    if beta < 1:
        parts.append(logsigmoid(cosines / temperature) + np.log1p(-beta))
    return torch.logaddexp(*parts) if len(parts) > 1 else parts[0]


class LabelEncoderTraining(nn.Module):
    """A label encoder and what the training loop asks of a network (Eq. 2)."""

    def __init__(self, label_encoder):
        super().__init__()
        self.encoder = label_encoder
        self.encoder.pretrained = False

    def start_epoch(self, epoch, n_epochs, n_steps):
        """Nothing changes from epoch to epoch."""

    def loss(self, batch, positives):
        """Distance between documents and the vectors of their labels."""
        # Unlike labels[...], whose gradient two threads add up in any order.
        labels = self.encoder(batch["means"]).index_select(0, batch["label"])
        return log_distance_loss(batch["docs"][batch["doc"]], labels)


class DocumentsAndLabels:
    """Vectors of documents with the means of their labels, in batches.

    Parameters
    ----------
    docs : float tensor of shape (n_docs, dim)
    means : float tensor of shape (n_labels, dim)
    Y : csr matrix of shape (n_docs, n_labels)
    """

    def __init__(self, docs, means, Y):
        self.docs, self.means, self.Y = docs, means, Y
        self.lengths = np.zeros(len(docs), np.int64)  # none is longer than others

    def batch(self, rows):
        """Vectors of documents and labels, and the pairs of them in places."""
        part = self.Y[rows]
        labels, places = np.unique(part.indices, return_inverse=True)
        owners = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        return {
            "docs": self.docs[torch.from_numpy(rows)],
            "means": self.means[torch.from_numpy(labels)],
            "doc": torch.from_numpy(owners),
            "label": torch.from_numpy(places),
        }


class ShortlistedFeatures(Features):
    """Features whose batches carry the shortlists of the documents.

    Attributes
    ----------
    shortlists : int32 array of shape (n_rows, n_shortlist)
        Label columns padded with n_labels.
    places : int64 ndarray of shape (n_docs,)
        Row of each document in it.
    """

    shortlists = places = None

    def batch(self, rows):
        """Features of documents, and their ``shortlist`` as int64."""
        batch = super().batch(rows)
        if self.shortlists is not None:
            ids = self.shortlists[self.places[rows]].astype(np.int64)
            batch["shortlist"] = torch.from_numpy(ids)
        return batch

    def state(self):
        """Shortlists and their places, to go on from."""
        if self.shortlists is None:
            return None
        return {
            "shortlists": torch.from_numpy(np.asarray(self.shortlists)),
            "places": torch.from_numpy(self.places),
        }

    def restore(self, state):
        """Go on from a state."""
        self.shortlists = state["shortlists"].numpy()
        self.places = state["places"].numpy()


class Cycle:
    """What goes round in training: label vectors, their index, the shortlists.

    Parameters
    ----------
    docs : ShortlistedFeatures
    Y : csr matrix of shape (n_docs, n_labels)
        Its rows with labels are the training documents.
    every : int or None
        Epochs between two turns; None is one turn, before the first epoch.
    label_init : {"documents", "random"}
        Whether the classifier starts at the first label vectors.
    rng : numpy Generator
    batch_size : int
        Documents encoded at once.
    label_options : dict
        How to train the label encoder: arguments of `train`.
    options : dict
        device, precision, verbose.
    """

    def __init__(
        self, docs, Y, *, every, label_init, rng, batch_size, label_options, options
    ):
        self.docs, self.Y = docs, Y
        self.label_init = label_init
        self.rows = np.flatnonzero(np.diff(Y.indptr))
        self.every = every
        self.rng = rng
        self.batch_size = batch_size
        self.label_options = label_options
        self.options = options

    def start_epoch(self, network, epoch):
        """Turn before epoch 1, 1 + every, 1 + 2 * every ..."""
        if epoch == 1 or (self.every and (epoch - 1) % self.every == 0):
            vectors = self.new_label_vectors(network)
            if epoch == 1 and self.label_init == "documents":
                length = float(vectors.norm(dim=1).mean())
                network.start_classifier(_SCALE, length)
            self.shortlist(network, vectors)

    def ends_with_a_turn(self, n_done, n_epochs):
        """Whether a last turn, for the predictions, follows the epochs."""
        return bool(self.every) and n_done == n_epochs and n_epochs % self.every == 0

    def new_label_vectors(self, network):
        """Train the label encoder on the documents' vectors of now (step 2).

        Returns
        -------
        float32 tensor of shape (n_rows, dim): those vectors
        """
        vectors = self._document_vectors(network)
        labels = torch.cat([network.frequent, network.indexed]).cpu().numpy()
        Y = self.Y[self.rows][:, labels].tocsr()
        means = torch.from_numpy(label_means(vectors.numpy(), Y)).to(vectors.dtype)
        device = network.label_vectors.device
        train(
            LabelEncoderTraining(network.label_encoder),
            DocumentsAndLabels(vectors, means, Y),
            Y,
            rows=np.arange(len(vectors)),
            rng=self.rng,
            history=[],
            title="label encoder",
            **self.label_options,
            **self.options,
        )
        with torch.no_grad():
            parts = [
                network.label_encoder(part.to(device)) for part in means.split(4096)
            ]
            network.label_vectors.copy_(normalize(torch.cat(parts), dim=1))
        if not network.label_vectors.isfinite().all():
            raise ValueError(
                "Training diverged: label vectors are no longer finite. Lower "
                "learning_rate, head_learning_rate or label_learning_rate, or set "
                "clip_norm=1."
            )
        network.n_turns += 1
        return vectors

    def shortlist(self, network, vectors):
        """Store the labels nearest to each training document (step 3)."""
        n_labels, n_indexed = network.ranker.n_labels, len(network.indexed)
        width = min(network.n_shortlist, n_indexed)
        lists = _table((len(self.rows), width))
        places = np.full(len(self.docs), -1)
        places[self.rows] = np.arange(len(self.rows))
        self.docs.shortlists, self.docs.places = lists, places
        if not width:  # all labels are frequent
            return
        index = network.searched(in_batches=True)
        device = network.label_vectors.device
        for start in range(0, len(vectors), _DOCS_AT_ONCE):
            part = slice(start, start + _DOCS_AT_ONCE)
            found, _ = index.search(vectors[part].to(device), width)
            ids = network.indexed[found]
            positives = padded_columns(self.Y, self.rows[part]).to(device)
            lists[part] = without(ids, positives, n_labels).cpu().numpy()

    def _document_vectors(self, network):
        (vectors,) = in_batches(
            network.encoder,
            lambda batch: (at_least_float32(network.encoder(batch)),),
            self.docs,
            self.rows,
            batch_size=self.batch_size,
            **self.options,
        )
        return vectors


def without(ids, positives, n_labels):
    """Shortlists without the documents' positives, padded with n_labels instead.

    Parameters
    ----------
    ids : int64 tensor of shape (n_docs, n_shortlist)
    positives : int64 tensor of shape (n_docs, n_positives), padded with n_labels
    """
    offsets = (n_labels + 1) * torch.arange(len(ids), device=ids.device)[:, None]
    is_positive = torch.isin(ids + offsets, positives + offsets)
    return ids.masked_fill(is_positive, n_labels)


def _table(shape):
    """An int32 array, on disk where it is large."""
    if 4 * np.prod(shape) <= _IN_MEMORY:
        return np.empty(shape, np.int32)
    with tempfile.TemporaryFile() as file:  # gone with the array
        return np.memmap(file, np.int32, "w+", shape=shape)


@fill_docstring
class LightDXMLClassifier(BaseXMCClassifier):
    """LightDXML: shortlist labels by their vectors, then classify only these [1]_.

    The vector of a document is the sum of its words' vectors, weighted by TF-IDF,
    passed through a residual block. A label encoder turns the mean of a label's
    documents into a label vector in the same space. The labels whose vectors are
    nearest to a document are its shortlist. A one-vs-all classifier learns from the
    positives and the shortlist of each document, and the documents' vectors change as
    it learns. The label encoder is therefore trained again every few epochs. There is
    no transformer: the system trains on a CPU in minutes.

    Three things go beyond the paper. Word vectors start from a latent semantic analysis
    (``token_vectors``), the classifier starts from the label vectors (``label_init``),
    and frequent labels are classified for every document (``n_frequent``).

    Parameters
    ----------
    Encoder: how documents become vectors

    %(token_vectors)s
        A vector v is stored as (v, -v), scaled to one length for all, so that the ReLU
        of the model loses nothing. An n-gram starts at the mean of its words' vectors.
    ngram_range : (int, int), default=(1, 2)
        Shortest and longest sequence of words that is a feature of texts. A word
        consists of letters, digits and underscores, with their combining marks. For any
        other features, put a vectorizer before this classifier in a Pipeline.
    min_df : int or None, default=None
        Minimum number of documents that contain a feature, as in TfidfVectorizer (term
        frequencies are logarithmic). None means 2, or 1 if 2 would leave more than one
        document in ten without any feature, as happens with few documents.
    max_features : int or None, default=200_000
        Maximum number of features, as in TfidfVectorizer: the most frequent are kept.
        None keeps all of them.
    dropout : float, default=0.3
        Dropout rate on the document vectors and in the residual block. The released
        code uses 0.5.

    Labels: their texts, vectors and shortlists

    %(label_texts)s
        Each text counts as one more training document of its label, so that labels
        without documents can be predicted too. If given, X must be texts.
    label_dim : int or None, default=None
        Width of the word, document and label vectors. None means 300, as in the paper,
        or twice the width of the vectors given as `token_vectors`.
    label_init : {"documents", "random"}, default="documents"
        Initial weights of the classifier: the first label vectors, or random ones.
    label_hidden_dim : int or None, default=None
        Width between the two maps of the label encoder. None means twice `label_dim`.
        The paper uses 600 to 2,400.
    label_activation : {"relu", "none"}, default="relu"
        Activation of the label vectors. Eq. 4 has a ReLU, the released code has none.
    label_epochs : int, default=1
        Number of passes over the documents each time the label encoder is trained. The
        paper uses 4 to 8.
    label_learning_rate : float, default=1e-3
        Learning rate of the label encoder. The released code uses 2e-4 to 3e-3.
    refresh_every : int or None, default=2
        Number of epochs after which the label encoder is trained again and the
        documents get new shortlists. None means only once, before the first epoch. The
        paper uses 4 to 9.
    n_shortlist : int, default=200
        Number of labels shortlisted per document in training. The paper uses 500 to
        650.
    n_frequent : int, default=1024
        Number of labels with the most documents that are classified for every document.
        The cosine, which knows nothing of frequency, often misses them. 0 is the
        paper's method.
    n_random_negatives : int, default=0
        Number of labels drawn at random and added to each shortlist in training.
    search : {"auto", "exact", "hnsw"}, default="auto"
        How shortlists are found: by the product with all label vectors ("exact"), or in
        a graph ("hnsw", needs hnswlib). "auto" is exact on a GPU; on a CPU it is exact
        for up to 20,000 labels at prediction and up to 200,000 for the training
        documents.

    Training: objective, optimizer and held-out documents

    %(max_epochs)s
        The paper uses 16 or 21.
    %(batch_size)s
        The released code uses 255.
    %(accumulate)s
    learning_rate : float or "auto", default="auto"
        Peak learning rate of the word vectors and the residual block. "auto" means 0.04
        divided by the mean sum of a document's feature weights, so that a step moves a
        document of two hundred words no farther than one of eight. The paper uses 0.006
        to 0.009 for all weights.
    head_learning_rate : float, default=2e-2
        Peak learning rate of the classifier.
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

    predict_shortlist : int, default=100
        Number of labels shortlisted per document at prediction. Only these and the
        frequent labels can be predicted.
    beta : float or "auto", default=0.5
        Weight of the classifier's probability at prediction; 1 - beta is the weight of
        the sigmoid of the shortlist's cosine. "auto" selects it on the held-out
        documents. The paper uses 0.1 to 1.
    shortlist_temperature : float, default=1.0
        Number by which the cosines are divided before the sigmoid. Lower values tell
        near labels apart more sharply.
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
    %(history_)s
    %(n_iter_)s
    network_ : LightDXMLNetwork
        The trained network.
    vectorizer_ : TfidfVectorizer or None
        Turns texts into features. None if X was a feature matrix.
    beta_ : float
        The `beta` that predictions use.
    %(calibration_)s

    Notes
    -----
    A label with neither training documents nor a text of its own has no vector, and is
    never predicted.

    References
    ----------
    .. [1] Mishra, Dasgupta, Jawanpuria, Mishra, Kumar. Light-weight Deep Extreme
       Multilabel Classification, IJCNN 2023. Label encoder: Eq. 2, 4, 5; shortlist:
       Eq. 6; classifier: Eq. 3, 7, 8; the cycle: Algorithm 1.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc import LightDXMLClassifier
    >>> X = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> Y = csr_array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> model = LightDXMLClassifier(
    ...     max_epochs=20, label_dim=8, validation_fraction=0, random_state=0
    ... )
    >>> ids, scores = model.fit(X, Y).predict_topk(X, k=1)
    >>> ids[:3].tolist()
    [[0], [1], [2]]
    """

    def __init__(
        self,
        *,
        label_texts=None,
        token_vectors="lsa",
        ngram_range=(1, 2),
        min_df=None,
        max_features=200_000,
        label_dim=None,
        label_init="documents",
        label_hidden_dim=None,
        label_activation="relu",
        label_epochs=1,
        label_learning_rate=1e-3,
        refresh_every=2,
        n_shortlist=200,
        predict_shortlist=100,
        n_frequent=1024,
        n_random_negatives=0,
        search="auto",
        beta=0.5,
        shortlist_temperature=1.0,
        dropout=0.3,
        max_epochs=10,
        batch_size=64,
        accumulate=1,
        learning_rate="auto",
        head_learning_rate=2e-2,
        weight_decay=0.0,
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
        self.label_texts = label_texts
        self.token_vectors = token_vectors
        self.ngram_range = ngram_range
        self.min_df = min_df
        self.max_features = max_features
        self.label_dim = label_dim
        self.label_init = label_init
        self.label_hidden_dim = label_hidden_dim
        self.label_activation = label_activation
        self.label_epochs = label_epochs
        self.label_learning_rate = label_learning_rate
        self.refresh_every = refresh_every
        self.n_shortlist = n_shortlist
        self.predict_shortlist = predict_shortlist
        self.n_frequent = n_frequent
        self.n_random_negatives = n_random_negatives
        self.search = search
        self.beta = beta
        self.shortlist_temperature = shortlist_temperature
        self.dropout = dropout
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

    _saves_memory = (
        "Lower batch_size or n_shortlist (the step), or label_dim or max_features (the "
        "weights)."
    )

    _network = LightDXMLNetwork

    def expected_state(self):
        """Checks of what `fit` sets (see `skxmc.nn.state`)."""
        expected = super().expected_state() | {
            "vectorizer_": check_words if self._texts else nothing,
            "beta_": number(0, 1),
        }
        del expected["tokenizer_"]
        return expected

    def _n_features(self):
        if not self._texts:
            return self.n_features_in_
        return len(self.vectorizer_.vocabulary_)

    def _check_parameters(self):
        self._check_training_parameters()
        whole, real = numbers.Integral, numbers.Real
        for name in ("n_shortlist", "predict_shortlist", "label_epochs"):
            check_number(name, getattr(self, name), whole, 1)
        for name, low in (
            ("min_df", 1),
            ("label_dim", 2),
            ("label_hidden_dim", 1),
            ("refresh_every", 1),
        ):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), whole, low)
        if self.max_features is not None:
            check_number("max_features", self.max_features, whole, 1)
        for name in ("n_frequent", "n_random_negatives"):
            check_number(name, getattr(self, name), whole, 0)
        if self.learning_rate != "auto":
            check_number("learning_rate", self.learning_rate, real, 0)
        check_number("label_learning_rate", self.label_learning_rate, real, 0)
        if self.beta != "auto":
            check_number("beta", self.beta, real, 0, 1)
        temperature = self.shortlist_temperature
        check_number("shortlist_temperature", temperature, real, 0, open_low=True)
        check_choice("label_init", self.label_init, ("documents", "random"))
        check_choice("label_activation", self.label_activation, ("relu", "none"))
        check_choice("search", self.search, ("auto", "exact", "hnsw"))
        if self.search == "hnsw":
            NearestVectors(torch.ones(1, 1), exact=False)  # tells if it is missing

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        given = self.token_vectors is not None and not is_lsa(self.token_vectors)
        for name, value in (
            ("label_texts", self.label_texts is not None),
            ("token_vectors", given),
        ):
            if value and not self._texts:
                raise ValueError(f"{name} needs texts, and X is a feature matrix.")
        if self.label_texts is None:
            return X, Y
        texts = check_label_texts(self.label_texts, self.n_labels_)
        labels = np.flatnonzero([bool(text.strip()) for text in texts])
        own = sp.csr_array(
            (np.ones(len(labels), Y.dtype), labels, np.arange(len(labels) + 1)),
            shape=(len(labels), self.n_labels_),
        )
        return [*X, *(texts[j] for j in labels)], sp.vstack([Y, own], format="csr")

    def _hold_out(self, Y, rng):
        return super()._hold_out(Y[: self.n_docs_], rng)  # no label's own text

    def _read_first(self, X):
        self.vectorizer_ = None
        if self._texts:
            self.vectorizer_, X = fit_words(
                X,
                min_df=self.min_df,
                ngram_range=self.ngram_range,
                max_features=self.max_features,
            )
        vectors = self._first_vectors(X)
        return SparseEncoder(vectors, dropout=self.dropout), ShortlistedFeatures(X)

    def _first_vectors(self, X):
        """Vectors of the features, which documents start as sums of."""
        n_features, dim = X.shape[1], self.label_dim or 300
        if self.token_vectors is None:
            vectors = torch.randn(n_features, dim)
        elif is_lsa(self.token_vectors):
            vectors = with_both_signs(latent_vectors(X, dim // 2), dim)
        else:
            vectors = self._given_vectors()
            dim = self.label_dim or 2 * vectors.shape[1]
            vectors = with_both_signs(vectors, dim)
        # Coordinates of documents start with the size _SIZE.
        docs = torch.from_numpy(X[:_SIZED_ON] @ vectors.numpy())
        size = docs.square().mean().sqrt()
        return vectors * (_SIZE / size if size > 0 else _SIZE)

    def _given_vectors(self):
        terms = self.vectorizer_.get_feature_names_out()
        vectors, _ = read_token_vectors(self.token_vectors, terms)
        return torch.from_numpy(vectors)

    def _read(self, X):
        if self.vectorizer_ is not None:
            # For a single text the checks take as long as the rest.
            with config_context(assume_finite=True, skip_parameter_validation=True):
                X = self.vectorizer_.transform(X)
        return Features(X)

    def _encoder_rate(self, docs):
        if self.learning_rate != "auto":
            return self.learning_rate
        total = float(abs(docs.X).sum(dtype=np.float64))
        mean = total / max(1, np.count_nonzero(docs.lengths))
        return _REACH / (mean or 1.0)

    def _build(self, encoder, docs, X, Y, rng):
        dim = encoder.hidden_size
        n_labels = self.n_labels_
        counts = np.bincount(Y.indices, minlength=n_labels)
        order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
        frequent, indexed = np.split(order, [self.n_frequent])
        vectors = random_vectors(n_labels, dim + 1, dim) * 0.1
        vectors[:, -1] = 0
        ranker = LabelScores(vectors, row_wise=True)
        seed = int(rng.integers(2**31))
        device, precision = self._device_and_precision()
        network = LightDXMLNetwork(
            encoder,
            LabelEncoder(
                dim, self.label_hidden_dim or 2 * dim, activation=self.label_activation
            ),
            ranker,
            torch.from_numpy(frequent),
            torch.from_numpy(np.sort(indexed)),
            n_shortlist=self.n_shortlist,
            predict_shortlist=self.predict_shortlist,
            n_random_negatives=self.n_random_negatives,
            beta=_BETA if self.beta == "auto" else self.beta,
            shortlist_temperature=self.shortlist_temperature,
            exact=self._searches_exactly(device, len(indexed)),
            seed=seed,
            single_label=self._y_kind == "single",
        )
        network.cycle = Cycle(
            docs,
            Y,
            every=self.refresh_every,
            label_init=self.label_init,
            rng=rng,
            batch_size=self.batch_size,
            label_options=dict(
                max_epochs=self.label_epochs,
                batch_size=1024,
                learning_rate=self.label_learning_rate,
                head_learning_rate=self.label_learning_rate,
                weight_decay=0.0,
                warmup=0.0,
            ),
            options=dict(
                device=device,
                precision=precision,
                verbose=self.verbose,
            ),
        )
        return network

    def _searches_exactly(self, device, n_indexed):
        if self.search != "auto":
            return self.search == "exact"
        if device.startswith("cuda") or n_indexed <= _EXACT_ALONE:
            return True
        if not has_hnswlib():
            warnings.warn(
                f"hnswlib is not installed: all {n_indexed} labels are searched "
                "for each document, which is slow for single ones. pip install hnswlib "
                '(it is compiled), or say search="exact".',
                UserWarning,
                stacklevel=5,
            )
            return True
        return False

    def _finish(self, docs, Y, rows, held_out, rng):
        network, cycle = self.network_, self.network_.cycle
        network.cycle = docs.shortlists = docs.places = None
        network.index = None  # what is built now is for predictions
        self.beta_ = network.beta
        try:
            if cycle.ends_with_a_turn(len(self.history_), self.max_epochs):
                cycle.new_label_vectors(network)
            if len(network.indexed):
                network.searched()
            if self.beta == "auto" and len(held_out):
                self.beta_ = network.beta = self._best_beta(docs, Y, held_out)
        except KeyboardInterrupt:  # what there is can be used
            super()._finish(docs, Y, rows, held_out, rng)
            raise
        super()._finish(docs, Y, rows, held_out, rng)

    def _best_beta(self, docs, Y, held_out):
        """Of a grid, by P@k on the held-out part; of equal ones the largest."""
        device, precision = self._device_and_precision()
        network = self.network_
        found, logits, cosines = in_batches(
            network,
            network.classify,
            docs,
            held_out,
            batch_size=self.batch_size,
            device=device,
            precision=precision,
            verbose=0,
        )
        k, scores = depth_of(Y), {}
        for beta in np.linspace(0, 1, 11).round(1).tolist():
            mixture = mixed(logits, cosines, beta, self.shortlist_temperature)
            ids, _ = best_labels(mixture, k, self.n_labels_, found)
            ids = minus_one(ids.numpy(), self.n_labels_)
            scores[beta] = precision_at_k(Y[held_out], ids, k)
        return max(scores, key=lambda beta: (scores[beta], beta))
