"""The training loop and the prediction loop, driven by a toy network."""

import copy
import functools
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import encode_densely
from torch import nn

from skxmc.nn import training
from skxmc.nn.encoders import BagEncoder, TransformerEncoder
from skxmc.nn.heads import LabelScores
from skxmc.nn.networks.grank import GRankNetwork
from skxmc.nn.rowwise import RowwiseAdamW
from skxmc.nn.shortlist import LabelClusters
from skxmc.nn.text import Features, padded_columns, shuffled_batches, tokenize
from skxmc.nn.training import (
    encode,
    rank,
    train,
)

N_FEATURES, N_LABELS = 10, 6
RATE = 1e-2


class Toy(nn.Module):
    """A network that obeys the contract: a bag of features and a linear layer."""

    def __init__(self, seed=0, pretrained=False):
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = BagEncoder(N_FEATURES, 4)
        self.encoder.pretrained = pretrained
        self.head = nn.Linear(4, N_LABELS)
        self.epochs, self.losses, self.sizes = [], [], []

    def start_epoch(self, epoch, n_epochs, n_steps):
        self.epochs.append((epoch, n_epochs, n_steps))

    def loss(self, batch, positives):
        assert self.training
        scores = self.head(self.encoder(batch)[0])
        targets = torch.zeros(len(scores), N_LABELS + 1, dtype=scores.dtype)
        targets = targets.scatter_(1, positives, 1)[:, :-1]
        loss = nn.functional.binary_cross_entropy_with_logits(scores, targets)
        self.losses.append(loss.item())
        self.sizes.append(len(scores))
        return loss

    def rank(self, batch, k):
        assert not self.training
        scores, ids = self.head(self.encoder(batch)[0]).topk(k, dim=1)
        return ids, scores

    n_candidates = 0

    def floats_per_document(self, length):
        return 1000 * length


def make_data(n_docs=24, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.random((n_docs, N_FEATURES)) * (rng.random((n_docs, N_FEATURES)) < 0.5)
    Y = rng.random((n_docs, N_LABELS)) < 0.4
    Y[:, 0] |= ~Y.any(axis=1)
    return Features(sp.csr_array(X.astype("f4"))), sp.csr_array(Y.astype("f4"))


def run(network, n_docs=24, seed=0, **options):
    """Train on the toy data; return the history."""
    docs, Y = make_data(n_docs)
    given = dict(
        rows=np.arange(n_docs),
        max_epochs=3,
        batch_size=8,
        learning_rate=RATE,
        head_learning_rate=RATE,
        weight_decay=0.01,
        warmup=0.1,
        history=[],
    )
    given.update(options)
    train(network, docs, Y, rng=np.random.default_rng(seed), **given)
    return given["history"]


def dense_features(network):
    """Make feature vectors parameters like others."""
    network.encoder.forward = functools.partial(encode_densely, network.encoder)
    network.encoder.features.row_wise = False
    return network.requires_grad_()


def weights_of(network):
    return copy.deepcopy(network.state_dict())


def assert_same(one, two, **tolerance):
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], msg=name, **tolerance)


EXACT = dict(rtol=0, atol=0)


@pytest.fixture
def steps(monkeypatch):
    """The weights after each step, and the learning rates that it took."""
    steps, tables = [], []

    class Recorder(torch.optim.AdamW):
        def step(self, *args, **kwargs):
            rates = [group["lr"] for group in self.param_groups]
            found = super().step(*args, **kwargs)
            parameters = [p for group in self.param_groups for p in group["params"]]
            for table in tables:  # which have taken their step before
                table.catch_up()
                parameters.append(table.vectors)
            steps.append((rates, [p.detach().clone() for p in parameters]))
            return found

    class ByRow(RowwiseAdamW):
        def __init__(self, vectors, *args, **options):
            super().__init__(vectors, *args, **options)
            tables.append(self)

    monkeypatch.setattr(torch.optim, "AdamW", Recorder)
    monkeypatch.setattr(training, "RowwiseAdamW", ByRow)
    return steps


