"""Requests that are wrong, large, slow or cut off; after each, the next is served."""

import contextlib
import json
import socket
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import Stub, serving, wait_until

from skxmc.serve import _app, _server

JSON = {"Content-Type": "application/json"}
TOKEN = "a-token-of-32-characters-or-more"

HEAD = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def predict_request(*texts):
    """The bytes of a request."""
    body = json.dumps({"texts": texts})
    return f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.fixture(scope="module")
def client():
    options = dict(max_texts=20, max_characters=1000, max_body=10_000)
    with serving({"stub": Stub()}, **options) as client:
        yield client


@pytest.fixture(autouse=True)
def next_is_served(request):
    yield
    if "client" in request.fixturenames:
        status, answer = request.getfixturevalue("client").post("/predict", text="ab")
        assert status == 200 and answer["results"][0]["labels"][0]["id"] == 2


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "Send JSON"),
        (b"{", "JSON"),
        (b"[" * 9000, "JSON"),
        (b'{"text": "a", "k": ' + b"9" * 5000 + b"}", "JSON"),
        (b'{"text": "\xff"}', "JSON"),
        (b"null", "valid dictionary"),
        (b"[]", "valid dictionary"),
        (b"{}", "either 'text' or 'texts'"),
        (b'{"text": "a", "texts": ["b"]}', "either 'text' or 'texts'"),
        (b'{"text": null}', "either"),
        (b'{"text": 3}', "text: Input should be a valid string"),
        (b'{"texts": []}', "texts: List should have at least 1 item"),
        (b'{"texts": "ab"}', "texts: Input should be a valid list"),
        (b'{"texts": ["a", null]}', "texts.1: Input should be a valid string"),
        (b'{"text": "a", "k": 0}', "k: Input should be greater than or equal to 1"),
        (b'{"text": "a", "k": 1e300}', "k: Input should be a valid integer"),
        (b'{"text": "a", "k": 1001}', "k: Input should be less than or equal to 1000"),
        (b'{"text": "a", "k": NaN}', "k: Input should be a "),
        (b'{"text": "a", "k": "5"}', "k: Input should be a valid integer"),
        (b'{"text": "a", "k": true}', "k: Input should be a valid integer"),
        (b'{"text": "a", "threshold": NaN}', "threshold: Input should be a finite"),
        (b'{"text": "a", "threshold": -Infinity}', "threshold: Input should be a"),
        (b'{"text": "a", "treshold": 0.5}', "treshold: Extra inputs"),
        (b'{"text": "a", "\\ud800": 0.5}', "body: Input should be a valid string"),
    ],
)
def test_wrong_content_is_refused(client, content, message):
    kind = JSON if content else {}
    status, answer = client.ask("POST", "/predict", content, kind)
    assert status == 400 and message in answer["error"]
    assert len(answer["error"]) < 300


