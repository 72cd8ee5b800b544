"""The checkpoint of a fit, and the fingerprint that names it."""

import hashlib
import json
import warnings
from pathlib import Path

import joblib
import numpy as np
import scipy.sparse as sp
import torch

from ._stored_texts import StoredTexts
from .nn.checkpoint import STATE_FORMAT, Checkpoint
from .nn.group import all_or_none, current_group, from_first, is_first

# Parameters that may change when a fit is resumed: training does not depend on them.
_FREE_PARAMETERS = (
    *("checkpoint_dir", "label_names", "resume", "top_k", "verbose"),
    *("neighbor_weight", "n_voters", "label_texts_vote", "warm_start"),
)
# Parameters in which the processes of a group may differ.
_OWN_PARAMETERS = "verbose", "device"
# Number of values that are hashed at a time: their copies take 8 MB.
_CHUNK = 2**20


def open_checkpoint(estimator, X, Y, weights=None):
    """Return the checkpoint of a fit, or None without a `checkpoint_dir`.

    Parameters
    ----------
    estimator : BaseXMCClassifier
    X : list of str, or csr matrix of shape (n_docs, n_features)
    Y : csr matrix of shape (n_docs, n_labels)
    weights : ndarray of shape (n_docs,) or None, default=None
        Weights of the documents, if they have any.

    Returns
    -------
    Checkpoint or None
        With ``resume=False``, an existing file is removed.
    """
    if estimator.checkpoint_dir is None or estimator._stream is not None:
        return None
    folder = Path(estimator.checkpoint_dir)
    name = from_first(fit_fingerprint(estimator, X, Y, STATE_FORMAT, weights))
    with all_or_none():
        checkpoint = Checkpoint(folder / f"{name}.checkpoint")
        if not estimator.resume and is_first():
            checkpoint.remove()
    others = [path.name for path in folder.glob("*.checkpoint")]
    if others and checkpoint.path.name not in others and estimator.resume:
        warnings.warn(
            f"{folder} holds checkpoints, but none of this fit: they are of other "
            "data or other parameters. Training starts from the beginning. Remove "
            f"the checkpoints that you do not need: {', '.join(others[:3])}.",
            UserWarning,
            stacklevel=4,
        )
    return checkpoint


