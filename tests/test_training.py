"""The training loop, driven by a toy network."""

import copy
import warnings

import numpy as np
import pytest
import torch
from toy_network import (
    EXACT,
    N_FEATURES,
    N_LABELS,
    Scores,
    Toy,
    assert_same,
    dense_features,
    interrupt_at,
    make_data,
    make_examples,
    run,
    weights_of,
)

from skxmc.nn.bags import BagEncoder
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.examples import Examples
from skxmc.nn.heads import LabelScores
from skxmc.nn.network import Progress
from skxmc.nn.networks.grank import GRankNetwork
from skxmc.nn.prediction import rank
from skxmc.nn.text import Features, shuffled_batches, tokenize
from skxmc.nn.training import check_history, train


def test_training_learns():
    network = Toy()
    history = run(network, max_epochs=40, head_learning_rate=5e-2)
    assert [entry["epoch"] for entry in history] == list(range(1, 41))
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert not network.training


def test_every_epoch_is_announced():
    begun = []

    class Watched(Examples):
        def begin_epoch(self, epoch):
            begun.append((epoch, len(network.seen)))

    network = Toy()
    docs, Y = make_data(20)
    run(network, examples=Watched(docs, Y, np.arange(20)), batch_size=8, max_epochs=2)
    assert begun == [(1, 0), (2, 3)]  # before the batches of the epoch
    batches = [(epoch, batch) for epoch in (1, 2) for batch in (1, 2, 3)]
    assert network.seen == [Progress(epoch, 2, i, 3) for epoch, i in batches]
    assert sorted(network.sizes) == [4, 4, 8, 8, 8, 8]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_network_says_which_batches_use_dropout(accumulate):
    modes = []

    class Quiet(Toy):
        def uses_dropout(self, progress):
            return progress.batch != 2

        def forward(self, inputs, targets, progress):
            modes.append((progress.batch, self.training))
            return super().forward(inputs, targets, progress)

    def evaluate(network):
        options = dict(batch_size=9, device="cpu", precision="fp32")
        rank(network, make_data()[0], np.arange(24), 2, **options)
        return 0.0

    run(Quiet(), max_epochs=2, accumulate=accumulate, evaluate=evaluate)
    assert modes == 2 * [(1, True), (2, False), (3, True)]


def test_only_the_given_rows(plain_steps):
    # Doubling the documents that are left out changes nothing.
    docs, Y = make_data(24)
    rows = np.array([3, 5, 7, 20])
    networks = Toy(), Toy()
    run(networks[0], examples=make_examples(rows=rows))
    Y.data[np.isin(np.repeat(np.arange(24), np.diff(Y.indptr)), rows, invert=True)] = 2
    few = Features(docs.X[rows])
    run(networks[1], examples=Examples(few, Y[rows], np.arange(4)))
    assert_same(networks[0].state_dict(), networks[1].state_dict())


def test_accumulation_is_a_larger_batch(plain_steps):
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
def test_last_batches_of_an_epoch_are_stepped_too(taken_steps, accumulate, n_steps):
    run(Toy(), n_docs=35, batch_size=8, max_epochs=2, accumulate=accumulate)
    assert len(taken_steps) == 2 * n_steps


def test_a_shorter_last_step_is_a_mean_too(plain_steps):
    # 24 documents: three batches of 8, of which two make a step and one another.
    network, other = Toy(), Toy()
    run(network, batch_size=8, accumulate=2, max_epochs=1, warmup=0.0)
    # The factor of linear decay is 1 in the first step of two, and 1/2 in the second.
    sizes, gradients = network.losses, []
    dense_features(other)
    examples = make_examples()
    rng = np.random.default_rng(0)
    order = shuffled_batches(np.arange(24), examples.lengths, 8, rng)
    parameters = list(other.parameters())
    for rate, batches in ((1.0, order[:2]), (0.5, order[2:])):
        gradients = [
            torch.autograd.grad(
                other(*examples.batch(batch), Progress(1, 1, 1, 3)), parameters
            )
            for batch in batches
        ]
        for parameter, *each in zip(parameters, *gradients, strict=True):
            parameter.data -= rate * torch.stack(each).mean(dim=0)
    assert len(sizes) == 3
    assert_same(network.state_dict(), other.state_dict())


def test_loss_is_the_mean_over_batches():
    network = Toy()
    history = run(network, n_docs=20)
    means = np.reshape(network.losses, (3, 3)).mean(axis=1)
    assert [entry["loss"] for entry in history] == pytest.approx(means.tolist())
    assert set(history[0]) == {"epoch", "loss"}


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
    options |= dict(max_epochs=2, batch_size=20, history=[])
    options |= dict(learning_rate=1e-3, head_learning_rate=1e-2, weight_decay=0.0)
    rng = np.random.default_rng(0)
    train(network, Examples(docs, Y, np.arange(60)), rng=rng, warmup=0.1, **options)
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
        first[0]["doc_vectors.project.weight"], other[0]["doc_vectors.project.weight"]
    )


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


def test_interrupted_in_the_first_epoch(taken_steps):
    network = Toy()
    interrupt_at(network, 3, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run(network, evaluate=Scores(), swa_start=0.5)
    assert len(taken_steps) == 2
    assert not network.training
    now = sum(tensor.double().sum() for tensor in network.parameters())
    assert now == sum(tensor.double().sum() for tensor in taken_steps[-1][1])


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


def test_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(Toy(), clip_norm=1.0, swa_start=0.5, accumulate=2, evaluate=lambda n: 0.0)


def test_history_tells_the_parts_of_the_loss():
    class Split(Toy):
        def forward(self, *args):
            loss = super().forward(*args)
            parts = {"plain": 0.25 * loss, "rare": 0.75 * loss}
            return parts if args[2].batch < 3 else {"plain": loss}

    one, two = Split(), Toy()
    history = run(one, max_epochs=2)
    plain = run(two, max_epochs=2)
    assert_same(weights_of(one), weights_of(two), rtol=1e-5, atol=1e-6)
    for i, (entry, expected) in enumerate(zip(history, plain, strict=True)):
        assert entry.keys() == {"epoch", "loss", "plain_loss", "rare_loss"}
        assert entry["loss"] == pytest.approx(expected["loss"])
        losses = one.losses[3 * i : 3 * i + 3]
        # A batch without a part counts as 0 there.
        assert entry["rare_loss"] == pytest.approx(0.25 * sum(losses[:2]))
        assert entry["plain_loss"] + entry["rare_loss"] == pytest.approx(entry["loss"])
    check_history(history, "history_")
