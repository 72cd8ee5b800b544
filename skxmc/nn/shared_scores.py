"""Scores of candidates whose vectors several processes have.

Each process has the vectors of some labels (see `skxmc.nn.group.Shard`). It scores
these among the candidates of all documents, and processes exchange the scores and their
gradient: one number for each document and candidate.
"""

import torch
from torch.nn.functional import embedding_bag

from .losses import at_least_float32
from .rowwise import candidate_scores


def shared_scores(docs, vectors, exchange, touched):
    """Compute dot products of documents with candidates of all processes.

    Parameters
    ----------
    docs : tensor of shape (n_docs, dim)
        Vectors of the documents of this process.
    vectors : tensor of shape (n_rows + 1, dim)
        Vectors of the labels of this process, and the padding.
    exchange : Exchange
        These documents and those of other processes, with their candidates.
    touched : list
        As in `skxmc.nn.rowwise.candidate_scores`. What is appended to it concerns the
        documents of all processes, and the labels of this one.

    Returns
    -------
    tensor of shape (n_docs, exchange.width)
        Scores of the candidates of the documents of this process, and 0 at padding.
    """
    return _SharedScores.apply(docs, vectors, exchange, touched)


class _SharedScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx, docs, vectors, exchange, touched):
        ctx.vectors, ctx.exchange, ctx.touched = vectors, exchange, touched
        scores = candidate_scores(exchange.docs, vectors, exchange.labels, None)
        # Each label is a row of one process.
        scores = scores.masked_fill(exchange.labels == len(vectors) - 1, 0)
        return exchange.group.add(scores)[exchange.own]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        exchange, vectors, labels = ctx.exchange, ctx.vectors, ctx.exchange.labels
        weights = exchange.gather(upstream, exchange.width)
        weights = weights.masked_fill(labels == len(vectors) - 1, 0)
        # Processes take the mean of their gradients.
        ctx.touched.append((labels, exchange.docs, weights / exchange.group.size))
        pulled = embedding_bag(
            labels, vectors, per_sample_weights=weights.to(vectors.dtype), mode="sum"
        )
        pulled = exchange.group.add(at_least_float32(pulled))
        return pulled[exchange.own], None, None, None
