"""Extreme multi-label text classification with scikit-learn's manners."""

import importlib

# Where each public name is defined. It is imported when it is first asked for: the
# command line has settings to make before torch is loaded.
_HOMES = {
    "BalancedKMeans": "cluster",
    "EnsembleClassifier": "ensemble",
    "GRankClassifier": "grank",
    "GUDNClassifier": "gudn",
    "LightDXMLClassifier": "lightdxml",
    "LightXMLClassifier": "lightxml",
    "TReaderXMLClassifier": "treaderxml",
    "load": "persistence",
}
_MODULES = ["cluster", "datasets", "inspection", "metrics", "model_selection"]

__all__ = sorted([*_HOMES, *_MODULES])
__version__ = "0.1.0"


def __getattr__(name):
    if name in _HOMES:
        found = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    elif name in _MODULES or name in _HOMES.values():
        found = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, found)


def __dir__():
    return sorted({*globals(), *__all__})
