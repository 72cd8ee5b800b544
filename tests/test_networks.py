"""The contract of networks: what each must define, and what a training leaves alone."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
import torch
from torch import nn

import skxmc
from skxmc.nn import networks
from skxmc.nn.network import Network, Progress

ROOT = Path(skxmc.__file__).parent
CLUSTERED = dict(max_leaf_size=3, n_shortlist=2)
TEXTS = dict(max_length=12, n_layers=2)
SYSTEMS = {
    "X-GRank": ("GRankClassifier", TEXTS | dict(small_label_mode="dual")),
    "X-GRank, by step": (
        "GRankClassifier",
        TEXTS | CLUSTERED | dict(lambda_schedule="step", label_texts=True),
    ),
    "X-GRank, all labels": (
        "GRankClassifier",
        TEXTS | dict(head="all", n_negatives=None),
    ),
    "LightXML": ("LightXMLClassifier", TEXTS),
    "LightXML, all labels": ("LightXMLClassifier", TEXTS | dict(head="all")),
    "LightXML, uniform": (
        "LightXMLClassifier",
        TEXTS | CLUSTERED | dict(negatives="uniform", dropout_until=0.5),
    ),
    "LightDXML": (
        "LightDXMLClassifier",
        dict(n_frequent=3, n_shortlist=4, refresh_every=1, n_random_negatives=2),
    ),
    "TReaderXML": ("TReaderXMLClassifier", dict(max_length=8)),
    "TReaderXML, clustered": ("TReaderXMLClassifier", CLUSTERED),
    "GUDN": ("GUDNClassifier", TEXTS | dict(label_texts=True)),
    "GUDN, paper": (
        "GUDNClassifier",
        TEXTS | CLUSTERED | dict(variant="paper", label_texts=True),
    ),
    "GUDN, columns": ("GUDNClassifier", TEXTS | dict(label_branch="multi-hot")),
}


def modules_of_networks():
    names = [module.name for module in pkgutil.iter_modules(networks.__path__)]
    return [importlib.import_module(f"skxmc.nn.networks.{name}") for name in names]


def classes_in(module):
    found = inspect.getmembers(module, inspect.isclass)
    return [kind for _, kind in found if kind.__module__ == module.__name__]


# --- what must be defined ---------------------------------------------------


@pytest.mark.parametrize("module", modules_of_networks(), ids=lambda m: m.__name__)
def test_each_paper_has_one_network_that_keeps_the_contract(module):
    kinds = [kind for kind in classes_in(module) if issubclass(kind, Network)]
    (kind,) = kinds
    assert kind.__name__.endswith("Network")
    assert [k for k in classes_in(module) if k.__name__.endswith("Network")] == kinds
    for name in ("forward", "encode", "rank_encoded", "floats_per_document"):
        assert getattr(kind, name) is not getattr(Network, name), name
        wanted = list(inspect.signature(getattr(Network, name)).parameters)
        assert list(inspect.signature(getattr(kind, name)).parameters) == wanted
    assert hasattr(kind, "n_labels") and hasattr(kind, "n_candidates")


@pytest.mark.parametrize("name", sorted({name for name, _ in SYSTEMS.values()}))
def test_each_system_names_its_network(name):
    kind = getattr(skxmc, name)._network_class
    assert kind in [k for module in modules_of_networks() for k in classes_in(module)]
    assert kind.__name__ == name.replace("Classifier", "Network")


def test_the_base_asks_for_what_is_missing():
    network = Network()
    progress = Progress(1, 2, 3, 4)
    assert network.uses_dropout(progress) is True and network.n_candidates == 0
    for call in (
        lambda: network({}, {}, progress),
        lambda: network.rank({}, 1),
        lambda: network.floats_per_document(1),
    ):
        with pytest.raises(NotImplementedError):
            call()


# --- where modules may be ---------------------------------------------------


def names_in(path):
    """What the imported names of a file stand for: full dotted names."""
    package = ["skxmc", *path.relative_to(ROOT).parts[:-1]]
    names = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                names[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            for alias in node.names:
                names[alias.asname or alias.name] = f"{base}.{alias.name}"
    return names


def torch_modules(path):
    """Classes of a file that are made from torch's modules, or from those of nn/."""
    names, found = names_in(path), []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ClassDef):
            continue
        for base in map(ast.unparse, node.bases):
            first, _, rest = base.partition(".")
            if first in found:
                found.append(node.name)
                continue
            full = ".".join(filter(None, [names.get(first, first), rest]))
            if full.startswith(("torch.", "skxmc.")) and issubclass(
                resolve(full), nn.Module
            ):
                found.append(node.name)
    return found


