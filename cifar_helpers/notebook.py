"""What only a notebook needs: live curves, sliders, the source of a function."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps

from matplotlib.figure import Figure

from cifar_helpers.plots import training_curves
from cifar_helpers.plots.style import is_interactive, jupyter_shell


class LiveCurves:
    """Redraws the training curves in place after each epoch: `on_epoch=LiveCurves()`.

    Shows one picture, below the cell that made it, in JupyterLab, Colab and any other
    Jupyter kernel; does nothing in a terminal.
    """

    def __init__(self):
        self.display = None  # handle of the picture, once it is shown

    def __call__(self, history: Sequence[Mapping[str, float]]) -> None:
        """Redraw, given all rows so far, the last that of the epoch just ended."""
        if not in_kernel():
            return
        from IPython.display import display

        figure = training_curves(history)
        if self.display is None:
            self.display = display(figure, display_id=True)
        else:
            self.display.update(figure)


def in_kernel() -> bool:
    """Whether this code runs in a Jupyter kernel, which can redraw a picture."""
    return jupyter_shell() is not None


def show_source(thing):
    """The source code of a function or class, coloured: the last line of a cell."""
    from IPython.display import Code

    return Code(inspect.getsource(thing), language="python")


def slider(draw: Callable[..., Figure], **options):
    """Sliders that redraw the figure `draw(...)`, where a person can move them.

    `options` name arguments of `draw`: `(least, most)` or `(least, most, step)` makes a
    slider, a list makes a menu; they start at the argument's default. Leave the call as
    the last line of a cell, and show `draw()` in the cell before. In a notebook that a
    script runs, and on a page, a line says that the sliders need a run; outside a
    Jupyter kernel nothing happens.
    """
    if not in_kernel():
        return None
    from IPython.display import HTML, display

    names = ", ".join(options)
    line = f"<small>Run this cell to move with sliders: {names}.</small>"
    display(HTML(line))
    if not is_interactive():
        return None
    import ipywidgets  # slow to import, and only needed here

    @wraps(draw)
    def show(**values):
        display(draw(**values))

    return ipywidgets.interactive(show, **options)
