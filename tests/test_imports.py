"""Imports run one way, from what knows little to what knows more; and public names."""

import ast
import importlib
import inspect
import os
import pathlib
import re
import subprocess
import sys

import pytest

import skxmc

ROOT = pathlib.Path(skxmc.__file__).parent
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
# A module imports from lower tiers only; those of one tier do not know each other.
# Private helpers lie below all, and whatever is not named here above all.
TIERS = [
    "nn.finite",
    "nn.group nn.process nn.state nn.locks nn.maps nn.network nn.rowwise_optimizer "
    "nn.transformer_models nn.token_ids",
    "nn.activations nn.graph nn.rowwise_adamw nn.rowwise_sgd nn.all_labels_optimizer",
    "nn.rowwise _calibration",
    "nn.checkpoint nn.devices nn.text nn.labels nn.losses nn.optimizer nn.search "
    "nn.shortlist nn.weights metrics datasets",
    "nn.adapters nn.dense_layers _label_weights",
    "cluster nn.encoder_files _callbacks _fingerprint _hold_out _ranking_classifier "
    "_stored_words",
    "nn.bags nn.encoders nn.examples nn.heads nn.neighbors nn.prediction "
    "nn.teacher nn.export nn.self_attention",
    "nn.document_vectors nn.reading nn.sparse_encoder nn.all_labels_loss "
    "nn.shared_scores",
    "nn.all_labels nn.label_changes",
    "nn.networks.grank nn.networks.lightdxml nn.networks.lightxml nn.inherit",
    "nn.networks.gudn nn.networks.treaderxml",  # with LightXML's heads
    "nn.replica",
    "nn.named_examples nn.training _token_vectors _hierarchy _warm_encoder "
    "_warm_teacher _lightdxml_labels",
    "_warm_words _warm_neighbors",
    "_pretrained _label_branch _warm_labels _warm_start _partial_fit _neighbor_weight",
    "_label_changes",
    "nn.label_cycle nn.static_negatives persistence _neighbors _network_state "
    "_shortlist _ensemble_labels _calibrated _members",
    "base",
    "_clustering_classifier _taught_documents _mixture _shortlist_search "
    "_bag_documents _ensemble_warm_start",
    "grank gudn lightdxml lightxml treaderxml ensemble store",
    "_cli_vocabulary _cli_group",
    "_cli_data _cli_rows _weight_checks inspection",
    "_cli_table",
    "serve",
    "_cli_serve",
]
TIER = {name: i for i, names in enumerate(TIERS) for name in names.split()}


def module_name(file):
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def public_part(name):
    """A private module of a package stands with its package: datasets._icd."""
    return re.sub(r"(?<=\w)\._.*", "", name)


def tier(name):
    name = public_part(name)
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
    assert {"nn.heads", "nn.examples", "_clustering_classifier"} <= own_modules(
        "grank.py"
    )
    assert own_modules("nn/training.py") == {
        *("nn.checkpoint", "nn.devices", "nn.group", "nn.network", "nn.optimizer"),
        *("nn.replica", "nn.state", "nn.text", "nn.weights"),
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
    name = module_name(file)
    own = tier(name)
    others = {n for n in own_modules(file) if public_part(n) != public_part(name)}
    above = [n for n in others if tier(n) >= max(own, 0)]
    assert not above, f"{file} imports {above}"


# Modules that a user may import: those outside nn/ without an underscore in their path.
PUBLIC = [
    name
    for name in map(module_name, FILES)
    if not any(part == "nn" or part.startswith("_") for part in name.split("."))
]
# Public names that docs/api.rst does not list: the command, and the base of systems.
UNLISTED = {"main", "BaseXMCClassifier"}


def test_public_modules_are_found():
    assert {"base", "cli", "cluster", "datasets", "grank", "onnx"} <= set(PUBLIC)


@pytest.mark.parametrize("name", ["skxmc", *(f"skxmc.{name}" for name in PUBLIC)])
def test_public_modules_list_their_api(name):
    module = importlib.import_module(name)
    names = module.__all__
    assert names and len(set(names)) == len(names)
    page = pathlib.Path(__file__).parents[1] / "docs" / "api.rst"
    documented = set(re.findall(r"\w+", page.read_text(encoding="utf-8")))
    assert set(names) <= documented | UNLISTED
    for each in names:
        assert not each.startswith("_") and inspect.getdoc(getattr(module, each))


def test_completion_of_the_package_shows_the_api_alone():
    assert {name for name in dir(skxmc) if not name.startswith("__")} == set(
        skxmc.__all__
    )


def test_every_module_of_nn_has_its_tier():
    known = [module_name(file) for file in FILES if file.startswith("nn/")]
    assert {*known} - {*TIER} == {"nn", "nn.networks"}
    assert TIER.keys() <= {module_name(file) for file in FILES}


@pytest.mark.parametrize("given", [None, "ACTIVE"])
def test_import_sets_how_threads_wait_before_torch_is_loaded(given):
    script = (
        "import sys, os, skxmc\n"
        "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    env = {n: value for n, value in os.environ.items() if n != "OMP_WAIT_POLICY"}
    env |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    env |= {} if given is None else {"OMP_WAIT_POLICY": given}
    call = [sys.executable, "-c", script]
    done = subprocess.run(call, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [given or "PASSIVE", "False"]
