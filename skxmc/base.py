"""What the five systems share: fit, prediction, calibration."""

import copy
import numbers
import warnings
from pathlib import Path

import joblib
import numpy as np
import scipy.sparse as sp
import torch
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.utils import check_random_state

from ._callbacks import CallbackSupportMixin, Epochs, end_callbacks
from ._outputs import RankingClassifier, inside
from ._validation import check_choice, check_number
from .metrics import precision_at_k
from .nn.checkpoint import STATE_FORMAT, Checkpoint
from .nn.devices import (
    PRECISIONS,
    check_memory,
    choose_device,
    choose_precision,
)
from .nn.encoders import (
    BagEncoder,
    TransformerEncoder,
    check_tokenizer,
    cls_is_last,
    load_encoder,
    position_limit,
)
from .nn.process import alone, brief_lock, default_modes, seed
from .nn.state import MISSING, choice, nothing, number, one_dtype, part, refuse
from .nn.text import Features, tokenize
from .nn.training import rank, train
from .persistence import FolderMixin

__all__ = ["BaseXMCClassifier"]

# What scikit-learn looks for to end callbacks when ``fit`` has failed.
_TO_TEAR_DOWN = ("_callback_fit_ctx", "_skl_callbacks_to_teardown")
# Parameters that a training to go on from may differ in.
_MEANS_NOTHING_TO_TRAINING = (
    "checkpoint_dir",
    "label_names",
    "resume",
    "top_k",
    "verbose",
)
# Layers whose first-token states are read, and tokens of a document, where the
# encoder has as many and nobody says otherwise.
N_LAYERS, _MAX_LENGTH = 5, 128
# Best labels of a document that the calibration looks at.
_CALIBRATION_DEPTH = 50
# Training documents that calibrate where nothing is held out.
_CALIBRATION_DOCS = 2000
# Held while a network goes to another device.
_moving = brief_lock()


