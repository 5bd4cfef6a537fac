"""The champion on a GPU that is there for some minutes: everything by one command.

    1. copy this repository and the data to the machine, and meanwhile measure:
       setsid nohup python -m tests.benchmarks.gpu --prepare --out runs/prepared \\
           > prepared.log 2>&1 < /dev/null &
    2. train, in the order of worth, for as long as there is time:
       CIFAR10_ROOT=<folder> python -m tests.benchmarks.gpu --minutes 9 --out results
    3. the same again, on the same machine or on another one, goes on where it ended:
       CIFAR10_ROOT=<folder> python -m tests.benchmarks.gpu --minutes 4 --out more \\
           --resume results/gpu.tar
       With --finish --device cpu, runs that were cut off end where they are.
    4. add what came back to the results files:
       python -m tests.benchmarks.gpu --keep results

First it measures some forms of a training step on synthetic images, and takes the
fastest that trains as plain PyTorch does (`--prepare` does only this; what is measured
on a machine is not measured again). Then come the pieces: the champion with seeds 0, 1
and 2, in as many epochs as fit into `--share` of the time each, but not in fewer than
its recipe has, if these fit once; between them the baseline, as long, and a short run
that is timed until 86.48 % of 5,000 held out images; and where there is time for both,
a teacher, and the champion once more, taught by it. Runs learn from all 50,000 images;
each is judged on the test set once, when finished.

Training is a process of its own: if it falls, its piece is taken up again from the
checkpoint, the second time in the plain form, and left out if that falls, too; if it
hangs, which on a GPU means that it gives no sign for `PATIENCE_SECONDS`, it is ended,
as if it had fallen. `--out` gets speed.csv, runs.csv, times.csv, log.txt, the teacher,
and gpu.tar with weights, cards, histories and checkpoints: after every piece, and in
long runs about once a minute. A rehearsal on a CPU:

    python -m tests.benchmarks.gpu --device cpu --source sample --images 300 \\
        --batch-size 50 --epochs 3 --teacher-width 8 --minutes 2 --out rehearsal
"""

import argparse
import contextlib
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from tests.benchmarks.gpu_files import TEACHER, keep, log, return_results

