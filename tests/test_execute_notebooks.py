"""What is stored of an executed notebook: small, sharp pictures and no more."""

from base64 import b64decode, b64encode
from io import BytesIO

import nbformat
import numpy as np
import pytest
from drawn import run_of
from PIL import Image

from cifar_helpers import plots
from tests import execute_notebooks, small_png
from tests.small_png import as_png, shrink


def pixels_of(png):
    return np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)


def error_of(png, original):
    """Largest and root mean square distance of two pictures, of 255."""
    distance = np.abs(pixels_of(png) - pixels_of(original))
    return distance.max(), np.sqrt((distance**2).mean())


@pytest.fixture(scope="module")
def photographs():
    """A picture of as many colours as photographs have, on white."""
    values = np.random.default_rng(0).integers(0, 256, (16, 3, 32, 32), np.uint8)
    return plots.display_png(plots.image_grid(values))[0]


@pytest.fixture(scope="module")
def drawing():
    return plots.display_png(plots.training_curves(run_of(9)))[0]


def test_a_drawing_is_stored_with_a_palette_that_keeps_its_values(drawing):
    small = shrink(drawing)
    assert Image.open(BytesIO(small)).mode == "P"
    assert len(small) < 0.6 * len(drawing)
    largest, mean = error_of(small, drawing)
    assert largest <= 32 and mean <= 1
    white = (pixels_of(drawing) == 255).all(axis=2)
    assert white.mean() > 0.5 and (pixels_of(small)[white] == 255).all()


def test_256_colours_are_stored_exactly():
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, (256, 3), np.uint8)
    picture = colours[generator.integers(0, 256, (60, 60))]
    original = as_png(Image.fromarray(picture))
    small = shrink(original)
    assert Image.open(BytesIO(small)).mode == "P"
    assert (pixels_of(small) == picture).all()


@pytest.mark.parametrize("step", [5, 9])
def test_photographs_get_no_palette(photographs, step):
    small = shrink(photographs, step)
    assert Image.open(BytesIO(small)).mode == "RGB"
    assert len(small) < len(photographs)
    assert error_of(small, photographs)[0] == step // 2
    white = (pixels_of(photographs) == 255).all(axis=2)
    assert (pixels_of(small)[white] == 255).all()


def test_few_pixels_of_other_colours_are_not_lost():
    """Nearly all pixels fit the palette well; a palette must not drop the rest."""
    shades = np.arange(250).repeat(400).reshape(400, 250)
    picture = np.stack([shades] * 3, axis=2).astype(np.uint8)
    colours = np.random.default_rng(0).integers(0, 256, (6, 100, 3), np.uint8)
    picture[:6, :100] = colours  # 0.6 % of the pixels
    original = as_png(Image.fromarray(picture))
    crude = as_png(Image.fromarray(picture).quantize(256, dither=0))
    largest, _ = error_of(crude, original)
    assert largest > small_png.LARGEST_ERROR  # so this test tests something
    assert error_of(shrink(original), original)[0] <= small_png.LARGEST_ERROR


def test_nothing_becomes_larger_and_transparency_stays():
    tiny = as_png(Image.new("1", (3, 3)))
    assert len(shrink(tiny)) <= len(tiny)
    clear = as_png(Image.new("RGBA", (9, 9), (255, 0, 0, 128)))
    assert shrink(clear) == clear


def notebook_with(*pngs):
    outputs = [
        nbformat.v4.new_output(
            "display_data",
            {"image/png": b64encode(png).decode(), "text/plain": "<Figure>"},
            metadata={"image/png": {"width": 900, "height": 360}},
        )
        for png in pngs
    ]
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "0"}}
    outputs.append(nbformat.v4.new_output("display_data", widget))
    cell = nbformat.v4.new_code_cell("draw()", outputs=outputs)
    cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(), cell])
    notebook.metadata["peak_memory_gb"] = 1.5
    return notebook


def test_tidied_pictures_are_sharp_and_not_larger(drawing, photographs):
    notebook = execute_notebooks.tidy(notebook_with(drawing, photographs))
    cell = notebook.cells[1]
    assert (
        "execution" not in cell.metadata and "peak_memory_gb" not in notebook.metadata
    )
    assert len(cell.outputs) == 2  # the widget is gone
    for output, original in zip(cell.outputs, (drawing, photographs), strict=True):
        png = b64decode(output.data["image/png"])
        assert len(png) < len(original)
        assert Image.open(BytesIO(png)).size == Image.open(BytesIO(original)).size
        assert output.metadata["image/png"] == {"width": 900, "height": 360}
    assert Image.open(BytesIO(drawing)).size[0] == 2 * 900
    nbformat.validate(notebook)


def test_a_notebook_that_is_too_large_has_its_photographs_rounded_more(
    photographs, monkeypatch
):
    def stored():
        notebook = execute_notebooks.tidy(notebook_with(photographs))
        return b64decode(notebook.cells[1].outputs[0].data["image/png"])

    assert stored() == shrink(photographs, step=5)
    monkeypatch.setattr(execute_notebooks, "LIMIT_BYTES", 1000)
    assert stored() == shrink(photographs, step=9)
