"""Every notebook runs from a clean kernel and keeps the frame of the series."""

import ast
import copy
import re
import time

import nbformat
import pytest
from execute_notebooks import (
    LIMIT_BYTES,
    NOTEBOOKS,
    all_notebooks,
    code_sha256,
    describe_pictures,
    execute,
)

from cifar_helpers.checks.framework import Verdict

PATHS = all_notebooks()
PACKAGE_TEXT = "\n".join(
    path.read_text(encoding="utf-8")
    for path in sorted((NOTEBOOKS.parent / "cifar_helpers").rglob("*.py"))
)
EXERCISE = re.compile(
    r"### Exercise \d · (compute|code|find the bug|experiment) "
    r"· (easy|medium|hard) · \d+ min"
)
MACHINE_PATHS = re.compile(r"site-packages|/home/[a-z]|/tmp/|/root/")
by_name = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source]


def texts(cell) -> str:
    """What a cell's outputs say, pictures left out."""
    parts = []
    for output in cell.outputs:
        parts.append(output.get("text", ""))
        data = output.get("data", {})
        parts += [data.get(kind, "") for kind in ("text/plain", "text/html")]
    return "\n".join(parts)


def check_outputs(notebook):
    """No error, no warning, no path of one machine; pictures are there."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.output_type != "error", output.get("evalue")
            assert output.get("name") != "stderr", output.text
        assert not MACHINE_PATHS.search(texts(cell)), texts(cell)
        assert "Warning" not in texts(cell), texts(cell)
    assert any(
        "image/png" in output.get("data", {})
        for cell in code_cells(notebook)
        for output in cell.outputs
    )


@pytest.mark.slow
@by_name
def test_runs_from_top_to_bottom_with_the_sample(path):
    started = time.perf_counter()
    notebook = execute(path, "sample", watch_labels=True)
    seconds = time.perf_counter() - started
    check_outputs(notebook)
    for cell in code_cells(notebook):
        if "exercise" in cell.metadata.get("tags", []):
            assert "Not solved yet" in texts(cell), cell.source
    assert seconds < 2 * 120, f"{seconds:.0f} s"  # twice, for a busy machine
    assert (notebook.metadata["peak_memory_gb"] or 0) < 4


@by_name
def test_is_committed_as_one_clean_run_on_the_full_data(path):
    assert path.stat().st_size < LIMIT_BYTES
    notebook = nbformat.read(path, as_version=4)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    check_outputs(notebook)
    assert "bundled sample" not in "".join(texts(cell) for cell in cells)


@by_name
def test_outputs_belong_to_the_code(path):
    """A changed cell, or a changed function that a cell shows, wants a new run."""
    notebook = nbformat.read(path, as_version=4)
    again = f"python -m tests.execute_notebooks {path.name[:2]}"
    assert notebook.metadata.get("code_sha256") == code_sha256(notebook), again
    for cell in code_cells(notebook):
        if "show_source(" in cell.source:
            (output,) = cell.outputs
            assert output.data["text/plain"].strip() in PACKAGE_TEXT, again


@by_name
def test_every_picture_has_an_alternative_text(path):
    for cell in code_cells(nbformat.read(path, as_version=4)):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                assert len(alt) > 20, cell.source


@by_name
def test_alternative_texts_are_the_captions_of_today(path):
    stored = nbformat.read(path, as_version=4)
    renewed = copy.deepcopy(stored)
    describe_pictures(renewed)
    assert stored == renewed, "python -m tests.execute_notebooks --captions"


@by_name
def test_has_the_frame_of_the_series(path):
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0].source
    assert first.startswith(f"# {path.name[:2]} · ")
    assert "**Time**" in first
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    assert "## What to remember" in prose and "## References" in prose
    exercises = [c for c in notebook.cells if "exercise" in c.metadata.get("tags", [])]
    assert 2 <= len(exercises) <= 6
    headings = re.findall(r"^### Exercise .*", prose, re.MULTILINE)
    assert len(headings) == len(exercises)
    assert all(EXERCISE.fullmatch(heading) for heading in headings), headings
    assert f"(solutions/{path.stem}_solutions.ipynb)" in prose
    assert path.name[:2] == "15" or "## The answer" in prose


@by_name
def test_links_lead_to_files(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\((?!http|#)([^)]+)\)", cell.source):
                assert (path.parent / target.split("#")[0]).exists(), target


def run_cell(source: str, names: dict):
    """Run a cell's code in `names`; return the value of its last expression, if any."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    if last is not None:
        return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)


@by_name
def test_solutions_solve_every_exercise(path, monkeypatch):
    monkeypatch.setenv("CIFAR10_SOURCE", "sample")
    solutions = NOTEBOOKS / "solutions" / f"{path.stem}_solutions.ipynb"
    names = {}
    cells = code_cells(nbformat.read(solutions, as_version=4))
    values = [run_cell(cell.source, names) for cell in cells]
    verdicts = [value for value in values if isinstance(value, Verdict)]
    assert [v.status for v in verdicts] == ["solved"] * len(verdicts), verdicts
    notebook = nbformat.read(path, as_version=4)
    exercises = [c for c in notebook.cells if "exercise" in c.metadata.get("tags", [])]
    assert len(verdicts) == len(exercises)
