"""Which words of a text speak for a label: each word is left out once."""

import html
import numbers
import re

import numpy as np
from scipy.special import logit

from .._response import find_classifier, predict_topk, reach_classifier
from .._validation import check_number
from .._words import WORD, nfc
from ._plotting import make_axes, shorten

# Number of best labels among which the explained label must be.
_DEPTH = 1000
# Number of neighbours that an explanation shows.
_N_SHOWN = 3
# Colours of words that speak for the label and against it, as red, green and blue.
_FOR, _AGAINST = (31, 119, 180), (214, 39, 40)


class Explanation:
    """Which words of a text speak for a label, and which against it.

    `explain` makes explanations. A notebook shows one as the text, in which words for
    the label are marked blue, and words against it red.

    Parameters
    ----------
    text : str
        The text that is explained.
    label : str or int
        Name of the label.
    probability : float
        Probability of the label for the whole text.
    spans : list of (int, int)
        Where each word begins and ends in the text.
    weights : float ndarray of shape (n_words,)
        By how much the logit (log-odds) of the label falls when the word is left out.
        Words with positive weights speak for the label.
    neighbors : sequence of (int or None, float), default=()
        Training documents that have the label and vote for it, nearest first: their
        rows in the X seen in ``fit``, or None for the text of the label, and their
        shares of the vote. A share is between 0 and 1. For an ensemble, shares are the
        weighted means of those in its members, and the largest come first; members that
        know documents of earlier fits are left out. Empty if the classifier was fitted
        with ``neighbor_weight=0``, and for other classifiers.

    Attributes
    ----------
    words : list of str
        Words of the text, in its order.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.inspection import Explanation
    >>> Explanation(
    ...     text="red fox",
    ...     label="colour",
    ...     probability=0.9,
    ...     spans=[(0, 3), (4, 7)],
    ...     weights=np.array([2.0, -0.5]),
    ... )
    colour (0.900): red +2.00, fox -0.50
    """

    def __init__(self, *, text, label, probability, spans, weights, neighbors=()):
        self.text = text
        self.label = label
        self.probability = probability
        self.spans = spans
        self.weights = weights
        self.neighbors = list(neighbors)
        self.words = [text[start:end] for start, end in spans]

    def __repr__(self):
        best = np.argsort(-np.abs(self.weights), kind="stable")[:5]
        words = ", ".join(f"{self.words[i]} {self.weights[i]:+.2f}" for i in best)
        text = f"{self.label} ({self.probability:.3f}): {words}"
        return f"{text}; {self._list_neighbors()}" if self.neighbors else text

    def _list_neighbors(self):
        shown = [
            f"{'label text' if row is None else row} ({share:.2f})"
            for row, share in self.neighbors[:_N_SHOWN]
        ]
        n_more = len(self.neighbors) - len(shown)
        more = f" and {n_more} more" if n_more else ""
        return f"votes of {', '.join(shown)}{more}"

    def _repr_html_(self):
        scale = np.abs(self.weights).max(initial=0) or 1.0
        parts, at = [], 0
        for (start, end), weight in zip(self.spans, self.weights, strict=True):
            red, green, blue = _FOR if weight > 0 else _AGAINST
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
        neighbors = f"<p>{self._list_neighbors()}</p>" if self.neighbors else ""
        return (
            f"<div><p><b>{label}</b> ({self.probability:.3f})</p>"
            f'<p style="white-space:pre-wrap">{"".join(parts)}</p>{neighbors}</div>'
        )

    def plot(self, ax=None, *, n_words=10, **bar_options):
        """Draw the weights of the words with the largest absolute weights.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        n_words : int, default=10
            Number of words shown, in the order of the text.
        **bar_options
            Options of matplotlib's ``Axes.barh``.

        Returns
        -------
        Explanation
        """
        title = f"{shorten(self.label)} ({self.probability:.3f})"
        self.ax_, self.figure_ = make_axes(ax, title)
        shown = np.sort(np.argsort(-np.abs(self.weights), kind="stable")[:n_words])
        colours = ["C0" if self.weights[i] > 0 else "C3" for i in shown]
        options = {"color": colours} | bar_options
        places = np.arange(len(shown))
        self.ax_.barh(places, self.weights[shown], **options)
        self.ax_.set_yticks(places, [self.words[i] for i in shown])
        if not self.ax_.yaxis_inverted():  # the first word belongs at the top
            self.ax_.invert_yaxis()
        self.ax_.set_xlabel("log-odds lost without the word")
        return self


