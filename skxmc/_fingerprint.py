"""The fingerprint of a fit, which names its checkpoint."""

import hashlib

import joblib
import numpy as np
import scipy.sparse as sp

# Parameters that may change when a fit is resumed: training does not depend on them.
_FREE_PARAMETERS = ("checkpoint_dir", "label_names", "resume", "top_k", "verbose")
# Numbers that are hashed at once.
_CHUNK = 2**20


def fit_fingerprint(estimator, X, Y, version):
    """Hash of an estimator's class and parameters, of its data, and of a version.

    Documents and labels are hashed as a stream: nothing is copied as a whole.

    Parameters
    ----------
    estimator : BaseXMCClassifier
    X : list of str, or csr matrix of shape (n_docs, n_features)
    Y : csr matrix of shape (n_docs, n_labels)
    version : int
        Of the checkpoints' format.

    Returns
    -------
    str
    """
    parameters = {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if name not in _FREE_PARAMETERS
    }
    encoder = parameters.get("encoder")
    if isinstance(encoder, tuple):  # a model and its tokenizer
        weights = encoder[0].state_dict().items()
        encoder = {name: weight.numpy(force=True) for name, weight in weights}
        parameters["encoder"] = encoder
    digest = hashlib.sha256(
        joblib.hash((version, type(estimator).__name__, parameters)).encode()
    )
    for part in (X, Y):
        _update(digest, part)
    return digest.hexdigest()[:32]


def _update(digest, X):
    """Add texts, or a CSR matrix whatever its container and dtypes, to a hash."""
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
