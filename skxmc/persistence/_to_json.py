"""A fitted classifier as JSON, tensors, texts and files; `_from_json` reads them."""

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
from torch import nn

from ..nn.state import by_saved_name, to_state
from ._arrays import SPARSE_CLASSES, choose_string_dtype
from ._classes import ESTIMATORS, PARTS, name_of_class
from ._estimators import fitted_attributes, known_attributes
from ._transformer_files import write_tokenizer, write_transformer


class Writer:
    """Describes a classifier in JSON, and collects its tensors and texts.

    The JSON of an object is a dict. Its first key says what the object is, and `Reader`
    has a method for each such key.

    Parameters
    ----------
    folder : Path
        An empty folder. Transformers and tokenizers are written into it.

    Attributes
    ----------
    tensors : dict of str to tensor
        All tensors and arrays that the JSON names.
    texts : dict of str to list of str
        All lists of texts that the JSON names.
    estimators : list of estimator
        The classifier and those in it.
    dropped : dict of (str, str) to str
        Classes and parameters that a folder cannot keep, and the class of their value.
    unknown : list of (str, str)
        Classes and attributes that fit does not set, and that are not kept.
    """

    def __init__(self, folder):
        self.folder = folder
        self.tensors, self.texts = {}, {}
        self.estimators = []
        self.dropped, self.unknown = {}, []
        # Names of tensors by their place in memory. The tensors are held, so that no
        # other one takes the place of a temporary one.
        self._names, self._held = {}, []

    def encode(self, value, path):
        """Return the JSON of a value.

        Parameters
        ----------
        value : object
        path : str
            Where the value is in the classifier: the name of its tensors and texts.

        Raises
        ------
        TypeError
            If a folder cannot keep it.
        """
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
        if isinstance(value, type) and value in SPARSE_CLASSES.values():
            return {"container": value.__name__}
        if isinstance(value, (type, np.dtype)):
            return {"dtype": np.dtype(value).str}
        for kinds, encode in (
            ((list, tuple), self._encode_sequence),
            (dict, self._encode_dict),
            (np.ndarray, self._encode_array),
            (nn.Parameter, self._encode_parameter),
            (torch.Tensor, self._encode_tensor),
            ((sp.sparray, sp.spmatrix), self._encode_sparse),
            (transformers.PreTrainedTokenizerBase, self._encode_tokenizer),
            (TfidfVectorizer, self._encode_vectorizer),
            (BaseEstimator, self._encode_estimator),
            (nn.Module, self._encode_object),
        ):
            if isinstance(value, kinds):
                return encode(value, path)
        if name_of_class(type(value), PARTS):
            return self._encode_object(value, path)
        raise TypeError(
            f"{path or 'this'} is {type(value).__name__}, which a model folder cannot "
            "keep. Use pickle or joblib for this model."
        )

    def _encode_all(self, values, prefix):
        return {n: self.encode(value, f"{prefix}{n}") for n, value in values.items()}

    def _encode_sequence(self, values, path):
        if values and all(isinstance(value, str) for value in values):
            encoded = {"texts": self._add_texts(list(values), path)}
        else:
            encoded = [self.encode(v, f"{path}.{i}") for i, v in enumerate(values)]
        return {"tuple": encoded} if isinstance(values, tuple) else encoded

    def _add_texts(self, texts, path):
        """Return the name of a list of texts; equal lists are kept once."""
        for name, known in self.texts.items():
            if known == texts:
                return name
        self.texts[path] = texts
        return path

    def _encode_dict(self, values, path):
        names = list(values)
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"{path} is a dict with keys that are not strings.")
        if names and all(_is_vector(vector) for vector in values.values()):
            # Word vectors. There are many, so they are kept as one matrix.
            with contextlib.suppress(ValueError):  # if their lengths differ
                matrix = np.stack(list(values.values()))
                return {
                    "vectors": self._encode_array(matrix, path),
                    "names": self._encode_sequence(names, f"{path}.names"),
                }
        kind = "bunch" if type(values) is Bunch else "dict"
        return {kind: self._encode_all(values, f"{path}.")}

    def _encode_array(self, array, path):
        if array.dtype.kind in "OU" and array.ndim == 1:
            values = array.tolist()
            dtype = choose_string_dtype(values, array.dtype)
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
        return {"numbers": self._add_tensor(tensor.view(array.shape), path)}

    def _encode_tensor(self, tensor, path):
        return {"tensor": self._add_tensor(tensor, path)}

    def _encode_parameter(self, parameter, path):
        name = self._add_tensor(parameter, path)
        return {"tensor": name, "trained": parameter.requires_grad}

    def _add_tensor(self, tensor, path):
        """Return the name of a tensor; tensors of the same memory are kept once."""
        tensor = tensor.detach()
        place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and place in self._names:
            return self._names[place]
        self._names[place] = path
        self._held.append(tensor)
        # safetensors refuses views, and tensors that share memory.
        self.tensors[path] = tensor.cpu().contiguous().clone()
        return path

    def _encode_sparse(self, matrix, path):
        name = "csr_array" if isinstance(matrix, sp.sparray) else "csr_matrix"
        matrix = matrix.tocsr()
        parts = {name: getattr(matrix, name) for name in ("data", "indices", "indptr")}
        return {
            "sparse": name,
            "shape": list(matrix.shape),
            **self._encode_all(parts, f"{path}."),
        }

    def _encode_transformer(self, model, path):
        folder = self._make_folder("encoder")
        write_transformer(model, self.folder / folder)
        return {"transformer": folder, "dtype": str(model.dtype).split(".")[-1]}

    def _encode_tokenizer(self, tokenizer, path):
        folder = self._make_folder("tokenizer")
        write_tokenizer(tokenizer, self.folder / folder)
        return {"tokenizer": folder}

    def _make_folder(self, name):
        """Make a new folder: each member of an ensemble has its own."""
        n = sum(path.name.startswith(name) for path in self.folder.iterdir())
        folder = f"{name}-{n + 1}" if n else name
        (self.folder / folder).mkdir()
        return folder

    def _encode_vectorizer(self, vectorizer, path):
        terms = vectorizer.get_feature_names_out().tolist()
        return {
            "vectorizer": self._encode_all(vectorizer.get_params(), f"{path}."),
            "terms": self._encode_sequence(terms, f"{path}.terms"),
            "idf": self._encode_array(vectorizer.idf_, f"{path}.idf"),
        }

    def _encode_object(self, value, path):
        name = _find_name(type(value), PARTS)
        state = {}
        for key, item in to_state(value).items():
            # A transformer is written as part of an encoder only: as a parameter it
            # would be the one from before fine-tuning.
            transformer = isinstance(item, transformers.PreTrainedModel)
            encode = self._encode_transformer if transformer else self.encode
            state[key] = encode(item, f"{path}.{key}")
        return {"object": name, "state": state}

    def _encode_estimator(self, estimator, path):
        for i, known in enumerate(self.estimators):
            if known is estimator:
                return {"same": i}
        self.estimators.append(estimator)
        prefix = f"{path}." if path else ""
        return {
            "estimator": _find_name(type(estimator), ESTIMATORS),
            "parameters": self._encode_parameters(estimator, prefix),
            "state": self._encode_fitted(estimator, prefix),
        }

    def _encode_parameters(self, estimator, prefix):
        """Encode parameters, and note those that a folder cannot keep."""
        kind = type(estimator)
        encoded, n_known = {}, len(self.estimators)
        for name, value in estimator.get_params(deep=False).items():
            try:
                encoded[name] = self.encode(value, f"{prefix}{name}")
                n_known = len(self.estimators)
            except TypeError:
                if signature(kind).parameters[name].default is Parameter.empty:
                    raise
                del self.estimators[n_known:]
                self.dropped[kind.__name__, name] = type(value).__name__
        return encoded

    def _encode_fitted(self, estimator, prefix):
        fitted = fitted_attributes(estimator)
        known = known_attributes(estimator) if fitted else set()
        kind = type(estimator)
        self.unknown += [(kind.__name__, name) for name in set(fitted) - known]
        fitted = {name: value for name, value in fitted.items() if name in known}
        return self._encode_all(by_saved_name(kind, fitted), prefix)


def _is_vector(value):
    return isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind == "f"


def _find_name(kind, paths):
    name = name_of_class(kind, paths)
    if name is None:
        raise TypeError(
            f"{kind.__module__}.{kind.__name__} is none of the classes that a model "
            "folder can keep. Use pickle or joblib for this model."
        )
    return name
