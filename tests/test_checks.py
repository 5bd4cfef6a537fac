"""Self-checks: right answers pass, mistakes get their hint, no type makes a check fall.

The exercises are found in `cifar_helpers.checks`, the attempts in tests/attempts.
"""

import importlib
import itertools
import math
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from cifar_helpers import checks
from cifar_helpers.checks import evaluate, framework
from cifar_helpers.checks import receptive_field as field
from cifar_helpers.checks.framework import Wrong

NAMES = [m.name for m in pkgutil.iter_modules(checks.__path__) if m.name != "framework"]
MODULES = [importlib.import_module(f"{checks.__name__}.{name}") for name in NAMES]
TABLES = [importlib.import_module(f"attempts.{name}") for name in NAMES]
EXERCISES = [e for m in MODULES for e in vars(m).values() if hasattr(e, "takes")]
RIGHT = [row for table in TABLES for row in table.RIGHT]
WRONG = [row for table in TABLES for row in table.WRONG]


def rows(table):
    """The rows as parameters, each under its exercise's name and a number."""
    return [
        pytest.param(*row[:2], row[2:], id=f"{row[0].__name__}-{number}")
        for number, row in enumerate(table)
    ]


each_exercise = pytest.mark.parametrize("check", EXERCISES, ids=lambda e: e.__name__)


def returning(check, value):
    """An attempt that gives `value`: a function, unless the exercise takes a value."""
    return value if check.takes == "a value" else lambda *arguments: value


@pytest.mark.parametrize(("check", "attempt", "words"), rows(RIGHT))
def test_right_answers_are_accepted(check, attempt, words):
    verdict = check(attempt)
    assert verdict.status == "solved", verdict


@pytest.mark.parametrize(("check", "attempt", "words"), rows(WRONG))
def test_mistakes_get_their_hint(check, attempt, words):
    verdict = check(attempt)
    assert verdict.status == "wrong", verdict
    for word in words:
        assert word in verdict.message, verdict


@pytest.mark.parametrize(("check", "attempt", "words"), rows(RIGHT + WRONG))
def test_a_check_leaves_what_the_reader_draws_next_as_it_was(
    check, attempt, words, monkeypatch
):
    torch.manual_seed(12)
    next_draw = torch.rand(3)
    torch.manual_seed(12)
    seeded = []  # torch.manual_seed seeds GPUs, too, where nothing puts it back
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    check(attempt)
    assert torch.equal(torch.rand(3), next_draw) and not seeded


@each_exercise
def test_every_exercise_has_attempts(check):
    assert [row for row in RIGHT if row[0] is check]
    assert len([row for row in WRONG if row[0] is check]) >= 3


@each_exercise
@pytest.mark.parametrize("empty", [None, ...])
def test_empty_stubs_are_not_yet_solved(check, empty):
    assert check(empty).status == "not yet"
    assert check(returning(check, empty)).status == "not yet"


def forgets(*arguments):
    """Has computed something, and says and changes nothing."""
    return sum(map(id, arguments)) and None


def unfinished(*arguments):
    pair = ..., len(arguments)
    sum(map(id, pair))


def with_an_index(*arguments):
    weights = np.zeros((2, 2))
    weights[..., 0] = 1


def described(*arguments):
    """What it is to do, in words."""


def passes(*arguments):
    pass


@each_exercise
def test_a_function_without_its_last_line_is_told_so(check):
    if check.takes == "a value":
        assert check(forgets).status == "wrong"  # a function is no value
        return
    words = {"a function": "gave nothing back", "in place": "changed nothing"}
    for attempt in (forgets, with_an_index):
        verdict = check(attempt)
        assert verdict.status == "wrong" and words[check.takes] in verdict.message
    for attempt in (unfinished, described, passes):
        assert check(attempt).status == "not yet"


def test_empty_parts_of_an_answer_are_not_yet_solved():
    assert evaluate.precision_and_recall(lambda m: (..., ...)).status == "not yet"
    assert evaluate.rare_class((np.eye(4), ...)).status == "not yet"
    assert field.field_of_a_stack((..., 4)).status == "not yet"
    assert field.gapless_dilations((2, 4, ...)).status == "not yet"
    assert "one of them is None" in field.field_of_a_stack((None, 4)).message


