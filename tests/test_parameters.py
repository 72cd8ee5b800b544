"""Every class says type, default and meaning of each parameter on its own page."""

import ast
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

import skxmc
from skxmc._parameters import fill_docstring

MODULES = (
    "cluster datasets ensemble feature_extraction inspection metrics model_selection"
).split()
SYSTEMS = [
    skxmc.GRankClassifier,
    skxmc.LightXMLClassifier,
    skxmc.LightDXMLClassifier,
    skxmc.TReaderXMLClassifier,
    skxmc.GUDNClassifier,
]
GROUPS = ["Encoder", "Labels", "Training", "Prediction", "Running"]


def find_public_classes():
    """Classes that a user finds in the package and in its public modules."""
    found = [getattr(skxmc, name) for name in skxmc.__all__]
    for name in MODULES:
        full = f"skxmc.{name}"
        members = vars(importlib.import_module(full)).items()
        public = [v for key, v in members if inspect.isclass(v) and key[0] != "_"]
        found += [cls for cls in public if cls.__module__.startswith(full)]
    classes = {cls for cls in found if inspect.isclass(cls)}
    return sorted(classes, key=lambda cls: cls.__name__)


CLASSES = find_public_classes()
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
every_system = pytest.mark.parametrize("cls", SYSTEMS, ids=lambda cls: cls.__name__)


def section_of(cls, title):
    """Lines of a section of the docstring of a class."""
    doc = inspect.getdoc(cls)
    body = re.split(rf"^{title}\n-+\n", doc, flags=re.MULTILINE)[1]
    return re.split(r"^\w[\w ]*\n---+$", body, flags=re.MULTILINE)[0].splitlines()


def entries_of(cls, title):
    """Names, types and descriptions of a section, and the headings in it."""
    entries, headings = [], []
    for line in section_of(cls, title):
        if not line.strip():
            continue
        if line.startswith(" "):
            entries[-1][2].append(line.strip())
        elif " : " in line:
            name, _, kind = line.partition(" : ")
            entries.append((name, kind, []))
        else:
            headings.append(line)
    return [(name, kind, " ".join(lines)) for name, kind, lines in entries], headings


def test_public_classes_are_those_of_the_api_page():
    page = (Path(__file__).parents[1] / "docs" / "api.rst").read_text()
    named = set(re.findall(r"^   ([A-Z]\w+)$", page, flags=re.MULTILINE))
    assert {cls.__name__ for cls in CLASSES} == named


@every_class
def test_every_parameter_has_an_entry_of_its_own(cls):
    names = [name for name, _, _ in entries_of(cls, "Parameters")[0]]
    assert sorted(names) == sorted(inspect.signature(cls).parameters)


@every_class
def test_types_and_defaults(cls):
    for name, kind, _ in entries_of(cls, "Parameters")[0]:
        default = inspect.signature(cls).parameters[name].default
        kind, _, written = kind.partition(", default=")
        assert kind, name
        if default is inspect.Parameter.empty:
            assert not written, name
        else:
            value = ast.literal_eval(written)
            assert (type(value), value) == (type(default), default), name


@every_class
def test_descriptions_are_sentences_that_need_no_other_page(cls):
    for name, _, description in entries_of(cls, "Parameters")[0]:
        assert re.match(r'[A-Z0-9"`]', description), name
        assert description.endswith(".") and len(description.split()) > 3, name
        assert not re.search(r"\b[Aa]s in `[A-Z]\w+`", description), name
    assert "%(" not in cls.__doc__


@every_system
def test_parameters_of_a_system_are_grouped(cls):
    headings = entries_of(cls, "Parameters")[1]
    assert [heading.partition(": ")[0] for heading in headings] == GROUPS


@pytest.mark.filterwarnings("ignore:.*label branch reads label columns")
@every_system
def test_attributes_of_a_fitted_system_are_documented(cls):
    X, Y = csr_array(np.eye(4)), csr_array(np.eye(4))
    options = {"word_dim": 8} if cls is skxmc.TReaderXMLClassifier else {}
    model = cls(
        label_dim=8, max_epochs=1, validation_fraction=0, random_state=0, **options
    ).fit(X, Y)
    fitted = {name for name in dir(model) if re.match(r"[a-z]\w*_$", name)}
    documented = {name for name, _, _ in entries_of(cls, "Attributes")[0]}
    assert {name for name in fitted if getattr(model, name) is not None} <= documented
    of_some_fits = {"feature_names_in_", "max_length_", "total_weight_"}
    assert documented - fitted <= of_some_fits


@every_class
def test_scikit_learn_finds_the_descriptions(cls):
    # Its HTML representation shows them.
    common = pytest.importorskip("sklearn.utils._repr_html.common")
    if not hasattr(common, "get_docstring"):
        pytest.skip("this version shows no descriptions")
    for name, _, description in entries_of(cls, "Parameters")[0]:
        shown = common.get_docstring(cls, "Parameters", name)
        assert description.split()[0].strip('"`') in shown


# Filling docstrings


class _Example:
    """An example.

    Parameters
    ----------
    %(batch_size)s
        Powers of 2 are usual.
    %(schedule)s
    %(label_texts)s
    """

    def __init__(self, label_texts, *, batch_size=3, schedule="constant"):
        pass


def test_places_are_filled_with_defaults_of_the_class():
    before = dict(vars(_Example))
    assert fill_docstring(_Example) is _Example
    entries, _ = entries_of(_Example, "Parameters")
    kinds = {name: kind for name, kind, _ in entries}
    assert kinds == {
        "batch_size": "int, default=3",
        "schedule": '{"linear", "constant"}, default="constant"',
        "label_texts": "sequence of str or None",
    }
    assert entries[0][2].endswith("as many documents. Powers of 2 are usual.")
    after = dict(vars(_Example))
    assert {n for n in after if after[n] is not before[n]} == {"__doc__"}


def test_filling_without_docstrings():
    # As under python -OO.
    bare = type("Bare", (), {})
    assert fill_docstring(bare) is bare and bare.__doc__ is None


def test_filling_refuses_an_unknown_place():
    cls = type("Wrong", (), {"__doc__": "Wrong.\n\n%(no_such_entry)s"})
    with pytest.raises(KeyError, match="no_such_entry"):
        fill_docstring(cls)
