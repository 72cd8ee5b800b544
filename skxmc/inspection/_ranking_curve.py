"""Ranking metrics as curves over k."""

import numpy as np

from .._response import find_training_counts, label_matrix, predict_ranking
from .._validation import check_choice
from ..metrics import propensity_from_counts
from ..metrics._ranking import METRICS, NEEDS_PROPENSITY, Ranking, check_ks, check_truth
from ._plotting import make_axes, use_whole_ticks


class RankingCurveDisplay:
    """Ranking metrics by k, the number of best labels that are looked at.

    Use `from_estimator` or `from_predictions` to make a display.

    Parameters
    ----------
    ks : int ndarray of shape (n_ks,)
        Values of k, ascending.
    curves : dict of str to ndarray of shape (n_ks,)
        Values of each metric, from 0 to 1.
    name : str or None, default=None
        Title of the picture, and name of the classifier in its legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes that were drawn on, and their figure.
    lines_ : list of matplotlib Line2D
        One line for each metric.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.inspection import RankingCurveDisplay
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
        """Predict with a classifier, compute the metrics and draw.

        Parameters
        ----------
        estimator : fitted classifier
            It may be inside a Pipeline or a fitted search.
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Test documents.
        y : sparse matrix or array of shape (n_docs, n_labels)
            Their labels.
        ks : int or sequence of int, default=range(1, 11)
            Values of k.
        metrics : sequence of str, default=("precision", "recall", "psp")
            Names of metrics, as `skxmc.metrics.ranking_scorer` takes them.
        propensity : array of shape (n_labels,) or None, default=None
            Propensities for "psp" and "psndcg". None computes them from the label
            counts of the classifier, hence from its training labels.
        name : str or None, default=None
            Name of the classifier; None is its class.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **line_options
            Options of matplotlib's ``Axes.plot``.

        Returns
        -------
        RankingCurveDisplay
        """
        truth = check_truth(label_matrix(estimator, y), "y")
        scores = predict_ranking(estimator, X, truth.shape[1], max(check_ks(ks)))
        counts = find_training_counts(estimator)
        if propensity is None and counts is not None:
            propensity = propensity_from_counts(*counts)
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
        """Compute the metrics of given predictions and draw.

        Parameters
        ----------
        y_true : sparse matrix or array of shape (n_docs, n_labels)
            True labels.
        y_score : sparse matrix or array of shape (n_docs, n_labels) or (n_docs, m)
            Scores or label ids, as the metrics of `skxmc.metrics` take them.
        ks : int or sequence of int, default=range(1, 11)
            Values of k.
        metrics : sequence of str, default=("precision", "recall")
            Names of metrics, as `skxmc.metrics.ranking_scorer` takes them.
        propensity : array of shape (n_labels,) or None, default=None
            Propensities; required for "psp" and "psndcg".
        name : str or None, default=None
            Title of the picture, and name in its legend.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **line_options
            Options of matplotlib's ``Axes.plot``.

        Returns
        -------
        RankingCurveDisplay

        Raises
        ------
        ValueError
            If a parameter is not as described, or propensities are missing.
        """
        ks = sorted(check_ks(ks))  # otherwise the line would turn back
        for metric in metrics:
            check_choice("metrics", metric, tuple(METRICS))
            if propensity is None and metric in NEEDS_PROPENSITY:
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
            Axes to draw on; None makes a new figure.
        **line_options
            Options of matplotlib's ``Axes.plot``.

        Returns
        -------
        RankingCurveDisplay
        """
        self.ax_, self.figure_ = make_axes(ax, self.name if ax is None else None)
        self.lines_ = []
        for metric, values in self.curves.items():
            label = f"{METRICS[metric][0]}@k"
            label = f"{self.name}, {label}" if self.name else label
            options = {"marker": ".", "label": label} | line_options
            self.lines_ += self.ax_.plot(self.ks, values, **options)
        self.ax_.set_xlabel("k, labels per document")
        self.ax_.set_ylabel("metric at k")
        self.ax_.set_ylim(0, 1)
        use_whole_ticks(self.ax_.xaxis, self.ks)
        self.ax_.legend()
        return self
