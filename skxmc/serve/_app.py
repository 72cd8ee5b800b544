"""The application: addresses, and what each of them answers."""

import asyncio
import contextlib
import datetime
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

import skxmc

from ..inspection import explain
from . import _schemas as schemas
from ._batching import Batcher, QueueClosed, QueueFull
from ._limits import ErrorAnswer, Limits
from ._metrics import Metrics
from ._models import check_models
from ._tagged import TaggedFile, check_names

_STATIC = Path(__file__).parent / "static"
_MAX_WORDS = 512
# Explanations that wait or run. Each costs as many predictions as its text has words.
_MAX_EXPLANATIONS = 8
_BODY_SECONDS = 30
# To write out more labels takes so long that other requests would wait for it.
_MANY_LABELS = 2000
# Names in one tagged text, and characters of one of them.
_MAX_NAMES, _MAX_NAME = 1000, 1000
_DESCRIPTION = """
Ranks the labels of texts, explains rankings, and keeps what people have tagged. Errors
are JSON objects with a field "error", which says what to do. 400 is a request that is
wrong, 401 one without the token, 404 one for a name that does not exist, 413 one that
is too large, 429 one that finds the queue full, and 503 one that was not answered in
time.
"""
_ERRORS = {
    status: {"model": schemas.Error, "description": what}
    for status, what in {
        400: "The request is wrong.",
        401: "The token is missing or wrong.",
        404: "There is no such name.",
        413: "The request is too large.",
        429: "The queue is full.",
        503: "The request was not answered in time.",
    }.items()
}


class _Answer(Response):
    media_type = "application/json"

    def render(self, content):
        return json.dumps(content, allow_nan=False).encode()


def make_app(
    models,
    *,
    token=None,
    log=None,
    host=None,
    batch_size=64,
    max_waiting=1024,
    max_texts=256,
    max_characters=100_000,
    max_body=2**22,
    time_limit=30.0,
):
    """Make the application that ``skxmc serve`` runs.

    Requests that come together are read in one batch by one thread. The application
    has to run in a single process, as uvicorn runs it by default, for a bounded queue
    and a single file of tagged texts. ``skxmc serve`` also limits the number of
    connections, and the time that the head of a request may take.

    Parameters
    ----------
    models : dict of str to fitted classifier
        Classifiers of texts by name, ensembles included. The first is the one that
        requests mean which name none.
    token : str or None, default=None
        Secret that requests must send as ``Authorization: Bearer TOKEN``. None takes
        requests of everybody who reaches the port, except those that come from pages
        of other sites.
    log : path-like or None, default=None
        JSON lines file to which tagged texts are appended. None keeps none.
    host : str or None, default=None
        Name of this machine by which it may be called without a token, besides
        localhost and all IP addresses.
    batch_size : int, default=64
        Largest number of texts that are ranked in one call.
    max_waiting : int, default=1024
        Largest number of texts in the queue. Requests that do not fit are answered
        with status 429.
    max_texts : int, default=256
        Largest number of texts in a request.
    max_characters : int, default=100_000
        Largest number of characters in a text.
    max_body : int, default=4194304
        Largest number of bytes in a request.
    time_limit : float, default=30.0
        Seconds after which a request that waits is answered with status 503.

    Returns
    -------
    app : fastapi.FastAPI
        An ASGI application.

    Raises
    ------
    ValueError
        If there are no models, if one of them takes features instead of texts, or if
        `log` does not end in .jsonl.
    OSError
        If `log` cannot be written.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc import LightDXMLClassifier
    >>> from skxmc.serve import make_app
    >>> texts = ["red house", "blue house", "red car", "blue car"] * 5
    >>> Y = csr_array([[1, 0], [0, 1], [1, 0], [0, 1]] * 5)
    >>> model = LightDXMLClassifier(validation_fraction=0, random_state=0).fit(texts, Y)
    >>> app = make_app({"colours": model})
    >>> import uvicorn
    >>> uvicorn.run(app, host="127.0.0.1", port=8000)  # doctest: +SKIP
    """
    service = _Service(
        models,
        log=log,
        batch_size=batch_size,
        max_waiting=max_waiting,
        max_texts=max_texts,
        max_characters=max_characters,
        time_limit=time_limit,
    )
    app = FastAPI(
        title="skxmc",
        version=skxmc.__version__,
        description=_DESCRIPTION,
        docs_url=None,  # FastAPI's own pages load scripts from another site
        redoc_url=None,
        lifespan=service.lifespan,
    )
    app.add_middleware(
        Limits, token=token, host=host, max_body=max_body, body_seconds=_BODY_SECONDS
    )
    metrics = Metrics(lambda: service.batcher.n_waiting)
    service.batcher.on_batch = metrics.on_batch
    app.add_middleware(metrics.wrap)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(StarletteHTTPException, _answer_error)
    app.add_exception_handler(Exception, _answer_failure)
    _add_routes(app, service, metrics)
    _add_pages(app)
    _describe(app)
    return app


