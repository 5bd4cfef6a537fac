"""Figures of confusion matrices hold the numbers that they were given."""

import matplotlib as mpl
import numpy as np
import pytest
from drawn import NAMES, contrast

from cifar_helpers import confusion, plots
from cifar_helpers.plots.style import readable_ink

COUNTS = np.array([[900, 90, 10], [40, 800, 0], [3, 7, 990]])


def written(axes):
    """Place of a text to the text."""
    return {text.get_position(): text.get_text() for text in axes.texts}


@pytest.mark.parametrize("colours", ["Oranges", "Blues", "RdBu"])
def test_numbers_can_be_read_on_every_colour(colours):
    for value in np.linspace(0, 1, 101):
        paper = mpl.colormaps[colours](value)
        assert contrast(readable_ink(paper), paper) >= 4.5
    assert readable_ink("white") == "black" and readable_ink("navy") == "white"


def test_confusion_matrix():
    (axes,) = plots.confusion_matrix(COUNTS, NAMES).axes
    mistakes, right = (mesh.get_array() for mesh in axes.collections)
    assert (mistakes.mask == np.eye(3, dtype=bool)).all()
    assert (right.mask == ~np.eye(3, dtype=bool)).all()
    drawn = np.where(mistakes.mask, right.data, mistakes.data)
    np.testing.assert_allclose(drawn, COUNTS)
    for row, column in np.ndindex(3, 3):
        shown = written(axes)[(column + 0.5, row + 0.5)]
        assert shown == str(COUNTS[row, column])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(NAMES)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(NAMES)
    assert axes.get_ylabel() == "true class"


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(4), r"3 × 3.*got shape \(4, 4\)"),
        (-np.eye(3), "without negative values"),
        (np.full((3, 3), np.nan), "without negative values"),
        (np.eye(3) / 2, "must hold counts"),
    ],
)
def test_confusion_matrix_refuses(matrix, message):
    with pytest.raises(ValueError, match=message):
        plots.confusion_matrix(matrix, NAMES)


def test_every_number_has_the_ink_of_its_cell():
    (axes,) = plots.confusion_matrix(COUNTS, NAMES).axes
    mistakes, right = axes.collections
    for text in axes.texts:
        column, row = (int(value) for value in text.get_position())
        mesh = right if row == column else mistakes
        paper = mesh.cmap(mesh.norm(float(COUNTS[row, column])))
        assert contrast(text.get_color(), paper) >= 4.5


def test_counts_and_shares_with_their_totals():
    figure = plots.counts_and_shares(COUNTS, NAMES)
    left, right, *bars = figure.axes
    counts, shares = written(left), written(right)
    for row, column in np.ndindex(3, 3):
        place = (column + 0.5, row + 0.5)
        assert counts[place] == str(COUNTS[row, column])
        share = 100 * COUNTS[row, column] / COUNTS[row].sum()
        assert shares[place] == f"{share:.1f}"
    for index in range(3):
        assert counts[(3.65, index + 0.5)] == str(COUNTS[index].sum())
        assert counts[(index + 0.5, 3.5)] == str(COUNTS[:, index].sum())
        called = 100 * COUNTS[:, index].sum() / COUNTS.sum()
        assert shares[(index + 0.5, 3.5)] == f"{called:.1f}"
    assert counts[(3.65, 3.5)] == str(COUNTS.sum())
    assert [bar.get_xlabel() for bar in bars] == [
        "wrong (images)",
        "right (images)",
        "wrong (%)",
        "right (%)",
    ]
    for wrong in (COUNTS / 2.5, np.diag([1, 0, 3])):
        with pytest.raises(ValueError, match="must hold counts"):
            plots.counts_and_shares(wrong, NAMES)


def test_ordered_confusion_has_the_rows_of_its_tree():
    steps, order = confusion.similar_classes(COUNTS)
    figure = plots.ordered_confusion(COUNTS, NAMES, steps, order)
    tree, axes = figure.axes
    names = [NAMES[k] for k in order]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    shares = 100 * COUNTS / COUNTS.sum(1, keepdims=True)
    for row, column in np.ndindex(3, 3):
        expected = f"{shares[order[row], order[column]]:.1f}"
        assert written(axes)[(column + 0.5, row + 0.5)] == expected
    (joints,) = (c for c in tree.collections if len(c.get_segments()) == 2)
    places = sorted(segment[:, 0].max() for segment in joints.get_segments())
    assert places == pytest.approx(sorted(steps[:, 2]))
    with pytest.raises(ValueError, match="got 2 places for 3 classes"):
        plots.ordered_confusion(COUNTS, NAMES, steps, [0, 1])


@pytest.mark.filterwarnings("error")
def test_a_network_without_a_mistake_has_an_axis_as_well():
    right = 10 * np.eye(3, dtype=int)
    tree = plots.ordered_confusion(right, NAMES, *confusion.similar_classes(right)).axes
    assert tree[0].get_xlim() == pytest.approx((1, 1 - 1.08 * 0.02))


def test_difference_is_blue_where_it_is_better():
    points = np.array([[3.0, -2.0, -1.0], [0.5, -0.5, 0.0], [0, 0, 0]])
    marked = np.zeros((3, 3), bool)
    marked[0, 1] = True
    axes, bar = plots.confusion_difference(points, NAMES, marked).axes
    assert written(axes)[(0.5, 0.5)] == "+3.0"
    assert written(axes)[(1.5, 0.5)] == "−2.0"
    assert written(axes)[(2.5, 1.5)] == ""
    (mesh,) = axes.collections
    better = np.asarray(mesh.get_array()).reshape(3, 3)
    assert better[0].tolist() == [3, 2, 1] and better[1].tolist() == [-0.5, -0.5, 0]
    red, _, blue, _ = mesh.cmap(mesh.norm(2.0))
    assert blue > red
    (frame,) = axes.patches
    assert frame.get_xy() == pytest.approx((1.06, 0.06))
    assert bar.get_ylabel() == "better (points)"
    with pytest.raises(ValueError, match="must be 3 × 3"):
        plots.confusion_difference(points, NAMES, marked[:2])
