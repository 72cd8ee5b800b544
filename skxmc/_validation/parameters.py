"""Checks of parameters."""

import numbers
import sys

import numpy as np
from sklearn.utils import check_random_state


def check_number(
    name, value, kind, low, high=None, *, open_low=False, open_high=False, word=None
):
    """Refuse a parameter that has another type or is out of range.

    `kind` is ``numbers.Integral`` or ``numbers.Real``. The limits are allowed values
    unless `open_low` or `open_high` excludes them, and so is `word`, if given.
    """
    if word is not None and isinstance(value, str) and value == word:
        return
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
    if word is not None:
        what = f'"{word}" or {what}'
    limits = f"{'above' if open_low else 'at least'} {low}"
    if high is not None:
        limits += f" and {'below' if open_high else 'at most'} {high}"
    raise ValueError(f"{name} must be {what}, {limits}; got {value!r}.")


def check_numbers(name, values, n, place, thing):
    """Return a number for each of n documents or labels, as a float64 ndarray.

    Parameters
    ----------
    name : str
        Name of the parameter, for messages.
    values : array-like of shape (n,)
    n : int
    place, thing : str
        Where there are n of what, as in "X" and "document".
    """
    try:
        given = np.array(values)
        if np.iscomplexobj(given):
            raise TypeError("complex numbers are in no order")
        values = given.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must hold a number for each {thing}; the "
            f"{type(values).__name__} that was given holds something else."
        ) from None
    if values.shape != (n,):
        raise ValueError(
            f"{name} has shape {values.shape} and {place} {n} {thing}s; {name}[i] must "
            f"be the number of {thing} i, and the shape ({n},)."
        )
    return values


def check_choice(name, value, choices):
    """Refuse a parameter that is not one of the choices."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}.")


def check_flag(name, value):
    """Refuse a parameter that is neither True nor False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False, got {value!r}.")


def check_prompt(name, value):
    """Refuse a prompt that is neither a text nor None."""
    if value is not None and not isinstance(value, str):
        raise ValueError(
            f"{name} must be a str or None, got {value!r}: a text, the name of a "
            "prompt in the encoder's files, or None for their default."
        )


def check_ngram_range(name, value):
    """Refuse a parameter that is not a pair of lengths of n-grams."""
    valid = isinstance(value, (tuple, list)) and len(value) == 2
    valid = valid and all(
        isinstance(n, numbers.Integral) and not isinstance(n, bool) for n in value
    )
    if not valid or not 1 <= value[0] <= value[1]:
        raise ValueError(
            f"{name} must be two ints, such as (1, 2): the shortest and the longest "
            "sequence of words, of which the shortest is at least 1 and no longer than "
            f"the longest; got {value!r}."
        )


def check_training_parameters(estimator):
    """Refuse parameters of training and prediction that are not as described."""
    whole, real = numbers.Integral, numbers.Real
    if not isinstance(estimator.verbose, (whole, np.bool_)):
        raise ValueError(f"verbose must be an int, got {estimator.verbose!r}.")
    check_random_state(estimator.random_state)
    for name in ("max_epochs", "batch_size", "accumulate", "top_k"):
        check_number(name, getattr(estimator, name), whole, 1)
    check_number("n_iter_no_change", estimator.n_iter_no_change, whole, 1)
    for name in ("head_learning_rate", "weight_decay", "tol"):
        check_number(name, getattr(estimator, name), real, 0)
    for name in ("dropout", "validation_fraction"):
        check_number(name, getattr(estimator, name), real, 0, 1, open_high=True)
    check_number("warmup", estimator.warmup, real, 0, 1)
    if estimator.clip_norm is not None:
        check_number("clip_norm", estimator.clip_norm, real, 0, open_low=True)
    if estimator.swa_start is not None:
        check_number("swa_start", estimator.swa_start, real, 0, 1, open_high=True)
    check_number("swa_every", estimator.swa_every, whole, 1)
    check_choice("schedule", estimator.schedule, ("linear", "constant"))
    if isinstance(estimator.label_weight, str):
        check_choice("label_weight", estimator.label_weight, ("propensity",))
    if estimator.checkpoint_dir is not None and not isinstance(
        estimator.random_state, numbers.Integral
    ):
        raise ValueError(
            "checkpoint_dir needs an int as random_state, to come to the same "
            f"start again; got {estimator.random_state!r}."
        )
    if estimator.early_stopping and not estimator.validation_fraction:
        raise ValueError(
            "early_stopping=True needs held-out documents: give a "
            "validation_fraction above 0."
        )
