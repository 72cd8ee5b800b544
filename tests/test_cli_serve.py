"""``skxmc serve``: the process, its signals, and who may connect."""

import json
import os
import signal
import subprocess
import sys

import pytest
from command_line import refused, run
from serving import SECONDS, serve_command

from skxmc.cli import main
from skxmc.serve._models import parse_models
from skxmc.serve._server import read_token

TOKEN = "a-token-of-32-characters-or-more"


def test_help_explains_every_option():
    page = run("serve", "--help").stdout
    assert "Example: skxmc serve" in " ".join(page.split())
    for option in main.commands["serve"].params:
        assert option.param_type_name == "argument" or option.help
    assert "  serve " in run("--help").stdout


def test_sigterm_answers_what_has_arrived(colour_model, colour_rows, tmp_path):
    log = tmp_path / "tagged.jsonl"
    with serve_command(colour_model, "--log", log) as (process, client):
        text = colour_rows[0]["text"]
        assert client.post("/predict", text=text)[1]["model"] == "model"
        assert client.post("/tagged", text=text, labels=["red"])[0] == 200
        body = json.dumps({"texts": [text] * 250}).encode()
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        idle = client.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with client.send(head % len(body) + body) as busy, idle:
            assert idle.recv(1000) and client.get("/health")[0] == 200
            process.send_signal(signal.SIGTERM)
            assert busy.recv(1000).startswith(b"HTTP/1.1 200")
            while busy.recv(10_000):
                pass
            assert process.wait(SECONDS) == 0
        assert process.stderr.read() == ""
        with pytest.raises(OSError):
            client.get("/health")
    assert json.loads(log.read_text())["labels"] == ["red"]


def test_sigterm_ends_a_server_that_waits_for_slow_clients(colour_model):
    with serve_command(colour_model, "--time-limit", 1) as (process, client):
        head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
        with client.send(b"GET"), client.send(head), client.send(head + b"\r\n{"):
            assert client.get("/health")[0] == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(SECONDS) == 0


def test_ctrl_c_ends_the_server(colour_model):
    with serve_command(colour_model) as (process, client):
        assert client.get("/health")[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0


def test_several_models_and_a_token_in_the_environment(colour_model):
    env = os.environ | {"SKXMC_TOKEN": TOKEN, "PYTHONPATH": os.pathsep.join(sys.path)}
    models = [f"first={colour_model}", colour_model]
    with serve_command(*models, env=env) as (_, client):
        assert client.get("/models")[0] == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        _, answer = client.ask("GET", "/models", headers=headers)
        assert [model["name"] for model in answer["models"]] == ["first", "model"]


def test_other_machines_need_a_token(colour_model, tmp_path, monkeypatch):
    monkeypatch.delenv("SKXMC_TOKEN", raising=False)
    message = "Other machines can connect to 0.0.0.0. Set a token"
    refused(message, "serve", colour_model, "--host", "0.0.0.0", "--port", 0, code=2)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    for options in (["--no-token"], ["--token-file", file]):
        with serve_command(colour_model, "--host", "0.0.0.0", *options) as (_, client):
            expected = 200 if "--no-token" in options else 401
            assert client.get("/models")[0] == expected


@pytest.mark.parametrize(
    "token", ["", "short", "x" * 15, "with a blank in it", "é" * 20]
)
def test_tokens_that_can_be_guessed_or_not_sent_are_refused(
    colour_model, tmp_path, monkeypatch, token
):
    file = tmp_path / "token"
    file.write_text(token, encoding="utf-8")
    arguments = ("serve", colour_model, "--port", 0)
    message = "must hold a token of at least 16 ASCII characters"
    refused(message, *arguments, "--token-file", file)
    monkeypatch.setenv("SKXMC_TOKEN", token)
    refused(message, *arguments)


def test_token_of_the_file_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("SKXMC_TOKEN", TOKEN)
    assert read_token(None) == TOKEN
    (tmp_path / "token").write_text(TOKEN[::-1] + "\r\n")
    assert read_token(tmp_path / "token") == TOKEN[::-1]
    monkeypatch.delenv("SKXMC_TOKEN")
    assert read_token(None) is None


def test_a_port_that_is_taken_is_told_before_models_load(colour_model, tmp_path):
    with serve_command(colour_model) as (_, client):
        message = f"port {client.port}, cannot be used"
        refused(message, "serve", tmp_path / "missing", "--port", client.port)
    refused("cannot be used", "serve", colour_model, "--host", "256.1.1.1")


def test_wrong_models_are_told(colour_model, tmp_path):
    refused("missing", "serve", tmp_path / "missing", "--port", 0)
    twice = (colour_model, f"model={colour_model}")
    refused("Two models are called 'model'", "serve", *twice, "--port", 0)
    refused("cannot be called 'a b'", "serve", f"a b={colour_model}", "--port", 0)
    refused("must end in .jsonl", "serve", colour_model, "--log", "x.csv", "--port", 0)


def test_names_of_models(tmp_path):
    folder = tmp_path / "a=b"
    assert parse_models([f"x={folder}"]) == {"x": str(folder)}
    folder.mkdir()
    with pytest.raises(ValueError, match="cannot be called 'a=b'"):
        parse_models([str(folder)])


def test_without_the_extra_the_command_says_what_to_install(colour_model):
    script = (
        "import sys; sys.modules['uvicorn'] = None\n"
        f"from skxmc.cli import main; main(['serve', {str(colour_model)!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert 'uvicorn, which is not installed. Run: pip install "skxmc[serve]"' in (
        done.stderr
    )


def test_the_command_line_loads_no_server_for_other_commands():
    script = (
        "import sys, skxmc.cli\n"
        "print({'fastapi', 'uvicorn', 'torch', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()"
