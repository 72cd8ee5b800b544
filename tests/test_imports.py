"""Imports run one way: from what knows little to what knows more."""

import ast
import pathlib

import pytest

import skxmc

ROOT = pathlib.Path(skxmc.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
# A module imports from lower tiers only; those of one tier do not know each other.
# Private helpers lie below all, and whatever is not named here above all.
TIERS = [
    "nn.process nn.state nn.locks nn.network nn.rowwise nn.weights",
    "nn.checkpoint nn.devices nn.text nn.labels nn.losses nn.optimizer nn.search "
    "nn.shortlist metrics datasets",
    "cluster _outputs",
    "nn.encoders nn.examples nn.heads nn.prediction",
    "nn.label_names nn.training _pretrained _token_vectors _teacher _transformer_files",
    "nn.label_cycle _model_values",
    "nn.networks.grank nn.networks.lightdxml nn.networks.lightxml persistence",
    "nn.networks.gudn nn.networks.treaderxml base",  # networks with LightXML's heads
    "_clustering",
    "grank gudn lightdxml lightxml treaderxml ensemble",
]
TIER = {name: i for i, names in enumerate(TIERS) for name in names.split()}


def module_name(file):
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def tier(name):
    lowest = -1 if name.startswith("_") and not name.startswith("__") else len(TIERS)
    return TIER.get(name, lowest)


def imports(file):
    """Full names of what a file imports, anywhere in it."""
    package = ["skxmc", *file.split("/")[:-1]]
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            yield base
            # "from . import base" names a module, "from .base import X" does not.
            yield from (f"{base}.{alias.name}" for alias in node.names)


def own_modules(file):
    """Modules of this package that a file imports."""
    known = {module_name(other) for other in FILES} - {"__init__", "nn"}
    return known & {name.removeprefix("skxmc.") for name in imports(file)}


def test_imports_are_read():
    assert {"nn.heads", "nn.examples", "_clustering"} <= own_modules("grank.py")
    assert own_modules("nn/training.py") == {
        *("nn.checkpoint", "nn.devices", "nn.network", "nn.optimizer"),
        *("nn.process", "nn.text", "nn.weights"),
    }
    assert any(name.startswith("sklearn") for name in imports("base.py"))


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("nn/")])
def test_nothing_in_nn_knows_scikit_learn(file):
    assert not [name for name in imports(file) if name.split(".")[0] == "sklearn"]
    assert all(name.startswith("nn.") for name in own_modules(file))


@pytest.mark.parametrize(
    "file", [f for f in FILES if tier(module_name(f)) < len(TIERS)]
)
def test_imports_run_one_way(file):
    own = tier(module_name(file))
    above = [n for n in own_modules(file) if tier(n) >= max(own, 0)]
    assert not above, f"{file} imports {above}"


def test_every_module_of_nn_has_its_tier():
    known = [module_name(file) for file in FILES if file.startswith("nn/")]
    assert {*known} - {*TIER} == {"nn", "nn.networks"}
    assert TIER.keys() <= {module_name(file) for file in FILES}
