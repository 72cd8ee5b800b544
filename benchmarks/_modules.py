"""Seconds of the modules of LightDXML, as in Table IV of its paper."""

import time
from contextlib import contextmanager

from lightdxml import stopwatch

import skxmc.lightdxml as system
from skxmc import _bag_documents, _warm_words

# M1 is vectors of words and of labels, M2 the shortlists of the training documents. M3
# and M4, the classifier, are the rest of a fit.
_PLACES = [
    (_warm_words, "fit_words", "M1"),
    (_bag_documents, "bag_vectors", "M1"),
    (system.ShortlistedExamples, "renew_label_vectors", "M1"),
    (system.ShortlistedExamples, "_renew_shortlists", "M2"),
]


@contextmanager
def timed_modules():
    """Yield a dict that holds the seconds of each module after models were fitted."""
    seconds = {}
    with stopwatch(_PLACES, time.perf_counter) as calls:
        start = time.perf_counter()
        yield seconds
        total = time.perf_counter() - start
    seconds |= {module: sum(calls[module]) for module in ("M1", "M2")}
    seconds["M3, M4"] = max(0.0, total - sum(seconds.values()))
