"""Texts and features as the networks read them, and batches of them."""

import unicodedata

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from skxmc.nn import text
from skxmc.nn.maps import is_mapped, temporary_array
from skxmc.nn.text import (
    Features,
    Tokens,
    padded_columns,
    shuffled_batches,
    sorted_batches,
    tokenize,
)

CLS, SEP = 2, 3  # of the tiny tokenizer


def rows_of(tokens):
    ends = zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
    return [tokens.ids[start:end].tolist() for start, end in ends]


def random_csr(n_rows, n_columns, seed, kind=sp.csr_array, density=0.3):
    rng = np.random.default_rng(seed)
    dense = rng.random((n_rows, n_columns)) * (
        rng.random((n_rows, n_columns)) < density
    )
    return kind(dense.astype(np.float32))


# --- tokenize ---------------------------------------------------------------


def test_tokenize_as_the_tokenizer_does(tiny_tokenizer):
    texts = ["red green blue", "fox", "old house near the river stone", ""]
    tokens = tokenize(texts, tiny_tokenizer, 64)
    assert rows_of(tokens) == [tiny_tokenizer(t)["input_ids"] for t in texts]
    assert len(tokens) == 4
    assert tokens.lengths.tolist() == [len(row) for row in rows_of(tokens)]
    assert tokens.offsets.dtype == np.int64
    assert tokens.ids.dtype == np.uint16
    assert tokens.pad_id == tiny_tokenizer.pad_token_id


def test_empty_texts_keep_their_special_tokens(tiny_tokenizer):
    assert rows_of(tokenize(["", " \n\t"], tiny_tokenizer, 9)) == [[CLS, SEP]] * 2


@pytest.mark.parametrize("max_length", [2, 3, 5, 6, 50])
def test_truncation_counts_special_tokens(tiny_tokenizer, max_length):
    whole = tiny_tokenizer("red green blue fox")["input_ids"]
    (row,) = rows_of(tokenize(["red green blue fox"], tiny_tokenizer, max_length))
    assert len(row) == min(max_length, 6)
    assert row == whole[:-1][: max_length - 1] + [SEP]


def test_no_room_for_special_tokens(tiny_tokenizer):
    # The tokenizer itself would then keep all tokens.
    with pytest.raises(ValueError, match=r"max_length=1 .* 2 special .* at least 3"):
        tokenize(["red green blue fox"], tiny_tokenizer, 1)


def test_lone_surrogates_become_question_marks(tiny_tokenizer):
    broken = tokenize(["red \ud800 blue", "\udfff"], tiny_tokenizer, 9)
    assert rows_of(broken) == rows_of(tokenize(["red ? blue", "?"], tiny_tokenizer, 9))


@pytest.mark.parametrize(
    "text", ["red\x00green", "\x07\x1b[0m", "\u200b", "\U0001f98a"]
)
def test_odd_characters(tiny_tokenizer, text):
    assert rows_of(tokenize([text], tiny_tokenizer, 9)) == [
        tiny_tokenizer(text)["input_ids"]
    ]


def test_chunks_leave_no_seam(tiny_tokenizer, monkeypatch, colours):
    texts = [*colours[0], "", *colours[0][:9]]
    whole = tokenize(texts, tiny_tokenizer, 5)
    monkeypatch.setattr(text, "_CHUNK", 1000)
    parts = tokenize(texts, tiny_tokenizer, 5)
    assert np.array_equal(parts.ids, whole.ids)
    assert np.array_equal(parts.offsets, whole.offsets)
    assert parts.ids.dtype == whole.ids.dtype


class Vocabulary:
    """A tokenizer of numbers, with as many tokens as asked for."""

    def __init__(self, n_tokens, pad_token_id=None):
        self.n_tokens, self.pad_token_id = n_tokens, pad_token_id

    def __len__(self):
        return self.n_tokens

    def num_special_tokens_to_add(self):
        return 0

    def __call__(self, texts, *, max_length, **options):
        rows = [[int(word) for word in t.split()][:max_length] for t in texts]
        return {"input_ids": rows}


