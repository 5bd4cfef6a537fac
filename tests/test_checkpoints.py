"""Checkpoints: whole or refused, the last good one kept, one run at a time."""

import errno
import os

import pytest
import torch

from cifar_helpers import checkpoints

STATE = {"step": 3, "weights": torch.arange(2000.0)}


def assert_same(state, expected):
    assert state["step"] == expected["step"]
    assert torch.equal(state["weights"], expected["weights"])


def test_what_was_saved_is_loaded(tmp_path):
    path = tmp_path / "run.checkpoint"
    assert checkpoints.load(path) is None
    checkpoints.save(path, STATE)
    assert_same(checkpoints.load(path), STATE)
    assert [p.name for p in tmp_path.iterdir()] == ["run.checkpoint"]


def flip_a_bit(content):
    content[len(content) // 2] ^= 4


def zero_a_page(content):
    content[4096:8192] = bytes(4096)


def cut(content):
    del content[-100:]


def other_file(content):
    content[:] = b"not a checkpoint at all\n" * 9


def nothing(content):
    content.clear()


DAMAGES = (flip_a_bit, zero_a_page, cut, other_file, nothing)


def spoil(path, damage):
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage, capsys):
    path = tmp_path / "run.checkpoint"
    checkpoints.save(path, STATE)
    checkpoints.save(path, STATE | {"step": 4})
    spoil(path, damage)
    assert_same(checkpoints.load(path), STATE)
    assert "going on from" in capsys.readouterr().out
    spoil(checkpoints.previous(path), damage)
    with pytest.raises(checkpoints.CheckpointDamaged, match="move it away") as error:
        checkpoints.load(path)
    assert str(error.value).count("run.checkpoint") == 2


