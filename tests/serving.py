"""A server on a free port of this machine, and requests to it."""

import asyncio
import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time

import numpy as np

from skxmc.serve import make_app
from skxmc.serve._server import make_server, open_socket

SECONDS = 120  # after which a test fails instead of waiting on


class Stub:
    """A classifier of three labels that ranks a text when it is told to.

    ``calls`` holds the texts and the k of each call. While ``gate`` is not set, calls
    wait. The text "bad" makes a call fail.
    """

    label_names_ = np.array(["one", "two", "three"], object)
    label_counts_ = np.array([3, 2, 1])
    n_labels_, n_docs_ = 3, 6

    def __init__(self, waits=False):
        self.calls, self.gate, self.entered = [], threading.Event(), threading.Event()
        if not waits:
            self.gate.set()

    def predict_topk(self, X, k):
        self.calls.append((list(X), k))
        self.entered.set()
        assert self.gate.wait(SECONDS)
        if "bad" in X:
            raise RuntimeError("a text that breaks the model")
        first = np.array([len(text) % 3 for text in X])
        ids = (first[:, None] + np.arange(3)) % 3
        scores = np.tile(np.array([0.5, 0.3, 0.2], np.float32), (len(X), 1))
        return ids[:, :k], scores[:, :k]


class Client:
    """Requests to a port, each in a connection of its own."""

    def __init__(self, port):
        self.port = port

    def ask(self, method, path, content=None, headers=()):
        """Return the status and the JSON of an answer; dicts are sent as JSON."""
        status, _, body = self.fetch(method, path, content, headers)
        return status, json.loads(body)

    def fetch(self, method, path, content=None, headers=()):
        """Return the status, the headers and the bytes of an answer."""
        headers = dict(headers)
        if isinstance(content, dict):
            content = json.dumps(content)
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def post(self, path, **fields):
        return self.ask("POST", path, fields)

    def get(self, path):
        return self.ask("GET", path)

    def send(self, data):
        """Return a connected socket that has sent these bytes."""
        opened = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        opened.sendall(data)
        return opened


@contextlib.contextmanager
def serving(models, **options):
    """Run a server in a thread; yield a client."""
    opened = open_socket("127.0.0.1", 0)
    server = make_server(make_app(models, **options), 10)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[opened]))
    )
    thread.start()
    try:
        wait_until(lambda: server.started)
        client = Client(opened.getsockname()[1])
        client.stop = lambda: setattr(server, "should_exit", True)
        yield client
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        assert not thread.is_alive()


@contextlib.contextmanager
def serve_command(*arguments, env=None):
    """Run ``skxmc serve`` in a process; yield the process and a client."""
    command = [sys.executable, "-m", "skxmc", "serve", *map(str, arguments)]
    process = subprocess.Popen(
        [*command, "--port", "0"], stderr=subprocess.PIPE, text=True, env=env
    )
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            found = re.search(r":(\d+)/", line)
            if found:
                break
        else:
            raise AssertionError("".join(said))
        yield process, Client(int(found[1]))
    finally:
        process.kill()
        process.communicate()


def wait_until(is_true):
    end = time.monotonic() + SECONDS
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.005)
