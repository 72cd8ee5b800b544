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
    # Attributes that checkpoints keep, and those of them with a row for each of the
    # table's.
    state_names = ("n_snapshots", "moved")
    row_names = ("moved",)
    # If several processes train the table: their group, if each of them has all rows,
    # or the `Shard` of this process.
    group = shard = None

    def __init__(self, vectors, touched):
        self.vectors = vectors
        self.touched = touched
        # On a GPU, all entries of a step form one block. Splitting them would need the
        # number of distinct rows, and reading that would wait for the device.
        self.in_one_block = vectors.is_cuda
        self.n_snapshots, self.moved = 0, None
        self.noise = self.generator = self.gathered = None

    def state_dict(self):
        """Return the state between two steps, for checkpoints: that of all rows.

        If each process has some of the rows, only the first gets it.
        """
        state = {name: getattr(self, name) for name in self.state_names}
        if self.shard is not None:
            keep = self.shard.group.is_first
            for name in self._tables(state):
                state[name] = self.shard.whole(state[name], keep=keep)
        return state

    def load_state_dict(self, state):
        """Restore a state that `state_dict` returned."""
        if self.shard is not None:
            cut = {name: self.shard.cut(state[name]) for name in self._tables(state)}
            state = state | cut
        for name, value in state.items():
            is_tensor = isinstance(value, torch.Tensor)
            setattr(self, name, value.to(self.vectors.device) if is_tensor else value)

    def _tables(self, state):
        """Return the names of what is there with a row for each of the table's."""
        return [name for name in self.row_names if state[name] is not None]

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

    def gather(self):
        """Bring the gradients of all processes together, before a step.

        If each process has all rows, all of them then move these rows alike, by the
        same numbers in the same order.
        """
        if self.group is None:
            return
        docs, ids, owners, weights = self._entries()
        sizes = self.group.gather(torch.tensor([len(docs), len(ids)]))
        n_docs, n_entries = sizes.T.tolist()
        if not any(n_entries):
            return
        before = sum(n_docs[: self.group.rank])
        places = self.group.gather_rows(
            torch.stack([ids, owners + before], dim=1), n_entries
        )
        weights = self.group.gather_rows(weights, n_entries)
        docs = self.group.gather_rows(docs, n_docs)
        # Processes take the mean of their gradients.
        self.gathered = docs, *places.T, weights / self.group.size
        self.touched.clear()
        if self.vectors.dtype == torch.bfloat16:
            number = self.group.take_from(0, torch.randint(2**62, (1,)))
            self.generator = torch.Generator(self.vectors.device)
            self.generator.manual_seed(number.item())
            self.noise = None
        self.catch_up(places[:, 0])

    def synchronize(self):
        """Take the rows of the first process, if each process has all of them.

        Machines of different kinds round in different ways, and rows in bfloat16 that
        catch up are rounded at random.
        """
        if self.group is not None:
            self.vectors.data.copy_(self.group.take_from(0, self.vectors.data))

    def factors(self):
        """Return tensors that are finite only if the gradient is."""
        if self.gathered is not None:
            return [self.gathered[0], self.gathered[3]]
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
        return total if self.shard is None else self.shard.group.add(total)

    def forget(self):
        """Drop the gradient."""
        self.touched.clear()
        self.noise = self.generator = self.gathered = None

    def _gradients(self):
        """Yield blocks of touched rows, each row once, with their gradients."""
        if not self.touched and self.gathered is None:
            return
        docs, ids, owners, weights = self._factors()
        is_new = ids.diff(prepend=ids.new_full((1,), -1)) != 0
        places = is_new.cumsum(0) - 1
        for rows, entries, start in self._blocks(ids, is_new, places):
            at, owner = places[entries] - start, owners[entries]
            weight = weights[entries]
            if self.max_places_per_entry * len(at) < len(rows) * len(docs):
                gradient = docs.new_zeros(len(rows), docs.shape[1])
                parts = docs[owner] * weight[:, None]
                if self.gathered is not None and parts.is_cuda:
                    # index_add_ would sum up in another order on each GPU.
                    gradient.index_put_((at,), parts, accumulate=True)
                else:
                    gradient.index_add_(0, at, parts)
                yield rows, gradient
                continue
            factor = docs.new_zeros(len(rows), len(docs))
            factor[at, owner] = weight
            with torch.autocast(docs.device.type, enabled=False):
                yield rows, factor @ docs

    def _factors(self):
        """Return what `_entries` or `gather` has found, with entries sorted by row."""
        docs, ids, owners, weights = self.gathered or self._entries()
        ids, order = ids.sort()
        return docs, ids, owners[order], weights[order]

    def _entries(self):
        """Concatenate the factors of all batches.

        Returns
        -------
        docs : tensor of shape (n_docs, dim)
            Document vectors or gradients: the factors that are multiplied by weights.
        ids, owners, weights : tensors of shape (n_entries,)
            Row of the table, row of `docs`, and weight of each entry.
        """
        if not self.touched:
            dtype = torch.promote_types(self.vectors.dtype, torch.float32)
            docs = self.vectors.new_zeros(0, self.vectors.shape[1], dtype=dtype)
            return docs, *docs.new_zeros(2, 0, dtype=torch.int64), docs.new_zeros(0)
        docs = torch.cat([docs for _, docs, _ in self.touched])
        docs = docs.to(torch.promote_types(docs.dtype, torch.float32))
        ids = torch.cat([ids.flatten() for ids, _, _ in self.touched])
        weights = torch.cat([weights.flatten() for _, _, weights in self.touched])
        owners = torch.arange(len(docs), device=ids.device)
        parts = owners.split([len(ids) for ids, _, _ in self.touched])
        owners = torch.cat(
            [
                part[:, None].expand(ids.shape).flatten()
                for part, (ids, _, _) in zip(parts, self.touched, strict=True)
            ]
        )
        return docs, ids, owners, weights.to(docs.dtype)

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
                1 << 16,
                shape,
                dtype=torch.int32,
                device=part.device,
                generator=self.generator,
            )
        bits = part.view(torch.int32) + self.noise[: len(part)]
        return bits.bitwise_and_(-(1 << 16)).view(torch.float32)
