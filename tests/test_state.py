"""What folders keep of an object: names that do not depend on those in Python."""

import pytest
import torch
from torch import nn

from skxmc.nn.heads import LabelScores
from skxmc.nn.state import check_state, flag, from_state, number, parameter, to_state


class Small(nn.Module):
    """Has a parameter, a renamed number and a cache."""

    attribute_names = {"rate": "_rate"}

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self._rate = 0.5
        self.reset_unsaved()

    def reset_unsaved(self):
        self.cache = []
        self.register_buffer("folded", None, persistent=False)

    def expected_state(self):
        return {"weight": parameter(2), "rate": number(0, 1)}


class Larger(Small):
    """Adds a name to those of its base."""

    attribute_names = {"shares": "_shares"}

    def __init__(self):
        super().__init__()
        self._shares = True

    def expected_state(self):
        return super().expected_state() | {"shares": flag}


def test_state_has_saved_names_and_nothing_unsaved():
    module = Small()
    module.cache.append(3)
    module.folded = torch.ones(2)
    state = to_state(module)
    assert list(state) == ["rate", "weight"]
    again = from_state(Small, state)
    assert again._rate == 0.5 and again.weight is module.weight
    assert again.cache == [] and "folded" in again._buffers and again.folded is None
    assert not again.training
    check_state(again, "it")


def test_names_of_base_classes_are_inherited():
    state = to_state(Larger())
    assert list(state) == ["rate", "shares", "weight"]
    again = from_state(Larger, state)
    assert again._rate == 0.5 and again._shares is True
    check_state(again, "it")


@pytest.mark.parametrize("name", ["_rate", "cache", "folded", "training", "_modules"])
def test_names_that_no_folder_keeps(name):
    with pytest.raises(ValueError, match=f"unknown attribute '{name}'"):
        from_state(Small, to_state(Small()) | {name: 1})


def test_messages_have_the_saved_names():
    module = Small()
    module._rate = 2
    with pytest.raises(ValueError, match=r"it\.rate must be a number from 0 to 1"):
        check_state(module, "it")
    del module._rate
    with pytest.raises(ValueError, match=r"it\.rate .* is missing"):
        check_state(module, "it")
    module._rate, module.more = 1, 1
    with pytest.raises(ValueError, match="it has the unknown attribute 'more'"):
        check_state(module, "it")


def test_attribute_that_checks_depend_on_is_missing():
    scores = LabelScores(torch.ones(3, 2))
    del scores.n_labels
    with pytest.raises(ValueError, match="LabelScores misses the attribute 'n_labels'"):
        check_state(scores, "it")