@pytest.mark.parametrize(
    "n_tokens, dtype", [(2**16, np.uint16), (2**16 + 1, np.int32), (250_002, np.int32)]
)
def test_narrowest_dtype_that_holds_the_vocabulary(n_tokens, dtype):
    last = n_tokens - 1
    tokens = tokenize([f"0 {last}", f"{last}"], Vocabulary(n_tokens, last), 9)
    assert tokens.ids.dtype == dtype
    assert rows_of(tokens) == [[0, last], [last]]
    batch = tokens.batch(np.arange(2))
    assert batch["input_ids"].tolist() == [[0, last], [last, last]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]


def test_tokenizer_without_padding_or_special_tokens():
    tokens = tokenize(["", "5 6", ""], Vocabulary(10), 9)
    assert tokens.pad_id == 0
    assert tokens.lengths.tolist() == [0, 2, 0]
    empty = tokens.batch(np.array([0, 2]))
    assert empty["input_ids"].tolist() == [[0], [0]]
    assert empty["attention_mask"].tolist() == [[0], [0]]


# --- long texts -------------------------------------------------------------

# As of GPT-4, Llama 3 and Qwen.
GPT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[.$]+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
CORPUS = [
    "red green blue fox dog cat tree house, river's stone 12345 a1b2c3!",
    "हिन्दी काल कूल über straße naïve 漢字かな交じり文 ผู้ที่มี 한국어",
    "e\u0301\u0323 \n\n\t  x ; == --",
] * 20


def trained(model, pre_tokenizer, normalizer=None, added=()):
    """A small tokenizer of some kind: [CLS] text [SEP]."""
    options = dict(special_tokens=SPECIAL, show_progress=False, vocab_size=600)
    if model == "wordpiece":
        made = models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20)
        trainer = trainers.WordPieceTrainer(**options)
    elif model == "bpe":
        made = models.BPE(unk_token="[UNK]")
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **options)
    else:
        made = models.Unigram()
        trainer = trainers.UnigramTrainer(unk_token="[UNK]", **options)
    tokenizer = Tokenizer(made)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(CORPUS, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
    )
    fast.add_tokens(list(added))
    return fast


def byte_level(pattern):
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


@pytest.fixture(scope="module")
def tokenizers():
    pre, norm = pre_tokenizers, normalizers
    pieces = pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace()])
    squeezed = [norm.NFKC(), norm.Replace(Regex(" {2,}"), " "), norm.Strip()]
    added = [AddedToken("<mask>", lstrip=True), AddedToken("river's stone")]
    bare = [norm.Prepend("\u2581"), norm.Replace(" ", "\u2581")]
    threes = r"\d(?=(\d{3})+(?!\d))"  # grouped from the right
    return {
        # These read words by rules that look no farther than their end.
        "BERT": trained("wordpiece", pre.BertPreTokenizer(), norm.BertNormalizer()),
        "NFC": trained("wordpiece", pre.Whitespace(), norm.NFC()),
        "RoBERTa": trained("bpe", pre.ByteLevel(add_prefix_space=True), added=added),
        "Llama 3": trained("bpe", byte_level(GPT), norm.NFC()),
        "XLM-R": trained("unigram", pieces, norm.NFKC()),
        "T5": trained("unigram", pre.Metaspace(), norm.Sequence(squeezed)),
        "first": trained("unigram", pre.Metaspace(prepend_scheme="first")),
        # These need more of a text, or all of it.
        "lines": trained("bpe", pre.Split("\n", "isolated")),
        "scripts": trained("bpe", pre.UnicodeScripts()),
        "fives": trained("bpe", pre.FixedLength(5)),
        "one piece": trained("unigram", pre.Metaspace(split=False)),
        "no words": trained("bpe", None, norm.Sequence(bare)),
        "thousands": trained("bpe", byte_level(threes)),
        "far": trained("bpe", pre.Split(Regex(".+;|."), "isolated")),
    }


CUTTING = ["BERT", "NFC", "RoBERTa", "Llama 3", "XLM-R", "T5", "first"]
WHOLE = ["lines", "scripts", "fives", "one piece", "no words", "thousands", "far"]
ATOMS = [
    *("red", "green", "über", "ß", "x" * 30, "ab" * 40, "a1b2", "'s", "Σ", "İ"),
    *("1", "2345", "123456789" * 9, "!", "...", "-" * 80, ";", "_"),
    *(" ", " ", "  ", "\n", "\t", "\r\n", " " * 90, "\u00a0", "\u200b"),
    *(
        "\u0301" * 70,
        "\u0323",
        "e\u0301",
        "漢字かな",
        "ผู้ที่",
        "한국어",
        "\u1112\u1161\u11ab",
    ),
    *("کتاب‌ها", "👩‍👩‍👧", "क़", "[SEP]", "<mask>", "river's stone", "\ud800"),
]


