"""Displays to draw, and data, that the tests of inspection share."""

import re
from types import SimpleNamespace

import matplotlib
import numpy as np
from matplotlib.transforms import Bbox
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin

from skxmc._words import WORD
from skxmc.inspection import (
    ClusterSizesDisplay,
    CooccurrenceDisplay,
    Explanation,
    FrequencyBinsDisplay,
    HistoryDisplay,
    RankingCurveDisplay,
)

matplotlib.use("Agg")

SMALL = dict(
    label_dim=8,
    max_epochs=8,
    batch_size=8,
    head_learning_rate=3e-2,
    dropout=0.0,
    validation_fraction=0,
    precision="fp32",
    random_state=0,
)
SHORT = SMALL | dict(max_epochs=1)
TEXTS = dict(n_layers=1, max_length=16, learning_rate=1e-2, head_learning_rate=1e-2)
N_TRAIN = 45
HISTORY = [dict(epoch=e, loss=4.0 / e, score=0.1 * e) for e in (1, 2, 3)]
DRAW = {
    "bins": lambda **options: FrequencyBinsDisplay.from_predictions(
        np.eye(3), np.eye(3), label_counts=[1, 20, 300], **options
    ),
    "curve": lambda **options: RankingCurveDisplay.from_predictions(
        np.eye(3), np.eye(3), **options
    ),
    "history": lambda **options: HistoryDisplay.from_estimator(
        SimpleNamespace(history_=HISTORY), **options
    ),
    "cooccurrence": lambda **options: CooccurrenceDisplay.from_labels(
        np.eye(3), **options
    ),
    "clusters": lambda **options: ClusterSizesDisplay.from_groups([0, 0, 1], **options),
    "explanation": lambda ax=None, **options: Explanation(
        text="red fox",
        label="x",
        probability=0.5,
        spans=[(0, 3), (4, 7)],
        weights=np.array([1.0, -2.0]),
    ).plot(ax, **options),
}


class Words(ClassifierMixin, BaseEstimator):
    """The log-odds of a label are its own and those that the words of a text add.

    Only labels of a probability of at least `least` are ranked.
    """

    def __init__(self, own=(), words=None, names=None, least=0):
        self.own = own
        self.words = words
        self.names = names
        self.least = least
        self.fit()

    def fit(self, X=None, y=None):
        self.n_labels_ = len(self.own)
        self.label_names_ = np.arange(self.n_labels_)
        if self.names is not None:
            self.label_names_ = np.array(self.names, object)
        return self

    def predict_topk(self, X, k=5):
        nothing = np.zeros(self.n_labels_)
        added = [
            sum((self.words.get(w, nothing) for w in re.findall(WORD, text)), nothing)
            for text in X
        ]
        scores = expit(np.add(self.own, added))
        ids = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, ids, axis=1)
        kept = scores >= self.least
        return np.where(kept, ids, -1), np.where(kept, scores, 0).astype(np.float32)


def train_counts(colours):
    return np.asarray(colours[1][:N_TRAIN].sum(axis=0)).ravel()


def held_out(colours, features=None):
    """Documents that no model here was trained on, and their labels."""
    X = colours[0] if features is None else features
    return X[N_TRAIN:], colours[1][N_TRAIN:]


def tick_texts(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def are_apart(axis):
    """Whether no tick label touches the next one, on a picture that is drawn."""
    axis.figure.draw_without_rendering()
    boxes = [tick.get_window_extent() for tick in axis.get_ticklabels()]
    return not any(map(Bbox.overlaps, boxes, boxes[1:]))


def heights(display):
    return [bar.get_height() for bar in display.bars_]


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]
