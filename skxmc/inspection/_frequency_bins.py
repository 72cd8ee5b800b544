"""How well labels are found, by their frequency in training."""

import numbers

import numpy as np

from .._response import find_training_counts, label_matrix, predict_ranking
from .._validation import check_choice, check_number
from ..metrics._ranking import Ranking, check_truth
from ._plotting import axes_for


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
        self.ax_, self.figure_ = axes_for(ax, self.name)
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


def _label_counts(estimator, label_counts):
    if label_counts is not None:
        return np.asarray(label_counts)
    found = find_training_counts(estimator)
    if found is None:
        raise ValueError(
            f"{type(estimator).__name__} has no fitted label_counts_. Pass "
            "label_counts=np.asarray(Y_train.sum(axis=0)).ravel()."
        )
    return np.asarray(found[0])
