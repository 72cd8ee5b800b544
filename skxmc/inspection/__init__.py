"""Looking at rankings, label sets and single predictions: pictures and explanations."""

from ._explanation import (
    ClusterSizesDisplay,
    CooccurrenceDisplay,
    Explanation,
    FrequencyBinsDisplay,
    HistoryDisplay,
    RankingCurveDisplay,
    explain,
)

__all__ = [
    "ClusterSizesDisplay",
    "CooccurrenceDisplay",
    "Explanation",
    "FrequencyBinsDisplay",
    "HistoryDisplay",
    "RankingCurveDisplay",
    "explain",
]
