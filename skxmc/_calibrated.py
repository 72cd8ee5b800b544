"""Classifiers whose scores become probabilities by a calibration."""

import numpy as np

from ._calibration import (
    UNCALIBRATED,
    calibrate,
    fit_calibration,
    probabilities_from_scores,
)

# Number of best labels per document that the calibration is fitted on.
_CALIBRATION_DEPTH = 50
# Number of training documents that the calibration is fitted on if none are held out.
_CALIBRATION_DOCS = 2000


class CalibrationMixin:
    """Fits the calibration of a `BaseXMCClassifier`, and applies it."""

    def _calibrate(self, examples, Y, held_out, rng):
        self.n_iter_ = len(self.history_)
        self.calibration_ = UNCALIBRATED
        if self._y_kind == "single":
            return  # scores are logarithms of probabilities already
        if not len(held_out):
            held_out = rng.permutation(examples.rows)[:_CALIBRATION_DOCS]
        depth = self._calibration_depth()
        ids, scores = self._rank_docs(examples.docs, depth, held_out)
        weights = self._weights_of(held_out)
        self.calibration_ = fit_calibration(Y[held_out], ids, scores, weights)

    def _calibration_depth(self):
        """Return the number of labels of a document that enter the calibration."""
        return min(self.n_labels_, _CALIBRATION_DEPTH)

    def _log_odds(self, scores):
        return calibrate(scores.astype(np.float64), self.calibration_)

    def _probabilities(self, scores):
        single_label = self._y_kind == "single"
        return probabilities_from_scores(
            scores, self.calibration_, single_label=single_label
        )
