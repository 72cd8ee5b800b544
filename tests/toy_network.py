"""A small network that keeps the contract, its data, and how it is trained."""

import copy
import functools

import numpy as np
import scipy.sparse as sp
import torch
from conftest import encode_densely
from torch import nn

from skxmc.nn.bags import BagEncoder
from skxmc.nn.examples import Examples
from skxmc.nn.network import Network, Progress
from skxmc.nn.text import Features
from skxmc.nn.training import train

N_FEATURES, N_LABELS = 10, 6
RATE = 1e-2
EXACT = dict(rtol=0, atol=0)
ALL_DONE = Progress(1, 1, 1, 1)


class Toy(Network):
    """A network that keeps the contract: a bag of features and a linear layer."""

    n_labels = N_LABELS

    def __init__(self, seed=0, at_encoder_rate=False):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = BagEncoder(N_FEATURES, 4)
        self.encoder.at_encoder_rate = at_encoder_rate
        self.head = nn.Linear(4, N_LABELS)
        self.seen, self.losses, self.sizes = [], [], []

    def forward(self, inputs, targets, progress):
        trains = self.uses_dropout(progress)
        assert all(module.training == trains for module in self.modules())
        scores = self.head(self.encoder(inputs)[0])
        expected = torch.zeros(len(scores), N_LABELS + 1, dtype=scores.dtype)
        expected = expected.scatter_(1, targets["positives"], 1)[:, :-1]
        loss = nn.functional.binary_cross_entropy_with_logits(scores, expected)
        self.seen.append(progress)
        self.losses.append(loss.item())
        self.sizes.append(len(scores))
        return loss

    def encode(self, inputs):
        assert not self.training
        return (self.encoder(inputs)[0],)

    def rank_encoded(self, vectors, k):
        scores, ids = self.head(*vectors).topk(k, dim=1)
        return ids, scores

    def floats_per_document(self, length):
        return 1000 * length


class Scores:
    """An evaluation that returns given scores, and remembers the weights it saw."""

    def __init__(self, *scores):
        self.scores, self.seen = list(scores), []

    def __call__(self, network):
        self.seen.append(weights_of(network))
        return self.scores[len(self.seen) - 1]


def make_data(n_docs=24, seed=0):
    """Random features and labels; no document is without a label."""
    rng = np.random.default_rng(seed)
    X = rng.random((n_docs, N_FEATURES)) * (rng.random((n_docs, N_FEATURES)) < 0.5)
    Y = rng.random((n_docs, N_LABELS)) < 0.4
    Y[:, 0] |= ~Y.any(axis=1)
    return Features(sp.csr_array(X.astype("f4"))), sp.csr_array(Y.astype("f4"))


def make_examples(n_docs=24, rows=None):
    """The toy data as the training loop takes it."""
    docs, Y = make_data(n_docs)
    return Examples(docs, Y, np.arange(n_docs) if rows is None else rows)


def run(network, n_docs=24, seed=0, examples=None, **options):
    """Train on the toy data; return the history."""
    given = dict(
        max_epochs=3,
        batch_size=8,
        learning_rate=RATE,
        head_learning_rate=RATE,
        weight_decay=0.01,
        warmup=0.1,
        history=[],
    )
    given.update(options)
    examples = make_examples(n_docs) if examples is None else examples
    train(network, examples, rng=np.random.default_rng(seed), **given)
    return given["history"]


def dense_features(network):
    """Make feature vectors parameters like others."""
    network.encoder.forward = functools.partial(encode_densely, network.encoder)
    network.encoder.features.row_wise = False
    return network.requires_grad_()


def loss_of(network, inputs, positives, progress=ALL_DONE, **targets):
    """Loss of a network for a batch: the last one of all, if nothing else is said."""
    return network(inputs, targets | {"positives": positives}, progress)


def weights_of(network):
    return copy.deepcopy(network.state_dict())


def assert_same(one, two, **tolerance):
    """Two state dicts are the same."""
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], msg=name, **tolerance)


def interrupt_at(network, n, error):
    """Raise in the n-th step, after its gradients are there."""
    forward = network.forward

    def interrupted(*args):
        value = forward(*args)
        if len(network.losses) == n:
            raise error
        return value

    network.forward = interrupted
