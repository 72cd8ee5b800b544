"""Fitted classifiers as JSON, tensors, texts and files, and back.

Objects are written as the plain values they consist of. What is built again are objects
of a fixed set of classes, and no code comes from the folder.
"""

import contextlib
import importlib
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

from ._damage import DamagedError
from ._teacher import Teacher
from ._transformer_files import (
    read_tokenizer,
    read_transformer,
    write_tokenizer,
    write_transformer,
)
from .nn.encoders import TransformerEncoder
from .nn.search import NearestVectors
from .nn.state import LAYERS, OWN_TO_MODULES, check_state

# Files of this package whose classes a folder may name.
_MODULES = (
    "ensemble grank gudn lightdxml lightxml treaderxml "
    "nn.encoders nn.heads nn.shortlist"
).split()
# Modules of torch that a folder may name, beside those of this package.
_LAYERS = {kind.__name__: kind for kind in LAYERS}
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
            (torch.Tensor, self._tensor),
            ((sp.sparray, sp.spmatrix), self._sparse),
            (nn.Module, self._module),
            (transformers.PreTrainedTokenizerBase, self._tokenizer),
            (TfidfVectorizer, self._vectorizer),
            ((Teacher, NearestVectors), self._object),
            (BaseEstimator, self._estimator),
        ):
            if isinstance(value, kinds):
                return encode(value, path)
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

    def _sparse(self, matrix, path):
        name = "csr_array" if isinstance(matrix, sp.sparray) else "csr_matrix"
        matrix = matrix.tocsr()
        parts = ("data", "indices", "indptr")
        return {
            "sparse": name,
            "shape": list(matrix.shape),
            **{n: self._array(getattr(matrix, n), f"{path}.{n}") for n in parts},
        }

    def _module(self, module, path):
        if isinstance(module, TransformerEncoder):
            return self._transformer(module, path)
        kind = _name(type(module))
        state = {
            name: self.encode(value, f"{path}.{name}")
            for name, value in module.__getstate__().items()
            if name not in OWN_TO_MODULES
        }
        tensors = {}
        for group in ("_parameters", "_buffers"):
            for name, tensor in getattr(module, group).items():
                if name in module._non_persistent_buffers_set:
                    tensor = None  # made again where it is missing
                coded = self.encode(tensor, f"{path}.{name}")
                if group == "_parameters" and tensor is not None:
                    coded["trained"] = tensor.requires_grad
                tensors.setdefault(group, {})[name] = coded
        return {
            "module": kind,
            "state": state,
            **tensors,
            "passing": sorted(module._non_persistent_buffers_set),
            "modules": {
                name: self.encode(child, f"{path}.{name}")
                for name, child in module._modules.items()
            },
        }

    def _transformer(self, encoder, path):
        folder = self._new("encoder")
        write_transformer(encoder.model, self.folder / folder)
        names = ("n_layers", "cls_last", "dropout")
        options = {n: self.encode(getattr(encoder, n), n) for n in names}
        dtype = str(encoder.model.dtype).removeprefix("torch.")
        return {"transformer": folder, "dtype": dtype, "options": options}

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
        index = isinstance(value, NearestVectors)
        state = value.to_state() if index else vars(value)
        state = {n: self.encode(v, f"{path}.{n}") for n, v in state.items()}
        return {"object": type(value).__name__, "state": state}

    def _estimator(self, estimator, path):
        for i, known in enumerate(self.estimators):
            if known is estimator:
                return {"same": i}
        self.estimators.append(estimator)
        name = _name(type(estimator))
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
        known = type(estimator).expected_state(estimator) if fitted else {}
        self.unknown += [
            (type(estimator).__name__, n) for n in set(fitted) - set(known)
        ]
        state = {
            key: self.encode(value, f"{path}{key}")
            for key, value in fitted.items()
            if key in known
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
        known = type(estimator).expected_state(estimator)
        fitted = {name: fitted[name] for name in fitted if name in known}
        check_state(estimator, type(estimator).__name__, fitted)


def _string_dtype(values, dtype):
    """A dtype of texts, narrowed where it is so wide that it fills the memory."""
    if dtype.kind == "U" and len(values) * dtype.itemsize > _WIDE_STRINGS:
        return np.dtype(f"U{max([1, *map(len, values)])}")
    return dtype


def _is_vector(value):
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"


def _name(kind):
    """What a class of ours, or of torch, is called in the folder."""
    package, _, module = kind.__module__.partition(".")
    if package == "skxmc" and module in _MODULES:
        return f"{module}.{kind.__name__}"
    if issubclass(kind, nn.Module) and getattr(nn, kind.__name__, None) is kind:
        if kind in LAYERS:
            return kind.__name__
    raise TypeError(
        f"{kind.__module__}.{kind.__name__} is none of the classes that a model folder "
        "can keep. Use pickle or joblib for this model."
    )


def _class(name):
    """The class of a name, of those that a folder may name."""
    module, _, short = name.rpartition(".")
    if not module:
        return _LAYERS[short]
    if module not in _MODULES:  # importing another one might run something
        raise KeyError(name)
    kind = getattr(importlib.import_module(f"skxmc.{module}"), short)
    ours = isinstance(kind, type) and kind.__module__ == f"skxmc.{module}"
    if not ours or not hasattr(kind, "expected_state"):
        raise KeyError(name)
    return kind


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

    def _module(self, value):
        kind = _class(value["module"])
        if not issubclass(kind, nn.Module):
            raise KeyError(value["module"])
        module = kind.__new__(kind)
        nn.Module.__init__(module)
        passed_over = OWN_TO_MODULES.union(getattr(kind, "not_saved", ()))
        if passed_over & set(value["state"]):
            raise ValueError(f"a {kind.__name__} has state that is not saved")
        vars(module).update(self._all(value["state"]))
        for name, tensor in self._all(value.get("_parameters", {})).items():
            module.register_parameter(name, tensor)
        for name, tensor in self._all(value.get("_buffers", {})).items():
            persistent = name not in value["passing"]
            if not persistent and tensor is not None:
                raise ValueError(f"{name} is not kept in folders")
            module.register_buffer(name, tensor, persistent=persistent)
        for name, child in self._all(value["modules"]).items():
            module.add_module(name, child)
        if hasattr(module, "upgrade"):  # what an earlier version wrote
            module.upgrade()
        return module

    def _transformer(self, value):
        dtype = {"float32": torch.float32, "float64": torch.float64}[value["dtype"]]
        model = read_transformer(self._part(value["transformer"], "encoder"), dtype)
        return TransformerEncoder(model, **self._all(value["options"])).eval()

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
        state = self._all(value["state"])
        if value["object"] == "NearestVectors":
            return NearestVectors.from_state(state)
        if value["object"] != "Teacher":
            raise KeyError(value["object"])
        teacher = Teacher.__new__(Teacher)
        vars(teacher).update(state)
        return teacher

    def _graph(self, value):
        raise DamagedError(
            f"{self.folder / value['graph']} is a graph as an early version of skxmc "
            "wrote it, which hnswlib would read unchecked. Fit the model anew."
        )

    def _estimator(self, value):
        kind = _class(value["estimator"])
        if not hasattr(kind, "from_pretrained"):
            raise KeyError(value["estimator"])
        model = kind.__new__(kind)
        self.estimators.append(model)  # first, as it was when it was written
        self.unfinished.append(model)
        kind.__init__(model, **self._all(value["parameters"]))
        state = self._all(value["state"])
        known = type(model).expected_state
        if set(state) & set(vars(model)) or any(map(_is_own_to_sklearn, state)):
            raise ValueError(f"the state of {kind.__name__} holds other attributes")
        vars(model).update(state)
        unknown = set(state) - set(known(model)) if state else ()
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
    "module": ("state", "_parameters", "_buffers", "passing", "modules"),
    "transformer": ("dtype", "options"),
    "tokenizer": (),
    "vectorizer": ("terms", "idf"),
    "object": ("state",),
    "graph": ("dim",),
    "estimator": ("parameters", "state"),
    "same": (),
}
