"""Many runs at once: their spread, what they have in common, effects with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from cifar_helpers.plots.inputs import (
    colours_for,
    require_filled,
    require_length,
    to_array,
)
from cifar_helpers.plots.style import (
    BLUE,
    INK,
    PALETTE,
    SOFT,
    VERMILION,
    new_figure,
)

VERDICT_COLOURS = {"better": BLUE, "worse": VERMILION, "not to be told apart": SOFT}


def run_spread(values, xlabel: str) -> Figure:
    """One dot for each run of the same recipe (runs,), equal ones stacked.

    A line marks the mean, a band one standard deviation to either side.
    """
    values = to_array(values, "values", 1).astype(float)
    if len(values) < 2 or not np.isfinite(values).all():
        raise ValueError("values must be two or more finite numbers")
    mean, spread = values.mean(), values.std(ddof=1)
    width = max(np.ptp(values) / 24, 1e-9)  # dots in the same column are stacked
    columns = np.round((values - values.min()) / width).astype(int)
    heights = [(columns[:i] == column).sum() for i, column in enumerate(columns)]
    with new_figure(2.2) as figure:
        axes = figure.subplots()
        axes.axvspan(mean - spread, mean + spread, color=SOFT, alpha=0.25, linewidth=0)
        axes.axvline(mean, color=INK, linewidth=1.5)
        axes.plot(values.min() + width * columns, heights, "o", color=BLUE, ms=8)
        axes.set(xlabel=xlabel, ylim=(-0.8, max(heights) + 0.8), yticks=[])
        axes.grid(False, axis="y")
    return figure


def worse_wins(differences, chances: Mapping[int, Sequence[float]]) -> Figure:
    """How often the worse of two networks comes out ahead, in percent.

    `differences` (D,) are their true distances in points; `chances` maps a number of
    runs of each to the chance at every distance (D,).
    """
    differences = to_array(differences, "differences", 1)
    colours = colours_for(len(chances), PALETTE, "numbers of runs")
    with new_figure(3.0) as figure:
        axes = figure.subplots()
        for (runs, values), colour in zip(chances.items(), colours, strict=True):
            values = to_array(values, f"chances of {runs}", 1)
            require_length(values, len(differences), "chances", "differences")
            word = "run" if runs == 1 else "runs"
            axes.plot(differences, values, color=colour, label=f"{runs} {word} of each")
        axes.axhline(50, color=SOFT, linestyle="--", linewidth=1)
        axes.set(xlabel="true difference (points)", ylim=(0, 55))
        axes.set_ylabel("the worse one wins (%)")
        axes.set_xlim(left=0)
        axes.legend()
    return figure


def runs_with_switches(on, names: Sequence[str], values, ylabel: str) -> Figure:
    """Runs from the best to the worst; below each, which switches were on in it.

    `on` (runs, switches) holds 0 and 1, `values` (runs,) what the runs reached.
    """
    on = to_array(on, "on", 2)
    values = to_array(values, "values", 1)
    require_length(values, len(on), "values", "runs")
    require_length(names, on.shape[1], "names", "switches")
    order = np.argsort(-values, kind="stable")
    with new_figure(0.26 * len(names) + 2.6) as figure:
        above, below = figure.subplots(
            2, 1, sharex=True, height_ratios=(2.0, 0.26 * len(names))
        )
        above.plot(values[order], "o", color=BLUE, ms=5)
        above.set(ylabel=ylabel)
        rows, places = np.nonzero(on[order].T)
        grid = np.indices((len(names), len(values))).reshape(2, -1)
        below.plot(grid[1], grid[0], "o", color="#e6e6e6", ms=5)
        below.plot(places, rows, "o", color=INK, ms=5)
        below.set_yticks(range(len(names)), names)
        below.set_ylim(len(names) - 0.4, -0.6)
        below.set(xlabel="networks, the best at the left", xticks=[])
        below.grid(False)
        below.tick_params(length=0)
        below.spines[:].set_visible(False)
    return figure


def effects_with_intervals(
    effects: Sequence, xlabel: str, words: Mapping[str, str] | None = None
) -> Figure:
    """Effects as dots with their 95 % intervals, the first on top.

    An effect has `name`, `points`, `half_width` and `verdict` (see
    `cifar_helpers.factorial.Effect`); the verdict gives the colour, and its name in the
    legend, unless `words` maps it to another.
    """
    require_filled(effects, "effects")
    with new_figure(0.36 * len(effects) + 1.2) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1)
        for verdict, colour in VERDICT_COLOURS.items():
            places = [i for i, e in enumerate(effects) if e.verdict == verdict]
            if places:
                label = (words or {}).get(verdict, verdict)
                _dots(axes, [effects[i] for i in places], places, colour, label)
        axes.set_yticks(range(len(effects)), [effect.name for effect in effects])
        axes.set_ylim(len(effects) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.margins(x=0.28)
        axes.set_xlabel(xlabel)
        figure.legend(loc="outside upper right", ncols=3)
    return figure


def _dots(axes, effects, places, colour, label=None, outwards=True) -> None:
    """Effects of one verdict, numbers beside them: away from zero, or on the right."""
    points = [effect.points for effect in effects]
    halves = [effect.half_width for effect in effects]
    look = {"color": colour, "capsize": 3, "elinewidth": 1.6, "ms": 7}
    axes.errorbar(points, places, xerr=halves, fmt="o", label=label, **look)
    for effect, place in zip(effects, places, strict=True):
        text = f"{effect.points:+.2f} ± {effect.half_width:.2f}".replace("-", "−")
        right = effect.points >= 0 or not outwards
        end = effect.points + effect.half_width * (1 if right else -1)
        axes.annotate(
            text,
            (end, place),
            xytext=(7 if right else -7, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            size=9,
        )


def paired_gains(gains: Mapping[str, Sequence[float]], effects: Sequence) -> Figure:
    """For each idea, what it bought in each pair of networks, from least to most.

    `gains` maps its name to differences (pairs,), with it minus without it. `effects`
    has one for each idea; its line is the mean, the band its 95 % interval.
    """
    if not gains or len(gains) != len(effects):
        raise ValueError(f"{len(gains)} ideas, {len(effects)} effects: must agree")
    with new_figure(2.9) as figure:
        panels = figure.subplots(1, len(gains), sharey=True, squeeze=False)[0]
        for axes, (name, values), effect in zip(
            panels, gains.items(), effects, strict=True
        ):
            values = np.sort(to_array(values, f"gains of {name}", 1))
            low, high = (effect.points + s * effect.half_width for s in (-1, 1))
            axes.axhspan(low, high, color=SOFT, alpha=0.3, linewidth=0)
            axes.axhline(effect.points, color=INK, linewidth=1.5)
            axes.axhline(0, color=INK, linewidth=1, linestyle=":")
            colours = np.where(values > 0, BLUE, VERMILION)
            axes.scatter(range(len(values)), values, color=colours, s=36, zorder=3)
            axes.set(xlabel="pairs of networks, sorted", xticks=[])
            axes.set_title(name)
        panels[0].set_ylabel("with it − without it\n(points of accuracy)")
    return figure


def means_of_pairs(pairs: Mapping[tuple[str, str], object], ylabel: str) -> Figure:
    """For each pair of switches, the means of its four combinations, as two lines.

    `pairs` maps (first, second) to means (2, 2): the first off and on, the second off
    and on. Parallel lines mean that what the first buys does not depend on the second.
    """
    require_filled(pairs, "pairs")
    with new_figure(2.9) as figure:
        panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
        for axes, ((first, second), means) in zip(panels, pairs.items(), strict=True):
            means = to_array(means, f"means of {first} and {second}", 2)
            if means.shape != (2, 2):
                raise ValueError(f"means must be of shape (2, 2), got {means.shape}")
            for state, colour, style in ((0, SOFT, "o--"), (1, BLUE, "o-")):
                word = ("without", "with")[state]
                label = f"{word} {second}"
                axes.plot((0, 1), means[:, state], style, color=colour, label=label)
            axes.set_xticks((0, 1), (f"no {first}", first))
            axes.set_xlim(-0.3, 1.3)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.25))
        panels[0].set_ylabel(ylabel)
    return figure


def gains_and_costs(effects: Sequence, costs: Mapping[str, Sequence[float]]) -> Figure:
    """What each switch buys, beside what it costs: a row each, a column for each cost.

    `costs` maps a label with its unit to one number for each of `effects`; negative
    ones are savings.
    """
    if not effects or not costs:
        raise ValueError("pass at least one effect and one kind of cost")
    with new_figure(0.36 * len(effects) + 1.2) as figure:
        widths = [1.5, *[1.0] * len(costs)]
        bought, *panels = figure.subplots(
            1, 1 + len(costs), sharey=True, width_ratios=widths
        )
        bought.axvline(0, color=INK, linewidth=1)
        for place, effect in enumerate(effects):
            colour = VERDICT_COLOURS[effect.verdict]
            _dots(bought, [effect], [place], colour, outwards=False)
        bought.set_xlabel("buys (points)")
        low, high = bought.get_xlim()
        bought.set_xlim(low, high + 0.9 * (high - low))  # room for the numbers
        for axes, (label, values) in zip(panels, costs.items(), strict=True):
            values = to_array(values, label, 1).astype(float)
            require_length(values, len(effects), "costs", "effects")
            bars = axes.barh(range(len(effects)), values, color=SOFT, height=0.6)
            texts = [f"{v:,.1f}".replace("-", "−") if v else "0" for v in values]
            axes.bar_label(bars, texts, padding=4, size=9)
            axes.axvline(0, color=INK, linewidth=1)
            axes.margins(x=0.45)
            axes.set_xlabel(label)
        bought.set_yticks(range(len(effects)), [effect.name for effect in effects])
        bought.set_ylim(len(effects) - 0.4, -0.6)
        for axes in (bought, *panels):
            axes.tick_params(axis="y", length=0)
            axes.grid(False, axis="y")
    return figure


def one_among_many(
    values, chosen: float | None, flips: Mapping[str, float], xlabel: str
) -> Figure:
    """Where one network stands among all, and where each flip of a switch leads.

    `values` (runs,) are all results; `chosen` is that of the network, None if it was
    not trained; `flips` maps what a flip does to the result of the network it leads to.
    """
    values = to_array(values, "values", 1)
    with new_figure(0.34 * len(flips) + 1.5) as figure:
        axes = figure.subplots()
        axes.plot(values, np.full(len(values), -1.0), "|", color=SOFT, ms=14)
        rows = ["all networks", *flips]
        for place, (_, value) in enumerate(flips.items()):
            colour = BLUE if chosen is None or value >= chosen else VERMILION
            axes.plot(value, place, "o", color=colour, ms=7)
            if chosen is not None:
                axes.plot((chosen, value), (place, place), color=colour, lw=1.5)
        if chosen is not None:
            axes.axvline(chosen, color=INK, linewidth=1.5)
        axes.set_yticks(range(-1, len(flips)), rows)
        axes.set_ylim(len(flips) - 0.4, -1.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.set_xlabel(xlabel)
    return figure
