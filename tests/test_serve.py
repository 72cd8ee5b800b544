"""What the service answers: rankings, explanations, labels, tagged texts, metrics."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from serving import Stub, serving

from skxmc import EnsembleClassifier, LightDXMLClassifier
from skxmc.datasets import load_table
from skxmc.inspection import explain
from skxmc.serve import make_app


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("log") / "tagged.jsonl"


@pytest.fixture(scope="module")
def ensemble(colours):
    texts, Y, names = colours
    members = [
        (name, LightDXMLClassifier(max_epochs=2, label_dim=8, random_state=i))
        for i, name in enumerate("ab")
    ]
    return EnsembleClassifier(members, label_names=names).fit(texts, Y)


@pytest.fixture(scope="module")
def client(colour_classifier, ensemble, log):
    models = {"colours": colour_classifier, "both": ensemble}
    with serving(models, log=log, max_texts=100, max_characters=5000) as client:
        yield client


@pytest.mark.parametrize("model", ["colours", "both"])
@pytest.mark.parametrize("k", [1, 3, 12])
def test_rankings_are_those_of_predict_topk(
    client, colours, colour_classifier, ensemble, model, k
):
    classifier = colour_classifier if model == "colours" else ensemble
    texts = colours[0]
    ids, scores = classifier.predict_topk(texts, k=k)
    status, answer = client.post("/predict", texts=texts, k=k, model=model)
    assert status == 200 and answer["model"] == model
    for result, row, values in zip(answer["results"], ids, scores, strict=True):
        assert [label["id"] for label in result["labels"]] == row.tolist()
        found = [label["probability"] for label in result["labels"]]
        np.testing.assert_allclose(found, values, atol=2e-6, rtol=0)
        names = [classifier.label_names_[j] for j in row]
        assert [label["name"] for label in result["labels"]] == names


def test_threshold_and_defaults(client, colours):
    _, answer = client.post("/predict", text=colours[0][0])
    (result,) = answer["results"]
    assert answer["model"] == "colours" and len(result["labels"]) == 5
    least = result["labels"][2]["probability"]
    _, answer = client.post("/predict", text=colours[0][0], threshold=least)
    assert answer["results"] == [{"labels": result["labels"][:3]}]
    _, answer = client.post("/predict", text=colours[0][0], k=1000)
    assert len(answer["results"][0]["labels"]) == 12  # as many as there are


@pytest.mark.parametrize("model", ["colours", "both"])
def test_explanations(client, colours, colour_classifier, ensemble, model):
    classifier = colour_classifier if model == "colours" else ensemble
    text = f"😀 {colours[0][0]}"
    expected = explain(classifier, text, 3)
    name = str(classifier.label_names_[3])
    for label in (3, name):
        status, found = client.post("/explain", text=text, label=label, model=model)
        assert status == 200 and found["label"] == {"id": 3, "name": name}
        assert found["probability"] == pytest.approx(expected.probability, abs=1e-5)
        spans = [(word["start"], word["end"]) for word in found["words"]]
        assert spans == expected.spans
        weights = [word["weight"] for word in found["words"]]
        np.testing.assert_allclose(weights, expected.weights, atol=1e-3)


@pytest.mark.parametrize(
    "fields, status, message",
    [
        (dict(text="fox", label="no such"), 404, "There is no label 'no such'"),
        (dict(text="fox", label=12), 404, "There is no label 12"),
        (dict(text="fox", label=-1), 404, "There is no label -1"),
        (dict(text="...", label=0), 400, "text has 0 words"),
        (dict(text="a " * 600, label=0), 400, "text has 600 words"),
        (dict(text="fox"), 400, "label: Field required"),
        (dict(text="fox", label=0, model="x"), 404, "there are colours, both"),
    ],
)
def test_explanations_that_cannot_be(client, fields, status, message):
    found, answer = client.post("/explain", **fields)
    assert found == status and message in answer["error"]


def test_labels_are_found_by_prefix_and_by_meaning(client, colours, colour_classifier):
    names = colours[2]
    _, answer = client.get("/labels?q=r")
    expected = sorted(name for name in names if name.startswith("r"))
    assert sorted(label["name"] for label in answer["labels"]) == expected != []
    _, answer = client.get("/labels?q=red+fox&by=meaning&limit=3")
    ids = colour_classifier.predict_topk(["red fox"], k=3)[0][0]
    assert [label["id"] for label in answer["labels"]] == ids.tolist()
    assert client.get("/labels?q=r&by=luck")[0] == 400
    assert client.get("/labels?q=r&limit=0")[0] == 400
    assert client.get(f"/labels?q={'r' * 501}")[0] == 400


def test_tagged_texts_can_be_trained_on(client, log):
    given = [
        dict(text='a "text"\nof 😀 lines', labels=["red", "Grün"], rejected=["fox"]),
        dict(text="", labels=[]),
        dict(text="next", labels=[" red ", "red", "new one"]),
    ]
    unknown = [client.post("/tagged", **row)[1]["unknown"] for row in given]
    assert unknown == [["Grün"], [], ["new one"]]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[0]["rejected"] == ["fox"] and lines[0]["model"] == "colours"
    data = load_table(log)
    assert data.texts == [row["text"] for row in given]
    assert data.label_names == ["Grün", "new one", "red"]
    assert data.Y.toarray().tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 1]]


def test_a_line_that_was_cut_off_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "tagged.jsonl"
    path.write_text('{"text": "cut')
    with serving({"stub": Stub()}, log=path) as client:
        assert client.post("/tagged", text="whole", labels=["one"])[0] == 200
    assert json.loads(path.read_text().splitlines()[1])["text"] == "whole"


@pytest.mark.parametrize("name", ["", " \n", "['a', 'b']", '["a"'])
def test_names_that_would_spoil_the_file_are_refused(client, log, name):
    before = log.read_bytes()
    status, answer = client.post("/tagged", text="fox", labels=["red", name])
    assert status == 400 and "label" in answer["error"]
    assert log.read_bytes() == before


def test_without_a_log_nothing_is_kept():
    with serving({"stub": Stub()}) as client:
        status, answer = client.post("/tagged", text="fox", labels=[])
        assert status == 404 and "--log" in answer["error"]
        assert client.get("/models")[1]["log"] is False


def test_a_log_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    with serving({"stub": Stub()}, log=tmp_path / "tagged.jsonl") as client:
        (tmp_path / "tagged.jsonl").unlink()
        (tmp_path / "tagged.jsonl").mkdir()
        status, answer = client.post("/tagged", text="fox", labels=[])
        assert status == 503 and "was not written" in answer["error"]
    with pytest.raises(ValueError, match="must end in .jsonl"):
        make_app({"stub": Stub()}, log=tmp_path / "tagged.csv")


def test_models_are_described(client):
    _, answer = client.get("/models")
    first = answer["models"][0]
    assert first["name"] == "colours" and first["system"] == "LightDXMLClassifier"
    assert (first["labels"], first["documents"]) == (12, 60)
    assert [model["name"] for model in answer["models"]] == ["colours", "both"]
    assert answer["max_texts"] == 100 and answer["log"] is True


def test_models_of_features_are_refused():
    X = np.eye(4)
    model = LightDXMLClassifier(validation_fraction=0, max_epochs=1).fit(X, X)
    with pytest.raises(ValueError, match="'m' was fitted on a feature matrix"):
        make_app({"m": model})
    with pytest.raises(ValueError, match="no models"):
        make_app({})


def test_metrics_count_requests_and_batches(colour_classifier):
    with serving({"m": colour_classifier}) as client:
        client.post("/predict", texts=["red", "fox", "cat"])
        client.post("/predict", text=3)
        client.get("/made-up/1")
        client.get("/made-up/2")
        status, headers, text = client.fetch("GET", "/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    values = dict(line.rsplit(" ", 1) for line in text.decode().splitlines())
    assert values['skxmc_requests_total{path="/predict",status="200"}'] == "1.0"
    assert values['skxmc_requests_total{path="/predict",status="400"}'] == "1.0"
    # Paths that clients make up do not become names of counters.
    assert values['skxmc_requests_total{path="other",status="404"}'] == "2.0"
    assert values["skxmc_batch_texts_sum"] == "3.0"
    assert values["skxmc_waiting_texts"] == "0.0"


def test_documentation_describes_every_path_and_works_offline(client):
    _, schema = client.get("/openapi.json")
    for path in ("/predict", "/explain", "/labels", "/tagged", "/models", "/health"):
        for operation in schema["paths"][path].values():
            assert operation["description"] and "422" not in operation["responses"]
    for page in ("/", "/docs"):
        _, headers, text = client.fetch("GET", page)
        links = re.findall(r'(?:src|href)="([^"#]+)', text.decode())
        for link in links:
            assert link.startswith("/"), link
            assert client.fetch("GET", link)[0] == 200, link
        assert "default-src 'none'" in headers["content-security-policy"]
        # Scripts, styles and handlers that are written into the page would be blocked.
        assert not re.search(r"<style|<script>|\son\w+=|\sstyle=", text.decode())


def test_label_texts_stand_beside_names():
    stub = Stub()
    stub.label_texts = ["the first", "two", "Zoë's third"]
    with serving({"stub": stub}) as client:
        _, answer = client.get("/labels?q=zoe")
        expected = {"id": 2, "name": "three", "text": "Zoë's third"}
        assert answer["labels"] == [expected]
        _, answer = client.post("/predict", text="abc", k=2)
        first, second = answer["results"][0]["labels"]
        assert first["text"] == "the first" and "text" not in second


@pytest.mark.parametrize("given", [None, "99"])
def test_few_shapes_of_batches_are_kept(given):
    names = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    env = {name: value for name, value in os.environ.items() if name not in names}
    env |= {} if given is None else dict.fromkeys(names, given)
    code = f"import os, skxmc.serve; print(*[os.environ[name] for name in {names}])"
    run = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )
    assert run.stdout.split() == [given or "16"] * 2, run.stderr
