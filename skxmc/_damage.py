"""Errors for damaged files, and strict parsing of JSON."""

import json


class DamagedError(ValueError):
    """A file of a model folder differs from what was written."""


def damage_error(path, reason):
    """Return the error for a damaged file: what is wrong, and what to do."""
    return DamagedError(
        f"{path} is damaged: {reason}. Copy the folder again, or save the model again."
    )


def parse_json(path):
    """Parse a JSON file, and refuse what JSON does not define.

    Parameters
    ----------
    path : Path

    Returns
    -------
    object

    Raises
    ------
    DamagedError
        If the file is not JSON, has a field twice in one object, or holds NaN.
    """
    try:
        return json.loads(
            path.read_text(encoding="utf-8", errors="surrogatepass"),
            object_pairs_hook=refuse_repeated_fields,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise damage_error(path, str(error)) from error


def refuse_repeated_fields(pairs):
    """Make a dict of the fields of a JSON object, and refuse a field that is repeated.

    json.loads alone would keep its last value.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.60} occurs twice")
    return fields


def _refuse_constant(text):
    raise ValueError(f"it holds {text}, which JSON does not define")
