"""Figures of many runs show the numbers that they were given."""

from collections import Counter

import numpy as np
import pytest
from drawn import texts

from cifar_helpers import plots
from cifar_helpers.factorial import Effect
from cifar_helpers.plots.style import BLUE, SOFT, VERMILION

EFFECTS = [
    Effect(("aspp",), 2.5, 0.5, 1e-6, 6e-6),
    Effect(("dilation",), -1.25, 0.25, 1e-5, 5e-5),
    Effect(("attention", "residual"), 0.1, 0.4, 0.6, 0.6),
]


def test_run_spread_has_a_dot_for_every_run():
    values = [60.0, 61.0, 61.0, 64.0]
    (axes,) = plots.run_spread(values, "accuracy (%)").axes
    mean, dots = axes.lines
    assert set(mean.get_xdata()) == {np.mean(values)}
    assert dots.get_xdata() == pytest.approx(values, abs=4 / 24)
    heights = Counter(dots.get_ydata())
    assert heights == {0: 3, 1: 1}  # the equal one stands on its twin
    low, high = (
        axes.patches[0].get_extents().transformed(axes.transData.inverted()).intervalx
    )
    assert high - low == pytest.approx(2 * np.std(values, ddof=1))
    with pytest.raises(ValueError, match="two or more finite"):
        plots.run_spread([1.0], "x")


def test_worse_wins():
    figure = plots.worse_wins([0, 1, 2], {1: [50, 40, 30], 3: [50, 20, 5]})
    (axes,) = figure.axes
    assert axes.lines[1].get_ydata().tolist() == [50, 20, 5]
    assert {"1 run of each", "3 runs of each"} <= set(texts(figure))
    with pytest.raises(ValueError, match="got 2 chances for 3 differences"):
        plots.worse_wins([0, 1, 2], {1: [50, 40]})
    for chances in ({}, {runs: [50, 40] for runs in range(8)}):
        with pytest.raises(ValueError, match=f"1 to 7 numbers.*got {len(chances)}"):
            plots.worse_wins([0, 1], chances)


def test_runs_with_switches_are_sorted_with_what_was_on():
    on = np.array([[1, 0], [1, 1], [0, 0]])
    figure = plots.runs_with_switches(on, ["a", "b"], [70, 90, 80], "accuracy (%)")
    above, below = figure.axes
    assert above.lines[0].get_ydata().tolist() == [90, 80, 70]
    shown = {*zip(*below.lines[1].get_data(), strict=True)}
    assert shown == {(0, 0), (0, 1), (2, 0)}  # (place, switch)
    assert len(below.lines[0].get_xdata()) == 6
    with pytest.raises(ValueError, match="got 1 names for 2 switches"):
        plots.runs_with_switches(on, ["a"], [70, 90, 80], "x")


def test_effects_with_intervals():
    figure = plots.effects_with_intervals(EFFECTS, "points")
    (axes,) = figure.axes
    shown = {"+2.50 ± 0.50", "−1.25 ± 0.25", "+0.10 ± 0.40", "attention × residual"}
    assert shown <= set(texts(figure))
    colours = [container[0].get_color() for container in axes.containers]
    assert colours == [BLUE, VERMILION, SOFT]
    ends = [c[2][0].get_segments()[0][:, 0].tolist() for c in axes.containers]
    assert ends == [[2.0, 3.0], [-1.5, -1.0], pytest.approx([-0.3, 0.5])]
    named = plots.effects_with_intervals(EFFECTS, "points", {"better": "help"})
    assert {"help", "worse"} <= set(texts(named)) and "better" not in texts(named)
    with pytest.raises(ValueError, match="effects is empty"):
        plots.effects_with_intervals([], "x")


