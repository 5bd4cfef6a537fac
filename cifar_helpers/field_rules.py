"""What the entries of a configuration may be: one rule each, in one table.

A rule is a pair: a test of a value, and the words for what is wanted.
"""

from dataclasses import fields
from numbers import Real

import numpy as np

Rule = tuple  # (test, words)


def check_fields(config, rules: dict[str, Rule]) -> None:
    """Raise ValueError, with the reason, unless every field fits its rule.

    A number of NumPy's becomes Python's: cards and checkpoints hold no others. A field
    without a rule, or a rule without a field, is a mistake in the program and raises
    TypeError.
    """
    if unequal := rules.keys() ^ {field.name for field in fields(config)}:
        raise TypeError(f"{type(config).__name__}: no field and rule for {unequal}")
    for name, (fits, wanted) in rules.items():
        value = _without_numpy(getattr(config, name))
        object.__setattr__(config, name, value)  # the dataclass is frozen
        if not fits(value):
            raise ValueError(f"{name} must be {wanted}, not {value!r}")


def _without_numpy(value):
    """A number of NumPy's, also one in a tuple, as Python's; the rest as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return tuple(map(_without_numpy, value))
    return value


def is_whole(value, least: int) -> bool:
    """Whether a value is an int (and no bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_real(value) -> bool:
    """Whether a value is a number; NaN is one."""
    return isinstance(value, Real) and not isinstance(value, bool)


def whole(least: int, most: int | None = None) -> Rule:
    """A whole number of at least `least`, and at most `most`."""
    words = f"a whole number of at least {least}"
    if most is None:
        return lambda v: is_whole(v, least), words
    return lambda v: is_whole(v, least) and v <= most, f"{words} and at most {most}"


def wholes(least: int, count: int | None = None) -> Rule:
    """A tuple of whole numbers of at least `least`, `count` of them."""
    words = f"a tuple of {count or ''} whole numbers of at least {least}"

    def fits(value) -> bool:
        right_count = isinstance(value, tuple) and count in (None, len(value))
        return right_count and all(is_whole(number, least) for number in value)

    return fits, words.replace("  ", " ")


def positive() -> Rule:
    """A number above 0, finite."""
    return lambda v: is_real(v) and 0 < v < float("inf"), "a number above 0"


def non_negative() -> Rule:
    """A number of at least 0, finite."""
    return lambda v: is_real(v) and 0 <= v < float("inf"), "a number of at least 0"


def fraction() -> Rule:
    """A number of at least 0 and below 1."""
    return lambda v: is_real(v) and 0 <= v < 1, "in [0, 1)"


def switch() -> Rule:
    """True or False."""
    return lambda v: isinstance(v, bool), "True or False"


def choice(*choices) -> Rule:
    """One of the `choices`, and of its type."""
    return lambda v: any(type(v) is type(c) and v == c for c in choices), (
        f"one of {choices}"
    )


def choices(*possible) -> Rule:
    """A tuple of any of the `possible` values."""
    words = f"a tuple of some of {possible}"
    return lambda v: isinstance(v, tuple) and all(x in possible for x in v), words
