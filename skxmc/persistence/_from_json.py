"""A fitted classifier, made from what `_to_json` wrote.

Objects are made of plain values, and only of the classes in `_classes`. No code comes
from the folder.
"""

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..nn.state import by_attribute, from_state
from ._arrays import SPARSE_CLASSES, choose_string_dtype
from ._classes import ESTIMATORS, PARTS, find_class
from ._estimators import belongs_to_sklearn, check_estimator, known_attributes
from ._transformer_files import read_tokenizer, read_transformer

# Fields of what `Reader` makes, by the first one; some may be missing.
_FIELDS = {
    "float": (),
    "container": (),
    "dtype": (),
    "texts": (),
    "tuple": (),
    "dict": (),
    "bunch": (),
    "vectors": ("names",),
    "array": ("dtype",),
    "numbers": (),
    "tensor": ("trained",),
    "sparse": ("shape", "data", "indices", "indptr"),
    "transformer": ("dtype",),
    "tokenizer": (),
    "vectorizer": ("terms", "idf"),
    "object": ("state",),
    "estimator": ("parameters", "state"),
    "same": (),
}
# Kinds of the dtypes that a sparse matrix may have: of data, columns and row ends.
_SPARSE_KINDS = ("bii", "iii", "uii", "fii")


class Reader:
    """Makes a classifier of the JSON, tensors, texts and files of a folder.

    Parameters
    ----------
    folder : Path
    tensors : dict of str to tensor
    texts : dict of str to list of str
    parts : set of str
        Names of folders of transformers and tokenizers, and of other files.
    mmap : bool
        Whether the weights of a transformer stay in their file.

    Attributes
    ----------
    estimators : list of estimator
        All classifiers that were made.
    unused : set of str
        Names of tensors, texts and parts that nothing has used yet.
    unfinished : list of estimator
        Classifiers whose members are being made.
    """

    def __init__(self, folder, tensors, texts, parts, mmap):
        self.folder, self.mmap = folder, mmap
        self.tensors, self.texts = tensors, texts
        self.estimators = []
        self.unused = {*tensors, *texts, *parts}
        self.unfinished = []

    def read(self, content):
        """Make the classifier, and check everything that it holds.

        Parameters
        ----------
        content : object
            As parsed from JSON.

        Returns
        -------
        fitted classifier

        Raises
        ------
        ValueError, or any other Exception
            If `Writer` would not have written this.
        ImportError
            If the classifier needs hnswlib, and that is not installed.
        """
        model = self.decode(content)
        if not any(model is estimator for estimator in self.estimators):
            raise TypeError(f"it holds {type(model).__name__}")
        if self.unused:
            raise ValueError(f"nothing in the model uses {sorted(self.unused)[0]!r}")
        for estimator in self.estimators:
            check_estimator(estimator)
        check_is_fitted(model)
        return model

    def decode(self, value):
        """Make a value of its JSON."""
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        kind = next(iter(value))
        unknown = set(value) - {kind, *_FIELDS[kind]}
        if unknown:
            raise ValueError(f"{kind!r} has the unknown field {sorted(unknown)[0]!r}")
        return getattr(self, f"_decode_{kind}")(value)

    def _decode_all(self, values):
        return {name: self.decode(value) for name, value in values.items()}

    def _use(self, values, name):
        """Look up a tensor or a list of texts."""
        self.unused.discard(name)
        return values[name]

    def _decode_float(self, value):
        return float(value["float"])

    def _decode_container(self, value):
        return SPARSE_CLASSES[value["container"]]

    def _decode_dtype(self, value):
        return np.dtype(value["dtype"])

    def _decode_texts(self, value):
        return self._use(self.texts, value["texts"])

    def _decode_tuple(self, value):
        return tuple(self.decode(value["tuple"]))

    def _decode_dict(self, value):
        return self._decode_all(value["dict"])

    def _decode_bunch(self, value):
        return Bunch(**self._decode_all(value["bunch"]))

    def _decode_vectors(self, value):
        names = self.decode(value["names"])
        return dict(zip(names, self.decode(value["vectors"]), strict=True))

    def _decode_array(self, value):
        values, dtype = self.decode(value["array"]), np.dtype(value["dtype"])
        if dtype.kind not in "OU":
            raise TypeError(f"an array of texts has the dtype {dtype}")
        return np.fromiter(values, choose_string_dtype(values, dtype), len(values))

    def _decode_numbers(self, value):
        return self._use(self.tensors, value["numbers"]).numpy()

    def _decode_tensor(self, value):
        tensor = self._use(self.tensors, value["tensor"])
        if "trained" in value:
            return nn.Parameter(tensor, requires_grad=value["trained"])
        return tensor

    def _decode_sparse(self, value):
        parts = [self.decode(value[name]) for name in ("data", "indices", "indptr")]
        if "".join(part.dtype.kind for part in parts) not in _SPARSE_KINDS:
            raise TypeError("a sparse matrix has columns that are not whole numbers")
        kind = SPARSE_CLASSES[value["sparse"]]
        matrix = kind(tuple(parts), tuple(value["shape"]))
        matrix.check_format(full_check=True)
        return matrix

    def _decode_transformer(self, value):
        dtype = {"float32": torch.float32, "float64": torch.float64}[value["dtype"]]
        folder = self._use_folder(value["transformer"], "encoder")
        return read_transformer(folder, dtype, self.mmap)

    def _decode_tokenizer(self, value):
        return read_tokenizer(self._use_folder(value["tokenizer"], "tokenizer"))

    def _use_folder(self, name, kind):
        """Return the path of a folder of this model, and of no other.

        transformers would look for an unknown name on the hub.
        """
        if name.partition("-")[0] != kind or name not in self.unused:
            raise ValueError(f"it has no folder {name!r:.60} that is not used yet")
        self.unused.discard(name)
        return self.folder / name

    def _decode_vectorizer(self, value):
        vectorizer = TfidfVectorizer(**self._decode_all(value["vectorizer"]))
        terms = self.decode(value["terms"])
        if len(set(terms)) < len(terms):
            raise ValueError("a vectorizer has a term twice")
        vectorizer.vocabulary_ = {term: i for i, term in enumerate(terms)}
        vectorizer.fixed_vocabulary_ = False
        vectorizer.idf_ = self.decode(value["idf"])
        return vectorizer

    def _decode_object(self, value):
        kind = find_class(value["object"], PARTS)
        return from_state(kind, self._decode_all(value["state"]))

    def _decode_estimator(self, value):
        kind = find_class(value["estimator"], ESTIMATORS)
        model = kind.__new__(kind)
        # Before its members: `Writer` counts classifiers in this order.
        self.estimators.append(model)
        self.unfinished.append(model)
        kind.__init__(model, **self._decode_all(value["parameters"]))
        state = by_attribute(kind, self._decode_all(value["state"]))
        refused = set(state) & set(vars(model)) | set(filter(belongs_to_sklearn, state))
        if not refused and state:
            # The checks of some attributes depend on others, so all are set first.
            vars(model).update(state)
            refused = set(state) - known_attributes(model)
        if refused:
            name = sorted(refused)[0]
            raise ValueError(f"fit of {kind.__name__} sets no attribute {name!r}")
        self.unfinished.pop()
        return model

    def _decode_same(self, value):
        model = self.estimators[value["same"]]
        if any(model is one for one in self.unfinished):
            raise ValueError("a classifier is a member of itself")
        return model
