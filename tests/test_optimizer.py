"""Optimizer steps: learning rates, decay, clipping, rows against dense AdamW."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn
from toy_network import RATE, Toy, assert_same, dense_features, make_data, run

from skxmc.nn import optimizer
from skxmc.nn.encoders import TransformerEncoder
from skxmc.nn.examples import Examples
from skxmc.nn.text import Features


def make_optimizer(network, **options):
    given = dict(learning_rate=1e-4, head_learning_rate=1e-3, weight_decay=0.02)
    given |= dict(n_steps=9, warmup=0.0, schedule="constant", clip_norm=None)
    given |= dict(rows_rest=False, scaler=torch.amp.GradScaler("cpu", enabled=False))
    return optimizer.Optimizer(network, **given | options)


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
@pytest.mark.parametrize("at_encoder_rate", [False, True])
def test_features_in_every_batch_learn_as_by_dense_adamw(options, at_encoder_rate):
    docs, Y = make_data()
    docs = Features(sp.csr_array(docs.X.toarray() + 0.5))
    options = options | dict(head_learning_rate=3 * RATE, weight_decay=0.2)
    networks = [Toy(at_encoder_rate=at_encoder_rate).double() for _ in range(2)]
    dense_features(networks[1])
    for network in networks:
        examples = Examples(docs, Y, np.arange(24))
        run(network, examples=examples, max_epochs=4, **options)
    by_row, dense = (network.state_dict() for network in networks)
    assert_same(by_row, dense, rtol=1e-6, atol=1e-9)
    start = Toy().encoder.features.table
    assert (by_row["encoder.features.table"] - start).norm() > 0.1
    assert not networks[0].encoder.features.touched


@pytest.mark.parametrize("clip_norm", [None, 1e-3, 1e3])
def test_clip_norm(plain_steps, clip_norm):
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
    factor = optimizer._rate_factor(warmup, n_steps, decays=True)
    got = [factor(step) for step in range(n_steps + 3)]
    n_warmup = round(warmup * n_steps)
    rising = [(step + 1) / (n_warmup + 1) for step in range(n_warmup)]
    n_left = n_steps - n_warmup
    falling = [left / n_left for left in range(n_left, 0, -1)]
    assert got == pytest.approx([*rising, *falling, 0, 0, 0])


def test_rates_of_encoder_and_head(taken_steps):
    rates = dict(learning_rate=1e-3, head_learning_rate=1e-2)
    run(Toy(at_encoder_rate=True), warmup=0.25, max_epochs=4, **rates)
    factors = [1 / 4, 2 / 4, 3 / 4, *(left / 9 for left in range(9, 0, -1))]
    assert len(taken_steps) == 12
    for (taken, _), factor in zip(taken_steps, factors, strict=True):
        expected = {1e-3 * factor, 1e-2 * factor}
        assert sorted({*taken}) == pytest.approx(sorted(expected))


@pytest.mark.parametrize("at_encoder_rate", [False, True])
def test_groups_of_parameters(at_encoder_rate):
    network = Toy(at_encoder_rate=at_encoder_rate)
    adamw = make_optimizer(network).adamw
    names = {id(p): name for name, p in network.named_parameters()}
    assert "encoder.features.table" in names.values()  # trained by row
    found = {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in adamw.param_groups
        for p in group["params"]
    }
    rate = 1e-4 if at_encoder_rate else 1e-3
    assert found == {
        "encoder.block.0.weight": (rate, 0.02),
        "encoder.block.0.bias": (rate, 0.0),
        "head.weight": (1e-3, 0.02),
        "head.bias": (1e-3, 0.0),
    }
    n_all = sum(len(group["params"]) for group in adamw.param_groups)
    assert n_all == len(found)


def test_norms_do_not_decay(tiny_model):
    network = nn.Module()
    network.encoder = TransformerEncoder(copy.deepcopy(tiny_model), n_layers=1)
    adamw = make_optimizer(network).adamw
    decaying = {
        id(p)
        for group in adamw.param_groups
        if group["weight_decay"]
        for p in group["params"]
    }
    for name, parameter in network.named_parameters():
        plain = "bias" in name or "LayerNorm" in name
        assert (id(parameter) in decaying) == (not plain), name