class BaseXMCClassifier(CallbackSupportMixin, FolderMixin, RankingClassifier):
    """Base of the classifiers; a system adds its parameters and its network.

    A subclass defines ``__init__`` with the parameters that this class reads
    (see `GRankClassifier`), and ``_build(encoder, docs, X, Y, rng)``, which
    returns the network (see `skxmc.nn.training`) for documents `docs` that were
    read from `X`, and the training labels `Y`.
    """

    # What to turn where training would not fit into memory.
    _saves_memory = (
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
        device, precision = self._device_and_precision()
        rng = np.random.default_rng(
            check_random_state(self.random_state).randint(2**31)
        )
        checkpoint = self._checkpoint(X, Y)
        with alone(device):
            seed(int(rng.integers(2**31)), device)
            encoder, docs = self._read_first(X)
            held_out = self._hold_out(Y, rng)
            self._check_held_out(held_out)
            rows = np.setdiff1d(np.flatnonzero(np.diff(Y.indptr)), held_out)
            network = self._build(encoder, docs, X, _only(Y, rows), rng)
            check_memory(
                network,
                int(docs.lengths.max()),
                self.batch_size,
                device,
                averages=self.swa_start is not None,
                keeps_best=len(held_out) > 0,
                accumulate=self.accumulate,
                precision=precision,
                advice=self._saves_memory,
            )
            self.network_ = network.to(device)
            if precision == "fp64":
                self.network_.double()
            self.history_ = []
            try:
                within = device, precision, checkpoint, epochs
                self._train(docs, Y, rows, held_out, rng, *within)
            except KeyboardInterrupt:
                self._finish(docs, Y, rows, held_out, rng)
                raise
            self._finish(docs, Y, rows, held_out, rng)
        epochs.finish()
        if checkpoint is not None:
            checkpoint.remove()

    def _checkpoint(self, X, Y):
        """The file of this very fit, named after all that it depends on."""
        if self.checkpoint_dir is None:
            return None
        parameters = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in _MEANS_NOTHING_TO_TRAINING
        }
        encoder = parameters.get("encoder")
        if isinstance(encoder, tuple):
            weights = encoder[0].state_dict().items()
            encoder = {name: weight.numpy(force=True) for name, weight in weights}
            parameters["encoder"] = encoder
        data = [_canonical(part) for part in (X, Y)]
        name = joblib.hash((STATE_FORMAT, type(self).__name__, parameters, data))
        folder = Path(self.checkpoint_dir)
        checkpoint = Checkpoint(folder / f"{name}.checkpoint")
        if not self.resume:
            checkpoint.remove()
        others = [path.name for path in folder.glob("*.checkpoint")]
        if others and checkpoint.path.name not in others and self.resume:
            warnings.warn(
                f"{folder} holds checkpoints, but none of this fit: other data, or "
                "other parameters. It starts anew. Remove those that are not needed: "
                f"{', '.join(others[:3])}.",
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

    # Class of the network that `_build` makes.
    _network = None

    def expected_state(self):
        """Checks of what `fit` sets (see `skxmc.nn.state`)."""
        expected = super().expected_state() | {
            "network_": self._check_network,
            "tokenizer_": self._check_tokenizer,
            "history_": self._check_history,
            "n_iter_": choice(len(self.history_)),
            "calibration_": self._check_calibration,
        }
        if getattr(self, "tokenizer_", None) is not None:
            expected["max_length_"] = self._check_max_length
        return expected

    def _n_features(self):
        """Features that the network must know; None where that is not settled."""
        return None if self._texts else self.n_features_in_

    def _check_network(self, network, name):
        expected = {"n_labels": self.n_labels_}
        n_features = self._n_features()
        if n_features is not None:
            expected["encoder.n_features"] = n_features
        part(self._network, **expected)(network, name)
        one_dtype(network, name)
        if getattr(network, "single_label", None) not in (
            None,
            self._y_kind == "single",
        ):
            raise ValueError(f"{name}.single_label contradicts _y_kind.")
        reads = isinstance(network.encoder, TransformerEncoder)
        if reads != (getattr(self, "tokenizer_", None) is not None):
            raise ValueError(f"{name} has a transformer, or a tokenizer, alone.")

    def _check_tokenizer(self, tokenizer, name):
        if not self._texts:
            nothing(tokenizer, name)
            return
        check_tokenizer(tokenizer, self.network_.encoder.model)

    def _check_max_length(self, max_length, name):
        if max_length is MISSING:  # of before there was one
            max_length = self.max_length
        number(1, whole=True)(max_length, name)
        max_length = self.max_length or max_length
        self._check_length("max_length", max_length, self.network_.encoder.model)

    @staticmethod
    def _check_history(history, name):
        if not isinstance(history, list):
            refuse(name, "a list", history)
        for i, epoch in enumerate(history):
            if not isinstance(epoch, dict) or not {"epoch", "loss"} <= set(epoch):
                refuse(f"{name}[{i}]", "a dict of an epoch and its loss", epoch)
            if set(epoch) - {"epoch", "loss", "score"}:
                raise ValueError(f"{name}[{i}] holds more than epoch, loss and score.")
            number(1, whole=True)(epoch["epoch"], f"{name}[{i}]['epoch']")
            for key in set(epoch) - {"epoch"}:
                number(finite=False)(epoch[key], f"{name}[{i}][{key!r}]")

    @staticmethod
    def _check_calibration(calibration, name):
        if not isinstance(calibration, tuple) or len(calibration) != 2:
            refuse(name, "a pair of numbers", calibration)
        slope, offset = calibration
        number(0)(slope, f"{name}[0]")
        number()(offset, f"{name}[1]")
        if not slope:
            raise ValueError(f"{name} has the slope 0.")

    def _check_parameters(self):
        self._check_training_parameters()
        check_number("learning_rate", self.learning_rate, numbers.Real, 0)
        for name in ("max_length", "n_layers"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), numbers.Integral, 1)
        if self.encoder_dropout is not None:
            check_number("encoder_dropout", self.encoder_dropout, numbers.Real, 0, 1)

    def _check_training_parameters(self):
        whole, real = numbers.Integral, numbers.Real
        check_choice("precision", self.precision, PRECISIONS)
        if not isinstance(self.verbose, (whole, np.bool_)):
            raise ValueError(f"verbose must be an int, got {self.verbose!r}.")
        check_random_state(self.random_state)
        for name in ("max_epochs", "batch_size", "accumulate", "top_k"):
            check_number(name, getattr(self, name), whole, 1)
        check_number("n_iter_no_change", self.n_iter_no_change, whole, 1)
        for name in ("head_learning_rate", "weight_decay", "tol"):
            check_number(name, getattr(self, name), real, 0)
        for name in ("dropout", "validation_fraction"):
            check_number(name, getattr(self, name), real, 0, 1, open_high=True)
        check_number("warmup", self.warmup, real, 0, 1)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, real, 0, open_low=True)
        if self.swa_start is not None:
            check_number("swa_start", self.swa_start, real, 0, 1, open_high=True)
        check_number("swa_every", self.swa_every, whole, 1)
        check_choice("schedule", self.schedule, ("linear", "constant"))
        if self.checkpoint_dir is not None and not isinstance(
            self.random_state, numbers.Integral
        ):
            raise ValueError(
                "checkpoint_dir needs an int as random_state, to come to the same "
                f"start again; got {self.random_state!r}."
            )
        if self.early_stopping and not self.validation_fraction:
            raise ValueError(
                "early_stopping=True needs held-out documents: give a "
                "validation_fraction above 0."
            )

    def _read_first(self, X):
        """Encoder for the kind of X, and X as the encoder reads it."""
        if not self._texts:
            self.tokenizer_ = None
            return self._bag_encoder(X.shape[1]), Features(X)
        model, self.tokenizer_ = load_encoder(self.encoder)
        limit = position_limit(model)
        self.max_length_ = self.max_length or min(_MAX_LENGTH, limit or _MAX_LENGTH)
        self._check_length("max_length", self.max_length_, model)
        return self._encoder_of(model), self._read(X)

    def _encoder_of(self, model):
        n_states = model.config.num_hidden_layers + 1
        return TransformerEncoder(
            model,
            n_layers=self._layers_read(n_states),
            cls_last=cls_is_last(self.tokenizer_),
            dropout=self.encoder_dropout,
        )

    def _check_length(self, name, length, model):
        limit = position_limit(model)
        if limit is None or length <= limit:
            return
        ready = isinstance(self.encoder, tuple)
        encoder = type(model).__name__ if ready else repr(self.encoder)
        raise ValueError(
            f"{name}={length} passes the {limit} tokens that encoder={encoder} can "
            f"read; lower it to {limit}."
        )

    def _layers_read(self, n_states):
        """How many of the encoder's layers of states are read."""
        return layers_read("n_layers", self.n_layers, N_LAYERS, n_states)

    def _bag_encoder(self, n_features):
        return BagEncoder(n_features, self.label_dim or 256, dropout=self.dropout)

    def _read(self, X):
        if self.tokenizer_ is None:
            return Features(X)
        # Models that were saved before there was a max_length_ have a max_length.
        max_length = self.max_length or self.max_length_
        return tokenize(X, self.tokenizer_, max_length)

    def _hold_out(self, Y, rng):
        return _hold_out(Y, self.validation_fraction, rng)

    def _device_and_precision(self):
        """Where to compute, and how: in float64 where the network is, or is to be."""
        device = choose_device(self.device)
        if hasattr(self, "network_"):
            precision = choose_precision(self.precision, device)
            weights = next(self.network_.parameters())
            return device, "fp64" if weights.dtype == torch.float64 else precision
        n_numbers = None
        if not self._texts and getattr(self, "label_precision", "fp32") == "fp32":
            n_numbers = self.n_docs_ * (self.n_features_in_ + self.n_labels_)
        return device, choose_precision(self.precision, device, n_numbers=n_numbers)

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

    def _encoder_rate(self, docs):
        """Peak learning rate of what is pretrained."""
        return self.learning_rate

    def _train(
        self, docs, Y, rows, held_out, rng, device, precision, checkpoint, epochs
    ):
        k = depth_of(Y)

        def evaluate(network):
            ids, _ = rank(
                network,
                docs,
                held_out,
                k,
                batch_size=self.batch_size,
                device=device,
                precision=precision,
            )
            return precision_at_k(Y[held_out], minus_one(ids, self.n_labels_), k)

        train(
            self.network_,
            docs,
            Y,
            rows=rows,
            rng=rng,
            history=self.history_,
            evaluate=evaluate if len(held_out) else None,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self._encoder_rate(docs),
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
        )
        if not all(p.isfinite().all() for p in self.network_.parameters()):
            raise ValueError(
                "Training diverged: weights are no longer finite. Lower learning_rate "
                f"({self.learning_rate}) or head_learning_rate "
                f"({self.head_learning_rate}), or set clip_norm=1."
            )

    def _finish(self, docs, Y, rows, held_out, rng):
        """Set what follows from the trained network."""
        self.n_iter_ = len(self.history_)
        self.calibration_ = (1.0, 0.0)
        if self._y_kind == "single":
            return  # the network's scores are logarithms of probabilities already
        if not len(held_out):
            held_out = rng.permutation(rows)[:_CALIBRATION_DOCS]
        ids, scores = self._rank_docs(
            docs, min(self.n_labels_, _CALIBRATION_DEPTH), held_out
        )
        self.calibration_ = _platt(Y[held_out], ids, scores)

    def _rank_checked(self, X, k):
        with default_modes():
            docs = self._read(X)
            return self._rank_docs(docs, k, np.arange(len(docs)))

    def _rank_docs(self, docs, k, rows):
        device, precision = self._device_and_precision()
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
        return minus_one(ids, self.n_labels_), scores

    def _log_odds(self, scores):
        slope, offset = self.calibration_
        return slope * scores.astype(np.float64) + offset

    def _probabilities(self, scores):
        if self._y_kind == "single":
            return inside(np.exp(scores.astype(np.float64)))
        return inside(expit(self._log_odds(scores)))


