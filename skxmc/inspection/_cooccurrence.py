"""Which labels occur together."""

import numbers

import numpy as np
import scipy.sparse as sp

from .._validation import check_label_names, check_number
from ..metrics._ranking import check_truth
from ._plotting import make_axes, shorten


class CooccurrenceDisplay:
    """How often documents with one label also have another.

    Use `from_labels` to make a display.

    Parameters
    ----------
    shares : ndarray of shape (n_shown, n_shown)
        Share of the documents with the row's label that also have the column's label.
    ids : int ndarray of shape (n_shown,)
        Label ids, the most frequent label first.
    names : list of n_shown
        Names of these labels.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        Axes that were drawn on, and their figure.
    image_ : matplotlib AxesImage
        The shares as colours.

    Examples
    --------
    >>> import numpy as np
    >>> from skxmc.inspection import CooccurrenceDisplay
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
        """Count how often the most frequent labels occur together, and draw.

        Parameters
        ----------
        Y : sparse matrix or array of shape (n_docs, n_labels)
            Labels, 0 or 1.
        label_names : sequence of n_labels or None, default=None
            Names of all labels; None uses their ids.
        n_labels : int, default=20
            Number of labels shown.
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **image_options
            Options of matplotlib's ``Axes.imshow``.

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
        """Draw the shares as a matrix of colours.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on; None makes a new figure.
        **image_options
            Options of matplotlib's ``Axes.imshow``.

        Returns
        -------
        CooccurrenceDisplay
        """
        self.ax_, self.figure_ = make_axes(ax)
        options = {"vmin": 0, "vmax": 1, "cmap": "Blues"} | image_options
        self.image_ = self.ax_.imshow(self.shares, **options)
        # Cut to 20 characters, the names of 20 labels leave half of the picture free.
        names = [shorten(name, 20) for name in self.names]
        self.ax_.set_xticks(range(len(names)), names, rotation=90, fontsize="small")
        self.ax_.set_yticks(range(len(names)), names, fontsize="small")
        self.ax_.set_xlabel("have this label too")
        self.ax_.set_ylabel("of the documents with this label")
        self.figure_.colorbar(self.image_, ax=self.ax_)
        return self