class _Service:
    """The models, and the threads that compute for requests."""

    def __init__(
        self,
        models,
        *,
        log,
        batch_size,
        max_waiting,
        max_texts,
        max_characters,
        time_limit,
    ):
        self.models = check_models(models)
        self.tagged = None if log is None else TaggedFile(log)
        self.max_texts, self.max_characters = max_texts, max_characters
        self.time_limit = time_limit
        self.batcher = Batcher(batch_size, max_waiting)
        # Explanations take long: they have a thread of their own.
        self._explainer = ThreadPoolExecutor(1, "skxmc-explainer")
        self._places = threading.BoundedSemaphore(_MAX_EXPLANATIONS)

    @contextlib.asynccontextmanager
    async def lifespan(self, app):
        """End the threads with the application, after its last request."""
        yield
        self._explainer.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self.batcher.close, 5)

    def find_model(self, name):
        """Return a model by its name, or the first one for None."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise HTTPException(
                404,
                f"There is no model {name!r:.60}; there are {', '.join(self.models)}.",
            )
        return self.models[name]

    def check_texts(self, texts):
        """Refuse too many texts, and texts that are too long."""
        if len(texts) > self.max_texts:
            raise HTTPException(
                413,
                f"The request has {len(texts)} texts. Send at most {self.max_texts} at "
                "a time.",
            )
        for i, text in enumerate(texts):
            if len(text) > self.max_characters:
                raise HTTPException(
                    413,
                    f"Text {i} has {len(text)} characters. Send at most "
                    f"{self.max_characters}.",
                )

    async def rank(self, request, model, texts, k):
        """Return ids and probabilities of the k best labels of each text."""
        k = min(k, len(model.labels))
        try:
            future = self.batcher.submit(model.classifier, texts, k)
        except QueueFull:
            raise _too_busy("The queue is full") from None
        except QueueClosed:
            raise HTTPException(503, "The server is shutting down.") from None
        return await self.wait(request, future)

    async def explain(self, request, model, text, label):
        """Return an `Explanation` of a label's column."""
        if not self._places.acquire(blocking=False):
            raise _too_busy("Too many explanations are waiting")
        future = self._explainer.submit(
            explain, model.classifier, text, label, max_words=_MAX_WORDS
        )
        future.add_done_callback(lambda _: self._places.release())
        return await self.wait(request, future)

    async def wait(self, request, future):
        """Return a future's result; cancel it if it is late or the client hangs up."""
        waiting = asyncio.wrap_future(future)
        hangs_up = asyncio.ensure_future(_hangs_up(request))
        try:
            await asyncio.wait(
                {waiting, hangs_up},
                timeout=self.time_limit,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if waiting.done():
                return waiting.result()
            if hangs_up.done():
                raise ClientDisconnect
            raise HTTPException(
                503,
                f"The answer was not ready within {self.time_limit:g} s. Try again "
                "later, or send fewer or shorter texts.",
                {"Retry-After": "5"},
            )
        finally:
            hangs_up.cancel()
            waiting.cancel()


def _answer_rankings(model, ids, scores, threshold):
    """Make the answer of ids and probabilities, of shape (n_texts, k)."""
    results = [
        {
            "labels": [
                model.labels.describe(label) | {"probability": rounded}
                for label, score in zip(*row, strict=True)
                if label >= 0 and (rounded := round(score, 6)) >= threshold
            ]
        }
        for row in zip(ids.tolist(), scores.tolist(), strict=True)
    ]
    return _Answer({"model": model.name, "results": results})


async def _hangs_up(request):
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _too_busy(what):
    return HTTPException(429, f"{what}. Try again soon.", {"Retry-After": "1"})


def _add_routes(app, service, metrics):
    """Add what programs call."""

    @app.post("/predict", response_model=schemas.PredictAnswer, responses=_ERRORS)
    async def predict(request: Request, body: schemas.PredictRequest):
        """Rank the labels of a text or of many."""
        model = service.find_model(body.model)
        if (body.text is None) == (body.texts is None):
            raise HTTPException(400, "Send either 'text' or 'texts'.")
        texts = body.texts if body.text is None else [body.text]
        service.check_texts(texts)
        ids, scores = await service.rank(request, model, texts, body.k)
        rankings = model, ids, scores, body.threshold
        if ids.size > _MANY_LABELS:
            return await asyncio.to_thread(_answer_rankings, *rankings)
        return _answer_rankings(*rankings)

    @app.post("/explain", response_model=schemas.ExplainAnswer, responses=_ERRORS)
    async def explain_label(request: Request, body: schemas.ExplainRequest):
        """Tell by how much each word of a text speaks for a label."""
        model = service.find_model(body.model)
        service.check_texts([body.text])
        label = body.label
        if isinstance(label, str):
            label = model.labels.find(label)
        if label is None or not 0 <= label < len(model.labels):
            raise HTTPException(404, f"There is no label {body.label!r:.60}.")
        try:
            found = await service.explain(request, model, body.text, label)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        words = [
            {"start": start, "end": end, "weight": round(float(weight), 4)}
            for (start, end), weight in zip(found.spans, found.weights, strict=True)
        ]
        answer = {"model": model.name, "label": model.labels.describe(label)}
        probability = round(found.probability, 6)
        return _Answer(answer | {"probability": probability, "words": words})

    @app.get("/labels", response_model=schemas.LabelsAnswer, responses=_ERRORS)
    async def labels(
        request: Request,
        q: Annotated[str, Query(max_length=500, description="What to search for.")],
        by: Annotated[
            Literal["prefix", "meaning"],
            Query(
                description="prefix: each word of q begins a word of the label. "
                "meaning: the labels that the model gives to the text q."
            ),
        ] = "prefix",
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        model: str | None = None,
    ):
        """Search the labels of a model."""
        model = service.find_model(model)
        if by == "prefix":
            found = map(model.labels.describe, model.labels.search(q, limit))
        else:
            ids, _ = await service.rank(request, model, [q], limit)
            found = map(model.labels.describe, ids[ids >= 0].tolist())
        return _Answer({"model": model.name, "labels": list(found)})

    @app.post("/tagged", response_model=schemas.TaggedAnswer, responses=_ERRORS)
    async def tagged(body: schemas.TaggedRequest):
        """Append a text and its labels to the file that --log names."""
        model = service.find_model(body.model)
        if service.tagged is None:
            raise HTTPException(
                404, "The server keeps no tagged texts: start it with --log FILE.jsonl."
            )
        service.check_texts([body.text])
        names = body.labels + body.rejected
        if len(names) > _MAX_NAMES or any(len(name) > _MAX_NAME for name in names):
            raise HTTPException(
                413,
                f"A text may have {_MAX_NAMES} labels of {_MAX_NAME} characters each.",
            )
        try:
            row = {
                "text": body.text,
                "labels": check_names(body.labels),
                "rejected": check_names(body.rejected),
                "model": model.name,
                "time": datetime.datetime.now(datetime.UTC).isoformat(" ", "seconds"),
            }
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        try:
            await asyncio.to_thread(service.tagged.append, row)
        except OSError as error:
            raise HTTPException(
                503,
                f"The tagged text was not written: {error}. Keep it, and tell "
                "whoever runs the server.",
            ) from error
        unknown = [name for name in row["labels"] if model.labels.find(name) is None]
        return _Answer({"unknown": unknown})

    @app.get("/models", response_model=schemas.ModelsAnswer, responses=_ERRORS)
    async def models():
        """List the models, and what a request may hold."""
        return _Answer(
            {
                "models": [model.describe() for model in service.models.values()],
                "log": service.tagged is not None,
                "max_texts": service.max_texts,
                "max_characters": service.max_characters,
                "max_words": _MAX_WORDS,
            }
        )

    @app.get("/health")
    async def health():
        """Say that the server answers."""
        return _Answer({"status": "ok"})

    @app.get("/metrics", response_class=Response)
    async def show_metrics():
        """Return what Prometheus collects."""
        return Response(metrics.render(), media_type="text/plain; version=0.0.4")


def _add_pages(app):
    """Add the page for tagging, and the one that documents the API."""
    headers = {"cache-control": "no-cache"}

    @app.get("/", include_in_schema=False)
    async def page():
        return FileResponse(_STATIC / "index.html", headers=headers)

    @app.get("/docs", include_in_schema=False)
    async def docs():
        return FileResponse(_STATIC / "docs.html", headers=headers)

    app.mount("/static", StaticFiles(directory=_STATIC))


def _describe(app):
    """Make the OpenAPI description, without the status 422, which is 400 here."""
    schema = app.openapi()
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)


async def _answer_invalid(request, error):
    """Answer with 400 and the first things that are wrong."""
    # The value that came in is left out: it may be long, or no valid text.
    wrong = [
        f"{'.'.join(map(str, each['loc'][1:])) or each['loc'][0]}: {each['msg']}"
        for each in error.errors()[:3]
    ]
    message = f"The request is wrong. {'; '.join(wrong)}. See /docs."
    return ErrorAnswer(400, message)


async def _answer_error(request, error):
    message = error.detail
    if message == "There was an error parsing the body":
        message = "The body cannot be read as JSON in UTF-8."
    if error.status_code == 404 and message == "Not Found":
        message = "There is nothing at this address. See /docs."
    if error.status_code == 405:
        message = f"This address does not take {request.method}. See /docs."
    return ErrorAnswer(error.status_code, message, error.headers)


async def _answer_failure(request, error):
    return ErrorAnswer(500, "The server has failed; its log says why.")
