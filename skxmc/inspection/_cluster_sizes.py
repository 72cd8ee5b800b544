"""Sizes of label clusters."""

import numpy as np

from .._response import find_classifier
from ._plotting import make_axes, use_whole_ticks


class ClusterSizesDisplay:
    """How many clusters there are of each size.

    Use `from_estimator` or `from_groups` to make a display.

    Parameters
    ----------
    sizes : int ndarray of shape (n_clusters,)
        Number of labels in each cluster.
    name : str or None, default=None
        Title of the picture.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes that were drawn on, and their figure.
    bars_ : matplotlib BarContainer
        One bar for each size.

    Examples
    --------
    >>> from skxmc.inspection import ClusterSizesDisplay
    >>> ClusterSizesDisplay.from_groups([0, 1, 1, 0, 1]).sizes.tolist()
    [2, 3]
    """

    def __init__(self, *, sizes, name=None):
        self.sizes = sizes
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, *, name=None, ax=None, **bar_options):
        """Draw the clusters of a fitted classifier.

        Parameters
        ----------
        estimator : fitted classifier with `label_groups_`, or fitted BalancedKMeans
            It may be inside a Pipeline or a fitted search.
        name : str or None, default=None
            Title of the picture; None is the class of the estimator.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **bar_options
            Options of matplotlib's ``Axes.bar``.

        Returns
        -------
        ClusterSizesDisplay

        Raises
        ------
        ValueError
            If the estimator has no clusters.
        """
        classifier = find_classifier(estimator)
        groups = getattr(classifier, "label_groups_", None)
        if groups is None:
            groups = getattr(classifier, "labels_", None)  # of BalancedKMeans
        # A classifier that ranks all labels has each in a group of its own.
        if groups is None or len(np.unique(groups)) == len(groups):
            raise ValueError(
                f"{type(classifier).__name__} has no clusters in label_groups_: it is "
                "not fitted, or it clusters no labels."
            )
        name = type(classifier).__name__ if name is None else name
        return cls.from_groups(groups, name=name, ax=ax, **bar_options)

    @classmethod
    def from_groups(cls, groups, *, name=None, ax=None, **bar_options):
        """Count the sizes of given clusters and draw.

        Parameters
        ----------
        groups : int array of shape (n_labels,)
            Cluster of each label; -1 means none.
        name : str or None, default=None
            Title of the picture.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **bar_options
            Options of matplotlib's ``Axes.bar``.

        Returns
        -------
        ClusterSizesDisplay
        """
        groups = np.asarray(groups)
        return cls(sizes=np.bincount(groups[groups >= 0]), name=name).plot(
            ax, **bar_options
        )

    def plot(self, ax=None, **bar_options):
        """Draw how many clusters there are of each size.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **bar_options
            Options of matplotlib's ``Axes.bar``.

        Returns
        -------
        ClusterSizesDisplay
        """
        title = f"{len(self.sizes)} clusters"
        title = f"{self.name}: {title}" if self.name else title
        self.ax_, self.figure_ = make_axes(ax, title)
        sizes, counts = np.unique(self.sizes, return_counts=True)
        self.bars_ = self.ax_.bar(sizes, counts, **bar_options)
        self.ax_.set_xlabel("labels in a cluster")
        self.ax_.set_ylabel("number of clusters")
        use_whole_ticks(self.ax_.xaxis, sizes)
        use_whole_ticks(self.ax_.yaxis, [0, *counts])
        return self
