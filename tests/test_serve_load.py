"""Many clients at once: every request is answered, and nothing of it is kept."""

import gc
import threading

import numpy as np
from serving import SECONDS, serving

from skxmc.serve._batching import _Job
from skxmc.serve._limits import Limits

N_CLIENTS, N_REQUESTS = 64, 12


def test_64_clients_are_answered_and_leave_nothing(colour_classifier, colours):
    texts = colours[0]
    ids = colour_classifier.predict_topk(texts, k=3)[0]
    wrong, done = [], []

    def send(client, number):
        for i in range(N_REQUESTS):
            rows = np.arange(i, i + 1 + number % 3) % len(texts)
            some = [texts[row] for row in rows]
            status, answer = client.post("/predict", texts=some, k=3)
            found = [[x["id"] for x in r["labels"]] for r in answer.get("results", [])]
            if status != 200 or found != ids[rows].tolist():
                wrong.append((status, answer))
        done.append(number)

    with serving({"m": colour_classifier}) as client:
        threads = [
            threading.Thread(target=send, args=(client, number))
            for number in range(N_CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        metrics = client.fetch("GET", "/metrics")[2].decode()
        gc.collect()
        objects = gc.get_objects()
        limits = [each for each in objects if type(each) is Limits and each.app]
        jobs = [each for each in objects if type(each) is _Job]
    assert wrong == [] and len(done) == N_CLIENTS
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines())
    answered = values['skxmc_requests_total{path="/predict",status="200"}']
    assert float(answered) == N_CLIENTS * N_REQUESTS
    # Requests that came together were read together.
    n_batches = float(values["skxmc_batch_texts_count"])
    assert 0 < n_batches < N_CLIENTS * N_REQUESTS
    assert jobs == [] and values["skxmc_waiting_texts"] == "0.0"
    assert limits and {each._n_held for each in limits} == {0}
