"""Numbers that prose quotes stand in an output, a card or a results file."""

import json
import re
import shutil
import statistics

import nbformat
import pytest
from execute_notebooks import all_notebooks
from scipy import stats

from cifar_helpers import runtime, worth
from cifar_helpers.ablation import SWITCHES
from cifar_helpers.model import CIFAR10Net, count_multiply_adds, count_parameters
from cifar_helpers.recipes import PRESETS
from tests import make_readme
from tests.benchmarks.rows import add_row, read_rows
from tests.benchmarks.stepwise import short_runs
from tests.make_readme import CONTENDERS, NETWORKS, README, ROOT

README_TEXT = README.read_text(encoding="utf-8")
RESULTS_TEXT = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
RESULTS_LINES = RESULTS_TEXT.splitlines()
NUMBER = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?:\s?%)?(?![\w])")
KNOWN = {  # definitions, not measurements: sizes of the data set, budgets, levels
    *("10,000", "50,000", "60,000", "45,000", "5,000", "1,000", "2,000", "200,000"),
    *("40,000", "20,000"),
    *("10 %", "95 %", "100 %", "50 %", "0 %", "90 %", "86.48 %", "0.5", "1.0", "0.0"),
    *("1,024", "3,072", "9,216"),  # 32 x 32 places, 3 channels, 9 taps of each
}
GIVEN = {  # numbers that a text sets or cites: exercises, thought examples, papers
    "01_meet_the_data": {
        *("30 %", "70 %", "1.4", "4,000", "8,800", "91.6 %", "90.9 %"),  # exercises
        *("2.8", "4.3"),  # factors of Student's t
        *("3.3 %", "94 %"),  # Barz & Denzler; Karpathy
    },
    "02_convolution_block": {"0.71", "0.41"},  # roots of 1/2 and of 1/6
    "03_depthwise_separable": {"4.7"},  # a section
    "07_aspp": {"1.5", "4.5"},  # rates that would fall between pixels
    "10_train_on_gpu": {"0.005", "2.6"},  # a rate of an exercise; a version of torch
    "13_train_faster": {"70 %", "405,000", "3,800", "2,600"},  # of an exercise
    "12_where_to_trust_it": {"9,300", "0.54 %", "91 %", "80 %", "0.1", "3.3 %"},
    "14_what_each_block_buys": {"5 %", "0.6", "0.3", "40,000"},  # levels, a design
    "README": {"95.5 %", "3.11", "3.13"},  # a goal; versions of Python
    "15_same_budget_higher_accuracy": {"1,600", "2.447"},  # a subset; an exercise
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


@pytest.mark.parametrize("name", list(NETWORKS))
def test_results_quote_the_card(name):
    (line,) = (row for row in RESULTS_LINES if row.startswith(f"| `{name}`"))
    card = json.loads((runtime.WEIGHTS / f"{name}.json").read_text())
    assert f"**{card['test_accuracy_percent']:.2f} %**" in line
    assert f"{card['parameters']:,}" in line
    assert f"{card['multiply_adds'] / 1e6:.1f} M" in line
    assert f"{card['recipe']['epochs']} epochs" in line
    assert f"{card['train_seconds'] / 60:.0f} min" in line
    assert card["torch"] in RESULTS_TEXT and card["hardware"] in RESULTS_TEXT
    for line in README_TEXT.splitlines():
        if line.startswith(f"| `{name}`") and name != "cpu":  # of that several runs
            assert f"**{card['test_accuracy_percent']:.2f} %**" in line
            assert f"| {card['parameters']:,} |" in line
    model = CIFAR10Net(PRESETS[name][0])
    assert count_parameters(model) == card["parameters"]
    assert count_multiply_adds(model) == card["multiply_adds"]


def test_results_quote_the_ten_minute_runs():
    """The table and its verdict, computed again by SciPy."""
    samples = []
    for name, kind in CONTENDERS.items():
        rows = read_rows(runtime.RESULTS / "laptop.csv")
        rows = [row for row in rows if row["cpu"] == rows[0]["cpu"]]
        runs = [(r["epochs"], r) for r in rows if r["network"] == name]
        latest, _ = runs[-1]
        values = [float(r["test_accuracy_percent"]) for e, r in runs if e == latest]
        assert len(values) >= 3
        half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
        (line,) = (row for row in RESULTS_LINES if row.startswith(f"| {kind} |"))
        assert f"| **{statistics.mean(values):.2f} ± {half:.2f} %** |" in line
        samples.append(values)
    interval = stats.ttest_ind(*samples, equal_var=False).confidence_interval()
    text = " ".join(RESULTS_TEXT.split())  # lines may break anywhere
    assert f"interval from {interval.low:.2f} to {interval.high:.2f} (Welch)" in text
    includes_zero = interval.low <= 0 <= interval.high
    assert ("do not show that either is ahead" in text) == includes_zero


def test_results_quote_the_stepwise_ablation():
    runs = short_runs(runtime.RESULTS / "champion.csv")
    lines = RESULTS_LINES[RESULTS_LINES.index("<!-- results:stepwise -->") :]
    lines = lines[: lines.index("<!-- end -->")]
    for name in ("baseline", "Muon", "wider network"):
        (line,) = (row for row in lines if row.startswith(f"| {name} |"))
        assert f"| {statistics.mean(runs[name]):.1f} ± " in line


def test_results_quote_the_factorial_ablation():
    """The main effect of a full design is a mean of 32 minus a mean of 32."""
    runs = worth.stored_runs()
    if len(runs) % 64:
        pytest.skip("half of the networks: effects are those of a fit")
    for idea in SWITCHES:
        by_state = runs.groupby(idea)[worth.ACCURACY].mean()
        (line,) = (row for row in RESULTS_LINES if row.startswith(f"| {idea} |"))
        assert f"{by_state[1] - by_state[0]:+.2f} ± " in line.split("|")[3]


def test_results_quote_the_runs_at_full_length():
    """Means, and intervals from the mean of all networks' variances, by SciPy."""
    rows = read_rows(runtime.RESULTS / "ablation.csv")
    runs = {}
    for row in rows:
        if row["design"] == "confirmation":
            reached = float(row["validation_accuracy_percent"])
            runs.setdefault(row["variant"], []).append(reached)
    assert {len(values) for values in runs.values()} == {3}
    spread = statistics.mean(statistics.variance(v) for v in runs.values()) ** 0.5
    half = stats.t.ppf(0.975, 2 * len(runs)) * spread * (2 / 3) ** 0.5
    start = RESULTS_LINES.index("<!-- results:confirmed -->")
    for name, values in runs.items():
        (line,) = (r for r in RESULTS_LINES[start:] if r.startswith(f"| {name} |"))
        assert f"| {statistics.mean(values):.2f} % |" in line
        minus = statistics.mean(values) - statistics.mean(runs["whole"])
        assert name == "whole" or f"{minus:+.2f} ± {half:.2f}" in line


def test_results_quote_the_presets_at_equal_epochs():
    rows = read_rows(runtime.RESULTS / "budget.csv")
    rows = [row for row in rows if row["design"] == "equal-epochs"]
    for name in ("baseline", "champion"):
        runs = [row for row in rows if row["variant"] == name]
        values = [float(row["validation_accuracy_percent"]) for row in runs]
        half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
        start = f"| {name} | {int(runs[0]['multiply_adds']) / 1e6:.1f} M | 4 |"
        (line,) = (row for row in RESULTS_LINES if row.startswith(start))
        assert f"| {statistics.mean(values):.2f} ± {half:.2f} % |" in line


def test_readmes_tables_are_up_to_date():
    assert make_readme.main(["--check"]) == 0


def test_an_old_table_is_noticed_and_mended(tmp_path, monkeypatch, capsys):
    path = tmp_path / "README.md"
    monkeypatch.setattr(make_readme, "PAGES", (path,))
    path.write_text(README_TEXT.replace("**93.", "**92."), encoding="utf-8")
    assert make_readme.main(["--check"]) == 1
    assert "python -m tests.make_readme" in capsys.readouterr().out
    assert make_readme.main([]) == 0
    assert path.read_text(encoding="utf-8") == README_TEXT


def test_runs_made_again_elsewhere_change_no_table(tmp_path, monkeypatch):
    """A reader's rows come below those that the text is about."""
    results = tmp_path / "results"
    shutil.copytree(runtime.RESULTS, results)
    again = {"hardware": "another, 4 threads", "test_accuracy_percent": "90.0"}
    add_again(results / "champion.csv", {"run": "champion", "epochs": "55"}, again)
    add_again(results / "champion.csv", {"epochs": "2"}, {"hardware": "another"})
    shorter = {"epochs": "6", "test_accuracy_percent": "80.0"}
    add_again(results / "laptop.csv", {"network": "cpu"}, shorter)
    add_again(
        results / "laptop.csv", {"network": "cpu"}, {"cpu": "a, 2 threads, bfloat16"}
    )
    names = ("networks", "as-long", "on-gpu", "stepwise", "summary")
    before = {name: make_readme.TABLES[name]() for name in names}
    monkeypatch.setattr(runtime, "RESULTS", results)
    for name in names:
        assert make_readme.TABLES[name]() == before[name], name


def add_again(path, chosen, changes):
    """Append a file's first row that has the `chosen` entries, with `changes`."""
    rows = read_rows(path)
    row = next(row for row in rows if chosen.items() <= row.items())
    assert changes.items() - row.items(), "nothing would be new"
    add_row(path, row | changes, tuple(row))


@pytest.mark.parametrize("cut", ["<!-- end -->", "<!-- results:summary -->"])
def test_a_marker_without_its_pair_is_refused(cut):
    with pytest.raises(ValueError, match="needs one"):
        make_readme.with_tables(README_TEXT.replace(cut, "", 1))


@pytest.mark.parametrize("page", [README_TEXT, RESULTS_TEXT], ids=["readme", "results"])
def test_readmes_own_text_has_no_measured_numbers(page):
    """They stand in the generated tables; goals and sizes of data may be named."""
    text = prose(make_readme.PART.sub(" ", page))
    quoted = {number for number in numbers(text) if is_measurement(number)}
    allowed = KNOWN | GIVEN["README"]
    assert quoted <= allowed, sorted(quoted - allowed)


def test_readmes_example_runs(monkeypatch):
    monkeypatch.setenv("CIFAR10_SOURCE", "sample")
    (example,) = re.findall(r"```python\n(.*?)```", README_TEXT, re.DOTALL)
    names = {}
    exec(example, names)
    assert names["log_probabilities"].shape == (8, 10)


def test_every_finished_run_stands_in_the_champions_file():
    rows = read_rows(runtime.RESULTS / "champion.csv")
    rows = {row["run"]: row for row in rows if row["test_accuracy_percent"]}
    for name in NETWORKS:
        card = json.loads((runtime.WEIGHTS / f"{name}.json").read_text())
        assert (
            float(rows[name]["test_accuracy_percent"]) == card["test_accuracy_percent"]
        )
        assert float(rows[name]["seconds"]) == card["train_seconds"]


def test_readme_lists_every_notebook():
    for path in all_notebooks():
        assert f"| [{path.stem}](notebooks/{path.name}) |" in README_TEXT
        assert (ROOT / "notebooks" / "images" / f"{path.name[:2]}.png").exists()


def test_readmes_test_command_is_what_runs_everywhere():
    (command,) = re.findall(r"python3 (start\.py test) +# all tests", README_TEXT)
    assert f"python {command}" in (ROOT / ".ci" / "run").read_text().splitlines()
    workflow = (ROOT / ".github" / "workflows" / "checks.yml").read_text()
    assert "- run: .ci/run" in workflow
    project = (ROOT / "pyproject.toml").read_text()
    assert not re.search(r"addopts = .*-m ", project)  # nothing is left out


def test_readme_is_short():
    assert len(README_TEXT.splitlines()) < 150


def test_the_packages_page_lists_every_module():
    package = ROOT / "cifar_helpers"
    names = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    names |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    page = (package / "README.md").read_text(encoding="utf-8")
    listed = {row.split("`")[1] for row in page.splitlines() if row.startswith("| [`")}
    assert listed == names


@pytest.mark.parametrize(
    "page", ["README.md", "RESULTS.md", "CONTRIBUTING.md", "cifar_helpers/README.md"]
)
def test_links_lead_to_files(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", text)
    for target in links + re.findall(r'src="([^"]+)"', text):
        assert ((ROOT / page).parent / target).exists(), target
