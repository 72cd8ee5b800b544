"""Vocabularies and corpora of Annif on the command line."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
from command_line import QUICK, answers, json_lines, refused, run
from sklearn.utils import Bunch
from vocabulary_examples import TURTLE, uri, write

import skxmc
from skxmc._cli_vocabulary import drop_unused, relabel
from skxmc.datasets import load_annif_corpus
from skxmc.metrics import annif_report

pytest.importorskip("rdflib")
WORDS = {1: "animal zoo", 2: "pet home", 3: "cat purr", 4: "dog bark"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A vocabulary, and 40 documents in two formats, with a subject that it lacks."""
    folder = tmp_path_factory.mktemp("annif")
    rng = np.random.default_rng(0)
    subjects = [rng.choice([1, 2, 3, 4], size=2, replace=False) for _ in range(40)]
    texts = [" ".join(WORDS[j] for j in row) for row in subjects]
    rows = [[uri(j) for j in row] for row in subjects]
    rows[0].append(uri(99))
    rows[1].append(uri(5))  # deprecated, and replaced by p4
    lines = [
        f"{text}\t{' '.join(f'<{u}>' for u in row)}"
        for text, row in zip(texts, rows, strict=True)
    ]
    names = {1: "animals", 2: "pets", 3: "cats", 4: "koirat"}
    table = [
        {"text": text, "labels": [names[j] for j in row]}
        for text, row in zip(texts, subjects, strict=True)
    ]
    table[0]["labels"] = ["59", "unicorns"]
    for i, text in enumerate(texts):
        write(folder / "keys" / f"{i:02}.txt", text)
        keys = "\n".join(names[j] for j in subjects[i])
        write(folder / "keys" / f"{i:02}.key", keys)
    return {
        "vocabulary": write(folder / "animals.ttl", TURTLE),
        "corpus": write(folder / "train.tsv.gz", "\n".join(lines) + "\n"),
        "table": write(folder / "table.jsonl", json_lines(*table)),
        "keys": folder / "keys",
    }


def train(data, model, *args):
    result = run("train", data, model, *QUICK, "--quiet", *args)
    return json.loads(result.stdout), result.stderr


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    model = tmp_path_factory.mktemp("model") / "model"
    options = ("--vocabulary", data["vocabulary"], "--language", "en")
    return model, *train(data["corpus"], model, *options)


def test_two_commands(trained, data):
    model, printed, warned = trained
    assert (printed["documents"], printed["labels"]) == (40, 4)
    assert printed["unknown_labels"] == 1
    assert "p99 (1)" in warned and "named in another language: 1 of 4" in warned
    classifier = skxmc.load(model)
    assert classifier.label_names_.tolist() == [uri(j) for j in (1, 2, 3, 4)]
    assert classifier.label_texts[2] == "cats; Felis; felines"
    found = answers(run("evaluate", model, data["corpus"]))[0]
    assert found["documents"] == 40 and found["unknown_labels"] == 2
    corpus = load_annif_corpus(data["corpus"], known=[uri(j) for j in (1, 2, 3, 4)])
    ids, _ = classifier.predict_topk(corpus.texts, k=10)
    expected = annif_report(corpus.Y[:, :4], ids)
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert isinstance(found["True positives"], int)
    assert found["Documents evaluated"] == 40 and "P@5" in found


def test_evaluate_with_the_vocabulary(trained, data):
    model, options = trained[0], ("--vocabulary", data["vocabulary"])
    found = answers(run("evaluate", model, data["corpus"], *options))[0]
    assert found["unknown_labels"] == 1  # what p5 became is known now
    english = (*options, "--language", "en")
    keys = answers(run("evaluate", model, data["keys"], *english))[0]
    assert keys["unknown_labels"] == 0 and keys["Documents evaluated"] == 40
    table = answers(run("evaluate", model, data["table"], *english))[0]
    assert table["unknown_labels"] == 1 and "NDCG@10" not in table
    table = answers(run("evaluate", model, data["table"], *english, "--annif"))[0]
    assert table["Documents evaluated"] == 40
    corpus = answers(run("evaluate", model, data["corpus"], "--no-annif"))[0]
    assert "NDCG@10" not in corpus and "P@1" in corpus


def test_labels_instead_of_uris_are_told(trained, data):
    message = "The model knows no subject of"
    assert "--vocabulary" in refused(message, "evaluate", trained[0], data["keys"])


def test_table_with_labels_of_a_vocabulary(data, tmp_path):
    options = ("--vocabulary", data["vocabulary"], "--language", "en")
    printed, warned = train(data["table"], tmp_path / "model", *options)
    assert (printed["labels"], printed["unknown_labels"]) == (4, 1)
    assert "unicorns (1)" in warned
    classifier = skxmc.load(tmp_path / "model")
    assert classifier.label_names_.tolist() == [uri(j) for j in (1, 2, 3, 4)]
    assert classifier.label_counts_[0] >= 1  # the notation 59


