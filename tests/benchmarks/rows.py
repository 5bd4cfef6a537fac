"""Results files that grow by a row for each finished run."""

import csv
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout


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


def claimed(lock: Path, title: str, work: Callable) -> None:
    """Do `work()`, unless another process is at it."""
    try:
        with FileLock(lock, timeout=0):
            work()
    except Timeout:
        print(f"{title}: another process is at it", flush=True)


def run_once(
    row: dict, key: Callable, columns, path: Path, checkpoint: Path, title, train
) -> None:
    """Append `row | train()`, unless the file has such a row or another is at it.

    Rows of the same `key(row)` are the same run. The claim lies beside `checkpoint`,
    which is removed once the row is kept; the folder must be there.
    """

    def work():
        if key(row) in map(key, read_rows(path)):
            print(f"{title}: in {path.name} already", flush=True)
            return
        done = row | train()
        with FileLock(checkpoint.parent / f"{path.name}.lock"):
            add_row(path, done, columns)
        for ending in ("", ".previous"):
            Path(f"{checkpoint}{ending}").unlink(missing_ok=True)
        print(json.dumps(done), flush=True)

    claimed(Path(f"{checkpoint}.claim"), title, work)


def command_line(benchmark: str, arguments: list[str] | None) -> str:
    """The command that made a row; without `arguments`, those of this process."""
    options = sys.argv[1:] if arguments is None else arguments
    return shlex.join(["python", "-m", f"tests.benchmarks.{benchmark}", *options])
