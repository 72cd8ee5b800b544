"""``fit`` and prediction as the five systems share them, and what each must define."""

import numpy as np
import torch
from sklearn.utils import check_random_state

from ._calibrated import CalibrationMixin
from ._callbacks import CallbackSupportMixin, Epochs, end_callbacks
from ._efforts import EffortMixin
from ._fingerprint import check_same_fit, open_checkpoint
from ._hold_out import check_held_out, keep_rows, typical_depth
from ._label_weights import LabelWeightsMixin
from ._neighbors import NeighborsMixin
from ._network_state import NetworkStateMixin
from ._partial_fit import NoPartialFit
from ._ranking_classifier import RankingClassifier
from ._sample_weights import FitWeightsMixin
from ._validation.parameters import check_choice, check_training_parameters
from ._warm_start import WarmStartMixin
from .metrics import precision_at_k
from .nn.devices import PRECISIONS, check_memory, choose_device, choose_precision
from .nn.finite import all_finite
from .nn.group import all_or_none, current_group, from_first, join
from .nn.prediction import pad_with_minus_one, rank
from .nn.process import brief_lock, default_modes, isolate_torch, seed
from .nn.training import train
from .persistence import FolderMixin

__all__ = ["BaseXMCClassifier"]

# Attributes in which scikit-learn finds the callbacks to end when ``fit`` has failed.
_CALLBACK_ATTRIBUTES = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
# A thread holds this lock while it moves a network to another device.
_device_lock = brief_lock()


