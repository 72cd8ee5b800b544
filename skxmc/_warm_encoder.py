"""The encoder of texts, if a fit goes on from another one."""

import copy

import torch

from .nn.bags import WordReader
from .nn.encoder_files import load_encoder, read_settings
from .nn.transformer_models import set_checkpointing, set_dropout

__all__ = ["continue_encoder"]


def continue_encoder(estimator, X):
    """Copy the encoder of the fit that goes on, and turn texts into its documents.

    It does what ``_make_encoder`` of `PretrainedEncoderMixin` does in a first fit.

    Parameters
    ----------
    estimator : PretrainedEncoderMixin
    X : list of str or StoredTexts

    Returns
    -------
    encoder : TransformerEncoder or WordReader
    docs : Tokens or Documents
    """
    start = estimator._start
    # Models of older versions lack these.
    for name in ("text_prompt_", "label_prompt_"):
        setattr(estimator, name, start.attributes.get(name, ""))
    estimator.tokenizer_ = start.tokenizer_
    if estimator.reading != "words":
        longest = start.attributes.get("max_length_", estimator.max_length)
        estimator.max_length_ = longest
        estimator._check_store(X)
    words = estimator._make_words(X)
    if estimator.reading == "words":
        encoder = WordReader(_read_new_words(estimator))
        return encoder, estimator._read_once(encoder, *words, others=words)
    encoder = copy.deepcopy(start.network.encoder).float()
    set_dropout(encoder.model, estimator.encoder_dropout)
    encoder.dropout = estimator.encoder_dropout
    encoder.checkpointing = estimator.gradient_checkpointing
    if encoder.checkpointing or start.network.encoder.checkpointing:
        set_checkpointing(encoder.model, encoder.checkpointing)
    estimator._complete_encoder(encoder)
    return encoder, estimator._read_tokens(encoder, X, words)


def _read_new_words(estimator):
    """Return the vectors of all words, the new ones of which are read now."""
    known = estimator._start.network.encoder.features.table.data[:-1].cpu().float()
    if len(known) == len(estimator.vectorizer_.vocabulary_):
        return known
    model, tokenizer = load_encoder(estimator.encoder)
    settings = read_settings(estimator.encoder, estimator.pooling)
    read = (model, tokenizer, settings)
    if len(known) and known[-1].any():
        last = slice(len(known) - 1, len(known))
        _check_same_reader(known[-1], estimator._read_words(*read, last)[0], estimator)
    return torch.cat([known, estimator._read_words(*read, slice(len(known), None))])


def _check_same_reader(known, again, estimator):
    """Refuse new words for another transformer than that which read a known one."""
    same = known.shape == again.shape
    if same and torch.cosine_similarity(known, again.cpu().float(), dim=0) > 0.99:
        return
    encoder = estimator.encoder
    encoder = "a loaded model" if isinstance(encoder, tuple) else repr(encoder)
    raise ValueError(
        f"X has new words, and encoder is {encoder}, which is not the transformer that "
        "read the known words. Model folders do not keep a transformer that was given "
        "as (model, tokenizer): assign it as soon as the classifier is loaded, by "
        "classifier.encoder = (model, tokenizer). Or set warm_start=False to fit from "
        "nothing."
    )
