"""Checks of parameters."""

import numbers
import sys

import numpy as np


def check_number(name, value, kind, low, high=None, *, open_low=False, open_high=False):
    """Refuse a parameter that has another type or is out of range.

    `kind` is ``numbers.Integral`` or ``numbers.Real``. The limits are allowed values
    unless `open_low` or `open_high` excludes them.
    """
    valid = isinstance(value, kind) and not isinstance(value, (bool, np.bool_))
    # Ints above 64 bits are not sizes, and NumPy would fail on them later.
    largest = 2**63 - 1 if kind is numbers.Integral else sys.float_info.max
    if isinstance(value, np.generic):  # float16 cannot hold the largest float
        value = value.item()
    valid = valid and abs(value) <= largest
    valid = valid and (value > low if open_low else value >= low)
    if valid and high is not None:
        valid = value < high if open_high else value <= high
    if valid:
        return
    what = "an int" if kind is numbers.Integral else "a number"
    limits = f"{'above' if open_low else 'at least'} {low}"
    if high is not None:
        limits += f" and {'below' if open_high else 'at most'} {high}"
    raise ValueError(f"{name} must be {what}, {limits}; got {value!r}.")


def check_choice(name, value, choices):
    """Refuse a parameter that is not one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}.")
