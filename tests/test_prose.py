"""Numbers that prose quotes stand in an output, a card or a results file."""

import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from execute_notebooks import TIMES, all_notebooks

from cifar_helpers import runtime
from cifar_helpers.model import CIFAR10Net, count_multiply_adds, count_parameters
from cifar_helpers.recipes import PRESETS
from tests.benchmarks.rows import read_rows
from tests.benchmarks.stepwise import short_runs

README = Path(__file__).resolve().parents[1] / "README.md"
NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?:\s?%)?(?![\w])")
KNOWN = {  # definitions, not measurements: sizes of the data set, budgets, levels
    *("10,000", "50,000", "60,000", "45,000", "5,000", "1,000", "2,000", "200,000"),
    *("10 %", "95 %", "100 %", "50 %", "0 %", "90 %", "86.48 %", "0.5", "1.0", "0.0"),
    *("1,024", "3,072", "9,216"),  # 32 x 32 places, 3 channels, 9 taps of each
}
GIVEN = {  # numbers that a text sets or cites: exercises, thought examples, papers
    "01_meet_the_data": {"0.25", "0.3", "1.4", "20,000", "30 %", "70 %", "3.3 %"},
    "03_depthwise_separable": {"4.7", "1.3"},  # a section; a rule of thumb
    "06_deconvolution_and_residual": {"25 %", "6.25 %"},  # 4 places of 16, and one
    "15_same_budget_higher_accuracy": {"1,600", "91 %", "95.5 %"},  # a subset; goals
}


def is_measurement(number: str) -> bool:
    """Percentages, decimals and numbers with a thousands' comma."""
    return any(sign in number for sign in "%.,")


def numbers(text: str) -> set[str]:
    found = {match.strip(",") for match in NUMBER.findall(text)}
    return {re.sub(r"\s*%", " %", number) for number in found}


def prose(markdown: str) -> str:
    """Markdown without code, formulas, links, and the list of references."""
    text = markdown.split("## References")[0]
    for pattern in (r"```.*?```", r"`[^`]*`", r"\$\$.*?\$\$", r"\$[^$]*\$"):
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"https?://\S+|arXiv[: ]\S+|§\s?[\d.]+", " ", text)


def outputs_and_code(notebook) -> str:
    parts = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        parts.append(cell.source)
        for output in cell.outputs:
            parts.append(output.get("text", ""))
            data = output.get("data", {})
            parts.append(data.get("text/plain", ""))
            parts.append(re.sub(r"<[^>]*>", " ", data.get("text/html", "")))
    return "\n".join(parts)


@pytest.mark.parametrize("path", all_notebooks(), ids=lambda path: path.stem)
def test_numbers_in_a_notebooks_prose_stand_in_its_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    shown = numbers(outputs_and_code(notebook)) | KNOWN | GIVEN.get(path.stem, set())
    shown |= {number.removesuffix(" %") for number in shown}
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    quoted = {number for number in numbers(prose(text)) if is_measurement(number)}
    missing = {
        q for q in quoted if q not in shown and q.removesuffix(" %") not in shown
    }
    assert not missing, f"in the prose, but in no output: {sorted(missing)}"


@pytest.mark.parametrize("name", ["baseline", "cpu", "champion"])
def test_readme_quotes_the_card(name):
    text = README.read_text()
    card = json.loads((runtime.WEIGHTS / f"{name}.json").read_text())
    assert f"**{card['test_accuracy_percent']:.2f} %**" in text
    assert f"{card['parameters']:,}" in text
    assert f"{card['multiply_adds'] / 1e6:.1f} M" in text
    assert f"{card['train_seconds'] / 60:.0f} min" in text
    assert card["torch"] in text and card["hardware"].split(",")[0] in text
    model = CIFAR10Net(PRESETS[name][0])
    assert count_parameters(model) == card["parameters"]
    assert count_multiply_adds(model) == card["multiply_adds"]


def test_readme_quotes_the_laptop_runs():
    runs = read_rows(runtime.RESULTS / "laptop.csv")
    ours, reference = (
        [float(r["test_accuracy_percent"]) for r in runs if r["network"] == name]
        for name in ("cpu", "resnet8-24")
    )
    longest, longest_reference = (
        max(float(r["train_seconds"]) for r in runs if r["network"] == name)
        for name in ("cpu", "resnet8-24")
    )
    text = " ".join(README.read_text().split())  # lines may break anywhere
    assert len(ours) >= 3 and len(reference) == 3
    assert f"{statistics.mean(ours):.2f} ± {statistics.stdev(ours):.2f} %" in text
    assert f"{min(ours):.2f} to {max(ours):.2f} %" in text
    assert f"at most {longest:.0f} s" in text
    plain = f"{statistics.mean(reference):.2f} ± {statistics.stdev(reference):.2f} %"
    assert f"gets {plain} by" in text
    assert f"at most {longest_reference:.0f} s (three runs)" in text
    ahead = statistics.mean(ours) - statistics.mean(reference)
    assert f"the six parts are {ahead:.1f} points ahead" in text
    rates = read_rows(runtime.RESULTS / "throughput.csv")
    ratios = {r["subject"]: r["ratio_to_plain_loop"] for r in rates}
    ours, inputs = ratios["our loop, cpu network"], ratios["input, whole batches"]
    assert f"{float(ours):.1f} times as fast" in text
    small = float(ratios["our loop, cpu network, 24 x 24"])
    assert f"{small:.1f} times while the images are small" in text
    assert f"{float(inputs):.0f} times as fast" in text


def test_readme_quotes_the_stepwise_ablation():
    runs = short_runs(runtime.RESULTS / "champion.csv")
    text = " ".join(README.read_text().split())  # lines may break anywhere
    for name in ("baseline", "Muon", "champion network"):
        assert len(runs[name]) >= 2
        assert f"{statistics.mean(runs[name]):.1f} %" in text, name
    ours, random = (statistics.mean(runs[r]) for r in ("cpu", "cpu, random branches"))
    assert f"worth {ours - random:.1f} points after two passes" in text


def test_every_finished_run_stands_in_the_champions_file():
    rows = read_rows(runtime.RESULTS / "champion.csv")
    rows = {row["run"]: row for row in rows if row["test_accuracy_percent"]}
    for name in ("baseline", "cpu", "champion"):
        card = json.loads((runtime.WEIGHTS / f"{name}.json").read_text())
        assert (
            float(rows[name]["test_accuracy_percent"]) == card["test_accuracy_percent"]
        )
        assert float(rows[name]["seconds"]) == card["train_seconds"]


def test_readme_lists_every_notebook_with_its_time():
    text = README.read_text()
    seconds = {row["notebook"]: int(row["seconds"]) for row in read_rows(TIMES)}
    for path in all_notebooks():
        line = next(line for line in text.split("\n") if f"{path.name})" in line)
        assert line.endswith(f"| {seconds[path.stem]} s |"), line


def test_readme_links_lead_to_files():
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", README.read_text()):
        assert (README.parent / target).exists(), target
