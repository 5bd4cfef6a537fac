"""A reader's guesses: taken, shown beside what is measured, and kept."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from cifar_helpers import guesses
from cifar_helpers.guesses import guess, kept, reveal


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "guesses.json"
    monkeypatch.setenv("CIFAR_GUESSES", str(path))
    monkeypatch.setattr(guesses, "_asked", {})
    return path


def test_an_empty_guess_stops_nothing_and_keeps_nothing(file):
    asked = guess("02 a", "Which share?", yours=..., sure=...)
    assert "Guess first: Which share?" in repr(asked) and "lowest" in repr(asked)
    answer = reveal("02 a", 37.24, unit="%")
    assert repr(answer) == "Measured: 37.2 %. (You did not guess.)"
    assert answer.hit is None and not file.exists() and kept() == []


@pytest.mark.parametrize(
    ("yours", "measured", "hit"),
    [
        ((20, 40), 37.2, True),
        ((20, 40), 40, True),
        ((20, 40), 40.001, False),
        ([0.5, 1], np.float32(0.75), True),
        (12, torch.tensor(12.0), True),
        (12, 13, False),
    ],
)
def test_a_range_is_judged_and_kept(yours, measured, hit):
    guess("02 a", "Which share?", yours=yours, sure=80)
    answer = reveal("02 a", measured, unit="%")
    assert answer.hit is hit
    assert ("your guess holds" in repr(answer)) == hit
    assert "80 % sure" in answer._repr_html_()
    (record,) = kept()
    assert record["hit"] is hit and record["sure"] == 80 and record["key"] == "02 a"
    assert record["measured"] == pytest.approx(float(measured))


def test_a_choice_is_judged_and_kept():
    choices = ("He", "Glorot")
    assert "'He', 'Glorot'" in repr(guess("02 b", "Which start?", choices=choices))
    guess("02 b", "Which start?", yours="Glorot", sure=50, choices=choices)
    assert reveal("02 b", "He").hit is False
    guess("02 b", "Which start?", yours="He", sure=60, choices=choices)
    assert reveal("02 b", "He").hit is True
    (record,) = kept()  # the second guess replaced the first
    assert record["yours"] == "He" and record["sure"] == 60


def test_guesses_of_several_notebooks_are_kept_in_order():
    for key in ("03 c", "02 d"):
        guess(key, "How many?", yours=(1, 2), sure=0)
        reveal(key, 3)
    assert [record["key"] for record in kept()] == ["02 d", "03 c"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"yours": (40, 20), "sure": 50}, "begins at 40, above its end, 20"),
        ({"yours": "20", "sure": 50}, "range of numbers"),
        ({"yours": (1, 2, 3), "sure": 50}, "range of numbers"),
        ({"yours": (1, float("nan")), "sure": 50}, "range of numbers"),
        ({"yours": True, "sure": 50}, "range of numbers"),
        ({"yours": (1, 2)}, "sure must be a number from 0 to 100"),
        ({"yours": (1, 2), "sure": 101}, "sure must be a number from 0 to 100"),
        ({"yours": "c", "sure": 5, "choices": ("a", "b")}, r"one of \['a', 'b'\]"),
        ({"yours": 2, "sure": 5, "choices": (1, 2)}, "choices must be texts"),
    ],
)
def test_what_is_no_guess_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        guess("02 a", "Which share?", **options)


def test_a_measurement_must_fit_its_question():
    with pytest.raises(ValueError, match="run the cell with guess"):
        reveal("02 a", 1)
    guess("02 a", "Which share?")
    with pytest.raises(ValueError, match="finite number"):
        reveal("02 a", float("nan"))
    with pytest.raises(ValueError, match="finite number"):
        reveal("02 a", np.zeros(2))
    guess("02 b", "Which start?", choices=("He", "Glorot"))
    with pytest.raises(ValueError, match="none of"):
        reveal("02 b", "Xavier")


@pytest.mark.parametrize(
    "text", ["", "not json", "[1, 2]", '"text"', '{"a": 1}', '{"a": {"key": "a"}}']
)
def test_a_damaged_file_is_replaced(file, text):
    file.parent.mkdir()
    file.write_text(text)
    assert kept() == []
    guess("02 a", "Which share?", yours=1, sure=50)
    assert reveal("02 a", 1).hit is True
    assert list(json.loads(file.read_text())) == ["02 a"]
    assert file.with_name(f"{file.name}.damaged").read_text() == text


def test_whole_records_of_a_damaged_file_stay_and_the_rest_lies_beside(file):
    guess("02 a", "Which share?", yours=1, sure=50)
    reveal("02 a", 1)
    records = json.loads(file.read_text()) | {"02 b": {"key": "02 b", "yours": 3}}
    file.write_text(json.dumps(records))
    guess("02 c", "Which share?", yours=1, sure=50)
    reveal("02 c", Fraction(1, 2))
    assert [r["key"] for r in kept()] == ["02 a", "02 c"]
    assert kept()[1]["measured"] == 0.5
    beside = file.with_name(f"{file.name}.damaged")
    assert json.loads(beside.read_text())["02 b"]["yours"] == 3


def test_a_file_that_cannot_be_read_now_is_left_alone(file, monkeypatch):
    """As on Windows while another program holds it."""
    file.parent.mkdir()
    file.write_text('{"01": {}}', encoding="utf-8")

    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    guess("01 share", "Which share?", yours=(20, 40), sure=80)
    assert "could not be kept" in repr(reveal("01 share", 30.0))
    assert file.read_text(encoding="utf-8") == '{"01": {}}'


def test_the_home_folder_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("CIFAR_GUESSES", "~/mine.json")
    assert guesses.guesses_file() == tmp_path / "mine.json"


def test_a_folder_that_cannot_be_written_is_no_error(file):
    file.parent.write_text("a file where the folder should be")
    guess("02 a", "Which share?", yours=1, sure=50)
    assert "could not be kept" in repr(reveal("02 a", 1))


def test_no_home_folder_is_no_error(monkeypatch):
    monkeypatch.delenv("CIFAR_GUESSES")
    monkeypatch.setenv("CIFAR10_ROOT", "~nobody_at_all/cifar")
    guess("02 a", "Which share?", yours=1, sure=50)
    assert "could not be kept" in repr(reveal("02 a", 1)) and kept() == []
