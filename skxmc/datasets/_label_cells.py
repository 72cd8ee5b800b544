"""Lists of labels that are written as a text: in JSON, by Python or by NumPy."""

import ast
import contextlib
import json
import re

_CLOSING = {"[": "]", "(": ")", "{": "}"}
# Possessive quantifiers (++, *+) do not backtrack, which on a long text that almost
# matches takes quadratic time or worse.
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")"""
_BARE = r"""[^\s,'"()\[\]{}]++"""
# NumPy 2 prints [np.str_('a'), np.int64(3)].
_ITEM = rf"""(?:np\.\w+\((?:{_QUOTED}|{_BARE})\)|[bru]?{_QUOTED}|{_BARE})"""
_ITEMS = re.compile(rf"\s*(?:{_ITEM}(?:\s*,\s*|\s+|$))*+", re.DOTALL)
_WRAPPED = re.compile(
    r"(?:array|frozenset|list|set|tuple)\((.*?)(?:,\s*dtype=[^()]*)?\)", re.DOTALL
)
_UNWRAP = re.compile(r"^np\.\w+\((.*)\)$", re.DOTALL)
_INTEGER = re.compile(r"[+-]?\d+")
# Values that are not names: missing ones, booleans, and where NumPy abbreviates.
_NO_NAMES = {"None", "null", "nan", "NaN", "NaT", "NA", "<NA>", "True", "False", "..."}
_NO_NAMES |= {"true", "false", "np.True_", "np.False_"}


def read_list(text):
    """Return the items of a text that is written as a list; None for a plain name.

    Integers of lists that Python or NumPy print are returned as texts, so that 007
    keeps its zeros. Lists in JSON come as ``json.loads`` returns them.

    Raises
    ------
    ValueError
        If the text looks like a list but cannot be read as one, or if an item, such
        as NaN, cannot be a name.
    """
    text = text.strip()
    wrapped = text[-1:] == ")" and _WRAPPED.fullmatch(text)
    if wrapped and wrapped[1].strip()[:1] in _CLOSING | {"": ""}:
        text = wrapped[1].strip() or "[]"
    if text[:1] not in _CLOSING:
        return None
    if _CLOSING[text[0]] == text[-1]:
        inner = text[1:-1].strip()
        if not inner:
            return []
        with contextlib.suppress(ValueError, RecursionError):
            return json.loads(text)
        # (2) is a name, but (2, 3) is a tuple.
        items = _read_items(inner) if text[0] != "(" or "," in inner else None
        if items is not None:
            return items
    if begins_list(text):
        raise ValueError("it looks like a list, but cannot be read as one")
    return None


def begins_list(text):
    """Whether a text begins like a list of quoted texts.

    Parentheses are common in names, as in "('Til Tuesday)": there the text must end
    like a list as well.
    """
    if text[:1] == "(" and text[-1:] == ")":
        ends = text.lstrip("( \n")[:1], text.rstrip("), \n")[-1:]
        return all(end in ("'", '"') for end in ends)
    return text[:1] in ("[", "{") and text.lstrip("[{ \n")[:1] in ("'", '"')


def is_torn_list(names):
    """Whether the names are parts of one list that a separator has split.

    Then a bracket opens in the first name and closes in the last.
    """
    if len(names) < 2 or names[0][0] not in _CLOSING:
        return False
    opening, closing = names[0][0], _CLOSING[names[0][0]]
    closed = names[-1].endswith(closing)
    return closed and closing not in names[0] and opening not in names[-1]


def is_in_brackets(name):
    """Whether brackets enclose a name."""
    return _CLOSING.get(name[0]) == name[-1]


def _read_items(inner):
    """Return the names between brackets; None if there are plain words or nesting."""
    if not _ITEMS.fullmatch(inner):
        return None
    items = [_UNWRAP.sub(r"\1", item) for item in re.findall(_ITEM, inner, re.DOTALL)]
    plain = [item for item in items if item[-1] not in "'\""]
    values = [item for item in plain if not _INTEGER.fullmatch(item)]
    if not all(map(_cannot_be_name, values)):
        return None
    if values:
        raise ValueError(f"{values[0]} cannot be the name of a label")
    try:
        return [x if _INTEGER.fullmatch(x) else ast.literal_eval(x) for x in items]
    except (SyntaxError, ValueError):  # an incomplete escape, such as '\x1'
        return None


def _cannot_be_name(item):
    try:
        float(item)
    except ValueError:
        return item in _NO_NAMES
    return True
