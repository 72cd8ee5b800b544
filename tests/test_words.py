"""Words in any script, and the form in which texts and names meet."""

import json
import re
import sys
import unicodedata

import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import CliRunner

import skxmc
from skxmc import (
    EnsembleClassifier,
    GRankClassifier,
    LightDXMLClassifier,
    TReaderXMLClassifier,
    _token_vectors,
)
from skxmc._words import WORD, nfc
from skxmc.cli import main
from skxmc.datasets import load_table, load_xmc_repository
from skxmc.inspection import explain

HINDI = "कील कूल काल कल किला कोल केला कैला".split()  # of the same consonants
MARKED = {
    "Hindi": HINDI,
    "Arabic": "عَلِم عُلِم عِلْم عَلَم عَلَّم عُلِّم عَلْم عُلُم".split(),
    "Thai": "กิน กี่ กุ้ง กู้ กั้ง กั๊ก กึ่ง กื้อ".split(),
    "NFD": [
        unicodedata.normalize("NFD", w)
        for w in "mür mir mîr mïr mur mar mär mår".split()
    ],
}
UMLAUTS = "Käse Küche Öl Straße Füße Bücher Möwe Gänse".split()


def nfd(text):
    return unicodedata.normalize("NFD", text)


def documents(words, n_docs=160, seed=0):
    """Texts of two words each, of which each is a label."""
    rng = np.random.default_rng(seed)
    chosen = rng.permuted(np.tile(np.arange(len(words)), (n_docs, 1)), axis=1)[:, :2]
    texts = [" ".join(words[j] for j in row) for row in chosen]
    rows = np.repeat(np.arange(n_docs), 2)
    shape = (n_docs, len(words))
    return texts, sp.csr_array((np.ones(2 * n_docs), (rows, chosen.ravel())), shape)


def quick(kind=LightDXMLClassifier, **params):
    width = "word_dim" if kind is TReaderXMLClassifier else "label_dim"
    options = {width: 16, "validation_fraction": 0, "random_state": 0} | params
    return kind(**options)


def is_mark(char):
    return unicodedata.category(char) in ("Mn", "Mc", "Me") or char in "\u200c\u200d"


# --- words ------------------------------------------------------------------


def test_marks_and_joiners_belong_to_the_word_they_follow():
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if is_mark(char):
            assert re.findall(WORD, f"क{char}ल") == [f"क{char}ल"], hex(code)
            assert not re.findall(WORD, f" {char} "), hex(code)


@pytest.mark.skipif(
    int(unicodedata.unidata_version.split(".")[0]) > 17,
    reason="Unicode 17's unassigned characters may be anything since",
)
def test_no_other_character_joins_words():
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        if unicodedata.category(char) != "Cn" and not is_mark(char):
            joined = re.match(r"\w", char) is not None
            assert (len(re.findall(WORD, f"a{char}b")) == 1) == joined, hex(code)


