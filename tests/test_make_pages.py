"""Pages have working links, and pictures with alternative texts."""

import html
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest

from tests import make_pages
from tests.execute_notebooks import NOTEBOOKS, all_notebooks


@pytest.mark.slow
def test_links_lead_somewhere_and_pictures_say_what_they_show(tmp_path, monkeypatch):
    chosen = all_notebooks()[3:5]
    monkeypatch.setattr(make_pages, "all_notebooks", lambda: chosen)
    make_pages.main([str(tmp_path)])
    names = {path.stem for path in all_notebooks()}
    for path in chosen:
        text = (tmp_path / f"{path.stem}.html").read_text()
        body = text[text.index("<body") :]
        links = [html.unescape(link) for link in re.findall(r'<a href="([^"]*)"', body)]
        assert len(links) > 5
        for link in links:
            if link.startswith("file:"):
                assert Path(unquote(urlparse(link).path)).exists(), link
            elif not link.startswith(("http", "#")):
                target = link.split("#")[0]
                assert target.endswith(".html"), link
                assert (tmp_path / target).exists() or Path(target).stem in names
        pictures = re.findall(r"<img[^>]*>", body)
        assert pictures
        for picture in pictures:
            (alt,) = re.findall(r'alt="([^"]*)"', picture)
            assert len(alt) > 20 and "No description" not in alt, alt
        assert "widget-view" not in body
    assert (tmp_path / "index.html").read_text().count("<li>") == len(chosen)


def test_pages_of_solutions_lie_beside(tmp_path):
    (path, *_) = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))
    page = make_pages.convert(path, tmp_path)
    assert page == tmp_path / "solutions" / f"{path.stem}.html"
