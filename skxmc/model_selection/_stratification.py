"""Distributing the documents of every label over the parts of a split."""

import numpy as np
import scipy.sparse as sp

# How often two parts exchange documents, times the number of parts.
_EXCHANGES = 30
# How often documents are moved to save labels, before parts get back their sizes, and
# how often the two alternate: each may undo some of what the other did.
_MOVES, _TURNS = 50, 5


def order_by_rarest_label(Y, order):
    """Sort documents by the rarest label of each.

    Documents with the same rarest label stay in the given order. Documents without
    labels come last.
    """
    n_docs, n_labels = Y.shape
    counts = np.bincount(Y.indices, minlength=n_labels)
    places = np.empty(n_labels, np.int64)
    places[np.argsort(counts, kind="stable")] = np.arange(n_labels)
    rarest = np.full(n_docs, n_labels)
    np.minimum.at(rarest, _row_of_entries(Y), places[Y.indices])
    return order[np.argsort(rarest[order], kind="stable")]


def spread_evenly(n_docs, n_chosen, rng):
    """Choose `n_chosen` of `n_docs` places at equal distances; return a mask."""
    offset = rng.integers(n_docs)
    return np.diff((np.arange(n_docs + 1) * n_chosen + offset) // n_docs) > 0


def distribute_labels(Y, parts, tested, rng):
    """Exchange documents between parts until labels are distributed evenly.

    Labels with two or more documents must not have all of them in one tested part, or
    the others would be trained without the label. Where a document is moved to prevent
    that, others are moved so that parts keep their sizes.

    Parameters
    ----------
    Y : csr array of shape (n_docs, n_labels)
        Labels, 0 or 1.
    parts : int ndarray of shape (n_docs,)
        Part of each document. It is changed in place; parts keep their sizes.
    tested : bool ndarray of shape (n_parts,)
        Which parts are tested on. Others are for training only, and may have all
        documents of a label.
    rng : numpy Generator
    """
    sizes = np.bincount(parts, minlength=len(tested))
    _exchange_documents(Y, parts, sizes, rng)
    for _ in range(_TURNS):
        for _ in range(_MOVES):
            if not _move_to_save_labels(Y, parts, tested, rng):
                break
        for _ in range(len(tested)):
            _move_to_restore_sizes(Y, parts, tested, sizes, rng)
        same_sizes = (np.bincount(parts, minlength=len(tested)) == sizes).all()
        counts = _count_labels(Y, parts, len(tested))
        if same_sizes and not _find_lost_labels(counts, tested).any():
            return
    # Sizes come before labels: here a document may move whatever label it takes along.
    for _ in range(len(tested)):
        _move_to_restore_sizes(Y, parts, np.zeros_like(tested), sizes, rng)


def _row_of_entries(Y):
    """Return the row of each stored entry."""
    return np.repeat(np.arange(Y.shape[0]), np.diff(Y.indptr))


def _count_labels(Y, parts, n_parts):
    """Count the documents of each label in each part: shape (n_labels, n_parts)."""
    pairs = Y.indices.astype(np.int64) * n_parts + parts[_row_of_entries(Y)]
    counts = np.bincount(pairs, minlength=Y.shape[1] * n_parts)
    return counts.reshape(Y.shape[1], n_parts)


def _find_lost_labels(counts, tested):
    """Mask the labels whose documents, two or more, are all in one tested part."""
    totals = counts.sum(axis=1)
    return ((counts == totals[:, None]) & tested).any(axis=1) & (totals >= 2)


def _exchange_documents(Y, parts, sizes, rng):
    """Exchange documents between two parts while labels get closer to their shares.

    A label's share e of a part is its number of documents times the part's share of
    all documents. If the part has n of them, exchanges lower the sum over labels and
    parts of (n - e)^2 / e.
    """
    n_parts = len(sizes)
    several = np.bincount(Y.indices, minlength=Y.shape[1]) >= 2
    Y = sp.csr_array(Y, dtype=np.float64)[:, several]
    counts = _count_labels(Y, parts, n_parts)
    inverse_share = 1 / (counts.sum(axis=1)[:, None] * (sizes / sizes.sum()))
    # How many documents each pair of parts exchanges at once: a tenth at first, and
    # half as many after each attempt that did not help.
    first, second = np.triu_indices(n_parts, 1)
    n_moved = np.minimum(sizes[first], sizes[second]) // 10 + 1
    for _ in range(_EXCHANGES * n_parts):
        open_pairs = np.flatnonzero(n_moved)
        if not len(open_pairs):
            break
        i = rng.choice(open_pairs)
        pair = np.array([first[i], second[i]])
        there, back = _choose_exchange(
            Y, parts, pair, counts, inverse_share, n_moved[i], rng
        )
        change = Y[back].sum(axis=0) - Y[there].sum(axis=0)
        changed = counts[:, pair] + np.stack([change, -change], axis=1)
        before, after = (
            np.sum((n - 1 / inverse_share[:, pair]) ** 2 * inverse_share[:, pair])
            for n in (counts[:, pair], changed)
        )
        if after < before:
            parts[there], parts[back] = pair[::-1]
            counts[:, pair] = changed
        else:
            n_moved[i] //= 2


def _choose_exchange(Y, parts, pair, counts, inverse_share, n_moved, rng):
    """Choose documents of two parts to change places, at most `n_moved` of each.

    The cost of moving a document is by how much that alone raises the sum that
    exchanges lower. The cheapest documents are paired, while a pair costs less than 0.
    """
    moves = []
    for here, other in (pair, pair[::-1]):
        docs = rng.permutation(np.flatnonzero(parts == here))
        costs = 2 * (
            counts[:, other] * inverse_share[:, other]
            - counts[:, here] * inverse_share[:, here]
        )
        costs = Y[docs] @ (costs + inverse_share[:, other] + inverse_share[:, here])
        order = np.argsort(costs, kind="stable")[:n_moved]
        moves.append((docs[order], costs[order]))
    (there, costs), (back, others) = moves
    n = min(len(there), len(back))
    n = np.count_nonzero(costs[:n] + others[:n] < 0)
    return there[:n], back[:n]


def _move_to_save_labels(Y, parts, tested, rng):
    """Move one document of each lost label; return False if no label is lost."""
    (n_docs, n_labels), n_parts = Y.shape, len(tested)
    docs, labels = _row_of_entries(Y), Y.indices
    counts = _count_labels(Y, parts, n_parts)
    totals = counts.sum(axis=1)
    several, lost = totals >= 2, _find_lost_labels(counts, tested)
    if not lost.any():
        return False
    # A random document of each lost label, and a random other part for it.
    entries = rng.permutation(np.flatnonzero(lost[labels]))
    chosen = docs[entries[np.unique(labels[entries], return_index=True)[1]]]
    targets = np.full(n_docs, -1)
    targets[chosen] = (parts[chosen] + rng.integers(1, n_parts, len(chosen))) % n_parts
    # The gain of a move: its labels that are saved, less those that would be lost.
    moved = np.flatnonzero(targets[docs] >= 0)
    docs, labels = docs[moved], labels[moved]
    there = targets[docs]
    others = counts[labels, there] == totals[labels] - 1
    gain = lost[labels].astype(int) - (others & tested[there] & several[labels])
    gain = np.bincount(docs, weights=gain, minlength=n_docs)
    # A move without gain only changes which label is lost. Such moves are made too:
    # they lead out of dead ends.
    good = gain[docs] >= 0
    docs, labels, there = docs[good], labels[good], there[good]
    # Several moves may together take all documents of a label to one tested part: of
    # these only one is made, which is drawn by a random priority.
    pairs = labels.astype(np.int64) * n_parts + there
    _, same, n_moves = np.unique(pairs, return_inverse=True, return_counts=True)
    taken = tested[there] & (n_moves[same] >= totals[labels] - counts[labels, there])
    priority = rng.permutation(n_docs)
    first = np.full(n_labels, n_docs)
    np.minimum.at(first, labels[taken], priority[docs[taken]])
    blocked = np.zeros(n_docs, bool)
    blocked[docs[taken & (first[labels] != priority[docs])]] = True
    docs = np.unique(docs[~blocked[docs]])
    parts[docs] = targets[docs]
    return True


def _move_to_restore_sizes(Y, parts, tested, sizes, rng):
    """Move documents from the part with most too many to the one with most too few."""
    excess = np.bincount(parts, minlength=len(sizes)) - sizes
    source, target = excess.argmax(), excess.argmin()
    n_moved = min(excess[source], -excess[target])
    if not n_moved:
        return
    free = parts == source
    order = rng.permutation(len(parts))
    if tested[target]:
        # Of each label with two or more documents, the last one outside of the target,
        # in a random order, stays where it is.
        docs, labels = _row_of_entries(Y), Y.indices
        several = np.bincount(labels, minlength=Y.shape[1])[labels] >= 2
        elsewhere = several & (parts[docs] != target)
        last = np.full(Y.shape[1], -1)
        np.maximum.at(last, labels[elsewhere], order[docs[elsewhere]])
        free[docs[order[docs] == last[labels]]] = False
    parts[rng.permutation(np.flatnonzero(free))[:n_moved]] = target