@pytest.fixture
def plain_descent(monkeypatch):
    """Steps of the schedule's factor times the gradient: AdamW hides a factor."""

    class ByRow(RowwiseAdamW):
        @torch.no_grad()
        def step(self, rate, *, scale=None, applies=None):
            for rows, gradient in self._gradients():
                gradient = gradient if scale is None else gradient * scale
                self.vectors.index_add_(0, rows, gradient, alpha=-rate / RATE)
            self.forget()

    def sgd(network, *rest):
        dense = [p for p in network.parameters() if p.requires_grad]
        return torch.optim.SGD(dense, lr=1.0)

    monkeypatch.setattr(training, "RowwiseAdamW", ByRow)
    monkeypatch.setattr(training, "_adamw", sgd)


class Scores:
    """An evaluation that returns given scores, and remembers the weights it saw."""

    def __init__(self, *scores):
        self.scores, self.seen = list(scores), []

    def __call__(self, network):
        self.seen.append(weights_of(network))
        return self.scores[len(self.seen) - 1]


# --- steps ------------------------------------------------------------------


def test_training_learns():
    network = Toy()
    history = run(network, max_epochs=40, head_learning_rate=5e-2)
    assert [entry["epoch"] for entry in history] == list(range(1, 41))
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert not network.training


def test_every_epoch_is_announced():
    network = Toy()
    run(network, n_docs=20, batch_size=8, max_epochs=2)
    assert network.epochs == [(1, 2, 3), (2, 2, 3)]
    assert sorted(network.sizes) == [4, 4, 8, 8, 8, 8]


def test_only_the_given_rows(plain_descent):
    # Doubling the documents that are left out changes nothing.
    docs, Y = make_data(24)
    rows = np.array([3, 5, 7, 20])
    networks = Toy(), Toy()
    run(networks[0], rows=rows)
    Y.data[np.isin(np.repeat(np.arange(24), np.diff(Y.indptr)), rows, invert=True)] = 2
    few = Features(docs.X[rows])
    options = dict(history=[], max_epochs=3, batch_size=8, warmup=0.1)
    options |= dict(learning_rate=RATE, head_learning_rate=RATE, weight_decay=0.01)
    rng = np.random.default_rng(0)
    train(networks[1], few, Y[rows], rows=np.arange(4), rng=rng, **options)
    assert_same(networks[0].state_dict(), networks[1].state_dict())


def test_accumulation_is_a_larger_batch(plain_descent, monkeypatch):
    # 16 documents: two batches of 8, whatever their order, or one of 16.
    small, large, other = Toy(), Toy(), Toy()
    run(small, n_docs=16, batch_size=8, accumulate=2)
    run(large, n_docs=16, batch_size=16)
    run(other, n_docs=16, batch_size=8)
    assert len(small.losses) == 2 * len(large.losses) == 6
    assert_same(small.state_dict(), large.state_dict(), rtol=1e-5, atol=1e-6)
    gap = other.head.weight - large.head.weight
    assert gap.norm() > 1e-3


@pytest.mark.parametrize("accumulate, n_steps", [(1, 5), (2, 3), (3, 2), (9, 1)])
def test_last_batches_of_an_epoch_are_stepped_too(steps, accumulate, n_steps):
    run(Toy(), n_docs=35, batch_size=8, max_epochs=2, accumulate=accumulate)
    assert len(steps) == 2 * n_steps


