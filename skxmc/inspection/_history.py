"""Loss and held-out score of each epoch."""

from .._response import find_classifier
from ._plotting import make_axes, use_whole_ticks


class HistoryDisplay:
    """Loss and held-out score of a training, epoch by epoch.

    Use `from_estimator` to make a display.

    Parameters
    ----------
    history : list of dict
        `history_` of a classifier.
    name : str or None, default=None
        Title of the picture.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes of the loss, and their figure.
    score_ax_ : matplotlib Axes or None
        Axes of the score, on the right. None if no documents were held out.

    Examples
    --------
    >>> from skxmc import GRankClassifier
    >>> from skxmc.datasets import make_xmc
    >>> from skxmc.inspection import HistoryDisplay
    >>> data = make_xmc(60, 20, kind="features", random_state=0)
    >>> model = GRankClassifier(max_epochs=2, random_state=0).fit(data.X, data.Y)
    >>> display = HistoryDisplay.from_estimator(model)
    >>> len(display.history)
    2
    """

    def __init__(self, *, history, name=None):
        self.history = history
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, *, name=None, ax=None, **line_options):
        """Draw the history of a fitted classifier.

        Parameters
        ----------
        estimator : fitted classifier with `history_`
            It may be inside a Pipeline or a fitted search.
        name : str or None, default=None
            Title of the picture; None is the class of the classifier.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **line_options
            Options of matplotlib's ``Axes.plot``, for both lines.

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        ValueError
            If the classifier has no `history_`.
        """
        classifier = find_classifier(estimator)
        if not getattr(classifier, "history_", None):
            raise ValueError(
                f"{type(classifier).__name__} has no history_. Fit it first; if it is "
                "an ensemble, pass one of its members."
            )
        name = type(classifier).__name__ if name is None else name
        return cls(history=classifier.history_, name=name).plot(ax, **line_options)

    def plot(self, ax=None, **line_options):
        """Draw the loss and, if documents were held out, the score.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **line_options
            Options of matplotlib's ``Axes.plot``, for both lines.

        Returns
        -------
        HistoryDisplay
        """
        self.ax_, self.figure_ = make_axes(ax, self.name)
        epochs = [epoch["epoch"] for epoch in self.history]
        losses = [epoch["loss"] for epoch in self.history]
        options = {"marker": ".", "color": "C0", "label": "loss"} | line_options
        lines = self.ax_.plot(epochs, losses, **options)
        self.ax_.set_xlabel("epoch")
        self.ax_.set_ylabel("loss, nats")
        use_whole_ticks(self.ax_.xaxis, epochs)
        self.score_ax_ = None
        scored = [epoch for epoch in self.history if "score" in epoch]
        if scored:
            self.score_ax_ = self.ax_.twinx()
            scores = [epoch["score"] for epoch in scored]
            epochs = [epoch["epoch"] for epoch in scored]
            own = {"color": "C1", "label": "held-out precision"}
            lines += self.score_ax_.plot(epochs, scores, **options | own | line_options)
            self.score_ax_.set_ylabel("held-out precision")
        self.ax_.legend(handles=lines, loc="center right")
        return self