@st.composite
def long_texts(draw):
    few = draw(st.lists(st.sampled_from(ATOMS), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return "".join(few[i] for i in rng.integers(0, len(few), draw(st.integers(0, 200))))


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from([*CUTTING, *CUTTING, *WHOLE]),
    texts=st.lists(long_texts(), min_size=1, max_size=3),
    max_length=st.sampled_from([2, 3, 7, 40]),
    side=st.sampled_from(["right", "left"]),
    more=st.sampled_from([1, 70, 128]),
)
def test_long_texts_have_the_tokens_of_whole_ones(
    tokenizers, name, texts, max_length, side, more
):
    tokenizer = tokenizers[name]
    tokenizer.truncation_side = side
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_CHARS_PER_TOKEN", 1)  # many are cut, and cut again
        patch.setattr(text, "_MORE_CHARS", more)
        patch.setattr(text, "_CHUNK", 2000)
        cut = rows_of(tokenize(texts, tokenizer, max_length))
    clean = [t.encode("utf-8", "replace").decode() for t in texts]
    whole = tokenizer(clean, max_length=max_length, truncation=True)
    assert cut == whole["input_ids"]


class Counting:
    """A tokenizer that counts the characters that it is given."""

    def __init__(self, tokenizer):
        self.tokenizer, self.n_chars, self.most = tokenizer, 0, 0

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def __len__(self):
        return len(self.tokenizer)

    def __call__(self, texts, **options):
        n_chars = sum(map(len, texts))
        self.n_chars, self.most = self.n_chars + n_chars, max(self.most, n_chars)
        return self.tokenizer(texts, **options)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "start, word",
    [
        ("", "red fox, "),
        ("", "über straße "),
        (" \n" * 500, "fox "),
        ("x" * 999, " fox"),
    ],
)
def test_cost_follows_max_length(tokenizers, start, word, side):
    long = (start + word * 50_000 + start)[:200_000]
    for name in CUTTING:
        tokenizers[name].truncation_side = side
        counting = Counting(tokenizers[name])
        tokens = tokenize([long] * 3, counting, 32)
        assert tokens.lengths.tolist() == [32] * 3
        assert counting.n_chars < 3 * 8_000, name


def test_cost_of_texts_without_spaces(tokenizers):
    for name in ("BERT", "Llama 3"):
        tokenizers[name].truncation_side = "right"
        counting = Counting(tokenizers[name])
        tokenize(["漢字かな、交じり文。" * 20_000], counting, 32)
        assert counting.n_chars < 8_000, name


@pytest.mark.parametrize("name", ["BERT", "RoBERTa"])
@pytest.mark.parametrize("long", [" " * 20_000, "x" * 20_000, "e" + "\u0301" * 20_000])
def test_a_text_is_read_to_its_end_where_that_takes_it(tokenizers, name, long):
    tokenizer = tokenizers[name]
    tokenizer.truncation_side = "right"
    texts = [f"red {long} fox {'dog ' * 99}", f"{long}red"]
    counting = Counting(tokenizer)
    whole = tokenizer(texts, max_length=9, truncation=True)["input_ids"]
    assert rows_of(tokenize(texts, counting, 9)) == whole
    assert counting.n_chars < 4 * sum(map(len, texts))


@pytest.mark.parametrize(
    "name, side, long",
    [
        ("thousands", "right", "12345" * 1001),
        ("far", "right", "  x " * 1300 + ";"),
        ("fives", "left", "red blue " * 801 + "x"),
        ("Llama 3", "left", "12345" * 1001),
        ("scripts", "left", "ü" + "red " * 800 + "!" * 800),
    ],
)
def test_what_stands_far_away_is_seen(tokenizers, name, side, long):
    tokenizer = tokenizers[name]
    tokenizer.truncation_side = side
    whole = tokenizer([long], max_length=9, truncation=True)["input_ids"]
    assert rows_of(tokenize([long], tokenizer, 9)) == whole


