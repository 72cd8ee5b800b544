"""The model card that every folder has."""

import copy
import re
import unicodedata

import numpy as np
import pytest
import scipy.sparse as sp
import yaml
from hypothesis import given
from hypothesis import strategies as st
from persistence_examples import (
    G,
    L,
    answers,
    assert_identical,
    assert_is,
    content_of,
    make,
    together,
)

import skxmc
from skxmc.persistence._card import card_was_edited, escape

pytest_plugins = ["persistence_fixtures"]
HOSTILE = "a|b\n# <script>x</script> [y](http://z) `c` *d* \u202e&amp; ![](q)"


def read_card(model, folder):
    model.save_pretrained(folder)
    return (folder / "README.md").read_text(encoding="utf-8")


def front_matter(card):
    return yaml.safe_load(re.match("---\n(.*?)\n---\n", card, re.DOTALL).group(1))


def sections(card):
    parts = re.split("^#+ (.*)\n", card, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(section):
    """The rows of the tables of a section, without their heads."""
    lines = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)
    found = [tuple(line.split(" | ")) for line in lines]
    heads = [i for i, cells in enumerate(found) if set(cells) == {"---"}]
    left_out = {*heads, *(i - 1 for i in heads)}
    return [cells for i, cells in enumerate(found) if i not in left_out]


def test_card_of_a_model_of_texts(saved, data):
    card = (saved.folder / "text" / "README.md").read_text(encoding="utf-8")
    assert front_matter(card) == {
        "library_name": "skxmc",
        "pipeline_tag": "text-classification",
        "tags": [
            "skxmc",
            "extreme-multi-label-classification",
            "multi-label-classification",
        ],
    }
    found = sections(card)
    title = "12 labels for a text"
    about = dict(cells for cells in rows(found[title]) if not cells[0].islower())
    assert about == {
        "Input": "texts",
        "Documents in training data": "60",
        "Labels": "12",
        "Labels without documents": "0",
        "Labels of a document, on average": "4.0",
    }
    named = [cells for cells in rows(found[title]) if cells[0].islower()]
    counts = np.sort(saved.text.label_counts_)[::-1][:10]
    assert [int(count) for _, count in named] == counts.tolist()
    assert {name for name, _ in named} <= set(saved.text.label_names_)
    [(_, epochs, score)] = rows(found["Quality"])
    best = max(epoch["score"] for epoch in saved.text.history_)
    assert int(epochs) == saved.text.n_iter_ and float(score) == pytest.approx(
        best, abs=1e-4
    )
    parameters = dict(rows(found["GRankClassifier"]))
    assert parameters["`max_length`"] == "8" and "`weight_decay`" not in parameters
    assert dict(rows(found["Versions"]))["skxmc"] == skxmc.__version__
    assert "not named a licence" in found["Licence"]


def test_card_of_features_and_without_held_out_documents(data, tmp_path):
    Y = sp.hstack([data["csr_array"], sp.csr_array((60, 1))]).tocsr()
    model = make(G, validation_fraction=0).fit(data["features"], Y)
    card = read_card(model, tmp_path / "model")
    assert front_matter(card)["pipeline_tag"] == "tabular-classification"
    assert "| Input | 12 features |" in card
    assert "| Labels without documents | 1 |" in card
    assert "no documents were held out" in card
    ids, _ = skxmc.load(tmp_path / "model").predict_topk(data["features"], k=1)
    assert ids.shape == (60, 1)


def test_card_of_an_ensemble(data, tmp_path):
    members = make(G), "drop", together(make(L), make(G, max_epochs=2))
    model = together(*members, depth=7).fit(data["features"], data["csr_array"])
    card = read_card(model, tmp_path / "model")
    found = sections(card)
    names = [cells[0] for cells in rows(found["Quality"])]
    assert names == ["a", r"c\, a", r"c\, b"]
    assert rows(found["EnsembleClassifier"]) == [("`depth`", "7")]
    assert ("`max_epochs`", "2") in rows(found[r"c\, b: GRankClassifier"])
    assert_is(tmp_path / "model", model, data["features"])


def test_texts_of_users_are_escaped(data, tmp_path):
    names = [HOSTILE + str(j) for j in range(12)]
    members = [("x`|<b>", make(G, label_names=names)), ("y", make(G))]
    model = skxmc.EnsembleClassifier(members, label_names=names)
    model.fit(data["features"], data["csr_array"])
    card = read_card(model, tmp_path / "model")
    assert "<script" not in card and "\u202e" not in card and "<b>" not in card
    assert not re.search(r"(?<!\\)(`c|\*d|!\[|\]\()", card)
    about = rows(sections(card)["12 labels for a vector of features"])
    shown = [cells for cells in about if cells[0].startswith(r"a\|b \# &lt;script")]
    assert len(shown) == 10 and all(len(cells) == 2 for cells in shown)
    # YAML, code and the mark at the end have no text of users.
    assert "a|b" not in card and card.count("---\n") == 2


@given(st.text())
def test_escaped_texts_mean_nothing_in_markdown(text):
    escaped = escape(text)
    assert len(re.sub(r"\\.|&\w+;", "x", escaped)) <= 80
    assert not re.search("[\n\r\t\u2028<>]", escaped)
    # Without its escapes, nothing is left that Markdown or HTML takes for a sign.
    rest = re.sub(r"\\[!-/:-@\[-`{-~]|&(amp|lt|gt);", "", escaped)
    assert not re.search(r"[!-/:-@\[-`{-~]", rest)
    # It reads as the text did, apart from white space and what is invisible.
    signs = {"amp": "&", "lt": "<", "gt": ">"}
    read = re.sub(
        r"\\(.)|&(amp|lt|gt);", lambda m: m[1] or signs[m[2]], escaped, flags=re.DOTALL
    )
    line = " ".join(text.split())
    visible = "".join(c for c in line if unicodedata.category(c)[0] != "C")
    assert read == (visible if len(visible) <= 80 else visible[:79] + "…")


