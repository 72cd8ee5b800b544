"""How well labels are found, by their frequency in training."""

import numbers

import numpy as np

from .._response import find_training_counts, label_matrix, predict_ranking
from .._validation import check_choice, check_number
from ..metrics._ranking import Ranking, check_truth
from ._plotting import make_axes


class FrequencyBinsDisplay:
    """How well labels are found, by how frequent they were in training.

    Labels are grouped into bins by their number of training documents, such as tail,
    middle and head, and a metric is drawn for each bin. Use `from_estimator` or
    `from_predictions` to make a display.

    Parameters
    ----------
    values : ndarray of shape (n_bins,)
        Value of the metric in each bin, from 0 to 1. NaN where there is nothing to
        divide by: no label of the bin occurs in the test documents, or for precision,
        none is predicted.
    edges : tuple of int
        Numbers of training documents at which one bin ends and the next begins.
    n_labels : int ndarray of shape (n_bins,)
        Number of labels in each bin.
    n_pairs : int ndarray of shape (n_bins,)
        How often the labels of each bin occur in the test documents.
    metric : {"recall", "precision", "coverage"}
        Metric that `values` holds.
    k : int
        Number of best labels of each document that were looked at.
    name : str or None, default=None
        Title of the picture.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes that were drawn on, and their figure.
    bars_ : matplotlib BarContainer
        One bar for each bin.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.inspection import FrequencyBinsDisplay
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
        """Predict with a classifier, count hits by bin and draw.

        Parameters
        ----------
        estimator : fitted classifier
            It may be inside a Pipeline or a fitted search.
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Test documents.
        y : sparse matrix or array of shape (n_docs, n_labels)
            Their labels.
        k : int, default=5
            Number of labels predicted for each document.
        edges : int or sequence of int, default=(10, 100)
            Ascending numbers of training documents that separate the bins. With the
            default, labels with fewer than 10 training documents are in the first bin
            (tail), and labels with 100 or more in the last (head).
        metric : {"recall", "precision", "coverage"}, default="recall"
            What is measured for the labels of a bin. "recall": the share of their
            occurrences in `y` that is among the k best. "precision": the share of
            their predictions that is right. "coverage": the share of those labels
            occurring in `y` that is found at least once.
        label_counts : array of shape (n_labels,) or None, default=None
            Number of training documents of each label. None takes ``label_counts_`` of
            the classifier.
        name : str or None, default=None
            Title of the picture; None is the class of the estimator.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **bar_options
            Options of matplotlib's ``Axes.bar``.

        Returns
        -------
        FrequencyBinsDisplay

        Raises
        ------
        ValueError
            If the classifier has no ``label_counts_`` and none are given, or as in
            `from_predictions`.
        """
        counts = _label_counts(estimator, label_counts)
        truth = check_truth(label_matrix(estimator, y), "y")
        scores = predict_ranking(estimator, X, truth.shape[1], k)
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
        """Count hits of given predictions by bin and draw.

        Parameters
        ----------
        y_true : sparse matrix or array of shape (n_docs, n_labels)
            True labels.
        y_score : sparse matrix or array of shape (n_docs, n_labels) or (n_docs, m)
            Scores or label ids, as the metrics of `skxmc.metrics` take them.
        label_counts : array of shape (n_labels,)
            Number of training documents of each label.
        k : int, default=5
            Number of best labels of each document that are looked at.
        edges : int or sequence of int, default=(10, 100)
            Ascending numbers of training documents that separate the bins.
        metric : {"recall", "precision", "coverage"}, default="recall"
            What is measured for the labels of a bin (see `from_estimator`).
        name : str or None, default=None
            Title of the picture.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **bar_options
            Options of matplotlib's ``Axes.bar``.

        Returns
        -------
        FrequencyBinsDisplay

        Raises
        ------
        ValueError
            If a parameter is not as described.
        """
        check_number("k", k, numbers.Integral, 1)
        check_choice("metric", metric, ("recall", "precision", "coverage"))
        ranking = Ranking(y_true, y_score, k)
        counts = np.asarray(label_counts)
        n_labels = len(ranking.label_counts)
        if counts.shape != (n_labels,):
            raise ValueError(
                f"label_counts must have shape ({n_labels},), got {counts.shape}. Pass "
                "the number of training documents of each label."
            )
        edges = _check_edges(edges)
        bins, n_bins = np.searchsorted(edges, counts, side="right"), len(edges) + 1
        n_pairs = np.bincount(bins, weights=ranking.label_counts, minlength=n_bins)
        display = cls(
            values=_measure_bins(ranking, bins, n_bins, metric),
            edges=edges,
            n_labels=np.bincount(bins, minlength=n_bins),
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
            Axes to draw on; None makes a new figure.
        **bar_options
            Options of matplotlib's ``Axes.bar``.

        Returns
        -------
        FrequencyBinsDisplay
        """
        self.ax_, self.figure_ = make_axes(ax, self.name)
        places = np.arange(len(self.values))
        self.bars_ = self.ax_.bar(places, np.nan_to_num(self.values), **bar_options)
        self.ax_.bar_label(
            self.bars_, ["-" if np.isnan(v) else f"{v:.2f}" for v in self.values]
        )
        self.ax_.set_xticks(
            places,
            [
                f"{text}\n{n} label{'' if n == 1 else 's'}"
                for text, n in zip(self._describe_bins(), self.n_labels, strict=True)
            ],
            # Four texts such as "1000 or more" need 4 inches side by side.
            rotation=0 if len(places) < 4 else 90,
        )
        self.ax_.set_xlabel("training documents of a label")
        self.ax_.set_ylabel(f"{self.metric} at {self.k}")
        self.ax_.set_ylim(0, 1.05)
        return self

    def _describe_bins(self):
        """Return the range of training documents of each bin, as text."""
        lows, highs = (0, *self.edges), (*self.edges, None)
        texts = []
        for low, high in zip(lows, highs, strict=True):
            if high is None:
                texts.append(f"{low} or more")
            else:
                texts.append(f"{low}" if high == low + 1 else f"{low} to {high - 1}")
        return texts


