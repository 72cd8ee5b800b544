"""A REST service and a page for tagging, on top of fitted classifiers.

It needs the extra ``serve`` (FastAPI, uvicorn and prometheus-client). The command
``skxmc serve`` starts it; `make_app` gives the application to other servers.
"""

import os

try:
    import fastapi  # noqa: F401
    import prometheus_client  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"skxmc.serve needs {error.name}, which is not installed. "
        'Run: pip install "skxmc[serve]"'
    ) from error

from ._app import make_app

# On CPUs, torch and oneDNN keep what they prepare for each new shape of a batch, and
# the batches of a server have thousands of shapes. If they keep few, memory does not
# grow, and predictions take no longer. Both read these names at their first use.
for _name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "16")

__all__ = ["make_app"]
