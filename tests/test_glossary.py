"""The glossary: every term stands in the notebook that its link leads to."""

import re

import nbformat
import pytest
from execute_notebooks import NOTEBOOKS, all_notebooks

TEXT = (NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## .*\n", TEXT, flags=re.MULTILINE)[1:]
ENTRIES = [line for line in TEXT.splitlines() if line.startswith("- ")]
LINK = re.compile(r"\[(\d\d)\]\(([^)#]+)(?:#([^)]+))?\)")


def plain(text: str) -> str:
    """Lower case, one spelling of -ise and -ize, no marks."""
    return re.sub(r"is(e|ing|ation)", r"iz\1", re.sub(r"[*_`]", "", text.lower()))


def markdown(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(c.source for c in cells if c.cell_type == "markdown")


def anchors(path) -> set[str]:
    """The anchors that JupyterLab gives to a notebook's headings."""
    headings = re.findall(r"^#+ (.+)$", markdown(path), flags=re.MULTILINE)
    return {re.sub(r"[*`$]", "", h).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.split("*")[2])
def test_an_entry_leads_to_a_notebook_that_uses_its_terms(entry):
    terms = re.findall(r"\*\*(.+?)\*\*", entry)
    links = LINK.findall(entry)
    assert terms and links and entry.endswith(")")
    for number, file, anchor in links:
        assert file in {path.name for path in all_notebooks()}
        assert file.startswith(number)
        assert not anchor or anchor in anchors(NOTEBOOKS / file)
        for term in terms:
            stem = plain(term).removesuffix("y")  # log-probabilities
            assert stem in plain(markdown(NOTEBOOKS / file)), (term, file)


def test_entries_are_short_and_single():
    terms = [entry.split("**")[1].lower() for entry in ENTRIES]
    assert len(set(terms)) == len(terms) > 50
    for entry in ENTRIES:
        assert len(LINK.sub("", entry).split()) <= 50, entry


def test_words_in_italics_are_entries():
    """ "A word in *italics* is an entry", whatever its ending."""
    text = plain("".join(re.findall(r"\*\*(.+?)\*\*", TEXT)))
    for entry in ENTRIES:
        for word in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", entry):
            if word != "does":  # stressed
                assert plain(word).removesuffix("s") in text, word


@pytest.mark.parametrize(
    "section", SECTIONS, ids=["data", "layers", "network", "judge"]
)
def test_terms_are_in_order(section):
    terms = [
        line.split("**")[1].lower() for line in section.splitlines() if "**" in line
    ]
    assert terms == sorted(terms)
