"""Extreme multi-label text classification with scikit-learn's manners."""

from . import cluster, datasets, metrics
from .cluster import BalancedKMeans
from .ensemble import EnsembleClassifier
from .grank import GRankClassifier
from .lightdxml import LightDXMLClassifier
from .lightxml import LightXMLClassifier

__all__ = [
    "BalancedKMeans",
    "EnsembleClassifier",
    "GRankClassifier",
    "LightDXMLClassifier",
    "LightXMLClassifier",
    "cluster",
    "datasets",
    "metrics",
]
__version__ = "0.1.0"
