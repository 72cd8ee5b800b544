"""Sequences of label names that GUDN reads in training."""

import numpy as np
import torch

from .examples import Examples
from .text import tokenizing


class NamedExamples(Examples):
    """Examples whose batches hold the names of the labels (Sec. 3.5).

    The names of a document's labels stand one behind the other in a sequence, as often
    as they find room: label reinforcement.

    Parameters
    ----------
    docs, Y, rows
        As in `Examples`.
    names : Tokens
        Names of the labels, without special tokens.
    length : int
        Tokens of a sequence, special tokens included.
    special : (list of int, list of int)
        Special tokens before and after.
    reinforcement : {"shuffle", "repeat"} or None
        "shuffle" repeats the names up to that length, in a new order each time;
        "repeat" repeats them in the same order. None: every name once, in the order of
        the labels.
    rng : numpy Generator
        Draws the orders.
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

        The targets also hold ``named``, the places of the documents that have named
        labels, and ``names``, a sequence for each of them as `Tokens` makes batches.
        Where no document has a named label, both are missing.
        """
        inputs, targets = super().batch(rows)
        return inputs, targets | self._name_sequences(rows)

    def state_dict(self):
        """State of the generator that orders the names."""
        return self.rng.bit_generator.state

    def load_state_dict(self, state):
        """Go on from a state."""
        self.rng.bit_generator.state = state

    def _name_sequences(self, rows):
        part = self.Y[rows]
        docs = np.repeat(np.arange(len(rows)), np.diff(part.indptr))
        lengths = self.names.lengths[part.indices]
        named, docs = np.unique(docs[lengths > 0], return_inverse=True)
        if not len(named):
            return {}
        labels = part.indices[lengths > 0]
        before, after = self.special
        room = self.length - len(before) - len(after)
        docs, labels = self._in_order(docs, labels, room)
        starts, lengths = _in_rows(docs, self.names.lengths[labels])
        lengths = np.minimum(lengths, room - starts)
        docs, labels, starts, lengths = (
            values[lengths > 0] for values in (docs, labels, starts, lengths)
        )
        ends = np.zeros(len(named), np.int64)
        np.maximum.at(ends, docs, starts + lengths)

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

    def _in_order(self, docs, labels, room):
        """Labels of each document, as often and in the order that they are read."""
        if self.reinforcement is None:
            return docs, labels
        totals = np.bincount(docs, weights=self.names.lengths[labels])
        copies = np.ceil(room / totals).astype(np.int64)[docs]
        copy, _ = _in_rows(np.repeat(np.arange(len(docs)), copies), np.ones(1, int))
        entry = np.repeat(np.arange(len(docs)), copies)
        within = self.rng.random(len(entry))
        if self.reinforcement == "repeat":
            within = entry
        order = np.lexsort((within, copy, docs[entry]))
        return docs[entry][order], labels[entry][order]


def _in_rows(rows, lengths):
    """Where values that stand one behind the other in rows start, and their lengths."""
    lengths = np.broadcast_to(lengths, rows.shape)
    starts = lengths.cumsum() - lengths
    first = np.flatnonzero(np.diff(rows, prepend=-1))
    return starts - np.repeat(starts[first], np.diff(first, append=len(rows))), lengths


def special_tokens(tokenizer):
    """Special tokens that a tokenizer puts before and after a text."""
    with tokenizing:
        whole = tokenizer(" a")["input_ids"]
        bare = tokenizer(" a", add_special_tokens=False)["input_ids"]
    n = len(bare)
    start = next(i for i in range(len(whole)) if whole[i : i + n] == bare)
    return whole[:start], whole[start + n :]