class BaseXMCClassifier(
    CalibrationMixin,
    CallbackSupportMixin,
    EffortMixin,
    FitWeightsMixin,
    FolderMixin,
    LabelWeightsMixin,
    WarmStartMixin,
    NeighborsMixin,
    NetworkStateMixin,
    RankingClassifier,
):
    """Base of the five systems: they share this ``fit`` and these predictions.

    This docstring is the contract between this class and a system; the contract between
    the training loop and a network is in `skxmc.nn.network`.

    A system must define

    - ``__init__(...)``, whose parameters include all that ``_check_parameters`` checks
      here, and `learning_rate` (which the system checks), `device`, `resume` and
      `label_names`. `skxmc.estimator_checks` demands `label_texts` too;
    - ``_network_class``, the class of its network, a subclass of
      `skxmc.nn.network.Network`. Model folders are checked against it;
    - ``_build(X, Y, rows, rng)``, called once in ``fit``: it makes the network and the
      `skxmc.nn.examples.Examples` that the network is trained on, and returns both;
    - ``_make_docs(X)``, called for each prediction: it turns texts or a matrix into the
      documents that the network takes, in the same way as ``_build`` does.

    A system may define the following, in the order of their use in ``fit``. Each has a
    default here, and an override that checks something calls ``super()``.

    - ``_check_parameters()``, called first: it refuses wrong parameters.
    - ``_check_fit(X, y)``, called next: it refuses parameters that do not suit the
      data, and returns `X` as a list of str or CSR matrix and `y` as CSR matrix.
    - ``_add_documents(X, Y)``, called before documents are held out: it returns the
      user's documents and labels followed by documents of the system's own.
    - ``_count_numbers()``, called when ``precision="auto"`` is resolved: it returns the
      size of the data, or None to rule out fp64.
    - ``_memory_advice``, a str: it is shown if training would not fit in memory.
    - ``_inherit_weights(examples, Y)``, called before training: it gives the network
      the weights of the fit that goes on (see `skxmc._warm_start`).
    - ``_training_options(examples)``, called before training: it returns arguments of
      `skxmc.nn.training.train` that depend on the system.
    - ``_run_training(examples, **options)``: it trains the network, for at most
      ``_count_epochs()`` epochs.
    - ``_finish_training(examples, Y, held_out)``, called after training and before the
      calibration: it completes the network. Neighbours vote only after that.

    Whatever a system computes from the documents of a fit takes their weights into
    account, which ``_weights_of(rows)`` and ``_weights_of_all(X)`` return.

    ``_has_log_odds()`` says whether the network's scores are those of probabilities.
    `_efforts` lists the sets of parameters of ``with_effort`` (see `skxmc._efforts`).
    A system without ``partial_fit`` says why in the sentence `_no_stream`.

    For model folders it may define ``expected_state()``, ``attribute_names`` (for both
    see `skxmc.nn.state`) and ``_count_features()``, the number of features that a
    loaded network must have.
    """

    _network_class = None
    partial_fit = NoPartialFit()
    _memory_advice = "Lower batch_size."

    def fit(self, X, y, sample_weight=None):
        """Fit the classifier, or go on with an earlier fit (see `warm_start`).

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents: texts as a list, an array, a column of a table, the documents of
            a store (`skxmc.store`), or anything else that has a length and yields str;
            or a dense or sparse feature matrix. A text may be empty. Texts are brought
            to Unicode's form NFC, and lone surrogates become question marks. Control
            characters are left to the tokenizer. Tokens beyond `max_length` are
            ignored. A repeated document counts as often as it occurs.
        y : sparse matrix of shape (n_docs, n_labels), or array
            Labels, 0 or 1. A dense array or a table of that shape (pandas, polars,
            pyarrow) is accepted too, and so is a 1-D array or column of class labels.
            Predictions have the form of `y`: sparse for a sparse `y` or a pandas table
            of sparse columns, and a dense array for any other array or table.
            Documents without labels are not trained on. A label without documents is a
            negative of every document.
        sample_weight : array-like of shape (n_docs,) or None, default=None
            Weights of the documents, at least 0. A document of weight 0 is left out,
            and one of weight 2 counts as if it were given twice: in the loss, in the
            counts of words and labels, in the vectors and clusters of labels, in the
            votes of neighbors, and in the choices and the calibration on held-out
            documents. None weights all alike.

        Returns
        -------
        self : estimator
            The fitted classifier.

        Raises
        ------
        ValueError
            If `X`, `y`, `sample_weight` or a parameter is not as described, if training
            diverges, or if an earlier fit cannot go on with these.
        OSError
            If the encoder cannot be found.
        MemoryError
            If training does not fit in the memory of the device.
        """
        before, start = vars(self).copy(), self._find_start()
        if "network_" in before:
            before["network_"].cpu()  # makes room on a GPU for the new network
        self._begin_from(start)
        group = None
        try:
            with default_modes(), join() as group:
                self._fit(X, y, sample_weight)
        except BaseException as error:
            # If the user interrupts training, the estimator keeps what has been
            # trained, unless other processes have a part of it. After any other failure
            # it is what it was before, so that an earlier fit is not lost.
            trained = isinstance(error, KeyboardInterrupt) and hasattr(self, "network_")
            if not trained or group is not None:
                callbacks = {
                    name: value
                    for name, value in vars(self).items()
                    if name in _CALLBACK_ATTRIBUTES
                }
                vars(self).clear()
                vars(self).update(before | callbacks)
            raise
        finally:
            self._end_weighing()
            self._end_start()
            end_callbacks(self)
        return self

    def _fit(self, X, y, sample_weight):
        with all_or_none():
            self._check_parameters()
            epochs = Epochs(self, X, y)
            X, Y = self._check_fit(X, y)
            Y, self._weighing = self._weigh_documents(Y, sample_weight)
            if self._weighing is not None:
                X = self._weighing.choose(X)
            X, Y = self._add_documents(X, Y)
            weights = self._weights_of_all(Y), self._choose_label_weights()
            device, precision = self._choose_device_and_precision()
        check_same_fit(self, X, Y, device, precision, weights[0])
        number = check_random_state(self.random_state).randint(2**31)
        rng = np.random.default_rng(from_first(number))
        checkpoint = open_checkpoint(self, X, Y, weights[0])
        with isolate_torch(device):
            seed(int(rng.integers(2**31)), device)
            # Documents that a system adds to the user's are never held out.
            user_Y = Y if Y.shape[0] == self.n_docs_ else Y[: self.n_docs_]
            held_out = self._hold_out(X, user_Y, rng)
            # A document without labels is not trained on.
            is_trained_on = np.diff(Y.indptr) > 0
            is_trained_on[held_out] = False
            rows = np.flatnonzero(is_trained_on)
            if self._stream is None:
                check_held_out(self, held_out)
            network, examples = self._build(X, keep_rows(Y, rows), rows, rng)
            examples.weigh(*weights)
            from_first(None)  # until all processes hold what they begin with
            with all_or_none():
                check_memory(
                    network,
                    int(examples.lengths.max()),
                    self.batch_size,
                    device,
                    averages=self.swa_start is not None,
                    keeps_best=len(held_out) > 0,
                    accumulate=self.accumulate,
                    precision=precision,
                    advice=self._memory_advice,
                )
                self._check_neighbor_memory(network, rows)
            self.network_ = network.to(device)
            if precision == "fp64":
                self.network_.double()
            self.history_ = []
            self._inherit_weights(examples, Y)
            try:
                self._train(examples, Y, held_out, rng, checkpoint, epochs)
            except KeyboardInterrupt:
                if current_group() is None:
                    self._finish(examples, Y, held_out, rng)
                raise
            self._finish(examples, Y, held_out, rng)
        with all_or_none():
            epochs.finish()
        if checkpoint is not None:  # all processes have come to the end
            checkpoint.remove()

    def _build(self, X, Y, rows, rng):
        """Make the network, and the examples that it is trained on.

        It is also the place for fitted attributes that ``_make_docs`` needs, such as
        ``tokenizer_``.

        Parameters
        ----------
        X : list of str, or csr matrix of shape (n_docs, n_features)
            All documents, including those that are held out.
        Y : csr matrix of shape (n_docs, n_labels)
            Labels of the training documents. The rows of other documents are empty.
        rows : int ndarray of shape (n_rows,)
            Rows of the training documents, ascending.
        rng : numpy Generator
            Source of the random numbers of ``fit``. torch has been seeded from it.

        Returns
        -------
        network : Network
            On the CPU.
        examples : Examples
            Holds all documents, and is trained on `rows`.
        """
        raise NotImplementedError

    def _make_docs(self, X):
        """Turn the texts or the matrix of a prediction into documents of the network.

        Parameters
        ----------
        X : list of str, or csr matrix of shape (n_docs, n_features)

        Returns
        -------
        Tokens, Features or TaughtDocuments
            Has a length, ``lengths`` and ``batch(rows)`` (see `skxmc.nn.text`).
        """
        raise NotImplementedError

    def _add_documents(self, X, Y):
        """Return documents to train on and their labels, the user's documents first."""
        return X, Y

    def _training_options(self, examples):
        """Return arguments of `skxmc.nn.training.train`, "learning_rate" among them."""
        return {"learning_rate": self.learning_rate}

    def _run_training(self, examples, **options):
        """Train ``network_`` with these arguments of `skxmc.nn.training.train`."""
        train(self.network_, examples, **options)

    def _count_epochs(self):
        """Return the largest number of epochs, for callbacks."""
        return self.max_epochs

    def _has_log_odds(self):
        """Return whether the network's scores are log-odds of probabilities."""
        return True

    def _finish_training(self, examples, Y, held_out):
        """Complete ``network_`` after training, even if training was interrupted.

        Parameters
        ----------
        examples : Examples
            The examples that ``_build`` returned.
        Y : csr matrix of shape (n_docs, n_labels)
            Labels of all documents.
        held_out : int ndarray
            Rows of the documents that were held out.
        """

    def decision_function(self, X):
        """Score labels by calibrated log-odds.

        The network's own scores may have an arbitrary offset for each document, and
        cannot be compared between documents. The scores returned here are the logits
        of `predict_proba`, and a label is predicted if its score is above 0. For a 1-D
        `y` they are logarithms of probabilities.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.

        Returns
        -------
        scores : csr matrix of shape (n_docs, n_labels), or ndarray
            Sparse if `y` was sparse in `fit`, with at most `top_k` float32 entries per
            row: a label without an entry is not among the best. Otherwise dense, with
            the scores of all labels, of shape (n_docs,) for a 1-D `y` of two classes.
        """
        return super().decision_function(X)

    def predict_proba(self, X):
        """Predict the probabilities of labels.

        Probabilities come from a logistic regression of the held-out documents' labels
        on the network's scores (Platt scaling). They are conditional on the document
        having any label. The network's scores are log-odds, or, for `GRankClassifier`
        with its default loss, logarithms of the softmax over the ranked labels of a
        document. Without held-out documents, the regression is fitted on training
        documents, and probabilities are overconfident.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents of the kind seen in `fit`.

        Returns
        -------
        probabilities : csr matrix of shape (n_docs, n_labels), or ndarray
            Sparse if `y` was sparse in `fit`, with at most `top_k` float32 entries per
            row: a label without an entry is not among the best. Otherwise dense, with
            the probabilities of all labels; for a 1-D `y` each row sums to 1.
        """
        return super().predict_proba(X)

    def _check_parameters(self):
        """Refuse parameters that are not as documented; a subclass checks its own."""
        check_choice("precision", self.precision, PRECISIONS)
        check_training_parameters(self)
        self._check_neighbor_parameters()

    def _choose_device_and_precision(self):
        """Return the device and the precision that "auto" or the user chooses.

        Returns
        -------
        device : str
        precision : {"fp64", "fp32", "bf16", "fp16"}
        """
        device = choose_device(self.device)
        start = self._start
        known = getattr(self, "network_", None if start is None else start.network)
        if known is not None:
            precision = choose_precision(self.precision, device)
            # A network that was trained in float64 predicts in float64.
            weights = next(known.parameters())
            return device, "fp64" if weights.dtype == torch.float64 else precision
        n_numbers = self._count_numbers()
        return device, choose_precision(self.precision, device, n_numbers=n_numbers)

    def _count_numbers(self):
        """Return the size of X and y in numbers, or None to rule out fp64.

        ``precision="auto"`` is fp64 for small feature matrices on a CPU.
        """
        if self._texts:
            return None
        return self.n_docs_ * (self.n_features_in_ + self.n_labels_)

    def _train(self, examples, Y, held_out, rng, checkpoint, epochs):
        device, precision = self._choose_device_and_precision()
        k, weights = typical_depth(Y), self._weights_of(held_out)

        def evaluate(network):
            ids, _ = rank(
                network,
                examples.docs,
                held_out,
                k,
                batch_size=self.batch_size,
                device=device,
                precision=precision,
            )
            ids = pad_with_minus_one(ids, self.n_labels_)
            return precision_at_k(Y[held_out], ids, k, sample_weight=weights)

        options = dict(
            rng=rng,
            history=self.history_,
            evaluate=evaluate if len(held_out) else None,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            head_learning_rate=self.head_learning_rate,
            weight_decay=self.weight_decay,
            warmup=self.warmup,
            schedule=self.schedule,
            accumulate=self.accumulate,
            clip_norm=self.clip_norm,
            swa_start=self.swa_start,
            swa_every=self.swa_every,
            patience=self.n_iter_no_change if self.early_stopping else None,
            tol=self.tol,
            device=device,
            precision=precision,
            checkpoint=checkpoint,
            epochs=epochs,
            verbose=self.verbose,
            **self._training_options(examples),
        )
        self._run_training(examples, **options | self._stream_options())
        if not all(map(all_finite, self.network_.parameters())):
            raise ValueError(
                "Training diverged: weights are no longer finite. Lower learning_rate "
                f"({self.learning_rate}) or head_learning_rate "
                f"({self.head_learning_rate}), or set clip_norm=1."
            )

    def _finish(self, examples, Y, held_out, rng):
        """Complete the trained network, have neighbours vote, and calibrate."""
        try:
            self._finish_training(examples, Y, held_out)
            self._add_neighbors(examples, Y, held_out)
        except KeyboardInterrupt:  # the network can be used as it is now
            self._calibrate(examples, Y, held_out, rng)
            raise
        self._calibrate(examples, Y, held_out, rng)

    def _rank_checked(self, X, k):
        with default_modes():
            docs = self._make_docs(X)
            return self._rank_docs(docs, k, np.arange(len(docs)))

    def _move_network(self):
        """Move the network to the device; return the device and the precision."""
        device, precision = self._choose_device_and_precision()
        # While one thread moves the network, its first weight is on the new device
        # before the last one is. Others must not compute with it until all are there.
        with _device_lock:
            current = next(self.network_.parameters()).device
            # An empty tensor turns "cuda" into the "cuda:0" that weights report.
            if (
                str(current) != device
                and current != torch.empty(0, device=device).device
            ):
                self.network_.to(device)
        return device, precision

    def _rank_docs(self, docs, k, rows):
        device, precision = self._move_network()
        ids, scores = rank(
            self.network_,
            docs,
            rows,
            k,
            batch_size=self.batch_size,
            device=device,
            precision=precision,
            verbose=self.verbose > 1,
        )
        if np.isnan(scores).any():
            raise ValueError(
                "The network's scores are not finite: its weights, or the values of X, "
                f'are too large for precision={self.precision!r}. Try "fp32".'
            )
        return pad_with_minus_one(ids, self.n_labels_), scores
