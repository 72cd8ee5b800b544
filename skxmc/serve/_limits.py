"""What a request must be like before the application sees it."""

import asyncio
import hmac
import ipaddress
import json

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response

# What anybody may fetch: it holds no data of a model.
_OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json")
# Bytes of all bodies that are being received or answered at one time.
_MAX_HELD = 64 * 2**20
# The page uses its own files only, and no other page may embed it.
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class ErrorAnswer(Response):
    """An error as JSON, ``{"error": message}``.

    Other responses of the service escape what is not ASCII, too: half an emoji has no
    UTF-8.
    """

    media_type = "application/json"

    def __init__(self, status, message, headers=None):
        super().__init__(json.dumps({"error": message}), status, headers)


class Limits:
    """ASGI middleware: who may ask, and how large and how slow a body may be.

    Parameters
    ----------
    app : ASGI application
    token : str or None
        With a token, requests need the header ``Authorization: Bearer TOKEN``.
        Without one, requests from other sites are refused.
    host : str or None
        Name under which the service may be reached, besides localhost and all IP
        addresses. Other names are refused if there is no token: a stranger's name
        that is made to point at this machine (DNS rebinding) would let the stranger's
        page read the answers.
    max_body : int
        Bytes of a body.
    body_seconds : float
        Time in which a body must arrive.
    """

    def __init__(self, app, *, token, host, max_body, body_seconds):
        self.app, self.token, self.host = app, token, host
        self.max_body, self.body_seconds = max_body, body_seconds
        self._n_held = 0

    async def __call__(self, scope, receive, send):
        """Answer a request that is refused, and pass on any other."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_safely(message):
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                added = {name.encode(): v.encode() for name, v in _HEADERS.items()}
                added.setdefault(b"cache-control", b"no-store")
                message = message | {"headers": list((added | headers).items())}
            await send(message)

        headers = Headers(scope=scope)
        refusal = self._refuse(scope["method"], scope["path"], headers)
        if refusal is not None:
            # Some clients read no answer before they have sent all. The connection is
            # closed, so that nothing of the body needs to be read.
            refusal.headers["connection"] = "close"
            await refusal(scope, receive, send_safely)
            return
        held = []
        try:
            refusal = await self._receive_body(receive, held)
            if refusal is None:
                await self.app(scope, _replay(held, receive), send_safely)
            else:
                refusal.headers["connection"] = "close"
                await refusal(scope, receive, send_safely)
        except ClientDisconnect:  # before the end of the body: nobody waits
            pass
        finally:
            self._n_held -= sum(map(len, held))

    def _refuse(self, method, path, headers):
        """Return the refusal of a request by its headers, or None."""
        if self.token is None:
            if not self._is_own_name(headers.get("host", "")):
                return ErrorAnswer(
                    400,
                    "This service is not called by that name (Host header). Use "
                    "localhost or its IP address, or start it with a token.",
                )
            if path not in _OPEN_PATHS and _is_from_other_site(headers):
                return ErrorAnswer(
                    403,
                    "This request comes from the page of another site. Call the "
                    "service from its own page or from a program, or start it with a "
                    "token.",
                )
        elif not (path in _OPEN_PATHS or path.startswith("/static/")):
            kind, _, given = headers.get("authorization", "").partition(" ")
            same = hmac.compare_digest(given.strip().encode(), self.token.encode())
            if kind.lower() != "bearer" or not same:
                return ErrorAnswer(
                    401,
                    "This service needs a token. Send the header "
                    "'Authorization: Bearer TOKEN'.",
                    {"www-authenticate": "Bearer"},
                )
        # A page can send other types to any site without asking first.
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method == "POST" and kind != "application/json":
            return ErrorAnswer(
                400, "Send JSON, with the header 'Content-Type: application/json'."
            )
        length = headers.get("content-length", "0")
        # The server has refused lengths that are no numbers.
        if len(length) > 18 or int(length) > self.max_body:
            return self._too_large()
        return None

    def _is_own_name(self, host):
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.strip("[]").lower()
        if name in ("localhost", (self.host or "").lower()):
            return bool(name)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _too_large(self):
        return ErrorAnswer(
            413,
            f"The body has more than {self.max_body} bytes. Send fewer texts at once.",
        )

    async def _receive_body(self, receive, held):
        """Append the parts of the body to `held`; return a refusal, or None."""
        n_bytes = 0
        try:
            async with asyncio.timeout(self.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    part = message.get("body", b"")
                    n_bytes += len(part)
                    if n_bytes > self.max_body:
                        return self._too_large()
                    if self._n_held + len(part) > _MAX_HELD:
                        return ErrorAnswer(
                            503,
                            "The server holds too many large requests. Try again soon.",
                            {"retry-after": "1"},
                        )
                    held.append(part)
                    self._n_held += len(part)
                    if not message.get("more_body", False):
                        return None
        except TimeoutError:
            return ErrorAnswer(
                408,
                f"The body did not arrive within {self.body_seconds:g} s. Send it "
                "without pauses.",
            )


def _replay(parts, receive):
    """Return a ``receive`` that yields a body, then what comes after it."""
    messages = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

    async def replay():
        return messages.pop() if messages else await receive()

    return replay


def _is_from_other_site(headers):
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")
