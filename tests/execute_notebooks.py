"""Execute notebooks from a clean kernel, in place, and keep their outputs.

    python -m tests.execute_notebooks            all notebooks, on the full data set
    python -m tests.execute_notebooks 04 10      only these
    python -m tests.execute_notebooks --captions captions that changed, without a run

The committed notebooks are the outcome of this command. How long each took, and the
most memory its kernel held, goes to `cifar_helpers/results/notebooks.csv`.
"""

import csv
import hashlib
import os
import re
import sys
import time
from base64 import b64decode, b64encode
from itertools import pairwise
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from cifar_helpers import runtime
from tests.small_png import shrink

LIMIT_BYTES = 1_000_000  # of a stored notebook
TIMES = runtime.RESULTS / "notebooks.csv"
NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
ENVIRONMENT = {
    "TQDM_DISABLE": "1",  # no progress bars in outputs
    "CIFAR_GUESSES": os.path.join(os.devnull, "guesses.json"),  # nobody's
}
LABELS = Path(__file__).with_name("axis_labels.py")
WATCH = f"__import__('runpy').run_path({str(LABELS)!r})['watch']()"  # leaves no name


def execute(
    path: Path, source: str, timeout_seconds: int = 1200, watch_labels: bool = False
) -> nbformat.NotebookNode:
    """The notebook with the outputs of a clean run; `source` as in `load_cifar10`.

    Its metadata gets `peak_memory_gb`, where the system tells. Raises nbclient's
    CellExecutionError if a cell fails. With `watch_labels`, a figure with unlabelled
    axes leaves an error in the outputs, see `tests.axis_labels`.
    """
    notebook = nbformat.read(path, as_version=4)

    def note_memory(**_):
        notebook.metadata["peak_memory_gb"] = peak_memory_gb(client.km.provisioner.pid)

    client = NotebookClient(
        notebook,
        timeout=timeout_seconds,
        startup_timeout=180,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_complete=note_memory,
        extra_arguments=[f"--IPKernelApp.exec_lines={WATCH}"] if watch_labels else [],
    )
    environment = {**os.environ, **ENVIRONMENT, "CIFAR10_SOURCE": source}
    client.execute(env=environment)
    return notebook


def peak_memory_gb(process: int) -> float | None:
    """The most memory that a process has held; None where the system does not tell."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
        return round(int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1e6, 2)
    except (OSError, AttributeError):
        return None


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out what belongs to one run only: times of cells, widgets (live bars).

    Pictures become as small as they can be without showing it, see `shrink_pictures`,
    and get an alternative text; the notebook notes which code its outputs belong to.
    """
    widget = "application/vnd.jupyter.widget-view+json"
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("peak_memory_gb", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if widget not in o.get("data", {})]
    shrink_pictures(notebook)
    describe_pictures(notebook)
    notebook.metadata["code_sha256"] = code_sha256(notebook)
    return notebook


def code_sha256(notebook: nbformat.NotebookNode) -> str:
    """A hash of all code but the set-up cell's, which differs by where it is opened."""
    sources = [c.source for c in notebook.cells if c.cell_type == "code" and c.source]
    return hashlib.sha256("\0".join(sources[1:]).encode()).hexdigest()


def describe_pictures(notebook: nbformat.NotebookNode) -> None:
    """Give each picture an alternative text: its figure's label, else its caption.

    A caption is a paragraph in italics, *Figure 3. …*, in the Markdown cell below. One
    that a picture has from an earlier run, or an earlier wording, is renewed.
    """
    for cell, below in pairwise([*notebook.cells, None]):
        text = below.source if below and below.cell_type == "markdown" else ""
        found = re.search(r"^\*(Figure \d+\..*?)\*$", text, re.DOTALL | re.MULTILINE)
        for output in cell.get("outputs", []):
            if found and "image/png" in output.get("data", {}):
                about = output.metadata.setdefault("image/png", {})
                if about.get("alt", "Figure").startswith("Figure"):
                    about["alt"] = plain(found.group(1))


def plain(markdown: str) -> str:
    """Markdown without line breaks, links, code marks and emphasis."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(markdown.split()))
    return re.sub(r"[`*$]", "", text)


def shrink_pictures(notebook: nbformat.NotebookNode) -> None:
    """Store the pictures of a notebook in fewer bytes, as `small_png.shrink` does it.

    In a notebook that would still be larger than `LIMIT_BYTES`, photographs are rounded
    to steps of 9 instead of 5.
    """
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    stored = [o.data for o in outputs if "image/png" in o.get("data", {})]
    originals = [b64decode(data["image/png"]) for data in stored]
    for step in (5, 9):
        for data, png in zip(stored, originals, strict=True):
            data["image/png"] = b64encode(shrink(png, step)).decode()
        if len(nbformat.writes(notebook).encode()) <= LIMIT_BYTES:
            break


def all_notebooks() -> list[Path]:
    """The numbered notebooks, in reading order."""
    return sorted(p for p in NOTEBOOKS.glob("*.ipynb") if re.match(r"\d\d_", p.name))


def note_run(notebook: str, seconds: float, memory_gb: float | None) -> None:
    """Put a notebook's run into the results file, in place of an older one."""
    rows = {}
    if TIMES.exists():
        with open(TIMES, encoding="utf-8", newline="") as file:
            rows = {row["notebook"]: row for row in csv.DictReader(file)}
    machine = runtime.describe_machine()
    rows[notebook] = {
        "notebook": notebook,
        "seconds": round(seconds),
        "peak_memory_gb": memory_gb,
        "hardware": machine["hardware"],
        "torch": machine["torch"],
        "command": f"python -m tests.execute_notebooks {notebook[:2]}",
    }
    TIMES.parent.mkdir(exist_ok=True)
    with open(TIMES, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[notebook].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in sorted(rows))


def renew_captions() -> None:
    """Give the stored pictures the captions that stand below them now."""
    for path in all_notebooks():
        notebook = nbformat.read(path, as_version=4)
        describe_pictures(notebook)
        nbformat.write(notebook, path)


def main(numbers: list[str]) -> None:
    if numbers == ["--captions"]:
        return renew_captions()
    for path in all_notebooks():
        if numbers and path.name[:2] not in numbers:
            continue
        started = time.perf_counter()
        notebook = execute(path, source="full")
        seconds = time.perf_counter() - started
        memory_gb = notebook.metadata["peak_memory_gb"]
        nbformat.write(tidy(notebook), path)
        note_run(path.stem, seconds, memory_gb)
        print(f"{path.name}: {seconds:.0f} s, {memory_gb} GB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
