"""Models on the hub, which is a stub on the loopback here."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from command_line import refused, run
from hub_stub import TOKEN, URL, serving, serving_as_hub
from huggingface_hub import constants
from persistence_examples import (
    G,
    answers,
    assert_identical,
    change_config,
    content_of,
    make,
)
from sklearn.exceptions import NotFittedError

import skxmc
from skxmc import GRankClassifier, LightXMLClassifier
from skxmc.persistence import _hub, _tensors

pytest_plugins = ["persistence_fixtures"]
pytestmark = [
    # The encoder of these models is a folder of the tests.
    pytest.mark.filterwarnings("ignore:config.json holds paths:UserWarning"),
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stub that huggingface_hub takes for the hub, and an empty cache."""
    monkeypatch.chdir(tmp_path)  # where no folder has the name of a repository
    with serving_as_hub(monkeypatch, tmp_path) as stub:
        yield stub


@pytest.fixture
def offline(monkeypatch):
    def switch_off():
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    return switch_off


def assert_same(loaded, model, X):
    assert_identical(answers(loaded, X), answers(model, X))


# Loading


@pytest.mark.parametrize("name", ["text", "pair"])
def test_loads_from_the_hub(name, hub, saved, data):
    hub.add("jane/codes", saved.folder / name)
    X = data["texts" if name == "text" else "features"]
    assert_same(skxmc.load("jane/codes"), getattr(saved, name), X)
    config = json.loads((saved.folder / name / "config.json").read_text())
    assert hub.downloaded() == {"config.json", *config["files"]}
    hub.requests.clear()
    assert_same(skxmc.load("jane/codes"), getattr(saved, name), X)
    assert not hub.downloaded()  # they are in the cache


def test_commands_take_names_of_repositories(hub, saved, data, tmp_path):
    hub.add("jane/codes", saved.folder / "text")
    text = data["texts"][0]
    line = json.dumps({"text": text})
    found = json.loads(run("predict", "jane/codes", "-k", 2, input=line).stdout)
    names, _ = saved.text.predict_topk([text], 2, return_names=True)
    assert found["predicted"] == names[0].tolist()
    inspected = json.loads(run("inspect", "jane/codes").stdout)
    assert inspected == json.loads(run("inspect", saved.folder / "text").stdout)
    table = tmp_path / "table.jsonl"
    row = {"text": text, "labels": names[0].tolist()}
    table.write_text(json.dumps(row), encoding="utf-8")
    assert json.loads(run("evaluate", "jane/codes", table, "-k", 1).stdout)["P@1"] == 1
    refused("no repository jane/none", "inspect", "jane/none")
    refused("does not exist", "inspect", "none", code=2)


def test_nothing_else_is_downloaded(hub, saved, copied, data):
    folder = copied("text")
    others = (
        "pytorch_model.bin",
        "model.pkl",
        "config.py",
        "encoder/pytorch_model.bin",
        "tokenizer/added_tokens.json",
        "encoder-2/config.json",
        "deep/er/README.md",
    )
    for name in others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pickle.dumps("x"))
    hub.add("jane/codes", folder)
    assert_same(skxmc.load("jane/codes"), saved.text, data["texts"])
    assert not hub.downloaded() & {*others, "README.md"}


def test_what_others_put_into_the_cache_is_not_read(hub, saved, copied, data):
    folder = copied("text")
    (folder / "encoder" / "pytorch_model.bin").write_bytes(pickle.dumps("x"))
    hub.add("jane/codes", folder)
    for name in content_of(folder):
        if (folder / name).is_file():
            huggingface_hub.hf_hub_download("jane/codes", name)
    assert "encoder/pytorch_model.bin" in hub.downloaded()
    assert_same(skxmc.load("jane/codes"), saved.text, data["texts"])


def test_revision(hub, saved, data):
    repository = hub.add("jane/codes", saved.folder / "small")
    first = repository.refs["main"]
    other = hub.add("jane/other", saved.folder / "other")
    files = other.commits[other.refs["main"]]
    repository.commit(files)
    repository.commit(files, "v2")
    X = data["features"]
    for revision, model in [
        (None, saved.other),
        ("main", saved.other),
        ("v2", saved.other),
        (first, saved.small),
    ]:
        assert_same(skxmc.load("jane/codes", revision=revision), model, X)
    with pytest.raises(FileNotFoundError, match="jane/codes .*no revision 'v3'"):
        skxmc.load("jane/codes", revision="v3")


