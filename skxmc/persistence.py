"""The model folder: saved whole or not at all, loaded without unpickling.

A folder holds

- ``config.json``: class, parameters, fitted attributes, versions, and the size and
  SHA-256 of every other file;
- ``model.safetensors``: all tensors and arrays but those of the transformer;
- ``labels.json``: lists of texts, such as label names and the words of a vectorizer;
- ``encoder/`` and ``tokenizer/``, as transformers writes and reads them;
- ``index.bin``, a graph of hnswlib, where label vectors are searched by one.

Objects are written as the plain values they consist of. What is built again when a
folder is loaded are objects of a fixed set of classes, and no code comes from it.
"""

import contextlib
import copy
import hashlib
import importlib
import json
import math
import os
import shutil
import tempfile
import warnings
from inspect import Parameter, signature
from pathlib import Path

import numpy as np
import scipy.sparse as sp
import torch
import transformers
from safetensors.torch import load_file, save_file
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from ._teacher import Teacher
from .nn.encoders import TransformerEncoder
from .nn.search import NearestVectors

# Of the folder. One that a version writes, it reads, and all later versions do or
# say why not.
FORMAT = 1
# Modules of torch that networks consist of, beside those of this package.
_LAYERS = (
    "Dropout Embedding Identity LayerNorm Linear ModuleList ReLU Sequential Tanh"
).split()
_CONTAINERS = {"csr_array": sp.csr_array, "csr_matrix": sp.csr_matrix}
# Attributes by which scikit-learn routes metadata, output and callbacks.
_OWN_TO_SKLEARN = ("_metadata_request", "_sk")
_OWN_TO_MODULES = set(vars(nn.Module())) - {"training"}


def load(folder, *, device="auto", verify=True):
    """Load a classifier that `save_pretrained` wrote.

    Parameters
    ----------
    folder : path
    device : str, default="auto"
        The classifier's `device` from now on.
    verify : bool, default=True
        Whether to compare files with the hashes that were written beside them. It
        reads them once more: about a second a gigabyte.

    Returns
    -------
    fitted classifier
        Of the class that was saved, in evaluation mode, on the CPU until it predicts.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or a file of it is missing.
    ValueError
        If it is damaged, or was written in a format that this version cannot read.

    Examples
    --------
    >>> import tempfile
    >>> import skxmc
    >>> data = skxmc.datasets.make_xmc(60, 20, kind="features", random_state=0)
    >>> X, Y = data.X, data.Y
    >>> model = skxmc.GRankClassifier(max_epochs=1, validation_fraction=0).fit(X, Y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save_pretrained(folder)
    ...     again = skxmc.load(folder)
    >>> bool((again.predict_topk(X)[0] == model.predict_topk(X)[0]).all())
    True
    """
    folder = Path(folder)
    config = _read_config(folder)
    try:
        _check_files(folder, config["files"], verify)
        reader = _Reader(folder)
        model = reader.decode(config["model"])
        if not isinstance(model, FolderMixin):
            raise TypeError(f"it holds {type(model).__name__}")
    except (_DamagedError, FileNotFoundError, ImportError, MemoryError):
        raise
    except Exception as error:
        raise ValueError(
            f"{folder / 'config.json'} does not describe a model ({error!r}): it was "
            "changed after it was written. Save the model again."
        ) from error
    for estimator in reader.estimators:
        if "device" in estimator.get_params(deep=False):
            estimator.device = device
    return model


class FolderMixin:
    """What a classifier that can be saved as a folder has."""

    def save_pretrained(self, folder):
        """Save the fitted classifier as a folder that loads without unpickling.

        It is written under another name and renamed when it is whole: a model that
        stands there stays, until the new one takes its place.

        Parameters
        ----------
        folder : path
            Made, with those above it, where it is missing. A model that stands
            there is replaced.

        Raises
        ------
        NotFittedError
            If there is nothing to save.
        FileExistsError
            If something else stands there.
        TypeError
            If the classifier holds what a folder cannot keep.
        OSError
            If it cannot be written.
        """
        check_is_fitted(self)
        folder = check_target(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        parent = tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent)
        try:
            part = Path(parent, "model")
            part.mkdir()  # with the permissions that folders have here
            _Writer(part).write(self)
            _put(part, folder)
        finally:
            shutil.rmtree(parent, ignore_errors=True)

    @classmethod
    def from_pretrained(cls, folder, *, device="auto", verify=True):
        """Load a classifier of this class that `save_pretrained` wrote.

        Parameters
        ----------
        folder, device, verify : as in `skxmc.load`

        Returns
        -------
        fitted classifier

        Raises
        ------
        FileNotFoundError, ValueError
            As `skxmc.load`, and if a classifier of another class was saved.
        """
        config = _read_config(Path(folder))
        if config["class"] != cls.__name__:
            raise ValueError(
                f"{folder} holds a {config['class']}, not a {cls.__name__}. Use "
                f"{config['class']}.from_pretrained, or skxmc.load for any of them."
            )
        return load(folder, device=device, verify=verify)


def check_target(folder):
    """Resolve the path of a folder to be saved; refuse to replace what is no model."""
    folder = Path(folder).resolve()
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file. Name a folder.")
    try:
        known = {"config.json", *_read_config(folder, any_format=True)["files"]}
    except (OSError, ValueError):
        known = set()
    others = [name for name in _files(folder) if name not in known]
    if others:
        raise FileExistsError(
            f"{folder} holds {others[0]}, which is no part of a model of skxmc, and "
            "which saving would remove. Name a new folder."
        )
    return folder


