"""What all self-checks share: verdicts, the guarded call, type gates, comparisons.

A check takes the reader's attempt and returns praise, a sentence that says what was
shown; or it raises `Wrong` with a hint, or `NotYet`. One of three decorators makes it
return a `Verdict`: `exercise` (the attempt is a function that returns something),
`exercise_in_place` (a function that changes its argument), `question` (a value).

Only the call of the reader's function is guarded. What it returns passes a gate before
a check computes with it: `as_tensor`, `as_number`, `as_whole_number`, `as_items`, or
`require_close`, which picks one. Any other exception is therefore a mistake in the
check, and its verdict says so. A check may seed `torch.default_generator` (but not
`torch`, which seeds a GPU as well): what the reader draws after it is what it would be
without it.
"""

import ast
import functools
import html
import inspect
import numbers
import reprlib
import textwrap
import traceback
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

STATUS = {  # sign and colour
    "solved": ("✓", "#009E73"),
    "not yet": ("…", "#7f7f7f"),
    "wrong": ("✗", "#D55E00"),
    "check failed": ("!", "#7f7f7f"),
}


NOTHING_BACK = (
    "Your function gave nothing back for one of the check's inputs: every way through "
    "it must end with `return` and the answer."
)
NOTHING_DONE = (
    "Your function has changed nothing that the check can see. Is its last line "
    "missing?"
)


@dataclass(frozen=True)
class Verdict:
    """What a check found; `status` is one of the keys of `STATUS`."""

    status: str
    message: str

    def __repr__(self) -> str:
        return f"{STATUS[self.status][0]} {self.message}"

    def _repr_html_(self) -> str:
        style = f"border-left: 4px solid {STATUS[self.status][1]}; padding: 4px 12px"
        return f'<div style="{style}">{html.escape(repr(self))}</div>'


class Wrong(Exception):
    """Raised inside a check; its text is the hint that the reader gets."""


class NotYet(Exception):
    """Raised inside a check when the attempt is still the empty stub."""


def exercise(check):
    """The attempt is a function that returns its answer."""
    return _judged(check, "a function", lambda attempt: _guarded(attempt, answer))


def exercise_in_place(check):
    """The attempt is a function that changes its argument and may return None."""

    def then(result):
        return None if result is ... else result

    return _judged(check, "in place", lambda attempt: _guarded(attempt, then))


def question(check):
    """The attempt is a value."""
    return _judged(check, "a value", answer)


def _judged(check, takes: str, prepare):
    @functools.wraps(check)
    def judged(attempt) -> Verdict:
        try:
            with torch.random.fork_rng(devices=[]):
                return Verdict("solved", check(prepare(attempt)))
        except NotYet:
            if takes == "in place" and _is_written(attempt):
                return Verdict("wrong", NOTHING_DONE)
            return Verdict("not yet", "Not solved yet: replace the … with your code.")
        except Wrong as hint:
            return Verdict("wrong", str(hint))
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return Verdict(
                "check failed",
                "The check itself failed; your code is not to blame. Please report: "
                f"{check.__name__}, {type(error).__name__}: {error} "
                f"({Path(place.filename).name}, line {place.lineno}).",
            )

    judged.takes = takes  # what an attempt is; the tests read it
    return judged


def _guarded(attempt, then):
    """What the reader's function raises becomes a hint; its result goes to `then`."""
    if not callable(answer(attempt)):
        raise Wrong(f"Give the function itself, not {named(attempt)}.")

    def call(*arguments):
        try:
            result = attempt(*arguments)
        except Exception as error:
            kind = type(error).__name__
            raise Wrong(f"Your code raised {kind}: {error}") from error
        if result is None and then is answer and _is_written(attempt):
            raise Wrong(NOTHING_BACK)
        return then(result)

    return call


