"""What writing and reading arrays have in common."""

import numpy as np
import scipy.sparse as sp

SPARSE_CLASSES = {"csr_array": sp.csr_array, "csr_matrix": sp.csr_matrix}
# Bytes above which an array of str is narrowed to its longest value.
_WIDE_STRINGS = 1 << 28


def choose_string_dtype(values, dtype):
    """Narrow a dtype of texts that is so wide that the array would fill the memory."""
    if dtype.kind == "U" and len(values) * dtype.itemsize > _WIDE_STRINGS:
        return np.dtype(f"U{max([1, *map(len, values)])}")
    return dtype
