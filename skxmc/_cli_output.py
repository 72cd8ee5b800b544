"""JSON on standard output, as the command line prints it."""

import contextlib
import json
import math

import click


def print_json(content, indent=None):
    """Print a value as JSON in UTF-8."""
    # Half an emoji, which a cut through a text may leave, exists in UTF-8 only escaped.
    for ensure_ascii in (False, True):
        text = _dump_json(content, ensure_ascii=ensure_ascii, indent=indent)
        with contextlib.suppress(UnicodeEncodeError):
            click.echo(text.encode("utf-8"))
            return


def _dump_json(content, **options):
    options["default"] = str  # for the dates of a Parquet file
    try:
        return json.dumps(content, allow_nan=False, **options)
    except ValueError:
        return json.dumps(_replace_non_finite(content), allow_nan=False, **options)


def _replace_non_finite(content):
    """Replace NaN and infinities, which JSON does not have, by None."""
    if isinstance(content, dict):
        return {name: _replace_non_finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return list(map(_replace_non_finite, content))
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