def _is_written(attempt) -> bool:
    """Whether this is a function with code of its own and no … for code to come.

    False where the source is not to be had, as for what was made by `exec`.
    """
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(attempt)))
        function = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError):
        return False
    if not isinstance(function, ast.FunctionDef):
        return False
    indices = [n.slice for n in ast.walk(function) if isinstance(n, ast.Subscript)]
    in_indices = {id(part) for index in indices for part in ast.walk(index)}
    constants = [n for n in ast.walk(function) if isinstance(n, ast.Constant)]
    if any(n.value is ... and id(n) not in in_indices for n in constants):
        return False
    texts = (ast.Constant, ast.Pass)  # a docstring, or nothing
    lines = [getattr(line, "value", line) for line in function.body]
    return not all(isinstance(line, texts) for line in lines)


def answer(value):
    """The reader's value, unless it is still empty (None or …): then raises NotYet."""
    if value is None or value is ...:
        raise NotYet
    return value


def require(condition: bool, hint: str) -> None:
    """Raise `Wrong` with the hint unless the condition holds."""
    if not condition:
        raise Wrong(hint)


def is_nan(value) -> bool:
    """Whether what the reader gave is a number, or numbers, with NaN among them."""
    tensor = _double(value)
    return tensor is not None and bool(tensor.isnan().any())


def named(value) -> str:
    """What the reader gave, in a few words that fit after "yours is" or "not"."""
    if isinstance(value, (Tensor, np.ndarray)):
        kind = "tensor" if isinstance(value, Tensor) else "array"
        dtype = str(value.dtype).removeprefix("torch.")
        if value.ndim == 0 and is_nan(value):
            return "nan"
        article = "a" if kind == "tensor" else "an"
        return f"{article} {kind} of shape {tuple(value.shape)} and type {dtype}"
    if value is None or isinstance(value, (str, numbers.Number, np.generic)):
        return reprlib.repr(value)
    if isinstance(value, (list, tuple, dict, set)):
        return f"a {type(value).__name__} of length {len(value)}"
    if isinstance(value, torch.nn.Module):
        return f"a module, {type(value).__name__}"
    return "a function" if callable(value) else f"of type {type(value).__name__}"


def as_tensor(got, what: str, shape: tuple | None = None, advice: str = "") -> Tensor:
    """The reader's tensor, array or nested list as a double tensor of finite numbers.

    `shape` is demanded if given; `advice` ends the hint about a wrong shape or number.
    """
    tensor = _double(got)
    if tensor is None or shape not in (None, tensor.shape):
        of_shape = f" of shape {tuple(shape)}" if shape else ""
        raise Wrong(_differs(what, f"a tensor{of_shape}", named(got), advice))
    if not tensor.isfinite().all():
        raise Wrong(_differs(what, "finite", "nan or inf in places", advice))
    return tensor


def as_number(got, what: str, advice: str = "", wanted: str = "a number") -> float:
    """The reader's number as a float; a tensor or array of shape () is a number too."""
    tensor = _double(got)
    if tensor is None or tensor.ndim or not tensor.isfinite():
        raise Wrong(_differs(what, wanted, named(got), advice))
    return tensor.item()


def as_whole_number(got, what: str, advice: str = "") -> int:
    """The reader's whole number as an int; 5.0 counts as 5."""
    number = as_number(got, what, advice, "a whole number")
    if not number.is_integer():
        raise Wrong(_differs(what, "a whole number", repr(number), advice))
    return int(number)


def as_items(got, count: int, wanted: str) -> list:
    """The items of a tuple, list, array or tensor of length `count`, none of them None.

    `wanted` begins the hint and says all, as in "Return two numbers, (size, jump)".
    """
    many = isinstance(got, (tuple, list)) or getattr(got, "ndim", 0) > 0
    require(many and len(got) == count, f"{wanted}, not {named(got)}.")
    require(all(item is not None for item in got), f"{wanted}; one of them is None.")
    return [answer(item) for item in got]


def as_whole_numbers(got, count: int, wanted: str, advice: str = "") -> list[int]:
    """`count` whole numbers; `wanted` as for `as_items`."""
    what = f"{wanted}: each"
    return [
        as_whole_number(item, what, advice) for item in as_items(got, count, wanted)
    ]


def as_choice(got, choices: tuple[str, ...], what: str) -> str:
    """The reader's word, one of `choices`; `what` begins the hint."""
    known = isinstance(got, str) and got in choices
    require(known, f"{what} should be one of {choices}, not {named(got)}.")
    return got


