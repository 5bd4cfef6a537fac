"""Pictures of a data set hold the images and numbers that they were given."""

from io import BytesIO

import numpy as np
import pytest
import torch
from drawn import IMAGES, LABELS, NAMES, pictures, random_predictions, texts
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from cifar_helpers import evaluation, plots


def test_image_grid_holds_every_image_in_reading_order():
    titles = [f"number {index}" for index in range(12)]
    figure = plots.image_grid(IMAGES, titles, columns=5)
    (axes,) = figure.axes
    drawn = pictures(axes)
    assert len(drawn) == 12
    for index, picture in enumerate(drawn):
        assert (picture == IMAGES[index].permute(1, 2, 0).numpy()).all()
        left, right, bottom, top = axes.images[index].get_extent()
        width, height = axes.get_xlim()[1] / 5, axes.get_ylim()[0] / 3
        assert int(left / width) == int(right / width) == index % 5
        assert top < bottom and int(bottom / height) == index // 5
    assert texts(figure) == titles
    assert 8 < figure.get_size_inches()[0] < 9.001


def pixels_of(figure):
    """The pixels (H, W, 3) of a figure as Jupyter shows it."""
    png, _ = plots.display_png(figure)
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def find_enlarged(pixels, picture, factor):
    """The corners (row, column) at which a picture lies, each pixel a whole square."""
    enlarged = picture.repeat(factor, 0).repeat(factor, 1)
    windows = sliding_window_view(pixels, enlarged.shape)[:, :, 0]
    candidates = np.argwhere((windows[:, :, 0, 0] == enlarged[0, 0]).all(-1))
    return [tuple(place) for place in candidates if (windows[*place] == enlarged).all()]


@pytest.mark.parametrize("columns", [3, 5, 8, 11])
@pytest.mark.parametrize("titles", [None, ["a title\nof two lines"] * 6])
def test_images_are_enlarged_by_a_whole_number_without_interpolation(columns, titles):
    pixels = pixels_of(plots.image_grid(IMAGES[:6], titles, columns=columns))
    room = 1800 / columns  # pixels of the screen for one image of 8 x 8
    factor = int(room / 1.03 / 8)
    for image in IMAGES[:6]:
        found = find_enlarged(pixels, image.permute(1, 2, 0).numpy(), factor)
        assert len(found) == 1


def test_examples_are_enlarged_by_a_whole_number_too():
    picture = IMAGES[0].permute(1, 2, 0).numpy()
    examples = pixels_of(plots.class_examples(IMAGES, LABELS, NAMES, per_class=4))
    assert len(find_enlarged(examples, picture, int(1600 / 4 / 1.03 / 8))) == 1


def test_long_titles_are_broken_between_words():
    titles = ["0.34 airplane\n0.56 automobile"] * 20
    figure = plots.image_grid(np.zeros((20, 32, 32)), titles, columns=10)
    assert texts(figure) == ["0.34 airplane\n0.56\nautomobile"] * 20
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    tiles = [image.get_window_extent() for image in figure.axes[0].images]
    for left, right in zip(boxes[:9], boxes[1:], strict=False):
        assert left.x1 < right.x0
    for above, below in zip(tiles[:10], boxes[10:], strict=True):
        assert below.y1 < above.y0  # no title reaches into the row above


def test_images_larger_than_their_room_are_made_smaller():
    (axes,) = plots.image_grid(np.zeros((8, 300, 300))).axes
    left, right, bottom, top = axes.images[0].get_extent()
    assert right - left == pytest.approx(1800 / 8 / 1.03, abs=0.1)
    assert bottom - top == pytest.approx(right - left)


def test_images_keep_their_shape():
    (axes,) = plots.image_grid(np.zeros((2, 4, 16))).axes
    left, right, bottom, top = axes.images[0].get_extent()
    assert (right - left) / (bottom - top) == pytest.approx(4, rel=1e-2)


def test_image_grid_takes_floats_and_maps():
    floats = IMAGES / 255
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


def test_class_examples_sorts_by_class():
    figure = plots.class_examples(IMAGES, LABELS, NAMES, per_class=4)
    assert texts(figure) == list(NAMES)
    drawn = pictures(figure.axes[0])
    expected = [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8]  # three ships only
    assert len(drawn) == len(expected)
    for picture, index in zip(drawn, expected, strict=True):
        assert (picture == IMAGES[index].permute(1, 2, 0).numpy()).all()
    (axes,) = figure.axes
    heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
    for index, image in zip(expected, axes.images, strict=True):  # beside its name
        left, _, bottom, top = image.get_extent()
        assert top < heights[NAMES[LABELS[index]]] < bottom and left >= 200
    with pytest.raises(ValueError, match="per_class must be at least 1"):
        plots.class_examples(IMAGES, LABELS, NAMES, per_class=0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "between 0 and 2, got 0 to 3"),
        ([0.0, 1.0], "whole numbers, got float64"),
        ([[0]], "1 dimensions"),
        ([], "filled array"),
    ],
)
def test_labels_are_checked(labels, message):
    with pytest.raises(ValueError, match=message):
        plots.class_examples(IMAGES[:2], labels, NAMES)
    with pytest.raises(ValueError, match="got 1 labels for 12 images"):
        plots.class_examples(IMAGES, [0], NAMES)


def test_pixel_histogram():
    figure = plots.pixel_histogram(IMAGES)
    for channel, (name, axes) in enumerate(
        zip(("red", "green", "blue"), figure.axes, strict=True)
    ):
        values = IMAGES[:, channel].double().flatten()
        heights = [bar.get_height() for bar in axes.patches[:256]]
        assert heights[7] == pytest.approx(100 * float((values == 7).double().mean()))
        assert sum(heights) == pytest.approx(100)
        mean, deviation = values.mean() / 255, values.std(correction=0) / 255
        assert axes.get_title("left") == f"{name}: {mean:.3f} ± {deviation:.3f}"
        assert axes.lines[0].get_xdata()[0] == pytest.approx(float(mean * 255))
    with pytest.raises(ValueError, match="uint8 of shape"):
        plots.pixel_histogram(IMAGES / 255)


def test_mean_images():
    figure = plots.mean_images(IMAGES, LABELS, (*NAMES, "no image of it"))
    assert texts(figure) == list(NAMES)
    ships = IMAGES[[2, 5, 8]].double().mean(0) / 255
    drawn = pictures(figure.axes[0])[2]
    np.testing.assert_allclose(drawn, ships.permute(1, 2, 0), atol=1e-12)


def test_mistakes_tell_truth_guess_and_confidence():
    predictions = random_predictions()
    indices = evaluation.most_confident_mistakes(predictions, 3)
    figure = plots.mistakes(IMAGES, predictions, indices)
    expected = []
    for i in indices.tolist():
        true, said = NAMES[predictions.labels[i]], NAMES[predictions.predicted[i]]
        assert true != said
        expected.append(f"{true} → {said}\n{100 * predictions.confidence[i]:.0f} %")
    assert texts(figure) == expected
    first = IMAGES[indices[0]].permute(1, 2, 0).numpy()
    assert (pictures(figure.axes[0])[0] == first).all()


@pytest.mark.parametrize("indices", [[12], [-1], [0.5]])
def test_mistakes_refuse_wrong_indices(indices):
    with pytest.raises(ValueError, match="indices must be whole, from 0 to 11"):
        plots.mistakes(IMAGES, random_predictions(), indices)
    with pytest.raises(ValueError, match="got 11 images for 12 predictions"):
        plots.mistakes(IMAGES[:11], random_predictions(), [0])
