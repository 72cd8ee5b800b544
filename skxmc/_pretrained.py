"""The pretrained transformer of X-GRank, LightXML and GUDN."""

import numbers
import warnings

from sklearn.utils.validation import check_is_fitted

from ._fingerprint import hash_tokenizer
from ._stored_texts import StoredTexts
from ._stored_words import transform_words
from ._token_vectors import check_words
from ._validation import (
    check_choice,
    check_flag,
    check_ngram_range,
    check_number,
    check_prompt,
)
from ._warm_encoder import continue_encoder
from .nn.adapters import find_adapter, merge
from .nn.bags import BagEncoder, WordReader
from .nn.encoder_files import (
    check_length,
    check_prompt_length,
    check_tokenizer,
    choose_max_length,
    cls_is_last,
    load_encoder,
    read_settings,
)
from .nn.encoders import TransformerEncoder
from .nn.reading import Documents, check_padding, read_once, read_words
from .nn.state import MISSING, absent_or, nothing, number, optional, refuse
from .nn.text import ChosenTokens, Features, Tokens, padding_id, tokenize
from .nn.transformer_models import reads_forward

# Value of n_layers=None, unless the encoder has fewer layers.
DEFAULT_N_LAYERS = 5
# Width of the document vectors of a feature matrix if label_dim is None.
_DEFAULT_DIM = 256
# Largest number of words and n-grams of the bag.
_MAX_WORDS = 200_000