def test_a_damaged_checkpoint_never_replaces_the_good_one(tmp_path, monkeypatch):
    """The first save after a fallback fails as it moves the new file into place."""
    path, real = tmp_path / "run.checkpoint", os.replace
    checkpoints.save(path, STATE)
    checkpoints.save(path, STATE | {"step": 4})
    spoil(path, lambda content: content.reverse())

    def replace(source, target):
        if str(source).endswith(".part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replace)
        with pytest.raises(checkpoints.CheckpointNotSaved):
            checkpoints.save(path, STATE | {"step": 5})
    assert_same(checkpoints.load(path), STATE)
    checkpoints.save(path, STATE | {"step": 5})
    assert checkpoints.load(path)["step"] == 5
    assert checkpoints.load(checkpoints.previous(path))["step"] == STATE["step"]


def test_a_run_stopped_between_two_files_is_not_begun_again(tmp_path):
    saver = checkpoints.Saver(tmp_path / "run.checkpoint", {})
    assert "begin again" in saver.how_to_go_on()
    checkpoints.save(checkpoints.previous(saver.path), STATE)
    assert "go on from run.checkpoint" in saver.how_to_go_on()


def test_remove_leaves_nothing_and_needs_nothing(tmp_path):
    path = tmp_path / "run.checkpoint"
    checkpoints.save(path, STATE)
    checkpoints.save(path, STATE)
    assert len(list(tmp_path.iterdir())) == 2
    checkpoints.remove(path)
    checkpoints.remove(path)
    assert not list(tmp_path.iterdir())


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "run.checkpoint"
    checkpoints.save(path, {"step": 1})
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        content = bytearray(whole)
        content[place] ^= 1 << place % 8
        path.write_bytes(content)
        with pytest.raises(checkpoints.CheckpointDamaged):
            checkpoints.load(path)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.checkpoint"
    checkpoints.save(path, STATE)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(checkpoints.CheckpointNotSaved) as error:
        checkpoints.save(path, STATE | {"step": 4})
    for words in ("run.checkpoint", "No space left", "MB of room"):
        assert words in str(error.value)
    assert_same(checkpoints.load(path), STATE)
    assert [p.name for p in tmp_path.iterdir()] == ["run.checkpoint"]


@pytest.mark.parametrize("failures", [1, 9])
def test_a_file_that_another_program_holds_is_tried_again(
    tmp_path, monkeypatch, failures
):
    """A scanner on Windows has the new file open, for a moment or for long."""
    path, real = tmp_path / "run.checkpoint", os.replace
    held = iter([PermissionError(errno.EACCES, "Permission denied")] * failures)

    def replace(source, target):
        if str(source).endswith(".part") and (error := next(held, None)):
            raise error
        real(source, target)

    checkpoints.save(path, STATE)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(checkpoints.time, "sleep", lambda seconds: None)
    if failures == 1:
        checkpoints.save(path, STATE | {"step": 4})
        assert checkpoints.load(path)["step"] == 4
        return
    with pytest.raises(checkpoints.CheckpointNotSaved, match="as it was"):
        checkpoints.save(path, STATE | {"step": 4})
    assert [p.name for p in tmp_path.iterdir()] == ["run.checkpoint"]
    assert_same(checkpoints.load(path), STATE)


class Windows:
    """Python's `msvcrt` as far as locks go: a byte of a file is locked, or EACCES."""

    LK_UNLCK, LK_NBLCK = 0, 2

    def __init__(self):
        self.locked = set()

    def locking(self, descriptor, mode, count):
        assert count == 1 and os.lseek(descriptor, 0, os.SEEK_CUR) == 0
        file = os.fstat(descriptor).st_ino
        if mode == self.LK_UNLCK:
            self.locked.remove(file)
        elif file in self.locked:
            raise PermissionError(errno.EACCES, "Permission denied")
        else:
            self.locked.add(file)


@pytest.fixture(params=["as it is here", "Windows"])
def system(request, monkeypatch):
    if request.param == "Windows":
        monkeypatch.setattr(checkpoints, "fcntl", None)
        monkeypatch.setattr(checkpoints, "msvcrt", Windows())


def test_two_runs_in_one_folder_refuse_each_other(tmp_path, system):
    path = tmp_path / "new" / "run.checkpoint"
    with checkpoints.locked(path):
        for _ in range(2):
            second = checkpoints.locked(path)
            with pytest.raises(ValueError, match="another run is writing to"), second:
                pass
        with checkpoints.locked(path.with_name("other.checkpoint")):
            pass
    with checkpoints.locked(path):
        pass
    assert list(path.parent.iterdir()) == []


def test_a_run_that_fails_gives_its_lock_back(tmp_path, system):
    path = tmp_path / "run.checkpoint"
    with pytest.raises(KeyboardInterrupt), checkpoints.locked(path):
        raise KeyboardInterrupt
    with checkpoints.locked(path):
        pass


@pytest.mark.parametrize("module", ["fcntl", "msvcrt"])
def test_a_disk_without_locks_is_no_reason_to_stop(tmp_path, monkeypatch, module):
    class Refusing:
        LOCK_EX = LOCK_NB = LK_NBLCK = LK_UNLCK = 0

        def flock(self, *arguments):
            raise OSError(errno.ENOLCK, "No locks available")

        locking = flock

    monkeypatch.setattr(checkpoints, "fcntl", None)
    monkeypatch.setattr(checkpoints, module, Refusing())
    with checkpoints.locked(tmp_path / "run.checkpoint"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    blocked = checkpoints.locked(tmp_path / "file" / "run.checkpoint")
    refused = pytest.raises(checkpoints.CheckpointNotSaved, match="nothing can be")
    with refused, blocked:
        pass


@pytest.mark.skipif(not checkpoints.fcntl, reason="no open file is removed on Windows")
def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """Between opening and locking, the run that had it ends, and removes its file."""
    path, take = tmp_path / "run.checkpoint", checkpoints._take
    removed = []

    def late(file):
        if not removed:
            removed.append(path.with_name("run.checkpoint.lock").unlink())
        return take(file)

    monkeypatch.setattr(checkpoints, "_take", late)
    with checkpoints.locked(path):
        second = checkpoints.locked(path)
        with pytest.raises(ValueError, match="another run is writing"), second:
            pass
    assert list(tmp_path.iterdir()) == []
