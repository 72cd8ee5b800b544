"""The fit skeleton that the five systems share, and what each of them must define."""

import copy
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.utils import check_random_state

from ._calibration import (
    UNCALIBRATED,
    calibrate,
    check_calibration,
    fit_calibration,
    probabilities_from_scores,
)
from ._callbacks import CallbackSupportMixin, Epochs, end_callbacks
from ._fingerprint import fit_fingerprint
from ._hold_out import hold_out, keep_rows, typical_depth
from ._ranking_classifier import RankingClassifier
from ._validation.parameters import check_choice, check_training_parameters
from .metrics import precision_at_k
from .nn.checkpoint import STATE_FORMAT, Checkpoint
from .nn.devices import PRECISIONS, check_memory, choose_device, choose_precision
from .nn.prediction import rank
from .nn.process import brief_lock, default_modes, isolate_torch, seed
from .nn.state import choice, one_dtype, part
from .nn.training import check_history, train
from .persistence import FolderMixin

__all__ = ["BaseXMCClassifier"]

# What scikit-learn looks for to end callbacks when ``fit`` has failed.
_TO_TEAR_DOWN = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
# Best labels of a document that the calibration looks at.
_CALIBRATION_DEPTH = 50
# Training documents that calibrate where none are held out.
_CALIBRATION_DOCS = 2000
# Held while a network moves to another device.
_moving = brief_lock()