def test_a_shorter_last_step_is_a_mean_too(plain_descent):
    # 24 documents: three batches of 8, of which two make a step and one another.
    network, other = Toy(), Toy()
    run(network, batch_size=8, accumulate=2, max_epochs=1, warmup=0.0)
    # The factor of linear decay is 1 in the first step of two, and 1/2 in the second.
    sizes, gradients = network.losses, []
    dense_features(other)
    docs, Y = make_data()
    order = shuffled_batches(np.arange(24), docs.lengths, 8, np.random.default_rng(0))
    parameters = list(other.parameters())
    for rate, batches in ((1.0, order[:2]), (0.5, order[2:])):
        gradients = [
            torch.autograd.grad(
                other.loss(docs.batch(batch), padded_columns(Y, batch)), parameters
            )
            for batch in batches
        ]
        for parameter, *each in zip(parameters, *gradients, strict=True):
            parameter.data -= rate * torch.stack(each).mean(dim=0)
    assert len(sizes) == 3
    assert_same(network.state_dict(), other.state_dict())


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(accumulate=2),
        dict(clip_norm=1e-2),
        dict(swa_start=0.3, swa_every=2),
        dict(schedule="constant", accumulate=2, clip_norm=0.1, swa_start=0.5),
    ],
)
@pytest.mark.parametrize("pretrained", [False, True])
def test_features_in_every_batch_learn_as_by_dense_adamw(options, pretrained):
    docs, Y = make_data()
    docs = Features(sp.csr_array(docs.X.toarray() + 0.5))
    options = options | dict(head_learning_rate=3 * RATE, weight_decay=0.2)
    options |= dict(rows=np.arange(24), max_epochs=4, batch_size=8, warmup=0.1)
    networks = [Toy(pretrained=pretrained).double() for _ in range(2)]
    dense_features(networks[1])
    for network in networks:
        rng = np.random.default_rng(0)
        train(network, docs, Y, rng=rng, history=[], learning_rate=RATE, **options)
    by_row, dense = (network.state_dict() for network in networks)
    assert_same(by_row, dense, rtol=1e-6, atol=1e-9)
    start = Toy().encoder.features.table
    assert (by_row["encoder.features.table"] - start).norm() > 0.1
    assert not networks[0].encoder.features.touched


@pytest.mark.parametrize("clip_norm", [None, 1e-3, 1e3])
def test_clip_norm(plain_descent, clip_norm):
    network = Toy()
    before = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    options = dict(batch_size=24, max_epochs=1, warmup=0.0)
    run(network, clip_norm=clip_norm, **options)
    after = nn.utils.parameters_to_vector(network.parameters())
    moved = (after - before).norm().item()
    if clip_norm == 1e-3:
        assert moved == pytest.approx(1e-3, rel=1e-3)
    else:
        assert moved > 0.05


@pytest.mark.parametrize("warmup, n_steps", [(0.0, 7), (0.1, 100), (0.5, 8), (1.0, 5)])
def test_warmup_and_linear_decay(warmup, n_steps):
    factor = training._warmup(warmup, n_steps, falls=True)
    got = [factor(step) for step in range(n_steps + 3)]
    n_warmup = round(warmup * n_steps)
    rising = [(step + 1) / (n_warmup + 1) for step in range(n_warmup)]
    n_left = n_steps - n_warmup
    falling = [left / n_left for left in range(n_left, 0, -1)]
    assert got == pytest.approx([*rising, *falling, 0, 0, 0])


def test_rates_of_encoder_and_head(steps):
    rates = dict(learning_rate=1e-3, head_learning_rate=1e-2)
    run(Toy(pretrained=True), warmup=0.25, max_epochs=4, **rates)
    factors = [1 / 4, 2 / 4, 3 / 4, *(left / 9 for left in range(9, 0, -1))]
    assert len(steps) == 12
    for (taken, _), factor in zip(steps, factors, strict=True):
        expected = {1e-3 * factor, 1e-2 * factor}
        assert sorted({*taken}) == pytest.approx(sorted(expected))


