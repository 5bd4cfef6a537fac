"""Turn the stored notebooks into pages for a browser, without running them.

    python -m tests.make_pages [FOLDER]     into `pages`, if none is given

Links between notebooks lead to pages; the way in is `pages/index.html`.
"""

import re
import sys
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from tests.execute_notebooks import NOTEBOOKS, all_notebooks

ROOT = NOTEBOOKS.parent
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")


def page_of(target: str, place: Path) -> str:
    """The address, seen from the pages' folder, of what a notebook links to."""
    if target.endswith(".ipynb"):
        return target.removesuffix(".ipynb") + ".html"
    return (place / target).resolve().as_uri()  # a file that is not made into a page


def convert(path: Path, folder: Path) -> Path:
    """Write one notebook's page, its links leading to other pages."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(
                lambda m: f"]({page_of(m[1], path.parent)}{m[2] or ''})", cell.source
            )
    exporter = HTMLExporter(template_name="lab")
    html, _ = exporter.from_notebook_node(
        notebook, {"metadata": {"name": path.stem, "path": str(path.parent)}}
    )
    page = folder / path.relative_to(NOTEBOOKS).with_suffix(".html")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html, encoding="utf-8")
    return page


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0] if arguments else ROOT / "pages")
    pages = [convert(path, folder) for path in all_notebooks()]
    for path in sorted((NOTEBOOKS / "solutions").glob("*.ipynb")):
        convert(path, folder)
    items = "".join(f'<li><a href="{p.name}">{p.stem}</a></li>' for p in pages)
    index = (
        f"<!doctype html><meta charset=utf-8><title>Notebooks</title><ol>{items}</ol>"
    )
    (folder / "index.html").write_text(index, encoding="utf-8")
    print(f"{folder}: {len(pages)} notebooks")


if __name__ == "__main__":
    main(sys.argv[1:])
