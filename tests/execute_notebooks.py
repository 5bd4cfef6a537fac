"""Execute notebooks from a clean kernel, in place, and keep their outputs.

    python -m tests.execute_notebooks            all notebooks, on the full data set
    python -m tests.execute_notebooks 04 10      only these

The committed notebooks are the outcome of this command.
"""

import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
ENVIRONMENT = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "default"}  # no bars in outputs


def execute(
    path: Path, source: str, timeout_seconds: int = 1200
) -> nbformat.NotebookNode:
    """The notebook with the outputs of a clean run; `source` as in `load_cifar10`.

    Raises nbclient's CellExecutionError if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=timeout_seconds,
        startup_timeout=180,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    environment = {**os.environ, **ENVIRONMENT, "CIFAR10_SOURCE": source}
    client.execute(env=environment)
    return notebook


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Leave out what belongs to one run only: times of cells, states of widgets."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
    return notebook


def all_notebooks() -> list[Path]:
    """The numbered notebooks, in reading order."""
    return sorted(p for p in NOTEBOOKS.glob("*.ipynb") if re.match(r"\d\d_", p.name))


def main(numbers: list[str]) -> None:
    for path in all_notebooks():
        if numbers and path.name[:2] not in numbers:
            continue
        started = time.perf_counter()
        notebook = tidy(execute(path, source="full"))
        nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
