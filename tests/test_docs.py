"""The Python code of the documentation and of the README runs."""

import contextlib
import pydoc
import re
import textwrap
from pathlib import Path

import pytest
from hub_stub import TOKEN, serving_as_hub
from sklearn.utils import Bunch

from skxmc import GRankClassifier, datasets
from skxmc.nn import encoder_files

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.rst"))]


def code_blocks(page):
    """Texts of a page's Python blocks."""
    text = page.read_text()
    if page.suffix == ".md":
        return re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    pattern = r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)"
    return [textwrap.dedent(block) for block in re.findall(pattern, text, re.M)]


def first_documents(chapters=None):
    """The first documents and labels of ICD-10-CM, with all its fields."""
    data = whole(chapters=chapters)
    n, n_labels = 30, 40
    return Bunch(
        texts_train=data.texts_train[:n],
        texts_test=data.texts_test[:n],
        Y_train=data.Y_train[:n, :n_labels],
        Y_test=data.Y_test[:n, :n_labels],
        label_names=data.label_names[:n_labels],
        label_codes=data.label_codes[:n_labels],
        label_parents=data.label_parents[:n_labels, :n_labels],
        DESCR=data.DESCR,
    )


whole = datasets.load_icd10cm


@pytest.fixture(scope="module")
def encoder(tiny_model, tiny_tokenizer, tmp_path_factory):
    """Folder of a random BERT of as many tokens and layers as the defaults want."""
    folder = tmp_path_factory.mktemp("encoder")
    config = type(tiny_model.config)(
        **tiny_model.config.to_dict()
        | {"max_position_embeddings": 128, "num_hidden_layers": 4}
    )
    type(tiny_model)(config).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_of_a_page_runs(page, monkeypatch, tmp_path, encoder):
    blocks = code_blocks(page)
    if not blocks:
        assert "code-block:: python" not in page.read_text()
        return
    if "sklearn.callback" in "".join(blocks):
        pytest.importorskip("sklearn.callback")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_icd10cm", first_documents)
    monkeypatch.setattr(encoder_files, "_locate", lambda source: encoder)

    # What the pages take for granted: data, and a model fitted on them.
    data = first_documents(chapters=7)
    fitted = GRankClassifier(
        label_texts=data.label_names, max_epochs=1, validation_fraction=0
    ).fit(data.texts_train, data.Y_train)
    fitted.save_pretrained("eye-codes")
    given = dict(data=data, texts=data.texts_train, Y=data.Y_train, model=fitted)
    with contextlib.ExitStack() as stack:
        if "push_to_hub" in "".join(blocks):
            stack.enter_context(serving_as_hub(monkeypatch, tmp_path))
            monkeypatch.setenv("HF_TOKEN", TOKEN)
        for block in blocks:
            exec(compile(block, f"{page.name}: {block[:60]!r}", "exec"), given)


def test_blocks_are_found():
    assert len(code_blocks(ROOT / "README.md")) == 1
    assert len(code_blocks(ROOT / "docs" / "saving.rst")) == 5


def test_readme_and_start_page_show_the_same_lines():
    first = {
        name: code_blocks(ROOT / name)[0] for name in ["README.md", "docs/index.rst"]
    }
    assert first["README.md"].strip() == first["docs/index.rst"].strip()


def test_objects_that_the_pages_refer_to_exist():
    pages = "".join(page.read_text() for page in PAGES)
    names = set(re.findall(r":(?:func|class|mod):`(skxmc[\w.]*)`", pages))
    assert len(names) > 5
    assert {name for name in names if pydoc.locate(name) is None} == set()