def _files(folder):
    """Names of all files below a folder."""
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return [path.relative_to(folder).as_posix() for path in paths]


def _put(part, folder):
    """Rename a folder to its place; what stood there is kept until it is there."""
    mode = (part / "config.json").stat().st_mode
    for name in _files(part):
        (part / name).chmod(mode)  # safetensors lets nobody else read
        with (part / name).open("rb") as file:
            os.fsync(file.fileno())
    if not folder.exists():
        part.rename(folder)
        return
    old = _aside(folder)
    shutil.rmtree(old, ignore_errors=True)
    try:
        folder.rename(old)
        part.rename(folder)
    except BaseException:
        if not folder.exists():
            old.rename(folder)
        raise
    finally:
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)


def _aside(folder):
    return folder.with_name(f".{folder.name}-replaced")


def _hash(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Writer:
    """Writes the files of a model into an empty folder."""

    def __init__(self, folder):
        self.folder = folder
        self.tensors, self.texts = {}, {}
        # Keys of tensors by where they lie in memory, and these, so that they stay.
        self.known, self.kept = {}, []
        self.estimators = []

    def write(self, model):
        """Write all files, ``config.json`` with the hashes of the others last."""
        content = self.encode(model, "")
        save_file(self.tensors, self.folder / "model.safetensors")
        _dump(self.texts, self.folder / "labels.json")
        config = {
            "format": FORMAT,
            "class": type(model).__name__,
            "versions": {
                name: importlib.import_module(name).__version__
                for name in ("skxmc", "sklearn", "torch", "transformers")
            },
            "files": {
                name: {
                    "bytes": (self.folder / name).stat().st_size,
                    "sha256": _hash(self.folder / name),
                }
                for name in _files(self.folder)
            },
            "model": content,
        }
        _dump(config, self.folder / "config.json")

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
        with torch.device("meta"):
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
                warnings.warn(
                    f"{type(estimator).__name__}.{key} is {type(value).__name__}, "
                    "which a model folder cannot keep: the loaded classifier predicts "
                    f"the same, but has the default {key}, if it is fitted again.",
                    UserWarning,
                    stacklevel=2,
                )
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
    if not ours or not issubclass(kind, (nn.Module, FolderMixin)):
        raise KeyError(name)
    return kind


class _Reader:
    """Makes a model of what `_Writer` wrote."""

    def __init__(self, folder):
        self.folder = folder
        self.texts = _parse(folder / "labels.json")
        try:
            # Copies: views of the file would lie at odd places, and sum up otherwise.
            tensors = load_file(folder / "model.safetensors")
            self.tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        except Exception as error:  # safetensors has a kind of its own
            raise _damaged(folder / "model.safetensors", str(error)) from error
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
        return module

    def _transformer(self, value):
        folder = self._part(value["transformer"])
        dtype = getattr(torch, value["dtype"])
        with _quiet(), torch.random.fork_rng(devices=[]):
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
            raise _damaged(folder, f"no weights for {missing[0]}")
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


def _dump(content, path):
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1)
    # Lone surrogates are no Unicode, but may stand in the texts of labels.
    path.write_text(text + "\n", encoding="utf-8", errors="surrogatepass")


def _parse(path):
    try:
        return json.loads(path.read_text(encoding="utf-8", errors="surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error


def _read_config(folder, *, any_format=False):
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(_no_model(folder))
    config = _parse(path)
    if not isinstance(config, dict) or not _is_ours(config):
        raise ValueError(
            f"{path} was not written by skxmc. Name a folder of save_pretrained."
        )
    if not any_format and config["format"] != FORMAT:
        raise ValueError(
            f"{folder} has format {config['format']} of skxmc "
            f"{config['versions']['skxmc']}; skxmc {_version()} reads format {FORMAT}. "
            "Load it with that version, or fit and save it anew."
        )
    if not isinstance(config.get("files"), dict) or "model" not in config:
        raise _damaged(path, "it names no files")
    return config


def _is_ours(config):
    versions = config.get("versions")
    return (
        type(config.get("format")) is int
        and isinstance(config.get("class"), str)
        and isinstance(versions, dict)
        and "skxmc" in versions
    )


def _version():
    return importlib.import_module("skxmc").__version__


def _no_model(folder):
    if not folder.exists():
        message = f"There is no folder {folder}."
        if _aside(folder.absolute()).exists():
            message += (
                f" Saving was interrupted: what stood there is {_aside(folder)} now; "
                "rename it."
            )
        return message
    return f"{folder} holds no model: config.json is missing."


def _check_files(folder, files, verify):
    """Compare the files with what was written down about them."""
    for name, about in files.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing, so the model is not complete. Copy the folder "
                "again, or save the model again."
            )
        n_bytes = path.stat().st_size
        if n_bytes != about["bytes"]:
            raise _damaged(path, f"it has {n_bytes} bytes instead of {about['bytes']}")
        if verify and _hash(path) != about["sha256"]:
            raise _damaged(path, "its SHA-256 is not the one in config.json")


class _DamagedError(ValueError):
    pass


def _damaged(path, reason):
    return _DamagedError(
        f"{path} is damaged: {reason}. Copy the folder again, or save the model again."
    )


@contextlib.contextmanager
def _quiet():
    """Keep transformers from talking about what is meant to be so."""
    from transformers.utils import logging

    level, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
