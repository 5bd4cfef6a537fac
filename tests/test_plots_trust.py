"""Figures about trust hold the numbers that they were given."""

import numpy as np
import pytest
import torch
from drawn import IMAGES, LABELS, NAMES, pictures, random_predictions, texts

from cifar_helpers import calibration, intervals, plots
from cifar_helpers.calibration import Claims


def test_reliability_diagram():
    found = calibration.calibration(random_predictions(), bins=5)
    figure = plots.reliability_diagram(found)
    upper, lower = figure.axes
    accuracy, gap = upper.containers
    filled = [m for m in range(5) if found.count[m]]
    assert 0 < len(filled) < 5  # the lowest bin is empty with three classes
    segments = upper.collections[0].get_segments()
    for position, m in enumerate(filled):
        right = 100 * found.accuracy[m]
        assert accuracy[position].get_height() == pytest.approx(right)
        assert accuracy[position].get_center()[0] == pytest.approx(20 * m + 10)
        top = gap[position].get_y() + gap[position].get_height()
        assert top == pytest.approx(100 * found.confidence[m])
        count = int(found.count[m])
        expected = intervals.wilson_interval(round(right * count / 100), count)
        assert segments[position][:, 1].tolist() == pytest.approx(expected)
    assert [bar.get_height() for bar in lower.patches] == found.count.tolist()
    error = found.expected_calibration_error_percent
    assert f"{error:.2f} %" in upper.get_title("left")


def test_reliability_diagrams_side_by_side():
    predictions = random_predictions()
    plain = calibration.calibration(predictions, bins=4)
    adaptive = calibration.calibration(predictions, bins=4, adaptive=True)
    figure = plots.reliability_diagram({"plain": plain, "adaptive": adaptive})
    titles = [axes.get_title("left") for axes in figure.axes[:2]]
    assert titles[0].startswith("plain\nECE") and titles[1].startswith("adaptive")
    heights = [bar.get_height() for bar in figure.axes[3].patches]
    assert heights == adaptive.count.tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("wrong", [{}, {"a": 1}, 0.5])
def test_reliability_diagram_refuses(wrong):
    with pytest.raises(ValueError, match=r"1 to 4|calibration.calibration"):
        plots.reliability_diagram(wrong)


def test_severity_curves():
    first = np.array([[0, 90.0, 89, 91], [3, 70, 68, 72]])
    second = first - [0, 10, 10, 10]
    panels = {"noise": {"one": first, "two": second}, "blur": {"one": first}}
    left, right = plots.severity_curves(panels).axes
    assert [axes.get_title("left") for axes in (left, right)] == ["noise", "blur"]
    assert [line.get_ydata().tolist() for line in left.lines] == [[90, 70], [80, 60]]
    assert [line.get_xdata().tolist() for line in left.lines] == [[0, 3], [0, 3]]
    assert [line.get_label() for line in left.lines] == ["one", "two"]
    band = left.collections[0].get_paths()[0].vertices
    assert {89.0, 91.0, 68.0, 72.0} <= set(band[:, 1])
    with pytest.raises(ValueError, match="severity, value, low and high"):
        plots.severity_curves({"noise": {"one": [[1, 2]]}})


def test_before_and_after():
    rows = {"clean": (5.0, 1.0), "noise": (-3.0, 20.0)}
    (axes,) = plots.before_and_after(rows, ("T = 1", "fitted")).axes
    _, before, after = axes.collections[0], *axes.collections[-2:]
    assert before.get_offsets()[:, 0].tolist() == [5, -3]
    assert after.get_offsets()[:, 0].tolist() == [1, 20]
    ticks = axes.get_yticks()
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert dict(zip(ticks, names, strict=True)) == {1: "clean", 0: "noise"}
    with pytest.raises(ValueError, match="two finite values"):
        plots.before_and_after({"clean": (1.0, np.nan)})


def test_confidence_rows():
    groups = {"test": np.array([0.99, 0.98, 0.5]), "noise": np.array([0.3, 0.31])}
    upper, lower = plots.confidence_rows(groups).axes
    shares = lower.patches[0].get_data().values
    assert shares.sum() == pytest.approx(100) and shares.max() == pytest.approx(100)
    means = [axes.lines[0].get_xdata()[0] for axes in (upper, lower)]
    assert means == pytest.approx([100 * 2.47 / 3, 30.5])