def test_a_push_while_files_are_downloaded(hub, saved, data, monkeypatch):
    repository = hub.add("jane/codes", saved.folder / "small")
    other = hub.add("jane/other", saved.folder / "other")
    download = huggingface_hub.hf_hub_download

    def pushing(name, file, **options):
        path = download(name, file, **options)
        repository.commit(other.commits[other.refs["main"]])
        return path

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", pushing)
    assert_same(skxmc.load("jane/codes"), saved.small, data["features"])
    assert_same(skxmc.load("jane/codes"), saved.other, data["features"])


def test_offline(hub, offline, saved, data):
    hub.add("jane/codes", saved.folder / "text")
    offline()
    with pytest.raises(FileNotFoundError, match="no folder jane/codes.*HF_HUB_OFFLINE"):
        skxmc.load("jane/codes")
    constants.HF_HUB_OFFLINE = False
    skxmc.load("jane/codes")
    hub.requests.clear()
    offline()
    assert_same(skxmc.load("jane/codes"), saved.text, data["texts"])
    with pytest.raises(FileNotFoundError, match="could not be loaded from the hub"):
        skxmc.load("jane/codes", revision="v2")
    assert not hub.requests


def test_hub_that_is_down(hub, saved, data, monkeypatch):
    hub.add("jane/codes", saved.folder / "small")
    skxmc.load("jane/codes")
    nowhere = "http://127.0.0.1:9" + URL
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nowhere)
    assert_same(skxmc.load("jane/codes"), saved.small, data["features"])
    with pytest.raises(FileNotFoundError, match="the hub was not reached"):
        skxmc.load("jane/others")


def test_cache_dir(hub, saved, tmp_path):
    hub.add("jane/codes", saved.folder / "small")
    skxmc.load("jane/codes", cache_dir=tmp_path / "elsewhere")
    assert os.listdir(tmp_path / "elsewhere")
    assert not (tmp_path / "cache").exists()


def test_private_and_gated(hub, saved, data):
    for name, about in {"private": {"private": True}, "gated": {"gated": True}}.items():
        hub.add(f"jane/{name}", saved.folder / "small", **about)
        model = GRankClassifier.from_pretrained(f"jane/{name}", token=TOKEN)
        assert_same(model, saved.small, data["features"])
    hub.add("jane/private2", saved.folder / "small", private=True)
    hub.add("jane/gated2", saved.folder / "small", gated=True)
    with pytest.raises(FileNotFoundError, match="or it is private.*token="):
        skxmc.load("jane/private2")
    with pytest.raises(PermissionError, match="grant access"):
        skxmc.load("jane/gated2", token="hf_wrong")


def test_local_folder_wins(hub, saved, data, tmp_path):
    hub.add("jane/codes", saved.folder / "small")
    saved.other.save_pretrained(tmp_path / "jane" / "codes")
    for source in ("jane/codes", Path("jane/codes")):
        assert_same(skxmc.load(source), saved.other, data["features"])
    with pytest.raises(ValueError, match=r"revision='main' .* jane/codes is a folder"):
        skxmc.load("jane/codes", revision="main")
    assert not hub.requests


@pytest.mark.parametrize(
    "source",
    [
        "codes",
        Path("jane/codes"),
        "./jane/codes",
        "../jane/codes",
        "~/codes",
        "jane/codes/v2",
        "/jane/codes",
        "jane/",
        "jane/codes\n",
        "a b/codes",
        "",
    ],
    ids=repr,
)
def test_what_is_no_name_is_not_asked_for(source, hub, saved):
    hub.add("jane/codes", saved.folder / "small")
    with pytest.raises(FileNotFoundError):
        skxmc.load(source)
    assert not hub.requests


def test_folder_of_an_interrupted_save_is_not_asked_for(hub, saved, tmp_path):
    hub.add("jane/codes", saved.folder / "small")
    (tmp_path / "jane" / ".codes.saving-x" / "replaced").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="Saving was interrupted"):
        skxmc.load("jane/codes")
    assert not hub.requests


def test_neither_a_folder_nor_a_repository(hub):
    with pytest.raises(FileNotFoundError, match="no folder jane/codes .*no repository"):
        skxmc.load("jane/codes")
    with pytest.raises(FileNotFoundError, match="the hub allows no such name"):
        skxmc.load("jane/a--b")


