"""Extreme multi-label text classification with scikit-learn's manners."""

from . import cluster, datasets, metrics
from .cluster import BalancedKMeans
from .grank import GRankClassifier

__all__ = ["BalancedKMeans", "GRankClassifier", "cluster", "datasets", "metrics"]
__version__ = "0.1.0"
