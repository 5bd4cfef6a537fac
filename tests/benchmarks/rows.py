"""Results files: a row for each finished run; what is a rehearsal goes elsewhere."""

import argparse
import csv
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from cifar_helpers import runtime

LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")  # instructions of a processor


def read_rows(path: Path) -> list[dict]:
    """What was measured before."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add_row(path: Path, row: dict, columns: tuple[str, ...]) -> None:
    """Append to what is there. Raises ValueError if that has other columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = read_rows(path)
    if old and tuple(old[0]) != columns:
        raise ValueError(f"{path} has the columns {tuple(old[0])}: move it away")
    with open(path, "a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


def replace_rows(path: Path, rows: list[dict], columns: tuple[str, ...]) -> None:
    """Write the whole file anew, beside its final name, and move it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(part, path)


def key_of(columns: tuple[str, ...]) -> Callable[[dict], tuple]:
    """A function of a row; rows for which it gives the same are the same run."""
    return lambda row: tuple(str(row[name]) for name in columns)


def file_name(key: Iterable) -> str:
    """A run's key as the name of its files: letters, digits and _ only."""
    return re.sub(r"\W+", "_", "-".join(map(str, key)))


def check_rehearsal(
    parser: argparse.ArgumentParser, options, path: Path, rehearsal=False
) -> None:
    """End with an error if a rehearsal would write to `path` beside the results.

    With the sample, or with fewer images, it always is one.
    """
    rehearsal = rehearsal or getattr(options, "images", None)
    rehearsal = rehearsal or getattr(options, "source", "full") != "full"
    kept = [folder.resolve() for folder in (runtime.RESULTS, runtime.WEIGHTS)]
    if rehearsal and path.resolve().parent in kept:
        parser.error(f"this is a rehearsal: it must not write to {path.parent}")


def command_line(benchmark: str, arguments: list[str] | None) -> str:
    """The command that made a row; without `arguments`, those of this process.

    What the environment forbids the processor stands before it.
    """
    options = sys.argv[1:] if arguments is None else arguments
    limits = [f"{name}={os.environ[name]}" for name in LIMITS if name in os.environ]
    command = ["python", "-m", f"tests.benchmarks.{benchmark}", *options]
    return shlex.join([*limits, *command])
