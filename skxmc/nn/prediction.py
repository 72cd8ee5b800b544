"""The prediction loop, and the rankings and vectors that it computes."""

import numpy as np
import torch
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from .devices import autocast, out_of_memory, to_device
from .group import current_group
from .maps import temporary_array
from .text import sorted_batches

# Number of rows of results that processes exchange at once.
_ROWS = 2**16


def rank(network, docs, rows, k, *, batch_size, device, precision, verbose=0):
    """Rank the labels of documents.

    Parameters
    ----------
    network : Network
        Network on `device`.
    docs : Tokens, Features or TaughtDocuments
    rows : int ndarray of shape (n_rows,)
        Rows of the documents whose labels are ranked.
    k : int
        Number of labels per document.
    batch_size : int
        Number of documents that are ranked at once.
    device : str
    precision : {"fp64", "fp32", "bf16", "fp16"}
    verbose : int, default=0
        A progress bar is shown if this is positive.

    Returns
    -------
    ids : int64 ndarray of shape (n_rows, k)
        Label columns, best first, padded with n_labels.
    scores : ndarray of shape (n_rows, k), float32 (float64 in fp64)
    """
    ids, scores = map_batches(
        network,
        lambda inputs: network.rank(inputs, k),
        docs,
        rows,
        batch_size=batch_size,
        device=device,
        precision=precision,
        verbose=verbose,
    )
    return ids.numpy(), scores.numpy()


def encode(encoder, docs, *, batch_size, device, precision, verbose=0, on_disk=False):
    """Encode documents as unit vectors.

    They are the second of the two vectors that an encoder returns, which is the mean of
    the last layer's states for a transformer, scaled to length 1.

    Parameters
    ----------
    encoder : TransformerEncoder, BagEncoder or TReaderEncoder
    docs : Tokens, Features or TaughtDocuments
    batch_size, device, precision, verbose
        As in `rank`.
    on_disk : bool, default=False
        As in `map_batches`.

    Returns
    -------
    float32 tensor of shape (n_docs, hidden_size), on the CPU
    """
    (vectors,) = map_batches(
        encoder,
        lambda inputs: (normalize(encoder(inputs)[1], dim=1),),
        docs,
        np.arange(len(docs)),
        batch_size=batch_size,
        device=device,
        precision=precision,
        verbose=verbose,
        on_disk=on_disk,
    )
    return vectors


def map_batches(
    module,
    function,
    docs,
    rows,
    *,
    batch_size,
    device,
    precision,
    verbose=0,
    title="encoding",
    on_disk=False,
):
    """Apply a function to batches of documents, with a module in evaluation mode.

    Within a fit of several processes, each applies it to a share of the documents, and
    all get the results of all.

    Parameters
    ----------
    module : Module
        Module on `device` that the function calls. Its mode is restored afterwards.
    function : callable
        Function of a batch of inputs on the device. It returns a tuple of tensors with
        one row per document.
    docs : Tokens, Features or TaughtDocuments
    rows : int ndarray of shape (n_rows,)
        Rows of the documents.
    batch_size, device, precision, verbose
        As in `rank`.
    title : str, default="encoding"
        Title of the progress bar.
    on_disk : bool, default=False
        Whether the results lie in temporary files, and not in memory.

    Returns
    -------
    list of tensors, on the CPU
        One for each tensor of the tuple, with rows in the order of `rows`.
    """
    options = dict(device=device, precision=precision, title=title, on_disk=on_disk)
    group = current_group()
    if group is None:
        options |= dict(batch_size=batch_size, verbose=verbose)
        return _map_own(module, function, docs, rows, **options)
    # All processes compute as many batches, since a function may exchange something.
    n_each = -(-len(rows) // group.size)
    own = np.arange(n_each) * group.size + group.rank
    own = rows[np.minimum(own, len(rows) - 1)]
    options["batch_size"] = -(-batch_size // group.size)
    options["verbose"] = verbose and group.is_first
    found = _map_own(module, function, docs, own, **options)
    with torch.inference_mode(False):
        return [_gather_rows(part, len(rows), group, on_disk) for part in found]


def _gather_rows(part, n_rows, group, on_disk):
    """Put the results of all processes together, in the order of the documents."""
    output = _make_output((n_rows, *part.shape[1:]), part.dtype, on_disk)
    for start in range(0, len(part), _ROWS):
        for rank, rows in enumerate(group.gather(part[start : start + _ROWS])):
            own = output[rank + start * group.size :: group.size]
            own[: len(rows)] = rows[: len(own)]
    return output


def _map_own(
    module,
    function,
    docs,
    rows,
    *,
    batch_size,
    device,
    precision,
    verbose,
    title,
    on_disk,
):
    """Apply a function to batches of documents in this process (see `map_batches`)."""
    batches = [np.arange(len(rows))]
    if len(rows) > 1:
        batches = sorted_batches(batches[0], docs.lengths[rows], batch_size)
    outputs, pending = [], None

    def store(places, parts):
        if not outputs:
            # Inference tensors could not become initial values of parameters.
            with torch.inference_mode(False):
                for part in parts:
                    shape = len(rows), *part.shape[1:]
                    outputs.append(_make_output(shape, part.dtype, on_disk))
        for output, part in zip(outputs, parts, strict=True):
            output[torch.from_numpy(places)] = part.cpu()

    # A bar takes time even if it is not shown, which a single text would notice.
    bar = tqdm(batches, desc=title, unit="batch") if verbose else batches
    was_training = module.training
    if was_training:  # eval() visits all modules, which takes milliseconds
        module.eval()
    try:
        with torch.inference_mode(), autocast(device, precision):
            for places in bar:
                parts = function(to_device(docs.batch(rows[places]), device))
                # The results of the batch before are fetched while the device computes.
                if pending:
                    store(*pending)
                pending = places, parts
            if len(rows) > 1:
                store(*pending)
    except torch.OutOfMemoryError as error:
        raise out_of_memory(batch_size) from error
    if was_training:
        module.train()
    if len(rows) > 1:
        return outputs
    return [part.cpu().clone() for part in parts]  # an ordinary tensor, as above


def _make_output(shape, dtype, on_disk):
    if not on_disk:
        return torch.empty(shape, dtype=dtype)
    kind = torch.empty(0, dtype=dtype).numpy().dtype
    what = "The vectors of the documents"
    advice = 'Set trained_layers="all" and label_init="random", which keep none.'
    return torch.from_numpy(temporary_array(shape, kind, what, advice))


def pad_with_minus_one(ids, n_labels):
    """Replace the padding of networks, n_labels, by the padding of outputs, -1."""
    return np.where(ids == n_labels, -1, ids)
