"""Pictures of rankings, trainings and label sets; explanations of single predictions.

The displays follow those of scikit-learn: a class method such as ``from_estimator``
computes and draws, the display keeps the numbers, and ``plot`` draws them again.
Pictures need matplotlib.
"""

from ._cluster_sizes import ClusterSizesDisplay
from ._cooccurrence import CooccurrenceDisplay
from ._explanation import Explanation, explain
from ._frequency_bins import FrequencyBinsDisplay
from ._history import HistoryDisplay
from ._ranking_curve import RankingCurveDisplay

__all__ = [
    "ClusterSizesDisplay",
    "CooccurrenceDisplay",
    "Explanation",
    "FrequencyBinsDisplay",
    "HistoryDisplay",
    "RankingCurveDisplay",
    "explain",
]
