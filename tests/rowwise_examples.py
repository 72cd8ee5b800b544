"""Tables, steps and gradients for the tests of training by row."""

import torch

from skxmc.nn.rowwise import candidate_scores, weighted_bag
from skxmc.nn.rowwise_optimizer import RowwiseOptimizer

N_ROWS, DIM = 13, 4
PAD = N_ROWS - 1
# How a step is divided into blocks: blocks that are smaller and larger than what it
# touches, the one block of a GPU, and entries that are added up one by one, as where a
# document has few.
BLOCKS = [3, 1000, None, "few"]


def set_blocks(blocks, monkeypatch):
    """Let all optimizers divide their steps in one of the ways of `BLOCKS`."""
    if blocks == "few":
        monkeypatch.setattr(RowwiseOptimizer, "max_places_per_entry", 0)
        return
    if blocks:
        monkeypatch.setattr(RowwiseOptimizer, "rows_at_once", blocks)
        return
    make = RowwiseOptimizer.__init__

    def make_for_gpu(self, *args, **options):
        make(self, *args, **options)
        self.in_one_block = True

    monkeypatch.setattr(RowwiseOptimizer, "__init__", make_for_gpu)


def make_vectors(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(N_ROWS, DIM, generator=generator, dtype=torch.float64)
    vectors[PAD] = 0
    return torch.nn.Parameter(vectors.to(dtype), requires_grad=False)


def random_step(seed, n_docs=3, n_candidates=5):
    """Candidates, each once a document, documents, and weights: 0 at padding."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(n_docs, N_ROWS - 1, generator=generator).argsort(dim=1)
    ids = order[:, :n_candidates]
    padding = torch.rand(ids.shape, generator=generator) < 0.2
    ids = ids.masked_fill(padding, PAD)
    docs = torch.randn(n_docs, DIM, generator=generator, dtype=torch.float64)
    weights = torch.randn(ids.shape, generator=generator, dtype=torch.float64)
    return ids, docs, weights.masked_fill(padding, 0)


def backward(vectors, touched, step):
    ids, docs, weights = step
    docs = docs.to(vectors.dtype, copy=True).requires_grad_()
    scores = candidate_scores(docs, vectors, ids, touched)
    (scores * weights.to(scores.dtype)).sum().backward()
    return scores.detach(), docs.grad


def bag_backward(vectors, touched, step):
    """The same gradient: what were documents comes from above."""
    ids, upstream, weights = step
    sums = weighted_bag(ids, weights, vectors, touched)
    sums.backward(upstream.to(sums.dtype))
    return sums.detach()


def dense_gradient(steps):
    total = torch.zeros(N_ROWS, DIM, dtype=torch.float64)
    for ids, docs, weights in steps:
        for i, row in enumerate(ids.tolist()):
            for j, label in enumerate(row):
                total[label] += weights[i, j] * docs[i]
    return total
