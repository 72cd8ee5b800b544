"""Metrics of the best k labels, each a function of the truth and of predictions."""

import inspect

import numpy as np

from ._ranking import Ranking, check_ks, evaluate, report

_INPUTS = """
y_true : {array-like, sparse} of shape (n_docs, n_labels)
    Truth, 0 or 1; a table of pandas, polars or pyarrow too.
y_score : {array-like, sparse} of shape (n_docs, n_labels) or (n_docs, m)
    Float scores, or integer label ids, best first, padded with -1.
k : int or sequence of int, default=5
    Labels kept a document; may exceed n_labels.
""".strip()
_OUTPUT = """
Returns
-------
float or ndarray of shape (len(k),), float64
    In [0, 1]; an array if ``k`` is a sequence. 0, with a warning, if ``y_true``
    has no positives at all.

Raises
------
ValueError
    On shapes that do not fit, truth other than 0 and 1, NaN scores, label ids
    repeated or out of range, k < 1, or propensities outside (0, 1].
""".strip()


def _fill_doc(function):
    """Put what the nine metrics share into their docstrings."""
    doc = inspect.cleandoc(function.__doc__ or "")
    doc = doc.replace("%(inputs)s", _INPUTS).replace("%(output)s", _OUTPUT)
    function.__doc__ = doc
    return function


@_fill_doc
def precision_at_k(y_true, y_score, k=5):
    r"""Fraction of the k best labels that are true, averaged over documents.

    .. math:: P@k = \frac{1}{N} \sum_n \frac{1}{k} \sum_{i \le k} y_{n, r_i}

    The denominator is k even where fewer labels are true or predicted, so the best
    possible value is below 1 if documents have fewer than k positives.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    References
    ----------
    .. [1] Bhatia et al., The extreme classification repository, 2016.

    Examples
    --------
    >>> precision_at_k([[1, 0, 1]], [[0.9, 0.8, 0.1]], k=2)
    0.5
    """
    return evaluate("precision", y_true, y_score, k)


@_fill_doc
def recall_at_k(y_true, y_score, k=5):
    """Fraction of the true labels among the k best, averaged over documents.

    Documents without positives count as 0.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    Examples
    --------
    >>> recall_at_k([[1, 0, 1]], [[0.9, 0.8, 0.1]], k=(1, 3))
    array([0.5, 1. ])
    """
    return evaluate("recall", y_true, y_score, k)


@_fill_doc
def ndcg_at_k(y_true, y_score, k=5):
    r"""Discounted cumulative gain over the best possible, averaged over documents.

    .. math::
        nDCG@k = \frac{1}{N} \sum_n
        \frac{\sum_{i \le k} y_{n, r_i} / \log_2(i + 1)}
        {\sum_{i \le \min(k, |y_n|)} 1 / \log_2(i + 1)}

    Parameters
    ----------
    %(inputs)s

    %(output)s

    References
    ----------
    .. [1] Jarvelin and Kekalainen, Cumulated gain-based evaluation of IR
       techniques, ACM TOIS 2002.

    Examples
    --------
    >>> round(ndcg_at_k([[1, 1, 0]], [[0.0, 0.9, 0.8]], k=2), 4)
    0.6131
    """
    return evaluate("ndcg", y_true, y_score, k)


@_fill_doc
def psp_at_k(y_true, y_score, k=5, *, propensity, normalize=True):
    r"""Propensity-scored precision: hits on rare labels weigh more.

    .. math::
        PSP@k = \frac{\sum_n \sum_{i \le k} y_{n, r_i} / p_{r_i}}
        {\sum_n \sum_{i \le k} y_{n, b_i} / p_{b_i}}

    where b ranks the true labels of a document by 1/p: a ratio of means, which
    published tables report.

    Parameters
    ----------
    %(inputs)s
    propensity : array-like of shape (n_labels,)
        p in (0, 1], from the training labels: see `propensity`.
    normalize : bool, default=True
        If False, return the numerator over (n_docs * k), which may exceed 1.

    %(output)s

    References
    ----------
    .. [1] Jain, Prabhu and Varma, Extreme multi-label loss functions for
       recommendation, tagging, ranking & other missing label applications,
       KDD 2016.

    Examples
    --------
    >>> p = [1 / 3, 1 / 2, 1]
    >>> psp_at_k([[1, 1, 0]], [[0.0, 0.9, 0.8]], k=2, propensity=p)
    0.4
    """
    p = np.asarray(propensity, dtype=np.float64)  # None too must be refused
    return evaluate("psp", y_true, y_score, k, p, normalize=normalize)


