"""Documents as token ids or features, the tokenization of texts, and batches."""

import json
import re
import sys
import unicodedata
from functools import cached_property, partial
from itertools import chain, islice

import numpy as np
import torch

from .maps import is_mapped, temporary_array
from .process import brief_lock
from .token_ids import encode_texts

# Number of characters that the tokenizer gets at once, so that its Python lists stay
# small. Each text counts for 128 characters more than it has.
_CHUNK = 2**20
_COST_OF_A_TEXT = 128
# A text is first cut to this many characters: 16 for each token that is kept, and 512
# more. English has four or five characters per token.
_CHARS_PER_TOKEN, _MORE_CHARS = 16, 512
# Number of characters before a cut within which the cut may change tokens.
_MARGIN = 64
# Rules for words that depend on the distance from the start of the text, or on
# characters far before. A text must not be cut at its start for these.
_COUNTED_FROM_START = ("FixedLength", "UnicodeScripts")
# Number of batches whose documents are sorted by length together: enough to leave
# little padding, few enough to keep batches random.
_BUCKET = 64
# Number of rows whose numbers are held in memory: the order of more lies in a file.
_ROWS = 2**20
# Lock that is held while a tokenizer is called. A call sets the tokenizer's truncation,
# and fails if another thread is using the same tokenizer.
tokenizing = brief_lock()


class Tokens:
    """Token ids of documents, stored end to end.

    Parameters
    ----------
    ids : ndarray of shape (n_tokens,), uint16 or int32
    offsets : int64 ndarray of shape (n_docs + 1,)
        Document i has the tokens ``ids[offsets[i]:offsets[i + 1]]``.
    pad_id : int
        Token id of the padding.
    """

    def __init__(self, ids, offsets, pad_id):
        self.ids = ids
        self.offsets = offsets
        self.pad_id = pad_id

    def __len__(self):
        return len(self.offsets) - 1

    @property
    def on_disk(self):
        """Whether the tokens lie in a file, and not in memory."""
        return is_mapped(self.ids)

    @cached_property
    def lengths(self):
        """Number of tokens of each document: int ndarray of shape (n_docs,)."""
        if not self.on_disk:
            return np.diff(self.offsets)
        what = "The lengths of the documents"
        lengths = temporary_array(
            (len(self),), np.int32, what, "Free room on the disk."
        )
        for start in range(0, len(self), _ROWS):
            part = np.diff(self.offsets[start : start + _ROWS + 1])
            lengths[start : start + _ROWS] = part
        return np.asarray(lengths)

    def batch(self, rows):
        """Make the batch of some documents, padded to the longest of them.

        Parameters
        ----------
        rows : int ndarray of shape (n_rows,)

        Returns
        -------
        dict of tensors
            ``input_ids`` and ``attention_mask``, int64 of shape (n_rows, longest).
        """
        places, mask = padded_places(self.offsets, rows)
        ids = np.full(mask.shape, self.pad_id, np.int64)
        ids[mask] = self.ids[places]
        return {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        }


class ChosenTokens(Tokens):
    """Some documents of a larger table of tokens, which is not copied.

    Parameters
    ----------
    tokens : Tokens
        The whole table.
    rows : int64 ndarray of shape (n_docs,)
        Rows of the documents in it.
    """

    def __init__(self, tokens, rows):
        lengths = tokens.offsets[rows + 1] - tokens.offsets[rows]
        offsets = np.zeros(len(rows) + 1, np.int64)
        lengths.cumsum(out=offsets[1:])
        super().__init__(tokens.ids, offsets, tokens.pad_id)
        self._tokens, self._rows = tokens, rows

    def batch(self, rows):
        """Make the batch of some documents, as `Tokens` does."""
        return self._tokens.batch(self._rows[rows])


class Features:
    """Feature rows of documents.

    Parameters
    ----------
    X : csr_array or csr_matrix of shape (n_docs, n_features), float32
        Features of the documents. Values of repeated columns are summed.
    """

    def __init__(self, X):
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        self.X = X

    def __len__(self):
        return self.X.shape[0]

    @property
    def on_disk(self):
        """Whether the features lie in a file, and not in memory."""
        return is_mapped(self.X.data)

    @property
    def lengths(self):
        """Number of stored features of each document: ndarray of shape (n_docs,)."""
        return np.diff(self.X.indptr)

    def batch(self, rows):
        """Make the batch of some documents, padded to the most features of one of them.

        Parameters
        ----------
        rows : int ndarray of shape (n_rows,)

        Returns
        -------
        dict of tensors
            ``features``, int64 and padded with n_features, and ``weights``, float32
            and padded with 0, both of shape (n_rows, most features).
        """
        features, weights = padded_features(self.X, rows)
        return {"features": features, "weights": weights}


