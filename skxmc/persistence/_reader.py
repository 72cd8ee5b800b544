"""Fitted classifiers as JSON, tensors, texts and files, and back.

Objects are written as the plain values they consist of. What is built again are objects
of a fixed set of classes, and no code comes from the folder.
"""

import contextlib
import math
import os
from inspect import Parameter, signature

import numpy as np
import scipy.sparse as sp
import torch
import transformers
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ..nn.state import (
    by_attribute,
    by_saved_name,
    check_state,
    expected_state,
    from_state,
    to_state,
)
from ._classes import ESTIMATORS, PARTS, find_class, name_of_class
from ._transformer_files import (
    read_tokenizer,
    read_transformer,
    write_tokenizer,
    write_transformer,
)

# Kinds of the dtypes of data, columns and row ends.
_SPARSE = ("bii", "iii", "uii", "fii")
_CONTAINERS = {"csr_array": sp.csr_array, "csr_matrix": sp.csr_matrix}
# Attributes by which scikit-learn routes metadata, output and callbacks.
_OWN_TO_SKLEARN = ("_metadata_request", "_sk")
# Bytes of an array of str, wider than its values, that is kept as wide.
_WIDE_STRINGS = 1 << 28


class Writer:
    """Makes JSON of a model; writes its transformers and graphs into a folder.

    Parameters
    ----------
    folder : Path
        Empty.

    Attributes
    ----------
    tensors : dict of str to tensor
        All tensors and arrays that the JSON names.
    texts : dict of str to list of str
    dropped : dict of (str, str) to str
        Classifiers and parameters that JSON cannot hold, and what they are.
    unknown : list of (str, str)
        Classifiers and their attributes that fit does not set: they are not kept.
    """

    def __init__(self, folder):
        self.folder = folder
        self.tensors, self.texts = {}, {}
        # Keys of tensors by where they lie in memory, and these, so that they stay.
        self.known, self.kept = {}, []
        self.estimators = []
        self.dropped, self.unknown = {}, []

    def encode(self, value, path):
        """JSON for a value; tensors and texts are put aside under `path`."""
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": str(value)}
        if isinstance(value, np.generic):
            return self.encode(value.item(), path)
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if hasattr(value, "to_list"):  # a column of pandas or polars
            value = value.to_list()
        if isinstance(value, type) and value in _CONTAINERS.values():
            return {"container": value.__name__}
        if isinstance(value, (type, np.dtype)):
            return {"dtype": np.dtype(value).str}
        for kinds, encode in (
            ((list, tuple), self._sequence),
            (dict, self._dict),
            (np.ndarray, self._array),
            (nn.Parameter, self._parameter),
            (torch.Tensor, self._tensor),
            ((sp.sparray, sp.spmatrix), self._sparse),
            (transformers.PreTrainedTokenizerBase, self._tokenizer),
            (TfidfVectorizer, self._vectorizer),
            (BaseEstimator, self._estimator),
            (nn.Module, self._object),
        ):
            if isinstance(value, kinds):
                return encode(value, path)
        if name_of_class(type(value), PARTS):
            return self._object(value, path)
        raise TypeError(
            f"{path or 'this'} is {type(value).__name__}, which a model folder cannot "
            "keep. Use pickle or joblib for this model."
        )

    def _sequence(self, values, path):
        if values and all(isinstance(value, str) for value in values):
            same = [key for key, texts in self.texts.items() if texts == list(values)]
            self.texts.setdefault(same[0] if same else path, list(values))
            coded = {"texts": same[0] if same else path}
        else:
            coded = [self.encode(v, f"{path}.{i}") for i, v in enumerate(values)]
        return {"tuple": coded} if isinstance(values, tuple) else coded

    def _dict(self, values, path):
        names = list(values)
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"{path} is a dict with keys that are no strings.")
        if names and all(_is_vector(vector) for vector in values.values()):
            # Word vectors, of which there are many: side by side.
            with contextlib.suppress(ValueError):  # of different lengths
                matrix = np.stack(list(values.values()))
                return {
                    "vectors": self._array(matrix, path),
                    "names": self._sequence(names, f"{path}.names"),
                }
        kind = "bunch" if type(values) is Bunch else "dict"
        return {kind: {n: self.encode(v, f"{path}.{n}") for n, v in values.items()}}

    def _array(self, array, path):
        if array.dtype.kind in "OU" and array.ndim == 1:
            values = array.tolist()
            dtype = _string_dtype(values, array.dtype)
            return {"array": self.encode(values, path), "dtype": dtype.str}
        try:
            array = array.astype(array.dtype.newbyteorder("="), "C", copy=False)
            array = array if array.flags.writeable else array.copy()
            tensor = torch.from_numpy(array)
        except TypeError:
            raise TypeError(
                f"{path} is an array of dtype {array.dtype}, which a model folder "
                "cannot keep. Use pickle or joblib for this model."
            ) from None
        return {"numbers": self._tensor(tensor.view(array.shape), path)["tensor"]}

    def _tensor(self, tensor, path):
        tensor = tensor.detach()
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in self.known:
            return {"tensor": self.known[place]}
        self.known[place] = path
        self.kept.append(tensor)
        # Files hold no views, and no two tensors that share memory.
        self.tensors[path] = tensor.cpu().contiguous().clone()
        return {"tensor": path}

    def _parameter(self, parameter, path):
        return self._tensor(parameter, path) | {"trained": parameter.requires_grad}

    def _sparse(self, matrix, path):
        name = "csr_array" if isinstance(matrix, sp.sparray) else "csr_matrix"
        matrix = matrix.tocsr()
        parts = ("data", "indices", "indptr")
        return {
            "sparse": name,
            "shape": list(matrix.shape),
            **{n: self._array(getattr(matrix, n), f"{path}.{n}") for n in parts},
        }

    def _transformer(self, model, path):
        folder = self._new("encoder")
        write_transformer(model, self.folder / folder)
        return {"transformer": folder, "dtype": str(model.dtype).split(".")[-1]}

    def _tokenizer(self, tokenizer, path):
        folder = self._new("tokenizer")
        write_tokenizer(tokenizer, self.folder / folder)
        return {"tokenizer": folder}

    def _new(self, name):
        """A folder that is not there yet: members of an ensemble have one each."""
        n = sum(path.name.startswith(name) for path in self.folder.iterdir())
        folder = f"{name}-{n + 1}" if n else name
        (self.folder / folder).mkdir()
        return folder

    def _vectorizer(self, vectorizer, path):
        params = vectorizer.get_params()
        return {
            "vectorizer": {n: self.encode(v, f"{path}.{n}") for n, v in params.items()},
            "terms": self._sequence(
                vectorizer.get_feature_names_out().tolist(), f"{path}.terms"
            ),
            "idf": self._array(vectorizer.idf_, f"{path}.idf"),
        }

    def _object(self, value, path):
        name = _name_of_class(type(value), PARTS)
        state = {}
        for key, item in to_state(value).items():
            # A transformer is written as part of an encoder only: as a parameter it
            # would be the one from before it was fine-tuned.
            transformer = isinstance(item, transformers.PreTrainedModel)
            encode = self._transformer if transformer else self.encode
            state[key] = encode(item, f"{path}.{key}")
        return {"object": name, "state": state}

    def _estimator(self, estimator, path):
        for i, known in enumerate(self.estimators):
            if known is estimator:
                return {"same": i}
        self.estimators.append(estimator)
        name = _name_of_class(type(estimator), ESTIMATORS)
        path = f"{path}." if path else ""
        parameters, n_known = {}, len(self.estimators)
        given = estimator.get_params(deep=False)
        for key, value in given.items():
            try:
                parameters[key] = self.encode(value, f"{path}{key}")
                n_known = len(self.estimators)
            except TypeError:
                if (
                    signature(type(estimator)).parameters[key].default
                    is Parameter.empty
                ):
                    raise
                del self.estimators[n_known:]
                self.dropped[type(estimator).__name__, key] = type(value).__name__
        fitted = fitted_state(estimator)
        known = _known_attributes(estimator) if fitted else set()
        self.unknown += [(type(estimator).__name__, n) for n in set(fitted) - known]
        fitted = {key: value for key, value in fitted.items() if key in known}
        state = {
            key: self.encode(value, f"{path}{key}")
            for key, value in by_saved_name(type(estimator), fitted).items()
        }
        return {"estimator": name, "parameters": parameters, "state": state}


