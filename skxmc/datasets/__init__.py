"""Data sets: ICD-10-CM, tables, other layouts, vocabularies, synthetic documents."""

from ._annif import load_annif_corpus
from ._icd import load_icd10cm
from ._repository import load_xmc_repository, remove_reciprocal
from ._synthetic import make_xmc
from ._table import load_table
from ._vocabulary import load_vocabulary

__all__ = [
    "load_annif_corpus",
    "load_icd10cm",
    "load_table",
    "load_vocabulary",
    "load_xmc_repository",
    "make_xmc",
    "remove_reciprocal",
]
