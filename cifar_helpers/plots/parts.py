"""What happens part by part: feature maps, and shares of what a network costs."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from cifar_helpers.plots.inputs import require_filled, to_array, to_pictures
from cifar_helpers.plots.style import PALETTE, new_figure, readable_ink

LEAST_PERCENT = 4.5  # of a strip: a narrower piece has no room for its share


def maps_by_part(
    image, networks: Mapping[str, Mapping[str, object]], titles: Mapping[str, str]
) -> Figure:
    """Feature maps of each part (rows), for several networks side by side.

    `image` is a picture (3, H, W). `networks` maps a network's name to its maps by
    part, each (count, h, w), with the same parts and counts everywhere; `titles` gives
    each part's name for the reader. A map is scaled from its least value (dark) to its
    largest (bright).
    """
    require_filled(networks, "networks")
    first, maps = next(iter(networks.items()))
    require_filled(maps, first)
    parts, count = list(maps), len(next(iter(maps.values())))
    drawn = {}  # network: part: (count, h, w)
    for name, maps in networks.items():
        drawn[name] = {p: to_array(maps[p], f"{name}, {p}", 3) for p in maps}
        if list(maps) != parts or any(len(m) != count for m in drawn[name].values()):
            raise ValueError(f"{name} must have {count} maps for each of {parts}")
    columns = 2 + count * len(networks)
    with new_figure(0.95 * len(parts)) as figure:
        widths = (1.2, 1.1, *[1] * (columns - 2))
        shape = {"width_ratios": widths, "squeeze": False}
        panels = figure.subplots(len(parts), columns, **shape)
        for panel in panels.flat:
            panel.set_axis_off()
        panels[0, 0].imshow(to_pictures(to_array(image, "image", 3)[None])[0])
        for number, (name, maps) in enumerate(drawn.items()):
            first = 2 + number * count
            panels[0, first].set_title(name, size=10)
            for row, part in enumerate(parts):
                for column, values in enumerate(maps[part]):
                    panels[row, first + column].imshow(values)
        for row, part in enumerate(parts):
            name = titles[part].replace(" ", "\n", 1)
            look = {"transform": panels[row, 1].transAxes, "size": 9, "va": "center"}
            panels[row, 1].text(0.95, 0.5, name, ha="right", **look)
    names = ", ".join(titles[part] for part in parts)
    figure.set_label(f"Feature maps after {names}; networks: {', '.join(networks)}.")
    return figure


def share_strips(
    amounts: Mapping[str, Mapping[str, float]], titles: Mapping[str, str]
) -> Figure:
    """One strip for each kind of cost, shared out among the parts in their colours.

    `amounts` maps a cost, such as "parameters", to the amount of each part, none below
    zero; `titles` gives each part's name for the legend.
    """
    require_filled(amounts, "amounts")
    parts, told = list(next(iter(amounts.values()))), []
    with new_figure(0.55 * len(amounts) + 1.3) as figure:
        axes = figure.subplots()
        for place, (cost, by_part) in enumerate(amounts.items()):
            if set(by_part) != set(parts):
                raise ValueError(f"{cost} has other parts than the first cost")
            values = to_array([by_part[part] for part in parts], cost, 1)
            if not np.isfinite(values).all() or values.min() < 0 or not values.any():
                raise ValueError(f"{cost}: amounts must be finite and not negative")
            shares = 100 * values / values.sum()
            left = np.cumsum(shares) - shares
            for number, share in enumerate(shares):
                colour = PALETTE[number % len(PALETTE)]
                label = titles[parts[number]] if place == 0 else None
                look = {"color": colour, "edgecolor": "white", "label": label}
                axes.barh(place, share, 0.62, left[number], **look)
                if share > LEAST_PERCENT:
                    text = {"ha": "center", "va": "center", "size": 9}
                    middle, ink = left[number] + share / 2, readable_ink(colour)
                    axes.text(middle, place, f"{share:.0f} %", color=ink, **text)
            largest = int(shares.argmax())
            told.append(f"{cost}: most in {titles[parts[largest]]}")
        axes.set_yticks(range(len(amounts)), amounts)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        axes.set(xlim=(0, 100), xlabel="share of the whole network (%)")
        figure.legend(loc="outside lower center", ncols=4)
    figure.set_label(f"Strips of shares by part. {'; '.join(told)}.")
    return figure
