"""What the benchmarks share: whole runs only, rows that are kept, rehearsals apart."""

import json
import re

import pytest
import torch
from filelock import Timeout

from cifar_helpers import training
from cifar_helpers.recipes import PRESETS
from tests.benchmarks import (
    ablation,
    enlarged,
    faster,
    gated,
    gpu_pieces,
    laptop,
    stepwise,
    taught,
    trust,
)
from tests.benchmarks import training as speeds
from tests.benchmarks.claims import claimed
from tests.benchmarks.gpu import parse
from tests.benchmarks.rows import key_of, read_rows, replace_rows
from tests.benchmarks.running import one_thread


@pytest.fixture
def stopped(monkeypatch):
    """Ctrl-C in the second epoch of every run; nothing is computed in the first."""
    row = {"seconds": 1.0, "train_loss": 2.0, "train_accuracy_percent": 10.0}

    def epoch(trainer, *_):
        if epoch.calls:
            raise KeyboardInterrupt
        epoch.calls += 1
        return row | {"learning_rate": 0.1}

    epoch.calls = 0
    monkeypatch.setattr(training, "train_one_epoch", epoch)


def stop_stepwise(folder):
    command = ["--steps", "cpu", "--images", "64", "--source", "sample", "--epochs"]
    stepwise.main([*command, "2", "--seeds", "0", "--out", str(folder / "rows.csv")])


def stop_ablation(folder):
    command = ["noise", "--images", "64", "--epochs", "2", "--source", "sample"]
    command += ["--out", str(folder / "rows.csv"), "--runs", str(folder / "runs")]
    ablation.main(command)


def stop_reference(folder):
    laptop.train_reference(0, folder, "sample", 2)


def stop_control(folder):
    command = ["controls", "--source", "sample", "--epochs", "2"]
    trust.main([*command, "--weights", str(folder)])


def stop_enlarged(folder):
    command = ["--images", "64", "--source", "sample", "--epochs", "2"]
    command += ["--runs", str(folder), "--out", str(folder / "rows.csv")]
    enlarged.main(command)


def stop_taught(folder):
    command = ["--teachers", "champion", "--images", "64", "--source", "sample"]
    command += ["--epochs", "2", "--runs", str(folder)]
    taught.main([*command, "--out", str(folder / "rows.csv")])


def stop_gpu(folder):
    command = ["--device", "cpu", "--source", "sample", "--images", "64"]
    command += ["--batch-size", "32", "--seconds", "0", "--pieces", "champion"]
    command += ["--work", str(folder), "--out", str(folder / "out")]
    (folder / "measured.jsonl").touch()
    plan = {"epochs": 2, "machine": {"hardware": "a GPU", "torch": "2.11.0"}}
    (folder / "plan.json").write_text(json.dumps(plan))
    options = vars(parse(command)) | {"command": "", "safe": True}
    gpu_pieces.Program(options | {"until": float("inf")}).run()


@pytest.mark.parametrize(
    "run",
    [
        stop_stepwise,
        stop_ablation,
        stop_reference,
        stop_control,
        stop_enlarged,
        stop_taught,
        stop_gpu,
    ],
)
def test_a_run_that_was_stopped_is_no_result(run, stopped, tmp_path, monkeypatch):
    monkeypatch.setitem(gpu_pieces.DESIGNS, "C", PRESETS["cpu"][0])
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not written & {"rows.csv", "runs.csv"}
    assert not [name for name in written if name.endswith(".safetensors")]


def test_threads_are_as_before_after_a_failure():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError), one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_a_timeout_of_the_work_is_not_another_processs_claim(tmp_path):
    def work():
        raise Timeout("rows.csv.lock")

    with pytest.raises(Timeout, match="rows.csv.lock"):
        claimed(tmp_path / "claim", "title", work)
    done = []
    claimed(tmp_path / "claim", "title", lambda: done.append(True))
    assert done, "the claim is free again"


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "rows.csv"
    replace_rows(path, [{"a": 1, "b": 2}], ("a", "b"))
    with pytest.raises(ValueError, match="not in fieldnames"):
        replace_rows(path, [{"a": 3}, {"c": 4}], ("a", "b"))
    assert read_rows(path) == [{"a": "1", "b": "2"}]
    key = key_of(("b", "a"))
    assert key(read_rows(path)[0]) == key({"a": 1, "b": 2, "c": 3}) == ("2", "1")


@pytest.mark.parametrize(
    "words, complaint",
    [
        ("noise --variants wohle", "noise has no .'wohle'., but .'whole'."),
        ("noise --half 1", "noise has no halves"),
        ("sweep --half 2", "sweep has no halves"),
        ("equal-epochs --half 1", "equal-epochs has no halves"),
    ],
)
def test_what_a_design_has_not_is_not_asked_for(words, complaint, capsys, tmp_path):
    with pytest.raises(SystemExit):
        ablation.main([*words.split(), "--out", str(tmp_path / "rows.csv")])
    assert re.search(complaint, capsys.readouterr().err)


@pytest.mark.parametrize(
    "main, words",
    [
        (ablation.main, "noise --images 64"),
        (stepwise.main, "--source sample"),
        (gated.main, "--images 64"),
        (enlarged.main, "--images 64"),
        (taught.main, "--teachers champion --images 64"),
        (laptop.main, "--source sample"),
        (ablation.main, "noise --epochs 1"),
        (speeds.main, "--seconds 1"),
        (speeds.main, "--rounds 1"),
        (trust.main, "controls --source sample"),
        (trust.main, "corruptions --source sample"),
        (faster.main, "--target 20"),
    ],
)
def test_a_rehearsal_does_not_write_into_the_results(main, words, capsys):
    with pytest.raises(SystemExit):
        main(words.split())
    assert "this is a rehearsal" in capsys.readouterr().err
