"""Documents a second of ``skxmc serve``, with and without batches; and a long load.

    export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
    python benchmarks/serve.py --systems LightDXMLClassifier --name serve-lightdxml
    python benchmarks/serve.py --systems GRankClassifier --tokens 32 --name serve-grank
    python benchmarks/serve.py --clients --hold 120 --name serve-hold

Models are trained for one epoch on random texts, as in latency.py. A server runs in a
process of its own, and this process plays the clients. Each client sends one text,
waits for the answer, and sends the next one. "batch" is the server's option --batch: a
server with 1 reads texts one by one. "calls" are calls of ``predict_topk`` with one
text, and with 64, in this process and without HTTP. Documents are counted for a second
of the clock, and for a second of processor time of the server, which others on the
same machine do not disturb. With --hold, 64 clients then load the server of each
system for that long, while its memory is read.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import write_json
from latency import fitted, random_texts

SYSTEMS = ["GRankClassifier", "LightDXMLClassifier"]
K = 5
CALL_SIZES = (1, 64)


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--documents", type=int, default=1000, help="trained on")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2")
    parser.add_argument("--tokens", type=int, nargs=1, default=[64])
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--seconds", type=float, default=5, help="of each figure")
    parser.add_argument("--hold", type=float, default=0, help="seconds of the load")
    parser.add_argument("--hold-clients", type=int, default=64)
    parser.add_argument("--name", default="serve", help="name of the file in results")
    return parser.parse_args(argv)


@contextlib.contextmanager
def server(folder, *options):
    """Run a server; yield its process id and its port."""
    command = [sys.executable, "-m", "skxmc", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        found = re.search(r":(\d+)/", line)
        if not found:
            sys.exit(line + process.stderr.read())
        yield process.pid, int(found[1])
        process.terminate()
        if process.wait(600):
            sys.exit(f"the server ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


async def send(port, texts, end, times, errors):
    """Send one text after the other over one connection until a time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while (start := time.perf_counter()) < end:
        body = json.dumps({"text": next(texts), "k": K}).encode()
        writer.write(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])
        answer = json.loads(await reader.readexactly(length))
        if not head.startswith(b"HTTP/1.1 200") or len(answer["results"]) != 1:
            errors.append(answer)
        times.append(time.perf_counter() - start)
    writer.close()
    await writer.wait_closed()


async def load(port, n_clients, texts, seconds):
    """Let clients send texts at the same time; return times and errors."""
    times, errors, texts = [], [], itertools.cycle(texts)
    end = time.perf_counter() + seconds
    clients = [send(port, texts, end, times, errors) for _ in range(n_clients)]
    failures = await asyncio.gather(*clients, return_exceptions=True)
    errors += [repr(failure) for failure in failures if failure is not None]
    return times, errors


def processor_seconds(pid):
    """Processor time of a process, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def measure(pid, port, n_clients, texts, seconds):
    before = processor_seconds(pid)
    times, errors = asyncio.run(load(port, n_clients, texts, seconds))
    used = processor_seconds(pid) - before
    median, slow = (1e3 * np.percentile(times, [50, 99])).round(1).tolist()
    return {
        "clients": n_clients,
        "documents_per_second": round(len(times) / seconds, 1),
        "documents_per_processor_second": round(len(times) / used, 1),
        "median_ms": median,
        "99_percent_ms": slow,
        "errors": len(errors),
    }


def rate_of_calls(model, texts, n_texts, seconds):
    """Documents a processor second of ``predict_topk`` with so many texts a call."""
    groups = itertools.cycle(
        texts[i : i + n_texts] for i in range(0, len(texts) - n_texts + 1, n_texts)
    )
    for _ in range(3):
        model.predict_topk(next(groups), K)
    n_docs, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        n_docs += len(model.predict_topk(next(groups), K)[0])
    return round(n_docs / (time.process_time() - start), 1)


def memory_mib(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


async def hold(pid, port, n_clients, texts, seconds):
    """Load a server, and read its memory while it works."""
    running = asyncio.create_task(load(port, n_clients, texts, seconds))
    memory = []
    while not running.done():
        await asyncio.wait({running}, timeout=seconds / 24)
        memory.append(memory_mib(pid))
    times, errors = running.result()
    return {
        "clients": n_clients,
        "seconds": seconds,
        "answers": len(times),
        "errors": errors[:5],
        "memory_mib": memory,
    }


def main(argv=None):
    options = parse(argv)
    (n_tokens,) = options.tokens
    # Two tokens are special.
    texts = random_texts(512, n_tokens - 2, np.random.default_rng(1))
    rows, held = [], []
    for system in options.systems:
        with tempfile.TemporaryDirectory() as folder:
            model = fitted(system, options)
            folder = Path(folder, "model")
            model.save_pretrained(folder)
            calls = {n: rate_of_calls(model, texts, n, 2) for n in CALL_SIZES}
            print(system, "calls", calls, flush=True)
            for batch in options.batches if options.clients else ():
                with server(folder, "--batch", str(batch)) as (pid, port):
                    asyncio.run(load(port, 8, texts, 1))  # warms up
                    for n_clients in options.clients:
                        row = measure(pid, port, n_clients, texts, options.seconds)
                        rows.append({"system": system, "batch": batch, **row})
                        print(rows[-1], flush=True)
            rows.append({"system": system, "calls": calls})
            if options.hold:
                with server(folder) as (pid, port):
                    asyncio.run(load(port, 8, texts, 1))
                    work = hold(pid, port, options.hold_clients, texts, options.hold)
                    held.append({"system": system, **asyncio.run(work)})
                    print(held[-1], flush=True)
    write_json(options.name, {"settings": vars(options), "results": rows, "hold": held})


if __name__ == "__main__":
    main()
