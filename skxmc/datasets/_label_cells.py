"""Lists of labels that are written as a text, in JSON, by Python or by NumPy."""

import ast
import contextlib
import json
import re

_CLOSING = {"[": "]", "(": ")", "{": "}"}
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")"""
_BARE = r"""[^\s,'"()\[\]{}]++"""
# As in [np.str_('a'), np.int64(3)].
_ITEM = rf"""(?:np\.\w+\((?:{_QUOTED}|{_BARE})\)|[bru]?{_QUOTED}|{_BARE})"""
_ITEMS = re.compile(rf"\s*(?:{_ITEM}(?:\s*,\s*|\s+|$))*+", re.DOTALL)
_WRAPPED = re.compile(
    r"(?:array|frozenset|list|set|tuple)\((.*?)(?:,\s*dtype=[^()]*)?\)", re.DOTALL
)
_UNWRAP = re.compile(r"^np\.\w+\((.*)\)$", re.DOTALL)
_INTEGER = re.compile(r"[+-]?\d+")
_NO_NAMES = {"None", "null", "nan", "NaN", "NaT", "NA", "<NA>", "True", "False", "..."}
_NO_NAMES |= {"true", "false", "np.True_", "np.False_"}


def read_list(text):
    """What a text holds that is written as a list; None where it is a plain name.

    Numbers of lists in Python's form are texts, as their digits are the names.

    Raises
    ------
    ValueError
        If it is a list that cannot be read, or holds what is no name.
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
        # (2) is a name, (2, 3) a tuple.
        items = _read_items(inner) if text[0] != "(" or "," in inner else None
        if items is not None:
            return items
    if begins_list(text):
        raise ValueError("it looks like a list, but cannot be read as one")
    return None


def begins_list(text):
    """Whether a text begins as a list of texts does; in () it has to end so too."""
    if text[:1] == "(" and text[-1:] == ")":
        ends = text.lstrip("( \n")[:1], text.rstrip("), \n")[-1:]
        return all(end in ("'", '"') for end in ends)
    return text[:1] in ("[", "{") and text.lstrip("[{ \n")[:1] in ("'", '"')


def is_torn(names):
    """Whether a bracket opens in the first of several names and closes in the last."""
    if len(names) < 2 or names[0][0] not in _CLOSING:
        return False
    opening, closing = names[0][0], _CLOSING[names[0][0]]
    closed = names[-1].endswith(closing)
    return closed and closing not in names[0] and opening not in names[-1]


def in_brackets(name):
    """Whether brackets enclose a name."""
    return _CLOSING.get(name[0]) == name[-1]


def _read_items(inner):
    """Names between brackets; None for plain words and what is nested."""
    if not _ITEMS.fullmatch(inner):
        return None
    items = [_UNWRAP.sub(r"\1", item) for item in re.findall(_ITEM, inner, re.DOTALL)]
    plain = [item for item in items if item[-1] not in "'\""]
    others = [item for item in plain if not _INTEGER.fullmatch(item)]
    if not all(map(_is_no_name, others)):
        return None
    if others:
        raise ValueError(f"{others[0]} is no name of a label")
    try:
        return [x if _INTEGER.fullmatch(x) else ast.literal_eval(x) for x in items]
    except (SyntaxError, ValueError):  # such as '\x1'
        return None


def _is_no_name(item):
    try:
        float(item)
    except ValueError:
        return item in _NO_NAMES
    return True
