"""The weight of LightDXML's classifier, chosen on held-out documents."""

import numpy as np

from ._hold_out import typical_depth
from .nn.networks.lightdxml import mix_logarithms
from .nn.shortlist import best_labels

__all__ = ["DEFAULT_BETA", "select_beta"]

# beta="auto" means this value while training, and unless another is clearly better.
DEFAULT_BETA = 0.75
_BETAS = (0.0, 0.25, 0.5, DEFAULT_BETA, 1.0)


def select_beta(Y, held_out, label_ids, logits, cosines, temperature, weights=None):
    """Select the beta that ranks the labels of held-out documents best.

    The quality of a ranking is the mean of P@1 and P@k. Of 0, 0.25, 0.5, 0.75 and 1,
    the beta of the best quality is selected if its mean gain over 0.75 is larger than
    two standard errors of this mean. Otherwise, it is 0.75: a few documents would
    choose any value by chance.

    Parameters
    ----------
    Y : csr matrix of shape (n_docs, n_labels)
        Labels of all documents. Their mean number, at most 5, is k.
    held_out : int ndarray of shape (n_held_out,)
        Rows of the held-out documents.
    label_ids : int64 tensor of shape (n_held_out, n_classified)
        Labels that were classified for each of these documents.
    logits, cosines : tensors of the same shape
        What `skxmc.nn.networks.lightdxml.LightDXMLNetwork.classify` returns.
    temperature : float
        Number by which the cosines are divided before the sigmoid.
    weights : ndarray of shape (n_held_out,) or None, default=None
        Weights of these documents. None weighs all alike.

    Returns
    -------
    float
    """
    k, truth = typical_depth(Y), Y[held_out]
    quality = {}
    for beta in _BETAS:
        mixture = mix_logarithms(logits, cosines, beta, temperature)
        ids, _ = best_labels(mixture, k, Y.shape[1], label_ids)
        hits = _find_hits(truth, ids.numpy())
        quality[beta] = (hits[:, 0] + hits.sum(axis=1) / k) / 2

    def mean(values):
        return np.average(values, weights=weights)

    best = max(_BETAS, key=lambda beta: (mean(quality[beta]), beta))
    gains = quality[best] - quality[DEFAULT_BETA]
    n_docs = len(gains) if weights is None else weights.sum()
    deviation = np.sqrt(mean((gains - mean(gains)) ** 2))
    is_clear = mean(gains) > 2 * deviation / np.sqrt(n_docs)
    return best if is_clear else DEFAULT_BETA


def _find_hits(truth, ids):
    """Return which ranked labels, padded with the number of labels, are right."""
    hits, is_label = np.zeros(ids.shape, bool), ids < truth.shape[1]
    rows = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)
    hits[is_label] = np.asarray(truth[rows[is_label], ids[is_label]]).ravel() > 0
    return hits