@pytest.mark.parametrize("pretrained", [False, True])
def test_groups_of_parameters(pretrained):
    network = Toy(pretrained=pretrained)
    optimizer = training._adamw(network, 1e-4, 1e-3, 0.02)
    names = {id(p): name for name, p in network.named_parameters()}
    assert "encoder.features.table" in names.values()  # trained by row
    found = {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    rate = 1e-4 if pretrained else 1e-3
    assert found == {
        "encoder.block.0.weight": (rate, 0.02),
        "encoder.block.0.bias": (rate, 0.0),
        "head.weight": (1e-3, 0.02),
        "head.bias": (1e-3, 0.0),
    }
    n_all = sum(len(group["params"]) for group in optimizer.param_groups)
    assert n_all == len(found)


def test_norms_do_not_decay(tiny_model):
    network = nn.Module()
    network.encoder = TransformerEncoder(copy.deepcopy(tiny_model), n_layers=1)
    optimizer = training._adamw(network, 1e-4, 1e-3, 0.02)
    decaying = {
        id(p)
        for group in optimizer.param_groups
        if group["weight_decay"]
        for p in group["params"]
    }
    for name, parameter in network.named_parameters():
        plain = "bias" in name or "LayerNorm" in name
        assert (id(parameter) in decaying) == (not plain), name


# --- what training reports and keeps ----------------------------------------


def test_loss_is_the_mean_over_batches():
    network = Toy()
    history = run(network, n_docs=20)
    means = np.reshape(network.losses, (3, 3)).mean(axis=1)
    assert [entry["loss"] for entry in history] == pytest.approx(means.tolist())
    assert set(history[0]) == {"epoch", "loss"}


def test_best_epoch_is_kept():
    network, evaluate = Toy(), Scores(0.1, 0.9, 0.5, 0.9)
    history = run(network, max_epochs=4, evaluate=evaluate)
    assert [entry["score"] for entry in history] == [0.1, 0.9, 0.5, 0.9]
    assert_same(network.state_dict(), evaluate.seen[3], **EXACT)  # the later of equals
    gap = evaluate.seen[3]["head.weight"] - evaluate.seen[1]["head.weight"]
    assert gap.norm() > 1e-3
    assert not network.training


def test_last_epoch_is_kept_without_evaluation(steps):
    network = Toy()
    run(network)
    last = sum(tensor.double().sum() for tensor in steps[-1][1])
    now = sum(tensor.double().sum() for tensor in network.parameters())
    assert last == now


@pytest.mark.parametrize(
    "scores, patience, tol, n_epochs, best",
    [
        ([0.5, 0.6, 0.6, 0.6, 0.7, 0.8], 2, 0.0, 4, 3),
        ([0.5, 0.4, 0.6, 0.5, 0.4, 0.8], 2, 0.0, 5, 2),
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.9], None, 0.0, 6, 5),
        # Gains below tol: waited for in vain, but the best is kept.
        ([0.5, 0.52, 0.54, 0.9, 0.9, 0.9], 2, 0.1, 3, 2),
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.0], 1, 0.0, 2, 0),
    ],
)
def test_patience(scores, patience, tol, n_epochs, best):
    network, evaluate = Toy(), Scores(*scores)
    history = run(network, max_epochs=6, evaluate=evaluate, patience=patience, tol=tol)
    assert len(history) == len(evaluate.seen) == n_epochs
    assert_same(network.state_dict(), evaluate.seen[best], **EXACT)


@pytest.mark.parametrize(
    "options, averaged",
    [
        # 25 steps an epoch: every tenth after the 25th, and the last.
        (dict(accumulate=1), [30, 40, 50]),
        (dict(accumulate=1, swa_start=0.0), [10, 20, 25, 30, 40, 50]),
        (dict(accumulate=1, swa_start=0.4), [25, 30, 40, 50]),  # after the 20th
        (dict(accumulate=1, swa_start=0.9), [50]),
        # 13 steps an epoch.
        (dict(accumulate=2), [20, 26]),
        # 9 steps an epoch.
        (dict(accumulate=3, swa_start=0.1), [9, 10, 18]),
    ],
)
def test_average_of_weights(steps, options, averaged):
    network = Toy()
    options = dict(swa_start=0.5) | options
    run(network, n_docs=50, batch_size=2, max_epochs=2, **options)
    snapshots = [steps[i - 1][1] for i in averaged]
    groups = training._adamw(network, 1e-2, 1e-2, 0.01).param_groups
    parameters = [p for group in groups for p in group["params"]]
    parameters.append(network.encoder.features.table)
    assert len(parameters) == len(snapshots[0]) == len(list(network.parameters()))
    for i, parameter in enumerate(parameters):
        expected = torch.stack([tensors[i] for tensors in snapshots]).mean(dim=0)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-6)


def test_average_is_what_is_evaluated_and_kept(steps):
    network, evaluate = Toy(), Scores(0.1, 0.3, 0.2)
    # Ten steps an epoch, averaged from the 20th on.
    run(network, n_docs=20, batch_size=2, evaluate=evaluate, swa_start=0.5)
    assert_same(network.state_dict(), evaluate.seen[1], **EXACT)
    features = [steps[i - 1][1][-1] for i in (10, 20, 30)]
    expected = [*features[:2], (features[1] + features[2]) / 2]
    for seen, wanted in zip(evaluate.seen, expected, strict=True):
        torch.testing.assert_close(seen["encoder.features.table"], wanted)


