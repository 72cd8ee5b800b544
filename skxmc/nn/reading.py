"""Reading once: what an encoder's untrained part computes for documents is kept."""

import numpy as np
import torch

from .devices import has_free_memory, to_device
from .encoder_files import cls_is_last
from .encoders import TransformerEncoder
from .group import all_or_none, current_group
from .maps import temporary_array
from .prediction import encode, map_batches
from .text import Tokens, count_tokens, pad_values, padded_places, tokenize

# Largest size in bytes of kept states in memory. Larger ones lie in a temporary file,
# and so do those that the free memory has no room for.
_IN_MEMORY = 4 << 30
# Number of documents whose states processes exchange at once.
_DOCS_AT_ONCE = 1024
# Number of tokens of a word or n-gram that is read alone.
_WORD_LENGTH = 32


class Documents:
    """Documents as an encoder takes them: texts, features, or what is kept of either.

    Parameters
    ----------
    *parts : Tokens or Features
        The same documents in each of these forms, the most costly one first.
    vectors : float16 tensor of shape (n_docs, hidden_size) or None, default=None
        Vectors of the documents by an encoder, scaled to length 1. Batches hold them,
        and the encoder computes nothing, unless there are states.
    states : float16 ndarray of shape (n_tokens, state_size) or None, default=None
        States of the tokens, end to end, from which the encoder goes on. The first part
        must then be `Tokens`.

    Attributes
    ----------
    label_docs : Documents or None
        The texts of all labels, if these have been read by an encoder that is not
        trained. They need not be read again.
    """

    label_docs = None

    def __init__(self, *parts, vectors=None, states=None):
        self.parts = parts
        self.vectors = vectors
        self.states = states

    def __len__(self):
        return len(self.vectors) if self.vectors is not None else len(self.parts[0])

    @property
    def on_disk(self):
        """Whether the documents lie in files, and not in memory."""
        return any(part.on_disk for part in self.parts)

    @property
    def lengths(self):
        """Number of tokens or features of each document: ndarray of shape (n_docs,)."""
        if not self.parts:
            return np.zeros(len(self), np.int64)
        return self.parts[0].lengths

    def batch(self, rows):
        """Make the batch of some documents.

        Parameters
        ----------
        rows : int ndarray of shape (n_rows,)

        Returns
        -------
        dict of tensors
            What the batches of the parts hold. ``states``, float16 of shape (n_rows,
            longest, state_size) and padded with 0, is added if states are kept, and
            ``vectors``, float16 of shape (n_rows, hidden_size), if vectors alone are.
        """
        batch = {}
        for part in self.parts:
            batch |= part.batch(rows)
        if self.states is not None:
            states = pad_values(self.states, self.parts[0].offsets, rows, 0)
            batch["states"] = torch.from_numpy(states)
        elif self.vectors is not None:
            batch["vectors"] = self.vectors[torch.from_numpy(rows)]
        return batch


def keep_vectors(docs, vectors):
    """Return documents with what an untrained encoder has made of them.

    Parameters
    ----------
    docs : Tokens, Features or Documents
    vectors : tensor of shape (n_docs, hidden_size)
        What the encoder returns for them.

    Returns
    -------
    Documents
        They hold the vectors instead of the tokens.
    """
    parts = docs.parts if isinstance(docs, Documents) else (docs,)
    parts = [part for part in parts if not isinstance(part, Tokens)]
    return Documents(*parts, vectors=vectors.half())


class _NumberedDocuments:
    """Documents whose batches also hold their rows."""

    def __init__(self, docs):
        self.docs = docs
        self.lengths = docs.lengths

    def batch(self, rows):
        return self.docs.batch(rows) | {"rows": torch.from_numpy(rows)}


def read_once(encoder, docs, others=(), **options):
    """Compute and keep what the untrained part of an encoder makes of documents.

    Parameters
    ----------
    encoder : TransformerEncoder or WordReader
        Encoder on the device, not all of whose layers are trained.
    docs : Tokens or Features
        Documents as the encoder takes them.
    others : tuple of Features, default=()
        Other forms of the same documents that batches must hold.
    **options
        The arguments batch_size, device, precision and verbose of
        `skxmc.nn.prediction.map_batches`.

    Returns
    -------
    Documents
        They hold the vectors, and the states of the highest untrained layer if
        training goes on from these.

    Raises
    ------
    OSError
        If the states fit neither in memory nor on the disk.
    ValueError
        If the encoder does not compute the same from its kept states.
    """
    numbered, states = _NumberedDocuments(docs), None
    on_disk = docs.on_disk or any(other.on_disk for other in others)
    if getattr(encoder, "keeps_states", False):
        check_kept_states(encoder, docs, options["device"])
        shape = int(docs.offsets[-1]), encoder.state_size
        with all_or_none():  # the disk may be full
            states = _make_table(shape, on_disk=on_disk)

    def read(inputs):
        rows = inputs.pop("rows").numpy(force=True)
        if states is None:
            return (encoder(inputs)[1].half(),)
        vectors, lowest = encoder.read(inputs)
        places, mask = padded_places(docs.offsets, rows)
        real = torch.from_numpy(mask).to(lowest.device)
        # The largest float16 stands in for larger states, which are rare outliers.
        largest = torch.finfo(torch.float16).max
        kept = lowest[:, : mask.shape[1]][real].clamp(-largest, largest)
        states[places] = kept.half().numpy(force=True)
        return (vectors.half(),)

    (vectors,) = map_batches(
        encoder,
        read,
        numbered,
        np.arange(len(docs)),
        title="reading",
        on_disk=on_disk,
        **options,
    )
    if states is None:
        return Documents(*others, vectors=vectors)
    _gather_states(states, docs.offsets)
    return Documents(docs, *others, vectors=vectors, states=states)


