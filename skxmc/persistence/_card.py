"""The model card of a folder: README.md, as people and the hub read it.

Whoever publishes a model edits its card. `card_was_edited` tells an edited card from
one that can be replaced when the model is saved again.
"""

import hashlib
import inspect
import os
import re
import unicodedata

import numpy as np

CARD = "README.md"
# Last line of a card; the hash is that of all lines before it.
_MARK = "<!-- Saving replaces this file unless it was edited. {} -->\n"
_MARKED = re.compile(
    re.escape(_MARK).replace(r"\{\}", "([0-9a-f]{64})").replace(r"\n", r"\s*"),
)
_N_LABELS_SHOWN = 10
_N_CHARACTERS_SHOWN = 80
# Parameters that are about the machine, or that are told elsewhere in a card.
_LEFT_OUT = {
    *("callbacks", "checkpoint_dir", "device", "estimators", "n_jobs", "resume"),
    *("label_names", "verbose"),
}
# Names of encoders that are shown. Anything else might be a path.
_NAME = re.compile(r"[\w.+-]+(/[\w.+-]+)?", re.ASCII)
_MINI_LM = "sentence-transformers/all-MiniLM-L6-v2"
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def write_card(model, versions, source):
    """Return the text of a model's card.

    Parameters
    ----------
    model : fitted classifier
    versions : dict of str to str
        Versions of packages.
    source : str
        What to give to `skxmc.load`: the name of a repository, or words that stand for
        the path of a folder.

    Returns
    -------
    str
    """
    parts = [
        _front_matter(model),
        _describe_model(model),
        _describe_use(model, source),
        _describe_quality(model),
        _describe_parameters(model),
        "## Versions\n\n" + _table(("package", "version"), versions.items()),
        "## Licence\n\nThe author of this model has not named a licence here. Whoever "
        "publishes the model adds `license:` to the first lines of this file, and says "
        "what the documents and the labels are and where the model should not be "
        "used.\n",
    ]
    text = "\n".join(parts) + "\n"
    return text + _MARK.format(_hash(text))


def card_was_edited(card):
    """Whether a card differs from the one that was written.

    Parameters
    ----------
    card : bytes

    Returns
    -------
    bool
        Also True for a text that `write_card` did not write.
    """
    text = card.replace(b"\r\n", b"\n").decode("utf-8", errors="replace")
    start = text.rfind("\n<!--") + 1
    mark = _MARKED.fullmatch(text, start)
    return mark is None or mark.group(1) != _hash(text[:start])


def _hash(text):
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _front_matter(model):
    """Return the lines of YAML that the hub reads. They hold no text of a user."""
    kind = "text" if model._texts else "tabular"
    lines = [
        "---",
        "library_name: skxmc",
        f"pipeline_tag: {kind}-classification",
        "tags:",
        "- skxmc",
        "- extreme-multi-label-classification",
        "- multi-label-classification",
    ]
    if model._texts and any(
        getattr(one, "encoder", None) in (_MINI_LM, _MINI_LM.partition("/")[2])
        for _, one in _list_classifiers(model)
    ):
        lines.append(f"base_model: {_MINI_LM}")
    return "\n".join([*lines, "---", ""])


def _list_classifiers(model, name=None):
    """Yield the names and classifiers of a model: itself, or the members of it."""
    if not hasattr(model, "named_estimators_"):
        yield name or type(model).__name__, model
        return
    for own, member in model.named_estimators_.items():
        if not isinstance(member, str):  # "drop"
            yield from _list_classifiers(member, f"{name}, {own}" if name else own)


def _describe_model(model):
    counts = np.asarray(model.label_counts_)
    source = "text" if model._texts else "vector of features"
    rows = [
        ("Input", "texts" if model._texts else f"{model.n_features_in_:,} features"),
        ("Documents in training data", f"{model.n_docs_:,}"),
        ("Labels", f"{model.n_labels_:,}"),
        ("Labels without documents", f"{int((counts == 0).sum()):,}"),
        ("Labels of a document, on average", f"{counts.sum() / model.n_docs_:.1f}"),
    ]
    most = np.argsort(-counts, kind="stable")[:_N_LABELS_SHOWN]
    head, labels = ("label", "documents"), []
    texts = getattr(model, "label_texts", None)
    has_texts = isinstance(texts, (list, tuple)) and len(texts) == model.n_labels_
    if has_texts and any(str(model.label_names_[j]) != texts[j] for j in most):
        head = ("label", "text", "documents")
    for j in most:
        texts_shown = [escape(texts[j])] if len(head) > 2 else []
        labels.append([escape(model.label_names_[j]), *texts_shown, f"{counts[j]:,}"])
    return (
        f"# {model.n_labels_:,} labels for a {source}\n\n"
        f"This {type(model).__name__} of the Python package skxmc ranks "
        f"{model.n_labels_:,} labels for a {source} and gives each a probability.\n\n"
        + _table(("", ""), rows)
        + "\nThe most frequent labels:\n\n"
        + _table(head, labels)
    )