def test_hierarchy_reaches_a_classifier_that_uses_one(data, tmp_path):
    options = ("--vocabulary", data["vocabulary"], "--system", "treaderxml")
    sets = ("--set", "word_dim=8", "--set", "max_epochs=1", "--set", "batch_size=8")
    model = tmp_path / "model"
    run("train", data["corpus"], model, *options, *sets, "--quiet")
    parents = skxmc.load(model).label_parents
    assert parents.toarray().tolist() == [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 0, 0],
    ]
    run("train", data["corpus"], model, *options, *sets, "--quiet", "--no-label-texts")
    assert isinstance(skxmc.load(model).label_parents, str)


def test_labels_that_no_document_has_are_left_out(data, tmp_path):
    table = write(tmp_path / "t.csv", "text,labels\na cat,cats\na dog,koirat\n")
    options = ("--vocabulary", data["vocabulary"], "--language", "en")
    sets = ("--set", "word_dim=8", "--set", "max_epochs=1", "--set", "n_neighbors=1")
    sets += ("--system", "treaderxml", "--set", "validation_fraction=0")
    model = tmp_path / "model"
    run("train", table, model, *options, *sets, "--quiet")
    full = skxmc.load(model)
    run("train", table, model, *options, *sets, "--quiet", "--only-used")
    small = skxmc.load(model)
    assert full.n_labels_ == 4 and small.n_labels_ == 2
    kept = np.flatnonzero(full.label_counts_)
    assert small.label_names_.tolist() == full.label_names_[kept].tolist()
    above = full.label_parents[kept].toarray()
    assert small.label_parents.sum() == above.sum() > 0
    n_parents = small.label_parents.shape[1] - small.n_labels_
    assert len(small.parent_texts or []) == n_parents
    refused("needs --vocabulary", "train", table, model, "--only-used", code=2)


def test_hierarchy_without_unused_labels_equals_brute_force():
    rng = np.random.default_rng(0)
    Y = sp.csr_matrix(rng.random((9, 7)) < 0.1, dtype=np.float32)
    above = sp.csr_matrix(rng.random((7, 10)) < 0.3, dtype=np.float32)
    names = [f"label {j}" for j in range(7)]
    every = [*names, "top 0", "top 1", "top 2"]
    data = Bunch(Y=Y, label_codes=names, label_names=names, label_texts=names)
    data.update(label_parents=above, parent_names=every[7:])
    drop_unused(data)
    used = [j for j in range(7) if Y[:, [j]].nnz]
    assert 0 < len(used) < 7 and data.label_texts == [names[j] for j in used]
    assert (data.Y != Y[:, used]).nnz == 0
    columns = [*data.label_names, *data.parent_names]
    for row, j in zip(data.label_parents.toarray(), used, strict=True):
        found = {columns[i] for i in np.flatnonzero(row)}
        assert found == {every[i] for i in above[[j]].indices}


def test_corpora_without_a_vocabulary(data, tmp_path):
    printed, warned = train(data["corpus"], tmp_path / "model")
    assert printed["labels"] == 6 and "unknown_labels" not in printed
    assert skxmc.load(tmp_path / "model").label_texts is None and warned == ""
    printed, _ = train(data["keys"], tmp_path / "keys")
    assert printed["labels"] == 4
    found = answers(run("evaluate", tmp_path / "keys", data["keys"]))[0]
    assert found["unknown_labels"] == 0 and "Recall (subj avg)" in found


def test_options_that_are_refused(data, tmp_path, colour_folder):
    model = tmp_path / "model"
    given = ("--vocabulary", data["vocabulary"])
    message = "--language needs --vocabulary"
    refused(message, "train", data["table"], model, "--language", "en", code=2)
    refused(
        "label in the language",
        "train",
        data["table"],
        model,
        *given,
        "--language",
        "xx",
    )
    refused("leave --vocabulary out", "train", colour_folder[0], model, *given)
    refused("leave --vocabulary out", "evaluate", *colour_folder[1::-1], *given)
    other = write(tmp_path / "t.csv", "text,labels\nx,unicorns\n")
    message = "No label of"
    assert "such as unicorns" in refused(message, "train", other, model, *given)
    assert not model.exists()


def test_relabel_equals_brute_force():
    rng = np.random.default_rng(0)
    Y = sp.csr_matrix((rng.random((20, 6)) < 0.4).astype(np.float32))
    codes = ["b", "z", "b", "a", "y", "d"]
    found, names = relabel(Y, codes, ["a", "b", "c"])
    assert names == ["a", "b", "c", "d", "y", "z"]
    for row, got in zip(Y.toarray(), found.toarray(), strict=True):
        present = {codes[j] for j in np.flatnonzero(row)}
        assert got.tolist() == [float(name in present) for name in names]


def test_columns_of_a_corpus_have_fixed_names(data, tmp_path):
    for corpus in (data["corpus"], data["keys"]):
        message = f"--text has no effect, since {corpus} is read as a corpus of Annif"
        refused(message, "train", corpus, tmp_path / "model", "--text", "t", code=2)
