"""Ranking metrics of extreme classification, and scorers for scikit-learn.

Every metric takes ``y_true``, sparse, dense or a table, of shape (n_docs, n_labels)
with values 0 and 1, and ``y_score``, which is one of

- a scipy sparse matrix or array of scores, shape (n_docs, n_labels): stored
  entries, negative ones too, are predictions; absent ones and zeros are not;
- a dense array of float scores, same shape: every label is ranked, zeros too;
- a dense array of integer dtype, shape (n_docs, m): label ids, best first, padded
  with -1. Integer dtype always means ids: cast integer scores to float.

A score of -inf is never a prediction. Equal scores are ranked by label id,
ascending. A document with fewer than k predictions has misses in the remaining
places. A document without positives counts as 0 in the averages; it adds nothing
to PSP. Inputs are never modified. Malformed input raises ValueError.
"""

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