def _gather_states(states, offsets):
    """Write the states that other processes have computed, in place.

    Parameters
    ----------
    states : float16 ndarray of shape (n_tokens, state_size)
        With the states of the documents that `map_batches` has given this process.
    offsets : int ndarray of shape (n_docs + 1,)
        Document i has the states ``states[offsets[i]:offsets[i + 1]]``.
    """
    group, n_docs = current_group(), len(offsets) - 1
    if group is None:
        return
    for first in range(0, n_docs, group.size * _DOCS_AT_ONCE):
        last = min(first + group.size * _DOCS_AT_ONCE, n_docs)
        for rank in range(group.size):
            rows = np.arange(first + rank, last, group.size)
            places, _ = padded_places(offsets, rows)
            part = group.take_from(rank, torch.from_numpy(states[places]))
            if rank != group.rank:
                states[places] = part.numpy()


def read_words(
    model, tokenizer, words, *, pooling="mean", dense=(), prompt="", **options
):
    """Let a transformer read each word alone.

    Parameters
    ----------
    model : PreTrainedModel
    tokenizer : PreTrainedTokenizerFast
    words : sequence of str
        Words or n-grams of words.
    pooling, dense
        As in `skxmc.nn.encoders.TransformerEncoder`.
    prompt : str, default=""
        Text that is put before each word.
    **options
        The arguments batch_size, device, precision and verbose of
        `skxmc.nn.prediction.encode`.

    Returns
    -------
    float32 tensor of shape (n_words, hidden_size)
        Means of the last layer's states over the tokens, or what `pooling` says, scaled
        to length 1.
    """
    device = options["device"]
    kind = dict(n_trained=0, pooling=pooling, dense=dense)
    kind["cls_last"] = cls_is_last(tokenizer)
    encoder = TransformerEncoder(model, n_layers=1, **kind).to(device)
    length = _WORD_LENGTH + count_tokens(prompt, tokenizer)
    check_padding(encoder, tokenizer, length, device)
    tokens = tokenize([prompt + word for word in words], tokenizer, length)
    return encode(encoder, tokens, **options)


@torch.no_grad()
def check_padding(encoder, tokenizer, max_length, device):
    """Refuse an encoder whose vector of a text depends on the texts beside it.

    Texts of a batch are padded to the same length. Some models mix the padding into the
    states of the tokens, so this is tried on two texts.

    Parameters
    ----------
    encoder : TransformerEncoder
    tokenizer : PreTrainedTokenizerFast
    max_length : int
    device : str

    Raises
    ------
    ValueError
        If the vector of a text is another one beside a longer text.
    """
    tokens = tokenize(["a", "a b c d e f g " * 4], tokenizer, max_length)
    was_training = encoder.training
    encoder.eval()
    try:
        alone, beside = (
            encoder(to_device(tokens.batch(np.arange(n)), device))[1][0] for n in (1, 2)
        )
        same = torch.allclose(alone, beside, rtol=1e-3, atol=1e-4)
        reason = "its vector of a text is another one beside a longer text"
    except (RuntimeError, TypeError, IndexError) as error:
        same, reason = False, str(error).strip().partition("\n")[0]
    finally:
        encoder.train(was_training)
    if not same:
        raise ValueError(
            f"{type(encoder.model).__name__} cannot read texts of different lengths "
            f"together ({reason}). Choose another encoder."
        )


@torch.no_grad()
def check_kept_states(encoder, docs, device):
    """Refuse an encoder that computes something else from its kept states.

    Models differ in what they pass from layer to layer, so this is tried on a few
    documents.

    Parameters
    ----------
    encoder : TransformerEncoder
    docs : Tokens
    device : str

    Raises
    ------
    ValueError
        If the vectors from kept states are not those of the whole encoder.
    """
    rows = np.unique(np.linspace(0, len(docs) - 1, 4).astype(np.int64))
    batch = to_device(docs.batch(rows), device)
    was_training = encoder.training
    encoder.eval()
    try:
        expected = encoder(batch)
        _, states = encoder.read(batch)
        # Some models pad a batch within, beyond what is kept.
        states = states[:, : batch["attention_mask"].shape[1]]
        found = encoder(batch | {"states": states})
        same = all(
            torch.allclose(one, other, rtol=1e-3, atol=1e-4)
            for one, other in zip(expected, found, strict=True)
        )
    except (RuntimeError, TypeError, IndexError, ValueError, AssertionError):
        # The model passes other things on.
        same = False
    finally:
        encoder.train(was_training)
    if not same:
        raise ValueError(
            f"{type(encoder.model).__name__} does not pass plain states from layer to "
            "layer, so that its top layers cannot be trained alone: use "
            'trained_layers="all" or 0.'
        )


def _make_table(shape, *, on_disk):
    """Make a float16 array, in a temporary file if it is large or memory is short.

    Raises
    ------
    OSError
        If the disk has no room for it.
    """
    size = 2 * int(np.prod(shape))
    if not on_disk and size <= _IN_MEMORY and has_free_memory(size):
        return np.empty(shape, np.float16)
    return temporary_array(
        shape,
        np.float16,
        "The states of the documents",
        "Set trained_layers=0, which keeps one vector a document, or "
        '"all", which keeps nothing; or lower max_length.',
    )
