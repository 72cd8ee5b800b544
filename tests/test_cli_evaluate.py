"""``skxmc evaluate``: metrics against those of the library, unknown labels."""

import shutil

import numpy as np
import pytest
import scipy.sparse as sp
from command_line import (
    answers,
    json_lines,
    refused,
    run,
    train,
    write_folder,
    write_table,
)

import skxmc
from skxmc.metrics import propensity, ranking_report


def by_hand(rows, answered, k):
    """P@k and R@k."""
    hits = [
        len(set(row["labels"]) & set(found["predicted"][:k]))
        for row, found in zip(rows, answered, strict=True)
    ]
    recall = [hit / len(row["labels"]) for hit, row in zip(hits, rows, strict=True)]
    return np.mean(hits) / k, np.mean(recall)


def assert_report(found, truth, ids, ks, p):
    expected = ranking_report(truth, ids, ks, p)
    assert list(found) == ["documents", "unknown_labels", *expected]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=6e-7), name


def test_evaluate_by_propensity(
    colour_table, colour_model, colour_classifier, colour_rows
):
    option = "--rank-by", "propensity"
    (found,) = answers(run("evaluate", colour_model, colour_table, *option))
    texts = [row["text"] for row in colour_rows]
    names = colour_classifier.label_names_.tolist()
    Y = sp.csr_matrix(
        [[name in row["labels"] for name in names] for row in colour_rows]
    )
    ids, _ = colour_classifier.predict_topk(texts, rank_by="propensity")
    assert (ids != colour_classifier.predict_topk(texts)[0]).any()
    assert_report(found, Y, ids, (1, 3, 5), propensity(Y))
    answered = run("predict", colour_model, *option, input=json_lines(*colour_rows))
    for row, labels in zip(answers(answered), ids, strict=True):
        assert row["predicted"] == [names[j] for j in labels]


@pytest.mark.parametrize("ks", [(), (2,), (1, 4), (3, 20)])
def test_evaluate(colour_table, colour_model, colour_classifier, colour_rows, ks):
    args = [arg for k in ks for arg in ("-k", k)]
    result = run("evaluate", colour_model, colour_table, *args)
    assert result.stderr == ""
    (found,) = answers(result)
    assert (found["documents"], found["unknown_labels"]) == (60, 0)
    texts = [row["text"] for row in colour_rows]
    names = colour_classifier.label_names_.tolist()
    Y = sp.csr_matrix(
        [[name in row["labels"] for name in names] for row in colour_rows]
    )
    ids = colour_classifier.predict_topk(texts, max(ks or (5,)))[0]
    # It was trained on these.
    assert_report(found, Y, ids, ks or (1, 3, 5), propensity(Y))
    answered = answers(
        run("predict", colour_model, "-k", 20, input=json_lines(*colour_rows))
    )
    for k in ks or (1, 3, 5):
        pair = found[f"P@{k}"], found[f"R@{k}"]
        assert pair == pytest.approx(by_hand(colour_rows, answered, k), abs=6e-7)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_evaluate_with_unknown_labels(
    tmp_path, colour_model, colour_classifier, colour_rows, suffix
):
    some = [dict(row, labels=list(row["labels"])) for row in colour_rows[:20]]
    for i, row in enumerate(some):
        row["labels"] += ["new", f"a {i}"][: i % 3]
        if i % 5 == 0:
            row["labels"].remove(row["labels"][0])
    unknown = sorted({n for row in some for n in row["labels"] if n == "new"})
    unknown += sorted({n for row in some for n in row["labels"] if n.startswith("a ")})
    path = write_table(tmp_path / f"test.{suffix}", some)
    (found,) = answers(run("evaluate", colour_model, path))
    assert (
        (found["documents"], found["unknown_labels"]) == (20, len(unknown)) == (20, 7)
    )
    known = colour_classifier.label_names_.tolist()
    truth = [[name in row["labels"] for name in known + unknown] for row in some]
    trained = [
        [name in row["labels"] for name in known + unknown] for row in colour_rows
    ]
    p = propensity(np.array(trained, float))  # no document has the unknown ones
    ids = colour_classifier.predict_topk([row["text"] for row in some], 5)[0]
    assert_report(found, sp.csr_matrix(truth), ids, (1, 3, 5), p)
    answered = answers(run("predict", colour_model, input=json_lines(*some)))
    for k in (1, 3, 5):
        pair = found[f"P@{k}"], found[f"R@{k}"]
        assert pair == pytest.approx(by_hand(some, answered, k), abs=6e-7)


