"""A run's state in a file: whole, checked, and belonging to the run that asks for it.

A file holds the SHA-256 of what follows, then what `torch.save` wrote. It is written
beside its final name, flushed to the disk and moved into place; the one before is kept
as `<name>.previous` and is used if the last one turns out to be damaged.
"""

import errno
import hashlib
import io
import os
import pickle
import re
import time
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path

import torch
from torch import nn

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None

MAGIC = b"cifar_helpers checkpoint 1\n"
DIGEST_BYTES = 32


class CheckpointDamaged(ValueError):
    """Neither the last nor the previous checkpoint can be used; it says why."""


class CheckpointNotSaved(OSError):
    """A checkpoint could not be written; the message names the file and the remedy."""


def save(path: Path, state: dict) -> None:
    """Write `state`, keeping the checkpoint before it.

    Raises CheckpointNotSaved, and ValueError for a state that could not be read back.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    if problem := _unpack(content)[1]:  # said now, and not when the run is to go on
        raise ValueError(f"the run's state {problem}: keep plain numbers in its rows")
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(MAGIC + hashlib.sha256(content).digest() + content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists() and not _problem(path.read_bytes()):  # else keep the good one
            _replace(path, previous(path))
        _replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        if not path.exists() and previous(path).exists():
            os.replace(previous(path), path)
        raise CheckpointNotSaved(
            f"the checkpoint {path} could not be saved ({error.strerror or error}): "
            f"make {len(content) / 1e6:.0f} MB of room there, or name another folder; "
            "the last checkpoint is as it was"
        ) from error


def _replace(source: Path, target: Path, pauses=(0.1, 0.3, 1.0)) -> None:
    """`os.replace`, again if another program has the file open, as on Windows."""
    for seconds in pauses:
        try:
            return os.replace(source, target)
        except PermissionError:
            time.sleep(seconds)
    os.replace(source, target)


def load(path: Path) -> dict | None:
    """The last good state, or None where there is no checkpoint.

    Raises CheckpointDamaged if neither the file nor the one before it is whole.
    """
    problems = []
    for candidate in (path, previous(path)):
        if not candidate.exists():
            continue
        state, problem = _read(candidate)
        if not problem:
            if problems:
                print(f"{'; '.join(problems)}: going on from {candidate}")
            return state
        problems.append(f"{candidate} {problem}")
    if problems:
        raise CheckpointDamaged(f"{'; '.join(problems)}: move it away to start anew")
    return None


def previous(path: Path) -> Path:
    """Where the checkpoint before the last one is kept."""
    return path.with_name(path.name + ".previous")


def remove(path: Path) -> None:
    """Remove a checkpoint and the one before it, those that are there."""
    for file in (path, previous(path)):
        file.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict | None, str]:
    """The state in a file and "", or None and what is wrong with the file."""
    content = path.read_bytes()
    if problem := _problem(content):
        return None, problem
    return _unpack(content[len(MAGIC) + DIGEST_BYTES :])


def _problem(content: bytes) -> str:
    """What is wrong with the bytes of a file, before they are unpacked, or ""."""
    start = len(MAGIC) + DIGEST_BYTES
    if content[: len(MAGIC)] != MAGIC:
        return "is no checkpoint of this version"
    if hashlib.sha256(content[start:]).digest() != content[len(MAGIC) : start]:
        return "is damaged (its checksum is another)"
    return ""


def _unpack(content: bytes) -> tuple[dict | None, str]:
    """What `torch.save` wrote and "", or None and what is wrong with it."""
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(r"GLOBAL (\S+)", str(error))
        what = reason[1] if reason else "what is no tensor, number or text"
        return None, f"holds {what}, which is not read back"
    return state, ""


@contextmanager
def locked(path: Path):
    """One run at a time may write to `path`; the lock of a dead process is free again.

    Makes the folder. Raises CheckpointNotSaved where nothing can be written, ValueError
    if another run has the lock.
    """
    lock = path.with_name(path.name + ".lock")
    for tries_left in reversed(range(9)):  # some disks number their files anew
        file = _open(lock)
        if _is_at(lock, file) or not tries_left:
            break
        file.close()  # the run that had the lock removed this file meanwhile
    with file:
        try:
            yield
        finally:
            if fcntl:  # while it is locked, so that nobody else's is removed
                lock.unlink(missing_ok=True)
            elif msvcrt:
                with suppress(OSError):
                    msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    if not fcntl:  # Windows removes no open file, so not that of another run either
        with suppress(OSError):
            lock.unlink(missing_ok=True)


def _open(lock: Path):
    """The lock's file, open and locked; errors as in `locked`."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "w", encoding="utf-8")  # noqa: SIM115 (the caller closes it)
    except OSError as error:
        raise CheckpointNotSaved(
            f"nothing can be written to {lock.parent} ({error.strerror or error}): "
            "name a folder that exists or can be made, and that is yours to write to"
        ) from error
    if not _take(file):
        file.close()
        raise ValueError(
            f"another run is writing to {lock.with_suffix('')}: wait for it, or name "
            "another folder"
        )
    return file


