"""Calibration: how a network's scores become log-odds and probabilities.

The formula stands here alone. A label's log-odds are ``slope * score + offset`` of its
score, and its probability is the sigmoid of that (Platt's scaling). Where each document
has one label, the scores are logarithms of probabilities already.
"""

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from .nn.state import number, refuse

# Slope and offset of scores that are log-odds already.
UNCALIBRATED = (1.0, 0.0)


def fit_calibration(Y, ids, scores):
    """Fit the calibration on ranked labels of documents: logistic regression.

    Parameters
    ----------
    Y : csr matrix of shape (n_docs, n_labels)
        Labels of the documents.
    ids : int ndarray of shape (n_docs, k)
        Ranked labels, padded with -1.
    scores : ndarray of shape (n_docs, k)

    Returns
    -------
    slope, offset : float
        The slope is positive: a held-out part too small to tell must not reverse the
        ranking.
    """
    real = ids >= 0
    rows = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)
    hits = np.asarray(Y[rows[real], ids[real]]).ravel() > 0
    if hits.all() or not hits.any():  # as if one more label had been the other way
        odds = np.log1p(len(hits))
        return 1.0, float((odds if hits.all() else -odds) - scores[real].mean())
    model = LogisticRegression(C=1.0).fit(scores[real][:, None], hits)
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope <= 0:
        return 1.0, float(logit(hits.mean()) - scores[real].mean())
    return slope, offset


def calibrate(scores, calibration):
    """Log-odds of labels from their scores.

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
    """Probabilities of labels from their scores.

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
    return probabilities.clip(np.finfo(np.float32).tiny, 1 - 2.0**-24)


def check_calibration(calibration, name):
    """Refuse a calibration that `fit_calibration` would not have returned."""
    if not isinstance(calibration, tuple) or len(calibration) != 2:
        refuse(name, "a pair of numbers", calibration)
    slope, offset = calibration
    number(0)(slope, f"{name}[0]")
    number()(offset, f"{name}[1]")
    if not slope:
        raise ValueError(f"{name} has the slope 0.")
