"""The look of the figures: colours, text, the page, and how Jupyter shows them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

WIDTH = 9.0  # inches: the width of a notebook's page
DPI = 100  # pixels of the page per inch
DENSITY = 2  # pixels of the screen per pixel of the page, along one side

INK = "#262626"
SOFT = "#8a8a8a"  # for what stands behind
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, YELLOW = "#56B4E9", "#D55E00", "#F0E442"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, YELLOW)  # Okabe & Ito 2008
SEQUENTIAL = "cividis"  # from little to much
DIVERGING = "RdBu_r"  # from negative over zero to positive

STYLE = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI * DENSITY,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": plt.cycler(color=PALETTE),
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
    "image.cmap": SEQUENTIAL,
    "image.interpolation": "nearest",
}


NO_DEAD_WIDGETS = (  # the error text in place of a widget when opened again
    "<style>.jp-OutputArea-output.jupyter-widgets:not(:has(*)) "
    "{ display: none }</style>"
)


def apply_style() -> None:
    """Use the look of this series for everything that matplotlib draws from now on.

    In a Jupyter kernel every figure is shown at `DENSITY` pixels per pixel of the page.
    """
    shell = jupyter_shell()
    if shell is not None:
        plt.switch_backend(plt.get_backend())  # it sets a formatter when first loaded
        formatters = shell.display_formatter.formatters
        formatters["image/png"].for_type(Figure, display_png)
    if is_interactive():
        from IPython.display import HTML, display

        display(HTML(NO_DEAD_WIDGETS))
    plt.rcParams.update(STYLE)


def jupyter_shell():
    """The IPython shell of the Jupyter kernel that runs this code; None elsewhere."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell if getattr(shell, "kernel", None) is not None else None


def is_interactive() -> bool:
    """Whether a person runs this Jupyter kernel, and not a script.

    JupyterLab, Colab and others let a cell ask its reader for input, and say so in each
    request (`allow_stdin`); nbclient and nbconvert do not.
    """
    shell = jupyter_shell()
    if shell is None:
        return False
    request = shell.kernel.get_parent()
    return bool(request.get("content", {}).get("allow_stdin"))


def display_png(figure: Figure) -> tuple[bytes, dict[str, object]]:
    """A figure as PNG, and the size in pixels of the page at which it is displayed.

    The picture is as large as the figure, plus what sticks out of it, in whole pixels
    of the page: what lies on whole pixels in the figure does so in the picture. The
    figure's label (`figure.set_label`), if it has one, is its alternative text.
    """
    figure.draw_without_rendering()  # settles the layout
    drawn = DPI * figure.get_tightbbox().get_points()  # ((left, bottom), (right, top))
    whole = DPI * figure.bbox_inches.get_points()
    outside = (drawn - whole) * [[-1], [1]]
    steps = np.ceil(outside - 0.5).clip(0)
    box = whole + steps * [[-1], [1]]
    width, height = (int(side) for side in np.ptp(box, axis=0))
    file = BytesIO()
    figure.savefig(file, format="png", bbox_inches=Bbox(box / DPI), dpi=DPI * DENSITY)
    about = {"alt": figure.get_label()} if figure.get_label() else {}
    return file.getvalue(), {"width": width, "height": height, **about}


@contextmanager
def new_figure(height: float, width: float = WIDTH, **options) -> Iterator[Figure]:
    """A figure of `width` × `height` inches in the look of this series.

    Its sides are rounded to whole pixels of the page. Draw inside the `with`; behind it
    the figure is closed, so that a notebook shows it only where it is the value of a
    cell. `options` go to `plt.figure`.
    """
    options.setdefault("layout", "constrained")
    # a trifle more than whole, because matplotlib cuts off what a float lacks to whole
    size = [round(side * DPI) / DPI + 1e-9 for side in (width, height)]
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=size, **options)
        try:
            yield figure
        finally:
            plt.close(figure)


def readable_ink(colour) -> str:
    """Black or white, whichever stands out more on `colour`: at least 4.5 to 1.

    Contrast and luminance as in the Web Content Accessibility Guidelines 2.1.
    """
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in to_rgb(colour)
    ]
    luminance = float(np.dot((0.2126, 0.7152, 0.0722), linear))
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def blank_canvas(figure: Figure, width: float, height: float) -> Axes:
    """Axes without frame over the whole figure, `width` × `height` units, y down."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return axes
