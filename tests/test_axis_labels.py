"""Axes that show numbers without saying of what are found, and no others."""

import matplotlib.pyplot as plt
import nbformat
import pytest
from execute_notebooks import execute

from tests.axis_labels import unlabelled


@pytest.fixture
def panels():
    """A figure with two axes beside each other, both with numbers."""
    figure, (left, right) = plt.subplots(1, 2)
    left.plot([1, 2]), right.plot([1, -2])
    yield figure, left, right
    plt.close(figure)


def test_numbers_want_a_label(panels):
    figure, left, right = panels
    assert unlabelled(figure) == [
        f"{which} of axes {i} ''" for which in "xy" for i in (0, 1)
    ]
    left.set_ylabel("loss")  # serves its row
    assert unlabelled(figure) == ["x of axes 0 ''", "x of axes 1 ''"]
    left.set(xlabel="epoch", ylabel="")  # does not serve the other column
    left.set_title("loss", loc="left")  # as good as a label of y
    assert unlabelled(figure) == ["x of axes 1 ''"]
    figure.supxlabel("epoch")
    assert unlabelled(figure) == []


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_numbers_of_any_form_are_seen(panels, scale):
    figure, left, right = panels
    right.set_axis_off()
    left.set(ylabel="y", xscale=scale)
    assert unlabelled(figure) == ["x of axes 0 ''"]
    left.xaxis.set_major_formatter("{x:,.0f} %")
    assert unlabelled(figure) == ["x of axes 0 ''"]


def test_words_pictures_and_hidden_axes_need_none(panels):
    figure, left, right = panels
    left.set_xticks([0, 1], ["cat", "dog"])
    left.set_yticks([])
    right.imshow([[0, 1]])
    right.set_axis_off()
    assert unlabelled(figure) == []
    right.set_axis_on()
    right.set_visible(False)
    assert unlabelled(figure) == []


@pytest.mark.slow
def test_a_notebook_that_shows_such_axes_fails(tmp_path):
    """The error stands in the outputs, where no notebook may have one."""
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2]);"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "plain.ipynb")
    done = execute(tmp_path / "plain.ipynb", "sample", watch_labels=True)
    (said,) = (o for o in done.cells[0].outputs if o.output_type == "error")
    assert said.evalue == "unlabelled axes: x of axes 0 '', y of axes 0 ''"