def padded_features(X, rows):
    """Return the stored columns and values of some rows as padded tensors.

    Parameters
    ----------
    X : csr_array or csr_matrix of shape (n_docs, n_features)
    rows : int ndarray of shape (n_rows,)

    Returns
    -------
    features : int64 tensor of shape (n_rows, most features)
        Columns, padded with n_features.
    weights : float32 tensor of the same shape
        Values, padded with 0.
    """
    places, mask = padded_places(X.indptr, rows)
    features = np.full(mask.shape, X.shape[1], np.int64)
    features[mask] = X.indices[places]
    weights = np.zeros(mask.shape, np.float32)
    weights[mask] = X.data[places]
    return torch.from_numpy(features), torch.from_numpy(weights)


def tokenize(texts, tokenizer, max_length, *, special=True):
    """Turn texts into token ids.

    A fast tokenizer uses all cores. Lone surrogates, which no tokenizer accepts, become
    question marks. Control characters are passed to the tokenizer.

    Parameters
    ----------
    texts : sequence of str
    tokenizer : PreTrainedTokenizerFast
    max_length : int
        Largest number of tokens per document, including special tokens. Longer texts
        are truncated.
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
    if max_length < n_special:  # the tokenizer would then not truncate at all
        raise ValueError(
            f"max_length={max_length} has no room for the {n_special} special tokens "
            f"that the tokenizer adds to each text. Use at least {n_special + 1}."
        )
    dtype = token_dtype(tokenizer)
    n_chars = max_length * _CHARS_PER_TOKEN + _MORE_CHARS
    from_end = getattr(tokenizer, "truncation_side", "right") == "left"
    # Only a prefix of a long text is tokenized, since only its first tokens are kept.
    if max(map(len, texts), default=0) > n_chars:
        with tokenizing:
            cuts = _can_cut(tokenizer, from_end)
        n_chars = n_chars if cuts else sys.maxsize
    parts, lengths = [], []
    read = partial(encode_texts, tokenizer, max_length, special)
    for rows in _tokenize_chunks(texts, read, n_chars, from_end):
        lengths.append(np.fromiter(map(len, rows), np.int64, len(rows)))
        parts.append(np.concatenate([np.asarray(row, dtype) for row in rows]))
    offsets = np.concatenate([[0], *lengths]).cumsum()
    return Tokens(np.concatenate(parts), offsets, padding_id(tokenizer))


def count_tokens(text, tokenizer):
    """Return the number of tokens of a text, without special tokens."""
    with tokenizing:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])


def token_dtype(tokenizer):
    """Return the type in which a tokenizer's ids are stored."""
    return np.uint16 if len(tokenizer) <= 2**16 else np.int32


def padding_id(tokenizer):
    """Return the id that pads a tokenizer's texts in a batch."""
    return 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def _tokenize_chunks(texts, read, n_chars, from_end):
    """Yield the token ids of texts, in lists of one chunk of texts each.

    Texts are cut to `n_chars` characters. The number is doubled for a text as long as
    further characters could change the tokens that are kept.
    """
    for chunk in _split_chunks(texts, n_chars):
        pieces = [text[-n_chars:] if from_end else text[:n_chars] for text in chunk]
        pieces = [piece.encode("utf-8", "replace").decode() for piece in pieces]
        cut = [i for i, text in enumerate(chunk) if len(text) > n_chars]
        with tokenizing:
            rows, encodings = read(pieces, bool(cut))
        unsettled = [
            i for i in cut if not _is_settled(encodings[i], pieces[i], from_end)
        ]
        if unsettled:
            longer = _tokenize_chunks(
                [chunk[i] for i in unsettled], read, 2 * n_chars, from_end
            )
            for i, row in zip(unsettled, chain.from_iterable(longer), strict=True):
                rows[i] = row
        yield rows


