"""Pages have working links, and pictures with alternative texts."""

import html
import re

import pytest

from tests import make_pages
from tests.execute_notebooks import all_notebooks


@pytest.mark.slow
def test_links_lead_to_pages_and_pictures_say_what_they_show(tmp_path):
    make_pages.main([str(tmp_path)])
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) == 2 * len(all_notebooks()) + 2  # solutions, glossary, index
    for page in pages:
        text = page.read_text(encoding="utf-8")
        body = text[text.find("<body") :]
        for link in map(html.unescape, re.findall(r'<a href="([^"]*)"', body)):
            if not link.startswith(("http", "#")):
                assert (page.parent / link.split("#")[0]).exists(), (page.name, link)
        assert "widget-view" not in body
        if page.parent == tmp_path and page.stem in {p.stem for p in all_notebooks()}:
            pictures = re.findall(r'<img[^>]*src="data:[^>]*>', body)
            assert pictures
            for picture in pictures:
                (alt,) = re.findall(r'alt="([^"]*)"', picture)
                assert len(alt) > 20 and "No description" not in alt, (page.name, alt)


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("[04](04_x.ipynb)", "[04](04_x.html)"),
        ("[up](../04_x.ipynb#2-·-Why)", "[up](../04_x.html#2-·-Why)"),
        ("[words](GLOSSARY.md)", "[words](GLOSSARY.html)"),
        ("[Colab](../README.md#start): how", "Colab: how"),
        ("[paper](https://arxiv.org/abs/1)", "[paper](https://arxiv.org/abs/1)"),
        ("![picture](images/a.png)", "![picture](images/a.png)"),
    ],
)
def test_links_are_rewritten(markdown, expected):
    assert make_pages.LINK.sub(make_pages.to_pages, markdown) == expected
