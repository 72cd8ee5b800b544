"""Reading texts with a pretrained transformer, for the systems that do."""

import numbers

from ._validation import check_number
from .nn.encoders import (
    BagEncoder,
    TransformerEncoder,
    check_tokenizer,
    cls_is_last,
    load_encoder,
    position_limit,
)
from .nn.state import MISSING, nothing, number
from .nn.text import Features, tokenize

# Layers of states that are used, and tokens of a document, where the encoder has as
# many and the user names no number.
DEFAULT_N_LAYERS, _DEFAULT_MAX_LENGTH = 5, 128


class PretrainedEncoderMixin:
    """Reads texts with a transformer, and feature matrices with a bag of features.

    For subclasses of `BaseXMCClassifier` with the parameters `encoder`, `max_length`,
    `n_layers`, `encoder_dropout`, `label_dim` and `dropout` (see `GRankClassifier`).
    They call `_make_encoder` in ``_build``.
    """

    def _check_parameters(self):
        super()._check_parameters()
        for name in ("max_length", "n_layers"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), numbers.Integral, 1)
        if self.encoder_dropout is not None:
            check_number("encoder_dropout", self.encoder_dropout, numbers.Real, 0, 1)

    def _make_encoder(self, X):
        """Make the encoder for the kind of X, and read X as it wants it.

        Sets ``tokenizer_`` and ``max_length_``.

        Returns
        -------
        encoder : TransformerEncoder or BagEncoder
        docs : Tokens or Features
        """
        if not self._texts:
            self.tokenizer_ = None
            dim = self.label_dim or 256
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
        return encoder, self._read(X)

    def _encoder_options(self, model):
        """Return more arguments of `TransformerEncoder`."""
        return {}

    def _count_layers(self, n_states):
        """How many of the encoder's layers of states are used."""
        return count_layers("n_layers", self.n_layers, DEFAULT_N_LAYERS, n_states)

    def _check_length(self, name, length, model):
        limit = position_limit(model)
        if limit is None or length <= limit:
            return
        ready = isinstance(self.encoder, tuple)
        encoder = type(model).__name__ if ready else repr(self.encoder)
        raise ValueError(
            f"{name}={length} passes the {limit} tokens that encoder={encoder} can "
            f"read; lower it to {limit}."
        )

    def _read(self, X):
        if self.tokenizer_ is None:
            return Features(X)
        # Models that were saved before there was a max_length_ have a max_length.
        max_length = self.max_length or self.max_length_
        return tokenize(X, self.tokenizer_, max_length)

    def expected_state(self):
        """Checks of what `fit` sets (see `skxmc.nn.state`)."""
        expected = super().expected_state()
        expected["tokenizer_"] = self._check_tokenizer
        if getattr(self, "tokenizer_", None) is not None:
            expected["max_length_"] = self._check_max_length
        return expected

    def _check_network(self, network, name):
        super()._check_network(network, name)
        reads = isinstance(network.encoder, TransformerEncoder)
        if reads != (getattr(self, "tokenizer_", None) is not None):
            raise ValueError(f"{name} has a transformer, or a tokenizer, alone.")

    def _check_tokenizer(self, tokenizer, name):
        if not self._texts:
            nothing(tokenizer, name)
            return
        check_tokenizer(tokenizer, self.network_.encoder.model)

    def _check_max_length(self, max_length, name):
        if max_length is MISSING:  # of before there was one
            max_length = self.max_length
        number(1, whole=True)(max_length, name)
        max_length = self.max_length or max_length
        self._check_length("max_length", max_length, self.network_.encoder.model)


def count_layers(name, n_layers, default, n_states):
    """Check a number of last layers; None is the default, or as many as there are."""
    if n_layers is None:
        return min(default, n_states)
    if n_layers > n_states:
        raise ValueError(
            f"{name}={n_layers}, but the encoder has {n_states} layers of states, its "
            f"embeddings included; lower it to {n_states}, or leave it out."
        )
    return n_layers