def _split_chunks(texts, n_chars):
    """Yield chunks of texts, each of at most _CHUNK characters or of one text."""
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
    """Return whether the tokens of a text depend only on characters near to them.

    If so, a long text may be cut. Most tokenizers first split a text into words, by
    rules that look at most one character ahead. Tokenizers that have no words, or rules
    that may look farther, need the whole text.
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
    except Exception:  # the rules of parts written in Python are unknown
        return False
    if from_end and any(kind in rules for kind in _COUNTED_FROM_START):
        return False
    patterns = re.findall(r'"Regex":"((?:[^"\\]|\\.)*)"', rules)
    patterns = [json.loads(f'"{pattern}"') for pattern in patterns]
    return not any(map(_looks_far, patterns))


def _looks_far(pattern):
    """Return whether a regular expression may look at characters far away."""
    # A lookahead for white space looks at one character only.
    pattern = pattern.replace(r"(?!\S)", "").replace("\\\\", "")
    # A character class matches one character.
    pattern = re.sub(r"\[(?:[^]\\]|\\.)*\]", "", pattern)
    return re.search(r"\(\?(?:<?[=!]|>)|(?<!\\)[.$]|\\[ZzGKk1-9]", pattern) is not None


def _is_settled(encoding, piece, from_end):
    """Return whether the tokens that are kept of a piece are those of the whole text.

    They are if the last one belongs to a word that is far enough from the cut: another
    word must follow it, which starts at least _MARGIN characters before the cut. If the
    end of a text is kept, the same holds for the first token and the words before it.
    """
    tokens = [
        (word, *offsets)
        for part in (encoding, *encoding.overflowing)
        for word, offsets in zip(part.word_ids, part.offsets, strict=True)
        if word is not None
    ]
    kept = [word for word in encoding.word_ids if word is not None]
    if not kept:  # only special tokens have room, or the piece has no tokens
        return len(tokens) > 0
    margin = _find_margin(piece, from_end)
    if from_end:
        return max((t[2] for t in tokens if t[0] < kept[0]), default=-1) >= margin
    starts = (start for word, start, _ in tokens if word > kept[-1])
    return min(starts, default=len(piece)) <= margin


def _find_margin(piece, from_end):
    """Return the place in a piece that is _MARGIN characters away from the cut.

    Combining marks are not counted, since normalization sorts any number of them as a
    whole. If the end of a text is kept, the place is after white space, because some
    tokenizers group the digits of a number from its start.
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
    """Return random batches of documents of similar length.

    Parameters
    ----------
    rows : int ndarray of shape (n_rows,)
        Rows of the documents.
    lengths : ndarray of shape (n_docs,)
        Length of every document.
    batch_size : int
    rng : numpy Generator

    Returns
    -------
    list of int ndarrays
        Batches that hold each of `rows` once. One batch may be smaller than
        `batch_size`.
    """
    rows = _shuffle(rows, rng)
    pool = batch_size * _BUCKET
    batches = []
    for start in range(0, len(rows), pool):
        part = rows[start : start + pool]
        part[:] = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _shuffle(rows, rng):
    """Return rows in random order, in a temporary file if they are many."""
    if len(rows) <= _ROWS:
        return rng.permutation(rows)
    what = "The row numbers of the documents"
    order = temporary_array(rows.shape, rows.dtype, what, "Free room on the disk.")
    order = np.asarray(order)
    order[:] = rows
    rng.shuffle(order)  # as rng.permutation does with a copy
    return order


def sorted_batches(rows, lengths, batch_size):
    """Return batches of documents, from the longest to the shortest.

    The first batch needs the most memory, so that a prediction without enough memory
    fails at once.
    """
    rows = rows[np.argsort(-lengths[rows], kind="stable")]
    return [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]


def padded_columns(Y, rows):
    """Return the stored columns of some rows of a label matrix as a padded tensor.

    Parameters
    ----------
    Y : csr_array or csr_matrix of shape (n_docs, n_labels)
    rows : int ndarray of shape (n_rows,)

    Returns
    -------
    int64 tensor of shape (n_rows, n_positives)
        Columns, padded with n_labels. n_positives is the largest number of entries of
        a row, and at least 1.
    """
    ids = pad_values(Y.indices, Y.indptr, rows, Y.shape[1], np.int64)
    return torch.from_numpy(ids)


def pad_values(values, offsets, rows, padding, dtype=None):
    """Return the values of ragged rows as a padded array.

    Parameters
    ----------
    values : ndarray of shape (n_values, ...)
        Values of all rows, end to end.
    offsets : int ndarray of shape (n_all_rows + 1,)
        Row i has the values ``values[offsets[i]:offsets[i + 1]]``.
    rows : int ndarray of shape (n_rows,)
    padding : number
    dtype : dtype or None, default=None
        Type of the result. None is that of the values.

    Returns
    -------
    ndarray of shape (n_rows, longest, ...)
    """
    places, mask = padded_places(offsets, rows)
    shape = mask.shape + values.shape[1:]
    out = np.full(shape, padding, dtype or values.dtype)
    out[mask] = values[places]
    return out


def padded_places(offsets, rows):
    """Return the places of the values of ragged rows, and their mask when padded.

    Parameters
    ----------
    offsets : int ndarray of shape (n_all_rows + 1,)
    rows : int ndarray of shape (n_rows,)

    Returns
    -------
    places : int64 ndarray of shape (n_values,)
        Places of the values of these rows, row after row.
    mask : bool ndarray of shape (n_rows, longest)
        Where the values stand in the padded array, which has at least one column.
    """
    starts = offsets[rows].astype(np.int64, copy=False)
    lengths = offsets[rows + 1] - starts
    columns = np.arange(max(np.maximum.reduce(lengths, initial=0), 1))
    mask = columns < lengths[:, None]
    return (starts[:, None] + columns)[mask], mask
