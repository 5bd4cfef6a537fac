"""Turn the stored notebooks into pages for a browser, without running them.

    python -m tests.make_pages [FOLDER]     into `pages`, if none is given

Links between notebooks, and to the glossary, lead to pages; the way in is
`pages/index.html`.
"""

import re
import sys
from html import escape
from pathlib import Path

import nbformat
from nbconvert import HTMLExporter

from tests.execute_notebooks import NOTEBOOKS, all_notebooks

NO_TEXT = 'alt="No description has been provided for this image"'
GLOSSARY = NOTEBOOKS / "GLOSSARY.md"
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)")


def to_pages(link: re.Match) -> str:
    """A link in Markdown to a page instead; only its text, if there is no such page."""
    text, target, place = link.groups()
    suffix = Path(target).suffix
    if suffix != ".ipynb" and Path(target).name != GLOSSARY.name:
        return text
    return f"[{text}]({target.removesuffix(suffix)}.html{place or ''})"


def with_alternative_texts(html: str, notebook: nbformat.NotebookNode) -> str:
    """The page with the stored texts of its pictures, which nbconvert leaves out."""
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    texts = iter(o.metadata.get("image/png", {}).get("alt", "") for o in pictures)
    pieces = html.split(NO_TEXT)
    if len(pieces) - 1 != len(pictures):
        raise ValueError(f"{len(pictures)} pictures, {len(pieces) - 1} without a text")
    return pieces[0] + "".join(f'alt="{escape(next(texts))}"{p}' for p in pieces[1:])


def convert(notebook: nbformat.NotebookNode, page: Path) -> Path:
    """Write a notebook's page, its links leading to other pages."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(to_pages, cell.source)
    exporter = HTMLExporter(template_name="lab")
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": page.stem}})
    html = with_alternative_texts(html, notebook)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(html, encoding="utf-8")
    return page


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0] if arguments else NOTEBOOKS.parent / "pages")
    solutions = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))
    for path in [*all_notebooks(), *solutions]:
        page = folder / path.relative_to(NOTEBOOKS).with_suffix(".html")
        convert(nbformat.read(path, as_version=4), page)
    words = nbformat.v4.new_markdown_cell(GLOSSARY.read_text(encoding="utf-8"))
    glossary = nbformat.v4.new_notebook(cells=[words])
    convert(glossary, folder / f"{GLOSSARY.stem}.html")
    names = [path.stem for path in all_notebooks()] + [GLOSSARY.stem]
    items = "".join(f'<li><a href="{name}.html">{name}</a></li>' for name in names)
    head = "<!doctype html><meta charset=utf-8><title>The notebooks</title>"
    (folder / "index.html").write_text(f"{head}<ol>{items}</ol>", encoding="utf-8")
    print(f"{folder}: {len(names)} pages, and the solutions")


if __name__ == "__main__":
    main(sys.argv[1:])
