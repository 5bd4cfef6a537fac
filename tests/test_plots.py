"""Each figure holds the numbers that it was given."""

from types import SimpleNamespace

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.patches import Polygon  # noqa: E402

from cifar_helpers import evaluation, plots  # noqa: E402
from cifar_helpers.data import CLASSES  # noqa: E402

NAMES = ("cat", "dog", "ship")


@pytest.fixture(autouse=True)
def nothing_stays_open():
    yield
    assert plt.get_fignums() == []


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 256, (12, 3, 8, 8), generator=generator)
    return values.to(torch.uint8)


@pytest.fixture(scope="module")
def labels():
    return torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 1])


@pytest.fixture(scope="module")
def predictions(labels):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(12, 3, generator=generator)
    return evaluation.Predictions(logits.log_softmax(1), labels, NAMES)


def texts(figure):
    """Every text on the figure that is not empty."""
    figure.canvas.draw()
    found = (text.get_text() for text in figure.findobj(matplotlib.text.Text))
    return [text for text in found if text]


def pictures(axes):
    """The pixel arrays drawn on the axes, in order."""
    return [np.asarray(image.get_array()) for image in axes.images]


# Style


def test_style_stays_inside_the_figure():
    before = plt.rcParams.copy()
    with plots.new_figure(2.0) as figure:
        assert plt.rcParams["axes.spines.top"] is False
    assert plt.rcParams == before
    assert figure.get_size_inches().tolist() == [9.0, 2.0]
    with plt.rc_context():
        plots.apply_style()
        assert plt.rcParams["grid.color"] == plots.STYLE["grid.color"]


def test_figure_is_closed_after_an_error():
    with pytest.raises(RuntimeError), plots.new_figure(2.0):
        raise RuntimeError


# Images


def test_image_grid_holds_every_image_in_reading_order(images):
    titles = [f"number {index}" for index in range(12)]
    figure = plots.image_grid(images, titles, columns=5)
    (axes,) = figure.axes
    drawn = pictures(axes)
    assert len(drawn) == 12
    for index, picture in enumerate(drawn):
        assert (picture == images[index].permute(1, 2, 0).numpy()).all()
        left, right, bottom, top = axes.images[index].get_extent()
        assert int(left) == index % 5 and right < index % 5 + 1
        assert top < bottom and int(bottom / (axes.get_ylim()[0] / 3)) == index // 5
        assert axes.images[index].get_interpolation() == "nearest"
    assert texts(figure) == titles
    assert figure.get_size_inches()[0] == pytest.approx(9.0)


def test_image_grid_takes_floats_and_maps(images):
    floats = images / 255
    (axes,) = plots.image_grid(floats, columns=4).axes
    np.testing.assert_allclose(pictures(axes)[3], floats[3].permute(1, 2, 0))
    maps = torch.linspace(-3, 5, 48).reshape(3, 4, 4)
    (axes,) = plots.image_grid(maps.requires_grad_()).axes
    assert [image.get_clim() for image in axes.images] == [(-3, 5)] * 3
    (axes,) = plots.image_grid(maps.bfloat16(), limits=(0, 1)).axes
    assert axes.images[0].get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((3, 8))}, r"3 or 4 dimensions, got shape \(3, 8\)"),
        ({"images": np.zeros((0, 3, 8, 8))}, "filled array"),
        ({"images": np.zeros((2, 4, 8, 8))}, r"\(N, 3, H, W\), got \(2, 4, 8, 8\)"),
        ({"images": np.full((2, 3, 8, 8), -1.2)}, "undo the normalization"),
        ({"images": np.full((2, 8, 8), np.nan)}, "not finite"),
        ({"images": np.full((2, 8, 8), "a")}, "must hold numbers"),
        ({"titles": ["one"]}, "got 1 titles for 2 images"),
        ({"columns": 0}, "must be above 0"),
        ({"scale": 0}, "must be above 0"),
    ],
)
def test_image_grid_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        plots.image_grid(**{"images": np.zeros((2, 3, 8, 8)), **change})


