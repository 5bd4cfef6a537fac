"""TODO."""

import functools
import html
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Verdict:
    """What a check found: `status` is "solved", "not yet" or "wrong"."""

    status: str
    message: str

    def __repr__(self) -> str:
        sign = {"solved": "✓", "not yet": "…", "wrong": "✗"}[self.status]
        return f"{sign} {self.message}"

    def _repr_html_(self) -> str:
        colour = {"solved": "#009E73", "not yet": "#7f7f7f", "wrong": "#D55E00"}
        return (
            f'<div style="border-left: 4px solid {colour[self.status]}; '
            f'padding: 4px 12px">{html.escape(repr(self))}</div>'
        )


class Wrong(Exception):
    """Raised inside a check; its text is the hint that the reader gets."""


class NotYet(Exception):
    """Raised inside a check when the attempt is still the empty stub."""


def exercise(check):
    """Turn a function that raises `Wrong` or `NotYet` into one that returns a Verdict.

    The function's return value is the praise: a sentence that says what was shown.
    """

    @functools.wraps(check)
    def judged(attempt) -> Verdict:
        try:
            return Verdict("solved", check(attempt))
        except NotYet:
            return Verdict("not yet", "Not solved yet: replace the … with your code.")
        except Wrong as hint:
            return Verdict("wrong", str(hint))
        except Exception as error:
            kind = type(error).__name__
            return Verdict("wrong", f"Your code raised {kind}: {error}")

    return judged


def answer(value):
    """The reader's value, unless it is still empty (None or …): then raises NotYet."""
    if value is None or value is ...:
        raise NotYet
    return value


def require(condition: bool, hint: str) -> None:
    """Raise `Wrong` with the hint unless the condition holds."""
    if not condition:
        raise Wrong(hint)


def require_close(got, wanted, what: str, tolerance: float = 1e-4) -> None:
    """Compare two tensors or numbers; the hint names shape, place and both values."""
    got, wanted = torch.as_tensor(got).double(), torch.as_tensor(wanted).double()
    require(
        got.shape == wanted.shape,
        f"{what} should have shape {tuple(wanted.shape)}, got {tuple(got.shape)}.",
    )
    if wanted.numel() == 0:
        return
    difference = (got - wanted).abs().nan_to_num(nan=float("inf")).flatten()
    worst = int(difference.argmax())
    if difference[worst] > tolerance:
        place = tuple(
            int(i) for i in torch.unravel_index(torch.tensor(worst), got.shape)
        )
        where = f" at {place}" if place else ""
        raise Wrong(
            f"{what}{where} should be {wanted.flatten()[worst]:.4g}, "
            f"yours is {got.flatten()[worst]:.4g}."
        )
