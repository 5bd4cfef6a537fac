"""Tell the series where it lives: the address that Colab installs it from.

    python -m tests.stamp owner/name     (on a fork, the GitHub workflow does it)
    python -m tests.stamp                not known: Colab's set-up then asks for it

Owner and name stand in `pyproject.toml`; from there this writes them into the set-up
cell and the badge of every notebook, and into README. Stored outputs stay as they are.
"""

import re
import sys
from pathlib import Path

import nbformat  # and nothing else that would have to be installed first

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
README = PROJECT.with_name("README.md")
NOTEBOOKS = sorted((PROJECT.parent / "notebooks").glob("[0-9]*.ipynb"))
UNKNOWN = "OWNER/cifar_helpers"
PLACE = re.compile(r'(Repository = "https://github\.com/)([^"]+)(")')
NAME = re.compile(r"[\w-]+/[\w.-]+")
BADGE = re.compile(r"^(\[!\[Open in Colab\]|\[Colab\]).*$", re.MULTILINE)
COLAB = re.compile(r"(<!-- colab -->)(.*?)(<!-- end colab -->)", re.DOTALL)
UNSTAMPED = """in the address of a notebook on GitHub, write
  `colab.research.google.com/github` for `github.com`; its first cell then asks for
  owner and name. (On a fork the workflow, or `python -m tests.stamp owner/name`, writes
  them in and puts a badge on top of each notebook.)"""
SITE = "https://colab.research.google.com"
SETUP = """\
import sys

REPOSITORY = "{repository}"
if "google.colab" in sys.modules:  # install the package; leave Colab's torch alone
    if "OWNER/" in REPOSITORY:
        sys.exit("Write where you opened this from, 'owner/name', behind REPOSITORY =")
    %pip install -q --no-deps torchinfo git+https://github.com/{{REPOSITORY}}

import torch

from cifar_helpers import plots, runtime

plots.apply_style()
runtime.seed_everything(0);"""


def setup_cell(repository: str) -> str:
    """The code of the set-up cell, the same in every notebook."""
    return SETUP.format(repository=repository)


def badge(repository: str, notebook: str) -> str:
    """The line under a notebook's title that opens it in Colab.

    Until the repository is known it leads to README: nobody else's copy is opened.
    """
    if repository == UNKNOWN:
        return "[Colab](../README.md#start): how to open this notebook there."
    picture = f"![Open in Colab]({SITE}/assets/colab-badge.svg)"
    return f"[{picture}]({place(repository)}/{notebook})"


def place(repository: str) -> str:
    """Where Colab finds the notebooks of a repository on GitHub."""
    return f"{SITE}/github/{repository}/blob/main/notebooks"


def where_in_readme(repository: str) -> str:
    """What README says of how to get to Colab."""
    if repository == UNKNOWN:
        return UNSTAMPED
    first = f"{place(repository)}/{NOTEBOOKS[0].name}"
    return f"[open notebook 01]({first}), or use the\n  badge at the top of any other."


def stamp_notebook(path: Path, repository: str) -> bool:
    """Write set-up cell and badge; whether the file has changed."""
    notebook = nbformat.read(path, as_version=4)
    before = nbformat.writes(notebook)
    sources = [cell.source for cell in notebook.cells[:2]]
    if len(sources) < 2 or not BADGE.search(sources[0]) or "colab" not in sources[1]:
        raise ValueError(
            f"{path.name}: needs a line with the badge in its first cell, and the "
            "set-up cell as its second"
        )
    title, setup = notebook.cells[:2]
    title.source = BADGE.sub(badge(repository, path.name), title.source)
    setup.source = setup_cell(repository)
    changed = nbformat.writes(notebook) != before
    if changed:
        nbformat.write(notebook, path)
    return changed


def main(arguments: list[str]) -> int:
    repository = arguments[0] if arguments else UNKNOWN
    if not NAME.fullmatch(repository):
        print(f"give owner/name as on GitHub, not {repository!r}", file=sys.stderr)
        return 1
    text = PROJECT.read_text(encoding="utf-8")
    PROJECT.write_text(PLACE.sub(rf"\g<1>{repository}\g<3>", text), encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    text = COLAB.sub(rf"\g<1>{where_in_readme(repository)}\g<3>", text)
    README.write_text(text, encoding="utf-8")
    changed = sum(stamp_notebook(path, repository) for path in NOTEBOOKS)
    print(f"{repository}: {changed} notebooks changed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
