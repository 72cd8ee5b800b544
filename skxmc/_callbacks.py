"""scikit-learn's callbacks, where the installed version has them (1.9)."""

from ._calibration import UNCALIBRATED

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """Stands for that of scikit-learn 1.9: there is nothing to call."""

    def with_callbacks(method):
        return method


def end_callbacks(estimator):
    """Let callbacks end, after ``fit`` or its failure.

    The decorator does that behind a method; around ``fit`` it would stand between a
    warning and the line that it is about.
    """
    with_callbacks(lambda estimator: None)(estimator)


class Epochs:
    """Tells an estimator's callbacks of `fit`, and of each epoch in it.

    Parameters
    ----------
    estimator : estimator
    X, y
        What ``fit`` was given.
    """

    def __init__(self, estimator, X, y):
        self.estimator, self.data = estimator, {"X": X, "y": y}
        self.context = self.epoch = None
        if hasattr(estimator, "_init_callback_context"):
            n_epochs = estimator.max_epochs
            self.context = estimator._init_callback_context(max_subtasks=n_epochs)
            self.context.call_on_fit_task_begin(estimator=estimator, **self.data)

    def begin(self):
        """Say that an epoch begins."""
        if self.context is not None:
            self.epoch = self.context.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self):
        """Say that it is over; return whether a callback wants training to stop."""
        if self.context is None:
            return False
        return self._ended(self.epoch)

    def finish(self):
        """Say that ``fit`` is over."""
        if self.context is not None:
            self._ended(self.context)

    def _ended(self, context):
        def fitted():  # as if training had stopped here, and nothing was calibrated
            state = {
                "calibration_": UNCALIBRATED,
                "n_iter_": len(self.estimator.history_),
            }
            return state | vars(self.estimator)

        return context.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=fitted, **self.data
        )