def _is_at(path: Path, file) -> bool:
    """Whether an open file still lies there (Windows removes none that is open)."""
    with suppress(FileNotFoundError):
        return not fcntl or os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _take(file) -> bool:
    """Lock a file that was just opened; False if another run has the lock."""
    taken = (errno.EWOULDBLOCK,) if fcntl else (errno.EACCES, errno.EDEADLK)
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # its first byte
    except OSError as error:  # any other: a disk without locks
        return error.errno not in taken
    return True


def identity(model: nn.Module, recipe, data, validation, task: str) -> dict:
    """What two runs must share for one to go on from the other's checkpoint.

    `task` is what a Trainer calls that which its loss asks for.
    """
    config = getattr(model, "config", None)
    network = asdict(config) if is_dataclass(config) else {"layers": str(model)}
    parts = {"training": data, "validation": validation}
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    return {
        "recipe": asdict(recipe),
        "network": network,
        "training": {"task": task, "frozen": frozen},
        "images": {name: _digest(part and part.images) for name, part in parts.items()},
        "labels": {name: _digest(part and part.labels) for name, part in parts.items()},
        "defaults": {
            "recipe": _defaults(recipe),
            "network": _defaults(config),
            "training": {"task": "labels", "frozen": []},
        },
    }


def _defaults(thing) -> dict:
    """What the entries of a dataclass are if nobody says otherwise."""
    entries = fields(thing) if is_dataclass(thing) else ()
    return {f.name: f.default for f in entries if f.default is not MISSING}


def _digest(tensor) -> str:
    if tensor is None:
        return "none"
    content = tensor.cpu().contiguous().numpy()
    return f"{len(tensor)} {hashlib.sha256(content).hexdigest()}"


def differences(saved: dict, wanted: dict) -> list[str]:
    """In what a checkpoint's identity differs from that of the run that asks for it.

    An entry that is newer than the checkpoint had its default value then.
    """
    found, defaults = [], wanted.get("defaults", {})
    for name, entries in wanted.items():
        if name == "defaults":
            continue
        before = defaults.get(name, {}) | saved.get(name, {})
        for key in entries.keys() | before.keys():
            old, new = before.get(key, "none"), entries.get(key, "none")
            if old == new:
                continue
            if name in ("images", "labels"):
                old, new = (text.split()[0] for text in (old, new))
                new = "others, or another order" if old == new else new
                found.append(f"{key} {name}: {old} then, {new} now")
            else:
                found.append(f"{name}, {key}: {old} then, {new} now")
    return sorted(found)


class Saver:
    """Writes a run's checkpoints, now and then, and finds them again."""

    def __init__(self, path: Path, identity: dict, every_seconds: float = 60.0):
        self.path, self.identity = path, identity
        self.every_seconds = every_seconds
        self.saved_at = time.monotonic()

    def save(self, trainer, history: list[dict]) -> None:
        """Write the state of the run. Raises CheckpointNotSaved."""
        state = trainer.state() | {"history": list(history), "identity": self.identity}
        save(self.path, state)
        self.saved_at = time.monotonic()

    def save_now_and_then(self, trainer, history: list[dict]) -> None:
        """Write the state if the last time is a while ago, and the loss is a number.

        A run whose loss is none is over: it must not replace what was saved before.
        """
        due = time.monotonic() - self.saved_at >= self.every_seconds
        if due and torch.isfinite(trainer.epoch["loss_sum"]):
            self.save(trainer, history)

    def resume(self, trainer) -> list[dict]:
        """Load the last good checkpoint into the trainer; its history, or an empty one.

        Raises ValueError, with the differences, for the checkpoint of another run.
        """
        state = load(self.path)
        if state is None:
            return []
        if differ := differences(state["identity"], self.identity):
            raise ValueError(
                f"{self.path} belongs to another run ({'; '.join(differ)}): move it "
                "away, or name another checkpoint"
            )
        trainer.load_state(state)
        return state["history"]

    def how_to_go_on(self) -> str:
        """What to do after a run was stopped: one sentence."""
        if self.path.exists() or previous(self.path).exists():
            return f"Run again to go on from {self.path.name}."
        return "Nothing was saved yet: begin again, with a new model."
