"""LightXML with static negatives: the recall is trained first, and then the ranker.

The clusters whose labels are ranked for a training document are found once, when the
recall has been trained, and stay the same from then on.
"""

import numpy as np
import torch

from .examples import Examples
from .heads import at_full_precision
from .losses import loss_weights
from .network import Network
from .prediction import map_batches
from .training import train


def train_in_turn(
    network, examples, *, history, evaluate, checkpoint, goes_on=False, **options
):
    """Train the recall of a network, find all shortlists, and train the ranker.

    Each of the two trainings has ``max_epochs`` epochs, learning rates and an average
    of weights of its own.

    Parameters
    ----------
    network : LightXMLNetwork
        Network with static negatives, which is trained in place.
    examples : Examples
    history : list
        Gets the epochs of both trainings. Those of the recall have no score.
    evaluate : callable or None
        ``evaluate(network) -> float``, which chooses the best epoch of the ranker.
    checkpoint : Checkpoint or None
    goes_on : bool, default=False
        Whether the ranker's vectors of documents have been trained before. Otherwise
        they start as those of the recall.
    **options
        Other arguments of `skxmc.nn.training.train`.
    """
    recall, ranker = RecallTraining(network), RankerTraining(network)
    first = second = None
    if checkpoint is not None:
        first = PhaseCheckpoint(checkpoint, "recall")
        second = PhaseCheckpoint(checkpoint, "ranking", before=recall)
    shortlists = None
    if second is None or not second.is_reached():
        alone = options | dict(patience=None, evaluate=None, title="recall")
        try:
            train(recall, examples, history=history, checkpoint=first, **alone)
        finally:  # predictions are possible if training was interrupted
            if not goes_on:
                network.ranking.copy_from(network)
            network.eval()
        shortlists = find_shortlists(network, examples, options)
    network.eval()
    examples_of_ranker = StaticExamples(
        examples.docs, examples.Y, examples.rows, shortlists
    )
    examples_of_ranker.weigh(examples.doc_weights, examples.label_weights)

    def evaluate_network(_):
        network.eval()
        score = evaluate(network)
        ranker.train()
        return score

    train(
        ranker,
        examples_of_ranker,
        history=history,
        evaluate=None if evaluate is None else evaluate_network,
        checkpoint=second,
        title="ranker",
        **options,
    )


def find_shortlists(network, examples, options):
    """Find the best clusters of each training document.

    Returns
    -------
    int32 tensor of shape (n_rows, n_shortlist), on the CPU
    """

    def find(inputs):
        for_clusters, _ = network.doc_vectors(*network.encoder(inputs), inputs)
        scores = at_full_precision(network.recall, for_clusters)
        return (scores.topk(network.n_shortlist, dim=1).indices.int(),)

    names = ("batch_size", "device", "precision", "verbose")
    (shortlists,) = map_batches(
        network,
        find,
        examples.docs,
        examples.rows,
        title="shortlists",
        **{name: options[name] for name in names},
    )
    return shortlists


class StaticExamples(Examples):
    """Examples whose batches hold the clusters whose labels are ranked.

    Parameters
    ----------
    docs, Y, rows
        As in `Examples`.
    shortlists : int32 tensor of shape (n_rows, n_shortlist) or None
        Clusters of each training document. None if they come from a checkpoint.
    """

    def __init__(self, docs, Y, rows, shortlists):
        super().__init__(docs, Y, rows)
        self.shortlists = shortlists
        # Row of each document in `shortlists`; -1 for documents not trained on.
        self.places = np.full(len(docs), -1)
        self.places[rows] = np.arange(len(rows))

    def batch(self, rows):
        """Make the batch of some documents.

        The targets also hold ``shortlist``, int64 of shape (n_rows, n_shortlist).
        """
        inputs, targets = super().batch(rows)
        clusters = self.shortlists[torch.from_numpy(self.places[rows])]
        return inputs, targets | {"shortlist": clusters.long()}

    def state_dict(self):
        """Return the shortlists, for checkpoints."""
        return {"shortlists": self.shortlists}

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
        self.shortlists = state["shortlists"]


class _Phase(Network):
    """Part of a network that one phase trains; the other weights do not change.

    Parameters
    ----------
    network : LightXMLNetwork
    """

    why_alone = 'One process trains with static negatives: use "dynamic" ones.'

    def __init__(self, network):
        super().__init__()
        # In a tuple, the whole network is no submodule: only what a subclass registers
        # is trained.
        self._whole = (network,)

    @property
    def network(self):
        """The whole network."""
        return self._whole[0]

    def uses_dropout(self, progress):
        """Return whether a batch is trained with dropout."""
        return self.network.uses_dropout(progress)


class RecallTraining(_Phase):
    """Trains the encoder and the recall (Eq. 1)."""

    def __init__(self, network):
        super().__init__(network)
        self.encoder = network.encoder
        self.doc_vectors = network.doc_vectors
        self.recall = network.recall

    def forward(self, inputs, targets, progress):
        """Return the loss of the clusters' scores."""
        for_clusters, _ = self.doc_vectors(*self.encoder(inputs), inputs)
        return self.network.recall_loss(
            self.recall(for_clusters), targets["positives"], loss_weights(targets)
        )

    def document_modules(self):
        """Return the modules between the encoder and the vectors of documents."""
        return (self.doc_vectors,)


class RankerTraining(_Phase):
    """Trains the ranker, and what reads documents for it (Eq. 5)."""

    def __init__(self, network):
        super().__init__(network)
        self.branch = network.ranking
        self.ranker = network.ranker
        self.offset = network.offset

    @property
    def encoder(self):
        """The encoder that the ranker reads with."""
        own = self.branch.encoder
        return self.network.encoder if own is None else own

    def forward(self, inputs, targets, progress):
        """Return the loss of the candidates' scores."""
        network, read = self.network, None
        if self.branch.encoder is None:
            with torch.no_grad():
                read = network.encoder(inputs)
        candidates = network.clusters.candidates_of(
            targets["shortlist"], targets["positives"]
        )
        docs, weights = self.branch(inputs, read), loss_weights(targets)
        return network.ranking_loss(docs, *candidates, weights)

    def document_modules(self):
        """Return the modules between the encoder and the vectors of documents."""
        return (self.branch.doc_vectors,)


class PhaseCheckpoint:
    """The checkpoint of one phase, in the file of the whole training.

    Parameters
    ----------
    checkpoint : Checkpoint
    phase : str
        Name of the phase.
    before : Module or None, default=None
        What earlier phases have trained. Its weights are kept with the state of this
        phase, and restored with it.
    """

    def __init__(self, checkpoint, phase, before=None):
        self.checkpoint, self.phase, self.before = checkpoint, phase, before

    def is_reached(self):
        """Return whether the file holds a state of this phase."""
        state = self.checkpoint.read()
        return state is not None and state["phase"] == self.phase

    def read(self):
        """Return the state of this phase, or None if the file holds none."""
        state = self.checkpoint.read()
        if state is None or state["phase"] != self.phase:
            return None
        if self.before is not None:
            self.before.load_state_dict(state["before"])
        return state

    def is_due(self):
        """Return whether the last write is long enough ago for another one."""
        return self.checkpoint.is_due()

    def write(self, state):
        """Replace the file by one with this state."""
        before = None if self.before is None else self.before.state_dict()
        self.checkpoint.write(state | {"phase": self.phase, "before": before})