def test_means_of_pairs():
    means = [[60, 70], [62, 75]]
    figure = plots.means_of_pairs(
        {("a", "b"): means, ("b", "a"): np.transpose(means)}, "%"
    )
    first, second = figure.axes
    assert [line.get_ydata().tolist() for line in first.lines] == [[60, 62], [70, 75]]
    assert [line.get_ydata().tolist() for line in second.lines] == [[60, 70], [62, 75]]
    assert {"without b", "with b", "no a", "a"} <= set(texts(figure))
    with pytest.raises(ValueError, match="of shape .2, 2."):
        plots.means_of_pairs({("a", "b"): [[1, 2, 3]]}, "%")
    with pytest.raises(ValueError, match="pairs is empty"):
        plots.means_of_pairs({}, "%")


def test_gains_and_costs():
    costs = {"parameters (thousands)": [26.0, 0.0, -1.2], "time (%)": [10, -5, 0]}
    figure = plots.gains_and_costs(EFFECTS, costs)
    bought, *panels = figure.axes
    assert [c[0].get_xdata()[0] for c in bought.containers] == [2.5, -1.25, 0.1]
    for axes, (label, values) in zip(panels, costs.items(), strict=True):
        assert axes.get_xlabel() == label
        assert [bar.get_width() for bar in axes.patches] == values
    assert {"26.0", "0", "−1.2", "−5.0", "+2.50 ± 0.50"} <= set(texts(figure))
    with pytest.raises(ValueError, match="got 1 costs for 3 effects"):
        plots.gains_and_costs(EFFECTS, {"x": [1]})
    with pytest.raises(ValueError, match="at least one effect"):
        plots.gains_and_costs([], costs)


def test_one_among_many():
    figure = plots.one_among_many([60, 62, 65], 62, {"− a": 60, "+ b": 65}, "%")
    (axes,) = figure.axes
    assert axes.lines[0].get_xdata().tolist() == [60, 62, 65]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [(d.get_xdata().item(), d.get_color()) for d in dots] == [
        (60, VERMILION),
        (65, BLUE),
    ]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ["all networks", "− a", "+ b"]
    untrained = plots.one_among_many([60, 62], None, {"+ b": 62}, "%")
    assert len(untrained.axes[0].lines) == 2


def test_paired_gains_shows_every_pair_beside_the_mean():
    effect = Effect(("aspp",), 1.0, 0.5, 0.01, 0.02)
    figure = plots.paired_gains({"aspp": [2.0, -1.0, 0.5]}, [effect])
    (axes,) = figure.axes
    (dots,) = axes.collections
    assert dots.get_offsets()[:, 1].tolist() == [-1.0, 0.5, 2.0]
    colours = dots.get_facecolors()
    assert (colours[1] == colours[2]).all() and (colours[0] != colours[1]).any()
    mean, zero = axes.lines
    assert mean.get_ydata()[0] == 1.0 and zero.get_ydata()[0] == 0
    band = axes.patches[0]
    assert (band.get_y(), band.get_height()) == (0.5, 1.0)
    with pytest.raises(ValueError, match="2 effects"):
        plots.paired_gains({"aspp": [1.0]}, [effect, effect])


def test_effects_stand_in_the_row_of_their_name():
    mixed = [EFFECTS[2], EFFECTS[0], EFFECTS[1], EFFECTS[0]]
    (axes,) = plots.effects_with_intervals(mixed, "points").axes
    drawn = [row for c in axes.containers for row in c[0].get_xydata().tolist()]
    assert sorted(drawn, key=lambda row: row[1]) == [
        [effect.points, row] for row, effect in enumerate(mixed)
    ]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == [effect.name for effect in mixed]
    bought, costs = plots.gains_and_costs(mixed, {"time (%)": [1, 2, 3, 4]}).axes
    places = [c[0].get_ydata().item() for c in bought.containers]
    assert places == [0, 1, 2, 3]
    assert [bar.get_y() + bar.get_height() / 2 for bar in costs.patches] == places


def test_lines_of_pairs_say_whether_the_second_was_on():
    (axes,) = plots.means_of_pairs({("a", "b"): [[60, 70], [62, 75]]}, "%").axes
    lines = {line.get_label(): line.get_ydata().tolist() for line in axes.lines}
    assert lines == {"without b": [60, 62], "with b": [70, 75]}
