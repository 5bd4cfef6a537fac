"""The drawing of a network holds its sizes and costs."""

import numpy as np
import pytest
from drawn import STAGES, contrast, texts
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon

from cifar_helpers import plots
from cifar_helpers.model import CIFAR10Net, table_of_sizes


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


def test_shares_of_a_block_diagram_can_be_read():
    stages = [{**STAGES[1], "name": str(number)} for number in range(7)]
    (axes,) = plots.block_diagram(stages).axes
    shares = [text for text in axes.texts if text.get_text() == "14 %"]
    papers = [bars[0].get_facecolor() for bars in axes.containers]
    for text, paper in zip(shares, papers, strict=True):
        assert contrast(text.get_color(), paper) >= 4.5


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


def test_network_map_says_where_you_are():
    figure = plots.network_map("attention")
    (axes,) = figure.axes
    words = texts(figure)
    sizes = [" × ".join(map(str, r["output"])) for r in table_of_sizes(CIFAR10Net())]
    assert set(sizes) | {"3 × 32 × 32", "88 × 8 × 8"} <= set(words)
    bold = [text.get_text() for text in axes.texts if text.get_weight() == "bold"]
    assert bold == ["Channel\nattention"]
    fronts = [to_rgb(patch.get_facecolor()) for patch in axes.patches[::3]]
    assert len(fronts) == 9 and len(set(fronts)) == 2
    assert fronts.count(to_rgb(plots.BLUE)) == 1
    assert figure.get_label().endswith("you are here: Channel attention.")
    both = plots.network_map("deconvolution").axes[0].patches[::3]
    assert [to_rgb(p.get_facecolor()) == to_rgb(plots.BLUE) for p in both].count(1) == 2


def test_network_map_names_the_parts():
    assert "you are here" not in plots.network_map().get_label()
    with pytest.raises(ValueError, match="dilated_far"):
        plots.network_map("se")
