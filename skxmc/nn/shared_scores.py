"""Scores of candidates whose vectors several processes have.

Each process has the vectors of some labels (see `skxmc.nn.group.Shard`). It scores
these among the candidates of all documents, and processes exchange the scores and their
gradient: one number for each document and candidate.
"""

import torch
from torch.nn.functional import embedding_bag

from .losses import at_least_float32
from .rowwise import candidate_scores


def shared_scores(docs, vectors, exchange, n_candidates, touched):
    """Compute dot products of documents with candidates of all processes.

    Parameters
    ----------
    docs : tensor of shape (n_docs, dim)
        Vectors of the documents of this process.
    vectors : tensor of shape (n_rows + 1, dim)
        Vectors of the labels of this process, and the padding.
    exchange : Exchange
        The documents of all processes with their candidates. Those of this process are
        `docs`, or none if it has no document that counts.
    n_candidates : int
        Number of candidates of each document of this process.
    touched : list
        As in `skxmc.nn.rowwise.candidate_scores`. What is appended to it concerns the
        documents of all processes and the labels of this one.

    Returns
    -------
    tensor of shape (n_docs, n_candidates)
        Scores, which are 0 if the documents do not count. Those of padded entries are
        0 too.
    """
    return _SharedScores.apply(docs, vectors, exchange, n_candidates, touched)


class _SharedScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx, docs, vectors, exchange, n_candidates, touched):
        ctx.vectors, ctx.exchange, ctx.touched = vectors, exchange, touched
        found = candidate_scores(exchange.docs, vectors, exchange.labels, None)
        # Each label is a row of one process.
        found = found.masked_fill(exchange.labels == len(vectors) - 1, 0)
        found = exchange.group.add(found)[exchange.own, :n_candidates]
        scores = found.new_zeros(len(docs), n_candidates)
        scores[: len(found)] = found
        return scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        exchange, vectors = ctx.exchange, ctx.vectors
        n_own = exchange.sizes[exchange.group.rank]
        labels = exchange.labels
        weights = exchange.gather(upstream[:n_own], exchange.width)
        weights = weights.masked_fill(labels == len(vectors) - 1, 0)
        # Processes take the mean of their gradients.
        ctx.touched.append((labels, exchange.docs, weights / exchange.group.size))
        pulled = embedding_bag(
            labels, vectors, per_sample_weights=weights.to(vectors.dtype), mode="sum"
        )
        pulled = exchange.group.add(at_least_float32(pulled))[exchange.own]
        gradient = pulled.new_zeros(len(upstream), pulled.shape[1])
        gradient[:n_own] = pulled
        return gradient, None, None, None, None
