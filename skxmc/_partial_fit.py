"""``partial_fit``: training on documents as they come, once each."""

import numpy as np
from sklearn.utils.metaestimators import available_if

from ._calibration import fit_calibration
from ._validation import label_array

__all__ = ["NoPartialFit", "PartialFitMixin", "Stream"]

# Number of documents of a call from which the calibration is fitted anew.
_CALIBRATION_DOCS = 100


class NoPartialFit:
    """Stands for ``partial_fit`` in classifiers that have none, and says why.

    Their class has the reason, a sentence, as ``_no_stream``.
    """

    def __get__(self, estimator, kind):
        raise AttributeError(
            f"{kind.__name__} has no partial_fit: {kind._no_stream} Use "
            "warm_start=True."
        )


class Stream:
    """A call of ``partial_fit``.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,) or None
        Classes of a 1-D y, in the first call.

    Attributes
    ----------
    calibration : (float, float) or None
        Calibration after this call, if it is not the first one.
    """

    def __init__(self, classes):
        self.classes = classes
        self.calibration = None


def _learns_from_streams(estimator):
    reason = estimator._why_no_stream()
    if reason is not None:
        raise AttributeError(f"partial_fit is not offered: {reason}")
    return True


class PartialFitMixin:
    """Gives a classifier ``partial_fit``.

    It is for a subclass of `skxmc.base.BaseXMCClassifier` whose negatives come from the
    scores of the moment, so that each batch can be trained on by itself. The subclass
    may override ``_why_no_stream()``.
    """

    def _why_no_stream(self):
        """Return a sentence about parameters that rule out a stream, or None."""
        return None

    @available_if(_learns_from_streams)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train on some documents, once each, after all that has been learned.

        The first call builds the network from its documents, as `fit` does: the words
        that are counted, the clusters of labels and the initial label vectors. It
        should have many documents. Later calls add new words and new labels as `fit`
        does with ``warm_start=True``. The learning rates rise to their peaks in the
        first call (`warmup`), and are constant from then on. The optimizer begins anew
        in each call.

        No documents are held out: `validation_fraction`, `early_stopping`,
        `max_epochs`, `schedule`, `swa_start` and `checkpoint_dir` have no effect.
        Probabilities are calibrated on the documents of the first call, after it was
        trained on them, and then on those of each call with at least 100 documents,
        before it is trained on them.

        Each call copies the network, so give documents by the hundred rather than one
        by one.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of one kind in all calls, as in `fit`.
        y : sparse matrix of shape (n_docs, n_labels), or array
            Labels, as in `fit`. Later calls may have more columns at the end; set
            `label_texts` and `label_names` accordingly before.
        classes : array of shape (n_classes,) or None, default=None
            All classes of a 1-D `y`, of which a call need not have each. The first call
            needs them; later ones may leave them out. A label matrix says by its
            columns which labels there are, and needs no classes.
        sample_weight : array-like of shape (n_docs,) or None, default=None
            Weights of these documents, as in `fit`.

        Returns
        -------
        self : estimator
            The classifier.

        Raises
        ------
        ValueError
            If `X`, `y`, `classes` or a parameter is not as described, or if training
            diverges. The classifier is then what it was before.
        """
        self._stream = Stream(self._check_stream_classes(y, classes))
        try:
            return self.fit(X, y, sample_weight)
        finally:
            del self._stream

    def _check_stream_classes(self, y, classes):
        """Return the classes of a 1-D y in the first call, else None."""
        y = label_array(y)
        is_single = y.ndim == 1 or y.shape[1:] == (1,)
        is_first = not hasattr(self, "network_")
        if classes is None:
            if is_first and is_single:
                raise ValueError(
                    "classes must be passed on the first call to partial_fit with a "
                    "1-D y: all classes that will ever occur."
                )
            return None
        classes = np.unique(np.asarray(classes))
        known = classes if is_first else self.classes_
        if not is_single:
            known = np.arange(y.shape[1])
        if not np.array_equal(classes, known):
            expected = "those of the first call"
            if not is_single:
                expected = f"the {len(known)} columns of y, from 0 on, or None"
            raise ValueError(
                f"classes must be {expected}; got {len(classes)} classes, such as "
                f"{classes[:3].tolist()}."
            )
        return classes if is_first and is_single else None

    def _count_epochs(self):
        return super()._count_epochs() if self._stream is None else 1

    def _stream_options(self):
        if self._stream is None:
            return super()._stream_options()
        is_first = self._start is None
        return dict(
            max_epochs=1,
            schedule="constant",
            warmup=self.warmup if is_first else 0.0,
            swa_start=None,
        )

    def _inherit_weights(self, examples, Y):
        super()._inherit_weights(examples, Y)
        start = self._start
        if self._stream is None or start is None:
            return
        self.history_ = list(start.history_)
        self._stream.calibration = start.calibration_
        votes, rows = start.network.neighbors, examples.rows
        grows = len(start.labels) != start.n_labels_
        if self._y_kind == "single" or len(rows) < _CALIBRATION_DOCS or grows:
            return
        # Documents that are new to the network say how sure it may be.
        self.network_.neighbors = votes
        depth = self._calibration_depth()
        ids, scores = self._rank_docs(examples.docs, depth, rows)
        self.network_.neighbors = None
        weights = self._weights_of(rows)
        self._stream.calibration = fit_calibration(Y[rows], ids, scores, weights)

    def _calibrate(self, examples, Y, held_out, rng):
        super()._calibrate(examples, Y, held_out, rng)
        if self._stream is not None and self._stream.calibration is not None:
            self.calibration_ = self._stream.calibration
