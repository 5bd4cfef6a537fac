"""Figures whose axes count in something that is not said are refused.

In the kernel of a notebook, `watch` makes showing such a figure an error.
"""

from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure


def is_number(text: str) -> bool:
    """Whether a tick's text is a number: `0.5`, `−3`, `20 %`, `$10^{-2}$`."""
    plain = text.strip("$ %kM").replace("\N{MINUS SIGN}", "-").replace(",", "")
    try:
        return float(plain) is not None
    except ValueError:
        return "mathdefault" in text


def counts(axes: Axes, which: str) -> bool:
    """Whether the axis `which`, "x" or "y", shows numbers at its ticks."""
    axis = getattr(axes, f"{which}axis")
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    labels = [label for tick in ticks for label in (tick.label1, tick.label2)]
    texts = [t.get_text() for t in labels if t.get_visible() and t.get_text()]
    return axis.get_visible() and bool(texts) and all(map(is_number, texts))


def are_in_line(first: Axes, second: Axes, which: str) -> bool:
    """Whether both stand in one row (for "y") or column (for "x") of the figure."""
    a, b = first.get_position(), second.get_position()
    ends = {"x": ("x0", "x1"), "y": ("y0", "y1")}[which]
    return all(abs(getattr(a, end) - getattr(b, end)) < 0.01 for end in ends)


def title_of(axes: Axes) -> str:
    return axes.get_title() or axes.get_title(loc="left")


def is_labelled(axes: Axes, which: str) -> bool:
    """Whether a label says what is counted; a title above the axes says it of y."""
    return bool(getattr(axes, f"get_{which}label")() or which == "y" and title_of(axes))


def unlabelled(figure: Figure) -> list[str]:
    """The axes with numbers but without a label, each with its place and title.

    One label serves a row or column of axes, and `supxlabel` or `supylabel` all.
    """
    figure.draw_without_rendering()
    shown = [axes for axes in figure.axes if axes.get_visible() and axes.axison]
    found = []
    for which in "xy":
        if getattr(figure, f"get_sup{which}label")():
            continue
        labelled = [axes for axes in shown if is_labelled(axes, which)]
        for axes in shown:
            if counts(axes, which) and not any(
                are_in_line(axes, other, which) for other in labelled
            ):
                place = f"{which} of axes {figure.axes.index(axes)}"
                found.append(f"{place} {title_of(axes)!r}")
    return found


def watch() -> None:
    """From now on saving or showing a figure with such axes raises ValueError."""
    save = FigureCanvasBase.print_figure

    def checked(canvas, *arguments, **options):
        if found := unlabelled(canvas.figure):
            raise ValueError(f"unlabelled axes: {', '.join(found)}")
        return save(canvas, *arguments, **options)

    FigureCanvasBase.print_figure = checked
