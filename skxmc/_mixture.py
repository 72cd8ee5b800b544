"""The weight of LightDXML's classifier, chosen on held-out documents."""

import numpy as np

from ._hold_out import typical_depth
from .base import pad_with_minus_one
from .metrics import precision_at_k
from .nn.networks.lightdxml import mix_logarithms
from .nn.shortlist import best_labels


def select_beta(Y, held_out, label_ids, logits, cosines, temperature):
    """Select the beta with the best mean of P@1 and P@k on held-out documents.

    Candidates are 0, 0.1, ..., 1. Of equally good ones, the largest is selected.

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

    Returns
    -------
    float
    """
    k, n_labels, scores = typical_depth(Y), Y.shape[1], {}
    for beta in np.linspace(0, 1, 11).round(1).tolist():
        mixture = mix_logarithms(logits, cosines, beta, temperature)
        ids, _ = best_labels(mixture, k, n_labels, label_ids)
        ids = pad_with_minus_one(ids.numpy(), n_labels)
        depths = (1, k)
        scores[beta] = np.mean([precision_at_k(Y[held_out], ids, d) for d in depths])
    return max(scores, key=lambda beta: (scores[beta], beta))
