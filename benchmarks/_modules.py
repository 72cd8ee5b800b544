"""Seconds of the modules of LightDXML, as in Table IV of its paper."""

import time
from contextlib import ExitStack, contextmanager
from unittest import mock

from skxmc.nn.label_cycle import ShortlistedExamples

# M1 is vectors of documents and labels, M2 the shortlists of the training documents.
# M3 and M4, the classifier with the vectors of words, are the rest of a fit.
_METHODS = {"M1": "renew_label_vectors", "M2": "_renew_shortlists"}


@contextmanager
def timed_modules():
    """Yield a dict that gets the seconds of each module while models are fitted."""
    seconds = dict.fromkeys([*_METHODS, "M3, M4"], 0.0)

    def timed(module, method):
        def run(*args):
            begun = time.perf_counter()
            try:
                return method(*args)
            finally:
                seconds[module] += time.perf_counter() - begun

        return run

    with ExitStack() as stack:
        for module, name in _METHODS.items():
            replaced = timed(module, getattr(ShortlistedExamples, name))
            stack.enter_context(mock.patch.object(ShortlistedExamples, name, replaced))
        begun = time.perf_counter()
        yield seconds
        total = time.perf_counter() - begun
        seconds["M3, M4"] = total - seconds["M1"] - seconds["M2"]
