"""What the service counts, for Prometheus."""

import time

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one application.

    Parameters
    ----------
    n_waiting : callable
        Returns the number of texts in the queue.
    """

    def __init__(self, n_waiting):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "skxmc_requests",
            "Requests that were answered, by path and status.",
            ["path", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "skxmc_request_seconds",
            "Time from a request to its answer, by path.",
            ["path"],
            registry=self.registry,
        )
        self._batch_texts = Histogram(
            "skxmc_batch_texts",
            "Texts that were ranked in one call.",
            buckets=_BATCHES,
            registry=self.registry,
        )
        self._batch_seconds = Counter(
            "skxmc_batch_seconds",
            "Time spent in ranking batches.",
            registry=self.registry,
        )
        waiting = Gauge(
            "skxmc_waiting_texts", "Texts in the queue.", registry=self.registry
        )
        waiting.set_function(n_waiting)

    def on_batch(self, n_texts, seconds):
        """Count a batch."""
        self._batch_texts.observe(n_texts)
        self._batch_seconds.inc(seconds)

    def render(self):
        """Return all values in Prometheus's text format."""
        return generate_latest(self.registry)

    def wrap(self, app):
        """Return an ASGI application that counts the requests of another."""

        async def counted(scope, receive, send):
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            start, status = time.perf_counter(), "dropped"

            async def send_and_note(message):
                nonlocal status
                if message["type"] == "http.response.start":
                    status = str(message["status"])
                await send(message)

            try:
                await app(scope, receive, send_and_note)
            finally:
                # Not the path itself, which a client may make up.
                path = getattr(scope.get("route"), "path", "other")
                self._requests.labels(path, status).inc()
                self._seconds.labels(path).observe(time.perf_counter() - start)

        return counted
