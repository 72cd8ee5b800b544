"""What all displays share: axes to draw on, ticks, short names."""

import numpy as np


def axes_for(ax, title=None):
    """Axes to draw on, with the title if there is one, and their figure."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib, which is not installed: pip install matplotlib."
        ) from error
    if ax is None:
        _, ax = plt.subplots(layout="constrained")
    if title:
        ax.set_title(title)
    return ax, ax.figure


def use_whole_ticks(axis, values):
    """Let an axis have ticks at whole numbers, but for ticks that it was given."""
    from matplotlib.ticker import AutoLocator

    if not isinstance(axis.get_major_locator(), AutoLocator):
        return
    if len(np.unique(values)) == 1:
        axis.set_ticks([int(values[0])])
    else:
        axis.get_major_locator().set_params(integer=True)


def shorten(name, width=30):
    name = str(name)
    return name if len(name) <= width else name[: width - 3] + "..."
