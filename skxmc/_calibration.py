"""Calibration: how a network's scores become log-odds and probabilities.

This is the only place of the formula. The log-odds of a label are
``slope * score + offset``, and its probability is their sigmoid (Platt scaling). If
each document has exactly one label, scores are logarithms of probabilities already.
"""

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from .nn.state import number, refuse

# Slope and offset of scores that are log-odds already.
UNCALIBRATED = (1.0, 0.0)
# Least and largest probability, in float32 too.
_LEAST, _MOST = np.finfo(np.float32).tiny, 1 - 2.0**-24


def fit_calibration(Y, ids, scores, weights=None):
    """Fit the calibration by a logistic regression of labels on scores.

    Parameters
    ----------
    Y : csr matrix of shape (n_docs, n_labels)
        Labels of the documents.
    ids : int ndarray of shape (n_docs, k)
        Ranked labels, padded with -1.
    scores : ndarray of shape (n_docs, k)
        Scores of these labels.
    weights : ndarray of shape (n_docs,) or None, default=None
        Weights of the documents. None weighs all alike.

    Returns
    -------
    slope, offset : float
        The slope is always positive, so that the calibration keeps the ranking.
    """
    is_label = ids >= 0
    rows = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)
    hits = np.asarray(Y[rows[is_label], ids[is_label]]).ravel() > 0
    scores = scores[is_label]
    weights = None if weights is None else weights[rows[is_label]]
    if hits.all() or not hits.any():
        # A regression would not converge. Take the mean log-odds that there would be
        # if one more label, of the other kind, had been ranked.
        log_odds = np.log1p(len(hits) if weights is None else weights.sum())
        log_odds = log_odds if hits.all() else -log_odds
        return 1.0, float(log_odds - np.average(scores, weights=weights))
    model = LogisticRegression(C=1.0).fit(scores[:, None], hits, weights)
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:  # there are too few documents to fit a slope
        share = np.average(hits, weights=weights)
        return 1.0, float(logit(share) - np.average(scores, weights=weights))
    return slope, offset


def calibrate(scores, calibration):
    """Compute the log-odds of labels from their scores.

    Parameters
    ----------
    scores : ndarray or tensor
    calibration : (float, float)
        Slope and offset.

    Returns
    -------
    ndarray or tensor of the same shape
    """
    slope, offset = calibration
    return slope * scores + offset


def probabilities_from_scores(scores, calibration, *, single_label):
    """Compute the probabilities of labels from their scores.

    Parameters
    ----------
    scores : ndarray
    calibration : (float, float)
        Slope and offset.
    single_label : bool
        Whether scores are logarithms of probabilities.

    Returns
    -------
    float64 ndarray of the same shape
        Strictly between 0 and 1.
    """
    scores = scores.astype(np.float64)
    if single_label:
        return clip_probabilities(np.exp(scores))
    return clip_probabilities(expit(calibrate(scores, calibration)))


def clip_probabilities(probabilities):
    """Keep probabilities strictly between 0 and 1, in float32 too."""
    return np.minimum(np.maximum(probabilities, _LEAST), _MOST)


def check_calibration(calibration, name):
    """Refuse a calibration that `fit_calibration` would not have returned."""
    if not isinstance(calibration, tuple) or len(calibration) != 2:
        refuse(name, "a pair of numbers", calibration)
    slope, offset = calibration
    number(0)(slope, f"{name}[0]")
    number()(offset, f"{name}[1]")
    if not slope:
        raise ValueError(f"{name} has the slope 0, and it must be positive.")
