"""Members of an ensemble: how they are fitted, what they must have, what they say."""

import time

import numpy as np
from sklearn.utils.validation import has_fit_parameter

from ._calibration import UNCALIBRATED, probabilities_from_scores


def fit_member(name, member, X, y, weights, verbose):
    """Fit a member, and return it: it may have been fitted in another process."""
    start = time.perf_counter()
    member.fit(X, y, **weights)
    if verbose:
        print(f"{name}: fitted in {time.perf_counter() - start:.1f} s", flush=True)
    return member


def is_named_pair(value):
    """Tell whether a value is a pair of a name and something else."""
    is_pair = isinstance(value, (tuple, list)) and len(value) == 2
    return is_pair and isinstance(value[0], str)


def is_dropped(member):
    """Tell whether a member is left out."""
    return isinstance(member, str) and member == "drop"


def check_member(name, member):
    """Raise TypeError if a member cannot be fitted, or ranks no labels."""
    if is_dropped(member):
        return
    is_instance = not isinstance(member, type)
    if is_instance and hasattr(member, "fit") and hasattr(member, "predict_topk"):
        return
    what = type(member).__name__ if is_instance else f"the class {member.__name__}"
    raise TypeError(
        f"The estimator {name!r} is {what}; a member must be an instance with "
        "fit(X, y) and predict_topk(X, k), which returns ids and probabilities. A "
        "Pipeline has no predict_topk: make the ensemble the last step of a Pipeline "
        "instead."
    )


def check_takes_weights(name, member):
    """Raise TypeError if the ``fit`` of a member takes no weights of documents."""
    if not has_fit_parameter(member, "sample_weight"):
        raise TypeError(
            f"The estimator {name!r} is {type(member).__name__}, whose fit takes no "
            'sample_weight: replace it by "drop", or leave sample_weight out.'
        )


def check_has_log_odds(name, member):
    """Raise ValueError if a member's network computes no probabilities."""
    if is_dropped(member):
        return
    if hasattr(member, "_has_log_odds") and member._has_log_odds():
        return
    raise ValueError(
        f'scale="raw" averages the probabilities of networks, and the estimator '
        f"{name!r} has none: it is of class {type(member).__name__}. Members must be "
        'classifiers of this package, GRankClassifier with loss="bce". Otherwise, use '
        'scale="probability".'
    )


def predict_uncalibrated(member, X, k):
    """Predict as ``member.predict_topk(X, k)`` does, but without the calibration."""
    ids, scores = member._rank(X, k)
    is_single = member._y_kind == "single"
    scores = probabilities_from_scores(scores, UNCALIBRATED, single_label=is_single)
    return ids, np.where(ids < 0, 0, scores)


def check_ranking(name, ids, scores, depth, n_labels):
    """Raise ValueError if a member's ids or scores are not as `predict_topk` says."""
    if np.shape(ids) != np.shape(scores) or np.shape(ids)[1:] != (depth,):
        raise ValueError(
            f"The estimator {name!r} returned ids of shape {np.shape(ids)} and scores "
            f"of shape {np.shape(scores)} from predict_topk(X, k={depth}); both must "
            f"be (n_docs, {depth}), padded with -1 and 0."
        )
    if not ((ids >= -1) & (ids < n_labels)).all():
        raise ValueError(
            f"The estimator {name!r} returned an id outside of [-1, {n_labels}) from "
            "predict_topk; ids are columns of the y that it was fitted on."
        )
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError(
            f"The estimator {name!r} returned scores outside of [0, 1] from "
            "predict_topk; members must return probabilities."
        )


def mean_voters(members, weights, X, label, n_docs):
    """Find the neighbours that vote for a label of one document, in all members.

    Parameters
    ----------
    members : iterable of estimator or "drop"
    weights : ndarray of shape (n_members,)
        Weights of the members, not all 0.
    X : list of one str, or matrix of shape (1, n_features)
    label : int
        Column of the label.
    n_docs : int
        Number of documents of the ensemble. A member that counts another number has
        come to documents by itself. Its rows are others, and it is left out.

    Returns
    -------
    list of (int or None, float)
        Rows of the neighbours, or None for the text of the label, and the weighted
        means of their shares of the vote, which are 0 in members where they do not
        vote. The largest come first.
    """
    shares = {}
    for member, weight in zip(members, weights / weights.sum(), strict=True):
        find_voters = getattr(member, "_find_voters", None)
        if not weight or find_voters is None or member.n_docs_ != n_docs:
            continue
        for row, share in find_voters(X, label):
            shares[row] = shares.get(row, 0.0) + float(weight) * share
    return sorted(shares.items(), key=lambda voter: -voter[1])
