"""The metrics of Annif's command eval, under its names."""

from numbers import Integral

import numpy as np

from ._ranking import Ranking


def annif_report(y_true, y_score, *, limit=10):
    r"""Compute the metrics that ``annif eval`` prints, under its names.

    The `limit` best labels of each document are its predictions, as with
    ``annif eval --limit``. Of a set of predictions with :math:`t` true positives,
    :math:`f` false positives and :math:`m` false negatives, precision is
    :math:`t / (t + f)`, recall is :math:`t / (t + m)`, and the F1 score is
    :math:`2t / (2t + f + m)`; each is 0 where its denominator is. They are computed

    - for each document, and averaged ("doc avg");
    - for each label, and averaged over all labels ("subj avg"), or weighted by the
      number of documents that have the label ("weighted subj avg");
    - for all pairs of a document and a label together ("microavg").

    ``Precision@k`` and ``F1@k`` are averages over documents for the k best labels. If a
    document has fewer predictions, its precision is divided by their number, and not
    by k. ``NDCG`` divides by the DCG of all true labels of a document, ``NDCG@k`` by
    that of at most k; it is 1 for a document without true labels.

    Parameters
    ----------
    y_true : {array-like, sparse} of shape (n_docs, n_labels)
        True labels, 0 or 1.
    y_score : {array-like, sparse} of shape (n_docs, n_labels) or (n_docs, m)
        Float scores of labels, or integer label ids, best first, padded with -1.
    limit : int, default=10
        Number of predictions of a document.

    Returns
    -------
    dict of str to float or int
        Values by the names that Annif prints, such as "Precision (doc avg)".

    Raises
    ------
    ValueError
        If the input is malformed, as for every metric, or `limit` is less than 1.

    References
    ----------
    .. [1] Suominen, Annif: DIY automated subject indexing using multiple algorithms,
       LIBER Quarterly 29(1), 2019.

    Examples
    --------
    >>> from skxmc.metrics import annif_report
    >>> report = annif_report([[1, 0, 1], [0, 1, 0]], [[0, 2], [1, -1]])
    >>> report["Precision (doc avg)"], report["False negatives"]
    (1.0, 0)
    """
    if not isinstance(limit, Integral) or isinstance(limit, bool) or limit < 1:
        raise ValueError(f"limit must be an integer >= 1, got {limit!r}.")
    ranking = Ranking(y_true, y_score, int(limit))
    hits, n_true = ranking.hits, ranking.n_true
    n_pred = (ranking.ids >= 0).sum(axis=1)
    n_hits = hits.sum(axis=1)
    n_labels = len(ranking.label_counts)
    label_hits = np.bincount(ranking.ids[hits], minlength=n_labels)
    label_pred = np.bincount(ranking.ids[ranking.ids >= 0], minlength=n_labels)
    totals = n_hits.sum(), n_pred.sum(), n_true.sum()
    report = {}
    for name, parts, weights in (
        ("doc avg", (n_hits, n_pred, n_true), None),
        ("subj avg", (label_hits, label_pred, ranking.label_counts), None),
        (
            "weighted subj avg",
            (label_hits, label_pred, ranking.label_counts),
            ranking.label_counts,
        ),
        ("microavg", tuple(np.array([total]) for total in totals), None),
    ):
        found, predicted, true = parts
        report[f"Precision ({name})"] = _mean(_divide(found, predicted), weights)
        report[f"Recall ({name})"] = _mean(_divide(found, true), weights)
        f1 = _divide(2 * found, predicted + true)
        report[f"F1 score ({name})"] = _mean(f1, weights)
    first = {k: (hits[:, :k].sum(axis=1), np.minimum(n_pred, k)) for k in (1, 3, 5)}
    report["F1@5"] = _mean(_divide(2 * first[5][0], first[5][1] + n_true))
    for name, k in (("NDCG", None), ("NDCG@5", 5), ("NDCG@10", 10)):
        report[name] = _mean(_ndcg(ranking, k))
    for k, (found, predicted) in first.items():
        report[f"Precision@{k}"] = _mean(_divide(found, predicted))
    report["True positives"] = int(totals[0])
    report["False positives"] = int(totals[1] - totals[0])
    report["False negatives"] = int(totals[2] - totals[0])
    report["Documents evaluated"] = len(hits)
    return report


def _divide(numerator, denominator):
    """Divide, with 0 where the denominator is 0: the numerator is then 0 too."""
    return numerator / np.maximum(denominator, 1)


def _mean(values, weights=None):
    if weights is None:
        return float(values.mean())
    total = weights.sum()
    return float(values @ weights / total) if total else 0.0


def _ndcg(ranking, k):
    """Return the NDCG of each document, 1 for those without true labels."""
    n_true = ranking.n_true
    discount = 1 / np.log2(np.arange(2, max(n_true.max(), ranking.hits.shape[1]) + 2))
    ideal = np.append(0, np.cumsum(discount))[
        n_true if k is None else n_true.clip(max=k)
    ]
    hits = ranking.hits[:, :k]
    dcg = hits @ discount[: hits.shape[1]]
    return np.where(n_true > 0, dcg / np.maximum(ideal, 1), 1.0)
