"""What a model folder keeps of an object, and how it is checked.

A class whose objects are kept in folders says so by these members. The first is
required; most classes need no other.

``expected_state(self)``
    Returns a dict from each name that a folder keeps to a check of its value. A
    check is called with the value and the name that messages use, and raises
    ValueError if the value is not what the class needs. Parameters, buffers and
    submodules are values too. An attribute that is not listed is refused when the
    object is saved or loaded.
``attribute_names``
    A dict from names in the folder to attributes in Python, for those that differ.
    To rename an attribute, change its entry here, or add one: folders that exist
    still load. Entries of base classes are inherited.
``reset_unsaved(self)``
    Sets the attributes that exist only for training or as a cache to what they are
    before training. All attributes that it sets are left out of folders. Loading
    calls it before it sets any other attribute.
``to_state(self)`` and ``from_state(cls, state)``
    For objects that are not the sum of their attributes, such as a graph of hnswlib:
    the first returns a dict of what the folder keeps, the second makes the object.
"""

import functools
import math
import numbers
import sys
from operator import attrgetter

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from .finite import all_finite

# Stands for the value of an attribute that is missing.
MISSING = object()
# Attributes that torch itself gives every module. `training` is one of them: a loaded
# model is always in evaluation mode.
_TORCH_ATTRIBUTES = frozenset(vars(nn.Module()))


def to_state(thing):
    """Return what a folder keeps of an object, by the names in the folder."""
    kind = type(thing)
    if hasattr(kind, "to_state"):
        return thing.to_state()
    # As for pickle, a class may leave out what can be computed again.
    own = thing.__getstate__() if isinstance(thing, nn.Module) else None
    values = by_saved_name(kind, attributes(thing, own))
    if kind not in _CONTAINERS:
        expected = expected_state(thing)
        values = {name: value for name, value in values.items() if name in expected}
    # Tensors and modules keep their order, which networks depend on. A value of None
    # may take the place of either, so all other values are ordered by name.
    ordered = (torch.Tensor, nn.Module)
    plain = sorted(n for n, value in values.items() if not isinstance(value, ordered))
    return {name: values[name] for name in plain} | values


def from_state(kind, state):
    """Make an object of a class of what `to_state` returned.

    Its values are not checked yet: `check_state` does that.

    Raises
    ------
    ValueError
        If the state has a name that no folder keeps.
    """
    if hasattr(kind, "from_state"):
        return kind.from_state(state)
    thing = _make_empty(kind)
    unsaved = _unsaved_names(kind)
    for name, value in by_attribute(kind, state).items():
        if (
            name in unsaved
            or isinstance(thing, nn.Module)
            and name in _TORCH_ATTRIBUTES
        ):
            raise _unknown_error(kind.__name__, name)
        _set(thing, name, value)
    return thing


def _make_empty(kind):
    """Make an object that has only the attributes that no folder keeps."""
    thing = kind.__new__(kind)
    if isinstance(thing, nn.Module):
        nn.Module.__init__(thing)
        thing.training = False
    if hasattr(kind, "reset_unsaved"):
        kind.reset_unsaved(thing)
    return thing


def _set(thing, name, value):
    """Set an attribute, and register it where torch expects that."""
    if not isinstance(thing, nn.Module):
        vars(thing)[name] = value
    elif isinstance(value, nn.Parameter):
        thing.register_parameter(name, value)
    elif isinstance(value, torch.Tensor):
        thing.register_buffer(name, value)
    elif isinstance(value, nn.Module):
        thing.add_module(name, value)
    else:
        vars(thing)[name] = value


@functools.cache
def _unsaved_names(kind):
    """Return the names of the attributes that no folder keeps."""
    return frozenset(_attributes(_make_empty(kind), None))


def _attribute_names(kind):
    """Return the attributes of a class by their names in folders, if these differ."""
    names = {}
    for base in reversed(kind.__mro__):
        names |= vars(base).get("attribute_names", {})
    return names


