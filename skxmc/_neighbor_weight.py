"""The weight of neighbours that vote, chosen on held-out documents."""

import torch

from ._hold_out import typical_depth
from .metrics import precision_at_k
from .nn.neighbors import DEPTH, add_votes
from .nn.prediction import pad_with_minus_one

__all__ = ["select_weight"]

# Weights that neighbor_weight="auto" chooses from.
_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
# Number of held-out documents whose votes are counted at once.
_DOCS_AT_ONCE = 1024


def select_weight(estimator, votes, docs, Y, held_out):
    """Select the weight with the best mean of P@1 and P@k on held-out documents.

    Of weights with equal means, the smallest is selected.

    Parameters
    ----------
    estimator : BaseXMCClassifier
    votes : NeighborVotes
    docs : Tokens, Features or TaughtDocuments
        All documents.
    Y : csr matrix of shape (n_docs, n_labels)
    held_out : int ndarray
        Rows of the held-out documents.

    Returns
    -------
    float
    """
    network, k = estimator.network_, typical_depth(Y)

    def rank_and_search(vectors):
        ranking = network.rank_encoded(vectors, DEPTH)
        places, _, weights = votes.search(network.compared_vectors(vectors))
        return *ranking, places, weights

    found = estimator._map_docs(
        rank_and_search, docs, held_out, verbose=estimator.verbose
    )
    best = {weight: [] for weight in _WEIGHTS}
    for ids, scores, places, weights in zip(
        *(part.split(_DOCS_AT_ONCE) for part in found), strict=True
    ):
        counted = votes.count(places, weights)
        for weight, parts in best.items():
            options = dict(n_labels=estimator.n_labels_, normalize=False)
            parts.append(add_votes(ids, scores, counted, weight, k, **options)[0])
    means, options = {}, {"sample_weight": estimator._weights_of(held_out)}
    for weight, parts in best.items():
        ids = pad_with_minus_one(torch.cat(parts).numpy(), estimator.n_labels_)
        truth = Y[held_out]
        means[weight] = sum(
            precision_at_k(truth, ids, depth, **options) for depth in (1, k)
        )
    return max(means, key=lambda weight: (means[weight], -weight))
