"""Sequences of label names, which GUDN's encoder reads in training."""

import numpy as np
import torch

from .examples import Examples
from .text import Features, Tokens, tokenizing

# Number of documents whose sequences are made at once before they are read.
_CHUNK = 10_000


class NamedExamples(Examples):
    """Examples whose batches hold the names of the documents' labels (Sec. 3.5).

    The names of a document's labels are concatenated to a sequence. With label
    reinforcement, they are repeated until the sequence is full.

    Parameters
    ----------
    docs, Y, rows
        As in `Examples`.
    names : Tokens
        Names of the labels, without special tokens.
    length : int
        Largest number of tokens of a sequence, including special tokens.
    special : (list of int, list of int)
        Special tokens before and after a sequence.
    reinforcement : {"shuffle", "repeat"} or None
        "shuffle" repeats the names in a new order each time, and "repeat" in the order
        of the labels. None uses every name once.
    rng : numpy Generator
        Generator that shuffles the names.
    words : csr matrix of shape (n_labels, n_words) or None, default=None
        TF-IDF of the words of each label's name, for a bag of words beside the encoder.

    Attributes
    ----------
    kept : Documents or None
        What an encoder has made of the sequences, if they have been read once.
    """

    kept = None

    def __init__(
        self,
        docs,
        Y,
        rows,
        names,
        *,
        length,
        special,
        reinforcement,
        rng,
        words=None,
    ):
        super().__init__(docs, Y, rows)
        self.names = names
        self.length = length
        self.special = special
        self.reinforcement = reinforcement
        self.rng = rng
        self.words = words

    def batch(self, rows):
        """Make the batch of some documents.

        The targets also hold ``named``, the rows in this batch of the documents that
        have a label with a name, and ``names``, their sequences in the form of a batch
        of `Tokens`, with the words of these names as those of `Features` if there are
        words. Both are missing if no document has such a label.
        """
        inputs, targets = super().batch(rows)
        if self.kept is None:
            named, sequences = self._make_sequences(rows)
            places = np.arange(len(named))
        else:
            places, sequences = self._places[rows], self.kept
            named = np.flatnonzero(places >= 0)
            places = places[named]
        if len(named):
            targets["named"] = torch.from_numpy(named)
            targets["names"] = sequences.batch(places)
            if self.words is not None:
                targets["names"] |= self._count_words(rows[named])
        return inputs, targets

    def _count_words(self, rows):
        """Make a batch of `Features` of the words of all names of each document.

        They are the sums of the names' TF-IDF rows, of length 1 as those of texts.
        """
        sums = (self.Y[rows] @ self.words).tocsr()
        docs = np.repeat(np.arange(len(rows)), np.diff(sums.indptr))
        sizes = np.sqrt(np.bincount(docs, weights=np.square(sums.data)))
        sums.data = (sums.data / sizes[docs]).astype(np.float32)
        return Features(sums).batch(np.arange(len(rows)))

    @property
    def longest(self):
        """Number of tokens of the longest sequence, including special tokens."""
        if self.reinforcement is not None:
            return self.length
        docs = np.repeat(np.arange(self.Y.shape[0]), np.diff(self.Y.indptr))
        totals = np.bincount(docs, weights=self.names.lengths[self.Y.indices])
        n_special = sum(map(len, self.special))
        return min(self.length, int(totals.max(initial=0)) + n_special)

    @property
    def skips_weights(self):
        """Whether there are documents none of whose labels has a name."""
        named = (self.Y @ (self.names.lengths > 0))[self.rows]
        return not named.all()

    def read_once(self, read):
        """Make one sequence for each document, and keep what an encoder makes of it.

        With "shuffle", the order of a document's names is then drawn once.

        Parameters
        ----------
        read : callable
            Function of the sequences, `Tokens`, that returns `Documents` (see
            `skxmc.nn.reading.read_once`).
        """
        self._places = np.full(self.Y.shape[0], -1)
        ids, lengths, n_made = [], [], 0
        for start in range(0, len(self.rows), _CHUNK):
            rows = self.rows[start : start + _CHUNK]
            named, sequences = self._make_sequences(rows)
            self._places[rows[named]] = n_made + np.arange(len(named))
            n_made += len(named)
            ids.append(sequences.ids)
            lengths.append(sequences.lengths)
        if n_made:
            offsets = np.concatenate([[0], *lengths]).cumsum()
            self.kept = read(Tokens(np.concatenate(ids), offsets, self.names.pad_id))

    def reseed(self, number):
        """Seed the generator that shuffles the names."""
        self.rng = np.random.default_rng(number)

    def state_dict(self):
        """Return the state of the generator that shuffles the names."""
        return self.rng.bit_generator.state

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
        self.rng.bit_generator.state = state

    def _make_sequences(self, rows):
        """Make the sequences of names of some documents.

        Returns
        -------
        named : int ndarray
            Places in `rows` of the documents that have a label with a name.
        sequences : Tokens
            Their sequences.
        """
        part = self.Y[rows]
        # Parallel arrays with an entry for each name in a sequence: its document, its
        # label, and its first place and its length in tokens.
        docs = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        lengths = self.names.lengths[part.indices]
        named, docs = np.unique(docs[lengths > 0], return_inverse=True)
        labels = part.indices[lengths > 0]
        before, after = self.special
        room = self.length - len(before) - len(after)
        docs, labels = self._repeat_names(docs, labels, room)
        starts, lengths = _starts_in_rows(docs, self.names.lengths[labels])
        lengths = np.minimum(lengths, room - starts)  # the last name may be cut
        docs, labels, starts, lengths = (
            values[lengths > 0] for values in (docs, labels, starts, lengths)
        )
        ends = np.zeros(len(named), np.int64)
        np.maximum.at(ends, docs, starts + lengths)

        offsets = np.append(0, ends + len(before) + len(after)).cumsum()

        # From here on, there is an entry for each token: its place within its name,
        # where its id is stored, and its column in its sequence.
        steps = np.arange(lengths.sum()) - np.repeat(
            lengths.cumsum() - lengths, lengths
        )
        source = np.repeat(self.names.offsets[labels], lengths) + steps
        columns = np.repeat(starts, lengths) + steps + len(before)
        ids = np.empty(offsets[-1], self.names.ids.dtype)
        ids[offsets[np.repeat(docs, lengths)] + columns] = self.names.ids[source]
        ids[offsets[:-1, None] + np.arange(len(before))] = before
        ids[offsets[1:, None] - len(after) + np.arange(len(after))] = after
        return named, Tokens(ids, offsets, self.names.pad_id)

    def _repeat_names(self, docs, labels, room):
        """Repeat and order the labels of each document as in its sequence.

        Parameters
        ----------
        docs, labels : int ndarrays of shape (n,)
            Pairs of a document and one of its labels, sorted by document.
        room : int
            Number of tokens to fill.

        Returns
        -------
        docs, labels : int ndarrays of the same length
        """
        if self.reinforcement is None:
            return docs, labels
        totals = np.bincount(docs, weights=self.names.lengths[labels])
        n_copies = np.ceil(room / totals).astype(np.int64)[docs]
        pairs = np.repeat(np.arange(len(docs)), n_copies)
        copies, _ = _starts_in_rows(pairs, np.ones(1, int))  # 0, 1, ... of each pair
        keys = self.rng.random(len(pairs))
        if self.reinforcement == "repeat":
            keys = pairs
        # By document, then by copy: each label comes once before any comes again.
        order = np.lexsort((keys, copies, docs[pairs]))
        return docs[pairs][order], labels[pairs][order]


def _starts_in_rows(rows, lengths):
    """Return where values start that are concatenated in each row, and their lengths.

    Parameters
    ----------
    rows : int ndarray of shape (n,)
        Row of each value, sorted.
    lengths : int ndarray of shape (n,) or (1,)
        Length of each value.
    """
    lengths = np.broadcast_to(lengths, rows.shape)
    starts = lengths.cumsum() - lengths
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    return starts - np.repeat(starts[first], np.diff(first, append=len(rows))), lengths


def special_tokens(tokenizer, prompt=""):
    """Return the special tokens that a tokenizer adds before and after a text.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerFast
    prompt : str, default=""
        Text whose tokens follow the special tokens before a text.

    Returns
    -------
    before, after : lists of int
    """
    with tokenizing:
        whole = tokenizer(" a")["input_ids"]
        bare = tokenizer(" a", add_special_tokens=False)["input_ids"]
        more = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    n = len(bare)
    start = next(i for i in range(len(whole)) if whole[i : i + n] == bare)
    return whole[:start] + more, whole[start + n :]