def _check_edges(edges):
    """Return edges as a tuple of ascending ints."""
    edges = [edges] if np.ndim(edges) == 0 else list(edges)
    whole = all(isinstance(edge, numbers.Integral) for edge in edges)
    if not edges or not whole or edges[0] < 1 or np.any(np.diff(edges) < 1):
        raise ValueError(f"edges must be ascending integers from 1; got {edges}.")
    return tuple(int(edge) for edge in edges)


def _measure_bins(ranking, bins, n_bins, metric):
    """Compute the metric of each bin; NaN where there is nothing to divide by.

    `bins` has shape (n_labels,) and holds the bin of each label.
    """

    def count(labels):
        return np.bincount(bins[labels], minlength=n_bins)

    found = ranking.ids[ranking.hits]
    if metric == "recall":
        part = count(found)
        whole = np.bincount(bins, weights=ranking.label_counts, minlength=n_bins)
    elif metric == "precision":
        part, whole = count(found), count(ranking.ids[ranking.ids >= 0])
    else:
        part = count(np.unique(found))
        whole = count(np.flatnonzero(ranking.label_counts))
    values = np.full(n_bins, np.nan)
    np.divide(part, whole, out=values, where=whole > 0)
    return values


def _label_counts(estimator, label_counts):
    """Return the training documents of each label: those given, or the estimator's."""
    if label_counts is not None:
        return np.asarray(label_counts)
    found = find_training_counts(estimator)
    if found is None:
        raise ValueError(
            f"{type(estimator).__name__} has no fitted label_counts_. Pass "
            "label_counts=np.asarray(Y_train.sum(axis=0)).ravel()."
        )
    return np.asarray(found[0])
