"""Metrics of the k best labels, as functions of true labels and predictions."""

from functools import partial

import numpy as np

from .._parameters import fill_docstring
from ._ranking import Ranking, check_ks, evaluate, evaluate_all

_INPUTS = """
y_true : {array-like, sparse} of shape (n_docs, n_labels)
    True labels, 0 or 1. Tables of pandas, polars and pyarrow are accepted as well.
y_score : {array-like, sparse} of shape (n_docs, n_labels) or (n_docs, m)
    Float scores of all labels, or integer label ids, best first, padded with -1.
k : int or sequence of int, default=5
    Number of best labels of a document that count. It may exceed n_labels.
""".strip()
_WEIGHTS = """
sample_weight : array-like of shape (n_docs,) or None, default=None
    Weights of the documents, at least 0. One of weight 2 counts as if it were given
    twice. None weights all alike.
""".strip()
_OUTPUT = """
Returns
-------
float or ndarray of shape (len(k),), float64
    Value between 0 and 1, or an array of them if ``k`` is a sequence. If ``y_true``
    has no true label at all, it is 0, with a warning.

Raises
------
ValueError
    If the shapes do not match, ``y_true`` holds values other than 0 and 1, scores
    are NaN, label ids are repeated or out of range, k < 1, or propensities are
    outside (0, 1], or weights are negative, not finite or all 0.
""".strip()


_TABLE = {"inputs": _INPUTS, "weights": _WEIGHTS, "output": _OUTPUT}
_fill_docstring = partial(fill_docstring, table=_TABLE)


@_fill_docstring
def precision_at_k(y_true, y_score, k=5, *, sample_weight=None):
    r"""Fraction of the k best labels that are true, averaged over documents.

    .. math:: P@k = \frac{1}{N} \sum_n \frac{1}{k} \sum_{i \le k} y_{n, r_i}

    The denominator is k even where fewer labels are true or predicted. If documents
    have fewer than k true labels, the best possible value is therefore below 1.

    Parameters
    ----------
    %(inputs)s
    %(weights)s

    %(output)s

    References
    ----------
    .. [1] Bhatia et al., The extreme classification repository, 2016.

    Examples
    --------
    >>> from skxmc.metrics import precision_at_k
    >>> precision_at_k([[1, 0, 1]], [[0.9, 0.8, 0.1]], k=2)
    0.5
    """
    return evaluate("precision", y_true, y_score, k, sample_weight=sample_weight)


@_fill_docstring
def recall_at_k(y_true, y_score, k=5, *, sample_weight=None):
    """Fraction of the true labels among the k best, averaged over documents.

    A document without true labels counts as 0.

    Parameters
    ----------
    %(inputs)s
    %(weights)s

    %(output)s

    Examples
    --------
    >>> from skxmc.metrics import recall_at_k
    >>> recall_at_k([[1, 0, 1]], [[0.9, 0.8, 0.1]], k=(1, 3))
    array([0.5, 1. ])
    """
    return evaluate("recall", y_true, y_score, k, sample_weight=sample_weight)


@_fill_docstring
def ndcg_at_k(y_true, y_score, k=5, *, sample_weight=None):
    r"""Normalized discounted cumulative gain, averaged over documents.

    A hit counts less in each further place, and a document's sum is divided by that of
    a perfect ranking, so that the best possible value is always 1.

    .. math::
        nDCG@k = \frac{1}{N} \sum_n
        \frac{\sum_{i \le k} y_{n, r_i} / \log_2(i + 1)}
        {\sum_{i \le \min(k, |y_n|)} 1 / \log_2(i + 1)}

    Parameters
    ----------
    %(inputs)s
    %(weights)s

    %(output)s

    References
    ----------
    .. [1] Jarvelin and Kekalainen, Cumulated gain-based evaluation of IR
       techniques, ACM TOIS 2002.

    Examples
    --------
    >>> from skxmc.metrics import ndcg_at_k
    >>> round(ndcg_at_k([[1, 1, 0]], [[0.0, 0.9, 0.8]], k=2), 4)
    0.6131
    """
    return evaluate("ndcg", y_true, y_score, k, sample_weight=sample_weight)


