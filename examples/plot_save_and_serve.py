"""
Save a model and serve it
=========================

A fitted classifier is saved as a folder of plain files, loaded without unpickling, and
served over HTTP. The server uses only the standard library. A server for many users
would use a web framework, and load the model in the same way.
"""

# %%
# We train a small model, which assigns components to support tickets.

import json
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import skxmc
from skxmc import LightDXMLClassifier
from skxmc.datasets import load_table

tickets = """text,labels
no sound after the update,audio|driver
sound crackles on headphones,audio
headphones are not recognised,audio|usb
screen stays black after the update,video|driver
screen flickers at high resolution,video
second screen is not recognised,video|usb
usb stick is not recognised,usb
mouse stops after sleep,usb|power
battery is empty after sleep,power
fan is loud on battery,power
"""
folder = tempfile.TemporaryDirectory()
table = Path(folder.name, "tickets.csv")
table.write_text(tickets)
data = load_table(table)
model = LightDXMLClassifier(
    label_names=data.label_names, min_df=1, validation_fraction=0, random_state=0
)
model.fit(data.texts, data.Y)

# %%
# ``save_pretrained`` writes a folder. These are its files with their sizes in bytes,
# and the fields of ``config.json``.

path = Path(folder.name, "tickets-model")
model.save_pretrained(path)
for file in sorted(path.rglob("*")):
    print(f"{file.stat().st_size:>9} {file.relative_to(path)}")
config = json.loads((path / "config.json").read_text())
print(", ".join(config))

# %%
# Loading runs no code from the folder. If a file is damaged, the error names it:

loaded = skxmc.load(path)
weights = path / "model.safetensors"
whole = weights.read_bytes()
weights.write_bytes(whole[:-100])
try:
    skxmc.load(path)
except ValueError as error:
    print(error)
weights.write_bytes(whole)

# %%
# A server needs thirty lines. It takes POST requests with a JSON list of texts, and
# answers with label names and scores. Its threads may call the model at the same time.


class Answer(BaseHTTPRequestHandler):
    """Answers a request with the labels of its texts."""

    def do_POST(self):
        """Rank the labels of a JSON list of texts."""
        try:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            texts = json.loads(body)
            names, scores = loaded.predict_topk(texts, k=2, return_names=True)
            status, answer = 200, {"labels": names.tolist(), "scores": scores.tolist()}
        except (TypeError, ValueError) as error:
            status, answer = 400, {"error": str(error)}
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *arguments):
        """Print no log lines."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}"


def ask(texts):
    """Send texts to the server and return its answer."""
    try:
        with urllib.request.urlopen(address, json.dumps(texts).encode()) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return json.load(error)


print(ask(["headphones have no sound", "laptop is off after a minute of sleep"]))

# %%
# For wrong input, the answer says what is wrong and where.

print(ask(["no sound", None]))

# %%
# How long does a request take? The times include HTTP, splitting the text into words,
# the network, and the lookup of names.

times = []
for _ in range(200):
    start = time.perf_counter()
    ask(["mouse is not recognised"])
    times.append(1000 * (time.perf_counter() - start))
server.shutdown()
server.server_close()
folder.cleanup()

figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.hist(times, bins=np.linspace(0, np.percentile(times, 98), 40))
ax.set_xlabel("ms per request")
ax.set_ylabel("requests")
ax.set_title(f"median {np.median(times):.1f} ms")
ax.spines[["top", "right"]].set_visible(False)
