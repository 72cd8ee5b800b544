"""Sharing out the documents of every label over the parts of a split."""

import numpy as np
import scipy.sparse as sp

# Exchanges of documents, a part, that share out labels.
_EXCHANGES = 30
# Times that documents are moved for labels that a training part would lose, and turns
# of that and of making parts as large as they are to be.
_ROUNDS, _TURNS = 50, 5


def _by_rarest_label(Y, order):
    """Documents by the rarest label of each, those of one label in the given order.

    Documents without labels come last.
    """
    n_docs, n_labels = Y.shape
    counts = np.bincount(Y.indices, minlength=n_labels)
    places = np.empty(n_labels, np.int64)
    places[np.argsort(counts, kind="stable")] = np.arange(n_labels)
    rarest = np.full(n_docs, n_labels)
    np.minimum.at(rarest, _owners(Y), places[Y.indices])
    return order[np.argsort(rarest[order], kind="stable")]


def _owners(Y):
    """Row of each entry."""
    return np.repeat(np.arange(Y.shape[0]), np.diff(Y.indptr))


def _spread(n_docs, n_chosen, rng):
    """Mask of `n_chosen` places of `n_docs`, as evenly spread as can be."""
    offset = rng.integers(n_docs)
    return np.diff((np.arange(n_docs + 1) * n_chosen + offset) // n_docs) > 0


def _share_out(Y, parts, tested, rng):
    """Exchange documents between parts, so that labels are shared out.

    Parameters
    ----------
    Y : csr array of shape (n_docs, n_labels)
    parts : int ndarray of shape (n_docs,)
        Part of each document; changed in place. Parts stay as large as they are.
    tested : bool ndarray of shape (n_parts,)
        Parts that must not have all of a label's documents, two or more.
    rng : numpy Generator
    """
    sizes = np.bincount(parts, minlength=len(tested))
    _even_out(Y, parts, sizes, rng)
    for _ in range(_TURNS):
        for _ in range(_ROUNDS):
            if not _move_for_labels(Y, parts, tested, rng):
                break
        for _ in range(len(tested)):
            _move_for_sizes(Y, parts, tested, sizes, rng)
        even = (np.bincount(parts, minlength=len(tested)) == sizes).all()
        if even and not _lost(_label_counts(Y, parts, len(tested)), tested).any():
            return
    for _ in range(len(tested)):
        _move_for_sizes(Y, parts, np.zeros_like(tested), sizes, rng)


def _label_counts(Y, parts, n_parts):
    """Documents of each label in each part, of shape (n_labels, n_parts)."""
    pairs = Y.indices.astype(np.int64) * n_parts + parts[_owners(Y)]
    counts = np.bincount(pairs, minlength=Y.shape[1] * n_parts)
    return counts.reshape(Y.shape[1], n_parts)


def _lost(counts, tested):
    """Labels with two documents or more, all of them in one tested part."""
    totals = counts.sum(axis=1)
    return ((counts == totals[:, None]) & tested).any(axis=1) & (totals >= 2)


def _even_out(Y, parts, sizes, rng):
    """Exchange documents of two parts while that brings labels nearer to their shares.

    What falls is the sum over labels and parts of (n - e)^2 / e, where a label has n
    documents in a part, and its share e by the size of the part.
    """
    n_parts = len(sizes)
    several = np.bincount(Y.indices, minlength=Y.shape[1]) >= 2
    Y = sp.csr_array(Y, dtype=np.float64)[:, several]
    counts = _label_counts(Y, parts, n_parts)
    share = 1 / (counts.sum(axis=1)[:, None] * (sizes / sizes.sum()))  # 1 / e
    # Documents of each two parts that are exchanged at once: a tenth at first.
    first, second = np.triu_indices(n_parts, 1)
    n_moved = np.minimum(sizes[first], sizes[second]) // 10 + 1
    for _ in range(_EXCHANGES * n_parts):
        open_pairs = np.flatnonzero(n_moved)
        if not len(open_pairs):
            break
        i = rng.choice(open_pairs)
        pair = np.array([first[i], second[i]])
        there, back = _exchanged(Y, parts, pair, counts, share, n_moved[i], rng)
        change = Y[back].sum(axis=0) - Y[there].sum(axis=0)
        changed = counts[:, pair] + np.stack([change, -change], axis=1)
        before, after = (
            np.sum((n - 1 / share[:, pair]) ** 2 * share[:, pair])
            for n in (counts[:, pair], changed)
        )
        if after < before:
            parts[there], parts[back] = pair[::-1]
            counts[:, pair] = changed
        else:
            n_moved[i] //= 2


def _exchanged(Y, parts, pair, counts, share, n_moved, rng):
    """Documents of two parts that should change places, at most `n_moved` of each."""
    moves = []
    for here, other in (pair, pair[::-1]):
        docs = rng.permutation(np.flatnonzero(parts == here))
        costs = 2 * (
            counts[:, other] * share[:, other] - counts[:, here] * share[:, here]
        )
        costs = Y[docs] @ (costs + share[:, other] + share[:, here])
        order = np.argsort(costs, kind="stable")[:n_moved]
        moves.append((docs[order], costs[order]))
    (there, costs), (back, others) = moves
    n = min(len(there), len(back))
    n = np.count_nonzero(costs[:n] + others[:n] < 0)
    return there[:n], back[:n]


def _move_for_labels(Y, parts, tested, rng):
    """Move a document of each label that is lost; False where there is none."""
    (n_docs, n_labels), n_parts = Y.shape, len(tested)
    docs, labels = _owners(Y), Y.indices
    counts = _label_counts(Y, parts, n_parts)
    totals = counts.sum(axis=1)
    several, lost = totals >= 2, _lost(counts, tested)
    if not lost.any():
        return False
    # One document of each lost label at random, and where it could go.
    entries = rng.permutation(np.flatnonzero(lost[labels]))
    chosen = docs[entries[np.unique(labels[entries], return_index=True)[1]]]
    targets = np.full(n_docs, -1)
    targets[chosen] = (parts[chosen] + rng.integers(1, n_parts, len(chosen))) % n_parts
    # Its labels that are saved, less those that would be lost there.
    moved = np.flatnonzero(targets[docs] >= 0)
    docs, labels = docs[moved], labels[moved]
    there = targets[docs]
    others = counts[labels, there] == totals[labels] - 1
    gain = lost[labels].astype(int) - (others & tested[there] & several[labels])
    gain = np.bincount(docs, weights=gain, minlength=n_docs)
    # Moves that only change which label is lost lead out of dead ends.
    good = gain[docs] >= 0
    docs, labels, there = docs[good], labels[good], there[good]
    # Of moves that together would take a label's last document elsewhere, one.
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


def _move_for_sizes(Y, parts, tested, sizes, rng):
    """Move documents from the part that is most too large to the most too small."""
    excess = np.bincount(parts, minlength=len(sizes)) - sizes
    source, target = excess.argmax(), excess.argmin()
    n_moved = min(excess[source], -excess[target])
    if not n_moved:
        return
    free = parts == source
    order = rng.permutation(len(parts))
    if tested[target]:  # the last document of a label elsewhere stays, of several
        docs, labels = _owners(Y), Y.indices
        several = np.bincount(labels, minlength=Y.shape[1])[labels] >= 2
        elsewhere = several & (parts[docs] != target)
        last = np.full(Y.shape[1], -1)
        np.maximum.at(last, labels[elsewhere], order[docs[elsewhere]])
        free[docs[order[docs] == last[labels]]] = False
    parts[rng.permutation(np.flatnonzero(free))[:n_moved]] = target