def other_type(leaf, sequence=lambda items: items):
    """Turn an answer into another type, part by part."""

    def convert(value):
        if isinstance(value, (list, tuple)):
            return sequence(type(value)(convert(item) for item in value))
        return leaf(value)

    return convert


def to_numpy(value):
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    return np.asarray(value)[()] if isinstance(value, (int, float)) else value


def to_lists(value):
    if isinstance(value, (torch.Tensor, np.ndarray)) and str(value.dtype) != BYTES:
        return value.tolist()
    return value


def to_floats(dtype):
    def leaf(value):
        if isinstance(value, torch.Tensor) and str(value.dtype) != BYTES:
            return value.to(dtype)
        return float(value) if isinstance(value, (int, np.integer)) else value

    return leaf


def to_tensors(value):
    return torch.tensor(value) if isinstance(value, (int, float)) else value


BYTES = "torch.uint8"  # demanded where it occurs
HARMLESS = {
    "NumPy": other_type(to_numpy),
    "lists": other_type(to_lists, list),
    "tuples": other_type(lambda value: value, tuple),
    "float32": other_type(to_floats(torch.float32)),
    "float64": other_type(to_floats(torch.float64)),
    "tensors": other_type(to_tensors),
    "gradients": other_type(
        lambda value: (
            value.clone().requires_grad_()
            if isinstance(value, torch.Tensor) and value.is_floating_point()
            else value
        )
    ),
}


@pytest.mark.parametrize(("check", "attempt", "words"), rows(RIGHT))
@pytest.mark.parametrize("convert", HARMLESS.values(), ids=HARMLESS)
def test_right_answers_in_other_harmless_types_are_right(
    check, attempt, words, convert
):
    if check.takes == "a value":
        verdict = check(convert(attempt))
    else:
        verdict = check(lambda *arguments: convert(attempt(*arguments)))
    assert verdict.status == "solved", verdict


NEVER_RIGHT = {
    "text": "abc",
    "bytes": b"abc",
    "dict": {"a": 1},
    "set": {1, 2},
    "object": object(),
    "function": lambda: 1,
    "class": int,
    "generator": (i for i in range(3)),
    "complex": 2j,
    "bool": True,
    "nan": math.nan,
    "infinity": -math.inf,
    "texts": ["a", "b"],
    "array of texts": np.array(["a", "b"]),
    "array of objects": np.array([None, {}]),
    "array of bools": np.array([True, False]),
    "empty list": [],
    "ragged list": [[1.0], [1.0, 2.0]],
    "tuple of seven": (1, 2, 3, 4, 5, 6, 7),
    "complex tensor": torch.ones(3, dtype=torch.complex64),
    "empty tensor": torch.empty(0),
    "meta tensor": torch.ones(3, device="meta"),
    "tensor of another shape": torch.ones(2, 7, 1),
    "tensor of nan": torch.full((3,), math.nan),
    "sparse tensor": torch.ones(2, 7).to_sparse(),
}  # for no exercise the right answer, nor of the right type
ODD = NEVER_RIGHT | {
    "None inside": [None, 1],
    "float": -2.5,
    "int": -3,
    "NumPy integer": np.int64(-3),
    "huge": 10**400,
    "tensor of one number": torch.tensor([-3.0]),
}
WANTED = re.compile(r"[Gg]ive|[Rr]eturn|should|must|is not right")


@each_exercise
def test_wrong_types_get_a_hint_that_names_what_is_wanted(check):
    for value in ODD.values():
        for given in (value, [value] * 2, (value,) * 3, (value,) * 4):
            verdict = check(returning(check, given))
            assert verdict.status in ("wrong", "not yet"), (given, verdict)
            if verdict.status == "wrong":
                assert WANTED.search(verdict.message), (given, verdict)
                assert "Your code raised" not in verdict.message, (given, verdict)


def spoilt(answer, part, value):
    """The answer with one part replaced, or all of it if it has no such part."""
    if callable(answer):
        return lambda *arguments: spoilt(answer(*arguments), part, value)
    if not isinstance(answer, (tuple, list)) or part >= len(answer):
        return value
    return [value if i == part else item for i, item in enumerate(answer)]


@pytest.mark.parametrize(("check", "attempt", "words"), rows(RIGHT))
def test_wrong_types_in_one_part_of_a_right_answer_get_a_hint(check, attempt, words):
    for part, value in itertools.product(range(3), ODD.values()):
        if check.takes != "in place":  # where the returned value does not count
            verdict = check(spoilt(attempt, part, value))
            assert verdict.status in ("wrong", "not yet"), (part, value, verdict)
            assert "Your code raised" not in verdict.message, (part, value, verdict)