def test_class_examples_sorts_by_class(images, labels):
    figure = plots.class_examples(images, labels, NAMES, per_class=4)
    assert texts(figure) == list(NAMES)
    drawn = pictures(figure.axes[0])
    expected = [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8]  # three ships only
    assert len(drawn) == len(expected)
    for picture, index in zip(drawn, expected, strict=True):
        assert (picture == images[index].permute(1, 2, 0).numpy()).all()
    with pytest.raises(ValueError, match="per_class must be at least 1"):
        plots.class_examples(images, labels, NAMES, per_class=0)


def test_class_counts(labels):
    figure = plots.class_counts(labels, NAMES)
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [4, 5, 3]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(NAMES)
    assert {"4", "5", "3", "images"} <= set(texts(figure))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "between 0 and 2, got 0 to 3"),
        ([0.0, 1.0], "whole numbers, got float64"),
        ([[0]], "1 dimensions"),
        ([], "filled array"),
    ],
)
def test_labels_are_checked(images, labels, message):
    with pytest.raises(ValueError, match=message):
        plots.class_counts(labels, NAMES)
    with pytest.raises(ValueError, match="got 1 labels for 12 images"):
        plots.class_examples(images, [0], NAMES)


def test_pixel_histogram(images):
    figure = plots.pixel_histogram(images)
    for channel, (name, axes) in enumerate(
        zip(("red", "green", "blue"), figure.axes, strict=True)
    ):
        values = images[:, channel].double().flatten()
        heights = [bar.get_height() for bar in axes.patches[:256]]
        assert heights[7] == pytest.approx(100 * float((values == 7).double().mean()))
        assert sum(heights) == pytest.approx(100)
        mean, deviation = values.mean() / 255, values.std(correction=0) / 255
        assert axes.get_title("left") == f"{name}: {mean:.3f} ± {deviation:.3f}"
        assert axes.lines[0].get_xdata()[0] == pytest.approx(float(mean * 255))
    with pytest.raises(ValueError, match="uint8 of shape"):
        plots.pixel_histogram(images / 255)


def test_mean_images(images, labels):
    figure = plots.mean_images(images, labels, (*NAMES, "no image of it"))
    assert texts(figure) == list(NAMES)
    ships = images[[2, 5, 8]].double().mean(0) / 255
    drawn = pictures(figure.axes[0])[2]
    np.testing.assert_allclose(drawn, ships.permute(1, 2, 0), atol=1e-12)


# Judgement


@pytest.mark.parametrize("normalized", [False, True])
def test_confusion_matrix(normalized):
    counts = np.array([[900, 90, 10], [40, 800, 0], [3, 7, 990]])
    matrix = counts / counts.sum(1, keepdims=True) if normalized else counts
    figure = plots.confusion_matrix(matrix, NAMES, normalized=normalized)
    (axes,) = figure.axes
    mistakes, right = (mesh.get_array() for mesh in axes.collections)
    shown = 100 * matrix if normalized else matrix
    assert (mistakes.mask == np.eye(3, dtype=bool)).all()
    assert (right.mask == ~np.eye(3, dtype=bool)).all()
    drawn = np.where(mistakes.mask, right.data, mistakes.data)
    np.testing.assert_allclose(drawn, shown)
    written = {text.get_position(): text.get_text() for text in axes.texts}
    for row, column in np.ndindex(3, 3):
        digits = 1 if normalized else 0
        expected = f"{shown[row, column]:.{digits}f}"
        assert written[(column + 0.5, row + 0.5)] == expected
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(NAMES)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(NAMES)
    assert axes.get_ylabel() == "true class"


@pytest.mark.parametrize(
    ("matrix", "normalized", "message"),
    [
        (np.eye(4), False, r"3 × 3.*got shape \(4, 4\)"),
        (-np.eye(3), False, "without negative values"),
        (np.full((3, 3), np.nan), False, "without negative values"),
        (np.eye(3) / 2, False, "pass normalized=True"),
        (np.eye(3) * 2, True, "got values above 1"),
    ],
)
def test_confusion_matrix_refuses(matrix, normalized, message):
    with pytest.raises(ValueError, match=message):
        plots.confusion_matrix(matrix, NAMES, normalized)