def test_no_path_and_no_long_value_is_told(data, tmp_path):
    home = tmp_path / "jane"
    (home / "bert").mkdir(parents=True)
    model = make(
        G,
        checkpoint_dir=home,
        encoder=str(home / "bert"),
        label_texts=[f"text {j}" for j in range(12)],
        label_names=[f"name {j}" for j in range(12)],
        cluster_features=np.eye(12),
        **dict(max_leaf_size=3, n_shortlist=2),
    )
    model.fit(data["features"], data["csr_array"])
    card = read_card(model, home / "model")
    assert "jane" not in card
    parameters = dict(rows(sections(card)["GRankClassifier"]))
    assert parameters["`encoder`"] == "a text or a path"
    assert parameters["`label_texts`"] == "list of length 12"
    assert parameters["`cluster_features`"] == r"ndarray of shape \(12\, 12\)"
    assert not {"`checkpoint_dir`", "`label_names`"} & set(parameters)


def test_name_of_a_folder_is_told_only_if_it_might_be_one_of_the_hub(
    data, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    model = make(G, encoder="jane/bert").fit(data["features"], data["csr_array"])
    assert r"| `encoder` | jane\/bert |" in read_card(model, tmp_path / "model")
    (tmp_path / "jane" / "bert").mkdir(parents=True)
    assert "jane" not in read_card(model, tmp_path / "model")


def test_base_model(saved, tmp_path):
    model = copy.copy(saved.text).set_params(encoder="all-MiniLM-L6-v2")
    card = read_card(model, tmp_path / "model")
    assert front_matter(card)["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"


def test_texts_of_labels_stand_beside_other_names(saved, data, tmp_path):
    names = [f"http://a.org/{j}" for j in range(12)]
    texts = [f"a | {j}" for j in range(12)]
    model = make(G, label_names=names, label_texts=texts)
    model.fit(data["features"], data["csr_array"])
    card = read_card(model, tmp_path / "model")
    j = int(model.label_counts_.argmax())
    row = rf"| http\:\/\/a\.org\/{j} | a \| {j} | {model.label_counts_[j]} |"
    assert row in card and "| label | text | documents |" in card
    # The texts of this model are the names.
    assert "| label | documents |" in (saved.folder / "text/README.md").read_text()


# Saving again


def test_card_is_replaced_with_the_model(saved, tmp_path):
    first = read_card(saved.pair, tmp_path / "model")
    second = read_card(saved.small, tmp_path / "model")
    assert "EnsembleClassifier" in first and "EnsembleClassifier" not in second
    assert not card_was_edited(first.encode()) and not card_was_edited(second.encode())


@pytest.mark.parametrize(
    "edit",
    [
        lambda card: card + "More.\n",
        lambda card: card.replace("library_name", "license: mit\nlibrary_name"),
        lambda card: card.rpartition("<!--")[0],
        lambda card: card + card,
        lambda card: "",
        lambda card: "A text of its own",
    ],
)
def test_edited_card_is_kept(edit, saved, data, tmp_path):
    folder = tmp_path / "model"
    edited = edit(read_card(saved.text, folder)).encode()
    (folder / "README.md").write_bytes(edited)
    assert_is(folder, saved.text, data["texts"])
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"README\.md in .* was edited"):
            saved.small.save_pretrained(folder)
        assert (folder / "README.md").read_bytes() == edited
        assert_is(folder, saved.small, data["features"])
    (folder / "README.md").unlink()
    assert "GRankClassifier" in read_card(saved.small, folder)


@pytest.mark.filterwarnings("error")
def test_line_ends_are_no_edit(saved, tmp_path):
    card = read_card(saved.text, tmp_path / "model").encode()
    path = tmp_path / "model" / "README.md"
    path.write_bytes(card.replace(b"\n", b"\r\n"))
    saved.text.save_pretrained(tmp_path / "model")
    assert path.read_bytes() == card


def test_linked_card_is_not_replaced(saved, tmp_path):
    folder = tmp_path / "model"
    saved.small.save_pretrained(folder)
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to(tmp_path / "notes.md")
    before = content_of(folder)
    with pytest.raises(FileExistsError, match=r"README\.md, which is no part"):
        saved.small.save_pretrained(folder)
    assert content_of(folder) == before


def test_edited_card_outlives_a_crash(saved, data, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    saved.small.save_pretrained(folder)
    (folder / "README.md").write_text("mine")
    before = content_of(tmp_path)

    def fail(*args):
        raise OSError("disk is full")

    monkeypatch.setattr("skxmc.persistence._saving.shutil.copyfile", fail)
    with pytest.raises(OSError, match="disk is full"):
        saved.other.save_pretrained(folder)
    assert content_of(tmp_path) == before


def test_card_is_not_read(copied, saved, data):
    folder = copied("small")
    (folder / "README.md").write_bytes(b"\xff\xfe---\n!!python/object:os.system\n")
    loaded = skxmc.load(folder)
    assert_identical(
        answers(loaded, data["features"]), answers(saved.small, data["features"])
    )
    with pytest.warns(UserWarning, match="was edited"):
        loaded.save_pretrained(folder)


def test_older_folder_gets_a_card(copied, saved):
    folder = copied("small")
    (folder / "README.md").unlink()
    assert "12 labels" in read_card(skxmc.load(folder), folder)