def test_marks_far_behind_a_letter_are_put_in_order_before_it(tokenizers):
    # NFC makes one character of the letter and the dot below, which is the last mark.
    tokenizer = tokenizers["Llama 3"]
    tokenizer.truncation_side = "right"
    texts = ["a e" + "\u0301" * n + "\u0323 x" + " red" * 500 for n in (700, 5000)]
    assert unicodedata.normalize("NFC", texts[0])[2] == "\u1eb9"
    whole = tokenizer(texts, max_length=6, truncation=True)["input_ids"]
    assert rows_of(tokenize(texts, tokenizer, 6)) == whole


def test_chunks_hold_so_many_characters(tiny_tokenizer):
    counting = Counting(tiny_tokenizer)
    texts = ["red fox " * 100] * 1500 + ["", "dog"] * 5000
    tokens = tokenize(texts, counting, 100)
    assert len(tokens) == len(texts)
    assert counting.most <= text._CHUNK < counting.n_chars


# --- batches ----------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    docs=st.lists(st.lists(st.integers(0, 99), max_size=9), min_size=1, max_size=9),
    data=st.data(),
)
def test_padding_of_a_batch(docs, data):
    ids = np.array(sum(docs, []), np.uint16)
    tokens = Tokens(ids, np.cumsum([0, *map(len, docs)]), pad_id=77)
    rows = data.draw(st.lists(st.integers(0, len(docs) - 1), min_size=1))
    batch = tokens.batch(np.array(rows))
    longest = max(1, max(len(docs[i]) for i in rows))
    for i, got, mask in zip(
        rows,
        batch["input_ids"].tolist(),
        batch["attention_mask"].tolist(),
        strict=True,
    ):
        n_missing = longest - len(docs[i])
        assert got == docs[i] + [77] * n_missing
        assert mask == [1] * len(docs[i]) + [0] * n_missing
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
def test_batch_of_features(kind):
    X = random_csr(8, 12, seed=0, kind=kind)
    X = kind(sp.vstack([X[:3], kind((1, 12), dtype=np.float32), X[3:]]))
    docs = Features(X)
    assert len(docs) == 9
    assert docs.lengths.tolist() == (X.toarray() != 0).sum(axis=1).tolist()
    rows = np.array([5, 3, 0, 3, 8])
    batch = docs.batch(rows)
    assert {name: tensor.dtype for name, tensor in batch.items()} == {
        "features": torch.int64,
        "weights": torch.float32,
    }
    width = docs.lengths[rows].max()
    for i, *own in zip(rows, *batch.values(), strict=True):
        features, weights = map(torch.Tensor.tolist, own)
        (columns,) = np.nonzero(X.toarray()[i])
        n_missing = width - len(columns)
        assert features == columns.tolist() + [12] * n_missing
        assert weights == X.toarray()[i, columns].tolist() + [0.0] * n_missing


def test_batch_of_documents_without_features():
    batch = Features(sp.csr_array((3, 7), dtype=np.float32)).batch(np.arange(2))
    assert batch["features"].tolist() == [[7], [7]]
    assert batch["weights"].tolist() == [[0.0], [0.0]]


@settings(max_examples=60, deadline=None)
@given(
    n_docs=st.integers(1, 5),
    entries=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=30),
    kind=st.sampled_from([sp.csr_array, sp.csr_matrix]),
)
def test_what_a_row_holds_twice_is_added_up(n_docs, entries, kind):
    entries = [(i, j) for i, j in entries if i < n_docs]
    entries.sort(key=lambda entry: entry[0])  # columns as they come
    columns = np.array([j for _, j in entries], np.int32)
    counts = np.bincount([i for i, _ in entries], minlength=n_docs)
    ends = np.cumsum([0, *counts]).astype(np.int32)
    # Whole numbers, whose sums are exact.
    values = np.arange(1, len(entries) + 1, dtype=np.float32)
    X = kind((values, columns, ends), (n_docs, 7))
    before = X.data.copy(), X.indices.copy(), X.indptr.copy()
    docs = Features(X)
    for old, new in zip(before, (X.data, X.indices, X.indptr), strict=True):
        assert np.array_equal(old, new)
    dense = X.toarray()
    for i in range(n_docs):
        batch = docs.batch(np.array([i]))
        features, weights = (tensor[0].tolist() for tensor in batch.values())
        real = {j: w for j, w in zip(features, weights, strict=True) if j < 7}
        assert real == {j: dense[i, j] for j in np.flatnonzero(dense[i])}
        assert docs.lengths[i] == len(real)
        assert len(features) == max(len(real), 1)  # none is there twice


