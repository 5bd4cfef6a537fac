"""The repository's address is written into every notebook, or asked for."""

import shutil
import subprocess
import sys
import types

import nbformat
import pytest

from tests import stamp
from tests.execute_notebooks import all_notebooks, code_sha256


@pytest.fixture
def copies(tmp_path, monkeypatch):
    for path in (*all_notebooks()[:2], stamp.PROJECT, stamp.README):
        shutil.copy(path, tmp_path)
    notebooks = sorted(tmp_path.glob("*.ipynb"))
    monkeypatch.setattr(stamp, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(stamp, "PROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr(stamp, "README", tmp_path / "README.md")
    stamp.main([])  # a fork's files bear its address
    return notebooks


def test_an_address_is_written_everywhere_and_taken_back(copies, capsys):
    copies = [*copies, stamp.README]
    before = [path.read_text() for path in copies]
    assert stamp.main(["somebody/elsewhere"]) == 0
    assert "somebody/elsewhere: 2 notebooks" in capsys.readouterr().out
    assert 'https://github.com/somebody/elsewhere"' in stamp.PROJECT.read_text()
    place = f"/github/somebody/elsewhere/blob/main/notebooks/{copies[0].name})"
    assert stamp.README.read_text().count(place) == 1
    for path in copies[:2]:
        title, setup = nbformat.read(path, as_version=4).cells[:2]
        place = f"/github/somebody/elsewhere/blob/main/notebooks/{path.name})"
        assert title.source.count(place) == 1
        assert 'REPOSITORY = "somebody/elsewhere"' in setup.source
    stamped = [path.read_text() for path in copies]
    stamp.main(["somebody/elsewhere"])
    assert [path.read_text() for path in copies] == stamped
    stamp.main([])
    assert [path.read_text() for path in copies] == before


def test_stamping_leaves_outputs_and_their_hash(copies):
    before = nbformat.read(copies[0], as_version=4)
    stamp.main(["somebody/elsewhere"])
    after = nbformat.read(copies[0], as_version=4)
    assert after.metadata == before.metadata
    assert code_sha256(after) == code_sha256(before)
    assert [c.get("outputs") for c in after.cells] == [
        c.get("outputs") for c in before.cells
    ]


@pytest.mark.parametrize("name", ["elsewhere", "https://github.com/a/b", "a/b c", "/"])
def test_what_is_no_address_is_refused(copies, name, capsys):
    before = copies[0].read_text()
    assert stamp.main([name]) == 1
    assert "give owner/name" in capsys.readouterr().err
    assert copies[0].read_text() == before


def test_a_notebook_without_its_frame_is_named(copies):
    nbformat.write(nbformat.v4.new_notebook(cells=[]), copies[1])
    with pytest.raises(ValueError, match=copies[1].name):
        stamp.stamp_notebook(copies[1], "somebody/elsewhere")


@pytest.mark.parametrize(
    ("repository", "installs"),
    [("somebody/elsewhere", True), (stamp.UNKNOWN, False)],
)
def test_colab_installs_from_a_known_address_only(repository, installs, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("colab"))
    installed = []
    top = stamp.setup_cell(repository).split("import torch")[0]
    magic = "%pip install -q --no-deps torchinfo git+https://github.com/{REPOSITORY}"
    assert magic in top
    names = {"pip": installed.append}
    code = top.replace(magic, "pip(REPOSITORY)")
    if installs:
        exec(code, names)
        assert installed == [repository]
    else:
        with pytest.raises(SystemExit, match="owner/name"):
            exec(code, names)
        assert not installed


def test_the_notebooks_carry_the_address_of_the_project():
    (place,) = stamp.PLACE.findall(stamp.PROJECT.read_text())
    (colab,) = stamp.COLAB.findall(stamp.README.read_text(encoding="utf-8"))
    assert colab[1] == stamp.where_in_readme(place[1])
    for path in all_notebooks():
        title, setup = nbformat.read(path, as_version=4).cells[:2]
        assert setup.source == stamp.setup_cell(place[1]), path.name
        assert stamp.badge(place[1], path.name) in title.source.splitlines()


def test_the_workflow_needs_no_more_than_it_installs():
    """The job on GitHub has Python and nbformat."""
    code = "import sys, tests.stamp; sys.exit('torch' in sys.modules)"
    root = stamp.PROJECT.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
