"""Work that several processes share: each piece is claimed by a lock and done once."""

import json
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from cifar_helpers import checkpoints
from tests.benchmarks.rows import add_row, read_rows


def claimed(lock: Path, title: str, work: Callable) -> None:
    """Do `work()`, unless another process is at it."""
    try:
        claim = FileLock(lock).acquire(timeout=0)
    except Timeout:
        print(f"{title}: another process is at it", flush=True)
        return
    with claim:
        work()


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
        checkpoints.remove(checkpoint)
        print(json.dumps(done), flush=True)

    claimed(Path(f"{checkpoint}.claim"), title, work)
