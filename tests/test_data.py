"""The data set: where it comes from, what is refused, how it is cut."""

import contextlib
import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from http_servers import (
    Mirror,
    expect_tiny_cifar10,
    serving,
    tiny_archive,
    tiny_arrays,
    tiny_batches,
    wait_until,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import normalize as torchvision_normalize

from cifar_helpers import data
from cifar_helpers.data import Batches, LabelledImages, load_cifar10, normalize, split
from cifar_helpers.download import CacheFolderError, DataUnavailable

ARCHIVE = tiny_archive()
HALF = len(ARCHIVE) // 2


@pytest.fixture(scope="module")
def sample():
    return load_cifar10(source="sample")


@pytest.fixture
def tiny(monkeypatch):
    """Expect the tiny data set; no mirror but those that a test names."""
    expect_tiny_cifar10(monkeypatch.setattr)
    for name in ("CIFAR10_URL", "CIFAR10_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return monkeypatch


def write_batches(root: Path) -> None:
    (root / "cifar-10-batches-py").mkdir(parents=True)
    for name, content in tiny_batches().items():
        (root / "cifar-10-batches-py" / name).write_bytes(content)


def write_packed(root: Path, **changed) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    np.savez(root / "cifar10.npz", **{**tiny_arrays(), **changed})
    return root / "cifar10.npz"


def assert_is_tiny(loaded) -> None:
    """Equal to the tiny arrays, pixel by pixel, channels first."""
    arrays = tiny_arrays()
    assert loaded.source == "full"
    for name, part in (("train", loaded.train), ("test", loaded.test)):
        images = arrays[f"{name}_images"]
        assert tuple(part.images.shape) == (len(images), 3, 32, 32)
        for channel in range(3):
            assert np.array_equal(part.images[:, channel].numpy(), images[..., channel])
        assert part.labels.tolist() == arrays[f"{name}_labels"].tolist()


def assert_only_the_cache(root: Path) -> None:
    names = {path.name for path in root.iterdir()} - {"cifar10.lock"}
    assert names == {"cifar10.npz"}


def download_from(monkeypatch, root, *mirrors, source="full"):
    with serving(*mirrors) as urls:
        monkeypatch.setattr(data, "MIRRORS", tuple(urls))
        return load_cifar10(root, source=source)


# ---- in memory -----------------------------------------------------------------------


def some_images(count=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 3, 32, 32)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return LabelledImages(images, torch.arange(count) % 10)


@pytest.mark.parametrize(
    ("images", "labels", "error", "message"),
    [
        (
            np.zeros((2, 3, 32, 32), np.uint8),
            torch.zeros(2).long(),
            TypeError,
            "ndarray",
        ),
        (torch.zeros(2, 3, 32, 32), torch.zeros(2).long(), TypeError, "torch.uint8"),
        (torch.zeros(2, 32, 32, 3).byte(), torch.zeros(2).long(), ValueError, "3, 32"),
        (torch.zeros(3, 32, 32).byte(), torch.zeros(3).long(), ValueError, "3, 32"),
        (torch.zeros(2, 3, 32, 32).byte(), [0, 1], TypeError, "labels.*list"),
        (torch.zeros(2, 3, 32, 32).byte(), torch.zeros(2), TypeError, "torch.int64"),
        (torch.zeros(2, 3, 32, 32).byte(), torch.zeros(2, 1).long(), ValueError, "(N)"),
        (
            torch.zeros(2, 3, 32, 32).byte(),
            torch.zeros(3).long(),
            ValueError,
            "3 labels",
        ),
        (torch.zeros(2, 3, 32, 32).byte(), torch.tensor([0, 10]), ValueError, "0..10"),
        (torch.zeros(2, 3, 32, 32).byte(), torch.tensor([-1, 3]), ValueError, "-1..3"),
    ],
)
def test_wrong_images_or_labels_are_refused(images, labels, error, message):
    with pytest.raises(error, match=message):
        LabelledImages(images, labels)


def test_images_on_two_devices_are_refused():
    with pytest.raises(ValueError, match="one device"):
        LabelledImages(
            torch.zeros(2, 3, 32, 32, dtype=torch.uint8, device="meta"),
            torch.zeros(2, dtype=torch.int64),
        )


def test_images_become_contiguous_and_keep_their_values():
    channels_last = some_images().images.permute(0, 2, 3, 1).contiguous()
    part = LabelledImages(channels_last.permute(0, 3, 1, 2), torch.arange(20) % 10)
    assert part.images.is_contiguous()
    assert torch.equal(part.images, some_images().images)


@pytest.mark.parametrize(
    ("index", "positions"),
    [
        ([3, 0, 3], [3, 0, 3]),
        (np.array([7], np.uint8), [7]),
        (range(4), [0, 1, 2, 3]),
        (slice(2, 8, 3), [2, 5]),
        (torch.arange(20) >= 18, [18, 19]),
        ([], []),
    ],
)
def test_subset_takes_positions_slices_and_masks(index, positions):
    part = some_images()
    chosen = part.subset(index)
    assert len(chosen) == len(positions)
    for row, position in enumerate(positions):
        assert torch.equal(chosen.images[row], part.images[position])
        assert chosen.labels[row] == part.labels[position]


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ([20], IndexError, "0..19"),
        ([-1], IndexError, "0..19"),
        ([0.5], TypeError, "whole numbers"),
        ([True] * 19, ValueError, "20 entries"),
        ([[0, 1]], ValueError, "one dimension"),
        (3, ValueError, "one dimension"),
    ],
)
def test_subset_refuses_what_does_not_fit(index, error, message):
    with pytest.raises(error, match=message):
        some_images().subset(index)