@settings(max_examples=60, deadline=None)
@given(
    n_docs=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_every_row_once(n_docs, batch_size, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 100, 2 * n_docs)
    rows = rng.choice(2 * n_docs, n_docs, replace=False)
    for batches in (
        shuffled_batches(rows, lengths, batch_size, np.random.default_rng(seed)),
        sorted_batches(rows, lengths, batch_size),
    ):
        assert sorted(np.concatenate(batches)) == sorted(rows)
        sizes = sorted(map(len, batches), reverse=True)
        assert set(sizes[:-1]) <= {batch_size}
        assert len(sizes) == -(-n_docs // batch_size)


def test_seeds_reproduce_and_differ():
    rows, lengths = np.arange(500), np.arange(500) % 37

    def order(seed):
        rng = np.random.default_rng(seed)
        return np.concatenate(shuffled_batches(rows, lengths, 8, rng)).tolist()

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert rows.tolist() == list(range(500))  # shuffled on a copy


def test_batches_hold_documents_of_similar_length():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 513, 4096)
    rows = np.arange(4096)
    batches = shuffled_batches(rows, lengths, 32, rng)
    kept = sum(lengths[b].sum() for b in batches)
    padded = sum(lengths[b].max() * len(b) for b in batches)
    assert kept / padded > 0.95  # 0.52 where documents are batched at random
    # Yet the batches themselves come in no order of length.
    longest = np.array([lengths[b].max() for b in batches])
    assert abs(np.corrcoef(longest, np.arange(len(batches)))[0, 1]) < 0.4


def test_sorted_batches_start_with_the_longest():
    lengths = np.array([3, 9, 1, 9, 4])
    batches = sorted_batches(np.array([0, 1, 3, 4]), lengths, 3)
    assert [batch.tolist() for batch in batches] == [[1, 3, 4], [0]]


# --- positives --------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    n_docs=st.integers(1, 9),
    n_labels=st.integers(1, 12),
    seed=st.integers(0, 99),
    density=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    kind=st.sampled_from([sp.csr_array, sp.csr_matrix]),
    index=st.sampled_from([np.int32, np.int64]),
)
def test_padded_columns(n_docs, n_labels, seed, density, kind, index):
    Y = random_csr(n_docs, n_labels, seed, kind, density)
    Y.indices, Y.indptr = Y.indices.astype(index), Y.indptr.astype(index)
    rows = np.random.default_rng(seed).integers(0, n_docs, n_docs + 1)
    ids = padded_columns(Y, rows)
    expected = [np.flatnonzero(Y.toarray()[i]).tolist() for i in rows]
    width = max(1, max(map(len, expected)))
    assert ids.dtype == torch.int64
    assert ids.tolist() == [row + [n_labels] * (width - len(row)) for row in expected]


@pytest.mark.parametrize("n_rows", [1, 40, 333])
def test_the_order_of_many_documents_lies_in_a_file(n_rows, monkeypatch):
    rows, lengths = np.arange(n_rows) * 3, np.arange(1000) % 17
    expected = shuffled_batches(rows, lengths, 4, np.random.default_rng(0))
    monkeypatch.setattr(text, "_ROWS", 30)
    found = shuffled_batches(rows, lengths, 4, np.random.default_rng(0))
    assert [b.tolist() for b in found] == [b.tolist() for b in expected]
    assert all(is_mapped(batch) == (n_rows > 30) for batch in found)
    assert rows.tolist() == [3 * i for i in range(n_rows)]


def test_lengths_of_tokens_in_a_file(monkeypatch):
    monkeypatch.setattr(text, "_ROWS", 3)
    ids = temporary_array((20,), np.uint16, "Tokens", "")
    offsets = np.array([0, 4, 4, 5, 9, 15, 15, 16, 20])
    tokens = Tokens(ids, offsets, 0)
    assert tokens.on_disk and is_mapped(tokens.lengths)
    assert tokens.lengths.tolist() == np.diff(offsets).tolist()
    assert not Tokens(np.array(ids), offsets, 0).on_disk
