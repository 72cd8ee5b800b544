"""Which words of a text speak for a label, by occlusion."""

import html
import numbers
import re

import numpy as np
from scipy.special import logit

from .._response import find_classifier, predict_topk
from .._validation import check_number
from .._words import WORD, nfc
from ._plotting import axes_for, shorten

# Labels that occlusion looks for the explained one among.
_DEPTH = 1000
_BLUE, _RED = (31, 119, 180), (214, 39, 40)


class Explanation:
    """Which words of a text speak for a label, and which against it.

    Made by `explain`. A notebook shows it as the text, marked: blue for, red against.

    Parameters
    ----------
    text : str
    label
        Name of the label.
    probability : float
        Of the label, for the whole text.
    spans : list of (int, int)
        Where each word begins and ends in the text.
    weights : ndarray of shape (n_words,)
        By how much the log-odds of the label fall without the word.

    Attributes
    ----------
    words : list of str
    """

    def __init__(self, *, text, label, probability, spans, weights):
        self.text = text
        self.label = label
        self.probability = probability
        self.spans = spans
        self.weights = weights
        self.words = [text[start:end] for start, end in spans]

    def __repr__(self):
        best = np.argsort(-np.abs(self.weights), kind="stable")[:5]
        words = ", ".join(f"{self.words[i]} {self.weights[i]:+.2f}" for i in best)
        return f"{self.label} ({self.probability:.3f}): {words}"

    def _repr_html_(self):
        scale = np.abs(self.weights).max(initial=0) or 1.0
        parts, at = [], 0
        for (start, end), weight in zip(self.spans, self.weights, strict=True):
            red, green, blue = _BLUE if weight > 0 else _RED
            colour = f"rgba({red},{green},{blue},{0.7 * abs(weight) / scale:.2f})"
            word = html.escape(self.text[start:end])
            parts.append(html.escape(self.text[at:start]))
            parts.append(
                f'<span style="background-color:{colour}" title="{weight:+.2f}">'
                f"{word}</span>"
            )
            at = end
        parts.append(html.escape(self.text[at:]))
        label = html.escape(str(self.label))
        return (
            f"<div><p><b>{label}</b> ({self.probability:.3f})</p>"
            f'<p style="white-space:pre-wrap">{"".join(parts)}</p></div>'
        )

    def plot(self, ax=None, *, n_words=10, **bar_options):
        """Draw the weights of the words that count most.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        n_words : int, default=10
        **bar_options
            For matplotlib's ``Axes.barh``.

        Returns
        -------
        Explanation
        """
        title = f"{shorten(self.label)} ({self.probability:.3f})"
        self.ax_, self.figure_ = axes_for(ax, title)
        shown = np.sort(np.argsort(-np.abs(self.weights), kind="stable")[:n_words])
        colours = ["C0" if self.weights[i] > 0 else "C3" for i in shown]
        options = {"color": colours} | bar_options
        places = np.arange(len(shown))
        self.ax_.barh(places, self.weights[shown], **options)
        self.ax_.set_yticks(places, [self.words[i] for i in shown])
        if not self.ax_.yaxis_inverted():  # in the order of the text
            self.ax_.invert_yaxis()
        self.ax_.set_xlabel("log-odds lost without the word")
        return self


def explain(estimator, text, label, *, max_words=512):
    """Which words of a text carry the prediction of a label, by occlusion.

    The text is ranked once without each of its words; what the label's log-odds lose
    is the weight of the word. Words that say the same hide each other.

    Parameters
    ----------
    estimator : fitted classifier on texts, an ensemble, or a Pipeline or search of one
    text : str
    label : int or str
        Column of the label, or its name in `label_names_`.
    max_words : int, default=512
        Longer texts are refused: each word costs a prediction.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If there is no such label, the text has no word or too many, or the label is
        not among the 1,000 best of the text.

    Notes
    -----
    Where a label is not among the 1,000 best without a word, the probability of the
    last of these is taken: its loss is at least that.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc import LightDXMLClassifier
    >>> texts = ["red house", "blue house", "red car", "blue car"] * 5
    >>> Y = csr_array([[1, 0], [0, 1], [1, 0], [0, 1]] * 5)
    >>> model = LightDXMLClassifier(validation_fraction=0, random_state=0)
    >>> explanation = explain(model.fit(texts, Y), "a red car", 0)
    >>> explanation.words[explanation.weights.argmax()]
    'red'
    """
    if not isinstance(text, str):
        raise ValueError(f"text must be a str, got {type(text).__name__}.")
    check_number("max_words", max_words, numbers.Integral, 1)
    model = find_classifier(estimator)
    column, name = _find_label(model, label)
    # The words that the model itself reads, where it reads words.
    pattern = getattr(getattr(model, "vectorizer_", None), "token_pattern", WORD)
    spans = [match.span() for match in re.finditer(pattern, text)]
    if not spans or len(spans) > max_words:
        raise ValueError(
            f"text has {len(spans)} words; it must have 1 to max_words={max_words}."
        )
    without = [text[:start] + text[end:] for start, end in spans]
    k = min(_DEPTH, model.n_labels_)
    ids, probabilities = predict_topk(estimator, [text, *without], k)
    if column not in ids[0]:
        raise ValueError(
            f"{name!r} is not among the {ids.shape[1]} best labels of the text: there "
            "is nothing to explain."
        )
    found = ids == column
    last = np.where(ids >= 0, probabilities, 1).min(axis=1) * (ids >= 0).any(axis=1)
    probability = np.where(
        found.any(axis=1), np.where(found, probabilities, 0).max(axis=1), last
    ).astype(np.float64)
    odds = logit(probability.clip(1e-12, 1 - 1e-12))
    return Explanation(
        text=text,
        label=name,
        probability=float(probability[0]),
        spans=spans,
        weights=odds[0] - odds[1:],
    )


def _find_label(classifier, label):
    """Column and name of a label given by either."""
    names = getattr(classifier, "label_names_", None)
    if names is None:
        raise ValueError(f"{type(classifier).__name__} has no label_names_: fit it.")
    if isinstance(label, str):
        same = [isinstance(n, str) and nfc(n) == nfc(label) for n in names]
        (places,) = np.nonzero(same)
        if not len(places):
            raise ValueError(f"There is no label {label!r} in label_names_.")
        if len(places) > 1:
            raise ValueError(
                f"Labels {places[:5].tolist()} are called {label!r}: name one by its "
                "column."
            )
        label = int(places[0])
    check_number("label", label, numbers.Integral, 0, len(names) - 1)
    name = names[label]
    return int(label), name.item() if isinstance(name, np.generic) else name
