"""What the displays share: axes to draw on, whole ticks, short names."""

import numpy as np


def make_axes(ax, title=None):
    """Return axes to draw on, new ones if `ax` is None, and their figure."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Displays need matplotlib, which is not installed: pip install matplotlib."
        ) from error
    if ax is None:
        _, ax = plt.subplots(layout="constrained")
    if title:
        ax.set_title(title)
    return ax, ax.figure


def use_whole_ticks(axis, values):
    """Put the ticks of an axis at whole numbers, unless the user chose ticks."""
    from matplotlib.ticker import AutoLocator

    if not isinstance(axis.get_major_locator(), AutoLocator):
        return
    if len(np.unique(values)) == 1:  # the locator would put ticks at fractions
        axis.set_ticks([int(values[0])])
    else:
        axis.get_major_locator().set_params(integer=True)


def shorten(name, width=30):
    """Return a label's name, cut to `width` characters."""
    name = str(name)
    return name if len(name) <= width else name[: width - 3] + "..."
