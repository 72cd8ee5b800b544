"""Classifiers by how long a fit may take."""

import pytest
from sklearn.base import clone

import skxmc
from skxmc._efforts import EffortMixin

SYSTEMS = [name for name in skxmc.__all__ if name.endswith("Classifier")]
SYSTEMS.remove("EnsembleClassifier")
SETS = [(name, effort) for name in SYSTEMS for effort in getattr(skxmc, name)._efforts]


@pytest.mark.parametrize("name, effort", SETS)
def test_parameters_exist_and_can_be_set_otherwise(name, effort):
    system = getattr(skxmc, name)
    model = system.with_effort(effort, max_epochs=3, random_state=7)
    assert type(model) is system
    found = model.get_params()
    expected = system._efforts[effort] | dict(max_epochs=3, random_state=7)
    assert {key: found[key] for key in expected} == expected
    assert clone(model).get_params() == found


@pytest.mark.parametrize("name, effort", SETS)
def test_every_set_can_be_fitted(name, effort, tiny_encoder, colours):
    texts, Y, names = colours
    options = dict(max_epochs=1, random_state=0, label_texts=names)
    system = getattr(skxmc, name)
    if "encoder" in system().get_params():
        options["encoder"] = tiny_encoder
    model = system.with_effort(effort, **options).fit(texts, Y)
    assert model.predict_topk(texts, 3)[0].shape == (60, 3)


@pytest.mark.parametrize("name", SYSTEMS)
def test_each_system_has_the_recipe_of_its_paper(name):
    assert "paper" in getattr(skxmc, name)._efforts


def test_unknown_effort():
    with pytest.raises(ValueError, match="effort must be one of .*'paper'"):
        skxmc.GRankClassifier.with_effort("none")
    with pytest.raises(ValueError, match=r"effort must be one of .*got \['low'\]"):
        skxmc.GRankClassifier.with_effort(["low"])
    with pytest.raises(ValueError, match="effort must be one of"):
        EffortMixin.with_effort("low")