class PretrainedEncoderMixin:
    """Encodes texts by a pretrained transformer, and matrices by a bag of features.

    It is for subclasses of `ClusteringXMCClassifier` that have the parameters
    `encoder`, `pooling`, `text_prompt`, `label_prompt`, `reading`, `trained_layers`,
    `bag_of_words`, `ngram_range`, `max_length`, `n_layers`, `encoder_dropout`,
    `label_dim`, `dropout`, `label_init` and `cluster_features` (see `GRankClassifier`).
    They call ``_make_encoder(X)`` in ``_build``, and may override

    - ``_count_layers(n_states)``: how many of the encoder's layers are used;
    - ``_encoder_options(model)``: more arguments of `TransformerEncoder`.
    """

    _reads_stores = True
    _memory_advice = (
        "Lower batch_size or max_length (the step), label_dim or n_layers (the "
        'weights), or do not hold the scores of all labels: head="all". Of its label '
        'vectors, label_precision="bf16" takes half as much.'
    )

    def _check_parameters(self):
        super()._check_parameters()
        for name in ("max_length", "n_layers"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), numbers.Integral, 1)
        if self.encoder_dropout is not None:
            check_number("encoder_dropout", self.encoder_dropout, numbers.Real, 0, 1)
        check_choice("pooling", self.pooling, ("auto", "mean", "cls", "last"))
        for name in ("text_prompt", "label_prompt"):
            check_prompt(name, getattr(self, name))
        check_choice("reading", self.reading, ("texts", "words"))
        check_number(
            "trained_layers", self.trained_layers, numbers.Integral, 0, word="all"
        )
        check_flag("bag_of_words", self.bag_of_words)
        check_ngram_range("ngram_range", self.ngram_range)
        check_flag("gradient_checkpointing", self.gradient_checkpointing)
        check_number(
            "document_learning_rate", self.document_learning_rate, numbers.Real, 0
        )

    def _check_fit(self, X, y):
        X, Y = super()._check_fit(X, y)
        sources = {self.label_init, str(self.cluster_features)}
        if not self._texts and sources & {"both", "texts", "documents", "labels"}:
            raise ValueError(
                f"label_init={self.label_init!r} with cluster_features="
                f"{self.cluster_features!r} needs a transformer, and X is a feature "
                'matrix: use label_init="random" and cluster_features="tfidf".'
            )
        clusters_words = (
            str(self.cluster_features) == "tfidf" and not self._ranks_all_labels()
        )
        if isinstance(X, StoredTexts) and (self._uses_words or clusters_words):
            X.check_texts()
        return X, Y

    @property
    def _uses_words(self):
        """Whether the words of texts are counted."""
        return self._texts and (self.bag_of_words or self.reading == "words")

    def _count_bag(self):
        """Return the number of words of the bag, or None without a bag of words."""
        if not self._texts or not self.bag_of_words:
            return None
        return len(self.vectorizer_.vocabulary_)

    def _make_encoder(self, X):
        """Make the encoder, and turn X into the documents that it takes.

        This sets ``tokenizer_``, ``max_length_``, ``vectorizer_`` and prompts, which
        ``_make_docs`` uses. What the encoder's untrained layers compute is computed
        here, once.

        Parameters
        ----------
        X : list of str, or csr matrix of shape (n_docs, n_features)

        Returns
        -------
        encoder : TransformerEncoder, BagEncoder or WordReader
        docs : Tokens, Features or Documents
        """
        self.tokenizer_ = self.vectorizer_ = None
        self.text_prompt_ = self.label_prompt_ = ""
        if not self._texts:
            dim = self.label_dim or _DEFAULT_DIM
            return BagEncoder(X.shape[1], dim, dropout=self.dropout), Features(X)
        is_fixed = self.reading == "words" or self.trained_layers == 0
        if self.gradient_checkpointing and is_fixed:
            raise ValueError(
                "gradient_checkpointing=True saves memory where the encoder is "
                f"trained, and reading={self.reading!r} with trained_layers="
                f"{self.trained_layers!r} trains nothing of it: leave it out, or train "
                "layers."
            )
        if self._start is not None:
            return continue_encoder(self, X)
        model, tokenizer = load_encoder(self.encoder)
        self._check_adapter(model, is_fixed)
        settings = read_settings(self.encoder, self.pooling)
        self.text_prompt_ = settings.find_prompt(self.text_prompt)
        self.label_prompt_ = settings.find_prompt(self.label_prompt)
        if self.reading != "words":
            self.tokenizer_ = tokenizer
            self.max_length_ = choose_max_length(self.max_length, model, self.encoder)
            self._check_store(X)
            for prompt in (self.text_prompt_, self.label_prompt_):
                check_prompt_length(prompt, tokenizer, self.max_length_)
        words = self._make_words(X)
        if self.reading == "words":
            encoder = WordReader(self._read_words(model, tokenizer, settings))
            return encoder, self._read_once(encoder, *words, others=words)
        n_states = model.config.num_hidden_layers + 1
        n_trained = self._count_trained(n_states - 1)
        n_layers = self._count_layers(n_states)
        if n_trained is not None:  # lower layers are not computed in training
            n_layers = min(n_layers, n_trained + 1)
        # The first token of a decoder has read nothing of the text.
        reads_last = reads_forward(model) and settings.pooling != "cls"
        encoder = TransformerEncoder(
            model,
            n_layers=n_layers,
            cls_last=cls_is_last(tokenizer) or reads_last,
            dropout=self.encoder_dropout,
            n_trained=n_trained,
            unit=self.bag_of_words or n_trained is not None,
            pooling=settings.pooling,
            dense=settings.dense,
            checkpointing=self.gradient_checkpointing,
            **self._encoder_options(model),
        )
        check_padding(encoder, tokenizer, self.max_length_, "cpu")
        return encoder, self._read_tokens(encoder, X, words)

    def _read_tokens(self, encoder, X, words):
        """Return documents of tokens, and of what an encoder computes of them once."""
        tokens = self._tokenize(X, self.text_prompt_)
        if encoder.is_fixed or encoder.keeps_states:
            return self._read_once(encoder, tokens, others=words)
        return Documents(tokens, *words) if words else tokens

    def _make_words(self, X):
        """Set ``vectorizer_``, and return the words of X as a tuple for `Documents`."""
        if not self._uses_words:
            return ()
        self.vectorizer_, counts = self._fit_words(
            X,
            min_df=None,
            ngram_range=self.ngram_range,
            max_features=_MAX_WORDS,
            weights=self._weights_of_all(X),
        )
        return (Features(counts),)

    def _check_adapter(self, model, is_fixed):
        """Refuse an adapter that cannot be trained, and tell of one that is not."""
        if find_adapter(model) is None:
            return
        learns = any(parameter.requires_grad for parameter in model.parameters())
        if is_fixed and learns:
            warnings.warn(
                "The encoder has an adapter that is not trained, because reading="
                f"{self.reading!r} with trained_layers={self.trained_layers!r} trains "
                'nothing of the encoder. Set trained_layers="all" to train it.',
                UserWarning,
                stacklevel=5,
            )
        if not is_fixed and not learns:
            raise ValueError(
                "The adapter of the encoder cannot be trained: load it with "
                "is_trainable=True, or set trained_layers=0 to use it as it is."
            )

    def merge_adapters(self):
        """Add the adapters of the encoder to its weights.

        The classifier then predicts the same, up to rounding, in less time, and neither
        it nor its model folder needs peft. If training goes on (`warm_start`), all
        weights of the layers that `trained_layers` names are trained.

        Returns
        -------
        self : estimator
            The same classifier.

        Raises
        ------
        ValueError
            If its encoder has no adapters.
        """
        check_is_fitted(self)
        encoders = [
            module
            for module in self.network_.modules()
            if isinstance(module, TransformerEncoder) and module.has_adapter
        ]
        if not encoders:
            raise ValueError(
                f"This {type(self).__name__} has no adapters to merge. Fit with a "
                "model that peft has wrapped: encoder=(model, tokenizer)."
            )
        for encoder in encoders:
            merge(encoder.model)
            encoder.requires_grad_(True).freeze()  # as without the adapter
        return self

    def _training_options(self, examples):
        options = super()._training_options(examples)
        if self._uses_words or self._texts and self.trained_layers != "all":
            options["document_learning_rate"] = self.document_learning_rate
        return options

    def _count_trained(self, n_layers):
        """Return the number of layers that are trained, or None for all weights."""
        if self.trained_layers == "all":
            return None
        if self.trained_layers > n_layers:
            raise ValueError(
                f"trained_layers={self.trained_layers}, but the encoder has {n_layers} "
                f'layers. Lower it, or use "all", which trains the embeddings too.'
            )
        return self.trained_layers

    def _read_once(self, encoder, docs, others):
        options = self._computing_options()
        read = read_once(encoder.to(options["device"]), docs, others, **options)
        encoder.cpu()  # training begins there, after memory has been checked
        return read

    def _read_words(self, model, tokenizer, settings, chosen=slice(None)):
        """Let the transformer read each word of ``vectorizer_``, or some, alone."""
        return read_words(
            model,
            tokenizer,
            self.vectorizer_.get_feature_names_out()[chosen],
            pooling=settings.pooling,
            dense=settings.dense,
            prompt=self.text_prompt_,
            **self._computing_options(),
        )

    def _complete_encoder(self, encoder):
        """Add to the encoder of another fit what it lost at the end of that fit."""

    def _encoder_options(self, model):
        """Return a dict of more arguments of `TransformerEncoder`."""
        return {}

    def _count_layers(self, n_states):
        """Return how many of the encoder's `n_states` layers are used."""
        return count_layers("n_layers", self.n_layers, DEFAULT_N_LAYERS, n_states)

    def _check_length(self, name, length, model):
        """Refuse a number of tokens that the transformer has no positions for."""
        check_length(name, length, model, self.encoder)

    def _make_docs(self, X):
        # Models saved by older versions have no prompts.
        return self._make_prompted(X, getattr(self, "text_prompt_", ""))

    def _make_label_docs(self, texts):
        return self._make_prompted(texts, getattr(self, "label_prompt_", ""))

    def _make_prompted(self, X, prompt):
        """Turn X into documents, whose texts the transformer reads after a prompt."""
        if not self._texts:
            return Features(X)
        parts = []
        if self.tokenizer_ is not None:
            self._check_store(X)
            parts.append(self._tokenize(X, prompt))
        if getattr(self, "vectorizer_", None) is not None:
            parts.append(Features(transform_words(self.vectorizer_, X)))
        return parts[0] if len(parts) == 1 else Documents(*parts)

    def _tokenize(self, X, prompt):
        """Return the tokens of texts after a prompt, or those of a store."""
        if not isinstance(X, StoredTexts):
            X = [prompt + text for text in X] if prompt else X
            return tokenize(X, self.tokenizer_, self._get_max_length())
        tokens = Tokens(X.ids, X.offsets, padding_id(self.tokenizer_))
        return tokens if X.holds_all else ChosenTokens(tokens, X.rows)

    def _get_max_length(self):
        # Models saved by older versions have no max_length_, but a max_length.
        return self.max_length or self.max_length_

    def _check_store(self, X):
        """Refuse a store whose tokens are not those that the classifier reads."""
        if not isinstance(X, StoredTexts):
            return
        found, max_length = X.description, self._get_max_length()
        if found["tokenizer"] != hash_tokenizer(self.tokenizer_):
            encoder = self.encoder
            if isinstance(encoder, tuple):
                encoder = type(encoder[0]).__name__
            raise ValueError(
                f"The store {X.folder} holds tokens of the tokenizer of "
                f"{found['encoder']!r}, and encoder={str(encoder)!r} has another "
                "tokenizer. Build a store with this encoder, or use that of the store."
            )
        if found["max_length"] != max_length:
            raise ValueError(
                f"The store {X.folder} holds max_length={found['max_length']} tokens a "
                f"document, and the classifier reads max_length={max_length}. Set "
                "max_length to that of the store, or build another store."
            )
        prompt, stored = getattr(self, "text_prompt_", ""), found.get("prompt", "")
        if prompt != stored:
            raise ValueError(
                f"The store {X.folder} holds the tokens of texts after the prompt "
                f"{stored!r}, and the classifier reads texts after {prompt!r}. Fit "
                f"with text_prompt={stored!r}, or build a store with text_prompt="
                f"{prompt!r}."
            )

    def expected_state(self):
        """Return the checks of what `fit` sets (see `skxmc.nn.state`)."""
        expected = super().expected_state()
        expected["tokenizer_"] = self._check_tokenizer
        expected["vectorizer_"] = self._check_vectorizer
        # Folders of older versions lack these two.
        expected["text_prompt_"] = expected["label_prompt_"] = absent_or(_check_str)
        if getattr(self, "tokenizer_", None) is not None:
            expected["max_length_"] = self._check_max_length
        return expected

    def _check_vectorizer(self, vectorizer, name):
        absent_or(optional(check_words))(vectorizer, name)
        network = self.network_
        bag = getattr(getattr(network, "doc_vectors", None), "bag", None)
        takers = [bag] if bag is not None else []
        if isinstance(network.encoder, WordReader):
            takers.append(network.encoder)
        n_words = None
        if vectorizer is not MISSING and vectorizer is not None:
            n_words = len(vectorizer.vocabulary_)
        sizes = {taker.n_features for taker in takers}
        if sizes != ({n_words} - {None}):
            raise ValueError(
                f"{name} does not suit network_: it counts {n_words or 'no'} words, "
                f"and network_ has vectors for {sorted(sizes) or 'none'}."
            )

    def _check_tokenizer(self, tokenizer, name):
        has_transformer = isinstance(self.network_.encoder, TransformerEncoder)
        reads_words = isinstance(self.network_.encoder, WordReader)
        if not has_transformer:
            nothing(tokenizer, name)
        if (
            tokenizer is None
            and has_transformer
            or self._texts != (has_transformer or reads_words)
        ):
            raise ValueError(
                f"{name} does not suit network_: a model for texts has a transformer "
                "and a tokenizer, or reads words alone, and a model for feature "
                "matrices does neither."
            )
        if has_transformer:
            check_tokenizer(tokenizer, self.network_.encoder.model)

    def _check_max_length(self, max_length, name):
        if max_length is MISSING:  # the model was saved by an older version
            max_length = self.max_length
        number(1, whole=True)(max_length, name)
        max_length = self.max_length or max_length
        self._check_length("max_length", max_length, self.network_.encoder.model)


def _check_str(value, name):
    if not isinstance(value, str):
        refuse(name, "a str", value)


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