def fitted_state(estimator):
    """Attributes of an estimator that are neither parameters nor scikit-learn's own."""
    given = estimator.get_params(deep=False)
    return {
        name: value
        for name, value in vars(estimator).items()
        if name not in given and not name.startswith(_OWN_TO_SKLEARN)
    }


def check_estimator(estimator):
    """Refuse parameters that fit would refuse, and what fit would not have left.

    Attributes that fit does not set are none of the matter here.

    Raises
    ------
    ValueError
        Which names the value.
    """
    type(estimator)._check_parameters(estimator)
    fitted = fitted_state(estimator)
    if fitted:
        known = _known_attributes(estimator)
        fitted = {name: fitted[name] for name in fitted if name in known}
        check_state(estimator, type(estimator).__name__, fitted)


def _known_attributes(estimator):
    """Names of the attributes that fit sets."""
    return set(by_attribute(type(estimator), expected_state(estimator)))


def _string_dtype(values, dtype):
    """A dtype of texts, narrowed where it is so wide that it fills the memory."""
    if dtype.kind == "U" and len(values) * dtype.itemsize > _WIDE_STRINGS:
        return np.dtype(f"U{max([1, *map(len, values)])}")
    return dtype


def _is_vector(value):
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"


def _name_of_class(kind, paths):
    name = name_of_class(kind, paths)
    if name is None:
        raise TypeError(
            f"{kind.__module__}.{kind.__name__} is none of the classes that a model "
            "folder can keep. Use pickle or joblib for this model."
        )
    return name


