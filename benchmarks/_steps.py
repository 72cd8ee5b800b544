"""A training step, for benchmarks that measure its time."""

import torch

from skxmc.nn.devices import autocast
from skxmc.nn.network import Progress
from skxmc.nn.optimizer import Optimizer


def stepper(network, device, precision, *, label_learning_rate=None):
    """Return a function that makes one training step on a batch and its positives."""
    optimizer = Optimizer(
        network,
        learning_rate=1e-5,
        head_learning_rate=1e-5,
        label_learning_rate=label_learning_rate,
        weight_decay=0.01,
        n_steps=1,
        warmup=0.0,
        schedule="constant",
        clip_norm=None,
        rows_rest=False,
        scaler=torch.amp.GradScaler(device, enabled=precision == "fp16"),
    )

    progress = Progress(epoch=1, n_epochs=1, batch=1, n_batches=1)

    def step(batch, positives):
        with autocast(device, precision):
            loss = network(batch, {"positives": positives}, progress)
        optimizer.step(loss, last=True)

    return step


def bare_stepper(encoder, device, precision):
    """Return a function that makes one step of AdamW on the encoder alone."""
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-5, fused=True)

    def step(batch, _):
        with autocast(device, precision):
            states = encoder(**batch).last_hidden_state
        states[:, 0].float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
