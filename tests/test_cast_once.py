import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from skxmc.nn.cast_once import CastsOnce


class Toy(CastsOnce):
    """Words, two linear maps, one of which is used twice, and a map tied to words."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(7, 8)
        self.norm = nn.LayerNorm(8)
        self.first = nn.Linear(8, 8)
        self.parts = nn.ModuleList([nn.Sequential(self.first, nn.ReLU()), self.first])
        self.special = nn.modules.linear.NonDynamicallyQuantizableLinear(8, 8)
        self.last = nn.Linear(8, 7)
        self.last.weight = self.words.weight

    def forward(self, ids):
        return self.cast_once(IDS.device).compute(ids)

    def compute(self, ids):
        states = self.norm(self.words(ids))
        for part in self.parts:
            states = states + part(states)
        return self.last(linear(states, self.special.weight))


@pytest.fixture
def toy():
    torch.manual_seed(0)
    return Toy().eval()


IDS = torch.tensor([[0, 3, 6], [1, 1, 5]])


@torch.no_grad()
def predict(function, dtype=torch.bfloat16):
    with torch.autocast("cpu", dtype=dtype):
        return function(IDS)


def assert_bits(toy, dtype=torch.bfloat16):
    torch.testing.assert_close(
        predict(toy, dtype), predict(toy.compute, dtype), rtol=0, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_same_bits(toy, dtype):
    assert_bits(toy, dtype)
    with torch.inference_mode():
        assert_bits(toy, dtype)


def test_only_weights_of_linear_maps_are_cast(toy):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        cast = toy.cast_once(IDS.device)
    halves = {n for n, p in cast.named_parameters() if p.dtype == torch.bfloat16}
    assert halves == {"first.weight", "first.bias", "last.bias"}
    assert cast.parts[0][0] is cast.parts[1] is cast.first is not toy.first
    own = dict(toy.named_parameters())
    shared = {n: p for n, p in cast.named_parameters() if n not in halves}
    assert shared and all(own[name] is weight for name, weight in shared.items())
    assert {p.dtype for p in toy.parameters()} == {torch.float32}


def test_no_copy_where_weights_are_not_cast_or_learn(toy):
    with torch.no_grad():
        assert toy.cast_once(IDS.device) is toy
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert toy.cast_once(IDS.device) is toy
        toy(IDS).sum().backward()
    assert all(
        p.grad is not None for n, p in toy.named_parameters() if "special" not in n
    )


def change_in_place(toy):
    with torch.no_grad():
        toy.first.bias.add_(1)


def assign_data(toy):
    toy.first.weight.data = torch.ones(8, 8)


def change_data_and_train(toy):
    toy.train()
    toy.first.weight.data.add_(1)  # torch does not count this as a change
    toy.eval()


def load(toy):
    toy.load_state_dict(Toy().state_dict())


def take_a_step(toy):
    optimizer = torch.optim.AdamW(toy.parameters(), lr=0.1, fused=True)
    toy(IDS).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize(
    "change", [change_in_place, assign_data, change_data_and_train, load, take_a_step]
)
def test_copy_follows_the_weights(toy, change):
    before = predict(toy)
    change(toy)
    assert not torch.equal(predict(toy), before)
    assert_bits(toy)


def test_copy_is_made_once(toy):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        first = toy.cast_once(IDS.device)
        assert toy.cast_once(IDS.device) is first
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.float16):
        assert toy.cast_once(IDS.device) is not first


@pytest.mark.parametrize("duplicate", [copy.deepcopy, "pickle"])
def test_copies_of_the_module_have_weights_of_their_own(toy, duplicate):
    before = predict(toy)
    new = pickle.loads(pickle.dumps(toy)) if duplicate == "pickle" else duplicate(toy)
    assert torch.equal(predict(new), before)
    change_in_place(new)
    assert torch.equal(predict(toy), before)
    assert_bits(new)
