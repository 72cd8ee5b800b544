"""The weights that training ends with: the best ones, and averages."""

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
    run,
    weights_of,
)

from skxmc.nn.bags import BagEncoder
from skxmc.nn.heads import LabelScores
from skxmc.nn.networks.grank import GRankNetwork
from skxmc.nn.optimizer import _make_adamw
from skxmc.nn.rowwise_adamw import RowwiseAdamW
from skxmc.nn.shortlist import LabelClusters
from skxmc.nn.weights import BestWeights


def test_best_epoch_is_kept():
    network, evaluate = Toy(), Scores(0.1, 0.9, 0.5, 0.9)
    history = run(network, max_epochs=4, evaluate=evaluate)
    assert [entry["score"] for entry in history] == [0.1, 0.9, 0.5, 0.9]
    assert_same(network.state_dict(), evaluate.seen[3], **EXACT)  # the later of equals
    gap = evaluate.seen[3]["head.weight"] - evaluate.seen[1]["head.weight"]
    assert gap.norm() > 1e-3
    assert not network.training


def test_frozen_weights_are_not_copied():
    network = Toy()
    network.head.weight.requires_grad_(False)
    network.same_head = network.head  # its weights have two names
    network.register_buffer("counts", torch.ones(2))
    before = weights_of(network)
    frozen = {"head.weight", "same_head.weight"}
    best = BestWeights(0.0)
    best.update(network, 1.0)
    # The table of features requires no gradient, but is trained row by row.
    assert best.weights.keys() == before.keys() - frozen
    assert {"encoder.features.table", "head.bias", "counts"} <= best.weights.keys()

    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data.add_(1.0)
    best.apply(network)
    kept = {name: before[name] + (name in frozen) for name in before}
    assert_same(network.state_dict(), kept, **EXACT)


def test_last_epoch_is_kept_without_evaluation(taken_steps):
    network = Toy()
    run(network)
    last = sum(tensor.double().sum() for tensor in taken_steps[-1][1])
    now = sum(tensor.double().sum() for tensor in network.parameters())
    assert last == now


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
def test_average_of_weights(taken_steps, options, averaged):
    network = Toy()
    options = dict(swa_start=0.5) | options
    run(network, n_docs=50, batch_size=2, max_epochs=2, **options)
    snapshots = [taken_steps[i - 1][1] for i in averaged]
    groups = _make_adamw(network, lambda parameter: 1e-2, 0.01).param_groups
    parameters = [p for group in groups for p in group["params"]]
    parameters.append(network.encoder.features.table)
    assert len(parameters) == len(snapshots[0]) == len(list(network.parameters()))
    for i, parameter in enumerate(parameters):
        expected = torch.stack([tensors[i] for tensors in snapshots]).mean(dim=0)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-5, atol=1e-6)


def test_average_is_what_is_evaluated_and_kept(taken_steps):
    network, evaluate = Toy(), Scores(0.1, 0.3, 0.2)
    # Ten steps an epoch, averaged from the 20th on.
    run(network, n_docs=20, batch_size=2, evaluate=evaluate, swa_start=0.5)
    assert_same(network.state_dict(), evaluate.seen[1], **EXACT)
    features = [taken_steps[i - 1][1][-1] for i in (10, 20, 30)]
    expected = [*features[:2], (features[1] + features[2]) / 2]
    for seen, wanted in zip(evaluate.seen, expected, strict=True):
        torch.testing.assert_close(seen["encoder.features.table"], wanted)


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
