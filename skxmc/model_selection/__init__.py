"""Model selection on sparse label matrices: scikit-learn's functions, and splitters."""

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
