"""The files of the GPU program: its log, and what comes back. Needs no torch."""

import csv
import json
import os
import shutil
import tarfile
import time
from pathlib import Path

SNAPSHOT_SECONDS = 50  # results come back at least so often: little can be lost
STAYS = (".part", ".running", ".previous", ".lock")
TEACHER = "teacher.safetensors"  # by itself: as large as all the rest
SPEED = (
    "subject",
    "design",
    "precision",
    "form",
    "batch_size",
    "images_per_second",
    "peak_memory_mib",
    "hardware",
    "torch",
    "command",
)


def log(work: Path, line: str) -> None:
    """Print a line with the time of day, and keep it."""
    line = f"{time.strftime('%H:%M:%S')} {line}"
    print(line, flush=True)
    with open(work / "log.txt", "a") as file:
        file.write(line + "\n")


def return_results(work: Path, out: Path, command: str) -> None:
    """Put all into `out`: tables, the log, a teacher, and `gpu.tar` to go on from."""
    write_speed(work, command)
    out.mkdir(parents=True, exist_ok=True)
    part = out / "gpu.tar.part"
    with tarfile.open(part, "w") as tar:
        for path in sorted(work.iterdir()):
            if path.suffix not in STAYS and path.name != TEACHER:
                tar.add(path, path.name)
    os.replace(part, out / "gpu.tar")
    for name in ("speed.csv", "runs.csv", "times.csv", "log.txt", TEACHER):
        if (work / name).exists():
            shutil.copy(work / name, out / name)


def write_speed(work: Path, command: str) -> None:
    """All measurements as a table; a form that failed has no speed."""
    path = work / "measured.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    with open(work / "speed.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, SPEED, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in map(json.loads, lines):
            form = row["form"]
            named = {"form": row["words"], "precision": form["precision"]}
            fixed = {"subject": "training step", "command": command}
            writer.writerow(row | named | fixed)
