"""Pictures of the sizes of clusters."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from inspection_examples import heights
from numpy.testing import assert_array_equal
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from skxmc import GRankClassifier
from skxmc.cluster import BalancedKMeans
from skxmc.inspection import ClusterSizesDisplay

pytest_plugins = ["inspection_fixtures"]
pytestmark = pytest.mark.usefixtures("no_figures")

# Sizes of clusters


@pytest.mark.parametrize("container", [list, np.array, pd.Series])
def test_sizes_are_counted(container):
    groups = container([0, 2, 2, -1, 0, 2, 3, 3, -1])
    display = ClusterSizesDisplay.from_groups(groups)
    assert display.sizes.tolist() == [2, 0, 3, 2]
    bars = {round(bar.get_center()[0]): bar.get_height() for bar in display.bars_}
    assert bars == {0: 1, 2: 2, 3: 1}
    assert display.ax_.get_title() == "4 clusters"


def test_sizes_of_clusters_of_a_classifier(clustered):
    display = ClusterSizesDisplay.from_estimator(clustered)
    assert display.sizes.tolist() == [3, 3, 3, 3]
    assert_array_equal(display.sizes, np.bincount(clustered.label_groups_))
    assert heights(display) == [4]
    assert display.ax_.get_title() == "GRankClassifier: 4 clusters"
    piped = make_pipeline(TfidfVectorizer(), clustered)
    assert ClusterSizesDisplay.from_estimator(piped).name == "GRankClassifier"


def test_sizes_of_clusters_of_balanced_k_means():
    X = np.random.default_rng(0).random((50, 4))
    model = BalancedKMeans(n_clusters=7, random_state=0)
    with pytest.raises(ValueError, match="BalancedKMeans has no clusters"):
        ClusterSizesDisplay.from_estimator(model)
    display = ClusterSizesDisplay.from_estimator(model.fit(X), name="mine")
    assert_array_equal(display.sizes, np.bincount(model.labels_))
    assert display.ax_.get_title() == "mine: 7 clusters"
    shown = np.repeat(*np.unique(display.sizes, return_counts=True))
    assert_array_equal(np.sort(display.sizes), shown)
    assert sum(heights(display)) == 7


def test_no_clusters(lightdxml):
    for model in (lightdxml, make_pipeline(TfidfVectorizer(), GRankClassifier())):
        with pytest.raises(ValueError, match="has no clusters in label_groups_"):
            ClusterSizesDisplay.from_estimator(model)
    assert not plt.get_fignums()


def test_no_clusters_where_all_labels_are_ranked(grank):
    with pytest.raises(ValueError, match="it clusters no labels"):
        ClusterSizesDisplay.from_estimator(grank)
