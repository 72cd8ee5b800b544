"""Export of a fitted classifier's predictions to ONNX."""

import contextlib
import logging
import numbers
import warnings
from pathlib import Path

import torch
from sklearn.utils.validation import check_is_fitted

from ._calibration import calibrate
from ._validation import check_number
from .nn.encoders import TransformerEncoder
from .nn.export import ExportedPredictions
from .nn.process import isolate_torch

__all__ = ["export_onnx"]

# Numbers of documents and tokens of the example that is traced. The exporter would
# take sizes of 0 and 1 for constants.
_EXAMPLE_SHAPE = (2, 5)


def export_onnx(model, path, *, k=10):
    """Write an ONNX file that predicts the k best labels of tokenized texts.

    The file can be used without skxmc and torch. Its inputs are ``input_ids`` and
    ``attention_mask``, both int64 of shape (n_docs, n_tokens): the output of the
    model's tokenizer, truncated to `max_length_` and padded on either side. Each text
    must begin with the model's `text_prompt_`. There may be any number of documents and
    tokens. Its outputs are those of `predict_topk`, both of shape
    (n_docs, k): ``ids``, int64 and padded with -1, and ``probabilities``, float32 and
    padded with 0. They are computed in float32, so they have more digits than those of
    a model that computes in bfloat16 or float16 (see `precision`).

    Parameters
    ----------
    model : GRankClassifier, LightXMLClassifier or GUDNClassifier
        Classifier that was fitted on texts. The other systems cannot be exported: they
        also need word counts and indexes that are not part of their network.
    path : str or path-like
        File to write. If the weights are large, they are stored beside it, in
        ``<path>.data``.
    k : int, default=10
        Number of labels per document.

    Raises
    ------
    TypeError
        If the model is of another class, or was fitted on a feature matrix.
    ImportError
        If onnx or onnxscript is not installed.
    ValueError
        If `k` is below 1 or above the number of labels, if neighbors vote, or if there
        is a bag of words.
    """
    check_is_fitted(model)
    check_number("k", k, numbers.Integral, 1, model.n_labels_)
    network = getattr(model, "network_", None)
    if not isinstance(getattr(network, "encoder", None), TransformerEncoder):
        raise TypeError(
            f"This {type(model).__name__} cannot be exported. Give a GRankClassifier, "
            "LightXMLClassifier or GUDNClassifier that was fitted on texts, and that "
            'reads whole texts (reading="texts").'
        )
    _check_expressible(model, network)
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "ONNX export needs onnx and onnxscript: pip install onnx onnxscript."
        ) from error

    def compute_probabilities(scores):
        if model._y_kind == "single":  # scores are logarithms of probabilities
            return scores.exp()
        return calibrate(scores, model.calibration_).sigmoid()

    n_tokens = torch.export.Dim("n_tokens", max=model.max_length or model.max_length_)
    sizes = {0: torch.export.Dim("n_docs"), 1: n_tokens}
    with isolate_torch(), _silence_exporter(), torch.no_grad():
        # Two tensors: if one tensor came twice, the exporter would merge the inputs.
        example = tuple(torch.ones(_EXAMPLE_SHAPE, dtype=torch.int64) for _ in range(2))
        torch.onnx.export(
            ExportedPredictions(model.network_, k, compute_probabilities).eval(),
            example,
            str(Path(path)),
            input_names=["input_ids", "attention_mask"],
            output_names=["ids", "probabilities"],
            dynamic_shapes=(sizes, sizes),
            dynamo=True,
            verbose=False,
        )


def _check_expressible(model, network):
    """Refuse what an ONNX file cannot express, all at once: it takes another fit."""
    found = {}
    if getattr(network.doc_vectors, "bag", None) is not None:
        found["bag_of_words=False"] = "counts the words of texts"
    if network.neighbors is not None:
        found["neighbor_weight=0"] = "holds training documents that vote as neighbors"
    if found:
        raise ValueError(
            f"This {type(model).__name__} {' and '.join(found.values())}, which an "
            f"ONNX file cannot express. Fit with {' and '.join(found)}."
        )


@contextlib.contextmanager
def _silence_exporter():
    """Hide the exporter's log messages and warnings."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
