"""A loaded model is the model that was saved, for every system in its modes."""

import json
import pickle
from types import SimpleNamespace

import pytest
import torch
from persistence_examples import (
    ENSEMBLES,
    MODES,
    again,
    answers,
    assert_identical,
    build,
    content_of,
    members_of,
    needs_hnswlib,
)
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skxmc

pytest_plugins = ["persistence_fixtures"]
# A class that does not list an attribute would lose it without any error.
pytestmark = pytest.mark.filterwarnings("error:.* is not an attribute that fit sets")


def modes():
    for name in [*MODES, *ENSEMBLES]:
        graph = "hnsw" in str(MODES.get(name))
        yield pytest.param(name, marks=needs_hnswlib if graph else ())


@pytest.fixture(scope="module", params=modes())
def case(request, data, tiny_encoder, tmp_path_factory):
    """A fitted model, its folder, what was loaded, and a folder of that."""
    model, X, y = build(request.param, tiny_encoder)
    X, y = data[X], data[y]
    folder = tmp_path_factory.mktemp("case")
    model.fit(X, y).save_pretrained(folder / "one")
    loaded = skxmc.load(folder / "one")
    # Before they predict, which a network and a tokenizer may keep traces of.
    loaded.save_pretrained(folder / "two")
    return SimpleNamespace(
        model=model, X=X, y=y, folder=folder, loaded=loaded, answers=answers(model, X)
    )


# Round trip


def test_answers_are_the_same(case):
    assert_identical(answers(case.loaded, case.X), case.answers)


def test_parameters_are_the_same(case):
    model, loaded = case.model, case.loaded
    assert type(loaded) is type(model)
    expected = model.get_params(deep=False)
    assert_identical(loaded.get_params(deep=False), expected)
    assert list(loaded.get_params()) == list(model.get_params())


def test_attributes_are_the_same(case):
    pairs = list(zip(members_of(case.loaded), members_of(case.model), strict=True))
    for loaded, model in pairs:
        not_saved = getattr(model, "not_saved", ())
        assert set(vars(loaded)) == set(vars(model)) - set(not_saved)
        for name in ("history_", "label_names_", "classes_", "label_counts_"):
            missing = "there is none"
            values = [getattr(one, name, missing) for one in (loaded, model)]
            assert_identical(*values)
        if hasattr(model, "network_"):
            assert_same_network(loaded.network_, model.network_)


def assert_same_network(loaded, model):
    state = model.state_dict()
    assert list(loaded.state_dict()) == list(state)
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == state[name].dtype and tensor.device.type == "cpu"
        assert torch.equal(tensor, state[name])
    trained = [
        {n: p.requires_grad for n, p in m.named_parameters()} for m in (loaded, model)
    ]
    assert trained[0] == trained[1]
    assert not any(module.training for module in loaded.modules())
    names = [[(n, type(m)) for n, m in net.named_modules()] for net in (loaded, model)]
    assert names[0] == names[1]


def same_again(name):
    # transformers notes there how the tokenizer itself was loaded.
    return not name.endswith("tokenizer_config.json")


def test_saved_again_is_the_same(case):
    contents = [content_of(case.folder / name) for name in ("one", "two")]
    configs = [json.loads(content.pop("config.json")) for content in contents]
    for each in contents + [config["files"] for config in configs]:
        for name in [name for name in each if not same_again(name)]:
            each[name] = "there"
    assert contents[0] == contents[1]
    assert configs[0] == configs[1]


def test_loaded_pickles_and_clones(case):
    reloaded = pickle.loads(pickle.dumps(case.loaded))
    assert_identical(answers(reloaded, case.X), case.answers)
    copied = clone(case.loaded)
    assert_identical(copied.get_params(deep=False), case.model.get_params(deep=False))
    with pytest.raises(NotFittedError):
        copied.predict(case.X)


def test_loaded_fits_again(case):
    # All have an int for a random_state: fitted again, the original is as it was.
    fitted = skxmc.load(case.folder / "two").fit(case.X, case.y)
    assert_identical(answers(fitted, case.X), case.answers)
    histories = [getattr(one, "history_", None) for one in (fitted, case.model)]
    assert_identical(*histories)


def test_tokenizer_saved_again_is_the_same(saved, tmp_path):
    again(skxmc.load(saved.folder / "text"), tmp_path)
    assert content_of(tmp_path / "again") == content_of(saved.folder / "text")
