"""Texts of requests that come together are ranked in one call of ``predict_topk``."""

import logging
import threading
import time
from collections import deque
from concurrent.futures import Future, InvalidStateError

import numpy as np

_log = logging.getLogger(__name__)


class QueueFull(Exception):
    """As many texts are waiting as may wait."""


class QueueClosed(Exception):
    """The server is shutting down."""


class _Job:
    """Texts of one request, and what has been ranked of them."""

    def __init__(self, classifier, texts, k):
        self.classifier, self.texts, self.k = classifier, texts, k
        self.future = Future()
        self.n_taken = 0
        self.parts = []

    @property
    def n_left(self):
        return len(self.texts) - self.n_taken

    def take(self, n):
        """Return the next n texts, or fewer at the end."""
        taken = self.texts[self.n_taken : self.n_taken + n]
        self.n_taken += len(taken)
        return taken


class Batcher:
    """One thread that ranks the labels of texts, of several requests at a time.

    While the thread ranks a batch, requests wait. The next batch takes texts of all of
    them that ask the same classifier for the same number of labels, so that each
    answer is that of ``predict_topk`` with this ``k``. Nothing waits for a batch to
    become full. A request with many texts gets its share of each batch, and does not
    hold up small requests behind it.

    Parameters
    ----------
    batch_size : int
        Largest number of texts in one call of ``predict_topk``.
    max_waiting : int
        Largest number of texts that wait. More are refused.

    Attributes
    ----------
    on_batch : callable or None
        Called as ``on_batch(n_texts, seconds)`` after each batch.
    """

    def __init__(self, batch_size, max_waiting):
        self.batch_size, self.max_waiting = batch_size, max_waiting
        self.on_batch = None
        self._jobs = deque()
        self._n_waiting = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = None  # starts with the first request

    @property
    def n_waiting(self):
        """Number of texts that wait."""
        return self._n_waiting

    def submit(self, classifier, texts, k):
        """Enqueue the texts of a request.

        Parameters
        ----------
        classifier : fitted classifier
        texts : list of str
        k : int

        Returns
        -------
        concurrent.futures.Future
            Its result is what ``classifier.predict_topk(texts, k)`` returns. If it is
            cancelled, texts that still wait are not ranked.

        Raises
        ------
        QueueFull
            If the texts do not fit into the queue. An empty queue takes any number.
        QueueClosed
            After `close`.
        """
        job = _Job(classifier, texts, k)
        with self._changed:
            if self._closed:
                raise QueueClosed
            if self._jobs and self._n_waiting + len(texts) > self.max_waiting:
                raise QueueFull
            self._jobs.append(job)
            self._n_waiting += len(texts)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="skxmc-batcher", daemon=True
                )
                self._thread.start()
        job.future.add_done_callback(lambda future: self._forget(job))
        return job.future

    def close(self, timeout=None):
        """Take no more requests, and end the thread after those that wait."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    def _forget(self, job):
        """Remove a request that is done or cancelled from the queue."""
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
                self._n_waiting -= job.n_left

    def _work(self):
        # A batch is forgotten before the thread waits for the next one.
        while self._rank_next():
            pass

    def _rank_next(self):
        """Rank the next batch; return False after the last one."""
        shares = self._next_batch()
        start = time.perf_counter()
        if shares:
            self._rank(shares)
        if shares and self.on_batch is not None:
            n_texts = sum(len(texts) for _, texts in shares)
            self.on_batch(n_texts, time.perf_counter() - start)
        return bool(shares)

    def _next_batch(self):
        """Wait for requests; return pairs of a job and its texts in the next batch."""
        with self._changed:
            while not self._jobs:
                if self._closed:
                    return []
                self._changed.wait()
            first = self._jobs[0]
            alike = [
                job
                for job in self._jobs
                if job.classifier is first.classifier and job.k == first.k
            ]
            # What small requests do not need of their shares, larger ones get.
            chosen = sorted(alike[: self.batch_size], key=lambda job: job.n_left)
            shares, room = [], self.batch_size
            for i, job in enumerate(chosen):
                texts = job.take(room // (len(chosen) - i))
                shares.append((job, texts))
                room -= len(texts)
            for job, texts in shares:
                self._n_waiting -= len(texts)
                self._jobs.remove(job)
                if job.n_left:  # behind those that came in the meantime
                    self._jobs.append(job)
            return shares

    def _rank(self, shares):
        job = shares[0][0]
        try:
            texts = [text for _, part in shares for text in part]
            ids, scores = job.classifier.predict_topk(texts, k=job.k)
        except Exception as error:
            if len(shares) > 1:
                # Only the request whose text it was must fail.
                for share in shares:
                    self._rank([share])
                return
            _log.exception("The labels of %d texts were not ranked.", len(texts))
            _finish(job, error=error)
            return
        ends = np.cumsum([len(part) for _, part in shares])[:-1]
        for (job, _), *part in zip(
            shares, np.split(ids, ends), np.split(scores, ends), strict=True
        ):
            job.parts.append(part)
            if not job.n_left:
                _finish(job, *map(np.concatenate, zip(*job.parts, strict=True)))


def _finish(job, *result, error=None):
    try:
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)
    except InvalidStateError:  # cancelled in the meantime
        pass