def _describe_use(model, source):
    X = '["a text"]' if model._texts else "X"
    about = "" if model._texts else "  # X has a row of features per document"
    return (
        "## Use\n\n```python\nimport skxmc\n\n"
        f'model = skxmc.load("{source}")\n'
        f"names, scores = model.predict_topk({X}, k=5, return_names=True){about}\n"
        "```\n"
    )


def _describe_quality(model):
    rows = []
    for name, one in _list_classifiers(model):
        scores = [epoch["score"] for epoch in one.history_ if "score" in epoch]
        best = f"{max(scores):.4f}" if scores else "no documents were held out"
        rows.append((escape(name), one.n_iter_, best))
    return (
        "## Quality\n\nPrecision on documents that were held out from training to "
        "choose the best epoch. It is the share of correct labels among the k best, "
        "where k is the mean number of labels of a document, at most 5. A test on new "
        "documents may give less.\n\n"
        + _table(("classifier", "epochs", "precision"), rows)
    )


def _describe_parameters(model):
    classifiers = list(_list_classifiers(model))
    if hasattr(model, "named_estimators_"):
        classifiers.insert(0, (type(model).__name__, model))
    parts = ["## Parameters\n\nThose that differ from the defaults.\n"]
    for name, one in classifiers:
        known = inspect.signature(type(one)).parameters
        rows = [
            (f"`{key}`", _show(value))
            for key, value in one.get_params(deep=False).items()
            if key not in _LEFT_OUT and not _is_default(value, known[key].default)
        ]
        kind = type(one).__name__
        title = kind if kind == name else f"{escape(name)}: {kind}"
        table = _table(("parameter", "value"), rows) if rows else "None.\n"
        parts.append(f"### {title}\n\n{table}")
    return "\n".join(parts)


def _is_default(value, default):
    return type(value) is type(default) and (
        value is default or not hasattr(value, "shape") and value == default
    )


def _show(value):
    """Return a parameter's value for a table. Paths are not shown, nor long values."""
    if isinstance(value, str):
        is_name = _NAME.fullmatch(value) and len(value) <= _N_CHARACTERS_SHOWN
        is_folder = "/" in value and os.path.exists(value)
        return escape(value) if is_name and not is_folder else "a text or a path"
    if value is None or isinstance(value, (bool, int, float, np.generic)):
        return escape(str(value))
    kind = type(value).__name__
    if hasattr(value, "shape"):
        return escape(f"{kind} of shape {value.shape}")
    numbers = (bool, int, float, type(None))
    if isinstance(value, (list, tuple)) and len(value) <= 4:
        if all(isinstance(part, numbers) for part in value):
            return escape(str(value))
    return f"{kind} of length {len(value):,}" if hasattr(value, "__len__") else kind


def _table(head, rows):
    """Return a table of Markdown, whose cells have been escaped before."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def escape(text):
    """Return a text of a user so that Markdown and HTML show it as it is.

    White space becomes one space, invisible characters are left out, and long texts are
    cut.

    Parameters
    ----------
    text : object
        Its ``str`` is taken.

    Returns
    -------
    str
    """
    text = " ".join(str(text).split())
    text = "".join(c for c in text if unicodedata.category(c)[0] != "C")
    if len(text) > _N_CHARACTERS_SHOWN:
        text = text[: _N_CHARACTERS_SHOWN - 1] + "…"
    text = _PUNCTUATION.sub(r"\\\1", text)
    for character, entity in (("&", "amp"), ("<", "lt"), (">", "gt")):
        text = text.replace(f"\\{character}", f"&{entity};")
    return text