def test_reliability_diagram(predictions):
    calibration = evaluation.calibration(predictions, bins=5)
    figure = plots.reliability_diagram(calibration)
    upper, lower = figure.axes
    accuracy, gap = upper.containers
    filled = [m for m in range(5) if calibration.count[m]]
    assert 0 < len(filled) < 5  # the lowest bin is empty with three classes
    for position, m in enumerate(filled):
        assert accuracy[position].get_height() == pytest.approx(
            100 * calibration.accuracy[m]
        )
        assert accuracy[position].get_center()[0] == pytest.approx(20 * m + 10)
        top = gap[position].get_y() + gap[position].get_height()
        assert top == pytest.approx(100 * calibration.confidence[m])
    assert [bar.get_height() for bar in lower.patches] == calibration.count.tolist()
    error = calibration.expected_calibration_error_percent
    assert f"{error:.2f} %" in upper.get_title("left")
    with pytest.raises(ValueError, match="evaluation.calibration, got dict"):
        plots.reliability_diagram({})


def report_of(**recalls):
    return {
        name: {"recall_percent": value, "f1_percent": value, "support": 200}
        for name, value in recalls.items()
    }


def test_per_class_bars_are_sorted_and_carry_error_bars():
    figure = plots.per_class_bars(report_of(cat=70.0, dog=90.0, ship=80.5))
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [70.0, 80.5, 90.0]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ["cat", "ship", "dog"]  # drawn from the bottom up
    (low, _), (high, _) = axes.collections[0].get_segments()[0]
    assert (low, high) == pytest.approx(evaluation.wilson_interval(140, 200))
    assert {"70.0", "80.5", "90.0", "recall (%)"} <= set(texts(figure))


def test_per_class_bars_of_another_metric():
    report = report_of(cat=70.0, dog=float("nan"))
    (axes,) = plots.per_class_bars(report, "f1_percent").axes
    assert [bar.get_width() for bar in axes.patches] == [70.0]
    assert len(axes.collections) == 0
    with pytest.raises(ValueError, match="metric must be one of.*'recall'"):
        plots.per_class_bars(report, "recall")
    with pytest.raises(ValueError, match="holds no precision_percent"):
        plots.per_class_bars(report, "precision_percent")


def test_mistakes_tell_truth_guess_and_confidence(images, predictions):
    indices = evaluation.most_confident_mistakes(predictions, 3)
    figure = plots.mistakes(images, predictions, indices)
    expected = []
    for i in indices.tolist():
        true, said = NAMES[predictions.labels[i]], NAMES[predictions.predicted[i]]
        assert true != said
        expected.append(f"{true} → {said}\n{100 * predictions.confidence[i]:.0f} %")
    assert texts(figure) == expected
    first = images[indices[0]].permute(1, 2, 0).numpy()
    assert (pictures(figure.axes[0])[0] == first).all()


@pytest.mark.parametrize("indices", [[12], [-1], [0.5]])
def test_mistakes_refuse_wrong_indices(images, predictions, indices):
    with pytest.raises(ValueError, match="indices must be whole, from 0 to 11"):
        plots.mistakes(images, predictions, indices)
    with pytest.raises(ValueError, match="got 11 images for 12 predictions"):
        plots.mistakes(images[:11], predictions, [0])


def test_overlay_map(images):
    values = torch.tensor([[0.0, 0.5], [-0.2, 0.1]])
    figure = plots.overlay_map(images[0], values, "cat", label="drop")
    plain, covered, colourbar = figure.axes
    assert (pictures(plain)[0] == images[0].permute(1, 2, 0).numpy()).all()
    grey, heat = covered.images
    np.testing.assert_allclose(heat.get_array(), values)
    assert heat.get_clim() == (-0.5, 0.5)  # zero is white
    assert heat.get_extent() == grey.get_extent() == [0, 8, 8, 0]
    assert heat.get_interpolation() == "bilinear"
    assert plain.get_title("center") == "cat"
    assert colourbar.get_ylabel() == "drop"


