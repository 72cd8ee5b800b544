"""
Save a model and serve it
=========================

A fitted classifier is saved as a folder of plain files, loaded without unpickling, and
served over HTTP. This example runs the server from Python; ``skxmc serve FOLDER`` does
the same on the command line (:doc:`/serving`).
"""

# %%
# We train a small model, which assigns components to support tickets.

import json
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import uvicorn

import skxmc
from skxmc import LightDXMLClassifier
from skxmc.datasets import load_table
from skxmc.serve import make_app

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
# ``make_app`` makes the application of ``skxmc serve``: a REST service, and a page for
# tagging at ``/``. Here uvicorn runs it in a thread, on a free port.

app = make_app({"tickets": loaded})
server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
thread = threading.Thread(target=server.run)
thread.start()
while not server.started:
    time.sleep(0.01)
port = server.servers[0].sockets[0].getsockname()[1]


def ask(**fields):
    """Send a request to the server and return its answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict",
        json.dumps(fields).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        return json.load(error)


answer = ask(texts=["headphones have no sound", "laptop is off after sleep"], k=2)
for result in answer["results"]:
    print(result["labels"])

# %%
# For wrong input, the answer says what is wrong and where.

print(ask(texts=["no sound", None]))

# %%
# How long does a request take? The times include HTTP, splitting the text into words,
# the network, and the lookup of names.

times = []
for _ in range(200):
    start = time.perf_counter()
    ask(text="mouse is not recognised")
    times.append(1000 * (time.perf_counter() - start))
server.should_exit = True
thread.join()
folder.cleanup()

figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.hist(times, bins=np.linspace(0, np.percentile(times, 98), 40))
ax.set_xlabel("ms per request")
ax.set_ylabel("requests")
ax.set_title(f"median {np.median(times):.1f} ms")
ax.spines[["top", "right"]].set_visible(False)