class Reader:
    """Makes a model of what `Writer` made of it.

    Parameters
    ----------
    folder : Path
    tensors : dict of str to tensor
    texts : dict of str to list of str
    parts : set of str
        Folders of transformers and tokenizers, and other files.

    Attributes
    ----------
    estimators : list of estimator
        All that were made.
    unused : set of str
        Names of tensors, texts and parts that nothing has asked for yet.
    """

    def __init__(self, folder, tensors, texts, parts):
        self.folder = folder
        self.tensors, self.texts = tensors, texts
        self.estimators = []
        self.unused = {*tensors, *texts, *parts}
        self.unfinished = []

    def read(self, content):
        """Make the model of a folder, and check all that it holds.

        Raises
        ------
        ValueError, or any other Exception
            If it is not what `Writer` wrote.
        ImportError
            If it needs hnswlib, and that is not installed.
        """
        model = self.decode(content)
        if not any(model is estimator for estimator in self.estimators):
            raise TypeError(f"it holds {type(model).__name__}")
        if self.unused:
            raise ValueError(f"{sorted(self.unused)[0]!r} belongs to nothing")
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
        unknown = set(value) - {kind, *_KINDS[kind]}
        if unknown:
            raise ValueError(f"{kind!r} has the unknown field {sorted(unknown)[0]!r}")
        return getattr(self, f"_{kind}")(value)

    def _all(self, values):
        return {name: self.decode(value) for name, value in values.items()}

    def _float(self, value):
        return float(value["float"])

    def _container(self, value):
        return _CONTAINERS[value["container"]]

    def _dtype(self, value):
        return np.dtype(value["dtype"])

    def _texts(self, value):
        self.unused.discard(value["texts"])
        return self.texts[value["texts"]]

    def _tuple(self, value):
        return tuple(self.decode(value["tuple"]))

    def _dict(self, value):
        return self._all(value["dict"])

    def _bunch(self, value):
        return Bunch(**self._all(value["bunch"]))

    def _vectors(self, value):
        names = self.decode(value["names"])
        return dict(zip(names, self.decode(value["vectors"]), strict=True))

    def _array(self, value):
        values, dtype = self.decode(value["array"]), np.dtype(value["dtype"])
        if dtype.kind not in "OU":
            raise TypeError(f"an array of texts has the dtype {dtype}")
        return np.fromiter(values, _string_dtype(values, dtype), len(values))

    def _numbers(self, value):
        self.unused.discard(value["numbers"])
        return self.tensors[value["numbers"]].numpy()

    def _tensor(self, value):
        self.unused.discard(value["tensor"])
        tensor = self.tensors[value["tensor"]]
        if "trained" in value:
            return nn.Parameter(tensor, requires_grad=value["trained"])
        return tensor

    def _sparse(self, value):
        parts = [self.decode(value[name]) for name in ("data", "indices", "indptr")]
        if "".join(part.dtype.kind for part in parts) not in _SPARSE:
            raise TypeError("a sparse matrix has columns that are no whole numbers")
        matrix = _CONTAINERS[value["sparse"]](tuple(parts), tuple(value["shape"]))
        matrix.check_format(full_check=True)
        return matrix

    def _transformer(self, value):
        dtype = {"float32": torch.float32, "float64": torch.float64}[value["dtype"]]
        return read_transformer(self._part(value["transformer"], "encoder"), dtype)

    def _tokenizer(self, value):
        return read_tokenizer(self._part(value["tokenizer"], "tokenizer"))

    def _part(self, name, kind):
        """Path of a folder of transformers', which that would look for elsewhere."""
        if name.partition("-")[0] != kind or name not in self.unused:
            raise KeyError(name)
        self.unused.discard(name)
        return self.folder / name

    def _vectorizer(self, value):
        vectorizer = TfidfVectorizer(**self._all(value["vectorizer"]))
        terms = self.decode(value["terms"])
        if len(set(terms)) < len(terms):
            raise ValueError("a vectorizer has a term twice")
        vectorizer.vocabulary_ = {term: i for i, term in enumerate(terms)}
        vectorizer.fixed_vocabulary_ = False
        vectorizer.idf_ = self.decode(value["idf"])
        return vectorizer

    def _object(self, value):
        kind = find_class(value["object"], PARTS)
        return from_state(kind, self._all(value["state"]))

    def _estimator(self, value):
        kind = find_class(value["estimator"], ESTIMATORS)
        model = kind.__new__(kind)
        self.estimators.append(model)  # first, as it was when it was written
        self.unfinished.append(model)
        kind.__init__(model, **self._all(value["parameters"]))
        state = self._all(value["state"])
        state = by_attribute(kind, state)
        if set(state) & set(vars(model)) or any(map(_is_own_to_sklearn, state)):
            raise ValueError(f"the state of {kind.__name__} holds other attributes")
        vars(model).update(state)
        unknown = set(state) - _known_attributes(model) if state else ()
        if unknown:
            raise ValueError(f"{kind.__name__} has no attribute {sorted(unknown)[0]!r}")
        self.unfinished.pop()
        return model

    def _same(self, value):
        model = self.estimators[value["same"]]
        if any(model is one for one in self.unfinished):
            raise ValueError("a classifier is a member of itself")
        return model


def _is_own_to_sklearn(name):
    return name.startswith(_OWN_TO_SKLEARN)


# Fields of what `Reader` makes, by the first one; some may be missing.
_KINDS = {
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
