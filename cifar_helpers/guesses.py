"""Guess first: the reader's guess is taken, shown beside what is measured, and kept.

    guess("02 flipped", "Which share changes its class?", yours=(20, 40), sure=80)
    ...
    reveal("02 flipped", 37.2, unit="%")

Left empty (`yours=...`), a guess never stops a notebook. What was guessed and revealed
lies in a small file (`guesses_file()`); notebook 12 draws the reader's calibration.
"""

import contextlib
import html
import json
import math
import os
from dataclasses import asdict, dataclass
from numbers import Real
from pathlib import Path

from cifar_helpers.download import CacheFolderError, cache_folder


@dataclass(frozen=True)
class Guess:
    """A question with the reader's guess: a range of numbers, or one of `choices`."""

    key: str  # begins with the notebook's number
    question: str
    yours: tuple[float, float] | str | None  # None: not guessed
    sure: float | None  # per cent
    choices: tuple[str, ...] = ()

    def __repr__(self) -> str:
        if self.yours is None:
            how = (
                f"yours=one of {', '.join(map(repr, self.choices))}"
                if self.choices
                else "yours=(lowest, highest)"
            )
            return f"Guess first: {self.question} ({how}, sure=0 … 100 per cent)"
        return f"{self.question} Your guess: {self.shown}, {self.sure:g} % sure."

    def _repr_html_(self) -> str:
        return _framed(repr(self), "#0072B2")

    @property
    def shown(self) -> str:
        """The guess in words, such as `20 to 40`."""
        if isinstance(self.yours, str):
            return self.yours
        low, high = self.yours
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"

    def holds(self, measured) -> bool:
        """Whether the measured number lies in the range, or the choice was right."""
        if self.choices:
            return measured == self.yours
        low, high = self.yours
        return low <= measured <= high


@dataclass(frozen=True)
class Answer:
    """What was measured, beside the guess, if there was one."""

    text: str
    hit: bool | None  # None: nothing was guessed

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        colour = {None: "#7f7f7f", True: "#009E73", False: "#D55E00"}[self.hit]
        return _framed(self.text, colour)


_asked: dict[str, Guess] = {}  # by key, since this kernel's start


def guess(key: str, question: str, yours=..., sure=..., choices=()) -> Guess:
    """Take the reader's guess; leave the call as the last line of a cell.

    `yours` is a range `(lowest, highest)` or a number, or, where there are `choices`,
    one of them; `sure` says in per cent how likely the reader takes it to be right.
    Both are `...` where nothing is guessed. Raises ValueError for a guess that is none
    of these.
    """
    choices = tuple(choices)
    if not all(isinstance(choice, str) for choice in choices):
        raise ValueError(f"choices must be texts, not {list(choices)}")
    if yours is ... or yours is None:
        _asked[key] = Guess(key, question, None, None, choices)
        return _asked[key]
    if choices:
        if yours not in choices:
            raise ValueError(f"yours must be one of {list(choices)}, not {yours!r}")
    else:
        yours = _as_range(yours)
    if not _is_number(sure) or not 0 <= sure <= 100:
        raise ValueError(f"sure must be a number from 0 to 100 per cent, not {sure!r}")
    _asked[key] = Guess(key, question, yours, float(sure), choices)
    return _asked[key]


def reveal(key: str, measured, unit: str = "", digits: int = 1) -> Answer:
    """Show what was measured beside the guess of that key, and keep both.

    `measured` is a number, shown with so many `digits` and its `unit`; or the right
    choice. Raises ValueError if nothing was asked under that key, or if the kind of
    answer does not fit the question.
    """
    if key not in _asked:
        raise ValueError(f"run the cell with guess({key!r}, …) first")
    asked = _asked[key]
    if asked.choices:
        if measured not in asked.choices:
            raise ValueError(f"{measured!r} is none of {list(asked.choices)}")
        shown = measured
    else:
        measured = _as_number(measured)
        space = " " if unit else ""
        shown = f"{measured:,.{digits}f}{space}{unit}"
    if asked.yours is None:
        return Answer(f"Measured: {shown}. (You did not guess.)", None)
    hit = asked.holds(measured)
    kept_now = _keep(asked, measured, hit)
    verdict = "your guess holds" if hit else "your guess does not hold"
    text = (
        f"Measured: {shown}. You said {asked.shown}, {asked.sure:g} % sure: {verdict}."
    )
    return Answer(text if kept_now else f"{text} (It could not be kept.)", hit)


def kept() -> list[dict]:
    """All kept guesses, one dict each: key, question, yours, sure, measured, hit."""
    try:
        records = json.loads(guesses_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, CacheFolderError):
        return []  # no file yet, one that cannot be read, or a damaged one
    return _whole(records)


def _whole(records) -> list[dict]:
    """Those of a file's contents that have all entries, by key."""
    found = records.values() if isinstance(records, dict) else ()
    entries = {"key", "question", "yours", "sure", "measured", "hit"}
    whole = [r for r in found if isinstance(r, dict) and entries <= r.keys()]
    return sorted(whole, key=lambda record: record["key"])


def guesses_file() -> Path:
    """Where guesses are kept: `$CIFAR_GUESSES`, else a file in the cache folder."""
    named = os.environ.get("CIFAR_GUESSES")
    return cache_folder(named) if named else cache_folder() / "guesses.json"


def _keep(asked: Guess, measured, hit: bool) -> bool:
    """Write the record under its key, over an older one; whether that was possible."""
    from filelock import FileLock

    record = {**asdict(asked), "measured": measured, "hit": hit}
    try:
        path = guesses_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=10):
            _write(path, record)
    except (OSError, CacheFolderError):  # a Timeout is an OSError, too
        return False
    return True


def _write(path: Path, record: dict) -> None:
    """Add a record to the file, which no other process changes meanwhile.

    Raises OSError, and leaves the file as it is, if it cannot be read. A damaged one is
    moved aside: perhaps it can be mended by hand.
    """
    earlier = []
    if path.exists():
        found = {}
        with contextlib.suppress(ValueError):
            found = json.loads(path.read_bytes())
        earlier = _whole(found)
        if not earlier or len(earlier) < len(found):
            path.replace(path.with_name(f"{path.name}.damaged"))
    records = {old["key"]: old for old in earlier} | {record["key"]: record}
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(records, indent=1), encoding="utf-8")
    unfinished.replace(path)


def _as_range(yours) -> tuple[float, float]:
    """A number or a pair as (lowest, highest)."""
    ends = (yours, yours) if _is_number(yours) else yours
    if (
        not isinstance(ends, tuple | list)
        or len(ends) != 2
        or not all(map(_is_number, ends))
    ):
        raise ValueError(
            f"yours must be a range of numbers such as (20, 40), not {yours!r}"
        )
    low, high = map(float, ends)
    if low > high:
        raise ValueError(f"the range begins at {low:g}, above its end, {high:g}")
    return low, high


def _as_number(measured) -> int | float:
    """A number, or an array or tensor that holds one, as Python's own."""
    number = measured
    with contextlib.suppress(AttributeError, TypeError, ValueError, RuntimeError):
        number = measured.item()
    if not _is_number(number):
        raise ValueError(f"measured must be a finite number, not {measured!r}")
    return number if isinstance(number, int | float) else float(number)


def _is_number(value) -> bool:
    return (
        isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    )


def _framed(text: str, colour: str) -> str:
    style = f"border-left: 4px solid {colour}; padding: 4px 12px"
    return f'<div style="{style}">{html.escape(text)}</div>'