def test_overlay_maps(images):
    maps = np.arange(12.0).reshape(3, 2, 2)
    figure = plots.overlay_maps(images[:3], maps, NAMES)
    assert len(figure.axes) == 7  # three columns of two, and the colour bar
    for index, axes in enumerate(figure.axes[3:6]):
        np.testing.assert_allclose(axes.images[1].get_array(), maps[index])
        assert axes.images[1].get_clim() == (-11, 11)  # one scale for all
    assert [axes.get_title("center") for axes in figure.axes[:3]] == list(NAMES)


def test_overlays_refuse(images):
    maps = np.zeros((12, 2, 2))
    with pytest.raises(ValueError, match="at most 8 images, got 12"):
        plots.overlay_maps(images, maps, ["a"] * 12)
    with pytest.raises(ValueError, match="got 12 maps for 2 images"):
        plots.overlay_maps(images[:2], maps, ["a"] * 2)
    with pytest.raises(ValueError, match="got 1 titles for 2 images"):
        plots.overlay_maps(images[:2], maps[:2], ["a"])
    with pytest.raises(ValueError, match="map must be .* 2 dimensions"):
        plots.overlay_map(images[0], maps)
    with pytest.raises(ValueError, match="image must be .* 3 dimensions"):
        plots.overlay_map(images, maps[0])
    with pytest.raises(ValueError, match="not finite"):
        plots.overlay_map(images[0], maps[0] * np.nan)


# Training


def run_of(epochs, offset=0.0):
    return [
        {
            "epoch": epoch,
            "seconds": 2.5,
            "learning_rate": 0.1,
            "train_loss": 2 / epoch + offset,
            "train_accuracy_percent": 90 - 50 / epoch - offset,
            "validation_loss": 2.2 / epoch + offset,
            "validation_accuracy_percent": 88 - 50 / epoch - offset,
        }
        for epoch in range(1, epochs + 1)
    ]


def curves_of(figure):
    """Label of the curve to its data, for the loss and for the accuracy."""
    return [
        {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
        for axes in figure.axes
    ]


def column(history, key, x="epoch"):
    return [[row[x], row[key]] for row in history]


def test_training_curves_hold_the_history():
    history = run_of(5)
    figure = plots.training_curves(history, x="seconds")
    for row in history:  # the axis shows the time since the start
        row["seconds"] *= row["epoch"]
    loss, accuracy = curves_of(figure)
    assert loss == {
        "training": column(history, "train_loss", "seconds"),
        "validation": column(history, "validation_loss", "seconds"),
    }
    assert accuracy == {
        "training": column(history, "train_accuracy_percent", "seconds"),
        "validation": column(history, "validation_accuracy_percent", "seconds"),
    }
    assert {"time (s)", "accuracy (%)", "cross-entropy (nats)"} <= set(texts(figure))


def test_training_curves_beside_a_reference():
    history, stored = run_of(3, offset=0.5), run_of(7)
    figure = plots.training_curves(history, stored, reference_label="full run")
    loss, _ = curves_of(figure)
    assert loss["training, this run"] == column(history, "train_loss")
    assert loss["validation, full run"] == column(stored, "validation_loss")
    mine, theirs = figure.axes[0].lines[0], figure.axes[0].lines[2]
    assert mine.get_alpha() is None and theirs.get_alpha() < 0.5  # paler


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
    ("history", "options", "message"),
    [
        ([], {}, "filled list with one dict per epoch"),
        ([1, 2], {}, "filled list with one dict per epoch"),
        (run_of(2), {"x": "step"}, '"epoch" or "seconds", got \'step\''),
        ([{"train_loss": 1.0}], {}, "no 'epoch'"),
        (run_of(2), {"reference": []}, "filled list"),
    ],
)
def test_training_curves_refuse(history, options, message):
    with pytest.raises(ValueError, match=message):
        plots.training_curves(history, **options)


def test_live_curves_are_silent_in_a_terminal(capsys):
    live = plots.LiveCurves()
    live(run_of(1))
    live(run_of(2))
    assert live.display is None
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ValueError, match="every must be at least 1"):
        plots.LiveCurves(every=0)


