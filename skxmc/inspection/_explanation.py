"""Looking at rankings, label sets and single predictions: pictures and explanations."""

import html
import numbers
import re

import numpy as np
import scipy.sparse as sp
from scipy.special import logit

from .._validation import check_choice, check_label_names, check_number
from .._words import WORD, nfc
from ..metrics._functions import (
    innermost,
    propensity_from_counts,
    scores_of,
    topk_of,
    training_counts,
    truth_for,
)
from ..metrics._ranking import METRICS, Ranking, check_ks, check_truth

# Labels that occlusion looks for the explained one among.
_DEPTH = 1000
_BLUE, _RED = (31, 119, 180), (214, 39, 40)


def _axes(ax, title=None):
    """Axes to draw on, with the title if there is one, and their figure."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib, which is not installed: pip install matplotlib."
        ) from error
    if ax is None:
        _, ax = plt.subplots(layout="constrained")
    if title:
        ax.set_title(title)
    return ax, ax.figure


def _whole_ticks(axis, values):
    """Let an axis have ticks at whole numbers, but for ticks that it was given."""
    from matplotlib.ticker import AutoLocator

    if not isinstance(axis.get_major_locator(), AutoLocator):
        return
    if len(np.unique(values)) == 1:
        axis.set_ticks([int(values[0])])
    else:
        axis.get_major_locator().set_params(integer=True)


def _counts_of(estimator, label_counts):
    if label_counts is not None:
        return np.asarray(label_counts)
    found = training_counts(estimator)
    if found is None:
        raise ValueError(
            f"{type(estimator).__name__} has no fitted label_counts_. Pass "
            "label_counts=np.asarray(Y_train.sum(axis=0)).ravel()."
        )
    return np.asarray(found[0])


def _predicted(estimator, X, y, k):
    truth = check_truth(truth_for(estimator, y), "y")
    return truth, scores_of(estimator, X, truth.shape[1], k)


class FrequencyBinsDisplay:
    """How well labels are found, by how frequent they were in training.

    Made by `from_estimator` or `from_predictions`.

    Parameters
    ----------
    values : ndarray of shape (n_bins,)
        Of the metric in each bin, 0 to 1; NaN where a bin has nothing to measure.
    edges : tuple of int
        Training documents at which one bin ends and the next begins.
    n_labels, n_pairs : int ndarrays of shape (n_bins,)
        Labels of each bin, and their occurrences in the test documents.
    metric : {"recall", "precision", "coverage"}
    k : int
    name : str or None

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    bars_ : matplotlib BarContainer

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.array([[1, 1, 0], [1, 0, 1]])
    >>> ids = np.array([[0, 1], [0, 1]])  # the two best labels of each document
    >>> display = FrequencyBinsDisplay.from_predictions(
    ...     Y, ids, label_counts=[100, 12, 3], k=2
    ... )
    >>> display.values.tolist()
    [0.0, 1.0, 1.0]
    """

    def __init__(self, *, values, edges, n_labels, n_pairs, metric, k, name=None):
        self.values = values
        self.edges = edges
        self.n_labels = n_labels
        self.n_pairs = n_pairs
        self.metric = metric
        self.k = k
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        k=5,
        edges=(10, 100),
        metric="recall",
        label_counts=None,
        name=None,
        ax=None,
        **bar_options,
    ):
        """Predict, count and draw.

        Parameters
        ----------
        estimator : fitted classifier
        X : sequence of str, or matrix
        y : sparse matrix or array of shape (n_docs, n_labels)
            Test documents and their labels.
        k : int, default=5
            Labels predicted a document.
        edges : sequence of int, default=(10, 100)
            A label with fewer than 10 training documents is in the first bin, one with
            100 or more in the last: tail, middle and head.
        metric : {"recall", "precision", "coverage"}, default="recall"
            Of the occurrences of a bin's labels, the share found among the k best; of
            the predictions of its labels, the share that is right; of its labels in
            `y`, the share found at least once.
        label_counts : array of shape (n_labels,) or None, default=None
            Training documents of each label; None: the classifier's.
        name : str or None, default=None
            Of the classifier; None: its class.
        ax : matplotlib Axes or None, default=None
        **bar_options
            For matplotlib's ``Axes.bar``.

        Returns
        -------
        FrequencyBinsDisplay
        """
        counts = _counts_of(estimator, label_counts)
        truth, scores = _predicted(estimator, X, y, k)
        return cls.from_predictions(
            truth,
            scores,
            label_counts=counts,
            k=k,
            edges=edges,
            metric=metric,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            **bar_options,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_score,
        *,
        label_counts,
        k=5,
        edges=(10, 100),
        metric="recall",
        name=None,
        ax=None,
        **bar_options,
    ):
        """Count and draw.

        Parameters
        ----------
        y_true : sparse matrix or array of shape (n_docs, n_labels)
        y_score : as for the metrics of `skxmc.metrics`
            Scores, or ids of the best labels.
        label_counts, k, edges, metric, name, ax, **bar_options
            As in `from_estimator`.

        Returns
        -------
        FrequencyBinsDisplay
        """
        check_number("k", k, numbers.Integral, 1)
        check_choice("metric", metric, ("recall", "precision", "coverage"))
        ranking = Ranking(y_true, y_score, k)
        counts = np.asarray(label_counts)
        n_labels = len(ranking.label_counts)
        if counts.shape != (n_labels,):
            raise ValueError(
                f"label_counts must have shape ({n_labels},), got {counts.shape}."
            )
        edges = _edges(edges)
        bins, n_bins = np.searchsorted(edges, counts, side="right"), len(edges) + 1

        def by_bin(labels):
            return np.bincount(bins[labels], minlength=n_bins)

        hit = ranking.ids[ranking.hits]
        every = np.arange(n_labels)
        occurs = ranking.label_counts > 0
        n_pairs = np.bincount(bins, weights=ranking.label_counts, minlength=n_bins)
        parts = {
            "recall": (by_bin(hit), n_pairs),
            "precision": (by_bin(hit), by_bin(ranking.ids[ranking.ids >= 0])),
            "coverage": (by_bin(np.unique(hit)), by_bin(every[occurs])),
        }
        part, whole = parts[metric]
        values = np.full(n_bins, np.nan)
        np.divide(part, whole, out=values, where=whole > 0)
        display = cls(
            values=values,
            edges=edges,
            n_labels=by_bin(every),
            n_pairs=n_pairs.astype(np.int64),
            metric=metric,
            k=k,
            name=name,
        )
        return display.plot(ax, **bar_options)

    def plot(self, ax=None, **bar_options):
        """Draw a bar for each bin.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        **bar_options
            For matplotlib's ``Axes.bar``.

        Returns
        -------
        FrequencyBinsDisplay
        """
        self.ax_, self.figure_ = _axes(ax, self.name)
        places = np.arange(len(self.values))
        self.bars_ = self.ax_.bar(places, np.nan_to_num(self.values), **bar_options)
        self.ax_.bar_label(
            self.bars_, ["-" if np.isnan(v) else f"{v:.2f}" for v in self.values]
        )
        self.ax_.set_xticks(
            places,
            [
                f"{text}\n{n} label{'' if n == 1 else 's'}"
                for text, n in zip(self._ranges(), self.n_labels, strict=True)
            ],
            # Side by side, four of "1000 or more" fill 4 inches.
            rotation=0 if len(places) < 4 else 90,
        )
        self.ax_.set_xlabel("training documents of a label")
        self.ax_.set_ylabel(f"{self.metric} at {self.k}")
        self.ax_.set_ylim(0, 1.05)
        return self

    def _ranges(self):
        lows, highs = (0, *self.edges), (*self.edges, None)
        texts = []
        for low, high in zip(lows, highs, strict=True):
            if high is None:
                texts.append(f"{low} or more")
            else:
                texts.append(f"{low}" if high == low + 1 else f"{low} to {high - 1}")
        return texts


def _edges(edges):
    edges = [edges] if np.ndim(edges) == 0 else list(edges)
    whole = all(isinstance(edge, numbers.Integral) for edge in edges)
    if not edges or not whole or edges[0] < 1 or np.any(np.diff(edges) < 1):
        raise ValueError(f"edges must be integers from 1, rising; got {edges}.")
    return tuple(int(edge) for edge in edges)


class RankingCurveDisplay:
    """Ranking metrics by the number of labels that are looked at.

    Made by `from_estimator` or `from_predictions`.

    Parameters
    ----------
    ks : int ndarray of shape (n_ks,)
    curves : dict of str to ndarray of shape (n_ks,)
        Values of each metric, 0 to 1.
    name : str or None

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    lines_ : list of matplotlib Line2D

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.array([[1, 1, 0], [1, 0, 1]])
    >>> ids = np.array([[0, 1], [0, 1]])
    >>> display = RankingCurveDisplay.from_predictions(
    ...     Y, ids, ks=[1, 2], metrics=["precision"]
    ... )
    >>> display.curves["precision"].tolist()
    [1.0, 0.75]
    """

    def __init__(self, *, ks, curves, name=None):
        self.ks = ks
        self.curves = curves
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        ks=range(1, 11),
        metrics=("precision", "recall", "psp"),
        propensity=None,
        name=None,
        ax=None,
        **line_options,
    ):
        """Predict, measure and draw.

        Parameters
        ----------
        estimator : fitted classifier
        X : sequence of str, or matrix
        y : sparse matrix or array of shape (n_docs, n_labels)
        ks : sequence of int, default=1 to 10
        metrics : sequence of str, default=("precision", "recall", "psp")
            Those that `skxmc.metrics.ranking_scorer` knows.
        propensity : array of shape (n_labels,) or None, default=None
            For "psp" and "psndcg"; None computes it from the training labels.
        name : str or None, default=None
        ax : matplotlib Axes or None, default=None
        **line_options
            For matplotlib's ``Axes.plot``.

        Returns
        -------
        RankingCurveDisplay
        """
        truth, scores = _predicted(estimator, X, y, max(check_ks(ks)))
        counts = training_counts(estimator)
        if propensity is None and counts is not None:
            propensity = propensity_from_counts(*counts, 0.55, 1.5)
        return cls.from_predictions(
            truth,
            scores,
            ks=ks,
            metrics=metrics,
            propensity=propensity,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
            **line_options,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true,
        y_score,
        *,
        ks=range(1, 11),
        metrics=("precision", "recall"),
        propensity=None,
        name=None,
        ax=None,
        **line_options,
    ):
        """Measure and draw.

        Parameters
        ----------
        y_true : sparse matrix or array of shape (n_docs, n_labels)
        y_score : as for the metrics of `skxmc.metrics`
        ks, metrics, propensity, name, ax, **line_options
            As in `from_estimator`, but that there are no training labels.

        Returns
        -------
        RankingCurveDisplay
        """
        ks = sorted(check_ks(ks))  # or the line would turn back
        for metric in metrics:
            check_choice("metrics", metric, tuple(METRICS))
            if propensity is None and metric in ("psp", "psndcg"):
                raise ValueError(
                    f"{metric!r} needs propensities: pass "
                    "propensity=skxmc.metrics.propensity(Y_train)."
                )
        ranking = Ranking(y_true, y_score, max(ks), propensity)
        curves = {
            metric: np.array([METRICS[metric][1](ranking, k) for k in ks], float)
            for metric in metrics
        }
        return cls(ks=np.array(ks), curves=curves, name=name).plot(ax, **line_options)

    def plot(self, ax=None, **line_options):
        """Draw a line for each metric.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        **line_options
            For matplotlib's ``Axes.plot``.

        Returns
        -------
        RankingCurveDisplay
        """
        self.ax_, self.figure_ = _axes(ax, self.name if ax is None else None)
        self.lines_ = []
        for metric, values in self.curves.items():
            label = f"{METRICS[metric][0]}@k"
            label = f"{self.name}, {label}" if self.name else label
            options = {"marker": ".", "label": label} | line_options
            self.lines_ += self.ax_.plot(self.ks, values, **options)
        self.ax_.set_xlabel("k, labels a document")
        self.ax_.set_ylabel("metric at k")
        self.ax_.set_ylim(0, 1)
        _whole_ticks(self.ax_.xaxis, self.ks)
        self.ax_.legend()
        return self


class HistoryDisplay:
    """Loss and held-out score, epoch by epoch.

    Made by `from_estimator`.

    Parameters
    ----------
    history : list of dict
        A classifier's `history_`.
    name : str or None

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Of the loss.
    score_ax_ : matplotlib Axes or None
        Of the score, on the right; None where nothing was held out.
    """

    def __init__(self, *, history, name=None):
        self.history = history
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, *, name=None, ax=None, **line_options):
        """Draw the history of a fitted classifier.

        Parameters
        ----------
        estimator : fitted classifier with `history_`, or a Pipeline or search with one
        name : str or None, default=None
        ax : matplotlib Axes or None, default=None
        **line_options
            For matplotlib's ``Axes.plot``.

        Returns
        -------
        HistoryDisplay
        """
        last = innermost(estimator)
        if not getattr(last, "history_", None):
            raise ValueError(
                f"{type(last).__name__} has no history_: fit it first, and of an "
                "ensemble take its members."
            )
        name = type(last).__name__ if name is None else name
        return cls(history=last.history_, name=name).plot(ax, **line_options)

    def plot(self, ax=None, **line_options):
        """Draw both lines.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        **line_options
            For matplotlib's ``Axes.plot``.

        Returns
        -------
        HistoryDisplay
        """
        self.ax_, self.figure_ = _axes(ax, self.name)
        epochs = [epoch["epoch"] for epoch in self.history]
        losses = [epoch["loss"] for epoch in self.history]
        options = {"marker": ".", "color": "C0", "label": "loss"} | line_options
        lines = self.ax_.plot(epochs, losses, **options)
        self.ax_.set_xlabel("epoch")
        self.ax_.set_ylabel("loss, nats")
        _whole_ticks(self.ax_.xaxis, epochs)
        self.score_ax_ = None
        if "score" in self.history[0]:
            self.score_ax_ = self.ax_.twinx()
            scores = [epoch["score"] for epoch in self.history]
            own = {"color": "C1", "label": "held-out precision"}
            lines += self.score_ax_.plot(epochs, scores, **options | own | line_options)
            self.score_ax_.set_ylabel("held-out precision")
        self.ax_.legend(handles=lines, loc="center right")
        return self


class CooccurrenceDisplay:
    """How often documents with one label have another one too.

    Made by `from_labels`.

    Parameters
    ----------
    shares : ndarray of shape (n_shown, n_shown)
        Of the documents with the label of a row, the share that has that of a column.
    ids : int ndarray of shape (n_shown,)
        Columns of the labels, the most frequent first.
    names : list

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    image_ : matplotlib AxesImage

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.array([[1, 1], [1, 0]])
    >>> CooccurrenceDisplay.from_labels(Y).shares.tolist()
    [[1.0, 0.5], [1.0, 1.0]]
    """

    def __init__(self, *, shares, ids, names):
        self.shares = shares
        self.ids = ids
        self.names = names

    @classmethod
    def from_labels(cls, Y, *, label_names=None, n_labels=20, ax=None, **image_options):
        """Count and draw.

        Parameters
        ----------
        Y : sparse matrix or array of shape (n_docs, n_labels)
        label_names : sequence or None, default=None
            None: their columns.
        n_labels : int, default=20
            The most frequent ones are shown.
        ax : matplotlib Axes or None, default=None
        **image_options
            For matplotlib's ``Axes.imshow``.

        Returns
        -------
        CooccurrenceDisplay
        """
        check_number("n_labels", n_labels, numbers.Integral, 1)
        Y = check_truth(Y, "Y")
        counts = np.bincount(Y.indices, minlength=Y.shape[1])
        ids = np.argsort(-counts, kind="stable")[:n_labels]
        ids = ids[counts[ids] > 0]
        part = sp.csc_array(Y)[:, ids].astype(np.float64)
        shares = (part.T @ part).toarray() / counts[ids][:, None]
        names = range(Y.shape[1])
        if label_names is not None:
            names = check_label_names(label_names, Y.shape[1])
        names = [names[j] for j in ids.tolist()]
        return cls(shares=shares, ids=ids, names=names).plot(ax, **image_options)

    def plot(self, ax=None, **image_options):
        """Draw the shares.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        **image_options
            For matplotlib's ``Axes.imshow``.

        Returns
        -------
        CooccurrenceDisplay
        """
        self.ax_, self.figure_ = _axes(ax)
        options = {"vmin": 0, "vmax": 1, "cmap": "Blues"} | image_options
        self.image_ = self.ax_.imshow(self.shares, **options)
        # So that the names of 20 labels leave half of the picture to the shares.
        names = [_short(name, 20) for name in self.names]
        self.ax_.set_xticks(range(len(names)), names, rotation=90, fontsize="small")
        self.ax_.set_yticks(range(len(names)), names, fontsize="small")
        self.ax_.set_xlabel("have this label too")
        self.ax_.set_ylabel("of the documents with this label")
        self.figure_.colorbar(self.image_, ax=self.ax_)
        return self


class ClusterSizesDisplay:
    """How many labels the clusters have.

    Made by `from_estimator` or `from_groups`.

    Parameters
    ----------
    sizes : int ndarray of shape (n_clusters,)
    name : str or None

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    bars_ : matplotlib BarContainer

    Examples
    --------
    >>> ClusterSizesDisplay.from_groups([0, 1, 1, 0, 1]).sizes.tolist()
    [2, 3]
    """

    def __init__(self, *, sizes, name=None):
        self.sizes = sizes
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, *, name=None, ax=None, **bar_options):
        """Draw the clusters of a fitted classifier.

        Parameters
        ----------
        estimator : fitted classifier with `label_groups_`, or BalancedKMeans
            Or a Pipeline or search with one.
        name : str or None, default=None
        ax : matplotlib Axes or None, default=None
        **bar_options
            For matplotlib's ``Axes.bar``.

        Returns
        -------
        ClusterSizesDisplay
        """
        last = innermost(estimator)
        groups = getattr(last, "label_groups_", getattr(last, "labels_", None))
        # Where all labels are ranked, each is a group of its own.
        if groups is None or len(np.unique(groups)) == len(groups):
            raise ValueError(
                f"{type(last).__name__} has no clusters in label_groups_: it is not "
                "fitted, or clusters no labels."
            )
        name = type(last).__name__ if name is None else name
        return cls.from_groups(groups, name=name, ax=ax, **bar_options)

    @classmethod
    def from_groups(cls, groups, *, name=None, ax=None, **bar_options):
        """Count and draw.

        Parameters
        ----------
        groups : int array of shape (n_labels,)
            Cluster of each label; -1 is none.
        name, ax, **bar_options
            As in `from_estimator`.

        Returns
        -------
        ClusterSizesDisplay
        """
        groups = np.asarray(groups)
        return cls(sizes=np.bincount(groups[groups >= 0]), name=name).plot(
            ax, **bar_options
        )

    def plot(self, ax=None, **bar_options):
        """Draw how many clusters there are of each size.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        **bar_options
            For matplotlib's ``Axes.bar``.

        Returns
        -------
        ClusterSizesDisplay
        """
        title = f"{len(self.sizes)} clusters"
        title = f"{self.name}: {title}" if self.name else title
        self.ax_, self.figure_ = _axes(ax, title)
        sizes, counts = np.unique(self.sizes, return_counts=True)
        self.bars_ = self.ax_.bar(sizes, counts, **bar_options)
        self.ax_.set_xlabel("labels of a cluster")
        self.ax_.set_ylabel("clusters")
        _whole_ticks(self.ax_.xaxis, sizes)
        _whole_ticks(self.ax_.yaxis, [0, *counts])
        return self


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
        title = f"{_short(self.label)} ({self.probability:.3f})"
        self.ax_, self.figure_ = _axes(ax, title)
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
    model = innermost(estimator)
    column, name = _label_of(model, label)
    # The words that the model itself reads, where it reads words.
    pattern = getattr(getattr(model, "vectorizer_", None), "token_pattern", WORD)
    spans = [match.span() for match in re.finditer(pattern, text)]
    if not spans or len(spans) > max_words:
        raise ValueError(
            f"text has {len(spans)} words; it must have 1 to max_words={max_words}."
        )
    without = [text[:start] + text[end:] for start, end in spans]
    k = min(_DEPTH, model.n_labels_)
    ids, probabilities = topk_of(estimator, [text, *without], k)
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


def _label_of(classifier, label):
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


def _short(name, width=30):
    name = str(name)
    return name if len(name) <= width else name[: width - 3] + "..."
