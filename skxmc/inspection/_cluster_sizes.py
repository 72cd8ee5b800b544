"""Sizes of label clusters."""

import numpy as np

from .._response import find_classifier
from ._plotting import axes_for, use_whole_ticks


class ClusterSizesDisplay:
    """How many labels the clusters have.

    Made by `from_estimator` or `from_groups`.

    Parameters
    ----------
    sizes : int ndarray of shape (n_clusters,)
    name : str or None

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    bars_ : matplotlib BarContainer

    Examples
    --------
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
        estimator : fitted classifier with `label_groups_`, or BalancedKMeans
            Or a Pipeline or search with one.
        name : str or None, default=None
        ax : matplotlib Axes or None, default=None
        **bar_options
            For matplotlib's ``Axes.bar``.

        Returns
        -------
        ClusterSizesDisplay
        """
        last = find_classifier(estimator)
        groups = getattr(last, "label_groups_", getattr(last, "labels_", None))
        # Where all labels are ranked, each is a group of its own.
        if groups is None or len(np.unique(groups)) == len(groups):
            raise ValueError(
                f"{type(last).__name__} has no clusters in label_groups_: it is not "
                "fitted, or clusters no labels."
            )
        name = type(last).__name__ if name is None else name
        return cls.from_groups(groups, name=name, ax=ax, **bar_options)

    @classmethod
    def from_groups(cls, groups, *, name=None, ax=None, **bar_options):
        """Count and draw.

        Parameters
        ----------
        groups : int array of shape (n_labels,)
            Cluster of each label; -1 is none.
        name, ax, **bar_options
            As in `from_estimator`.

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
        **bar_options
            For matplotlib's ``Axes.bar``.

        Returns
        -------
        ClusterSizesDisplay
        """
        title = f"{len(self.sizes)} clusters"
        title = f"{self.name}: {title}" if self.name else title
        self.ax_, self.figure_ = axes_for(ax, title)
        sizes, counts = np.unique(self.sizes, return_counts=True)
        self.bars_ = self.ax_.bar(sizes, counts, **bar_options)
        self.ax_.set_xlabel("labels of a cluster")
        self.ax_.set_ylabel("clusters")
        use_whole_ticks(self.ax_.xaxis, sizes)
        use_whole_ticks(self.ax_.yaxis, [0, *counts])
        return self
