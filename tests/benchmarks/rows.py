"""Results files that grow by a row for each finished run."""

import csv
import shlex
import sys
from pathlib import Path


def read_rows(path: Path) -> list[dict]:
    """What was measured before."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def add_row(path: Path, row: dict, columns: tuple[str, ...]) -> None:
    """Append to what is there. Raises ValueError if that has other columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = read_rows(path)
    if old and tuple(old[0]) != columns:
        raise ValueError(f"{path} has the columns {tuple(old[0])}: move it away")
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def command_line(benchmark: str, arguments: list[str] | None) -> str:
    """The command that made a row; without `arguments`, those of this process."""
    options = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "-m", f"tests.benchmarks.{benchmark}", *options])
