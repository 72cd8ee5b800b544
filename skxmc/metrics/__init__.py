"""Ranking metrics of extreme classification, and scorers for scikit-learn.

Every metric takes the true labels ``y_true``, a matrix, array or table of shape
(n_docs, n_labels) that holds 0 and 1, and predictions ``y_score``, which are one of

- a scipy sparse matrix or array of scores, of shape (n_docs, n_labels). Its stored
  values, negative ones included, are predictions; zeros and absent values are not.
- a dense array of float scores, of the same shape. Every label is ranked, also labels
  with a score of zero.
- a dense array of integers, of shape (n_docs, m): label ids, best first, padded with
  -1. Integers are always taken for ids: cast integer scores to float.

A score of -inf is never a prediction. Labels with equal scores are ranked by label id,
the lower one first. Where a document has fewer than k predictions, the remaining places
are misses. A document without true labels counts as 0 in averages over documents, and
adds nothing to PSP. Inputs are never modified. Malformed input raises ValueError.
"""

from ._annif import annif_report
from ._functions import (
    coverage_at_k,
    macro_f1_at_k,
    macro_precision_at_k,
    macro_recall_at_k,
    ndcg_at_k,
    precision_at_k,
    psndcg_at_k,
    psp_at_k,
    ranking_report,
    recall_at_k,
)
from ._propensity import propensity, propensity_from_counts
from ._scorers import (
    ndcg_at_3_scorer,
    ndcg_at_5_scorer,
    precision_at_1_scorer,
    precision_at_3_scorer,
    precision_at_5_scorer,
    psp_at_1_scorer,
    psp_at_3_scorer,
    psp_at_5_scorer,
    ranking_report_scorer,
    ranking_scorer,
    recall_at_5_scorer,
)

__all__ = [
    "annif_report",
    "coverage_at_k",
    "macro_f1_at_k",
    "macro_precision_at_k",
    "macro_recall_at_k",
    "ndcg_at_3_scorer",
    "ndcg_at_5_scorer",
    "ndcg_at_k",
    "precision_at_1_scorer",
    "precision_at_3_scorer",
    "precision_at_5_scorer",
    "precision_at_k",
    "propensity",
    "propensity_from_counts",
    "psndcg_at_k",
    "psp_at_1_scorer",
    "psp_at_3_scorer",
    "psp_at_5_scorer",
    "psp_at_k",
    "ranking_report",
    "ranking_report_scorer",
    "ranking_scorer",
    "recall_at_5_scorer",
    "recall_at_k",
]
