"""A REST service and a page for tagging, on top of fitted classifiers.

It needs the extra ``serve`` (FastAPI, uvicorn and prometheus-client). The command
``skxmc serve`` starts it; `make_app` gives the application to other servers.
"""

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

__all__ = ["make_app"]
