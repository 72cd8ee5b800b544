"""Data sets: ICD-10-CM, tables, the XML repository's layouts, synthetic documents."""

from ._icd import load_icd10cm
from ._repository import load_xmc_repository, remove_reciprocal
from ._synthetic import make_xmc
from ._table import load_table

__all__ = [
    "load_icd10cm",
    "load_table",
    "load_xmc_repository",
    "make_xmc",
    "remove_reciprocal",
]
