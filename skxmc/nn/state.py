"""What saved objects must hold: their classes say it, and loading compares it.

A class whose objects are saved has a method ``expected_state()``. It returns a dict
with a check for each attribute; parameters, buffers and submodules are attributes too.
A check is called with a value and its name, and raises ValueError where the value is
not as the class needs it. An attribute that has no check is refused, and so is an
object whose class has no such method.
"""

import math
import numbers
import sys
from operator import attrgetter

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

# Stands for the value of an attribute that is not there.
MISSING = object()
# What torch itself keeps in every module.
OWN_TO_MODULES = frozenset(vars(nn.Module())) - {"training"}


def check_state(thing, name, values=None):
    """Refuse an object that does not hold what its class expects.

    Parameters
    ----------
    thing : object
        A module, or an object of a class with ``expected_state()``.
    name : str
        What the object is called in messages.
    values : dict or None, default=None
        Its attributes; None is all of them.

    Raises
    ------
    ValueError
        If an attribute is missing, unknown or not as expected.
    """
    kind = type(thing)
    if kind not in _LAYERS and not hasattr(kind, "expected_state"):
        raise ValueError(f"{name} is a {kind.__name__}, which is not kept in folders.")
    values = attributes(thing) if values is None else values
    # Asked of the class: an attribute of the object may have the method's name.
    expected = _LAYERS.get(kind, getattr(kind, "expected_state", None))(thing)
    if isinstance(thing, nn.Module):
        expected = {"training": flag} | expected
    unknown = sorted(set(values) - set(expected))
    if unknown:
        raise ValueError(f"{name} has the unknown attribute {unknown[0]!r}.")
    for key, check in expected.items():
        check(values.get(key, MISSING), f"{name}.{key}")


def attributes(thing):
    """Attributes of an object by name, those that torch keeps in groups included."""
    if not isinstance(thing, nn.Module):
        return dict(vars(thing))
    passed_over = OWN_TO_MODULES.union(getattr(type(thing), "not_saved", ()))
    values = {n: v for n, v in vars(thing).items() if n not in passed_over}
    for name, value in values.items():
        if isinstance(value, (torch.Tensor, nn.Module)):
            raise ValueError(f"{name} is no registered tensor or module.")
    for group in (thing._parameters, thing._buffers, thing._modules):
        for name in values.keys() & group.keys():
            raise ValueError(f"{type(thing).__name__} has two attributes {name!r}.")
        values |= group
    return values


def refuse(name, what, value):
    """Raise the error of a value that is not as expected."""
    shown = "missing" if value is MISSING else f"{_shown(value)}"
    raise ValueError(f"{name} must be {what}, and is {shown}.")


def _shown(value):
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


def empty(value, name):
    """Check that a value is an empty list."""
    if not isinstance(value, list) or value:
        refuse(name, "an empty list", value)


def number(low=-math.inf, high=math.inf, *, whole=False, finite=True):
    """Check for numbers of a range, both ends of which are allowed."""
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
    """Check for one of several values."""

    def check(value, name):
        if not any(type(value) is type(one) and value == one for one in choices):
            refuse(name, f"one of {choices}", value)

    return check


def optional(check):
    """Check for None, or what another check lets pass."""
    return lambda value, name: value is None or check(value, name)


def absent_or(check):
    """Check for an attribute that may be missing."""
    return lambda value, name: value is MISSING or check(value, name)


def floats(*shape, dtypes=(torch.float32, torch.float64), largest=math.inf):
    """Check for a tensor of finite numbers.

    Parameters
    ----------
    *shape : int or None
        None is any length of at least 1.
    dtypes : tuple of dtype
    largest : float
        Of the magnitudes.
    """

    def check(value, name):
        good = _has_shape(value, shape) and value.dtype in dtypes
        if not good:
            refuse(name, f"numbers of shape {shape} and dtype {dtypes}", value)
        if not value.isfinite().all():
            raise ValueError(f"{name} holds NaN or infinity.")
        if largest < math.inf and value.numel() and value.abs().max() > largest:
            raise ValueError(f"{name} holds numbers beyond {largest}.")

    return check


