"""Looking at rankings, label sets and single predictions: pictures and explanations."""

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