@pytest.mark.parametrize("kind", [None, "text/plain", "application/xml", "x"])
def test_another_content_type_is_refused(client, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    status, answer = client.ask("POST", "/predict", b'{"text": "a"}', headers)
    assert status == 400 and "Content-Type: application/json" in answer["error"]


def test_odd_texts_are_ranked(client):
    texts = ["", "\0", "\ufeff", "a\u0300" * 300, "😀", "x" * 1000, "\\u0000"]
    status, answer = client.post("/predict", texts=texts)
    assert status == 200 and len(answer["results"]) == len(texts)
    halves = b'{"texts": ["\\ud83d \\ude00", "\\ud83d\\ude00"]}'
    status, answer = client.ask("POST", "/predict", halves, JSON)
    assert status == 200 and len(answer["results"]) == 2


def test_large_requests_are_refused(client):
    status, answer = client.post("/predict", texts=["a"] * 21)
    assert status == 413 and "at most 20 at a time" in answer["error"]
    status, answer = client.post("/predict", texts=["a", "x" * 1001])
    assert status == 413 and answer["error"].startswith("Text 1 has 1001 characters")
    status, answer = client.post("/predict", text="x" * 10_000)
    assert status == 413 and "more than 10000 bytes" in answer["error"]


@pytest.mark.parametrize("length", [10_001, 10**18])
def test_a_body_that_is_announced_as_too_large_is_not_read(client, length):
    with client.send(f"{HEAD}Content-Length: {length}\r\n\r\n".encode()) as opened:
        assert opened.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_of_unknown_length_is_cut(client):
    head = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()
    with client.send(head + (b"1000\r\n" + b"x" * 4096 + b"\r\n") * 3) as opened:
        assert opened.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "data",
    [
        b"\0\xff\xfe nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # without a Host
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET /%ff%00/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /static/../../_app.py HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /static/%2e%2e/_app.py HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(client, data):
    with client.send(data) as opened:
        opened.shutdown(socket.SHUT_WR)
        answer = opened.recv(1000)
    assert answer[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 404"), answer


def test_requests_that_are_cut_off_are_dropped(client):
    whole = predict_request("ab")
    for cut in range(0, len(whole), 11):
        client.send(whole[:cut]).close()
    with client.send(whole) as opened:
        assert opened.recv(100).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_order(client):
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    with client.send(
        (one + b"\r\n") * 3 + one + b"Connection: close\r\n\r\n"
    ) as opened:
        with opened.makefile("rb") as file:
            assert file.read().count(b"HTTP/1.1 200") == 4


def test_slow_heads_and_bodies_are_dropped(monkeypatch):
    monkeypatch.setattr(_server, "_HEAD_SECONDS", 0.3)
    monkeypatch.setattr(_app, "_BODY_SECONDS", 0.3)
    head = f"{HEAD}Content-Length: 14\r\n".encode()
    with serving({"stub": Stub()}) as client:
        silent = client.send(b"")
        slow_head = client.send(head)
        slow_body = client.send(head + b'\r\n{"text"')
        after_another = client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert after_another.recv(1000).startswith(b"HTTP/1.1 200")
        with contextlib.suppress(OSError):
            for i in range(1000):  # a byte now and then does not help
                slow_head.sendall(b"X" if i else b"X: ")
                after_another.sendall(b"G")
                time.sleep(0.01)
        for opened in (silent, slow_head):
            with opened, contextlib.suppress(ConnectionResetError):
                assert opened.recv(100) == b""
        with slow_body:
            assert slow_body.recv(100).startswith(b"HTTP/1.1 408")
        after_another.close()
        assert client.post("/predict", text="ab")[0] == 200


class ManyLabels(Stub):
    """A classifier whose rankings are long."""

    n_labels_ = 1000
    label_names_ = np.array([f"label {i}" for i in range(1000)], object)
    label_counts_ = np.ones(1000, int)

    def predict_topk(self, X, k):
        return np.tile(np.arange(k), (len(X), 1)), np.full((len(X), k), 0.5)


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_a_client_that_does_not_read_is_dropped(monkeypatch, connection):
    monkeypatch.setattr(_server, "_HEAD_SECONDS", 0.2)
    body = json.dumps({"texts": ["a"] * 256, "k": 1000})
    data = (
        f"{HEAD}Connection: {connection}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    with serving({"many": ManyLabels()}) as client:
        with client.send(data.encode()) as opened:
            wait_until(lambda: 'path="/predict",status="200"' in metrics(client))
            opened.settimeout(30)
            time.sleep(1)
            received = 0
            with contextlib.suppress(ConnectionResetError):
                while part := opened.recv(2**20):
                    received += len(part)
        # The answer has 256,000 labels.
        assert 0 < received < 256_000 * 40
        status, answer = client.post("/predict", texts=["a"] * 256, k=1000)
        assert status == 200 and len(answer["results"][255]["labels"]) == 1000


def test_too_many_connections_are_refused(monkeypatch):
    monkeypatch.setattr(_server, "_MAX_CONNECTIONS", 5)
    with serving({"stub": Stub()}) as client, contextlib.ExitStack() as stack:
        wait_until(lambda: client.get("/health")[0] == 200)
        for _ in range(5):
            opened = stack.enter_context(client.send(b""))
        time.sleep(0.1)
        status, answer = client.get("/health")
        assert status == 503 and "too many connections" in answer["error"]
        opened.close()
        wait_until(lambda: client.get("/health")[0] == 200)


def test_a_full_queue_refuses_and_a_late_answer_is_given_up():
    stub = Stub(waits=True)
    models = {"stub": stub}
    with serving(models, max_waiting=2, max_texts=5, time_limit=0.5) as client:
        first = client.send(predict_request("a", "b"))
        wait_until(stub.entered.is_set)
        second = client.send(predict_request("c", "d"))
        wait_until(lambda: "skxmc_waiting_texts 2.0" in metrics(client))
        status, headers, answer = client.fetch(
            "POST", "/predict", {"text": "c"}, headers={}
        )
        assert status == 429 and headers["retry-after"] == "1"
        assert "queue is full" in json.loads(answer)["error"]
        assert client.get("/health")[0] == 200  # what needs no model is not blocked
        for opened in (first, second):
            with opened:
                assert opened.recv(100).startswith(b"HTTP/1.1 503")
        wait_until(lambda: "skxmc_waiting_texts 0.0" in metrics(client))
        stub.gate.set()
        assert client.post("/predict", text="ab")[0] == 200
    assert [texts for texts, _ in stub.calls] == [["a", "b"], ["ab"]]


def test_a_client_that_hangs_up_leaves_the_queue():
    stub = Stub(waits=True)
    with serving({"stub": stub}, max_waiting=2) as client:
        with client.send(predict_request("first")):
            wait_until(stub.entered.is_set)
            waiting = client.send(predict_request("gone", "away"))
            wait_until(lambda: "skxmc_waiting_texts 2.0" in metrics(client))
            waiting.close()
            wait_until(lambda: "skxmc_waiting_texts 0.0" in metrics(client))
        stub.gate.set()
        assert client.post("/predict", text="ab")[0] == 200
    assert len(stub.calls) == 2


def test_a_server_that_stops_answers_what_waits():
    stub = Stub(waits=True)
    with serving({"stub": stub}) as client:
        with client.send(predict_request("ab")) as first:
            wait_until(stub.entered.is_set)
            second = client.send(predict_request("cd"))
            wait_until(lambda: "skxmc_waiting_texts 1.0" in metrics(client))
            client.stop()
            wait_until(lambda: is_refused(client))
            stub.gate.set()
            with second:
                for opened in (first, second):
                    assert opened.recv(100).startswith(b"HTTP/1.1 200")


def is_refused(client):
    try:
        client.send(b"").close()
    except OSError:
        return True
    return False


def metrics(client):
    return client.fetch("GET", "/metrics")[2].decode()


def test_a_model_that_fails_is_told_and_goes_on():
    with serving({"stub": Stub()}) as client:
        status, answer = client.post("/predict", text="bad")
        assert status == 500 and "its log says why" in answer["error"]
        assert client.post("/predict", text="ab")[0] == 200


def test_explanations_have_a_bounded_queue_of_their_own(monkeypatch):
    monkeypatch.setattr(_app, "_MAX_EXPLANATIONS", 1)
    slow, quick = Stub(waits=True), Stub()
    with serving({"slow": slow, "quick": quick}, time_limit=0.5) as client:
        late = client.post("/explain", text="a b", label=0)
        assert late[0] == 503
        status, answer = client.post("/explain", text="a b", label=0, model="quick")
        assert status == 429 and "Too many explanations" in answer["error"]
        assert client.post("/predict", text="ab", model="quick")[0] == 200
        slow.gate.set()
        wait_until(
            lambda: client.post("/explain", text="a", label=0, model="quick")[0] == 200
        )


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("192.168.1.5", 200),
        ("evil.example", 400),
        ("evil.example:8000", 400),
        ("127.0.0.1.evil.example", 400),
        ("localhost.evil.example", 400),
        ("", 400),
    ],
)
def test_a_name_that_is_not_ours_is_refused(client, host, status):
    # A stranger's name that points here would make a stranger's page ours.
    assert client.ask("GET", "/models", headers={"Host": host})[0] == status


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:8000", "Host": "localhost:8000"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://proxy.example"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
def test_requests_of_other_sites_pages_are_refused(client, headers, status):
    assert client.ask("POST", "/predict", {"text": "a"}, headers)[0] == status
    # A link from another site may lead to the page.
    assert client.fetch("GET", "/", headers=headers)[0] == 200


def test_a_token_is_asked_for():
    with serving({"stub": Stub()}, token=TOKEN) as client:
        for given_token in (None, "", TOKEN[:-1], TOKEN + "x", "Bearer", "\u00e9"):
            headers = {"Host": "any.name.example"}
            if given_token is not None:
                headers["Authorization"] = f"Bearer {given_token}"
            for method, path in [
                *[("POST", "/predict"), ("POST", "/explain"), ("POST", "/tagged")],
                *[("GET", "/labels?q=a"), ("GET", "/models"), ("GET", "/metrics")],
                ("GET", "/no-such-address"),
            ]:
                content = {"text": "a"} if method == "POST" else None
                status, answer = client.ask(method, path, content, headers)
                assert status == 401 and "Authorization: Bearer" in answer["error"]
        headers["Authorization"] = f"bearer {TOKEN}"
        assert client.ask("POST", "/predict", {"text": "a"}, headers)[0] == 200
        assert client.ask("GET", "/models", headers=headers)[0] == 200
        # Without the token there are the page and the state, but no data.
        for path in ("/", "/docs", "/health", "/openapi.json"):
            assert client.fetch("GET", path)[0] == 200


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=8), each)
    ),
    max_leaves=8,
)
fields = st.sampled_from(
    ["text", "texts", "k", "threshold", "model", "label", "labels"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(fields, values), st.sampled_from(["predict", "explain", "tagged"])
)
def test_no_json_makes_the_server_fail(client, content, path):
    status, answer = client.ask("POST", f"/{path}", json.dumps(content).encode(), JSON)
    assert status in (200, 400, 404, 413)
    assert status == 200 or answer["error"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_server_fail(client, data):
    status, answer = client.ask("POST", "/predict", data, JSON)
    assert status == 400 and answer["error"]


def test_answers_cannot_be_embedded_or_sniffed(client):
    for path in ("/", "/docs", "/models", "/no-such-address"):
        _, headers, _ = client.fetch("GET", path)
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
