"""Checks of input: texts, labels and parameters; messages say what to change."""

from .changed_labels import (
    check_known_labels,
    check_more_labels,
    check_new_names,
    check_rows,
    find_columns,
    no_documents_error,
)
from .label_arrays import check_ones, label_array
from .labels import (
    check_label_names,
    check_label_texts,
    check_labels,
    check_more_classes,
    class_ids,
    count_documents,
    encode_labels,
)
from .parameters import (
    check_choice,
    check_flag,
    check_ngram_range,
    check_number,
    check_numbers,
    check_prompt,
)
from .texts import (
    check_one_text_column,
    check_texts,
    count_rows,
    holds_texts,
    indexable,
)

__all__ = [
    "check_choice",
    "check_flag",
    "check_known_labels",
    "check_label_names",
    "check_label_texts",
    "check_labels",
    "check_more_classes",
    "check_more_labels",
    "check_new_names",
    "check_ngram_range",
    "check_number",
    "check_numbers",
    "check_one_text_column",
    "check_ones",
    "check_prompt",
    "check_rows",
    "check_texts",
    "class_ids",
    "count_documents",
    "count_rows",
    "encode_labels",
    "find_columns",
    "holds_texts",
    "indexable",
    "label_array",
    "no_documents_error",
]
