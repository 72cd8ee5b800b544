"""Documents as the networks read them: token ids or features, and batches of them."""

import json
import re
import sys
import unicodedata
from functools import partial
from itertools import chain, islice

import numpy as np
import torch

from .process import brief_lock

# Characters handed to the tokenizer at a time: its Python lists stay small. A text
# counts for some more than it has.
_CHUNK = 2**20
_COST_OF_A_TEXT = 128
# Characters of a text that the tokenizer is given first, a token and beyond that.
# English has four or five a token.
_CHARS_PER_TOKEN, _MORE_CHARS = 16, 512
# Characters between a cut and what it cannot change.
_MARGIN = 64
# What finds words by their distance from the start, or by what stands far before.
_COUNTED_FROM_START = ("FixedLength", "UnicodeScripts")
# Batches sorted by length together: enough to leave little padding, few enough
# to keep batches random.
_BUCKET = 64
# Held while a tokenizer is called: a call sets the length to truncate to, and fails
# where another thread is reading with the same tokenizer.
tokenizing = brief_lock()


class Tokens:
    """Token ids of documents, stored end to end.

    Parameters
    ----------
    ids : ndarray of shape (n_tokens,), uint16 or int32
    offsets : int64 ndarray of shape (n_docs + 1,)
        Document i holds ``ids[offsets[i]:offsets[i + 1]]``.
    pad_id : int
    """

    def __init__(self, ids, offsets, pad_id):
        self.ids = ids
        self.offsets = offsets
        self.pad_id = pad_id

    def __len__(self):
        return len(self.offsets) - 1

    @property
    def lengths(self):
        """Tokens of each document: int64 ndarray of shape (n_docs,)."""
        return np.diff(self.offsets)

    def batch(self, rows):
        """Pad the documents `rows` to the longest of them.

        Returns a dict of ``input_ids`` and ``attention_mask``, int64 tensors of
        shape (n_rows, longest).
        """
        ids, mask = _padded(self.ids, self.offsets, rows, self.pad_id)
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        }


class Features:
    """Feature rows of documents.

    Parameters
    ----------
    X : csr_array or csr_matrix of shape (n_docs, n_features), float32
        What a row holds twice is added up.
    """

    def __init__(self, X):
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        self.X = X

    def __len__(self):
        return self.X.shape[0]

    @property
    def lengths(self):
        """Stored features of each document: ndarray of shape (n_docs,)."""
        return np.diff(self.X.indptr)

    def batch(self, rows):
        """Features of the documents `rows`, padded to the most of them.

        Returns a dict of ``features``, int64 and padded with n_features, and
        ``weights``, float32 and padded with 0, both of shape (n_rows, most).
        """
        features, weights = padded_features(self.X, rows)
        return {"features": features, "weights": weights}


def padded_features(X, rows):
    """Stored columns and values of rows, padded with n_features and 0.

    Parameters
    ----------
    X : csr_array or csr_matrix of shape (n_docs, n_features)
    rows : int ndarray of shape (n_rows,)

    Returns
    -------
    features : int64 tensor of shape (n_rows, most)
    weights : float32 tensor of the same shape
    """
    places, mask = _places(X.indptr, rows)
    features = np.full(mask.shape, X.shape[1], np.int64)
    features[mask] = X.indices[places]
    weights = np.zeros(mask.shape, np.float32)
    weights[mask] = X.data[places]
    return torch.from_numpy(features), torch.from_numpy(weights)


