"""The network of LightDXML."""

import warnings

import numpy as np
import torch
from torch import nn
from torch.nn.functional import linear, logsigmoid, normalize, pad, relu

from ..devices import one_thread
from ..encoders import FeatureVectors
from ..heads import LabelScores, at_full_precision, first_offset
from ..label_cycle import LabelEncoder
from ..losses import at_least_float32, bce_loss, bce_loss_all
from ..network import Network
from ..search import NearestVectors
from ..shortlist import best_labels, log_odds
from ..state import flag, floats, indices, linear_map, number, optional, parameter, part

# Documents of a batch up to which one thread ranks them.
_FEW_DOCS = 8


# Labels up to which the shortlists of many documents come from exact search.
_EXACT_IN_BATCHES = 200_000


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

    at_encoder_rate = True

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


class LightDXMLNetwork(Network):
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
    n_turns : int64 tensor of shape ()
        How often these vectors were made.
    """

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
        self.index = self.index_turn = None

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

    def forward(self, inputs, targets, progress):
        """Binary cross-entropy on positives and negatives (Eq. 3, 7, 8).

        The negatives are the shortlist and the frequent labels.
        """
        docs, positives = self.encoder(inputs), targets["positives"]
        n_labels, n_frequent = self.ranker.n_labels, len(self.frequent)
        columns = self.places[positives]
        positives = positives.masked_fill(columns < n_frequent, n_labels)
        ids = torch.cat([positives, targets["shortlist"]], dim=1)
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

    def rank(self, inputs, k):
        """Best labels of a batch (step 6 of Algorithm 1; see `Network.rank`).

        Scores are log-odds of a label, whose probability is
        ``beta * sigmoid(classifier) + (1 - beta) * sigmoid(cosine)``. With
        `single_label` they are logarithms of the label's share in those of all labels
        that were classified.
        """
        with one_thread(len(inputs["features"]) <= _FEW_DOCS):
            ids, logits, cosines = self.classify(inputs)
            temperature = self.shortlist_temperature
            scores = mix_logarithms(logits, cosines, self.beta, temperature)
            if self.single_label:
                scores = scores.log_softmax(dim=1)
            else:
                scores = log_odds(scores)
            return best_labels(scores, k, self.n_labels, ids)

    def classify(self, inputs):
        """Frequent and shortlisted labels, the classifier's logits, and cosines.

        Returns
        -------
        ids, logits, cosines : tensors of shape (n_docs, n_classified)
        """
        docs = at_least_float32(self.encoder(inputs))
        return at_full_precision(self._classify_all, docs)

    def _classify_all(self, docs):
        ids = self.frequent.expand(len(docs), -1)
        logits = self.frequent_ranker(docs)
        vectors = self.label_vectors[: len(self.frequent)]
        cosines = normalize(docs, dim=1) @ vectors.T
        if len(self.indexed):
            found, near = self.search_index().search(docs, self.predict_shortlist)
            found = self.indexed[found]
            others = self._classify(docs, found)
            ids = torch.cat([ids, found], dim=1)
            logits = torch.cat([logits, others], dim=1)
            cosines = torch.cat([cosines, near], dim=1)
        return ids, logits, cosines

    def search_index(self, *, in_batches=False):
        """Index of the label vectors, made anew if they have changed.

        Parameters
        ----------
        in_batches : bool, default=False
            Whether an index that is made now is to suit the search for many documents:
            a graph pays with more labels then. Training asks for one, and uses it until
            the label vectors change.

        Returns
        -------
        NearestVectors
        """
        turn = int(self.n_turns)
        index = self.index  # which another thread may make meanwhile, but not drop
        if index is None or self.index_turn != turn:
            vectors = self.label_vectors[len(self.frequent) :]
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


def mix_logarithms(logits, cosines, beta, temperature):
    """Logarithm of the probability of a label, by classifier and shortlist."""
    parts = []
    if beta > 0:
        parts.append(logsigmoid(logits) + np.log(beta))
    if beta < 1:
        parts.append(logsigmoid(cosines / temperature) + np.log1p(-beta))
    return torch.logaddexp(*parts) if len(parts) > 1 else parts[0]