def by_saved_name(kind, values):
    """Rename the attributes of a class, the keys of `values`, as folders name them."""
    saved_names = {name: saved for saved, name in _attribute_names(kind).items()}
    return {saved_names.get(name, name): value for name, value in values.items()}


def by_attribute(kind, state):
    """Rename attributes as the class names them: the opposite of `by_saved_name`.

    Raises
    ------
    ValueError
        If an attribute already has its name in Python, which folders do not use.
    """
    names = _attribute_names(kind)
    for name in set(state) & set(names.values()):
        raise _unknown_error(kind.__name__, name)
    return {names.get(name, name): value for name, value in state.items()}


def expected_state(thing):
    """Return the checks of what a folder keeps of an object, by the names there.

    Raises
    ------
    ValueError
        If the object misses an attribute that its checks depend on.
    """
    # Asked of the class: an attribute of a loaded object may have the method's name.
    kind = type(thing)
    try:
        return _LAYERS.get(kind, getattr(kind, "expected_state", None))(thing)
    except AttributeError as error:
        if error.obj is not thing:
            raise
        (name,) = by_saved_name(kind, {error.name: None})
        raise ValueError(f"{kind.__name__} misses the attribute {name!r}.") from error


def check_state(thing, name, values=None):
    """Refuse an object that does not hold what its class expects.

    Parameters
    ----------
    thing : object
        A module, or an object of a class with ``expected_state()``.
    name : str
        What messages call the object.
    values : dict or None, default=None
        Its attributes; None is all that a folder keeps.

    Raises
    ------
    ValueError
        If an attribute is missing, unknown or not as expected.
    """
    kind = type(thing)
    if kind not in _LAYERS and not hasattr(kind, "expected_state"):
        raise ValueError(f"{name} is a {kind.__name__}, which no folder keeps.")
    values = attributes(thing) if values is None else values
    values = by_saved_name(kind, values)
    expected = expected_state(thing)
    unknown = sorted(set(values) - set(expected))
    if unknown:
        raise _unknown_error(name, unknown[0])
    for key, check in expected.items():
        check(values.get(key, MISSING), f"{name}.{key}")


def _unknown_error(name, attribute):
    return ValueError(f"{name} has the unknown attribute {attribute!r:.60}.")


def attributes(thing, own=None):
    """Return the attributes of an object that a folder may keep.

    Parameters
    ----------
    thing : object
    own : dict or None, default=None
        Attributes to use instead of ``vars(thing)``. None uses these.

    Returns
    -------
    dict
        Attributes by name, with the parameters, buffers and submodules of a module.
    """
    unsaved = _unsaved_names(type(thing))
    values = _attributes(thing, own)
    return {name: value for name, value in values.items() if name not in unsaved}


def _attributes(thing, own):
    own = vars(thing) if own is None else own
    if not isinstance(thing, nn.Module):
        return dict(own)
    values = {n: v for n, v in own.items() if n not in _TORCH_ATTRIBUTES}
    for name, value in values.items():
        if isinstance(value, (torch.Tensor, nn.Module)):
            raise ValueError(f"{name} is no registered tensor or module.")
    for group in (thing._parameters, thing._buffers, thing._modules):
        for name in values.keys() & group.keys():
            raise ValueError(f"{type(thing).__name__} has two attributes {name!r}.")
        values |= group
    return values


def refuse(name, what, value):
    """Raise ValueError: the value of that name is not what it must be ("a list")."""
    shown = "missing" if value is MISSING else f"{_describe(value)}"
    raise ValueError(f"{name} must be {what}, and is {shown}.")


def _describe(value):
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"
    text = repr(value) if isinstance(value, (int, float, str)) else ""
    return text if 0 < len(text) < 80 else type(value).__name__


def flag(value, name):
    """Check that a value is a bool."""
    if not isinstance(value, bool):
        refuse(name, "True or False", value)