def array(*shape, kinds, least=None, most=None):
    """Check for a numpy array.

    Parameters
    ----------
    *shape : int or None
        None is any length of at least 1.
    kinds : str
        Kinds of dtypes, such as "f" or "iu". What is of kind "f" must be finite.
    least, most : number or None
        None allows any values.
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
    """Check for a CSR matrix of that shape, with 1 wherever it stores anything."""

    def check(value, name):
        if not sp.issparse(value) or value.format != "csr" or value.shape != shape:
            refuse(name, f"a CSR matrix of shape {shape}", value)
        value.check_format(full_check=True)
        if value.dtype != np.float32 or (value.data != 1).any():
            raise ValueError(f"{name} holds other numbers than 1.")

    return check


def parameter(*shape, **options):
    """Check for a parameter of finite numbers (see `floats`)."""
    numbers_check = floats(*shape, **options)

    def check(value, name):
        if not isinstance(value, nn.Parameter):
            refuse(name, "a parameter", value)
        numbers_check(value, name)

    return check


def indices(*shape, high, low=0, dtype=torch.int64):
    """Check for a tensor of whole numbers from `low` to `high` - 1."""

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
    """Check that a network's numbers have one dtype, but for tables in bfloat16."""
    tensors = [*network.parameters()]
    for module in network.modules():
        if hasattr(type(module), "expected_state"):
            tensors += [t for t in module._buffers.values() if t is not None]
    dtypes = {t.dtype for t in tensors if t.is_floating_point()} - {torch.bfloat16}
    if len(dtypes) > 1:
        raise ValueError(f"{name} holds numbers of several dtypes, {dtypes}.")


def part(*kinds, fits=None, **expected):
    """Check for an object of one of these classes, and for what that one holds.

    Parameters
    ----------
    *kinds : type
    fits : callable or None
        Whether the object fits to what stands beside it.
    **expected
        Values of attributes of it, which may be reached through others:
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
            raise ValueError(f"{name} does not fit to what stands beside it.")

    return check


def layers(kind, *checks):
    """Check for a Sequential or ModuleList of as many modules as there are checks."""

    def check(value, name):
        if type(value) is not kind or len(value) != len(checks):
            refuse(name, f"a {kind.__name__} of {len(checks)} modules", value)
        if set(attributes(value)) != {"training", *map(str, range(len(checks)))}:
            raise ValueError(f"{name} holds more than its modules.")
        flag(value.training, f"{name}.training")
        for i, one in enumerate(checks):
            one(value[i], f"{name}.{i}")

    return check


def linear_map(in_features, out_features=None, *, bias=True):
    """Check for a linear map of that size; None is any number of outputs."""
    expected = {"in_features": in_features}
    if out_features is not None:
        expected["out_features"] = out_features
    return part(nn.Linear, fits=lambda map: (map.bias is not None) == bias, **expected)


def _of_linear(layer):
    shape = layer.out_features, layer.in_features
    return {
        "in_features": number(1, whole=True),
        "out_features": number(0, whole=True),
        "weight": parameter(*shape),
        "bias": optional(parameter(layer.out_features)),
    }


def _of_norm(layer):
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


# Modules of torch that networks consist of, beside their lists (see `layers`).
_LAYERS = {
    nn.Dropout: lambda layer: {"p": number(0, 1), "inplace": choice(False)},
    nn.Identity: lambda layer: {},
    nn.LayerNorm: _of_norm,
    nn.Linear: _of_linear,
    nn.ReLU: lambda layer: {"inplace": choice(False)},
}
# All modules of torch that a folder may name.
LAYERS = (*_LAYERS, nn.ModuleList, nn.Sequential)
