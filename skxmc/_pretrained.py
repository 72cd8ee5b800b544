"""The pretrained transformer of X-GRank, LightXML and GUDN."""

import numbers

from ._validation import check_number
from .nn.bags import BagEncoder
from .nn.encoders import (
    TransformerEncoder,
    check_tokenizer,
    cls_is_last,
    load_encoder,
    position_limit,
)
from .nn.state import MISSING, nothing, number
from .nn.text import Features, tokenize

# Values of n_layers=None and max_length=None, unless the encoder allows fewer only.
DEFAULT_N_LAYERS, _DEFAULT_MAX_LENGTH = 5, 128
# Width of the document vectors of a feature matrix if label_dim is None.
_DEFAULT_DIM = 256


class PretrainedEncoderMixin:
    """Encodes texts by a pretrained transformer, and matrices by a bag of features.

    It is for subclasses of `ClusteringXMCClassifier` that have the parameters
    `encoder`, `max_length`, `n_layers`, `encoder_dropout`, `label_dim`, `dropout`,
    `label_init` and `cluster_features` (see `GRankClassifier`). They call
    ``_make_encoder(X)`` in ``_build``, and may override

    - ``_count_layers(n_states)``: how many of the encoder's layers are used;
    - ``_encoder_options(model)``: more arguments of `TransformerEncoder`.
    """

    _memory_advice = (
        "Lower batch_size or max_length (the step), label_dim or n_layers (the "
        "weights), or rank fewer labels a step: max_leaf_size=100, and a smaller "
        'n_shortlist. label_precision="bf16" halves what clustered labels take.'
    )

    def _check_parameters(self):
        super()._check_parameters()
        for name in ("max_length", "n_layers"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), numbers.Integral, 1)
        if self.encoder_dropout is not None:
            check_number("encoder_dropout", self.encoder_dropout, numbers.Real, 0, 1)

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        sources = {self.label_init, str(self.cluster_features)}
        if not self._texts and sources & {"both", "texts", "documents", "labels"}:
            raise ValueError(
                f"label_init={self.label_init!r} with cluster_features="
                f"{self.cluster_features!r} needs a transformer, and X is a feature "
                'matrix: use label_init="random" and cluster_features="tfidf".'
            )
        return X, Y

    def _make_encoder(self, X):
        """Make the encoder, and turn X into the documents that it takes.

        This sets ``tokenizer_`` and ``max_length_``, which ``_make_docs`` uses.

        Parameters
        ----------
        X : list of str, or csr matrix of shape (n_docs, n_features)

        Returns
        -------
        encoder : TransformerEncoder or BagEncoder
        docs : Tokens or Features
        """
        if not self._texts:
            self.tokenizer_ = None
            dim = self.label_dim or _DEFAULT_DIM
            return BagEncoder(X.shape[1], dim, dropout=self.dropout), Features(X)
        model, self.tokenizer_ = load_encoder(self.encoder)
        limit = position_limit(model) or _DEFAULT_MAX_LENGTH
        self.max_length_ = self.max_length or min(_DEFAULT_MAX_LENGTH, limit)
        self._check_length("max_length", self.max_length_, model)
        encoder = TransformerEncoder(
            model,
            n_layers=self._count_layers(model.config.num_hidden_layers + 1),
            cls_last=cls_is_last(self.tokenizer_),
            dropout=self.encoder_dropout,
            **self._encoder_options(model),
        )
        return encoder, self._make_docs(X)

    def _encoder_options(self, model):
        """Return a dict of more arguments of `TransformerEncoder`."""
        return {}

    def _count_layers(self, n_states):
        """Return how many of the encoder's `n_states` layers are used."""
        return count_layers("n_layers", self.n_layers, DEFAULT_N_LAYERS, n_states)

    def _check_length(self, name, length, model):
        """Refuse a number of tokens that the transformer has no positions for."""
        limit = position_limit(model)
        if limit is None or length <= limit:
            return
        is_loaded = isinstance(self.encoder, tuple)
        encoder = type(model).__name__ if is_loaded else repr(self.encoder)
        raise ValueError(
            f"{name}={length} exceeds the {limit} tokens that encoder={encoder} can "
            f"read; lower it to {limit}."
        )

    def _make_docs(self, X):
        if self.tokenizer_ is None:
            return Features(X)
        # Models saved by older versions have no max_length_, but always a max_length.
        max_length = self.max_length or self.max_length_
        return tokenize(X, self.tokenizer_, max_length)

    def expected_state(self):
        """Return the checks of what `fit` sets (see `skxmc.nn.state`)."""
        expected = super().expected_state()
        expected["tokenizer_"] = self._check_tokenizer
        if getattr(self, "tokenizer_", None) is not None:
            expected["max_length_"] = self._check_max_length
        return expected

    def _check_tokenizer(self, tokenizer, name):
        if not self._texts:
            nothing(tokenizer, name)
        has_tokenizer = getattr(self, "tokenizer_", None) is not None
        has_transformer = isinstance(self.network_.encoder, TransformerEncoder)
        if not has_tokenizer == has_transformer == self._texts:
            raise ValueError(
                f"{name} does not suit network_: a model for texts has a transformer "
                "and a tokenizer, and a model for feature matrices has neither."
            )
        if self._texts:
            check_tokenizer(tokenizer, self.network_.encoder.model)

    def _check_max_length(self, max_length, name):
        if max_length is MISSING:  # the model was saved by an older version
            max_length = self.max_length
        number(1, whole=True)(max_length, name)
        max_length = self.max_length or max_length
        self._check_length("max_length", max_length, self.network_.encoder.model)


def count_layers(name, n_layers, default, n_states):
    """Return a number of layers, after checking that the encoder has as many.

    Parameters
    ----------
    name : str
        Name of the parameter, for the message.
    n_layers : int or None
        Value of the parameter. None means `default`, or all layers if there are fewer.
    default : int
    n_states : int
        Number of layers of the encoder, with its embeddings as the first.

    Raises
    ------
    ValueError
        If `n_layers` exceeds `n_states`.
    """
    if n_layers is None:
        return min(default, n_states)
    if n_layers > n_states:
        raise ValueError(
            f"{name}={n_layers}, but the encoder has {n_states} layers, counting its "
            f"embeddings; lower it to {n_states}, or leave it out."
        )
    return n_layers
