"""Drawings part by part show the numbers that they were given."""

import numpy as np
import pytest
import torch
from drawn import contrast, pictures, texts

from cifar_helpers import plots

TITLES = {"one": "First part", "two": "Second"}


def test_maps_stand_in_the_row_of_their_part():
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    maps = {
        name: {part: torch.rand(2, 4, 4) for part in TITLES} for name in ("old", "new")
    }
    figure = plots.maps_by_part(image, maps, TITLES)
    panels = np.array(figure.axes).reshape(2, 6)
    for row, part in enumerate(TITLES):
        shown = [pictures(axes)[0] for axes in panels[row, 2:]]
        wanted = [*maps["old"][part], *maps["new"][part]]
        for one, other in zip(shown, wanted, strict=True):
            assert np.allclose(one, other)
    assert {"old", "new", "First\npart", "Second"} <= set(texts(figure))
    learned = torch.rand(2, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    alone = plots.maps_by_part(image, {"new": {"one": learned}}, TITLES)
    assert np.allclose(pictures(alone.axes[2])[0], learned[0].float().detach())
    with pytest.raises(ValueError, match="new must have 2 maps"):
        plots.maps_by_part(image, maps | {"new": {"one": torch.rand(2, 4, 4)}}, TITLES)
    for nothing, name in (({}, "networks"), ({"old": {}}, "old")):
        with pytest.raises(ValueError, match=f"{name} is empty"):
            plots.maps_by_part(image, nothing, TITLES)


def test_strips_share_out_to_100_percent_and_name_the_large_pieces():
    amounts = {"cost": {"one": 30, "two": 10}, "time": {"one": 1, "two": 99}}
    figure = plots.share_strips(amounts, TITLES)
    (axes,) = figure.axes
    lengths = [patch.get_width() for patch in axes.patches]
    assert lengths == pytest.approx([75, 25, 1, 99])
    assert {"75 %", "25 %", "99 %"} <= set(texts(figure))
    assert "1 %" not in texts(figure)  # too narrow
    assert figure.get_label().endswith(
        "cost: most in First part; time: most in Second."
    )
    for wrong, message in (
        ({"cost": {"one": -1, "two": 1}}, "not negative"),
        ({"cost": {"one": 1}, "time": {"one": 1, "two": 1}}, "time has other parts"),
        ({}, "amounts is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.share_strips(wrong, TITLES)


def test_shares_on_strips_can_be_read():
    titles = {str(number): f"part {number}" for number in range(7)}
    (axes,) = plots.share_strips({"cost": dict.fromkeys(titles, 1)}, titles).axes
    for text, strip in zip(axes.texts, axes.patches, strict=True):
        assert contrast(text.get_color(), strip.get_facecolor()) >= 4.5


@pytest.mark.parametrize(("share", "shown"), [(4.4, False), (4.6, True)])
def test_no_label_rounds_to_less_than_it_needs(share, shown):
    figure = plots.share_strips({"cost": {"one": share, "two": 100 - share}}, TITLES)
    assert ("5 %" in texts(figure)) == shown
