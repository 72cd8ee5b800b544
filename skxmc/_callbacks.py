"""Support for scikit-learn's callbacks, which version 1.9 introduced."""

from ._calibration import UNCALIBRATED
from .nn.group import alone, is_first

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """Replacement for an older scikit-learn, which has no callbacks."""

    def with_callbacks(method):
        """Return the method itself."""
        return method


def end_callbacks(estimator):
    """Tear callbacks down after ``fit``, whether it succeeded or failed.

    The decorator ``with_callbacks`` does so after a method. On ``fit`` itself it would
    add a frame to the stack, and warnings would name that frame instead of the line
    that calls ``fit``. So it decorates a method that does nothing.
    """
    with_callbacks(lambda estimator: None)(estimator)


class Epochs:
    """Informs the callbacks of an estimator about the progress of ``fit``.

    If several processes fit together, the first one calls the callbacks.

    Parameters
    ----------
    estimator : BaseXMCClassifier
        Estimator that is being fitted.
    X, y : as in ``fit``
        Training data, which callbacks may use.
    """

    def __init__(self, estimator, X, y):
        self.estimator, self.data = estimator, {"X": X, "y": y}
        self.context = self.epoch = None
        if hasattr(estimator, "_init_callback_context") and is_first():
            n_epochs = estimator._count_epochs()
            self.context = estimator._init_callback_context(max_subtasks=n_epochs)
            with alone():
                self.context.call_on_fit_task_begin(estimator=estimator, **self.data)

    def begin(self):
        """Announce the beginning of an epoch."""
        if self.context is not None:
            self.epoch = self.context.subcontext(task_name="epoch")
            self.epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def end(self):
        """Announce the end of an epoch; return whether a callback stops training."""
        if self.context is None:
            return False
        return self._announce_end(self.epoch)

    def finish(self):
        """Announce the end of ``fit``."""
        if self.context is not None:
            self._announce_end(self.context)

    def _announce_end(self, context):
        def collect_attributes():
            # A callback may predict with the estimator, as if training had ended here.
            # Before the calibration, slope 1 and offset 0 leave log-odds as they are.
            defaults = {
                "calibration_": UNCALIBRATED,
                "n_iter_": len(self.estimator.history_),
            }
            return defaults | vars(self.estimator)

        with alone():
            return context.call_on_fit_task_end(
                estimator=self.estimator,
                reconstruction_attributes=collect_attributes,
                **self.data,
            )