@pytest.mark.parametrize("precision", ["fp32", "fp64", "bf16"])
@pytest.mark.parametrize("swa_start", [None, 0.3])
def test_transformer_in_every_precision(
    tiny_model, tiny_tokenizer, colours, precision, swa_start
):
    texts, Y, _ = colours
    docs, dtype = tokenize(texts, tiny_tokenizer, 16), torch.float32
    torch.manual_seed(0)
    network = GRankNetwork(
        TransformerEncoder(copy.deepcopy(tiny_model), n_layers=2),
        LabelScores(torch.randn(12, 8)),
        clusters=None,
        n_retrieved=0,
    )
    if precision == "fp64":
        network, dtype = network.double(), torch.float64
    seen = []

    def evaluate(network):
        options = dict(batch_size=9, device="cpu", precision=precision)
        ids, scores = rank(network, docs, np.arange(60), 3, **options)
        assert ids.shape == scores.shape == (60, 3)
        seen.append({p.dtype for p in network.parameters()})
        return float(len(seen))

    options = dict(evaluate=evaluate, swa_start=swa_start, precision=precision)
    options |= dict(rows=np.arange(60), max_epochs=2, batch_size=20, history=[])
    options |= dict(learning_rate=1e-3, head_learning_rate=1e-2, weight_decay=0.0)
    rng = np.random.default_rng(0)
    train(network, docs, Y, rng=rng, warmup=0.1, **options)
    assert seen == [{dtype}, {dtype}]
    assert all(p.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("swa_start", [None, 0.5])
def test_same_seed_same_bits(swa_start):
    def weights(seed):
        torch.manual_seed(seed)
        network = GRankNetwork(
            BagEncoder(N_FEATURES, 4, dropout=0.5),
            LabelScores(torch.randn(N_LABELS, 4)),
            clusters=None,
            n_retrieved=N_LABELS,
        )
        history = run(network, seed=seed, swa_start=swa_start, accumulate=2)
        return network.state_dict(), history

    first, second, other = weights(0), weights(0), weights(1)
    assert_same(first[0], second[0], **EXACT)
    assert first[1] == second[1]
    assert not torch.equal(
        first[0]["read.project.weight"], other[0]["read.project.weight"]
    )


# --- interruptions ----------------------------------------------------------


def interrupt_at(network, n, error):
    """Raise in the n-th step, after its gradients are there."""
    loss = network.loss

    def interrupted(*args):
        value = loss(*args)
        if len(network.losses) == n:
            raise error
        return value

    network.loss = interrupted


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_interrupted_training_keeps_the_best_epoch(error):
    network, evaluate = Toy(), Scores(0.5, 0.9, 0.7)
    history = []
    interrupt_at(network, 11, error)  # the second step of the fourth epoch
    with pytest.raises(error):
        run(network, max_epochs=9, evaluate=evaluate, history=history)
    assert [entry["score"] for entry in history] == [0.5, 0.9, 0.7]
    assert_same(network.state_dict(), evaluate.seen[1], **EXACT)
    assert not any(module.training for module in network.modules())


def test_interrupted_in_the_first_epoch(steps):
    network = Toy()
    interrupt_at(network, 3, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run(network, evaluate=Scores(), swa_start=0.5)
    assert len(steps) == 2
    assert not network.training
    now = sum(tensor.double().sum() for tensor in network.parameters())
    assert now == sum(tensor.double().sum() for tensor in steps[-1][1])


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("where", ["lerp", "snapshot"])
def test_interrupted_while_weights_are_averaged(monkeypatch, where, n):
    # The n-th time: a snapshot half taken does not count.
    torch.manual_seed(0)
    network = GRankNetwork(
        BagEncoder(N_FEATURES, 4),
        LabelScores(torch.randn(N_LABELS, 4), row_wise=True),
        clusters=LabelClusters(np.arange(N_LABELS) // 2),
        n_retrieved=3,
        n_shortlist=2,
    )
    taken, n_calls = [], 0
    whole = RowwiseAdamW.snapshot

    def snapshot(table):
        nonlocal n_calls
        n_calls += 1
        if n_calls == n and where == "lerp":
            raise KeyboardInterrupt
        whole(table)
        table.catch_up()
        if n_calls == n:
            raise KeyboardInterrupt
        if n_calls % 2 == 0:  # both tables have theirs
            taken.append(weights_of(network))

    monkeypatch.setattr(RowwiseAdamW, "snapshot", snapshot)
    with pytest.raises(KeyboardInterrupt):
        run(network, swa_start=0.0, swa_every=1)
    found = network.state_dict()
    for name in ("encoder.features.table", "ranker.identity", "retriever.weight"):
        if taken:
            expected = torch.stack([weights[name] for weights in taken]).mean(dim=0)
            torch.testing.assert_close(found[name], expected)
        assert found[name].isfinite().all() and (found[name] != 0).any()
    assert not network.ranker.touched and not network.encoder.features.touched
    assert all(p.grad is None for p in network.parameters())


def test_interrupted_evaluation():
    network = Toy()

    def evaluate(network):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(network, evaluate=evaluate)
    assert not network.training


@pytest.mark.parametrize("batch_size, advice", [(8, "batch_size=4"), (1, "max_length")])
def test_out_of_memory_in_training(batch_size, advice):
    network = Toy()
    interrupt_at(network, 2, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(MemoryError) as caught:
        run(network, batch_size=batch_size)
    assert f"batch_size={batch_size}:" in str(caught.value)
    assert advice in str(caught.value)
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_out_of_memory_in_the_optimizer(monkeypatch):
    def step(self, *args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    with pytest.raises(MemoryError, match="try batch_size=4"):
        run(Toy())


def test_out_of_memory_in_prediction():
    network = Toy()

    def ranked(batch, k):
        raise torch.OutOfMemoryError("CUDA out of memory")

    network.rank = ranked
    with pytest.raises(MemoryError, match="at batch_size=6: try batch_size=3"):
        ranked_by(network, make_data()[0], batch_size=6)


# --- prediction -------------------------------------------------------------


def ranked_by(network, docs, rows=None, k=3, batch_size=5, precision="fp32"):
    rows = np.arange(len(docs)) if rows is None else rows
    options = dict(batch_size=batch_size, device="cpu", precision=precision)
    return rank(network, docs, rows, k, **options)


@pytest.mark.parametrize(
    "rows",
    [np.arange(24), np.array([7]), np.array([20, 3, 11, 0]), np.array([5, 2, 5])],
)
def test_rows_are_ranked_in_order(rows):
    network, docs = Toy().double(), make_data()[0]
    ids, scores = ranked_by(network, docs, rows, batch_size=2)
    assert ids.shape == scores.shape == (len(rows), 3)
    assert ids.dtype == np.int64
    for i, row in enumerate(rows):
        with torch.no_grad():
            expected = network.eval().rank(docs.batch(np.array([row])), 3)
        assert ids[i].tolist() == expected[0][0].tolist()
        np.testing.assert_allclose(scores[i], expected[1][0], rtol=1e-12)


@pytest.mark.parametrize("training_before", [True, False])
def test_prediction_leaves_the_mode_and_the_gradients(training_before):
    network = Toy().train(training_before)
    ranked_by(network, make_data()[0])
    assert network.training == training_before
    assert all(p.grad is None for p in network.parameters())


def test_vectors_in_order():
    encoder, docs = Toy().encoder, make_data()[0]
    options = dict(batch_size=5, device="cpu", precision="fp32")
    vectors = encode(encoder, docs, **options)
    assert vectors.shape == (24, 4)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(24))
    for i in range(24):
        alone = encoder(docs.batch(np.array([i])))[1][0]
        torch.testing.assert_close(vectors[i], alone / alone.norm())
    # They start label vectors, so they must be able to learn.
    vectors = nn.Parameter(vectors)
    vectors.square().sum().backward()
    assert vectors.grad is not None


def test_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(Toy(), clip_norm=1.0, swa_start=0.5, accumulate=2, evaluate=lambda n: 0.0)
