"""Stores: documents in files, for data that is larger than memory."""

from ._build import build_store
from ._open import open_store

__all__ = ["build_store", "open_store"]
