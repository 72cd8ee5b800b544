"""Model selection on sparse labels: cross-validation functions and splitters.

The functions have the names and parameters of those in `sklearn.model_selection`.
"""

from ._split import MultilabelKFold, MultilabelShuffleSplit
from ._validation import (
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)

__all__ = [
    "MultilabelKFold",
    "MultilabelShuffleSplit",
    "cross_val_predict",
    "cross_val_score",
    "cross_validate",
    "learning_curve",
    "validation_curve",
]
