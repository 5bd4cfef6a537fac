"""Results files that grow by a row for each finished run."""

import csv
from pathlib import Path


def read_rows(path: Path) -> list[dict]:
    """What was measured before."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def add_row(path: Path, row: dict, columns: tuple[str, ...]) -> None:
    """Append to what is there: several processes may write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)
