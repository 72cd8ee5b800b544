"""Extreme multi-label text classification with scikit-learn's manners."""

from .cluster import BalancedKMeans
from .grank import GRankClassifier

__all__ = ["BalancedKMeans", "GRankClassifier"]
__version__ = "0.1.0"
