"""The group of processes that fit one model together.

``fit`` joins the process group of `torch.distributed` if one is initialised in its own
process. It never looks at environment variables: the workers of joblib inherit those of
``torchrun``, and would wait for processes that do not know of them.
"""

import contextlib
import datetime
import platform
import traceback

import torch
import torch.distributed as dist

# The group that the fit of this process has joined, if any, and how many contexts
# `alone` there are.
_joined, _n_alone = None, 0
# Process groups beside that of the user, and the one that they were made for: one in
# which gradients are averaged, so that they are not taken for what heads exchange, and
# one in which processes tell that they have failed.
_others = None, None, None
# Seconds that a process that has failed waits for the others to fail too.
_PATIENCE = datetime.timedelta(seconds=20)


class Group:
    """The processes of `torch.distributed`, and what they exchange.

    All of them must call the same methods in the same order.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0 on, and number of processes.
    n_here : int
        Number of processes on the machine of this process.
    averaging : ProcessGroup
        The process group in which gradients are averaged.
    counts : bool
        Whether the documents that this process reads of the current batch count. They
        do not if the batch has fewer documents than there are processes.
    """

    counts = True

    def __init__(self):
        global _others
        if _others[0] is not dist.group.WORLD:
            dist.barrier()  # fails if a process has ended, which new_group waits for
            averaging = dist.new_group()
            failing = dist.new_group(backend="gloo", timeout=_PATIENCE)
            _others = dist.group.WORLD, averaging, failing
        _, self.averaging, self._failing = _others
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        config = dist.get_backend_config().split(",")
        backends = dict(part.split(":") for part in config)
        self._on_cpu = "gloo" in backends.values() or "mpi" in backends.values()
        self._on_gpu = backends.get("cuda") == "nccl"
        machines = self.gather_objects(platform.node())
        self.n_here = machines.count(machines[self.rank])

    @property
    def is_first(self):
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def share(self, n):
        """Return the slice of this process: every `size`-th of n."""
        return slice(self.rank, n, self.size)

    def bounds(self, n_rows):
        """Return the first row of each process in a table that is cut by rows.

        Returns
        -------
        list of size + 1 int
            Process r has the rows from ``bounds[r]`` up to ``bounds[r + 1]``.
        """
        return [n_rows * rank // self.size for rank in range(self.size + 1)]

    def gather(self, tensor):
        """Return the tensors of all processes, which have one shape and dtype.

        Returns
        -------
        tensor of shape (size, ...), on the device of `tensor`
        """
        sent = self._sendable(tensor).contiguous()
        found = sent.new_empty(self.size, *sent.shape)
        dist.all_gather(list(found), sent)
        return found.to(tensor.device)

    def gather_rows(self, tensor, sizes):
        """Return the rows of the tensors of all processes, one process after the other.

        Parameters
        ----------
        tensor : tensor of shape (sizes[rank], ...)
        sizes : list of int
            Number of rows of each process.
        """
        padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
        padded[: len(tensor)] = tensor
        found = self.gather(padded)
        return torch.cat([rows[:n] for rows, n in zip(found, sizes, strict=True)])

    def add(self, tensor):
        """Return the sum of the tensors of all processes, equal to the bit on all."""
        total = self._sendable(tensor).clone()
        dist.all_reduce(total)
        return total.to(tensor.device)

    def take_from(self, rank, tensor):
        """Return the tensor of a process; `tensor` tells the others its shape."""
        sent = self._sendable(tensor).contiguous()
        dist.broadcast(sent, rank)
        return sent.to(tensor.device)

    def gather_objects(self, value):
        """Return a list of the values of all processes, which can be pickled."""
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def settle(self):
        """End this process, unless all processes have failed as this one has.

        What is wrong with parameters or data is refused by all. If this process alone
        has failed, the others wait for what it will never send, until it ends. A caller
        that catches errors and goes on, as a grid search does, would have them wait.

        Raises
        ------
        SystemExit
        """
        try:
            dist.all_reduce(torch.zeros(1), group=self._failing)
        except RuntimeError:
            traceback.print_exc()
            raise SystemExit(
                f"Process {self.rank} of {self.size} ends, because fit has failed on "
                "it and not on all others, or because another process has ended."
            ) from None

    def _sendable(self, tensor):
        """Move a tensor to a device whose tensors the backend can send."""
        if tensor.is_cuda:
            return tensor if self._on_gpu else tensor.cpu()
        return tensor if self._on_cpu else tensor.cuda()


def can_join():
    """Return whether a fit that starts now would be that of several processes."""
    is_group = dist.is_available() and dist.is_initialized()
    return is_group and not _n_alone and dist.get_world_size() > 1


def current_group():
    """Return the group that the current fit has joined, or None if it is alone."""
    return None if _n_alone else _joined


@contextlib.contextmanager
def join():
    """Context of a fit that joins the process group, if there is one.

    It yields the group, or None without one.

    Raises
    ------
    SystemExit
        If the fit has failed on some processes only.
    """
    global _joined
    before = _joined
    _joined = Group() if can_join() else None
    try:
        yield _joined
    except Exception:
        if _joined is not None:
            _joined.settle()
        raise
    finally:
        _joined = before


@contextlib.contextmanager
def alone():
    """Context in which this process fits and predicts by itself."""
    global _n_alone
    _n_alone += 1
    try:
        yield
    finally:
        _n_alone -= 1


def is_first():
    """Return whether this process writes files and shows progress."""
    return not can_join() or dist.get_rank() == 0


def from_first(value):
    """Return the value of the first process, which can be pickled."""
    group = current_group()
    return value if group is None else group.gather_objects(value)[0]


def mean_of_processes(totals):
    """Return the mean of numbers of all processes.

    Parameters
    ----------
    totals : dict of tensors of shape ()
        A number that a process lacks counts as 0.

    Returns
    -------
    dict of float
    """
    group, own = current_group(), {name: x.item() for name, x in totals.items()}
    if group is None:
        return own
    means = {}
    for part in group.gather_objects(own):
        for name, total in part.items():
            means[name] = means.get(name, 0.0) + total / group.size
    return means


@contextlib.contextmanager
def all_or_none():
    """Context whose failure on one process is raised on all.

    Otherwise the others would wait for the process that has failed. Nothing may be
    exchanged within the context.

    Raises
    ------
    RuntimeError
        On processes that have not failed themselves.
    """
    group, error = current_group(), None
    if group is None:
        yield
        return
    try:
        yield
    except Exception as raised:
        error = raised
    told = None if error is None else f"{type(error).__name__}: {error}"
    failed = [
        f"process {rank} failed ({reason})"
        for rank, reason in enumerate(group.gather_objects(told))
        if reason is not None
    ]
    if error is not None:
        raise error
    if failed:
        raise RuntimeError(f"This process stops, because {failed[0]}.")


class Shard:
    """The rows of a table of label vectors that one process holds and trains.

    Parameters
    ----------
    group : Group
    n_rows : int
        Number of rows of the whole table, without the padding that follows them.

    Attributes
    ----------
    first, last : int
        The rows of this process start at `first`, and end before `last`.
    """

    def __init__(self, group, n_rows):
        self.group, self.n_rows = group, n_rows
        self.bounds = group.bounds(n_rows)
        self.first, self.last = self.bounds[group.rank : group.rank + 2]

    def cut(self, table):
        """Return the rows of this process, and the padding, of a whole table."""
        return torch.cat([table[self.first : self.last], table[-1:]])

    def whole(self, table, *, keep=True):
        """Put the rows of all processes together.

        Parameters
        ----------
        table : tensor of shape (last - first + 1, ...)
            The rows of this process, and the padding.
        keep : bool, default=True
            Whether this process needs the result. All must call this nonetheless.

        Returns
        -------
        tensor of shape (n_rows + 1, ...), or None
        """
        whole = table.new_empty(self.n_rows + 1, *table.shape[1:]) if keep else None
        for rank in range(self.group.size):
            first, last = self.bounds[rank : rank + 2]
            part = table[:-1]
            if rank != self.group.rank:
                part = table.new_empty(last - first, *table.shape[1:])
            part = self.group.take_from(rank, part)
            if keep:
                whole[first:last] = part
        if keep:
            whole[-1] = table[-1]
        return whole

    def exchange(self, docs, labels=None):
        """Return an `Exchange` of the documents of all processes."""
        return Exchange(self, docs, labels)


class Exchange:
    """The documents of all processes, whose scores each computes for its own rows.

    Parameters
    ----------
    shard : Shard
    docs : tensor of shape (n_own, dim)
        Vectors of the documents of this process.
    labels : int64 tensor of shape (n_own, n) or None
        Some labels for each of these documents, padded with the number of labels.

    Attributes
    ----------
    docs : tensor of shape (n_docs, dim)
        Documents of all processes, one process after the other. Each has as many: what
        is missing is filled up by zeros.
    labels : int64 tensor of shape (n_docs, width) or None
        Those of their labels that are rows of this process, as places among these rows.
        The number of these rows stands in the places of padding and of other labels.
    is_label : bool tensor of shape (n_docs, width) or None
        False at padding.
    width : int
        Largest number of labels that a process has given its documents.
    own : slice
        Places of the documents of this process.
    sizes : list of int
        Number of documents of each process.
    n_counted : int
        Number of documents of the processes whose documents count.
    """

    def __init__(self, shard, docs, labels):
        self.shard, self.group = shard, shard.group
        n_labels = 1 if labels is None else labels.shape[1]
        sizes = torch.tensor([len(docs), n_labels, self.group.counts])
        sizes = self.group.gather(sizes).tolist()
        self.sizes = [n for n, *_ in sizes]
        self.n_counted = sum(n * counts for n, _, counts in sizes)
        self.n_each = max(1, *self.sizes)
        self.own = slice(self.group.rank * self.n_each, None)
        self.own = slice(self.own.start, self.own.start + len(docs))
        self.docs = self.gather(docs, docs.shape[1])
        self.labels = self.is_label = None
        self.width = max(n for _, n, _ in sizes)
        if labels is not None:
            columns = self.gather(labels, self.width, shard.n_rows)
            inside = (columns >= shard.first) & (columns < shard.last)
            n_rows = shard.last - shard.first
            self.labels = (columns - shard.first).masked_fill(~inside, n_rows)
            self.is_label = columns < shard.n_rows

    def gather(self, rows, width, padding=0):
        """Return numbers of the documents of all processes.

        Parameters
        ----------
        rows : tensor of shape (n_own, n), n <= width
            Numbers of the documents of this process.
        width : int
        padding : number, default=0
            It stands where documents or numbers are missing.

        Returns
        -------
        tensor of shape (n_docs, width)
        """
        padded = rows.new_full((self.n_each, width), padding)
        padded[: len(rows), : rows.shape[1]] = rows
        return self.group.gather(padded).flatten(0, 1)

    def spread(self, number):
        """Return the number of each document's process: shape (n_docs, 1)."""
        numbers = self.group.gather(number.reshape(1))[:, 0]
        return numbers.repeat_interleave(self.n_each)[:, None]

    def places(self):
        """Return the place of each document in the batch that the processes share."""
        every = torch.arange(len(self.docs))
        return every % self.n_each * self.group.size + every // self.n_each
