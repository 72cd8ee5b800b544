"""Fitted classifiers that the tests of inspection share: a plugin of pytest."""

import matplotlib.pyplot as plt
import pytest
from inspection_examples import N_TRAIN, SMALL, TEXTS
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

from skxmc import GRankClassifier, LightDXMLClassifier


@pytest.fixture
def no_figures():
    plt.close("all")  # doctests leave theirs open
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return plt.subplots()[1]


@pytest.fixture(scope="session")
def features(colours):
    return TfidfVectorizer().fit_transform(colours[0])


@pytest.fixture(scope="session")
def grank(features, colours):
    """Fitted on the features of the first texts."""
    return GRankClassifier(**SMALL).fit(features[:N_TRAIN], colours[1][:N_TRAIN])


@pytest.fixture(scope="session")
def clustered(features, colours):
    """Four clusters of three labels, and documents held out."""
    params = dict(max_leaf_size=3, predict_shortlist=2, validation_fraction=0.2)
    return GRankClassifier(**SMALL | params).fit(features, colours[1])


@pytest.fixture(scope="session")
def pipeline(colours):
    texts, Y, _ = colours
    params = SMALL | dict(label_dim=16, max_epochs=16)
    model = make_pipeline(TfidfVectorizer(), GRankClassifier(**params))
    return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])


@pytest.fixture(scope="session")
def lightdxml(colours):
    texts, Y, words = colours
    params = SMALL | dict(label_dim=16, learning_rate=1e-2, head_learning_rate=1e-2)
    model = LightDXMLClassifier(n_frequent=4, label_names=words, **params)
    return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])


@pytest.fixture(scope="session")
def reader(tiny_encoder, colours):
    """GRankClassifier that reads texts by a transformer."""
    texts, Y, words = colours
    params = SMALL | TEXTS | dict(label_dim=None, max_epochs=15, label_names=words)
    model = GRankClassifier(tiny_encoder, **params)
    return model.fit(texts[:N_TRAIN], Y[:N_TRAIN])


@pytest.fixture(scope="session")
def one_vs_rest(features, colours):
    model = OneVsRestClassifier(BernoulliNB())
    return model.fit(features[:N_TRAIN], colours[1][:N_TRAIN])