def test_live_curves_redraw_one_picture_in_a_kernel(monkeypatch):
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    shown, redrawn = [], []

    def display(figure, display_id):
        assert display_id is True
        shown.append(figure)
        return SimpleNamespace(update=redrawn.append)

    monkeypatch.setattr("IPython.display.display", display)
    live = plots.LiveCurves(reference=run_of(9), every=2)
    for epoch in range(1, 6):  # draws after epochs 1, 3 and 5
        live(run_of(epoch))
    assert (len(shown), len(redrawn)) == (1, 2)
    loss, _ = curves_of(redrawn[-1])
    assert loss["training, this run"] == column(run_of(5), "train_loss")
    assert len(loss["training, stored run"]) == 9


# Comparison and drawing


def test_bars_with_error():
    names, values, errors = ["a", "b"], torch.tensor([-1.5, 2.0]), [0.25, 0.5]
    figure = plots.bars_with_error(names, values, errors, "change (points)")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [-1.5, 2.0]
    segments = [segment.tolist() for segment in axes.collections[0].get_segments()]
    assert segments == [[[-1.75, 0], [-1.25, 0]], [[1.5, 1], [2.5, 1]]]
    assert {"−1.50 ± 0.25", "2.00 ± 0.50", "change (points)"} <= set(texts(figure))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == names
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first one is on top


def test_a_cut_axis_has_dots_instead_of_bars():
    figure = plots.bars_with_error(["a", "b"], [90, 91.5], None, "%", axis_start=80)
    (axes,) = figure.axes
    assert len(axes.patches) == 0
    assert axes.lines[0].get_xdata().tolist() == [90, 91.5]
    assert axes.get_xlim()[0] == 80
    assert "91.50" in texts(figure)


@pytest.mark.parametrize(
    ("names", "values", "errors", "message"),
    [
        (["a"], [1, 2], None, "got 1 names for 2 values"),
        (["a", "b"], [1, 2], [1], "got 1 errors for 2 values"),
        (["a"], [np.nan], None, "values must be finite"),
        (["a"], [1], [-1], "errors not negative"),
        (["a"], [1], [np.nan], "errors not negative"),
        ([], [], None, "filled array"),
    ],
)
def test_bars_with_error_refuse(names, values, errors, message):
    with pytest.raises(ValueError, match=message):
        plots.bars_with_error(names, values, errors, "x")


STAGES = [
    {"name": "Input", "output": (3, 32, 32), "parameters": 0, "multiply_adds": 0},
    {"name": "Body", "output": (64, 8, 8), "parameters": 3000, "multiply_adds": 4e6},
    {"name": "Head", "output": (10,), "parameters": 1000, "multiply_adds": 1e6},
]


def test_block_diagram():
    figure = plots.block_diagram(STAGES)
    (axes,) = figure.axes
    words = set(texts(figure))
    assert {"Input", "Body", "Head", "3 × 32 × 32", "64 × 8 × 8", "10"} <= words
    assert {"3,000", "1,000", "–", "4,000", "5.0 M"} <= words
    assert {"75 %", "25 %", "80 %", "20 %"} <= words
    cuboids = [patch for patch in axes.patches if isinstance(patch, Polygon)]
    assert len(cuboids) == 3 * len(STAGES)
    fronts = [patch.get_xy() for patch in cuboids[::3]]
    width, height = np.array([np.ptp(front, axis=0) for front in fronts]).T
    assert height[0] / height[1] == pytest.approx(2)  # the root of 32 / 8
    assert width[0] < width[2] < width[1]  # 3, 10 and 64 channels
    strips = [bars[0].get_width() for bars in axes.containers]
    shares = np.array(strips).reshape(2, 3) / (np.sum(strips) / 2)
    np.testing.assert_allclose(shares, [[0, 0.75, 0.25], [0, 0.8, 0.2]])