def _hold_out(Y, fraction, rng):
    """Rows to hold out of training, such that every label keeps a document.

    In a random order of the documents, the last one of a label is never held out.
    """
    rows = rng.permutation(np.flatnonzero(np.diff(Y.indptr)))
    place = np.zeros(Y.shape[0], np.int64)
    place[rows] = np.arange(len(rows))
    place = np.repeat(place, np.diff(Y.indptr))
    last = np.zeros(Y.shape[1], np.int64)
    np.maximum.at(last, Y.indices, place)
    needed = np.zeros(len(rows), bool)
    needed[place[place == last[Y.indices]]] = True
    return np.sort(rows[~needed][: round(fraction * len(rows))])


def layers_read(name, n_layers, default, n_states):
    """Check a number of last layers; None is the default, or as many as there are."""
    if n_layers is None:
        return min(default, n_states)
    if n_layers > n_states:
        raise ValueError(
            f"{name}={n_layers}, but the encoder has {n_states} layers of states, its "
            f"embeddings included; lower it to {n_states}, or leave it out."
        )
    return n_layers


def _canonical(X):
    """What makes up a CSR matrix, whatever its container and dtypes; texts as such."""
    if not sp.issparse(X):
        return X
    indices, indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X.shape, X.data.astype(np.float32), indices, indptr