class BaseXMCClassifier(CallbackSupportMixin, FolderMixin, RankingClassifier):
    """Base of the five systems: one ``fit`` and one prediction for all of them.

    A system must define

    - ``__init__`` with its parameters, those that this class uses among them (see
      ``_check_parameters``);
    - ``_network_class``: the class of its network, a `skxmc.nn.network.Network`;
    - ``_build(X, Y, rows, rng)``, which reads the documents `X`, makes the network for
      them, and returns it with the `skxmc.nn.examples.Examples` that it is trained on;
    - ``_read(X)``, which reads the documents of a prediction as ``_build`` read those
      of training: a `Tokens`, `Features` or `TaughtDocuments`.

    It may define, each with a default here,

    - ``_check_parameters()`` and ``_check_fit(X, y)``, to refuse what it cannot use
      before anything is computed;
    - ``_add_documents(X, Y)``, to train on more documents than the user's;
    - ``_training_options(examples)``, to tell the training loop more than the
      parameters that all systems share;
    - ``_finish_training(examples, Y, held_out)``, to complete the network when its
      training has ended;
    - ``_count_features()`` and ``expected_state()``, for the checks of model folders;
    - ``_memory_advice``, a sentence for a training that would not fit in memory.
    """

    _network_class = None
    # Advice shown when training would not fit in memory.
    _memory_advice = (
        "Lower batch_size or max_length (the step), label_dim or n_layers (the "
        "weights), or rank fewer labels a step: max_leaf_size=100, and a smaller "
        'n_shortlist. label_precision="bf16" halves what clustered labels take.'
    )

    def fit(self, X, y):
        """Fit the classifier.

        Parameters
        ----------
        X : sequence of str, or matrix of shape (n_docs, n_features)
            Documents: texts as a list, an array, a column of a table, or anything else
            that has a length and yields str; or a dense or sparse feature matrix. A
            text may be empty. Texts are brought to Unicode's form NFC; lone surrogates
            become question marks, control characters are left to the tokenizer, and
            tokens beyond `max_length` are ignored. A repeated document counts as often
            as it occurs.
        y : sparse matrix of shape (n_docs, n_labels), or array
            Labels, 0 or 1. A dense array or a table of that shape (pandas, polars,
            pyarrow) is accepted too, and so is a 1-D array or column of class labels.
            Predictions have the form of `y`: sparse for a sparse `y` or a pandas table
            of sparse columns, and a dense array for any other array or table.
            Documents without labels are not trained on. The vector of a label without
            documents changes only by being a negative of every document.

        Returns
        -------
        self : estimator
            The fitted classifier.

        Raises
        ------
        ValueError
            If `X`, `y` or a parameter is not as described, or if training diverges.
        OSError
            If the encoder cannot be found.
        MemoryError
            If training does not fit in the memory of the device.
        """
        before = vars(self).copy()
        if "network_" in before:
            before["network_"].cpu()  # makes room on a GPU for the next one
        for name in [name for name in before if name.endswith("_")]:
            delattr(self, name)
        try:
            with default_modes():
                self._fit(X, y)
        except BaseException as error:
            trained = isinstance(error, KeyboardInterrupt) and hasattr(self, "network_")
            if not trained:  # nothing is lost: neither parameters nor an earlier fit
                callbacks = {n: v for n, v in vars(self).items() if n in _TO_TEAR_DOWN}
                vars(self).clear()
                vars(self).update(before | callbacks)
            raise
        finally:
            end_callbacks(self)
        return self

    def _fit(self, X, y):
        self._check_parameters()
        epochs = Epochs(self, X, y)
        X, Y = self._check_fit(X, y)
        X, Y = self._add_documents(X, Y)
        device, precision = self._choose_device_and_precision()
        rng = np.random.default_rng(
            check_random_state(self.random_state).randint(2**31)
        )
        checkpoint = self._open_checkpoint(X, Y)
        with isolate_torch(device):
            seed(int(rng.integers(2**31)), device)
            # What a system adds to the user's documents is never held out.
            given = Y if Y.shape[0] == self.n_docs_ else Y[: self.n_docs_]
            held_out = hold_out(given, self.validation_fraction, rng)
            rows = np.setdiff1d(np.flatnonzero(np.diff(Y.indptr)), held_out)
            self._check_held_out(held_out)
            network, examples = self._build(X, keep_rows(Y, rows), rows, rng)
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
            self.network_ = network.to(device)
            if precision == "fp64":
                self.network_.double()
            self.history_ = []
            try:
                self._train(examples, Y, held_out, rng, checkpoint, epochs)
            except KeyboardInterrupt:
                self._finish(examples, Y, held_out, rng)
                raise
            self._finish(examples, Y, held_out, rng)
        epochs.finish()
        if checkpoint is not None:
            checkpoint.remove()

    def _build(self, X, Y, rows, rng):
        """Read documents, and make a network for them and what it is trained on.

        Parameters
        ----------
        X : list of str, or csr matrix of shape (n_docs, n_features)
        Y : csr matrix of shape (n_docs, n_labels)
            Labels of the training documents; the rows of others are empty.
        rows : int ndarray
            The training documents.
        rng : numpy Generator

        Returns
        -------
        network : Network
        examples : Examples
            Of all documents, those that are held out among them.
        """
        raise NotImplementedError

    def _read(self, X):
        """Read the documents of a prediction.

        Parameters
        ----------
        X : list of str, or csr matrix of shape (n_docs, n_features)

        Returns
        -------
        Tokens, Features or TaughtDocuments
        """
        raise NotImplementedError

    def _add_documents(self, X, Y):
        """Return the documents to train on and their labels, the user's first."""
        return X, Y

    def _training_options(self, examples):
        """Return arguments of `skxmc.nn.training.train` that differ from the shared."""
        return {"learning_rate": self.learning_rate}

    def _finish_training(self, examples, Y, held_out):
        """Complete the network when its training has ended, also by an interruption.

        Parameters
        ----------
        examples : Examples
        Y : csr matrix of shape (n_docs, n_labels)
            Labels of all documents.
        held_out : int ndarray
            Documents that were held out.
        """

    def _open_checkpoint(self, X, Y):
        """Return the checkpoint of this very fit, or None where none is wanted."""
        if self.checkpoint_dir is None:
            return None
        folder = Path(self.checkpoint_dir)
        name = fit_fingerprint(self, X, Y, STATE_FORMAT)
        checkpoint = Checkpoint(folder / f"{name}.checkpoint")
        if not self.resume:
            checkpoint.remove()
        others = [path.name for path in folder.glob("*.checkpoint")]
        if others and checkpoint.path.name not in others and self.resume:
            warnings.warn(
                f"{folder} holds checkpoints, but none of this fit: they are of other "
                "data or other parameters. Training starts from the beginning. Remove "
                f"checkpoints that are not needed: {', '.join(others[:3])}.",
                UserWarning,
                stacklevel=4,
            )
        return checkpoint

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
        having any label. The network's scores are log-odds, or, for
        `GRankClassifier`, logarithms of the softmax over the ranked labels of a
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

    def __getstate__(self):
        state = dict(super().__getstate__())  # which may be the attributes themselves
        network = state.get("network_")
        if network is not None and any(p.is_cuda for p in network.parameters()):
            state["network_"] = copy.deepcopy(network).cpu()
        return state

    def expected_state(self):
        """Checks of what `fit` sets (see `skxmc.nn.state`)."""
        return super().expected_state() | {
            "network_": self._check_network,
            "history_": check_history,
            "n_iter_": choice(len(self.history_)),
            "calibration_": check_calibration,
        }

    def _count_features(self):
        """Features that the network must know; None where nothing settles that."""
        return None if self._texts else self.n_features_in_

    def _check_network(self, network, name):
        expected = {"n_labels": self.n_labels_}
        n_features = self._count_features()
        if n_features is not None:
            expected["encoder.n_features"] = n_features
        part(self._network_class, **expected)(network, name)
        one_dtype(network, name)
        if getattr(network, "single_label", None) not in (
            None,
            self._y_kind == "single",
        ):
            raise ValueError(f"{name}.single_label contradicts the kind of y.")

    def _check_parameters(self):
        """Refuse parameters that are not as described; a subclass checks its own."""
        check_choice("precision", self.precision, PRECISIONS)
        check_training_parameters(self)

    def _choose_device_and_precision(self):
        """Where to compute, and how: in float64 where the network is, or is to be."""
        device = choose_device(self.device)
        if hasattr(self, "network_"):
            precision = choose_precision(self.precision, device)
            weights = next(self.network_.parameters())
            return device, "fp64" if weights.dtype == torch.float64 else precision
        n_numbers = self._count_numbers()
        return device, choose_precision(self.precision, device, n_numbers=n_numbers)

    def _count_numbers(self):
        """Numbers in a feature matrix and its labels; None for texts."""
        if self._texts:
            return None
        return self.n_docs_ * (self.n_features_in_ + self.n_labels_)

    def _check_held_out(self, held_out):
        if len(held_out) or not self.validation_fraction:
            return
        message = (
            f"validation_fraction={self.validation_fraction} holds out none of the "
            f"{self.n_docs_} documents: the last document of a label always stays in "
            "training. "
        )
        if self.early_stopping:
            raise ValueError(message + "Set early_stopping=False, or give more data.")
        kept = "The last epoch is kept"
        if self._y_kind != "single":
            kept += ", and probabilities are calibrated on training documents"
        warnings.warn(
            f"{message}{kept}. validation_fraction=0 says that this is meant.",
            UserWarning,
            stacklevel=4,
        )

    def _train(self, examples, Y, held_out, rng, checkpoint, epochs):
        device, precision = self._choose_device_and_precision()
        k = typical_depth(Y)

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
            return precision_at_k(
                Y[held_out], pad_with_minus_one(ids, self.n_labels_), k
            )

        options = {
            "max_epochs": self.max_epochs,
            "batch_size": self.batch_size,
            "head_learning_rate": self.head_learning_rate,
            "weight_decay": self.weight_decay,
            "warmup": self.warmup,
            "schedule": self.schedule,
            "accumulate": self.accumulate,
            "clip_norm": self.clip_norm,
            "swa_start": self.swa_start,
            "swa_every": self.swa_every,
            "patience": self.n_iter_no_change if self.early_stopping else None,
            "tol": self.tol,
            "verbose": self.verbose,
        }
        train(
            self.network_,
            examples,
            rng=rng,
            history=self.history_,
            evaluate=evaluate if len(held_out) else None,
            device=device,
            precision=precision,
            checkpoint=checkpoint,
            epochs=epochs,
            **options,
            **self._training_options(examples),
        )
        if not all(p.isfinite().all() for p in self.network_.parameters()):
            raise ValueError(
                "Training diverged: weights are no longer finite. Lower learning_rate "
                f"({self.learning_rate}) or head_learning_rate "
                f"({self.head_learning_rate}), or set clip_norm=1."
            )

    def _finish(self, examples, Y, held_out, rng):
        """Set what follows from the trained network."""
        try:
            self._finish_training(examples, Y, held_out)
        except KeyboardInterrupt:  # the network can be used as it is
            self._calibrate(examples, Y, held_out, rng)
            raise
        self._calibrate(examples, Y, held_out, rng)

    def _calibrate(self, examples, Y, held_out, rng):
        self.n_iter_ = len(self.history_)
        self.calibration_ = UNCALIBRATED
        if self._y_kind == "single":
            return  # scores are logarithms of probabilities already
        if not len(held_out):
            held_out = rng.permutation(examples.rows)[:_CALIBRATION_DOCS]
        depth = min(self.n_labels_, _CALIBRATION_DEPTH)
        ids, scores = self._rank_docs(examples.docs, depth, held_out)
        self.calibration_ = fit_calibration(Y[held_out], ids, scores)

    def _rank_checked(self, X, k):
        with default_modes():
            docs = self._read(X)
            return self._rank_docs(docs, k, np.arange(len(docs)))

    def _rank_docs(self, docs, k, rows):
        device, precision = self._choose_device_and_precision()
        with _moving:  # the first weight is there before the last one
            now = next(self.network_.parameters()).device
            if now != torch.empty(0, device=device).device:  # to ask all takes longer
                self.network_.to(device)
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

    def _log_odds(self, scores):
        return calibrate(scores.astype(np.float64), self.calibration_)

    def _probabilities(self, scores):
        single_label = self._y_kind == "single"
        return probabilities_from_scores(
            scores, self.calibration_, single_label=single_label
        )


def pad_with_minus_one(ids, n_labels):
    """Label columns padded with -1 in the place of n_labels."""
    return np.where(ids == n_labels, -1, ids)
