"""Training curves hold the history that they were given."""

import pytest
from drawn import column, curves_of, run_of, texts

from cifar_helpers import plots


def test_training_curves_hold_the_history():
    history = run_of(5)
    figure = plots.training_curves(history)
    loss, accuracy = curves_of(figure)
    assert loss == {
        "training": column(history, "train_loss"),
        "validation": column(history, "validation_loss"),
    }
    assert accuracy == {
        "training": column(history, "train_accuracy_percent"),
        "validation": column(history, "validation_accuracy_percent"),
    }
    assert {"epoch", "accuracy (%)", "cross-entropy (nats)"} <= set(texts(figure))


def test_training_curves_leave_out_what_is_missing():
    history = run_of(3)
    history[1]["validation_loss"] = float("nan")
    for row, empty in zip(history, (None, "", None), strict=True):
        row["train_accuracy_percent"] = empty
        del row["validation_accuracy_percent"]
    history[0] = {key: str(value) for key, value in history[0].items() if value}
    figure = plots.training_curves(history)
    loss, accuracy = curves_of(figure)
    assert loss["validation"] == [[1, 2.2], [3, pytest.approx(2.2 / 3)]]
    assert len(loss["training"]) == 3
    assert accuracy == {}
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([], "filled list with one dict per epoch"),
        ([1, 2], "filled list with one dict per epoch"),
        ([{"train_loss": 1.0}], "no 'epoch'"),
    ],
)
def test_training_curves_refuse(history, message):
    with pytest.raises(ValueError, match=message):
        plots.training_curves(history)


def test_line_panels_hold_their_lines():
    panels = {
        "loss (nats)": {"a": [3, 2, 1], "b": [1.0, 2.0, 4.0]},
        "rate": {"": [0] * 3},
    }
    levels = {"loss (nats)": (2.3, "guessing")}
    figure = plots.line_panels(panels, [16, 32, 64], "batch", True, levels)
    left, right = figure.axes
    drawn = {line.get_label(): line.get_xydata().tolist() for line in left.lines[:2]}
    assert drawn == {
        "a": [[16, 3], [32, 2], [64, 1]],
        "b": [[16, 1], [32, 2], [64, 4]],
    }
    assert left.lines[2].get_ydata()[0] == 2.3 and left.get_xscale() == "log"
    assert left.get_legend() is not None and right.get_legend() is None
    assert {"loss (nats)", "rate", "guessing", "batch"} <= set(texts(figure))


@pytest.mark.parametrize(
    "panels, x, reason",
    [
        ({"a": {"": [1, 2]}, "b": {"": [1]}}, None, "as many values"),
        ({"a": {"": []}}, None, "as many values"),
        ({"a": {"": [1, 2]}}, [1, 2, 3], "x has 3 values"),
        ({"a": {str(n): [1, 2] for n in range(8)}}, None, "1 to 7 lines, got 8"),
    ],
)
def test_line_panels_refuse_what_does_not_fit(panels, x, reason):
    with pytest.raises(ValueError, match=reason):
        plots.line_panels(panels, x)


def test_a_legend_of_many_lines_stands_above_them():
    few = {str(i): [i, 4] for i in range(3)}
    many = {str(i): [i, 4] for i in range(4)}
    figure = plots.line_panels({"few": few, "many": many})
    left, right = figure.axes
    assert left.get_ylim()[1] < 4.5 < right.get_ylim()[1]
    figure.draw_without_rendering()
    box = right.get_legend().get_window_extent().transformed(right.transData.inverted())
    assert box.y0 > 4  # data reach to 4
