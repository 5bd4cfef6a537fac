"""Live curves, sliders and sources, in a kernel and elsewhere."""

from types import SimpleNamespace

import nbformat
import pytest
from drawn import column, curves_of, run_of
from nbclient import NotebookClient

from cifar_helpers import plots
from cifar_helpers.notebook import (
    LiveCurves,
    in_kernel,
    is_interactive,
    show_source,
    slider,
)


def test_live_curves_are_silent_in_a_terminal(capsys):
    live = LiveCurves()
    live(run_of(1))
    live(run_of(2))
    assert live.display is None
    assert capsys.readouterr() == ("", "")


def test_live_curves_redraw_one_picture_in_a_kernel(monkeypatch):
    monkeypatch.setattr("cifar_helpers.notebook.in_kernel", lambda: True)
    shown, redrawn = [], []

    def display(figure, display_id):
        assert display_id is True
        shown.append(figure)
        return SimpleNamespace(update=redrawn.append)

    monkeypatch.setattr("IPython.display.display", display)
    live = LiveCurves()
    for epoch in range(1, 6):
        live(run_of(epoch))
    assert (len(shown), len(redrawn)) == (1, 4)
    loss, _ = curves_of(redrawn[-1])
    assert loss["training"] == column(run_of(5), "train_loss")


SLIDER_CELL = """
import sys
from cifar_helpers import notebook, plots

def draw(dilation=4, size=32):
    with plots.new_figure(1.0) as figure:
        figure.subplots().set_title("a figure")
    print(f"drawn {dilation} {size}")
    return figure

sliders = notebook.slider(draw, dilation=(1, 18), size=(4, 32, 4))
sliders
"""
LOOK_CELL = """
assert [w.description for w in sliders.children[:2]] == ["dilation", "size"]
dilation, size = sliders.children[:2]
assert (dilation.min, dilation.max, dilation.value) == (1, 18, 4)
assert (size.min, size.max, size.step, size.value) == (4, 32, 4, 32)
dilation.value = 16
"""


@pytest.mark.slow
def test_slider_shows_where_someone_watches_and_nowhere_else():
    new_cell = nbformat.v4.new_code_cell
    script = [new_cell(SLIDER_CELL), new_cell('assert "ipywidgets" not in sys.modules')]
    person = [new_cell(SLIDER_CELL), new_cell(LOOK_CELL)]
    notebook = nbformat.v4.new_notebook(cells=[*script, *person])
    client = NotebookClient(notebook, timeout=120)
    with client.setup_kernel():
        for index, cell in enumerate(notebook.cells):
            client.kc.allow_stdin = cell in person  # as JupyterLab and Colab do
            client.execute_cell(cell, index)
        states = list(client.widget_state.values())
    view = "application/vnd.jupyter.widget-view+json"
    (line,) = script[0].outputs  # what a page shows, and a notebook opened again
    assert "to move with sliders: dilation, size" in line["data"]["text/html"]
    assert script[1].outputs == []
    assert [view in output["data"] for output in person[0].outputs] == [False, True]
    assert person[1].outputs == []
    (shown,) = (s["outputs"] for s in states if s["_model_name"] == "OutputModel")
    assert shown[0]["text"] == "drawn 16 32\n"
    assert "image/png" in shown[1]["data"]


def test_slider_outside_a_kernel():
    assert not in_kernel() and not is_interactive()
    assert slider(plots.stamps, size=(1, 3)) is None


def test_source_is_shown_as_written():
    shown = show_source(slider)
    assert "def slider(draw" in shown.data and "def is_interactive" not in shown.data
    assert shown.language == "python"
