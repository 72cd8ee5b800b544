"""Labels that documents have together."""

import numbers

import numpy as np
import scipy.sparse as sp

from .._validation import check_label_names, check_number
from ..metrics._ranking import check_truth
from ._plotting import axes_for, shorten


class CooccurrenceDisplay:
    """How often documents with one label have another one too.

    Made by `from_labels`.

    Parameters
    ----------
    shares : ndarray of shape (n_shown, n_shown)
        Of the documents with the label of a row, the share that has that of a column.
    ids : int ndarray of shape (n_shown,)
        Columns of the labels, the most frequent first.
    names : list

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
    image_ : matplotlib AxesImage

    Examples
    --------
    >>> import numpy as np
    >>> Y = np.array([[1, 1], [1, 0]])
    >>> CooccurrenceDisplay.from_labels(Y).shares.tolist()
    [[1.0, 0.5], [1.0, 1.0]]
    """

    def __init__(self, *, shares, ids, names):
        self.shares = shares
        self.ids = ids
        self.names = names

    @classmethod
    def from_labels(cls, Y, *, label_names=None, n_labels=20, ax=None, **image_options):
        """Count and draw.

        Parameters
        ----------
        Y : sparse matrix or array of shape (n_docs, n_labels)
        label_names : sequence or None, default=None
            None: their columns.
        n_labels : int, default=20
            The most frequent ones are shown.
        ax : matplotlib Axes or None, default=None
        **image_options
            For matplotlib's ``Axes.imshow``.

        Returns
        -------
        CooccurrenceDisplay
        """
        check_number("n_labels", n_labels, numbers.Integral, 1)
        Y = check_truth(Y, "Y")
        counts = np.bincount(Y.indices, minlength=Y.shape[1])
        ids = np.argsort(-counts, kind="stable")[:n_labels]
        ids = ids[counts[ids] > 0]
        part = sp.csc_array(Y)[:, ids].astype(np.float64)
        shares = (part.T @ part).toarray() / counts[ids][:, None]
        names = range(Y.shape[1])
        if label_names is not None:
            names = check_label_names(label_names, Y.shape[1])
        names = [names[j] for j in ids.tolist()]
        return cls(shares=shares, ids=ids, names=names).plot(ax, **image_options)

    def plot(self, ax=None, **image_options):
        """Draw the shares.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
        **image_options
            For matplotlib's ``Axes.imshow``.

        Returns
        -------
        CooccurrenceDisplay
        """
        self.ax_, self.figure_ = axes_for(ax)
        options = {"vmin": 0, "vmax": 1, "cmap": "Blues"} | image_options
        self.image_ = self.ax_.imshow(self.shares, **options)
        # So that the names of 20 labels leave half of the picture to the shares.
        names = [shorten(name, 20) for name in self.names]
        self.ax_.set_xticks(range(len(names)), names, rotation=90, fontsize="small")
        self.ax_.set_yticks(range(len(names)), names, fontsize="small")
        self.ax_.set_xlabel("have this label too")
        self.ax_.set_ylabel("of the documents with this label")
        self.figure_.colorbar(self.image_, ax=self.ax_)
        return self