def nothing(value, name):
    """Check that a value is None."""
    if value is not None:
        refuse(name, "None", value)


def number(low=-math.inf, high=math.inf, *, whole=False, finite=True):
    """Make a check for a number of a range, both ends of which are allowed.

    Parameters
    ----------
    low, high : float
    whole : bool, default=False
        Accept integers only.
    finite : bool, default=True
        Refuse NaN, infinity and integers beyond 64 bits.
    """
    kind = numbers.Integral if whole else numbers.Real
    most = 2**63 - 1 if whole else sys.float_info.max

    def check(value, name):
        good = isinstance(value, kind) and not isinstance(value, bool)
        if good and finite:
            good = max(low, -most) <= value <= min(high, most)
        if not good:
            what = "a whole number" if whole else "a number"
            refuse(name, f"{what} from {low} to {high}", value)

    return check


def choice(*choices):
    """Make a check for one of several values, which must be of the same type."""

    def check(value, name):
        if not any(type(value) is type(one) and value == one for one in choices):
            refuse(name, f"one of {choices}", value)

    return check


def optional(check):
    """Make a check for None, or for what another check accepts."""
    return lambda value, name: value is None or check(value, name)


def absent_or(check):
    """Make a check for an attribute that may be missing."""
    return lambda value, name: value is MISSING or check(value, name)


def floats(*shape, dtypes=(torch.float32, torch.float64), largest=math.inf):
    """Make a check for a tensor of finite numbers.

    Parameters
    ----------
    *shape : int or None
        Length of each axis; None accepts any length of at least 1.
    dtypes : tuple of dtype, default=(float32, float64)
    largest : float, default=inf
        Largest absolute value.
    """

    def check(value, name):
        good = _has_shape(value, shape) and value.dtype in dtypes
        if not good:
            refuse(name, f"numbers of shape {shape} and dtype {dtypes}", value)
        if not all_finite(value):
            raise ValueError(f"{name} holds NaN or infinity.")
        if largest < math.inf and value.numel() and value.abs().max() > largest:
            raise ValueError(f"{name} holds numbers beyond {largest}.")

    return check


def array(*shape, kinds, least=None, most=None):
    """Make a check for a numpy array.

    Parameters
    ----------
    *shape : int or None
        Length of each axis; None accepts any length of at least 1.
    kinds : str
        Kinds of dtypes, such as "f" or "iu". Arrays of kind "f" must be finite.
    least, most : number or None, default=None
        Smallest and largest value; None accepts any.
    """

    def check(value, name):
        good = isinstance(value, np.ndarray) and value.dtype.kind in kinds
        if not good or not _shapes_agree(value.shape, shape):
            refuse(name, f"an array of shape {shape} and a dtype of {kinds!r}", value)
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"{name} holds NaN or infinity.")
        if least is not None and value.size and value.min() < least:
            raise ValueError(f"{name} holds numbers below {least}.")
        if most is not None and value.size and value.max() > most:
            raise ValueError(f"{name} holds numbers above {most}.")

    return check


def ones(*shape):
    """Make a check for a float32 CSR matrix that stores no other value than 1."""

    def check(value, name):
        if not sp.issparse(value) or value.format != "csr" or value.shape != shape:
            refuse(name, f"a CSR matrix of shape {shape}", value)
        value.check_format(full_check=True)
        if value.dtype != np.float32 or (value.data != 1).any():
            raise ValueError(f"{name} stores other numbers than 1.")

    return check


def parameter(*shape, **options):
    """Make a check for a parameter of finite numbers; the options are of `floats`."""
    numbers_check = floats(*shape, **options)

    def check(value, name):
        if not isinstance(value, nn.Parameter):
            refuse(name, "a parameter", value)
        numbers_check(value, name)

    return check