def explain(estimator, text, label, *, max_words=512):
    """Find the words of a text that carry the prediction of a label, by occlusion.

    Labels are predicted for the text, and again without each of its words. The weight
    of a word is the difference that it makes to the logit (log-odds) of the label. If
    two words say the same, each has little weight, because the other one remains.

    If the classifier was fitted with a `neighbor_weight`, the explanation also names
    the training documents that have the label and voted for it.

    Parameters
    ----------
    estimator : fitted classifier of texts
        A classifier of this package, an ensemble, or a Pipeline or a fitted search
        with one inside.
    text : str
        The text to explain.
    label : int or str
        Column of the label, or its name in `label_names_`.
    max_words : int, default=512
        Longer texts are refused, because each word costs a prediction.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError
        If there is no such label, if the text has no words or more than `max_words`,
        or if the label is not among the 1,000 best of the text.

    Notes
    -----
    Without a word, the label may fall out of the 1,000 best. The probability of the
    last of these then stands in for its own, so that the word's true weight is at
    least the one shown.

    Examples
    --------
    >>> from scipy.sparse import csr_array
    >>> from skxmc import LightDXMLClassifier
    >>> from skxmc.inspection import explain
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
    classifier = find_classifier(estimator)
    column, name = _find_label(classifier, label)
    # Classifiers of words have a pattern of their own for what a word is.
    pattern = getattr(getattr(classifier, "vectorizer_", None), "token_pattern", WORD)
    spans = [match.span() for match in re.finditer(pattern, text)]
    if not 0 < len(spans) <= max_words:
        raise ValueError(
            f"text has {len(spans)} words; it must have 1 to max_words={max_words}."
        )
    occluded = [text[:start] + text[end:] for start, end in spans]
    k = min(_DEPTH, classifier.n_labels_)
    ids, probabilities = predict_topk(estimator, [text, *occluded], k)
    if column not in ids[0]:
        raise ValueError(
            f"{name!r} is not among the {ids.shape[1]} best labels of the text: its "
            "probability is not known. Choose a label that predict_topk returns."
        )
    probability = _probability_of(column, ids, probabilities)
    odds = logit(probability.clip(1e-12, 1 - 1e-12))
    classifier, X = reach_classifier(estimator, [text])
    # Classifiers of other kinds have no neighbours.
    find_voters = getattr(classifier, "_find_voters", lambda X, label: [])
    return Explanation(
        text=text,
        label=name,
        probability=float(probability[0]),
        spans=spans,
        weights=odds[0] - odds[1:],
        neighbors=find_voters(X, column),
    )


def _probability_of(column, ids, probabilities):
    """Return the probability of a label in each ranking, as float64.

    Where a ranking lacks the label, it is the smallest probability of the ranking, or
    0 if nothing is ranked.
    """
    ranked, found = ids >= 0, ids == column
    smallest = np.where(ranked, probabilities, 1).min(axis=1) * ranked.any(axis=1)
    own = np.where(found, probabilities, 0).max(axis=1)
    return np.where(found.any(axis=1), own, smallest).astype(np.float64)


def _find_label(classifier, label):
    """Return the column and the name of a label, which is given by one of the two."""
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
                f"Labels {places[:5].tolist()} are called {label!r}: choose one "
                "of them by its column."
            )
        label = int(places[0])
    check_number("label", label, numbers.Integral, 0, len(names) - 1)
    name = names[label]
    return int(label), name.item() if isinstance(name, np.generic) else name
