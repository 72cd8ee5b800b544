"""Fitted classifiers as JSON, tensors, texts and files, and back.

Objects are written as the plain values they consist of. What is built again are objects
of a fixed set of classes, and no code comes from the folder.
"""

import contextlib
import copy
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
from torch import nn

from ._teacher import Teacher
from .nn.encoders import TransformerEncoder
from .nn.process import alone
from .nn.search import NearestVectors

# Modules of torch that networks consist of, beside those of this package.
_LAYERS = (
    "Dropout Embedding Identity LayerNorm Linear ModuleList ReLU Sequential Tanh"
).split()
_CONTAINERS = {"csr_array": sp.csr_array, "csr_matrix": sp.csr_matrix}
# Attributes by which scikit-learn routes metadata, output and callbacks.
_OWN_TO_SKLEARN = ("_metadata_request", "_sk")
_OWN_TO_MODULES = set(vars(nn.Module())) - {"training"}


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
    """

    def __init__(self, folder):
        self.folder = folder
        self.tensors, self.texts = {}, {}
        # Keys of tensors by where they lie in memory, and these, so that they stay.
        self.known, self.kept = {}, []
        self.estimators = []
        self.dropped = {}

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
        if type(value).__module__ == "hnswlib":
            return self._graph(value)
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
            return {
                "array": self.encode(array.tolist(), path),
                "dtype": array.dtype.str,
            }
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
            if name not in _OWN_TO_MODULES
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
        model, folder = encoder.model, self._new("encoder")
        with alone(), torch.device("meta"):
            again = transformers.AutoModel.from_config(model.config)
        if type(again) is not type(model):
            raise TypeError(
                f"{path} reads with a {type(model).__name__}, which transformers does "
                f"not make of its configuration ({type(again).__name__}). Use pickle "
                "or joblib for this model."
            )
        with _quiet():
            model.save_pretrained(self.folder / folder)
        names = ("n_layers", "cls_last", "dropout")
        options = {n: self.encode(getattr(encoder, n), n) for n in names}
        dtype = str(model.dtype).removeprefix("torch.")
        return {"transformer": folder, "dtype": dtype, "options": options}

    def _tokenizer(self, tokenizer, path):
        folder = self._new("tokenizer")
        tokenizer = copy.deepcopy(tokenizer)
        # What its last call left behind, and how it was loaded.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
        for name in ("local_files_only", "trust_remote_code"):
            tokenizer.init_kwargs.pop(name, None)
        tokenizer.save_pretrained(self.folder / folder)
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
        state = {n: self.encode(v, f"{path}.{n}") for n, v in vars(value).items()}
        return {"object": type(value).__name__, "state": state}

    def _graph(self, graph):
        n = sum(path.suffix == ".bin" for path in self.folder.iterdir())
        file = f"index-{n + 1}.bin" if n else "index.bin"
        graph.save_index(str(self.folder / file))
        return {"graph": file, "dim": graph.dim}

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
        state = {
            key: self.encode(value, f"{path}{key}")
            for key, value in vars(estimator).items()
            if key not in given and not key.startswith(_OWN_TO_SKLEARN)
        }
        return {"estimator": name, "parameters": parameters, "state": state}


def _is_vector(value):
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"


def _name(kind):
    """What a class of ours, or of torch, is called in the folder."""
    package, _, module = kind.__module__.partition(".")
    if package == "skxmc":
        return f"{module}.{kind.__name__}"
    if issubclass(kind, nn.Module) and getattr(nn, kind.__name__, None) is kind:
        if kind.__name__ in _LAYERS:
            return kind.__name__
    raise TypeError(
        f"{kind.__module__}.{kind.__name__} is none of the classes that a model folder "
        "can keep. Use pickle or joblib for this model."
    )


def _class(name):
    """The class of a name, of those that a folder may name."""
    module, _, short = name.rpartition(".")
    if not module:
        if short not in _LAYERS:
            raise KeyError(name)
        return getattr(nn, short)
    try:
        kind = getattr(importlib.import_module(f"skxmc.{module}"), short)
    except ImportError as error:
        raise KeyError(name) from error
    ours = isinstance(kind, type) and kind.__module__ == f"skxmc.{module}"
    if not ours or not (
        issubclass(kind, nn.Module) or hasattr(kind, "from_pretrained")
    ):
        raise KeyError(name)
    return kind


class Reader:
    """Makes a model of what `Writer` made of it.

    Parameters
    ----------
    folder : Path
    tensors : dict of str to tensor
    texts : dict of str to list of str

    Attributes
    ----------
    estimators : list of estimator
        All that were made.
    """

    def __init__(self, folder, tensors, texts):
        self.folder = folder
        self.tensors, self.texts = tensors, texts
        self.estimators = []

    def decode(self, value):
        """Make a value of its JSON."""
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        kind = next(iter(value))
        if kind not in _KINDS:
            raise KeyError(kind)
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
        return np.fromiter(values, dtype, len(values))

    def _numbers(self, value):
        return self.tensors[value["numbers"]].numpy()

    def _tensor(self, value):
        tensor = self.tensors[value["tensor"]]
        if "trained" in value:
            return nn.Parameter(tensor, requires_grad=value["trained"])
        return tensor

    def _sparse(self, value):
        parts = [self.decode(value[name]) for name in ("data", "indices", "indptr")]
        return _CONTAINERS[value["sparse"]](tuple(parts), tuple(value["shape"]))

    def _module(self, value):
        kind = _class(value["module"])
        module = kind.__new__(kind)
        nn.Module.__init__(module)
        vars(module).update(self._all(value["state"]))
        for name, tensor in self._all(value.get("_parameters", {})).items():
            module.register_parameter(name, tensor)
        for name, tensor in self._all(value.get("_buffers", {})).items():
            persistent = name not in value["passing"]
            module.register_buffer(name, tensor, persistent=persistent)
        for name, child in self._all(value["modules"]).items():
            module.add_module(name, child)
        if hasattr(module, "upgrade"):  # what an earlier version wrote
            module.upgrade()
        return module

    def _transformer(self, value):
        folder = self._part(value["transformer"])
        dtype = getattr(torch, value["dtype"])
        with _quiet():
            model, report = transformers.AutoModel.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        missing = [n for n in report["missing_keys"] if not n.startswith("pooler.")]
        if missing:
            raise damaged(folder, f"no weights for {missing[0]}")
        options = self._all(value["options"])
        return TransformerEncoder(model, **options).eval()

    def _tokenizer(self, value):
        with _quiet():
            return transformers.AutoTokenizer.from_pretrained(
                self._part(value["tokenizer"]),
                local_files_only=True,
                trust_remote_code=False,
            )

    def _part(self, name):
        """Path of a file or folder, which transformers would look for elsewhere."""
        path = self.folder / name
        if not path.exists() or self.folder.resolve() not in path.resolve().parents:
            raise KeyError(name)
        return path

    def _vectorizer(self, value):
        vectorizer = TfidfVectorizer(**self._all(value["vectorizer"]))
        terms = self.decode(value["terms"])
        vectorizer.vocabulary_ = {term: i for i, term in enumerate(terms)}
        vectorizer.fixed_vocabulary_ = False
        vectorizer.idf_ = self.decode(value["idf"])
        return vectorizer

    def _object(self, value):
        kind = {"Teacher": Teacher, "NearestVectors": NearestVectors}[value["object"]]
        made = kind.__new__(kind)
        vars(made).update(self._all(value["state"]))
        return made

    def _graph(self, value):
        import hnswlib

        graph = hnswlib.Index("ip", value["dim"])
        graph.load_index(str(self._part(value["graph"])))
        return graph

    def _estimator(self, value):
        kind = _class(value["estimator"])
        model = kind.__new__(kind)
        self.estimators.append(model)  # first, as it was when it was written
        kind.__init__(model, **self._all(value["parameters"]))
        vars(model).update(self._all(value["state"]))
        return model

    def _same(self, value):
        return self.estimators[value["same"]]


_KINDS = (
    "float container dtype texts tuple dict bunch vectors array numbers tensor sparse "
    "module transformer tokenizer vectorizer object graph estimator same"
).split()


class DamagedError(ValueError):
    """A file of a model folder is not what was written."""


def damaged(path, reason):
    """Error that names a file and what is wrong with it."""
    return DamagedError(
        f"{path} is damaged: {reason}. Copy the folder again, or save the model again."
    )


@contextlib.contextmanager
def _quiet():
    """Keep transformers from talking about what is meant to be so."""
    from transformers.utils import logging

    with alone():  # these are settings of the whole process
        level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if shown:
                logging.enable_progress_bar()
