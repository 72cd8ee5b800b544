"""The server: uvicorn, with limits for connections that send slowly or not at all."""

import asyncio
import ipaddress
import json
import logging
import os
import signal
import socket
from pathlib import Path

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_MAX_CONNECTIONS = 512
# Seconds in which the head of a request must arrive, and between two requests.
_HEAD_SECONDS = 15
_MIN_TOKEN = 16


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol, with a time limit for heads and a number of connections.

    uvicorn waits for the rest of a head without end. A body has a time limit in
    `skxmc.serve._limits`.
    """

    _head_timer = None
    _n_unsent = None

    def connection_made(self, transport):
        """Start to wait for a request, or refuse the connection."""
        super().connection_made(transport)
        if len(self.connections) > _MAX_CONNECTIONS:
            message = "The server has too many connections. Try again soon."
            body = json.dumps({"error": message}).encode()
            transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\n"
                b"content-type: application/json\r\n"
                b"retry-after: 1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            transport.close()
            return
        self._wait_for_head()

    def connection_lost(self, exc):
        """Stop to wait."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self):
        """Handle what has arrived, then wait for the rest of a head, if it is one."""
        super().handle_events()
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_head()
        else:
            self._stop_waiting()

    def on_response_complete(self):
        """Wait for the next request."""
        super().on_response_complete()
        self._wait_for_head()

    def _wait_for_head(self):
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._give_up)

    def _give_up(self):
        """Close the connection, unless the client still reads an answer."""
        self._head_timer, before = None, self._n_unsent
        self._n_unsent = self.transport.get_write_buffer_size()
        if self._n_unsent == 0:
            self.transport.close()
        elif before is None or self._n_unsent < before:
            self._wait_for_head()
        else:  # to close would mean to wait until it has read everything
            self.transport.abort()

    def _stop_waiting(self):
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def read_token(path):
    """Return the token from a file, or from the variable SKXMC_TOKEN, or None."""
    if path is not None:
        token, origin = Path(path).read_text(encoding="utf-8").strip(), str(path)
    elif "SKXMC_TOKEN" in os.environ:
        token, origin = os.environ["SKXMC_TOKEN"].strip(), "SKXMC_TOKEN"
    else:
        return None
    printable = token.isascii() and token.isprintable() and " " not in token
    if len(token) < _MIN_TOKEN or not printable:
        raise ValueError(
            f"{origin} must hold a token of at least {_MIN_TOKEN} ASCII characters "
            "without blanks. This makes one: "
            "python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token


def open_socket(host, port):
    """Return a socket that is bound to an address; connections are refused as yet."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = infos[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
    except OSError as error:
        raise OSError(
            f"The address {host}, port {port}, cannot be used: {error.strerror}. "
            "Choose another by --host and --port."
        ) from error
    return opened


def is_loopback(opened):
    """Whether only this machine can connect to a socket."""
    return ipaddress.ip_address(opened.getsockname()[0]).is_loopback


def make_server(app, drain_seconds):
    """Return a server that runs ``serve(sockets)`` until ``should_exit`` is True.

    Parameters
    ----------
    app : ASGI application
    drain_seconds : float
        How long it then waits for requests that are not answered.
    """
    config = uvicorn.Config(
        app,
        http=GuardedProtocol,
        ws="none",
        log_level=logging.WARNING,
        access_log=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=drain_seconds,
        server_header=False,
    )
    return uvicorn.Server(config)


def run(app, opened, drain_seconds):
    """Serve an application until SIGTERM or SIGINT, then answer what is waiting.

    Parameters
    ----------
    app, drain_seconds
        As in `make_server`.
    opened : socket
        From `open_socket`.
    """
    # uvicorn ends by raising the signal again, which would end the process before
    # it can return 0.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: None)
    asyncio.run(make_server(app, drain_seconds).serve(sockets=[opened]))
