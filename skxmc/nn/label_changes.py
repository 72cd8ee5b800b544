"""Labels that come after training: their first vectors, and how these are trained."""

import copy

import torch
from torch.nn.functional import normalize, pad

from .heads import at_full_precision
from .losses import at_least_float32, grank_loss_all
from .text import padded_columns

# Passes over the documents of new labels, and documents of a step.
_N_EPOCHS, _BATCH_SIZE = 2, 64
# Peak learning rate of SGD for documents of this squared length: that of X-GRank.
_RATE, _SQUARED_LENGTH = 0.3, 400.0
# Number of best labels of a document that new labels compete with.
_N_RIVALS = 128


def share_tensors(network):
    """Copy the modules of a network whose labels change, and share all tensors."""
    shared = [network.encoder, network.neighbors, getattr(network, "index", None)]
    shared += [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(one): one for one in shared if one is not None})


def typical_rows(head, vectors=None, *, n_new):
    """Return rows for new outputs of a head, as long as its rows are in mean.

    Parameters
    ----------
    head : Head
    vectors : tensor of shape (n_new, dim) or None, default=None
        Directions of the rows. If rows are wider, these are their last numbers, and
        the others are 0. None takes the mean of all rows.
    n_new : int

    Returns
    -------
    rows : tensor of shape (n_new, width)
    biases : tensor of shape (n_new,), or None if the head has none
    """
    known, biases = head.read_rows()
    known = at_least_float32(known)
    if biases is not None:
        biases = biases.mean().expand(n_new)
    if vectors is None:
        return known.mean(dim=0).expand(n_new, -1), biases
    vectors = vectors.to(known)
    dim = vectors.shape[1]
    rows = normalize(vectors, dim=1) * known[:, -dim:].norm(dim=1).mean()
    return pad(rows, (known.shape[1] - dim, 0)), biases


def best_clusters(head, vectors):
    """Return the cluster that a head scores best for each new label.

    Parameters
    ----------
    head : Head
        It scores clusters.
    vectors : tensor of shape (n_new, width of the head)
        Mean vectors of the texts and documents of new labels.

    Returns
    -------
    int64 tensor of shape (n_new,)
    """
    return head.top(vectors.to(head.weight), 1)[0][:, 0]


@torch.no_grad()
def train_rows(network, vectors, Y_old, Y_new, rows, biases, rng):
    """Train the vectors of new labels, while everything else stands still.

    The loss is that of X-GRank (`skxmc.nn.losses.grank_loss_all`), over the new labels
    and the best of the others: a document's labels shall be ranked above those that it
    does not have. Plain SGD makes two passes.

    Parameters
    ----------
    network : Network
        It does not have the new labels yet.
    vectors : tuple of tensors of shape (n_docs, some width), or None
        What the network's `encode` returns for the documents.
    Y_old : csr matrix of shape (n_docs, n_labels)
        Labels of the documents that the network knows.
    Y_new : csr matrix of shape (n_docs, n_new)
        New labels of the documents.
    rows, biases
        What ``network.start_rows(...)`` returns.
    rng : numpy Generator
        It draws the order of the documents.

    Returns
    -------
    tensor of shape (n_new, width of the head)
    """
    head, docs = network.label_head(vectors)
    docs = at_least_float32(docs)
    own = docs[:, : rows.shape[1]].to(rows.dtype)  # the rest scores words of labels
    rate = _RATE * _SQUARED_LENGTH / float(own.square().sum(dim=1).mean().clamp(1e-6))
    starts = range(0, len(docs), _BATCH_SIZE)
    n_steps, step = _N_EPOCHS * len(starts), 0
    for _ in range(_N_EPOCHS):
        order = rng.permutation(len(docs))
        for start in starts:
            batch = order[start : start + _BATCH_SIZE]
            places = torch.from_numpy(batch).to(docs.device)
            rivals, positives = _score_known(
                head, docs[places], padded_columns(Y_old, batch).to(docs.device)
            )
            new = padded_columns(Y_new, batch).to(docs.device)
            # Columns: the new labels, the rivals as one label, known labels as one.
            n_new = len(rows)
            known_column = torch.where(positives > -torch.inf, n_new + 1, n_new + 2)
            new = new.masked_fill(new == n_new, n_new + 2)
            new = torch.cat([new, known_column], dim=1).sort(dim=1).values
            known = torch.cat([rivals, positives], dim=1).clamp(min=-1e30).to(rows)
            with torch.enable_grad():
                rows = rows.detach().requires_grad_()
                scores = own[places] @ rows.T
                scores = scores if biases is None else scores + biases
                scores = torch.cat([scores, known], dim=1)
                # A document counts as in a whole batch, however few there are.
                share = (new[:, 0] < n_new + 2).sum() / _BATCH_SIZE
                (slope,) = torch.autograd.grad(
                    grank_loss_all(scores, new) * share, rows
                )
            rows = rows.detach() - rate * (1 - step / n_steps) * slope
            step += 1
    return rows


def _score_known(head, docs, positives):
    """Score the labels of documents and their best other labels, each as one label.

    Returns
    -------
    rivals, positives : tensors of shape (n_docs, 1)
        The logarithm of the sum of the exponentials of scores, and minus that of the
        negative scores: what the loss depends on. -inf if there are none.
    """
    n_labels = head.n_outputs
    k = min(_N_RIVALS + positives.shape[1], n_labels)
    ids, rivals = head.top(docs, k)
    is_own = (ids[:, :, None] == positives[:, None]).any(dim=2)
    rivals = rivals.masked_fill(is_own, -torch.inf)
    if getattr(head, "row_wise", False):
        scores = at_full_precision(head, docs, positives)
    else:
        scores = pad(at_full_precision(head, docs), (0, 1)).gather(1, positives)
    is_padding = positives == n_labels
    lowest = -(-scores).masked_fill(is_padding, -torch.inf).logsumexp(dim=1)
    lowest = lowest.masked_fill(is_padding.all(dim=1), -torch.inf)
    return rivals.logsumexp(dim=1, keepdim=True), lowest[:, None]
