"""CIFAR-10's files: where they are looked for, what is refused, how mirrors fail."""

import contextlib
import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from http_servers import (
    Mirror,
    only_tiny_cifar10,
    serving,
    tiny_archive,
    tiny_arrays,
    wait_until,
    write_batches,
    write_packed,
)

from cifar_helpers import download
from cifar_helpers.download import (
    CacheFolderError,
    DataUnavailable,
    cache_folder,
    full_arrays,
)

ARCHIVE = tiny_archive()
HALF = len(ARCHIVE) // 2


@pytest.fixture
def tiny(monkeypatch):
    return only_tiny_cifar10(monkeypatch)


def assert_is_tiny(arrays) -> None:
    wanted = tiny_arrays()
    assert arrays.keys() == wanted.keys()
    for name, array in arrays.items():
        assert array.dtype == np.uint8 and np.array_equal(array, wanted[name])


def assert_only_the_cache(root: Path) -> None:
    names = {path.name for path in root.iterdir()} - {"cifar10.lock"}
    assert names == {"cifar10.npz"}


def download_from(monkeypatch, root, *mirrors):
    with serving(*mirrors) as urls:
        monkeypatch.setattr(download, "MIRRORS", tuple(urls))
        return full_arrays(root)


def test_the_module_needs_no_torch():
    code = "import sys, cifar_helpers.download; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


# ---- what lies in the folder ---------------------------------------------------------


def test_a_packed_cache_is_read_without_writing_anything(tiny, tmp_path, capsys):
    packed = write_packed(tmp_path)
    before = packed.stat()
    tiny.setenv("CIFAR10_ROOT", str(tmp_path))
    assert_is_tiny(full_arrays(cache_folder()))
    assert [path.name for path in tmp_path.iterdir()] == ["cifar10.npz"]
    assert packed.stat() == before or packed.stat().st_mtime_ns == before.st_mtime_ns
    assert capsys.readouterr().out == ""


def test_torchvision_batches_are_read_and_packed_once(tiny, tmp_path):
    write_batches(tmp_path)
    assert_is_tiny(full_arrays(tmp_path))
    assert (tmp_path / "cifar-10-batches-py" / "test_batch").exists()  # not ours
    assert not (tmp_path / "cifar10-download").exists()
    tiny.setattr(download, "_read_batches", None)  # from now on the packed file must do
    assert_is_tiny(full_arrays(tmp_path))


def test_torchvision_batches_in_a_folder_that_cannot_be_written(tiny, tmp_path, capsys):
    write_batches(tmp_path)
    (tmp_path / "cifar10.lock").mkdir()  # no lock can be had, even by an administrator
    assert_is_tiny(full_arrays(tmp_path))
    assert str(tmp_path) in capsys.readouterr().out
    assert not (tmp_path / "cifar10.npz").exists()


def test_damaged_batches_are_not_used(tiny, tmp_path):
    write_batches(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"other")
    with pytest.raises(DataUnavailable, match="cifar-10-batches-py: is damaged"):
        full_arrays(tmp_path)
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
        full_arrays(tmp_path)
    assert "CIFAR10_ROOT" in str(raised.value)
    assert "is damaged" in capsys.readouterr().out
    assert (tmp_path / "cifar10.npz").read_bytes() == content  # left for its owner


def test_a_damaged_cache_is_replaced_and_kept_aside(tiny, tmp_path):
    damage(tmp_path, "one bit")
    content = (tmp_path / "cifar10.npz").read_bytes()
    assert_is_tiny(download_from(tiny, tmp_path, Mirror(ARCHIVE)))
    assert (tmp_path / "cifar10.damaged.npz").read_bytes() == content
    tiny.setattr(download, "MIRRORS", ())
    assert_is_tiny(full_arrays(tmp_path))


def test_a_folder_below_a_file_gives_a_clear_error(tiny, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheFolderError, match="CIFAR10_ROOT") as raised:
        full_arrays(tmp_path / "file" / "root")
    assert str(tmp_path / "file" / "root") in str(raised.value)


def test_a_read_only_folder_gives_a_clear_error(tiny, tmp_path):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    tiny.setattr(Path, "mkdir", refuse)
    with pytest.raises(CacheFolderError, match="Read-only file system") as raised:
        full_arrays(tmp_path)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_during_the_download_gives_a_clear_error(tiny, tmp_path):
    (tmp_path / "cifar10-download").mkdir()
    part = tmp_path / "cifar10-download" / "cifar-10-python.tar.gz.part"
    part.symlink_to("/dev/full")  # every write fails: no space left on device
    second = Mirror(ARCHIVE)
    with pytest.raises(CacheFolderError, match="No space left") as raised:
        download_from(tiny, tmp_path, Mirror(ARCHIVE), second)
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


def test_offline_full_names_every_place_and_what_to_do(tiny, tmp_path):
    tiny.setattr(download, "MIRRORS", ("http://127.0.0.1:1/a", "http://127.0.0.1:1/b"))
    tiny.setenv("CIFAR10_URL", "nonsense")
    with pytest.raises(DataUnavailable) as raised:
        full_arrays(tmp_path)
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
    real = download._fetch_from_mirrors
    tiny.setattr(
        download,
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
from pathlib import Path
from http_servers import expect_tiny_cifar10
from cifar_helpers import download
expect_tiny_cifar10()
root, download.MIRRORS = Path(sys.argv[1]), (sys.argv[2],)
download.SLOW_BYTES_PER_SECOND = 1000
print("ready", flush=True)
for line in sys.stdin:  # every line starts one more process, which writes to that file
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    with open(line.strip(), "w") as out, contextlib.redirect_stdout(out):
        images = download.full_arrays(root)["train_images"]
        print(hashlib.sha256(images).hexdigest())
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
    wanted = hashlib.sha256(tiny_arrays()["train_images"]).hexdigest()
    lines = [output.read_text().splitlines() for output in outputs]
    assert lines[0] == []
    assert sorted(map(len, lines[1:])) == [1, 2]  # one of the two had to wait
    assert sorted(lines[1:], key=len)[1][0].startswith("Another process")
    assert [lines[1][-1], lines[2][-1]] == [wanted, wanted]
    assert len(slow.asked) == 2  # the victim, and one that went on for both
    assert slow.asked[1].startswith("bytes=")
    assert_only_the_cache(root)
    assert_is_tiny(full_arrays(root))