def indices(*shape, high, low=0, dtype=torch.int64):
    """Make a check for a tensor of whole numbers from `low` to `high` - 1."""

    def check(value, name):
        if not _has_shape(value, shape) or value.dtype != dtype:
            refuse(name, f"whole numbers of shape {shape} and dtype {dtype}", value)
        if value.numel() and (value.min() < low or value.max() >= high):
            raise ValueError(f"{name} holds numbers outside of [{low}, {high}).")

    return check


def _has_shape(value, shape):
    return isinstance(value, torch.Tensor) and _shapes_agree(value.shape, shape)


def _shapes_agree(found, expected):
    return len(found) == len(expected) and all(
        n == m or m is None and n > 0 for n, m in zip(found, expected, strict=True)
    )


def one_dtype(network, name):
    """Check that all numbers of a network have one dtype, except tables in bfloat16."""
    tensors = [*network.parameters()]
    for module in network.modules():
        if hasattr(type(module), "expected_state"):
            tensors += [t for t in module._buffers.values() if t is not None]
    dtypes = {t.dtype for t in tensors if t.is_floating_point()} - {torch.bfloat16}
    if len(dtypes) > 1:
        raise ValueError(f"{name} holds numbers of several dtypes, {dtypes}.")


def part(*kinds, fits=None, **expected):
    """Make a check for an object of one of these classes, and for all that it holds.

    Parameters
    ----------
    *kinds : type
    fits : callable or None, default=None
        Called with the object; returns whether it fits the objects around it.
    **expected
        Values that its attributes must have. They may be attributes of attributes:
        ``**{"encoder.width": 8}``.
    """

    def check(value, name):
        if type(value) not in kinds:
            refuse(name, f"a {' or '.join(kind.__name__ for kind in kinds)}", value)
        check_state(value, name)
        for path, wanted in expected.items():
            found = attrgetter(path)(value)
            if found != wanted:
                raise ValueError(f"{name}.{path} is {found} instead of {wanted}.")
        if fits is not None and not fits(value):
            raise ValueError(f"{name} does not fit the other parts.")

    return check


def layers(kind, *checks):
    """Make a check for a Sequential or ModuleList: one check for each module."""

    def check(value, name):
        if type(value) is not kind or len(value) != len(checks):
            refuse(name, f"a {kind.__name__} of {len(checks)} modules", value)
        if set(attributes(value)) != set(map(str, range(len(checks)))):
            raise ValueError(f"{name} holds more than its modules.")
        for i, one in enumerate(checks):
            one(value[i], f"{name}.{i}")

    return check


def linear_map(in_features, out_features=None, *, bias=True):
    """Make a check for a linear map; None accepts any number of outputs."""
    expected = {"in_features": in_features}
    if out_features is not None:
        expected["out_features"] = out_features
    return part(nn.Linear, fits=lambda map: (map.bias is not None) == bias, **expected)


def _expected_of_linear(layer):
    shape = layer.out_features, layer.in_features
    return {
        "in_features": number(1, whole=True),
        "out_features": number(0, whole=True),
        "weight": parameter(*shape),
        "bias": optional(parameter(layer.out_features)),
    }


def _expected_of_norm(layer):
    shape = layer.normalized_shape

    def check_shape(value, name):
        if not isinstance(value, tuple) or len(value) != 1:
            refuse(name, "a tuple of one number", value)
        number(1, whole=True)(value[0], name)

    return {
        "normalized_shape": check_shape,
        "eps": number(0),
        "elementwise_affine": choice(True),
        "weight": parameter(*shape),
        "bias": parameter(*shape),
    }


# Checks of the torch modules that networks consist of, except lists (see `layers`).
_LAYERS = {
    nn.Dropout: lambda layer: {"p": number(0, 1), "inplace": choice(False)},
    nn.Identity: lambda layer: {},
    nn.LayerNorm: _expected_of_norm,
    nn.Linear: _expected_of_linear,
    nn.ReLU: lambda layer: {"inplace": choice(False)},
}
# Lists of modules, of which a folder keeps every module.
_CONTAINERS = (nn.ModuleList, nn.Sequential)
