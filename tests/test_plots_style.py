"""The look holds for one figure, and Jupyter shows it sharp."""

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from drawn import IMAGES, LABELS, NAMES, STAGES, random_predictions, run_of
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from nbclient import NotebookClient
from PIL import Image

from cifar_helpers import calibration, confusion, plots, scores
from cifar_helpers.plots import style

ROOT = Path(__file__).resolve().parents[1]
MATRIX = np.array([[9, 1, 0], [2, 7, 1], [0, 1, 9]])


def test_style_stays_inside_the_figure():
    before = plt.rcParams.copy()
    with plots.new_figure(2.0) as figure:
        assert plt.rcParams["axes.spines.top"] is False
    assert plt.rcParams == before
    assert figure.get_size_inches().tolist() == pytest.approx([9.0, 2.0])
    assert plt.get_fignums() == []
    with plt.rc_context():
        plots.apply_style()
        assert plt.rcParams["axes.spines.top"] is False


def test_figure_is_closed_after_an_error():
    with pytest.raises(RuntimeError), plots.new_figure(2.0):
        raise RuntimeError
    assert plt.get_fignums() == []


@pytest.fixture(scope="module")
def figures():
    """One figure of each kind."""
    predictions = random_predictions()
    with plots.new_figure(2) as grids:
        left, right = grids.subplots(1, 2)
        plots.number_grid(left, np.eye(3))
        plots.taps_on_image(right, IMAGES[0], 2, [(0, 0)])
    return [
        plots.image_grid(IMAGES[:3], ["a\nb", "c", "d"]),
        plots.class_examples(IMAGES, LABELS, NAMES),
        plots.mistakes(IMAGES, predictions, [0, 1]),
        plots.pixel_histogram(IMAGES),
        plots.confusion_matrix(np.eye(3), NAMES),
        plots.reliability_diagram(calibration.calibration(predictions)),
        plots.counts_and_shares(np.eye(3), NAMES),
        plots.ordered_confusion(MATRIX, NAMES, *confusion.similar_classes(MATRIX)),
        plots.confusion_difference(np.eye(3), NAMES, np.eye(3)),
        plots.dots_with_intervals(["a"], {"x": [(1, 0, 2)], "y": [(2, 1, 3)]}, "x"),
        plots.threshold_curves({"cat": scores.one_against_rest(predictions, 0)}),
        plots.selective_curves({"net": scores.answered_first(predictions)}),
        plots.claim_sizes({"net": ([0.5, 1, 2], [4000, 1000, 250])}, 10_000),
        plots.training_curves(run_of(1)),
        plots.bars_with_error(["a", "b"], [1, 2], [0.1, 0.2], "x"),
        plots.bar_columns(["a", "b"], {"x": [1, 2], "y": [3, 4]}),
        plots.block_diagram(STAGES),
        grids,
    ]


def test_every_figure_draws_without_a_warning(figures, recwarn):
    for figure in figures:
        assert isinstance(figure, Figure)
        figure.canvas.draw()
    assert [str(warning.message) for warning in recwarn] == []
    assert plt.get_fignums() == []


def test_text_is_of_nine_points_or_more(figures):
    for figure in figures:
        figure.canvas.draw()
        words = [text for text in figure.findobj(Text) if text.get_text()]
        assert min(text.get_size() for text in words) >= 9


def size_of(png):
    return Image.open(BytesIO(png)).size


def test_pictures_have_twice_the_pixels_that_they_take_on_the_page(figures):
    for figure in figures:
        png, page = plots.display_png(figure)
        assert size_of(png) == (2 * page["width"], 2 * page["height"])


@pytest.mark.parametrize("width", [3.333, 4.35, 8.16])  # 4.35 * 200 < 870 as a float
def test_figures_are_whole_pixels_of_the_page(width):
    with plots.new_figure(1.0, width) as figure:
        figure.subplots()
    _, page = plots.display_png(figure)
    assert page == {"width": round(100 * width), "height": 100}


def test_what_sticks_out_of_a_figure_is_shown():
    with plots.new_figure(1.0, 1.0, layout="none") as figure:
        figure.text(1.0, 0.5, "█████", color="red", va="center")
    png, page = plots.display_png(figure)
    assert page["width"] > 130 and page["height"] == 100
    pixels = np.asarray(Image.open(BytesIO(png)).convert("RGB"))
    red = (pixels == (255, 0, 0)).all(axis=(2)).any(axis=0)
    assert red[201:210].all() and red[-8:].any()


CELL = """
import matplotlib.pyplot as plt
from IPython.display import display
from cifar_helpers import plots

plots.apply_style()

def draw():
    with plots.new_figure(1.0, 2.0) as figure:
        figure.subplots()
    return figure

shown = display(draw(), display_id=True)
shown.update(draw())
plt.plot([1, 2])
plt.show()
draw()
"""


@pytest.mark.slow
def test_jupyter_shows_figures_at_twice_the_density():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, timeout=120).execute()
    outputs = [output for output in notebook.cells[0].outputs if "data" in output]
    assert len(outputs) == 3  # `display`, pyplot's own way, and the cell's value
    for output in outputs:
        width, height = size_of(b64decode(output["data"]["image/png"]))
        page = output["metadata"]["image/png"]
        assert (width, height) == (2 * page["width"], 2 * page["height"])
    assert outputs[0]["metadata"]["image/png"] == {"width": 200, "height": 100}
    assert outputs[2]["metadata"]["image/png"] == {"width": 200, "height": 100}


COLOUR_BLIND = {  # Machado et al. 2009, severity 1, on linear RGB
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def lab(linear):
    """CIELAB of linear sRGB (N, 3), white point D65."""
    to_xyz = [
        [0.4124, 0.3576, 0.1805],
        [0.2126, 0.7152, 0.0722],
        [0.0193, 0.1192, 0.9505],
    ]
    x, y, z = np.cbrt((linear @ np.transpose(to_xyz)) / (0.9505, 1.0, 1.089)).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


@pytest.mark.parametrize("kind", COLOUR_BLIND)
def test_the_palette_can_be_told_apart_by_the_colour_blind(kind):
    """Every two colours lie more than 10 apart in CIELAB (CIE 1976)."""
    rgb = np.array([to_rgb(colour) for colour in plots.PALETTE])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.transpose(COLOUR_BLIND[kind])).clip(0, 1)
    colours = lab(seen)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    assert apart[~np.eye(len(colours), dtype=bool)].min() > 10
    blue, orange = lab(linear)[:2]  # and this is how CIELAB is to come out
    assert blue == pytest.approx((45.9, -0.7, -44.1), abs=3)


def test_text_in_figures_has_nine_points_or_more():
    sizes = [v for key, v in style.STYLE.items() if key.endswith("size")]
    assert len(sizes) >= 5 and min(sizes) >= 9
    for module in (ROOT / "cifar_helpers" / "plots").glob("*.py"):
        numbers = re.findall(r"\bsize=(\d+)|fontsize=(\d+)", module.read_text())
        assert all(int(a or b) >= 9 for a, b in numbers), module.name