def depth_of(Y):
    """K of the P@k that tells rankings apart: labels a document, at most 5.

    P@5 of 5 labels in all, or of one a document, would not.
    """
    return min(5, max(1, round(Y.nnz / np.count_nonzero(np.diff(Y.indptr)))))


def _only(Y, rows):
    """Y with other rows than `rows` emptied."""
    kept = np.zeros(Y.shape[0], Y.dtype)
    kept[rows] = 1
    Y = Y.copy()
    Y.data = Y.data * np.repeat(kept, np.diff(Y.indptr))
    Y.eliminate_zeros()
    return Y


def minus_one(ids, n_labels):
    """Label columns padded with -1 instead of n_labels."""
    return np.where(ids == n_labels, -1, ids)


def _platt(Y, ids, scores):
    """Slope and offset of the log-odds that a ranked label is right."""
    real = ids >= 0
    rows = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)
    hits = np.asarray(Y[rows[real], ids[real]]).ravel() > 0
    if hits.all() or not hits.any():
        odds = np.log1p(len(hits))
        return 1.0, float((odds if hits.all() else -odds) - scores[real].mean())
    model = LogisticRegression(C=1.0).fit(scores[real][:, None], hits)
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    # A held-out part too small to tell must not turn the ranking round.
    if slope <= 0:
        return 1.0, float(logit(hits.mean()) - scores[real].mean())
    return slope, offset
