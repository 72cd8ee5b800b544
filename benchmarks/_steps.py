"""A training step, for benchmarks that measure its time."""

import torch

from skxmc.nn.devices import autocast
from skxmc.nn.training import _Descent


def stepper(network, device, precision):
    """Return a function that makes one training step on a batch and its positives."""
    descent = _Descent(
        network,
        learning_rate=1e-5,
        head_learning_rate=1e-5,
        weight_decay=0.01,
        n_steps=1,
        warmup=0.0,
        schedule="constant",
        clip_norm=None,
        scaler=torch.amp.GradScaler(device, enabled=precision == "fp16"),
    )

    def step(batch, positives):
        with autocast(device, precision):
            loss = network.loss(batch, positives)
        descent.step(loss, last=True)

    return step