def test_evidence_grid():
    maps = {
        "one": np.array([[[0.0, 0], [0, 4]], [[-2.0, 0], [0, 0]]]),
        "two": np.ones((2, 8, 8)),
    }
    figure = plots.evidence_grid(IMAGES[:2], maps, ["cat", "dog"])
    shown = set(texts(figure))
    assert {"cat", "dog", "one", "two", "max 4.00", "max 0.00", "max 1.00"} <= shown
    (axes,) = figure.axes
    colours = [p for p, i in zip(pictures(axes), axes.images, strict=True)]
    assert len(colours) == 2 * 2 * 2 + 2  # grey and map in each panel, and pictures
    scales = [i.get_clim() for i in axes.images if i.get_cmap().name == "RdBu_r"]
    assert scales == [(-4, 4), (-2, 2), (-1, 1), (-1, 1)]


@pytest.mark.parametrize(
    ("maps", "names", "message"),
    [
        ({}, ["a", "b"], "at most 6 images and 5 methods"),
        ({"one": np.ones((2, 3, 3))}, ["a"], "names"),
        ({"one": np.ones((1, 3, 3))}, ["a", "b"], "maps of one"),
        ({"one": np.full((2, 3, 3), np.nan)}, ["a", "b"], "not finite"),
    ],
)
def test_evidence_grid_refuses(maps, names, message):
    with pytest.raises(ValueError, match=message):
        plots.evidence_grid(IMAGES[:2], maps, names)


def test_feature_points():
    points = np.arange(24.0).reshape(12, 2)
    (axes,) = plots.feature_points({"a map": points}, LABELS, NAMES).axes
    drawn = np.concatenate([c.get_offsets() for c in axes.collections])
    assert sorted(drawn.tolist()) == points.tolist()
    written = {text.get_text(): text.get_position() for text in axes.texts}
    for index, name in enumerate(NAMES):
        own = points[LABELS.numpy() == index]
        assert written[name] == pytest.approx(tuple(np.median(own, axis=0)))
    panels = {"a map": points, "a heap": points}
    named, heap = plots.feature_points(panels, LABELS, NAMES, unnamed="a heap").axes
    assert len(named.texts) == len(NAMES) and not heap.texts and heap.collections
    with pytest.raises(ValueError, match="points"):
        plots.feature_points({"a map": points[:3]}, LABELS, NAMES)


def test_reader_beside_network():
    network = calibration.calibration(random_predictions(), bins=3)
    claims = Claims([0.8, 0.8, 0.8, 0.8], [True, True, False, False])
    reader = calibration.calibration(claims, bins=2)
    (axes,) = plots.reader_beside_network(network, reader).axes
    assert axes.lines[-1].get_xydata().tolist() == [[pytest.approx(80), 50]]
    low, high = axes.collections[-1].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx(intervals.wilson_interval(2, 4))
    (axes,) = plots.reader_beside_network(network, None).axes
    assert [line.get_label() for line in axes.lines] == ["calibrated", "the network"]


def test_evidence_lies_over_its_picture_as_it_was_given():
    maps = {"one": np.arange(128.0).reshape(2, 8, 8) - 60}
    (axes,) = plots.evidence_grid(IMAGES[:2], maps, ["cat", "dog"]).axes
    grey = [i for i in axes.images if i.get_cmap().name == "gray"]
    shown = [i for i in axes.images if i.get_cmap().name == "RdBu_r"]
    photos = [i for i in axes.images if i not in grey + shown]
    for k, image in enumerate(IMAGES[:2]):
        assert np.array_equal(shown[k].get_array(), maps["one"][k])
        light = torch.tensor([0.299, 0.587, 0.114]) @ image.flatten(1).float() / 255
        expected = 0.2 + 0.8 * light.view(8, 8)
        np.testing.assert_allclose(grey[k].get_array(), expected, atol=1e-6)
        assert np.array_equal(photos[k].get_array(), image.permute(1, 2, 0))
        assert grey[k].get_extent() == shown[k].get_extent()
        assert photos[k].get_extent()[2:] == shown[k].get_extent()[2:]  # one row
