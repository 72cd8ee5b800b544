"""Corpora in Annif's formats, and its metrics."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score
from vocabulary_examples import (
    COLUMNS,
    CORPORA,
    NAMES,
    SUBJECTS,
    TEXTS,
    TURTLE,
    uri,
    write,
    write_corpus,
)

from skxmc.datasets import load_annif_corpus, load_vocabulary
from skxmc.datasets._annif import is_annif_corpus
from skxmc.metrics import annif_report, ranking_report

pytest.importorskip("rdflib")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*are named in another"),
    pytest.mark.filterwarnings("ignore:.*are not in the vocabulary"),
]


@pytest.fixture
def vocabulary(tmp_path):
    return load_vocabulary(write(tmp_path / "v" / "v.ttl", TURTLE), language="en")


def rows_of(Y):
    assert sp.issparse(Y) and Y.dtype == np.float32 and Y.has_sorted_indices
    assert set(Y.data) <= {1}
    return [Y[[i]].indices.tolist() for i in range(Y.shape[0])]


@pytest.mark.parametrize("kind", CORPORA)
def test_documents_and_subjects(kind, tmp_path, vocabulary):
    path = write_corpus(kind, tmp_path)
    assert is_annif_corpus(path)
    with pytest.warns(UserWarning, match="1 labels, which stand 1 times .*p99 .1."):
        data = load_annif_corpus(path, vocabulary)
    assert data.texts == TEXTS
    assert rows_of(data.Y) == COLUMNS and data.Y.shape == (4, 4)
    assert data.label_codes == vocabulary.label_codes and data.label_names == NAMES
    assert data.label_texts == vocabulary.label_texts
    assert data.label_parents is vocabulary.label_parents
    assert data.unknown == {uri(99): 1}


@pytest.mark.parametrize("kind", CORPORA)
def test_without_a_vocabulary(kind, tmp_path):
    data = load_annif_corpus(write_corpus(kind, tmp_path))
    codes = sorted(uri(j) for j in (3, 4, 5, 99))
    assert data.label_codes == codes and not data.unknown
    expected = [sorted(codes.index(uri(j)) for j in row) for row in SUBJECTS]
    assert rows_of(data.Y) == expected
    assert data.label_names == (["a label"] * 4 if kind == "folder" else None)
    assert data.label_texts is None and data.label_parents is None


@pytest.mark.parametrize("kind", ["tsv", "folder"])
def test_known_labels_come_first(kind, tmp_path, vocabulary):
    path = write_corpus(kind, tmp_path)
    known = [uri(4), "other", uri(3)]
    data = load_annif_corpus(path, vocabulary, known=known)
    assert data.label_codes == [*known, uri(99)]
    assert rows_of(data.Y) == [[2], [0, 2], [0], [3]]
    assert data.unknown == {uri(99): 1}
    # Without the vocabulary, what a deprecated concept became is not known.
    data = load_annif_corpus(path, known=known)
    assert data.unknown == {uri(5): 1, uri(99): 1}


def test_path_and_language_of_a_vocabulary(tmp_path):
    path = write(tmp_path / "v.ttl", TURTLE)
    corpus = write_corpus("tsv", tmp_path)
    assert load_annif_corpus(corpus, path, language="en").label_names == NAMES
    assert load_annif_corpus(corpus, str(path)).label_names[0] == "eläimet"


def test_labels_in_key_files(tmp_path, vocabulary):
    folder = tmp_path / "docs"
    write(folder / "b.txt", "two")
    write(folder / "b.key", "\ufeffcats\r\n\r\n pets \r\nunicorns\r\n")
    write(folder / "a.txt", b"one\xff")
    write(folder / "a.key", "")
    write(folder / "c.txt", "three")
    write(folder / "c.key", "cats\n")
    write(folder / "c.tsv", f"{uri(1)}\nkoirat\n<{uri(2)}>")  # wins over .key
    write(folder / "d.txt", "no subjects")
    write(folder / "notes.md", "x")
    assert is_annif_corpus(folder)
    with pytest.warns(UserWarning) as record:
        data = load_annif_corpus(folder, vocabulary)
    assert data.texts == ["one\ufffd", "two", "three"]
    assert rows_of(data.Y) == [[], [1, 2], [0, 1, 3]]
    assert data.unknown == {"unicorns": 1}
    messages = " ".join(str(warning.message) for warning in record)
    assert "are left out: 1, d.txt" in messages
    assert "not UTF-8, which were replaced: 1 texts, a.txt" in messages
    assert "unicorns (1)" in messages


def test_labels_in_json(tmp_path, vocabulary):
    write(
        tmp_path / "docs" / "a.json",
        {
            "text": "x",
            "metadata": {"title": "y"},
            "subjects": [{"label": "cats"}, {"uri": uri(1), "label": "whatever"}],
        },
    )
    write(tmp_path / "docs" / "b.json", {"subjects": None, "text": None})
    data = load_annif_corpus(tmp_path / "docs", vocabulary)
    assert data.texts == ["x", ""] and rows_of(data.Y) == [[0, 2], []]
    data = load_annif_corpus(tmp_path / "docs")
    assert data.label_codes == ["cats", uri(1)]
    assert data.label_names == ["cats", "whatever"]


def test_lines_without_a_tab_are_told(tmp_path):
    path = write(tmp_path / "a.tsv", f"x\t<{uri(1)}>\n\nno tab\nz\t\n")
    with pytest.warns(UserWarning, match="no tab.* left out: 1, line 3"):
        data = load_annif_corpus(path)
    assert data.texts == ["x", "z"] and rows_of(data.Y) == [[0], []]


def test_cells_of_csv(tmp_path):
    text = 'text,subject_uris\n"a, ""b""\nc",<http://a.org/1> http://a.org/2\n\nd,\n'
    data = load_annif_corpus(write(tmp_path / "a.csv", text))
    assert data.texts == ['a, "b"\nc', "d"] and rows_of(data.Y) == [[0, 1], []]


def test_repeated_subjects_count_once(tmp_path, vocabulary):
    uris = " ".join(f"<{uri(j)}>" for j in (5, 4, 6, 4))
    path = write(tmp_path / "a.tsv", f"x\t{uris}\n")
    data = load_annif_corpus(path, vocabulary)
    assert rows_of(data.Y) == [[3]] and not data.unknown


@pytest.mark.filterwarnings("ignore:.*have no tab")
@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.tsv", "", "holds no documents with subjects"),
        ("a.tsv", "no tab\n", "holds no documents with subjects"),
        ("a.tsv", "\t<http://a.org/1>\n", "1 documents of .* are empty texts"),
        ("a.csv", "text,labels\n", "line 1: the header must have .*subject_uris"),
        ("a.csv", "", "line 0: the header must have"),
        ("a.csv", "text,subject_uris\na,b,c\n", "line 2: it has 3 cells"),
        ("a.csv", 'text,subject_uris\n"a', "line 2: unexpected end of data"),
        ("a.jsonl", "{}\n[1]\n", "line 2 must be a JSON object"),
        ("a.jsonl", "{", "line 1 is not valid JSON"),
        ("a.jsonl", '{"text": 1}', '"text" must be a text, got 1'),
        ("a.jsonl", '{"text": "x", "subjects": ["u"]}', 'a "uri" or a "label"; got'),
        ("a.jsonl", '{"text": "x", "subjects": [{"uri": 1}]}', '"label"; got'),
        ("a.jsonl", '{"text": "x", "subjects": "u"}', '"label"; got'),
        ("a.txt", "x", r"its name must end in \.tsv"),
        ("a.tsv", b"\xff\tx", "is not UTF-8"),
        ("a.csv", b"text,subject_uris\n\xff,x", "is not UTF-8"),
        ("docs/a.json", "{", r"a\.json is not valid JSON"),
    ],
)
def test_corpora_that_cannot_be_read(name, content, message, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path = path.parent if path.parent.name == "docs" else path
    with pytest.raises(ValueError, match=message):
        load_annif_corpus(path)


@pytest.mark.filterwarnings("ignore:.*no tab")
def test_vocabulary_of_other_documents(tmp_path, vocabulary):
    path = write(tmp_path / "a.tsv", "x\t<http://b.org/1>\n")
    with pytest.raises(
        ValueError, match=r"No document .*b\.org/1: give the vocabulary"
    ):
        load_annif_corpus(path, vocabulary)
    with pytest.raises(FileNotFoundError):
        load_annif_corpus(tmp_path / "nothing.tsv", vocabulary)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.tsv", "text\tlabels\nx\tcats\n"),
        ("a.tsv", "x\n"),
        ("a.tsv", ""),
        ("a.tsv", b"\xff\tx"),
        ("a.csv", "text,labels\nx,http://a.org/1\n"),
        ("a.jsonl", '{"text": "x", "labels": ["a"]}\n'),
        ("a.jsonl", '{"text": "x", "subjects": ["a"]}\n'),
        ("a.parquet", "x"),
        ("docs/train_texts.txt", "x"),
        ("docs/lbl.json", '{"uid": "x", "title": "y"}\n{"uid": "z"}'),
    ],
)
def test_what_is_no_corpus(name, content, tmp_path):
    path = write(tmp_path / name, content)
    assert not is_annif_corpus(path.parent if "docs" in name else path)
    assert not is_annif_corpus(tmp_path / "nothing.tsv")


# Metrics


def brute_force(Y, ids, limit):
    """Annif's metrics by scikit-learn, and by loops for what that lacks."""
    n_docs, n_labels = Y.shape

    def at(k):
        found = np.zeros((n_docs, n_labels), int)
        for row, best in zip(found, ids, strict=True):
            row[[j for j in best[:limit][:k] if j >= 0]] = 1
        return found

    def mean_ndcg(k):
        scores = []
        for true, best in zip(Y, ids, strict=True):
            best = [j for j in best[:limit] if j >= 0][:k]
            ideal = range(int(true.sum()) if k is None else min(k, int(true.sum())))
            gain = sum(true[j] / np.log2(rank + 2) for rank, j in enumerate(best))
            most = sum(1 / np.log2(rank + 2) for rank in ideal)
            scores.append(gain / most if most else 1.0)
        return np.mean(scores)

    predicted = at(limit)
    report = {}
    for name, average in {
        "doc avg": "samples",
        "subj avg": "macro",
        "weighted subj avg": "weighted",
        "microavg": "micro",
    }.items():
        options = dict(average=average, zero_division=0)
        report[f"Precision ({name})"] = precision_score(Y, predicted, **options)
        report[f"Recall ({name})"] = recall_score(Y, predicted, **options)
        report[f"F1 score ({name})"] = f1_score(Y, predicted, **options)
    samples = dict(average="samples", zero_division=0)
    report["F1@5"] = f1_score(Y, at(5), **samples)
    report["NDCG"] = mean_ndcg(None)
    report["NDCG@5"] = mean_ndcg(5)
    report["NDCG@10"] = mean_ndcg(10)
    for k in (1, 3, 5):
        report[f"Precision@{k}"] = precision_score(Y, at(k), **samples)
    report["True positives"] = int((Y & predicted).sum())
    report["False positives"] = int((predicted & ~Y & 1).sum())
    report["False negatives"] = int((Y & ~predicted & 1).sum())
    report["Documents evaluated"] = n_docs
    return report


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 6),
    st.integers(2, 25),
    st.integers(1, 14),
    st.sampled_from([1, 3, 5, 10, 30]),
    st.floats(0, 0.6),
    st.integers(0, 2**32 - 1),
)
@pytest.mark.filterwarnings("ignore:y_true has no positives")
def test_report_equals_brute_force(n_docs, n_labels, width, limit, share, seed):
    rng = np.random.default_rng(seed)
    Y = (rng.random((n_docs, n_labels)) < share).astype(int)
    ids = rng.permuted(np.tile(np.arange(n_labels), (n_docs, 1)), axis=1)[:, :width]
    for row in ids:  # some documents have fewer predictions
        row[rng.integers(0, len(row) + 1) :] = -1
    found, expected = annif_report(Y, ids, limit=limit), brute_force(Y, ids, limit)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert type(found[name]) is (int if isinstance(value, int) else float)
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_report_of_scores_and_default_limit():
    rng = np.random.default_rng(0)
    Y = sp.csr_array(rng.random((30, 40)) < 0.2)
    scores = rng.random((30, 40))
    ids = np.argsort(-scores, axis=1)
    expected = brute_force(Y.toarray().astype(int), ids, 10)
    assert annif_report(Y, scores) == pytest.approx(expected)
    # With as many predictions as places, precision is that of the other report.
    assert annif_report(Y, scores)["Precision@5"] == pytest.approx(
        ranking_report(Y, scores, ks=5)["P@5"]
    )


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, None])
def test_limit_is_checked(limit):
    with pytest.raises(ValueError, match="limit must be an integer >= 1"):
        annif_report([[1]], [[0]], limit=limit)


def test_report_is_json():
    assert json.loads(json.dumps(annif_report([[1, 0]], [[0]])))["NDCG"] == 1.0
