"""Token ids of texts by a tokenizer, without what transformers does around it."""

from functools import cache


def encode_texts(tokenizer, max_length, special, texts, with_words):
    """Return the token ids of texts, as ``tokenizer(texts)`` does.

    transformers spends more time on its options than a fast tokenizer on a short text,
    so the latter is called without it. It calls tokenizers that do more than that.
    Hold `skxmc.nn.text.tokenizing` meanwhile.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerFast
    max_length : int
        Largest number of tokens of a text, including special tokens.
    special : bool
        Whether special tokens are added.
    texts : list of str
    with_words : bool
        Whether the encodings hold the words of the tokens and their places in the text.

    Returns
    -------
    ids : list of list of int
    encodings : list of tokenizers.Encoding, or None without `with_words`
    """
    if not _is_plain(type(tokenizer)):
        tokens = tokenizer(
            texts,
            max_length=max_length,
            truncation=True,
            add_special_tokens=special,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return tokens["input_ids"], tokens.encodings if with_words else None
    backend = tokenizer.backend_tokenizer
    wanted = dict(
        max_length=max_length,
        stride=0,
        strategy="longest_first",
        direction=tokenizer.truncation_side,
    )
    # As in transformers, only what differs is set.
    found = backend.truncation
    if found is None or any(found.get(name) != wanted[name] for name in wanted):
        backend.enable_truncation(**wanted)
    if backend.padding is not None:
        backend.no_padding()
    if backend.encode_special_tokens != tokenizer.split_special_tokens:
        backend.encode_special_tokens = tokenizer.split_special_tokens
    encode = backend.encode_batch if with_words else backend.encode_batch_fast
    encodings = encode(texts, add_special_tokens=special)
    ids = [encoding.ids for encoding in encodings]
    return ids, encodings if with_words else None


@cache
def _is_plain(kind):
    """Return whether a class of tokenizers leaves texts to the tokenizer in Rust."""
    from transformers import PreTrainedTokenizerFast

    return issubclass(kind, PreTrainedTokenizerFast) and all(
        getattr(kind, name) is getattr(PreTrainedTokenizerFast, name)
        for name in ("__call__", "_encode_plus", "set_truncation_and_padding")
    )
