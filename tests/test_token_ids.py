"""Tokens by the tokenizer alone, against those by transformers."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from skxmc.nn import token_ids
from skxmc.nn.token_ids import encode_texts

PARTS = [
    *("red", "fox", "RED", "tree-house", "été", "狐", "\U0001f600", "\u0301"),
    *("\x00", "\n", "\u200d", "[CLS]", "[PAD]", "[MASK]", "?", "a" * 200),
]
TEXTS = st.lists(
    st.lists(
        st.sampled_from(PARTS) | st.text("redfox \x00\t", max_size=4), max_size=9
    ).map(" ".join),
    min_size=1,
    max_size=4,
)


def by_transformers(tokenizer, max_length, special, texts):
    return tokenizer(
        texts, max_length=max_length, truncation=True, add_special_tokens=special
    )["input_ids"]


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return copy.deepcopy(tiny_tokenizer)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    texts=TEXTS,
    max_length=st.integers(2, 12),
    special=st.booleans(),
    side=st.sampled_from(["left", "right"]),
    splits=st.booleans(),
    with_words=st.booleans(),
)
def test_tokens_are_those_by_transformers(
    texts, max_length, special, side, splits, with_words, tokenizer
):
    tokenizer.truncation_side, tokenizer.split_special_tokens = side, splits
    known = tokenizer, max_length, special, texts
    expected = by_transformers(*known)
    # What a user's own call leaves in the tokenizer changes nothing.
    tokenizer(texts, padding="max_length", max_length=30, truncation=False)
    found, encodings = encode_texts(*known, with_words)
    assert found == expected
    if with_words:
        words = tokenizer(texts, max_length=max_length, truncation=True).encodings
        if special:
            assert [e.word_ids for e in encodings] == [e.word_ids for e in words]
            assert [e.offsets for e in encodings] == [e.offsets for e in words]
    # Nor does this call change what transformers returns.
    assert by_transformers(*known) == expected


def test_a_tokenizer_of_its_own_kind_is_called_by_transformers(tokenizer):
    class Shouting(PreTrainedTokenizerFast):
        def _encode_plus(self, text, **options):
            return super()._encode_plus([part.upper() for part in text], **options)

    known = tokenizer, 9, True, ["red fox"]
    shouting = Shouting(tokenizer_object=tokenizer.backend_tokenizer, unk_token="[UNK]")
    assert token_ids._is_plain(type(tokenizer))
    assert not token_ids._is_plain(Shouting)
    found, _ = encode_texts(shouting, *known[1:], False)
    assert found == by_transformers(shouting, *known[1:])
    assert found != encode_texts(*known, False)[0]