def as_percents(got, what: str) -> list[float]:
    """The reader's per cents, one of them above 1 or more; `what` begins the hint."""
    percents = [as_number(answer(value), f"{what}: each") for value in got]
    in_range = all(0 <= percent <= 100 for percent in percents)
    require(in_range, f"{what} should be in percent, from 0 to 100.")
    hint = f"{what} should be in percent, not shares: multiply by 100."
    require(max(percents) > 1, hint)
    return percents


def as_accuracy(got) -> float:
    """The measured accuracy of a classifier of ten classes, in percent."""
    percent = as_number(got, "An accuracy", "Give it in percent.")
    require(
        5 <= percent <= 100,
        f"An accuracy of {percent:.4g} % should not occur: guessing gives 10. Give "
        "percent, not a fraction.",
    )
    return percent


def _differs(what: str, wanted: str, given: str, advice: str = "") -> str:
    return f"{what} should be {wanted}, yours is {given}. {advice}".strip()


def _double(value) -> Tensor | None:
    """Numbers as a double tensor; None for what does not consist of real numbers."""
    try:
        if isinstance(value, (list, tuple)):
            return torch.stack([_double(part) for part in value])
        if isinstance(value, np.ndarray):
            value = value.copy()  # torch takes no negative strides
        elif isinstance(value, numbers.Real) and not isinstance(value, bool):
            value = np.float64(value)  # torch would make float32 of a float
        tensor = torch.as_tensor(value)
        if tensor.dtype == torch.bool or tensor.is_complex():
            return None
        return tensor.detach().cpu().to_dense().double()
    except Exception:  # each kind of value has its own error: text, dict, ragged rows …
        return None


def reject_mistakes(got, mistakes: dict, lead: str = "", tolerance: float = 1e-4):
    """Raise `Wrong` if `got` is what a known mistake gives.

    `mistakes` maps each hint to the wrong value, or to a tuple of wrong values; the
    message is `lead` and the hint.
    """
    for hint, values in mistakes.items():
        for value in values if isinstance(values, tuple) else (values,):
            if _alike(got, value, tolerance):
                raise Wrong(f"{lead} {hint}".strip())


def require_close(
    got, wanted, what, mistakes=None, otherwise="", tolerance=1e-4, secret=False
):
    """Demand the wanted value, and return the reader's as a double tensor.

    With `secret` the hint does not tell it: it is a question's answer.
    If `wanted` is an int, only a whole number will do, for a float a number, for a
    tensor one of its shape. The hint names the place, both values, and the mistake of
    `mistakes` (see `reject_mistakes`) that gives what the reader has, or `otherwise`.
    """
    gate = as_whole_number if isinstance(wanted, int) else as_number
    value = as_tensor(got, what) if isinstance(wanted, Tensor) else gate(got, what)
    value, wanted = (torch.as_tensor(v, dtype=torch.double) for v in (value, wanted))
    if _alike(value, wanted, tolerance):
        return value
    if value.shape == wanted.shape:
        worst = np.unravel_index(int((value - wanted).abs().argmax()), wanted.shape)
        where = f" at {tuple(map(int, worst))}" if wanted.ndim else ""
        lead = _differs(what + where, _shown(wanted[worst]), _shown(value[worst]))
        if secret:  # of a question: its answer is not told
            lead = f"{what}{where}: {_shown(value[worst])} is not right."
    else:
        lead = _differs(what, f"a tensor of shape {tuple(wanted.shape)}", named(got))
    reject_mistakes(value, mistakes or {}, lead, tolerance)
    raise Wrong(f"{lead} {otherwise}".strip())


def _alike(a, b, tolerance: float) -> bool:
    a, b = (torch.as_tensor(value).detach().double() for value in (a, b))
    return a.shape == b.shape and torch.allclose(a, b, rtol=0, atol=tolerance)


def _shown(value: Tensor) -> str:
    number = value.item()
    return f"{number:,.0f}" if number.is_integer() else f"{number:,.6g}"