def tokenize(texts, tokenizer, max_length, *, special=True):
    """Turn texts into token ids, once.

    The fast tokenizer works on all cores. Lone surrogates, which no tokenizer
    takes, become question marks; control characters are the tokenizer's matter.

    Parameters
    ----------
    texts : sequence of str
    tokenizer : PreTrainedTokenizerFast
    max_length : int
        Tokens kept per document, special tokens included.
    special : bool, default=True
        Whether the tokenizer adds its special tokens.

    Returns
    -------
    Tokens

    Raises
    ------
    ValueError
        If `max_length` leaves no room for the tokenizer's special tokens.
    """
    n_special = tokenizer.num_special_tokens_to_add() if special else 0
    if max_length < n_special:  # the tokenizer would not truncate at all
        raise ValueError(
            f"max_length={max_length} has no room for the {n_special} special tokens "
            f"that the tokenizer adds to each text; use at least {n_special + 1}."
        )
    dtype = np.uint16 if len(tokenizer) <= 2**16 else np.int32
    n_chars = max_length * _CHARS_PER_TOKEN + _MORE_CHARS
    from_end = getattr(tokenizer, "truncation_side", "right") == "left"
    if max(map(len, texts), default=0) > n_chars:
        with tokenizing:
            cuts = _can_cut(tokenizer, from_end)
        n_chars = n_chars if cuts else sys.maxsize
    options = dict(
        max_length=max_length,
        truncation=True,
        add_special_tokens=special,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    parts, lengths = [], []
    for rows in _read(texts, partial(tokenizer, **options), n_chars, from_end):
        lengths.append(np.fromiter(map(len, rows), np.int64, len(rows)))
        parts.append(np.concatenate([np.asarray(row, dtype) for row in rows]))
    offsets = np.concatenate([[0], *lengths]).cumsum()
    pad_id = tokenizer.pad_token_id
    return Tokens(np.concatenate(parts), offsets, 0 if pad_id is None else pad_id)


def _read(texts, tokenizer, n_chars, from_end):
    """Yield the token ids of texts, a chunk of texts at a time.

    The tokenizer is given `n_chars` characters of a text, and twice as many as often as
    more of them could change the tokens that are kept.
    """
    for chunk in _chunks(texts, n_chars):
        pieces = [text[-n_chars:] if from_end else text[:n_chars] for text in chunk]
        pieces = [piece.encode("utf-8", "replace").decode() for piece in pieces]
        with tokenizing:
            read = tokenizer(pieces)
        rows = read["input_ids"]
        open_ = [
            i
            for i, piece in enumerate(pieces)
            if len(piece) < len(chunk[i])
            and not _is_settled(read.encodings[i], piece, from_end)
        ]
        longer = _read([chunk[i] for i in open_], tokenizer, 2 * n_chars, from_end)
        for i, row in zip(open_, chain.from_iterable(longer), strict=True):
            rows[i] = row
        yield rows


def _chunks(texts, n_chars):
    """Split a list so that a part's pieces fit into a chunk, or are of one text."""
    costs = [min(len(text), n_chars) + _COST_OF_A_TEXT for text in texts]
    start, total = 0, 0
    for end, cost in enumerate(costs):
        if total + cost > _CHUNK and end > start:
            yield texts[start:end]
            start, total = end, 0
        total += cost
    if start < len(texts):
        yield texts[start:]


def _can_cut(tokenizer, from_end):
    """Whether the tokens of a text depend on what is near to them alone.

    A tokenizer reads word by word, and finds words by rules that look one character
    ahead. Those that have no words, or rules that may look farther, read whole texts.
    """
    if not getattr(tokenizer, "is_fast", False):
        return False
    backend = tokenizer.backend_tokenizer
    added = tokenizer.get_added_vocab()
    if backend.pre_tokenizer is None or max(map(len, added), default=0) > _MARGIN:
        return False
    parts = [part for part in (backend.normalizer, backend.pre_tokenizer) if part]
    try:
        rules = "".join(part.__getstate__().decode() for part in parts)
    except Exception:  # parts that were written in Python say nothing of themselves
        return False
    if from_end and any(kind in rules for kind in _COUNTED_FROM_START):
        return False
    patterns = re.findall(r'"Regex":"((?:[^"\\]|\\.)*)"', rules)
    patterns = [json.loads(f'"{pattern}"') for pattern in patterns]
    return not any(map(_looks_far, patterns))


def _looks_far(pattern):
    """Whether a regular expression has parts that may look at all of the text."""
    pattern = pattern.replace(r"(?!\S)", "").replace("\\\\", "")
    pattern = re.sub(r"\[(?:[^]\\]|\\.)*\]", "", pattern)  # a class is one character
    return re.search(r"\(\?(?:<?[=!]|>)|(?<!\\)[.$]|\\[ZzGKk1-9]", pattern) is not None


def _is_settled(encoding, piece, from_end):
    """Whether the tokens that are kept of a piece are those of the whole text.

    They are if the word that the last of them belongs to, or from the end the first,
    lies apart from the cut: another word follows it, and then a number of characters.
    """
    tokens = [
        (word, *offsets)
        for part in (encoding, *encoding.overflowing)
        for word, offsets in zip(part.word_ids, part.offsets, strict=True)
        if word is not None
    ]
    kept = [word for word in encoding.word_ids if word is not None]
    if not kept:  # there is room for special tokens alone, or the piece has no tokens
        return len(tokens) > 0
    margin = _margin(piece, from_end)
    if from_end:
        return max((t[2] for t in tokens if t[0] < kept[0]), default=-1) >= margin
    starts = (start for word, start, _ in tokens if word > kept[-1])
    return min(starts, default=len(piece)) <= margin


def _margin(piece, from_end):
    """Place in a piece that is _MARGIN characters from the cut.

    Combining marks do not count: a row of them is put in order as a whole. From the end
    the place follows white space, where numbers are cut into groups anew.
    """
    chars = (
        enumerate(piece)
        if from_end
        else zip(range(len(piece) - 1, -1, -1), reversed(piece), strict=True)
    )
    starters = (i for i, char in chars if not unicodedata.combining(char))
    place = next(islice(starters, _MARGIN, None), None)
    if place is None:
        return len(piece) if from_end else -1
    if from_end:
        space = re.compile(r"\s").search(piece, place)
        return space.end() if space else len(piece) + 1
    return place


def shuffled_batches(rows, lengths, batch_size, rng):
    """Random batches of documents of similar length.

    Parameters
    ----------
    rows : int ndarray of shape (n_rows,)
        The documents to go through.
    lengths : ndarray of shape (n_docs,)
        Length of every document.
    batch_size : int
    rng : numpy Generator

    Returns
    -------
    list of int ndarrays
        Each row of `rows` once, in batches of `batch_size` but for a last one.
    """
    rows = rng.permutation(rows)
    pool = batch_size * _BUCKET
    batches = []
    for start in range(0, len(rows), pool):
        part = rows[start : start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def sorted_batches(rows, lengths, batch_size):
    """Batches of documents from the longest to the shortest.

    The first batch needs the most memory, so a prediction that runs out of it
    does so at once.
    """
    rows = rows[np.argsort(-lengths[rows], kind="stable")]
    return [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]


def padded_columns(Y, rows, limit=None):
    """Stored columns of the rows `rows`, padded with the number of columns.

    Of a label matrix: each document's positives.

    Parameters
    ----------
    Y : csr_array or csr_matrix of shape (n_docs, n_labels)
    rows : int ndarray of shape (n_rows,)
    limit : int or None, default=None
        Columns kept a row.

    Returns
    -------
    int64 tensor of shape (n_rows, n_positives)
        n_positives is the largest number of entries of a row, at least 1.
    """
    ids, _ = _padded(Y.indices, Y.indptr, rows, Y.shape[1], limit)
    return torch.from_numpy(ids)


def _padded(values, offsets, rows, padding, limit=None):
    """Ragged rows as a rectangle of int64, and the mask of what is not padding."""
    places, mask = _places(offsets, rows, limit)
    out = np.full(mask.shape, padding, np.int64)
    out[mask] = values[places]
    return out, mask


def _places(offsets, rows, limit=None):
    """Where the values of ragged rows lie, and their mask in a rectangle."""
    starts = offsets[rows].astype(np.int64)
    lengths = offsets[rows + 1] - starts
    if limit is not None:
        lengths = np.minimum(lengths, limit)
    columns = np.arange(max(lengths.max(initial=0), 1))
    mask = columns < lengths[:, None]
    return (starts[:, None] + columns)[mask], mask
