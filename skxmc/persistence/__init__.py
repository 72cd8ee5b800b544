"""Model folders: fitted classifiers saved to disk, and loaded without unpickling.

`FolderMixin` gives every classifier ``save_pretrained`` and ``from_pretrained``, and
`load` loads what any of them saved. A folder holds

- ``config.json``: class, parameters, fitted attributes, versions, the size and
  SHA-256 of every other file, and its own SHA-256;
- ``model.safetensors``: all tensors and arrays, except those of the transformer;
- ``labels.json``: lists of texts, such as label names and the words of a vectorizer;
- ``encoder/`` and ``tokenizer/``, as transformers writes and loads them.

The author of a folder may mean harm, so nothing in it is used before it is checked.
"""

from ._loading import load
from ._saving import FolderMixin as FolderMixin

__all__ = ["load"]