@pytest.mark.parametrize(
    "text, words",
    [
        ("कील, कूल।काल", ["कील", "कूल", "काल"]),
        ("मैंने क्‍ष लिखा", ["मैंने", "क्‍ष", "लिखा"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("שָׁלוֹם־עולם", ["שָׁלוֹם", "עולם"]),
        ("བོད་ཡིག", ["བོད", "ཡིག"]),
        ("ភាសាខ្មែរ", ["ភាសាខ្មែរ"]),
        (
            "\u1112\u1161\u11ab\u1100\u1173\u11af",
            ["\u1112\u1161\u11ab\u1100\u1173\u11af"],
        ),
        ("\u0301abc a\u0301 \u0301", ["abc", "a\u0301"]),
        ("👩‍👩‍👧 ok 1️⃣", ["ok", "1️⃣"]),
        ("don't a_b x", ["don", "t", "a_b", "x"]),
    ],
)
def test_words_of_scripts(text, words):
    assert re.findall(WORD, text) == words


@pytest.mark.parametrize("script", MARKED)
def test_words_that_differ_in_marks_are_learnt_as_well_as_latin_ones(script):
    latin = [f"word{letter}" for letter in "abcdefgh"]
    for words in (latin, MARKED[script]):
        texts, Y = documents(words)
        assert quick().fit(texts, Y).score(texts, Y) > 0.95
    reader = quick(TReaderXMLClassifier, max_epochs=1).fit(texts, Y)
    terms = reader.vectorizer_.get_feature_names_out()
    assert set(terms) == set(map(nfc, words))


def test_label_words_that_differ_in_marks(tiny_encoder):
    texts, Y = documents(HINDI)
    model = GRankClassifier(
        tiny_encoder,
        label_texts=HINDI,
        label_init="random",
        n_layers=1,
        max_length=16,
        max_epochs=1,
        validation_fraction=0,
        random_state=0,
    )
    # A row of word embeddings for each label text.
    shapes = {tuple(p.shape) for p in model.fit(texts, Y).network_.ranker.parameters()}
    assert (len(HINDI), 256) in shapes


def test_clusters_of_words_that_differ_in_marks():
    # Two topics of four words each: only whole words tell them apart.
    rng = np.random.default_rng(0)
    topics = rng.integers(0, 2, 200)
    words = [rng.choice(HINDI[4 * topic : 4 * topic + 4], 6) for topic in topics]
    labels = 4 * topics + rng.integers(0, 4, 200)
    Y = sp.csr_array((np.ones(200), (np.arange(200), labels)), (200, 8))
    model = quick(
        TReaderXMLClassifier, max_leaf_size=4, max_epochs=1, use_teacher=False
    )
    groups = model.fit([" ".join(row) for row in words], Y).label_groups_
    assert len(set(groups[:4])) == len(set(groups[4:])) == 1
    assert groups[0] != groups[4]


def test_the_pattern_is_saved_with_the_model_and_kept(tmp_path, monkeypatch):
    texts, Y = documents(HINDI)
    model = quick(max_epochs=2).fit(texts, Y)
    model.save_pretrained(tmp_path / "new")
    monkeypatch.setitem(_token_vectors._OPTIONS, "token_pattern", r"\w+")
    old = quick(max_epochs=2).fit(texts, Y)
    old._nfc = False  # as in models that were fitted before
    old.save_pretrained(tmp_path / "old")
    monkeypatch.undo()
    for name, fitted in (("new", model), ("old", old)):
        loaded = skxmc.load(tmp_path / name)
        np.testing.assert_array_equal(
            loaded.predict_proba(texts).toarray(), fitted.predict_proba(texts).toarray()
        )
        word = explain(
            loaded, texts[0], int(fitted.predict_topk(texts[:1], 1)[0][0, 0])
        )
        pattern = loaded.vectorizer_.token_pattern
        assert word.words == re.findall(pattern, texts[0])
    assert skxmc.load(tmp_path / "new").vectorizer_.token_pattern == WORD
    assert skxmc.load(tmp_path / "old").vectorizer_.token_pattern == r"\w+"


def test_models_fitted_before_read_texts_as_they_stand():
    # Composed "za with nukta" is two characters in NFC, and not a word for \w+.
    texts, Y = documents(["\u095b", "\u0915", "\u0916", "\u0917"])
    model = quick(max_epochs=3)
    model.fit(texts, Y)
    known = model.vectorizer_.get_feature_names_out()
    assert "\u091c\u093c" in known and "\u095b" not in known
    del model._nfc  # they have no such attribute
    assert model._check_X(["\u095b"]) == ["\u095b"]
    assert model.fit(texts, Y)._check_X(["\u095b"]) == ["\u091c\u093c"]


# --- normalization ----------------------------------------------------------


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("kind", [LightDXMLClassifier, TReaderXMLClassifier])
def test_forms_meet(kind, form):
    texts, Y = documents(UMLAUTS)
    trained = [unicodedata.normalize(form, text) for text in texts]
    names = [unicodedata.normalize(form, word) for word in UMLAUTS]
    model = quick(kind, max_epochs=3, label_texts=names).fit(trained, Y)
    asked = model.predict_proba(texts).toarray()
    np.testing.assert_array_equal(
        model.predict_proba(list(map(nfd, texts))).toarray(), asked
    )
    same = quick(kind, max_epochs=3, label_texts=UMLAUTS).fit(texts, Y)
    np.testing.assert_array_equal(same.predict_proba(texts).toarray(), asked)
    assert model.label_names_.tolist() == UMLAUTS


def test_forms_meet_in_transformers(tiny_encoder, colours):
    texts, Y, _ = colours
    texts = [text.replace("e", "é") for text in texts]
    options = dict(n_layers=1, max_length=16, max_epochs=1, validation_fraction=0)
    model = GRankClassifier(tiny_encoder, random_state=0, **options).fit(texts, Y)
    composed, decomposed = (
        model.predict_proba(list(map(f, texts))) for f in (nfc, nfd)
    )
    np.testing.assert_array_equal(composed.toarray(), decomposed.toarray())
    both = EnsembleClassifier([("a", quick(max_epochs=1)), ("b", quick(max_epochs=2))])
    both.fit(list(map(nfd, texts)), Y)
    np.testing.assert_array_equal(
        both.predict_proba(texts).toarray(),
        both.predict_proba(list(map(nfd, texts))).toarray(),
    )


def test_label_names_meet():
    texts, Y = documents(UMLAUTS)
    model = quick(max_epochs=3, label_names=list(map(nfd, UMLAUTS))).fit(texts, Y)
    assert model.label_names_.tolist() == UMLAUTS
    names, _ = model.predict_topk(texts[:1], 1, return_names=True)
    assert explain(model, texts[0], nfd(names[0, 0])).label == names[0, 0]
    # A caller may call two labels by one name, in one form or two.
    twice = ["Öl", nfd("Öl"), *"abcdef"]
    model = quick(max_epochs=1, label_names=twice).fit(texts, Y)
    assert model.label_names_[:2].tolist() == ["Öl", "Öl"]
    with pytest.raises(ValueError, match=r"Labels \[0, 1\] are called"):
        explain(model, texts[0], nfd("Öl"))
    # Classes are values of y, which predictions give back.
    classes = np.array([nfd(word) for word in UMLAUTS])
    y = classes[Y.toarray().argmax(axis=1)]
    assert set(quick(max_epochs=1).fit(texts, y).predict(texts)) <= set(classes)


def test_explanations_point_into_the_text_that_was_given():
    texts, Y = documents(UMLAUTS)
    model = quick(max_epochs=10).fit(texts, Y)
    text = nfd("Küche, Straße")
    found = explain(model, text, UMLAUTS.index("Küche"))
    assert found.text == text
    assert found.words == [nfd("Küche"), "Straße"]
    assert found.weights.argmax() == 0


def test_parents_meet_by_name():
    texts, Y = documents(UMLAUTS)
    parents = ["Käse" if j % 2 else nfd("Möbel") for j in range(8)]
    options = dict(max_epochs=1, label_texts=list(map(nfd, UMLAUTS)))
    models = [
        quick(
            TReaderXMLClassifier,
            label_parents=[form(p) if j else None for j, p in enumerate(parents)],
            **options,
        ).fit(texts, Y)
        for form in (nfc, nfd)
    ]
    composed, decomposed = (model.predict_proba(texts).toarray() for model in models)
    np.testing.assert_array_equal(composed, decomposed)


@pytest.mark.parametrize("form", [nfc, nfd])
def test_word_vectors_meet_by_word(tmp_path, form):
    words = [form(word.lower()) for word in UMLAUTS]
    table = np.arange(16, dtype=np.float32).reshape(8, 2) + 1
    text_file, binary = tmp_path / "v.txt", tmp_path / "v.bin"
    rows = zip(words, table.tolist(), strict=True)
    lines = [f"{w} {a} {b}" for w, (a, b) in rows]
    text_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = zip(words, table, strict=True)
    binary.write_bytes(
        b"8 2\n" + b"".join(w.encode() + b" " + row.tobytes() for w, row in rows)
    )
    sources = (dict(zip(words, table, strict=True)), (table, words), text_file, binary)
    terms = [word.lower() for word in UMLAUTS]
    for source in sources:
        vectors, found = _token_vectors.read_token_vectors(source, terms)
        assert found.all()
        np.testing.assert_array_equal(vectors, table)
    # Of a word that stands in both forms the vector of NFC is taken.
    both = {nfd("öl"): [1.0], "öl": [2.0]}
    for source in (both, dict(reversed(both.items()))):
        assert _token_vectors.read_token_vectors(source, ["öl"])[0].tolist() == [[2.0]]


# --- files ------------------------------------------------------------------


def table(path, form):
    texts, Y = documents(UMLAUTS)
    with path.open("w", encoding="utf-8") as file:
        for text, row in zip(texts, Y.toarray(), strict=True):
            labels = [form(UMLAUTS[j]) for j in np.flatnonzero(row)]
            row = {"text": form(text), "labels": labels}
            file.write(json.dumps(row, ensure_ascii=len(labels[0]) % 2 == 0) + "\n")
    return path


def test_tables_in_either_form_are_the_same(tmp_path):
    composed, decomposed = (
        load_table(table(tmp_path / f"{form.__name__}.jsonl", form))
        for form in (nfc, nfd)
    )
    assert composed.texts == decomposed.texts
    assert composed.label_names == decomposed.label_names == sorted(UMLAUTS)
    assert (composed.Y != decomposed.Y).nnz == 0
    known = load_table(tmp_path / "nfd.jsonl", known=[nfd(w) for w in UMLAUTS])
    assert known.label_names == UMLAUTS
    # A name in both forms is one label.
    path = tmp_path / "both.csv"
    path.write_text(f"text,labels\na,Öl\nb,{nfd('Öl')}\n", encoding="utf-8")
    assert load_table(path).label_names == ["Öl"]


def test_repository_files_in_either_form_are_the_same(tmp_path):
    for form in (nfc, nfd):
        texts, raw = (
            tmp_path / f"{form.__name__}-text",
            tmp_path / f"{form.__name__}-json",
        )
        texts.mkdir(), raw.mkdir()
        for name, content in {
            "train_texts.txt": "Käse\nÖl",
            "label_names.txt": "Füße\nMöwe",
            "label_ids.txt": "ä\nö",
        }.items():
            (texts / name).write_text(form(content) + "\n", encoding="utf-8")
        # The labels of one file may well be in the form that those of another are not.
        labels = nfd("Möwe\nFüße\n") if form is nfc else "Möwe\nFüße\n"
        (texts / "train_labels.txt").write_text(labels, encoding="utf-8")
        rows = [{"title": form("Käse"), "content": form("Öl"), "target_ind": [0]}]
        (raw / "trn.json").write_text(json.dumps(rows[0]) + "\n")
        (raw / "lbl.json").write_text(json.dumps({"title": form("Füße")}) + "\n")
        data = load_xmc_repository(texts)
        assert data.texts_train == ["Käse", "Öl"]
        assert data.label_names == ["Füße", "Möwe"]
        assert data.label_codes == ["ä", "ö"]
        assert data.Y_train.toarray().tolist() == [[0, 1], [1, 0]]
        data = load_xmc_repository(raw)
        assert (data.texts_train, data.label_names) == (["Käse Öl"], ["Füße"])


def test_command_line_in_either_form(tmp_path):
    files = {
        form: table(tmp_path / f"{form.__name__}.jsonl", form) for form in (nfc, nfd)
    }
    model = str(tmp_path / "model")

    def run(*arguments):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        return result.stdout

    options = ["--system", "lightdxml", "--set", "label_dim=16", "--quiet"]
    run("train", files[nfd], model, *options)
    evaluated = {run("evaluate", model, file) for file in files.values()}
    assert len(evaluated) == 1
    report = json.loads(evaluated.pop())
    assert report["unknown_labels"] == 0 and report["P@1"] > 0.9
    answers = [
        [json.loads(line) for line in run("predict", model, file).splitlines()]
        for file in files.values()
    ]
    for composed, decomposed in zip(*answers, strict=True):
        assert composed["predicted"] == decomposed["predicted"]
        assert set(composed["predicted"]) <= set(UMLAUTS)
