"""Extreme multi-label text classification with a scikit-learn API."""

import importlib
import os

# OpenMP reads this setting when torch is loaded. Threads that wait by spinning slow a
# fit several times over if another job uses the same cores. What the user has set is
# kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The module that defines each public name. It is imported only when the name is first
# used: the command line makes settings before torch is loaded, and `import skxmc` is
# fast.
_MODULE_OF = {
    "BalancedKMeans": "cluster",
    "EnsembleClassifier": "ensemble",
    "GRankClassifier": "grank",
    "GUDNClassifier": "gudn",
    "LightDXMLClassifier": "lightdxml",
    "LightXMLClassifier": "lightxml",
    "TReaderXMLClassifier": "treaderxml",
    "load": "persistence",
}
_PUBLIC_MODULES = [
    "cluster",
    "datasets",
    "feature_extraction",
    "inspection",
    "metrics",
    "model_selection",
]

__all__ = sorted([*_MODULE_OF, *_PUBLIC_MODULES])
__version__ = "0.1.0"


def __getattr__(name):
    if name in _MODULE_OF:
        module = importlib.import_module(f".{_MODULE_OF[name]}", __name__)
        found = getattr(module, name)
    elif name in _PUBLIC_MODULES or name in _MODULE_OF.values():
        found = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, found)  # the next use does not come here


def __dir__():
    # Completion shows the API and Python's own names, but none of the names above.
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
