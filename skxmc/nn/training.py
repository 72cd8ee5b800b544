"""The training loop, which all networks share.

It trains a `skxmc.nn.network.Network` on the batches of a
`skxmc.nn.examples.Examples`. All methods that it calls are documented there.
"""

import torch
from tqdm.auto import tqdm

from .checkpoint import Run
from .devices import autocast, name_batch_size, to_device
from .group import mean_of_processes
from .network import Progress
from .optimizer import Optimizer
from .replica import Replica
from .state import number, refuse
from .text import shuffled_batches
from .weights import AverageWeights, BestWeights

# Batches between two updates of the shown loss, each of which waits for the device.
_STEPS_BETWEEN_LOSSES = 20


def train(
    network,
    examples,
    *,
    rng,
    history,
    evaluate=None,
    max_epochs,
    batch_size,
    learning_rate,
    head_learning_rate,
    document_learning_rate=None,
    label_learning_rate=None,
    weight_decay,
    warmup,
    schedule="linear",
    accumulate=1,
    clip_norm=None,
    rows_rest=False,
    swa_start=None,
    swa_every=10,
    patience=None,
    tol=0.0,
    device="cpu",
    precision="fp32",
    checkpoint=None,
    epochs=None,
    verbose=0,
    title="training",
):
    """Train a network in place.

    The network ends in evaluation mode. It has the weights of the best epoch if
    `evaluate` is given, otherwise the average of the weights if `swa_start` is, and
    otherwise the last weights.

    Within a fit of several processes, all of them call this with the same arguments,
    and all of them end with the whole network (see `skxmc.nn.replica`).

    Parameters
    ----------
    network : Network
        Network, which is on `device` already.
    examples : Examples
        Training data.
    rng : numpy Generator
        Generator that draws the order of the documents.
    history : list
        A dict is appended to it for each epoch: epoch, loss (in nats, mean over the
        batches), the parts of the loss if the network returns parts (see
        `skxmc.nn.network.Network.forward`), such as link_loss for the part "link", and,
        with `evaluate`, score. Epochs of earlier trainings that it holds count.
    evaluate : callable or None, default=None
        ``evaluate(network) -> float`` on the held-out documents; higher is better. The
        weights of the best epoch are kept, also when training is interrupted.
    max_epochs, batch_size : int
    learning_rate, head_learning_rate : float
        Peak learning rates of the encoder and of everything else.
    document_learning_rate : float or None, default=None
        Peak learning rate of ``network.document_modules()``. None is that of everything
        else.
    label_learning_rate : float or None, default=None
        Peak learning rate of the tables that plain SGD trains (see `by_sgd` of
        `skxmc.nn.rowwise.TrainedByRow`). It must be given if there are any.
    weight_decay : float
        AdamW's; biases and norms do not decay.
    warmup : float
        Share of the steps over which the learning rates rise linearly to their peaks.
    schedule : {"linear", "constant"}, default="linear"
        Learning-rate schedule after the warm-up: "linear" decays to 0, "constant" keeps
        the peak rates.
    accumulate : int, default=1
        Number of batches whose mean gradient makes a step. The last step of an epoch
        may have fewer.
    clip_norm : float or None, default=None
        Largest norm of the gradient of all parameters together. None does not clip.
    rows_rest : bool, default=False
        Whether rows that a step does not touch stay unchanged (see `rests` of
        `skxmc.nn.rowwise_adamw.RowwiseAdamW`).
    swa_start : float or None, default=None
        Share of the steps after which the averaging of weights begins. None does not
        average.
    swa_every : int, default=10
        Steps between two snapshots of the weights that enter the average.
    patience : int or None, default=None
        Number of epochs without a gain after which training stops. None never stops
        early.
    tol : float, default=0.0
        A gain is a score that is higher than the best one by more than this.
    device : str, default="cpu"
    precision : {"fp64", "fp32", "bf16", "fp16"}, default="fp32"
    checkpoint : Checkpoint or None, default=None
        Training resumes from its state if it holds one, and is saved to it.
    epochs : object or None, default=None
        Object whose ``begin()`` is called before each epoch, and ``end()`` after it.
        ``end()`` returns whether training should stop.
    verbose : int, default=0
        A progress bar is shown if this is positive.
    title : str, default="training"
        Title of the progress bar.
    """
    n_batches = -(-len(examples.rows) // batch_size)
    examples.keep_on(device)
    replica = Replica(network, examples, device)
    optimizer = Optimizer(
        network,
        learning_rate=learning_rate,
        head_learning_rate=head_learning_rate,
        document_learning_rate=document_learning_rate,
        label_learning_rate=label_learning_rate,
        weight_decay=weight_decay,
        n_steps=max_epochs * -(-n_batches // accumulate),
        warmup=warmup,
        schedule=schedule,
        clip_norm=clip_norm,
        rows_rest=rows_rest,
        scaler=torch.amp.GradScaler(device, enabled=precision == "fp16"),
    )
    average = AverageWeights(network, optimizer, swa_start, swa_every)
    best = BestWeights(tol)
    parts = dict(examples=examples, optimizer=optimizer, average=average, best=best)
    run = Run(network, rng, history, parts, checkpoint)
    bar = tqdm(
        total=max_epochs * n_batches,
        initial=(run.epoch - 1) * n_batches + run.n_done,
        desc=title,
        unit="batch",
        disable=not verbose or not replica.shows_progress,
    )
    network.train()
    try:
        for epoch in range(run.epoch, max_epochs + 1):
            if epochs is not None:
                replica.call_back(epochs.begin)
            if run.batches is None:  # otherwise an interrupted epoch resumes
                examples.begin_epoch(epoch)
                run.totals = {}
                run.batches = shuffled_batches(
                    examples.rows, examples.lengths, batch_size, rng
                )
            for i in range(run.n_done + 1, n_batches + 1):
                progress = Progress(epoch, max_epochs, i, n_batches)
                _set_mode(network, network.uses_dropout(progress))
                rows = replica.choose_rows(run.batches[i - 1], progress, examples)
                inputs, targets = to_device(examples.batch(rows), device)
                # The batch is one of a step's `n_added` batches, which follow `first`.
                first = (i - 1) // accumulate * accumulate
                n_added = min(accumulate, n_batches - first)
                last = i == first + n_added
                with name_batch_size(batch_size), replica.batch(last=last):
                    with autocast(device, precision):
                        losses = replica.losses(inputs, targets, progress)
                    loss = losses["loss"] / n_added
                    stepped = optimizer.step(loss, last=last)
                run.add(losses)
                bar.update()
                if verbose and i % _STEPS_BETWEEN_LOSSES == 0:
                    mean = run.totals["loss"].item() / i
                    bar.set_postfix(epoch=epoch, loss=f"{mean:.3f}")
                if stepped:
                    average.update(last=i == n_batches)
                    run.end_step(i)
            # Scores use all rows of the tables, not only those of the last steps.
            optimizer.catch_up()
            totals = mean_of_processes(run.totals)
            means = {name: total / n_batches for name, total in totals.items()}
            history.append({"epoch": len(history) + 1, **means})
            if evaluate is not None:
                with average.in_place():
                    score = history[-1]["score"] = evaluate(network)
                    best.update(network, score)
                bar.set_postfix(epoch=epoch, held_out=f"{score:.4f}")
            stops = best.n_waited == patience
            if epochs is not None:
                stops = replica.call_back(epochs.end) or stops
            run.end_epoch(stop_at=max_epochs + 1 if stops else None)
            if stops:
                break
    finally:
        bar.close()
        optimizer.end()
        if best.weights is not None:
            best.apply(network)
        else:
            average.apply()
        network.eval()
    replica.end()


def _set_mode(network, training):
    """Set the mode of a network if it differs: visiting all modules takes a while."""
    if network.training != training:
        network.train(training)


def check_history(history, name):
    """Check that a history is one that `train` could have written.

    Raises
    ------
    ValueError
        If it is not. `name` is what the message calls it.
    """
    if not isinstance(history, list):
        refuse(name, "a list", history)
    for i, epoch in enumerate(history):
        if not isinstance(epoch, dict) or not {"epoch", "loss"} <= set(epoch):
            refuse(f"{name}[{i}]", "a dict of an epoch and its loss", epoch)
        others = set(epoch) - {"epoch", "loss", "score"}
        if not all(isinstance(key, str) and key.endswith("_loss") for key in others):
            raise ValueError(
                f"{name}[{i}] holds more than epoch, loss, its parts and score."
            )
        number(1, whole=True)(epoch["epoch"], f"{name}[{i}]['epoch']")
        for key in set(epoch) - {"epoch"}:
            number(finite=False)(epoch[key], f"{name}[{i}][{key!r}]")