def test_evaluate_on_labels_that_are_all_unknown(tmp_path, colour_model):
    path = write_table(tmp_path / "t.jsonl", [dict(text="fox", labels=["x", "y"])])
    (found,) = answers(run("evaluate", colour_model, path, "-k", 1))
    assert found["unknown_labels"] == 2 and found["P@1"] == found["PSP@1"] == 0


def test_evaluate_on_the_test_part(colour_folder, colour_rows, colours):
    data, model, _ = colour_folder
    (found,) = answers(run("evaluate", model, data))
    assert (found["documents"], found["unknown_labels"]) == (15, 0)
    Y = colours[1].tocsr()
    ids = skxmc.load(model).predict_topk([row["text"] for row in colour_rows[-15:]], 5)[
        0
    ]
    assert_report(found, Y[45:], ids, (1, 3, 5), propensity(Y[:45]))


def test_evaluate_on_another_folder(
    tmp_path, colour_folder, colour_model, colour_rows, colours
):
    data, of_raw, _ = colour_folder
    message = "has other labels than the model was trained on"
    refused(message, "evaluate", colour_model, data)  # sorted, as of a table
    names = colours[2][::-1]
    other = write_folder(tmp_path / "raw", colour_rows, names, label_names=names)
    refused(message, "evaluate", of_raw, other)
    more = colours[2] + ["more"]
    other = write_folder(tmp_path / "more", colour_rows, more, label_names=more)
    refused(message, "evaluate", of_raw, other)
    # On a table it does not matter in which order they are.
    path = write_table(tmp_path / "test.csv", colour_rows[-15:])
    assert run("evaluate", of_raw, path).stdout == run("evaluate", of_raw, data).stdout


def test_evaluate_on_a_folder_without_a_test_part(tmp_path, colour_folder, colour_rows):
    data, model, _ = colour_folder
    shutil.copytree(data, tmp_path / "raw")
    for path in (tmp_path / "raw").glob("test_*"):
        path.unlink()
    refused("has no texts for the test part", "evaluate", model, tmp_path / "raw")


@pytest.mark.parametrize("labels, n_unknown", [(["fox"], 0), (["fox", "new"], 1)])
def test_evaluate_with_labels_of_the_same_name(
    tmp_path, colour_rows, colours, labels, n_unknown
):
    # Two columns that a folder calls "red"; it gives labels as ids.
    names = ["red", "red", *colours[2][2:]]
    files = dict(by_name=False, label_names=names)
    raw = write_folder(tmp_path / "raw", colour_rows, colours[2], **files)
    train(raw, tmp_path / "model")
    path = write_table(tmp_path / "t.jsonl", [dict(text="fox", labels=labels)])
    (found,) = answers(run("evaluate", tmp_path / "model", path))
    assert found["unknown_labels"] == n_unknown


def test_evaluate_with_labels_of_the_same_name_on_their_folder(
    tmp_path, colour_rows, colours
):
    names = ["red", "red", *colours[2][2:]]
    files = dict(by_name=False, label_names=names)
    raw = write_folder(tmp_path / "raw", colour_rows, colours[2], **files)
    train(raw, tmp_path / "model")
    (found,) = answers(run("evaluate", tmp_path / "model", raw))
    assert (found["documents"], found["unknown_labels"]) == (15, 0)


def test_evaluate_on_bad_data(tmp_path, colour_model, colour_table):
    path = tmp_path / "t.csv"
    path.write_text("text,labels\nt,a,b\n")
    refused("t.csv, line 2", "evaluate", colour_model, path)
    refused("no column 'x'", "evaluate", colour_model, path, "--labels", "x")
    refused("separator", "evaluate", colour_model, colour_table, "--separator", "")