def test_repository_without_a_model(hub, tiny_encoder, saved, copied):
    hub.add("jane/bert", Path(tiny_encoder))
    with pytest.raises(ValueError, match=r"jane/bert/config\.json was not written by"):
        skxmc.load("jane/bert")
    assert hub.downloaded() == {"config.json"}
    repository = hub.add("jane/empty", saved.folder / "small")
    repository.commit({"README.md": b"x"})
    with pytest.raises(FileNotFoundError, match="has no file config.json"):
        skxmc.load("jane/empty")
    folder = copied("small")
    (folder / "model.safetensors").unlink()
    hub.add("jane/half", folder)
    with pytest.raises(FileNotFoundError, match=r"has no file model\.safetensors"):
        skxmc.load("jane/half")


def test_another_class_is_refused_before_its_weights_are_downloaded(hub, saved):
    hub.add("jane/codes", saved.folder / "text")
    with pytest.raises(ValueError, match="jane/codes holds a GRankClassifier, not a"):
        LightXMLClassifier.from_pretrained("jane/codes")
    assert hub.downloaded() == {"config.json"}


@pytest.mark.parametrize(
    "name", ["encoder/pytorch_model.bin", "../../x", "/etc/passwd", "config.json", "a"]
)
def test_files_that_no_model_has_are_not_downloaded(name, hub, copied):
    folder = copied("text")
    about = {"bytes": 1, "sha256": "0" * 64}
    change_config(folder, lambda config: config["files"].update({name: about}))
    hub.add("jane/codes", folder)
    with pytest.raises(ValueError, match=r"^jane/codes/config\.json is damaged"):
        skxmc.load("jane/codes")
    assert hub.downloaded() == {"config.json"}


def test_damage_is_found(hub, copied, data):
    folder = copied("small")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + b"\x01")
    commit = hub.add("jane/codes", folder).refs["main"]
    with pytest.raises(ValueError, match="SHA-256") as error:
        GRankClassifier.from_pretrained("jane/codes")
    for part in ("jane/codes/model.safetensors", commit, "hf cache rm"):
        assert part in str(error.value)
    assert "skxmc-" not in str(error.value)  # the temporary folder


def test_crafted_values_are_refused(hub, copied):
    folder = copied("small")
    change_config(
        folder, lambda config: config["model"]["parameters"].update(batch_size="x")
    )
    hub.add("jane/codes", folder)
    with pytest.raises(ValueError, match=r"jane/codes/config\.json does not describe"):
        skxmc.load("jane/codes")