@_fill_docstring
def psp_at_k(y_true, y_score, k=5, *, propensity, normalize=True, sample_weight=None):
    r"""Propensity-scored precision: hits on rare labels weigh more.

    .. math::
        PSP@k = \frac{\sum_n \sum_{i \le k} y_{n, r_i} / p_{r_i}}
        {\sum_n \sum_{i \le k} y_{n, b_i} / p_{b_i}}

    where b ranks the true labels of a document by 1/p. This is the ratio of means that
    published tables report, not a mean of ratios.

    Parameters
    ----------
    %(inputs)s
    propensity : array-like of shape (n_labels,)
        Propensities in (0, 1], computed from the training labels by `propensity`.
    normalize : bool, default=True
        If False, return the numerator divided by (n_docs * k), which may exceed 1.
    %(weights)s

    %(output)s

    References
    ----------
    .. [1] Jain, Prabhu and Varma, Extreme multi-label loss functions for
       recommendation, tagging, ranking & other missing label applications,
       KDD 2016.

    Examples
    --------
    >>> from skxmc.metrics import psp_at_k
    >>> p = [1 / 3, 1 / 2, 1]
    >>> psp_at_k([[1, 1, 0]], [[0.0, 0.9, 0.8]], k=2, propensity=p)
    0.4
    """
    p = np.asarray(propensity, dtype=np.float64)  # so that None is refused as well
    options = dict(normalize=normalize, sample_weight=sample_weight)
    return evaluate("psp", y_true, y_score, k, p, **options)


@_fill_docstring
def psndcg_at_k(
    y_true, y_score, k=5, *, propensity, normalize=True, sample_weight=None
):
    r"""Propensity-scored nDCG: hits on rare labels and in first places weigh more.

    .. math::
        G(r) = \frac{1}{N} \sum_n
        \frac{\sum_{i \le k} y_{n, r_i} / (p_{r_i} \log_2(i + 1))}
        {\sum_{i \le \min(k, |y_n|)} 1 / \log_2(i + 1)}, \quad
        PSnDCG@k = G(r) / G(b)

    where b ranks the true labels of a document by 1/p. pyxclib and napkinXC compute
    the same. Other definitions give other numbers: AttentionXML's code does not divide
    by the sum of each document, and the page of the extreme classification repository
    always divides by k terms.

    Parameters
    ----------
    %(inputs)s
    propensity : array-like of shape (n_labels,)
        Propensities in (0, 1], computed from the training labels by `propensity`.
    normalize : bool, default=True
        If False, return G(r), which may exceed 1.
    %(weights)s

    %(output)s

    References
    ----------
    .. [1] Jain, Prabhu and Varma, KDD 2016: see `psp_at_k`.

    Examples
    --------
    >>> from skxmc.metrics import psndcg_at_k
    >>> p = [1 / 3, 1 / 2, 1]
    >>> round(psndcg_at_k([[1, 1, 0]], [[0.0, 0.9, 0.8]], k=2, propensity=p), 4)
    0.4693
    """
    p = np.asarray(propensity, dtype=np.float64)  # so that None is refused as well
    options = dict(normalize=normalize, sample_weight=sample_weight)
    return evaluate("psndcg", y_true, y_score, k, p, **options)


@_fill_docstring
def coverage_at_k(y_true, y_score, k=5, *, sample_weight=None):
    """Fraction of labels that are found in at least one document.

    Only labels that at least one document of ``y_true`` has are counted.

    Parameters
    ----------
    %(inputs)s
    %(weights)s

    %(output)s

    Examples
    --------
    >>> from skxmc.metrics import coverage_at_k
    >>> coverage_at_k([[1, 1, 0], [1, 0, 0]], [[0.9, 0.8, 0.1]] * 2, k=1)
    0.5
    """
    return evaluate("coverage", y_true, y_score, k, sample_weight=sample_weight)


