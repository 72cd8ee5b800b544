"""Optimizers of tables of vectors, for the rows that a step touches."""

import torch


class RowwiseOptimizer:
    """Base of optimizers that compute only the rows that a step touches.

    A subclass defines ``step(rate, scale, applies)``, which moves the rows of
    ``_gradients()``, and may define `catch_up`.

    Parameters
    ----------
    vectors : Parameter of shape (n_rows, dim), float32, float64 or bfloat16
        Table that is updated in place. It does not require a gradient. The last row is
        padding, and its gradient must be 0. bfloat16 is rounded stochastically, because
        most moves are smaller than half of its resolution and would be lost.
    touched : list
        List to which `candidate_scores` or `weighted_bag` append the factors of the
        gradient. The gradients of all batches since the last step are added up. Except
        for the padding, a document must not have a row twice.
    """

    # Number of rows updated at once on a CPU: 4 buffers of 2048 x 400 floats stay in
    # cache.
    rows_at_once = 2048
    # A matrix of rows and documents is used only if it has at most this many places for
    # each entry; otherwise entries are added up one by one.
    max_places_per_entry = 256
    # Attributes that checkpoints keep.
    state_names = ("n_snapshots", "moved")

    def __init__(self, vectors, touched):
        self.vectors = vectors
        self.touched = touched
        # On a GPU, all entries of a step form one block. Splitting them would need the
        # number of distinct rows, and reading that would wait for the device.
        self.in_one_block = vectors.is_cuda
        self.n_snapshots, self.moved = 0, None
        self.noise = None

    def state_dict(self):
        """Return the state between two steps, for checkpoints."""
        return {name: getattr(self, name) for name in self.state_names}

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
        for name, value in state.items():
            is_tensor = isinstance(value, torch.Tensor)
            setattr(self, name, value.to(self.vectors.device) if is_tensor else value)

    def catch_up(self, rows=None):
        """Make the moves that vectors have missed, if the optimizer lets them miss any.

        Parameters
        ----------
        rows : int64 tensor of any shape or None, default=None
            Rows that are about to be used, in any order and possibly repeated. None is
            all rows.
        """

    def arm(self, rate):
        """Tell the learning rate before the last backward pass of a step.

        An optimizer may then make the step within that pass. It must not be told where
        the gradient is clipped or scaled before the step.
        """

    def factors(self):
        """Return tensors that are finite only if the gradient is."""
        return [factor for touched in self.touched for factor in touched[1:]]

    def snapshot(self):
        """Include the current rows in the average."""
        if self.moved is None:
            dtype = torch.promote_types(self.vectors.dtype, torch.float32)
            self.moved = torch.zeros_like(self.vectors, dtype=dtype)
        self.n_snapshots += 1

    @torch.no_grad()
    def averages(self, n_snapshots):
        """Return the mean of the snapshots, of the shape and dtype of `vectors`.

        No snapshot is stored. Its rows are the current ones minus their moves since
        then, so that it is enough to sum up each move times the number of snapshots
        before it (`moved`).
        """
        self.catch_up()
        means = torch.empty_like(self.vectors)
        tables = means, self.vectors, self.moved
        parts = (table.split(self.rows_at_once) for table in tables)
        for mean, vectors, moved in zip(*parts, strict=True):
            mean.copy_(vectors - moved / n_snapshots)
        return means

    @torch.no_grad()
    def squared_norm(self):
        """Return the squared norm of the gradient, added up over batches."""
        total = torch.zeros((), device=self.vectors.device)
        for _, gradient in self._gradients():
            total = total + gradient.square().sum()
        return total

    def forget(self):
        """Drop the gradient."""
        self.touched.clear()
        self.noise = None

    def _gradients(self):
        """Yield blocks of touched rows, each row once, with their gradients."""
        if not self.touched:
            return
        docs, ids, owners, weights = self._factors()
        is_new = ids.diff(prepend=ids.new_full((1,), -1)) != 0
        places = is_new.cumsum(0) - 1
        for rows, entries, start in self._blocks(ids, is_new, places):
            at, owner = places[entries] - start, owners[entries]
            weight = weights[entries]
            if self.max_places_per_entry * len(at) < len(rows) * len(docs):
                gradient = docs.new_zeros(len(rows), docs.shape[1])
                yield rows, gradient.index_add_(0, at, docs[owner] * weight[:, None])
                continue
            factor = docs.new_zeros(len(rows), len(docs))
            factor[at, owner] = weight
            with torch.autocast(docs.device.type, enabled=False):
                yield rows, factor @ docs

    def _factors(self):
        """Concatenate the factors of all batches, with entries sorted by row.

        Returns
        -------
        docs : tensor of shape (n_docs, dim)
            Document vectors or gradients: the factors that are multiplied by weights.
        ids, owners, weights : tensors of shape (n_entries,)
            Row of the table, row of `docs`, and weight of each entry.
        """
        docs = torch.cat([docs for _, docs, _ in self.touched])
        docs = docs.to(torch.promote_types(docs.dtype, torch.float32))
        ids, order = torch.cat([ids.flatten() for ids, _, _ in self.touched]).sort()
        weights = torch.cat([weights.flatten() for _, _, weights in self.touched])
        owners = torch.arange(len(docs), device=ids.device)
        parts = owners.split([len(ids) for ids, _, _ in self.touched])
        owners = torch.cat(
            [
                part[:, None].expand(ids.shape).flatten()
                for part, (ids, _, _) in zip(parts, self.touched, strict=True)
            ]
        )
        return docs, ids, owners[order], weights[order].to(docs.dtype)

    def _blocks(self, ids, is_new, places):
        """Yield the rows, the slice of entries and the first place of each block."""
        if self.in_one_block:
            rows = torch.full_like(ids, len(self.vectors) - 1)
            yield rows.scatter_(0, places, ids), slice(None), 0
            return
        rows = ids[is_new].split(self.rows_at_once)
        ends = is_new.nonzero()[self.rows_at_once :: self.rows_at_once, 0].tolist()
        starts = [0, *ends]
        for i, (start, end) in enumerate(zip(starts, [*ends, len(ids)], strict=True)):
            yield rows[i], slice(start, end), i * self.rows_at_once

    def _get_rows(self, table, rows):
        part = table.index_select(0, rows)
        return part.to(torch.promote_types(part.dtype, torch.float32))

    def _set_rows(self, table, rows, part):
        """Write rows to a table, and return them with its rounding."""
        if table.dtype == torch.bfloat16:
            part = self._round_stochastically(part)
        # `data` hides the change from autograd, which would otherwise refuse a backward
        # pass. That is safe, since only rows change that no such pass needs.
        table.data.index_copy_(0, rows, part.to(table.dtype))
        return part

    def _round_stochastically(self, part):
        """Round float32 to bfloat16 up or down at random, exact in the mean."""
        # The random bits are reused within a step: they need not be independent between
        # rows, but only of the values.
        n_noise = 0 if self.noise is None else len(self.noise)
        if n_noise < len(part):
            shape = max(len(part), self.rows_at_once), part.shape[1]
            self.noise = torch.randint(
                1 << 16, shape, dtype=torch.int32, device=part.device
            )
        bits = part.view(torch.int32) + self.noise[: len(part)]
        return bits.bitwise_and_(-(1 << 16)).view(torch.float32)