def test_where_links_are_not_allowed(hub, saved, data, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("a privilege is missing")

    hub.add("jane/codes", saved.folder / "text")
    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert_same(skxmc.load("jane/codes"), saved.text, data["texts"])


def test_links_of_a_folder_may_not_lead_out(hub, saved, tmp_path):
    # What the hub's cache consists of is refused where a user names it as a folder.
    hub.add("jane/codes", saved.folder / "small")
    skxmc.load("jane/codes")
    [snapshot] = (tmp_path / "cache" / "models--jane--codes" / "snapshots").iterdir()
    with pytest.raises(ValueError, match="leads out of"):
        skxmc.load(snapshot)


def test_without_huggingface_hub(hub, saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"pip install 'skxmc\[hub\]'"):
        skxmc.load("jane/codes")
    skxmc.load(saved.folder / "small")


# Pushing


def test_pushes_and_loads(hub, saved, data):
    commit = saved.text.push_to_hub("jane/codes", token=TOKEN)
    repository = hub.repositories["jane/codes"]
    assert repository.refs["main"] == commit and not repository.private
    files = repository.commits[commit]
    written = {
        path.relative_to(saved.folder / "text").as_posix()
        for path in (saved.folder / "text").rglob("*")
        if path.is_file()
    }
    assert set(files) == written | {".gitattributes"}
    assert b'skxmc.load("jane/codes")' in files["README.md"]
    assert_same(skxmc.load("jane/codes", revision=commit), saved.text, data["texts"])


def test_push_replaces_a_model(hub, saved, data):
    saved.text.push_to_hub("jane/codes", token=TOKEN)
    repository = hub.repositories["jane/codes"]
    files = repository.commits[repository.refs["main"]]
    repository.commit(files | {"notes.txt": b"x", "encoder/notes.txt": b"x"})
    commit = saved.small.push_to_hub("jane/codes", token=TOKEN)
    assert set(repository.commits[commit]) == {
        *("config.json", "labels.json", "model.safetensors", "README.md"),
        *("notes.txt", "encoder/notes.txt", ".gitattributes"),
    }
    assert_same(skxmc.load("jane/codes"), saved.small, data["features"])


def test_push_keeps_an_edited_card(hub, saved, recwarn):
    saved.text.push_to_hub("jane/codes", token=TOKEN)
    saved.small.push_to_hub("jane/codes", token=TOKEN)
    repository = hub.repositories["jane/codes"]
    files = repository.commits[repository.refs["main"]]
    assert b"12 features" in files["README.md"]
    repository.commit(files | {"README.md": b"---\nlicense: mit\n---\n"})
    with pytest.warns(UserWarning, match="README.md in jane/codes was edited"):
        commit = saved.other.push_to_hub("jane/codes", token=TOKEN)
    files = repository.commits[commit]
    assert files["README.md"] == b"---\nlicense: mit\n---\n"


def test_push_to_a_private_repository_and_a_branch(hub, saved, data):
    about = dict(token=TOKEN, private=True, revision="next", commit_message="Codes")
    commit = saved.small.push_to_hub("jane/codes", **about)
    assert saved.small.push_to_hub("jane/codes", **about) != ""
    repository = hub.repositories["jane/codes"]
    assert repository.private and "Codes" in repository.messages
    assert set(repository.commits[repository.refs["main"]]) == {".gitattributes"}
    model = skxmc.load("jane/codes", revision="next", token=TOKEN)
    assert_same(model, saved.small, data["features"])
    assert commit in repository.commits


def test_push_that_is_refused(hub, saved, offline):
    with pytest.raises(NotFittedError):
        make(G).push_to_hub("jane/codes", token=TOKEN)
    with pytest.raises(ValueError, match="jane/a--b"):
        saved.small.push_to_hub("jane/a--b", token=TOKEN)
    assert not hub.requests
    with pytest.raises(OSError, match="401"):
        saved.small.push_to_hub("jane/codes", token="hf_wrong")
    offline()
    with pytest.raises(OSError, match="offline mode"):
        saved.small.push_to_hub("jane/codes", token=TOKEN)
    assert not hub.repositories


def test_push_to_a_hub_that_is_down(hub, saved, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="jane/codes could not be pushed"):
        saved.small.push_to_hub("jane/codes", token=TOKEN)


def test_push_warns_of_paths(hub, saved, data, tmp_path):
    model = make(G, checkpoint_dir=tmp_path, encoder="/home/jane/bert")
    model.fit(data["features"], data["csr_array"])
    with pytest.warns(
        UserWarning, match="paths of this machine.*: checkpoint_dir, enc"
    ):
        model.push_to_hub("jane/codes", token=TOKEN)
    repository = hub.repositories["jane/codes"]
    assert b"jane/bert" not in repository.commits[repository.refs["main"]]["README.md"]


def test_names_of_repositories():
    assert _hub.is_on_hub("nobody-has-this/model.v1_2")
    assert not _hub.is_on_hub("nobody-has-this")
    assert not _hub.is_on_hub(Path("nobody-has-this/model"))


ELSEWHERE = """
import sys
import skxmc
loaded = "huggingface_hub" in sys.modules
model = skxmc.load("jane/codes")
print(loaded, model.n_labels_, model.push_to_hub("jane/copy"))
"""


def test_in_a_process_with_the_variables_of_the_hub(saved, tmp_path):
    with serving() as stub:
        stub.add("jane/codes", saved.folder / "small", private=True)
        hidden = [name for name in os.environ if name.startswith("HF_")]
        env = {n: value for n, value in os.environ.items() if n not in hidden}
        env |= dict(HF_ENDPOINT=stub.url, HF_HOME=str(tmp_path / "hf"), HF_TOKEN=TOKEN)
        env |= dict(HF_HUB_DISABLE_XET="1", PYTHONPATH=os.pathsep.join(sys.path))
        call = [sys.executable, "-c", ELSEWHERE]
        done = subprocess.run(
            call, env=env, capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        loaded, n_labels, commit = done.stdout.split()
        assert (loaded, n_labels) == ("False", "12")
        assert stub.repositories["jane/copy"].refs["main"] == commit


@pytest.mark.parametrize("mmap", [True, False])
def test_weights_outlive_the_links_to_them(mmap, hub, saved, data, monkeypatch):
    monkeypatch.setattr(_tensors, "_SMALLEST", 1)
    hub.add("jane/codes", saved.folder / "text")
    for load in (skxmc.load, GRankClassifier.from_pretrained):
        model = load("jane/codes", mmap=mmap)
        assert_same(model, saved.text, data["texts"])
