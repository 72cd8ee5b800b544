"""What scorers and displays ask of an estimator, which may be wrapped.

A Pipeline or a search of scikit-learn passes ``predict`` and ``predict_proba`` on to
the classifier inside it, but neither ``predict_topk`` nor the counts of labels that
propensities are computed from. The functions here find these inside.
"""

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.pipeline import Pipeline

from ._validation import class_ids, label_array


def unwrap(estimator):
    """Yield an estimator, then what it wraps, from the outside in.

    A Pipeline wraps its last step, and a fitted search its ``best_estimator_``.
    """
    while True:
        yield estimator
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            return


def find_classifier(estimator):
    """Return the outermost estimator with ``predict_topk``, or else the innermost."""
    for layer in unwrap(estimator):
        if hasattr(layer, "predict_topk"):
            break
    return layer


def find_training_counts(estimator):
    """Return the counts of labels and of documents of a fitted classifier, or None.

    If documents had weights, the counts are sums of these.
    """
    for layer in unwrap(estimator):
        if hasattr(layer, "label_counts_") and hasattr(layer, "n_docs_"):
            return layer.label_counts_, getattr(layer, "total_weight_", layer.n_docs_)
    return None


def reach_classifier(estimator, X):
    """Return the classifier, and X as the steps before it return X."""
    for layer in unwrap(estimator):
        if hasattr(layer, "predict_topk"):
            break
        if isinstance(layer, Pipeline) and len(layer) > 1:
            X = layer[:-1].transform(X)
    return layer, X


def predict_topk(estimator, X, k):
    """Call ``predict_topk`` of the classifier, on X as the steps before it return X."""
    classifier, X = reach_classifier(estimator, X)
    return classifier.predict_topk(X, k=k)


def predict_ranking(estimator, X, n_labels, max_k):
    """Rank labels by the cheapest method that the estimator has.

    Parameters
    ----------
    estimator : fitted estimator
        With ``predict_topk``, ``decision_function`` or ``predict_proba``. The first of
        these that it has is called.
    X : documents as the estimator takes them
    n_labels : int
    max_k : int
        How many labels are wanted for each document.

    Returns
    -------
    int ndarray of shape (n_docs, min(max_k, n_labels)), or float scores
        Label ids of ``predict_topk``, best first and padded with -1, or the scores of
        another method, dense or sparse, of shape (n_docs, n_labels).

    Raises
    ------
    ValueError
        If the estimator has none of these methods, or returns a list of arrays.
    """
    # predict_topk comes first: a wrapper's predict_proba never has more than the
    # classifier's top_k labels a document, however many are wanted.
    if hasattr(find_classifier(estimator), "predict_topk"):
        return predict_topk(estimator, X, min(max_k, n_labels))[0]
    for name in ("decision_function", "predict_proba"):
        if hasattr(estimator, name):
            scores = getattr(estimator, name)(X)
            break
    else:
        raise ValueError(
            f"{type(estimator).__name__} has none of predict_topk, decision_function, "
            "predict_proba. Use an estimator that ranks labels."
        )
    if issparse(scores):
        return scores
    if isinstance(scores, list):
        raise ValueError(
            f"{type(estimator).__name__}.{name} returned a list of {len(scores)} "
            "arrays, one for each label. Wrap the estimator in OneVsRestClassifier."
        )
    scores = np.asarray(scores)
    if scores.dtype.kind in "biu":
        scores = scores.astype(np.float64)  # metrics take integers for label ids
    if scores.ndim == 1:  # scikit-learn's short form for two classes or one label
        both = [-scores, scores] if n_labels == 2 else [scores]
        scores = np.column_stack(both)
    return scores


def label_matrix(estimator, y):
    """Return y with a column for each label, as the estimator's predictions have.

    A 1-D y of classes becomes a CSR array whose columns follow ``classes_`` of the
    estimator. A class that is not among them leaves its row empty, so that every
    prediction for that document is a miss. Any other y is returned as it is.
    """
    y = label_array(y)
    if y.ndim != 1:
        return y
    if not hasattr(estimator, "classes_"):
        raise ValueError(
            f"y is 1-D, but {type(estimator).__name__} has no classes_ to map it to "
            "columns. Pass y of shape (n_docs, n_labels)."
        )
    ids, seen = class_ids(y, estimator.classes_)
    rows = np.flatnonzero(seen)
    shape = (y.size, len(estimator.classes_))
    return csr_array((np.ones(rows.size), (rows, ids[seen])), shape=shape)
