"""Extreme multi-label text classification with scikit-learn's manners."""

from . import cluster, datasets, inspection, metrics, model_selection
from .cluster import BalancedKMeans
from .ensemble import EnsembleClassifier
from .grank import GRankClassifier
from .gudn import GUDNClassifier
from .lightdxml import LightDXMLClassifier
from .lightxml import LightXMLClassifier
from .persistence import load
from .treaderxml import TReaderXMLClassifier

__all__ = [
    "BalancedKMeans",
    "EnsembleClassifier",
    "GRankClassifier",
    "GUDNClassifier",
    "LightDXMLClassifier",
    "LightXMLClassifier",
    "TReaderXMLClassifier",
    "cluster",
    "datasets",
    "inspection",
    "load",
    "metrics",
    "model_selection",
]
__version__ = "0.1.0"
