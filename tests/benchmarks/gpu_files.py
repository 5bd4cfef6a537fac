"""The files of the GPU program: its log, what comes back, and what is kept of it."""

import csv
import json
import os
import re
import shutil
import tarfile
import time
from pathlib import Path

SNAPSHOT_SECONDS = 50  # results come back at least so often: little can be lost
STAYS = (".part", ".running", ".previous", ".lock")
TEACHER = "teacher.safetensors"  # by itself: as large as all the rest
KEPT = {  # what comes back: the results file that its rows go to
    "speed.csv": "gpu_speed.csv",
    "times.csv": "gpu_times.csv",
    "runs.csv": "champion.csv",
}
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
    with open(work / "log.txt", "a", encoding="utf-8") as file:
        file.write(line + "\n")


def return_results(work: Path, out: Path) -> None:
    """Put all into `out`: tables, the log, a teacher, and `gpu.tar` to go on from."""
    write_speed(work)
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


def keep(out: Path) -> None:
    """Add what came back to the results files; what they have is not added again.

    A speed takes the place of an older one of the same form, batch and GPU. Weights
    stay in gpu.tar: a network that is to be shipped goes to `weights/` by hand. Raises
    ValueError, before anything is written, for a rehearsal, and for runs that have the
    name of another.
    """
    from cifar_helpers import runtime  # torch: nothing else here needs it
    from tests.benchmarks.rows import add_row, key_of, read_rows, replace_rows

    came = {name: read_rows(out / name) for name in KEPT}
    for name, rows in came.items():
        if any(re.search(r"\d threads?\b", row.get("hardware", "")) for row in rows):
            raise ValueError(f"{name} has rows of a rehearsal on a CPU: no results")
    results, files = runtime.RESULTS, {}
    with tarfile.open(out / "gpu.tar") as tar:
        for member in tar.getmembers():
            path = Path(member.name)
            if path.parent.name == "runs" and path.suffix in (".json", ".csv"):
                files[path.name] = tar.extractfile(member).read()
    for name, content in files.items():
        card = json.loads(content) if name.endswith(".json") else {"data": "full"}
        if card["data"] != "full" or card.get("training_images", 50_000) < 50_000:
            raise ValueError(f"{name} is of a rehearsal: it is no result")
        known = results / "gpu" / name
        if known.exists() and known.read_bytes() != content:
            raise ValueError(f"{known} is another run: give one of them another name")
    (results / "gpu").mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (results / "gpu" / name).write_bytes(content)
    same = key_of(("design", "form", "precision", "batch_size", "hardware"))
    worked = [row for row in came.pop("speed.csv") if row["images_per_second"]]
    if worked:
        path = results / KEPT["speed.csv"]
        latest = {same(row): row for row in [*read_rows(path), *worked]}
        replace_rows(path, list(latest.values()), SPEED)
    for name, rows in came.items():
        path = results / KEPT[name]
        old = read_rows(path)
        for row in rows:
            if row not in old:
                add_row(path, row, tuple(row))


def write_speed(work: Path) -> None:
    """All measurements as a table; a form that failed has no speed."""
    path = work / "measured.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    with open(work / "speed.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, SPEED, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        for row in map(json.loads, lines):
            form = row["form"]
            named = {"form": row["words"], "precision": form["precision"]}
            writer.writerow(row | named | {"subject": "training step"})