def test_block_diagram_draws_shortcuts():
    head = {**STAGES[2], "shortcut_from": "Input"}
    (axes,) = plots.block_diagram([*STAGES[:2], head]).axes
    (line,) = axes.lines
    blocks = np.array([patch.get_xy() for patch in axes.patches[:9]], dtype=object)
    for block, x in ((0, line.get_xdata()[0]), (2, line.get_xdata()[-1])):
        corners = np.concatenate(blocks[3 * block : 3 * block + 3])
        assert corners[:, 0].min() < x < corners[:, 0].max()
    assert min(line.get_ydata()) < min(np.concatenate(blocks)[:, 1])  # above all
    for wrong in ("Head", "Neck"):
        stage = {**head, "shortcut_from": wrong}
        with pytest.raises(ValueError, match=f"'{wrong}': no earlier stage"):
            plots.block_diagram([*STAGES[:2], stage])


def test_block_diagram_without_multiply_adds():
    stages = [{k: v for k, v in s.items() if k != "multiply_adds"} for s in STAGES]
    assert "multiply-adds" not in texts(plots.block_diagram(stages))


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "1 to 10 stages, got 0"),
        ([{**STAGES[0], "name": str(n)} for n in range(11)], "1 to 10 stages, got 11"),
        ([STAGES[0], STAGES[0]], "two stages have the same name"),
        ([{"name": "Body"}], "needs name, output and parameters"),
        (["Body"], "needs name, output and parameters"),
        ([{**STAGES[0], "output": (3, 32)}], r"output of 'Input'.*got \(3, 32\)"),
        ([{**STAGES[0], "output": (3, 0, 1)}], "output of 'Input'"),
        ([{**STAGES[0], "parameters": -1}], "negative cost"),
    ],
)
def test_block_diagram_refuses(stages, message):
    with pytest.raises(ValueError, match=message):
        plots.block_diagram(stages)


def test_every_figure_draws_without_a_warning(recwarn, images, labels, predictions):
    figures = [
        plots.class_examples(images, labels, NAMES),
        plots.reliability_diagram(evaluation.calibration(predictions)),
        plots.per_class_bars(evaluation.per_class_report(predictions)),
        plots.overlay_maps(images[:2], np.ones((2, 4, 4)), ["a", "b"]),
        plots.training_curves(run_of(1), run_of(3)),
        plots.block_diagram(STAGES),
        plots.class_counts(labels, CLASSES),
    ]
    for figure in figures:
        assert isinstance(figure, Figure)
        figure.canvas.draw()
    assert [str(warning.message) for warning in recwarn] == []


SLIDER_CELL = """
import sys
from cifar_helpers import plots

def draw(dilation=4, size=32):
    with plots.new_figure(1.0) as figure:
        figure.subplots().set_title("a figure")
    print(f"drawn {dilation} {size}")
    return figure

sliders = plots.slider(draw, dilation=(1, 18), size=(4, 32, 4))
sliders
"""
LOOK_CELL = """
assert [w.description for w in sliders.children[:2]] == ["dilation", "size"]
dilation, size = sliders.children[:2]
assert (dilation.min, dilation.max, dilation.value) == (1, 18, 4)
assert (size.min, size.max, size.step, size.value) == (4, 32, 4, 32)
dilation.value = 16
"""


def test_slider_shows_where_someone_watches_and_nowhere_else():
    nbformat = pytest.importorskip("nbformat")
    client_of = pytest.importorskip("nbclient").NotebookClient
    new_cell = nbformat.v4.new_code_cell
    script = [new_cell(SLIDER_CELL), new_cell('assert "ipywidgets" not in sys.modules')]
    person = [new_cell(SLIDER_CELL), new_cell(LOOK_CELL)]
    notebook = nbformat.v4.new_notebook(cells=[*script, *person])
    client = client_of(notebook, timeout=120)
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.kc.allow_stdin = cell in person  # as JupyterLab and Colab do
            client.execute_cell(cell, index)
        states = list(client.widget_state.values())
    assert script[0].outputs == script[1].outputs == []
    view = "application/vnd.jupyter.widget-view+json"
    assert [view in output["data"] for output in person[0].outputs] == [True]
    assert person[1].outputs == []
    (shown,) = (s["outputs"] for s in states if s["_model_name"] == "OutputModel")
    assert shown[0]["text"] == "drawn 16 32\n"
    assert "image/png" in shown[1]["data"]


def test_slider_outside_a_kernel():
    assert plots.slider(plots.class_counts, labels=(1, 2)) is None
