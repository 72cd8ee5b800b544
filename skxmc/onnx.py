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

# Documents and tokens of the example that is traced: neither 0 nor 1, which stand
# for themselves in a graph.
_EXAMPLE = (2, 5)


def export_onnx(model, path, *, k=10):
    """Write what predicts the k best labels of tokenized texts as an ONNX file.

    It runs without skxmc and torch. The inputs ``input_ids`` and ``attention_mask``,
    int64 of shape (n_docs, n_tokens), are what the model's tokenizer makes of texts,
    cut to its `max_length_` and padded; any number of documents and tokens. The outputs
    are those of ``predict_topk``: ``ids``, int64, and ``probabilities``, float32, both
    of shape (n_docs, k), padded with -1 and 0. They are computed in float32, while a
    model that computes in bfloat16 or float16 (`precision`) gives fewer digits.

    Parameters
    ----------
    model : fitted GRankClassifier, LightXMLClassifier or GUDNClassifier
        On texts. The others look up neighbours of a document, in graphs and tables that
        stand beside the network.
    path : path
        Large models have their weights beside it, in ``<path>.data``.
    k : int, default=10

    Raises
    ------
    TypeError
        If the model is none of these, or reads feature matrices.
    ImportError
        If onnx or onnxscript is missing.
    """
    check_is_fitted(model)
    check_number("k", k, numbers.Integral, 1, model.n_labels_)
    network = getattr(model, "network_", None)
    if not isinstance(getattr(network, "encoder", None), TransformerEncoder):
        raise TypeError(
            f"{type(model).__name__} cannot be exported: it takes a GRankClassifier, "
            "LightXMLClassifier or GUDNClassifier that was fitted on texts."
        )
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "ONNX export needs onnx and onnxscript: pip install onnx onnxscript."
        ) from error

    def probabilities(scores):
        if model._y_kind == "single":  # logarithms of probabilities
            return scores.exp()
        return calibrate(scores, model.calibration_).sigmoid()

    n_tokens = torch.export.Dim("n_tokens", max=model.max_length or model.max_length_)
    sizes = {0: torch.export.Dim("n_docs"), 1: n_tokens}
    with isolate_torch(), _quiet(), torch.no_grad():
        # Two tensors: of one the exporter would make one input.
        example = tuple(torch.ones(_EXAMPLE, dtype=torch.int64) for _ in range(2))
        torch.onnx.export(
            ExportedPredictions(model.network_, k, probabilities).eval(),
            example,
            str(Path(path)),
            input_names=["input_ids", "attention_mask"],
            output_names=["ids", "probabilities"],
            dynamic_shapes=(sizes, sizes),
            dynamo=True,
            verbose=False,
        )


@contextlib.contextmanager
def _quiet():
    """Keep the exporter from telling what it does."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
