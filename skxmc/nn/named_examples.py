"""Sequences of label names, which GUDN's encoder reads in training."""

import numpy as np
import torch

from .examples import Examples
from .text import tokenizing


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
    """

    def __init__(self, docs, Y, rows, names, *, length, special, reinforcement, rng):
        super().__init__(docs, Y, rows)
        self.names = names
        self.length = length
        self.special = special
        self.reinforcement = reinforcement
        self.rng = rng

    def batch(self, rows):
        """Make the batch of some documents.

        The targets also hold ``named``, the rows in this batch of the documents that
        have a label with a name, and ``names``, their sequences in the form of a batch
        of `Tokens`. Both are missing if no document has such a label.
        """
        inputs, targets = super().batch(rows)
        return inputs, targets | self._make_sequences(rows)

    def state_dict(self):
        """Return the state of the generator that shuffles the names."""
        return self.rng.bit_generator.state

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
        self.rng.bit_generator.state = state

    def _make_sequences(self, rows):
        part = self.Y[rows]
        # Parallel arrays with an entry for each name in a sequence: its document, its
        # label, and its first place and its length in tokens.
        docs = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        lengths = self.names.lengths[part.indices]
        named, docs = np.unique(docs[lengths > 0], return_inverse=True)
        if not len(named):
            return {}
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

        # From here on, there is an entry for each token: its place within its name,
        # where its id is stored, and its column in the batch.
        steps = np.arange(lengths.sum()) - np.repeat(
            lengths.cumsum() - lengths, lengths
        )
        source = np.repeat(self.names.offsets[labels], lengths) + steps
        columns = np.repeat(starts, lengths) + steps + len(before)
        ids = np.full(
            (len(named), ends.max() + self.length - room), self.names.pad_id, np.int64
        )
        ids[np.repeat(docs, lengths), columns] = self.names.ids[source]
        ids[:, : len(before)] = before
        last = ends[:, None] + len(before) + np.arange(len(after))
        ids[np.arange(len(named))[:, None], last] = after
        mask = np.arange(ids.shape[1]) < (ends + len(before) + len(after))[:, None]
        return {
            "named": torch.from_numpy(named),
            "names": {
                "input_ids": torch.from_numpy(ids),
                "attention_mask": torch.from_numpy(mask.astype(np.int64)),
            },
        }

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


def special_tokens(tokenizer):
    """Return the special tokens that a tokenizer adds before and after a text.

    Returns
    -------
    before, after : lists of int
    """
    with tokenizing:
        whole = tokenizer(" a")["input_ids"]
        bare = tokenizer(" a", add_special_tokens=False)["input_ids"]
    n = len(bare)
    start = next(i for i in range(len(whole)) if whole[i : i + n] == bare)
    return whole[:start], whole[start + n :]