@each_exercise
def test_wrong_types_are_named(check):
    for kind in ("text", "dict", "set", "object", "complex", "class"):
        if check.takes != "in place":  # where the returned value does not count
            verdict = check(returning(check, NEVER_RIGHT[kind]))
            assert framework.named(NEVER_RIGHT[kind]) in verdict.message, verdict


@each_exercise
def test_a_value_in_place_of_a_function_gets_a_hint(check):
    for value in ODD.values():
        if check.takes != "a value" and not callable(value):
            verdict = check(value)
            assert verdict.status == "wrong"
            assert "Give the function itself, not " in verdict.message


@each_exercise
def test_an_error_of_the_reader_is_told_as_such(check):
    def raising(*arguments):
        raise KeyError("my own")

    def needs_more(*arguments, needed):
        return needed

    if check.takes != "a value":
        verdict = check(raising)
        assert verdict.status == "wrong"
        assert verdict.message == "Your code raised KeyError: 'my own'"
        assert "raised TypeError" in check(needs_more).message


def test_an_error_of_the_check_is_not_the_readers():
    @framework.exercise
    def clumsy(attempt):
        return attempt()["no such key"]

    verdict = clumsy(lambda: {})
    assert verdict.status == "check failed"
    assert "not to blame" in verdict.message
    assert "clumsy, KeyError: 'no such key' (test_checks.py, line" in verdict.message


def test_a_verdict_shows_its_sign_and_escapes_its_text():
    verdict = framework.Verdict("wrong", "a < b")
    assert repr(verdict) == "✗ a < b"
    assert "✗ a &lt; b" in verdict._repr_html_()
    signs = {sign for sign, _ in framework.STATUS.values()}
    assert len(signs) == len(framework.STATUS)


@pytest.mark.parametrize(
    ("got", "wanted", "words"),
    [
        (2, 3, "x should be 3, yours is 2."),
        (2.5, 3, "x should be a whole number, yours is 2.5."),
        (0.25, 0.5, "x should be 0.5, yours is 0.25."),
        ([1, 2], torch.ones(3), "of shape (3,), yours is a list of length 2."),
        ([1, 2, 5], torch.ones(3), "x at (2,) should be 1, yours is 5."),
        (np.ones((2, 2)) / 3, torch.eye(2), "x at (0, 0) should be 1, yours is 0.3333"),
        ([1, math.nan, 1], torch.ones(3), "x should be finite, yours is nan or inf"),
        (1_234_567, 1_234_568, "should be 1,234,568, yours is 1,234,567."),
    ],
)
def test_comparisons_name_place_and_both_values(got, wanted, words):
    with pytest.raises(Wrong, match=re.escape(words)):
        framework.require_close(got, wanted, "x")


def test_known_mistakes_are_told_unless_they_give_the_right_value():
    mistakes = {"Add 1.": 2, "Divide.": (9, 12), "Shape.": torch.zeros(2)}
    framework.require_close(2, 2, "x", mistakes)
    for got, words in ((2, "yours is 2. Add 1."), (12, "yours is 12. Divide.")):
        with pytest.raises(Wrong, match=words):
            framework.require_close(got, 3, "x", mistakes)
    with pytest.raises(Wrong, match="shape .3,., yours is a list of length 2. Shape."):
        framework.require_close([0, 0], torch.ones(3), "x", mistakes)
    with pytest.raises(Wrong, match="yours is 5. Otherwise."):
        framework.require_close(5, 3, "x", mistakes, "Otherwise.")
    framework.reject_mistakes(5, mistakes)


def test_four_dilations_reach_at_most_81_places():
    steps = itertools.product((-1, 0, 1), repeat=4)  # one tap per layer: a path
    places = {a * 1 + b * 3 + c * 9 + d * 27 for a, b, c, d in steps}
    assert len(places) == 3**4  # no two paths meet, so no choice can reach more
    assert places == set(range(-40, 41))


def test_checks_need_neither_plots_nor_notebook():
    for module in MODULES:
        source = Path(module.__file__).read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import)\b.*\b(plots|notebook)\b", source, re.M)