def resolve(full):
    """The class of a full dotted name."""
    module, _, name = full.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError:  # a class inside a class
        return getattr(resolve(module), name)


FILES = sorted(ROOT.rglob("*.py"))
INSIDE = [path for path in FILES if path.is_relative_to(ROOT / "nn")]
OUTSIDE = [path for path in FILES if path not in INSIDE]


def test_modules_of_torch_are_recognised():
    found = {name for path in INSIDE for name in torch_modules(path)}
    assert {"Network", "GRankNetwork", "GUDNNetwork", "LinearHead"} <= found
    assert {"LabelScores", "TrainedByRow", "BagEncoder", "LabelEncoder"} <= found
    assert len(INSIDE) > 20 and len(OUTSIDE) > 20


@pytest.mark.parametrize(
    "path", OUTSIDE, ids=lambda path: path.relative_to(ROOT).as_posix()
)
def test_nothing_outside_nn_is_a_module_of_torch(path):
    assert torch_modules(path) == []


# --- what a forward pass leaves alone ---------------------------------------


def own_values(network):
    """Attributes of all modules of a network, without tensors."""
    found = {}
    for place, module in network.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor):
                continue
            if isinstance(value, dict):  # of parameters, buffers or modules
                value = list(value)
            elif isinstance(value, list):
                value = [id(part) for part in value]
            elif not isinstance(value, (bool, int, float, str, type(None))):
                value = id(value)
            found[place, name] = value
    return found


def ids_in(batch):
    return {name: id(value) for name, value in batch.items()}


@pytest.mark.parametrize("case", SYSTEMS)
def test_a_forward_pass_changes_nothing_but_tensors(
    case, tiny_encoder, colours, monkeypatch
):
    texts, Y, names = colours
    name, own = SYSTEMS[case]
    system = getattr(skxmc, name)
    kind, modes = system._network_class, []
    forward = kind.forward

    def watched(self, inputs, targets, progress):
        before = own_values(self)
        given = ids_in(inputs), ids_in(targets)
        found = forward(self, inputs, targets, progress)
        assert own_values(self) == before
        for loss in found.values() if isinstance(found, dict) else [found]:
            assert loss.ndim == 0 and loss.requires_grad
        assert (ids_in(inputs), ids_in(targets)) == given
        modes.append((progress, self.training))
        return found

    monkeypatch.setattr(kind, "forward", watched)
    if own.get("label_texts"):
        own = own | dict(label_texts=names)
    if "encoder" in system().get_params():
        own = own | dict(encoder=tiny_encoder)
    options = dict(max_epochs=2, batch_size=16, device="cpu", random_state=0)
    model = system(validation_fraction=0.1, precision="fp32", **own | options)
    model.fit(texts, Y)
    n_batches = modes[0][0].n_batches
    assert [progress for progress, _ in modes] == [
        Progress(epoch, 2, i, n_batches)
        for epoch in (1, 2)
        for i in range(1, n_batches + 1)
    ]
    until = own.get("dropout_until", 1.0) * n_batches
    assert [mode for _, mode in modes] == 2 * [i < until for i in range(n_batches)]
