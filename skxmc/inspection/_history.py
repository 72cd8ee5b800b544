"""Loss and held-out score of each epoch."""

from .._response import find_classifier
from ._plotting import axes_for, use_whole_ticks


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
        last = find_classifier(estimator)
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
        self.ax_, self.figure_ = axes_for(ax, self.name)
        epochs = [epoch["epoch"] for epoch in self.history]
        losses = [epoch["loss"] for epoch in self.history]
        options = {"marker": ".", "color": "C0", "label": "loss"} | line_options
        lines = self.ax_.plot(epochs, losses, **options)
        self.ax_.set_xlabel("epoch")
        self.ax_.set_ylabel("loss, nats")
        use_whole_ticks(self.ax_.xaxis, epochs)
        self.score_ax_ = None
        if "score" in self.history[0]:
            self.score_ax_ = self.ax_.twinx()
            scores = [epoch["score"] for epoch in self.history]
            own = {"color": "C1", "label": "held-out precision"}
            lines += self.score_ax_.plot(epochs, scores, **options | own | line_options)
            self.score_ax_.set_ylabel("held-out precision")
        self.ax_.legend(handles=lines, loc="center right")
        return self