@_fill_docstring
def macro_precision_at_k(y_true, y_score, k=5, *, sample_weight=None):
    """Precision of each label when the k best are predicted, averaged over labels.

    The average is over labels that at least one document of ``y_true`` has. A label
    that is never predicted counts as 0. napkinXC averages over all other labels too.

    Parameters
    ----------
    %(inputs)s
    %(weights)s

    %(output)s

    References
    ----------
    .. [1] Schultheis, Wydmuch et al., Generalized test utilities for long-tail
       performance in extreme multi-label classification, NeurIPS 2023.

    Examples
    --------
    >>> from skxmc.metrics import macro_precision_at_k
    >>> macro_precision_at_k([[1, 1, 0], [0, 1, 0]], [[0.9, 0.8, 0.1]] * 2, k=2)
    0.75
    """
    return evaluate("macro_precision", y_true, y_score, k, sample_weight=sample_weight)


@_fill_docstring
def macro_recall_at_k(y_true, y_score, k=5, *, sample_weight=None):
    """Recall of each label when the k best are predicted, averaged over labels.

    The average is over labels that at least one document of ``y_true`` has.

    Parameters
    ----------
    %(inputs)s
    %(weights)s

    %(output)s

    References
    ----------
    .. [1] Schultheis, Wydmuch et al., NeurIPS 2023: see `macro_precision_at_k`.

    Examples
    --------
    >>> from skxmc.metrics import macro_recall_at_k
    >>> macro_recall_at_k([[1, 1, 0], [1, 0, 0]], [[0.9, 0.8, 0.1]] * 2, k=1)
    0.5
    """
    return evaluate("macro_recall", y_true, y_score, k, sample_weight=sample_weight)


@_fill_docstring
def macro_f1_at_k(y_true, y_score, k=5, *, sample_weight=None):
    """F1 of each label when the k best are predicted, averaged over labels.

    The F1 of a label is 2 tp / (2 tp + fp + fn). The average is over labels that at
    least one document of ``y_true`` has. It is not the F1 of macro precision and macro
    recall.

    Parameters
    ----------
    %(inputs)s
    %(weights)s

    %(output)s

    References
    ----------
    .. [1] Schultheis, Wydmuch et al., NeurIPS 2023: see `macro_precision_at_k`.

    Examples
    --------
    >>> from skxmc.metrics import macro_f1_at_k
    >>> macro_f1_at_k([[1, 1, 0], [1, 0, 0]], [[0.9, 0.8, 0.1]] * 2, k=1)
    0.5
    """
    return evaluate("macro_f1", y_true, y_score, k, sample_weight=sample_weight)


def ranking_report(
    y_true, y_score, ks=(1, 3, 5), propensity=None, *, sample_weight=None
):
    """Compute all metrics at several k, ranking the labels only once.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_docs, n_labels)
        True labels, 0 or 1. Tables of pandas, polars and pyarrow are accepted as well.
    y_score : {array-like, sparse} of shape (n_docs, n_labels) or (n_docs, m)
        Float scores of all labels, or integer label ids, best first, padded with -1.
    ks : int or sequence of int, default=(1, 3, 5)
        Numbers of best labels of a document that count.
    propensity : array-like of shape (n_labels,) or None, default=None
        Propensities in (0, 1], computed from the training labels by `propensity`. None
        leaves PSP and PSnDCG out.
    sample_weight : array-like of shape (n_docs,) or None, default=None
        Weights of the documents, at least 0. One of weight 2 counts as if it were given
        twice. None weights all alike.

    Returns
    -------
    dict of str to float
        Value of each metric at each k. The keys are P, R, nDCG, PSP, PSnDCG, coverage,
        macroP, macroR and macroF1, each followed by ``@k``, as in "P@1".

    Raises
    ------
    ValueError
        If the input is malformed, as for every metric.

    Examples
    --------
    >>> from skxmc.metrics import ranking_report
    >>> report = ranking_report([[1, 0, 1]], [[0.9, 0.8, 0.1]], ks=(1, 2))
    >>> report["P@2"], report["R@1"]
    (0.5, 0.5)
    """
    ks = check_ks(ks)
    weights = {"sample_weight": sample_weight}
    ranking = Ranking(y_true, y_score, max(ks), propensity, **weights)
    return evaluate_all(ranking, ks, has_propensity=propensity is not None)