@_fill_doc
def psndcg_at_k(y_true, y_score, k=5, *, propensity, normalize=True):
    r"""Propensity-scored nDCG, as pyxclib and napkinXC compute it.

    .. math::
        G(r) = \frac{1}{N} \sum_n
        \frac{\sum_{i \le k} y_{n, r_i} / (p_{r_i} \log_2(i + 1))}
        {\sum_{i \le \min(k, |y_n|)} 1 / \log_2(i + 1)}, \quad
        PSnDCG@k = G(r) / G(b)

    where b ranks the true labels of a document by 1/p. AttentionXML's code does not
    divide by row, and the repository's page divides by k terms: other numbers.

    Parameters
    ----------
    %(inputs)s
    propensity : array-like of shape (n_labels,)
        p in (0, 1], from the training labels: see `propensity`.
    normalize : bool, default=True
        If False, return G(r), which may exceed 1.

    %(output)s

    References
    ----------
    .. [1] Jain, Prabhu and Varma, KDD 2016: see `psp_at_k`.

    Examples
    --------
    >>> p = [1 / 3, 1 / 2, 1]
    >>> round(psndcg_at_k([[1, 1, 0]], [[0.0, 0.9, 0.8]], k=2, propensity=p), 4)
    0.4693
    """
    p = np.asarray(propensity, dtype=np.float64)  # None too must be refused
    return evaluate("psndcg", y_true, y_score, k, p, normalize=normalize)


@_fill_doc
def coverage_at_k(y_true, y_score, k=5):
    """Fraction of the labels in the truth that are hit in at least one document.

    Labels without a positive in ``y_true`` are left out.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    Examples
    --------
    >>> coverage_at_k([[1, 1, 0], [1, 0, 0]], [[0.9, 0.8, 0.1]] * 2, k=1)
    0.5
    """
    return evaluate("coverage", y_true, y_score, k)


@_fill_doc
def macro_precision_at_k(y_true, y_score, k=5):
    """Precision of each label when the k best are predicted, averaged over labels.

    The average is over labels with at least one positive in ``y_true``; a label
    never predicted counts as 0. napkinXC averages over other labels too.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    References
    ----------
    .. [1] Schultheis, Wydmuch et al., Generalized test utilities for long-tail
       performance in extreme multi-label classification, NeurIPS 2023.

    Examples
    --------
    >>> macro_precision_at_k([[1, 1, 0], [0, 1, 0]], [[0.9, 0.8, 0.1]] * 2, k=2)
    0.75
    """
    return evaluate("macro_precision", y_true, y_score, k)


@_fill_doc
def macro_recall_at_k(y_true, y_score, k=5):
    """Recall of each label when the k best are predicted, averaged over labels.

    The average is over labels with at least one positive in ``y_true``.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    References
    ----------
    .. [1] Schultheis, Wydmuch et al., NeurIPS 2023: see `macro_precision_at_k`.

    Examples
    --------
    >>> macro_recall_at_k([[1, 1, 0], [1, 0, 0]], [[0.9, 0.8, 0.1]] * 2, k=1)
    0.5
    """
    return evaluate("macro_recall", y_true, y_score, k)


@_fill_doc
def macro_f1_at_k(y_true, y_score, k=5):
    """F1 of each label when the k best are predicted, averaged over labels.

    2 tp / (2 tp + fp + fn) of each label, averaged over labels with at least one
    positive in ``y_true``: not the F1 of macro precision and macro recall.

    Parameters
    ----------
    %(inputs)s

    %(output)s

    References
    ----------
    .. [1] Schultheis, Wydmuch et al., NeurIPS 2023: see `macro_precision_at_k`.

    Examples
    --------
    >>> macro_f1_at_k([[1, 1, 0], [1, 0, 0]], [[0.9, 0.8, 0.1]] * 2, k=1)
    0.5
    """
    return evaluate("macro_f1", y_true, y_score, k)


def ranking_report(y_true, y_score, ks=(1, 3, 5), propensity=None):
    """All metrics for several k, in one pass over the data.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_docs, n_labels)
        Truth, 0 or 1.
    y_score : {array-like, sparse} of shape (n_docs, n_labels) or (n_docs, m)
        Float scores, or integer label ids, best first, padded with -1.
    ks : int or sequence of int, default=(1, 3, 5)
        Labels kept a document.
    propensity : array-like of shape (n_labels,), default=None
        p in (0, 1]: see `propensity`. None leaves PSP and PSnDCG out.

    Returns
    -------
    dict of str to float
        Keys P, R, nDCG, PSP, PSnDCG, coverage, macroP, macroR, macroF1, each
        followed by ``@k``.

    Raises
    ------
    ValueError
        On malformed input, as every metric here.

    Examples
    --------
    >>> report = ranking_report([[1, 0, 1]], [[0.9, 0.8, 0.1]], ks=(1, 2))
    >>> report["P@2"], report["R@1"]
    (0.5, 0.5)
    """
    ks = check_ks(ks)
    ranking = Ranking(y_true, y_score, max(ks), propensity)
    return report(ranking, ks, weighted=propensity is not None)