PIECES = ["champion", "to-86.48", "baseline-0", "seed-1", "baseline-1", "seed-2"]
PIECES += ["baseline-2", "teacher", "taught-0", "taught-1", "taught-2"]
PATIENCE_SECONDS = 150  # for one form, or between two epochs: compiling takes a minute


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu")
    parser.add_argument("--out", default="runs/gpu-results", help="what comes back")
    parser.add_argument("--work", default="runs/gpu", help="what stays here")
    parser.add_argument("--resume", help="a gpu.tar to go on from, if --work is empty")
    parser.add_argument("--minutes", type=float, default=9.0, help="from now on")
    parser.add_argument("--prepare", action="store_true", help="only measure forms")
    parser.add_argument("--prepare-seconds", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each form")
    parser.add_argument("--design", default="C", choices=["A", "C"])
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    parser.add_argument("--share", type=float, default=0.28, help="of time: champion's")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--teacher-width", type=int, default=128, help="its channels")
    parser.add_argument("--pieces", nargs="+", default=PIECES, choices=PIECES)
    parser.add_argument("--keep", help="add a folder's results to the results files")
    parser.add_argument("--finish", action="store_true", help="judge what was cut off")
    parser.add_argument("--device", default="cuda", help="or cpu: a rehearsal")
    parser.add_argument("--source", default="full", help="sample: a rehearsal")
    parser.add_argument("--images", type=int, default=0, help="only the first ones")
    return parser.parse_args(arguments)


def start(what: str, options: dict) -> subprocess.Popen:
    """A process that measures or trains; quiet but for its log."""
    command = [sys.executable, "-m", "tests.benchmarks.gpu_pieces", what]
    quiet = os.environ | {"TQDM_DISABLE": "1"}
    return subprocess.Popen([*command, json.dumps(options)], env=quiet)


def wait(
    process: subprocess.Popen, sign: Path, patience: float, until: float
) -> int | None:
    """Its exit code; None if it had to be ended.

    That is, if the file `sign` was not touched for `patience` seconds, or at `until`.
    """
    since = time.time()
    while process.poll() is None:
        time.sleep(0.2)
        if sign.exists():
            since = max(since, sign.stat().st_mtime)
        if time.time() > min(since + patience, until):
            process.kill()
            process.wait()
            return None
    return process.returncode


def prepare(work: Path, options: dict, seconds: float) -> None:
    """Measure all forms, once a machine; a process that hangs or falls is replaced."""
    marker, rows = work / "prepared.json", work / "measured.jsonl"
    if another_prepared(marker, seconds):
        return
    if marker.exists() and json.loads(marker.read_text()) == this_machine():
        return
    until, running = time.time() + seconds, marker.with_suffix(".running")
    (work / "begun.json").unlink(missing_ok=True)  # ended from outside: no failure
    rows.touch()
    in_vain = 0
    while in_vain < 2:  # what cannot start a second time never will
        before = rows.stat().st_size
        process = start("measure", options | {"until": until})
        mine = [this_machine(), [os.getpid(), process.pid]]
        part = marker.with_suffix(".part")
        part.write_text(json.dumps(mine), encoding="utf-8")
        part.replace(running)  # whole, or not there
        code = wait(process, rows, PATIENCE_SECONDS, until + 15)
        if code == 0 or time.time() > until:
            break
        began = rows.stat().st_size > before or (work / "begun.json").exists()
        in_vain = 0 if began else in_vain + 1
    running.unlink(missing_ok=True)
    marker.write_text(json.dumps(this_machine()))
    return_results(work, Path(options["out"]))


def this_machine() -> list[str]:
    """Its name, and what Linux calls this start of it."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return [platform.node(), boot.read_text(encoding="utf-8") if boot.exists() else ""]


def another_prepared(marker: Path, seconds: float) -> bool:
    """Wait for a process that is preparing already, but not longer; whether there was.

    Beside it nothing could be measured or planned: at the end of the time it is ended.
    """
    running, until = marker.with_suffix(".running"), time.time() + seconds
    while running.exists():
        try:
            machine, processes = json.loads(running.read_text(encoding="utf-8"))
            if machine != this_machine():  # their numbers mean others here
                raise ProcessLookupError
            os.kill(processes[0], 0)  # asks whether it lives
        except (OSError, ValueError):  # it fell, or has just finished
            running.unlink(missing_ok=True)
            return False
        if time.time() > until:
            for number in processes:
                with contextlib.suppress(OSError):
                    os.kill(number, signal.SIGTERM)
            running.unlink(missing_ok=True)
            return True
        time.sleep(0.5)
    return False


def take_up(archive: Path, work: Path) -> None:
    """Unpack an earlier run's files; what was measured on this machine stays."""
    names = ("measured.jsonl", "prepared.json")
    own = {n: (work / n).read_text() for n in names if (work / n).exists()}
    with tarfile.open(archive) as tar:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        tar.extractall(work, **safe)  # Python 3.11.4 and later know filters
    with open(work / "measured.jsonl", "a", encoding="utf-8") as file:
        file.write(own.get("measured.jsonl", ""))
    if "prepared.json" in own:
        (work / "prepared.json").write_text(own["prepared.json"])
    teacher = archive.with_name(TEACHER)
    if teacher.exists():
        shutil.copy(teacher, work / TEACHER)


def train(work: Path, options: dict) -> None:
    """All pieces; one that falls is tried twice more, at last in the plain form."""
    falls, pieces, current = {}, options["pieces"], work / "piece"
    patience = PATIENCE_SECONDS if options["device"] == "cuda" else float("inf")
    while pieces and time.time() < options["until"]:
        safe = max(falls.values(), default=0) > 1
        current.unlink(missing_ok=True)  # what an earlier process was at
        process = start("train", options | {"pieces": pieces, "safe": safe})
        code = wait(process, work / "alive", patience, options["until"] + 60)
        if code is None:
            log(work, "it does not stop by itself")
        if code == 0 or time.time() > options["until"] + 60:
            break
        piece = current.read_text() if current.exists() else "the start"
        falls[piece] = falls.get(piece, 0) + 1
        log(work, f"{piece} fell with code {code}, time {falls[piece]}")
        if falls.get("the start", 0) > 1:  # no data, or no GPU: nothing can work
            break
        if falls[piece] > 2:
            pieces = [name for name in pieces if name != piece]
    return_results(work, Path(options["out"]))


def main(arguments: list[str] | None = None) -> None:
    """See the module's docstring."""
    namespace, started = parse(arguments), time.time()
    if namespace.keep:
        return keep(Path(namespace.keep).expanduser())
    work = Path(namespace.work).expanduser()
    work.mkdir(parents=True, exist_ok=True)
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "-m", "tests.benchmarks.gpu", *given])
    options = vars(namespace) | {"work": str(work), "command": command}
    options["until"] = started + 60 * namespace.minutes
    if namespace.resume and not (work / "plan.json").exists():
        take_up(Path(namespace.resume).expanduser(), work)
    if not namespace.finish:
        prepare(work, options, namespace.prepare_seconds)
    if not namespace.prepare:
        train(work, options)


if __name__ == "__main__":
    main()
