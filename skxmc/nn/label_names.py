"""Sequences of label names that GUDN reads in training."""

import numpy as np
import torch

from .text import Tokens, tokenizing


class LabelNames:
    """Sequences of the label names of documents: label reinforcement (Sec. 3.5).

    Parameters
    ----------
    names : Tokens
        Names of the labels, without special tokens.
    Y : csr matrix of shape (n_docs, n_labels)
        Only these documents have sequences, those of their labels.
    length : int
        Tokens of a sequence, special tokens included.
    special : (list of int, list of int)
        Special tokens before and after.
    reinforcement : {"shuffle", "repeat"} or None
        Repeat the names to that length, in a new order each time, or the same. None:
        every name once, in the order of the labels.
    rng : numpy Generator
    """

    def __init__(self, names, Y, *, length, special, reinforcement, rng):
        self.names, self.Y = names, Y
        self.length = length
        self.special = special
        self.reinforcement = reinforcement
        self.rng = rng

    def batch(self, rows):
        """Sequences for documents `rows`.

        Returns a dict of ``named``, places of the documents that have named labels,
        and ``names``, their sequences as `Tokens` makes batches; empty without any.
        """
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


class NamedTokens(Tokens):
    """Tokens whose batches carry the label names of their documents, in training.

    Attributes
    ----------
    names : LabelNames or None
    """

    names = None

    def batch(self, rows):
        """Token ids of documents, and the sequences of their label names."""
        batch = super().batch(rows)
        return batch if self.names is None else batch | self.names.batch(rows)

    def state(self):
        """What orders the names, to go on from."""
        return None if self.names is None else self.names.rng.bit_generator.state

    def restore(self, state):
        """Go on from a state."""
        self.names.rng.bit_generator.state = state


def special_tokens(tokenizer):
    """Special tokens that a tokenizer puts before and after a text."""
    with tokenizing:
        whole = tokenizer(" a")["input_ids"]
        bare = tokenizer(" a", add_special_tokens=False)["input_ids"]
    n = len(bare)
    start = next(i for i in range(len(whole)) if whole[i : i + n] == bare)
    return whole[:start], whole[start + n :]