def test_to_moves_both():
    moved = LabelledImages(
        torch.empty(0, 3, 32, 32, dtype=torch.uint8), torch.empty(0).long()
    ).to("meta")
    assert (moved.images.device.type, moved.labels.device.type) == ("meta", "meta")


def test_split_is_disjoint_balanced_and_whole(sample):
    training, validation = split(sample.train, validation=500, seed=3)
    assert Counter(validation.labels.tolist()) == dict.fromkeys(range(10), 50)
    assert Counter(training.labels.tolist()) == dict.fromkeys(range(10), 150)
    keys = [
        Counter(image.numpy().tobytes() for image in part.images)
        for part in (training, validation, sample.train)
    ]
    assert not keys[0] & keys[1]
    assert keys[0] + keys[1] == keys[2]


def test_split_depends_on_the_seed_alone(sample):
    first, again, other = (split(sample.train, 100, seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


@pytest.mark.parametrize("validation", [0, -10, 5, 2001, 2000, 5000])
def test_split_refuses_a_size_that_cannot_be_balanced(sample, validation):
    with pytest.raises(ValueError, match="validation"):
        split(sample.train, validation=validation)


def test_split_refuses_half_an_image(sample):
    with pytest.raises(TypeError):
        split(sample.train, validation=100.0)


def test_normalize_agrees_with_torchvision():
    images = some_images().images
    wanted = torchvision_normalize(images.float() / 255, data.MEAN, data.STD)
    assert normalize(images).dtype == torch.float32
    torch.testing.assert_close(normalize(images), wanted)


def test_normalize_refuses_floats_and_other_shapes():
    with pytest.raises(TypeError, match="torch.float32"):
        normalize(torch.zeros(2, 3, 32, 32))
    with pytest.raises(TypeError, match="ndarray"):
        normalize(np.zeros((2, 3, 32, 32), np.uint8))
    with pytest.raises(ValueError, match=r"\(2, 32, 32, 3\)"):
        normalize(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))


def test_mean_and_std_are_those_of_the_training_images(sample):
    pixels = sample.train.images.permute(1, 0, 2, 3).flatten(1).double() / 255
    for channel in range(3):  # the sample is a 25th of the images
        assert abs(pixels[channel].mean() - data.MEAN[channel]) < 0.01
        assert abs(pixels[channel].std() - data.STD[channel]) < 0.01


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 35), st.booleans(), st.booleans())
def test_batches_give_every_image_once(count, batch_size, shuffle, drop_last):
    images = torch.zeros(count, 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    part = LabelledImages(images, torch.arange(count) % 10)
    if drop_last and batch_size > count:
        with pytest.raises(ValueError, match="no batch"):
            Batches(part, batch_size, shuffle, drop_last=drop_last)
        return
    batches = Batches(part, batch_size, shuffle, drop_last=drop_last)
    seen = []
    sizes = []
    for some, labels in batches:
        positions = some[:, 0, 0, 0].tolist()
        assert labels.tolist() == [position % 10 for position in positions]
        seen += positions
        sizes.append(len(positions))
    assert len(sizes) == len(batches)
    assert all(size == batch_size for size in sizes[: len(sizes) - (not drop_last)])
    whole = count - count % batch_size if drop_last else count
    assert len(seen) == len(set(seen)) == whole
    if not shuffle:
        assert seen == list(range(whole))


def test_batches_shuffle_anew_every_epoch_from_the_generator():
    def epochs(seed):
        generator = torch.Generator().manual_seed(seed)
        batches = Batches(some_images(), 6, shuffle=True, generator=generator)
        return [torch.cat([images for images, _ in batches]) for _ in range(2)]

    first, second = epochs(0)
    assert not torch.equal(first, second)
    assert torch.equal(torch.stack(epochs(0)), torch.stack([first, second]))
    assert not torch.equal(first, epochs(1)[0])


def test_writing_to_a_batch_leaves_the_data_alone():
    part = some_images()
    for images, labels in Batches(part, 8):
        images.zero_(), labels.zero_()
    assert torch.equal(part.images, some_images().images)
    assert torch.equal(part.labels, some_images().labels)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batches_refuse_an_empty_batch(batch_size):
    with pytest.raises(ValueError, match="at least 1"):
        Batches(some_images(), batch_size)


# ---- the bundled sample --------------------------------------------------------------


def test_the_sample_is_what_it_says(sample, capsys):
    assert sample.source == "sample"
    assert Counter(sample.train.labels.tolist()) == dict.fromkeys(range(10), 200)
    assert Counter(sample.test.labels.tolist()) == dict.fromkeys(range(10), 100)
    assert data.SAMPLE_FILE.stat().st_size < 9_000_000
    load_cifar10(source="sample")
    assert capsys.readouterr().out == ""


def test_the_sample_is_the_first_of_each_class_of_the_full_data(sample, tmp_path):
    arrays, problem = data._read_arrays(
        data.cache_folder() / "cifar10.npz", data.FULL_SHA256
    )
    if problem:
        pytest.skip(f"the full data set {problem}; set CIFAR10_ROOT to run this test")
    for part, per_class in ((sample.train, 200), (sample.test, 100)):
        name = "train" if part is sample.train else "test"
        taken, positions = Counter(), []
        for position, label in enumerate(arrays[f"{name}_labels"].tolist()):
            if taken[label] < per_class:
                taken[label] += 1
                positions.append(position)
        images = arrays[f"{name}_images"][positions]
        assert part.labels.tolist() == arrays[f"{name}_labels"][positions].tolist()
        assert np.array_equal(part.images.permute(0, 2, 3, 1).numpy(), images)


def test_the_rule_of_the_sample():
    labels = np.array([1, 0, 1, 1, *range(2, 10), 0, 0])
    assert data.sample_positions(labels, 2).tolist() == [0, 1, 2, *range(4, 12), 12]


def test_a_damaged_sample_is_refused(monkeypatch, tmp_path):
    content = bytearray(data.SAMPLE_FILE.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "sample.npz").write_bytes(content)
    monkeypatch.setattr(data, "SAMPLE_FILE", tmp_path / "sample.npz")
    with pytest.raises(DataUnavailable, match="install cifar_helpers again"):
        load_cifar10(source="sample")


# ---- what lies in the folder ---------------------------------------------------------


def test_an_unknown_source_is_refused():
    with pytest.raises(ValueError, match="'Full'"):
        load_cifar10(source="Full")


def test_a_packed_cache_is_read_without_writing_anything(tiny, tmp_path, capsys):
    packed = write_packed(tmp_path)
    before = packed.stat()
    tiny.setenv("CIFAR10_ROOT", str(tmp_path))
    assert_is_tiny(load_cifar10())
    assert [path.name for path in tmp_path.iterdir()] == ["cifar10.npz"]
    assert packed.stat() == before or packed.stat().st_mtime_ns == before.st_mtime_ns
    assert capsys.readouterr().out == ""


def test_torchvision_batches_are_read_and_packed_once(tiny, tmp_path):
    write_batches(tmp_path)
    assert_is_tiny(load_cifar10(tmp_path, source="full"))
    assert (tmp_path / "cifar-10-batches-py" / "test_batch").exists()  # not ours
    assert not (tmp_path / "cifar10-download").exists()
    tiny.setattr(data, "_read_batches", None)  # from now on the packed file must do
    assert_is_tiny(load_cifar10(tmp_path, source="full"))


def test_torchvision_batches_in_a_folder_that_cannot_be_written(tiny, tmp_path, capsys):
    write_batches(tmp_path)
    (tmp_path / "cifar10.lock").mkdir()  # no lock can be had, even by an administrator
    assert_is_tiny(load_cifar10(tmp_path))
    assert str(tmp_path) in capsys.readouterr().out
    assert not (tmp_path / "cifar10.npz").exists()


def test_damaged_batches_are_not_used(tiny, tmp_path):
    write_batches(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"other")
    with pytest.raises(DataUnavailable, match="cifar-10-batches-py: is damaged"):
        load_cifar10(tmp_path, source="full")
    assert_is_tiny(download_from(tiny, tmp_path, Mirror(ARCHIVE)))


def damage(root: Path, how: str) -> None:
    packed = write_packed(root)
    content = packed.read_bytes()
    arrays = tiny_arrays()
    if how == "cut off":
        packed.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        packed.write_bytes(b"")
    elif how == "a page":
        packed.write_bytes(b"<html>not found</html>")
    elif how == "one bit":
        packed.write_bytes(
            content[:90_000] + bytes([content[90_000] ^ 1]) + content[90_001:]
        )
    elif how == "other pixels":
        write_packed(root, train_images=255 - arrays["train_images"])
    elif how == "other dtype":
        write_packed(root, test_labels=arrays["test_labels"].astype(np.int64))
    elif how == "other shape":
        write_packed(root, test_images=arrays["test_images"].reshape(-1, 3072))
    elif how == "an array is missing":
        np.savez(packed, train_images=arrays["train_images"])
    elif how == "objects":
        write_packed(root, test_labels=np.array([{}], dtype=object))
    else:
        with open(packed, "wb") as file:
            np.save(file, arrays["train_labels"])


DAMAGES = (
    "cut off",
    "empty",
    "a page",
    "one bit",
    "other pixels",
    "other dtype",
    "other shape",
    "an array is missing",
    "objects",
    "one array alone",
)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_cache_is_named_and_never_used(tiny, tmp_path, how, capsys):
    damage(tmp_path, how)
    content = (tmp_path / "cifar10.npz").read_bytes()
    with pytest.raises(DataUnavailable, match=r"cifar10\.npz: is damaged") as raised:
        load_cifar10(tmp_path, source="full")
    assert "CIFAR10_ROOT" in str(raised.value)
    assert "is damaged" in capsys.readouterr().out
    assert load_cifar10(tmp_path).source == "sample"
    assert (tmp_path / "cifar10.npz").read_bytes() == content  # left for its owner


def test_a_damaged_cache_is_replaced_and_kept_aside(tiny, tmp_path):
    damage(tmp_path, "one bit")
    content = (tmp_path / "cifar10.npz").read_bytes()
    assert_is_tiny(download_from(tiny, tmp_path, Mirror(ARCHIVE), source="auto"))
    assert (tmp_path / "cifar10.damaged.npz").read_bytes() == content
    tiny.setattr(data, "MIRRORS", ())
    assert_is_tiny(load_cifar10(tmp_path, source="full"))


def test_a_folder_below_a_file_gives_a_clear_error(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    for source in ("auto", "full"):
        with pytest.raises(CacheFolderError, match="CIFAR10_ROOT") as raised:
            load_cifar10(tmp_path / "file" / "root", source=source)
        assert str(tmp_path / "file" / "root") in str(raised.value)


def test_a_read_only_folder_gives_a_clear_error(tiny, tmp_path):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    tiny.setattr(Path, "mkdir", refuse)
    with pytest.raises(CacheFolderError, match="Read-only file system") as raised:
        load_cifar10(tmp_path)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_during_the_download_gives_a_clear_error(tiny, tmp_path):
    (tmp_path / "cifar10-download").mkdir()
    part = tmp_path / "cifar10-download" / "cifar-10-python.tar.gz.part"
    part.symlink_to("/dev/full")  # every write fails: no space left on device
    second = Mirror(ARCHIVE)
    with pytest.raises(CacheFolderError, match="No space left") as raised:
        download_from(tiny, tmp_path, Mirror(ARCHIVE), second, source="auto")
    assert str(tmp_path) in str(raised.value)
    assert second.asked == []  # another mirror would not help
    assert not (tmp_path / "cifar10.npz").exists()


def test_a_full_disk_while_packing_loses_no_download(tiny, tmp_path):
    def fill(path, **arrays):
        Path(path).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with tiny.context() as patch:
        patch.setattr(np, "savez", fill)
        with pytest.raises(CacheFolderError, match="No space left"):
            download_from(tiny, tmp_path, Mirror(ARCHIVE))
    left = [path.name for path in (tmp_path / "cifar10-download").iterdir()]
    assert left == ["cifar-10-python.tar.gz.part"]
    again = Mirror(ARCHIVE)
    assert_is_tiny(download_from(tiny, tmp_path, again))
    assert again.asked == []
    assert_only_the_cache(tmp_path)


# ---- mirrors -------------------------------------------------------------------------


def test_offline_auto_takes_the_sample_and_says_so_in_one_line(tiny, tmp_path, capsys):
    tiny.setattr(data, "MIRRORS", ("http://127.0.0.1:1/a", "http://127.0.0.1:1/b"))
    assert load_cifar10(tmp_path).source == "sample"
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "bundled sample of 2,000 training and 1,000 test images" in out
    assert str(tmp_path) not in out + err
    assert not (tmp_path / "cifar10-download").exists()


def test_offline_full_names_every_place_and_what_to_do(tiny, tmp_path):
    tiny.setattr(data, "MIRRORS", ("http://127.0.0.1:1/a", "http://127.0.0.1:1/b"))
    tiny.setenv("CIFAR10_URL", "nonsense")
    with pytest.raises(DataUnavailable) as raised:
        load_cifar10(tmp_path, source="full")
    lines = str(raised.value).splitlines()
    assert lines[1].startswith(f"  - {tmp_path / 'cifar10.npz'}: is not there")
    assert lines[2].startswith(f"  - {tmp_path / 'cifar-10-batches-py'}: is not there")
    assert lines[3].startswith("  - nonsense: ValueError: unknown url type")
    assert lines[4].startswith("  - http://127.0.0.1:1/a: no connection")
    assert lines[5].startswith("  - http://127.0.0.1:1/b: same host")
    for word in ("CIFAR10_ROOT", "CIFAR10_URL", 'source="sample"'):
        assert word in lines[6]


def test_a_good_mirror_fills_the_cache(tiny, tmp_path, capsys):
    first, second = Mirror(ARCHIVE), Mirror(ARCHIVE)
    assert_is_tiny(download_from(tiny, tmp_path / "new", first, second))
    assert (first.asked, second.asked) == ([None], [])
    assert_only_the_cache(tmp_path / "new")
    out, err = capsys.readouterr()
    assert out == ""
    assert "CIFAR-10" in err and "100%" in err  # the progress bar


BAD_MIRRORS = {
    "an error": (Mirror(b"", status=404), "HTTP 404"),
    "a page": (
        Mirror(b"<html>Please log in</html>", content_type="text/html"),
        "wrong content: not a gzip archive (text/html)",
    ),
    "nothing": (Mirror(b""), "wrong content: not a gzip archive"),
    "other bytes": (Mirror(ARCHIVE[:99] + bytes(99) + ARCHIVE[198:]), "wrong content"),
    "a short file": (Mirror(ARCHIVE[:HALF]), "MD5 does not match"),
    "half of it": (
        Mirror(ARCHIVE, stop_after=HALF),
        f"stopped after {HALF:,} of {len(ARCHIVE):,} bytes",
    ),
    "a crawl": (Mirror(ARCHIVE, rate=20_000), "too slow"),
    "silence": (Mirror(ARCHIVE, silent=True), "too slow (0.0 kB/s)"),
}


@pytest.mark.parametrize("name", BAD_MIRRORS)
def test_a_bad_mirror_gives_way_to_the_next(tiny, tmp_path, name):
    bad, reason = BAD_MIRRORS[name]
    good = Mirror(ARCHIVE)
    tried = []
    real = data._fetch_from_mirrors
    tiny.setattr(
        data,
        "_fetch_from_mirrors",
        lambda archive, places: (real(archive, places), tried.extend(places)),
    )
    bad.closing.clear()
    assert_is_tiny(download_from(tiny, tmp_path, bad, good))
    assert len(good.asked) == 1
    assert tried[-1][0] == bad.url and reason in tried[-1][1]
    assert_only_the_cache(tmp_path)


def test_no_bad_mirror_leaves_anything_under_a_final_name(tiny, tmp_path):
    names = ("an error", "a page", "other bytes", "half of it")
    mirrors = [BAD_MIRRORS[name][0] for name in names]
    with pytest.raises(DataUnavailable) as raised:
        download_from(tiny, tmp_path, *mirrors)
    for name, mirror in zip(names, mirrors, strict=True):
        assert mirror.url in str(raised.value)
        assert BAD_MIRRORS[name][1] in str(raised.value)
    left = {path.name for path in tmp_path.iterdir()} - {"cifar10.lock"}
    assert left == {"cifar10-download"}


def test_the_next_mirror_goes_on_where_the_last_one_stopped(tiny, tmp_path):
    stops, good = Mirror(ARCHIVE, stop_after=HALF), Mirror(ARCHIVE)
    assert_is_tiny(download_from(tiny, tmp_path, stops, good))
    assert good.asked == [f"bytes={HALF}-"]
    assert good.sent_bytes == len(ARCHIVE) - HALF


def test_a_mirror_without_ranges_starts_cleanly(tiny, tmp_path):
    stops, whole = Mirror(ARCHIVE, stop_after=HALF), Mirror(ARCHIVE, ranges=False)
    assert_is_tiny(download_from(tiny, tmp_path, stops, whole))
    assert whole.sent_bytes == len(ARCHIVE)


@pytest.mark.parametrize("length", [HALF, len(ARCHIVE), len(ARCHIVE) + 5])
def test_a_wrong_beginning_is_thrown_away(tiny, tmp_path, length):
    (tmp_path / "cifar10-download").mkdir()
    part = tmp_path / "cifar10-download" / "cifar-10-python.tar.gz.part"
    part.write_bytes(bytes(length))
    good = Mirror(ARCHIVE)
    assert_is_tiny(download_from(tiny, tmp_path, good))
    assert good.asked == [f"bytes={length}-", None]
    assert_only_the_cache(tmp_path)


def test_when_all_crawl_the_fastest_finishes(tiny, tmp_path):
    slow, faster = Mirror(ARCHIVE, rate=20_000), Mirror(ARCHIVE, rate=70_000)
    assert_is_tiny(download_from(tiny, tmp_path, slow, faster))
    assert (len(slow.asked), len(faster.asked)) == (1, 2)
    assert faster.asked[1] is not None  # it went on from what was there


def test_the_own_address_comes_first_and_may_be_a_file(tiny, tmp_path):
    (tmp_path / "copy.tar.gz").write_bytes(ARCHIVE)
    tiny.setenv("CIFAR10_URL", (tmp_path / "copy.tar.gz").as_uri())
    mirror = Mirror(ARCHIVE)
    assert_is_tiny(download_from(tiny, tmp_path / "root", mirror))
    assert mirror.asked == []
    assert (tmp_path / "copy.tar.gz").read_bytes() == ARCHIVE


# ---- several processes ---------------------------------------------------------------

NURSERY = """
import contextlib, hashlib, os, sys
from http_servers import expect_tiny_cifar10
from cifar_helpers import data
expect_tiny_cifar10()
root, data.MIRRORS, data.SLOW_BYTES_PER_SECOND = sys.argv[1], (sys.argv[2],), 1000
print("ready", flush=True)
for line in sys.stdin:  # every line starts one more process, which writes to that file
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    with open(line.strip(), "w") as out, contextlib.redirect_stdout(out):
        images = data.load_cifar10(root, source="full").train.images
        print(hashlib.sha256(images.numpy()).hexdigest())
    os._exit(0)
with contextlib.suppress(ChildProcessError):
    while True:
        os.wait()
"""


@contextlib.contextmanager
def nursery(root, url):
    """A process that starts others: torch needs to be imported only once for all."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-c", NURSERY, str(root), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )

    def start(output: Path) -> int:
        process.stdin.write(f"{output}\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    try:
        assert process.stdout.readline() == "ready\n"
        yield start
        process.communicate(timeout=60)
    finally:
        process.kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_processes_at_once_and_one_that_is_killed(tiny, tmp_path):
    """One is killed half-way, two start together; one of them finishes for both."""
    root, outputs = tmp_path / "root", [tmp_path / f"{i}.txt" for i in range(3)]
    slow = Mirror(ARCHIVE, rate=60_000)  # three seconds for the whole
    with serving(slow) as (url,), nursery(root, url) as start:
        victim = start(outputs[0])
        wait_until(lambda: slow.sent_bytes > 50_000)
        os.kill(victim, signal.SIGKILL)
        start(outputs[1])
        start(outputs[2])
    images = np.ascontiguousarray(tiny_arrays()["train_images"].transpose(0, 3, 1, 2))
    wanted = hashlib.sha256(images).hexdigest()
    lines = [output.read_text().splitlines() for output in outputs]
    assert lines[0] == []
    assert sorted(map(len, lines[1:])) == [1, 2]  # one of the two had to wait
    assert sorted(lines[1:], key=len)[1][0].startswith("Another process")
    assert [lines[1][-1], lines[2][-1]] == [wanted, wanted]
    assert len(slow.asked) == 2  # the victim, and one that went on for both
    assert slow.asked[1].startswith("bytes=")
    assert_only_the_cache(root)
    assert_is_tiny(load_cifar10(root, source="full"))


# ---- the command ---------------------------------------------------------------------


def test_the_command_gets_the_data_and_remakes_the_sample(tiny, tmp_path, capsys):
    write_batches(tmp_path)
    tiny.setattr(data, "SAMPLE_PER_CLASS", {"train": 2, "test": 1})
    made = tmp_path / "made.npz"
    data.main(["--root", str(tmp_path), "--make-sample", str(made)])
    assert "50 training and 10 test images, checked" in capsys.readouterr().out
    arrays = tiny_arrays()
    with np.load(made) as stored:
        for name, per_class in (("train", 2), ("test", 1)):
            positions = data.sample_positions(arrays[f"{name}_labels"], per_class)
            for kind in ("images", "labels"):
                wanted = arrays[f"{name}_{kind}"][positions]
                assert np.array_equal(stored[f"{name}_{kind}"], wanted)


def test_the_command_fails_with_the_reasons(tiny, tmp_path, capsys):
    with pytest.raises(SystemExit) as raised:
        data.main(["--root", str(tmp_path)])
    assert raised.value.code == 1
    assert "Places tried" in capsys.readouterr().err
