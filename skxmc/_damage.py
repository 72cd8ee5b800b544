"""Files that are not what was written, and JSON that is."""

import json


class DamagedError(ValueError):
    """A file of a model folder is not what was written."""


def damaged(path, reason):
    """Error that names a file and what is wrong with it."""
    return DamagedError(
        f"{path} is damaged: {reason}. Copy the folder again, or save the model again."
    )


def parse_json(path):
    """What a JSON file holds, without what JSON does not define.

    Raises
    ------
    DamagedError
        If it is no JSON, names a field twice, or holds NaN.
    """
    try:
        return json.loads(
            path.read_text(encoding="utf-8", errors="surrogatepass"),
            object_pairs_hook=without_repetition,
            parse_constant=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error


def without_repetition(pairs):
    """Fields of a JSON object, of which json.loads would keep the last of one name."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r:.60} stands there twice")
    return fields


def _refuse_constant(text):
    raise ValueError(f"it holds {text}, which is no JSON")