def fit_fingerprint(estimator, X, Y, version, weights=None):
    """Return the hash of an estimator's class and parameters, its data and a version.

    Documents and labels are hashed in chunks, so that no array is copied as a whole.

    Parameters
    ----------
    estimator : BaseXMCClassifier
    X : list of str, or csr matrix of shape (n_docs, n_features)
    Y : csr matrix of shape (n_docs, n_labels)
    version : int
        Version of the checkpoint format.
    weights : ndarray of shape (n_docs,) or None, default=None
        Weights of the documents, if they have any.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    parameters = {
        name: value
        for name, value in _describe_parameters(estimator).items()
        if name not in _FREE_PARAMETERS
    }
    digest = hashlib.sha256(
        joblib.hash((version, type(estimator).__name__, parameters)).encode()
    )
    for data in (X, Y):
        _add_to_hash(digest, data)
    if weights is not None:
        digest.update(np.asarray(weights, np.float64).tobytes())
    start = getattr(estimator, "_start", None)
    if start is not None:
        digest.update(hash_start(start).encode())
    return digest.hexdigest()[:32]


def check_same_fit(estimator, X, Y, device, precision, weights=None):
    """Refuse a fit of several processes that do not all fit the same.

    Parameters
    ----------
    estimator : BaseXMCClassifier
    X : list of str, or csr matrix of shape (n_docs, n_features)
    Y : csr matrix of shape (n_docs, n_labels)
    device, precision : str
        What the process computes with.
    weights : ndarray of shape (n_docs,) or None, default=None
        Weights of the documents, if they have any.

    Raises
    ------
    ValueError
        On all processes, if they differ. The message names what differs.
    """
    group = current_group()
    if group is None:
        return
    with all_or_none():
        parts = {"the class": type(estimator).__name__}
        for name, value in _describe_parameters(estimator).items():
            # The first process's generator counts, if they have no seed.
            is_generator = isinstance(value, np.random.RandomState)
            if name not in _OWN_PARAMETERS and not is_generator:
                parts[f"the parameter {name}"] = joblib.hash(value)
        for name, data in (("X", X), ("y", Y)):
            digest = hashlib.sha256()
            _add_to_hash(digest, data)
            parts[name] = digest.hexdigest()
        parts["the kind of y"] = estimator._y_kind
        parts["the classes of y"] = joblib.hash(estimator.classes_)
        weighing = estimator._weighing  # documents of weight 0 have been left out
        rows = None if weighing is None else weighing.rows
        parts["sample_weight"] = joblib.hash((weights, rows))
        parts["the fit that goes on"] = _describe_start(estimator._start)
        parts["the kind of device"] = device.partition(":")[0]
        parts["the precision"] = precision
    first, *others = group.gather_objects(parts)
    for rank, other in enumerate(others, 1):
        names = [name for name in first | other if first.get(name) != other.get(name)]
        if names:
            raise ValueError(
                "All processes of a group must fit the same, and process "
                f"{rank} differs from process 0 in {', '.join(names)}. Give all of "
                "them the same documents in the same order, or call fit in the context "
                "skxmc.distributed.alone() to fit in one process."
            )


def _describe_parameters(estimator):
    """Return the parameters by name, in a form whose hash does not change."""
    parameters = estimator.get_params(deep=False)
    encoder = parameters.get("encoder")
    if isinstance(encoder, tuple):
        parameters["encoder"] = _describe_encoder(*encoder)
    return parameters


def _describe_encoder(model, tokenizer):
    """Return what a fit depends on of a ready transformer and its tokenizer.

    Equal models and tokenizers may differ in what they hold beside that.
    """
    weights = {n: w.numpy(force=True) for n, w in model.state_dict().items()}
    adapters = getattr(model, "peft_config", None) or {}
    about = [(name, config.to_dict()) for name, config in adapters.items()]
    return weights, describe_tokenizer(tokenizer), *about


def describe_tokenizer(tokenizer):
    """Return the rules of a tokenizer, as JSON can hold them."""
    if not getattr(tokenizer, "is_fast", False):
        return tokenizer.get_vocab()
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    for name in ("truncation", "padding"):  # which every call sets anew
        rules.pop(name, None)
    return rules


def hash_tokenizer(tokenizer):
    """Return a hash of what the tokens of a text depend on."""
    side = getattr(tokenizer, "truncation_side", "right")
    rules = json.dumps([describe_tokenizer(tokenizer), side], sort_keys=True)
    return hashlib.sha256(rules.encode()).hexdigest()


def hash_documents(X):
    """Return a hash of 64 bits of each document, by which it is known again.

    Parameters
    ----------
    X : list of str, StoredTexts, or csr matrix of shape (n_docs, n_features), float32
        Of a store, tokens are hashed, since it may not keep texts. Hashes of rows do
        not depend on the order of their entries.

    Returns
    -------
    int64 ndarray of shape (n_docs,)
    """
    if not sp.issparse(X):
        if isinstance(X, StoredTexts):
            ids, offsets = X.ids, X.offsets
            tokens = (ids[offsets[row] : offsets[row + 1]] for row in X.rows)
            parts = (part.astype(np.int32).tobytes() for part in tokens)
        else:
            parts = (text.encode("utf-8", "surrogatepass") for text in X)
        digests = (hashlib.blake2b(part, digest_size=8).digest() for part in parts)
        hashes = (int.from_bytes(digest, "little", signed=True) for digest in digests)
        return np.fromiter(hashes, np.int64, len(X))
    # The sum over the entries of a random code of the column times the value's bits.
    codes = np.random.default_rng(0).integers(2**63, size=X.shape[1], dtype=np.uint64)
    bits = 2 * X.data.astype(np.float32).view(np.uint32).astype(np.uint64) + 1
    entries = np.where(X.data != 0, (codes[X.indices] | np.uint64(1)) * bits, 0)
    sums = np.append(np.uint64(0), entries.astype(np.uint64).cumsum(dtype=np.uint64))
    return (sums[X.indptr[1:]] - sums[X.indptr[:-1]]).view(np.int64)


def hash_start(start):
    """Return a hash of the fitted state that a warm fit goes on from.

    Parameters
    ----------
    start : skxmc._warm_start.Start
    """
    weights = {
        name: (w.float() if w.dtype == torch.bfloat16 else w).numpy(force=True)
        for name, w in start.network.state_dict().items()
    }
    names = ("label_names_", "calibration_", "_held_out_hashes")
    others = {name: start.attributes.get(name) for name in names}
    votes = start.network.neighbors
    if votes is not None:
        others["voters"] = votes.get_hashes().numpy()
    vectorizer = start.attributes.get("vectorizer_")
    words = None if vectorizer is None else vectorizer.vocabulary_
    return joblib.hash((weights, others, words))


def _describe_start(start):
    """Return by what processes see that they go on from the same fit.

    Their weights may differ by rounding. Those of the first process count.
    """
    if start is None:
        return None
    names = "history_", "n_docs_", "n_labels_", "label_names_", "_held_out_hashes"
    return joblib.hash([start.attributes.get(name) for name in names])


def _add_to_hash(digest, X):
    """Add texts or a CSR matrix to a hash.

    Texts of a store are known by the store's own hash. Matrices of equal values have
    equal hashes, whatever their class and dtypes.
    """
    if isinstance(X, StoredTexts):
        digest.update(f"{X.fingerprint} {len(X)}".encode())
        for start in range(0, 0 if X.holds_all else len(X), _CHUNK):
            digest.update(X[start : start + _CHUNK].rows.tobytes())
        return
    if not sp.issparse(X):
        digest.update(str(len(X)).encode())
        for text in X:
            text = text.encode("utf-8", "surrogatepass")
            digest.update(len(text).to_bytes(8, "little") + text)
        return
    digest.update(str(X.shape).encode())
    dtypes = (X.data, np.float32), (X.indices, np.int64), (X.indptr, np.int64)
    for values, dtype in dtypes:
        for start in range(0, len(values), _CHUNK):
            digest.update(values[start : start + _CHUNK].astype(dtype).tobytes())
